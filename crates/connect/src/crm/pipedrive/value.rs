//! Values as Pipedrive takes and tells them.

use model::record::Link;
use serde_json::{Value, json};

use crate::crm::same::same;

/// Fields of persons, organizations and deals that are not custom and can be written (the official SDK, v2: Add…Request).
pub(super) const WRITABLE: [&str; 22] = [
    "name",
    "title",
    "owner_id",
    "org_id",
    "person_id",
    "emails",
    "phones",
    "label_ids",
    "visible_to",
    "value",
    "currency",
    "status",
    "stage_id",
    "pipeline_id",
    "probability",
    "lost_reason",
    "expected_close_date",
    "close_time",
    "won_time",
    "lost_time",
    "marketing_status",
    "address",
];
/// Those that are numbers: a text of digits is refused there.
const NUMBERS: [&str; 8] = ["owner_id", "org_id", "person_id", "visible_to", "value", "stage_id", "pipeline_id", "probability"];

/// Whether a name is a custom field's: 40 hexadecimal digits.
pub(crate) fn is_custom(name: &str) -> bool {
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
}

/// A value as it is sent; `None` for a link whose record has no known id.
pub(super) fn sent(name: &str, value: &Value) -> Option<Value> {
    if let Some(link) = Link::of(value) {
        return link.crm_id?.parse::<u64>().ok().map(Value::from);
    }
    Some(match (name, value) {
        ("emails" | "phones", Value::Null) => json!([]),
        ("emails" | "phones", Value::Array(entries)) => {
            entries.iter().enumerate().map(|(place, entry)| contact(entry, place == 0)).collect()
        }
        ("emails" | "phones", entry) => json!([contact(entry, true)]),
        // A field with several options is cleared by null, and refuses an empty list.
        (name, Value::Array(entries)) if entries.is_empty() && is_custom(name) => Value::Null,
        (name, Value::String(text)) if NUMBERS.contains(&name) => match (text.trim().parse::<i64>(), text.trim().parse::<f64>()) {
            (Ok(number), _) => Value::from(number),
            (Err(_), Ok(number)) if number.is_finite() => Value::from(number),
            (Err(_), _) => value.clone(),
        },
        ("address", Value::String(text)) => json!({ "value": text }),
        (_, value) => value.clone(),
    })
}

/// An address or number of a person, as one entry of the list that Pipedrive keeps.
fn contact(entry: &Value, primary: bool) -> Value {
    if entry.is_object() { entry.clone() } else { json!({ "value": entry, "primary": primary, "label": "work" }) }
}

/// Where a record as it is told has a field.
pub(super) fn stored<'a>(row: &'a Value, field: &str) -> &'a Value {
    if is_custom(field) { &row["custom_fields"][field] } else { &row[field] }
}

/// The texts of a field: its own, those of its entries, or the `value` of either.
pub(super) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Number(number) => vec![number.to_string()],
        Value::Array(entries) => entries.iter().flat_map(texts).collect(),
        Value::Object(members) => members.get("value").map(texts).unwrap_or_default(),
        Value::Null | Value::Bool(_) => Vec::new(),
    }
}

/// Whether two values of a field are one to Pipedrive: one address of ours is the primary one of a list, and what is kept as an object with a
/// `value` (money, an address, an option with its label) is that value.
pub(super) fn equal(field: &str, a: &Value, b: &Value) -> bool {
    if matches!(field, "emails" | "phones") {
        return match (a, b) {
            (Value::Array(_), Value::Array(_)) => same(&plain(a), &plain(b)),
            (Value::Array(entries), one) | (one, Value::Array(entries)) => same(&primary(entries), one),
            (a, b) => same(a, b),
        };
    }
    match (a, b) {
        (Value::Object(_), Value::Object(_)) => same(a, b),
        _ => same(&plain(a), &plain(b)),
    }
}

fn primary(entries: &[Value]) -> Value {
    let first = entries.iter().find(|entry| entry["primary"].as_bool().unwrap_or_default()).or(entries.first());
    first.map(plain).unwrap_or_default()
}

fn plain(value: &Value) -> Value {
    match value {
        Value::Array(entries) => entries.iter().map(plain).collect(),
        Value::Object(members) => match (members.get("value"), members.get("id")) {
            (Some(held), _) => held.clone(),
            (None, Some(id)) if Link::of(value).is_none() => id.clone(),
            (None, Some(_) | None) => value.clone(),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
