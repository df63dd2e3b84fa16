//! Runs of reconciling.

use model::protocol::reconcile::Repair;
use model::{ReconciliationId, RecordId, Time};

use crate::Error;
use crate::columns::{Columns, count, get, json, time, word};
use crate::reconcile::{Reconciled, ReconciliationRow, ReconciliationState, Sight};

/// A row of `reconciliation`, with the names of destination and object.
pub fn row(row: &impl Columns) -> Result<ReconciliationRow, Error> {
    let id: i64 = get(row, "id")?;
    let (state, repair): (i64, i64) = (get(row, "state")?, get(row, "repair")?);
    let (look_max, failures): (i64, i64) = (get(row, "look_max")?, get(row, "failures")?);
    let holder: Option<String> = get(row, "lease_holder")?;
    let number = |column: &str| get(row, column).map(count);
    Ok(ReconciliationRow {
        id: ReconciliationId(id),
        destination: get(row, "destination")?,
        object: get(row, "object")?,
        at: Time(get(row, "at")?),
        actor: get(row, "actor")?,
        reason: get(row, "reason")?,
        sample: get::<Option<i64>>(row, "sample")?.map(count),
        repair: word(Repair::ALL.iter().copied().find(|known| known.number() == repair), "reconciliation", "repair", id, repair)?,
        state: word(ReconciliationState::ALL.into_iter().find(|known| known.number() == state), "reconciliation", "state", id, state)?,
        wake_at: Time(get(row, "wake_at")?),
        fence: get(row, "fence")?,
        lease: holder.zip(time(row, "lease_until")?),
        first: RecordId(get(row, "first")?),
        cursor: RecordId(get(row, "cursor")?),
        wrapped: get::<i64>(row, "wrapped")? != 0,
        look_max: word(u32::try_from(look_max).ok(), "reconciliation", "look_max", id, look_max)?,
        looks: number("looks")?,
        counts: Reconciled {
            equal: number("equal")?,
            missing: number("missing")?,
            ours: number("ours")?,
            edited: number("edited")?,
            duplicated: number("duplicated")?,
            busy: number("busy")?,
            unread: number("unread")?,
        },
        repaired: number("repaired")?,
        findings: json(get(row, "findings")?, "reconciliation", "findings", id)?,
        failures: word(u32::try_from(failures).ok(), "reconciliation", "failures", id, failures)?,
        note: get(row, "note")?,
        finished_at: time(row, "finished_at")?,
    })
}

/// When the last run of an object was begun, and after which record a sample goes on.
pub fn last(row: Option<&impl Columns>) -> Result<(Option<Time>, RecordId), Error> {
    let Some(row) = row else { return Ok((None, RecordId(0))) };
    Ok((time(row, "at")?, RecordId(get(row, "cursor")?)))
}

/// A record as a claim sees it.
pub fn sight(row: &impl Columns) -> Result<Sight, Error> {
    Ok(Sight {
        record: RecordId(get(row, "id")?),
        fence: get(row, "fence")?,
        clean: get::<i64>(row, "state")? == 0,
        key: get(row, "key")?,
        crm_id: get(row, "crm_id")?,
    })
}

/// When the last run of each destination came to its end.
pub fn finished<R: Columns>(rows: &[R]) -> Result<Vec<(String, Time)>, Error> {
    rows.iter().map(|row| Ok((get(row, "destination")?, Time(get(row, "at")?)))).collect()
}
