//! What the ledger promises about who goes first, and about budgets of a day.

use std::time::Duration;

use model::quota::{Day, Lane, Usage};
use model::record::State;
use model::{Class, DeliveryId, Scope, Time};
use store::rows::DeliveryState;
use store::{Call, Finished, Reopen, Reopened};

use crate::support::{Crm, Ledger, broke, each, failure, lead, wrote};

async fn take_in(ledger: &Ledger, lane: Lane, key: &str, external_id: &str) -> DeliveryId {
    let ledger = Ledger { lane, ..ledger.clone() };
    ledger.deliver(lead(key, external_id).says("city", key)).await
}

/// The keys that a call is for, in its order.
fn keys(call: &Call) -> Vec<&str> {
    call.entries.iter().map(|entry| entry.key.as_str()).collect()
}

async fn lane_of(ledger: &Ledger, delivery: DeliveryId) -> Lane {
    let record = ledger.record_of(delivery).await;
    ledger.look().await.records[&record].record.lane
}

fn well(call: &Call) -> Finished {
    each(call, wrote("003"))
}

pub async fn better_lanes_go_first_and_in_a_lane_whoever_has_waited_longest(mut ledger: Ledger) {
    ledger.group_limit = 3;
    for (lane, key) in [(Lane::CatchUp, "c1"), (Lane::Replay, "r1"), (Lane::Fresh, "f1"), (Lane::Action, "a1"), (Lane::Fresh, "f2")] {
        take_in(&ledger, lane, key, key).await;
        ledger.pass_seconds(1);
    }
    let first = ledger.claim_one().await;
    assert_eq!(keys(&first), ["a1", "f1", "f2"], "they share a call");
    let second = ledger.claim_one().await;
    assert_eq!(keys(&second), ["r1", "c1"]);
    ledger.settle(&[well(&first), well(&second)]).await;
    assert!(ledger.look().await.deliveries.values().all(|delivery| delivery.state == DeliveryState::Succeeded));
}

pub async fn a_lane_has_its_turn_however_much_waits_in_better_ones(mut ledger: Ledger) {
    ledger.group_limit = 1;
    ledger.calls_max = 1;
    let late = [take_in(&ledger, Lane::CatchUp, "c1", "c1").await, take_in(&ledger, Lane::Replay, "r1", "r1").await];
    let mut first_fresh = None;
    for n in 0..30 {
        // More comes than goes, and all of it is more urgent.
        take_in(&ledger, Lane::Action, &format!("a{n}"), &format!("a{n}")).await;
        take_in(&ledger, Lane::Fresh, &format!("f{n}"), &format!("f{n}")).await;
        let call = ledger.claim_one().await;
        if keys(&call)[0].starts_with('f') {
            first_fresh.get_or_insert(n);
        }
        ledger.settle(&[well(&call)]).await;
        ledger.pass(Duration::from_millis(500));
    }
    assert!(first_fresh.is_some_and(|claim| claim < 12), "actions do not hold up fresh events for ever: {first_fresh:?}");
    for id in late {
        assert_eq!(ledger.state(id).await, DeliveryState::Succeeded);
    }
    let done = ledger.look().await.deliveries.values().filter(|delivery| delivery.state == DeliveryState::Succeeded).count();
    assert_eq!(done, 30, "and every claim had something to do");
}

pub async fn a_fresh_event_lifts_its_record_out_of_a_lower_lane(mut ledger: Ledger) {
    let first = take_in(&ledger, Lane::CatchUp, "old", "1").await;
    assert_eq!(lane_of(&ledger, first).await, Lane::CatchUp);
    let woken = ledger.record().await.wake_at;
    ledger.pass_seconds(5);
    let second = take_in(&ledger, Lane::Fresh, "new", "1").await;
    let record = ledger.record().await;
    assert_eq!((record.lane, record.state, record.wake_at), (Lane::Fresh, State::Due, woken), "it keeps its place in time");
    // And what is less urgent does not press it down.
    take_in(&ledger, Lane::CatchUp, "older", "1").await;
    assert_eq!(lane_of(&ledger, first).await, Lane::Fresh);
    let call = ledger.claim_one().await;
    ledger.settle(&[well(&call)]).await;
    assert_eq!((ledger.state(first).await, ledger.state(second).await), (DeliveryState::Succeeded, DeliveryState::Succeeded));
    // What comes next finds a record that has no lane of its own any more.
    take_in(&ledger, Lane::CatchUp, "late", "1").await;
    assert_eq!(lane_of(&ledger, first).await, Lane::CatchUp);
}

pub async fn a_record_in_a_workers_hands_or_waiting_is_lifted_too(mut ledger: Ledger) {
    let first = take_in(&ledger, Lane::CatchUp, "k1", "1").await;
    let call = ledger.claim_one().await;
    take_in(&ledger, Lane::Fresh, "k2", "1").await;
    ledger.settle(&[well(&call)]).await;
    let record = ledger.record().await;
    assert_eq!((record.state, record.lane), (State::Due, Lane::Fresh), "what came meanwhile");
    let call = ledger.claim_one().await;
    ledger.settle(&[well(&call)]).await;
    // After a failure it waits, as long as it was told to, in the lane of what is most urgent.
    let third = take_in(&ledger, Lane::CatchUp, "k3", "1").await;
    for _ in 0..3 {
        let call = ledger.claim_one().await;
        ledger.settle(&[broke(&call, failure(Class::Retryable, Scope::Call))]).await;
    }
    let waiting = ledger.record().await;
    assert_eq!((waiting.state, waiting.lane), (State::Waiting, Lane::CatchUp));
    take_in(&ledger, Lane::Fresh, "k4", "1").await;
    let lifted = ledger.record().await;
    assert_eq!((lifted.state, lifted.lane, lifted.wake_at), (State::Waiting, Lane::Fresh, waiting.wake_at), "no backoff is shortened");
    ledger.now = lifted.wake_at.unwrap();
    let call = ledger.claim_one().await;
    ledger.settle(&[well(&call)]).await;
    assert_eq!((ledger.state(first).await, ledger.state(third).await), (DeliveryState::Succeeded, DeliveryState::Succeeded));
}

pub async fn a_replay_goes_behind_fresh_events_and_before_what_was_caught_up(mut ledger: Ledger) {
    let dead = take_in(&ledger, Lane::Fresh, "dead", "dead").await;
    ledger.settle(&[each(&ledger.claim_one().await, Err(failure(Class::Permanent, Scope::Record)))]).await;
    take_in(&ledger, Lane::CatchUp, "c", "c").await;
    ledger.pass_seconds(1);
    let replay = Reopen { delivery: dead, event: None, edited: None };
    let (result, _) = ledger.store.reopen(ledger.now, "ada", "mended", &replay).await.unwrap();
    assert!(matches!(result, Reopened::Reopened { .. }), "{result:?}");
    assert_eq!((lane_of(&ledger, dead).await, ledger.delivery(dead).await.lane), (Lane::Replay, Lane::Replay));
    ledger.pass_seconds(1);
    take_in(&ledger, Lane::Fresh, "f", "f").await;
    assert_eq!(keys(&ledger.claim_one().await), ["f", "dead", "c"]);
}

pub async fn a_duplicate_push_lifts_what_was_caught_up(ledger: Ledger) {
    let id = take_in(&ledger, Lane::CatchUp, "k1", "1").await;
    let copy = lead("k1", "1").says("city", "k1");
    ledger.accept(&[copy]).await;
    assert_eq!(lane_of(&ledger, id).await, Lane::Fresh);
}

/// Claims and settles until nothing more may be claimed; says how many calls that took.
async fn exhaust(ledger: &Ledger) -> usize {
    let mut made = 0;
    loop {
        let calls = ledger.claim().await;
        if calls.is_empty() {
            return made;
        }
        made += calls.len();
        ledger.settle(&calls.iter().map(well).collect::<Vec<_>>()).await;
    }
}

async fn some(ledger: &Ledger, lane: Lane, prefix: &str, count: usize) {
    for n in 0..count {
        take_in(ledger, lane, &format!("{prefix}{n}"), &format!("{prefix}{n}")).await;
    }
}

pub async fn a_days_budget_rests_the_destination_which_wakes_by_itself(mut ledger: Ledger) {
    (ledger.policy.daily, ledger.policy.day) = (Some(5), Day::parse("UTC").unwrap());
    (ledger.group_limit, ledger.policy.reserve) = (1, 0);
    some(&ledger, Lane::Fresh, "f", 8).await;
    assert_eq!(exhaust(&ledger).await, 5);
    let advanced = ledger.advance(&[]).await;
    let midnight = Time(ledger.now.0 - ledger.now.0.rem_euclid(86_400_000_000)) + Duration::from_secs(86_400);
    assert_eq!((advanced.destination.state(ledger.now), advanced.next), ("throttled", Some(midnight)));
    assert_eq!((advanced.destination.until(ledger.now), advanced.destination.left(ledger.now)[1].left), (Some(midnight), 0));
    let records = ledger.look().await.records;
    assert!(records.values().all(|entry| (entry.record.attempts, entry.record.tries) == (0, 0)), "it costs nobody an attempt");
    // More that comes changes nothing, nor does another worker.
    some(&ledger, Lane::Action, "a", 1).await;
    assert!(Ledger { holder: "worker-2".into(), ..ledger.clone() }.claim().await.is_empty());
    ledger.now = midnight;
    assert_eq!(exhaust(&ledger).await, 4);
    let advanced = ledger.advance(&[]).await;
    assert_eq!((advanced.destination.state(ledger.now), advanced.next), ("active", None));
    assert!(ledger.look().await.deliveries.values().all(|delivery| delivery.state == DeliveryState::Succeeded));
}

pub async fn the_days_budget_is_shared_by_every_worker(mut ledger: Ledger) {
    (ledger.policy.daily, ledger.policy.reserve, ledger.policy.concurrency) = (Some(7), 0, 100);
    (ledger.group_limit, ledger.calls_max) = (1, 3);
    some(&ledger, Lane::Fresh, "f", 20).await;
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..6 {
        let worker = Ledger { holder: format!("worker-{number}"), ..ledger.clone() };
        workers.spawn(async move { exhaust(&worker).await });
    }
    assert_eq!(workers.join_all().await.into_iter().sum::<usize>(), 7);
    assert_eq!(ledger.look().await.calls.len(), 7);
}

pub async fn the_reserve_of_a_day_is_kept_for_fresh_events_and_actions(mut ledger: Ledger) {
    (ledger.policy.daily, ledger.policy.reserve, ledger.policy.day) = (Some(10), 40, Day::parse("UTC").unwrap());
    (ledger.group_limit, ledger.calls_max) = (1, 4);
    some(&ledger, Lane::CatchUp, "c", 8).await;
    assert_eq!(exhaust(&ledger).await, 6);
    let advanced = ledger.advance(&[]).await;
    let midnight = Time(ledger.now.0 - ledger.now.0.rem_euclid(86_400_000_000)) + Duration::from_secs(86_400);
    assert_eq!((advanced.destination.state(ledger.now), advanced.next), ("active", Some(midnight)));
    assert!(advanced.destination.because(ledger.now).unwrap().contains("replays"));
    // What is urgent goes, up to the last call.
    some(&ledger, Lane::Fresh, "f", 3).await;
    some(&ledger, Lane::Action, "a", 3).await;
    assert_eq!(exhaust(&ledger).await, 4);
    assert_eq!(ledger.advance(&[]).await.destination.state(ledger.now), "throttled");
    let open = ledger.look().await.deliveries.values().filter(|delivery| delivery.state == DeliveryState::Open).count();
    assert_eq!(open, 4);
    ledger.now = midnight;
    assert_eq!(exhaust(&ledger).await, 4);
}

pub async fn what_the_crm_tells_of_its_own_count_holds_for_every_worker(mut ledger: Ledger) {
    ledger.group_limit = 1;
    ledger.calls_max = 1;
    ledger.policy.reserve = 0;
    some(&ledger, Lane::Fresh, "f", 6).await;
    let call = ledger.claim_one().await;
    // Others have used the account.
    let told = Finished { usage: vec![Usage::day(998, 1_000)], ..well(&call) };
    ledger.settle(&[told]).await;
    let other = Ledger { holder: "worker-2".into(), ..ledger.clone() };
    assert_eq!(exhaust(&other).await, 2);
    assert!(ledger.claim().await.is_empty());
    assert_eq!(ledger.advance(&[]).await.destination.state(ledger.now), "throttled");
    // A rolling day frees up by itself: it is asked again after an hour.
    ledger.pass_seconds(3_600);
    assert_eq!(ledger.claim().await.len(), 1);
}

pub async fn a_call_counts_as_the_requests_that_it_took(mut ledger: Ledger) {
    (ledger.policy.daily, ledger.policy.reserve) = (Some(10), 0);
    ledger.group_limit = 1;
    some(&ledger, Lane::Fresh, "f", 3).await;
    ledger.calls_max = 1;
    let left = |advanced: &store::Advanced, now| advanced.destination.left(now)[1].left;
    let call = ledger.claim_one().await;
    let advanced = ledger.settle(&[Finished { requests: 4, ..well(&call) }]).await;
    assert_eq!(left(&advanced, ledger.now), 6, "a look-up of three steps and a token");
    let call = ledger.claim_one().await;
    let advanced = ledger.settle(&[Finished { requests: 0, ..each(&call, Ok(model::protocol::Found::NotSent)) }]).await;
    assert_eq!(left(&advanced, ledger.now), 6, "what was not sent");
    let mut crm = Crm::default();
    ledger.work(&mut crm, Duration::from_secs(60)).await;
    assert_eq!(left(&ledger.advance(&[]).await, ledger.now), 4);
}
