//! One writing transaction on SQLite. Each statement is prepared once and run for row after row: nothing is between us and the
//! database but a call.

mod catch_up;
mod reconcile;
mod sources;

use std::collections::{BTreeMap, BTreeSet};

use model::destination::Destination;
use model::quota::Lane;
use model::{CallId, DeliveryId, EventId, RecordId, Time};
use rusqlite::{Connection, Params, Row, params};
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;

use super::read::{delivery, event, flags, ids, lane, mode, record_entry, records, text, warnings};
use super::row::{Val, all, blob, bytes, get, insert, json, one, optional, run, text_of, word};
use super::{Names, Sqlite};
use crate::Error;
use crate::rows::{
    AliasKey, CallRow, DeadLetter, Delivery, EndRow, Event, KnownEvent, OpenRow, RawEvent, RecordEntry, ResultRow, Whereabouts, Whole,
};
use crate::tx::{Burial, Looked, Sent};

/// A transaction. Dropped without a commit, it never happened.
pub struct Tx {
    conn: OwnedMutexGuard<Connection>,
    names: Names,
}

impl Drop for Tx {
    fn drop(&mut self) {
        // Nothing to tell: what cannot be rolled back here is rolled back by whoever opens the file next.
        if !self.conn.is_autocommit() {
            self.conn.execute_batch("rollback").ok();
        }
    }
}

impl Tx {
    pub async fn begin(sqlite: &Sqlite, names: &[&str]) -> Result<Self, Error> {
        let names = sqlite.names(names).await?;
        let conn = sqlite.writer().await;
        run(&conn, "begin immediate", params![])?;
        Ok(Self { conn, names })
    }

    pub fn commit(self) -> Result<(), Error> {
        run(&self.conn, "commit", params![]).map(drop)
    }

    /// Runs a statement once for each of these values.
    fn each<P: Params>(&self, sql: &str, values: impl IntoIterator<Item = P>) -> Result<(), Error> {
        let mut statement = self.conn.prepare_cached(sql)?;
        for values in values {
            statement.execute(values)?;
        }
        Ok(())
    }

    /// Selects once for each of these values, and reads every row.
    fn select<P: Params, T>(
        &self,
        sql: &str,
        values: impl IntoIterator<Item = P>,
        mut read: impl FnMut(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut read_so_far = Vec::new();
        for values in values {
            let mut rows = statement.query(values)?;
            while let Some(row) = rows.next()? {
                read_so_far.push(read(row)?);
            }
        }
        Ok(read_so_far)
    }

    fn optional_name(&self, name: Option<&String>) -> Result<Val<'static>, Error> {
        Ok(match name {
            Some(name) => Val::Int(self.names.id(name)?),
            None => Val::Null,
        })
    }

    pub fn find_events(&mut self, keys: &BTreeSet<(String, [u8; 16])>) -> Result<BTreeMap<(String, [u8; 16]), KnownEvent>, Error> {
        let sql = "select id, content_hash, mapping_version, flags from event where source_id = ? and key_hash = ?";
        let mut found = BTreeMap::new();
        for key in keys {
            let known = self.select(sql, [(self.names.id(&key.0)?, key.1.as_slice())], |row| {
                let id: i64 = row.get(0)?;
                let content_hash = bytes(blob(row, 1)?, "event", "content_hash", id)?;
                Ok(KnownEvent { id: EventId(id), content_hash, mapping_version: row.get(2)?, ignored: row.get::<_, i64>(3)? & 1 != 0 })
            })?;
            found.extend(known.into_iter().map(|known| (key.clone(), known)));
        }
        Ok(found)
    }

    pub fn find_aliases(&mut self, keys: &BTreeSet<AliasKey>) -> Result<BTreeMap<AliasKey, RecordId>, Error> {
        let sql = "select record_id from alias where value_hash = ? and kind = ? and destination_id = ? and object_id = ?";
        let mut found = BTreeMap::new();
        for key in keys {
            let values = (key.hash.as_slice(), &key.kind, self.names.id(&key.destination)?, self.names.id(&key.object)?);
            let records = self.select(sql, [values], |row| Ok(RecordId(row.get(0)?)))?;
            found.extend(records.into_iter().map(|record| (key.clone(), record)));
        }
        Ok(found)
    }

    /// Which kinds of identifier these records have already.
    pub fn alias_kinds(&mut self, records: &BTreeSet<RecordId>) -> Result<BTreeSet<(RecordId, String)>, Error> {
        let sql = "select distinct record_id, kind from alias where record_id = ?";
        let kinds = self.select(sql, records.iter().map(|id| (id.0,)), |row| Ok((RecordId(row.get(0)?), row.get(1)?)))?;
        Ok(kinds.into_iter().collect())
    }

    /// What a batch of requests writes, and whom it wakes.
    pub fn insert_intake(
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
        let mut rows = Vec::with_capacity(raws.len());
        for raw in raws {
            rows.push(vec![
                raw.id.0.into(),
                self.names.id(&raw.source)?.into(),
                raw.received_at.0.into(),
                (raw.disposition as i64).into(),
                ids(raw.events.iter().map(|id| id.0)).into(),
                raw.body_sha256.as_slice().into(),
                i64::from(raw.key_id).into(),
                raw.sealed.as_slice().into(),
                raw.correlation_id.as_deref().into(),
            ]);
        }
        let head =
            "insert into raw_event (id, source_id, received_at, disposition, events, body_sha256, key_id, sealed, correlation_id) values";
        insert(&self.conn, head, "", rows)
    }

    fn insert_events(&mut self, events: &[Event]) -> Result<(), Error> {
        let mut rows = Vec::with_capacity(events.len());
        for event in events {
            rows.push(vec![
                event.id.0.into(),
                self.names.id(&event.source)?.into(),
                crate::rows::hash(&event.key).to_vec().into(),
                event.key.as_str().into(),
                event.event_type.as_str().into(),
                event.occurred_at.0.into(),
                event.received_at.0.into(),
                i64::from(event.trust).into(),
                event.mapping_version.as_str().into(),
                event.content_hash.as_slice().into(),
                flags(event).into(),
                event.raw_event.0.into(),
                event.correlation_id.as_deref().into(),
                warnings(event)?.into(),
                event.normalized.as_str().into(),
            ]);
        }
        let head = "insert into event (id, source_id, key_hash, key, event_type, occurred_at, received_at, trust, mapping_version, content_hash, flags, \
                    raw_event_id, correlation_id, warnings, normalized) values";
        insert(&self.conn, head, "", rows)
    }

    /// An event that was normalized again: what may change of it.
    pub fn update_event(&mut self, event: &Event) -> Result<(), Error> {
        run(
            &self.conn,
            "update event set event_type = ?, trust = ?, mapping_version = ?, flags = ?, warnings = ?, normalized = ? where id = ?",
            params![
                &event.event_type,
                i64::from(event.trust),
                &event.mapping_version,
                flags(event),
                warnings(event)?,
                &event.normalized,
                event.id.0
            ],
        )?;
        Ok(())
    }

    /// Events whose object was fetched: what is known of them now.
    pub fn make_whole(&mut self, events: &[Whole]) -> Result<(), Error> {
        let sql = "update event set mapping_version = ?2, flags = (flags & ~1) | ?3, normalized = ?4 where id = ?1";
        self.each(sql, events.iter().map(|whole| (whole.event.0, &whole.mapping_version, i64::from(whole.ignored), &whole.normalized)))
    }

    pub fn add_warnings(&mut self, event: EventId, added: &[model::event::Warning]) -> Result<(), Error> {
        let merged = "update event set warnings = (select json_group_array(json(value)) from \
                      (select value from json_each(coalesce(warnings, '[]')) union select value from json_each(?))) where id = ?";
        run(&self.conn, merged, params![text(&added)?, event.0])?;
        Ok(())
    }

    fn insert_deliveries(&mut self, deliveries: &[Delivery]) -> Result<(), Error> {
        let mut rows = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            rows.push(vec![
                delivery.id.0.into(),
                delivery.record.map(|id| id.0).into(),
                self.optional_name(delivery.destination.as_ref())?,
                self.optional_name(delivery.object.as_ref())?,
                (delivery.mode as i64).into(),
                (delivery.state as i64).into(),
                delivery.lane.number().into(),
                delivery.wake_at.map(|at| at.0).into(),
                delivery.ended_at.map(|at| at.0).into(),
                delivery.owner.as_deref().into(),
            ]);
        }
        let head = "insert into delivery (id, record_id, destination_id, object_id, mode, state, lane, wake_at, ended_at, owner) values";
        insert(&self.conn, head, "", rows)
    }

    pub fn insert_dead_letters(&mut self, letters: &[DeadLetter]) -> Result<(), Error> {
        let mut rows = Vec::with_capacity(letters.len());
        for letter in letters {
            rows.push(vec![
                letter.delivery.0.into(),
                self.optional_name(letter.destination.as_ref())?,
                self.names.id(&letter.source)?.into(),
                letter.reason.as_str().into(),
                letter.class.map(model::Class::as_str).into(),
                letter.message.as_str().into(),
                letter.owner.as_deref().into(),
                letter.failed_at.0.into(),
                i64::from(letter.attempts).into(),
            ]);
        }
        let head =
            "insert into dead_letter (delivery_id, destination_id, source_id, reason, class, message, owner, failed_at, attempts) values";
        insert(&self.conn, head, "", rows)
    }

    pub fn insert_records(&mut self, records: &[RecordEntry]) -> Result<(), Error> {
        let (mut narrow, mut wide) = (Vec::with_capacity(records.len()), Vec::with_capacity(records.len()));
        for entry in records {
            narrow.push(vec![
                entry.id.0.into(),
                self.names.id(&entry.destination)?.into(),
                self.names.id(&entry.object)?.into(),
                entry.record.state.number().into(),
                entry.record.lane.number().into(),
                entry.record.wake_at.map(|at| at.0).into(),
            ]);
            wide.push(vec![entry.id.0.into(), entry.key.as_str().into()]);
        }
        insert(&self.conn, "insert into record (id, destination_id, object_id, state, lane, wake_at) values", "", narrow)?;
        insert(&self.conn, "insert into record_body (record_id, key) values", "", wide)
    }

    /// The first record that took an identifier keeps it. Returns how many were free.
    pub fn insert_aliases(&mut self, aliases: &BTreeMap<AliasKey, RecordId>) -> Result<u64, Error> {
        let sql =
            "insert into alias (value_hash, kind, destination_id, object_id, record_id) values (?, ?, ?, ?, ?) on conflict do nothing";
        let mut insert = self.conn.prepare_cached(sql)?;
        let mut free = 0;
        for (key, record) in aliases {
            let (destination, object) = (self.names.id(&key.destination)?, self.names.id(&key.object)?);
            free += insert.execute(params![key.hash.as_slice(), key.kind, destination, object, record.0])? as u64;
        }
        Ok(free)
    }

    /// Makes these records due, unless they wait after a failure or a worker holds them; these only move to a better lane.
    fn wake(&mut self, records: &BTreeMap<RecordId, Lane>, now: Time) -> Result<(), Error> {
        let sql = "update record set state = iif(state in (0, 4, 5), 1, state), wake_at = iif(state in (0, 4, 5), ?2, wake_at), \
                   lane = iif(state = 0, ?3, min(lane, ?3)) where id = ?1 and (state in (0, 4, 5) or lane > ?3)";
        self.each(sql, records.iter().map(|(id, lane)| (id.0, now.0, lane.number())))
    }

    /// Makes records due that wait for one that they belong to.
    pub fn wake_blocked(&mut self, records: &BTreeSet<RecordId>, now: Time) -> Result<(), Error> {
        let sql = "update record set state = 1, wake_at = ?2 where id = ?1 and state = 5";
        self.each(sql, records.iter().map(|id| (id.0, now.0)))
    }

    /// Where these records are in their CRM.
    pub fn whereabouts(&mut self, records: &BTreeSet<RecordId>) -> Result<BTreeMap<RecordId, Whereabouts>, Error> {
        let sql = "select r.id, b.key, b.crm_id, r.pushed > 0 from record r join record_body b on b.record_id = r.id where r.id = ?";
        let found = self.select(sql, records.iter().map(|id| (id.0,)), |row| {
            Ok((RecordId(row.get(0)?), Whereabouts { key: row.get(1)?, crm_id: row.get(2)?, written: row.get(3)? }))
        })?;
        Ok(found.into_iter().collect())
    }

    /// Deliveries of an event that failed because one did that they depend on.
    pub fn orphans_of(&mut self, event: EventId) -> Result<Vec<DeliveryId>, Error> {
        let sql = "select delivery_id from dead_letter where delivery_id between ?1 and ?1 + 63 and reason = 'parent_failed' order by 1";
        self.select(sql, [(event.0,)], |row| Ok(DeliveryId(row.get(0)?)))
    }

    /// Makes clean records due again that have open deliveries: those arrived while a worker held the record.
    pub fn wake_with_open(&mut self, records: &BTreeSet<RecordId>, now: Time) -> Result<(), Error> {
        let sql = "update record set state = 1, wake_at = ?2, \
                   lane = (select min(d.lane) from delivery d where d.record_id = record.id and d.state = 0) where id = ?1 and state = 0 \
                   and exists (select 1 from delivery d where d.record_id = record.id and d.state = 0)";
        self.each(sql, records.iter().map(|id| (id.0, now.0)))
    }

    /// The records behind open deliveries of these events.
    pub fn open_records_of(&mut self, events: &BTreeSet<EventId>) -> Result<BTreeSet<RecordId>, Error> {
        let sql = "select record_id from delivery where id between ?1 and ?1 + 63 and state = 0";
        let records = self.select(sql, events.iter().map(|id| (id.0,)), |row| Ok(RecordId(row.get(0)?)))?;
        Ok(records.into_iter().collect())
    }

    /// Due records of a destination, in the order of these lanes, and in each those that wait longest first.
    pub fn due(&mut self, destination: &str, now: Time, lanes: &[Lane], limit: u32) -> Result<Vec<RecordEntry>, Error> {
        let sql = records!(
            "from record r join name d on d.id = r.destination_id join name o on o.id = r.object_id join record_body b on b.record_id = r.id \
             where r.destination_id = ? and r.lane = ? and r.wake_at <= ? order by r.wake_at, r.id limit ?"
        );
        let destination = self.names.id(destination)?;
        let mut due = Vec::new();
        for lane in lanes {
            let more = limit.saturating_sub(u32::try_from(due.len()).unwrap_or(u32::MAX));
            if more > 0 {
                due.extend(self.select(sql, [(destination, lane.number(), now.0, more)], record_entry)?);
            }
        }
        Ok(due)
    }

    /// When the next record of a destination comes due in one of these lanes.
    pub fn next_due(&mut self, destination: &str, lanes: &[Lane]) -> Result<Option<Time>, Error> {
        let sql = "select min(wake_at) from record where destination_id = ? and lane = ? and wake_at is not null";
        let destination = self.names.id(destination)?;
        let next = self.select(sql, lanes.iter().map(|lane| (destination, lane.number())), |row| Ok(row.get::<_, Option<i64>>(0)?))?;
        Ok(next.into_iter().flatten().min().map(Time))
    }

    pub fn records(&mut self, wanted: &BTreeSet<RecordId>) -> Result<BTreeMap<RecordId, RecordEntry>, Error> {
        let sql = records!(
            "from record r join name d on d.id = r.destination_id join name o on o.id = r.object_id \
             join record_body b on b.record_id = r.id where r.id = ?"
        );
        let entries = self.select(sql, wanted.iter().map(|id| (id.0,)), record_entry)?;
        Ok(entries.into_iter().map(|entry| (entry.id, entry)).collect())
    }

    /// Open deliveries of these records, each record's oldest first, at most `each` for one record.
    pub fn open_deliveries(&mut self, records: &BTreeSet<RecordId>, each: usize) -> Result<Vec<OpenRow>, Error> {
        let sql = "select d.record_id, d.id, d.mode, e.trust, e.occurred_at, e.received_at, e.key, e.normalized, d.lane from delivery d \
                   cross join event e on e.id = (d.id & ~63) where d.record_id = ? and d.state = 0 order by d.id limit ?";
        let each = i64::try_from(each).unwrap_or(i64::MAX);
        self.select(sql, records.iter().map(|id| (id.0, each)), |row| {
            let id: i64 = row.get(1)?;
            let trust: i64 = row.get(3)?;
            Ok(OpenRow {
                record: RecordId(row.get(0)?),
                delivery: DeliveryId(id),
                mode: mode(row.get(2)?, id)?,
                lane: lane(row.get(8)?, "delivery", id)?,
                trust: word(u8::try_from(trust).ok(), "event", "trust", id, trust)?,
                occurred_at: Time(row.get(4)?),
                received_at: Time(row.get(5)?),
                key: row.get(6)?,
                normalized: row.get(7)?,
            })
        })
    }

    /// What these calls carried for each record.
    pub fn sent(&mut self, calls: &BTreeSet<CallId>) -> Result<Sent, Error> {
        let mut sent = BTreeMap::new();
        self.select("select id, records from call where id = ?", calls.iter().map(|id| (id.0,)), |row| {
            let call: i64 = row.get(0)?;
            let records: Vec<(i64, i64, i64, BTreeMap<String, Value>)> = json(text_of(row, 1)?, "call", "records", call)?;
            sent.extend(records.into_iter().map(|(record, _, _, patch)| ((CallId(call), RecordId(record)), patch)));
            Ok(())
        })?;
        Ok(sent)
    }

    /// Writes records back; their wide part only where it changed.
    pub fn put_records(&mut self, records: &[(&RecordEntry, bool)]) -> Result<(), Error> {
        let mut update = self.conn.prepare_cached(
            "update record set state = ?2, wake_at = ?3, fence = ?4, revision = ?5, pushed = ?6, lease_holder = ?7, lease_until = ?8, lease_call = ?9, \
             intent = ?10, tries = ?11, attempts = ?12, conflicts = ?13, last_attempt_at = ?14, crashes = ?15, crashed_at = ?16, doubt_revision = ?17, \
             verify_after = ?18, adopted = ?19, solo = ?20, group_max = ?21, lane = ?22 where id = ?1",
        )?;
        let mut wide = Vec::new();
        for (entry, body_changed) in records {
            let record = &entry.record;
            let lease = record.lease.as_ref();
            update.execute(params![
                entry.id.0,
                record.state.number(),
                record.wake_at.map(|at| at.0),
                record.fence,
                record.revision,
                record.pushed,
                lease.map(|lease| &lease.holder),
                lease.map(|lease| lease.until.0),
                lease.map(|lease| lease.call.0),
                record.intent,
                record.tries,
                record.attempts,
                record.conflicts,
                record.last_attempt_at.map(|at| at.0),
                record.crashes,
                record.crashed_at.map(|at| at.0),
                record.doubt.map(|doubt| doubt.revision),
                record.doubt.map(|doubt| doubt.verify_after.0),
                record.adopted,
                record.solo,
                record.group_max,
                record.lane.number(),
            ])?;
            if *body_changed {
                wide.push(vec![entry.id.0.into(), entry.key.as_str().into(), record.crm_id.as_deref().into(), text(&record.body)?.into()]);
            }
        }
        insert(&self.conn, "insert or replace into record_body (record_id, key, crm_id, body) values", "", wide)
    }

    /// Writes how these deliveries ended.
    pub fn end_deliveries(&mut self, ends: &[EndRow]) -> Result<(), Error> {
        let sql =
            "update delivery set state = ?2, outcome = ?3, ended_at = ?4, call_id = ?5, superseded_by = ?6, wake_at = null where id = ?1";
        let values = ends.iter().map(|end| {
            let outcome = end.outcome.map(|outcome| outcome as i64);
            (end.delivery.0, end.state as i64, outcome, end.at.0, end.call.map(|call| call.0), end.superseded_by.map(|id| id.0))
        });
        self.each(sql, values)
    }

    /// Makes dead letters of deliveries; source and owner come from the ledger.
    pub fn bury(&mut self, letters: &[Burial], now: Time) -> Result<(), Error> {
        let sql = "insert or replace into dead_letter (delivery_id, destination_id, source_id, reason, class, message, owner, failed_at, attempts) \
                   select d.id, d.destination_id, e.source_id, ?2, ?3, ?4, d.owner, ?5, ?6 from delivery d join event e on e.id = (d.id & ~63) \
                   where d.id = ?1";
        let values = letters.iter().map(|(id, reason, class, message, attempts)| {
            (id.0, reason.as_str(), class.map(model::Class::as_str), message, now.0, attempts)
        });
        self.each(sql, values)
    }

    pub fn insert_calls(&mut self, calls: &[CallRow]) -> Result<(), Error> {
        let (mut rows, mut leases) = (Vec::new(), Vec::new());
        for call in calls {
            let records: Vec<_> = call.records.iter().map(|(record, fence, revision, patch)| (record.0, fence, revision, patch)).collect();
            let destination = self.names.id(&call.destination)?;
            rows.push(vec![
                call.id.0.into(),
                destination.into(),
                self.names.id(&call.object)?.into(),
                call.step.into(),
                call.at.0.into(),
                call.holder.as_str().into(),
                text(&records)?.into(),
            ]);
            leases.push(vec![call.id.0.into(), destination.into(), call.holder.as_str().into(), call.until.0.into()]);
        }
        insert(&self.conn, "insert into call (id, destination_id, object_id, step, at, holder, records) values", "", rows)?;
        insert(&self.conn, "insert into lease (call_id, destination_id, holder, until) values", "", leases)
    }

    pub fn insert_results(&mut self, results: &[ResultRow]) -> Result<(), Error> {
        let mut rows = Vec::new();
        for result in results {
            let notes: Vec<_> = result.notes.iter().map(|(record, word, code, said)| (record.0, word, code, said)).collect();
            let endings: Vec<_> =
                result.endings.iter().map(|(id, state, outcome)| (id.0, *state as i64, outcome.map(|outcome| outcome as i64))).collect();
            let (code, message) = result.failure.clone().unzip();
            rows.push(vec![
                result.call.0.into(),
                result.at.0.into(),
                result.duration_us.into(),
                result.http_status.map(i64::from).into(),
                code.into(),
                message.into(),
                text(&notes)?.into(),
                text(&endings)?.into(),
            ]);
        }
        let head = "insert into call_result (call_id, at, duration_us, http_status, code, message, notes, endings) values";
        insert(&self.conn, head, "on conflict do nothing", rows)?;
        self.each("delete from lease where call_id = ?", results.iter().map(|result| (result.call.0,)))
    }

    /// Calls of a destination that are under way.
    pub fn live_calls(&mut self, destination: &str, now: Time, latest: Time) -> Result<u32, Error> {
        let row = one(
            &self.conn,
            "select count(*) as n from lease where destination_id = ? and until > ? and until <= ?",
            params![self.names.id(destination)?, now.0, latest.0],
        )?;
        Ok(u32::try_from(get::<i64>(&row, "n")?).unwrap_or(u32::MAX))
    }

    pub fn destination(&mut self, name: &str) -> Result<Option<Destination>, Error> {
        let id = self.names.id(name)?;
        let row = optional(&self.conn, "select state from destination where name_id = ?", params![id])?;
        row.map(|row| json(get(&row, "state")?, "destination", "state", id)).transpose()
    }

    /// Nobody else writes before this transaction ends.
    pub fn hold_destination(&mut self, name: &str) -> Result<Option<Destination>, Error> {
        self.destination(name)
    }

    pub fn put_destination(&mut self, name: &str, state: &Destination) -> Result<(), Error> {
        run(
            &self.conn,
            "insert into destination (name_id, state) values (?, ?) on conflict do update set state = excluded.state",
            params![self.names.id(name)?, text(state)?],
        )?;
        Ok(())
    }

    pub fn delivery(&mut self, id: DeliveryId) -> Result<Option<Delivery>, Error> {
        let row = optional(
            &self.conn,
            "select d.*, n.text as destination, o.text as object from delivery d left join name n on n.id = d.destination_id \
             left join name o on o.id = d.object_id where d.id = ?",
            params![id.0],
        )?;
        row.as_ref().map(delivery).transpose()
    }

    /// Every delivery of these events, each event's oldest first.
    pub fn deliveries_of(&mut self, events: &BTreeSet<EventId>) -> Result<Vec<Delivery>, Error> {
        let sql = "select d.*, n.text as destination, o.text as object from delivery d left join name n on n.id = d.destination_id \
                   left join name o on o.id = d.object_id where d.id between ?1 and ?1 + 63 order by d.id";
        let mut found = Vec::new();
        for event in events {
            for row in &all(&self.conn, sql, params![event.0])? {
                found.push(delivery(row)?);
            }
        }
        Ok(found)
    }

    /// Opens a dead letter again: one generation more, under the same id.
    pub fn reopen(&mut self, id: DeliveryId, lane: Lane, now: Time) -> Result<(), Error> {
        run(
            &self.conn,
            "update delivery set state = 0, generation = generation + 1, wake_at = ?, lane = ?, outcome = null, ended_at = null, call_id = null \
             where id = ?",
            params![now.0, lane.number(), id.0],
        )?;
        self.forget_dead_letter(id)
    }

    pub fn event(&mut self, id: EventId) -> Result<Option<Event>, Error> {
        let row = optional(
            &self.conn,
            "select e.*, n.text as source from event e join name n on n.id = e.source_id where e.id = ?",
            params![id.0],
        )?;
        row.as_ref().map(event).transpose()
    }

    pub fn forget_dead_letter(&mut self, id: DeliveryId) -> Result<(), Error> {
        run(&self.conn, "delete from dead_letter where delivery_id = ?", params![id.0]).map(drop)
    }

    pub fn assign(&mut self, id: DeliveryId, owner: &str) -> Result<bool, Error> {
        run(&self.conn, "update delivery set owner = ? where id = ?", params![owner, id.0])?;
        Ok(run(&self.conn, "update dead_letter set owner = ? where delivery_id = ?", params![owner, id.0])? == 1)
    }

    /// The last audit row's number and hash.
    pub fn audit_tail(&mut self) -> Result<Option<(i64, Vec<u8>)>, Error> {
        let row = optional(&self.conn, "select seq, hash from audit order by seq desc limit 1", params![])?;
        row.map(|row| Ok((get(&row, "seq")?, get(&row, "hash")?))).transpose()
    }

    pub fn insert_audit(&mut self, seq: i64, at: Time, words: [&str; 3], detail: &str, hash: &[u8]) -> Result<(), Error> {
        let [actor, action, subject] = words;
        run(
            &self.conn,
            "insert into audit (seq, at, actor, action, subject, detail, hash) values (?, ?, ?, ?, ?, ?, ?)",
            params![seq, at.0, actor, action, subject, detail, hash],
        )?;
        Ok(())
    }

    /// The net under every wakeup.
    pub fn look_at_open(&mut self, destination: &str, after: DeliveryId, limit: u32) -> Result<Looked, Error> {
        let sql = "select d.id, d.record_id, r.state from (select id, record_id from delivery where destination_id = ?1 and state = 0 and id > ?2 \
                   order by id limit ?3) d join record r on r.id = d.record_id order by d.id";
        let of = (self.names.id(destination)?, after.0, limit);
        let rows = self.select(sql, [of], |row| Ok((DeliveryId(row.get(0)?), RecordId(row.get(1)?), row.get::<_, i64>(2)? == 0)))?;
        Ok(Looked::of(&rows, limit))
    }
}
