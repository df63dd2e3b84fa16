//! The value at a place of a request.

use std::borrow::Cow;

use super::compile::{Compiled, Place};
use super::document::Document;
use super::expression::Found;
use super::node::Node;
use super::normalize::{Unusable, scalar_text};
use crate::Received;
use crate::received::percent_decoded;
use crate::source::Source;

/// A value as it was found.
pub(super) enum Sought<'a> {
    /// Nothing there.
    Absent,
    /// There, and null or empty.
    Blank,
    Value(Cow<'a, Node<'a>>),
}

/// The value at a place, as it is there.
pub(super) fn fetch<'a>(
    source: &'a Source,
    request: &'a Received<'a>,
    document: Option<&'a Document<'a>>,
    compiled: &'a Compiled,
) -> Result<Sought<'a>, Unusable> {
    match &compiled.place {
        Place::Constant(value) => Ok(Sought::Value(Cow::Borrowed(value))),
        Place::Header(name) => match source.headers.header(request, name) {
            Ok(Some(bytes)) => text_value(bytes).map(|text| text.map_or(Sought::Blank, |text| Sought::text(Cow::Borrowed(text)))),
            Ok(None) => Ok(Sought::Absent),
            Err(()) => Err(Unusable { kind: "header_doubled", found: "says more than one thing".to_owned() }),
        },
        Place::Query(name) => match query_parameter(request.query(), name) {
            Ok(Some(bytes)) => text_value(&bytes).map(|text| text.map_or(Sought::Blank, |text| Sought::text(Cow::Owned(text.to_owned())))),
            Ok(None) => Ok(Sought::Absent),
            Err(()) => Err(Unusable { kind: "query_doubled", found: "occurs twice".to_owned() }),
        },
        Place::Expression(expression) => {
            let Some(document) = document else { return Ok(Sought::Absent) };
            let value = match expression.find(document) {
                Some(Found::Absent) => return Ok(Sought::Absent),
                Some(Found::Value(value)) => Cow::Borrowed(value),
                None => expression.evaluate(document).map_err(|found| Unusable { kind: "expression_failed", found })?,
            };
            let blank = value.is_null() || value.text().is_some_and(str::is_empty);
            Ok(if blank { Sought::Blank } else { Sought::Value(value) })
        }
    }
}

impl<'a> Sought<'a> {
    fn text(text: Cow<'a, str>) -> Self {
        Self::Value(Cow::Owned(Node::Text(text)))
    }
}

pub(super) fn scalar(fetched: Result<Sought<'_>, Unusable>) -> String {
    match fetched {
        Ok(Sought::Value(value)) => scalar_text(&value).map(Cow::into_owned).unwrap_or_default(),
        Ok(Sought::Absent | Sought::Blank) | Err(_) => String::new(),
    }
}

/// `None` for nothing but white space.
fn text_value(bytes: &[u8]) -> Result<Option<&str>, Unusable> {
    match std::str::from_utf8(bytes).map(str::trim) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(_) => Err(Unusable { kind: "not_utf8", found: "is not UTF-8".to_owned() }),
    }
}

/// A parameter's bytes, decoded; an error if it occurs twice.
fn query_parameter(query: &str, name: &str) -> Result<Option<Vec<u8>>, ()> {
    let mut found = query.split('&').filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decoded(key.as_bytes()) == name.as_bytes()).then(|| percent_decoded(value.as_bytes()))
    });
    let first = found.next();
    if found.next().is_some() { Err(()) } else { Ok(first) }
}
