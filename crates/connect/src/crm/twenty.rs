//! Twenty: upserts by a unique field through the REST API that it generates from a workspace's objects (crm-apis.md, section 8; the
//! vendor's source for what an upsert does).
//!
//! Level B: up to 60 records a call, all or none; rows come back in another order than they went (what was updated first), so they are told
//! by their key. A field that is part of a composite one is written with a dot: `emails.primaryEmail`. An upsert also matches by every other
//! unique field of the object, among what was deleted as well, which it brings back.

#[cfg(test)]
mod tests;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::event::Mode;
use model::record::Link;
use model::{Class, Failure, Scope, Time};
use reqwest::Method;
use serde_json::{Map, Value};

use super::refusal::{Call, ambiguous, by_status, garbage, missing, placed, several};
use super::same::{hushed, naming, same};
use crate::connector::last;
use crate::wire::encode;
use crate::{
    AuthKind, Body, Connector, Description, Level, Limits, Outcome, Present, ReadBatch, Repeat, Reply, Request, Settings, SettingsError,
    Setup, Sought, Statement, WriteBatch, WriteRecord, Written,
};

/// An API key.
pub(super) const TAKES: &[AuthKind] = &[AuthKind::Bearer];
/// 100 in any minute on the hosted service; with a second's worth saved up, these are 61.
pub(super) const CALLS: u32 = 1;
/// Documented (docs.twenty.com/developers/extend/api); later releases take more.
const BATCH_MAX: usize = 60;
/// A filter's bytes before they are encoded: the whole address stays well under what servers take.
const FILTER_MAX: usize = 4_000;
const KEY_MAX: usize = 255;
/// The window of the hosted service.
const PAUSE: Duration = Duration::from_secs(60);

/// The translator for Twenty.
#[derive(Clone, Debug)]
pub struct Twenty;

impl Twenty {
    /// A translator. The API has no versions; a workspace's own objects are its version.
    ///
    /// # Errors
    ///
    /// A version was asked for.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        match settings.api_version.as_deref() {
            None => Ok(Self),
            Some(other) => Err(SettingsError::ApiVersion(format!("Twenty's API has no versions, so `{other}` is none: leave it out"))),
        }
    }
}

/// The plural name of an object, or a field, with a dot for a part of a composite one.
pub(super) fn is_name(name: &str) -> bool {
    let part =
        |part: &str| part.starts_with(|first: char| first.is_ascii_alphabetic()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    name.len() <= 100 && name.split('.').count() <= 2 && name.split('.').all(part)
}

fn refuse(class: Class, code: &str, message: &str) -> Failure {
    Failure::new(class, Scope::Call, code, message)
}

fn check_name(name: &str) -> Result<(), Failure> {
    if is_name(name) {
        return Ok(());
    }
    let message = format!("`{}` is no name of an object or a field of Twenty's: correct the destination's mapping", name.escape_default());
    Err(refuse(Class::Permanent, "invalid_name", &message))
}

fn check_key(key: &str) -> Result<(), Failure> {
    // Quotation marks and backslashes could end the text in a filter.
    if key.trim().is_empty() || key.chars().count() > KEY_MAX || key.contains(['"', '\\']) || key.chars().any(char::is_control) {
        return Err(refuse(Class::Permanent, "invalid_key", "a key is 1 to 255 characters without quotation marks and backslashes"));
    }
    Ok(())
}

fn check_id(id: &str) -> Result<(), Failure> {
    let good = id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if good { Ok(()) } else { Err(refuse(Class::Permanent, "invalid_id", "a record's id is a UUID")) }
}

/// The id of the record of a call that takes one.
fn id_of(record: &WriteRecord) -> Result<&str, Failure> {
    let unknown = "a record that is only to be changed is looked up first, and was not; this is a bug of ours";
    let id = record.crm_id.as_deref().ok_or_else(|| refuse(Class::Permanent, "invalid_id", unknown))?;
    check_id(id).map(|()| id)
}

impl Connector for Twenty {
    fn level(&self) -> Level {
        Level::B
    }

    fn statement(&self) -> Statement {
        Statement {
            created_from_updated: "nothing: the answer is the same for both",
            cannot: "an upsert brings a deleted record back, and takes one that has another unique value in common (an e-mail address, a domain); \
                     one refused record refuses the call, which is then halved",
        }
    }

    /// What changes without creating, and what creates without changing, needs to know first whether the record is there.
    fn repeat(&self, _object: &str, mode: Mode) -> Repeat {
        match mode {
            Mode::UpdateOnly | Mode::CreateOnly => Repeat::Look,
            Mode::Upsert | Mode::Delete => Repeat::Keyed,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            write_batch: BATCH_MAX,
            read_batch: BATCH_MAX,
            call_timeout: Duration::from_secs(60),
            late_window: Duration::from_secs(300),
            retry_after_max: Duration::from_secs(3_600),
        }
    }

    fn canonical_key(&self, key: &str) -> String {
        key.trim().to_owned()
    }

    fn equal(&self, _field: &str, a: &Value, b: &Value) -> bool {
        same(a, b)
    }

    fn write_fits(&self, batch: &WriteBatch) -> usize {
        let most = match batch.mode {
            Mode::Upsert | Mode::CreateOnly => BATCH_MAX,
            // By the record's own resource: there is no keyed change of several.
            Mode::UpdateOnly | Mode::Delete => 1,
        };
        batch.records.len().min(most)
    }

    fn write(&self, batch: &WriteBatch) -> Result<Request, Failure> {
        let first = batch
            .records
            .first()
            .ok_or_else(|| refuse(Class::Permanent, "empty_batch", "nothing was to be written; this is a bug of ours"))?;
        if batch.records.len() > self.write_fits(batch) {
            return Err(refuse(Class::Conflict, "too_large", "more records than fit into one call"));
        }
        check_name(&batch.object)?;
        check_name(&batch.key_field)?;
        let mut keys = BTreeSet::new();
        for record in &batch.records {
            check_key(&record.key)?;
            record.fields.keys().try_for_each(|name| check_name(name))?;
            if !keys.insert(self.canonical_key(&record.key)) {
                return Err(refuse(Class::Conflict, "duplicate_key", "one key is twice in this call"));
            }
        }
        let object = encode(&batch.object);
        Ok(match batch.mode {
            Mode::Upsert | Mode::CreateOnly => {
                let rows: Vec<Value> =
                    batch.records.iter().map(|record| value::row(record, Some(&batch.key_field))).collect::<Result<_, _>>()?;
                let upsert = if batch.mode == Mode::Upsert { "&upsert=true" } else { "" };
                Request::new(Method::POST, format!("/rest/batch/{object}?depth=0{upsert}"), Body::Json(Value::Array(rows)))
            }
            Mode::UpdateOnly => {
                let row = value::row(first, None)?;
                Request::new(Method::PATCH, format!("/rest/{object}/{}?depth=0", id_of(first)?), Body::Json(row))
            }
            Mode::Delete => Request::new(Method::DELETE, format!("/rest/{object}/{}", id_of(first)?), Body::None),
        })
    }

    fn written(&self, batch: &WriteBatch, reply: &Reply) -> Outcome<Written> {
        if !matches!(reply.status, 200 | 201) {
            return refused_write(batch, reply);
        }
        let rows = rows(reply).ok_or_else(|| garbage(reply))?;
        match batch.mode {
            Mode::Delete => return Ok(batch.records.iter().map(|_| Ok(Written::default())).collect()),
            Mode::UpdateOnly => {
                let id = rows.first().and_then(|row| row["id"].as_str()).filter(|id| check_id(id).is_ok()).ok_or_else(|| garbage(reply))?;
                return Ok(vec![Ok(Written { crm_id: Some(id.to_owned()), created: Some(false) })]);
            }
            Mode::Upsert | Mode::CreateOnly => {}
        }
        let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in &rows {
            let id = row["id"].as_str().filter(|id| check_id(id).is_ok()).ok_or_else(|| garbage(reply))?;
            let key = value::plain(row, &batch.key_field).as_str().map(|key| self.canonical_key(key)).unwrap_or_default();
            told.entry(key).or_default().push(id.to_owned());
        }
        let created = (batch.mode == Mode::CreateOnly).then_some(true);
        let one = |record: &WriteRecord| match told.get(&self.canonical_key(&record.key)).map(Vec::as_slice) {
            Some([id]) => Ok(Written { crm_id: Some(id.clone()), created }),
            Some([..]) => Err(several()),
            None => {
                let message = "the answer holds no row with this record's key";
                Err(Failure::new(Class::Unknown, Scope::Record, "no_result", message))
            }
        };
        Ok(batch.records.iter().map(one).collect())
    }

    fn read_fits(&self, batch: &ReadBatch) -> usize {
        let mut bytes = 0;
        let fits = |sought: &&Sought| {
            bytes += batch.key_field.len().max(2) + sought.crm_id.as_ref().map_or(sought.key.len(), String::len) + 8;
            bytes <= FILTER_MAX
        };
        batch.records.iter().take(BATCH_MAX).take_while(fits).count().max(batch.records.len().min(1))
    }

    fn read(&self, batch: &ReadBatch) -> Result<Request, Failure> {
        if batch.records.is_empty() {
            return Err(refuse(Class::Permanent, "empty_batch", "nothing was asked for; this is a bug of ours"));
        }
        if batch.records.len() > self.read_fits(batch) {
            return Err(refuse(Class::Conflict, "too_large", "more keys than fit into one call"));
        }
        [&batch.object, &batch.key_field].into_iter().chain(&batch.fields).try_for_each(|name| check_name(name))?;
        let mut wanted = Vec::with_capacity(batch.records.len());
        for sought in &batch.records {
            check_key(&sought.key)?;
            wanted.push(match &sought.crm_id {
                Some(id) => check_id(id).map(|()| format!("id[eq]:\"{id}\""))?,
                None => format!("{}[eq]:\"{}\"", batch.key_field, sought.key.trim()),
            });
        }
        let filter = if wanted.len() == 1 { wanted.concat() } else { format!("or({})", wanted.join(",")) };
        let path = format!("/rest/{}?depth=0&limit={BATCH_MAX}&filter={}", encode(&batch.object), encode(&filter));
        Ok(Request::new(Method::GET, path, Body::None))
    }

    fn found(&self, batch: &ReadBatch, replies: &[Reply]) -> Outcome<Option<Present>> {
        let reply = last(replies)?;
        if reply.status != 200 {
            return placed(refused(reply, Call::Read), batch.records.len());
        }
        let rows = rows(reply).ok_or_else(|| garbage(reply))?;
        if reply.json().is_some_and(|body| body["pageInfo"]["hasNextPage"] == true) {
            return Err(garbage(reply));
        }
        let present = |row: &Value| {
            let crm_id = row["id"].as_str().filter(|id| check_id(id).is_ok())?.to_owned();
            let fields = batch.fields.iter().map(|field| (field.clone(), value::plain(row, field))).collect();
            let key = value::plain(row, &batch.key_field).as_str().map(|key| self.canonical_key(key));
            Some((key, Present { crm_id, fields, modified_at: row["updatedAt"].as_str().and_then(Time::parse_rfc3339) }))
        };
        let rows: Vec<(Option<String>, Present)> = rows.iter().map(present).collect::<Option<_>>().ok_or_else(|| garbage(reply))?;
        let one = |sought: &Sought| {
            let key = Some(self.canonical_key(&sought.key));
            let ours = rows.iter().filter(|(held, row)| match &sought.crm_id {
                Some(id) => row.crm_id.eq_ignore_ascii_case(id),
                None => *held == key,
            });
            match ours.map(|(_, row)| row).collect::<Vec<_>>().as_slice() {
                [] => Ok(None),
                [row] => Ok(Some((*row).clone())),
                several => Err(ambiguous(several.iter().map(|row| row.crm_id.as_str()))),
            }
        };
        Ok(batch.records.iter().map(one).collect())
    }

    fn describe(&self, _object: &str) -> Vec<Request> {
        vec![Request::new(Method::GET, "/rest/metadata/objects?limit=1000", Body::None)]
    }

    fn described(&self, object: &str, replies: &[Reply]) -> Result<Description, Failure> {
        let reply = last(replies)?;
        if reply.status != 200 {
            return Err(refused(reply, Call::Read));
        }
        value::described(object, &reply.json().unwrap_or_default()).ok_or_else(|| {
            let message = format!("Twenty has no object `{object}`: write its plural API name, such as `people`");
            refuse(Class::Permanent, "no_object", &message)
        })
    }

    fn setup(&self, object: &str, key_field: &str) -> Setup {
        Setup::Instructions(format!(
            "in Settings → Data model, open the object whose plural API name is `{object}`, add a field of type Text with the API name \
             `{key_field}`, and switch on *Unique* under its advanced settings"
        ))
    }

    fn probe(&self) -> Request {
        Request::new(Method::GET, "/rest/companies?limit=1&depth=0", Body::None)
    }

    fn probed(&self, reply: &Reply) -> Result<(), Failure> {
        match reply.status {
            200 if rows(reply).is_some() => Ok(()),
            200 => Err(garbage(reply)),
            _ => Err(refused(reply, Call::Read)),
        }
    }
}

/// The rows of an answer: the only member of `data`, whose name differs from one release and operation to another.
fn rows(reply: &Reply) -> Option<Vec<Value>> {
    let mut body = reply.json()?;
    let data: &mut Map<String, Value> = body.get_mut("data")?.as_object_mut()?;
    let mut members = data.values_mut().map(Value::take);
    match (members.next()?, members.next()) {
        (Value::Array(rows), None) => Some(rows),
        (row @ Value::Object(_), None) => Some(vec![row]),
        (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_), _) => None,
    }
}

/// Name and messages of a refusal: `{"statusCode":400,"error":"BadRequestException","messages":["…"]}`.
fn told(reply: &Reply) -> (String, String) {
    let body = reply.json().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let messages = body["messages"].as_array().map(|messages| messages.iter().map(text).collect::<Vec<_>>().join("; "));
    (text(&body["error"]), messages.unwrap_or_else(|| text(&body["message"])))
}

fn refused(reply: &Reply, call: Call) -> Failure {
    let (code, message) = told(reply);
    let failure = by_status(reply, call, &code, &message);
    if reply.status == 429 { Failure { retry_after: Some(PAUSE), ..failure } } else { failure }
}

fn refused_write(batch: &WriteBatch, reply: &Reply) -> Outcome<Written> {
    let (code, message) = told(reply);
    let says = |words: &[&str]| words.iter().any(|word| message.to_lowercase().contains(word));
    let gone = matches!(reply.status, 400 | 404) && says(&["could not find any entity", "record not found", "not found"]);
    let doubled = matches!(reply.status, 400 | 409) && says(&["duplicate key value", "duplicate entry", "already exists"]);
    let matched = reply.status == 400 && says(&["multiple records found"]);
    // Told as any other error of the database: with 400. Nothing was written.
    let locked =
        matches!(reply.status, 400 | 409) && says(&["deadlock detected", "could not serialize", "lock timeout", "could not obtain lock"]);
    let [record] = batch.records.as_slice() else {
        if locked {
            return Err(refuse(Class::Retryable, "locked", "rows of this call were locked by another write"));
        }
        // Which record it is about is found by halving.
        return Err(refused(reply, Call::Many));
    };
    let failure = match batch.mode {
        Mode::Delete if gone => return Ok(vec![Ok(Written::default())]),
        Mode::UpdateOnly if gone => missing(&code, "Twenty has no record with this id any more"),
        Mode::CreateOnly if doubled => return Ok(vec![Ok(Written { crm_id: None, created: Some(false) })]),
        _ if matched => several(),
        _ if locked => Failure::new(Class::Retryable, Scope::Record, "locked", "the row was locked by another write"),
        // Another write may have come between looking and inserting, which are two steps.
        _ if doubled => Failure::new(Class::Conflict, Scope::Record, code, "another record has a value that must be unique"),
        Mode::Upsert | Mode::UpdateOnly | Mode::CreateOnly | Mode::Delete => refused(reply, Call::of(batch.mode, 1)),
    };
    if failure.scope != Scope::Record {
        return Err(failure);
    }
    let hushed = Failure { message: hushed(&failure.message, record), ..failure };
    Ok(vec![Err(naming(hushed, record, &message))])
}

/// The id that a link is written as.
fn linked(link: &Link) -> Result<Value, Failure> {
    let message = format!("the {} that this record points at has no id in Twenty yet", link.object);
    link.crm_id.clone().map(Value::from).ok_or_else(|| refuse(Class::Conflict, "parent_unknown", &message))
}
