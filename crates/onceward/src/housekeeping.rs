//! What must be done now and then while everything runs: metrics tidied up, and what retention no longer allows dropped.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use store::Store;
use tokio::time::sleep;

use crate::clock;
use crate::configuration::Retention;

/// How often metrics are tidied up.
const UPKEEP: Duration = Duration::from_secs(5);
/// How often the ledger is looked through for what is too old.
const RETAIN_EVERY: Duration = Duration::from_secs(3_600);
/// Rows in one transaction of retention, so that nobody waits for it.
const ROWS_AT_ONCE: u32 = 500;
/// The pause between two of them.
const BREATH: Duration = Duration::from_millis(200);

/// Keeps metrics tidy until it is dropped.
pub async fn tidy(metrics: PrometheusHandle) {
    loop {
        sleep(UPKEEP).await;
        metrics.run_upkeep();
    }
}

/// Drops what is too old, now and every hour, until it is dropped itself.
pub async fn retain(store: Store, retention: Retention) {
    loop {
        sleep(UPKEEP).await;
        retain_once(&store, &retention).await;
        sleep(RETAIN_EVERY).await;
    }
}

async fn retain_once(store: &Store, retention: &Retention) {
    loop {
        let now = clock::now();
        let dropped = store.retain(now, now - retention.raw_events, now - retention.payloads, now - retention.keys, ROWS_AT_ONCE).await;
        match dropped {
            Ok(dropped) => {
                if dropped.raw_events + dropped.payloads + dropped.calls + dropped.events + dropped.rejected > 0 {
                    tracing::info!(
                        raw_events = dropped.raw_events,
                        payloads = dropped.payloads,
                        calls = dropped.calls,
                        events = dropped.events,
                        rejected = dropped.rejected,
                        "retention dropped what was too old"
                    );
                }
                if !dropped.more {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "retention could not drop what is too old; it tries again in an hour");
                return;
            }
        }
        sleep(BREATH).await;
    }
}
