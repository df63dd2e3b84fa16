//! The sandbox as a client meets it: the dialect, the faults, its own surface, and real sockets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what went wrong by panicking")]

mod attio;
mod dialect;
mod faults;
mod hubspot;
mod journal;
mod socket;
mod surface;
mod tokens;

use std::time::Duration;

use model::Time;
use onceward_sandbox::{Core, Exchange, HttpRequest, Options, RecordView};
use serde_json::{Value, json};

/// Where the tests' clock starts: 2026-11-22T18:04:00.700Z.
const START: Time = Time::from_millis(1_795_370_640_700);
const UPSERT: &str = "/services/data/v68.0/composite/sobjects/Lead/Ext_Id__c";

/// A core with a clock of its own and a client that sends what a connector would.
struct Crm {
    core: Core,
    now: Time,
}

impl Crm {
    fn new() -> Self {
        Self::with("")
    }

    fn with(faults: &str) -> Self {
        let options = Options { latency: Duration::ZERO, faults: faults.parse().unwrap(), ..Options::default() };
        Self { core: Core::new(7, options), now: START }
    }

    fn set(&mut self, faults: &str) {
        self.core.set_faults(faults.parse().unwrap(), self.now);
    }

    fn send(&mut self, method: &str, target: &str, body: &[u8]) -> Exchange {
        let headers = [("Authorization", "Bearer a-token"), ("Content-Type", "application/json"), ("X-Onceward-Call", "call_1")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.core.exchange(&HttpRequest { method, target, headers: &headers, body }, self.now)
    }

    /// Status and body; status 0 if the connection was cut, null for what is not JSON.
    fn call(&mut self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let target = if target.starts_with("/_") { target.to_owned() } else { format!("/services/data/v68.0{target}") };
        match self.send(method, &target, &body).reply {
            Some(reply) => (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default()),
            None => (0, Value::Null),
        }
    }

    /// The same in any dialect: the target is the whole one, and an answer without a body is null.
    fn ask(&mut self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let reply = self.send(method, target, &body).reply;
        reply.map_or((0, Value::Null), |reply| (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default()))
    }

    /// The records of one dialect.
    fn records_of(&self, crm: &str) -> Vec<RecordView> {
        self.core.records(Some(crm), None).collect()
    }

    fn get(&mut self, target: &str) -> (u16, Value) {
        self.call("GET", target, &Value::Null)
    }

    /// Upserts leads in one call: each a key and a last name.
    fn upsert(&mut self, leads: &[(&str, &str)]) -> (u16, Value) {
        let records: Vec<Value> = leads.iter().map(|(key, last)| lead(key, last)).collect();
        self.call("PATCH", "/composite/sobjects/Lead/Ext_Id__c", &json!({"allOrNone": false, "records": records}))
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    fn records(&self) -> Vec<RecordView> {
        self.core.records(None, None).collect()
    }

    fn last_name(&self, key: &str) -> Option<String> {
        let record = self.records().into_iter().find(|record| record.key.as_deref() == Some(key))?;
        record.fields.get("LastName").and_then(Value::as_str).map(str::to_owned)
    }
}

fn lead(key: &str, last: &str) -> Value {
    json!({"attributes": {"type": "Lead"}, "Ext_Id__c": key, "LastName": last, "Company": "Example"})
}
