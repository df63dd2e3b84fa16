//! Amendment 15: what a due record of a source needs. It stands for an object that the vendor has, and that is read; nothing is written.

use std::collections::BTreeMap;

use serde_json::Value;

use super::plan::{count_crash, lease, poison};
use super::{Ending, Found, Planned, Settled, Step, after_end, dead, rest};
use crate::destination::Policy;
use crate::record::Record;
use crate::{CallId, DeliveryId, Failure, Reason, Time};

/// An open delivery whose event waits for an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// Which one.
    pub delivery: DeliveryId,
    /// What the vendor's client must know besides the object's id.
    pub with: BTreeMap<String, String>,
}

/// One look at one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The deliveries that were there when it was claimed. One that came later may tell of a later change, and needs a look of its own.
    pub deliveries: Vec<DeliveryId>,
    /// What the vendor's client must know besides the object's id.
    pub with: BTreeMap<String, String>,
}

/// T7 for a fetch. `waiting` are the record's open deliveries, oldest first, at most [`super::OPEN_MAX`]. A look leaves nothing behind at the vendor: what
/// was never heard of is simply looked at again.
pub fn plan_fetch(mut record: Record, waiting: &[Waiting], holder: &str, call: CallId, policy: &Policy, now: Time) -> Planned {
    if record.lease.is_some() {
        record.release();
        count_crash(&mut record, now);
    }
    let mut waiting: Vec<&Waiting> = waiting.iter().collect();
    let mut endings = Vec::new();
    let crashes = record.crashes;
    if let Some(first) = waiting.first().copied().filter(|_| poison(&mut record)) {
        let message = "every claim of its object ended without an outcome".to_owned();
        endings.push((first.delivery, dead(Reason::Poison, None, message, crashes)));
        waiting.remove(0);
    }
    if record.solo {
        record.solo = waiting.len() > 1;
        waiting.truncate(1);
    }
    let mut planned = Planned { record, body_changed: false, endings, warnings: Vec::new(), claim: None };
    let Some(with) = waiting.first().map(|first| first.with.clone()) else {
        rest(&mut planned.record);
        return planned;
    };
    if planned.record.attempts >= policy.schedule.attempts() {
        let message = planned.record.body.last_error.clone().unwrap_or_else(|| "every attempt failed".into());
        let ending = dead(Reason::AttemptsExhausted, None, message, planned.record.attempts);
        planned.endings.extend(waiting.iter().map(|waiting| (waiting.delivery, ending.clone())));
        (planned.record.tries, planned.record.attempts) = (0, 0);
        after_end(&mut planned.record, waiting.len(), now);
        return planned;
    }
    let deliveries = waiting.iter().filter(|waiting| waiting.with == with).map(|waiting| waiting.delivery).collect();
    lease(&mut planned, Step::Fetch(Look { deliveries, with }), holder, call, policy, now);
    planned
}

/// The object is here. What its deliveries come to is for whoever reads it to say.
pub(super) fn fetched(settled: &mut Settled, look: &Look, object: &Value, now: Time) {
    let record = &mut settled.record;
    (record.tries, record.attempts, record.conflicts) = (0, 0, 0);
    record.group_max = 0;
    settled.fetched = Some((look.deliveries.clone(), object.clone()));
    after_end(record, look.deliveries.len(), now);
}

/// How a look's deliveries end where it has failed for good.
pub(super) fn ended(look: &Look, ending: &Ending) -> Vec<(DeliveryId, Ending)> {
    look.deliveries.iter().map(|delivery| (*delivery, ending.clone())).collect()
}

/// What it means that the vendor does not have the object.
pub fn gone(object: &str) -> Result<Found, Failure> {
    let message = format!("the vendor has no {object} of this id, or has it no more");
    let mut failure = Failure::new(crate::Class::Permanent, crate::Scope::Record, "gone", message);
    failure.reason = Some(Reason::RecordNotFound);
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::State;
    use crate::{Class, EventId, Scope};

    fn waiting(ordinal: i64, with: &str) -> Waiting {
        Waiting { delivery: EventId(64).delivery(ordinal), with: BTreeMap::from([("tenant".to_owned(), with.to_owned())]) }
    }

    fn plan(record: Record, waiting: &[Waiting], at: i64) -> Planned {
        plan_fetch(record, waiting, "worker", CallId(1), &Policy::default(), Time::from_seconds(at))
    }

    #[test]
    fn a_look_is_for_whoever_wants_to_know_the_same_and_intends_no_write() {
        let planned = plan(Record::new(Time(0)), &[waiting(1, "a"), waiting(2, "b"), waiting(3, "a")], 10);
        let Some(Step::Fetch(look)) = planned.claim.map(|claim| claim.step) else { panic!("no look") };
        assert_eq!(look.deliveries, [1, 3].map(|ordinal| EventId(64).delivery(ordinal)));
        assert_eq!((planned.record.state, planned.record.intent, planned.record.fence), (State::Leased, false, 1));
    }

    #[test]
    fn an_object_for_which_nobody_waits_rests() {
        let planned = plan(Record::new(Time(0)), &[], 10);
        assert_eq!((planned.record.state, planned.record.wake_at, planned.claim), (State::Clean, None, None));
    }

    #[test]
    fn a_fetch_that_kills_its_worker_is_taken_out_and_leaves_no_doubt() {
        let all = [waiting(1, "a"), waiting(2, "a")];
        let mut record = Record::new(Time(0));
        for claim in 0..20 {
            let planned = plan(record, &all, claim * 1_000);
            assert_eq!(planned.record.doubt, None);
            if let Some((poisoned, Ending::Dead { reason, .. })) = planned.endings.first() {
                assert_eq!((*poisoned, *reason), (all[0].delivery, Reason::Poison));
                return;
            }
            record = planned.record;
        }
        panic!("it kills for ever");
    }

    #[test]
    fn an_object_that_is_gone_is_no_failure_of_its_vendor() {
        let Err(failure) = gone("lead") else { panic!("it is there") };
        assert_eq!((failure.class, failure.scope, failure.reason), (Class::Permanent, Scope::Record, Some(Reason::RecordNotFound)));
    }
}
