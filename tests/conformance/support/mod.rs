//! What every promise needs: a fresh ledger of some arm, events to put in, a CRM that answers, and a glass to look inside.

mod crm;
mod draft;
mod glass;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::destination::Policy;
use model::protocol::Repeat;
use model::quota::Lane;
use model::route::{ObjectPlan, Routes};
use model::{DeliveryId, RawEventId, RecordId, Time};
use serde_json::{Value, json};
use store::rows::{DeadLetter, Delivery, DeliveryState};
use store::{Advanced, AnsweredEvent, Call, Committed, Finished, Intake, NewRawEvent, Store, Work};

pub use crm::*;
pub use draft::{Draft, lead};
pub use glass::{Glass, Seen};

pub const SOURCES: [&str; 2] = ["demo", "typeform"];
pub const DESTINATIONS: [&str; 2] = ["crm", "other"];

/// Which ledger.
#[derive(Clone, Copy, Debug)]
pub enum Arm {
    Memory,
    Sqlite,
    Postgres,
}

/// What a ledger needs to stay there: a folder, a server.
pub type Keepsake = Box<dyn Send>;

/// A ledger with a clock that its user moves, and a worker's settings.
#[derive(Clone)]
pub struct Ledger {
    pub store: Store,
    pub glass: Glass,
    pub now: Time,
    pub policy: Policy,
    pub routes: Arc<Routes>,
    pub destination: &'static str,
    pub holder: String,
    pub group_limit: usize,
    pub calls_max: u32,
    /// What may follow an unknown creation, and whether one can look.
    pub repeat: (Repeat, bool),
    /// Of what is taken in next.
    pub lane: Lane,
}

impl Ledger {
    /// A migrated ledger on which work has begun. What is returned beside it must outlive it.
    pub async fn fresh(arm: Arm) -> (Self, Keepsake) {
        let now = Time::from_seconds(1_790_000_000);
        let (store, glass, keepsake): (_, _, Keepsake) = match arm {
            Arm::Memory => {
                let store = Store::memory();
                (store.clone(), Glass::memory(store), Box::new(()))
            }
            Arm::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("onceward.db");
                let store = Store::open(&format!("sqlite:{}", path.display())).await.unwrap();
                (store, Glass::sqlite(path), Box::new(folder))
            }
            Arm::Postgres => {
                let (url, server) = tokio::task::spawn_blocking(harness::database).await.unwrap();
                let store = Store::open(&url).await.unwrap();
                (store, Glass::postgres(url), Box::new(server))
            }
        };
        store.migrate().await.unwrap();
        store.begin_work(now, &SOURCES, &DESTINATIONS, &[]).await.unwrap();
        let ledger = Self {
            store,
            glass,
            now,
            policy: Policy::default(),
            routes: Arc::new(routes()),
            destination: "crm",
            holder: "worker-1".into(),
            lane: Lane::Fresh,
            group_limit: 200,
            calls_max: 4,
            repeat: (Repeat::Keyed, true),
        };
        (ledger, keepsake)
    }

    /// The clock goes on.
    pub fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
    }

    pub fn pass_seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    /// A request that holds these events.
    pub fn request(&self, drafts: &[Draft]) -> Intake {
        let id = RawEventId(self.store.next_id(self.now));
        let raw = NewRawEvent {
            id,
            source: drafts.first().map_or("demo", |draft| draft.source).to_owned(),
            received_at: self.now,
            body_sha256: [7; 32],
            key_id: 1,
            sealed: vec![1, 2, 3],
            correlation_id: id.to_string(),
        };
        Intake { raw, events: drafts.iter().map(|draft| draft.event(&self.store, &self.routes, self.now)).collect(), lane: self.lane }
    }

    /// Accepts a batch of requests.
    pub async fn accept_batch(&self, batch: &[Intake]) -> Committed {
        self.store.accept(self.now, batch).await.unwrap()
    }

    /// Accepts each event in a request of its own, all in one batch.
    pub async fn accept(&self, drafts: &[Draft]) -> Vec<AnsweredEvent> {
        let batch: Vec<Intake> = drafts.iter().map(|draft| self.request(std::slice::from_ref(draft))).collect();
        self.accept_batch(&batch).await.answers.concat()
    }

    /// Accepts one event and returns its first delivery.
    pub async fn deliver(&self, draft: Draft) -> DeliveryId {
        self.accept(&[draft]).await[0].id.delivery(1)
    }

    pub async fn advance(&self, finished: &[Finished]) -> Advanced {
        let equal = |_: &str, a: &Value, b: &Value| a == b;
        let work = Work {
            destination: self.destination,
            policy: &self.policy,
            routes: &self.routes,
            holder: &self.holder,
            group_limit: self.group_limit,
            calls_max: self.calls_max,
            equal: &equal,
            repeat: &|_, _| self.repeat.0,
            reads: &|_| self.repeat.1,
            enriching: None,
        };
        self.store.advance(self.now, &work, finished, &mut || 0.0).await.unwrap()
    }

    /// Settles without claiming anything.
    pub async fn settle(&self, finished: &[Finished]) -> Advanced {
        Ledger { calls_max: 0, ..self.clone() }.advance(finished).await
    }

    /// The calls that can be made now.
    pub async fn claim(&self) -> Vec<Call> {
        self.advance(&[]).await.calls
    }

    /// The one call that can be made now.
    pub async fn claim_one(&self) -> Call {
        let mut calls = self.claim().await;
        assert_eq!(calls.len(), 1, "one call: {calls:?}");
        calls.remove(0)
    }

    /// Works with this CRM until nothing is due for as long as the clock may go on.
    pub async fn work(&mut self, crm: &mut Crm, for_at_most: Duration) {
        let end = self.now + for_at_most;
        let mut finished = Vec::new();
        for _ in 0..10_000 {
            let advanced = self.advance(&finished).await;
            finished = advanced.calls.iter().map(|call| crm.answer(call)).collect();
            match advanced.next {
                _ if !finished.is_empty() => {}
                Some(next) if next <= end => self.now = self.now.max(next),
                Some(_) | None => return,
            }
        }
        panic!("the work does not end");
    }

    /// Works until nothing is due now.
    pub async fn work_now(&mut self, crm: &mut Crm) {
        self.work(crm, Duration::ZERO).await;
    }

    pub async fn look(&self) -> Seen {
        self.glass.look().await
    }

    pub async fn delivery(&self, id: DeliveryId) -> Delivery {
        self.look().await.deliveries.remove(&id).unwrap()
    }

    pub async fn state(&self, id: DeliveryId) -> DeliveryState {
        self.delivery(id).await.state
    }

    /// State and outcome.
    pub async fn ending(&self, id: DeliveryId) -> (DeliveryState, &'static str) {
        let delivery = self.delivery(id).await;
        (delivery.state, delivery.outcome.map_or("", model::protocol::Outcome::as_str))
    }

    pub async fn dead_letter(&self, id: DeliveryId) -> DeadLetter {
        self.look().await.dead_letters.remove(&id).unwrap_or_else(|| panic!("{id} is no dead letter"))
    }

    /// The only record there is.
    pub async fn record(&self) -> model::record::Record {
        let records = self.look().await.records;
        assert_eq!(records.len(), 1, "one record: {records:?}");
        records.into_values().next().unwrap().record
    }

    pub async fn record_of(&self, id: DeliveryId) -> RecordId {
        self.delivery(id).await.record.unwrap()
    }
}

/// Accounts, their contacts, which point at them, and their deals, which are linked to both.
pub fn families() -> Routes {
    let account = json!({ "key": { "field": "Domain__c", "from": "identities.company.domain" }, "adopt": "overwrite", "fields": { "Company": "company" } });
    let contact = json!({ "key": { "field": "Key__c" }, "adopt": "overwrite", "fields": { "City": "city" },
        "parents": [{ "object": "Account", "field": "AccountId" }] });
    let deal = json!({ "key": { "field": "Deal__c", "from": "identities.deal.external_id" }, "adopt": "overwrite", "fields": { "City": "city" },
        "parents": [{ "object": "Contact" }] });
    let plan = |object: &str, def: Value| ObjectPlan::compile("salesforce", object, &serde_json::from_value(def).unwrap()).unwrap();
    let objects = || {
        [("Account", account.clone()), ("Contact", contact.clone()), ("Deal", deal.clone())]
            .map(|(object, def)| (object.to_owned(), plan(object, def)))
            .into()
    };
    let destinations: BTreeMap<_, _> = DESTINATIONS.map(|name| (name.to_owned(), objects())).into();
    Routes::compile(&[], &BTreeSet::from(SOURCES.map(str::to_owned)), destinations).unwrap()
}

/// Two objects that differ only in whether present values are read first, and one that is found by domain alone.
pub fn routes() -> Routes {
    routes_of(&[])
}

/// The same, with routes that bring everything to these.
pub fn routes_of(targets: &[(&str, &str)]) -> Routes {
    let route = |(to, object): &(&str, &str)| serde_json::from_value(json!({ "to": to, "object": object })).unwrap();
    let defs: Vec<_> = targets.iter().map(route).collect();
    let person = |adopt: &str| {
        json!({ "key": { "field": "Key__c" }, "match": ["external_id", "email"], "adopt": adopt,
            "fields": { "Email": "email", "Phone": "phone_e164", "FirstName": "first_name", "Company": "company", "City": "city" } })
    };
    let company = json!({ "key": { "field": "Domain__c", "from": "identity.domain" }, "fields": { "Company": "company" } });
    let plan = |object: &str, def: Value| ObjectPlan::compile("salesforce", object, &serde_json::from_value(def).unwrap()).unwrap();
    let people = || {
        [("Lead", person("read")), ("Contact", person("overwrite")), ("Account", company.clone())]
            .map(|(object, def)| (object.to_owned(), plan(object, def)))
            .into()
    };
    let destinations: BTreeMap<_, _> = DESTINATIONS.map(|name| (name.to_owned(), people())).into();
    Routes::compile(&defs, &BTreeSet::from(SOURCES.map(str::to_owned)), destinations).unwrap()
}
