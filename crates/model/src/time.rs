//! Moments and spans of time, as plain numbers that survive every database unchanged.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment: whole microseconds since 1970-01-01T00:00:00Z.
///
/// Microseconds, because PostgreSQL keeps no more and a moment that does not survive a round trip makes equal
/// things unequal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub i64);

impl Time {
    /// The moment `millis` milliseconds after 1970.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis * 1_000)
    }

    /// The moment `seconds` seconds after 1970.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds * 1_000_000)
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Whole milliseconds since 1970, rounded down.
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads an RFC 3339 date-time with an offset, as strictly as the RFC: `2026-11-22T18:04:00.5+01:00`.
    ///
    /// Returns `None` for anything else: a missing offset, a leap second, a day that does not exist.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        // The RFC allows a space and lower case, and jiff more besides; vendors that mean a moment write `T`.
        let bytes = text.as_bytes();
        if bytes.len() < 20 || bytes[10] != b'T' || text.contains('[') || &bytes[17..19] == b"60" {
            return None;
        }
        text.parse::<jiff::Timestamp>().ok().map(|at| Self(at.as_microsecond()))
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC, to the millisecond where that is exact and to the microsecond where not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(at) = jiff::Timestamp::from_microsecond(self.0) else {
            return write!(f, "{}us", self.0);
        };
        let digits = if self.0 % 1_000 == 0 { 3 } else { 6 };
        write!(f, "{at:.digits$}")
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, span: Duration) -> Time {
        Time(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// Reads a span as people write it in the configuration: `250ms`, `5s`, `2m`, `24h`, `30d`, or several in a row (`1m30s`).
///
/// # Errors
///
/// A sentence that says what was found and what a span looks like.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a span of time; write a number and a unit (ms, s, m, h, d), for example `30s`");
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        total = number.checked_mul(millis).and_then(|ms| total.checked_add(Duration::from_millis(ms))).ok_or_else(wrong)?;
        rest = after;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_back_as_it_was_written() {
        for text in ["2026-11-22T18:04:00.000Z", "2000-01-01T00:00:00.000001Z"] {
            assert_eq!(Time::parse_rfc3339(text).unwrap().to_string(), text);
        }
        assert_eq!(Time::parse_rfc3339("2026-11-22T19:04:00+01:00"), Time::parse_rfc3339("2026-11-22T18:04:00Z"));
    }

    #[test]
    fn what_is_not_a_moment_is_refused() {
        for text in [
            "",
            "2026-11-22",
            "2026-11-22T18:04:00",
            "2026-02-30T00:00:00Z",
            "2026-11-22T23:59:60Z",
            "-infinity",
            "2026-11-22T18:04:00+99:99",
        ] {
            assert_eq!(Time::parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn spans_are_a_number_and_a_unit() {
        assert_eq!(parse_span("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_span("30d"), Ok(Duration::from_secs(30 * 86_400)));
        for text in ["", "5", "s", "-5s", "1.5s", "5 s", "99999999999999999999d"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }
}
