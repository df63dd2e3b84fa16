//! What a scheme reads out of a body or a query string. Read when it is asked for, once.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use sha2::{Digest, Sha256};

use crate::Received;
use crate::received::percent_decoded;

/// Most values of a JSON body, so that a small body cannot become a large tree.
const NODES_MAX: usize = 100_000;
/// Most pairs of a form or a query string.
const PAIRS_MAX: usize = 10_000;

/// Why a value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is there twice.
    Doubled,
    /// It is there, and is no text.
    Shape,
    /// The body is no such JSON or form.
    Unreadable,
}

/// A value's text, where there is one.
pub(super) type Found<'a> = Result<Option<Cow<'a, str>>, Fault>;

/// A path of plain names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path(pub(super) Vec<String>);

impl Path {
    /// `None` unless it is one to eight names of letters, digits, `_`, `-`, `$` and `@` with dots between them.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let plain = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-$@".contains(&byte));
        let names: Vec<&str> = text.split('.').collect();
        let fits = names.len() <= 8 && text.len() <= 128 && names.iter().all(|name| plain(name));
        fits.then(|| Self(names.into_iter().map(str::to_owned).collect()))
    }
}

/// A JSON value as a scheme needs it: every name is kept, so that one that is there twice is seen.
#[derive(Debug)]
pub(super) enum Tree {
    Null,
    Text(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    fn parse(body: &[u8]) -> Option<Self> {
        let budget = Cell::new(NODES_MAX);
        let mut reader = serde_json::Deserializer::from_slice(body);
        let tree = Reader(&budget).deserialize(&mut reader).ok()?;
        reader.end().ok().map(|()| tree)
    }

    pub(super) fn at(&self, path: &Path) -> Result<Option<&Tree>, Fault> {
        let mut held = self;
        for name in &path.0 {
            let Self::Object(members) = held else { return Ok(None) };
            let mut named = members.iter().filter(|(member, _)| member == name);
            match (named.next(), named.next()) {
                (None, _) => return Ok(None),
                (Some((_, member)), None) => held = member,
                (Some(_), Some(_)) => return Err(Fault::Doubled),
            }
        }
        Ok(Some(held))
    }

    /// The text, number, `true` or `false` at a path; nothing for null.
    pub(super) fn text(&self, path: &Path) -> Found<'_> {
        match self.at(path)? {
            None | Some(Self::Null) => Ok(None),
            Some(Self::Text(text)) => Ok(Some(Cow::Borrowed(text))),
            Some(Self::List(_) | Self::Object(_)) => Err(Fault::Shape),
        }
    }
}

struct Reader<'b>(&'b Cell<usize>);

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Tree;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Tree, D::Error> {
        let left = self.0.get().checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?;
        self.0.set(left);
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element_seed(Reader(self.0))? {
            list.push(entry);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Tree, A::Error> {
        let mut object = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            object.push((name, members.next_value_seed(Reader(self.0))?));
        }
        Ok(Tree::Object(object))
    }
}

/// Names and values, decoded, in the order in which they came.
pub(super) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Reads `a=1&b=2`; `None` if there are too many pairs.
pub(super) fn pairs(text: &[u8]) -> Option<Pairs> {
    let pieces = || text.split(|&byte| byte == b'&').filter(|piece| !piece.is_empty());
    if pieces().take(PAIRS_MAX + 1).count() > PAIRS_MAX {
        return None;
    }
    let pair = |piece: &[u8]| {
        let at = piece.iter().position(|&byte| byte == b'=');
        let (name, value) = at.map_or((piece, &b""[..]), |at| (&piece[..at], &piece[at + 1..]));
        (percent_decoded(name), percent_decoded(value))
    };
    Some(pieces().map(pair).collect())
}

/// A request's body and query string, each read once and only if it is needed.
pub(super) struct Inside<'a> {
    body: &'a [u8],
    query: &'a str,
    json: OnceCell<Option<Tree>>,
    form: OnceCell<Option<Pairs>>,
    parameters: OnceCell<Option<Pairs>>,
    sorted: OnceCell<Vec<u8>>,
    sha256: OnceCell<String>,
    crc32: OnceCell<String>,
}

impl<'a> Inside<'a> {
    pub(super) fn new(request: &Received<'a>) -> Self {
        Self {
            body: request.body,
            query: request.query(),
            json: OnceCell::new(),
            form: OnceCell::new(),
            parameters: OnceCell::new(),
            sorted: OnceCell::new(),
            sha256: OnceCell::new(),
            crc32: OnceCell::new(),
        }
    }

    pub(super) fn json(&self) -> Result<&Tree, Fault> {
        self.json.get_or_init(|| Tree::parse(self.body)).as_ref().ok_or(Fault::Unreadable)
    }

    fn form_pairs(&self) -> Result<&Pairs, Fault> {
        self.form.get_or_init(|| pairs(self.body)).as_ref().ok_or(Fault::Unreadable)
    }

    pub(super) fn form(&self, name: &str) -> Found<'_> {
        one(self.form_pairs()?, name)
    }

    pub(super) fn query(&self, name: &str) -> Found<'_> {
        one(self.parameters.get_or_init(|| pairs(self.query.as_bytes())).as_ref().ok_or(Fault::Unreadable)?, name)
    }

    /// Every field's name and then its distinct values, all sorted by their bytes: what Twilio and Mandrill sign after the URL.
    pub(super) fn form_sorted(&self) -> Result<&[u8], Fault> {
        let pairs = self.form_pairs()?;
        let sorted = || {
            let mut sorted: Vec<&(Vec<u8>, Vec<u8>)> = pairs.iter().collect();
            sorted.sort_unstable();
            sorted.dedup();
            let mut text = Vec::with_capacity(self.body.len());
            for (name, value) in sorted {
                text.extend_from_slice(name);
                text.extend_from_slice(value);
            }
            text
        };
        Ok(self.sorted.get_or_init(sorted))
    }

    /// Of the body, in hex.
    pub(super) fn sha256(&self) -> &str {
        self.sha256.get_or_init(|| hex::encode(Sha256::digest(self.body)))
    }

    /// Of the body, in decimal.
    pub(super) fn crc32(&self) -> &str {
        self.crc32.get_or_init(|| crc32(self.body).to_string())
    }
}

fn one<'p>(pairs: &'p Pairs, name: &str) -> Found<'p> {
    let mut named = pairs.iter().filter(|(held, _)| held == name.as_bytes());
    match (named.next(), named.next()) {
        (None, _) => Ok(None),
        (Some((_, value)), None) => std::str::from_utf8(value).map(|text| Some(Cow::Borrowed(text))).map_err(|_| Fault::Shape),
        (Some(_), Some(_)) => Err(Fault::Doubled),
    }
}

/// One field of pairs that are read for it alone.
pub(super) fn field(text: &[u8], name: &str) -> Result<Option<String>, Fault> {
    let pairs = pairs(text).ok_or(Fault::Unreadable)?;
    one(&pairs, name).map(|text| text.map(Cow::into_owned))
}

/// CRC-32 as in IEEE 802.3, reflected: what zlib's `crc32` gives.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut at = 0;
        while at < 256 {
            let mut value = at as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
                bit += 1;
            }
            table[at] = value;
            at += 1;
        }
        table
    };
    !bytes.iter().fold(u32::MAX, |sum, &byte| sum >> 8 ^ TABLE[usize::from(sum as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_that_everybody_means() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_name_that_is_there_twice_matters_where_it_is_asked_for() {
        let tree = Tree::parse(br#"{"a":{"b":1,"c":"x","c":"y","d":null,"e":[],"f":12.5},"z":1,"z":2}"#).unwrap();
        let text = |path: &str| tree.text(&Path::parse(path).unwrap()).map(|text| text.map(Cow::into_owned));
        assert_eq!(text("a.b"), Ok(Some("1".to_owned())));
        assert_eq!(text("a.f"), Ok(Some("12.5".to_owned())));
        assert_eq!(text("a.c"), Err(Fault::Doubled));
        assert_eq!(text("a.d"), Ok(None));
        assert_eq!(text("a.e"), Err(Fault::Shape));
        assert_eq!(text("a.b.c"), Ok(None));
        for broken in ["{", "{} {}", "", "[1,]"] {
            assert!(Tree::parse(broken.as_bytes()).is_none(), "{broken}");
        }
        let large = format!("[{}1]", "1,".repeat(NODES_MAX));
        assert!(Tree::parse(large.as_bytes()).is_none());
        for path in ["", "a..b", "a b", "a[0]", "a.b.c.d.e.f.g.h.i"] {
            assert!(Path::parse(path).is_none(), "{path}");
        }
    }

    #[test]
    fn a_form_is_sorted_by_name_and_then_by_value_without_repetitions() {
        let request = Received { method: "POST", target: "/x?q=%C3%AB&r=1&r=2", headers: &[], body: b"b=2&a=%2B+1&b=1&b=2&&c" };
        let inside = Inside::new(&request);
        assert_eq!(inside.form_sorted().unwrap(), b"a+ 1b1b2c");
        assert_eq!(inside.form("a").unwrap().as_deref(), Some("+ 1"));
        assert_eq!(inside.form("b"), Err(Fault::Doubled));
        assert_eq!(inside.query("q").unwrap().as_deref(), Some("ë"));
        assert_eq!(inside.query("r"), Err(Fault::Doubled));
        assert_eq!(inside.query("s"), Ok(None));
        assert!(pairs("a&".repeat(PAIRS_MAX + 1).as_bytes()).is_none());
    }
}
