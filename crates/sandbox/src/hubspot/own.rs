//! Properties as the account shows them, and those that somebody makes (`/crm/v3/properties`, "Properties" in the vendor's API description).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Refusal;
use super::properties::{Kind, Object, is_custom};

/// What a new property is asked to be.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct New {
    pub name: Option<String>,
    pub label: Option<String>,
    pub group_name: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub field_type: Option<String>,
    #[serde(default)]
    pub has_unique_value: bool,
}

/// What is asked to change of a property.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    pub label: Option<String>,
    pub has_unique_value: Option<bool>,
}

/// A property that somebody made.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    label: String,
    unique: bool,
}

/// The properties of an object that somebody made, by name.
pub(crate) type OwnProperties = BTreeMap<String, Own>;

/// Every property of an object. `unique` tells of a name whether its values are.
pub(crate) fn all(object: &Object, own: &OwnProperties, unique: &dyn Fn(&str) -> bool, keys: &[String]) -> Value {
    let standard = object.all().map(|(name, kind)| shown(name, name, kind, unique(name) && name != "email"));
    let made = own.iter().map(|(name, own)| shown(name, &own.label, Kind::Text, own.unique));
    // Those that were there because records are keyed by them.
    let others = keys.iter().filter(|name| is_custom(name) && !own.contains_key(*name)).map(|name| shown(name, name, Kind::Text, true));
    json!({ "results": standard.chain(made).chain(others).collect::<Vec<_>>() })
}

pub(crate) fn shown(name: &str, label: &str, kind: Kind, unique: bool) -> Value {
    let options =
        |values: &[&str]| values.iter().map(|value| json!({ "label": value, "value": value, "hidden": false })).collect::<Vec<_>>();
    let (word, field, options) = match kind {
        Kind::Text | Kind::Email => ("string", "text", Vec::new()),
        Kind::Phone => ("string", "phonenumber", Vec::new()),
        Kind::Number => ("number", "number", Vec::new()),
        Kind::Flag => ("bool", "booleancheckbox", options(&["true", "false"])),
        Kind::Date => ("date", "date", Vec::new()),
        Kind::Moment => ("datetime", "date", Vec::new()),
        Kind::Choice(values) => ("enumeration", "select", options(values)),
        Kind::ReadOnly => ("string", "text", Vec::new()),
    };
    json!({ "name": name, "label": label, "type": word, "fieldType": field, "options": options, "hasUniqueValue": unique, "calculated": false,
        "externalOptions": false, "archived": false, "hidden": false,
        "modificationMetadata": { "archivable": true, "readOnlyDefinition": !is_custom(name), "readOnlyValue": kind == Kind::ReadOnly } })
}

/// Makes a property; at most `unique_left` more can have unique values.
pub(crate) fn make(object: &Object, own: &mut OwnProperties, new: New, unique_left: usize) -> Result<Value, Refusal> {
    let missing = [
        ("name", new.name.is_none()),
        ("label", new.label.is_none()),
        ("groupName", new.group_name.is_none()),
        ("type", new.kind.is_none()),
        ("fieldType", new.field_type.is_none()),
    ];
    if let Some((name, _)) = missing.into_iter().find(|(_, missing)| *missing) {
        return Err(Refusal::new(400, "VALIDATION_ERROR", format!("Some required fields were not set: [{name}]")));
    }
    let (name, label) = (new.name.unwrap_or_default(), new.label.unwrap_or_default());
    if object.all().any(|(held, _)| held == name) || own.contains_key(&name) {
        return Err(Refusal::new(409, "OBJECT_ALREADY_EXISTS", format!("A property named '{name}' already exists.")));
    }
    if !is_custom(&name) {
        let says = format!("The name '{name}' is invalid: this sandbox takes lower-case letters, digits and at least one underscore");
        return Err(Refusal::new(400, "VALIDATION_ERROR", says));
    }
    if new.kind.as_deref() != Some("string") || new.field_type.as_deref() != Some("text") {
        return Err(Refusal::new(400, "VALIDATION_ERROR", "this sandbox makes properties of type string and fieldType text"));
    }
    if new.has_unique_value && unique_left == 0 {
        let says = format!("The limit of 10 unique value properties is reached for {}", object.name);
        return Err(Refusal::new(400, "VALIDATION_ERROR", says));
    }
    let made = shown(&name, &label, Kind::Text, new.has_unique_value);
    own.insert(name, Own { label, unique: new.has_unique_value });
    Ok(made)
}

/// Changes a property. Whether its values are unique is settled when it is made.
pub(crate) fn change(own: &mut OwnProperties, name: &str, change: Change) -> Result<Value, Refusal> {
    let held = own.get_mut(name).ok_or_else(|| Refusal::new(404, "OBJECT_NOT_FOUND", format!("Property {name} does not exist")))?;
    if change.has_unique_value.is_some_and(|unique| unique != held.unique) {
        return Err(Refusal::new(400, "VALIDATION_ERROR", "hasUniqueValue cannot be changed after a property was created"));
    }
    if let Some(label) = change.label {
        held.label = label;
    }
    Ok(shown(name, &held.label, Kind::Text, held.unique))
}

impl Own {
    /// Its values are unique.
    pub fn unique(&self) -> bool {
        self.unique
    }
}
