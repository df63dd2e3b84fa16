//! What a vendor's refusals mean where the vendor has no word of its own for it. Nothing that is asked for here changes anything, so that what got
//! no answer may simply be asked for again.

use std::time::Duration;

use model::{Class, Failure, Reason, Scope};

use super::Fetched;
use crate::wire::http_date;
use crate::{Reply, TransportError};

/// What a vendor says went wrong: its finest word and its sentence.
pub(super) struct Said {
    pub code: String,
    pub message: String,
}

impl Said {
    pub(super) fn new(code: Option<String>, message: Option<String>) -> Option<Self> {
        let message = message.unwrap_or_default();
        let code = code.filter(|code| !code.is_empty());
        if message.is_empty() && code.is_none() { None } else { Some(Self { code: code.unwrap_or_default(), message }) }
    }

    fn or_status(said: Option<Self>, reply: &Reply, otherwise: &str) -> (String, String) {
        let said = said.unwrap_or(Self { code: String::new(), message: String::new() });
        let code = if said.code.is_empty() { format!("http_{}", reply.status) } else { said.code };
        let message = if said.message.is_empty() { otherwise.to_owned() } else { said.message };
        (code, message)
    }
}

/// The table by status. Its scope is the whole call's: whoever asked for one object only tells that as the object's.
pub(super) fn by_status(reply: &Reply, said: Option<Said>) -> Failure {
    let (class, scope, otherwise) = match reply.status {
        401 => (Class::Auth, Scope::Destination, "the token was refused: renew it"),
        403 => (Class::Auth, Scope::Destination, "access was refused: look at the permissions of the token"),
        404 | 410 => (Class::Permanent, Scope::Call, "there is nothing at this address"),
        408 | 425 => (Class::Retryable, Scope::Destination, "the vendor did not answer in its own time"),
        413 | 414 | 431 => (Class::Conflict, Scope::Call, "the request is too large for the vendor"),
        423 => (Class::Retryable, Scope::Call, "the vendor holds a lock"),
        429 => (Class::Throttled, Scope::Destination, "too many requests"),
        500..=599 => (Class::Retryable, Scope::Destination, "the vendor is in trouble"),
        400..=499 => (Class::Permanent, Scope::Call, "the vendor refused the request without saying why"),
        _ => return garbage(reply),
    };
    let (code, message) = Said::or_status(said, reply, otherwise);
    Failure::new(class, scope, code, message)
}

/// An answer that is none.
pub(super) fn garbage(reply: &Reply) -> Failure {
    let message = format!("the vendor's answer with status {} is not what it documents", reply.status);
    Failure::new(Class::Retryable, Scope::Destination, "garbage", message)
}

/// A failure as it concerns one object only, where it does: an answer to the one id that was asked for.
pub(super) fn of_one(failure: Failure) -> Result<Fetched, Failure> {
    match (failure.class, failure.scope) {
        (Class::Permanent | Class::Conflict, Scope::Call | Scope::Record) => {
            Ok(Fetched::Refused(Failure { class: Class::Permanent, scope: Scope::Record, ..failure }))
        }
        _ => Err(failure),
    }
}

/// The same for each of several, or `Conflict` for the lot: one of them spoils it, and halving finds it.
pub(super) fn of_some(ids: &[&str], failure: Failure) -> Result<Vec<Fetched>, Failure> {
    if let [_] = ids {
        return of_one(failure).map(|one| vec![one]);
    }
    Err(match (failure.class, failure.scope) {
        (Class::Permanent, Scope::Call | Scope::Record) => Failure { class: Class::Conflict, scope: Scope::Call, ..failure },
        _ => failure,
    })
}

/// Not there, or not for us: vendors that hide what one may not see say both in one word.
pub(super) fn hidden(code: String, message: &str) -> Failure {
    let failure = Failure::new(Class::Permanent, Scope::Record, code, message);
    Failure { reason: Some(Reason::RecordNotFound), ..failure }
}

/// No reply: nothing was to be changed, so whether it arrived does not matter.
pub(super) fn unanswered(error: TransportError) -> Failure {
    let failure = error.failure();
    Failure { class: Class::Retryable, ..failure }
}

/// A pause that ends with the UTC day, by the vendor's own clock; an hour at a time where it tells none, and never longer.
pub(super) fn until_midnight(reply: &Reply) -> Duration {
    const HOUR: i64 = 3_600;
    const DAY: i64 = 24 * HOUR;
    let into = reply.header("date").and_then(http_date).map_or(0, |now| now.seconds().rem_euclid(DAY));
    Duration::from_secs(u64::try_from((DAY - into).clamp(1, HOUR)).unwrap_or_default())
}
