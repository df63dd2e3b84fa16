//! Which result belongs to which input: results come in any order, and errors beside them.

use std::collections::{BTreeMap, BTreeSet};

use model::event::Mode;
use model::{Class, Failure, Reason, Scope, Time};
use serde_json::Value;

use super::refusal::{self, CrmError};
use super::{EMAIL, Hubspot, OTHER_EMAILS, garbage, spelled, valid_id};
use crate::crm::refusal::ambiguous;
use crate::{Connector as _, Outcome, Present, ReadBatch, Reply, WriteBatch, Written};

/// The rows and the errors of a batch's answer.
struct Answer {
    rows: Vec<Value>,
    errors: Vec<CrmError>,
    /// Whether something was in `errors`, readable or not.
    troubled: bool,
    /// Whether HubSpot says that it is done, or nothing to the contrary.
    complete: bool,
}

impl Answer {
    fn read(reply: &Reply) -> Result<Self, Failure> {
        let mut body = reply.json().filter(Value::is_object).ok_or_else(|| garbage(reply))?;
        let complete = body["status"].as_str().is_none_or(|status| status == "COMPLETE");
        let told = match body["errors"].take() {
            Value::Array(errors) => errors,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => Vec::new(),
        };
        let troubled = !told.is_empty() || body["numErrors"].as_u64().is_some_and(|count| count > 0);
        let rows = match body["results"].take() {
            Value::Array(rows) => rows,
            Value::Null if troubled => Vec::new(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => return Err(garbage(reply)),
        };
        Ok(Self { rows, errors: told.iter().filter_map(CrmError::read).collect(), troubled, complete })
    }
}

/// Reads the answer of a write: 200, 201 or 207.
pub(super) fn written(hubspot: &Hubspot, batch: &WriteBatch, reply: &Reply) -> Outcome<Written> {
    let Answer { rows, errors, troubled, complete } = Answer::read(reply)?;
    if rows.is_empty() && !troubled {
        return if complete { nothing(batch.records.len()) } else { Err(garbage(reply)) };
    }
    let inputs = Inputs::of(hubspot, batch);
    let mut results: Vec<Option<Result<Written, Failure>>> = batch.records.iter().map(|_| None).collect();
    for row in &rows {
        let written = row_of(batch, row).ok_or_else(|| garbage(reply))?;
        let Some(place) = inputs.place(row) else { continue };
        if results[place].replace(Ok(written)).is_some() {
            let message = "two results carry the trace id of one record; which is which cannot be known";
            return Err(Failure::new(Class::Unknown, Scope::Call, "result_twice", message));
        }
    }
    let mut told: BTreeMap<usize, Vec<CrmError>> = BTreeMap::new();
    let mut loose = Vec::new();
    for error in errors {
        match inputs.named(&error).as_slice() {
            [] => loose.push(error),
            [place] => told.entry(*place).or_default().push(error),
            // Of several the error is the same, and only its words are needed again.
            [first, others @ ..] => {
                let shared = refusal::outcome(batch, std::slice::from_ref(&error), reply.status);
                for place in others {
                    results[*place].get_or_insert_with(|| shared.clone());
                }
                told.entry(*first).or_default().push(error);
            }
        }
    }
    for (place, errors) in told {
        results[place].get_or_insert_with(|| refusal::outcome(batch, &errors, reply.status));
    }
    let silent: Vec<usize> = results.iter().enumerate().filter(|(_, result)| result.is_none()).map(|(place, _)| place).collect();
    if let ([place], false) = (silent.as_slice(), loose.is_empty()) {
        // Nobody else is left whom it could concern.
        results[*place] = Some(refusal::outcome(batch, &loose, reply.status));
    }
    Ok(results.into_iter().map(|result| result.unwrap_or_else(|| Err(no_result()))).collect())
}

/// A success with neither result nor error: nothing was written (crm-apis.md 3.3). Alone it is tried again a few times.
fn nothing(records: usize) -> Outcome<Written> {
    let alone = records == 1;
    let scope = if alone { Scope::Record } else { Scope::Call };
    let failure = Failure::new(Class::Conflict, scope, "nothing_written", "the CRM answered with success and wrote nothing");
    let failure = Failure { reason: Some(Reason::UnknownOutcome), ..failure };
    if alone { Ok(vec![Err(failure)]) } else { Err(failure) }
}

fn no_result() -> Failure {
    let message = "the answer holds no result for this record, and no error that names it";
    Failure::new(Class::Unknown, Scope::Record, "no_result", message)
}

/// What finds an input again.
struct Inputs<'a> {
    hubspot: &'a Hubspot,
    key_field: &'a str,
    keys: BTreeMap<String, usize>,
    ids: BTreeMap<&'a str, usize>,
    count: usize,
}

impl<'a> Inputs<'a> {
    fn of(hubspot: &'a Hubspot, batch: &'a WriteBatch) -> Self {
        let records = batch.records.iter().enumerate();
        Self {
            hubspot,
            key_field: &batch.key_field,
            keys: records.clone().map(|(place, record)| (hubspot.canonical_key(&record.key), place)).collect(),
            ids: records.filter_map(|(place, record)| Some((record.crm_id.as_deref()?, place))).collect(),
            count: batch.records.len(),
        }
    }

    fn traced(&self, trace: &str) -> Option<usize> {
        trace.parse().ok().filter(|place| *place < self.count)
    }

    /// The input of a result: by its trace id, else by the key that it shows, else because there is no other.
    fn place(&self, row: &Value) -> Option<usize> {
        let key = || self.keys.get(&self.hubspot.canonical_key(row["properties"][self.key_field].as_str()?)).copied();
        let trace = row["objectWriteTraceId"].as_str().and_then(|trace| self.traced(trace));
        trace.or_else(key).or_else(|| row["id"].as_str().and_then(|id| self.ids.get(id).copied())).or((self.count == 1).then_some(0))
    }

    /// The inputs that an error names.
    fn named(&self, error: &CrmError) -> Vec<usize> {
        let mut places: BTreeSet<usize> = error.traces.iter().filter_map(|trace| self.traced(trace)).collect();
        if places.is_empty() {
            let by_id = |id: &String| self.keys.get(&self.hubspot.canonical_key(id)).or_else(|| self.ids.get(id.as_str())).copied();
            places = error.ids.iter().filter_map(by_id).collect();
        }
        places.into_iter().collect()
    }
}

/// One result; `None` if it is none.
fn row_of(batch: &WriteBatch, row: &Value) -> Option<Written> {
    let crm_id = row["id"].as_str().filter(|id| valid_id(id))?.to_owned();
    let created = match batch.mode {
        Mode::CreateOnly => Some(true),
        Mode::UpdateOnly => Some(false),
        Mode::Upsert => row["new"].as_bool(),
        Mode::Delete => None,
    };
    Some(Written { crm_id: Some(crm_id), created })
}

/// Reads the rows of a look-up that was answered with 200 or 207.
pub(super) fn found(hubspot: &Hubspot, batch: &ReadBatch, reply: &Reply) -> Outcome<Option<Present>> {
    let Answer { rows, errors, troubled, complete } = Answer::read(reply)?;
    if !complete {
        return Err(garbage(reply));
    }
    let asked: Vec<String> = batch.records.iter().map(|sought| hubspot.canonical_key(&sought.key)).collect();
    let mut by_key: BTreeMap<String, Vec<Present>> = BTreeMap::new();
    let mut strays = false;
    for row in rows.iter().filter(|row| row["archived"] != true) {
        let present = present(batch, row).ok_or_else(|| garbage(reply))?;
        match keys_of(hubspot, batch, row).into_iter().find(|key| asked.contains(key)) {
            Some(key) => by_key.entry(key).or_default().push(present),
            None => strays = true,
        }
    }
    // An error that says anything but "not there" leaves open whom it concerns.
    let named: BTreeSet<String> = errors.iter().flat_map(|error| &error.ids).map(|id| hubspot.canonical_key(id)).collect();
    let absent = |error: &CrmError| {
        refusal::record(std::slice::from_ref(error), Mode::UpdateOnly, reply.status).reason == Some(Reason::RecordNotFound)
    };
    let doubtful = strays || (troubled && (errors.is_empty() || !errors.iter().all(absent)));
    let one = |key: &String| match by_key.get(key).map_or(&[][..], Vec::as_slice) {
        [] if doubtful && !named.contains(key) => Err(not_told()),
        [] => Ok(None),
        [row] => Ok(Some(row.clone())),
        several => Err(ambiguous(several.iter().map(|row| row.crm_id.as_str()))),
    };
    Ok(asked.iter().map(one).collect())
}

/// The keys by which a row may have been found: an address is also found by a contact's further ones.
fn keys_of(hubspot: &Hubspot, batch: &ReadBatch, row: &Value) -> Vec<String> {
    let text = |name: &str| row["properties"][name].as_str().unwrap_or_default();
    let others = if batch.key_field == EMAIL { text(OTHER_EMAILS) } else { "" };
    let keys = std::iter::once(text(&batch.key_field)).chain(others.split(';'));
    keys.map(|key| hubspot.canonical_key(key)).filter(|key| !key.is_empty()).collect()
}

fn not_told() -> Failure {
    let message = "the answer says neither that this record is there nor that it is not";
    Failure::new(Class::Unknown, Scope::Record, "no_result", message)
}

fn present(batch: &ReadBatch, row: &Value) -> Option<Present> {
    let crm_id = row["id"].as_str().filter(|id| valid_id(id))?.to_owned();
    // A property that was never set is missing, and one that was cleared is null or empty.
    let value = |field: &String| Some(row["properties"][field].clone()).filter(|value| !spelled(value).is_empty()).unwrap_or_default();
    let fields = batch.fields.iter().map(|field| (field.clone(), value(field))).collect();
    Some(Present { crm_id, fields, modified_at: row["updatedAt"].as_str().and_then(Time::parse_rfc3339) })
}
