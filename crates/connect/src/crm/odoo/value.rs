//! How values become cells of `load`, and what Odoo's records hold.

use model::record::Link;
use serde_json::Value;

use super::external_id;
use crate::crm::same::{instant, same};
use crate::{FieldDescription, FieldKind, Present, ReadBatch, WriteRecord};

/// One column of `load`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    field: String,
    way: Way,
}

/// How a column names what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A value, or a record by its name.
    Plain,
    /// A record by its external id.
    External,
    /// A record by its database id.
    Database,
}

/// The columns that a record needs.
pub(super) fn columns(record: &WriteRecord, key_field: &str) -> Vec<Column> {
    let way = |value: &Value| match Link::of(value) {
        Some(Link { crm_id: Some(_), .. }) => Way::Database,
        Some(_) => Way::External,
        None if named(value).is_some() => Way::Database,
        None => Way::Plain,
    };
    let own = record.fields.iter().filter(|(field, _)| *field != key_field && *field != "id");
    own.map(|(field, value)| Column { field: field.clone(), way: way(value) }).collect()
}

impl Column {
    /// How the column is called.
    pub fn header(&self) -> String {
        match self.way {
            Way::Plain => self.field.clone(),
            Way::External => format!("{}/id", self.field),
            Way::Database => format!("{}/.id", self.field),
        }
    }

    /// What the record has there; the empty text clears.
    pub fn cell(&self, record: &WriteRecord) -> String {
        let value = record.fields.get(&self.field).unwrap_or(&Value::Null);
        match Link::of(value) {
            Some(Link { crm_id: Some(id), .. }) => id,
            Some(link) => external_id(&link.object, &link.key),
            None => named(value).map_or_else(|| cell(value), |(id, _)| id.to_string()),
        }
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.len() > "2026-11-22".len() && text.contains('T') => moment(text).unwrap_or_else(|| text.clone()),
        Value::String(text) => text.clone(),
        // Tags by their names.
        Value::Array(entries) => entries.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// A moment as Odoo writes it: in UTC, without an offset.
fn moment(text: &str) -> Option<String> {
    let at = model::Time::from_seconds(instant(text)?.seconds()).to_string();
    Some(at.get(..19)?.replace('T', " "))
}

/// A reference as Odoo reads it out: `[25, "Deco Addict"]`.
fn named(value: &Value) -> Option<(i64, &str)> {
    match value.as_array()?.as_slice() {
        [id, name] => Some((id.as_i64()?, name.as_str()?)),
        [] | [..] => None,
    }
}

/// Equal as Odoo keeps it: `false` is nothing; a reference is its record's id or name; ids of tags are not compared with their names.
pub(super) fn same_value(a: &Value, b: &Value) -> bool {
    let something = |value: &Value| if *value == false { Value::Null } else { value.clone() };
    let ids = |value: &Value| value.as_array().is_some_and(|entries| !entries.is_empty() && entries.iter().all(Value::is_i64));
    match (named(a), named(b)) {
        (Some((left, _)), Some((right, _))) => left == right,
        (Some((id, name)), None) => same(&id.into(), b) || same(&name.into(), b),
        (None, Some((id, name))) => same(a, &id.into()) || same(a, &name.into()),
        (None, None) => (ids(a) != ids(b) && !something(a).is_null() && !something(b).is_null()) || same(&something(a), &something(b)),
    }
}

/// One record of `search_read`.
pub(super) fn present(batch: &ReadBatch, id: i64, row: &Value) -> Present {
    let fields = batch.fields.iter().map(|field| (field.clone(), row.get(field).cloned().unwrap_or_default()));
    Present { crm_id: id.to_string(), fields: fields.collect(), modified_at: row["write_date"].as_str().and_then(instant) }
}

/// A field as `fields_get` tells of it.
pub(super) fn described(told: &Value) -> FieldDescription {
    let kind = match told["type"].as_str().unwrap_or_default() {
        "char" | "text" | "html" => FieldKind::Text,
        "float" | "monetary" => FieldKind::Number,
        "integer" => FieldKind::Integer,
        "boolean" => FieldKind::Boolean,
        "date" => FieldKind::Date,
        "datetime" => FieldKind::DateTime,
        "selection" => {
            let options = told["selection"].as_array().into_iter().flatten().filter_map(|pair| Some(pair[0].as_str()?.to_owned()));
            FieldKind::Choice { options: options.collect(), several: false, open: false }
        }
        "many2one" | "many2one_reference" | "reference" => FieldKind::Reference,
        other => FieldKind::Other(other.to_owned()),
    };
    let writable = told["readonly"] != true;
    FieldDescription {
        kind,
        length_max: told["size"].as_u64().and_then(|size| u32::try_from(size).ok()),
        creatable: writable,
        updatable: writable,
        required: told["required"] == true,
        unique: false,
    }
}
