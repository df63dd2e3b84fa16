//! How values are written to Attio, and what its answers hold (docs.attio.com/docs/attribute-types).

use model::Time;
use model::record::Link;
use serde_json::{Map, Value, json};

/// A value as an attribute takes it: always a list, which single attributes take too; the empty one clears.
pub(super) fn spelled(value: &Value) -> Value {
    let entries: &[Value] = match value {
        Value::Null => &[],
        Value::Array(entries) => entries,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => std::slice::from_ref(value),
    };
    Value::Array(entries.iter().filter(|entry| !entry.is_null() && *entry != "").map(entry).collect())
}

/// One entry. A link goes by the record's id, else by a match, which has to find exactly one record.
fn entry(value: &Value) -> Value {
    let Some(link) = Link::of(value) else { return value.clone() };
    match link.crm_id {
        Some(id) => json!({ "target_object": link.object, "target_record_id": id }),
        None => {
            let member = match link.key_field.as_str() {
                "domains" => "domain",
                "email_addresses" | "primary_email_address" => "email_address",
                _ => "value",
            };
            let mut reference = Map::new();
            reference.insert("target_object".to_owned(), link.object.into());
            reference.insert(link.key_field, json!([{ member: link.key }]));
            Value::Object(reference)
        }
    }
}

/// The entries of an attribute as plain values: null for none, one as itself, several as a list.
pub(super) fn plain(entries: &Value) -> Value {
    let mut values: Vec<Value> =
        entries.as_array().map(Vec::as_slice).unwrap_or_default().iter().map(plain_entry).filter(|value| !value.is_null()).collect();
    match values.len() {
        0 => Value::Null,
        1 => values.remove(0),
        _ => Value::Array(values),
    }
}

fn plain_entry(entry: &Value) -> Value {
    let title = |member: &str| entry[member].get("title").unwrap_or(&entry[member]).clone();
    match entry["attribute_type"].as_str().unwrap_or_default() {
        "email-address" => entry["email_address"].clone(),
        "domain" => entry["domain"].clone(),
        "phone-number" => entry.get("phone_number").unwrap_or(&entry["original_phone_number"]).clone(),
        "currency" => entry["currency_value"].clone(),
        "select" => title("option"),
        "status" => title("status"),
        "record-reference" => entry["target_record_id"].clone(),
        "actor-reference" => entry["referenced_actor_id"].clone(),
        "interaction" => entry["interacted_at"].clone(),
        "personal-name" => name(entry),
        _ if entry.get("value").is_some() => entry["value"].clone(),
        // A location: its parts, without what every entry has.
        _ => {
            let meta = ["active_from", "active_until", "created_by_actor", "attribute_type"];
            let parts = entry.as_object().into_iter().flatten().filter(|(name, _)| !meta.contains(&name.as_str()));
            Value::Object(parts.map(|(name, value)| (name.clone(), value.clone())).collect())
        }
    }
}

/// A name in the form in which it is written: `Stone, Ada`.
fn name(entry: &Value) -> Value {
    let part = |name: &str| entry[name].as_str().unwrap_or_default().trim().to_owned();
    match (part("last_name"), part("first_name")) {
        (last, first) if last.is_empty() => first.into(),
        (last, first) => format!("{last}, {first}").trim_end().into(),
    }
}

/// When any of a record's values began to hold, which is the last that Attio tells of a change.
pub(super) fn modified(values: &Value) -> Option<Time> {
    let entries = values.as_object()?.values().filter_map(Value::as_array).flatten();
    entries.filter_map(|entry| entry["active_from"].as_str().and_then(Time::parse_rfc3339)).max()
}
