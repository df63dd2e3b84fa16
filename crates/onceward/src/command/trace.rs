//! `onceward trace`

use clap::Args;
use model::Time;
use serde_json::Value;

use super::{Context, Refused};
use crate::admin::{Admin, Ask};
use crate::shown::{elapsed, list, moment, table, word};

#[derive(Args)]
pub struct Trace {
    /// An idempotency key, e-mail, phone, external id, CRM id, event, delivery, record or correlation id.
    x: String,
    #[command(flatten)]
    ask: Ask,
}

/// Shows everything that happened to X, in order.
pub async fn run(context: &Context, asked: Trace) -> Result<(), Refused> {
    let admin = Admin::find(context, &asked.ask).await?;
    let trace = admin.get("/api/trace", &[("q", &asked.x)]).await?;
    context.say(&trace, &text(&trace));
    Ok(())
}

/// A trace for people: what there is, then the way step by step.
pub fn text(trace: &Value) -> String {
    let mut text = String::new();
    let found: Vec<String> = list(trace, "/found_as").iter().map(|kind| word(kind, "").replace('_', " ")).collect();
    if !found.is_empty() {
        text.push_str(&format!("Found as {}.\n\n", found.join(", ")));
    }
    for event in list(trace, "/events") {
        text.push_str(&event_text(event));
    }
    for record in list(trace, "/records") {
        text.push_str(&record_text(record));
    }
    text.push_str(&steps_text(list(trace, "/steps")));
    if trace.pointer("/truncated") == Some(&Value::Bool(true)) {
        text.push_str("\nThere is more than is shown: ask for one event or record by its id.\n");
    }
    text
}

fn event_text(event: &Value) -> String {
    let mut text = format!("Event {}  {} from {}\n", word(event, "/id"), word(event, "/event_type"), word(event, "/source"));
    text.push_str(&format!("  key       {}\n", word(event, "/idempotency_key")));
    text.push_str(&format!("  occurred  {}   received {}\n", moment(event, "/occurred_at"), moment(event, "/received_at")));
    if event.pointer("/ignored") == Some(&Value::Bool(true)) {
        text.push_str("  ignored   its source lists this type as irrelevant\n");
    }
    for warning in list(event, "/warnings") {
        text.push_str(&format!("  warning   {}: {}\n", word(warning, "/kind"), word(warning, "/message")));
    }
    for delivery in list(event, "/deliveries") {
        let outcome = word(delivery, "/outcome");
        let outcome = if outcome == "-" { String::new() } else { format!(" ({outcome})") };
        let to = match word(delivery, "/destination").as_str() {
            "-" => String::new(),
            destination => format!(" to {destination} {}", word(delivery, "/object")),
        };
        text.push_str(&format!("  delivery  {}{to}: {}{outcome}\n", word(delivery, "/id"), word(delivery, "/status")));
        if let Some(dead) = delivery.pointer("/dead_letter").filter(|dead| dead.is_object()) {
            text.push_str(&format!("            {}: {}\n", word(dead, "/reason"), word(dead, "/message")));
            text.push_str(&format!("            {}\n", word(dead, "/remedy")));
        }
    }
    text.push('\n');
    text
}

fn record_text(record: &Value) -> String {
    let (destination, object, key) = (word(record, "/destination"), word(record, "/object"), word(record, "/key"));
    let mut text = format!("Record {}  {destination} {object} {key}, CRM id {}\n", word(record, "/id"), word(record, "/crm_record_id"));
    text.push_str(&format!("  state     {}\n", word(record, "/state")));
    if word(record, "/last_error") != "-" {
        text.push_str(&format!("  failure   {} (attempts {})\n", word(record, "/last_error"), word(record, "/attempts")));
    }
    text.push('\n');
    text
}

fn steps_text(steps: &[Value]) -> String {
    let mut before: Option<Time> = None;
    let rows: Vec<[String; 4]> = steps
        .iter()
        .map(|step| {
            let at = Time::parse_rfc3339(&word(step, "/at"));
            let since = at.map_or_else(String::new, |at| elapsed(before, at));
            before = at.or(before);
            let took = step.pointer("/duration_ms").and_then(Value::as_u64).map(|millis| format!(" ({millis} ms)")).unwrap_or_default();
            [moment(step, "/at"), since, word(step, "/step"), word(step, "/detail") + &took]
        })
        .collect();
    if rows.is_empty() { String::new() } else { table(["when (UTC)", "after", "what", ""], &rows) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn the_way_is_shown_step_by_step_with_the_time_between() {
        let trace = json!({
            "found_as": ["idempotency_key"], "truncated": false, "records": [],
            "events": [{"id": "evt_1", "event_type": "lead.created", "source": "demo", "idempotency_key": "demo|lead.created|1",
                "occurred_at": "2026-11-22T10:00:00.000Z", "received_at": "2026-11-22T10:00:01.000Z", "warnings": [],
                "deliveries": [{"id": "dlv_1", "destination": "salesforce", "object": "Lead", "status": "succeeded", "outcome": "applied"}]}],
            "steps": [{"at": "2026-11-22T10:00:01.000Z", "step": "received", "detail": "by demo"},
                {"at": "2026-11-22T10:00:01.012Z", "step": "written", "detail": "created", "duration_ms": 6}],
        });
        let text = super::text(&trace);
        for part in ["Found as idempotency key.", "dlv_1 to salesforce Lead: succeeded (applied)", "+12.0 ms", "created (6 ms)"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
