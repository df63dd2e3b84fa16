//! Runs of reconciling.

use std::collections::BTreeSet;

use model::record::State;
use model::{DeliveryId, Reason, RecordId, Time};

use super::Tx;
use crate::Error;
use crate::reconcile::{KEPT_MAX, PASSED_MAX, ReconciliationRow, ReconciliationState, Sight, Sights};
use crate::rows::DeliveryState;

impl Tx {
    pub(crate) fn insert_reconciliation(&mut self, new: &ReconciliationRow) -> Result<(), Error> {
        self.0.reconciliations.insert(new.id, new.clone());
        let same = |row: &&ReconciliationRow| (&row.destination, &row.object) == (&new.destination, &new.object);
        let of_object: Vec<_> = self.0.reconciliations.values().filter(same).map(|row| row.id).collect();
        for id in of_object.iter().rev().skip(usize::try_from(KEPT_MAX).unwrap_or(usize::MAX)) {
            if self.0.reconciliations.get(id).is_some_and(|row| row.state != ReconciliationState::Open) {
                self.0.reconciliations.remove(id);
            }
        }
        Ok(())
    }

    pub(crate) fn open_reconciliations(&mut self, destination: &str) -> Result<Vec<ReconciliationRow>, Error> {
        let open = |row: &&ReconciliationRow| row.destination == destination && row.state == ReconciliationState::Open;
        Ok(self.0.reconciliations.values().filter(open).cloned().collect())
    }

    pub(crate) fn put_reconciliation(&mut self, held: &ReconciliationRow) -> Result<(), Error> {
        self.0.reconciliations.insert(held.id, held.clone());
        Ok(())
    }

    pub(crate) fn last_reconciliation(&mut self, destination: &str, object: &str) -> Result<(Option<Time>, RecordId), Error> {
        let last = self.0.reconciliations.values().rev().find(|row| row.destination == destination && row.object == object);
        Ok(last.map_or((None, RecordId(0)), |row| (Some(row.at), row.cursor)))
    }

    pub(crate) fn sights(
        &mut self,
        destination: &str,
        object: &str,
        after: RecordId,
        up_to: RecordId,
        limit: u32,
    ) -> Result<Sights, Error> {
        let passed_max = usize::try_from(PASSED_MAX).unwrap_or(usize::MAX);
        let behind = self.0.records.values().filter(|entry| after < entry.id && entry.id <= up_to);
        let passed: Vec<_> = behind.take(passed_max).collect();
        let of_object = passed.iter().filter(|entry| entry.destination == destination && entry.object == object);
        let sight = |entry: &&&crate::rows::RecordEntry| Sight {
            record: entry.id,
            fence: entry.record.fence,
            clean: entry.record.state == State::Clean,
            key: entry.key.clone(),
            crm_id: entry.record.crm_id.clone(),
        };
        let seen = of_object.take(limit as usize).map(|entry| sight(&entry)).collect();
        Ok(Sights { seen, passed: passed.last().map(|entry| entry.id), more: passed.len() >= passed_max })
    }

    pub(crate) fn last_succeeded(&mut self, records: &BTreeSet<RecordId>) -> Result<Vec<DeliveryId>, Error> {
        let of = |record: &RecordId| {
            let own = || self.0.deliveries.values().filter(|delivery| delivery.record == Some(*record));
            let known = |id: &DeliveryId| self.0.dead_letters.get(id).is_some_and(|letter| letter.reason == Reason::AmbiguousMatch);
            let held = own().any(|delivery| delivery.state == DeliveryState::Quarantined && known(&delivery.id));
            own().filter(|delivery| !held && delivery.state == DeliveryState::Succeeded).map(|delivery| delivery.id).max()
        };
        Ok(records.iter().filter_map(of).collect())
    }
}
