//! One file a CRM. Each has its connector, built from the destination's settings; `TAKES`, the credentials that it takes; and `CALLS`, how
//! many calls a second it bears of anybody, where nothing is configured.

pub mod attio;
pub mod hubspot;
mod refusal;
pub mod salesforce;
mod same;

use crate::{AuthKind, Connector, Settings, SettingsError};

pub use attio::Attio;
pub use hubspot::Hubspot;
pub use salesforce::Salesforce;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal in $module:ident;)*) => {
        /// Which CRM a destination is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The word used in the configuration.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// Which credentials it takes.
            pub const fn takes(self) -> &'static [AuthKind] {
                match self { $(Self::$name => $module::TAKES,)* }
            }

            /// How many calls a second it bears of anybody.
            pub const fn calls(self) -> u32 {
                match self { $(Self::$name => $module::CALLS,)* }
            }
        }

        /// The translator for a destination's settings.
        pub(crate) fn connector(settings: &Settings) -> Result<Box<dyn Connector>, SettingsError> {
            Ok(match settings.kind { $(Kind::$name => Box::new($module::$name::new(settings)?),)* })
        }
    };
}

kinds! {
    /// Salesforce.
    Salesforce = "salesforce" in salesforce;
    /// HubSpot.
    Hubspot = "hubspot" in hubspot;
    /// Attio.
    Attio = "attio" in attio;
}

impl Kind {
    /// Reads the word back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}
