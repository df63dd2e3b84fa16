//! The only clock. Everything else takes the time as an argument.
//!
//! Where several processes share a ledger they go by its database's clock, or leases would end at another moment for each: [`follow`] tells what that
//! clock said, and between two tellings the machine's steady clock counts on. A wall clock that is set while they run then changes nothing.

use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::Time;

/// A moment of the steady clock, and what time it was then.
static FOLLOWED: RwLock<Option<(Instant, Time)>> = RwLock::new(None);

/// This moment: by the clock that is followed, else by the system's.
pub fn now() -> Time {
    match *FOLLOWED.read().unwrap_or_else(PoisonError::into_inner) {
        Some((at, time)) => time + at.elapsed(),
        None => system(),
    }
}

/// An answer that took longer says too little of when it was true. The steady clock counts on meanwhile.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// From now on the time is what the ledger's database said between `asked` and now, unless that was long ago and another answer is followed already.
pub fn follow(asked: Instant, said: Time) {
    let took = asked.elapsed();
    let mut followed = FOLLOWED.write().unwrap_or_else(PoisonError::into_inner);
    if followed.is_none() || took <= ANSWERED_WITHIN {
        *followed = Some((asked + took / 2, said));
    }
}

/// Before 1970, the clock is wrong and this says 1970.
#[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system for the time")]
fn system() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
