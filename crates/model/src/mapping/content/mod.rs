//! From a request's bytes to a tree: what kind of body it is, whether the source reads that kind, and its reading.

mod form;
pub(crate) mod multipart;
pub(crate) mod xml;

use std::borrow::Cow;

use super::document::{self, Body, Budget, Unreadable};
use super::node::Node;
use super::path::{Path, Step};
use crate::Received;
use crate::source::Content;

/// What is known of a body before it is read.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Form,
    /// With its boundary.
    Multipart(String),
    Xml,
}

/// How a source's bodies are read.
pub(crate) struct Rules<'m> {
    pub(crate) content: Content,
    pub(crate) accepted: Option<&'m [String]>,
    /// Members whose text is JSON.
    pub(crate) parse: &'m [Path],
    /// The body itself may be a list.
    pub(crate) list: bool,
}

/// Reads a body. Content encodings are undone, or refused, before it gets here.
///
/// # Errors
///
/// It is not of a kind that the source reads, or not well-formed, or over a limit.
pub(crate) fn read<'a>(request: &Received<'a>, rules: &Rules<'_>) -> Result<Body<'a>, Unreadable> {
    let (budget, mut warnings) = (Budget::default(), Vec::new());
    let mut root = match kind(request, rules)? {
        Kind::Json => document::json(request.body, &budget)?,
        Kind::Form => form::read(request.body, &budget)?,
        Kind::Multipart(boundary) => multipart::read(request.body, &boundary, &budget, &mut warnings)?,
        Kind::Xml => xml::read(request.body, &budget)?,
    };
    for path in rules.parse {
        parse_member(&mut root, path.steps(), path, &budget)?;
    }
    check_shape(&root, rules.list)?;
    Ok(Body { root, doubled: budget.doubled(), warnings })
}

/// An event is an object; where the source's events are the entries of the body, that may be a list.
pub(crate) fn check_shape(root: &Node<'_>, list: bool) -> Result<(), Unreadable> {
    match root {
        Node::Object(_) => Ok(()),
        Node::List(_) if list => Ok(()),
        other @ (Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Reference) if list => {
            Err(Unreadable::unparseable(format!("The document is {}, and a JSON list is expected.", other.kind())))
        }
        other @ (Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::List(_) | Node::Reference) => {
            Err(Unreadable::unparseable(format!("The document is {}, and a JSON object is expected.", other.kind())))
        }
    }
}

/// Puts what a member's text says in the place of the text. A text that does not begin like a list or an object stays what it is.
fn parse_member<'a>(at: &mut Node<'a>, steps: &[Step], path: &Path, budget: &Budget) -> Result<(), Unreadable> {
    let Some((step, rest)) = steps.split_first() else {
        let Node::Text(text) = at else { return Ok(()) };
        if !text.trim_start().starts_with(['{', '[']) {
            return Ok(());
        }
        let parsed = match text {
            Cow::Borrowed(text) => document::json_text(text, budget),
            Cow::Owned(text) => document::json_text(text, budget).map(Node::detached),
        };
        *at = parsed.map_err(|Unreadable { reason, message }| Unreadable { reason, message: format!("In `{path}`: {message}") })?;
        return Ok(());
    };
    match (step, at) {
        (Step::Name(name), at) => at.member_mut(name).map_or(Ok(()), |member| parse_member(member, rest, path, budget)),
        (Step::Each, Node::List(entries)) => entries.iter_mut().try_for_each(|entry| parse_member(entry, rest, path, budget)),
        (Step::Each, at) => parse_member(at, rest, path, budget),
    }
}

/// Checks media type and character set, and says what is to be read.
fn kind(request: &Received<'_>, rules: &Rules<'_>) -> Result<Kind, Unreadable> {
    let header = request.header("content-type").map_err(|()| Unreadable::unparseable("The request names two content types."))?;
    let header = String::from_utf8_lossy(header.unwrap_or_default());
    let (essence, parameters) = header.split_once(';').unwrap_or((&header, ""));
    let essence = essence.trim().to_ascii_lowercase();
    let own = usual(&essence);
    let is_accepted = match rules.accepted {
        Some(accepted) if essence.is_empty() => accepted.iter().any(|word| word == "none"),
        Some(accepted) => accepted.iter().any(|held| held.eq_ignore_ascii_case(&essence)),
        None => match rules.content {
            Content::Json => own == Some(Content::Json),
            Content::Form => own == Some(Content::Form) || essence.is_empty(),
            Content::Multipart => matches!(own, Some(Content::Multipart | Content::Form)),
            Content::Xml => own == Some(Content::Xml) || essence.is_empty(),
            Content::Any => own.is_some(),
        },
    };
    if !is_accepted {
        let shown = if is_media_type(&essence) { format!("`{essence}`") } else { "something that is no media type".to_owned() };
        let shown = if essence.is_empty() { "nothing".to_owned() } else { shown };
        let expected = expected(rules.content);
        return Err(Unreadable::unparseable(format!("The request says that its body is {shown}, and {expected} is expected.")));
    }
    let charset = parameter(parameters, "charset").map(|name| name.to_ascii_lowercase());
    match charset.as_deref() {
        None | Some("utf-8" | "utf8" | "us-ascii") => {}
        // Every character set that is still in use agrees on ASCII, except the wide ones.
        Some(name) if !name.starts_with("utf-16") && !name.starts_with("utf-32") && !name.starts_with("ucs") && request.body.is_ascii() => {
        }
        Some(_) => return Err(Unreadable::unparseable("The request names a character set other than UTF-8 for its body.")),
    }
    match (rules.content, own) {
        (Content::Json, _) => Ok(Kind::Json),
        (Content::Form, _) => Ok(Kind::Form),
        (Content::Xml, _) => Ok(Kind::Xml),
        (Content::Multipart | Content::Any, Some(Content::Multipart)) => {
            multipart::boundary(parameter(parameters, "boundary")).map(Kind::Multipart)
        }
        (Content::Multipart, _) | (Content::Any, Some(Content::Form)) => Ok(Kind::Form),
        (Content::Any, Some(Content::Xml)) => Ok(Kind::Xml),
        (Content::Any, Some(Content::Json | Content::Any) | None) => Ok(Kind::Json),
    }
}

/// What bodies of a media type are written in, where the source does not say. Without any, and as plain text, senders send JSON.
fn usual(essence: &str) -> Option<Content> {
    match essence {
        "" | "application/json" | "text/plain" => Some(Content::Json),
        "application/x-www-form-urlencoded" => Some(Content::Form),
        "multipart/form-data" => Some(Content::Multipart),
        "text/xml" | "application/xml" => Some(Content::Xml),
        _ if essence.starts_with("application/") && essence.ends_with("+json") => Some(Content::Json),
        _ if essence.starts_with("application/") && essence.ends_with("+xml") => Some(Content::Xml),
        _ => None,
    }
}

fn expected(content: Content) -> &'static str {
    match content {
        Content::Json => "JSON",
        Content::Form => "a form (`application/x-www-form-urlencoded`)",
        Content::Multipart => "`multipart/form-data`",
        Content::Xml => "XML",
        Content::Any => "JSON, a form or XML",
    }
}

/// A parameter of a header's value (RFC 9110, section 5.6.6).
pub(crate) fn parameter(parameters: &str, name: &str) -> Option<String> {
    let mut rest = parameters;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        let (key, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_string(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after;
    }
}

/// What stands before the closing quote, and what follows it.
fn quoted_string(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            _ => value.push(letter),
        }
    }
    None
}

/// Whether a text is short and harmless enough to be shown.
fn is_media_type(text: &str) -> bool {
    text.len() <= 80 && text.matches('/').count() == 1 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/.+-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(content: Content, content_type: Option<&str>, body: &[u8], accepted: Option<&[&str]>) -> Result<Kind, Unreadable> {
        let headers: Vec<_> = content_type.into_iter().map(|value| ("content-type".to_owned(), value.as_bytes().to_vec())).collect();
        let accepted = accepted.map(|words| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        let rules = Rules { content, accepted: accepted.as_deref(), parse: &[], list: false };
        kind(&Received { method: "POST", target: "/webhooks/demo", headers: &headers, body }, &rules)
    }

    fn checked(content_type: Option<&str>, body: &[u8], accepted: Option<&[&str]>) -> Result<(), Unreadable> {
        kind_of(Content::Json, content_type, body, accepted).map(|kind| assert_eq!(kind, Kind::Json))
    }

    #[test]
    fn each_kind_of_content_is_read_under_its_own_names() {
        use Content::{Any, Form, Multipart, Xml};
        let boundary = |text: &str| Ok(Kind::Multipart(text.to_owned()));
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        for (content, name, expected) in [
            (Form, Some(form), Ok(Kind::Form)),
            (Form, None, Ok(Kind::Form)),
            (Multipart, Some("multipart/form-data; charset=\"utf-8\"; boundary=\"a;B c\""), boundary("a;B c")),
            (Multipart, Some("Multipart/Form-Data; Boundary=----WebKitFormBoundaryX1"), boundary("----WebKitFormBoundaryX1")),
            (Multipart, Some(form), Ok(Kind::Form)),
            (Xml, Some("text/xml; charset=UTF-8"), Ok(Kind::Xml)),
            (Xml, Some("application/soap+xml"), Ok(Kind::Xml)),
            (Any, Some("application/xml"), Ok(Kind::Xml)),
            (Any, Some(form), Ok(Kind::Form)),
            (Any, Some("multipart/form-data; boundary=b"), boundary("b")),
            (Any, Some("application/json"), Ok(Kind::Json)),
            (Any, None, Ok(Kind::Json)),
        ] {
            assert_eq!(kind_of(content, name, b"", None), expected, "{content:?} {name:?}");
        }
        for (content, name) in [
            (Form, "application/json"),
            (Xml, "text/html"),
            (Any, "image/png"),
            (Multipart, "multipart/mixed; boundary=b"),
            (Multipart, "multipart/form-data"),
            (Multipart, "multipart/form-data; boundary="),
            (Multipart, "multipart/form-data; boundary=\"a"),
        ] {
            assert!(kind_of(content, Some(name), b"", None).is_err(), "{content:?} {name}");
        }
    }

    #[test]
    fn json_is_read_under_the_names_that_senders_give_it() {
        for name in [
            None,
            Some(""),
            Some("application/json"),
            Some("Application/JSON; charset=UTF-8"),
            Some("application/cloudevents+json"),
            Some("text/plain"),
        ] {
            assert_eq!(checked(name, b"{}", None), Ok(()), "{name:?}");
        }
        assert_eq!(checked(Some("application/json; charset=iso-8859-1"), b"{}", None), Ok(()));
        assert_eq!(checked(Some("application/x-ours"), b"{}", Some(&["application/x-ours"])), Ok(()));
    }

    #[test]
    fn other_content_is_refused_in_words_that_hold_nothing_of_it() {
        for name in ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "text/html", "x", "<script>alert(1)</script>"]
        {
            let refused = checked(Some(name), b"{}", None).unwrap_err();
            assert!(refused.message.contains("JSON is expected") && !refused.message.contains('<'), "{name}: {}", refused.message);
        }
        assert!(checked(Some("application/json; charset=utf-16"), b"{}", None).is_err());
        assert!(checked(Some("application/json; charset=iso-8859-1"), "{\"a\":\"\u{e9}\"}".as_bytes(), None).is_err());
        assert!(checked(Some("text/plain"), b"{}", Some(&["application/json"])).is_err());
        assert!(checked(None, b"{}", Some(&["application/json"])).is_err());
        assert_eq!(checked(None, b"{}", Some(&["application/json", "none"])), Ok(()));
    }

    #[test]
    fn two_content_types_are_none() {
        let headers = [("content-type".to_owned(), b"application/json".to_vec()), ("content-type".to_owned(), b"text/plain".to_vec())];
        let rules = Rules { content: Content::Json, accepted: None, parse: &[], list: false };
        assert!(kind(&Received { method: "POST", target: "/", headers: &headers, body: b"{}" }, &rules).is_err());
    }
}
