//! Units for machines without containers.

use std::process::Command;

use crate::{read, root, said};

const UNITS: [(&str, &str); 3] =
    [("onceward.service", "onceward"), ("onceward-ingest.service", "onceward-ingest"), ("onceward-worker.service", "onceward-worker")];

#[test]
fn units_are_understood_and_let_a_process_end_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]);
    for (name, program) in UNITS {
        let text = read(&format!("deploy/systemd/{name}"));
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("{name} has no {key}"));
        assert_eq!((value("Type="), value("ExecStart=")), ("exec", format!("/usr/local/bin/{program}").as_str()), "{name}");
        assert_eq!(value("ExecStartPre="), "/usr/local/bin/onceward check", "{name} says what is wrong before it starts");
        let seconds: u32 = value("TimeoutStopSec=").parse().unwrap();
        assert!(seconds > 10, "{name}: it needs up to 10 s to stop");
        // Verified as if it were installed: any program that is there will do.
        let test = std::env::current_exe().unwrap();
        let installed = text.replace(&format!("ExecStart=/usr/local/bin/{program}"), &format!("ExecStart={}", test.display()));
        let installed = installed.replace("/usr/local/bin/onceward", &test.display().to_string());
        let file = folder.path().join(name);
        std::fs::write(&file, installed).unwrap();
        command.arg(file);
    }
    let (well, text) = said(&mut command, "systemd");
    // It also complains of units of the machine that it runs on.
    let ours: Vec<&str> = text.lines().filter(|line| line.contains("onceward")).collect();
    assert!(well && ours.is_empty(), "{text}");
    assert!(root().join("docs/runbook.md").is_file(), "what the units name as their documentation");
}
