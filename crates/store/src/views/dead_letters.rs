//! Dead letters, and the bulk replays that open them again.

use std::collections::{BTreeMap, BTreeSet};

use model::{DeliveryId, Reason, ReplayId};

use super::events::Loaded;
use crate::Error;
use crate::columns::{Columns, count, get, json, time, word};
use crate::types::{DeadLetterFilter, DeadLetterRow, ReplayRow};

/// Bulk replays that are gone on with after a start.
pub const UNFINISHED_MAX: i64 = 100;

/// The first and the last delivery id that a filter lets through.
pub fn between(filter: &DeadLetterFilter) -> (i64, i64) {
    let before = filter.after.map_or(i64::MAX, |after| after.0.saturating_sub(1));
    filter.id.map_or((0, before), |id| (id.0, id.0.min(before)))
}

/// The events of these deliveries, each once.
pub fn events_of(deliveries: &[i64]) -> Vec<i64> {
    let events: BTreeSet<i64> = deliveries.iter().map(|id| DeliveryId(*id).event().0).collect();
    events.into_iter().collect()
}

/// The dead letters among what was loaded, in the order they were asked for.
pub fn letters(wanted: &[i64], loaded: Loaded) -> Vec<DeadLetterRow> {
    let letters = loaded.rows.into_iter().flat_map(|event| event.deliveries).filter_map(|delivery| delivery.dead_letter);
    let mut letters: BTreeMap<i64, DeadLetterRow> = letters.map(|letter| (letter.id.0, letter)).collect();
    wanted.iter().filter_map(|id| letters.remove(id)).collect()
}

/// Counts by destination, empty for none, and reason.
pub type ByReason = Vec<(String, Reason, u64)>;

/// One of [`ByReason`].
pub fn by_reason(row: &impl Columns) -> Result<(String, Reason, u64), Error> {
    let reason: &str = get(row, "reason")?;
    Ok((get(row, "destination")?, word(Reason::parse(reason), "dead_letter", "reason", 0, reason)?, count(get(row, "n")?)))
}

/// Counts of all destinations by reason.
pub fn reasons(counted: ByReason) -> BTreeMap<Reason, u64> {
    let mut reasons: BTreeMap<Reason, u64> = BTreeMap::new();
    for (_, reason, number) in counted {
        *reasons.entry(reason).or_default() += number;
    }
    reasons
}

/// A number as a column takes it.
pub fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub fn replay(row: &impl Columns) -> Result<ReplayRow, Error> {
    let id: i64 = get(row, "id")?;
    Ok(ReplayRow {
        id: ReplayId(id),
        at: time(row, "at")?.unwrap_or_default(),
        actor: get(row, "actor")?,
        reason: get(row, "reason")?,
        filter: json(get(row, "filter")?, "replay", "filter", id)?,
        matched: count(get(row, "matched")?),
        reopened: count(get(row, "reopened")?),
        refused: count(get(row, "refused")?),
        finished_at: time(row, "finished_at")?,
    })
}
