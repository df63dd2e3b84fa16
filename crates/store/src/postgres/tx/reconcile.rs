//! Runs of reconciling. Whoever changes one has the row of its destination locked.

use std::collections::BTreeSet;

use model::{DeliveryId, RecordId, Time};

use super::super::read::{get, text, words};
use super::{Tx, list};
use crate::Error;
use crate::reconcile::{KEPT_MAX, PASSED_MAX, ReconciliationRow, Sights};
use crate::views::dead_letters::number;
use crate::views::reconcile::{last, row, sight};

impl Tx {
    pub async fn insert_reconciliation(&mut self, new: &ReconciliationRow) -> Result<(), Error> {
        let sql = "insert into reconciliation (id, destination_id, object_id, at, actor, reason, sample, repair, wake_at, first, cursor) \
                   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        let (destination, object) = (self.names.id(&new.destination)?, self.names.id(&new.object)?);
        let statement = sqlx::query(sql)
            .bind(new.id.0)
            .bind(destination)
            .bind(object)
            .bind(new.at.0)
            .bind(words(&new.actor))
            .bind(words(&new.reason))
            .bind(new.sample.map(number))
            .bind(new.repair.number())
            .bind(new.wake_at.0)
            .bind(new.first.0)
            .bind(new.cursor.0);
        self.run(statement).await?;
        let sql = "delete from reconciliation where destination_id = $1 and object_id = $2 and state <> 0 and id <= (select id from reconciliation \
                   where destination_id = $1 and object_id = $2 order by id desc limit 1 offset $3)";
        self.run(sqlx::query(sql).bind(destination).bind(object).bind(KEPT_MAX)).await.map(drop)
    }

    /// Open ones of a destination, oldest first.
    pub async fn open_reconciliations(&mut self, destination: &str) -> Result<Vec<ReconciliationRow>, Error> {
        let sql = "select c.*, n.text as destination, o.text as object from reconciliation c join name n on n.id = c.destination_id \
                   join name o on o.id = c.object_id where c.destination_id = $1 and c.state = 0 order by c.id";
        self.all(sqlx::query(sql).bind(self.names.id(destination)?)).await?.iter().map(row).collect()
    }

    /// What changes of one.
    pub async fn put_reconciliation(&mut self, held: &ReconciliationRow) -> Result<(), Error> {
        let sql = "update reconciliation set state = $1, wake_at = $2, fence = $3, lease_holder = $4, lease_until = $5, cursor = $6, wrapped = $7, \
                   look_max = $8, looks = $9, equal = $10, missing = $11, ours = $12, edited = $13, duplicated = $14, busy = $15, unread = $16, \
                   repaired = $17, findings = $18, failures = $19, note = $20, finished_at = $21 where id = $22";
        let (holder, until) = held.lease.as_ref().map(|(holder, until)| (words(holder), until.0)).unzip();
        let counts = held.counts;
        let statement = sqlx::query(sql)
            .bind(held.state.number())
            .bind(held.wake_at.0)
            .bind(held.fence)
            .bind(holder)
            .bind(until)
            .bind(held.cursor.0)
            .bind(i64::from(held.wrapped))
            .bind(i64::from(held.look_max))
            .bind(number(held.looks))
            .bind(number(counts.equal))
            .bind(number(counts.missing))
            .bind(number(counts.ours))
            .bind(number(counts.edited))
            .bind(number(counts.duplicated))
            .bind(number(counts.busy))
            .bind(number(counts.unread))
            .bind(number(held.repaired))
            .bind(words(&text(&held.findings)?))
            .bind(i64::from(held.failures))
            .bind(held.note.as_deref().map(words))
            .bind(held.finished_at.map(|at| at.0))
            .bind(held.id.0);
        self.run(statement).await.map(drop)
    }

    /// When the last run of an object was begun, and after which record a sample goes on.
    pub async fn last_reconciliation(&mut self, destination: &str, object: &str) -> Result<(Option<Time>, RecordId), Error> {
        let sql = "select at, cursor from reconciliation where destination_id = $1 and object_id = $2 order by id desc limit 1";
        let rows = self.all(sqlx::query(sql).bind(self.names.id(destination)?).bind(self.names.id(object)?)).await?;
        last(rows.first())
    }

    /// The next records of an object, without going past more than a bounded number of others. Nothing is locked: who changes a record meanwhile is
    /// seen by its fence.
    pub async fn sights(&mut self, destination: &str, object: &str, after: RecordId, up_to: RecordId, limit: u32) -> Result<Sights, Error> {
        let passed =
            "select max(id) as last, count(*) as n from (select id from record where id > $1 and id <= $2 order by id limit $3) passed";
        let rows = self.all(sqlx::query(passed).bind(after.0).bind(up_to.0).bind(PASSED_MAX)).await?;
        let Some(passed) = rows.first() else { return Ok(Sights::default()) };
        let last: Option<i64> = get(passed, "last")?;
        let sql = "select r.id, r.state, r.fence, b.key, b.crm_id from record r join record_body b on b.record_id = r.id \
                   where r.id > $1 and r.id <= $2 and r.destination_id = $3 and r.object_id = $4 order by r.id limit $5";
        let statement = sqlx::query(sql)
            .bind(after.0)
            .bind(last.unwrap_or(after.0))
            .bind(self.names.id(destination)?)
            .bind(self.names.id(object)?)
            .bind(i64::from(limit));
        let seen = self.all(statement).await?.iter().map(sight).collect::<Result<_, _>>()?;
        Ok(Sights { seen, passed: last.map(RecordId), more: get::<i64>(passed, "n")? >= PASSED_MAX })
    }

    /// The last delivery of each record that succeeded, unless a person has to look at the record already.
    pub async fn last_succeeded(&mut self, records: &BTreeSet<RecordId>) -> Result<Vec<DeliveryId>, Error> {
        let sql = "select d.id from unnest($1::bigint[]) r (id) \
                   cross join lateral (select max(d.id) as id from delivery d where d.record_id = r.id and d.state = 1) d \
                   where d.id is not null and not exists (select 1 from delivery q join dead_letter l on l.delivery_id = q.id \
                   where q.record_id = r.id and q.state = 3 and l.reason = 'ambiguous_match') order by d.id";
        let rows = self.all(sqlx::query(sql).bind(list(records.iter().map(|id| id.0)))).await?;
        rows.iter().map(|row| Ok(DeliveryId(get(row, "id")?))).collect()
    }
}
