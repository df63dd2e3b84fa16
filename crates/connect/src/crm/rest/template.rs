//! Texts and bodies with places for a record's values, and pointers into answers.

use std::collections::BTreeMap;

use model::record::Link;
use serde_json::{Map, Value};

use crate::wire::encode;

/// Deepest nesting of a body.
const DEPTH_MAX: usize = 16;
/// Longest template, in bytes.
const TEXT_MAX: usize = 2_048;

/// What stands in a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    pub destination: &'a str,
    pub object: &'a str,
    pub key: &'a str,
    pub id: Option<&'a str>,
    pub revision: i64,
    pub key_field: &'a str,
    pub fields: &'a BTreeMap<String, Value>,
}

/// A place in a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Destination,
    Object,
    Key,
    /// The keys of several records, with commas between them.
    Keys,
    Id,
    Revision,
    /// Every field, the key's among them.
    Record,
    Field(String),
}

/// Which places a template may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed<'a> {
    /// By the word in braces.
    pub places: &'a [&'static str],
    /// What may follow `fields.`; none: no field may be named.
    pub fields: &'a [String],
}

impl Allowed<'_> {
    fn read(&self, word: &str) -> Result<Place, String> {
        let place = match word {
            "destination" => Some(Place::Destination),
            "object" => Some(Place::Object),
            "key" => Some(Place::Key),
            "keys" => Some(Place::Keys),
            "id" => Some(Place::Id),
            "revision" => Some(Place::Revision),
            "record" => Some(Place::Record),
            _ => None,
        };
        if let Some(place) = place.filter(|_| self.places.contains(&word)) {
            return Ok(place);
        }
        match word.strip_prefix("fields.") {
            Some(field) if self.fields.iter().any(|known| known == field) => Ok(Place::Field(field.to_owned())),
            Some(field) if !self.fields.is_empty() => {
                Err(format!("`{{{word}}}` names a field that this object does not have: `{field}` is not in its `fields`"))
            }
            Some(_) | None => {
                let mut known: Vec<String> = self.places.iter().map(|place| format!("`{{{place}}}`")).collect();
                if !self.fields.is_empty() {
                    known.push("`{fields.NAME}`".to_owned());
                }
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Err(format!("`{{{word}}}` is no placeholder here; there is {known}, and `{{{{` for a brace"))
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(Place),
}

/// A text with places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

impl Template {
    /// Reads `/v1/invoices/{key}`; `{{` and `}}` stand for braces.
    pub fn parse(text: &str, allowed: Allowed<'_>) -> Result<Self, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("is longer than {TEXT_MAX} bytes"));
        }
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if after.starts_with(brace) {
                plain.push_str(brace);
                rest = &after[1..];
                continue;
            }
            let Some((word, after)) = after.split_once('}').filter(|_| brace == "{") else {
                return Err(format!("`{text}` has a brace without its other half; `{{{{` and `}}}}` stand for braces"));
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Place(allowed.read(word.trim())?));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// Reads a path with its query: `/` first, visible ASCII, no fragment, and no segment that a URL takes for a way up.
    pub fn parse_path(text: &str, allowed: Allowed<'_>) -> Result<Self, String> {
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\"<>\\^`|".contains(&byte));
        if !text.starts_with('/') || text.starts_with("//") || !plain {
            return Err(format!("`{text}` is no path: write one that begins with `/`, in visible ASCII, percent-encoded where needed"));
        }
        let (path, _) = text.split_once('?').unwrap_or((text, ""));
        if path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(format!("`{text}` leads out of where it stands"));
        }
        let template = Self::parse(text, allowed)?;
        match template.0.iter().any(|piece| matches!(piece, Piece::Text(text) if text.contains(['{', '}']))) {
            true => Err("a path has no braces but those of placeholders".to_owned()),
            false => Ok(template),
        }
    }

    /// Whether a place occurs in it.
    pub fn has(&self, place: &Place) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Place(held) if held == place))
    }

    /// The text, each value percent-encoded so that it stays within its segment or its part of the query. `None`: a value is not there.
    pub fn path(&self, values: &Values<'_>) -> Option<String> {
        self.render(|place| Some(encode(&values.text(place)?)))
    }

    /// The same with the keys of several records.
    pub fn path_of_keys(&self, values: &Values<'_>, keys: &[&str]) -> Option<String> {
        self.render(|place| match place {
            Place::Keys => Some(keys.iter().map(|key| encode(key)).collect::<Vec<_>>().join(",")),
            Place::Destination | Place::Object | Place::Key | Place::Id | Place::Revision | Place::Record | Place::Field(_) => {
                Some(encode(&values.text(place)?))
            }
        })
    }

    /// The text as it is.
    fn text(&self, values: &Values<'_>) -> Option<String> {
        self.render(|place| values.text(place))
    }

    fn render(&self, value: impl Fn(&Place) -> Option<String>) -> Option<String> {
        self.0.iter().try_fold(String::new(), |mut text, piece| {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Place(place) => text.push_str(&value(place)?),
            }
            Some(text)
        })
    }

    /// Its only place, if it is nothing else.
    fn only(&self) -> Option<&Place> {
        match self.0.as_slice() {
            [Piece::Place(place)] => Some(place),
            _ => None,
        }
    }
}

impl Values<'_> {
    /// A field's value; the key's field holds the key.
    fn field(&self, name: &str) -> Option<Value> {
        if name == self.key_field {
            return Some(Value::String(self.key.to_owned()));
        }
        self.fields.get(name).map(plain)
    }

    fn value(&self, place: &Place) -> Option<Value> {
        match place {
            Place::Record => {
                let mut record = Map::from_iter([(self.key_field.to_owned(), Value::String(self.key.to_owned()))]);
                record.extend(self.fields.iter().map(|(name, value)| (name.clone(), plain(value))));
                Some(Value::Object(record))
            }
            Place::Field(name) => self.field(name),
            Place::Revision => Some(Value::from(self.revision)),
            Place::Destination | Place::Object | Place::Key | Place::Keys | Place::Id => self.text(place).map(Value::String),
        }
    }

    fn text(&self, place: &Place) -> Option<String> {
        match place {
            Place::Destination => Some(self.destination.to_owned()),
            Place::Object => Some(self.object.to_owned()),
            Place::Key => Some(self.key.to_owned()),
            Place::Id => self.id.map(str::to_owned),
            Place::Revision => Some(self.revision.to_string()),
            Place::Field(name) => match self.field(name)? {
                Value::Null => None,
                Value::String(text) => Some(text),
                other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => Some(other.to_string()),
            },
            Place::Keys | Place::Record => None,
        }
    }
}

/// A value as it is sent: a link is its record's id there, or its key where nobody knows the id.
pub(super) fn plain(value: &Value) -> Value {
    match Link::of(value) {
        Some(link) => Value::String(link.crm_id.unwrap_or(link.key)),
        None => value.clone(),
    }
}

/// A body with places.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Body {
    Literal(Value),
    /// Nothing but a place: the value itself, with its type.
    Value(Place),
    Text(Template),
    Object(Vec<(String, Body)>),
    List(Vec<Body>),
}

impl Body {
    /// Reads a template.
    pub fn parse(value: &Value, allowed: Allowed<'_>) -> Result<Self, String> {
        Self::parse_at(value, allowed, 0)
    }

    fn parse_at(value: &Value, allowed: Allowed<'_>, depth: usize) -> Result<Self, String> {
        if depth > DEPTH_MAX {
            return Err(format!("is nested more than {DEPTH_MAX} deep"));
        }
        Ok(match value {
            Value::String(text) => {
                let template = Template::parse(text, allowed)?;
                match template.only() {
                    Some(place) => Self::Value(place.clone()),
                    None if template.has(&Place::Record) => return Err("`{record}` stands alone, as a value of its own".to_owned()),
                    None => Self::Text(template),
                }
            }
            Value::Array(entries) => {
                Self::List(entries.iter().map(|entry| Self::parse_at(entry, allowed, depth + 1)).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => {
                let member = |(name, value): (&String, &Value)| Ok((name.clone(), Self::parse_at(value, allowed, depth + 1)?));
                Self::Object(members.iter().map(member).collect::<Result<_, String>>()?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::Literal(value.clone()),
        })
    }

    /// The value that is sent. What this record says nothing of is left out, and with it what holds nothing else.
    pub fn render(&self, values: &Values<'_>) -> Option<Value> {
        match self {
            Self::Literal(value) => Some(value.clone()),
            Self::Value(place) => values.value(place),
            Self::Text(template) => template.text(values).map(Value::String),
            Self::List(entries) => {
                let rendered: Vec<Value> = entries.iter().filter_map(|entry| entry.render(values)).collect();
                (entries.is_empty() || !rendered.is_empty()).then_some(Value::Array(rendered))
            }
            Self::Object(members) => {
                let rendered: Map<String, Value> =
                    members.iter().filter_map(|(name, member)| Some((name.clone(), member.render(values)?))).collect();
                (members.is_empty() || !rendered.is_empty()).then_some(Value::Object(rendered))
            }
        }
    }
}

/// Where something is in a JSON document (RFC 6901); where several may be meant, `*` stands for each entry of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pointer(Vec<String>);

impl Pointer {
    /// Reads `/data/id`; the empty text is the document itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let segments = text.strip_prefix('/').filter(|_| text.len() <= TEXT_MAX);
        let segments = segments.ok_or_else(|| format!("`{text}` is no JSON pointer; one looks like `/data/id`"))?;
        Ok(Self(segments.split('/').map(|segment| segment.replace("~1", "/").replace("~0", "~")).collect()))
    }

    /// What is there.
    pub fn get<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(value, |value, segment| step(value, segment))
    }

    /// Everything that is there, with `*` for each entry of a list.
    pub fn all<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        self.0.iter().fold(vec![value], |values, segment| match segment.as_str() {
            "*" => values.into_iter().filter_map(Value::as_array).flatten().collect(),
            segment => values.into_iter().filter_map(|value| step(value, segment)).collect(),
        })
    }

    /// A document with a value there and nothing else.
    pub fn wrap(&self, value: Value) -> Value {
        self.0.iter().rev().fold(value, |value, segment| Value::Object(Map::from_iter([(segment.clone(), value)])))
    }
}

fn step<'a>(value: &'a Value, segment: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) => members.get(segment),
        Value::Array(entries) => entries.get(segment.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn allowed(fields: &[String]) -> Allowed<'_> {
        Allowed { places: &["key", "id", "object", "destination", "revision", "record"], fields }
    }

    fn rendered(template: &Value, fields: &Value) -> Value {
        let known = ["number", "total", "street", "note"].map(str::to_owned);
        let fields = fields.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let values =
            Values { destination: "erp", object: "Invoice", key: "R 1/2", id: None, revision: 3, key_field: "number", fields: &fields };
        Body::parse(template, allowed(&known)).unwrap().render(&values).unwrap_or_default()
    }

    #[test]
    fn a_body_keeps_types_and_leaves_out_what_the_record_says_nothing_of() {
        let template = json!({
            "no": "{key}", "total": "{fields.total}", "text": "No. {fields.number}, {{draft}}", "note": "{fields.note}",
            "address": { "street": "{fields.street}" }, "lines": [{ "amount": "{fields.total}" }], "kind": "sale", "empty": {},
        });
        assert_eq!(
            rendered(&template, &json!({ "total": 12.5, "note": null })),
            json!({
                "no": "R 1/2", "total": 12.5, "text": "No. R 1/2, {draft}", "note": null, "lines": [{ "amount": 12.5 }],
                "kind": "sale", "empty": {},
            })
        );
        assert_eq!(rendered(&json!("{record}"), &json!({ "total": 1 })), json!({ "number": "R 1/2", "total": 1 }));
        let link = Link { object: "Customer".into(), key_field: "no".into(), key: "c1".into(), crm_id: Some("77".into()) };
        assert_eq!(rendered(&json!(["{fields.note}"]), &json!({ "note": link.to_value() })), json!(["77"]));
    }

    #[test]
    fn a_value_never_leaves_its_part_of_a_path() {
        let fields = BTreeMap::new();
        let values = Values {
            destination: "erp",
            object: "Invoice",
            key: "a/../b?x#é",
            id: Some("7"),
            revision: 1,
            key_field: "no",
            fields: &fields,
        };
        let path = Template::parse_path("/v1/{object}/{key}?q={key}&id={id}", allowed(&[])).unwrap();
        assert_eq!(path.path(&values).unwrap(), "/v1/Invoice/a%2F..%2Fb%3Fx%23%C3%A9?q=a%2F..%2Fb%3Fx%23%C3%A9&id=7");
        assert_eq!(Template::parse_path("/{id}", allowed(&[])).unwrap().path(&Values { id: None, ..values }), None);
    }

    #[test]
    fn what_cannot_be_filled_in_is_refused_with_what_can() {
        let known = ["total".to_owned()];
        for (text, says) in [
            ("{amount}", "`{record}`, `{fields.NAME}`"),
            ("{fields.amount}", "`amount` is not in its `fields`"),
            ("{key", "without its other half"),
            ("key}", "without its other half"),
            ("{}", "no placeholder"),
        ] {
            let error = Template::parse(text, allowed(&known)).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        for path in ["v1", "//host/x", "/a b", "/a#b", "/ä", "/a/../b", "/{{x}}"] {
            assert!(Template::parse_path(path, allowed(&[])).is_err(), "{path}");
        }
        assert!(Body::parse(&json!("x{record}"), allowed(&[])).is_err());
    }

    #[test]
    fn a_pointer_finds_one_thing_or_each() {
        let body = json!({ "a/b": { "~": [{ "f": 1 }, { "f": 2 }, {}] } });
        assert_eq!(Pointer::parse("/a~1b/~0/1/f").unwrap().get(&body), Some(&json!(2)));
        assert_eq!(Pointer::parse("/a~1b/~0/*/f").unwrap().all(&body), [&json!(1), &json!(2)]);
        assert_eq!(Pointer::parse("").unwrap().get(&body), Some(&body));
        assert_eq!(Pointer::parse("/data/items").unwrap().wrap(json!([1])), json!({ "data": { "items": [1] } }));
        assert!(Pointer::parse("data").is_err());
    }
}
