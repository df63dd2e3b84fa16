//! Reconciling (T19): what follows when a record at rest is looked at and the CRM holds something else than we believe.
//!
//! A look changes nothing there. What is put right is marked as missing and made due, so that it goes the way of every other write; what somebody else put
//! there is believed from then on, as the CRM's own word.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::settle::remember;
use super::{Found, Present, believe};
use crate::destination::Policy;
use crate::record::{CRM_KEY, Record, State};
use crate::{CallId, Failure, IdGenerator, Reason, Time};

/// How far the CRM's clock may be from ours before a moment there stands on the wrong side of a write of ours.
pub const SKEW: Duration = Duration::from_secs(300);
/// So many writes of one value that did not stay make what the CRM holds instead its own form of it.
const WRITES_MAX: usize = 2;
/// The shortest span between two scheduled runs of an object.
pub const EVERY_MIN: Duration = Duration::from_secs(5 * 60);

words! {
    /// What is done about a difference.
    Repair {
        /// It is told, and nothing else.
        Off = "off",
        /// What went wrong with a write of ours is put right; what somebody else put there is believed.
        Ours = "ours",
        /// The CRM is made to hold what we believe, whoever changed it; what is missing is created again.
        All = "all",
    }
}

impl Repair {
    /// The number in the ledger.
    pub const fn number(self) -> i64 {
        self as i64
    }

    /// Reads the word back.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.as_str() == word)
    }
}

words! {
    /// Why a field differs.
    Cause {
        /// A value that we sent earlier, or a write of ours that never took effect: late or lost.
        Ours = "ours",
        /// Anything else: a person or another program.
        Edited = "edited",
    }
}

words! {
    /// What a look at one record came to.
    Verdict {
        /// The CRM holds what we believe.
        Equal = "equal",
        /// The CRM does not have it.
        Missing = "missing",
        /// A field differs by our own doing.
        Ours = "ours",
        /// A field differs by somebody else's.
        Edited = "edited",
        /// The CRM has several under its key.
        Duplicated = "duplicated",
        /// It is being worked on, and was not compared.
        Busy = "busy",
        /// The CRM refused to show it.
        Unread = "unread",
    }
}

impl Verdict {
    /// Whether somebody should know of it.
    pub const fn differs(self) -> bool {
        match self {
            Self::Missing | Self::Ours | Self::Edited | Self::Duplicated | Self::Unread => true,
            Self::Equal | Self::Busy => false,
        }
    }
}

/// Whether a scheduled run is due; `last` is when the last one was begun.
pub fn due(every: Duration, last: Time, now: Time) -> bool {
    // A clock that stepped back: when the last one was is not known any more.
    last > now || now.since(last) >= every.max(EVERY_MIN)
}

/// The values of a field that calls of ours carried, in their order.
pub type Sent = BTreeMap<String, Vec<(CallId, Value)>>;

/// What a comparison needs to know besides the record and what was found.
#[derive(Clone, Copy)]
pub struct Reconciling<'a> {
    /// The destination's configuration.
    pub policy: &'a Policy,
    /// What is to be done about differences.
    pub repair: Repair,
    /// Whether some route creates records of this object.
    pub creates: bool,
    /// Now, by the ledger's clock.
    pub now: Time,
    /// The call that looked.
    pub call: CallId,
    /// The record's fence when the look was begun.
    pub fence: i64,
    /// It has open deliveries.
    pub open: bool,
    /// Whether the CRM considers two values of a field equal.
    pub equal: &'a (dyn Fn(&str, &Value, &Value) -> bool + Send + Sync),
}

/// What follows from a look.
#[derive(Clone, Debug, PartialEq)]
pub struct Reconciled {
    /// The record as it is to be stored.
    pub record: Record,
    /// It is to be stored at all.
    pub changed: bool,
    /// What was seen.
    pub verdict: Verdict,
    /// The fields that differ.
    pub fields: BTreeMap<String, Cause>,
    /// Something is put right: written again, or believed.
    pub repaired: bool,
    /// A person has to look at it first.
    pub hold: bool,
}

/// Whether a comparison will need what was sent before: only then are the calls looked up.
pub fn differs(record: &Record, found: &Result<Found, Failure>, equal: &(dyn Fn(&str, &Value, &Value) -> bool + Send + Sync)) -> bool {
    let Ok(Found::Held(Some(present))) = found else { return false };
    present.fields.iter().any(|(field, value)| !equal(field, believed(record, field), value))
}

/// T19: what follows from a look at a record that was at rest when the look was begun.
pub fn reconcile(record: Record, found: &Result<Found, Failure>, sent: &Sent, reconciling: &Reconciling<'_>) -> Reconciled {
    let busy = record.state != State::Clean || record.fence != reconciling.fence || reconciling.open;
    let mut done = Reconciled { record, changed: false, verdict: Verdict::Busy, fields: BTreeMap::new(), repaired: false, hold: false };
    if busy {
        return done;
    }
    match found {
        Ok(Found::Held(Some(present))) => held(&mut done, present, sent, reconciling),
        Ok(Found::Held(None)) => missing(&mut done, reconciling),
        Err(failure) if failure.reason == Some(Reason::AmbiguousMatch) => {
            done.verdict = Verdict::Duplicated;
            if reconciling.repair != Repair::Off {
                // Nothing is written to one of several before a look shows that there is one only.
                done.record.adopted = false;
                (done.changed, done.hold) = (true, true);
            }
        }
        Ok(Found::Wrote(_) | Found::Fetched(_) | Found::NotSent) | Err(_) => done.verdict = Verdict::Unread,
    }
    if done.verdict.differs() && done.changed {
        remember(&mut done.record, reconciling.call);
    }
    done
}

/// A record that we never saw there is not missing there: every write of it was refused. Nor is one of which we believe nothing any more: it was deleted.
fn was_there(record: &Record) -> bool {
    (record.crm_id.is_some() || record.pushed > 0) && record.body.fields.0.values().any(|held| !held.value.is_null())
}

fn missing(done: &mut Reconciled, reconciling: &Reconciling<'_>) {
    let record = &mut done.record;
    if !was_there(record) {
        done.verdict = Verdict::Equal;
        return;
    }
    done.verdict = Verdict::Missing;
    if reconciling.repair == Repair::Off {
        return;
    }
    // Whatever is written next writes all of it, or a part of a record would come back.
    let held = record.body.fields.0.iter().filter(|(_, held)| !held.value.is_null());
    record.body.missing = held.map(|(field, _)| field.clone()).collect();
    (record.crm_id, record.adopted, done.changed) = (None, false, true);
    if reconciling.repair == Repair::All && reconciling.creates {
        record.due(reconciling.now);
        done.repaired = true;
    }
}

fn held(done: &mut Reconciled, present: &Present, sent: &Sent, reconciling: &Reconciling<'_>) {
    done.verdict = Verdict::Equal;
    if !was_there(&done.record) {
        return;
    }
    let before = done.record.clone();
    let mut again = false;
    for (field, value) in &present.fields {
        let judged = judge(&before, field, value, present.modified_at, sent.get(field).map_or(&[], Vec::as_slice), reconciling.equal);
        let push = match judged {
            Judged::Equal => {
                done.record.body.missing.remove(field);
                continue;
            }
            Judged::Theirs => false,
            Judged::Differs { cause, stays } => {
                done.fields.insert(field.clone(), cause);
                !stays && (cause == Cause::Ours || reconciling.repair == Repair::All)
            }
        };
        if push {
            done.record.body.missing.insert(field.clone());
            again = true;
        } else {
            believe(&mut done.record, field, value, present.modified_at, reconciling.policy);
        }
    }
    done.verdict = match done.fields.values().any(|cause| *cause == Cause::Ours) {
        true => Verdict::Ours,
        false if done.fields.is_empty() => Verdict::Equal,
        false => Verdict::Edited,
    };
    if reconciling.repair == Repair::Off {
        done.record = before;
        return;
    }
    done.record.crm_id = Some(present.crm_id.clone());
    done.record.adopted = true;
    if again {
        done.record.due(reconciling.now);
    }
    done.changed = done.record != before;
    done.repaired = !done.fields.is_empty();
}

enum Judged {
    Equal,
    /// The CRM's own value has changed, or one of which we never had a word.
    Theirs,
    Differs {
        cause: Cause,
        /// It was written often enough: what is there is what the CRM makes of it.
        stays: bool,
    },
}

fn believed<'r>(record: &'r Record, field: &str) -> &'r Value {
    record.body.fields.0.get(field).map_or(&Value::Null, |held| &held.value)
}

/// Whose doing it is that the CRM holds `value`. `sent` are the values of this field that calls of ours carried.
fn judge(
    record: &Record,
    field: &str,
    value: &Value,
    modified_at: Option<Time>,
    sent: &[(CallId, Value)],
    equal: &(dyn Fn(&str, &Value, &Value) -> bool + Send + Sync),
) -> Judged {
    let ours = believed(record, field);
    if equal(field, ours, value) {
        return Judged::Equal;
    }
    let in_doubt = record.body.late.get(field).is_some_and(|late| late.iter().any(|late| equal(field, late, value)));
    let word = record.body.fields.0.get(field).map(|held| held.stamp.key.as_str());
    if !in_doubt && word.is_none_or(|key| key == CRM_KEY || key.is_empty()) {
        return Judged::Theirs;
    }
    let last = sent.iter().map(|(call, _)| IdGenerator::made_at(call.0)).max();
    let was_sent = in_doubt || sent.iter().any(|(_, earlier)| equal(field, earlier, value));
    // Whoever changed it last did so before we wrote it: that write never took effect.
    let lost = last.zip(modified_at).is_some_and(|(last, modified_at)| modified_at + SKEW < last);
    let untouched = modified_at.is_none_or(|modified_at| last.is_some_and(|last| modified_at <= last + SKEW));
    let writes = sent.iter().filter(|(_, earlier)| equal(field, earlier, ours)).count();
    let stays = untouched && writes >= WRITES_MAX;
    let cause = if (was_sent || lost) && !stays { Cause::Ours } else { Cause::Edited };
    Judged::Differs { cause, stays }
}

#[cfg(test)]
mod tests;
