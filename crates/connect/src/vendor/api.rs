//! What every vendor's translator answers.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Class, Failure, Scope, Time};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{CURSOR_BYTES_MAX, Fetched, Page, Window};
use crate::{Reply, Request, Token};

/// Something that belongs to an object and has to be asked for by itself: the questions of a lead's form.
pub(super) struct Beside {
    /// What it is known by, within the vendor.
    pub key: String,
    /// Asks for it.
    pub request: Request,
    /// Whether it is the same for many objects and for a while.
    pub keep: bool,
}

/// How one vendor spells what is read from it. Translation only: no client, no clock, no retry, no log.
pub(super) trait Api: Send + Sync {
    /// How many ids of an object share a call; `None`: there is no such object.
    fn batch(&self, object: &str) -> Option<usize>;

    /// The id with what else the push said, where it takes both to name an object.
    fn whole_id(&self, id: &str, _with: &BTreeMap<String, String>) -> String {
        id.to_owned()
    }

    /// Whether a text can be the id of such an object: what it says is nothing but a name within the vendor's own API.
    fn is_id(&self, object: &str, id: &str) -> bool;

    /// Spells the reading of one or many.
    fn fetch(&self, object: &str, ids: &[&str]) -> Request;

    /// Reads the answer: what became of each, in the order of the ids.
    ///
    /// # Errors
    ///
    /// The whole call failed. `Conflict` with scope `Call`: one of several spoils it for the others.
    fn fetched(&self, object: &str, ids: &[&str], reply: &Reply) -> Result<Vec<Fetched>, Failure>;

    /// What else is needed for an object.
    fn beside(&self, _object: &str, _document: &Value) -> Option<Beside> {
        None
    }

    /// Reads what is needed beside an object; null if it cannot be had and the object does without.
    ///
    /// # Errors
    ///
    /// It cannot be had now, or must be had.
    fn read_beside(&self, reply: &Reply) -> Result<Value, Failure> {
        Err(super::refusal::garbage(reply))
    }

    /// Puts it into the object.
    fn complete(&self, _document: &mut Value, _beside: &Value) {}

    /// Spells the next page of a list.
    ///
    /// # Errors
    ///
    /// The settings do not say enough, or the cursor is none of ours.
    fn list(&self, what: &str, window: Window, cursor: Option<&str>) -> Result<Request, Failure>;

    /// Reads a page.
    ///
    /// # Errors
    ///
    /// The call failed.
    fn listed(&self, what: &str, window: Window, cursor: Option<&str>, reply: &Reply) -> Result<Page, Failure>;

    /// The cheapest call that needs a valid token.
    fn probe(&self) -> Request;

    /// What a reply other than 2xx means for the whole call.
    fn refused(&self, reply: &Reply) -> Failure;

    /// Puts the token, and what else every call carries, onto a request.
    fn authorize(&self, request: &mut Request, token: &Token) {
        request.headers.push(("authorization".to_owned(), format!("Bearer {}", token.value.reveal())));
    }

    /// The longest wait that is believed when this vendor asks for one.
    fn retry_after_max(&self) -> Duration {
        Duration::from_secs(15 * 60)
    }
}

/// A cursor as text; a short JSON, so that it can be kept and looked at.
pub(super) fn cursor<T: Serialize>(of: &T) -> Result<String, Failure> {
    let text = serde_json::to_string(of).unwrap_or_default();
    if text.is_empty() || text.len() > CURSOR_BYTES_MAX {
        return Err(Failure::new(Class::Permanent, Scope::Call, "cursor", "the vendor's cursor is longer than any that can be kept"));
    }
    Ok(text)
}

/// Reads a cursor back; the beginning where there is none.
pub(super) fn read_cursor<T: DeserializeOwned + Default>(text: Option<&str>) -> Result<T, Failure> {
    let Some(text) = text else { return Ok(T::default()) };
    serde_json::from_str(text)
        .map_err(|_| Failure::new(Class::Permanent, Scope::Call, "cursor", "the cursor is none that this client has given: begin again"))
}

/// Ids as vendors make them: letters, digits and the given signs, up to so many.
pub(super) fn plain(text: &str, signs: &[u8], most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || signs.contains(&byte))
}

/// An id that may be written as a text or as a number.
pub(super) fn id_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A moment as RFC 3339, or as Meta writes it, with an offset that has no colon: `2023-11-14T22:13:20+0000`.
pub(super) fn moment(text: &str) -> Option<Time> {
    Time::parse_rfc3339(text).or_else(|| {
        let (head, offset) = text.split_at_checked(text.len().checked_sub(5)?)?;
        let (hours, minutes) = offset.split_at_checked(3)?;
        Time::parse_rfc3339(&format!("{head}{hours}:{minutes}"))
    })
}
