//! A finance system that nobody sells, for the connector that is described in configuration: `/rest-demo/`.
//!
//! Invoices are posted under an `Idempotency-Key` and refuse a second one of their number; customers are put at their number; payments come
//! in batches, each with its own result; orders are posted without any key. What is answered under an idempotency key is answered again for
//! the same bytes, and refused with 409 for others, as the APIs that take such keys do (the IETF's draft on the header; Agiled, Buildin).

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Time;
use serde_json::{Map, Value, json};

use super::{Answer, Dialect, Kind, Meter, Refused, Request, World, bearer};
use crate::core::Options;
use crate::http::{HttpReply, HttpRequest, is_json, pair};
use crate::records::{Row, text};

/// Answers under an idempotency key.
const STORED: &str = "_stored";
/// Payments in one call.
const BATCH_MAX: usize = 50;

/// The demo API.
#[derive(Debug)]
pub(crate) struct RestDemo;

struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
    field: Option<&'static str>,
}

fn refusal(status: u16, code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { status, code, message: message.into(), field: None }
}

impl Refusal {
    fn body(&self) -> Value {
        let details: Vec<Value> = self.field.map(|field| json!({ "field": field })).into_iter().collect();
        json!({ "code": self.code, "message": self.message, "details": details })
    }

    fn reply(&self) -> HttpReply {
        HttpReply::json(self.status, &json!({ "error": self.body() }))
    }
}

/// An object, the field that carries its key, and the fields that it takes beside it, with those that are numbers.
struct Shape {
    object: &'static str,
    key: &'static str,
    fields: &'static [(&'static str, bool)],
}

const INVOICES: Shape =
    Shape { object: "invoices", key: "number", fields: &[("total", true), ("currency", false), ("customer", false), ("kind", false)] };
const CUSTOMERS: Shape = Shape { object: "customers", key: "no", fields: &[("name", false), ("email", false), ("vat", false)] };
const PAYMENTS: Shape = Shape { object: "payments", key: "reference", fields: &[("amount", true), ("invoice", false)] };
const ORDERS: Shape = Shape { object: "orders", key: "no", fields: &[("total", true), ("currency", false)] };

fn shape(object: &str) -> Option<&'static Shape> {
    [&INVOICES, &CUSTOMERS, &PAYMENTS, &ORDERS].into_iter().find(|shape| shape.object == object)
}

impl Dialect for RestDemo {
    fn name(&self) -> &'static str {
        "rest-demo"
    }

    fn owns(&self, path: &str) -> bool {
        path.starts_with("/rest-demo/")
    }

    fn headers(&self) -> &'static [&'static str] {
        &["idempotency-key"]
    }

    /// A bearer token, a key in a header of its own, or a user and a password.
    fn credential(&self, request: &HttpRequest<'_>) -> Option<String> {
        let key = || request.header("x-api-key").filter(|key| !key.trim().is_empty()).map(str::to_owned);
        bearer(request, "bearer").or_else(key).or_else(|| {
            let (name, password) = super::oauth::basic(request.header("authorization")?)?;
            Some(format!("{name}:{password}"))
        })
    }

    fn kind(&self, request: &Request) -> Kind {
        let segments = request.segments().unwrap_or_default();
        let place: Vec<&str> = segments.iter().map(String::as_str).collect();
        let one = |key: Option<String>| Kind::Write { keys: vec![key], batch: false };
        let body = || serde_json::from_str::<Value>(&request.body).unwrap_or_default();
        match (request.method.as_str(), place.as_slice()) {
            ("POST", ["rest-demo", "oauth", "token"]) => Kind::Token,
            ("POST", ["rest-demo", "payments", "batch"]) => {
                let body = body();
                let items = body["items"].as_array().cloned().unwrap_or_default();
                if items.is_empty() {
                    Kind::Look
                } else {
                    Kind::Write { keys: items.iter().map(|item| text(&item["reference"])).collect(), batch: true }
                }
            }
            ("POST", ["rest-demo", object @ ("invoices" | "orders")]) => {
                let body = body();
                let body = if body["data"].is_object() { &body["data"] } else { &body };
                one(shape(object).and_then(|shape| text(&body[shape.key])))
            }
            ("PUT", ["rest-demo", "customers", key]) => one(Some((*key).to_owned())),
            ("PATCH" | "DELETE", ["rest-demo", _, id]) => one(Some((*id).to_owned())),
            _ => Kind::Look,
        }
    }

    fn grant(&self, request: &Request, tokens: &mut super::Tokens<'_>) -> HttpReply {
        match tokens.oauth(request) {
            Ok(token) => {
                HttpReply::json(200, &json!({ "access_token": token, "token_type": "Bearer", "expires_in": tokens.life.as_secs() }))
            }
            Err(code) => HttpReply::json(if code == "invalid_client" { 401 } else { 400 }, &json!({ "error": code })),
        }
    }

    fn refuse(&self, refused: Refused, _now: Time) -> HttpReply {
        match refused {
            Refused::Unavailable => refusal(503, "unavailable", "down for maintenance").reply(),
            Refused::Broken => refusal(500, "internal", "something went wrong").reply(),
            Refused::ExpiredToken => refusal(401, "token_expired", "the token has expired").reply(),
            Refused::UnknownToken => refusal(401, "unauthorized", "no such token").reply(),
            Refused::Throttled { wait } | Refused::ThrottledToken { wait } | Refused::Spent { wait, .. } => {
                refusal(429, "too_many_requests", "slow down").reply().with("retry-after", wait.as_secs().max(1))
            }
            Refused::Crowded => refusal(429, "too_many_requests", "slow down").reply().with("retry-after", 1),
        }
    }

    fn meters(&self, _request: &Request, _kind: &Kind, options: &Options) -> Vec<Meter> {
        vec![Meter::daily(options.daily_calls)]
    }

    fn gauge(&self, readings: &[super::Reading], reply: HttpReply) -> HttpReply {
        readings
            .iter()
            .fold(reply, |reply, reading| reply.with("x-ratelimit-limit", reading.limit).with("x-ratelimit-remaining", reading.left))
    }

    fn answer(&self, request: &Request, world: &mut World<'_>) -> Answer {
        let segments = request.segments().unwrap_or_default();
        let place: Vec<&str> = segments.iter().map(String::as_str).collect();
        let ran = match (request.method.as_str(), place.as_slice()) {
            ("GET", ["rest-demo", "me"]) => Ok(Answer::plain(HttpReply::json(200, &json!({ "name": "demo" })))),
            ("POST", ["rest-demo", "invoices"]) => under_key(request, world),
            ("POST", ["rest-demo", "orders"]) => parse(request).and_then(|body| create(world, &ORDERS, fields_of(&ORDERS, &body)?)),
            ("POST", ["rest-demo", "payments", "batch"]) => payments(request, world),
            ("PUT", ["rest-demo", "customers", key]) => {
                parse(request).and_then(|body| put(world, &CUSTOMERS, key, fields_of(&CUSTOMERS, &body)?))
            }
            ("GET", ["rest-demo", object]) => list(request, world, object),
            ("GET", ["rest-demo", object, id]) => get(world, object, id),
            ("PATCH", ["rest-demo", object, id]) => change(request, world, object, id),
            ("DELETE", ["rest-demo", object, id]) => delete(world, object, id),
            _ => Err(refusal(404, "no_such_path", "there is nothing here")),
        };
        ran.unwrap_or_else(|refusal| match self.kind(request) {
            Kind::Write { mut keys, batch: false } => Answer::one(refusal.reply(), keys.pop().flatten(), refusal.code),
            Kind::Write { .. } | Kind::Token | Kind::Look => Answer::plain(refusal.reply()),
        })
    }

    fn record_id(&self, object: &str, number: u64) -> String {
        format!("{}_{number}", object.trim_end_matches('s'))
    }
}

fn parse(request: &Request) -> Result<Value, Refusal> {
    let wrong = || refusal(400, "invalid_json", "the body is no JSON object");
    if !is_json(request.header("content-type")) {
        return Err(wrong());
    }
    serde_json::from_str::<Value>(&request.body).ok().filter(Value::is_object).ok_or_else(wrong)
}

type Fields = BTreeMap<Arc<str>, Value>;

/// The fields of a record, each of its own type; money may come as `{ amount, currency }`.
fn fields_of(shape: &'static Shape, body: &Value) -> Result<Fields, Refusal> {
    let body = if body["data"].is_object() { &body["data"] } else { body };
    let mut fields = Fields::new();
    for (name, value) in body.as_object().into_iter().flatten() {
        if name == shape.key {
            fields.insert(shape.key.into(), Value::String(text(value).unwrap_or_default()));
            continue;
        }
        let (known, number) = *shape
            .fields
            .iter()
            .find(|(known, _)| known == name)
            .ok_or_else(|| refusal(422, "unknown_field", format!("`{name}` is not known")))?;
        let money = value.as_object().filter(|_| known == "total");
        let (value, currency) = money.map_or_else(
            || (value.clone(), None),
            |money| (money.get("amount").cloned().unwrap_or_default(), money.get("currency").cloned()),
        );
        if !value.is_null() && value.is_number() != number {
            return Err(Refusal { field: Some(known), ..refusal(422, "invalid", format!("`{known}` has the wrong type")) });
        }
        fields.insert(known.into(), value);
        fields.extend(currency.map(|currency| ("currency".into(), currency)));
    }
    Ok(fields)
}

/// A POST under an idempotency key: what was answered to the same bytes is answered again.
fn under_key(request: &Request, world: &mut World<'_>) -> Result<Answer, Refusal> {
    let key = request.header("idempotency-key").filter(|key| (1..=255).contains(&key.len()));
    let key = key.ok_or_else(|| refusal(400, "idempotency_key_missing", "send an Idempotency-Key of 1 to 255 characters"))?.to_owned();
    let index: Arc<str> = "key".into();
    let stored = world.table(STORED, std::slice::from_ref(&index));
    let held = stored.find("key", &key).into_iter().find_map(|number| stored.row(number)).filter(|row| row.fields["key"] == key.as_str());
    if let Some(row) = held {
        if row.fields.get("body").and_then(Value::as_str) != Some(&request.body) {
            return Err(refusal(409, "idempotency_key_reused", "the key was used with another body"));
        }
        let answer = row.fields.get("answer").cloned().unwrap_or_default();
        let number = answer["data"]["number"].as_str().map(str::to_owned);
        return Ok(Answer::one(HttpReply::json(201, &answer).with("idempotent-replayed", "true"), number, "unchanged"));
    }
    let answer = parse(request).and_then(|body| create(world, &INVOICES, fields_of(&INVOICES, &body)?))?;
    let kept: Value = serde_json::from_slice(&answer.reply.body).unwrap_or_default();
    let now = world.now;
    let row = [("key", Value::from(key)), ("body", request.body.clone().into()), ("answer", kept)];
    world.table(STORED, &[]).insert(None, row.into_iter().map(|(name, value)| (name.into(), value)).collect(), now);
    Ok(answer)
}

fn locked(world: &World<'_>, place: usize) -> Result<(), Refusal> {
    if world.locked(place) { Err(refusal(423, "locked", "the record is being changed")) } else { Ok(()) }
}

fn find(world: &mut World<'_>, shape: &Shape, key: &str) -> Option<u64> {
    let index: Arc<str> = shape.key.into();
    world.table(shape.object, &[index]).find(shape.key, key).first().copied()
}

fn create(world: &mut World<'_>, shape: &'static Shape, fields: Fields) -> Result<Answer, Refusal> {
    locked(world, 0)?;
    let key = fields.get(shape.key).and_then(text).filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| Refusal { field: Some(shape.key), ..refusal(422, "invalid", format!("`{}` is required", shape.key)) })?;
    // Orders are not unique: whoever posts twice has two.
    if shape.object == "invoices" && find(world, shape, &key).is_some() {
        return Err(refusal(409, "duplicate_number", "there is an invoice with this number"));
    }
    if world.full() {
        return Err(refusal(507, "full", "no room"));
    }
    let now = world.now;
    let fields = fields.into_iter().filter(|(_, value)| !value.is_null()).collect();
    let number = world.table(shape.object, &[shape.key.into()]).insert(Some(shape.key.into()), fields, now);
    Ok(Answer::one(HttpReply::json(201, &json!({ "data": shown(world, shape, number) })), Some(key), "created"))
}

fn put(world: &mut World<'_>, shape: &'static Shape, key: &str, fields: Fields) -> Result<Answer, Refusal> {
    locked(world, 0)?;
    let (number, result) = upsert(world, shape, key, fields)?;
    let status = if result == "created" { 201 } else { 200 };
    Ok(Answer::one(HttpReply::json(status, &shown(world, shape, number)), Some(key.to_owned()), result))
}

fn upsert(world: &mut World<'_>, shape: &'static Shape, key: &str, mut fields: Fields) -> Result<(u64, &'static str), Refusal> {
    if fields.get(shape.key).is_some_and(|named| text(named).is_some_and(|named| !named.eq_ignore_ascii_case(key))) {
        return Err(refusal(422, "invalid", "the body names another record"));
    }
    let now = world.now;
    match find(world, shape, key) {
        Some(number) => {
            world.table(shape.object, &[]).update(number, fields.into_iter().filter(|(name, _)| **name != *shape.key).collect(), now);
            Ok((number, "updated"))
        }
        None if world.full() => Err(refusal(507, "full", "no room")),
        None => {
            fields.insert(shape.key.into(), key.into());
            fields.retain(|_, value| !value.is_null());
            Ok((world.table(shape.object, &[]).insert(Some(shape.key.into()), fields, now), "created"))
        }
    }
}

/// Each payment by its reference, with a result of its own, in an order of its own: the last first.
fn payments(request: &Request, world: &mut World<'_>) -> Result<Answer, Refusal> {
    let body = parse(request)?;
    let items = body["items"].as_array().filter(|items| (1..=BATCH_MAX).contains(&items.len()));
    let items = items.ok_or_else(|| refusal(400, "batch_size", "send 1 to 50 items"))?.clone();
    let (mut results, mut touched) = (Vec::new(), Vec::new());
    for (place, item) in items.iter().enumerate() {
        let reference = text(&item["reference"]).unwrap_or_default();
        let written = locked(world, place).and_then(|()| fields_of(&PAYMENTS, item)).and_then(|fields| {
            if reference.is_empty() {
                Err(refusal(422, "invalid", "`reference` is required"))
            } else {
                upsert(world, &PAYMENTS, &reference, fields)
            }
        });
        let (result, told) = match written {
            Ok((number, result)) => {
                let status = if result == "created" { 201 } else { 200 };
                (json!({ "reference": reference, "status": status, "id": RestDemo.record_id("payments", number), "error": null }), result)
            }
            Err(refusal) => (json!({ "reference": reference, "status": refusal.status, "error": refusal.body() }), refusal.code),
        };
        results.insert(0, result);
        touched.push(crate::core::Touched { key: Some(reference), result: told.into() });
    }
    if world.missing {
        results.pop();
    }
    Ok(Answer { reply: HttpReply::json(207, &json!({ "results": results })), records: touched })
}

fn list(request: &Request, world: &mut World<'_>, object: &str) -> Result<Answer, Refusal> {
    let shape = shape(object).ok_or_else(|| refusal(404, "no_such_path", "there is nothing here"))?;
    let named = pair(request.query(), shape.key);
    let several = pair(request.query(), "refs").map(|keys| keys.split(',').map(str::to_owned).collect::<Vec<_>>());
    let keys = several.or_else(|| named.map(|key| vec![key]));
    let keys = keys.ok_or_else(|| refusal(400, "filter_missing", "say which"))?;
    let index: Arc<str> = shape.key.into();
    let numbers: Vec<u64> =
        keys.iter().flat_map(|key| world.table(shape.object, std::slice::from_ref(&index)).find(shape.key, key)).collect();
    let rows: Vec<Value> = numbers.into_iter().map(|number| shown(world, shape, number)).collect();
    Ok(Answer::plain(HttpReply::json(200, &json!({ "data": rows }))))
}

/// A record by its id, or of customers and orders by their key.
fn number_of(world: &mut World<'_>, shape: &'static Shape, id: &str) -> Result<u64, Refusal> {
    let by_id = id.rsplit_once('_').and_then(|(kind, number)| (format!("{kind}s") == shape.object).then(|| number.parse().ok())?);
    let live = |world: &mut World<'_>, number: u64| world.table(shape.object, &[]).row(number).is_some_and(|row: &Row| !row.deleted);
    let found = match by_id.filter(|number| live(world, *number)) {
        None if matches!(shape.object, "customers" | "orders") => find(world, shape, id),
        found => found,
    };
    found.ok_or_else(|| refusal(404, "not_found", "there is no such record"))
}

fn known(object: &str) -> Result<&'static Shape, Refusal> {
    shape(object).ok_or_else(|| refusal(404, "no_such_path", "there is nothing here"))
}

fn get(world: &mut World<'_>, object: &str, id: &str) -> Result<Answer, Refusal> {
    let shape = known(object)?;
    let number = number_of(world, shape, id)?;
    let row = shown(world, shape, number);
    let body = if shape.object == "invoices" { json!({ "data": row }) } else { row };
    Ok(Answer::plain(HttpReply::json(200, &body)))
}

fn change(request: &Request, world: &mut World<'_>, object: &str, id: &str) -> Result<Answer, Refusal> {
    let shape = known(object)?;
    let number = number_of(world, shape, id)?;
    locked(world, 0)?;
    let fields = fields_of(shape, &parse(request)?)?;
    if fields.contains_key(shape.key) {
        return Err(refusal(422, "invalid", format!("`{}` cannot be changed", shape.key)));
    }
    let now = world.now;
    let table = world.table(shape.object, &[shape.key.into()]);
    table.update(number, fields.into_iter().collect(), now);
    let key = table.row(number).and_then(Row::key);
    Ok(Answer::one(HttpReply::json(200, &json!({ "data": shown(world, shape, number) })), key, "updated"))
}

fn delete(world: &mut World<'_>, object: &str, id: &str) -> Result<Answer, Refusal> {
    let shape = known(object)?;
    let number = number_of(world, shape, id)?;
    locked(world, 0)?;
    let now = world.now;
    let table = world.table(shape.object, &[shape.key.into()]);
    let key = table.row(number).and_then(Row::key);
    table.delete(number, now);
    Ok(Answer::one(HttpReply::empty(204), key, "deleted"))
}

fn shown(world: &mut World<'_>, shape: &Shape, number: u64) -> Value {
    let Some(row) = world.table(shape.object, &[]).row(number) else { return Value::Null };
    let mut told = Map::from_iter([("id".to_owned(), RestDemo.record_id(shape.object, number).into())]);
    told.extend(row.fields.iter().map(|(name, value)| (name.to_string(), value.clone())));
    if shape.object == "invoices" {
        let currency = told.shift_remove("currency").unwrap_or_default();
        let amount = told.shift_remove("total").unwrap_or_default();
        told.insert("total".to_owned(), json!({ "amount": amount, "currency": currency }));
    }
    told.insert("updated_at".to_owned(), row.modified.to_string().into());
    Value::Object(told)
}
