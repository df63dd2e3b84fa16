//! What can go wrong with a ledger.

/// Why a ledger operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not reachable, locked, full or read-only: the same call can succeed later.
    #[error("the ledger cannot be reached or written right now: {0}")]
    Unavailable(String),
    /// A row that cannot be read: a bug, or somebody else wrote it.
    #[error("the ledger holds something unreadable in {table}.{column} of row {id}: {found}")]
    Inconsistent {
        /// Where.
        table: &'static str,
        /// Where.
        column: &'static str,
        /// Which row.
        id: i64,
        /// What.
        found: String,
    },
    /// Asked for what the ledger does not do.
    #[error("{0}")]
    Refused(String),
    /// Not built yet.
    #[error("placeholder")]
    Placeholder,
}
