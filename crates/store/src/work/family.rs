//! Parents first (amendment 16): what became of the deliveries that an open one waits for, and whom an ended one wakes.

use std::collections::{BTreeMap, BTreeSet};

use model::protocol::{Kin, Standing};
use model::record::Link;
use model::route::{ObjectPlan, linked};
use model::{DeliveryId, EventId, RecordId, Time};

use super::{Ended, Work};
use crate::Error;
use crate::rows::{Delivery, DeliveryState, OpenRow, RecordEntry, Whereabouts};
use crate::tx::Tx;

/// The deliveries of the events that are being claimed, as far as some of them wait for others.
#[derive(Default)]
pub(super) struct Parents {
    deliveries: BTreeMap<EventId, Vec<Delivery>>,
    records: BTreeMap<RecordId, Whereabouts>,
}

impl Parents {
    /// Looks up what due records of objects with parents depend on. For other objects it costs nothing.
    pub async fn of(tx: &mut Tx, work: &Work<'_>, due: &[RecordEntry], open: &BTreeMap<RecordId, Vec<OpenRow>>) -> Result<Self, Error> {
        let has_parents = |entry: &&RecordEntry| {
            work.routes
                .object(work.destination, &entry.object)
                .is_some_and(|object| object.parents.iter().any(|parent| parent.field.is_some()))
        };
        let rows = due.iter().filter(has_parents).filter_map(|entry| open.get(&entry.id)).flatten();
        let events: BTreeSet<EventId> = rows.map(|row| row.delivery.event()).collect();
        if events.is_empty() {
            return Ok(Self::default());
        }
        let mut deliveries: BTreeMap<EventId, Vec<Delivery>> = BTreeMap::new();
        let mut records = BTreeSet::new();
        for delivery in tx.deliveries_of(&events).await? {
            if delivery.destination.as_deref() == Some(work.destination) {
                records.extend(delivery.record);
                deliveries.entry(delivery.id.event()).or_default().push(delivery);
            }
        }
        Ok(Self { deliveries, records: tx.whereabouts(&records).await? })
    }

    /// The parents of one open delivery: what the same event is to the objects that its own belongs to.
    pub fn kin(&self, work: &Work<'_>, name: &str, object: &ObjectPlan, delivery: DeliveryId) -> Vec<Kin> {
        let siblings = self.deliveries.get(&delivery.event()).map(Vec::as_slice).unwrap_or_default();
        let one = |parent: &model::route::Parent| {
            // A later one stands in place of those before it.
            let held = siblings.iter().rfind(|held| held.object.as_ref() == Some(&parent.object) && held.superseded_by.is_none())?;
            let standing = match (self.standing(work, &parent.object, held), linked(name)) {
                // A link without one of its ends is none.
                (Standing::GivenUp, Some(_)) => Standing::Dead,
                (standing, _) => standing,
            };
            Some(Kin { object: parent.object.clone(), field: parent.field.clone(), delivery: held.id, standing })
        };
        // Where the CRM keeps links beside its records, only the link waits for both.
        object.parents.iter().filter(|parent| parent.field.is_some()).filter_map(one).collect()
    }

    fn standing(&self, work: &Work<'_>, object: &str, held: &Delivery) -> Standing {
        match held.state {
            DeliveryState::Open => Standing::Open,
            DeliveryState::Failed | DeliveryState::Quarantined => Standing::Dead,
            DeliveryState::Cancelled => Standing::GivenUp,
            DeliveryState::Succeeded => {
                let there =
                    held.record.and_then(|record| self.records.get(&record)).filter(|there| there.crm_id.is_some() || there.written);
                match (there, work.routes.object(work.destination, object)) {
                    (Some(there), Some(plan)) => Standing::There(Link {
                        object: object.to_owned(),
                        key_field: plan.key_field.clone(),
                        key: there.key.clone(),
                        crm_id: there.crm_id.clone(),
                    }),
                    (Some(_) | None, _) => Standing::GivenUp,
                }
            }
        }
    }
}

/// Wakes the records that waited for deliveries which have ended. Whether there were any.
pub(super) async fn wake(tx: &mut Tx, work: &Work<'_>, ended: &[Ended], now: Time) -> Result<bool, Error> {
    let of_parents = ended.iter().filter(|ended| work.routes.has_children(work.destination, &ended.object));
    let events: BTreeSet<EventId> = of_parents.map(|ended| ended.delivery.event()).collect();
    if events.is_empty() {
        return Ok(false);
    }
    let waiting = tx.open_records_of(&events).await?;
    if !waiting.is_empty() {
        tx.wake_blocked(&waiting, now).await?;
    }
    Ok(!waiting.is_empty())
}
