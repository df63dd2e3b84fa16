//! The tree that a body is read into, and that expressions are evaluated on.
//!
//! Texts are borrowed from the body and members stand in one list, because most of a document is never looked at: a value costs little
//! to read and nothing to let go. The JMESPath library has a tree of its own; the two are turned into each other where it is asked.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use jmespath::{Rcvar, Variable};
use serde_json::{Number, Value};

/// Members of an object that are searched one by one; with more they are kept in order.
const FEW: usize = 16;

/// A JSON value.
#[derive(Clone, Debug)]
pub(crate) enum Node<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Object(Members<'a>),
    /// `&name` of an expression: only the library makes one, and nobody can use it.
    Reference,
}

/// What an object holds, each name once.
#[derive(Clone, Debug)]
pub(crate) enum Members<'a> {
    Few(Vec<(Cow<'a, str>, Node<'a>)>),
    /// Searching them one by one would let a large body cost its square.
    Many(BTreeMap<Cow<'a, str>, Node<'a>>),
    /// The same, where names occurred twice: the last of each is held.
    Doubled(Box<Doubled<'a>>),
}

/// Members of which some occurred twice.
#[derive(Clone, Debug)]
pub(crate) struct Doubled<'a> {
    members: Members<'a>,
    names: Vec<Cow<'a, str>>,
}

impl Default for Members<'_> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<'a> Members<'a> {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a member. Where there is one of that name, it takes its place and the name is given back.
    pub(crate) fn insert(&mut self, name: Cow<'a, str>, value: Node<'a>) -> Option<Cow<'a, str>> {
        let held = match self {
            Self::Few(members) => members.iter_mut().find(|(held, _)| *held == name).map(|(_, value)| value),
            Self::Many(members) => members.get_mut(&name),
            Self::Doubled(doubled) => return doubled.members.insert(name, value),
        };
        if let Some(held) = held {
            *held = value;
            return Some(name);
        }
        match self {
            Self::Few(members) if members.len() < FEW => members.push((name, value)),
            Self::Few(members) => *self = Self::Many(std::mem::take(members).into_iter().chain([(name, value)]).collect()),
            Self::Many(members) => {
                members.insert(name, value);
            }
            Self::Doubled(_) => {}
        }
        None
    }

    /// Remembers which names occurred twice.
    pub(crate) fn doubled(self, names: Vec<Cow<'a, str>>) -> Self {
        if names.is_empty() { self } else { Self::Doubled(Box::new(Doubled { members: self, names })) }
    }

    /// Takes a member out.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Node<'a>> {
        match self {
            Self::Few(members) => members.iter().position(|(held, _)| held == name).map(|place| members.remove(place).1),
            Self::Many(members) => members.remove(name),
            Self::Doubled(doubled) => doubled.members.remove(name),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Node<'a>> {
        match self {
            Self::Few(members) => members.iter().find(|(held, _)| held == name).map(|(_, value)| value),
            Self::Many(members) => members.get(name),
            Self::Doubled(doubled) => doubled.members.get(name),
        }
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Node<'a>> {
        match self {
            Self::Few(members) => members.iter_mut().find(|(held, _)| held == name).map(|(_, value)| value),
            Self::Many(members) => members.get_mut(name),
            Self::Doubled(doubled) => doubled.members.get_mut(name),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(members) => members.len(),
            Self::Many(members) => members.len(),
            Self::Doubled(doubled) => doubled.members.len(),
        }
    }

    /// The members, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&Cow<'a, str>, &mut Node<'a>)> {
        let mut held = self;
        while let Self::Doubled(doubled) = held {
            held = &mut doubled.members;
        }
        let (few, many) = match held {
            Self::Few(members) => (Some(members), None),
            Self::Many(members) => (None, Some(members)),
            Self::Doubled(_) => (None, None),
        };
        few.into_iter().flatten().map(|(name, value)| (&*name, value)).chain(many.into_iter().flatten())
    }

    /// The members, in the order in which they came or in that of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Cow<'a, str>, &Node<'a>)> {
        let mut held = self;
        while let Self::Doubled(doubled) = held {
            held = &doubled.members;
        }
        let (few, many) = match held {
            Self::Few(members) => (Some(members), None),
            Self::Many(members) => (None, Some(members)),
            Self::Doubled(_) => (None, None),
        };
        few.into_iter().flatten().map(|(name, value)| (name, value)).chain(many.into_iter().flatten())
    }
}

impl Members<'_> {
    /// Writes them as [`Node::write_canonical`] does, without one of them.
    pub(crate) fn write_canonical(&self, except: Option<&str>, to: &mut Vec<u8>) {
        let mut members: Vec<_> = self.iter().filter(|(name, _)| except != Some(name.as_ref())).collect();
        members.sort_by_key(|(name, _)| *name);
        to.push(b'{');
        for (place, (name, value)) in members.into_iter().enumerate() {
            if place > 0 {
                to.push(b',');
            }
            write_text(name, to);
            to.push(b':');
            value.write_canonical(to);
        }
        to.push(b'}');
    }

    fn detached(self) -> Members<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Few(members) => Members::Few(members.into_iter().map(|(name, value)| (owned(name), value.detached())).collect()),
            Self::Many(members) => Members::Many(members.into_iter().map(|(name, value)| (owned(name), value.detached())).collect()),
            Self::Doubled(doubled) => Members::Doubled(Box::new(Doubled {
                members: doubled.members.detached(),
                names: doubled.names.into_iter().map(owned).collect(),
            })),
        }
    }
}

impl<'a> Node<'a> {
    /// The JSON word for its type, with its article.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Text(_) => "a string",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
            Self::Reference => "an expression",
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Neither an object nor a long list: the library can be given it without much copying.
    pub(crate) fn is_small(&self) -> bool {
        match self {
            Self::List(entries) => entries.len() <= FEW && entries.iter().all(|entry| !matches!(entry, Self::List(_) | Self::Object(_))),
            Self::Object(_) => false,
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::Reference => true,
        }
    }

    /// Null, or a text of nothing but white space.
    pub(crate) fn is_blank(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Text(text) => text.trim().is_empty(),
            Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Object(_) | Self::Reference => false,
        }
    }

    /// Whether JMESPath takes it for true: neither null, nor false, nor empty.
    pub(crate) fn is_truthy(&self) -> bool {
        match self {
            Self::Null | Self::Reference => false,
            Self::Bool(value) => *value,
            Self::Number(_) => true,
            Self::Text(text) => !text.is_empty(),
            Self::List(entries) => !entries.is_empty(),
            Self::Object(members) => members.len() > 0,
        }
    }

    /// The text; `None` if it is something else.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The entries; `None` if it is something else than a list.
    pub(crate) fn entries(&self) -> Option<&[Node<'a>]> {
        if let Self::List(entries) = self { Some(entries) } else { None }
    }

    /// The member of this name; `None` if it is not there, or this is no object.
    pub(crate) fn member(&self, name: &str) -> Option<&Node<'a>> {
        if let Self::Object(members) = self { members.get(name) } else { None }
    }

    /// The member of this name, to be changed.
    pub(crate) fn member_mut(&mut self, name: &str) -> Option<&mut Node<'a>> {
        if let Self::Object(members) = self { members.get_mut(name) } else { None }
    }

    /// Takes a member out; `None` if it is not there, or this is no object.
    pub(crate) fn take(&mut self, name: &str) -> Option<Node<'a>> {
        if let Self::Object(members) = self { members.remove(name) } else { None }
    }

    /// Puts a member into an object.
    pub(crate) fn put(&mut self, name: &'static str, value: Node<'a>) {
        if let Self::Object(members) = self {
            members.insert(Cow::Borrowed(name), value);
        }
    }

    /// Adds the names that occurred twice in any object of it.
    pub(crate) fn doubled_names(&self, found: &mut BTreeSet<String>) {
        match self {
            Self::List(entries) => entries.iter().for_each(|entry| entry.doubled_names(found)),
            Self::Object(members) => {
                if let Members::Doubled(doubled) = members {
                    found.extend(doubled.names.iter().map(|name| name.as_ref().to_owned()));
                }
                members.iter().for_each(|(_, value)| value.doubled_names(found));
            }
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::Reference => {}
        }
    }

    /// As JSON: exact, of its own lifetime, members in the order in which they came.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Null | Self::Reference => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.as_ref().to_owned()),
            Self::List(entries) => Value::Array(entries.iter().map(Node::to_json).collect()),
            Self::Object(members) => {
                Value::Object(members.iter().map(|(name, value)| (name.as_ref().to_owned(), value.to_json())).collect())
            }
        }
    }

    /// Writes it as JSON that is the same for the same value: members in the order of their names, no white space.
    pub(crate) fn write_canonical(&self, to: &mut Vec<u8>) {
        match self {
            Self::Null | Self::Reference => to.extend(b"null"),
            Self::Bool(value) => to.extend(value.to_string().bytes()),
            Self::Number(number) => to.extend(number.to_string().bytes()),
            Self::Text(text) => write_text(text, to),
            Self::List(entries) => {
                to.push(b'[');
                for (place, entry) in entries.iter().enumerate() {
                    if place > 0 {
                        to.push(b',');
                    }
                    entry.write_canonical(to);
                }
                to.push(b']');
            }
            Self::Object(members) => members.write_canonical(None, to),
        }
    }

    /// Whether JMESPath takes two values for the same.
    pub(crate) fn same(&self, other: &Node<'_>) -> bool {
        match (self, other) {
            (Self::Null, Node::Null) => true,
            (Self::Bool(one), Node::Bool(other)) => one == other,
            // The library forgives what doubles lose.
            (Self::Number(one), Node::Number(other)) => Variable::Number(one.clone()) == Variable::Number(other.clone()),
            (Self::Text(one), Node::Text(other)) => one == other,
            (Self::List(one), Node::List(other)) => one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.same(other)),
            (Self::Object(one), Node::Object(other)) => {
                one.len() == other.len() && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| value.same(other)))
            }
            _ => false,
        }
    }

    /// The same with texts of its own.
    pub(crate) fn detached(self) -> Node<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Null => Node::Null,
            Self::Bool(value) => Node::Bool(value),
            Self::Number(number) => Node::Number(number),
            Self::Text(text) => Node::Text(owned(text)),
            Self::List(entries) => Node::List(entries.into_iter().map(Node::detached).collect()),
            Self::Object(members) => Node::Object(members.detached()),
            Self::Reference => Node::Reference,
        }
    }

    /// As the library holds it.
    pub(crate) fn to_library(&self) -> Rcvar {
        Rcvar::new(match self {
            // Nothing that is given to the library came from it as a reference.
            Self::Null | Self::Reference => Variable::Null,
            Self::Bool(value) => Variable::Bool(*value),
            Self::Number(number) => Variable::Number(number.clone()),
            Self::Text(text) => Variable::String(text.as_ref().to_owned()),
            Self::List(entries) => Variable::Array(entries.iter().map(Node::to_library).collect()),
            Self::Object(members) => {
                Variable::Object(members.iter().map(|(name, value)| (name.as_ref().to_owned(), value.to_library())).collect())
            }
        })
    }

    /// From what the library holds.
    pub(crate) fn from_library(value: &Variable) -> Node<'static> {
        match value {
            Variable::Null => Node::Null,
            Variable::Bool(value) => Node::Bool(*value),
            Variable::Number(number) => Node::Number(number.clone()),
            Variable::String(text) => Node::Text(Cow::Owned(text.clone())),
            Variable::Array(entries) => Node::List(entries.iter().map(|entry| Node::from_library(entry)).collect()),
            Variable::Object(members) => Node::Object(Members::Many(
                members.iter().map(|(name, value)| (Cow::Owned(name.clone()), Node::from_library(value))).collect(),
            )),
            Variable::Expref(_) => Node::Reference,
        }
    }
}

fn write_text(text: &str, to: &mut Vec<u8>) {
    to.extend(Value::String(text.to_owned()).to_string().into_bytes());
}
