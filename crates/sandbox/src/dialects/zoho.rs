//! Zoho CRM v8: records by module in calls of up to a hundred, look-ups by an external field, fields, and a token endpoint.
//!
//! Shapes, codes and words follow zoho.com/crm/developer/docs/api (upsert-records, get-records-ext, update-records-ext, create-custom-field,
//! composite-api's limits) and github.com/zoho/crm-oas; that a dead refresh token is answered with status 200, and too many with 400, was
//! seen by others. `Retry-After` is not Zoho's own: whoever asks for a fault with a span gets it from a gateway.

use std::sync::Arc;

use model::Time;
use serde_json::{Map, Value, json};

use self::modules::Field;
use super::{Answer, Dialect, Kind, Meter, Refused, Request, Tokens, World, bearer};
use crate::core::{Options, Touched};
use crate::http::{HttpReply, HttpRequest, is_json, pair, split};
use crate::records::{Row, Table, text};

mod modules;

/// Documented for every call that takes several records.
const RECORDS_MAX: usize = 100;
/// Where the fields that were added are remembered.
const COLUMNS: &str = "_fields";
/// What ids begin with.
const ACCOUNT: u64 = 554_023_000_000_000_000;
/// Room for the ids of one module.
const MODULE: u64 = 1_000_000_000;

/// Zoho CRM.
#[derive(Debug)]
pub(crate) struct Zoho;

/// One error object.
#[derive(Clone, Debug)]
struct Fault {
    code: &'static str,
    message: &'static str,
    details: Value,
}

impl Fault {
    fn new(code: &'static str, message: &'static str, details: Value) -> Self {
        Self { code, message, details }
    }

    fn shown(&self) -> Value {
        json!({ "code": self.code, "details": self.details, "message": self.message, "status": "error" })
    }

    /// As the answer to the whole request.
    fn reply(&self, status: u16) -> HttpReply {
        HttpReply::json(status, &self.shown())
    }
}

/// What a path is about.
enum Place {
    Organization,
    Fields,
    Records(&'static str),
    Upsert(&'static str),
    Record(&'static str, String),
}

impl Dialect for Zoho {
    fn name(&self) -> &'static str {
        "zoho"
    }

    fn owns(&self, path: &str) -> bool {
        path.starts_with("/crm/v8/") || path == "/oauth/v2/token"
    }

    fn headers(&self) -> &'static [&'static str] {
        &["x-external", "host"]
    }

    fn credential(&self, request: &HttpRequest<'_>) -> Option<String> {
        bearer(request, "zoho-oauthtoken")
    }

    fn kind(&self, request: &Request) -> Kind {
        if split(&request.target).0 == "/oauth/v2/token" {
            return Kind::Token;
        }
        let key = |record: &Value| ["Onceward_Key", "id"].iter().find_map(|name| record[*name].as_str().map(str::to_owned));
        let write = |keys: Vec<Option<String>>| if keys.is_empty() { Kind::Look } else { Kind::Write { keys, batch: true } };
        match (request.method.as_str(), place(request)) {
            ("POST", Ok(Place::Upsert(_) | Place::Records(_))) | ("PUT", Ok(Place::Records(_))) => match data(request) {
                Ok(records) if records.len() <= RECORDS_MAX => write(records.iter().map(key).collect()),
                Ok(_) | Err(_) => Kind::Look,
            },
            ("DELETE", Ok(Place::Records(_))) => write(ids(request).into_iter().map(Some).collect()),
            _ => Kind::Look,
        }
    }

    fn grant(&self, request: &Request, tokens: &mut Tokens<'_>) -> HttpReply {
        match tokens.oauth(request) {
            Ok(token) => {
                let mut body = json!({ "access_token": token, "token_type": "Bearer", "expires_in": tokens.life.as_secs() });
                if let Some(host) = request.header("host") {
                    body["api_domain"] = format!("http://{host}").into();
                }
                HttpReply::json(200, &body)
            }
            // A dead refresh token and a wrong client are told with status 200.
            Err("invalid_grant") => HttpReply::json(200, &json!({ "error": "invalid_code" })),
            Err(code) => HttpReply::json(200, &json!({ "error": code })),
        }
    }

    fn refuse(&self, refused: Refused, _now: Time) -> HttpReply {
        let fault = |status, code, message| Fault::new(code, message, json!({})).reply(status);
        let crowded = || fault(429, "TOO_MANY_REQUESTS", "Too many requests fired in concurrent than the allowed limit");
        match refused {
            Refused::Unavailable => HttpReply::text(503, "text/html", "<html><body>Service Unavailable</body></html>"),
            Refused::Broken => fault(500, "INTERNAL_ERROR", "Internal Server Error"),
            Refused::ExpiredToken | Refused::UnknownToken => fault(401, "INVALID_TOKEN", "invalid oauth token"),
            Refused::Throttled { wait } => crowded().with("retry-after", wait.as_millis().div_ceil(1_000)),
            Refused::ThrottledToken { .. } => {
                let says = "You have made too many requests continuously. Please try again after some time.";
                HttpReply::json(400, &json!({ "error": "Access Denied", "error_description": says, "status": "failure" }))
            }
            Refused::Crowded => crowded(),
            Refused::Spent { .. } => fault(429, "LIMIT_EXCEEDED", "The API credits of this organization are used up"),
        }
    }

    fn meters(&self, _request: &Request, _kind: &Kind, options: &Options) -> Vec<Meter> {
        vec![Meter::daily(options.daily_calls)]
    }

    fn answer(&self, request: &Request, world: &mut World<'_>) -> Answer {
        let place = match place(request) {
            Ok(place) => place,
            Err((status, fault)) => return Answer::plain(fault.reply(status)),
        };
        let ran = match (request.method.as_str(), place) {
            ("GET", Place::Organization) => Ok(Answer::plain(HttpReply::json(200, &json!({ "org": [{ "company_name": "Sandbox" }] })))),
            ("GET", Place::Fields) => listed_fields(request, world),
            ("POST", Place::Fields) => add_field(request, world),
            ("GET", Place::Records(module)) => several(request, world, module),
            ("GET", Place::Record(module, value)) => single(request, world, module, &value),
            ("POST", Place::Upsert(module)) => each(request, world, module, upsert),
            ("POST", Place::Records(module)) => each(request, world, module, create),
            ("PUT", Place::Records(module)) => each(request, world, module, update),
            ("DELETE", Place::Records(module)) => delete(request, world, module),
            _ => Err(Fault::new("INVALID_REQUEST_METHOD", "The http request method type is not a valid one", json!({}))),
        };
        ran.unwrap_or_else(|fault| Answer::plain(fault.reply(400)))
    }

    fn record_id(&self, object: &str, number: u64) -> String {
        id_text(object, number)
    }
}

fn id_text(module: &str, number: u64) -> String {
    let place = modules::module(module).map_or(99, |(_, place)| place);
    (ACCOUNT + place * MODULE + number).to_string()
}

fn parse_id(module: &str, id: &str) -> Option<u64> {
    let (_, place) = modules::module(module)?;
    id.parse::<u64>().ok()?.checked_sub(ACCOUNT + place * MODULE).filter(|number| (1..MODULE).contains(number))
}

fn place(request: &Request) -> Result<Place, (u16, Fault)> {
    let segments = request.segments().unwrap_or_default();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let unknown = || (400, Fault::new("INVALID_MODULE", "the module name given seems to be invalid", json!({ "resource_path_index": 0 })));
    let module = |name: &str| modules::module(name).map(|(name, _)| name).ok_or_else(unknown);
    match segments.as_slice() {
        ["crm", "v8", "org"] => Ok(Place::Organization),
        ["crm", "v8", "settings", "fields"] => Ok(Place::Fields),
        ["crm", "v8", name] => Ok(Place::Records(module(name)?)),
        ["crm", "v8", name, "upsert"] => Ok(Place::Upsert(module(name)?)),
        ["crm", "v8", name, value] => Ok(Place::Record(module(name)?, (*value).to_owned())),
        _ => Err((404, Fault::new("INVALID_URL_PATTERN", "Please check if the URL trying to access is a correct one", json!({})))),
    }
}

fn body(request: &Request) -> Result<Value, Fault> {
    let wrong = || Fault::new("INVALID_DATA", "body", json!({ "expected_data_type": "jsonobject" }));
    if !is_json(request.header("content-type")) {
        return Err(wrong());
    }
    serde_json::from_str::<Value>(&request.body).ok().filter(Value::is_object).ok_or_else(wrong)
}

fn data(request: &Request) -> Result<Vec<Value>, Fault> {
    let records = body(request)?["data"].as_array().filter(|records| !records.is_empty()).cloned();
    records.ok_or_else(|| Fault::new("MANDATORY_NOT_FOUND", "required field not found", json!({ "api_name": "data" })))
}

fn ids(request: &Request) -> Vec<String> {
    let ids = pair(request.query(), "ids").unwrap_or_default();
    ids.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

/// The module's rows, indexed by what is unique and what an upsert looks at.
fn rows<'w>(world: &'w mut World<'_>, module: &str) -> &'w mut Table {
    let fields = modules::fields(world, module);
    let indexed = fields.iter().filter(|field| field.unique || field.external).map(|field| field.name.as_str());
    let indexed: Vec<Arc<str>> = indexed.chain([modules::system_checked(module)]).map(Into::into).collect();
    world.table(module, &indexed)
}

/// The field of `X-EXTERNAL: Contacts.Onceward_Key`, if it is the module's and external.
fn external(request: &Request, world: &mut World<'_>, module: &str) -> Result<Option<String>, Fault> {
    let Some(header) = request.header("x-external") else { return Ok(None) };
    let named = header.split_once('.').filter(|(of, _)| *of == module).map(|(_, field)| field);
    let field = modules::fields(world, module).into_iter().find(|field| Some(field.name.as_str()) == named && field.external);
    let wrong = || Fault::new("INVALID_DATA", "the external field given seems to be invalid", json!({ "header_name": "X-EXTERNAL" }));
    field.map(|field| Some(field.name)).ok_or_else(wrong)
}

/// The live row of an id, or of an external value.
fn find(world: &mut World<'_>, module: &str, by: Option<&str>, value: &str) -> Option<u64> {
    let rows = rows(world, module);
    match by {
        Some(field) => rows.find(field, value).first().copied(),
        None => parse_id(module, value).filter(|number| rows.row(*number).is_some_and(|row| !row.deleted)),
    }
}

/// What one record of a write asks for.
struct Sent<'r> {
    request: &'r Request,
    module: &'static str,
    fields: &'r [Field],
    place: usize,
    members: &'r Map<String, Value>,
}

/// What became of one record.
type Told = Result<(Value, Option<String>, &'static str), Fault>;

fn each(
    request: &Request,
    world: &mut World<'_>,
    module: &'static str,
    one: fn(&Sent<'_>, &mut World<'_>) -> Told,
) -> Result<Answer, Fault> {
    let records = data(request)?;
    if records.len() > RECORDS_MAX {
        let details = json!({ "maximum_length": RECORDS_MAX, "api_name": "data", "json_path": "$.data" });
        return Err(Fault::new("INVALID_DATA", "invalid data", details));
    }
    check_fields(request, world, module)?;
    external(request, world, module)?;
    let fields = modules::fields(world, module);
    let key = |record: &Value| ["Onceward_Key", "id"].iter().find_map(|name| record[*name].as_str().map(str::to_owned));
    let (mut shown, mut touched) = (Vec::new(), Vec::new());
    for (place, record) in records.iter().enumerate() {
        let empty = Map::new();
        let sent = Sent { request, module, fields: &fields, place, members: record.as_object().unwrap_or(&empty) };
        let told =
            if world.locked(place) { Err(Fault::new("RECORD_LOCKED", "the record is locked", json!({}))) } else { one(&sent, world) };
        match told {
            Ok((value, key, result)) => {
                shown.push(value);
                touched.push(Touched { key, result: result.into() });
            }
            Err(fault) => {
                shown.push(fault.shown());
                touched.push(Touched { key: key(record), result: fault.code.into() });
            }
        }
    }
    Ok(Answer { reply: listed(world, shown), records: touched })
}

/// The results of a write: 200, 400 if there is no success among them, 207 if there are both.
fn listed(world: &World<'_>, mut shown: Vec<Value>) -> HttpReply {
    let good = shown.iter().filter(|row| row["status"] == "success").count();
    let status = if good == shown.len() {
        200
    } else if good == 0 {
        400
    } else {
        207
    };
    if world.missing {
        shown.pop();
    }
    HttpReply::json(status, &json!({ "data": shown }))
}

/// Only unique fields, and the one that the module came with, can be looked at by an upsert.
fn check_fields(request: &Request, world: &mut World<'_>, module: &str) -> Result<(), Fault> {
    let named = body(request)?["duplicate_check_fields"].take();
    let fields = modules::fields(world, module);
    for (at, name) in named.as_array().into_iter().flatten().enumerate() {
        let known = fields.iter().any(|field| Some(field.name.as_str()) == name.as_str() && field.unique);
        if !known && name.as_str() != Some(modules::system_checked(module)) {
            let details = json!({ "api_name": "duplicate_check_fields", "json_path": format!("$.duplicate_check_fields[{at}]") });
            return Err(Fault::new("INVALID_DATA", "invalid data", details));
        }
    }
    Ok(())
}

fn upsert(sent: &Sent<'_>, world: &mut World<'_>) -> Told {
    let changes = modules::fit(world, sent.fields, sent.place, sent.members)?;
    let named = body(sent.request)?["duplicate_check_fields"].take();
    let mut checked: Vec<String> = named.as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect();
    if checked.is_empty() {
        checked.push(modules::system_checked(sent.module).to_owned());
    }
    // The module's other unique fields are looked at afterwards.
    checked.extend(
        sent.fields
            .iter()
            .filter(|field| field.unique && !checked.contains(&field.name))
            .map(|field| field.name.clone())
            .collect::<Vec<_>>(),
    );
    let hit = checked.into_iter().find_map(|name| {
        let value = changes.iter().find(|(held, _)| *held == name).and_then(|(_, value)| text(value))?;
        rows(world, sent.module).find(&name, &value).first().map(|number| (name, *number))
    });
    match hit {
        Some((name, number)) => {
            let mut told = change(sent, world, number, changes)?;
            told.0["action"] = "update".into();
            told.0["duplicate_field"] = name.into();
            Ok(told)
        }
        None => {
            let mut told = insert(sent, world, changes)?;
            told.0["action"] = "insert".into();
            told.0["duplicate_field"] = Value::Null;
            Ok(told)
        }
    }
}

fn create(sent: &Sent<'_>, world: &mut World<'_>) -> Told {
    let changes = modules::fit(world, sent.fields, sent.place, sent.members)?;
    insert(sent, world, changes)
}

fn update(sent: &Sent<'_>, world: &mut World<'_>) -> Told {
    let by = external(sent.request, world, sent.module)?;
    let name = by.as_deref().unwrap_or("id");
    let path = json!({ "api_name": name, "json_path": format!("$.data[{}].{name}", sent.place) });
    let value = sent.members.get(name).and_then(Value::as_str);
    let value = value.ok_or_else(|| Fault::new("MANDATORY_NOT_FOUND", "required field not found", path.clone()))?;
    let number = find(world, sent.module, by.as_deref(), value);
    let number = number.ok_or_else(|| Fault::new("INVALID_DATA", "the id given seems to be invalid", path))?;
    let mut changes = modules::fit(world, sent.fields, sent.place, sent.members)?;
    changes.retain(|(held, _)| Some(held) != by.as_ref());
    change(sent, world, number, changes)
}

fn insert(sent: &Sent<'_>, world: &mut World<'_>, changes: Vec<(String, Value)>) -> Told {
    let given = |name: &str| changes.iter().any(|(held, value)| held == name && !value.is_null());
    if let Some(lacking) = sent.fields.iter().find(|field| field.required && !given(&field.name)) {
        let details = json!({ "api_name": lacking.name, "json_path": format!("$.data[{}].{}", sent.place, lacking.name) });
        return Err(Fault::new("MANDATORY_NOT_FOUND", "required field not found", details));
    }
    unique(sent, world, None, &changes)?;
    if world.full() {
        return Err(Fault::new("LIMIT_REACHED", "The storage of this organization is used up", json!({})));
    }
    let keyed = sent.fields.iter().find(|field| field.unique && field.external && given(&field.name));
    let keyed = keyed.map(|field| field.name.as_str().into());
    let now = world.now;
    let held = changes.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.into(), value)).collect();
    let number = rows(world, sent.module).insert(keyed, held, now);
    Ok(told(world, sent.module, number, "record added", "created"))
}

fn change(sent: &Sent<'_>, world: &mut World<'_>, number: u64, changes: Vec<(String, Value)>) -> Told {
    if let Some(field) =
        sent.fields.iter().find(|field| field.required && changes.iter().any(|(name, value)| *name == field.name && value.is_null()))
    {
        let details = json!({ "api_name": field.name, "json_path": format!("$.data[{}].{}", sent.place, field.name) });
        return Err(Fault::new("MANDATORY_NOT_FOUND", "required field not found", details));
    }
    unique(sent, world, Some(number), &changes)?;
    let now = world.now;
    let changes = changes.into_iter().map(|(name, value)| (name.into(), value)).collect();
    rows(world, sent.module).update(number, changes, now);
    Ok(told(world, sent.module, number, "record updated", "updated"))
}

fn unique(sent: &Sent<'_>, world: &mut World<'_>, number: Option<u64>, changes: &[(String, Value)]) -> Result<(), Fault> {
    for field in sent.fields.iter().filter(|field| field.unique || field.external) {
        let Some(value) = changes.iter().find(|(name, _)| *name == field.name).and_then(|(_, value)| text(value)) else { continue };
        let taken = rows(world, sent.module).find(&field.name, &value).into_iter().find(|other| Some(*other) != number);
        if let Some(other) = taken {
            let record = json!({
                "Owner": { "name": "Patricia Boyle", "id": "554023000000235011", "zuid": "1" },
                "module": { "api_name": sent.module, "id": "554023000000000000" }, "id": id_text(sent.module, other),
            });
            let path = format!("$.data[{}].{}", sent.place, field.name);
            let details = json!({ "api_name": field.name, "duplicate_record": record, "json_path": path, "more_records": false });
            return Err(Fault::new("DUPLICATE_DATA", "duplicate data", details));
        }
    }
    Ok(())
}

fn told(world: &mut World<'_>, module: &str, number: u64, message: &str, result: &'static str) -> (Value, Option<String>, &'static str) {
    let row = rows(world, module).row(number);
    let (key, created, modified) = row.map_or((None, world_time(None), world_time(None)), |row| {
        (row.key(), world_time(Some(row.created)), world_time(Some(row.modified)))
    });
    let person = json!({ "name": "Patricia Boyle", "id": "554023000000235011" });
    let details = json!({
        "id": id_text(module, number), "Created_Time": created, "Modified_Time": modified, "Created_By": person, "Modified_By": person,
    });
    (json!({ "code": "SUCCESS", "details": details, "message": message, "status": "success" }), key, result)
}

/// A moment with an offset and without parts of a second.
fn world_time(at: Option<Time>) -> String {
    let text = Time::from_seconds(at.unwrap_or_default().seconds()).to_string();
    format!("{}+00:00", text.split(['.', 'Z']).next().unwrap_or_default())
}

fn delete(request: &Request, world: &mut World<'_>, module: &'static str) -> Result<Answer, Fault> {
    let ids = ids(request);
    if ids.is_empty() || ids.len() > RECORDS_MAX {
        return Err(Fault::new("REQUIRED_PARAM_MISSING", "One of the expected parameter is missing", json!({ "param_name": "ids" })));
    }
    let by = external(request, world, module)?;
    let (mut shown, mut touched) = (Vec::new(), Vec::new());
    for (place, id) in ids.into_iter().enumerate() {
        let number = find(world, module, by.as_deref(), &id);
        match number {
            _ if world.locked(place) => {
                shown.push(Fault::new("RECORD_LOCKED", "the record is locked", json!({ "id": id })).shown());
                touched.push(Touched { key: Some(id), result: "RECORD_LOCKED".into() });
            }
            Some(number) => {
                let (now, key) = (world.now, rows(world, module).row(number).and_then(Row::key));
                rows(world, module).delete(number, now);
                let details = json!({ "id": id_text(module, number) });
                shown.push(json!({ "code": "SUCCESS", "details": details, "message": "record deleted", "status": "success" }));
                touched.push(Touched { key, result: "deleted".into() });
            }
            None => {
                shown.push(Fault::new("INVALID_DATA", "the id given seems to be invalid", json!({ "id": id })).shown());
                touched.push(Touched { key: Some(id), result: "INVALID_DATA".into() });
            }
        }
    }
    Ok(Answer { reply: listed(world, shown), records: touched })
}

fn several(request: &Request, world: &mut World<'_>, module: &'static str) -> Result<Answer, Fault> {
    let by = external(request, world, module)?;
    let per_page = pair(request.query(), "per_page").map_or(Some(200), |text| text.parse::<usize>().ok()).filter(|size| *size <= 200);
    let missing =
        |name: &str| Fault::new("REQUIRED_PARAM_MISSING", "One of the expected parameter is missing", json!({ "param_name": name }));
    let per_page = per_page.ok_or_else(|| missing("per_page"))?;
    let names = pair(request.query(), "fields").ok_or_else(|| missing("fields"))?;
    let ids = ids(request);
    if ids.len() > RECORDS_MAX {
        return Err(Fault::new("INVALID_DATA", "invalid data", json!({ "param_name": "ids", "maximum_length": RECORDS_MAX })));
    }
    let all = rows(world, module).rows().filter(|(_, row)| !row.deleted).map(|(number, _)| number).collect();
    let mut found: Vec<u64> =
        if ids.is_empty() { all } else { ids.iter().filter_map(|id| find(world, module, by.as_deref(), id)).collect() };
    // The newest first: the order of the request counts for nothing.
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.dedup();
    let more = found.len() > per_page;
    let shown: Vec<Value> = found.into_iter().take(per_page).map(|number| show(world, module, number, &names)).collect();
    if shown.is_empty() {
        return Ok(Answer::plain(HttpReply::empty(204)));
    }
    let info = json!({ "per_page": per_page, "count": shown.len(), "page": 1, "more_records": more });
    Ok(Answer::plain(HttpReply::json(200, &json!({ "data": shown, "info": info }))))
}

fn single(request: &Request, world: &mut World<'_>, module: &'static str, value: &str) -> Result<Answer, Fault> {
    let by = external(request, world, module)?;
    let names = pair(request.query(), "fields").unwrap_or_default();
    match find(world, module, by.as_deref(), value) {
        Some(number) => Ok(Answer::plain(HttpReply::json(200, &json!({ "data": [show(world, module, number, &names)] })))),
        None => Ok(Answer::plain(HttpReply::empty(204))),
    }
}

/// A record with the fields that were asked for and its id; a parent with its name.
fn show(world: &mut World<'_>, module: &str, number: u64, names: &str) -> Value {
    let fields = modules::fields(world, module);
    let Some(row) = rows(world, module).row(number).cloned() else { return Value::Null };
    let mut shown = Map::from_iter([("id".to_owned(), json!(id_text(module, number)))]);
    let all: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    let asked: Vec<&str> = if names.is_empty() { all } else { names.split(',').collect() };
    for name in asked {
        let mut value = match name {
            "Modified_Time" => json!(world_time(Some(row.modified))),
            "Created_Time" => json!(world_time(Some(row.created))),
            name if fields.iter().any(|field| field.name == name) => row.fields.get(name).cloned().unwrap_or_default(),
            _ => continue,
        };
        if let Some(link) = value.as_object_mut() {
            link.insert("name".to_owned(), "Example".into());
        }
        shown.insert(name.to_owned(), value);
    }
    Value::Object(shown)
}

fn of_module(request: &Request) -> Result<&'static str, Fault> {
    let missing = || Fault::new("REQUIRED_PARAM_MISSING", "One of the expected parameter is missing", json!({ "param_name": "module" }));
    let name = pair(request.query(), "module").ok_or_else(missing)?;
    let wrong = || Fault::new("INVALID_MODULE", "the module name given seems to be invalid", json!({ "param_name": "module" }));
    modules::module(&name).map(|(name, _)| name).ok_or_else(wrong)
}

fn listed_fields(request: &Request, world: &mut World<'_>) -> Result<Answer, Fault> {
    let module = of_module(request)?;
    let fields: Vec<Value> = modules::fields(world, module).iter().map(Field::listed).collect();
    Ok(Answer::plain(HttpReply::json(200, &json!({ "fields": fields }))))
}

/// Adds a text field; its API name follows from the label.
fn add_field(request: &Request, world: &mut World<'_>) -> Result<Answer, Fault> {
    let module = of_module(request)?;
    let sent = body(request)?["fields"][0].take();
    let needed = |name: &'static str| {
        let details = json!({ "api_name": name, "json_path": format!("$.fields[0].{name}") });
        Fault::new("MANDATORY_NOT_FOUND", "required field not found", details)
    };
    let label = sent["field_label"].as_str().filter(|label| !label.is_empty()).ok_or_else(|| needed("field_label"))?;
    let name = label.replace(' ', "_");
    if sent["data_type"] != "text" {
        return Err(needed("data_type"));
    }
    let known = modules::fields(world, module);
    let answer = |status: u16, row: Value| Ok(Answer::plain(HttpReply::json(status, &json!({ "fields": [row] }))));
    if known.iter().any(|field| field.name == name) {
        let details = json!({ "api_name": "field_label", "json_path": "$.fields[0].field_label" });
        return answer(400, Fault::new("DUPLICATE_DATA", "duplicate data", details).shown());
    }
    let added = |field: &&Field| field.unique && !matches!(field.name.as_str(), "Onceward_Key" | "Member_Number");
    if sent["unique"].is_object() && known.iter().filter(added).count() >= 2 {
        return answer(400, Fault::new("LIMIT_EXCEEDED", "only two unique fields are allowed in a module", json!({})).shown());
    }
    let fields: [(&str, Value); 4] = [
        ("module", module.into()),
        ("name", name.into()),
        ("unique", sent["unique"].is_object().into()),
        ("external", (sent["external"]["type"] == "org").into()),
    ];
    let now = world.now;
    let number = world.table(COLUMNS, &[]).insert(None, fields.into_iter().map(|(name, value)| (name.into(), value)).collect(), now);
    let details = json!({ "id": (ACCOUNT + 90 * MODULE + number).to_string() });
    answer(200, json!({ "code": "SUCCESS", "details": details, "message": "field created", "status": "success" }))
}
