//! Reads for people, each over one connection of the readers' pool, and the few writes that belong to them.

mod dead_letters;
mod events;
mod find;
mod numbers;
mod overdue;
mod rejected;
mod retention;
mod trace;

use model::Time;
use sqlx::SqliteConnection;

use super::read::text;
use super::row::get;
use crate::Error;

pub use numbers::Seen;
pub use retention::Progress;

/// The most rows of a page.
const PAGE_MAX: u32 = 1_000;

fn page(limit: u32) -> i64 {
    i64::from(limit.clamp(1, PAGE_MAX))
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn time(row: &sqlx::sqlite::SqliteRow, column: &str) -> Result<Option<Time>, Error> {
    Ok(get::<Option<i64>>(row, column)?.map(Time))
}

/// The numbers that a statement with one parameter selects.
async fn numbers(conn: &mut SqliteConnection, sql: &'static str, parameter: &str) -> Result<Vec<i64>, Error> {
    let rows = sqlx::query(sql).bind(parameter).fetch_all(conn).await?;
    rows.iter().map(|row| Ok(sqlx::Row::try_get(row, 0)?)).collect()
}
