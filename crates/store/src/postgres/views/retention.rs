//! T18 on PostgreSQL: a statement sees what was so when it began, so that what people may open again is locked first.

use std::sync::PoisonError;

use model::{IdGenerator, Time};
use sqlx::postgres::PgRow;
use sqlx::query;

use super::super::Postgres;
use super::super::pool::Statement;
use crate::Error;
use crate::types::Retained;
use crate::views::retention::{KINDS, calls_before, floors, range, retained};

/// One kind of row: which of its ids come next, what is locked, and what is done to those between two of them.
struct Kind {
    next: &'static str,
    lock: Option<&'static str>,
    statements: &'static [&'static str],
}

macro_rules! next {
    ($table:literal) => {
        concat!("select max(id) as last, count(*) as n from (select id from ", $table, " where id > $1 and id < $2 order by id limit $3) t")
    };
}

/// Whether a delivery of the event with this id is open. Said in a way that leads through the ids, and not through all that is open.
macro_rules! open {
    ($event:literal) => {
        concat!("(select state from delivery where id between ", $event, " and ", $event, " + 63 order by id limit 64) d where d.state = 0")
    };
}

const RAW_EVENTS: Kind = Kind {
    next: next!("raw_event"),
    lock: None,
    statements: &[concat!(
        "update raw_event set sealed = ''::bytea where id > $1 and id <= $2 and octet_length(sealed) > 0 and not exists ",
        "(select 1 from unnest(raw_event.events) j (id) cross join lateral ",
        open!("j.id"),
        ")"
    )],
};
const PAYLOADS: Kind = Kind {
    next: "select max(event_id) as last, count(*) as n from (select event_id from payload where event_id > $1 and event_id < $2 \
           order by event_id limit $3) t",
    // A replay that began before goes on its way with its payload; one that begins later finds it gone.
    lock: Some("select id from delivery where id > $1 and id <= $2 + 63 and state in (2, 3) order by id for update"),
    statements: &[concat!(
        "delete from payload where event_id > $1 and event_id <= $2 and not exists (select 1 from ",
        open!("payload.event_id"),
        ")"
    )],
};
const CALLS: Kind = Kind {
    next: next!("call"),
    lock: None,
    statements: &["delete from call where id > $1 and id <= $2", "delete from call_result where call_id > $1 and call_id <= $2"],
};
const REJECTED: Kind = Kind { next: next!("rejected"), lock: None, statements: &["delete from rejected where id > $1 and id <= $2"] };
// Events first: what is left without its event is gone with it. A dead letter is on somebody's list, however old.
const EVENTS: Kind = Kind {
    next: next!("event"),
    lock: None,
    statements: &[
        concat!(
            "delete from event where id > $1 and id <= $2 and not exists (select 1 from ",
            open!("event.id"),
            ") and not exists (select 1 from (select delivery_id from dead_letter where delivery_id between event.id and event.id + 63 ",
            "order by delivery_id limit 1) l)"
        ),
        "delete from payload where event_id > $1 and event_id <= $2 and not exists (select 1 from event e where e.id = payload.event_id)",
        "delete from delivery where id > $1 and id <= $2 + 63 and not exists (select 1 from event e where e.id = (delivery.id & ~63::bigint))",
    ],
};
const EMPTY_REQUESTS: Kind = Kind {
    next: next!("raw_event"),
    lock: None,
    statements: &["delete from raw_event where id > $1 and id <= $2 and octet_length(sealed) = 0 and not exists \
         (select 1 from event e where e.id = any(raw_event.events))"],
};

/// In the order of [`Progress`](crate::views::Progress).
const ALL: [&Kind; KINDS] = [&RAW_EVENTS, &PAYLOADS, &CALLS, &REJECTED, &EVENTS, &EMPTY_REQUESTS];

impl Postgres {
    pub async fn retain(&self, now: Time, before: [Time; 3], limit: u32) -> Result<Retained, Error> {
        let mut progress = self.retained.lock().unwrap_or_else(PoisonError::into_inner).at(now);
        let calls = self.calls_before(IdGenerator::floor(before[1])).await?;
        // Whole days first: what is left is looked through row by row.
        let dropped = self.drop_days(now, [IdGenerator::floor(before[0]), IdGenerator::floor(before[1]), calls]).await?;
        let mut done = [0; KINDS];
        let mut more = false;
        for (((kind, before), place), done) in ALL.iter().zip(floors(before, calls)).zip(&mut progress.places).zip(&mut done) {
            let next = query(kind.next).bind(*place).bind(before).bind(i64::from(limit.max(1)));
            let (to, full) = range(&self.read(next).await?, *place, limit)?;
            if to > *place {
                *done = self.drop_between(kind, *place, to).await?;
                *place = to;
            }
            more |= full;
        }
        *self.retained.lock().unwrap_or_else(PoisonError::into_inner) = progress;
        let mut retained = retained(done, more);
        retained.raw_events += dropped.raw_events;
        retained.payloads += dropped.payloads;
        retained.calls += dropped.calls;
        Ok(retained)
    }

    /// One transaction; returns what the first statement did.
    async fn drop_between(&self, kind: &Kind, after: i64, to: i64) -> Result<u64, Error> {
        let mut tx = self.pool.begin().await?;
        if let Some(lock) = kind.lock {
            tx.run(query(lock).bind(after).bind(to)).await?;
        }
        let mut done = None;
        for statement in kind.statements {
            let changed = tx.run(query(*statement).bind(after).bind(to)).await?;
            done.get_or_insert(changed);
        }
        tx.commit().await?;
        Ok(done.unwrap_or(0))
    }

    async fn calls_before(&self, before: i64) -> Result<i64, Error> {
        let sql = "select min(lease_call) as first from record where wake_at is not null and state = 3 \
                   and exists (select 1 from call where id < $1)";
        calls_before(&self.read(query(sql).bind(before)).await?, before)
    }

    async fn read(&self, statement: Statement<'_>) -> Result<PgRow, Error> {
        self.pool.begin().await?.one(statement).await
    }
}
