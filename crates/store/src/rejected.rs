//! Refused requests that turn out to be genuine: taken in as if they had been accepted when they came.

use model::{RejectedId, Time};
use serde_json::json;

use crate::intake::names;
use crate::people::append_audit;
use crate::types::{Committed, Intake};
use crate::{Arm, Error, Store};

impl Store {
    /// Takes in a request that had been refused, and takes it off the list of those, in one transaction: whoever does it again, at the same time or after a
    /// crash, finds it gone. `None`: it is not on the list any more, and nothing was written. The audit trail names the request that it became.
    ///
    /// # Errors
    ///
    /// As [`Store::accept`].
    pub async fn take_back(
        &self,
        now: Time,
        actor: &str,
        why: &str,
        rejected: RejectedId,
        intake: &Intake,
    ) -> Result<Option<Committed>, Error> {
        again!(self.whole(self.take_back_once(now, actor, why, rejected, intake)).await)
    }

    async fn take_back_once(
        &self,
        now: Time,
        actor: &str,
        why: &str,
        rejected: RejectedId,
        intake: &Intake,
    ) -> Result<Option<Committed>, Error> {
        let batch = std::slice::from_ref(intake);
        let mut tx = self.begin(&names(batch)).await?;
        // First of all, so that of two that try at once the second waits here and then finds nothing.
        if !tx.forget_rejected(rejected).await? {
            return Ok(None);
        }
        let committed = self.accept_in(&mut tx, now, batch).await?;
        let detail = json!({ "reason": why, "rejected": rejected, "received_at": intake.raw.received_at.to_string() });
        append_audit(&mut tx, now, actor, "take_back", &intake.raw.id.to_string(), &detail).await?;
        tx.commit().await?;
        Ok(Some(committed))
    }

    /// Puts a fresh diagnosis beside a refused request. A memory ledger keeps none.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn diagnose_rejected(&self, id: RejectedId, reason: &str, diagnosis: &str) -> Result<(), Error> {
        match &self.arm {
            Arm::Sqlite(sqlite) => sqlite.write(|conn| sqlite.diagnose_rejected(conn, id, reason, diagnosis)).await,
            Arm::Postgres(postgres) => postgres.diagnose_rejected(id, reason, diagnosis).await,
            Arm::Memory(_) => Ok(()),
        }
    }
}
