//! What the worker's operation promises when the CRM says no.

use std::collections::BTreeSet;
use std::time::Duration;

use model::record::State;
use model::schedule::Schedule;
use model::{Class, Failure, Reason, Scope};
use serde_json::json;
use store::Kind;
use store::rows::DeliveryState;

use crate::support::{Crm, Draft, Ledger, answered, broke, each, failure, lead, nobody, pairs, patch, wrote};

const APPLIED: (DeliveryState, &str) = (DeliveryState::Succeeded, "applied");

fn refusal() -> Failure {
    failure(Class::Permanent, Scope::Record)
}

pub async fn a_refused_field_fails_the_delivery_whose_word_it_is(ledger: Ledger) {
    let city = ledger.deliver(lead("k1", "1").says("city", "bad").at(1)).await;
    let company = ledger.deliver(lead("k2", "1").says("company", "Example").at(2)).await;
    let call = ledger.claim_one().await;
    let no = Failure { fields: vec!["City".into()], ..refusal() };
    let advanced = ledger.advance(&[answered(&call, vec![Err(no)])]).await;
    let dead = ledger.dead_letter(city).await;
    assert_eq!((dead.reason, dead.class, dead.attempts), (Reason::RejectedByCrm, Some(Class::Permanent), 1));
    assert_eq!((dead.message.as_str(), dead.owner.as_deref()), ("CODE: what the CRM said", Some("sales")));
    assert_eq!(advanced.ended.iter().map(|ended| (ended.delivery, ended.dead)).collect::<Vec<_>>(), [(city, Some(Reason::RejectedByCrm))]);
    assert_eq!(patch(&advanced.calls[0]), pairs(&[("Company", "Example")]), "the others go without it");
    ledger.settle(&[each(&advanced.calls[0], wrote("003"))]).await;
    assert_eq!((ledger.ending(company).await, ledger.state(city).await), (APPLIED, DeliveryState::Failed));
    assert_eq!(ledger.record().await.state, State::Clean);
}

pub async fn a_refusal_that_names_nobody_is_tried_one_by_one(mut ledger: Ledger) {
    let mut crm = Crm { bad_values: BTreeSet::from(["bad".into()]), ..Crm::default() };
    let fields = ["city", "company", "first_name"];
    let ids = ledger
        .accept(&[0, 1, 2].map(|n| lead(&format!("k{n}"), "1").says(fields[n], if n == 1 { "bad" } else { "good" }).at(n as i64)))
        .await;
    ledger.work_now(&mut crm).await;
    let ends = [0, 1, 2].map(|n: usize| ids[n].id.delivery(1));
    assert_eq!((ledger.ending(ends[0]).await, ledger.ending(ends[2]).await), (APPLIED, APPLIED));
    assert_eq!(ledger.dead_letter(ends[1]).await.reason, Reason::RejectedByCrm);
    assert_eq!(
        ["City", "Company", "FirstName"].map(|field| crm.field("Contact", "1", field).cloned()),
        [Some(json!("good")), None, Some(json!("good"))]
    );
    assert!(!ledger.record().await.solo);
    // Afterwards they go together again.
    let before = crm.writes;
    ledger.accept(&[lead("k8", "1").says("city", "x").at(8), lead("k9", "1").says("company", "y").at(9)]).await;
    ledger.work_now(&mut crm).await;
    assert_eq!(crm.writes, before + 1);
}

pub async fn a_refused_call_is_halved_until_the_guilty_record_is_alone_and_costs_no_attempt(mut ledger: Ledger) {
    let mut crm = Crm { bad_values: BTreeSet::from(["bad".into()]), refuses_whole_calls: true, ..Crm::default() };
    let drafts: Vec<Draft> =
        (0..64).map(|n| lead(&format!("k{n}"), &format!("{n}")).says("city", if n == 37 { "bad" } else { "good" })).collect();
    let ids = ledger.accept(&drafts).await;
    ledger.work_now(&mut crm).await;
    let seen = ledger.look().await;
    for (n, event) in ids.iter().enumerate() {
        let delivery = &seen.deliveries[&event.id.delivery(1)];
        assert_eq!(delivery.state, if n == 37 { DeliveryState::Failed } else { DeliveryState::Succeeded }, "{n}");
    }
    assert_eq!(seen.dead_letters.values().map(|letter| (letter.reason, letter.attempts)).collect::<Vec<_>>(), [(Reason::RejectedByCrm, 1)]);
    assert!(seen.records.values().all(|entry| entry.record.attempts == 0 && entry.record.state == State::Clean));
    assert!(crm.calls < 40, "{} calls", crm.calls);
}

pub async fn a_failed_attempt_waits_by_the_schedule(mut ledger: Ledger) {
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    let mut waits = Vec::new();
    for _ in 0..12 {
        let call = ledger.claim_one().await;
        let advanced = ledger.settle(&[answered(&call, vec![Err(failure(Class::Retryable, Scope::Record))])]).await;
        assert_eq!(advanced.retries, 1);
        let record = ledger.record().await;
        assert_eq!((record.state, record.doubt), (State::Waiting, None));
        waits.push(record.wake_at.unwrap().since(ledger.now).as_secs());
        if *waits.last().unwrap() > 0 {
            ledger.now = record.wake_at.unwrap() - Duration::from_micros(1);
            assert!(ledger.claim().await.is_empty(), "never earlier");
        }
        ledger.now = record.wake_at.unwrap();
    }
    assert_eq!(waits, [0, 0, 1, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
    let call = ledger.claim_one().await;
    let hint = Failure { retry_after: Some(Duration::from_secs(90)), ..failure(Class::Retryable, Scope::Record) };
    ledger.settle(&[answered(&call, vec![Err(hint)])]).await;
    ledger.pass_seconds(89);
    assert!(ledger.claim().await.is_empty());
    ledger.pass_seconds(1);
    ledger.settle(&[each(&ledger.claim_one().await, wrote("003"))]).await;
    assert_eq!((ledger.ending(id).await, ledger.record().await.attempts), (APPLIED, 0));
}

pub async fn attempts_run_out(mut ledger: Ledger) {
    ledger.policy.schedule = Schedule::new(vec![Duration::ZERO; 3]).unwrap();
    let first = ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    let second = ledger.deliver(lead("k2", "1").says("company", "Example")).await;
    for attempt in 1..=3 {
        assert_eq!(ledger.state(first).await, DeliveryState::Open, "{attempt}");
        let call = ledger.claim_one().await;
        ledger.settle(&[answered(&call, vec![Err(failure(Class::Retryable, Scope::Record))])]).await;
    }
    for id in [first, second] {
        let dead = ledger.dead_letter(id).await;
        assert_eq!((dead.reason, dead.class, dead.attempts), (Reason::AttemptsExhausted, Some(Class::Retryable), 3));
        assert_eq!(ledger.state(id).await, DeliveryState::Failed);
    }
    assert_eq!((ledger.record().await.state, ledger.record().await.attempts), (State::Clean, 0));
    assert!(ledger.claim().await.is_empty());
}

pub async fn an_outage_of_the_destination_uses_up_no_attempts(mut ledger: Ledger) {
    ledger.policy.schedule = Schedule::new(vec![Duration::ZERO; 5]).unwrap();
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    let down = failure(Class::Retryable, Scope::Destination);
    for _ in 0..200 {
        let advanced = ledger.advance(&[]).await;
        match advanced.calls.first() {
            Some(call) => drop(ledger.settle(&[broke(call, down.clone())]).await),
            None => ledger.now = advanced.next.unwrap(),
        }
    }
    assert_eq!((ledger.state(id).await, ledger.record().await.attempts), (DeliveryState::Open, 1));
    let mut crm = Crm::default();
    ledger.work(&mut crm, Duration::from_secs(60)).await;
    assert_eq!(ledger.ending(id).await, APPLIED);
}

pub async fn five_conflicts_are_for_a_person(mut ledger: Ledger) {
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern").read_first()).await;
    for n in 1..=5 {
        let read = ledger.claim_one().await;
        assert_eq!(read.kind, Kind::Adopt, "it looks again before it writes");
        let advanced = ledger.advance(&[each(&read, nobody())]).await;
        assert_eq!(ledger.state(id).await, DeliveryState::Open, "{n}");
        ledger.settle(&[each(&advanced.calls[0], Err(failure(Class::Conflict, Scope::Record)))]).await;
        ledger.now = ledger.record().await.wake_at.unwrap_or(ledger.now);
    }
    let dead = ledger.dead_letter(id).await;
    assert_eq!((dead.reason, ledger.state(id).await), (Reason::IdentityConflict, DeliveryState::Quarantined));
    assert_eq!(ledger.record().await.state, State::Clean);
}

pub async fn several_matches_are_for_a_person_at_once(ledger: Ledger) {
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    let several = Failure { reason: Some(Reason::AmbiguousMatch), ..failure(Class::Conflict, Scope::Record) };
    ledger.settle(&[each(&ledger.claim_one().await, Err(several))]).await;
    assert_eq!(ledger.dead_letter(id).await.reason, Reason::AmbiguousMatch);
    assert_eq!(ledger.state(id).await, DeliveryState::Quarantined);
}

pub async fn a_read_that_is_refused_ends_whatever_is_open(ledger: Ledger) {
    let first = ledger.deliver(lead("k1", "1").says("city", "Bern").read_first()).await;
    let read = ledger.claim_one().await;
    // This one came after the claim: the refusal is for the record, and so for it too.
    let second = ledger.deliver(lead("k2", "1").says("company", "Example").read_first()).await;
    let advanced = ledger.advance(&[each(&read, Err(refusal()))]).await;
    assert_eq!(advanced.ended.len(), 2);
    for id in [first, second] {
        assert_eq!(ledger.dead_letter(id).await.reason, Reason::RejectedByCrm);
    }
    assert_eq!(ledger.record().await.state, State::Clean);
}
