//! One suite of promises for both queues, and what a broker does to people on top of it: dying, freezing, starving, forgetting.
//! The queue's results are counted for the whole process, so each test wants a process of its own (cargo-nextest).

mod broker;
mod promises;
mod support;

use harness::Broker;
use support::Kind;

/// Every promise, one after the other, for starting a broker takes longer than keeping them.
async fn keep_all(kind: &Kind) {
    promises::what_is_sent_comes_out_as_it_went_in(kind).await;
    promises::several_workers_share_what_comes(kind).await;
    promises::a_wakeup_that_nobody_settles_holds_nothing_up(kind).await;
    promises::a_flood_is_dropped_and_counted_and_never_waited_for(kind).await;
    promises::a_stopped_queue_ends_and_takes_nothing_more(kind).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_queue_keeps_every_promise() {
    keep_all(&Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_keeps_every_promise() {
    match std::env::var("ONCEWARD_TEST_AMQP_URL").ok().filter(|url| !url.is_empty()) {
        Some(url) => keep_all(&Kind::Rabbit(url)).await,
        None => {
            let broker = Broker::start();
            keep_all(&Kind::Rabbit(broker.url())).await;
        }
    }
}
