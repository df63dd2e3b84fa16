//! What came back: what it tells of the destination, and of each record under its fence.

use std::collections::{BTreeMap, BTreeSet};

use model::destination::{Destination, Policy};
use model::protocol::{self, Ending, Found, Settling};
use model::{CallId, Class, Failure, RecordId, Time};

use super::enrich::Arrived;
use super::{Advanced, Finished, Ledger, Work};
use crate::rows::{AliasKey, RecordEntry, ResultRow, hash};
use crate::tx::Tx;
use crate::{Error, Store};

/// What finished calls tell of the destination.
pub(crate) fn observe(destination: &mut Destination, policy: &Policy, now: Time, finished: &[Finished]) {
    for finished in finished {
        destination.hear(policy, now, finished.requests, &finished.usage);
        match &finished.result {
            Err(failure) => destination.observe(policy, now, finished.call.claimed_at, Some(failure)),
            Ok(results) => {
                if results.iter().all(|result| matches!(result, Ok(Found::NotSent))) {
                    destination.probe_not_sent(now);
                    continue;
                }
                let beyond = results.iter().filter_map(|result| result.as_ref().err());
                let throttled = beyond.into_iter().find(|failure| matches!(failure.class, Class::Throttled | Class::Auth));
                destination.observe(policy, now, finished.call.claimed_at, throttled);
            }
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "one step of a transaction, apart for its length")]
pub(super) async fn settle(
    store: &Store,
    tx: &mut Tx,
    work: &Work<'_>,
    finished: &[Finished],
    last_success_at: Option<Time>,
    now: Time,
    chance: &mut (dyn FnMut() -> f64 + Send),
    ledger: &mut Ledger,
    advanced: &mut Advanced,
) -> Result<(), Error> {
    let ids: BTreeSet<RecordId> = finished.iter().flat_map(|finished| finished.call.entries.iter().map(|entry| entry.record)).collect();
    let mut entries = tx.records(&ids).await?;
    let mut changed: BTreeMap<RecordId, bool> = BTreeMap::new();
    let mut results = Vec::with_capacity(finished.len());
    let mut all_open: BTreeMap<RecordId, (CallId, Ending)> = BTreeMap::new();
    let mut named: BTreeMap<AliasKey, RecordId> = BTreeMap::new();
    let mut arrived = Vec::new();
    for finished in finished {
        let call = &finished.call;
        let mut result = result_row(finished, now);
        for (place, claimed) in call.entries.iter().enumerate() {
            let Some(entry) = entries.get_mut(&claimed.record) else { continue };
            let share = share(finished, place);
            let settling = Settling {
                policy: work.policy,
                now,
                chance: chance(),
                call: call.id,
                group: call.entries.len(),
                group_limit: work.group_limit,
                last_success_at,
                equal: work.equal,
            };
            let settled = protocol::settle(entry.record.clone(), &claimed.claim, &share, &settling);
            if settled.late {
                advanced.late += 1;
                result.notes.push((entry.id, "late".into(), String::new(), "its fence had moved on".into()));
            }
            if let Err(failure) = &share {
                result.notes.push((entry.id, failure.class.as_str().into(), failure.code.clone(), failure.message.clone()));
                advanced.retries += u64::from(settled.record.state == model::record::State::Waiting);
            }
            for (delivery, ending) in &settled.endings {
                let (state, outcome) = ledger.end(*delivery, ending, &entry.object, Some(call.id), now);
                result.endings.push((*delivery, state, outcome));
            }
            if let Some((deliveries, value)) = settled.fetched {
                let (call, record, object, at) = (call.id, entry.id, entry.object.clone(), claimed.claim.claimed_at);
                arrived.push(Arrived { call, record, object, deliveries, value, at });
            }
            if let Some(ending) = settled.all_open {
                all_open.insert(entry.id, (call.id, ending));
            }
            if let Some(crm_id) = settled.record.crm_id.as_ref().filter(|id| entry.record.crm_id.as_ref() != Some(id)) {
                named.insert(crm_alias(entry, crm_id), entry.id);
            }
            *changed.entry(entry.id).or_default() |= settled.body_changed;
            entry.record = settled.record;
        }
        results.push(result);
    }
    end_all_open(tx, &entries, &all_open, &mut results, ledger, now).await?;
    store.enrich(tx, work, &arrived, &mut results, now, ledger, advanced).await?;
    if !named.is_empty() {
        // One that is taken stays with the record that took it.
        tx.insert_aliases(&named).await?;
    }
    let rows: Vec<(&RecordEntry, bool)> = changed.iter().filter_map(|(id, body)| entries.get(id).map(|entry| (entry, *body))).collect();
    tx.put_records(&rows).await?;
    tx.insert_results(&results).await?;
    let rested: BTreeSet<RecordId> = rows.iter().filter(|(entry, _)| entry.record.wake_at.is_none()).map(|(entry, _)| entry.id).collect();
    // Ended deliveries are written before this looks for open ones.
    let ended = std::mem::take(&mut ledger.ended);
    ledger.write(tx, now).await?;
    *ledger = Ledger { ended, ..Ledger::default() };
    if !rested.is_empty() {
        tx.wake_with_open(&rested, now).await?;
    }
    Ok(())
}

pub(crate) fn result_row(finished: &Finished, now: Time) -> ResultRow {
    ResultRow {
        call: finished.call.id,
        at: now,
        duration_us: i64::try_from(finished.duration.as_micros()).unwrap_or(i64::MAX),
        http_status: finished.http_status,
        failure: finished.result.as_ref().err().map(|failure| (failure.code.clone(), failure.message.clone())),
        notes: Vec::new(),
        endings: Vec::new(),
    }
}

/// One record's share of a call's result. An answer with the wrong number of items tells nothing of any of them.
pub(crate) fn share(finished: &Finished, place: usize) -> Result<Found, Failure> {
    match &finished.result {
        Err(failure) => Err(failure.clone()),
        Ok(results) => results.get(place).cloned().unwrap_or_else(|| {
            Err(Failure::new(Class::Unknown, model::Scope::Record, "item_missing", "the answer has no item for this record"))
        }),
    }
}

pub(crate) fn crm_alias(entry: &RecordEntry, crm_id: &str) -> AliasKey {
    AliasKey {
        hash: hash(&crm_id.to_lowercase()),
        kind: "crm_id".into(),
        destination: entry.destination.clone(),
        object: entry.object.clone(),
    }
}

async fn end_all_open(
    tx: &mut Tx,
    entries: &BTreeMap<RecordId, RecordEntry>,
    all_open: &BTreeMap<RecordId, (CallId, Ending)>,
    results: &mut [ResultRow],
    ledger: &mut Ledger,
    now: Time,
) -> Result<(), Error> {
    if all_open.is_empty() {
        return Ok(());
    }
    for row in tx.open_deliveries(&all_open.keys().copied().collect(), usize::MAX).await? {
        let (Some((call, ending)), Some(entry)) = (all_open.get(&row.record), entries.get(&row.record)) else { continue };
        let (state, outcome) = ledger.end(row.delivery, ending, &entry.object, Some(*call), now);
        if let Some(result) = results.iter_mut().find(|result| result.call == *call) {
            result.endings.push((row.delivery, state, outcome));
        }
    }
    Ok(())
}
