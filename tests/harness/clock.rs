use std::time::{SystemTime, UNIX_EPOCH};

use model::Time;

/// The real time, for senders, who sign with it, and for the sandbox.
pub fn now() -> Time {
    #[expect(clippy::disallowed_methods, reason = "the one place of the tests that reads the clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Time(i64::try_from(since.as_micros()).unwrap())
}
