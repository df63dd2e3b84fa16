//! What happens in a rehearsal: who is spoken of, by which source, in which order, how often. The same seed tells the same story.

use std::time::Duration;

use model::Time;

/// Most webhooks of one rehearsal.
pub const SENDS_MAX: u32 = 1_000_000;
/// Most people of one rehearsal.
pub const PEOPLE_MAX: u32 = 100_000;
/// How far in the past the youngest event is, and over how long they are spread: few enough seconds that some are equal.
const AGE: Duration = Duration::from_secs(3_600);

/// The story.
#[derive(Clone, Debug)]
pub struct Script {
    seed: u64,
    /// When it began; part of every id, so that a second rehearsal repeats nothing of the first.
    pub begun: Time,
    people: u32,
    sources: u32,
    /// Events, in the order in which they are sent; those that occur twice are sent twice.
    pub sends: Vec<u32>,
    /// Different events.
    pub events: u32,
}

/// What one event tells.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Its number.
    pub event: u32,
    /// Who it is about.
    pub person: u32,
    /// Which of the sources tells it.
    pub source: usize,
    /// When the rehearsal began.
    pub begun: Time,
    /// When it happened; several events of one person may share it.
    pub occurred_at: Time,
    /// Chance for what it leaves out.
    pub chance: u64,
}

impl Script {
    /// A story of so many webhooks, a share of them copies, about so many people.
    pub fn new(seed: u64, begun: Time, sends: u32, copies: f64, people: u32, sources: u32) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of at most a million")]
        let copies = (f64::from(sends) * copies.clamp(0.0, 1.0)).round() as u32;
        let events = sends.saturating_sub(copies).max(1);
        let mut dice = Dice(seed);
        let mut order: Vec<u32> = (0..events).collect();
        order.extend((events..sends).map(|_| dice.below(events)));
        for place in (1..order.len()).rev() {
            let other = dice.below(u32::try_from(place + 1).unwrap_or(u32::MAX));
            order.swap(place, other as usize);
        }
        Self { seed, begun, people: people.clamp(1, events), sources: sources.max(1), sends: order, events }
    }

    /// How many people it is about.
    pub fn people(&self) -> u32 {
        self.people
    }

    /// What an event tells. Everybody is spoken of at least once.
    pub fn facts(&self, event: u32) -> Facts {
        let mut dice = Dice(self.seed ^ (u64::from(event) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let person = dice.below(self.people);
        let source = dice.below(self.sources) as usize;
        let ago = Duration::from_secs(u64::from(dice.below(3_600)));
        Facts {
            event,
            person: if event < self.people { event } else { person },
            source,
            begun: self.begun,
            occurred_at: Time::from_seconds(self.begun.seconds()) - AGE - ago,
            chance: dice.next(),
        }
    }
}

/// `SplitMix64`: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end.max(1))).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn script(seed: u64) -> Script {
        Script::new(seed, Time::from_seconds(1_800_000_000), 1_000, 0.3, 50, 2)
    }

    #[test]
    fn the_share_of_copies_is_sent_twice_and_every_event_at_least_once() {
        let script = script(7);
        assert_eq!((script.sends.len(), script.events), (1_000, 700));
        assert_eq!(script.sends.iter().copied().collect::<BTreeSet<_>>(), (0..700).collect());
    }

    #[test]
    fn the_same_seed_tells_the_same_story_and_another_another() {
        assert_eq!(script(7).sends, script(7).sends);
        assert_ne!(script(7).sends, script(8).sends);
        let told = |seed| (0..700).map(|event| format!("{:?}", script(seed).facts(event))).collect::<Vec<_>>();
        assert_eq!(told(7), told(7));
        assert_ne!(told(7), told(8));
    }

    #[test]
    fn everybody_is_spoken_of_by_both_sources_and_some_moments_are_equal() {
        let script = script(7);
        let facts: Vec<Facts> = (0..700).map(|event| script.facts(event)).collect();
        assert_eq!(facts.iter().map(|facts| facts.person).collect::<BTreeSet<_>>().len(), 50);
        assert_eq!(facts.iter().map(|facts| facts.source).collect::<BTreeSet<_>>().len(), 2);
        assert!(facts.iter().map(|facts| facts.occurred_at).collect::<BTreeSet<_>>().len() < 700);
        assert!(facts.iter().all(|facts| facts.occurred_at < script.begun));
    }
}
