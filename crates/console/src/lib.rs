//! The only code that operators see: the admin API and its pages.
//!
//! [`router`] is everything (metrics, health, API, pages), [`probes`] is what a process without a console serves, and [`serve`] runs
//! either with deadlines and limits. Nothing here decides what happens to a delivery: it asks the ledger, and wakes the queue.

mod access;
mod api;
mod ask;
mod gauges;
mod guard;
mod listen;
mod pages;
mod probes;
mod problem;
mod raw;
mod rejected;
mod remap;
mod replays;
mod spelled;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Router;
use model::Time;
use model::route::Routes;
use model::seal::{HashKey, SealingKeys};
use model::source::Source;
use queue::Queue;
use store::Store;

pub use access::{Role, Token};
pub use gauges::{LedgerGauges, refresh_gauges};
pub use listen::serve;
pub use probes::{Probes, probes};
pub use rejected::{Recheck, Rechecked};
pub use replays::resume_replays;

/// Tells the time; `crates/onceward` owns the clock.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// Writes the process's metrics in Prometheus' text format.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the console needs from the rest of the house.
#[derive(Clone)]
pub struct Console {
    /// The ledger.
    pub store: Store,
    /// Whom to wake after a replay.
    pub queue: Queue,
    /// What opens the stored requests.
    pub keys: Arc<SealingKeys>,
    /// The configured sources by name, for replays with today's mapping.
    pub sources: BTreeMap<String, Arc<Source>>,
    /// The sources whose vendors can be caught up with.
    pub catches_up: BTreeSet<String>,
    /// Today's routes.
    pub routes: Arc<Routes>,
    /// From which trust on an event may change identifiers, by destination; the default where one is missing.
    pub identifier_trust: BTreeMap<String, u8>,
    /// What identities are hashed with: the same key as at the door.
    pub hash_key: HashKey,
    /// What looks at a refused request again, where this process has the door.
    pub recheck: Option<Recheck>,
    /// Who may come in. Nobody can while this is empty.
    pub tokens: Vec<Token>,
    /// The time.
    pub now: Clock,
    /// What `/metrics` answers, after the ledger-wide gauges were set.
    pub metrics: RenderMetrics,
    /// Shown at the foot of the pages and in `openapi.json`: `0.1.0`.
    pub version: String,
}

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) console: Console,
    pub(crate) sessions: access::Sessions,
    pub(crate) runner: replays::Runner,
}

impl App {
    fn new(console: Console) -> Self {
        Self(Arc::new(Shared { console, sessions: access::Sessions::default(), runner: replays::Runner::default() }))
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.console.store
    }

    pub(crate) fn now(&self) -> Time {
        (self.0.console.now)()
    }
}

impl std::ops::Deref for App {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The whole admin listener: `/metrics`, `/healthz` and `/readyz` without a token, `/api/…` with a bearer token, and the pages with a
/// login.
pub fn router(console: Console) -> Router {
    let open = probes::routes(Probes {
        store: console.store.clone(),
        queue: console.queue.clone(),
        now: console.now.clone(),
        metrics: console.metrics.clone(),
        gauges: Some(Arc::new(LedgerGauges::default())),
    });
    let app = App::new(console);
    let inner = Router::new().merge(open).nest("/api", api::routes(&app)).merge(pages::routes(&app));
    guard::around(inner)
}
