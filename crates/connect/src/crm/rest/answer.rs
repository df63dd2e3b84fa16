//! What an answer of the API means, by the description of its successes and refusals.

use std::collections::BTreeMap;
use std::time::Duration;

use model::event::Mode;
use model::{Class, Failure, Scope, Time};
use serde_json::Value;

use super::definition::{Batch, Definition, Meaning, Operation, Read};
use super::{Rest, unclear};
use crate::crm::refusal::{Call, ambiguous, by_status, garbage, missing, placed};
use crate::crm::same::{id_of, instant};
use crate::{Connector as _, Outcome, Present, ReadBatch, Reply, Sought, WriteBatch, WriteRecord, Written};

/// Names of fields that are believed of one refusal.
const FIELDS_MAX: usize = 50;
/// The longest wait that a header can ask for.
const RESET_MAX: u64 = 24 * 3_600;

/// An answer, sorted.
pub(super) enum Answer {
    /// 2xx, and the body says nothing to the contrary.
    Done(Value),
    /// What was to be created is there; with the body, which may name it.
    Exists(Failure, Value),
    /// It is not there.
    Missing(Failure),
    Refused(Failure),
}

impl Answer {
    /// Reads a reply by the destination's `errors`.
    pub fn of(definition: &Definition, reply: &Reply, call: Call) -> Self {
        let body = reply.json().unwrap_or_default();
        let ok = definition.errors.ok.as_ref().is_none_or(|ok| ok.by(&body));
        if (200..300).contains(&reply.status) && ok {
            return Self::Done(body);
        }
        let (code, message) = words(definition, &body);
        let known = definition.errors.codes.get(&code);
        // An error in an answer with a good status is a refusal; by the status alone it would be none.
        let of_status = || definition.errors.statuses.get(&reply.status).or((reply.status < 300).then_some(&Meaning::Permanent));
        let sorted = match known.or_else(of_status) {
            Some(meaning) => meant(*meaning, call, reply.status, &code, &message, body),
            None => match reply.status {
                404 | 410 if matches!(call, Call::Read) => Self::Missing(by_status(reply, call, &code, &message)),
                _ => Self::Refused(by_status(reply, call, &code, &message)),
            },
        };
        sorted.with(definition, reply)
    }

    /// Whether a look-up found nothing.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing(_))
    }

    fn with(self, definition: &Definition, reply: &Reply) -> Self {
        let fields = || named(definition, &reply.json().unwrap_or_default());
        let add = |failure: Failure| {
            let throttled = failure.class == Class::Throttled;
            let retry_after = if throttled { reset(definition, reply) } else { None };
            Failure { fields: fields(), retry_after, ..failure }
        };
        match self {
            Self::Done(body) => Self::Done(body),
            Self::Exists(failure, body) => Self::Exists(add(failure), body),
            Self::Missing(failure) => Self::Missing(add(failure)),
            Self::Refused(failure) => Self::Refused(add(failure)),
        }
    }
}

/// The API's own code and sentence.
fn words(definition: &Definition, body: &Value) -> (String, String) {
    let text = |value: Option<&Value>| match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_)) | None => String::new(),
    };
    let errors = &definition.errors;
    let at = |pointer: &Option<super::template::Pointer>| text(pointer.as_ref().and_then(|pointer| pointer.get(body)));
    (at(&errors.code), at(&errors.message))
}

/// The fields that a refusal names: texts, or the names of an object's members.
fn named(definition: &Definition, body: &Value) -> Vec<String> {
    let Some(pointer) = &definition.errors.fields else { return Vec::new() };
    let mut fields = Vec::new();
    for value in pointer.all(body) {
        match value {
            Value::String(field) => fields.push(field.clone()),
            Value::Array(entries) => fields.extend(entries.iter().filter_map(Value::as_str).map(str::to_owned)),
            Value::Object(members) => fields.extend(members.keys().cloned()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    fields.truncate(FIELDS_MAX);
    fields
}

fn reset(definition: &Definition, reply: &Reply) -> Option<Duration> {
    let limits = definition.limits.as_ref()?;
    let seconds = limits.reset.as_ref().and_then(|name| reply.header(name)?.trim().parse::<u64>().ok());
    // Without a word of when the window ends it has ended after its length, at most.
    Some(seconds.map_or(limits.per.min(Duration::from_secs(60)), |seconds| Duration::from_secs(seconds.clamp(1, RESET_MAX))))
}

fn meant(meaning: Meaning, call: Call, status: u16, code: &str, message: &str, body: Value) -> Answer {
    let ours = match call {
        Call::One(_) => Scope::Record,
        Call::Many => Scope::Call,
        Call::Read => Scope::Destination,
    };
    let http = format!("http_{status}");
    let said = |otherwise: &'static str| if message.is_empty() { otherwise } else { message };
    let failure = |class, scope, otherwise| Failure::new(class, scope, if code.is_empty() { &http } else { code }, said(otherwise));
    match meaning {
        Meaning::Retryable => {
            let scope = if ours == Scope::Destination { Scope::Call } else { ours };
            Answer::Refused(failure(Class::Retryable, scope, "the API asks to try again"))
        }
        Meaning::Throttled => Answer::Refused(failure(Class::Throttled, Scope::Destination, "too many calls")),
        Meaning::Auth => Answer::Refused(failure(Class::Auth, Scope::Destination, "the credentials were refused: renew them")),
        Meaning::Conflict => {
            let scope = if ours == Scope::Destination { Scope::Call } else { ours };
            Answer::Refused(failure(Class::Conflict, scope, "another write came between"))
        }
        Meaning::Permanent if ours == Scope::Call => {
            Answer::Refused(failure(Class::Conflict, Scope::Call, "the API refused the request without saying which record it is about"))
        }
        Meaning::Permanent => Answer::Refused(failure(Class::Permanent, ours, "the API refused the record")),
        Meaning::Unknown => Answer::Refused(failure(Class::Unknown, Scope::Call, "whether the API has done this is not known")),
        Meaning::Exists => Answer::Exists(failure(Class::Conflict, ours, "the record is there already"), body),
        Meaning::Missing => Answer::Missing(missing(code, message)),
    }
}

/// Reads the answer to a write.
pub(super) fn written(definition: &Definition, operation: &Operation, batch: &WriteBatch, reply: &Reply) -> Outcome<Written> {
    let count = batch.records.len();
    let call = if operation.batch.is_some() { Call::of(batch.mode, count) } else { Call::One(batch.mode) };
    match Answer::of(definition, reply, call) {
        Answer::Done(body) if succeeded(operation, reply.status) => match &operation.batch {
            Some(many) => results(definition, operation, many, batch, reply, &body),
            None => batch
                .records
                .iter()
                .map(|record| one(operation, batch, record, reply, &body))
                .collect::<Result<_, _>>()
                .map(|written: Vec<_>| written.into_iter().map(Ok).collect()),
        },
        Answer::Done(_) => Err(Failure::new(
            Class::Unknown,
            Scope::Call,
            format!("http_{}", reply.status),
            "the API answered with a status that `success` does not list; whether it has done this is not known",
        )),
        Answer::Exists(failure, body) if count == 1 => Ok(vec![there(operation, batch, failure, &body)]),
        Answer::Missing(failure) if count == 1 => Ok(vec![absent(batch, failure)]),
        Answer::Exists(failure, _) | Answer::Missing(failure) | Answer::Refused(failure) => {
            let gone = matches!(reply.status, 404 | 410) && count == 1 && is_known(batch);
            if gone && !definition.errors.statuses.contains_key(&reply.status) {
                return Ok(vec![absent(batch, missing(&failure.code, ""))]);
            }
            placed(failure, count)
        }
    }
}

/// 202 says that something will be done, if all goes well.
fn succeeded(operation: &Operation, status: u16) -> bool {
    if operation.success.is_empty() { status != 202 } else { operation.success.contains(&status) }
}

/// Whether the only record was there when it was last heard of, so that "nothing there" can only mean the record.
fn is_known(batch: &WriteBatch) -> bool {
    batch.records.iter().all(|record| record.crm_id.is_some())
}

fn there(operation: &Operation, batch: &WriteBatch, failure: Failure, body: &Value) -> Result<Written, Failure> {
    if batch.mode != Mode::CreateOnly {
        return Err(Failure { scope: Scope::Record, ..failure });
    }
    let key = || batch.records.first().map(|record| record.key.clone());
    let crm_id = match &operation.id {
        Some(pointer) => pointer.get(body).and_then(id_of),
        None => key(),
    };
    Ok(Written { crm_id, created: Some(false) })
}

fn absent(batch: &WriteBatch, failure: Failure) -> Result<Written, Failure> {
    match batch.mode {
        // Gone is what was wanted.
        Mode::Delete => Ok(Written::default()),
        Mode::Upsert | Mode::UpdateOnly | Mode::CreateOnly => Err(Failure { scope: Scope::Record, ..failure }),
    }
}

/// The result of one record, in `body`.
fn one(operation: &Operation, batch: &WriteBatch, record: &WriteRecord, reply: &Reply, body: &Value) -> Result<Written, Failure> {
    if batch.mode == Mode::Delete {
        return Ok(Written::default());
    }
    let crm_id = match &operation.id {
        // Of a record that was changed by its id, the id is known.
        Some(pointer) => pointer.get(body).and_then(id_of).or_else(|| record.crm_id.clone()).ok_or_else(|| garbage(reply))?,
        None => record.crm_id.clone().unwrap_or_else(|| record.key.clone()),
    };
    let created = match (batch.mode, record.crm_id.is_some(), &operation.created) {
        (Mode::UpdateOnly, _, _) | (Mode::Upsert, true, None) => false,
        (_, _, Some(created)) => created.by(body),
        (_, _, None) => reply.status == 201 || batch.mode == Mode::CreateOnly,
    };
    Ok(Written { crm_id: Some(crm_id), created: Some(created) })
}

/// The results of a batch. Whose none can be made out has an unknown outcome.
fn results(
    definition: &Definition,
    operation: &Operation,
    many: &Batch,
    batch: &WriteBatch,
    reply: &Reply,
    body: &Value,
) -> Outcome<Written> {
    let rows = many.results.get(body).and_then(Value::as_array).ok_or_else(|| garbage(reply))?;
    let lost = || Err(unclear("the answer holds no result for this record"));
    let Some(pointer) = &many.key else {
        // By their order only if there is one for each: a list that lacks one says of none whose it is.
        if rows.len() != batch.records.len() {
            return Err(garbage(reply));
        }
        return Ok(batch
            .records
            .iter()
            .zip(rows)
            .map(|(record, row)| result(definition, operation, many, batch, record, reply, row))
            .collect());
    };
    let canonical = |key: &str| key.trim().to_lowercase();
    let mut by_key: BTreeMap<String, Option<&Value>> = BTreeMap::new();
    for row in rows {
        let key = pointer.get(row).and_then(id_of).map(|key| canonical(&key));
        // Two results of one key contradict each other, or say the same: neither is believed.
        by_key.entry(key.unwrap_or_default()).and_modify(|held| *held = None).or_insert(Some(row));
    }
    let of = |record: &WriteRecord| match by_key.get(&canonical(&record.key)).copied().flatten() {
        Some(row) => result(definition, operation, many, batch, record, reply, row),
        None => lost(),
    };
    Ok(batch.records.iter().map(of).collect())
}

fn result(
    definition: &Definition,
    operation: &Operation,
    many: &Batch,
    batch: &WriteBatch,
    record: &WriteRecord,
    reply: &Reply,
    row: &Value,
) -> Result<Written, Failure> {
    let status = many.status.as_ref().and_then(|pointer| u16::try_from(pointer.get(row)?.as_u64()?).ok());
    let troubled = many.error.as_ref().and_then(|pointer| pointer.get(row)).is_some_and(|error| match error {
        Value::Null | Value::Bool(false) => false,
        Value::Array(entries) => !entries.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) | Value::Object(_) => true,
    });
    let refused = troubled
        || status.is_some_and(|status| !(200..300).contains(&status))
        || many.ok.as_ref().is_some_and(|ok| !ok.by(row))
        || (many.status.is_some() && status.is_none());
    if !refused {
        let own = Reply { status: status.unwrap_or(reply.status), headers: Vec::new(), body: Vec::new() };
        return one(operation, batch, record, &own, row).map_err(|_| unclear("the record's result has no id"));
    }
    // A result is read as the answer to a call of its own would be; one that names no status is a refusal.
    let body = serde_json::to_vec(row).unwrap_or_default();
    let own = Reply { status: status.filter(|status| *status >= 300).unwrap_or(422), headers: Vec::new(), body };
    let alone =
        WriteBatch { records: vec![record.clone()], object: batch.object.clone(), key_field: batch.key_field.clone(), mode: batch.mode };
    match Answer::of(definition, &own, Call::One(batch.mode)) {
        Answer::Done(_) => Err(unclear("the record's result says neither that it was written nor that it was not")),
        Answer::Exists(failure, body) => there(operation, &alone, failure, &body),
        Answer::Missing(failure) => absent(&alone, failure),
        Answer::Refused(failure) if failure.scope == Scope::Call => Err(Failure { scope: Scope::Record, ..failure }),
        Answer::Refused(failure) => Err(failure),
    }
}

/// Reads what a look-up found.
pub(super) fn found(
    rest: &Rest,
    definition: &Definition,
    read: &Read,
    batch: &ReadBatch,
    reply: &Reply,
    by_id: bool,
) -> Outcome<Option<Present>> {
    let body = match Answer::of(definition, reply, Call::Read) {
        Answer::Done(body) => body,
        Answer::Missing(_) => return Ok(batch.records.iter().map(|_| Ok(None)).collect()),
        Answer::Exists(failure, _) | Answer::Refused(failure) => return Err(failure),
    };
    let single = || read.item.get(&body).filter(|item| item.is_object()).ok_or_else(|| garbage(reply));
    let rows: Vec<&Value> = match &read.items {
        Some(pointer) if !by_id => pointer.get(&body).and_then(Value::as_array).ok_or_else(|| garbage(reply))?.iter().collect(),
        Some(_) | None => vec![single()?],
    };
    let shown = |row: &Value| read.key.as_ref().map(|pointer| pointer.get(row).and_then(id_of).map(|key| rest.canonical_key(&key)));
    batch.records.iter().map(|sought| Ok(of_key(rest, read, batch, sought, &rows, &shown, by_id))).collect()
}

fn of_key(
    rest: &Rest,
    read: &Read,
    batch: &ReadBatch,
    sought: &Sought,
    rows: &[&Value],
    shown: &dyn Fn(&Value) -> Option<Option<String>>,
    by_id: bool,
) -> Result<Option<Present>, Failure> {
    let wanted = rest.canonical_key(&sought.key);
    // A record that was found by its id may have been given another key by a person.
    let matching: Vec<&&Value> = rows.iter().filter(|row| by_id || shown(row).is_none_or(|key| key.as_ref() == Some(&wanted))).collect();
    let present = |row: &Value| {
        let id = match &read.id {
            Some(pointer) => pointer.get(row).and_then(id_of),
            None => Some(sought.key.clone()),
        };
        id.map(|crm_id| held(read, batch, row, crm_id))
    };
    match matching.as_slice() {
        [] => Ok(None),
        [row] => present(row).map(Some).ok_or_else(|| unclear("the record that was found has no id")),
        several => {
            let ids: Vec<String> = several.iter().filter_map(|row| present(row)).map(|present| present.crm_id).collect();
            Err(ambiguous(ids.iter().map(String::as_str)))
        }
    }
}

fn held(read: &Read, batch: &ReadBatch, row: &Value, crm_id: String) -> Present {
    let record = read.record.get(row);
    let value = |field: &String| match read.fields.get(field) {
        Some(pointer) => pointer.get(row).cloned(),
        None => record.and_then(|record| record.get(field)).cloned(),
    };
    let fields = batch.fields.iter().map(|field| (field.clone(), value(field).unwrap_or_default())).collect();
    Present { crm_id, fields, modified_at: read.modified_at.as_ref().and_then(|pointer| told_at(pointer.get(row)?)) }
}

/// When a record was changed, in whichever of the usual forms it is told.
fn told_at(value: &Value) -> Option<Time> {
    match value {
        Value::String(text) => instant(text),
        // Seconds until the year 2286, milliseconds after 1970-04-26.
        Value::Number(number) => {
            number.as_i64().filter(|at| *at > 0).map(|at| if at < 10_000_000_000 { Time::from_seconds(at) } else { Time::from_millis(at) })
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
