//! What goes into the sandbox and what it shows of itself.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use model::Time;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::credentials::Credentials;
use crate::faults::Faults;

/// What the sandbox is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long every answer takes.
    pub latency: Duration,
    /// The faults in force from the first call on, and again after a reset.
    pub faults: Faults,
    /// Who is let in.
    pub credentials: Credentials,
    /// How long a token is good for.
    pub token_life: Duration,
    /// Calls in a day before Salesforce says `REQUEST_LIMIT_EXCEEDED`, and as many again in every other dialect before it says its word for it.
    pub daily_calls: u64,
    /// How many times its documented short budgets a dialect of the frame gives; HubSpot's is the next setting.
    pub budget_times: u64,
    /// Calls in any ten seconds before HubSpot says `TEN_SECONDLY_ROLLING`.
    pub ten_secondly_calls: usize,
    /// Records held, deleted ones included, before creations are refused.
    pub max_records: usize,
}

impl Default for Options {
    /// 5 ms, no faults, anyone, tokens for two hours, 5,000,000 calls a day, short budgets as documented, 190 calls in ten seconds (HubSpot's
    /// Professional plan), 1,000,000 records.
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(5),
            faults: Faults::default(),
            credentials: Credentials::default(),
            token_life: Duration::from_secs(7_200),
            daily_calls: 5_000_000,
            budget_times: 1,
            ten_secondly_calls: 190,
            max_records: 1_000_000,
        }
    }
}

/// What the sandbox has counted since it was started or reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Requests to the CRM, those for tokens included, whatever became of them.
    pub calls: u64,
    /// Records created.
    pub creates: u64,
    /// Writes applied to records that were there, deletions included.
    pub updates: u64,
    /// Records that are there now.
    pub records: u64,
    /// Calls refused whole, and records refused within a call.
    pub refused: u64,
}

/// One record, as the sandbox's own surface shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordView {
    /// The dialect it was written in.
    pub crm: Cow<'static, str>,
    /// `Lead`, `contacts`, …
    pub object: Cow<'static, str>,
    /// The CRM's own id.
    pub id: String,
    /// The value of the field it was written by; `None` if it was created without a key.
    pub key: Option<String>,
    /// Every field that has a value.
    pub fields: BTreeMap<String, Value>,
    /// How often a record with this key was created, counting again after a deletion.
    pub creates: u32,
    /// How many writes were applied to it, creations included.
    pub writes: u32,
    /// Whether it has been deleted.
    pub deleted: bool,
}

/// One record's share of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// The key or id that the request named; `None` if it named none.
    pub key: Option<String>,
    /// `created`, `updated`, `deleted`, `late` (not applied yet), or the CRM's error code.
    pub result: Cow<'static, str>,
}

/// One call in the log. A late write has two entries: when it was sent, and when it was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallView {
    /// Rises by one from 1.
    pub seq: u64,
    /// When it came, as RFC 3339.
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub at: Time,
    /// The dialect.
    pub crm: Cow<'static, str>,
    /// `PATCH`, `GET`, …
    pub method: String,
    /// Path and query as sent, up to 2,048 bytes.
    pub path: String,
    /// The value of the header `x-onceward-call`.
    pub call: Option<String>,
    /// The status that was answered; `None` if the connection was cut, or when a late write is applied.
    pub status: Option<u16>,
    /// Whether it changed any record.
    pub applied: bool,
    /// The records of a write, in the order of the request.
    pub records: Vec<Touched>,
}

fn write_time<S: Serializer>(at: &Time, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(at)
}

fn read_time<'de, D: Deserializer<'de>>(from: D) -> Result<Time, D::Error> {
    let text = Cow::<str>::deserialize(from)?;
    Time::parse_rfc3339(&text).ok_or_else(|| serde::de::Error::custom("expected an RFC 3339 date-time"))
}
