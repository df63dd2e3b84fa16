//! How much there is of everything.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use model::{IdGenerator, Time};

use rusqlite::{Connection, params};

use super::super::Sqlite;
use super::super::row::{Row, all, get, optional};
use super::dead_letters::by_reason;
use super::reconcile::reconciled;
use crate::Error;
use crate::types::{DestinationRow, Gauges};
use crate::views::Seen;
use crate::views::numbers::{self as view, OLDEST_OF, WAITING_MAX};
use crate::views::reconcile::finished;

impl Sqlite {
    /// What is known of sources and types, with what came since it was last asked.
    pub fn seen(&self, conn: &Connection) -> Result<Seen, Error> {
        let (up_to, look) = {
            let before = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            (before.up_to(), before.look())
        };
        let sql = "select s.text as source, e.event_type, max(e.received_at) as at, max(e.id) as up_to from \
                   (select id, source_id, event_type, received_at from event where id > ? order by id desc limit ?) e \
                   join name s on s.id = e.source_id group by s.text, e.event_type";
        let mut found = Seen::of(&all(conn, sql, params![up_to, look])?)?;
        if up_to == 0 {
            for (source, at) in silent(conn, &found)? {
                found.add_silent(source, at);
            }
        }
        let mut held = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        held.absorb(found);
        Ok(held.clone())
    }

    pub fn gauges(&self, conn: &Connection, now: Time) -> Result<Gauges, Error> {
        let (states, open) = (view::states(&states(conn)?)?, view::open(&open(conn)?)?);
        let reconciled = finished(&reconciled(conn)?)?;
        Ok(view::gauges(states, open, view::dead(&dead(conn)?)?, self.seen(conn)?, reconciled, now))
    }

    pub fn destinations(&self, conn: &Connection, now: Time) -> Result<Vec<DestinationRow>, Error> {
        let (open, waiting) = (view::open(&open(conn)?)?, view::waiting(&waiting(conn)?)?);
        Ok(view::destinations(view::states(&states(conn)?)?, &open, &waiting, by_reason(conn)?, now))
    }

    pub fn counts(&self, conn: &Connection, since: Time) -> Result<BTreeMap<String, u64>, Error> {
        let floor = IdGenerator::floor(since);
        let ended = "select state, count(*) as n from delivery where id >= ? and state <> 0 group by state";
        // By the index of what is open: mostly there is little of it among very many.
        let open = "select r.state, r.fence = 0 as unclaimed, count(*) as n from delivery d indexed by delivery_open \
                    left join record r on r.id = d.record_id where d.state = 0 and d.id >= ? group by 1, 2";
        view::counts(&all(conn, ended, params![floor])?, &all(conn, open, params![floor])?)
    }
}

/// Sources whose last event is older than the first look: found by reading their part of the keys' index, once.
fn silent(conn: &Connection, found: &Seen) -> Result<Vec<(String, Time)>, Error> {
    let rows = all(conn, "select n.text as source from source s join name n on n.id = s.name_id", params![])?;
    let mut last = Vec::new();
    for row in &rows {
        let source: String = get(row, "source")?;
        if found.sources.contains_key(&source) {
            continue;
        }
        let sql =
            "select received_at from event where id = (select max(id) from event where source_id = (select id from name where text = ?))";
        if let Some(row) = optional(conn, sql, params![&source])? {
            last.push((source, Time(get(&row, "received_at")?)));
        }
    }
    Ok(last)
}

fn states(conn: &Connection) -> Result<Vec<Row>, Error> {
    let sql = "select d.name_id, n.text as name, d.state from destination d join name n on n.id = d.name_id";
    all(conn, sql, params![])
}

fn open(conn: &Connection) -> Result<Vec<Row>, Error> {
    let sql = "select n.text as name, q.n, (select min(wake_at) from (select d.wake_at from delivery d where d.destination_id = q.destination_id \
               and d.state = 0 order by d.id limit ?)) as oldest from (select destination_id, count(*) as n from delivery where state = 0 \
               group by destination_id) q join name n on n.id = q.destination_id";
    all(conn, sql, params![OLDEST_OF])
}

fn waiting(conn: &Connection) -> Result<Vec<Row>, Error> {
    let sql = "select n.text as name, r.state, count(*) as n from (select destination_id, state from record where wake_at is not null limit ?) r \
               join name n on n.id = r.destination_id group by 1, 2";
    all(conn, sql, params![WAITING_MAX])
}

/// Dead letters by destination and reason.
fn dead(conn: &Connection) -> Result<Vec<Row>, Error> {
    // One look at the table tells both; it is as long as what nobody has dealt with.
    let sql = "select coalesce(n.text, '') as destination, l.reason, l.n, l.oldest from (select destination_id, reason, count(*) as n, \
               min(failed_at) as oldest from dead_letter group by destination_id, reason) l left join name n on n.id = l.destination_id \
               order by 1, 2";
    all(conn, sql, params![])
}
