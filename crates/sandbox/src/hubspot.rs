//! HubSpot's CRM dialect: what a request asks for, and how answers look.
//!
//! Shapes, categories and limits follow the vendor's API description of CRM objects v3, its error and usage guidelines, and answers that were
//! recorded where the two say nothing.

mod own;
mod portal;
mod properties;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub(crate) use self::portal::{Portal, record_id};
pub(crate) use self::properties::shown;
use crate::core::Touched;
use crate::http::{HttpReply, HttpRequest, decode, pair, split};

/// The dialect's name.
pub(crate) const CRM: &str = "hubspot";
/// Inputs in one batch call.
const MAX_INPUTS: usize = 100;
/// The account behind every token.
const PORTAL_ID: u64 = 4_711;

/// What the CRM says no with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub status: u16,
    /// Empty where the CRM gives none.
    pub category: Cow<'static, str>,
    pub message: String,
    /// More words about it, such as `ids` and `existingId`.
    pub context: BTreeMap<String, Vec<String>>,
}

impl Refusal {
    pub fn new(status: u16, category: &'static str, message: impl Into<String>) -> Self {
        Self { status, category: category.into(), message: message.into(), context: BTreeMap::new() }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.context.entry(name.to_owned()).or_default().push(value.to_owned());
        self
    }

    /// A property's value is refused: a list in JSON, inside the message.
    pub fn invalid(code: &str, name: &str, says: &str) -> Self {
        let list = json!([{ "isValid": false, "message": says, "error": code, "name": name }]);
        Self::new(400, "VALIDATION_ERROR", format!("Property values were not valid: {list}"))
    }

    pub fn locked() -> Self {
        Self::new(423, "LOCKED", "This record is being written by another request. Try again.")
    }

    fn malformed(says: &str) -> Self {
        Self::new(400, "", format!("Invalid input JSON: {says}"))
    }

    /// The error object, as a whole answer or as one of a batch's errors.
    fn shown(&self) -> Map<String, Value> {
        let mut error = Map::new();
        error.insert("status".into(), "error".into());
        error.insert("message".into(), self.message.as_str().into());
        if !self.category.is_empty() {
            error.insert("category".into(), json!(self.category));
        }
        if !self.context.is_empty() {
            error.insert("context".into(), json!(self.context));
        }
        error
    }

    /// The body of a whole request's refusal.
    pub fn reply(&self) -> HttpReply {
        let mut error = self.shown();
        error.insert("correlationId".into(), "3f1f0b36-0000-4000-8000-000000000000".into());
        HttpReply::json(self.status, &error)
    }
}

pub(crate) fn expired() -> HttpReply {
    Refusal::new(401, "EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired 5 minute(s) ago.").reply()
}

pub(crate) fn broken() -> HttpReply {
    Refusal::new(500, "", "internal error").reply()
}

pub(crate) fn unavailable() -> HttpReply {
    Refusal::new(503, "", "Service temporarily unavailable").reply()
}

/// Over a limit, by the name of its policy.
pub(crate) fn limited(policy: &str) -> HttpReply {
    let limit = if policy == "DAILY" { "daily" } else { "ten_secondly_rolling" };
    HttpReply::json(
        429,
        &json!({ "status": "error", "message": format!("You have reached your {limit} limit."), "errorType": "RATE_LIMIT",
            "category": "RATE_LIMITS", "policyName": policy, "correlationId": "3f1f0b36-0000-4000-8000-000000000000",
            "requestId": "3f1f0b36-0000-4000-8000-000000000001" }),
    )
}

/// A success with nothing in it: nothing was written either.
pub(crate) fn nothing() -> HttpReply {
    HttpReply::json(200, &json!({ "status": "COMPLETE", "results": [] }))
}

/// What a request asks for, read without looking at any state.
#[derive(Debug)]
pub(crate) struct Ask {
    pub bearer: Result<String, Refusal>,
    pub what: Result<What, Refusal>,
}

/// A call to the API proper.
#[derive(Debug)]
pub(crate) enum What {
    Write(Write),
    Look(Look),
}

/// A call that changes nothing.
#[derive(Debug)]
pub(crate) enum Look {
    Read {
        object: String,
        by: Option<String>,
        properties: Vec<String>,
        ids: Vec<String>,
        single: bool,
    },
    List {
        object: String,
        limit: usize,
    },
    Account,
    Properties {
        object: String,
        name: Option<String>,
    },
    /// No record's business either.
    MakeProperty {
        object: String,
        new: own::New,
    },
    ChangeProperty {
        object: String,
        name: String,
        change: own::Change,
    },
}

/// What a write does to the records it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Way {
    Upsert,
    Update,
    Create,
    Archive,
}

/// A write of one record or of a batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Write {
    pub object: String,
    pub way: Way,
    pub single: bool,
    pub inputs: Vec<Input>,
}

/// One record of a write.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Input {
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    pub id_property: Option<String>,
    #[serde(default)]
    pub object_write_trace_id: Option<String>,
    #[serde(default)]
    pub properties: BTreeMap<String, Value>,
}

impl Write {
    /// Whether each input is answered for itself.
    pub fn traced(&self) -> bool {
        self.inputs.iter().all(|input| input.object_write_trace_id.is_some())
    }

    /// What the request names its records by.
    pub fn keys(&self) -> impl Iterator<Item = Option<String>> {
        self.inputs.iter().map(Input::key)
    }
}

impl Input {
    fn key(&self) -> Option<String> {
        let own = |(name, value): (&String, &Value)| properties::is_external_id(name).then(|| value.as_str().map(str::to_owned)).flatten();
        self.id.clone().or_else(|| self.properties.iter().find_map(own))
    }
}

/// Whether a path belongs to this dialect.
pub(crate) fn owns(target: &str) -> bool {
    ["/crm/", "/account-info/"].iter().any(|start| target.starts_with(start))
}

/// Reads a request.
pub(crate) fn read(request: &HttpRequest<'_>) -> Ask {
    let (path, query) = split(request.target);
    let segments: Option<Vec<String>> = path.trim_start_matches('/').split('/').map(|segment| decode(segment, false)).collect();
    let segments: Vec<String> = segments.unwrap_or_default();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let what = match segments.as_slice() {
        ["account-info", "v3", "details"] if request.method == "GET" => Ok(What::Look(Look::Account)),
        ["crm", "v3", "objects", object, rest @ ..] => read_call(request, object, rest, query),
        ["crm", "v3", "properties", object, rest @ ..] => read_properties(request, object, rest).map(What::Look),
        ["crm", "objects", "2026-03" | "2026-09", object, rest @ ..] => read_call(request, object, rest, query),
        _ => Err(not_found()),
    };
    Ask { bearer: read_bearer(request), what }
}

fn not_found() -> Refusal {
    Refusal::new(404, "", "resource not found")
}

fn read_bearer(request: &HttpRequest<'_>) -> Result<String, Refusal> {
    let token = request.header("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        (scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()).then(|| token.trim().to_owned())
    });
    token.ok_or_else(no_credentials)
}

pub(crate) fn no_credentials() -> Refusal {
    let says = "Authentication credentials not found. This API supports OAuth 2.0 authentication.";
    Refusal::new(401, "INVALID_AUTHENTICATION", says)
}

fn read_call(request: &HttpRequest<'_>, object: &str, rest: &[&str], query: &str) -> Result<What, Refusal> {
    if properties::object(object).is_none() {
        return Err(Refusal::new(400, "VALIDATION_ERROR", format!("Unable to infer object type from: {object}")));
    }
    let object = object.to_owned();
    let one = |way: Way, id: Option<&str>, with_body: bool| {
        let mut input: Input = if with_body { body_of(request)? } else { Input::named(None) };
        (input.id, input.id_property) = (id.map(str::to_owned), id.and_then(|_| pair(query, "idProperty")));
        checked(Write { object: object.clone(), way, single: true, inputs: vec![input] })
    };
    let batch = |way: Way| {
        let Inputs { inputs } = body_of(request)?;
        bounded(inputs.len())?;
        checked(Write { object: object.clone(), way, single: false, inputs })
    };
    match (request.method, rest) {
        ("POST", ["batch", "upsert"]) => batch(Way::Upsert),
        ("POST", ["batch", "update"]) => batch(Way::Update),
        ("POST", ["batch", "create"]) => batch(Way::Create),
        ("POST", ["batch", "archive"]) => batch(Way::Archive),
        ("POST", ["batch", "read"]) => read_look(body_of(request)?, object),
        ("POST", []) => one(Way::Create, None, true),
        ("PATCH", [id]) => one(Way::Update, Some(id), true),
        ("DELETE", [id]) => one(Way::Archive, Some(id), false),
        ("GET", []) => {
            let limit = pair(query, "limit").map_or(Some(10), |limit| limit.parse().ok()).filter(|limit| (1..=100).contains(limit));
            let limit = limit.ok_or_else(|| Refusal::new(400, "VALIDATION_ERROR", "limit must be between 1 and 100"))?;
            Ok(What::Look(Look::List { object, limit }))
        }
        ("GET", [id]) => {
            let properties = pair(query, "properties").unwrap_or_default();
            let properties = properties.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            Ok(What::Look(Look::Read { object, by: pair(query, "idProperty"), properties, ids: vec![(*id).to_owned()], single: true }))
        }
        (_, ["batch", "upsert" | "update" | "create" | "archive" | "read"] | [] | [_]) => {
            Err(Refusal::new(405, "", format!("Method {} is not allowed here", request.method)))
        }
        _ => Err(not_found()),
    }
}

fn read_properties(request: &HttpRequest<'_>, object: &str, rest: &[&str]) -> Result<Look, Refusal> {
    if properties::object(object).is_none() {
        return Err(Refusal::new(400, "VALIDATION_ERROR", format!("Unable to infer object type from: {object}")));
    }
    let object = object.to_owned();
    match (request.method, rest) {
        ("GET", []) => Ok(Look::Properties { object, name: None }),
        ("GET", [name]) => Ok(Look::Properties { object, name: Some((*name).to_owned()) }),
        ("POST", []) => Ok(Look::MakeProperty { object, new: body_of(request)? }),
        ("PATCH", [name]) => Ok(Look::ChangeProperty { object, name: (*name).to_owned(), change: body_of(request)? }),
        (_, [] | [_]) => Err(Refusal::new(405, "", format!("Method {} is not allowed here", request.method))),
        _ => Err(not_found()),
    }
}

impl Input {
    fn named(id: Option<String>) -> Self {
        Self { id, id_property: None, object_write_trace_id: None, properties: BTreeMap::new() }
    }
}

/// The body of a batch write.
#[derive(Deserialize)]
struct Inputs {
    inputs: Vec<Input>,
}

/// The body of a batch read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    #[serde(default)]
    id_property: Option<String>,
    #[serde(default)]
    properties: Vec<String>,
    inputs: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

fn read_look(wanted: Wanted, object: String) -> Result<What, Refusal> {
    bounded(wanted.inputs.len())?;
    let ids = wanted.inputs.into_iter().map(|input| input.id).collect();
    Ok(What::Look(Look::Read { object, by: wanted.id_property, properties: wanted.properties, ids, single: false }))
}

fn body_of<T: serde::de::DeserializeOwned>(request: &HttpRequest<'_>) -> Result<T, Refusal> {
    let kind = request.header("content-type").and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::new(415, "", "Unsupported Media Type"));
    }
    serde_json::from_slice(request.body)
        .map_err(|error| Refusal::malformed(&format!("on line {}, column {}", error.line(), error.column())))
}

fn bounded(inputs: usize) -> Result<(), Refusal> {
    match inputs {
        0 => Err(Refusal::new(400, "VALIDATION_ERROR", "Some required fields were not set: [inputs]")),
        1..=MAX_INPUTS => Ok(()),
        _ => Err(Refusal::new(400, "VALIDATION_ERROR", format!("{inputs} inputs are more than the {MAX_INPUTS} that a batch can have"))),
    }
}

/// What fails a whole request before any record is looked at.
fn checked(write: Write) -> Result<What, Refusal> {
    if write.way != Way::Create && write.inputs.iter().any(|input| input.id.is_none()) {
        return Err(Refusal::new(400, "VALIDATION_ERROR", "Some required fields were not set: [id]"));
    }
    let values = write.inputs.iter().flat_map(|input| input.properties.values());
    if values.into_iter().any(|value| matches!(value, Value::Null | Value::Array(_) | Value::Object(_))) {
        return Err(Refusal::malformed("a property's value is a text"));
    }
    let mut seen = std::collections::BTreeSet::new();
    let doubled: Vec<&String> =
        write.inputs.iter().filter_map(|input| input.id.as_ref()).filter(|id| !seen.insert(id.trim().to_lowercase())).collect();
    if let Some(first) = doubled.first() {
        let says = format!("Duplicate IDs found in batch input: [{first}]. IDs must be unique");
        return Err(Refusal::new(400, "VALIDATION_ERROR", says).with("ids", first));
    }
    Ok(What::Write(write))
}

/// What happened to one record of a write.
#[derive(Debug)]
pub(crate) struct Ran {
    pub key: Option<String>,
    pub trace: Option<String>,
    pub result: Result<Done, Refusal>,
}

/// A record that was written, as it is shown.
#[derive(Debug)]
pub(crate) struct Done {
    pub way: Way,
    pub new: bool,
    pub number: u64,
    pub row: Value,
}

/// How the results of a write look on the wire. They come in the order of the records' ids, not of the request; `missing` leaves the last out.
pub(crate) fn reply_to_write(way: Way, single: bool, ran: &Result<Vec<Ran>, Refusal>, missing: bool) -> HttpReply {
    let ran = match ran {
        Err(whole) => return whole.reply(),
        Ok(ran) => ran,
    };
    let fine = if way == Way::Create { 201 } else { 200 };
    match ran.as_slice() {
        [Ran { result, .. }] if single => {
            return match result {
                Ok(_) if way == Way::Archive => HttpReply::empty(204),
                Ok(done) => HttpReply::json(fine, &done.row),
                Err(refusal) => refusal.reply(),
            };
        }
        _ if way == Way::Archive => return HttpReply::empty(204),
        _ => {}
    }
    let mut rows: Vec<(u64, Value)> = Vec::new();
    let mut errors = Vec::new();
    for Ran { trace, result, .. } in ran {
        match result {
            Ok(done) => {
                let mut row = done.row.clone();
                if way == Way::Upsert {
                    row["new"] = done.new.into();
                }
                if let Some(trace) = trace {
                    row["objectWriteTraceId"] = trace.as_str().into();
                }
                rows.push((done.number, row));
            }
            Err(refusal) => {
                let named = trace.as_ref().map_or_else(|| refusal.clone(), |trace| refusal.clone().with("objectWriteTraceId", trace));
                errors.push(Value::Object(named.shown()));
            }
        }
    }
    rows.sort_by_key(|(number, _)| *number);
    let shown = rows.len().saturating_sub(usize::from(missing));
    let rows: Vec<Value> = rows.into_iter().take(shown).map(|(_, row)| row).collect();
    complete(fine, rows, errors)
}

/// A batch's answer: 207 as soon as there is an error.
fn complete(fine: u16, rows: Vec<Value>, errors: Vec<Value>) -> HttpReply {
    let mut body = json!({ "status": "COMPLETE", "results": rows });
    if errors.is_empty() {
        return HttpReply::json(fine, &body);
    }
    body["numErrors"] = errors.len().into();
    body["errors"] = errors.into();
    HttpReply::json(207, &body)
}

/// The same results for the call log.
pub(crate) fn touched(results: Vec<Ran>) -> Vec<Touched> {
    let one = |ran: Ran| {
        let result = match ran.result {
            Ok(Done { way: Way::Archive, .. }) => "deleted".into(),
            Ok(Done { new: true, .. }) => "created".into(),
            Ok(_) => "updated".into(),
            Err(refusal) => refusal.category,
        };
        Touched { key: ran.key, result }
    };
    results.into_iter().map(one).collect()
}
