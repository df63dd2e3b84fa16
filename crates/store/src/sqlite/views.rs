//! Reads for people, each over one connection of the readers' pool, and the few writes that belong to them.

mod catch_up;
mod dead_letters;
mod events;
mod find;
mod numbers;
mod overdue;
mod reconcile;
mod rejected;
mod retention;
mod trace;

use rusqlite::{Connection, params};

use super::row::all;
use crate::Error;

/// The numbers that a statement with one parameter selects.
fn numbers(conn: &Connection, sql: &'static str, parameter: &str) -> Result<Vec<i64>, Error> {
    let rows = all(conn, sql, params![parameter])?;
    rows.iter().map(|row| row.at(0)).collect()
}
