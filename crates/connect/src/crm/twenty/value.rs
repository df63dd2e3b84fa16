//! How values are written to Twenty, and what its rows and its data model hold.

use std::collections::BTreeMap;

use model::Failure;
use model::record::Link;
use serde_json::{Map, Value, json};

use super::linked;
use crate::{Description, FieldDescription, FieldKind, WriteRecord};

/// Amounts are whole millionths.
const MICROS: f64 = 1_000_000.0;
/// The part of a composite field that is such an amount.
const AMOUNT: &str = "amountMicros";

/// One record as it is sent, with its key if it is found by it.
pub(super) fn row(record: &WriteRecord, key_field: Option<&String>) -> Result<Value, Failure> {
    let mut row = Map::new();
    for (field, value) in record.fields.iter().filter(|(field, _)| Some(*field) != key_field && *field != "id") {
        match Link::of(value) {
            // The relation `company` is written by its column `companyId`.
            Some(link) => {
                let column = if field.ends_with("Id") { field.clone() } else { format!("{field}Id") };
                row.insert(column, linked(&link)?);
            }
            None => put(&mut row, field, spelled(field, value)),
        }
    }
    if let Some(field) = key_field {
        put(&mut row, field, json!(record.key.trim()));
    }
    Ok(Value::Object(row))
}

fn put(row: &mut Map<String, Value>, field: &str, value: Value) {
    match field.split_once('.') {
        Some((field, part)) => {
            if let Value::Object(parts) = row.entry(field.to_owned()).or_insert_with(|| json!({})) {
                parts.insert(part.to_owned(), value);
            }
        }
        None => drop(row.insert(field.to_owned(), value)),
    }
}

fn spelled(field: &str, value: &Value) -> Value {
    if !field.ends_with(AMOUNT) {
        return value.clone();
    }
    let amount = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    #[expect(clippy::cast_possible_truncation, reason = "an amount of money, rounded")]
    amount.map_or_else(|| value.clone(), |amount| json!((amount * MICROS).round() as i64))
}

/// What a row holds of a field: amounts as they are spoken of, a phone number with its country's code.
pub(super) fn plain(row: &Value, field: &str) -> Value {
    let Some((whole, part)) = field.split_once('.') else {
        // A link is read by its column.
        let value = row.get(field).or_else(|| row.get(format!("{field}Id")));
        return value.cloned().unwrap_or_default();
    };
    let held = &row[whole][part];
    match part {
        AMOUNT => held.as_f64().or_else(|| held.as_str()?.parse().ok()).map_or(Value::Null, |micros| json!(micros / MICROS)),
        "primaryPhoneNumber" => {
            let number = held.as_str().unwrap_or_default();
            let code = row[whole]["primaryPhoneCallingCode"].as_str().unwrap_or_default();
            if number.is_empty() || number.starts_with('+') { held.clone() } else { format!("{code}{number}").into() }
        }
        _ => held.clone(),
    }
}

/// The object of this plural name in the answer of the metadata API, whose lists are plain or have edges.
pub(super) fn described(object: &str, body: &Value) -> Option<Description> {
    let objects = list(&body["data"]["objects"]);
    let found = objects.into_iter().find(|held| held["namePlural"] == object)?;
    let mut fields = BTreeMap::new();
    for field in list(&found["fields"]) {
        let Some(name) = field["name"].as_str() else { continue };
        let kind = field["type"].as_str().unwrap_or_default();
        let described = |kind| FieldDescription {
            kind,
            length_max: None,
            creatable: field["isActive"] != false,
            updatable: field["isActive"] != false,
            required: field["isNullable"] == false && field["defaultValue"].is_null(),
            unique: field["isUnique"] == true,
        };
        match parts(kind) {
            [] => {
                if kind == "RELATION" {
                    fields.insert(format!("{name}Id"), described(FieldKind::Reference));
                }
                fields.insert(name.to_owned(), described(plain_kind(kind, field)));
            }
            parts => {
                for (place, part) in parts.iter().enumerate() {
                    // What is unique of a composite field is its first part.
                    let one =
                        FieldDescription { unique: place == 0 && field["isUnique"] == true, required: false, ..described(part_kind(part)) };
                    fields.insert(format!("{name}.{part}"), one);
                }
            }
        }
    }
    Some(Description { fields })
}

fn list(value: &Value) -> Vec<&Value> {
    match (value.as_array(), value["edges"].as_array()) {
        (Some(plain), _) => plain.iter().collect(),
        (None, Some(edges)) => edges.iter().map(|edge| &edge["node"]).collect(),
        (None, None) => Vec::new(),
    }
}

/// The parts of a composite kind, the one that is unique first.
fn parts(kind: &str) -> &'static [&'static str] {
    match kind {
        "FULL_NAME" => &["firstName", "lastName"],
        "EMAILS" => &["primaryEmail", "additionalEmails"],
        "PHONES" => &["primaryPhoneNumber", "primaryPhoneCountryCode", "primaryPhoneCallingCode", "additionalPhones"],
        "LINKS" => &["primaryLinkUrl", "primaryLinkLabel", "secondaryLinks"],
        "CURRENCY" => &[AMOUNT, "currencyCode"],
        "ADDRESS" => &[
            "addressStreet1",
            "addressStreet2",
            "addressCity",
            "addressPostcode",
            "addressState",
            "addressCountry",
            "addressLat",
            "addressLng",
        ],
        _ => &[],
    }
}

fn part_kind(part: &str) -> FieldKind {
    match part {
        AMOUNT | "addressLat" | "addressLng" => FieldKind::Number,
        "additionalEmails" | "additionalPhones" | "secondaryLinks" => FieldKind::Other(part.to_owned()),
        _ => FieldKind::Text,
    }
}

fn plain_kind(kind: &str, field: &Value) -> FieldKind {
    let options =
        || field["options"].as_array().into_iter().flatten().filter_map(|option| Some(option["value"].as_str()?.to_owned())).collect();
    match kind {
        "TEXT" | "UUID" => FieldKind::Text,
        "NUMBER" | "NUMERIC" | "POSITION" => FieldKind::Number,
        "BOOLEAN" => FieldKind::Boolean,
        "DATE" => FieldKind::Date,
        "DATE_TIME" => FieldKind::DateTime,
        "SELECT" | "RATING" => FieldKind::Choice { options: options(), several: false, open: false },
        "MULTI_SELECT" => FieldKind::Choice { options: options(), several: true, open: false },
        "RELATION" | "MORPH_RELATION" => FieldKind::Reference,
        other => FieldKind::Other(other.to_owned()),
    }
}
