//! Table definitions: what a table has, and how columns and alternate keys are added (use-web-api-metadata).

use serde_json::{Value, json};

use super::tables::{self, COLUMNS, Holds, KEYS, Table};
use super::{Refusal, body};
use crate::dialects::{Request, World};
use crate::http::{HttpReply, pair};

/// Answers `EntityDefinitions?$filter=EntitySetName eq '…'&$expand=…`.
pub(super) fn listed(request: &Request, world: &mut World<'_>) -> Result<HttpReply, Refusal> {
    let filter = pair(request.query(), "$filter").unwrap_or_default();
    let set = filter.strip_prefix("EntitySetName eq '").and_then(|rest| rest.strip_suffix('\''));
    let set = set.ok_or_else(|| Refusal::new(400, "0x80060888", "Bad Request - Error in query syntax."))?;
    let now = world.now;
    let shown = tables::table(world, set).map(|table| {
        let keys: Vec<Value> = table.keys(now).map(|(name, active)| key(name, active)).collect();
        let lookups = table.lookups.iter().map(|(_, column, _)| plain(column, "Lookup", json!({})));
        let relations = table.lookups.iter().map(
            |(navigation, column, _)| json!({ "ReferencingAttribute": column, "ReferencingEntityNavigationPropertyName": navigation }),
        );
        let id = plain(&table.id_column(), "Uniqueidentifier", json!({}));
        let columns = table.columns.iter().map(|column| attribute(&column.name, &column.holds));
        json!({
            "LogicalName": table.name, "EntitySetName": table.set, "PrimaryIdAttribute": table.id_column(),
            "Attributes": columns.chain(lookups).chain([id]).collect::<Vec<_>>(),
            "Keys": keys,
            "ManyToOneRelationships": relations.collect::<Vec<_>>(),
        })
    });
    Ok(HttpReply::json(200, &json!({ "value": shown.into_iter().collect::<Vec<_>>() })))
}

fn key(name: &str, active: bool) -> Value {
    json!({ "KeyAttributes": [name], "EntityKeyIndexStatus": if active { "Active" } else { "Pending" } })
}

fn plain(name: &str, kind: &str, more: Value) -> Value {
    let mut shown = json!({
        "@odata.type": format!("#Microsoft.Dynamics.CRM.{kind}AttributeMetadata"), "LogicalName": name, "AttributeType": kind,
        "AttributeTypeName": { "Value": format!("{kind}Type") }, "IsValidForCreate": true, "IsValidForUpdate": kind != "Uniqueidentifier",
        "RequiredLevel": { "Value": if kind == "Uniqueidentifier" { "SystemRequired" } else { "None" } },
    });
    if let (Some(shown), Value::Object(more)) = (shown.as_object_mut(), more) {
        shown.extend(more);
    }
    shown
}

fn attribute(name: &str, holds: &Holds) -> Value {
    match holds {
        Holds::Text(most) => plain(name, "String", json!({ "MaxLength": most })),
        Holds::Integer => plain(name, "Integer", json!({})),
        Holds::Number => plain(name, "Money", json!({})),
        Holds::Boolean => plain(name, "Boolean", json!({})),
        Holds::Date => plain(name, "DateTime", json!({ "Format": "DateOnly" })),
        Holds::Moment => plain(name, "DateTime", json!({ "Format": "DateAndTime" })),
        Holds::Choice(_) => plain(name, "Picklist", json!({})),
        Holds::Choices(_) => plain(name, "Virtual", json!({ "AttributeTypeName": { "Value": "MultiSelectPicklistType" } })),
    }
}

fn named(name: &str, world: &mut World<'_>) -> Result<Table, Refusal> {
    let absent = || Refusal::new(404, "0x80060888", format!("Could not find an entity with name '{name}'."));
    tables::set_of(name).and_then(|set| tables::table(world, set)).ok_or_else(absent)
}

/// Answers `…/Attributes/Microsoft.Dynamics.CRM.PicklistAttributeMetadata?$expand=OptionSet(…)`.
pub(super) fn choices(name: &str, kind: &str, world: &mut World<'_>) -> Result<HttpReply, Refusal> {
    let table = named(name, world)?;
    let listed = table.columns.iter().filter_map(|column| {
        let options = match (&column.holds, kind) {
            (Holds::Choice(options), "Picklist") | (Holds::Choices(options), "MultiSelectPicklist") => options,
            _ => return None,
        };
        let options: Vec<Value> = options.iter().map(|option| json!({ "Value": option })).collect();
        Some(json!({ "LogicalName": column.name, "OptionSet": { "Options": options } }))
    });
    Ok(HttpReply::json(200, &json!({ "value": listed.collect::<Vec<_>>() })))
}

/// Adds a text column.
pub(super) fn add_column(request: &Request, name: &str, world: &mut World<'_>) -> Result<HttpReply, Refusal> {
    let table = named(name, world)?;
    let body = body(request, "AttributeMetadata")?;
    let column = body.get("SchemaName").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    if body.get("@odata.type").and_then(Value::as_str) != Some("Microsoft.Dynamics.CRM.StringAttributeMetadata") {
        return Err(Refusal::payload("AttributeMetadata", "Only text columns are added in this sandbox."));
    }
    if column.split_once('_').is_none_or(|(prefix, rest)| prefix.len() < 2 || rest.is_empty()) {
        return Err(Refusal::new(400, "0x80044363", "The schema name must start with a publisher's prefix and an underscore."));
    }
    if table.column(&column).is_some() {
        let message = format!("Attribute With Name {column} already exists on Entity {name}.");
        return Err(Refusal::new(400, "0x80044153", message));
    }
    Ok(remember(world, COLUMNS, name, &column))
}

/// Adds an alternate key over one column, whose index is built from now on.
pub(super) fn add_key(request: &Request, name: &str, world: &mut World<'_>) -> Result<HttpReply, Refusal> {
    let table = named(name, world)?;
    let body = body(request, "EntityKeyMetadata")?;
    let columns: Vec<&str> = body.get("KeyAttributes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let [column] = columns.as_slice() else { return Err(Refusal::payload("EntityKeyMetadata", "A key of this sandbox has one column.")) };
    if table.column(column).is_none() {
        return Err(Refusal::new(400, "0x80060888", format!("Could not find an attribute '{column}'.")));
    }
    if table.keys(world.now).any(|(held, _)| held == *column) {
        return Err(Refusal::new(400, "0x80060893", "An entity key with the selected attributes already exists."));
    }
    Ok(remember(world, KEYS, name, column))
}

fn remember(world: &mut World<'_>, object: &str, table: &str, name: &str) -> HttpReply {
    let fields = [("table", table), ("name", name)].map(|(field, value)| (field.into(), Value::from(value)));
    let now = world.now;
    let number = world.table(object, &[]).insert(None, fields.into_iter().collect(), now);
    HttpReply::empty(204).with("odata-entityid", format!("EntityDefinitions({number})"))
}
