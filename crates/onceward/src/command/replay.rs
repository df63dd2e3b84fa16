//! `onceward replay`

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{Context, Refused};
use crate::admin::{Admin, Ask};
use crate::shown::{list, plain, word};

#[derive(Args)]
pub struct Replay {
    /// Which dead letters: `reason=auth`, `destination=…`, `source=…`, `owner=…`, `event_type=…`, `since=…`, `until=…`; every one given must fit.
    #[arg(long = "where", value_name = "NAME=VALUE", required = true)]
    filter: Vec<String>,
    /// Why; kept in the audit trail.
    #[arg(long)]
    reason: String,
    /// Count them and show some; change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Whether events are made again by today's mapping, or sent as they are stored.
    #[arg(long, value_enum, default_value_t)]
    mapping: Mapping,
    /// The number that match, once that is more than 1,000.
    #[arg(long, value_name = "N")]
    confirm: Option<u64>,
    #[command(flatten)]
    ask: Ask,
}

/// Which mapping makes the event of a replay.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Mapping {
    /// Today's.
    #[default]
    Current,
    /// The one that made the event: it is sent as it is stored.
    Original,
}

impl Mapping {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Original => "original",
        }
    }
}

/// `NAME=VALUE`, several times.
pub fn filter(pairs: &[String]) -> Result<Vec<(String, String)>, Refused> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err(Refused::Usage(format!("`--where {}` is not NAME=VALUE; write for example `--where reason=auth`", plain(text)))),
    };
    pairs.iter().map(pair).collect()
}

/// Replays what fits, and waits until it is through.
pub async fn run(context: &Context, asked: Replay) -> Result<(), Refused> {
    let admin = Admin::find(context, &asked.ask).await?;
    let filter: serde_json::Map<String, Value> =
        filter(&asked.filter)?.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    let mut body = json!({ "filter": filter, "reason": asked.reason, "mapping": asked.mapping.as_str(), "dry_run": asked.dry_run });
    if let Some(count) = asked.confirm {
        body["confirm"] = json!(count);
    }
    let mut answer = admin.post("/api/replays", &body).await?;
    if asked.dry_run {
        let sample: String = list(&answer, "/sample").iter().map(|id| format!("\n  {}", word(id, ""))).collect();
        let matched = match word(&answer, "/matched").as_str() {
            "1" => "1 dead letter matches".to_owned(),
            more => format!("{more} dead letters match"),
        };
        context.say(&answer, &format!("{matched}; nothing was changed.{sample}"));
        return Ok(());
    }
    let id = word(&answer, "/id");
    let progress = std::io::stderr().is_terminal() && !context.json;
    while answer.pointer("/finished_at").is_none_or(Value::is_null) {
        tokio::time::sleep(Duration::from_millis(250)).await;
        answer = admin.get(&format!("/api/replays/{id}"), &[]).await?;
        if progress {
            eprint!("\r{} of {}", done(&answer), word(&answer, "/matched"));
        }
    }
    if progress {
        eprintln!();
    }
    let (reopened, refused) = (word(&answer, "/reopened"), word(&answer, "/refused"));
    let text = format!("Replay {id} is through: {} matched, {reopened} on their way again, {refused} not.", word(&answer, "/matched"));
    context.say(&answer, &text);
    Ok(())
}

fn done(answer: &Value) -> u64 {
    let count = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
    count("reopened") + count("refused")
}
