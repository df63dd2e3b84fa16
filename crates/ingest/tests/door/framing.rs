use std::time::Duration;

use ingest::Limits;

use crate::support::*;

/// Row 8 to 19: the same answer however the bytes are cut, and nothing behind them is taken for a request.
#[tokio::test]
async fn malformed_http_is_refused_and_nothing_behind_it_is_read() {
    let running = Running::start(Limits::default()).await;
    let body = signup("smuggled");
    let behind = request("/webhooks/demo", &running.signed("demo", &[], &body), &body);
    let post = "POST /webhooks/demo HTTP/1.1\r\nHost: x\r\n";
    let many: String = (0..101).map(|n| format!("X-{n}: y\r\n")).collect();
    let cases: Vec<(&str, Vec<u8>, &[u16])> = vec![
        ("8: length and chunked", format!("{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").into(), &[400]),
        ("8: chunked and length", format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n").into(), &[400]),
        ("9: two lengths", format!("{post}Content-Length: 5\r\nContent-Length: 6\r\n\r\n").into(), &[400]),
        ("9: the same length twice", format!("{post}Content-Length: 0\r\nContent-Length: 0\r\n\r\n").into(), &[400]),
        ("10: a sign", format!("{post}Content-Length: +2\r\n\r\n{{}}").into(), &[400]),
        ("10: negative", format!("{post}Content-Length: -1\r\n\r\n").into(), &[400]),
        ("10: two to the 64th", format!("{post}Content-Length: 18446744073709551616\r\n\r\n").into(), &[400]),
        ("11: xchunked", format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n").into(), &[400]),
        ("11: identity last", format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n").into(), &[400]),
        ("12: bad chunk size", format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n").into(), &[400]),
        ("13: space before colon", format!("{post}X-A : b\r\n\r\n").into(), &[400]),
        ("13: folded header", format!("{post}X-A: b\r\n c\r\n\r\n").into(), &[400]),
        ("13: NUL in a header", format!("{post}X-A: b\0c\r\n\r\n").into(), &[400]),
        ("14: full-width name", format!("{post}\u{ff38}-A: b\r\n\r\n").into(), &[400]),
        ("14: no token", format!("{post}X(A): b\r\n\r\n").into(), &[400]),
        ("15: 101 headers", format!("{post}{many}\r\n").into(), &[431]),
        ("15: 500 kB of header", format!("{post}X-A: {}\r\n\r\n", "a".repeat(500_000)).into(), &[431]),
        ("16: 70 kB of URI", format!("POST /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(70_000)).into(), &[414]),
        ("17: no Host", "POST /webhooks/demo HTTP/1.1\r\nContent-Length: 0\r\n\r\n".into(), &[400]),
        ("17: two Hosts", format!("{post}Host: y\r\nContent-Length: 0\r\n\r\n").into(), &[400]),
        ("17: HTTP/1.0", "POST /webhooks/demo HTTP/1.0\r\nHost: x\r\nContent-Length: 0\r\n\r\n".into(), &[400]),
        ("18: bare LF", "POST /webhooks/demo HTTP/1.1\nHost: x\nContent-Length: 0\n\n".into(), &[400]),
        ("18: one bare LF", format!("{post}X-A: b\nContent-Length: 0\r\n\r\n").into(), &[400]),
        ("18: a bare LF at the end", format!("{post}Content-Length: 0\r\n\n").into(), &[400]),
        ("19: TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), &[400]),
        ("19: HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[400, 0]),
    ];
    for (name, bytes, expected) in cases {
        let whole = [bytes.as_slice(), behind.as_slice()].concat();
        let last = bytes.len() - 1;
        for cut in [0, 1, bytes.len() / 2, last] {
            let mut client = running.connect().await;
            client.write(&whole[..cut]).await;
            // The other side reads what there is before the rest comes; if it does not, this is the case of one piece.
            tokio::task::yield_now().await;
            client.write(&whole[cut..]).await;
            let status = client.answer().await.map_or(0, |answer| answer.status);
            assert!(expected.contains(&status), "{name}, cut at {cut}: {status}");
            client.end().await;
        }
    }
    assert_eq!(running.raw_events().await, 0);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let running = Running::start(Limits::default()).await;
    let both: Vec<u8> = ["one", "two"]
        .iter()
        .flat_map(|id| {
            let body = signup(id);
            request("/webhooks/demo", &running.signed("demo", &[], &body), &body)
        })
        .collect();
    let mut client = running.connect().await;
    client.write(&both).await;
    for id in ["one", "two"] {
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.events(), ["accepted"]);
        assert_eq!(answer.json()["events"][0]["idempotency_key"], format!("demo|lead.created|{id}"));
    }
}

#[tokio::test]
async fn a_request_byte_by_byte_is_a_request() {
    let running = Running::start(Limits::default()).await;
    let body = signup("slow");
    let mut client = running.connect().await;
    for byte in request("/webhooks/demo", &running.signed("demo", &[], &body), &body) {
        client.write(&[byte]).await;
    }
    assert_eq!(client.answer().await.unwrap().events(), ["accepted"]);
}

#[tokio::test]
async fn a_chunked_body_is_read_and_the_connection_closed_after_it() {
    let running = Running::start(Limits::default()).await;
    let body = signup("chunked");
    let mut bytes = b"POST /webhooks/demo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n".to_vec();
    for (name, value) in running.signed("demo", &[], &body) {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    for piece in body.chunks(7) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\nGET /healthz HTTP/1.1\nHost: x\n\n");
    let mut client = running.connect().await;
    client.write(&bytes).await;
    let answer = client.answer().await.unwrap();
    assert_eq!(answer.events(), ["accepted"]);
    assert!(answer.headers.contains("connection: close"), "{}", answer.headers);
    client.end().await;
}

/// Rows 1, 2.
#[tokio::test]
async fn a_head_that_does_not_come_closes_the_connection() {
    let limits = Limits { head: Duration::from_millis(200), ..Limits::default() };
    let running = Running::start(limits).await;
    let mut silent = running.connect().await;
    silent.end().await;
    let mut half = running.connect().await;
    half.write(b"POST /webhooks/demo HTTP/1.1\r\nHo").await;
    assert_eq!(half.answer().await.map(|answer| answer.status), Some(408));
    half.end().await;
    // Between two requests there is more time than for a head.
    let mut idle = running.connect().await;
    for _ in 0..2 {
        idle.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(idle.answer().await.unwrap().status, 200);
        assert!(tokio::time::timeout(Duration::from_millis(400), idle.answer()).await.is_err(), "closed while idle");
    }
    idle.write(b"GET").await;
    assert_eq!(idle.answer().await.unwrap().status, 408);
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_the_end() {
    let running = Running::start(Limits { idle: Duration::from_millis(200), ..Limits::default() }).await;
    let mut client = running.connect().await;
    client.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.answer().await.unwrap().status, 200);
    client.end().await;
}

/// Rows 3, 4, 22.
#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let limits = Limits { body: Duration::from_millis(600), body_grace: Duration::from_millis(200), ..Limits::default() };
    let running = Running::start(limits).await;
    let head = "POST /webhooks/demo HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n";
    let mut silent = running.connect().await;
    silent.write(format!("{head}\r\n").as_bytes()).await;
    assert_eq!(silent.answer().await.unwrap().status, 408);
    silent.end().await;

    let mut expecting = running.connect().await;
    expecting.write(format!("{head}Expect: 100-continue\r\n\r\n").as_bytes()).await;
    assert_eq!(expecting.answer().await.unwrap().status, 100);
    assert_eq!(expecting.answer().await.unwrap().status, 408);

    let mut dripping = running.connect().await;
    dripping.write(format!("{head}\r\n").as_bytes()).await;
    let (mut reading, mut writing) = dripping.stream.into_split();
    let drip = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while tokio::io::AsyncWriteExt::write_all(&mut writing, b"x").await.is_ok() {
            tick.tick().await;
        }
    });
    let mut answer = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut reading, &mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    drop(reading);
    drip.abort();

    let mut cut = running.connect().await;
    cut.write(format!("{head}\r\n{{").as_bytes()).await;
    tokio::io::AsyncWriteExt::shutdown(&mut cut.stream).await.unwrap();
    let status = cut.answer().await.map(|answer| answer.status);
    assert!(matches!(status, None | Some(400)), "{status:?}");
    assert_eq!(running.raw_events().await, 0);
}
