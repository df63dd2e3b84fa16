//! The commands (DESIGN section 7), a file each.

mod check;
mod dead_letters;
mod destinations;
pub mod ledger;
pub mod map;
mod migrate;
mod reconcile;
mod rehearse;
mod replay;
mod sandbox;
pub mod send;
pub mod sources;
mod trace;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

use crate::configuration::problem::Problem;
use crate::configuration::{self, Environment};
use crate::process::{self, Role};
use crate::telemetry;

/// Every webhook onward to the CRM, once.
///
/// With no command, everything runs in this process; with no onceward.toml, it is a demo with a sandbox CRM.
#[derive(Parser)]
#[command(name = "onceward", version, args_conflicts_with_subcommands = false)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    up: up::Up,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What every command takes.
#[derive(Args)]
struct Common {
    /// The configuration. Default: onceward.toml in the working directory; without one, the demo.
    #[arg(long, global = true, value_name = "FILE", env = "ONCEWARD_CONFIG")]
    config: Option<PathBuf>,
    /// The folder for the demo's data; with a ledger on a server, for the generated admin token.
    #[arg(long, global = true, value_name = "DIR", env = "ONCEWARD_DATA", default_value = "onceward-data")]
    data: PathBuf,
    /// Answer in JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything in this process (the default).
    Up(up::Up),
    /// Find every problem of the configuration.
    Check,
    /// Bring the ledger to this version's layout.
    Migrate,
    /// Sign a payload as the vendor would, and post it.
    Send(send::Send),
    /// Show what a payload becomes: event, key, route, CRM fields, warnings. Writes nothing.
    Map(map::Map),
    /// Show everything that happened to X: any id, key, e-mail, phone, CRM id or correlation id.
    Trace(trace::Trace),
    /// List dead letters and decide about them.
    DeadLetters(dead_letters::DeadLetters),
    /// Send many dead letters through again.
    Replay(replay::Replay),
    /// Show presets and sources, make one, check what was refused again.
    Sources(sources::Sources),
    /// Show destinations; pause, resume, probe, check or set them up.
    Destinations(destinations::Destinations),
    /// Compare what we believe with what the CRM holds, field by field, and put it right.
    Reconcile(reconcile::Reconcile),
    /// Run a CRM that speaks the dialect of every kind of destination, with faults on request.
    Sandbox(sandbox::Sandbox),
    /// Send a burst of signed webhooks through the running pipeline into a sandbox, and compare what came of it.
    Rehearse(Box<rehearse::Rehearse>),
}

/// What every command is given.
pub struct Context {
    /// The configuration's file, where one was named.
    pub config: Option<PathBuf>,
    /// The folder for the demo's data; with a ledger on a server, for the generated admin token.
    pub data: PathBuf,
    /// Answer in JSON.
    pub json: bool,
    /// What the process was started with.
    pub environment: Environment,
}

impl Context {
    /// Says something on standard output: a line of JSON, or the text for people.
    pub fn say(&self, json: &Value, text: &str) {
        use std::io::Write as _;
        let mut out = std::io::stdout().lock();
        let line = if self.json { json.to_string() } else { text.trim_end_matches('\n').to_owned() };
        // Whoever reads may have left; there is nobody to tell.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A sentence that says what to do.
    #[error("{0}")]
    Because(String),
    /// The configuration has mistakes.
    #[error("the configuration has {} problem{}", .0.len(), if .0.len() == 1 { "" } else { "s" })]
    Configuration(Vec<Problem>),
    /// Arguments that do not go together.
    #[error("{0}")]
    Usage(String),
    /// What was to be said was said already.
    #[error("refused")]
    Told,
}

impl Refused {
    /// A sentence that says what to do.
    pub fn because(text: impl Into<String>) -> Self {
        Self::Because(text.into())
    }

    fn code(&self) -> ExitCode {
        match self {
            Self::Because(_) | Self::Configuration(_) | Self::Told => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
        }
    }
}

/// `onceward-ingest`: takes webhooks in, and shows the console.
#[derive(Parser)]
#[command(name = "onceward-ingest", version)]
struct IngestCli {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    up: up::Up,
}

/// `onceward-worker`: delivers.
#[derive(Parser)]
#[command(name = "onceward-worker", version)]
struct WorkerCli {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    admin: up::AdminListener,
}

impl Common {
    fn context(self) -> Context {
        Context { config: self.config, data: self.data, json: self.json, environment: configuration::environment() }
    }
}

/// Reads the command line and does what it says.
pub fn run() -> ExitCode {
    let Cli { common, up, command } = Cli::parse();
    let serves = matches!(command, None | Some(Command::Up(_) | Command::Sandbox(_)));
    let context = common.context();
    to_the_end(&context, Role::Everything.program(), serves, dispatch(&context, up, command))
}

/// Runs an ingest.
pub fn run_ingest() -> ExitCode {
    let IngestCli { common, up } = IngestCli::parse();
    let context = common.context();
    to_the_end(&context, Role::Ingest.program(), true, process::run(&context, Role::Ingest, up.asked()))
}

/// Runs a worker.
pub fn run_worker() -> ExitCode {
    let WorkerCli { common, admin } = WorkerCli::parse();
    let context = common.context();
    to_the_end(&context, Role::Worker.program(), true, process::run(&context, Role::Worker, admin.asked()))
}

fn to_the_end(context: &Context, program: &str, serves: bool, doing: impl Future<Output = Result<(), Refused>>) -> ExitCode {
    // Queue and ledger say themselves what became of their connections, and not at every attempt.
    telemetry::log(if serves { "info,lapin=off,sqlx=warn" } else { "warn" });
    let done = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let done = runtime.block_on(doing);
            // What is still running has had its time; a blocked read of standard input must not hold the process.
            runtime.shutdown_timeout(std::time::Duration::from_millis(500));
            done
        }
        Err(error) => Err(Refused::because(format!("threads cannot be started: {error}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(refused) => {
            tell(context, program, &refused);
            refused.code()
        }
    }
}

async fn dispatch(context: &Context, up: up::Up, command: Option<Command>) -> Result<(), Refused> {
    if command.is_some() && up.given() {
        return Err(Refused::Usage(
            "`--public` and `--admin` before a command belong to `onceward up`; write them after the command".to_owned(),
        ));
    }
    match command {
        None => up::run(context, up).await,
        Some(Command::Up(up)) => up::run(context, up).await,
        Some(Command::Check) => check::run(context),
        Some(Command::Migrate) => migrate::run(context).await,
        Some(Command::Send(send)) => send::run(context, send).await,
        Some(Command::Map(map)) => map::run(context, map),
        Some(Command::Trace(trace)) => trace::run(context, trace).await,
        Some(Command::DeadLetters(dead_letters)) => dead_letters::run(context, dead_letters).await,
        Some(Command::Replay(replay)) => replay::run(context, replay).await,
        Some(Command::Sources(sources)) => sources::run(context, sources).await,
        Some(Command::Destinations(destinations)) => destinations::run(context, destinations).await,
        Some(Command::Reconcile(reconcile)) => reconcile::run(context, reconcile).await,
        Some(Command::Sandbox(sandbox)) => sandbox::run(context, sandbox).await,
        Some(Command::Rehearse(rehearse)) => rehearse::run(context, *rehearse).await,
    }
}

fn tell(context: &Context, program: &str, refused: &Refused) {
    let problems = match refused {
        Refused::Told => return,
        Refused::Configuration(problems) => problems.as_slice(),
        Refused::Because(_) | Refused::Usage(_) => &[],
    };
    if context.json {
        let mut answer = json!({ "error": refused.to_string() });
        if !problems.is_empty() {
            answer["problems"] = json!(problems);
        }
        context.say(&answer, "");
        return;
    }
    for problem in problems {
        eprintln!("{problem}\n");
    }
    eprintln!("{program}: {refused}");
}
