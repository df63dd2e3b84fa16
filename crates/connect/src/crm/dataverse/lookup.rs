//! Look-ups by key: one query, which sees every committed write.

use std::collections::BTreeMap;

use model::{Class, Failure, Scope, Time};
use serde_json::Value;

pub(super) use super::refusal::unknown_column;
use super::{Dataverse, garbage, refusal, valid_id};
use crate::crm::refusal::ambiguous;
use crate::wire::encode;
use crate::{Connector as _, Outcome, Present, ReadBatch, Reply};

/// Half of what the Web API takes, so that a proxy before it takes it too.
const URL_MAX: usize = 16_000;
/// Tells which lookup a value `_x_value` belongs to.
pub(super) const NAVIGATION: &str = "Microsoft.Dynamics.CRM.associatednavigationproperty";

/// Path and query for a batch whose names have been checked. A lookup cannot be selected by the name that it is written by: where there is one,
/// everything is brought back instead.
pub(super) fn query(batch: &ReadBatch, selected: bool) -> String {
    let filter: Vec<String> = batch.records.iter().map(|sought| term(&batch.key_field, &sought.key)).collect();
    format!("{}{}", head(batch, selected), encode(&filter.join(" or ")))
}

fn head(batch: &ReadBatch, selected: bool) -> String {
    if !selected {
        return format!("/{}?$filter=", batch.object);
    }
    let mut names = vec![batch.key_field.as_str(), "modifiedon"];
    for field in &batch.fields {
        if !names.contains(&field.as_str()) {
            names.push(field);
        }
    }
    format!("/{}?$select={}&$filter=", batch.object, names.join(","))
}

/// `key eq 'O''Brien'`.
fn term(key_field: &str, key: &str) -> String {
    format!("{key_field} eq '{}'", key.replace('\'', "''"))
}

/// How many of the first keys fit into one URL: at least 1, unless there are none.
pub(super) fn fits(root: &str, batch: &ReadBatch) -> usize {
    let mut room = URL_MAX.saturating_sub(root.len() + head(batch, true).len());
    let mut fits = 0;
    for sought in &batch.records {
        let needs = encode(&term(&batch.key_field, &sought.key)).len() + "%20or%20".len();
        if needs > room {
            break;
        }
        room -= needs;
        fits += 1;
    }
    fits.max(1).min(batch.records.len())
}

/// Reads the rows of a query.
pub(super) fn found(dataverse: &Dataverse, batch: &ReadBatch, reply: &Reply) -> Outcome<Option<Present>> {
    if reply.status != 200 {
        return Err(refusal::of_read(reply));
    }
    let body = reply.json().ok_or_else(|| garbage(reply))?;
    let rows = body["value"].as_array().ok_or_else(|| garbage(reply))?;
    if body.get("@odata.nextLink").is_some() {
        return Err(Failure::new(Class::Conflict, Scope::Call, "too_large", "the CRM has more rows for these keys than one answer holds"));
    }
    let asked: Vec<String> = batch.records.iter().map(|sought| dataverse.canonical_key(&sought.key)).collect();
    let mut by_key: BTreeMap<String, Vec<Present>> = BTreeMap::new();
    let mut strays = false;
    for row in rows {
        let key = row[&batch.key_field].as_str().map(|key| dataverse.canonical_key(key)).ok_or_else(|| garbage(reply))?;
        strays |= !asked.contains(&key);
        by_key.entry(key).or_default().push(present(batch, row).ok_or_else(|| garbage(reply))?);
    }
    Ok(asked.iter().map(|key| one(by_key.get(key).map_or(&[], Vec::as_slice), strays)).collect())
}

/// What one key's rows say. With a row that belongs to no key asked for, a missing one is not surely absent.
fn one(rows: &[Present], strays: bool) -> Result<Option<Present>, Failure> {
    match rows {
        [] if strays => {
            let message = "the answer holds a record that was not asked for, and not this one";
            Err(Failure::new(Class::Unknown, Scope::Record, "stray_row", message))
        }
        [] => Ok(None),
        [row] => Ok(Some(row.clone())),
        several => Err(ambiguous(several.iter().map(|row| row.crm_id.as_str()))),
    }
}

fn present(batch: &ReadBatch, row: &Value) -> Option<Present> {
    let selected: Vec<&str> = batch.fields.iter().map(String::as_str).chain([batch.key_field.as_str()]).collect();
    let crm_id = record_id(&batch.object, row, &selected)?;
    let fields = batch.fields.iter().map(|field| (field.clone(), value(row, field))).collect();
    Some(Present { crm_id, fields, modified_at: row["modifiedon"].as_str().and_then(Time::parse_rfc3339) })
}

/// A column's value, or the id that a lookup holds, by the name that it is written by.
fn value(row: &Value, field: &str) -> Value {
    let annotated = || {
        let (name, _) = row.as_object()?.iter().find(|(name, told)| {
            name.strip_suffix(NAVIGATION).is_some_and(|name| name.ends_with("_value@")) && told.as_str() == Some(field)
        })?;
        row.get(name.split('@').next()?)
    };
    row.get(field).or_else(annotated).cloned().unwrap_or_default()
}

/// The primary key of a row, which is there whether it was selected or not: of the ids that were not asked for, the one whose name is most
/// like the entity set's. (`contactid` of `contacts`, and not `address1_addressid`.)
pub(super) fn record_id(object: &str, row: &Value, selected: &[&str]) -> Option<String> {
    let alike = |name: &str| name.bytes().zip(object.bytes()).take_while(|(a, b)| a == b).count();
    let ids = row.as_object()?.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str().filter(|id| valid_id(id))?)));
    let own = ids.filter(|(name, _)| !name.starts_with('_') && !name.contains('@') && name.ends_with("id") && !selected.contains(name));
    own.max_by_key(|(name, _)| alike(name)).map(|(_, id)| id.to_ascii_lowercase())
}
