//! `onceward reconcile`

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{Context, Refused};
use crate::admin::{Admin, Ask};
use crate::shown::{list, moment, plain, table, word};

/// How often the runs are looked at while they go on.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// What can differ, as counted.
const DIFFERENCES: [&str; 5] = ["missing", "ours", "edited", "duplicated", "unread"];

#[derive(Args)]
pub struct Reconcile {
    #[command(flatten)]
    ask: Ask,
    /// The destination's name in the configuration.
    destination: String,
    /// One of its objects; default: all of them.
    #[arg(long)]
    object: Option<String>,
    /// Look at so many records of each object, going on where the last run ended. Default: 200.
    #[arg(long, value_name = "N", conflicts_with = "all")]
    sample: Option<u64>,
    /// Look at every record.
    #[arg(long)]
    all: bool,
    /// Put right what went wrong with writes of ours and believe what others wrote (`ours`, if nothing else is said), or make the CRM hold what we believe (`all`).
    #[arg(long, value_name = "WHAT", num_args = 0..=1, default_missing_value = "ours")]
    repair: Option<Repair>,
    /// Show the runs that there were, and begin none.
    #[arg(long, conflicts_with_all = ["object", "sample", "all", "repair"])]
    runs: bool,
    /// Why; kept in the audit trail.
    #[arg(long, default_value = "asked for on the command line")]
    reason: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Repair {
    Ours,
    All,
}

/// Asks for a run of each object and waits until they have ended; refused where something differs.
pub async fn run(context: &Context, asked: Reconcile) -> Result<(), Refused> {
    let admin = Admin::find(context, &asked.ask).await?;
    if asked.runs {
        let answer = admin.get("/api/reconciliations", &[("destination", &asked.destination)]).await?;
        context.say(&answer, &runs(list(&answer, "/reconciliations")));
        return Ok(());
    }
    let mut body = json!({ "destination": asked.destination, "all": asked.all, "reason": asked.reason });
    for (name, value) in [("object", asked.object.map(Value::from)), ("sample", asked.sample.map(Value::from))] {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    body["repair"] = json!(match asked.repair {
        None => "off",
        Some(Repair::Ours) => "ours",
        Some(Repair::All) => "all",
    });
    let answer = admin.post("/api/reconciliations", &body).await?;
    let mut rows = list(&answer, "/reconciliations").to_vec();
    let progress = std::io::stderr().is_terminal() && !context.json;
    for row in &mut rows {
        let id = word(row, "/id");
        while word(row, "/state") == "open" {
            tokio::time::sleep(LOOK_EVERY).await;
            *row = admin.get(&format!("/api/reconciliations/{id}"), &[]).await?;
            if progress {
                eprint!("\r{}", line(row));
            }
        }
        if progress {
            eprintln!();
        }
    }
    context.say(&json!({ "reconciliations": rows }), &rows.iter().map(told).collect::<Vec<_>>().join("\n"));
    let well = |row: &Value| word(row, "/state") == "done" && DIFFERENCES.iter().all(|name| number(row, name) == 0);
    if rows.iter().all(well) { Ok(()) } else { Err(Refused::Told) }
}

fn number(row: &Value, name: &str) -> u64 {
    row.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// How far it is.
fn line(row: &Value) -> String {
    let note = word(row, "/note");
    let waits = if note == "-" { String::new() } else { format!("; waits until {}: {note}", moment(row, "/wake_at")) };
    format!("{}: {} equal, {} differ{waits}", word(row, "/object"), number(row, "equal"), differing(row))
}

fn differing(row: &Value) -> u64 {
    DIFFERENCES.iter().map(|name| number(row, name)).sum()
}

fn told(row: &Value) -> String {
    let mut text = format!("{} of {}: {} equal", word(row, "/object"), word(row, "/destination"), number(row, "equal"));
    let said = [
        ("missing", "missing in the CRM"),
        ("ours", "drifted by writes of ours that came late or got lost"),
        ("edited", "edited by somebody else"),
        ("duplicated", "there several times"),
        ("unread", "not shown by the CRM"),
        ("busy", "being worked on, not compared"),
        ("repaired", "repaired"),
    ];
    for (name, what) in said.into_iter().filter(|(name, _)| number(row, name) > 0) {
        text.push_str(&format!(", {} {what}", number(row, name)));
    }
    text.push_str(".\n");
    if word(row, "/state") != "done" {
        text.push_str(&format!("Given up: {}\n", word(row, "/note")));
    }
    let findings = list(row, "/findings");
    if !findings.is_empty() {
        text.push_str(&table(["key", "CRM id", "found", "fields", "repaired"], &findings.iter().map(finding).collect::<Vec<_>>()));
        if findings.len() as u64 != differing(row) {
            text.push_str(&format!("… and {} more.\n", differing(row).saturating_sub(findings.len() as u64)));
        }
        text.push_str("`onceward trace KEY` shows what was written, and when.\n");
    }
    text
}

fn finding(row: &Value) -> [String; 5] {
    let fields = row.get("fields").and_then(Value::as_object).into_iter().flatten();
    let mut fields = fields.map(|(name, cause)| format!("{} ({})", plain(name), word(cause, ""))).collect::<Vec<_>>().join(", ");
    if fields.is_empty() {
        fields = word(row, "/code");
    }
    let repaired = if row.get("repaired").and_then(Value::as_bool) == Some(true) { "yes" } else { "no" };
    [word(row, "/key"), word(row, "/crm_id"), word(row, "/verdict"), fields, repaired.to_owned()]
}

fn runs(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "It was never reconciled.".to_owned();
    }
    let cells = |row: &Value| {
        let [actor, object, repair, state] = ["/actor", "/object", "/repair", "/state"].map(|pointer| word(row, pointer));
        let [equal, repaired] = ["equal", "repaired"].map(|name| number(row, name).to_string());
        [moment(row, "/at"), actor, object, repair, state.replace('_', " "), equal, differing(row).to_string(), repaired]
    };
    let rows: Vec<[String; 8]> = rows.iter().map(cells).collect();
    table(["asked at (UTC)", "by", "object", "repair", "state", "equal", "differ", "repaired"], &rows)
}
