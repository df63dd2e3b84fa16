//! Attio: records asserted by a unique attribute (crm-apis.md, section 7; docs.attio.com).
//!
//! Level B: one record a call, keyed; a record is read by its id, or found by the key. Attio lets no attribute of one's own be unique on people
//! and companies, so their keys are `email_addresses` and `domains`; everywhere else a unique text attribute is the key. What a record is
//! matched by is added to, every other list is replaced. An answer never says whether it created.

mod refusal;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::time::Duration;

use model::event::Mode;
use model::{Class, Failure, Scope};
use reqwest::Method;
use serde_json::{Map, Value, json};

use self::refusal::{of_write, refused};
use super::refusal::{Call, ambiguous, garbage, placed};
use super::same::same;
use crate::connector::last;
use crate::wire::encode;
use crate::{
    AuthKind, Body, Connector, Description, FieldDescription, FieldKind, Level, Limits, Outcome, Present, ReadBatch, Repeat, Reply,
    Request, Settings, SettingsError, Setup, Statement, WriteBatch, Written,
};

/// A workspace's access token; tokens of OAuth apps do not end either.
pub(super) const TAKES: &[AuthKind] = &[AuthKind::Bearer];
/// 25 writes in any second are allowed; with a second's worth saved up, these are 24.
pub(super) const CALLS: u32 = 12;
/// Long enough for every address and domain.
const KEY_MAX: usize = 255;

/// The translator for Attio.
#[derive(Clone, Debug)]
pub struct Attio;

impl Attio {
    /// A translator. There is one version of the API, which is part of its paths.
    ///
    /// # Errors
    ///
    /// A version was asked for.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        match settings.api_version.as_deref() {
            None | Some("v2") => Ok(Self),
            Some(other) => Err(SettingsError::ApiVersion(format!("`{other}` is not spoken here; leave it out, or write `v2`"))),
        }
    }
}

fn path(object: &str, rest: &str) -> String {
    format!("/v2/objects/{object}/records{rest}")
}

fn refuse(class: Class, scope: Scope, code: &str, message: &str) -> Failure {
    Failure::new(class, scope, code, message)
}

/// Slugs and ids of objects, attributes and records: what goes into a path.
fn check_name(name: &str) -> Result<(), Failure> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=100).contains(&name.len()) && name.bytes().all(good) {
        return Ok(());
    }
    let message = format!("`{}` is no slug or id of Attio's: correct the destination's mapping", name.escape_default());
    Err(refuse(Class::Permanent, Scope::Call, "invalid_name", &message))
}

fn check_key(key: &str) -> Result<(), Failure> {
    if key.trim().is_empty() || key.chars().count() > KEY_MAX {
        return Err(refuse(Class::Permanent, Scope::Call, "invalid_key", "a key is 1 to 255 characters, not only spaces"));
    }
    Ok(())
}

/// The one record of a call.
fn only<T>(records: &[T]) -> Result<&T, Failure> {
    match records {
        [record] => Ok(record),
        [] => Err(refuse(Class::Permanent, Scope::Call, "empty_batch", "nothing was asked for; this is a bug of ours")),
        [..] => Err(refuse(Class::Conflict, Scope::Call, "too_large", "Attio takes one record a call")),
    }
}

impl Connector for Attio {
    fn level(&self) -> Level {
        Level::B
    }

    fn statement(&self) -> Statement {
        Statement {
            created_from_updated: "nothing: the answer is the same for both",
            cannot: "people can only be keyed by `email_addresses` and companies by `domains`: whoever gets another address becomes another record",
        }
    }

    /// Only a record's id leads to it without creating it, so it has to be looked up before a first change.
    fn repeat(&self, _object: &str, mode: Mode) -> Repeat {
        match mode {
            Mode::UpdateOnly => Repeat::Look,
            Mode::Upsert | Mode::CreateOnly | Mode::Delete => Repeat::Keyed,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            write_batch: 1,
            read_batch: 1,
            call_timeout: Duration::from_secs(30),
            late_window: Duration::from_secs(300),
            retry_after_max: Duration::from_secs(3_600),
        }
    }

    fn canonical_key(&self, key: &str) -> String {
        key.trim().to_lowercase()
    }

    fn equal(&self, _field: &str, a: &Value, b: &Value) -> bool {
        same(a, b)
    }

    fn write_fits(&self, batch: &WriteBatch) -> usize {
        batch.records.len().min(1)
    }

    fn write(&self, batch: &WriteBatch) -> Result<Request, Failure> {
        let record = only(&batch.records)?;
        check_key(&record.key)?;
        [&batch.object, &batch.key_field].into_iter().chain(record.fields.keys()).try_for_each(|name| check_name(name))?;
        let mut values: Map<String, Value> = record.fields.iter().map(|(slug, given)| (slug.clone(), value::spelled(given))).collect();
        let keyed = matches!(batch.mode, Mode::Upsert | Mode::CreateOnly);
        if keyed {
            values.insert(batch.key_field.clone(), json!([record.key]));
        } else {
            values.remove(&batch.key_field);
        }
        let body = Body::Json(json!({ "data": { "values": values } }));
        let by_id = || {
            let unknown = "a record that Attio is only to change is looked up first, and was not; this is a bug of ours";
            let id = record.crm_id.as_deref().ok_or_else(|| refuse(Class::Permanent, Scope::Call, "invalid_id", unknown))?;
            check_name(id).map(|()| path(&batch.object, &format!("/{id}")))
        };
        Ok(match batch.mode {
            Mode::Upsert => {
                let query = format!("?matching_attribute={}", encode(&batch.key_field));
                Request::new(Method::PUT, path(&batch.object, &query), body)
            }
            Mode::CreateOnly => Request::new(Method::POST, path(&batch.object, ""), body),
            // PUT replaces lists, as an assert does; PATCH would only add to them.
            Mode::UpdateOnly => Request::new(Method::PUT, by_id()?, body),
            Mode::Delete => Request::new(Method::DELETE, by_id()?, Body::None),
        })
    }

    fn written(&self, batch: &WriteBatch, reply: &Reply) -> Outcome<Written> {
        if reply.status != 200 && reply.status != 201 && reply.status != 204 {
            return of_write(batch, reply);
        }
        if batch.mode == Mode::Delete {
            return Ok(vec![Ok(Written::default())]);
        }
        let body = reply.json().unwrap_or_default();
        let id = body["data"]["id"]["record_id"].as_str().filter(|id| check_name(id).is_ok()).ok_or_else(|| garbage(reply))?;
        let created = match batch.mode {
            Mode::CreateOnly => Some(true),
            Mode::UpdateOnly => Some(false),
            Mode::Upsert | Mode::Delete => None,
        };
        Ok(vec![Ok(Written { crm_id: Some(id.to_owned()), created })])
    }

    fn read_fits(&self, batch: &ReadBatch) -> usize {
        batch.records.len().min(1)
    }

    /// By the id where it is known, which is surest; else by the key.
    fn read(&self, batch: &ReadBatch) -> Result<Request, Failure> {
        let sought = only(&batch.records)?;
        check_key(&sought.key)?;
        [&batch.object, &batch.key_field].into_iter().chain(&batch.fields).try_for_each(|name| check_name(name))?;
        if let Some(id) = &sought.crm_id {
            check_name(id)?;
            return Ok(Request::new(Method::GET, path(&batch.object, &format!("/{id}")), Body::None));
        }
        let filter: Map<String, Value> = [(batch.key_field.clone(), json!(sought.key.trim()))].into_iter().collect();
        Ok(Request::new(Method::POST, path(&batch.object, "/query"), Body::Json(json!({ "filter": filter, "limit": 3 }))))
    }

    fn found(&self, batch: &ReadBatch, replies: &[Reply]) -> Outcome<Option<Present>> {
        let (reply, sought) = (last(replies)?, only(&batch.records)?);
        if reply.status == 404 && sought.crm_id.is_some() {
            return Ok(vec![Ok(None)]);
        }
        if reply.status != 200 {
            return placed(refused(reply, Call::Read), 1);
        }
        let mut body = reply.json().unwrap_or_default();
        let rows = match body["data"].take() {
            Value::Array(rows) => rows,
            row @ Value::Object(_) => vec![row],
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return Err(garbage(reply)),
        };
        let present = |row: &Value| {
            let crm_id = row["id"]["record_id"].as_str().filter(|id| check_name(id).is_ok())?.to_owned();
            let values = row.get("values").filter(|values| values.is_object())?;
            let fields: BTreeMap<String, Value> = batch.fields.iter().map(|slug| (slug.clone(), value::plain(&values[slug]))).collect();
            Some(Present { crm_id, fields, modified_at: value::modified(values) })
        };
        let rows: Vec<Present> = rows.iter().map(present).collect::<Option<_>>().ok_or_else(|| garbage(reply))?;
        Ok(vec![match rows.as_slice() {
            [] => Ok(None),
            [row] => Ok(Some(row.clone())),
            several => Err(ambiguous(several.iter().map(|row| row.crm_id.as_str()))),
        }])
    }

    fn describe(&self, object: &str) -> Vec<Request> {
        vec![Request::new(Method::GET, format!("/v2/objects/{}/attributes?limit=500", encode(object)), Body::None)]
    }

    fn described(&self, _object: &str, replies: &[Reply]) -> Result<Description, Failure> {
        let reply = last(replies)?;
        if reply.status != 200 {
            return Err(refused(reply, Call::Read));
        }
        let body = reply.json().unwrap_or_default();
        let listed = body["data"].as_array().ok_or_else(|| garbage(reply))?;
        let live = listed.iter().filter(|attribute| attribute["is_archived"] != true);
        Ok(Description {
            fields: live.filter_map(|attribute| Some((attribute["api_slug"].as_str()?.to_owned(), field(attribute)))).collect(),
        })
    }

    fn setup(&self, object: &str, key_field: &str) -> Setup {
        match (object, key_field) {
            ("people", "email_addresses") | ("companies", "domains") => {
                Setup::Instructions(format!("`{key_field}` is unique in Attio from the start; nothing has to be made"))
            }
            ("people" | "companies", _) => {
                let own = if object == "people" { "email_addresses" } else { "domains" };
                Setup::Instructions(format!(
                    "Attio lets no attribute of one's own be unique on {object}: write `key = {{ field = \"{own}\", from = … }}`, or keep these \
                     records in an object of your own, where a unique attribute can be made"
                ))
            }
            _ => {
                let attribute = json!({ "data": { "title": "Onceward key", "api_slug": key_field, "type": "text",
                    "description": "The key by which Onceward finds this record. Do not change it by hand.",
                    "is_required": false, "is_unique": true, "is_multiselect": false, "config": {} } });
                let path = format!("/v2/objects/{}/attributes", encode(object));
                Setup::Calls(vec![Request::new(Method::POST, path, Body::Json(attribute))])
            }
        }
    }

    fn probe(&self) -> Request {
        Request::new(Method::GET, "/v2/self", Body::None)
    }

    fn probed(&self, reply: &Reply) -> Result<(), Failure> {
        match reply.status {
            200 => match reply.json().unwrap_or_default()["active"].as_bool() {
                Some(true) => Ok(()),
                Some(false) => {
                    let message = "the token is no longer good: make another one in the workspace's developer settings";
                    Err(refuse(Class::Auth, Scope::Destination, "unauthorized", message))
                }
                None => Err(garbage(reply)),
            },
            _ => Err(refused(reply, Call::Read)),
        }
    }
}

/// One attribute of an object, as it is listed. Options of a selection have a resource of their own each, and are not asked for.
fn field(attribute: &Value) -> FieldDescription {
    let flag = |name: &str| attribute[name].as_bool();
    let several = flag("is_multiselect").unwrap_or_default();
    let kind = match attribute["type"].as_str().unwrap_or_default() {
        "text" | "personal-name" | "email-address" | "domain" | "phone-number" => FieldKind::Text,
        "number" | "currency" | "rating" => FieldKind::Number,
        "checkbox" => FieldKind::Boolean,
        "date" => FieldKind::Date,
        "timestamp" => FieldKind::DateTime,
        "select" | "status" => FieldKind::Choice { options: Vec::new(), several, open: true },
        "record-reference" => FieldKind::Reference,
        other => FieldKind::Other(other.to_owned()),
    };
    let writable = flag("is_writable").unwrap_or(true);
    let (required, unique) = (flag("is_required").unwrap_or_default(), flag("is_unique").unwrap_or_default());
    FieldDescription { kind, length_max: None, creatable: writable, updatable: writable, required, unique }
}
