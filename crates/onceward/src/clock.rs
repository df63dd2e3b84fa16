//! The only clock. Everything else takes the time as an argument.
//!
//! Where several processes share a ledger they go by its database's clock, or leases would end at another moment for each: [`follow`] tells what that
//! clock said, and between two tellings the machine's steady clock counts on. A wall clock that is set while they run then changes nothing.

use std::sync::{PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

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

/// From now on the time is what the ledger's database said between `asked` and now.
pub fn follow(asked: Instant, said: Time) {
    let middle = asked + asked.elapsed() / 2;
    *FOLLOWED.write().unwrap_or_else(PoisonError::into_inner) = Some((middle, said));
}

/// Before 1970, the clock is wrong and this says 1970.
#[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system for the time")]
fn system() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
