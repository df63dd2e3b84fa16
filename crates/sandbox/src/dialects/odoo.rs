//! Odoo's JSON-2 API (version 19): `load`, `search_read`, `unlink`, `fields_get` and `context_get` of contacts and leads.
//!
//! Shapes follow the vendor's documentation of the external API and its source of `load`: a call is one transaction; a refused row is a
//! message with its place, and then nothing is imported. A record shows its external id as `id`, which is its key here.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Time;
use serde_json::{Map, Value, json};

use self::schema::{Kind as Holds, Model};
use super::{Answer, Dialect, Kind, Meter, Refused, Request, World, entries};
use crate::core::{Options, Touched};
use crate::http::{HttpReply, is_json};
use crate::records::{Row, Table, text};

mod schema;

/// Where external ids are remembered.
const EXTERNAL: &str = "_ir.model.data";
/// The field of a record, and of an external id, that holds the whole external id.
const ID: &str = "id";

/// Odoo.
#[derive(Debug)]
pub(crate) struct Odoo;

/// An exception that ends a call.
#[derive(Debug)]
struct Exception {
    status: u16,
    name: &'static str,
    message: String,
}

impl Exception {
    fn new(status: u16, name: &'static str, message: impl Into<String>) -> Self {
        Self { status, name, message: message.into() }
    }

    fn missing() -> Self {
        Self::new(404, "odoo.exceptions.MissingError", "Record does not exist or has been deleted.")
    }

    fn reply(&self) -> HttpReply {
        let debug = "Traceback (most recent call last):\n  File \"odoo/http.py\", line 2212, in _transactioning";
        let body = json!({ "name": self.name, "message": self.message, "arguments": [self.message], "context": {}, "debug": debug });
        HttpReply::json(self.status, &body)
    }
}

impl Dialect for Odoo {
    fn name(&self) -> &'static str {
        "odoo"
    }

    fn owns(&self, path: &str) -> bool {
        path.starts_with("/json/2/")
    }

    fn kind(&self, request: &Request) -> Kind {
        let Ok((_, method, body)) = read(request) else { return Kind::Look };
        match method.as_str() {
            "load" => {
                let first = |row: &Value| row.get(0).and_then(text);
                Kind::Write { keys: entries(&body["data"]).iter().map(first).collect(), batch: true }
            }
            "unlink" => Kind::Write { keys: entries(&body["ids"]).iter().map(text).collect(), batch: false },
            _ => Kind::Look,
        }
    }

    fn refuse(&self, refused: Refused, _now: Time) -> HttpReply {
        let key = || Exception::new(401, "werkzeug.exceptions.Unauthorized", "Invalid apikey").reply();
        // Odoo itself has no limits: these are a proxy's in front of it.
        let proxy =
            |status: u16, says: &str| HttpReply::text(status, "text/html", &format!("<html><body><h1>{status} {says}</h1></body></html>"));
        match refused {
            Refused::Unavailable => proxy(503, "Service Temporarily Unavailable"),
            Refused::Broken => proxy(502, "Bad Gateway"),
            Refused::ExpiredToken | Refused::UnknownToken => key(),
            Refused::Throttled { wait } | Refused::ThrottledToken { wait } | Refused::Spent { wait, .. } => {
                proxy(429, "Too Many Requests").with("retry-after", wait.as_millis().div_ceil(1_000))
            }
            Refused::Crowded => proxy(503, "Service Temporarily Unavailable"),
        }
    }

    fn meters(&self, _request: &Request, _kind: &Kind, options: &Options) -> Vec<Meter> {
        vec![Meter::daily(options.daily_calls)]
    }

    fn answer(&self, request: &Request, world: &mut World<'_>) -> Answer {
        let ran = read(request).and_then(|(name, method, body)| {
            if name == "res.users" && method == "context_get" {
                return Ok(Answer::plain(HttpReply::json(200, &json!({ "lang": "en_US", "tz": "UTC", "uid": 2 }))));
            }
            if name == "ir.model.data" && method == "search_read" {
                return external_ids(world, &body).map(Answer::plain);
            }
            let unknown = || Exception::new(404, "werkzeug.exceptions.NotFound", format!("the model {name:?} does not exist"));
            let model = schema::model(&name).ok_or_else(unknown)?;
            match method.as_str() {
                "load" => load(world, model, &body),
                "unlink" => unlink(world, model, &body),
                "search_read" => search_read(world, model, &body).map(Answer::plain),
                "fields_get" => Ok(Answer::plain(HttpReply::json(200, &model.described()))),
                _ => {
                    let says = format!("the model {name:?} has no method {method:?}");
                    Err(Exception::new(404, "werkzeug.exceptions.NotFound", says))
                }
            }
        });
        ran.unwrap_or_else(|exception| Answer::plain(exception.reply()))
    }

    fn record_id(&self, _object: &str, number: u64) -> String {
        number.to_string()
    }
}

/// Model, method and arguments.
fn read(request: &Request) -> Result<(String, String, Value), Exception> {
    let segments = request.segments().unwrap_or_default();
    let [_, _, model, method] = segments.as_slice() else {
        return Err(Exception::new(404, "werkzeug.exceptions.NotFound", "The requested URL was not found on the server."));
    };
    if request.method != "POST" {
        return Err(Exception::new(405, "werkzeug.exceptions.MethodNotAllowed", "The method is not allowed for the requested URL."));
    }
    let unreadable = || Exception::new(400, "werkzeug.exceptions.BadRequest", "Invalid JSON data");
    if !is_json(request.header("content-type")) {
        return Err(Exception::new(415, "werkzeug.exceptions.UnsupportedMediaType", "Request inferred type is not application/json"));
    }
    let body = serde_json::from_str::<Value>(&request.body).ok().filter(Value::is_object).ok_or_else(unreadable)?;
    Ok((model.clone(), method.clone(), body))
}

fn external<'w>(world: &'w mut World<'_>) -> &'w mut Table {
    world.table(EXTERNAL, &[ID.into()])
}

/// The model and the record of an external id.
fn resolve(world: &mut World<'_>, id: &str) -> Option<(String, u64)> {
    let table = external(world);
    // External ids are told apart by case, which the tables do not.
    let exact = |number: &u64| table.row(*number).is_some_and(|row| row.fields.get(ID).and_then(Value::as_str) == Some(id));
    let number = table.find(ID, id).into_iter().find(exact)?;
    let row = table.row(number)?;
    Some((row.fields.get("model")?.as_str()?.to_owned(), row.fields.get("res_id")?.as_u64()?))
}

fn live(world: &mut World<'_>, model: &str, number: u64) -> bool {
    world.table(model, &[]).row(number).is_some_and(|row| !row.deleted)
}

/// One row of `load`: what names its record, and what is to be set.
struct Loaded {
    xid: Option<String>,
    number: Option<u64>,
    values: Vec<(Arc<str>, Value)>,
}

fn load(world: &mut World<'_>, model: &'static Model, body: &Value) -> Result<Answer, Exception> {
    let header: Vec<String> = entries(&body["fields"]).iter().filter_map(text).collect();
    let rows = entries(&body["data"]);
    if let Some(unknown) = header.iter().map(|path| root(path)).find(|name| ![".id", ID].contains(name) && model.kind(name).is_none()) {
        return Err(Exception::new(500, "builtins.ValueError", format!("Invalid field name '{unknown}'")));
    }
    let keys: Vec<Option<String>> = rows.iter().map(|row| row.get(0).and_then(text)).collect();
    let mut messages = Vec::new();
    let mut refuse = |place: usize, field: &str, says: String| {
        messages.push(json!({ "rows": { "from": place, "to": place }, "type": "error", "record": place, "field": field, "message": says }));
    };
    let mut loaded = Vec::with_capacity(rows.len());
    for (place, row) in rows.iter().enumerate() {
        if world.locked(place) {
            refuse(place, "", "could not serialize access due to concurrent update".to_owned());
            continue;
        }
        match convert(world, model, &header, row) {
            Ok(row) => loaded.push(row),
            Err((field, says)) => refuse(place, &field, says),
        }
    }
    if messages.is_empty() {
        world.begin();
        let mut done = Vec::with_capacity(loaded.len());
        for (place, row) in loaded.into_iter().enumerate() {
            match apply(world, model, row) {
                Ok(one) => done.push(one),
                Err((field, says)) => {
                    let message = json!({ "rows": { "from": place, "to": place }, "type": "error", "record": place, "field": field, "message": says });
                    messages.push(message);
                }
            }
        }
        world.end(messages.is_empty());
        if messages.is_empty() {
            let shown = done.len() - usize::from(world.missing && !done.is_empty());
            let ids: Vec<u64> = done.iter().take(shown).map(|(number, _)| *number).collect();
            let records = keys.into_iter().zip(done).map(|(key, (_, result))| Touched { key, result: result.into() }).collect();
            return Ok(Answer { reply: HttpReply::json(200, &json!({ "ids": ids, "messages": [], "nextrow": 0 })), records });
        }
    }
    let refused = keys.into_iter().map(|key| Touched { key, result: "error".into() }).collect();
    Ok(Answer { reply: HttpReply::json(200, &json!({ "ids": false, "messages": messages, "nextrow": 0 })), records: refused })
}

fn root(path: &str) -> &str {
    if path == ".id" { path } else { path.split('/').next().unwrap_or_default() }
}

type Wrong = (String, String);

/// A row's cells as values; an empty cell is nothing.
fn convert(world: &mut World<'_>, model: &'static Model, header: &[String], row: &Value) -> Result<Loaded, Wrong> {
    let mut loaded = Loaded { xid: None, number: None, values: Vec::new() };
    for (path, cell) in header.iter().zip(entries(row)) {
        let name = root(path);
        let cell = text(cell).filter(|text| !text.is_empty() && text != "false" || name == ".id");
        let wrong = |says: String| Err((name.to_owned(), says));
        match (path.as_str(), cell) {
            (ID, cell) => loaded.xid = cell.map(|id| if id.contains('.') { id } else { format!("__import__.{id}") }),
            (".id", cell) => {
                let id = cell.unwrap_or_default();
                match id.parse::<u64>().ok().filter(|number| live(world, model.name, *number)) {
                    Some(number) => loaded.number = Some(number),
                    None => return wrong(format!("Unknown database identifier '{id}'")),
                }
            }
            (_, None) => {
                let empty = if model.kind(name) == Some(Holds::Boolean) { Value::Bool(false) } else { Value::Null };
                loaded.values.push((name.into(), empty));
            }
            (path, Some(cell)) => {
                let value = value_of(world, model, path, &cell).map_err(|says| (name.to_owned(), says))?;
                loaded.values.push((name.into(), value));
            }
        }
    }
    Ok(loaded)
}

fn value_of(world: &mut World<'_>, model: &'static Model, path: &str, cell: &str) -> Result<Value, String> {
    let name = root(path);
    let Some(kind) = model.kind(name) else { return Err(format!("Invalid field name '{name}'")) };
    let Holds::Many2one(target) = kind else { return kind.convert(name, cell) };
    let none = |what: &str| Err(format!("No matching record found for {what} '{cell}' in field '{name}'"));
    if path.ends_with("/.id") {
        return match cell.parse::<u64>().ok().filter(|number| live(world, target, *number)) {
            Some(number) => Ok(number.into()),
            None => none("database id"),
        };
    }
    if path.ends_with("/id") {
        return match resolve(world, cell).filter(|(model, _)| model == target).filter(|(_, number)| live(world, target, *number)) {
            Some((_, number)) => Ok(number.into()),
            None => none("external id"),
        };
    }
    match world.table(target, &[]).find("name", cell).first() {
        Some(number) => Ok((*number).into()),
        None => none("name"),
    }
}

fn apply(world: &mut World<'_>, model: &'static Model, row: Loaded) -> Result<(u64, &'static str), Wrong> {
    let now = world.now;
    let found = match &row.xid {
        Some(xid) => match resolve(world, xid) {
            Some((held, _)) if held != model.name => {
                return Err((
                    ID.into(),
                    format!(
                        "For external id {xid} when trying to create/update a record of model {} found record of different model {held}",
                        model.name
                    ),
                ));
            }
            // Its record may be gone: then another takes its place.
            Some((_, number)) => Some(number).filter(|number| live(world, model.name, *number)),
            None => None,
        },
        None => row.number,
    };
    let clears = |name: &str| row.values.iter().any(|(held, value)| &**held == name && value.is_null());
    let sets = |name: &str| row.values.iter().any(|(held, value)| &**held == name && !value.is_null());
    let lacking = model.required().find(|name| clears(name) || (found.is_none() && !sets(name)));
    if let Some(name) = lacking {
        return Err((name.to_owned(), format!("Missing required value for the field '{name}' ({name})")));
    }
    if let Some(number) = found {
        world.table(model.name, &[]).update(number, row.values, now);
        return Ok((number, "updated"));
    }
    if world.full() {
        return Err((String::new(), "The database holds as many records as it can".into()));
    }
    let mut fields: BTreeMap<Arc<str>, Value> = row.values.into_iter().filter(|(_, value)| !value.is_null()).collect();
    fields.extend(row.xid.clone().map(|xid| (ID.into(), xid.into())));
    fields.entry("active".into()).or_insert(Value::Bool(true));
    let key_field = row.xid.is_some().then(|| ID.into());
    let number = world.table(model.name, &[ID.into()]).insert(key_field, fields, now);
    if let Some(xid) = row.xid {
        forget(world, |row| row.fields.get(ID).and_then(Value::as_str) == Some(&xid));
        let (module, name) = xid.split_once('.').unwrap_or(("__import__", &xid));
        let remembered = [
            ("module", module.into()),
            ("name", name.into()),
            ("model", model.name.into()),
            ("res_id", number.into()),
            (ID, xid.as_str().into()),
        ];
        external(world).insert(None, remembered.into_iter().map(|(name, value): (&str, Value)| (name.into(), value)).collect(), now);
    }
    Ok((number, "created"))
}

/// Takes external ids out.
fn forget(world: &mut World<'_>, which: impl Fn(&Row) -> bool) {
    let now = world.now;
    let table = external(world);
    let gone: Vec<u64> = table.rows().filter(|(_, row)| !row.deleted && which(row)).map(|(number, _)| number).collect();
    gone.into_iter().for_each(|number| table.delete(number, now));
}

fn unlink(world: &mut World<'_>, model: &'static Model, body: &Value) -> Result<Answer, Exception> {
    let ids: Vec<u64> = entries(&body["ids"]).iter().filter_map(Value::as_u64).collect();
    if ids.iter().any(|number| !live(world, model.name, *number)) {
        return Err(Exception::missing());
    }
    if (0..ids.len()).any(|place| world.locked(place)) {
        return Err(Exception::new(500, "psycopg2.errors.SerializationFailure", "could not serialize access due to concurrent update"));
    }
    let (now, mut records) = (world.now, Vec::new());
    for number in ids {
        let table = world.table(model.name, &[ID.into()]);
        let key = table.row(number).and_then(Row::key).or_else(|| Some(number.to_string()));
        table.delete(number, now);
        let points = |row: &Row, name: &str, value: &Value| row.fields.get(name) == Some(value);
        forget(world, |row| points(row, "model", &model.name.into()) && points(row, "res_id", &number.into()));
        records.push(Touched { key, result: "deleted".into() });
    }
    Ok(Answer { reply: HttpReply::json(200, &Value::Bool(true)), records })
}

/// The conditions of a domain that is a list of triples, all of which have to hold: `=` and `in`.
fn domain(body: &Value) -> Result<Vec<(String, Vec<Value>)>, Exception> {
    let wrong = || Exception::new(500, "builtins.ValueError", "Invalid domain");
    let one = |triple: &Value| match (triple[0].as_str(), triple[1].as_str(), &triple[2]) {
        (Some(field), Some("="), value) => Ok((field.to_owned(), vec![value.clone()])),
        (Some(field), Some("in"), Value::Array(values)) => Ok((field.to_owned(), values.clone())),
        _ => Err(wrong()),
    };
    body.get("domain").and_then(Value::as_array).ok_or_else(wrong)?.iter().map(one).collect()
}

fn external_ids(world: &mut World<'_>, body: &Value) -> Result<HttpReply, Exception> {
    let domain = domain(body)?;
    let holds = |row: &Row| domain.iter().all(|(field, values)| row.fields.get(field.as_str()).is_some_and(|held| values.contains(held)));
    let rows = external(world).rows().filter(|(_, row)| !row.deleted && holds(row));
    let shown = |(number, row): (u64, &Row)| json!({ "id": number, "name": row.fields.get("name"), "res_id": row.fields.get("res_id") });
    Ok(HttpReply::json(200, &rows.map(shown).collect::<Vec<_>>()))
}

fn search_read(world: &mut World<'_>, model: &'static Model, body: &Value) -> Result<HttpReply, Exception> {
    let domain = domain(body)?;
    let archived = body["context"]["active_test"] == false;
    let table = world.table(model.name, &[ID.into()]);
    let holds = |number: u64, row: &Row| {
        let held = |field: &str| if field == ID { Some(number.into()) } else { row.fields.get(field).cloned() };
        domain.iter().all(|(field, values)| held(field).is_some_and(|held| values.contains(&held)))
    };
    let active = |row: &Row| archived || row.fields.get("active") != Some(&Value::Bool(false));
    let hits: Vec<u64> =
        table.rows().filter(|(number, row)| !row.deleted && active(row) && holds(*number, row)).map(|(number, _)| number).collect();
    let wanted: Vec<String> = entries(&body["fields"]).iter().filter_map(text).collect();
    if let Some(unknown) = wanted.iter().find(|name| ![ID, "write_date"].contains(&name.as_str()) && model.kind(name).is_none()) {
        return Err(Exception::new(500, "builtins.ValueError", format!("Invalid field '{unknown}' on model '{}'", model.name)));
    }
    let shown: Vec<Value> = hits.into_iter().map(|number| show(world, model, number, &wanted)).collect();
    Ok(HttpReply::json(200, &shown))
}

/// A record as it is read out: what is empty is `false`, a reference its id and its name.
fn show(world: &mut World<'_>, model: &'static Model, number: u64, wanted: &[String]) -> Value {
    let Some(row) = world.table(model.name, &[]).row(number).cloned() else { return Value::Null };
    let mut shown = Map::new();
    shown.insert(ID.into(), number.into());
    for name in wanted.iter().filter(|name| *name != ID) {
        let held = row.fields.get(name.as_str()).cloned().unwrap_or(Value::Bool(false));
        let value = match (name.as_str(), model.kind(name), held.as_u64()) {
            ("write_date", _, _) => schema::moment(row.modified).into(),
            (_, Some(Holds::Many2one(target)), Some(id)) => {
                let named = world.table(target, &[]).row(id).and_then(|row| row.fields.get("name").cloned());
                json!([id, named.unwrap_or_default()])
            }
            _ => held,
        };
        shown.insert(name.clone(), value);
    }
    Value::Object(shown)
}
