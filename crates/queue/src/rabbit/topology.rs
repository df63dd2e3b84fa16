//! What there is at the broker: exchange `onceward`, one durable quorum queue for each destination, one for dead letters.
//!
//! Everything is looked for before it is declared: what exists with other arguments is taken as it is, because an operator may have
//! declared it in another way, for reasons of their own, and may have forbidden us to declare anything.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Connection, ErrorKind, ExchangeKind};

use tokio::time::sleep;

use super::link::{ANSWER_WITHIN, Broken, ask, channel};

pub(super) const EXCHANGE: &str = "onceward";
pub(super) const DEAD_LETTERS: &str = "onceward.dead-letters";

/// The most wakeups that wait for workers that do not come. Further ones are refused: the sweep finds their records.
const WAKEUPS_MAX: i64 = 50_000;
/// The most dead letters that are shown; the oldest make way. All of them are in the ledger.
const DEAD_LETTERS_MAX: i64 = 50_000;
/// Bytes of either.
const BYTES_MAX: i64 = 64 << 20;
/// How far apart those who find a queue missing declare it, at most: RabbitMQ 3.10 fails with an internal error, or hangs, where several
/// declare the same quorum queue at once, as a fleet does that starts on a new broker.
const APART: Duration = Duration::from_millis(500);
/// The longest name of a queue in AMQP 0-9-1.
const NAME_BYTES_MAX: usize = 255;

/// Draws numbers in 0..1.
type Chance = fn() -> f64;

/// The queue of a destination, which is also its routing key.
pub(super) fn queue_of(destination: &str) -> String {
    let mut name = format!("onceward.deliver.{destination}");
    // Two names that become one share a queue; a wakeup says for itself whom it is for.
    while name.len() > NAME_BYTES_MAX {
        name.pop();
    }
    name
}

/// Sees to it that the exchange exists.
pub(super) async fn exchange(connection: &Connection) -> Result<(), Broken> {
    let declare = async |passive| {
        let options = ExchangeDeclareOptions { passive, durable: true, ..ExchangeDeclareOptions::default() };
        let channel = channel(connection).await?;
        let declaring = channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Direct, options, FieldTable::default());
        ask("declare the exchange", ANSWER_WITHIN, declaring).await
    };
    match declare(true).await {
        Err(error) if is_missing(&error) => declare(false).await,
        found => found,
    }
}

/// Sees to it that a destination's queue exists and is bound.
pub(super) async fn deliver_queue(connection: &Connection, destination: &str, chance: Chance) -> Result<(), Broken> {
    queue(connection, chance, &queue_of(destination), limited(WAKEUPS_MAX, "reject-publish")).await
}

/// Sees to it that the queue of dead letters exists and is bound.
pub(super) async fn dead_letters_queue(connection: &Connection, chance: Chance) -> Result<(), Broken> {
    queue(connection, chance, DEAD_LETTERS, limited(DEAD_LETTERS_MAX, "drop-head")).await
}

async fn queue(connection: &Connection, chance: Chance, name: &str, arguments: FieldTable) -> Result<(), Broken> {
    let declare = async |passive| {
        let options = QueueDeclareOptions { passive, durable: true, ..QueueDeclareOptions::default() };
        let channel = channel(connection).await?;
        let declaring = channel.queue_declare(name.into(), options, arguments.clone());
        ask("declare a queue", ANSWER_WITHIN, declaring).await?;
        Ok::<_, Broken>(channel)
    };
    let mut found = declare(true).await;
    if matches!(&found, Err(error) if is_missing(error)) {
        sleep(APART.mul_f64(chance().clamp(0.0, 1.0))).await;
        found = declare(true).await;
    }
    let channel = match found {
        Err(error) if is_missing(&error) => declare(false).await?,
        found => found?,
    };
    let binding = channel.queue_bind(name.into(), EXCHANGE.into(), name.into(), QueueBindOptions::default(), FieldTable::default());
    ask("bind a queue", ANSWER_WITHIN, binding).await
}

// No delivery limit: a worker that is killed would take innocent wakeups down with the guilty one (traps.md 2).
fn limited(length_max: i64, overflow: &str) -> FieldTable {
    let mut arguments = FieldTable::default();
    let mut set = |key: &str, value| {
        arguments.insert(ShortString::from(key), value);
    };
    set("x-queue-type", AMQPValue::LongString(LongString::from("quorum")));
    set("x-max-length", AMQPValue::LongLongInt(length_max));
    set("x-max-length-bytes", AMQPValue::LongLongInt(BYTES_MAX));
    set("x-overflow", AMQPValue::LongString(LongString::from(overflow)));
    arguments
}

/// 404: there is no such thing.
fn is_missing(error: &Broken) -> bool {
    let Broken::Failed(error) = error else { return false };
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == 404)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_a_name_that_the_broker_takes() {
        assert_eq!(queue_of("crm"), "onceward.deliver.crm");
        let long = queue_of(&"ü".repeat(300));
        assert!(long.len() <= NAME_BYTES_MAX && long.starts_with("onceward.deliver.ü"));
    }
}
