//! One of a fleet: delivers.

use std::process::ExitCode;

fn main() -> ExitCode {
    onceward::worker()
}
