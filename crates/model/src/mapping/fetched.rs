//! Id-only pushes: what is to be fetched for one, and the fetched object, read as a payload is.

use std::collections::BTreeMap;

use serde_json::Value;

use super::compile::{FetchRule, FetchedRule, Place, Work};
use super::document::{self, Budget, Document, Doubled};
use super::normalize::{ID_BYTES_MAX, Normalizer};
use super::read::{ReadContext, Reader};
use crate::event::Warning;
use crate::fetch::{Fetch, FetchDef, Fetched, FetchedDef, PUSH, PUSH_BYTES_MAX, Said};
use crate::seal::HashKey;
use crate::source::{EventDef, MappingDef, RuleDef, Source, TypeDef, ValueDef};
use crate::{Event, EventId, Identity, RawEventId, Reason, Received, Time};

/// Most entries of a `with`.
const WITH_MAX: usize = 20;

/// Why a fetched object makes no event.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// From the closed list.
    pub reason: Reason,
    /// What was found, what was expected, without the values themselves.
    pub message: String,
    /// The event as far as the object could be read, for the person who looks at it. The object is still to be fetched for it.
    pub partial: Option<Box<Event>>,
}

/// Compiles `fetch` of an entry at `key`.
pub(super) fn fetch(work: &mut Work<'_>, key: &str, def: &FetchDef) -> Option<FetchRule> {
    let key = format!("{key}.fetch");
    if !is_name(&def.object) {
        work.problem(format!("{key}.object"), "is not a name of 1 to 64 letters, digits, `_`, `-` and `.`", "Write it like `lead`.");
    }
    if def.with.len() > WITH_MAX {
        let message = format!("there are {} entries; at most {WITH_MAX} are accepted", def.with.len());
        work.problem(format!("{key}.with"), message, "Name only what the vendor's client asks for.");
    }
    let id = work.value(&format!("{key}.id"), "fetch.id", &def.id, Normalizer::Text);
    let with = def.with.iter().filter_map(|(name, value)| {
        let compiled = work.value(&format!("{key}.with.{name}"), &format!("fetch.with.{name}"), value, Normalizer::Text)?;
        Some((name.clone(), compiled))
    });
    let with = with.collect();
    Some(FetchRule { object: def.object.clone(), id: id?, with })
}

/// Compiles `fetched.OBJECT`.
pub(super) fn compile(work: &mut Work<'_>, object: &str, def: &FetchedDef) -> Option<FetchedRule> {
    let key = format!("fetched.{object}");
    let updated_at = def.updated_at.as_ref().map(|at| work.moment(&format!("{key}.updated_at"), at, None));
    // Its type is the push's.
    let event_type = TypeDef(ValueDef::constant("fetched"));
    let FetchedDef { fields, identities, answers, .. } = def.clone();
    let read = EventDef { event_type, fields, identities, answers, ..EventDef::default() };
    let rule = work.event(&key, &read, None, None)?;
    let own = updated_at.iter().flatten().chain(rule.fields.iter().map(|(_, value)| value));
    let elsewhere = own.filter(|value| matches!(value.place, Place::Header(_) | Place::Query(_))).map(|value| value.label.clone());
    for label in elsewhere.collect::<Vec<_>>() {
        let remedy = format!("Use an expression; what was pushed is under `{PUSH}`.");
        work.problem(&key, format!("{label} is not in a fetched object, which has neither headers nor a query"), remedy);
    }
    // A moment that is wrong was told.
    let updated_at = match updated_at {
        Some(None) => return None,
        Some(Some(at)) => Some(at),
        None => None,
    };
    Some(FetchedRule { updated_at, rule })
}

/// Whether every fetch has a mapping for what comes back.
pub(super) fn check(work: &mut Work<'_>, def: &MappingDef) {
    for rule in &def.rules {
        let RuleDef::Event { key, def: event } = rule else { continue };
        let Some(fetch) = &event.fetch else { continue };
        if !def.fetched.contains_key(&fetch.object) {
            let message = format!("nothing says how a fetched `{}` is read", fetch.object);
            let remedy = format!("Add `[sources.NAME.fetched.{}.fields]` with an expression for each field.", fetch.object);
            work.problem(format!("{key}.fetch.object"), message, remedy);
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

impl Reader<'_, '_> {
    /// What a pushed entry asks to be fetched; what is wrong with it is added to `refusals`.
    pub(super) fn asked_of(&mut self, rule: &FetchRule, refusals: &mut Vec<String>) -> Option<Fetch> {
        let id = self.text(&rule.id);
        let id = id.trim();
        if id.is_empty() || id.len() > ID_BYTES_MAX || id.chars().any(char::is_control) {
            let label = &rule.id.label;
            refusals.push(format!("{label}: is missing, longer than {ID_BYTES_MAX} bytes or not printable, so nothing can be fetched."));
            return None;
        }
        let with = rule.with.iter().map(|(name, value)| (name.clone(), self.text(value)));
        let with: BTreeMap<String, String> = with.filter(|(_, value)| !value.is_empty()).collect();
        if let Some((name, value)) = with.iter().find(|(_, value)| value.len() > ID_BYTES_MAX) {
            refusals.push(format!("`fetch.with.{name}`: has {} bytes; at most {ID_BYTES_MAX} are sent along.", value.len()));
        }
        let push = self.document.map_or(Value::Null, |document| document.root.to_json());
        let bytes = push.to_string().len();
        if bytes > PUSH_BYTES_MAX {
            refusals.push(format!("The entry has {bytes} bytes, and one that is nothing but an id has at most {PUSH_BYTES_MAX}."));
        }
        Some(Fetch { object: rule.object.clone(), id: id.to_owned(), with, push, said: None })
    }
}

impl Source {
    /// What an event becomes when the object that it is about has been fetched at `at`. Its type, its key and when it happened stay; what the
    /// object says is laid over what the push said.
    ///
    /// # Errors
    ///
    /// Something that the mapping requires is not in the object, or there is no mapping for it any more.
    pub fn read_fetched(&self, held: &Event, object: &Value, at: Time) -> Result<(Event, Vec<Warning>), Refused> {
        let refused = |reason, message: String| Refused { reason, message, partial: None };
        let Some(fetch) = &held.fetch else {
            return Err(refused(Reason::Unmapped, "The event does not ask for anything to be fetched.".to_owned()));
        };
        let Some(rule) = self.mapping.fetched.get(&fetch.object) else {
            return Err(refused(Reason::Unmapped, format!("The source's mapping does not say how a fetched `{}` is read.", fetch.object)));
        };
        let Value::Object(members) = object else {
            return Err(refused(Reason::SchemaMismatch, format!("The fetched `{}` is not an object.", fetch.object)));
        };
        let mut members = members.clone();
        members.insert(PUSH.to_owned(), fetch.push.clone());
        let body = Value::Object(members).to_string();
        let root = document::json(body.as_bytes(), &Budget::default());
        // An object that was read once holds each name once.
        let root = root.map_err(|unreadable| refused(unreadable.reason, unreadable.message))?;
        let document = Document::new(root, Doubled::default(), None);
        let request = Received { method: "GET", target: "", headers: &[], body: body.as_bytes() };
        let mut no_id = || EventId(0);
        let mut context = ReadContext {
            received_at: at,
            raw_event: RawEventId(0),
            correlation_id: &held.audit.correlation_id,
            signed_headers: &[],
            hash_key: &HashKey::unused(),
            event_id: &mut no_id,
        };
        let mapping = &self.mapping;
        let mut reader = Reader {
            source: self,
            mapping,
            request: &request,
            context: &mut context,
            document: Some(&document),
            entry: None,
            warnings: Vec::new(),
        };
        let mut refusals = Vec::new();
        let (updated_at, _) = reader.occurred_at(rule.updated_at.as_ref(), &mut refusals);
        let mut said = Event { identity: Identity::default(), identities: BTreeMap::new(), attributes: BTreeMap::new(), ..held.clone() };
        for (field, compiled) in &rule.rule.fields {
            match reader.value(compiled, field.is_key()) {
                Ok(outcome) => reader.place(field, outcome, &mut said),
                Err(refusal) => refusals.push(refusal),
            }
        }
        if let Some(answers) = &rule.rule.answers {
            reader.answers(answers, &mut said);
        }
        let warnings = std::mem::take(&mut reader.warnings);
        let mut event = match &fetch.said {
            Some(push) => laid_over(said, push),
            None => {
                let Event { identity, identities, attributes, .. } = held.clone();
                laid_over(said, &Said { identity, identities, attributes })
            }
        };
        event.mapping_version.clone_from(&mapping.version);
        if !refusals.is_empty() {
            return Err(Refused { reason: Reason::SchemaMismatch, message: refusals.join(" "), partial: Some(Box::new(event)) });
        }
        event.fetched = Some(Fetched { object: fetch.object.clone(), id: fetch.id.clone(), at, updated_at });
        event.fetch = None;
        Ok((event, warnings))
    }
}

/// What the object said, and what the push said where the object said nothing.
fn laid_over(said: Event, push: &Said) -> Event {
    let pushed = &push.identity;
    let or = |said: Option<String>, pushed: &Option<String>| said.or_else(|| pushed.clone());
    let identity = Identity {
        contact_external_id: or(said.identity.contact_external_id, &pushed.contact_external_id),
        email: or(said.identity.email, &pushed.email),
        phone_e164: or(said.identity.phone_e164, &pushed.phone_e164),
        domain: or(said.identity.domain, &pushed.domain),
    };
    let mut attributes = push.attributes.clone();
    attributes.extend(said.attributes);
    let mut identities = push.identities.clone();
    identities.extend(said.identities);
    Event { identity, identities, attributes, ..said }
}
