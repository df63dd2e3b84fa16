//! What is in `deploy/`, `docker-compose.yml` and `docs/runbook.md` says what is so: asked of the very programs that will read it.

mod compose;
mod monitoring;
mod proxy;
mod units;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A file of the repository.
fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What a program of the system said.
///
/// # Panics
///
/// It is not installed; the text says how to.
fn said(command: &mut Command, package: &str) -> (bool, String) {
    let program = command.get_program().to_string_lossy().into_owned();
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| {
        panic!("{program} cannot be started ({error}). Install it (Debian and Ubuntu: `apt-get install {package}`; nothing of it needs to run), or run `tests/run`, which does")
    });
    (status.success(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

/// One of ours, built before.
///
/// # Panics
///
/// It was not built.
fn executable(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // target/debug/deps/deploy-0123 → target/debug/onceward
    let path = test.ancestors().nth(2).unwrap().join(name);
    assert!(path.is_file(), "{} is not there: run `cargo build --workspace --bins` first, or `tests/run`, which does", path.display());
    path
}
