//! Routes: which events go to which object of which destination, and what they set there.

mod object;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::event::{Mode, Routing};
use crate::fetch::source_of;
use crate::source::Problem;
use crate::time::parse_span;
use crate::{Event, Identifier};

pub use object::{FieldDef, Filled, KeyDef, Kind, ObjectDef, ObjectPlan, Parent, ParentDef};

/// What an event's type ends with if it tells of a deletion.
const DELETED: &str = ".deleted";
/// The kind of the only identifier that a link's record has.
const LINK: &str = "link";
/// Between the two objects in the name of an object that links them: nothing of a CRM's own has this sign in its name.
const ASSOCIATION: char = '>';

/// The name of the object whose records are the links between a child's records and its parent's.
fn association(child: &str, parent: &str) -> String {
    format!("{child}{ASSOCIATION}{parent}")
}

/// The two objects that an object links, the child's first; `None`: it is an object of its own.
pub fn linked(object: &str) -> Option<(&str, &str)> {
    object.split_once(ASSOCIATION)
}

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
    /// The CRM's record is deleted, unless something newer was written to it.
    Delete,
    /// The CRM's record stays and these fields are set, and nothing else.
    Set(BTreeMap<String, Value>),
}

impl<'de> Deserialize<'de> for OnDelete {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = OnDelete;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`ignore`, `dead_letter`, `delete`, or a table of CRM fields to set, such as `{ Status = \"Deleted\" }`")
            }
            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<OnDelete, E> {
                match word {
                    "ignore" => Ok(OnDelete::Ignore),
                    "dead_letter" => Ok(OnDelete::DeadLetter),
                    "delete" => Ok(OnDelete::Delete),
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
    /// The event tells of a deletion, and what the route says to that: `DeadLetter`, `Delete`, or `Set` with fields that stand in
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
    pub fn compile(
        defs: &[RouteDef],
        sources: &BTreeSet<String>,
        mut destinations: BTreeMap<String, Objects>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        destinations.iter_mut().for_each(|(name, objects)| family(name, objects, &mut problems));
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

    /// Whether records of other objects wait for this one's.
    pub fn has_children(&self, destination: &str, object: &str) -> bool {
        let depends = |plan: &ObjectPlan| plan.parents.iter().any(|parent| parent.object == object);
        self.destinations.get(destination).is_some_and(|objects| objects.values().any(depends))
    }

    /// Every object of every destination: destination and object.
    pub fn targets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.destinations
            .iter()
            .flat_map(|(destination, objects)| objects.keys().map(move |object| (destination.as_str(), object.as_str())))
    }

    /// Whether some route brings events of a source to an object of a destination.
    pub fn leads(&self, source: &str, destination: &str, object: &str) -> bool {
        self.routes.iter().any(|route| route.to == destination && route.object == object && fits(&route.source, source))
    }

    /// Whether some route creates records of this object.
    pub fn creates(&self, destination: &str, object: &str) -> bool {
        let creates = |mode: Mode| match mode {
            Mode::Upsert | Mode::CreateOnly => true,
            Mode::UpdateOnly | Mode::Delete => false,
        };
        self.routes.iter().any(|route| route.to == destination && route.object == object && creates(route.mode))
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
        let (mut planned, mut others) = (Vec::new(), Vec::new());
        for route in self.routes.iter().filter(|route| route.takes(event)) {
            let Some(object) = self.object(&route.to, &route.object) else { continue };
            if !seen.insert((&route.to, &route.object)) || deletion && route.on_delete == OnDelete::Ignore {
                continue;
            }
            let to = if object.concerns(event) { &mut planned } else { &mut others };
            to.push(Planned {
                destination: route.to.clone(),
                object: route.object.clone(),
                mode: if deletion && route.on_delete == OnDelete::Delete { Mode::Delete } else { route.mode },
                owner: route.owner.clone(),
                alert_after: route.alert_after,
                key_field: object.key_field.clone(),
                identifiers: object.identifiers(event),
                key: object.record_key(event),
                on_delete: deletion.then(|| route.on_delete.clone()),
            });
        }
        if planned.is_empty() {
            // It tells of nothing that any of them is of: a person must see it, for want of an identifier.
            planned = others;
        }
        if !deletion {
            planned.extend(self.links(&planned));
        }
        match (planned.is_empty(), seen.is_empty()) {
            (false, _) => Plan::Deliver(planned),
            (true, false) => Plan::Ignored,
            (true, true) => Plan::Unrouted,
        }
    }
}

impl Routes {
    /// The links between what an event tells of, where the CRM keeps them beside its records.
    fn links(&self, planned: &[Planned]) -> Vec<Planned> {
        let mut links = Vec::new();
        for child in planned {
            let parents = self.object(&child.destination, &child.object).map_or(&[][..], |object| &object.parents);
            for parent in parents.iter().filter(|parent| parent.field.is_none()) {
                let there = planned.iter().find(|held| held.destination == child.destination && held.object == parent.object);
                let Some((from, to)) = there.and_then(|held| Some((child.identifiers.first()?, held.identifiers.first()?))) else {
                    continue;
                };
                let object = association(&child.object, &parent.object);
                let key = format!("{}{ASSOCIATION}{}", from.canonical(), to.canonical());
                links.push(Planned {
                    key_field: object.clone(),
                    identifiers: vec![Identifier { kind: LINK.to_owned(), value: key.clone() }],
                    key: Some(key),
                    object,
                    mode: Mode::Upsert,
                    on_delete: None,
                    ..child.clone()
                });
            }
        }
        links
    }
}

/// Adds the objects that link others, and refuses parents that are not there or that wait for each other.
fn family(destination: &str, objects: &mut Objects, problems: &mut Vec<Problem>) {
    let mut problem = |object: &str, index: usize, message: String, remedy: &str| {
        problems.push(Problem::new(format!("destinations.{destination}.objects.{object}.parents.{index}"), message, remedy));
    };
    let mut links = Objects::new();
    for (name, object) in objects.iter() {
        for (index, parent) in object.parents.iter().enumerate() {
            if !objects.contains_key(&parent.object) {
                let message = format!("the destination `{destination}` has no object `{}`", parent.object);
                problem(name, index, message, "Name one of its objects, or add it.");
            } else if reaches(objects, &parent.object, name) {
                let message = format!("`{}` belongs to `{name}` too, so that each would wait for the other", parent.object);
                problem(name, index, message, "Remove one of the two; parents are written first.");
            } else if parent.field.is_none() {
                links.insert(association(name, &parent.object), ObjectPlan::linking(name, &parent.object));
            }
        }
    }
    objects.extend(links);
}

/// Whether one object belongs to another, at any distance. Every object is looked at once at most.
fn reaches(objects: &Objects, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut left = vec![from];
    while let Some(next) = left.pop() {
        if next == to {
            return true;
        }
        let parents = objects.get(next).into_iter().flat_map(|object| &object.parents);
        left.extend(parents.map(|parent| parent.object.as_str()).filter(|object| seen.insert(object)));
    }
    false
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
