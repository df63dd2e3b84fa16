//! Runs of catching up. Whoever changes one has the row of its source, as a destination, locked.

use model::Time;

use super::super::read::{get, words};
use super::Tx;
use crate::Error;
use crate::catch_up::{CatchUpRow, KEPT_MAX};
use crate::columns::{count, time};
use crate::views::catch_up::row;
use crate::views::dead_letters::number;

impl Tx {
    pub async fn insert_catch_up(&mut self, new: &CatchUpRow) -> Result<(), Error> {
        let sql = "insert into catch_up (id, source_id, at, actor, reason, since, until, dry_run, wake_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let statement = sqlx::query(sql)
            .bind(new.id.0)
            .bind(self.names.id(&new.source)?)
            .bind(new.at.0)
            .bind(words(&new.actor))
            .bind(words(&new.reason))
            .bind(new.since.0)
            .bind(new.until.0)
            .bind(i64::from(new.dry_run))
            .bind(new.wake_at.0);
        self.run(statement).await?;
        let sql = "delete from catch_up where source_id = $1 and state <> 0 and id <= (select id from catch_up where source_id = $1 \
                   order by id desc limit 1 offset $2)";
        self.run(sqlx::query(sql).bind(self.names.id(&new.source)?).bind(KEPT_MAX)).await.map(drop)
    }

    /// Open ones of a source, oldest first.
    pub async fn open_catch_ups(&mut self, source: &str) -> Result<Vec<CatchUpRow>, Error> {
        let sql = "select c.*, n.text as source from catch_up c join name n on n.id = c.source_id where c.source_id = $1 and c.state = 0 order by c.id";
        self.all(sqlx::query(sql).bind(self.names.id(source)?)).await?.iter().map(row).collect()
    }

    /// What changes of one.
    pub async fn put_catch_up(&mut self, held: &CatchUpRow) -> Result<(), Error> {
        let sql = "update catch_up set state = $1, wake_at = $2, fence = $3, lease_holder = $4, lease_until = $5, list = $6, cursor = $7, pages = $8, \
                   seen = $9, already_here = $10, filled = $11, ignored = $12, failures = $13, note = $14, finished_at = $15 where id = $16";
        let (holder, until) = held.lease.as_ref().map(|(holder, until)| (words(holder), until.0)).unzip();
        let statement = sqlx::query(sql)
            .bind(held.state.number())
            .bind(held.wake_at.0)
            .bind(held.fence)
            .bind(holder)
            .bind(until)
            .bind(i64::from(held.list))
            .bind(held.cursor.as_deref().map(words))
            .bind(number(held.pages))
            .bind(number(held.seen))
            .bind(number(held.already_here))
            .bind(number(held.filled))
            .bind(number(held.ignored))
            .bind(i64::from(held.failures))
            .bind(held.note.as_deref().map(words))
            .bind(held.finished_at.map(|at| at.0))
            .bind(held.id.0);
        self.run(statement).await.map(drop)
    }

    /// The end of the last window that was caught up with, and when the last scheduled run was asked for.
    pub async fn last_catch_up(&mut self, source: &str) -> Result<(Option<Time>, Option<Time>), Error> {
        let sql = "select max(case when state = 1 and dry_run = 0 then until end) as caught_up_to, max(case when actor = 'schedule' then at end) as tried_at \
                   from (select * from catch_up where source_id = $1 order by id desc limit 100) latest";
        let rows = self.all(sqlx::query(sql).bind(self.names.id(source)?)).await?;
        let Some(row) = rows.first() else { return Ok((None, None)) };
        Ok((time(row, "caught_up_to")?, time(row, "tried_at")?))
    }

    /// Events that came under a correlation id.
    pub async fn count_correlated(&mut self, correlation: &str) -> Result<u64, Error> {
        let rows = self.all(sqlx::query("select count(*) as n from event where correlation_id = $1").bind(words(correlation))).await?;
        rows.first().map_or(Ok(0), |row| Ok(count(get(row, "n")?)))
    }
}
