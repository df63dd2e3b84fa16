//! `onceward`: everything in one process.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use console::{Role, Token};
use metrics_exporter_prometheus::PrometheusHandle;
use model::Received;
use model::seal::{KEY_BYTES, SealingKey, SealingKeys};
use model::source::{Source, SourceDef};
use queue::Queue;
use serde_json::json;
use store::Store;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Context, Refused, ledger, map};
use crate::configuration::{Configuration, Destination, SourceOf};
use crate::installation::{self, Installation, Running, url};
use crate::{clock, demo, housekeeping, telemetry};

/// From the request to stop to the end of the process.
const STOP_WITHIN: Duration = Duration::from_secs(9);
/// Of that, for webhooks that are under way.
const INGEST_STOPS_WITHIN: Duration = Duration::from_secs(3);
/// And for calls that are under way; what has not ended by then is looked at again after the next start.
const WORKER_STOPS_WITHIN: Duration = Duration::from_secs(4);
/// How often the ledger is swept for what no wakeup told of.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

#[derive(Args, Clone, Default)]
pub struct Up {
    /// Where vendors post to, instead of what `listen.public` says; port 0 picks a free one.
    #[arg(long, value_name = "ADDR")]
    public: Option<SocketAddr>,
    /// Where operators look, instead of what `listen.admin` says; port 0 picks a free one.
    #[arg(long = "admin", value_name = "ADDR", id = "admin_listener")]
    admin: Option<SocketAddr>,
}

impl Up {
    /// Whether anything was said.
    pub fn given(&self) -> bool {
        self.public.is_some() || self.admin.is_some()
    }
}

/// Runs everything until it is told to stop.
pub async fn run(context: &Context, asked: Up) -> Result<(), Refused> {
    let mut stop = Signals::listen()?;
    let metrics = telemetry::metrics().map_err(Refused::because)?;
    let (installation, sandbox) = prepare(context).await?;
    let mut listen = installation.configuration.listen.clone();
    listen.public = asked.public.unwrap_or(listen.public);
    listen.admin = asked.admin.unwrap_or(listen.admin);
    let store = ledger::open(&installation.configuration).await?;
    let applied = ledger::migrate(&store).await?;
    if !applied.is_empty() {
        tracing::info!(migrations = applied.join(", "), "the ledger was brought to this version's layout");
    }
    let public = bind("public", listen.public).await?;
    let admin = bind("admin", listen.admin).await?;
    let running = Running {
        public: url(local(&public)?),
        admin: url(local(&admin)?),
        sandbox: sandbox.as_ref().map(|sandbox| url(sandbox.address())),
    };
    let (tokens, token) = tokens(&installation)?;
    let parts = Parts { store, queue: Queue::embedded(), metrics, tokens };
    let mut started = parts.start(&installation.configuration, public, admin).await?;
    running.write(&installation.data).map_err(|error| cannot_write(&installation.data, &error))?;
    announce(context, &installation, &running, token.as_deref());
    tokio::task::spawn_blocking(warm);

    let first = tokio::select! {
        asked = stop.next() => asked,
        ended = started.ended() => ended,
    };
    tracing::info!(because = first, "stopping");
    let stopped = tokio::select! {
        stopped = tokio::time::timeout(STOP_WITHIN, started.stop()) => stopped.is_ok(),
        _ = stop.next() => false,
    };
    Running::forget(&installation.data);
    // The worker has ended, so nobody is waiting for the sandbox any more.
    drop(sandbox);
    match (first, stopped) {
        ("a signal", true) => {
            tracing::info!("stopped");
            Ok(())
        }
        ("a signal", false) => {
            tracing::warn!("stopped before everything had ended; nothing that was accepted is lost");
            Ok(())
        }
        (part, _) => Err(Refused::because(format!("{part} ended by itself, which it never should; its last log line says why"))),
    }
}

/// The configuration; in a demo, with its sandbox running.
async fn prepare(context: &Context) -> Result<(Installation, Option<sandbox::Sandbox>), Refused> {
    if let Some(path) = installation::file(context) {
        return Ok((Installation::of_file(&path, context)?, None));
    }
    demo::prepare(&context.data)?;
    let listener = bind("sandbox", SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    // A CRM does not forget when its client restarts.
    let (journal, options) = (context.data.join("sandbox.jsonl"), sandbox::Options::default());
    let sandbox = sandbox::Sandbox::serve_with_journal(listener, 1, options, &journal, clock::now);
    let sandbox = sandbox.map_err(|error| Refused::because(format!("the sandbox cannot start: {error}")))?;
    let configuration = demo::load(&context.data, &url(sandbox.address()), &context.environment)?;
    Ok((Installation { configuration, data: context.data.clone(), demo: true }, Some(sandbox)))
}

/// Who may come in, and the token to show if it was generated.
fn tokens(installation: &Installation) -> Result<(Vec<Token>, Option<String>), Refused> {
    let configured = &installation.configuration.tokens;
    if !configured.is_empty() {
        return Ok((configured.iter().map(|token| Token::new(&token.name, token.role, &token.token)).collect(), None));
    }
    let token = installation.generated_token().map_err(|error| cannot_write(&installation.data, &error))?;
    Ok((vec![Token::new("admin", Role::Admin, &token)], Some(token)))
}

fn cannot_write(folder: &Path, error: &io::Error) -> Refused {
    Refused::because(format!("the data folder `{}` cannot be written: {error}", folder.display()))
}

async fn bind(what: &str, address: SocketAddr) -> Result<TcpListener, Refused> {
    TcpListener::bind(address).await.map_err(|error| cannot_listen(what, address, &error))
}

/// Why there is no listener, and what to do.
pub fn cannot_listen(what: &str, address: SocketAddr, error: &io::Error) -> Refused {
    let option = match what {
        "sandbox" => "--listen",
        "admin" => "--admin",
        _ => "--public",
    };
    let why = if error.kind() == io::ErrorKind::AddrInUse {
        format!("something else listens there; stop it, or use another address (`{option} 127.0.0.1:0` picks a free port)")
    } else {
        format!("{error}; use another address with `{option}`")
    };
    Refused::because(format!("the {what} listener cannot have {address}: {why}"))
}

fn local(listener: &TcpListener) -> Result<SocketAddr, Refused> {
    listener.local_addr().map_err(|error| Refused::because(format!("a listener has no address: {error}")))
}

/// Reads a sample once. The tables behind phone numbers take a fifth of a second to build, which no webhook should wait for.
fn warm() {
    let def = SourceDef { preset: Some("standard-webhooks".to_owned()), ..SourceDef::default() };
    if let (Ok(source), Some(body)) = (Source::compile("warm", &def), model::source::sample("standard-webhooks")) {
        let request = Received { method: "POST", target: "/webhooks/warm", headers: &[], body: body.as_bytes() };
        let hash_key = SealingKey::new(&[0; KEY_BYTES]);
        if let Ok(keys) = SealingKeys::new(vec![hash_key]) {
            map::read(&source, &request, &[], &keys.hash_key("identity"), clock::now());
        }
    }
}

/// Waits for Ctrl-C or SIGTERM.
///
/// # Errors
///
/// The system does not tell of signals.
pub async fn stop_asked() -> Result<(), Refused> {
    Signals::listen()?.next().await;
    Ok(())
}

struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> Result<Self, Refused> {
        let wrong = |error: io::Error| Refused::because(format!("signals cannot be heard: {error}"));
        Ok(Self { interrupt: signal(SignalKind::interrupt()).map_err(wrong)?, terminate: signal(SignalKind::terminate()).map_err(wrong)? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        "a signal"
    }
}

/// What the parts of the process share.
struct Parts {
    store: Store,
    queue: Queue,
    metrics: PrometheusHandle,
    tokens: Vec<Token>,
}

/// The running parts, in the order in which they stop.
struct Started {
    ingest: (watch::Sender<bool>, JoinHandle<()>),
    worker: (watch::Sender<bool>, JoinHandle<()>),
    admin: (watch::Sender<bool>, JoinHandle<()>),
    upkeep: JoinHandle<()>,
}

/// Resolves when told to.
async fn told(mut stop: watch::Receiver<bool>) {
    // A sender that is gone cannot say anything else any more.
    let _ = stop.wait_for(|stop| *stop).await;
}

impl Parts {
    async fn start(self, configuration: &Configuration, public: TcpListener, admin: TcpListener) -> Result<Started, Refused> {
        let sources: Vec<&str> = configuration.sources.keys().map(String::as_str).collect();
        let destinations: Vec<&str> = configuration.destinations.keys().map(String::as_str).collect();
        let mapping = |held: &SourceOf| (held.source.mapping_version().to_owned(), held.source.mapping_text().to_owned());
        let mappings: Vec<(String, String)> = configuration.sources.values().map(mapping).collect();
        let voided = self.store.begin_work(clock::now(), &sources, &destinations, &mappings).await;
        let voided = voided.map_err(|error| Refused::because(error.to_string()))?;
        if voided > 0 {
            tracing::info!(records = voided, "the process before ended with records in hand; they are looked at again");
        }
        let door = ingest::Door {
            gates: configuration
                .sources
                .iter()
                .map(|(name, held)| (name.clone(), ingest::Gate { source: Arc::clone(&held.source), verifier: held.verifier.clone() }))
                .collect(),
            routes: Arc::clone(&configuration.routes),
            identifier_trust: configuration.identifier_trust(),
            keys: configuration.keys.clone(),
            hash_key: configuration.hash_key(),
            store: self.store.clone(),
            queue: self.queue.clone(),
            now: Arc::new(clock::now),
            limits: ingest::Limits { stop: INGEST_STOPS_WITHIN, ..configuration.limits },
        };
        let (stop_ingest, stopping) = watch::channel(false);
        let ingest = tokio::spawn(ingest::serve(public, Arc::new(door), told(stopping)));

        let engine = worker::Engine {
            store: self.store.clone(),
            routes: Arc::clone(&configuration.routes),
            targets: Arc::new(targets(configuration)?),
            holder: format!("up-{}", std::process::id()),
        };
        let settings = worker::Settings { now: clock::now, chance, sweep_every: SWEEP_EVERY, stop_within: WORKER_STOPS_WITHIN };
        let (stop_worker, stopping) = watch::channel(false);
        let worker = tokio::spawn(worker::run(engine, self.queue.clone(), settings, stopping));

        let (handle, kept) = (self.metrics.clone(), self.store.clone());
        let console = ledger::console(configuration, self.store, self.queue, self.tokens, Arc::new(move || handle.render()));
        match console.store.unfinished_replays().await {
            Ok(unfinished) => console::resume_replays(&console, unfinished),
            Err(error) => {
                tracing::warn!(%error, "bulk replays that the process before left unfinished could not be read; begin them again")
            }
        }
        let (stop_admin, stopping) = watch::channel(false);
        let admin = tokio::spawn(async move {
            if let Err(error) = console::serve(admin, console::router(console), told(stopping)).await {
                tracing::error!(%error, "the admin listener broke");
            }
        });
        let upkeep = tokio::spawn(housekeeping::run(kept, self.metrics, configuration.retention));
        Ok(Started { ingest: (stop_ingest, ingest), worker: (stop_worker, worker), admin: (stop_admin, admin), upkeep })
    }
}

/// The CRM accounts, each with its client.
fn targets(configuration: &Configuration) -> Result<BTreeMap<String, Arc<worker::Target>>, Refused> {
    let target = |(name, held): (&String, &Destination)| {
        let client = connect::Client::http(held.settings.clone());
        let client = client.map_err(|error| Refused::because(format!("destination `{name}`: {error}")))?;
        let target = worker::Target { name: name.clone(), policy: held.policy.clone(), client: Arc::new(client) };
        Ok((name.clone(), Arc::new(target)))
    };
    configuration.destinations.iter().map(target).collect()
}

/// A number in 0..1, to spread waits. Without randomness nothing is spread, and nothing is wrong.
fn chance() -> f64 {
    f64::from(getrandom::u32().unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
}

impl Started {
    /// Waits until a part ends that should not; its name.
    async fn ended(&mut self) -> &'static str {
        tokio::select! {
            _ = &mut self.ingest.1 => "the public listener",
            _ = &mut self.worker.1 => "the worker",
            _ = &mut self.admin.1 => "the admin listener",
        }
    }

    /// Takes nothing more in, lets what is under way end, part by part.
    async fn stop(self) {
        let Self { ingest, worker, admin, upkeep } = self;
        for (stop, part) in [ingest, worker, admin] {
            stop.send_replace(true);
            if !part.is_finished() {
                let _ = part.await;
            }
        }
        upkeep.abort();
    }
}

/// Says where everything is and what to try.
fn announce(context: &Context, installation: &Installation, running: &Running, token: Option<&str>) {
    let mut event = json!({ "event": "listening", "public": running.public, "admin": running.admin });
    if let Some(sandbox) = &running.sandbox {
        event["sandbox"] = json!(sandbox);
    }
    if let Some(token) = token {
        event["admin_token"] = json!(token);
    }
    let sources: Vec<&str> = installation.configuration.sources.keys().map(String::as_str).collect();
    let mut text = format!("Onceward {} is running.", env!("CARGO_PKG_VERSION"));
    if installation.demo {
        text.push_str(&format!(" There is no onceward.toml here, so this is the demo; its data is in {}/.", installation.data.display()));
    }
    text.push_str(&format!(
        "\n\n  webhooks  {}/webhooks/SOURCE   (sources: {})\n",
        installation.configuration.listen.public_url.as_deref().unwrap_or(&running.public),
        sources.join(", ")
    ));
    text.push_str(&format!("  console   {}/\n", running.admin));
    if let Some(token) = token {
        text.push_str(&format!("  token     {token}\n"));
    }
    if let Some(sandbox) = &running.sandbox {
        text.push_str(&format!("  sandbox   {sandbox}/_sandbox/records\n"));
    }
    if installation.demo {
        text.push_str(&suggestions(context, running));
    }
    for warning in &installation.configuration.warnings {
        text.push_str(&format!("\nwarning: {}: {}\n", warning.key, warning.message));
    }
    text.push_str("\nCtrl-C stops it.");
    context.say(&event, &text);
}

/// Commands to paste into another terminal.
fn suggestions(context: &Context, running: &Running) -> String {
    let program = program();
    let data = if context.data == Path::new("onceward-data") { String::new() } else { format!(" --data {}", quoted(&context.data)) };
    let sandbox = running.sandbox.as_deref().unwrap_or_default();
    format!(
        "\nTry it in another terminal:\n\
         \x20 {program} send --source demo sample{data}        # a signed webhook; again, and it is a duplicate\n\
         \x20 {program} trace ada@example.com{data}            # the way it went\n\
         \x20 {program} send --source typeform sample{data}    # the same person from elsewhere: the same record\n\
         \x20 curl -s {sandbox}/_sandbox/records\n"
    )
}

/// How this program is called from here.
fn program() -> String {
    let found = std::env::current_exe().ok().and_then(|path| {
        let name = path.file_name()?;
        let in_path =
            std::env::var_os("PATH").is_some_and(|folders| std::env::split_paths(&folders).any(|folder| folder.join(name) == path));
        if in_path {
            return Some(name.to_string_lossy().into_owned());
        }
        let here = std::env::current_dir().ok()?;
        Some(quoted(path.strip_prefix(here).unwrap_or(&path)))
    });
    found.unwrap_or_else(|| "onceward".to_owned())
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./+".contains(&byte));
    if plain { text.into_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
