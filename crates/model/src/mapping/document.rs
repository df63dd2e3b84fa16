//! A body, parsed once, straight into what expressions are evaluated on.
//!
//! Parsers differ on the odd corners of JSON, and an attacker lives in the difference (bad-inputs.md, section E). So
//! nothing here is lenient: a member that occurs twice is noted, a number that a double cannot hold exactly is kept
//! as its text, and depth and size are bounded.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use jmespath::{Rcvar, Variable};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::node::{Members, Node};
use crate::Reason;
use crate::event::Warning;

/// Most values (objects, lists, scalars) in one document.
pub const NODES_MAX: usize = 100_000;
/// Most characters of one number.
const NUMBER_CHARS_MAX: usize = 64;

/// What a body was read into, before it is known which part of it is an event.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    pub(crate) root: Node<'a>,
    /// A name occurred twice in some object of it.
    pub(crate) doubled: bool,
    /// What a person should know of how it was read.
    pub(crate) warnings: Vec<Warning>,
}

/// Names that occurred twice in one object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doubled {
    /// One that the mapping reads.
    pub(crate) read: Option<String>,
    /// How many there are.
    pub(crate) count: usize,
}

impl Doubled {
    /// Of everything in a value, as far as a mapping that reads these names is concerned.
    pub(crate) fn of(value: &Node<'_>, read: &BTreeSet<String>) -> Self {
        let mut names = BTreeSet::new();
        value.doubled_names(&mut names);
        Self { count: names.len(), read: names.into_iter().find(|name| read.contains(name)) }
    }

    pub(crate) fn and(self, other: &Self) -> Self {
        Self { count: self.count + other.count, read: self.read.or_else(|| other.read.clone()) }
    }
}

/// What an event is read from: a body, or an entry of one.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    pub(crate) root: Node<'a>,
    pub(crate) doubled: Doubled,
    library: OnceCell<Rcvar>,
    around: Option<Rc<Around>>,
}

/// The member of a batch's entry that holds what is around it.
pub(crate) const OUTER: &str = "_outer";

/// What is around the entries of one list, as the library holds it: all of them share it.
#[derive(Debug, Default)]
pub(crate) struct Around {
    library: OnceCell<Rcvar>,
    further_out: Option<Rc<Around>>,
}

impl Around {
    pub(crate) fn new(further_out: Option<Rc<Around>>) -> Rc<Self> {
        Rc::new(Self { library: OnceCell::new(), further_out })
    }
}

impl<'a> Document<'a> {
    pub(crate) fn new(root: Node<'a>, doubled: Doubled, around: Option<Rc<Around>>) -> Self {
        Self { root, doubled, library: OnceCell::new(), around }
    }

    /// The whole document as the library holds it: made when it is first asked for, and once.
    pub(crate) fn library(&self) -> &Rcvar {
        self.library.get_or_init(|| shared(&self.root, self.around.as_deref()))
    }
}

impl Document<'_> {
    /// The bytes that are the same for the same entry, whatever batch it comes in and however that is written.
    pub(crate) fn canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match &self.root {
            Node::Object(members) => members.write_canonical(self.around.as_ref().map(|_| OUTER), &mut bytes),
            other @ (Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::List(_) | Node::Reference) => {
                other.write_canonical(&mut bytes)
            }
        }
        bytes
    }
}

fn shared(value: &Node<'_>, around: Option<&Around>) -> Rcvar {
    let (Node::Object(members), Some(around)) = (value, around) else { return value.to_library() };
    let members = members.iter().map(|(name, value)| {
        let held = match name.as_ref() {
            OUTER => around.library.get_or_init(|| shared(value, around.further_out.as_deref())).clone(),
            _ => value.to_library(),
        };
        (name.as_ref().to_owned(), held)
    });
    Rcvar::new(Variable::Object(members.collect()))
}

/// Why a body cannot be read: a reason of the closed list and a sentence without values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

impl Unreadable {
    pub(crate) fn unparseable(message: impl Into<String>) -> Self {
        Self { reason: Reason::Unparseable, message: message.into() }
    }
}

/// Reads a body that must be JSON in UTF-8.
pub(crate) fn json<'a>(body: &'a [u8], budget: &Budget) -> Result<Node<'a>, Unreadable> {
    json_text(precheck(body)?, budget)
}

/// Reads a text that must be JSON.
pub(crate) fn json_text<'a>(text: &'a str, budget: &Budget) -> Result<Node<'a>, Unreadable> {
    budget.floats.set(false);
    let parsed = read(text, budget)?;
    if budget.floats.get()
        && let Some(quoted) = quote_inexact(text)?
    {
        return Ok(read(&quoted, &Budget::default())?.detached());
    }
    Ok(parsed)
}

/// What can be said before a parser is asked, in the words of the thing that went wrong.
fn precheck(body: &[u8]) -> Result<&str, Unreadable> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Unreadable::unparseable("The body is empty, and a JSON document is expected."));
    }
    if body.starts_with(&[0xef, 0xbb, 0xbf]) {
        return Err(Unreadable::unparseable("The body starts with a byte order mark, which JSON does not allow."));
    }
    let utf16 = body.starts_with(&[0xff, 0xfe]) || body.starts_with(&[0xfe, 0xff]) || matches!(body, [0, _, ..] | [_, 0, ..]);
    if utf16 {
        return Err(Unreadable::unparseable("The body is encoded as UTF-16 or UTF-32; only UTF-8 is read."));
    }
    if body.contains(&0) {
        return Err(Unreadable::unparseable("The body holds a zero byte, which JSON does not allow."));
    }
    std::str::from_utf8(body).map_err(|_| Unreadable::unparseable("The body is not UTF-8."))
}

/// What a parse may use up and what it finds out on the way.
#[derive(Default)]
pub(crate) struct Budget {
    nodes: Cell<usize>,
    floats: Cell<bool>,
    doubled: Cell<bool>,
}

impl Budget {
    fn spend<E: serde::de::Error>(&self) -> Result<(), E> {
        self.nodes.set(self.nodes.get() + 1);
        if self.nodes.get() > NODES_MAX { Err(E::custom("over the node budget")) } else { Ok(()) }
    }

    /// Counts one value.
    pub(crate) fn node(&self) -> Result<(), Unreadable> {
        self.nodes.set(self.nodes.get() + 1);
        if self.nodes.get() > NODES_MAX { Err(over_budget()) } else { Ok(()) }
    }

    /// Whether a name occurred twice in some object.
    pub(crate) fn doubled(&self) -> bool {
        self.doubled.get()
    }
}

fn over_budget() -> Unreadable {
    Unreadable { reason: Reason::Limits, message: format!("The document holds more than {NODES_MAX} values.") }
}

fn read<'a>(body: &'a str, budget: &Budget) -> Result<Node<'a>, Unreadable> {
    let mut deserializer = serde_json::Deserializer::from_str(body);
    let parsed = Seed(budget).deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    parsed.map_err(|error| {
        if budget.nodes.get() > NODES_MAX {
            return over_budget();
        }
        // serde_json's own words name a position and never a value, except for custom errors, which are ours.
        let said = error.to_string();
        let said = said.split(" at line ").next().unwrap_or_default();
        Unreadable::unparseable(format!("The body is not JSON: {said} (line {}, column {}).", error.line(), error.column()))
    })
}

#[derive(Clone, Copy)]
struct Seed<'b>(&'b Budget);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node<'de>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Node<'de>, D::Error> {
        self.0.spend()?;
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node<'de>, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node<'de>, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node<'de>, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node<'de>, E> {
        self.0.floats.set(true);
        if value == 0.0 && value.is_sign_negative() {
            return Ok(Node::Number(0.into()));
        }
        serde_json::Number::from_f64(value).map(Node::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Node<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = from.next_element_seed(self)? {
            entries.push(entry);
        }
        Ok(Node::List(entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Node<'de>, A::Error> {
        let (mut members, mut twice) = (Members::new(), Vec::new());
        while let Some(name) = from.next_key_seed(Name)? {
            let value = from.next_value_seed(self)?;
            if let Some(name) = members.insert(name, value) {
                self.0.doubled.set(true);
                twice.push(name);
            }
        }
        Ok(Node::Object(members.doubled(twice)))
    }
}

/// A member's name, borrowed where it holds no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Cow<'de, str>, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// Puts quotes around every number that would lose digits, in a body that is known to be JSON; `None` if there is none.
///
/// An id of twenty digits must reach the CRM as those twenty digits.
fn quote_inexact(body: &str) -> Result<Option<String>, Unreadable> {
    let mut quoted = String::new();
    let (mut at, mut copied) = (0, 0);
    while let Some(&byte) = body.as_bytes().get(at) {
        match byte {
            b'"' => at = string_end(body.as_bytes(), at),
            b'-' | b'0'..=b'9' => {
                let rest = &body[at..];
                let token =
                    &rest[..rest.find(|letter: char| !matches!(letter, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(rest.len())];
                if token.len() > NUMBER_CHARS_MAX {
                    return Err(Unreadable::unparseable(format!("The body holds a number of more than {NUMBER_CHARS_MAX} characters.")));
                }
                if !survives(token) {
                    quoted.push_str(&body[copied..at]);
                    quoted.push('"');
                    quoted.push_str(token);
                    quoted.push('"');
                    copied = at + token.len();
                }
                at += token.len().max(1);
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Ok(None);
    }
    quoted.push_str(&body[copied..]);
    Ok(Some(quoted))
}

/// The position after the string that starts at `start`.
fn string_end(body: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = body.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    body.len()
}

/// Whether a number's text comes back with the same digits from what it is parsed into.
pub(crate) fn survives(token: &str) -> bool {
    if !token.contains(['.', 'e', 'E']) {
        return token.parse::<i64>().is_ok() || token.parse::<u64>().is_ok();
    }
    match (decimal(token), token.parse::<f64>()) {
        (Some(written), Ok(parsed)) => decimal(&format!("{parsed:e}")) == Some(written),
        (None, _) | (_, Err(_)) => false,
    }
}

/// Sign, significant digits and the exponent of the last of them: equal for texts of the same value.
fn decimal(token: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
    let negative = mantissa.starts_with('-');
    let (whole, fraction) = mantissa.trim_start_matches('-').split_once('.').unwrap_or((mantissa.trim_start_matches('-'), ""));
    let mut exponent = exponent.parse::<i64>().ok()?.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Some((false, String::new(), 0));
    }
    exponent = exponent.checked_add(i64::try_from(digits.len() - digits.trim_end_matches('0').len()).ok()?)?;
    Some((negative, significant.to_owned(), exponent))
}

/// Reads a body that must be one JSON object.
#[cfg(test)]
pub(crate) fn parse(body: &[u8]) -> Result<Document<'_>, Unreadable> {
    let root = json(body, &Budget::default())?;
    super::content::check_shape(&root, false)?;
    let doubled = Doubled::of(&root, &["b".to_owned()].into());
    Ok(Document::new(root, doubled, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(body: &str) -> String {
        let body = format!(r#"{{"v":{body}}}"#);
        let document = parse(body.as_bytes()).unwrap();
        document.root.member("v").unwrap().to_library().to_string()
    }

    fn refused(body: &[u8]) -> Unreadable {
        parse(body).unwrap_err()
    }

    #[test]
    fn numbers_keep_their_digits() {
        for (written, held) in [
            ("9007199254740993", "9007199254740993"),
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551616", r#""18446744073709551616""#),
            ("100000000000000000000", r#""100000000000000000000""#),
            ("-9223372036854775809", r#""-9223372036854775809""#),
            ("0.1000000000000000055", r#""0.1000000000000000055""#),
            ("1e-400", r#""1e-400""#),
            ("1.10", "1.1"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("1e3", "1000.0"),
            (r#"["1e-400",1e-400,"\"",1e-400]"#, r#"["1e-400","1e-400","\"","1e-400"]"#),
        ] {
            assert_eq!(value(written), held, "{written}");
        }
    }

    #[test]
    fn what_is_no_json_object_is_refused_with_a_reason() {
        let deep = [vec![b'['; 200], vec![b']'; 200]].concat();
        let digits = format!(r#"{{"v":{}.0}}"#, "1".repeat(65));
        for (body, said) in [
            (&b""[..], "empty"),
            (b" \r\n\t ", "empty"),
            (b"\xef\xbb\xbf{}", "byte order mark"),
            (b"\xff\xfe{\0}\0", "UTF-16"),
            (b"{\0}\0", "UTF-16"),
            (b"\0{\0}", "UTF-16"),
            (b"{\"a\":\"\0\"}", "zero byte"),
            (b"{\"a\":\"\xc0\xaf\"}", "not UTF-8"),
            (b"{\"a\":\"\xed\xa0\x80\"}", "not UTF-8"),
            (b"null", "is null"),
            (b"1", "is a number"),
            (b"\"x\"", "is a string"),
            (b"[]", "is a list"),
            (&deep, "recursion limit"),
            (b"{} {}", "trailing characters"),
            (b"{\"a\":1,}", "trailing comma"),
            (b"{/**/}", "not JSON"),
            (b"{'a':1}", "not JSON"),
            (b"{\"a\":NaN}", "not JSON"),
            (b"{\"a\":01}", "not JSON"),
            (b"{\"a\":\"\n\"}", "control character"),
            (b"{\"a\":\"\\ud800\"}", "not JSON"),
            (b"{\"a\":1e400}", "out of range"),
            (b"{\"a\":", "EOF"),
            (digits.as_bytes(), "more than 64 characters"),
        ] {
            let refused = refused(body);
            assert_eq!(refused.reason, Reason::Unparseable);
            assert!(refused.message.contains(said), "{:?}: {}", String::from_utf8_lossy(&body[..body.len().min(40)]), refused.message);
        }
    }

    #[test]
    fn a_document_of_too_many_values_is_over_a_limit() {
        let body = format!(r#"{{"a":[{}1]}}"#, "1,".repeat(NODES_MAX));
        assert_eq!(refused(body.as_bytes()).reason, Reason::Limits);
        let body = format!(r#"{{"a":[{}1]}}"#, "1,".repeat(NODES_MAX - 10));
        assert!(parse(body.as_bytes()).is_ok());
    }

    #[test]
    fn a_name_that_occurs_twice_is_noted() {
        let document = parse(br#"{"a":{"b":1,"b":2},"c":1}"#).unwrap();
        assert_eq!((document.doubled.count, document.doubled.read.as_deref()), (1, Some("b")));
    }

    #[test]
    fn the_errors_never_show_a_value() {
        let refused = refused(br#"{"email":"ada@example.com",}"#);
        assert!(!refused.message.contains("ada"), "{}", refused.message);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_doubles_text_is_read_as_it_is_written(value in proptest::num::f64::NORMAL) {
            let text = format!("{value:e}");
            proptest::prop_assert!(survives(&text));
        }
    }
}
