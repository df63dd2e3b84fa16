//! Agiled's answers and refusals (agiled-docs.pages.dev: errors and rate limits, idempotency).

use std::time::Duration;

use model::{Class, Failure, Scope};
use serde_json::Value;

use crate::Reply;
use crate::crm::refusal::{Call, by_status};

/// The window of its limits, where `Retry-After` is missing.
const WINDOW: Duration = Duration::from_secs(60);

/// What an answer holds: the documentation shows none, so it may stand alone or under `data`.
pub(super) fn data(body: &Value) -> &Value {
    if body["data"].is_null() { body } else { &body["data"] }
}

/// The records of a list.
pub(super) fn rows(body: &Value) -> Option<&[Value]> {
    data(body).as_array().map(Vec::as_slice)
}

/// A reply that is no success: "a JSON object with an error message".
pub(super) fn refused(reply: &Reply, call: Call) -> Failure {
    let body = reply.json().unwrap_or_default();
    let text = |value: &Value| value.as_str().or_else(|| value["message"].as_str()).unwrap_or_default().to_owned();
    let message = Some(text(&body["error"])).filter(|text| !text.is_empty()).unwrap_or_else(|| text(&body["message"]));
    match (reply.status, call) {
        // Never another key to get past it: the first request may have been applied.
        (409, Call::One(_)) => {
            let said = "the idempotency key was used with another body, which is a bug of ours: report it with this record's trace";
            Failure::new(Class::Permanent, Scope::Record, "idempotency_conflict", said)
        }
        (429, _) => Failure { retry_after: Some(WINDOW), ..by_status(reply, call, "", &message) },
        _ => {
            let fields = body["errors"].as_object().map(|errors| errors.keys().take(50).cloned().collect()).unwrap_or_default();
            Failure { fields, ..by_status(reply, call, "", &message) }
        }
    }
}
