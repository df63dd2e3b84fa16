//! What a process says of itself when it starts.

use std::path::Path;

use serde_json::json;

use super::Role;
use crate::command::Context;
use crate::installation::{Installation, Running};

/// Says where everything is and what to try.
pub fn announce(context: &Context, role: Role, installation: &Installation, running: &Running, token: Option<&str>) {
    let mut event = json!({ "event": "listening", "admin": running.admin });
    if let Some(public) = &running.public {
        event["public"] = json!(public);
    }
    if let Some(sandbox) = &running.sandbox {
        event["sandbox"] = json!(sandbox);
    }
    if let Some(token) = token {
        event["admin_token"] = json!(token);
    }
    let sources: Vec<&str> = installation.configuration.sources.keys().map(String::as_str).collect();
    let mut text = match role {
        Role::Everything => format!("Onceward {} is running.", env!("CARGO_PKG_VERSION")),
        Role::Ingest | Role::Worker => format!("{} {} is running.", role.program(), env!("CARGO_PKG_VERSION")),
    };
    if installation.demo {
        text.push_str(&format!(" There is no onceward.toml here, so this is the demo; its data is in {}/.", installation.data.display()));
    }
    text.push_str("\n\n");
    match &running.public {
        Some(public) => {
            let public = installation.configuration.listen.public_url.as_ref().unwrap_or(public);
            text.push_str(&format!("  webhooks  {public}/webhooks/SOURCE   (sources: {})\n", sources.join(", ")));
            text.push_str(&format!("  console   {}/\n", running.admin));
        }
        None => text.push_str(&format!("  metrics   {}/metrics\n", running.admin)),
    }
    if let Some(token) = token {
        text.push_str(&format!("  token     {token}\n"));
    }
    if let Some(sandbox) = &running.sandbox {
        text.push_str(&format!("  sandbox   {sandbox}/_sandbox/records\n"));
    }
    if installation.demo {
        text.push_str(&suggestions(context, running));
    }
    for warning in &installation.configuration.warnings {
        text.push_str(&format!("\nwarning: {}: {}\n", warning.key, warning.message));
    }
    text.push_str("\nCtrl-C stops it.");
    context.say(&event, &text);
}

/// Commands to paste into another terminal.
fn suggestions(context: &Context, running: &Running) -> String {
    let program = program();
    let data = if context.data == Path::new("onceward-data") { String::new() } else { format!(" --data {}", quoted(&context.data)) };
    let sandbox = running.sandbox.as_deref().unwrap_or_default();
    format!(
        "\nTry it in another terminal:\n\
         \x20 {program} send --source demo sample{data}        # a signed webhook; again, and it is a duplicate\n\
         \x20 {program} trace ada@example.com{data}            # the way it went\n\
         \x20 {program} send --source typeform sample{data}    # the same person from elsewhere: the same record\n\
         \x20 curl -s {sandbox}/_sandbox/records\n"
    )
}

/// How this program is called from here.
fn program() -> String {
    let found = std::env::current_exe().ok().and_then(|path| {
        let name = path.file_name()?;
        let in_path =
            std::env::var_os("PATH").is_some_and(|folders| std::env::split_paths(&folders).any(|folder| folder.join(name) == path));
        if in_path {
            return Some(name.to_string_lossy().into_owned());
        }
        let here = std::env::current_dir().ok()?;
        Some(quoted(path.strip_prefix(here).unwrap_or(&path)))
    });
    found.unwrap_or_else(|| "onceward".to_owned())
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./+".contains(&byte));
    if plain { text.into_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
