//! Id-only pushes: some vendors say only what has happened to which object, and the object is fetched from them (protocol.md, amendment 15).
//!
//! The fetch is a delivery to the source itself, under the name `source:NAME`: so it has a lease, a fence, a quota, retries and a dead letter like
//! every other. What comes back is read by the source's own mapping, and the event goes on as if it had come whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::Identities;
use crate::source::{AnswersDef, ValueDef};
use crate::{Identity, Time};

/// What a source's name begins with where it stands for a destination. No destination of the configuration can be called so.
const PREFIX: &str = "source:";
/// The kind of identifier by which the record of a fetched object is found. Vendors' ids differ in letters' case alone, so it is compared exactly.
pub const OBJECT_ID: &str = "object_id";
/// Where the pushed entry stands in the document that is read.
pub const PUSH: &str = "_push";
/// Most bytes of a pushed entry that asks for a fetch, as JSON: it is kept beside its event until the object has come.
pub const PUSH_BYTES_MAX: usize = 64 << 10;

/// The name under which objects of a source are fetched: `source:NAME`.
pub fn destination(source: &str) -> String {
    format!("{PREFIX}{source}")
}

/// The source behind such a name; `None` for a destination of the configuration.
pub fn source_of(destination: &str) -> Option<&str> {
    destination.strip_prefix(PREFIX)
}

/// `fetch` of an entry of `events`: the push says only which object it is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FetchDef {
    /// What kind of object, in the words of the vendor's client; also the name of its mapping under `fetched`.
    pub object: String,
    /// The object's id.
    pub id: ValueDef,
    /// What else the vendor's client must know, by its own names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, ValueDef>,
}

/// `[sources.NAME.fetched.OBJECT]`: how a fetched object is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FetchedDef {
    /// When the object was last changed, by the vendor's word; default: when it was fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<ValueDef>,
    /// Canonical name to value.
    #[serde(default)]
    pub fields: BTreeMap<String, ValueDef>,
    /// Identifiers of what else it tells of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub identities: BTreeMap<String, BTreeMap<String, ValueDef>>,
    /// Questions and answers that become attributes `answer_…`, whatever a form asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<AnswersDef>,
}

impl FetchedDef {
    /// Lays this over another: what it names, it changes.
    pub(crate) fn lay_over(&self, under: &mut Self) {
        if self.updated_at.is_some() {
            under.updated_at.clone_from(&self.updated_at);
        }
        if self.answers.is_some() {
            under.answers.clone_from(&self.answers);
        }
        under.fields.extend(self.fields.iter().map(|(name, value)| (name.clone(), value.clone())));
        for (whose, identifiers) in &self.identities {
            under.identities.entry(whose.clone()).or_default().extend(identifiers.clone());
        }
    }
}

/// What is still to be fetched for an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fetch {
    /// What kind of object.
    pub object: String,
    /// Its id, as the vendor spells it.
    pub id: String,
    /// What else the vendor's client must know.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, String>,
    /// The entry that was pushed; at most [`PUSH_BYTES_MAX`] bytes.
    pub push: Value,
    /// What the push said by itself, where the event holds what an earlier fetch said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<Said>,
}

/// What a push said by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// Who it is about.
    pub identity: Identity,
    /// Of what else it tells.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub identities: Identities,
    /// Everything else, by canonical name.
    pub attributes: BTreeMap<String, Value>,
}

/// What was fetched for an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// What kind of object.
    pub object: String,
    /// Its id, as the vendor spells it.
    pub id: String,
    /// When it was fetched.
    pub at: Time,
    /// When it was last changed, by the vendor's word or else the time of the fetch: the event's values are weighed by it.
    pub updated_at: Time,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_and_a_destination_are_told_apart_by_their_names() {
        assert_eq!(source_of(&destination("meta")), Some("meta"));
        assert_eq!(source_of("meta"), None);
    }
}
