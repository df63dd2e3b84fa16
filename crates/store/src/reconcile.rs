//! Reconciling with a CRM: asked for by a person or by the schedule, done a look at a time by whichever worker comes first.
//!
//! A look is claimed, made, and noted. The claim takes a call from the destination's budget, behind everything that is due there, and a lease; the note
//! holds only under the claim's fence, and applies what follows to the records in the same transaction. Nothing is written to the CRM here: what is to
//! be put right is made due.

mod note;

use std::time::Duration;

use model::destination::{Destination, Permit, Policy};
use model::event::Mode;
use model::protocol::reconcile::{self, Cause, Repair, Verdict};
use model::protocol::{Claim, Step};
use model::route::Routes;
use model::wakeup::Wakeup;
use model::{CallId, DeliveryId, IdGenerator, ReconciliationId, RecordId, Time};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::catch_up::{SCHEDULE, hold};
use crate::people::append_audit;
use crate::rows::CallRow;
use crate::tx::Tx;
use crate::work::{Call, Entry, Kind};
use crate::{Arm, Error, Store};

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

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReconciliationState {
    /// It waits or is under way.
    Open,
    /// It has looked at what it was to look at.
    Done,
    /// It has not; the note says why.
    GivenUp,
}

impl ReconciliationState {
    /// Every state, by its number in the ledger.
    pub(crate) const ALL: [Self; 3] = [Self::Open, Self::Done, Self::GivenUp];

    pub(crate) const fn number(self) -> i64 {
        self as i64
    }
}

/// How many records came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// The CRM holds what we believe.
    pub equal: u64,
    /// The CRM does not have it.
    pub missing: u64,
    /// A field differs by our own doing.
    pub ours: u64,
    /// A field differs by somebody else's.
    pub edited: u64,
    /// The CRM has several under its key.
    pub duplicated: u64,
    /// It is being worked on, and was not compared.
    pub busy: u64,
    /// The CRM refused to show it.
    pub unread: u64,
}

impl Reconciled {
    /// The count of a verdict.
    pub fn of(&self, verdict: Verdict) -> u64 {
        let mut copy = *self;
        *copy.place(verdict)
    }

    pub(crate) fn place(&mut self, verdict: Verdict) -> &mut u64 {
        match verdict {
            Verdict::Equal => &mut self.equal,
            Verdict::Missing => &mut self.missing,
            Verdict::Ours => &mut self.ours,
            Verdict::Edited => &mut self.edited,
            Verdict::Duplicated => &mut self.duplicated,
            Verdict::Busy => &mut self.busy,
            Verdict::Unread => &mut self.unread,
        }
    }

    /// All that were looked at.
    pub fn looked_at(&self) -> u64 {
        Verdict::ALL.iter().map(|verdict| self.of(*verdict)).sum()
    }
}

/// One record that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which record.
    pub record: RecordId,
    /// Its key.
    pub key: String,
    /// Its id in the CRM, as it was known before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crm_id: Option<String>,
    /// What was seen.
    pub verdict: Verdict,
    /// The fields that differ, and why.
    #[serde(default)]
    pub fields: std::collections::BTreeMap<String, Cause>,
    /// It is put right, or believed.
    pub repaired: bool,
    /// The CRM's own code, where it refused to show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReconciliationRow {
    /// Its public id.
    pub id: ReconciliationId,
    /// The destination's name.
    pub destination: String,
    /// The CRM's object.
    pub object: String,
    /// When it was asked for.
    pub at: Time,
    /// Who asked; `schedule` if nobody did.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// At most so many records are looked at, going on where the last run ended; `None`: all.
    pub sample: Option<u64>,
    /// What is done about differences.
    pub repair: Repair,
    /// Where it is.
    pub state: ReconciliationState,
    /// When its next look is due, while it is open.
    pub wake_at: Time,
    /// Raised by each claim.
    #[serde(skip)]
    pub fence: i64,
    /// Who looks now, and until when at most.
    #[serde(skip)]
    pub lease: Option<(String, Time)>,
    /// A sample goes on after this record.
    #[serde(skip)]
    pub first: RecordId,
    /// The last record that was looked at.
    #[serde(skip)]
    pub cursor: RecordId,
    /// It goes on from the beginning, up to `first`.
    #[serde(skip)]
    pub wrapped: bool,
    /// At most so many records in its next look; 0 means as many as fit.
    #[serde(skip)]
    pub look_max: u32,
    /// Looks that were made.
    pub looks: u64,
    /// What they came to.
    #[serde(flatten)]
    pub counts: Reconciled,
    /// Records that are put right, or believed.
    pub repaired: u64,
    /// What differed, of the first 200 records.
    pub findings: Vec<Finding>,
    /// Failures in a row.
    pub failures: u32,
    /// The last failure: the CRM's code and words.
    pub note: Option<String>,
    /// When it ended.
    pub finished_at: Option<Time>,
}

impl ReconciliationRow {
    /// The last record that it looks at before it wraps, or after that: what was made since it was asked for is not its business.
    pub(crate) fn up_to(&self) -> RecordId {
        if self.wrapped { self.first } else { RecordId(self.id.0) }
    }

    fn left(&self) -> u64 {
        self.sample.map_or(u64::MAX, |sample| sample.saturating_sub(self.counts.looked_at()))
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct NewReconciliation {
    /// The destination's name.
    pub destination: String,
    /// The CRM's objects: a run for each.
    pub objects: Vec<String>,
    /// At most so many records of each; `None`: all.
    pub sample: Option<u64>,
    /// What is done about differences.
    pub repair: Repair,
}

/// What became of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskedReconciliation {
    /// They are in the ledger; a worker takes them up.
    Begun(Vec<ReconciliationId>),
    /// Too many of this destination wait already.
    TooMany,
}

/// A CRM account as whoever looks there knows it.
pub struct Account<'a> {
    /// The destination's name.
    pub destination: &'a str,
    /// Its configuration.
    pub policy: &'a Policy,
    /// Its objects.
    pub routes: &'a Routes,
    /// The most records that a look may ask for.
    pub read_batch: usize,
    /// Whether the CRM considers two values of a field equal.
    pub equal: &'a (dyn Fn(&str, &Value, &Value) -> bool + Send + Sync),
}

/// A record as a claim of a look sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Which record.
    pub record: RecordId,
    /// Its fence.
    pub fence: i64,
    /// It is at rest.
    pub clean: bool,
    /// Its key.
    pub key: String,
    /// Its id in the CRM, where known.
    pub crm_id: Option<String>,
}

/// Records of an object, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sights {
    /// At most as many as were asked for.
    pub seen: Vec<Sight>,
    /// The last record that was gone past; `None`: there is none.
    pub passed: Option<RecordId>,
    /// There may be more behind it.
    pub more: bool,
}

/// A claimed look.
#[derive(Clone, Debug)]
pub struct Look {
    /// Its run.
    pub row: ReconciliationRow,
    /// The call to make. Without entries nothing is asked.
    pub call: Call,
    /// The records at rest and the others, in order: those at rest are the call's entries.
    pub(crate) seen: Vec<Sight>,
    /// Where the run stands once all of them were looked at.
    pub(crate) after: Stand,
}

impl Look {
    /// The ids that its records have in the CRM, where they are known.
    pub fn known_ids(&self) -> impl Iterator<Item = (RecordId, &String)> {
        self.seen.iter().filter_map(|sight| Some((sight.record, sight.crm_id.as_ref()?)))
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stand {
    pub cursor: RecordId,
    pub wrapped: bool,
    pub end: bool,
}

/// What came of noting a look.
#[derive(Clone, Debug, Default)]
pub struct Noted {
    /// `false`: somebody else has claimed the run since, and nothing of this counts.
    pub held: bool,
    /// What the records came to.
    pub counts: Reconciled,
    /// Deliveries that became dead letters, because a person has to look first: with the CRM's object.
    pub dead: Vec<DeliveryId>,
    /// Records that are due now.
    pub wakeup: Option<Wakeup>,
    /// The run has ended.
    pub ended: bool,
}

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
    let due = tx.next_due(account.destination).await?.is_some_and(|at| at <= now);
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
