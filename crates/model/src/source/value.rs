//! Where a value is and what is to be made of it, as it is written.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// Where a value is and what is to be made of it: a JMESPath expression, or a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct ValueDef {
    /// JMESPath over the payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// A header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// A parameter of the query string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The value itself.
    #[serde(rename = "const", default, skip_serializing_if = "Option::is_none")]
    pub constant: Option<Value>,
    /// The normalizer: `text`, `lower`, `email`, `phone`, `domain`, `number`, `money`, `boolean`, `datetime`, `date`, `full_name`, `country`,
    /// `enum`, `html_to_text`, `list`, `raw`.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub normalizer: Option<String>,
    /// The id of an event whose object is fetched may come from a header that is not signed: whoever sends it again under another one causes one
    /// more look at what is there now, and nothing else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsigned: bool,
    /// Without it the event is a dead letter.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// `phone`: the country whose national numbers are understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// `datetime`: how it is written: `s`, `ms`, `us`, `ns` (a number since 1970), `rfc3339`, `rfc2822`, `http-date`, `date-time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// `datetime` with `unit = "date-time"`: whose clock it is: `Europe/London`. Default `UTC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// `money`: it counts the smallest unit of this currency (cents); an expression that gives its code: `currency`, or `'EUR'`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minor: Option<String>,
    /// `money`: the sign before the cents, `.` or `,`, where texts could mean either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimal: Option<String>,
    /// `enum`: what a value becomes; `*` stands for every other.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
    /// `list`: what stands between a text's entries; default `;` where there is one, else `,`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// A null or an empty text in the payload blanks the field in the CRM.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clear: bool,
    /// The value where the payload has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Cuts a text to this many characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate: Option<u64>,
}

impl ValueDef {
    /// What the plain string form stands for.
    pub fn expression(text: impl Into<String>) -> Self {
        Self { from: Some(text.into()), ..Self::default() }
    }

    /// A value that is always the same.
    pub fn constant(value: impl Into<Value>) -> Self {
        Self { constant: Some(value.into()), ..Self::default() }
    }
}

impl Serialize for ValueDef {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, to)
    }
}

/// Reads a string as `plain` says and a table as [`ValueDef`], through whatever watches the keys that go by.
struct StringOrTable(fn(String) -> ValueDef);

impl<'de> Visitor<'de> for StringOrTable {
    type Value = ValueDef;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, or a table with one of `from`, `header`, `query`, `const`")
    }

    fn visit_str<E>(self, text: &str) -> Result<ValueDef, E> {
        Ok(self.0(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<ValueDef, A::Error> {
        ValueDef::deserialize(MapAccessDeserializer::new(members))
    }
}

impl<'de> Deserialize<'de> for ValueDef {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(StringOrTable(Self::expression))
    }
}

/// An event's type: a literal, or a table like that of any other value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TypeDef(pub ValueDef);

impl Serialize for TypeDef {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        ValueDef::serialize(&self.0, to)
    }
}

impl<'de> Deserialize<'de> for TypeDef {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(StringOrTable(ValueDef::constant)).map(Self)
    }
}

/// Questions and answers of a form, as they come: each becomes an attribute `answer_…`, named after its question. At most 100.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswersDef {
    /// JMESPath over the payload: a list with an entry for each question, or an object whose names are the questions.
    pub from: String,
    /// JMESPath over an entry: the question. Default `label`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// JMESPath over an entry: the answer. Default `value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Questions that are mapped elsewhere; compared word by word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}
