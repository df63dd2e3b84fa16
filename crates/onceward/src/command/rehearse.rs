//! `onceward rehearse`

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::net::ToSocketAddrs as _;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use reqwest::{Method, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Context, Refused, send};
use crate::admin::{Admin, Ask};
use crate::clock;
use crate::installation::{Installation, random};
use crate::rehearse::floor::{self, Floor};
use crate::rehearse::load::{self, Load, Sent};
use crate::rehearse::percentile;
use crate::rehearse::process::{self, Usage};
use crate::rehearse::reconcile::{Expected, Found, Ledger, Target, planned};
use crate::rehearse::script::{PEOPLE_MAX, SENDS_MAX, Script};
use crate::rehearse::voice::Voice;
use crate::sender::{client, innermost};
use crate::shown::{list, plain};

/// How often the ledger is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often the server's memory is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// Beyond a destination's late window, how long nothing may end before the wait is given up.
const STALL: Duration = Duration::from_secs(120);
/// Events on one page of the admin API.
const PAGE: usize = 1_000;
/// Most bytes of a sandbox's answer.
const SANDBOX_BYTES_MAX: usize = 512 << 20;

#[derive(Args)]
pub struct Rehearse {
    /// Whose webhooks to send; several for sources that speak of the same people.
    #[arg(long, required = true, value_name = "NAME")]
    source: Vec<String>,
    /// How many webhooks, copies included.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(SENDS_MAX)))]
    events: u32,
    /// Webhooks a second; `max` for as many as are taken.
    #[arg(long, default_value = "max", value_name = "R|max")]
    rate: Rate,
    /// Connections that are kept open.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    connections: u16,
    /// The share of webhooks that are copies of others, as vendors send them again.
    #[arg(long, default_value_t = 0.3, value_parser = share)]
    duplicates: f64,
    /// How many people they speak of, and so how many records there will be.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=i64::from(PEOPLE_MAX)))]
    records: u32,
    /// Tells the same story again: order, people, values. Default: another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// How the sandbox misbehaves meanwhile, as for `onceward sandbox`.
    #[arg(long, default_value = "", value_name = "LIST")]
    faults: sandbox::Faults,
    /// Where to send them. Default: the running process, or where `listen.public` says.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Also write the same rows straight to a fresh database beside the ledger, and compare.
    #[arg(long)]
    floor: bool,
    #[command(flatten)]
    ask: Ask,
}

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// As fast as they are taken.
    Max,
    /// So many a second.
    PerSecond(u32),
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("max", _) => Ok(Self::Max),
            (_, Ok(rate)) if (1..=1_000_000).contains(&rate) => Ok(Self::PerSecond(rate)),
            _ => Err("write `max`, or a number from 1 to 1000000".to_owned()),
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let wanted = || "write a share from 0 to 0.95, for example 0.3".to_owned();
    text.parse().ok().filter(|share| (0.0..=0.95).contains(share)).ok_or_else(wanted)
}

/// Sends, waits, reconciles, and says how it went.
pub async fn run(context: &Context, asked: Rehearse) -> Result<(), Refused> {
    let stage = Stage::set(context, &asked).await?;
    let before = stage.faults().await?;
    if asked.faults != sandbox::Faults::default() {
        stage.set_faults(&before, &asked.faults).await?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let played = tokio::select! {
        played = stage.play(&asked, &stop) => played,
        _ = tokio::signal::ctrl_c() => {
            stop.store(true, Ordering::Relaxed);
            Err(Refused::because("stopped; what was sent is on its way all the same"))
        }
    };
    // Whatever came of it, the sandbox is left as it was found.
    let restored = stage.restore(&before).await;
    let played = played?;
    restored?;
    let found = stage.reconcile(&played).await?;
    let floor =
        if asked.floor { Some(floor::measure(&stage.installation.configuration, &stage.script, &stage.voices).await?) } else { None };
    let report = Report { asked: &asked, stage: &stage, played: &played, found: &found, floor };
    context.say(&report.json(), &report.text());
    if found.is_exact() && played.sent.refused.is_empty() { Ok(()) } else { Err(Refused::Told) }
}

/// Everything that is known before the first webhook.
struct Stage {
    installation: Installation,
    admin: Admin,
    http: reqwest::Client,
    voices: Arc<Vec<Voice>>,
    script: Arc<Script>,
    seed: u64,
    /// The sandbox behind each destination.
    sandboxes: BTreeMap<String, Url>,
    targets: BTreeSet<Target>,
    /// The server, if it is on this machine.
    pid: Option<u32>,
    progress: bool,
}

/// What was sent, and how it went.
struct Played {
    sent: Sent,
    /// From the first byte to the end of the last delivery.
    all_ended: Duration,
    /// Calls that the sandboxes were made meanwhile.
    calls: u64,
    server: Option<Spent>,
    /// What the sender itself used while it sent.
    own_cpu: Option<Duration>,
}

/// What the server used.
struct Spent {
    /// While webhooks came in.
    cpu: Duration,
    /// Until all had ended.
    cpu_all: Duration,
    resident_max: u64,
}

impl Stage {
    async fn set(context: &Context, asked: &Rehearse) -> Result<Self, Refused> {
        let installation = Installation::find(context)?;
        let to = asked.url.clone().unwrap_or_else(|| installation.public());
        let names: BTreeSet<&String> = asked.source.iter().collect();
        if names.len() < asked.source.len() {
            return Err(Refused::Usage("a source is named twice".to_owned()));
        }
        let hash_key = installation.configuration.hash_key();
        let voices = asked.source.iter().map(|name| Voice::new(name, send::source(&installation, name)?, &to, hash_key.clone()));
        let voices = voices.collect::<Result<Vec<_>, Refused>>()?;
        let seed = match asked.seed {
            Some(seed) => seed,
            None => {
                u64::from(u32::from_le_bytes(random().map_err(|error| Refused::because(format!("the system has no randomness: {error}")))?))
            }
        };
        let sources = u32::try_from(voices.len()).unwrap_or(u32::MAX);
        let script = Script::new(seed, clock::now(), asked.events, asked.duplicates, asked.records, sources);
        let mut targets = BTreeSet::new();
        for voice in &voices {
            let event = voice.check(&script)?;
            for planned in planned(voice, installation.configuration.routes.plan(&event))? {
                targets.insert((planned.destination, planned.object));
            }
        }
        let admin = Admin::find(context, &asked.ask).await?;
        if matches!(admin, Admin::Ledger { .. }) {
            return Err(Refused::because(format!("nothing listens on {to}: start `onceward`, then rehearse")));
        }
        let http = client(&Url::parse(&to).map_err(|error| Refused::Usage(error.to_string()))?).map_err(Refused::Because)?;
        let sandboxes = sandboxes(&http, &installation, &targets).await?;
        let address = voices.first().map(Voice::address).unwrap_or_default();
        let address = address.to_socket_addrs().ok().and_then(|mut found| found.next());
        let pid = address.filter(|address| address.ip().is_loopback()).and_then(process::listening);
        Ok(Self {
            installation,
            admin,
            http,
            voices: Arc::new(voices),
            script: Arc::new(script),
            seed,
            sandboxes,
            targets,
            pid,
            progress: std::io::stderr().is_terminal() && !context.json,
        })
    }

    /// Sends everything and waits until all of it has ended.
    async fn play(&self, asked: &Rehearse, stop: &Arc<AtomicBool>) -> Result<Played, Refused> {
        let open_before = self.open().await?;
        let calls_before = self.calls().await?;
        let before = self.pid.and_then(process::usage);
        let own_before = process::usage(std::process::id());
        let done = Arc::new(AtomicU64::new(0));
        let load = Load {
            script: Arc::clone(&self.script),
            voices: Arc::clone(&self.voices),
            connections: asked.connections.into(),
            rate: match asked.rate {
                Rate::Max => None,
                Rate::PerSecond(rate) => Some(rate),
            },
            done: Arc::clone(&done),
            stop: Arc::clone(stop),
        };
        let mut sending = tokio::task::spawn_blocking(move || load::run(load));
        let mut resident_max = 0;
        let sent = loop {
            tokio::select! {
                sent = &mut sending => break sent,
                () = tokio::time::sleep(SAMPLE_EVERY) => {
                    resident_max = resident_max.max(self.pid.and_then(process::usage).map_or(0, |usage| usage.resident));
                    self.show(&format!("sent {} of {}", done.load(Ordering::Relaxed), self.script.sends.len()));
                }
            }
        };
        let sent = sent.map_err(|_| Refused::because("the load was not sent because of a bug"))??;
        let ended = Instant::now();
        let after = self.pid.and_then(process::usage);
        let own_after = process::usage(std::process::id());
        self.wait(open_before, &mut resident_max).await?;
        let all_ended = sent.took + ended.elapsed();
        let last = self.pid.and_then(process::usage);
        let since = |later: Option<Usage>, earlier: Option<Usage>| Some(later?.cpu.saturating_sub(earlier?.cpu));
        let server = since(after, before).zip(since(last, before)).map(|(cpu, cpu_all)| Spent { cpu, cpu_all, resident_max });
        let calls = self.calls().await?.saturating_sub(calls_before);
        Ok(Played { sent, all_ended, calls, server, own_cpu: since(own_after, own_before) })
    }

    /// Waits until no more deliveries are open than before; at most until nothing ends for longer than a doubt may last.
    async fn wait(&self, open_before: u64, resident_max: &mut u64) -> Result<(), Refused> {
        let windows = self.targets.iter().filter_map(|(name, _)| self.installation.configuration.destinations.get(name));
        let stall = STALL + windows.map(|held| held.policy.late_window).max().unwrap_or_default();
        let (mut least, mut moved) = (u64::MAX, Instant::now());
        loop {
            *resident_max = (*resident_max).max(self.pid.and_then(process::usage).map_or(0, |usage| usage.resident));
            // While a killed process is started again, nobody answers.
            match self.open().await {
                Ok(open) if open <= open_before => return Ok(()),
                Ok(open) => {
                    self.show(&format!("{open} deliveries are open"));
                    if open < least {
                        (least, moved) = (open, Instant::now());
                    }
                }
                Err(refused) if moved.elapsed() > stall => return Err(refused),
                Err(_) => {}
            }
            if moved.elapsed() > stall {
                // What is still open is told as lost.
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn show(&self, text: &str) {
        if self.progress {
            eprint!("\r\x1b[2K{text}");
        }
    }

    /// Open deliveries of the destinations that the events lead to.
    async fn open(&self) -> Result<u64, Refused> {
        let answer = self.admin.get("/api/destinations", &[]).await?;
        let of = |row: &Value| {
            let name = row.get("name").and_then(Value::as_str).unwrap_or_default();
            self.sandboxes.contains_key(name).then(|| row.get("open").and_then(Value::as_u64).unwrap_or_default())
        };
        Ok(list(&answer, "/destinations").iter().filter_map(of).sum())
    }

    /// Calls that the sandboxes have counted.
    async fn calls(&self) -> Result<u64, Refused> {
        let mut calls = 0;
        for base in self.distinct() {
            calls += ask::<sandbox::Stats>(&self.http, base, "_sandbox/stats").await?.calls;
        }
        Ok(calls)
    }

    /// The sandboxes, each once.
    fn distinct(&self) -> BTreeSet<&Url> {
        self.sandboxes.values().collect()
    }

    async fn faults(&self) -> Result<BTreeMap<Url, Value>, Refused> {
        let mut faults = BTreeMap::new();
        for base in self.distinct() {
            faults.insert(base.clone(), ask(&self.http, base, "_sandbox/faults").await?);
        }
        Ok(faults)
    }

    async fn set_faults(&self, before: &BTreeMap<Url, Value>, faults: &sandbox::Faults) -> Result<(), Refused> {
        self.restore(&before.keys().map(|base| (base.clone(), faults.to_json())).collect()).await
    }

    async fn restore(&self, faults: &BTreeMap<Url, Value>) -> Result<(), Refused> {
        for (base, faults) in faults {
            let _: Value = exchange(&self.http, Method::PUT, base, "_sandbox/faults", Some(faults)).await?;
        }
        Ok(())
    }

    /// Compares what should be with what the ledger and the sandboxes hold.
    async fn reconcile(&self, played: &Played) -> Result<Found, Refused> {
        self.show("reconciling");
        let mut ledger = Ledger::default();
        for voice in self.voices.iter() {
            let since = (self.script.begun - Duration::from_secs(1)).to_string();
            let mut after = String::new();
            loop {
                let query = [("source", voice.name.as_str()), ("since", since.as_str()), ("limit", "1000"), ("after", after.as_str())];
                let page = self.admin.get("/api/events", &query).await?;
                ledger.add(&page);
                match page.get("next").and_then(Value::as_str) {
                    Some(next) if list(&page, "/events").len() == PAGE => after = next.to_owned(),
                    _ => break,
                }
            }
        }
        let mut held = BTreeMap::new();
        let mut clients = BTreeMap::new();
        for target in &self.targets {
            let (Some(base), Some(destination)) =
                (self.sandboxes.get(&target.0), self.installation.configuration.destinations.get(&target.0))
            else {
                continue;
            };
            let path = format!("_sandbox/records?crm={}&object={}", destination.settings.kind.as_str(), target.1);
            held.insert(target.clone(), ask::<Vec<sandbox::RecordView>>(&self.http, base, &path).await?);
            let client = connect::Client::http(destination.settings.clone()).map_err(|error| Refused::because(error.to_string()))?;
            clients.insert(target.0.clone(), client);
        }
        let equal = |target: &Target, field: &str, one: &Value, other: &Value| {
            clients.get(&target.0).is_some_and(|client| client.connector().equal(field, one, other))
        };
        let routes = &self.installation.configuration.routes;
        let expected = Expected::of(&self.script, &self.voices, routes, &played.sent.accepted)?;
        let found = expected.compare(&ledger, &held, &equal);
        self.show("");
        Ok(found)
    }
}

/// The sandbox behind each destination.
///
/// # Errors
///
/// One of them is no sandbox: a rehearsal never writes to a real CRM.
async fn sandboxes(
    http: &reqwest::Client,
    installation: &Installation,
    targets: &BTreeSet<Target>,
) -> Result<BTreeMap<String, Url>, Refused> {
    let mut sandboxes = BTreeMap::new();
    for (name, _) in targets {
        let base_url = installation.configuration.destinations.get(name).map(|held| held.settings.base_url.clone()).unwrap_or_default();
        let mut base = Url::parse(&base_url).map_err(|error| Refused::because(format!("`{base_url}`: {error}")))?;
        base.set_path("/");
        if let Err(error) = ask::<sandbox::Stats>(http, &base, "_sandbox/stats").await {
            return Err(Refused::because(format!(
                "the destination `{name}` ({base_url}) is no sandbox, and a rehearsal never writes to anything else: {error}; point `base_url` to an `onceward sandbox`"
            )));
        }
        sandboxes.insert(name.clone(), base);
    }
    Ok(sandboxes)
}

async fn ask<T: DeserializeOwned>(http: &reqwest::Client, base: &Url, path: &str) -> Result<T, Refused> {
    exchange(http, Method::GET, base, path, None).await
}

async fn exchange<T: DeserializeOwned>(
    http: &reqwest::Client,
    method: Method,
    base: &Url,
    path: &str,
    body: Option<&Value>,
) -> Result<T, Refused> {
    let url = base.join(path).map_err(|error| Refused::because(error.to_string()))?;
    let mut request = http.request(method, url).timeout(Duration::from_secs(30));
    if let Some(body) = body {
        request = request.json(body);
    }
    let silent = |error: reqwest::Error| Refused::because(format!("{base} does not answer: {}", innermost(&error)));
    let mut response = request.send().await.map_err(silent)?;
    let status = response.status();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(silent)? {
        if bytes.len() + chunk.len() > SANDBOX_BYTES_MAX {
            return Err(Refused::because(format!("{base} holds too many records: empty it, or rehearse with fewer")));
        }
        bytes.extend_from_slice(&chunk);
    }
    let answer = if status.is_success() { serde_json::from_slice(&bytes).ok() } else { None };
    answer.ok_or_else(|| Refused::because(format!("{base}{path} answers {status} and not as a sandbox would")))
}

/// How it went.
struct Report<'a> {
    asked: &'a Rehearse,
    stage: &'a Stage,
    played: &'a Played,
    found: &'a Found,
    floor: Option<Floor>,
}

const SHARES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

#[expect(clippy::cast_precision_loss, reason = "counts and microseconds, shown with a few digits")]
impl Report<'_> {
    fn accepted(&self) -> usize {
        self.played.sent.latencies.len()
    }

    fn rate(&self) -> f64 {
        self.accepted() as f64 / self.played.sent.took.as_secs_f64().max(1e-9)
    }

    fn events_per_call(&self) -> f64 {
        self.found.events as f64 / self.played.calls.max(1) as f64
    }

    /// CPU of something while webhooks came in, in microseconds each.
    fn per_webhook(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / self.accepted().max(1) as f64
    }

    fn json(&self) -> Value {
        let Self { asked, stage, played, found, floor } = self;
        let millis = |sorted: &[u64]| {
            SHARES
                .iter()
                .map(|(name, share)| ((*name).to_owned(), json!(percentile(sorted, *share) as f64 / 1e3)))
                .collect::<serde_json::Map<_, _>>()
        };
        let mut report = json!({
            "sources": asked.source, "seed": stage.seed, "connections": asked.connections, "webhooks": stage.script.sends.len(),
            "distinct": stage.script.events, "people": stage.script.people(),
            "accepted": self.accepted(), "seconds": played.sent.took.as_secs_f64(), "accepted_per_second": self.rate(),
            "resent": played.sent.resent, "refused": played.sent.refused,
            "accept_ms": millis(&played.sent.latencies), "end_to_end_ms": millis(&found.durations),
            "all_ended_seconds": played.all_ended.as_secs_f64(),
            "crm_calls": played.calls, "events_per_call": self.events_per_call(),
            "duplicates": self.accepted().saturating_sub(found.events), "events": found.events, "records": found.records,
            "ended": found.ended, "dead_letters": found.dead_letters,
            "lost": found.lost, "doubled": found.doubled, "wrong_fields": found.wrong_fields, "examples": found.examples,
        });
        if let Some(server) = &played.server {
            report["server"] = json!({
                "cpu_us_per_webhook": self.per_webhook(server.cpu), "cpu_us_per_webhook_until_ended": self.per_webhook(server.cpu_all),
                "resident_max_bytes": server.resident_max,
            });
        }
        if let Some(cpu) = played.own_cpu {
            report["sender_cpu_us_per_webhook"] = json!(self.per_webhook(cpu));
        }
        if let Some(floor) = floor {
            report["floor"] = json!({ "requests": floor.requests, "batch": floor::BATCH, "per_second": floor.rate, "ratio": self.rate() / floor.rate.max(1e-9) });
        }
        report
    }

    fn text(&self) -> String {
        let Self { asked, stage, played, found, floor } = self;
        let millis = |sorted: &[u64]| {
            SHARES
                .iter()
                .map(|(name, share)| format!("{name} {:.1} ms", percentile(sorted, *share) as f64 / 1e3))
                .collect::<Vec<_>>()
                .join("   ")
        };
        let counts =
            |counts: &BTreeMap<String, usize>| counts.iter().map(|(word, count)| format!("{word} {count}")).collect::<Vec<_>>().join(", ");
        let refused: u32 = played.sent.refused.values().sum();
        let mut lines = vec![
            format!(
                "{} webhooks from {}, {} people, seed {}",
                stage.script.sends.len(),
                plain(&asked.source.join(" and ")),
                stage.script.people(),
                stage.seed
            ),
            format!(
                "  accepted     {} in {:.2} s, {:.0}/s; {} resent, {refused} refused",
                self.accepted(),
                played.sent.took.as_secs_f64(),
                self.rate(),
                played.sent.resent
            ),
            format!("  accept       {}", millis(&played.sent.latencies)),
            format!("  end to end   {}", millis(&found.durations)),
            format!("  all ended    after {:.2} s: {}", played.all_ended.as_secs_f64(), counts(&found.ended)),
            format!("  CRM          {} calls, {:.1} events a call, {} records", played.calls, self.events_per_call(), found.records),
            format!("  duplicates   {}", self.accepted().saturating_sub(found.events)),
        ];
        if !found.dead_letters.is_empty() {
            lines.push(format!("  dead letters {}", counts(&found.dead_letters)));
        }
        if refused > 0 {
            let by_status = played.sent.refused.iter().map(|(status, count)| match status {
                0 => format!("nobody answered: {count}"),
                status => format!("{status}: {count}"),
            });
            lines.push(format!("  refused      {}", by_status.collect::<Vec<_>>().join(", ")));
        }
        if let Some(server) = &played.server {
            lines.push(format!(
                "  server       {:.0} µs CPU a webhook while they came in, {:.0} µs until all had ended; {:.1} MB resident at most",
                self.per_webhook(server.cpu),
                self.per_webhook(server.cpu_all),
                server.resident_max as f64 / 1e6
            ));
        }
        if let Some(cpu) = played.own_cpu {
            lines.push(format!("  sender       {:.0} µs CPU a webhook, composing included", self.per_webhook(cpu)));
        }
        if let Some(floor) = floor {
            lines.push(format!(
                "  floor        {:.0}/s: the same rows of {} webhooks straight into a fresh database, {} to a transaction; accepted/floor = {:.0} %",
                floor.rate,
                floor.requests,
                floor::BATCH,
                100.0 * self.rate() / floor.rate.max(1e-9)
            ));
        }
        lines.push(format!("  lost {}, doubled {}, wrong fields {}", found.lost, found.doubled, found.wrong_fields));
        lines.extend(found.examples.iter().map(|example| format!("    {}", plain(example))));
        lines.join("\n")
    }
}
