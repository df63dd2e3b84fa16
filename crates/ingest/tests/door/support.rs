use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ingest::{Door, Gate, Limits};
use model::route::{ObjectDef, ObjectPlan, RouteDef, Routes};
use model::seal::{SealingKey, SealingKeys};
use model::secret::Secret;
use model::signature::Network;
use model::source::{Source, SourceDef};
use model::{Received, Time};
use queue::Queue;
use store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub const NOW: Time = Time::from_seconds(1_800_000_000);
pub const BODY_MAX: usize = 4096;

const DEMO: &str = r#"
    body_max = 4096
    signature = { algorithm = "hmac-sha256", header = "x-signature", prefix = "sha256=", signed = "{body}" }
    [[events]]
    when = "type == 'signup'"
    type = "lead.created"
    id = "id"
    fields = { external_id = "id", email = { from = "email", as = "email" }, company = "company" }
"#;

fn gate(name: &str, definition: &str, secrets: &[&str]) -> (String, Gate) {
    let definition: SourceDef = toml::from_str(definition).unwrap();
    let source = Source::compile(name, &definition).unwrap();
    let secrets: Vec<_> = secrets.iter().map(|&text| Secret::new(text).unwrap()).collect();
    let verifier = source.scheme.compile(&secrets, None).unwrap();
    (name.to_owned(), Gate { source: Arc::new(source), verifier })
}

/// Sources `demo`, `other` (the same scheme, another secret), `hooks` (Standard Webhooks), `github`, `open` (no secret), `packed` (takes gzip), `meta`, `x`
/// and `slack` (try the address first), `near` (takes requests from one network),
/// `adyen` (wants an answer of its own); leads go to Salesforce.
pub fn door(store: Store, limits: Limits) -> Door {
    let hooks = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let gates = BTreeMap::from([
        gate("demo", DEMO, &["the secret of demo", "the old secret of demo"]),
        gate("other", DEMO, &["the secret of other"]),
        gate("hooks", r#"preset = "standard-webhooks""#, &[hooks]),
        gate("github", r#"preset = "github""#, &["the secret of github"]),
        gate("open", DEMO, &[]),
        gate("meta", &DEMO.replace("body_max = 4096", "handshake = { kind = 'meta', verify_token = 'the-word' }"), &["the secret of meta"]),
        gate("x", &DEMO.replace("body_max = 4096", "handshake = { kind = 'x' }"), &["the secret of x.com"]),
        gate("slack", &DEMO.replace("body_max = 4096", "handshake = { kind = 'slack' }"), &["the secret of slack"]),
        gate("near", &DEMO.replace("signed =", "allow_from = ['203.0.113.0/24'], signed ="), &["the secret of near"]),
        gate("packed", &DEMO.replace("body_max = 4096", "body_max = 4096\n gzip = true"), &["the secret of packed"]),
        gate(
            "adyen",
            &DEMO.replace("body_max = 4096", "answer = { status = 202, content_type = 'text/plain', body = '[accepted]' }"),
            &["the secret of adyen"],
        ),
    ]);
    let object: ObjectDef =
        toml::from_str("key = { field = 'Ext__c' }\nmatch = ['external_id', 'email']\nfields = { Email = 'email' }").unwrap();
    let objects = BTreeMap::from([("Lead".to_owned(), ObjectPlan::compile("salesforce", "Lead", &object).unwrap())]);
    let route: RouteDef = toml::from_str("event = 'lead.*'\nto = 'salesforce'\nobject = 'Lead'").unwrap();
    let names: BTreeSet<String> = gates.keys().cloned().collect();
    let routes = Routes::compile(&[route], &names, BTreeMap::from([("salesforce".to_owned(), objects)])).unwrap();
    let keys = SealingKeys::new(vec![SealingKey::new(&[7; 32])]).unwrap();
    Door {
        gates,
        routes: Arc::new(routes),
        identifier_trust: BTreeMap::new(),
        hash_key: keys.hash_key("identity"),
        keys,
        store,
        queue: Queue::embedded(),
        now: Arc::new(|| NOW),
        proxies: vec![Network::parse("127.0.0.1").unwrap()],
        visit: None,
        limits,
    }
}

/// A migrated ledger on disk in which these sources were once configured.
pub async fn ledger(folder: &tempfile::TempDir, sources: &[&str]) -> Store {
    let store = Store::open(&format!("sqlite:{}", folder.path().join("ledger.db").display())).await.unwrap();
    store.migrate().await.unwrap();
    store.begin_work(NOW, sources, &[], &[]).await.unwrap();
    store
}

/// A listener that runs.
pub struct Running {
    pub address: SocketAddr,
    pub door: Arc<Door>,
    stop: Option<oneshot::Sender<()>>,
    pub served: JoinHandle<()>,
}

impl Running {
    pub async fn start(limits: Limits) -> Self {
        Self::with(door(Store::memory(), limits)).await
    }

    pub async fn with(door: Door) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let door = Arc::new(door);
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(ingest::serve(listener, door.clone(), async {
            let _ = stopped.await;
        }));
        Self { address, door, stop: Some(stop), served }
    }

    pub fn stop(&mut self) {
        self.stop.take();
    }

    pub async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, unread: Vec::new() }
    }

    /// Sends on a connection of its own and reads one answer.
    pub async fn send(&self, bytes: &[u8]) -> Answer {
        let mut client = self.connect().await;
        client.write(bytes).await;
        client.answer().await.expect("an answer")
    }

    pub async fn post(&self, path: &str, headers: &[(String, String)], body: &[u8]) -> Answer {
        self.send(&request(path, headers, body)).await
    }

    /// What the vendor behind this source would send.
    pub fn signed(&self, source: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<(String, String)> {
        let target = format!("/webhooks/{source}");
        let own: Vec<(String, Vec<u8>)> = headers.iter().map(|&(name, value)| (name.to_owned(), value.as_bytes().to_vec())).collect();
        let received = Received { method: "POST", target: &target, headers: &own, body };
        let mut all: Vec<(String, String)> = headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        all.extend(self.door.gates[source].verifier.sign(&received, NOW).unwrap().headers);
        all
    }

    pub async fn post_signed(&self, source: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.post(&format!("/webhooks/{source}"), &self.signed(source, headers, body), body).await
    }

    pub async fn raw_events(&self) -> usize {
        self.door.store.tables().await.unwrap().raw_events.len()
    }
}

pub fn signup(id: &str) -> Vec<u8> {
    format!(r#"{{"type":"signup","id":"{id}","email":"{id}@example.com"}}"#).into_bytes()
}

pub fn request(path: &str, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("POST {path} HTTP/1.1\r\nHost: hooks.example.com\r\nContent-Length: {}\r\n", body.len()).into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

pub struct Client {
    pub stream: TcpStream,
    unread: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The status of each event in it.
    pub fn events(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()["events"].as_array().unwrap().iter().map(|event| event["status"].as_str().unwrap().to_owned()).collect()
    }
}

impl Client {
    /// Bytes on their way; a peer that has closed already is no failure here.
    pub async fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next answer; `None` if the connection ends before one.
    pub async fn answer(&mut self) -> Option<Answer> {
        timeout(Duration::from_secs(20), async {
            loop {
                let head = self.unread.windows(4).position(|four| four == b"\r\n\r\n");
                if let Some(head) = head {
                    let text = String::from_utf8_lossy(&self.unread[..head]).to_ascii_lowercase();
                    let length = text.split("content-length: ").nth(1).map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
                    if self.unread.len() >= head + 4 + length {
                        let status = text[9..12].parse().unwrap();
                        let body = String::from_utf8(self.unread[head + 4..head + 4 + length].to_vec()).unwrap();
                        self.unread.drain(..head + 4 + length);
                        return Some(Answer { status, headers: text, body });
                    }
                }
                if self.stream.read_buf(&mut self.unread).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        })
        .await
        .expect("an answer or an end within 20 s")
    }

    /// Waits for the connection's end.
    pub async fn end(&mut self) {
        assert_eq!(self.answer().await, None);
    }
}
