//! The sections of the file as they are written, each with its defaults.

use std::fmt;
use std::time::Duration;

use model::destination::{Adopt, OnAuthFailure, Policy};
use model::protocol::reconcile::Repair;
use serde::{Deserialize, Deserializer, de};

use super::secret::{SecretRef, TextRef};

/// Every section. What a table of the file may be called.
pub const SECTIONS: [&str; 10] =
    ["ledger", "queue", "listen", "encryption", "retention", "limits", "admin", "sources", "destinations", "routes"];

/// A span of time: `30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Spelled;
        impl de::Visitor<'_> for Spelled {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a span of time in quotes: a number and a unit (ms, s, m, h, d), such as \"30s\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                let expected = "a number and a unit (ms, s, m, h, d)";
                model::time::parse_span(text)
                    .map(Span)
                    .map_err(|_| E::custom(format!("`{text}` | {expected} | write it like `30s` or `1m30s`")))
            }
        }
        from.deserialize_str(Spelled)
    }
}

/// `[ledger]`
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Ledger {
    pub url: TextRef,
    pub pgbouncer: bool,
    pub allow_unsafe: bool,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { url: TextRef::Text("sqlite:onceward-data/onceward.db".to_owned()), pgbouncer: false, allow_unsafe: false }
    }
}

/// `[queue]`
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Queue {
    pub url: TextRef,
}

impl Default for Queue {
    fn default() -> Self {
        Self { url: TextRef::Text("embedded:".to_owned()) }
    }
}

/// `[listen]`
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Listen {
    pub public: String,
    pub admin: Option<String>,
    pub public_url: Option<String>,
    pub trusted_proxies: Vec<String>,
}

impl Default for Listen {
    fn default() -> Self {
        Self { public: "127.0.0.1:8080".to_owned(), admin: None, public_url: None, trusted_proxies: Vec::new() }
    }
}

/// `[encryption]` without its keys, which are read one by one.
#[derive(Debug, Deserialize)]
pub struct Encryption {}

/// `[retention]`
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Retention {
    pub raw_events: Span,
    pub payloads: Span,
    pub keys: Span,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Span(Duration::from_secs(days * 86_400));
        Self { raw_events: days(30), payloads: days(90), keys: days(400) }
    }
}

/// `[limits]`
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Limits {
    pub connections: usize,
    pub in_flight: usize,
    pub waiting: usize,
    pub held_bytes: usize,
    pub head: Span,
    pub idle: Span,
    pub body: Span,
    pub body_rate: u32,
    pub write: Span,
    pub commit: Span,
    pub rejected_rate: u32,
    pub rejected_rows: u32,
    pub rejected_bytes: u64,
    pub rejected_age: Span,
}

impl Default for Limits {
    fn default() -> Self {
        let limits = ingest::Limits::default();
        Self {
            connections: limits.connections,
            in_flight: limits.in_flight,
            waiting: limits.waiting,
            held_bytes: limits.held_bytes,
            head: Span(limits.head),
            idle: Span(limits.idle),
            body: Span(limits.body),
            body_rate: limits.body_rate,
            write: Span(limits.write),
            commit: Span(limits.commit),
            rejected_rate: limits.rejected_rate,
            rejected_rows: limits.rejected.rows_max,
            rejected_bytes: limits.rejected.bytes_max,
            rejected_age: Span(limits.rejected.age_max),
        }
    }
}

impl Limits {
    /// Name, value, least, most.
    pub fn numbers(&self) -> [(&'static str, u64, u64, u64); 8] {
        [
            ("connections", self.connections as u64, 1, 65_536),
            ("in_flight", self.in_flight as u64, 1, 65_536),
            ("waiting", self.waiting as u64, 1, 65_536),
            ("held_bytes", self.held_bytes as u64, 1 << 20, 64 << 30),
            ("body_rate", self.body_rate.into(), 1, 1 << 30),
            ("rejected_rate", self.rejected_rate.into(), 0, 10_000),
            ("rejected_rows", self.rejected_rows.into(), 0, 1_000_000),
            ("rejected_bytes", self.rejected_bytes, 0, 64 << 30),
        ]
    }

    /// Name, value, least, most.
    pub fn spans(&self) -> [(&'static str, Duration, Duration, Duration); 6] {
        let (short, long) = (Duration::from_millis(100), Duration::from_secs(600));
        [
            ("head", self.head.0, short, long),
            ("idle", self.idle.0, short, Duration::from_secs(3_600)),
            ("body", self.body.0, short, long),
            ("write", self.write.0, short, long),
            ("commit", self.commit.0, short, Duration::from_secs(60)),
            ("rejected_age", self.rejected_age.0, short, Duration::from_secs(400 * 86_400)),
        ]
    }

    /// What the public listener takes; the rest of its limits are not for configuring.
    pub fn compiled(&self) -> ingest::Limits {
        ingest::Limits {
            connections: self.connections,
            in_flight: self.in_flight,
            waiting: self.waiting,
            held_bytes: self.held_bytes,
            head: self.head.0,
            idle: self.idle.0,
            body: self.body.0,
            body_rate: self.body_rate,
            write: self.write.0,
            commit: self.commit.0,
            rejected_rate: self.rejected_rate,
            rejected: store::RejectedBounds { rows_max: self.rejected_rows, bytes_max: self.rejected_bytes, age_max: self.rejected_age.0 },
            ..ingest::Limits::default()
        }
    }
}

/// `[admin]` without its tokens, which are read one by one.
#[derive(Debug, Deserialize)]
pub struct Admin {}

/// One entry of `admin.tokens`.
#[derive(Debug, Deserialize)]
pub struct AdminToken {
    pub name: String,
    pub role: String,
    pub token: SecretRef,
}

/// `[destinations.<name>]` without its objects.
#[derive(Debug, Deserialize)]
pub struct Destination {
    pub kind: String,
    pub base_url: String,
    pub auth: Auth,
    #[serde(default)]
    pub api_version: Option<String>,
    #[serde(default)]
    pub token_url: Option<String>,
    #[serde(default)]
    pub scope: Option<String>,
    #[serde(default)]
    pub database: Option<String>,
    #[serde(default)]
    pub allow_private: bool,
    #[serde(default)]
    pub quota: Quota,
    #[serde(default = "call_timeout")]
    pub call_timeout: Span,
    #[serde(default = "late_window")]
    pub late_window: Span,
    #[serde(default)]
    pub schedule: Option<Vec<Span>>,
    #[serde(default)]
    pub breaker: Breaker,
    #[serde(default)]
    pub on_auth_failure: OnAuthFailure,
    #[serde(default = "identifier_trust")]
    pub identifier_trust: u8,
    #[serde(default = "crm_trust")]
    pub crm_trust: u8,
    #[serde(default)]
    pub adopt: Adopt,
    #[serde(default = "update_only_wait")]
    pub update_only_wait: Span,
    #[serde(default)]
    pub reconcile: Reconcile,
}

/// `reconcile` of a destination.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Reconcile {
    /// A span, or `off`.
    pub every: String,
    pub sample: u64,
    pub repair: Repair,
}

impl Default for Reconcile {
    fn default() -> Self {
        Self { every: "24h".to_owned(), sample: 200, repair: Repair::Ours }
    }
}

fn call_timeout() -> Span {
    Span(Policy::default().call_timeout)
}

fn late_window() -> Span {
    Span(Policy::default().late_window)
}

fn update_only_wait() -> Span {
    Span(Policy::default().update_only_wait)
}

fn identifier_trust() -> u8 {
    Policy::default().identifier_trust
}

fn crm_trust() -> u8 {
    Policy::default().crm_trust
}

/// `auth` of a destination. Which of the keys are needed depends on the kind.
#[derive(Debug, Deserialize)]
pub struct Auth {
    pub kind: AuthKind,
    #[serde(default)]
    pub token: Option<SecretRef>,
    #[serde(default)]
    pub client_id: Option<TextRef>,
    #[serde(default)]
    pub client_secret: Option<SecretRef>,
    #[serde(default)]
    pub refresh_token: Option<SecretRef>,
    #[serde(default)]
    pub username: Option<TextRef>,
    #[serde(default)]
    pub password: Option<SecretRef>,
    #[serde(default)]
    pub private_key: Option<SecretRef>,
    #[serde(default)]
    pub audience: Option<String>,
}

/// How a destination knows us.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum AuthKind {
    Bearer,
    ApiKey,
    Basic,
    ClientCredentials,
    RefreshToken,
    JwtBearer,
}

/// `quota` of a destination.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Quota {
    /// As many as the kind of CRM bears, unless it is told.
    pub calls: Option<u32>,
    pub per: Span,
    /// As many as the CRM tells, unless it is told.
    pub daily: Option<u64>,
    pub day: String,
    pub reserve: u8,
    pub concurrency: u32,
}

impl Default for Quota {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            calls: None,
            per: Span(policy.per),
            daily: None,
            day: "rolling".to_owned(),
            reserve: policy.reserve,
            concurrency: policy.concurrency,
        }
    }
}

/// `breaker` of a destination.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Breaker {
    pub failures: u32,
    pub probe: Span,
    pub probe_max: Span,
}

impl Default for Breaker {
    fn default() -> Self {
        let policy = Policy::default();
        Self { failures: policy.breaker_failures, probe: Span(policy.probe_first), probe_max: Span(policy.probe_max) }
    }
}
