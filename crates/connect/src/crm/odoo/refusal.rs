//! What Odoo's refusals mean: exceptions by their names, and the rows of `load` by its messages (crm-apis.md 9; the vendor's documentation
//! of the external API for the error object; its source of `load` for the messages).

use model::event::Mode;
use model::record::Link;
use model::{Class, Failure, Scope};
use serde_json::Value;

use crate::crm::refusal::{Call, by_status, missing, placed};
use crate::crm::same::{hushed, naming};
use crate::{Outcome, Reply, WriteBatch, Written};

/// Name and message of an exception. Its `debug` holds people's data, and is never looked at.
fn told(reply: &Reply) -> (String, String) {
    let body = reply.json().unwrap_or_default();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (text("name"), text("message"))
}

/// What a reply other than 200 means for the whole call, which is one transaction: what ends in an exception has not happened.
pub(super) fn refused(reply: &Reply, call: Call) -> Failure {
    let (name, message) = told(reply);
    let short = name.rsplit('.').next().unwrap_or_default();
    let failure = |class, scope| Failure::new(class, scope, short, message.clone());
    let own = if matches!(call, Call::One(_)) { Scope::Record } else { Scope::Call };
    match short {
        "Unauthorized" | "AccessDenied" | "AccessError" | "Forbidden" => failure(Class::Auth, Scope::Destination),
        // The model or the method, not a record.
        "NotFound" => failure(Class::Permanent, Scope::Destination),
        "MissingError" => match call {
            Call::One(_) => missing(short, "Odoo has no record with this id any more"),
            Call::Many | Call::Read => failure(Class::Conflict, Scope::Call),
        },
        "SerializationFailure" | "LockNotAvailable" | "DeadlockDetected" | "OperationalError" | "TransactionRollbackError" => {
            failure(Class::Retryable, own)
        }
        "UniqueViolation" => failure(Class::Conflict, own),
        "ValidationError"
        | "UserError"
        | "RedirectWarning"
        | "IntegrityError"
        | "NotNullViolation"
        | "ForeignKeyViolation"
        | "RestrictViolation"
        | "CheckViolation"
        | "UnprocessableEntity" => match call {
            Call::One(_) => failure(Class::Permanent, own),
            Call::Many => failure(Class::Conflict, own),
            Call::Read => failure(Class::Permanent, Scope::Destination),
        },
        // A field that there is not, a wrong type: the mapping's.
        "ValueError" | "KeyError" | "TypeError" => failure(Class::Permanent, Scope::Destination),
        _ => by_status(reply, call, short, &message),
    }
}

/// What the refusal of a write by an exception means.
pub(super) fn refused_write(batch: &WriteBatch, reply: &Reply) -> Outcome<Written> {
    let failure = refused(reply, Call::of(batch.mode, batch.records.len()));
    let [record] = batch.records.as_slice() else { return placed(failure, batch.records.len()) };
    if batch.mode == Mode::Delete && failure.code == "MissingError" {
        return Ok(vec![Ok(Written::default())]);
    }
    let failure = Failure { message: hushed(&failure.message, record), ..failure };
    placed(failure, 1)
}

/// What the messages of a `load` mean that imported nothing: the rows they name are refused, the others were only undone. `None` if they
/// name nobody.
pub(super) fn rejected(batch: &WriteBatch, messages: &Value) -> Option<Vec<Result<Written, Failure>>> {
    let mut results: Vec<Option<Result<Written, Failure>>> = vec![None; batch.records.len()];
    for message in messages.as_array()?.iter().filter(|message| message["type"] == "error") {
        let place = message["record"].as_u64().or_else(|| message["rows"]["from"].as_u64());
        let place = place.and_then(|place| usize::try_from(place).ok()).filter(|place| *place < batch.records.len())?;
        // The first thing that is wrong with a row is told.
        results[place].get_or_insert_with(|| Err(row(batch, place, message)));
    }
    if results.iter().all(Option::is_none) {
        return None;
    }
    let undone = || {
        let message = "another record of the call was refused, which undid this one; it goes again at once";
        Err(Failure::new(Class::Retryable, Scope::Record, "rolled_back", message))
    };
    Some(results.into_iter().map(|result| result.unwrap_or_else(undone)).collect())
}

fn row(batch: &WriteBatch, place: usize, message: &Value) -> Failure {
    let (record, field) = (&batch.records[place], message["field"].as_str().unwrap_or_default());
    let said = message["message"].as_str().unwrap_or_default();
    let says = |words: &[&str]| words.iter().any(|word| said.to_lowercase().contains(word));
    let root = field.split('/').next().unwrap_or_default();
    if field == ".id" {
        return missing("unknown_id", "Odoo has no record with this id any more");
    }
    let linked = record.fields.get(root).is_some_and(|value| Link::of(value).is_some());
    let class = match () {
        // Its parent is still on its way, or was deleted.
        () if linked => Class::Conflict,
        () if says(&["concurrent update", "could not serialize", "deadlock", "lock"]) => Class::Retryable,
        () if says(&["already exists", "must be unique", "duplicate key"]) => Class::Conflict,
        () => Class::Permanent,
    };
    let code = match class {
        Class::Conflict if linked => "no_matching_record",
        Class::Conflict => "unique",
        Class::Retryable => "locked",
        Class::Throttled | Class::Auth | Class::Permanent | Class::Unknown => "invalid_row",
    };
    let failure = naming(Failure::new(class, Scope::Record, code, hushed(said, record)), record, said);
    if failure.fields.is_empty() && record.fields.contains_key(root) {
        return Failure { fields: vec![root.to_owned()], ..failure };
    }
    failure
}
