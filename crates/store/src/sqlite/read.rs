//! Rows to members and back: what every statement over a table agrees on.

use model::record::{Body, Doubt, Lease, Record, State};
use model::{CallId, RecordId, Time};

use super::row::{json, word};
use crate::Error;
use crate::rows::{Event, RecordEntry};

pub(super) use crate::columns::{delivery, event, lane, mode, text};

/// Selects records with everything that [`record_entry`] reads, in its order; the rest of the statement follows.
macro_rules! records {
    ($rest:literal) => {
        concat!(
            "select r.id, d.text as destination, o.text as object, r.state, r.wake_at, r.fence, r.revision, r.pushed, r.lease_holder, ",
            "r.lease_until, r.lease_call, r.intent, r.tries, r.attempts, r.conflicts, r.last_attempt_at, r.crashes, r.crashed_at, ",
            "r.doubt_revision, r.verify_after, r.adopted, r.solo, r.group_max, b.key, b.crm_id, b.body, r.lane ",
            $rest
        )
    };
}
pub(super) use records;

pub(super) fn flags(event: &Event) -> i64 {
    i64::from(event.ignored) | (i64::from(event.fallback_key) << 1)
}

pub(super) fn warnings(event: &Event) -> Result<Option<String>, Error> {
    if event.warnings.is_empty() { Ok(None) } else { text(&event.warnings).map(Some) }
}

pub(super) fn record_entry(row: &rusqlite::Row<'_>) -> Result<RecordEntry, Error> {
    let id: i64 = row.get(0)?;
    let state: i64 = row.get(3)?;
    let time = |place: usize| row.get::<_, Option<i64>>(place).map(|at| at.map(Time));
    let lease = match (row.get::<_, Option<String>>(8)?, time(9)?, row.get::<_, Option<i64>>(10)?) {
        (Some(holder), Some(until), Some(call)) => Some(Lease { holder, until, call: CallId(call) }),
        (_, _, _) => None,
    };
    let doubt = row.get::<_, Option<i64>>(18)?.zip(time(19)?);
    let body: Option<Body> =
        row.get_ref(25)?.as_str_or_null().map_err(rusqlite::Error::from)?.map(|text| json(text, "record_body", "body", id)).transpose()?;
    Ok(RecordEntry {
        id: RecordId(id),
        destination: row.get(1)?,
        object: row.get(2)?,
        key: row.get(23)?,
        record: Record {
            state: word(State::from_number(state), "record", "state", id, state)?,
            wake_at: time(4)?,
            lane: lane(row.get(26)?, "record", id)?,
            fence: row.get(5)?,
            revision: row.get(6)?,
            pushed: row.get(7)?,
            lease,
            intent: row.get(11)?,
            tries: row.get(12)?,
            attempts: row.get(13)?,
            conflicts: row.get(14)?,
            last_attempt_at: time(15)?,
            crashes: row.get(16)?,
            crashed_at: time(17)?,
            doubt: doubt.map(|(revision, verify_after)| Doubt { revision, verify_after }),
            adopted: row.get(20)?,
            solo: row.get(21)?,
            group_max: row.get(22)?,
            crm_id: row.get(24)?,
            body: body.unwrap_or_default(),
        },
    })
}

pub(super) fn ids(values: impl Iterator<Item = i64>) -> String {
    let mut list = String::from("[");
    for (place, id) in values.enumerate() {
        if place > 0 {
            list.push(',');
        }
        list.push_str(&id.to_string());
    }
    list.push(']');
    list
}
