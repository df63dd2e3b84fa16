//! What every queue promises. Each promise is a plain function that opens a queue of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::until;
use queue::{Queue, WAKEUPS_MAX};

use crate::support::{BACK, Kind, a_destination, counted, next, number, wakeup};

/// Everything that `wake` has said something about.
fn counted_in_all() -> u64 {
    ["sent", "full", "closed", "blocked", "unavailable", "unconfirmed", "refused", "returned"].map(counted).iter().sum()
}

pub async fn what_is_sent_comes_out_as_it_went_in(kind: &Kind) {
    let destination = a_destination();
    let ends = kind.open(&destination, 1).await;
    let before = counted("sent");
    (0..200).for_each(|n| ends.sender.wake(wakeup(&destination, n)));
    for n in 0..200 {
        let held = next(&ends.workers[0]).await;
        assert_eq!(number(&held), n, "one sender and one worker: in order");
        held.receipt.done();
    }
    until("all to be counted", BACK, async || (counted("sent") == before + 200).then_some(())).await;
    ends.stop().await;
}

pub async fn several_workers_share_what_comes(kind: &Kind) {
    let destination = a_destination();
    let ends = kind.open(&destination, 3).await;
    let count = Arc::new(AtomicUsize::new(0));
    let taking = ends.workers.iter().cloned().map(|worker| {
        let count = count.clone();
        tokio::spawn(async move {
            let mut taken = Vec::new();
            while let Some(held) = worker.next().await {
                taken.push(number(&held));
                held.receipt.done();
                count.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
            taken
        })
    });
    let taking: Vec<_> = taking.collect();
    (0..1_500).for_each(|n| ends.sender.wake(wakeup(&destination, n)));
    until("all to be taken", BACK, async || (count.load(Ordering::Relaxed) >= 1_500).then_some(())).await;
    ends.stop().await;
    let mut all = Vec::new();
    for taken in taking {
        let taken = taken.await.unwrap();
        assert!(!taken.is_empty(), "a worker got nothing");
        all.extend(taken);
    }
    let different: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!((all.len(), different), (1_500, (0..1_500).collect()), "each reaches exactly one worker");
}

pub async fn a_wakeup_that_nobody_settles_holds_nothing_up(kind: &Kind) {
    let destination = a_destination();
    let ends = kind.open(&destination, 1).await;
    (0..200).for_each(|n| ends.sender.wake(wakeup(&destination, n)));
    let first = next(&ends.workers[0]).await;
    for n in 1..200 {
        let held = next(&ends.workers[0]).await;
        assert_eq!(number(&held), n);
        held.receipt.done();
    }
    assert_eq!(number(&first), 0);
    first.receipt.done();
    ends.stop().await;
}

pub async fn a_flood_is_dropped_and_counted_and_never_waited_for(kind: &Kind) {
    const FLOOD: usize = WAKEUPS_MAX * 5;
    let destination = a_destination();
    let ends = kind.open(&destination, 1).await;
    let (before, sent_before) = (counted_in_all(), counted("sent"));
    let begun = Instant::now();
    (0..FLOOD).for_each(|n| ends.sender.wake(wakeup(&destination, n)));
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1), "{FLOOD} wakeups held their sender up for {took:?}");
    until("each to be counted once", BACK, async || (counted_in_all() == before + FLOOD as u64).then_some(())).await;
    let sent = counted("sent") - sent_before;
    assert!(sent >= WAKEUPS_MAX as u64, "what fits is sent: {sent}");
    assert!(counted("full") > 0, "nothing was dropped: this was no flood");
    let mut out = BTreeSet::new();
    for _ in 0..sent {
        let held = next(&ends.workers[0]).await;
        out.insert(number(&held));
        held.receipt.done();
    }
    assert_eq!(out.len() as u64, sent, "what is counted as sent comes out, once");
    ends.stop().await;
}

pub async fn a_stopped_queue_ends_and_takes_nothing_more(kind: &Kind) {
    let destination = a_destination();
    let ends = kind.open(&destination, 1).await;
    let waiting = {
        let worker: Queue = ends.workers[0].clone();
        tokio::spawn(async move { worker.next().await.is_none() })
    };
    let begun = Instant::now();
    ends.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "it took {:?} to stop", begun.elapsed());
    assert!(tokio::time::timeout(BACK, waiting).await.unwrap().unwrap(), "whoever waits is told");
    let before = counted("closed");
    ends.sender.wake(wakeup(&destination, 0));
    assert_eq!(counted("closed"), before + 1);
}
