//! What is told of an event or a person.

use std::collections::BTreeMap;
use std::time::Duration;

use model::protocol::Found;
use model::{Class, EventId, Failure, Reason, Scope};
use serde_json::json;
use store::{AnsweredEvent, Call, Disposition, Finished, Reopen, Reopened, Status};

use crate::world::{ADA, Told, World, at, refused, steps, wrote};

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

pub async fn a_trace_tells_everything_that_happened_to_a_person_in_order(world: World) {
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

pub async fn any_name_of_a_thing_finds_it(world: World) {
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

pub async fn an_event_is_traced_with_the_calls_of_its_own_time_only(world: World) {
    let (first, _, _) = story(&world).await;
    let trace = world.trace(&first.id.to_string()).await;
    assert_eq!(steps(&trace), ["received", "accepted", "duplicate", "claimed", "read", "claimed", "written", "settled"]);
    assert_eq!(trace.records.len(), 1);
}

pub async fn a_call_that_nobody_heard_of_again_is_in_the_trace(world: World) {
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

pub async fn an_open_delivery_shows_what_its_record_is_at(world: World) {
    let id = world.accept(at(0), ADA).await.id;
    let status = async || world.store.event(at(9), id).await.unwrap().unwrap().0.deliveries[0].status;
    assert_eq!(status().await, Status::Received);
    let calls = world.advance(at(1), &[], 4).await.calls;
    assert_eq!(status().await, Status::Processing);
    let finish = |mut calls: Vec<Call>, result: Result<Found, Failure>| {
        let call = calls.remove(0);
        [Finished { call, duration: Duration::ZERO, http_status: Some(200), requests: 1, usage: Vec::new(), result: Ok(vec![result]) }]
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
