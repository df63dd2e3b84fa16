//! Microsoft Dataverse's Web API: rows by alternate key or id, `$batch`, queries by key, and the table definitions that a key needs.
//!
//! Shapes, statuses and most words follow github.com/MicrosoftDocs/powerapps-docs (use-upsert-insert-update-record, perform-conditional-operations,
//! execute-batch-operations, define-alternate-keys-entity, api-limits). The codes of a key that is taken and of a parent that is not there were
//! seen by others against the live API; the code of a busy row is SQL Server's generic one. Whether a key with `:` works within a batch is
//! documented nowhere, and refused here as elsewhere.

use std::time::Duration;

use model::Time;
use serde_json::{Map, Value, json};

use self::query::Place;
use self::tables::{Holds, Table};
use super::{Answer, Dialect, Kind, Meter, Refused, Request, Tokens, World, parse_uuid, uuid};
use crate::core::{Options, Touched};
use crate::http::{HttpReply, is_json, split};
use crate::records::Row;

mod batch;
mod definitions;
mod query;
mod tables;

/// Where the API begins; any version of it will do.
const ROOT: &str = "/api/data/v9.";
/// Service protection: requests in five minutes.
const REQUESTS: u64 = 6_000;
const WINDOW: Duration = Duration::from_secs(300);

/// Microsoft Dataverse.
#[derive(Debug)]
pub(crate) struct Dataverse;

/// What it says no with.
#[derive(Clone, Debug)]
struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// A body that does not fit its table.
    fn payload(set: &str, inner: &str) -> Self {
        let message = format!(
            "Error identified in Payload provided by the user for Entity :'{set}', For more information on this error please follow this help \
             link https://go.microsoft.com/fwlink/?linkid=2195293  ---->  InnerException : Microsoft.OData.ODataException: {inner}"
        );
        Self::new(400, "0x80048d19", message)
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "0x80044331", format!("A validation error occurred.  {}", message.into()))
    }

    fn reply(&self) -> HttpReply {
        let body = json!({ "error": { "code": self.code, "message": self.message } });
        HttpReply::json(self.status, &body).with("odata-version", "4.0")
    }
}

/// What became of one request, alone or as a part of a batch.
struct Done {
    reply: HttpReply,
    key: Option<String>,
    result: String,
}

impl Dialect for Dataverse {
    fn name(&self) -> &'static str {
        "dataverse"
    }

    fn owns(&self, path: &str) -> bool {
        path.starts_with(ROOT) || path.ends_with("/oauth2/v2.0/token")
    }

    fn headers(&self) -> &'static [&'static str] {
        &["prefer", "if-match", "if-none-match"]
    }

    fn kind(&self, request: &Request) -> Kind {
        if split(&request.target).0.ends_with("/oauth2/v2.0/token") {
            return Kind::Token;
        }
        if batch::is_batch(request) {
            let keys: Vec<Option<String>> = batch::parts(request).unwrap_or_default().iter().filter_map(written_key).collect();
            return if keys.is_empty() { Kind::Look } else { Kind::Write { keys, batch: true } };
        }
        written_key(request).map_or(Kind::Look, |key| Kind::Write { keys: vec![key], batch: false })
    }

    fn grant(&self, request: &Request, tokens: &mut Tokens<'_>) -> HttpReply {
        let refused = |status: u16, error: &str, says: &str| {
            HttpReply::json(status, &json!({ "error": error, "error_description": says, "error_codes": [] }))
        };
        match crate::http::pair(&request.body, "scope") {
            Some(scope) if scope.ends_with("/.default") => {}
            Some(_) | None => {
                return refused(400, "invalid_scope", "AADSTS70011: The provided request must include a 'scope' input parameter.");
            }
        }
        match tokens.oauth(request) {
            Ok(token) => {
                let life = tokens.life.as_secs();
                let body = json!({ "token_type": "Bearer", "expires_in": life, "ext_expires_in": life, "access_token": token });
                HttpReply::json(200, &body)
            }
            Err("invalid_client") => refused(401, "invalid_client", "AADSTS7000215: Invalid client secret provided."),
            Err(code) => refused(400, code, "AADSTS90014: The request is not one for a token."),
        }
    }

    fn refuse(&self, refused: Refused, _now: Time) -> HttpReply {
        let crowded =
            |code, wait: Duration, says: &str| Refusal::new(429, code, says).reply().with("retry-after", wait.as_millis().div_ceil(1_000));
        let requests = format!("Number of requests exceeded the limit of {REQUESTS} over time window of {} seconds.", WINDOW.as_secs());
        match refused {
            Refused::Unavailable => HttpReply::text(503, "text/html", "<html><body>Service Unavailable</body></html>"),
            Refused::Broken => Refusal::new(500, "0x80040216", "An unexpected error occurred.").reply(),
            Refused::ExpiredToken | Refused::UnknownToken => HttpReply::empty(401).with("www-authenticate", "Bearer authorization_uri=…"),
            Refused::Throttled { wait } | Refused::Spent { wait, .. } => crowded("0x80072322", wait, &requests),
            Refused::ThrottledToken { wait } => {
                let body = json!({ "error": "temporarily_unavailable", "error_description": "AADSTS90055: Too many requests." });
                HttpReply::json(429, &body).with("retry-after", wait.as_millis().div_ceil(1_000))
            }
            Refused::Crowded => crowded("0x80072326", Duration::from_secs(1), "Number of concurrent requests exceeded the limit of 52."),
        }
    }

    fn meters(&self, _request: &Request, _kind: &Kind, options: &Options) -> Vec<Meter> {
        vec![Meter::calls("requests", REQUESTS.saturating_mul(options.budget_times), WINDOW), Meter::daily(options.daily_calls)]
    }

    fn answer(&self, request: &Request, world: &mut World<'_>) -> Answer {
        if batch::is_batch(request) {
            return batch::answer(request, world);
        }
        let written = written_key(request).is_some();
        let done = one(request, world, 0);
        if !written {
            return Answer::plain(done.reply);
        }
        Answer { reply: done.reply, records: vec![Touched { key: done.key, result: done.result.into() }] }
    }

    fn record_id(&self, object: &str, number: u64) -> String {
        uuid(tables::space(object), number)
    }
}

/// The key or id of the row that a request would change; `None` for a request that changes none.
fn written_key(request: &Request) -> Option<Option<String>> {
    if !matches!(request.method.as_str(), "PATCH" | "DELETE" | "POST") {
        return None;
    }
    match query::place(request) {
        Ok(Place::Row(_, by)) => Some(Some(by.text().to_owned())),
        Ok(Place::Set(_)) if request.method == "POST" => Some(None),
        Ok(_) | Err(_) => None,
    }
}

/// Answers one request that is no batch.
fn one(request: &Request, world: &mut World<'_>, at: usize) -> Done {
    let plain = |reply: HttpReply| Done { reply, key: None, result: String::new() };
    let named = written_key(request).flatten();
    let place = match query::place(request) {
        Ok(place) => place,
        Err(refusal) => return Done { key: named, ..failed(&refusal) },
    };
    let ran = match (request.method.as_str(), place) {
        ("GET", Place::WhoAmI) => {
            Ok(plain(HttpReply::json(200, &json!({ "BusinessUnitId": uuid(90, 1), "UserId": uuid(91, 1), "OrganizationId": uuid(92, 1) }))))
        }
        ("GET", Place::Definitions) => definitions::listed(request, world).map(plain),
        ("GET", Place::Choices(table, kind)) => definitions::choices(&table, &kind, world).map(plain),
        ("POST", Place::Columns(table)) => definitions::add_column(request, &table, world).map(plain),
        ("POST", Place::Keys(table)) => definitions::add_key(request, &table, world).map(plain),
        ("GET", Place::Set(set)) => query::listed(request, &set, world).map(plain),
        ("POST", Place::Set(set)) => create(request, world, &set, at),
        ("PATCH", Place::Row(set, by)) => upsert(request, world, &set, &by, at),
        ("DELETE", Place::Row(set, by)) => delete(world, &set, &by, at),
        _ => Err(Refusal::new(405, "0x80060888", "The requested resource does not support this http method.")),
    };
    ran.unwrap_or_else(|refusal| Done { key: named, ..failed(&refusal) })
}

fn failed(refusal: &Refusal) -> Done {
    Done { reply: refusal.reply(), key: None, result: refusal.code.to_owned() }
}

/// A row that somebody else's transaction holds.
fn locked(world: &World<'_>, at: usize) -> Result<(), Refusal> {
    if world.locked(at) { Err(Refusal::new(500, "0x80044150", "Generic SQL error.")) } else { Ok(()) }
}

/// What names a row between the parentheses of an address.
#[derive(Clone, Debug)]
enum By {
    Id(String),
    Key { column: String, value: String },
}

impl By {
    fn text(&self) -> &str {
        match self {
            Self::Id(id) => id,
            Self::Key { value, .. } => value,
        }
    }
}

/// The row at an address; `None` if there is none.
fn find(world: &mut World<'_>, table: &Table, by: &By) -> Result<Option<u64>, Refusal> {
    match by {
        By::Id(id) => Ok(by_id(world, table, id)),
        By::Key { column, value } => {
            if !table.keys_at(world.now).any(|key| key == column.as_str()) {
                let kind = format!("Microsoft.Dynamics.CRM.{}", table.name);
                let message = format!(
                    "The key in the request URI is not valid for resource '{kind}'. Ensure that the names and number of key properties match the \
                     declared or alternate key properties for the resource '{kind}'."
                );
                return Err(Refusal::new(400, "0x80060888", message));
            }
            Ok(table.rows(world).find(column, value).first().copied())
        }
    }
}

fn by_id(world: &mut World<'_>, table: &Table, id: &str) -> Option<u64> {
    let rows = table.rows(world);
    let own = rows.find(&table.id_column(), id).first().copied();
    let numbered = || parse_uuid(tables::space(&table.set), id).filter(|number| rows.row(*number).is_some_and(|row| !row.deleted));
    own.or_else(numbered)
}

/// A row's id: the one that it was created under, or that of its number.
fn id_of(world: &mut World<'_>, table: &Table, number: u64) -> String {
    let own = table.rows(world).row(number).and_then(|row| row.fields.get(table.id_column().as_str()));
    own.and_then(Value::as_str).map_or_else(|| uuid(tables::space(&table.set), number), str::to_owned)
}

fn body(request: &Request, set: &str) -> Result<Map<String, Value>, Refusal> {
    let wrong = || Refusal::payload(set, "The payload is not valid JSON.");
    if !is_json(request.header("content-type")) {
        return Err(Refusal::new(415, "0x80048d19", "The content type is not one that the Web API reads."));
    }
    match serde_json::from_str(&request.body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) | Err(_) => Err(wrong()),
    }
}

/// The columns of a write as the row keeps them, with every parent found.
fn fit(world: &mut World<'_>, table: &Table, members: Map<String, Value>) -> Result<Vec<(String, Value)>, Refusal> {
    members.into_iter().filter(|(name, _)| !name.starts_with('@')).map(|(name, value)| fit_one(world, table, &name, value)).collect()
}

fn fit_one(world: &mut World<'_>, table: &Table, name: &str, value: Value) -> Result<(String, Value), Refusal> {
    let kind = format!("Microsoft.Dynamics.CRM.{}", table.name);
    let unknown = || Refusal::payload(&table.set, &format!("Invalid property '{name}' was found in entity '{kind}'."));
    let bound = name.strip_suffix("@odata.bind");
    if let Some((column, set)) = table.lookup(bound.unwrap_or(name)) {
        let held = format!("_{column}_value");
        return match (bound, value) {
            (_, Value::Null) => Ok((held, Value::Null)),
            (Some(_), Value::String(address)) => Ok((held, parent(world, set, &address)?.into())),
            _ => Err(Refusal::payload(
                &table.set,
                "CRM do not support direct update of Entity Reference properties, Use Navigation properties instead.",
            )),
        };
    }
    if name == table.id_column() {
        return Ok((name.to_owned(), value));
    }
    let column = table.column(name).filter(|_| bound.is_none()).ok_or_else(unknown)?;
    let wrong = |wanted: &str| {
        let inner = format!("Cannot convert a value to the expected type 'Edm.{wanted}' of property '{name}'.");
        Refusal::payload(&table.set, &inner)
    };
    let whole = |value: &Value| value.as_i64();
    let range = |says: String| {
        Refusal::invalid(format!("The value {says} of '{name}' on record of type '{}' is outside the valid range.", table.name))
    };
    match (&column.holds, &value) {
        (_, Value::Null) => {}
        (Holds::Text(most), Value::String(text)) if text.chars().count() > *most => {
            return Err(Refusal::invalid(format!(
                "The length of the '{name}' attribute of the '{}' entity exceeded the maximum allowed length of '{most}'.",
                table.name
            )));
        }
        (Holds::Text(_), Value::String(_)) | (Holds::Number, Value::Number(_)) | (Holds::Boolean, Value::Bool(_)) => {}
        (Holds::Integer, value) if whole(value).is_some() => {}
        (Holds::Date, Value::String(text)) if Time::parse_rfc3339(&format!("{text}T00:00:00Z")).is_some() => {}
        (Holds::Moment, Value::String(text)) if Time::parse_rfc3339(text).is_some() => {
            let whole = Time::parse_rfc3339(text).map(|at| Time::from_seconds(at.seconds()).to_string()).unwrap_or_default();
            let whole = whole.split(['.', 'Z']).next().unwrap_or_default();
            return Ok((name.to_owned(), format!("{whole}Z").into()));
        }
        (Holds::Choice(options), value) if whole(value).is_some() => {
            if !whole(value).is_some_and(|number| options.contains(&number)) {
                return Err(range(value.to_string()));
            }
        }
        (Holds::Choices(options), Value::String(text)) => {
            let numbers: Option<Vec<i64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
            let numbers = numbers.filter(|numbers| numbers.iter().all(|number| options.contains(number)));
            let numbers = numbers.ok_or_else(|| range(text.clone()))?;
            return Ok((name.to_owned(), numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(",").into()));
        }
        (Holds::Text(_) | Holds::Choices(_), _) => return Err(wrong("String")),
        (Holds::Number, _) => return Err(wrong("Decimal")),
        (Holds::Boolean, _) => return Err(wrong("Boolean")),
        (Holds::Integer | Holds::Choice(_), _) => return Err(wrong("Int32")),
        (Holds::Date, _) => return Err(wrong("Date")),
        (Holds::Moment, _) => return Err(wrong("DateTimeOffset")),
    }
    // The empty text is nothing.
    let value = if value.as_str().is_some_and(str::is_empty) { Value::Null } else { value };
    Ok((name.to_owned(), value))
}

/// The id of the row that a link's address names.
fn parent(world: &mut World<'_>, set: &str, address: &str) -> Result<String, Refusal> {
    let (named, by) = query::address(address.trim_start_matches('/'))?;
    let table = tables::table(world, &named).filter(|_| named == set);
    let table = table.ok_or_else(|| Refusal::payload(&named, &format!("The link names no row of '{set}'.")))?;
    let absent = || match &by {
        By::Id(id) => Refusal::new(404, "0x80040217", format!("{} With Id = {id} Does Not Exist", table.name)),
        By::Key { .. } => {
            let message = format!("A record with the specified key values does not exist in {} entity", table.name);
            Refusal::new(404, "0x80060891", message)
        }
    };
    let number = find(world, &table, &by)?.ok_or_else(absent)?;
    Ok(id_of(world, &table, number))
}

/// No two rows have one alternate key.
fn unique(world: &mut World<'_>, table: &Table, number: Option<u64>, fields: &[(String, Value)]) -> Result<(), Refusal> {
    let keys: Vec<String> = table.keys_at(world.now).map(str::to_owned).collect();
    for (column, value) in fields.iter().filter(|(column, _)| keys.contains(column)) {
        let Some(text) = crate::records::text(value) else { continue };
        let taken = table.rows(world).find(column, &text).into_iter().find(|other| Some(*other) != number);
        if let Some(other) = taken {
            let id = id_of(world, table, other);
            let message = format!(
                "Entity Key {column} violated. A record with the same value for {column} already exists. A duplicate record cannot be created. \
                 Select one or more unique values and try again. <DuplicateEntity><Id>{id}</Id><DuplicateAttributes><{column}>{text}</{column}>\
                 </DuplicateAttributes></DuplicateEntity>"
            );
            return Err(Refusal::new(412, "0x80060892", message));
        }
    }
    Ok(())
}

fn upsert(request: &Request, world: &mut World<'_>, set: &str, by: &By, at: usize) -> Result<Done, Refusal> {
    let table = known(world, set)?;
    let members = body(request, set)?;
    let number = find(world, &table, by)?;
    let absent = || match by {
        By::Id(id) => Refusal::new(404, "0x80040217", format!("{} With Id = {id} Does Not Exist", table.name)),
        By::Key { .. } => {
            let message = format!("A record with the specified key values does not exist in {} entity", table.name);
            Refusal::new(404, "0x80060891", message)
        }
    };
    match (number, request.header("if-match"), request.header("if-none-match")) {
        (None, Some("*"), _) => return Err(absent()),
        (Some(_), _, Some("*")) => return Err(Refusal::new(412, "", "A record with matching key values already exists.")),
        _ => {}
    }
    let mut fields = fit(world, &table, members)?;
    locked(world, at)?;
    let created = number.is_none();
    let number = match number {
        Some(number) => {
            // What the row was found by is not changed by the same request.
            let own = |column: &str| matches!(by, By::Key { column: named, .. } if named == column);
            fields.retain(|(column, _)| !own(column) && *column != table.id_column());
            unique(world, &table, Some(number), &fields)?;
            let (now, changes) = (world.now, fields.into_iter().map(|(column, value)| (column.into(), value)).collect());
            table.rows(world).update(number, changes, now);
            number
        }
        None => {
            let (column, value) = match by {
                By::Id(id) => (table.id_column(), id.clone()),
                By::Key { column, value } => (column.clone(), value.clone()),
            };
            if !fields.iter().any(|(held, _)| *held == column) {
                fields.push((column, value.into()));
            }
            insert(world, &table, fields)?
        }
    };
    Ok(done(request, world, &table, number, created))
}

fn create(request: &Request, world: &mut World<'_>, set: &str, at: usize) -> Result<Done, Refusal> {
    let table = known(world, set)?;
    let members = body(request, set)?;
    let fields = fit(world, &table, members)?;
    locked(world, at)?;
    let number = insert(world, &table, fields)?;
    Ok(done(request, world, &table, number, true))
}

fn insert(world: &mut World<'_>, table: &Table, fields: Vec<(String, Value)>) -> Result<u64, Refusal> {
    unique(world, table, None, &fields)?;
    if world.full() {
        return Err(Refusal::new(507, "0x80048551", "The storage of this environment is used up."));
    }
    let keyed = table.keys_at(world.now).find(|key| fields.iter().any(|(column, value)| column == key && !value.is_null()));
    let keyed = keyed.map(Into::into);
    let now = world.now;
    let fields = fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(column, value)| (column.into(), value)).collect();
    Ok(table.rows(world).insert(keyed, fields, now))
}

fn delete(world: &mut World<'_>, set: &str, by: &By, at: usize) -> Result<Done, Refusal> {
    let table = known(world, set)?;
    let number = find(world, &table, by)?;
    let number = number.ok_or_else(|| Refusal::new(404, "0x80040217", format!("{} With Id = {} Does Not Exist", table.name, by.text())))?;
    locked(world, at)?;
    let (now, key) = (world.now, table.rows(world).row(number).and_then(Row::key));
    table.rows(world).delete(number, now);
    Ok(Done { reply: HttpReply::empty(204).with("odata-version", "4.0"), key, result: "deleted".to_owned() })
}

fn known(world: &mut World<'_>, set: &str) -> Result<Table, Refusal> {
    tables::table(world, set).ok_or_else(|| Refusal::new(404, "0x80060888", format!("Resource not found for the segment '{set}'.")))
}

/// The answer to a write: the row where that was preferred, else where it is.
fn done(request: &Request, world: &mut World<'_>, table: &Table, number: u64, created: bool) -> Done {
    let key = table.rows(world).row(number).and_then(Row::key);
    let url = format!("https://sandbox.crm.dynamics.com/api/data/v9.2/{}({})", table.set, id_of(world, table, number));
    let preferred = request.header("prefer").is_some_and(|prefer| prefer.contains("return=representation"));
    let reply = if preferred {
        let shown = query::shown(request, world, table, number).unwrap_or_default();
        HttpReply::json(if created { 201 } else { 200 }, &shown).with("preference-applied", "return=representation")
    } else {
        HttpReply::empty(204).with("odata-entityid", url)
    };
    let result = if created { "created" } else { "updated" };
    Done { reply: reply.with("odata-version", "4.0"), key, result: result.to_owned() }
}
