//! Rows to members: what every statement over a table agrees on.

use model::record::{Body, Doubt, Lease, Record, State};
use model::{CallId, DeliveryId, EventId, RawEventId, RecordId, Time};
use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::{Decode, Postgres, Row, Type};

use crate::Error;
use crate::rows::{Delivery, DeliveryState, Event, RecordEntry};

/// Selects records with everything that [`record_entry`] reads; the rest of the statement follows.
macro_rules! records {
    ($rest:literal) => {
        concat!(
            "select r.id, d.text as destination, o.text as object, r.state, r.wake_at, r.fence, r.revision, r.pushed, r.lease_holder, ",
            "r.lease_until, r.lease_call, r.intent, r.tries, r.attempts, r.conflicts, r.last_attempt_at, r.crashes, r.crashed_at, ",
            "r.doubt_revision, r.verify_after, r.adopted, r.solo, r.group_max, b.key, b.crm_id, b.body ",
            $rest
        )
    };
}
pub(super) use records;

/// A column that the schema promises.
pub(super) fn get<'r, T: Decode<'r, Postgres> + Type<Postgres>>(row: &'r PgRow, column: &str) -> Result<T, Error> {
    Ok(row.try_get(column)?)
}

/// A number that stands for a word of ours.
pub(super) fn word<T>(found: Option<T>, table: &'static str, column: &'static str, id: i64, number: impl ToString) -> Result<T, Error> {
    found.ok_or_else(|| Error::Inconsistent { table, column, id, found: number.to_string() })
}

/// Sixteen or thirty-two bytes.
pub(super) fn bytes<const N: usize>(found: &[u8], table: &'static str, column: &'static str, id: i64) -> Result<[u8; N], Error> {
    found.try_into().map_err(|_| Error::Inconsistent { table, column, id, found: format!("{} bytes", found.len()) })
}

/// JSON that we wrote.
pub(super) fn json<T: DeserializeOwned>(text: &str, table: &'static str, column: &'static str, id: i64) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::Inconsistent { table, column, id, found: error.to_string() })
}

/// JSON for a column.
pub(super) fn text(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Refused(format!("a value cannot be written as JSON: {error}")))
}

/// Other people's words without the one character that PostgreSQL does not keep.
pub(super) fn words(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

pub(super) fn time(row: &PgRow, column: &str) -> Result<Option<Time>, Error> {
    Ok(get::<Option<i64>>(row, column)?.map(Time))
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

pub(super) fn mode(number: i64, id: i64) -> Result<model::event::Mode, Error> {
    use model::event::Mode;
    let found = [Mode::CreateOnly, Mode::UpdateOnly, Mode::Upsert].into_iter().find(|mode| *mode as i64 == number);
    word(found, "delivery", "mode", id, number)
}

pub(super) fn delivery(row: &PgRow) -> Result<Delivery, Error> {
    use model::protocol::Outcome;
    let id: i64 = get(row, "id")?;
    let state: i64 = get(row, "state")?;
    let outcome: Option<i64> = get(row, "outcome")?;
    Ok(Delivery {
        id: DeliveryId(id),
        record: get::<Option<i64>>(row, "record_id")?.map(RecordId),
        destination: get(row, "destination")?,
        object: get(row, "object")?,
        mode: mode(get(row, "mode")?, id)?,
        state: word(DeliveryState::ALL.into_iter().find(|known| *known as i64 == state), "delivery", "state", id, state)?,
        generation: count(row, "delivery", "generation", id)?,
        wake_at: time(row, "wake_at")?,
        outcome: outcome.and_then(|number| {
            [Outcome::Applied, Outcome::Unchanged, Outcome::Superseded].into_iter().find(|outcome| *outcome as i64 == number)
        }),
        ended_at: time(row, "ended_at")?,
        call: get::<Option<i64>>(row, "call_id")?.map(CallId),
        owner: get(row, "owner")?,
        superseded_by: get::<Option<i64>>(row, "superseded_by")?.map(DeliveryId),
    })
}

pub(super) fn event(row: &PgRow) -> Result<Event, Error> {
    let id: i64 = get(row, "id")?;
    let trust: i64 = get(row, "trust")?;
    let flags: i64 = get(row, "flags")?;
    let warnings: Option<&str> = get(row, "warnings")?;
    Ok(Event {
        id: EventId(id),
        source: get(row, "source")?,
        key: get(row, "key")?,
        event_type: get(row, "event_type")?,
        occurred_at: Time(get(row, "occurred_at")?),
        received_at: Time(get(row, "received_at")?),
        trust: word(u8::try_from(trust).ok(), "event", "trust", id, trust)?,
        mapping_version: get(row, "mapping_version")?,
        content_hash: bytes(get(row, "content_hash")?, "event", "content_hash", id)?,
        ignored: flags & 1 != 0,
        fallback_key: flags & 2 != 0,
        raw_event: RawEventId(get(row, "raw_event_id")?),
        correlation_id: get(row, "correlation_id")?,
        warnings: warnings.map(|text| json(text, "event", "warnings", id)).transpose()?.unwrap_or_default(),
        normalized: get(row, "normalized")?,
    })
}
