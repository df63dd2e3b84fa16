//! The only code that knows queues: the embedded one, and RabbitMQ.
//!
//! A queue only wakes. What is true is in the ledger; losing, doubling or reordering a wakeup changes no final state,
//! so what cannot be passed on is dropped and counted (`onceward_wakeups_total`): the sweep finds the records again.

mod embedded;
mod rabbit;
mod wire;

use metrics::counter;
use model::wakeup::Wakeup;
use model::{DeliveryId, Reason, Time};
use tokio::sync::mpsc;

pub use embedded::Embedded;
pub use rabbit::{Address, BadAddress, Rabbit, Settings};

/// The most wakeups of a process that wait; one more is dropped and counted, because the sweep will find its records.
pub const WAKEUPS_MAX: usize = 4_096;

/// Carries wakeups from the ingest to the workers.
#[derive(Clone)]
pub enum Queue {
    /// A channel within this process.
    Embedded(Embedded),
    /// A broker between processes.
    Rabbit(Rabbit),
}

/// A wakeup in a worker's hands.
#[derive(Debug)]
pub struct Held {
    /// What has work.
    pub wakeup: Wakeup,
    /// To be settled once the wakeup has been taken into account.
    pub receipt: Receipt,
}

/// What a worker owes for a wakeup: [`Receipt::done`]. One that is dropped instead keeps its wakeup with the broker, which
/// gives it to somebody else when this process ends or loses its connection. The embedded queue asks for nothing.
#[derive(Debug)]
pub struct Receipt(Option<Unsettled>);

/// A delivery of the broker's: its number on its channel, and the way to whoever acknowledges it.
#[derive(Debug)]
struct Unsettled {
    tag: u64,
    settle: mpsc::Sender<u64>,
}

impl Receipt {
    /// Settles the wakeup, without waiting. Settling one of a connection that is gone changes nothing: it comes again.
    pub fn done(self) {
        // The channel has room for every delivery that can be unsettled; it is closed once its connection is gone.
        if let Some(Unsettled { tag, settle }) = self.0 {
            let _ = settle.try_send(tag);
        }
    }
}

/// What whoever watches the broker is shown of a dead letter. The ledger has the rest of it, under `delivery`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Which delivery.
    pub delivery: DeliveryId,
    /// The destination's name.
    pub destination: String,
    /// The CRM's object.
    pub object: String,
    /// Why.
    pub reason: Reason,
    /// When it became one.
    pub at: Time,
}

/// How a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Wakeups pass.
    Up,
    /// The broker has too little memory or disk and takes nothing; the sweep carries on.
    Blocked,
    /// The broker cannot be reached, or not all of it; the sweep carries on.
    Down,
}

impl State {
    /// The word that metrics and pages use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Blocked => "blocked",
            Self::Down => "down",
        }
    }
}

impl Queue {
    /// An empty in-process queue.
    pub fn embedded() -> Self {
        Self::Embedded(Embedded::new())
    }

    /// RabbitMQ. Connects in the background, on the current tokio runtime, and again after every failure.
    pub fn rabbit(settings: Settings) -> Self {
        Self::Rabbit(Rabbit::start(settings))
    }

    /// Passes a wakeup on, without waiting. One that cannot be passed on is counted and left to the sweep.
    pub fn wake(&self, wakeup: Wakeup) {
        match self {
            Self::Embedded(queue) => queue.wake(wakeup),
            Self::Rabbit(queue) => queue.wake(wakeup),
        }
    }

    /// The next wakeup, as soon as there is one. Several consumers share the queue; each wakeup reaches one of them.
    /// `None`: there will be no more, because the queue was stopped or this process does not consume.
    pub async fn next(&self) -> Option<Held> {
        match self {
            Self::Embedded(queue) => queue.next().await,
            Self::Rabbit(queue) => queue.next().await,
        }
    }

    /// Shows a dead letter to whoever watches the broker, without waiting. Only the ledger's list counts.
    pub fn dead_letter(&self, letter: DeadLetter) {
        match self {
            Self::Embedded(_) => {}
            Self::Rabbit(queue) => queue.dead_letter(letter),
        }
    }

    /// How it is now. A queue that is not up holds nothing up: it makes what it carries as slow as the sweep.
    pub fn state(&self) -> State {
        match self {
            Self::Embedded(_) => State::Up,
            Self::Rabbit(queue) => queue.state(),
        }
    }

    /// Passes on what still waits and leaves, within 3 s whatever the broker does. `next` says `None` from then on.
    pub async fn stop(&self) {
        match self {
            Self::Embedded(queue) => queue.stop().await,
            Self::Rabbit(queue) => queue.stop().await,
        }
    }
}

fn count(result: &'static str, wakeups: u64) {
    counter!("onceward_wakeups_total", "result" => result).increment(wakeups);
}
