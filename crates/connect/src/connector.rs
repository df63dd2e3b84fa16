//! What every CRM's translator answers.

use std::collections::BTreeMap;
use std::time::Duration;

use model::event::Mode;
use model::{Class, Failure, Scope};
use serde_json::Value;

use crate::auth;
use crate::{AuthKind, Description, Made, Reply, Request, Setup, Statement, Token};

/// Results per record in the order of the batch, or one failure for the whole call. The former have scope `Record`, the
/// latter `Call` or `Destination`; in a batch of one, what concerns the record only is told as the record's.
pub type Outcome<T> = Result<Vec<Result<T, Failure>>, Failure>;

pub use model::protocol::{Present, Repeat, Written};
pub use model::quota::Usage;

/// The most calls that one look-up takes.
pub const READ_STEPS_MAX: usize = 4;

/// Records of one object that are written by one call. No two have the same key.
#[derive(Clone, Debug)]
pub struct WriteBatch {
    /// The CRM's object: `Lead`.
    pub object: String,
    /// The CRM field that carries the key: `External_Lead_Id__c`.
    pub key_field: String,
    /// How the CRM may be changed.
    pub mode: Mode,
    /// At most [`Limits::write_batch`] of them.
    pub records: Vec<WriteRecord>,
}

/// One record's share of a [`WriteBatch`].
#[derive(Clone, Debug)]
pub struct WriteRecord {
    /// The value of the key field.
    pub key: String,
    /// The CRM's own id, where it is known; always for [`Mode::Delete`].
    pub crm_id: Option<String>,
    /// The content's number: the same content, sent again because nobody knows what became of it, has the same one.
    pub revision: i64,
    /// What to write, by CRM field name. Null clears a field; absent leaves it; a [`model::record::Link`] points at another record.
    pub fields: BTreeMap<String, Value>,
}

/// Keys of one object that are looked up by one call.
#[derive(Clone, Debug)]
pub struct ReadBatch {
    /// The CRM's object.
    pub object: String,
    /// The CRM field that carries the keys.
    pub key_field: String,
    /// At most [`Limits::read_batch`] of them and at most what [`Connector::read_fits`] says.
    pub records: Vec<Sought>,
    /// Which fields to bring back.
    pub fields: Vec<String>,
}

/// One record that is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sought {
    /// The value of the key field.
    pub key: String,
    /// The CRM's own id, where it is known: one may look by it instead, where that is surer.
    pub crm_id: Option<String>,
}

/// What a connector can promise (protocol.md, "Connector levels").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Keyed write, conditional on a version: exact, no assumption about time.
    A,
    /// Keyed write and a strongly consistent read by key: exact once the late-write window is over.
    B,
    /// Neither: at least once.
    C,
}

/// What fits and what to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records in one write.
    pub write_batch: usize,
    /// Keys in one read.
    pub read_batch: usize,
    /// How long a full batch may take, unless the settings say otherwise.
    pub call_timeout: Duration,
    /// After how long a request that was sent can no longer take effect.
    pub late_window: Duration,
    /// The longest `Retry-After` that is believed: a silly value must not stop us for long, an honest one should be kept.
    pub retry_after_max: Duration,
}

/// How one CRM spells what the pipeline needs. Translation only: no client, no clock, no retry, no log.
pub trait Connector: Send + Sync {
    /// What can be promised.
    fn level(&self) -> Level;

    /// The same for people, with what the level does not say.
    fn statement(&self) -> Statement;

    /// What may follow when the outcome of a record's creation is unknown.
    fn repeat(&self, _object: &str, _mode: Mode) -> Repeat {
        Repeat::Keyed
    }

    /// Whether a record of an object can be looked up.
    fn reads(&self, _object: &str) -> bool {
        true
    }

    /// What fits into a call.
    fn limits(&self) -> Limits;

    /// The form of a key in which the CRM would consider two equal.
    fn canonical_key(&self, key: &str) -> String;

    /// Whether the CRM would consider two values of a field equal: what it echoes is not always what it was sent.
    fn equal(&self, field: &str, a: &Value, b: &Value) -> bool;

    /// How many of the batch's first records can share one call: at least 1, unless it is empty.
    fn write_fits(&self, batch: &WriteBatch) -> usize;

    /// Spells a write.
    ///
    /// # Errors
    ///
    /// Nothing may be sent. `Conflict` with scope `Call` for a batch that would work in halves (`too_large`,
    /// `mixed_batch`, `duplicate_key`); `Permanent` for one that never will.
    fn write(&self, batch: &WriteBatch) -> Result<Request, Failure>;

    /// Reads the answer to a write.
    ///
    /// # Errors
    ///
    /// The whole call failed, or its results cannot be told apart (`Unknown`).
    fn written(&self, batch: &WriteBatch, reply: &Reply) -> Outcome<Written>;

    /// How many of the batch's first keys fit into one read: at least 1, unless there are none.
    fn read_fits(&self, batch: &ReadBatch) -> usize;

    /// Spells a strongly consistent look-up by key.
    ///
    /// # Errors
    ///
    /// As [`Connector::write`].
    fn read(&self, batch: &ReadBatch) -> Result<Request, Failure>;

    /// Spells what else must be asked before a look-up can be read, from the answers so far; `None`: nothing. At most
    /// [`READ_STEPS_MAX`] requests are made for one look-up.
    ///
    /// # Errors
    ///
    /// As [`Connector::found`].
    fn read_on(&self, _batch: &ReadBatch, _replies: &[Reply]) -> Result<Option<Request>, Failure> {
        Ok(None)
    }

    /// Reads the answers to a look-up, in the order in which they were asked for: `None` for a key that the CRM does not have.
    ///
    /// # Errors
    ///
    /// The whole call failed. One key with several records is that key's failure (`ambiguous_match`).
    fn found(&self, batch: &ReadBatch, replies: &[Reply]) -> Outcome<Option<Present>>;

    /// Asks the CRM what fields an object has; nothing, where it does not tell.
    fn describe(&self, _object: &str) -> Vec<Request> {
        Vec::new()
    }

    /// Reads the CRM's description of an object.
    ///
    /// # Errors
    ///
    /// Why there is none: also for an object that the CRM does not have (`Permanent`).
    fn described(&self, object: &str, _replies: &[Reply]) -> Result<Description, Failure> {
        let message = format!("this CRM does not describe its objects; compare the fields of `{object}` by hand");
        Err(Failure::new(Class::Permanent, Scope::Call, "not_described", message))
    }

    /// How the field of an object's key comes to be where it is missing.
    fn setup(&self, object: &str, key_field: &str) -> Setup;

    /// Reads the answer to one of its calls.
    fn made(&self, reply: &Reply) -> Made {
        match reply.status {
            200..=299 => Made::Yes(None),
            409 => Made::There,
            _ => Made::No,
        }
    }

    /// The cheapest call that needs a valid token.
    fn probe(&self) -> Request;

    /// Reads the answer to a probe.
    ///
    /// # Errors
    ///
    /// What is wrong with the destination.
    fn probed(&self, reply: &Reply) -> Result<(), Failure>;

    /// Where tokens are asked for, unless the settings say otherwise: a URL, or a path on the base URL. `None`: there are none to ask for.
    fn token_url(&self) -> Option<String> {
        None
    }

    /// The OAuth scope to ask for, unless the settings say otherwise.
    fn scope(&self) -> Option<String> {
        None
    }

    /// Reads the token (RFC 6749, section 5, unless the CRM departs from it).
    ///
    /// # Errors
    ///
    /// Never `Unknown`: asking for a token changes no record.
    fn granted(&self, reply: &Reply) -> Result<Token, Failure> {
        auth::granted(reply)
    }

    /// The header that carries the token, or what stands for one.
    fn authorize(&self, kind: AuthKind, token: &Token) -> (String, String) {
        auth::authorization(kind, token)
    }

    /// Whether the call was refused, before any work, because its token is no longer valid. Asked only where a fresh one can be had.
    fn expired(&self, reply: &Reply) -> bool {
        reply.status == 401
    }

    /// What this reply tells of the CRM's own count of calls, window by window; nothing, where it tells nothing.
    fn usage(&self, _reply: &Reply) -> Vec<Usage> {
        Vec::new()
    }
}

/// The last of a look-up's answers.
///
/// # Errors
///
/// There is none.
pub(crate) fn last(replies: &[Reply]) -> Result<&Reply, Failure> {
    replies.last().ok_or_else(|| Failure::new(Class::Permanent, Scope::Call, "empty_batch", "nothing was asked for; this is a bug of ours"))
}

/// Whether a text may stand for an object or a field in a request: `^[A-Za-z][A-Za-z0-9_]*$`, at most 80 bytes.
pub fn valid_name(text: &str) -> bool {
    text.len() <= 80
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
