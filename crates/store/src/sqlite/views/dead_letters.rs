//! Dead letters, and the bulk replays that open them again.

use std::collections::BTreeMap;

use model::{Reason, ReplayId, Time};
use serde_json::Value;

use rusqlite::{Connection, ToSql, params};

use super::super::Sqlite;
use super::super::row::{all, get, one, optional, run};
use super::events;
use crate::Error;
use crate::columns::{count, text};
use crate::types::{DeadLetterFilter, DeadLetterRow, ReplayRow};
use crate::views::dead_letters::{self as view, ByReason, UNFINISHED_MAX, between, number};
use crate::views::page;

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
    let (from, to) = between(filter);
    [
        Box::new(from),
        Box::new(to),
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
        Ok(view::letters(&wanted, events::load(conn, &view::events_of(&wanted))?))
    }

    pub fn count_dead_letters(&self, conn: &Connection, filter: &DeadLetterFilter) -> Result<u64, Error> {
        let values = values(filter);
        let values: Vec<&dyn ToSql> = values.iter().map(AsRef::as_ref).collect();
        let row = one(conn, fitting!("select count(*) as n", ""), &values)?;
        Ok(count(get(&row, "n")?))
    }

    pub fn dead_letter_reasons(&self, conn: &Connection) -> Result<BTreeMap<Reason, u64>, Error> {
        Ok(view::reasons(by_reason(conn)?))
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
            params![id.0, now.0, actor, reason, text(filter)?, number(matched)],
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
            params![number(reopened), number(refused), finished_at.map(|at| at.0), id.0],
        )?;
        Ok(())
    }

    pub fn replay(&self, conn: &Connection, id: ReplayId) -> Result<Option<ReplayRow>, Error> {
        let row = optional(conn, "select * from replay where id = ?", params![id.0])?;
        row.as_ref().map(view::replay).transpose()
    }

    pub fn unfinished_replays(&self, conn: &Connection) -> Result<Vec<ReplayRow>, Error> {
        let sql = "select * from replay where finished_at is null order by id limit ?";
        let rows = all(conn, sql, params![UNFINISHED_MAX])?;
        rows.iter().map(view::replay).collect()
    }
}

/// Counts by destination, empty for none, and reason.
pub fn by_reason(conn: &Connection) -> Result<ByReason, Error> {
    let sql = "select coalesce(n.text, '') as destination, l.reason, l.n from (select destination_id, reason, count(*) as n from dead_letter \
               group by destination_id, reason) l left join name n on n.id = l.destination_id order by 1, 2";
    let rows = all(conn, sql, params![])?;
    rows.iter().map(view::by_reason).collect()
}
