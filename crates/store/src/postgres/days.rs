//! Partitions: what comes in bulk and is dropped when it is old lies in tables by day. The time is in the id, so that an id finds its day by itself.
//!
//! A day whose table is missing is in `…_rest`, and nothing is lost. Making and dropping a table needs locks that stop everybody else on the table for a
//! moment: whoever does not get them soon leaves it for the next time.

use std::sync::PoisonError;
use std::time::Duration;

use model::{IdGenerator, Time};
use sqlx::{AssertSqlSafe, Row, query};

use super::Postgres;
use super::pool::Begun;
use super::read::get;
use crate::Error;

/// Days whose tables are made ahead, with today.
const AHEAD: i64 = 8;
const DAY_SECONDS: i64 = 86_400;
/// How often retention looks at days.
const LOOK_EVERY: Duration = Duration::from_secs(1_800);
/// No transaction lives for this long.
const SETTLED_AFTER: Duration = Duration::from_secs(3_600);
/// The key of the lock under which tables of days are made and dropped.
const DAYS: i64 = 0x6f6e_6365_6461_7973;
/// What others on a table wait for us at most: for the locks, and for the look into the `…_rest` whether it holds what belongs to a new day.
const SHORTLY: &str = "set local lock_timeout = '300ms'; set local statement_timeout = '2s'";
/// Counting what a day holds reads all of it, and holds up nobody.
const AT_LEISURE: &str = "set local statement_timeout = '300s'; set local enable_seqscan = on";

/// A table that is one by day.
struct Daily {
    table: &'static str,
    /// What a table of a day is made with.
    with: &'static str,
    /// Whether rows with ids from $1 to before $2 are still needed; without it they never are.
    needed: Option<&'static str>,
    /// How many of them are counted as dropped.
    count: Option<&'static str>,
}

/// Requests that brought or repeated an event which is open or a dead letter. Of a request that repeated several, the first one counts.
const RAW_EVENT: Daily = Daily {
    table: "raw_event",
    // A sealed request is just over what PostgreSQL moves out of a row.
    with: "with (toast_tuple_target = 8160)",
    // An event's id is made after its request's: an hour is 3,600,000 ms in an id's upper bits.
    needed: Some(
        "with needed as (select id & ~63::bigint as event from delivery where state = 0 and id < $2 + (3600000::bigint << 22) \
             union select delivery_id & ~63::bigint from dead_letter where delivery_id < $2 + (3600000::bigint << 22)) \
             select exists (select 1 from needed n join event e on e.id = n.event where e.raw_event_id >= $1 and e.raw_event_id < $2) \
             or exists (select 1 from needed n join raw_event r on r.events[1] = n.event and r.disposition in (1, 4) where r.id >= $1 and r.id < $2) as needed",
    ),
    count: Some("select count(*) as n from raw_event where id >= $1 and id < $2 and octet_length(sealed) > 0"),
};
/// A dead letter's payload goes when it is old, but by itself: a replay that is half-way holds on to it.
const PAYLOAD: Daily = Daily {
    table: "payload",
    with: "",
    needed: Some(
        "select exists (select 1 from delivery where state = 0 and id >= $1 and id < $2) \
             or exists (select 1 from dead_letter where delivery_id >= $1 and delivery_id < $2) as needed",
    ),
    count: Some("select count(*) as n from payload where event_id >= $1 and event_id < $2"),
};
/// Calls that are needed are younger than what is asked for.
const CALL: Daily =
    Daily { table: "call", with: "", needed: None, count: Some("select count(*) as n from call where id >= $1 and id < $2") };
const CALL_RESULT: Daily = Daily { table: "call_result", with: "", needed: None, count: None };
const DAILY: [&Daily; 4] = [&RAW_EVENT, &PAYLOAD, &CALL, &CALL_RESULT];

/// Rows that were dropped with their days.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dropped {
    pub raw_events: u64,
    pub payloads: u64,
    pub calls: u64,
}

fn day_of(at: Time) -> i64 {
    at.millis().div_euclid(DAY_SECONDS * 1_000)
}

/// The first id of a day.
fn floor(day: i64) -> i64 {
    IdGenerator::floor(Time::from_seconds(day * DAY_SECONDS))
}

/// The table of a day: `raw_event_20261123`.
fn name(table: &str, day: i64) -> String {
    let date: String = Time::from_seconds(day * DAY_SECONDS).to_string().chars().take(10).filter(char::is_ascii_digit).collect();
    format!("{table}_{date}")
}

impl Postgres {
    /// Makes the tables of today and the days after it, as far as they are missing.
    pub async fn make_days(&self, now: Time) -> Result<(), Error> {
        let there = self.days().await?;
        let today = day_of(now);
        for day in today..today + AHEAD {
            let missing: Vec<&Daily> =
                DAILY.into_iter().filter(|daily| !there.iter().any(|(table, held)| table == daily.table && *held == day)).collect();
            if missing.is_empty() {
                continue;
            }
            if let Err(error) = self.make_day(day, &missing).await {
                tracing::warn!(%error, day = name("", day), "the ledger's tables of a day were not made; until the next try its rows go with the rest");
            }
        }
        Ok(())
    }

    /// Attached and not made in place: that would stop intake until the commit.
    async fn make_day(&self, day: i64, missing: &[&Daily]) -> Result<(), Error> {
        let mut tx = self.pool.begin().await?;
        tx.script(SHORTLY).await?;
        if !self.alone(&mut tx).await? {
            return Ok(());
        }
        for Daily { table, with, .. } in missing {
            let (day_table, from, to) = (name(table, day), floor(day), floor(day + 1));
            if Self::is_there(&mut tx, &day_table).await? {
                continue;
            }
            let text = format!(
                "create table {day_table} (like {table} including all) {with}; \
                 alter table {table} attach partition {day_table} for values from ({from}) to ({to})"
            );
            tx.script(AssertSqlSafe(text)).await?;
        }
        tx.commit().await
    }

    /// Drops the days that are wholly older than these ids, unless something in them is needed; every half an hour.
    pub async fn drop_days(&self, now: Time, [raw, payload, calls]: [i64; 3]) -> Result<Dropped, Error> {
        let mut dropped = Dropped::default();
        if !self.time_to_look(now) {
            return Ok(dropped);
        }
        self.make_days(now).await?;
        for (table, day) in self.days().await? {
            let Some(daily) = DAILY.into_iter().find(|daily| daily.table == table) else { continue };
            let (before, count) = match daily.table {
                "raw_event" => (raw, Some(&mut dropped.raw_events)),
                "payload" => (payload, Some(&mut dropped.payloads)),
                "call" => (calls, Some(&mut dropped.calls)),
                _ => (calls, None),
            };
            // However short the retention: what was begun on a day is committed before it is looked at.
            if floor(day + 1) > before.min(IdGenerator::floor(now - SETTLED_AFTER)) {
                continue;
            }
            match self.drop_day(daily, day).await {
                Ok(rows) => count.into_iter().for_each(|count| *count += rows),
                Err(error) => {
                    tracing::warn!(%error, table = name(&table, day), "an old day of the ledger was not dropped; the next try is in an hour")
                }
            }
        }
        Ok(dropped)
    }

    fn time_to_look(&self, now: Time) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = looked.is_none_or(|at| at > now || now.since(at) >= LOOK_EVERY);
        if due {
            *looked = Some(now);
        }
        due
    }

    /// What is not needed now is not needed later: deliveries open again only from the list of dead letters, and new rows have new ids. So the look needs
    /// no lock, and the drop no look.
    async fn drop_day(&self, daily: &Daily, day: i64) -> Result<u64, Error> {
        let (day_table, from, to) = (name(daily.table, day), floor(day), floor(day + 1));
        let mut tx = self.pool.begin().await?;
        tx.script(AT_LEISURE).await?;
        if let Some(needed) = daily.needed
            && tx.one(query(needed).bind(from).bind(to)).await?.try_get("needed")?
        {
            let any = format!("select exists (select 1 from {day_table}) as any");
            if tx.one(query(AssertSqlSafe(any))).await?.try_get("any")? {
                return Ok(0);
            }
        }
        let rows: i64 = match daily.count {
            Some(count) => get(&tx.one(query(count).bind(from).bind(to)).await?, "n")?,
            None => 0,
        };
        tx.commit().await?;
        let mut tx = self.pool.begin().await?;
        tx.script(SHORTLY).await?;
        if !self.alone(&mut tx).await? || !Self::is_there(&mut tx, &day_table).await? {
            return Ok(0);
        }
        tx.script(AssertSqlSafe(format!("drop table {day_table}"))).await?;
        tx.commit().await?;
        Ok(u64::try_from(rows).unwrap_or(0))
    }

    /// Whether no other process makes or drops days; none does until this transaction is over.
    async fn alone(&self, tx: &mut Begun) -> Result<bool, Error> {
        Ok(tx.one(query("select pg_try_advisory_xact_lock($1)").bind(DAYS)).await?.try_get(0)?)
    }

    /// Another process may have been here since we looked.
    async fn is_there(tx: &mut Begun, day_table: &str) -> Result<bool, Error> {
        Ok(tx.one(query("select to_regclass($1) is not null").bind(day_table)).await?.try_get(0)?)
    }

    /// The tables by day that there are, oldest first: whose, and which day since 1970.
    async fn days(&self) -> Result<Vec<(String, i64)>, Error> {
        let sql = "select p.relname::text as table, (to_date(right(c.relname, 8), 'YYYYMMDD') - date '1970-01-01')::bigint as day from pg_inherits i \
                   join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent \
                   where p.relname = any($1) and pg_table_is_visible(p.oid) and c.relname ~ '_[0-9]{8}$' order by 2, 1";
        let tables: Vec<&str> = DAILY.iter().map(|daily| daily.table).collect();
        let mut tx = self.pool.begin().await?;
        tx.all(query(sql).bind(tables)).await?.iter().map(|row| Ok((get(row, "table")?, get(row, "day")?))).collect()
    }
}
