//! One body, read with one mapping.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::answers::Answers;
use super::batch::Entry;
use super::compile::{Compiled, EventRule, Field, Mapping, Place, Rule};
use super::document::{Document, Unreadable};
use super::key::{self, Tail};
use super::normalize::{ID_BYTES_MAX, Normalizer, Unusable, moment, normalize, scalar_text, split_name};
use super::sought::{Sought, fetch, scalar};
use crate::event::{self, Audit, SCHEMA_VERSION, Warning};
use crate::seal::HashKey;
use crate::source::{Source, Unmatched};
use crate::{Event, EventId, Identity, RawEventId, Reading, Reason, Received, Time};

/// How far ahead of us a sender's clock may be.
const AHEAD_MAX: Duration = Duration::from_secs(5 * 60);
/// What is further ahead than this is no clock's error.
const AHEAD_REFUSED: Duration = Duration::from_secs(24 * 3600);
/// 2000-01-01T00:00:00Z: what is older is a default value, not a moment.
const EARLIEST: Time = Time::from_seconds(946_684_800);
/// Most warnings of one event.
const WARNINGS_MAX: usize = 32;

/// Room for what is hashed of a common event; a larger one grows.
const CONTENT_BYTES: usize = 768;

/// What reading needs besides the request.
pub struct ReadContext<'a> {
    /// When the request arrived.
    pub received_at: Time,
    /// The raw event's id.
    pub raw_event: RawEventId,
    /// `traceparent`'s trace id, `X-Correlation-Id`, or the raw event's id.
    pub correlation_id: &'a str,
    /// Headers whose values are signed, by the scheme's names in lower case: only these may become keys.
    pub signed_headers: &'a [String],
    /// For keys made from identity and time.
    pub hash_key: &'a HashKey,
    /// Makes the events' ids.
    pub event_id: &'a mut dyn FnMut() -> EventId,
}

impl Source {
    /// What a verified request holds: one reading, or one for each entry where the source's bodies are batches. A body that cannot be read is one
    /// dead letter; only a batch of no entries is nothing.
    pub fn read(&self, request: &Received<'_>, context: &mut ReadContext<'_>) -> Vec<Reading> {
        let mut readings = Vec::new();
        let read = self.mapping.entries(request, &mut |entry, warnings| {
            let place = u32::try_from(readings.len()).unwrap_or(u32::MAX);
            readings.push(Reader::new(self, request, &mut *context, &entry, place, warnings).entry(&entry));
        });
        match read {
            Ok(()) => readings,
            Err(unreadable) => vec![Reader::of_nothing(self, request, context).unreadable(&unreadable)],
        }
    }

    /// Whether one request may hold several events.
    pub fn is_batched(&self) -> bool {
        self.mapping.batch.is_some()
    }

    /// Tells "same key, same content" from "same key, other content", under one mapping version.
    ///
    /// Over type, identity and attributes; where the push only names an object, over type and object: what else such a push says beside it (an
    /// ad's id) is not said by the vendor's list, from which the event may have come. Not over `occurred_at`, which may be the time of receipt and so differ
    /// between copies of one event, nor over `audit`, nor over what the source calls `volatile`.
    pub fn content_hash(&self, event: &Event) -> [u8; 16] {
        let attributes: Vec<_> = event.attributes.iter().filter(|(name, _)| !self.mapping.volatile.contains(*name)).collect();
        let mut content = Vec::with_capacity(CONTENT_BYTES);
        let said = (&event.event_type, &event.identity, attributes);
        // As in `prepare`: there is nothing in it that JSON cannot say.
        let written = match &event.fetch {
            None if !event.identities.is_empty() => serde_json::to_writer(&mut content, &(said, &event.identities)),
            None => serde_json::to_writer(&mut content, &said),
            Some(fetch) => serde_json::to_writer(&mut content, &(&event.event_type, &fetch.object, &fetch.id, &fetch.with)),
        };
        if written.is_err() {
            content.clear();
        }
        let mut hash = [0; 16];
        hash.copy_from_slice(&Sha256::digest(&content)[..16]);
        hash
    }
}

pub(super) struct Reader<'a, 'c> {
    pub(super) source: &'a Source,
    pub(super) mapping: &'a Mapping,
    pub(super) request: &'a Received<'a>,
    pub(super) context: &'a mut ReadContext<'c>,
    /// `None` if the body cannot be read.
    pub(super) document: Option<&'a Document<'a>>,
    /// Of a batch: the entry's place, and its own bytes, made when they are asked for.
    pub(super) entry: Option<(u32, OnceCell<Vec<u8>>)>,
    pub(super) warnings: Vec<Warning>,
}

/// A value as it can be used.
pub(super) enum Outcome {
    Absent,
    Clear,
    Value(Value),
}

/// Where the id of a key comes from.
pub(super) struct Id {
    pub(super) tail: Tail,
    /// The id itself, where it is short and printable.
    shown: Option<String>,
    fallback: bool,
}

impl<'a, 'c> Reader<'a, 'c> {
    pub(super) fn new(
        source: &'a Source,
        request: &'a Received<'a>,
        context: &'a mut ReadContext<'c>,
        entry: &Entry<'a, 'a>,
        place: u32,
        warnings: &[Warning],
    ) -> Self {
        let (document, entry) = match entry {
            Entry::Whole(document) => (Some(*document), None),
            Entry::One(document) => (Some(*document), Some((place, OnceCell::new()))),
            Entry::Bad(_, canonical) => (None, Some((place, OnceCell::from(canonical.clone())))),
        };
        Self { source, mapping: &source.mapping, request, context, document, entry, warnings: warnings.to_vec() }
    }

    pub(super) fn of_nothing(source: &'a Source, request: &'a Received<'a>, context: &'a mut ReadContext<'c>) -> Self {
        Self { source, mapping: &source.mapping, request, context, document: None, entry: None, warnings: Vec::new() }
    }

    pub(super) fn entry(&mut self, entry: &Entry<'_, '_>) -> Reading {
        match entry {
            Entry::Whole(document) | Entry::One(document) => self.read(document),
            Entry::Bad(unreadable, _) => self.unreadable(unreadable),
        }
    }

    /// What stands for an id that is not there: the body, or the entry.
    fn bytes(&self) -> &[u8] {
        match &self.entry {
            Some((_, bytes)) => bytes.get_or_init(|| self.document.map(Document::canonical).unwrap_or_default()),
            None => self.request.body,
        }
    }

    /// Which entry of a batch it is, where nothing but its bytes is known.
    fn of_batch(&self) -> Option<event::Entry> {
        let &(place, _) = self.entry.as_ref()?;
        let mut content = [0; 16];
        content.copy_from_slice(&Sha256::digest(self.bytes())[..16]);
        Some(event::Entry { place, content })
    }

    fn read(&mut self, document: &Document<'_>) -> Reading {
        let vendor_type = self.text(&self.mapping.vendor_type);
        if let Some(reading) = self.duplicates(document, &vendor_type) {
            return reading;
        }
        let mapping = self.mapping;
        for rule in &mapping.rules {
            match rule {
                Rule::Event(rule) if self.fits(rule, &vendor_type) => return self.event(rule, &vendor_type),
                Rule::Ignore(types) if types.iter().any(|pattern| pattern.fits(&vendor_type)) => return self.ignored(&vendor_type),
                Rule::Event(_) | Rule::Ignore(_) => {}
            }
        }
        match mapping.unmatched {
            Unmatched::Ignore => self.ignored(&vendor_type),
            Unmatched::DeadLetter => self.unmapped(&vendor_type),
        }
    }

    fn warn(&mut self, kind: &str, message: String) {
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(Warning { kind: kind.to_owned(), message });
        }
    }

    pub(super) fn unreadable(&mut self, unreadable: &Unreadable) -> Reading {
        // The type may be in a header, which can be read whatever the body is.
        let vendor_type = self.text(&self.mapping.vendor_type);
        let event_type = key::type_for_key(&vendor_type);
        let idempotency_key = key::key(&self.source.name, &event_type, &Tail::body(self.bytes()));
        Reading::DeadLetter {
            reason: unreadable.reason,
            message: unreadable.message.clone(),
            event_type,
            idempotency_key,
            partial: None,
            entry: self.of_batch(),
        }
    }

    /// Parsers differ in which of two equal names wins, so nothing is read from a document where it matters.
    pub(super) fn duplicates(&mut self, document: &Document<'_>, vendor_type: &str) -> Option<Reading> {
        let doubled = &document.doubled;
        if doubled.count == 0 {
            return None;
        }
        let message = match &doubled.read {
            Some(name) => format!(
                "The name `{name}` occurs twice in one object of the payload, and the mapping reads it: which one is meant is not known."
            ),
            None if self.mapping.reads_any_name => {
                "A name occurs twice in one object of the payload, and the mapping may read it: which one is meant is not known.".to_owned()
            }
            None => {
                let count = doubled.count;
                self.warn(
                    "duplicate_name",
                    format!("{count} name(s) occur twice in one object of the payload; the mapping reads none of them."),
                );
                return None;
            }
        };
        let event_type = key::type_for_key(vendor_type);
        let idempotency_key = key::key(&self.source.name, &event_type, &Tail::body(self.bytes()));
        Some(Reading::DeadLetter {
            reason: Reason::Unparseable,
            message,
            event_type,
            idempotency_key,
            partial: None,
            entry: self.of_batch(),
        })
    }

    pub(super) fn fits(&mut self, rule: &'a EventRule, vendor_type: &str) -> bool {
        if !rule.on.is_empty() && !rule.on.iter().any(|pattern| pattern.fits(vendor_type)) {
            return false;
        }
        let (Some(when), Some(document)) = (&rule.when, self.document) else { return rule.when.is_none() };
        match when.evaluate(document) {
            Ok(value) => value.is_truthy(),
            Err(message) => {
                self.warn("expression_failed", message);
                false
            }
        }
    }

    fn ignored(&mut self, vendor_type: &str) -> Reading {
        let event_type = key::type_for_key(vendor_type);
        let id = self.id(self.mapping.id.as_ref());
        Reading::Ignored { idempotency_key: key::key(&self.source.name, &event_type, &id.tail), event_type }
    }

    fn unmapped(&mut self, vendor_type: &str) -> Reading {
        let event_type = key::type_for_key(vendor_type);
        let id = self.id(self.mapping.id.as_ref());
        let idempotency_key = key::key(&self.source.name, &event_type, &id.tail);
        let message = match self.warnings.iter().find(|warning| warning.kind == "expression_failed") {
            Some(warning) => format!("No entry of the source's mapping fits this payload (type `{event_type}`). {}", warning.message),
            None => format!("No entry of the source's mapping fits this payload (type `{event_type}`)."),
        };
        Reading::DeadLetter { reason: Reason::Unmapped, message, event_type, idempotency_key, partial: None, entry: self.of_batch() }
    }

    fn event(&mut self, rule: &'a EventRule, vendor_type: &str) -> Reading {
        let mut refusals = Vec::new();
        let event_type = self.event_type(rule, vendor_type, &mut refusals);
        let (occurred_at, said_when) = self.occurred_at(rule.occurred_at.as_ref(), &mut refusals);
        let mut event = self.blank(event_type, occurred_at);
        for (field, compiled) in &rule.fields {
            match self.value(compiled, field.is_key()) {
                Ok(outcome) => self.place(field, outcome, &mut event),
                Err(refusal) => refusals.push(refusal),
            }
        }
        if let Some(answers) = &rule.answers {
            self.answers(answers, &mut event);
        }
        let id = self.event_key(rule, &event, said_when, &mut refusals);
        event.idempotency_key = key::key(&self.source.name, &event.event_type, &id.tail);
        event.event_id = format!("{}:{}", self.source.name, id.shown.as_deref().unwrap_or(id.tail.as_str()));
        event.fetch = rule.fetch.as_ref().and_then(|fetch| self.asked_of(fetch, &mut refusals));
        if !refusals.is_empty() {
            return Reading::DeadLetter {
                reason: Reason::SchemaMismatch,
                message: refusals.join(" "),
                event_type: event.event_type.clone(),
                idempotency_key: event.idempotency_key.clone(),
                partial: Some(Box::new(event)),
                entry: None,
            };
        }
        Reading::Event {
            event: Box::new(event),
            trust: self.source.trust,
            fallback_key: id.fallback,
            warnings: std::mem::take(&mut self.warnings),
        }
    }

    fn blank(&mut self, event_type: String, occurred_at: Time) -> Event {
        Event {
            schema_version: SCHEMA_VERSION.to_owned(),
            event_id: String::new(),
            event_type,
            source: self.source.name.clone(),
            occurred_at,
            idempotency_key: String::new(),
            identity: Identity::default(),
            attributes: Default::default(),
            identities: BTreeMap::new(),
            routing: Vec::new(),
            fetch: None,
            fetched: None,
            mapping_version: self.mapping.version.clone(),
            audit: Audit {
                received_at: self.context.received_at,
                raw_event_ref: self.context.raw_event.to_string(),
                normalized_event_ref: (self.context.event_id)().to_string(),
                correlation_id: self.context.correlation_id.to_owned(),
                entry: self.entry.as_ref().map(|(place, _)| *place),
            },
        }
    }

    fn event_type(&mut self, rule: &'a EventRule, vendor_type: &str, refusals: &mut Vec<String>) -> String {
        let event_type = self.text(&rule.event_type);
        if key::is_event_type(&event_type) {
            return event_type;
        }
        refusals.push(format!(
            "{}: is not an event type: it is empty, longer than {} bytes, or holds something else than letters, digits and `. _ - / :`.",
            rule.event_type.label,
            key::TYPE_BYTES_MAX
        ));
        key::type_for_key(vendor_type)
    }

    /// When it happened, and whether that is the sender's word.
    pub(super) fn occurred_at(&mut self, compiled: Option<&'a Compiled>, refusals: &mut Vec<String>) -> (Time, bool) {
        let received_at = self.context.received_at;
        let Some(compiled) = compiled else { return (received_at, false) };
        let written = if let Normalizer::Datetime(written) = &compiled.how { written.as_ref() } else { None };
        let fetched = match self.fetch(compiled) {
            Ok(Sought::Value(value)) => moment(&value, written).map(Some),
            Ok(Sought::Absent | Sought::Blank) => Ok(None),
            Err(unusable) => Err(unusable),
        };
        match fetched {
            Ok(None) if compiled.required => refusals.push(format!("{}: is missing, and the mapping requires it.", compiled.label)),
            Ok(None) => self.warn("occurred_at_missing", format!("{}: is missing; the time of receipt is used.", compiled.label)),
            Ok(Some(at)) if at > received_at + AHEAD_REFUSED => {
                refusals.push(format!("{}: is more than 24 hours in the future.", compiled.label))
            }
            Ok(Some(at)) if at < EARLIEST => refusals.push(format!("{}: is before the year 2000.", compiled.label)),
            Ok(Some(at)) if at > received_at + AHEAD_MAX => {
                self.warn(
                    "occurred_at_clamped",
                    format!("{}: is more than 5 minutes in the future; the time of receipt is used.", compiled.label),
                );
            }
            Ok(Some(at)) => return (at, true),
            Err(unusable) => refusals.push(format!("{}: {}.", compiled.label, unusable.found)),
        }
        (received_at, false)
    }

    /// A usable value, or the sentence that says why there is none.
    pub(super) fn value(&mut self, compiled: &'a Compiled, is_key: bool) -> Result<Outcome, String> {
        let normalized = self.fetch(compiled).and_then(|fetched| match fetched {
            Sought::Absent => Ok(None),
            Sought::Blank if compiled.clear => Ok(Some(Outcome::Clear)),
            Sought::Blank => Ok(None),
            Sought::Value(value) => {
                let currency = compiled.minor.as_ref().and_then(|minor| minor.evaluate(self.document?).ok());
                normalize(&compiled.how, &value, currency.as_ref().and_then(|code| code.text())).map(|value| value.map(Outcome::Value))
            }
        });
        match normalized {
            Ok(Some(Outcome::Value(value))) => Ok(Outcome::Value(self.bounded(value, compiled))),
            Ok(Some(outcome)) => Ok(outcome),
            Ok(None) if compiled.required => Err(format!("{}: is missing, and the mapping requires it.", compiled.label)),
            Ok(None) => Ok(compiled.default.clone().map_or(Outcome::Absent, Outcome::Value)),
            Err(unusable) if compiled.required || is_key => Err(format!("{}: {}.", compiled.label, unusable.found)),
            Err(unusable) => {
                self.warn(unusable.kind, format!("{}: {}; it was left out.", compiled.label, unusable.found));
                Ok(Outcome::Absent)
            }
        }
    }

    /// What a form asked, beside the fields.
    pub(super) fn answers(&mut self, answers: &'a Answers, event: &mut Event) {
        let Some(document) = self.document else { return };
        let found = answers.from.evaluate(document).and_then(|form| answers.of(&form));
        match found {
            Ok(found) => {
                if found.dropped {
                    self.warn("answers_dropped", "`answers`: the form asks more than 100 questions; the first 100 were kept.".to_owned());
                }
                if found.cut {
                    self.warn(
                        "truncated",
                        "`answers`: an answer is longer than 4000 characters, or has more than 100 values, and was cut.".to_owned(),
                    );
                }
                for (name, value) in found.attributes {
                    event.attributes.entry(name).or_insert(value);
                }
            }
            Err(message) => self.warn("expression_failed", format!("`answers`: {message}.")),
        }
    }

    /// Cut to its length where the mapping says so, and without the one character that databases refuse.
    fn bounded(&mut self, value: Value, compiled: &Compiled) -> Value {
        let Value::String(mut text) = value else { return value };
        if text.contains('\0') {
            text = text.replace('\0', "\u{fffd}");
            self.warn(
                "nul_replaced",
                format!("{}: holds the character U+0000, which no database keeps; U+FFFD stands in its place.", compiled.label),
            );
        }
        if let Some((end, _)) = compiled.truncate.and_then(|most| text.char_indices().nth(most)) {
            text.truncate(end);
            self.warn("truncated", format!("{}: is longer than the mapping allows and was cut.", compiled.label));
        }
        Value::String(text)
    }

    pub(super) fn place(&mut self, field: &Field, outcome: Outcome, event: &mut Event) {
        let value = match outcome {
            Outcome::Absent => return,
            Outcome::Clear => Value::Null,
            Outcome::Value(value) => value,
        };
        let text = value.as_str().map(str::to_owned);
        match field {
            Field::ExternalId => {
                event.identity.contact_external_id =
                    text.map(|id| if self.mapping.shared { id } else { format!("{}:{id}", self.source.name) })
            }
            Field::Email => event.identity.email = text,
            Field::Phone => event.identity.phone_e164 = text,
            Field::Domain => event.identity.domain = text,
            Field::FullName => {
                let (first, last) = split_name(&text.unwrap_or_default());
                for (name, part) in [("first_name", first), ("last_name", last)] {
                    if let Some(part) = part {
                        // `full_name` comes after `first_name` and before `last_name`; whichever is mapped by itself wins.
                        event.attributes.entry(name.to_owned()).or_insert(Value::String(part));
                    }
                }
            }
            Field::Of(whose, word) => {
                let own =
                    |id: String| if *word == "external_id" && !self.mapping.shared { format!("{}:{id}", self.source.name) } else { id };
                if let Some(text) = text {
                    event.identities.entry(whose.clone()).or_default().insert((*word).to_owned(), own(text));
                }
            }
            Field::Attribute(name) => {
                event.attributes.insert(name.clone(), value);
            }
        }
    }

    /// The last part of the key, by the rules of [`super::key`].
    fn event_key(&mut self, rule: &'a EventRule, event: &Event, said_when: bool, refusals: &mut Vec<String>) -> Id {
        let identity = &event.identity;
        let known = identity.contact_external_id.is_some()
            || identity.email.is_some()
            || identity.phone_e164.is_some()
            || identity.domain.is_some();
        if rule.id.is_none() && known && said_when {
            return Id { tail: Tail::fallback(self.context.hash_key, identity, event.occurred_at), shown: None, fallback: true };
        }
        let id = self.id(rule.id.as_ref());
        if id.shown.as_deref().is_some_and(|id| id.contains('\0')) {
            refusals.push("`id`: holds the character U+0000, which no database keeps in a key.".to_owned());
        }
        id
    }

    /// The configured id where it is there and signed, else the body's hash.
    pub(super) fn id(&mut self, compiled: Option<&'a Compiled>) -> Id {
        // Only where it is the key: hashing a body costs as much as checking its signature.
        let body = |reader: &Self| Id { tail: Tail::body(reader.bytes()), shown: None, fallback: false };
        let Some(compiled) = compiled else { return body(self) };
        let signed = match &compiled.place {
            Place::Header(name) => compiled.unsigned || self.context.signed_headers.iter().any(|signed| signed == name),
            Place::Query(name) => compiled.unsigned || self.source.headers.signs_parameter(name),
            Place::Expression(_) | Place::Constant(_) => true,
        };
        if !signed {
            self.warn("unsigned_id", format!("{}: is not signed, so the body's hash is the key.", compiled.label));
            return body(self);
        }
        let text = match self.fetch(compiled) {
            Ok(Sought::Value(value)) => scalar_text(&value).map(|text| Some(text.into_owned())),
            Ok(Sought::Absent | Sought::Blank) => Ok(None),
            Err(unusable) => Err(unusable),
        };
        match text {
            Ok(Some(text)) if !text.is_empty() => {
                let text = self.of_entry(text, &compiled.place);
                let tail = Tail::id(&text);
                let shown =
                    (text.len() <= ID_BYTES_MAX && !text.chars().any(|letter| letter.is_control() && letter != '\0')).then_some(text);
                Id { tail, shown, fallback: false }
            }
            Ok(_) => {
                self.warn("id_missing", format!("{}: is missing, so the body's hash is the key.", compiled.label));
                body(self)
            }
            Err(unusable) => {
                self.warn("unusable_id", format!("{}: {}, so the body's hash is the key.", compiled.label, unusable.found));
                body(self)
            }
        }
    }

    /// What stands outside a batch names all of its entries: with the entry's own bytes it names one.
    fn of_entry(&self, id: String, place: &Place) -> String {
        match (place, &self.entry) {
            (Place::Header(_) | Place::Query(_) | Place::Constant(_), Some(_)) => {
                format!("{id}:{}", &hex::encode(Sha256::digest(self.bytes()))[..16])
            }
            (Place::Expression(_), _) | (_, None) => id,
        }
    }

    /// A value as a text; empty where there is none.
    pub(super) fn text(&self, compiled: &'a Compiled) -> String {
        scalar(self.fetch(compiled))
    }

    pub(super) fn fetch(&self, compiled: &'a Compiled) -> Result<Sought<'a>, Unusable> {
        fetch(self.source, self.request, self.document, compiled)
    }
}
