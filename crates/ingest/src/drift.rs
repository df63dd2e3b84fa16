//! Watches how the bodies of sources change: a few of them a second, beside intake and never in its way.
//!
//! A body that is to be looked at is handed on without waiting, and without being copied; where too many wait, it is not looked at. What was seen
//! is added to the ledger now and then, where every ingest adds to the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::counter;
use model::drift::{Observed, Shape};
use model::intake::{Fate, NewEvent};
use model::source::Source;
use model::{Received, Time};
use store::{Error, Store};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::Clock;
use crate::budget::Budgets;

/// Bodies that are looked at, a second and source.
const RATE: u32 = 5;
/// How many wait to be looked at.
const WAITING_MAX: usize = 64;
/// Larger bodies, and larger batches, are not looked at.
const BODY_BYTES_MAX: usize = 64 << 10;
const EVENTS_MAX: usize = 100;
/// How often what was seen is added to the ledger.
const LEARN_EVERY: Duration = Duration::from_secs(5);

/// A genuine request that is to be looked at.
pub(crate) struct Seen {
    pub(crate) source: Arc<Source>,
    /// Of each entry, unless nobody maps it.
    pub(crate) types: Vec<Option<String>>,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Bytes,
}

pub(crate) struct Watcher {
    into: mpsc::Sender<Seen>,
    budgets: Budgets,
}

impl Watcher {
    /// Starts the watching; it ends, with everything learned, when the watcher is gone.
    pub(crate) fn start(store: Store, now: Clock) -> (Self, JoinHandle<()>) {
        let (into, seen) = mpsc::channel(WAITING_MAX);
        (Self { into, budgets: Budgets::new(RATE) }, tokio::spawn(watch(store, now, seen)))
    }

    /// The types of the events of a request that is to be looked at; `None` for most.
    pub(crate) fn wants(&self, source: &str, body: &Bytes, events: &[NewEvent]) -> Option<Vec<Option<String>>> {
        let small = body.len() <= BODY_BYTES_MAX && (1..=EVENTS_MAX).contains(&events.len());
        if !small || self.into.capacity() == 0 || !self.budgets.take(source) {
            return None;
        }
        let mapped = |event: &NewEvent| {
            let nobodys = matches!(event.fate, Fate::Ignored) || event.event_type == "unknown";
            Some(event.event_type.clone()).filter(|_| !nobodys)
        };
        Some(events.iter().map(mapped).collect())
    }

    /// Passes a request on, without waiting.
    pub(crate) fn look(&self, seen: Seen) {
        // With no room left it is one of the many that are not looked at.
        let _ = self.into.try_send(seen);
    }
}

/// What was seen since the ledger was last told, by source and event type.
type Gathered = BTreeMap<String, BTreeMap<String, Observed>>;

async fn watch(store: Store, now: Clock, mut seen: mpsc::Receiver<Seen>) {
    let mut gathered = Gathered::new();
    let mut due = interval(LEARN_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            next = seen.recv() => match next {
                Some(seen) => gather(&mut gathered, seen).await,
                None => break,
            },
            _ = due.tick() => learn(&store, now(), &mut gathered).await,
        }
    }
    learn(&store, now(), &mut gathered).await;
}

async fn gather(gathered: &mut Gathered, seen: Seen) {
    let name = seen.source.name.clone();
    // On a thread that serves nobody; a panic in there costs this body and not the watching.
    let looked = tokio::task::spawn_blocking(move || shapes(&seen)).await;
    for (event_type, shape) in looked.unwrap_or_default() {
        gathered.entry(name.clone()).or_default().entry(event_type).or_default().add(&shape);
    }
}

fn shapes(seen: &Seen) -> Vec<(String, Shape)> {
    let request = Received { method: "POST", target: &seen.target, headers: &seen.headers, body: &seen.body };
    let shapes = seen.source.shapes(&request);
    if shapes.len() != seen.types.len() {
        return Vec::new();
    }
    seen.types.iter().zip(shapes).filter_map(|(event_type, shape)| Some((event_type.clone()?, shape))).collect()
}

async fn learn(store: &Store, now: Time, gathered: &mut Gathered) {
    for (source, observed) in std::mem::take(gathered) {
        match store.learn(now, &source, &observed).await {
            Ok(changes) => {
                for (event_type, change) in changes {
                    let (kind, path) = (change.kind.as_str(), change.path.escape_default().to_string());
                    counter!("onceward_drift_total", "source" => source.clone(), "kind" => kind).increment(1);
                    tracing::warn!(source, event_type, kind, path, was = change.was, is = change.is, "what a source sends has changed");
                }
            }
            Err(Error::Unavailable(_)) => {
                // It is small, and is told with what comes next.
                gathered.insert(source, observed);
            }
            Err(error) => tracing::warn!(source, %error, "what a source's bodies look like could not be kept"),
        }
    }
}
