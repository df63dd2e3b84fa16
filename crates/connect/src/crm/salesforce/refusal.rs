//! What Salesforce's refusals mean (crm-apis.md 2.4 and 2.5).

use std::time::Duration;

use model::event::Mode;
use model::{Class, Failure, Reason, Scope};
use serde_json::Value;

use super::garbage;
use crate::Reply;

/// "Concurrent" means that too many *long* calls run at this moment; they end within 20 s or so.
const CONCURRENT_PAUSE: Duration = Duration::from_secs(30);
/// The daily allowance is a rolling window: some of it comes back all the time.
const ALLOWANCE_PAUSE: Duration = Duration::from_secs(15 * 60);
/// The login limit counts an hour.
const LOGIN_PAUSE: Duration = Duration::from_secs(60);

/// What kind of call was refused, which says whom the refusal concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// One record: what would be a result's error elsewhere comes as the call's.
    One(Mode),
    /// Several records: something in the request as a whole, or a record that spoils it.
    Many,
    /// A query or a probe.
    Read,
}

/// One error object. Salesforce calls the code `errorCode` for a request and `statusCode` for a record of Collections.
#[derive(Debug, Default)]
pub(super) struct CrmError {
    pub code: String,
    message: String,
    fields: Vec<String>,
}

impl CrmError {
    fn read(value: &Value) -> Option<Self> {
        let code = value["errorCode"].as_str().or_else(|| value["statusCode"].as_str())?;
        // Of a duplicate rule's finding only its own sentence: the matches may be other people's data.
        let rule = [&value["duplicateResut"], &value["duplicateResult"]].into_iter().find_map(|found| found["errorMessage"].as_str());
        let message = rule.or_else(|| value["message"].as_str()).unwrap_or_default();
        let fields = value["fields"].as_array().map(|fields| fields.iter().filter_map(|field| Some(field.as_str()?.to_owned())).collect());
        Some(Self { code: code.to_owned(), message: message.to_owned(), fields: fields.unwrap_or_default() })
    }

    fn failure(&self, class: Class, scope: Scope) -> Failure {
        let mut failure = Failure::new(class, scope, self.code.as_str(), self.message.as_str());
        failure.fields = self.fields.iter().take(50).cloned().collect();
        failure
    }
}

/// The errors of a refused request: an array as documented, a bare object as some examples show.
pub(super) fn errors(reply: &Reply) -> Vec<CrmError> {
    let body = reply.json().unwrap_or_default();
    match body.as_array() {
        Some(errors) => errors.iter().filter_map(CrmError::read).collect(),
        None => CrmError::read(&body).into_iter().collect(),
    }
}

/// What a reply other than 2xx means for the whole call.
pub(super) fn refused(reply: &Reply, call: Call) -> Failure {
    let errors = errors(reply);
    let Some(first) = errors.first() else { return by_status(reply, call) };
    let whole = |class, scope| first.failure(class, scope);
    match (reply.status, first.code.as_str()) {
        (300, _) | (_, "DUPLICATE_EXTERNAL_ID") => ambiguous(first.message.as_str()),
        (_, "REQUEST_LIMIT_EXCEEDED") => limited(first),
        (429, _) => whole(Class::Throttled, Scope::Destination),
        (401, _) | (_, "INVALID_SESSION_ID" | "INVALID_AUTH_HEADER") => whole(Class::Auth, Scope::Destination),
        (413 | 414 | 431, _) => too_large(call, &first.message),
        (420, _) => whole(Class::Retryable, Scope::Destination),
        (408 | 500..=599, _) => whole(Class::Unknown, Scope::Destination),
        (403, code) if !(matches!(call, Call::One(_)) && about_the_record(code)) => whole(Class::Auth, Scope::Destination),
        (404, _) if !may_be_missing(call) || first.message.contains("external ID field does not exist") => {
            whole(Class::Permanent, Scope::Destination)
        }
        (400..=499, _) => match call {
            Call::One(mode) => record(&errors, mode),
            Call::Many => whole(batch_class(&errors), Scope::Call),
            Call::Read => whole(Class::Permanent, Scope::Destination),
        },
        _ => Failure { scope: Scope::Call, ..garbage(reply) },
    }
}

/// Several CRM records have the key; nothing was written.
fn ambiguous(message: &str) -> Failure {
    let message = if message.is_empty() { "several records of the CRM have this key" } else { message };
    let failure = Failure::new(Class::Conflict, Scope::Record, "DUPLICATE_EXTERNAL_ID", message);
    Failure { reason: Some(Reason::AmbiguousMatch), ..failure }
}

fn limited(error: &CrmError) -> Failure {
    let pause = if error.message.contains("Concurrent") { CONCURRENT_PAUSE } else { ALLOWANCE_PAUSE };
    Failure { retry_after: Some(pause), ..error.failure(Class::Throttled, Scope::Destination) }
}

fn too_large(call: Call, message: &str) -> Failure {
    match call {
        Call::One(_) => Failure::new(Class::Permanent, Scope::Record, "too_large", message),
        Call::Many | Call::Read => Failure::new(Class::Conflict, Scope::Call, "too_large", message),
    }
}

/// A 404 for an update says that the record is missing; elsewhere the object or the key field is.
fn may_be_missing(call: Call) -> bool {
    match call {
        Call::One(mode) => mode == Mode::UpdateOnly,
        Call::Many | Call::Read => false,
    }
}

/// Permissions for one record, as opposed to permissions of ours.
fn about_the_record(code: &str) -> bool {
    code.starts_with("INSUFFICIENT_ACCESS") || code == "CANNOT_UPDATE_CONVERTED_LEAD" || code == "ENTITY_IS_LOCKED"
}

/// A batch refused as a whole: the worker halves it until the guilty record is alone. Where a repetition can help, say so.
fn batch_class(errors: &[CrmError]) -> Class {
    if errors.iter().all(|error| class_of(error) == Class::Retryable) { Class::Retryable } else { Class::Permanent }
}

/// No error object to go by: a proxy's page, an empty body.
fn by_status(reply: &Reply, call: Call) -> Failure {
    let status = reply.status;
    let fail = |class, scope, message: &str| Failure::new(class, scope, format!("http_{status}"), message);
    match status {
        300 => ambiguous(""),
        401 => fail(Class::Auth, Scope::Destination, "the credentials were refused"),
        403 => fail(
            Class::Auth,
            Scope::Destination,
            "access was refused without a reason: look for a firewall, or for the permissions of the API's user",
        ),
        404 => fail(Class::Permanent, Scope::Destination, "there is nothing at this address: is `base_url` the org's My Domain?"),
        408 | 500..=599 => fail(Class::Unknown, Scope::Destination, "the CRM did not say what became of the call"),
        413 | 414 | 431 => too_large(call, "the request is too large for the CRM"),
        420 => fail(Class::Retryable, Scope::Destination, "the CRM's edge has no route to the org"),
        429 => fail(Class::Throttled, Scope::Destination, "too many requests"),
        400..=499 => {
            let scope = match call {
                Call::One(_) => Scope::Record,
                Call::Many => Scope::Call,
                Call::Read => Scope::Destination,
            };
            fail(Class::Permanent, scope, "the CRM refused the request without saying why")
        }
        _ => garbage(reply),
    }
}

/// What the `errors` of one record's result mean.
pub(super) fn refused_record(errors: &Value, mode: Mode) -> Failure {
    let read: Vec<CrmError> = errors.as_array().map(|errors| errors.iter().filter_map(CrmError::read).collect()).unwrap_or_default();
    if read.is_empty() {
        return Failure::new(Class::Permanent, Scope::Record, "unnamed", "the CRM refused the record without saying why");
    }
    record(&read, mode)
}

/// Several errors of one record: what can never succeed outweighs what could.
fn record(errors: &[CrmError], mode: Mode) -> Failure {
    let weight = |class: Class| match class {
        Class::Permanent => 5,
        Class::Conflict => 4,
        Class::Unknown => 3,
        Class::Auth => 2,
        Class::Throttled => 1,
        Class::Retryable => 0,
    };
    let mut decisive: Option<(&CrmError, Class)> = None;
    for error in errors {
        let class = class_of(error);
        if decisive.is_none_or(|(_, held)| weight(class) > weight(held)) {
            decisive = Some((error, class));
        }
    }
    let Some((error, class)) = decisive else {
        return Failure::new(Class::Permanent, Scope::Record, "unnamed", "the CRM refused the record without saying why");
    };
    let mut failure = error.failure(class, Scope::Record);
    for field in errors.iter().flat_map(|error| &error.fields).take(50) {
        if !failure.fields.contains(field) {
            failure.fields.push(field.clone());
        }
    }
    failure.reason = match error.code.as_str() {
        "DUPLICATE_EXTERNAL_ID" => Some(Reason::AmbiguousMatch),
        "ENTITY_IS_DELETED" | "NOT_FOUND" if mode == Mode::UpdateOnly => Some(Reason::RecordNotFound),
        _ => None,
    };
    failure
}

/// The table: a code that is not in it will be refused again.
fn class_of(error: &CrmError) -> Class {
    let says = |text: &str| error.message.contains(text);
    match error.code.as_str() {
        "UNABLE_TO_LOCK_ROW" | "ALL_OR_NONE_OPERATION_ROLLED_BACK" | "PROCESSING_HALTED" => Class::Retryable,
        // A trigger failed; these two reasons pass.
        "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY" if says("UNABLE_TO_LOCK_ROW") || says("Too many SOQL queries") => Class::Retryable,
        "ENTITY_IS_LOCKED" | "TXN_SECURITY_METERING_ERROR" | "UNKNOWN_EXCEPTION" => Class::Conflict,
        "DUPLICATE_VALUE" | "DUPLICATE_EXTERNAL_ID" => Class::Conflict,
        "INVALID_CROSS_REFERENCE_KEY" | "ENTITY_IS_DELETED" => Class::Conflict,
        // The parent may still be on its way.
        "INVALID_FIELD" if says("Foreign key external ID") => Class::Conflict,
        _ => Class::Permanent,
    }
}

/// Why there is no token in an answer of the token endpoint. Never `Unknown`: nothing was changed.
pub(super) fn no_token(reply: &Reply, body: &Value) -> Failure {
    let word = body["error"].as_str().unwrap_or_default();
    let told = body["error_description"].as_str().or_else(|| body["message"].as_str()).unwrap_or_default();
    let fail = |class, code: &str, message: String| Failure::new(class, Scope::Destination, code, message);
    let code = if word.is_empty() { format!("http_{}", reply.status) } else { word.to_owned() };
    let lower = format!("{word} {told}").to_lowercase();
    let throttled = reply.status == 429
        || lower.contains("rate exceeded")
        || lower.contains("rate_exceeded")
        || lower.contains("request_limit_exceeded");
    if throttled || errors(reply).iter().any(|error| error.code == "REQUEST_LIMIT_EXCEEDED") {
        let failure = fail(Class::Throttled, &code, format!("too many logins: {told}"));
        return Failure { retry_after: Some(LOGIN_PAUSE), ..failure };
    }
    match reply.status {
        400..=499 if reply.status != 408 && reply.status != 420 => {
            let remedy = "check the destination's `auth`, and in the CRM the app, its user and its permissions";
            fail(Class::Auth, &code, format!("no token was given, {code}: {told}; {remedy}"))
        }
        200..=299 => fail(Class::Retryable, "token", "the answer to the request for a token holds none".to_owned()),
        _ => fail(Class::Retryable, &code, format!("no token was given (status {})", reply.status)),
    }
}
