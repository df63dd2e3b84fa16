use std::sync::OnceLock;
use std::time::Duration;

use harness::{Broker, Dice, until};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use model::RecordId;
use model::wakeup::Wakeup;
use queue::{Held, Queue, Settings, State};

/// How long a queue may take to come back after what was wrong is right again: a whole wait between two attempts, and an attempt.
pub const BACK: Duration = Duration::from_secs(30);

/// A kind of queue.
pub enum Kind {
    Embedded,
    /// A broker's address.
    Rabbit(String),
}

/// The ends of one queue: for RabbitMQ each is a process of its own, as far as the broker can tell.
pub struct Ends {
    pub sender: Queue,
    pub workers: Vec<Queue>,
}

impl Kind {
    /// A queue for one destination, ready to carry.
    pub async fn open(&self, destination: &str, workers: usize) -> Ends {
        let ends = match self {
            Self::Embedded => {
                counters();
                let queue = Queue::embedded();
                Ends { workers: vec![queue.clone(); workers], sender: queue }
            }
            Self::Rabbit(url) => {
                Ends { sender: rabbit(url, destination, false), workers: (0..workers).map(|_| rabbit(url, destination, true)).collect() }
            }
        };
        ends.are(State::Up).await;
        ends
    }
}

impl Ends {
    pub async fn are(&self, state: State) {
        for queue in std::iter::once(&self.sender).chain(&self.workers) {
            is(queue, state).await;
        }
    }

    pub async fn stop(&self) {
        for queue in std::iter::once(&self.sender).chain(&self.workers) {
            queue.stop().await;
        }
    }
}

pub async fn is(queue: &Queue, state: State) {
    until(&format!("the queue to be {}", state.as_str()), BACK, async || (queue.state() == state).then_some(())).await;
}

/// A queue of one destination at a broker.
pub fn rabbit(url: &str, destination: &str, consume: bool) -> Queue {
    counters();
    let settings = Settings {
        address: url.parse().unwrap(),
        name: "a test".to_owned(),
        destinations: vec![destination.to_owned()],
        consume,
        chance: || Dice::new(harness::now().0.cast_unsigned()).unit(),
    };
    Queue::rabbit(settings)
}

pub fn wakeup(destination: &str, n: usize) -> Wakeup {
    let records = vec![RecordId(i64::try_from(n).unwrap()), RecordId(i64::MAX)];
    Wakeup { destination: destination.to_owned(), records, correlation_id: format!("c-{n}") }
}

/// Which one of [`wakeup`] it is.
pub fn number(held: &Held) -> usize {
    let n = usize::try_from(held.wakeup.records[0].0).unwrap();
    assert_eq!(held.wakeup, wakeup(&held.wakeup.destination, n), "it comes out as it went in");
    n
}

/// The next wakeup, or a failure.
pub async fn next(queue: &Queue) -> Held {
    let next = tokio::time::timeout(BACK, queue.next()).await;
    next.expect("a wakeup was to come and did not").expect("the queue has ended")
}

/// Takes and settles everything that comes; says whether this was among it.
async fn drain(worker: &Queue, looked_for: usize) -> bool {
    let mut found = false;
    while let Ok(Some(held)) = tokio::time::timeout(Duration::from_millis(100), worker.next()).await {
        found |= number(&held) == looked_for;
        held.receipt.done();
    }
    found
}

/// Sends a wakeup again and again until one has come through: what was lost on the way counts for nothing.
pub async fn carries_again(destination: &str, sender: &Queue, worker: &Queue) {
    const MARK: usize = 1_000_000;
    until("a new wakeup to come through", BACK, async || {
        sender.wake(wakeup(destination, MARK));
        drain(worker, MARK).await.then_some(())
    })
    .await;
}

/// Takes and settles until the broker has nothing for this one consumer any more.
pub async fn settled(broker: &Broker, queue: &str, worker: &Queue) {
    until("everything to be settled", BACK, async || {
        drain(worker, 0).await;
        (broker.queue(queue).await == Some([0, 0, 1])).then_some(())
    })
    .await;
}

fn counters() -> &'static PrometheusHandle {
    static COUNTERS: OnceLock<PrometheusHandle> = OnceLock::new();
    COUNTERS.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).expect("nobody else records in these tests");
        handle
    })
}

/// How often `onceward_wakeups_total` has counted this result.
pub fn counted(result: &str) -> u64 {
    let label = format!("onceward_wakeups_total{{result=\"{result}\"}} ");
    let text = counters().render();
    text.lines().find_map(|line| line.strip_prefix(label.as_str())).map_or(0, |number| number.parse().unwrap())
}

/// A name that no other test uses, not even one of another day at the same broker.
pub fn a_destination() -> String {
    format!("crm-{:x}", harness::now().0)
}
