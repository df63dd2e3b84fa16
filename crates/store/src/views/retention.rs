//! T18: what is old is dropped, in small steps.
//!
//! Each kind has its own place, up to which it was looked at: rows that were dropped already are not read again and again. The
//! time is in the id, so that a step is a range of ids.

use std::time::Duration;

use model::{IdGenerator, Time};

use crate::Error;
use crate::columns::{Columns, get};
use crate::types::Retained;

/// A pass begins anew from the oldest row after this, for what was on its way when its turn came.
const PASS: Duration = Duration::from_secs(86_400);

/// Kinds of row that are dropped: requests' bytes, payloads, calls, refused requests, events, requests that are empty by then.
pub const KINDS: usize = 6;

/// How far retention has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    began: Option<Time>,
    /// The last id that was looked at, of each kind.
    pub places: [i64; KINDS],
}

impl Progress {
    /// Goes on where it was, or begins a new pass.
    pub fn at(self, now: Time) -> Self {
        let over = self.began.is_none_or(|began| began > now || now.since(began) >= PASS);
        if over { Self { began: Some(now), ..Self::default() } } else { self }
    }
}

/// The id before which each kind is old. Calls are by `calls`.
pub fn floors([raw, payload, keys]: [Time; 3], calls: i64) -> [i64; KINDS] {
    let [raw, payload, keys] = [raw, payload, keys].map(IdGenerator::floor);
    [raw, payload, calls, raw, keys, keys]
}

/// Calls of which nobody has heard yet are needed, however old: what they carried may still be in doubt. `row` has the `first` of them.
pub fn calls_before(row: &impl Columns, before: i64) -> Result<i64, Error> {
    Ok(get::<Option<i64>>(row, "first")?.map_or(before, |first| first.min(before)))
}

/// The last of the next `limit` rows after `place`, and whether there may be more.
pub fn range(row: &impl Columns, place: i64, limit: u32) -> Result<(i64, bool), Error> {
    Ok((get::<Option<i64>>(row, "last")?.unwrap_or(place), get::<i64>(row, "n")? >= i64::from(limit.max(1))))
}

/// What a step did, from how many rows of each kind it dropped.
pub fn retained([raw_events, payloads, calls, rejected, events, _]: [u64; KINDS], more: bool) -> Retained {
    Retained { raw_events, payloads, calls, events, rejected, more }
}
