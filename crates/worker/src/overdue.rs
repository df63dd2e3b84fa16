//! Deliveries that take longer than their route allows: their owner is told once.

use std::collections::{BTreeMap, BTreeSet};

use metrics::gauge;
use model::{DeliveryId, Time};

use crate::engine::Engine;

/// The most deliveries that are looked at in one round.
const LOOK: u32 = 1_000;

/// Who was told of what.
#[derive(Default)]
pub struct Overdue {
    told: BTreeSet<DeliveryId>,
    shown: BTreeSet<String>,
}

impl Overdue {
    /// Looks for open deliveries past their route's `alert_after`, tells of new ones in the log, and shows how many there are for each destination.
    pub async fn look(&mut self, engine: &Engine, now: Time) {
        let Some(shortest) = engine.routes.alert_after_min() else { return };
        let open = match engine.store.open_since(now - shortest, LOOK).await {
            Ok(open) => open,
            Err(error) => return tracing::warn!(%error, "overdue deliveries could not be looked for"),
        };
        let late = open.into_iter().filter(|row| {
            let after = engine.routes.alert_after(&row.source, &row.event_type, &row.destination, &row.object);
            after.is_some_and(|after| now.since(row.received_at) >= after)
        });
        let mut counts: BTreeMap<String, u32> = self.shown.iter().map(|name| (name.clone(), 0)).collect();
        let mut still = BTreeSet::new();
        for row in late {
            if !self.told.contains(&row.delivery) {
                let owner = row.owner.as_deref().unwrap_or("nobody");
                let (delivery, destination, minutes) = (row.delivery, &row.destination, now.since(row.received_at).as_secs() / 60);
                tracing::error!(%delivery, destination, object = row.object, source = row.source, owner, minutes, "a delivery has not ended in the time that its route allows: see `onceward trace {delivery}`");
            }
            still.insert(row.delivery);
            *counts.entry(row.destination).or_default() += 1;
        }
        for (destination, count) in counts {
            gauge!("onceward_deliveries_overdue", "destination" => destination.clone()).set(f64::from(count));
            self.shown.insert(destination);
        }
        self.told = still;
    }
}
