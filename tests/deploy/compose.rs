//! The fleet on one machine: `docker-compose.yml`, its configuration and its secrets go together.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::{executable, read, root, said};

const FILE: &str = "docker-compose.yml";

/// Secrets as `deploy/secrets` makes them, in a folder of their own.
struct Secrets {
    folder: TempDir,
    values: BTreeMap<String, String>,
}

impl Secrets {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("deploy")).unwrap();
        std::fs::copy(root().join("deploy/secrets"), folder.path().join("deploy/secrets")).unwrap();
        let (well, text) = said(&mut Self::command(folder.path()), "dash");
        assert!(well, "{text}");
        let text = std::fs::read_to_string(folder.path().join(".env")).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let values = lines.map(|line| line.split_once('=').unwrap()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { folder, values }
    }

    fn command(folder: &Path) -> Command {
        Command::new(folder.join("deploy/secrets"))
    }
}

/// Compose, in whichever of its two forms is here, with these variables and none of the machine's own.
fn config(variables: &BTreeMap<String, String>) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("variables");
    std::fs::write(&file, variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect::<String>()).unwrap();
    let plugin = Command::new("docker").args(["compose", "version"]).output().is_ok_and(|output| output.status.success());
    let mut command = if plugin { Command::new("docker") } else { Command::new("docker-compose") };
    if plugin {
        command.arg("compose");
    }
    for name in required() {
        command.env_remove(name);
    }
    command.arg("--env-file").arg(file).arg("--file").arg(root().join(FILE)).arg("config");
    said(&mut command, "docker-compose")
}

/// The variables without which the fleet does not start.
fn required() -> BTreeSet<String> {
    let text = read(FILE);
    let names = text.split("${").skip(1).map(|rest| rest.split([':', '}']).next().unwrap_or_default().to_owned());
    names.collect()
}

/// The lines of each service, as compose itself has understood them.
fn services(config: &str) -> BTreeMap<String, String> {
    let mut services: BTreeMap<String, String> = BTreeMap::new();
    let (mut within, mut name) = (false, String::new());
    for line in config.lines() {
        if !line.starts_with(' ') {
            within = line == "services:";
        } else if within && line.starts_with("  ") && !line.starts_with("   ") {
            line.trim().trim_end_matches(':').clone_into(&mut name);
        } else if within {
            services.entry(name.clone()).or_default().push_str(&format!("{line}\n"));
        }
    }
    services
}

#[test]
fn secrets_are_made_once_for_nobody_else_to_read() {
    let secrets = Secrets::make();
    let file = secrets.folder.path().join(".env");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let distinct: BTreeSet<&String> = secrets.values.values().collect();
    assert_eq!(distinct.len(), secrets.values.len());
    assert!(distinct.iter().all(|value| value.len() >= 44), "each holds 32 random bytes");
    let before = std::fs::read(&file).unwrap();
    let (well, text) = said(&mut Secrets::command(secrets.folder.path()), "dash");
    assert!(!well && text.contains(".env is there already"), "{text}");
    assert_eq!(std::fs::read(&file).unwrap(), before, "what seals the ledger is never written over");
    assert!(read(".gitignore").lines().any(|line| line == ".env"));
    assert!(read(".dockerignore").lines().any(|line| line == "*"), "an image holds what is named, not what lies about");
}

#[test]
fn compose_understands_the_fleet_and_misses_what_is_not_there() {
    let secrets = Secrets::make();
    let required = required();
    assert_eq!(required, secrets.values.keys().cloned().collect(), "deploy/secrets makes what compose needs, and nothing else");
    let (well, text) = config(&secrets.values);
    assert!(well, "{text}");
    for variable in read(FILE).split("${").skip(1) {
        let (name, rest) = variable.split_once(":?").unwrap_or_else(|| panic!("{variable} may be missing without a word"));
        assert!(required.contains(name) && rest.starts_with("run deploy/secrets first, it writes .env}"), "{name}");
    }
    let mut fewer = secrets.values.clone();
    fewer.remove("HUBSPOT_TOKEN");
    let (well, text) = config(&fewer);
    assert!(!well && text.contains("run deploy/secrets first"), "{text}");
}

#[test]
fn the_fleet_is_whole_watched_and_bounded() {
    let (well, text) = config(&Secrets::make().values);
    assert!(well, "{text}");
    let services = services(&text);
    let names: BTreeSet<&str> = services.keys().map(String::as_str).collect();
    let whole = [
        "alertmanager",
        "grafana",
        "ingest-1",
        "ingest-2",
        "migrate",
        "postgres",
        "prometheus",
        "proxy",
        "rabbitmq",
        "sandbox",
        "worker-1",
        "worker-2",
    ];
    assert_eq!(names, BTreeSet::from(whole));
    for (name, lines) in &services {
        // It ends when it is done, and the others wait for that.
        assert!(lines.contains("healthcheck:") || name == "migrate", "{name} has no health check");
        assert!(lines.contains("max-size"), "{name} may fill the disk with its log");
        let image = lines.lines().find_map(|line| line.trim().strip_prefix("image: ")).unwrap();
        let tag = image.split_once(':').unwrap_or_else(|| panic!("{name}: {image} has no version")).1;
        assert!(tag.contains(|letter: char| letter.is_ascii_digit()) && tag.contains('.'), "{name}: {image} is no version");
        // What is published is for this machine: the rest is the operator's decision.
        for port in lines.lines().map(str::trim).filter(|line| line.starts_with("- ") && line.ends_with("/tcp")) {
            assert!(port.starts_with("- 127.0.0.1:"), "{name} is open to the network: {port}");
        }
    }
    for name in ["ingest-1", "ingest-2", "worker-1", "worker-2", "migrate", "sandbox"] {
        for bound in ["read_only: true", "- ALL", "no-new-privileges:true", "mem_limit:"] {
            assert!(services[name].contains(bound), "{name} lacks {bound}");
        }
    }
    for mounted in read(FILE).split("./deploy/").skip(1).filter_map(|rest| rest.split(':').next()) {
        assert!(root().join("deploy").join(mounted).exists(), "{FILE} mounts deploy/{mounted}, which is not there");
    }
}

#[test]
fn the_image_is_built_from_what_is_there_and_named_after_this_version() {
    let (docker, ignored) = (read("deploy/Dockerfile"), read(".dockerignore"));
    let copied = docker.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.contains("--from="));
    for line in copied {
        let mut words: Vec<&str> = line.split(' ').filter(|word| !word.starts_with("--")).collect();
        words.pop();
        for word in words {
            assert!(root().join(word).exists(), "deploy/Dockerfile copies {word}, which is not there");
            assert!(ignored.lines().any(|line| line == format!("!{word}")), ".dockerignore keeps {word} from deploy/Dockerfile");
        }
    }
    let toolchain =
        read("Cargo.toml").lines().find_map(|line| Some(line.strip_prefix("rust-version = \"")?.trim_end_matches('"').to_owned()));
    assert!(docker.contains(&format!("FROM rust:{}.", toolchain.unwrap())), "the image is built by the Rust that the workspace names");
    assert!(docker.lines().any(|line| line == "USER 10001:10001"));
    let image = format!("image: onceward:{}", env!("CARGO_PKG_VERSION"));
    for file in [FILE, "deploy/kubernetes/onceward.yaml"] {
        let text = read(file);
        let named: Vec<&str> = text.lines().map(str::trim).filter(|line| line.starts_with("image: onceward:")).collect();
        assert!(!named.is_empty() && named.iter().all(|line| *line == image), "{file}: {named:?}");
    }
}

#[test]
fn the_fleets_configuration_holds_with_the_secrets_that_are_made_for_it() {
    let secrets = Secrets::make();
    let fleet = read("deploy/fleet.toml");
    let compose = read(FILE);
    for name in fleet.split("{ env = \"").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(compose.contains(&format!("{name}: ${{{name}:?")), "{FILE} does not pass {name} on");
    }
    let run = |arguments: &[&str]| {
        let mut command = Command::new(executable("onceward"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ONCEWARD_")) {
            command.env_remove(name);
        }
        command
            .current_dir(secrets.folder.path())
            .envs(&secrets.values)
            .arg("--config")
            .arg(root().join("deploy/fleet.toml"))
            .args(arguments);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str::<Value>(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let checked = run(&["--json", "check"]);
    assert_eq!(checked["warnings"], serde_json::json!([]));
    assert_eq!(checked["summary"]["sources"], serde_json::json!(["landing-page", "stripe", "typeform"]));
    assert_eq!(checked["summary"]["destinations"], serde_json::json!(["hubspot", "salesforce"]));

    // Each source gets somewhere.
    let signup = secrets.folder.path().join("signup.json");
    std::fs::write(
        &signup,
        r#"{"type":"signup","id":"s1","created_at":"2026-11-22T10:00:00Z","email":"ada@example.com","name":{"first":"Ada"}}"#,
    )
    .unwrap();
    for (source, payload, to) in
        [("landing-page", signup.to_str().unwrap(), "salesforce"), ("typeform", "sample", "salesforce"), ("stripe", "sample", "hubspot")]
    {
        let mapped = run(&["--json", "map", "--source", source, payload]).to_string();
        assert!(mapped.contains(&format!("\"{to}\"")), "{source} does not get to {to}: {mapped}");
    }
}

#[test]
fn a_health_check_without_curl_tells_ready_from_not() {
    use std::io::{Read as _, Write as _};
    let asked = |answer: &'static str| {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let place = format!("{}/readyz", listener.local_addr().unwrap());
        let serving = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                socket.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            socket.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        let (well, text) = said(Command::new(root().join("deploy/healthy")).arg(&place), "bash");
        (well, text, serving.join().unwrap())
    };
    let (well, text, request) = asked("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert!(well, "{text}");
    assert!(request.starts_with("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n"), "{request}");
    let (well, text, _) = asked("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    assert!(!well && text.contains("503"), "{text}");
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let (well, _) = said(Command::new(root().join("deploy/healthy")).arg(format!("{silent}/readyz")), "bash");
    assert!(!well, "nobody listens there any more");
}
