//! Zoho CRM: records by their module, keyed by a field that is unique and *external* (crm-apis.md, section 5).
//!
//! Level B: upsert by a unique field, and a look-up by an external one, which is no search. An account's workflows run as for anybody's write.

mod answer;
mod fields;
mod refusal;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use model::event::Mode;
use model::record::Link;
use model::{Class, Failure, Scope, Time};
use reqwest::{Method, Url};
use serde_json::{Map, Value, json};

use super::refusal::garbage;
use super::same::same;
use crate::auth::is_token;
use crate::connector::last;
use crate::wire::encode;
use crate::{
    AuthKind, Body, Connector, Description, Level, Limits, Made, Outcome, Present, ReadBatch, Reply, Request, Secret, Settings,
    SettingsError, Setup, Statement, Token, WriteBatch, WriteRecord, Written, valid_name,
};

/// The version in the current documentation.
const VERSION: &str = "v8";
/// Documented for each of the calls that take several records.
const BATCH_MAX: usize = 100;
/// A field of one line holds no more.
const KEY_MAX: usize = 255;
/// Keys of a look-up stand in its URL.
const URL_MAX: usize = 7_000;
/// A life that is longer than this is told in milliseconds, as older versions did.
const LIFE_MAX: u64 = 7 * 86_400;

/// The refresh token of a self client, or of a server-based app.
pub(super) const TAKES: &[AuthKind] = &[AuthKind::RefreshToken];
/// There is a daily allowance and a limit of calls at once, ten in the smallest paid edition.
pub(super) const CALLS: u32 = 10;

/// The translator for Zoho CRM.
#[derive(Clone, Debug)]
pub struct Zoho {
    /// `/crm/v8`.
    root: String,
    /// Where tokens come from in the data centre of the base URL.
    accounts: String,
}

impl Zoho {
    /// A translator for one version of the API: `v8`, which is the default.
    ///
    /// # Errors
    ///
    /// The version is malformed.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let version = settings.api_version.as_deref().unwrap_or(VERSION);
        let number = version.strip_prefix('v').filter(|number| number.len() <= 3);
        if !number.and_then(|number| number.parse::<f32>().ok()).is_some_and(|number| number >= 3.0) {
            return Err(SettingsError::ApiVersion(format!("`{version}` is no version; it looks like `{VERSION}`")));
        }
        Ok(Self { root: format!("/crm/{version}"), accounts: accounts(&settings.base_url) })
    }

    fn request(&self, method: Method, path: &str, body: Body) -> Request {
        let mut request = Request::new(method, format!("{}{path}", self.root), body);
        request.headers.push(("accept".to_owned(), "application/json".to_owned()));
        request
    }
}

/// `https://accounts.zoho.eu/oauth/v2/token` for `https://www.zohoapis.eu`; a path where the host is none of Zoho's, as a sandbox's.
fn accounts(base: &str) -> String {
    const PATH: &str = "/oauth/v2/token";
    let host = Url::parse(base.trim()).ok().and_then(|url| url.host_str().map(str::to_ascii_lowercase)).unwrap_or_default();
    let centre = host.split_once("zohoapis.").map(|(_, centre)| centre);
    match centre {
        // Canada's hosts have a name of their own.
        Some("ca") => format!("https://accounts.zohocloud.ca{PATH}"),
        Some(centre) => format!("https://accounts.zoho.{centre}{PATH}"),
        None => PATH.to_owned(),
    }
}

impl Connector for Zoho {
    fn level(&self) -> Level {
        Level::B
    }

    fn statement(&self) -> Statement {
        Statement {
            created_from_updated: "`action` of each result",
            cannot: "the key's field must be unique and external; an upsert also finds a record by the module's other unique fields; that a \
                     look-up by an external field sees a write at once is observed and not documented",
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            write_batch: BATCH_MAX,
            read_batch: BATCH_MAX,
            // Workflows and functions run inside the call, for every record.
            call_timeout: Duration::from_secs(60),
            late_window: Duration::from_secs(300),
            retry_after_max: Duration::from_secs(3_600),
        }
    }

    fn canonical_key(&self, key: &str) -> String {
        key.trim().to_lowercase()
    }

    fn equal(&self, _field: &str, a: &Value, b: &Value) -> bool {
        same(&shown(a), &shown(b))
    }

    fn write_fits(&self, batch: &WriteBatch) -> usize {
        let known = |record: &WriteRecord| record.crm_id.is_some();
        let fits = match batch.mode {
            Mode::Upsert | Mode::CreateOnly | Mode::Delete => batch.records.len(),
            // By id and by key are two calls.
            Mode::UpdateOnly => {
                let first = batch.records.first().map(known);
                batch.records.iter().take_while(|record| Some(known(record)) == first).count()
            }
        };
        fits.min(BATCH_MAX)
    }

    fn write(&self, batch: &WriteBatch) -> Result<Request, Failure> {
        check_write(self, batch)?;
        let WriteBatch { object, key_field, mode, records } = batch;
        if *mode == Mode::Delete {
            let ids: Vec<&str> = records.iter().filter_map(|record| record.crm_id.as_deref()).collect();
            return Ok(self.request(Method::DELETE, &format!("/{object}?ids={}", ids.join(",")), Body::None));
        }
        let data: Vec<Value> = records.iter().map(|record| spelled_record(batch, record)).collect::<Result<_, _>>()?;
        let by_key = *mode == Mode::UpdateOnly && records.iter().all(|record| record.crm_id.is_none());
        let mut request = match mode {
            Mode::Upsert => {
                let body = json!({ "data": data, "duplicate_check_fields": [key_field] });
                self.request(Method::POST, &format!("/{object}/upsert"), Body::Json(body))
            }
            Mode::CreateOnly => self.request(Method::POST, &format!("/{object}"), Body::Json(json!({ "data": data }))),
            Mode::UpdateOnly | Mode::Delete => self.request(Method::PUT, &format!("/{object}"), Body::Json(json!({ "data": data }))),
        };
        if by_key {
            request.headers.push(external(object, key_field));
        }
        Ok(request)
    }

    fn written(&self, batch: &WriteBatch, reply: &Reply) -> Outcome<Written> {
        answer::written(batch, reply)
    }

    fn read_fits(&self, batch: &ReadBatch) -> usize {
        // A comma parts one key of a list from the next.
        if batch.records.first().is_some_and(|sought| sought.key.contains(',')) {
            return 1;
        }
        let mut room = URL_MAX.saturating_sub(self.root.len() + batch.object.len() + fields_of(batch).len());
        let mut fits = 0;
        for sought in batch.records.iter().take(BATCH_MAX).take_while(|sought| !sought.key.contains(',')) {
            let needs = encode(&sought.key).len() + "%2C".len();
            if needs > room {
                break;
            }
            room -= needs;
            fits += 1;
        }
        fits.max(1).min(batch.records.len())
    }

    fn read(&self, batch: &ReadBatch) -> Result<Request, Failure> {
        check_names(std::iter::once(&batch.object).chain([&batch.key_field]).chain(&batch.fields))?;
        batch.records.iter().try_for_each(|sought| check_key(&sought.key))?;
        if batch.records.is_empty() {
            return Err(refuse(Class::Permanent, "empty_batch", "nothing was asked for; this is a bug of ours"));
        }
        if self.read_fits(batch) < batch.records.len() {
            return Err(refuse(Class::Conflict, "too_large", "more keys than fit into one look-up"));
        }
        let fields = fields_of(batch);
        let path = match batch.records.as_slice() {
            [only] => format!("/{}/{}?fields={fields}", batch.object, encode(&only.key)),
            several => {
                let keys: Vec<String> = several.iter().map(|sought| encode(&sought.key)).collect();
                format!("/{}?ids={}&fields={fields}&per_page=200", batch.object, keys.join(","))
            }
        };
        let mut request = self.request(Method::GET, &path, Body::None);
        request.headers.push(external(&batch.object, &batch.key_field));
        Ok(request)
    }

    fn found(&self, batch: &ReadBatch, replies: &[Reply]) -> Outcome<Option<Present>> {
        answer::found(self, batch, last(replies)?)
    }

    fn describe(&self, object: &str) -> Vec<Request> {
        vec![self.request(Method::GET, &format!("/settings/fields?module={}", encode(object)), Body::None)]
    }

    fn described(&self, _object: &str, replies: &[Reply]) -> Result<Description, Failure> {
        fields::described(last(replies)?)
    }

    fn setup(&self, object: &str, key_field: &str) -> Setup {
        let path = format!("/settings/fields?module={}", encode(object));
        Setup::Calls(vec![self.request(Method::POST, &path, Body::Json(fields::missing_key(key_field)))])
    }

    fn made(&self, reply: &Reply) -> Made {
        match reply.status {
            200..=299 => Made::Yes(None),
            400 if refusal::code(reply) == "DUPLICATE_DATA" => Made::There,
            _ => Made::No,
        }
    }

    fn probe(&self) -> Request {
        self.request(Method::GET, "/org", Body::None)
    }

    fn probed(&self, reply: &Reply) -> Result<(), Failure> {
        match reply.status {
            200 if reply.json().is_some_and(|body| body["org"].is_array()) => Ok(()),
            200 => Err(garbage(reply)),
            // A token without the scope for this one resource is a good token all the same.
            401 | 403 if refusal::code(reply) == "OAUTH_SCOPE_MISMATCH" => Ok(()),
            _ => Err(refusal::of_read(reply)),
        }
    }

    fn token_url(&self) -> Option<String> {
        Some(self.accounts.clone())
    }

    fn granted(&self, reply: &Reply) -> Result<Token, Failure> {
        let body = reply.json().unwrap_or_default();
        // A refusal comes with status 200 too, and then without a token.
        let Some(token) = body["access_token"].as_str().filter(|token| reply.status == 200 && is_token(token)) else {
            return Err(refusal::no_token(reply, &body));
        };
        let number = |name: &str| body[name].as_u64().or_else(|| body[name].as_str()?.parse().ok());
        let life = number("expires_in_sec").or_else(|| number("expires_in").map(|life| if life > LIFE_MAX { life / 1_000 } else { life }));
        let instance_url = body["api_domain"].as_str().filter(|url| !url.is_empty()).map(str::to_owned);
        Ok(Token { value: Secret::new(token), instance_url, expires_in: life.map(Duration::from_secs) })
    }

    fn authorize(&self, _kind: AuthKind, token: &Token) -> (String, String) {
        ("authorization".to_owned(), format!("Zoho-oauthtoken {}", token.value.reveal()))
    }

    fn expired(&self, reply: &Reply) -> bool {
        // A token without the scope is refused with the same status, and a fresh one has no other scope.
        reply.status == 401 && refusal::code(reply) != "OAUTH_SCOPE_MISMATCH"
    }
}

fn refuse(class: Class, code: &str, message: &str) -> Failure {
    Failure::new(class, Scope::Call, code, message)
}

/// Names the field by which records are named instead of by their ids.
fn external(object: &str, key_field: &str) -> (String, String) {
    ("x-external".to_owned(), format!("{object}.{key_field}"))
}

fn fields_of(batch: &ReadBatch) -> String {
    let mut names = vec![batch.key_field.as_str(), "Modified_Time"];
    for field in &batch.fields {
        if !names.contains(&field.as_str()) {
            names.push(field);
        }
    }
    names.join(",")
}

/// One record of a write.
fn spelled_record(batch: &WriteBatch, record: &WriteRecord) -> Result<Value, Failure> {
    let fields = record.fields.iter().filter(|(name, _)| **name != batch.key_field && *name != "id");
    let mut spelled: Map<String, Value> =
        fields.map(|(name, value)| Ok((name.clone(), spelled(value)?))).collect::<Result<_, Failure>>()?;
    match (batch.mode, &record.crm_id) {
        (Mode::UpdateOnly, Some(id)) => _ = spelled.insert("id".to_owned(), json!(id)),
        (Mode::Upsert | Mode::CreateOnly | Mode::UpdateOnly | Mode::Delete, _) => {
            _ = spelled.insert(batch.key_field.clone(), json!(record.key))
        }
    }
    Ok(Value::Object(spelled))
}

/// A link by its parent's id; a moment with an offset and without parts of a second.
fn spelled(value: &Value) -> Result<Value, Failure> {
    if let Some(link) = Link::of(value) {
        return match link.crm_id {
            Some(id) if valid_id(&id) => Ok(json!({ "id": id })),
            Some(_) => Err(refuse(Class::Permanent, "invalid_id", "a parent's id is a number")),
            None => Err(refuse(Class::Conflict, "parent_unknown", "the parent's id is not known yet")),
        };
    }
    let moment = value.as_str().filter(|text| text.len() >= 20 && text.contains('T')).and_then(Time::parse_rfc3339);
    Ok(match (moment, value.as_str()) {
        (Some(moment), Some(text)) if text.ends_with('Z') || text.contains('.') => {
            let whole = Time::from_seconds(moment.seconds()).to_string();
            let whole = whole.split(['.', 'Z']).next().unwrap_or_default();
            Value::String(format!("{whole}+00:00"))
        }
        (Some(_) | None, _) => value.clone(),
    })
}

/// A value as Zoho shows it: moments in whole seconds, and a link (`{"name": "Example", "id": "7244"}`) as its parent's id.
fn shown(value: &Value) -> Value {
    let moment = |text: &str| Time::parse_rfc3339(text).filter(|_| text.len() >= 20).map(|at| Time::from_seconds(at.seconds()).to_string());
    match Link::of(value) {
        Some(_) => value.clone(),
        None => match value.as_str().and_then(moment) {
            Some(whole) => Value::String(whole),
            None => value.as_object().and_then(|members| members.get("id")).filter(|id| id.is_string()).unwrap_or(value).clone(),
        },
    }
}

fn check_names<'a>(mut names: impl Iterator<Item = &'a String>) -> Result<(), Failure> {
    match names.find(|name| !valid_name(name)) {
        Some(name) => {
            let message = format!("`{}` is no API name of a module or a field: correct the destination's mapping", name.escape_default());
            Err(refuse(Class::Permanent, "invalid_name", &message))
        }
        None => Ok(()),
    }
}

fn check_key(key: &str) -> Result<(), Failure> {
    if key.trim().is_empty() || key.chars().count() > KEY_MAX || matches!(key, "." | "..") {
        return Err(refuse(Class::Permanent, "invalid_key", "a key is 1 to 255 characters, not only spaces or dots"));
    }
    Ok(())
}

fn check_write(zoho: &Zoho, batch: &WriteBatch) -> Result<(), Failure> {
    if batch.records.is_empty() {
        return Err(refuse(Class::Permanent, "empty_batch", "nothing was to be written; this is a bug of ours"));
    }
    if batch.records.len() > BATCH_MAX {
        return Err(refuse(Class::Conflict, "too_large", "more records than fit into one call"));
    }
    if zoho.write_fits(batch) < batch.records.len() {
        let message = "records that may only be updated share a call only if the ids of all of them are known, or of none";
        return Err(refuse(Class::Conflict, "mixed_batch", message));
    }
    check_names([&batch.object, &batch.key_field].into_iter().chain(batch.records.iter().flat_map(|record| record.fields.keys())))?;
    let mut keys = BTreeSet::new();
    for record in &batch.records {
        check_key(&record.key)?;
        if record.crm_id.as_ref().is_some_and(|id| !valid_id(id)) {
            return Err(refuse(Class::Permanent, "invalid_id", "a record's id is a number"));
        }
        if !keys.insert(zoho.canonical_key(&record.key)) {
            // Sent together, the second would be written over the first, and nobody knows which is the second.
            return Err(refuse(Class::Conflict, "duplicate_key", "one key is twice in this call"));
        }
    }
    Ok(())
}

fn valid_id(id: &str) -> bool {
    (1..=20).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit())
}
