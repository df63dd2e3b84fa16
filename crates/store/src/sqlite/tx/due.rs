//! What is due, and what makes it so.

use std::collections::{BTreeMap, BTreeSet};

use model::quota::Lane;
use model::{RecordId, Time};

use super::super::read::{record_entry, records};
use super::Tx;
use crate::Error;
use crate::rows::RecordEntry;

impl Tx {
    /// Makes these records due, unless they wait after a failure or a worker holds them; these only move to a better lane.
    pub(super) fn wake(&mut self, records: &BTreeMap<RecordId, Lane>, now: Time) -> Result<(), Error> {
        let sql = "update record set state = iif(state in (0, 4, 5), 1, state), wake_at = iif(state in (0, 4, 5), ?2, wake_at), \
                   lane = iif(state = 0, ?3, min(lane, ?3)) where id = ?1 and (state in (0, 4, 5) or lane > ?3)";
        self.each(sql, records.iter().map(|(id, lane)| (id.0, now.0, lane.number())))
    }

    /// Makes clean records due again that have open deliveries: those arrived while a worker held the record.
    pub fn wake_with_open(&mut self, records: &BTreeSet<RecordId>, now: Time) -> Result<(), Error> {
        let sql = "update record set state = 1, wake_at = ?2, \
                   lane = (select min(d.lane) from delivery d where d.record_id = record.id and d.state = 0) where id = ?1 and state = 0 \
                   and exists (select 1 from delivery d where d.record_id = record.id and d.state = 0)";
        self.each(sql, records.iter().map(|id| (id.0, now.0)))
    }

    /// Due records of a destination, in the order of these lanes, and in each those that wait longest first.
    pub fn due(&mut self, destination: &str, now: Time, lanes: &[Lane], limit: u32) -> Result<Vec<RecordEntry>, Error> {
        let sql = records!(
            "from record r join name d on d.id = r.destination_id join name o on o.id = r.object_id join record_body b on b.record_id = r.id \
             where r.destination_id = ? and r.lane = ? and r.wake_at <= ? order by r.wake_at, r.id limit ?"
        );
        let destination = self.names.id(destination)?;
        let mut due = Vec::new();
        for lane in lanes {
            let more = limit.saturating_sub(u32::try_from(due.len()).unwrap_or(u32::MAX));
            if more > 0 {
                due.extend(self.select(sql, [(destination, lane.number(), now.0, more)], record_entry)?);
            }
        }
        Ok(due)
    }

    /// When the next record of a destination comes due in one of these lanes.
    pub fn next_due(&mut self, destination: &str, lanes: &[Lane]) -> Result<Option<Time>, Error> {
        let sql = "select min(wake_at) from record where destination_id = ? and lane = ? and wake_at is not null";
        let destination = self.names.id(destination)?;
        let next = self.select(sql, lanes.iter().map(|lane| (destination, lane.number())), |row| Ok(row.get::<_, Option<i64>>(0)?))?;
        Ok(next.into_iter().flatten().min().map(Time))
    }
}
