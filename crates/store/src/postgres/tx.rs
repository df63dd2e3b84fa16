//! One writing transaction on PostgreSQL. A whole batch goes into one statement, a column to an array.
//!
//! The planner takes an array for ten rows, and after a few times keeps the plan that it made of that: a look-up of a batch is spelled as one look-up for each
//! of its rows (`lateral … limit`), which can be done in one way only.
//!
//! Row locks are taken in one order, so that nobody waits in a circle: records by their ids, then destinations. Intake never waits for a worker:
//! a record that one has locked is woken after the commit.

mod catch_up;
mod known;

mod intake;
mod reconcile;
mod sources;

use std::collections::{BTreeMap, BTreeSet};

use model::destination::Destination;
use model::quota::Lane;
use model::{CallId, DeliveryId, EventId, RecordId, Time};
use serde_json::Value;
use sqlx::postgres::PgRow;

use super::pool::{Begun, Pool};
use super::read::{delivery, event, get, json, lane, mode, record_entry, records, text, word, words};
use super::{Names, Postgres};
use crate::Error;
use crate::rows::{AliasKey, CallRow, DeadLetter, Delivery, EndRow, Event, OpenRow, RecordEntry, ResultRow, Whereabouts, Whole};
use crate::tx::{Burial, Looked, Sent};

/// The key of the lock under which the audit trail grows.
const AUDITING: i64 = 0x6f6e_6365_6175_6474;

/// A transaction. Dropped without a commit, it is rolled back.
pub struct Tx {
    tx: Begun,
    pool: Pool,
    names: Names,
    /// Records that somebody else had locked when they were to be woken, with their lanes, and when that was.
    to_wake: BTreeMap<i64, i64>,
    woken_at: i64,
}

/// Makes records due that sleep over open deliveries, and moves others to a better lane, once whoever has them locked is done.
async fn wake_late(pool: &Pool, records: &BTreeMap<i64, i64>, at: i64) -> Result<(), Error> {
    let (ids, lanes): (Vec<i64>, Vec<i64>) = records.iter().map(|(id, lane)| (*id, *lane)).unzip();
    let mut tx = pool.begin().await?;
    tx.run(sqlx::query("select 1 from record where id = any($1) order by id for update").bind(ids.clone())).await?;
    tx.run(sqlx::query(WAKE_WITH_OPEN).bind(ids.clone()).bind(at)).await?;
    let sql = "update record r set lane = v.lane from unnest($1::bigint[], $2::bigint[]) v (id, lane) \
               where r.id = v.id and r.state <> 0 and r.lane > v.lane";
    tx.run(sqlx::query(sql).bind(ids).bind(lanes)).await?;
    tx.commit().await
}

/// Clean records with open deliveries become due, in the best of their lanes.
const WAKE_WITH_OPEN: &str = "update record set state = 1, wake_at = $2, \
    lane = (select min(d.lane) from delivery d where d.record_id = record.id and d.state = 0) where id = any($1) and state = 0 \
    and (select true from delivery d where d.record_id = record.id and d.state = 0 limit 1)";

type Statement = super::pool::Statement<'static>;

fn list(ids: impl Iterator<Item = i64>) -> Vec<i64> {
    ids.collect()
}

impl Tx {
    pub async fn begin(postgres: &Postgres, names: &[&str]) -> Result<Self, Error> {
        let names = postgres.names(names).await?;
        let tx = postgres.pool.begin().await?;
        Ok(Self { tx, pool: postgres.pool.clone(), names, to_wake: BTreeMap::new(), woken_at: 0 })
    }

    pub async fn commit(self) -> Result<(), Error> {
        self.tx.commit().await?;
        if !self.to_wake.is_empty() {
            // Whoever had them locked may have looked for open deliveries before ours were committed. Nobody waits for this.
            tokio::spawn(async move {
                if let Err(error) = wake_late(&self.pool, &self.to_wake, self.woken_at).await {
                    tracing::warn!(%error, records = self.to_wake.len(), "records that somebody had locked were not woken; the sweep wakes them");
                }
            });
        }
        Ok(())
    }

    async fn all(&mut self, statement: Statement) -> Result<Vec<PgRow>, Error> {
        self.tx.all(statement).await
    }

    async fn run(&mut self, statement: Statement) -> Result<u64, Error> {
        self.tx.run(statement).await
    }

    fn optional_name(&self, name: Option<&String>) -> Result<Option<i64>, Error> {
        name.map(|name| self.names.id(name)).transpose()
    }

    /// An event that was normalized again: what may change of it.
    pub async fn update_event(&mut self, event: &Event) -> Result<(), Error> {
        let flags = i64::from(event.ignored) | (i64::from(event.fallback_key) << 1);
        let warnings = if event.warnings.is_empty() { None } else { Some(text(&event.warnings)?) };
        let sql = "with narrow as (update event set event_type = $1, trust = $2, mapping_version = $3, flags = $4, warnings = $5 where id = $7) \
             insert into payload (event_id, normalized) values ($7, $6) on conflict (event_id) do update set normalized = excluded.normalized";
        let statement = sqlx::query(sql)
            .bind(event.event_type.clone())
            .bind(i64::from(event.trust))
            .bind(event.mapping_version.clone())
            .bind(flags)
            .bind(warnings)
            .bind(event.normalized.clone())
            .bind(event.id.0);
        self.run(statement).await.map(drop)
    }

    /// Events whose object was fetched: what is known of them now.
    pub async fn make_whole(&mut self, events: &[Whole]) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        let sql = "with narrow as (update event e set mapping_version = v.mapping_version, flags = (e.flags & ~1::bigint) | v.ignored \
                   from unnest($1::bigint[], $2::text[], $3::bigint[]) v (id, mapping_version, ignored) where e.id = v.id) \
                   insert into payload (event_id, normalized) select * from unnest($1::bigint[], $4::text[]) \
                   on conflict (event_id) do update set normalized = excluded.normalized";
        let statement = sqlx::query(sql)
            .bind(list(events.iter().map(|whole| whole.event.0)))
            .bind(events.iter().map(|whole| whole.mapping_version.clone()).collect::<Vec<_>>())
            .bind(list(events.iter().map(|whole| i64::from(whole.ignored))))
            .bind(events.iter().map(|whole| whole.normalized.clone()).collect::<Vec<_>>());
        self.run(statement).await.map(drop)
    }

    pub async fn add_warnings(&mut self, event: EventId, added: &[model::event::Warning]) -> Result<(), Error> {
        let sql = "update event set warnings = (select jsonb_agg(distinct w)::text from \
                   jsonb_array_elements(coalesce(warnings, '[]')::jsonb || $1::jsonb) w) where id = $2";
        self.run(sqlx::query(sql).bind(words(&text(&added)?)).bind(event.0)).await.map(drop)
    }

    pub async fn insert_dead_letters(&mut self, letters: &[DeadLetter]) -> Result<(), Error> {
        let sql = "insert into dead_letter (delivery_id, destination_id, source_id, reason, class, message, owner, failed_at, attempts) \
                   select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[])";
        let statement = sqlx::query(sql)
            .bind(list(letters.iter().map(|letter| letter.delivery.0)))
            .bind(letters.iter().map(|letter| self.optional_name(letter.destination.as_ref())).collect::<Result<Vec<_>, _>>()?)
            .bind(letters.iter().map(|letter| self.names.id(&letter.source)).collect::<Result<Vec<_>, _>>()?)
            .bind(letters.iter().map(|letter| letter.reason.as_str()).collect::<Vec<_>>())
            .bind(letters.iter().map(|letter| letter.class.map(model::Class::as_str)).collect::<Vec<_>>())
            .bind(letters.iter().map(|letter| words(&letter.message)).collect::<Vec<_>>())
            .bind(letters.iter().map(|letter| letter.owner.clone()).collect::<Vec<_>>())
            .bind(list(letters.iter().map(|letter| letter.failed_at.0)))
            .bind(list(letters.iter().map(|letter| i64::from(letter.attempts))));
        self.run(statement).await.map(drop)
    }

    pub async fn insert_records(&mut self, records: &[RecordEntry]) -> Result<(), Error> {
        let sql = "with narrow as (insert into record (id, destination_id, object_id, state, wake_at, lane) \
                   select id, destination_id, object_id, state, wake_at, lane \
                   from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $7::bigint[]) \
                   v (id, destination_id, object_id, state, wake_at, lane)) \
                   insert into record_body (record_id, key) select * from unnest($1::bigint[], $6::text[])";
        let statement = sqlx::query(sql)
            .bind(list(records.iter().map(|entry| entry.id.0)))
            .bind(records.iter().map(|entry| self.names.id(&entry.destination)).collect::<Result<Vec<_>, _>>()?)
            .bind(records.iter().map(|entry| self.names.id(&entry.object)).collect::<Result<Vec<_>, _>>()?)
            .bind(list(records.iter().map(|entry| entry.record.state.number())))
            .bind(records.iter().map(|entry| entry.record.wake_at.map(|at| at.0)).collect::<Vec<_>>())
            .bind(records.iter().map(|entry| words(&entry.key)).collect::<Vec<_>>())
            .bind(list(records.iter().map(|entry| entry.record.lane.number())));
        self.run(statement).await.map(drop)
    }

    /// The first record that took an identifier keeps it. Returns how many were free.
    pub async fn insert_aliases(&mut self, aliases: &BTreeMap<AliasKey, RecordId>) -> Result<u64, Error> {
        let (mut hashes, mut kinds, mut destinations, mut objects) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for key in aliases.keys() {
            hashes.push(key.hash.to_vec());
            kinds.push(key.kind.clone());
            destinations.push(self.names.id(&key.destination)?);
            objects.push(self.names.id(&key.object)?);
        }
        let sql = "insert into alias (value_hash, kind, destination_id, object_id, record_id) \
                   select * from unnest($1::bytea[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[]) on conflict do nothing";
        let records = list(aliases.values().map(|id| id.0));
        self.run(sqlx::query(sql).bind(hashes).bind(kinds).bind(destinations).bind(objects).bind(records)).await
    }

    /// Makes clean records due again that have open deliveries: those arrived while a worker held the record.
    pub async fn wake_blocked(&mut self, records: &BTreeSet<RecordId>, now: Time) -> Result<(), Error> {
        let ids = list(records.iter().map(|id| id.0));
        // In one order: several workers may wake the same children.
        self.run(sqlx::query("select 1 from record where id = any($1) and state = 5 order by id for update").bind(ids.clone())).await?;
        let sql = "update record set state = 1, wake_at = $2 where id = any($1) and state = 5";
        self.run(sqlx::query(sql).bind(ids).bind(now.0)).await.map(drop)
    }

    /// Where these records are in their CRM; nobody waits for that.
    pub async fn whereabouts(&mut self, records: &BTreeSet<RecordId>) -> Result<BTreeMap<RecordId, Whereabouts>, Error> {
        let sql =
            "select r.id, b.key, b.crm_id, r.pushed as written from record r join record_body b on b.record_id = r.id where r.id = any($1)";
        let rows = self.all(sqlx::query(sql).bind(list(records.iter().map(|id| id.0)))).await?;
        let one = |row| {
            Ok((
                RecordId(get(row, "id")?),
                Whereabouts { key: get(row, "key")?, crm_id: get(row, "crm_id")?, written: get::<i64>(row, "written")? > 0 },
            ))
        };
        rows.iter().map(one).collect()
    }

    /// Deliveries of an event that failed because one did that they depend on.
    pub async fn orphans_of(&mut self, event: EventId) -> Result<Vec<DeliveryId>, Error> {
        let sql = "select delivery_id from dead_letter where delivery_id between $1 and $1 + 63 and reason = 'parent_failed' order by 1";
        let rows = self.all(sqlx::query(sql).bind(event.0)).await?;
        rows.iter().map(|row| Ok(DeliveryId(get(row, "delivery_id")?))).collect()
    }

    pub async fn wake_with_open(&mut self, records: &BTreeSet<RecordId>, now: Time) -> Result<(), Error> {
        self.run(sqlx::query(WAKE_WITH_OPEN).bind(list(records.iter().map(|id| id.0))).bind(now.0)).await.map(drop)
    }

    /// The records behind open deliveries of these events.
    pub async fn open_records_of(&mut self, events: &BTreeSet<EventId>) -> Result<BTreeSet<RecordId>, Error> {
        let sql = "select d.record_id from unnest($1::bigint[]) e (id) \
                   cross join lateral (select record_id, state from delivery where id between e.id and e.id + 63 order by id limit 64) d where d.state = 0";
        let rows = self.all(sqlx::query(sql).bind(list(events.iter().map(|id| id.0)))).await?;
        rows.iter().map(|row| Ok(RecordId(get(row, "record_id")?))).collect()
    }

    /// Due records of a destination, in the order of these lanes, and in each those that wait longest first. What another worker looks at is left to it.
    pub async fn due(&mut self, destination: &str, now: Time, lanes: &[Lane], limit: u32) -> Result<Vec<RecordEntry>, Error> {
        // Lane after lane, and none is looked into once there are enough: what is taken is what is locked.
        let sql = "select r.id from unnest($4::bigint[]) l (lane) cross join lateral \
                   (select id from record where destination_id = $1 and lane = l.lane and wake_at <= $2 order by wake_at, id limit $3 \
                   for update skip locked) r limit $3";
        let statement = sqlx::query(sql).bind(self.names.id(destination)?).bind(now.0).bind(i64::from(limit));
        let statement = statement.bind(list(lanes.iter().map(|lane| lane.number())));
        let ids = self.all(statement).await?.iter().map(|row| get(row, "id")).collect::<Result<Vec<i64>, _>>()?;
        let mut entries = self.locked(ids).await?;
        let place = |lane| lanes.iter().position(|held| *held == lane);
        entries.sort_by_key(|entry| (place(entry.record.lane), entry.record.wake_at, entry.id));
        Ok(entries)
    }

    /// Records that this transaction has locked: a statement after the one that locked them sees all of their parts as they are now.
    async fn locked(&mut self, ids: Vec<i64>) -> Result<Vec<RecordEntry>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let sql = records!(
            "from record r join name d on d.id = r.destination_id join name o on o.id = r.object_id \
             join record_body b on b.record_id = r.id where r.id = any($1)"
        );
        self.all(sqlx::query(sql).bind(ids)).await?.iter().map(record_entry).collect()
    }

    /// When the next record of a destination comes due in one of these lanes.
    pub async fn next_due(&mut self, destination: &str, lanes: &[Lane]) -> Result<Option<Time>, Error> {
        let sql = "select min(r.wake_at) as at from unnest($2::bigint[]) l (lane) cross join lateral \
                   (select wake_at from record where destination_id = $1 and lane = l.lane and wake_at is not null order by wake_at limit 1) r";
        let statement = sqlx::query(sql).bind(self.names.id(destination)?).bind(list(lanes.iter().map(|lane| lane.number())));
        let rows = self.all(statement).await?;
        Ok(rows.first().map(|row| get::<Option<i64>>(row, "at")).transpose()?.flatten().map(Time))
    }

    pub async fn records(&mut self, wanted: &BTreeSet<RecordId>) -> Result<BTreeMap<RecordId, RecordEntry>, Error> {
        let ids = list(wanted.iter().map(|id| id.0));
        self.run(sqlx::query("select 1 from record where id = any($1) order by id for update").bind(ids.clone())).await?;
        Ok(self.locked(ids).await?.into_iter().map(|entry| (entry.id, entry)).collect())
    }

    /// Open deliveries of these records, each record's oldest first, at most `each` for one record.
    pub async fn open_deliveries(&mut self, records: &BTreeSet<RecordId>, each: usize) -> Result<Vec<OpenRow>, Error> {
        let sql = "select d.record_id, d.id, d.mode, d.lane, e.trust, e.occurred_at, e.received_at, e.key from unnest($1::bigint[]) r (id) \
                   cross join lateral (select d.record_id, d.id, d.mode, d.lane from delivery d where d.record_id = r.id and d.state = 0 order by d.id limit $2) d \
                   join event e on e.id = (d.id & ~63::bigint) order by d.id";
        let each = i64::try_from(each).unwrap_or(i64::MAX);
        let rows = self.all(sqlx::query(sql).bind(list(records.iter().map(|id| id.0))).bind(each)).await?;
        let events = rows.iter().map(|row| Ok(DeliveryId(get(row, "id")?).event())).collect::<Result<BTreeSet<_>, Error>>()?;
        let payloads = self.payloads(&events).await?;
        let open = rows.iter().map(|row| {
            let (id, trust): (i64, i64) = (get(row, "id")?, get(row, "trust")?);
            let event = DeliveryId(id).event();
            Ok(OpenRow {
                record: RecordId(get(row, "record_id")?),
                delivery: DeliveryId(id),
                mode: mode(get(row, "mode")?, id)?,
                lane: lane(get(row, "lane")?, "delivery", id)?,
                trust: word(u8::try_from(trust).ok(), "event", "trust", id, trust)?,
                occurred_at: Time(get(row, "occurred_at")?),
                received_at: Time(get(row, "received_at")?),
                key: get(row, "key")?,
                normalized: word(payloads.get(&event).cloned(), "payload", "normalized", event.0, "nothing")?,
            })
        });
        open.collect()
    }

    /// By themselves, and not joined to: their ids lead to their days before anything is read.
    async fn payloads(&mut self, events: &BTreeSet<EventId>) -> Result<BTreeMap<EventId, String>, Error> {
        if events.is_empty() {
            return Ok(BTreeMap::new());
        }
        let statement = sqlx::query("select event_id, normalized from payload where event_id = any($1)");
        let rows = self.all(statement.bind(list(events.iter().map(|id| id.0)))).await?;
        rows.iter().map(|row| Ok((EventId(get(row, "event_id")?), get(row, "normalized")?))).collect()
    }

    /// What these calls carried for each record.
    pub async fn sent(&mut self, calls: &BTreeSet<CallId>) -> Result<Sent, Error> {
        let statement = sqlx::query("select id, records from call where id = any($1)").bind(list(calls.iter().map(|id| id.0)));
        let mut sent = BTreeMap::new();
        for row in &self.all(statement).await? {
            let call: i64 = get(row, "id")?;
            let records: Vec<(i64, i64, i64, BTreeMap<String, Value>)> = json(get(row, "records")?, "call", "records", call)?;
            sent.extend(records.into_iter().map(|(record, _, _, patch)| ((CallId(call), RecordId(record)), patch)));
        }
        Ok(sent)
    }

    /// Writes records back that this transaction has locked; their wide part only where it changed.
    pub async fn put_records(&mut self, records: &[(&RecordEntry, bool)]) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        let of =
            |value: &dyn Fn(&model::record::Record) -> i64| records.iter().map(|(entry, _)| value(&entry.record)).collect::<Vec<i64>>();
        let may = |value: &dyn Fn(&model::record::Record) -> Option<i64>| {
            records.iter().map(|(entry, _)| value(&entry.record)).collect::<Vec<_>>()
        };
        let holders: Vec<Option<String>> =
            records.iter().map(|(entry, _)| entry.record.lease.as_ref().map(|lease| lease.holder.clone())).collect();
        let sql = "update record r set state = v.state, wake_at = v.wake_at, fence = v.fence, revision = v.revision, pushed = v.pushed, \
                   lease_holder = v.lease_holder, lease_until = v.lease_until, lease_call = v.lease_call, intent = v.intent, tries = v.tries, \
                   attempts = v.attempts, conflicts = v.conflicts, last_attempt_at = v.last_attempt_at, crashes = v.crashes, crashed_at = v.crashed_at, \
                   doubt_revision = v.doubt_revision, verify_after = v.verify_after, adopted = v.adopted, solo = v.solo, group_max = v.group_max, lane = v.lane \
                   from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::bigint[], $9::bigint[], \
                   $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], \
                   $19::bigint[], $20::bigint[], $21::bigint[], $22::bigint[]) v (id, state, wake_at, fence, revision, pushed, lease_holder, lease_until, lease_call, \
                   intent, tries, attempts, conflicts, last_attempt_at, crashes, crashed_at, doubt_revision, verify_after, adopted, solo, group_max, lane) \
                   where r.id = v.id";
        let statement = sqlx::query(sql)
            .bind(list(records.iter().map(|(entry, _)| entry.id.0)))
            .bind(of(&|record| record.state.number()))
            .bind(may(&|record| record.wake_at.map(|at| at.0)))
            .bind(of(&|record| record.fence))
            .bind(of(&|record| record.revision))
            .bind(of(&|record| record.pushed))
            .bind(holders)
            .bind(may(&|record| record.lease.as_ref().map(|lease| lease.until.0)))
            .bind(may(&|record| record.lease.as_ref().map(|lease| lease.call.0)))
            .bind(of(&|record| i64::from(record.intent)))
            .bind(of(&|record| i64::from(record.tries)))
            .bind(of(&|record| i64::from(record.attempts)))
            .bind(of(&|record| i64::from(record.conflicts)))
            .bind(may(&|record| record.last_attempt_at.map(|at| at.0)))
            .bind(of(&|record| i64::from(record.crashes)))
            .bind(may(&|record| record.crashed_at.map(|at| at.0)))
            .bind(may(&|record| record.doubt.map(|doubt| doubt.revision)))
            .bind(may(&|record| record.doubt.map(|doubt| doubt.verify_after.0)))
            .bind(of(&|record| i64::from(record.adopted)))
            .bind(of(&|record| i64::from(record.solo)))
            .bind(of(&|record| i64::from(record.group_max)))
            .bind(of(&|record| record.lane.number()));
        self.run(statement).await?;
        self.put_bodies(records).await
    }

    async fn put_bodies(&mut self, records: &[(&RecordEntry, bool)]) -> Result<(), Error> {
        let changed: Vec<&RecordEntry> = records.iter().filter(|(_, body_changed)| *body_changed).map(|(entry, _)| *entry).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let sql = "update record_body b set crm_id = v.crm_id, body = v.body \
                   from unnest($1::bigint[], $2::text[], $3::text[]) v (record_id, crm_id, body) where b.record_id = v.record_id";
        let statement = sqlx::query(sql)
            .bind(list(changed.iter().map(|entry| entry.id.0)))
            .bind(changed.iter().map(|entry| entry.record.crm_id.as_deref().map(words)).collect::<Vec<_>>())
            .bind(changed.iter().map(|entry| text(&entry.record.body)).collect::<Result<Vec<_>, _>>()?);
        self.run(statement).await.map(drop)
    }

    /// Writes how these deliveries ended.
    pub async fn end_deliveries(&mut self, ends: &[EndRow]) -> Result<(), Error> {
        let sql = "update delivery d set state = v.state, outcome = v.outcome, ended_at = v.ended_at, call_id = v.call_id, superseded_by = v.superseded_by, \
                   wake_at = null from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) \
                   v (id, state, outcome, ended_at, call_id, superseded_by) where d.id = v.id";
        let statement = sqlx::query(sql)
            .bind(list(ends.iter().map(|end| end.delivery.0)))
            .bind(list(ends.iter().map(|end| end.state as i64)))
            .bind(ends.iter().map(|end| end.outcome.map(|outcome| outcome as i64)).collect::<Vec<_>>())
            .bind(list(ends.iter().map(|end| end.at.0)))
            .bind(ends.iter().map(|end| end.call.map(|call| call.0)).collect::<Vec<_>>())
            .bind(ends.iter().map(|end| end.superseded_by.map(|id| id.0)).collect::<Vec<_>>());
        self.run(statement).await.map(drop)
    }

    /// Makes dead letters of deliveries; source and owner come from the ledger.
    pub async fn bury(&mut self, letters: &[Burial], now: Time) -> Result<(), Error> {
        let sql = "insert into dead_letter (delivery_id, destination_id, source_id, reason, class, message, owner, failed_at, attempts) \
                   select d.id, d.destination_id, e.source_id, v.reason, v.class, v.message, d.owner, $6, v.attempts \
                   from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[]) v (id, reason, class, message, attempts) \
                   join delivery d on d.id = v.id join event e on e.id = (d.id & ~63::bigint) \
                   on conflict (delivery_id) do update set reason = excluded.reason, class = excluded.class, message = excluded.message, \
                   owner = excluded.owner, failed_at = excluded.failed_at, attempts = excluded.attempts";
        let statement = sqlx::query(sql)
            .bind(list(letters.iter().map(|letter| letter.0.0)))
            .bind(letters.iter().map(|letter| letter.1.as_str()).collect::<Vec<_>>())
            .bind(letters.iter().map(|letter| letter.2.map(model::Class::as_str)).collect::<Vec<_>>())
            .bind(letters.iter().map(|letter| words(&letter.3)).collect::<Vec<_>>())
            .bind(list(letters.iter().map(|letter| i64::from(letter.4))))
            .bind(now.0);
        self.run(statement).await.map(drop)
    }

    pub async fn insert_calls(&mut self, calls: &[CallRow]) -> Result<(), Error> {
        let records = |call: &CallRow| {
            let records: Vec<_> = call.records.iter().map(|(record, fence, revision, patch)| (record.0, fence, revision, patch)).collect();
            text(&records)
        };
        let sql = "with made as (insert into call (id, destination_id, object_id, step, at, holder, records) \
                   select id, destination_id, object_id, step, at, holder, records \
                   from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[]) \
                   v (id, destination_id, object_id, step, at, holder, records)) \
                   insert into lease (call_id, destination_id, holder, until) select * from unnest($1::bigint[], $2::bigint[], $6::text[], $8::bigint[])";
        let statement = sqlx::query(sql)
            .bind(list(calls.iter().map(|call| call.id.0)))
            .bind(calls.iter().map(|call| self.names.id(&call.destination)).collect::<Result<Vec<_>, _>>()?)
            .bind(calls.iter().map(|call| self.names.id(&call.object)).collect::<Result<Vec<_>, _>>()?)
            .bind(calls.iter().map(|call| call.step).collect::<Vec<_>>())
            .bind(list(calls.iter().map(|call| call.at.0)))
            .bind(calls.iter().map(|call| call.holder.clone()).collect::<Vec<_>>())
            .bind(calls.iter().map(records).collect::<Result<Vec<_>, _>>()?)
            .bind(list(calls.iter().map(|call| call.until.0)));
        self.run(statement).await.map(drop)
    }

    pub async fn insert_results(&mut self, results: &[ResultRow]) -> Result<(), Error> {
        let notes = |result: &ResultRow| {
            let notes: Vec<_> = result.notes.iter().map(|(record, word, code, said)| (record.0, word, words(code), words(said))).collect();
            text(&notes)
        };
        let endings = |result: &ResultRow| {
            let endings = result.endings.iter().map(|(id, state, outcome)| (id.0, *state as i64, outcome.map(|outcome| outcome as i64)));
            text(&endings.collect::<Vec<_>>())
        };
        let failure = |part: fn(&(String, String)) -> &String| {
            results.iter().map(|result| result.failure.as_ref().map(|failure| words(part(failure)))).collect::<Vec<_>>()
        };
        let sql = "with ended as (delete from lease where call_id = any($1)) \
                   insert into call_result (call_id, at, duration_us, http_status, code, message, notes, endings) \
                   select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[]) \
                   on conflict do nothing";
        let statement = sqlx::query(sql)
            .bind(list(results.iter().map(|result| result.call.0)))
            .bind(list(results.iter().map(|result| result.at.0)))
            .bind(list(results.iter().map(|result| result.duration_us)))
            .bind(results.iter().map(|result| result.http_status.map(i64::from)).collect::<Vec<_>>())
            .bind(failure(|failure| &failure.0))
            .bind(failure(|failure| &failure.1))
            .bind(results.iter().map(notes).collect::<Result<Vec<_>, _>>()?)
            .bind(results.iter().map(endings).collect::<Result<Vec<_>, _>>()?);
        self.run(statement).await.map(drop)
    }

    /// Calls of a destination that are under way.
    pub async fn live_calls(&mut self, destination: &str, now: Time, latest: Time) -> Result<u32, Error> {
        let sql = "select count(*) as n from lease where destination_id = $1 and until > $2 and until <= $3";
        let statement = sqlx::query(sql).bind(self.names.id(destination)?).bind(now.0).bind(latest.0);
        let rows = self.all(statement).await?;
        let number = rows.first().map(|row| get::<i64>(row, "n")).transpose()?.unwrap_or_default();
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// A destination's state, as it is now.
    pub async fn destination(&mut self, name: &str) -> Result<Option<Destination>, Error> {
        self.state_of(name, "select state from destination where name_id = $1").await
    }

    /// A destination's state, locked: quota and breaker are every worker's.
    pub async fn hold_destination(&mut self, name: &str) -> Result<Option<Destination>, Error> {
        self.state_of(name, "select state from destination where name_id = $1 for update").await
    }

    async fn state_of(&mut self, name: &str, sql: &'static str) -> Result<Option<Destination>, Error> {
        let id = self.names.id(name)?;
        let rows = self.all(sqlx::query(sql).bind(id)).await?;
        rows.first().map(|row| json(get(row, "state")?, "destination", "state", id)).transpose()
    }

    pub async fn put_destination(&mut self, name: &str, state: &Destination) -> Result<(), Error> {
        let sql = "insert into destination (name_id, state) values ($1, $2) on conflict (name_id) do update set state = excluded.state";
        self.run(sqlx::query(sql).bind(self.names.id(name)?).bind(words(&text(state)?))).await.map(drop)
    }

    /// A delivery, locked.
    pub async fn delivery(&mut self, id: DeliveryId) -> Result<Option<Delivery>, Error> {
        let sql = "select d.*, n.text as destination, o.text as object from delivery d left join name n on n.id = d.destination_id \
                   left join name o on o.id = d.object_id where d.id = $1 for update of d";
        self.all(sqlx::query(sql).bind(id.0)).await?.first().map(delivery).transpose()
    }

    /// Every delivery of these events, each event's oldest first.
    pub async fn deliveries_of(&mut self, events: &BTreeSet<EventId>) -> Result<Vec<Delivery>, Error> {
        let sql = "select d.*, n.text as destination, o.text as object from unnest($1::bigint[]) e (id) \
                   cross join lateral (select * from delivery where id between e.id and e.id + 63 order by id limit 64) d \
                   left join name n on n.id = d.destination_id left join name o on o.id = d.object_id order by d.id";
        self.all(sqlx::query(sql).bind(list(events.iter().map(|id| id.0)))).await?.iter().map(delivery).collect()
    }

    /// Opens a dead letter again: one generation more, under the same id.
    pub async fn reopen(&mut self, id: DeliveryId, lane: Lane, now: Time) -> Result<(), Error> {
        let sql = "update delivery set state = 0, generation = generation + 1, wake_at = $1, lane = $3, outcome = null, ended_at = null, call_id = null \
                   where id = $2";
        self.run(sqlx::query(sql).bind(now.0).bind(id.0).bind(lane.number())).await?;
        self.forget_dead_letter(id).await
    }

    pub async fn event(&mut self, id: EventId) -> Result<Option<Event>, Error> {
        let sql = "select e.*, coalesce(p.normalized, '{}') as normalized, n.text as source from event e join name n on n.id = e.source_id \
                   left join payload p on p.event_id = e.id and p.event_id = $1 where e.id = $1";
        self.all(sqlx::query(sql).bind(id.0)).await?.first().map(event).transpose()
    }

    pub async fn forget_dead_letter(&mut self, id: DeliveryId) -> Result<(), Error> {
        self.run(sqlx::query("delete from dead_letter where delivery_id = $1").bind(id.0)).await.map(drop)
    }

    pub async fn assign(&mut self, id: DeliveryId, owner: &str) -> Result<bool, Error> {
        self.run(sqlx::query("update delivery set owner = $1 where id = $2").bind(words(owner)).bind(id.0)).await?;
        let changed =
            self.run(sqlx::query("update dead_letter set owner = $1 where delivery_id = $2").bind(words(owner)).bind(id.0)).await?;
        Ok(changed == 1)
    }

    /// The last audit row's number and hash; nobody else adds one before this transaction ends.
    pub async fn audit_tail(&mut self) -> Result<Option<(i64, Vec<u8>)>, Error> {
        self.run(sqlx::query("select pg_advisory_xact_lock($1)").bind(AUDITING)).await?;
        let rows = self.all(sqlx::query("select seq, hash from audit order by seq desc limit 1")).await?;
        rows.first().map(|row| Ok((get(row, "seq")?, get(row, "hash")?))).transpose()
    }

    pub async fn insert_audit(&mut self, seq: i64, at: Time, said: [&str; 3], detail: &str, hash: &[u8]) -> Result<(), Error> {
        let [actor, action, subject] = said.map(str::to_owned);
        let sql = "insert into audit (seq, at, actor, action, subject, detail, hash) values ($1, $2, $3, $4, $5, $6, $7)";
        let statement =
            sqlx::query(sql).bind(seq).bind(at.0).bind(actor).bind(action).bind(subject).bind(detail.to_owned()).bind(hash.to_vec());
        self.run(statement).await.map(drop)
    }

    /// The net under every wakeup.
    pub async fn look_at_open(&mut self, destination: &str, after: DeliveryId, limit: u32) -> Result<Looked, Error> {
        let sql = "select d.id, d.record_id, r.state from (select id, record_id from delivery where destination_id = $1 and state = 0 and id > $2 \
                   order by id limit $3) d join record r on r.id = d.record_id order by d.id";
        let statement = sqlx::query(sql).bind(self.names.id(destination)?).bind(after.0).bind(i64::from(limit));
        let rows = self.all(statement).await?;
        let rows =
            rows.iter().map(|row| Ok((DeliveryId(get(row, "id")?), RecordId(get(row, "record_id")?), get::<i64>(row, "state")? == 0)));
        Ok(Looked::of(&rows.collect::<Result<Vec<_>, Error>>()?, limit))
    }
}
