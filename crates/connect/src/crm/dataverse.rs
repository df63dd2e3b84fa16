//! Microsoft Dataverse, which Dynamics 365 stands on: the Web API, keyed by an alternate key (crm-apis.md, section 4).
//!
//! Level B: a `PATCH` by alternate key creates or updates, and a query reads what was written. An object of the configuration is an entity
//! *set*: `contacts`, not the table's name `contact`. A key with one of the characters that a URL's path cannot carry there is written under an
//! id that follows from the key, with the key in the record's column: sent again, it meets the record that it made.

mod address;
mod batch;
mod lookup;
mod metadata;
mod refusal;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use model::event::Mode;
use model::record::Link;
use model::{Class, Failure, Scope, Time};
use reqwest::Method;
use serde_json::{Map, Value};

use self::address::{Address, addressable};
use super::refusal::{garbage, placed};
use super::same::same;
use crate::{
    AuthKind, Body, Connector, Description, Level, Limits, Made, Outcome, Present, ReadBatch, Reply, Request, Settings, SettingsError,
    Setup, Statement, WriteBatch, WriteRecord, Written, valid_name,
};

/// The version in the current documentation's examples.
const VERSION: &str = "v9.2";
/// Of the 1,000 requests that a batch may have: plug-ins run inside the call for every record, and a call may take two minutes.
const BATCH_MAX: usize = 100;
/// An index of SQL Server's holds 900 bytes, which are so many characters (define-alternate-keys-entity).
const KEY_MAX: usize = 450;

/// An app with an application user in the environment.
pub(super) const TAKES: &[AuthKind] = &[AuthKind::ClientCredentials];
/// 6,000 requests in five minutes for each web server that the environment has, and one of a batch may count like one on its own.
pub(super) const CALLS: u32 = 10;

/// The translator for Dataverse.
#[derive(Clone, Debug)]
pub struct Dataverse {
    /// `/api/data/v9.2`.
    root: String,
    /// `https://example.crm4.dynamics.com/.default`.
    scope: String,
}

impl Dataverse {
    /// A translator for one version of the API: `v9.2`, which is the default.
    ///
    /// # Errors
    ///
    /// The version is malformed.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let version = settings.api_version.as_deref().unwrap_or(VERSION);
        let minor = version.strip_prefix("v9.").filter(|minor| minor.len() == 1 && minor.bytes().all(|byte| byte.is_ascii_digit()));
        match minor {
            Some(_) => Ok(Self {
                root: format!("/api/data/{version}"),
                scope: format!("{}/.default", settings.base_url.trim().trim_end_matches('/')),
            }),
            None => Err(SettingsError::ApiVersion(format!("`{version}` is no version; it looks like `{VERSION}`"))),
        }
    }

    fn request(&self, method: Method, path: &str, body: Body) -> Request {
        let mut request = Request::new(method, format!("{}{path}", self.root), body);
        let headers = [("accept", "application/json"), ("odata-maxversion", "4.0"), ("odata-version", "4.0")];
        request.headers.extend(headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
        request
    }

    /// One record's write, which is a request of its own or a part of a batch.
    fn operation(&self, batch: &WriteBatch, record: &WriteRecord) -> Result<Request, Failure> {
        let address = address::of(batch, record)?;
        let place = format!("/{}({})", batch.object, address.spelled(&batch.key_field));
        if batch.mode == Mode::Delete {
            return Ok(self.request(Method::DELETE, &place, Body::None));
        }
        let mut fields = spelled_fields(batch, record)?;
        if matches!(address, Address::Derived(_)) {
            fields.insert(batch.key_field.clone(), Value::String(record.key.clone()));
        }
        // The answer holds the record's id whatever is selected (query/select-columns), and with the key it says whose it is.
        let path = format!("{place}?$select={}", batch.key_field);
        let mut request = self.request(Method::PATCH, &path, Body::Json(Value::Object(fields)));
        request.headers.push(("prefer".to_owned(), "return=representation".to_owned()));
        if let Some((name, value)) = address.condition(batch.mode) {
            request.headers.push((name.to_owned(), value.to_owned()));
        }
        Ok(request)
    }
}

impl Connector for Dataverse {
    fn level(&self) -> Level {
        Level::B
    }

    fn statement(&self) -> Statement {
        Statement {
            created_from_updated: "201 or 200, of each request and of each part of a batch",
            cannot: "an alternate key is built in the background and refused until it is active; elastic tables read back what was written \
                     in their own session only",
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            write_batch: BATCH_MAX,
            read_batch: BATCH_MAX,
            call_timeout: Duration::from_secs(120),
            late_window: Duration::from_secs(300),
            retry_after_max: Duration::from_secs(15 * 60),
        }
    }

    fn canonical_key(&self, key: &str) -> String {
        key.trim().to_lowercase()
    }

    fn equal(&self, _field: &str, a: &Value, b: &Value) -> bool {
        same(&linked(a), &linked(b))
    }

    fn write_fits(&self, batch: &WriteBatch) -> usize {
        // A record that cannot be written at all must not take others with it.
        let fits = batch.records.iter().take(BATCH_MAX).take_while(|record| address::of(batch, record).is_ok()).count();
        fits.max(1).min(batch.records.len())
    }

    fn write(&self, batch: &WriteBatch) -> Result<Request, Failure> {
        check_write(self, batch)?;
        match batch.records.as_slice() {
            [only] => self.operation(batch, only),
            records => {
                let parts: Vec<Request> = records.iter().map(|record| self.operation(batch, record)).collect::<Result<_, _>>()?;
                let (kind, text) = batch::spelled(&parts);
                let mut request = self.request(Method::POST, "/$batch", Body::Raw { kind, text });
                request.headers.push(("prefer".to_owned(), "odata.continue-on-error".to_owned()));
                Ok(request)
            }
        }
    }

    fn written(&self, batch: &WriteBatch, reply: &Reply) -> Outcome<Written> {
        match batch.records.as_slice() {
            [only] => written_one(batch, only, reply).map_or_else(|failure| placed(failure, 1), |written| Ok(vec![Ok(written)])),
            _ => batch::written(self, batch, reply),
        }
    }

    fn read_fits(&self, batch: &ReadBatch) -> usize {
        lookup::fits(&self.root, batch).min(BATCH_MAX)
    }

    fn read(&self, batch: &ReadBatch) -> Result<Request, Failure> {
        check_names(std::iter::once(&batch.object).chain([&batch.key_field]).chain(&batch.fields))?;
        batch.records.iter().try_for_each(|sought| check_key(&sought.key))?;
        if batch.records.is_empty() {
            return Err(refuse(Class::Permanent, Scope::Call, "empty_batch", "nothing was asked for; this is a bug of ours"));
        }
        if self.read_fits(batch) < batch.records.len() {
            return Err(refuse(Class::Conflict, Scope::Call, "too_large", "more keys than fit into one query"));
        }
        Ok(self.request(Method::GET, &lookup::query(batch, true), Body::None))
    }

    fn read_on(&self, batch: &ReadBatch, replies: &[Reply]) -> Result<Option<Request>, Failure> {
        let [first] = replies else { return Ok(None) };
        if !lookup::unknown_column(first) {
            return Ok(None);
        }
        let mut request = self.request(Method::GET, &lookup::query(batch, false), Body::None);
        request.headers.push(("prefer".to_owned(), format!("odata.include-annotations=\"{}\"", lookup::NAVIGATION)));
        Ok(Some(request))
    }

    fn found(&self, batch: &ReadBatch, replies: &[Reply]) -> Outcome<Option<Present>> {
        lookup::found(self, batch, crate::connector::last(replies)?)
    }

    fn describe(&self, object: &str) -> Vec<Request> {
        metadata::asked(object).map(|path| self.request(Method::GET, &path, Body::None)).collect()
    }

    fn described(&self, object: &str, replies: &[Reply]) -> Result<Description, Failure> {
        metadata::described(object, replies)
    }

    fn setup(&self, object: &str, key_field: &str) -> Setup {
        let calls = metadata::missing_key(object, key_field);
        Setup::Calls(calls.into_iter().map(|(path, body)| self.request(Method::POST, &path, Body::Json(body))).collect())
    }

    /// That a column or a key is there is told as a 400, by its message.
    fn made(&self, reply: &Reply) -> Made {
        match reply.status {
            200..=299 => Made::Yes(None),
            400 | 409 | 412
                if reply
                    .json()
                    .is_some_and(|body| body["error"]["message"].as_str().is_some_and(|said| said.contains("already exist"))) =>
            {
                Made::There
            }
            _ => Made::No,
        }
    }

    fn probe(&self) -> Request {
        self.request(Method::GET, "/WhoAmI", Body::None)
    }

    fn probed(&self, reply: &Reply) -> Result<(), Failure> {
        match reply.status {
            200 if reply.json().is_some_and(|body| body["UserId"].is_string()) => Ok(()),
            200 => Err(garbage(reply)),
            _ => Err(refusal::of_read(reply)),
        }
    }

    fn scope(&self) -> Option<String> {
        Some(self.scope.clone())
    }
}

fn refuse(class: Class, scope: Scope, code: &str, message: &str) -> Failure {
    Failure::new(class, scope, code, message)
}

/// The fields as the Web API takes them, without the key, which the address has.
fn spelled_fields(batch: &WriteBatch, record: &WriteRecord) -> Result<Map<String, Value>, Failure> {
    let fields = record.fields.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(&batch.key_field));
    fields.map(|(name, value)| spelled(name, value)).collect()
}

/// A link binds the navigation property of its name; the choices of a multi-select column are one text with commas.
fn spelled(name: &str, value: &Value) -> Result<(String, Value), Failure> {
    if let Some(link) = Link::of(value) {
        return Ok((format!("{name}@odata.bind"), Value::String(bound(&link)?)));
    }
    let value = match value.as_array() {
        Some(choices) => Value::String(choices.iter().map(plain).collect::<Vec<_>>().join(",")),
        None => value.clone(),
    };
    Ok((name.to_owned(), value))
}

/// Where a parent is: by its id, or by its alternate key where a URL can carry it.
fn bound(link: &Link) -> Result<String, Failure> {
    let by = match &link.crm_id {
        Some(id) if valid_id(id) => id.clone(),
        Some(_) => return Err(refuse(Class::Permanent, Scope::Call, "invalid_id", "a parent's id is a GUID")),
        None if addressable(&link.key) => address::by_key(&link.key_field, &link.key),
        None => {
            let message = "the parent's id is not known yet, and its key cannot be part of a URL";
            return Err(refuse(Class::Conflict, Scope::Call, "parent_unknown", message));
        }
    };
    if !valid_name(&link.object) || !valid_name(&link.key_field) {
        return Err(refuse(Class::Permanent, Scope::Call, "invalid_name", "a link names no entity set, or no column: correct the mapping"));
    }
    Ok(format!("/{}({by})", link.object))
}

/// A link is read back as its parent's id.
fn linked(value: &Value) -> Value {
    match Link::of(value) {
        Some(Link { crm_id: Some(id), .. }) => shown(&Value::String(id)),
        Some(_) | None => shown(value),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value as Dataverse shows it: moments in whole seconds, ids in lower case, and several choices, which are one text there, as a list.
fn shown(value: &Value) -> Value {
    let Some(text) = value.as_str() else { return value.clone() };
    let choices: Option<Vec<Value>> =
        text.split(',').map(|part| part.trim().parse::<i64>().ok().map(|number| number.to_string().into())).collect();
    match choices.filter(|choices| choices.len() > 1) {
        Some(choices) => Value::Array(choices),
        None if valid_id(text) => Value::String(text.to_ascii_lowercase()),
        None => Time::parse_rfc3339(text).map_or_else(|| value.clone(), |at| Value::String(Time::from_seconds(at.seconds()).to_string())),
    }
}

fn check_names<'a>(mut names: impl Iterator<Item = &'a String>) -> Result<(), Failure> {
    match names.find(|name| !valid_name(name)) {
        Some(name) => {
            let message = format!("`{}` is no entity set, column or lookup: correct the destination's mapping", name.escape_default());
            Err(refuse(Class::Permanent, Scope::Call, "invalid_name", &message))
        }
        None => Ok(()),
    }
}

fn check_key(key: &str) -> Result<(), Failure> {
    if key.trim().is_empty() || key.encode_utf16().count() > KEY_MAX {
        return Err(refuse(Class::Permanent, Scope::Call, "invalid_key", "a key is 1 to 450 characters, not only spaces"));
    }
    Ok(())
}

fn check_write(dataverse: &Dataverse, batch: &WriteBatch) -> Result<(), Failure> {
    if batch.records.is_empty() {
        return Err(refuse(Class::Permanent, Scope::Call, "empty_batch", "nothing was to be written; this is a bug of ours"));
    }
    if batch.records.len() > BATCH_MAX {
        return Err(refuse(Class::Conflict, Scope::Call, "too_large", "more records than fit into one call"));
    }
    check_names([&batch.object, &batch.key_field].into_iter().chain(batch.records.iter().flat_map(|record| record.fields.keys())))?;
    let mut keys = BTreeSet::new();
    for record in &batch.records {
        check_key(&record.key)?;
        if record.crm_id.as_ref().is_some_and(|id| !valid_id(id)) {
            return Err(refuse(Class::Permanent, Scope::Call, "invalid_id", "a record's id is a GUID"));
        }
        if !keys.insert(dataverse.canonical_key(&record.key)) {
            return Err(refuse(Class::Conflict, Scope::Call, "duplicate_key", "one key is twice in this call"));
        }
    }
    Ok(())
}

/// A GUID without braces.
fn valid_id(id: &str) -> bool {
    let groups: Vec<usize> = id.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// What became of one record, by the answer to its own request or by its part of a batch's.
fn written_one(batch: &WriteBatch, record: &WriteRecord, reply: &Reply) -> Result<Written, Failure> {
    if batch.mode == Mode::Delete {
        return match reply.status {
            200..=299 => Ok(Written::default()),
            404 if refusal::no_such_record(reply) => Ok(Written::default()),
            _ => Err(refusal::of_write(batch, record, reply)),
        };
    }
    let created = match (batch.mode, reply.status) {
        (Mode::UpdateOnly, 200 | 204) => Some(false),
        (Mode::CreateOnly, 201 | 204) => Some(true),
        (Mode::Upsert, 200 | 201) => Some(reply.status == 201),
        // The table did not honour the preference, and so nothing tells one from the other.
        (Mode::Upsert, 204) => None,
        (_, 200..=299) => return Err(garbage(reply)),
        (_, _) => return refusal::already_there(batch, reply).unwrap_or_else(|| Err(refusal::of_write(batch, record, reply))),
    };
    if reply.status != 204 {
        let told = reply.json().and_then(|row| lookup::record_id(&batch.object, &row, &[&batch.key_field]));
        return told.map(|id| Written { crm_id: Some(id), created }).ok_or_else(|| garbage(reply));
    }
    let addressed = || match address::of(batch, record).ok()? {
        Address::Id(id) | Address::Derived(id) => Some(id),
        Address::Key(_) => None,
    };
    Ok(Written { crm_id: reply.header("odata-entityid").and_then(id_of_url).or_else(addressed), created })
}

/// `…/contacts(00000000-0000-0000-0000-000000000001)`.
fn id_of_url(url: &str) -> Option<String> {
    let (_, rest) = url.rsplit_once('(')?;
    rest.strip_suffix(')').filter(|id| valid_id(id)).map(str::to_owned)
}
