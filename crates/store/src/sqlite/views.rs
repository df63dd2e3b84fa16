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
use rusqlite::{Connection, params};

use super::read::text;
use super::row::{Row, all, get};
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

fn time(row: &Row, column: &str) -> Result<Option<Time>, Error> {
    Ok(get::<Option<i64>>(row, column)?.map(Time))
}

/// The numbers that a statement with one parameter selects.
fn numbers(conn: &Connection, sql: &'static str, parameter: &str) -> Result<Vec<i64>, Error> {
    let rows = all(conn, sql, params![parameter])?;
    rows.iter().map(|row| row.at(0)).collect()
}
