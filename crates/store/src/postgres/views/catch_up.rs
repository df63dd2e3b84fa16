//! Runs of catching up.

use model::CatchUpId;
use sqlx::query;

use super::super::read::words;
use super::Moment;
use crate::Error;
use crate::catch_up::CatchUpRow;
use crate::views::catch_up::row;
use crate::views::page;

impl Moment<'_> {
    pub async fn catch_up(&mut self, id: CatchUpId) -> Result<Option<CatchUpRow>, Error> {
        let sql = "select c.*, n.text as source from catch_up c join name n on n.id = c.source_id where c.id = $1";
        self.optional(query(sql).bind(id.0)).await?.as_ref().map(row).transpose()
    }

    pub async fn catch_ups(&mut self, source: Option<&str>, limit: u32) -> Result<Vec<CatchUpRow>, Error> {
        let sql = "select c.*, n.text as source from catch_up c join name n on n.id = c.source_id where $1::text is null or n.text = $1 \
                   order by c.id desc limit $2";
        self.all(query(sql).bind(source.map(words)).bind(page(limit))).await?.iter().map(row).collect()
    }
}
