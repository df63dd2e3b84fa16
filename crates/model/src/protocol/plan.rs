//! What a due record needs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::family::look_again;
use super::{Claim, Context, Ending, Open, Outcome, Planned, Push, Repeat, Share, Step, after_end, dead, rest, wait};
use crate::destination::{Adopt, Policy};
use crate::event::{Mode, Warning};
use crate::record::{CRM_KEY, Fields, Lease, Record, Stamp, State};
use crate::{CallId, EventId, Reason, Time};

/// Claims without outcome after which a record is sent alone …
const CRASHES_ALONE: u32 = 3;
/// … and after which its oldest delivery is taken out; those in between count once a minute.
const CRASHES_MAX: u32 = 8;
const CRASH_SPACING: Duration = Duration::from_secs(60);
/// How often an update looks whether its record has appeared.
const APPEAR_INTERVAL: Duration = Duration::from_secs(60);

/// T7 with amendment 3: what a due record needs. `open` are its open deliveries, oldest first, at most [`OPEN_MAX`]; `sent` is the patch of
/// the call that still holds it, if that call's outcome was never heard.
pub fn plan(
    mut record: Record,
    open: &[Open],
    sent: Option<&BTreeMap<String, Value>>,
    holder: &str,
    call: CallId,
    context: &Context<'_>,
) -> Planned {
    let now = context.now;
    let mut body_changed = false;
    let mut endings = Vec::new();
    if record.lease.is_some() {
        if record.intent {
            // Nobody heard how that call ended: it may have been applied, or be under way still.
            record.put_in_doubt(record.revision, sent.unwrap_or(&BTreeMap::new()), now + context.policy.late_window);
            body_changed = true;
        }
        record.release();
        count_crash(&mut record, now);
    }
    let mut open: Vec<&Open> = open.iter().collect();
    let crashes = record.crashes;
    if let Some(first) = open.first().copied().filter(|_| poison(&mut record)) {
        endings.push((first.delivery, dead(Reason::Poison, None, "every claim of its record ended without an outcome".into(), crashes)));
        open.remove(0);
    }
    if record.solo {
        record.solo = open.len() > 1;
        open.truncate(1);
    }
    if record.doubt.is_some_and(|doubt| doubt.revision == record.pushed && record.revision == record.pushed && now >= doubt.verify_after) {
        // Only the content that was confirmed since could have landed late, and it would have changed nothing.
        record.clear_doubt();
        body_changed = true;
    }
    let found_again = context.repeat == Repeat::Keyed || record.crm_id.is_some();
    if !context.reads && found_again && record.doubt.is_some_and(|doubt| now >= doubt.verify_after) {
        // Nobody can look: whatever may have landed late is written over.
        let held = &record.body.fields;
        let unsure: Vec<String> = record.body.late.keys().filter(|field| held.0.contains_key(*field)).cloned().collect();
        record.body.missing.extend(unsure);
        record.clear_doubt();
        body_changed = true;
    }
    let mut planned = Planned { record, body_changed, endings, warnings: Vec::new(), claim: None };
    decide(&mut planned, &open, holder, call, context);
    if let (State::Clean, Some(oldest)) = (planned.record.state, context.blocked) {
        wait(&mut planned.record, State::Blocked, look_again(oldest, now));
    }
    planned
}

fn decide(planned: &mut Planned, open: &[&Open], holder: &str, call: CallId, context: &Context<'_>) {
    let now = context.now;
    let record = &mut planned.record;
    let verify_due = record.doubt.filter(|doubt| now >= doubt.verify_after);
    if verify_due.is_some() && !context.reads && (open.is_empty() || record.attempts >= context.policy.schedule.attempts()) {
        return left_to_a_person(planned, open, now);
    }
    if record.attempts >= context.policy.schedule.attempts()
        && let Some(doubt) = record.doubt
    {
        // Given up, but perhaps it was written: a person must not be told otherwise before that is known.
        return match verify_due {
            Some(_) => lease(planned, Step::Verify, holder, call, context.policy, now),
            None => wait(record, State::Verifying, doubt.verify_after),
        };
    }
    if open.is_empty() && record.body.missing.is_empty() {
        return match record.doubt {
            Some(_) if verify_due.is_some() => lease(planned, Step::Verify, holder, call, context.policy, now),
            Some(doubt) if doubt.revision != record.pushed || record.revision != record.pushed => {
                wait(record, State::Verifying, doubt.verify_after);
            }
            Some(_) | None => rest(record),
        };
    }
    let deleting = open.iter().any(|delivery| delivery.mode == Mode::Delete);
    // What is deleted is named by its id; what cannot be upserted must be known to be there or not.
    let must_read = context.reads && (context.adopt == Adopt::Read || deleting || context.repeat != Repeat::Keyed);
    if !record.adopted && record.doubt.is_none() && must_read {
        return lease(planned, Step::Adopt, holder, call, context.policy, now);
    }
    if record.doubt.is_some() && record.crm_id.is_none() && perhaps_created(planned, open, deleting, holder, call, context) {
        return;
    }
    let record = &mut planned.record;
    let mut folded = fold(record, open, context);
    planned.warnings.append(&mut folded.warnings);
    let exists = record.crm_id.is_some() || record.doubt.is_some();
    if folded.deleted.is_some() && !exists {
        // There is nothing to delete, and what is older shall not come back.
        (record.body.deleted, record.body.fields) = (folded.deleted, folded.fields);
        record.body.missing.clear();
        planned.body_changed = true;
        planned.endings.extend(folded.shares.iter().map(|share| (share.delivery, Ending::Succeeded(share.outcome))));
        return after_end(record, open.len(), now);
    }
    if folded.mode == Mode::UpdateOnly && record.adopted && !exists {
        return await_record(planned, open, context);
    }
    let written = record.pushed == record.revision;
    if folded.changes.is_empty() && folded.deleted.is_none() && (exists || folded.buried) && (written || record.doubt.is_none()) {
        return match record.doubt.filter(|doubt| doubt.revision != record.pushed) {
            // Its deliveries end when it is certain that nothing older can undo them. Reading first: a write of equal values
            // would set off the CRM's automations again.
            Some(_) if verify_due.is_some() => lease(planned, Step::Verify, holder, call, context.policy, now),
            Some(doubt) => wait(record, State::Verifying, doubt.verify_after),
            None => {
                planned.body_changed |= record.body.fields != folded.fields;
                record.body.fields = folded.fields;
                (record.tries, record.attempts) = (0, 0);
                planned.endings.extend(folded.shares.iter().map(|share| (share.delivery, Ending::Succeeded(share.outcome))));
                after_end(record, open.len(), now)
            }
        };
    }
    if record.attempts >= context.policy.schedule.attempts() {
        let message = record.body.last_error.clone().unwrap_or_else(|| "every attempt failed".into());
        let ending = dead(Reason::AttemptsExhausted, None, message, record.attempts);
        planned.endings.extend(open.iter().map(|delivery| (delivery.delivery, ending.clone())));
        (record.tries, record.attempts) = (0, 0);
        return after_end(record, open.len(), now);
    }
    let patch = match folded.deleted {
        Some(_) => BTreeMap::new(),
        None => with_late(record, &folded, now),
    };
    // The same content as the one in doubt keeps its number: if it lands late, it changes nothing.
    let same = record.doubt.is_some()
        && !written
        && record.body.late.len() == patch.len()
        && record.body.late.iter().all(|(field, values)| values.len() == 1 && patch.get(field) == values.first());
    if !same {
        record.revision += 1;
    }
    let shares = shares(record, open, &folded.fields, &patch, folded.deleted.as_ref());
    let push = Push { revision: record.revision, mode: folded.mode, patch, fields: folded.fields, deleted: folded.deleted, shares };
    lease(planned, Step::Push(push), holder, call, context.policy, now);
}

/// A record without an id in the CRM is in doubt: it may have been created, or be created yet. Whether that is what happens next, where the CRM does
/// not find it by its key; else what is due can be written again.
fn perhaps_created(planned: &mut Planned, open: &[&Open], deleting: bool, holder: &str, call: CallId, context: &Context<'_>) -> bool {
    let record = &mut planned.record;
    let Some(doubt) = record.doubt else { return false };
    let repeat = match context.repeat {
        // By its id only, which is not known yet.
        Repeat::Keyed if deleting && context.reads => Repeat::Look,
        // Nobody asks for that content any more: it was refused, or closed.
        Repeat::Same if the_same(record, open, doubt.revision).shares.is_empty() => Repeat::Look,
        repeat @ (Repeat::Keyed | Repeat::Same | Repeat::Look | Repeat::Person) => repeat,
    };
    match repeat {
        Repeat::Keyed => return false,
        Repeat::Look if context.now >= doubt.verify_after && !context.reads => left_to_a_person(planned, open, context.now),
        Repeat::Look if context.now >= doubt.verify_after => lease(planned, Step::Verify, holder, call, context.policy, context.now),
        Repeat::Look => wait(record, State::Verifying, doubt.verify_after),
        Repeat::Person => left_to_a_person(planned, open, context.now),
        Repeat::Same => {
            let push = the_same(record, open, doubt.revision);
            lease(planned, Step::Push(push), holder, call, context.policy, context.now);
        }
    }
    planned.body_changed = true;
    true
}

/// Whether it was created is not known, and nobody can find out by a call.
fn left_to_a_person(planned: &mut Planned, open: &[&Open], now: Time) {
    let record = &mut planned.record;
    let message = "whether it was created is not known, and this CRM cannot be asked";
    let ending = dead(Reason::UnknownOutcome, None, message.into(), record.attempts.max(1));
    planned.endings.extend(open.iter().map(|delivery| (delivery.delivery, ending.clone())));
    record.clear_doubt();
    (record.tries, record.attempts) = (0, 0);
    planned.body_changed = true;
    after_end(record, open.len(), now);
}

/// The write in doubt once more, with nothing else in it: under one idempotency key the CRM takes one content only. What has come meanwhile follows
/// when the record is known.
fn the_same(record: &Record, open: &[&Open], revision: i64) -> Push {
    let late = record.body.late.iter().filter_map(|(field, values)| Some((field.clone(), values.first()?.clone())));
    let patch: BTreeMap<String, Value> = late.collect();
    let said =
        |delivery: &&&Open| delivery.mode != Mode::Delete && delivery.fields.iter().all(|(field, value)| patch.get(field) == Some(value));
    let held = &record.body.fields;
    let mut fields = held.clone();
    for delivery in open.iter().filter(said) {
        delivery.fields.iter().for_each(|(field, value)| fields.offer(field, value, &delivery.stamp));
    }
    let mode = open.iter().filter(said).map(|delivery| delivery.mode).max().unwrap_or(Mode::Upsert);
    let shares = open.iter().filter(said).map(|delivery| share(delivery, held, &fields, &patch)).collect();
    Push { revision, mode, patch, fields, deleted: None, shares }
}

/// What is to be written: what changes, and, where a write may not have happened or nothing older can land after this one, every field in doubt.
fn with_late(record: &Record, folded: &Folded, now: Time) -> BTreeMap<String, Value> {
    let mut patch = folded.changes.clone();
    if record.doubt.is_some_and(|doubt| record.revision != record.pushed || now >= doubt.verify_after) {
        let unsure = record.body.late.keys().filter_map(|field| folded.fields.0.get_key_value(field));
        patch.extend(unsure.map(|(field, held)| (field.clone(), held.value.clone())));
    }
    patch
}

pub(super) fn lease(planned: &mut Planned, step: Step, holder: &str, call: CallId, policy: &Policy, now: Time) {
    let record = &mut planned.record;
    let until = now + policy.lease();
    record.fence += 1;
    record.state = State::Leased;
    record.wake_at = Some(until);
    record.lease = Some(Lease { holder: holder.to_owned(), until, call });
    record.intent = matches!(step, Step::Push(_));
    planned.claim = Some(Claim { fence: record.fence, claimed_at: now, step });
}

/// Amendment 17: an update waits for its record to appear, then says that it did not.
fn await_record(planned: &mut Planned, open: &[&Open], context: &Context<'_>) {
    let record = &mut planned.record;
    let (over, waiting): (Vec<&&Open>, Vec<&&Open>) =
        open.iter().partition(|delivery| context.now.since(delivery.received_at) >= context.policy.update_only_wait);
    let message = "no CRM record has this key, and the route may only update";
    planned
        .endings
        .extend(over.iter().map(|delivery| (delivery.delivery, dead(Reason::RecordNotFound, None, message.into(), record.attempts))));
    let last = waiting.iter().map(|delivery| delivery.received_at + context.policy.update_only_wait).min();
    // Whether it is there now must be looked up again.
    record.adopted = false;
    match last {
        Some(last) => wait(record, State::Waiting, last.min(context.now + APPEAR_INTERVAL)),
        None => rest(record),
    }
}

/// H18: a claim ended without any outcome. Random kills do not reach the end of this count; a delivery that kills its worker does.
pub(super) fn count_crash(record: &mut Record, now: Time) {
    let alone = record.crashes >= CRASHES_ALONE;
    if !alone || record.crashed_at.is_none_or(|last| now.since(last) >= CRASH_SPACING) {
        record.crashes += 1;
        record.crashed_at = Some(now);
    }
    if record.crashes >= CRASHES_ALONE {
        record.group_max = 1;
        // Singly, oldest first, to find the one.
        record.solo |= record.crashes > CRASHES_ALONE;
    }
}

/// T15: whether the oldest delivery is to be taken out. The count then goes on from where its record is looked at alone.
pub(super) fn poison(record: &mut Record) -> bool {
    let poisoned = record.crashes >= CRASHES_MAX;
    if poisoned {
        record.crashes = CRASHES_ALONE;
    }
    poisoned
}

struct Folded {
    mode: Mode,
    /// Whose word it is that the record is to be deleted, if it is.
    deleted: Option<Stamp>,
    /// It was deleted, and nothing that is open is newer than that.
    buried: bool,
    /// Fields that differ from what the CRM holds, or that it was seen not to hold.
    changes: BTreeMap<String, Value>,
    fields: Fields,
    shares: Vec<Share>,
    warnings: Vec<(EventId, Warning)>,
}

/// Merges open deliveries over what the CRM holds. Per field the larger stamp wins; an identifier that is set changes only by enough trust.
fn fold(record: &Record, open: &[&Open], context: &Context<'_>) -> Folded {
    let held = &record.body.fields;
    let mut fields = held.clone();
    let mut warnings = Vec::new();
    let tombstone = tombstone(record, open);
    let buried = |stamp: &Stamp| tombstone.as_ref().is_some_and(|tombstone| stamp <= tombstone);
    let living = || open.iter().filter(|delivery| delivery.mode != Mode::Delete && !buried(&delivery.stamp));
    // Without a delivery it is a repair.
    let mode = living().map(|delivery| delivery.mode).max().unwrap_or(Mode::Upsert);
    if tombstone != record.body.deleted {
        // What was written before the deletion ends with it.
        fields.0.retain(|_, held| !buried(&held.stamp) && held.stamp.key != CRM_KEY);
    }
    let deleted = tombstone.clone().filter(|_| tombstone != record.body.deleted && fields.0.is_empty() && living().next().is_none());
    let mode = if deleted.is_some() { Mode::Delete } else { mode };
    for delivery in living() {
        if delivery.mode == Mode::CreateOnly && record.crm_id.is_some() {
            continue;
        }
        for (field, value) in &delivery.fields {
            let set = fields.0.get(field).filter(|set| !set.value.is_null());
            let changes_identifier =
                context.identifier_fields.contains(field.as_str()) && set.is_some_and(|set| !same_identifier(&set.value, value));
            if changes_identifier && delivery.stamp.trust < context.policy.identifier_trust {
                let message = format!(
                    "{field} is set to another value; a source with trust {} or more may change it",
                    context.policy.identifier_trust
                );
                warnings.push((delivery.event, Warning { kind: "identity_conflict".into(), message }));
                continue;
            }
            let merge = context.merges.get(field).copied().unwrap_or_default();
            fields.meet(field, value, &delivery.stamp, merge, record.crm_id.is_none());
        }
    }
    let changed = |field: &str, value: &Value| held.0.get(field).map_or(!value.is_null(), |before| before.value != *value);
    // Whether the record exists decides between the calls; what only creates leaves alone what is there.
    let leave = mode == Mode::CreateOnly && record.crm_id.is_some();
    let changes = fields
        .0
        .iter()
        .filter(|(field, held)| !leave && (record.body.missing.contains(*field) || changed(field, &held.value)))
        .map(|(field, held)| (field.clone(), held.value.clone()))
        .collect::<BTreeMap<_, _>>();
    let shares = shares(record, open, &fields, &changes, deleted.as_ref());
    let buried = tombstone.is_some() && living().next().is_none();
    Folded { mode, deleted, buried, changes, fields, shares, warnings }
}

/// The latest word that the record is deleted. A deletion that something newer outlived is none.
fn tombstone(record: &Record, open: &[&Open]) -> Option<Stamp> {
    let held = &record.body.deleted;
    let (deletions, others): (Vec<&&Open>, Vec<&&Open>) = open.iter().partition(|delivery| delivery.mode == Mode::Delete);
    let latest = deletions.iter().map(|delivery| &delivery.stamp).max().filter(|latest| held.as_ref().is_none_or(|held| held < latest));
    let Some(latest) = latest else { return held.clone() };
    let ours = record.body.fields.0.values().map(|held| &held.stamp).filter(|stamp| stamp.key != CRM_KEY);
    let outlived = ours.chain(others.iter().map(|delivery| &delivery.stamp)).any(|stamp| stamp > latest);
    if outlived { held.clone() } else { Some(latest.clone()) }
}

/// What each open delivery gets if the patch, or the deletion, succeeds.
fn shares(record: &Record, open: &[&Open], after: &Fields, patch: &BTreeMap<String, Value>, deleted: Option<&Stamp>) -> Vec<Share> {
    let one = |delivery: &&Open| match delivery.mode {
        Mode::Delete => share_of_deletion(record, delivery, deleted),
        Mode::Upsert | Mode::UpdateOnly | Mode::CreateOnly => share(delivery, &record.body.fields, after, patch),
    };
    open.iter().map(one).collect()
}

fn share_of_deletion(record: &Record, delivery: &Open, deleted: Option<&Stamp>) -> Share {
    let outcome = match deleted {
        Some(stamp) if *stamp == delivery.stamp && record.crm_id.is_some() => Outcome::Applied,
        Some(stamp) if *stamp == delivery.stamp => Outcome::Unchanged,
        Some(_) | None if record.body.deleted.as_ref() == Some(&delivery.stamp) => Outcome::Applied,
        Some(_) | None => Outcome::Superseded,
    };
    Share { delivery: delivery.delivery, outcome, fields: BTreeSet::new() }
}

/// Two spellings of one identifier are no change of it.
fn same_identifier(a: &Value, b: &Value) -> bool {
    match (a.as_str(), b.as_str()) {
        (Some(a), Some(b)) => a.trim().to_lowercase() == b.trim().to_lowercase(),
        (Some(_) | None, Some(_) | None) => a == b,
    }
}

fn share(delivery: &Open, before: &Fields, after: &Fields, patch: &BTreeMap<String, Value>) -> Share {
    let wins = |fields: &Fields, field: &str| fields.0.get(field).is_some_and(|held| held.stamp == delivery.stamp);
    let won: Vec<&String> = delivery.fields.keys().filter(|field| wins(after, field)).collect();
    let fields: BTreeSet<String> = won.iter().filter(|field| patch.contains_key(**field)).map(|field| (*field).clone()).collect();
    // A value of its own that was held before this fold was written by an earlier push whose outcome came late.
    let written_before = won.iter().any(|field| wins(before, field));
    let outcome = if !fields.is_empty() || written_before {
        Outcome::Applied
    } else if won.is_empty() && !delivery.fields.is_empty() && delivery.mode != Mode::CreateOnly {
        Outcome::Superseded
    } else {
        Outcome::Unchanged
    };
    Share { delivery: delivery.delivery, outcome, fields }
}
