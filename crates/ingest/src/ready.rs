//! Whether webhooks can be taken in right now.

use std::time::Duration;

use store::Store;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long an answer counts, so that a stranger who asks all day costs the ledger little.
const FRESH: Duration = Duration::from_secs(1);

/// Whether the ledger takes writes and has every migration.
///
/// # Errors
///
/// A sentence that says why not and what to do.
pub async fn readiness(store: &Store) -> Result<(), String> {
    let pending = store.pending_migrations().await.map_err(|error| {
        tracing::warn!(%error, "not ready: the ledger does not answer");
        "The ledger does not answer.".to_owned()
    })?;
    if !pending.is_empty() {
        return Err(format!("The ledger lacks migrations ({}): run `onceward migrate`.", pending.join(", ")));
    }
    store.writable().await.map_err(|error| {
        tracing::warn!(%error, "not ready: the ledger takes no writes");
        "The ledger takes no writes.".to_owned()
    })
}

/// The last answer, and when it was found.
#[derive(Default)]
pub(crate) struct Readiness(Mutex<Option<(Instant, Result<(), String>)>>);

impl Readiness {
    pub(crate) async fn get(&self, store: &Store) -> Result<(), String> {
        let mut held = self.0.lock().await;
        if let Some((at, answer)) = &*held
            && at.elapsed() < FRESH
        {
            return answer.clone();
        }
        let answer = readiness(store).await;
        *held = Some((Instant::now(), answer.clone()));
        answer
    }
}
