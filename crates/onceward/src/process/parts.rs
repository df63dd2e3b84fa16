//! The parts of a process: started together, stopped one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use console::Token;
use metrics_exporter_prometheus::PrometheusHandle;
use queue::Queue;
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Role;
use super::join::{self, Joining};
use crate::command::{Refused, ledger};
use crate::configuration::{self, Configuration, Destination};
use crate::installation::random;
use crate::{clock, housekeeping};

/// One ingest of several says that it is about to go, and still takes webhooks in until proxies have noticed.
const INGEST_LEAVES_WITHIN: Duration = Duration::from_secs(2);
/// For webhooks that are under way when the process stops.
const INGEST_STOPS_WITHIN: Duration = Duration::from_secs(3);
/// And for calls that are under way; what has not ended by then is looked at again by whoever comes after.
const WORKER_STOPS_WITHIN: Duration = Duration::from_secs(4);
/// How often the ledger is swept for what no wakeup told of.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// A destination's loops in one worker, on a database server.
const WORKER_HANDS: usize = 2;

/// Connections to a database server, apart so that none of the parts can starve another, and how long each waits for one (traps.md, 3): a vendor
/// is told soon that it must try again, a worker has time.
const INGEST_CONNECTIONS: (u32, Duration) = (4, Duration::from_secs(2));
const WORKER_CONNECTIONS: (u32, Duration) = (6, Duration::from_secs(10));
const ADMIN_CONNECTIONS: (u32, Duration) = (4, Duration::from_secs(5));

/// What the parts share.
pub struct Parts {
    pub role: Role,
    pub store: Store,
    pub metrics: PrometheusHandle,
    pub tokens: Vec<Token>,
}

/// A part, and how it is told to stop.
struct Part(watch::Sender<bool>, JoinHandle<()>);

impl Part {
    fn start<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(watch::Receiver<bool>) -> F) -> Self {
        let (stop, stopping) = watch::channel(false);
        Self(stop, tokio::spawn(run(stopping)))
    }

    async fn stop(self) {
        self.0.send_replace(true);
        if !self.1.is_finished() {
            // A part that panicked has stopped as well; its panic is in the log.
            let _ = self.1.await;
        }
    }

    /// Ends when the part does, or never if there is none.
    async fn ended(part: &mut Option<Self>) {
        match part {
            Some(part) if !part.1.is_finished() => drop((&mut part.1).await),
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

/// The running parts, in the order in which they stop.
pub struct Started {
    ingest: Option<Part>,
    worker: Option<Part>,
    queue: Queue,
    admin: Option<Part>,
    joining: JoinHandle<store::Error>,
    upkeep: Vec<JoinHandle<()>>,
}

/// Resolves when told to.
async fn told(mut stop: watch::Receiver<bool>) {
    // A sender that is gone cannot say anything else any more.
    let _ = stop.wait_for(|stop| *stop).await;
}

impl Parts {
    /// Joins the ledger if it is there, and starts every part of the role.
    pub async fn start(self, configuration: &Configuration, public: Option<TcpListener>, admin: TcpListener) -> Result<Started, Refused> {
        let Self { role, store, metrics, tokens } = self;
        let joining = Arc::new(Joining::new(store.clone(), role, configuration));
        let joined = Arc::new(watch::Sender::new(joining.first().await.map_err(|error| Refused::because(error.to_string()))?));
        let queue = queue_of(role, configuration);
        let (ingest, recheck) = public
            .map(|listener| {
                let door = Arc::new(door(role, configuration, apart(&store, INGEST_CONNECTIONS), queue.clone()));
                let recheck = recheck(Arc::clone(&door));
                (Part::start(|stop| ingest::serve(listener, door, told(stop))), recheck)
            })
            .unzip();
        let worker = match role.delivers() {
            true => Some(worker(configuration, apart(&store, WORKER_CONNECTIONS), queue.clone(), joined.subscribe())?),
            false => None,
        };
        let admin_store = apart(&store, ADMIN_CONNECTIONS);
        let router = if role.takes_in() {
            let console = console::Console {
                recheck,
                ..ledger::console(configuration, admin_store.clone(), queue.clone(), tokens, render(&metrics))
            };
            resuming(console, joined.subscribe())
        } else {
            console::probes(console::Probes {
                store: admin_store.clone(),
                queue: queue.clone(),
                now: Arc::new(clock::now),
                metrics: render(&metrics),
                gauges: None,
            })
        };
        let admin = Part::start(|stop| async move {
            if let Err(error) = console::serve(admin, router, told(stop)).await {
                tracing::error!(%error, "the admin listener broke");
            }
        });
        let mut upkeep = vec![tokio::spawn(housekeeping::tidy(metrics)), tokio::spawn(join::pulse(store))];
        if role.takes_in() {
            let (retention, joined) = (configuration.retention, joined.subscribe());
            upkeep.push(tokio::spawn(async move {
                join::joined(joined).await;
                housekeeping::retain(admin_store, retention).await;
            }));
        }
        let joining = tokio::spawn(join::in_background(joining, joined));
        Ok(Started { ingest, worker, queue, admin: Some(admin), joining, upkeep })
    }
}

fn apart(store: &Store, (connections, wait): (u32, Duration)) -> Store {
    store.apart(connections, wait)
}

fn render(metrics: &PrometheusHandle) -> console::RenderMetrics {
    let metrics = metrics.clone();
    Arc::new(move || metrics.render())
}

fn queue_of(role: Role, configuration: &Configuration) -> Queue {
    match &configuration.queue {
        configuration::Queue::Embedded => Queue::embedded(),
        configuration::Queue::Rabbit(address) => Queue::rabbit(queue::Settings {
            address: address.clone(),
            name: role.program().to_owned(),
            destinations: configuration.asked(),
            consume: role.delivers(),
            chance,
        }),
    }
}

fn door(role: Role, configuration: &Configuration, store: Store, queue: Queue) -> ingest::Door {
    let leave = if role == Role::Ingest { INGEST_LEAVES_WITHIN } else { Duration::ZERO };
    let gate = |(name, held): (&String, &configuration::SourceOf)| {
        (name.clone(), ingest::Gate { source: Arc::clone(&held.source), verifier: held.verifier.clone() })
    };
    ingest::Door {
        gates: configuration.sources.iter().map(gate).collect(),
        routes: Arc::clone(&configuration.routes),
        identifier_trust: configuration.identifier_trust(),
        keys: configuration.keys.clone(),
        hash_key: configuration.hash_key(),
        store,
        queue,
        now: Arc::new(clock::now),
        proxies: configuration.listen.trusted_proxies.clone(),
        visit: Some(Arc::new(|url| Box::pin(crate::visit::visit(url)))),
        limits: ingest::Limits { leave, stop: INGEST_STOPS_WITHIN, ..configuration.limits },
    }
}

fn worker(configuration: &Configuration, store: Store, queue: Queue, joined: watch::Receiver<bool>) -> Result<Part, Refused> {
    let tag = random::<4>().map(hex::encode).map_err(|error| Refused::because(format!("the system has no randomness: {error}")))?;
    let engine = worker::Engine {
        store,
        routes: Arc::clone(&configuration.routes),
        targets: Arc::new(targets(configuration)?),
        // No two processes have one name, not even on two machines.
        holder: format!("worker-{}-{tag}", std::process::id()),
    };
    let hands = if configuration.ledger.file().is_some() { 1 } else { WORKER_HANDS };
    let settings = worker::Settings { now: clock::now, chance, hands, sweep_every: SWEEP_EVERY, stop_within: WORKER_STOPS_WITHIN };
    let catch_up = catch_up(configuration, &engine, &queue);
    let schedule = |(name, held): (&String, &Destination)| Some((name.clone(), held.reconcile?));
    let schedules = configuration.destinations.iter().filter_map(schedule).collect();
    let reconcile = worker::Reconcile { engine: engine.clone(), queue: queue.clone(), schedules };
    Ok(Part::start(|stop| async move {
        tokio::select! {
            biased;
            () = told(stop.clone()) => return,
            () = join::joined(joined) => {}
        }
        // Listing and looking are apart from delivering: what is under way is done again by whoever comes after.
        let listing = tokio::spawn(catch_up.run(clock::now, stop.clone()));
        let looking = tokio::spawn(reconcile.run(clock::now, stop.clone()));
        worker::run(engine, queue, settings, stop).await;
        listing.abort();
        looking.abort();
    }))
}

/// The console, which takes up the bulk replays that a process before left unfinished.
fn resuming(console: console::Console, joined: watch::Receiver<bool>) -> axum::Router {
    let resuming = console.clone();
    tokio::spawn(async move {
        join::joined(joined).await;
        match resuming.store.unfinished_replays().await {
            Ok(unfinished) => console::resume_replays(&resuming, unfinished),
            Err(error) => {
                tracing::warn!(%error, "bulk replays that the process before left unfinished could not be read; begin them again")
            }
        }
    });
    console::router(console)
}

/// What the console lends from the door: how a refused request is looked at again.
fn recheck(door: Arc<ingest::Door>) -> console::Recheck {
    let nonces = ingest::Nonces::default();
    Arc::new(move |kept| {
        let nonce = nonces.next().map_err(|error| format!("nothing can be sealed without random bytes: {error}"))?;
        match door.recheck(kept, clock::now(), nonce) {
            Ok(ingest::Rechecked::Genuine(intake)) => Ok(console::Rechecked::Genuine(intake)),
            Ok(ingest::Rechecked::Refused { reason, diagnosis }) => Ok(console::Rechecked::Refused { reason, diagnosis }),
            Err(error) => Err(error.to_string()),
        }
    })
}

/// The CRM accounts, and the sources whose vendors are asked, each with its client.
fn targets(configuration: &Configuration) -> Result<BTreeMap<String, Arc<worker::Target>>, Refused> {
    let crm = |(name, held): (&String, &Destination)| {
        let client = connect::Client::http(held.settings.clone());
        let client = client.map_err(|error| Refused::because(format!("destination `{name}`: {error}")))?;
        Ok((name.clone(), held.policy.clone(), worker::To::Crm(Arc::new(client))))
    };
    let vendor = |(name, held): (&String, &configuration::SourceOf)| {
        let fetch = held.fetch.as_ref()?;
        let vendor = connect::vendor::Vendor::new(fetch.kind, fetch.settings.clone());
        let vendor = vendor.map_err(|error| Refused::because(format!("source `{name}`: {error}")));
        let to = |vendor| worker::To::Source { source: Arc::clone(&held.source), vendor: Arc::new(vendor) };
        Some(vendor.map(|vendor| (model::fetch::destination(name), fetch.policy.clone(), to(vendor))))
    };
    let all = configuration.destinations.iter().map(crm).chain(configuration.sources.iter().filter_map(vendor));
    all.map(|one| {
        let (name, policy, to) = one?;
        Ok((name.clone(), Arc::new(worker::Target { name, policy, to })))
    })
    .collect()
}

/// What catches up with vendors, where there are any to catch up with.
fn catch_up(configuration: &Configuration, engine: &worker::Engine, queue: &Queue) -> worker::CatchUp {
    let every = |(name, held): (&String, &configuration::SourceOf)| Some((name.clone(), held.catch_up?));
    worker::CatchUp {
        engine: engine.clone(),
        queue: queue.clone(),
        keys: configuration.keys.clone(),
        hash_key: configuration.hash_key(),
        every: configuration.sources.iter().filter_map(every).collect(),
        nonce: || random().ok(),
    }
}

/// A number in 0..1, to spread waits. Without randomness nothing is spread, and nothing is wrong.
fn chance() -> f64 {
    f64::from(getrandom::u32().unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
}

impl Started {
    /// Waits until a part ends that should not; what to say of it.
    pub async fn ended(&mut self) -> String {
        let part = tokio::select! {
            () = Part::ended(&mut self.ingest) => "the public listener",
            () = Part::ended(&mut self.worker) => "the worker",
            () = Part::ended(&mut self.admin) => "the admin listener",
            refused = &mut self.joining => match refused {
                Ok(error) => return error.to_string(),
                Err(_) => "what joins the ledger",
            },
        };
        format!("{part} ended by itself, which it never should; its last log line says why")
    }

    /// Takes nothing more in, lets what is under way end, part by part.
    pub async fn stop(self) {
        let Self { ingest, worker, queue, admin, joining, upkeep } = self;
        for part in [ingest, worker].into_iter().flatten() {
            part.stop().await;
        }
        queue.stop().await;
        if let Some(admin) = admin {
            admin.stop().await;
        }
        joining.abort();
        upkeep.iter().for_each(JoinHandle::abort);
    }
}
