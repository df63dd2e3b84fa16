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
    /// One row of a batch breaks a rule of the ledger: the others can be committed without it.
    #[error("the ledger refused a row: {0}")]
    Rule(String),
    /// Another process was faster: the same operation, begun anew, sees what that one did.
    #[error("another process changed the same rows: {0}")]
    Raced(String),
    /// Asked for what the ledger does not do.
    #[error("{0}")]
    Refused(String),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|database| database.code()).unwrap_or_default().into_owned();
        match code.as_str() {
            // A key that was free a moment ago, a deadlock, a serialization failure.
            "23505" | "40P01" | "40001" => Self::Raced(error.to_string()),
            _ if code.starts_with("22") || code.starts_with("23") => Self::Rule(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => Self::Rule(error.to_string()),
            Some(_) | None => Self::Unavailable(error.to_string()),
        }
    }
}
