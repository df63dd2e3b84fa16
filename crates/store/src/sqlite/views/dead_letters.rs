//! Dead letters, and the bulk replays that open them again.

use std::collections::{BTreeMap, BTreeSet};

use model::{DeliveryId, Reason, ReplayId, Time};
use serde_json::Value;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Acquire, SqliteConnection};

use super::super::Sqlite;
use super::super::row::{get, json, word};
use super::{count, events, page, text, time};
use crate::Error;
use crate::types::{DeadLetterFilter, DeadLetterRow, ReplayRow};

/// Bulk replays that are gone on with after a start.
const UNFINISHED_MAX: i64 = 100;

macro_rules! fitting {
    ($head:literal, $tail:literal) => {
        concat!(
            $head,
            " from dead_letter l where l.delivery_id >= ?1 and l.delivery_id <= ?2 ",
            "and (?3 is null or case ?3 when '' then l.destination_id is null else l.destination_id = (select id from name where text = ?3) end) ",
            "and (?4 is null or l.source_id = (select id from name where text = ?4)) and (?5 is null or l.reason = ?5) ",
            "and (?6 is null or l.owner = ?6) and (?7 is null or l.failed_at >= ?7) and (?8 is null or l.failed_at < ?8) ",
            "and (?9 is null or exists (select 1 from event e where e.id = (l.delivery_id & ~63) and e.event_type = ?9)) ",
            $tail
        )
    };
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, SqliteArguments>;

fn bind<'q>(query: Query<'q>, filter: &'q DeadLetterFilter) -> Query<'q> {
    let before = filter.after.map_or(i64::MAX, |after| after.0.saturating_sub(1));
    query
        .bind(filter.id.map_or(0, |id| id.0))
        .bind(filter.id.map_or(before, |id| id.0.min(before)))
        .bind(&filter.destination)
        .bind(&filter.source)
        .bind(filter.reason.map(Reason::as_str))
        .bind(&filter.owner)
        .bind(filter.since.map(|at| at.0))
        .bind(filter.until.map(|at| at.0))
        .bind(&filter.event_type)
}

impl Sqlite {
    pub async fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetterRow>, Error> {
        let mut reader = self.readers.acquire().await?;
        let mut tx = reader.begin().await?;
        let sql = fitting!("select l.delivery_id", "order by l.delivery_id desc limit ?10");
        let rows = bind(sqlx::query(sql), filter).bind(page(filter.limit)).fetch_all(&mut *tx).await?;
        let wanted: Vec<i64> = rows.iter().map(|row| get(row, "delivery_id")).collect::<Result<_, _>>()?;
        let of: BTreeSet<i64> = wanted.iter().map(|id| DeliveryId(*id).event().0).collect();
        let loaded = events::load(&mut tx, &of.into_iter().collect::<Vec<_>>()).await?;
        let letters = loaded.rows.into_iter().flat_map(|event| event.deliveries).filter_map(|delivery| delivery.dead_letter);
        let mut letters: BTreeMap<i64, DeadLetterRow> = letters.map(|letter| (letter.id.0, letter)).collect();
        Ok(wanted.iter().filter_map(|id| letters.remove(id)).collect())
    }

    pub async fn count_dead_letters(&self, filter: &DeadLetterFilter) -> Result<u64, Error> {
        let row = bind(sqlx::query(fitting!("select count(*) as n", "")), filter).fetch_one(&self.readers).await?;
        Ok(count(get(&row, "n")?))
    }

    pub async fn dead_letter_reasons(&self) -> Result<BTreeMap<Reason, u64>, Error> {
        let mut reader = self.readers.acquire().await?;
        let mut reasons: BTreeMap<Reason, u64> = BTreeMap::new();
        for (_, reason, number) in by_reason(&mut reader).await? {
            *reasons.entry(reason).or_default() += number;
        }
        Ok(reasons)
    }

    pub async fn begin_replay(
        &self,
        now: Time,
        id: ReplayId,
        actor: &str,
        reason: &str,
        filter: &Value,
        matched: u64,
    ) -> Result<(), Error> {
        let mut writer = self.writer().await?;
        sqlx::query("insert into replay (id, at, actor, reason, filter, matched) values (?, ?, ?, ?, ?, ?)")
            .bind(id.0)
            .bind(now.0)
            .bind(actor)
            .bind(reason)
            .bind(text(filter)?)
            .bind(i64::try_from(matched).unwrap_or(i64::MAX))
            .execute(&mut writer.conn)
            .await?;
        Ok(())
    }

    pub async fn note_replay(&self, id: ReplayId, reopened: u64, refused: u64, finished_at: Option<Time>) -> Result<(), Error> {
        let mut writer = self.writer().await?;
        sqlx::query("update replay set reopened = ?, refused = ?, finished_at = ? where id = ?")
            .bind(i64::try_from(reopened).unwrap_or(i64::MAX))
            .bind(i64::try_from(refused).unwrap_or(i64::MAX))
            .bind(finished_at.map(|at| at.0))
            .bind(id.0)
            .execute(&mut writer.conn)
            .await?;
        Ok(())
    }

    pub async fn replay(&self, id: ReplayId) -> Result<Option<ReplayRow>, Error> {
        let row = sqlx::query("select * from replay where id = ?").bind(id.0).fetch_optional(&self.readers).await?;
        row.as_ref().map(replay).transpose()
    }

    pub async fn unfinished_replays(&self) -> Result<Vec<ReplayRow>, Error> {
        let sql = "select * from replay where finished_at is null order by id limit ?";
        let rows = sqlx::query(sql).bind(UNFINISHED_MAX).fetch_all(&self.readers).await?;
        rows.iter().map(replay).collect()
    }
}

/// Counts by destination, empty for none, and reason.
pub async fn by_reason(conn: &mut SqliteConnection) -> Result<Vec<(String, Reason, u64)>, Error> {
    let sql = "select coalesce(n.text, '') as destination, l.reason, l.n from (select destination_id, reason, count(*) as n from dead_letter \
               group by destination_id, reason) l left join name n on n.id = l.destination_id order by 1, 2";
    let rows = sqlx::query(sql).fetch_all(conn).await?;
    let counted = rows.iter().map(|row| {
        let reason: &str = get(row, "reason")?;
        Ok((get(row, "destination")?, word(Reason::parse(reason), "dead_letter", "reason", 0, reason)?, count(get(row, "n")?)))
    });
    counted.collect()
}

fn replay(row: &SqliteRow) -> Result<ReplayRow, Error> {
    let id: i64 = get(row, "id")?;
    Ok(ReplayRow {
        id: ReplayId(id),
        at: time(row, "at")?.unwrap_or_default(),
        actor: get(row, "actor")?,
        reason: get(row, "reason")?,
        filter: json(get(row, "filter")?, "replay", "filter", id)?,
        matched: count(get(row, "matched")?),
        reopened: count(get(row, "reopened")?),
        refused: count(get(row, "refused")?),
        finished_at: time(row, "finished_at")?,
    })
}
