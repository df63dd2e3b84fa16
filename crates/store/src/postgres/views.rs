//! Reads for people, each over one moment of the ledger, and the few writes that belong to them.

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

use sqlx::postgres::PgRow;
use sqlx::{Row, TypeInfo, ValueRef};

use super::Postgres;
use super::pool::{Begun, Statement};
use crate::Error;
use crate::columns::{Cell, Columns};

/// One moment of the ledger, whatever is written meanwhile. It holds up nobody, and nothing in it is kept.
pub struct Moment<'p> {
    tx: Begun,
    postgres: &'p Postgres,
}

impl Postgres {
    pub async fn moment(&self) -> Result<Moment<'_>, Error> {
        Ok(Moment { tx: self.pool.moment().await?, postgres: self })
    }
}

impl Moment<'_> {
    async fn all(&mut self, statement: Statement<'_>) -> Result<Vec<PgRow>, Error> {
        self.tx.all(statement).await
    }

    async fn optional(&mut self, statement: Statement<'_>) -> Result<Option<PgRow>, Error> {
        self.tx.optional(statement).await
    }

    async fn one(&mut self, statement: Statement<'_>) -> Result<PgRow, Error> {
        self.tx.one(statement).await
    }

    /// The numbers that a statement selects.
    async fn numbers(&mut self, statement: Statement<'_>) -> Result<Vec<i64>, Error> {
        self.all(statement).await?.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }
}

impl Columns for PgRow {
    fn cell(&self, column: &str) -> Result<Cell<'_>, Error> {
        let value = self.try_get_raw(column)?;
        if value.is_null() {
            return Ok(Cell::Null);
        }
        Ok(match value.type_info().name() {
            "INT8" => Cell::Int(self.try_get(column)?),
            "TEXT" => Cell::Text(self.try_get(column)?),
            "BYTEA" => Cell::Blob(self.try_get(column)?),
            other => {
                return Err(Error::Unavailable(format!("the column {column} of a row is of the kind {other}, which is not read here")));
            }
        })
    }
}
