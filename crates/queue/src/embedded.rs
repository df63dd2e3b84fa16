//! A channel within this process.

use std::sync::Arc;

use model::wakeup::Wakeup;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, mpsc, watch};

use crate::{Held, Receipt, WAKEUPS_MAX, count};

/// An in-process queue. Empty after a restart; the sweep fills it again.
#[derive(Clone)]
pub struct Embedded {
    into: mpsc::Sender<Wakeup>,
    out: Arc<Mutex<mpsc::Receiver<Wakeup>>>,
    stopped: watch::Sender<bool>,
}

impl Embedded {
    pub(crate) fn new() -> Self {
        let (into, out) = mpsc::channel(WAKEUPS_MAX);
        Self { into, out: Arc::new(Mutex::new(out)), stopped: watch::Sender::new(false) }
    }

    pub(crate) fn wake(&self, wakeup: Wakeup) {
        if *self.stopped.borrow() {
            return count("closed", 1);
        }
        match self.into.try_send(wakeup) {
            Ok(()) => count("sent", 1),
            Err(TrySendError::Full(_)) => count("full", 1),
            Err(TrySendError::Closed(_)) => count("closed", 1),
        }
    }

    pub(crate) async fn next(&self) -> Option<Held> {
        let mut stopped = self.stopped.subscribe();
        let wakeup = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => None,
            wakeup = async { self.out.lock().await.recv().await } => wakeup,
        };
        wakeup.map(|wakeup| Held { wakeup, receipt: Receipt(None) })
    }

    pub(crate) async fn stop(&self) {
        self.stopped.send_replace(true);
    }
}
