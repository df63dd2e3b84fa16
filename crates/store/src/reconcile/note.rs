//! What came of a look: what follows for each record under its fence, and how far the run is.

use std::collections::{BTreeMap, BTreeSet};

use model::catch_up;
use model::protocol::Found;
use model::protocol::reconcile::{self, Reconciling, Sent, Verdict};
use model::wakeup::{RECORDS_MAX, Wakeup};
use model::{Class, DeliveryId, Failure, Reason, RecordId, Scope, Time};
use serde_json::json;

use super::{Account, FINDINGS_MAX, Finding, Look, Noted, ReconciliationRow, ReconciliationState, Sight};
use crate::catch_up::hold;
use crate::people::append_audit;
use crate::rows::{AliasKey, DeliveryState, EndRow, RecordEntry, ResultRow};
use crate::tx::Tx;
use crate::work::Finished;
use crate::work::settle::{crm_alias, observe, result_row, share};
use crate::{Error, Store};

/// Records as they are now, each with what was found of it.
type Shares = BTreeMap<RecordId, Result<Found, Failure>>;

/// What the transaction is going to write of the records.
#[derive(Default)]
struct Follows {
    changed: Vec<RecordEntry>,
    named: BTreeMap<AliasKey, RecordId>,
    due: Vec<RecordId>,
    hold: BTreeSet<RecordId>,
    /// Verdict and fields of what is repaired, for the audit trail.
    told: Vec<(RecordId, serde_json::Value)>,
}

impl Store {
    /// Notes what came of a claimed look, and applies what follows to its records. `finished` is the call's end; `None` where there was none to make.
    ///
    /// # Errors
    ///
    /// The ledger cannot be written; the look is made again when its lease ends.
    pub async fn note_reconciliation(
        &self,
        now: Time,
        account: &Account<'_>,
        look: &Look,
        finished: Option<&Finished>,
    ) -> Result<Noted, Error> {
        again!(self.note_look(now, account, look, finished).await)
    }

    async fn note_look(&self, now: Time, account: &Account<'_>, look: &Look, finished: Option<&Finished>) -> Result<Noted, Error> {
        let mut tx = self.begin(&[account.destination, &look.row.object]).await?;
        // Records before the destination, as everybody locks them.
        let ids: BTreeSet<RecordId> = look.call.entries.iter().map(|entry| entry.record).collect();
        let (mut entries, mut open) = (BTreeMap::new(), BTreeSet::new());
        if finished.is_some() && !ids.is_empty() {
            entries = tx.records(&ids).await?;
            open.extend(tx.open_deliveries(&ids, 1).await?.into_iter().map(|row| row.record));
        }
        let mut state = hold(&mut tx, account.destination).await?;
        let held = tx.open_reconciliations(account.destination).await?.into_iter();
        let Some(mut row) = held.into_iter().find(|row| row.id == look.row.id && row.fence == look.row.fence) else {
            return Ok(Noted::default());
        };
        row.lease = None;
        row.wake_at = now;
        let mut noted = Noted { held: true, ..Noted::default() };
        let mut result = finished.map(|finished| result_row(finished, now));
        if let Some(finished) = finished {
            observe(&mut state, account.policy, now, std::slice::from_ref(finished));
            tx.put_destination(account.destination, &state).await?;
        }
        match shares(look, finished) {
            Ok(shares) => {
                let sent = sent(&mut tx, account, &entries, &shares).await?;
                let follows = self.apply(account, look, &mut row, &entries, &shares, &open, &sent, &mut noted, now);
                write(&mut tx, account, &row, follows, &mut noted, result.as_mut(), now).await?;
            }
            Err(failure) => failed(&mut row, look, &failure, now),
        }
        tx.insert_results(result.as_slice()).await?;
        if row.state != ReconciliationState::Open {
            row.finished_at = Some(now);
            noted.ended = true;
        }
        tx.put_reconciliation(&row).await?;
        tx.commit().await?;
        Ok(noted)
    }

    #[expect(clippy::too_many_arguments, reason = "one step of a transaction, apart for its length")]
    fn apply(
        &self,
        account: &Account<'_>,
        look: &Look,
        row: &mut ReconciliationRow,
        entries: &BTreeMap<RecordId, RecordEntry>,
        shares: &Shares,
        open: &BTreeSet<RecordId>,
        sent: &BTreeMap<RecordId, Sent>,
        noted: &mut Noted,
        now: Time,
    ) -> Follows {
        let mut follows = Follows::default();
        let fences: BTreeMap<RecordId, i64> = look.call.entries.iter().map(|entry| (entry.record, entry.claim.fence)).collect();
        let creates = account.routes.creates(account.destination, &row.object);
        let nothing = Sent::new();
        let mut all = true;
        for Sight { record: id, clean, .. } in &look.seen {
            let share = shares.get(id);
            if *clean && matches!(share, Some(Ok(Found::NotSent))) {
                // It did not fit into the request: the next look begins with it.
                all = false;
                break;
            }
            let looked = share.zip(entries.get(id)).filter(|_| *clean);
            let verdict = match looked {
                None => Verdict::Busy,
                Some((found, entry)) => {
                    let reconciling = Reconciling {
                        policy: account.policy,
                        repair: row.repair,
                        creates,
                        now,
                        call: look.call.id,
                        fence: fences.get(id).copied().unwrap_or_default(),
                        open: open.contains(id),
                        equal: account.equal,
                    };
                    let done = reconcile::reconcile(entry.record.clone(), found, sent.get(id).unwrap_or(&nothing), &reconciling);
                    follow(&mut follows, row, entry, found, done)
                }
            };
            *noted.counts.place(verdict) += 1;
            *row.counts.place(verdict) += 1;
            row.cursor = *id;
        }
        row.looks += u64::from(!look.call.entries.is_empty());
        (row.failures, row.note) = (0, None);
        let grown = row.look_max.saturating_mul(2);
        row.look_max = if grown as usize >= account.read_batch { 0 } else { grown };
        if all {
            (row.cursor, row.wrapped) = (look.after.cursor, look.after.wrapped);
            if look.after.end {
                row.state = ReconciliationState::Done;
            }
        } else if look.seen.first().is_some_and(|first| row.cursor < first.record) {
            // Nothing was sent at all: not at once again.
            row.wake_at = now + super::BEHIND;
        }
        follows
    }
}

/// What follows for one record.
fn follow(
    follows: &mut Follows,
    row: &mut ReconciliationRow,
    entry: &RecordEntry,
    found: &Result<Found, Failure>,
    done: reconcile::Reconciled,
) -> Verdict {
    let verdict = done.verdict;
    if verdict.differs() {
        row.repaired += u64::from(done.repaired);
        if row.findings.len() < FINDINGS_MAX {
            row.findings.push(Finding {
                record: entry.id,
                key: entry.key.clone(),
                crm_id: entry.record.crm_id.clone(),
                verdict,
                fields: done.fields.clone(),
                repaired: done.repaired,
                code: found.as_ref().err().map(|failure| failure.code.clone()),
            });
        }
        if done.repaired || done.hold {
            let told = json!({ "reason": row.reason, "run": row.id, "found": verdict.as_str(), "fields": done.fields });
            follows.told.push((entry.id, told));
        }
    }
    if done.changed {
        let changed = RecordEntry { record: done.record, ..entry.clone() };
        if let Some(crm_id) = changed.record.crm_id.as_ref().filter(|id| entry.record.crm_id.as_ref() != Some(id)) {
            follows.named.insert(crm_alias(&changed, crm_id), changed.id);
        }
        if changed.record.wake_at.is_some() {
            follows.due.push(changed.id);
        }
        if done.hold {
            follows.hold.insert(changed.id);
        }
        follows.changed.push(changed);
    }
    verdict
}

/// Each record's share of the call's result; none where there was no call.
fn shares(look: &Look, finished: Option<&Finished>) -> Result<Shares, Failure> {
    let Some(finished) = finished else { return Ok(Shares::new()) };
    let entries = &finished.call.entries;
    let alone = entries.len() == 1;
    match &finished.result {
        // Of one record alone it is known whom it concerns.
        Err(failure) if alone && matches!(failure.class, Class::Permanent | Class::Conflict) && failure.scope != Scope::Destination => {
            Ok(look.call.entries.iter().map(|entry| (entry.record, Err(failure.clone()))).collect())
        }
        Err(failure) => Err(failure.clone()),
        Ok(results) => {
            let stops = |failure: &&Failure| matches!(failure.class, Class::Throttled | Class::Auth);
            if let Some(failure) = results.iter().filter_map(|result| result.as_ref().err()).find(stops) {
                return Err(failure.clone());
            }
            Ok(entries.iter().enumerate().map(|(place, entry)| (entry.record, share(finished, place))).collect())
        }
    }
}

/// What calls of ours carried for the records that differ.
async fn sent(
    tx: &mut Tx,
    account: &Account<'_>,
    entries: &BTreeMap<RecordId, RecordEntry>,
    shares: &Shares,
) -> Result<BTreeMap<RecordId, Sent>, Error> {
    let differing: Vec<&RecordEntry> = entries
        .values()
        .filter(|entry| shares.get(&entry.id).is_some_and(|found| reconcile::differs(&entry.record, found, account.equal)))
        .collect();
    let calls: BTreeSet<_> = differing.iter().flat_map(|entry| entry.record.body.calls.iter().copied()).collect();
    let mut by_record: BTreeMap<RecordId, Sent> = BTreeMap::new();
    if calls.is_empty() {
        return Ok(by_record);
    }
    let carried = tx.sent(&calls).await?;
    for entry in differing {
        let sent = by_record.entry(entry.id).or_default();
        for call in &entry.record.body.calls {
            for (field, value) in carried.get(&(*call, entry.id)).into_iter().flatten() {
                sent.entry(field.clone()).or_default().push((*call, value.clone()));
            }
        }
    }
    Ok(by_record)
}

async fn write(
    tx: &mut Tx,
    account: &Account<'_>,
    row: &ReconciliationRow,
    follows: Follows,
    noted: &mut Noted,
    result: Option<&mut ResultRow>,
    now: Time,
) -> Result<(), Error> {
    let changed: Vec<(&RecordEntry, bool)> = follows.changed.iter().map(|entry| (entry, true)).collect();
    if !changed.is_empty() {
        tx.put_records(&changed).await?;
    }
    if !follows.named.is_empty() {
        tx.insert_aliases(&follows.named).await?;
    }
    noted.dead = hold_for_a_person(tx, &follows.hold, result, now).await?;
    for (record, told) in &follows.told {
        append_audit(tx, now, &row.actor, "repair", &record.to_string(), told).await?;
    }
    noted.wakeup = (!follows.due.is_empty()).then(|| Wakeup {
        destination: account.destination.to_owned(),
        records: follows.due.into_iter().take(RECORDS_MAX).collect(),
        correlation_id: row.id.to_string(),
    });
    Ok(())
}

/// The last delivery of each record that succeeded is a dead letter until somebody has looked, unless there is one already.
async fn hold_for_a_person(
    tx: &mut Tx,
    records: &BTreeSet<RecordId>,
    result: Option<&mut ResultRow>,
    now: Time,
) -> Result<Vec<DeliveryId>, Error> {
    let (Some(result), false) = (result, records.is_empty()) else { return Ok(Vec::new()) };
    let reason = Reason::AmbiguousMatch;
    let state = DeliveryState::of(reason);
    let last = tx.last_succeeded(records).await?;
    let end =
        |delivery: &DeliveryId| EndRow { delivery: *delivery, state, outcome: None, at: now, call: Some(result.call), superseded_by: None };
    let ends: Vec<EndRow> = last.iter().map(end).collect();
    if ends.is_empty() {
        return Ok(last);
    }
    tx.end_deliveries(&ends).await?;
    let message = "reconciling found several records under its key in the CRM";
    let letters: Vec<_> = last.iter().map(|id| (*id, reason, Some(Class::Conflict), message.to_owned(), 0)).collect();
    tx.bury(&letters, now).await?;
    result.endings.extend(last.iter().map(|id| (*id, state, None)));
    Ok(last)
}

/// A look that came to nothing: smaller if it may have been too large, else later.
fn failed(row: &mut ReconciliationRow, look: &Look, failure: &Failure, now: Time) {
    let group = look.call.entries.len();
    row.note = Some(format!("{}: {}", failure.code, failure.message));
    let whole = failure.scope != Scope::Destination && matches!(failure.class, Class::Permanent | Class::Conflict);
    let large = failure.class == Class::Unknown && matches!(failure.code.as_str(), "timeout" | "oversized");
    if group > 1 && (whole || large) {
        row.look_max = u32::try_from(group / 2).unwrap_or(1).max(1);
    }
    if group > 1 && whole {
        return;
    }
    row.failures = row.failures.saturating_add(u32::from(failure.class != Class::Throttled));
    match catch_up::after(failure, row.failures, now) {
        catch_up::After::Wait(until) => row.wake_at = until,
        catch_up::After::GiveUp => row.state = ReconciliationState::GivenUp,
    }
}
