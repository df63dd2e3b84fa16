//! Attio's REST API v2: records of its standard objects, asserted by a unique attribute.
//!
//! Shapes and codes follow docs.attio.com (records, attribute types, rate limiting, linking referenced records); that a custom attribute of
//! people and companies cannot be unique, and which code answers what, was seen by others against the live API. There are no batches.

use std::sync::Arc;
use std::time::Duration;

use model::Time;
use serde_json::{Map, Value, json};

use self::attributes::{Attribute, Kind as Holds};
use super::{Answer, Dialect, Kind, Meter, Refused, Request, World, entries, parse_uuid, uuid};
use crate::core::Options;
use crate::http::{HttpReply, http_date, is_json, pair};
use crate::records::{Row, Table, text};

mod attributes;

/// The standard objects.
const OBJECTS: &[&str] = &["people", "companies", "deals", "users", "workspaces"];
/// Where the attributes that were created are remembered.
const CREATED: &str = "_attributes";
const WORKSPACE: &str = "14beef7a-0000-4000-8000-7b564330a4c0";
/// Records on one page of a query.
const PAGE_MAX: u64 = 500;
/// Documented: reads and writes a second.
const READS: u64 = 100;
const WRITES: u64 = 25;

/// Attio.
#[derive(Debug)]
pub(crate) struct Attio;

/// What it says no with.
#[derive(Clone, Debug)]
struct Refusal {
    status: u16,
    kind: &'static str,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn invalid(code: &'static str, message: &str) -> Self {
        Self { status: 400, kind: "invalid_request_error", code, message: message.to_owned() }
    }

    fn not_found(message: &str) -> Self {
        Self { status: 404, ..Self::invalid("not_found", message) }
    }

    fn reply(&self) -> HttpReply {
        let body = json!({ "status_code": self.status, "type": self.kind, "code": self.code, "message": self.message });
        HttpReply::json(self.status, &body)
    }
}

/// What a path is about.
enum Place {
    Records(&'static str),
    Record(&'static str, String),
    Query(&'static str),
    Attributes(&'static str),
    Myself,
}

impl Dialect for Attio {
    fn name(&self) -> &'static str {
        "attio"
    }

    fn owns(&self, path: &str) -> bool {
        path.starts_with("/v2/")
    }

    fn kind(&self, request: &Request) -> Kind {
        let write = |key: Option<String>| Kind::Write { keys: vec![key], batch: false };
        match (request.method.as_str(), place(request)) {
            ("PUT", Ok(Place::Records(_))) => write(pair(request.query(), "matching_attribute").and_then(|slug| first(request, &slug))),
            ("POST", Ok(Place::Records(object))) => {
                let unique = attributes::standard(object).filter(|attribute| attribute.unique);
                write(unique.into_iter().find_map(|attribute| first(request, &attribute.slug)))
            }
            ("PATCH" | "PUT" | "DELETE", Ok(Place::Record(_, id))) => write(Some(id)),
            _ => Kind::Look,
        }
    }

    fn refuse(&self, refused: Refused, now: Time) -> HttpReply {
        let refusal = |status, kind, code, message: &str| Refusal { status, kind, code, message: message.to_owned() }.reply();
        match refused {
            Refused::Unavailable => refusal(503, "api_error", "service_unavailable", "Service temporarily unavailable"),
            Refused::Broken => refusal(500, "api_error", "internal_error", "An unexpected error occurred"),
            Refused::ExpiredToken | Refused::UnknownToken => {
                refusal(401, "invalid_request_error", "unauthorized", "Access token is invalid or has expired")
            }
            Refused::Throttled { wait } | Refused::ThrottledToken { wait } | Refused::Spent { wait, .. } => limited(now + wait),
            Refused::Crowded => limited(now + Duration::from_secs(1)),
        }
    }

    fn meters(&self, _request: &Request, kind: &Kind, options: &Options) -> Vec<Meter> {
        let (name, calls) = if matches!(kind, Kind::Write { .. }) { ("writes", WRITES) } else { ("reads", READS) };
        vec![Meter::calls(name, calls.saturating_mul(options.budget_times), Duration::from_secs(1)), Meter::daily(options.daily_calls)]
    }

    fn answer(&self, request: &Request, world: &mut World<'_>) -> Answer {
        let place = match place(request) {
            Ok(place) => place,
            Err(refusal) => return Answer::plain(refusal.reply()),
        };
        let ran = match (request.method.as_str(), place) {
            ("GET", Place::Myself) => Ok(Answer::plain(HttpReply::json(
                200,
                &json!({ "active": true, "token_type": "Bearer",
                "scope": "record_permission:read-write object_configuration:read-write", "workspace_id": WORKSPACE }),
            ))),
            ("GET", Place::Attributes(object)) => {
                let listed: Vec<Value> = attributes_of(world, object).iter().map(Attribute::listed).collect();
                Ok(Answer::plain(HttpReply::json(200, &json!({ "data": listed }))))
            }
            ("POST", Place::Attributes(object)) => create_attribute(request, world, object).map(Answer::plain),
            ("POST", Place::Query(object)) => query(request, world, object).map(Answer::plain),
            ("GET", Place::Record(object, id)) => find(world, object, &id).map(|number| Answer::plain(found(world, object, number))),
            ("PUT", Place::Records(object)) => assert(request, world, object),
            ("POST", Place::Records(object)) => create(request, world, object),
            ("PATCH", Place::Record(object, id)) => update(request, world, object, &id, true),
            ("PUT", Place::Record(object, id)) => update(request, world, object, &id, false),
            ("DELETE", Place::Record(object, id)) => delete(world, object, &id),
            _ => Err(Refusal::not_found("Could not find the requested endpoint.")),
        };
        ran.unwrap_or_else(|refusal| match self.kind(request) {
            Kind::Write { mut keys, .. } => Answer::one(refusal.reply(), keys.pop().flatten(), refusal.code),
            Kind::Token | Kind::Look => Answer::plain(refusal.reply()),
        })
    }

    fn record_id(&self, object: &str, number: u64) -> String {
        uuid(space(object), number)
    }
}

/// Over a limit: `Retry-After` is an HTTP date (docs.attio.com/rest-api/guides/rate-limiting), which has no parts of a second.
fn limited(until: Time) -> HttpReply {
    let whole = Time::from_seconds(until.seconds() + i64::from(until.0 % 1_000_000 != 0));
    let message = "Rate limit exceeded, please try again later".to_owned();
    let refusal = Refusal { status: 429, kind: "rate_limit_error", code: "rate_limit_exceeded", message };
    refusal.reply().with("retry-after", http_date(whole))
}

fn space(object: &str) -> u16 {
    OBJECTS.iter().position(|name| *name == object).and_then(|place| u16::try_from(place).ok()).unwrap_or(u16::MAX)
}

fn place(request: &Request) -> Result<Place, Refusal> {
    let segments = request.segments().unwrap_or_default();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let object = |name: &str| {
        attributes::object(name).ok_or_else(|| Refusal::not_found(&format!("Could not find Object with slug or ID \"{name}\".")))
    };
    match segments.as_slice() {
        ["v2", "self"] => Ok(Place::Myself),
        ["v2", "objects", name, "attributes"] => Ok(Place::Attributes(object(name)?)),
        ["v2", "objects", name, "records"] => Ok(Place::Records(object(name)?)),
        ["v2", "objects", name, "records", "query"] => Ok(Place::Query(object(name)?)),
        ["v2", "objects", name, "records", id] => Ok(Place::Record(object(name)?, (*id).to_owned())),
        _ => Err(Refusal::not_found("Could not find the requested endpoint.")),
    }
}

fn body(request: &Request) -> Result<Value, Refusal> {
    let wrong = || Refusal::invalid("validation_type", "Body payload validation error.");
    if !is_json(request.header("content-type")) {
        return Err(wrong());
    }
    serde_json::from_str::<Value>(&request.body).ok().filter(Value::is_object).ok_or_else(wrong)
}

fn values(request: &Request) -> Result<Map<String, Value>, Refusal> {
    match body(request)?.pointer_mut("/data/values").map(Value::take) {
        Some(Value::Object(values)) => Ok(values),
        _ => Err(Refusal::invalid("validation_type", "Body payload validation error: data.values is required.")),
    }
}

/// The first value that the body gives an attribute.
fn first(request: &Request, slug: &str) -> Option<String> {
    let values = values(request).ok()?;
    let value = entries(values.get(slug)?).first()?;
    value.as_object().map_or_else(|| text(value), |members| members.values().find_map(text))
}

/// What an object comes with, and what was added to it.
fn attributes_of(world: &mut World<'_>, object: &str) -> Vec<Attribute> {
    let mut all: Vec<Attribute> = attributes::standard(object).collect();
    let rows = world.table(CREATED, &[]).rows().filter(|(_, row)| row.fields.get("object").and_then(Value::as_str) == Some(object));
    all.extend(rows.filter_map(|(_, row)| {
        let told = |name: &str| row.fields.get(name).and_then(Value::as_str);
        let flag = |name: &str| row.fields.get(name).and_then(Value::as_bool).unwrap_or_default();
        let kind = attributes::kind_named(told("type")?)?;
        Some(Attribute { slug: told("slug")?.to_owned(), kind, multi: flag("multi"), unique: flag("unique"), required: false })
    }));
    all
}

fn create_attribute(request: &Request, world: &mut World<'_>, object: &str) -> Result<HttpReply, Refusal> {
    let body = body(request)?;
    let told = |name: &str| body["data"].get(name);
    let flag = |name: &str| told(name).and_then(Value::as_bool).unwrap_or_default();
    let wrong = |says: &str| Refusal::invalid("validation_type", says);
    let slug = told("api_slug").and_then(Value::as_str).filter(|slug| attributes::is_slug(slug));
    let slug = slug.ok_or_else(|| wrong("api_slug is required and snake case."))?;
    let kind = told("type").and_then(Value::as_str).and_then(attributes::kind_named).ok_or_else(|| wrong("type is not supported."))?;
    for name in ["title", "description", "is_required", "is_unique", "is_multiselect", "config"] {
        told(name).ok_or_else(|| wrong(&format!("{name} is required.")))?;
    }
    if flag("is_unique") && matches!(object, "people" | "companies") {
        return Err(wrong("Cannot set attribute as unique."));
    }
    if attributes_of(world, object).iter().any(|attribute| attribute.slug == slug) {
        let says = "An attribute with the same API slug already exists on this Object.";
        return Err(Refusal { status: 409, ..Refusal::invalid("slug_conflict", says) });
    }
    let now = world.now;
    let fields = [
        ("object", object.into()),
        ("slug", slug.into()),
        ("type", kind.name().into()),
        ("multi", flag("is_multiselect").into()),
        ("unique", flag("is_unique").into()),
    ];
    world.table(CREATED, &[]).insert(None, fields.into_iter().map(|(name, value): (&str, Value)| (name.into(), value)).collect(), now);
    let made = Attribute { slug: slug.to_owned(), kind, multi: flag("is_multiselect"), unique: flag("is_unique"), required: false };
    Ok(HttpReply::json(200, &json!({ "data": made.listed() })))
}

/// An object's rows, indexed by what is unique in it.
fn table<'w>(world: &'w mut World<'_>, object: &str) -> &'w mut Table {
    let unique: Vec<Arc<str>> =
        attributes_of(world, object).iter().filter(|attribute| attribute.unique).map(|attribute| attribute.slug.as_str().into()).collect();
    world.table(object, &unique)
}

fn find(world: &mut World<'_>, object: &str, id: &str) -> Result<u64, Refusal> {
    let table = table(world, object);
    let live = |number: &u64| table.row(*number).is_some_and(|row| !row.deleted);
    let number = parse_uuid(space(object), id).filter(live);
    number.ok_or_else(|| Refusal::not_found(&format!("Could not find a Record with the ID \"{id}\" on this Object.")))
}

/// The values of a write, as the record keeps them, with every reference resolved.
fn fit(world: &mut World<'_>, object: &str, values: Map<String, Value>) -> Result<Vec<(Attribute, Value)>, Refusal> {
    let known = attributes_of(world, object);
    let mut fitting = Vec::with_capacity(values.len());
    for (slug, value) in values {
        let attribute = known.iter().find(|attribute| attribute.slug == slug);
        let attribute = attribute
            .ok_or_else(|| Refusal::invalid("unknown_attribute_slug", &format!("Cannot find attribute with slug/ID \"{slug}\".")))?;
        let mut value = attribute.fit(&value)?;
        if let Holds::Reference(target) = attribute.kind {
            let mut targets: Vec<Value> = entries(&value).iter().map(|entry| target_of(world, target, entry)).collect::<Result<_, _>>()?;
            value = if attribute.multi && !targets.is_empty() { Value::Array(targets) } else { targets.pop().unwrap_or_default() };
        }
        fitting.push((attribute.clone(), value));
    }
    Ok(fitting)
}

/// The record that a reference means: by its id, or by exactly one match (docs.attio.com, linking referenced records).
fn target_of(world: &mut World<'_>, target: &str, entry: &Value) -> Result<Value, Refusal> {
    let wrong = || Refusal::invalid("validation_type", "A record reference names its target_object and either an id or one attribute.");
    let members = entry.as_object().ok_or_else(wrong)?;
    if members.get("target_object").and_then(Value::as_str) != Some(target) {
        return Err(wrong());
    }
    let absent = || Refusal::invalid("value_not_found", "Cannot find a record that matches the reference.");
    let mut others = members.iter().filter(|(name, _)| *name != "target_object");
    let (Some((slug, value)), None) = (others.next(), others.next()) else { return Err(wrong()) };
    if slug == "target_record_id" {
        let id = value.as_str().ok_or_else(wrong)?;
        return find(world, target, id).map(|_| id.into()).map_err(|_| absent());
    }
    let attribute = attributes_of(world, target).into_iter().find(|attribute| attribute.slug == *slug).ok_or_else(wrong)?;
    let fitting = attribute.fit(value)?;
    let [sought] = entries(&fitting) else { return Err(wrong()) };
    match table(world, target).find(slug, &text(sought).ok_or_else(wrong)?).as_slice() {
        [number] => Ok(uuid(space(target), *number).into()),
        [] => Err(absent()),
        [..] => Err(Refusal::invalid("multiple_match_results", "Multiple records match the reference.")),
    }
}

fn assert(request: &Request, world: &mut World<'_>, object: &str) -> Result<Answer, Refusal> {
    let slug = pair(request.query(), "matching_attribute").filter(|slug| !slug.is_empty());
    let slug = slug.ok_or_else(|| Refusal::invalid("validation_type", "matching_attribute is required."))?;
    let matching = attributes_of(world, object).into_iter().find(|attribute| attribute.slug == slug);
    let matching = matching.ok_or_else(|| Refusal::invalid("value_not_found", "Cannot find the matching attribute."))?;
    if !matching.unique {
        let says = "The matching attribute specified is not a unique attribute.";
        return Err(Refusal::invalid("matching_attribute_definition_not_unique", says));
    }
    let changes = fit(world, object, values(request)?)?;
    let sought = changes.iter().find(|(attribute, _)| attribute.slug == slug).map(|(_, value)| each(value)).unwrap_or_default();
    if sought.is_empty() {
        return Err(Refusal::invalid("missing_value", "A value for the matching attribute is required."));
    }
    let table = table(world, object);
    let mut hits: Vec<u64> = sought.iter().flat_map(|value| table.find(&slug, value)).collect();
    hits.sort_unstable();
    hits.dedup();
    match hits.as_slice() {
        [] => insert(world, object, changes, Some(slug.as_str().into())),
        [number] => {
            // What is matched by is added to; every other list is replaced.
            let appended = |attribute: &Attribute| attribute.slug == slug;
            change(world, object, *number, changes, appended)
        }
        [..] => Err(Refusal::invalid("multiple_match_results", "Multiple records match the matching attribute.")),
    }
}

fn create(request: &Request, world: &mut World<'_>, object: &str) -> Result<Answer, Refusal> {
    let changes = fit(world, object, values(request)?)?;
    insert(world, object, changes, None)
}

fn update(request: &Request, world: &mut World<'_>, object: &str, id: &str, append: bool) -> Result<Answer, Refusal> {
    let number = find(world, object, id)?;
    let changes = fit(world, object, values(request)?)?;
    change(world, object, number, changes, |_| append)
}

fn delete(world: &mut World<'_>, object: &str, id: &str) -> Result<Answer, Refusal> {
    let number = find(world, object, id)?;
    locked(world)?;
    let now = world.now;
    let table = table(world, object);
    let key = table.row(number).and_then(Row::key);
    table.delete(number, now);
    Ok(Answer::one(HttpReply::json(200, &json!({})), key, "deleted"))
}

/// Attio documents no lock: a record that meets one is answered as a server that cannot do it now.
fn locked(world: &World<'_>) -> Result<(), Refusal> {
    let busy =
        || Refusal { status: 503, kind: "api_error", code: "service_unavailable", message: "Service temporarily unavailable".into() };
    if world.locked(0) { Err(busy()) } else { Ok(()) }
}

fn insert(world: &mut World<'_>, object: &str, changes: Vec<(Attribute, Value)>, by: Option<Arc<str>>) -> Result<Answer, Refusal> {
    locked(world)?;
    let given = |slug: &str| changes.iter().any(|(attribute, value)| attribute.slug == slug && !value.is_null());
    if let Some(lacking) = attributes_of(world, object).iter().find(|attribute| attribute.required && !given(&attribute.slug)) {
        let says = format!("Required value for attribute with slug \"{}\" was not provided.", lacking.slug);
        return Err(Refusal::invalid("missing_value", &says));
    }
    unique(world, object, None, &changes)?;
    if world.full() {
        return Err(Refusal { status: 402, kind: "billing_error", code: "quota_exceeded", message: "Record limit reached.".into() });
    }
    let own = changes.iter().find(|(attribute, value)| attribute.unique && !value.is_null());
    let key_field = by.or_else(|| own.map(|(attribute, _)| attribute.slug.as_str().into()));
    let fields = changes.into_iter().filter(|(_, value)| !value.is_null()).map(|(attribute, value)| (attribute.slug.into(), value));
    let (fields, now) = (fields.collect(), world.now);
    let number = table(world, object).insert(key_field, fields, now);
    Ok(done(world, object, number, "created"))
}

fn change(
    world: &mut World<'_>,
    object: &str,
    number: u64,
    changes: Vec<(Attribute, Value)>,
    append: impl Fn(&Attribute) -> bool,
) -> Result<Answer, Refusal> {
    locked(world)?;
    unique(world, object, Some(number), &changes)?;
    let now = world.now;
    let table = table(world, object);
    let held = table.row(number).map(|row| row.fields.clone()).unwrap_or_default();
    let merged = changes.into_iter().map(|(attribute, value)| {
        let slug: Arc<str> = attribute.slug.as_str().into();
        let value = match (value, held.get(&slug)) {
            (Value::Array(mut new), Some(Value::Array(old))) if append(&attribute) => {
                new.extend(old.iter().filter(|entry| !new.contains(entry)).cloned().collect::<Vec<_>>());
                Value::Array(new)
            }
            (Value::Null, Some(old @ Value::Array(_))) if append(&attribute) => old.clone(),
            (value, _) => value,
        };
        (slug, value)
    });
    let merged = merged.collect();
    table.update(number, merged, now);
    Ok(done(world, object, number, "updated"))
}

/// Texts of a value: itself, or each entry of a list.
fn each(value: &Value) -> Vec<String> {
    entries(value).iter().filter_map(text).collect()
}

fn unique(world: &mut World<'_>, object: &str, number: Option<u64>, changes: &[(Attribute, Value)]) -> Result<(), Refusal> {
    let table = table(world, object);
    for (attribute, value) in changes.iter().filter(|(attribute, _)| attribute.unique) {
        for one in each(value) {
            if let Some(other) = table.find(&attribute.slug, &one).into_iter().find(|other| Some(*other) != number) {
                let (member, id) = (attribute.kind.member(), uuid(space(object), other));
                let says = format!(
                    "The value \"{}\" provided for attribute with ID \"{}\" conflicts with one already in the system, on record {id}.",
                    json!({ member: one }),
                    attribute.slug
                );
                return Err(Refusal::invalid("uniqueness_conflict", &says));
            }
        }
    }
    Ok(())
}

fn found(world: &mut World<'_>, object: &str, number: u64) -> HttpReply {
    HttpReply::json(200, &json!({ "data": show(world, object, number) }))
}

fn done(world: &mut World<'_>, object: &str, number: u64, result: &'static str) -> Answer {
    let key = table(world, object).row(number).and_then(Row::key);
    Answer::one(found(world, object, number), key, result)
}

fn show(world: &mut World<'_>, object: &str, number: u64) -> Value {
    let known = attributes_of(world, object);
    let Some(row) = table(world, object).row(number) else { return Value::Null };
    let shown = |attribute: &Attribute| {
        let held = row.fields.get(attribute.slug.as_str());
        (attribute.slug.clone(), Value::Array(held.map_or_else(Vec::new, |value| attribute.shown(value, row.modified))))
    };
    let values: Map<String, Value> = known.iter().map(shown).collect();
    let id = json!({ "workspace_id": WORKSPACE, "object_id": object, "record_id": uuid(space(object), number) });
    json!({ "id": id, "created_at": row.created.to_string(), "web_url": format!("https://app.attio.com/sandbox/{object}"), "values": values })
}

/// Answers a query with the implicit filter syntax, `{"email_addresses": "a@example.com"}`, or without a filter.
fn query(request: &Request, world: &mut World<'_>, object: &str) -> Result<HttpReply, Refusal> {
    let body = body(request)?;
    let number = |name: &str, usual: u64| body.get(name).map_or(Some(usual), Value::as_u64);
    let wrong = || Refusal::invalid("validation_type", "Body payload validation error.");
    let (limit, offset) = (number("limit", PAGE_MAX).filter(|limit| *limit <= PAGE_MAX), number("offset", 0));
    let (limit, offset) = (limit.ok_or_else(wrong)?, offset.ok_or_else(wrong)?);
    let known = attributes_of(world, object);
    let mut hits: Option<Vec<u64>> = None;
    for (slug, value) in body.get("filter").and_then(Value::as_object).into_iter().flatten() {
        let attribute = known.iter().find(|attribute| attribute.slug == *slug);
        let unknown = || Refusal::invalid("unknown_filter_attribute_slug", &format!("Cannot filter by unknown attribute: {slug}"));
        let attribute = attribute.ok_or_else(unknown)?;
        let sought = text(value).or_else(|| value.get("$eq").and_then(text));
        let sought = sought.ok_or_else(|| Refusal::invalid("invalid_filter_operator", "This filter is not understood."))?;
        let sought = if attribute.kind == Holds::Domain { sought.to_lowercase() } else { sought };
        let found = table(world, object).find(slug, &sought);
        hits = Some(hits.map_or_else(|| found.clone(), |before| before.into_iter().filter(|number| found.contains(number)).collect()));
    }
    let all = hits.unwrap_or_else(|| table(world, object).rows().filter(|(_, row)| !row.deleted).map(|(number, _)| number).collect());
    let (skip, take) = (usize::try_from(offset).unwrap_or(usize::MAX), usize::try_from(limit).unwrap_or_default());
    let page: Vec<Value> = all.into_iter().skip(skip).take(take).map(|number| show(world, object, number)).collect();
    Ok(HttpReply::json(200, &json!({ "data": page })))
}
