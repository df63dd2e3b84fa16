//! The signed text's template, read into parts.

use super::body::Path;
use super::compile::Work;
use super::scheme::Kind;

/// Most bytes of a template.
const TEMPLATE_BYTES_MAX: usize = 512;
const PLACEHOLDERS: &str = "{body}, {timestamp}, {header:name}, {method}, {target}, {path}, {url}, {query:name}, {query-lower:name}, {form:name}, {form-sorted}, \
     {json:path}, {json?:path}, {item:path}, {item?:path}, {crc32}, {sha256}, {secret} and {setting:name}";

/// A piece of the signed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Body,
    Timestamp,
    Method,
    Target,
    Path,
    /// The configured public URL and the received query.
    Url,
    FormSorted,
    Crc32,
    Sha256,
    Secret,
    /// Something that somebody chose, which may not hold `until`: the text that ends it. Otherwise a byte could be moved from
    /// it to what follows under the same signature (the Standard Webhooks specification warns of it).
    Value {
        from: Origin,
        /// Where it is absent it is empty.
        optional: bool,
        until: Option<String>,
    },
    /// Left out whole where a value in it is absent.
    Segment(Vec<Part>),
}

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A header under one of its names.
    Header(Vec<String>),
    Query(String),
    /// The same, its ASCII letters in lower case.
    QueryLower(String),
    Form(String),
    Json(Path),
    /// Relative to an entry of `each`.
    Item(Path),
}

impl Part {
    /// This part and all inside it.
    pub(super) fn all(parts: &[Self]) -> Vec<&Self> {
        let mut found = Vec::new();
        for part in parts {
            if let Self::Segment(inner) = part {
                found.extend(Self::all(inner));
            } else {
                found.push(part);
            }
        }
        found
    }

    /// The first name of a header that is signed.
    pub(super) fn header_name(&self) -> Option<&str> {
        if let Self::Value { from: Origin::Header(names), .. } = self { names.first().map(String::as_str) } else { None }
    }
}

impl Work<'_> {
    /// The parts of the template; none where nothing is signed.
    pub(super) fn parts(&mut self) -> Vec<Part> {
        let kind = self.scheme.algorithm.kind();
        let Some(template) = self.scheme.signed.as_deref() else {
            if kind != Kind::Bearer {
                self.problem("signed", "is missing: say what is signed, for example `{body}`");
            }
            return Vec::new();
        };
        if kind == Kind::Bearer {
            self.problem("signed", "is not for tokens, which sign nothing: remove it");
        }
        if template.len() > TEMPLATE_BYTES_MAX {
            self.problem("signed", format!("is longer than {TEMPLATE_BYTES_MAX} bytes"));
            return Vec::new();
        }
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("[[") {
            self.pieces(before, &mut parts);
            let Some((inside, after)) = after.split_once("]]") else {
                self.problem("signed", "has a `[[` without its `]]`");
                return parts;
            };
            let mut segment = Vec::new();
            self.pieces(inside, &mut segment);
            if !segment.iter().any(|part| matches!(part, Part::Value { .. })) {
                self.problem("signed", "has a `[[…]]` in which nothing can be absent: take the brackets away");
            }
            parts.push(Part::Segment(segment));
            rest = after;
        }
        self.pieces(rest, &mut parts);
        end_values(&mut parts);
        self.check_secret(&parts, kind);
        parts
    }

    fn check_secret(&mut self, parts: &[Part], kind: Kind) {
        let holds = Part::all(parts).contains(&&Part::Secret);
        match kind {
            Kind::Hash(_) if !holds => self.problem("signed", "does not hold {secret}, so anybody could make the hash: add it"),
            Kind::Mac(_) | Kind::Public(_) if holds => {
                self.problem("signed", "holds {secret}, which only the plain hashes `md5`, `sha1` and `sha256` sign: remove it");
            }
            Kind::Hash(_) | Kind::Mac(_) | Kind::Public(_) | Kind::Bearer => {}
        }
    }

    fn pieces(&mut self, template: &str, parts: &mut Vec<Part>) {
        let mut rest = template;
        while let Some((text, after)) = rest.split_once('{') {
            parts.extend(self.text(text));
            let Some((name, after)) = after.split_once('}') else {
                self.problem("signed", "has a `{` without its `}`");
                return;
            };
            parts.extend(self.placeholder(name));
            rest = after;
        }
        parts.extend(self.text(rest));
    }

    fn text(&mut self, text: &str) -> Option<Part> {
        if text.contains('}') {
            self.problem("signed", "has a `}` without its `{`");
        }
        (!text.is_empty()).then(|| Part::Text(text.to_owned()))
    }

    fn placeholder(&mut self, name: &str) -> Option<Part> {
        match name {
            "body" => Some(Part::Body),
            "method" => Some(Part::Method),
            "target" => Some(Part::Target),
            "path" => Some(Part::Path),
            "url" => Some(Part::Url),
            "form-sorted" => Some(Part::FormSorted),
            "crc32" => Some(Part::Crc32),
            "sha256" => Some(Part::Sha256),
            "secret" => Some(Part::Secret),
            "timestamp" => {
                if self.scheme.timestamp.is_none() {
                    self.problem("signed", "holds {timestamp}, but `timestamp` does not say where that is");
                }
                Some(Part::Timestamp)
            }
            _ => self.value_part(name),
        }
    }

    fn value_part(&mut self, placeholder: &str) -> Option<Part> {
        let Some((word, name)) = placeholder.split_once(':').filter(|(_, name)| !name.is_empty()) else {
            self.problem("signed", format!("does not know {{{placeholder}}}: there are {PLACEHOLDERS}"));
            return None;
        };
        let from = match word {
            "header" => Origin::Header(self.header_part(name)),
            "query" => Origin::Query(name.to_owned()),
            "query-lower" => Origin::QueryLower(name.to_owned()),
            "form" => Origin::Form(name.to_owned()),
            "json" | "json?" => Origin::Json(self.path("signed", name)),
            "item" | "item?" => {
                if self.scheme.each.is_none() {
                    self.problem("signed", format!("holds {{{placeholder}}}, but `each` does not name the list"));
                }
                Origin::Item(self.path("signed", name))
            }
            "setting" => return self.setting(name),
            _ => {
                self.problem("signed", format!("does not know {{{placeholder}}}: there are {PLACEHOLDERS}"));
                return None;
            }
        };
        Some(Part::Value { from, optional: word.ends_with('?'), until: None })
    }

    fn setting(&mut self, name: &str) -> Option<Part> {
        let value = self.scheme.settings.get(name).filter(|value| !value.is_empty());
        match value {
            Some(value) => Some(Part::Text(value.clone())),
            None if self.whole => {
                self.problem(
                    "settings",
                    format!("lack `{name}`, which this vendor signs and does not send: write `settings = {{ {name} = \"…\" }}`"),
                );
                None
            }
            None => None,
        }
    }

    fn header_part(&mut self, name: &str) -> Vec<String> {
        let names = self.header("signed", name);
        let is = |other: &str| names.first().is_some_and(|name| name.eq_ignore_ascii_case(other));
        let timestamp = self.scheme.timestamp.as_ref().and_then(|timestamp| timestamp.header.as_deref());
        if self.scheme.header.iter().chain(&self.scheme.also).any(|held| is(held)) {
            self.problem("signed", "holds the signature's own header");
        } else if timestamp.is_some_and(is) {
            self.problem("signed", format!("write {{timestamp}} instead of {{header:{name}}}"));
        }
        names
    }
}

/// Tells each value which text ends it.
fn end_values(parts: &mut [Part]) {
    for at in 0..parts.len() {
        if let Part::Segment(inner) = &mut parts[at] {
            end_values(inner);
        }
        let next = parts.get(at + 1).and_then(|next| if let Part::Segment(inner) = next { inner.first() } else { Some(next) });
        let text = if let Some(Part::Text(text)) = next { Some(text.clone()) } else { None };
        if let (Part::Value { until, .. }, Some(text)) = (&mut parts[at], text) {
            *until = Some(text);
        }
    }
}
