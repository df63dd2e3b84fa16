//! `onceward sources rejected`

use clap::Args;
use serde_json::{Value, json};

use super::{Context, Refused, path};
use crate::admin::{Admin, Ask};
use crate::shown::{list, moment, plain, word};

/// What the audit trail says where nothing else is said.
const WHY: &str = "checked again with the present configuration";

#[derive(Args)]
pub struct Rejected {
    /// The source's name in the configuration.
    name: String,
    /// Check them again with the configuration that the process runs with; take in what is genuine, under the time at which it came.
    #[arg(long)]
    retry: bool,
    /// Only this one.
    #[arg(long, value_name = "REJ", requires = "retry")]
    id: Option<String>,
    /// Say what would be taken in, and change nothing.
    #[arg(long, requires = "retry")]
    dry_run: bool,
    /// Why; kept in the audit trail.
    #[arg(long, requires = "retry", default_value = WHY)]
    reason: String,
    /// How many to list.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

/// Lists what was refused, or checks it again.
pub async fn run(context: &Context, ask: &Ask, asked: &Rejected) -> Result<(), Refused> {
    let admin = Admin::find(context, ask).await?;
    if asked.retry {
        return retry(context, &admin, asked).await;
    }
    let limit = asked.limit.to_string();
    let answer = admin.get(&path(&asked.name, "rejected")?, &[("limit", &limit)]).await?;
    let rows = list(&answer, "/rejected");
    let mut text: String = rows.iter().map(row).collect();
    if rows.is_empty() {
        text = format!("No refused request of {} is kept.", plain(&asked.name));
    } else {
        text.push_str(&format!(
            "\nOnce the cause is mended and the process runs with it:  onceward sources rejected {} --retry",
            asked.name
        ));
    }
    context.say(&answer, &text);
    Ok(())
}

fn row(row: &Value) -> String {
    let head = [moment(row, "/at"), word(row, "/id"), word(row, "/reason"), format!("{} bytes", word(row, "/body_bytes"))].join("  ");
    format!("{head}\n  {}\n", word(row, "/diagnosis"))
}

/// Round after round, as the API looks at so many at a time.
async fn retry(context: &Context, admin: &Admin, asked: &Rejected) -> Result<(), Refused> {
    let path = path(&asked.name, "rejected/retry")?;
    let (mut counts, mut requests, mut after) = ([0, 0, 0], Vec::new(), Value::Null);
    loop {
        let body = json!({ "reason": asked.reason, "dry_run": asked.dry_run, "id": asked.id, "after": after });
        let answer = admin.post(&path, &body).await?;
        for (count, name) in counts.iter_mut().zip(["taken_in", "still_refused", "skipped"]) {
            *count += answer.get(name).and_then(Value::as_u64).unwrap_or_default();
        }
        requests.extend(list(&answer, "/requests").iter().cloned());
        after = answer.get("next").cloned().unwrap_or_default();
        if after.is_null() {
            break;
        }
    }
    let [taken_in, still_refused, skipped] = counts;
    let mut text: String = requests.iter().map(outcome).collect();
    let taken = if asked.dry_run { "would be taken in" } else { "taken in" };
    text.push_str(&format!("{taken_in} {taken}, {still_refused} still refused, {skipped} skipped"));
    let answer = json!({ "source": asked.name, "dry_run": asked.dry_run, "taken_in": taken_in, "still_refused": still_refused, "skipped": skipped,
        "requests": requests });
    context.say(&answer, &text);
    if still_refused + skipped == 0 { Ok(()) } else { Err(Refused::Told) }
}

fn outcome(request: &Value) -> String {
    let head = [moment(request, "/at"), word(request, "/id"), word(request, "/result").replace('_', " ")].join("  ");
    let mut text = format!("{head}\n");
    if request.get("diagnosis").is_some() {
        text.push_str(&format!("  {}\n", word(request, "/diagnosis")));
    }
    for event in list(request, "/events") {
        text.push_str(&format!("  {}  {}  {}\n", word(event, "/status"), word(event, "/id"), word(event, "/idempotency_key")));
    }
    text
}
