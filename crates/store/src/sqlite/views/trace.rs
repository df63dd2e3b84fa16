//! Where what happened to X is looked up.

use rusqlite::{Connection, params};

use super::super::Sqlite;
use super::super::read::{ids, record_entry, records};
use super::super::row::{all, get};
use super::events::load;
use super::find::find;
use crate::Error;
use crate::columns::text;
use crate::rows::RecordEntry;
use crate::types::Trace;
use crate::views::find::FOUND_MAX;
use crate::views::trace::{ROWS_MAX, Story, UNHEARD_AMONG, named, shown};

impl Sqlite {
    pub fn trace(&self, conn: &Connection, x: &str) -> Result<Trace, Error> {
        let mut found = find(conn, x, &self.seen(conn)?)?;
        if !found.records.is_empty() {
            let sql = "select distinct d.id & ~63 from json_each(?) j cross join delivery d on d.record_id = j.value order by 1 limit 201";
            let events = super::numbers(conn, sql, &ids(found.records.iter().copied()))?;
            found.events.extend(events);
        }
        let loaded = load(conn, &shown(&found))?;
        let entries = entries(conn, &named(&found, &loaded))?;
        let mut story = Story::begin(x, found, loaded, entries);
        tell_requests(conn, &mut story)?;
        tell_calls(conn, &mut story)?;
        let sql = "select a.* from json_each(?) j cross join audit a on a.subject = j.value order by a.seq limit ?";
        story.tell_people(&all(conn, sql, params![text(&story.subjects())?, ROWS_MAX])?)?;
        Ok(story.end())
    }
}

fn entries(conn: &Connection, wanted: &[i64]) -> Result<Vec<RecordEntry>, Error> {
    let sql = records!(
        "from json_each(?) j cross join record r on r.id = j.value join name d on d.id = r.destination_id \
         join name o on o.id = r.object_id join record_body b on b.record_id = r.id order by r.id"
    );
    let mut statement = conn.prepare_cached(sql)?;
    statement.query_and_then(params![ids(wanted.iter().copied())], record_entry)?.collect()
}

fn tell_requests(conn: &Connection, story: &mut Story) -> Result<(), Error> {
    let sql = "select r.id, s.text as source, r.received_at, r.disposition, r.events from json_each(?1) j cross join raw_event r on r.id = j.value \
               join name s on s.id = r.source_id";
    let first = all(conn, sql, params![ids(story.requests().into_iter())])?;
    let sql = "select r.id, s.text as source, r.received_at, r.disposition, r.events from json_each(?1) j \
               cross join raw_event r on json_extract(r.events, '$[0]') = j.value and r.disposition in (1, 4) join name s on s.id = r.source_id limit ?2";
    let again = all(conn, sql, params![ids(story.events().into_iter()), ROWS_MAX])?;
    story.tell_requests(&first, &again)
}

fn tell_calls(conn: &Connection, story: &mut Story) -> Result<(), Error> {
    let wanted = ids(story.calls(unheard(conn, &story.records())?).into_iter());
    let sql =
        "select c.id, c.step, c.at, c.holder, c.records from json_each(?) j cross join call c on c.id = j.value order by c.id limit ?";
    let calls = all(conn, sql, params![&wanted, ROWS_MAX])?;
    let sql = "select r.* from json_each(?) j cross join call_result r on r.call_id = j.value order by r.call_id, r.at limit ?";
    let results = all(conn, sql, params![&wanted, ROWS_MAX])?;
    story.tell_calls(&calls, &results)
}

/// Calls of these records that have no result: a worker died over them.
fn unheard(conn: &Connection, of: &[i64]) -> Result<Vec<i64>, Error> {
    let Some(first) = of.iter().min() else { return Ok(Vec::new()) };
    let sql = "select c.id from (select id, records from call where id > ?1 order by id desc limit ?2) c \
               where not exists (select 1 from call_result r where r.call_id = c.id) \
               and exists (select 1 from json_each(c.records) j where (j.value ->> 0) in (select value from json_each(?3))) limit ?4";
    let of = ids(of.iter().copied());
    all(conn, sql, params![first, UNHEARD_AMONG, of, FOUND_MAX])?.iter().map(|row| get(row, "id")).collect()
}
