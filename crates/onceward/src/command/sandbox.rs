//! `onceward sandbox`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{Context, Refused};
use crate::clock;
use crate::process::Signals;
use crate::process::listeners::bind;

#[derive(Args)]
pub struct Sandbox {
    /// Where to listen; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// How long every answer takes.
    #[arg(long, default_value = "5ms", value_parser = model::time::parse_span)]
    latency: Duration,
    /// Makes its chances repeatable.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How it misbehaves: `429=0.05,500-before=0.02,cut-after=0.01,late=0.01:30s,partial=0.02,lock=0.01,down=30s`, also for one
    /// dialect (`salesforce.429=0.05`); `GET /_sandbox/faults` shows what is in force, a wrong name what there is.
    #[arg(long, default_value = "", value_name = "LIST")]
    faults: sandbox::Faults,
    /// Who is let in: `client-id:secret,…,token,…`; a private app's token stands alone. Default: anyone.
    #[arg(long, value_name = "LIST")]
    credentials: Option<sandbox::Credentials>,
    /// Keep the records in this file, so that they are there again after a restart. Default: they end with the process.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

/// Serves a sandbox until it is told to stop.
pub async fn run(context: &Context, asked: Sandbox) -> Result<(), Refused> {
    let listener = bind("sandbox", asked.listen).await?;
    let mut signals = Signals::listen()?;
    let credentials = asked.credentials.unwrap_or_default();
    let options = sandbox::Options { latency: asked.latency, faults: asked.faults, credentials, ..sandbox::Options::default() };
    let sandbox = match &asked.journal {
        Some(path) => {
            sandbox::Sandbox::serve_with_journal(listener, asked.seed, options, path, clock::now).map_err(|error| error.to_string())
        }
        None => sandbox::Sandbox::serve(listener, asked.seed, options, clock::now).map_err(|error| error.to_string()),
    };
    let sandbox = sandbox.map_err(|error| Refused::because(format!("the sandbox cannot start: {error}")))?;
    let url = format!("http://{}", sandbox.address());
    let text = format!(
        "The sandbox listens on {url}\n  records   curl {url}/_sandbox/records\n  calls     curl {url}/_sandbox/calls\nCtrl-C stops it."
    );
    context.say(&json!({ "event": "listening", "sandbox": url }), &text);
    signals.next().await;
    sandbox.stop().await;
    Ok(())
}
