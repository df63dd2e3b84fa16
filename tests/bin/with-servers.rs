//! Runs a command with private servers that its tests share, and ends them with it: `with-servers cargo nextest run`. Without it, each test that needs a
//! server starts one of its own.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("with-servers: name a command to run");
        return ExitCode::from(2);
    };
    let mut command = Command::new(&program);
    command.args(arguments);
    let server = if std::env::var_os(harness::POSTGRES_URL).is_none() { Some(harness::Postgres::start()) } else { None };
    if let Some(server) = &server {
        command.env(harness::POSTGRES_URL, server.url("postgres"));
    }
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("with-servers: {} cannot be started: {error}", program.to_string_lossy());
            ExitCode::FAILURE
        }
    }
}
