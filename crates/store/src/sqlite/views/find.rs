//! Where X is looked for.

use rusqlite::{Connection, params};

use super::super::row::{all, optional};
use crate::Error;
use crate::columns::text;
use crate::rows::hash;
use crate::views::Seen;
use crate::views::find::{DEAD_MAX, FOUND_MAX, Found, Ours, asked, dead_words, identifiers, vendor_keys};

/// Finds X. Nothing found is an answer too.
pub fn find(conn: &Connection, x: &str, seen: &Seen) -> Result<Found, Error> {
    let mut found = Found::default();
    let Some(x) = asked(x) else { return Ok(found) };
    if let Some(ours) = Ours::parse(x) {
        by_our_id(conn, ours, &mut found)?;
    }
    by_key(conn, x, &mut found)?;
    by_vendor_id(conn, x, seen, &mut found)?;
    by_identifier(conn, x, seen, &mut found)?;
    let sql = "select id from event where correlation_id = ?1 order by id limit 201";
    found.add_events("correlation_id", super::numbers(conn, sql, x)?);
    by_dead_person(conn, x, &mut found)?;
    Ok(found)
}

fn by_our_id(conn: &Connection, ours: Ours, found: &mut Found) -> Result<(), Error> {
    let sql = match ours {
        Ours::RawEvent(_) => "select events as held from raw_event where id = ?",
        Ours::Event(_) => "select null as held from event where id = ?",
        Ours::Delivery(_) => "select null as held from delivery where id = ?",
        Ours::Record(_) => "select null as held from record where id = ?",
        Ours::Call(_) => "select records as held from call where id = ?",
    };
    optional(conn, sql, params![ours.id()])?.map_or(Ok(()), |row| found.add_ours(ours, &row))
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

fn by_vendor_id(conn: &Connection, x: &str, seen: &Seen, found: &mut Found) -> Result<(), Error> {
    let wanted: Vec<(&str, String)> = vendor_keys(x, seen).into_iter().map(|(source, key)| (source, hex::encode(key))).collect();
    let sql = "select e.id from json_each(?1) j cross join name n on n.text = j.value ->> 0 \
               cross join event e on e.source_id = n.id and e.key_hash = unhex(j.value ->> 1) limit 201";
    let events = super::numbers(conn, sql, &text(&wanted)?)?;
    found.add_events("source_event_id", events);
    Ok(())
}

fn by_identifier(conn: &Connection, x: &str, seen: &Seen, found: &mut Found) -> Result<(), Error> {
    let wanted: Vec<(String, Option<&str>)> = identifiers(x, seen).into_iter().map(|(value, kind)| (hex::encode(value), kind)).collect();
    let sql = "select distinct a.record_id, a.kind from json_each(?) j cross join alias a on a.value_hash = unhex(j.value ->> 0) \
               where j.value ->> 1 is null or a.kind = j.value ->> 1 limit ?";
    found.add_aliases(&all(conn, sql, params![text(&wanted)?, FOUND_MAX])?)
}

fn by_dead_person(conn: &Connection, x: &str, found: &mut Found) -> Result<(), Error> {
    let wanted = dead_words(x);
    let sql = "select e.id, e.normalized from (select delivery_id from dead_letter order by delivery_id desc limit ?1) l \
               cross join event e on e.id = (l.delivery_id & ~63) where exists (select 1 from json_each(?2) j where instr(lower(e.normalized), j.value) > 0) \
               limit ?3";
    let rows = all(conn, sql, params![DEAD_MAX, text(&wanted)?, FOUND_MAX])?;
    found.add_dead(&wanted, &rows)
}
