//! What the worker's operation promises when all goes well.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::event::Mode;
use model::protocol::{Found, Written};
use model::record::State;
use model::route::Routes;
use model::{Class, Reason, Scope};
use serde_json::{Value, json};
use store::Kind;
use store::rows::DeliveryState;

use crate::support::{Crm, Draft, Ledger, answered, each, failure, holds, lead, nobody, pairs, patch, push, wrote};

const APPLIED: (DeliveryState, &str) = (DeliveryState::Succeeded, "applied");
const UNCHANGED: (DeliveryState, &str) = (DeliveryState::Succeeded, "unchanged");
const SUPERSEDED: (DeliveryState, &str) = (DeliveryState::Succeeded, "superseded");

pub async fn a_record_is_read_then_written_and_its_delivery_has_succeeded(ledger: Ledger) {
    let id = ledger.deliver(lead("k1", "1").email("ada@example.com").says("city", "Bern").read_first()).await;
    let read = ledger.claim_one().await;
    assert_eq!((read.kind, read.entries[0].key.as_str()), (Kind::Adopt, "1"));
    assert!(ledger.claim().await.is_empty(), "a leased record is nobody else's");
    let advanced = ledger.advance(&[each(&read, nobody())]).await;
    let write = &advanced.calls[0];
    assert_eq!((write.kind, write.mode), (Kind::Push, Mode::Upsert));
    assert_eq!(patch(write), pairs(&[("City", "Bern"), ("Email", "ada@example.com")]));
    assert_eq!(ledger.look().await.calls.len(), 2, "the intent is there before the effect");
    let advanced = ledger.advance(&[each(write, wrote("00Q1"))]).await;
    assert!(advanced.calls.is_empty() && advanced.next.is_none());
    assert_eq!(
        (advanced.ended.len(), advanced.ended[0].delivery, advanced.ended[0].outcome, advanced.ended[0].dead),
        (1, id, "applied", None)
    );
    assert_eq!(ledger.ending(id).await, APPLIED);
    assert_eq!(ledger.delivery(id).await.call, Some(write.id));
    let record = ledger.record().await;
    assert_eq!((record.state, record.crm_id.as_deref(), record.pushed, record.doubt), (State::Clean, Some("00Q1"), record.revision, None));
    let seen = ledger.look().await;
    assert_eq!((seen.results.len(), seen.leases.len()), (2, 0));
    assert!(seen.aliases.iter().any(|(alias, _)| alias.kind == "crm_id"), "it can be found by its id in the CRM");
    assert!(advanced.destination.last_success_at == Some(ledger.now));
}

pub async fn what_the_crm_holds_already_is_not_written(ledger: Ledger) {
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern").read_first()).await;
    let read = ledger.claim_one().await;
    let advanced = ledger.advance(&[each(&read, holds("00Q1", &[("City", "Bern"), ("Company", "Example")]))]).await;
    assert!(advanced.calls.is_empty());
    assert_eq!(ledger.ending(id).await, UNCHANGED);
    assert_eq!(ledger.record().await.crm_id.as_deref(), Some("00Q1"));
    // And the same word from another event neither.
    let second = ledger.deliver(lead("k2", "1").says("city", "Bern").at(9).read_first()).await;
    assert!(ledger.claim().await.is_empty());
    assert_eq!(ledger.ending(second).await, UNCHANGED);
}

pub async fn an_older_value_is_superseded_without_a_call(ledger: Ledger) {
    ledger.deliver(lead("k1", "1").says("city", "Bern").at(10)).await;
    ledger.settle(&[each(&ledger.claim_one().await, wrote("003"))]).await;
    let older = ledger.deliver(lead("k2", "1").says("city", "Rome").at(5)).await;
    assert!(ledger.claim().await.is_empty());
    assert_eq!(ledger.ending(older).await, SUPERSEDED);
    let cleared = ledger.deliver(lead("k3", "1").says("city", Value::Null).at(11)).await;
    let call = ledger.claim_one().await;
    assert_eq!(push(&call).patch["City"], Value::Null, "an explicit clear blanks");
    ledger.settle(&[each(&call, wrote("003"))]).await;
    assert_eq!(ledger.ending(cleared).await, APPLIED);
}

pub async fn a_value_of_the_crm_that_outranks_the_event_stays(mut ledger: Ledger) {
    ledger.policy.crm_trust = 80;
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern").says("company", "Example").read_first()).await;
    let read = ledger.claim_one().await;
    let advanced = ledger.advance(&[each(&read, holds("00Q1", &[("City", "Rome")]))]).await;
    assert_eq!(patch(&advanced.calls[0]), pairs(&[("Company", "Example")]), "an empty field of the CRM is nobody's word");
    ledger.settle(&[each(&advanced.calls[0], wrote("00Q1"))]).await;
    assert_eq!(ledger.ending(id).await, APPLIED);
    assert_eq!(ledger.record().await.body.fields.0["City"].value, "Rome");
}

pub async fn fields_merge_by_trust_then_time_then_key_in_every_order_of_arrival(mut ledger: Ledger) {
    let drafts = |person: &str| -> [Draft; 4] {
        let of = |key: &str| lead(&format!("{person}-{key}"), person);
        [
            of("a").says("city", "old").says("company", "old").says("first_name", "only").at(1),
            of("b").says("city", "new").says("company", "new").at(2),
            of("c").says("city", "trusted").trust(60).at(0),
            of("d").says("city", "trusted-tie").says("company", "tie").trust(60).at(0),
        ]
    };
    let mut crm = Crm::default();
    let mut order = [0, 1, 2, 3];
    for person in 0..48 {
        let name = format!("p{person}");
        for place in order {
            ledger.accept(&[drafts(&name)[place].clone()]).await;
            // Half of them write after each arrival, half once at the end.
            if person % 2 == 0 {
                ledger.work_now(&mut crm).await;
            }
        }
        if person % 2 == 1 {
            next_permutation(&mut order);
        }
    }
    ledger.work(&mut crm, Duration::from_secs(600)).await;
    for person in 0..48 {
        let name = format!("p{person}");
        let held = ["City", "Company", "FirstName"].map(|field| crm.field("Contact", &name, field).cloned());
        assert_eq!(held, ["trusted-tie", "tie", "only"].map(|value| Some(Value::from(value))), "{name}");
    }
    let seen = ledger.look().await;
    assert!(seen.deliveries.values().all(|delivery| delivery.state == DeliveryState::Succeeded));
    assert_eq!(seen.deliveries.len(), 48 * 4);
}

fn next_permutation(order: &mut [usize; 4]) {
    if let Some(pivot) = (0..3).rev().find(|&place| order[place] < order[place + 1]) {
        let swap = (pivot + 1..4).rev().find(|&place| order[place] > order[pivot]).unwrap();
        order.swap(pivot, swap);
        order[pivot + 1..].reverse();
    }
}

pub async fn many_deliveries_of_one_record_are_one_write(mut ledger: Ledger) {
    let drafts: Vec<Draft> = (0..1_100).map(|n| lead(&format!("k{n}"), "1").says("city", format!("c{n}")).at(n)).collect();
    ledger.accept_batch(&[ledger.request(&drafts)]).await;
    let mut crm = Crm::default();
    ledger.work_now(&mut crm).await;
    assert_eq!(crm.writes, 2, "a thousand at once, and the rest");
    assert_eq!(crm.field("Contact", "1", "City"), Some(&json!("c1099")));
    let seen = ledger.look().await;
    assert!(seen.deliveries.values().all(|delivery| delivery.state == DeliveryState::Succeeded));
}

pub async fn what_arrives_while_a_record_is_leased_goes_with_the_next_claim(ledger: Ledger) {
    let first = ledger.deliver(lead("k1", "1").says("city", "Bern").at(1)).await;
    let call = ledger.claim_one().await;
    let second = ledger.deliver(lead("k2", "1").says("city", "Rome").at(2)).await;
    assert!(ledger.claim().await.is_empty());
    let advanced = ledger.advance(&[each(&call, wrote("003"))]).await;
    assert_eq!(ledger.ending(first).await, APPLIED);
    assert_eq!(ledger.state(second).await, DeliveryState::Open);
    assert_eq!(patch(&advanced.calls[0]), pairs(&[("City", "Rome")]), "settled and claimed in one");
    ledger.settle(&[each(&advanced.calls[0], wrote("003"))]).await;
    assert_eq!(ledger.ending(second).await, APPLIED);
}

pub async fn a_call_holds_few_enough_records_and_none_twice(mut ledger: Ledger) {
    (ledger.group_limit, ledger.calls_max) = (10, 3);
    let drafts: Vec<Draft> =
        (0..45).flat_map(|n| [lead(&format!("a{n}"), &format!("{n}")), lead(&format!("b{n}"), &format!("{n}")).at(1)]).collect();
    ledger.accept(&drafts).await;
    let (mut records, mut keys, mut open) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for _ in 0..20 {
        let advanced = ledger.advance(&[]).await;
        open.extend(advanced.calls);
        if advanced.next.is_none_or(|next| next > ledger.now) {
            // As many at once as the policy has: settle, and go on.
            assert!(open.len() <= 4, "{}", open.len());
            for call in std::mem::take(&mut open) {
                assert!(call.entries.len() <= 10);
                for entry in &call.entries {
                    assert!(records.insert(entry.record) && keys.insert(entry.key.clone()), "{} is there twice", entry.record);
                }
                ledger.settle(&[each(&call, wrote("003"))]).await;
            }
        }
    }
    assert_eq!(records.len(), 45);
    assert!(ledger.look().await.deliveries.values().all(|delivery| delivery.state == DeliveryState::Succeeded));
}

pub async fn a_delivery_may_only_change_an_identifier_with_enough_trust(ledger: Ledger) {
    ledger.deliver(lead("k1", "1").email("ada@example.com")).await;
    ledger.settle(&[each(&ledger.claim_one().await, wrote("003"))]).await;
    let little = ledger.deliver(lead("k2", "1").email("eve@example.com").says("city", "Bern").trust(89).at(1)).await;
    let call = ledger.claim_one().await;
    assert_eq!(patch(&call), pairs(&[("City", "Bern")]), "the rest of it goes");
    ledger.settle(&[each(&call, wrote("003"))]).await;
    assert_eq!(ledger.ending(little).await, APPLIED);
    let warnings = &ledger.look().await.events[&little.event()].warnings;
    assert_eq!(warnings.iter().map(|warning| warning.kind.as_str()).collect::<BTreeSet<_>>(), BTreeSet::from(["identity_conflict"]));
    ledger.deliver(lead("k3", "1").email("countess@example.com").trust(90)).await;
    assert_eq!(patch(&ledger.claim_one().await), pairs(&[("Email", "countess@example.com")]));
}

pub async fn an_update_waits_for_its_record_and_then_says_that_it_did_not_appear(mut ledger: Ledger) {
    let start = ledger.now;
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern").to("Lead", Mode::UpdateOnly)).await;
    let mut crm = Crm::default();
    ledger.work(&mut crm, Duration::from_secs(599)).await;
    assert_eq!(ledger.state(id).await, DeliveryState::Open);
    assert!((9..=12).contains(&crm.calls), "it looks once a minute: {}", crm.calls);
    ledger.work(&mut crm, Duration::from_secs(60)).await;
    let dead = ledger.dead_letter(id).await;
    assert_eq!((dead.reason, dead.failed_at), (Reason::RecordNotFound, start + Duration::from_secs(600)));
    assert_eq!((ledger.state(id).await, crm.writes), (DeliveryState::Failed, 0));
}

pub async fn an_update_goes_once_its_record_has_appeared(mut ledger: Ledger) {
    for object in ["Lead", "Contact"] {
        let id = ledger.deliver(lead(object, "1").says("city", "Bern").to(object, Mode::UpdateOnly)).await;
        let mut crm = Crm::default();
        ledger.work(&mut crm, Duration::from_secs(90)).await;
        assert_eq!((ledger.state(id).await, crm.writes), (DeliveryState::Open, 0), "{object}");
        crm.records.insert((object.to_owned(), "1".to_owned()), std::collections::BTreeMap::new());
        ledger.work(&mut crm, Duration::from_secs(60)).await;
        assert_eq!((ledger.ending(id).await, crm.writes), (APPLIED, 1), "{object}");
        // And one that is to create it makes both go.
        let waiting = ledger.deliver(lead(&format!("{object}2"), "2").says("city", "Bern").to(object, Mode::UpdateOnly)).await;
        ledger.work_now(&mut crm).await;
        assert_eq!(ledger.state(waiting).await, DeliveryState::Open);
        let creating = ledger.deliver(lead(&format!("{object}3"), "2").says("company", "Example").to(object, Mode::Upsert)).await;
        ledger.work(&mut crm, Duration::from_secs(60)).await;
        assert_eq!((ledger.ending(waiting).await, ledger.ending(creating).await), (APPLIED, APPLIED), "{object}");
    }
}

pub async fn what_only_creates_leaves_a_record_alone_that_is_there(mut ledger: Ledger) {
    // Seen by a read before, and only by the write itself.
    for object in ["Lead", "Contact"] {
        let mut crm = Crm::default();
        crm.records.insert((object.to_owned(), "1".to_owned()), [("City".to_owned(), json!("Rome"))].into());
        let id = ledger.deliver(lead(object, "1").says("city", "Bern").says("company", "Example").to(object, Mode::CreateOnly)).await;
        ledger.work_now(&mut crm).await;
        assert_eq!((ledger.ending(id).await, crm.writes), (UNCHANGED, 0), "{object}");
        assert_eq!(crm.field(object, "1", "City"), Some(&json!("Rome")));
        let second = ledger.deliver(lead(&format!("{object}2"), "2").says("city", "Bern").to(object, Mode::CreateOnly)).await;
        ledger.work_now(&mut crm).await;
        assert_eq!((ledger.ending(second).await, crm.writes), (APPLIED, 1), "{object}");
        // What is folded with an upsert says its word all the same only where the record is new.
        let third = ledger
            .deliver(lead(&format!("{object}3"), "1").says("phone_e164", "1").says("first_name", "Ada").to(object, Mode::Upsert))
            .await;
        ledger.work_now(&mut crm).await;
        assert_eq!(ledger.ending(third).await, APPLIED);
        assert_eq!(crm.field(object, "1", "FirstName"), Some(&json!("Ada")));
        assert_eq!(crm.field(object, "1", "City"), Some(&json!("Rome")));
    }
}

pub async fn an_object_that_is_no_longer_configured_is_a_dead_letter(mut ledger: Ledger) {
    let id = ledger.deliver(lead("k1", "1")).await;
    ledger.routes = Arc::new(Routes::default());
    assert!(ledger.claim().await.is_empty());
    let dead = ledger.dead_letter(id).await;
    assert_eq!(dead.reason, Reason::Unrouted);
    assert!(dead.message.contains("Contact"), "{}", dead.message);
    assert_eq!(ledger.record().await.state, State::Clean);
}

pub async fn what_was_not_sent_goes_again_at_once(ledger: Ledger) {
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    let call = ledger.claim_one().await;
    let advanced = ledger.advance(&[each(&call, Ok(Found::NotSent))]).await;
    let again = &advanced.calls[0];
    assert_eq!((patch(again), again.entries[0].claim.fence), (pairs(&[("City", "Bern")]), call.entries[0].claim.fence + 1));
    let record = ledger.record().await;
    assert_eq!((record.doubt, record.attempts, record.tries, record.crashes), (None, 0, 0, 0));
    ledger.settle(&[each(again, wrote("003"))]).await;
    assert_eq!(ledger.ending(id).await, APPLIED);
}

pub async fn a_sweep_wakes_a_record_that_sleeps_over_open_deliveries(mut ledger: Ledger) {
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    let swept = ledger.store.sweep(ledger.now, &crate::support::DESTINATIONS).await.unwrap();
    assert_eq!(swept.iter().map(|wakeup| wakeup.destination.as_str()).collect::<Vec<_>>(), ["crm"], "only what is due is named");
    ledger.claim_one().await;
    assert!(ledger.store.sweep(ledger.now, &crate::support::DESTINATIONS).await.unwrap().is_empty());
    ledger.pass(ledger.policy.lease());
    assert_eq!(ledger.store.sweep(ledger.now, &crate::support::DESTINATIONS).await.unwrap().len(), 1, "a lease has ended");
    // Taken over, beside another record, in one call whose answer differs for each.
    let other = ledger.deliver(lead("k2", "2").says("city", "Rome")).await;
    let call_two = ledger.claim_one().await;
    let items = vec![Err(failure(Class::Retryable, Scope::Record)), Ok(Found::Wrote(Written::default()))];
    ledger.settle(&[answered(&call_two, items)]).await;
    assert_eq!((ledger.state(id).await, ledger.ending(other).await), (DeliveryState::Open, APPLIED));
}
