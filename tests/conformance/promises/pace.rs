//! What the worker's operation promises about how fast a destination is asked, and whether at all.

use std::time::Duration;

use model::destination::OnAuthFailure;
use model::record::State;
use model::{Class, Failure, Reason, Scope};
use store::rows::DeliveryState;

use crate::support::{Crm, Ledger, broke, each, failure, lead, wrote};

const APPLIED: (DeliveryState, &str) = (DeliveryState::Succeeded, "applied");

async fn some(ledger: &Ledger, prefix: &str, count: usize) {
    let drafts: Vec<_> = (0..count).map(|n| lead(&format!("{prefix}{n}"), &format!("{prefix}{n}")).says("city", "Bern")).collect();
    ledger.accept(&drafts).await;
}

pub async fn throttling_pauses_the_destination_and_costs_no_attempt(mut ledger: Ledger) {
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    let slower = Failure { retry_after: Some(Duration::from_secs(30)), ..failure(Class::Throttled, Scope::Destination) };
    let call = ledger.claim_one().await;
    let advanced = ledger.advance(&[broke(&call, slower)]).await;
    let until = ledger.now + Duration::from_secs(30);
    assert_eq!((advanced.calls.len(), advanced.next, advanced.destination.state(ledger.now)), (0, Some(until), "throttled"));
    let record = ledger.record().await;
    assert_eq!((record.attempts, record.tries, record.doubt, record.state), (0, 0, None, State::Due));
    some(&ledger, "other", 1).await;
    assert!(ledger.claim().await.is_empty(), "nobody goes");
    ledger.now = until;
    ledger.settle(&[each(&ledger.claim_one().await, wrote("003"))]).await;
    assert_eq!(ledger.ending(id).await, APPLIED);
}

pub async fn refused_credentials_pause_the_destination_and_cost_no_attempt(mut ledger: Ledger) {
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    let call = ledger.claim_one().await;
    let advanced = ledger.advance(&[broke(&call, failure(Class::Auth, Scope::Destination))]).await;
    assert_eq!((advanced.calls.len(), advanced.destination.state(ledger.now)), (0, "auth_failed"));
    assert_eq!((ledger.record().await.attempts, ledger.state(id).await), (0, DeliveryState::Open));
    ledger.now = advanced.next.unwrap();
    let probe = ledger.claim_one().await;
    let advanced = ledger.advance(&[each(&probe, wrote("003"))]).await;
    assert_eq!((ledger.ending(id).await, advanced.destination.state(ledger.now)), (APPLIED, "active"));
}

pub async fn refused_credentials_make_dead_letters_where_that_is_wanted(mut ledger: Ledger) {
    ledger.policy.on_auth_failure = OnAuthFailure::DeadLetter;
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    let read = ledger.deliver(lead("k2", "2").says("city", "Bern").read_first()).await;
    let calls = ledger.claim().await;
    let finished: Vec<_> = calls.iter().map(|call| broke(call, failure(Class::Auth, Scope::Destination))).collect();
    assert_eq!(ledger.settle(&finished).await.ended.len(), 2);
    for id in [id, read] {
        let dead = ledger.dead_letter(id).await;
        assert_eq!((dead.reason, dead.class), (Reason::Auth, Some(Class::Auth)));
    }
}

pub async fn an_open_breaker_lets_one_probe_through(mut ledger: Ledger) {
    some(&ledger, "a", 3).await;
    let down = failure(Class::Retryable, Scope::Destination);
    let mut last = ledger.advance(&[]).await;
    for _ in 0..20 {
        if last.destination.state(ledger.now) == "breaker_open" {
            break;
        }
        let finished: Vec<_> = last.calls.iter().map(|call| broke(call, down.clone())).collect();
        ledger.now = if finished.is_empty() { last.next.unwrap() } else { ledger.now };
        last = ledger.advance(&finished).await;
    }
    assert_eq!((last.destination.state(ledger.now), last.destination.failures), ("breaker_open", 5));
    ledger.now = last.next.unwrap();
    some(&ledger, "b", 3).await;
    // Eight workers at once, and the probe goes once; with one record.
    let mut probes = Vec::new();
    for worker in 0..8 {
        probes.extend(Ledger { holder: format!("worker-{worker}"), ..ledger.clone() }.claim().await);
    }
    assert_eq!((probes.len(), probes[0].entries.len()), (1, 1));
    let advanced = ledger.advance(&[broke(&probes[0], down)]).await;
    assert!(advanced.calls.is_empty());
    assert!(advanced.next.unwrap() >= ledger.now + Duration::from_secs(2), "the wait doubles");
    ledger.now = advanced.next.unwrap();
    let mut crm = Crm::default();
    let probe = ledger.claim_one().await;
    let advanced = ledger.settle(&[crm.answer(&probe)]).await;
    assert_eq!(advanced.destination.state(ledger.now), "active");
    ledger.work(&mut crm, Duration::from_secs(60)).await;
    assert!(ledger.look().await.deliveries.values().all(|delivery| delivery.state == DeliveryState::Succeeded));
}

pub async fn the_quota_is_shared_by_every_worker(mut ledger: Ledger) {
    (ledger.policy.calls, ledger.policy.concurrency, ledger.group_limit) = (3, 100, 1);
    some(&ledger, "a", 30).await;
    let begin = ledger.now;
    let mut claimed_at = Vec::new();
    for round in 0..400 {
        let worker = Ledger { holder: format!("worker-{}", round % 8), ..ledger.clone() };
        let calls = worker.claim().await;
        claimed_at.extend(calls.iter().map(|_| worker.now));
        let finished: Vec<_> = calls.iter().map(|call| each(call, wrote("003"))).collect();
        worker.settle(&finished).await;
        ledger.pass(Duration::from_millis(50));
    }
    assert_eq!(claimed_at.len(), 30);
    for (place, at) in claimed_at.iter().enumerate() {
        let allowed = 3.0 + 3.0 * at.since(begin).as_secs_f64();
        assert!((place + 1) as f64 <= allowed + 0.001, "call {} after {:?}", place + 1, at.since(begin));
    }
    assert!(claimed_at[29].since(begin) < Duration::from_secs(11), "and what is allowed is used");
}

pub async fn concurrency_is_counted_in_calls_under_way(mut ledger: Ledger) {
    (ledger.group_limit, ledger.calls_max) = (1, 100);
    some(&ledger, "a", 6).await;
    let mut under_way = Vec::new();
    for _ in 0..6 {
        under_way.extend(ledger.claim().await);
    }
    assert_eq!(under_way.len(), 4, "as many as the policy has");
    ledger.settle(&[each(&under_way[0], wrote("003"))]).await;
    assert_eq!(ledger.claim().await.len(), 1);
    assert!(ledger.claim().await.is_empty());
    // A killed worker's calls stop counting with their leases: nothing leaks.
    ledger.pass(ledger.policy.lease());
    let mut again = Vec::new();
    for _ in 0..6 {
        again.extend(ledger.claim().await);
    }
    assert_eq!(again.len(), 4);
}

pub async fn a_paused_destination_claims_nothing_and_still_settles(ledger: Ledger) {
    let id = ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    let call = ledger.claim_one().await;
    some(&ledger, "a", 1).await;
    assert!(ledger.store.pause(ledger.now, "ada", "crm", "maintenance").await.unwrap());
    let advanced = ledger.advance(&[each(&call, wrote("003"))]).await;
    assert_eq!((advanced.calls.len(), advanced.next, advanced.destination.state(ledger.now)), (0, None, "paused"));
    assert_eq!(ledger.ending(id).await, APPLIED);
    assert!(ledger.store.resume(ledger.now, "ada", "crm", "done").await.unwrap());
    assert_eq!(ledger.claim().await.len(), 1);
}

pub async fn one_destination_does_not_hold_up_another(ledger: Ledger) {
    ledger.accept(&[lead("k1", "1").says("city", "Bern").and_to("other", "Contact")]).await;
    ledger.store.pause(ledger.now, "ada", "crm", "maintenance").await.unwrap();
    assert!(ledger.claim().await.is_empty());
    let other = Ledger { destination: "other", ..ledger.clone() };
    assert_eq!(other.claim().await.len(), 1);
}
