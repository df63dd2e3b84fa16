use std::sync::{Mutex, PoisonError};

use queue::Receipt;
use tokio::sync::Notify;

/// The most receipts that a loop keeps; what comes on top is settled at once, because what it says is already said.
const RECEIPTS_MAX: usize = 1_024;

/// Wakes a destination's loop, and keeps the receipts of what woke it until a claim has been made: if this worker dies before, the
/// broker wakes another one.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Notify,
    receipts: Mutex<Vec<Receipt>>,
}

impl Bell {
    pub(crate) fn ring(&self) {
        self.rung.notify_one();
    }

    pub(crate) fn ring_for(&self, receipt: Receipt) {
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

    /// The receipts of everything that has rung by now.
    pub(crate) fn take(&self) -> Vec<Receipt> {
        std::mem::take(&mut self.receipts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
