//! So many a second for each source, whoever decides how many there are.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// What is left of each source's second.
pub(crate) struct Budgets {
    rate: u32,
    held: Mutex<BTreeMap<String, (Instant, u32)>>,
}

impl Budgets {
    pub(crate) fn new(rate: u32) -> Self {
        Self { rate, held: Mutex::default() }
    }

    /// Takes one for a configured source, if its second has one left.
    pub(crate) fn take(&self, source: &str) -> bool {
        let now = Instant::now();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.contains_key(source) {
            held.insert(source.to_owned(), (now, 0));
        }
        let Some((second, used)) = held.get_mut(source) else { return false };
        if now.duration_since(*second).as_secs() > 0 {
            (*second, *used) = (now, 0);
        }
        let has_one = *used < self.rate;
        *used += u32::from(has_one);
        has_one
    }
}
