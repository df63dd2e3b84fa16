//! Runs of catching up.

use model::Time;
use rusqlite::params;

use super::super::row::{all, one, run};
use super::Tx;
use crate::Error;
use crate::catch_up::{CatchUpRow, KEPT_MAX};
use crate::columns::{count, get, time};
use crate::views::catch_up::row;
use crate::views::dead_letters::number;

impl Tx {
    pub fn insert_catch_up(&mut self, new: &CatchUpRow) -> Result<(), Error> {
        let sql =
            "insert into catch_up (id, source_id, at, actor, reason, since, until, dry_run, wake_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let (source, dry_run) = (self.names.id(&new.source)?, i64::from(new.dry_run));
        let values = params![new.id.0, source, new.at.0, new.actor, new.reason, new.since.0, new.until.0, dry_run, new.wake_at.0];
        run(&self.conn, sql, values)?;
        let sql = "delete from catch_up where source_id = ?1 and state <> 0 and id <= (select id from catch_up where source_id = ?1 \
                   order by id desc limit 1 offset ?2)";
        run(&self.conn, sql, params![source, KEPT_MAX]).map(drop)
    }

    /// Open ones of a source, oldest first.
    pub fn open_catch_ups(&mut self, source: &str) -> Result<Vec<CatchUpRow>, Error> {
        let sql = "select c.*, n.text as source from catch_up c join name n on n.id = c.source_id where c.source_id = ? and c.state = 0 order by c.id";
        all(&self.conn, sql, params![self.names.id(source)?])?.iter().map(row).collect()
    }

    /// What changes of one.
    pub fn put_catch_up(&mut self, held: &CatchUpRow) -> Result<(), Error> {
        let sql = "update catch_up set state = ?, wake_at = ?, fence = ?, lease_holder = ?, lease_until = ?, list = ?, cursor = ?, pages = ?, seen = ?, \
                   already_here = ?, filled = ?, ignored = ?, failures = ?, note = ?, finished_at = ? where id = ?";
        let (holder, until) = held.lease.as_ref().map(|(holder, until)| (holder.as_str(), until.0)).unzip();
        let [pages, seen, already_here, filled, ignored] =
            [held.pages, held.seen, held.already_here, held.filled, held.ignored].map(number);
        let values = params![
            held.state.number(),
            held.wake_at.0,
            held.fence,
            holder,
            until,
            i64::from(held.list),
            held.cursor,
            pages,
            seen,
            already_here,
            filled,
            ignored,
            i64::from(held.failures),
            held.note,
            held.finished_at.map(|at| at.0),
            held.id.0
        ];
        run(&self.conn, sql, values).map(drop)
    }

    /// The end of the last window that was caught up with, and when the last scheduled run was asked for.
    pub fn last_catch_up(&mut self, source: &str) -> Result<(Option<Time>, Option<Time>), Error> {
        let sql = "select max(case when state = 1 and dry_run = 0 then until end) as caught_up_to, max(case when actor = 'schedule' then at end) as tried_at \
                   from (select * from catch_up where source_id = ? order by id desc limit 100)";
        let row = one(&self.conn, sql, params![self.names.id(source)?])?;
        Ok((time(&row, "caught_up_to")?, time(&row, "tried_at")?))
    }

    /// Events that came under a correlation id.
    pub fn count_correlated(&mut self, correlation: &str) -> Result<u64, Error> {
        let row = one(&self.conn, "select count(*) as n from event where correlation_id = ?", params![correlation])?;
        Ok(count(get(&row, "n")?))
    }
}
