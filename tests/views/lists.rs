//! Events and dead letters as they are listed.

use std::collections::BTreeMap;

use model::{Class, DeliveryId, EventId, RawEventId, Reason};
use store::{DeadLetterFilter, EventFilter, Status};

use crate::world::{ADA, Told, World, at, refused, steps, unmapped, wrote};

fn letters(limit: u32) -> DeadLetterFilter {
    DeadLetterFilter { limit, ..DeadLetterFilter::default() }
}

pub async fn dead_letters_are_listed_by_what_is_asked_of_them_page_by_page(world: World) {
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

pub async fn events_are_listed_newest_first_with_their_deliveries(world: World) {
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

pub async fn what_has_been_open_for_long_is_listed_oldest_first(world: World) {
    let mut ids = Vec::new();
    for n in 0..3u64 {
        let id = format!("id-{n}");
        ids.push(world.accept(at(n * 100), Told { id: &id, ..ADA }).await.id.delivery(1));
    }
    let of = async |before: u64, limit: u32| {
        let rows = world.store.open_since(at(before), limit).await.unwrap();
        rows.into_iter().map(|row| row.delivery).collect::<Vec<_>>()
    };
    assert_eq!(of(200, 10).await, ids[..2]);
    assert_eq!(of(999, 1).await, ids[..1]);
    let row = world.store.open_since(at(1), 10).await.unwrap().remove(0);
    assert_eq!((row.destination.as_str(), row.object.as_str(), row.owner.as_deref()), ("crm", "Lead", Some("sales")));
    assert_eq!((row.source.as_str(), row.event_type.as_str(), row.received_at), ("demo", "lead.created", at(0)));
    world.work(at(300), &wrote).await;
    assert_eq!(of(999, 10).await, []);
}
