//! From what vendors write to one form of it.

mod country;
mod html;
mod moment;
mod money;

use std::borrow::Cow;
use std::collections::BTreeMap;

use phonenumber::country::Id as Region;
use serde_json::Value;

use super::document::survives;
use super::node::Node;
use super::phone;
use crate::Time;

pub(crate) use moment::{Written, moment};

/// What is to be made of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// A decimal text.
    Money(Money),
    /// A JSON boolean.
    Boolean,
    /// RFC 3339 in UTC.
    Datetime(Option<Written>),
    /// `2026-11-22`.
    Date,
    /// Two names. Handled by the caller; as a single value it is a text.
    FullName,
    /// Two letters of ISO 3166-1.
    Country,
    /// One of the mapping's own words.
    Enum(BTreeMap<String, String>),
    /// Markup as the text that it shows.
    HtmlToText,
    /// A list of texts; a text is parted at the separator.
    List(Option<String>),
    /// A text exactly as it is, lists and objects as JSON.
    Raw,
    /// A sender's own id: a text, NFC, exact.
    Id,
}

/// How an amount is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Money {
    /// As people write it; the sign before the cents, where the mapping says it.
    Decimal(Option<char>),
    /// As a number of a currency's smallest unit.
    Minor,
}

impl Normalizer {
    /// The word of the configuration.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Keep => "as it is",
            Self::Text => "text",
            Self::Lower => "lower",
            Self::Email => "email",
            Self::Phone(_) => "phone",
            Self::Domain => "domain",
            Self::Number => "number",
            Self::Money(_) => "money",
            Self::Boolean => "boolean",
            Self::Datetime(_) => "datetime",
            Self::Date => "date",
            Self::FullName => "full_name",
            Self::Country => "country",
            Self::Enum(_) => "enum",
            Self::HtmlToText => "html_to_text",
            Self::List(_) => "list",
            Self::Raw => "raw",
            Self::Id => "id",
        }
    }
}

/// Most entries of a list that is made of a value.
const LIST_MAX: usize = 1_000;

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

/// The normalized value; `None` for null and for a text of nothing but white space. `currency` is what an amount of [`Money::Minor`] is of.
pub(crate) fn normalize(how: &Normalizer, value: &Node<'_>, currency: Option<&str>) -> Result<Option<Value>, Unusable> {
    let text = match value {
        Node::Null => return Ok(None),
        // An id of spaces is no missing id: it is a key that no CRM takes.
        Node::Text(text) if *how == Normalizer::Id && !text.is_empty() && text.trim().is_empty() => {
            return unusable("unusable_id", "is nothing but white space");
        }
        Node::Text(text) if text.trim().is_empty() => return Ok(None),
        Node::Text(text) => Some(text.trim()),
        Node::Bool(_) | Node::Number(_) | Node::List(_) | Node::Object(_) | Node::Reference => None,
    };
    let string = |text: String| Value::String(text);
    match how {
        Normalizer::Keep => keep(value),
        Normalizer::Text | Normalizer::FullName => scalar_text(value).map(|text| string(text.into_owned())),
        Normalizer::Lower => scalar_text(value).map(|text| string(text.to_lowercase())),
        Normalizer::Email => email(text_only(value, text, "unusable_email")?),
        Normalizer::Phone(region) => phone(&scalar_text(value)?, *region),
        Normalizer::Domain => domain(text_only(value, text, "unusable_domain")?),
        Normalizer::Number => number(value, text),
        Normalizer::Money(Money::Minor) => money::minor(value, currency).map(string),
        Normalizer::Money(Money::Decimal(sign)) => money::decimal(value, *sign).map(string),
        Normalizer::Boolean => boolean(value, text),
        Normalizer::Datetime(written) => moment(value, written.as_ref()).map(|at| string(at.to_string())),
        Normalizer::Date => date(text_only(value, text, "unusable_date")?),
        Normalizer::Country => match country::code(text_only(value, text, "unusable_country")?) {
            Some(letters) => Ok(string(letters.to_owned())),
            None => unusable("unusable_country", "is no country that is known by that name; `as = \"text\"` keeps it as it is"),
        },
        Normalizer::Enum(values) => one_of(values, &scalar_text(value)?).map(string),
        Normalizer::HtmlToText => match html::to_text(text_only(value, text, "not_a_scalar")?) {
            shown if shown.is_empty() => return Ok(None),
            shown => Ok(string(shown)),
        },
        Normalizer::List(separator) => match list(value, separator.as_deref())? {
            entries if entries.is_empty() => return Ok(None),
            entries => Ok(Value::Array(entries)),
        },
        Normalizer::Raw => Ok(raw(value)),
        Normalizer::Id => id(&scalar_text(value)?),
    }
    .map(Some)
}

/// The mapping's word for a value: compared exactly, then without regard to case, then by `*`.
fn one_of(values: &BTreeMap<String, String>, text: &str) -> Result<String, Unusable> {
    let found =
        values.get(text).or_else(|| values.iter().find(|(held, _)| held.to_lowercase() == text.to_lowercase()).map(|(_, word)| word));
    match found.or_else(|| values.get("*")) {
        Some(word) => Ok(word.clone()),
        None => unusable("unusable_enum", "is none of the values that the mapping lists"),
    }
}

/// Texts, without those of nothing but white space.
fn list(value: &Node<'_>, separator: Option<&str>) -> Result<Vec<Value>, Unusable> {
    let entries: Vec<Cow<'_, str>> = match value {
        Node::List(entries) if entries.len() > LIST_MAX => return unusable("unusable_list", format!("has more than {LIST_MAX} entries")),
        Node::List(entries) => entries.iter().filter(|entry| !entry.is_null()).map(scalar_text).collect::<Result<_, _>>()?,
        Node::Text(text) => {
            let separator = separator.unwrap_or(if text.contains(';') { ";" } else { "," });
            text.split(separator).take(LIST_MAX).map(|entry| Cow::Borrowed(entry.trim())).collect()
        }
        other @ (Node::Null | Node::Bool(_) | Node::Number(_) | Node::Object(_) | Node::Reference) => vec![scalar_text(other)?],
    };
    Ok(entries.into_iter().filter(|entry| !entry.is_empty()).map(|entry| Value::String(entry.into_owned())).collect())
}

fn raw(value: &Node<'_>) -> Value {
    match value {
        Node::Text(text) => Value::String(text.as_ref().to_owned()),
        Node::List(_) | Node::Object(_) => {
            let mut bytes = Vec::new();
            value.write_canonical(&mut bytes);
            Value::String(String::from_utf8(bytes).unwrap_or_default())
        }
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Reference => value.to_json(),
    }
}

/// In lower case and without accents: `Société` is `societe`.
pub(crate) fn plain_letters(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let letters = icu_normalizer::DecomposingNormalizerBorrowed::new_nfd().normalize(text);
    // What is decomposed into a letter and a mark: the marks of the Latin, Greek and Cyrillic scripts.
    let letters = letters.chars().filter(|letter| !('\u{300}'..='\u{36f}').contains(letter)).flat_map(char::to_lowercase);
    let mut plain = String::with_capacity(text.len());
    for letter in letters {
        // These are letters of their own and are not decomposed.
        match letter {
            'ß' => plain.push_str("ss"),
            'æ' => plain.push_str("ae"),
            'œ' => plain.push_str("oe"),
            'ø' => plain.push('o'),
            'ł' => plain.push('l'),
            'đ' => plain.push('d'),
            other => plain.push(other),
        }
    }
    plain
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
    let word = match (value, text) {
        (Node::Bool(value), _) => return Ok(Value::Bool(*value)),
        (Node::Number(number), _) => number.to_string(),
        (_, text) => text.unwrap_or_default().to_ascii_lowercase(),
    };
    match word.as_str() {
        "true" | "yes" | "y" | "on" | "1" => Ok(Value::Bool(true)),
        "false" | "no" | "n" | "off" | "0" => Ok(Value::Bool(false)),
        _ => unusable("unusable_boolean", "is neither true nor false, nor yes, no, on, off, 1 or 0"),
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
        normalize(&how, &Node::Text(value.into()), None)
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
        for (value, expected) in [("Yes", true), ("on", true), ("1", true), ("n", false), ("OFF", false), ("0", false)] {
            assert_eq!(text(Normalizer::Boolean, value), Ok(Some(Value::Bool(expected))), "{value}");
        }
        assert_eq!(normalize(&Normalizer::Boolean, &Node::Number(1.into()), None), Ok(Some(Value::Bool(true))));
        for value in ["maybe", "2", "ja"] {
            bad(Normalizer::Boolean, value);
        }
    }

    #[test]
    fn words_lists_markup_and_the_rest() {
        let values = BTreeMap::from([("won".to_owned(), "closed_won".to_owned()), ("WON".to_owned(), "loud".to_owned())]);
        good(Normalizer::Enum(values.clone()), "won", "closed_won");
        good(Normalizer::Enum(values.clone()), "WON", "loud");
        good(Normalizer::Enum(values.clone()), " Won ", "loud");
        bad(Normalizer::Enum(values.clone()), "lost");
        let others = values.into_iter().chain([("*".to_owned(), "other".to_owned())]).collect();
        good(Normalizer::Enum(others), "lost", "other");
        let list = |value: &str, separator: Option<&str>| text(Normalizer::List(separator.map(str::to_owned)), value).unwrap();
        assert_eq!(list("a, b;c ;; d", None), Some(serde_json::json!(["a, b", "c", "d"])));
        assert_eq!(list("a, b", None), Some(serde_json::json!(["a", "b"])));
        assert_eq!(list("a|b", Some("|")), Some(serde_json::json!(["a", "b"])));
        assert_eq!(list(" , ", None), None);
        let mixed = Node::List(vec![Node::Text(" a ".into()), Node::Null, Node::Number(1.into()), Node::Text("".into())]);
        assert_eq!(normalize(&Normalizer::List(None), &mixed, None), Ok(Some(serde_json::json!(["a", "1"]))));
        good(Normalizer::HtmlToText, "<p>Hi&nbsp;<b>Ada</b></p>", "Hi Ada");
        assert_eq!(text(Normalizer::HtmlToText, "<p> </p>"), Ok(None));
        good(Normalizer::Raw, " as it is ", " as it is ");
        assert_eq!(normalize(&Normalizer::Raw, &mixed, None), Ok(Some("[\" a \",null,1,\"\"]".into())));
        good(Normalizer::Country, "Germany", "DE");
        bad(Normalizer::Country, "Atlantis");
        good(Normalizer::Money(Money::Decimal(None)), "1,234.50", "1234.50");
        assert_eq!(normalize(&Normalizer::Money(Money::Minor), &Node::Number(150.into()), Some("EUR")), Ok(Some("1.50".into())));
        assert_eq!(plain_letters("ÀÉÎÕÜ ß Æ Ø Ω"), "aeiou ss ae o ω");
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
        assert_eq!(
            normalize(&Normalizer::Id, &Node::Number(706_405_506_930_370_084_u64.into()), None),
            Ok(Some("706405506930370084".into()))
        );
        assert!(normalize(&Normalizer::Id, &Node::Object(Members::new()), None).is_err());
        bad(Normalizer::Id, "a\nb");
        bad(Normalizer::Id, &"x".repeat(256));
        good(Normalizer::Date, "2026-11-22T18:04:00Z", "2026-11-22");
        bad(Normalizer::Date, "2026-02-30");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_normalized_or_refused(value in "\\PC{0,60}", digits in "[+0-9 ()x;=-]{0,40}") {
            let all = [Normalizer::Keep, Normalizer::Text, Normalizer::Lower, Normalizer::Email, Normalizer::Domain, Normalizer::Number,
                Normalizer::Boolean, Normalizer::Date, Normalizer::Id, Normalizer::Datetime(None), Normalizer::Country,
                Normalizer::HtmlToText, Normalizer::List(None), Normalizer::Raw, Normalizer::Money(Money::Decimal(None)),
                Normalizer::Phone(None), Normalizer::Phone(Some(Region::DE))];
            for how in all {
                let _ = text(how.clone(), &value);
                let _ = text(how, &digits);
            }
            split_name(&value);
        }
    }
}
