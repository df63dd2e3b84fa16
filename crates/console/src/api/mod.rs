//! The admin API (DESIGN section 8). Reading needs the role viewer, changing needs operator.

mod catch_up;
pub(crate) mod openapi;
pub(crate) mod read;
mod reconcile;
pub(crate) mod sources;
pub(crate) mod write;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::problem::{Problem, Refusal};
use crate::{App, guard};

/// Bytes of a replay's body, which may hold an edited payload of 1 MiB with its escapes.
pub(crate) const REPLAY_BYTES_MAX: usize = 2 * 1_024 * 1_024;

pub(crate) fn routes(app: &App) -> Router {
    Router::new()
        .route("/trace", get(read::trace))
        .route("/events", get(read::events))
        .route("/events/{id}", get(read::event))
        .route("/raw-events/{id}", get(read::raw_event))
        .route("/dead-letters", get(read::dead_letters))
        .route("/dead-letters/{id}/replay", post(write::replay).layer(DefaultBodyLimit::max(REPLAY_BYTES_MAX)))
        .route("/dead-letters/{id}/assign", post(write::assign))
        .route("/dead-letters/{id}/resolve", post(write::resolve))
        .route("/replays", post(write::begin_replay))
        .route("/replays/{id}", get(read::replay))
        .route("/destinations", get(read::destinations))
        .route("/destinations/{name}/pause", post(write::pause))
        .route("/destinations/{name}/resume", post(write::resume))
        .route("/sources", get(sources::list))
        .route("/sources/{name}/drift", get(sources::drift))
        .route("/sources/{name}/rejected", get(sources::rejected))
        .route("/sources/{name}/rejected/retry", post(sources::retry))
        .route("/sources/{name}/catch-up", get(catch_up::of_source).post(catch_up::begin))
        .route("/catch-ups/{id}", get(catch_up::one))
        .route("/reconciliations", get(reconcile::list).post(reconcile::begin))
        .route("/reconciliations/{id}", get(reconcile::one))
        .route("/audit", get(read::audit))
        .route("/rejected", get(read::rejected))
        .route("/openapi.json", get(openapi::document))
        .fallback(async || -> Refusal { Problem::NotFound.because("There is no such path; /api/openapi.json lists them all.") })
        .method_not_allowed_fallback(async || -> Refusal { Problem::MethodNotAllowed.because("/api/openapi.json lists the methods.") })
        .layer(from_fn_with_state(app.clone(), guard::api))
        .with_state(app.clone())
}

/// The id in a path: 400 if it is not one of this kind.
pub(crate) fn id<T>(text: &str, parse: impl FnOnce(&str) -> Option<T>, prefix: &str) -> Result<T, Refusal> {
    parse(text).ok_or_else(|| Problem::MalformedId.because(format!("An id here is `{prefix}` and 13 letters and digits.")))
}
