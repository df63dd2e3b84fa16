//! What X is: everything by which people know an event or a record, looked up by keys that are there for other reasons.

use std::collections::BTreeSet;

use model::route::Kind;
use model::{CallId, DeliveryId, EventId, RawEventId, RecordId};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::numbers::Seen;
use crate::Error;
use crate::columns::{Columns, get, json};
use crate::rows::{Hash, hash};

/// The longest X: what is longer is no key of ours.
const X_BYTES_MAX: usize = 1_024;
/// Rows of one kind that are gone into.
pub const FOUND_MAX: i64 = 201;
/// Dead letters that are searched for a person, newest first: what was never routed is in no index.
pub const DEAD_MAX: i64 = 2_000;

/// X without what is around it; `None` if it is nothing that could be looked up.
pub fn asked(x: &str) -> Option<&str> {
    Some(x.trim()).filter(|x| !x.is_empty() && x.len() <= X_BYTES_MAX)
}

/// An id that we gave out.
#[derive(Clone, Copy, Debug)]
pub enum Ours {
    RawEvent(i64),
    Event(i64),
    Delivery(i64),
    Record(i64),
    Call(i64),
}

impl Ours {
    pub fn parse(x: &str) -> Option<Self> {
        let x = x.to_ascii_lowercase();
        let raw_event = RawEventId::parse(&x).map(|id| Self::RawEvent(id.0));
        let event = || EventId::parse(&x).map(|id| Self::Event(id.0));
        let delivery = || DeliveryId::parse(&x).map(|id| Self::Delivery(id.0));
        let record = || RecordId::parse(&x).map(|id| Self::Record(id.0));
        let call = || CallId::parse(&x).map(|id| Self::Call(id.0));
        raw_event.or_else(event).or_else(delivery).or_else(record).or_else(call)
    }

    pub fn id(self) -> i64 {
        match self {
            Self::RawEvent(id) | Self::Event(id) | Self::Delivery(id) | Self::Record(id) | Self::Call(id) => id,
        }
    }
}

/// What X turned out to be.
#[derive(Debug, Default)]
pub struct Found {
    /// In words.
    pub as_what: Vec<String>,
    pub raw_events: BTreeSet<i64>,
    pub events: BTreeSet<i64>,
    pub records: BTreeSet<i64>,
}

impl Found {
    pub fn note(&mut self, word: &str) {
        if !self.as_what.iter().any(|held| held == word) {
            self.as_what.push(word.to_owned());
        }
    }

    pub fn add_events(&mut self, word: &str, events: Vec<i64>) {
        if !events.is_empty() {
            self.note(word);
            self.events.extend(events);
        }
    }

    /// A row with the id was there; `held` is what it names, in JSON: a request's events, or what a call carried for its records.
    pub fn add_ours(&mut self, ours: Ours, row: &impl Columns) -> Result<(), Error> {
        let held: Option<&str> = get(row, "held")?;
        let held = held.unwrap_or("[]");
        match ours {
            Ours::RawEvent(id) => {
                self.note("raw_event");
                self.raw_events.insert(id);
                self.events.extend(json::<Vec<i64>>(held, "raw_event", "events", id)?);
            }
            Ours::Event(id) => self.add_events("event", vec![id]),
            Ours::Delivery(id) => self.add_events("delivery", vec![DeliveryId(id).event().0]),
            Ours::Record(id) => {
                self.note("record");
                self.records.insert(id);
            }
            Ours::Call(id) => {
                self.note("call");
                let carried: Vec<(i64, IgnoredAny, IgnoredAny, IgnoredAny)> = json(held, "call", "records", id)?;
                self.records.extend(carried.into_iter().map(|(record, _, _, _)| record));
            }
        }
        Ok(())
    }

    /// Records by what they are known by.
    pub fn add_aliases<R: Columns>(&mut self, rows: &[R]) -> Result<(), Error> {
        for row in rows {
            self.note(if get::<&str>(row, "kind")? == "crm_id" { "crm_record_id" } else { "identifier" });
            self.records.insert(get(row, "record_id")?);
        }
        Ok(())
    }

    /// Events of dead letters in whose text one of these words is somewhere: here it is seen whether it is what names somebody.
    pub fn add_dead<R: Columns>(&mut self, wanted: &[String], rows: &[R]) -> Result<(), Error> {
        for row in rows {
            // What could not be mapped need not be a whole event.
            let Ok(event) = serde_json::from_str::<Value>(get(row, "normalized")?) else { continue };
            let is = |value: &Value| value.as_str().is_some_and(|held| wanted.contains(&held.to_lowercase()));
            let source = event.get("source").and_then(Value::as_str).unwrap_or_default();
            let named = |value: &Value| {
                let bare = value.as_str().and_then(|held| held.strip_prefix(source)).and_then(|held| held.strip_prefix(':'));
                is(value) || bare.is_some_and(|bare| wanted.contains(&bare.to_lowercase()))
            };
            let id: i64 = get(row, "id")?;
            if event.get("identity").and_then(Value::as_object).is_some_and(|members| members.values().any(named)) {
                self.add_events("identifier", vec![id]);
            }
            if event.get("event_id").is_some_and(named) {
                self.add_events("source_event_id", vec![id]);
            }
        }
        Ok(())
    }
}

/// Keys that a vendor's own id of an event, bare or as `source:id`, can have led to: keys end in it, and there are few sources and types to try.
pub fn vendor_keys<'s>(x: &str, seen: &'s Seen) -> Vec<(&'s str, Hash)> {
    let mut wanted = Vec::new();
    for (source, event_type) in &seen.types {
        let own = x.strip_prefix(source.as_str()).and_then(|rest| rest.strip_prefix(':'));
        for id in own.into_iter().chain([x]) {
            wanted.push((source.as_str(), hash(&model::mapping::key_of(source, event_type, id))));
        }
    }
    wanted
}

/// Under which words, and as what, a record can be known by X: an e-mail, a phone number, an external id with or without its source, a domain,
/// a CRM's id, or a record's key (`email:ann@example.com`).
pub fn identifiers(x: &str, seen: &Seen) -> Vec<(Hash, Option<&'static str>)> {
    let lower = x.to_lowercase();
    let mut wanted: Vec<(String, Option<&str>)> = vec![(lower.clone(), None)];
    for kind in [Kind::ExternalId, Kind::Email, Kind::Phone, Kind::Domain] {
        let bare = lower.strip_prefix(kind.as_str()).and_then(|rest| rest.strip_prefix(':'));
        wanted.extend(bare.map(|bare| (bare.to_owned(), Some(kind.as_str()))));
    }
    wanted.extend(phone(x).map(|number| (number, Some(Kind::Phone.as_str()))));
    wanted.extend(seen.sources.keys().map(|source| (format!("{source}:{lower}"), Some(Kind::ExternalId.as_str()))));
    wanted.into_iter().map(|(value, kind)| (hash(&value), kind)).collect()
}

/// What names X in a dead letter that belongs to no record.
pub fn dead_words(x: &str) -> Vec<String> {
    [x.to_lowercase()].into_iter().chain(phone(x)).collect()
}

/// A phone number as people write it, if it is an international one: `+1 (415) 555-0100`.
fn phone(x: &str) -> Option<String> {
    let rest = x.strip_prefix('+')?;
    let plain = rest.chars().all(|letter| letter.is_ascii_digit() || " ()-./".contains(letter));
    plain.then(|| format!("+{}", rest.chars().filter(char::is_ascii_digit).collect::<String>()))
}
