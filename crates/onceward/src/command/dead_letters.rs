//! `onceward dead-letters`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::replay::Mapping;
use super::{Context, Refused, replay, trace};
use crate::admin::{Admin, Ask};
use crate::shown::{cut, list, moment, table, word};

#[derive(Args)]
pub struct DeadLetters {
    #[command(flatten)]
    ask: Ask,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Show them, newest first (the default).
    List(List),
    /// Show one with everything that happened to it.
    Show(One),
    /// Give one to somebody.
    Assign(Assign),
    /// Close one without sending it.
    Resolve(Reasoned),
    /// Send one through again, under the same key.
    Replay(Again),
}

#[derive(Args, Default)]
struct List {
    /// Narrow it: `reason=rejected_by_crm`, `destination=…`, `source=…`, `owner=…`, `event_type=…`, `since=…`, `until=…`.
    #[arg(long = "where", value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// At most this many, 1 to 1,000.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
}

#[derive(Args)]
struct One {
    /// `dlv_…`
    id: String,
}

#[derive(Args)]
struct Assign {
    /// `dlv_…`
    id: String,
    /// Who looks at it from now on.
    #[arg(long)]
    owner: String,
    /// Why; kept in the audit trail.
    #[arg(long)]
    reason: String,
}

#[derive(Args)]
struct Reasoned {
    /// `dlv_…`
    id: String,
    /// Why; kept in the audit trail.
    #[arg(long)]
    reason: String,
}

#[derive(Args)]
struct Again {
    /// `dlv_…`
    id: String,
    /// Why; kept in the audit trail.
    #[arg(long)]
    reason: String,
    /// Whether the event is made again by today's mapping, or sent as it is stored.
    #[arg(long, value_enum, default_value_t)]
    mapping: Mapping,
    /// A file with a corrected payload, kept beside the original.
    #[arg(long, value_name = "FILE")]
    payload: Option<String>,
}

/// Lists dead letters and decides about them.
pub async fn run(context: &Context, asked: DeadLetters) -> Result<(), Refused> {
    let what = asked.what.unwrap_or(What::List(List { filter: Vec::new(), limit: 50 }));
    let admin = Admin::find(context, &asked.ask).await?;
    match what {
        What::List(list) => self::list_them(context, &admin, &list).await,
        What::Show(one) => show(context, &admin, &one.id).await,
        What::Assign(Assign { id, owner, reason }) => {
            let answer = admin.post(&path(&id, "assign")?, &json!({ "owner": owner, "reason": reason })).await?;
            context.say(&answer, &format!("{id} is now {owner}'s."));
            Ok(())
        }
        What::Resolve(Reasoned { id, reason }) => {
            let answer = admin.post(&path(&id, "resolve")?, &json!({ "reason": reason })).await?;
            context.say(&answer, &format!("{id} is closed; it will not be sent."));
            Ok(())
        }
        What::Replay(again) => replay_one(context, &admin, &again).await,
    }
}

fn path(id: &str, what: &str) -> Result<String, Refused> {
    let fits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if fits {
        Ok(format!("/api/dead-letters/{id}/{what}"))
    } else {
        Err(Refused::Usage("an id of a dead letter looks like `dlv_0123456789abc`".to_owned()))
    }
}

async fn list_them(context: &Context, admin: &Admin, asked: &List) -> Result<(), Refused> {
    let filter = replay::filter(&asked.filter)?;
    let limit = asked.limit.to_string();
    let mut query: Vec<(&str, &str)> = filter.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    query.push(("limit", &limit));
    let answer = admin.get("/api/dead-letters", &query).await?;
    let rows: Vec<[String; 7]> = list(&answer, "/dead_letters")
        .iter()
        .map(|dead| {
            let to = format!("{} {}", word(dead, "/destination"), word(dead, "/object"));
            let from = format!("{} {}", word(dead, "/source"), word(dead, "/event_type"));
            let message = cut(&word(dead, "/message"), 60);
            [
                word(dead, "/id"),
                moment(dead, "/failed_at"),
                word(dead, "/reason"),
                from,
                to.replace("- -", "-"),
                word(dead, "/owner"),
                message,
            ]
        })
        .collect();
    let text = if rows.is_empty() {
        "There are no dead letters.".to_owned()
    } else {
        table(["id", "failed at (UTC)", "reason", "from", "to", "owner", "message"], &rows)
            + "\nonceward dead-letters show ID says what can be done."
    };
    context.say(&answer, &text);
    Ok(())
}

async fn show(context: &Context, admin: &Admin, id: &str) -> Result<(), Refused> {
    let answer = admin.get("/api/dead-letters", &[("id", id)]).await?;
    let dead = list(&answer, "/dead_letters").first();
    let dead =
        dead.ok_or_else(|| Refused::because(format!("there is no dead letter `{id}`; `onceward trace {id}` shows what it is now")))?;
    let way = admin.get("/api/trace", &[("q", id)]).await?;
    let attempts = format!("{} (last {})", word(dead, "/attempts"), moment(dead, "/last_attempt_at"));
    let rows: [(&str, String); 11] = [
        ("reason", word(dead, "/reason")),
        ("message", word(dead, "/message")),
        ("remedy", word(dead, "/remedy")),
        ("owner", word(dead, "/owner")),
        ("key", word(dead, "/idempotency_key")),
        ("from", format!("{} {}", word(dead, "/source"), word(dead, "/event_type"))),
        ("to", format!("{} {}", word(dead, "/destination"), word(dead, "/object"))),
        ("received", moment(dead, "/first_received_at")),
        ("failed", moment(dead, "/failed_at")),
        ("attempts", attempts),
        ("raw event", word(dead, "/raw_event")),
    ];
    let head: String = rows.iter().map(|(name, value)| format!("  {name:<10}{value}\n")).collect();
    let text = format!("Dead letter {}, {}\n{head}\n{}", word(dead, "/id"), word(dead, "/status"), trace::text(&way));
    context.say(&json!({ "dead_letter": dead, "trace": way }), &text);
    Ok(())
}

async fn replay_one(context: &Context, admin: &Admin, asked: &Again) -> Result<(), Refused> {
    let mut body = json!({ "reason": asked.reason, "mapping": asked.mapping.as_str() });
    if let Some(file) = &asked.payload {
        let text = String::from_utf8(super::send::payload(file, None)?).map_err(|_| Refused::because("the payload is not UTF-8 text"))?;
        body["payload"] = Value::String(text);
    }
    let answer = admin.post(&path(&asked.id, "replay")?, &body).await?;
    let text = match word(&answer, "/result").as_str() {
        "reopened" => format!("{} is on its way again, generation {}.", word(&answer, "/delivery"), word(&answer, "/generation")),
        "replaced" => format!("Its event now leads elsewhere: {} replace it.", word(&answer, "/by")),
        "still_dead" => format!("It is still a dead letter: {}: {}", word(&answer, "/reason"), word(&answer, "/message")),
        other => other.to_owned(),
    };
    context.say(&answer, &text);
    if word(&answer, "/result") == "still_dead" { Err(Refused::Told) } else { Ok(()) }
}
