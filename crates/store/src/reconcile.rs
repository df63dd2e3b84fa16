//! Reconciling with a CRM: asked for by a person or by the schedule, done a look at a time by whichever worker comes first.
//!
//! A look is claimed, made, and noted. The claim takes a call from the destination's budget, behind everything that is due there, and a lease; the note
//! holds only under the claim's fence, and applies what follows to the records in the same transaction. Nothing is written to the CRM here: what is to
//! be put right is made due.

mod note;
mod rows;

use std::time::Duration;

use model::destination::{Destination, Permit};
use model::event::Mode;
use model::protocol::reconcile;
use model::protocol::{Claim, Step};
use model::{CallId, IdGenerator, ReconciliationId, RecordId, Time};
use serde_json::json;

use crate::catch_up::{SCHEDULE, hold};
use crate::people::append_audit;
use crate::rows::CallRow;
use crate::tx::Tx;
use crate::work::{Call, Entry, Kind};
use crate::{Arm, Error, Store};

use rows::Stand;
pub use rows::{
    Account, AskedReconciliation, Finding, Look, NewReconciliation, Noted, Reconciled, ReconciliationRow, ReconciliationState, Sight,
    Sights,
};

/// Runs of one destination that may wait behind each other.
const WAITING_MAX: usize = 50;
/// Runs of one destination's object that are remembered; open ones are never forgotten.
pub const KEPT_MAX: i64 = 100;
/// What differed is kept of so many records of a run; all of them are counted.
pub const FINDINGS_MAX: usize = 200;
/// Records that one claim goes past at most while it searches for those of its object.
pub const PASSED_MAX: i64 = 10_000;
/// How long a run stands back when the destination has other things to do …
const BEHIND: Duration = Duration::from_secs(1);
/// … and when it may not be asked until somebody changes something.
const STOPPED: Duration = Duration::from_secs(10);

impl Store {
    /// Asks for a run of each of these objects, with an audit row. A worker takes them up.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn ask_reconciliation(
        &self,
        now: Time,
        actor: &str,
        reason: &str,
        new: &NewReconciliation,
    ) -> Result<AskedReconciliation, Error> {
        again!(self.ask_reconciliation_once(now, actor, reason, new).await)
    }

    async fn ask_reconciliation_once(
        &self,
        now: Time,
        actor: &str,
        reason: &str,
        new: &NewReconciliation,
    ) -> Result<AskedReconciliation, Error> {
        let mut tx = self.begin(&names(&new.destination, &new.objects)).await?;
        hold(&mut tx, &new.destination).await?;
        if tx.open_reconciliations(&new.destination).await?.len() + new.objects.len() > WAITING_MAX {
            return Ok(AskedReconciliation::TooMany);
        }
        let ids = self.begin_runs(&mut tx, now, actor, reason, new).await?;
        let sample = new.sample.map_or_else(|| json!("all"), |sample| json!(sample));
        let asked = json!({ "reason": reason, "objects": new.objects, "sample": sample, "repair": new.repair.as_str(), "ids": ids });
        append_audit(&mut tx, now, actor, "reconcile", &new.destination, &asked).await?;
        tx.commit().await?;
        Ok(AskedReconciliation::Begun(ids))
    }

    async fn begin_runs(
        &self,
        tx: &mut Tx,
        now: Time,
        actor: &str,
        reason: &str,
        new: &NewReconciliation,
    ) -> Result<Vec<ReconciliationId>, Error> {
        let mut ids = Vec::new();
        for object in &new.objects {
            let id = ReconciliationId(self.next_id(now));
            let first = match new.sample {
                Some(_) => tx.last_reconciliation(&new.destination, object).await?.1,
                None => RecordId(0),
            };
            tx.insert_reconciliation(&fresh(id, now, (actor, reason), new, object, first)).await?;
            ids.push(id);
        }
        Ok(ids)
    }

    /// Begins a scheduled run of each object for which one is due, if none of the destination is open. Many workers may ask at once.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn schedule_reconciliation(
        &self,
        now: Time,
        every: Duration,
        new: &NewReconciliation,
    ) -> Result<Vec<ReconciliationId>, Error> {
        again!(self.schedule_reconciliation_once(now, every, new).await)
    }

    async fn schedule_reconciliation_once(
        &self,
        now: Time,
        every: Duration,
        new: &NewReconciliation,
    ) -> Result<Vec<ReconciliationId>, Error> {
        let mut tx = self.begin(&names(&new.destination, &new.objects)).await?;
        hold(&mut tx, &new.destination).await?;
        if !tx.open_reconciliations(&new.destination).await?.is_empty() {
            return Ok(Vec::new());
        }
        let mut due = Vec::new();
        for object in &new.objects {
            let (last, _) = tx.last_reconciliation(&new.destination, object).await?;
            let last = match last {
                Some(last) => Some(last),
                None => oldest(&mut tx, &new.destination, object).await?,
            };
            if last.is_some_and(|last| reconcile::due(every, last, now)) {
                due.push(object.clone());
            }
        }
        let new = NewReconciliation { objects: due, ..new.clone() };
        let ids = self.begin_runs(&mut tx, now, SCHEDULE, "the destination's `reconcile`", &new).await?;
        tx.commit().await?;
        Ok(ids)
    }

    /// Claims the next look at one of these accounts, where one is due and the destination may be asked: the oldest open run of a destination, so that
    /// there is one at a time. Takes a call from the destination's budget, unless other things are waiting for it.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written; nothing is claimed then.
    pub async fn claim_reconciliation(&self, now: Time, holder: &str, accounts: &[Account<'_>]) -> Result<Option<Look>, Error> {
        again!(self.claim_look(now, holder, accounts).await)
    }

    async fn claim_look(&self, now: Time, holder: &str, accounts: &[Account<'_>]) -> Result<Option<Look>, Error> {
        for account in accounts {
            let mut names = vec![account.destination];
            names.extend(account.routes.objects(account.destination));
            let mut tx = self.begin(&names).await?;
            let due = |row: &ReconciliationRow| row.wake_at <= now && row.lease.as_ref().is_none_or(|(_, until)| *until <= now);
            if !tx.open_reconciliations(account.destination).await?.first().is_some_and(due) {
                continue;
            }
            let mut state = hold(&mut tx, account.destination).await?;
            // Looked at again, now that nobody else can be at it.
            let open = tx.open_reconciliations(account.destination).await?;
            let Some(mut row) = open.into_iter().next().filter(due) else { continue };
            if account.routes.object(account.destination, &row.object).is_none() {
                row.note = Some("unconfigured: the configuration no longer has this object".into());
                (row.state, row.finished_at, row.lease) = (ReconciliationState::GivenUp, Some(now), None);
                tx.put_reconciliation(&row).await?;
                tx.commit().await?;
                continue;
            }
            let look = self.look(&mut tx, account, row, now).await?;
            let wait = if look.call.entries.is_empty() { None } else { permitted(&mut tx, &mut state, account, now).await? };
            let look = claimed(&mut tx, holder, account, look, (&state, wait), now).await?;
            tx.commit().await?;
            if let Some(look) = look {
                return Ok(Some(look));
            }
        }
        Ok(None)
    }

    /// What a run looks at next.
    async fn look(&self, tx: &mut Tx, account: &Account<'_>, row: ReconciliationRow, now: Time) -> Result<Look, Error> {
        let mut limit = u64::try_from(account.read_batch.max(1)).unwrap_or(1).min(row.left());
        if row.look_max > 0 {
            limit = limit.min(row.look_max.into());
        }
        let limit_rows = u32::try_from(limit).unwrap_or(u32::MAX);
        let sights = tx.sights(account.destination, &row.object, row.cursor, row.up_to(), limit_rows).await?;
        let full = sights.seen.len() as u64 >= limit;
        let cursor = match sights.seen.last().filter(|_| full) {
            Some(last) => last.record,
            None => sights.passed.unwrap_or(row.cursor),
        };
        let through = !full && !sights.more;
        let enough = row.left() <= sights.seen.len() as u64;
        let wraps = through && !enough && row.sample.is_some() && !row.wrapped && row.first > RecordId(0);
        let after = match wraps {
            true => Stand { cursor: RecordId(0), wrapped: true, end: false },
            false => Stand { cursor, wrapped: row.wrapped, end: through || enough },
        };
        let entry = |sight: &Sight| Entry {
            record: sight.record,
            key: sight.key.clone(),
            // By the key first: only so it is seen that there are several.
            crm_id: None,
            claim: Claim { fence: sight.fence, claimed_at: now, step: Step::Verify },
        };
        let call = Call {
            id: CallId(self.next_id(now)),
            object: row.object.clone(),
            kind: Kind::Reconcile,
            mode: Mode::Upsert,
            claimed_at: now,
            entries: sights.seen.iter().filter(|sight| sight.clean).map(entry).collect(),
        };
        Ok(Look { row, call, seen: sights.seen, after })
    }

    /// A run.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn reconciliation(&self, id: ReconciliationId) -> Result<Option<ReconciliationRow>, Error> {
        match &self.arm {
            Arm::Sqlite(sqlite) => sqlite.read(|conn| sqlite.reconciliation(conn, id)).await,
            Arm::Postgres(postgres) => postgres.moment().await?.reconciliation(id).await,
            Arm::Memory(memory) => Ok(memory.lock().await.reconciliations.get(&id).cloned()),
        }
    }

    /// Runs of one destination or of all, newest first; at most 1,000.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read.
    pub async fn reconciliations(&self, destination: Option<&str>, limit: u32) -> Result<Vec<ReconciliationRow>, Error> {
        match &self.arm {
            Arm::Sqlite(sqlite) => sqlite.read(|conn| sqlite.reconciliations(conn, destination, limit)).await,
            Arm::Postgres(postgres) => postgres.moment().await?.reconciliations(destination, limit).await,
            Arm::Memory(memory) => {
                let tables = memory.lock().await;
                let fits = |row: &&ReconciliationRow| destination.is_none_or(|destination| row.destination == destination);
                let fitting = tables.reconciliations.values().rev().filter(fits);
                Ok(fitting.take(limit.clamp(1, 1_000) as usize).cloned().collect())
            }
        }
    }
}

/// Since when there is anything of an object to look at: its first run is due a span after that. `None`: there is nothing yet.
async fn oldest(tx: &mut Tx, destination: &str, object: &str) -> Result<Option<Time>, Error> {
    let sights = tx.sights(destination, object, RecordId(0), RecordId(i64::MAX), 1).await?;
    let first = sights.seen.first().map(|sight| sight.record);
    Ok(first.or(sights.passed.filter(|_| sights.more)).map(|record| IdGenerator::made_at(record.0)))
}

/// Writes the claim down, or until when the run waits.
async fn claimed(
    tx: &mut Tx,
    holder: &str,
    account: &Account<'_>,
    mut look: Look,
    (state, wait): (&Destination, Option<Time>),
    now: Time,
) -> Result<Option<Look>, Error> {
    let until = now + account.policy.lease();
    if let Some(wait) = wait {
        look.row.wake_at = wait;
        tx.put_reconciliation(&look.row).await?;
        return Ok(None);
    }
    look.row.fence += 1;
    look.row.lease = Some((holder.to_owned(), until));
    tx.put_reconciliation(&look.row).await?;
    if !look.call.entries.is_empty() {
        tx.put_destination(account.destination, state).await?;
        let records = look.call.entries.iter().map(|entry| (entry.record, entry.claim.fence, 0, Default::default())).collect();
        let call = CallRow {
            id: look.call.id,
            destination: account.destination.to_owned(),
            object: look.call.object.clone(),
            step: look.call.kind.as_str(),
            at: now,
            holder: holder.to_owned(),
            until,
            records,
        };
        tx.insert_calls(&[call]).await?;
    }
    Ok(Some(look))
}

/// Takes a call, or says until when the run stands back: whatever is due goes first.
async fn permitted(tx: &mut Tx, state: &mut Destination, account: &Account<'_>, now: Time) -> Result<Option<Time>, Error> {
    let in_flight = tx.live_calls(account.destination, now, now + account.policy.lease()).await?;
    let due = tx.next_due(account.destination, &model::quota::Lane::ALL).await?.is_some_and(|at| at <= now);
    Ok(match state.permit(account.policy, now, in_flight) {
        Permit::Calls(calls) if calls > 1 || !due => {
            state.take(account.policy, now, 1);
            None
        }
        // With nothing due there, nobody else would find out that it is well again.
        Permit::Probe if !due => {
            state.take(account.policy, now, 1);
            None
        }
        Permit::Calls(_) | Permit::Probe => Some(now + BEHIND),
        Permit::Not(until) => Some(until.unwrap_or(now + STOPPED).max(now + BEHIND)),
    })
}

fn names<'a>(destination: &'a str, objects: &'a [String]) -> Vec<&'a str> {
    std::iter::once(destination).chain(objects.iter().map(String::as_str)).collect()
}

fn fresh(
    id: ReconciliationId,
    now: Time,
    (actor, reason): (&str, &str),
    new: &NewReconciliation,
    object: &str,
    first: RecordId,
) -> ReconciliationRow {
    ReconciliationRow {
        id,
        destination: new.destination.clone(),
        object: object.to_owned(),
        at: now,
        actor: actor.to_owned(),
        reason: reason.to_owned(),
        sample: new.sample,
        repair: new.repair,
        state: ReconciliationState::Open,
        wake_at: now,
        fence: 0,
        lease: None,
        first,
        cursor: first,
        wrapped: false,
        look_max: 0,
        looks: 0,
        counts: Reconciled::default(),
        repaired: 0,
        findings: Vec::new(),
        failures: 0,
        note: None,
        finished_at: None,
    }
}
