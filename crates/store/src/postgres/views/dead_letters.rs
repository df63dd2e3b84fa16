//! Dead letters, and the bulk replays that open them again.

use std::collections::BTreeMap;

use model::{Reason, ReplayId, Time};
use serde_json::Value;
use sqlx::query;

use super::super::Postgres;
use super::super::pool::Statement;
use super::super::read::words;
use super::Moment;
use crate::Error;
use crate::columns::{count, get, text};
use crate::types::{DeadLetterFilter, DeadLetterRow, ReplayRow};
use crate::views::dead_letters::{self as view, ByReason, UNFINISHED_MAX, between, number};
use crate::views::page;

macro_rules! fitting {
    ($head:literal, $tail:literal) => {
        concat!(
            $head,
            " from dead_letter l where l.delivery_id >= $1 and l.delivery_id <= $2 and ($3::text is null or case $3 when '' then ",
            "l.destination_id is null else l.destination_id = (select id from name where text = $3) end) ",
            "and ($4::text is null or l.source_id = (select id from name where text = $4)) and ($5::text is null or l.reason = $5) ",
            "and ($6::text is null or l.owner = $6) and ($7::bigint is null or l.failed_at >= $7) and ($8::bigint is null or l.failed_at < $8) ",
            "and ($9::text is null or exists (select 1 from event e where e.id = (l.delivery_id & ~63::bigint) and e.event_type = $9)) ",
            $tail
        )
    };
}

/// Gives a statement the values that [`fitting`] needs, without the page's size.
fn with_values(sql: &'static str, filter: &DeadLetterFilter) -> Statement<'static> {
    let (from, to) = between(filter);
    query(sql)
        .bind(from)
        .bind(to)
        .bind(filter.destination.as_deref().map(words))
        .bind(filter.source.as_deref().map(words))
        .bind(filter.reason.map(Reason::as_str))
        .bind(filter.owner.as_deref().map(words))
        .bind(filter.since.map(|at| at.0))
        .bind(filter.until.map(|at| at.0))
        .bind(filter.event_type.as_deref().map(words))
}

impl Postgres {
    pub async fn begin_replay(
        &self,
        now: Time,
        id: ReplayId,
        actor: &str,
        reason: &str,
        filter: &Value,
        matched: u64,
    ) -> Result<(), Error> {
        let sql = "insert into replay (id, at, actor, reason, filter, matched) values ($1, $2, $3, $4, $5, $6)";
        let statement = query(sql).bind(id.0).bind(now.0).bind(words(actor)).bind(words(reason)).bind(text(filter)?).bind(number(matched));
        let mut tx = self.pool.begin().await?;
        tx.run(statement).await?;
        tx.commit().await
    }

    pub async fn note_replay(&self, id: ReplayId, reopened: u64, refused: u64, finished_at: Option<Time>) -> Result<(), Error> {
        let sql = "update replay set reopened = $1, refused = $2, finished_at = $3 where id = $4";
        let statement = query(sql).bind(number(reopened)).bind(number(refused)).bind(finished_at.map(|at| at.0)).bind(id.0);
        let mut tx = self.pool.begin().await?;
        tx.run(statement).await?;
        tx.commit().await
    }
}

impl Moment<'_> {
    pub async fn dead_letters(&mut self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetterRow>, Error> {
        let sql = fitting!("select l.delivery_id", "order by l.delivery_id desc limit $10");
        let wanted = self.numbers(with_values(sql, filter).bind(page(filter.limit))).await?;
        let loaded = self.load(&view::events_of(&wanted)).await?;
        Ok(view::letters(&wanted, loaded))
    }

    pub async fn count_dead_letters(&mut self, filter: &DeadLetterFilter) -> Result<u64, Error> {
        let row = self.one(with_values(fitting!("select count(*) as n", ""), filter)).await?;
        Ok(count(get(&row, "n")?))
    }

    pub async fn dead_letter_reasons(&mut self) -> Result<BTreeMap<Reason, u64>, Error> {
        Ok(view::reasons(self.by_reason().await?))
    }

    /// Counts by destination, empty for none, and reason.
    pub async fn by_reason(&mut self) -> Result<ByReason, Error> {
        let sql = "select coalesce(n.text, '') as destination, l.reason, l.n from (select destination_id, reason, count(*) as n from dead_letter \
                   group by destination_id, reason) l left join name n on n.id = l.destination_id \
                   order by coalesce(n.text, '') collate \"C\", l.reason collate \"C\"";
        self.all(query(sql)).await?.iter().map(view::by_reason).collect()
    }

    pub async fn replay(&mut self, id: ReplayId) -> Result<Option<ReplayRow>, Error> {
        self.optional(query("select * from replay where id = $1").bind(id.0)).await?.as_ref().map(view::replay).transpose()
    }

    pub async fn unfinished_replays(&mut self) -> Result<Vec<ReplayRow>, Error> {
        let sql = "select * from replay where finished_at is null order by id limit $1";
        self.all(query(sql).bind(UNFINISHED_MAX)).await?.iter().map(view::replay).collect()
    }
}
