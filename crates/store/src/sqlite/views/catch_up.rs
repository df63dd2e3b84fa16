//! Runs of catching up.

use model::CatchUpId;
use rusqlite::{Connection, params};

use super::super::Sqlite;
use super::super::row::{all, optional};
use crate::Error;
use crate::catch_up::CatchUpRow;
use crate::views::catch_up::row;
use crate::views::page;

impl Sqlite {
    pub fn catch_up(&self, conn: &Connection, id: CatchUpId) -> Result<Option<CatchUpRow>, Error> {
        let sql = "select c.*, n.text as source from catch_up c join name n on n.id = c.source_id where c.id = ?";
        optional(conn, sql, params![id.0])?.as_ref().map(row).transpose()
    }

    pub fn catch_ups(&self, conn: &Connection, source: Option<&str>, limit: u32) -> Result<Vec<CatchUpRow>, Error> {
        let sql = "select c.*, n.text as source from catch_up c join name n on n.id = c.source_id where ?1 is null or n.text = ?1 \
                   order by c.id desc limit ?2";
        all(conn, sql, params![source, page(limit)])?.iter().map(row).collect()
    }
}
