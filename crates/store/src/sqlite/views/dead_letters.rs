//! Dead letters, and the bulk replays that open them again.

use std::collections::{BTreeMap, BTreeSet};

use model::{DeliveryId, Reason, ReplayId, Time};
use serde_json::Value;

use rusqlite::{Connection, ToSql, params};

use super::super::Sqlite;
use super::super::row::{Row, all, get, json, one, optional, run, word};
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

/// The values that [`fitting`] needs, without the page's size.
fn values(filter: &DeadLetterFilter) -> [Box<dyn ToSql + '_>; 9] {
    let before = filter.after.map_or(i64::MAX, |after| after.0.saturating_sub(1));
    [
        Box::new(filter.id.map_or(0, |id| id.0)),
        Box::new(filter.id.map_or(before, |id| id.0.min(before))),
        Box::new(&filter.destination),
        Box::new(&filter.source),
        Box::new(filter.reason.map(Reason::as_str)),
        Box::new(&filter.owner),
        Box::new(filter.since.map(|at| at.0)),
        Box::new(filter.until.map(|at| at.0)),
        Box::new(&filter.event_type),
    ]
}

impl Sqlite {
    pub fn dead_letters(&self, conn: &Connection, filter: &DeadLetterFilter) -> Result<Vec<DeadLetterRow>, Error> {
        let sql = fitting!("select l.delivery_id", "order by l.delivery_id desc limit ?10");
        let (values, limit) = (values(filter), page(filter.limit));
        let values: Vec<&dyn ToSql> = values.iter().map(AsRef::as_ref).chain([&limit as &dyn ToSql]).collect();
        let rows = all(conn, sql, &values)?;
        let wanted: Vec<i64> = rows.iter().map(|row| get(row, "delivery_id")).collect::<Result<_, _>>()?;
        let of: BTreeSet<i64> = wanted.iter().map(|id| DeliveryId(*id).event().0).collect();
        let loaded = events::load(conn, &of.into_iter().collect::<Vec<_>>())?;
        let letters = loaded.rows.into_iter().flat_map(|event| event.deliveries).filter_map(|delivery| delivery.dead_letter);
        let mut letters: BTreeMap<i64, DeadLetterRow> = letters.map(|letter| (letter.id.0, letter)).collect();
        Ok(wanted.iter().filter_map(|id| letters.remove(id)).collect())
    }

    pub fn count_dead_letters(&self, conn: &Connection, filter: &DeadLetterFilter) -> Result<u64, Error> {
        let values = values(filter);
        let values: Vec<&dyn ToSql> = values.iter().map(AsRef::as_ref).collect();
        let row = one(conn, fitting!("select count(*) as n", ""), &values)?;
        Ok(count(get(&row, "n")?))
    }

    pub fn dead_letter_reasons(&self, conn: &Connection) -> Result<BTreeMap<Reason, u64>, Error> {
        let mut reasons: BTreeMap<Reason, u64> = BTreeMap::new();
        for (_, reason, number) in by_reason(conn)? {
            *reasons.entry(reason).or_default() += number;
        }
        Ok(reasons)
    }

    #[expect(clippy::too_many_arguments, reason = "a bulk replay's row has these")]
    pub fn begin_replay(
        &self,
        conn: &Connection,
        now: Time,
        id: ReplayId,
        actor: &str,
        reason: &str,
        filter: &Value,
        matched: u64,
    ) -> Result<(), Error> {
        run(
            conn,
            "insert into replay (id, at, actor, reason, filter, matched) values (?, ?, ?, ?, ?, ?)",
            params![id.0, now.0, actor, reason, text(filter)?, i64::try_from(matched).unwrap_or(i64::MAX)],
        )?;
        Ok(())
    }

    pub fn note_replay(
        &self,
        conn: &Connection,
        id: ReplayId,
        reopened: u64,
        refused: u64,
        finished_at: Option<Time>,
    ) -> Result<(), Error> {
        run(
            conn,
            "update replay set reopened = ?, refused = ?, finished_at = ? where id = ?",
            params![
                i64::try_from(reopened).unwrap_or(i64::MAX),
                i64::try_from(refused).unwrap_or(i64::MAX),
                finished_at.map(|at| at.0),
                id.0
            ],
        )?;
        Ok(())
    }

    pub fn replay(&self, conn: &Connection, id: ReplayId) -> Result<Option<ReplayRow>, Error> {
        let row = optional(conn, "select * from replay where id = ?", params![id.0])?;
        row.as_ref().map(replay).transpose()
    }

    pub fn unfinished_replays(&self, conn: &Connection) -> Result<Vec<ReplayRow>, Error> {
        let sql = "select * from replay where finished_at is null order by id limit ?";
        let rows = all(conn, sql, params![UNFINISHED_MAX])?;
        rows.iter().map(replay).collect()
    }
}

/// Counts by destination, empty for none, and reason.
pub fn by_reason(conn: &Connection) -> Result<Vec<(String, Reason, u64)>, Error> {
    let sql = "select coalesce(n.text, '') as destination, l.reason, l.n from (select destination_id, reason, count(*) as n from dead_letter \
               group by destination_id, reason) l left join name n on n.id = l.destination_id order by 1, 2";
    let rows = all(conn, sql, params![])?;
    let counted = rows.iter().map(|row| {
        let reason: &str = get(row, "reason")?;
        Ok((get(row, "destination")?, word(Reason::parse(reason), "dead_letter", "reason", 0, reason)?, count(get(row, "n")?)))
    });
    counted.collect()
}

fn replay(row: &Row) -> Result<ReplayRow, Error> {
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
