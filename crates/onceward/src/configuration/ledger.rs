//! Where the ledger and the queue are.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::compile::{Compiler, key};
use super::problem::Finding;
use super::section;

/// Where the ledger is. Shows itself without a password.
#[derive(Clone, PartialEq, Eq)]
pub enum Ledger {
    /// An SQLite file, which one process has to itself.
    File(PathBuf),
    /// A PostgreSQL database, which a fleet shares.
    Server(Server),
}

/// A PostgreSQL database.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// With its password.
    url: String,
    /// `ann@db.example:5432/onceward`
    shown: String,
    /// How it is used.
    pub options: store::Options,
}

/// Where wakeups go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Inside the process.
    Embedded,
    /// To a broker that a fleet shares.
    Rabbit(queue::Address),
}

impl Ledger {
    /// As the ledger takes it. Never to be shown.
    pub fn url(&self) -> String {
        match self {
            Self::File(path) => format!("sqlite:{}", path.display()),
            Self::Server(server) => server.url.clone(),
        }
    }

    /// How it is to be used.
    pub fn options(&self) -> store::Options {
        match self {
            Self::File(_) => store::Options::default(),
            Self::Server(server) => server.options,
        }
    }

    /// The file, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Server(_) => None,
        }
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(server) => write!(f, "postgres://{}", server.shown),
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Serialize for Ledger {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded:"),
            Self::Rabbit(address) => address.fmt(f),
        }
    }
}

const LEDGERS: &str = "`sqlite:` and a path, such as `sqlite:onceward-data/onceward.db`, or `postgres://user:password@host/database`";

pub fn ledger(to: &mut Compiler<'_>) -> Option<Ledger> {
    let section = to.section::<section::Ledger>("ledger")?;
    let options = store::Options { pgbouncer: section.pgbouncer, allow_unsafe: section.allow_unsafe };
    let read = section.url.resolve(to.environment).and_then(|url| match url.strip_prefix("sqlite:") {
        Some(path) => file(path).map(Ledger::File),
        None => server(url, options).map(Ledger::Server),
    });
    match read {
        Ok(Ledger::File(_)) if options != store::Options::default() => {
            let finding =
                Finding::new("`pgbouncer` or `allow_unsafe` for an SQLite file", "neither", "they are for PostgreSQL: leave them out");
            to.wrong(&[key("ledger")], finding);
            None
        }
        Ok(ledger) => Some(ledger),
        Err(finding) => {
            to.wrong(&[key("ledger"), key("url")], finding);
            None
        }
    }
}

fn file(path: &str) -> Result<PathBuf, Finding> {
    match path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path) {
        "" => Err(Finding::new("no path after `sqlite:`", LEDGERS, "add the path of a file; it is created if it is not there")),
        ":memory:" => Err(Finding::new("a ledger in memory", LEDGERS, "a ledger must survive the process: name a file")),
        path if path.contains('?') => {
            Err(Finding::new("options after `?`", LEDGERS, "leave the options out: they are chosen so that nothing is lost"))
        }
        path => writable(Path::new(path)).map(|()| PathBuf::from(path)),
    }
}

/// Whether a file could be written there, found out without leaving anything behind.
fn writable(path: &Path) -> Result<(), Finding> {
    let remedy = "name a file in a folder that the user who runs this may write to, on a disk of this machine";
    let wrong = |found: String| Finding::new(found, "a file that can be written, or created", remedy);
    if path.is_dir() {
        return Err(wrong(format!("`{}` is a folder", path.display())));
    }
    if path.exists() {
        let opened = std::fs::OpenOptions::new().append(true).open(path);
        return opened.map(drop).map_err(|error| wrong(format!("`{}` cannot be written: {error}", path.display())));
    }
    let folders = path.ancestors().skip(1).map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    let folder = folders.into_iter().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let probe = tempfile::Builder::new().prefix(".onceward-check-").tempfile_in(folder);
    probe.map(drop).map_err(|error| wrong(format!("nothing can be created in `{}`: {}", folder.display(), error.kind())))
}

/// What is wrong is said without the URL, because there may be a password in it.
fn server(url: String, options: store::Options) -> Result<Server, Finding> {
    let remedy = "write it like `postgres://user:password@host:5432/database`, with signs like @ or / in the password as %40 or %2F; \
                  better still, name a variable or file that holds it: `url = { env = \"ONCEWARD_LEDGER_URL\" }`";
    let scheme = url.split(':').next().unwrap_or_default();
    if !matches!(scheme, "postgres" | "postgresql") {
        return Err(Finding::new(format!("a URL that begins with `{scheme}:`"), LEDGERS, remedy));
    }
    let parsed = reqwest::Url::parse(&url).map_err(|_| Finding::new("something that is no such URL", LEDGERS, remedy))?;
    let database = parsed.path().trim_start_matches('/');
    if database.is_empty() {
        return Err(Finding::new("no database in the URL", LEDGERS, remedy));
    }
    let host = match (parsed.host_str().filter(|host| !host.is_empty()), parsed.query_pairs().find(|(name, _)| name == "host")) {
        (Some(host), _) => host.to_owned(),
        (None, Some((_, folder))) => folder.into_owned(),
        (None, None) => return Err(Finding::new("no host in the URL", LEDGERS, remedy)),
    };
    let user = Some(parsed.username()).filter(|user| !user.is_empty()).map(|user| format!("{user}@")).unwrap_or_default();
    let shown = format!("{user}{host}:{}/{database}", parsed.port().unwrap_or(5432));
    Ok(Server { url, shown, options })
}

pub fn queue(to: &mut Compiler<'_>) -> Option<Queue> {
    let section = to.section::<section::Queue>("queue")?;
    let expected = "`embedded:`, or `amqp://user:password@host:5672/vhost`";
    let remedy = "leave the key out for the queue inside the process, which is for `onceward` alone; a fleet shares a RabbitMQ";
    let read = section.url.resolve(to.environment).and_then(|url| match url.as_str() {
        "embedded:" => Ok(Queue::Embedded),
        url if url.starts_with("amqp") => {
            url.parse().map(Queue::Rabbit).map_err(|error: queue::BadAddress| Finding::new("no such address", expected, error.to_string()))
        }
        url => {
            let scheme = url.split(':').next().unwrap_or_default();
            Err(Finding::new(format!("a URL that begins with `{scheme}:`"), expected, remedy))
        }
    });
    read.map_err(|finding| to.wrong(&[key("queue"), key("url")], finding)).ok()
}
