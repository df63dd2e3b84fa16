//! `onceward map`

use clap::Args;
use model::mapping::ReadContext;
use model::route::{OnDelete, Plan, Planned, Routes};
use model::seal::HashKey;
use model::source::Source;
use model::{Event, EventId, IdGenerator, RawEventId, Reading, Received, Time};
use serde_json::{Value, json};

use super::{Context, Refused, send};
use crate::clock;
use crate::installation::Installation;
use crate::sender::Sender;
use crate::shown::plain;

#[derive(Args)]
pub struct Map {
    /// Whose mapping to use.
    #[arg(long)]
    source: String,
    /// A file with the body; `-` for standard input; `sample` for the preset's sample.
    file: String,
}

/// Shows what a payload becomes. Nothing is sent and nothing written.
pub fn run(context: &Context, asked: Map) -> Result<(), Refused> {
    let installation = Installation::find(context)?;
    let held = send::source(&installation, &asked.source)?;
    let body = send::payload(&asked.file, held.source.preset.as_deref())?;
    // Signed and checked as when it is sent, since what is signed decides which ids may be keys.
    let sender = Sender::new(&installation.public(), &asked.source, held.verifier.clone()).map_err(Refused::because)?;
    let sender = sender.speaking(send::headers(&asked.file, held.source.preset.as_deref(), &body));
    let now = clock::now();
    let signed = sender.sign(&body, now).map_err(|error| Refused::because(error.to_string()))?;
    let headers: Vec<(String, Vec<u8>)> =
        signed.headers.into_iter().map(|(name, value)| (name.to_lowercase(), value.into_bytes())).collect();
    let request = Received { method: "POST", target: &signed.target, headers: &headers, body: &signed.body };
    let verified = held.verifier.verify(&request, now).map_err(|rejection| Refused::because(rejection.sentence()))?;
    let hash_key = installation.configuration.hash_key();
    let readings = read(&held.source, &request, &verified.signed_headers, &hash_key, now);
    let routes = &installation.configuration.routes;
    let shown: Vec<Value> = readings.iter().map(|reading| reading_json(reading, &held.source, routes)).collect();
    let text: String = shown.iter().map(reading_text).collect();
    let dead = readings.iter().any(|reading| matches!(reading, Reading::DeadLetter { .. }));
    context.say(&json!({ "source": asked.source, "readings": shown }), &text);
    if dead { Err(Refused::Told) } else { Ok(()) }
}

/// What a request holds, with ids that are nobody's.
pub fn read(source: &Source, request: &Received<'_>, signed_headers: &[String], hash_key: &HashKey, now: Time) -> Vec<Reading> {
    let mut ids = IdGenerator::new(0, 0);
    let raw_event = RawEventId(ids.next_id(now));
    let correlation_id = raw_event.to_string();
    let event_id = &mut || EventId(ids.next_id(now));
    let mut context = ReadContext { received_at: now, raw_event, correlation_id: &correlation_id, signed_headers, hash_key, event_id };
    source.read(request, &mut context)
}

fn reading_json(reading: &Reading, source: &Source, routes: &Routes) -> Value {
    match reading {
        Reading::Event { event, trust, fallback_key, warnings } => {
            let (fate, deliveries) = match routes.plan(event) {
                Plan::Deliver(planned) => ("deliver", planned.iter().map(|planned| planned_json(planned, event, routes)).collect()),
                Plan::Ignored => ("ignored", Vec::new()),
                Plan::Unrouted => ("unrouted", Vec::new()),
            };
            let mut canonical = json!(event);
            canonical["occurred_at"] = json!(event.occurred_at.to_string());
            canonical["audit"]["received_at"] = json!(event.audit.received_at.to_string());
            json!({ "result": fate, "event": canonical, "trust": trust, "fallback_key": fallback_key, "warnings": warnings,
                "mapping_version": source.mapping_version(), "deliveries": deliveries })
        }
        Reading::Ignored { event_type, idempotency_key } => {
            json!({ "result": "ignored", "event_type": event_type, "idempotency_key": idempotency_key })
        }
        Reading::DeadLetter { reason, message, event_type, idempotency_key, partial, entry: _ } => json!({
            "result": "dead_letter", "reason": reason, "message": message, "remedy": reason.remedy(), "event_type": event_type,
            "idempotency_key": idempotency_key, "partial": partial.as_deref().map(|event| json!({ "identity": event.identity, "attributes": event.attributes })),
        }),
    }
}

fn planned_json(planned: &Planned, event: &Event, routes: &Routes) -> Value {
    let fields = routes.crm_fields(&planned.destination, &planned.object, event);
    let dead = planned.on_delete == Some(OnDelete::DeadLetter);
    let missing = planned.key.is_none().then_some("missing_identity");
    json!({ "destination": planned.destination, "object": planned.object, "mode": planned.mode, "owner": planned.owner,
        "key_field": planned.key_field, "key": planned.key, "identifiers": planned.identifiers, "fields": fields,
        "dead_letter": missing.or(dead.then_some("deletion")) })
}

fn reading_text(reading: &Value) -> String {
    let part = |value: &Value, pointer: &str| crate::shown::word(value, pointer);
    let result = part(reading, "/result");
    if result == "dead_letter" {
        let why = format!("{}: {}\n  {}", part(reading, "/reason"), part(reading, "/message"), part(reading, "/remedy"));
        return format!("A dead letter, key {}\n  {why}\n", part(reading, "/idempotency_key"));
    }
    if reading.pointer("/event").is_none() {
        return format!("Ignored: {} is listed as irrelevant, key {}\n", part(reading, "/event_type"), part(reading, "/idempotency_key"));
    }
    let mut text = format!("{}  key {}\n", part(reading, "/event/event_type"), part(reading, "/event/idempotency_key"));
    text.push_str(&format!("  occurred at {}, trust {}\n", part(reading, "/event/occurred_at"), part(reading, "/trust")));
    let members = |pointer: &str| reading.pointer(pointer).and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, value) in members("/event/identity").iter().chain(&members("/event/attributes")) {
        text.push_str(&format!("  {:<20}{}\n", plain(name), part(value, "")));
    }
    for warning in crate::shown::list(reading, "/warnings") {
        text.push_str(&format!("  warning: {}: {}\n", part(warning, "/kind"), part(warning, "/message")));
    }
    match result.as_str() {
        "unrouted" => text.push_str("No route takes it: a dead letter `unrouted`. Add a route for this source and event type.\n"),
        "ignored" => text.push_str("It tells of a deletion, and every route ignores those.\n"),
        _ => {}
    }
    for delivery in crate::shown::list(reading, "/deliveries") {
        let (to, object, mode) = (part(delivery, "/destination"), part(delivery, "/object"), part(delivery, "/mode"));
        text.push_str(&format!("→ {to} {object}, {mode}, {} = {}\n", part(delivery, "/key_field"), part(delivery, "/key")));
        for (name, value) in delivery.pointer("/fields").and_then(Value::as_object).into_iter().flatten() {
            text.push_str(&format!("  {:<20}{}\n", plain(name), part(value, "")));
        }
        if part(delivery, "/dead_letter") != "-" {
            text.push_str(&format!("  a dead letter: {}\n", part(delivery, "/dead_letter")));
        }
    }
    text
}
