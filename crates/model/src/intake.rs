//! From what a body turned out to be, to what is to be committed.

use crate::event::{Mode, Warning};
use crate::{EventId, Identifier, Reason, Time};

/// One event of a request.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Made by the caller; kept only if the key is new.
    pub id: EventId,
    /// `lead.created`.
    pub event_type: String,
    /// The idempotency key, at most 255 bytes.
    pub key: String,
    /// When it happened.
    pub occurred_at: Time,
    /// 0 to 100, from configuration.
    pub trust: u8,
    /// Hash of the mapping's text.
    pub mapping_version: String,
    /// Tells "same key, same content" from "same key, other content".
    pub content_hash: [u8; 16],
    /// The canonical event as JSON text (`model::Event`); for what could not be mapped, what could be read of it.
    pub normalized: String,
    /// The key was made from identity and time.
    pub fallback_key: bool,
    /// What a person should know.
    pub warnings: Vec<Warning>,
    /// What is to be done with it.
    pub fate: Fate,
}

/// What is to be done with a new event.
#[derive(Clone, Debug)]
pub enum Fate {
    /// Listed as irrelevant: kept, counted, delivered nowhere.
    Ignored,
    /// It becomes a dead letter without a destination.
    DeadLetter {
        /// From the closed list.
        reason: Reason,
        /// What was found and expected.
        message: String,
        /// Who looks at it.
        owner: Option<String>,
    },
    /// At least one delivery.
    Deliveries(Vec<NewDelivery>),
}

/// One event on its way to one destination's object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// The destination's name.
    pub destination: String,
    /// The CRM's object.
    pub object: String,
    /// How it may change the CRM.
    pub mode: Mode,
    /// Who looks at it if it fails.
    pub owner: Option<String>,
    /// The CRM key that a new record gets.
    pub key: String,
    /// How the record is found, in the order of the object's `match` list. Empty means `missing_identity`.
    pub identifiers: Vec<Identifier>,
    /// From this trust on, an event may add or change a record's identifiers (`identifier_trust`).
    pub identifier_trust: u8,
}
