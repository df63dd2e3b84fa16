//! Who works on the ledger, and what is taken over from whoever no longer does (protocol.md, amendment 8).

use std::time::Duration;

use model::{IdGenerator, Time};
use sqlx::query;

use super::Postgres;
use super::pool::Begun;
use super::read::get;
use crate::Error;

/// A worker that has not been seen for this long is dead.
const DEAD_AFTER: Duration = Duration::from_secs(10);
/// Dead workers are forgotten after this, once nothing is left of them.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);
/// Calls that are taken over at once; the rest have their turn two seconds later.
const CALLS_MAX: i64 = 1_000;
/// When somebody was last seen who has said goodbye.
const GONE: i64 = 0;

impl Postgres {
    pub async fn heartbeat(&self, now: Time, holder: &str) -> Result<u64, Error> {
        // By itself: whatever the rest has to wait for, this worker is seen.
        let mut tx = self.pool.begin().await?;
        let sql = "insert into worker (holder, seen_at) values ($1, $2) on conflict (holder) do update set seen_at = excluded.seen_at";
        tx.run(query(sql).bind(holder).bind(now.0)).await?;
        tx.commit().await?;
        self.take_over(now).await
    }

    pub async fn goodbye(&self, holder: &str) -> Result<(), Error> {
        let mut tx = self.pool.begin().await?;
        let sql = "insert into worker (holder, seen_at) values ($1, $2) on conflict (holder) do update set seen_at = excluded.seen_at";
        tx.run(query(sql).bind(holder).bind(GONE)).await?;
        tx.commit().await
    }

    /// Records of dead workers come due, with their intent still open: the claim that follows sets the doubt. Waits for nobody, so that it may lock leases
    /// before records, where settling does it the other way round.
    async fn take_over(&self, now: Time) -> Result<u64, Error> {
        let dead = now - DEAD_AFTER;
        let mut tx = self.pool.begin().await?;
        // The time of a call is in its id. One whose holder was never seen may be of a worker that has just started.
        let sql = "select l.call_id from lease l left join worker w on w.holder = l.holder \
                   where w.seen_at < $1 or (w.seen_at is null and l.call_id < $2) order by l.call_id limit $3 for update of l skip locked";
        let calls = tx.all(query(sql).bind(dead.0).bind(IdGenerator::floor(dead)).bind(CALLS_MAX)).await?;
        let calls = calls.iter().map(|row| get(row, "call_id")).collect::<Result<Vec<i64>, _>>()?;
        let mut taken = 0;
        if !calls.is_empty() {
            taken = Self::free(&mut tx, &calls, now).await?;
        }
        let sql = "delete from worker w where w.seen_at < $1 and not exists (select 1 from lease l where l.holder = w.holder)";
        tx.run(query(sql).bind((now - FORGOTTEN_AFTER).0)).await?;
        tx.commit().await?;
        Ok(taken)
    }

    async fn free(tx: &mut Begun, calls: &[i64], now: Time) -> Result<u64, Error> {
        let sql =
            "select distinct (j.value -> 0)::text::bigint as id from call c, json_array_elements(c.records::json) j where c.id = any($1)";
        let held = tx.all(query(sql).bind(calls)).await?;
        let held = held.iter().map(|row| get(row, "id")).collect::<Result<Vec<i64>, _>>()?;
        // What somebody has locked is being settled, or its turn comes with the next heartbeat.
        let sql = "select id from record where id = any($1) and state = 3 and lease_call = any($2) order by id for update skip locked";
        let free = tx.all(query(sql).bind(&held).bind(calls)).await?;
        let free = free.iter().map(|row| get(row, "id")).collect::<Result<Vec<i64>, _>>()?;
        tx.run(query("update record set wake_at = least(wake_at, $2) where id = any($1)").bind(&free).bind(now.0)).await?;
        let sql = "delete from lease l where l.call_id = any($1) and not exists \
                   (select 1 from record r where r.id = any($2) and r.id <> all($3) and r.state = 3 and r.lease_call = l.call_id)";
        tx.run(query(sql).bind(calls).bind(&held).bind(&free)).await?;
        Ok(free.len() as u64)
    }
}
