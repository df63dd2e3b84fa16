//! `onceward sources list`

use clap::Args;
use serde_json::{Value, json};

use super::facts::{Facts, all};
use super::{Context, Refused};
use crate::admin::{Admin, Ask};
use crate::installation::{self, Installation};
use crate::shown::{list, moment, table, word};

#[derive(Args, Default)]
pub struct List {
    /// Write the presets as the table that stands in README.
    #[arg(long)]
    markdown: bool,
}

/// Shows the configured sources, where there are any, and every preset.
pub async fn run(context: &Context, ask: &Ask, asked: &List) -> Result<(), Refused> {
    let presets = all()?;
    if asked.markdown {
        let text = markdown(&presets);
        context.say(&json!({ "markdown": text }), &text);
        return Ok(());
    }
    let sources = configured(context, ask).await;
    let mut text = sources_text(&sources);
    text.push_str(&presets_text(&presets));
    text.push_str("\nWhat a preset needs and what it gives:  onceward sources show PRESET\nTo set one up:  onceward sources new");
    context.say(&json!({ "sources": sources, "presets": presets }), &text);
    Ok(())
}

/// What is configured here, with how it is where somebody can tell.
async fn configured(context: &Context, ask: &Ask) -> Vec<Value> {
    let named = match installation::file(context).is_some() || context.data.exists() {
        true => Installation::find(context),
        false => return Vec::new(),
    };
    let named = match named {
        Ok(installation) => installation,
        Err(refused) => {
            // The presets are worth seeing all the same.
            eprintln!("The configured sources are not shown: {refused}. `onceward check` says more.\n");
            return Vec::new();
        }
    };
    if let Ok(admin) = Admin::find(context, ask).await
        && let Ok(answer) = admin.get("/api/sources", &[]).await
    {
        return list(&answer, "/sources").to_vec();
    }
    let row = |source: &model::source::Source| json!({ "name": source.name, "preset": source.preset, "trust": source.trust, "retired": source.retired });
    named.configuration.sources.values().map(|held| row(&held.source)).collect()
}

fn sources_text(sources: &[Value]) -> String {
    if sources.is_empty() {
        return String::new();
    }
    let requests = |row: &Value| {
        let counted = row.get("requests").and_then(Value::as_object).into_iter().flatten();
        let counted: Vec<String> = counted.map(|(result, number)| format!("{number} {result}")).collect();
        if counted.is_empty() { "-".to_owned() } else { counted.join(", ") }
    };
    let rows: Vec<[String; 6]> = sources
        .iter()
        .map(|row| {
            [
                word(row, "/name"),
                word(row, "/preset"),
                word(row, "/trust"),
                moment(row, "/last_event_at"),
                word(row, "/rejected"),
                requests(row),
            ]
        })
        .collect();
    format!("{}\n", table(["source", "preset", "trust", "last event (UTC)", "rejected", "requests since the start"], &rows))
}

fn presets_text(presets: &[Facts]) -> String {
    let rows: Vec<[String; 8]> = presets
        .iter()
        .map(|facts| {
            let or = |held: &Option<String>| held.clone().unwrap_or_else(|| "-".to_owned());
            let name = if facts.disabled.is_some() { format!("{} (disabled)", facts.name) } else { facts.name.clone() };
            [
                name,
                facts.category.to_owned(),
                facts.verification.clone(),
                facts.verdict.to_owned(),
                facts.confidence.to_owned(),
                or(&facts.handshake),
                or(&facts.batch),
                or(&facts.fetch),
            ]
        })
        .collect();
    table(["preset", "category", "verification", "verdict", "confidence", "handshake", "batch", "fetch"], &rows)
}

/// What stands between README's markers.
pub fn markdown(presets: &[Facts]) -> String {
    let disabled = presets.iter().filter(|facts| facts.disabled.is_some()).count();
    let mut text = format!("{} presets", presets.len() - disabled);
    if disabled > 0 {
        text.push_str(&format!(", and {disabled} that ship disabled because their formula could not be verified"));
    }
    text.push_str(":\n\n| vendor | preset | category | verification | confidence | more |\n| --- | --- | --- | --- | --- | --- |\n");
    for facts in presets {
        let more = [
            facts.handshake.as_ref().map(|_| "handshake".to_owned()),
            facts.batch.as_ref().map(|_| "batches".to_owned()),
            facts.fetches().then(|| "fetches what was pushed".to_owned()),
            facts.disabled.as_ref().map(|_| "**disabled**".to_owned()),
        ];
        let more: Vec<String> = more.into_iter().flatten().collect();
        let verdict = if facts.verdict == "verified" { "" } else { " (sender only)" };
        let link = format!("[{}]({})", facts.title.replace('|', "\\|"), facts.docs);
        let cells = [link, format!("`{}`", facts.name), facts.category.to_owned(), format!("{}{verdict}", facts.verification)];
        text.push_str(&format!("| {} | {} | {} |\n", cells.join(" | "), facts.confidence, more.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "<!-- presets: `onceward sources list --markdown` -->\n";
    const END: &str = "\n<!-- end of presets -->";

    /// `ONCEWARD_WRITE_README=1` writes the table again.
    #[test]
    fn readme_and_the_list_agree() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
        let readme = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = readme.split_once(BEGIN).unwrap_or_else(|| panic!("README lacks {BEGIN}"));
        let (held, after) = rest.split_once(END).unwrap_or_else(|| panic!("README lacks {END}"));
        let listed = markdown(&all().unwrap());
        if std::env::var_os("ONCEWARD_WRITE_README").is_some() {
            return std::fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", listed.trim_end())).unwrap();
        }
        assert_eq!(
            held,
            listed.trim_end(),
            "write it again: ONCEWARD_WRITE_README=1 cargo nextest run -p onceward readme_and_the_list_agree"
        );
    }
}
