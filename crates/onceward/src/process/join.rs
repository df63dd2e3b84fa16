//! Becoming one of the ledger's processes, and keeping its time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::gauge;
use store::{Error, Store};
use tokio::sync::watch;
use tokio::time::sleep;

use super::Role;
use crate::clock;
use crate::configuration::{Configuration, Ledger, SourceOf};

/// How often a ledger that is away, or lacks migrations, is looked at again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How often its clock is read and whether it answers is shown.
const PULSE: Duration = Duration::from_secs(2);

/// What a ledger must know of a process before it works on it.
pub struct Joining {
    store: Store,
    role: Role,
    /// A file is there or it is not; only a server is waited for.
    waits: bool,
    sources: Vec<String>,
    destinations: Vec<String>,
    mappings: Vec<(String, String)>,
}

impl Joining {
    pub fn new(store: Store, role: Role, configuration: &Configuration) -> Self {
        let mapping = |held: &SourceOf| (held.source.mapping_version().to_owned(), held.source.mapping_text().to_owned());
        Self {
            store,
            role,
            waits: matches!(configuration.ledger, Ledger::Server(_)),
            sources: configuration.sources.keys().cloned().collect(),
            destinations: configuration.asked(),
            mappings: configuration.sources.values().map(mapping).collect(),
        }
    }

    /// Joins, unless the ledger is to be waited for. Whether it did.
    ///
    /// # Errors
    ///
    /// The ledger will not have it, and waiting does not help.
    pub async fn first(&self) -> Result<bool, Error> {
        match self.attempt().await {
            Ok(()) => Ok(true),
            Err(Error::Unavailable(why)) if self.waits => {
                tracing::warn!(why, "the ledger cannot be worked on yet; not ready until it can");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Tries until it joins.
    ///
    /// # Errors
    ///
    /// The ledger will not have it, and waiting does not help.
    pub async fn rest(&self) -> Result<(), Error> {
        let mut said = String::new();
        loop {
            sleep(AGAIN_AFTER).await;
            match self.attempt().await {
                Ok(()) => {
                    tracing::info!("the ledger is there; ready");
                    return Ok(());
                }
                Err(Error::Unavailable(why)) => {
                    if said != why {
                        tracing::warn!(why, "the ledger cannot be worked on yet");
                        said = why;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(&self) -> Result<(), Error> {
        if self.role == Role::Everything {
            let applied = self.store.migrate().await?;
            if !applied.is_empty() {
                tracing::info!(migrations = applied.join(", "), "the ledger was brought to this version's layout");
            }
        } else {
            let pending = self.store.pending_migrations().await?;
            if !pending.is_empty() {
                return Err(Error::Unavailable(format!("the ledger lacks migrations ({}): run `onceward migrate`", pending.join(", "))));
            }
        }
        keep_time(&self.store).await?;
        let sources: Vec<&str> = self.sources.iter().map(String::as_str).collect();
        let destinations: Vec<&str> = self.destinations.iter().map(String::as_str).collect();
        let voided = self.store.begin_work(clock::now(), &sources, &destinations, &self.mappings).await?;
        if voided > 0 {
            tracing::info!(records = voided, "the process before ended with records in hand; they are looked at again");
        }
        Ok(())
    }
}

async fn keep_time(store: &Store) -> Result<(), Error> {
    let asked = Instant::now();
    if let Some(time) = store.clock().await? {
        clock::follow(asked, time);
    }
    Ok(())
}

/// Goes by the ledger's clock and shows whether the ledger answers, until it is dropped.
pub async fn pulse(store: Store) {
    loop {
        let up = keep_time(&store).await.is_ok();
        gauge!("onceward_ledger_up").set(if up { 1.0 } else { 0.0 });
        sleep(PULSE).await;
    }
}

/// Resolves once the process has joined.
pub async fn joined(mut joined: watch::Receiver<bool>) {
    // A sender that is gone takes the process with it.
    let _ = joined.wait_for(|joined| *joined).await;
}

/// Joins in the background; what ends this is an error that waiting does not mend.
pub async fn in_background(joining: Arc<Joining>, joined: Arc<watch::Sender<bool>>) -> Error {
    if !*joined.borrow() {
        if let Err(error) = joining.rest().await {
            return error;
        }
        joined.send_replace(true);
    }
    std::future::pending().await
}
