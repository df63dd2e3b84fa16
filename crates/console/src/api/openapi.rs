//! The description of the API, written by hand and checked by a test against the routes.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use crate::App;

/// The text, with the version left out.
pub(crate) const TEXT: &str = include_str!("openapi.json");

pub(super) async fn document(State(app): State<App>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], TEXT.replace("{{version}}", &app.console.version.replace(['"', '\\'], "")))
}
