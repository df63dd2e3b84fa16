//! The floor: what the database takes when nothing is looked up and nothing decided. For a rehearsal, to compare intake with.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use model::Time;

use super::{Plan, deliveries, raw_event};
use crate::types::Intake;
use crate::{Error, Store};

impl Store {
    /// Writes the rows of these requests, as [`Store::accept`] would over an empty ledger, so many requests to a transaction and
    /// each transaction after the one before. All of the rows are made beforehand. Returns how long the writing took.
    ///
    /// The ledger must be empty and migrated; afterwards it is of no use.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn floor(&self, now: Time, requests: &[Intake], batch: usize) -> Result<Duration, Error> {
        let mut names: Vec<&str> = Vec::new();
        for intake in requests {
            names.push(&intake.raw.source);
            for delivery in intake.events.iter().flat_map(deliveries) {
                names.extend([delivery.destination.as_str(), delivery.object.as_str()]);
            }
        }
        names.sort_unstable();
        names.dedup();
        let (mut known, mut aliases) = (BTreeMap::new(), BTreeMap::new());
        let mut plans = Vec::with_capacity(requests.len() / batch.max(1) + 1);
        for intakes in requests.chunks(batch.max(1)) {
            let mut plan = Plan { known_aliases: std::mem::take(&mut aliases), ..Plan::default() };
            for intake in intakes {
                let answered: Vec<_> =
                    intake.events.iter().map(|event| self.take_event(&mut plan, &mut known, intake, event, now)).collect();
                plan.raws.push(raw_event(intake, &answered));
            }
            aliases = std::mem::take(&mut plan.known_aliases);
            aliases.extend(plan.new_aliases.iter().map(|(key, record)| (key.clone(), *record)));
            // Nothing but inserts: no record is woken.
            plan.touched.clear();
            plans.push(plan);
        }
        let begun = Instant::now();
        for plan in &plans {
            let mut tx = self.begin(&names).await?;
            plan.write(&mut tx, now).await?;
            tx.commit().await?;
        }
        Ok(begun.elapsed())
    }
}
