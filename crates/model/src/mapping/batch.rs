//! A body of several events: each entry of its list is read by itself.
//!
//! Entries are handed out one after the other, each with what is around it as its member `_outer`. Nothing is copied for that: what is
//! around is moved into an entry and out again, or a large surrounding of many entries would cost their product.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::compile::Mapping;
use super::content::{self, Rules};
use super::document::{Around, Body, Document, Doubled, OUTER, Unreadable};
use super::node::Node;
use super::path::{Path, Step};
use crate::event::Warning;
use crate::{Reason, Received};

/// Most entries of one request.
pub const ENTRIES_MAX: usize = 10_000;

/// What is read as one event.
pub(crate) enum Entry<'d, 'a> {
    /// The body itself.
    Whole(&'d Document<'a>),
    /// One entry of it.
    One(&'d Document<'a>),
    /// An entry that is no object: what it is, and its canonical bytes.
    Bad(Unreadable, Vec<u8>),
}

impl Mapping {
    /// Reads a body and hands out its entries in their order, with what a person should know of the reading.
    ///
    /// # Errors
    ///
    /// The body cannot be read, or holds more than [`ENTRIES_MAX`] entries.
    pub(crate) fn entries<'a>(&self, request: &Received<'a>, visit: &mut dyn FnMut(Entry<'_, 'a>, &[Warning])) -> Result<(), Unreadable> {
        let list = self.batch.as_ref().is_some_and(Path::is_of_body);
        let rules = Rules { content: self.content, accepted: self.content_types.as_deref(), parse: &self.parse, list };
        let Body { root, doubled, warnings } = content::read(request, &rules)?;
        let Some(path) = &self.batch else {
            let doubled = if doubled { Doubled::of(&root, &self.names) } else { Doubled::default() };
            visit(Entry::Whole(&Document::new(root, doubled, None)), &warnings);
            return Ok(());
        };
        let count = count(path.steps(), &root);
        if count > ENTRIES_MAX {
            let message = format!("The request holds {count} entries; at most {ENTRIES_MAX} are read.");
            return Err(Unreadable { reason: Reason::Limits, message });
        }
        let mut split = Split { names: &self.names, doubled, visit: &mut |entry| visit(entry, &warnings) };
        split.walk(path.steps(), root, None);
        Ok(())
    }
}

/// Whether the path up to its next list leads to one. An object where a list is expected is its only entry: XML does not tell them apart.
fn leads(steps: &[Step], here: &Node<'_>) -> bool {
    let mut at = here;
    for step in steps {
        match step {
            Step::Name(name) => match at.member(name) {
                Some(member) => at = member,
                None => return false,
            },
            Step::Each => return matches!(at, Node::List(_) | Node::Object(_)),
        }
    }
    matches!(at, Node::Object(_))
}

fn count(steps: &[Step], here: &Node<'_>) -> usize {
    match steps.split_first() {
        None => 1,
        Some((Step::Each, rest)) => {
            here.entries().map_or_else(|| count(rest, here), |entries| entries.iter().map(|entry| count(rest, entry)).sum())
        }
        Some((Step::Name(name), rest)) => here.member(name).filter(|_| leads(steps, here)).map_or(1, |member| count(rest, member)),
    }
}

struct Split<'s, 'a> {
    /// What the mapping reads.
    names: &'s BTreeSet<String>,
    /// Some name occurs twice somewhere.
    doubled: bool,
    visit: &'s mut dyn FnMut(Entry<'_, 'a>),
}

/// What is around a list's entries.
struct Outer<'a> {
    node: Node<'a>,
    around: Rc<Around>,
    doubled: Doubled,
}

impl<'a> Split<'_, 'a> {
    /// Goes down the path; what was around is given back as it was.
    fn walk(&mut self, steps: &[Step], mut here: Node<'a>, outer: Option<Outer<'a>>) -> Option<Outer<'a>> {
        match steps.split_first() {
            None => self.entry(here, outer),
            Some((Step::Each, rest)) => match here {
                Node::List(entries) => entries.into_iter().fold(outer, |outer, entry| self.walk(rest, entry, outer)),
                other @ (Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Object(_) | Node::Reference) => {
                    self.walk(rest, other, outer)
                }
            },
            Some((Step::Name(name), rest)) => {
                // Where the list is missing, the object in which it would have been is the entry: senders send one event plain.
                let child = if leads(steps, &here) { here.take(name) } else { None };
                let Some(child) = child else { return self.entry(here, outer) };
                let (outer, kept) = self.around(here, outer);
                let inner = self.walk(rest, child, Some(outer));
                kept.and_then(|(around, doubled)| Some(Outer { node: inner?.node.take(OUTER)?, around, doubled }))
            }
        }
    }

    /// An object, with what is around it, as what is around the entries of its list.
    fn around(&self, here: Node<'a>, outer: Option<Outer<'a>>) -> (Outer<'a>, Option<(Rc<Around>, Doubled)>) {
        let doubled = self.doubled_in(&here, outer.as_ref());
        let mut node = here;
        let kept = outer.map(|outer| {
            node.put(OUTER, outer.node);
            (outer.around, outer.doubled)
        });
        let around = Around::new(kept.as_ref().map(|(around, _)| Rc::clone(around)));
        (Outer { node, around, doubled }, kept)
    }

    fn doubled_in(&self, here: &Node<'a>, outer: Option<&Outer<'a>>) -> Doubled {
        if !self.doubled {
            return Doubled::default();
        }
        let own = Doubled::of(here, self.names);
        outer.map_or_else(|| own.clone(), |outer| own.clone().and(&outer.doubled))
    }

    fn entry(&mut self, here: Node<'a>, outer: Option<Outer<'a>>) -> Option<Outer<'a>> {
        if !matches!(here, Node::Object(_)) {
            let mut canonical = Vec::new();
            here.write_canonical(&mut canonical);
            let message = format!("The entry is {}, and an object is expected.", here.kind());
            (self.visit)(Entry::Bad(Unreadable::unparseable(message), canonical));
            return outer;
        }
        let doubled = self.doubled_in(&here, outer.as_ref());
        let mut root = here;
        let kept = outer.map(|outer| {
            root.put(OUTER, outer.node);
            (outer.around, outer.doubled)
        });
        let mut document = Document::new(root, doubled, kept.as_ref().map(|(around, _)| Rc::clone(around)));
        (self.visit)(Entry::One(&document));
        kept.and_then(|(around, doubled)| Some(Outer { node: document.root.take(OUTER)?, around, doubled }))
    }
}
