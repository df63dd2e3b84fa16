//! An object of a destination: how its records are found, what fills their fields, what they depend on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::association;
use crate::destination::Adopt;
use crate::record::Merge;
use crate::source::Problem;
use crate::{Event, Identifier};

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
    /// Objects of the same destination that its records belong to, where one event tells of both: they are written first.
    #[serde(default)]
    pub parents: Vec<ParentDef>,
}

/// One object that another's records belong to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ParentDef {
    /// The parent's object: `Account`.
    pub object: String,
    /// The field that points at the parent: `AccountId`. Without one, the CRM keeps such links beside its records, and an association is made.
    pub field: Option<String>,
}

/// The key of an object.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct KeyDef {
    /// The CRM field.
    pub field: String,
    /// `identity.external_id` (the default), `identity.email`, `identity.phone_e164` or `identity.domain`; of something else that events tell of,
    /// `identities.company.external_id`: then events that do not tell of it are not written to this object.
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
    /// A canonical name: `email`, `company`, …; also `source`, `event_type`, `occurred_at`, and a person's name as one
    /// text: `full_name`, `sort_name`.
    pub from: Option<String>,
    /// The value itself.
    #[serde(rename = "const")]
    pub constant: Option<Value>,
    /// How a value meets the one that the field has; default `trust`.
    #[serde(default)]
    pub merge: Merge,
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
                Ok(FieldDef { from: Some(name.to_owned()), ..FieldDef::default() })
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
    pub(super) const ALL: [Self; 4] = [Self::ExternalId, Self::Email, Self::Phone, Self::Domain];

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

    /// The identifier of something else that the event tells of. A company is also known by the domain of whom the event is about.
    fn of_other<'a>(self, event: &'a Event, whose: &str) -> Option<&'a str> {
        let own = event.identities.get(whose).and_then(|known| known.get(self.as_str())).map(String::as_str);
        let domain = || event.identity.domain.as_deref().filter(|_| self == Self::Domain && whose == "company");
        own.or_else(domain)
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
    Other(String, Kind),
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

/// What a CRM field is filled with, as far as its kind of value goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Filled<'p> {
    /// An identifier: `email`, `phone_e164`, …
    Identity(&'static str),
    /// An attribute of the canonical event.
    Attribute(&'p str),
    /// The source's name, the event's type, or a person's name: a text.
    Word,
    /// When it happened.
    Moment,
    /// This very value.
    Constant(&'p Value),
}

/// An object of a destination, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectPlan {
    /// The CRM field that carries the record's key.
    pub key_field: String,
    /// Whether present values are read before a record is first written.
    pub adopt: Adopt,
    /// What its records belong to.
    pub parents: Vec<Parent>,
    /// How values meet, by field, where not by trust.
    pub merges: BTreeMap<String, Merge>,
    /// What its records are of, where that is not whom events are about: `company`.
    whose: Option<String>,
    key_kind: Kind,
    matches: Vec<Kind>,
    fields: BTreeMap<String, Filling>,
}

/// An object that another's records belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The parent's object.
    pub object: String,
    /// The field that points at it; `None`: an association is made.
    pub field: Option<String>,
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
        let (whose, key_kind) = match def.key.from.strip_prefix("identities.").and_then(|rest| rest.split_once('.')) {
            Some((whose, word)) => (Some(whose.to_owned()).filter(|whose| !whose.is_empty()), Kind::parse(word)),
            None => (None, def.key.from.strip_prefix("identity.").and_then(Kind::parse)),
        };
        if key_kind.is_none() {
            let message = format!("`{}` is no identity; there are {known}, each after `identity.` or `identities.NAME.`", def.key.from);
            problems.push(Problem::new("key.from", message, "Write for example `identity.external_id` or `identities.company.domain`."));
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
        let (fields, merges) = fields(connector, object, def, &mut problems);
        let parents = parents(object, def, &fields, &mut problems);
        if problems.is_empty() {
            Ok(Self { key_field: def.key.field.clone(), adopt: def.adopt, parents, merges, whose, key_kind, matches, fields })
        } else {
            Err(problems)
        }
    }

    /// The CRM fields that this event sets, without the key's. A name that the event does not have says nothing; a JSON
    /// null stands only where the mapping said `clear`.
    pub fn crm_fields(&self, event: &Event) -> BTreeMap<String, Value> {
        let value = |filling: &Filling| filling.value(event, self.whose.as_deref());
        self.fields.iter().filter_map(|(field, filling)| value(filling).map(|value| (field.clone(), value))).collect()
    }

    /// What each CRM field is filled with, without the key's.
    pub fn fillings(&self) -> impl Iterator<Item = (&str, Filled<'_>)> {
        self.fields.iter().map(|(field, filling)| {
            let filled = match filling {
                Filling::Identity(kind) | Filling::Other(_, kind) => Filled::Identity(kind.as_str()),
                Filling::Attribute(name) => Filled::Attribute(name),
                Filling::Source | Filling::EventType | Filling::Name { .. } => Filled::Word,
                Filling::OccurredAt => Filled::Moment,
                Filling::Constant(value) => Filled::Constant(value),
            };
            (field.as_str(), filled)
        })
    }

    /// Every CRM field that some event can set, without the key's.
    pub fn field_names(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str).chain(self.parents.iter().filter_map(|parent| parent.field.as_deref()))
    }

    /// The records of the links between two objects of one destination, where the CRM keeps them beside its records.
    pub(super) fn linking(child: &str, parent: &str) -> Self {
        let end = |object: &str, field: &str| Parent { object: object.to_owned(), field: Some(field.to_owned()) };
        Self {
            key_field: association(child, parent),
            // A link is there or is made: nothing in it is anybody's to keep.
            adopt: Adopt::Overwrite,
            parents: vec![end(child, "from"), end(parent, "to")],
            merges: BTreeMap::new(),
            whose: None,
            key_kind: Kind::ExternalId,
            matches: Vec::new(),
            fields: BTreeMap::new(),
        }
    }

    /// Whether an event tells of what this object's records are: always, where they are of whom events are about.
    pub(super) fn concerns(&self, event: &Event) -> bool {
        self.whose.is_none() || !self.identifiers(event).is_empty()
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
        let identifier =
            |kind: &Kind| self.identity(*kind, event).map(|value| Identifier { kind: kind.as_str().to_owned(), value: value.to_owned() });
        self.matches.iter().filter_map(identifier).collect()
    }

    fn identity<'a>(&self, kind: Kind, event: &'a Event) -> Option<&'a str> {
        match &self.whose {
            None => kind.of(event),
            Some(whose) => kind.of_other(event, whose),
        }
    }

    /// The key of a record that this event creates: the identity that the key is filled from; where the event has none,
    /// `kind:value` of the first other identifier, which is the same whenever it is worked out again. `None` without any.
    pub fn record_key(&self, event: &Event) -> Option<String> {
        if let Some(value) = self.identity(self.key_kind, event) {
            return Some(value.to_owned());
        }
        self.identifiers(event).first().map(|identifier| format!("{}:{}", identifier.kind, identifier.canonical()))
    }
}

fn fields(
    connector: &str,
    object: &str,
    def: &ObjectDef,
    problems: &mut Vec<Problem>,
) -> (BTreeMap<String, Filling>, BTreeMap<String, Merge>) {
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
                    return Default::default();
                }
            }
        }
    };
    let (mut fillings, mut merges) = (BTreeMap::new(), BTreeMap::new());
    for (field, filling) in defs {
        let key = format!("fields.{field}");
        if filling.merge != Merge::Trust {
            merges.insert(field.clone(), filling.merge);
        }
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
    (fillings, merges)
}

fn parents(object: &str, def: &ObjectDef, fields: &BTreeMap<String, Filling>, problems: &mut Vec<Problem>) -> Vec<Parent> {
    for (index, parent) in def.parents.iter().enumerate() {
        let mut problem = |key: &str, message: String, remedy: &str| {
            problems.push(Problem::new(format!("parents.{index}{key}"), message, remedy));
        };
        if parent.object == object {
            problem(".object", "is the object itself".to_owned(), "Name another object of the destination.");
        }
        if def.parents.iter().take(index).any(|other| other.object == parent.object && other.field == parent.field) {
            problem("", format!("`{}` is listed twice", parent.object), "Remove one of them.");
        }
        if let Some(field) = parent.field.as_ref().filter(|field| fields.contains_key(*field) || **field == def.key.field) {
            problem(".field", format!("`{field}` is filled by `fields` or is the key's"), "Let one of them fill it.");
        }
    }
    def.parents.iter().map(|parent| Parent { object: parent.object.clone(), field: parent.field.clone() }).collect()
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
                name if name.starts_with("identities.") => {
                    let mut parts = name.splitn(3, '.').skip(1);
                    match (parts.next(), parts.next().and_then(Kind::parse)) {
                        (Some(whose), Some(kind)) if !whose.is_empty() => Self::Other(whose.to_owned(), kind),
                        (Some(_) | None, Some(_) | None) => {
                            return Err(format!("`{name}` is no identity such as `identities.company.domain`"));
                        }
                    }
                }
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

    fn value(&self, event: &Event, whose: Option<&str>) -> Option<Value> {
        match self {
            Self::Identity(kind) => whose.map_or_else(|| kind.of(event), |whose| kind.of_other(event, whose)).map(Value::from),
            Self::Other(whose, kind) => kind.of_other(event, whose).map(Value::from),
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
