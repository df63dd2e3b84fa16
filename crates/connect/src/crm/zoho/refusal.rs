//! What Zoho's refusals mean (crm-apis.md 5.1 and 5.3).

use std::time::Duration;

use model::event::Mode;
use model::record::Link;
use model::{Class, Failure, Scope};
use serde_json::Value;

use crate::crm::refusal::{Call, by_status, missing};
use crate::{Reply, WriteBatch, WriteRecord, Written, valid_name};

use super::valid_id;

/// The token endpoint gives ten tokens in ten minutes.
const TOKEN_PAUSE: Duration = Duration::from_secs(10 * 60);
/// Too many calls at once: the others end soon.
const CROWDED_PAUSE: Duration = Duration::from_secs(5);
/// The day's credits are used up; the window rolls.
const CREDITS_PAUSE: Duration = Duration::from_secs(15 * 60);
/// A person, or a process of theirs, has the record.
const HELD_PAUSE: Duration = Duration::from_secs(60);

/// One error object: a record's, or the whole request's.
#[derive(Debug, Default)]
pub(super) struct CrmError {
    code: String,
    message: String,
    /// The field it is about.
    field: Option<String>,
    /// The record that has the value already.
    duplicate: Option<String>,
    /// Its place in the request, where `json_path` tells.
    pub place: Option<usize>,
}

impl CrmError {
    /// The error of one entry; of several in one, that which can never succeed.
    pub(super) fn read(value: &Value) -> Self {
        let code = value["code"].as_str().unwrap_or_default();
        if code == "MULTIPLE_OR_MULTI_ERRORS"
            && let Some(errors) = value["details"]["errors"].as_array()
        {
            let mut errors: Vec<Self> = errors.iter().take(50).map(Self::read).collect();
            // What is there already is told last: it may be what was wanted.
            errors.sort_by_key(|error| error.code == "DUPLICATE_DATA");
            return errors.into_iter().next().unwrap_or_default();
        }
        let details = &value["details"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let place = details["json_path"].as_str().and_then(|path| {
            let (_, rest) = path.split_once("data[")?;
            rest.split_once(']')?.0.parse().ok()
        });
        let duplicate = text(&details["duplicate_record"]["id"]).or_else(|| text(&details["id"])).filter(|id| valid_id(id));
        let message = text(&value["message"]).unwrap_or_default();
        Self { code: code.to_owned(), message, field: text(&details["api_name"]), duplicate, place }
    }

    fn failure(&self, class: Class, scope: Scope) -> Failure {
        let code = if self.code.is_empty() { "unnamed" } else { &self.code };
        let message = match &self.field {
            Some(field) if !self.message.contains(field.as_str()) => format!("{}: {field}", self.message),
            Some(_) | None => self.message.clone(),
        };
        let mut failure = Failure::new(class, scope, code, message);
        failure.fields = self.field.iter().filter(|field| valid_name(field)).cloned().collect();
        failure
    }

    fn after(&self, class: Class, scope: Scope, pause: Duration) -> Failure {
        Failure { retry_after: Some(pause), ..self.failure(class, scope) }
    }
}

/// The code of a refusal; empty if it names none.
pub(super) fn code(reply: &Reply) -> String {
    CrmError::read(&reply.json().unwrap_or_default()).code
}

/// What the error of one record means, and whether it is one at all: in mode create-only, a record that is there already is what was wanted,
/// and in mode delete one that is not there any more.
pub(super) fn of_record(batch: &WriteBatch, record: &WriteRecord, error: &CrmError) -> Result<Written, Failure> {
    let own = error.field.as_deref().is_some_and(|field| field == "id" || field == batch.key_field);
    let nameless = error.field.is_none() && error.message.contains("id given seems to be invalid");
    let absent = matches!(error.code.as_str(), "INVALID_DATA" | "RECORD_NOT_FOUND" | "NOT_FOUND") && (own || nameless);
    let linked = || error.field.as_ref().and_then(|field| record.fields.get(field)).is_some_and(|value| Link::of(value).is_some());
    match (error.code.as_str(), batch.mode) {
        ("INVALID_DATA" | "RECORD_NOT_FOUND" | "NOT_FOUND", Mode::Delete) => Ok(Written::default()),
        (_, Mode::UpdateOnly) if absent => Err(missing(&error.code, &error.message)),
        ("DUPLICATE_DATA", Mode::CreateOnly) if own => Ok(Written { crm_id: error.duplicate.clone(), created: Some(false) }),
        ("DUPLICATE_DATA", _) => Err(error.failure(Class::Conflict, Scope::Record)),
        // A parent that is not there (any more).
        ("INVALID_DATA", _) if linked() => Err(error.failure(Class::Conflict, Scope::Record)),
        ("RECORD_LOCKED" | "RECORD_IN_BLUEPRINT" | "NOT_APPROVED" | "ALREADY_MODIFIED" | "DEPENDENT_SERVICE_ERROR", _) => {
            Err(error.after(Class::Conflict, Scope::Record, HELD_PAUSE))
        }
        ("TOO_MANY_REQUESTS", _) => Err(error.after(Class::Throttled, Scope::Record, CROWDED_PAUSE)),
        ("LIMIT_EXCEEDED" | "LIMIT_REACHED", _) => Err(error.after(Class::Throttled, Scope::Record, CREDITS_PAUSE)),
        ("INTERNAL_ERROR", _) => Err(error.failure(Class::Unknown, Scope::Record)),
        // Everything else will be refused again: fields that are missing or do not fit, records that were converted, permissions.
        _ => Err(error.failure(Class::Permanent, Scope::Record)),
    }
}

/// What the refusal of a whole request means.
pub(super) fn of_request(reply: &Reply, call: Call) -> Failure {
    let error = CrmError::read(&reply.json().unwrap_or_default());
    match error.code.as_str() {
        "INVALID_TOKEN" | "AUTHENTICATION_FAILURE" | "OAUTH_SCOPE_MISMATCH" | "NO_PERMISSION" | "AUTHORIZATION_FAILED" => {
            error.failure(Class::Auth, Scope::Destination)
        }
        "INVALID_MODULE" | "INVALID_URL_PATTERN" | "INVALID_REQUEST_METHOD" | "FEATURE_NOT_SUPPORTED" | "API_NOT_SUPPORTED" => {
            error.failure(Class::Permanent, Scope::Destination)
        }
        "TOO_MANY_REQUESTS" => error.after(Class::Throttled, Scope::Destination, CROWDED_PAUSE),
        "LIMIT_EXCEEDED" | "LIMIT_REACHED" | "API_LIMIT_EXCEEDED" => error.after(Class::Throttled, Scope::Destination, CREDITS_PAUSE),
        "INTERNAL_ERROR" => error.failure(Class::Unknown, Scope::Destination),
        code => {
            let failure = by_status(reply, call, code, &error.message);
            let pause = (failure.class == Class::Throttled).then_some(CROWDED_PAUSE);
            Failure { retry_after: pause.or(failure.retry_after), ..failure }
        }
    }
}

/// What the refusal of a call that only reads means.
pub(super) fn of_read(reply: &Reply) -> Failure {
    of_request(reply, Call::Read)
}

/// Why there is no token: a dead one may come with status 200, and too many with 400.
pub(super) fn no_token(reply: &Reply, body: &Value) -> Failure {
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let said = text("error_description").unwrap_or_else(|| "the request for a token was refused".to_owned());
    let code = text("error").unwrap_or_else(|| format!("http_{}", reply.status));
    let crowded = reply.status == 429 || said.contains("too many requests");
    let (class, pause) = match reply.status {
        _ if crowded => (Class::Throttled, Some(TOKEN_PAUSE)),
        408 | 500..=599 => (Class::Retryable, None),
        _ => (Class::Auth, None),
    };
    Failure { retry_after: pause, ..Failure::new(class, Scope::Destination, code, said) }
}
