//! Twenty's REST API as it is generated for a workspace with people, companies and opportunities, each with a unique text `crmExtId`.
//!
//! Shapes and codes follow docs.twenty.com, the vendor's source of create-many and its integration tests. A call is one transaction.

use std::sync::Arc;
use std::time::Duration;

use model::Time;
use serde_json::{Map, Value, json};

use self::schema::{Field, Object};
use super::{Answer, Dialect, Kind, Meter, Refused, Request, World, parse_uuid, uuid};
use crate::core::{Options, Touched};
use crate::http::{HttpReply, decode, is_json, pair};
use crate::records::{Row, Table, text};

mod schema;

/// Records in one call, and on a page.
const BATCH_MAX: usize = 60;
/// Calls a minute on the hosted service.
const CALLS: u64 = 100;
/// Where it is told that a row was deleted and can come back.
const DELETED_AT: &str = "deletedAt";

/// Twenty.
#[derive(Debug)]
pub(crate) struct Twenty;

/// What it says no with.
#[derive(Clone, Debug)]
struct Refusal {
    status: u16,
    error: &'static str,
    message: String,
}

impl Refusal {
    fn bad(message: impl Into<String>) -> Self {
        Self { status: 400, error: "BadRequestException", message: message.into() }
    }

    fn missing() -> Self {
        Self { status: 404, error: "NotFoundException", message: "Record not found".into() }
    }

    fn reply(&self) -> HttpReply {
        HttpReply::json(self.status, &json!({ "statusCode": self.status, "error": self.error, "messages": [self.message] }))
    }
}

/// What a path is about.
enum Place {
    Batch(&'static Object),
    Many(&'static Object),
    One(&'static Object, String),
    Metadata,
}

impl Dialect for Twenty {
    fn name(&self) -> &'static str {
        "twenty"
    }

    fn owns(&self, path: &str) -> bool {
        path.starts_with("/rest/")
    }

    fn kind(&self, request: &Request) -> Kind {
        let write = |keys, batch| Kind::Write { keys, batch };
        match (request.method.as_str(), place(request)) {
            ("POST", Ok(Place::Batch(_))) => match rows(request) {
                Ok(rows) => write(rows.iter().map(key_of).collect(), true),
                Err(_) => Kind::Look,
            },
            ("PATCH" | "DELETE", Ok(Place::One(_, id))) => write(vec![Some(id)], false),
            _ => Kind::Look,
        }
    }

    fn refuse(&self, refused: Refused, _now: Time) -> HttpReply {
        let refusal = |status, error, message: &str| Refusal { status, error, message: message.to_owned() }.reply();
        let limited = || refusal(429, "ThrottlerException", "Limit reached (100 tokens per 60000 ms)");
        match refused {
            Refused::Unavailable => HttpReply::text(503, "text/html", "<html><body>503 Service Unavailable</body></html>"),
            Refused::Broken => refusal(500, "InternalServerErrorException", "Internal server error"),
            Refused::ExpiredToken => refusal(401, "UnauthorizedException", "Token has expired."),
            Refused::UnknownToken => refusal(401, "UnauthorizedException", "Missing or invalid authentication token"),
            // Only a proxy in front says how long.
            Refused::Throttled { wait } | Refused::ThrottledToken { wait } => {
                limited().with("retry-after", wait.as_millis().div_ceil(1_000))
            }
            Refused::Crowded | Refused::Spent { .. } => limited(),
        }
    }

    fn meters(&self, _request: &Request, _kind: &Kind, options: &Options) -> Vec<Meter> {
        let minute = Meter::calls("minute", CALLS.saturating_mul(options.budget_times), Duration::from_secs(60));
        vec![minute, Meter::daily(options.daily_calls)]
    }

    fn answer(&self, request: &Request, world: &mut World<'_>) -> Answer {
        let ran = place(request).and_then(|place| match (request.method.as_str(), place) {
            ("GET", Place::Metadata) => Ok(Answer::plain(HttpReply::json(200, &schema::metadata()))),
            ("POST", Place::Batch(object)) => create_many(request, world, object),
            ("GET", Place::Many(object)) => find_many(request, world, object).map(Answer::plain),
            ("GET", Place::One(object, id)) => {
                let number = find(world, object, &id)?;
                Ok(Answer::plain(HttpReply::json(200, &json!({ "data": { object.singular: show(world, object, number) } }))))
            }
            ("PATCH", Place::One(object, id)) => update(request, world, object, &id),
            ("DELETE", Place::One(object, id)) => delete(request, world, object, &id),
            _ => Err(Refusal { status: 404, error: "NotFoundException", message: "Cannot find this path".into() }),
        });
        ran.unwrap_or_else(|refusal| Answer::plain(refusal.reply()))
    }

    fn record_id(&self, object: &str, number: u64) -> String {
        uuid(schema::space(object), number)
    }
}

fn place(request: &Request) -> Result<Place, Refusal> {
    let segments = request.segments().unwrap_or_default();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let object = |name: &str| schema::object(name).ok_or_else(|| Refusal::bad(format!("object '{name}' not found")));
    match segments.as_slice() {
        ["rest", "metadata", "objects"] => Ok(Place::Metadata),
        ["rest", "batch", name] => object(name).map(Place::Batch),
        ["rest", name] => object(name).map(Place::Many),
        ["rest", name, id] => Ok(Place::One(object(name)?, (*id).to_owned())),
        _ => Err(Refusal { status: 404, error: "NotFoundException", message: "Cannot find this path".into() }),
    }
}

fn body(request: &Request) -> Result<Value, Refusal> {
    if !is_json(request.header("content-type")) {
        return Err(Refusal::bad("Unexpected content type"));
    }
    serde_json::from_str(&request.body).map_err(|_| Refusal::bad("Unexpected token in JSON"))
}

fn rows(request: &Request) -> Result<Vec<Map<String, Value>>, Refusal> {
    let Value::Array(rows) = body(request)? else { return Err(Refusal::bad("Body must be an array")) };
    match rows.len() {
        0 => Err(Refusal::bad("Input must not be empty")),
        1..=BATCH_MAX => {
            rows.into_iter().map(|row| row.as_object().cloned().ok_or_else(|| Refusal::bad("A record is an object"))).collect()
        }
        _ => Err(Refusal::bad(format!("Maximum number of records to upsert is {BATCH_MAX}."))),
    }
}

fn key_of(row: &Map<String, Value>) -> Option<String> {
    row.get("crmExtId").or_else(|| row.get("id")).and_then(text)
}

/// The values of a record as columns, each part of a composite field for itself.
fn columns(object: &Object, row: &Map<String, Value>) -> Result<Vec<(Arc<str>, Value)>, Refusal> {
    let mut columns = Vec::new();
    for (name, value) in row.iter().filter(|(name, _)| *name != "id") {
        let unknown = || Refusal::bad(format!("Object {} doesn't have any \"{name}\" field.", object.singular));
        let field = object.field(name).ok_or_else(unknown)?;
        let wrong = || Refusal::bad(format!("Invalid value for field \"{name}\""));
        match field {
            Field::Composite(parts) => {
                let given = if value.is_null() { Map::new() } else { value.as_object().cloned().ok_or_else(wrong)? };
                for (part, value) in given {
                    let kind = parts.iter().find(|(held, _)| *held == part).map(|(_, kind)| *kind).ok_or_else(wrong)?;
                    columns.push((format!("{name}.{part}").into(), kind.fit(value).ok_or_else(wrong)?));
                }
            }
            Field::Plain(kind) => columns.push((name.as_str().into(), kind.fit(value.clone()).ok_or_else(wrong)?)),
        }
    }
    Ok(columns)
}

fn table<'w>(world: &'w mut World<'_>, object: &Object) -> &'w mut Table {
    let unique: Vec<Arc<str>> = object.unique.iter().map(|name| (*name).into()).collect();
    world.table(object.plural, &unique)
}

fn find(world: &mut World<'_>, object: &Object, id: &str) -> Result<u64, Refusal> {
    let table = table(world, object);
    let live = |number: &u64| table.row(*number).is_some_and(|row| !row.deleted);
    parse_uuid(schema::space(object.plural), id).filter(live).ok_or_else(Refusal::missing)
}

fn create_many(request: &Request, world: &mut World<'_>, object: &'static Object) -> Result<Answer, Refusal> {
    let rows = rows(request)?;
    let upsert = pair(request.query(), "upsert").as_deref() == Some("true");
    if (0..rows.len()).any(|place| world.locked(place)) {
        // The REST layer tells every error of the database with 400.
        return Err(Refusal { status: 400, error: "QueryFailedError", message: "deadlock detected".into() });
    }
    world.begin();
    let done = write_all(world, object, &rows, upsert);
    world.end(done.is_ok());
    let (order, records) = done?;
    let shown = order.len() - usize::from(world.missing);
    let shown: Vec<Value> = order.iter().take(shown).map(|number| show(world, object, *number)).collect();
    Ok(Answer { reply: HttpReply::json(201, &json!({ "data": { object.plural: shown } })), records })
}

type Wrote = (Vec<u64>, Vec<Touched>);

/// What is there is looked for before anything is written; what is updated comes first in the answer.
fn write_all(world: &mut World<'_>, object: &'static Object, rows: &[Map<String, Value>], upsert: bool) -> Result<Wrote, Refusal> {
    let mut matched = Vec::with_capacity(rows.len());
    for row in rows {
        let columns = columns(object, row)?;
        let hit = if upsert { existing(world, object, row, &columns)? } else { None };
        matched.push((columns, hit, key_of(row)));
    }
    let (mut updated, mut inserted, mut records) = (Vec::new(), Vec::new(), Vec::new());
    for (columns, hit, key) in matched {
        let result = match hit {
            Some(number) => {
                change(world, object, number, columns)?;
                updated.push(number);
                "updated"
            }
            None => {
                inserted.push(insert(world, object, columns)?);
                "created"
            }
        };
        records.push(Touched { key, result: result.into() });
    }
    updated.extend(inserted);
    Ok((updated, records))
}

/// The one row that shares the id or a unique value, among what was deleted as well.
fn existing(
    world: &mut World<'_>,
    object: &Object,
    row: &Map<String, Value>,
    columns: &[(Arc<str>, Value)],
) -> Result<Option<u64>, Refusal> {
    let by_id = row.get("id").and_then(Value::as_str).map(|id| parse_uuid(schema::space(object.plural), id));
    let table = table(world, object);
    let mut hits: Vec<u64> = by_id.flatten().filter(|number| table.row(*number).is_some()).into_iter().collect();
    for (column, value) in columns.iter().filter(|(column, _)| object.unique.contains(&&**column)) {
        let Some(value) = text(value).filter(|value| !value.is_empty()) else { continue };
        hits.extend(table.find(column, &value));
        let back = table.find_deleted(column, &value);
        hits.extend(back.into_iter().filter(|number| table.row(*number).is_some_and(|row| row.fields.contains_key(DELETED_AT))));
    }
    hits.sort_unstable();
    hits.dedup();
    match hits.as_slice() {
        [] => Ok(None),
        [number] => Ok(Some(*number)),
        [..] => Err(Refusal::bad("Multiple records found with the same unique field values")),
    }
}

fn check(world: &mut World<'_>, object: &Object, own: Option<u64>, columns: &[(Arc<str>, Value)]) -> Result<(), Refusal> {
    let table = table(world, object);
    for (column, value) in columns.iter().filter(|(column, _)| object.unique.contains(&&**column)) {
        let Some(value) = text(value).filter(|value| !value.is_empty()) else { continue };
        if table.find(column, &value).into_iter().any(|number| Some(number) != own) {
            return Err(Refusal::bad(format!("duplicate key value violates unique constraint \"IDX_UNIQUE_{}\"", object.plural)));
        }
    }
    // A relation is a foreign key.
    for (column, value) in columns {
        let Some((target, id)) = object.target(column).zip(value.as_str()) else { continue };
        let target_table = world.table(target, &[]);
        let live = |number: u64| target_table.row(number).is_some_and(|row| !row.deleted);
        if !parse_uuid(schema::space(target), id).is_some_and(live) {
            return Err(Refusal::bad(format!("insert or update on table \"{}\" violates foreign key constraint", object.singular)));
        }
    }
    Ok(())
}

fn insert(world: &mut World<'_>, object: &'static Object, columns: Vec<(Arc<str>, Value)>) -> Result<u64, Refusal> {
    check(world, object, None, &columns)?;
    if world.full() {
        return Err(Refusal::bad("The workspace holds as many records as it can"));
    }
    let fields: std::collections::BTreeMap<Arc<str>, Value> = columns.into_iter().filter(|(_, value)| !value.is_null()).collect();
    let key_field = object.unique.iter().find(|name| fields.contains_key(**name)).map(|name| (*name).into());
    let now = world.now;
    Ok(table(world, object).insert(key_field, fields, now))
}

fn change(world: &mut World<'_>, object: &'static Object, number: u64, mut columns: Vec<(Arc<str>, Value)>) -> Result<(), Refusal> {
    check(world, object, Some(number), &columns)?;
    let now = world.now;
    let table = table(world, object);
    // An update of what was deleted brings it back.
    table.revive(number, now);
    columns.push((DELETED_AT.into(), Value::Null));
    table.update(number, columns, now);
    Ok(())
}

fn one(world: &mut World<'_>, object: &'static Object, number: u64, verb: &str, result: &'static str) -> Answer {
    let key = table(world, object).row(number).and_then(Row::key);
    let mut name = object.singular.to_owned();
    name.get_mut(..1).into_iter().for_each(str::make_ascii_uppercase);
    let shown = if result == "deleted" { json!({ "id": uuid(schema::space(object.plural), number) }) } else { show(world, object, number) };
    Answer::one(HttpReply::json(200, &json!({ "data": { format!("{verb}{name}"): shown } })), key, result)
}

fn update(request: &Request, world: &mut World<'_>, object: &'static Object, id: &str) -> Result<Answer, Refusal> {
    let number = find(world, object, id)?;
    let row = body(request)?.as_object().cloned().ok_or_else(|| Refusal::bad("A record is an object"))?;
    let columns = columns(object, &row)?;
    if world.locked(0) {
        return Err(Refusal { status: 400, error: "QueryFailedError", message: "deadlock detected".into() });
    }
    change(world, object, number, columns)?;
    Ok(one(world, object, number, "update", "updated"))
}

/// For good, unless the query says `soft_delete=true`.
fn delete(request: &Request, world: &mut World<'_>, object: &'static Object, id: &str) -> Result<Answer, Refusal> {
    let number = find(world, object, id)?;
    if world.locked(0) {
        return Err(Refusal { status: 400, error: "QueryFailedError", message: "deadlock detected".into() });
    }
    let now = world.now;
    let table = table(world, object);
    if pair(request.query(), "soft_delete").as_deref() == Some("true") {
        table.update(number, vec![(DELETED_AT.into(), now.to_string().into())], now);
    }
    table.delete(number, now);
    Ok(one(world, object, number, "delete", "deleted"))
}

fn show(world: &mut World<'_>, object: &Object, number: u64) -> Value {
    let Some(row) = table(world, object).row(number) else { return Value::Null };
    let mut shown = Map::new();
    shown.insert("id".into(), uuid(schema::space(object.plural), number).into());
    shown.insert("createdAt".into(), row.created.to_string().into());
    shown.insert("updatedAt".into(), row.modified.to_string().into());
    shown.insert(DELETED_AT.into(), row.fields.get(DELETED_AT).cloned().unwrap_or_default());
    for (name, field) in object.fields {
        let value = match field {
            Field::Plain(_) => row.fields.get(*name).cloned().unwrap_or_default(),
            Field::Composite(parts) => {
                let part = |part: &str| row.fields.get(format!("{name}.{part}").as_str()).cloned().unwrap_or_default();
                Value::Object(parts.iter().map(|(name, _)| ((*name).to_owned(), part(name))).collect())
            }
        };
        shown.insert((*name).to_owned(), value);
    }
    Value::Object(shown)
}

/// `crmExtId[eq]:"a"`, or several of these in `or(…)`; without a filter everything.
fn find_many(request: &Request, world: &mut World<'_>, object: &'static Object) -> Result<HttpReply, Refusal> {
    let query = request.query();
    let limit = pair(query, "limit").map_or(Some(BATCH_MAX), |limit| limit.parse().ok()).filter(|limit| *limit <= BATCH_MAX);
    let limit = limit.ok_or_else(|| Refusal::bad(format!("limit is at most {BATCH_MAX}")))?;
    let live = |table: &Table| table.rows().filter(|(_, row)| !row.deleted).map(|(number, _)| number).collect::<Vec<u64>>();
    let hits = match pair(query, "filter") {
        None => live(table(world, object)),
        Some(filter) => {
            let mut hits = Vec::new();
            for (field, value) in conditions(&filter)? {
                if field == "id" {
                    hits.extend(find(world, object, &value));
                } else if object.has(&field) {
                    hits.extend(table(world, object).find(&field, &value));
                } else {
                    return Err(Refusal::bad(format!("field '{field}' does not exist in '{}' object", object.singular)));
                }
            }
            hits.sort_unstable();
            hits.dedup();
            hits
        }
    };
    let page: Vec<Value> = hits.iter().take(limit).map(|number| show(world, object, *number)).collect();
    let body = json!({ "data": { object.plural: page }, "totalCount": hits.len(),
        "pageInfo": { "hasNextPage": hits.len() > limit, "startCursor": null, "endCursor": null } });
    Ok(HttpReply::json(200, &body))
}

fn conditions(filter: &str) -> Result<Vec<(String, String)>, Refusal> {
    let wrong = || Refusal::bad(format!("'filter' invalid. eg: price[gte]:10, or(…): {}", decode(filter, false).unwrap_or_default()));
    let mut rest = filter.strip_prefix("or(").and_then(|inner| inner.strip_suffix(')')).unwrap_or(filter);
    let mut conditions = Vec::new();
    while !rest.is_empty() {
        let (field, after) = rest.split_once("[eq]:\"").ok_or_else(wrong)?;
        let (value, after) = after.split_once('"').ok_or_else(wrong)?;
        conditions.push((field.to_owned(), value.to_owned()));
        rest = after.strip_prefix(',').unwrap_or(after);
        if !after.is_empty() && rest == after {
            return Err(wrong());
        }
    }
    Ok(conditions)
}
