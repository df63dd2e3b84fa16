//! A sandbox, and a client of one kind for it.
#![allow(dead_code, reason = "each test uses what it needs")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::event::Mode;
use model::{CallId, Failure, Time};
use onceward_connect::{Auth, Client, Kind, Present, ReadBatch, Report, Secret, Settings, Sought, WriteBatch, WriteRecord, Written};
use sandbox::{Options, RecordView, Sandbox};
use serde_json::Value;
use tokio::net::TcpListener;

pub const NOW: Time = Time::from_seconds(1_800_000_000);

/// A sandbox and a client for one of its objects.
pub struct Crm {
    sandbox: Arc<Sandbox>,
    pub client: Arc<Client>,
    kind: Kind,
    object: String,
    key_field: String,
}

impl Crm {
    pub async fn with(kind: Kind, faults: &str, options: Options, token: &str, (object, key_field): (&str, &str)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = Options { latency: Duration::ZERO, faults: faults.parse().unwrap(), ..options };
        let sandbox = Sandbox::serve(listener, 7, options, || NOW).unwrap();
        let settings = Settings::new(kind, format!("http://{}", sandbox.address()), Auth::Bearer { token: Secret::new(token) });
        let client = Client::http(Settings { call_timeout: Some(Duration::from_secs(2)), ..settings }).unwrap();
        Self { sandbox: Arc::new(sandbox), client: Arc::new(client), kind, object: object.to_owned(), key_field: key_field.to_owned() }
    }

    /// With budgets that no test meets by accident.
    pub async fn new(kind: Kind, faults: &str, of: (&str, &str)) -> Self {
        Self::with(kind, faults, Options { budget_times: 1_000, ..Options::default() }, "key", of).await
    }

    /// The same CRM, another of its objects.
    pub fn with_object(&self, object: &str, key_field: &str) -> Self {
        let (sandbox, client) = (Arc::clone(&self.sandbox), Arc::clone(&self.client));
        Self { sandbox, client, kind: self.kind, object: object.to_owned(), key_field: key_field.to_owned() }
    }

    pub fn misbehave(&self, faults: &str) {
        self.sandbox.core().lock().unwrap().set_faults(faults.parse().unwrap(), NOW);
    }

    pub fn batch(&self, mode: Mode, records: Vec<WriteRecord>) -> WriteBatch {
        WriteBatch { object: self.object.clone(), key_field: self.key_field.clone(), mode, records }
    }

    pub async fn write(&self, mode: Mode, records: Vec<WriteRecord>) -> Report<Written> {
        self.client.write(&self.batch(mode, records), CallId(1), NOW).await
    }

    pub async fn read(&self, fields: &[&str], records: Vec<Sought>) -> Report<Option<Present>> {
        let fields = fields.iter().map(|field| (*field).to_owned()).collect();
        let batch = ReadBatch { object: self.object.clone(), key_field: self.key_field.clone(), records, fields };
        self.client.read(&batch, CallId(2), NOW).await
    }

    pub fn records(&self) -> Vec<RecordView> {
        self.sandbox.core().lock().unwrap().records(Some(self.kind.as_str()), None).collect()
    }

    pub fn calls(&self) -> u64 {
        self.sandbox.core().lock().unwrap().stats().calls
    }
}

pub fn record(key: &str, fields: Value) -> WriteRecord {
    let fields: BTreeMap<String, Value> = fields.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    WriteRecord { key: key.to_owned(), crm_id: None, revision: 1, fields }
}

pub fn sought(key: &str, id: Option<&str>) -> Sought {
    Sought { key: key.to_owned(), crm_id: id.map(str::to_owned) }
}

/// The failure of the call, or of its first record.
pub fn failure<T: std::fmt::Debug>(report: Report<T>) -> Failure {
    match report.result {
        Ok(mut results) => results.remove(0).unwrap_err(),
        Err(failure) => failure,
    }
}
