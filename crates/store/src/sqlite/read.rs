//! Rows to members and back: what every statement over a table agrees on.

use model::record::{Body, Doubt, Lease, Record, State};
use model::{CallId, DeliveryId, EventId, RecordId, Time};
use serde_json::{Value, json};

use super::row::{Row, bytes, get, json, word};
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

pub(super) fn flags(event: &Event) -> i64 {
    i64::from(event.ignored) | (i64::from(event.fallback_key) << 1)
}

pub(super) fn warnings(event: &Event) -> Result<Option<String>, Error> {
    if event.warnings.is_empty() { Ok(None) } else { text(&event.warnings).map(Some) }
}

pub(super) fn narrow(entry: &RecordEntry) -> Value {
    let record = &entry.record;
    let lease = record.lease.as_ref();
    json!([
        entry.id.0,
        record.state.number(),
        record.wake_at,
        record.fence,
        record.revision,
        record.pushed,
        lease.map(|lease| &lease.holder),
        lease.map(|lease| lease.until),
        lease.map(|lease| lease.call.0),
        i64::from(record.intent),
        record.tries,
        record.attempts,
        record.conflicts,
        record.last_attempt_at,
        record.crashes,
        record.crashed_at,
        record.doubt.map(|doubt| doubt.revision),
        record.doubt.map(|doubt| doubt.verify_after),
        i64::from(record.adopted),
        i64::from(record.solo),
        record.group_max
    ])
}

pub(super) fn record_entry(row: &Row) -> Result<RecordEntry, Error> {
    let id: i64 = get(row, "id")?;
    let state: i64 = get(row, "state")?;
    let time = |column: &str| get::<Option<i64>>(row, column).map(|at| at.map(Time));
    let count = |column: &'static str| {
        let number: i64 = get(row, column)?;
        word(u32::try_from(number).ok(), "record", column, id, number)
    };
    let lease = match (get::<Option<String>>(row, "lease_holder")?, time("lease_until")?, get::<Option<i64>>(row, "lease_call")?) {
        (Some(holder), Some(until), Some(call)) => Some(Lease { holder, until, call: CallId(call) }),
        (_, _, _) => None,
    };
    let doubt = get::<Option<i64>>(row, "doubt_revision")?.zip(time("verify_after")?);
    let body: Option<Body> = get::<Option<&str>>(row, "body")?.map(|text| json(text, "record_body", "body", id)).transpose()?;
    Ok(RecordEntry {
        id: RecordId(id),
        destination: get(row, "destination")?,
        object: get(row, "object")?,
        key: get(row, "key")?,
        record: Record {
            state: word(State::from_number(state), "record", "state", id, state)?,
            wake_at: time("wake_at")?,
            fence: get(row, "fence")?,
            revision: get(row, "revision")?,
            pushed: get(row, "pushed")?,
            lease,
            intent: get::<i64>(row, "intent")? != 0,
            tries: count("tries")?,
            attempts: count("attempts")?,
            conflicts: count("conflicts")?,
            last_attempt_at: time("last_attempt_at")?,
            crashes: count("crashes")?,
            crashed_at: time("crashed_at")?,
            doubt: doubt.map(|(revision, verify_after)| Doubt { revision, verify_after }),
            adopted: get::<i64>(row, "adopted")? != 0,
            solo: get::<i64>(row, "solo")? != 0,
            group_max: count("group_max")?,
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

pub(super) fn delivery(row: &Row) -> Result<Delivery, Error> {
    use model::protocol::Outcome;
    let id: i64 = get(row, "id")?;
    let state: i64 = get(row, "state")?;
    let generation: i64 = get(row, "generation")?;
    let outcome: Option<i64> = get(row, "outcome")?;
    Ok(Delivery {
        id: DeliveryId(id),
        record: get::<Option<i64>>(row, "record_id")?.map(RecordId),
        destination: get(row, "destination")?,
        object: get(row, "object")?,
        mode: mode(get(row, "mode")?, id)?,
        state: word(DeliveryState::ALL.into_iter().find(|known| *known as i64 == state), "delivery", "state", id, state)?,
        generation: word(u32::try_from(generation).ok(), "delivery", "generation", id, generation)?,
        wake_at: get::<Option<i64>>(row, "wake_at")?.map(Time),
        outcome: outcome.and_then(|number| {
            [Outcome::Applied, Outcome::Unchanged, Outcome::Superseded].into_iter().find(|outcome| *outcome as i64 == number)
        }),
        ended_at: get::<Option<i64>>(row, "ended_at")?.map(Time),
        call: get::<Option<i64>>(row, "call_id")?.map(CallId),
        owner: get(row, "owner")?,
        superseded_by: get::<Option<i64>>(row, "superseded_by")?.map(DeliveryId),
    })
}

pub(super) fn event(row: &Row) -> Result<Event, Error> {
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
        raw_event: model::RawEventId(get(row, "raw_event_id")?),
        correlation_id: get(row, "correlation_id")?,
        warnings: warnings.map(|text| json(text, "event", "warnings", id)).transpose()?.unwrap_or_default(),
        normalized: get(row, "normalized")?,
    })
}

/// JSON for a statement's one parameter.
pub(super) fn text(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Refused(format!("a value cannot be written as JSON: {error}")))
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
