//! `onceward sources`

mod catch_up;
mod drift;
pub mod facts;
mod list;
mod new;
mod rejected;
mod show;

use clap::{Args, Subcommand};

use super::{Context, Refused};
use crate::admin::Ask;
use crate::shown::plain;

#[derive(Args)]
pub struct Sources {
    #[command(flatten)]
    ask: Ask,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Show every preset, and the configured sources (the default).
    List(list::List),
    /// Show what a preset needs, what it gives, and what to paste at the vendor.
    Show(show::Show),
    /// Write a source into onceward.toml; asks for what the arguments leave open.
    New(Box<new::New>),
    /// Look through the vendor's own lists for what was not pushed, and take it in.
    CatchUp(catch_up::CatchUp),
    /// Show how what a source sends has changed: new members, vanished ones, other kinds of value.
    Drift(drift::Drift),
    /// Show the requests of a source that were refused for their signature, or check them again once the secret is mended.
    Rejected(rejected::Rejected),
}

/// Shows sources, makes them, or looks after what was refused of them.
pub async fn run(context: &Context, asked: Sources) -> Result<(), Refused> {
    match asked.what.unwrap_or_else(|| What::List(list::List::default())) {
        What::List(list) => list::run(context, &asked.ask, &list).await,
        What::Show(show) => show::run(context, &show),
        What::New(new) => new::run(context, &new),
        What::CatchUp(catch_up) => catch_up::run(context, &asked.ask, &catch_up).await,
        What::Drift(drift) => drift::run(context, &asked.ask, &drift).await,
        What::Rejected(rejected) => rejected::run(context, &asked.ask, &rejected).await,
    }
}

/// The admin API's path of a source.
fn path(name: &str, what: &str) -> Result<String, Refused> {
    let fits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if fits { Ok(format!("/api/sources/{name}/{what}")) } else { Err(Refused::because(format!("there is no source `{}`", plain(name)))) }
}
