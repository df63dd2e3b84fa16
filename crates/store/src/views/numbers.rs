//! How much there is of everything.

use std::collections::{BTreeMap, BTreeSet};

use model::Time;
use model::destination::Destination;
use model::record::State;

use super::dead_letters::{ByReason, by_reason};
use super::events::status;
use crate::Error;
use crate::columns::{Columns, count, get, json, time, word};
use crate::rows::DeliveryState;
use crate::types::{DestinationRow, Gauges, Status};

/// Events that the first look at sources goes back over, and each later one at most.
const FIRST_LOOK: i64 = 50_000;
const LOOK: i64 = 20_000;
/// Kinds of event that are remembered.
const TYPES_MAX: usize = 4_096;
/// Of the open deliveries of a destination, so many of the first are asked since when they are open: a replayed one stands before its time.
pub const OLDEST_OF: i64 = 100;
/// Due records of which it is counted what they wait for.
pub const WAITING_MAX: i64 = 200_000;

/// What was seen of events, each once: no index on what intake writes could tell it cheaply.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    up_to: i64,
    /// When each source last sent an event.
    pub sources: BTreeMap<String, Time>,
    /// Source and type.
    pub types: BTreeSet<(String, String)>,
}

impl Seen {
    /// The last id that was seen; 0 before the first look.
    pub fn up_to(&self) -> i64 {
        self.up_to
    }

    /// At most so many events are looked at next.
    pub fn look(&self) -> i64 {
        if self.up_to == 0 { FIRST_LOOK } else { LOOK }
    }

    /// What these rows tell, each of a source and a type.
    pub fn of<R: Columns>(rows: &[R]) -> Result<Self, Error> {
        let mut found = Self::default();
        for row in rows {
            found.add(get(row, "source")?, Some(get(row, "event_type")?), Time(get(row, "at")?), get(row, "up_to")?);
        }
        Ok(found)
    }

    /// A source whose last event is older than the first look.
    pub fn add_silent(&mut self, source: String, at: Time) {
        self.add(source, None, at, 0);
    }

    /// Adds what was seen later.
    pub fn absorb(&mut self, found: Self) {
        for (source, at) in found.sources {
            self.add(source, None, at, found.up_to);
        }
        for (source, word) in found.types {
            self.add(source, Some(word), Time(i64::MIN), 0);
        }
    }

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

/// Open deliveries of a destination, and since when the oldest one is open.
type Open = (u64, Option<Time>);

/// What every destination is known for, by name.
pub type States = BTreeMap<String, Destination>;

pub fn states<R: Columns>(rows: &[R]) -> Result<States, Error> {
    rows.iter().map(|row| Ok((get(row, "name")?, json(get(row, "state")?, "destination", "state", get(row, "name_id")?)?))).collect()
}

pub fn open<R: Columns>(rows: &[R]) -> Result<BTreeMap<String, Open>, Error> {
    rows.iter().map(|row| Ok((get(row, "name")?, (count(get(row, "n")?), time(row, "oldest")?)))).collect()
}

/// Records that wait, by destination and state.
pub fn waiting<R: Columns>(rows: &[R]) -> Result<BTreeMap<(String, i64), u64>, Error> {
    rows.iter().map(|row| Ok(((get(row, "name")?, get(row, "state")?), count(get(row, "n")?)))).collect()
}

/// What the dead letters of a destination and reason come to.
#[derive(Default)]
pub struct Dead {
    counts: ByReason,
    oldest: BTreeMap<String, Time>,
}

/// From rows of destination, reason, number and the oldest one's time.
pub fn dead<R: Columns>(rows: &[R]) -> Result<Dead, Error> {
    let mut dead = Dead::default();
    for row in rows {
        let (destination, reason, number) = by_reason(row)?;
        let failed_at = Time(get(row, "oldest")?);
        let oldest = dead.oldest.entry(destination.clone()).or_insert(failed_at);
        *oldest = failed_at.min(*oldest);
        dead.counts.push((destination, reason, number));
    }
    Ok(dead)
}

pub fn gauges(
    states: States,
    mut open: BTreeMap<String, Open>,
    dead: Dead,
    seen: Seen,
    reconciled: Vec<(String, Time)>,
    now: Time,
) -> Gauges {
    for name in states.keys() {
        open.entry(name.clone()).or_default();
    }
    let quota = states.iter().flat_map(|(name, held)| held.left(now).into_iter().map(|left| (name.clone(), left))).collect();
    let concurrency = states.iter().filter_map(|(name, held)| Some((name.clone(), held.at_once()?.0))).collect();
    Gauges {
        quota,
        concurrency,
        queue: open.into_iter().map(|(name, (number, oldest))| (name, number, oldest)).collect(),
        dead_letters: dead.counts,
        oldest_dead_letters: dead.oldest.into_iter().collect(),
        destinations: states.into_iter().map(|(name, held)| (name, held.state(now).to_owned())).collect(),
        sources: seen.sources.into_iter().collect(),
        reconciled,
    }
}

pub fn destinations(
    states: States,
    open: &BTreeMap<String, Open>,
    waiting: &BTreeMap<(String, i64), u64>,
    dead_letters: ByReason,
    now: Time,
) -> Vec<DestinationRow> {
    let mut dead: BTreeMap<String, u64> = BTreeMap::new();
    for (destination, _, number) in dead_letters {
        *dead.entry(destination).or_default() += number;
    }
    let of_state = |name: &str, state: State| waiting.get(&(name.to_owned(), state.number())).copied().unwrap_or_default();
    let rows = states.into_iter().map(|(name, held)| {
        let (number, oldest_open) = open.get(&name).copied().unwrap_or_default();
        DestinationRow {
            state: held.state(now).to_owned(),
            until: held.until(now),
            quota: held.left(now),
            concurrency: held.at_once().map(|(at_once, _)| at_once),
            concurrency_max: held.at_once().map(|(_, most)| most),
            open: number,
            retrying: of_state(&name, State::Waiting),
            verifying: of_state(&name, State::Verifying),
            oldest_open,
            dead_letters: dead.get(&name).copied().unwrap_or_default(),
            last_success_at: held.last_success_at,
            reason: held.reason.clone().or_else(|| held.because(now)),
            last_error: held.last_error,
            name,
        }
    });
    rows.collect()
}

/// Deliveries by status, from counts of those that have ended, by state, and of the open ones, by what their record is at.
pub fn counts<R: Columns>(ended: &[R], open: &[R]) -> Result<BTreeMap<String, u64>, Error> {
    let mut counts = BTreeMap::new();
    let mut add = |status: Status, number: u64| {
        if number > 0 {
            *counts.entry(status.as_str().to_owned()).or_default() += number;
        }
    };
    for row in ended {
        let number: i64 = get(row, "state")?;
        let state = DeliveryState::ALL.into_iter().find(|state| *state as i64 == number);
        add(status(word(state, "delivery", "state", 0, number)?, None), count(get(row, "n")?));
    }
    for row in open {
        let record = match get::<Option<i64>>(row, "state")? {
            Some(number) => {
                let state = word(State::from_number(number), "record", "state", 0, number)?;
                Some((state, i64::from(get::<i64>(row, "unclaimed")? == 0)))
            }
            None => None,
        };
        add(status(DeliveryState::Open, record), count(get(row, "n")?));
    }
    Ok(counts)
}
