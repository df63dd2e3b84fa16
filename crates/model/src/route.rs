//! Routes: which events go to which object of which destination, and what they set there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::destination::Adopt;
use crate::event::{Mode, Routing};
use crate::fetch::source_of;
use crate::source::Problem;
use crate::time::parse_span;
use crate::{Event, Identifier};

/// What an event's type ends with if it tells of a deletion.
const DELETED: &str = ".deleted";

/// `[[routes]]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RouteDef {
    /// Sources' names; `*` stands for any run of letters. Default: every source.
    #[serde(default = "any")]
    pub source: String,
    /// Event types; `*` stands for any run of letters. Default: every type.
    #[serde(default = "any")]
    pub event: String,
    /// The destination's name.
    pub to: String,
    /// One of the destination's objects.
    pub object: String,
    /// How the CRM may be changed; default `upsert`.
    #[serde(default)]
    pub mode: Mode,
    /// Who looks at what fails.
    pub owner: Option<String>,
    /// Tell the owner when a delivery has not ended by then: `2m`.
    pub alert_after: Option<String>,
    /// What becomes of an event whose type ends with `.deleted`; default `ignore`.
    #[serde(default)]
    pub on_delete: OnDelete,
}

fn any() -> String {
    "*".to_owned()
}

/// What becomes of an event that tells of a deletion.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum OnDelete {
    /// Nothing: the CRM's record stays as it is.
    #[default]
    Ignore,
    /// A person decides.
    DeadLetter,
    /// The CRM's record stays and these fields are set, and nothing else.
    Set(BTreeMap<String, Value>),
}

impl<'de> Deserialize<'de> for OnDelete {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = OnDelete;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`ignore`, `dead_letter`, or a table of CRM fields to set, such as `{ Status = \"Deleted\" }`")
            }
            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<OnDelete, E> {
                match word {
                    "ignore" => Ok(OnDelete::Ignore),
                    "dead_letter" => Ok(OnDelete::DeadLetter),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<OnDelete, A::Error> {
                BTreeMap::deserialize(MapAccessDeserializer::new(members)).map(OnDelete::Set)
            }
        }
        from.deserialize_any(Words)
    }
}

/// `[destinations.NAME.objects.OBJECT]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ObjectDef {
    /// The CRM field that carries the record's key, and what it is filled from.
    pub key: KeyDef,
    /// By which identifiers a record is found, in this order; default: the key's alone.
    #[serde(rename = "match", default)]
    pub matches: Vec<String>,
    /// CRM field to canonical name; default: the CRM's preset.
    pub fields: Option<BTreeMap<String, FieldDef>>,
    /// Whether present values are read before a record is first written.
    #[serde(default)]
    pub adopt: Adopt,
}

/// The key of an object.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct KeyDef {
    /// The CRM field.
    pub field: String,
    /// `identity.external_id` (the default), `identity.email`, `identity.phone_e164` or `identity.domain`.
    #[serde(default = "external_id")]
    pub from: String,
}

fn external_id() -> String {
    "identity.external_id".to_owned()
}

/// What a CRM field is filled with: a canonical name, or a table.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(remote = "Self")]
pub struct FieldDef {
    /// A canonical name: `email`, `company`, …; also `source`, `event_type`, `occurred_at`, and a person's name as one text: `full_name`, `sort_name`.
    pub from: Option<String>,
    /// The value itself.
    #[serde(rename = "const")]
    pub constant: Option<Value>,
}

impl<'de> Deserialize<'de> for FieldDef {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct NameOrTable;
        impl<'de> Visitor<'de> for NameOrTable {
            type Value = FieldDef;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a canonical name such as `email`, or a table with `from` or `const`")
            }
            fn visit_str<E>(self, name: &str) -> Result<FieldDef, E> {
                Ok(FieldDef { from: Some(name.to_owned()), constant: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<FieldDef, A::Error> {
                FieldDef::deserialize(MapAccessDeserializer::new(members))
            }
        }
        from.deserialize_any(NameOrTable)
    }
}

/// By what a record is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The sender's own id.
    ExternalId,
    /// An e-mail address.
    Email,
    /// A phone number in E.164.
    Phone,
    /// A company's domain.
    Domain,
}

impl Kind {
    const ALL: [Self; 4] = [Self::ExternalId, Self::Email, Self::Phone, Self::Domain];

    /// The word used in `match` lists and in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExternalId => "external_id",
            Self::Email => "email",
            Self::Phone => "phone_e164",
            Self::Domain => "domain",
        }
    }

    /// Reads the word back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    fn of(self, event: &Event) -> Option<&str> {
        match self {
            Self::ExternalId => event.identity.contact_external_id.as_deref(),
            Self::Email => event.identity.email.as_deref(),
            Self::Phone => event.identity.phone_e164.as_deref(),
            Self::Domain => event.identity.domain.as_deref(),
        }
    }
}

/// What a CRM field is filled with.
#[derive(Clone, Debug, PartialEq)]
enum Filling {
    Identity(Kind),
    Attribute(String),
    /// A person's name as one text.
    Name {
        family_first: bool,
    },
    Source,
    EventType,
    OccurredAt,
    Constant(Value),
}

/// An object of a destination, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectPlan {
    /// The CRM field that carries the record's key.
    pub key_field: String,
    /// Whether present values are read before a record is first written.
    pub adopt: Adopt,
    key_kind: Kind,
    matches: Vec<Kind>,
    fields: BTreeMap<String, Filling>,
}

impl ObjectPlan {
    /// Checks one object of a destination of this connector kind.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, with keys below the object.
    pub fn compile(connector: &str, object: &str, def: &ObjectDef) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let known = Kind::ALL.map(|kind| format!("`{}`", kind.as_str())).join(", ");
        let key_kind = def.key.from.strip_prefix("identity.").and_then(Kind::parse);
        if key_kind.is_none() {
            let message = format!("`{}` is no identity; there are {known}, each after `identity.`", def.key.from);
            problems.push(Problem::new("key.from", message, "Write for example `identity.external_id`."));
        }
        if def.key.field.trim().is_empty() {
            problems.push(Problem::new("key.field", "is empty", "Name the CRM field that is marked as external id or unique."));
        }
        let mut matches = Vec::new();
        for (index, word) in def.matches.iter().enumerate() {
            match Kind::parse(word) {
                Some(kind) if matches.contains(&kind) => {
                    problems.push(Problem::new(format!("match.{index}"), format!("`{word}` is listed twice"), "Remove one of them."))
                }
                Some(kind) => matches.push(kind),
                None => problems.push(Problem::new(
                    format!("match.{index}"),
                    format!("`{word}` is no identifier; there are {known}"),
                    "Use these words.",
                )),
            }
        }
        let key_kind = key_kind.unwrap_or(Kind::ExternalId);
        if !matches.contains(&key_kind) {
            matches.insert(0, key_kind);
        }
        let fields = fields(connector, object, def, &mut problems);
        if problems.is_empty() {
            Ok(Self { key_field: def.key.field.clone(), adopt: def.adopt, key_kind, matches, fields })
        } else {
            Err(problems)
        }
    }

    /// The CRM fields that this event sets, without the key's. A name that the event does not have says nothing; a JSON
    /// null stands only where the mapping said `clear`.
    pub fn crm_fields(&self, event: &Event) -> BTreeMap<String, Value> {
        self.fields.iter().filter_map(|(field, filling)| filling.value(event).map(|value| (field.clone(), value))).collect()
    }

    /// Every CRM field that some event can set, without the key's.
    pub fn field_names(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    /// The CRM fields that carry an identifier by which records are found, the key's among them: only a source of
    /// enough trust may change them, and the key's never changes.
    pub fn identifier_fields(&self) -> BTreeSet<&str> {
        let carries = |filling: &Filling| matches!(filling, Filling::Identity(kind) if self.matches.contains(kind));
        let fields = self.fields.iter().filter(|(_, filling)| carries(filling)).map(|(field, _)| field.as_str());
        fields.chain([self.key_field.as_str()]).collect()
    }

    /// The event's identifiers that count for this object, in the order of its `match` list.
    pub fn identifiers(&self, event: &Event) -> Vec<Identifier> {
        let identifier = |kind: &Kind| kind.of(event).map(|value| Identifier { kind: kind.as_str().to_owned(), value: value.to_owned() });
        self.matches.iter().filter_map(identifier).collect()
    }

    /// The key of a record that this event creates: the identity that the key is filled from; where the event has none,
    /// `kind:value` of the first other identifier, which is the same whenever it is worked out again. `None` without any.
    pub fn record_key(&self, event: &Event) -> Option<String> {
        if let Some(value) = self.key_kind.of(event) {
            return Some(value.to_owned());
        }
        self.identifiers(event).first().map(|identifier| format!("{}:{}", identifier.kind, identifier.canonical()))
    }
}

fn fields(connector: &str, object: &str, def: &ObjectDef, problems: &mut Vec<Problem>) -> BTreeMap<String, Filling> {
    let preset;
    let defs = match &def.fields {
        Some(fields) => fields,
        None => {
            preset = crm_preset(connector, object);
            match &preset {
                Some(fields) => fields,
                None => {
                    let message = format!("is missing, and there is no preset for `{object}` of `{connector}`");
                    problems.push(Problem::new("fields", message, "List the CRM's fields: `fields = { Email = \"email\" }`."));
                    return BTreeMap::new();
                }
            }
        }
    };
    let mut fillings = BTreeMap::new();
    for (field, filling) in defs {
        let key = format!("fields.{field}");
        if *field == def.key.field {
            problems.push(Problem::new(&key, "is the key's field, which is filled by `key.from`", "Remove it from `fields`."));
        }
        match Filling::compile(filling) {
            Ok(filling) => {
                fillings.insert(field.clone(), filling);
            }
            Err(message) => problems.push(Problem::new(
                key,
                message,
                "Write a canonical name such as `email`, `{ from = \"company\" }` or `{ const = \"Web\" }`.",
            )),
        }
    }
    fillings
}

impl Filling {
    fn compile(def: &FieldDef) -> Result<Self, String> {
        match (&def.from, &def.constant) {
            (Some(name), None) => Ok(match name.as_str() {
                "source" => Self::Source,
                "event_type" => Self::EventType,
                "occurred_at" => Self::OccurredAt,
                "full_name" => Self::Name { family_first: false },
                "sort_name" => Self::Name { family_first: true },
                name if name.is_empty() || !name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')) => {
                    return Err(format!("`{name}` is not a canonical name"));
                }
                name => Kind::parse(name).map_or_else(|| Self::Attribute(name.to_owned()), Self::Identity),
            }),
            (None, Some(value @ (Value::String(_) | Value::Bool(_) | Value::Number(_)))) => Ok(Self::Constant(value.clone())),
            (None, Some(_)) => Err("`const` is not a text, a number or a boolean".to_owned()),
            (None, None) | (Some(_), Some(_)) => Err("does not have exactly one of `from` and `const`".to_owned()),
        }
    }

    fn value(&self, event: &Event) -> Option<Value> {
        match self {
            Self::Identity(kind) => kind.of(event).map(Value::from),
            Self::Attribute(name) => event.attributes.get(name).cloned(),
            Self::Name { family_first } => person_name(event, *family_first),
            Self::Source => Some(Value::from(event.source.as_str())),
            Self::EventType => Some(Value::from(event.event_type.as_str())),
            Self::OccurredAt => Some(Value::from(event.occurred_at.to_string())),
            Self::Constant(value) => Some(value.clone()),
        }
    }
}

/// A person's name as one text, from what the event has of it: `Ada Stone`, or `Stone, Ada`.
fn person_name(event: &Event, family_first: bool) -> Option<Value> {
    let part = |name: &str| event.attributes.get(name).and_then(Value::as_str).map(str::trim).filter(|part| !part.is_empty());
    Some(match (part("first_name"), part("last_name")) {
        (Some(first), Some(last)) if family_first => format!("{last}, {first}").into(),
        (Some(first), Some(last)) => format!("{first} {last}").into(),
        // With the comma it is told as the family's.
        (None, Some(last)) if family_first => format!("{last},").into(),
        (Some(only), None) | (None, Some(only)) => only.into(),
        (None, None) => return None,
    })
}

fn crm_preset(connector: &str, object: &str) -> Option<BTreeMap<String, FieldDef>> {
    let (_, text) = crate::preset::CRM_PRESETS.iter().find(|(kind, _)| *kind == connector)?;
    let mut objects: BTreeMap<String, BTreeMap<String, FieldDef>> = toml::from_str(text).ok()?;
    objects.remove(object)
}

/// One destination's objects, by name.
pub type Objects = BTreeMap<String, ObjectPlan>;

/// Every route, checked against the names of sources and destinations.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    routes: Vec<Route>,
    destinations: BTreeMap<String, Objects>,
}

#[derive(Clone, Debug)]
struct Route {
    source: String,
    event: String,
    to: String,
    object: String,
    mode: Mode,
    owner: Option<String>,
    alert_after: Option<Duration>,
    on_delete: OnDelete,
}

/// Where one event goes, and as what.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The destination's name.
    pub destination: String,
    /// The CRM's object.
    pub object: String,
    /// How the CRM may be changed.
    pub mode: Mode,
    /// Who looks at it if it fails.
    pub owner: Option<String>,
    /// Tell the owner when it has not ended by then.
    pub alert_after: Option<Duration>,
    /// The CRM field that carries the record's key.
    pub key_field: String,
    /// How the record is found, in the order of the object's `match` list.
    pub identifiers: Vec<Identifier>,
    /// The key of a record that this event creates. `None`: the event has no identifier that the object is found by, and
    /// is a dead letter `missing_identity`.
    pub key: Option<String>,
    /// The event tells of a deletion, and what the route says to that: `DeadLetter`, or `Set` with fields that stand in
    /// place of the mapped ones. `None` for other events; events to ignore are not planned at all.
    pub on_delete: Option<OnDelete>,
}

/// What the routes say about an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Go to these places, at least one.
    Deliver(Vec<Planned>),
    /// Routes fit, and all of them ignore deletions.
    Ignored,
    /// No route fits: a dead letter `unrouted`.
    Unrouted,
}

impl Routes {
    /// Checks every route.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, with keys below the configuration's root: `routes.0.to`.
    pub fn compile(defs: &[RouteDef], sources: &BTreeSet<String>, destinations: BTreeMap<String, Objects>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut routes = Vec::new();
        for (index, def) in defs.iter().enumerate() {
            let mut problem =
                |key: &str, message: String, remedy: &str| problems.push(Problem::new(format!("routes.{index}.{key}"), message, remedy));
            if !sources.iter().any(|source| fits(&def.source, source)) {
                problem("source", format!("`{}` fits no source", def.source), "Name a source of the configuration; `*` stands for all.");
            }
            if def.event.trim().is_empty() {
                problem("event", "is empty".to_owned(), "Name an event type; `*` stands for all.");
            }
            match destinations.get(&def.to) {
                None => problem("to", format!("there is no destination `{}`", def.to), "Name a destination of the configuration."),
                Some(objects) if !objects.contains_key(&def.object) => {
                    let remedy = "Add it under `destinations.NAME.objects`, with its key.";
                    problem("object", format!("the destination `{}` has no object `{}`", def.to, def.object), remedy);
                }
                Some(_) => {}
            }
            let alert_after = def.alert_after.as_deref().map(parse_span).transpose().unwrap_or_else(|error| {
                problem("alert_after", error, "Write for example `2m`.");
                None
            });
            let RouteDef { source, event, to, object, mode, owner, on_delete, .. } = def.clone();
            routes.push(Route { source, event, to, object, mode, owner, alert_after, on_delete });
        }
        if problems.is_empty() { Ok(Self { routes, destinations }) } else { Err(problems) }
    }

    /// One object of a destination.
    pub fn object(&self, destination: &str, object: &str) -> Option<&ObjectPlan> {
        self.destinations.get(destination)?.get(object)
    }

    /// The names of a destination's objects.
    pub fn objects(&self, destination: &str) -> impl Iterator<Item = &str> {
        self.destinations.get(destination).into_iter().flatten().map(|(object, _)| object.as_str())
    }

    /// Every object of every destination: destination and object.
    pub fn targets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.destinations
            .iter()
            .flat_map(|(destination, objects)| objects.keys().map(move |object| (destination.as_str(), object.as_str())))
    }

    /// After how long the owner of such an event's delivery is to be told that it has not ended; `None`: not at all.
    pub fn alert_after(&self, source: &str, event_type: &str, destination: &str, object: &str) -> Option<Duration> {
        let mut taking = self.routes.iter().filter(|route| fits(&route.source, source) && fits(&route.event, event_type));
        if source_of(destination).is_some() {
            // What is still to be fetched is waited for by whoever waits first.
            return taking.filter_map(|route| route.alert_after).min();
        }
        taking.find(|route| route.to == destination && route.object == object)?.alert_after
    }

    /// The shortest [`Routes::alert_after`] of all routes.
    pub fn alert_after_min(&self) -> Option<Duration> {
        self.routes.iter().filter_map(|route| route.alert_after).min()
    }

    /// The CRM fields that an event sets on an object: the mapped ones, or for a deletion what its route says instead.
    /// `None` if the destination has no such object.
    pub fn crm_fields(&self, destination: &str, object: &str, event: &Event) -> Option<BTreeMap<String, Value>> {
        let plan = self.object(destination, object)?;
        if is_deletion(event) {
            let leads_there = |route: &&Route| route.to == destination && route.object == object && route.takes(event);
            if let Some(OnDelete::Set(fields)) = self.routes.iter().find(leads_there).map(|route| &route.on_delete) {
                return Some(fields.clone());
            }
        }
        Some(plan.crm_fields(event))
    }

    /// Where an event goes. All routes that fit apply; of several to one object of a destination, the first.
    pub fn plan(&self, event: &Event) -> Plan {
        let deletion = is_deletion(event);
        let mut seen = BTreeSet::new();
        let mut planned = Vec::new();
        for route in self.routes.iter().filter(|route| route.takes(event)) {
            let Some(object) = self.object(&route.to, &route.object) else { continue };
            if !seen.insert((&route.to, &route.object)) || deletion && route.on_delete == OnDelete::Ignore {
                continue;
            }
            planned.push(Planned {
                destination: route.to.clone(),
                object: route.object.clone(),
                mode: route.mode,
                owner: route.owner.clone(),
                alert_after: route.alert_after,
                key_field: object.key_field.clone(),
                identifiers: object.identifiers(event),
                key: object.record_key(event),
                on_delete: deletion.then(|| route.on_delete.clone()),
            });
        }
        match (planned.is_empty(), seen.is_empty()) {
            (false, _) => Plan::Deliver(planned),
            (true, false) => Plan::Ignored,
            (true, true) => Plan::Unrouted,
        }
    }
}

impl Route {
    fn takes(&self, event: &Event) -> bool {
        fits(&self.source, &event.source) && fits(&self.event, &event.event_type)
    }
}

fn is_deletion(event: &Event) -> bool {
    event.event_type.ends_with(DELETED)
}

impl Planned {
    /// The entry of the canonical event's `routing`.
    pub fn routing(&self) -> Routing {
        Routing { crm: self.destination.clone(), object: self.object.clone(), upsert_key: self.key_field.clone(), mode: self.mode }
    }
}

/// Whether a text fits a pattern in which `*` stands for any run of letters.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    true
}

#[cfg(test)]
mod tests;
