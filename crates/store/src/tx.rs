//! One transaction over whichever database holds the ledger. What is the same for all of them is written above this;
//! what differs is below.

use std::collections::{BTreeMap, BTreeSet};

use model::destination::Destination;
use model::drift::Learned;
use model::quota::Lane;
use model::{CallId, Class, DeliveryId, EventId, Reason, RecordId, RejectedId, Time};
use serde_json::Value;

use crate::Error;
use crate::catch_up::CatchUpRow;
use crate::reconcile::{ReconciliationRow, Sights};
use crate::rows::{
    AliasKey, CallRow, DeadLetter, Delivery, EndRow, Event, KnownEvent, OpenRow, RawEvent, RecordEntry, ResultRow, Whereabouts, Whole,
};
use crate::{memory, postgres, sqlite};

/// A dead letter to be made: delivery, reason, class, message, attempts.
pub type Burial = (DeliveryId, Reason, Option<Class>, String, u32);

/// What was sent for a record in a call.
pub type Sent = BTreeMap<(CallId, RecordId), BTreeMap<String, Value>>;

/// Some of a destination's open deliveries were looked at.
#[derive(Default)]
pub struct Looked {
    /// Clean records behind them: nobody will come for these.
    pub asleep: BTreeSet<RecordId>,
    /// The last of them, if there may be more.
    pub last: Option<DeliveryId>,
}

impl Looked {
    /// Open deliveries by id, each with its record and whether that is clean; at most `limit` were asked for.
    pub fn of(rows: &[(DeliveryId, RecordId, bool)], limit: u32) -> Self {
        let last = rows.last().filter(|_| rows.len() >= limit as usize).map(|(delivery, _, _)| *delivery);
        Self { asleep: rows.iter().filter(|(_, _, clean)| *clean).map(|(_, record, _)| *record).collect(), last }
    }
}

/// A writing transaction; dropped without a commit, it never happened.
pub(crate) enum Tx {
    /// On SQLite.
    Sqlite(Box<sqlite::tx::Tx>),
    /// On PostgreSQL.
    Postgres(Box<postgres::tx::Tx>),
    /// In memory, for simulation: what was written stays written, because nothing in it can fail half-way.
    Memory(memory::Tx),
}

macro_rules! on_each {
    ($(fn $name:ident(&mut self $(, $argument:ident: $kind:ty)*) -> $result:ty;)*) => {
        impl Tx {
            $(pub async fn $name(&mut self $(, $argument: $kind)*) -> Result<$result, Error> {
                match self {
                    Self::Sqlite(tx) => tx.$name($($argument),*),
                    Self::Postgres(tx) => tx.$name($($argument),*).await,
                    Self::Memory(tx) => tx.$name($($argument),*),
                }
            })*
        }
    };
}

on_each! {
    fn find_events(&mut self, keys: &BTreeSet<(String, [u8; 16])>) -> BTreeMap<(String, [u8; 16]), KnownEvent>;
    fn find_aliases(&mut self, keys: &BTreeSet<AliasKey>) -> BTreeMap<AliasKey, RecordId>;
    fn alias_kinds(&mut self, records: &BTreeSet<RecordId>) -> BTreeSet<(RecordId, String)>;
    fn insert_intake(&mut self, raws: &[RawEvent], events: &[Event], deliveries: &[Delivery], wake: &BTreeMap<RecordId, Lane>, now: Time) -> ();
    fn update_event(&mut self, event: &Event) -> ();
    fn make_whole(&mut self, events: &[Whole]) -> ();
    fn add_warnings(&mut self, event: EventId, added: &[model::event::Warning]) -> ();
    fn insert_dead_letters(&mut self, letters: &[DeadLetter]) -> ();
    fn insert_records(&mut self, records: &[RecordEntry]) -> ();
    fn insert_aliases(&mut self, aliases: &BTreeMap<AliasKey, RecordId>) -> u64;
    fn wake_blocked(&mut self, records: &BTreeSet<RecordId>, now: Time) -> ();
    fn whereabouts(&mut self, records: &BTreeSet<RecordId>) -> BTreeMap<RecordId, Whereabouts>;
    fn orphans_of(&mut self, event: EventId) -> Vec<DeliveryId>;
    fn wake_with_open(&mut self, records: &BTreeSet<RecordId>, now: Time) -> ();
    fn open_records_of(&mut self, events: &BTreeSet<EventId>) -> BTreeSet<RecordId>;
    fn due(&mut self, destination: &str, now: Time, lanes: &[Lane], limit: u32) -> Vec<RecordEntry>;
    fn next_due(&mut self, destination: &str, lanes: &[Lane]) -> Option<Time>;
    fn records(&mut self, wanted: &BTreeSet<RecordId>) -> BTreeMap<RecordId, RecordEntry>;
    fn open_deliveries(&mut self, records: &BTreeSet<RecordId>, each: usize) -> Vec<OpenRow>;
    fn sent(&mut self, calls: &BTreeSet<CallId>) -> Sent;
    fn put_records(&mut self, records: &[(&RecordEntry, bool)]) -> ();
    fn end_deliveries(&mut self, ends: &[EndRow]) -> ();
    fn bury(&mut self, letters: &[Burial], now: Time) -> ();
    fn insert_calls(&mut self, calls: &[CallRow]) -> ();
    fn insert_results(&mut self, results: &[ResultRow]) -> ();
    fn live_calls(&mut self, destination: &str, now: Time, latest: Time) -> u32;
    fn destination(&mut self, name: &str) -> Option<Destination>;
    fn hold_destination(&mut self, name: &str) -> Option<Destination>;
    fn put_destination(&mut self, name: &str, state: &Destination) -> ();
    fn delivery(&mut self, id: DeliveryId) -> Option<Delivery>;
    fn deliveries_of(&mut self, events: &BTreeSet<EventId>) -> Vec<Delivery>;
    fn reopen(&mut self, id: DeliveryId, lane: Lane, now: Time) -> ();
    fn event(&mut self, id: EventId) -> Option<Event>;
    fn forget_dead_letter(&mut self, id: DeliveryId) -> ();
    fn assign(&mut self, id: DeliveryId, owner: &str) -> bool;
    fn forget_rejected(&mut self, id: RejectedId) -> bool;
    fn hold_drift(&mut self, source: &str, event_type: &str, now: Time) -> Option<Learned>;
    fn put_drift(&mut self, source: &str, event_type: &str, learned: &Learned, now: Time) -> ();
    fn audit_tail(&mut self) -> Option<(i64, Vec<u8>)>;
    fn insert_audit(&mut self, seq: i64, at: Time, words: [&str; 3], detail: &str, hash: &[u8]) -> ();
    fn insert_catch_up(&mut self, new: &CatchUpRow) -> ();
    fn open_catch_ups(&mut self, source: &str) -> Vec<CatchUpRow>;
    fn put_catch_up(&mut self, held: &CatchUpRow) -> ();
    fn last_catch_up(&mut self, source: &str) -> (Option<Time>, Option<Time>);
    fn count_correlated(&mut self, correlation: &str) -> u64;
    fn insert_reconciliation(&mut self, new: &ReconciliationRow) -> ();
    fn open_reconciliations(&mut self, destination: &str) -> Vec<ReconciliationRow>;
    fn put_reconciliation(&mut self, held: &ReconciliationRow) -> ();
    fn last_reconciliation(&mut self, destination: &str, object: &str) -> (Option<Time>, RecordId);
    fn sights(&mut self, destination: &str, object: &str, after: RecordId, up_to: RecordId, limit: u32) -> Sights;
    fn last_succeeded(&mut self, records: &BTreeSet<RecordId>) -> Vec<DeliveryId>;
    fn look_at_open(&mut self, destination: &str, after: DeliveryId, limit: u32) -> Looked;
}

impl Tx {
    /// Makes it true.
    pub async fn commit(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(tx) => tx.commit(),
            Self::Postgres(tx) => tx.commit().await,
            Self::Memory(_) => Ok(()),
        }
    }
}
