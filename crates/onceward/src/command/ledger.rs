//! The ledger as commands open it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use console::{Console, RenderMetrics, Role, Token};
use queue::Queue;
use store::Store;

use super::Refused;
use crate::clock;
use crate::configuration::{Configuration, SourceOf};
use crate::installation::{self, Installation, random};

/// Opens the ledger for writing. A file is one process's alone; a server is connected to when it is needed.
///
/// # Errors
///
/// Another process has the file, or it cannot be written.
pub async fn open(configuration: &Configuration) -> Result<Store, Refused> {
    let ledger = &configuration.ledger;
    if let Some(folder) = ledger.file().and_then(Path::parent) {
        let shown = folder.display();
        installation::folder(folder).map_err(|error| Refused::because(format!("the folder `{shown}` cannot be made: {error}")))?;
    }
    Store::open_with(&ledger.url(), ledger.options()).await.map_err(|error| Refused::because(error.to_string()))
}

/// Applies what is missing; the names of what was.
///
/// # Errors
///
/// The ledger cannot be written, or is of a later version.
pub async fn migrate(store: &Store) -> Result<Vec<String>, Refused> {
    store.migrate().await.map_err(|error| Refused::because(format!("the ledger cannot be migrated: {error}")))
}

/// The admin API over the ledger, opened for reading, and a token for it that lives as long as this process.
///
/// # Errors
///
/// The ledger cannot be read.
pub async fn read_only(installation: &Installation) -> Result<(Router, String), Refused> {
    let configuration = &installation.configuration;
    let ledger = &configuration.ledger;
    let opened = Store::open_read_only(&ledger.url(), ledger.options()).await;
    let store = opened.map_err(|error| Refused::because(error.to_string()))?;
    let token = random::<32>().map(hex::encode).map_err(|error| Refused::because(format!("the system has no randomness: {error}")))?;
    let reader = Token::new("cli", Role::Viewer, &token);
    let console = console(configuration, store, Queue::embedded(), vec![reader], Arc::new(String::new));
    Ok((console::router(console), token))
}

/// The sources whose vendors keep lists that can be looked through.
fn catches_up(configuration: &Configuration) -> BTreeSet<String> {
    let listed = |held: &SourceOf| held.fetch.as_ref().is_some_and(|fetch| !fetch.kind.lists().is_empty());
    configuration.sources.iter().filter(|(_, held)| listed(held)).map(|(name, _)| name.clone()).collect()
}

/// The console of a configuration.
pub fn console(configuration: &Configuration, store: Store, queue: Queue, tokens: Vec<Token>, metrics: RenderMetrics) -> Console {
    Console {
        store,
        queue,
        keys: Arc::new(configuration.keys.clone()),
        sources: configuration.sources.iter().map(|(name, held)| (name.clone(), Arc::clone(&held.source))).collect(),
        catches_up: catches_up(configuration),
        routes: Arc::clone(&configuration.routes),
        identifier_trust: configuration.identifier_trust(),
        recheck: None,
        hash_key: configuration.hash_key(),
        tokens,
        now: Arc::new(clock::now),
        metrics,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
