//! The proxy in front of the ingests, with its real configuration and ingests that we can look into.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use harness::{SOON, Wire, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::root;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}";
const NOT_READY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// What an ingest does with a webhook.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Answers,
    /// Reads it and is gone: nobody knows whether it was accepted.
    Vanishes,
}

/// Somebody who listens like an ingest, and remembers.
struct Ingest {
    address: String,
    ready: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Webhooks that wait until they may be answered.
    held: Arc<AtomicUsize>,
    gate: tokio::sync::watch::Sender<bool>,
    listening: JoinHandle<()>,
}

impl Ingest {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (ready, seen, held) = (Arc::new(AtomicBool::new(true)), Arc::default(), Arc::default());
        let gate = tokio::sync::watch::Sender::new(true);
        let (ready_there, seen_there, held_there, open) = (Arc::clone(&ready), Arc::clone(&seen), Arc::clone(&held), gate.subscribe());
        let listening = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(
                    socket,
                    manner,
                    Arc::clone(&ready_there),
                    Arc::clone(&seen_there),
                    Arc::clone(&held_there),
                    open.clone(),
                ));
            }
        });
        Self { address, ready, seen, held, gate, listening }
    }

    fn webhooks(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(
    mut socket: TcpStream,
    manner: Manner,
    ready: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    held: Arc<AtomicUsize>,
    mut open: tokio::sync::watch::Receiver<bool>,
) {
    let mut bytes = Vec::new();
    while let Ok(1..) = socket.read_buf(&mut bytes).await {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |text| text.parse().unwrap());
        if bytes.len() < end + length {
            continue;
        }
        if head.starts_with("get /readyz ") {
            let answer = if ready.load(Ordering::SeqCst) { OK } else { NOT_READY };
            let _ = socket.write_all(answer.as_bytes()).await;
            return;
        }
        seen.lock().unwrap().push(bytes);
        held.fetch_add(1, Ordering::SeqCst);
        open.wait_for(|open| *open).await.unwrap();
        if manner == Manner::Answers {
            let _ = socket.write_all(OK.as_bytes()).await;
        }
        return;
    }
}

/// A running proxy, which ends with the test.
struct Proxy {
    process: Child,
    address: String,
    control: String,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_place() -> String {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().to_string()
}

impl Proxy {
    async fn before(one: &Ingest, other: &Ingest) -> Self {
        let (address, control) = (free_place(), free_place());
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(root().join("deploy/proxy/haproxy.cfg"));
        command.env("PROXY_LISTEN", &address).env("PROXY_INSIDE", free_place()).env("PROXY_CONTROL", &control);
        command.env("INGEST_1", &one.address).env("INGEST_2", &other.address).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap_or_else(|error| {
            panic!("haproxy cannot be started ({error}). Install it (Debian and Ubuntu: `apt-get install haproxy`; no service of it needs to run), or run `tests/run`, which does")
        });
        let proxy = Self { process, address, control };
        until("the proxy can be asked", SOON, async || proxy.server("ingest-1", "state").await.0.then_some(())).await;
        proxy
    }

    /// What `deploy/proxy/server` says.
    async fn server(&self, name: &str, wish: &str) -> (bool, String) {
        let mut command = Command::new(root().join("deploy/proxy/server"));
        command.args([name, wish]).env("PROXY_CONTROL", &self.control);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    }

    async fn until_state(&self, name: &str, wanted: &str) {
        until(&format!("the proxy sees {name} {wanted}"), SOON, async || {
            self.server(name, "state").await.1.trim().starts_with(wanted).then_some(())
        })
        .await;
    }

    async fn post(&self, number: usize) -> String {
        let body = format!("{{\"n\":{number}}}");
        self.raw(
            format!("POST /webhooks/demo HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
                .as_bytes(),
        )
        .await
    }

    async fn raw(&self, request: &[u8]) -> String {
        let mut wire = Wire::to(&self.address).await;
        wire.write(request).await;
        wire.rest(SOON).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_passed_on_as_it_came() {
    let (one, other) = (Ingest::start(Manner::Answers).await, Ingest::start(Manner::Answers).await);
    let proxy = Proxy::before(&one, &other).await;
    let body: Vec<u8> = b"{\"a\" : 1,\r\n\t\"b\":\"\xc3\xa4\\u00e4\"}\r\n\r\n\x00\xff".to_vec();
    let target = "/webhooks/demo%2Fx//y/../z?b=%41&a=1+2&a=";
    let headers = [
        "Stripe-Signature: t=1,v1=AbC,  v0=dEf",
        "X-Double: one",
        "X-Double: two",
        "Authorization: Bearer Xyz==",
        "Content-Type: application/json; charset=utf-8",
        "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ];
    let head =
        format!("POST {target} HTTP/1.1\r\nHost: hooks.example.com\r\n{}\r\nContent-Length: {}\r\n\r\n", headers.join("\r\n"), body.len());
    let mut wire = Wire::to(&proxy.address).await;
    wire.write(&[head.as_bytes(), &body].concat()).await;
    let arrived = until("the request arrived", SOON, async || [one.webhooks(), other.webhooks()].concat().pop()).await;
    let end = arrived.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let text = String::from_utf8(arrived[..end].to_vec()).unwrap();
    let mut lines = text.split("\r\n");
    assert_eq!(lines.next(), Some(format!("POST {target} HTTP/1.1").as_str()));
    // Names may be written in lower case; values and their order may not change.
    let spelled = |line: &str| line.split_once(": ").map(|(name, value)| format!("{}: {value}", name.to_lowercase())).unwrap();
    let sent: Vec<String> = head.trim_end().split("\r\n").skip(1).map(spelled).collect();
    let came: Vec<String> = lines.map(spelled).filter(|line| line != "connection: close").collect();
    assert_eq!(came, sent);
    assert_eq!(arrived[end + 4..], body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_have_been_accepted_is_never_sent_again() {
    let (one, other) = (Ingest::start(Manner::Vanishes).await, Ingest::start(Manner::Vanishes).await);
    let proxy = Proxy::before(&one, &other).await;
    let answer = proxy.post(1).await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    // Another one goes through the same proxy after it: had the first been tried again, it would have been seen by then.
    proxy.post(2).await;
    let seen = [one.webhooks(), other.webhooks()].concat();
    assert_eq!(seen.len(), 2, "{}", seen.iter().map(|request| String::from_utf8_lossy(request)).collect::<String>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingest_that_does_not_listen_any_more_costs_nobody_an_answer() {
    let (one, other) = (Ingest::start(Manner::Answers).await, Ingest::start(Manner::Answers).await);
    let proxy = Proxy::before(&one, &other).await;
    other.listening.abort();
    let gone = other.address.clone();
    until("nobody listens there", SOON, async || TcpStream::connect(&gone).await.is_err().then_some(())).await;
    // The proxy cannot have noticed all of it yet: its checks come once a second.
    for n in 0..50 {
        let answer = proxy.post(n).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{n}: {answer}");
    }
    assert_eq!(one.webhooks().len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_ready_gets_no_webhook_and_none_at_all_is_said_so() {
    let (one, other) = (Ingest::start(Manner::Answers).await, Ingest::start(Manner::Answers).await);
    other.ready.store(false, Ordering::SeqCst);
    let proxy = Proxy::before(&one, &other).await;
    proxy.until_state("ingest-2", "DOWN").await;
    for n in 0..10 {
        assert!(proxy.post(n).await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!((one.webhooks().len(), other.webhooks().len()), (10, 0));
    one.ready.store(false, Ordering::SeqCst);
    proxy.until_state("ingest-1", "DOWN").await;
    let answer = proxy.post(11).await.to_lowercase();
    assert!(answer.starts_with("http/1.1 503"), "{answer}");
    assert!(answer.contains("retry-after: 2\r\n") && answer.contains("content-type: application/problem+json\r\n"), "{answer}");
    other.ready.store(true, Ordering::SeqCst);
    proxy.until_state("ingest-2", "UP").await;
    assert!(proxy.post(12).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_ingest_ends_what_it_has_and_gets_nothing_new() {
    let (one, other) = (Ingest::start(Manner::Answers).await, Ingest::start(Manner::Answers).await);
    let proxy = Proxy::before(&one, &other).await;
    one.gate.send_replace(false);
    other.gate.send_replace(false);
    // Two at once: one for each.
    let (first, second) = tokio::join!(proxy.post(1), async {
        let second = async {
            until("the first is under way", SOON, async || {
                (one.held.load(Ordering::SeqCst) + other.held.load(Ordering::SeqCst) > 0).then_some(())
            })
            .await;
            proxy.post(2).await
        };
        let drain = async {
            until("both are under way", SOON, async || {
                (one.held.load(Ordering::SeqCst) == 1 && other.held.load(Ordering::SeqCst) == 1).then_some(())
            })
            .await;
            other.gate.send_replace(true);
            let (drained, _) = tokio::join!(proxy.server("ingest-1", "drain"), async {
                proxy.until_state("ingest-1", "DRAIN").await;
                for n in 3..8 {
                    assert!(proxy.post(n).await.starts_with("HTTP/1.1 200"));
                }
                assert_eq!(one.webhooks().len(), 1, "nothing new");
                one.gate.send_replace(true);
            });
            assert!(drained.0, "{}", drained.1);
        };
        tokio::join!(second, drain).0
    });
    assert!(first.starts_with("HTTP/1.1 200") && second.starts_with("HTTP/1.1 200"), "{first} {second}");
    let (well, text) = proxy.server("ingest-1", "ready").await;
    assert!(well, "{text}");
    proxy.until_state("ingest-1", "UP").await;
    let (well, _) = proxy.server("ingest-9", "drain").await;
    assert!(!well, "there is none of this name");
}
