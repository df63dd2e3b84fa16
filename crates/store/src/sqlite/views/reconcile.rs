//! Runs of reconciling.

use model::ReconciliationId;
use rusqlite::{Connection, params};

use super::super::Sqlite;
use super::super::row::{Row, all, optional};
use crate::Error;
use crate::reconcile::ReconciliationRow;
use crate::views::page;
use crate::views::reconcile::row;

impl Sqlite {
    pub fn reconciliation(&self, conn: &Connection, id: ReconciliationId) -> Result<Option<ReconciliationRow>, Error> {
        let sql = "select c.*, n.text as destination, o.text as object from reconciliation c join name n on n.id = c.destination_id \
                   join name o on o.id = c.object_id where c.id = ?";
        optional(conn, sql, params![id.0])?.as_ref().map(row).transpose()
    }

    pub fn reconciliations(&self, conn: &Connection, destination: Option<&str>, limit: u32) -> Result<Vec<ReconciliationRow>, Error> {
        let sql = "select c.*, n.text as destination, o.text as object from reconciliation c join name n on n.id = c.destination_id \
                   join name o on o.id = c.object_id where ?1 is null or n.text = ?1 order by c.id desc limit ?2";
        all(conn, sql, params![destination, page(limit)])?.iter().map(row).collect()
    }
}

/// When the last run of each destination came to its end.
pub fn reconciled(conn: &Connection) -> Result<Vec<Row>, Error> {
    let sql = "select n.text as destination, c.at from (select destination_id, max(finished_at) as at from reconciliation where state = 1 \
               group by destination_id) c join name n on n.id = c.destination_id";
    all(conn, sql, params![])
}
