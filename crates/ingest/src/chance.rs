//! Random nonces, without a system call for each.

use std::sync::{Mutex, PoisonError};

use model::seal::NONCE_BYTES;

/// One call to the system's generator is enough for this many nonces.
const NONCES_PER_FILL: usize = 256;

/// Hands out random nonces: bytes of the system's generator, each used once.
///
/// Random 96 bits are safe for any number of rows here, because every row is sealed with a key of its own (`model::seal`).
pub struct Nonces(Mutex<Stock>);

struct Stock {
    bytes: [u8; NONCE_BYTES * NONCES_PER_FILL],
    left: usize,
}

impl Default for Nonces {
    fn default() -> Self {
        Self(Mutex::new(Stock { bytes: [0; NONCE_BYTES * NONCES_PER_FILL], left: 0 }))
    }
}

impl Nonces {
    /// The next nonce.
    ///
    /// # Errors
    ///
    /// The system has no random bytes to give: then nothing may be sealed.
    pub fn next(&self) -> Result<[u8; NONCE_BYTES], getrandom::Error> {
        let mut stock = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stock.left == 0 {
            getrandom::fill(&mut stock.bytes)?;
            stock.left = NONCES_PER_FILL;
        }
        stock.left -= 1;
        let start = stock.left * NONCE_BYTES;
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&stock.bytes[start..start + NONCE_BYTES]);
        Ok(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_nonce_comes_twice() {
        let nonces = Nonces::default();
        let seen: std::collections::BTreeSet<_> = (0..4 * NONCES_PER_FILL).map(|_| nonces.next().unwrap()).collect();
        assert_eq!(seen.len(), 4 * NONCES_PER_FILL);
    }
}
