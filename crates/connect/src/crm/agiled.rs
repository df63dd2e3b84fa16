//! Agiled: public API v1, written under idempotency keys (crm-apis.md, section 10; agiled-docs.pages.dev).
//!
//! Level C: there is no upsert and no unique field, and contacts are looked up by their e-mail address. What makes a creation exact is the
//! `Idempotency-Key`, which Agiled remembers for 30 days: the same bytes under the same key are answered with the first answer.

mod answer;
#[cfg(test)]
mod tests;

use std::time::Duration;

use model::event::Mode;
use model::{Class, Failure, Scope};
use reqwest::Method;
use serde_json::{Map, Value};

use self::answer::{data, refused, rows};
use super::refusal::{Call, ambiguous, garbage, missing, placed};
use super::same::{hushed, id_of, instant, naming, same};
use crate::connector::last;
use crate::wire::encode;
use crate::{
    AuthKind, Body, Connector, Level, Limits, Outcome, Present, ReadBatch, Repeat, Reply, Request, Settings, SettingsError, Setup,
    Statement, WriteBatch, WriteRecord, Written, valid_name,
};

/// Nobody's address is longer.
const KEY_MAX: usize = 255;

/// A scoped key of the workspace, which is a bearer token.
pub(super) const TAKES: &[AuthKind] = &[AuthKind::Bearer, AuthKind::ApiKey];
/// Documented for writes, a minute and token.
pub(super) const CALLS: u32 = 30;
/// In which time.
pub(super) const PER: Duration = Duration::from_secs(60);

/// The translator for Agiled.
#[derive(Clone, Debug)]
pub struct Agiled {
    /// `/public/v1`.
    root: String,
}

impl Agiled {
    /// A translator for the public API v1.
    ///
    /// # Errors
    ///
    /// Another version is asked for: the legacy API knows no idempotency keys and carries its token in the URL.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        match settings.api_version.as_deref() {
            None | Some("v1") => Ok(Self { root: "/public/v1".to_owned() }),
            Some(other) => Err(SettingsError::ApiVersion(format!("`{other}` is not spoken here; leave it out for the public API `v1`"))),
        }
    }

    fn request(&self, method: Method, path: &str, body: Body) -> Request {
        let mut request = Request::new(method, format!("{}{path}", self.root), body);
        request.headers.push(("accept".to_owned(), "application/json".to_owned()));
        request
    }

    /// The body, whose bytes follow from the record alone: fields in the order of their names, the key's last.
    fn spell(&self, batch: &WriteBatch, record: &WriteRecord) -> Result<Value, Failure> {
        let mut body = Map::new();
        for (name, value) in record.fields.iter().filter(|(name, _)| *name != &batch.key_field && *name != "id") {
            let value = match model::record::Link::of(value) {
                None => value.clone(),
                Some(link) => Value::String(link.crm_id.ok_or_else(|| {
                    let message = format!("`{name}` points at a record whose id in Agiled is not known yet");
                    Failure::new(Class::Conflict, Scope::Record, "parent_unknown", message)
                })?),
            };
            body.insert(name.clone(), value);
        }
        if record.crm_id.is_none() {
            body.insert(batch.key_field.clone(), Value::String(record.key.clone()));
        }
        Ok(Value::Object(body))
    }

    fn look(&self, batch: &ReadBatch, key: &str) -> Request {
        self.request(Method::GET, &format!("/{}?{}={}", batch.object, batch.key_field, encode(key)), Body::None)
    }

    fn present(&self, batch: &ReadBatch, row: &Value) -> Option<Present> {
        let crm_id = id_of(&row["id"])?;
        let fields = batch.fields.iter().map(|field| (field.clone(), row[field.as_str()].clone())).collect();
        Some(Present { crm_id, fields, modified_at: row["updated_at"].as_str().and_then(instant) })
    }
}

/// The same for the same object, record, content and bytes, whoever sends them and when; up to 255 visible characters.
fn idempotency_key(batch: &WriteBatch, record: &WriteRecord, method: &Method, body: &Body) -> String {
    let bytes = match body {
        Body::Json(value) => value.to_string(),
        Body::None | Body::Form(_) | Body::Raw { .. } => String::new(),
    };
    let parts = [method.as_str(), &batch.object, &record.key, record.crm_id.as_deref().unwrap_or_default(), &bytes];
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        // Each with its length, so that no two records run into one text.
        hash.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let hash: String = hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("onceward-{}-{}-{hash}", batch.object, record.revision)
}

impl Connector for Agiled {
    fn level(&self) -> Level {
        Level::C
    }

    fn statement(&self) -> Statement {
        Statement {
            created_from_updated: "the call: POST creates, PATCH changes",
            cannot: "no unique field: what others create under the same address is found as two; what is repeated after 30 days, when Agiled has \
                     forgotten its idempotency key, is created again",
        }
    }

    fn repeat(&self, _object: &str, mode: Mode) -> Repeat {
        match mode {
            Mode::Upsert | Mode::CreateOnly => Repeat::Same,
            Mode::UpdateOnly | Mode::Delete => Repeat::Keyed,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            write_batch: 1,
            read_batch: 1,
            call_timeout: Duration::from_secs(30),
            late_window: Duration::from_secs(300),
            retry_after_max: Duration::from_secs(15 * 60),
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
        let [record] = batch.records.as_slice() else {
            let class = if batch.records.is_empty() { Class::Permanent } else { Class::Conflict };
            return Err(Failure::new(class, Scope::Call, "too_large", "Agiled takes one record a call"));
        };
        check([&batch.object, &batch.key_field].into_iter().chain(record.fields.keys()))?;
        check_key(&record.key)?;
        let (method, path, body) = match (batch.mode, &record.crm_id) {
            (Mode::Delete, Some(id)) => (Method::DELETE, format!("/{}/{}", batch.object, segment(id)?), Body::None),
            (Mode::Upsert | Mode::UpdateOnly, Some(id)) => {
                (Method::PATCH, format!("/{}/{}", batch.object, segment(id)?), Body::Json(self.spell(batch, record)?))
            }
            (Mode::Upsert | Mode::CreateOnly, None) => (Method::POST, format!("/{}", batch.object), Body::Json(self.spell(batch, record)?)),
            (Mode::UpdateOnly | Mode::Delete, None) => return Err(missing("", "")),
            (Mode::CreateOnly, Some(_)) => {
                return Err(Failure { scope: Scope::Record, ..refuse("already_there", "the record is there already") });
            }
        };
        let key = idempotency_key(batch, record, &method, &body);
        let mut request = self.request(method, &path, body);
        request.headers.push(("idempotency-key".to_owned(), key));
        Ok(request)
    }

    fn written(&self, batch: &WriteBatch, reply: &Reply) -> Outcome<Written> {
        let record = batch.records.first().ok_or_else(|| garbage(reply))?;
        if !(200..300).contains(&reply.status) {
            return match (batch.mode, reply.status) {
                (Mode::Delete, 404 | 410) => Ok(vec![Ok(Written::default())]),
                (Mode::Upsert | Mode::UpdateOnly, 404 | 410) if record.crm_id.is_some() => Ok(vec![Err(missing("", ""))]),
                _ => {
                    let failure = refused(reply, Call::One(batch.mode));
                    let said = failure.message.clone();
                    let named = if failure.fields.is_empty() { naming(failure, record, &said) } else { failure };
                    placed(Failure { message: hushed(&said, record), ..named }, 1)
                }
            };
        }
        if batch.mode == Mode::Delete {
            return Ok(vec![Ok(Written::default())]);
        }
        let body = reply.json().ok_or_else(|| garbage(reply))?;
        let id = id_of(&data(&body)["id"]).ok_or_else(|| garbage(reply))?;
        if record.crm_id.as_ref().is_some_and(|known| *known != id) {
            return Err(garbage(reply));
        }
        Ok(vec![Ok(Written { crm_id: Some(id), created: Some(record.crm_id.is_none()) })])
    }

    fn read_fits(&self, batch: &ReadBatch) -> usize {
        batch.records.len().min(1)
    }

    fn read(&self, batch: &ReadBatch) -> Result<Request, Failure> {
        check([&batch.object, &batch.key_field].into_iter().chain(&batch.fields))?;
        let [sought] = batch.records.as_slice() else {
            let class = if batch.records.is_empty() { Class::Permanent } else { Class::Conflict };
            return Err(Failure::new(class, Scope::Call, "too_large", "Agiled is asked for one record a call"));
        };
        check_key(&sought.key)?;
        match &sought.crm_id {
            Some(id) => Ok(self.request(Method::GET, &format!("/{}/{}", batch.object, segment(id)?), Body::None)),
            None => Ok(self.look(batch, &sought.key)),
        }
    }

    fn read_on(&self, batch: &ReadBatch, replies: &[Reply]) -> Result<Option<Request>, Failure> {
        match (batch.records.as_slice(), replies) {
            ([sought], [reply]) if sought.crm_id.is_some() && matches!(reply.status, 404 | 410) => Ok(Some(self.look(batch, &sought.key))),
            _ => Ok(None),
        }
    }

    fn found(&self, batch: &ReadBatch, replies: &[Reply]) -> Outcome<Option<Present>> {
        let reply = last(replies)?;
        if reply.status != 200 {
            return Err(refused(reply, Call::Read));
        }
        let body = reply.json().ok_or_else(|| garbage(reply))?;
        let by_id = replies.len() == 1 && batch.records.iter().all(|sought| sought.crm_id.is_some());
        if by_id {
            let present = self.present(batch, data(&body)).ok_or_else(|| garbage(reply))?;
            return Ok(vec![Ok(Some(present))]);
        }
        let rows = rows(&body).ok_or_else(|| garbage(reply))?;
        batch.records.iter().map(|sought| self.of_key(batch, &sought.key, rows)).collect()
    }

    fn setup(&self, object: &str, key_field: &str) -> Setup {
        Setup::Instructions(format!(
            "Agiled's API adds no fields. Take `email` as the key of contacts, which the API can look up; that it looks up `{object}` by \
             `{key_field}` is not documented."
        ))
    }

    fn probe(&self) -> Request {
        self.request(Method::GET, "/me", Body::None)
    }

    fn probed(&self, reply: &Reply) -> Result<(), Failure> {
        match reply.status {
            200 if reply.json().is_some_and(|me| me.is_object()) => Ok(()),
            200 => Err(garbage(reply)),
            _ => Err(refused(reply, Call::Read)),
        }
    }
}

impl Agiled {
    /// The one record with this key among those that a filter let through.
    fn of_key(&self, batch: &ReadBatch, key: &str, rows: &[Value]) -> Outcome1<Option<Present>> {
        let wanted = self.canonical_key(key);
        let shown = |row: &Value| id_of(&row[batch.key_field.as_str()]).map(|held| self.canonical_key(&held));
        let matching: Vec<&Value> = rows.iter().filter(|row| shown(row).as_ref() == Some(&wanted)).collect();
        match matching.as_slice() {
            // A filter that is not known there is passed over, and the first page of everything says nothing of this key.
            [] if !rows.is_empty() => {
                let message =
                    format!("Agiled does not look up `{}` by `{}`: take a key that it can, such as `email`", batch.object, batch.key_field);
                Err(Failure::new(Class::Permanent, Scope::Destination, "not_searchable", message))
            }
            [] => Ok(Ok(None)),
            [row] => Ok(self
                .present(batch, row)
                .map(Some)
                .ok_or_else(|| Failure::new(Class::Unknown, Scope::Record, "no_result", "the record that was found has no id"))),
            several => {
                let ids: Vec<String> = several.iter().filter_map(|row| id_of(&row["id"])).collect();
                Ok(Err(ambiguous(ids.iter().map(String::as_str))))
            }
        }
    }
}

/// One record's result, or the whole call's failure.
type Outcome1<T> = Result<Result<T, Failure>, Failure>;

fn check<'a>(mut names: impl Iterator<Item = &'a String>) -> Result<(), Failure> {
    match names.find(|name| !valid_name(name)) {
        Some(name) => {
            let message = format!("`{}` is no name of an object or a field: correct the destination's mapping", name.escape_default());
            Err(refuse("invalid_name", &message))
        }
        None => Ok(()),
    }
}

fn check_key(key: &str) -> Result<(), Failure> {
    if key.trim().is_empty() || key.chars().count() > KEY_MAX {
        return Err(refuse("invalid_key", "a key is 1 to 255 characters, not only spaces"));
    }
    Ok(())
}

/// An id as a part of a path.
fn segment(id: &str) -> Result<String, Failure> {
    match id {
        "" | "." | ".." => Err(refuse("invalid_id", "the record's id cannot be part of a URL")),
        id => Ok(encode(id)),
    }
}

fn refuse(code: &str, message: &str) -> Failure {
    Failure::new(Class::Permanent, Scope::Call, code, message)
}
