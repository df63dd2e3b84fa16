//! T18 on SQLite: one writer, so that what a statement sees is what is so.

use std::sync::PoisonError;

use model::{IdGenerator, Time};

use rusqlite::{Connection, params};

use super::super::Sqlite;
use super::super::row::{one, run};
use crate::Error;
use crate::types::Retained;
use crate::views::retention::{self, KINDS, floors, retained};

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

/// In the order of [`Progress`](retention::Progress).
const ALL: [&Kind; KINDS] = [&RAW_EVENTS, &PAYLOADS, &CALLS, &REJECTED, &EVENTS, &EMPTY_REQUESTS];

impl Sqlite {
    pub async fn retain(&self, now: Time, before: [Time; 3], limit: u32) -> Result<Retained, Error> {
        let mut progress = self.retained.lock().unwrap_or_else(PoisonError::into_inner).at(now);
        let calls = self.read(|conn| calls_before(conn, IdGenerator::floor(before[1]))).await?;
        let mut done = [0; KINDS];
        let mut more = false;
        for (((kind, before), place), done) in ALL.iter().zip(floors(before, calls)).zip(&mut progress.places).zip(&mut done) {
            let (to, full) = self.read(|conn| range(conn, kind, *place, before, limit)).await?;
            if to > *place {
                *done = self.write(|conn| drop_between(conn, kind, *place, to)).await?;
                *place = to;
            }
            more |= full;
        }
        *self.retained.lock().unwrap_or_else(PoisonError::into_inner) = progress;
        Ok(retained(done, more))
    }
}

fn range(conn: &Connection, kind: &Kind, place: i64, before: i64, limit: u32) -> Result<(i64, bool), Error> {
    retention::range(&one(conn, kind.next, params![place, before, i64::from(limit.max(1))])?, place, limit)
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

fn calls_before(conn: &Connection, before: i64) -> Result<i64, Error> {
    let sql = "select min(lease_call) as first from record where wake_at is not null and state = 3 \
               and exists (select 1 from call where id < ?)";
    retention::calls_before(&one(conn, sql, params![before])?, before)
}
