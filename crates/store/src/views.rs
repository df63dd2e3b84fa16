//! What people look at: never part of a decision. The memory ledger keeps no views.
//!
//! Reading uses connections or moments of its own, so that nobody who looks holds up what is written. A database's own folder spells the
//! statements; what their rows mean is in the files below.

pub(crate) mod catch_up;
pub(crate) mod dead_letters;
pub(crate) mod events;
pub(crate) mod find;
pub(crate) mod numbers;
pub(crate) mod overdue;
pub(crate) mod reconcile;
pub(crate) mod rejected;
pub(crate) mod retention;
pub(crate) mod trace;

use std::collections::BTreeMap;

use model::{EventId, RawEventId, Reason, RejectedId, ReplayId, Time};
use serde_json::Value;

use crate::types::*;
use crate::{Arm, Error, Store};

pub(crate) use numbers::Seen;
pub(crate) use retention::Progress;

/// What stands in an event's place once retention has dropped it.
pub const PURGED: &str = "{}";

/// The most rows of a page.
const PAGE_MAX: u32 = 1_000;

/// A page's size, within bounds.
pub(crate) fn page(limit: u32) -> i64 {
    i64::from(limit.clamp(1, PAGE_MAX))
}

fn unviewed() -> Error {
    Error::Refused("the memory ledger keeps no views".into())
}

/// Looks at one moment of whichever ledger it is.
macro_rules! look {
    ($store:ident.$view:ident($($argument:expr),*)) => {
        match &$store.arm {
            Arm::Sqlite(sqlite) => sqlite.read(|conn| sqlite.$view(conn, $($argument),*)).await,
            Arm::Postgres(postgres) => postgres.moment().await?.$view($($argument),*).await,
            Arm::Memory(_) => Err(unviewed()),
        }
    };
}

impl Store {
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
            Arm::Postgres(postgres) => postgres.keep_rejected(now, rejected, bounds).await,
            Arm::Memory(_) => Ok(()),
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
            Arm::Postgres(postgres) => postgres.moment().await?.source_existed(name).await,
            Arm::Memory(_) => Ok(false),
        }
    }

    /// Everything that happened to X: one of our ids, an idempotency key, e-mail, phone, external id, CRM id, vendor event id or correlation
    /// id. Of what is found, the oldest 200 events and 2,000 steps.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn trace(&self, _now: Time, x: &str) -> Result<Trace, Error> {
        look!(self.trace(x))
    }

    /// Events, newest first.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn events(&self, _now: Time, filter: &EventFilter) -> Result<Vec<EventRow>, Error> {
        look!(self.events(filter))
    }

    /// One event: its row, its normalized JSON (an empty object once retention has dropped it), and the text of the mapping that made it.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn event(&self, _now: Time, id: EventId) -> Result<Option<(EventRow, Value, Option<String>)>, Error> {
        look!(self.event(id))
    }

    /// A request as it came, sealed.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn raw_event(&self, id: RawEventId) -> Result<Option<RawEventRow>, Error> {
        look!(self.raw_event(id))
    }

    /// Dead letters, newest first by their deliveries' ids.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetterRow>, Error> {
        look!(self.dead_letters(filter))
    }

    /// How many dead letters fit; `limit` does not count.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn count_dead_letters(&self, filter: &DeadLetterFilter) -> Result<u64, Error> {
        look!(self.count_dead_letters(filter))
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
        match &self.arm {
            Arm::Sqlite(sqlite) => sqlite.write(|conn| sqlite.begin_replay(conn, now, id, actor, reason, filter, matched)).await,
            Arm::Postgres(postgres) => postgres.begin_replay(now, id, actor, reason, filter, matched).await,
            Arm::Memory(_) => Err(unviewed()),
        }
    }

    /// Records how far a bulk replay is; `finished_at` ends it.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn note_replay(&self, id: ReplayId, reopened: u64, refused: u64, finished_at: Option<Time>) -> Result<(), Error> {
        match &self.arm {
            Arm::Sqlite(sqlite) => sqlite.write(|conn| sqlite.note_replay(conn, id, reopened, refused, finished_at)).await,
            Arm::Postgres(postgres) => postgres.note_replay(id, reopened, refused, finished_at).await,
            Arm::Memory(_) => Err(unviewed()),
        }
    }

    /// A bulk replay.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn replay(&self, id: ReplayId) -> Result<Option<ReplayRow>, Error> {
        look!(self.replay(id))
    }

    /// Bulk replays that a stop or a crash broke off, oldest first; at most 100.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn unfinished_replays(&self) -> Result<Vec<ReplayRow>, Error> {
        look!(self.unfinished_replays())
    }

    /// Every destination's state.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn destinations(&self, now: Time) -> Result<Vec<DestinationRow>, Error> {
        look!(self.destinations(now))
    }

    /// The audit trail, newest first; `before` is the last seq of the page before. At most 1,000.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn audit_rows(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditRow>, Error> {
        look!(self.audit_rows(before, limit))
    }

    /// Rejected requests, newest first. At most 1,000.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn rejected(&self, source: Option<&str>, limit: u32) -> Result<Vec<RejectedRow>, Error> {
        look!(self.rejected(source, limit))
    }

    /// Rejected requests of a source that came after one of them, oldest first. At most 1,000.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn rejected_after(&self, source: &str, after: RejectedId, limit: u32) -> Result<Vec<RejectedId>, Error> {
        look!(self.rejected_after(source, after, limit))
    }

    /// How many rejected requests of each source are kept; sources without any are left out.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn count_rejected(&self) -> Result<BTreeMap<String, u64>, Error> {
        look!(self.count_rejected())
    }

    /// A rejected request's sealed bytes.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn rejected_one(&self, id: RejectedId) -> Result<Option<NewRejected>, Error> {
        look!(self.rejected_one(id))
    }

    /// Open deliveries whose events arrived before a moment; at most 1,000. A memory ledger has none to show.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn open_since(&self, before: Time, limit: u32) -> Result<Vec<LongOpen>, Error> {
        match &self.arm {
            Arm::Sqlite(sqlite) => sqlite.read(|conn| sqlite.open_since(conn, before, limit)).await,
            Arm::Postgres(postgres) => postgres.moment().await?.open_since(before, limit).await,
            Arm::Memory(_) => Ok(Vec::new()),
        }
    }

    /// Ledger-wide numbers.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn gauges(&self, now: Time) -> Result<Gauges, Error> {
        look!(self.gauges(now))
    }

    /// Counts of deliveries by status since a moment: for the overview. Statuses without any are left out.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn counts(&self, since: Time) -> Result<BTreeMap<String, u64>, Error> {
        look!(self.counts(since))
    }

    /// Counts of dead letters by reason.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn dead_letter_reasons(&self) -> Result<BTreeMap<Reason, u64>, Error> {
        look!(self.dead_letter_reasons())
    }

    /// T18: one step of retention, over at most `limit` rows of each kind. Drops the sealed bytes of requests from before `raw_before`,
    /// normalized events, calls and their results from before `payload_before`, and everything of events from before `keys_before`; never
    /// of what is still on its way. Dead letters keep their row and key, however old. A memory ledger forgets nothing.
    ///
    /// What was on its way when its turn came has another one with the next day's pass. On PostgreSQL a day of requests, of payloads or of calls of which
    /// nothing is open or a dead letter is dropped whole, so that a request is no longer there to be looked up; and the tables of the coming
    /// days are made.
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
            Arm::Postgres(postgres) => postgres.retain(now, [raw_before, payload_before, keys_before], limit).await,
            Arm::Memory(_) => Ok(Retained::default()),
        }
    }
}
