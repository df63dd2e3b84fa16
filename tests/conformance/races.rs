//! What holds when many do it at once, or stop half-way.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use model::RecordId;
use model::event::Mode;
use store::rows::DeliveryState;
use store::{Call, Disposition, Store};
use tokio::task::JoinSet;

use crate::support::{Arm, Crm, DESTINATIONS, Draft, Glass, Ledger, SOURCES, lead};

const ARMS: [Arm; 3] = [Arm::Memory, Arm::Sqlite, Arm::Postgres];

/// Nobody is given a record that somebody else has.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_workers_never_hold_one_record_twice() {
    for arm in ARMS {
        let (mut ledger, keepsake) = Ledger::fresh(arm).await;
        (ledger.policy.concurrency, ledger.policy.calls, ledger.group_limit) = (64, 10_000, 7);
        let drafts: Vec<Draft> = (0..300).map(|n| lead(&format!("k{n}"), &format!("{n}")).says("city", "Bern")).collect();
        ledger.accept_batch(&[ledger.request(&drafts)]).await;
        let mut workers = JoinSet::new();
        for worker in 0..8 {
            let ledger = Ledger { holder: format!("worker-{worker}"), ..ledger.clone() };
            workers.spawn(async move {
                let mut held: Vec<Call> = Vec::new();
                for _ in 0..400 {
                    let advanced = ledger.advance(&[]).await;
                    if advanced.calls.is_empty() && advanced.next.is_none_or(|next| next > ledger.now) {
                        break;
                    }
                    held.extend(advanced.calls);
                    tokio::task::yield_now().await;
                }
                (ledger, held)
            });
        }
        let all = workers.join_all().await;
        let mut claimed: BTreeMap<RecordId, i64> = BTreeMap::new();
        for entry in all.iter().flat_map(|(_, held)| held).flat_map(|call| &call.entries) {
            assert_eq!(claimed.insert(entry.record, entry.claim.fence), None, "{} was given to two", entry.record);
        }
        assert_eq!(claimed.len(), 300);
        let seen = ledger.look().await;
        assert!(seen.records.iter().all(|(id, entry)| entry.record.fence == claimed[id] && entry.record.lease.is_some()));
        // All of them settle at once.
        let mut settling = JoinSet::new();
        for (ledger, held) in all {
            settling.spawn(async move {
                let mut crm = Crm::default();
                for call in held {
                    ledger.settle(&[crm.answer(&call)]).await;
                }
            });
        }
        settling.join_all().await;
        let seen = ledger.look().await;
        seen.check();
        assert!(seen.deliveries.values().all(|delivery| delivery.state == DeliveryState::Succeeded));
        assert!(seen.leases.is_empty());
        drop(keepsake);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_and_workers_about_one_hot_record_do_not_hold_each_other_up() {
    for arm in ARMS {
        let (ledger, keepsake) = Ledger::fresh(arm).await;
        let mut senders = JoinSet::new();
        for sender in 0..2 {
            let ledger = ledger.clone();
            senders.spawn(async move {
                let mut accepted = 0;
                for n in 0..60 {
                    // Each key comes from both senders, and under two identifiers of one person.
                    let hot = lead(&format!("k{n}"), "hot").email("hot@example.com").says("city", format!("c{n}")).at(n);
                    let own = lead(&format!("s{sender}-{n}"), "1").anonymous().email("HOT@example.com").says("company", "x").at(n);
                    let answered = ledger.accept(&[hot, own]).await;
                    accepted += answered.iter().filter(|event| event.status == Disposition::Accepted).count();
                }
                accepted
            });
        }
        let worker = {
            let mut ledger = ledger.clone();
            tokio::spawn(async move {
                let mut crm = Crm::default();
                for _ in 0..60 {
                    ledger.work_now(&mut crm).await;
                    tokio::task::yield_now().await;
                }
                crm
            })
        };
        let accepted: Vec<usize> = tokio::time::timeout(Duration::from_secs(60), senders.join_all()).await.expect("nobody waits for ever");
        assert_eq!(accepted.iter().sum::<usize>(), 60 + 2 * 60, "each key is accepted once, whoever comes first");
        let mut crm = worker.await.unwrap();
        let mut ledger = ledger;
        ledger.work_now(&mut crm).await;
        let seen = ledger.look().await;
        seen.check();
        assert_eq!(seen.records.len(), 1, "and all of it is one person");
        assert!(seen.deliveries.values().all(|delivery| delivery.state == DeliveryState::Succeeded));
        assert_eq!(crm.field("Contact", "hot", "City"), Some(&serde_json::json!("c59")));
        drop(keepsake);
    }
}

/// Polls a future so often and drops it: a client that hangs up, a worker that is stopped.
struct Dropped<F> {
    future: Pin<Box<F>>,
    polls: usize,
}

impl<F: Future> Future for Dropped<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        self.future.as_mut().poll(context).map(Some)
    }
}

fn dropped_after<F: Future>(polls: usize, future: F) -> Dropped<F> {
    Dropped { future: Box::pin(future), polls }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_no_longer_waits_leaves_no_transaction_open_and_loses_nothing_that_was_answered() {
    for arm in ARMS {
        let (mut ledger, keepsake) = Ledger::fresh(arm).await;
        let (mut answered, mut dropped) = (BTreeSet::new(), 0);
        for polls in 1..60 {
            let draft =
                lead(&format!("k{polls}"), &format!("{}", polls % 7)).email(&format!("p{}@example.com", polls % 7)).says("city", "Bern");
            let request = [ledger.request(&[draft])];
            match dropped_after(polls, ledger.store.accept(ledger.now, &request)).await {
                Some(committed) => drop(answered.insert(committed.unwrap().answers[0][0].id)),
                None => dropped += 1,
            }
            // The next one finds a ledger that works, and sees only whole commits.
            ledger.store.writable().await.unwrap();
            let seen = ledger.look().await;
            seen.check();
            assert_eq!(seen.raw_events.len(), seen.events.len());
            assert_eq!(seen.events.len(), seen.deliveries.len());
        }
        // In the process there is nothing to wait for half-way; a server can be left alone with half of it, and forgets that.
        assert_eq!(dropped > 5, matches!(arm, Arm::Postgres), "{dropped} were dropped half-way");
        let seen = ledger.look().await;
        assert!(answered.iter().all(|id| seen.events.contains_key(id)));
        assert!(answered.len() > 5);
        let mut crm = Crm::default();
        for polls in 1..60 {
            let worker = ledger.clone();
            match dropped_after(polls, async move { worker.advance(&[]).await }).await {
                Some(advanced) => {
                    let finished: Vec<_> = advanced.calls.iter().map(|call| crm.answer(call)).collect();
                    ledger.settle(&finished).await;
                }
                None => ledger.store.writable().await.unwrap(),
            }
            ledger.look().await.check();
            ledger.pass(ledger.policy.lease());
        }
        // Whoever was not answered sends again, and everything ends.
        for n in 1..60 {
            let draft = lead(&format!("k{n}"), &format!("{}", n % 7)).email(&format!("p{}@example.com", n % 7)).says("city", "Bern");
            ledger.accept(&[draft]).await;
        }
        ledger.work(&mut crm, Duration::from_secs(3_600)).await;
        let seen = ledger.look().await;
        seen.check();
        assert_eq!((seen.events.len(), seen.records.len()), (59, 7));
        let ends: Vec<_> = seen.deliveries.values().filter(|delivery| delivery.state != DeliveryState::Succeeded).collect();
        assert!(ends.is_empty(), "{ends:?}");
        drop(keepsake);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_died_leaves_nothing_behind_but_doubt() {
    let (mut ledger, folder) = Ledger::fresh(Arm::Sqlite).await;
    let first = ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    let read = ledger.deliver(lead("k2", "2").to("Lead", Mode::Upsert)).await;
    assert_eq!(ledger.claim().await.len(), 2);
    let Glass::Sqlite(path) = ledger.glass.clone() else { panic!() };
    let url = format!("sqlite:{}", path.display());
    let refused = Store::open(&url).await.err().expect("one process at a time");
    assert!(refused.to_string().contains("another process"), "{refused}");
    // Its successor's clock is behind: ids still go on above what is there.
    let before = ledger.now - Duration::from_secs(100);
    ledger.store = Store::memory();
    let store = open_when_free(&url).await;
    assert_eq!(store.begin_work(before, &SOURCES, &DESTINATIONS, &[]).await.unwrap(), 2, "it had two records in hand");
    ledger.store = store;
    let largest = ledger.look().await.calls.keys().map(|id| id.0).max().unwrap();
    assert!(ledger.store.next_id(before) > largest);
    assert!(ledger.look().await.leases.is_empty());
    ledger.now = before;
    let calls = ledger.claim().await;
    assert_eq!(calls.len(), 2, "nobody waits for the dead one's lease: {calls:?}");
    let seen = ledger.look().await;
    assert!(seen.records[&seen.deliveries[&first].record.unwrap()].record.doubt.is_some());
    assert!(seen.records[&seen.deliveries[&read].record.unwrap()].record.doubt.is_none(), "a read is no doubt");
    let mut crm = Crm::default();
    let finished: Vec<_> = calls.iter().map(|call| crm.answer(call)).collect();
    ledger.settle(&finished).await;
    ledger.work(&mut crm, Duration::from_secs(600)).await;
    assert_eq!((ledger.state(first).await, ledger.state(read).await), (DeliveryState::Succeeded, DeliveryState::Succeeded));
    drop(folder);
}

/// The file's lock goes with the last handle, which the driver's own thread may hold a moment longer.
async fn open_when_free(url: &str) -> Store {
    for _ in 0..10_000 {
        match Store::open(url).await {
            Ok(store) => return store,
            Err(_) => tokio::task::yield_now().await,
        }
    }
    panic!("the file stays locked");
}

#[test]
fn a_dropped_future_is_polled_as_often_as_was_said() {
    let mut polled = 0;
    let never = std::future::poll_fn(|_| {
        polled += 1;
        Poll::<()>::Pending
    });
    let mut dropped = Box::pin(dropped_after(2, never));
    let mut context = Context::from_waker(Waker::noop());
    assert!(dropped.as_mut().poll(&mut context).is_pending());
    assert!(dropped.as_mut().poll(&mut context).is_pending());
    assert_eq!(dropped.as_mut().poll(&mut context), Poll::Ready(None));
    drop(dropped);
    assert_eq!(polled, 2);
}
