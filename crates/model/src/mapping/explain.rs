//! Why a body was read as it was: every rule that was looked at, every field with its expression, what was found there and what became of it.

use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;

use super::batch::Entry;
use super::compile::{Compiled, EventRule, Field, Pattern, Rule};
use super::document::Document;
use super::read::{Outcome, Reader};
use super::sought::Sought;
use crate::source::{Source, Unmatched};
use crate::{Reading, Received};

use super::ReadContext;

/// Most characters of a found value's JSON that are kept; a longer one is cut.
const FOUND_MAX: usize = 2_000;

/// How one entry of a request was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// Its place in the batch, from 0; `None` where the body is one event.
    pub entry: Option<u32>,
    /// The vendor's word for what happened.
    pub vendor_type: String,
    /// The rules in their order, up to the one that fits.
    pub rules: Vec<ExplainedRule>,
    /// Type, id, time and fields of the rule that fits.
    pub fields: Vec<ExplainedField>,
    /// What became of it; its warnings are here, too.
    pub reading: Reading,
}

/// Whether a rule fits, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedRule {
    /// Where it is written: `events.0`, `preset`, `ignore`, or `unmatched` where none fits.
    pub rule: String,
    /// What it makes of a body: an event's type, or that it is ignored.
    pub makes: String,
    /// It is the one that was taken.
    pub fits: bool,
    /// The condition that held, or did not.
    pub why: String,
}

/// What a field was made of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedField {
    /// Its canonical name; or `type`, `id`, `occurred_at`.
    pub name: String,
    /// Where the value is: `from` and the expression, a header, a parameter of the query, `const`.
    pub from: String,
    /// What is there, as JSON; `None` where nothing is. At most 2,000 characters of a text.
    pub found: Option<Value>,
    /// What it was to be made into.
    pub normalizer: &'static str,
    /// What it became; `None` where it was left out.
    pub result: Option<Value>,
    /// Why it was left out, or is not what was found.
    pub why: Option<String>,
    /// The warning's word, where there is one.
    pub kind: Option<String>,
}

impl Source {
    /// Reads a request as [`Source::read`] does, and tells how: one explanation a reading, in the same order. Not for intake: it evaluates everything twice.
    pub fn explain(&self, request: &Received<'_>, context: &mut ReadContext<'_>) -> Vec<Explained> {
        let mut explained = Vec::new();
        let read = self.mapping.entries(request, &mut |entry, warnings| {
            let place = u32::try_from(explained.len()).unwrap_or(u32::MAX);
            let reading = Reader::new(self, request, &mut *context, &entry, place, warnings).entry(&entry);
            let mut reader = Reader::new(self, request, &mut *context, &entry, place, &[]);
            let (document, place) = match &entry {
                Entry::Whole(document) => (Some(*document), None),
                Entry::One(document) => (Some(*document), Some(place)),
                Entry::Bad(..) => (None, Some(place)),
            };
            explained.push(reader.explain(document, place, reading));
        });
        if let Err(unreadable) = read {
            let mut reader = Reader::of_nothing(self, request, context);
            let reading = reader.unreadable(&unreadable);
            explained = vec![reader.explain(None, None, reading)];
        }
        explained
    }
}

impl<'a> Reader<'a, '_> {
    fn explain(&mut self, document: Option<&Document<'_>>, entry: Option<u32>, reading: Reading) -> Explained {
        let vendor_type = self.text(&self.mapping.vendor_type);
        // What could not be read, and what says two things, met no rule.
        let unread = document.is_none_or(|document| self.duplicates(document, &vendor_type).is_some());
        let (rules, taken) = if unread { (Vec::new(), None) } else { self.explain_rules(&vendor_type) };
        let fields = taken.map(|rule| self.explain_fields(rule)).unwrap_or_default();
        Explained { entry, vendor_type, rules, fields, reading }
    }

    fn explain_rules(&mut self, vendor_type: &str) -> (Vec<ExplainedRule>, Option<&'a EventRule>) {
        let mapping = self.mapping;
        let mut explained = Vec::new();
        for rule in &mapping.rules {
            match rule {
                Rule::Event(rule) => {
                    let (fits, why) = self.explain_fit(rule, vendor_type);
                    let makes = self.text(&rule.event_type);
                    explained.push(ExplainedRule { rule: rule.key.clone(), makes, fits, why });
                    if fits {
                        return (explained, Some(rule));
                    }
                }
                Rule::Ignore(types) => {
                    let fits = types.iter().find(|pattern| pattern.fits(vendor_type));
                    let why = match fits {
                        Some(pattern) => format!("the type `{vendor_type}` is listed as `{pattern}`"),
                        None => format!("the type `{vendor_type}` is not listed"),
                    };
                    explained.push(ExplainedRule { rule: "ignore".to_owned(), makes: "ignored".to_owned(), fits: fits.is_some(), why });
                    if fits.is_some() {
                        return (explained, None);
                    }
                }
            }
        }
        let makes = match mapping.unmatched {
            Unmatched::Ignore => "ignored",
            Unmatched::DeadLetter => "a dead letter",
        };
        let why = "no rule fits".to_owned();
        explained.push(ExplainedRule { rule: "unmatched".to_owned(), makes: makes.to_owned(), fits: true, why });
        (explained, None)
    }

    fn explain_fit(&mut self, rule: &'a EventRule, vendor_type: &str) -> (bool, String) {
        let listed = rule.on.iter().find(|pattern| pattern.fits(vendor_type));
        let on = match listed {
            Some(pattern) => format!("the type `{vendor_type}` fits `{pattern}`"),
            None if rule.on.is_empty() => String::new(),
            None => {
                let wanted = rule.on.iter().map(|pattern| format!("`{pattern}`")).collect::<Vec<_>>().join(", ");
                return (false, format!("the type `{vendor_type}` is none of {wanted}"));
            }
        };
        let Some(when) = &rule.when else {
            return (true, if on.is_empty() { "it fits everything".to_owned() } else { on });
        };
        let before = self.warnings.len();
        let fits = self.fits(rule, vendor_type);
        let failed = self.warnings.get(before).map(|warning| warning.message.clone());
        let when = failed.unwrap_or_else(|| format!("`{}` is {}", when.text(), if fits { "true" } else { "not true" }));
        (fits, if on.is_empty() { when } else { format!("{on}, and {when}") })
    }

    fn explain_fields(&mut self, rule: &'a EventRule) -> Vec<ExplainedField> {
        let mut refusals = Vec::new();
        let event_type = self.text(&rule.event_type);
        let mut fields = vec![self.explained("type", &rule.event_type, Some(Value::String(event_type)), None, None)];
        if let Some(compiled) = &rule.id {
            let before = self.warnings.len();
            let id = self.id(Some(compiled));
            let (kind, why) = self.told(before, &mut refusals);
            fields.push(self.explained("id", compiled, Some(Value::String(id.tail.as_str().to_owned())), kind, why));
        }
        if let Some(compiled) = &rule.occurred_at {
            let before = self.warnings.len();
            let (at, said) = self.occurred_at(Some(compiled), &mut refusals);
            let (kind, why) = self.told(before, &mut refusals);
            let result = (said || why.is_some()).then(|| Value::String(at.to_string()));
            fields.push(self.explained("occurred_at", compiled, result, kind, why));
        }
        for (field, compiled) in &rule.fields {
            let before = self.warnings.len();
            let outcome = self.value(compiled, field.is_key());
            let (mut kind, mut why) = self.told(before, &mut refusals);
            let result = match outcome {
                Ok(Outcome::Value(value)) => Some(value),
                Ok(Outcome::Clear) => {
                    why = Some("it is there and blank, so the field is blanked".to_owned());
                    Some(Value::Null)
                }
                Ok(Outcome::Absent) => None,
                Err(refusal) => {
                    (kind, why) = (Some("schema_mismatch".to_owned()), Some(refusal));
                    None
                }
            };
            fields.push(self.explained(&field.name(), compiled, result, kind, why));
        }
        fields
    }

    /// The first warning or refusal since then.
    fn told(&mut self, before: usize, refusals: &mut Vec<String>) -> (Option<String>, Option<String>) {
        if let Some(refusal) = refusals.pop() {
            refusals.clear();
            return (Some("schema_mismatch".to_owned()), Some(refusal));
        }
        self.warnings.get(before).map(|warning| (warning.kind.clone(), warning.message.clone())).unzip()
    }

    fn explained(
        &self,
        name: &str,
        compiled: &'a Compiled,
        result: Option<Value>,
        kind: Option<String>,
        why: Option<String>,
    ) -> ExplainedField {
        let (found, plain) = match self.fetch(compiled) {
            Ok(Sought::Value(value)) => (Some(cut(value.to_json())), None),
            Ok(Sought::Blank) => (Some(Value::Null), Some("it is there and blank: null, or nothing but white space")),
            Ok(Sought::Absent) => (None, Some("nothing is there")),
            Err(_) => (None, None),
        };
        let why = why.or_else(|| match (&result, plain) {
            (None, Some(plain)) => Some(plain.to_owned()),
            (None, None) => Some("it is there and blank: null, or nothing but white space".to_owned()),
            (Some(_), Some(_)) if compiled.default.is_some() => Some("nothing is there, so it is the mapping's `default`".to_owned()),
            (Some(_), _) => None,
        });
        ExplainedField { name: name.to_owned(), from: compiled.shown.clone(), found, normalizer: compiled.how.word(), result, why, kind }
    }
}

impl Field {
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::ExternalId => "external_id",
            Self::Email => "email",
            Self::Phone => "phone_e164",
            Self::Domain => "domain",
            Self::FullName => "full_name",
            Self::Of(whose, word) => return Cow::Owned(format!("identities.{whose}.{word}")),
            Self::Attribute(name) => name,
        })
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// A value that can be shown: a text is cut, and what is written in too many characters is shown as a text.
fn cut(value: Value) -> Value {
    let text = match &value {
        Value::String(text) => text.clone(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string(),
    };
    match text.char_indices().nth(FOUND_MAX) {
        Some((end, _)) => Value::String(format!("{}…", &text[..end])),
        None => value,
    }
}
