//! The only code that knows queues: here the embedded one; RabbitMQ has its room beside it.
//!
//! A queue only wakes. What is true is in the ledger; losing, doubling or reordering a wakeup changes no final state,
//! so a full queue may drop: the sweep finds the records again.

use std::sync::Arc;

use model::wakeup::Wakeup;
use tokio::sync::{Mutex, mpsc};

/// The most wakeups that wait; one more is dropped and counted, because the sweep will find its records.
pub const WAKEUPS_MAX: usize = 4_096;

/// Carries wakeups from the ingest to the workers.
#[derive(Clone)]
pub enum Queue {
    /// A channel within this process.
    Embedded(Embedded),
}

/// An in-process queue. Empty after a restart; the sweep fills it again.
#[derive(Clone)]
pub struct Embedded {
    into: mpsc::Sender<Wakeup>,
    out: Arc<Mutex<mpsc::Receiver<Wakeup>>>,
}

impl Queue {
    /// An empty in-process queue.
    pub fn embedded() -> Self {
        let (into, out) = mpsc::channel(WAKEUPS_MAX);
        Self::Embedded(Embedded { into, out: Arc::new(Mutex::new(out)) })
    }

    /// Passes a wakeup on, without waiting. A wakeup that finds no room is counted and left to the sweep.
    pub fn wake(&self, wakeup: Wakeup) {
        match self {
            Self::Embedded(queue) => {
                let result = match queue.into.try_send(wakeup) {
                    Ok(()) => "sent",
                    Err(mpsc::error::TrySendError::Full(_)) => "full",
                    Err(mpsc::error::TrySendError::Closed(_)) => "closed",
                };
                metrics::counter!("onceward_wakeups_total", "result" => result).increment(1);
            }
        }
    }

    /// The next wakeup, as soon as there is one. Several consumers share the queue; each wakeup reaches one of them.
    pub async fn next(&self) -> Option<Wakeup> {
        match self {
            Self::Embedded(queue) => queue.out.lock().await.recv().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wakeup(destination: &str) -> Wakeup {
        Wakeup { destination: destination.into(), records: Vec::new(), correlation_id: String::new() }
    }

    #[tokio::test]
    async fn wakeups_come_out_and_a_full_queue_drops_instead_of_waiting() {
        let queue = Queue::embedded();
        for n in 0..WAKEUPS_MAX + 10 {
            queue.wake(wakeup(&n.to_string()));
        }
        for n in 0..WAKEUPS_MAX {
            assert_eq!(queue.next().await.map(|held| held.destination), Some(n.to_string()));
        }
        queue.wake(wakeup("later"));
        assert_eq!(queue.next().await.map(|held| held.destination).as_deref(), Some("later"));
    }
}
