//! Any REST API that the configuration describes: paths, bodies, answers and refusals (crm-apis.md, section 11).
//!
//! What may follow an unknown outcome is derived from the description, never assumed: a PUT to the key's own address may be repeated, a
//! POST under an idempotency key may be sent again byte for byte, a POST whose record can be looked up waits for that look, and a POST
//! with nothing goes to a person.

mod answer;
mod check;
mod definition;
mod spelled;
mod template;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::event::Mode;
use model::{Class, Failure, Reason, Scope};
use reqwest::Method;
use serde_json::Value;

use self::answer::Answer;
use self::definition::{Object, Operation, Read};
use self::template::{Place, Template, Values};
use super::refusal::Call;
use super::same::same;
use crate::{
    AuthKind, Body, Connector, Level, Limits, Outcome, Present, ReadBatch, Repeat, Reply, Request, Settings, SettingsError, Setup, Sought,
    Statement, Token, Usage, WriteBatch, WriteRecord, Written,
};

pub use definition::{Definition, ObjectNames};
pub use spelled::{Object as ObjectDefinition, Target};

/// No address or number that names a record is longer.
const KEY_MAX: usize = 255;
/// The window of `limits`, where none is named.
const DAY: Duration = Duration::from_secs(86_400);
/// The longest idempotency key that every API of crm-apis.md 11 takes.
const IDEMPOTENCY_MAX: usize = 255;

/// Whatever the API takes.
pub(super) const TAKES: &[AuthKind] = &AuthKind::ALL;
/// Nothing is known of the API, so little is asked of it.
pub(super) const CALLS: u32 = 5;

/// The translator for an API that the configuration describes.
#[derive(Clone, Debug)]
pub struct Rest {
    definition: Arc<Definition>,
}

impl Rest {
    /// A translator for what `settings.rest` describes.
    ///
    /// # Errors
    ///
    /// There is no description.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let definition = settings.rest.clone();
        let missing = || SettingsError::Rest("is missing; it says how the API is spoken to".to_owned());
        Ok(Self { definition: definition.ok_or_else(missing)? })
    }

    fn object(&self, name: &str) -> Result<&Object, Failure> {
        let missing = || refuse(Class::Permanent, "not_described", &format!("`{name}` has no `rest` in the configuration: add it"));
        self.definition.objects.get(name).ok_or_else(missing)
    }

    /// The operation that serves a record in this mode.
    fn operation(&self, batch: &WriteBatch, record: &WriteRecord) -> Result<&Operation, Failure> {
        let object = self.object(&batch.object)?;
        let described = |operation: &'_ Option<Operation>, word: &str| match operation {
            Some(_) => Ok(()),
            None => {
                let message = format!("`objects.{}.rest.{word}` is missing: nothing says how this is done", batch.object);
                Err(refuse(Class::Permanent, "not_described", &message))
            }
        };
        let (operation, word) = match (batch.mode, &record.crm_id) {
            (Mode::Upsert, _) if object.upsert.is_some() => (&object.upsert, "upsert"),
            (Mode::Upsert, Some(_)) | (Mode::UpdateOnly, _) => (&object.update, "update"),
            (Mode::Upsert | Mode::CreateOnly, _) => (&object.create, "create"),
            (Mode::Delete, _) => (&object.delete, "delete"),
        };
        described(operation, word)?;
        operation.as_ref().ok_or_else(|| refuse(Class::Permanent, "not_described", "nothing says how this is done"))
    }

    fn values<'a>(&'a self, batch: &'a WriteBatch, record: &'a WriteRecord) -> Values<'a> {
        Values {
            destination: &self.definition.destination,
            object: &batch.object,
            key: &record.key,
            id: record.crm_id.as_deref(),
            revision: record.revision,
            key_field: &batch.key_field,
            fields: &record.fields,
        }
    }

    fn request(&self, method: Method, path: String, body: Body) -> Request {
        let mut request = Request::new(method, path, body);
        if !self.definition.headers.iter().any(|(name, _)| name == "accept") {
            request.headers.push(("accept".to_owned(), "application/json".to_owned()));
        }
        request.headers.extend(self.definition.headers.iter().cloned());
        request
    }

    /// The path of an operation, which may name the record.
    fn address(&self, operation: &Operation, values: &Values<'_>) -> Result<String, Failure> {
        let dotted = |place, text: Option<&str>| operation.path.has(place) && text.is_some_and(|text| matches!(text, "." | ".."));
        if dotted(&Place::Key, Some(values.key)) || dotted(&Place::Id, values.id) {
            // A URL with this segment names something else.
            return Err(for_record(refuse(Class::Permanent, "key_not_addressable", "`.` and `..` cannot be part of a URL")));
        }
        operation.path.path(values).ok_or_else(|| {
            if operation.path.has(&Place::Id) && values.id.is_none() {
                super::refusal::missing("no_id", "the record's id is not known, and the API changes records by it")
            } else {
                for_record(refuse(Class::Permanent, "no_value", "the path needs a field that this record does not have"))
            }
        })
    }

    fn write_one(&self, operation: &Operation, batch: &WriteBatch, record: &WriteRecord) -> Result<Request, Failure> {
        let values = self.values(batch, record);
        let path = self.address(operation, &values)?;
        let body = operation.body.as_ref().map(|body| body.render(&values).unwrap_or_else(|| Value::Object(serde_json::Map::new())));
        let body = body.map_or(Body::None, |body| Body::Json(operation.wrap.wrap(body)));
        let mut request = self.request(operation.method.clone(), path, body);
        if let Some(template) = &operation.idempotency {
            let key = idempotency_key(template, &values)
                .ok_or_else(|| for_record(refuse(Class::Permanent, "no_value", "the idempotency key needs a value that is not there")))?;
            request.headers.push((self.definition.idempotency_header.clone(), key));
        }
        Ok(request)
    }

    fn write_many(&self, operation: &Operation, items: &template::Pointer, batch: &WriteBatch) -> Result<Request, Failure> {
        let first = batch.records.first().ok_or_else(empty)?;
        let path = self.address(operation, &self.values(batch, first))?;
        let body = |record: &WriteRecord| operation.body.as_ref().and_then(|body| body.render(&self.values(batch, record)));
        let list = batch.records.iter().map(|record| operation.wrap.wrap(body(record).unwrap_or_default())).collect();
        Ok(self.request(operation.method.clone(), path, Body::Json(items.wrap(Value::Array(list)))))
    }

    fn check(&self, batch: &WriteBatch) -> Result<(), Failure> {
        let mut keys = BTreeSet::new();
        for record in &batch.records {
            check_key(&record.key)?;
            if !keys.insert(self.canonical_key(&record.key)) {
                return Err(refuse(Class::Conflict, "duplicate_key", "one key is twice in this call"));
            }
        }
        if batch.records.is_empty() { Err(empty()) } else { Ok(()) }
    }

    fn reading(&self, object: &str) -> Result<&Read, Failure> {
        self.object(object)?.read.as_ref().ok_or_else(|| {
            refuse(Class::Permanent, "not_readable", &format!("`objects.{object}.rest.read` is missing: this record cannot be looked up"))
        })
    }

    fn look(&self, template: &Template, batch: &ReadBatch, sought: &Sought) -> Result<Request, Failure> {
        let fields = BTreeMap::new();
        let values = Values {
            destination: &self.definition.destination,
            object: &batch.object,
            key: &sought.key,
            id: sought.crm_id.as_deref(),
            revision: 0,
            key_field: &batch.key_field,
            fields: &fields,
        };
        if [sought.key.as_str(), sought.crm_id.as_deref().unwrap_or_default()].iter().any(|text| matches!(*text, "." | "..")) {
            return Err(for_record(refuse(Class::Permanent, "key_not_addressable", "`.` and `..` cannot be part of a URL")));
        }
        let keys: Vec<&str> = batch.records.iter().map(|sought| sought.key.as_str()).collect();
        let path = template.path_of_keys(&values, &keys).ok_or_else(empty)?;
        Ok(self.request(Method::GET, path, Body::None))
    }

    /// Whether the first look is by the record's id.
    fn by_id<'a>(read: &'a Read, batch: &'a ReadBatch) -> Option<(&'a Template, &'a Sought)> {
        match batch.records.as_slice() {
            [only] if only.crm_id.is_some() => Some((read.by_id.as_ref()?, only)),
            _ => None,
        }
    }
}

impl Connector for Rest {
    /// The worst of what the objects come to.
    fn level(&self) -> Level {
        let sure = |object: &Object| {
            let created = object.upsert.is_some() || matches!(object.repeat_create(), Repeat::Keyed | Repeat::Same);
            created && object.read.is_some()
        };
        if self.definition.objects.values().all(sure) { Level::B } else { Level::C }
    }

    fn statement(&self) -> Statement {
        let worst = self.definition.objects.values().filter(|object| object.upsert.is_none() && object.create.is_some());
        let repeats: Vec<Repeat> = worst.map(Object::repeat_create).collect();
        let cannot = if repeats.contains(&Repeat::Person) {
            "an object with neither upsert, idempotency key nor look-up: an unknown outcome of its creation goes to a person"
        } else if repeats.contains(&Repeat::Look) {
            "an object that is looked up before it is created again: a look-up that lags behind by more than `late_window` lets a second one be created"
        } else if repeats.contains(&Repeat::Same) {
            "an object that is created under an idempotency key: what is repeated after the API has forgotten the key is created again"
        } else {
            "anything that the API does not keep to in its description"
        };
        Statement { created_from_updated: "`created` of the operation, else status 201", cannot }
    }

    fn reads(&self, object: &str) -> bool {
        self.definition.reads(object)
    }

    fn repeat(&self, object: &str, mode: Mode) -> Repeat {
        let Some(object) = self.definition.objects.get(object) else { return Repeat::Person };
        match mode {
            Mode::UpdateOnly | Mode::Delete => Repeat::Keyed,
            Mode::Upsert if object.upsert.is_some() => Repeat::Keyed,
            Mode::Upsert | Mode::CreateOnly => object.repeat_create(),
        }
    }

    fn limits(&self) -> Limits {
        let group = self.definition.objects.values().map(Object::group).max().unwrap_or(1);
        Limits {
            write_batch: group,
            read_batch: group,
            call_timeout: Duration::from_secs(30),
            late_window: Duration::from_secs(300),
            retry_after_max: Duration::from_secs(24 * 3_600),
        }
    }

    fn canonical_key(&self, key: &str) -> String {
        key.trim().to_lowercase()
    }

    fn equal(&self, _field: &str, a: &Value, b: &Value) -> bool {
        same(a, b)
    }

    /// The first records that go by one operation, as many as it takes.
    fn write_fits(&self, batch: &WriteBatch) -> usize {
        let by = |record: &WriteRecord| self.operation(batch, record).ok().map(std::ptr::from_ref);
        let Some(first) = batch.records.first() else { return 0 };
        let size = self.operation(batch, first).ok().and_then(|operation| operation.batch.as_ref()).map_or(1, |batch| batch.size);
        batch.records.iter().take_while(|record| by(record) == by(first)).count().clamp(1, size.max(1))
    }

    fn write(&self, batch: &WriteBatch) -> Result<Request, Failure> {
        self.check(batch)?;
        let first = batch.records.first().ok_or_else(empty)?;
        let operation = self.operation(batch, first)?;
        if self.write_fits(batch) < batch.records.len() {
            return Err(refuse(Class::Conflict, "too_large", "more records than fit into one call"));
        }
        match &operation.batch {
            Some(many) => self.write_many(operation, &many.items, batch),
            None => self.write_one(operation, batch, first),
        }
    }

    fn written(&self, batch: &WriteBatch, reply: &Reply) -> Outcome<Written> {
        let first = batch.records.first().ok_or_else(empty)?;
        let operation = self.operation(batch, first)?;
        answer::written(&self.definition, operation, batch, reply)
    }

    fn read_fits(&self, batch: &ReadBatch) -> usize {
        self.reading(&batch.object).map_or(1, |read| read.keys).min(batch.records.len())
    }

    fn read(&self, batch: &ReadBatch) -> Result<Request, Failure> {
        let read = self.reading(&batch.object)?;
        batch.records.iter().try_for_each(|sought| check_key(&sought.key))?;
        let first = batch.records.first().ok_or_else(empty)?;
        if batch.records.len() > read.keys {
            return Err(refuse(Class::Conflict, "too_large", "more keys than fit into one look-up"));
        }
        match Self::by_id(read, batch) {
            Some((template, only)) => self.look(template, batch, only),
            None => self.look(&read.path, batch, first),
        }
    }

    /// What is gone by its id may be there by its key: records are merged and restored.
    fn read_on(&self, batch: &ReadBatch, replies: &[Reply]) -> Result<Option<Request>, Failure> {
        let read = self.reading(&batch.object)?;
        match (Self::by_id(read, batch), replies) {
            (Some((_, only)), [reply]) if Answer::of(&self.definition, reply, Call::Read).is_missing() => {
                self.look(&read.path, batch, only).map(Some)
            }
            (Some(_) | None, _) => Ok(None),
        }
    }

    fn found(&self, batch: &ReadBatch, replies: &[Reply]) -> Outcome<Option<Present>> {
        let read = self.reading(&batch.object)?;
        let reply = crate::connector::last(replies)?;
        let by_id = Self::by_id(read, batch).is_some() && replies.len() == 1;
        answer::found(self, &self.definition, read, batch, reply, by_id)
    }

    fn setup(&self, object: &str, key_field: &str) -> Setup {
        Setup::Instructions(format!(
            "Let the API refuse a second `{object}` with the same `{key_field}` (a unique constraint), and let it answer look-ups by it."
        ))
    }

    fn probe(&self) -> Request {
        self.request(Method::GET, self.definition.probe.clone(), Body::None)
    }

    fn probed(&self, reply: &Reply) -> Result<(), Failure> {
        match Answer::of(&self.definition, reply, Call::Read) {
            Answer::Done(_) => Ok(()),
            Answer::Exists(failure, _) | Answer::Missing(failure) | Answer::Refused(failure) => Err(failure),
        }
    }

    fn authorize(&self, kind: AuthKind, token: &Token) -> (String, String) {
        match kind {
            AuthKind::ApiKey => (self.definition.api_key_header.clone(), token.value.reveal().to_owned()),
            AuthKind::Bearer | AuthKind::Basic | AuthKind::ClientCredentials | AuthKind::RefreshToken | AuthKind::JwtBearer => {
                crate::auth::authorization(kind, token)
            }
        }
    }

    fn expired(&self, reply: &Reply) -> bool {
        matches!(Answer::of(&self.definition, reply, Call::Read), Answer::Refused(failure) if failure.class == Class::Auth && reply.status == 401)
    }

    fn usage(&self, reply: &Reply) -> Vec<Usage> {
        let Some(limits) = &self.definition.limits else { return Vec::new() };
        let told = |name: &str| reply.header(name)?.trim().parse::<u64>().ok();
        let (Some(limit), Some(left)) = (told(&limits.limit), told(&limits.remaining)) else { return Vec::new() };
        let used = limit.saturating_sub(left);
        vec![if limits.per == DAY { Usage::day(used, limit) } else { Usage::burst(used, limit, limits.per) }]
    }
}

/// The key under which the API knows this content again: the template's text where every API takes it, else a hash that stands for it.
fn idempotency_key(template: &Template, values: &Values<'_>) -> Option<String> {
    let text = template.path(values)?;
    if text.len() <= IDEMPOTENCY_MAX {
        return Some(text);
    }
    let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    Some(format!("sha256:{}", hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

fn refuse(class: Class, code: &str, message: &str) -> Failure {
    Failure::new(class, Scope::Call, code, message)
}

fn for_record(failure: Failure) -> Failure {
    Failure { scope: Scope::Record, ..failure }
}

fn empty() -> Failure {
    refuse(Class::Permanent, "empty_batch", "nothing was to be done; this is a bug of ours")
}

fn check_key(key: &str) -> Result<(), Failure> {
    if key.trim().is_empty() || key.chars().count() > KEY_MAX {
        return Err(refuse(Class::Permanent, "invalid_key", "a key is 1 to 255 characters, not only spaces"));
    }
    Ok(())
}

/// The reason that a person reads where the outcome could not be made out.
fn unclear(message: &str) -> Failure {
    let failure = Failure::new(Class::Unknown, Scope::Record, "no_result", message);
    Failure { reason: Some(Reason::UnknownOutcome), ..failure }
}
