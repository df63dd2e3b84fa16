//! A harness to talk to: the real executable as a process of its own, a CRM that misbehaves on request, senders that sign as
//! vendors do, operators who ask and decide, and a browser.
//!
//! Nothing here waits for a fixed time: [`until`] looks until something is so, up to a deadline, and says what it waited for.

mod admin;
mod browser;
mod clock;
mod crm;
mod dice;
mod fleet;
mod graph;
mod onceward;
mod postgres;
mod process;
mod rabbit;
mod setup;
mod source;
mod story;
mod vendors;
mod wire;

pub use admin::{Admin, Answer};
pub use browser::Browser;
pub use clock::now;
pub use crm::{Call, Crm, Record};
pub use dice::Dice;
pub use fleet::{Fleet, Node};
pub use graph::{Graph, Mood};
pub use onceward::{Onceward, Ran};
pub use postgres::{POSTGRES_URL, Postgres, database};
pub use rabbit::Broker;
pub use setup::{ENVIRONMENT, Setup};
pub use source::{Lead, Sent, Source, headers, post};
pub use story::{Said, Story, assert_crm_is_as_told, assert_ended};
pub use vendors::Vendors;
pub use wire::Wire;

use std::time::{Duration, Instant};

/// How long most things may take, on a slow machine with every other test running too.
pub const SOON: Duration = Duration::from_secs(20);

/// Looks again and again until there is something to see.
///
/// # Panics
///
/// The deadline passed; the text says what was waited for.
pub async fn until<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(begun.elapsed() < within, "waited {within:?} for this, in vain: {what}");
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}

/// An HTTP client for this machine: no proxy, no redirects, no retries of its own.
pub fn client() -> reqwest::Client {
    // Another test of this process may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(60))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap()
}
