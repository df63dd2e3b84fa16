//! Runs of catching up.

use model::{CatchUpId, Time};

use crate::Error;
use crate::catch_up::{CatchUpRow, CatchUpState};
use crate::columns::{Columns, count, get, time, word};

/// A row of `catch_up`, with the source's name.
pub fn row(row: &impl Columns) -> Result<CatchUpRow, Error> {
    let id: i64 = get(row, "id")?;
    let state: i64 = get(row, "state")?;
    let (list, failures): (i64, i64) = (get(row, "list")?, get(row, "failures")?);
    let holder: Option<String> = get(row, "lease_holder")?;
    Ok(CatchUpRow {
        id: CatchUpId(id),
        source: get(row, "source")?,
        at: Time(get(row, "at")?),
        actor: get(row, "actor")?,
        reason: get(row, "reason")?,
        since: Time(get(row, "since")?),
        until: Time(get(row, "until")?),
        dry_run: get::<i64>(row, "dry_run")? != 0,
        state: word(CatchUpState::ALL.into_iter().find(|known| known.number() == state), "catch_up", "state", id, state)?,
        wake_at: Time(get(row, "wake_at")?),
        fence: get(row, "fence")?,
        lease: holder.zip(time(row, "lease_until")?),
        list: word(u32::try_from(list).ok(), "catch_up", "list", id, list)?,
        cursor: get(row, "cursor")?,
        pages: count(get(row, "pages")?),
        seen: count(get(row, "seen")?),
        already_here: count(get(row, "already_here")?),
        filled: count(get(row, "filled")?),
        ignored: count(get(row, "ignored")?),
        failures: word(u32::try_from(failures).ok(), "catch_up", "failures", id, failures)?,
        note: get(row, "note")?,
        finished_at: time(row, "finished_at")?,
    })
}
