//! Sources that once existed.
//!
//! Some vendors switch a webhook off for good at the first 404 (webhook-sources.md 1.9), so a source that is only missing from today's
//! configuration is answered with 503. Strangers choose the names that are asked for, so what is asked of the ledger is
//! bounded, and what cannot be asked is answered as if it might have existed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use store::Store;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::Problem;

const NAME_BYTES_MAX: usize = 63;
const NAMES_MAX: usize = 1024;
const LOOKUPS_AT_ONCE: usize = 4;
const LOOKUP_WAIT: Duration = Duration::from_secs(2);
/// How long "never existed" counts: another process may know a newer configuration.
const FRESH: Duration = Duration::from_secs(60);

pub(crate) struct Gone {
    known: Mutex<BTreeMap<String, (Instant, bool)>>,
    lookups: Semaphore,
}

impl Default for Gone {
    fn default() -> Self {
        Self { known: Mutex::default(), lookups: Semaphore::new(LOOKUPS_AT_ONCE) }
    }
}

impl Gone {
    /// The answer for a source that is not configured.
    pub(crate) async fn problem(&self, name: &str, store: &Store) -> Problem {
        let letters = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !letters {
            return Problem::NotFound;
        }
        let verdict = |existed| if existed { Problem::SourceGone } else { Problem::NotFound };
        if let Some(&(at, existed)) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name)
            && (existed || at.elapsed() < FRESH)
        {
            return verdict(existed);
        }
        let Ok(_permit) = self.lookups.try_acquire() else { return Problem::Unavailable };
        // A plain read on a reader's connection: giving up on it leaves no transaction behind.
        let Ok(Ok(existed)) = timeout(LOOKUP_WAIT, store.source_existed(name)).await else { return Problem::Unavailable };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= NAMES_MAX {
            known.clear();
        }
        known.insert(name.to_owned(), (Instant::now(), existed));
        verdict(existed)
    }
}
