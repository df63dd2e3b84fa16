use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::Process;

/// Where distributions keep RabbitMQ's own scripts. Those on the PATH insist on the user of the system's broker.
const FOLDERS: [&str; 4] = ["/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"];

const MISSING: &str = "there is no RabbitMQ here to start a private broker with. Install it (Debian and Ubuntu: `apt-get install rabbitmq-server`; \
     no service of it needs to run), or run `tests/run`, which does. A broker that runs elsewhere, named by ONCEWARD_TEST_AMQP_URL, \
     serves the tests that do not have to kill it";

/// A private RabbitMQ on free ports and in a folder of its own, to be killed, frozen and starved.
pub struct Broker {
    server: Option<Process>,
    // After the server, which it outlives.
    names: Names,
    scripts: PathBuf,
    folder: TempDir,
    port: u16,
    distribution: u16,
}

/// The Erlang name server of this broker alone.
struct Names {
    child: Child,
    port: u16,
}

impl Drop for Names {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Names {
    fn start(log: &Path) -> Self {
        let port = free_port();
        let log = fs::File::create(log).unwrap();
        let mut command = Command::new("epmd");
        command
            .args(["-port", &port.to_string(), "-address", "127.0.0.1"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("epmd cannot be started ({error}): {MISSING}"));
        let names = Self { child, port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "epmd does not listen on {port}");
            std::thread::yield_now();
        }
        names
    }
}

impl Broker {
    /// Starts one, which takes some seconds.
    ///
    /// # Panics
    ///
    /// RabbitMQ is not installed; the text says how to.
    pub fn start() -> Self {
        let scripts = FOLDERS.map(PathBuf::from).into_iter().find(|folder| folder.join("rabbitmq-server").is_file());
        let scripts = scripts.unwrap_or_else(|| panic!("{MISSING}"));
        let folder = tempfile::Builder::new().prefix("onceward-rabbit-").tempdir().unwrap();
        fs::write(folder.path().join("rabbitmq.conf"), "raft.wal_max_size_bytes = 32000000\ndisk_free_limit.absolute = 1MB\n").unwrap();
        // How often channels look for deliveries that are held for too long, and queues count what they hold: a minute and 5 s, else.
        fs::write(folder.path().join("advanced.config"), "[{rabbit, [{channel_tick_interval, 500}, {quorum_tick_interval, 500}]}].\n")
            .unwrap();
        let names = Names::start(&folder.path().join("epmd.log"));
        let mut broker = Self { server: None, names, scripts, folder, port: free_port(), distribution: free_port() };
        broker.restart();
        broker
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Ends it as a power cut would.
    pub fn kill9(&mut self) {
        self.server.take().unwrap().kill9();
    }

    /// Starts it again, with what it had on disk.
    pub fn restart(&mut self) {
        let mut command = self.command("rabbitmq-server");
        // With it set the script becomes the broker, instead of waiting for it: signals reach whom they are for.
        command.env("NOTIFY_SOCKET", self.folder.path().join("nobody"));
        let log = self.folder.path().join("server.log");
        let (server, ()) = Process::start(command, &log, |line| line.contains("completed with").then_some(()));
        self.server = Some(server);
    }

    /// Stops it without ending it: connections stay open and nobody answers.
    pub fn freeze(&self) {
        self.server.as_ref().unwrap().signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.server.as_ref().unwrap().signal("CONT");
    }

    /// Raises the memory alarm, or ends it.
    pub async fn alarm(&self, on: bool) {
        self.ctl(&["set_vm_memory_high_watermark", if on { "0.0000001" } else { "0.6" }]).await;
    }

    /// Asks `rabbitmqctl` for something, and gives what it said.
    ///
    /// # Panics
    ///
    /// It refused.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        self.ask(arguments).await.unwrap_or_else(|said| panic!("rabbitmqctl {}: {said}", arguments.join(" ")))
    }

    /// How many wait in a queue, are in consumers' hands, and how many consumers there are. `None`: there is no such queue, or the broker
    /// is too busy to tell.
    pub async fn queue(&self, name: &str) -> Option<[u64; 3]> {
        let columns = ["list_queues", "--no-table-headers", "name", "messages_ready", "messages_unacknowledged", "consumers"];
        let listed = self.ask(&columns).await.inspect_err(|said| println!("the broker did not list its queues: {said}")).ok()?;
        let found = listed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'))?;
        let mut numbers = found.split('\t').map(|number| number.trim().parse().unwrap_or_default());
        Some([(); 3].map(|()| numbers.next().unwrap_or_default()))
    }

    /// As [`Broker::ctl`], from a broker that may be busy, or not there.
    pub async fn try_ctl(&self, arguments: &[&str]) -> Result<String, String> {
        self.ask(arguments).await
    }

    async fn ask(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.command("rabbitmqctl");
        command.arg("--quiet").args(arguments).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(said) } else { Err(said + &String::from_utf8_lossy(&output.stderr)) }
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(self.scripts.join(script));
        let folder = self.folder.path();
        for (name, file) in [
            ("HOME", ""),
            ("RABBITMQ_MNESIA_BASE", "mnesia"),
            ("RABBITMQ_LOG_BASE", "log"),
            ("RABBITMQ_CONF_ENV_FILE", "none"),
            ("RABBITMQ_CONFIG_FILE", "rabbitmq.conf"),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", "advanced.config"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "plugins"),
            ("RABBITMQ_GENERATED_CONFIG_DIR", "generated"),
            ("RABBITMQ_PID_FILE", "pid"),
            // Else it falls where the tests were started.
            ("ERL_CRASH_DUMP", "erl_crash.dump"),
        ] {
            command.env(name, folder.join(file));
        }
        command
            .env("LC_ALL", "C.UTF-8")
            .env("ERL_EPMD_PORT", self.names.port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", "onceward@localhost")
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution.to_string());
        command
    }
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
