//! From what vendors write to one form of it.

use std::borrow::Cow;

use phonenumber::country::Id as Region;
use serde_json::Value;

use super::document::survives;
use super::node::Node;
use super::phone;
use crate::Time;

/// What is to be made of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Normalizer {
    /// A scalar or a list of scalars as it is, texts trimmed.
    Keep,
    /// Trimmed; numbers and booleans as they are written.
    Text,
    /// As text, in lower case.
    Lower,
    /// `Ada@example.com`: trimmed, NFC, the domain in lower case.
    Email,
    /// E.164.
    Phone(Option<Region>),
    /// A host name without scheme or path, in lower case.
    Domain,
    /// A JSON number.
    Number,
    /// A JSON boolean.
    Boolean,
    /// RFC 3339 in UTC.
    Datetime(Option<Unit>),
    /// `2026-11-22`.
    Date,
    /// Two names. Handled by the caller; as a single value it is a text.
    FullName,
    /// A sender's own id: a text, NFC, exact.
    Id,
}

/// What a number counts since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Millis,
    Micros,
}

impl Unit {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "s" => Some(Self::Seconds),
            "ms" => Some(Self::Millis),
            "us" => Some(Self::Micros),
            _ => None,
        }
    }
}

/// Longest id of ours and theirs that reaches a CRM as a key, in bytes.
pub(crate) const ID_BYTES_MAX: usize = 255;

/// Why a value cannot be used, without the value: the bounded word and the end of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    pub(crate) kind: &'static str,
    pub(crate) found: String,
}

fn unusable<T>(kind: &'static str, found: impl Into<String>) -> Result<T, Unusable> {
    Err(Unusable { kind, found: found.into() })
}

/// The normalized value; `None` for null and for a text of nothing but white space.
pub(crate) fn normalize(how: Normalizer, value: &Node<'_>) -> Result<Option<Value>, Unusable> {
    let text = match value {
        Node::Null => return Ok(None),
        // An id of spaces is no missing id: it is a key that no CRM takes.
        Node::Text(text) if how == Normalizer::Id && !text.is_empty() && text.trim().is_empty() => {
            return unusable("unusable_id", "is nothing but white space");
        }
        Node::Text(text) if text.trim().is_empty() => return Ok(None),
        Node::Text(text) => Some(text.trim()),
        Node::Bool(_) | Node::Number(_) | Node::List(_) | Node::Object(_) | Node::Reference => None,
    };
    match how {
        Normalizer::Keep => keep(value),
        Normalizer::Text | Normalizer::FullName => scalar_text(value).map(|text| Value::String(text.into_owned())),
        Normalizer::Lower => scalar_text(value).map(|text| Value::String(text.to_lowercase())),
        Normalizer::Email => email(text_only(value, text, "unusable_email")?),
        Normalizer::Phone(region) => phone(&scalar_text(value)?, region),
        Normalizer::Domain => domain(text_only(value, text, "unusable_domain")?),
        Normalizer::Number => number(value, text),
        Normalizer::Boolean => boolean(value, text),
        Normalizer::Datetime(unit) => moment(value, unit).map(|at| Value::String(at.to_string())),
        Normalizer::Date => date(text_only(value, text, "unusable_date")?),
        Normalizer::Id => id(&scalar_text(value)?),
    }
    .map(Some)
}

fn text_only<'a>(value: &Node<'_>, text: Option<&'a str>, word: &'static str) -> Result<&'a str, Unusable> {
    text.map_or_else(|| unusable(word, format!("is {} and not a text", value.kind())), Ok)
}

fn keep(value: &Node<'_>) -> Result<Value, Unusable> {
    match value {
        Node::Null => Ok(Value::Null),
        Node::Text(text) => Ok(Value::String(text.trim().to_owned())),
        Node::Bool(value) => Ok(Value::Bool(*value)),
        Node::Number(number) => Ok(Value::Number(number.clone())),
        Node::List(entries) => {
            let scalars = entries.iter().map(|entry| match entry {
                Node::List(_) | Node::Object(_) | Node::Reference | Node::Null => {
                    unusable("not_a_scalar", format!("is a list with {} in it; only texts, numbers and booleans can be", entry.kind()))
                }
                Node::Text(_) | Node::Bool(_) | Node::Number(_) => keep(entry),
            });
            scalars.collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        Node::Object(_) | Node::Reference => {
            unusable("not_a_scalar", "is an object; only texts, numbers, booleans and lists of them can be attributes")
        }
    }
}

/// A text, or a number or boolean as it is written.
pub(crate) fn scalar_text<'d>(value: &'d Node<'_>) -> Result<Cow<'d, str>, Unusable> {
    match value {
        Node::Text(text) => Ok(Cow::Borrowed(text.trim())),
        Node::Bool(value) => Ok(Cow::Owned(value.to_string())),
        Node::Number(number) => Ok(Cow::Owned(number.to_string())),
        Node::Null | Node::List(_) | Node::Object(_) | Node::Reference => {
            unusable("not_a_scalar", format!("is {} and not a text", value.kind()))
        }
    }
}

/// Unicode's composed form, so that two spellings of one text are one text.
fn composed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    icu_normalizer::ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

fn email(text: &str) -> Result<Value, Unusable> {
    let text = composed(text);
    let Some((local, domain)) = text.rsplit_once('@') else { return unusable("unusable_email", "is not an e-mail address: it has no `@`") };
    let bad = |c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '(' | ')' | ',' | ';' | ':' | '"' | '\\' | '[' | ']' | '@')
    };
    if local.is_empty() || local.len() > 64 || text.len() > 254 || local.contains(bad) {
        return unusable(
            "unusable_email",
            "is not an e-mail address: what stands before the `@` is empty, too long, or holds a character that does not belong there",
        );
    }
    if !is_host(domain) {
        return unusable("unusable_email", "is not an e-mail address: what stands behind the `@` is not a domain");
    }
    Ok(Value::String(format!("{local}@{}", domain.to_ascii_lowercase())))
}

/// Whether a text could be a host name of at least two labels.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        let inner = label.chars().all(|c| c.is_alphanumeric() || c == '-' || !c.is_ascii() && !c.is_control() && !c.is_whitespace());
        !label.is_empty() && label.len() <= 63 && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.contains('.') && text.split('.').all(label)
}

fn domain(text: &str) -> Result<Value, Unusable> {
    let text = composed(text);
    let after_scheme = text.split_once("://").map_or(&*text, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.split_once(':').map_or(authority, |(host, _)| host);
    let host = host.strip_prefix("www.").unwrap_or(host).trim_end_matches('.');
    if !is_host(host) {
        return unusable("unusable_domain", "is not a domain");
    }
    Ok(Value::String(host.to_ascii_lowercase()))
}

fn phone(text: &str, region: Option<Region>) -> Result<Value, Unusable> {
    phone::e164(text, region).map_or_else(|found| unusable("unusable_phone", found), |number| Ok(Value::String(number)))
}

fn number(value: &Node<'_>, text: Option<&str>) -> Result<Value, Unusable> {
    match (value, text) {
        (Node::Number(number), _) => Ok(Value::Number(number.clone())),
        (_, Some(text)) if text.len() <= 64 => match serde_json::from_str::<serde_json::Number>(text) {
            Ok(number) if survives(text) => Ok(Value::Number(number)),
            Ok(_) => unusable("unusable_number", "has more digits than a number can hold exactly; use `as = \"text\"`"),
            Err(_) => unusable("unusable_number", "is not a plain decimal number"),
        },
        _ => unusable("unusable_number", format!("is {} and not a number", value.kind())),
    }
}

fn boolean(value: &Node<'_>, text: Option<&str>) -> Result<Value, Unusable> {
    match (value, text) {
        (Node::Bool(value), _) => Ok(Value::Bool(*value)),
        (_, Some(text)) if text.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
        (_, Some(text)) if text.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
        _ => unusable("unusable_boolean", "is neither true nor false"),
    }
}

fn date(text: &str) -> Result<Value, Unusable> {
    let day = text.get(..10).unwrap_or_default();
    let civil = text.len() == 10 && day.as_bytes().get(4) == Some(&b'-') && day.parse::<jiff::civil::Date>().is_ok();
    if civil || Time::parse_rfc3339(text).is_some() {
        return Ok(Value::String(day.to_owned()));
    }
    unusable("unusable_date", "is not a date such as 2026-11-22")
}

fn id(text: &str) -> Result<Value, Unusable> {
    let text = composed(text);
    if text.len() > ID_BYTES_MAX {
        return unusable("unusable_id", format!("is longer than {ID_BYTES_MAX} bytes, which no CRM takes as a key"));
    }
    if text.chars().any(char::is_control) {
        return unusable("unusable_id", "holds a control character, which no CRM takes in a key");
    }
    Ok(Value::String(text.into_owned()))
}

/// A moment: RFC 3339 with an offset, or a number whose unit was said.
pub(crate) fn moment(value: &Node<'_>, unit: Option<Unit>) -> Result<Time, Unusable> {
    let text = scalar_text(value)?;
    let numeric = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    match (numeric, unit) {
        // `2026-11-22` is made of digits, too.
        (true, Some(unit)) if text.get(1..).is_some_and(|rest| !rest.contains('-')) || text.len() == 1 => match epoch(&text, unit) {
            Some(at) => Ok(at),
            None => unusable("unusable_datetime", "is a number that is no moment"),
        },
        (true, None) if !text.get(1..).is_some_and(|rest| rest.contains('-')) => {
            unusable("unusable_datetime", "is a number, and no `unit` (`s`, `ms` or `us`) says what it counts")
        }
        _ => match Time::parse_rfc3339(&text) {
            Some(at) => Ok(at),
            None => unusable("unusable_datetime", "is not an RFC 3339 date-time with an offset, such as 2026-11-22T18:04:00Z"),
        },
    }
}

/// Whole units and up to nine digits of a fraction, in integers: a double would move the last microseconds.
fn epoch(text: &str, unit: Unit) -> Option<Time> {
    let micros_each = match unit {
        Unit::Seconds => 1_000_000,
        Unit::Millis => 1_000,
        Unit::Micros => 1,
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let parts = format!("{fraction:0<9}").parse::<i64>().ok()?;
    let parts = parts * micros_each / 1_000_000_000;
    let parts = if whole.starts_with('-') { -parts } else { parts };
    whole.parse::<i64>().ok()?.checked_mul(micros_each)?.checked_add(parts).map(Time)
}

/// First and last name of `Ada Example` or `Example, Ada`. A single name is a first name.
pub(crate) fn split_name(text: &str) -> (Option<String>, Option<String>) {
    let joined = |words: &str| {
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        (!words.is_empty()).then_some(words)
    };
    if let Some((last, first)) = text.split_once(',') {
        return (joined(first), joined(last));
    }
    match text.trim().rsplit_once(char::is_whitespace) {
        Some((first, last)) => (joined(first), joined(last)),
        None => (joined(text), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::node::Members;

    fn text(how: Normalizer, value: &str) -> Result<Option<Value>, Unusable> {
        normalize(how, &Node::Text(value.into()))
    }

    fn good(how: Normalizer, value: &str, expected: &str) {
        assert_eq!(text(how, value), Ok(Some(Value::String(expected.to_owned()))), "{value}");
    }

    fn bad(how: Normalizer, value: &str) {
        let error = text(how, value).unwrap_err();
        assert!(!error.found.contains(value), "the value is in the message: {}", error.found);
    }

    #[test]
    fn an_email_keeps_its_local_part_and_lowers_its_domain() {
        good(Normalizer::Email, " Ada.L+x@Example.COM ", "Ada.L+x@example.com");
        good(Normalizer::Email, "e\u{301}@example.com", "\u{e9}@example.com");
        for value in [
            "ada",
            "ada@",
            "@example.com",
            "ada@example",
            "a da@example.com",
            "a@b@example.com",
            "Ada <ada@example.com>",
            "ada@exa\nmple.com",
            "ada@-x.com",
        ] {
            bad(Normalizer::Email, value);
        }
        assert_eq!(text(Normalizer::Email, "  "), Ok(None));
    }

    #[test]
    fn a_phone_number_becomes_e164_where_its_country_is_known() {
        good(Normalizer::Phone(None), "+1 (415) 555-0100", "+14155550100");
        good(Normalizer::Phone(Some(Region::US)), "(281) 332-2575", "+12813322575");
        good(Normalizer::Phone(Some(Region::GB)), "020 7946 0018", "+442079460018");
        for value in ["(281) 332-2575", "+1", "+999999999999999999", "call me", "+1415555010000000000000000000000000000000000000"] {
            bad(Normalizer::Phone(None), value);
        }
        bad(Normalizer::Phone(Some(Region::US)), "12");
    }

    #[test]
    fn a_domain_loses_what_is_around_it() {
        good(Normalizer::Domain, "https://www.Example.com/about?x=1", "example.com");
        bad(Normalizer::Domain, "localhost");
    }

    #[test]
    fn numbers_and_booleans_are_taken_as_texts_where_they_are_exact() {
        assert_eq!(text(Normalizer::Number, " 12.5 "), Ok(Some(12.5.into())));
        assert_eq!(text(Normalizer::Number, "18446744073709551615"), Ok(Some(u64::MAX.into())));
        for value in ["18446744073709551616", "1,5", "0x1", "NaN"] {
            bad(Normalizer::Number, value);
        }
        assert_eq!(text(Normalizer::Boolean, "TRUE"), Ok(Some(Value::Bool(true))));
        bad(Normalizer::Boolean, "yes");
    }

    #[test]
    fn a_moment_is_the_same_however_it_is_written() {
        let at = Time::from_seconds(1_700_000_000);
        let moment = |text: &str, unit| moment(&Node::Text(text.into()), unit);
        assert_eq!(moment("1700000000", Some(Unit::Seconds)), Ok(at));
        assert_eq!(moment("1700000000000", Some(Unit::Millis)), Ok(at));
        assert_eq!(moment("1700000000000000", Some(Unit::Micros)), Ok(at));
        assert_eq!(moment("1700000000.5", Some(Unit::Seconds)), Ok(Time(at.0 + 500_000)));
        assert_eq!(moment("2023-11-14T22:13:20Z", None), Ok(at));
        assert_eq!(moment("2023-11-14T23:13:20.0+01:00", Some(Unit::Seconds)), Ok(at));
        for text in [
            "1700000000",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "Tue, 14 Nov 2023 22:13:20 GMT",
            "-infinity",
            "2023-02-30T00:00:00Z",
            "soon",
        ] {
            assert!(moment(text, None).is_err(), "{text}");
        }
        for text in ["2023-11-14", "99999999999999999999", "1.1.1", "-", "."] {
            assert!(moment(text, Some(Unit::Seconds)).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_split_at_the_last_space_or_the_comma() {
        for (name, first, last) in [
            ("Ada Example", Some("Ada"), Some("Example")),
            ("  Ada  B.  Example ", Some("Ada B."), Some("Example")),
            ("Example, Ada", Some("Ada"), Some("Example")),
            ("Ada", Some("Ada"), None),
            (" , ", None, None),
        ] {
            assert_eq!(split_name(name), (first.map(str::to_owned), last.map(str::to_owned)), "{name}");
        }
    }

    #[test]
    fn ids_are_exact_texts_and_objects_are_nothing() {
        assert_eq!(normalize(Normalizer::Id, &Node::Number(706_405_506_930_370_084_u64.into())), Ok(Some("706405506930370084".into())));
        assert!(normalize(Normalizer::Id, &Node::Object(Members::new())).is_err());
        bad(Normalizer::Id, "a\nb");
        bad(Normalizer::Id, &"x".repeat(256));
        good(Normalizer::Date, "2026-11-22T18:04:00Z", "2026-11-22");
        bad(Normalizer::Date, "2026-02-30");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_normalized_or_refused(value in "\\PC{0,60}", digits in "[+0-9 ()x;=-]{0,40}") {
            let all = [Normalizer::Keep, Normalizer::Text, Normalizer::Lower, Normalizer::Email, Normalizer::Domain, Normalizer::Number,
                Normalizer::Boolean, Normalizer::Date, Normalizer::Id, Normalizer::Datetime(Some(Unit::Millis)),
                Normalizer::Phone(None), Normalizer::Phone(Some(Region::DE))];
            for how in all {
                let _ = text(how, &value);
                let _ = text(how, &digits);
            }
            split_name(&value);
        }
    }
}
