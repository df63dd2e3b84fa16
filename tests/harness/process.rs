use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::setup::ENVIRONMENT;

/// A process of ours that dies with the test.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    /// Its standard output, but for the line that said it is ready.
    said: Arc<Mutex<String>>,
}

/// How many lines of the log a failing test shows.
const SHOWN: usize = 60;

impl Process {
    /// Starts it and waits for the first line on standard output that `ready` takes; standard error goes to `log`.
    ///
    /// # Panics
    ///
    /// It ended, or said nothing for a minute.
    pub fn start<T: Send + 'static>(mut command: Command, log: &Path, ready: impl Fn(&str) -> Option<T> + Send + 'static) -> (Self, T) {
        let errors = File::options().create(true).append(true).open(log).unwrap();
        let program = command.get_program().to_string_lossy().into_owned();
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, told) = mpsc::channel();
        // Reads on after the line, so that the process never waits for a full pipe.
        let said = Arc::new(Mutex::new(String::new()));
        let heard = said.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(seen) = ready(&line) {
                    let _ = tell.send(seen);
                } else if let Ok(mut heard) = heard.lock() {
                    heard.push_str(&line);
                    heard.push('\n');
                }
            }
        });
        let process = Self { child, log: log.to_owned(), said };
        let seen = told.recv_timeout(Duration::from_secs(60));
        let seen = seen.unwrap_or_else(|_| panic!("{program} did not say that it is ready; it said:\n{}", process.tail()));
        (process, seen)
    }

    fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let said = self.said.lock().map(|said| said.clone()).unwrap_or_default();
        said + &lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power cut would.
    pub fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    ///
    /// It did not end in time.
    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < within, "the process was to end within {within:?}; its log ends so:\n{}", self.tail());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let how = ended.map_or_else(|| "it was still running".to_owned(), |status| format!("it had ended: {status}"));
            eprintln!("---- the end of {} ({how})\n{}\n----", self.log.display(), self.tail());
        }
    }
}

/// An executable of ours in a folder, with the secrets of the setup and nothing else of the tests' environment.
pub(crate) fn ours(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(executable(name));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ONCEWARD_")) {
        command.env_remove(name);
    }
    command.envs(ENVIRONMENT).env_remove("RUST_LOG").current_dir(folder);
    command
}

/// An executable under test, which is built beside the tests.
///
/// # Panics
///
/// It was not built.
fn executable(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // target/debug/deps/pipeline-0123 → target/debug/onceward
    let folder = test.ancestors().nth(2).unwrap();
    let path = folder.join(name);
    assert!(path.is_file(), "{} is not there: run `cargo build --workspace --bins` first, or `tests/run`, which does", path.display());
    path
}
