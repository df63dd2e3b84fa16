//! Whether two values are the same to a CRM that keeps texts, numbers and lists of them.

use std::collections::BTreeSet;

use model::record::Link;
use model::{Failure, Time};
use serde_json::Value;

use crate::WriteRecord;

/// Equal as CRMs with typed fields keep it: nothing, the empty text and the empty list the same, one value and a list of it the same,
/// several in any order; texts trimmed with one kind of line end, numbers by value, moments by instant, addresses without regard to case,
/// numbers of phones without regard to how they are set. A link equals the id of the record that it points at.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    let (left, right) = (parts(a), parts(b));
    left.len() == right.len() && left.iter().all(|one| right.iter().any(|other| alike(one, other)))
}

/// What a value consists of, without what says nothing.
fn parts(value: &Value) -> Vec<Value> {
    let plain = |value: &Value| Link::of(value).map_or_else(|| value.clone(), |link| link.crm_id.map_or(Value::Null, Value::from));
    let said = |value: &Value| value.as_str().map_or(!value.is_null(), |text| !text.trim().is_empty());
    match value {
        // An unresolved link equals nothing, not even nothing.
        link if Link::of(link).is_some_and(|link| link.crm_id.is_none()) => vec![link.clone()],
        Value::Array(entries) => entries.iter().map(plain).filter(said).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            std::iter::once(plain(value)).filter(said).collect()
        }
    }
}

fn alike(a: &Value, b: &Value) -> bool {
    if let (Value::Object(left), Value::Object(right)) = (a, b) {
        let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        let none = Value::Null;
        return names.into_iter().all(|name| same(left.get(name).unwrap_or(&none), right.get(name).unwrap_or(&none)));
    }
    if a.is_object() || b.is_object() {
        return false;
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), |text| text.trim().replace("\r\n", "\n"));
    let (left, right) = (text(a), text(b));
    if left == right || (a.is_boolean() || b.is_boolean()) {
        return left.eq_ignore_ascii_case(&right);
    }
    if a.is_number() || b.is_number() {
        return matches!((left.parse::<f64>(), right.parse::<f64>()), (Ok(a), Ok(b)) if (a - b).abs() <= f64::EPSILON * a.abs().max(b.abs()));
    }
    let instants = || Some(instant(&left)? == instant(&right)?);
    let phones = || Some(phone(&left)? == phone(&right)?);
    instants() == Some(true) || phones() == Some(true) || (left.contains('@') && left.to_lowercase() == right.to_lowercase())
}

/// A moment or a day, also as CRMs write it without `T` and offset, which is UTC.
pub(crate) fn instant(text: &str) -> Option<Time> {
    let bare = || {
        let (day, clock) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
        (day.len() == 10 && clock.len() >= 8).then(|| Time::parse_rfc3339(&format!("{day}T{clock}Z"))).flatten()
    };
    Time::parse_rfc3339(text).or_else(bare)
}

/// The digits of an international number.
fn phone(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let set = |letter: char| letter.is_ascii_digit() || " ()-./\u{a0}".contains(letter);
    (text.starts_with('+') && text[1..].chars().all(set) && digits.len() >= 7).then_some(digits)
}

/// A CRM's message without the record's own values, which may be someone's data.
pub(crate) fn hushed(message: &str, record: &WriteRecord) -> String {
    let texts = |value: &Value| parts(value).iter().filter_map(|part| part.as_str().map(str::to_owned)).collect::<Vec<_>>();
    let mut values: Vec<String> = record.fields.values().flat_map(texts).chain([record.key.clone()]).collect();
    values.retain(|value| value.chars().count() >= 3);
    // The longest first: one value may be part of another.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    values.iter().fold(message.to_owned(), |message, value| message.replace(value.as_str(), "…").replace(&value.to_lowercase(), "…"))
}

/// The record's fields that a message names as words, so that what brought them can be told from the rest.
pub(crate) fn naming(failure: Failure, record: &WriteRecord, said: &str) -> Failure {
    let words: BTreeSet<&str> = said.split(|letter: char| !(letter.is_ascii_alphanumeric() || "_./".contains(letter))).collect();
    let named = |field: &&String| words.contains(field.as_str()) || words.contains(field.split('.').next().unwrap_or_default());
    Failure { fields: record.fields.keys().filter(named).take(50).cloned().collect(), ..failure }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::{Class, Scope};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_crm_sets_in_its_own_way_is_the_same() {
        let link = |id: Option<&str>| {
            Link { object: "companies".into(), key_field: "domains".into(), key: "x".into(), crm_id: id.map(str::to_owned) }.to_value()
        };
        for (a, b, equal) in [
            (json!(null), json!(""), true),
            (json!([]), json!(null), true),
            (json!(" Stone\r\n"), json!("Stone"), true),
            (json!("Ada@Example.com"), json!(["ada@example.com"]), true),
            (json!(["a", "b"]), json!(["b", "a"]), true),
            (json!(["a", "b"]), json!(["a"]), false),
            (json!(1.0), json!("1"), true),
            (json!(true), json!("True"), true),
            (json!(false), json!(null), false),
            (json!("2026-11-22 18:04:00"), json!("2026-11-22T19:04:00+01:00"), true),
            (json!("2026-11-22"), json!("2026-11-22T00:00:00.000000000Z"), true),
            (json!("+1 (555) 010-0199"), json!("+15550100199"), true),
            (json!("+15550100199"), json!("15550100199"), false),
            (json!("Stone"), json!("stone"), false),
            (link(Some("b0")), json!("b0"), true),
            (link(Some("b0")), json!(["b1"]), false),
            (link(None), json!(null), false),
            (json!({"a": "x", "b": null}), json!({"a": "x "}), true),
        ] {
            assert_eq!((same(&a, &b), same(&b, &a)), (equal, equal), "{a} and {b}");
        }
    }

    #[test]
    fn a_message_is_told_without_the_records_values() {
        let fields = BTreeMap::from([("email".to_owned(), json!("Ada@Example.com")), ("job_title".to_owned(), json!("x"))]);
        let record = WriteRecord { key: "key-1".into(), crm_id: None, revision: 1, fields };
        let said = "\"ada@example.com\" of key-1 is taken: attribute \"email\"";
        assert_eq!(hushed(said, &record), "\"…\" of … is taken: attribute \"email\"");
        let failure = naming(Failure::new(Class::Permanent, Scope::Record, "x", "y"), &record, said);
        assert_eq!(failure.fields, ["email"]);
    }
}
