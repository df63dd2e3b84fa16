//! RabbitMQ: two connections, each with a supervisor of its own that rebuilds it after any failure.
//!
//! The client's own recovery stays off (traps.md 1): connect, declare, run, and on any error drop everything and begin again after a pause
//! is one road for all failures, and the one that every test takes.

mod address;
mod consume;
mod link;
mod publish;
mod topology;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use model::wakeup::Wakeup;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::{DeadLetter, Held, State, WAKEUPS_MAX, count};

pub use address::{Address, BadAddress};

/// The most dead letters that wait to be shown.
const DEAD_LETTERS_WAITING_MAX: usize = 1_024;
/// The most unsettled wakeups of one destination in this process. They are settled as soon as a claim is made, so a few are enough.
const PREFETCH: u16 = 32;
/// How long leaving may take, whatever the broker does.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// How to use a broker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it is.
    pub address: Address,
    /// What its list of connections shows: the process's role, say.
    pub name: String,
    /// The destinations' names. Each has a queue.
    pub destinations: Vec<String>,
    /// Whether this process takes wakeups, or only sends them.
    pub consume: bool,
    /// Draws numbers in 0..1, so that a fleet does not come back all at once.
    pub chance: fn() -> f64,
}

/// A broker between processes. The last clone that goes cuts the connections.
#[derive(Clone)]
pub struct Rabbit(Arc<Shared>);

struct Shared {
    wakeups: mpsc::Sender<Waiting>,
    dead_letters: mpsc::Sender<DeadLetter>,
    held: tokio::sync::Mutex<mpsc::Receiver<Held>>,
    publishing: Arc<Status>,
    consuming: Option<Arc<Status>>,
    stop: watch::Sender<bool>,
    supervisors: Mutex<JoinSet<()>>,
}

/// A wakeup that is to be published, and since when.
struct Waiting {
    wakeup: Wakeup,
    since: Instant,
}

impl Rabbit {
    pub(crate) fn start(settings: Settings) -> Self {
        let (wakeups, wakeups_out) = mpsc::channel(WAKEUPS_MAX);
        let (dead_letters, dead_letters_out) = mpsc::channel(DEAD_LETTERS_WAITING_MAX);
        let (held, held_out) = mpsc::channel(settings.destinations.len().max(1) * usize::from(PREFETCH));
        let stop = watch::Sender::new(false);
        let publishing = Status::new("publish");
        let consuming = settings.consume.then(|| Status::new("consume"));
        let mut supervisors = JoinSet::new();
        if let Some(status) = &consuming {
            let consumer = consume::Consumer { settings: settings.clone(), held, status: status.clone(), stop: stop.subscribe() };
            supervisors.spawn(consumer.run());
        }
        let publisher = publish::Publisher {
            settings,
            wakeups: wakeups_out,
            dead_letters: dead_letters_out,
            status: publishing.clone(),
            stop: stop.subscribe(),
        };
        supervisors.spawn(publisher.run());
        let (held, supervisors) = (tokio::sync::Mutex::new(held_out), Mutex::new(supervisors));
        Self(Arc::new(Shared { wakeups, dead_letters, held, publishing, consuming, stop, supervisors }))
    }

    pub(crate) fn wake(&self, wakeup: Wakeup) {
        // The publisher counts what it takes.
        match self.0.wakeups.try_send(Waiting { wakeup, since: Instant::now() }) {
            Ok(()) => {}
            Err(TrySendError::Closed(_)) => count("closed", 1),
            Err(TrySendError::Full(_)) => match self.0.publishing.state() {
                State::Up => count("full", 1),
                State::Blocked => count("blocked", 1),
                State::Down => count("unavailable", 1),
            },
        }
    }

    pub(crate) fn dead_letter(&self, letter: DeadLetter) {
        if self.0.dead_letters.try_send(letter).is_err() {
            count_dead_letter("dropped");
        }
    }

    pub(crate) async fn next(&self) -> Option<Held> {
        self.0.held.lock().await.recv().await
    }

    pub(crate) fn state(&self) -> State {
        let consuming = self.0.consuming.as_ref().map_or(State::Up, |status| status.state());
        self.0.publishing.state().max(consuming)
    }

    pub(crate) async fn stop(&self) {
        self.0.stop.send_replace(true);
        let mut supervisors = std::mem::take(&mut *self.0.supervisors.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = async { while supervisors.join_next().await.is_some() {} };
        if timeout(STOP_WITHIN, ended).await.is_err() {
            tracing::warn!("the broker did not let go in time; its connections are cut");
        }
    }
}

/// How one of the two connections is.
struct Status {
    connection: &'static str,
    state: AtomicU8,
}

impl Status {
    fn new(connection: &'static str) -> Arc<Self> {
        let status = Self { connection, state: AtomicU8::new(State::Up as u8) };
        status.set(State::Down);
        Arc::new(status)
    }

    fn state(&self) -> State {
        let found = self.state.load(Ordering::Relaxed);
        [State::Up, State::Blocked].into_iter().find(|state| *state as u8 == found).unwrap_or(State::Down)
    }

    fn set(&self, to: State) {
        self.state.store(to as u8, Ordering::Relaxed);
        for state in [State::Up, State::Blocked, State::Down] {
            let is = if state == to { 1.0 } else { 0.0 };
            gauge!("onceward_queue_state", "connection" => self.connection, "state" => state.as_str()).set(is);
        }
    }
}

/// How long to wait before trying again.
struct Backoff {
    chance: fn() -> f64,
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    // Short, because a broker that is back is to be noticed; long enough that one that throws us out is left in peace.
    const MAX: Duration = Duration::from_secs(5);
    /// What held this long had been well.
    const WELL_AFTER: Duration = Duration::from_secs(10);

    fn new(chance: fn() -> f64) -> Self {
        Self { chance, next: Self::FIRST }
    }

    /// The wait after something that lasted for `lived`: doubling, with a quarter more or less by chance.
    fn after(&mut self, lived: Duration) -> Duration {
        if lived >= Self::WELL_AFTER {
            self.next = Self::FIRST;
        }
        let wait = self.next;
        self.next = (wait * 2).min(Self::MAX);
        wait.mul_f64(0.75 + (self.chance)().clamp(0.0, 1.0) / 2.0)
    }

    /// Waits for `wait`. False: it is time to stop.
    async fn pause(wait: Duration, stop: &mut watch::Receiver<bool>) -> bool {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => false,
            () = sleep(wait) => true,
        }
    }
}

/// Keeps an outage from filling the log: what goes wrong again and again is said once in a while.
#[derive(Default)]
struct Unsaid(Option<(String, Instant)>);

impl Unsaid {
    const AGAIN_AFTER: Duration = Duration::from_secs(60);

    fn is_new(&mut self, error: &link::Broken) -> bool {
        let text = error.to_string();
        let said = self.0.as_ref().is_some_and(|(last, at)| *last == text && at.elapsed() < Self::AGAIN_AFTER);
        if !said {
            self.0 = Some((text, Instant::now()));
        }
        !said
    }
}

fn count_dead_letter(result: &'static str) {
    counter!("onceward_dead_letter_notices_total", "result" => result).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_begin_again_after_a_good_time() {
        let mut backoff = Backoff::new(|| 0.5);
        let waits: Vec<_> = (0..8).map(|_| backoff.after(Duration::ZERO).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(backoff.after(Backoff::WELL_AFTER), Backoff::FIRST);
        let (least, most) = (Backoff::new(|| 0.0).after(Duration::ZERO), Backoff::new(|| 1.0).after(Duration::ZERO));
        assert_eq!((least.as_millis(), most.as_millis()), (75, 125));
    }
}
