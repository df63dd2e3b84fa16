//! The sandbox over real sockets.

use std::time::Duration;

use model::Time;
use onceward_sandbox::{MAX_BODY_BYTES, Options, Sandbox};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::START;

const BODY: &str = r#"{"LastName":"Stone","Company":"Example"}"#;

async fn serve(faults: &str, latency: Duration) -> Sandbox {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = Options { latency, faults: faults.parse().unwrap(), ..Options::default() };
    Sandbox::serve(listener, 7, options, || START).unwrap()
}

fn upsert(key: &str) -> String {
    format!(
        "PATCH /services/data/v68.0/sobjects/Lead/Ext_Id__c/{key} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer t\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    )
}

/// Everything that comes back until the connection ends.
async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is one of the ways a cut shows itself.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

fn records(sandbox: &Sandbox) -> u64 {
    sandbox.core().lock().unwrap().stats().records
}

#[tokio::test]
async fn a_cut_connection_ends_without_a_byte_of_an_answer() {
    for (faults, applied) in [("cut-after=1", 1), ("cut-before=1", 0), ("late=1", 0)] {
        let sandbox = serve(faults, Duration::ZERO).await;
        let mut stream = TcpStream::connect(sandbox.address()).await.unwrap();
        stream.write_all(upsert("a").as_bytes()).await.unwrap();
        assert_eq!(read_all(&mut stream).await, "", "{faults}");
        assert_eq!(records(&sandbox), applied, "{faults}");
        sandbox.stop().await;
    }
}

#[tokio::test]
async fn a_connection_carries_call_after_call_until_the_sandbox_stops() {
    let sandbox = serve("", Duration::ZERO).await;
    let mut stream = TcpStream::connect(sandbox.address()).await.unwrap();
    for key in ["a", "b"] {
        stream.write_all(upsert(key).as_bytes()).await.unwrap();
        let mut answer = [0; 1_024];
        let length = stream.read(&mut answer).await.unwrap();
        let answer = std::str::from_utf8(&answer[..length]).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 ") && answer.contains("sforce-limit-info: api-usage="), "{answer}");
    }
    let address = sandbox.address();
    assert_eq!(records(&sandbox), 2);
    sandbox.stop().await;
    assert_eq!(read_all(&mut stream).await, "", "an idle connection is closed");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn an_open_call_is_answered_before_the_sandbox_stops() {
    let sandbox = serve("", Duration::from_millis(200)).await;
    let mut stream = TcpStream::connect(sandbox.address()).await.unwrap();
    stream.write_all(upsert("a").as_bytes()).await.unwrap();
    while records(&sandbox) == 0 {
        tokio::task::yield_now().await;
    }
    let ((), answer) = tokio::join!(sandbox.stop(), read_all(&mut stream));
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
}

#[tokio::test]
async fn answers_wait_for_their_latency_side_by_side() {
    let sandbox = serve("", Duration::from_millis(150)).await;
    let begun = tokio::time::Instant::now();
    let calls: Vec<_> = (0..20)
        .map(|number| {
            let address = sandbox.address();
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let request = upsert(&number.to_string()).replace("host: x", "host: x\r\nconnection: close");
                stream.write_all(request.as_bytes()).await.unwrap();
                read_all(&mut stream).await
            })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap().starts_with("HTTP/1.1 201 "));
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(150) && took < Duration::from_millis(150 * 10), "{took:?}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let sandbox = serve("", Duration::ZERO).await;
    let mut stream = TcpStream::connect(sandbox.address()).await.unwrap();
    let head = upsert("a").replace(&format!("content-length: {}", BODY.len()), &format!("content-length: {}", MAX_BODY_BYTES + 1));
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn the_clock_it_goes_by_is_the_one_it_was_given() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sandbox = Sandbox::serve(listener, 7, Options::default(), || Time::from_seconds(0)).unwrap();
    let mut stream = TcpStream::connect(sandbox.address()).await.unwrap();
    stream.write_all(b"GET /services/data HTTP/1.1\r\nhost: x\r\nauthorization: Bearer t\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(read_all(&mut stream).await.starts_with("HTTP/1.1 200 "));
    let core = sandbox.core();
    assert_eq!(core.lock().unwrap().calls(0).next().unwrap().at, Time::from_seconds(0));
}
