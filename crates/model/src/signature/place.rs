//! Where signatures and timestamps are, and how their texts are built.

use std::borrow::Cow;

use super::body::{Fault, Found, Inside, Path, Tree};
use super::verify::read_header;
use super::{Rejection, Unit};
use crate::{Received, Time};

/// Where a value is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Each is one header under its names; any of them will do.
    Headers(Vec<Vec<String>>),
    Query(String),
    Json(Path),
    Form(String),
}

impl Place {
    /// The values that are there and not empty.
    pub(super) fn read<'x>(
        &'x self,
        request: &Received<'x>,
        inside: &'x Inside<'_>,
        entry: Option<&'x Tree>,
    ) -> Result<Vec<Cow<'x, str>>, Fault> {
        let one = |found: Found<'x>| found.map(|text| text.into_iter().filter(|text| !text.is_empty()).collect());
        match self {
            Self::Headers(headers) => {
                let mut values = Vec::with_capacity(1);
                for names in headers {
                    let value = read_header(request, names.iter().map(String::as_str)).map_err(|()| Fault::Doubled)?;
                    if let Some(value) = value.filter(|value| !value.is_empty()) {
                        values.push(Cow::Borrowed(std::str::from_utf8(value).map_err(|_| Fault::Shape)?));
                    }
                }
                Ok(values)
            }
            Self::Query(name) => one(inside.query(name)),
            Self::Form(name) => one(inside.form(name)),
            Self::Json(path) => one(match entry {
                Some(entry) => entry.text(path),
                None => inside.json()?.text(path),
            }),
        }
    }
}

/// How the signature's text is built, with what each layout needs.
#[derive(Clone, Debug)]
pub(super) enum Form {
    Plain { prefix: String, optional: bool },
    Kv { separator: String, assign: String, group: Option<String>, signature: String, timestamp: Option<String> },
    Tagged { separator: String, tag: String },
    List { separator: String, timestamp: Option<usize> },
}

/// The texts of signatures, and of the timestamp if it is a field.
pub(super) struct Entries<'a> {
    pub(super) signatures: Vec<&'a str>,
    pub(super) timestamp: Option<&'a str>,
}

impl Form {
    /// Reads a value: one group, or several where the scheme has them.
    pub(super) fn entries<'a>(&self, value: &'a str) -> Result<Vec<Entries<'a>>, Rejection> {
        match self {
            Self::Kv { group: Some(group), .. } => {
                value.split(group.as_str()).filter(|fields| !fields.is_empty()).map(|fields| self.group(fields)).collect()
            }
            Self::Plain { .. } | Self::Kv { .. } | Self::Tagged { .. } | Self::List { .. } => Ok(vec![self.group(value)?]),
        }
    }

    fn group<'a>(&self, value: &'a str) -> Result<Entries<'a>, Rejection> {
        let mut signatures = Vec::with_capacity(1);
        let mut timestamp = None;
        match self {
            Self::Plain { prefix, optional } => {
                let bare = value.strip_prefix(prefix.as_str()).or(optional.then_some(value));
                signatures.push(bare.ok_or(Rejection::SignatureMalformed)?);
            }
            Self::Tagged { separator, tag } => {
                let entries = value.split(separator.as_str()).filter_map(|entry| entry.split_once(','));
                signatures.extend(entries.filter(|(held, _)| held == tag).map(|(_, signature)| signature));
            }
            Self::List { separator, timestamp: at } => {
                for (position, entry) in value.split(separator.as_str()).enumerate() {
                    if *at == Some(position) {
                        timestamp = Some(entry);
                    } else {
                        signatures.push(entry.trim_start_matches(' '));
                    }
                }
            }
            Self::Kv { separator, assign, signature: name, timestamp: field, .. } => {
                for entry in value.split(separator.as_str()) {
                    // A space after the separator is taken, as vendors' own libraries do.
                    let (held, text) = entry.trim_start_matches(' ').split_once(assign.as_str()).ok_or(Rejection::SignatureMalformed)?;
                    if field.as_deref() == Some(held) {
                        if timestamp.replace(text).is_some() {
                            return Err(Rejection::TimestampDoubled);
                        }
                    } else if held == name || name == "*" {
                        signatures.push(text);
                    }
                }
            }
        }
        Ok(Entries { signatures, timestamp })
    }

    /// The text that a vendor would send for one signature.
    pub(super) fn write(&self, signature: &str, timestamp: Option<&str>) -> String {
        match self {
            Self::Plain { prefix, .. } => format!("{prefix}{signature}"),
            Self::Tagged { tag, .. } => format!("{tag},{signature}"),
            Self::List { separator, timestamp: at } => match (at, timestamp) {
                (Some(0), Some(timestamp)) => format!("{timestamp}{separator}{signature}"),
                (Some(_), Some(timestamp)) => format!("{signature}{separator}{timestamp}"),
                (Some(_) | None, Some(_) | None) => signature.to_owned(),
            },
            Self::Kv { separator, assign, signature: name, timestamp: field, .. } => {
                let name = if name == "*" { "key" } else { name };
                match (field, timestamp) {
                    (Some(field), Some(timestamp)) => format!("{field}{assign}{timestamp}{separator}{name}{assign}{signature}"),
                    (Some(_) | None, Some(_) | None) => format!("{name}{assign}{signature}"),
                }
            }
        }
    }
}

/// Exactly what the unit says: what other readers forgive (a sign, a space, a fraction) is where two readers differ.
pub(super) fn parse_timestamp(text: &str, unit: Unit) -> Result<Time, Rejection> {
    if text.is_empty() {
        return Err(Rejection::TimestampMissing);
    }
    let count = |digits_max: usize| {
        let digits = text.len() <= digits_max && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse::<i64>().ok() } else { None }
    };
    let at = match unit {
        Unit::S => count(12).map(Time::from_seconds),
        Unit::Ms => count(13).map(Time::from_millis),
        Unit::SOrMs if text.len() == 13 => count(13).map(Time::from_millis),
        Unit::SOrMs => count(12).map(Time::from_seconds),
        Unit::Rfc3339 if text.len() <= 40 => Time::parse_rfc3339(text),
        Unit::Rfc3339 => None,
        Unit::HttpDate => parse_http_date(text),
    };
    at.ok_or(Rejection::TimestampMalformed)
}

/// The timestamp of a moment, as this unit writes it.
pub(super) fn write_timestamp(at: Time, unit: Unit) -> String {
    match unit {
        Unit::S | Unit::SOrMs => at.seconds().to_string(),
        Unit::Ms => at.millis().to_string(),
        Unit::Rfc3339 => at.to_string(),
        Unit::HttpDate => http_date(at).unwrap_or_default(),
    }
}

const HTTP_DATE: &str = "%a, %d %b %Y %H:%M:%S GMT";

fn http_date(at: Time) -> Option<String> {
    let at = jiff::Timestamp::from_second(at.seconds()).ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::UTC).strftime(HTTP_DATE).to_string())
}

/// `Thu, 04 Jan 2024 18:05:25 GMT` and nothing that is merely like it: what it says must be written the same again.
fn parse_http_date(text: &str) -> Option<Time> {
    if text.len() != 29 {
        return None;
    }
    let civil = jiff::civil::DateTime::strptime(HTTP_DATE, text).ok()?;
    let at = Time::from_seconds(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second());
    (http_date(at).as_deref() == Some(text)).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read_as_it_is_written_and_in_no_other_way() {
        let at = Time::from_seconds(1_704_391_525);
        for (unit, text) in [
            (Unit::S, "1704391525"),
            (Unit::Ms, "1704391525000"),
            (Unit::SOrMs, "1704391525"),
            (Unit::Rfc3339, "2024-01-04T18:05:25.000Z"),
            (Unit::HttpDate, "Thu, 04 Jan 2024 18:05:25 GMT"),
        ] {
            assert_eq!(write_timestamp(at, unit), text);
            assert_eq!(parse_timestamp(text, unit), Ok(at), "{unit:?}");
        }
        assert_eq!(parse_timestamp("1704391525000", Unit::SOrMs), Ok(at));
        for (unit, text) in [
            (Unit::S, "1704391525000"),
            (Unit::S, " 1704391525"),
            (Unit::Ms, "1704391525.0"),
            (Unit::SOrMs, "17043915250001"),
            (Unit::Rfc3339, "2024-01-04 18:05:25Z"),
            (Unit::Rfc3339, "2024-01-04T18:05:25"),
            (Unit::Rfc3339, "1704391525"),
            (Unit::HttpDate, "Fri, 04 Jan 2024 18:05:25 GMT"),
            (Unit::HttpDate, "Thu, 4 Jan 2024 18:05:25 GMT"),
            (Unit::HttpDate, "Thu, 04 Jan 2024 18:05:25 UTC"),
            (Unit::HttpDate, "thu, 04 jan 2024 18:05:25 GMT"),
            (Unit::HttpDate, "Thu, 04 Jan 2024 18:05:60 GMT"),
        ] {
            assert_eq!(parse_timestamp(text, unit), Err(Rejection::TimestampMalformed), "{unit:?} {text}");
        }
    }
}
