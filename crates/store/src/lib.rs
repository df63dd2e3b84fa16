//! The only code that knows SQL.
//!
//! The ledger: what was accepted, what became of it, what is to be done. One concrete [`Store`] over SQLite and, for
//! simulation, memory. An operation is: load the rows of a whole batch, let `model` decide, write the rows.
//! Business times are arguments.

mod error;
pub mod types;

use std::collections::BTreeMap;

use model::{DeliveryId, EventId, RawEventId, Reason, RejectedId, ReplayId, Time};
use serde_json::Value;

pub use error::Error;
pub use types::*;

/// The ledger.
#[derive(Clone)]
pub struct Store {}

impl Store {
    /// An id for a row that the caller makes.
    pub fn next_id(&self, _now: Time) -> i64 {
        0
    }

    /// Commits a batch of requests in one transaction: raw events, events, deliveries, records. At most 256 requests.
    pub async fn accept(&self, _now: Time, _batch: &[Intake]) -> Result<Committed, Error> {
        Err(Error::Placeholder)
    }

    /// Keeps a refused request, and drops the oldest of its source beyond the bounds.
    pub async fn keep_rejected(&self, _now: Time, _rejected: &NewRejected, _bounds: RejectedBounds) -> Result<(), Error> {
        Err(Error::Placeholder)
    }

    /// Whether a source of this name was ever configured here.
    pub async fn source_existed(&self, _name: &str) -> Result<bool, Error> {
        Err(Error::Placeholder)
    }

    /// The migrations that the ledger lacks; an error if it cannot be reached. For readiness.
    pub async fn pending_migrations(&self) -> Result<Vec<String>, Error> {
        Err(Error::Placeholder)
    }

    /// Whether the ledger takes writes right now (a rolled-back write). For readiness.
    pub async fn writable(&self) -> Result<(), Error> {
        Err(Error::Placeholder)
    }

    // ---- for people -------------------------------------------------------------------------------------------

    /// Everything that happened to X: any id, key, e-mail, phone, external id, CRM id, vendor event id, correlation id.
    pub async fn trace(&self, _now: Time, _x: &str) -> Result<Trace, Error> {
        Err(Error::Placeholder)
    }

    /// Events, newest first.
    pub async fn events(&self, _now: Time, _filter: &EventFilter) -> Result<Vec<EventRow>, Error> {
        Err(Error::Placeholder)
    }

    /// One event: its row and its normalized JSON, and the text of the mapping that made it.
    pub async fn event(&self, _now: Time, _id: EventId) -> Result<Option<(EventRow, Value, Option<String>)>, Error> {
        Err(Error::Placeholder)
    }

    /// A request as it came, sealed.
    pub async fn raw_event(&self, _id: RawEventId) -> Result<Option<RawEventRow>, Error> {
        Err(Error::Placeholder)
    }

    /// Dead letters, newest first.
    pub async fn dead_letters(&self, _filter: &DeadLetterFilter) -> Result<Vec<DeadLetterRow>, Error> {
        Err(Error::Placeholder)
    }

    /// How many dead letters fit.
    pub async fn count_dead_letters(&self, _filter: &DeadLetterFilter) -> Result<u64, Error> {
        Err(Error::Placeholder)
    }

    /// Gives a dead letter to somebody. `false`: there is none. Audited.
    pub async fn assign(&self, _now: Time, _actor: &str, _id: DeliveryId, _owner: &str, _reason: &str) -> Result<bool, Error> {
        Err(Error::Placeholder)
    }

    /// Closes a dead letter as `cancelled`. `None`: no such delivery; `Some(status)` other than cancelled: it is not a dead letter. Audited.
    pub async fn resolve(&self, _now: Time, _actor: &str, _id: DeliveryId, _reason: &str) -> Result<Option<Status>, Error> {
        Err(Error::Placeholder)
    }

    /// Sends one dead letter through again. Audited. The wakeups are for the queue.
    pub async fn reopen(
        &self,
        _now: Time,
        _actor: &str,
        _reason: &str,
        _replay: &Reopen,
    ) -> Result<(Reopened, Vec<model::wakeup::Wakeup>), Error> {
        Err(Error::Placeholder)
    }

    /// Records that a bulk replay begins.
    pub async fn begin_replay(
        &self,
        _now: Time,
        _id: ReplayId,
        _actor: &str,
        _reason: &str,
        _filter: &Value,
        _matched: u64,
    ) -> Result<(), Error> {
        Err(Error::Placeholder)
    }

    /// Records how far a bulk replay is; `finished_at` ends it.
    pub async fn note_replay(&self, _id: ReplayId, _reopened: u64, _refused: u64, _finished_at: Option<Time>) -> Result<(), Error> {
        Err(Error::Placeholder)
    }

    /// A bulk replay.
    pub async fn replay(&self, _id: ReplayId) -> Result<Option<ReplayRow>, Error> {
        Err(Error::Placeholder)
    }

    /// Every destination's state.
    pub async fn destinations(&self, _now: Time) -> Result<Vec<DestinationRow>, Error> {
        Err(Error::Placeholder)
    }

    /// Stops deliveries to a destination until it is resumed. `false`: there is no such destination. Audited.
    pub async fn pause(&self, _now: Time, _actor: &str, _destination: &str, _reason: &str) -> Result<bool, Error> {
        Err(Error::Placeholder)
    }

    /// Lets deliveries go again; closes an open breaker and forgets an auth failure too. Audited.
    pub async fn resume(&self, _now: Time, _actor: &str, _destination: &str, _reason: &str) -> Result<bool, Error> {
        Err(Error::Placeholder)
    }

    /// Notes that somebody did something that must be seen later.
    pub async fn audit(&self, _now: Time, _actor: &str, _action: &str, _subject: &str, _detail: &Value) -> Result<(), Error> {
        Err(Error::Placeholder)
    }

    /// The audit trail, newest first; `before` is the last seq of the page before.
    pub async fn audit_rows(&self, _before: Option<i64>, _limit: u32) -> Result<Vec<AuditRow>, Error> {
        Err(Error::Placeholder)
    }

    /// Rejected requests, newest first.
    pub async fn rejected(&self, _source: Option<&str>, _limit: u32) -> Result<Vec<RejectedRow>, Error> {
        Err(Error::Placeholder)
    }

    /// A rejected request's sealed bytes.
    pub async fn rejected_one(&self, _id: RejectedId) -> Result<Option<NewRejected>, Error> {
        Err(Error::Placeholder)
    }

    /// Ledger-wide numbers.
    pub async fn gauges(&self, _now: Time) -> Result<Gauges, Error> {
        Err(Error::Placeholder)
    }

    /// Counts of deliveries by status since a moment: for the overview.
    pub async fn counts(&self, _since: Time) -> Result<BTreeMap<String, u64>, Error> {
        Err(Error::Placeholder)
    }

    /// Counts of dead letters by reason.
    pub async fn dead_letter_reasons(&self) -> Result<BTreeMap<Reason, u64>, Error> {
        Err(Error::Placeholder)
    }
}
