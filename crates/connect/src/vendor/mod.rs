//! Fetches and catch-up: reading from the vendors that push no more than an id, and listing what they have sent.
//!
//! A translator a vendor, as for CRMs: it spells requests and reads answers, and has no socket, no clock, no retry and no log. [`Vendor`] does the
//! walking. Everything here only reads, so that no outcome is ever in doubt: what got no answer is [`model::Class::Retryable`], never `Unknown`.
//!
//! A push is signed and still no reason to go where it points: ids are checked by form, and a URL in one is followed only on the configured host
//! and where its path is one that this vendor's objects have.

mod api;
mod attio;
mod bigcommerce;
mod cache;
mod hubspot;
mod linkedin;
mod meta;
mod refusal;
mod stripe;
mod walk;
mod xero;

use std::time::Duration;

use model::{Class, Failure, Scope, Time};
use serde_json::Value;

pub use walk::Vendor;

use crate::{Auth, Secret, SettingsError};
use api::Api;

/// Whose API it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Meta's Graph API: lead ads.
    Meta,
    /// LinkedIn's Lead Sync API.
    Linkedin,
    /// HubSpot's CRM objects.
    Hubspot,
    /// Stripe's events.
    Stripe,
    /// Attio's records.
    Attio,
    /// Xero's accounting API.
    Xero,
    /// BigCommerce's store API.
    Bigcommerce,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [Self::Meta, Self::Linkedin, Self::Hubspot, Self::Stripe, Self::Attio, Self::Xero, Self::Bigcommerce];

    /// The word used in the configuration and in presets.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Linkedin => "linkedin",
            Self::Hubspot => "hubspot",
            Self::Stripe => "stripe",
            Self::Attio => "attio",
            Self::Xero => "xero",
            Self::Bigcommerce => "bigcommerce",
        }
    }

    /// Reads the word back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// What of it can be fetched: the words that `fetch.object` may say.
    pub const fn objects(self) -> &'static [&'static str] {
        match self {
            Self::Meta | Self::Linkedin => &["lead"],
            Self::Hubspot => hubspot::OBJECTS,
            Self::Stripe => stripe::OBJECTS,
            Self::Attio => &["record"],
            Self::Xero => &["resource"],
            Self::Bigcommerce => bigcommerce::OBJECTS,
        }
    }

    /// What of it can be listed for catching up, in the order in which it is; empty: the vendor keeps no list that says what its pushes said.
    pub const fn lists(self) -> &'static [&'static str] {
        match self {
            Self::Meta | Self::Linkedin => &["leads"],
            Self::Hubspot => hubspot::LISTS,
            Self::Stripe => &["events"],
            Self::Attio | Self::Xero | Self::Bigcommerce => &[],
        }
    }

    /// Where its API is, unless the settings say otherwise.
    pub const fn base_url(self) -> &'static str {
        match self {
            Self::Meta => "https://graph.facebook.com",
            Self::Linkedin => "https://api.linkedin.com",
            Self::Hubspot => "https://api.hubapi.com",
            Self::Stripe => "https://api.stripe.com",
            Self::Attio => "https://api.attio.com",
            Self::Xero => "https://api.xero.com",
            Self::Bigcommerce => "https://api.bigcommerce.com",
        }
    }

    /// Where it gives out OAuth tokens; `None`: it takes only tokens that do not end by themselves.
    pub const fn token_url(self) -> Option<&'static str> {
        match self {
            // learn.microsoft.com/linkedin/shared/authentication/programmatic-refresh-tokens
            Self::Linkedin => Some("https://www.linkedin.com/oauth/v2/accessToken"),
            // developer.xero.com/documentation/guides/oauth2/custom-connections
            Self::Xero => Some("https://identity.xero.com/connect/token"),
            // crm-apis.md 3.1
            Self::Hubspot => Some("https://api.hubapi.com/oauth/v1/token"),
            Self::Meta | Self::Stripe | Self::Attio | Self::Bigcommerce => None,
        }
    }

    /// Refuses credentials of a kind that the vendor does not take.
    fn suits(self, auth: &Auth) -> Result<(), SettingsError> {
        let fits = match auth {
            Auth::Bearer { .. } => true,
            Auth::ClientCredentials { .. } => self == Self::Xero,
            Auth::RefreshToken { .. } => matches!(self, Self::Linkedin | Self::Hubspot),
            Auth::JwtBearer { .. } | Auth::ApiKey { .. } | Auth::Basic { .. } => false,
        };
        let words = match self {
            Self::Linkedin | Self::Hubspot => "`bearer` (a token) or `refresh_token`",
            // Its refresh tokens are good for one use, and the next one would have to be kept safe across machines.
            Self::Xero => "`client_credentials` (a custom connection) or `bearer`",
            Self::Meta | Self::Stripe | Self::Attio | Self::Bigcommerce => "`bearer` (a token)",
        };
        if fits { Ok(()) } else { Err(SettingsError::Auth(format!("{} takes {words}", self.as_str()))) }
    }
}

/// A source's vendor as configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where its API is; the vendor's own host if it says nothing. `http` for loopback addresses only.
    pub base_url: Option<String>,
    /// How it knows us.
    pub auth: Auth,
    /// Where tokens are asked for, with the path; the vendor's own if it says nothing.
    pub token_url: Option<String>,
    /// OAuth scopes to ask for, separated by spaces, where the vendor wants them named.
    pub scope: Option<String>,
    /// The API's version; the client's default if it says nothing.
    pub version: Option<String>,
    /// Meta: the app's secret, for apps that require a proof of it with every call.
    pub app_secret: Option<Secret>,
    /// Whose things are listed: Meta's Page ids, LinkedIn's owner URNs, HubSpot's portal id, BigCommerce's store hash. At most 20.
    pub accounts: Vec<String>,
    /// HubSpot: properties to read beside the usual ones. At most 200.
    pub properties: Vec<String>,
    /// From connecting to the last byte, tokens and what belongs to the object included; 30 s if it says nothing. 1 s to 10 min.
    pub call_timeout: Option<Duration>,
    /// Lets the base URL's name stand for addresses of a private network.
    pub allow_private: bool,
}

impl Settings {
    /// Nothing but credentials.
    pub fn new(auth: Auth) -> Self {
        Self {
            base_url: None,
            auth,
            token_url: None,
            scope: None,
            version: None,
            app_secret: None,
            accounts: Vec::new(),
            properties: Vec::new(),
            call_timeout: None,
            allow_private: false,
        }
    }
}

/// What became of one id.
#[derive(Clone, Debug, PartialEq)]
pub enum Fetched {
    /// The object as the vendor gave it, with what belongs to it put in (see the client's file).
    Object(Value),
    /// The vendor says that there is no such object (any more).
    Gone,
    /// This object only could not be had.
    Refused(Failure),
}

/// What came of a fetch.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status of the vendor's answer, if there was one.
    pub status: Option<u16>,
    /// Each id with what became of it, in their order; or the failure of the whole call.
    pub result: Result<Vec<(String, Fetched)>, Failure>,
}

/// One thing that the vendor has listed.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The body of the push that told of it, or would have: what is in it that makes the event's key is the same.
    pub push: Value,
    /// The object itself under the id by which it would be fetched, where the list has already given all of it.
    pub object: Option<(String, Value)>,
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// At most [`PAGE_MAX`]; may be none, also before the end.
    pub objects: Vec<Listed>,
    /// Where the next page begins; `None` after the last one. At most [`CURSOR_BYTES_MAX`] bytes.
    pub next: Option<String>,
}

/// The most that one page holds.
pub const PAGE_MAX: usize = 200;
/// The longest cursor.
pub const CURSOR_BYTES_MAX: usize = 4_096;

/// What is to be listed: things that came to be at `since` or later and before `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first moment.
    pub since: Time,
    /// The first moment no more.
    pub until: Time,
}

fn translator(kind: Kind, settings: &Settings) -> Result<Box<dyn Api>, SettingsError> {
    Ok(match kind {
        Kind::Meta => Box::new(meta::Meta::new(settings)?),
        Kind::Linkedin => Box::new(linkedin::Linkedin::new(settings)?),
        Kind::Hubspot => Box::new(hubspot::Hubspot::new(settings)?),
        Kind::Stripe => Box::new(stripe::Stripe::new(settings)?),
        Kind::Attio => Box::new(attio::Attio),
        Kind::Xero => Box::new(xero::Xero::new(settings)),
        Kind::Bigcommerce => Box::new(bigcommerce::Bigcommerce::new(settings)?),
    })
}

/// Something that is not there to be fetched or listed: the configuration asks for it, and no retry will help.
fn unknown(what: &str, kind: Kind, known: &[&str]) -> Failure {
    let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
    let message = format!("`{what}` is nothing that the `{}` client knows; it knows {known}", kind.as_str());
    Failure::new(Class::Permanent, Scope::Call, "unknown_object", message)
}
