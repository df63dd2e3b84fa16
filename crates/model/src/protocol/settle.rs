//! What follows from a call's result.

use serde_json::Value;

use super::{
    Claim, Ending, Found, Outcome, Present, Push, Settled, Settling, Share, Step, Written, after_end, believe, dead, fetch, rest, wait,
};
use crate::destination::OnAuthFailure;
use crate::event::Mode;
use crate::failure::DeadState;
use crate::record::{CALLS_REMEMBERED, Held, Record, Stamp, State};
use crate::{CallId, Class, DeliveryId, Failure, Reason, Scope, Time};

/// Conflicts in a row after which a person looks.
const CONFLICTS_MAX: u32 = 5;

/// T9–T14: what follows from a record's share of a call's result.
pub fn settle(record: Record, claim: &Claim, result: &Result<Found, Failure>, settling: &Settling<'_>) -> Settled {
    let mut settled = Settled { record, body_changed: false, endings: Vec::new(), all_open: None, fetched: None, late: false };
    if settled.record.fence != claim.fence || settled.record.lease.is_none() {
        settle_late(&mut settled, claim, result, settling);
        return settled;
    }
    let record = &mut settled.record;
    record.release();
    remember(record, settling.call);
    settled.body_changed = true;
    record.due(settling.now);
    if !matches!(result, Ok(Found::NotSent)) {
        // H18: whatever came back, it did not kill its worker.
        (record.crashes, record.crashed_at) = (0, None);
    }
    match result {
        Ok(Found::NotSent) => {}
        Ok(found) => {
            record.last_attempt_at = Some(claim.claimed_at);
            record.body.last_error = None;
            match (&claim.step, found) {
                (Step::Push(push), Found::Wrote(written)) => wrote(&mut settled, claim, push, written, settling),
                (Step::Adopt, Found::Held(present)) => {
                    compare(record, present.as_ref(), settling);
                }
                (Step::Verify, Found::Held(present)) => {
                    compare(record, present.as_ref(), settling);
                    record.clear_doubt();
                    // What was claimed and what was pushed are one again: what differs is in `missing`, or is folded again.
                    record.pushed = record.revision;
                }
                (Step::Fetch(look), Found::Fetched(object)) => fetch::fetched(&mut settled, look, object, settling.now),
                (
                    Step::Push(_) | Step::Adopt | Step::Verify | Step::Fetch(_),
                    Found::Wrote(_) | Found::Held(_) | Found::Fetched(_) | Found::NotSent,
                ) => {}
            }
        }
        Err(failure) => failed(&mut settled, claim, failure, settling),
    }
    settled
}

/// T9': the fence moved on. If it may have been applied, the record is in doubt.
fn settle_late(settled: &mut Settled, claim: &Claim, result: &Result<Found, Failure>, settling: &Settling<'_>) {
    settled.late = true;
    // Whoever brings a result has not been killed by what it carried.
    (settled.record.crashes, settled.record.crashed_at) = (0, None);
    let Step::Push(push) = &claim.step else { return };
    let applied = match result {
        Ok(Found::Wrote(_)) => true,
        Ok(Found::Held(_) | Found::Fetched(_) | Found::NotSent) => false,
        Err(failure) => failure.class == Class::Unknown,
    };
    if applied {
        let record = &mut settled.record;
        // The takeover put it in doubt already; this can only tell that the window begins later.
        record.put_in_doubt(push.revision, &push.patch, settling.now + settling.policy.late_window);
        if record.state == State::Clean {
            wait(record, State::Verifying, settling.now + settling.policy.late_window);
        } else if record.state == State::Verifying {
            record.wake_at = record.doubt.map(|doubt| doubt.verify_after);
        }
        settled.body_changed = true;
    }
}

pub(super) fn remember(record: &mut Record, call: CallId) {
    record.body.calls.push(call);
    let excess = record.body.calls.len().saturating_sub(CALLS_REMEMBERED);
    record.body.calls.drain(..excess);
}

/// T9.
fn wrote(settled: &mut Settled, claim: &Claim, push: &Push, written: &Written, settling: &Settling<'_>) {
    let record = &mut settled.record;
    record.pushed = record.pushed.max(push.revision);
    if push.mode == Mode::CreateOnly && written.created == Some(false) {
        return was_there(settled, push, written);
    }
    if let Some(stamp) = &push.deleted {
        record.body.deleted = Some(stamp.clone());
        record.crm_id = None;
        record.body.missing.clear();
    }
    record.body.fields = push.fields.clone();
    record.body.missing.retain(|field| !push.patch.contains_key(field));
    // Whoever writes it again looks first: a person may have made it anew.
    record.adopted = push.deleted.is_none();
    (record.tries, record.attempts, record.conflicts) = (0, 0, 0);
    if written.crm_id.is_some() {
        record.crm_id.clone_from(&written.crm_id);
    }
    let grown = record.group_max.saturating_mul(2);
    record.group_max = if grown as usize >= settling.group_limit { 0 } else { grown };
    match record.doubt {
        // E3: nothing older can land any more, and this one carried every field that was in doubt.
        Some(doubt) if claim.claimed_at >= doubt.verify_after && record.body.late.keys().all(|field| push.patch.contains_key(field)) => {
            record.clear_doubt();
        }
        // A different content may land after this one: the deliveries stay open until that is settled.
        Some(doubt) if doubt.revision != push.revision => return wait(record, State::Verifying, doubt.verify_after),
        Some(_) | None => {}
    }
    settled.endings.extend(push.shares.iter().map(|share| (share.delivery, Ending::Succeeded(share.outcome))));
    rest(&mut settled.record);
}

/// A record that was only to be created is there: by our own write, if that is in doubt, else by somebody else's. It is left alone, and read before
/// it is written again.
fn was_there(settled: &mut Settled, push: &Push, written: &Written) {
    let record = &mut settled.record;
    let outcome = if record.doubt.is_some() { Outcome::Applied } else { Outcome::Unchanged };
    record.crm_id.clone_from(&written.crm_id);
    record.clear_doubt();
    record.adopted = false;
    (record.tries, record.attempts, record.conflicts) = (0, 0, 0);
    settled.endings.extend(push.shares.iter().map(|share| (share.delivery, Ending::Succeeded(outcome))));
    rest(record);
}

/// What a read found against what we believe. Before the first write it is adoption: what was there counts, as the CRM's own word. Later
/// (T14 with amendment 13), what we may have sent late is repaired, and anything else is a person's edit, which is adopted too.
fn compare(record: &mut Record, present: Option<&Present>, settling: &Settling<'_>) {
    record.adopted = true;
    record.crm_id = present.map(|present| present.crm_id.clone());
    let Some(present) = present else {
        let held = record.body.fields.0.iter().filter(|(_, held)| !held.value.is_null());
        record.body.missing = held.map(|(field, _)| field.clone()).collect();
        return;
    };
    for (field, value) in &present.fields {
        let ours = record.body.fields.0.get(field);
        if (settling.equal)(field, ours.map_or(&Value::Null, |held| &held.value), value) {
            record.body.missing.remove(field);
        } else if record.body.late.get(field).is_some_and(|sent| sent.iter().any(|sent| (settling.equal)(field, sent, value))) {
            // A value of ours that came late is nobody's edit: it must not outweigh the events that are still to be written.
            if ours.is_some() {
                record.body.missing.insert(field.clone());
            } else {
                // It is there all the same: whoever says it once more has nothing to write.
                let stamp = Stamp { trust: 0, occurred_at: Time(i64::MIN), key: String::new() };
                record.body.fields.0.insert(field.clone(), Held { value: value.clone(), stamp });
            }
        } else {
            believe(record, field, value, present.modified_at, settling.policy);
        }
    }
}

fn failed(settled: &mut Settled, claim: &Claim, failure: &Failure, settling: &Settling<'_>) {
    let record = &mut settled.record;
    let (now, policy) = (settling.now, settling.policy);
    record.body.last_error = Some(format!("{}: {}", failure.code, failure.message));
    let whole = failure.scope == Scope::Call && settling.group > 1;
    match failure.class {
        // Costs no attempt: the destination waits, not the record.
        Class::Throttled => {}
        Class::Auth => {
            if policy.on_auth_failure == OnAuthFailure::DeadLetter {
                end_all(settled, claim, Reason::Auth, failure, now);
            }
        }
        Class::Permanent | Class::Conflict if failure.scope == Scope::Destination => {}
        // Somebody in this call is to blame: halves are claimed anew, and the innocent lose nothing.
        Class::Permanent | Class::Conflict if whole => record.group_max = half(settling.group),
        Class::Permanent => refused(settled, claim, failure, now),
        Class::Conflict => conflict(settled, claim, failure, settling),
        Class::Retryable => try_again(settled, claim, failure, settling),
        Class::Unknown => {
            if let Step::Push(push) = &claim.step {
                record.put_in_doubt(push.revision, &push.patch, now + policy.late_window);
            }
            if settling.group > 1 && matches!(failure.code.as_str(), "timeout" | "oversized") {
                record.group_max = half(settling.group);
            }
            try_again(settled, claim, failure, settling);
        }
    }
}

fn half(group: usize) -> u32 {
    u32::try_from(group / 2).unwrap_or(u32::MAX).max(1)
}

/// T10, T12: waits by the schedule, and ends with it.
fn try_again(settled: &mut Settled, claim: &Claim, failure: &Failure, settling: &Settling<'_>) {
    let record = &mut settled.record;
    let policy = settling.policy;
    // Amendment 9: an outage of the whole destination uses up nobody's attempts.
    let elsewhere = settling.last_success_at.is_some_and(|success| record.last_attempt_at.is_none_or(|last| success >= last));
    record.last_attempt_at = Some(claim.claimed_at);
    record.tries = record.tries.saturating_add(1);
    if elsewhere || record.attempts == 0 {
        record.attempts = record.attempts.saturating_add(1);
    }
    if record.attempts >= policy.schedule.attempts() {
        return match record.doubt {
            Some(doubt) => wait(record, State::Verifying, doubt.verify_after.max(settling.now)),
            None => end_all(settled, claim, Reason::AttemptsExhausted, failure, settling.now),
        };
    }
    let hint = failure.retry_after.unwrap_or_default();
    let wait_for = policy.schedule.wait_before(record.tries + 1, settling.chance).max(hint);
    wait(record, State::Waiting, settling.now + wait_for);
}

/// A different action first: look again, then write; five times, then a person.
fn conflict(settled: &mut Settled, claim: &Claim, failure: &Failure, settling: &Settling<'_>) {
    let record = &mut settled.record;
    record.last_attempt_at = Some(claim.claimed_at);
    record.conflicts += 1;
    if failure.reason == Some(Reason::AmbiguousMatch) || record.conflicts >= CONFLICTS_MAX {
        (record.conflicts, record.adopted) = (0, false);
        let reason = failure.reason.filter(|reason| reason.state() == DeadState::Quarantined);
        return end_all(settled, claim, reason.unwrap_or(Reason::IdentityConflict), failure, settling.now);
    }
    record.adopted = false;
    let wait_for = settling.policy.schedule.wait_before(record.conflicts + 2, settling.chance).max(failure.retry_after.unwrap_or_default());
    wait(record, State::Waiting, settling.now + wait_for);
}

/// T11: the record's patch was refused. Those whose fields were named fail; if that names nobody, they are tried one by one.
fn refused(settled: &mut Settled, claim: &Claim, failure: &Failure, now: Time) {
    let record = &mut settled.record;
    record.last_attempt_at = Some(claim.claimed_at);
    let reason = failure.reason.unwrap_or(Reason::RejectedByCrm);
    let push = match &claim.step {
        Step::Push(push) => push,
        Step::Adopt | Step::Verify | Step::Fetch(_) => return end_all(settled, claim, reason, failure, now),
    };
    if reason == Reason::RecordNotFound {
        // Update-only, and it is not there (any more): the next claim waits for it.
        (record.crm_id, record.adopted) = (None, push.mode == Mode::UpdateOnly);
        return;
    }
    if push.shares.is_empty() {
        // A repair that nobody asked for: what the CRM holds now is what it wants to hold.
        record.body.missing.clear();
        return;
    }
    let names = |share: &&Share| failure.fields.iter().any(|field| share.fields.contains(field));
    let mut guilty: Vec<DeliveryId> = push.shares.iter().filter(names).map(|share| share.delivery).collect();
    if guilty.is_empty() && push.shares.len() == 1 {
        guilty.extend(push.shares.first().map(|share| share.delivery));
    }
    record.solo = guilty.is_empty();
    let attempts = record.attempts + 1;
    let ending = dead(reason, Some(failure.class), format!("{}: {}", failure.code, failure.message), attempts);
    settled.endings.extend(guilty.into_iter().map(|delivery| (delivery, ending.clone())));
    settled.record.due(now);
}

fn end_all(settled: &mut Settled, claim: &Claim, reason: Reason, failure: &Failure, settled_at: Time) {
    let record = &mut settled.record;
    let attempts = record.attempts.max(1);
    let ending = dead(reason, Some(failure.class), format!("{}: {}", failure.code, failure.message), attempts);
    (record.tries, record.attempts) = (0, 0);
    match &claim.step {
        Step::Push(push) => settled.endings.extend(push.shares.iter().map(|share| (share.delivery, ending.clone()))),
        Step::Fetch(look) => settled.endings.extend(fetch::ended(look, &ending)),
        Step::Adopt | Step::Verify => settled.all_open = Some(ending),
    }
    after_end(&mut settled.record, 0, settled_at);
}
