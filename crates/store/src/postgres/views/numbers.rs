//! How much there is of everything.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use model::{IdGenerator, Time};
use sqlx::postgres::PgRow;
use sqlx::query;

use super::Moment;
use crate::Error;
use crate::columns::get;
use crate::types::{DestinationRow, Gauges};
use crate::views::Seen;
use crate::views::numbers::{self as view, OLDEST_OF, WAITING_MAX};
use crate::views::reconcile::finished;

/// Another process's transaction may commit ids that are older than those which were seen: no transaction lives for longer.
const LATE: Duration = Duration::from_secs(60);

impl Moment<'_> {
    /// What is known of sources and types, with what came since it was last asked.
    pub async fn seen(&mut self) -> Result<Seen, Error> {
        let (up_to, look) = {
            let before = self.postgres.seen.lock().unwrap_or_else(PoisonError::into_inner);
            (before.up_to(), before.look())
        };
        let from = if up_to == 0 { 0 } else { IdGenerator::floor(IdGenerator::made_at(up_to) - LATE) };
        let sql = "select s.text as source, e.event_type, max(e.received_at) as at, max(e.id) as up_to from \
                   (select id, source_id, event_type, received_at from event where id > $1 order by id desc limit $2) e \
                   join name s on s.id = e.source_id group by s.text, e.event_type";
        let mut found = Seen::of(&self.all(query(sql).bind(from).bind(look)).await?)?;
        if up_to == 0 {
            self.add_silent(&mut found).await?;
        }
        let mut held = self.postgres.seen.lock().unwrap_or_else(PoisonError::into_inner);
        held.absorb(found);
        Ok(held.clone())
    }

    /// Sources whose last event is older than the first look, once.
    async fn add_silent(&mut self, found: &mut Seen) -> Result<(), Error> {
        let rows = self.all(query("select n.text as source, n.id from source s join name n on n.id = s.name_id")).await?;
        for row in &rows {
            let source: String = get(row, "source")?;
            if found.sources.contains_key(&source) {
                continue;
            }
            let sql = "select received_at from event where source_id = $1 order by id desc limit 1";
            if let Some(last) = self.optional(query(sql).bind(get::<i64>(row, "id")?)).await? {
                found.add_silent(source, Time(get(&last, "received_at")?));
            }
        }
        Ok(())
    }

    pub async fn gauges(&mut self, now: Time) -> Result<Gauges, Error> {
        let (states, open) = (view::states(&self.states().await?)?, view::open(&self.open().await?)?);
        let reconciled = finished(&self.reconciled().await?)?;
        Ok(view::gauges(states, open, view::dead(&self.dead().await?)?, self.seen().await?, reconciled, now))
    }

    pub async fn destinations(&mut self, now: Time) -> Result<Vec<DestinationRow>, Error> {
        let (open, waiting) = (view::open(&self.open().await?)?, view::waiting(&self.waiting().await?)?);
        Ok(view::destinations(view::states(&self.states().await?)?, &open, &waiting, self.by_reason().await?, now))
    }

    pub async fn counts(&mut self, since: Time) -> Result<BTreeMap<String, u64>, Error> {
        let floor = IdGenerator::floor(since);
        let ended = "select state, count(*) as n from delivery where id >= $1 and state <> 0 group by state";
        let open = "select r.state, (r.fence = 0)::int::bigint as unclaimed, count(*) as n from delivery d left join record r on r.id = d.record_id \
                    where d.state = 0 and d.id >= $1 group by 1, 2";
        view::counts(&self.all(query(ended).bind(floor)).await?, &self.all(query(open).bind(floor)).await?)
    }

    /// What every destination is known for.
    async fn states(&mut self) -> Result<Vec<PgRow>, Error> {
        self.all(query("select d.name_id, n.text as name, d.state from destination d join name n on n.id = d.name_id")).await
    }

    async fn open(&mut self) -> Result<Vec<PgRow>, Error> {
        let sql = "select n.text as name, q.n, (select min(wake_at) from (select d.wake_at from delivery d where d.destination_id = q.destination_id \
                   and d.state = 0 order by d.id limit $1) o) as oldest from (select destination_id, count(*) as n from delivery where state = 0 \
                   group by destination_id) q join name n on n.id = q.destination_id";
        self.all(query(sql).bind(OLDEST_OF)).await
    }

    /// Records that wait, by destination and state.
    async fn waiting(&mut self) -> Result<Vec<PgRow>, Error> {
        let sql = "select n.text as name, r.state, count(*) as n from (select destination_id, state from record where wake_at is not null limit $1) r \
                   join name n on n.id = r.destination_id group by 1, 2";
        self.all(query(sql).bind(WAITING_MAX)).await
    }

    /// Dead letters by destination and reason.
    async fn dead(&mut self) -> Result<Vec<PgRow>, Error> {
        // One look at the table tells both; it is as long as what nobody has dealt with.
        let sql = "select coalesce(n.text, '') as destination, l.reason, l.n, l.oldest from (select destination_id, reason, count(*) as n, \
                   min(failed_at) as oldest from dead_letter group by destination_id, reason) l left join name n on n.id = l.destination_id \
                   order by 1, 2";
        self.all(query(sql)).await
    }
}
