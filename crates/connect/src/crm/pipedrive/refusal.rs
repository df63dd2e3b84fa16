//! What Pipedrive's refusals mean (crm-apis.md 6; pipedrive.readme.io, rate limiting; the changelog on `feature_capping_*`).

use std::time::Duration;

use model::{Class, Failure, Scope};
use serde_json::Value;

use crate::crm::refusal::{Call, by_status};
use crate::crm::same::{hushed, naming};
use crate::{Reply, WriteRecord};

/// What is left of the day's budget of tokens.
pub(super) const DAILY_LEFT: &str = "x-daily-ratelimit-token-remaining";
/// The window of the burst limit.
pub(super) const BURST: Duration = Duration::from_secs(2);
/// How long to wait where nobody says how long: the day's budget comes back at a midnight that is not told, and a plan is changed by a person.
const LONG: Duration = Duration::from_secs(3_600);
/// Flooding is answered by the edge, which forgets after a while.
const FLOODED: Duration = Duration::from_secs(60);

/// A reply that is no success.
pub(super) fn refused(reply: &Reply, call: Call) -> Failure {
    let body = reply.json();
    let (code, message) = words(body.as_ref());
    let throttled = |code: &str, message: &str, wait| {
        let failure = Failure::new(Class::Throttled, Scope::Destination, code, message);
        Failure { retry_after: Some(wait), ..failure }
    };
    let daily = reply.header(DAILY_LEFT).is_some_and(|left| left.trim() == "0");
    match reply.status {
        429 if daily => throttled("daily_budget", "the company's daily budget of API tokens is used up", LONG),
        429 => {
            let told = reply.header("x-ratelimit-reset").and_then(|seconds| seconds.trim().parse::<u64>().ok());
            let wait = told.map(Duration::from_secs).unwrap_or_default().clamp(BURST, FLOODED);
            throttled(if code.is_empty() { "http_429" } else { &code }, "too many calls in two seconds", wait)
        }
        403 if code.starts_with("feature_capping_") => {
            throttled(&code, "the plan's limit of such records is reached: free some, or change the plan in Pipedrive", LONG)
        }
        // The API itself answers in JSON; the edge in front of it, after a flood of calls, in HTML.
        403 if body.is_none() => throttled("flooded", "calls are blocked for a while because there were too many", FLOODED),
        // A refusal in an answer with a good status.
        200..=299 => by_status(&Reply { status: 400, headers: Vec::new(), body: Vec::new() }, call, &code, &message),
        _ => by_status(reply, call, &code, &message),
    }
}

/// The code and the sentence of `{"success":false,"error":…,"error_info":…,"code":…}`.
fn words(body: Option<&Value>) -> (String, String) {
    let text = |name: &str| body.and_then(|body| body[name].as_str()).unwrap_or_default().to_owned();
    (text("code"), text("error"))
}

/// The same without the record's own values, and with those of its fields that the sentence names.
pub(super) fn told_of(failure: Failure, record: &WriteRecord) -> Failure {
    let said = failure.message.clone();
    let failure = naming(failure, record, &said);
    Failure { message: hushed(&said, record), ..failure }
}
