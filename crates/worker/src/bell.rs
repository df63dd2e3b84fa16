use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use queue::Receipt;
use tokio::sync::Notify;

/// The most receipts that a loop keeps; what comes on top is settled at once, because what it says is already said.
const RECEIPTS_MAX: usize = 1_024;

/// A wakeup that names so many records comes from a commit for which others were waiting …
const BURST: usize = 16;
/// … and for each of its records, intake is left alone with the ledger for this long.
const LEAVE_ALONE: Duration = Duration::from_millis(1);

/// Wakes a destination's loop, and keeps the receipts of what woke it until a claim has been made: if this worker dies before, the
/// broker wakes another one.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Notify,
    receipts: Mutex<Vec<Receipt>>,
    /// Records that were named in bursts.
    burst: AtomicUsize,
}

impl Bell {
    pub(crate) fn ring(&self) {
        self.rung.notify_one();
    }

    pub(crate) fn ring_for(&self, receipt: Receipt, records: usize) {
        if records >= BURST {
            self.burst.fetch_add(records, Ordering::Relaxed);
        }
        let mut receipts = self.receipts.lock().unwrap_or_else(PoisonError::into_inner);
        match receipts.len() < RECEIPTS_MAX {
            true => receipts.push(receipt),
            false => receipt.done(),
        }
        self.ring();
    }

    pub(crate) async fn rung(&self) {
        self.rung.notified().await;
    }

    /// How long intake wants the ledger for itself, by what has rung since this was last asked.
    pub(crate) fn pressed(&self) -> Duration {
        LEAVE_ALONE * u32::try_from(self.burst.swap(0, Ordering::Relaxed)).unwrap_or(u32::MAX)
    }

    /// The receipts of everything that has rung by now.
    pub(crate) fn take(&self) -> Vec<Receipt> {
        std::mem::take(&mut self.receipts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
