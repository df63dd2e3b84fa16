//! The only clock. Everything else takes the time as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use model::Time;

/// This moment. Before 1970, the clock is wrong and this says 1970.
#[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system for the time")]
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
