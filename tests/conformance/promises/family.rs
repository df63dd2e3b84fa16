//! Parents first, and what becomes of their children.

use std::sync::Arc;

use model::event::Mode;
use model::record::{Link, State};
use model::{Class, DeliveryId, Reason, Scope};
use serde_json::Value;
use store::Reopen;
use store::rows::DeliveryState;

use crate::support::{Draft, Ledger, answered, each, failure, families, lead, push, wrote};

const APPLIED: (DeliveryState, &str) = (DeliveryState::Succeeded, "applied");
const SUPERSEDED: (DeliveryState, &str) = (DeliveryState::Succeeded, "superseded");

/// A contact of a company, to both: the child's delivery is the first, its parent's the second.
fn employee(key: &str, external_id: &str, domain: &str) -> Draft {
    let draft = lead(key, external_id).says("city", "Bern").says("company", "Example").tells_of("company", "domain", domain);
    draft.to("Contact", Mode::Upsert).and_to("crm", "Account")
}

fn of_families(mut ledger: Ledger) -> Ledger {
    ledger.routes = Arc::new(families());
    ledger
}

async fn both(ledger: &Ledger, draft: Draft) -> (DeliveryId, DeliveryId) {
    let id = ledger.accept(&[draft]).await[0].id;
    (id.delivery(1), id.delivery(2))
}

async fn state_of(ledger: &Ledger, id: DeliveryId) -> State {
    let record = ledger.record_of(id).await;
    ledger.look().await.records[&record].record.state
}

async fn replay(ledger: &Ledger, delivery: DeliveryId) {
    let replay = Reopen { delivery, event: None, edited: None };
    ledger.store.reopen(ledger.now, "ada", "mended", &replay).await.unwrap();
}

pub async fn a_child_is_written_after_its_parent_and_points_at_it(ledger: Ledger) {
    let ledger = of_families(ledger);
    let (contact, account) = both(&ledger, employee("k1", "1", "example.com")).await;
    let parent = ledger.claim_one().await;
    assert_eq!((parent.object.as_str(), parent.entries[0].key.as_str()), ("Account", "example.com"));
    assert_eq!(state_of(&ledger, contact).await, State::Blocked);
    assert!(ledger.claim().await.is_empty(), "its parent is on its way");
    let advanced = ledger.advance(&[each(&parent, wrote("001"))]).await;
    let [child] = advanced.calls.as_slice() else { panic!("the transaction that settles the parent wakes its child: {advanced:?}") };
    assert_eq!(child.object, "Contact");
    let link = Link { object: "Account".into(), key_field: "Domain__c".into(), key: "example.com".into(), crm_id: Some("001".into()) };
    assert_eq!(Link::of(&push(child).patch["AccountId"]), Some(link));
    ledger.settle(&[each(child, wrote("003"))]).await;
    assert_eq!((ledger.ending(account).await, ledger.ending(contact).await), (APPLIED, APPLIED));
    // The company is as it was: the next child need not wait, and the same word is not written again.
    let (second, _) = both(&ledger, employee("k2", "1", "example.com").at(9)).await;
    let mut ledger = ledger;
    assert!(ledger.claim().await.is_empty(), "nothing has changed");
    ledger.pass_seconds(60);
    ledger.claim().await;
    assert_eq!(ledger.state(second).await, DeliveryState::Succeeded);
}

pub async fn a_failed_parent_fails_its_children_and_its_replay_opens_them(ledger: Ledger) {
    let ledger = of_families(ledger);
    let (contact, account) = both(&ledger, employee("k1", "1", "example.com")).await;
    let parent = ledger.claim_one().await;
    let advanced = ledger.advance(&[each(&parent, Err(failure(Class::Permanent, Scope::Record)))]).await;
    assert!(advanced.calls.is_empty(), "{advanced:?}");
    assert_eq!((ledger.state(account).await, ledger.state(contact).await), (DeliveryState::Failed, DeliveryState::Failed));
    let orphan = ledger.dead_letter(contact).await;
    assert_eq!(orphan.reason, Reason::ParentFailed);
    assert!(orphan.message.contains(&account.to_string()), "it says which parent: {}", orphan.message);
    replay(&ledger, contact).await;
    assert!(ledger.claim().await.is_empty(), "alone it cannot go");
    assert_eq!(ledger.dead_letter(contact).await.reason, Reason::ParentFailed);
    replay(&ledger, account).await;
    assert_eq!((ledger.state(account).await, ledger.state(contact).await), (DeliveryState::Open, DeliveryState::Open));
    let parent = ledger.claim_one().await;
    let advanced = ledger.advance(&[each(&parent, wrote("001"))]).await;
    ledger.settle(&[each(&advanced.calls[0], wrote("003"))]).await;
    assert_eq!((ledger.ending(account).await, ledger.ending(contact).await), (APPLIED, APPLIED));
}

pub async fn the_child_of_a_parent_that_was_given_up_goes_without_it(mut ledger: Ledger) {
    ledger = of_families(ledger);
    let (contact, account) = both(&ledger, employee("k1", "1", "example.com")).await;
    let parent = ledger.claim_one().await;
    ledger.advance(&[each(&parent, Err(failure(Class::Permanent, Scope::Record)))]).await;
    ledger.store.resolve(ledger.now, "ada", account, "the company is closed").await.unwrap();
    replay(&ledger, contact).await;
    let child = ledger.claim_one().await;
    assert!(!push(&child).patch.contains_key("AccountId"));
    ledger.settle(&[each(&child, wrote("003"))]).await;
    assert_eq!(ledger.ending(contact).await, APPLIED);
    let seen = ledger.look().await;
    assert!(seen.events.values().any(|event| event.warnings.iter().any(|warning| warning.kind == "parent_given_up")));
}

pub async fn a_child_whose_wakeup_was_missed_looks_by_itself(mut ledger: Ledger) {
    ledger = of_families(ledger);
    let (contact, account) = both(&ledger, employee("k1", "1", "example.com")).await;
    let parent = ledger.claim_one().await;
    assert_eq!(state_of(&ledger, contact).await, State::Blocked);
    ledger.advance(&[each(&parent, Err(failure(Class::Permanent, Scope::Record)))]).await;
    replay(&ledger, account).await;
    ledger.claim_one().await;
    // Closing a dead letter wakes nobody.
    let stuck = ledger.look().await.records[&ledger.record_of(contact).await].record.wake_at.unwrap();
    assert!(stuck > ledger.now && stuck.since(ledger.now).as_secs() <= 60, "{stuck:?}");
}

pub async fn what_needs_no_parent_is_not_held_up_by_what_waits(ledger: Ledger) {
    let ledger = of_families(ledger);
    let (waiting, _) = both(&ledger, employee("k1", "1", "example.com")).await;
    let parent = ledger.claim_one().await;
    let free = ledger.deliver(lead("k2", "1").says("city", "Basel").at(9).to("Contact", Mode::Upsert)).await;
    let call = ledger.claim_one().await;
    assert_eq!((call.object.as_str(), push(&call).patch.get("City").and_then(Value::as_str)), ("Contact", Some("Basel")));
    let advanced = ledger.advance(&[each(&call, wrote("003"))]).await;
    assert!(advanced.calls.is_empty());
    assert_eq!((ledger.ending(free).await, ledger.state(waiting).await), (APPLIED, DeliveryState::Open));
    let advanced = ledger.advance(&[each(&parent, wrote("001"))]).await;
    let [child] = advanced.calls.as_slice() else { panic!("{advanced:?}") };
    assert_eq!(push(child).patch.keys().collect::<Vec<_>>(), ["AccountId"], "the older city was outdone");
    ledger.settle(&[each(child, wrote("003"))]).await;
    assert_eq!(ledger.ending(waiting).await, APPLIED);
}

pub async fn a_link_is_a_record_of_its_own_that_waits_for_both_its_ends(ledger: Ledger) {
    let ledger = of_families(ledger);
    let deal = |key: &str, at: i64| {
        let draft = lead(key, "1").says("city", "Bern").tells_of("deal", "external_id", "d1").at(at);
        draft.to("Deal", Mode::Upsert).and_to("crm", "Contact").linked_to("Deal", "Contact")
    };
    let id = ledger.accept(&[deal("k1", 1)]).await[0].id;
    let first = ledger.claim().await;
    let mut objects: Vec<&str> = first.iter().map(|call| call.object.as_str()).collect();
    objects.sort_unstable();
    assert_eq!(objects, ["Contact", "Deal"], "a deal does not wait for its contact, only their link does");
    let mut calls = Vec::new();
    for call in &first {
        calls = ledger.advance(&[answered(call, vec![wrote(if call.object == "Deal" { "006" } else { "003" })])]).await.calls;
    }
    let [link] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!(link.object, "Deal>Contact");
    let end = |field: &str| Link::of(&push(link).patch[field]).unwrap().crm_id.unwrap();
    assert_eq!((end("from"), end("to")), ("006".to_owned(), "003".to_owned()));
    ledger.settle(&[each(link, wrote("006>003"))]).await;
    assert_eq!(ledger.ending(id.delivery(3)).await, APPLIED);
    let again = ledger.accept(&[deal("k2", 0)]).await[0].id;
    assert!(ledger.claim().await.is_empty() && ledger.claim().await.is_empty(), "once both ends are known there is nothing to write");
    assert_eq!(ledger.state(again.delivery(3)).await, DeliveryState::Succeeded);
    assert_eq!(ledger.ending(again.delivery(1)).await, SUPERSEDED);
}
