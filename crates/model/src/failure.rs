//! Why something did not succeed, named by what to do about it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What follows from a failed attempt (DESIGN section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Surely not applied; the same request can succeed later.
    Retryable,
    /// The CRM is well and wants us slower: its destination pauses, no attempt is counted.
    Throttled,
    /// Our credentials were refused, after one refresh.
    Auth,
    /// A different action comes first: look up, merge, wait for a parent.
    Conflict,
    /// The CRM understood and will never accept it.
    Permanent,
    /// It may or may not have happened.
    Unknown,
}

impl Class {
    /// Every class, in the order of DESIGN section 5.
    pub const ALL: [Class; 6] = [Self::Retryable, Self::Throttled, Self::Auth, Self::Conflict, Self::Permanent, Self::Unknown];

    /// The word used in the ledger, metrics and pages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retryable => "retryable",
            Self::Throttled => "throttled",
            Self::Auth => "auth",
            Self::Conflict => "conflict",
            Self::Permanent => "permanent",
            Self::Unknown => "unknown",
        }
    }

    /// Reads the word back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }
}

/// Whom a failure concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// This record only.
    Record,
    /// The call as a whole; which record is to blame is not known.
    Call,
    /// Everything that goes to this destination.
    Destination,
}

/// Why an attempt did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What to do about it.
    pub class: Class,
    /// Whom it concerns.
    pub scope: Scope,
    /// The CRM's own code, or ours for transport: `REQUIRED_FIELD_MISSING`, `timeout`, `http_502`. At most 64 bytes.
    pub code: String,
    /// What the CRM said, at most 500 characters. May hold personal data: for the ledger, never for logs.
    pub message: String,
    /// CRM fields that were named as the cause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// How long the CRM asked us to wait, already clamped to 1 s … 24 h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
    /// A dead letter's reason that the connector knows better than the class does (`ambiguous_match`, `record_not_found`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

impl Failure {
    /// A failure with nothing but a class, a scope, a code and a message; both texts are cut to their bounds.
    pub fn new(class: Class, scope: Scope, code: impl Into<String>, message: impl Into<String>) -> Self {
        let mut code = code.into();
        truncate(&mut code, 64);
        let mut message = message.into();
        truncate(&mut message, 500);
        Self { class, scope, code, message, fields: Vec::new(), retry_after: None, reason: None }
    }
}

/// Cuts a text to at most `bytes_max` bytes, at a character's boundary.
pub fn truncate(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $held:ident, $remedy:literal;)*) => {
        /// Why a delivery is a dead letter: the closed list of DESIGN section 5.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Reason] = &[$(Self::$name),*];

            /// The word used in the ledger, metrics and pages.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What a person can do about it.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }

            /// `failed` (the CRM refused, or we gave up) or `quarantined` (not sent until a person decides).
            pub const fn state(self) -> DeadState {
                match self { $(Self::$name => DeadState::$held,)* }
            }

            /// Reads the word back.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
            }
        }
    };
}

/// The two states of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadState {
    /// The CRM refused it, or we gave up.
    Failed,
    /// Not sent until a person decides.
    Quarantined,
}

reasons! {
    /// No identifier of the object's `match` list is in the event.
    MissingIdentity = "missing_identity", Quarantined, "Map one of the object's `match` identifiers for this source, or correct the payload, then replay.";
    /// No entry of the source's mapping fits.
    Unmapped = "unmapped", Quarantined, "Add an `events` entry whose `when` fits this payload, or list the type under `ignore`, then replay.";
    /// No route takes the event.
    Unrouted = "unrouted", Quarantined, "Add a route for this source and event type, then replay.";
    /// The body is not what its source sends.
    Unparseable = "unparseable", Quarantined, "Look at the raw event: the sender's format changed, or the source is the wrong one. Replay with an edited payload, or resolve.";
    /// A field has a shape that the mapping does not allow.
    SchemaMismatch = "schema_mismatch", Quarantined, "Correct the mapping of the named field, or the payload, then replay.";
    /// A bound was exceeded: items of a batch, nodes of a document, length of a value.
    Limits = "limits", Quarantined, "Ask the sender for smaller batches or raise the source's limit, then replay.";
    /// The key was seen before with other content.
    KeyConflict = "key_conflict", Quarantined, "Compare both events: if the vendor reuses ids, map a better `id`; if it corrects, replay this one.";
    /// The CRM understood and refused.
    RejectedByCrm = "rejected_by_crm", Failed, "Correct what the CRM named (its own code and fields are in the message), in the mapping or in the CRM, then replay.";
    /// The CRM refused our credentials.
    Auth = "auth", Failed, "Renew the destination's credentials or permissions, resume the destination, then replay.";
    /// The record is not in the CRM and the route may only update.
    RecordNotFound = "record_not_found", Failed, "Create the record, or let the route upsert, then replay. Where it was to be fetched from its source (`source:…`), the vendor has it no more, or hides it from our credential: restore it there and replay, or resolve.";
    /// What this delivery depends on did not succeed.
    ParentFailed = "parent_failed", Failed, "Mend and replay the parent; this delivery follows by itself.";
    /// Several CRM records have this key.
    AmbiguousMatch = "ambiguous_match", Quarantined, "Merge the duplicates in the CRM, then replay.";
    /// The event's identifiers belong to different records.
    IdentityConflict = "identity_conflict", Quarantined, "Decide which record is meant: merge them in the CRM or correct the payload, then replay.";
    /// Whether the write happened could not be found out.
    UnknownOutcome = "unknown_outcome", Quarantined, "Look into the CRM whether the change is there; replay if not, resolve if it is.";
    /// Every attempt of the schedule was used.
    AttemptsExhausted = "attempts_exhausted", Failed, "The destination was well and this record still failed every time: look at its last error, then replay.";
    /// It crashed its worker again and again.
    Poison = "poison", Quarantined, "This is a bug of ours: report it with the event's id; replay after an upgrade.";
    /// A person said no.
    ApprovalRejected = "approval_rejected", Failed, "Ask again with a change that can be approved.";
    /// Nobody said yes in time.
    ApprovalExpired = "approval_expired", Failed, "Ask again and tell an approver.";
}
