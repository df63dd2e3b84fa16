//! Replays: one dead letter at once, or many in the background, paced.
//!
//! A replay never has a new key, a new event or new stamps (protocol.md H30, H31): it opens what is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use model::{DeliveryId, ReplayId, Time};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{DeadLetterFilter, DeadLetterRow, Reopen, Reopened, ReplayRow};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};

use crate::ask::Ask;
use crate::problem::{Problem, Refusal};
use crate::{App, Console, api, remap};

/// A replay of more deliveries than this needs to be confirmed by their number.
const UNCONFIRMED_MAX: u64 = 1_000;
/// Deliveries that a bulk replay opens in a second: well below what the workers drain, so that new events are not held up.
const OPENED_PER_SECOND: u64 = 200;
/// Dead letters that are read at a time.
const PAGE: u32 = 200;
/// Bulk replays that wait or run at a time.
const BULK_MAX: usize = 8;
/// How often a bulk replay tries again while the ledger does not answer, and how long it waits between.
const TRIES_MAX: u32 = 30;
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Which mapping makes the event of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mapping {
    /// Today's.
    #[default]
    Current,
    /// The one that made the event: it is sent as it is stored.
    Original,
}

/// One dead letter that is to be sent through again.
pub(crate) struct Wanted {
    pub(crate) delivery: DeliveryId,
    pub(crate) mapping: Mapping,
    pub(crate) edited: Option<Vec<u8>>,
}

/// Replays one dead letter, and wakes its record.
pub(crate) async fn replay(app: &App, actor: &str, why: &str, wanted: Wanted) -> Result<Reopened, Refusal> {
    let Wanted { delivery, mapping, edited } = wanted;
    let reopen = match api::read::dead_letter(app, delivery).await? {
        Some(row) => remap::reopen(app, &row, mapping, edited).await?,
        // The ledger says what it is instead: on its way, ended, or unknown.
        None => Reopen { delivery, event: None, edited: None },
    };
    opened(app, actor, why, &reopen).await
}

async fn opened(app: &App, actor: &str, why: &str, reopen: &Reopen) -> Result<Reopened, Refusal> {
    let (reopened, wakeups) = app.store().reopen(app.now(), actor, why, reopen).await?;
    wakeups.into_iter().for_each(|wakeup| app.console.queue.wake(wakeup));
    Ok(reopened)
}

/// How many bulk replays this process has, and whose turn it is.
pub(crate) struct Runner {
    turn: Arc<Semaphore>,
    begun: AtomicUsize,
}

impl Default for Runner {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), begun: AtomicUsize::new(0) }
    }
}

/// What a bulk replay would do.
pub(crate) struct Plan {
    pub(crate) matched: u64,
    filter: DeadLetterFilter,
}

impl Plan {
    /// Only what was dead before this moment takes part: what fails again during the replay is not replayed again.
    pub(crate) fn until(&self) -> Time {
        self.filter.until.unwrap_or_default()
    }

    /// The first few that fit.
    pub(crate) async fn sample(&self, app: &App) -> Result<Vec<DeliveryId>, Refusal> {
        let filter = DeadLetterFilter { limit: 10, ..self.filter.clone() };
        Ok(app.store().dead_letters(&filter).await?.into_iter().map(|row| row.id).collect())
    }
}

/// Counts what fits a filter, as of now.
pub(crate) async fn plan(app: &App, filter: DeadLetterFilter) -> Result<Plan, Refusal> {
    let until = filter.until.map_or(app.now(), |until| until.min(app.now()));
    let filter = DeadLetterFilter { until: Some(until), after: None, limit: PAGE, ..filter };
    Ok(Plan { matched: app.store().count_dead_letters(&filter).await?, filter })
}

/// Begins a bulk replay in the background.
pub(crate) async fn begin(
    app: &App,
    actor: &str,
    why: &str,
    plan: Plan,
    asked: BTreeMap<String, String>,
    mapping: Mapping,
    confirm: Option<u64>,
) -> Result<ReplayId, Refusal> {
    if plan.matched > UNCONFIRMED_MAX && confirm != Some(plan.matched) {
        let detail = format!("{} dead letters match. Send the same again with `confirm: {}`.", plan.matched, plan.matched);
        return Err(Problem::ConfirmationRequired.because(detail).with("matched", plan.matched).with("until", plan.until().to_string()));
    }
    let place =
        Place::take(app).ok_or_else(|| Problem::TooManyReplays.because("Wait until one of the running bulk replays is through."))?;
    let (now, id) = (app.now(), ReplayId(app.store().next_id(app.now())));
    let stored = json!({ "where": asked, "mapping": mapping });
    let detail = json!({ "reason": why, "matched": plan.matched, "where": &stored["where"], "mapping": &stored["mapping"] });
    app.store().audit(now, actor, "bulk_replay", &id.to_string(), &detail).await?;
    app.store().begin_replay(now, id, actor, why, &stored, plan.matched).await?;
    let run =
        Run { app: app.clone(), id, actor: actor.to_owned(), why: why.to_owned(), filter: plan.filter, mapping, reopened: 0, refused: 0 };
    tokio::spawn(run.through(place));
    Ok(id)
}

/// Goes on with bulk replays that a stop or a crash broke off: call it once after the start with the ledger's unfinished ones.
/// What was opened before stays counted; what was refused is tried once more.
pub fn resume_replays(console: &Console, unfinished: Vec<ReplayRow>) {
    let app = App::new(console.clone());
    for row in unfinished.into_iter().filter(|row| row.finished_at.is_none()) {
        let (Some((filter, mapping)), Some(place)) = (read_back(&row), Place::take(&app)) else {
            tracing::warn!(replay = %row.id, "a bulk replay could not be gone on with; begin it again");
            continue;
        };
        let run =
            Run { app: app.clone(), id: row.id, actor: row.actor, why: row.reason, filter, mapping, reopened: row.reopened, refused: 0 };
        tokio::spawn(run.through(place));
    }
}

fn read_back(row: &ReplayRow) -> Option<(DeadLetterFilter, Mapping)> {
    let asked: BTreeMap<String, String> = serde_json::from_value(row.filter.get("where")?.clone()).ok()?;
    let mapping = serde_json::from_value(row.filter.get("mapping").cloned().unwrap_or(Value::Null)).ok()?;
    let filter = Ask::new(asked).and_then(Ask::dead_letters).ok()?;
    Some((DeadLetterFilter { until: Some(filter.until.unwrap_or(row.at)), after: None, limit: PAGE, ..filter }, mapping))
}

/// A place among the bulk replays of this process.
struct Place(App);

impl Place {
    fn take(app: &App) -> Option<Self> {
        let begun = &app.runner.begun;
        begun.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| (held < BULK_MAX).then_some(held + 1)).ok()?;
        Some(Self(app.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.runner.begun.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Where a dead letter is after its turn.
enum Left {
    Dead,
    Gone,
}

/// A bulk replay on its way.
struct Run {
    app: App,
    id: ReplayId,
    actor: String,
    why: String,
    filter: DeadLetterFilter,
    mapping: Mapping,
    reopened: u64,
    refused: u64,
}

impl Run {
    /// Opens page after page. If the ledger stays away, the replay is left unfinished there, to be gone on with.
    async fn through(mut self, _place: Place) {
        let Ok(_turn) = Arc::clone(&self.app.runner.turn).acquire_owned().await else { return };
        let mut pace = interval(Duration::from_micros(1_000_000 / OPENED_PER_SECOND));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let Some(page) = self.page().await else { return };
            for row in &page {
                pace.tick().await;
                match self.one(row).await {
                    // Only what is still listed can say where the next page begins; what was opened is gone from the list anyway.
                    Some(Left::Dead) => self.filter.after = Some(row.id),
                    Some(Left::Gone) => {}
                    None => return,
                }
            }
            let through = page.len() < PAGE as usize;
            if !self.note(through).await || through {
                return;
            }
        }
    }

    async fn page(&self) -> Option<Vec<DeadLetterRow>> {
        for _ in 0..TRIES_MAX {
            match self.app.store().dead_letters(&self.filter).await {
                Ok(page) => return Some(page),
                Err(error) => self.wait(&error.to_string()).await,
            }
        }
        None
    }

    /// Replays one; `None` if the ledger stays away.
    async fn one(&mut self, row: &DeadLetterRow) -> Option<Left> {
        for _ in 0..TRIES_MAX {
            let refusal = match self.attempt(row).await {
                Ok(Reopened::Reopened { .. } | Reopened::Replaced { .. }) => {
                    self.reopened += 1;
                    return Some(Left::Gone);
                }
                Ok(Reopened::InFlight { .. } | Reopened::NotFound) => {
                    self.refused += 1;
                    return Some(Left::Gone);
                }
                Ok(Reopened::StillDead { .. }) => {
                    self.refused += 1;
                    return Some(Left::Dead);
                }
                Err(refusal) => refusal,
            };
            if refusal.problem != Problem::LedgerUnavailable {
                tracing::warn!(replay = %self.id, delivery = %row.id, problem = refusal.problem.slug(), "a dead letter could not be replayed");
                self.refused += 1;
                return Some(Left::Dead);
            }
            self.wait(&refusal.detail).await;
        }
        None
    }

    async fn attempt(&self, row: &DeadLetterRow) -> Result<Reopened, Refusal> {
        let reopen = remap::reopen(&self.app, row, self.mapping, None).await?;
        opened(&self.app, &self.actor, &self.why, &reopen).await
    }

    async fn note(&self, through: bool) -> bool {
        for _ in 0..TRIES_MAX {
            let finished_at = through.then(|| self.app.now());
            match self.app.store().note_replay(self.id, self.reopened, self.refused, finished_at).await {
                Ok(()) => return true,
                Err(error) => self.wait(&error.to_string()).await,
            }
        }
        false
    }

    async fn wait(&self, error: &str) {
        tracing::warn!(replay = %self.id, error, "a bulk replay waits for the ledger");
        tokio::time::sleep(TRY_AGAIN_AFTER).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::samples;

    #[test]
    fn a_broken_off_replay_reads_its_filter_back_and_takes_nothing_newer() {
        let row = samples::replay();
        let (filter, mapping) = read_back(&row).unwrap();
        assert_eq!((filter.reason, filter.until, mapping), (Some(model::Reason::RejectedByCrm), Some(row.at), Mapping::Current));
        let other = ReplayRow { filter: json!({"where": {"sauce": "x"}, "mapping": "current"}), ..row };
        assert!(read_back(&other).is_none(), "a filter that is not understood is not an empty one");
    }

    #[tokio::test]
    async fn only_so_many_bulk_replays_have_a_place() {
        let app = App::new(crate::tests::console(store::Store::memory(), &Arc::default()));
        let held: Vec<_> = (0..BULK_MAX).map(|_| Place::take(&app).unwrap()).collect();
        assert!(Place::take(&app).is_none());
        drop(held);
        assert!(Place::take(&app).is_some());
    }
}
