use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sandbox::{Options, Sandbox};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::process::{Process, ours};
use crate::setup::ENVIRONMENT;
use crate::{Admin, Broker, Crm, Postgres, Setup, client, now, until};

/// A fleet: ingests and workers as processes of their own, over a PostgreSQL and a RabbitMQ of their own, and the CRM that they write to.
pub struct Fleet {
    pub crm: Crm,
    pub http: reqwest::Client,
    pub ingests: Vec<Node>,
    pub workers: Vec<Node>,
    pub postgres: Postgres,
    pub broker: Broker,
    // After the processes that write to it.
    _sandbox: Sandbox,
    folder: TempDir,
}

/// One process of a fleet, which may be down.
pub struct Node {
    program: &'static str,
    name: String,
    folder: PathBuf,
    process: Option<Process>,
    /// What it said when it started.
    listening: Value,
}

impl Fleet {
    /// A migrated ledger, and so many ingests and workers that are ready.
    pub async fn start(setup: Setup, ingests: usize, workers: usize) -> Self {
        let mut fleet = Self::unmigrated(setup, ingests, workers).await;
        fleet.migrate().await;
        let mut nodes = Vec::new();
        nodes.append(&mut fleet.ingests);
        nodes.append(&mut fleet.workers);
        for node in &mut nodes {
            node.start();
        }
        fleet.workers = nodes.split_off(ingests);
        fleet.ingests = nodes;
        for node in fleet.ingests.iter().chain(&fleet.workers) {
            node.until_ready(&fleet.http).await;
        }
        fleet
    }

    /// Servers and configuration, with nothing running on them yet and nothing in the ledger.
    pub async fn unmigrated(setup: Setup, ingests: usize, workers: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let latency = Duration::from_millis(setup.latency_millis);
        let token_life = Duration::from_millis(setup.token_life_millis);
        let options = Options { latency, token_life, faults: setup.faults.parse().unwrap(), ..Options::default() };
        let sandbox = Sandbox::serve(listener, 1, options, now).unwrap();
        let crm = Crm { base: format!("http://{}", sandbox.address()), http: client() };
        let started = tokio::task::spawn_blocking(|| (Postgres::start(), Broker::start())).await;
        let (postgres, broker) = started.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let tokens = "[[admin.tokens]]\nname = \"tests\"\nrole = \"admin\"\ntoken = { env = \"OPERATOR_TOKEN\" }\n";
        let configuration = setup.configuration(&postgres.url("postgres"), &broker.url(), &crm.base) + tokens;
        // Each process is told its own by its arguments.
        let configuration = configuration.replace("admin  = \"127.0.0.1:1\"\n", "");
        std::fs::write(folder.path().join("fleet.toml"), configuration).unwrap();
        let node = |program: &'static str, number: usize| Node {
            program,
            name: format!("{program}-{number}"),
            folder: folder.path().to_owned(),
            process: None,
            listening: Value::Null,
        };
        Self {
            http: crm.http.clone(),
            crm,
            ingests: (0..ingests).map(|number| node("onceward-ingest", number)).collect(),
            workers: (0..workers).map(|number| node("onceward-worker", number)).collect(),
            postgres,
            broker,
            _sandbox: sandbox,
            folder,
        }
    }

    /// `onceward migrate`
    pub async fn migrate(&self) {
        let ran = self.run(&["migrate"]).await;
        assert!(ran.0, "{}", ran.1);
    }

    /// Runs a command of `onceward` with the fleet's configuration: whether it did what it was asked, and what it said.
    pub async fn run(&self, arguments: &[&str]) -> (bool, String) {
        self.run_as("onceward", arguments, &[]).await
    }

    /// Runs an executable to its end, with the fleet's configuration and these variables of its environment.
    pub async fn run_as(&self, program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
        let mut command = ours(program, self.folder.path());
        command.args(["--config", "fleet.toml"]).args(arguments).envs(variables.iter().copied()).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    }

    /// The console of an ingest that runs.
    pub fn admin(&self) -> Admin {
        let node = self.ingests.iter().find(|node| node.runs()).unwrap();
        let token = ENVIRONMENT.iter().find(|(name, _)| *name == "OPERATOR_TOKEN").unwrap().1;
        Admin { base: node.admin().to_owned(), token: token.to_owned(), http: self.http.clone() }
    }

    /// Waits until nothing is on its way any more.
    pub async fn until_idle(&self, within: Duration) {
        let admin = self.admin();
        until("every delivery has ended", within, async || {
            let all = admin.get("/api/destinations").await;
            let rows = all.body["destinations"].as_array()?;
            rows.iter().all(|row| row["open"] == 0).then_some(())
        })
        .await;
    }
}

impl Node {
    /// Starts it, and waits until it listens.
    pub fn start(&mut self) {
        let mut command = ours(self.program, &self.folder);
        command.args(["--config", "fleet.toml", "--data", &self.name, "--json", "--admin", "127.0.0.1:0"]);
        if self.program == "onceward-ingest" {
            command.args(["--public", "127.0.0.1:0"]);
        }
        let said = |line: &str| serde_json::from_str::<Value>(line).ok().filter(|said| said["event"] == "listening");
        let (process, listening) = Process::start(command, &self.log_file(), said);
        self.process = Some(process);
        self.listening = listening;
    }

    /// Waits until it says that it is ready.
    pub async fn until_ready(&self, http: &reqwest::Client) {
        until(&format!("{} is ready", self.name), crate::SOON, async || {
            let answer = http.get(format!("{}/readyz", self.admin())).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// Whether it was started, and neither killed nor stopped since.
    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Ends it as a power cut would.
    pub fn kill9(&mut self) {
        self.process.take().unwrap().kill9();
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        self.process.as_ref().unwrap().signal(name);
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Panics
    ///
    /// It did not stop within 10 s, or not in good order.
    pub async fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        let name = self.name.clone();
        let stopped = tokio::task::spawn_blocking(move || {
            process.signal("TERM");
            let status = process.ended(Duration::from_secs(10));
            assert!(status.success(), "{name}: {status}");
        });
        stopped.await.unwrap();
    }

    /// Where vendors post to.
    pub fn public(&self) -> &str {
        self.listening["public"].as_str().unwrap()
    }

    /// Where it shows metrics and health.
    pub fn admin(&self) -> &str {
        self.listening["admin"].as_str().unwrap()
    }

    pub fn resident_kib(&self) -> u64 {
        self.process.as_ref().unwrap().resident_kib()
    }

    /// Everything that it logged, over all of its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap()
    }

    fn log_file(&self) -> PathBuf {
        Path::new(&self.folder).join(format!("{}.log", self.name))
    }
}
