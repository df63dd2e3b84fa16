//! `onceward destinations`

mod check;
mod setup;

use clap::{Args, Subcommand};
use connect::{Client, Level};
use serde_json::{Value, json};

use super::{Context, Refused};
use crate::admin::{Admin, Ask};
use crate::clock;
use crate::configuration::Configuration;
use crate::installation::Installation;
use crate::shown::{list, moment, plain, table, word};

#[derive(Args)]
pub struct Destinations {
    #[command(flatten)]
    ask: Ask,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Show them all (the default).
    List,
    /// Show one.
    Show(One),
    /// Send nothing there until it is resumed.
    Pause(Reasoned),
    /// Send again, whatever stopped it.
    Resume(Reasoned),
    /// Compare the configured fields with the CRM's own description of its objects, from here, with the configured credentials. Changes nothing.
    Check(Objects),
    /// Make the field of each object's key in the CRM where it is missing, or say how.
    Setup(Setup),
    /// Ask the CRM, or the vendor behind `source:NAME`, from here, with the configured credentials, whether it is well. Changes nothing.
    Probe(One),
}

#[derive(Args)]
struct One {
    /// The destination's name in the configuration.
    name: String,
}

#[derive(Args)]
struct Objects {
    /// The destination's name in the configuration.
    name: String,
    /// One of its objects; default: all of them.
    #[arg(long)]
    object: Option<String>,
}

#[derive(Args)]
struct Setup {
    #[command(flatten)]
    objects: Objects,
    /// Do it without asking.
    #[arg(long)]
    yes: bool,
}

#[derive(Args)]
struct Reasoned {
    /// The destination's name in the configuration.
    name: String,
    /// Why; kept in the audit trail.
    #[arg(long)]
    reason: String,
}

/// Shows destinations, or acts on one.
pub async fn run(context: &Context, asked: Destinations) -> Result<(), Refused> {
    match asked.what.unwrap_or(What::List) {
        What::List => {
            let answer = Admin::find(context, &asked.ask).await?.get("/api/destinations", &[]).await?;
            context.say(&answer, &overview(list(&answer, "/destinations")));
            Ok(())
        }
        What::Show(One { name }) => {
            let answer = Admin::find(context, &asked.ask).await?.get("/api/destinations", &[]).await?;
            let one = list(&answer, "/destinations").iter().find(|row| row.get("name").and_then(Value::as_str) == Some(&name));
            let one = one.ok_or_else(|| Refused::because(format!("there is no destination `{}`", plain(&name))))?;
            let promises = promises(context, &name);
            let mut shown = one.clone();
            if let (Some(promises), Some(members)) = (&promises, shown.as_object_mut()) {
                members.insert("connector".to_owned(), promises.clone());
            }
            let told = promises.as_ref().map(promised).unwrap_or_default();
            context.say(&shown, &(detail(one) + &told));
            Ok(())
        }
        What::Pause(Reasoned { name, reason }) => {
            let path = path(&name, "pause")?;
            let answer = Admin::find(context, &asked.ask).await?.post(&path, &json!({ "reason": reason })).await?;
            context.say(&answer, &format!("{name} is paused; its deliveries wait."));
            Ok(())
        }
        What::Resume(Reasoned { name, reason }) => {
            let path = path(&name, "resume")?;
            let answer = Admin::find(context, &asked.ask).await?.post(&path, &json!({ "reason": reason })).await?;
            context.say(&answer, &format!("{name} is resumed; its deliveries go on."));
            Ok(())
        }
        What::Check(Objects { name, object }) => check::run(context, &name, object.as_deref()).await,
        What::Setup(Setup { objects: Objects { name, object }, yes }) => setup::run(context, &name, object.as_deref(), yes).await,
        What::Probe(One { name }) => probe(context, &name).await,
    }
}

fn path(name: &str, what: &str) -> Result<String, Refused> {
    let own = model::fetch::source_of(name).unwrap_or(name);
    let fits = !own.is_empty() && own.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if fits {
        Ok(format!("/api/destinations/{name}/{what}"))
    } else {
        Err(Refused::because(format!("there is no destination `{}`", plain(name))))
    }
}

/// A client of a destination, and the objects that are asked about.
fn chosen(configuration: &Configuration, name: &str, object: Option<&str>) -> Result<(Client, Vec<String>), Refused> {
    let destination = configuration.destinations.get(name);
    let destination = destination.ok_or_else(|| Refused::because(format!("there is no destination `{}`", plain(name))))?;
    let known: Vec<String> = destination.objects.keys().cloned().collect();
    let objects = match object {
        None => known,
        Some(object) if destination.objects.contains_key(object) => vec![object.to_owned()],
        Some(object) => {
            let known = known.iter().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ");
            return Err(Refused::because(format!("{name} has no object `{}` in the configuration; there are {known}", plain(object))));
        }
    };
    let client = Client::http(destination.settings.clone()).map_err(|error| Refused::because(error.to_string()))?;
    Ok((client, objects))
}

/// What the destination's connector can promise, where its configuration is here.
fn promises(context: &Context, name: &str) -> Option<Value> {
    let installation = Installation::find(context).ok()?;
    let destination = installation.configuration.destinations.get(name)?;
    let client = Client::http(destination.settings.clone()).ok()?;
    let (connector, limits) = (client.connector(), client.connector().limits());
    let statement = connector.statement();
    let (level, promise) = match connector.level() {
        Level::A => ("A", "exact, by versions that the CRM keeps"),
        Level::B => ("B", "exact, once a write whose outcome is unknown can no longer land"),
        Level::C => ("C", "at least once: an unknown outcome is looked up or left to a person"),
    };
    Some(json!({
        "kind": destination.settings.kind.as_str(), "level": level, "promise": promise, "records_per_write": limits.write_batch,
        "records_per_read": limits.read_batch, "created_from_updated": statement.created_from_updated, "cannot": statement.cannot,
    }))
}

fn promised(promises: &Value) -> String {
    let lines = [
        ("connector", word(promises, "/kind")),
        ("promises", format!("level {}: {}", word(promises, "/level"), word(promises, "/promise"))),
        ("records a call", format!("{} written, {} read", word(promises, "/records_per_write"), word(promises, "/records_per_read"))),
        ("created is told", format!("by {}", word(promises, "/created_from_updated"))),
        ("cannot", word(promises, "/cannot")),
    ];
    lines.iter().map(|(name, value)| format!("  {name:<16}{value}\n")).collect()
}

fn overview(rows: &[Value]) -> String {
    let rows: Vec<[String; 7]> = rows
        .iter()
        .map(|row| {
            let cells = ["/name", "/state", "/open", "/retrying", "/verifying", "/dead_letters"].map(|pointer| word(row, pointer));
            let [name, state, open, retrying, verifying, dead] = cells;
            [name, state, open, retrying, verifying, dead, moment(row, "/last_success_at")]
        })
        .collect();
    table(["name", "state", "open", "retrying", "verifying", "dead letters", "last success (UTC)"], &rows)
}

fn detail(row: &Value) -> String {
    let mut text = format!("{} is {}\n", word(row, "/name"), word(row, "/state"));
    let lines = [
        ("because", word(row, "/reason")),
        ("until", moment(row, "/until")),
        ("open", word(row, "/open")),
        ("retrying", word(row, "/retrying")),
        ("verifying", word(row, "/verifying")),
        ("oldest open", moment(row, "/oldest_open")),
        ("dead letters", word(row, "/dead_letters")),
        ("last success", moment(row, "/last_success_at")),
        ("last error", word(row, "/last_error")),
    ];
    for (name, value) in lines.iter().filter(|(_, value)| value != "-") {
        text.push_str(&format!("  {name:<16}{value}\n"));
    }
    text + &budgets(row)
}

/// What may still be asked.
fn budgets(row: &Value) -> String {
    let mut text = String::new();
    for left in list(row, "/quota") {
        let name = match left.get("window").and_then(Value::as_str) {
            Some("day") => "left today",
            Some(_) | None => "left now",
        };
        text.push_str(&format!("  {name:<14}{} of {} calls", word(left, "/left"), word(left, "/limit")));
        if left.get("told") == Some(&Value::Bool(true)) {
            text.push_str(", by the CRM's own count");
        }
        if left.get("reserve").and_then(Value::as_u64).is_some_and(|reserve| reserve > 0) {
            text.push_str(&format!("; the last {} not for replays and catching up", word(left, "/reserve")));
        }
        if left.get("until").is_some() {
            text.push_str(&format!("; the next at {}", moment(left, "/until")));
        }
        text.push('\n');
    }
    let (now, most) = (word(row, "/concurrency"), word(row, "/concurrency_max"));
    if now != "-" {
        text.push_str(&format!("  {:<14}{now} of {most} calls\n", "at once"));
    }
    text
}

async fn probe(context: &Context, name: &str) -> Result<(), Refused> {
    let installation = Installation::find(context)?;
    let configuration = &installation.configuration;
    let refused = |error: connect::SettingsError| Refused::because(error.to_string());
    let vendor = model::fetch::source_of(name).and_then(|source| configuration.sources.get(source)?.fetch.as_ref());
    let begun;
    let probed = match (configuration.destinations.get(name), vendor) {
        (Some(destination), _) => {
            let client = connect::Client::http(destination.settings.clone()).map_err(refused)?;
            begun = std::time::Instant::now();
            client.probe(clock::now()).await
        }
        (None, Some(fetch)) => {
            let vendor = connect::vendor::Vendor::new(fetch.kind, fetch.settings.clone()).map_err(refused)?;
            begun = std::time::Instant::now();
            vendor.probe(clock::now()).await
        }
        (None, None) => return Err(Refused::because(format!("there is no destination `{}`", plain(name)))),
    };
    let millis = begun.elapsed().as_secs_f64() * 1e3;
    match probed {
        Ok(()) => {
            let text = format!("{name} answers and takes our credentials ({millis:.0} ms).");
            context.say(&json!({ "name": name, "ok": true, "duration_ms": millis }), &text);
            Ok(())
        }
        Err(failure) => {
            let (code, message) = (plain(&failure.code), plain(&failure.message));
            let text = format!("{name} is not well: {code}: {message} ({}, {millis:.0} ms)", failure.class.as_str());
            context.say(&json!({ "name": name, "ok": false, "failure": failure, "duration_ms": millis }), &text);
            Err(Refused::Told)
        }
    }
}
