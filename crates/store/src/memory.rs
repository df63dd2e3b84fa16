//! The memory arm: the same tables as plain maps, for simulation and for comparing the databases against. A method is the
//! statement of the same name on SQLite, and as short as it can be read.

mod catch_up;
mod reconcile;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::destination::Destination;
use model::drift::Learned;
use model::event::Warning;
use model::quota::Lane;
use model::record::State;
use model::{CallId, CatchUpId, DeliveryId, EventId, ReconciliationId, RecordId, RejectedId, Time};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::Error;
use crate::catch_up::CatchUpRow;
use crate::reconcile::ReconciliationRow;
use crate::rows::{
    AliasKey, CallRow, DeadLetter, Delivery, DeliveryState, EndRow, Event, KnownEvent, OpenRow, RawEvent, RecordEntry, ResultRow,
    Whereabouts, Whole, hash,
};
use crate::tx::{Burial, Looked, Sent};

/// A row of the audit trail: sequence, time, words, detail, hash.
pub type AuditEntry = (i64, Time, [String; 3], String, Vec<u8>);

/// Everything the ledger holds.
#[derive(Debug, Default)]
pub struct Tables {
    /// By id.
    pub raw_events: BTreeMap<i64, RawEvent>,
    /// By id.
    pub events: BTreeMap<EventId, Event>,
    /// By id.
    pub deliveries: BTreeMap<DeliveryId, Delivery>,
    /// By delivery.
    pub dead_letters: BTreeMap<DeliveryId, DeadLetter>,
    /// By id.
    pub records: BTreeMap<RecordId, RecordEntry>,
    /// By what they are found.
    pub aliases: BTreeMap<AliasKey, RecordId>,
    /// In the order they were made.
    pub calls: BTreeMap<CallId, CallRow>,
    /// In the order they came back.
    pub results: Vec<ResultRow>,
    /// Calls under way, with their destination and end.
    pub leases: BTreeMap<CallId, (String, Time)>,
    /// By name.
    pub destinations: BTreeMap<String, Destination>,
    /// Oldest first.
    pub audit: Vec<AuditEntry>,
    /// By id.
    pub catch_ups: BTreeMap<CatchUpId, CatchUpRow>,
    /// By id.
    pub reconciliations: BTreeMap<ReconciliationId, ReconciliationRow>,
    /// By source and event type.
    pub drift: BTreeMap<(String, String), Learned>,
    event_keys: BTreeMap<(String, [u8; 16]), EventId>,
    open: BTreeMap<RecordId, BTreeSet<DeliveryId>>,
}

/// A ledger in memory.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Tables>>);

impl Memory {
    /// The tables, alone.
    pub async fn lock(&self) -> OwnedMutexGuard<Tables> {
        Arc::clone(&self.0).lock_owned().await
    }
}

/// A transaction: the tables, alone.
pub(crate) struct Tx(OwnedMutexGuard<Tables>);

impl Tx {
    pub(crate) async fn begin(memory: &Memory) -> Self {
        Self(memory.lock().await)
    }

    pub(crate) fn find_events(&mut self, keys: &BTreeSet<(String, [u8; 16])>) -> Result<BTreeMap<(String, [u8; 16]), KnownEvent>, Error> {
        let known = |key: &(String, [u8; 16])| {
            let event = &self.0.events[self.0.event_keys.get(key)?];
            let (content_hash, mapping_version) = (event.content_hash, event.mapping_version.clone());
            Some((key.clone(), KnownEvent { id: event.id, content_hash, mapping_version, ignored: event.ignored }))
        };
        Ok(keys.iter().filter_map(known).collect())
    }

    pub(crate) fn find_aliases(&mut self, keys: &BTreeSet<AliasKey>) -> Result<BTreeMap<AliasKey, RecordId>, Error> {
        Ok(keys.iter().filter_map(|key| self.0.aliases.get(key).map(|record| (key.clone(), *record))).collect())
    }

    pub(crate) fn alias_kinds(&mut self, records: &BTreeSet<RecordId>) -> Result<BTreeSet<(RecordId, String)>, Error> {
        Ok(self.0.aliases.iter().filter(|(_, record)| records.contains(record)).map(|(key, record)| (*record, key.kind.clone())).collect())
    }

    /// What a batch of requests writes, and whom it wakes.
    pub(crate) fn insert_intake(
        &mut self,
        raws: &[RawEvent],
        events: &[Event],
        deliveries: &[Delivery],
        wake: &BTreeMap<RecordId, Lane>,
        now: Time,
    ) -> Result<(), Error> {
        self.insert_raw_events(raws)?;
        self.insert_events(events)?;
        self.insert_deliveries(deliveries)?;
        self.wake(wake, now)
    }

    fn insert_raw_events(&mut self, raws: &[RawEvent]) -> Result<(), Error> {
        self.0.raw_events.extend(raws.iter().map(|raw| (raw.id.0, raw.clone())));
        Ok(())
    }

    fn insert_events(&mut self, events: &[Event]) -> Result<(), Error> {
        for event in events {
            let key = (event.source.clone(), hash(&event.key));
            if self.0.event_keys.insert(key, event.id).is_some() {
                return Err(Error::Rule(format!("the key of {} is taken", event.id)));
            }
            self.0.events.insert(event.id, event.clone());
        }
        Ok(())
    }

    pub(crate) fn update_event(&mut self, event: &Event) -> Result<(), Error> {
        if let Some(held) = self.0.events.get_mut(&event.id) {
            held.event_type.clone_from(&event.event_type);
            held.trust = event.trust;
            held.mapping_version.clone_from(&event.mapping_version);
            (held.ignored, held.fallback_key) = (event.ignored, event.fallback_key);
            held.warnings.clone_from(&event.warnings);
            held.normalized.clone_from(&event.normalized);
        }
        Ok(())
    }

    pub(crate) fn make_whole(&mut self, events: &[Whole]) -> Result<(), Error> {
        for whole in events {
            if let Some(held) = self.0.events.get_mut(&whole.event) {
                held.mapping_version.clone_from(&whole.mapping_version);
                held.ignored = whole.ignored;
                held.normalized.clone_from(&whole.normalized);
            }
        }
        Ok(())
    }

    pub(crate) fn add_warnings(&mut self, event: EventId, added: &[Warning]) -> Result<(), Error> {
        if let Some(held) = self.0.events.get_mut(&event) {
            for warning in added {
                if !held.warnings.contains(warning) {
                    held.warnings.push(warning.clone());
                }
            }
        }
        Ok(())
    }

    fn insert_deliveries(&mut self, deliveries: &[Delivery]) -> Result<(), Error> {
        for delivery in deliveries {
            if let (DeliveryState::Open, Some(record)) = (delivery.state, delivery.record) {
                self.0.open.entry(record).or_default().insert(delivery.id);
            }
            self.0.deliveries.insert(delivery.id, delivery.clone());
        }
        Ok(())
    }

    pub(crate) fn insert_dead_letters(&mut self, letters: &[DeadLetter]) -> Result<(), Error> {
        self.0.dead_letters.extend(letters.iter().map(|letter| (letter.delivery, letter.clone())));
        Ok(())
    }

    pub(crate) fn insert_records(&mut self, records: &[RecordEntry]) -> Result<(), Error> {
        self.0.records.extend(records.iter().map(|entry| (entry.id, entry.clone())));
        Ok(())
    }

    pub(crate) fn insert_aliases(&mut self, aliases: &BTreeMap<AliasKey, RecordId>) -> Result<u64, Error> {
        let before = self.0.aliases.len();
        for (key, record) in aliases {
            self.0.aliases.entry(key.clone()).or_insert(*record);
        }
        Ok((self.0.aliases.len() - before) as u64)
    }

    fn wake(&mut self, records: &BTreeMap<RecordId, Lane>, now: Time) -> Result<(), Error> {
        for (id, lane) in records {
            let Some(record) = self.0.records.get_mut(id).map(|entry| &mut entry.record) else { continue };
            record.lane = if record.state == State::Clean { *lane } else { record.lane.min(*lane) };
            if record.state.wakes_for_new() {
                (record.state, record.wake_at) = (State::Due, Some(now));
            }
        }
        Ok(())
    }

    pub(crate) fn wake_blocked(&mut self, records: &BTreeSet<RecordId>, now: Time) -> Result<(), Error> {
        for id in records {
            if let Some(record) = self.0.records.get_mut(id).map(|entry| &mut entry.record).filter(|record| record.state == State::Blocked)
            {
                (record.state, record.wake_at) = (State::Due, Some(now));
            }
        }
        Ok(())
    }

    pub(crate) fn whereabouts(&mut self, records: &BTreeSet<RecordId>) -> Result<BTreeMap<RecordId, Whereabouts>, Error> {
        let entries = records.iter().filter_map(|id| self.0.records.get(id));
        let one = |entry: &RecordEntry| Whereabouts {
            key: entry.key.clone(),
            crm_id: entry.record.crm_id.clone(),
            written: entry.record.pushed > 0,
        };
        Ok(entries.map(|entry| (entry.id, one(entry))).collect())
    }

    pub(crate) fn orphans_of(&mut self, event: EventId) -> Result<Vec<DeliveryId>, Error> {
        let of = self.0.dead_letters.range(event.delivery(0)..=event.delivery(EventId::DELIVERIES_MAX));
        Ok(of.filter(|(_, letter)| letter.reason == model::Reason::ParentFailed).map(|(id, _)| *id).collect())
    }

    pub(crate) fn wake_with_open(&mut self, records: &BTreeSet<RecordId>, now: Time) -> Result<(), Error> {
        for id in records {
            let open = self.0.open.get(id).into_iter().flatten();
            let best = open.filter_map(|delivery| self.0.deliveries.get(delivery)).map(|delivery| delivery.lane).min();
            let Some(record) = self.0.records.get_mut(id).map(|entry| &mut entry.record).filter(|record| record.state == State::Clean)
            else {
                continue;
            };
            if let Some(best) = best {
                (record.state, record.wake_at, record.lane) = (State::Due, Some(now), best);
            }
        }
        Ok(())
    }

    pub(crate) fn open_records_of(&mut self, events: &BTreeSet<EventId>) -> Result<BTreeSet<RecordId>, Error> {
        let open =
            self.0.deliveries.values().filter(|delivery| delivery.state == DeliveryState::Open && events.contains(&delivery.id.event()));
        Ok(open.filter_map(|delivery| delivery.record).collect())
    }

    pub(crate) fn due(&mut self, destination: &str, now: Time, lanes: &[Lane], limit: u32) -> Result<Vec<RecordEntry>, Error> {
        let place = |lane| lanes.iter().position(|held| *held == lane);
        let is_due = |entry: &&RecordEntry| entry.destination == destination && entry.record.wake_at.is_some_and(|at| at <= now);
        let due = self.0.records.values().filter(is_due).filter(|entry| lanes.contains(&entry.record.lane));
        let mut due: Vec<RecordEntry> = due.cloned().collect();
        due.sort_by_key(|entry| (place(entry.record.lane), entry.record.wake_at, entry.id));
        due.truncate(limit as usize);
        Ok(due)
    }

    pub(crate) fn next_due(&mut self, destination: &str, lanes: &[Lane]) -> Result<Option<Time>, Error> {
        let fits = |entry: &&RecordEntry| entry.destination == destination && lanes.contains(&entry.record.lane);
        Ok(self.0.records.values().filter(fits).filter_map(|entry| entry.record.wake_at).min())
    }

    pub(crate) fn records(&mut self, wanted: &BTreeSet<RecordId>) -> Result<BTreeMap<RecordId, RecordEntry>, Error> {
        Ok(wanted.iter().filter_map(|id| self.0.records.get(id).map(|entry| (*id, entry.clone()))).collect())
    }

    pub(crate) fn open_deliveries(&mut self, records: &BTreeSet<RecordId>, each: usize) -> Result<Vec<OpenRow>, Error> {
        let ids = records.iter().filter_map(|record| self.0.open.get(record)).flat_map(|open| open.iter().take(each));
        let mut rows: Vec<OpenRow> = ids
            .filter_map(|id| {
                let (delivery, event) = (self.0.deliveries.get(id)?, self.0.events.get(&id.event())?);
                Some(OpenRow {
                    record: delivery.record?,
                    delivery: *id,
                    mode: delivery.mode,
                    lane: delivery.lane,
                    trust: event.trust,
                    occurred_at: event.occurred_at,
                    received_at: event.received_at,
                    key: event.key.clone(),
                    normalized: event.normalized.clone(),
                })
            })
            .collect();
        rows.sort_by_key(|row| row.delivery);
        Ok(rows)
    }

    pub(crate) fn sent(&mut self, calls: &BTreeSet<CallId>) -> Result<Sent, Error> {
        let carried = calls.iter().filter_map(|id| self.0.calls.get(id));
        Ok(carried.flat_map(|call| call.records.iter().map(|(record, _, _, patch)| ((call.id, *record), patch.clone()))).collect())
    }

    pub(crate) fn put_records(&mut self, records: &[(&RecordEntry, bool)]) -> Result<(), Error> {
        for (entry, body_changed) in records {
            let record = &entry.record;
            if (record.state == State::Clean) != record.wake_at.is_none() || record.pushed > record.revision {
                return Err(Error::Rule(format!("{} would be in limbo", entry.id)));
            }
            if (record.state == State::Leased) != record.lease.is_some() {
                return Err(Error::Rule(format!("{} would be leased to nobody", entry.id)));
            }
            let before = self.0.records.insert(entry.id, (*entry).clone());
            // As on disk: a wide part that is not written stays as it was.
            if let (false, Some(before), Some(held)) = (*body_changed, before, self.0.records.get_mut(&entry.id)) {
                (held.record.body, held.record.crm_id) = (before.record.body, before.record.crm_id);
            }
        }
        Ok(())
    }

    pub(crate) fn end_deliveries(&mut self, ends: &[EndRow]) -> Result<(), Error> {
        for end in ends {
            let Some(delivery) = self.0.deliveries.get_mut(&end.delivery) else { continue };
            (delivery.state, delivery.outcome, delivery.ended_at) = (end.state, end.outcome, Some(end.at));
            (delivery.call, delivery.superseded_by, delivery.wake_at) = (end.call, end.superseded_by, None);
            if let Some(open) = delivery.record.and_then(|record| self.0.open.get_mut(&record)) {
                open.remove(&end.delivery);
            }
        }
        Ok(())
    }

    pub(crate) fn bury(&mut self, letters: &[Burial], now: Time) -> Result<(), Error> {
        for (id, reason, class, message, attempts) in letters {
            let (Some(delivery), Some(event)) = (self.0.deliveries.get(id), self.0.events.get(&id.event())) else { continue };
            let letter = DeadLetter {
                delivery: *id,
                destination: delivery.destination.clone(),
                source: event.source.clone(),
                reason: *reason,
                class: *class,
                message: message.clone(),
                owner: delivery.owner.clone(),
                failed_at: now,
                attempts: *attempts,
            };
            self.0.dead_letters.insert(*id, letter);
        }
        Ok(())
    }

    pub(crate) fn insert_calls(&mut self, calls: &[CallRow]) -> Result<(), Error> {
        for call in calls {
            self.0.leases.insert(call.id, (call.destination.clone(), call.until));
            self.0.calls.insert(call.id, call.clone());
        }
        Ok(())
    }

    pub(crate) fn insert_results(&mut self, results: &[ResultRow]) -> Result<(), Error> {
        for result in results {
            self.0.leases.remove(&result.call);
            self.0.results.push(result.clone());
        }
        Ok(())
    }

    pub(crate) fn live_calls(&mut self, destination: &str, now: Time, latest: Time) -> Result<u32, Error> {
        let live = self.0.leases.values().filter(|(name, until)| name == destination && *until > now && *until <= latest).count();
        Ok(u32::try_from(live).unwrap_or(u32::MAX))
    }

    pub(crate) fn destination(&mut self, name: &str) -> Result<Option<Destination>, Error> {
        Ok(self.0.destinations.get(name).cloned())
    }

    /// Nobody else writes before this transaction ends.
    pub(crate) fn hold_destination(&mut self, name: &str) -> Result<Option<Destination>, Error> {
        self.destination(name)
    }

    pub(crate) fn put_destination(&mut self, name: &str, state: &Destination) -> Result<(), Error> {
        self.0.destinations.insert(name.to_owned(), state.clone());
        Ok(())
    }

    pub(crate) fn delivery(&mut self, id: DeliveryId) -> Result<Option<Delivery>, Error> {
        Ok(self.0.deliveries.get(&id).cloned())
    }

    pub(crate) fn deliveries_of(&mut self, events: &BTreeSet<EventId>) -> Result<Vec<Delivery>, Error> {
        let of = |event: &EventId| self.0.deliveries.range(event.delivery(0)..=event.delivery(EventId::DELIVERIES_MAX));
        Ok(events.iter().flat_map(of).map(|(_, delivery)| delivery.clone()).collect())
    }

    pub(crate) fn reopen(&mut self, id: DeliveryId, lane: Lane, now: Time) -> Result<(), Error> {
        if let Some(delivery) = self.0.deliveries.get_mut(&id) {
            (delivery.state, delivery.wake_at) = (DeliveryState::Open, Some(now));
            delivery.generation += 1;
            delivery.lane = lane;
            (delivery.outcome, delivery.ended_at, delivery.call) = (None, None, None);
            if let Some(record) = delivery.record {
                self.0.open.entry(record).or_default().insert(id);
            }
        }
        self.0.dead_letters.remove(&id);
        Ok(())
    }

    pub(crate) fn event(&mut self, id: EventId) -> Result<Option<Event>, Error> {
        Ok(self.0.events.get(&id).cloned())
    }

    pub(crate) fn forget_dead_letter(&mut self, id: DeliveryId) -> Result<(), Error> {
        self.0.dead_letters.remove(&id);
        Ok(())
    }

    pub(crate) fn assign(&mut self, id: DeliveryId, owner: &str) -> Result<bool, Error> {
        let Some(letter) = self.0.dead_letters.get_mut(&id) else { return Ok(false) };
        letter.owner = Some(owner.to_owned());
        if let Some(delivery) = self.0.deliveries.get_mut(&id) {
            delivery.owner = Some(owner.to_owned());
        }
        Ok(true)
    }

    pub(crate) fn hold_drift(&mut self, source: &str, event_type: &str, _now: Time) -> Result<Option<Learned>, Error> {
        let key = (source.to_owned(), event_type.to_owned());
        let types = self.0.drift.keys().filter(|(held, _)| held == source).count();
        let held = self.0.drift.get(&key).cloned();
        Ok(held.or(Some(Learned::default()).filter(|_| (types as i64) < crate::drift::TYPES_MAX)))
    }

    pub(crate) fn put_drift(&mut self, source: &str, event_type: &str, learned: &Learned, _now: Time) -> Result<(), Error> {
        self.0.drift.insert((source.to_owned(), event_type.to_owned()), learned.clone());
        Ok(())
    }

    /// None is kept here.
    pub(crate) fn forget_rejected(&mut self, _id: RejectedId) -> Result<bool, Error> {
        Ok(false)
    }

    pub(crate) fn audit_tail(&mut self) -> Result<Option<(i64, Vec<u8>)>, Error> {
        Ok(self.0.audit.last().map(|(seq, _, _, _, hash)| (*seq, hash.clone())))
    }

    pub(crate) fn insert_audit(&mut self, seq: i64, at: Time, words: [&str; 3], detail: &str, hash: &[u8]) -> Result<(), Error> {
        self.0.audit.push((seq, at, words.map(str::to_owned), detail.to_owned(), hash.to_vec()));
        Ok(())
    }

    pub(crate) fn look_at_open(&mut self, destination: &str, after: DeliveryId, limit: u32) -> Result<Looked, Error> {
        let mut open: Vec<_> = self.0.open.iter().flat_map(|(record, open)| open.iter().map(|id| (*id, *record))).collect();
        open.sort_unstable();
        let clean = |record: &RecordId| {
            self.0.records.get(record).filter(|entry| entry.destination == destination).map(|entry| entry.record.state == State::Clean)
        };
        let rows = open.into_iter().filter(|(id, _)| *id > after).filter_map(|(id, record)| Some((id, record, clean(&record)?)));
        Ok(Looked::of(&rows.take(limit as usize).collect::<Vec<_>>(), limit))
    }
}
