//! The ledger as commands open it.

use std::sync::Arc;

use axum::Router;
use console::{Console, Role, Token};
use queue::Queue;
use store::Store;

use super::Refused;
use crate::clock;
use crate::configuration::Configuration;
use crate::installation::{self, Installation, random};

/// Opens the ledger for writing, which only one process may.
///
/// # Errors
///
/// Another process has it, or it cannot be written.
pub async fn open(configuration: &Configuration) -> Result<Store, Refused> {
    let path = &configuration.ledger;
    if let Some(folder) = path.parent() {
        let shown = folder.display();
        installation::folder(folder).map_err(|error| Refused::because(format!("the folder `{shown}` cannot be made: {error}")))?;
    }
    Store::open(path).await.map_err(|error| Refused::because(error.to_string()))
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
    let store = Store::open_read_only(&configuration.ledger).await.map_err(|error| Refused::because(error.to_string()))?;
    let token = random::<32>().map(hex::encode).map_err(|error| Refused::because(format!("the system has no randomness: {error}")))?;
    let console = Console {
        store,
        queue: Queue::embedded(),
        keys: Arc::new(configuration.keys.clone()),
        tokens: vec![Token::new("cli", Role::Viewer, &token)],
        now: Arc::new(clock::now),
        metrics: Arc::new(String::new),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    Ok((console::router(console), token))
}
