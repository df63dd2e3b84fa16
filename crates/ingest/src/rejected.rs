//! Requests that were refused for their signature are kept for a while, because the wrong secret may be ours and many vendors
//! do not resend after a 401 (webhook-sources.md 1.10).
//!
//! Attackers decide how many there are. So only a few a second and source are diagnosed, sealed and written, one at
//! a time; the others are counted.

use store::{NewRejected, RejectedBounds, Store};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;

use crate::Clock;
use crate::budget::Budgets;

/// How many wait to be written.
const WAITING_MAX: usize = 64;

pub(crate) struct Keeper {
    into: mpsc::Sender<(NewRejected, OwnedSemaphorePermit)>,
    budgets: Budgets,
}

impl Keeper {
    /// Starts the keeping task; it ends when the keeper is gone and what waited is written.
    pub(crate) fn start(store: Store, now: Clock, rate: u32, bounds: RejectedBounds) -> (Self, JoinHandle<()>) {
        let (into, mut rejected) = mpsc::channel::<(NewRejected, OwnedSemaphorePermit)>(WAITING_MAX);
        let task = tokio::spawn(async move {
            while let Some((request, _held)) = rejected.recv().await {
                let source = request.source.clone();
                let (store, at) = (store.clone(), now());
                // A task of its own, so that a panic in there costs this request and not the keeper.
                let kept = tokio::spawn(async move { store.keep_rejected(at, &request, bounds).await }).await;
                if !matches!(kept, Ok(Ok(()))) {
                    not_kept(&source);
                }
            }
        });
        (Self { into, budgets: Budgets::new(rate) }, task)
    }

    /// Whether one more of this configured source may be kept in this second.
    pub(crate) fn has_room(&self, source: &str) -> bool {
        let has_room = self.into.capacity() > 0 && self.budgets.take(source);
        if !has_room {
            not_kept(source);
        }
        has_room
    }

    /// Passes a refused request on, without waiting.
    pub(crate) fn keep(&self, request: NewRejected, held: OwnedSemaphorePermit) {
        if let Err(error) = self.into.try_send((request, held)) {
            let (request, _held) = error.into_inner();
            not_kept(&request.source);
        }
    }
}

fn not_kept(source: &str) {
    metrics::counter!("onceward_ingest_rejected_not_kept_total", "source" => source.to_owned()).increment(1);
}
