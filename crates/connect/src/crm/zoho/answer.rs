//! Which result belongs to which record: results come in the order of the request, and errors name their place.

use std::collections::BTreeMap;

use model::event::Mode;
use model::{Class, Failure, Scope, Time};
use serde_json::Value;

use super::refusal::{self, CrmError};
use super::{Zoho, garbage, valid_id};
use crate::crm::refusal::{Call, ambiguous, placed};
use crate::{Connector as _, Outcome, Present, ReadBatch, Reply, WriteBatch, Written};

/// Reads the answer of a write. Whatever the status, where there is a list there is a result for each record (200, 201, 202, 207, and 400 where
/// all of them were refused).
pub(super) fn written(batch: &WriteBatch, reply: &Reply) -> Outcome<Written> {
    let body = reply.json().unwrap_or_default();
    let listed = matches!(reply.status, 200..=299 | 400);
    let Some(rows) = body["data"].as_array().filter(|_| listed) else {
        let success = (200..300).contains(&reply.status) && body["status"] != "error";
        let failure = if success { garbage(reply) } else { refusal::of_request(reply, Call::of(batch.mode, batch.records.len())) };
        return placed(failure, batch.records.len());
    };
    let errors: Vec<Option<CrmError>> = rows.iter().map(|row| (row["status"] != "success").then(|| CrmError::read(row))).collect();
    let in_order = rows.len() == batch.records.len() && names_places(&errors) && own_ids(batch, rows);
    let mut results: Vec<Option<Result<Written, Failure>>> = batch.records.iter().map(|_| None).collect();
    for (at, (row, error)) in rows.iter().zip(&errors).enumerate() {
        let told = error.as_ref().and_then(|error| error.place).or_else(|| place_of_id(batch, row));
        let Some(place) = told.or(in_order.then_some(at)) else { continue };
        let (Some(record), Some(result)) = (batch.records.get(place), results.get_mut(place)) else { continue };
        let read = match error {
            Some(error) => refusal::of_record(batch, record, error),
            None => success(batch, row).ok_or_else(|| garbage(reply))?,
        };
        if result.replace(read).is_some() {
            let message = "two results are of one record; which is which cannot be known";
            return Err(Failure::new(Class::Unknown, Scope::Call, "result_twice", message));
        }
    }
    Ok(results.into_iter().map(|result| result.unwrap_or_else(|| Err(no_result()))).collect())
}

/// Whether every error stands at the place that it names.
fn names_places(errors: &[Option<CrmError>]) -> bool {
    errors.iter().enumerate().all(|(at, error)| error.as_ref().and_then(|error| error.place).is_none_or(|place| place == at))
}

/// Whether every result of a record whose id is known stands at that record's place.
fn own_ids(batch: &WriteBatch, rows: &[Value]) -> bool {
    rows.iter().enumerate().all(|(at, row)| place_of_id(batch, row).is_none_or(|place| place == at))
}

fn place_of_id(batch: &WriteBatch, row: &Value) -> Option<usize> {
    let id = row["details"]["id"].as_str()?;
    batch.records.iter().position(|record| record.crm_id.as_deref() == Some(id))
}

/// One success; `None` if it names no record.
fn success(batch: &WriteBatch, row: &Value) -> Option<Result<Written, Failure>> {
    let crm_id = row["details"]["id"].as_str().filter(|id| valid_id(id))?.to_owned();
    let created = match batch.mode {
        Mode::CreateOnly => Some(true),
        Mode::UpdateOnly => Some(false),
        Mode::Delete => return Some(Ok(Written::default())),
        Mode::Upsert => match row["action"].as_str() {
            Some("insert") => Some(true),
            Some("update") => Some(false),
            Some(_) | None => None,
        },
    };
    Some(Ok(Written { crm_id: Some(crm_id), created }))
}

fn no_result() -> Failure {
    let message = "the answer holds no result that is surely this record's";
    Failure::new(Class::Unknown, Scope::Record, "no_result", message)
}

/// Reads the answer to a look-up by an external field: 204 if the module has none of the keys.
pub(super) fn found(zoho: &Zoho, batch: &ReadBatch, reply: &Reply) -> Outcome<Option<Present>> {
    if reply.status == 204 {
        return Ok(batch.records.iter().map(|_| Ok(None)).collect());
    }
    let body = reply.json().unwrap_or_default();
    if reply.status != 200 || body["status"] == "error" {
        return Err(refusal::of_read(reply));
    }
    let rows = body["data"].as_array().ok_or_else(|| garbage(reply))?;
    if body["info"]["more_records"] == true {
        return Err(Failure::new(
            Class::Conflict,
            Scope::Call,
            "too_large",
            "the CRM has more records for these keys than one answer holds",
        ));
    }
    let asked: Vec<String> = batch.records.iter().map(|sought| zoho.canonical_key(&sought.key)).collect();
    let mut by_key: BTreeMap<String, Vec<Present>> = BTreeMap::new();
    let mut strays = false;
    for row in rows {
        let key = row[&batch.key_field].as_str().map(|key| zoho.canonical_key(key)).ok_or_else(|| garbage(reply))?;
        strays |= !asked.contains(&key);
        by_key.entry(key).or_default().push(present(batch, row).ok_or_else(|| garbage(reply))?);
    }
    let one = |key: &String| match by_key.get(key).map_or(&[][..], Vec::as_slice) {
        [] if strays => {
            let message = "the answer holds a record that was not asked for, and not this one";
            Err(Failure::new(Class::Unknown, Scope::Record, "stray_row", message))
        }
        [] => Ok(None),
        [row] => Ok(Some(row.clone())),
        several => Err(ambiguous(several.iter().map(|row| row.crm_id.as_str()))),
    };
    Ok(asked.iter().map(one).collect())
}

fn present(batch: &ReadBatch, row: &Value) -> Option<Present> {
    let crm_id = row["id"].as_str().filter(|id| valid_id(id))?.to_owned();
    let fields = batch.fields.iter().map(|field| (field.clone(), row[field].clone())).collect();
    Some(Present { crm_id, fields, modified_at: row["Modified_Time"].as_str().and_then(Time::parse_rfc3339) })
}
