//! What X is: everything by which people know an event or a record, looked up by keys that are there for other reasons.

use std::collections::BTreeSet;

use model::{CallId, DeliveryId, EventId, RawEventId, RecordId};
use serde_json::Value;

use rusqlite::{Connection, params};

use super::super::read::text;
use super::super::row::{all, get, json, optional};
use super::numbers::Seen;
use crate::Error;
use crate::rows::hash;

/// The longest X: what is longer is no key of ours.
const X_BYTES_MAX: usize = 1_024;
/// Rows of one kind that are gone into.
pub const FOUND_MAX: i64 = 201;
/// Dead letters that are searched for a person, newest first: what was never routed is in no index.
const DEAD_MAX: i64 = 2_000;

/// What X turned out to be.
#[derive(Debug, Default)]
pub struct Found {
    /// In words.
    pub as_what: Vec<String>,
    pub raw_events: BTreeSet<i64>,
    pub events: BTreeSet<i64>,
    pub records: BTreeSet<i64>,
}

impl Found {
    pub fn note(&mut self, word: &str) {
        if !self.as_what.iter().any(|held| held == word) {
            self.as_what.push(word.to_owned());
        }
    }

    fn add_events(&mut self, word: &str, events: Vec<i64>) {
        if !events.is_empty() {
            self.note(word);
            self.events.extend(events);
        }
    }
}

/// Finds X. Nothing found is an answer too.
pub fn find(conn: &Connection, x: &str, seen: &Seen) -> Result<Found, Error> {
    let x = x.trim();
    let mut found = Found::default();
    if x.is_empty() || x.len() > X_BYTES_MAX {
        return Ok(found);
    }
    by_our_id(conn, x, &mut found)?;
    by_key(conn, x, &mut found)?;
    by_vendor_id(conn, x, seen, &mut found)?;
    by_identifier(conn, x, seen, &mut found)?;
    let sql = "select id from event where correlation_id = ?1 order by id limit 201";
    found.add_events("correlation_id", super::numbers(conn, sql, x)?);
    by_dead_person(conn, x, &mut found)?;
    Ok(found)
}

fn by_our_id(conn: &Connection, x: &str, found: &mut Found) -> Result<(), Error> {
    let lower = x.to_ascii_lowercase();
    let (word, id, sql) = if let Some(RawEventId(id)) = RawEventId::parse(&lower) {
        ("raw_event", id, "select id, events as held from raw_event where id = ?")
    } else if let Some(EventId(id)) = EventId::parse(&lower) {
        ("event", id, "select id, null as held from event where id = ?")
    } else if let Some(DeliveryId(id)) = DeliveryId::parse(&lower) {
        ("delivery", id, "select id, null as held from delivery where id = ?")
    } else if let Some(RecordId(id)) = RecordId::parse(&lower) {
        ("record", id, "select id, null as held from record where id = ?")
    } else if let Some(CallId(id)) = CallId::parse(&lower) {
        ("call", id, "select id, (select json_group_array(value ->> 0) from json_each(call.records)) as held from call where id = ?")
    } else {
        return Ok(());
    };
    let Some(row) = optional(conn, sql, params![id])? else { return Ok(()) };
    let held: Option<&str> = get(&row, "held")?;
    let held: Vec<i64> = held.map(|held| json(held, "trace", "held", id)).transpose()?.unwrap_or_default();
    found.note(word);
    match word {
        "raw_event" => {
            found.raw_events.insert(id);
            found.events.extend(held);
        }
        "record" => drop(found.records.insert(id)),
        "call" => found.records.extend(held),
        _ => drop(found.events.insert(DeliveryId(id).event().0)),
    }
    Ok(())
}

/// An idempotency key, of whichever source; with what came under it with other content.
fn by_key(conn: &Connection, x: &str, found: &mut Found) -> Result<(), Error> {
    let sql = "select e.id from name n cross join event e on e.source_id = n.id and e.key_hash = unhex(?1)";
    let events = super::numbers(conn, sql, &hex::encode(hash(x)))?;
    if !events.is_empty() {
        let sql = "select e.id from (select delivery_id from dead_letter where reason = 'key_conflict' order by delivery_id desc limit 2000) l \
                   cross join event e on e.id = (l.delivery_id & ~63) where substr(e.key, 1, length(?1) + 1) = ?1 || '#' limit 201";
        found.events.extend(super::numbers(conn, sql, x)?);
    }
    found.add_events("idempotency_key", events);
    Ok(())
}

/// A vendor's own id of an event, bare or as `source:id`: keys end in it, and there are few sources and types to try.
fn by_vendor_id(conn: &Connection, x: &str, seen: &Seen, found: &mut Found) -> Result<(), Error> {
    let mut wanted = Vec::new();
    for (source, event_type) in &seen.types {
        let own = x.strip_prefix(source.as_str()).and_then(|rest| rest.strip_prefix(':'));
        for id in own.into_iter().chain([x]) {
            wanted.push((source, hex::encode(hash(&model::mapping::key_of(source, event_type, id)))));
        }
    }
    let sql = "select e.id from json_each(?1) j cross join name n on n.text = j.value ->> 0 \
               cross join event e on e.source_id = n.id and e.key_hash = unhex(j.value ->> 1) limit 201";
    let events = super::numbers(conn, sql, &text(&wanted)?)?;
    found.add_events("source_event_id", events);
    Ok(())
}

/// An e-mail, a phone number, an external id with or without its source, a domain, a CRM's id, or a record's key (`email:ann@example.com`).
fn by_identifier(conn: &Connection, x: &str, seen: &Seen, found: &mut Found) -> Result<(), Error> {
    let lower = x.to_lowercase();
    let mut wanted: Vec<(String, Option<&str>)> = vec![(lower.clone(), None)];
    for kind in [model::route::Kind::ExternalId, model::route::Kind::Email, model::route::Kind::Phone, model::route::Kind::Domain] {
        let bare = lower.strip_prefix(kind.as_str()).and_then(|rest| rest.strip_prefix(':'));
        wanted.extend(bare.map(|bare| (bare.to_owned(), Some(kind.as_str()))));
    }
    wanted.extend(phone(x).map(|number| (number, Some(model::route::Kind::Phone.as_str()))));
    let namespaced = seen.sources.keys().map(|source| (format!("{source}:{lower}"), Some(model::route::Kind::ExternalId.as_str())));
    wanted.extend(namespaced);
    let hashed: Vec<(String, Option<&str>)> = wanted.into_iter().map(|(value, kind)| (hex::encode(hash(&value)), kind)).collect();
    let sql = "select distinct a.record_id, a.kind from json_each(?) j cross join alias a on a.value_hash = unhex(j.value ->> 0) \
               where j.value ->> 1 is null or a.kind = j.value ->> 1 limit ?";
    for row in all(conn, sql, params![text(&hashed)?, FOUND_MAX])? {
        found.note(if get::<&str>(&row, "kind")? == "crm_id" { "crm_record_id" } else { "identifier" });
        found.records.insert(get(&row, "record_id")?);
    }
    Ok(())
}

/// A phone number as people write it, if it is an international one: `+1 (415) 555-0100`.
fn phone(x: &str) -> Option<String> {
    let rest = x.strip_prefix('+')?;
    let plain = rest.chars().all(|letter| letter.is_ascii_digit() || " ()-./".contains(letter));
    plain.then(|| format!("+{}", rest.chars().filter(char::is_ascii_digit).collect::<String>()))
}

/// A person or a vendor's id in a dead letter that belongs to no record.
fn by_dead_person(conn: &Connection, x: &str, found: &mut Found) -> Result<(), Error> {
    let mut wanted: Vec<String> = vec![x.to_lowercase()];
    wanted.extend(phone(x));
    let sql = "select e.id, e.normalized from (select delivery_id from dead_letter order by delivery_id desc limit ?1) l \
               cross join event e on e.id = (l.delivery_id & ~63) where exists (select 1 from json_each(?2) j where instr(lower(e.normalized), j.value) > 0) \
               limit ?3";
    let rows = all(conn, sql, params![DEAD_MAX, text(&wanted)?, FOUND_MAX])?;
    for row in &rows {
        // What could not be mapped need not be a whole event.
        let Ok(event) = serde_json::from_str::<Value>(get(row, "normalized")?) else { continue };
        let is = |value: &Value| value.as_str().is_some_and(|held| wanted.contains(&held.to_lowercase()));
        let source = event.get("source").and_then(Value::as_str).unwrap_or_default();
        let named = |value: &Value| {
            let bare = value.as_str().and_then(|held| held.strip_prefix(source)).and_then(|held| held.strip_prefix(':'));
            is(value) || bare.is_some_and(|bare| wanted.contains(&bare.to_lowercase()))
        };
        let id: i64 = get(row, "id")?;
        if event.get("identity").and_then(Value::as_object).is_some_and(|members| members.values().any(named)) {
            found.add_events("identifier", vec![id]);
        }
        if event.get("event_id").is_some_and(named) {
            found.add_events("source_event_id", vec![id]);
        }
    }
    Ok(())
}
