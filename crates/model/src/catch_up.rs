//! Catching up with a vendor whose webhooks may get lost: when it is due, and what follows when a vendor does not give its list.

use std::time::Duration;

use crate::{Class, Failure, Time};

/// A scheduled run begins so long before the end of the last one: vendors' lists lag behind, HubSpot's search by minutes.
pub const OVERLAP: Duration = Duration::from_secs(15 * 60);
/// How far back the first scheduled run looks, at least.
pub const FIRST: Duration = Duration::from_secs(24 * 3_600);
/// What lies further back is no vendor's to list; LinkedIn keeps leads for 365 days, the others less.
pub const BACK_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);
/// The shortest span between two scheduled runs.
pub const EVERY_MIN: Duration = Duration::from_secs(5 * 60);
/// Failures in a row after which a run is given up; with the longest of the waits it has then been at it for two hours.
pub const FAILURES_MAX: u32 = 30;
/// The longest wait between two of them, unless the vendor asks for more.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// The window of a scheduled run, where one is due: `caught_up_to` is the end of the last one that came to its end.
pub fn due(every: Duration, caught_up_to: Option<Time>, now: Time) -> Option<(Time, Time)> {
    let every = every.max(EVERY_MIN);
    match caught_up_to {
        Some(end) if end <= now && now.since(end) < every => None,
        // A clock that stepped back: what was caught up with is not known any more.
        Some(end) if end > now => Some((now - FIRST.max(every), now)),
        Some(end) => Some((end - OVERLAP, now)),
        None => Some((now - FIRST.max(every), now)),
    }
}

/// What follows when a page could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The same page again, not before then.
    Wait(Time),
    /// A person has to look at it.
    GiveUp,
}

/// What follows from the `failures`th failure in a row. Being told to wait is none.
pub fn after(failure: &Failure, failures: u32, now: Time) -> After {
    let wait = Duration::from_secs(1 << failures.min(12)).min(WAIT_MAX);
    let asked = failure.retry_after.unwrap_or_default();
    match failure.class {
        Class::Throttled => After::Wait(now + asked.max(Duration::from_secs(1))),
        Class::Permanent | Class::Conflict => After::GiveUp,
        Class::Retryable | Class::Auth | Class::Unknown if failures >= FAILURES_MAX => After::GiveUp,
        Class::Retryable | Class::Auth | Class::Unknown => After::Wait(now + wait.max(asked)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scope;

    const NOW: Time = Time::from_seconds(1_800_000_000);
    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn the_first_run_looks_back_a_day_and_each_later_one_to_before_the_end_of_the_last() {
        assert_eq!(due(HOUR, None, NOW), Some((NOW - FIRST, NOW)));
        assert_eq!(due(HOUR * 48, None, NOW), Some((NOW - HOUR * 48, NOW)));
        assert_eq!(due(HOUR, Some(NOW - HOUR), NOW), Some((NOW - HOUR - OVERLAP, NOW)));
        assert_eq!(due(HOUR, Some(NOW - Duration::from_secs(3_599)), NOW), None);
        assert_eq!(due(HOUR, Some(NOW - HOUR * 100), NOW), Some((NOW - HOUR * 100 - OVERLAP, NOW)), "however long it was away");
        assert_eq!(due(Duration::from_secs(1), Some(NOW - Duration::from_secs(60)), NOW), None, "not more often than every five minutes");
        assert_eq!(due(HOUR, Some(NOW + HOUR), NOW), Some((NOW - FIRST, NOW)));
    }

    #[test]
    fn failures_are_waited_out_longer_and_longer_and_limits_as_long_as_the_vendor_says() {
        let failure = |class, seconds| Failure { retry_after: seconds, ..Failure::new(class, Scope::Destination, "x", "y") };
        let minute = Some(Duration::from_secs(60));
        assert_eq!(after(&failure(Class::Throttled, minute), 1_000, NOW), After::Wait(NOW + Duration::from_secs(60)));
        assert_eq!(after(&failure(Class::Retryable, None), 1, NOW), After::Wait(NOW + Duration::from_secs(2)));
        assert_eq!(after(&failure(Class::Retryable, minute), 1, NOW), After::Wait(NOW + Duration::from_secs(60)));
        assert_eq!(after(&failure(Class::Auth, None), 29, NOW), After::Wait(NOW + WAIT_MAX));
        assert_eq!(after(&failure(Class::Auth, None), 30, NOW), After::GiveUp);
        assert_eq!(after(&failure(Class::Permanent, None), 1, NOW), After::GiveUp);
    }
}
