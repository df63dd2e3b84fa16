use std::time::Duration;

use ingest::Limits;
use store::Store;

use crate::support::*;

/// Row 24.
#[tokio::test]
async fn one_connection_too_many_is_told_so_at_once() {
    let running = Running::start(Limits { connections: 2, ..Limits::default() }).await;
    let mut held = [running.connect().await, running.connect().await];
    for client in &mut held {
        client.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(client.answer().await.unwrap().status, 200);
    }
    let mut third = running.connect().await;
    let answer = third.answer().await.unwrap();
    assert_eq!((answer.status, answer.headers.contains("retry-after")), (503, true));
    third.end().await;
    let [first, mut second] = held;
    drop(first);
    let ended = tokio::time::timeout(Duration::from_secs(5), async {
        // The listener learns of a connection's end when it reads from it.
        loop {
            let mut next = running.connect().await;
            next.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
            if next.answer().await.is_some_and(|answer| answer.status == 200) {
                break;
            }
        }
    });
    ended.await.unwrap();
    second.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(second.answer().await.unwrap().status, 200);
}

/// A request of which all but the last byte has arrived.
async fn begun(running: &Running, id: &str) -> (Client, u8) {
    let body = signup(id);
    let mut bytes = request("/webhooks/demo", &running.signed("demo", &[("expect", "100-continue")], &body), &body);
    let last = bytes.pop().unwrap();
    let mut client = running.connect().await;
    client.write(&bytes).await;
    // Asking for leave shows when the request is being read.
    assert_eq!(client.answer().await.unwrap().status, 100);
    (client, last)
}

#[tokio::test]
async fn one_request_too_many_is_told_so_at_once_and_the_others_go_on() {
    let running = Running::start(Limits { in_flight: 1, ..Limits::default() }).await;
    let (mut first, last) = begun(&running, "first").await;
    let answer = running.post_signed("demo", &[], &signup("second")).await;
    assert_eq!((answer.status, answer.headers.contains("retry-after")), (429, true));
    first.write(&[last]).await;
    assert_eq!(first.answer().await.unwrap().events(), ["accepted"]);
    assert_eq!(running.post_signed("demo", &[], &signup("second")).await.events(), ["accepted"]);
}

#[tokio::test]
async fn bodies_that_would_fill_the_memory_are_refused_and_given_back() {
    let running = Running::start(Limits { held_bytes: 2048, ..Limits::default() }).await;
    let body = [signup("large"), vec![b' '; 3000]].concat();
    for _ in 0..3 {
        assert_eq!(running.post_signed("demo", &[], &body).await.status, 429);
        assert!(matches!(running.post_signed("demo", &[], &signup("small")).await.status, 200));
    }
}

#[tokio::test]
async fn stopping_lets_a_request_end_and_closes_what_is_idle() {
    let mut running = Running::start(Limits::default()).await;
    let mut idle = running.connect().await;
    idle.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(idle.answer().await.unwrap().status, 200);
    let (mut first, last) = begun(&running, "last").await;
    running.stop();
    idle.end().await;
    first.write(&[last]).await;
    assert_eq!(first.answer().await.unwrap().events(), ["accepted"]);
    first.end().await;
    tokio::time::timeout(Duration::from_secs(5), &mut running.served).await.unwrap().unwrap();
    assert_eq!(running.raw_events().await, 1);
}

#[tokio::test]
async fn stopping_waits_only_so_long_for_a_request_that_does_not_end() {
    let mut running = Running::start(Limits { stop: Duration::from_millis(200), ..Limits::default() }).await;
    let (mut first, _last) = begun(&running, "never").await;
    running.stop();
    tokio::time::timeout(Duration::from_secs(5), &mut running.served).await.unwrap().unwrap();
    first.end().await;
}

#[tokio::test]
async fn many_senders_at_once_are_all_answered() {
    let running = std::sync::Arc::new(Running::with(door(Store::memory(), Limits::default())).await);
    let senders: Vec<_> = (0..64)
        .map(|sender| {
            let running = running.clone();
            tokio::spawn(async move {
                let mut client = running.connect().await;
                for n in 0..10 {
                    let body = signup(&format!("{sender}-{n}"));
                    client.write(&request("/webhooks/demo", &running.signed("demo", &[], &body), &body)).await;
                    assert_eq!(client.answer().await.unwrap().events(), ["accepted"]);
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    assert_eq!(running.raw_events().await, 640);
}
