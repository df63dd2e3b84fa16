//! Runs of reconciling.

use std::collections::BTreeSet;

use model::{DeliveryId, RecordId, Time};
use rusqlite::params;

use super::super::row::{all, one, optional, run};
use super::{Tx, text};
use crate::Error;
use crate::columns::get;
use crate::reconcile::{KEPT_MAX, PASSED_MAX, ReconciliationRow, Sights};
use crate::views::dead_letters::number;
use crate::views::reconcile::{last, row, sight};

impl Tx {
    pub fn insert_reconciliation(&mut self, new: &ReconciliationRow) -> Result<(), Error> {
        let sql = "insert into reconciliation (id, destination_id, object_id, at, actor, reason, sample, repair, wake_at, first, cursor) \
                   values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let (destination, object) = (self.names.id(&new.destination)?, self.names.id(&new.object)?);
        let values = params![
            new.id.0,
            destination,
            object,
            new.at.0,
            new.actor,
            new.reason,
            new.sample.map(number),
            new.repair.number(),
            new.wake_at.0,
            new.first.0,
            new.cursor.0
        ];
        run(&self.conn, sql, values)?;
        let sql = "delete from reconciliation where destination_id = ?1 and object_id = ?2 and state <> 0 and id <= (select id from reconciliation \
                   where destination_id = ?1 and object_id = ?2 order by id desc limit 1 offset ?3)";
        run(&self.conn, sql, params![destination, object, KEPT_MAX]).map(drop)
    }

    /// Open ones of a destination, oldest first.
    pub fn open_reconciliations(&mut self, destination: &str) -> Result<Vec<ReconciliationRow>, Error> {
        let sql = "select c.*, n.text as destination, o.text as object from reconciliation c join name n on n.id = c.destination_id \
                   join name o on o.id = c.object_id where c.destination_id = ? and c.state = 0 order by c.id";
        all(&self.conn, sql, params![self.names.id(destination)?])?.iter().map(row).collect()
    }

    /// What changes of one.
    pub fn put_reconciliation(&mut self, held: &ReconciliationRow) -> Result<(), Error> {
        let sql = "update reconciliation set state = ?, wake_at = ?, fence = ?, lease_holder = ?, lease_until = ?, cursor = ?, wrapped = ?, look_max = ?, \
                   looks = ?, equal = ?, missing = ?, ours = ?, edited = ?, duplicated = ?, busy = ?, unread = ?, repaired = ?, findings = ?, \
                   failures = ?, note = ?, finished_at = ? where id = ?";
        let (holder, until) = held.lease.as_ref().map(|(holder, until)| (holder.as_str(), until.0)).unzip();
        let counts = held.counts;
        let values = params![
            held.state.number(),
            held.wake_at.0,
            held.fence,
            holder,
            until,
            held.cursor.0,
            i64::from(held.wrapped),
            i64::from(held.look_max),
            number(held.looks),
            number(counts.equal),
            number(counts.missing),
            number(counts.ours),
            number(counts.edited),
            number(counts.duplicated),
            number(counts.busy),
            number(counts.unread),
            number(held.repaired),
            text(&held.findings)?,
            i64::from(held.failures),
            held.note,
            held.finished_at.map(|at| at.0),
            held.id.0
        ];
        run(&self.conn, sql, values).map(drop)
    }

    /// When the last run of an object was begun, and after which record a sample goes on.
    pub fn last_reconciliation(&mut self, destination: &str, object: &str) -> Result<(Option<Time>, RecordId), Error> {
        let sql = "select at, cursor from reconciliation where destination_id = ? and object_id = ? order by id desc limit 1";
        last(optional(&self.conn, sql, params![self.names.id(destination)?, self.names.id(object)?])?.as_ref())
    }

    /// The next records of an object, without going past more than a bounded number of others.
    pub fn sights(&mut self, destination: &str, object: &str, after: RecordId, up_to: RecordId, limit: u32) -> Result<Sights, Error> {
        let passed = "select max(id) as last, count(*) as n from (select id from record where id > ? and id <= ? order by id limit ?)";
        let passed = one(&self.conn, passed, params![after.0, up_to.0, PASSED_MAX])?;
        let sql = "select r.id, r.state, r.fence, b.key, b.crm_id from record r join record_body b on b.record_id = r.id \
                   where r.id > ? and r.id <= ? and r.destination_id = ? and r.object_id = ? order by r.id limit ?";
        let last = get::<Option<i64>>(&passed, "last")?;
        let up_to = last.unwrap_or(after.0);
        let values = params![after.0, up_to, self.names.id(destination)?, self.names.id(object)?, limit];
        let seen = all(&self.conn, sql, values)?.iter().map(sight).collect::<Result<_, _>>()?;
        Ok(Sights { seen, passed: last.map(RecordId), more: get::<i64>(&passed, "n")? >= PASSED_MAX })
    }

    /// The last delivery of each record that succeeded, unless a person has to look at the record already.
    pub fn last_succeeded(&mut self, records: &BTreeSet<RecordId>) -> Result<Vec<DeliveryId>, Error> {
        let sql = "select max(d.id) from delivery d where d.record_id = ?1 and d.state = 1 and not exists (select 1 from delivery q \
                   join dead_letter l on l.delivery_id = q.id where q.record_id = ?1 and q.state = 3 and l.reason = 'ambiguous_match')";
        let found = self.select(sql, records.iter().map(|id| (id.0,)), |row| Ok(row.get::<_, Option<i64>>(0)?.map(DeliveryId)))?;
        Ok(found.into_iter().flatten().collect())
    }
}
