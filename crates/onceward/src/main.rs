//! The only code that starts things: configuration, telemetry, signals; the executable.

use std::process::ExitCode;

mod admin;
mod clock;
mod command;
mod configuration;
mod demo;
mod housekeeping;
mod installation;
mod rehearse;
mod sender;
mod shown;
mod telemetry;

fn main() -> ExitCode {
    command::run()
}
