//! HubSpot: CRM objects by their batch resources, keyed by a unique property (crm-apis.md, section 3).
//!
//! Level B: upsert by a unique property, and batch read by it sees what was written (search lags behind and is never used). There is no
//! upsert of a single record; a batch of one it is. Key by a property of one's own that was created with *unique value*: by `email`, HubSpot
//! supports no partial upserts.

mod answer;
mod describe;
mod refusal;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use model::event::Mode;
use model::{Class, Failure, Scope, Time};
use reqwest::Method;
use serde_json::{Map, Value, json};

use self::refusal::{Call, refused};
use super::refusal::garbage;
use crate::connector::last;
use crate::wire::encode;
use crate::{
    AuthKind, Body, Connector, Description, Level, Limits, Outcome, Present, ReadBatch, Reply, Request, Settings, SettingsError, Setup,
    Statement, Usage, WriteBatch, WriteRecord, Written, valid_name,
};

/// The path family that every account has; dated ones such as `2026-09` stand beside it.
const VERSION: &str = "v3";
/// Documented for every batch resource.
const BATCH_MAX: usize = 100;
/// Nobody's address or id is longer.
const KEY_MAX: usize = 255;
/// Documented for 477, a migration between data centres.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);
/// The property of contacts whose values are unique without anybody's doing.
const EMAIL: &str = "email";
/// An upsert by one of these updates the contact too (crm-apis.md 3.3).
const OTHER_EMAILS: &str = "hs_additional_emails";

/// The token of a private app, or a public app's refresh token.
pub(super) const TAKES: &[AuthKind] = &[AuthKind::Bearer, AuthKind::RefreshToken];
/// The smallest plan allows 100 in any ten seconds.
pub(super) const CALLS: u32 = 10;

/// The translator for HubSpot.
#[derive(Clone, Debug)]
pub struct Hubspot {
    /// `/crm/v3/objects` or `/crm/objects/2026-09`.
    root: String,
}

impl Hubspot {
    /// A translator for one path family: `v3`, which is the default, or a date such as `2026-09`.
    ///
    /// # Errors
    ///
    /// The version is neither.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        Self::of_version(settings.api_version.as_deref())
    }

    /// As [`Hubspot::new`], knowing the version only.
    pub(crate) fn of_version(api_version: Option<&str>) -> Result<Self, SettingsError> {
        let version = api_version.unwrap_or(VERSION);
        let dated = version.split_once('-').is_some_and(|(year, month)| {
            let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
            digits(year, 4) && digits(month, 2)
        });
        match (version == VERSION, dated) {
            (true, _) => Ok(Self { root: "/crm/v3/objects".to_owned() }),
            (false, true) => Ok(Self { root: format!("/crm/objects/{version}") }),
            (false, false) => Err(SettingsError::ApiVersion(format!("`{version}` is no version; it looks like `v3` or `2026-09`"))),
        }
    }

    /// Where its objects are: `/crm/v3/objects`.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    fn post(&self, object: &str, verb: &str, body: Value) -> Request {
        accepting(Request::new(Method::POST, format!("{}/{object}/batch/{verb}", self.root), Body::Json(body)))
    }
}

/// What a reply other than 2xx means for a call that only reads.
pub(crate) fn refused_read(reply: &Reply) -> Failure {
    refused(reply, Call::Read)
}

fn accepting(mut request: Request) -> Request {
    request.headers.push(("accept".to_owned(), "application/json".to_owned()));
    request
}

impl Connector for Hubspot {
    fn level(&self) -> Level {
        Level::B
    }

    fn statement(&self) -> Statement {
        Statement {
            created_from_updated: "`new` of each result",
            cannot: "a key of `email` takes no partial upserts; a contact is also found by its further addresses",
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            write_batch: BATCH_MAX,
            read_batch: BATCH_MAX,
            call_timeout: Duration::from_secs(30),
            late_window: Duration::from_secs(300),
            retry_after_max: RETRY_AFTER_MAX,
        }
    }

    fn canonical_key(&self, key: &str) -> String {
        key.trim().to_lowercase()
    }

    fn equal(&self, _field: &str, a: &Value, b: &Value) -> bool {
        same(a, b)
    }

    fn write_fits(&self, batch: &WriteBatch) -> usize {
        batch.records.len().min(BATCH_MAX)
    }

    fn write(&self, batch: &WriteBatch) -> Result<Request, Failure> {
        check_write(self, batch)?;
        let inputs: Vec<Value> = match batch.mode {
            Mode::Delete => batch.records.iter().map(|record| json!({ "id": record.crm_id })).collect(),
            Mode::Upsert | Mode::UpdateOnly | Mode::CreateOnly => {
                batch.records.iter().enumerate().map(|(place, record)| input(batch, place, record)).collect()
            }
        };
        let verb = match batch.mode {
            Mode::Upsert => "upsert",
            Mode::UpdateOnly => "update",
            Mode::CreateOnly => "create",
            Mode::Delete => "archive",
        };
        Ok(self.post(&batch.object, verb, json!({ "inputs": inputs })))
    }

    fn written(&self, batch: &WriteBatch, reply: &Reply) -> Outcome<Written> {
        if batch.mode == Mode::Delete && reply.status == 204 {
            // What was archived before is archived: nothing tells one from the other.
            return Ok(batch.records.iter().map(|_| Ok(Written::default())).collect());
        }
        if (200..300).contains(&reply.status) {
            return answer::written(self, batch, reply);
        }
        let alone = batch.records.len() == 1;
        match refused(reply, if alone { Call::One(batch.mode) } else { Call::Many }) {
            failure if failure.scope == Scope::Record => Ok(vec![refusal::already_there(batch, failure, reply)]),
            failure => Err(failure),
        }
    }

    fn read_fits(&self, batch: &ReadBatch) -> usize {
        batch.records.len().min(BATCH_MAX)
    }

    fn read(&self, batch: &ReadBatch) -> Result<Request, Failure> {
        check_names([&batch.object, &batch.key_field].into_iter().chain(&batch.fields))?;
        batch.records.iter().try_for_each(|sought| check_key(&sought.key))?;
        if batch.records.is_empty() {
            return Err(refuse(Class::Permanent, "empty_batch", "nothing was asked for; this is a bug of ours"));
        }
        if batch.records.len() > BATCH_MAX {
            return Err(refuse(Class::Conflict, "too_large", "more keys than fit into one call"));
        }
        let mut properties: BTreeSet<&str> = batch.fields.iter().map(String::as_str).chain([batch.key_field.as_str()]).collect();
        if batch.key_field == EMAIL {
            properties.insert(OTHER_EMAILS);
        }
        let inputs: Vec<Value> = batch.records.iter().map(|sought| json!({ "id": sought.key })).collect();
        let body = json!({ "idProperty": batch.key_field, "properties": properties, "propertiesWithHistory": [], "inputs": inputs });
        Ok(self.post(&batch.object, "read", body))
    }

    fn found(&self, batch: &ReadBatch, replies: &[Reply]) -> Outcome<Option<Present>> {
        let reply = last(replies)?;
        if !matches!(reply.status, 200 | 207) {
            return Err(refused(reply, Call::Read));
        }
        answer::found(self, batch, reply)
    }

    /// A property with unique value, which can only be had when it is made (crm-apis.md 3.3).
    fn describe(&self, object: &str) -> Vec<Request> {
        vec![accepting(Request::new(Method::GET, format!("/crm/v3/properties/{}", encode(object)), Body::None))]
    }

    fn described(&self, object: &str, replies: &[Reply]) -> Result<Description, Failure> {
        describe::described(object, replies)
    }

    fn setup(&self, object: &str, key_field: &str) -> Setup {
        let group = match object {
            "contacts" => "contactinformation",
            "companies" => "companyinformation",
            "deals" => "dealinformation",
            other => other,
        };
        let body = json!({
            "name": key_field, "label": "Onceward key", "groupName": group, "type": "string", "fieldType": "text", "hasUniqueValue": true,
            "description": "The key by which Onceward finds this record. Do not change it by hand.",
        });
        Setup::Calls(vec![accepting(Request::new(Method::POST, format!("/crm/v3/properties/{object}"), Body::Json(body)))])
    }

    fn probe(&self) -> Request {
        accepting(Request::new(Method::GET, "/account-info/v3/details", Body::None))
    }

    fn probed(&self, reply: &Reply) -> Result<(), Failure> {
        match reply.status {
            200 if reply.json().is_some_and(|account| account.is_object()) => Ok(()),
            200 => Err(garbage(reply)),
            // A token without the scope for this one resource is a good token all the same.
            403 if refusal::category(reply) == "MISSING_SCOPES" => Ok(()),
            _ => Err(refused(reply, Call::Read)),
        }
    }

    fn token_url(&self) -> Option<String> {
        Some("/oauth/v1/token".to_owned())
    }

    /// https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines: the day's pair is not told to OAuth apps, and nothing with searches.
    fn usage(&self, reply: &Reply) -> Vec<Usage> {
        let told = |name: &str| reply.header(&format!("x-hubspot-ratelimit-{name}"))?.trim().parse::<u64>().ok();
        let day = || {
            let limit = told("daily")?;
            Some(Usage::day(limit.saturating_sub(told("daily-remaining")?), limit))
        };
        let burst = || {
            let limit = told("max")?;
            let span = Duration::from_millis(told("interval-milliseconds")?);
            Some(Usage::burst(limit.saturating_sub(told("remaining")?), limit, span))
        };
        day().into_iter().chain(burst()).collect()
    }
}

fn refuse(class: Class, code: &str, message: &str) -> Failure {
    Failure::new(class, Scope::Call, code, message)
}

/// One record of a write. The trace id is what makes HubSpot answer each input for itself instead of refusing all for one; its place in the
/// batch is unique there, and nothing else is asked of it.
fn input(batch: &WriteBatch, place: usize, record: &WriteRecord) -> Value {
    let mut properties: Map<String, Value> = record
        .fields
        .iter()
        .filter(|(name, _)| **name != batch.key_field && *name != "hs_object_id")
        .map(|(name, value)| (name.clone(), Value::String(spelled(value))))
        .collect();
    let mut input = json!({ "objectWriteTraceId": place.to_string() });
    match (batch.mode, &record.crm_id) {
        (Mode::UpdateOnly, Some(id)) => input["id"] = json!(id),
        (Mode::UpdateOnly | Mode::Upsert, _) => {
            input["id"] = json!(record.key);
            input["idProperty"] = json!(batch.key_field);
        }
        (Mode::CreateOnly | Mode::Delete, _) => {}
    }
    // A record that is created must come out with its key. An address is left to `id`: a contact that was found by its second one keeps its first.
    let keyed = match batch.mode {
        Mode::CreateOnly => true,
        Mode::Upsert => batch.key_field != EMAIL,
        Mode::UpdateOnly | Mode::Delete => false,
    };
    if keyed {
        properties.insert(batch.key_field.clone(), json!(record.key));
    }
    input["properties"] = Value::Object(properties);
    input
}

/// A value as a property takes it: always a text; the empty one clears, and several choices are joined by semicolons.
fn spelled(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(choices) => choices.iter().map(spelled).collect::<Vec<_>>().join(";"),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// Equal as HubSpot stores it: everything is a text; trimmed, line ends one kind, nothing and the empty text the same, choices in any order,
/// numbers by value, moments by instant, e-mail addresses without regard to case.
fn same(a: &Value, b: &Value) -> bool {
    let text = |value: &Value| spelled(value).trim().replace("\r\n", "\n");
    let (left, right) = (text(a), text(b));
    if left == right {
        return true;
    }
    if left.is_empty() || right.is_empty() {
        return false;
    }
    if a.is_array() || b.is_array() {
        let choices = |text: &str| text.split(';').map(|choice| choice.trim().to_owned()).collect::<BTreeSet<_>>();
        return choices(&left) == choices(&right);
    }
    if a.is_number() || b.is_number() {
        return matches!((left.parse::<f64>(), right.parse::<f64>()), (Ok(a), Ok(b)) if (a - b).abs() <= f64::EPSILON * a.abs().max(b.abs()));
    }
    if a.is_boolean() || b.is_boolean() {
        return left.eq_ignore_ascii_case(&right);
    }
    // One of them at least as a date: two texts of digits that differ are two numbers.
    let dated =
        Time::parse_rfc3339(&left).is_some() || Time::parse_rfc3339(&right).is_some() || day(&left).is_some() || day(&right).is_some();
    let moments = || Some(moment(&left)?.millis() == moment(&right)?.millis());
    (dated && moments() == Some(true)) || (left.contains('@') && left.to_lowercase() == right.to_lowercase())
}

/// A date-time, a day, or the milliseconds that HubSpot also writes both as.
fn moment(text: &str) -> Option<Time> {
    let millis = || text.parse::<i64>().ok().filter(|millis| millis.checked_mul(1_000).is_some()).map(Time::from_millis);
    Time::parse_rfc3339(text).or_else(|| day(text)).or_else(millis)
}

fn day(text: &str) -> Option<Time> {
    Time::parse_rfc3339(&format!("{text}T00:00:00Z")).filter(|_| text.len() == "2026-11-22".len())
}

fn check_names<'a>(mut names: impl Iterator<Item = &'a String>) -> Result<(), Failure> {
    match names.find(|name| !valid_name(name)) {
        Some(name) => {
            let message =
                format!("`{}` is no internal name of an object or a property: correct the destination's mapping", name.escape_default());
            Err(refuse(Class::Permanent, "invalid_name", &message))
        }
        None => Ok(()),
    }
}

fn check_key(key: &str) -> Result<(), Failure> {
    if key.trim().is_empty() || key.chars().count() > KEY_MAX {
        return Err(refuse(Class::Permanent, "invalid_key", "a key is 1 to 255 characters, not only spaces"));
    }
    Ok(())
}

fn check_write(hubspot: &Hubspot, batch: &WriteBatch) -> Result<(), Failure> {
    if batch.records.is_empty() {
        return Err(refuse(Class::Permanent, "empty_batch", "nothing was to be written; this is a bug of ours"));
    }
    if batch.records.len() > BATCH_MAX {
        return Err(refuse(Class::Conflict, "too_large", "more records than fit into one call"));
    }
    check_names([&batch.object, &batch.key_field].into_iter().chain(batch.records.iter().flat_map(|record| record.fields.keys())))?;
    let mut keys = BTreeSet::new();
    for record in &batch.records {
        check_key(&record.key)?;
        if record.crm_id.as_ref().is_some_and(|id| !valid_id(id)) {
            return Err(refuse(Class::Permanent, "invalid_id", "a record's id is a number"));
        }
        if !keys.insert(hubspot.canonical_key(&record.key)) {
            // Sent together, the whole batch would be refused.
            return Err(refuse(Class::Conflict, "duplicate_key", "one key is twice in this call"));
        }
    }
    Ok(())
}

fn valid_id(id: &str) -> bool {
    (1..=20).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit())
}
