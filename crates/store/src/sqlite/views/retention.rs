//! T18: what is old is dropped, in small steps.
//!
//! Each kind has its own place, up to which it was looked at: rows that were dropped already are not read again and again. The
//! time is in the id, so that a step is a range of ids.

use std::sync::PoisonError;
use std::time::Duration;

use model::{IdGenerator, Time};

use rusqlite::{Connection, params};

use super::super::Sqlite;
use super::super::row::{get, one, run};
use crate::Error;
use crate::types::Retained;

/// A pass begins anew from the oldest row after this, for what was on its way when its turn came.
const PASS: Duration = Duration::from_secs(86_400);

/// How far retention has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    began: Option<Time>,
    places: [i64; 6],
}

/// One kind of row: which of its ids come next, and what is done to those between two of them.
struct Kind {
    next: &'static str,
    statements: &'static [&'static str],
}

macro_rules! next {
    ($table:literal) => {
        concat!("select max(id) as last, count(*) as n from (select id from ", $table, " where id > ? and id < ? order by id limit ?)")
    };
}

const RAW_EVENTS: Kind = Kind {
    next: next!("raw_event"),
    statements: &["update raw_event set sealed = x'' where id > ?1 and id <= ?2 and length(sealed) > 0 and not exists \
         (select 1 from json_each(raw_event.events) j cross join delivery d on d.id between j.value and j.value + 63 where d.state = 0)"],
};
const PAYLOADS: Kind = Kind {
    next: next!("event"),
    statements: &["update event set normalized = '{}' where id > ?1 and id <= ?2 and normalized <> '{}' and not exists \
         (select 1 from delivery d where d.id between event.id and event.id + 63 and d.state = 0)"],
};
const CALLS: Kind = Kind {
    next: next!("call"),
    statements: &["delete from call where id > ?1 and id <= ?2", "delete from call_result where call_id > ?1 and call_id <= ?2"],
};
const REJECTED: Kind = Kind { next: next!("rejected"), statements: &["delete from rejected where id > ?1 and id <= ?2"] };
// Events first: what is left without its event is gone with it. A dead letter is on somebody's list, however old.
const EVENTS: Kind = Kind {
    next: next!("event"),
    statements: &[
        "delete from event where id > ?1 and id <= ?2 and not exists (select 1 from delivery d left join dead_letter l on l.delivery_id = d.id \
         where d.id between event.id and event.id + 63 and (d.state = 0 or l.delivery_id is not null))",
        "delete from delivery where id > ?1 and id <= ?2 + 63 and not exists (select 1 from event e where e.id = (delivery.id & ~63))",
    ],
};
const EMPTY_REQUESTS: Kind = Kind {
    next: next!("raw_event"),
    statements: &["delete from raw_event where id > ?1 and id <= ?2 and length(sealed) = 0 and not exists \
         (select 1 from json_each(raw_event.events) j cross join event e on e.id = j.value)"],
};

impl Sqlite {
    pub async fn retain(&self, now: Time, [raw, payload, keys]: [Time; 3], limit: u32) -> Result<Retained, Error> {
        let mut progress = *self.retained.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.began.is_none_or(|began| began > now || now.since(began) >= PASS) {
            progress = Progress { began: Some(now), ..Progress::default() };
        }
        let kinds = [
            (&RAW_EVENTS, IdGenerator::floor(raw)),
            (&PAYLOADS, IdGenerator::floor(payload)),
            (&CALLS, self.read(|conn| calls_before(conn, IdGenerator::floor(payload))).await?),
            (&REJECTED, IdGenerator::floor(raw)),
            (&EVENTS, IdGenerator::floor(keys)),
            (&EMPTY_REQUESTS, IdGenerator::floor(keys)),
        ];
        let mut done = [0; 6];
        let mut more = false;
        for ((place, done), (kind, before)) in progress.places.iter_mut().zip(&mut done).zip(kinds) {
            let (to, full) = self.read(|conn| range(conn, kind, *place, before, limit)).await?;
            if to > *place {
                *done = self.write(|conn| drop_between(conn, kind, *place, to)).await?;
                *place = to;
            }
            more |= full;
        }
        *self.retained.lock().unwrap_or_else(PoisonError::into_inner) = progress;
        let [raw_events, payloads, calls, rejected, events, _] = done;
        Ok(Retained { raw_events, payloads, calls, events, rejected, more })
    }
}

/// The last of the next `limit` rows after `place` and before `before`, and whether there may be more.
fn range(conn: &Connection, kind: &Kind, place: i64, before: i64, limit: u32) -> Result<(i64, bool), Error> {
    let limit = i64::from(limit.max(1));
    let row = one(conn, kind.next, params![place, before, limit])?;
    Ok((get::<Option<i64>>(&row, "last")?.unwrap_or(place), get::<i64>(&row, "n")? >= limit))
}

/// One transaction; returns what the first statement did.
fn drop_between(conn: &Connection, kind: &Kind, after: i64, to: i64) -> Result<u64, Error> {
    let mut done = None;
    for statement in kind.statements {
        let changed = run(conn, statement, params![after, to])?;
        done.get_or_insert(changed);
    }
    Ok(done.unwrap_or(0))
}

/// Calls of which nobody has heard yet are needed, however old: what they carried may still be in doubt.
fn calls_before(conn: &Connection, before: i64) -> Result<i64, Error> {
    let sql = "select min(lease_call) as first from record where wake_at is not null and state = 3 \
               and exists (select 1 from call where id < ?)";
    let row = one(conn, sql, params![before])?;
    Ok(get::<Option<i64>>(&row, "first")?.map_or(before, |first| first.min(before)))
}
