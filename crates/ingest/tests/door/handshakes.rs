//! Vendors that try the address first, and those that send from known networks.

use ingest::Limits;

use crate::signatures::kept;
use crate::support::*;

async fn get(running: &Running, target: &str) -> Answer {
    running.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await
}

#[tokio::test]
async fn a_challenge_is_answered_to_who_knows_the_word_and_is_no_event() {
    let running = Running::start(Limits::default()).await;
    let good = get(&running, "/webhooks/meta?hub.mode=subscribe&hub.verify_token=the-word&hub.challenge=1158201444").await;
    assert_eq!((good.status, good.body.as_str()), (200, "1158201444"));
    assert!(
        good.headers.contains("content-type: text/plain") && good.headers.contains("x-content-type-options: nosniff"),
        "{}",
        good.headers
    );
    for wrong in ["the-word2", "", "the"] {
        let target = format!("/webhooks/meta?hub.mode=subscribe&hub.verify_token={wrong}&hub.challenge=1158201444");
        let refused = get(&running, &target).await;
        assert!(matches!(refused.status, 401 | 403) && !refused.body.contains("1158201444"), "{wrong}: {refused:?}");
    }
    assert_eq!(get(&running, "/webhooks/meta").await.status, 401, "no word at all");
    assert_eq!(
        get(&running, "/webhooks/demo?hub.mode=subscribe&hub.verify_token=x&hub.challenge=1").await.status,
        405,
        "not its handshake"
    );
    let put = running.send(b"PUT /webhooks/meta?hub.challenge=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(put.status, 405);
    assert_eq!(running.raw_events().await, 0);
    assert_eq!(running.post_signed("meta", &[], &signup("after")).await.events(), ["accepted"]);
}

#[tokio::test]
async fn a_challenge_that_has_to_be_signed_is_answered_only_then() {
    let running = Running::start(Limits::default()).await;
    let body = br#"{"token":"x","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}"#;
    let answer = running.post_signed("slack", &[], body).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"));
    assert_eq!(running.post("/webhooks/slack", &running.signed("other", &[], body), body).await.status, 401);
    assert_eq!(running.post("/webhooks/slack", &[], body).await.status, 401);
    assert_eq!(running.raw_events().await, 0);
    assert_eq!(running.post_signed("slack", &[], &signup("after")).await.events(), ["accepted"]);
}

/// Whoever chooses a challenge gets a signature of it.
#[tokio::test]
async fn what_is_signed_by_a_handshakes_answer_is_refused_now_and_when_it_is_looked_at_again() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::with(door(ledger(&folder, &["x"]).await, Limits::default())).await;
    let forged = b"eyJ0eXBlIjoic2lnbnVwIn0=";
    assert_eq!(running.post_signed("x", &[], forged).await.status, 401);
    let held = kept(&running).await;
    assert_eq!(held.reason, "handshake_mismatch");
    let Ok(ingest::Rechecked::Refused { reason, .. }) = running.door.recheck(&held, NOW, [1; 12]) else { panic!("it is no event") };
    assert_eq!(reason, "handshake_mismatch");
    assert_eq!(running.post_signed("x", &[], &signup("after")).await.events(), ["accepted"]);
}

/// The tests' own connections count as a trusted proxy's.
#[tokio::test]
async fn a_source_with_known_networks_takes_nothing_from_elsewhere() {
    let running = Running::start(Limits::default()).await;
    let from = async |forwarded: &str, id: &str| running.post_signed("near", &[("x-forwarded-for", forwarded)], &signup(id)).await;
    assert_eq!(from("203.0.113.9", "near").await.events(), ["accepted"]);
    assert_eq!(from("203.0.113.9, 198.51.100.1", "far").await.status, 401, "whoever sent it wrote the first part");
    assert_eq!(from("198.51.100.1", "far").await.status, 401);
    assert_eq!(from("nowhere", "far").await.status, 401);
    assert_eq!(running.post_signed("near", &[], &signup("far")).await.status, 401, "the proxy itself");
    assert_eq!(running.raw_events().await, 1);
}
