//! Refused requests, looked at again once a secret is mended: what is genuine now is taken in, the rest stays with a fresh diagnosis.
//!
//! How a request is checked and read is known at the door; whoever starts the console lends it that ([`Recheck`]). What is decided there is
//! written here, request by request, so that a retry that breaks off has done some of them and none of them half.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use model::RejectedId;
use serde::Serialize;
use serde_json::{Value, json};
use store::{AnsweredEvent, Intake, NewRejected};
use tokio::time::Instant;

use crate::App;
use crate::access::Actor;
use crate::problem::{Problem, Refusal};

/// Requests that one retry looks at; the answer says where the next one goes on.
pub(crate) const AT_ONCE: u32 = 200;
/// How long one retry goes on with the next request.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a refused request is by today's configuration.
#[derive(Clone, Debug)]
pub enum Rechecked {
    /// Genuine, and ready to be committed under the time at which it came.
    Genuine(Box<Intake>),
    /// Still not.
    Refused {
        /// A bounded word.
        reason: String,
        /// For operators.
        diagnosis: String,
    },
}

/// Checks a refused request again. The error says why that cannot be done, and what to do about it.
pub type Recheck = Arc<dyn Fn(&NewRejected) -> Result<Rechecked, String> + Send + Sync>;

/// Which refused requests of a source are looked at again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) source: String,
    /// Only this one.
    pub(crate) id: Option<RejectedId>,
    /// Only those after this one.
    pub(crate) after: Option<RejectedId>,
    /// Say what would be done, and write nothing.
    pub(crate) dry_run: bool,
}

/// What became of refused requests.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Retried {
    pub(crate) source: String,
    pub(crate) dry_run: bool,
    /// Genuine: taken in, or in a dry run to be taken in.
    pub(crate) taken_in: u32,
    pub(crate) still_refused: u32,
    /// Those that cannot be looked at, and those that somebody else has just taken in.
    pub(crate) skipped: u32,
    pub(crate) requests: Vec<Value>,
    /// For `after`; null when all have been looked at.
    pub(crate) next: Option<RejectedId>,
}

/// Looks at refused requests again, the oldest first.
pub(crate) async fn retry(app: &App, actor: &Actor, why: &str, wanted: Wanted) -> Result<Retried, Refusal> {
    let recheck = app.console.recheck.clone().ok_or_else(|| {
        Problem::Invalid
            .because("This process takes no webhooks in, so it cannot check one: ask a running `onceward` or `onceward-ingest`.")
    })?;
    if !app.console.sources.contains_key(&wanted.source) {
        return Err(Problem::NotFound.because("No source of this name is configured here, so nothing says how its requests are checked."));
    }
    let ids = match wanted.id {
        Some(id) => vec![id],
        None => app.store().rejected_after(&wanted.source, wanted.after.unwrap_or(RejectedId(0)), AT_ONCE).await?,
    };
    let mut retried = Retried {
        source: wanted.source.clone(),
        dry_run: wanted.dry_run,
        taken_in: 0,
        still_refused: 0,
        skipped: 0,
        requests: Vec::new(),
        next: None,
    };
    let begun = Instant::now();
    for id in &ids {
        let kept = app.store().rejected_one(*id).await?.filter(|kept| kept.source == wanted.source);
        if wanted.id.is_some() && kept.is_none() {
            return Err(Problem::NotFound.because("This source has no rejected request with this id; it may have been taken in already."));
        }
        retried.one(app, actor, why, &recheck, *id, kept).await?;
        let all = wanted.id.is_some() || (ids.last() == Some(id) && ids.len() < AT_ONCE as usize);
        retried.next = Some(*id).filter(|_| !all);
        if begun.elapsed() > PATIENCE {
            break;
        }
    }
    if !wanted.dry_run && retried.still_refused + retried.skipped > 0 {
        let detail =
            json!({ "reason": why, "taken_in": retried.taken_in, "still_refused": retried.still_refused, "skipped": retried.skipped });
        app.store().audit(app.now(), &actor.name, "rejected_retry", &wanted.source, &detail).await?;
    }
    Ok(retried)
}

impl Retried {
    async fn one(
        &mut self,
        app: &App,
        actor: &Actor,
        why: &str,
        recheck: &Recheck,
        id: RejectedId,
        kept: Option<NewRejected>,
    ) -> Result<(), Refusal> {
        let Some(kept) = kept else {
            self.skip(id, None, "it is not on the list any more");
            return Ok(());
        };
        let (look, at) = (recheck.clone(), kept.at);
        // Hashing a large body several times is nothing for a thread that serves others.
        let looked = tokio::task::spawn_blocking(move || look(&kept)).await;
        match looked.map_err(|_| Problem::Internal.because(format!("Looking at {id} again failed because of a bug of ours; report it.")))? {
            Ok(Rechecked::Genuine(intake)) if self.dry_run => self.take(id, &intake, None),
            Ok(Rechecked::Genuine(intake)) => match app.store().take_back(app.now(), &actor.name, why, id, &intake).await? {
                Some(committed) => {
                    committed.wakeups.into_iter().for_each(|wakeup| app.console.queue.wake(wakeup));
                    for (source, warning) in committed.warnings {
                        counter!("onceward_mapping_warnings_total", "source" => source, "kind" => warning.kind).increment(1);
                    }
                    self.take(id, &intake, committed.answers.into_iter().next());
                }
                None => self.skip(id, Some(at), "somebody else has just taken it in"),
            },
            Ok(Rechecked::Refused { reason, diagnosis }) => {
                if !self.dry_run {
                    app.store().diagnose_rejected(id, &reason, &diagnosis).await?;
                }
                self.still_refused += 1;
                self.requests
                    .push(json!({ "id": id, "at": at.to_string(), "result": "refused", "reason": reason, "diagnosis": diagnosis }));
            }
            Err(because) => self.skip(id, Some(at), &because),
        }
        Ok(())
    }

    fn take(&mut self, id: RejectedId, intake: &Intake, events: Option<Vec<AnsweredEvent>>) {
        self.taken_in += 1;
        let (result, raw) = if self.dry_run { ("genuine", None) } else { ("taken_in", Some(intake.raw.id)) };
        let at = intake.raw.received_at.to_string();
        self.requests.push(json!({ "id": id, "at": at, "result": result, "raw_event": raw, "events": events.unwrap_or_default() }));
    }

    fn skip(&mut self, id: RejectedId, at: Option<model::Time>, because: &str) {
        self.skipped += 1;
        self.requests.push(json!({ "id": id, "at": at.map(|at| at.to_string()), "result": "skipped", "diagnosis": because }));
    }
}
