//! What people may do to a ledger, and what it keeps of that.

use model::intake::NewEvent;
use model::{Class, DeliveryId, RawEventId, Reason, Scope};
use store::rows::{DeliveryState, RawDisposition};
use store::{NewRawEvent, Reopen, Reopened, Status};

use crate::support::{Crm, Draft, Ledger, each, failure, lead, pairs, patch, wrote};

const APPLIED: (DeliveryState, &str) = (DeliveryState::Succeeded, "applied");

fn as_it_was(delivery: DeliveryId) -> Reopen {
    Reopen { delivery, event: None, edited: None }
}

fn anew(ledger: &Ledger, delivery: DeliveryId, draft: Draft) -> Reopen {
    let event: NewEvent = draft.event(&ledger.store, &ledger.routes, ledger.now);
    Reopen { delivery, event: Some(event), edited: None }
}

async fn reopen(ledger: &Ledger, replay: &Reopen) -> Reopened {
    ledger.store.reopen(ledger.now, "ada", "fixed the field", replay).await.unwrap().0
}

/// A delivery that the CRM refused.
async fn refused(ledger: &Ledger, draft: Draft) -> DeliveryId {
    let id = ledger.deliver(draft).await;
    ledger.settle(&[each(&ledger.claim_one().await, Err(failure(Class::Permanent, Scope::Record)))]).await;
    assert_eq!(ledger.state(id).await, DeliveryState::Failed);
    id
}

pub async fn a_replay_opens_the_same_delivery_under_the_same_key(mut ledger: Ledger) {
    let id = refused(&ledger, lead("k1", "1").says("city", "Bern")).await;
    let before = ledger.look().await;
    ledger.pass_seconds(60);
    let (result, woken) = ledger.store.reopen(ledger.now, "ada", "fixed the field", &as_it_was(id)).await.unwrap();
    assert_eq!(result, Reopened::Reopened { delivery: id, generation: 2 });
    assert_eq!(
        woken.iter().map(|wakeup| (wakeup.destination.as_str(), wakeup.records.clone())).collect::<Vec<_>>(),
        [("crm", vec![ledger.record_of(id).await])]
    );
    let after = ledger.look().await;
    assert_eq!(format!("{:?}", before.events), format!("{:?}", after.events), "the same event, key, id and stamp");
    let delivery = ledger.delivery(id).await;
    assert_eq!((delivery.state, delivery.generation, delivery.wake_at, delivery.call), (DeliveryState::Open, 2, Some(ledger.now), None));
    assert!(after.dead_letters.is_empty());
    let call = ledger.claim_one().await;
    assert_eq!((patch(&call), call.entries[0].key.as_str()), (pairs(&[("City", "Bern")]), "1"));
    ledger.settle(&[each(&call, wrote("003"))]).await;
    assert_eq!(ledger.ending(id).await, APPLIED);
    let (_, at, words, detail, _) = after.audit.last().unwrap();
    assert_eq!((*at, words.each_ref().map(String::as_str)), (ledger.now, ["ada", "replay", &id.to_string()]));
    assert!(detail.contains("fixed the field"), "{detail}");
}

pub async fn what_is_in_flight_or_ended_well_is_not_opened(ledger: Ledger) {
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    assert!(matches!(reopen(&ledger, &as_it_was(id)).await, Reopened::InFlight { .. }));
    let call = ledger.claim_one().await;
    assert!(matches!(reopen(&ledger, &as_it_was(id)).await, Reopened::InFlight { .. }));
    ledger.settle(&[each(&call, wrote("003"))]).await;
    assert_eq!(reopen(&ledger, &as_it_was(id)).await, Reopened::InFlight { status: Status::Succeeded });
    assert_eq!(reopen(&ledger, &as_it_was(DeliveryId(id.0 + 7))).await, Reopened::NotFound);
    assert!(ledger.look().await.audit.is_empty(), "what was not done is not audited");
}

pub async fn two_replays_at_once_open_it_once(ledger: Ledger) {
    let id = refused(&ledger, lead("k1", "1").says("city", "Bern")).await;
    let mut people = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let ledger = ledger.clone();
        people.spawn(async move { reopen(&ledger, &as_it_was(id)).await });
    }
    let results = people.join_all().await;
    assert_eq!(results.iter().filter(|result| matches!(result, Reopened::Reopened { generation: 2, .. })).count(), 1, "{results:?}");
    assert_eq!(results.iter().filter(|result| matches!(result, Reopened::InFlight { .. })).count(), 7);
    assert_eq!((ledger.delivery(id).await.generation, ledger.look().await.audit.len()), (2, 1));
}

pub async fn a_replay_with_another_mapping_may_lead_to_another_record(mut ledger: Ledger) {
    let same = refused(&ledger, lead("k1", "1").says("city", "bad")).await;
    let replay = anew(&ledger, same, lead("k1", "1").says("city", "good").mapped_by("2"));
    assert_eq!(reopen(&ledger, &replay).await, Reopened::Reopened { delivery: same, generation: 2 });
    assert_eq!(patch(&ledger.claim_one().await), pairs(&[("City", "good")]));
    let other = refused(&ledger, lead("k2", "2").says("city", "bad")).await;
    let record = ledger.record_of(other).await;
    let replay = anew(&ledger, other, lead("k2", "3").says("city", "good").mapped_by("2"));
    let by = other.event().delivery(2);
    assert_eq!(reopen(&ledger, &replay).await, Reopened::Replaced { by: vec![by] });
    let old = ledger.delivery(other).await;
    assert_eq!((old.state, old.superseded_by), (DeliveryState::Cancelled, Some(by)));
    assert_ne!(ledger.record_of(by).await, record);
    assert_eq!(ledger.look().await.events[&other.event()].key, "k2");
    let mut crm = Crm::default();
    ledger.work_now(&mut crm).await;
    assert_eq!(ledger.ending(by).await, APPLIED);
}

pub async fn a_replay_that_still_cannot_be_mapped_stays_a_dead_letter_for_the_reason_of_today(mut ledger: Ledger) {
    let id = refused(&ledger, lead("k1", "1")).await;
    ledger.pass_seconds(9);
    let replay = anew(&ledger, id, lead("k1", "1").dead(Reason::Unmapped));
    assert!(matches!(reopen(&ledger, &replay).await, Reopened::StillDead { reason: Reason::Unmapped, .. }));
    let dead = ledger.dead_letter(id).await;
    assert_eq!((dead.reason, dead.failed_at, dead.owner.as_deref()), (Reason::Unmapped, ledger.now, Some("sales")));
    assert_eq!(ledger.state(id).await, DeliveryState::Quarantined, "its state is its reason's");
    // Nobody is found any more.
    let replay = anew(&ledger, id, lead("k1", "1").anonymous());
    assert!(matches!(reopen(&ledger, &replay).await, Reopened::StillDead { reason: Reason::MissingIdentity, .. }));
    assert_eq!(ledger.delivery(id).await.generation, 1);
    assert_eq!(ledger.look().await.audit.len(), 2);
}

pub async fn a_replay_of_what_was_never_routed_makes_its_deliveries(mut ledger: Ledger) {
    let answered = ledger.accept(&[lead("k1", "1").dead(Reason::Unmapped)]).await;
    let old = answered[0].id.delivery(1);
    assert!(matches!(reopen(&ledger, &as_it_was(old)).await, Reopened::StillDead { reason: Reason::Unrouted, .. }));
    let replay = anew(&ledger, old, lead("k1", "1").says("city", "Bern").and_to("other", "Contact"));
    let by = vec![answered[0].id.delivery(2), answered[0].id.delivery(3)];
    let (result, woken) = ledger.store.reopen(ledger.now, "ada", "mapped", &replay).await.unwrap();
    assert_eq!((result, woken.len()), (Reopened::Replaced { by: by.clone() }, 2));
    let mut crm = Crm::default();
    ledger.work_now(&mut crm).await;
    assert_eq!((ledger.ending(by[0]).await, ledger.state(old).await), (APPLIED, DeliveryState::Cancelled));
    assert_eq!(ledger.accept(&[lead("k1", "1").dead(Reason::Unmapped)]).await[0].id, answered[0].id);
}

pub async fn a_replay_that_finds_nobody_is_a_dead_letter_of_its_source(ledger: Ledger) {
    let answered = ledger.accept(&[lead("k1", "1").from("typeform").dead(Reason::Unmapped)]).await;
    let replay = anew(&ledger, answered[0].id.delivery(1), lead("k1", "1").anonymous());
    let by = answered[0].id.delivery(2);
    assert_eq!(reopen(&ledger, &replay).await, Reopened::Replaced { by: vec![by] });
    let dead = ledger.dead_letter(by).await;
    assert_eq!((dead.reason, dead.source.as_str(), dead.destination.as_deref()), (Reason::MissingIdentity, "typeform", Some("crm")));
}

pub async fn a_replay_to_nowhere_closes_it(ledger: Ledger) {
    let id = refused(&ledger, lead("k1", "1")).await;
    assert_eq!(reopen(&ledger, &anew(&ledger, id, lead("k1", "1").ignored())).await, Reopened::Replaced { by: vec![] });
    assert_eq!((ledger.state(id).await, ledger.look().await.dead_letters.len()), (DeliveryState::Cancelled, 0));
}

pub async fn an_edited_payload_is_kept_beside_the_original(ledger: Ledger) {
    let id = refused(&ledger, lead("k1", "1").says("city", "bad")).await;
    let edited = NewRawEvent {
        id: RawEventId(ledger.store.next_id(ledger.now)),
        source: "demo".into(),
        received_at: ledger.now,
        body_sha256: [8; 32],
        key_id: 1,
        sealed: vec![4],
        correlation_id: "c".into(),
    };
    let raw = edited.id;
    let replay = Reopen { edited: Some(edited), ..anew(&ledger, id, lead("k1", "1").says("city", "good")) };
    assert!(matches!(reopen(&ledger, &replay).await, Reopened::Reopened { .. }));
    let seen = ledger.look().await;
    assert_eq!(
        (seen.raw_events.len(), seen.raw_events[&raw].disposition, &seen.raw_events[&raw].events),
        (2, RawDisposition::Edited, &vec![id.event()])
    );
    assert!(seen.audit[0].3.contains(&raw.to_string()));
}

pub async fn a_replay_of_a_stale_event_undoes_nothing(ledger: Ledger) {
    let old = refused(&ledger, lead("k1", "1").says("city", "Bern").at(1)).await;
    ledger.deliver(lead("k2", "1").says("city", "Rome").at(2)).await;
    ledger.settle(&[each(&ledger.claim_one().await, wrote("003"))]).await;
    reopen(&ledger, &as_it_was(old)).await;
    assert!(ledger.claim().await.is_empty());
    assert_eq!(ledger.ending(old).await, (DeliveryState::Succeeded, "superseded"));
}

pub async fn resolving_closes_a_dead_letter_and_nothing_else(ledger: Ledger) {
    let resolve = async |id| ledger.store.resolve(ledger.now, "ada", id, "done by hand").await.unwrap();
    let id = refused(&ledger, lead("k1", "1").says("city", "Bern")).await;
    assert_eq!(resolve(id).await, Some(Status::Cancelled));
    assert_eq!((ledger.state(id).await, ledger.look().await.dead_letters.len()), (DeliveryState::Cancelled, 0));
    assert_eq!(resolve(id).await, Some(Status::Cancelled));
    assert_eq!(ledger.look().await.audit.len(), 1, "once");
    assert!(matches!(reopen(&ledger, &as_it_was(id)).await, Reopened::InFlight { status: Status::Cancelled }));
    let open = ledger.deliver(lead("k2", "2")).await;
    assert!(resolve(open).await.is_some_and(|status| status != Status::Cancelled));
    assert_eq!(ledger.state(open).await, DeliveryState::Open);
    assert_eq!(resolve(DeliveryId(1)).await, None);
}

pub async fn a_dead_letter_can_be_given_to_somebody(ledger: Ledger) {
    let id = refused(&ledger, lead("k1", "1")).await;
    assert!(ledger.store.assign(ledger.now, "ada", id, "bob", "his form").await.unwrap());
    assert_eq!(ledger.dead_letter(id).await.owner.as_deref(), Some("bob"));
    let open = ledger.deliver(lead("k2", "2")).await;
    let before = format!("{:?}", ledger.delivery(open).await);
    assert!(!ledger.store.assign(ledger.now, "ada", open, "bob", "not dead").await.unwrap());
    assert_eq!(format!("{:?}", ledger.delivery(open).await), before, "refused is not done");
    assert_eq!(ledger.look().await.audit.len(), 1);
}

pub async fn a_destination_is_paused_and_resumed_by_somebody(ledger: Ledger) {
    assert!(!ledger.store.pause(ledger.now, "ada", "demo", "no destination").await.unwrap());
    assert!(ledger.store.pause(ledger.now, "ada", "crm", "maintenance").await.unwrap());
    let held = ledger.look().await.destinations.remove("crm").unwrap();
    assert_eq!((held.state(ledger.now), held.reason.as_deref()), ("paused", Some("ada: maintenance")));
    assert!(ledger.store.resume(ledger.now, "bob", "crm", "done").await.unwrap());
    assert_eq!(ledger.look().await.destinations["crm"].state(ledger.now), "active");
    let deeds: Vec<_> = ledger.look().await.audit.into_iter().map(|(_, _, words, _, _)| words.join(" ")).collect();
    assert_eq!(deeds, ["ada pause crm", "bob resume crm"]);
}

pub async fn every_deed_is_in_a_chain_that_shows_a_changed_row(ledger: Ledger) {
    let id = refused(&ledger, lead("k1", "1")).await;
    reopen(&ledger, &as_it_was(id)).await;
    ledger.store.audit(ledger.now, "ada", "raw_event_read", "raw_1", &serde_json::json!({"why": "x"})).await.unwrap();
    ledger.store.pause(ledger.now, "ada", "crm", "y").await.unwrap();
    let mut seen = ledger.look().await;
    seen.check();
    let chain_holds = |seen: &crate::support::Seen| {
        let mut before = Vec::new();
        seen.audit.iter().all(|(seq, at, words, detail, hash)| {
            let fits = *hash == store::audit_hash(&before, *seq, *at, words.each_ref().map(String::as_str), detail);
            before.clone_from(hash);
            fits
        })
    };
    assert!(seen.audit.len() == 3 && chain_holds(&seen));
    seen.audit[1].2[0] = "eve".into();
    assert!(!chain_holds(&seen));
    let mut without = ledger.look().await;
    without.audit.remove(1);
    assert!(!chain_holds(&without));
    ledger.glass.refuses_changes().await;
}
