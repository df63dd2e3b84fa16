//! Pipedrive's API v2: persons, organizations and deals, their fields, and a search whose index lags behind.
//!
//! Shapes follow the official SDK (npm `pipedrive`, v2), limits pipedrive.readme.io (rate limiting, tokens per call), refusals the changelog and
//! recorded answers. That the index lags was reported, and by how much is not documented: here it is [`LAG`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::Time;
use serde_json::{Map, Value, json};

use super::{Answer, Dialect, Kind, Meter, Reading, Refused, Request, World, bearer};
use crate::core::Options;
use crate::http::{HttpReply, HttpRequest, is_json, pair};
use crate::records::{Row, text};

/// After how long a search finds what was written.
const LAG: Duration = Duration::from_secs(2);
/// The custom text field that each object comes with.
const CUSTOM: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b";
/// Where the fields that were created are remembered.
const CREATED: &str = "_fields";
/// Documented: in two seconds, for a token of the smallest plan; and searches, of any plan.
const BURST: u64 = 20;
const SEARCHES: u64 = 10;
/// Documented for a company of one seat on the smallest plan.
const DAILY_TOKENS: u64 = 30_000;

struct Shape {
    object: &'static str,
    fields: &'static str,
    required: &'static str,
    /// What it takes beside custom fields, and whether that is a number.
    takes: &'static [(&'static str, Holds)],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Text,
    Number,
    Contacts,
    Numbers,
    Object,
}

const SHAPES: [Shape; 3] = [
    Shape {
        object: "persons",
        fields: "personFields",
        required: "name",
        takes: &[
            ("name", Holds::Text),
            ("owner_id", Holds::Number),
            ("org_id", Holds::Number),
            ("emails", Holds::Contacts),
            ("phones", Holds::Contacts),
            ("label_ids", Holds::Numbers),
            ("visible_to", Holds::Number),
        ],
    },
    Shape {
        object: "organizations",
        fields: "organizationFields",
        required: "name",
        takes: &[
            ("name", Holds::Text),
            ("owner_id", Holds::Number),
            ("label_ids", Holds::Numbers),
            ("visible_to", Holds::Number),
            ("address", Holds::Object),
        ],
    },
    Shape {
        object: "deals",
        fields: "dealFields",
        required: "title",
        takes: &[
            ("title", Holds::Text),
            ("owner_id", Holds::Number),
            ("person_id", Holds::Number),
            ("org_id", Holds::Number),
            ("pipeline_id", Holds::Number),
            ("stage_id", Holds::Number),
            ("value", Holds::Number),
            ("currency", Holds::Text),
            ("status", Holds::Text),
            ("probability", Holds::Number),
            ("expected_close_date", Holds::Text),
            ("label_ids", Holds::Numbers),
        ],
    },
];

enum Place {
    Records(&'static Shape),
    Record(&'static Shape, String),
    Search(&'static Shape),
    Fields(&'static Shape),
}

fn place(request: &Request) -> Option<Place> {
    let segments = request.segments()?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let shape = |name: &str| SHAPES.iter().find(|shape| shape.object == name);
    match segments.as_slice() {
        ["api", "v2", object, "search"] => shape(object).map(Place::Search),
        ["api", "v2", object, id] => Some(Place::Record(shape(object)?, (*id).to_owned())),
        ["api", "v2", name] => match shape(name) {
            Some(shape) => Some(Place::Records(shape)),
            None => SHAPES.iter().find(|shape| shape.fields == *name).map(Place::Fields),
        },
        _ => None,
    }
}

fn error(status: u16, said: &str, code: &str) -> HttpReply {
    let info = "Please check developers.pipedrive.com for more information about Pipedrive API.";
    let body = json!({ "success": false, "error": said, "error_info": info, "data": null, "additional_data": null, "code": code });
    HttpReply::json(status, &body)
}

fn invalid(said: &str) -> HttpReply {
    error(400, &format!("Validation failed: {said}"), "ERR_SCHEMA_VALIDATION_FAILED")
}

fn not_found(object: &str) -> HttpReply {
    error(404, &format!("{object} not found"), "ERR_NOT_FOUND")
}

fn success(status: u16, data: &Value) -> HttpReply {
    HttpReply::json(status, &json!({ "success": true, "data": data, "additional_data": { "next_cursor": null } }))
}

fn is_custom(name: &str) -> bool {
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Pipedrive.
#[derive(Debug)]
pub(crate) struct Pipedrive;

impl Dialect for Pipedrive {
    fn name(&self) -> &'static str {
        "pipedrive"
    }

    fn owns(&self, path: &str) -> bool {
        path.starts_with("/api/v2/")
    }

    /// A personal token in a header of its own, or an app's.
    fn credential(&self, request: &HttpRequest<'_>) -> Option<String> {
        request.header("x-api-token").filter(|token| !token.trim().is_empty()).map(str::to_owned).or_else(|| bearer(request, "bearer"))
    }

    fn kind(&self, request: &Request) -> Kind {
        match (request.method.as_str(), place(request)) {
            ("POST", Some(Place::Records(_))) => {
                let body = serde_json::from_str::<Value>(&request.body).unwrap_or_default();
                Kind::Write { keys: vec![text(&body["custom_fields"][CUSTOM])], batch: false }
            }
            ("PATCH" | "DELETE", Some(Place::Record(_, id))) => Kind::Write { keys: vec![Some(id)], batch: false },
            _ => Kind::Look,
        }
    }

    fn refuse(&self, refused: Refused, _now: Time) -> HttpReply {
        let limited = |wait: Duration| error(429, "request over limit", "").with("x-ratelimit-reset", wait.as_secs().max(1));
        match refused {
            Refused::Unavailable => HttpReply::text(503, "text/html", "<html>Service Unavailable</html>"),
            Refused::Broken => error(500, "Internal Server Error", "ERR_UNKNOWN"),
            Refused::ExpiredToken | Refused::UnknownToken => error(401, "unauthorized access", ""),
            Refused::Spent { meter: "day", .. } => error(429, "request over limit", "").with("x-daily-ratelimit-token-remaining", 0),
            Refused::Throttled { wait } | Refused::ThrottledToken { wait } | Refused::Spent { wait, .. } => limited(wait),
            Refused::Crowded => limited(Duration::from_secs(2)),
        }
    }

    fn meters(&self, request: &Request, kind: &Kind, options: &Options) -> Vec<Meter> {
        let times = options.budget_times;
        let window = Duration::from_secs(2);
        let mut meters = vec![Meter::calls("burst", BURST.saturating_mul(times), window)];
        // Tokens per call: an entity 2, a list 20, a change 10, a search 40.
        let cost = match (kind, place(request)) {
            (Kind::Write { .. }, _) => 10,
            (_, Some(Place::Search(_))) => {
                meters.push(Meter::calls("search", SEARCHES.saturating_mul(times), window));
                40
            }
            (_, Some(Place::Record(..))) => 2,
            _ => 20,
        };
        meters.push(Meter {
            name: "day",
            limit: DAILY_TOKENS.saturating_mul(times).min(options.daily_calls.saturating_mul(10)),
            per: Duration::from_secs(86_400),
            cost,
        });
        meters
    }

    fn gauge(&self, readings: &[Reading], reply: HttpReply) -> HttpReply {
        readings.iter().fold(reply, |reply, reading| match reading.name {
            "burst" => reply
                .with("x-ratelimit-limit", reading.limit)
                .with("x-ratelimit-remaining", reading.left)
                .with("x-ratelimit-reset", reading.resets.as_secs().max(1)),
            "day" => reply.with("x-daily-ratelimit-token-limit", reading.limit).with("x-daily-ratelimit-token-remaining", reading.left),
            _ => reply,
        })
    }

    fn answer(&self, request: &Request, world: &mut World<'_>) -> Answer {
        let Some(place) = place(request) else { return Answer::plain(error(404, "Unknown method .", "")) };
        let ran = match (request.method.as_str(), place) {
            ("GET", Place::Fields(shape)) => Ok(Answer::plain(success(200, &Value::Array(fields_of(world, shape))))),
            ("POST", Place::Fields(shape)) => create_field(request, world, shape).map(Answer::plain),
            ("GET", Place::Search(shape)) => search(request, world, shape).map(Answer::plain),
            ("GET", Place::Records(shape)) => list(request, world, shape).map(Answer::plain),
            ("GET", Place::Record(shape, id)) => {
                find(world, shape, &id).map(|number| Answer::plain(success(200, &shown(world, shape, number))))
            }
            ("POST", Place::Records(shape)) => create(request, world, shape),
            ("PATCH", Place::Record(shape, id)) => change(request, world, shape, &id),
            ("DELETE", Place::Record(shape, id)) => delete(world, shape, &id),
            _ => Err(error(405, "Method not allowed", "")),
        };
        ran.unwrap_or_else(|reply| {
            let told = format!("http_{}", reply.status);
            match self.kind(request) {
                Kind::Write { mut keys, .. } => Answer::one(reply, keys.pop().flatten(), told),
                Kind::Token | Kind::Look => Answer::plain(reply),
            }
        })
    }

    fn record_id(&self, _object: &str, number: u64) -> String {
        number.to_string()
    }
}

/// The codes of an object's custom fields.
fn customs(world: &mut World<'_>, shape: &Shape) -> Vec<String> {
    let rows = world.table(CREATED, &[]).rows().filter(|(_, row)| row.fields.get("of").and_then(Value::as_str) == Some(shape.object));
    let created: Vec<String> = rows.filter_map(|(_, row)| row.fields.get("code").and_then(text)).collect();
    std::iter::once(CUSTOM.to_owned()).chain(created).collect()
}

fn fields_of(world: &mut World<'_>, shape: &Shape) -> Vec<Value> {
    let kind = |holds: Holds| match holds {
        Holds::Text => "varchar",
        Holds::Number => "double",
        Holds::Contacts => "json",
        Holds::Numbers => "set",
        Holds::Object => "address",
    };
    let field = |code: &str, kind: &str, custom: bool| {
        json!({ "field_name": code, "field_code": code, "field_type": kind, "is_custom_field": custom, "is_optional_response_field": false,
                "options": null, "subfields": null })
    };
    let own = shape.takes.iter().map(|(name, holds)| field(name, kind(*holds), false));
    let custom: Vec<Value> = customs(world, shape).iter().map(|code| field(code, "varchar", true)).collect();
    own.chain(custom).collect()
}

fn create_field(request: &Request, world: &mut World<'_>, shape: &'static Shape) -> Result<HttpReply, HttpReply> {
    let body = parse(request)?;
    let named = body.get("field_name").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
    if !named || body.get("field_type").and_then(Value::as_str) != Some("varchar") {
        return Err(invalid("field_name and field_type are required, and only varchar is made here"));
    }
    let now = world.now;
    let table = world.table(CREATED, &[]);
    // A hash of a kind: other than any before, and the same whenever the same is done.
    let code = format!("{:040x}", 0xfeed_0000_u64 + table.held() as u64);
    let fields = [("of", Value::from(shape.object)), ("code", code.clone().into())];
    table.insert(None, fields.into_iter().map(|(name, value)| (name.into(), value)).collect(), now);
    Ok(success(201, &json!({ "field_name": body["field_name"], "field_code": code, "field_type": "varchar", "is_custom_field": true })))
}

fn parse(request: &Request) -> Result<Value, HttpReply> {
    let body = serde_json::from_str::<Value>(&request.body).ok().filter(|_| is_json(request.header("content-type")));
    body.filter(Value::is_object).ok_or_else(|| invalid("the body is no JSON object"))
}

/// What a write sets, custom fields among the others.
fn values(request: &Request, world: &mut World<'_>, shape: &Shape) -> Result<BTreeMap<Arc<str>, Value>, HttpReply> {
    let known = customs(world, shape);
    let mut values = BTreeMap::new();
    for (name, value) in parse(request)?.as_object().cloned().unwrap_or_default() {
        if name == "custom_fields" {
            for (code, value) in value.as_object().cloned().ok_or_else(|| invalid("custom_fields must be an object"))? {
                if !known.contains(&code) {
                    return Err(invalid(&format!("custom_fields: {code} is not a field of this entity")));
                }
                if !(value.is_null() || value.is_string()) {
                    return Err(invalid(&format!("custom_fields: {code}: expected string")));
                }
                values.insert(code.into(), value);
            }
            continue;
        }
        let holds = shape.takes.iter().find(|(field, _)| *field == name).map(|(_, holds)| *holds);
        let holds = holds.ok_or_else(|| invalid(&format!("unrecognized key: {name}")))?;
        let fits = match holds {
            Holds::Text => value.is_string() || value.is_null(),
            Holds::Number => value.is_number() || value.is_null(),
            Holds::Numbers => value.as_array().is_some_and(|entries| entries.iter().all(Value::is_number)),
            Holds::Contacts => value.as_array().is_some_and(|entries| entries.iter().all(|entry| entry["value"].is_string())),
            Holds::Object => value["value"].is_string() || value.is_null(),
        };
        if !fits {
            return Err(invalid(&format!("{name}: wrong type")));
        }
        values.insert(name.as_str().into(), value);
    }
    for (field, target) in [("org_id", "organizations"), ("person_id", "persons")] {
        let Some(id) = values.get(field).and_then(Value::as_u64) else { continue };
        if world.table(target, &[]).row(id).is_none_or(|row: &Row| row.deleted) {
            return Err(error(400, &format!("{field}: {target} {id} not found"), "ERR_BAD_REQUEST"));
        }
    }
    Ok(values)
}

fn find(world: &mut World<'_>, shape: &Shape, id: &str) -> Result<u64, HttpReply> {
    let number = id.parse::<u64>().map_err(|_| invalid("id must be a number"))?;
    let live = world.table(shape.object, &[]).row(number).is_some_and(|row| !row.deleted);
    if live { Ok(number) } else { Err(not_found(shape.object)) }
}

/// No lock is documented: a record that meets one is answered as a server that is in trouble.
fn locked(world: &World<'_>) -> Result<(), HttpReply> {
    if world.locked(0) { Err(error(500, "Internal Server Error", "ERR_UNKNOWN")) } else { Ok(()) }
}

fn create(request: &Request, world: &mut World<'_>, shape: &'static Shape) -> Result<Answer, HttpReply> {
    let mut values = values(request, world, shape)?;
    if values.get(shape.required).and_then(Value::as_str).is_none_or(|name| name.trim().is_empty()) {
        return Err(invalid(&format!("{} is required", shape.required)));
    }
    locked(world)?;
    if world.full() {
        let code = format!("feature_capping_{}_limit", shape.object);
        return Err(error(403, "You have reached the limit of your plan", &code));
    }
    values.retain(|_, value| !value.is_null());
    let now = world.now;
    let number = world.table(shape.object, &[]).insert(Some(CUSTOM.into()), values, now);
    Ok(done(world, shape, number, 201, "created"))
}

fn change(request: &Request, world: &mut World<'_>, shape: &'static Shape, id: &str) -> Result<Answer, HttpReply> {
    let number = find(world, shape, id)?;
    let values = values(request, world, shape)?;
    locked(world)?;
    let now = world.now;
    world.table(shape.object, &[]).update(number, values.into_iter().collect(), now);
    Ok(done(world, shape, number, 200, "updated"))
}

fn delete(world: &mut World<'_>, shape: &'static Shape, id: &str) -> Result<Answer, HttpReply> {
    let number = find(world, shape, id)?;
    locked(world)?;
    let now = world.now;
    let table = world.table(shape.object, &[]);
    let key = table.row(number).and_then(Row::key);
    table.delete(number, now);
    Ok(Answer::one(success(200, &json!({ "id": number })), key, "deleted"))
}

fn done(world: &mut World<'_>, shape: &Shape, number: u64, status: u16, result: &'static str) -> Answer {
    let key = world.table(shape.object, &[]).row(number).and_then(Row::key);
    Answer::one(success(status, &shown(world, shape, number)), key, result)
}

/// Exactly and without regard to case, in whichever custom field; what was written a moment ago is not in the index yet.
fn search(request: &Request, world: &mut World<'_>, shape: &'static Shape) -> Result<HttpReply, HttpReply> {
    let term = pair(request.query(), "term").filter(|term| !term.is_empty()).ok_or_else(|| invalid("term is required"))?;
    if pair(request.query(), "exact_match").as_deref() != Some("true") {
        return Err(invalid("the sandbox searches exactly only"));
    }
    let wanted = pair(request.query(), "fields").unwrap_or_default();
    let now = world.now;
    let folded = term.to_lowercase();
    let hits = |value: &Value| text(value).is_some_and(|held| held.to_lowercase() == folded);
    let in_field = |name: &str, value: &Value| match wanted.as_str() {
        "custom_fields" => is_custom(name) && hits(value),
        "email" => name == "emails" && super::entries(value).iter().any(|entry| hits(&entry["value"])),
        "phone" => name == "phones" && super::entries(value).iter().any(|entry| hits(&entry["value"])),
        field => name == field && hits(value),
    };
    let table = world.table(shape.object, &[]);
    let indexed = |row: &Row| !row.deleted && now.since(row.modified) >= LAG;
    let found = table.rows().filter(|(_, row)| indexed(row) && row.fields.iter().any(|(name, value)| in_field(name, value)));
    let items: Vec<Value> = found.take(100).map(|(number, _)| json!({ "result_score": 1, "item": { "id": number } })).collect();
    Ok(success(200, &json!({ "items": items })))
}

fn list(request: &Request, world: &mut World<'_>, shape: &'static Shape) -> Result<HttpReply, HttpReply> {
    let ids = pair(request.query(), "ids");
    let ids = ids.map(|ids| ids.split(',').filter_map(|id| id.parse::<u64>().ok()).collect::<Vec<_>>());
    if ids.as_ref().is_some_and(|ids| ids.len() > 100) {
        return Err(invalid("ids: at most 100"));
    }
    let table = world.table(shape.object, &[]);
    let numbers: Vec<u64> = match ids {
        Some(ids) => ids.into_iter().filter(|number| table.row(*number).is_some_and(|row| !row.deleted)).collect(),
        None => table.rows().filter(|(_, row)| !row.deleted).map(|(number, _)| number).take(100).collect(),
    };
    let rows: Vec<Value> = numbers.into_iter().map(|number| shown(world, shape, number)).collect();
    Ok(success(200, &Value::Array(rows)))
}

fn shown(world: &mut World<'_>, shape: &Shape, number: u64) -> Value {
    let known = customs(world, shape);
    let Some(row) = world.table(shape.object, &[]).row(number) else { return Value::Null };
    let held = |name: &str| row.fields.get(name).cloned().unwrap_or_default();
    let mut told = Map::from_iter([("id".to_owned(), Value::from(number))]);
    told.extend(shape.takes.iter().map(|(name, holds)| {
        let value = held(name);
        let empty = value.is_null() && matches!(holds, Holds::Contacts | Holds::Numbers);
        ((*name).to_owned(), if empty { json!([]) } else { value })
    }));
    told.insert("add_time".to_owned(), row.created.to_string().into());
    told.insert("update_time".to_owned(), row.modified.to_string().into());
    told.insert("is_deleted".to_owned(), row.deleted.into());
    told.insert("custom_fields".to_owned(), Value::Object(known.iter().map(|code| (code.clone(), held(code))).collect()));
    Value::Object(told)
}
