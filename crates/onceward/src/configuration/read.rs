//! From the tree to typed sections, with every mistake of a section found and not only the first.
//!
//! Serde stops at the first error. Here a section is read again without what was wrong, until nothing more is wrong
//! with it; unknown keys are noted on the way, and what is missing is stood in for.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{self, DeserializeOwned, Expected, IntoDeserializer, Unexpected, Visitor};

use super::problem::{Finding, Place, Problems, closest, listed};
use super::tree::{Node, Step, Value, dotted, unknown_key};

/// How often a section is read again. A section with more mistakes is mended in two rounds.
const ROUNDS_MAX: usize = 64;

/// The members of a value, in a source's mapping and in an object's fields. They are read by types that show serde no members.
const SOURCE_VALUE: [&str; 11] = ["from", "header", "query", "const", "as", "required", "region", "unit", "clear", "default", "truncate"];
const OBJECT_VALUE: [&str; 2] = ["from", "const"];

/// Reads one section. What is wrong goes into `problems` and is left out, so that what is right can be checked further; `None` if
/// the section says nothing without it.
///
/// `beside` are keys of the section that somebody else reads.
pub fn section<T: DeserializeOwned>(node: &Node, path: &[Step], beside: &[&str], problems: &mut Problems) -> Option<T> {
    let mut node = node.clone();
    if let Value::Table(table) = &mut node.value {
        table.retain(|key, _| !beside.contains(&key.as_str()));
    }
    let values: &[&str] = if path.first() == Some(&Step::Key("destinations".to_owned())) { &OBJECT_VALUE } else { &SOURCE_VALUE };
    let mut told: BTreeSet<Vec<Step>> = BTreeSet::new();
    let mut whole = true;
    for _ in 0..ROUNDS_MAX {
        let unknown = RefCell::new(Vec::new());
        let result = T::deserialize(Reader { node: &node, path: Vec::new(), beside, values, unknown: &unknown });
        for (at, finding) in unknown.into_inner() {
            if told.insert(at.clone()) {
                problems.add(&node.place(&at), full(path, &at), finding);
            }
        }
        let wrong = match result {
            Ok(value) => return whole.then_some(value),
            Err(wrong) => wrong,
        };
        let at = wrong.location();
        // A key that is only misspelled is not missing as well.
        let misspelled = matches!(wrong.kind, Kind::Missing { .. }) && told.iter().any(|key| is_meant(key, &at));
        if told.insert(at.clone()) && !misspelled {
            problems.add(&node.place(&at), full(path, &at), wrong.finding());
        }
        match stand_in::<T>(&mut node, &at, &wrong)? {
            Past::LeftOut => {}
            Past::StoodIn => whole = false,
        }
    }
    None
}

fn is_meant(told: &[Step], missing: &[Step]) -> bool {
    match (told.split_last(), missing.split_last()) {
        (Some((Step::Key(told), around)), Some((Step::Key(missing), same))) => {
            around == same && closest(told, [missing.as_str()]).is_some()
        }
        _ => false,
    }
}

fn full(path: &[Step], at: &[Step]) -> String {
    dotted(&[path, at].concat())
}

/// How reading got past a mistake.
enum Past {
    /// Without it: it has a default.
    LeftOut,
    /// With something else in its place, which must not be taken for what was meant.
    StoodIn,
}

/// Leaves out what was wrong, or puts something in its place, so that reading gets past it. `None` if nothing does.
fn stand_in<T: DeserializeOwned>(node: &mut Node, at: &[Step], wrong: &Wrong) -> Option<Past> {
    let (last, around) = at.split_last()?;
    let mut candidates: Vec<Option<Value>> = vec![
        Some(Value::Text(String::new())),
        Some(Value::Table(Default::default())),
        Some(Value::Array(Vec::new())),
        Some(Value::Integer(1)),
        Some(Value::Boolean(false)),
        Some(Value::Text("1s".to_owned())),
    ];
    if let Kind::UnknownVariant { known, .. } = &wrong.kind {
        candidates.extend(known.first().map(|word| Some(Value::Text((*word).to_owned()))));
    }
    if matches!(last, Step::Key(_)) && !matches!(wrong.kind, Kind::Missing { .. }) {
        candidates.insert(0, None);
    }
    for candidate in candidates {
        let mut attempt = node.clone();
        let parent = attempt.at_mut(around)?;
        let way = if candidate.is_none() { Past::LeftOut } else { Past::StoodIn };
        match (&mut parent.value, last, candidate) {
            (Value::Table(table), Step::Key(key), None) => drop(table.remove(key)),
            (Value::Table(table), Step::Key(key), Some(value)) => drop(table.insert(key.clone(), Node { place: Place::Nowhere, value })),
            (Value::Array(array), Step::Index(index), Some(value)) if *index < array.len() => array[*index].value = value,
            _ => continue,
        }
        let unknown = RefCell::new(Vec::new());
        let past = match T::deserialize(Reader { node: &attempt, path: Vec::new(), beside: &[], values: &[], unknown: &unknown }) {
            Ok(_) => true,
            Err(next) => !next.location().starts_with(at),
        };
        if past {
            *node = attempt;
            return Some(way);
        }
    }
    None
}

/// Why a value could not be read.
#[derive(Debug)]
struct Wrong {
    /// Set by the innermost reader that the error passes.
    path: Option<Vec<Step>>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Missing { field: &'static str },
    UnknownVariant { found: String, known: &'static [&'static str] },
    UnknownField { found: String, known: &'static [&'static str] },
    WrongType { found: &'static str, expected: String },
    Other(String),
}

impl Wrong {
    fn new(kind: Kind) -> Self {
        Self { path: None, kind }
    }

    fn within(mut self, path: &[Step]) -> Self {
        self.path.get_or_insert_with(|| path.to_vec());
        self
    }

    fn location(&self) -> Vec<Step> {
        let mut path = self.path.clone().unwrap_or_default();
        match &self.kind {
            Kind::Missing { field } => path.push(Step::Key((*field).to_owned())),
            Kind::UnknownField { found, .. } if path.last() != Some(&Step::Key(found.clone())) => path.push(Step::Key(found.clone())),
            Kind::UnknownVariant { .. } | Kind::UnknownField { .. } | Kind::WrongType { .. } | Kind::Other(_) => {}
        }
        path
    }

    fn finding(&self) -> Finding {
        match &self.kind {
            Kind::Missing { field } => Finding::new("nothing", format!("the key `{field}`, which has no default"), "add it"),
            Kind::UnknownField { found, known } => unknown_key(found, known.iter().copied()),
            Kind::UnknownVariant { found, known } => {
                let remedy = match closest(found, known.iter().copied()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => "write one of these".to_owned(),
                };
                Finding::new(format!("`{found}`"), listed(known.iter().copied()), remedy)
            }
            Kind::WrongType { found, expected } => Finding::new(*found, plainly(expected), "write the value as expected"),
            // Our own types say in one sentence what was found, expected and to be done; `|` parts it.
            Kind::Other(text) => match text.splitn(3, " | ").collect::<Vec<_>>()[..] {
                [found, expected, remedy] => Finding::new(found, expected, remedy),
                _ => Finding::new("a value that does not fit", text.clone(), "correct the value"),
            },
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    fn custom<M: fmt::Display>(text: M) -> Self {
        Self::new(Kind::Other(text.to_string()))
    }

    // The value itself stays out: a secret in the wrong place must not end up on a screen.
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Kind::WrongType { found: kind_of(found), expected: expected.to_string() })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownVariant { found: found.to_owned(), known })
    }

    fn unknown_field(found: &str, known: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownField { found: found.to_owned(), known })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Kind::Missing { field })
    }
}

/// Serde's word for a type, as people say it.
fn plainly(expected: &str) -> String {
    let word = match expected {
        "a string" => "a text in quotes",
        "a sequence" => "a list in `[…]`",
        "a map" => "a table",
        "a boolean" => "`true` or `false`",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i64" => "a whole number",
        _ if expected.starts_with("struct ") => "a table",
        _ => expected,
    };
    word.to_owned()
}

fn kind_of(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "true or false",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
        Unexpected::Float(_) => "a number with a fraction",
        Unexpected::Char(_) | Unexpected::Str(_) => "a text",
        Unexpected::Seq => "a list",
        Unexpected::Map | Unexpected::StructVariant => "a table",
        Unexpected::Enum | Unexpected::UnitVariant | Unexpected::NewtypeVariant | Unexpected::TupleVariant => "a choice",
        Unexpected::Bytes(_) | Unexpected::Unit | Unexpected::Option | Unexpected::NewtypeStruct | Unexpected::Other(_) => "something else",
    }
}

type Unknown = RefCell<Vec<(Vec<Step>, Finding)>>;

/// Serde's view of a node.
#[derive(Clone)]
struct Reader<'a> {
    node: &'a Node,
    path: Vec<Step>,
    /// Further keys to name where the section's own keys are listed.
    beside: &'a [&'a str],
    /// The keys that a value's table may have in this section.
    values: &'a [&'a str],
    unknown: &'a Unknown,
}

impl<'a> Reader<'a> {
    fn child(&self, step: Step, node: &'a Node) -> Self {
        let mut path = self.path.clone();
        path.push(step);
        Self { node, path, beside: &[], values: self.values, unknown: self.unknown }
    }
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let path = self.path.clone();
        let result = match &self.node.value {
            Value::Text(text) | Value::Datetime(text) => visitor.visit_str(text),
            Value::Integer(number) => match u64::try_from(*number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_i64(*number),
            },
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Array(array) => visitor.visit_seq(Elements { reader: &self, rest: array.iter().enumerate() }),
            Value::Table(table) => visitor.visit_map(Entries { reader: &self, rest: table.iter(), next: None }),
        };
        result.map_err(|wrong| wrong.within(&path))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let Value::Table(table) = &self.node.value else { return self.deserialize_any(visitor) };
        // An unknown key is noted and left out, so that a type that denies it does not stop at it.
        for key in table.keys().filter(|key| !fields.contains(&key.as_str())) {
            let at = [self.path.as_slice(), &[Step::Key(key.clone())]].concat();
            self.unknown.borrow_mut().push((at, unknown_key(key, fields.iter().chain(self.beside).copied())));
        }
        let known: BTreeMap<_, _> =
            table.iter().filter(|(key, _)| fields.contains(&key.as_str())).map(|(key, node)| (key.clone(), node.clone())).collect();
        let node = Node { place: self.node.place.clone(), value: Value::Table(known) };
        Reader { node: &node, path: self.path, beside: &[], values: self.values, unknown: self.unknown }.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let path = self.path.clone();
        match &self.node.value {
            Value::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()).map_err(|wrong: Wrong| wrong.within(&path)),
            Value::Table(table) if table.len() == 1 => {
                let entries = Entries { reader: &self, rest: table.iter(), next: None };
                visitor.visit_enum(de::value::MapAccessDeserializer::new(entries)).map_err(|wrong| wrong.within(&path))
            }
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
                Err(Wrong::new(Kind::WrongType { found: self.node.kind(), expected: listed(variants.iter().copied()) }).within(&path))
            }
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        if let Some(Step::Key(key)) = self.path.last() {
            self.unknown.borrow_mut().push((self.path.clone(), unknown_key(key, self.values.iter().copied())));
        }
        visitor.visit_unit()
    }
}

struct Elements<'a, 'b> {
    reader: &'b Reader<'a>,
    rest: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'de> de::SeqAccess<'de> for Elements<'_, '_> {
    type Error = Wrong;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        let Some((index, node)) = self.rest.next() else { return Ok(None) };
        let child = self.reader.child(Step::Index(index), node);
        let path = child.path.clone();
        seed.deserialize(child).map(Some).map_err(|wrong| wrong.within(&path))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Entries<'a, 'b> {
    reader: &'b Reader<'a>,
    rest: std::collections::btree_map::Iter<'a, String, Node>,
    next: Option<(&'a String, &'a Node)>,
}

impl<'de> de::MapAccess<'de> for Entries<'_, '_> {
    type Error = Wrong;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        self.next = self.rest.next();
        let Some((key, node)) = self.next else { return Ok(None) };
        let path = self.reader.child(Step::Key(key.clone()), node).path;
        let key: de::value::StrDeserializer<'_, Wrong> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|wrong| wrong.within(&path))
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let Some((key, node)) = self.next.take() else { return Err(de::Error::custom("a value without a key")) };
        let child = self.reader.child(Step::Key(key.clone()), node);
        let path = child.path.clone();
        seed.deserialize(child).map_err(|wrong| wrong.within(&path))
    }
}
