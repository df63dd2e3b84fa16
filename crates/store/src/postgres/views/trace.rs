//! Where what happened to X is looked up.

use sqlx::query;

use super::super::read::{record_entry, records};
use super::Moment;
use crate::Error;
use crate::rows::RecordEntry;
use crate::types::Trace;
use crate::views::find::FOUND_MAX;
use crate::views::trace::{ROWS_MAX, Story, UNHEARD_AMONG, named, shown};

impl Moment<'_> {
    pub async fn trace(&mut self, x: &str) -> Result<Trace, Error> {
        let seen = self.seen().await?;
        let mut found = self.find(x, &seen).await?;
        if !found.records.is_empty() {
            let sql = "select distinct d.id & ~63::bigint from unnest($1::bigint[]) j (id) join delivery d on d.record_id = j.id order by 1 limit 201";
            let of: Vec<i64> = found.records.iter().copied().collect();
            found.events.extend(self.numbers(query(sql).bind(of)).await?);
        }
        let loaded = self.load(&shown(&found)).await?;
        let entries = self.entries(named(&found, &loaded)).await?;
        let mut story = Story::begin(x, found, loaded, entries);
        self.tell_requests(&mut story).await?;
        self.tell_calls(&mut story).await?;
        let sql = "select a.* from unnest($1::text[]) j (subject) join audit a on a.subject = j.subject order by a.seq limit $2";
        story.tell_people(&self.all(query(sql).bind(story.subjects()).bind(ROWS_MAX)).await?)?;
        Ok(story.end())
    }

    async fn entries(&mut self, wanted: Vec<i64>) -> Result<Vec<RecordEntry>, Error> {
        let sql = records!(
            "from unnest($1::bigint[]) j (id) join record r on r.id = j.id join name d on d.id = r.destination_id \
             join name o on o.id = r.object_id join record_body b on b.record_id = r.id order by r.id"
        );
        self.all(query(sql).bind(wanted)).await?.iter().map(record_entry).collect()
    }

    async fn tell_requests(&mut self, story: &mut Story) -> Result<(), Error> {
        let sql = "select r.id, s.text as source, r.received_at, r.disposition, array_to_json(r.events)::text as events \
                   from unnest($1::bigint[]) j (id) join raw_event r on r.id = j.id join name s on s.id = r.source_id";
        let first = self.all(query(sql).bind(story.requests())).await?;
        let sql = "select r.id, s.text as source, r.received_at, r.disposition, array_to_json(r.events)::text as events \
                   from unnest($1::bigint[]) j (id) join raw_event r on r.events[1] = j.id and r.disposition in (1, 4) \
                   join name s on s.id = r.source_id limit $2";
        let again = self.all(query(sql).bind(story.events()).bind(ROWS_MAX)).await?;
        story.tell_requests(&first, &again)
    }

    async fn tell_calls(&mut self, story: &mut Story) -> Result<(), Error> {
        let wanted = story.calls(self.unheard(&story.records()).await?);
        let sql = "select c.id, c.step, c.at, c.holder, c.records from unnest($1::bigint[]) j (id) join call c on c.id = j.id order by c.id limit $2";
        let calls = self.all(query(sql).bind(&wanted).bind(ROWS_MAX)).await?;
        let sql = "select r.* from unnest($1::bigint[]) j (id) join call_result r on r.call_id = j.id order by r.call_id, r.at limit $2";
        let results = self.all(query(sql).bind(&wanted).bind(ROWS_MAX)).await?;
        story.tell_calls(&calls, &results)
    }

    /// Calls of these records that have no result: a worker died over them. Few have none, and only those are looked into (`offset 0`), by how a
    /// record stands at the beginning of its part of a call; a patch that holds the same text by chance leads to a call that tells nothing of
    /// these records.
    async fn unheard(&mut self, of: &[i64]) -> Result<Vec<i64>, Error> {
        let Some(first) = of.iter().min() else { return Ok(Vec::new()) };
        let sql = "select c.id from (select id, records from (select id, records from call where id > $1 order by id desc limit $2) l \
                   where (select at from call_result where call_id = l.id limit 1) is null offset 0) c \
                   where exists (select 1 from unnest($3::bigint[]) j (id) where strpos(c.records, '[' || j.id || ',') > 0) limit $4";
        self.numbers(query(sql).bind(*first).bind(UNHEARD_AMONG).bind(of).bind(FOUND_MAX)).await
    }
}
