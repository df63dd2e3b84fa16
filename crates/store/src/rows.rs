//! Rows as the ledger's logic sees them, whichever database holds them.
#![expect(missing_docs, reason = "the members are the columns that the first migration describes")]

use std::collections::BTreeMap;

use model::event::{Mode, Warning};
use model::protocol::Outcome;
use model::quota::Lane;
use model::record::Record;
use model::{CallId, Class, DeliveryId, EventId, RawEventId, Reason, RecordId, Time};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The first 16 bytes of SHA-256: narrow enough for an index, wide enough never to meet another.
pub type Hash = [u8; 16];

/// Hashes a text for an index.
pub fn hash(text: &str) -> Hash {
    let digest = Sha256::digest(text.as_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}

/// How a raw event is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawDisposition {
    /// It brought at least one new event.
    Accepted,
    /// Everything in it was seen before.
    Duplicate,
    /// Everything in it is listed as irrelevant.
    Ignored,
    /// Something in it needs a person.
    DeadLetter,
    /// A person's edit of another raw event.
    Edited,
    /// A genuine batch of nothing.
    Empty,
}

impl RawDisposition {
    /// The place in this list is the number in the ledger.
    pub const WORDS: [&'static str; 6] = ["accepted", "duplicate", "ignored", "dead_letter", "edited", "empty"];
}

#[derive(Clone, Debug)]
pub struct RawEvent {
    pub id: RawEventId,
    pub source: String,
    pub received_at: Time,
    pub disposition: RawDisposition,
    pub events: Vec<EventId>,
    pub body_sha256: [u8; 32],
    pub key_id: u32,
    pub sealed: Vec<u8>,
    pub correlation_id: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Event {
    pub id: EventId,
    pub source: String,
    pub key: String,
    pub event_type: String,
    pub occurred_at: Time,
    pub received_at: Time,
    pub trust: u8,
    pub mapping_version: String,
    pub content_hash: Hash,
    pub ignored: bool,
    pub fallback_key: bool,
    pub raw_event: RawEventId,
    pub correlation_id: Option<String>,
    pub warnings: Vec<Warning>,
    pub normalized: String,
}

/// An event that has become whole, or of which more is known.
#[derive(Clone, Debug)]
pub struct Whole {
    pub event: EventId,
    pub mapping_version: String,
    pub ignored: bool,
    pub normalized: String,
}

/// What intake must know of an event that is there already.
#[derive(Clone, Debug)]
pub struct KnownEvent {
    pub id: EventId,
    pub content_hash: Hash,
    pub mapping_version: String,
    pub ignored: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    Open,
    Succeeded,
    Failed,
    Quarantined,
    Cancelled,
}

impl DeliveryState {
    pub const ALL: [Self; 5] = [Self::Open, Self::Succeeded, Self::Failed, Self::Quarantined, Self::Cancelled];

    pub fn of(reason: Reason) -> Self {
        match reason.state() {
            model::failure::DeadState::Failed => Self::Failed,
            model::failure::DeadState::Quarantined => Self::Quarantined,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Delivery {
    pub id: DeliveryId,
    pub record: Option<RecordId>,
    pub destination: Option<String>,
    pub object: Option<String>,
    pub mode: Mode,
    pub state: DeliveryState,
    pub generation: u32,
    pub lane: Lane,
    pub wake_at: Option<Time>,
    pub outcome: Option<Outcome>,
    pub ended_at: Option<Time>,
    pub call: Option<CallId>,
    pub owner: Option<String>,
    pub superseded_by: Option<DeliveryId>,
}

#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub delivery: DeliveryId,
    pub destination: Option<String>,
    pub source: String,
    pub reason: Reason,
    pub class: Option<Class>,
    pub message: String,
    pub owner: Option<String>,
    pub failed_at: Time,
    pub attempts: u32,
}

/// A record with where it belongs.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordEntry {
    pub id: RecordId,
    pub destination: String,
    pub object: String,
    pub key: String,
    pub record: Record,
}

/// Where a record is in the CRM, for those that belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    pub key: String,
    pub crm_id: Option<String>,
    /// It was written at least once.
    pub written: bool,
}

/// By what a record is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AliasKey {
    pub hash: Hash,
    pub kind: String,
    pub destination: String,
    pub object: String,
}

/// An open delivery with what the fold needs of its event.
#[derive(Clone, Debug)]
pub struct OpenRow {
    pub record: RecordId,
    pub delivery: DeliveryId,
    pub mode: Mode,
    pub lane: Lane,
    pub trust: u8,
    pub occurred_at: Time,
    pub received_at: Time,
    pub key: String,
    pub normalized: String,
}

/// A call as it is written before it is sent.
#[derive(Clone, Debug)]
pub struct CallRow {
    pub id: CallId,
    pub destination: String,
    pub object: String,
    pub step: &'static str,
    pub at: Time,
    pub holder: String,
    pub until: Time,
    /// Record, fence, revision, patch.
    pub records: Vec<(RecordId, i64, i64, BTreeMap<String, Value>)>,
}

/// A call's result.
#[derive(Clone, Debug)]
pub struct ResultRow {
    pub call: CallId,
    pub at: Time,
    pub duration_us: i64,
    pub http_status: Option<u16>,
    pub failure: Option<(String, String)>,
    /// Record, class or word, code, message.
    pub notes: Vec<(RecordId, String, String, String)>,
    pub endings: Vec<(DeliveryId, DeliveryState, Option<Outcome>)>,
}

/// How a delivery ended.
#[derive(Clone, Debug)]
pub struct EndRow {
    pub delivery: DeliveryId,
    pub state: DeliveryState,
    pub outcome: Option<Outcome>,
    pub at: Time,
    pub call: Option<CallId>,
    pub superseded_by: Option<DeliveryId>,
}
