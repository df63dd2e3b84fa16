//! What HubSpot's refusals mean (crm-apis.md 3.1, 3.5 and 3.6).

use std::time::Duration;

use model::event::Mode;
use model::{Class, Failure, Reason, Scope};
use serde_json::Value;

use super::{EMAIL, garbage, valid_id};
use crate::wire::http_date;
use crate::{Reply, WriteBatch, Written, valid_name};

/// HubSpot's own client waits as long for its ten-secondly limit, and a second for the secondly one.
const TEN_SECONDLY_PAUSE: Duration = Duration::from_secs(10);
const SECONDLY_PAUSE: Duration = Duration::from_secs(1);
/// The daily limit ends at midnight in the account's time zone, which the answer does not name; every zone's midnight is one of these.
const QUARTER_SECONDS: i64 = 15 * 60;
/// A migration between data centres that does not say how long it takes.
const MIGRATION_PAUSE: Duration = Duration::from_secs(15 * 60);
/// A lock lasts two seconds.
const LOCK_PAUSE: Duration = Duration::from_secs(2);
/// "Pause a few seconds", says the documentation of the 5xx.
const TROUBLE_PAUSE: Duration = Duration::from_secs(3);

/// What kind of call was refused, which says whom the refusal concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// A batch of one: what is wrong with it is wrong with its record.
    One(Mode),
    /// Several records: something in the request as a whole, or a record that spoils it.
    Many,
    /// A look-up or a probe.
    Read,
}

/// One error object. All of its members are optional.
#[derive(Debug, Default)]
pub(super) struct CrmError {
    category: String,
    message: String,
    /// The finer codes, each with the property it concerns: `INVALID_EMAIL`.
    details: Vec<(String, Option<String>)>,
    existing: Option<String>,
    /// The inputs it names: by trace id …
    pub traces: Vec<String>,
    /// … or by key or record id.
    pub ids: Vec<String>,
}

impl CrmError {
    pub(super) fn read(value: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let message = text(&value["message"]).unwrap_or_default();
        let category = ["category", "errorType"].into_iter().find_map(|name| text(&value[name])).unwrap_or_default();
        if message.is_empty() && category.is_empty() {
            return None;
        }
        let context = &value["context"];
        let mut details: Vec<(String, Option<String>)> = value["errors"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .take(50)
            .filter_map(|one| Some((text(&one["code"])?, strings(&one["context"]["propertyName"]).pop())))
            .collect();
        details.extend(embedded(&message));
        let existing = strings(&context["existingId"]).pop().or_else(|| {
            let (_, rest) = message.split_once("Existing ID:")?;
            Some(rest.trim_start().chars().take_while(char::is_ascii_digit).collect())
        });
        Some(Self {
            category,
            details,
            existing: existing.filter(|id| valid_id(id)),
            traces: strings(&context["objectWriteTraceId"]),
            ids: [&context["ids"], &context["id"]].into_iter().flat_map(strings).collect(),
            message,
        })
    }

    /// The finest word there is for it.
    fn code(&self, status: u16) -> String {
        match self.details.first() {
            Some((code, _)) => code.clone(),
            None if !self.category.is_empty() => self.category.clone(),
            None => format!("http_{status}"),
        }
    }

    fn failure(&self, status: u16, class: Class, scope: Scope) -> Failure {
        let mut failure = Failure::new(class, scope, self.code(status), self.said());
        failure.fields = self.details.iter().filter_map(|(_, field)| field.clone()).filter(|field| valid_name(field)).take(50).collect();
        failure
    }

    /// The message, without the values that HubSpot repeats in the list of what was not valid.
    fn said(&self) -> String {
        match self.message.split_once("[{") {
            Some((head, _)) if !self.details.is_empty() => {
                let named =
                    self.details.iter().map(|(code, field)| field.as_ref().map_or(code.clone(), |field| format!("{field}: {code}")));
                format!("{}{}", head, named.collect::<Vec<_>>().join(", "))
            }
            Some(_) | None => self.message.clone(),
        }
    }

    fn says(&self, text: &str) -> bool {
        self.message.contains(text)
    }

    /// The table for a record's own error: a category that is not in it will be refused again.
    fn class(&self) -> Class {
        let taken = self.details.iter().any(|(code, _)| code == "CONFLICTING_UNIQUE_VALUE");
        match self.category.as_str() {
            "CONFLICT" | "OBJECT_ALREADY_EXISTS" | "OBJECT_NOT_FOUND" => Class::Conflict,
            // The value may have been taken by a write that ran beside this one.
            "VALIDATION_ERROR" if taken || self.says("Duplicate IDs found in batch input") => Class::Conflict,
            "LOCKED" => Class::Retryable,
            "RATE_LIMITS" | "RATE_LIMIT" => Class::Throttled,
            "EXPIRED_AUTHENTICATION" | "INVALID_AUTHENTICATION" | "MISSING_SCOPES" => Class::Auth,
            "INTERNAL_ERROR" => Class::Unknown,
            _ => Class::Permanent,
        }
    }

    /// The destination is set up in a way that no record can pass.
    fn misconfigured(&self) -> bool {
        self.says("by non-unique") || self.says("Unable to infer object type")
    }
}

/// Texts, whether they come as one or as a list.
fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values.iter().take(200).filter_map(|value| value.as_str().map(str::to_owned)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

/// `Property values were not valid: [{"isValid":false,"error":"INVALID_EMAIL","name":"email",…}]`: a list of its own inside the message.
fn embedded(message: &str) -> Vec<(String, Option<String>)> {
    let list = message.find("[{").and_then(|at| serde_json::Deserializer::from_str(&message[at..]).into_iter::<Value>().next()?.ok());
    let one = |value: &Value| Some((value["error"].as_str()?.to_owned(), value["name"].as_str().map(str::to_owned)));
    list.as_ref().and_then(Value::as_array).map(|list| list.iter().take(50).filter_map(one).collect()).unwrap_or_default()
}

/// The category of a refusal; empty if it names none.
pub(super) fn category(reply: &Reply) -> String {
    read(reply).map(|error| error.category).unwrap_or_default()
}

fn read(reply: &Reply) -> Option<CrmError> {
    CrmError::read(&reply.json()?)
}

/// What a reply other than 2xx means for the whole call.
pub(super) fn refused(reply: &Reply, call: Call) -> Failure {
    let status = reply.status;
    let named = read(reply);
    let error = named.as_ref();
    let whole = |class, scope, otherwise: &str| match error {
        Some(error) => error.failure(status, class, scope),
        None => Failure::new(class, scope, format!("http_{status}"), otherwise),
    };
    let after = |pause, failure| Failure { retry_after: Some(pause), ..failure };
    match status {
        401 => whole(Class::Auth, Scope::Destination, "the token was refused: renew it in the private app's settings"),
        403 => whole(Class::Auth, Scope::Destination, "access was refused without a reason: look at the private app's scopes"),
        408 => whole(Class::Unknown, Scope::Destination, "the CRM did not say what became of the call"),
        413 | 414 | 431 => match call {
            Call::One(_) => whole(Class::Permanent, Scope::Record, "the request is too large for the CRM"),
            Call::Many | Call::Read => {
                Failure { code: "too_large".to_owned(), ..whole(Class::Conflict, Scope::Call, "the request is too large for the CRM") }
            }
        },
        423 => after(LOCK_PAUSE, whole(Class::Retryable, Scope::Call, "the CRM holds a lock")),
        429 => throttled(reply, whole(Class::Throttled, Scope::Destination, "too many requests")),
        477 => after(MIGRATION_PAUSE, whole(Class::Throttled, Scope::Destination, "the account is being moved to another data centre")),
        // The edge did not get through to HubSpot itself.
        521 | 522 | 523 | 525 | 526 => {
            after(TROUBLE_PAUSE, whole(Class::Retryable, Scope::Destination, "the CRM's edge cannot reach the CRM"))
        }
        500..=599 => after(TROUBLE_PAUSE, whole(Class::Unknown, Scope::Destination, "the CRM did not say what became of the call")),
        400..=499 => match error {
            Some(error) if error.misconfigured() => error.failure(status, Class::Permanent, Scope::Destination),
            Some(error) if status != 404 || error.category == "OBJECT_NOT_FOUND" => by_call(error, status, call),
            Some(_) | None if status == 404 => {
                whole(Class::Permanent, Scope::Destination, "there is nothing at this address: is `base_url` that of the API?")
            }
            Some(_) | None => {
                let scope = if matches!(call, Call::One(_)) { Scope::Record } else { Scope::Call };
                whole(Class::Permanent, scope, "the CRM refused the request without saying why")
            }
        },
        _ => garbage(reply),
    }
}

fn by_call(error: &CrmError, status: u16, call: Call) -> Failure {
    match call {
        Call::One(mode) => record(std::slice::from_ref(error), mode, status),
        // One that spoils it for the others is found by halving.
        Call::Many | Call::Read => error.failure(status, error.class(), Scope::Call),
    }
}

fn throttled(reply: &Reply, failure: Failure) -> Failure {
    let body = reply.json().unwrap_or_default();
    let policy = body["policyName"].as_str().unwrap_or_default().to_ascii_lowercase();
    let says = |word: &str| policy == word || failure.message.to_ascii_lowercase().contains(&format!("{word} limit"));
    let pause = if says("daily") {
        // At each quarter of an hour the day may have ended.
        let into = reply.header("date").and_then(http_date).map_or(0, |now| now.seconds().rem_euclid(QUARTER_SECONDS));
        Duration::from_secs(u64::try_from(QUARTER_SECONDS - into).unwrap_or_default())
    } else if says("secondly") {
        SECONDLY_PAUSE
    } else {
        TEN_SECONDLY_PAUSE
    };
    let failure = match policy.is_empty() {
        true => failure,
        false => Failure::new(Class::Throttled, Scope::Destination, policy.to_ascii_uppercase(), failure.message),
    };
    Failure { retry_after: Some(pause), ..failure }
}

/// What the errors of one record mean: what can never succeed outweighs what could.
pub(super) fn record(errors: &[CrmError], mode: Mode, status: u16) -> Failure {
    let weight = |error: &&CrmError| match error.class() {
        Class::Permanent => 5,
        Class::Conflict => 4,
        Class::Unknown => 3,
        Class::Auth => 2,
        Class::Throttled => 1,
        Class::Retryable => 0,
    };
    let Some(error) = errors.iter().max_by_key(weight) else {
        return Failure::new(Class::Permanent, Scope::Record, "unnamed", "the CRM refused the record without saying why");
    };
    let mut failure = error.failure(status, error.class(), Scope::Record);
    failure.retry_after = (failure.class == Class::Retryable).then_some(LOCK_PAUSE);
    if error.category == "OBJECT_NOT_FOUND" && mode == Mode::UpdateOnly {
        (failure.class, failure.reason) = (Class::Permanent, Some(Reason::RecordNotFound));
    }
    failure
}

/// The same, for a write that may have found what it was to create: in mode create-only, that is what was wanted.
pub(super) fn outcome(batch: &WriteBatch, errors: &[CrmError], status: u16) -> Result<Written, Failure> {
    let there = |error: &&CrmError| {
        let key = |(code, field): &(String, Option<String>)| code == "CONFLICTING_UNIQUE_VALUE" && field.as_ref() == Some(&batch.key_field);
        error.details.iter().any(key) || (batch.key_field == EMAIL && error.category == "CONFLICT" && error.existing.is_some())
    };
    match errors.iter().find(there) {
        Some(error) if batch.mode == Mode::CreateOnly => Ok(Written { crm_id: error.existing.clone(), created: Some(false) }),
        Some(_) | None => Err(record(errors, batch.mode, status)),
    }
}

/// The failure of a batch of one, unless its record is there as wanted.
pub(super) fn already_there(batch: &WriteBatch, failure: Failure, reply: &Reply) -> Result<Written, Failure> {
    match read(reply).map(|error| outcome(batch, &[error], reply.status)) {
        Some(Ok(written)) => Ok(written),
        Some(Err(_)) | None => Err(failure),
    }
}
