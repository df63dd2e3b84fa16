//! Runs of reconciling.

use model::ReconciliationId;
use sqlx::postgres::PgRow;
use sqlx::query;

use super::super::read::words;
use super::Moment;
use crate::Error;
use crate::reconcile::ReconciliationRow;
use crate::views::page;
use crate::views::reconcile::row;

impl Moment<'_> {
    pub async fn reconciliation(&mut self, id: ReconciliationId) -> Result<Option<ReconciliationRow>, Error> {
        let sql = "select c.*, n.text as destination, o.text as object from reconciliation c join name n on n.id = c.destination_id \
                   join name o on o.id = c.object_id where c.id = $1";
        self.optional(query(sql).bind(id.0)).await?.as_ref().map(row).transpose()
    }

    pub async fn reconciliations(&mut self, destination: Option<&str>, limit: u32) -> Result<Vec<ReconciliationRow>, Error> {
        let sql = "select c.*, n.text as destination, o.text as object from reconciliation c join name n on n.id = c.destination_id \
                   join name o on o.id = c.object_id where $1::text is null or n.text = $1 order by c.id desc limit $2";
        self.all(query(sql).bind(destination.map(words)).bind(page(limit))).await?.iter().map(row).collect()
    }

    /// When the last run of each destination came to its end.
    pub(super) async fn reconciled(&mut self) -> Result<Vec<PgRow>, Error> {
        let sql = "select n.text as destination, c.at from (select destination_id, max(finished_at) as at from reconciliation where state = 1 \
                   group by destination_id) c join name n on n.id = c.destination_id";
        self.all(query(sql)).await
    }
}
