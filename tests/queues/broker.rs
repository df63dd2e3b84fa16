//! What a broker does to people: dying, freezing, starving, forgetting. The promise is always the same: nobody waits, what is lost is
//! counted, and it carries again by itself.

use std::time::{Duration, Instant};

use harness::{Broker, SOON, until};
use model::{DeliveryId, Reason};
use queue::{DeadLetter, Queue, State, WAKEUPS_MAX};

use crate::support::{BACK, Ends, Kind, carries_again, counted, is, next, number, rabbit, settled, wakeup};

const QUEUE: &str = "onceward.deliver.crm";

/// Sends so many wakeups, and says how long that held the sender up.
fn wake_all(sender: &Queue, numbers: std::ops::Range<usize>) -> Duration {
    let begun = Instant::now();
    numbers.for_each(|n| sender.wake(wakeup("crm", n)));
    begun.elapsed()
}

async fn sent(wakeups: u64) {
    until("all to be sent", BACK, async || (counted("sent") == wakeups).then_some(())).await;
}

async fn waiting(broker: &Broker, queue: &str, expected: [u64; 3]) {
    until(&format!("{queue} to be at {expected:?}"), BACK, async || (broker.queue(queue).await == Some(expected)).then_some(())).await;
}

async fn stops_in_time(ends: &Ends) {
    let begun = Instant::now();
    tokio::join!(ends.sender.stop(), ends.workers[0].stop());
    assert!(begun.elapsed() < Duration::from_secs(4), "it took {:?} to stop", begun.elapsed());
}

/// The threads that the client has begun in this process and not ended.
fn client_threads() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    threads.filter(|thread| std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.starts_with("lapin"))).count()
}

async fn no_threads_stay() {
    until("the client's threads to end with their connections", SOON, async || (client_threads() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_keeps_what_it_confirmed_and_is_found_again() {
    let mut broker = Broker::start();
    let ends = Kind::Rabbit(broker.url()).open("crm", 1).await;
    wake_all(&ends.sender, 0..50);
    sent(50).await;
    // Some are in the worker's hands, and one of those is settled.
    next(&ends.workers[0]).await.receipt.done();
    let in_hand = next(&ends.workers[0]).await;
    waiting(&broker, QUEUE, [17, 32, 1]).await;

    broker.kill9();
    ends.are(State::Down).await;
    assert!(wake_all(&ends.sender, 100..100 + 2 * WAKEUPS_MAX) < Duration::from_secs(1));
    assert!(counted("unavailable") >= WAKEUPS_MAX as u64, "what finds no room is counted");
    // Of a connection that is gone: settles nothing, disturbs nothing.
    in_hand.receipt.done();

    broker.restart();
    ends.are(State::Up).await;
    // A worker that comes new is given what the other one had, and was confirmed before.
    let mut missing: Vec<usize> = (1..50).collect();
    while !missing.is_empty() {
        let held = next(&ends.workers[0]).await;
        missing.retain(|n| *n != number(&held));
        held.receipt.done();
    }
    carries_again("crm", &ends.sender, &ends.workers[0]).await;
    stops_in_time(&ends).await;
    no_threads_stay().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_had_in_hand_when_it_ended_goes_to_another_one() {
    let broker = Broker::start();
    let ends = Kind::Rabbit(broker.url()).open("crm", 1).await;
    wake_all(&ends.sender, 0..5);
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(next(&ends.workers[0]).await);
    }
    held.remove(2).receipt.done();
    ends.workers[0].stop().await;
    // Held for longer, by a worker that hangs, the broker takes it back.
    broker.ctl(&["eval", "application:set_env(rabbit, consumer_timeout, 3000)."]).await;
    let other = rabbit(&broker.url(), "crm", true);
    let mut again = Vec::new();
    for _ in 0..4 {
        let held = next(&other).await;
        again.push(number(&held));
        held.receipt.done();
    }
    again.sort_unstable();
    assert_eq!(again, [0, 1, 3, 4], "all but the one that was settled before the end");
    settled(&broker, QUEUE, &other).await;

    wake_all(&ends.sender, 7..8);
    let hung = next(&other).await;
    let again = next(&other).await;
    assert_eq!((number(&hung), number(&again)), (7, 7));
    hung.receipt.done();
    again.receipt.done();
    settled(&broker, QUEUE, &other).await;

    // Ended without a goodbye.
    wake_all(&ends.sender, 9..10);
    let _held = next(&other).await;
    drop(other);
    assert_eq!(number(&next(&rabbit(&broker.url(), "crm", true)).await), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_that_are_purged_or_deleted_and_connections_that_are_closed_come_back() {
    let broker = Broker::start();
    let ends = Kind::Rabbit(broker.url()).open("crm", 0).await;
    // The sender declares it, for workers that come later.
    waiting(&broker, QUEUE, [0, 0, 0]).await;

    // Purged.
    wake_all(&ends.sender, 0..20);
    sent(20).await;
    broker.ctl(&["purge_queue", QUEUE]).await;
    waiting(&broker, QUEUE, [0, 0, 0]).await;

    // Deleted with nobody consuming: the publication comes back, is counted, and the queue is there for the next one.
    broker.ctl(&["delete_queue", QUEUE]).await;
    wake_all(&ends.sender, 20..21);
    until("it to come back", BACK, async || (counted("returned") == 1).then_some(())).await;
    wake_all(&ends.sender, 21..22);
    sent(21).await;
    waiting(&broker, QUEUE, [1, 0, 0]).await;

    // Deleted under a consumer, which is cancelled.
    let worker = rabbit(&broker.url(), "crm", true);
    carries_again("crm", &ends.sender, &worker).await;
    broker.ctl(&["delete_queue", QUEUE]).await;
    carries_again("crm", &ends.sender, &worker).await;

    // Even the exchange: the channel dies of the next publication.
    broker.ctl(&["eval", "rabbit_exchange:delete(rabbit_misc:r(<<\"/\">>, exchange, <<\"onceward\">>), false, <<\"test\">>)."]).await;
    carries_again("crm", &ends.sender, &worker).await;

    // Something that none of us wrote.
    let garbage =
        "rabbit_basic:publish(rabbit_misc:r(<<\"/\">>, exchange, <<\"onceward\">>), <<\"onceward.deliver.crm\">>, [], <<\"garbage\">>).";
    broker.ctl(&["eval", garbage]).await;
    until("it to be counted", BACK, async || (counted("undecodable") == 1).then_some(())).await;
    settled(&broker, QUEUE, &worker).await;

    // Both connections, by an operator.
    broker.ctl(&["close_all_connections", "an operator tidies up"]).await;
    carries_again("crm", &ends.sender, &worker).await;

    // Declared by an operator, otherwise than we would have, and from then on nobody else may declare anything.
    let classic =
        "rabbit_amqqueue:declare(rabbit_misc:r(<<\"/\">>, queue, <<\"onceward.deliver.other\">>), true, false, [], none, <<\"guest\">>).";
    broker.ctl(&["eval", classic]).await;
    let other = Kind::Rabbit(broker.url()).open("other", 1).await;
    carries_again("other", &other.sender, &other.workers[0]).await;
    broker.ctl(&["set_permissions", "guest", "^$", ".*", ".*"]).await;
    let again = Kind::Rabbit(broker.url()).open("other", 1).await;
    carries_again("other", &again.sender, &again.workers[0]).await;
    broker.ctl(&["set_permissions", "guest", ".*", ".*", ".*"]).await;

    // Dead letters are shown in a queue of their own, and that comes back as well.
    let letter = |n| DeadLetter {
        delivery: DeliveryId(n),
        destination: "crm".into(),
        object: "Lead".into(),
        reason: Reason::Unmapped,
        at: harness::now(),
    };
    ends.sender.dead_letter(letter(1));
    waiting(&broker, "onceward.dead-letters", [1, 0, 0]).await;
    broker.ctl(&["delete_queue", "onceward.dead-letters"]).await;
    ends.sender.dead_letter(letter(2));
    until("the queue to be declared again", BACK, async || broker.queue("onceward.dead-letters").await).await;
    ends.sender.dead_letter(letter(3));
    waiting(&broker, "onceward.dead-letters", [1, 0, 0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_without_memory_takes_nothing_gives_all_it_has_and_holds_nobody_up() {
    let broker = Broker::start();
    let ends = Kind::Rabbit(broker.url()).open("crm", 1).await;
    wake_all(&ends.sender, 0..100);
    sent(100).await;

    broker.alarm(true).await;
    until("the alarm to be noticed", BACK, async || {
        wake_all(&ends.sender, 1_000..1_001);
        (ends.sender.state() == State::Blocked).then_some(())
    })
    .await;
    assert_eq!(ends.workers[0].state(), State::Up, "who publishes nothing is not stopped");
    for n in 0..100 {
        let held = next(&ends.workers[0]).await;
        assert_eq!(number(&held), n);
        // More than the broker gives without being told that the first are done.
        held.receipt.done();
    }
    assert!(wake_all(&ends.sender, 2_000..2_000 + 2 * WAKEUPS_MAX) < Duration::from_secs(1));
    assert!(counted("blocked") >= WAKEUPS_MAX as u64, "what finds no room is counted as what it is");
    assert_eq!(
        counted("unconfirmed") + counted("unavailable"),
        0,
        "what waits for the end of the alarm is not lost, and the connection is kept"
    );

    broker.alarm(false).await;
    is(&ends.sender, State::Up).await;
    carries_again("crm", &ends.sender, &ends.workers[0]).await;

    // Under the next alarm somebody stops.
    broker.alarm(true).await;
    until("the alarm to be noticed", BACK, async || {
        wake_all(&ends.sender, 1_000..1_001);
        (ends.sender.state() == State::Blocked).then_some(())
    })
    .await;
    stops_in_time(&ends).await;
    no_threads_stay().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_broker_is_given_up_and_found_again_when_it_thaws() {
    let broker = Broker::start();
    // The worker notices by the heartbeat that is missing; the sender, with one of 10 s, by what is not confirmed.
    let worker = rabbit(&format!("{}?heartbeat=2", broker.url()), "crm", true);
    let ends = Ends { sender: rabbit(&broker.url(), "crm", false), workers: vec![worker] };
    ends.are(State::Up).await;
    carries_again("crm", &ends.sender, &ends.workers[0]).await;

    broker.freeze();
    let frozen = Instant::now();
    assert!(wake_all(&ends.sender, 0..50) < Duration::from_secs(1));
    ends.are(State::Down).await;
    assert!(frozen.elapsed() < Duration::from_secs(15), "noticed after {:?}", frozen.elapsed());
    assert!(counted("unconfirmed") > 0, "what was under way may have arrived or not, and is counted so");
    // Two attempts at least, each of which is accepted by the machine and answered by nobody.
    let begun = Instant::now();
    until("attempts to fail", Duration::from_secs(40), async || {
        assert!(client_threads() <= 4, "each attempt leaves a thread behind: {}", client_threads());
        (begun.elapsed() > Duration::from_secs(22)).then_some(())
    })
    .await;
    broker.thaw();
    ends.are(State::Up).await;
    carries_again("crm", &ends.sender, &ends.workers[0]).await;

    broker.freeze();
    stops_in_time(&ends).await;
    no_threads_stay().await;
    broker.thaw();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_not_there_is_nobodys_problem() {
    // Nobody listens on port 1.
    let queue = rabbit("amqp://ann:s3cret@127.0.0.1:1", "crm", true);
    assert!(wake_all(&queue, 0..2 * WAKEUPS_MAX) < Duration::from_secs(1));
    assert_eq!((queue.state(), counted("unavailable")), (State::Down, WAKEUPS_MAX as u64), "what finds no room is counted");
    let begun = Instant::now();
    queue.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "it took {:?} to stop", begun.elapsed());
    assert_eq!(counted("unavailable"), 2 * WAKEUPS_MAX as u64, "so is what never left");
    assert!(queue.next().await.is_none());
}
