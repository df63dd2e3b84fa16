//! Values into statements and out of rows.

use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use crate::Error;

/// One value of a row that is to be inserted.
pub enum Val {
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
    Null,
}

impl From<i64> for Val {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<String> for Val {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&str> for Val {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<&[u8]> for Val {
    fn from(value: &[u8]) -> Self {
        Self::Blob(value.to_vec())
    }
}

impl<T: Into<Val>> From<Option<T>> for Val {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Rows in one statement: few enough sizes that each text is prepared once and kept.
const CHUNKS: [usize; 4] = [64, 16, 4, 1];

/// Inserts rows, many to a statement. `head` is `insert … into t (a, b) values`, `tail` an `on conflict` clause or nothing.
pub async fn insert(conn: &mut SqliteConnection, head: &str, tail: &str, rows: Vec<Vec<Val>>) -> Result<(), Error> {
    let mut left = rows.into_iter().peekable();
    let mut remaining = left.len();
    while let Some(first) = left.peek() {
        let places = format!("({})", vec!["?"; first.len()].join(","));
        let size = CHUNKS.into_iter().find(|&size| size <= remaining).unwrap_or(1);
        let sql = format!("{head} {} {tail}", vec![places.as_str(); size].join(","));
        let mut query = sqlx::query::<sqlx::Sqlite>(AssertSqlSafe(sql));
        for value in left.by_ref().take(size).flatten() {
            query = bind(query, value);
        }
        query.execute(&mut *conn).await?;
        remaining -= size;
    }
    Ok(())
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, SqliteArguments>;

fn bind(query: Query<'_>, value: Val) -> Query<'_> {
    match value {
        Val::Int(value) => query.bind(value),
        Val::Text(value) => query.bind(value),
        Val::Blob(value) => query.bind(value),
        Val::Null => query.bind(None::<i64>),
    }
}

/// A column that the schema promises.
pub fn get<'r, T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>>(row: &'r SqliteRow, column: &str) -> Result<T, Error> {
    Ok(row.try_get(column)?)
}

/// A number that stands for a word of ours.
pub fn word<T>(found: Option<T>, table: &'static str, column: &'static str, id: i64, number: impl ToString) -> Result<T, Error> {
    found.ok_or_else(|| Error::Inconsistent { table, column, id, found: number.to_string() })
}

/// Sixteen or thirty-two bytes.
pub fn bytes<const N: usize>(found: &[u8], table: &'static str, column: &'static str, id: i64) -> Result<[u8; N], Error> {
    found.try_into().map_err(|_| Error::Inconsistent { table, column, id, found: format!("{} bytes", found.len()) })
}

/// JSON that we wrote.
pub fn json<T: serde::de::DeserializeOwned>(text: &str, table: &'static str, column: &'static str, id: i64) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::Inconsistent { table, column, id, found: error.to_string() })
}
