//! What the queue carries. Never the truth itself.

use crate::RecordId;

/// The most records that one wakeup names; a commit that touches more sends several.
pub const RECORDS_MAX: usize = 256;

/// "These records of this destination have work." Losing, doubling or reordering one changes no final state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wakeup {
    /// The destination's name.
    pub destination: String,
    /// At most [`RECORDS_MAX`] records.
    pub records: Vec<RecordId>,
    /// The correlation id of the first event behind it, for logs.
    pub correlation_id: String,
}
