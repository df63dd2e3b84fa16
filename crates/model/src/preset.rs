//! Presets: vendors, as data.
//!
//! `presets/sources/NAME.toml` says everything that a source says (see [`crate::source`]); `presets/samples/NAME.*` is a body such as the
//! vendor sends. Both are part of the program, and a test reads every one.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::source::SourceDef;

include!(concat!(env!("OUT_DIR"), "/presets.rs"));

/// A vendor, as data.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Preset {
    /// The vendor's name, for people.
    pub title: String,
    /// The vendor's own page on its webhooks.
    pub docs: String,
    /// What a person should know.
    #[serde(default)]
    pub notes: String,
    /// What the vendor is for.
    pub category: Category,
    /// How far the signature's formula is known to be right.
    pub confidence: Confidence,
    /// Where the formula is from, in one line: a page, an SDK's file, or a named secondary source.
    #[serde(rename = "source")]
    pub formula_from: String,
    /// Why it ships disabled: using it without a `signature` of one's own is then an error that says this.
    #[serde(default)]
    pub disabled: Option<String>,
    /// Headers that come with the sample, where what happened is said there: `{ x-github-event = "push" }`.
    #[serde(default)]
    pub sample_headers: BTreeMap<String, String>,
    /// Everything that a source says.
    #[serde(flatten)]
    pub source: SourceDef,
}

words! {
    /// What a vendor is for.
    Category {
        /// Forms, ads: people who want to be called.
        LeadIntake = "lead-intake",
        /// Customer relations.
        Crm = "crm",
        /// Money.
        Payments = "payments",
        /// Shops.
        Commerce = "commerce",
        /// Newsletters and mail delivery.
        Email = "email",
        /// Chat, telephone, text.
        Messaging = "messaging",
        /// Appointments.
        Scheduling = "scheduling",
        /// Help desks.
        Support = "support",
        /// Accounts and sign-ins.
        Identity = "identity",
        /// Code and what runs it.
        Developer = "developer",
        /// Anything else.
        Other = "other",
        /// No vendor: a scheme that several share.
        Generic = "generic",
    }
}

words! {
    /// How far a signature's formula is known to be right.
    Confidence {
        /// The vendor's own test vector passes.
        Published = "published",
        /// The vendor's page or SDK has the formula; our vector is computed from it.
        Documented = "documented",
        /// A named secondary source has the formula.
        Reported = "reported",
        /// Not verified.
        Unverified = "unverified",
    }
}

/// A body such as a vendor sends.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The file's extension: `json`, `form`, `multipart`, `xml` or `txt`.
    kind: &'static str,
    /// The exact bytes.
    pub body: &'static [u8],
}

impl Sample {
    /// The `Content-Type` that goes with it.
    pub fn content_type(&self) -> String {
        self.content_type_of(self.body)
    }

    /// The `Content-Type` that goes with another body of this kind.
    pub fn content_type_of(&self, body: &[u8]) -> String {
        match self.kind {
            "form" => "application/x-www-form-urlencoded".to_owned(),
            "xml" => "text/xml; charset=utf-8".to_owned(),
            "txt" => "text/plain; charset=utf-8".to_owned(),
            // The boundary is what the first line says (RFC 2046, section 5.1.1).
            "multipart" => {
                let line = body.split(|&byte| byte == b'\r' || byte == b'\n').next().unwrap_or_default();
                format!("multipart/form-data; boundary={}", String::from_utf8_lossy(line).strip_prefix("--").unwrap_or_default())
            }
            _ => "application/json".to_owned(),
        }
    }
}

/// The presets' names and the text of their files, in the order of the names.
pub fn presets() -> impl Iterator<Item = (&'static str, &'static str)> {
    PRESETS.iter().map(|&(name, text, _)| (name, text))
}

/// A body such as the vendor sends, which the preset maps fully where it maps anything.
pub fn sample(preset: &str) -> Option<Sample> {
    PRESETS.iter().find(|(name, _, _)| *name == preset).map(|&(_, _, sample)| sample)
}

/// Reads a preset's file; `None` if there is no such preset.
///
/// # Errors
///
/// What is wrong with the file.
pub fn preset(name: &str) -> Option<Result<Preset, toml::de::Error>> {
    PRESETS.iter().find(|(held, _, _)| *held == name).map(|(_, text, _)| toml::from_str(text))
}
