//! `onceward sources catch-up`

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{Context, Refused, path};
use crate::admin::{Admin, Ask};
use crate::shown::{list, moment, table, word};

/// How often the run is looked at while it goes on.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Args)]
pub struct CatchUp {
    /// The source's name in the configuration.
    name: String,
    /// From when on to look: `2026-11-20T00:00:00Z`. Without it, the runs that there were are shown.
    #[arg(long, value_name = "MOMENT")]
    since: Option<String>,
    /// Up to when; default: now.
    #[arg(long, value_name = "MOMENT", requires = "since")]
    until: Option<String>,
    /// Only count; take nothing in.
    #[arg(long, requires = "since")]
    dry_run: bool,
    /// Why; kept in the audit trail.
    #[arg(long, default_value = "asked for on the command line")]
    reason: String,
}

/// Asks for a run and waits until it has ended, or shows the runs that there were.
pub async fn run(context: &Context, ask: &Ask, asked: &CatchUp) -> Result<(), Refused> {
    let path = path(&asked.name, "catch-up")?;
    let admin = Admin::find(context, ask).await?;
    let Some(since) = &asked.since else {
        let answer = admin.get(&path, &[]).await?;
        context.say(&answer, &runs(list(&answer, "/catch_ups")));
        return Ok(());
    };
    let mut body = json!({ "since": since, "dry_run": asked.dry_run, "reason": asked.reason });
    if let Some(until) = &asked.until {
        body["until"] = json!(until);
    }
    let mut row = admin.post(&path, &body).await?;
    let id = word(&row, "/id");
    let progress = std::io::stderr().is_terminal() && !context.json;
    while word(&row, "/state") == "open" {
        tokio::time::sleep(LOOK_EVERY).await;
        row = admin.get(&format!("/api/catch-ups/{id}"), &[]).await?;
        if progress {
            eprint!("\r{}", line(&row));
        }
    }
    if progress {
        eprintln!();
    }
    context.say(&row, &told(&row));
    if word(&row, "/state") == "done" { Ok(()) } else { Err(Refused::Told) }
}

/// How far it is.
fn line(row: &Value) -> String {
    let note = word(row, "/note");
    let waits = if note == "-" { String::new() } else { format!("; waits until {}: {note}", moment(row, "/wake_at")) };
    format!("{} seen, {} already here, {} filled{waits}", word(row, "/seen"), word(row, "/already_here"), word(row, "/filled"))
}

fn told(row: &Value) -> String {
    let [seen, here, filled, ignored] = ["/seen", "/already_here", "/filled", "/ignored"].map(|pointer| word(row, pointer));
    let dry = row.pointer("/dry_run").and_then(Value::as_bool) == Some(true);
    let filled = if dry { format!("{filled} would be filled; nothing was taken in") } else { format!("{filled} filled") };
    let irrelevant = if ignored == "0" { String::new() } else { format!(", {ignored} irrelevant") };
    match word(row, "/state").as_str() {
        "done" => {
            format!("{seen} seen, {here} already here{irrelevant}, {filled}.\n`onceward trace {}` shows what it brought.", word(row, "/id"))
        }
        _ => format!(
            "Given up after {} pages: {}\n{seen} seen, {here} already here{irrelevant}, {filled} until then.",
            word(row, "/pages"),
            word(row, "/note")
        ),
    }
}

fn runs(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "It was never caught up with: name a moment with `--since`.".to_owned();
    }
    let rows: Vec<[String; 8]> = rows
        .iter()
        .map(|row| {
            let [state, seen, here, filled] = ["/state", "/seen", "/already_here", "/filled"].map(|pointer| word(row, pointer));
            let state = if row.pointer("/dry_run").and_then(Value::as_bool) == Some(true) { format!("{state} (dry)") } else { state };
            [
                moment(row, "/at"),
                word(row, "/actor"),
                moment(row, "/since"),
                moment(row, "/until"),
                state.replace('_', " "),
                seen,
                here,
                filled,
            ]
        })
        .collect();
    table(["asked (UTC)", "by", "since", "until", "state", "seen", "already here", "filled"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_it_is_said_in_three_numbers() {
        let row = json!({ "id": "cup_1", "state": "done", "seen": 12, "already_here": 9, "filled": 2, "ignored": 1, "dry_run": false });
        assert!(told(&row).starts_with("12 seen, 9 already here, 1 irrelevant, 2 filled."), "{}", told(&row));
        let row =
            json!({ "state": "given_up", "seen": 0, "already_here": 0, "filled": 0, "ignored": 0, "pages": 0, "note": "190: expired" });
        assert!(told(&row).contains("190: expired"));
        let row = json!({ "state": "done", "seen": 3, "already_here": 1, "filled": 2, "ignored": 0, "dry_run": true });
        assert!(told(&row).contains("2 would be filled; nothing was taken in"));
    }
}
