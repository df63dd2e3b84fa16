//! A definition laid over another: what makes a mapping and its version.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::fetch::FetchedDef;

use super::{Content, EventDef, SourceDef, Unmatched, ValueDef};

/// What decides how a body is read: everything that makes a mapping's version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MappingDef {
    pub(crate) vendor_type: ValueDef,
    pub(crate) id: Option<ValueDef>,
    pub(crate) occurred_at: Option<ValueDef>,
    pub(crate) region: Option<String>,
    pub(crate) shared: bool,
    pub(crate) unmatched: Unmatched,
    pub(crate) volatile: BTreeSet<String>,
    pub(crate) content_types: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Content::is_default")]
    pub(crate) content: Content,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parse: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) batch: Option<String>,
    pub(crate) rules: Vec<RuleDef>,
    // Left out where there is none, so that mappings without it keep their versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) fetched: BTreeMap<String, FetchedDef>,
}

/// One rule of a mapping. The first that fits is taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RuleDef {
    /// It becomes an event. The key is where it is in the source's own definition, if it is from there.
    Event {
        #[serde(skip)]
        key: String,
        #[serde(flatten)]
        def: Box<EventDef>,
    },
    /// It is irrelevant.
    Ignore(Vec<String>),
}

impl SourceDef {
    /// This definition over another. An event of a type that the other has changes that one; new ones come first, then
    /// what this one ignores, then what the other has: so a source can take in what its preset ignores, and ignore what
    /// its preset takes in.
    pub(super) fn over(&self, base: &SourceDef) -> MappingDef {
        let mut inherited: Vec<_> = base.events.iter().cloned().map(|def| (None, def)).collect();
        let mut rules = Vec::new();
        for (index, own) in self.events.iter().enumerate() {
            let key = format!("events.{index}");
            let mut same = inherited.iter_mut().filter(|(_, def)| def.event_type == own.event_type).peekable();
            if same.peek().is_none() {
                rules.push(RuleDef::Event { key, def: Box::new(own.clone()) });
                continue;
            }
            for (held, def) in same {
                own.lay_over(def);
                *held = Some(key.clone());
            }
        }
        rules.push(RuleDef::Ignore(self.ignore.clone()));
        rules.extend(
            inherited.into_iter().map(|(key, def)| RuleDef::Event { key: key.unwrap_or_else(|| "preset".to_owned()), def: Box::new(def) }),
        );
        rules.push(RuleDef::Ignore(base.ignore.clone()));
        rules.retain(|rule| !matches!(rule, RuleDef::Ignore(types) if types.is_empty()));
        let mut fetched = base.fetched.clone();
        for (object, own) in &self.fetched {
            own.lay_over(fetched.entry(object.clone()).or_default());
        }
        MappingDef {
            vendor_type: self
                .vendor_type
                .clone()
                .or(base.vendor_type.clone())
                .unwrap_or_else(|| ValueDef::expression("type || event_type || event")),
            id: self.id.clone().or(base.id.clone()),
            occurred_at: self.occurred_at.clone().or(base.occurred_at.clone()),
            region: self.region.clone().or(base.region.clone()),
            shared: self.shared.or(base.shared).unwrap_or(false),
            unmatched: self.unmatched.or(base.unmatched).unwrap_or_default(),
            volatile: self.volatile.iter().chain(&base.volatile).cloned().collect(),
            content_types: self.content_types.clone().or(base.content_types.clone()),
            content: self.content.or(base.content).unwrap_or_default(),
            parse: self.parse.clone().or(base.parse.clone()).unwrap_or_default(),
            // An empty path takes the preset's away: the body is one event.
            batch: self.batch.clone().or(base.batch.clone()).filter(|path| !path.trim().is_empty()),
            rules,
            fetched,
        }
    }
}

impl EventDef {
    fn lay_over(&self, under: &mut EventDef) {
        if self.when.is_some() || !self.on.is_empty() {
            under.when.clone_from(&self.when);
            under.on.clone_from(&self.on);
        }
        for (own, held) in [(&self.id, &mut under.id), (&self.occurred_at, &mut under.occurred_at)] {
            if own.is_some() {
                held.clone_from(own);
            }
        }
        if self.occurred_at_unit.is_some() {
            under.occurred_at_unit.clone_from(&self.occurred_at_unit);
        }
        if self.fetch.is_some() {
            under.fetch.clone_from(&self.fetch);
        }
        if self.answers.is_some() {
            under.answers.clone_from(&self.answers);
        }
        under.fields.extend(self.fields.iter().map(|(name, value)| (name.clone(), value.clone())));
        for (whose, identifiers) in &self.identities {
            under.identities.entry(whose.clone()).or_default().extend(identifiers.clone());
        }
    }
}
