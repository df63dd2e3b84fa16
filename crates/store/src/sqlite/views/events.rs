//! Events with their deliveries, and the requests that brought them.

use model::{EventId, RawEventId};
use serde_json::Value;

use rusqlite::{Connection, params};

use super::super::Sqlite;
use super::super::read::{event, ids};
use super::super::row::{all, get, json, optional};
use crate::Error;
use crate::rows::Event;
use crate::types::{EventFilter, EventRow, RawEventRow};
use crate::views::events::{Loaded, between, raw_event, together};
use crate::views::page;

macro_rules! narrow {
    ($rest:literal) => {
        concat!(
            "select e.id, s.text as source, e.key, e.event_type, e.occurred_at, e.received_at, e.trust, e.mapping_version, e.content_hash, ",
            "e.flags, e.raw_event_id, e.correlation_id, e.warnings, '' as normalized ",
            $rest
        )
    };
}

impl Sqlite {
    pub fn events(&self, conn: &Connection, filter: &EventFilter) -> Result<Vec<EventRow>, Error> {
        let (from, to) = between(filter);
        let rows = all(
            conn,
            narrow!(
                "from event e cross join name s on s.id = e.source_id where e.id >= ?1 and e.id < ?2 \
             and (?3 is null or e.source_id = (select id from name where text = ?3)) and (?4 is null or e.event_type = ?4) \
             and (?5 is null or e.received_at >= ?5) and (?6 is null or e.received_at < ?6) order by e.id desc limit ?7"
            ),
            params![
                from,
                to,
                &filter.source,
                &filter.event_type,
                filter.since.map(|at| at.0),
                filter.until.map(|at| at.0),
                page(filter.limit)
            ],
        )?;
        Ok(with_deliveries(conn, rows.iter().map(event).collect::<Result<_, _>>()?)?.rows)
    }

    pub fn event(&self, conn: &Connection, id: EventId) -> Result<Option<(EventRow, Value, Option<String>)>, Error> {
        let sql = "select e.normalized, m.text as mapping from event e left join mapping m on m.version = e.mapping_version where e.id = ?";
        let Some(wide) = optional(conn, sql, params![id.0])? else { return Ok(None) };
        let Some(row) = load(conn, &[id.0])?.rows.pop() else { return Ok(None) };
        Ok(Some((row, json(get(&wide, "normalized")?, "event", "normalized", id.0)?, get(&wide, "mapping")?)))
    }

    pub fn raw_event(&self, conn: &Connection, id: RawEventId) -> Result<Option<RawEventRow>, Error> {
        let sql = "select r.*, s.text as source from raw_event r join name s on s.id = r.source_id where r.id = ?";
        let row = optional(conn, sql, params![id.0])?;
        row.as_ref().map(raw_event).transpose()
    }
}

/// Events by their ids, oldest first; those that are not there are left out.
pub fn load(conn: &Connection, wanted: &[i64]) -> Result<Loaded, Error> {
    let sql = narrow!("from json_each(?) j cross join event e on e.id = j.value cross join name s on s.id = e.source_id order by e.id");
    let rows = all(conn, sql, params![ids(wanted.iter().copied())])?;
    with_deliveries(conn, rows.iter().map(event).collect::<Result<_, _>>()?)
}

/// One query for all of them.
fn with_deliveries(conn: &Connection, events: Vec<Event>) -> Result<Loaded, Error> {
    let sql = "select d.*, n.text as destination, o.text as object, r.state as record_state, r.fence as record_fence, r.wake_at as record_wake_at, \
               r.last_attempt_at, b.key as record_key, b.crm_id, l.reason, l.class, l.message, l.owner as looked_at_by, l.failed_at, l.attempts \
               from json_each(?) j cross join delivery d on d.id between j.value and j.value + 63 \
               left join name n on n.id = d.destination_id left join name o on o.id = d.object_id left join record r on r.id = d.record_id \
               left join record_body b on b.record_id = d.record_id left join dead_letter l on l.delivery_id = d.id order by d.id";
    let rows = all(conn, sql, params![ids(events.iter().map(|event| event.id.0))])?;
    together(events, &rows)
}
