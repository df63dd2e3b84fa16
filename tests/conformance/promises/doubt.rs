//! What the worker's operation promises when it is not known what happened.

use std::time::Duration;

use model::protocol::{Found, Written};
use model::record::{Doubt, State};
use model::{Class, Failure, Reason, Scope};
use serde_json::json;
use store::Kind;
use store::rows::DeliveryState;

use crate::support::{Crm, Ledger, answered, broke, each, failure, holds, lead, nobody, pairs, patch, push, wrote};

const APPLIED: (DeliveryState, &str) = (DeliveryState::Succeeded, "applied");

fn unknown() -> Failure {
    Failure::new(Class::Unknown, Scope::Call, "timeout", "no answer in time")
}

pub async fn a_result_with_an_old_fence_changes_nothing_but_sets_doubt(mut ledger: Ledger) {
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    let slow = ledger.claim_one().await;
    ledger.pass(ledger.policy.lease());
    let second = ledger.claim_one().await;
    assert!(second.entries[0].claim.fence > slow.entries[0].claim.fence);
    ledger.settle(&[each(&second, wrote("003"))]).await;
    let settled = ledger.record().await;
    assert_eq!((ledger.ending(id).await, settled.state), (APPLIED, State::Clean));
    ledger.pass_seconds(400);
    let late = ledger.settle(&[each(&slow, wrote("another"))]).await;
    assert_eq!((late.late, late.ended.len()), (1, 0));
    let record = ledger.record().await;
    let window = ledger.now + ledger.policy.late_window;
    assert_eq!(record.doubt, Some(Doubt { revision: push(&slow).revision, verify_after: window }));
    assert_eq!((record.state, record.wake_at), (State::Verifying, Some(window)));
    assert_eq!(
        (record.crm_id.as_deref(), record.fence, record.pushed),
        (Some("003"), settled.fence, settled.pushed),
        "nothing else is believed"
    );
    assert_eq!(ledger.look().await.results.len(), 2, "it is noted");
    // It was the same content: it needs no look, only the time.
    ledger.now = window;
    assert!(ledger.claim().await.is_empty());
    assert_eq!((ledger.record().await.state, ledger.record().await.doubt), (State::Clean, None));
}

pub async fn a_late_refusal_says_nothing(mut ledger: Ledger) {
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    let slow = ledger.claim_one().await;
    ledger.pass(ledger.policy.lease());
    let second = ledger.claim_one().await;
    let before = ledger.record().await;
    for refusal in [failure(Class::Permanent, Scope::Record), failure(Class::Retryable, Scope::Record)] {
        let late = ledger.settle(&[answered(&slow, vec![Err(refusal)])]).await;
        assert_eq!((late.late, late.ended.len()), (1, 0));
        ledger.pass_seconds(1);
    }
    // Only that its worker lives after all.
    let unchanged = model::record::Record { crashes: before.crashes, crashed_at: before.crashed_at, ..ledger.record().await };
    assert_eq!(unchanged, before);
    ledger.settle(&[each(&second, wrote("003"))]).await;
    assert_eq!(ledger.ending(id).await, APPLIED);
    // And after it was settled, the same result once more is late too.
    let again = ledger.settle(&[answered(&second, vec![Err(failure(Class::Permanent, Scope::Record))])]).await;
    assert_eq!((again.late, ledger.ending(id).await), (1, APPLIED));
}

pub async fn a_lease_that_ends_is_taken_over_with_what_was_sent_in_doubt(mut ledger: Ledger) {
    let first = ledger.deliver(lead("k1", "1").says("city", "Bern").at(1)).await;
    let lost = ledger.claim_one().await;
    let second = ledger.deliver(lead("k2", "1").says("company", "Example").at(2)).await;
    ledger.pass(ledger.policy.lease() - Duration::from_micros(1));
    assert!(ledger.claim().await.is_empty(), "a lease holds to its last moment");
    ledger.pass(Duration::from_micros(1));
    let taken = Ledger { holder: "worker-2".into(), ..ledger.clone() }.claim_one().await;
    let record = ledger.record().await;
    let window = ledger.now + ledger.policy.late_window;
    assert_eq!(record.doubt, Some(Doubt { revision: push(&lost).revision, verify_after: window }));
    assert_eq!(record.body.late, [("City".to_owned(), vec![json!("Bern")])].into());
    assert_eq!((record.lease.unwrap().holder, record.crashes), ("worker-2".to_owned(), 1));
    assert_eq!(patch(&taken), pairs(&[("City", "Bern"), ("Company", "Example")]), "what may not have been written goes again");
    ledger.settle(&[each(&taken, wrote("003"))]).await;
    assert_eq!((ledger.state(first).await, ledger.state(second).await), (DeliveryState::Open, DeliveryState::Open));
    assert_eq!((ledger.record().await.state, ledger.record().await.wake_at), (State::Verifying, Some(window)));
}

pub async fn the_same_content_in_doubt_settles_at_once(mut ledger: Ledger) {
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    let first = ledger.claim_one().await;
    ledger.settle(&[broke(&first, unknown())]).await;
    let second = ledger.claim_one().await;
    assert_eq!(push(&second).revision, push(&first).revision, "the same content keeps its number");
    ledger.settle(&[each(&second, wrote("003"))]).await;
    assert_eq!(ledger.ending(id).await, APPLIED);
    let record = ledger.record().await;
    assert!(record.state == State::Clean && record.doubt.is_some(), "the doubt stays for what comes within the window: {record:?}");
    // What comes within it is not certain before a look.
    let other = ledger.deliver(lead("k2", "1").says("city", "Rome").at(1)).await;
    ledger.settle(&[each(&ledger.claim_one().await, wrote("003"))]).await;
    assert_eq!((ledger.state(other).await, ledger.record().await.state), (DeliveryState::Open, State::Verifying));
    ledger.now = ledger.record().await.wake_at.unwrap();
    let read = ledger.claim_one().await;
    assert_eq!(read.kind, Kind::Verify);
    ledger.settle(&[each(&read, holds("003", &[("City", "Rome")]))]).await;
    assert!(ledger.claim().await.is_empty());
    assert_eq!((ledger.ending(other).await, ledger.record().await.doubt), (APPLIED, None));
}

/// Bern was sent and nobody knows; Rome was written after it.
async fn rome_after_bern(ledger: &mut Ledger) -> [model::DeliveryId; 2] {
    let bern = ledger.deliver(lead("k1", "1").says("city", "Bern").at(1)).await;
    ledger.settle(&[broke(&ledger.claim_one().await, unknown())]).await;
    let rome = ledger.deliver(lead("k2", "1").says("city", "Rome").at(2)).await;
    let call = ledger.claim_one().await;
    assert_eq!(patch(&call), pairs(&[("City", "Rome")]));
    ledger.settle(&[each(&call, wrote("003"))]).await;
    assert_eq!((ledger.state(bern).await, ledger.state(rome).await), (DeliveryState::Open, DeliveryState::Open));
    let record = ledger.record().await;
    assert_eq!((record.state, record.wake_at), (State::Verifying, record.doubt.map(|doubt| doubt.verify_after)));
    ledger.now = record.wake_at.unwrap() - Duration::from_micros(1);
    assert!(ledger.claim().await.is_empty(), "not before nothing can land late any more");
    ledger.now = record.wake_at.unwrap();
    [bern, rome]
}

pub async fn other_content_after_doubt_stays_open_until_a_read_makes_it_certain(mut ledger: Ledger) {
    let [bern, rome] = rome_after_bern(&mut ledger).await;
    let read = ledger.claim_one().await;
    assert_eq!(read.kind, Kind::Verify);
    let advanced = ledger.advance(&[each(&read, holds("003", &[("City", "Rome")]))]).await;
    assert!(advanced.calls.is_empty(), "it is as it should be: not written again");
    assert_eq!((ledger.ending(bern).await.1, ledger.ending(rome).await), ("superseded", APPLIED));
    let record = ledger.record().await;
    assert_eq!((record.state, record.doubt, record.pushed), (State::Clean, None, record.revision));
    assert!(record.body.late.is_empty());
}

pub async fn a_late_write_of_old_content_is_repaired(mut ledger: Ledger) {
    let [bern, rome] = rome_after_bern(&mut ledger).await;
    let read = ledger.claim_one().await;
    let advanced = ledger.advance(&[each(&read, holds("003", &[("City", "Bern")]))]).await;
    assert_eq!(patch(&advanced.calls[0]), pairs(&[("City", "Rome")]));
    ledger.settle(&[each(&advanced.calls[0], wrote("003"))]).await;
    assert_eq!((ledger.ending(bern).await.1, ledger.ending(rome).await), ("superseded", APPLIED));
    assert_eq!((ledger.record().await.state, ledger.record().await.doubt), (State::Clean, None));
}

pub async fn an_edit_of_a_person_is_not_undone_by_verification(mut ledger: Ledger) {
    let [bern, rome] = rome_after_bern(&mut ledger).await;
    let read = ledger.claim_one().await;
    let Ok(Found::Held(Some(mut present))) = holds("003", &[("City", "Paris")]) else { panic!() };
    present.modified_at = Some(ledger.now);
    let advanced = ledger.advance(&[each(&read, Ok(Found::Held(Some(present))))]).await;
    assert!(advanced.calls.is_empty(), "{:?}", advanced.calls);
    assert_eq!(ledger.record().await.body.fields.0["City"].value, "Paris");
    assert_eq!((ledger.state(bern).await, ledger.state(rome).await), (DeliveryState::Succeeded, DeliveryState::Succeeded));
}

pub async fn a_write_that_was_claimed_after_the_window_ends_the_doubt(mut ledger: Ledger) {
    let [bern, rome] = rome_after_bern(&mut ledger).await;
    let paris = ledger.deliver(lead("k3", "1").says("company", "Example").at(3)).await;
    let call = ledger.claim_one().await;
    assert_eq!(patch(&call), pairs(&[("City", "Rome"), ("Company", "Example")]), "with every field that is in doubt");
    ledger.settle(&[each(&call, wrote("003"))]).await;
    for id in [bern, rome, paris] {
        assert_eq!(ledger.state(id).await, DeliveryState::Succeeded);
    }
    assert_eq!((ledger.record().await.state, ledger.record().await.doubt), (State::Clean, None));
}

pub async fn an_unknown_outcome_is_tried_again_by_the_schedule(mut ledger: Ledger) {
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    let mut waits = Vec::new();
    for _ in 0..8 {
        let call = ledger.claim_one().await;
        // Something else succeeds meanwhile, so that each attempt counts and the breaker stays shut.
        let elsewhere = ledger.deliver(lead(&format!("e{}", waits.len()), &format!("e{}", waits.len()))).await;
        ledger.settle(&[each(&ledger.claim_one().await, wrote("x"))]).await;
        assert_eq!(ledger.state(elsewhere).await, DeliveryState::Succeeded);
        ledger.settle(&[broke(&call, unknown())]).await;
        let record = ledger.look().await.records.remove(&call.entries[0].record).unwrap().record;
        assert_eq!(record.doubt.unwrap().verify_after, ledger.now + ledger.policy.late_window);
        waits.push(record.wake_at.unwrap().since(ledger.now).as_secs());
        assert_eq!(record.attempts as usize, waits.len());
        ledger.now = record.wake_at.unwrap();
    }
    assert_eq!(waits, [0, 0, 1, 1, 2, 4, 8, 16]);
    ledger.settle(&[each(&ledger.claim_one().await, wrote("003"))]).await;
    assert_eq!(ledger.ending(id).await, APPLIED);
}

pub async fn an_answer_without_an_item_is_unknown_for_that_record(ledger: Ledger) {
    let first = ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    let second = ledger.deliver(lead("k2", "2").says("city", "Bern")).await;
    let call = ledger.claim_one().await;
    ledger.settle(&[answered(&call, vec![wrote("003")])]).await;
    let ends = [ledger.state(first).await, ledger.state(second).await];
    assert_eq!(ends, [DeliveryState::Succeeded, DeliveryState::Open]);
    let record = &ledger.look().await.records[&ledger.record_of(second).await].record;
    assert!(record.doubt.is_some() && record.state == State::Waiting);
}

pub async fn a_timeout_halves_the_next_call(mut ledger: Ledger) {
    let drafts: Vec<_> = (0..16).map(|n| lead(&format!("k{n}"), &format!("{n}")).says("city", "Bern")).collect();
    ledger.accept(&drafts).await;
    let call = ledger.claim_one().await;
    assert_eq!(call.entries.len(), 16);
    let advanced = ledger.advance(&[broke(&call, unknown())]).await;
    assert_eq!(advanced.calls.iter().map(|call| call.entries.len()).collect::<Vec<_>>(), [8, 8]);
    // Kept on the record: a crash does not form the same group again.
    ledger.pass(ledger.policy.lease());
    assert_eq!(ledger.claim().await.iter().map(|call| call.entries.len()).collect::<Vec<_>>(), [8, 8]);
}

pub async fn attempts_run_out_only_after_a_look_when_in_doubt(mut ledger: Ledger) {
    ledger.policy.schedule = model::schedule::Schedule::new(vec![Duration::ZERO; 2]).unwrap();
    for (key, there) in [("k1", true), ("k2", false)] {
        let id = ledger.deliver(lead(key, key).says("city", "Bern")).await;
        for _ in 0..2 {
            let call = ledger.claim_one().await;
            let elsewhere = lead(&format!("{key}{}", call.id), &call.id.to_string());
            ledger.deliver(elsewhere).await;
            ledger.settle(&[each(&ledger.claim_one().await, wrote("x"))]).await;
            ledger.settle(&[broke(&call, unknown())]).await;
        }
        let record = ledger.look().await.records.remove(&ledger.record_of(id).await).unwrap().record;
        assert_eq!((record.state, record.wake_at), (State::Verifying, record.doubt.map(|doubt| doubt.verify_after)));
        assert!(ledger.claim().await.is_empty());
        assert_eq!(ledger.state(id).await, DeliveryState::Open, "a person must not be told before it is known");
        ledger.now = record.wake_at.unwrap();
        let read = ledger.claim_one().await;
        assert_eq!(read.kind, Kind::Verify);
        ledger.advance(&[each(&read, if there { holds("003", &[("City", "Bern")]) } else { nobody() })]).await;
        if there {
            assert_eq!(ledger.state(id).await, DeliveryState::Succeeded);
        } else {
            let dead = ledger.dead_letter(id).await;
            assert_eq!((dead.reason, dead.attempts), (Reason::AttemptsExhausted, 2));
        }
    }
}

pub async fn a_delivery_that_kills_its_worker_is_taken_out_and_its_neighbours_go_on(mut ledger: Ledger) {
    let guilty = ledger.deliver(lead("k1", "1").says("city", "Bern").at(1)).await;
    let neighbour = ledger.deliver(lead("k2", "1").says("company", "Example").at(2)).await;
    let far = ledger.deliver(lead("k3", "2").says("city", "Rome")).await;
    let mut crm = Crm::default();
    for _ in 0..20 {
        // Whoever takes the guilty one dies with the whole call.
        let calls = ledger.claim().await;
        let lives = |call: &store::Call| {
            call.entries.iter().all(|entry| !matches!(&entry.claim.step, model::protocol::Step::Push(push) if push.shares.iter().any(|share| share.delivery == guilty)))
        };
        let finished: Vec<_> = calls.iter().filter(|call| lives(call)).map(|call| crm.answer(call)).collect();
        ledger.settle(&finished).await;
        ledger.pass(ledger.policy.lease());
    }
    let dead = ledger.dead_letter(guilty).await;
    assert_eq!((dead.reason, ledger.state(guilty).await), (Reason::Poison, DeliveryState::Quarantined));
    ledger.work(&mut crm, Duration::from_secs(1_000)).await;
    assert_eq!((ledger.ending(neighbour).await, ledger.ending(far).await), (APPLIED, APPLIED));
}

pub async fn a_few_crashes_take_nobody_out(mut ledger: Ledger) {
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    for _ in 0..5 {
        ledger.claim_one().await;
        ledger.pass(ledger.policy.lease());
    }
    let mut crm = Crm::default();
    ledger.work_now(&mut crm).await;
    assert_eq!(ledger.ending(id).await, APPLIED);
    assert_eq!(ledger.record().await.crashes, 0, "a result forgets them");
    // An instance that was killed before it sent anything is no proof of a write, but it is not known either.
    let written = Ok(Found::Wrote(Written::default()));
    let second = ledger.deliver(lead("k2", "2").says("city", "Bern")).await;
    ledger.settle(&[each(&ledger.claim_one().await, written)]).await;
    assert_eq!(ledger.ending(second).await, APPLIED);
}
