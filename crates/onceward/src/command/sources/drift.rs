//! `onceward sources drift`

use clap::Args;
use serde_json::Value;

use super::{Context, Refused, path};
use crate::admin::{Admin, Ask};
use crate::shown::{list, moment, table, word};

#[derive(Args)]
pub struct Drift {
    /// The source's name in the configuration.
    name: String,
}

/// Shows what has changed, the newest last.
pub async fn run(context: &Context, ask: &Ask, asked: &Drift) -> Result<(), Refused> {
    let answer = Admin::find(context, ask).await?.get(&path(&asked.name, "drift")?, &[]).await?;
    context.say(&answer, &told(&answer));
    Ok(())
}

fn told(answer: &Value) -> String {
    let types = list(answer, "/types");
    let mut rows: Vec<[String; 6]> = Vec::new();
    for held in types {
        let row = |change: &Value| {
            let [kind, path, was, is] = ["/kind", "/path", "/was", "/is"].map(|pointer| word(change, pointer));
            [moment(change, "/at"), word(held, "/event_type"), kind.replace('_', " "), path, was, is]
        };
        rows.extend(list(held, "/changes").iter().map(row));
    }
    rows.sort();
    let mut text = match (types.is_empty(), rows.is_empty()) {
        (true, _) => "Nothing is known of its bodies yet.\n".to_owned(),
        (false, true) => "Nothing has changed in what it sends.\n".to_owned(),
        (false, false) => table(["when (UTC)", "event type", "what", "member", "was", "is"], &rows),
    };
    for held in types {
        let [event_type, paths, bodies] = ["/event_type", "/paths", "/bodies"].map(|pointer| word(held, pointer));
        text.push_str(&format!("\n{event_type}: {paths} members are known, from {bodies} bodies"));
    }
    text
}
