//! From a mapping as data to one that reads bodies, or to everything that is wrong with it.

mod value;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::answers::Answers;
use super::expression::Expression;
use super::fetched;
use super::key::is_event_type;
use super::node::Node;
use super::normalize::Normalizer;
use super::path::Path;
use crate::source::{AnswersDef, Content, EventDef, MappingDef, Problem, RuleDef, Unmatched, ValueDef};

/// Most fields of one event.
const FIELDS_MAX: usize = 200;
/// Most members of a body that are parsed once more.
const PARSE_MAX: usize = 10;
/// Most things that one event tells of besides whom it is about.
const IDENTITIES_MAX: usize = 10;
/// Most rules of one source.
const RULES_MAX: usize = 200;

/// A compiled mapping.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    /// Canonical text: JSON of the definition.
    pub(crate) text: String,
    /// First 16 hexadecimal digits of the text's SHA-256.
    pub(crate) version: String,
    pub(crate) shared: bool,
    pub(crate) unmatched: Unmatched,
    pub(crate) content_types: Option<Vec<String>>,
    pub(crate) content: Content,
    /// Members whose text is JSON.
    pub(crate) parse: Vec<Path>,
    /// To the entries, where a body holds several events.
    pub(crate) batch: Option<Path>,
    pub(crate) vendor_type: Compiled,
    /// The id where no rule fits.
    pub(crate) id: Option<Compiled>,
    pub(crate) rules: Vec<Rule>,
    /// How fetched objects are read, by kind.
    pub(crate) fetched: BTreeMap<String, FetchedRule>,
    /// Attributes whose values may differ between copies of one event.
    pub(crate) volatile: BTreeSet<String>,
    /// Names of the payload's members that any expression reads …
    pub(crate) names: BTreeSet<String>,
    /// … or that any name may be read.
    pub(crate) reads_any_name: bool,
}

/// One rule; the first that fits is taken.
#[derive(Clone, Debug)]
pub(crate) enum Rule {
    Event(Box<EventRule>),
    Ignore(Vec<Pattern>),
}

/// How one kind of event is read.
#[derive(Clone, Debug)]
pub(crate) struct EventRule {
    pub(crate) when: Option<Expression>,
    pub(crate) on: Vec<Pattern>,
    pub(crate) event_type: Compiled,
    pub(crate) id: Option<Compiled>,
    pub(crate) occurred_at: Option<Compiled>,
    pub(crate) fetch: Option<FetchRule>,
    pub(crate) fields: Vec<(Field, Compiled)>,
    pub(crate) answers: Option<Answers>,
    /// Where it is written: `events.0`, or `preset`.
    pub(crate) key: String,
}

/// What is to be fetched before such an event can go on.
#[derive(Clone, Debug)]
pub(crate) struct FetchRule {
    pub(crate) object: String,
    pub(crate) id: Compiled,
    pub(crate) with: Vec<(String, Compiled)>,
}

/// How one kind of fetched object is read.
#[derive(Clone, Debug)]
pub(crate) struct FetchedRule {
    pub(crate) updated_at: Option<Compiled>,
    /// Its fields are read as an event's are.
    pub(crate) rule: EventRule,
}

/// What a canonical name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    ExternalId,
    Email,
    Phone,
    Domain,
    FullName,
    /// An identifier of something else that the event tells of, and the word of a `match` list.
    Of(String, &'static str),
    Attribute(String),
}

impl Field {
    /// Whether an event without a usable value would be delivered to the wrong record.
    pub(super) fn is_key(&self) -> bool {
        matches!(self, Self::ExternalId | Self::Of(_, "external_id"))
    }
}

/// Where a value is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Expression(Expression),
    Header(String),
    Query(String),
    Constant(Node<'static>),
}

/// A value: where it is, what is made of it, and what if that fails.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    /// What it is called where a person reads of it: the canonical name and the place, never a value.
    pub(crate) label: String,
    /// The place alone.
    pub(crate) shown: String,
    pub(crate) place: Place,
    pub(crate) how: Normalizer,
    /// The currency of an amount of its smallest unit.
    pub(crate) minor: Option<Expression>,
    /// It may come from where nothing is signed.
    pub(crate) unsigned: bool,
    pub(crate) required: bool,
    pub(crate) clear: bool,
    pub(crate) default: Option<Value>,
    pub(crate) truncate: Option<usize>,
}

/// A text, or the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    Exact(String),
    Prefix(String),
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        text.strip_suffix('*').map_or_else(|| Self::Exact(text.to_owned()), |prefix| Self::Prefix(prefix.to_owned()))
    }

    pub(crate) fn fits(&self, text: &str) -> bool {
        match self {
            Self::Exact(held) => held == text,
            Self::Prefix(prefix) => text.starts_with(prefix),
        }
    }
}

impl Mapping {
    /// Compiles; `None` only if there are problems.
    pub(crate) fn compile(def: MappingDef, problems: &mut Vec<Problem>) -> Option<Self> {
        let before = problems.len();
        let mut work = Work { problems, region: def.region.as_deref() };
        work.check_region("region", def.region.as_deref());
        let vendor_type = work.value("vendor_type", "vendor_type", &def.vendor_type, Normalizer::Text);
        let id = def.id.as_ref().and_then(|id| work.value("id", "id", id, Normalizer::Text));
        let occurred_at = def.occurred_at.as_ref().and_then(|at| work.moment("occurred_at", at, None));
        let rules = def.rules.iter().filter_map(|rule| work.rule(rule, id.as_ref(), occurred_at.as_ref())).collect::<Vec<_>>();
        let fetched =
            def.fetched.iter().filter_map(|(object, def)| Some((object.clone(), fetched::compile(&mut work, object, def)?))).collect();
        let parse = work.parse(&def.parse);
        let batch = def.batch.as_deref().and_then(|path| work.path("batch", path));
        work.check_unsigned(&rules);
        work.check_rules(&def);
        fetched::check(&mut work, &def);
        let vendor_type = vendor_type.filter(|_| problems.len() == before)?;
        let (mut names, reads_any_name) = names(&vendor_type, &rules);
        names.extend(parse.iter().chain(&batch).flat_map(Path::names).cloned());
        let text = serde_json::to_string(&def).unwrap_or_default();
        let version = hex::encode(Sha256::digest(&text)).chars().take(16).collect();
        let volatile = volatile(&def.volatile, &rules);
        let MappingDef { shared, unmatched, content_types, content, .. } = def;
        Some(Self {
            text,
            version,
            shared,
            unmatched,
            content_types,
            content,
            parse,
            batch,
            vendor_type,
            // Where no rule fits, nothing is fetched either.
            id: id.map(|id| Compiled { unsigned: false, ..id }),
            rules,
            fetched,
            volatile,
            names,
            reads_any_name,
        })
    }
}

/// Attributes that are named themselves, or read from a path that is.
fn volatile(named: &BTreeSet<String>, rules: &[Rule]) -> BTreeSet<String> {
    let mut attributes = named.clone();
    for (field, compiled) in rules.iter().flat_map(Rule::fields) {
        let below = |path: &String| match &compiled.place {
            Place::Expression(expression) => {
                expression.text().strip_prefix(path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            }
            Place::Header(_) | Place::Query(_) | Place::Constant(_) => false,
        };
        if let Field::Attribute(name) = field
            && named.iter().any(below)
        {
            attributes.insert(name.clone());
        }
    }
    attributes
}

impl Rule {
    fn fields(&self) -> &[(Field, Compiled)] {
        match self {
            Self::Event(rule) => &rule.fields,
            Self::Ignore(_) => &[],
        }
    }
}

fn names(vendor_type: &Compiled, rules: &[Rule]) -> (BTreeSet<String>, bool) {
    let (mut names, mut any) = (BTreeSet::new(), false);
    let mut any_answer = false;
    let mut read = |expression: &Expression| any |= !expression.read_names(&mut names);
    if let Place::Expression(expression) = &vendor_type.place {
        read(expression);
    }
    for rule in rules {
        if let Rule::Event(rule) = rule {
            let values = [Some(&rule.event_type), rule.id.as_ref(), rule.occurred_at.as_ref()].into_iter().flatten();
            let fetch = rule.fetch.iter().flat_map(|fetch| fetch.with.iter().map(|(_, value)| value).chain([&fetch.id]));
            let values = values.chain(fetch).chain(rule.fields.iter().map(|(_, value)| value));
            values.for_each(|value| {
                if let Place::Expression(expression) = &value.place {
                    read(expression);
                }
                value.minor.iter().for_each(&mut read);
            });
            rule.when.iter().for_each(&mut read);
            rule.answers.iter().flat_map(|answers| [&answers.from, &answers.label, &answers.value]).for_each(&mut read);
            // The questions are names that no mapping knows.
            any_answer |= rule.answers.is_some();
        }
    }
    (names, any || any_answer)
}

pub(super) struct Work<'a> {
    problems: &'a mut Vec<Problem>,
    region: Option<&'a str>,
}

impl Work<'_> {
    pub(super) fn problem(&mut self, key: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem::new(key, message, remedy));
    }

    fn path(&mut self, key: &str, text: &str) -> Option<Path> {
        let remedy = "Write names with dots between them and `[]` behind those of lists, such as `entry[].changes[]`.";
        Path::parse(text).map_err(|message| self.problem(key, message, remedy)).ok()
    }

    fn parse(&mut self, paths: &[String]) -> Vec<Path> {
        if paths.len() > PARSE_MAX {
            self.problem("parse", format!("there are {} paths; at most {PARSE_MAX} are accepted", paths.len()), "Name fewer members.");
        }
        paths.iter().filter_map(|path| self.path("parse", path)).collect()
    }

    /// An id that is not signed may name only what is looked up at the vendor.
    fn check_unsigned(&mut self, rules: &[Rule]) {
        for rule in rules {
            if let Rule::Event(rule) = rule
                && rule.fetch.is_none()
                && rule.id.as_ref().is_some_and(|id| id.unsigned)
            {
                let message = "is not signed, so whoever sends a body again could make another event of it";
                self.problem(
                    format!("{}.id.unsigned", rule.key),
                    message,
                    "Remove `unsigned`, or add `fetch`, whose event is read at the vendor.",
                );
            }
        }
    }

    fn rule(&mut self, rule: &RuleDef, id: Option<&Compiled>, occurred_at: Option<&Compiled>) -> Option<Rule> {
        match rule {
            RuleDef::Ignore(types) => {
                if types.iter().any(|pattern| pattern.trim().is_empty()) {
                    self.problem("ignore", "an entry is empty", "Remove it; `*` alone stands for every type.");
                }
                Some(Rule::Ignore(types.iter().map(|text| Pattern::new(text)).collect()))
            }
            RuleDef::Event { key, def } => self.event(key, def, id, occurred_at).map(|rule| Rule::Event(Box::new(rule))),
        }
    }

    pub(super) fn event(&mut self, key: &str, def: &EventDef, id: Option<&Compiled>, occurred_at: Option<&Compiled>) -> Option<EventRule> {
        let when = def.when.as_deref().and_then(|text| self.expression(&format!("{key}.when"), text));
        let event_type = self.event_type(&format!("{key}.type"), &def.event_type.0);
        let own_id = def.id.as_ref().and_then(|id| self.value(&format!("{key}.id"), "id", id, Normalizer::Text));
        let own_at =
            def.occurred_at.as_ref().and_then(|at| self.moment(&format!("{key}.occurred_at"), at, def.occurred_at_unit.as_deref()));
        if def.occurred_at.is_none() && def.occurred_at_unit.is_some() {
            self.problem(
                format!("{key}.occurred_at_unit"),
                "there is no `occurred_at` beside it",
                "Add `occurred_at`, or put `unit` into the table of the source's `occurred_at`.",
            );
        }
        if def.fields.len() > FIELDS_MAX {
            self.problem(
                format!("{key}.fields"),
                format!("there are {} fields; at most {FIELDS_MAX} are accepted", def.fields.len()),
                "Map fewer fields.",
            );
        }
        let mut fields: Vec<_> = def.fields.iter().filter_map(|(name, value)| self.field(&format!("{key}.fields"), name, value)).collect();
        fields.extend(self.identities(&format!("{key}.identities"), &def.identities));
        let answers = def.answers.as_ref().and_then(|answers| self.answers(&format!("{key}.answers"), answers));
        Some(EventRule {
            when,
            on: def.on.iter().map(|text| Pattern::new(text)).collect(),
            event_type: event_type?,
            id: own_id.or_else(|| id.cloned()),
            occurred_at: own_at.or_else(|| occurred_at.cloned()),
            fetch: def.fetch.as_ref().and_then(|fetch| fetched::fetch(self, key, fetch)),
            fields,
            answers,
            key: key.to_owned(),
        })
    }

    fn answers(&mut self, key: &str, def: &AnswersDef) -> Option<Answers> {
        if def.except.len() > FIELDS_MAX {
            let message = format!("there are {} names; at most {FIELDS_MAX} are accepted", def.except.len());
            self.problem(format!("{key}.except"), message, "Name fewer questions.");
        }
        let from = self.expression(&format!("{key}.from"), &def.from);
        let label = self.expression(&format!("{key}.label"), def.label.as_deref().unwrap_or("label"));
        let value = self.expression(&format!("{key}.value"), def.value.as_deref().unwrap_or("value"));
        Some(Answers { from: from?, label: label?, value: value?, except: def.except.clone() })
    }

    fn event_type(&mut self, key: &str, def: &ValueDef) -> Option<Compiled> {
        match &def.constant {
            None if *def == ValueDef::default() => {
                self.problem(key, "is missing", "Name what happened: for example `type = \"lead.created\"`.");
                None
            }
            Some(constant) if !constant.as_str().is_some_and(is_event_type) => {
                self.problem(
                    key,
                    "is not an event type: it holds something else than letters, digits and `. _ - / :`, or is longer than 100",
                    "Write it like `lead.created`.",
                );
                None
            }
            _ => self.value(key, "type", def, Normalizer::Text),
        }
    }

    pub(super) fn moment(&mut self, key: &str, def: &ValueDef, unit: Option<&str>) -> Option<Compiled> {
        let mut def = def.clone();
        if let Some(unit) = unit {
            if def.unit.as_deref().is_some_and(|own| own != unit) {
                self.problem(key, "`unit` and `occurred_at_unit` differ", "Keep one of them.");
            }
            def.unit = Some(unit.to_owned());
        }
        if def.normalizer.as_deref().is_some_and(|word| word != "datetime") {
            self.problem(format!("{key}.as"), "is not `datetime`", "Remove it: when something happened is always read as a moment.");
        }
        def.normalizer = Some("datetime".to_owned());
        self.value(key, "occurred_at", &def, Normalizer::Datetime(None))
    }

    fn identities(&mut self, key: &str, defs: &BTreeMap<String, BTreeMap<String, ValueDef>>) -> Vec<(Field, Compiled)> {
        if defs.len() > IDENTITIES_MAX {
            self.problem(key, format!("there are {}; at most {IDENTITIES_MAX} are accepted", defs.len()), "Name fewer things.");
        }
        let mut fields = Vec::new();
        for (whose, identifiers) in defs {
            let name = (1..=32).contains(&whose.len()) && whose.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
            if !name {
                self.problem(
                    format!("{key}.{whose}"),
                    "is not a name",
                    "Use at most 32 lower-case letters, digits and `_`, such as `company`.",
                );
            }
            for (word, value) in identifiers {
                let Some(kind) = crate::route::Kind::parse(word) else {
                    let remedy = "Write `external_id`, `email`, `phone_e164` or `domain`.";
                    self.problem(format!("{key}.{whose}.{word}"), "is no identifier", remedy);
                    continue;
                };
                let compiled = self.field(&format!("{key}.{whose}"), word, value);
                fields.extend(compiled.map(|(_, compiled)| (Field::Of(whose.clone(), kind.as_str()), compiled)));
            }
        }
        fields
    }

    fn field(&mut self, fields_key: &str, name: &str, def: &ValueDef) -> Option<(Field, Compiled)> {
        let key = format!("{fields_key}.{name}");
        let (field, how, word) = match name {
            "external_id" => (Field::ExternalId, Normalizer::Id, "text"),
            "email" => (Field::Email, Normalizer::Email, "email"),
            "phone_e164" => (Field::Phone, Normalizer::Phone(None), "phone"),
            "domain" => (Field::Domain, Normalizer::Domain, "domain"),
            "full_name" => (Field::FullName, Normalizer::FullName, "full_name"),
            _ => (Field::Attribute(name.to_owned()), Normalizer::Keep, ""),
        };
        let fine = !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if !fine {
            self.problem(&key, "is not a canonical name", "Use at most 64 lower-case letters, digits and `_`, such as `job_title`.");
        }
        let mut def = def.clone();
        match (&field, def.normalizer.as_deref()) {
            (Field::Attribute(_), Some("full_name")) => {
                self.problem(
                    format!("{key}.as"),
                    "`full_name` makes two fields of one",
                    "Call the field `full_name`; it fills `first_name` and `last_name`.",
                );
            }
            (Field::Attribute(_), _) => {}
            (_, Some(own)) if own != word => {
                self.problem(
                    format!("{key}.as"),
                    format!("`{name}` is always read as `{word}`, not as `{own}`"),
                    "Remove `as`, or choose another name for the field.",
                );
            }
            // The phone's region is read together with the word.
            (Field::Phone, _) => def.normalizer = Some(word.to_owned()),
            (_, _) => def.normalizer = None,
        }
        if def.clear && !matches!(field, Field::Attribute(_)) {
            self.problem(format!("{key}.clear"), format!("`{name}` says who it is about and cannot be blanked"), "Remove `clear`.");
        }
        self.value(&key, name, &def, how).map(|value| (field, value))
    }

    fn expression(&mut self, key: &str, text: &str) -> Option<Expression> {
        match Expression::compile(text) {
            Ok(expression) => Some(expression),
            Err(error) => {
                self.problem(
                    key,
                    format!("the expression {error}"),
                    "Write JMESPath over the payload, such as `contact.email`; jmespath.org has a tutorial.",
                );
                None
            }
        }
    }

    fn check_rules(&mut self, def: &MappingDef) {
        if def.rules.len() > RULES_MAX {
            self.problem(
                "events",
                format!("there are {} entries; at most {RULES_MAX} are accepted", def.rules.len()),
                "Use fewer entries.",
            );
        }
        let mut events = def.rules.iter().filter_map(|rule| match rule {
            RuleDef::Event { key, def } => Some((key, def)),
            RuleDef::Ignore(_) => None,
        });
        if events.clone().next().is_none() && def.unmatched == Unmatched::DeadLetter {
            self.problem(
                "events",
                "there is none, so everything would be a dead letter",
                "Add `[[sources.NAME.events]]`, or say `unmatched = \"ignore\"`.",
            );
        }
        if let Some((always, _)) = events.find(|(_, def)| def.when.is_none() && def.on.is_empty())
            && let Some((never, _)) = events.find(|(key, _)| key.starts_with("events."))
        {
            self.problem(
                never,
                format!("is never reached: `{always}` before it fits everything"),
                "Give the earlier entry a `when` or an `on`, or put it last.",
            );
        }
    }
}
