//! Pipedrive: API v2, keyed by a custom text field that is searched (crm-apis.md, section 6).
//!
//! Level C: there is no upsert, no batch and no unique field, and the search index lags behind by seconds. A record whose id is known is read and
//! changed by it, which is consistent; one whose creation has an unknown outcome is searched for once the late window is over, and never
//! created again before.

mod refusal;
#[cfg(test)]
mod tests;
mod value;

use std::time::Duration;

use model::event::Mode;
use model::{Class, Failure, Scope};
use reqwest::Method;
use serde_json::{Map, Value, json};

use self::refusal::refused;
pub(super) use self::value::is_custom;
use self::value::{equal, sent, stored};
use super::refusal::{Call, ambiguous, garbage, missing, placed};
use super::same::{id_of, instant};
use crate::connector::last;
use crate::wire::encode;
use crate::{
    AuthKind, Body, Connector, Description, FieldDescription, FieldKind, Level, Limits, Made, Outcome, Present, ReadBatch, Repeat, Reply,
    Request, Settings, SettingsError, Setup, Statement, Token, Usage, WriteBatch, WriteRecord, Written, valid_name,
};

/// What the dearest call costs of the day's budget: a search (pipedrive.readme.io, rate limiting).
const TOKENS: u64 = 40;
/// Documented for `ids` of a list (the official SDK, v2).
const READ_MAX: usize = 100;
/// A `varchar` field holds no more.
const KEY_MAX: usize = 255;
/// The objects that API v2 creates, changes and searches, and where their fields are. Leads are still v1's.
const OBJECTS: [(&str, &str); 3] = [("persons", "personFields"), ("organizations", "organizationFields"), ("deals", "dealFields")];

/// A personal API token, or the token of an app.
pub(super) const TAKES: &[AuthKind] = &[AuthKind::ApiKey, AuthKind::Bearer, AuthKind::RefreshToken];
/// The search bears ten calls in two seconds, on every plan.
pub(super) const CALLS: u32 = 5;

/// The translator for Pipedrive.
#[derive(Clone, Debug)]
pub struct Pipedrive {
    /// `/api/v2`.
    root: String,
}

impl Pipedrive {
    /// A translator for API v2.
    ///
    /// # Errors
    ///
    /// Another version is asked for: only this one has the look-ups that are needed.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        match settings.api_version.as_deref() {
            None | Some("v2") => Ok(Self { root: "/api/v2".to_owned() }),
            Some(other) => Err(SettingsError::ApiVersion(format!("`{other}` is not spoken here; leave it out for `v2`"))),
        }
    }

    fn request(&self, method: Method, path: &str, body: Body) -> Request {
        let mut request = Request::new(method, format!("{}{path}", self.root), body);
        request.headers.push(("accept".to_owned(), "application/json".to_owned()));
        request
    }

    fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path, Body::None)
    }

    fn search(&self, batch: &ReadBatch, key: &str) -> Request {
        let fields = match batch.key_field.as_str() {
            "emails" => "email",
            "phones" => "phone",
            "name" => "name",
            "title" => "title",
            _ => "custom_fields",
        };
        self.get(&format!("/{}/search?term={}&fields={fields}&exact_match=true&limit=100", batch.object, encode(key)))
    }

    fn list(&self, object: &str, ids: &[String]) -> Request {
        self.get(&format!("/{object}?ids={}&limit=100", ids.iter().map(|id| encode(id)).collect::<Vec<_>>().join(",")))
    }

    fn spell(&self, batch: &WriteBatch, record: &WriteRecord) -> Result<Value, Failure> {
        let mut body = Map::new();
        let mut custom = Map::new();
        let key =
            (batch.mode != Mode::UpdateOnly && record.crm_id.is_none()).then(|| (&batch.key_field, Value::String(record.key.clone())));
        let own = record.fields.iter().filter(|(name, _)| *name != &batch.key_field && *name != "id");
        for (name, value) in own.map(|(name, value)| (name, value.clone())).chain(key) {
            let value = sent(name, &value).ok_or_else(|| {
                let message = format!("`{name}` points at a record whose id in Pipedrive is not known yet");
                Failure::new(Class::Conflict, Scope::Record, "parent_unknown", message)
            })?;
            let to = if is_custom(name) { &mut custom } else { &mut body };
            to.insert(name.clone(), value);
        }
        if !custom.is_empty() {
            body.insert("custom_fields".to_owned(), Value::Object(custom));
        }
        Ok(Value::Object(body))
    }

    fn present(&self, batch: &ReadBatch, row: &Value) -> Option<Present> {
        let crm_id = id_of(&row["id"])?;
        let fields = batch.fields.iter().map(|field| (field.clone(), stored(row, field).clone())).collect();
        Some(Present { crm_id, fields, modified_at: row["update_time"].as_str().and_then(instant) })
    }

    /// The record of a key among those that a search hit: it looks at every custom field, and does not mind case.
    fn of_key(&self, batch: &ReadBatch, key: &str, rows: &[Value]) -> Result<Option<Present>, Failure> {
        let wanted = self.canonical_key(key);
        let has = |row: &&Value| {
            !is_deleted(row) && value::texts(stored(row, &batch.key_field)).iter().any(|text| self.canonical_key(text) == wanted)
        };
        let matching: Vec<&Value> = rows.iter().filter(has).collect();
        match matching.as_slice() {
            [] => Ok(None),
            [row] => self.present(batch, row).map(Some).ok_or_else(no_id),
            several => {
                let ids: Vec<String> = several.iter().filter_map(|row| id_of(&row["id"])).collect();
                Err(ambiguous(ids.iter().map(String::as_str)))
            }
        }
    }
}

/// The look-up's way so far: by the id where it is known, else by search and then by the ids that it hit.
enum Look<'a> {
    /// One or several, by id.
    ById(&'a Reply),
    Searched(&'a Reply),
    /// What the search hit, read one by one.
    Hits(&'a Reply),
}

fn look<'a>(batch: &ReadBatch, replies: &'a [Reply]) -> Result<Look<'a>, Failure> {
    let reply = last(replies)?;
    let known = usize::from(batch.records.iter().all(|sought| sought.crm_id.is_some()));
    Ok(match replies.len() - known {
        0 => Look::ById(reply),
        1 => Look::Searched(reply),
        _ => Look::Hits(reply),
    })
}

fn is_deleted(row: &Value) -> bool {
    row["is_deleted"].as_bool().unwrap_or_default()
}

fn no_id() -> Failure {
    Failure::new(Class::Unknown, Scope::Record, "no_result", "the record that was found has no id")
}

/// The `data` of a success.
fn data(reply: &Reply, call: Call) -> Result<Value, Failure> {
    if !(200..300).contains(&reply.status) {
        return Err(refused(reply, call));
    }
    let mut body = reply.json().ok_or_else(|| garbage(reply))?;
    match body["success"].as_bool() {
        Some(true) => Ok(body["data"].take()),
        Some(false) => Err(refused(reply, call)),
        None => Err(garbage(reply)),
    }
}

impl Connector for Pipedrive {
    fn level(&self) -> Level {
        Level::C
    }

    fn statement(&self) -> Statement {
        Statement {
            created_from_updated: "the call: POST creates, PATCH changes",
            cannot: "no unique field: what others create under the same key is found as two, and a search index that lags by more than `late_window` \
                     (5m by default; seconds were seen) lets a second record be created; a changed address replaces all of the person's addresses",
        }
    }

    fn repeat(&self, _object: &str, mode: Mode) -> Repeat {
        match mode {
            Mode::Upsert | Mode::CreateOnly => Repeat::Look,
            Mode::UpdateOnly | Mode::Delete => Repeat::Keyed,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            write_batch: 1,
            read_batch: READ_MAX,
            call_timeout: Duration::from_secs(30),
            late_window: Duration::from_secs(300),
            retry_after_max: Duration::from_secs(24 * 3_600),
        }
    }

    fn canonical_key(&self, key: &str) -> String {
        key.trim().to_lowercase()
    }

    fn equal(&self, field: &str, a: &Value, b: &Value) -> bool {
        equal(field, a, b)
    }

    fn write_fits(&self, batch: &WriteBatch) -> usize {
        batch.records.len().min(1)
    }

    fn write(&self, batch: &WriteBatch) -> Result<Request, Failure> {
        let [record] = batch.records.as_slice() else {
            let class = if batch.records.is_empty() { Class::Permanent } else { Class::Conflict };
            return Err(Failure::new(class, Scope::Call, "too_large", "Pipedrive takes one record a call"));
        };
        check(&batch.object, std::iter::once(&batch.key_field).chain(record.fields.keys()))?;
        check_key(&record.key)?;
        let WriteBatch { object, mode, .. } = batch;
        if record.crm_id.as_ref().is_some_and(|id| !is_number(id)) {
            return Err(refuse("invalid_id", "a record's id is a number"));
        }
        match (mode, &record.crm_id) {
            (Mode::Delete, Some(id)) => Ok(self.request(Method::DELETE, &format!("/{object}/{id}"), Body::None)),
            (Mode::Upsert | Mode::UpdateOnly, Some(id)) => {
                Ok(self.request(Method::PATCH, &format!("/{object}/{id}"), Body::Json(self.spell(batch, record)?)))
            }
            (Mode::Upsert | Mode::CreateOnly, None) => {
                Ok(self.request(Method::POST, &format!("/{object}"), Body::Json(self.spell(batch, record)?)))
            }
            (Mode::UpdateOnly | Mode::Delete, None) => Err(missing("", "")),
            (Mode::CreateOnly, Some(_)) => Err(Failure { scope: Scope::Record, ..refuse("already_there", "the record is there already") }),
        }
    }

    fn written(&self, batch: &WriteBatch, reply: &Reply) -> Outcome<Written> {
        let record = batch.records.first().ok_or_else(|| garbage(reply))?;
        match (batch.mode, reply.status) {
            (Mode::Delete, 404 | 410) => return Ok(vec![Ok(Written::default())]),
            // What is gone is looked for again: records are merged there, and one of two goes.
            (Mode::Upsert | Mode::UpdateOnly, 404 | 410) if record.crm_id.is_some() => return Ok(vec![Err(missing("", ""))]),
            _ => {}
        }
        let data = match data(reply, Call::One(batch.mode)) {
            Ok(data) => data,
            Err(failure) => return placed(refusal::told_of(failure, record), 1),
        };
        let id = id_of(&data["id"]).filter(|id| is_number(id)).ok_or_else(|| garbage(reply))?;
        if record.crm_id.as_ref().is_some_and(|known| *known != id) {
            return Err(garbage(reply));
        }
        Ok(vec![Ok(match batch.mode {
            Mode::Delete => Written::default(),
            Mode::Upsert | Mode::UpdateOnly | Mode::CreateOnly => Written { crm_id: Some(id), created: Some(record.crm_id.is_none()) },
        })])
    }

    /// Several by their ids, or one by its key.
    fn read_fits(&self, batch: &ReadBatch) -> usize {
        let known = batch.records.iter().take_while(|sought| sought.crm_id.is_some()).count();
        known.clamp(1, READ_MAX).min(batch.records.len())
    }

    fn read(&self, batch: &ReadBatch) -> Result<Request, Failure> {
        check(&batch.object, std::iter::once(&batch.key_field).chain(&batch.fields))?;
        batch.records.iter().try_for_each(|sought| check_key(&sought.key))?;
        if self.read_fits(batch) < batch.records.len() {
            return Err(Failure::new(Class::Conflict, Scope::Call, "too_large", "more keys than fit into one call"));
        }
        match batch.records.as_slice() {
            [] => Err(refuse("empty_batch", "nothing was asked for; this is a bug of ours")),
            [only] => Ok(match &only.crm_id {
                Some(id) => self.get(&format!("/{}/{}", batch.object, encode(id))),
                None => self.search(batch, &only.key),
            }),
            several => {
                let ids: Vec<String> = several.iter().filter_map(|sought| sought.crm_id.clone()).collect();
                Ok(self.list(&batch.object, &ids))
            }
        }
    }

    fn read_on(&self, batch: &ReadBatch, replies: &[Reply]) -> Result<Option<Request>, Failure> {
        let [only] = batch.records.as_slice() else { return Ok(None) };
        match look(batch, replies)? {
            Look::ById(reply) if matches!(reply.status, 404 | 410) => Ok(Some(self.search(batch, &only.key))),
            Look::ById(reply) => Ok(is_deleted(&data(reply, Call::Read)?).then(|| self.search(batch, &only.key))),
            Look::Searched(reply) => {
                let hits = hits(reply)?;
                Ok((!hits.is_empty()).then(|| self.list(&batch.object, &hits)))
            }
            Look::Hits(_) => Ok(None),
        }
    }

    fn found(&self, batch: &ReadBatch, replies: &[Reply]) -> Outcome<Option<Present>> {
        let rows = |reply: &Reply| match data(reply, Call::Read)? {
            Value::Array(rows) => Ok(rows),
            // A list without entries is told as nothing.
            Value::Null => Ok(Vec::new()),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => Err(garbage(reply)),
        };
        match (look(batch, replies)?, batch.records.as_slice()) {
            (Look::ById(reply), [_]) => {
                let row = data(reply, Call::Read)?;
                Ok(vec![self.present(batch, &row).map(Some).ok_or_else(no_id)])
            }
            (Look::ById(reply), several) => {
                let rows = rows(reply)?;
                let of = |id: &Option<String>| rows.iter().find(|row| !is_deleted(row) && id_of(&row["id"]) == *id);
                Ok(several.iter().map(|sought| Ok(of(&sought.crm_id).and_then(|row| self.present(batch, row)))).collect())
            }
            (Look::Searched(reply), records) => match hits(reply)?.is_empty() {
                true => Ok(records.iter().map(|_| Ok(None)).collect()),
                false => Err(garbage(reply)),
            },
            (Look::Hits(reply), records) => {
                let rows = rows(reply)?;
                Ok(records.iter().map(|sought| self.of_key(batch, &sought.key, &rows)).collect())
            }
        }
    }

    fn describe(&self, object: &str) -> Vec<Request> {
        fields_of(object).map(|fields| self.get(&format!("/{fields}?limit=500"))).into_iter().collect()
    }

    fn described(&self, object: &str, replies: &[Reply]) -> Result<Description, Failure> {
        check(object, std::iter::empty())?;
        let reply = last(replies)?;
        let Value::Array(rows) = data(reply, Call::Read)? else { return Err(garbage(reply)) };
        let field = |row: &Value| Some((row["field_code"].as_str()?.to_owned(), field_of(row)));
        Ok(Description { fields: rows.iter().filter_map(field).collect() })
    }

    fn setup(&self, object: &str, key_field: &str) -> Setup {
        let Some(fields) = fields_of(object) else { return Setup::Instructions(unknown(object)) };
        if !is_custom(key_field) && matches!(key_field, "emails" | "phones" | "name" | "title") {
            return Setup::Instructions(format!("`{key_field}` is there already; a custom text field is the surer key."));
        }
        let body = json!({
            "field_name": "Onceward key", "field_type": "varchar",
            "description": "The key by which Onceward finds this record. Do not change it by hand.",
        });
        Setup::Calls(vec![self.request(Method::POST, &format!("/{fields}"), Body::Json(body))])
    }

    fn made(&self, reply: &Reply) -> Made {
        match reply.status {
            200..=299 => Made::Yes(reply.json().and_then(|body| Some(body["data"]["field_code"].as_str()?.to_owned()))),
            _ => Made::No,
        }
    }

    fn probe(&self) -> Request {
        self.get("/personFields?limit=1")
    }

    fn probed(&self, reply: &Reply) -> Result<(), Failure> {
        data(reply, Call::Read).map(drop)
    }

    fn token_url(&self) -> Option<String> {
        Some("https://oauth.pipedrive.com/oauth/token".to_owned())
    }

    fn authorize(&self, kind: AuthKind, token: &Token) -> (String, String) {
        match kind {
            AuthKind::ApiKey => ("x-api-token".to_owned(), token.value.reveal().to_owned()),
            AuthKind::Bearer | AuthKind::Basic | AuthKind::ClientCredentials | AuthKind::RefreshToken | AuthKind::JwtBearer => {
                crate::auth::authorization(kind, token)
            }
        }
    }

    /// The burst in two seconds, and of the day's tokens what is told: their headers are reported to be missing at times.
    fn usage(&self, reply: &Reply) -> Vec<Usage> {
        let told = |name: &str| reply.header(name)?.trim().parse::<u64>().ok();
        let of = |limit: &str, left: &str| {
            let limit = told(limit)?;
            Some((limit.saturating_sub(told(left)?), limit))
        };
        let burst = of("x-ratelimit-limit", "x-ratelimit-remaining").map(|(used, limit)| Usage::burst(used, limit, refusal::BURST));
        // Tokens, of which a search takes forty and a change ten: counted as the calls that they suffice for at the least.
        let day =
            of("x-daily-ratelimit-token-limit", refusal::DAILY_LEFT).map(|(used, limit)| Usage::day(used.div_ceil(TOKENS), limit / TOKENS));
        burst.into_iter().chain(day).collect()
    }
}

/// The ids that a search hit.
fn hits(reply: &Reply) -> Result<Vec<String>, Failure> {
    let data = data(reply, Call::Read)?;
    let items = data["items"].as_array().ok_or_else(|| garbage(reply))?;
    items.iter().map(|hit| id_of(&hit["item"]["id"]).filter(|id| is_number(id)).ok_or_else(|| garbage(reply))).collect()
}

/// A field as `GET /personFields` and its siblings tell it (the official SDK, v2).
fn field_of(row: &Value) -> FieldDescription {
    let kind = row["field_type"].as_str().unwrap_or_default();
    let code = row["field_code"].as_str().unwrap_or_default();
    let options = || row["options"].as_array().into_iter().flatten().filter_map(|option| id_of(&option["id"])).collect();
    let (holds, length_max) = match kind {
        "varchar" | "varchar_auto" | "phone" => (FieldKind::Text, Some(255)),
        "text" => (FieldKind::Text, Some(65_000)),
        "address" => (FieldKind::Text, None),
        "double" | "monetary" => (FieldKind::Number, None),
        "int" => (FieldKind::Integer, None),
        "boolean" => (FieldKind::Boolean, None),
        "date" => (FieldKind::Date, None),
        "enum" | "set" => (FieldKind::Choice { options: options(), several: kind == "set", open: false }, None),
        "org" | "people" | "deal" | "user" | "stage" => (FieldKind::Reference, None),
        other => (FieldKind::Other(other.to_owned()), None),
    };
    let writable = row["is_custom_field"].as_bool().unwrap_or_default() || value::WRITABLE.contains(&code);
    let required = matches!(code, "name" | "title");
    FieldDescription { kind: holds, length_max, creatable: writable, updatable: writable, required, unique: false }
}

fn fields_of(object: &str) -> Option<&'static str> {
    OBJECTS.iter().find(|(name, _)| *name == object).map(|(_, fields)| *fields)
}

fn unknown(object: &str) -> String {
    format!("`{}` is no object that is written here: `persons`, `organizations` and `deals` are", object.escape_default())
}

fn check<'a>(object: &str, mut names: impl Iterator<Item = &'a String>) -> Result<(), Failure> {
    if fields_of(object).is_none() {
        return Err(refuse("unknown_object", &unknown(object)));
    }
    match names.find(|name| !valid_name(name) && !is_custom(name)) {
        Some(name) => {
            let message = format!("`{}` is no API key of a field: correct the destination's mapping", name.escape_default());
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

fn refuse(code: &str, message: &str) -> Failure {
    Failure::new(Class::Permanent, Scope::Call, code, message)
}

fn is_number(id: &str) -> bool {
    (1..=18).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit())
}
