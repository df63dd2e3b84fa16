//! One writing transaction on SQLite. A whole batch goes into a statement: values where rows are wide, one JSON
//! parameter where they are narrow, so that each text is prepared once.

use std::collections::{BTreeMap, BTreeSet};

use model::destination::Destination;
use model::{CallId, DeliveryId, EventId, RecordId, Time};
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use tokio::sync::OwnedMutexGuard;

use super::read::{delivery, event, flags, ids, mode, narrow, record_entry, records, text, warnings};
use super::row::{Row, Val, all, bytes, get, insert, json, one, optional, run, word};
use super::{Names, Sqlite};
use crate::Error;
use crate::rows::{AliasKey, CallRow, DeadLetter, Delivery, EndRow, Event, KnownEvent, OpenRow, RawEvent, RecordEntry, ResultRow};

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

    fn all(&self, sql: &'static str, parameter: String) -> Result<Vec<Row>, Error> {
        all(&self.conn, sql, params![parameter])
    }

    fn run(&self, sql: &'static str, parameter: String) -> Result<u64, Error> {
        run(&self.conn, sql, params![parameter])
    }

    fn optional_name(&self, name: Option<&String>) -> Result<Val<'static>, Error> {
        Ok(match name {
            Some(name) => Val::Int(self.names.id(name)?),
            None => Val::Null,
        })
    }

    pub fn find_events(&mut self, keys: &BTreeSet<(String, [u8; 16])>) -> Result<BTreeMap<(String, [u8; 16]), KnownEvent>, Error> {
        let mut wanted = Vec::with_capacity(keys.len());
        for (source, hash) in keys {
            wanted.push((self.names.id(source)?, hex::encode(hash)));
        }
        let rows = self.all(
            "select n.text as source, e.key_hash, e.id, e.content_hash, e.mapping_version, e.flags from json_each(?) j \
                 cross join event e on e.source_id = j.value ->> 0 and e.key_hash = unhex(j.value ->> 1) join name n on n.id = e.source_id",
            text(&wanted)?,
        )?;
        let mut found = BTreeMap::new();
        for row in &rows {
            let id: i64 = get(row, "id")?;
            let key = (get::<String>(row, "source")?, bytes(get(row, "key_hash")?, "event", "key_hash", id)?);
            let content_hash = bytes(get(row, "content_hash")?, "event", "content_hash", id)?;
            let ignored = get::<i64>(row, "flags")? & 1 != 0;
            found.insert(key, KnownEvent { id: EventId(id), content_hash, mapping_version: get(row, "mapping_version")?, ignored });
        }
        Ok(found)
    }

    pub fn find_aliases(&mut self, keys: &BTreeSet<AliasKey>) -> Result<BTreeMap<AliasKey, RecordId>, Error> {
        let mut wanted = Vec::with_capacity(keys.len());
        for key in keys {
            wanted.push((hex::encode(key.hash), &key.kind, self.names.id(&key.destination)?, self.names.id(&key.object)?));
        }
        let rows = self.all(
            "select a.value_hash, a.kind, d.text as destination, o.text as object, a.record_id from json_each(?) j \
                 cross join alias a on a.value_hash = unhex(j.value ->> 0) and a.kind = j.value ->> 1 \
                 and a.destination_id = j.value ->> 2 and a.object_id = j.value ->> 3 \
                 join name d on d.id = a.destination_id join name o on o.id = a.object_id",
            text(&wanted)?,
        )?;
        let mut found = BTreeMap::new();
        for row in &rows {
            let record: i64 = get(row, "record_id")?;
            let hash = bytes(get(row, "value_hash")?, "alias", "value_hash", record)?;
            let key = AliasKey { hash, kind: get(row, "kind")?, destination: get(row, "destination")?, object: get(row, "object")? };
            found.insert(key, RecordId(record));
        }
        Ok(found)
    }

    /// Which kinds of identifier these records have already.
    pub fn alias_kinds(&mut self, records: &BTreeSet<RecordId>) -> Result<BTreeSet<(RecordId, String)>, Error> {
        let rows = self.all(
            "select distinct a.record_id, a.kind from json_each(?) j cross join alias a on a.record_id = j.value",
            ids(records.iter().map(|id| id.0)),
        )?;
        rows.iter().map(|row| Ok((RecordId(get(row, "record_id")?), get(row, "kind")?))).collect()
    }

    pub fn insert_raw_events(&mut self, raws: &[RawEvent]) -> Result<(), Error> {
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

    pub fn insert_events(&mut self, events: &[Event]) -> Result<(), Error> {
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

    pub fn add_warnings(&mut self, event: EventId, added: &[model::event::Warning]) -> Result<(), Error> {
        let merged = "update event set warnings = (select json_group_array(json(value)) from \
                      (select value from json_each(coalesce(warnings, '[]')) union select value from json_each(?))) where id = ?";
        run(&self.conn, merged, params![text(&added)?, event.0])?;
        Ok(())
    }

    pub fn insert_deliveries(&mut self, deliveries: &[Delivery]) -> Result<(), Error> {
        let mut rows = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            rows.push(vec![
                delivery.id.0.into(),
                delivery.record.map(|id| id.0).into(),
                self.optional_name(delivery.destination.as_ref())?,
                self.optional_name(delivery.object.as_ref())?,
                (delivery.mode as i64).into(),
                (delivery.state as i64).into(),
                delivery.wake_at.map(|at| at.0).into(),
                delivery.ended_at.map(|at| at.0).into(),
                delivery.owner.as_deref().into(),
            ]);
        }
        let head = "insert into delivery (id, record_id, destination_id, object_id, mode, state, wake_at, ended_at, owner) values";
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
                entry.record.wake_at.map(|at| at.0).into(),
            ]);
            wide.push(vec![entry.id.0.into(), entry.key.as_str().into()]);
        }
        insert(&self.conn, "insert into record (id, destination_id, object_id, state, wake_at) values", "", narrow)?;
        insert(&self.conn, "insert into record_body (record_id, key) values", "", wide)
    }

    /// The first record that took an identifier keeps it.
    pub fn insert_aliases(&mut self, aliases: &BTreeMap<AliasKey, RecordId>) -> Result<(), Error> {
        let mut rows = Vec::with_capacity(aliases.len());
        for (key, record) in aliases {
            rows.push(vec![
                key.hash.as_slice().into(),
                key.kind.as_str().into(),
                self.names.id(&key.destination)?.into(),
                self.names.id(&key.object)?.into(),
                record.0.into(),
            ]);
        }
        let head = "insert into alias (value_hash, kind, destination_id, object_id, record_id) values";
        insert(&self.conn, head, "on conflict do nothing", rows)
    }

    /// Makes these records due, unless they wait after a failure or a worker holds them.
    pub fn wake(&mut self, records: &BTreeSet<RecordId>, now: Time) -> Result<(), Error> {
        self.run(
            "update record set state = 1, wake_at = v.at from (select value ->> 0 as id, value ->> 1 as at from json_each(?)) v \
             where record.id = v.id and record.state in (0, 4)",
            text(&records.iter().map(|id| (id.0, now.0)).collect::<Vec<_>>())?,
        )
        .map(drop)
    }

    /// Makes clean records due again that have open deliveries: those arrived while a worker held the record.
    pub fn wake_with_open(&mut self, records: &BTreeSet<RecordId>, now: Time) -> Result<(), Error> {
        self.run(
            "update record set state = 1, wake_at = v.at from (select value ->> 0 as id, value ->> 1 as at from json_each(?)) v \
             where record.id = v.id and record.state = 0 and exists (select 1 from delivery d where d.record_id = record.id and d.state = 0)",
            text(&records.iter().map(|id| (id.0, now.0)).collect::<Vec<_>>())?,
        )
        .map(drop)
    }

    /// The records behind open deliveries of these events.
    pub fn open_records_of(&mut self, events: &BTreeSet<EventId>) -> Result<BTreeSet<RecordId>, Error> {
        let rows = self.all(
            "select d.record_id from json_each(?) j cross join delivery d on d.id between j.value and j.value + 63 and d.state = 0",
            ids(events.iter().map(|id| id.0)),
        )?;
        rows.iter().map(|row| Ok(RecordId(get(row, "record_id")?))).collect()
    }

    /// Due records of a destination, those that wait longest first.
    pub fn due(&mut self, destination: &str, now: Time, limit: u32) -> Result<Vec<RecordEntry>, Error> {
        let rows = all(
            &self.conn,
            records!(
                "from record r join name d on d.id = r.destination_id join name o on o.id = r.object_id join record_body b on b.record_id = r.id \
             where r.destination_id = ? and r.wake_at <= ? order by r.wake_at limit ?"
            ),
            params![self.names.id(destination)?, now.0, i64::from(limit)],
        )?;
        rows.iter().map(record_entry).collect()
    }

    /// When the next record of a destination comes due.
    pub fn next_due(&mut self, destination: &str) -> Result<Option<Time>, Error> {
        let row = one(
            &self.conn,
            "select min(wake_at) as at from record where destination_id = ? and wake_at is not null",
            params![self.names.id(destination)?],
        )?;
        Ok(get::<Option<i64>>(&row, "at")?.map(Time))
    }

    pub fn records(&mut self, wanted: &BTreeSet<RecordId>) -> Result<BTreeMap<RecordId, RecordEntry>, Error> {
        let rows = self.all(
            records!(
                "from json_each(?) j cross join record r on r.id = j.value join name d on d.id = r.destination_id \
                     join name o on o.id = r.object_id join record_body b on b.record_id = r.id"
            ),
            ids(wanted.iter().map(|id| id.0)),
        )?;
        rows.iter().map(|row| record_entry(row).map(|entry| (entry.id, entry))).collect()
    }

    /// Open deliveries of these records, oldest first, at most `each` for one record.
    pub fn open_deliveries(&mut self, records: &BTreeSet<RecordId>, each: usize) -> Result<Vec<OpenRow>, Error> {
        let rows = self.all(
            "select d.record_id, d.id, d.mode, e.trust, e.occurred_at, e.received_at, e.key, e.normalized from json_each(?) j \
                 cross join delivery d on d.record_id = j.value and d.state = 0 cross join event e on e.id = (d.id & ~63) order by d.id",
            ids(records.iter().map(|id| id.0)),
        )?;
        let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
        let mut open = Vec::with_capacity(rows.len());
        for row in &rows {
            let record: i64 = get(row, "record_id")?;
            let count = counts.entry(record).or_default();
            *count += 1;
            if *count > each {
                continue;
            }
            let id: i64 = get(row, "id")?;
            let trust: i64 = get(row, "trust")?;
            open.push(OpenRow {
                record: RecordId(record),
                delivery: DeliveryId(id),
                mode: mode(get(row, "mode")?, id)?,
                trust: word(u8::try_from(trust).ok(), "event", "trust", id, trust)?,
                occurred_at: Time(get(row, "occurred_at")?),
                received_at: Time(get(row, "received_at")?),
                key: get(row, "key")?,
                normalized: get(row, "normalized")?,
            });
        }
        Ok(open)
    }

    /// What these calls carried for each record.
    pub fn sent(&mut self, calls: &BTreeSet<CallId>) -> Result<BTreeMap<(CallId, RecordId), BTreeMap<String, Value>>, Error> {
        let rows =
            self.all("select c.id, c.records from json_each(?) j cross join call c on c.id = j.value", ids(calls.iter().map(|id| id.0)))?;
        let mut sent = BTreeMap::new();
        for row in &rows {
            let call: i64 = get(row, "id")?;
            let records: Vec<(i64, i64, i64, BTreeMap<String, Value>)> = json(get(row, "records")?, "call", "records", call)?;
            sent.extend(records.into_iter().map(|(record, _, _, patch)| ((CallId(call), RecordId(record)), patch)));
        }
        Ok(sent)
    }

    /// Writes records back; their wide part only where it changed.
    pub fn put_records(&mut self, records: &[(&RecordEntry, bool)]) -> Result<(), Error> {
        let narrow: Vec<Value> = records.iter().map(|(entry, _)| narrow(entry)).collect();
        self.run(
            "update record set state = v.value ->> 1, wake_at = v.value ->> 2, fence = v.value ->> 3, revision = v.value ->> 4, pushed = v.value ->> 5, \
             lease_holder = v.value ->> 6, lease_until = v.value ->> 7, lease_call = v.value ->> 8, intent = v.value ->> 9, tries = v.value ->> 10, \
             attempts = v.value ->> 11, conflicts = v.value ->> 12, last_attempt_at = v.value ->> 13, crashes = v.value ->> 14, \
             crashed_at = v.value ->> 15, doubt_revision = v.value ->> 16, verify_after = v.value ->> 17, adopted = v.value ->> 18, solo = v.value ->> 19, \
             group_max = v.value ->> 20 from (select value from json_each(?)) v where record.id = v.value ->> 0",
            text(&narrow)?,
        )
        ?;
        let mut wide = Vec::new();
        for (entry, _) in records.iter().filter(|(_, body_changed)| *body_changed) {
            wide.push(vec![
                entry.id.0.into(),
                entry.key.as_str().into(),
                entry.record.crm_id.as_deref().into(),
                text(&entry.record.body)?.into(),
            ]);
        }
        insert(&self.conn, "insert or replace into record_body (record_id, key, crm_id, body) values", "", wide)
    }

    /// Ends open deliveries. What has ended already stays as it is.
    pub fn end_deliveries(&mut self, ends: &[EndRow]) -> Result<(), Error> {
        let rows: Vec<Value> = ends
            .iter()
            .map(|end| {
                json!([
                    end.delivery.0,
                    end.state as i64,
                    end.outcome.map(|outcome| outcome as i64),
                    end.at.0,
                    end.call.map(|call| call.0),
                    end.superseded_by.map(|id| id.0)
                ])
            })
            .collect();
        self.run(
            "update delivery set state = v.value ->> 1, outcome = v.value ->> 2, ended_at = v.value ->> 3, call_id = v.value ->> 4, \
             superseded_by = v.value ->> 5, wake_at = null from (select value from json_each(?)) v where delivery.id = v.value ->> 0",
            text(&rows)?,
        )
        .map(drop)
    }

    /// Makes dead letters of deliveries; source and owner come from the ledger.
    pub fn bury(&mut self, letters: &[(DeliveryId, model::Reason, Option<model::Class>, String, u32)], now: Time) -> Result<(), Error> {
        let rows: Vec<Value> = letters
            .iter()
            .map(|(id, reason, class, message, attempts)| {
                json!([id.0, reason.as_str(), class.map(model::Class::as_str), message, now.0, attempts])
            })
            .collect();
        self.run(
            "insert or replace into dead_letter (delivery_id, destination_id, source_id, reason, class, message, owner, failed_at, attempts) \
             select d.id, d.destination_id, e.source_id, j.value ->> 1, j.value ->> 2, j.value ->> 3, d.owner, j.value ->> 4, j.value ->> 5 \
             from json_each(?) j cross join delivery d on d.id = j.value ->> 0 join event e on e.id = (d.id & ~63)",
            text(&rows)?,
        )
        .map(drop)
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
        self.run("delete from lease where call_id in (select value from json_each(?))", ids(results.iter().map(|result| result.call.0)))
            .map(drop)
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

    /// Every delivery of an event, oldest first.
    pub fn deliveries_of(&mut self, event: EventId) -> Result<Vec<Delivery>, Error> {
        let rows = all(
            &self.conn,
            "select d.*, n.text as destination, o.text as object from delivery d left join name n on n.id = d.destination_id \
             left join name o on o.id = d.object_id where d.id between ? and ? + 63 order by d.id",
            params![event.0, event.0],
        )?;
        rows.iter().map(delivery).collect()
    }

    /// Opens a dead letter again: one generation more, under the same id.
    pub fn reopen(&mut self, id: DeliveryId, now: Time) -> Result<(), Error> {
        run(
            &self.conn,
            "update delivery set state = 0, generation = generation + 1, wake_at = ?, outcome = null, ended_at = null, call_id = null where id = ?",
            params![now.0, id.0],
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

    /// Records that are clean and have open deliveries all the same: the net under every wakeup.
    pub fn stranded(&mut self, limit: u32) -> Result<BTreeSet<RecordId>, Error> {
        let rows = all(
            &self.conn,
            "select distinct r.id from delivery d join record r on r.id = d.record_id where d.state = 0 and r.state = 0 limit ?",
            params![i64::from(limit)],
        )?;
        rows.iter().map(|row| Ok(RecordId(get(row, "id")?))).collect()
    }
}
