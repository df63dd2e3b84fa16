//! Readings of whole requests.

mod batch;
mod content;
mod documented;
mod explain;
mod fetched;
mod golden;
mod keys;
mod meaning;
mod presets;
mod problems;

use crate::event::Warning;
use crate::mapping::ReadContext;
use crate::seal::{HashKey, SealingKey, SealingKeys};
use crate::source::{Problem, Source, SourceDef};
use crate::{Event, EventId, RawEventId, Reading, Reason, Received, Time};

pub(crate) fn hash_key(byte: u8) -> HashKey {
    SealingKeys::new(vec![SealingKey::new(&[byte; 32])]).unwrap().hash_key("events")
}

/// An hour after the samples.
pub(super) const NOW: Time = Time::from_seconds(1_700_003_600);

const SIGNATURE: &str = "signature = { algorithm = \"hmac-sha256\", header = \"x-signature\", signed = \"{header:x-id}.{body}\" }\n";

/// A source of one's own: what the text says, and a signature over the body and `x-id`.
pub(super) fn compile(text: &str) -> Result<Source, Vec<Problem>> {
    let text = if text.contains("preset =") || text.contains("signature =") { text.to_owned() } else { format!("{SIGNATURE}{text}") };
    Source::compile("demo", &toml::from_str::<SourceDef>(&text).unwrap())
}

pub(super) fn source(text: &str) -> Source {
    compile(text).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// Anything with a type, by the plainest mapping.
pub(super) fn plain() -> Source {
    source(
        r#"
        id = "id"
        occurred_at = "at"
        [[events]]
        on = ["signup"]
        type = "lead.created"
        fields = { external_id = "person", email = "email", company = "company" }
        "#,
    )
}

pub(super) fn read_all(source: &Source, headers: &[(&str, &str)], query: &str, body: &[u8], now: Time) -> Vec<Reading> {
    let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    let target = format!("/webhooks/demo{query}");
    let request = Received { method: "POST", target: &target, headers: &headers, body };
    let signed_headers = match source.preset.as_deref() {
        None => vec!["x-id".to_owned()],
        Some("standard-webhooks") => vec!["webhook-id".to_owned()],
        Some(_) => Vec::new(),
    };
    let mut next = 0;
    let mut event_id = || {
        next += 1;
        EventId(next)
    };
    let hash_key = hash_key(7);
    let mut context = ReadContext {
        received_at: now,
        raw_event: RawEventId(41),
        correlation_id: "c0ffee",
        signed_headers: &signed_headers,
        hash_key: &hash_key,
        event_id: &mut event_id,
    };
    source.read(&request, &mut context)
}

pub(super) fn read(source: &Source, body: &[u8]) -> Reading {
    let mut readings = read_all(source, &[], "", body, NOW);
    assert_eq!(readings.len(), 1);
    readings.remove(0)
}

/// The event and its warnings' kinds.
pub(super) fn event(reading: Reading) -> (Event, Vec<String>) {
    match reading {
        Reading::Event { event, warnings, .. } => (*event, warnings.into_iter().map(|Warning { kind, .. }| kind).collect()),
        Reading::Ignored { .. } | Reading::DeadLetter { .. } => panic!("not an event: {reading:#?}"),
    }
}

/// The reason and the message.
pub(super) fn dead(reading: Reading) -> (Reason, String) {
    match reading {
        Reading::DeadLetter { reason, message, .. } => (reason, message),
        Reading::Ignored { .. } | Reading::Event { .. } => panic!("not a dead letter: {reading:#?}"),
    }
}

pub(super) fn key(reading: &Reading) -> String {
    match reading {
        Reading::Event { event, .. } => event.idempotency_key.clone(),
        Reading::Ignored { idempotency_key, .. } | Reading::DeadLetter { idempotency_key, .. } => idempotency_key.clone(),
    }
}
