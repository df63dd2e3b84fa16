//! Parents first (amendment 16): what an open delivery waits for before it can be written.

use std::time::Duration;

use super::{Ending, Open, dead};
use crate::event::Warning;
use crate::record::Link;
use crate::{DeliveryId, EventId, Reason, Time};

/// Settling a parent wakes its children; these are the looks for when that was missed: the first, and the longest between two.
const LOOK_FIRST: Duration = Duration::from_secs(1);
const LOOK_LAST: Duration = Duration::from_secs(60);

/// What became of the delivery of one event to a parent's object.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It is on its way.
    Open,
    /// It succeeded: this is the parent's record.
    There(Link),
    /// It is a dead letter.
    Dead,
    /// A person closed it, and it will not come any more.
    GivenUp,
}

/// One parent of an open delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Kin {
    /// The parent's object.
    pub object: String,
    /// The field that points at it.
    pub field: Option<String>,
    /// The parent's delivery.
    pub delivery: DeliveryId,
    /// What became of it.
    pub standing: Standing,
}

/// A record's open deliveries, told apart by what their parents allow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    /// To be folded now; links to parents are among their fields.
    pub ready: Vec<Open>,
    /// Those whose parent failed.
    pub orphans: Vec<(DeliveryId, Ending)>,
    /// When the oldest of those arrived that wait.
    pub blocked: Option<Time>,
    /// What people should know of events.
    pub warnings: Vec<(EventId, Warning)>,
}

/// Tells a record's open deliveries apart: a failed parent fails its child with it, an open one holds it back, and one that is there is linked.
/// The child of a parent that a person gave up goes without it.
pub fn family(open: impl IntoIterator<Item = (Open, Vec<Kin>)>) -> Family {
    let mut family = Family::default();
    for (mut open, kin) in open {
        if let Some(failed) = kin.iter().find(|kin| kin.standing == Standing::Dead) {
            let message = format!("its {} was not written: see the dead letter {}", failed.object, failed.delivery);
            family.orphans.push((open.delivery, dead(Reason::ParentFailed, None, message, 0)));
            continue;
        }
        if kin.iter().any(|kin| kin.standing == Standing::Open) {
            family.blocked = Some(family.blocked.map_or(open.received_at, |oldest| oldest.min(open.received_at)));
            continue;
        }
        for kin in kin {
            match (kin.standing, kin.field) {
                (Standing::There(link), Some(field)) => {
                    open.fields.insert(field, link.to_value());
                }
                (Standing::GivenUp, _) => {
                    let message = format!("the delivery of its {} was closed by a person, so it was written without it", kin.object);
                    family.warnings.push((open.event, Warning { kind: "parent_given_up".into(), message }));
                }
                (Standing::There(_) | Standing::Open | Standing::Dead, _) => {}
            }
        }
        family.ready.push(open);
    }
    family
}

/// When to look again without having been woken: soon at first, and seldom when the parent takes long.
pub(super) fn look_again(oldest: Time, now: Time) -> Time {
    now + (now.since(oldest) / 4).clamp(LOOK_FIRST, LOOK_LAST)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::event::Mode;
    use crate::record::Stamp;

    fn open(id: i64, at: i64) -> Open {
        let event = EventId(id << 6);
        let stamp = Stamp { trust: 50, occurred_at: Time::from_seconds(at), key: format!("demo|x|{id}") };
        let received_at = Time::from_seconds(at);
        Open { delivery: event.delivery(2), event, mode: Mode::Upsert, stamp, fields: BTreeMap::new(), received_at }
    }

    fn kin(standing: Standing) -> Kin {
        Kin { object: "Account".into(), field: Some("AccountId".into()), delivery: EventId(64).delivery(1), standing }
    }

    fn link() -> Link {
        Link { object: "Account".into(), key_field: "Ext__c".into(), key: "a1".into(), crm_id: Some("001".into()) }
    }

    #[test]
    fn a_child_waits_for_its_parent_fails_with_it_or_is_linked_to_it() {
        let family = family([
            (open(1, 100), vec![kin(Standing::There(link()))]),
            (open(2, 90), vec![kin(Standing::Open)]),
            (open(3, 80), vec![kin(Standing::Open)]),
            (open(4, 70), vec![kin(Standing::There(link())), kin(Standing::Dead)]),
            (open(5, 60), vec![kin(Standing::GivenUp)]),
            (open(6, 50), Vec::new()),
        ]);
        let ready: Vec<_> = family.ready.iter().map(|open| open.event.0 >> 6).collect();
        assert_eq!(ready, [1, 5, 6]);
        assert_eq!(Link::of(&family.ready[0].fields["AccountId"]), Some(link()));
        assert!(family.ready[1].fields.is_empty(), "it goes without the parent that was given up");
        assert_eq!(family.blocked, Some(Time::from_seconds(80)));
        assert_eq!(family.warnings.len(), 1);
        let [(orphan, Ending::Dead { reason: Reason::ParentFailed, message, .. })] = family.orphans.as_slice() else {
            panic!("{:?}", family.orphans)
        };
        assert_eq!(orphan.event().0 >> 6, 4);
        assert!(message.contains(&EventId(64).delivery(1).to_string()), "it says which parent: {message}");
    }

    #[test]
    fn one_looks_soon_at_first_and_once_a_minute_later() {
        let at = |seconds| look_again(Time::from_seconds(0), Time::from_seconds(seconds)).since(Time::from_seconds(seconds)).as_secs();
        assert_eq!((at(0), at(40), at(10_000)), (1, 10, 60));
    }
}
