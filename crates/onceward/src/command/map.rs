//! `onceward map`

use clap::Args;
use model::mapping::ReadContext;
use model::mapping::explain::Explained;
use model::route::{OnDelete, Plan, Planned, Routes};
use model::seal::HashKey;
use model::source::Source;
use model::{Event, EventId, IdGenerator, RawEventId, Reading, Received, Time};
use serde_json::{Value, json};

use super::{Context, Refused, send};
use crate::clock;
use crate::installation::Installation;
use crate::sender::Sender;
use crate::shown::{cut, list, plain, table, word};

/// Letters of a value, and of an expression, that a person is shown; `--json` has them all.
const FOUND_SHOWN: usize = 60;
const FROM_SHOWN: usize = 70;

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
    let routes = &installation.configuration.routes;
    let explained = with_context(now, &verified.signed_headers, &hash_key, |context| held.source.explain(&request, context));
    let shown: Vec<Value> = explained.iter().map(|explained| explained_json(explained, &held.source, routes)).collect();
    let mut text: String = shown.iter().map(|shown| format!("{}\n{}\n", explained_text(shown), reading_text(shown))).collect();
    if shown.is_empty() {
        text = "A batch of nothing: no event.\n".to_owned();
    }
    let dead = explained.iter().any(|explained| matches!(explained.reading, Reading::DeadLetter { .. }));
    context.say(&json!({ "source": asked.source, "readings": shown }), &text);
    if dead { Err(Refused::Told) } else { Ok(()) }
}

/// What a request holds, with ids that are nobody's.
pub fn read(source: &Source, request: &Received<'_>, signed_headers: &[String], hash_key: &HashKey, now: Time) -> Vec<Reading> {
    with_context(now, signed_headers, hash_key, |context| source.read(request, context))
}

fn with_context<T>(now: Time, signed_headers: &[String], hash_key: &HashKey, read: impl FnOnce(&mut ReadContext<'_>) -> T) -> T {
    let mut ids = IdGenerator::new(0, 0);
    let raw_event = RawEventId(ids.next_id(now));
    let correlation_id = raw_event.to_string();
    let event_id = &mut || EventId(ids.next_id(now));
    let mut context = ReadContext { received_at: now, raw_event, correlation_id: &correlation_id, signed_headers, hash_key, event_id };
    read(&mut context)
}

fn explained_json(explained: &Explained, source: &Source, routes: &Routes) -> Value {
    let mut shown = reading_json(&explained.reading, source, routes);
    shown["explained"] =
        json!({ "entry": explained.entry, "vendor_type": explained.vendor_type, "rules": explained.rules, "fields": explained.fields });
    shown
}

/// Which rule fits and why the ones before it do not, and what each field was made of.
fn explained_text(shown: &Value) -> String {
    let part = |value: &Value, pointer: &str| word(value, pointer);
    let mut text = String::new();
    if shown.pointer("/explained/entry").is_some_and(|entry| !entry.is_null()) {
        text.push_str(&format!("Entry {}\n", part(shown, "/explained/entry")));
    }
    text.push_str(&format!("The vendor calls it {}\n", part(shown, "/explained/vendor_type")));
    for rule in list(shown, "/explained/rules") {
        let fits = if rule.pointer("/fits") == Some(&Value::Bool(true)) { "fits" } else { "does not fit" };
        text.push_str(&format!("  {} → {} {fits}: {}\n", part(rule, "/rule"), part(rule, "/makes"), part(rule, "/why")));
    }
    let rows: Vec<[String; 5]> = list(shown, "/explained/fields")
        .iter()
        .map(|field| {
            let [name, from, normalizer] = ["/name", "/from", "/normalizer"].map(|pointer| part(field, pointer));
            let found = cut(&part(field, "/found"), FOUND_SHOWN);
            let result = match (field.get("result"), field.get("why").and_then(Value::as_str)) {
                (Some(result), None) => cut(&part(result, ""), FOUND_SHOWN),
                (Some(Value::Null) | None, Some(why)) => format!("- ({})", plain(why)),
                (Some(result), Some(why)) => format!("{} ({})", cut(&part(result, ""), FOUND_SHOWN), plain(why)),
                (None, None) => "-".to_owned(),
            };
            [name, cut(&from, FROM_SHOWN), found, normalizer, result]
        })
        .collect();
    if !rows.is_empty() {
        text.push_str(&table(["field", "from", "found", "as", "result"], &rows));
    }
    text
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
