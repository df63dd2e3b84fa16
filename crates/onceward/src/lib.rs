//! The only code that starts things: configuration, telemetry, signals; what its executables do.

use std::process::ExitCode;

mod admin;
mod clock;
mod command;
mod configuration;
mod demo;
mod housekeeping;
mod installation;
mod process;
mod rehearse;
mod sender;
mod shown;
mod telemetry;
mod visit;

/// What `onceward` does: reads the command line and does what it says.
pub fn everything() -> ExitCode {
    command::run()
}

/// What `onceward-ingest` does: takes webhooks in and shows the console, until it is told to stop.
pub fn ingest() -> ExitCode {
    command::run_ingest()
}

/// What `onceward-worker` does: delivers, until it is told to stop.
pub fn worker() -> ExitCode {
    command::run_worker()
}
