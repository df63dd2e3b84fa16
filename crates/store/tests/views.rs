//! What people look at, after a little story on a real ledger file.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::destination::Policy;
use model::event::{Audit, Mode};
use model::protocol::{Found, Present, Written};
use model::route::{ObjectDef, ObjectPlan, RouteDef, Routes};
use model::{Class, DeliveryId, Event, EventId, Failure, Identifier, Identity, RawEventId, Reason, RejectedId, ReplayId, Scope, Time};
use onceward_store::*;
use serde_json::{Value, json};

const START: Time = Time::from_seconds(1_800_000_000);

fn at(seconds: u64) -> Time {
    START + Duration::from_secs(seconds)
}

struct World {
    store: Store,
    routes: Routes,
    policy: Policy,
    dir: tempfile::TempDir,
}

/// An event about a person, as a test says it.
#[derive(Clone, Copy)]
struct Told<'a> {
    source: &'a str,
    id: &'a str,
    person: &'a str,
    email: &'a str,
    company: &'a str,
    correlation: Option<&'a str>,
}

const ADA: Told<'_> =
    Told { source: "demo", id: "id-1", person: "1", email: "Ada@example.com", company: "Engines", correlation: Some("corr-1") };

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite:{}", dir.path().join("onceward.db").display())).await.unwrap();
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
        Self { store, routes, policy: Policy::default(), dir }
    }

    /// The request that a test tells of, and what it becomes.
    fn intake(&self, now: Time, told: Told<'_>, fate: Option<Fate>) -> Intake {
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
            mapping_version: "v1".into(),
            audit: Audit {
                received_at: now,
                raw_event_ref: raw.to_string(),
                normalized_event_ref: id.to_string(),
                correlation_id: correlation_id.clone(),
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
        Intake { raw, events: vec![new] }
    }

    async fn accept(&self, now: Time, told: Told<'_>) -> AnsweredEvent {
        self.accept_as(now, told, None).await
    }

    async fn accept_as(&self, now: Time, told: Told<'_>, fate: Option<Fate>) -> AnsweredEvent {
        let mut committed = self.store.accept(now, &[self.intake(now, told, fate)]).await.unwrap();
        committed.answers.remove(0).remove(0)
    }

    async fn advance(&self, now: Time, finished: &[Finished], calls_max: u32) -> Advanced {
        let equal = |_: &str, one: &Value, other: &Value| one == other;
        let work = Work {
            destination: "crm",
            policy: &self.policy,
            routes: &self.routes,
            holder: "worker-1",
            group_limit: 200,
            calls_max,
            equal: &equal,
        };
        self.store.advance(now, &work, finished, &mut || 0.5).await.unwrap()
    }

    /// Does what is due until nothing is, with the same answer to each write. Returns the calls' steps.
    async fn work(&self, now: Time, answer: &dyn Fn() -> Result<Found, Failure>) -> Vec<&'static str> {
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
                finished.push(Finished { call, duration: Duration::from_millis(12), http_status: Some(200), result });
            }
        }
    }

    async fn trace(&self, x: &str) -> Trace {
        self.store.trace(at(3_600), x).await.unwrap()
    }
}

fn wrote() -> Result<Found, Failure> {
    Ok(Found::Wrote(Written { crm_id: Some("00QAb00000C1xYzMAJ".into()), created: Some(true) }))
}

fn refused() -> Result<Found, Failure> {
    Err(Failure::new(Class::Permanent, Scope::Record, "REQUIRED_FIELD_MISSING", "Company is missing"))
}

fn steps(trace: &Trace) -> Vec<&str> {
    trace.steps.iter().map(|step| step.step.as_str()).collect()
}

/// New, sent again, sent with other content, written; another event of the same person refused, replayed and written.
async fn story(world: &World) -> (AnsweredEvent, AnsweredEvent, AnsweredEvent) {
    let first = world.accept(at(0), ADA).await;
    let again = world.accept(at(1), Told { correlation: None, ..ADA }).await;
    assert_eq!((again.id, again.status), (first.id, Disposition::Duplicate));
    let conflict = world.accept(at(2), Told { company: "Other", correlation: None, ..ADA }).await;
    assert_eq!(conflict.reason, Some(Reason::KeyConflict));
    assert_eq!(world.work(at(3), &wrote).await, ["adopt", "push"]);
    let second = world.accept(at(10), Told { id: "id-2", company: "Looms", correlation: None, ..ADA }).await;
    assert_eq!(world.work(at(11), &refused).await, ["push"]);
    let reopen = Reopen { delivery: second.id.delivery(1), event: None, edited: None };
    let (reopened, _) = world.store.reopen(at(20), "ann", "the field is optional now", &reopen).await.unwrap();
    assert!(matches!(reopened, Reopened::Reopened { generation: 2, .. }), "{reopened:?}");
    assert_eq!(world.work(at(21), &wrote).await, ["push"]);
    (first, conflict, second)
}

#[tokio::test]
async fn a_trace_tells_everything_that_happened_to_a_person_in_order() {
    let world = World::new().await;
    let (first, _, second) = story(&world).await;
    let trace = world.trace("ada@EXAMPLE.com").await;
    assert_eq!(trace.found_as, ["identifier"]);
    assert!(!trace.truncated);
    let told = [
        "received",
        "accepted",
        "duplicate",
        "received",
        "accepted",
        "dead_letter",
        "claimed",
        "read",
        "claimed",
        "written",
        "settled",
        "received",
        "accepted",
        "claimed",
        "failed",
        "dead_letter",
        "replayed",
        "claimed",
        "written",
        "settled",
    ];
    assert_eq!(steps(&trace), told, "{:#?}", trace.steps);
    assert!(trace.steps.is_sorted_by_key(|step| step.at));
    let details: Vec<&str> = trace.steps.iter().map(|step| step.detail.as_str()).collect();
    let has = |part: &str| assert!(details.iter().any(|detail| detail.contains(part)), "{part}: {details:#?}");
    has("lead.created under the key demo|lead.created|id-1, mapped by v1; it goes to Lead of crm (upsert)");
    has("Lead demo:1 of crm was leased by worker-1 to be written (Company, Email)");
    has("permanent, REQUIRED_FIELD_MISSING: Company is missing");
    has("by ann: the field is optional now");
    has("failed, and was opened again later");
    assert!(!details.iter().any(|detail| detail.contains("Engines") || detail.contains("example.com")), "values stay where the record is");
    let written = trace.steps.iter().find(|step| step.step == "written").unwrap();
    assert_eq!((written.duration_ms, written.http_status, written.call.is_some()), (Some(12), Some(200), true));
    let [record] = trace.records.as_slice() else { panic!("{:?}", trace.records) };
    assert_eq!((record.key.as_str(), record.state.as_str()), ("demo:1", "clean"));
    assert_eq!(record.crm_record_id.as_deref(), Some("00QAb00000C1xYzMAJ"));
    let company = &record.fields["Company"];
    assert_eq!(company["value"], "Looms");
    assert_eq!((&company["trust"], &company["key"]), (&json!(60), &json!("demo|lead.created|id-2")));
    assert_eq!(company["occurred_at"], json!(at(10).0));
    let events: Vec<EventId> = trace.events.iter().map(|event| event.id).collect();
    assert!(events.contains(&first.id) && events.contains(&second.id));
}

#[tokio::test]
async fn any_name_of_a_thing_finds_it() {
    let world = World::new().await;
    let (first, conflict, second) = story(&world).await;
    let whole = world.trace("demo:1").await;
    let (record, call) = (whole.records[0].id, whole.steps.iter().find_map(|step| step.call).unwrap());
    let raw = whole.events[0].raw_event;
    let both = [first.id, conflict.id];
    let all = [first.id, conflict.id, second.id];
    let asked: [(&str, &[&str], &[EventId]); 16] = [
        ("demo|lead.created|id-1", &["idempotency_key"], &both),
        ("id-1", &["source_event_id"], &both),
        ("demo:id-2", &["source_event_id"], &[second.id]),
        ("demo:1", &["identifier", "record_key"], &all),
        ("1", &["identifier"], &all),
        ("email:ada@example.com", &["identifier"], &[first.id, second.id]),
        ("+1 (415) 555-0100", &["identifier"], &all),
        ("00qab00000c1xyzmaj", &["crm_record_id"], &[first.id, second.id]),
        ("corr-1", &["correlation_id"], &[first.id]),
        (&raw.to_string(), &["raw_event"], &[first.id]),
        (&first.id.to_string(), &["event"], &[first.id]),
        (&second.id.delivery(1).to_string(), &["delivery"], &[second.id]),
        (&record.to_string(), &["record"], &[first.id, second.id]),
        (&call.to_string(), &["call"], &[first.id, second.id]),
        (&conflict.idempotency_key, &["idempotency_key"], &[conflict.id]),
        ("nobody@example.com", &[], &[]),
    ];
    for (x, words, events) in asked {
        let trace = world.trace(&format!(" {x} ")).await;
        assert_eq!(trace.found_as, words, "{x}");
        assert_eq!(trace.events.iter().map(|event| event.id).collect::<Vec<_>>(), events, "{x}");
        assert_eq!(trace.steps.is_empty(), events.is_empty(), "{x}");
    }
    for x in ["", &"x".repeat(2_000), "evt_zzzzzzzzzzzzz", "dlv_0000000000000", "%", "'", "\"", "\0"] {
        assert!(world.trace(x).await.events.is_empty(), "{x}");
    }
}

#[tokio::test]
async fn an_event_is_traced_with_the_calls_of_its_own_time_only() {
    let world = World::new().await;
    let (first, _, _) = story(&world).await;
    let trace = world.trace(&first.id.to_string()).await;
    assert_eq!(steps(&trace), ["received", "accepted", "duplicate", "claimed", "read", "claimed", "written", "settled"]);
    assert_eq!(trace.records.len(), 1);
}

#[tokio::test]
async fn a_call_that_nobody_heard_of_again_is_in_the_trace() {
    let world = World::new().await;
    let first = world.accept(at(0), ADA).await;
    assert_eq!(world.advance(at(1), &[], 4).await.calls.len(), 1);
    let claimed = world.trace(&first.id.to_string()).await;
    assert!(claimed.steps.last().unwrap().detail.ends_with("; it is under way"), "{:?}", claimed.steps);
    assert_eq!(claimed.events[0].deliveries[0].status, Status::Processing);
    assert_eq!(world.work(at(600), &wrote).await, ["adopt", "push"]);
    let trace = world.trace(&first.id.to_string()).await;
    assert_eq!(steps(&trace), ["received", "accepted", "claimed", "claimed", "read", "claimed", "written", "settled"]);
    assert!(trace.steps[2].detail.ends_with("; nothing was heard of it again"), "{:?}", trace.steps);
}

#[tokio::test]
async fn an_open_delivery_shows_what_its_record_is_at() {
    let world = World::new().await;
    let id = world.accept(at(0), ADA).await.id;
    let status = async || world.store.event(at(9), id).await.unwrap().unwrap().0.deliveries[0].status;
    assert_eq!(status().await, Status::Received);
    let calls = world.advance(at(1), &[], 4).await.calls;
    assert_eq!(status().await, Status::Processing);
    let finish = |mut calls: Vec<Call>, result: Result<Found, Failure>| {
        let call = calls.remove(0);
        [Finished { call, duration: Duration::ZERO, http_status: Some(200), result: Ok(vec![result]) }]
    };
    world.advance(at(2), &finish(calls, Ok(Found::Held(None))), 0).await;
    assert_eq!(status().await, Status::Queued);
    let mut retries = 0;
    while status().await != Status::Retrying {
        let calls = world.advance(at(3), &[], 4).await.calls;
        let busy = Failure::new(Class::Retryable, Scope::Record, "UNABLE_TO_LOCK_ROW", "locked");
        world.advance(at(3), &finish(calls, Err(busy)), 0).await;
        retries += 1;
        assert!(retries < 10, "it never waited");
    }
    let gauges = world.store.destinations(at(4)).await.unwrap();
    assert_eq!((gauges[0].open, gauges[0].retrying, gauges[0].verifying), (1, 1, 0));
    assert_eq!(world.store.counts(at(0)).await.unwrap(), BTreeMap::from([("retrying".to_owned(), 1)]));
    let row = world.store.event(at(9), id).await.unwrap().unwrap().0;
    assert_eq!(row.deliveries[0].wake_at, Some(at(3)), "the second attempt waits for nothing");
    world.work(at(100), &wrote).await;
    assert_eq!(status().await, Status::Succeeded);
}

fn letters(limit: u32) -> DeadLetterFilter {
    DeadLetterFilter { limit, ..DeadLetterFilter::default() }
}

fn unmapped() -> Option<Fate> {
    Some(Fate::DeadLetter { reason: Reason::Unmapped, message: "no entry fits".into(), owner: None })
}

#[tokio::test]
async fn dead_letters_are_listed_by_what_is_asked_of_them_page_by_page() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for (n, fate) in [None, unmapped(), None, unmapped()].into_iter().enumerate() {
        let (id, person) = (format!("id-{n}"), format!("p{n}"));
        let email = format!("{person}@example.com");
        let told = Told { id: &id, person: &person, email: &email, source: if n == 3 { "typeform" } else { "demo" }, ..ADA };
        ids.push(world.accept_as(at(n as u64), told, fate).await.id.delivery(1));
    }
    world.work(at(60), &refused).await;
    let newest: Vec<DeliveryId> = ids.iter().rev().copied().collect();
    let of = async |filter: DeadLetterFilter| {
        let rows = world.store.dead_letters(&filter).await.unwrap();
        let all = DeadLetterFilter { after: None, ..filter };
        assert!(world.store.count_dead_letters(&all).await.unwrap() >= rows.len() as u64);
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(of(letters(10)).await, newest);
    assert_eq!(of(letters(2)).await, newest[..2]);
    assert_eq!(of(DeadLetterFilter { after: Some(newest[1]), ..letters(2) }).await, newest[2..]);
    assert_eq!(of(DeadLetterFilter { id: Some(ids[2]), ..letters(10) }).await, [ids[2]]);
    assert_eq!(of(DeadLetterFilter { id: Some(ids[2]), after: Some(ids[2]), ..letters(10) }).await, []);
    assert_eq!(of(DeadLetterFilter { destination: Some("crm".into()), ..letters(10) }).await, [ids[2], ids[0]]);
    assert_eq!(of(DeadLetterFilter { destination: Some(String::new()), ..letters(10) }).await, [ids[3], ids[1]]);
    assert_eq!(of(DeadLetterFilter { destination: Some("nowhere".into()), ..letters(10) }).await, []);
    assert_eq!(of(DeadLetterFilter { source: Some("typeform".into()), ..letters(10) }).await, [ids[3]]);
    assert_eq!(of(DeadLetterFilter { reason: Some(Reason::RejectedByCrm), ..letters(10) }).await, [ids[2], ids[0]]);
    assert_eq!(of(DeadLetterFilter { owner: Some("sales".into()), ..letters(10) }).await, [ids[2], ids[0]]);
    assert_eq!(of(DeadLetterFilter { event_type: Some("lead.created".into()), ..letters(10) }).await, newest);
    assert_eq!(of(DeadLetterFilter { event_type: Some("lead.deleted".into()), ..letters(10) }).await, []);
    assert_eq!(of(DeadLetterFilter { since: Some(at(3)), ..letters(10) }).await, [ids[3], ids[2], ids[0]]);
    assert_eq!(of(DeadLetterFilter { until: Some(at(3)), ..letters(10) }).await, [ids[1]]);
    assert_eq!(world.store.count_dead_letters(&letters(1)).await.unwrap(), 4);
    let row = world.store.dead_letters(&DeadLetterFilter { id: Some(ids[0]), ..letters(1) }).await.unwrap().remove(0);
    assert_eq!((row.status, row.class, row.attempts), (Status::Failed, Some(Class::Permanent), 1));
    assert_eq!((row.owner.as_deref(), row.destination.as_deref(), row.object.as_deref()), (Some("sales"), Some("crm"), Some("Lead")));
    assert_eq!((row.first_received_at, row.failed_at, row.last_attempt_at), (at(0), at(60), Some(at(60))));
    assert_eq!(
        (row.idempotency_key.as_str(), row.message.as_str()),
        ("demo|lead.created|id-0", "REQUIRED_FIELD_MISSING: Company is missing")
    );
    let reasons = world.store.dead_letter_reasons().await.unwrap();
    assert_eq!(reasons, BTreeMap::from([(Reason::Unmapped, 2), (Reason::RejectedByCrm, 2)]));
    // A person whose event was never routed is in no index of records.
    let trace = world.trace("P1@example.com").await;
    assert_eq!(trace.found_as, ["identifier"]);
    assert_eq!(steps(&trace), ["received", "accepted", "dead_letter"]);
    assert_eq!(world.trace("1@example.com").await.events.len(), 0, "a part of an address is nobody");
}

#[tokio::test]
async fn events_are_listed_newest_first_with_their_deliveries() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for n in 0..5u64 {
        let (id, source) = (format!("id-{n}"), if n % 2 == 0 { "demo" } else { "typeform" });
        ids.push(world.accept(at(n * 100), Told { id: &id, source, ..ADA }).await.id);
    }
    ids.reverse();
    let of = async |filter: EventFilter| {
        let rows = world.store.events(at(999), &filter).await.unwrap();
        assert!(rows.iter().all(|row| row.deliveries.len() == 1 && row.deliveries[0].event == row.id));
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let any = EventFilter { limit: 100, ..EventFilter::default() };
    assert_eq!(of(any.clone()).await, ids);
    assert_eq!(of(EventFilter { limit: 2, after: Some(ids[1]), ..any.clone() }).await, ids[2..4]);
    assert_eq!(of(EventFilter { limit: 0, ..any.clone() }).await, ids[..1]);
    assert_eq!(of(EventFilter { source: Some("typeform".into()), ..any.clone() }).await, [ids[1], ids[3]]);
    assert_eq!(of(EventFilter { event_type: Some("none".into()), ..any.clone() }).await, []);
    assert_eq!(of(EventFilter { since: Some(at(100)), until: Some(at(300)), ..any }).await, ids[2..4]);
    let (row, normalized, mapping) = world.store.event(at(999), ids[4]).await.unwrap().unwrap();
    assert_eq!((row.source.as_str(), row.correlation_id.as_str(), row.trust), ("demo", "corr-1", 60));
    assert_eq!(normalized["identity"]["email"], "Ada@example.com");
    assert_eq!(mapping.as_deref(), Some("the mapping's text"));
    let raw = world.store.raw_event(row.raw_event).await.unwrap().unwrap();
    assert_eq!((raw.disposition.as_str(), raw.sealed.as_slice(), raw.key_id), ("accepted", [1, 2, 3].as_slice(), 3));
    assert_eq!((raw.events, raw.received_at, raw.body_sha256), (vec![row.id], at(0), vec![7; 32]));
    assert!(world.store.event(at(999), EventId(1)).await.unwrap().is_none());
    assert!(world.store.raw_event(RawEventId(1)).await.unwrap().is_none());
}

#[tokio::test]
async fn gauges_know_queues_sources_and_destinations() {
    let world = World::new().await;
    let empty = world.store.gauges(at(0)).await.unwrap();
    assert_eq!(empty.queue, [("crm".to_owned(), 0, None)]);
    assert_eq!((empty.destinations, empty.sources), (vec![("crm".to_owned(), "active".to_owned())], vec![]));
    world.accept(at(5), ADA).await;
    world.accept(at(6), Told { id: "id-2", ..ADA }).await;
    world.accept_as(at(7), Told { id: "id-3", source: "typeform", ..ADA }, unmapped()).await;
    let gauges = world.store.gauges(at(8)).await.unwrap();
    assert_eq!(gauges.queue, [("crm".to_owned(), 2, Some(at(5)))]);
    assert_eq!(gauges.sources, [("demo".to_owned(), at(6)), ("typeform".to_owned(), at(7))]);
    assert_eq!(gauges.dead_letters, [(String::new(), Reason::Unmapped, 1)]);
    world.accept(at(20), Told { id: "id-4", ..ADA }).await;
    assert_eq!(world.store.gauges(at(21)).await.unwrap().sources[0], ("demo".to_owned(), at(20)));
    let read_only = Store::open_read_only(&format!("sqlite:{}", world.dir.path().join("onceward.db").display())).await.unwrap();
    assert_eq!(read_only.gauges(at(21)).await.unwrap().sources.len(), 2);
    world.work(at(30), &wrote).await;
    assert!(world.store.pause(at(40), "ann", "crm", "maintenance").await.unwrap());
    let [row] = world.store.destinations(at(41)).await.unwrap().try_into().unwrap();
    assert_eq!((row.state.as_str(), row.reason.as_deref(), row.until), ("paused", Some("ann: maintenance"), None));
    assert_eq!((row.open, row.oldest_open, row.last_success_at), (0, None, Some(at(30))));
    let counts = BTreeMap::from([("succeeded".to_owned(), 3), ("quarantined".to_owned(), 1)]);
    assert_eq!(world.store.counts(at(0)).await.unwrap(), counts);
    assert_eq!(world.store.counts(at(19)).await.unwrap(), BTreeMap::from([("succeeded".to_owned(), 1)]));
}

#[tokio::test]
async fn a_replayed_delivery_is_as_old_in_the_queue_as_its_replay() {
    let world = World::new().await;
    let first = world.accept(at(0), ADA).await.id.delivery(1);
    world.work(at(1), &refused).await;
    world.store.reopen(at(5_000), "ann", "why", &Reopen { delivery: first, event: None, edited: None }).await.unwrap();
    world.accept(at(4_000), Told { id: "id-2", ..ADA }).await;
    assert_eq!(world.store.gauges(at(5_001)).await.unwrap().queue, [("crm".to_owned(), 2, Some(at(4_000)))]);
}

#[tokio::test]
async fn rejected_requests_are_kept_within_their_bounds_for_each_source() {
    let world = World::new().await;
    let bounds = RejectedBounds { rows_max: 3, bytes_max: 1_000, age_max: Duration::from_secs(1_000) };
    let keep = async |source: &str, seconds: u64, bytes: usize| {
        let id = RejectedId(world.store.next_id(at(seconds)));
        let rejected = NewRejected {
            id,
            source: source.into(),
            at: at(seconds),
            reason: "signature_mismatch".into(),
            diagnosis: "signed with none of the secrets".into(),
            body_bytes: bytes as u64,
            body_sha256: [9; 32],
            key_id: 1,
            sealed: vec![5; bytes],
        };
        world.store.keep_rejected(at(seconds), &rejected, bounds).await.unwrap();
        id
    };
    let listed = async |source: Option<&str>| {
        let rows = world.store.rejected(source, 100).await.unwrap();
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let other = keep("typeform", 0, 10).await;
    let mut ids = Vec::new();
    for n in 1..=5 {
        ids.push(keep("demo", n, 100).await);
    }
    assert_eq!(listed(Some("demo")).await, [ids[4], ids[3], ids[2]]);
    let large = keep("demo", 6, 850).await;
    assert_eq!(listed(Some("demo")).await, [large, ids[4]], "bytes count too");
    let late = keep("demo", 1_006, 1).await;
    assert_eq!(listed(None).await, [late, large, other], "so does age, of its own source");
    let whole = world.store.rejected_one(large).await.unwrap().unwrap();
    assert_eq!((whole.sealed.len(), whole.body_sha256, whole.source.as_str(), whole.at), (850, [9; 32], "demo", at(6)));
    assert!(world.store.rejected_one(ids[0]).await.unwrap().is_none());
    assert!(world.store.source_existed("demo").await.unwrap());
    assert!(!world.store.source_existed("crm").await.unwrap(), "a destination is no source");
}

#[tokio::test]
async fn a_bulk_replay_can_be_followed_and_found_again_after_a_stop() {
    let world = World::new().await;
    let id = ReplayId(world.store.next_id(at(0)));
    let filter = json!({ "where": { "reason": "unmapped" }, "mapping": "current" });
    world.store.begin_replay(at(0), id, "ann", "mapped now", &filter, 12).await.unwrap();
    world.store.note_replay(id, 5, 1, None).await.unwrap();
    let row = world.store.replay(id).await.unwrap().unwrap();
    assert_eq!((row.matched, row.reopened, row.refused, row.finished_at, row.filter), (12, 5, 1, None, filter));
    assert_eq!(world.store.unfinished_replays().await.unwrap().len(), 1);
    world.store.note_replay(id, 11, 1, Some(at(9))).await.unwrap();
    assert_eq!(world.store.replay(id).await.unwrap().unwrap().finished_at, Some(at(9)));
    assert!(world.store.unfinished_replays().await.unwrap().is_empty());
    assert!(world.store.replay(ReplayId(1)).await.unwrap().is_none());
}

#[tokio::test]
async fn the_audit_trail_reads_newest_first_and_its_hashes_hold() {
    let world = World::new().await;
    for n in 0..5 {
        world.store.audit(at(n), "ann", "raw_event_read", "raw_1", &json!({ "n": n })).await.unwrap();
    }
    let rows = world.store.audit_rows(None, 3).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [5, 4, 3]);
    let rest = world.store.audit_rows(Some(3), 100).await.unwrap();
    assert_eq!(rest.iter().map(|row| row.seq).collect::<Vec<_>>(), [2, 1]);
    let mut before = Vec::new();
    for row in rest.iter().rev().chain(rows.iter().rev()) {
        before = audit_hash(&before, row.seq, row.at, [&row.actor, &row.action, &row.subject], &row.detail.to_string());
        assert_eq!(hex::encode(&before), row.hash);
    }
}

#[tokio::test]
async fn retention_drops_what_is_old_and_never_what_is_on_its_way() {
    let world = World::new().await;
    let day = |days: u64| at(days * 86_400);
    let done = world.accept(day(0), ADA).await.id;
    world.accept(day(0), Told { correlation: None, ..ADA }).await;
    world.work(day(0), &wrote).await;
    let dead = world.accept_as(day(0), Told { id: "id-2", ..ADA }, unmapped()).await.id;
    let open = world.accept(day(0), Told { id: "id-3", company: "Looms", ..ADA }).await.id;
    let young = world.accept(day(50), Told { id: "id-4", company: "Looms", ..ADA }).await.id;
    let raw_of = async |id: EventId| {
        let (row, _, _) = world.store.event(day(0), id).await.unwrap()?;
        world.store.raw_event(row.raw_event).await.unwrap()
    };
    let retain = async |now: u64| {
        let mut sum = Retained::default();
        loop {
            let ago = |days: u64| day(now.saturating_sub(days));
            let step = world.store.retain(day(now), ago(30), ago(90), ago(400), 2).await.unwrap();
            sum.raw_events += step.raw_events;
            sum.payloads += step.payloads;
            sum.calls += step.calls;
            sum.events += step.events;
            if !step.more {
                return sum;
            }
        }
    };
    assert_eq!(retain(20).await, Retained::default());
    assert_eq!(retain(40).await, Retained { raw_events: 3, ..Retained::default() }, "done, its duplicate and dead");
    assert!(raw_of(done).await.unwrap().sealed.is_empty() && !raw_of(open).await.unwrap().sealed.is_empty());
    assert_eq!(retain(40).await, Retained::default(), "once is enough");
    assert_eq!(retain(100).await, Retained { raw_events: 0, payloads: 2, calls: 2, ..Retained::default() });
    assert_eq!(world.store.event(day(0), done).await.unwrap().unwrap().1, json!({}));
    assert_eq!(world.store.event(day(0), open).await.unwrap().unwrap().1["event_id"], "demo:id-3");
    let again = Reopen { delivery: dead.delivery(1), event: None, edited: None };
    let refusal = world.store.reopen(day(100), "ann", "why", &again).await.unwrap_err();
    assert!(matches!(&refusal, Error::Refused(what) if what.contains("retention")), "{refusal}");
    assert_eq!(retain(500).await, Retained { raw_events: 0, payloads: 0, events: 1, ..Retained::default() });
    assert!(world.store.event(day(0), done).await.unwrap().is_none());
    assert!(world.store.event(day(0), dead).await.unwrap().is_some(), "a dead letter stays on its list");
    assert_eq!(world.trace(&done.delivery(1).to_string()).await.found_as, Vec::<String>::new());
    // Its key is gone with it: the same request is new, and harmless, because the record knows what the CRM holds.
    assert_eq!(world.accept(day(500), ADA).await.status, Disposition::Accepted);
    assert!(world.work(day(500), &wrote).await.is_empty());
    let row = |id| world.store.event(day(0), id);
    assert_eq!(row(open).await.unwrap().unwrap().0.deliveries[0].status, Status::Succeeded);
    assert_eq!(row(young).await.unwrap().unwrap().0.deliveries[0].status, Status::Succeeded);
    assert_eq!(retain(502).await, Retained { raw_events: 2, payloads: 2, events: 2, ..Retained::default() }, "the next pass has its turn");
}

#[tokio::test]
async fn a_memory_ledger_keeps_no_views_and_says_so() {
    let store = Store::memory();
    let refusal = store.gauges(at(0)).await.unwrap_err();
    assert_eq!(refusal.to_string(), "the memory ledger keeps no views");
    assert!(!store.source_existed("demo").await.unwrap());
}
