//! A ledger with a little world around it: events about people, a worker, a CRM that answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::destination::Policy;
use model::event::{Audit, Mode};
use model::protocol::{Found, Present, Written};
use model::route::{ObjectDef, ObjectPlan, RouteDef, Routes};
use model::{Class, Event, EventId, Failure, Identifier, Identity, RawEventId, Reason, Scope, Time};
use serde_json::Value;
use store::*;

/// Which database holds the ledger.
#[derive(Clone, Copy, Debug)]
pub enum Arm {
    Sqlite,
    Postgres,
}

pub const START: Time = Time::from_seconds(1_800_000_000);

pub fn at(seconds: u64) -> Time {
    START + Duration::from_secs(seconds)
}

pub struct World {
    pub store: Store,
    /// Where the ledger is.
    pub url: String,
    routes: Routes,
    policy: Policy,
    _keepsake: Box<dyn Send>,
}

/// An event about a person, as a test says it.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    pub source: &'a str,
    pub id: &'a str,
    pub person: &'a str,
    pub email: &'a str,
    pub company: &'a str,
    pub correlation: Option<&'a str>,
}

pub const ADA: Told<'_> =
    Told { source: "demo", id: "id-1", person: "1", email: "Ada@example.com", company: "Engines", correlation: Some("corr-1") };

impl World {
    /// A migrated ledger on which work has begun.
    pub async fn fresh(arm: Arm) -> Self {
        let (url, keepsake): (_, Box<dyn Send>) = match arm {
            Arm::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                (format!("sqlite:{}", folder.path().join("onceward.db").display()), Box::new(folder))
            }
            Arm::Postgres => {
                let (url, server) = tokio::task::spawn_blocking(harness::database).await.unwrap();
                (url, Box::new(server))
            }
        };
        let store = Store::open(&url).await.unwrap();
        store.migrate().await.unwrap();
        store.begin_work(START, &["demo", "typeform"], &["crm"], &[("v1".into(), "the mapping's text".into())]).await.unwrap();
        let object: ObjectDef = toml::from_str(
            "key = { field = \"Key__c\" }\nmatch = [\"external_id\", \"email\", \"phone_e164\"]\nfields = { Email = \"email\", Company = \"company\" }",
        )
        .unwrap();
        let objects = BTreeMap::from([("Lead".to_owned(), ObjectPlan::compile("salesforce", "Lead", &object).unwrap())]);
        let route: RouteDef = toml::from_str("to = \"crm\"\nobject = \"Lead\"").unwrap();
        let sources = BTreeSet::from(["demo".to_owned(), "typeform".to_owned()]);
        let routes = Routes::compile(&[route], &sources, BTreeMap::from([("crm".to_owned(), objects)])).unwrap();
        Self { store, url, routes, policy: Policy::default(), _keepsake: keepsake }
    }

    /// The request that a test tells of, and what it becomes.
    pub fn intake(&self, now: Time, told: Told<'_>, fate: Option<Fate>) -> Intake {
        let (raw, id) = (RawEventId(self.store.next_id(now)), EventId(self.store.next_id(now)));
        let key = model::mapping::key_of(told.source, "lead.created", told.id);
        let person = format!("{}:{}", told.source, told.person);
        let identity = Identity {
            contact_external_id: Some(person.clone()),
            email: Some(told.email.into()),
            phone_e164: Some("+14155550100".into()).filter(|_| told.person == "1"),
            domain: None,
        };
        let correlation_id = told.correlation.map_or_else(|| raw.to_string(), ToOwned::to_owned);
        let event = Event {
            schema_version: model::event::SCHEMA_VERSION.into(),
            event_id: format!("{}:{}", told.source, told.id),
            event_type: "lead.created".into(),
            source: told.source.into(),
            occurred_at: now,
            idempotency_key: key.clone(),
            identity: identity.clone(),
            attributes: BTreeMap::from([("company".to_owned(), told.company.into())]),
            routing: Vec::new(),
            fetch: None,
            fetched: None,
            identities: BTreeMap::new(),
            mapping_version: "v1".into(),
            audit: Audit {
                received_at: now,
                raw_event_ref: raw.to_string(),
                normalized_event_ref: id.to_string(),
                correlation_id: correlation_id.clone(),
                entry: None,
            },
        };
        let identifier = |kind: &str, value: &str| Identifier { kind: kind.into(), value: value.into() };
        let mut identifiers = vec![identifier("external_id", &person), identifier("email", told.email)];
        identifiers.extend(identity.phone_e164.as_deref().map(|phone| identifier("phone_e164", phone)));
        let delivery = NewDelivery {
            destination: "crm".into(),
            object: "Lead".into(),
            mode: Mode::Upsert,
            owner: Some("sales".into()),
            key: person,
            identifiers,
            identifier_trust: 90,
        };
        let mut content_hash = [0; 16];
        content_hash.iter_mut().zip(told.company.bytes()).for_each(|(place, byte)| *place = byte);
        let new = NewEvent {
            id,
            event_type: "lead.created".into(),
            key,
            occurred_at: now,
            trust: 60,
            mapping_version: "v1".into(),
            content_hash,
            normalized: serde_json::to_string(&event).unwrap(),
            fallback_key: false,
            warnings: Vec::new(),
            fate: fate.unwrap_or(Fate::Deliveries(vec![delivery])),
        };
        let raw = NewRawEvent {
            id: raw,
            source: told.source.into(),
            received_at: now,
            body_sha256: [7; 32],
            key_id: 3,
            sealed: vec![1, 2, 3],
            correlation_id,
        };
        Intake { raw, events: vec![new], lane: model::quota::Lane::Fresh }
    }

    pub async fn accept(&self, now: Time, told: Told<'_>) -> AnsweredEvent {
        self.accept_as(now, told, None).await
    }

    pub async fn accept_as(&self, now: Time, told: Told<'_>, fate: Option<Fate>) -> AnsweredEvent {
        let mut committed = self.store.accept(now, &[self.intake(now, told, fate)]).await.unwrap();
        committed.answers.remove(0).remove(0)
    }

    pub async fn advance(&self, now: Time, finished: &[Finished], calls_max: u32) -> Advanced {
        let equal = |_: &str, one: &Value, other: &Value| one == other;
        let work = Work {
            destination: "crm",
            policy: &self.policy,
            routes: &self.routes,
            holder: "worker-1",
            group_limit: 200,
            calls_max,
            equal: &equal,
            repeat: &|_, _| model::protocol::Repeat::Keyed,
            reads: &|_| true,
            enriching: None,
        };
        self.store.advance(now, &work, finished, &mut || 0.5).await.unwrap()
    }

    /// Does what is due until nothing is, with the same answer to each write. Returns the calls' steps.
    pub async fn work(&self, now: Time, answer: &dyn Fn() -> Result<Found, Failure>) -> Vec<&'static str> {
        let mut steps = Vec::new();
        let mut finished: Vec<Finished> = Vec::new();
        loop {
            let mut advanced = self.advance(now, &finished, 4).await;
            if advanced.calls.is_empty() {
                return steps;
            }
            finished.clear();
            for call in advanced.calls.drain(..) {
                steps.push(call.kind.as_str());
                let result = call.entries.iter().map(|_| if call.kind == Kind::Push { answer() } else { Ok(Found::Held(None::<Present>)) });
                let result = Ok(result.collect());
                finished.push(Finished {
                    call,
                    duration: Duration::from_millis(12),
                    http_status: Some(200),
                    requests: 1,
                    usage: Vec::new(),
                    result,
                });
            }
        }
    }

    pub async fn trace(&self, x: &str) -> Trace {
        self.store.trace(at(3_600), x).await.unwrap()
    }
}

pub fn wrote() -> Result<Found, Failure> {
    Ok(Found::Wrote(Written { crm_id: Some("00QAb00000C1xYzMAJ".into()), created: Some(true) }))
}

pub fn refused() -> Result<Found, Failure> {
    Err(Failure::new(Class::Permanent, Scope::Record, "REQUIRED_FIELD_MISSING", "Company is missing"))
}

pub fn steps(trace: &Trace) -> Vec<&str> {
    trace.steps.iter().map(|step| step.step.as_str()).collect()
}

pub fn unmapped() -> Option<Fate> {
    Some(Fate::DeadLetter { reason: Reason::Unmapped, message: "no entry fits".into(), owner: None })
}
