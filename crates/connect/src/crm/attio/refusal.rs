//! What Attio's refusals mean (crm-apis.md 7; codes seen in its OpenAPI description and in answers of the live API).

use std::time::Duration;

use model::event::Mode;
use model::record::Link;
use model::{Class, Failure, Scope};

use crate::crm::refusal::{Call, by_status, missing};
use crate::crm::same::{hushed, naming};
use crate::{Outcome, Reply, WriteBatch, Written};

/// The limits are per second.
const PAUSE: Duration = Duration::from_secs(1);
/// What the plan does not allow is not allowed a second later either.
const PLAN_PAUSE: Duration = Duration::from_secs(15 * 60);

/// Code and message of a refusal; empty where there is none.
pub(super) fn told(reply: &Reply) -> (String, String) {
    let body = reply.json().unwrap_or_default();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (text("code"), text("message"))
}

/// What a reply other than 2xx means.
pub(super) fn refused(reply: &Reply, call: Call) -> Failure {
    let (code, message) = told(reply);
    let whole = |class, scope| Failure::new(class, scope, code.clone(), message.clone());
    match (reply.status, code.as_str()) {
        (429, _) => Failure { retry_after: Some(PAUSE), ..by_status(reply, call, &code, &message) },
        (402, _) | (403, "quota_exceeded" | "billing_error") => {
            Failure { retry_after: Some(PLAN_PAUSE), ..whole(Class::Throttled, Scope::Destination) }
        }
        (_, "matching_attribute_definition_not_unique") => whole(Class::Permanent, Scope::Destination),
        _ => by_status(reply, call, &code, &message),
    }
}

/// What the refusal of a write means for its only record.
pub(super) fn of_write(batch: &WriteBatch, reply: &Reply) -> Outcome<Written> {
    let [record] = batch.records.as_slice() else { return Err(refused(reply, Call::Many)) };
    let (code, message) = told(reply);
    let failure = match (reply.status, code.as_str(), batch.mode) {
        (404, _, Mode::Delete) => return Ok(vec![Ok(Written::default())]),
        (404, _, Mode::UpdateOnly) => missing(&code, "Attio has no record with this id any more"),
        (400 | 409, "multiple_match_results", _) => crate::crm::refusal::several(),
        (400 | 409, "uniqueness_conflict", mode) => {
            let ours = message.to_lowercase().contains(&record.key.to_lowercase());
            if mode == Mode::CreateOnly && ours {
                return Ok(vec![Ok(Written { crm_id: None, created: Some(false) })]);
            }
            Failure::new(Class::Conflict, Scope::Record, code.clone(), "another record has a value that must be unique")
        }
        // A link by a match may be too early: its parent is still on its way.
        (400, "value_not_found", _) if record.fields.values().any(|value| Link::of(value).is_some_and(|link| link.crm_id.is_none())) => {
            Failure::new(Class::Conflict, Scope::Record, code.clone(), "a record that this one points at is not there, or an option is not")
        }
        (_, _, mode) => refused(reply, Call::One(mode)),
    };
    if failure.scope == Scope::Record {
        let failure = Failure { message: hushed(&failure.message, record), ..failure };
        return Ok(vec![Err(naming(failure, record, &message))]);
    }
    Err(failure)
}
