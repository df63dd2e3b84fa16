//! Deletions, and creations of which nobody knows whether they happened.

use std::time::Duration;

use model::event::Mode;
use model::protocol::{Found, Repeat, Written};
use model::schedule::Schedule;
use model::{Class, Reason, Scope};
use store::Kind;
use store::rows::DeliveryState;

use crate::support::{Answer, Draft, Ledger, broke, each, failure, holds, lead, nobody, pairs, patch, push, wrote};

const APPLIED: (DeliveryState, &str) = (DeliveryState::Succeeded, "applied");
const UNCHANGED: (DeliveryState, &str) = (DeliveryState::Succeeded, "unchanged");
const SUPERSEDED: (DeliveryState, &str) = (DeliveryState::Succeeded, "superseded");

fn says(key: &str, city: &str, at: i64) -> Draft {
    lead(key, "1").says("city", city).at(at)
}

fn deletion(key: &str, at: i64) -> Draft {
    lead(key, "1").at(at).to("Contact", Mode::Delete)
}

fn gone() -> Answer {
    Ok(Found::Wrote(Written::default()))
}

pub async fn what_is_older_than_a_deletion_does_not_bring_a_record_back(ledger: Ledger) {
    ledger.deliver(says("k1", "Bern", 10)).await;
    ledger.settle(&[each(&ledger.claim_one().await, wrote("003"))]).await;
    let deleted = ledger.deliver(deletion("k2", 20)).await;
    let call = ledger.claim_one().await;
    assert_eq!((call.mode, call.entries[0].crm_id.as_deref(), push(&call).patch.len()), (Mode::Delete, Some("003"), 0));
    ledger.settle(&[each(&call, gone())]).await;
    assert_eq!((ledger.ending(deleted).await, ledger.record().await.crm_id), (APPLIED, None));
    let late = ledger.deliver(says("k3", "Basel", 15)).await;
    assert!(ledger.claim().await.is_empty(), "it stays deleted");
    assert_eq!(ledger.ending(late).await, SUPERSEDED);
    // What is newer makes it anew, with its own values only.
    let newer = ledger.deliver(says("k4", "Genf", 30)).await;
    let call = ledger.claim_one().await;
    assert_eq!((call.mode, patch(&call)), (Mode::Upsert, pairs(&[("City", "Genf")])));
    ledger.settle(&[each(&call, wrote("004"))]).await;
    assert_eq!((ledger.ending(newer).await, ledger.record().await.crm_id.as_deref()), (APPLIED, Some("004")));
}

pub async fn a_deletion_that_something_newer_outlived_is_none(ledger: Ledger) {
    ledger.deliver(says("k1", "Bern", 30)).await;
    ledger.settle(&[each(&ledger.claim_one().await, wrote("003"))]).await;
    let late = ledger.deliver(deletion("k2", 20)).await;
    assert!(ledger.claim().await.is_empty());
    assert_eq!(ledger.ending(late).await, SUPERSEDED);
    // The same in one claim.
    let (first, second) = (ledger.deliver(deletion("k3", 40)).await, ledger.deliver(says("k4", "Basel", 50)).await);
    let call = ledger.claim_one().await;
    assert_eq!((call.mode, patch(&call)), (Mode::Upsert, pairs(&[("City", "Basel")])));
    ledger.settle(&[each(&call, wrote("003"))]).await;
    assert_eq!((ledger.ending(first).await, ledger.ending(second).await), (SUPERSEDED, APPLIED));
}

pub async fn what_was_never_there_is_deleted_without_a_call(ledger: Ledger) {
    let id = ledger.deliver(deletion("k1", 20)).await;
    let read = ledger.claim_one().await;
    assert_eq!(read.kind, Kind::Adopt, "it is named by its id, which is not known yet");
    assert!(ledger.advance(&[each(&read, nobody())]).await.calls.is_empty());
    assert_eq!(ledger.ending(id).await, UNCHANGED);
    let late = ledger.deliver(says("k2", "Bern", 10)).await;
    assert!(ledger.claim().await.is_empty());
    assert_eq!(ledger.ending(late).await, SUPERSEDED);
}

pub async fn a_deletion_whose_outcome_is_unknown_is_sent_again_and_settles(mut ledger: Ledger) {
    ledger.deliver(says("k1", "Bern", 10)).await;
    ledger.settle(&[each(&ledger.claim_one().await, wrote("003"))]).await;
    let id = ledger.deliver(deletion("k2", 20)).await;
    let call = ledger.claim_one().await;
    ledger.settle(&[broke(&call, failure(Class::Unknown, Scope::Destination))]).await;
    ledger.pass_seconds(1);
    let again = ledger.claim_one().await;
    assert_eq!((again.mode, push(&again).revision), (Mode::Delete, push(&call).revision), "the same content keeps its number");
    ledger.settle(&[each(&again, gone())]).await;
    assert_eq!(ledger.ending(id).await, APPLIED);
}

pub async fn an_unknown_creation_is_looked_up_before_there_is_a_second_one(mut ledger: Ledger) {
    ledger.repeat = (Repeat::Look, true);
    let id = ledger.deliver(says("k1", "Bern", 10)).await;
    let read = ledger.claim_one().await;
    assert_eq!(read.kind, Kind::Adopt, "whether it is there decides between two calls");
    let create = ledger.advance(&[each(&read, nobody())]).await.calls.remove(0);
    ledger.settle(&[broke(&create, failure(Class::Unknown, Scope::Destination))]).await;
    let second = ledger.deliver(says("k2", "Basel", 20)).await;
    let window = ledger.now + ledger.policy.late_window;
    while ledger.now + Duration::from_secs(10) < window {
        ledger.pass_seconds(10);
        assert!(ledger.claim().await.is_empty(), "it may be created yet");
    }
    ledger.now = window;
    let look = ledger.claim_one().await;
    assert_eq!(look.kind, Kind::Verify);
    let update = ledger.advance(&[each(&look, holds("003", &[("City", "Bern")]))]).await.calls.remove(0);
    assert_eq!((update.entries[0].crm_id.as_deref(), patch(&update)), (Some("003"), pairs(&[("City", "Basel")])));
    ledger.settle(&[each(&update, wrote("003"))]).await;
    assert_eq!((ledger.ending(id).await.0, ledger.ending(second).await), (DeliveryState::Succeeded, APPLIED));
}

pub async fn an_unknown_creation_under_an_idempotency_key_is_sent_again_as_it_was(mut ledger: Ledger) {
    ledger.repeat = (Repeat::Same, true);
    let id = ledger.deliver(says("k1", "Bern", 10)).await;
    let read = ledger.claim_one().await;
    let create = ledger.advance(&[each(&read, nobody())]).await.calls.remove(0);
    ledger.settle(&[broke(&create, failure(Class::Unknown, Scope::Destination))]).await;
    let second = ledger.deliver(says("k2", "Basel", 20)).await;
    ledger.pass_seconds(10);
    let again = ledger.claim_one().await;
    assert_eq!((push(&again).revision, &push(&again).patch, again.mode), (push(&create).revision, &push(&create).patch, create.mode));
    let update = ledger.advance(&[each(&again, wrote("003"))]).await.calls.remove(0);
    assert_eq!(ledger.ending(id).await, APPLIED);
    assert_eq!((update.entries[0].crm_id.as_deref(), patch(&update)), (Some("003"), pairs(&[("City", "Basel")])));
    assert!(push(&update).revision > push(&create).revision);
    ledger.settle(&[each(&update, wrote("003"))]).await;
    assert_eq!(ledger.state(second).await, DeliveryState::Open, "what was in doubt may land after it");
    ledger.pass(ledger.policy.late_window);
    let look = ledger.claim_one().await;
    assert!(ledger.advance(&[each(&look, holds("003", &[("City", "Basel")]))]).await.calls.is_empty());
    assert_eq!(ledger.ending(second).await, APPLIED);
}

pub async fn an_unknown_creation_that_nobody_can_look_up_goes_to_a_person(mut ledger: Ledger) {
    ledger.repeat = (Repeat::Person, false);
    let id = ledger.deliver(says("k1", "Bern", 10)).await;
    let create = ledger.claim_one().await;
    assert_eq!(create.kind, Kind::Push, "there is nothing to read");
    ledger.settle(&[broke(&create, failure(Class::Unknown, Scope::Destination))]).await;
    ledger.pass_seconds(400);
    assert!(ledger.claim().await.is_empty(), "never a blind second one");
    assert_eq!((ledger.state(id).await, ledger.dead_letter(id).await.reason), (DeliveryState::Quarantined, Reason::UnknownOutcome));
}

pub async fn content_that_was_refused_after_all_is_not_repeated_for_what_came_meanwhile(mut ledger: Ledger) {
    ledger.repeat = (Repeat::Same, true);
    let id = ledger.deliver(says("k1", "Bern", 10)).await;
    let read = ledger.claim_one().await;
    let create = ledger.advance(&[each(&read, nobody())]).await.calls.remove(0);
    ledger.settle(&[broke(&create, failure(Class::Unknown, Scope::Destination))]).await;
    let second = ledger.deliver(says("k2", "Basel", 20)).await;
    ledger.pass_seconds(10);
    let again = ledger.claim_one().await;
    let advanced = ledger.advance(&[each(&again, Err(failure(Class::Permanent, Scope::Record)))]).await;
    assert!(advanced.calls.is_empty(), "nobody asks for it any more: {advanced:?}");
    assert_eq!((ledger.state(id).await, ledger.state(second).await), (DeliveryState::Failed, DeliveryState::Open));
    ledger.pass(ledger.policy.late_window);
    let look = ledger.claim_one().await;
    assert_eq!(look.kind, Kind::Verify);
    let create = ledger.advance(&[each(&look, nobody())]).await.calls.remove(0);
    assert_eq!(patch(&create), pairs(&[("City", "Basel")]));
    ledger.settle(&[each(&create, wrote("003"))]).await;
    assert_eq!(ledger.ending(second).await, APPLIED);
}

pub async fn an_unknown_creation_whose_attempts_are_used_up_goes_to_a_person(mut ledger: Ledger) {
    ledger.repeat = (Repeat::Same, false);
    ledger.policy.schedule = Schedule::new(vec![Duration::ZERO]).unwrap();
    let id = ledger.deliver(says("k1", "Bern", 10)).await;
    let create = ledger.claim_one().await;
    ledger.settle(&[broke(&create, failure(Class::Unknown, Scope::Destination))]).await;
    assert!(ledger.claim().await.is_empty());
    assert_eq!(ledger.state(id).await, DeliveryState::Open, "it may be created yet, and a person must not be told otherwise");
    ledger.pass(ledger.policy.late_window);
    assert!(ledger.claim().await.is_empty());
    assert_eq!((ledger.state(id).await, ledger.dead_letter(id).await.reason), (DeliveryState::Quarantined, Reason::UnknownOutcome));
}

pub async fn what_cannot_be_looked_up_is_written_over_once_nothing_can_land_late(mut ledger: Ledger) {
    ledger.repeat = (Repeat::Keyed, false);
    ledger.deliver(says("k1", "Bern", 10)).await;
    let first = ledger.claim_one().await;
    ledger.settle(&[broke(&first, failure(Class::Unknown, Scope::Destination))]).await;
    let second = ledger.deliver(says("k2", "Basel", 20)).await;
    ledger.pass_seconds(10);
    let newer = ledger.claim_one().await;
    ledger.settle(&[each(&newer, wrote("003"))]).await;
    assert_eq!(ledger.state(second).await, DeliveryState::Open, "the older content may land after it");
    ledger.pass(ledger.policy.late_window);
    let over = ledger.claim_one().await;
    assert_eq!((over.kind, patch(&over)), (Kind::Push, pairs(&[("City", "Basel")])));
    ledger.settle(&[each(&over, wrote("003"))]).await;
    assert_eq!(ledger.state(second).await, DeliveryState::Succeeded);
}
