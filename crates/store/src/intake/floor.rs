//! The floor: what the database takes when nothing is looked up and nothing decided. For a rehearsal, to compare intake with.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use model::Time;

use super::{Plan, raw_event};
use crate::postgres::Postgres;
use crate::types::Intake;
use crate::{Arm, Error, Options, Store, is_postgres};

/// An empty ledger beside a real one on a PostgreSQL, with the same settings, to be measured and taken away.
pub struct Scratch {
    /// The ledger, without migrations.
    pub store: Store,
    schema: String,
}

impl Scratch {
    /// Makes one in a schema of this name, which must be new.
    ///
    /// # Errors
    ///
    /// The server cannot be reached or does not permit it; [`Error::Refused`] for anything but a PostgreSQL without PgBouncer.
    pub async fn beside(url: &str, options: Options, schema: &str) -> Result<Self, Error> {
        if !is_postgres(url) {
            return Err(Error::Refused("only a PostgreSQL has room for a second ledger".into()));
        }
        let store = Store::over(Arm::Postgres(Postgres::scratch(url, options, schema).await?));
        Ok(Self { store, schema: schema.to_owned() })
    }

    /// Takes it away, with everything in it.
    ///
    /// # Errors
    ///
    /// The server cannot be reached; the schema is then still there.
    pub async fn remove(self) -> Result<(), Error> {
        match &self.store.arm {
            Arm::Postgres(postgres) => postgres.remove_scratch(&self.schema).await,
            Arm::Sqlite(_) | Arm::Memory(_) => Ok(()),
        }
    }
}

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
            for delivery in intake.events.iter().flat_map(|event| event.fate.deliveries()) {
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
            plan.write(&mut tx, &BTreeMap::new(), now).await?;
            tx.commit().await?;
        }
        Ok(begun.elapsed())
    }
}
