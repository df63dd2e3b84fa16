//! Open deliveries that have been on their way for long.

use model::{IdGenerator, Time};
use sqlx::query;

use super::Moment;
use crate::Error;
use crate::types::LongOpen;
use crate::views::overdue::long_open;
use crate::views::page;

impl Moment<'_> {
    /// Those whose events arrived before a moment, oldest first. The time is in the id, and the index of open deliveries begins with it.
    pub async fn open_since(&mut self, before: Time, limit: u32) -> Result<Vec<LongOpen>, Error> {
        let sql = "select d.id, n.text as destination, o.text as object, d.owner, s.text as source, e.event_type, e.received_at from delivery d \
                   join name n on n.id = d.destination_id join name o on o.id = d.object_id join event e on e.id = (d.id & ~63::bigint) \
                   join name s on s.id = e.source_id where d.state = 0 and d.id < $1 order by d.destination_id, d.id limit $2";
        let rows = self.all(query(sql).bind(IdGenerator::floor(before)).bind(page(limit))).await?;
        rows.iter().map(long_open).collect()
    }
}
