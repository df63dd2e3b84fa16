//! Identifiers: narrow integers inside the ledger, prefixed text outside it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Time;

/// Crockford's base 32: no I, L, O or U, so that an id can be read aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

fn encode(id: i64) -> String {
    let mut text = [0u8; 13];
    let mut rest = id.cast_unsigned();
    for place in text.iter_mut().rev() {
        *place = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
    }
    text.iter().map(|&byte| char::from(byte)).collect()
}

fn decode(text: &str) -> Option<i64> {
    if text.len() != 13 {
        return None;
    }
    let mut id: u64 = 0;
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|&letter| letter == byte)? as u64;
        id = id.checked_mul(32)?.checked_add(digit)?;
    }
    i64::try_from(id).ok()
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl $name {
            /// What the public form starts with.
            pub const PREFIX: &'static str = $prefix;

            /// Reads the public form; `None` if it is not one.
            pub fn parse(text: &str) -> Option<Self> {
                decode(text.strip_prefix($prefix)?).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom(concat!("expected an id that starts with ", $prefix)))
            }
        }
    )*};
}

ids! {
    /// One HTTP request as it came.
    RawEventId = "raw_";
    /// One normalized happening.
    EventId = "evt_";
    /// One event on its way to one destination's object.
    DeliveryId = "dlv_";
    /// One CRM object under one key.
    RecordId = "rec_";
    /// One HTTP request to a CRM.
    CallId = "call_";
    /// One request that was refused at the door.
    RejectedId = "rej_";
    /// One replay of one or many deliveries.
    ReplayId = "rpl_";
    /// One run of catching up with a vendor.
    CatchUpId = "cup_";
    /// One run of reconciling an object with its CRM.
    ReconciliationId = "rcn_";
}

/// Hands out ids that rise with time and are unique in the ledger.
///
/// 41 bits of milliseconds since 2020, 10 bits of the instance's number in the ledger, 6 bits of sequence, and 6 bits that are left zero
/// for what hangs on the row: an event's deliveries are numbered from it, so they need no index to be found. Rising ids keep
/// B-tree inserts at the right edge (performance.md, 20); the instance's number keeps two processes apart. More than
/// 64 ids in a millisecond borrow from the next ones; a clock that steps back does not lead to an id twice.
#[derive(Debug)]
pub struct IdGenerator {
    instance: i64,
    last: i64,
}

const EPOCH_MILLIS: i64 = 1_577_836_800_000;
const INSTANCE_BITS: u32 = 10;
const SEQUENCE_BITS: u32 = 6;
const ORDINAL_BITS: u32 = 6;

impl IdGenerator {
    /// A generator for the process with this number (only its lowest ten bits count) that hands out nothing at or below `floor`,
    /// the largest id that is already in the ledger.
    pub fn new(instance: u16, floor: i64) -> Self {
        let instance = i64::from(instance) & ((1 << INSTANCE_BITS) - 1);
        let millis = floor >> ORDINAL_BITS >> SEQUENCE_BITS >> INSTANCE_BITS;
        Self { instance, last: (millis << SEQUENCE_BITS) | ((1 << SEQUENCE_BITS) - 1) }
    }

    /// When an id was made, to the millisecond.
    pub const fn made_at(id: i64) -> Time {
        Time::from_millis((id >> ORDINAL_BITS >> SEQUENCE_BITS >> INSTANCE_BITS) + EPOCH_MILLIS)
    }

    /// The smallest id that can be made at this moment: what was made before has smaller ones.
    ///
    /// As exact as the clock that made the ids: one that stepped back goes on from the larger ids.
    pub const fn floor(at: Time) -> i64 {
        let millis = at.millis() - EPOCH_MILLIS;
        if millis <= 0 { 0 } else { millis.saturating_mul(1 << (INSTANCE_BITS + SEQUENCE_BITS + ORDINAL_BITS)) }
    }

    /// The next id at this moment.
    pub fn next_id(&mut self, now: Time) -> i64 {
        let floor = (now.millis() - EPOCH_MILLIS).max(0) << SEQUENCE_BITS;
        self.last = (self.last + 1).max(floor);
        let millis = self.last >> SEQUENCE_BITS;
        let sequence = self.last & ((1 << SEQUENCE_BITS) - 1);
        (((millis << INSTANCE_BITS | self.instance) << SEQUENCE_BITS) | sequence) << ORDINAL_BITS
    }
}

impl EventId {
    /// The most deliveries that one event can have, replacements after replays included.
    pub const DELIVERIES_MAX: i64 = (1 << ORDINAL_BITS) - 1;

    /// Its `ordinal`th delivery, the first being 1; at most [`EventId::DELIVERIES_MAX`].
    pub const fn delivery(self, ordinal: i64) -> DeliveryId {
        DeliveryId(self.0 + ordinal)
    }
}

impl DeliveryId {
    /// The event that it carries.
    pub const fn event(self) -> EventId {
        EventId(self.0 & !((1 << ORDINAL_BITS) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_form_reads_back() {
        for id in [0, 1, 31, 32, i64::MAX] {
            assert_eq!(EventId::parse(&EventId(id).to_string()), Some(EventId(id)));
        }
        for text in ["", "evt_", "raw_0000000000001", "evt_000000000000", "evt_000000000000u", "evt_zzzzzzzzzzzzz"] {
            assert_eq!(EventId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn ids_rise_whatever_the_clock_does_and_never_meet_another_instances() {
        let (mut one, mut two) = (IdGenerator::new(1, 0), IdGenerator::new(2, 0));
        let mut seen = std::collections::BTreeSet::new();
        let mut last = 0;
        for step in 0..20_000i64 {
            let now = Time::from_millis(1_800_000_000_000 + (step / 7_000) - (step % 3));
            let id = one.next_id(now);
            assert!(id > last);
            last = id;
            assert!(seen.insert(id) && seen.insert(two.next_id(now)));
        }
        let mut restarted = IdGenerator::new(1, last);
        assert!(restarted.next_id(Time::from_millis(0)) > last);
    }

    #[test]
    fn a_moment_stands_between_the_ids_before_it_and_those_after() {
        let (mut ids, at) = (IdGenerator::new(1_023, 0), Time::from_millis(1_800_000_000_000));
        let before = ids.next_id(at - std::time::Duration::from_millis(1));
        assert!(before < IdGenerator::floor(at) && IdGenerator::floor(at) <= ids.next_id(at));
        assert_eq!((IdGenerator::floor(Time(0)), IdGenerator::floor(Time(i64::MIN))), (0, 0));
        assert_eq!(IdGenerator::floor(Time(i64::MAX)), i64::MAX);
    }

    #[test]
    fn a_delivery_knows_its_event() {
        let event = EventId(IdGenerator::new(5, 0).next_id(Time::from_millis(1_800_000_000_000)));
        for ordinal in [1, 2, EventId::DELIVERIES_MAX] {
            assert_eq!(event.delivery(ordinal).event(), event);
        }
    }
}
