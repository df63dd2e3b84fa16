//! One of a fleet: takes webhooks in.

use std::process::ExitCode;

fn main() -> ExitCode {
    onceward::ingest()
}
