//! Events to put into a ledger.

use std::collections::BTreeMap;

use model::event::{Audit, Identities, Mode, SCHEMA_VERSION};
use model::intake::{Fate, NewDelivery, NewEvent};
use model::route::Routes;
use model::{Event, EventId, Identifier, Identity, Reason, Time};
use serde_json::Value;
use store::Store;

/// An event in the making.
#[derive(Clone, Debug)]
pub struct Draft {
    pub source: &'static str,
    pub key: String,
    identity: Identity,
    identities: Identities,
    attributes: BTreeMap<String, Value>,
    occurred_at: i64,
    trust: u8,
    mapping: &'static str,
    to: Vec<(&'static str, &'static str, Mode)>,
    link: Option<(&'static str, &'static str)>,
    fate: Option<Fate>,
}

/// What happened to one person under an idempotency key; to a contact of the CRM, which is written without a read.
pub fn lead(key: &str, external_id: &str) -> Draft {
    Draft {
        source: "demo",
        key: key.to_owned(),
        identity: Identity { contact_external_id: Some(external_id.to_owned()), ..Identity::default() },
        identities: Identities::new(),
        attributes: BTreeMap::new(),
        occurred_at: 1_780_000_000,
        trust: 50,
        mapping: "1",
        to: vec![("crm", "Contact", Mode::Upsert)],
        link: None,
        fate: None,
    }
}

impl Draft {
    pub fn from(self, source: &'static str) -> Self {
        Self { source, ..self }
    }

    pub fn anonymous(mut self) -> Self {
        self.identity.contact_external_id = None;
        self
    }

    pub fn email(mut self, email: &str) -> Self {
        self.identity.email = Some(email.to_owned());
        self
    }

    /// Tells of something else, too: `company` by its `domain`.
    pub fn tells_of(mut self, whose: &str, word: &str, value: &str) -> Self {
        self.identities.entry(whose.to_owned()).or_default().insert(word.to_owned(), value.to_owned());
        self
    }

    /// An attribute: `first_name`, `company`, `city`.
    pub fn says(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.attributes.insert(name.to_owned(), value.into());
        self
    }

    /// Seconds after a common beginning.
    pub fn at(self, seconds: i64) -> Self {
        Self { occurred_at: 1_780_000_000 + seconds, ..self }
    }

    pub fn trust(self, trust: u8) -> Self {
        Self { trust, ..self }
    }

    pub fn mapped_by(self, mapping: &'static str) -> Self {
        Self { mapping, ..self }
    }

    pub fn to(self, object: &'static str, mode: Mode) -> Self {
        Self { to: vec![("crm", object, mode)], ..self }
    }

    pub fn and_to(mut self, destination: &'static str, object: &'static str) -> Self {
        self.to.push((destination, object, Mode::Upsert));
        self
    }

    /// The link between two of its deliveries, as routing makes it.
    pub fn linked_to(mut self, child: &'static str, parent: &'static str) -> Self {
        self.link = Some((child, parent));
        self
    }

    /// To a lead of the CRM, which is read before it is first written.
    pub fn read_first(self) -> Self {
        self.to("Lead", Mode::Upsert)
    }

    pub fn ignored(self) -> Self {
        Self { fate: Some(Fate::Ignored), ..self }
    }

    pub fn dead(self, reason: Reason) -> Self {
        let fate = Fate::DeadLetter { reason, message: "found something else".into(), owner: Some("sales".into()) };
        Self { fate: Some(fate), ..self }
    }

    pub fn event(&self, store: &Store, routes: &Routes, now: Time) -> NewEvent {
        let id = EventId(store.next_id(now));
        let occurred_at = Time::from_seconds(self.occurred_at);
        let event = Event {
            schema_version: SCHEMA_VERSION.into(),
            event_id: format!("{}:{}", self.source, self.key),
            event_type: "lead.created".into(),
            source: self.source.into(),
            occurred_at,
            idempotency_key: self.key.clone(),
            identity: self.identity.clone(),
            attributes: self.attributes.clone(),
            routing: Vec::new(),
            fetch: None,
            fetched: None,
            identities: self.identities.clone(),
            mapping_version: self.mapping.into(),
            audit: Audit {
                received_at: now,
                raw_event_ref: String::new(),
                normalized_event_ref: id.to_string(),
                correlation_id: String::new(),
                entry: None,
            },
        };
        let link = self.link.map(|(child, parent)| {
            let end = |object| routes.object("crm", object).unwrap().identifiers(&event)[0].canonical();
            let value = format!("{}>{}", end(child), end(parent));
            NewDelivery {
                destination: "crm".to_owned(),
                object: format!("{child}>{parent}"),
                mode: Mode::Upsert,
                owner: None,
                key: value.clone(),
                identifiers: vec![Identifier { kind: "link".to_owned(), value }],
                identifier_trust: 90,
            }
        });
        let delivery = |(destination, object, mode): &(&str, &str, Mode)| {
            let plan = routes.object(destination, object).unwrap();
            NewDelivery {
                destination: (*destination).to_owned(),
                object: (*object).to_owned(),
                mode: *mode,
                owner: Some("sales".into()),
                key: plan.record_key(&event).unwrap_or_default(),
                identifiers: plan.identifiers(&event),
                identifier_trust: 90,
            }
        };
        NewEvent {
            id,
            event_type: event.event_type.clone(),
            key: self.key.clone(),
            occurred_at,
            trust: self.trust,
            mapping_version: self.mapping.into(),
            content_hash: store::rows::hash(&format!("{:?}{:?}{}", self.identity, self.attributes, self.occurred_at)),
            normalized: serde_json::to_string(&event).unwrap(),
            fallback_key: false,
            warnings: Vec::new(),
            fate: self.fate.clone().unwrap_or_else(|| Fate::Deliveries(self.to.iter().map(delivery).chain(link).collect())),
        }
    }
}
