//! The canonical event: what a webhook becomes before it knows of any CRM.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fetch::{Fetch, Fetched, OBJECT_ID};
use crate::{Reason, Time};

/// The version of the canonical event's shape.
pub const SCHEMA_VERSION: &str = "1.0";

/// One normalized happening (DESIGN section 10). Stored as JSON text in the ledger; shown to users as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Always [`SCHEMA_VERSION`].
    pub schema_version: String,
    /// Source and vendor id: `typeform:01HF6Z…`.
    pub event_id: String,
    /// What happened: `lead.created`.
    pub event_type: String,
    /// The source's name in the configuration.
    pub source: String,
    /// When it happened, by the vendor's word or the time of receipt.
    pub occurred_at: Time,
    /// `source|event_type|source_event_id`; at most 255 bytes, longer ones are hashed.
    pub idempotency_key: String,
    /// Who it is about.
    pub identity: Identity,
    /// Of what else it tells, such as a contact's `company` and its `deal`: by name, and by the words of a `match` list.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub identities: Identities,
    /// Everything else, by canonical name; JSON scalars and lists of them. An explicit clear is a JSON null.
    pub attributes: BTreeMap<String, Value>,
    /// Where it goes. Filled in by routing.
    #[serde(default)]
    pub routing: Vec<Routing>,
    /// What is still to be fetched, of an event that came as nothing but an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch: Option<Fetch>,
    /// What was fetched, of such an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<Fetched>,
    /// Hash of the mapping's text that made this event.
    pub mapping_version: String,
    /// Where it came from.
    pub audit: Audit,
}

/// Who an event is about. At least one member is there in any event that can be delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The sender's own id of the person or company, namespaced by the source unless it is shared: `demo:42`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact_external_id: Option<String>,
    /// Trimmed, domain in lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// `+14155550100`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_e164: Option<String>,
    /// A company's domain, lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

/// Identifiers of what an event tells of besides whom it is about: `company` to `domain` to `example.com`.
pub type Identities = BTreeMap<String, BTreeMap<String, String>>;

/// One entry of an event's routing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routing {
    /// The destination's name.
    pub crm: String,
    /// The CRM's object: `Lead`.
    pub object: String,
    /// The CRM field that carries the record's key.
    pub upsert_key: String,
    /// `upsert`, `update_only`, `create_only` or `delete`.
    pub mode: Mode,
}

/// Where an event came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// When the request arrived.
    pub received_at: Time,
    /// The raw event's public id.
    pub raw_event_ref: String,
    /// The event's public id.
    pub normalized_event_ref: String,
    /// `traceparent`'s trace id, `X-Correlation-Id`, or the raw event's id.
    pub correlation_id: String,
    /// Which entry of the request it is, from 0, where the source's requests are batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<u32>,
}

/// How a delivery may change the CRM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Create the record if it is not there; else leave it alone.
    CreateOnly,
    /// Change the record if it is there; never create it.
    UpdateOnly,
    /// Create or change.
    #[default]
    Upsert,
    /// Take it out of the CRM.
    Delete,
}

impl Mode {
    /// The word used in configuration, ledger and pages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreateOnly => "create_only",
            Self::UpdateOnly => "update_only",
            Self::Upsert => "upsert",
            Self::Delete => "delete",
        }
    }

    /// Every mode; the place in this list is the number in the ledger.
    pub const ALL: [Self; 4] = [Self::CreateOnly, Self::UpdateOnly, Self::Upsert, Self::Delete];

    /// Reads the word back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }
}

/// One thing by which a record can be found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identifier {
    /// `external_id`, `email`, `phone_e164` or `domain`: the words of a `match` list; [`OBJECT_ID`] for what is fetched.
    pub kind: String,
    /// The value as it is written to the CRM. Compared without regard to case (see [`Identifier::canonical`]).
    pub value: String,
}

impl Identifier {
    /// The form that is compared: CRMs match text keys without regard to case (crm-apis.md 2.6), so two that
    /// differ only in it would be one record there and two here.
    pub fn canonical(&self) -> String {
        if self.kind == OBJECT_ID { self.value.clone() } else { self.value.trim().to_lowercase() }
    }
}

/// What one item of a webhook's body turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// Something that happened, ready for routing.
    Event {
        /// The event, with an empty `routing`.
        event: Box<Event>,
        /// Trust of its source, 0 to 100.
        trust: u8,
        /// No id was signed, so the key was made from identity and time (DESIGN section 4).
        fallback_key: bool,
        /// What a person should know: `clamped_occurred_at`, `no_signed_id`, … with a sentence each.
        warnings: Vec<Warning>,
    },
    /// Genuine, and of a type that this source lists as irrelevant.
    Ignored {
        /// The vendor's word for it.
        event_type: String,
        /// Its idempotency key.
        idempotency_key: String,
    },
    /// Genuine, and not usable: it becomes a dead letter at once.
    DeadLetter {
        /// Why, from the closed list.
        reason: Reason,
        /// What was found, what was expected, without the values themselves.
        message: String,
        /// The vendor's word for it, where it could be read.
        event_type: String,
        /// A key: the vendor's id where one could be read, else the body's hash.
        idempotency_key: String,
        /// Identity and attributes as far as they could be read, for the person who looks at it.
        partial: Option<Box<Event>>,
        /// Which entry it is, where the source's requests are batches.
        entry: Option<Entry>,
    },
}

/// One entry of a batch of which no more is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place, from 0.
    pub place: u32,
    /// Tells its content from other content under the same key.
    pub content: [u8; 16],
}

/// Something a person should know about an event that was accepted all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// A bounded word, used as a metric label: `occurred_at_clamped`, `identity_conflict`, …
    pub kind: String,
    /// A sentence for people, without personal data.
    pub message: String,
}
