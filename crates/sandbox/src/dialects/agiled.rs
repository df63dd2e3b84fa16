//! Agiled's public API v1: contacts and accounts, written under idempotency keys.
//!
//! Statuses, limits, the e-mail filter and what an idempotency key does follow agiled-docs.pages.dev (create a contact, errors and rate limits,
//! idempotency). Shapes of answers, PATCH and DELETE by id, and everything of accounts are not documented there: they are what such an API has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::Time;
use serde_json::{Map, Value, json};

use super::{Answer, Dialect, Kind, Meter, Refused, Request, World};
use crate::core::Options;
use crate::http::{HttpReply, is_json, pair};
use crate::records::{Row, text};

/// Answers under an idempotency key.
const STORED: &str = "_stored";
/// Documented.
const STORED_FOR: Duration = Duration::from_secs(30 * 86_400);
/// Documented: a minute and token.
const READS: u64 = 60;
const WRITES: u64 = 30;
const OBJECTS: [(&str, &str, &[&str]); 2] = [
    (
        "contacts",
        "email",
        &["first_name", "last_name", "email", "phone", "job_title", "account_id", "address", "city", "postal_code", "website"],
    ),
    ("accounts", "name", &["name", "email", "phone", "website", "description", "size", "tax_no", "address", "city", "postal_code"]),
];

/// Agiled.
#[derive(Debug)]
pub(crate) struct Agiled;

fn error(status: u16, message: &str) -> HttpReply {
    HttpReply::json(status, &json!({ "error": message }))
}

fn invalid(field: &str, message: &str) -> HttpReply {
    HttpReply::json(422, &json!({ "error": "The given data was invalid.", "errors": { field: [message] } }))
}

fn not_found() -> HttpReply {
    error(404, "Record not found.")
}

/// An object with the field that shows as its key and the fields that it takes; an id, where one is named.
fn place(request: &Request) -> Option<(&'static str, &'static str, &'static [&'static str], Option<String>)> {
    let segments = request.segments()?;
    let (object, id) = match segments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["public", "v1", object] => ((*object).to_owned(), None),
        ["public", "v1", object, id] => ((*object).to_owned(), Some((*id).to_owned())),
        _ => return None,
    };
    OBJECTS.iter().find(|(name, _, _)| *name == object).map(|(object, key, fields)| (*object, *key, *fields, id))
}

impl Dialect for Agiled {
    fn name(&self) -> &'static str {
        "agiled"
    }

    fn owns(&self, path: &str) -> bool {
        path.starts_with("/public/v1/")
    }

    fn headers(&self) -> &'static [&'static str] {
        &["idempotency-key"]
    }

    fn kind(&self, request: &Request) -> Kind {
        match (request.method.as_str(), place(request)) {
            ("POST", Some((_, key, _, None))) => {
                let body = serde_json::from_str::<Value>(&request.body).unwrap_or_default();
                Kind::Write { keys: vec![text(&body[key])], batch: false }
            }
            ("PATCH" | "DELETE", Some((_, _, _, Some(id)))) => Kind::Write { keys: vec![Some(id)], batch: false },
            _ => Kind::Look,
        }
    }

    fn refuse(&self, refused: Refused, _now: Time) -> HttpReply {
        let limited = |wait: Duration| error(429, "Too many requests.").with("retry-after", wait.as_secs().max(1));
        match refused {
            Refused::Unavailable => HttpReply::text(502, "text/html", "<html>Bad gateway</html>"),
            Refused::Broken => error(500, "The request failed unexpectedly."),
            Refused::ExpiredToken | Refused::UnknownToken => error(401, "Unauthenticated."),
            Refused::Throttled { wait } | Refused::ThrottledToken { wait } | Refused::Spent { wait, .. } => limited(wait),
            Refused::Crowded => limited(Duration::from_secs(60)),
        }
    }

    fn meters(&self, _request: &Request, kind: &Kind, options: &Options) -> Vec<Meter> {
        let (name, calls) = if matches!(kind, Kind::Write { .. }) { ("writes", WRITES) } else { ("reads", READS) };
        vec![Meter::calls(name, calls.saturating_mul(options.budget_times), Duration::from_secs(60)), Meter::daily(options.daily_calls)]
    }

    fn answer(&self, request: &Request, world: &mut World<'_>) -> Answer {
        if request.target.starts_with("/public/v1/me") && request.method == "GET" {
            return Answer::plain(HttpReply::json(200, &json!({ "data": { "name": "Sandbox", "abilities": ["contacts:write"] } })));
        }
        let Some((object, key_field, fields, id)) = place(request) else { return Answer::plain(not_found()) };
        let ran = match (request.method.as_str(), &id) {
            ("GET", None) => return Answer::plain(list(request, world, object, key_field)),
            ("GET", Some(id)) => {
                return Answer::plain(match find(world, object, id) {
                    Some(number) => HttpReply::json(200, &json!({ "data": shown(world, object, number) })),
                    None => not_found(),
                });
            }
            ("POST", None) | ("PATCH" | "DELETE", Some(_)) => {
                under_key(request, world, |world| write(request, world, object, key_field, fields, id.as_deref()))
            }
            _ => return Answer::plain(not_found()),
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

/// For matching method, path and key: the first success is stored, the same body is answered with it, another one is a conflict.
fn under_key(
    request: &Request,
    world: &mut World<'_>,
    write: impl FnOnce(&mut World<'_>) -> Result<Answer, HttpReply>,
) -> Result<Answer, HttpReply> {
    let Some(key) = request.header("idempotency-key") else { return write(world) };
    if key.is_empty() || key.len() > 255 {
        return Err(invalid("Idempotency-Key", "must be 1 to 255 characters"));
    }
    let scoped = format!("{} {} {key}", request.method, request.target);
    let (now, index): (Time, Arc<str>) = (world.now, "key".into());
    let stored = world.table(STORED, &[index]);
    let same = |row: &&Row| row.fields["key"] == scoped.as_str() && now.since(row.created) < STORED_FOR;
    let held = stored.find("key", &scoped).into_iter().filter_map(|number| stored.row(number)).find(same);
    if let Some(row) = held {
        if row.fields.get("body").and_then(Value::as_str) != Some(&request.body) {
            return Err(error(409, "The idempotency key was already used with a different request body."));
        }
        let status = row.fields.get("status").and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
        let answer = row.fields.get("answer").cloned().unwrap_or_default();
        let reply = if status == 204 { HttpReply::empty(204) } else { HttpReply::json(status, &answer) };
        return Ok(Answer::one(reply, row.fields.get("record").and_then(text), "unchanged"));
    }
    let answer = write(world)?;
    let kept: Value = serde_json::from_slice(&answer.reply.body).unwrap_or_default();
    let record = answer.records.first().and_then(|touched| touched.key.clone());
    let row = [
        ("key", Value::from(scoped)),
        ("body", request.body.clone().into()),
        ("status", answer.reply.status.into()),
        ("answer", kept),
        ("record", record.map_or(Value::Null, Value::from)),
    ];
    world.table(STORED, &[]).insert(None, row.into_iter().map(|(name, value)| (name.into(), value)).collect(), now);
    Ok(answer)
}

fn write(
    request: &Request,
    world: &mut World<'_>,
    object: &'static str,
    key_field: &'static str,
    fields: &[&'static str],
    id: Option<&str>,
) -> Result<Answer, HttpReply> {
    let number = match id {
        Some(id) => Some(find(world, object, id).ok_or_else(not_found)?),
        None => None,
    };
    if world.locked(0) {
        return Err(error(500, "The request failed unexpectedly."));
    }
    let now = world.now;
    if let (Some(number), "DELETE") = (number, request.method.as_str()) {
        let table = world.table(object, &[]);
        let key = table.row(number).and_then(Row::key);
        table.delete(number, now);
        return Ok(Answer::one(HttpReply::empty(204), key, "deleted"));
    }
    let body = serde_json::from_str::<Value>(&request.body).ok().filter(|_| is_json(request.header("content-type")));
    let Some(Value::Object(body)) = body else { return Err(error(400, "The request body was not valid JSON.")) };
    let mut values: BTreeMap<Arc<str>, Value> = BTreeMap::new();
    for (name, value) in body {
        let known = fields.iter().find(|known| **known == name).ok_or_else(|| invalid(&name, "The field is not known."))?;
        if !(value.is_null() || value.is_string() || matches!(*known, "size" | "account_id")) {
            return Err(invalid(known, "The field must be a string."));
        }
        if *known == "email" && value.as_str().is_some_and(|mail| !mail.contains('@')) {
            return Err(invalid("email", "The email must be a valid email address."));
        }
        values.insert((*known).into(), value);
    }
    let (number, result, status) = match number {
        Some(number) => {
            world.table(object, &[]).update(number, values.into_iter().collect(), now);
            (number, "updated", 200)
        }
        None => {
            let required = if object == "contacts" { "first_name" } else { "name" };
            if values.get(required).and_then(Value::as_str).is_none_or(|text| text.trim().is_empty()) {
                return Err(invalid(required, "The field is required."));
            }
            if world.full() {
                return Err(error(403, "The plan's limit of records is reached."));
            }
            values.retain(|_, value| !value.is_null());
            (world.table(object, &[]).insert(Some(key_field.into()), values, now), "created", 201)
        }
    };
    let key = world.table(object, &[]).row(number).and_then(Row::key);
    Ok(Answer::one(HttpReply::json(status, &json!({ "data": shown(world, object, number) })), key, result))
}

fn find(world: &mut World<'_>, object: &str, id: &str) -> Option<u64> {
    let number = id.parse::<u64>().ok()?;
    world.table(object, &[]).row(number).filter(|row| !row.deleted).map(|_| number)
}

/// Records that the documented filters let through; a filter that is not known is passed over, and the first page is everything.
fn list(request: &Request, world: &mut World<'_>, object: &str, key_field: &str) -> HttpReply {
    let table = world.table(object, &[key_field.into()]);
    let numbers: Vec<u64> = match pair(request.query(), key_field) {
        Some(value) => table.find(key_field, &value),
        None => table.rows().filter(|(_, row)| !row.deleted).map(|(number, _)| number).take(25).collect(),
    };
    let rows: Vec<Value> = numbers.into_iter().map(|number| shown(world, object, number)).collect();
    HttpReply::json(200, &json!({ "data": rows }))
}

fn shown(world: &mut World<'_>, object: &str, number: u64) -> Value {
    let Some(row) = world.table(object, &[]).row(number) else { return Value::Null };
    let mut told = Map::from_iter([("id".to_owned(), Value::from(number))]);
    told.extend(row.fields.iter().map(|(name, value)| (name.to_string(), value.clone())));
    told.insert("created_at".to_owned(), row.created.to_string().into());
    told.insert("updated_at".to_owned(), row.modified.to_string().into());
    Value::Object(told)
}
