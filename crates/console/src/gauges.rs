//! The ledger-wide gauges of DESIGN section 11.

use std::collections::BTreeSet;
use std::time::Duration;

use metrics::gauge;
use model::Time;
use store::{Error, Gauges, Store};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// The ledger is asked at most this often, however many scrape.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// A ledger that hangs must not keep a scrape from what the process knows by itself: that is when it is worth most.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

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
    budgets: BTreeSet<(String, &'static str)>,
}

impl LedgerGauges {
    /// Sets the gauges from the ledger, unless that was done less than a second ago. The ledger is waited for, for 2 s at most.
    ///
    /// # Errors
    ///
    /// The ledger did not answer, or not in time; the gauges are as they were.
    pub async fn refresh(&self, store: &Store, now: Time) -> Result<(), Error> {
        // Together with the wait for another scrape that waits for the same.
        let late = |_| Error::Unavailable(format!("the ledger has not told its numbers within {} s", ANSWER_WITHIN.as_secs()));
        timeout(ANSWER_WITHIN, self.ask(store, now)).await.map_err(late)?
    }

    async fn ask(&self, store: &Store, now: Time) -> Result<(), Error> {
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
        let budgets: BTreeSet<_> = found.quota.iter().map(|(destination, left)| (destination.clone(), left.window.as_str())).collect();
        // A budget that nothing is known of any more has neither calls left nor a limit.
        for (destination, window) in last.budgets.difference(&budgets) {
            let labels = [("destination", destination.clone()), ("window", (*window).to_owned())];
            gauge!("onceward_quota_remaining", &labels).set(0.0);
            gauge!("onceward_quota_limit", &labels).set(0.0);
        }
        set(now, &found);
        last.budgets.extend(budgets);
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
    for (destination, left) in &found.quota {
        let labels = [("destination", destination.clone()), ("window", left.window.as_str().to_owned())];
        gauge!("onceward_quota_remaining", &labels).set(left.left as f64);
        gauge!("onceward_quota_limit", &labels).set(left.limit as f64);
    }
    for (destination, at_once) in &found.concurrency {
        gauge!("onceward_destination_concurrency", "destination" => destination.clone()).set(f64::from(*at_once));
    }
    for (destination, at) in &found.reconciled {
        gauge!("onceward_reconcile_last_timestamp_seconds", "destination" => destination.clone()).set(at.0 as f64 / 1e6);
    }
    for (source, at) in &found.sources {
        gauge!("onceward_source_last_event_timestamp_seconds", "source" => source.clone()).set(at.0 as f64 / 1e6);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ledger_that_never_answers_holds_a_scrape_up_for_two_seconds_only() {
        // Takes connections in and says nothing, like a server whose machine is frozen.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let store = Store::open(&format!("postgres://onceward@{}/onceward", silent.local_addr().unwrap())).await.unwrap();
        let asked = LedgerGauges::default();
        let refusal = tokio::time::timeout(ANSWER_WITHIN * 2, asked.refresh(&store, Time::from_seconds(1))).await.expect("in time");
        assert!(matches!(refusal, Err(Error::Unavailable(_))), "{refusal:?}");
    }
}
