//! Being told to stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::command::Refused;

/// Ctrl-C and SIGTERM.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Hears them from now on.
    ///
    /// # Errors
    ///
    /// The system does not tell of signals.
    pub fn listen() -> Result<Self, Refused> {
        let wrong = |error: io::Error| Refused::because(format!("signals cannot be heard: {error}"));
        Ok(Self { interrupt: signal(SignalKind::interrupt()).map_err(wrong)?, terminate: signal(SignalKind::terminate()).map_err(wrong)? })
    }

    /// Waits for the next.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
