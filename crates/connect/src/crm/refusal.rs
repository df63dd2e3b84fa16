//! What a CRM's refusals mean by their status, where the CRM has no finer word for it (crm-apis.md, section 11).

use model::event::Mode;
use model::{Class, Failure, Reason, Scope};

use crate::{Outcome, Reply};

/// What kind of call was refused, which says whom the refusal concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// One record: a refusal of the request is one of the record.
    One(Mode),
    /// Several records: something in the request as a whole, or a record that spoils it.
    Many,
    /// A look-up, a probe or a description.
    Read,
}

impl Call {
    /// A write of so many records.
    pub(crate) fn of(mode: Mode, records: usize) -> Self {
        if records == 1 { Self::One(mode) } else { Self::Many }
    }
}

/// What a reply other than 2xx means. `code` and `message` are the CRM's own words, or empty.
pub(crate) fn by_status(reply: &Reply, call: Call, code: &str, message: &str) -> Failure {
    let (class, scope, otherwise) = match (reply.status, call) {
        (401, _) => (Class::Auth, Scope::Destination, "the credentials were refused: renew them"),
        (403, _) => (Class::Auth, Scope::Destination, "access was refused: look at the permissions of the credentials"),
        (404 | 410, Call::One(Mode::UpdateOnly)) => return missing(code, message),
        (404 | 410, _) => {
            (Class::Permanent, Scope::Destination, "there is nothing at this address: compare `base_url` and the object's name")
        }
        (408 | 500..=599, _) => (Class::Unknown, Scope::Destination, "the CRM is in trouble; whether it has done this is not known"),
        (409 | 412, Call::One(_)) => (Class::Conflict, Scope::Record, "another write came between"),
        (409 | 412, _) => (Class::Conflict, Scope::Call, "another write came between"),
        (413 | 414 | 431, Call::One(_)) => (Class::Permanent, Scope::Record, "the record is too large for the CRM"),
        (413 | 414 | 431, _) => (Class::Conflict, Scope::Call, "the request is too large for the CRM"),
        (423 | 425, Call::One(_)) => (Class::Retryable, Scope::Record, "the CRM holds a lock"),
        (423 | 425, _) => (Class::Retryable, Scope::Call, "the CRM holds a lock"),
        (429, _) => (Class::Throttled, Scope::Destination, "too many calls"),
        (400..=499, Call::One(_)) => (Class::Permanent, Scope::Record, "the CRM refused the record without saying why"),
        (400..=499, Call::Many) => (Class::Conflict, Scope::Call, "the CRM refused the request without saying which record it is about"),
        (400..=499, Call::Read) => (Class::Permanent, Scope::Destination, "the CRM refused the look-up: compare the object and its fields"),
        _ => return garbage(reply),
    };
    let http = format!("http_{}", reply.status);
    Failure::new(class, scope, if code.is_empty() { &http } else { code }, if message.is_empty() { otherwise } else { message })
}

/// An answer that says nothing we can rely on.
pub(crate) fn garbage(reply: &Reply) -> Failure {
    let message = format!("the answer (status {}, {} bytes) is not what this call is documented to answer", reply.status, reply.body.len());
    Failure::new(Class::Unknown, Scope::Call, "garbage", message)
}

/// The record that was only to be changed is not there.
pub(crate) fn missing(code: &str, message: &str) -> Failure {
    let code = if code.is_empty() { "not_found" } else { code };
    let message = if message.is_empty() { "the CRM has no such record" } else { message };
    let failure = Failure::new(Class::Permanent, Scope::Record, code, message);
    Failure { reason: Some(Reason::RecordNotFound), ..failure }
}

/// Several records of the CRM have one key: nothing may be written before a person has merged them.
pub(crate) fn ambiguous<'a>(ids: impl ExactSizeIterator<Item = &'a str>) -> Failure {
    let count = ids.len();
    let named: Vec<&str> = ids.take(5).collect();
    let message = format!("{count} records have this key: {}", named.join(", "));
    let failure = Failure::new(Class::Conflict, Scope::Record, "ambiguous_match", message);
    Failure { reason: Some(Reason::AmbiguousMatch), ..failure }
}

/// The same where the CRM says that there are several and not which.
pub(crate) fn several() -> Failure {
    let failure = Failure::new(Class::Conflict, Scope::Record, "ambiguous_match", "several records have this key");
    Failure { reason: Some(Reason::AmbiguousMatch), ..failure }
}

/// A refused call's failure where it belongs: with its only record, or with the call.
pub(crate) fn placed<T>(failure: Failure, records: usize) -> Outcome<T> {
    match failure.scope {
        Scope::Record if records == 1 => Ok(vec![Err(failure)]),
        Scope::Record => Err(Failure { scope: Scope::Call, ..failure }),
        Scope::Call | Scope::Destination => Err(failure),
    }
}
