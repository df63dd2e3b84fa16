use std::io::Write as _;

use ingest::Limits;
use model::seal::unpack;
use store::Store;

use crate::support::*;

/// Rows 6, 7.
#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_and_without_a_length() {
    let running = Running::start(Limits::default()).await;
    let body = vec![b' '; BODY_MAX + 1];
    assert_eq!(running.post_signed("demo", &[], &body).await.status, 413);
    let mut chunked = b"POST /webhooks/demo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    chunked.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
    chunked.extend_from_slice(&body);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    assert_eq!(running.send(&chunked).await.status, 413);
    assert_ne!(running.post_signed("demo", &[], &body[1..]).await.status, 413);
}

/// Rows 20, 21.
#[tokio::test]
async fn unknown_paths_are_all_alike_and_known_ones_say_what_they_take() {
    let running = Running::start(Limits::default()).await;
    let mut answers = Vec::new();
    for path in [
        "/",
        "/webhooks",
        "/webhooks/",
        "/webhooks/nobody",
        "//webhooks/demo",
        "/webhooks//demo",
        "/webhooks/demo/",
        "/webhooks/%64emo",
        "/x/../webhooks/demo",
        "/webhooks/DEMO",
        "/metrics",
        "/api/events",
    ] {
        let answer = running.post(path, &[], b"{}").await;
        assert_eq!(answer.status, 404, "{path}");
        answers.push(answer.body);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = running.send(format!("{method} /webhooks/demo HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.headers.contains("allow: post"), "{}", answer.headers);
    }
}

#[tokio::test]
async fn a_source_that_once_existed_is_answered_with_503() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::with(door(ledger(&folder, &["gone"]).await, Limits::default())).await;
    for _ in 0..2 {
        let answer = running.post("/webhooks/gone", &[], b"{}").await;
        assert_eq!((answer.status, answer.headers.contains("retry-after")), (503, true));
        assert_eq!(running.post("/webhooks/never", &[], b"{}").await.status, 404);
    }
}

/// Row 51.
#[tokio::test]
async fn compressed_bodies_are_refused_whatever_they_hold() {
    let running = Running::start(Limits::default()).await;
    let body = signup("compressed");
    for encoding in ["gzip", "zstd", "br", "deflate", "gzip, gzip", "identity", ""] {
        assert_eq!(running.post_signed("demo", &[("content-encoding", encoding)], &body).await.status, 415, "{encoding}");
    }
}

/// Rows 51 to 53: what is signed, read and kept is the body before it was compressed.
#[tokio::test]
async fn a_source_that_takes_gzip_reads_what_was_packed_up_to_its_limit() {
    let running = Running::start(Limits::default()).await;
    let pack = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let body = signup("packed");
    let sent = |body: &[u8], encoding: &str, packed: Vec<u8>| {
        let mut headers = running.signed("packed", &[], body);
        headers.push(("content-encoding".to_owned(), encoding.to_owned()));
        request("/webhooks/packed", &headers, &packed)
    };
    assert_eq!(running.send(&sent(&body, "gzip", pack(&body))).await.events(), ["accepted"]);
    assert_eq!(running.post_signed("packed", &[], &body).await.events(), ["duplicate"]);
    let tables = running.door.store.tables().await.unwrap();
    let (&raw, row) = tables.raw_events.first_key_value().unwrap();
    let opened = running.door.keys.open(raw, row.key_id, &row.sealed).unwrap();
    let kept = unpack(&opened).unwrap();
    assert_eq!(kept.body, body);
    assert!(kept.headers.iter().all(|(name, _)| name != "content-encoding"));
    drop(tables);
    // Signed over the packed bytes, or packed wrongly, or twice, or too much of it, or in another way.
    assert_eq!(running.send(&sent(&pack(&body), "gzip", pack(&body))).await.status, 401);
    assert_eq!(running.send(&sent(&body, "gzip", body.clone())).await.status, 415);
    assert_eq!(running.send(&sent(&body, "gzip, gzip", pack(&pack(&body)))).await.status, 415);
    assert_eq!(running.send(&sent(&body, "br", pack(&body))).await.status, 415);
    let bomb = vec![b' '; 8 << 20];
    assert_eq!(running.send(&sent(&bomb, "gzip", pack(&bomb))).await.status, 413);
    assert_eq!(running.raw_events().await, 2);
}

#[tokio::test]
async fn a_vendor_is_answered_in_its_own_words_once_the_request_is_safe() {
    let running = Running::start(Limits::default()).await;
    let answer = running.post_signed("adyen", &[], &signup("worded")).await;
    assert_eq!((answer.status, answer.body.as_str()), (202, "[accepted]"));
    assert!(answer.headers.contains("content-type: text/plain"), "{}", answer.headers);
    assert_eq!(running.raw_events().await, 1);
}

/// Rows 50, 54, 56, 57, 58, and 60 for one: genuine and unusable is kept for a person.
#[tokio::test]
async fn what_is_genuine_is_never_lost() {
    let running = Running::start(Limits::default()).await;
    for kind in [None, Some("text/plain"), Some("application/json; charset=utf-8")] {
        let body = signup(kind.unwrap_or("none").split(['/', ';']).next().unwrap());
        let headers: Vec<_> = kind.iter().map(|kind| ("content-type", *kind)).collect();
        let answer = running.post_signed("demo", &headers, &body).await;
        assert!(matches!(answer.events()[0].as_str(), "accepted" | "duplicate"), "{kind:?}");
    }
    let utf16: Vec<u8> = String::from_utf8(signup("wide")).unwrap().encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, kind, body) in [
        ("54: UTF-16", "application/json; charset=utf-16", utf16),
        ("56: multipart", "multipart/form-data; boundary=x", b"--x--".to_vec()),
        ("57: empty", "application/json", Vec::new()),
        ("57: spaces", "application/json", b"  \n".to_vec()),
        ("58: null", "application/json", b"null".to_vec()),
        ("58: number", "application/json", b"1".to_vec()),
        ("58: text", "application/json", b"\"x\"".to_vec()),
        ("60: two documents", "application/json", b"{}{}".to_vec()),
        ("unmapped", "application/json", br#"{"type":"unheard-of"}"#.to_vec()),
    ] {
        let answer = running.post_signed("demo", &[("content-type", kind)], &body).await;
        assert_eq!(answer.events(), ["dead_letter"], "{name}");
    }
}

#[tokio::test]
async fn an_event_without_identity_is_a_dead_letter_and_one_that_nobody_routes_too() {
    let running = Running::start(Limits::default()).await;
    let nobody = running.post_signed("hooks", &[("webhook-id", "msg_1")], br#"{"type":"lead.created","data":{}}"#).await;
    assert_eq!(nobody.events(), ["dead_letter"]);
    let nowhere = running.post_signed("hooks", &[("webhook-id", "msg_2")], br#"{"type":"customer.created","data":{"id":"1"}}"#).await;
    assert_eq!(nowhere.events(), ["dead_letter"]);
    let tables = running.door.store.tables().await.unwrap();
    let mut reasons: Vec<_> = tables.dead_letters.values().map(|letter| letter.reason.as_str()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["missing_identity", "unrouted"]);
}

/// Row 5.
#[tokio::test]
async fn a_sender_that_leaves_after_the_last_byte_was_heard() {
    let running = Running::start(Limits::default()).await;
    for n in 0..20 {
        let body = signup(&format!("left-{n}"));
        let mut client = running.connect().await;
        client.write(&request("/webhooks/demo", &running.signed("demo", &[], &body), &body)).await;
        drop(client);
    }
    let heard = async {
        while running.raw_events().await < 20 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), heard).await.expect("all of them in the ledger");
    assert_eq!(running.post_signed("demo", &[], &signup("left-7")).await.events(), ["duplicate"]);
}

#[tokio::test]
async fn what_was_taken_in_is_sealed_without_the_callers_credentials_and_carries_its_correlation() {
    let running = Running::start(Limits::default()).await;
    let body = signup("sealed");
    let headers = [("authorization", "Bearer of-the-caller"), ("x-correlation-id", "their-own"), ("x-kept", "yes")];
    let answer = running.post_signed("demo", &headers, &body).await;
    assert!(!answer.headers.contains("set-cookie"));
    let raw = model::RawEventId::parse(answer.json()["raw_event"].as_str().unwrap()).unwrap();
    let tables = running.door.store.tables().await.unwrap();
    let row = &tables.raw_events[&raw.0];
    let kept = unpack(&running.door.keys.open(raw.0, row.key_id, &row.sealed).unwrap()).unwrap();
    assert_eq!((kept.method.as_str(), kept.target.as_str(), kept.body.as_slice()), ("POST", "/webhooks/demo", body.as_slice()));
    let names: Vec<&str> = kept.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"x-kept") && names.contains(&"x-signature") && !names.contains(&"authorization"), "{names:?}");
    let event = tables.events.values().next().unwrap();
    assert_eq!(event.correlation_id.as_deref().unwrap_or("raw"), "their-own");
}

#[tokio::test]
async fn an_unready_ledger_is_answered_with_503_and_says_why_on_readyz() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite:{}", folder.path().join("ledger.db").display())).await.unwrap();
    let running = Running::with(door(store, Limits::default())).await;
    let answer = running.post_signed("demo", &[], &signup("early")).await;
    assert_eq!((answer.status, answer.headers.contains("retry-after: 2")), (503, true), "{answer:?}");
    let ready = running.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("onceward migrate"), "{}", ready.body);
    assert_eq!(running.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn a_bug_of_ours_is_answered_and_the_listener_goes_on() {
    let mut door = door(Store::memory(), Limits::default());
    let first = std::sync::atomic::AtomicBool::new(true);
    door.now = std::sync::Arc::new(move || {
        if first.swap(false, std::sync::atomic::Ordering::SeqCst) {
            panic!("a bug");
        }
        NOW
    });
    let running = Running::with(door).await;
    assert_eq!(running.post_signed("demo", &[], &signup("one")).await.status, 500);
    assert_eq!(running.post_signed("demo", &[], &signup("one")).await.events(), ["accepted"]);
}
