//! Connectors of CRMs without an upsert, and of those that the configuration describes, against the sandbox's dialects over real sockets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test are a test too")]

mod agiled;
mod pipedrive;
mod rest;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use model::event::Mode;
use model::{CallId, Failure, Time};
use onceward_connect::{Auth, Client, Kind, Present, ReadBatch, Report, Secret, Settings, Sought, WriteBatch, WriteRecord, Written};
use sandbox::{Options, RecordView, Sandbox};
use serde_json::Value;
use tokio::net::TcpListener;

const START: i64 = 1_800_000_000;

/// A sandbox with a clock that the test turns, and a client for one object there.
struct Crm {
    sandbox: Sandbox,
    client: Client,
    clock: Arc<AtomicI64>,
    dialect: &'static str,
    object: &'static str,
    key_field: &'static str,
}

impl Crm {
    async fn with(kind: Kind, place: [&'static str; 3], options: Options, settle: impl FnOnce(Settings) -> Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let clock = Arc::new(AtomicI64::new(START));
        let seen = clock.clone();
        let options = Options { latency: Duration::ZERO, ..options };
        let sandbox = Sandbox::serve(listener, 7, options, move || Time::from_seconds(seen.load(Ordering::Relaxed))).unwrap();
        let auth = Auth::Bearer { token: Secret::new("a-token") };
        let settings = Settings::new(kind, format!("http://{}", sandbox.address()), auth);
        let client = Client::http(settle(Settings { call_timeout: Some(Duration::from_secs(2)), ..settings })).unwrap();
        let [dialect, object, key_field] = place;
        Self { sandbox, client, clock, dialect, object, key_field }
    }

    fn now(&self) -> Time {
        Time::from_seconds(self.clock.load(Ordering::Relaxed))
    }

    /// Lets time pass.
    fn wait(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }

    fn misbehave(&self, faults: &str) {
        self.sandbox.core().lock().unwrap().set_faults(faults.parse().unwrap(), self.now());
    }

    async fn write(&self, mode: Mode, records: &[WriteRecord]) -> Report<Written> {
        let (object, key_field) = (self.object.to_owned(), self.key_field.to_owned());
        self.client.write(&WriteBatch { object, key_field, mode, records: records.to_vec() }, CallId(1), self.now()).await
    }

    async fn one(&self, mode: Mode, record: &WriteRecord) -> Result<Written, Failure> {
        first(self.write(mode, std::slice::from_ref(record)).await)
    }

    async fn look(&self, key: &str, id: Option<&str>, fields: &[&str]) -> Result<Option<Present>, Failure> {
        let batch = ReadBatch {
            object: self.object.to_owned(),
            key_field: self.key_field.to_owned(),
            records: vec![Sought { key: key.to_owned(), crm_id: id.map(str::to_owned) }],
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        };
        first(self.client.read(&batch, CallId(2), self.now()).await)
    }

    fn records(&self) -> Vec<RecordView> {
        self.sandbox.core().lock().unwrap().records(Some(self.dialect), None).filter(|record| !record.deleted).collect()
    }

    fn calls(&self) -> u64 {
        self.sandbox.core().lock().unwrap().stats().calls
    }
}

fn first<T>(report: Report<T>) -> Result<T, Failure> {
    report.result.and_then(|mut results| results.remove(0))
}

fn record(key: &str, id: Option<&str>, fields: Value) -> WriteRecord {
    let fields: BTreeMap<String, Value> = fields.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    WriteRecord { key: key.to_owned(), crm_id: id.map(str::to_owned), revision: 1, fields }
}
