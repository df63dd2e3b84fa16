use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sandbox::{Options, Sandbox};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::process::{Process, ours};
use crate::{Admin, Answer, Crm, SOON, Sent, Setup, client, headers, now, post, until};

/// A whole pipeline: the executable as a process of its own, its folder, and the CRM that it writes to.
pub struct Onceward {
    /// What it wrote to, which outlives the process unless it is a demo.
    pub crm: Crm,
    pub admin: Admin,
    /// Where vendors post to: another port after each start.
    pub public: String,
    pub http: reqwest::Client,
    /// The first line of the process.
    pub listening: Value,
    folder: TempDir,
    arguments: Vec<String>,
    // Before the sandbox, so that it is dropped first.
    process: Process,
    _sandbox: Option<Sandbox>,
}

/// What a command said.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(self.out.trim()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Onceward {
    /// The demo: no configuration, and a sandbox within the process.
    pub async fn demo() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arguments = vec!["--data".to_owned(), folder.path().join("data").display().to_string()];
        Self::open(folder, arguments, None, None)
    }

    /// The usual configuration.
    pub async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    /// A configuration of three sources, and a CRM that is not part of the process.
    pub async fn with(setup: Setup) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let latency = Duration::from_millis(setup.latency_millis);
        let token_life = Duration::from_millis(setup.token_life_millis);
        let options = Options { latency, token_life, faults: setup.faults.parse().unwrap(), ..Options::default() };
        let sandbox = Sandbox::serve(listener, 1, options, now).unwrap();
        let crm = format!("http://{}", sandbox.address());
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let file = folder.path().join("pipeline.toml");
        std::fs::write(&file, setup.configuration(&format!("sqlite:{}/onceward.db", data.display()), "embedded:", &crm)).unwrap();
        let arguments = vec!["--config".to_owned(), file.display().to_string()];
        Self::open(folder, arguments, Some(sandbox), Some(crm))
    }

    fn open(folder: TempDir, arguments: Vec<String>, sandbox: Option<Sandbox>, crm: Option<String>) -> Self {
        let (process, listening) = launch(folder.path(), &arguments);
        let http = client();
        let said = |name: &str| listening[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {listening}")).to_owned();
        let crm = Crm { base: crm.unwrap_or_else(|| said("sandbox")), http: http.clone() };
        // None is generated where some are configured.
        let token = listening["admin_token"].as_str().unwrap_or_default().to_owned();
        let admin = Admin { base: said("admin"), token, http: http.clone() };
        let public = said("public");
        Self { crm, admin, public, http, listening, folder, arguments, process, _sandbox: sandbox }
    }

    /// Starts it again on the same data.
    pub fn restart(&mut self) {
        let (process, listening) = launch(self.folder.path(), &self.arguments);
        self.process = process;
        for (name, held) in [("admin", &mut self.admin.base), ("public", &mut self.public)] {
            *held = listening[name].as_str().unwrap().to_owned();
        }
        if let Some(sandbox) = listening["sandbox"].as_str() {
            self.crm.base = sandbox.to_owned();
        }
        self.listening = listening;
    }

    /// Ends it as a power cut would.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Asks it to stop, as Ctrl-C or a supervisor does.
    ///
    /// # Panics
    ///
    /// It did not stop within 10 s, or not in good order.
    pub fn stop(&mut self, signal: &str) {
        self.process.signal(signal);
        let status = self.process.ended(Duration::from_secs(10));
        assert!(status.success(), "stopped by SIG{signal}: {status}");
    }

    /// Asks it to stop and does not wait.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits until it has ended by itself, well.
    pub fn ended(&mut self) {
        let status = self.process.ended(Duration::from_secs(10));
        assert!(status.success(), "{status}");
    }

    pub fn resident_kib(&self) -> u64 {
        self.process.resident_kib()
    }

    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Everything that it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log_file(self.folder.path())).unwrap()
    }

    /// Sends a webhook once.
    pub async fn send(&self, sent: &Sent) -> Answer {
        post(&self.http, &self.public, sent.source, &headers(sent, now()), sent.body.clone()).await.unwrap()
    }

    /// Sends a webhook and reads the ids of its one event.
    ///
    /// # Panics
    ///
    /// It was not accepted, or as anything but this.
    pub async fn accepted(&self, sent: &Sent, as_what: &str) -> String {
        let body = self.send(sent).await.ok();
        assert_eq!(body["events"][0]["status"], as_what, "{body}");
        body["events"][0]["id"].as_str().unwrap().to_owned()
    }

    /// The status of an event's only delivery.
    pub async fn status(&self, event: &str) -> String {
        let answer = self.admin.get(&format!("/api/events/{event}")).await.ok();
        let deliveries = answer["event"]["deliveries"].as_array().unwrap();
        assert_eq!(deliveries.len(), 1, "{answer}");
        deliveries[0]["status"].as_str().unwrap().to_owned()
    }

    /// Waits until an event's only delivery shows this.
    pub async fn until_status(&self, event: &str, wanted: &str) {
        let mut seen = String::new();
        let what = format!("{event} is {wanted}");
        let told = until(&what, SOON, async || {
            seen = self.status(event).await;
            (seen == wanted || ["failed", "quarantined", "succeeded", "cancelled"].contains(&seen.as_str())).then(|| seen.clone())
        });
        assert_eq!(told.await, wanted, "{event}");
    }

    /// Waits until nothing is on its way any more.
    pub async fn until_idle(&self, within: Duration) {
        until("every delivery has ended", within, async || {
            let all = self.admin.get("/api/destinations").await.ok();
            all["destinations"].as_array().unwrap().iter().all(|row| row["open"] == 0).then_some(())
        })
        .await
    }

    /// The only dead letter there is, as soon as there is one.
    pub async fn dead_letter(&self) -> Value {
        until("there is a dead letter", SOON, async || self.admin.dead_letters().await.pop()).await
    }

    /// Runs a command beside the process, with the process's configuration.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        let own: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.run_bare(&[&own, arguments].concat()).await
    }

    /// Runs a command in the process's folder.
    pub async fn run_bare(&self, arguments: &[&str]) -> Ran {
        let mut command = command(self.folder.path(), &[]);
        command.args(arguments).stdin(Stdio::null());
        // Blocking is for another thread: the sandbox of this test answers meanwhile.
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

fn log_file(folder: &Path) -> PathBuf {
    folder.join("onceward.log")
}

fn command(folder: &Path, arguments: &[String]) -> Command {
    let mut command = ours("onceward", folder);
    command.args(arguments);
    command
}

fn launch(folder: &Path, arguments: &[String]) -> (Process, Value) {
    let mut command = command(folder, arguments);
    command.args(["--json", "--public", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).env("ONCEWARD_LOG", "debug");
    let listening = |line: &str| serde_json::from_str::<Value>(line).ok().filter(|said| said["event"] == "listening");
    Process::start(command, &log_file(folder), listening)
}
