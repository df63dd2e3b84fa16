//! What goes into the ledger and what comes out of it, as the rest of the house sees it.

use std::time::Duration;

use model::event::{Mode, Warning};
pub use model::intake::{Fate, NewDelivery, NewEvent};
use model::quota::Lane;
use model::{CallId, Class, DeliveryId, EventId, RawEventId, Reason, RecordId, RejectedId, ReplayId, Time};
use serde::Serialize;
use serde_json::Value;

mod numbers;

pub use numbers::{DestinationRow, Gauges};

/// One verified request, ready to be committed.
#[derive(Clone, Debug)]
pub struct Intake {
    /// The request itself.
    pub raw: NewRawEvent,
    /// What it holds; empty only for a genuine, empty batch.
    pub events: Vec<NewEvent>,
    /// How urgent it is.
    pub lane: Lane,
}

/// A request as it came, sealed.
#[derive(Clone, Debug)]
pub struct NewRawEvent {
    /// Made by the caller with [`crate::Store::next_id`].
    pub id: RawEventId,
    /// The source's name.
    pub source: String,
    /// When its last byte arrived.
    pub received_at: Time,
    /// SHA-256 of the body's bytes.
    pub body_sha256: [u8; 32],
    /// Which key sealed it.
    pub key_id: u32,
    /// Headers and body, compressed and sealed (`model::seal`).
    pub sealed: Vec<u8>,
    /// Inherited by everything that follows from it.
    pub correlation_id: String,
}

/// What became of one event of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// New, on its way.
    Accepted,
    /// Seen before with the same content.
    Duplicate,
    /// Listed as irrelevant.
    Ignored,
    /// Kept for a person.
    DeadLetter,
}

/// One event in the answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnsweredEvent {
    /// The event that holds this key: the first one for a duplicate.
    pub id: EventId,
    /// Its key.
    pub idempotency_key: String,
    /// What became of it.
    pub status: Disposition,
    /// Why, where it is a dead letter: for counting, not for the sender.
    #[serde(skip)]
    pub reason: Option<Reason>,
}

/// The answers to a batch of requests, in their order, and whom to wake.
#[derive(Debug, Default)]
pub struct Committed {
    /// One entry for each request of the batch.
    pub answers: Vec<Vec<AnsweredEvent>>,
    /// Identity conflicts found while records were matched: source and warning.
    pub warnings: Vec<(String, Warning)>,
    /// At most [`model::wakeup::RECORDS_MAX`] records each.
    pub wakeups: Vec<model::wakeup::Wakeup>,
}

/// A request that was refused for its signature, kept for a bounded time so that a wrong secret of ours loses nothing.
#[derive(Clone, Debug)]
pub struct NewRejected {
    /// Made by the caller.
    pub id: RejectedId,
    /// The source's name.
    pub source: String,
    /// When it arrived.
    pub at: Time,
    /// A bounded word: `signature_missing`, `timestamp_stale`, …
    pub reason: String,
    /// A diagnosis for operators; never in the answer.
    pub diagnosis: String,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// SHA-256 of the body.
    pub body_sha256: [u8; 32],
    /// Which key sealed it.
    pub key_id: u32,
    /// Headers and body, sealed.
    pub sealed: Vec<u8>,
}

/// How many rejected requests are kept for each source.
#[derive(Clone, Copy, Debug)]
pub struct RejectedBounds {
    /// Rows.
    pub rows_max: u32,
    /// Sealed bytes.
    pub bytes_max: u64,
    /// Age.
    pub age_max: Duration,
}

/// A rejected request, as listed.
#[derive(Clone, Debug, Serialize)]
pub struct RejectedRow {
    /// Its public id.
    pub id: RejectedId,
    /// The source's name.
    pub source: String,
    /// When it arrived.
    pub at: Time,
    /// A bounded word.
    pub reason: String,
    /// For operators.
    pub diagnosis: String,
    /// Bytes of the body.
    pub body_bytes: u64,
}

/// What a delivery shows (DESIGN section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Accepted, its record not yet looked at.
    Received,
    /// Its record is due.
    Queued,
    /// Its record is in a worker's hands.
    Processing,
    /// Its record waits after a failure.
    Retrying,
    /// Written, and waiting for certainty.
    Verifying,
    /// Done.
    Succeeded,
    /// Dead letter: refused, or given up.
    Failed,
    /// Dead letter: a person decides.
    Quarantined,
    /// A person or a replay ended it.
    Cancelled,
}

impl Status {
    /// Every status.
    pub const ALL: [Status; 9] = [
        Self::Received,
        Self::Queued,
        Self::Processing,
        Self::Retrying,
        Self::Verifying,
        Self::Succeeded,
        Self::Failed,
        Self::Quarantined,
        Self::Cancelled,
    ];

    /// The word used everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Queued => "queued",
            Self::Processing => "processing",
            Self::Retrying => "retrying",
            Self::Verifying => "verifying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
            Self::Cancelled => "cancelled",
        }
    }
}

/// An event in a list.
#[derive(Clone, Debug, Serialize)]
pub struct EventRow {
    /// Public id.
    pub id: EventId,
    /// The source's name.
    pub source: String,
    /// What happened.
    pub event_type: String,
    /// The idempotency key.
    pub idempotency_key: String,
    /// When it happened.
    pub occurred_at: Time,
    /// When it arrived.
    pub received_at: Time,
    /// From the source's configuration at that time.
    pub trust: u8,
    /// Hash of the mapping that made it.
    pub mapping_version: String,
    /// The key was made from identity and time.
    pub fallback_key: bool,
    /// Listed as irrelevant.
    pub ignored: bool,
    /// For correlation with logs.
    pub correlation_id: String,
    /// The first request that held it.
    pub raw_event: RawEventId,
    /// What a person should know.
    pub warnings: Vec<Warning>,
    /// Where it goes.
    pub deliveries: Vec<DeliveryRow>,
}

/// A delivery, with what is known of its record.
#[derive(Clone, Debug, Serialize)]
pub struct DeliveryRow {
    /// Public id.
    pub id: DeliveryId,
    /// The event it carries.
    pub event: EventId,
    /// The destination's name; `None` for what could not be routed.
    pub destination: Option<String>,
    /// The CRM's object.
    pub object: Option<String>,
    /// `upsert`, `update_only`, `create_only`.
    pub mode: Mode,
    /// Derived from its own state and its record's.
    pub status: Status,
    /// `applied`, `unchanged` or `superseded` once it succeeded.
    pub outcome: Option<String>,
    /// Its record.
    pub record: Option<RecordId>,
    /// The record's key in the CRM.
    pub record_key: Option<String>,
    /// The record's id in the CRM, where known.
    pub crm_record_id: Option<String>,
    /// 1, and one more for each replay.
    pub generation: u32,
    /// When it ended.
    pub ended_at: Option<Time>,
    /// When something happens next, while it is open.
    pub wake_at: Option<Time>,
    /// The delivery that replaced it, after a replay that led to another record.
    pub superseded_by: Option<DeliveryId>,
    /// Why it is a dead letter.
    pub dead_letter: Option<DeadLetterRow>,
}

/// Why a delivery is a dead letter.
#[derive(Clone, Debug, Serialize)]
pub struct DeadLetterRow {
    /// The delivery.
    pub id: DeliveryId,
    /// `failed` or `quarantined`.
    pub status: Status,
    /// From the closed list.
    pub reason: Reason,
    /// What a person can do.
    pub remedy: &'static str,
    /// The failure's class, where a call failed.
    pub class: Option<Class>,
    /// What the CRM said, or what we found.
    pub message: String,
    /// Who looks at it.
    pub owner: Option<String>,
    /// The source's name.
    pub source: String,
    /// What happened.
    pub event_type: String,
    /// The event.
    pub event: EventId,
    /// The idempotency key.
    pub idempotency_key: String,
    /// The destination's name.
    pub destination: Option<String>,
    /// The CRM's object.
    pub object: Option<String>,
    /// When the event first arrived.
    pub first_received_at: Time,
    /// When it became a dead letter.
    pub failed_at: Time,
    /// When the CRM was last asked.
    pub last_attempt_at: Option<Time>,
    /// Calls that carried it.
    pub attempts: u32,
    /// The first request that held it.
    pub raw_event: RawEventId,
}

/// Which dead letters are meant. Every given member must fit.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterFilter {
    /// The delivery itself.
    pub id: Option<DeliveryId>,
    /// By destination; `Some("")` means those without one.
    pub destination: Option<String>,
    /// By source.
    pub source: Option<String>,
    /// By reason.
    pub reason: Option<Reason>,
    /// By owner.
    pub owner: Option<String>,
    /// By event type.
    pub event_type: Option<String>,
    /// Failed at or after.
    pub since: Option<Time>,
    /// Failed before.
    pub until: Option<Time>,
    /// Only after this one, in the listing's order (newest first): the last id of the page before.
    pub after: Option<DeliveryId>,
    /// At most this many; 1 to 1,000.
    pub limit: u32,
}

/// Which events are meant.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// By source.
    pub source: Option<String>,
    /// By type.
    pub event_type: Option<String>,
    /// Received at or after.
    pub since: Option<Time>,
    /// Received before.
    pub until: Option<Time>,
    /// The last id of the page before (newest first).
    pub after: Option<EventId>,
    /// At most this many; 1 to 1,000.
    pub limit: u32,
}

/// A request as it came, still sealed.
#[derive(Clone, Debug)]
pub struct RawEventRow {
    /// Public id.
    pub id: RawEventId,
    /// The source's name.
    pub source: String,
    /// When it arrived.
    pub received_at: Time,
    /// `accepted`, `duplicate`, `ignored`, `dead_letter` or `edited`: its first event's.
    pub disposition: String,
    /// SHA-256 of the body.
    pub body_sha256: Vec<u8>,
    /// Which key sealed it.
    pub key_id: u32,
    /// Empty once retention has dropped it.
    pub sealed: Vec<u8>,
    /// For correlation with logs.
    pub correlation_id: String,
    /// The events it held, or duplicated.
    pub events: Vec<EventId>,
}

/// One thing that happened, in a trace.
#[derive(Clone, Debug, Serialize)]
pub struct TraceStep {
    /// When.
    pub at: Time,
    /// A bounded word: `received`, `duplicate`, `accepted`, `claimed`, `read`, `written`, `verified`, `failed`, `settled`, `replayed`, …
    pub step: String,
    /// A sentence for people.
    pub detail: String,
    /// The event it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventId>,
    /// The delivery it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryId>,
    /// The call it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// How long it took, for calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// HTTP status, for calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
}

/// Everything that happened to X, in order.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Trace {
    /// What X turned out to be: `idempotency_key`, `event`, `raw_event`, `delivery`, `record`, `crm_record_id`, `record_key`, `identifier`, `correlation_id`, `source_event_id`, `call`.
    pub found_as: Vec<String>,
    /// The events behind it, oldest first; at most 200.
    pub events: Vec<EventRow>,
    /// The records behind it.
    pub records: Vec<RecordRow>,
    /// What happened, oldest first; at most 2,000.
    pub steps: Vec<TraceStep>,
    /// There was more than is shown.
    pub truncated: bool,
}

/// A record, as shown to people.
#[derive(Clone, Debug, Serialize)]
pub struct RecordRow {
    /// Public id.
    pub id: RecordId,
    /// The destination's name.
    pub destination: String,
    /// The CRM's object.
    pub object: String,
    /// Its key in the CRM.
    pub key: String,
    /// Its id in the CRM.
    pub crm_record_id: Option<String>,
    /// `clean`, `due`, `waiting`, `leased`, `verifying`, `held`.
    pub state: String,
    /// When something happens next.
    pub wake_at: Option<Time>,
    /// Counted attempts since the last success.
    pub attempts: u32,
    /// What we know of each field: value, trust, time, and whose word it is.
    pub fields: Value,
    /// The last failure, in the CRM's words.
    pub last_error: Option<String>,
}

/// One row of the audit trail.
#[derive(Clone, Debug, Serialize)]
pub struct AuditRow {
    /// Rises by one within a chain.
    pub seq: i64,
    /// When.
    pub at: Time,
    /// Who: a token's name, `cli`, or `system`.
    pub actor: String,
    /// What: `replay`, `resolve`, `assign`, `pause`, `resume`, `raw_event_read`, `configuration`, …
    pub action: String,
    /// On what.
    pub subject: String,
    /// Why, and with what.
    pub detail: Value,
    /// SHA-256 over the row before and this one, in hex.
    pub hash: String,
}

/// A replay that is to be done for one delivery.
#[derive(Clone, Debug)]
pub struct Reopen {
    /// Which dead letter.
    pub delivery: DeliveryId,
    /// The event, normalized again: its new text, mapping and trust. `None` keeps the stored one.
    pub event: Option<NewEvent>,
    /// An edited payload, kept beside the original.
    pub edited: Option<NewRawEvent>,
}

/// What a replay did to one delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Reopened {
    /// It is open again under the same key.
    Reopened {
        /// The delivery that is on its way.
        delivery: DeliveryId,
        /// Its generation.
        generation: u32,
    },
    /// Its event now leads elsewhere: this delivery was closed and these replace it.
    Replaced {
        /// The new deliveries.
        by: Vec<DeliveryId>,
    },
    /// Normalizing again failed as before: still a dead letter, with the reason of today.
    StillDead {
        /// Why.
        reason: Reason,
        /// What was found.
        message: String,
    },
    /// It is on its way already, or has ended well.
    InFlight {
        /// What it shows.
        status: Status,
    },
    /// There is no such delivery.
    NotFound,
}

/// The state of a bulk replay.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayRow {
    /// Public id.
    pub id: ReplayId,
    /// When it was asked for.
    pub at: Time,
    /// Who asked.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The filter, as asked.
    pub filter: Value,
    /// Deliveries that fitted.
    pub matched: u64,
    /// Opened again or replaced.
    pub reopened: u64,
    /// Still dead, or in flight by then.
    pub refused: u64,
    /// When it was through.
    pub finished_at: Option<Time>,
}

/// What one step of retention did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Retained {
    /// Requests whose sealed bytes were dropped.
    pub raw_events: u64,
    /// Events whose normalized JSON was dropped.
    pub payloads: u64,
    /// Calls that were deleted, with what came back.
    pub calls: u64,
    /// Events that were deleted, with their deliveries and requests.
    pub events: u64,
    /// Rejected requests that were deleted.
    pub rejected: u64,
    /// There is more to do: call again, after a pause that lets others write.
    pub more: bool,
}

/// An open delivery that has been on its way for long.
#[derive(Clone, Debug)]
pub struct LongOpen {
    /// Which one.
    pub delivery: DeliveryId,
    /// The destination's name.
    pub destination: String,
    /// The CRM's object.
    pub object: String,
    /// Who looks after it.
    pub owner: Option<String>,
    /// The source's name.
    pub source: String,
    /// What happened.
    pub event_type: String,
    /// When it arrived.
    pub received_at: Time,
}
