//! What Dataverse's refusals mean (crm-apis.md 4.4 and 4.5).

use std::time::Duration;

use model::event::Mode;
use model::record::Link;
use model::{Class, Failure, Scope};

use super::{metadata, valid_id};
use crate::crm::refusal::{Call, by_status, missing};
use crate::crm::same::{hushed, naming};
use crate::{Reply, WriteBatch, WriteRecord, Written};

/// Service protection without a `Retry-After`: its windows are five minutes long, and pressing on lengthens them.
const THROTTLED_PAUSE: Duration = Duration::from_secs(30);

/// Two records with one alternate key, and two records with one id.
const KEY_TAKEN: &str = "0x80060892";
const RECORD_TAKEN: &str = "0x80040237";
/// A write that only a condition of its own has refused.
const CONDITION_FAILED: &str = "A record with matching key values already exists";
/// A plug-in of somebody's has refused it.
const PLUGIN: &str = "0x80040265";

/// The error object. Both of its members are optional.
#[derive(Debug, Default)]
struct CrmError {
    code: String,
    message: String,
}

fn read(reply: &Reply) -> CrmError {
    let body = reply.json().unwrap_or_default();
    let text = |name: &str| body["error"][name].as_str().unwrap_or_default().to_owned();
    CrmError { code: text("code"), message: text("message") }
}

impl CrmError {
    fn says(&self, text: &str) -> bool {
        self.message.to_ascii_lowercase().contains(&text.to_ascii_lowercase())
    }

    fn duplicate(&self) -> bool {
        self.code.eq_ignore_ascii_case(KEY_TAKEN) || self.code.eq_ignore_ascii_case(RECORD_TAKEN) || self.says(CONDITION_FAILED)
    }

    fn failure(&self, class: Class, scope: Scope, status: u16, otherwise: &str) -> Failure {
        let http = format!("http_{status}");
        let code = if self.code.is_empty() { &http } else { &self.code };
        Failure::new(class, scope, code, if self.message.is_empty() { otherwise } else { &self.message })
    }
}

/// Whether a 404 is about a record, and not about an address that nothing is at.
pub(super) fn no_such_record(reply: &Reply) -> bool {
    let error = read(reply);
    let coded = ["0x80040217", "0x80060891"].iter().any(|code| error.code.eq_ignore_ascii_case(code));
    (coded || error.says("does not exist")) && !error.says("resource not found for the segment")
}

/// In mode create-only, a record that is there already is what was wanted; `None` for any other refusal.
pub(super) fn already_there(batch: &WriteBatch, reply: &Reply) -> Option<Result<Written, Failure>> {
    let error = read(reply);
    if batch.mode != Mode::CreateOnly || reply.status != 412 || !error.duplicate() {
        return None;
    }
    // Another alternate key of the table is somebody else's record.
    let other = error.code.eq_ignore_ascii_case(KEY_TAKEN) && !error.says(&batch.key_field);
    // "…<DuplicateEntity><Id>…</Id>…" names the record that has the key.
    let named = error.message.split_once("<Id>").and_then(|(_, rest)| rest.split_once("</Id>"));
    let crm_id = named.map(|(id, _)| id.trim().to_owned()).filter(|id| valid_id(id));
    (!other).then_some(Ok(Written { crm_id, created: Some(false) }))
}

/// What the refusal of a write of one record means.
pub(super) fn of_write(batch: &WriteBatch, record: &WriteRecord, reply: &Reply) -> Failure {
    let said = read(reply);
    let error = CrmError { message: hushed(&said.message, record), code: said.code.clone() };
    let failure = |class, scope, otherwise: &str| error.failure(class, scope, reply.status, otherwise);
    if error.says("the key in the request uri is not valid for resource") {
        let message = format!(
            "`{}` has no active alternate key `{}`: `onceward destinations setup` creates one; a new one is built in the background",
            batch.object, batch.key_field
        );
        return Failure::new(Class::Permanent, Scope::Destination, "key_not_defined", message);
    }
    if matches!(reply.status, 400 | 404) && no_such_record(reply) {
        return absent(batch, record, &said, reply.status);
    }
    match reply.status {
        400 if error.code.eq_ignore_ascii_case(PLUGIN) => failure(Class::Conflict, Scope::Record, "a plug-in refused it"),
        400..=499 if !matches!(reply.status, 401 | 403 | 404 | 408 | 412 | 413 | 414 | 423 | 425 | 429 | 431) => {
            let failure = failure(Class::Permanent, Scope::Record, "the CRM refused the record without saying why");
            naming(failure, record, &error.message)
        }
        429 => throttled(reply, by_status(reply, Call::One(batch.mode), &error.code, &error.message)),
        _ => by_status(reply, Call::One(batch.mode), &error.code, &error.message),
    }
}

/// Either the record itself or a parent is not there.
fn absent(batch: &WriteBatch, record: &WriteRecord, error: &CrmError, status: u16) -> Failure {
    let links: Vec<Link> = record.fields.values().filter_map(Link::of).collect();
    let names = |id: &Option<String>| id.as_ref().is_some_and(|id| error.says(id));
    // "account With Id = … Does Not Exist", "… does not exist in account entity".
    let table = metadata::table(&batch.object);
    let of_this = error.says(&format!("{table} with id")) || error.says(&format!("in {table} entity"));
    let parent = !links.is_empty() && (links.iter().any(|link| names(&link.crm_id)) || !(names(&record.crm_id) || of_this));
    match (parent, batch.mode) {
        (true, _) => error.failure(Class::Conflict, Scope::Record, status, "a parent is not there"),
        (false, Mode::UpdateOnly) => missing(&error.code, &error.message),
        // It was there when its id was learned: looked up again, it is found under its key or created anew.
        (false, Mode::Upsert | Mode::CreateOnly | Mode::Delete) => error.failure(Class::Conflict, Scope::Record, status, "it is gone"),
    }
}

fn throttled(reply: &Reply, failure: Failure) -> Failure {
    let asked = reply.header("retry-after").and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
    Failure { retry_after: Some(asked.unwrap_or(THROTTLED_PAUSE).clamp(Duration::from_secs(1), Duration::from_secs(900))), ..failure }
}

/// What the refusal of a whole batch means.
pub(super) fn of_batch(reply: &Reply) -> Failure {
    let error = read(reply);
    let failure = by_status(reply, Call::Many, &error.code, &error.message);
    if reply.status == 429 { throttled(reply, failure) } else { failure }
}

/// What the refusal of a call that only reads means.
pub(super) fn of_read(reply: &Reply) -> Failure {
    let error = read(reply);
    let failure = by_status(reply, Call::Read, &error.code, &error.message);
    if reply.status == 429 { throttled(reply, failure) } else { failure }
}

/// A failure of one part of a batch whose other parts fared otherwise: whatever it is, it is this record's.
pub(super) fn among_others(failure: Failure) -> Failure {
    let class = if failure.class == Class::Auth { Class::Permanent } else { failure.class };
    Failure { class, scope: Scope::Record, ..failure }
}

/// Whether a query was refused because of a name that is no column.
pub(super) fn unknown_column(reply: &Reply) -> bool {
    reply.status == 400 && read(reply).says("could not find a property named")
}
