//! What a body looks like, entry by entry, for watching how it changes.

use super::batch::Entry;
use super::document::OUTER;
use super::node::Node;
use crate::Received;
use crate::drift::{DEPTH_MAX, ENTRIES_MAX, Kinds, MEMBERS_MAX, Shape, name};
use crate::source::Source;

impl Source {
    /// The shape of each entry of a request, in the order of [`Source::read`]'s readings; nothing of what cannot be read.
    pub fn shapes(&self, request: &Received<'_>) -> Vec<Shape> {
        let mut shapes = Vec::new();
        let read = self.mapping.entries(request, &mut |entry, _| {
            let mut shape = Shape::default();
            match entry {
                Entry::Whole(document) | Entry::One(document) => look(&document.root, "", 0, &mut shape),
                Entry::Bad(..) => {}
            }
            shapes.push(shape);
        });
        if read.is_ok() { shapes } else { Vec::new() }
    }
}

fn look(node: &Node<'_>, path: &str, depth: usize, shape: &mut Shape) {
    let kinds = match node {
        Node::Null | Node::Reference => Kinds::NULL,
        Node::Bool(_) => Kinds::BOOLEAN,
        Node::Number(_) => Kinds::NUMBER,
        Node::Text(_) => Kinds::TEXT,
        Node::List(_) => Kinds::LIST,
        Node::Object(_) => Kinds::OBJECT,
    };
    if (!path.is_empty() && !shape.note(path, kinds)) || depth >= DEPTH_MAX {
        return;
    }
    match node {
        Node::List(entries) => entries.iter().take(ENTRIES_MAX).for_each(|entry| look(entry, &format!("{path}[]"), depth + 1, shape)),
        Node::Object(members) => {
            let is_map = members.len() > MEMBERS_MAX;
            for (held, member) in members.iter().filter(|(held, _)| *held != OUTER) {
                let shown = if is_map { "*" } else { name(held) };
                let below = if path.is_empty() { shown.to_owned() } else { format!("{path}.{shown}") };
                look(member, &below, depth + 1, shape);
            }
        }
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Reference => {}
    }
}
