//! Reconciling: looks at what a CRM holds of records at rest, as many at a time as one call shows, and notes what differs.
//!
//! Nothing is written from here. What the ledger makes due is delivered as everything else is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use connect::Level;
use metrics::counter;
use model::protocol::Found;
use model::protocol::reconcile::{Repair, Verdict};
use model::route::linked;
use model::{Reason, RecordId, Time};
use queue::{DeadLetter, Queue};
use store::{Account, Finished, Look, NewReconciliation, Noted};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::engine::{Engine, Target, To};
use crate::metrics::called;

/// How often the ledger is asked whether a look is due …
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// … and how often the schedules are.
const SCHEDULE_EVERY: Duration = Duration::from_secs(30);
/// How long the loop waits after the ledger failed.
const LEDGER_RETRY: Duration = Duration::from_secs(5);
/// Records in one look at most, whatever the CRM bears: what follows from them is one transaction.
const LOOK_MAX: usize = 200;

/// How a destination is reconciled by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// How often.
    pub every: Duration,
    /// So many records of each object at a time; the next run goes on where it ended.
    pub sample: u64,
    /// What is done about differences.
    pub repair: Repair,
}

/// Reconciles the destinations that are CRM accounts.
#[derive(Clone)]
pub struct Reconcile {
    /// The ledger, the routes, and the CRM accounts among the targets.
    pub engine: Engine,
    /// Whom to wake, and whom to tell of dead letters.
    pub queue: Queue,
    /// The destinations that are reconciled by themselves.
    pub schedules: BTreeMap<String, Schedule>,
}

impl Reconcile {
    /// Runs until `stop` turns true.
    pub async fn run(self, now: fn() -> Time, mut stop: watch::Receiver<bool>) {
        let mut scheduled: Option<Time> = None;
        while !*stop.borrow() {
            let at = now();
            let mut rest = LOOK_EVERY;
            if scheduled.is_none_or(|last| last > at || at.since(last) >= SCHEDULE_EVERY) {
                scheduled = Some(at);
                if let Err(error) = self.schedule(at).await {
                    tracing::warn!(%error, "the schedules of reconciling could not be looked at; they are tried again");
                }
            }
            match self.step(now).await {
                Ok(true) => rest = Duration::ZERO,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "reconciling waits for the ledger; a look under way is made again when its lease ends");
                    rest = LEDGER_RETRY;
                }
            }
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = sleep(rest) => {}
            }
        }
    }

    /// Begins the runs that are due by their schedules.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written.
    pub async fn schedule(&self, now: Time) -> Result<(), store::Error> {
        for (destination, schedule) in &self.schedules {
            let new = NewReconciliation {
                destination: destination.clone(),
                objects: self.engine.routes.objects(destination).map(str::to_owned).collect(),
                sample: Some(schedule.sample),
                repair: schedule.repair,
            };
            for id in self.engine.store.schedule_reconciliation(now, schedule.every, &new).await? {
                tracing::info!(destination, reconciliation = %id, "reconciling by schedule");
            }
        }
        Ok(())
    }

    /// Claims a look, makes it, notes it. `false`: none was due.
    ///
    /// # Errors
    ///
    /// The ledger's. The look is made again when its lease ends.
    pub async fn step(&self, now: fn() -> Time) -> Result<bool, store::Error> {
        let begun = Instant::now();
        let targets: Vec<&Target> =
            self.engine.targets.values().map(|target| &**target).filter(|target| matches!(target.to, To::Crm(_))).collect();
        let equals: Vec<_> = targets.iter().map(|target| |field: &str, a: &_, b: &_| target.to.equal(field, a, b)).collect();
        let reads: Vec<_> = targets.iter().map(|target| |object: &str| target.to.reads(object)).collect();
        let accounts: Vec<Account<'_>> = targets
            .iter()
            .zip(equals.iter().zip(&reads))
            .map(|(target, (equal, reads))| Account {
                destination: &target.name,
                policy: &target.policy,
                routes: &self.engine.routes,
                read_batch: target.to.read_batch().min(LOOK_MAX),
                equal,
                reads,
            })
            .collect();
        let Some(look) = self.engine.store.claim_reconciliation(now(), &self.engine.holder, &accounts).await? else { return Ok(false) };
        let found = targets.iter().zip(&accounts).find(|(target, _)| target.name == look.row.destination);
        let Some((target, account)) = found else { return Ok(false) };
        let finished = self.look(target, &look, begun, now).await;
        let noted = self.engine.store.note_reconciliation(now(), account, &look, finished.as_ref()).await?;
        self.tell(&look, noted, now());
        Ok(true)
    }

    /// What the CRM holds of the look's records; `None` where there is nothing to ask.
    async fn look(&self, target: &Target, look: &Look, begun: Instant, now: fn() -> Time) -> Option<Finished> {
        if look.call.entries.is_empty() {
            return None;
        }
        let mut call = look.call.clone();
        if linked(&call.object).is_some() {
            // A link is known by the ids of its ends alone.
            let ids: BTreeMap<RecordId, &String> = look.known_ids().collect();
            call.entries.iter_mut().for_each(|entry| entry.crm_id = ids.get(&entry.record).map(|id| (*id).clone()));
        }
        let mut finished = self.engine.perform(target, call, begun.elapsed(), now()).await;
        called(&target.name, &finished);
        if target.to.level() == Some(Level::C) {
            self.look_by_id(target, look, &mut finished, begun, now).await;
        }
        Some(finished)
    }

    /// A search by key may lag behind: who is not found by it and has an id is looked up by that before it counts as missing.
    async fn look_by_id(&self, target: &Target, look: &Look, finished: &mut Finished, begun: Instant, now: fn() -> Time) {
        let Ok(results) = &mut finished.result else { return };
        let ids: BTreeMap<RecordId, &String> = look.known_ids().collect();
        let mut call = look.call.clone();
        let missing: BTreeSet<RecordId> = call
            .entries
            .iter()
            .zip(&*results)
            .filter(|(_, result)| matches!(result, Ok(Found::Held(None))))
            .map(|(entry, _)| entry.record)
            .collect();
        call.entries.retain_mut(|entry| {
            entry.crm_id = ids.get(&entry.record).map(|id| (*id).clone());
            entry.crm_id.is_some() && missing.contains(&entry.record)
        });
        if call.entries.is_empty() {
            return;
        }
        let again = self.engine.perform(target, call, begun.elapsed(), now()).await;
        called(&target.name, &again);
        let places: BTreeMap<RecordId, usize> = look.call.entries.iter().enumerate().map(|(place, entry)| (entry.record, place)).collect();
        for (place, entry) in again.call.entries.iter().enumerate() {
            let result = match &again.result {
                Ok(found) => found.get(place).cloned().unwrap_or(Ok(Found::NotSent)),
                Err(failure) => Err(failure.clone()),
            };
            if let Some(held) = places.get(&entry.record).and_then(|place| results.get_mut(*place)) {
                *held = result;
            }
        }
    }

    fn tell(&self, look: &Look, noted: Noted, now: Time) {
        let (destination, object, reconciliation) = (&look.row.destination, &look.row.object, look.row.id);
        if !noted.held {
            return tracing::warn!(destination, object, %reconciliation, "a look was made by another worker as well; its note counts");
        }
        for verdict in Verdict::ALL {
            let count = noted.counts.of(*verdict);
            if count > 0 {
                let labels = [("destination", destination.clone()), ("result", verdict.as_str().to_owned())];
                counter!("onceward_reconcile_records_total", &labels).increment(count);
            }
        }
        for delivery in noted.dead {
            let reason = Reason::AmbiguousMatch;
            tracing::warn!(destination, object, %delivery, reason = reason.as_str(), "a delivery became a dead letter");
            counter!("onceward_dead_letters_total", "destination" => destination.clone(), "reason" => reason.as_str()).increment(1);
            self.queue.dead_letter(DeadLetter { delivery, destination: destination.clone(), object: object.clone(), reason, at: now });
        }
        if let Some(wakeup) = noted.wakeup {
            self.queue.wake(wakeup);
        }
        if noted.ended {
            tracing::info!(destination, object, %reconciliation, "a run of reconciling has ended: see `onceward reconcile {destination}`");
        }
    }
}
