//! The ledger-wide gauges of DESIGN section 11.

use std::collections::BTreeSet;
use std::time::Duration;

use metrics::gauge;
use model::Time;
use store::{Error, Gauges, Store};
use tokio::sync::Mutex;

/// The ledger is asked at most this often, however many scrape.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// Remembers when the gauges were last set and for which labels, so that a count that is gone from the ledger is shown as zero.
#[derive(Default)]
pub struct LedgerGauges {
    last: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    at: Option<Time>,
    dead_letters: BTreeSet<(String, &'static str)>,
    oldest_dead_letters: BTreeSet<String>,
    queues: BTreeSet<String>,
}

impl LedgerGauges {
    /// Sets the gauges from the ledger, unless that was done less than a second ago.
    ///
    /// # Errors
    ///
    /// The ledger did not answer; the gauges are as they were.
    pub async fn refresh(&self, store: &Store, now: Time) -> Result<(), Error> {
        let mut last = self.last.lock().await;
        if last.at.is_some_and(|at| at <= now && now.since(at) < FRESH_FOR) {
            return Ok(());
        }
        let found = store.gauges(now).await?;
        for (destination, reason) in &last.dead_letters {
            gauge!("onceward_dead_letters", "destination" => destination.clone(), "reason" => *reason).set(0.0);
        }
        for destination in &last.oldest_dead_letters {
            gauge!("onceward_dead_letters_oldest_age_seconds", "destination" => destination.clone()).set(0.0);
        }
        for destination in &last.queues {
            gauge!("onceward_queue_depth", "destination" => destination.clone()).set(0.0);
            gauge!("onceward_queue_oldest_age_seconds", "destination" => destination.clone()).set(0.0);
        }
        set(now, &found);
        last.dead_letters.extend(found.dead_letters.into_iter().map(|(destination, reason, _)| (destination, reason.as_str())));
        last.oldest_dead_letters.extend(found.oldest_dead_letters.into_iter().map(|(destination, _)| destination));
        last.queues.extend(found.queue.into_iter().map(|(destination, _, _)| destination));
        last.at = Some(now);
        Ok(())
    }
}

/// Sets the ledger-wide gauges once, without remembering anything.
///
/// # Errors
///
/// The ledger did not answer; the gauges are as they were.
pub async fn refresh_gauges(store: &Store, now: Time) -> Result<(), Error> {
    set(now, &store.gauges(now).await?);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts stay far below 2^52")]
fn set(now: Time, found: &Gauges) {
    for (destination, open, oldest) in &found.queue {
        let age = oldest.map_or(0.0, |at| now.since(at).as_secs_f64());
        gauge!("onceward_queue_depth", "destination" => destination.clone()).set(*open as f64);
        gauge!("onceward_queue_oldest_age_seconds", "destination" => destination.clone()).set(age);
    }
    for (destination, reason, count) in &found.dead_letters {
        gauge!("onceward_dead_letters", "destination" => destination.clone(), "reason" => reason.as_str()).set(*count as f64);
    }
    for (destination, at) in &found.oldest_dead_letters {
        let age = now.since(*at).as_secs_f64();
        gauge!("onceward_dead_letters_oldest_age_seconds", "destination" => destination.clone()).set(age);
    }
    for (destination, held) in &found.destinations {
        for state in model::destination::Destination::STATES {
            let value = if state == held { 1.0 } else { 0.0 };
            gauge!("onceward_destination_state", "destination" => destination.clone(), "state" => state).set(value);
        }
    }
    for (source, at) in &found.sources {
        gauge!("onceward_source_last_event_timestamp_seconds", "source" => source.clone()).set(at.0 as f64 / 1e6);
    }
}
