//! What every process serves without a token: metrics, life, readiness.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use queue::{Queue, State as QueueState};
use serde_json::json;
use store::Store;

use crate::{Clock, LedgerGauges, RenderMetrics, guard};

/// What the probes need.
#[derive(Clone)]
pub struct Probes {
    /// The ledger, whose health is readiness.
    pub store: Store,
    /// The queue, without which everything works, only later.
    pub queue: Queue,
    /// The time.
    pub now: Clock,
    /// What `/metrics` answers.
    pub metrics: RenderMetrics,
    /// The ledger-wide gauges, in processes that run the console; `None` in workers.
    pub gauges: Option<Arc<LedgerGauges>>,
}

/// The admin listener of a process without a console: `/metrics`, `/healthz`, `/readyz`.
pub fn probes(probes: Probes) -> Router {
    guard::around(routes(probes))
}

pub(crate) fn routes(probes: Probes) -> Router {
    Router::new().route("/metrics", get(metrics)).route("/healthz", get(async || "ok\n")).route("/readyz", get(ready)).with_state(probes)
}

async fn metrics(State(probes): State<Probes>) -> impl IntoResponse {
    if let Some(gauges) = &probes.gauges
        && let Err(error) = gauges.refresh(&probes.store, (probes.now)()).await
    {
        // The process's own counters are worth having most when the ledger is away.
        tracing::warn!(error = %error, "the ledger-wide gauges are not fresh");
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (probes.metrics)())
}

async fn ready(State(probes): State<Probes>) -> impl IntoResponse {
    let mut reasons = Vec::new();
    match probes.store.pending_migrations().await {
        Ok(pending) if pending.is_empty() => {
            if let Err(error) = probes.store.writable().await {
                reasons.push(format!("The ledger takes no writes: {error}"));
            }
        }
        Ok(pending) => reasons.push(format!("The ledger lacks migrations ({}): run `onceward migrate`.", pending.join(", "))),
        Err(error) => reasons.push(format!("The ledger does not answer: {error}")),
    }
    let degraded = match probes.queue.state() {
        QueueState::Up => Vec::new(),
        QueueState::Blocked => {
            vec!["The broker takes nothing: its memory or disk is short. Deliveries wait for the sweep, up to 5 s longer."]
        }
        QueueState::Down => vec!["The broker cannot be reached. Deliveries wait for the sweep, up to 5 s longer."],
    };
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": reasons.is_empty(), "reasons": reasons, "degraded": degraded })))
}
