//! How the bodies of sources change: learned by every process that takes them in, kept once.

use std::collections::BTreeMap;

use model::Time;
use model::drift::{Change, Learned, Observed};
use serde::Serialize;

use crate::columns::{Columns, get, json, time};
use crate::{Arm, Error, Store};

/// Most event types of a source that are watched.
pub const TYPES_MAX: i64 = 200;
/// Most bytes of an event type that is watched.
const TYPE_BYTES_MAX: usize = 200;

/// What is known of one event type of a source.
#[derive(Clone, Debug, Serialize)]
pub struct DriftRow {
    /// What happened.
    pub event_type: String,
    /// Bodies that were looked at.
    pub bodies: u64,
    /// Members that are known.
    pub paths: usize,
    /// When somebody last looked.
    pub updated_at: Time,
    /// What changed, oldest first.
    pub changes: Vec<Change>,
}

/// A row of `drift`, read.
pub fn row(row: &impl Columns) -> Result<DriftRow, Error> {
    let learned: Learned = json(get(row, "state")?, "drift", "state", get(row, "source_id")?)?;
    Ok(DriftRow {
        event_type: get(row, "event_type")?,
        bodies: learned.bodies(),
        paths: learned.paths(),
        updated_at: time(row, "updated_at")?.unwrap_or_default(),
        changes: learned.changes().to_vec(),
    })
}

impl Store {
    /// Adds what was seen of a source's bodies, by event type, and says what changed: each change is said to one process, once.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn learn(&self, now: Time, source: &str, observed: &BTreeMap<String, Observed>) -> Result<Vec<(String, Change)>, Error> {
        again!(self.whole(self.learn_once(now, source, observed)).await)
    }

    async fn learn_once(&self, now: Time, source: &str, observed: &BTreeMap<String, Observed>) -> Result<Vec<(String, Change)>, Error> {
        let mut tx = self.begin(&[source]).await?;
        let mut changes = Vec::new();
        // In the order of the types, so that two processes do not wait for each other in a circle.
        for (event_type, observed) in observed.iter().filter(|(event_type, _)| event_type.len() <= TYPE_BYTES_MAX) {
            let Some(mut learned) = tx.hold_drift(source, event_type, now).await? else { continue };
            changes.extend(learned.learn(observed, now).into_iter().map(|change| (event_type.clone(), change)));
            tx.put_drift(source, event_type, &learned, now).await?;
        }
        tx.commit().await?;
        Ok(changes)
    }

    /// What is known of a source's bodies, by event type.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn drift(&self, source: &str) -> Result<Vec<DriftRow>, Error> {
        match &self.arm {
            Arm::Sqlite(sqlite) => sqlite.read(|conn| sqlite.drift(conn, source)).await,
            Arm::Postgres(postgres) => postgres.moment().await?.drift(source).await,
            Arm::Memory(_) => Err(Error::Refused("the memory ledger keeps no views".into())),
        }
    }
}
