//! Events with their deliveries, and the requests that brought them.

use std::collections::BTreeMap;
use std::time::Duration;

use model::record::State;
use model::{CallId, Class, DeliveryId, EventId, IdGenerator, RawEventId, Reason};

use crate::Error;
use crate::columns::{Columns, delivery, get, json, time, word};
use crate::rows::{Delivery, DeliveryState, Event, RawDisposition};
use crate::types::{DeadLetterRow, DeliveryRow, EventFilter, EventRow, RawEventRow, Status};

/// How far an id's time can be from the time of receipt: a request waits a little for its commit, and a clock that
/// stepped back leaves ids ahead of it.
const BEHIND: Duration = Duration::from_secs(3_600);
const AHEAD: Duration = Duration::from_secs(86_400);

/// Events with what became of them.
pub struct Loaded {
    /// In the order they were asked for.
    pub rows: Vec<EventRow>,
    /// The calls that ended deliveries.
    pub ended_by: BTreeMap<DeliveryId, CallId>,
}

/// The first id that a filter lets through, and the first one beyond it.
pub fn between(filter: &EventFilter) -> (i64, i64) {
    let from = filter.since.map_or(0, |since| IdGenerator::floor(since - BEHIND));
    let before = filter.after.map_or(i64::MAX, |after| after.0);
    (from, before.min(filter.until.map_or(i64::MAX, |until| IdGenerator::floor(until + AHEAD))))
}

/// Puts events and the rows of their deliveries, each with its record and its dead letter, together.
pub fn together<R: Columns>(events: Vec<Event>, rows: &[R]) -> Result<Loaded, Error> {
    let mut ended_by = BTreeMap::new();
    let mut by_event: BTreeMap<EventId, Vec<(&R, Delivery)>> = BTreeMap::new();
    for row in rows {
        let held = delivery(row)?;
        ended_by.extend(held.call.map(|call| (held.id, call)));
        by_event.entry(held.id.event()).or_default().push((row, held));
    }
    let mut shown = Vec::with_capacity(events.len());
    for event in events {
        let held = by_event.remove(&event.id).unwrap_or_default();
        let deliveries = held.into_iter().map(|(row, held)| delivery_row(row, held, &event)).collect::<Result<_, _>>()?;
        shown.push(event_row(event, deliveries));
    }
    Ok(Loaded { rows: shown, ended_by })
}

fn event_row(event: Event, deliveries: Vec<DeliveryRow>) -> EventRow {
    EventRow {
        id: event.id,
        source: event.source,
        event_type: event.event_type,
        idempotency_key: event.key,
        occurred_at: event.occurred_at,
        received_at: event.received_at,
        trust: event.trust,
        mapping_version: event.mapping_version,
        fallback_key: event.fallback_key,
        ignored: event.ignored,
        correlation_id: event.correlation_id.unwrap_or_else(|| event.raw_event.to_string()),
        raw_event: event.raw_event,
        warnings: event.warnings,
        deliveries,
    }
}

fn delivery_row(row: &impl Columns, held: Delivery, event: &Event) -> Result<DeliveryRow, Error> {
    let record = match get::<Option<i64>>(row, "record_state")? {
        Some(number) => {
            let state = word(State::from_number(number), "record", "state", held.record.map_or(0, |id| id.0), number)?;
            Some((state, get::<i64>(row, "record_fence")?))
        }
        None => None,
    };
    let open = held.state == DeliveryState::Open;
    // Its own time to wake is only that it has one; what happens next is its record's.
    let wake_at = time(row, "record_wake_at")?.or(held.wake_at).filter(|_| open);
    Ok(DeliveryRow {
        id: held.id,
        event: event.id,
        status: status(held.state, record),
        outcome: held.outcome.map(|outcome| outcome.as_str().to_owned()),
        record: held.record,
        record_key: get(row, "record_key")?,
        crm_record_id: get(row, "crm_id")?,
        generation: held.generation,
        ended_at: held.ended_at,
        wake_at,
        superseded_by: held.superseded_by,
        dead_letter: dead_letter(row, &held, event)?,
        mode: held.mode,
        destination: held.destination,
        object: held.object,
    })
}

/// What a delivery shows: its own state, and while it is open its record's, with whether that was ever claimed.
pub fn status(state: DeliveryState, record: Option<(State, i64)>) -> Status {
    match state {
        DeliveryState::Succeeded => Status::Succeeded,
        DeliveryState::Failed => Status::Failed,
        DeliveryState::Quarantined => Status::Quarantined,
        DeliveryState::Cancelled => Status::Cancelled,
        DeliveryState::Open => match record {
            None | Some((State::Clean, _) | (State::Due, 0)) => Status::Received,
            Some((State::Due | State::Blocked, _)) => Status::Queued,
            Some((State::Leased, _)) => Status::Processing,
            Some((State::Waiting, _)) => Status::Retrying,
            Some((State::Verifying, _)) => Status::Verifying,
        },
    }
}

fn dead_letter(row: &impl Columns, held: &Delivery, event: &Event) -> Result<Option<DeadLetterRow>, Error> {
    let Some(reason) = get::<Option<&str>>(row, "reason")? else { return Ok(None) };
    let reason = word(Reason::parse(reason), "dead_letter", "reason", held.id.0, reason)?;
    let class: Option<&str> = get(row, "class")?;
    let class = class.map(|class| word(Class::parse(class), "dead_letter", "class", held.id.0, class)).transpose()?;
    Ok(Some(DeadLetterRow {
        id: held.id,
        status: status(held.state, None),
        reason,
        remedy: reason.remedy(),
        class,
        message: get(row, "message")?,
        owner: get(row, "looked_at_by")?,
        source: event.source.clone(),
        event_type: event.event_type.clone(),
        event: event.id,
        idempotency_key: event.key.clone(),
        destination: held.destination.clone(),
        object: held.object.clone(),
        first_received_at: event.received_at,
        failed_at: time(row, "failed_at")?.unwrap_or_default(),
        last_attempt_at: time(row, "last_attempt_at")?,
        attempts: u32::try_from(get::<i64>(row, "attempts")?).unwrap_or(u32::MAX),
        raw_event: event.raw_event,
    }))
}

/// A request as it came.
pub fn raw_event(row: &impl Columns) -> Result<RawEventRow, Error> {
    let id: i64 = get(row, "id")?;
    let events: Vec<i64> = json(get(row, "events")?, "raw_event", "events", id)?;
    let key: i64 = get(row, "key_id")?;
    Ok(RawEventRow {
        id: RawEventId(id),
        source: get(row, "source")?,
        received_at: time(row, "received_at")?.unwrap_or_default(),
        disposition: disposition(get(row, "disposition")?, id)?.to_owned(),
        body_sha256: get(row, "body_sha256")?,
        key_id: word(u32::try_from(key).ok(), "raw_event", "key_id", id, key)?,
        sealed: get(row, "sealed")?,
        correlation_id: get::<Option<String>>(row, "correlation_id")?.unwrap_or_else(|| RawEventId(id).to_string()),
        events: events.into_iter().map(EventId).collect(),
    })
}

/// The word for how a raw event is marked.
pub fn disposition(number: i64, id: i64) -> Result<&'static str, Error> {
    let found = usize::try_from(number).ok().and_then(|place| RawDisposition::WORDS.get(place).copied());
    word(found, "raw_event", "disposition", id, number)
}
