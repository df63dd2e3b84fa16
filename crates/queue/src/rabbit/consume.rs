//! The connection that consumes: a channel for each destination.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::link::{ANSWER_WITHIN, Broken, Link, ask, channel};
use super::topology::{self, queue_of};
use super::{Backoff, PREFETCH, Settings, Status, Unsaid};
use crate::{Held, Receipt, State, Unsettled, count, wire};

/// How long an acknowledgement may take to be written.
const ACK_WITHIN: Duration = Duration::from_secs(5);

/// How long a consumer is quiet before it is asked about.
const CHECK_AFTER: Duration = Duration::from_secs(10);

/// Takes wakeups for this process's workers.
pub(super) struct Consumer {
    pub(super) settings: Settings,
    pub(super) held: mpsc::Sender<Held>,
    pub(super) status: Arc<Status>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Consumer {
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(self.settings.chance);
        let mut unsaid = Unsaid::default();
        loop {
            let begun = Instant::now();
            let ended = self.session().await;
            self.status.set(State::Down);
            let Err(error) = ended else { return };
            if unsaid.is_new(&error) {
                tracing::warn!(broker = %self.settings.address, %error, "no wakeups can be taken now; the sweep finds what they would have told of");
            }
            if !Backoff::pause(backoff.after(begun.elapsed()), &mut self.stop).await {
                return;
            }
        }
    }

    /// One connection's time.
    async fn session(&self) -> Result<(), Broken> {
        let mut stop = self.stop.clone();
        let opened = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            opened = self.open() => opened,
        };
        let mut link = opened?;
        let running = Running { consumer: self, consuming: AtomicUsize::new(0) };
        running.tell();
        let ended = {
            let Link { connection, events, .. } = &mut link;
            let mut loops: FuturesUnordered<_> = self.settings.destinations.iter().map(|name| running.keep(connection, name)).collect();
            loop {
                tokio::select! {
                    biased;
                    event = events.next() => if let Err(error) = event { break Err(error) },
                    Some(ended) = loops.next(), if !loops.is_empty() => if let Err(error) = ended { break Err(error) },
                    // They have been told as well, and have ended.
                    _ = stop.wait_for(|stop| *stop), if loops.is_empty() => break Ok(()),
                }
            }
        };
        if ended.is_ok() {
            link.close().await;
        }
        ended
    }

    async fn open(&self) -> Result<Link, Broken> {
        let link = Link::open(&self.settings.address, &format!("{} consumes", self.settings.name)).await?;
        topology::exchange(&link.connection).await?;
        Ok(link)
    }
}

/// The consumers of one connection.
struct Running<'a> {
    consumer: &'a Consumer,
    consuming: AtomicUsize,
}

impl Running<'_> {
    /// Consumes a destination's queue, again and again while the connection lasts: what ends a consumer often ends only its channel.
    async fn keep(&self, connection: &Connection, destination: &str) -> Result<(), Broken> {
        let mut backoff = Backoff::new(self.consumer.settings.chance);
        let mut unsaid = Unsaid::default();
        let mut stop = self.consumer.stop.clone();
        loop {
            let begun = Instant::now();
            let opened = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                opened = Consuming::open(connection, destination, self.consumer.settings.chance) => opened,
            };
            let ended = match opened {
                Ok(consuming) => {
                    self.consuming.fetch_add(1, Ordering::Relaxed);
                    self.tell();
                    let ended = consuming.run(&self.consumer.held, &mut stop).await;
                    self.consuming.fetch_sub(1, Ordering::Relaxed);
                    self.tell();
                    ended
                }
                Err(error) => Err(error),
            };
            let Err(error) = ended else { return Ok(()) };
            if !connection.status().connected() {
                return Err(error);
            }
            if unsaid.is_new(&error) {
                tracing::warn!(destination, %error, "a destination's wakeups cannot be taken now; it is tried again");
            }
            if !Backoff::pause(backoff.after(begun.elapsed()), &mut stop).await {
                return Ok(());
            }
        }
    }

    /// Up is when every destination is consumed.
    fn tell(&self) {
        let all = self.consuming.load(Ordering::Relaxed) == self.consumer.settings.destinations.len();
        self.consumer.status.set(if all { State::Up } else { State::Down });
    }
}

/// A consumer on a channel of its own: one that was cancelled leaves nothing behind for the next (traps.md 2).
struct Consuming {
    queue: String,
    channel: Channel,
    deliveries: lapin::Consumer,
    unsettled: Tags,
}

enum Next {
    Stop,
    Settled,
    Quiet,
    Delivery { tag: u64, body: Vec<u8> },
}

impl Consuming {
    async fn open(connection: &Connection, destination: &str, chance: fn() -> f64) -> Result<Self, Broken> {
        topology::deliver_queue(connection, destination, chance).await?;
        let channel = channel(connection).await?;
        // For each consumer: a quorum queue takes no limit for all of them.
        let qos = BasicQosOptions { global: false };
        ask("limit what it sends", ANSWER_WITHIN, channel.basic_qos(PREFETCH, qos)).await?;
        let consuming =
            channel.basic_consume(queue_of(destination).into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
        let deliveries = ask("consume", ANSWER_WITHIN, consuming).await?;
        tracing::info!(destination, "taking wakeups");
        Ok(Self { queue: queue_of(destination), channel, deliveries, unsettled: Tags::default() })
    }

    async fn run(mut self, held: &mpsc::Sender<Held>, stop: &mut watch::Receiver<bool>) -> Result<(), Broken> {
        let (settle, mut settled) = mpsc::channel(usize::from(PREFETCH));
        loop {
            let mut done = Vec::new();
            let next = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => Next::Stop,
                _ = settled.recv_many(&mut done, usize::from(PREFETCH)) => Next::Settled,
                delivery = self.deliveries.next() => {
                    let Delivery { delivery_tag: tag, data: body, .. } = delivery.transpose()?.ok_or(Broken::Cancelled)?;
                    Next::Delivery { tag, body }
                }
                () = sleep(CHECK_AFTER) => Next::Quiet,
            };
            match next {
                Next::Settled => {}
                Next::Quiet => self.check().await?,
                Next::Stop => {
                    while let Ok(tag) = settled.try_recv() {
                        done.push(tag);
                    }
                    return self.acknowledge(done).await;
                }
                Next::Delivery { tag, body } => {
                    self.unsettled.0.insert(tag);
                    match wire::read(&body) {
                        Some(wakeup) => {
                            let receipt = Receipt(Some(Unsettled { tag, settle: settle.clone() }));
                            // Has room for everything that can be unsettled, unless nobody asks for what an earlier connection brought.
                            if held.send(Held { wakeup, receipt }).await.is_err() {
                                return Ok(());
                            }
                        }
                        None => {
                            count("undecodable", 1);
                            done.push(tag);
                        }
                    }
                }
            }
            self.acknowledge(done).await?;
        }
    }

    /// Nothing has come for a while. A queue that was deleted and declared again in one breath, or that got a new leader, may have
    /// forgotten its consumers without telling them (measured, 3.10.8; traps.md 2).
    async fn check(&self) -> Result<(), Broken> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let asking = self.channel.queue_declare(self.queue.as_str().into(), options, FieldTable::default());
        let queue = ask("tell how a queue is", ANSWER_WITHIN, asking).await?;
        let kept_from_us = queue.message_count() > 0 && self.unsettled.0.is_empty();
        if queue.consumer_count() == 0 || kept_from_us { Err(Broken::Forgotten) } else { Ok(()) }
    }

    async fn acknowledge(&mut self, done: Vec<u64>) -> Result<(), Broken> {
        for (tag, multiple) in self.unsettled.settle(done) {
            ask("take an acknowledgement", ACK_WITHIN, self.channel.basic_ack(tag, BasicAckOptions { multiple })).await?;
        }
        Ok(())
    }
}

/// The numbers of a channel's deliveries that are not acknowledged.
#[derive(Default)]
struct Tags(BTreeSet<u64>);

impl Tags {
    /// The fewest acknowledgements that say that these are done: up to the oldest that is not in one, the others one by one.
    fn settle(&mut self, mut done: Vec<u64>) -> Vec<(u64, bool)> {
        done.retain(|tag| self.0.remove(tag));
        let oldest = self.0.first().copied().unwrap_or(u64::MAX);
        let (below, above): (Vec<u64>, Vec<u64>) = done.into_iter().partition(|tag| *tag < oldest);
        let below = below.into_iter().max().map(|last| (last, true));
        below.into_iter().chain(above.into_iter().map(|tag| (tag, false))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_acknowledged_once_and_nothing_else_is() {
        let mut tags = Tags((1..=6).collect());
        assert_eq!(tags.settle(vec![]), []);
        assert_eq!(tags.settle(vec![3]), [(3, false)], "1 and 2 are still in somebody's hands");
        assert_eq!(tags.settle(vec![2, 1, 5, 9, 3]), [(2, true), (5, false)]);
        assert_eq!(tags.settle(vec![4, 6]), [(6, true)]);
        assert!(tags.0.is_empty());
    }
}
