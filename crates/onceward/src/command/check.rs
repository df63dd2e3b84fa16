//! `onceward check`

use serde_json::json;

use super::{Context, Refused};
use crate::configuration::{self, Configuration};
use crate::installation;

/// Says everything that is wrong with the configuration, or what is configured.
pub fn run(context: &Context) -> Result<(), Refused> {
    let Some(path) = installation::file(context) else {
        let text = "There is no onceward.toml here: `onceward` would run the demo. `deploy/onceward.toml` is one to start from.";
        context.say(&json!({ "ok": true, "file": null, "demo": true, "problems": [], "warnings": [] }), text);
        return Ok(());
    };
    let file = path.display().to_string();
    match configuration::load(&path, &context.environment) {
        Ok(configuration) => {
            let answer = json!({
                "ok": true,
                "file": file,
                "problems": [],
                "warnings": configuration.warnings,
                "summary": {
                    "ledger": configuration.ledger,
                    "queue": configuration.queue.to_string(),
                    "public": configuration.listen.public,
                    "admin": configuration.listen.admin(),
                    "public_url": configuration.listen.public_url,
                    "retention_seconds": {
                        "raw_events": configuration.retention.raw_events.as_secs(),
                        "payloads": configuration.retention.payloads.as_secs(),
                        "keys": configuration.retention.keys.as_secs(),
                    },
                    "sources": configuration.sources.keys().collect::<Vec<_>>(),
                    "destinations": configuration.destinations.keys().collect::<Vec<_>>(),
                    "routes": configuration.routed.len(),
                },
            });
            context.say(&answer, &summary(&file, &configuration));
            Ok(())
        }
        Err(problems) => {
            let count = problems.len();
            let all: String = problems.iter().map(|problem| format!("{problem}\n\n")).collect();
            let text = format!("{all}{count} problem{} in {file}.", if count == 1 { "" } else { "s" });
            context.say(&json!({ "ok": false, "file": file, "problems": problems, "warnings": [] }), &text);
            Err(Refused::Told)
        }
    }
}

fn summary(file: &str, configuration: &Configuration) -> String {
    let mut text = format!("{file} is in order.\n\n");
    text.push_str(&format!("  ledger        {}\n", configuration.ledger));
    text.push_str(&format!("  queue         {}\n", configuration.queue));
    text.push_str(&format!("  public        {}\n", configuration.listen.public));
    text.push_str(&format!("  admin         {}\n", configuration.listen.admin()));
    for (name, source) in &configuration.sources {
        let from = source.source.preset.as_deref().map_or_else(|| "a source of your own".to_owned(), |preset| format!("preset {preset}"));
        text.push_str(&format!("  source        {name}: {from}, trust {}\n", source.source.trust));
    }
    for (name, destination) in &configuration.destinations {
        let objects = destination.objects.keys().cloned().collect::<Vec<_>>().join(", ");
        let kind = destination.settings.kind.as_str();
        text.push_str(&format!("  destination   {name}: {kind} at {}, objects {objects}\n", destination.settings.base_url));
    }
    text.push_str(&format!("  routes        {}\n", configuration.routed.len()));
    for warning in &configuration.warnings {
        text.push_str(&format!("\nwarning: {}: {}\n  remedy: {}\n", warning.key, warning.message, warning.remedy));
    }
    text
}
