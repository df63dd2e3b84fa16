//! How a vendor's bodies change: members that are new, that are gone, and that have become another kind of value.
//!
//! A [`Shape`] is what one body looks like: paths and kinds, never a value. Shapes are gathered ([`Observed`]) and now and then held against what is known
//! of a source's event type ([`Learned`]), which says what changed. Everything is bounded, gathering is adding up, and so several processes can learn
//! together: what each saw is added in whatever order.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Time;

/// Most paths of a shape, and of what is known of an event type. What is beyond them is not watched.
pub const PATHS_MAX: usize = 500;
/// Levels below the body that are looked at.
pub const DEPTH_MAX: usize = 8;
/// Most entries of a list that are looked at.
pub const ENTRIES_MAX: usize = 20;
/// Members of one object above which its names are data: a map, not a record.
pub const MEMBERS_MAX: usize = 60;
/// Bodies before anything is called new: until then one learns.
pub const LEARNING: u64 = 20;
/// Bodies without a member after which it has vanished.
pub const VANISHED_AFTER: u64 = 200;
/// Most changes that are remembered of an event type; the oldest go first.
pub const CHANGES_MAX: usize = 50;
/// Most bytes of a path.
const PATH_BYTES_MAX: usize = 200;

/// Kinds of values, as bits: a member may have had several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kinds(u8);

impl Kinds {
    /// No value: says nothing of the kind that it would have.
    pub const NULL: Self = Self(0);
    /// True or false.
    pub const BOOLEAN: Self = Self(1);
    /// A number.
    pub const NUMBER: Self = Self(2);
    /// A text.
    pub const TEXT: Self = Self(4);
    /// A list.
    pub const LIST: Self = Self(8);
    /// An object.
    pub const OBJECT: Self = Self(16);

    const WORDS: [(Self, &'static str); 5] =
        [(Self::BOOLEAN, "boolean"), (Self::NUMBER, "number"), (Self::TEXT, "text"), (Self::LIST, "list"), (Self::OBJECT, "object")];

    /// These and those.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of these that are not among the others.
    const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = Self::WORDS.iter().filter(|(kind, _)| self.0 & kind.0 != 0).map(|(_, word)| *word).collect();
        f.write_str(&if words.is_empty() { "null".to_owned() } else { words.join(" or ") })
    }
}

/// What one body looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape(BTreeMap<String, Kinds>);

impl Shape {
    /// Notes a value at a path; whether there was room for it.
    pub fn note(&mut self, path: &str, kinds: Kinds) -> bool {
        if path.len() > PATH_BYTES_MAX {
            return false;
        }
        if let Some(held) = self.0.get_mut(path) {
            *held = held.and(kinds);
            return true;
        }
        let has_room = self.0.len() < PATHS_MAX;
        if has_room {
            self.0.insert(path.to_owned(), kinds);
        }
        has_room
    }

    /// The paths and their kinds.
    pub fn paths(&self) -> impl Iterator<Item = (&str, Kinds)> {
        self.0.iter().map(|(path, kinds)| (path.as_str(), *kinds))
    }
}

/// How a member stands in a path: its name, or `*` where the name itself is data. A name with an `@`, with four digits, or longer than 48 bytes is: ids,
/// addresses and dates are no names that a vendor chose.
pub fn name(text: &str) -> &str {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let odd = text.is_empty() || text.len() > 48 || text.chars().any(char::is_control);
    if odd || digits >= 4 || text.contains('@') || (digits > 0 && digits == text.len()) { "*" } else { text }
}

/// What was seen since one last looked: bodies, and in how many of them each path was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    bodies: u64,
    paths: BTreeMap<String, (Kinds, u64)>,
}

impl Observed {
    /// One more body.
    pub fn add(&mut self, shape: &Shape) {
        self.bodies += 1;
        for (path, kinds) in shape.paths() {
            if let Some((held, number)) = self.paths.get_mut(path) {
                (*held, *number) = (held.and(kinds), *number + 1);
            } else if self.paths.len() < PATHS_MAX {
                self.paths.insert(path.to_owned(), (kinds, 1));
            }
        }
    }

    /// How many bodies.
    pub fn bodies(&self) -> u64 {
        self.bodies
    }
}

/// What is known of one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    kinds: Kinds,
    /// Bodies that had it.
    seen: u64,
    /// How many bodies there had been before it was first seen, and when it was last seen.
    first: u64,
    last: u64,
    /// It was said that it has vanished.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    gone: bool,
}

/// What kind of change it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A member that was never there.
    New,
    /// One that nearly every body had, and none has any more.
    Vanished,
    /// One that is another kind of value than ever before.
    ChangedType,
}

impl ChangeKind {
    /// The word used everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Vanished => "vanished",
            Self::ChangedType => "changed_type",
        }
    }
}

/// One change of what a source sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When it was noticed.
    pub at: Time,
    /// What changed.
    pub kind: ChangeKind,
    /// Where: `form_response.answers[].email`.
    pub path: String,
    /// The kinds of value before; empty for a new one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub was: String,
    /// The kinds of value now; empty for a vanished one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub is: String,
}

/// What is known of the bodies of one event type of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    bodies: u64,
    paths: BTreeMap<String, Known>,
    changes: Vec<Change>,
}

impl Learned {
    /// Adds what was seen since, and says what changed with it.
    pub fn learn(&mut self, observed: &Observed, now: Time) -> Vec<Change> {
        let learning = self.bodies < LEARNING;
        let before = self.bodies;
        self.bodies += observed.bodies;
        let mut changes = Vec::new();
        for (path, (kinds, number)) in &observed.paths {
            let Some(known) = self.paths.get_mut(path) else {
                if self.paths.len() >= PATHS_MAX {
                    continue;
                }
                self.paths.insert(path.clone(), Known { kinds: *kinds, seen: *number, first: before, last: self.bodies, gone: false });
                // What is new within something new is told with it.
                let within = parents(path)
                    .any(|parent| changes.iter().any(|change: &Change| change.kind == ChangeKind::New && change.path == parent));
                if !learning && !within {
                    changes.push(Change { at: now, kind: ChangeKind::New, path: path.clone(), was: String::new(), is: kinds.to_string() });
                }
                continue;
            };
            let others = kinds.without(known.kinds);
            if !learning && !others.is_none() && !known.kinds.is_none() {
                let (was, is) = (known.kinds.to_string(), others.to_string());
                changes.push(Change { at: now, kind: ChangeKind::ChangedType, path: path.clone(), was, is });
            }
            known.kinds = known.kinds.and(*kinds);
            (known.seen, known.last, known.gone) = (known.seen + number, self.bodies, false);
        }
        self.notice_vanished(now, &mut changes);
        self.changes.extend(changes.iter().cloned());
        let too_many = self.changes.len().saturating_sub(CHANGES_MAX);
        self.changes.drain(..too_many);
        changes
    }

    fn notice_vanished(&mut self, now: Time, changes: &mut Vec<Change>) {
        let bodies = self.bodies;
        for (path, known) in &mut self.paths {
            let until = known.last.saturating_sub(known.first);
            // In 95 of 100 bodies, of enough of them to say so.
            let was_usual = until >= LEARNING && known.seen.saturating_mul(100) >= until.saturating_mul(95);
            if known.gone || !was_usual || bodies - known.last < VANISHED_AFTER {
                continue;
            }
            known.gone = true;
            let within =
                parents(path).any(|parent| changes.iter().any(|change| change.kind == ChangeKind::Vanished && change.path == parent));
            if !within {
                changes.push(Change {
                    at: now,
                    kind: ChangeKind::Vanished,
                    path: path.clone(),
                    was: known.kinds.to_string(),
                    is: String::new(),
                });
            }
        }
    }

    /// How many bodies it was learned from.
    pub fn bodies(&self) -> u64 {
        self.bodies
    }

    /// How many paths are known.
    pub fn paths(&self) -> usize {
        self.paths.len()
    }

    /// What changed, oldest first; at most [`CHANGES_MAX`].
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }
}

/// The paths around a path, the nearest first. They sort before it, so they were looked at before it.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.char_indices().rev().filter(|(_, letter)| matches!(letter, '.' | '['));
    ends.map(|(at, _)| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_seconds(1_800_000_000);

    fn shape(paths: &[(&str, Kinds)]) -> Shape {
        let mut shape = Shape::default();
        paths.iter().for_each(|(path, kinds)| {
            let _ = shape.note(path, *kinds);
        });
        shape
    }

    fn observed(times: u64, paths: &[(&str, Kinds)]) -> Observed {
        let mut observed = Observed::default();
        (0..times).for_each(|_| observed.add(&shape(paths)));
        observed
    }

    const USUAL: [(&str, Kinds); 3] = [("id", Kinds::TEXT), ("person", Kinds::OBJECT), ("person.email", Kinds::TEXT)];

    fn learned() -> Learned {
        let mut learned = Learned::default();
        assert_eq!(learned.learn(&observed(LEARNING, &USUAL), NOW), [], "one learns before one is surprised");
        learned
    }

    fn kinds(changes: &[Change]) -> Vec<(ChangeKind, &str, &str, &str)> {
        changes.iter().map(|change| (change.kind, change.path.as_str(), change.was.as_str(), change.is.as_str())).collect()
    }

    #[test]
    fn a_new_member_is_told_once_and_what_is_in_it_with_it() {
        let mut learned = learned();
        let with = [USUAL.as_slice(), &[("consent", Kinds::OBJECT), ("consent.at", Kinds::TEXT), ("person.phone", Kinds::NULL)]].concat();
        let changes = learned.learn(&observed(2, &with), NOW);
        assert_eq!(kinds(&changes), [(ChangeKind::New, "consent", "", "object"), (ChangeKind::New, "person.phone", "", "null")]);
        assert_eq!(learned.learn(&observed(2, &with), NOW), []);
        assert_eq!(learned.changes().len(), 2);
        // What was null says nothing of the kind that comes.
        assert_eq!(learned.learn(&observed(1, &[("person.phone", Kinds::TEXT)]), NOW), []);
    }

    #[test]
    fn another_kind_of_value_is_told_once_and_null_is_none() {
        let mut learned = learned();
        assert_eq!(learned.learn(&observed(1, &[("id", Kinds::NULL)]), NOW), []);
        let changes = learned.learn(&observed(1, &[("id", Kinds::NUMBER)]), NOW);
        assert_eq!(kinds(&changes), [(ChangeKind::ChangedType, "id", "text", "number")]);
        assert_eq!(learned.learn(&observed(1, &[("id", Kinds::NUMBER.and(Kinds::TEXT))]), NOW), []);
    }

    #[test]
    fn what_nearly_every_body_had_and_none_has_any_more_has_vanished_until_it_is_back() {
        let mut learned = learned();
        assert_eq!(learned.learn(&observed(VANISHED_AFTER - 1, &USUAL[..1]), NOW), []);
        let changes = learned.learn(&observed(1, &USUAL[..1]), NOW);
        assert_eq!(kinds(&changes), [(ChangeKind::Vanished, "person", "object", "")]);
        assert_eq!(learned.learn(&observed(500, &USUAL[..1]), NOW), [], "once");
        assert_eq!(learned.learn(&observed(1, &USUAL), NOW), [], "and it may come back");
    }

    #[test]
    fn what_only_some_bodies_had_does_not_vanish() {
        let mut learned = Learned::default();
        for _ in 0..50 {
            learned.learn(&observed(1, &USUAL), NOW);
            learned.learn(&observed(1, &USUAL[..1]), NOW);
        }
        assert_eq!(learned.learn(&observed(1_000, &USUAL[..1]), NOW), []);
    }

    #[test]
    fn several_who_watch_know_together_what_one_alone_would() {
        let mut together = learned();
        let mut alone = together.clone();
        let (one, two) = (observed(3, &[("new", Kinds::TEXT)]), observed(4, &USUAL));
        let first = together.learn(&one, NOW);
        assert_eq!(together.learn(&two, NOW), []);
        alone.learn(&two, NOW);
        assert_eq!(alone.learn(&one, NOW), first);
        assert_eq!((alone.bodies(), alone.paths()), (together.bodies(), together.paths()));
        let text = serde_json::to_string(&together).unwrap();
        assert_eq!(serde_json::from_str::<Learned>(&text).unwrap(), together);
    }

    #[test]
    fn whatever_comes_it_stays_small() {
        let mut learned = learned();
        for n in 0..3_000u64 {
            let path = format!("m{}.{}", n % 700, "x".repeat((n % 300) as usize));
            learned.learn(&observed(1, &[(&path, Kinds::TEXT)]), NOW);
        }
        assert!(learned.paths() <= PATHS_MAX && learned.changes().len() <= CHANGES_MAX);
        assert!(serde_json::to_string(&learned).unwrap().len() < 200_000);
    }

    #[test]
    fn a_name_that_is_data_is_none() {
        for data in ["ann@example.com", "2026-11-23", "42", "a1b2c3d4e5", "", &"x".repeat(49), "a\nb"] {
            assert_eq!(name(data), "*", "{data}");
        }
        for own in ["email", "utm_source", "line1", "sha256", "x-hub-signature-256"] {
            assert_eq!(name(own), own);
        }
    }
}
