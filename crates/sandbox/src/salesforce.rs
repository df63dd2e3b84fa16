//! Salesforce's REST dialect: what a request asks for, and how answers look.
//!
//! Shapes, codes and limits follow the vendor's documentation of REST API v68.0, its OAuth flows, sObject Collections and SOQL.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use model::Time;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::Body;
use crate::core::Touched;
use crate::credentials::{Credentials, Sessions};
use crate::faults::Dice;
use crate::http::{HttpReply, HttpRequest, decode, pair, split};
use crate::query::{self, Query};
use crate::records::text;
use crate::writes::{Done, Locate, Ran, Target, Way, Write};

/// The dialect's name.
pub(crate) const CRM: &str = "salesforce";
/// Records in one Collections call.
const MAX_COLLECTION: usize = 200;
/// Bytes of the target and all headers together.
const MAX_HEAD_BYTES: usize = 16_384;

/// What the CRM says no with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub status: u16,
    pub code: Cow<'static, str>,
    pub message: String,
    pub fields: Vec<String>,
}

impl Refusal {
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into(), fields: Vec::new() }
    }

    pub fn of(mut self, field: &str) -> Self {
        self.fields.push(field.into());
        self
    }

    pub fn not_found() -> Self {
        Self::new(404, "NOT_FOUND", "The requested resource does not exist")
    }

    pub fn locked() -> Self {
        Self::new(400, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record or 1 records")
    }

    pub fn expired() -> Self {
        Self::new(401, "INVALID_SESSION_ID", "Session expired or invalid")
    }

    pub fn too_many_requests() -> Self {
        Self::new(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
    }

    pub fn too_many_at_once() -> Self {
        Self::new(403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded.")
    }

    pub fn unavailable() -> Self {
        Self::new(503, "SERVER_UNAVAILABLE", "The server is temporarily unavailable. Try again later.")
    }

    pub fn broken() -> Self {
        Self::new(500, "UNKNOWN_EXCEPTION", "An unexpected error occurred. Please include this ErrorId if you contact support: 42-1")
    }

    /// The body of a whole request's refusal: an array, as everywhere in this dialect.
    pub fn reply(&self) -> HttpReply {
        if self.status == 300 {
            return HttpReply::json(300, &self.fields);
        }
        let mut error = json!({"message": self.message, "errorCode": self.code});
        if !self.fields.is_empty() {
            error["fields"] = json!(self.fields);
        }
        HttpReply::json(self.status, &[error])
    }
}

/// What a request asks for, read without looking at any state.
#[derive(Debug)]
pub(crate) enum Ask {
    Token(Result<Grant, TokenRefusal>),
    Api { version: String, bearer: Result<String, Refusal>, what: Result<What, Refusal> },
}

/// A call to the API proper.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Write(Write),
    Read { object: String, by: Locate, fields: Option<String> },
    Query { query: Query, text: String, from: usize },
    Describe { object: String },
    Limits,
    Versions,
}

/// A request for a token.
#[derive(Debug)]
pub(crate) struct Grant {
    client: String,
    /// `None` with an assertion, whose signature is not checked.
    secret: Option<String>,
    expires: Option<i64>,
    host: String,
}

/// Why there is no token: OAuth's error and its description.
#[derive(Debug)]
pub(crate) struct TokenRefusal(&'static str, &'static str);

impl TokenRefusal {
    pub fn reply(&self) -> HttpReply {
        HttpReply::json(400, &json!({"error": self.0, "error_description": self.1}))
    }
}

/// Reads a request.
pub(crate) fn read(request: &HttpRequest<'_>) -> Ask {
    let (path, query) = split(request.target);
    if path == "/services/oauth2/token" {
        return Ask::Token(read_grant(request));
    }
    let bearer = read_bearer(request);
    let head: usize = request.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    let segments: Option<Vec<String>> = path.trim_start_matches('/').split('/').map(|segment| decode(segment, false)).collect();
    let (version, what) = match segments.as_deref() {
        Some([services, data]) if services == "services" && data == "data" && request.method == "GET" => {
            (String::new(), Ok(What::Versions))
        }
        Some([services, data, version, rest @ ..]) if services == "services" && data == "data" && version_number(version).is_some() => {
            let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
            (version.clone(), read_call(request, &rest, query))
        }
        Some(_) | None => (String::new(), Err(Refusal::not_found())),
    };
    let too_long = request.target.len() + head > MAX_HEAD_BYTES;
    let what = if too_long { Err(Refusal::new(414, "URI_TOO_LONG", "The URI and headers exceed 16,384 bytes.")) } else { what };
    Ask::Api { version, bearer, what }
}

/// `v68.0` as 68; `None` for what is no version or one that is retired.
pub(crate) fn version_number(text: &str) -> Option<u32> {
    let (major, minor) = text.strip_prefix('v')?.split_once('.')?;
    major.parse().ok().filter(|major| minor == "0" && (31..=99).contains(major))
}

fn read_bearer(request: &HttpRequest<'_>) -> Result<String, Refusal> {
    match request.header("authorization").map(|value| value.split_once(' ').unwrap_or((value, ""))) {
        None => Err(Refusal::expired()),
        Some((scheme, token)) if (scheme.eq_ignore_ascii_case("bearer") || scheme == "OAuth") && !token.trim().is_empty() => {
            Ok(token.trim().into())
        }
        Some(_) => Err(Refusal::new(401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE")),
    }
}

fn read_call(request: &HttpRequest<'_>, rest: &[&str], query: &str) -> Result<What, Refusal> {
    let write = |write: Result<Write, Refusal>| write.map(What::Write);
    let single = |object: &str, by: Locate, way: Way, keep_body: bool| {
        let body = if keep_body { object_of(request)? } else { Body::default() };
        Ok(Write { way, collection: false, all_or_none: false, records: vec![Ok(Target { object: object.into(), by, body })] })
    };
    let read = |object: &str, by: Locate| Ok(What::Read { object: object.into(), by, fields: pair(query, "fields") });
    let key = |field: &str, value: &str| Locate::Key { field: field.into(), value: value.into() };
    match (request.method, rest) {
        ("GET", ["limits"]) => Ok(What::Limits),
        ("GET", ["query"]) => read_query(pair(query, "q").ok_or_else(|| malformed("A query string has to be specified"))?, 0),
        ("GET", ["query", locator]) => read_locator(locator),
        ("POST", ["sobjects", object]) => write(single(object, Locate::New, Way::Create, true)),
        ("GET", ["sobjects", object, "describe"]) => Ok(What::Describe { object: (*object).into() }),
        ("GET", ["sobjects", object, id]) => read(object, Locate::Id((*id).into())),
        ("PATCH", ["sobjects", object, id]) => write(single(object, Locate::Id((*id).into()), Way::Update, true)),
        ("DELETE", ["sobjects", object, id]) => write(single(object, Locate::Id((*id).into()), Way::Delete, false)),
        (_, ["sobjects", _, _, ""]) => Err(Refusal::not_found()),
        ("GET", ["sobjects", object, field, value]) => read(object, key(field, value)),
        ("PATCH", ["sobjects", object, field, value]) => {
            let update_only = pair(query, "updateOnly").is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
            write(single(object, key(field, value), Way::Upsert { update_only }, true))
        }
        ("DELETE", ["sobjects", object, field, value]) => write(single(object, key(field, value), Way::Delete, false)),
        ("PATCH", ["composite", "sobjects", object, field]) => {
            write(read_collection(request, Way::Upsert { update_only: false }, Some((object, field))))
        }
        ("POST", ["composite", "sobjects"]) => write(read_collection(request, Way::Create, None)),
        ("DELETE", ["composite", "sobjects"]) => write(read_deletions(query)),
        ("PATCH", ["composite", "sobjects"]) => write(read_collection(request, Way::Update, None)),
        (
            _,
            ["limits" | "query"]
            | ["query", _]
            | ["sobjects", _]
            | ["sobjects", _, _]
            | ["sobjects", _, _, _]
            | ["composite", "sobjects"]
            | ["composite", "sobjects", _, _],
        ) => Err(Refusal::new(405, "METHOD_NOT_ALLOWED", format!("HTTP Method '{}' not allowed.", request.method))),
        _ => Err(Refusal::not_found()),
    }
}

fn object_of<T: DeserializeOwned>(request: &HttpRequest<'_>) -> Result<T, Refusal> {
    let kind = request.header("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::new(415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type not supported. Send application/json."));
    }
    serde_json::from_slice(request.body).map_err(|error| {
        let what = if error.is_data() { "Not of the expected shape" } else { "Unexpected input" };
        Refusal::new(400, "JSON_PARSER_ERROR", format!("{what} at [line:{}, column:{}]", error.line(), error.column()))
    })
}

/// The body of a Collections call.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Collection {
    #[serde(default)]
    all_or_none: bool,
    #[serde(default)]
    records: Vec<Body>,
}

fn read_collection(request: &HttpRequest<'_>, way: Way, upsert: Option<(&str, &str)>) -> Result<Write, Refusal> {
    let Collection { all_or_none, records } = object_of(request)?;
    if records.is_empty() {
        return Err(Refusal::new(400, "REQUIRED_FIELD_MISSING", "At least 1 record is required"));
    }
    if records.len() > MAX_COLLECTION {
        let says = format!("record limit reached. cannot submit more than {MAX_COLLECTION} records into this call");
        return Err(Refusal::new(400, "EXCEEDED_ID_LIMIT", says));
    }
    let records = records.into_iter().map(|record| read_member(record, way, upsert)).collect();
    Ok(Write { way, collection: true, all_or_none, records })
}

/// The ids of a Collections deletion, each of its own object by its first letters.
fn read_deletions(query: &str) -> Result<Write, Refusal> {
    let ids = pair(query, "ids").unwrap_or_default();
    let ids: Vec<&str> = ids.split(',').map(str::trim).filter(|id| !id.is_empty()).collect();
    if ids.is_empty() {
        return Err(Refusal::new(400, "REQUIRED_FIELD_MISSING", "At least 1 record is required"));
    }
    if ids.len() > MAX_COLLECTION {
        let says = format!("record limit reached. cannot submit more than {MAX_COLLECTION} records into this call");
        return Err(Refusal::new(400, "EXCEEDED_ID_LIMIT", says));
    }
    let all_or_none = pair(query, "allOrNone").is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
    let record = |id: &&str| match crate::schema::by_prefix(id) {
        Some(object) => Ok(Target { object: object.name.into(), by: Locate::Id((*id).into()), body: Body::default() }),
        None => Err(Refusal::new(400, "MALFORMED_ID", format!("malformed id {id}"))),
    };
    Ok(Write { way: Way::Delete, collection: true, all_or_none, records: ids.iter().map(record).collect() })
}

/// One record of a Collections call; what is wrong with it is wrong with it alone.
fn read_member(mut body: Body, way: Way, upsert: Option<(&str, &str)>) -> Result<Target, Refusal> {
    let kind = body.take("attributes").as_ref().and_then(|attributes| attributes.get("type")?.as_str()).map(str::to_owned);
    let id = body.take("Id");
    let Some(object) = kind else {
        return Err(Refusal::new(400, "INVALID_TYPE", "Every record has to name its type in attributes.type"));
    };
    let by = match (way, upsert, id) {
        (Way::Upsert { .. }, Some((path, field)), None) => {
            if !path.eq_ignore_ascii_case(&object) {
                return Err(Refusal::new(400, "INVALID_TYPE", format!("The record's type {object} is not the call's type {path}")));
            }
            let value = body.take(field).as_ref().and_then(text).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| Refusal::new(400, "MISSING_ARGUMENT", format!("{field} not specified")).of(field))?;
            Locate::Key { field: field.into(), value }
        }
        (Way::Update, _, Some(Value::String(id))) => Locate::Id(id),
        (Way::Update, _, _) => return Err(Refusal::new(400, "MISSING_ARGUMENT", "Id not specified in an update call").of("Id")),
        (Way::Upsert { .. } | Way::Create | Way::Delete, _, Some(_)) => {
            return Err(
                Refusal::new(400, "INVALID_FIELD_FOR_INSERT_UPDATE", "The Id field should not be specified in the sobject data.").of("Id")
            );
        }
        (Way::Upsert { .. } | Way::Create | Way::Delete, _, None) => Locate::New,
    };
    Ok(Target { object, by, body })
}

fn malformed(says: &str) -> Refusal {
    Refusal::new(400, "MALFORMED_QUERY", says)
}

fn read_query(text: String, from: usize) -> Result<What, Refusal> {
    let query = query::parse(&text).map_err(|says| malformed(&says))?;
    Ok(What::Query { query, text, from })
}

/// Where the rest of a long result continues: the query itself and how much of it was given.
pub(crate) fn locator(text: &str, from: usize) -> String {
    format!("01g{}-{from}", URL_SAFE_NO_PAD.encode(text))
}

fn read_locator(locator: &str) -> Result<What, Refusal> {
    let read = |locator: &str| {
        let (text, from) = locator.strip_prefix("01g")?.rsplit_once('-')?;
        Some((String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?, from.parse().ok()?))
    };
    let (text, from) = read(locator).ok_or_else(|| Refusal::new(400, "INVALID_QUERY_LOCATOR", "invalid query locator"))?;
    read_query(text, from)
}

fn read_grant(request: &HttpRequest<'_>) -> Result<Grant, TokenRefusal> {
    if request.method != "POST" {
        return Err(TokenRefusal("invalid_request", "must use HTTP POST"));
    }
    let form = std::str::from_utf8(request.body).unwrap_or_default();
    let host = request.header("host").unwrap_or("sandbox.invalid").to_owned();
    match pair(form, "grant_type").as_deref() {
        Some("client_credentials") => {
            // Credentials in the form win over the header, as the vendor's documentation says.
            let in_form = pair(form, "client_id").map(|id| (id, pair(form, "client_secret").unwrap_or_default()));
            let (client, secret) =
                in_form.or_else(|| basic(request)).ok_or(TokenRefusal("invalid_client_id", "client identifier invalid"))?;
            Ok(Grant { client, secret: Some(secret), expires: None, host })
        }
        Some("urn:ietf:params:oauth:grant-type:jwt-bearer") => {
            let assertion = pair(form, "assertion").unwrap_or_default();
            let (client, expires) = read_assertion(&assertion).ok_or(TokenRefusal("invalid_grant", "invalid assertion"))?;
            Ok(Grant { client, secret: None, expires: Some(expires), host })
        }
        Some(_) => Err(TokenRefusal("unsupported_grant_type", "grant type not supported")),
        None => Err(TokenRefusal("invalid_request", "missing required parameter: grant_type")),
    }
}

fn basic(request: &HttpRequest<'_>) -> Option<(String, String)> {
    let (scheme, value) = request.header("authorization")?.split_once(' ')?;
    let pair = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':').filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    Some((id.into(), secret.into()))
}

/// The issuer and the end of a JWT that has the right parts.
fn read_assertion(assertion: &str) -> Option<(String, i64)> {
    let parts: Vec<&str> = assertion.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else { return None };
    let open = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    let (header, claims) = (open(header)?, open(claims)?);
    let has = |name: &str| claims[name].as_str().is_some_and(|text| !text.is_empty());
    let whole =
        header["alg"] == "RS256" && has("sub") && has("aud") && URL_SAFE_NO_PAD.decode(signature).is_ok_and(|bytes| !bytes.is_empty());
    Some((claims["iss"].as_str()?.to_owned(), claims["exp"].as_i64()?)).filter(|_| whole)
}

impl Grant {
    /// Hands out a token, or says why not.
    pub fn reply(&self, credentials: &Credentials, sessions: &mut Sessions, dice: &mut Dice, now: Time, life: Duration) -> HttpReply {
        if !credentials.knows_client(&self.client) {
            return TokenRefusal("invalid_client_id", "client identifier invalid").reply();
        }
        if self.secret.as_ref().is_some_and(|secret| !credentials.accepts(&self.client, secret)) {
            return TokenRefusal("invalid_client", "invalid client credentials").reply();
        }
        // The service allows three minutes for clocks that differ.
        if self.expires.is_some_and(|expires| now.seconds() > expires.saturating_add(180)) {
            return TokenRefusal("invalid_grant", "expired authorization code").reply();
        }
        let (host, token) = (&self.host, sessions.issue(dice, now, life));
        let signature = STANDARD.encode([dice.next(), dice.next()].map(u64::to_be_bytes).concat());
        HttpReply::json(
            200,
            &json!({
                "access_token": token,
                "signature": signature,
                "token_format": "opaque",
                "scope": "api",
                "instance_url": format!("http://{host}"),
                "id": format!("http://{host}/id/00DHs0000000001MAA/005Hs0000000001IAA"),
                "token_type": "Bearer",
                "issued_at": now.millis().to_string(),
            }),
        )
    }
}

/// One record's result on the wire.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    success: bool,
    errors: Vec<RecordError<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<bool>,
}

/// One record's error, whose code has another name than a whole request's.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordError<'a> {
    status_code: &'a str,
    message: &'a str,
    fields: &'a [String],
}

impl<'a> Shown<'a> {
    fn new(result: &'a Result<Done, Refusal>, upsert: bool) -> Self {
        match result {
            Ok(Done::Created(id)) => Self { id: Some(id), success: true, errors: Vec::new(), created: upsert.then_some(true) },
            Ok(Done::Updated(id) | Done::Deleted(id)) => {
                Self { id: Some(id), success: true, errors: Vec::new(), created: upsert.then_some(false) }
            }
            Err(Refusal { status, code, message, fields }) => {
                let fields: &[String] = if *status == 300 { &[] } else { fields };
                Self { id: None, success: false, errors: vec![RecordError { status_code: code, message, fields }], created: None }
            }
        }
    }
}

/// How the results of a write look on the wire. `missing` leaves the last result of a batch out.
pub(crate) fn reply_to_write(way: Way, collection: bool, version: &str, ran: &Result<Vec<Ran>, Refusal>, missing: bool) -> HttpReply {
    let results = match ran {
        Err(whole) => return whole.reply(),
        Ok(results) => results,
    };
    let upsert = matches!(way, Way::Upsert { .. });
    if collection {
        let shown = results.len() - usize::from(missing);
        return HttpReply::json(200, &results.iter().take(shown).map(|ran| Shown::new(&ran.result, upsert)).collect::<Vec<_>>());
    }
    let Some(Ran { result, .. }) = results.first() else { return HttpReply::empty(204) };
    match result {
        Ok(Done::Created(_)) => HttpReply::json(201, &Shown::new(result, upsert)),
        Ok(Done::Updated(_)) if upsert && version_number(version).is_some_and(|number| number >= 46) => {
            HttpReply::json(200, &Shown::new(result, upsert))
        }
        Ok(Done::Updated(_) | Done::Deleted(_)) => HttpReply::empty(204),
        Err(refusal) => refusal.reply(),
    }
}

/// The same results for the call log.
pub(crate) fn touched(results: Vec<Ran>) -> Vec<Touched> {
    let one = |ran: Ran| {
        let result = match ran.result {
            Ok(Done::Created(_)) => "created".into(),
            Ok(Done::Updated(_)) => "updated".into(),
            Ok(Done::Deleted(_)) => "deleted".into(),
            Err(refusal) => refusal.code,
        };
        Touched { key: ran.key, result }
    };
    results.into_iter().map(one).collect()
}
