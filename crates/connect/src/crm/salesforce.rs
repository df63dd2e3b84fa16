//! Salesforce: REST API, keyed by an External ID field (crm-apis.md, section 2).
//!
//! Level B: upsert by external id, and SOQL reads what was written. Make the key field *External ID* and *Unique*, or
//! two first writes at one moment can create two records.

mod describe;
mod refusal;
mod soql;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::event::Mode;
use model::record::Link;
use model::{Class, Failure, Scope};
use reqwest::Method;
use serde_json::{Map, Value, json};

use self::refusal::{Call, refused, refused_record};
use super::refusal::{garbage, placed};
use crate::auth::is_token;
use crate::connector::last;
use crate::wire::encode;
use crate::{
    AuthKind, Body, Connector, Description, Level, Limits, Outcome, Present, ReadBatch, Reply, Request, Secret, Settings, SettingsError,
    Setup, Statement, Token, Usage, WriteBatch, WriteRecord, Written, valid_name,
};

/// The version in the current documentation's examples.
const VERSION: &str = "v68.0";
/// The lowest version whose upsert answers with a body when it updated.
const VERSION_MIN: u32 = 46;
/// Documented for sObject Collections.
const BATCH_MAX: usize = 200;
/// An External ID field holds no more.
const KEY_MAX: usize = 255;

/// An app with a user to run as, a signed assertion for a user, or a user's refresh token.
pub(super) const TAKES: &[AuthKind] = &[AuthKind::ClientCredentials, AuthKind::JwtBearer, AuthKind::RefreshToken];
/// There is a daily allowance and no burst limit.
pub(super) const CALLS: u32 = 100;

/// The translator for Salesforce.
#[derive(Clone, Debug)]
pub struct Salesforce {
    /// `/services/data/v68.0`.
    root: String,
}

impl Salesforce {
    /// A translator for one version of the API: `v68.0`, which is the default.
    ///
    /// # Errors
    ///
    /// The version is malformed or lower than v46.0, which does not answer an upsert that updated.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let version = settings.api_version.as_deref().unwrap_or(VERSION);
        let number = version.strip_prefix('v').and_then(|rest| rest.strip_suffix(".0")).and_then(|major| major.parse::<u32>().ok());
        match number {
            Some(number) if number >= VERSION_MIN && version == format!("v{number}.0") => {
                Ok(Self { root: format!("/services/data/{version}") })
            }
            Some(number) if number < VERSION_MIN => Err(SettingsError::ApiVersion(format!(
                "`{version}` is too old, upserts answer properly since v{VERSION_MIN}.0; leave it out for {VERSION}"
            ))),
            Some(_) | None => Err(SettingsError::ApiVersion(format!("`{version}` is no version; it looks like `{VERSION}`"))),
        }
    }

    fn request(&self, method: Method, path: &str, body: Body) -> Request {
        let mut request = Request::new(method, format!("{}{path}", self.root), body);
        request.headers.push(("accept".to_owned(), "application/json".to_owned()));
        request.headers.push(("sforce-call-options".to_owned(), "client=onceward".to_owned()));
        request
    }

    /// One record, by its id or its key in the path.
    fn write_one(&self, batch: &WriteBatch, record: &WriteRecord) -> Result<Request, Failure> {
        let WriteBatch { object, key_field, .. } = batch;
        let (method, path, fields) = match (batch.mode, &record.crm_id) {
            (Mode::CreateOnly, _) => (Method::POST, format!("/sobjects/{object}"), keyed(key_field, record)),
            (Mode::UpdateOnly, Some(id)) => (Method::PATCH, format!("/sobjects/{object}/{id}"), unkeyed(key_field, record)),
            (Mode::UpdateOnly, None) => {
                if record.key == "." || record.key == ".." {
                    // A URL with this key in its path names something else.
                    return Err(refuse(Class::Permanent, Scope::Record, "key_not_addressable", "the key cannot be part of a URL"));
                }
                let path = format!("/sobjects/{object}/{key_field}/{}?updateOnly=true", encode(&record.key));
                (Method::PATCH, path, unkeyed(key_field, record))
            }
            (Mode::Upsert | Mode::Delete, _) => {
                (Method::PATCH, format!("/sobjects/{object}/{key_field}/{}", encode(&record.key)), unkeyed(key_field, record))
            }
        };
        Ok(self.request(method, &path, Body::Json(Value::Object(fields))))
    }

    /// Several records, or one whose key is better not in a path.
    fn write_many(&self, batch: &WriteBatch) -> Request {
        let WriteBatch { object, key_field, mode, records } = batch;
        let attributes = json!({ "type": object });
        let records: Vec<Value> = records
            .iter()
            .map(|record| {
                let mut spelled = Map::new();
                spelled.insert("attributes".to_owned(), attributes.clone());
                match (mode, &record.crm_id) {
                    (Mode::UpdateOnly, Some(id)) => {
                        spelled.insert("id".to_owned(), json!(id));
                        spelled.extend(unkeyed(key_field, record));
                    }
                    (Mode::UpdateOnly, None) | (Mode::CreateOnly | Mode::Upsert | Mode::Delete, _) => {
                        spelled.extend(keyed(key_field, record))
                    }
                }
                Value::Object(spelled)
            })
            .collect();
        let (method, path) = match mode {
            Mode::CreateOnly => (Method::POST, "/composite/sobjects".to_owned()),
            Mode::UpdateOnly => (Method::PATCH, "/composite/sobjects".to_owned()),
            Mode::Upsert | Mode::Delete => (Method::PATCH, format!("/composite/sobjects/{object}/{key_field}")),
        };
        self.request(method, &path, Body::Json(json!({ "allOrNone": false, "records": records })))
    }

    fn query(&self, batch: &ReadBatch) -> String {
        format!("{}/query?q={}", self.root, encode(&soql::select(batch)))
    }
}

impl Connector for Salesforce {
    fn level(&self) -> Level {
        Level::B
    }

    fn statement(&self) -> Statement {
        Statement {
            created_from_updated: "`created` of each result",
            cannot: "a key field that is an External ID and not Unique lets two first writes of anybody's create two records",
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            write_batch: BATCH_MAX,
            read_batch: BATCH_MAX,
            // Triggers and flows run inside the call, for every record.
            call_timeout: Duration::from_secs(60),
            late_window: Duration::from_secs(300),
            retry_after_max: Duration::from_secs(15 * 60),
        }
    }

    fn canonical_key(&self, key: &str) -> String {
        key.trim().to_lowercase()
    }

    fn equal(&self, _field: &str, a: &Value, b: &Value) -> bool {
        same(&spelled(a), &spelled(b))
    }

    fn write_fits(&self, batch: &WriteBatch) -> usize {
        let fits = match batch.mode {
            Mode::CreateOnly | Mode::Upsert | Mode::Delete => batch.records.len(),
            Mode::UpdateOnly => batch.records.iter().take_while(|record| record.crm_id.is_some()).count().max(1),
        };
        fits.min(BATCH_MAX).min(batch.records.len())
    }

    fn write(&self, batch: &WriteBatch) -> Result<Request, Failure> {
        check_write(self, batch)?;
        if batch.mode == Mode::Delete {
            let ids: Vec<&str> = batch.records.iter().filter_map(|record| record.crm_id.as_deref()).collect();
            return Ok(self.request(Method::DELETE, &format!("/composite/sobjects?ids={}&allOrNone=false", ids.join("%2C")), Body::None));
        }
        match batch.records.as_slice() {
            [only] if alone(batch, only) => self.write_one(batch, only),
            _ => Ok(self.write_many(batch)),
        }
    }

    fn written(&self, batch: &WriteBatch, reply: &Reply) -> Outcome<Written> {
        match batch.records.as_slice() {
            [only] if alone(batch, only) => {
                written_one(batch, only, reply).map_or_else(|failure| placed(failure, 1), |written| Ok(vec![Ok(written)]))
            }
            records => written_many(batch, records, reply),
        }
    }

    fn read_fits(&self, batch: &ReadBatch) -> usize {
        soql::fits(&self.root, batch).min(BATCH_MAX)
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
        let mut request = self.request(Method::GET, "", Body::None);
        request.path = self.query(batch);
        Ok(request)
    }

    fn found(&self, batch: &ReadBatch, replies: &[Reply]) -> Outcome<Option<Present>> {
        let reply = last(replies)?;
        if reply.status != 200 {
            return Err(refused(reply, Call::Read));
        }
        soql::found(self, batch, reply)
    }

    fn probe(&self) -> Request {
        self.request(Method::GET, "/limits", Body::None)
    }

    fn probed(&self, reply: &Reply) -> Result<(), Failure> {
        match reply.status {
            200 if reply.json().is_some_and(|limits| limits.is_object()) => Ok(()),
            200 => Err(garbage(reply)),
            _ => Err(refused(reply, Call::Read)),
        }
    }

    fn token_url(&self) -> Option<String> {
        Some("/services/oauth2/token".to_owned())
    }

    fn describe(&self, object: &str) -> Vec<Request> {
        vec![self.request(Method::GET, &format!("/sobjects/{}/describe", encode(object)), Body::None)]
    }

    fn described(&self, _object: &str, replies: &[Reply]) -> Result<Description, Failure> {
        describe::described(replies)
    }

    fn setup(&self, object: &str, key_field: &str) -> Setup {
        let label = key_field.trim_end_matches("__c").replace('_', " ");
        Setup::Instructions(format!(
            "In Salesforce: Setup, Object Manager, {object}, Fields & Relationships, New, Text, length 255, label `{label}`, field name `{}`; \
             tick `Unique` (case-insensitive) and `External ID`; make it visible to the integration user's permission set.\n\
             Or by the Tooling API, as somebody who may customize the application:\n\
             POST {}/tooling/sobjects/CustomField\n\
             {}",
            key_field.trim_end_matches("__c"),
            self.root,
            json!({ "FullName": format!("{object}.{key_field}"), "Metadata": { "label": label, "type": "Text", "length": 255, "unique": true,
                "caseSensitive": false, "externalId": true } })
        ))
    }

    fn granted(&self, reply: &Reply) -> Result<Token, Failure> {
        let body = reply.json().unwrap_or_default();
        let token = body["access_token"].as_str().filter(|token| reply.status == 200 && is_token(token));
        match token {
            Some(token) => {
                let instance_url = body["instance_url"].as_str().filter(|url| !url.is_empty()).map(str::to_owned);
                // No lifetime is ever named: it is the org's session timeout.
                Ok(Token { value: Secret::new(token), instance_url, expires_in: None })
            }
            None => Err(refusal::no_token(reply, &body)),
        }
    }

    fn expired(&self, reply: &Reply) -> bool {
        reply.status == 401 && refusal::errors(reply).first().is_none_or(|error| error.code != "INVALID_AUTH_HEADER")
    }

    fn usage(&self, reply: &Reply) -> Vec<Usage> {
        let day = || {
            let told = reply.header("sforce-limit-info")?;
            let (used, limit) = told.split([',', ';']).find_map(|part| part.trim().strip_prefix("api-usage="))?.split_once('/')?;
            Some(Usage::day(used.trim().parse().ok()?, limit.trim().parse().ok()?))
        };
        day().into_iter().collect()
    }
}

fn refuse(class: Class, scope: Scope, code: &str, message: &str) -> Failure {
    Failure::new(class, scope, code, message)
}

/// Whether the only record of a batch goes by the single-record resources. An upsert does so only by a key that is safe
/// in a path: e-mail addresses with some endings answer 404 there (crm-apis.md 2.2).
fn alone(batch: &WriteBatch, record: &WriteRecord) -> bool {
    match batch.mode {
        Mode::CreateOnly | Mode::UpdateOnly => true,
        Mode::Delete => false,
        Mode::Upsert => record.key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_:".contains(&byte)),
    }
}

fn is_id_or_key(name: &str, key_field: &str) -> bool {
    name.eq_ignore_ascii_case("id") || name.eq_ignore_ascii_case("attributes") || name.eq_ignore_ascii_case(key_field)
}

/// The fields without the key, which must not be in the body when it is in the path.
fn unkeyed(key_field: &str, record: &WriteRecord) -> Map<String, Value> {
    let fields = record.fields.iter().filter(|(name, _)| !is_id_or_key(name, key_field));
    fields.map(|(name, value)| linked(name, value).unwrap_or_else(|| (name.clone(), spelled(value)))).collect()
}

/// A link to a parent by its external id (crm-apis.md 2.2): `AccountId` becomes `"Account": {"Ext__c": "acct-42"}`, `Parent__c` `"Parent__r": {…}`.
fn linked(name: &str, value: &Value) -> Option<(String, Value)> {
    let Link { key_field, key, .. } = Link::of(value)?;
    let relationship = match (name.strip_suffix("__c"), name.strip_suffix("Id")) {
        (Some(custom), _) => format!("{custom}__r"),
        (None, Some(standard)) => standard.to_owned(),
        (None, None) => name.to_owned(),
    };
    Some((relationship, json!({ key_field: key })))
}

/// The fields with the key.
fn keyed(key_field: &str, record: &WriteRecord) -> Map<String, Value> {
    let mut fields = unkeyed(key_field, record);
    fields.insert(key_field.to_owned(), json!(record.key));
    fields
}

/// A value as Salesforce takes it: the choices of a multi-select picklist are one text with semicolons.
fn spelled(value: &Value) -> Value {
    if let Some(link) = Link::of(value) {
        // What is echoed is the parent's id.
        return link.crm_id.map_or(Value::Null, |id| Value::String(id.chars().take(15).collect()));
    }
    match value.as_array() {
        Some(choices) => Value::String(choices.iter().map(plain).collect::<Vec<_>>().join(";")),
        None => value.clone(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Equal as Salesforce stores it: texts trimmed, line ends one kind, nothing and the empty text the same, numbers by
/// value, moments by instant, e-mail addresses without regard to case.
fn same(a: &Value, b: &Value) -> bool {
    let empty = |value: &Value| value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
    if empty(a) || empty(b) {
        return empty(a) && empty(b);
    }
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        // Two lengths of one id (15 letters, or 18 with a check of their case).
        if a.len() != b.len() && valid_id(a) && valid_id(b) {
            return a.get(..15) == b.get(..15);
        }
        let (a, b) = (a.trim().replace("\r\n", "\n"), b.trim().replace("\r\n", "\n"));
        // A date-time field keeps whole seconds.
        let moments = || Some(soql::moment(&a)?.seconds() == soql::moment(&b)?.seconds());
        let mail = || a.contains('@') && a.to_lowercase() == b.to_lowercase();
        return a == b || moments() == Some(true) || mail();
    }
    if a.is_boolean() || b.is_boolean() {
        return plain(a).trim().eq_ignore_ascii_case(plain(b).trim());
    }
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    if let (true, Some(a), Some(b)) = (a.is_number() || b.is_number(), number(a), number(b)) {
        return a == b || (a - b).abs() <= f64::EPSILON * a.abs().max(b.abs());
    }
    a == b
}

fn check_names<'a>(mut names: impl Iterator<Item = &'a String>) -> Result<(), Failure> {
    match names.find(|name| !valid_name(name)) {
        Some(name) => {
            let message = format!("`{}` is no API name of an object or a field: correct the destination's mapping", name.escape_default());
            Err(refuse(Class::Permanent, Scope::Call, "invalid_name", &message))
        }
        None => Ok(()),
    }
}

fn check_key(key: &str) -> Result<(), Failure> {
    if key.trim().is_empty() || key.chars().count() > KEY_MAX {
        return Err(refuse(Class::Permanent, Scope::Call, "invalid_key", "a key is 1 to 255 characters, not only spaces"));
    }
    Ok(())
}

fn check_write(salesforce: &Salesforce, batch: &WriteBatch) -> Result<(), Failure> {
    if batch.records.is_empty() {
        return Err(refuse(Class::Permanent, Scope::Call, "empty_batch", "nothing was to be written; this is a bug of ours"));
    }
    if batch.records.len() > BATCH_MAX {
        return Err(refuse(Class::Conflict, Scope::Call, "too_large", "more records than fit into one call"));
    }
    if salesforce.write_fits(batch) < batch.records.len() {
        return Err(refuse(
            Class::Conflict,
            Scope::Call,
            "mixed_batch",
            "records that may only be updated share a call only if all their ids are known",
        ));
    }
    check_names([&batch.object, &batch.key_field].into_iter().chain(batch.records.iter().flat_map(|record| record.fields.keys())))?;
    let mut keys = BTreeSet::new();
    for record in &batch.records {
        check_key(&record.key)?;
        if record.crm_id.as_ref().is_some_and(|id| !valid_id(id)) {
            return Err(refuse(Class::Permanent, Scope::Call, "invalid_id", "a record's id is 15 or 18 letters and digits"));
        }
        if !keys.insert(salesforce.canonical_key(&record.key)) {
            // Sent together, every row of that key would fail.
            return Err(refuse(Class::Conflict, Scope::Call, "duplicate_key", "one key is twice in this call"));
        }
    }
    Ok(())
}

fn valid_id(id: &str) -> bool {
    (id.len() == 15 || id.len() == 18) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Reads the answer of a single-record resource.
fn written_one(batch: &WriteBatch, record: &WriteRecord, reply: &Reply) -> Result<Written, Failure> {
    let by_id = batch.mode == Mode::UpdateOnly && record.crm_id.is_some();
    match reply.status {
        204 if by_id => Ok(Written { crm_id: record.crm_id.clone(), created: Some(false) }),
        200 | 201 if !by_id => {
            let body = reply.json().ok_or_else(|| garbage(reply))?;
            result(batch, &body).ok_or_else(|| garbage(reply))?
        }
        200..=299 => Err(garbage(reply)),
        _ => already_there(batch, refused(reply, Call::One(batch.mode))),
    }
}

/// Reads the answer of sObject Collections: results in the order of the request, each with its own success.
fn written_many(batch: &WriteBatch, records: &[WriteRecord], reply: &Reply) -> Outcome<Written> {
    if !(200..300).contains(&reply.status) {
        return placed(refused(reply, if records.len() == 1 { Call::One(batch.mode) } else { Call::Many }), records.len());
    }
    let body = reply.json().filter(|_| reply.status == 200).ok_or_else(|| garbage(reply))?;
    let rows = body.as_array().ok_or_else(|| garbage(reply))?;
    if rows.len() != records.len() {
        let message = format!("{} results came for {} records; which is which cannot be known", rows.len(), records.len());
        return Err(Failure::new(Class::Unknown, Scope::Call, "result_count", message));
    }
    let results: Option<Vec<_>> = rows.iter().map(|row| result(batch, row)).collect();
    let results = results.ok_or_else(|| garbage(reply))?;
    if shuffled(records, &results) {
        return Err(Failure::new(
            Class::Unknown,
            Scope::Call,
            "result_order",
            "a result carries the id of another record; which is which cannot be known",
        ));
    }
    Ok(results)
}

/// One result object; `None` if it is none.
fn result(batch: &WriteBatch, row: &Value) -> Option<Result<Written, Failure>> {
    if !row["success"].as_bool()? {
        let failure = refused_record(&row["errors"], batch.mode);
        let gone = batch.mode == Mode::Delete && matches!(failure.code.as_str(), "ENTITY_IS_DELETED" | "INVALID_CROSS_REFERENCE_KEY");
        return Some(if gone { Ok(Written::default()) } else { already_there(batch, failure) });
    }
    let crm_id = row["id"].as_str().filter(|id| valid_id(id))?.to_owned();
    let created = match batch.mode {
        Mode::CreateOnly => Some(true),
        Mode::UpdateOnly => Some(false),
        Mode::Upsert => row["created"].as_bool(),
        Mode::Delete => return Some(Ok(Written::default())),
    };
    Some(Ok(Written { crm_id: Some(crm_id), created }))
}

/// In mode create-only, a record that is there already is what was wanted.
fn already_there(batch: &WriteBatch, failure: Failure) -> Result<Written, Failure> {
    if batch.mode == Mode::CreateOnly && failure.code == "DUPLICATE_VALUE" {
        // "duplicate value found: Ext__c duplicates value on record with id: 00Q000000000001"
        let named = failure
            .message
            .split_once("duplicate value found:")
            .and_then(|(_, rest)| rest.split_once("duplicates value on record with id:"));
        if let Some((field, id)) = named
            && field.trim().eq_ignore_ascii_case(&batch.key_field)
        {
            let id = id.trim().trim_end_matches('.');
            return Ok(Written { crm_id: valid_id(id).then(|| id.to_owned()), created: Some(false) });
        }
    }
    Err(failure)
}

/// Whether a result's id is known to belong to another record of the batch, or came twice.
fn shuffled(records: &[WriteRecord], results: &[Result<Written, Failure>]) -> bool {
    let short = |id: &str| id.chars().take(15).collect::<String>();
    let mut owners = BTreeMap::new();
    for (at, record) in records.iter().enumerate() {
        if let Some(id) = &record.crm_id {
            owners.insert(short(id), at);
        }
    }
    let mut seen = BTreeSet::new();
    results.iter().enumerate().any(|(at, result)| {
        let Ok(Written { crm_id: Some(id), .. }) = result else { return false };
        let id = short(id);
        owners.get(&id).is_some_and(|owner| *owner != at) || !seen.insert(id)
    })
}
