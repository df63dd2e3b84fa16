//! Rows to members: what every statement over a table agrees on.

use model::record::{Body, Doubt, Lease, Record, State};
use model::{CallId, RecordId};
use sqlx::postgres::PgRow;

use crate::Error;
use crate::rows::RecordEntry;

pub(super) use crate::columns::{bytes, delivery, event, get, json, lane, mode, text, time, word};

/// Selects records with everything that [`record_entry`] reads; the rest of the statement follows.
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

/// Other people's words without the one character that PostgreSQL does not keep.
pub(super) fn words(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn count(row: &PgRow, table: &'static str, column: &'static str, id: i64) -> Result<u32, Error> {
    let number: i64 = get(row, column)?;
    word(u32::try_from(number).ok(), table, column, id, number)
}

pub(super) fn record_entry(row: &PgRow) -> Result<RecordEntry, Error> {
    let id: i64 = get(row, "id")?;
    let state: i64 = get(row, "state")?;
    let lease = match (get::<Option<String>>(row, "lease_holder")?, time(row, "lease_until")?, get::<Option<i64>>(row, "lease_call")?) {
        (Some(holder), Some(until), Some(call)) => Some(Lease { holder, until, call: CallId(call) }),
        (_, _, _) => None,
    };
    let doubt = get::<Option<i64>>(row, "doubt_revision")?.zip(time(row, "verify_after")?);
    let body: Option<Body> = get::<Option<&str>>(row, "body")?.map(|text| json(text, "record_body", "body", id)).transpose()?;
    Ok(RecordEntry {
        id: RecordId(id),
        destination: get(row, "destination")?,
        object: get(row, "object")?,
        key: get(row, "key")?,
        record: Record {
            state: word(State::from_number(state), "record", "state", id, state)?,
            wake_at: time(row, "wake_at")?,
            lane: lane(get(row, "lane")?, "record", id)?,
            fence: get(row, "fence")?,
            revision: get(row, "revision")?,
            pushed: get(row, "pushed")?,
            lease,
            intent: get::<i64>(row, "intent")? != 0,
            tries: count(row, "record", "tries", id)?,
            attempts: count(row, "record", "attempts", id)?,
            conflicts: count(row, "record", "conflicts", id)?,
            last_attempt_at: time(row, "last_attempt_at")?,
            crashes: count(row, "record", "crashes", id)?,
            crashed_at: time(row, "crashed_at")?,
            doubt: doubt.map(|(revision, verify_after)| Doubt { revision, verify_after }),
            adopted: get::<i64>(row, "adopted")? != 0,
            solo: get::<i64>(row, "solo")? != 0,
            group_max: count(row, "record", "group_max", id)?,
            crm_id: get(row, "crm_id")?,
            body: body.unwrap_or_default(),
        },
    })
}
