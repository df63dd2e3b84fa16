//! Catching up with a vendor: asked for by a person or by the schedule, done page by page by whichever worker comes first.
//!
//! A page is claimed, listed, taken in, and noted. The claim takes a call from the source's own budget and a lease; the note holds only under the
//! claim's fence and carries the cursor and the counts, so that a page whose worker died is listed once more and counted once.

use std::collections::BTreeSet;
use std::time::Duration;

use model::catch_up;
use model::destination::{Destination, Permit, Policy};
use model::{CatchUpId, Failure, Time};
use serde::Serialize;
use serde_json::json;

use crate::people::append_audit;
use crate::rows::hash;
use crate::tx::Tx;
use crate::{Arm, Error, Store};

/// Who asks where nobody does: the schedule of the configuration.
pub const SCHEDULE: &str = "schedule";
/// Runs of one source that may wait behind each other.
const WAITING_MAX: usize = 20;
/// Runs of one source that are remembered; open ones are never forgotten.
pub const KEPT_MAX: i64 = 1_000;
/// How long a run waits whose source may not be asked until somebody changes something.
const STOPPED: Duration = Duration::from_secs(10);

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUpState {
    /// It waits or is under way.
    Open,
    /// It came to the end of the vendor's lists.
    Done,
    /// It did not; the note says why.
    GivenUp,
}

impl CatchUpState {
    /// Every state, by its number in the ledger.
    pub(crate) const ALL: [Self; 3] = [Self::Open, Self::Done, Self::GivenUp];

    pub(crate) const fn number(self) -> i64 {
        match self {
            Self::Open => 0,
            Self::Done => 1,
            Self::GivenUp => 2,
        }
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CatchUpRow {
    /// Its public id; also the correlation id of all that it brought.
    pub id: CatchUpId,
    /// The source's name.
    pub source: String,
    /// When it was asked for.
    pub at: Time,
    /// Who asked; `schedule` if nobody did.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The first moment of what is listed.
    pub since: Time,
    /// The first moment that is not.
    pub until: Time,
    /// Nothing is taken in, only counted.
    pub dry_run: bool,
    /// Where it is.
    pub state: CatchUpState,
    /// When its next page is due, while it is open.
    pub wake_at: Time,
    /// Raised by each claim.
    #[serde(skip)]
    pub fence: i64,
    /// Who lists a page of it now, and until when at most.
    #[serde(skip)]
    pub lease: Option<(String, Time)>,
    /// Which of the vendor's lists is under way.
    #[serde(skip)]
    pub list: u32,
    /// Where its next page begins.
    #[serde(skip)]
    pub cursor: Option<String>,
    /// Pages that were listed.
    pub pages: u64,
    /// Events in them.
    pub seen: u64,
    /// Of these, known to the ledger before.
    pub already_here: u64,
    /// Of these, taken in (in a dry run: that would have been).
    pub filled: u64,
    /// Of these, irrelevant to the source.
    pub ignored: u64,
    /// Failures in a row.
    pub failures: u32,
    /// The last failure: the vendor's code and words.
    pub note: Option<String>,
    /// When it ended.
    pub finished_at: Option<Time>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct NewCatchUp {
    /// The source's name.
    pub source: String,
    /// The first moment of what is listed.
    pub since: Time,
    /// The first moment that is not.
    pub until: Time,
    /// Only count.
    pub dry_run: bool,
}

/// What became of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedCatchUp {
    /// It is in the ledger; a worker takes it up.
    Begun(CatchUpId),
    /// Too many of this source wait already.
    TooMany,
}

/// A source as whoever lists its pages knows it.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    /// Its name.
    pub source: &'a str,
    /// How fast its vendor may be asked.
    pub policy: &'a Policy,
}

/// What came of a page.
#[derive(Clone, Debug)]
pub enum PageEnd {
    /// It was listed and what was missing was taken in.
    Listed {
        /// The list that follows, and where its next page begins; `None` after the last page of the last list.
        next: Option<(u32, Option<String>)>,
        /// Events in it.
        seen: u64,
        /// Of these, irrelevant.
        ignored: u64,
        /// Of these, missing: in a dry run, the count of what would have been taken in.
        missing: u64,
    },
    /// It could not be had.
    Failed(Failure),
    /// It cannot even be asked for, which is not the vendor's doing.
    Unlisted(Failure),
    /// It was not asked for, or the ledger could not take it in: the same page again.
    Again,
}

impl Store {
    /// Asks for a run, with an audit row. A worker takes it up.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn ask_catch_up(&self, now: Time, actor: &str, reason: &str, new: &NewCatchUp) -> Result<AskedCatchUp, Error> {
        again!(self.ask_once(now, actor, reason, new).await)
    }

    async fn ask_once(&self, now: Time, actor: &str, reason: &str, new: &NewCatchUp) -> Result<AskedCatchUp, Error> {
        let destination = model::fetch::destination(&new.source);
        let mut tx = self.begin(&[&destination, &new.source]).await?;
        hold(&mut tx, &destination).await?;
        if tx.open_catch_ups(&new.source).await?.len() >= WAITING_MAX {
            return Ok(AskedCatchUp::TooMany);
        }
        let id = CatchUpId(self.next_id(now));
        tx.insert_catch_up(&fresh(id, now, actor, reason, new)).await?;
        let window =
            json!({ "reason": reason, "since": new.since.to_string(), "until": new.until.to_string(), "dry_run": new.dry_run, "id": id });
        append_audit(&mut tx, now, actor, "catch_up", &new.source, &window).await?;
        tx.commit().await?;
        Ok(AskedCatchUp::Begun(id))
    }

    /// Begins a scheduled run of a source if one is due and none is open. Many workers may ask at once.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn schedule_catch_up(&self, now: Time, source: &str, every: Duration) -> Result<Option<CatchUpId>, Error> {
        again!(self.schedule_once(now, source, every).await)
    }

    async fn schedule_once(&self, now: Time, source: &str, every: Duration) -> Result<Option<CatchUpId>, Error> {
        let destination = model::fetch::destination(source);
        let mut tx = self.begin(&[&destination, source]).await?;
        hold(&mut tx, &destination).await?;
        if !tx.open_catch_ups(source).await?.is_empty() {
            return Ok(None);
        }
        let (caught_up_to, tried_at) = tx.last_catch_up(source).await?;
        // One that was given up is tried anew with the next turn and not at once.
        let rests = tried_at.is_some_and(|at| at <= now && now.since(at) < every.max(catch_up::EVERY_MIN));
        let Some((since, until)) = catch_up::due(every, caught_up_to, now).filter(|_| !rests) else { return Ok(None) };
        let id = CatchUpId(self.next_id(now));
        let new = NewCatchUp { source: source.to_owned(), since, until, dry_run: false };
        tx.insert_catch_up(&fresh(id, now, SCHEDULE, "the source's `catch_up`", &new)).await?;
        tx.commit().await?;
        Ok(Some(id))
    }

    /// Claims the next page of one of these sources, where one is due and the source may be asked: the oldest open run of a source, so that there is one
    /// at a time. Takes a call from the source's budget.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written; nothing is claimed then.
    pub async fn claim_catch_up(&self, now: Time, holder: &str, listings: &[Listing<'_>]) -> Result<Option<CatchUpRow>, Error> {
        again!(self.claim_once(now, holder, listings).await)
    }

    async fn claim_once(&self, now: Time, holder: &str, listings: &[Listing<'_>]) -> Result<Option<CatchUpRow>, Error> {
        for listing in listings {
            let destination = model::fetch::destination(listing.source);
            let mut tx = self.begin(&[&destination, listing.source]).await?;
            let due = |row: &CatchUpRow| row.wake_at <= now && row.lease.as_ref().is_none_or(|(_, until)| *until <= now);
            if !tx.open_catch_ups(listing.source).await?.first().is_some_and(due) {
                continue;
            }
            let mut state = hold(&mut tx, &destination).await?;
            // Looked at again, now that nobody else can be at it.
            let Some(mut row) = tx.open_catch_ups(listing.source).await?.into_iter().next().filter(due) else { continue };
            let wait = permitted(&mut state, listing.policy, now);
            match wait {
                None => {
                    row.fence += 1;
                    row.lease = Some((holder.to_owned(), now + listing.policy.lease()));
                    tx.put_destination(&destination, &state).await?;
                }
                Some(until) => row.wake_at = until,
            }
            tx.put_catch_up(&row).await?;
            tx.commit().await?;
            if wait.is_none() {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// Notes what came of a claimed page. `false`: somebody else has claimed it since, and what this one did counts for nothing (what it took in is
    /// known by then).
    ///
    /// # Errors
    ///
    /// The ledger cannot be written; the page is listed again when its lease ends.
    pub async fn note_catch_up(&self, now: Time, policy: &Policy, claimed: &CatchUpRow, end: &PageEnd) -> Result<bool, Error> {
        again!(self.note_once(now, policy, claimed, end).await)
    }

    async fn note_once(&self, now: Time, policy: &Policy, claimed: &CatchUpRow, end: &PageEnd) -> Result<bool, Error> {
        let destination = model::fetch::destination(&claimed.source);
        let mut tx = self.begin(&[&destination, &claimed.source]).await?;
        let mut state = hold(&mut tx, &destination).await?;
        let held = tx.open_catch_ups(&claimed.source).await?.into_iter().find(|row| row.id == claimed.id && row.fence == claimed.fence);
        let Some(mut row) = held else { return Ok(false) };
        let claimed_at = row.lease.take().map_or(now, |(_, until)| until - policy.lease());
        row.wake_at = now;
        match end {
            PageEnd::Listed { next, seen, ignored, missing } => {
                state.observe(policy, now, claimed_at, None);
                (row.failures, row.note) = (0, None);
                (row.pages, row.seen, row.ignored) = (row.pages + 1, row.seen + seen, row.ignored + ignored);
                // What was taken in bears the run's id, so that a page that was listed twice is counted once.
                row.filled = if row.dry_run { row.filled + missing } else { tx.count_correlated(&row.id.to_string()).await? };
                row.already_here = row.seen.saturating_sub(row.ignored).saturating_sub(row.filled);
                match next {
                    Some((list, cursor)) => (row.list, row.cursor) = (*list, cursor.clone()),
                    None => (row.state, row.finished_at, row.cursor) = (CatchUpState::Done, Some(now), None),
                }
            }
            PageEnd::Failed(failure) => {
                state.observe(policy, now, claimed_at, Some(failure));
                row.failures = row.failures.saturating_add(u32::from(failure.class != model::Class::Throttled));
                row.note = Some(format!("{}: {}", failure.code, failure.message));
                match catch_up::after(failure, row.failures, now) {
                    catch_up::After::Wait(until) => row.wake_at = until,
                    catch_up::After::GiveUp => (row.state, row.finished_at) = (CatchUpState::GivenUp, Some(now)),
                }
            }
            PageEnd::Unlisted(failure) => {
                state.probe_not_sent(now);
                row.note = Some(format!("{}: {}", failure.code, failure.message));
                (row.state, row.finished_at) = (CatchUpState::GivenUp, Some(now));
            }
            PageEnd::Again => {
                state.probe_not_sent(now);
                row.wake_at = now + Duration::from_secs(1);
            }
        }
        tx.put_destination(&destination, &state).await?;
        tx.put_catch_up(&row).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Which of these keys of a source are taken.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn known_keys(&self, source: &str, keys: &[String]) -> Result<BTreeSet<String>, Error> {
        let mut tx = self.begin(&[source]).await?;
        let wanted: BTreeSet<_> = keys.iter().map(|key| (source.to_owned(), hash(key))).collect();
        let known = tx.find_events(&wanted).await?;
        tx.commit().await?;
        Ok(keys.iter().filter(|key| known.contains_key(&(source.to_owned(), hash(key)))).cloned().collect())
    }

    /// A run.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn catch_up(&self, id: CatchUpId) -> Result<Option<CatchUpRow>, Error> {
        match &self.arm {
            Arm::Sqlite(sqlite) => sqlite.read(|conn| sqlite.catch_up(conn, id)).await,
            Arm::Postgres(postgres) => postgres.moment().await?.catch_up(id).await,
            Arm::Memory(memory) => Ok(memory.lock().await.catch_ups.get(&id).cloned()),
        }
    }

    /// Runs of one source or of all, newest first; at most 1,000.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn catch_ups(&self, source: Option<&str>, limit: u32) -> Result<Vec<CatchUpRow>, Error> {
        match &self.arm {
            Arm::Sqlite(sqlite) => sqlite.read(|conn| sqlite.catch_ups(conn, source, limit)).await,
            Arm::Postgres(postgres) => postgres.moment().await?.catch_ups(source, limit).await,
            Arm::Memory(memory) => {
                let tables = memory.lock().await;
                let fitting = tables.catch_ups.values().rev().filter(|row| source.is_none_or(|source| row.source == source));
                Ok(fitting.take(limit.clamp(1, 1_000) as usize).cloned().collect())
            }
        }
    }
}

fn fresh(id: CatchUpId, now: Time, actor: &str, reason: &str, new: &NewCatchUp) -> CatchUpRow {
    CatchUpRow {
        id,
        source: new.source.clone(),
        at: now,
        actor: actor.to_owned(),
        reason: reason.to_owned(),
        since: new.since,
        until: new.until,
        dry_run: new.dry_run,
        state: CatchUpState::Open,
        wake_at: now,
        fence: 0,
        lease: None,
        list: 0,
        cursor: None,
        pages: 0,
        seen: 0,
        already_here: 0,
        filled: 0,
        ignored: 0,
        failures: 0,
        note: None,
        finished_at: None,
    }
}

/// The source's state as a destination, locked: whoever else changes a run of this source waits for it.
pub(crate) async fn hold(tx: &mut Tx, destination: &str) -> Result<Destination, Error> {
    if let Some(state) = tx.hold_destination(destination).await? {
        return Ok(state);
    }
    tx.put_destination(destination, &Destination::default()).await?;
    Ok(tx.hold_destination(destination).await?.unwrap_or_default())
}

/// Takes a call, or says until when none may be made.
fn permitted(state: &mut Destination, policy: &Policy, now: Time) -> Option<Time> {
    match (state.permit(policy, now, 0), state.spare(policy, now)) {
        (Permit::Calls(_) | Permit::Probe, Ok(_)) => {
            state.take(policy, now, 1);
            None
        }
        (Permit::Calls(_) | Permit::Probe, Err(until)) => Some(until),
        (Permit::Not(until), _) => Some(until.unwrap_or(now + STOPPED)),
    }
}
