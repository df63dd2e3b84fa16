//! What the ledger's database takes if nothing is asked of it but to write the same rows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::Received;
use store::{Intake, Scratch, Store};

use super::script::Script;
use super::voice::Voice;
use crate::clock;
use crate::command::Refused;
use crate::configuration::{Configuration, Ledger};
use crate::installation::random;

/// Requests that are written in one go.
pub const BATCH: usize = 64;
/// Most requests that are written.
const REQUESTS_MAX: usize = 20_000;
/// The middle one of these counts.
const RUNS: usize = 3;

/// The floor.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    /// Requests that were written in each run.
    pub requests: usize,
    /// Requests a second.
    pub rate: f64,
}

/// Writes the rows of the first requests of a script to a fresh database beside the ledger, and takes it away again.
///
/// # Errors
///
/// The folder cannot be written, or the requests cannot be read as the pipeline reads them.
pub async fn measure(configuration: &Configuration, script: &Arc<Script>, voices: &Arc<Vec<Voice>>) -> Result<Floor, Refused> {
    let door = door(configuration, voices);
    let (script, voices) = (Arc::clone(script), Arc::clone(voices));
    let admitted = tokio::task::spawn_blocking(move || admit(&door, &script, &voices)).await;
    let intakes = admitted.map_err(|_| Refused::because("the floor's rows could not be made because of a bug"))??;
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        times.push(write(&configuration.ledger, &intakes).await?);
    }
    times.sort_unstable();
    let middle = times.get(RUNS / 2).copied().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "at most twenty thousand")]
    let rate = intakes.len() as f64 / middle.as_secs_f64().max(1e-9);
    Ok(Floor { requests: intakes.len(), rate })
}

async fn write(ledger: &Ledger, intakes: &[Intake]) -> Result<Duration, Refused> {
    match ledger {
        Ledger::File(file) => {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let unwritable =
                |error: std::io::Error| Refused::because(format!("the floor cannot be written in `{}`: {error}", folder.display()));
            let place = tempfile::Builder::new().prefix(".floor-").tempdir_in(folder).map_err(unwritable)?;
            let store = Store::open(&format!("sqlite:{}", place.path().join("floor.db").display())).await.map_err(failed)?;
            written(&store, intakes).await.map_err(failed)
        }
        Ledger::Server(_) => {
            let tag = random::<6>().map(hex::encode).map_err(|error| Refused::because(format!("the system has no randomness: {error}")))?;
            let scratch = Scratch::beside(&ledger.url(), ledger.options(), &format!("onceward_floor_{tag}")).await.map_err(failed)?;
            let took = written(&scratch.store, intakes).await;
            // What was measured counts only if nothing of it stays behind.
            scratch.remove().await.map_err(failed)?;
            took.map_err(failed)
        }
    }
}

fn failed(error: store::Error) -> Refused {
    Refused::because(format!("the floor cannot be measured: {error}"))
}

async fn written(store: &Store, intakes: &[Intake]) -> Result<Duration, store::Error> {
    store.migrate().await?;
    store.begin_work(clock::now(), &[], &[], &[]).await?;
    store.floor(clock::now(), intakes, BATCH).await
}

/// The pipeline's own door, over a ledger that keeps nothing.
fn door(configuration: &Configuration, voices: &[Voice]) -> ingest::Door {
    let gate =
        |voice: &Voice| (voice.name.clone(), ingest::Gate { source: Arc::clone(voice.source()), verifier: voice.verifier().clone() });
    ingest::Door {
        gates: voices.iter().map(gate).collect::<BTreeMap<_, _>>(),
        routes: Arc::clone(&configuration.routes),
        identifier_trust: configuration.identifier_trust(),
        keys: configuration.keys.clone(),
        hash_key: configuration.hash_key(),
        store: Store::memory(),
        queue: queue::Queue::embedded(),
        now: Arc::new(clock::now),
        proxies: Vec::new(),
        visit: None,
        limits: configuration.limits,
    }
}

/// The rows that the pipeline makes of these requests, byte for byte but for ids and times.
fn admit(door: &ingest::Door, script: &Script, voices: &[Voice]) -> Result<Vec<Intake>, Refused> {
    let nonces = ingest::Nonces::default();
    let mut intakes = Vec::with_capacity(script.sends.len().min(REQUESTS_MAX));
    for event in script.sends.iter().take(REQUESTS_MAX) {
        let facts = script.facts(*event);
        let Some(voice) = voices.get(facts.source) else { continue };
        let Some(gate) = door.gates.get(&voice.name) else { continue };
        let now = clock::now();
        let composed = voice.compose(&facts, now)?;
        let request = Received { method: "POST", target: &composed.target, headers: &composed.headers, body: &composed.body };
        let nonce = nonces.next().map_err(|error| Refused::because(format!("the system has no randomness: {error}")))?;
        let admitted = door.admit(gate, &request, now, nonce).map_err(|refused| Refused::because(refused.to_string()))?;
        intakes.push(admitted.intake);
    }
    Ok(intakes)
}
