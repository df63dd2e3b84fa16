//! Sources: where webhooks come from, as written in the configuration and in the presets, and as compiled.
//!
//! A preset is a file of the same form as `[sources.NAME]`; whatever a user's source says is laid over it. Everything
//! that is wrong is found when the configuration is read, all of it at once, and nothing is left to the first event.

mod answer;
mod over;
mod value;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use answer::{Answer, AnswerDef};
pub(crate) use over::{MappingDef, RuleDef};
pub use value::{AnswersDef, TypeDef, ValueDef};

use crate::fetch::{FetchDef, FetchedDef};
use crate::handshake::{Handshake, HandshakeDef};
use crate::mapping::Mapping;
use crate::preset::{preset, presets};
use crate::signature::{Scheme, Verifier};

/// Largest body that is accepted where the source says nothing else, in bytes.
pub const BODY_MAX_DEFAULT: usize = 1 << 20;
/// Largest `body_max` that may be configured, in bytes.
pub const BODY_MAX_LIMIT: usize = 32 << 20;
/// Trust of a source that says nothing else.
pub const TRUST_DEFAULT: u8 = 50;

/// Words that a source must not be called: they stand for other things where a source's name stands.
const RESERVED_NAMES: [&str; 7] = ["action", "crm", "domain", "email", "external_id", "phone_e164", "rejected"];

/// Something wrong in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, below the table that was compiled: `events.0.fields.email.as`. Empty for the table itself.
    pub key: String,
    /// What was found and what was expected.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Problem {
    /// A problem at a key.
    pub fn new(key: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into(), remedy: remedy.into() }
    }

    /// The same, seen from further out.
    #[must_use]
    pub fn below(mut self, outer: &str) -> Self {
        self.key = if self.key.is_empty() { outer.to_owned() } else { format!("{outer}.{}", self.key) };
        self
    }
}

/// What becomes of an event that no mapping fits and that is not listed as irrelevant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unmatched {
    /// Kept and counted, nothing else.
    Ignore,
    /// A dead letter `unmapped`.
    #[default]
    DeadLetter,
}

/// What a body is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// RFC 8259, in UTF-8.
    #[default]
    Json,
    /// `application/x-www-form-urlencoded` (WHATWG URL, section 5).
    Form,
    /// `multipart/form-data` (RFC 7578), or a form where the sender has no parts to send.
    Multipart,
    /// XML 1.0 without a document type.
    Xml,
    /// What the request's own `Content-Type` says.
    Any,
}

impl Content {
    /// Whether it is what a source reads that says nothing.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `[sources.NAME]` without its `secrets`, and the same of a preset.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct SourceDef {
    /// The preset that this source starts from.
    pub preset: Option<String>,
    /// The signature's scheme (see `signature`), or single keys of it that are laid over the preset's.
    pub signature: Option<toml::Table>,
    /// 0 to 100, default 50: whose word counts more when sources disagree.
    pub trust: Option<i64>,
    /// What becomes of an event that nothing fits; default `dead_letter`.
    pub unmatched: Option<Unmatched>,
    /// What bodies are written in; default `json`.
    pub content: Option<Content>,
    /// Paths of members whose text is itself JSON and is read as such: `["rawRequest"]`.
    pub parse: Option<Vec<String>>,
    /// The list whose entries are events of their own: a path of names and `[]`, such as `entry[].changes[]`; `[]` where the body is the list.
    pub batch: Option<String>,
    /// The vendor's own word for what happened, compared with `ignore` and `on`; default: the first of the payload's
    /// `type`, `event_type`, `event`.
    pub vendor_type: Option<ValueDef>,
    /// Vendor's types that are irrelevant; a trailing `*` stands for anything.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// The vendor's id of an event, where an `events` entry has none of its own.
    pub id: Option<ValueDef>,
    /// When it happened, where an `events` entry has none of its own.
    pub occurred_at: Option<ValueDef>,
    /// What events there are; the first that fits is taken.
    #[serde(default)]
    pub events: Vec<EventDef>,
    /// Largest body in bytes; default 1 MiB, at most 32 MiB.
    pub body_max: Option<u64>,
    /// Answer without a body, for vendors that forbid one; the same as `answer = {}`.
    pub empty_answer: Option<bool>,
    /// The answer that the vendor wants to what was taken in, instead of ours.
    pub answer: Option<AnswerDef>,
    /// How the vendor tries an address before it sends there.
    pub handshake: Option<HandshakeDef>,
    /// This source's address as its vendor was told it, without a query, where `listen.public_url` is not the beginning of it.
    pub public_url: Option<String>,
    /// Take bodies that are compressed with gzip, too: at most `body_max` once unpacked. What is signed is the body before it was compressed.
    pub gzip: Option<bool>,
    /// External ids of this source mean the same as in other sources with `shared = true`.
    pub shared: Option<bool>,
    /// Canonical names, or plain paths of the payload, whose values may differ between copies of one event.
    #[serde(default)]
    pub volatile: Vec<String>,
    /// Media types that are read as `content` says; `none` stands for a request that names none. Default for JSON: `application/json`
    /// and its kin (`…+json`), `text/plain`, and none.
    pub content_types: Option<Vec<String>>,
    /// The country whose national phone numbers are understood, where a field has no `region` of its own: `US`.
    pub region: Option<String>,
    /// The source once existed: answered with 503, never with 404, because some vendors switch off at once on 404.
    pub retired: Option<bool>,
    /// How the vendor is asked for objects of which it pushes only the id: `client` and what it needs (see the configuration).
    pub fetch: Option<toml::Table>,
    /// How such objects are read, by the names that `fetch` of an entry uses.
    #[serde(default)]
    pub fetched: BTreeMap<String, FetchedDef>,
}

/// One entry of `events`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EventDef {
    /// JMESPath over the payload; the entry fits where it is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Vendor's types that the entry fits; a trailing `*` stands for anything. With `when`, both must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<String>,
    /// What happened: a literal, or a table such as `{ from = "type" }`.
    #[serde(rename = "type", default)]
    pub event_type: TypeDef,
    /// The vendor's id of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ValueDef>,
    /// When it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<ValueDef>,
    /// How `occurred_at` is written; the same as `unit` in its table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at_unit: Option<String>,
    /// The push says only which object it is about: what is to be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch: Option<FetchDef>,
    /// Canonical name to value.
    #[serde(default)]
    pub fields: BTreeMap<String, ValueDef>,
    /// Identifiers of what else it tells of: `company` to `domain` to a value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub identities: BTreeMap<String, BTreeMap<String, ValueDef>>,
    /// Questions and answers that become attributes `answer_…`, whatever a form asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<AnswersDef>,
}

/// A source, ready to read webhooks.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name in the configuration.
    pub name: String,
    /// The preset it started from.
    pub preset: Option<String>,
    /// How its requests are signed.
    pub scheme: Scheme,
    /// Reads headers under their aliases. It has no secrets.
    pub(crate) headers: Verifier,
    /// 0 to 100.
    pub trust: u8,
    /// Largest body, in bytes.
    pub body_max: usize,
    /// The answer to what was taken in, where it is not ours.
    pub answer: Option<Answer>,
    /// How the vendor tries an address before it sends there.
    pub handshake: Option<Handshake>,
    /// The source's address as its vendor was told it, where the source says so itself.
    pub public_url: Option<String>,
    /// Compressed bodies are taken.
    pub gzip: bool,
    /// It once existed: answered with 503.
    pub retired: bool,
    /// How the vendor is asked for objects: the preset's words with the source's own over them.
    pub fetch: Option<toml::Table>,
    pub(crate) mapping: Mapping,
}

impl Source {
    /// Lays a definition over its preset, checks everything, and compiles every expression.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, with keys below `sources.NAME`.
    pub fn compile(name: &str, def: &SourceDef) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        check_name(name, &mut problems);
        let base = base(def, &mut problems);
        let scheme = scheme(def, &base, &mut problems);
        let trust = trust(def.trust.or(base.trust), &mut problems);
        let body_max = body_max(def.body_max.or(base.body_max), &mut problems);
        let answer = answer::answer(def, &base, &mut problems);
        let handshake = handshake(def, &base, &mut problems);
        let mapping = Mapping::compile(def.over(&base), &mut problems);
        match (scheme, mapping) {
            (Some((scheme, headers)), Some(mapping)) if problems.is_empty() => Ok(Self {
                name: name.to_owned(),
                preset: def.preset.clone(),
                scheme,
                headers,
                trust,
                body_max,
                answer,
                handshake,
                public_url: def.public_url.clone(),
                gzip: def.gzip.or(base.gzip).unwrap_or(false),
                retired: def.retired.or(base.retired).unwrap_or(false),
                fetch: laid_over(base.fetch.as_ref(), def.fetch.as_ref()),
                mapping,
            }),
            _ => Err(problems),
        }
    }

    /// The same source with a mapping that was in force earlier, for a replay with the original mapping.
    ///
    /// # Errors
    ///
    /// The text is not one of [`Source::mapping_text`], or what it says is no longer accepted.
    pub fn with_mapping(&self, text: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let def = match serde_json::from_str(text) {
            Ok(def) => def,
            Err(error) => {
                return Err(vec![Problem::new(
                    "",
                    format!("the mapping's text cannot be read: {error}"),
                    "Replay with the current mapping.",
                )]);
            }
        };
        match Mapping::compile(def, &mut problems) {
            Some(mapping) if problems.is_empty() => Ok(Self { mapping, ..self.clone() }),
            _ => Err(problems),
        }
    }

    /// The mapping that is in force, preset included: JSON text, the same for the same mapping.
    pub fn mapping_text(&self) -> &str {
        &self.mapping.text
    }

    /// The kinds of object that are fetched from the vendor, each with a mapping of its own.
    pub fn fetches(&self) -> impl Iterator<Item = &str> {
        self.mapping.fetched.keys().map(String::as_str)
    }

    /// The first 16 hexadecimal digits of the SHA-256 of [`Source::mapping_text`].
    pub fn mapping_version(&self) -> &str {
        &self.mapping.version
    }
}

fn check_name(name: &str, problems: &mut Vec<Problem>) {
    let letters = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    if name.is_empty() || name.len() > 63 || !letters {
        let message = format!("the source's name has {} bytes or holds something else than a-z, 0-9, `-` and `_`", name.len());
        problems.push(Problem::new("", message, "Use at most 63 lower-case letters, digits, `-` and `_`; the name is part of the URL."));
    }
    if RESERVED_NAMES.contains(&name) {
        problems.push(Problem::new(
            "",
            format!("a source cannot be called `{name}`: the word has another meaning in keys"),
            "Choose another name.",
        ));
    }
}

fn base(def: &SourceDef, problems: &mut Vec<Problem>) -> SourceDef {
    let Some(name) = def.preset.as_deref() else { return SourceDef::default() };
    match preset(name) {
        Some(Ok(preset)) => {
            if let (Some(reason), None) = (preset.disabled, &def.signature) {
                problems.push(Problem::new(
                    "preset",
                    format!("the preset `{name}` is disabled: {reason}"),
                    "Describe how the vendor signs with a `signature` of your own; the rest of the preset then stays in use.",
                ));
            }
            preset.source
        }
        Some(Err(error)) => {
            problems.push(Problem::new(
                "preset",
                format!("the preset `{name}` is damaged: {}", error.message()),
                "Report this: presets are part of the program.",
            ));
            SourceDef::default()
        }
        None => {
            let known = presets().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            problems.push(Problem::new(
                "preset",
                format!("there is no preset `{name}`; there are {known}"),
                "Use one of these, or describe the source with `signature` and `events`.",
            ));
            SourceDef::default()
        }
    }
}

fn scheme(def: &SourceDef, base: &SourceDef, problems: &mut Vec<Problem>) -> Option<(Scheme, Verifier)> {
    let mut table = base.signature.clone().unwrap_or_default();
    overlay(&mut table, def.signature.clone().unwrap_or_default());
    if table.is_empty() {
        // Without a known preset the complaint about the preset is enough.
        if def.preset.is_none() {
            problems.push(Problem::new(
                "signature",
                "the source has neither a `preset` nor a `signature`, so nothing could be verified",
                "Name a preset, or write for example `signature = { algorithm = \"hmac-sha256\", header = \"x-signature\", encoding = \"hex\", signed = \"{body}\" }`.",
            ));
        }
        return None;
    }
    const REMEDY: &str = "See the vocabulary of signatures; the presets are good examples.";
    let scheme = match Scheme::deserialize(table) {
        Ok(scheme) => scheme,
        Err(error) => {
            problems.push(Problem::new("signature", error.message().trim(), REMEDY));
            return None;
        }
    };
    match scheme.outline() {
        Ok(headers) => Some((scheme, headers)),
        Err(wrong) => {
            problems.extend(wrong.into_iter().map(|problem| Problem::new(format!("signature.{}", problem.key), problem.text, REMEDY)));
            None
        }
    }
}

/// One table over another, where there is any.
fn laid_over(under: Option<&toml::Table>, over: Option<&toml::Table>) -> Option<toml::Table> {
    let mut table = under.or(over)?.clone();
    overlay(&mut table, over.cloned().unwrap_or_default());
    Some(table)
}

fn handshake(def: &SourceDef, base: &SourceDef, problems: &mut Vec<Problem>) -> Option<Handshake> {
    let def = def.handshake.as_ref().or(base.handshake.as_ref())?;
    match Handshake::compile(def) {
        Ok(handshake) => Some(handshake),
        Err(wrong) => {
            problems.extend(wrong.into_iter().map(|(key, text)| {
                Problem::new(format!("handshake.{key}"), text, "See the vocabulary of handshakes; the presets are good examples.")
            }));
            None
        }
    }
}

/// Lays one table over another, key by key and table by table.
fn overlay(under: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => overlay(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

fn trust(trust: Option<i64>, problems: &mut Vec<Problem>) -> u8 {
    match trust.map(u8::try_from) {
        None => TRUST_DEFAULT,
        Some(Ok(trust)) if trust <= 100 => trust,
        Some(_) => {
            problems.push(Problem::new(
                "trust",
                format!("trust is {}; it goes from 0 to 100", trust.unwrap_or_default()),
                "Use a number from 0 to 100; the default is 50.",
            ));
            TRUST_DEFAULT
        }
    }
}

fn body_max(body_max: Option<u64>, problems: &mut Vec<Problem>) -> usize {
    match body_max.map(usize::try_from) {
        None => BODY_MAX_DEFAULT,
        Some(Ok(bytes)) if (1..=BODY_MAX_LIMIT).contains(&bytes) => bytes,
        Some(_) => {
            let message = format!("body_max is {}; it goes from 1 to {BODY_MAX_LIMIT} bytes", body_max.unwrap_or_default());
            problems.push(Problem::new("body_max", message, "Leave it out for 1 MiB, or stay below 32 MiB: a body is held in memory."));
            BODY_MAX_DEFAULT
        }
    }
}
