//! Rows of either database to members: what does not depend on whose row it is.

use model::{CallId, DeliveryId, EventId, RawEventId, RecordId, Time};
use serde::de::DeserializeOwned;

use crate::Error;
use crate::rows::{Delivery, DeliveryState, Event};

/// One value of a row.
pub enum Cell<'r> {
    Int(i64),
    Text(&'r str),
    Blob(&'r [u8]),
    Null,
}

/// A row whose columns have names.
pub trait Columns {
    /// A column's value.
    fn cell(&self, column: &str) -> Result<Cell<'_>, Error>;
}

/// What a value can be read as.
pub trait Column<'r>: Sized {
    fn of(cell: Cell<'r>) -> Option<Self>;
}

impl Column<'_> for i64 {
    fn of(cell: Cell<'_>) -> Option<Self> {
        if let Cell::Int(number) = cell { Some(number) } else { None }
    }
}

impl<'r> Column<'r> for &'r str {
    fn of(cell: Cell<'r>) -> Option<Self> {
        if let Cell::Text(text) = cell { Some(text) } else { None }
    }
}

impl<'r> Column<'r> for &'r [u8] {
    fn of(cell: Cell<'r>) -> Option<Self> {
        if let Cell::Blob(bytes) = cell { Some(bytes) } else { None }
    }
}

impl Column<'_> for String {
    fn of(cell: Cell<'_>) -> Option<Self> {
        <&str>::of(cell).map(str::to_owned)
    }
}

impl Column<'_> for Vec<u8> {
    fn of(cell: Cell<'_>) -> Option<Self> {
        <&[u8]>::of(cell).map(<[u8]>::to_vec)
    }
}

impl<'r, T: Column<'r>> Column<'r> for Option<T> {
    fn of(cell: Cell<'r>) -> Option<Self> {
        if matches!(cell, Cell::Null) { Some(None) } else { T::of(cell).map(Some) }
    }
}

/// A column that the schema promises.
pub fn get<'r, T: Column<'r>>(row: &'r impl Columns, column: &str) -> Result<T, Error> {
    let found = T::of(row.cell(column)?);
    found.ok_or_else(|| Error::Unavailable(format!("the column {column} of a row is not of the kind that this version reads")))
}

/// A number that stands for a word of ours.
pub fn word<T>(found: Option<T>, table: &'static str, column: &'static str, id: i64, number: impl ToString) -> Result<T, Error> {
    found.ok_or_else(|| Error::Inconsistent { table, column, id, found: number.to_string() })
}

/// Sixteen or thirty-two bytes.
pub fn bytes<const N: usize>(found: &[u8], table: &'static str, column: &'static str, id: i64) -> Result<[u8; N], Error> {
    found.try_into().map_err(|_| Error::Inconsistent { table, column, id, found: format!("{} bytes", found.len()) })
}

/// JSON that we wrote.
pub fn json<T: DeserializeOwned>(text: &str, table: &'static str, column: &'static str, id: i64) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::Inconsistent { table, column, id, found: error.to_string() })
}

/// JSON for a column or a statement's parameter.
pub fn text(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Refused(format!("a value cannot be written as JSON: {error}")))
}

/// A time that may be missing.
pub fn time(row: &impl Columns, column: &str) -> Result<Option<Time>, Error> {
    Ok(get::<Option<i64>>(row, column)?.map(Time))
}

/// How many there are.
pub fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub fn mode(number: i64, id: i64) -> Result<model::event::Mode, Error> {
    use model::event::Mode;
    let found = Mode::ALL.into_iter().find(|mode| *mode as i64 == number);
    word(found, "delivery", "mode", id, number)
}

pub fn lane(number: i64, table: &'static str, id: i64) -> Result<model::quota::Lane, Error> {
    word(model::quota::Lane::from_number(number), table, "lane", id, number)
}

pub fn delivery(row: &impl Columns) -> Result<Delivery, Error> {
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
        lane: lane(get(row, "lane")?, "delivery", id)?,
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

pub fn event(row: &impl Columns) -> Result<Event, Error> {
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
