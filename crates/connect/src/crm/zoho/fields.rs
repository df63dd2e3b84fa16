//! A module as Zoho describes it, and how the field of a record's key is made (create-custom-field).

use model::Failure;
use serde_json::{Value, json};

use super::{garbage, refusal};
use crate::{Description, FieldDescription, FieldKind, Reply};

/// Reads the answer of `settings/fields?module=…`.
pub(super) fn described(reply: &Reply) -> Result<Description, Failure> {
    if reply.status != 200 {
        return Err(refusal::of_read(reply));
    }
    let body = reply.json().ok_or_else(|| garbage(reply))?;
    let fields = body["fields"].as_array().ok_or_else(|| garbage(reply))?;
    Ok(Description { fields: fields.iter().filter_map(field).collect() })
}

fn field(field: &Value) -> Option<(String, FieldDescription)> {
    let options = || {
        let values = field["pick_list_values"].as_array().map_or(&[][..], Vec::as_slice);
        values.iter().filter_map(|value| value["actual_value"].as_str()).filter(|value| *value != "-None-").map(str::to_owned).collect()
    };
    let kind = match field["data_type"].as_str()? {
        "text" | "textarea" | "email" | "phone" | "website" => FieldKind::Text,
        "integer" | "bigint" => FieldKind::Integer,
        "double" | "currency" | "percent" => FieldKind::Number,
        "boolean" => FieldKind::Boolean,
        "date" => FieldKind::Date,
        "datetime" => FieldKind::DateTime,
        "picklist" => FieldKind::Choice { options: options(), several: false, open: false },
        "multiselectpicklist" => FieldKind::Choice { options: options(), several: true, open: false },
        "lookup" | "ownerlookup" | "userlookup" => FieldKind::Reference,
        other => FieldKind::Other(other.to_owned()),
    };
    let flag = |value: &Value| value.as_bool().unwrap_or_default();
    let may = |name: &str| field["operation_type"][name].as_bool().unwrap_or(true) && !flag(&field["read_only"]);
    // Written by, it must be unique; looked up by, external. (`unique` is an empty object where it is neither.)
    let unique = field["unique"].as_object().is_some_and(|unique| !unique.is_empty());
    let external = field["external"]["type"] == "org";
    let described = FieldDescription {
        kind,
        length_max: field["length"].as_u64().and_then(|length| u32::try_from(length).ok()),
        creatable: may("api_create"),
        updatable: may("api_update"),
        required: flag(&field["system_mandatory"]),
        unique: unique && external,
    };
    Some((field["api_name"].as_str()?.to_owned(), described))
}

/// The field of a key: its API name follows from the label, with underscores for blanks.
pub(super) fn missing_key(key_field: &str) -> Value {
    json!({ "fields": [{
        "field_label": key_field.replace('_', " "),
        "data_type": "text",
        "length": 255,
        "unique": { "case_sensitive": false },
        "external": { "type": "org", "show": true },
    }] })
}
