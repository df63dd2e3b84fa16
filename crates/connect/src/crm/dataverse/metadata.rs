//! A table as Dataverse describes it, and how the column and the alternate key of a record's key are made (use-web-api-metadata).

use std::collections::{BTreeMap, BTreeSet};

use model::{Class, Failure, Scope};
use serde_json::{Value, json};

use super::{garbage, refusal};
use crate::wire::encode;
use crate::{Description, FieldDescription, FieldKind, Reply};

/// English: the base language of an environment is not known beforehand, and a label in another is taken all the same.
const LANGUAGE: u32 = 1033;

/// The logical name of the table of an entity set, as Dataverse forms plurals: a guess, which is used for nothing but choices, set-up and the
/// reading of refusals.
pub(super) fn table(object: &str) -> String {
    let object = object.to_ascii_lowercase();
    if let Some(stem) = object.strip_suffix("ies") {
        return format!("{stem}y");
    }
    let sibilant = ["sses", "xes", "ches", "shes"].iter().any(|end| object.ends_with(end));
    let end = if sibilant { "es" } else { "s" };
    object.strip_suffix(end).unwrap_or(&object).to_owned()
}

/// What is asked for a description: the table by its entity set, and its choices by its logical name.
pub(super) fn asked(object: &str) -> impl Iterator<Item = String> {
    let filter = encode(&format!("EntitySetName eq '{object}'"));
    let whole = format!(
        "/EntityDefinitions?$select=LogicalName,EntitySetName,PrimaryIdAttribute&$filter={filter}&$expand=Attributes,\
         Keys($select=KeyAttributes,EntityKeyIndexStatus),\
         ManyToOneRelationships($select=ReferencingAttribute,ReferencingEntityNavigationPropertyName)"
    );
    let choices = ["Picklist", "MultiSelectPicklist"].map(|kind| {
        format!(
            "/EntityDefinitions(LogicalName='{}')/Attributes/Microsoft.Dynamics.CRM.{kind}AttributeMetadata\
             ?$select=LogicalName&$expand=OptionSet($select=Options)",
            encode(&table(object))
        )
    });
    std::iter::once(whole).chain(choices)
}

/// Reads the answers to [`asked`].
pub(super) fn described(object: &str, replies: &[Reply]) -> Result<Description, Failure> {
    let [first, choices @ ..] = replies else {
        return Err(Failure::new(Class::Permanent, Scope::Call, "empty_batch", "nothing was asked for; this is a bug of ours"));
    };
    if first.status != 200 {
        return Err(refusal::of_read(first));
    }
    let body = first.json().ok_or_else(|| garbage(first))?;
    let tables = body["value"].as_array().ok_or_else(|| garbage(first))?;
    let Some(table) = tables.first() else {
        let message = format!("there is no entity set `{object}`: it is the plural that stands in the Web API's URLs, such as `contacts`");
        return Err(Failure::new(Class::Permanent, Scope::Call, "no_such_object", message));
    };
    let options: BTreeMap<String, Vec<String>> = choices.iter().flat_map(options).collect();
    let unique: BTreeSet<String> = list(&table["Keys"])
        .iter()
        .filter(|key| key["EntityKeyIndexStatus"] == "Active")
        .filter_map(|key| match list(&key["KeyAttributes"]) {
            [only] => only.as_str().map(str::to_owned),
            [..] => None,
        })
        .chain(table["PrimaryIdAttribute"].as_str().map(str::to_owned))
        .collect();
    let mut fields: BTreeMap<String, FieldDescription> =
        list(&table["Attributes"]).iter().filter_map(|column| field(column, &options, &unique)).collect();
    // A lookup is written by the name of its navigation property, of which one column may have several.
    for relation in list(&table["ManyToOneRelationships"]) {
        let text = |name: &str| relation[name].as_str();
        if let (Some(column), Some(name)) = (text("ReferencingAttribute"), text("ReferencingEntityNavigationPropertyName"))
            && let Some(held) = fields.get(column).cloned()
        {
            fields.insert(name.to_owned(), FieldDescription { kind: FieldKind::Reference, required: false, ..held });
        }
    }
    Ok(Description { fields })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The numbers of each choice column of an answer; none where the guess at the table's name was wrong.
fn options(reply: &Reply) -> Vec<(String, Vec<String>)> {
    let body = if reply.status == 200 { reply.json().unwrap_or_default() } else { Value::Null };
    let one = |column: &Value| {
        let options = list(&column["OptionSet"]["Options"]).iter().filter_map(|option| Some(option["Value"].as_i64()?.to_string()));
        Some((column["LogicalName"].as_str()?.to_owned(), options.collect()))
    };
    list(&body["value"]).iter().filter_map(one).collect()
}

fn field(column: &Value, options: &BTreeMap<String, Vec<String>>, unique: &BTreeSet<String>) -> Option<(String, FieldDescription)> {
    let name = column["LogicalName"].as_str()?.to_owned();
    let several = column["AttributeTypeName"]["Value"] == "MultiSelectPicklistType";
    let kind = column["AttributeType"].as_str()?;
    let choice = || {
        let options = options.get(&name).cloned().unwrap_or_default();
        FieldKind::Choice { open: options.is_empty(), options, several }
    };
    let described = match kind {
        _ if several => choice(),
        "String" | "Memo" | "Uniqueidentifier" => FieldKind::Text,
        "Integer" | "BigInt" => FieldKind::Integer,
        "Decimal" | "Double" | "Money" => FieldKind::Number,
        "Boolean" => FieldKind::Boolean,
        "DateTime" if column["Format"] == "DateOnly" => FieldKind::Date,
        "DateTime" => FieldKind::DateTime,
        "Picklist" | "State" | "Status" => choice(),
        "Lookup" | "Customer" | "Owner" => FieldKind::Reference,
        other => FieldKind::Other(other.to_owned()),
    };
    let flag = |name: &str| column[name].as_bool().unwrap_or_default();
    let creatable = flag("IsValidForCreate");
    // Owner, state and choices have a value of themselves.
    let empty = matches!(described, FieldKind::Text | FieldKind::Integer | FieldKind::Number | FieldKind::Date | FieldKind::DateTime)
        || matches!(kind, "Lookup" | "Customer");
    let required = column["RequiredLevel"]["Value"] == "SystemRequired" && creatable && empty && kind != "Uniqueidentifier";
    let length_max = column["MaxLength"].as_u64().and_then(|length| u32::try_from(length).ok());
    let unique = unique.contains(&name);
    Some((name, FieldDescription { kind: described, length_max, creatable, updatable: flag("IsValidForUpdate"), required, unique }))
}

/// What is posted where, so that a table has the column of the key and an alternate key over it. A column without a publisher's prefix is one
/// that the table came with.
pub(super) fn missing_key(object: &str, key_field: &str) -> Vec<(String, Value)> {
    let table = format!("/EntityDefinitions(LogicalName='{}')", encode(&table(object)));
    let label = |text: &str| {
        json!({
            "@odata.type": "Microsoft.Dynamics.CRM.Label",
            "LocalizedLabels": [{ "@odata.type": "Microsoft.Dynamics.CRM.LocalizedLabel", "Label": text, "LanguageCode": LANGUAGE }],
        })
    };
    let custom = key_field.contains('_');
    let column = json!({
        "@odata.type": "Microsoft.Dynamics.CRM.StringAttributeMetadata",
        "AttributeType": "String",
        "AttributeTypeName": { "Value": "StringType" },
        "SchemaName": key_field,
        "DisplayName": label("Onceward key"),
        "Description": label("The key by which Onceward finds this row. Do not change it by hand."),
        "RequiredLevel": { "Value": "None", "CanBeChanged": true, "ManagedPropertyLogicalName": "canmodifyrequirementlevelsettings" },
        "FormatName": { "Value": "Text" },
        "MaxLength": 255,
    });
    let key = json!({
        "@odata.type": "Microsoft.Dynamics.CRM.EntityKeyMetadata",
        "SchemaName": if custom { format!("{key_field}_alternate") } else { format!("onceward_{key_field}") },
        "DisplayName": label("Onceward key"),
        "KeyAttributes": [key_field.to_ascii_lowercase()],
    });
    let mut calls = Vec::new();
    if custom {
        calls.push((format!("{table}/Attributes"), column));
    }
    calls.push((format!("{table}/Keys"), key));
    calls
}
