//! A process that serves: everything in one, or one role of a fleet.

mod announce;
mod join;
pub mod listeners;
mod parts;
mod signals;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use console::Token;
use model::Received;
use model::seal::{KEY_BYTES, SealingKey, SealingKeys};
use model::source::{Source, SourceDef};

use crate::command::{Context, Refused, ledger, map};
use crate::configuration::{Configuration, Ledger, Queue};
use crate::installation::{self, Installation, Running, url};
use crate::{clock, demo, telemetry};

use listeners::{bind, local};
use parts::Parts;
pub use signals::Signals;

/// From the request to stop to the end of the process.
const STOP_WITHIN: Duration = Duration::from_secs(9);

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// All of it: `onceward`.
    Everything,
    /// Takes webhooks in and shows the console: `onceward-ingest`.
    Ingest,
    /// Delivers: `onceward-worker`.
    Worker,
}

/// Where it is told to listen, instead of what the configuration says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// For vendors.
    pub public: Option<SocketAddr>,
    /// For operators.
    pub admin: Option<SocketAddr>,
}

impl Role {
    /// The executable's name, which is also how the others know the process.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Everything => "onceward",
            Self::Ingest => "onceward-ingest",
            Self::Worker => "onceward-worker",
        }
    }

    /// Whether it takes webhooks in and shows the console.
    const fn takes_in(self) -> bool {
        matches!(self, Self::Everything | Self::Ingest)
    }

    /// Whether it delivers.
    const fn delivers(self) -> bool {
        matches!(self, Self::Everything | Self::Worker)
    }

    /// Refuses what the role cannot work with.
    fn suits(self, configuration: &Configuration, file: &Path) -> Result<(), Refused> {
        if self == Self::Everything {
            return Ok(());
        }
        let (program, shown) = (self.program(), file.display());
        let wrong = |key: &str, found: String, remedy: &str| {
            Err(Refused::because(format!(
                "{shown}: `{key}` is {found}, which only the processes of one `onceward` share. {program} is one of many: {remedy}, or run `onceward`, which does everything in one process"
            )))
        };
        if let Ledger::File(path) = &configuration.ledger {
            return wrong("ledger.url", format!("the SQLite file `{}`", path.display()), "write the URL of a PostgreSQL, `postgres://…`");
        }
        if configuration.queue == Queue::Embedded {
            return wrong("queue.url", "`embedded:`".to_owned(), "write the address of a RabbitMQ, `amqp://…`");
        }
        Ok(())
    }
}

/// Runs a process until it is told to stop.
///
/// # Errors
///
/// What keeps it from starting, or the part of it that ended by itself.
pub async fn run(context: &Context, role: Role, asked: Asked) -> Result<(), Refused> {
    let mut signals = Signals::listen()?;
    let metrics = telemetry::metrics().map_err(Refused::because)?;
    let (installation, sandbox) = prepare(context, role).await?;
    let configuration = &installation.configuration;
    let store = ledger::open(configuration).await?;
    let public = match role.takes_in() {
        true => Some(bind("public", asked.public.unwrap_or(configuration.listen.public)).await?),
        false => None,
    };
    let admin = bind("admin", asked.admin.unwrap_or_else(|| admin_of(role, configuration))).await?;
    let running = Running {
        public: public.as_ref().map(local).transpose()?.map(url),
        admin: url(local(&admin)?),
        sandbox: sandbox.as_ref().map(|sandbox| url(sandbox.address())),
    };
    let (tokens, token) = if role.takes_in() { tokens(&installation)? } else { (Vec::new(), None) };
    let mut started = Parts { role, store, metrics, tokens }.start(configuration, public, admin).await?;
    if role.takes_in() {
        running.write(&installation.data).map_err(|error| cannot_write(&installation.data, &error))?;
        tokio::task::spawn_blocking(warm);
    }
    announce::announce(context, role, &installation, &running, token.as_deref());

    let ended = tokio::select! {
        () = signals.next() => None,
        ended = started.ended() => Some(ended),
    };
    tracing::info!(because = ended.as_deref().unwrap_or("a signal"), "stopping");
    let stopped = tokio::select! {
        stopped = tokio::time::timeout(STOP_WITHIN, started.stop()) => stopped.is_ok(),
        () = signals.next() => false,
    };
    if role.takes_in() {
        running.forget(&installation.data);
    }
    // The worker has ended, so nobody is waiting for the sandbox any more.
    drop(sandbox);
    match (ended, stopped) {
        (None, true) => {
            tracing::info!("stopped");
            Ok(())
        }
        (None, false) => {
            tracing::warn!("stopped before everything had ended; nothing that was accepted is lost");
            Ok(())
        }
        (Some(because), _) => Err(Refused::because(because)),
    }
}

/// The configuration; in a demo, with its sandbox running.
async fn prepare(context: &Context, role: Role) -> Result<(Installation, Option<sandbox::Sandbox>), Refused> {
    if let Some(path) = installation::file(context) {
        let installation = Installation::of_file(&path, context)?;
        role.suits(&installation.configuration, &path)?;
        return Ok((installation, None));
    }
    if role != Role::Everything {
        let program = role.program();
        return Err(Refused::because(format!(
            "there is no onceward.toml here: name the fleet's configuration with `--config` or ONCEWARD_CONFIG (`deploy/fleet.toml` is one to start from); {program} has no demo, `onceward` has"
        )));
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

/// A worker shows operators nothing but metrics and health: unless it is told where, any port will do.
fn admin_of(role: Role, configuration: &Configuration) -> SocketAddr {
    match (role, configuration.listen.admin) {
        (Role::Worker, None) => SocketAddr::from(([127, 0, 0, 1], 0)),
        (Role::Worker, Some(told)) => told,
        (Role::Everything | Role::Ingest, _) => configuration.listen.admin(),
    }
}

/// Who may come in, and the token to show if it was generated.
fn tokens(installation: &Installation) -> Result<(Vec<Token>, Option<String>), Refused> {
    let configured = &installation.configuration.tokens;
    if !configured.is_empty() {
        return Ok((configured.iter().map(|token| Token::new(&token.name, token.role, &token.token)).collect(), None));
    }
    let token = installation.generated_token().map_err(|error| cannot_write(&installation.data, &error))?;
    Ok((vec![Token::new("admin", console::Role::Admin, &token)], Some(token)))
}

fn cannot_write(folder: &Path, error: &io::Error) -> Refused {
    Refused::because(format!("the data folder `{}` cannot be written: {error}; name another with `--data`", folder.display()))
}

/// Reads a sample once. The tables behind phone numbers take a fifth of a second to build, which no webhook should wait for.
fn warm() {
    let def = SourceDef { preset: Some("standard-webhooks".to_owned()), ..SourceDef::default() };
    if let (Ok(source), Some(sample)) = (Source::compile("warm", &def), model::preset::sample("standard-webhooks")) {
        let request = Received { method: "POST", target: "/webhooks/warm", headers: &[], body: sample.body };
        let hash_key = SealingKey::new(&[0; KEY_BYTES]);
        if let Ok(keys) = SealingKeys::new(vec![hash_key]) {
            map::read(&source, &request, &[], &keys.hash_key("identity"), clock::now());
        }
    }
}
