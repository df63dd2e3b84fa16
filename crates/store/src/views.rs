//! What people look at: never part of a decision. The memory ledger keeps no views.
//!
//! Reading uses connections of its own, so that nobody who looks holds up what is written.

use std::collections::BTreeMap;

use model::{EventId, RawEventId, Reason, RejectedId, ReplayId, Time};
use serde_json::Value;

use crate::sqlite::Sqlite;
use crate::types::*;
use crate::{Arm, Error, Store};

/// What stands in an event's place once retention has dropped it.
pub const PURGED: &str = "{}";

impl Store {
    fn viewed(&self) -> Result<&Sqlite, Error> {
        match &self.arm {
            Arm::Sqlite(sqlite) => Ok(sqlite),
            Arm::Postgres(_) | Arm::Memory(_) => Err(Error::Refused("the memory ledger keeps no views".into())),
        }
    }

    /// Keeps a refused request, and drops the oldest of its source beyond the bounds. A memory ledger keeps none.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn keep_rejected(&self, now: Time, rejected: &NewRejected, bounds: RejectedBounds) -> Result<(), Error> {
        match &self.arm {
            Arm::Sqlite(sqlite) => {
                let source = sqlite.names(&[&rejected.source]).await?.id(&rejected.source)?;
                sqlite.write(|conn| sqlite.keep_rejected(conn, now, source, rejected, bounds)).await
            }
            Arm::Postgres(_) | Arm::Memory(_) => Ok(()),
        }
    }

    /// Whether a source of this name was ever configured here. A memory ledger remembers none.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn source_existed(&self, name: &str) -> Result<bool, Error> {
        match &self.arm {
            Arm::Sqlite(sqlite) => sqlite.read(|conn| sqlite.source_existed(conn, name)).await,
            Arm::Postgres(_) | Arm::Memory(_) => Ok(false),
        }
    }

    /// Everything that happened to X: one of our ids, an idempotency key, e-mail, phone, external id, CRM id, vendor event id or correlation
    /// id. Of what is found, the oldest 200 events and 2,000 steps.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn trace(&self, _now: Time, x: &str) -> Result<Trace, Error> {
        let sqlite = self.viewed()?;
        sqlite.read(|conn| sqlite.trace(conn, x)).await
    }

    /// Events, newest first.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn events(&self, _now: Time, filter: &EventFilter) -> Result<Vec<EventRow>, Error> {
        let sqlite = self.viewed()?;
        sqlite.read(|conn| sqlite.events(conn, filter)).await
    }

    /// One event: its row, its normalized JSON (an empty object once retention has dropped it), and the text of the mapping that made it.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn event(&self, _now: Time, id: EventId) -> Result<Option<(EventRow, Value, Option<String>)>, Error> {
        let sqlite = self.viewed()?;
        sqlite.read(|conn| sqlite.event(conn, id)).await
    }

    /// A request as it came, sealed.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn raw_event(&self, id: RawEventId) -> Result<Option<RawEventRow>, Error> {
        let sqlite = self.viewed()?;
        sqlite.read(|conn| sqlite.raw_event(conn, id)).await
    }

    /// Dead letters, newest first by their deliveries' ids.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetterRow>, Error> {
        let sqlite = self.viewed()?;
        sqlite.read(|conn| sqlite.dead_letters(conn, filter)).await
    }

    /// How many dead letters fit; `limit` does not count.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn count_dead_letters(&self, filter: &DeadLetterFilter) -> Result<u64, Error> {
        let sqlite = self.viewed()?;
        sqlite.read(|conn| sqlite.count_dead_letters(conn, filter)).await
    }

    /// Records that a bulk replay begins.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn begin_replay(
        &self,
        now: Time,
        id: ReplayId,
        actor: &str,
        reason: &str,
        filter: &Value,
        matched: u64,
    ) -> Result<(), Error> {
        let sqlite = self.viewed()?;
        sqlite.write(|conn| sqlite.begin_replay(conn, now, id, actor, reason, filter, matched)).await
    }

    /// Records how far a bulk replay is; `finished_at` ends it.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn note_replay(&self, id: ReplayId, reopened: u64, refused: u64, finished_at: Option<Time>) -> Result<(), Error> {
        let sqlite = self.viewed()?;
        sqlite.write(|conn| sqlite.note_replay(conn, id, reopened, refused, finished_at)).await
    }

    /// A bulk replay.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn replay(&self, id: ReplayId) -> Result<Option<ReplayRow>, Error> {
        let sqlite = self.viewed()?;
        sqlite.read(|conn| sqlite.replay(conn, id)).await
    }

    /// Bulk replays that a stop or a crash broke off, oldest first; at most 100.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn unfinished_replays(&self) -> Result<Vec<ReplayRow>, Error> {
        let sqlite = self.viewed()?;
        sqlite.read(|conn| sqlite.unfinished_replays(conn)).await
    }

    /// Every destination's state.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn destinations(&self, now: Time) -> Result<Vec<DestinationRow>, Error> {
        let sqlite = self.viewed()?;
        sqlite.read(|conn| sqlite.destinations(conn, now)).await
    }

    /// The audit trail, newest first; `before` is the last seq of the page before. At most 1,000.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn audit_rows(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditRow>, Error> {
        let sqlite = self.viewed()?;
        sqlite.read(|conn| sqlite.audit_rows(conn, before, limit)).await
    }

    /// Rejected requests, newest first. At most 1,000.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn rejected(&self, source: Option<&str>, limit: u32) -> Result<Vec<RejectedRow>, Error> {
        let sqlite = self.viewed()?;
        sqlite.read(|conn| sqlite.rejected(conn, source, limit)).await
    }

    /// A rejected request's sealed bytes.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn rejected_one(&self, id: RejectedId) -> Result<Option<NewRejected>, Error> {
        let sqlite = self.viewed()?;
        sqlite.read(|conn| sqlite.rejected_one(conn, id)).await
    }

    /// Open deliveries whose events arrived before a moment; at most 1,000. A memory ledger has none to show.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn open_since(&self, before: Time, limit: u32) -> Result<Vec<LongOpen>, Error> {
        match &self.arm {
            Arm::Sqlite(sqlite) => sqlite.read(|conn| sqlite.open_since(conn, before, limit)).await,
            Arm::Postgres(_) | Arm::Memory(_) => Ok(Vec::new()),
        }
    }

    /// Ledger-wide numbers.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn gauges(&self, now: Time) -> Result<Gauges, Error> {
        let sqlite = self.viewed()?;
        sqlite.read(|conn| sqlite.gauges(conn, now)).await
    }

    /// Counts of deliveries by status since a moment: for the overview. Statuses without any are left out.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn counts(&self, since: Time) -> Result<BTreeMap<String, u64>, Error> {
        let sqlite = self.viewed()?;
        sqlite.read(|conn| sqlite.counts(conn, since)).await
    }

    /// Counts of dead letters by reason.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn dead_letter_reasons(&self) -> Result<BTreeMap<Reason, u64>, Error> {
        let sqlite = self.viewed()?;
        sqlite.read(|conn| sqlite.dead_letter_reasons(conn)).await
    }

    /// T18: one step of retention, over at most `limit` rows of each kind. Drops the sealed bytes of requests from before `raw_before`,
    /// normalized events, calls and their results from before `payload_before`, and everything of events from before `keys_before`; never
    /// of what is still on its way. Dead letters keep their row and key, however old. A memory ledger forgets nothing.
    ///
    /// What was on its way when its turn came has another one with the next day's pass.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written; what was done before stays done.
    pub async fn retain(
        &self,
        now: Time,
        raw_before: Time,
        payload_before: Time,
        keys_before: Time,
        limit: u32,
    ) -> Result<Retained, Error> {
        match &self.arm {
            Arm::Sqlite(sqlite) => sqlite.retain(now, [raw_before, payload_before, keys_before], limit).await,
            Arm::Postgres(_) | Arm::Memory(_) => Ok(Retained::default()),
        }
    }
}
