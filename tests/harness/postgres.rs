use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::process::Process;

/// Names a server on which the tests may make databases; without it, they start one.
pub const POSTGRES_URL: &str = "ONCEWARD_TEST_POSTGRES_URL";

/// The oldest and the newest version whose programs are looked for where Debian keeps them.
const VERSIONS: std::ops::RangeInclusive<u32> = 14..=30;

const MISSING: &str = "there is no PostgreSQL here to start a private server with. Install it (Debian and Ubuntu: `apt-get install postgresql`; no service \
     of it needs to run), or run `tests/run`, which does, or name a server in ONCEWARD_TEST_POSTGRES_URL";

/// A private PostgreSQL on a free port and in a folder of its own, to be killed and restarted.
pub struct Postgres {
    server: Option<Process>,
    folder: TempDir,
    programs: PathBuf,
    port: u16,
}

impl Postgres {
    /// Makes and starts one, which takes a second or two.
    ///
    /// # Panics
    ///
    /// PostgreSQL is not installed; the text says how to.
    pub fn start() -> Self {
        let programs = programs().unwrap_or_else(|| panic!("{MISSING}"));
        let folder = tempfile::Builder::new().prefix("onceward-postgres-").tempdir().unwrap();
        if let Some((user, group)) = stranger() {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let mut server = Self { server: None, folder, programs, port: free_port() };
        let mut made = server.command("initdb");
        made.args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "-D"]).arg(server.data());
        said(made.output().unwrap(), "initdb");
        server.restart();
        server
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where it listens.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Ends it as a power cut would, with everything that it started.
    pub fn kill9(&mut self) {
        self.signal("KILL");
        self.server.take().unwrap().kill9();
    }

    /// Stops all of it without ending it: connections stay open and nobody answers.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// To the server and to everything that it started, each of which leads a group of its own.
    fn signal(&self, name: &str) {
        let server = self.server.as_ref().unwrap().id();
        let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap();
        let mut command = Command::new("kill");
        command.arg(format!("-{name}")).arg(server.to_string()).args(children.split_whitespace());
        // One of the children may have ended meanwhile.
        let told = command.stderr(std::process::Stdio::null()).status().unwrap();
        assert!(told.success() || !children.is_empty(), "{name} did not reach the server {server}");
    }

    /// Starts it again, with what it had on disk.
    pub fn restart(&mut self) {
        let settings = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=200",
            "shared_buffers=64MB",
            "logging_collector=off",
            "log_min_messages=warning",
        ];
        // Its words go where a process says that it is ready.
        let mut command = self.command("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(self.programs.join("postgres")).arg("-D").arg(self.data());
        command.args(["-p", &self.port.to_string()]).args(settings.iter().flat_map(|setting| ["-c", setting])).process_group(0);
        let log = self.folder.path().join("server.log");
        let (server, ()) = Process::start(command, &log, |line| line.contains("ready to accept connections").then_some(()));
        self.server = Some(server);
    }

    /// A program of PostgreSQL, or another one, as the user that it agrees to run as: never root.
    fn command(&self, program: &str) -> Command {
        let own = self.programs.join(program);
        let mut command = Command::new(if own.is_file() { own } else { PathBuf::from(program) });
        if let Some((user, group)) = stranger() {
            command.uid(user).gid(group);
        }
        command.env("LC_ALL", "C.UTF-8").current_dir(self.folder.path());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.kill9();
        }
    }
}

/// A fresh, empty database on the server that the environment names, or on a private one, which lives as long as what is returned beside.
///
/// # Panics
///
/// There is no server, and none can be started.
pub fn database() -> (String, Option<Postgres>) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("onceward_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let (server, url) = match std::env::var(POSTGRES_URL) {
        Ok(url) => (None, url),
        Err(_) => {
            let server = Postgres::start();
            let url = server.url("postgres");
            (Some(server), url)
        }
    };
    let psql = programs().map_or_else(|| PathBuf::from("psql"), |programs| programs.join("psql"));
    let statement = format!("drop database if exists {name}; create database {name}");
    let separate: Vec<&str> = statement.split("; ").flat_map(|statement| ["-c", statement]).collect();
    let made = Command::new(psql).args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]).args(separate).arg(&url).output();
    said(made.unwrap_or_else(|error| panic!("psql cannot be started ({error}): {MISSING}")), "create database");
    let (head, _) = url.rsplit_once('/').unwrap_or((&url, ""));
    (format!("{head}/{name}"), server)
}

fn said(output: Output, what: &str) {
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {words}");
}

fn programs() -> Option<PathBuf> {
    let debian = VERSIONS.rev().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).collect::<Vec<_>>();
    debian.chain(on_path).find(|folder| folder.join("postgres").is_file() && folder.join("initdb").is_file())
}

/// Whom to run as if we are root: the user that the package made.
fn stranger() -> Option<(u32, u32)> {
    let ours = std::fs::metadata("/proc/self").ok()?;
    if std::os::unix::fs::MetadataExt::uid(&ours) != 0 {
        return None;
    }
    let users = std::fs::read_to_string(Path::new("/etc/passwd")).ok()?;
    let line = ["postgres:", "nobody:"].iter().find_map(|user| users.lines().find(|line| line.starts_with(user)))?;
    let mut parts = line.split(':').skip(2);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
