//! How much there is of everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use model::destination::Destination;
use model::record::State;
use model::{IdGenerator, Time};

use rusqlite::{Connection, params};

use super::super::Sqlite;
use super::super::row::{all, get, json, optional, word};
use super::dead_letters::by_reason;
use super::events::status;
use super::{count, time};
use crate::Error;
use crate::rows::DeliveryState;
use crate::types::{DestinationRow, Gauges, Status};

/// Events that the first look at sources goes back over, and each later one at most.
const FIRST_LOOK: i64 = 50_000;
const LOOK: i64 = 20_000;
/// Kinds of event that are remembered.
const TYPES_MAX: usize = 4_096;
/// Of the open deliveries of a destination, so many of the first are asked since when they are open: a replayed one stands before its time.
const OLDEST_OF: i64 = 100;
/// Due records of which it is counted what they wait for.
const WAITING_MAX: i64 = 200_000;

/// What was seen of events, each once: no index on what intake writes could tell it cheaply.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    up_to: i64,
    /// When each source last sent an event.
    pub sources: BTreeMap<String, Time>,
    /// Source and type.
    pub types: BTreeSet<(String, String)>,
}

/// Open deliveries of a destination, and since when the oldest one is open.
type Open = (u64, Option<Time>);

impl Sqlite {
    /// What is known of sources and types, with what came since it was last asked.
    pub fn seen(&self, conn: &Connection) -> Result<Seen, Error> {
        let before = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let first = before.up_to == 0;
        let sql = "select s.text as source, e.event_type, max(e.received_at) as at, max(e.id) as up_to from \
                   (select id, source_id, event_type, received_at from event where id > ? order by id desc limit ?) e \
                   join name s on s.id = e.source_id group by s.text, e.event_type";
        let rows = all(conn, sql, params![before.up_to, if first { FIRST_LOOK } else { LOOK }])?;
        let mut found = Seen::default();
        for row in &rows {
            found.add(get(row, "source")?, Some(get(row, "event_type")?), Time(get(row, "at")?), get(row, "up_to")?);
        }
        if first {
            for (source, at) in silent(conn, &found)? {
                found.add(source, None, at, 0);
            }
        }
        let mut held = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (source, at) in found.sources {
            held.add(source, None, at, found.up_to);
        }
        for (source, word) in found.types {
            held.add(source, Some(word), Time(i64::MIN), 0);
        }
        Ok(held.clone())
    }

    pub fn gauges(&self, conn: &Connection, now: Time) -> Result<Gauges, Error> {
        let mut open = open(conn)?;
        let states = states(conn)?;
        for name in states.keys() {
            open.entry(name.clone()).or_default();
        }
        Ok(Gauges {
            queue: open.into_iter().map(|(name, (number, oldest))| (name, number, oldest)).collect(),
            dead_letters: by_reason(conn)?,
            destinations: states.into_iter().map(|(name, held)| (name, held.state(now).to_owned())).collect(),
            sources: self.seen(conn)?.sources.into_iter().collect(),
        })
    }

    pub fn destinations(&self, conn: &Connection, now: Time) -> Result<Vec<DestinationRow>, Error> {
        let open = open(conn)?;
        let waiting = waiting(conn)?;
        let mut dead: BTreeMap<String, u64> = BTreeMap::new();
        for (destination, _, number) in by_reason(conn)? {
            *dead.entry(destination).or_default() += number;
        }
        let of_state = |name: &str, state: State| waiting.get(&(name.to_owned(), state.number())).copied().unwrap_or_default();
        let states = states(conn)?;
        let rows = states.into_iter().map(|(name, held)| {
            let (number, oldest_open) = open.get(&name).copied().unwrap_or_default();
            DestinationRow {
                state: held.state(now).to_owned(),
                until: until(&held, now),
                open: number,
                retrying: of_state(&name, State::Waiting),
                verifying: of_state(&name, State::Verifying),
                oldest_open,
                dead_letters: dead.get(&name).copied().unwrap_or_default(),
                last_success_at: held.last_success_at,
                last_error: held.last_error,
                reason: held.reason,
                name,
            }
        });
        Ok(rows.collect())
    }

    pub fn counts(&self, conn: &Connection, since: Time) -> Result<BTreeMap<String, u64>, Error> {
        let floor = IdGenerator::floor(since);
        let mut counts = BTreeMap::new();
        let mut add = |status: Status, number: u64| {
            if number > 0 {
                *counts.entry(status.as_str().to_owned()).or_default() += number;
            }
        };
        let ended = "select state, count(*) as n from delivery where id >= ? and state <> 0 group by state";
        for row in all(conn, ended, params![floor])? {
            let number: i64 = get(&row, "state")?;
            let state = DeliveryState::ALL.into_iter().find(|state| *state as i64 == number);
            add(status(word(state, "delivery", "state", 0, number)?, None), count(get(&row, "n")?));
        }
        // By the index of what is open: mostly there is little of it among very many.
        let open = "select r.state, r.fence = 0 as unclaimed, count(*) as n from delivery d indexed by delivery_open \
                    left join record r on r.id = d.record_id where d.state = 0 and d.id >= ? group by 1, 2";
        for row in all(conn, open, params![floor])? {
            let record = match get::<Option<i64>>(&row, "state")? {
                Some(number) => {
                    let state = word(State::from_number(number), "record", "state", 0, number)?;
                    Some((state, i64::from(get::<i64>(&row, "unclaimed")? == 0)))
                }
                None => None,
            };
            add(status(DeliveryState::Open, record), count(get(&row, "n")?));
        }
        Ok(counts)
    }
}

impl Seen {
    fn add(&mut self, source: String, event_type: Option<String>, at: Time, up_to: i64) {
        self.up_to = self.up_to.max(up_to);
        let last = self.sources.entry(source.clone()).or_insert(at);
        *last = at.max(*last);
        if let Some(event_type) = event_type
            && self.types.len() < TYPES_MAX
        {
            self.types.insert((source, event_type));
        }
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

/// What every destination is known for, by name.
fn states(conn: &Connection) -> Result<BTreeMap<String, Destination>, Error> {
    let sql = "select d.name_id, n.text as name, d.state from destination d join name n on n.id = d.name_id";
    let rows = all(conn, sql, params![])?;
    rows.iter().map(|row| Ok((get(row, "name")?, json(get(row, "state")?, "destination", "state", get(row, "name_id")?)?))).collect()
}

fn open(conn: &Connection) -> Result<BTreeMap<String, Open>, Error> {
    let sql = "select n.text as name, q.n, (select min(wake_at) from (select d.wake_at from delivery d where d.destination_id = q.destination_id \
               and d.state = 0 order by d.id limit ?)) as oldest from (select destination_id, count(*) as n from delivery where state = 0 \
               group by destination_id) q join name n on n.id = q.destination_id";
    let rows = all(conn, sql, params![OLDEST_OF])?;
    rows.iter().map(|row| Ok((get(row, "name")?, (count(get(row, "n")?), time(row, "oldest")?)))).collect()
}

/// Records that wait, by destination and state.
fn waiting(conn: &Connection) -> Result<BTreeMap<(String, i64), u64>, Error> {
    let sql = "select n.text as name, r.state, count(*) as n from (select destination_id, state from record where wake_at is not null limit ?) r \
               join name n on n.id = r.destination_id group by 1, 2";
    let rows = all(conn, sql, params![WAITING_MAX])?;
    rows.iter().map(|row| Ok(((get(row, "name")?, get(row, "state")?), count(get(row, "n")?)))).collect()
}

/// Until when a destination rests, where it goes on by itself.
fn until(held: &Destination, now: Time) -> Option<Time> {
    let until = match held.state(now) {
        "breaker_open" => held.open_until,
        "throttled" => held.throttled_until,
        _ => None,
    };
    until.filter(|until| *until > now)
}
