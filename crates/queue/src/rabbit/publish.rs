//! The connection that publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Event};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use super::link::{ANSWER_WITHIN, Broken, Link, ask, channel};
use super::topology::{self, DEAD_LETTERS, EXCHANGE, queue_of};
use super::{Backoff, Settings, Status, Unsaid, Waiting, count_dead_letter};
use crate::{DeadLetter, State, count, wire};

/// The most publications that wait for the broker's word. More would only make each of them slower (performance.md 5).
const UNCONFIRMED_MAX: usize = 128;
/// How long the broker may take over one.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);
/// A wakeup that has waited longer is not worth sending any more: the sweep has been there.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How long is published on after being told to stop.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// Publishes what is put into its two channels.
pub(super) struct Publisher {
    pub(super) settings: Settings,
    pub(super) wakeups: mpsc::Receiver<Waiting>,
    pub(super) dead_letters: mpsc::Receiver<DeadLetter>,
    pub(super) status: std::sync::Arc<Status>,
    pub(super) stop: watch::Receiver<bool>,
}

/// What is being published.
enum Published {
    /// A wakeup for this destination.
    Wakeup(String),
    DeadLetter,
}

impl Publisher {
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(self.settings.chance);
        let mut unsaid = Unsaid::default();
        loop {
            let begun = Instant::now();
            let mut stop = self.stop.clone();
            let opened = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                opened = self.open() => opened,
            };
            let ended = match opened {
                Ok((mut link, channel)) => {
                    self.status.set(State::Up);
                    tracing::info!(broker = %self.settings.address, "publishing wakeups");
                    let ended = Pump::new(&mut self, &mut link, &channel).run().await;
                    self.status.set(State::Down);
                    if ended.is_ok() {
                        link.close().await;
                    }
                    ended
                }
                Err(error) => Err(error),
            };
            let Err(error) = ended else { break };
            if unsaid.is_new(&error) {
                tracing::warn!(broker = %self.settings.address, %error, "wakeups cannot be published now; the sweep finds what they would have told of");
            }
            if !Backoff::pause(backoff.after(begun.elapsed()), &mut self.stop).await {
                break;
            }
        }
        self.wakeups.close();
        while self.wakeups.recv().await.is_some() {
            count("unavailable", 1);
        }
    }

    async fn open(&self) -> Result<(Link, Channel), Broken> {
        let link = Link::open(&self.settings.address, &format!("{} publishes", self.settings.name)).await?;
        topology::exchange(&link.connection).await?;
        for destination in &self.settings.destinations {
            topology::deliver_queue(&link.connection, destination, self.settings.chance).await?;
        }
        topology::dead_letters_queue(&link.connection, self.settings.chance).await?;
        let channel = channel(&link.connection).await?;
        ask("confirm what is published", ANSWER_WITHIN, channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok((link, channel))
    }
}

/// One connection's time of publishing.
struct Pump<'a> {
    publisher: &'a mut Publisher,
    link: &'a mut Link,
    channel: &'a Channel,
    /// What the broker has not answered for, by its number, and since when it could have.
    unconfirmed: BTreeMap<u64, (Published, Instant)>,
    number: u64,
    /// Queues that turned out not to be there: a destination's, or that of dead letters.
    missing: BTreeSet<Option<String>>,
    blocked: bool,
    stopping: Option<Instant>,
}

impl Drop for Pump<'_> {
    fn drop(&mut self) {
        let wakeups = self.unconfirmed.values().filter(|(published, _)| matches!(published, Published::Wakeup(_))).count();
        count("unconfirmed", wakeups as u64);
    }
}

impl<'a> Pump<'a> {
    fn new(publisher: &'a mut Publisher, link: &'a mut Link, channel: &'a Channel) -> Self {
        Self { publisher, link, channel, unconfirmed: BTreeMap::new(), number: 0, missing: BTreeSet::new(), blocked: false, stopping: None }
    }

    /// Publishes until told to stop, or until the connection is of no more use.
    async fn run(mut self) -> Result<(), Broken> {
        let channel = self.channel;
        let mut answers = FuturesUnordered::new();
        let mut stop = self.publisher.stop.clone();
        loop {
            if answers.is_empty() && !self.missing.is_empty() {
                self.declare_missing().await?;
            }
            if self.stopping.is_some() && answers.is_empty() && self.publisher.wakeups.is_empty() && self.publisher.dead_letters.is_empty()
            {
                return Ok(());
            }
            let room = answers.len() < UNCONFIRMED_MAX && !self.blocked && self.missing.is_empty();
            let deadline = self.deadline();
            let next = tokio::select! {
                biased;
                event = self.link.events.next() => {
                    self.heed(event?);
                    None
                }
                Some((number, answer)) = answers.next(), if !answers.is_empty() => {
                    self.answered(number, answer)?;
                    None
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => return self.out_of_time(),
                _ = stop.wait_for(|stop| *stop), if self.stopping.is_none() => {
                    self.publisher.wakeups.close();
                    self.publisher.dead_letters.close();
                    self.stopping = Some(Instant::now());
                    None
                }
                Some(letter) = self.publisher.dead_letters.recv(), if room => {
                    Some((DEAD_LETTERS.to_owned(), wire::write_dead_letter(&letter), Published::DeadLetter))
                }
                Some(waiting) = self.publisher.wakeups.recv(), if room => fresh(waiting),
            };
            if let Some((key, body, published)) = next {
                self.number += 1;
                self.unconfirmed.insert(self.number, (published, Instant::now()));
                let number = self.number;
                answers.push(async move { (number, publish(channel, key, &body).await) });
            }
        }
    }

    /// When something must have happened.
    fn deadline(&self) -> Option<Instant> {
        let flushed = self.stopping.map(|since| since + FLUSH_WITHIN);
        let oldest = self.unconfirmed.first_key_value().filter(|_| !self.blocked);
        let confirmed = oldest.map(|(_, (_, since))| *since + CONFIRM_WITHIN);
        [flushed, confirmed].into_iter().flatten().min()
    }

    fn out_of_time(&self) -> Result<(), Broken> {
        match self.stopping {
            Some(since) if since.elapsed() >= FLUSH_WITHIN => Ok(()),
            Some(_) | None => Err(Broken::Silent { what: "confirm a publication", within: CONFIRM_WITHIN }),
        }
    }

    /// While it is blocked the client writes nothing, not even heartbeats, so nothing is sent into it and nothing is late.
    fn heed(&mut self, event: Event) {
        if let Event::ConnectionBlocked(reason) = event {
            tracing::warn!(%reason, "the broker takes no wakeups until it has memory and disk again; the sweep carries on");
            self.blocked = true;
            self.publisher.status.set(State::Blocked);
        } else if matches!(event, Event::ConnectionUnblocked) {
            tracing::info!("the broker takes wakeups again");
            self.blocked = false;
            self.publisher.status.set(State::Up);
            let now = Instant::now();
            self.unconfirmed.values_mut().for_each(|(_, since)| *since = now);
        }
    }

    /// A mandatory publication to a queue that is not there comes back, and is confirmed all the same (traps.md 1).
    fn answered(&mut self, number: u64, answer: lapin::Result<Confirmation>) -> Result<(), Broken> {
        // What failed stays among the unconfirmed: the connection ends, and they are counted.
        let confirmation = answer?;
        let Some((published, _)) = self.unconfirmed.remove(&number) else { return Ok(()) };
        let result = match &confirmation {
            Confirmation::Ack(None) => "sent",
            Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
                tracing::debug!(reply = returned.reply_code, "a publication came back: its queue is gone");
                "returned"
            }
            Confirmation::Nack(None) => "refused",
            // Only on a channel without confirms, which ours is not.
            Confirmation::NotRequested => "unconfirmed",
        };
        let queue = match published {
            Published::Wakeup(destination) => {
                count(result, 1);
                Some(destination)
            }
            Published::DeadLetter => {
                count_dead_letter(result);
                None
            }
        };
        if result == "returned" {
            self.missing.insert(queue);
        }
        Ok(())
    }

    /// Declares what was missing, and ends the connection: the broker goes on counting what one of its channels sent to a queue where it
    /// was when the queue was deleted, so that the new one waits in vain for what came before (measured, 3.10.8).
    async fn declare_missing(&mut self) -> Result<(), Broken> {
        let (connection, chance) = (&self.link.connection, self.publisher.settings.chance);
        topology::exchange(connection).await?;
        while let Some(queue) = self.missing.pop_first() {
            match queue {
                Some(destination) => topology::deliver_queue(connection, &destination, chance).await?,
                None => topology::dead_letters_queue(connection, chance).await?,
            }
        }
        Err(Broken::Missing)
    }
}

/// What to publish for a wakeup, unless it has waited too long.
fn fresh(waiting: Waiting) -> Option<(String, Vec<u8>, Published)> {
    let Waiting { wakeup, since } = waiting;
    if since.elapsed() > WAIT_MAX {
        count("unavailable", 1);
        return None;
    }
    Some((queue_of(&wakeup.destination), wire::write(&wakeup), Published::Wakeup(wakeup.destination)))
}

async fn publish(channel: &Channel, key: String, body: &[u8]) -> lapin::Result<Confirmation> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let persistent = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
    channel.basic_publish(EXCHANGE.into(), key.into(), options, body, persistent).await?.await
}
