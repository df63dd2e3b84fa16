//! What becomes of events that came as nothing but an id.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::event::Event;
use model::intake::{NewEvent, prepare};
use model::mapping::ReadContext;
use model::protocol::{Found, Step, gone};
use model::record::State;
use model::route::{ObjectPlan, RouteDef, Routes};
use model::seal::{SealingKey, SealingKeys};
use model::source::{Source, SourceDef};
use model::{Class, DeliveryId, EventId, RawEventId, Reason, Received, Scope, Time};
use serde_json::{Value, json};
use store::rows::DeliveryState;
use store::{Advanced, Call, Enriching, Finished, Intake, Kind, Reopen, Reopened, Work};

use crate::support::{Ledger, broke, each, failure, pairs, patch, wrote};

const ASKED: &str = "source:demo";
const APPLIED: (DeliveryState, &str) = (DeliveryState::Succeeded, "applied");

fn source() -> Source {
    let text = r#"
        trust = 60
        signature = { algorithm = "hmac-sha256", header = "x-signature", signed = "{body}" }
        [[events]]
        type = "lead.created"
        id = "id"
        fetch = { object = "lead", id = "object", with = { form = "form" } }
        fields = { company = "company" }
        [fetched.lead]
        updated_at = "changed"
        [fetched.lead.fields]
        external_id = { from = "person", required = true }
        city = "city"
        phone_e164 = { from = "phone", as = "phone" }
    "#;
    let def: SourceDef = toml::from_str(text).unwrap();
    Source::compile("demo", &def).unwrap()
}

/// To one object of each of two CRMs.
fn routes() -> Routes {
    let def = json!({ "key": { "field": "Key__c" }, "match": ["external_id"], "adopt": "overwrite", "fields": { "City": "city", "Company": "company" } });
    let plan = || ObjectPlan::compile("salesforce", "Contact", &serde_json::from_value(def.clone()).unwrap()).unwrap();
    let destinations: BTreeMap<_, _> =
        ["crm", "other"].map(|name| (name.to_owned(), BTreeMap::from([("Contact".to_owned(), plan())]))).into();
    let route = |to: &str| -> RouteDef { serde_json::from_value(json!({ "to": to, "object": "Contact", "owner": "sales" })).unwrap() };
    Routes::compile(&[route("crm"), route("other")], &BTreeSet::from(["demo".to_owned()]), destinations).unwrap()
}

/// A ledger whose worker fetches.
struct Asking {
    ledger: Ledger,
    source: Source,
}

impl Asking {
    fn new(ledger: Ledger) -> Self {
        Self { ledger: Ledger { routes: Arc::new(routes()), ..ledger }, source: source() }
    }

    fn pushed(&self, body: &Value, id: Option<EventId>) -> NewEvent {
        let body = body.to_string();
        let request = Received { method: "POST", target: "/webhooks/demo", headers: &[], body: body.as_bytes() };
        let keys = SealingKeys::new(vec![SealingKey::new(&[1; 32])]).unwrap();
        let (store, now) = (self.ledger.store.clone(), self.ledger.now);
        let mut event_id = || id.unwrap_or_else(|| EventId(store.next_id(now)));
        let mut context = ReadContext {
            received_at: now,
            raw_event: RawEventId(1 << 20),
            correlation_id: "theirs",
            signed_headers: &[],
            hash_key: &keys.hash_key("identity"),
            event_id: &mut event_id,
        };
        let readings = self.source.read(&request, &mut context);
        prepare(&self.source, &request, readings, &self.ledger.routes, &BTreeMap::new(), &mut context).remove(0)
    }

    /// Accepts pushes, each in a request of its own, and gives their fetches.
    async fn push(&self, ids: &[(&str, &str)]) -> Vec<DeliveryId> {
        let request = |(id, object): &(&str, &str)| Intake {
            events: vec![self.pushed(&json!({ "type": "x", "id": id, "object": object, "company": "Example" }), None)],
            ..self.ledger.request(&[])
        };
        let committed = self.ledger.accept_batch(&ids.iter().map(request).collect::<Vec<_>>()).await;
        assert_eq!(committed.wakeups.iter().map(|wakeup| wakeup.destination.as_str()).collect::<Vec<_>>(), [ASKED]);
        committed.answers.concat().iter().map(|answer| answer.id.delivery(1)).collect()
    }

    async fn advance(&self, finished: &[Finished]) -> Advanced {
        let equal = |_: &str, a: &Value, b: &Value| a == b;
        let identifier_trust = BTreeMap::new();
        let work = Work {
            destination: ASKED,
            policy: &self.ledger.policy,
            routes: &self.ledger.routes,
            holder: &self.ledger.holder,
            group_limit: 100,
            calls_max: self.ledger.calls_max,
            equal: &equal,
            repeat: &|_, _| model::protocol::Repeat::Keyed,
            reads: &|_| true,
            enriching: Some(Enriching { source: &self.source, identifier_trust: &identifier_trust }),
        };
        self.ledger.store.advance(self.ledger.now, &work, finished, &mut || 0.0).await.unwrap()
    }

    async fn claim_one(&self) -> Call {
        let mut calls = self.advance(&[]).await.calls;
        assert_eq!(calls.len(), 1, "one call: {calls:?}");
        let call = calls.remove(0);
        assert_eq!((call.kind, call.object.as_str()), (Kind::Fetch, "lead"));
        call
    }

    async fn event(&self, delivery: DeliveryId) -> Event {
        let event = self.ledger.look().await.events.remove(&delivery.event()).unwrap();
        serde_json::from_str(&event.normalized).unwrap()
    }

    /// The deliveries of an event besides its fetch.
    async fn onward(&self, fetch: DeliveryId) -> Vec<(DeliveryId, String, DeliveryState)> {
        let all = self.ledger.look().await.deliveries.into_values();
        let onward = all.filter(|held| held.id.event() == fetch.event() && held.destination.as_deref() != Some(ASKED));
        onward.map(|held| (held.id, held.destination.unwrap(), held.state)).collect()
    }
}

fn lead(person: &str, city: &str) -> Result<Found, model::Failure> {
    Ok(Found::Fetched(json!({ "person": person, "city": city, "changed": "2026-01-02T03:04:05Z" })))
}

fn looked_at(call: &Call) -> Vec<DeliveryId> {
    assert_eq!(call.entries.len(), 1, "{call:?}");
    match &call.entries[0].claim.step {
        Step::Fetch(look) => look.deliveries.clone(),
        step @ (Step::Adopt | Step::Verify | Step::Push(_)) => panic!("no fetch: {step:?}"),
    }
}

pub async fn an_id_is_fetched_and_then_goes_on_as_if_it_had_come_whole(ledger: Ledger) {
    let asking = Asking::new(ledger);
    let fetch = asking.push(&[("k1", "Ab1")]).await[0];
    let held = asking.ledger.delivery(fetch).await;
    assert_eq!((held.destination.as_deref(), held.object.as_deref(), held.owner.as_deref()), (Some(ASKED), Some("lead"), Some("sales")));
    assert!(asking.onward(fetch).await.is_empty(), "nothing goes to a CRM before it is known what");
    let call = asking.claim_one().await;
    assert_eq!(call.entries[0].key, "Ab1");
    let advanced = asking.advance(&[each(&call, lead("7", "Bern"))]).await;
    assert_eq!(asking.ledger.ending(fetch).await, APPLIED);
    let woken: Vec<&str> = advanced.wakeups.iter().map(|wakeup| wakeup.destination.as_str()).collect();
    assert_eq!(woken, ["crm", "other"]);
    assert_eq!(advanced.wakeups[0].correlation_id, "theirs");
    let event = asking.event(fetch).await;
    assert_eq!((event.fetch, event.routing.len()), (None, 2));
    assert_eq!(event.identity.contact_external_id.as_deref(), Some("demo:7"));
    assert_eq!((&event.attributes["city"], &event.attributes["company"]), (&json!("Bern"), &json!("Example")), "over what was pushed");
    let write = asking.ledger.claim_one().await;
    assert_eq!((write.entries[0].key.as_str(), patch(&write)), ("demo:7", pairs(&[("City", "Bern"), ("Company", "Example")])));
    asking.ledger.settle(&[each(&write, wrote("003"))]).await;
    let record = asking.ledger.record_of(asking.onward(fetch).await[0].0).await;
    let stamp = asking.ledger.look().await.records[&record].record.body.fields.0["City"].stamp.clone();
    assert_eq!((stamp.trust, stamp.occurred_at), (60, Time::parse_rfc3339("2026-01-02T03:04:05Z").unwrap()), "the object's own time");
}

pub async fn a_fetch_that_is_heard_twice_or_too_late_makes_nothing_twice(ledger: Ledger) {
    let mut asking = Asking::new(ledger);
    let fetch = asking.push(&[("k1", "1")]).await[0];
    let first = asking.claim_one().await;
    asking.ledger.pass(asking.ledger.policy.lease() + Duration::from_secs(1));
    let second = asking.claim_one().await;
    assert_eq!(looked_at(&second), [fetch]);
    let late = asking.advance(&[each(&first, lead("7", "Bern"))]).await;
    assert_eq!((late.late, late.ended.len()), (1, 0));
    assert!(asking.onward(fetch).await.is_empty());
    asking.advance(&[each(&second, lead("8", "Rome"))]).await;
    let made = asking.onward(fetch).await;
    assert_eq!(made.len(), 2);
    assert_eq!(asking.advance(&[each(&second, lead("8", "Rome"))]).await.late, 1);
    assert_eq!(asking.onward(fetch).await, made);
    assert_eq!(asking.event(fetch).await.identity.contact_external_id.as_deref(), Some("demo:8"));
}

pub async fn events_of_one_object_share_a_fetch_and_one_that_comes_meanwhile_has_its_own(ledger: Ledger) {
    let asking = Asking::new(ledger);
    let both = asking.push(&[("k1", "Ab1"), ("k2", "Ab1")]).await;
    let call = asking.claim_one().await;
    assert_eq!(looked_at(&call), both);
    let third = asking.push(&[("k3", "Ab1")]).await[0];
    let advanced = asking.advance(&[each(&call, lead("7", "Bern"))]).await;
    assert_eq!(advanced.ended.len(), 2, "what came meanwhile may tell of a later change");
    assert_eq!(asking.ledger.state(third).await, DeliveryState::Open);
    assert_eq!(advanced.calls.iter().flat_map(looked_at).collect::<Vec<_>>(), [third]);
    let record = asking.ledger.record_of(third).await;
    let other = asking.push(&[("k4", "aB1")]).await[0];
    assert_ne!(asking.ledger.record_of(other).await, record, "ids are other ids in other letters");
}

pub async fn a_fetch_that_fails_waits_and_leaves_no_doubt(ledger: Ledger) {
    let mut asking = Asking::new(ledger);
    let fetch = asking.push(&[("k1", "1")]).await[0];
    for _ in 0..2 {
        let call = asking.claim_one().await;
        asking.ledger.calls_max = 0;
        asking.advance(&[broke(&call, failure(Class::Unknown, Scope::Call))]).await;
        asking.ledger.calls_max = 4;
        let record = asking.ledger.record().await;
        assert_eq!((record.state, record.doubt, record.intent), (State::Waiting, None, false));
        asking.ledger.now = asking.ledger.now.max(record.wake_at.unwrap());
    }
    let call = asking.claim_one().await;
    let mut throttled = failure(Class::Throttled, Scope::Destination);
    throttled.retry_after = Some(Duration::from_secs(30));
    let tries = asking.ledger.record().await.tries;
    let advanced = asking.advance(&[broke(&call, throttled)]).await;
    assert_eq!((advanced.destination.state(asking.ledger.now), advanced.calls.len()), ("throttled", 0));
    assert_eq!(asking.ledger.record().await.tries, tries, "being told to wait is no attempt");
    asking.ledger.pass_seconds(31);
    let call = asking.claim_one().await;
    asking.advance(&[each(&call, lead("7", "Bern"))]).await;
    assert_eq!(asking.ledger.ending(fetch).await, APPLIED);
}

pub async fn an_object_that_is_gone_is_a_dead_letter_and_its_replay_fetches_anew(ledger: Ledger) {
    let asking = Asking::new(ledger);
    let fetch = asking.push(&[("k1", "1")]).await[0];
    let call = asking.claim_one().await;
    asking.advance(&[each(&call, gone("lead"))]).await;
    let letter = asking.ledger.dead_letter(fetch).await;
    assert_eq!(
        (letter.reason, letter.destination.as_deref(), letter.owner.as_deref()),
        (Reason::RecordNotFound, Some(ASKED), Some("sales"))
    );
    assert!(asking.advance(&[]).await.calls.is_empty(), "and no loop");
    let replay = Reopen { delivery: fetch, event: None, edited: None };
    let (result, woken) = asking.ledger.store.reopen(asking.ledger.now, "ada", "it was restored", &replay).await.unwrap();
    assert_eq!((result, woken[0].destination.as_str()), (Reopened::Reopened { delivery: fetch, generation: 2 }, ASKED));
    let call = asking.claim_one().await;
    asking.advance(&[each(&call, lead("7", "Bern"))]).await;
    assert_eq!((asking.ledger.ending(fetch).await, asking.onward(fetch).await.len()), (APPLIED, 2));
}

pub async fn an_object_that_lacks_what_is_required_is_a_dead_letter_with_what_could_be_read(ledger: Ledger) {
    let asking = Asking::new(ledger);
    let fetch = asking.push(&[("k1", "1")]).await[0];
    let call = asking.claim_one().await;
    let torn = Ok(Found::Fetched(json!({ "city": "Bern" })));
    let advanced = asking.advance(&[each(&call, torn)]).await;
    assert_eq!(advanced.ended.iter().map(|ended| ended.dead).collect::<Vec<_>>(), [Some(Reason::SchemaMismatch)]);
    let letter = asking.ledger.dead_letter(fetch).await;
    assert!(letter.message.contains("`external_id`"), "{}", letter.message);
    let event = asking.event(fetch).await;
    assert_eq!((&event.attributes["city"], event.fetch.map(|fetch| fetch.id)), (&json!("Bern"), Some("1".to_owned())));
    assert!(asking.onward(fetch).await.is_empty());
}

pub async fn an_object_without_a_mapping_is_a_dead_letter(ledger: Ledger) {
    let mut asking = Asking::new(ledger);
    let fetch = asking.push(&[("k1", "1")]).await[0];
    let plain = "signature = { algorithm = 'hmac-sha256', header = 'x', signed = '{body}' }\nunmatched = 'ignore'";
    asking.source = Source::compile("demo", &toml::from_str(plain).unwrap()).unwrap();
    assert!(asking.advance(&[]).await.calls.is_empty());
    assert_eq!(asking.ledger.dead_letter(fetch).await.reason, Reason::Unmapped);
}

pub async fn a_replay_with_todays_mapping_fetches_anew_and_serves_what_was_dead(ledger: Ledger) {
    let asking = Asking::new(ledger);
    let fetch = asking.push(&[("k1", "1")]).await[0];
    let call = asking.claim_one().await;
    asking.advance(&[each(&call, lead("7", "Bern"))]).await;
    let other = Ledger { destination: "other", ..asking.ledger.clone() };
    other.settle(&[each(&other.claim_one().await, Err(failure(Class::Permanent, Scope::Record)))]).await;
    let before = asking.onward(fetch).await;
    let dead = before.iter().find(|(_, destination, _)| destination == "other").unwrap().0;
    let event = asking.pushed(&json!({ "type": "x", "id": "k1", "object": "1" }), Some(fetch.event()));
    let replay = Reopen { delivery: dead, event: Some(event), edited: None };
    let (result, _) = asking.ledger.store.reopen(asking.ledger.now, "ada", "mapped better", &replay).await.unwrap();
    let Reopened::Replaced { by } = result else { panic!("{result:?}") };
    let again = asking.event(fetch).await;
    assert!(again.identity.contact_external_id.is_some() && again.fetch.is_some(), "whole for what is still on its way: {again:?}");
    let write = asking.ledger.claim_one().await;
    assert_eq!(patch(&write), pairs(&[("City", "Bern"), ("Company", "Example")]));
    let call = asking.claim_one().await;
    assert_eq!(looked_at(&call), by);
    asking.advance(&[each(&call, lead("7", "Rome"))]).await;
    let after = asking.onward(fetch).await;
    assert_eq!(after.len(), 3, "one more, for the one that was dead: {after:?}");
    let (_, destination, state) = after.last().unwrap();
    assert_eq!((destination.as_str(), *state), ("other", DeliveryState::Open));
    let write = other.claim_one().await;
    assert_eq!(patch(&write), pairs(&[("City", "Rome")]), "the push says nothing of a company any more");
}
