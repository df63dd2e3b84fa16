//! Everything in one process, and every command.

use std::process::ExitCode;

fn main() -> ExitCode {
    onceward::everything()
}
