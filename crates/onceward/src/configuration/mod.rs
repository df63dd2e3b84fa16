//! The configuration: read, checked as a whole, and compiled into what the rest needs.
//!
//! Nothing here stops at the first mistake. What is compiled is certain: whoever holds a [`Configuration`] checks nothing again.

pub mod problem;

mod compile;
mod destination;
mod fetch;
mod ledger;
mod read;
mod route;
mod secret;
mod section;
mod tree;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use console::Role;
use model::destination::Policy;
use model::route::{Objects, RouteDef, Routes};
use model::seal::{HashKey, SealingKeys};
use model::signature::{Network, Verifier};
use model::source::Source;
use serde::Serialize;

pub use ledger::{Ledger, Queue};
use problem::{Finding, Place, Problem, Problems};

/// Most bytes of a configuration.
const BYTES_MAX: u64 = 1 << 20;

/// Everything that was configured, certain to fit together.
#[derive(Debug)]
pub struct Configuration {
    /// Where the ledger is.
    pub ledger: Ledger,
    /// Where wakeups go.
    pub queue: Queue,
    /// Where the processes listen.
    pub listen: Listen,
    /// What raw requests are sealed with.
    pub keys: SealingKeys,
    /// How long things are kept.
    pub retention: Retention,
    /// What the public listener bears.
    pub limits: ingest::Limits,
    /// Who may use the admin listener. Empty: one token is generated at the first start.
    pub tokens: Vec<AdminToken>,
    /// By name.
    pub sources: BTreeMap<String, SourceOf>,
    /// By name.
    pub destinations: BTreeMap<String, Destination>,
    /// Which events go where.
    pub routes: Arc<Routes>,
    /// The routes as written, in the order of the file.
    pub routed: Vec<RouteDef>,
    /// What is not wrong and perhaps not meant.
    pub warnings: Vec<Warning>,
}

impl Configuration {
    /// What identities are hashed with. Every process of an installation must agree on it.
    pub fn hash_key(&self) -> HashKey {
        self.keys.hash_key("identity")
    }

    /// Everybody who is asked for something: destinations, and sources whose vendors give objects or lists, as `source:NAME`.
    pub fn asked(&self) -> Vec<String> {
        let sources = self.sources.iter().filter(|(_, held)| held.fetch.is_some()).map(|(name, _)| model::fetch::destination(name));
        self.destinations.keys().cloned().chain(sources).collect()
    }

    /// From which trust on an event may change identifiers, by destination.
    pub fn identifier_trust(&self) -> BTreeMap<String, u8> {
        self.destinations.iter().map(|(name, held)| (name.clone(), held.policy.identifier_trust)).collect()
    }
}

/// Where the processes listen.
#[derive(Clone, Debug)]
pub struct Listen {
    /// For vendors.
    pub public: SocketAddr,
    /// For operators, where it is said.
    pub admin: Option<SocketAddr>,
    /// How vendors spell our address, for those that sign it. Without a slash at its end.
    pub public_url: Option<String>,
    /// Proxies whose word on where a request came from is believed.
    pub trusted_proxies: Vec<Network>,
}

impl Listen {
    /// For operators.
    pub fn admin(&self) -> SocketAddr {
        self.admin.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8081)))
    }
}

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Sealed requests.
    pub raw_events: Duration,
    /// Normalized events.
    pub payloads: Duration,
    /// Idempotency keys.
    pub keys: Duration,
}

/// One entry of `admin.tokens`.
#[derive(Clone)]
pub struct AdminToken {
    /// Who it is, in the audit trail.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The token itself.
    pub token: String,
}

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AdminToken({} is {})", self.name, self.role.as_str())
    }
}

/// A source and what its requests are checked and signed with.
#[derive(Clone)]
pub struct SourceOf {
    /// Its mapping.
    pub source: Arc<Source>,
    /// Its signature scheme and secrets.
    pub verifier: Verifier,
    /// How its vendor is asked for objects and lists, where it can be.
    pub fetch: Option<FetchOf>,
    /// How often the vendor's lists are looked through for what was not pushed.
    pub catch_up: Option<Duration>,
}

/// A source's vendor: whose API it is, and how it is treated.
#[derive(Clone, Debug)]
pub struct FetchOf {
    /// Whose API it is.
    pub kind: connect::vendor::Kind,
    /// For its client.
    pub settings: connect::vendor::Settings,
    /// Quota, timeout, schedule, breaker.
    pub policy: Policy,
}

impl std::fmt::Debug for SourceOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SourceOf({})", self.source.name)
    }
}

/// A destination: where it is, how it is treated, what it holds.
#[derive(Debug)]
pub struct Destination {
    /// For its client.
    pub settings: connect::Settings,
    /// Quota, timeouts, schedule, breaker.
    pub policy: Policy,
    /// By the CRM's name.
    pub objects: Objects,
    /// How it is reconciled by itself; `None`: only when asked.
    pub reconcile: Option<worker::reconcile::Schedule>,
}

/// Not wrong, and perhaps not meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// `destinations.salesforce`
    pub key: String,
    /// What was noticed.
    pub message: String,
    /// What to do, if it was not meant.
    pub remedy: String,
}

/// The process's environment, as an argument.
pub type Environment = BTreeMap<String, String>;

/// What the process was started with. Variables that are not UTF-8 are left out.
pub fn environment() -> Environment {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// Reads and compiles a file.
///
/// # Errors
///
/// Every mistake in it, in the order of the file.
pub fn load(path: &Path, environment: &Environment) -> Result<Configuration, Vec<Problem>> {
    let name = path.display().to_string();
    match text(path) {
        Ok(text) => parse(&name, &text, environment),
        Err(finding) => {
            let mut problems = Problems::new(name);
            problems.add(&Place::Nowhere, "", finding);
            Err(problems.into_sorted())
        }
    }
}

/// Compiles a text. `name` says in problems where it is from.
///
/// # Errors
///
/// Every mistake in it, in its order.
pub fn parse(name: &str, text: &str, environment: &Environment) -> Result<Configuration, Vec<Problem>> {
    let mut problems = Problems::new(name);
    let mut table = tree::parse(text, &mut problems);
    tree::overlay(&mut table, environment, &mut problems);
    let compiled = compile::configuration(table, environment, &mut problems);
    match compiled {
        Some(configuration) if problems.is_empty() => Ok(configuration),
        _ => Err(problems.into_sorted()),
    }
}

fn text(path: &Path) -> Result<String, Finding> {
    use std::io::Read as _;
    let expected = "a configuration in TOML";
    let remedy = "name the file with `--config` or ONCEWARD_CONFIG; `deploy/onceward.toml` is one to start from";
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| Finding::new(format!("the file cannot be read: {error}"), expected, remedy))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Finding::new(format!("a file of more than {BYTES_MAX} bytes"), expected, remedy));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        Finding::new(format!("bytes in line {line} that are not UTF-8"), "UTF-8 text", "save the file as UTF-8")
    })
}
