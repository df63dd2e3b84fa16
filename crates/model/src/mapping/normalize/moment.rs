//! Moments, in every form that senders write them, each read strictly and only where the mapping names it.

use jiff::tz::TimeZone;

use super::{Unusable, scalar_text, unusable};
use crate::Time;
use crate::mapping::node::Node;

/// Most digits of a fraction of a second. Those after the sixth are dropped: no ledger keeps them.
const FRACTION_DIGITS_MAX: usize = 12;

/// How a moment is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// A number of units since 1970; each is so many nanoseconds.
    Since(i128),
    /// RFC 3339 with an offset.
    Rfc3339,
    /// `Tue, 14 Nov 2023 22:13:20 +0000` (RFC 2822, section 3.3).
    Rfc2822,
    /// `Tue, 14 Nov 2023 22:13:20 GMT` (RFC 9110, section 5.6.7), the one form that is not obsolete.
    HttpDate,
    /// `2023-11-14 22:13:20` or with `T`, by the clock of a zone. A time that the clock skips is read as if it had not been put forward yet,
    /// of one that it shows twice the first is meant (RFC 5545, section 3.3.5).
    DateTime(TimeZone),
}

impl Written {
    /// From the words of a mapping; `Err` names what is not known.
    pub(crate) fn parse(unit: &str, zone: Option<&str>) -> Result<Self, &'static str> {
        let written = match unit {
            "s" => Self::Since(1_000_000_000),
            "ms" => Self::Since(1_000_000),
            "us" => Self::Since(1_000),
            "ns" => Self::Since(1),
            "rfc3339" => Self::Rfc3339,
            "rfc2822" => Self::Rfc2822,
            "http-date" => Self::HttpDate,
            // The database of zones is part of the program, so that a mapping means the same wherever it runs.
            "date-time" => return TimeZone::get(zone.unwrap_or("UTC")).map(Self::DateTime).map_err(|_| "zone"),
            _ => return Err("unit"),
        };
        if zone.is_some() { Err("zone") } else { Ok(written) }
    }
}

/// The moment that a value says.
pub(crate) fn moment(value: &Node<'_>, written: Option<&Written>) -> Result<Time, Unusable> {
    let text = scalar_text(value)?;
    let numeric = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    // `2026-11-22` is made of digits, too.
    let numeric = numeric && !text.get(1..).is_some_and(|rest| rest.contains('-'));
    let (at, found) = match written {
        Some(Written::Since(nanos)) if numeric => (since(&text, *nanos), "is a number that is no moment"),
        Some(Written::Rfc2822) => (rfc2822(&text), "is not a date such as `Tue, 14 Nov 2023 22:13:20 +0000` (RFC 2822)"),
        Some(Written::HttpDate) => (http_date(&text), "is not an HTTP date such as `Tue, 14 Nov 2023 22:13:20 GMT`"),
        Some(Written::DateTime(zone)) => {
            (date_time(&text, zone), "is not a date and time without an offset, such as `2023-11-14 22:13:20`")
        }
        None if numeric => (None, "is a number, and no `unit` (`s`, `ms`, `us` or `ns`) says what it counts"),
        None | Some(Written::Rfc3339 | Written::Since(_)) => {
            (rfc3339(&text), "is not an RFC 3339 date-time with an offset, such as 2026-11-22T18:04:00Z")
        }
    };
    at.map_or_else(|| unusable("unusable_datetime", found), Ok)
}

/// Whole units and digits of a fraction, in integers: a double would move the last microseconds.
fn since(text: &str, nanos_each: i128) -> Option<Time> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > FRACTION_DIGITS_MAX || !fraction.bytes().all(|byte| byte.is_ascii_digit()) || whole.len() > 30 {
        return None;
    }
    let parts = format!("{fraction:0<FRACTION_DIGITS_MAX$}").parse::<i128>().ok()? * nanos_each / 1_000_000_000_000;
    let parts = if whole.starts_with('-') { -parts } else { parts };
    let nanos = whole.parse::<i128>().ok()?.checked_mul(nanos_each)?.checked_add(parts)?;
    i64::try_from(nanos / 1_000).ok().map(Time)
}

/// Nine digits of a fraction are as many as are read; what stands behind them is dropped.
fn rfc3339(text: &str) -> Option<Time> {
    let Some(fraction) = text.get(19..).and_then(|rest| rest.strip_prefix('.')) else { return Time::parse_rfc3339(text) };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    match digits {
        0..=9 => Time::parse_rfc3339(text),
        10..=FRACTION_DIGITS_MAX => Time::parse_rfc3339(&format!("{}{}", text.get(..29)?, fraction.get(digits..)?)),
        _ => None,
    }
}

fn rfc2822(text: &str) -> Option<Time> {
    // A leap second is no moment that a clock of ours knows, comments are none that a vendor writes.
    let seconds = text.split(' ').find(|word| word.contains(':'))?.split(':').nth(2)?;
    if seconds.len() != 2 || seconds == "60" || text.contains('(') {
        return None;
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Time(at.as_microsecond()))
}

fn http_date(text: &str) -> Option<Time> {
    let shape = text.len() == 29 && text.ends_with(" GMT") && text.as_bytes().get(3..5) == Some(b", ");
    if shape { rfc2822(&format!("{} +0000", text.strip_suffix(" GMT")?)) } else { None }
}

fn date_time(text: &str, zone: &TimeZone) -> Option<Time> {
    let bytes = text.as_bytes();
    let (clock, fraction) = (text.get(..19)?, text.get(19..)?);
    let shape = clock.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        10 => byte == b' ' || byte == b'T',
        13 | 16 => byte == b':',
        _ => byte.is_ascii_digit(),
    });
    let digits = fraction.strip_prefix('.').unwrap_or_default();
    let fine = fraction.is_empty() || (1..=FRACTION_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !shape || !fine || bytes.get(17..19) == Some(b"60") {
        return None;
    }
    let clock = clock.replace(' ', "T").parse::<jiff::civil::DateTime>().ok()?;
    let at = zone.to_zoned(clock).ok()?.timestamp();
    let micros = format!("{digits:0<6}").get(..6)?.parse::<i64>().ok()?;
    Some(Time(at.as_microsecond() + micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, unit: &str, zone: Option<&str>) -> Option<i64> {
        let written = Written::parse(unit, zone).unwrap();
        moment(&Node::Text(text.into()), Some(&written)).ok().map(|at| at.0)
    }

    const AT: i64 = 1_700_000_000_000_000;

    #[test]
    fn row_91_a_moment_is_the_same_however_it_is_written() {
        for (text, unit) in [
            ("1700000000", "s"),
            ("1700000000.000000999999", "s"),
            ("1700000000000", "ms"),
            ("1700000000000000", "us"),
            ("1700000000000000999", "ns"),
            ("2023-11-14T22:13:20Z", "rfc3339"),
            ("2023-11-14T22:13:20Z", "ms"),
            ("2023-11-14T22:13:20+00:00", "rfc3339"),
            ("2023-11-14T23:13:20.000000000999+01:00", "rfc3339"),
            ("Tue, 14 Nov 2023 22:13:20 +0000", "rfc2822"),
            ("14 Nov 2023 17:13:20 -0500", "rfc2822"),
            ("Tue, 14 Nov 2023 22:13:20 GMT", "http-date"),
            ("2023-11-14 22:13:20", "date-time"),
            ("2023-11-14T22:13:20", "date-time"),
        ] {
            assert_eq!(read(text, unit, None), Some(AT), "{text} {unit}");
        }
        for (text, unit, micros) in [
            ("1700000000.5", "s", 500_000),
            ("1700000000.123456789012", "s", 123_456),
            ("1700000000000.25", "ms", 250),
            ("2023-11-14T22:13:20.1Z", "rfc3339", 100_000),
            ("2023-11-14T22:13:20.123456789012Z", "rfc3339", 123_456),
            ("2023-11-14 22:13:20.1", "date-time", 100_000),
            ("2023-11-14 22:13:20.123456789012", "date-time", 123_456),
        ] {
            assert_eq!(read(text, unit, None), Some(AT + micros), "{text} {unit}");
        }
        assert_eq!(read("-1.5", "s", None), Some(-1_500_000));
        assert_eq!(moment(&Node::Text("2023-11-14T22:13:20Z".into()), None).map(|at| at.0), Ok(AT));
    }

    #[test]
    fn row_90_what_is_no_moment_is_refused_in_every_form() {
        for (unit, texts) in [
            ("s", &["2023-11-14", "99999999999999999999999999999", "1.1.1", "-", ".", "1e9", "1700000000.1234567890123", "+1"][..]),
            (
                "rfc3339",
                &[
                    "2023-11-14",
                    "2023-11-14T22:13:20",
                    "2023-11-14 22:13:20Z",
                    "2023-11-14T23:59:60Z",
                    "2023-02-30T00:00:00Z",
                    "2023-11-14T22:13:20+99:99",
                    "2023-11-14T22:13:20.Z",
                    "2023-11-14T22:13:20.1234567890123Z",
                    "2023-11-14T22:13:20.12345678901é",
                    "-infinity",
                    "1700000000",
                ],
            ),
            (
                "rfc2822",
                &[
                    "Wed, 14 Nov 2023 22:13:20 +0000",
                    "Tue, 14 Nov 2023 23:59:60 +0000",
                    "Tue, 14 Nov 2023 22:13 +0000",
                    "Tue, 14 Nov 2023 22:13:20",
                    "Tue, 30 Feb 2023 22:13:20 +0000",
                    "Tue, 14 Nov 2023 22:13:20 +9999",
                    "Tue, 14 Nov 2023 22:13:20 (UTC) +0000",
                    "2023-11-14T22:13:20Z",
                ],
            ),
            (
                "http-date",
                &[
                    "Tuesday, 14-Nov-23 22:13:20 GMT",
                    "Tue Nov 14 22:13:20 2023",
                    "Tue, 14 Nov 2023 22:13:20 UTC",
                    "Tue, 14 Nov 2023 22:13:20 +0000",
                    "Wed, 14 Nov 2023 22:13:20 GMT",
                    "Tue, 14 Nov 2023 23:59:60 GMT",
                ],
            ),
            (
                "date-time",
                &[
                    "2023-11-14T22:13:20Z",
                    "2023-11-14 22:13:20+01:00",
                    "2023-11-14 22:13",
                    "2023-11-14",
                    "2023-11-14 23:59:60",
                    "2023-11-14 24:00:00",
                    "2023-02-30 00:00:00",
                    "2023-11-14  2:13:20",
                    "2023-11-14 22:13:20.",
                    "2023-11-14 22:13:20.1234567890123",
                    "11/14/2023 22:13:20",
                    "é023-11-14 22:13:20",
                ],
            ),
        ] {
            for text in texts {
                assert_eq!(read(text, unit, None), None, "{text} {unit}");
            }
        }
        for value in [Node::Null, Node::List(Vec::new())] {
            assert!(moment(&value, Some(&Written::Rfc3339)).is_err());
        }
    }

    #[test]
    fn a_clock_is_its_zones_and_gaps_and_folds_are_decided() {
        let at = |text: &str, zone: &str| read(text, "date-time", Some(zone)).map(|micros| Time(micros).to_string());
        for (text, zone, expected) in [
            ("2023-07-14 12:00:00", "Europe/London", "2023-07-14T11:00:00.000Z"),
            ("2023-11-14 12:00:00", "Europe/London", "2023-11-14T12:00:00.000Z"),
            ("2023-11-14 12:00:00", "America/New_York", "2023-11-14T17:00:00.000Z"),
            // 02:30 was skipped on 26 March: half an hour after the clock jumped.
            ("2023-03-26 02:30:00", "Europe/Berlin", "2023-03-26T01:30:00.000Z"),
            // 02:30 came twice on 29 October: the first, in summer time.
            ("2023-10-29 02:30:00", "Europe/Berlin", "2023-10-29T00:30:00.000Z"),
            ("2023-11-14 12:00:00", "Asia/Kolkata", "2023-11-14T06:30:00.000Z"),
        ] {
            assert_eq!(at(text, zone).as_deref(), Some(expected), "{text} {zone}");
        }
        assert_eq!(Written::parse("date-time", Some("Europe/Atlantis")), Err("zone"));
        assert_eq!(Written::parse("s", Some("UTC")), Err("zone"));
        assert_eq!(Written::parse("days", None), Err("unit"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_moment_or_none(text in "\\PC{0,40}", digits in "[0-9T:Z.+ ,GMTuenov-]{0,34}") {
            for unit in ["s", "ns", "rfc3339", "rfc2822", "http-date", "date-time"] {
                let _ = read(&text, unit, None);
                let _ = read(&digits, unit, None);
            }
        }
    }
}
