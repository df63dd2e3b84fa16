//! XML, as the tree that JSON would have been.
//!
//! The document is an object with its root element. An element of nothing but text is that text; any other is an object of its
//! attributes (`@name`), its text (`#text`) and its elements, of which repeated ones are a list. Namespace prefixes are dropped, because
//! senders choose them freely. What makes XML dangerous is not read at all: no document type, so no entities but the five.

use std::borrow::Cow;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use crate::Reason;
use crate::mapping::document::{Budget, Unreadable};
use crate::mapping::node::{Members, Node};

/// Deepest nesting of elements.
const DEPTH_MAX: usize = 128;

/// An element that is being read.
struct Element<'a> {
    name: String,
    members: Members<'a>,
    text: String,
    nil: bool,
}

/// Reads a document in UTF-8.
pub(super) fn read(body: &[u8], budget: &Budget) -> Result<Node<'static>, Unreadable> {
    // A byte order mark is part of XML (appendix F), unlike of JSON.
    let body = body.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(body);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Unreadable::unparseable("The body is empty, and an XML document is expected."));
    }
    let text = std::str::from_utf8(body).map_err(|_| Unreadable::unparseable("The body is not UTF-8."))?;
    if !text.chars().all(is_allowed) {
        return Err(malformed("holds a character that XML does not allow"));
    }
    let mut reader = Reader::from_str(text);
    let (mut open, mut root): (Vec<Element<'static>>, _) = (Vec::new(), Members::new());
    loop {
        let event = reader.read_event().map_err(|_| malformed("is not well-formed"))?;
        match event {
            Event::Start(start) => {
                if open.len() >= DEPTH_MAX {
                    return Err(Unreadable { reason: Reason::Limits, message: format!("Elements are nested deeper than {DEPTH_MAX}.") });
                }
                open.push(element(&start, budget)?);
            }
            Event::Empty(start) => {
                let element = element(&start, budget)?;
                close(element, &mut open, &mut root)?;
            }
            Event::End(_) => {
                let element = open.pop().ok_or_else(|| malformed("is not well-formed"))?;
                close(element, &mut open, &mut root)?;
            }
            Event::Text(text) => {
                let text = text.xml10_content().map_err(|_| malformed("is not UTF-8"))?;
                add_text(&mut open, &text)?;
            }
            Event::CData(text) => {
                let text = text.xml10_content().map_err(|_| malformed("is not UTF-8"))?;
                add_text(&mut open, &text)?;
            }
            Event::GeneralRef(reference) => {
                let name = reference.decode().map_err(|_| malformed("is not UTF-8"))?;
                let letter = match name.as_ref() {
                    "lt" => '<',
                    "gt" => '>',
                    "amp" => '&',
                    "quot" => '"',
                    "apos" => '\'',
                    _ => match reference.resolve_char_ref() {
                        Ok(Some(letter)) if is_allowed(letter) => letter,
                        Ok(_) | Err(_) => return Err(malformed("names an entity that XML itself does not have")),
                    },
                };
                add_text(&mut open, letter.encode_utf8(&mut [0; 4]))?;
            }
            Event::Decl(declaration) => {
                if let Some(encoding) = declaration.encoding() {
                    let encoding = encoding.map_err(|_| malformed("is not well-formed"))?;
                    if !text.is_ascii() && !encoding.eq_ignore_ascii_case(b"utf-8") {
                        return Err(malformed("says that it is in another encoding than UTF-8"));
                    }
                }
            }
            Event::DocType(_) => return Err(malformed("has a document type, which is not read")),
            Event::Comment(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    if !open.is_empty() || root.len() == 0 {
        return Err(malformed("ends before its root element does"));
    }
    Ok(Node::Object(root))
}

fn malformed(found: &str) -> Unreadable {
    Unreadable::unparseable(format!("The XML document {found}."))
}

/// XML 1.0, section 2.2.
fn is_allowed(letter: char) -> bool {
    !matches!(letter, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

fn element<'a>(start: &BytesStart<'_>, budget: &Budget) -> Result<Element<'a>, Unreadable> {
    budget.node()?;
    let name = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| malformed("is not UTF-8"));
    let mut element = Element { name: name(start.local_name().as_ref())?, members: Members::new(), text: String::new(), nil: false };
    for attribute in start.attributes() {
        budget.node()?;
        let attribute = attribute.map_err(|_| malformed("has an attribute that is not well-formed, or one twice"))?;
        let key = attribute.key.as_ref();
        if key == b"xmlns" || key.starts_with(b"xmlns:") {
            continue;
        }
        let value =
            attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| malformed("names an entity that XML itself does not have"))?;
        if !value.chars().all(is_allowed) {
            return Err(malformed("holds a character that XML does not allow"));
        }
        let local = name(attribute.key.local_name().as_ref())?;
        element.nil |= key.ends_with(b":nil") && matches!(value.trim(), "true" | "1");
        add(&mut element.members, format!("@{local}"), Node::Text(Cow::Owned(value.into_owned())));
    }
    Ok(element)
}

fn add_text(open: &mut [Element<'_>], text: &str) -> Result<(), Unreadable> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(malformed("has text outside its root element")),
    }
    Ok(())
}

/// Puts a finished element into the one around it.
fn close<'a>(element: Element<'a>, open: &mut [Element<'a>], root: &mut Members<'a>) -> Result<(), Unreadable> {
    let Element { name, mut members, text, nil } = element;
    let value = match members.len() {
        _ if nil => Node::Null,
        0 => Node::Text(Cow::Owned(text)),
        _ => {
            if !text.trim().is_empty() {
                members.insert(Cow::Borrowed("#text"), Node::Text(Cow::Owned(text.trim().to_owned())));
            }
            Node::Object(members)
        }
    };
    match open.last_mut() {
        Some(around) => add(&mut around.members, name, value),
        None if root.len() > 0 => return Err(malformed("has more than one root element")),
        None => add(root, name, value),
    }
    Ok(())
}

/// Adds a member; a second one of its name makes a list. No element is a list by itself.
fn add<'a>(members: &mut Members<'a>, name: String, value: Node<'a>) {
    match members.get_mut(&name) {
        None => {
            members.insert(Cow::Owned(name), value);
        }
        Some(Node::List(entries)) => entries.push(value),
        Some(held) => *held = Node::List(vec![std::mem::replace(held, Node::Null), value]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::document::NODES_MAX;

    fn tree(body: &str) -> String {
        read(body.as_bytes(), &Budget::default()).unwrap().to_json().to_string()
    }

    fn refused(body: &[u8]) -> Unreadable {
        read(body, &Budget::default()).unwrap_err()
    }

    #[test]
    fn elements_attributes_and_text_are_a_tree() {
        for (body, held) in [
            ("<a/>", r#"{"a":""}"#),
            ("\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<a> x </a>\n", r#"{"a":" x "}"#),
            ("<a b='1' c=\"&lt;x&#33;\"/>", r#"{"a":{"@b":"1","@c":"<x!"}}"#),
            ("<a b='1'>t</a>", r##"{"a":{"@b":"1","#text":"t"}}"##),
            ("<a><b>1</b><c/><b>2</b><b x='3'/></a>", r#"{"a":{"b":["1","2",{"@x":"3"}],"c":""}}"#),
            (
                "<s:E xmlns:s='u' xmlns='v'><s:B><i s:x='1'>&amp;&quot;&apos;&gt;&#x20AC;</i></s:B></s:E>",
                r##"{"E":{"B":{"i":{"@x":"1","#text":"&\"'>€"}}}}"##,
            ),
            ("<a><![CDATA[<b>&lt;]]><!-- c --> d</a>", r#"{"a":"<b>&lt; d"}"#),
            (
                "<a xmlns:xsi='u'><b xsi:nil='true'/><c xsi:type='sf:Lead'>x</c></a>",
                r##"{"a":{"b":null,"c":{"@type":"sf:Lead","#text":"x"}}}"##,
            ),
        ] {
            assert_eq!(tree(body), held, "{body}");
        }
    }

    #[test]
    fn a_notification_of_many_records_is_a_list() {
        let body = "<soapenv:Envelope xmlns:soapenv='http://schemas.xmlsoap.org/soap/envelope/'><soapenv:Body><notifications><OrganizationId>00D</OrganizationId>\
            <Notification><Id>04l1</Id></Notification><Notification><Id>04l2</Id></Notification></notifications></soapenv:Body></soapenv:Envelope>";
        assert_eq!(
            tree(body),
            r#"{"Envelope":{"Body":{"notifications":{"OrganizationId":"00D","Notification":[{"Id":"04l1"},{"Id":"04l2"}]}}}}"#
        );
    }

    #[test]
    fn what_is_not_well_formed_or_dangerous_is_refused() {
        for body in [
            &b""[..],
            b"  ",
            b"x",
            b"<a>",
            b"<a></b>",
            b"<a/><b/>",
            b"<a/>x",
            b"</a>",
            b"<a b='1' b='2'/>",
            b"<a b=1/>",
            b"<a>&x;</a>",
            b"<a>&#0;</a>",
            b"<a>&#x1;</a>",
            b"<a>\x01</a>",
            b"<a>\0</a>",
            b"<a>\xff</a>",
            b"<a b='&x;'/>",
            b"<a b='&#1;'/>",
            b"<a>& b</a>",
            b"<!DOCTYPE a><a/>",
            b"<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>",
            b"<?xml version='1.0' encoding='iso-8859-1'?><a>\xc3\xa9</a>",
            b"\xff\xfe<\0a\0/\0>\0",
            br#"<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;&lol;">]><lolz>&lol2;</lolz>"#,
            br#"<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>"#,
        ] {
            let refused = refused(body);
            assert_eq!(refused.reason, Reason::Unparseable, "{:?}: {}", String::from_utf8_lossy(body), refused.message);
        }
    }

    #[test]
    fn depth_and_the_number_of_values_are_bounded() {
        let nested = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
        assert!(read(nested(DEPTH_MAX).as_bytes(), &Budget::default()).is_ok());
        for depth in [DEPTH_MAX + 1, 300_000] {
            assert_eq!(refused(nested(depth).as_bytes()).reason, Reason::Limits);
        }
        let wide = format!("<a>{}</a>", "<b/>".repeat(NODES_MAX));
        assert_eq!(refused(wide.as_bytes()).reason, Reason::Limits);
        let attributes: String = (0..NODES_MAX).map(|n| format!(" a{n}=''")).collect();
        assert_eq!(refused(format!("<a{attributes}/>").as_bytes()).reason, Reason::Limits);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(body in "(<a>|</a>|<b/>|<|>|&|;|#|x|!|\\[|\\]|'|\"|=| |<!--|-->|<!\\[CDATA\\[|\\]\\]>|<\\?|\\?>){0,20}") {
            let _ = read(body.as_bytes(), &Budget::default());
        }
    }
}
