//! The house (DESIGN section 3): which room may know which, what each room leaves to others, and how things are named.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Each room and the rooms that it may know.
const ROOMS: [(&str, &[&str]); 9] = [
    ("model", &[]),
    ("store", &["model"]),
    ("queue", &["model"]),
    ("connect", &["model"]),
    ("sandbox", &["model"]),
    ("ingest", &["model", "store", "queue"]),
    ("worker", &["model", "store", "queue", "connect"]),
    ("console", &["model", "store", "queue"]),
    ("onceward", &["model", "store", "queue", "connect", "ingest", "worker", "console", "sandbox"]),
];

/// What only some rooms may use, and which.
const RESERVED: [(&str, &[&str]); 12] = [
    ("sqlx", &["store"]),
    ("rusqlite", &["store"]),
    ("lapin", &["queue"]),
    ("reqwest", &["connect", "onceward"]),
    ("axum", &["console", "onceward"]),
    ("maud", &["console"]),
    ("hyper", &["connect", "console", "ingest", "sandbox", "onceward"]),
    ("clap", &["onceward"]),
    ("metrics-exporter-prometheus", &["onceward"]),
    ("tracing-subscriber", &["onceward"]),
    ("rustls", &["connect", "onceward"]),
    ("jmespath", &["model"]),
];

/// What `model` cannot have and still be a pure function of its arguments.
const IMPURE: [&str; 15] = [
    "tokio",
    "sqlx",
    "rusqlite",
    "lapin",
    "reqwest",
    "axum",
    "hyper",
    "rand",
    "getrandom",
    "uuid",
    "tracing",
    "metrics",
    "chrono",
    "time",
    "rustls",
];

const LINES_MAX: usize = 600;

/// Files that may be longer, and why.
const LONG: [(&str, &str); 2] = [
    ("crates/model/src/route.rs", "a third of it is its tests"),
    ("tests/simulation/world.rs", "one world: intake, workers, CRM, clock and their dice"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// What `cargo metadata` says of a package: name and dependencies as (name, kind, features).
struct Package {
    name: String,
    dependencies: Vec<(String, String)>,
    features: Vec<String>,
    license: String,
}

fn packages() -> Vec<Package> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output =
        Command::new(cargo).args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| Package {
            name: text(&package["name"]),
            license: text(&package["license"]),
            features: package["features"].as_object().unwrap().keys().cloned().collect(),
            dependencies: package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .map(|dependency| (text(&dependency["name"]), dependency["kind"].as_str().unwrap_or("normal").to_owned()))
                .collect(),
        })
        .collect()
}

fn room(package: &str) -> &str {
    package.strip_prefix("onceward-").unwrap_or(package)
}

#[test]
fn rooms_know_only_the_rooms_below_them() {
    let known: BTreeMap<&str, &[&str]> = ROOMS.into_iter().collect();
    let mut wrong = Vec::new();
    for package in packages().iter().filter(|package| package.name != "onceward-tests") {
        let Some(allowed) = known.get(room(&package.name)) else {
            wrong.push(format!("{} is no room of DESIGN section 3", package.name));
            continue;
        };
        for (dependency, kind) in &package.dependencies {
            let house = known.contains_key(room(dependency)) && (dependency.starts_with("onceward-") || dependency == "onceward");
            // Tests of a room may ask the sandbox to be its CRM.
            let for_tests = kind == "dev" && room(dependency) == "sandbox";
            if house && !allowed.contains(&room(dependency)) && !for_tests {
                wrong.push(format!("{} must not know {dependency}", package.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_kind_of_knowledge_has_one_room() {
    let mut wrong = Vec::new();
    for package in packages().iter().filter(|package| package.name != "onceward-tests") {
        let used = package.dependencies.iter().filter(|(_, kind)| kind != "dev");
        for (dependency, _) in used {
            if room(&package.name) == "model" && IMPURE.contains(&dependency.as_str()) {
                wrong.push(format!("model decides and does nothing else: it must not use {dependency}"));
            }
            let owners = RESERVED.iter().find(|(name, _)| name == dependency).map(|(_, owners)| *owners);
            if owners.is_some_and(|owners| !owners.contains(&room(&package.name))) {
                wrong.push(format!("{} must not use {dependency}; only {} may", package.name, owners.unwrap_or_default().join(" and ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn there_are_no_feature_flags_and_one_licence() {
    for package in packages() {
        assert!(package.features.is_empty(), "{} has features: {:?}", package.name, package.features);
        assert_eq!(package.license, "MIT OR Apache-2.0", "{}", package.name);
    }
    for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
        assert!(root().join(file).is_file(), "{file} is missing");
    }
}

/// Every Rust file below these folders, by its path from the root.
fn sources(folders: &[&str]) -> BTreeMap<String, String> {
    let mut waiting: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut found = BTreeMap::new();
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(found.len() > 10, "the folders are not where this test looks for them");
    found
}

#[test]
fn files_stay_short_enough_to_be_read() {
    let lengths: BTreeMap<String, usize> =
        sources(&["crates", "tests"]).into_iter().map(|(name, text)| (name, text.lines().count())).collect();
    let listed: BTreeSet<&str> = LONG.iter().map(|(name, _)| *name).collect();
    let long: BTreeSet<&str> = lengths.iter().filter(|(_, lines)| **lines > LINES_MAX).map(|(name, _)| name.as_str()).collect();
    let unlisted: Vec<_> = long.difference(&listed).collect();
    assert!(unlisted.is_empty(), "over {LINES_MAX} lines, split them or say in LONG why not: {unlisted:?}");
}

#[test]
fn only_one_file_reads_the_clock() {
    // Assembled, so that this file does not find itself.
    let calls = ["System", "jiff::", ""].map(|before| format!("{before}{}::now()", if before == "System" { "Time" } else { "Timestamp" }));
    for (name, text) in sources(&["crates"]) {
        let reads = calls.iter().any(|call| text.contains(call.as_str()));
        assert!(!reads || name == "crates/onceward/src/clock.rs", "{name} reads the clock; take `now: model::Time` as an argument");
    }
}

#[test]
fn nothing_is_left_undone() {
    let marks = ["TO", "FIX", "XX"].map(|mark| {
        format!(
            "{mark}{}",
            if mark == "TO" {
                "DO"
            } else if mark == "FIX" {
                "ME"
            } else {
                "X"
            }
        )
    });
    for (name, text) in sources(&["crates", "tests"]) {
        for line in text.lines() {
            let word = |mark: &String| line.split(|letter: char| !letter.is_ascii_alphanumeric()).any(|word| word == mark);
            assert!(!marks.iter().any(word), "{name}: {line}");
        }
    }
}

/// The migrations of one database, by name.
fn migrations(database: &str) -> Option<BTreeSet<String>> {
    let entries = std::fs::read_dir(root().join("migrations").join(database)).ok()?;
    Some(entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect())
}

#[test]
fn migrations_are_numbered_without_gaps_and_named_alike_in_every_database() {
    let sqlite = migrations("sqlite").unwrap();
    assert!(!sqlite.is_empty());
    for (place, name) in sqlite.iter().enumerate() {
        let (number, rest) = name.split_once('_').unwrap_or_else(|| panic!("{name} is not NNNN_name.sql"));
        assert_eq!(number, format!("{:04}", place + 1), "{name}");
        let words = rest.strip_suffix(".sql").unwrap_or_else(|| panic!("{name} is not NNNN_name.sql"));
        assert!(words.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'), "{name}");
    }
    if let Some(postgres) = migrations("postgres").filter(|names| !names.is_empty()) {
        assert_eq!(postgres, sqlite, "both databases have the same migrations");
    }
}

#[test]
fn versions_are_said_once() {
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let file = entry.unwrap().path().join("Cargo.toml");
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        let dependencies = text.split("dependencies]").skip(1).flat_map(|part| part.lines().take_while(|line| !line.starts_with('[')));
        wrong.extend(
            dependencies
                .filter(|line| line.contains("version =") || line.contains("= \""))
                .map(|line| format!("{}: {line}", file.display())),
        );
    }
    assert!(wrong.is_empty(), "versions belong to [workspace.dependencies]:\n{}", wrong.join("\n"));
}
