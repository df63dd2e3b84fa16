//! One file a CRM. Each has its connector, built from the destination's settings; `TAKES`, the credentials that it takes; and `CALLS`, how
//! many calls a second it bears of anybody, where nothing is configured.

pub mod agiled;
pub mod attio;
pub mod dataverse;
pub mod hubspot;
pub mod odoo;
pub mod pipedrive;
mod refusal;
pub mod rest;
pub mod salesforce;
mod same;
pub mod twenty;
pub mod zoho;

use std::time::Duration;

use crate::{AuthKind, Connector, Settings, SettingsError};

pub use agiled::Agiled;
pub use attio::Attio;
pub use dataverse::Dataverse;
pub use hubspot::Hubspot;
pub use odoo::Odoo;
pub use pipedrive::Pipedrive;
pub use rest::Rest;
pub use salesforce::Salesforce;
pub use twenty::Twenty;
pub use zoho::Zoho;

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

            /// How many calls it bears of anybody, in the time of [`Kind::per`].
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
    /// Microsoft Dataverse.
    Dataverse = "dataverse" in dataverse;
    /// Zoho CRM.
    Zoho = "zoho" in zoho;
    /// Attio.
    Attio = "attio" in attio;
    /// Twenty.
    Twenty = "twenty" in twenty;
    /// Odoo.
    Odoo = "odoo" in odoo;
    /// Pipedrive.
    Pipedrive = "pipedrive" in pipedrive;
    /// Agiled.
    Agiled = "agiled" in agiled;
    /// Any REST API that the configuration describes.
    Rest = "rest" in rest;
}

impl Kind {
    /// In which time [`Kind::calls`] are borne.
    pub const fn per(self) -> Duration {
        if matches!(self, Self::Agiled) { agiled::PER } else { Duration::from_secs(1) }
    }

    /// Whether a text may be the name of one of its objects or fields: the usual ones ([`crate::valid_name`]), and what else it writes names with.
    pub fn allows(self, name: &str) -> bool {
        let own = match self {
            Self::Attio => attio::is_name(name),
            Self::Twenty => twenty::is_name(name),
            Self::Odoo => odoo::is_name(name),
            Self::Pipedrive => pipedrive::is_custom(name),
            Self::Salesforce | Self::Hubspot | Self::Dataverse | Self::Zoho | Self::Agiled | Self::Rest => false,
        };
        own || crate::valid_name(name)
    }

    /// Reads the word back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}
