//! What people look at: never part of a decision. The memory ledger keeps no views.

use std::collections::BTreeMap;

use model::{EventId, RawEventId, Reason, RejectedId, ReplayId, Time};
use serde_json::Value;

use crate::types::*;
use crate::{Error, Store};

impl Store {
    /// Keeps a refused request, and drops the oldest of its source beyond the bounds.
    pub async fn keep_rejected(&self, _now: Time, _rejected: &NewRejected, _bounds: RejectedBounds) -> Result<(), Error> {
        Err(Error::Refused("being built".into()))
    }

    /// Whether a source of this name was ever configured here.
    pub async fn source_existed(&self, _name: &str) -> Result<bool, Error> {
        Err(Error::Refused("being built".into()))
    }

    /// Everything that happened to X: any id, key, e-mail, phone, external id, CRM id, vendor event id, correlation id.
    pub async fn trace(&self, _now: Time, _x: &str) -> Result<Trace, Error> {
        Err(Error::Refused("being built".into()))
    }

    /// Events, newest first.
    pub async fn events(&self, _now: Time, _filter: &EventFilter) -> Result<Vec<EventRow>, Error> {
        Err(Error::Refused("being built".into()))
    }

    /// One event: its row and its normalized JSON, and the text of the mapping that made it.
    pub async fn event(&self, _now: Time, _id: EventId) -> Result<Option<(EventRow, Value, Option<String>)>, Error> {
        Err(Error::Refused("being built".into()))
    }

    /// A request as it came, sealed.
    pub async fn raw_event(&self, _id: RawEventId) -> Result<Option<RawEventRow>, Error> {
        Err(Error::Refused("being built".into()))
    }

    /// Dead letters, newest first.
    pub async fn dead_letters(&self, _filter: &DeadLetterFilter) -> Result<Vec<DeadLetterRow>, Error> {
        Err(Error::Refused("being built".into()))
    }

    /// How many dead letters fit.
    pub async fn count_dead_letters(&self, _filter: &DeadLetterFilter) -> Result<u64, Error> {
        Err(Error::Refused("being built".into()))
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
        Err(Error::Refused("being built".into()))
    }

    /// Records how far a bulk replay is; `finished_at` ends it.
    pub async fn note_replay(&self, _id: ReplayId, _reopened: u64, _refused: u64, _finished_at: Option<Time>) -> Result<(), Error> {
        Err(Error::Refused("being built".into()))
    }

    /// A bulk replay.
    pub async fn replay(&self, _id: ReplayId) -> Result<Option<ReplayRow>, Error> {
        Err(Error::Refused("being built".into()))
    }

    /// Every destination's state.
    pub async fn destinations(&self, _now: Time) -> Result<Vec<DestinationRow>, Error> {
        Err(Error::Refused("being built".into()))
    }

    /// The audit trail, newest first; `before` is the last seq of the page before.
    pub async fn audit_rows(&self, _before: Option<i64>, _limit: u32) -> Result<Vec<AuditRow>, Error> {
        Err(Error::Refused("being built".into()))
    }

    /// Rejected requests, newest first.
    pub async fn rejected(&self, _source: Option<&str>, _limit: u32) -> Result<Vec<RejectedRow>, Error> {
        Err(Error::Refused("being built".into()))
    }

    /// A rejected request's sealed bytes.
    pub async fn rejected_one(&self, _id: RejectedId) -> Result<Option<NewRejected>, Error> {
        Err(Error::Refused("being built".into()))
    }

    /// Ledger-wide numbers.
    pub async fn gauges(&self, _now: Time) -> Result<Gauges, Error> {
        Err(Error::Refused("being built".into()))
    }

    /// Counts of deliveries by status since a moment: for the overview.
    pub async fn counts(&self, _since: Time) -> Result<BTreeMap<String, u64>, Error> {
        Err(Error::Refused("being built".into()))
    }

    /// Counts of dead letters by reason.
    pub async fn dead_letter_reasons(&self) -> Result<BTreeMap<Reason, u64>, Error> {
        Err(Error::Refused("being built".into()))
    }
}
