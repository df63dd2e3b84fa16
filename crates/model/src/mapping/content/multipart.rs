//! `multipart/form-data` (RFC 7578 over RFC 2046): the fields of a form, one in a part. Files are dropped and counted.

use std::borrow::Cow;

use super::form::Fields;
use super::parameter;
use crate::Reason;
use crate::event::Warning;
use crate::mapping::document::{Budget, Unreadable};
use crate::mapping::node::Node;

/// Most parts, files included.
const PARTS_MAX: usize = 1_000;
/// Most bytes of one part's headers.
const HEADER_BYTES_MAX: usize = 8 << 10;
/// Most bytes of one field's value.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// Longest boundary (RFC 2046, section 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// The boundary, if it can be one.
pub(super) fn boundary(parameter: Option<String>) -> Result<String, Unreadable> {
    match parameter {
        Some(boundary)
            if (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len()) && boundary.bytes().all(|byte| (b' '..=b'~').contains(&byte)) =>
        {
            Ok(boundary)
        }
        _ => Err(Unreadable::unparseable(format!(
            "The request's content type has no boundary of 1 to {BOUNDARY_BYTES_MAX} characters, so its parts cannot be told apart."
        ))),
    }
}

/// Reads the parts.
pub(super) fn read<'a>(body: &'a [u8], boundary: &str, budget: &Budget, warnings: &mut Vec<Warning>) -> Result<Node<'a>, Unreadable> {
    let line = format!("\r\n--{boundary}");
    let mut rest = match body.strip_prefix(&line.as_bytes()[2..]) {
        Some(rest) => rest,
        None => cut(body, line.as_bytes()).ok_or_else(no_boundary)?.1,
    };
    let (mut fields, mut parts, mut files) = (Fields::default(), 0, 0);
    while !rest.starts_with(b"--") {
        parts += 1;
        if parts > PARTS_MAX {
            return Err(limits(format!("The form holds more than {PARTS_MAX} parts.")));
        }
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let part = rest[padding..].strip_prefix(b"\r\n").ok_or_else(no_boundary)?;
        let (headers, content) = match part.strip_prefix(b"\r\n") {
            Some(content) => (&b""[..], content),
            None => match cut(&part[..part.len().min(HEADER_BYTES_MAX)], b"\r\n\r\n") {
                Some((headers, _)) => (headers, &part[headers.len() + 4..]),
                None if part.len() < HEADER_BYTES_MAX => return Err(no_boundary()),
                None => return Err(limits(format!("A part's headers are longer than {HEADER_BYTES_MAX} bytes."))),
            },
        };
        // An empty part's line break is the one that ends its headers.
        let (value, next) = match content.strip_prefix(&line.as_bytes()[2..]) {
            Some(next) => (&b""[..], next),
            None => cut(content, line.as_bytes()).ok_or_else(no_boundary)?,
        };
        rest = next;
        match head(headers)? {
            Head::File => files += 1,
            Head::Field(name) => fields.add(Cow::Owned(name), self::value(value)?, budget)?,
        }
    }
    if files > 0 {
        let message = format!("{files} file(s) that came with the form were dropped: only its fields are read.");
        warnings.push(Warning { kind: "files_dropped".to_owned(), message });
    }
    Ok(fields.finish())
}

/// What stands before and behind the first occurrence.
fn cut<'a>(bytes: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let place = bytes.windows(at.len()).position(|window| window == at)?;
    Some((&bytes[..place], &bytes[place + at.len()..]))
}

fn no_boundary() -> Unreadable {
    Unreadable::unparseable("The body is not made of parts: a boundary is missing, or its line does not end with CR LF.")
}

fn limits(message: String) -> Unreadable {
    Unreadable { reason: Reason::Limits, message }
}

/// What a part's headers say.
enum Head {
    Field(String),
    File,
}

fn head(headers: &[u8]) -> Result<Head, Unreadable> {
    let wrong = |found: &str| Unreadable::unparseable(format!("A part of the form {found}."));
    let headers = std::str::from_utf8(headers).map_err(|_| wrong("has headers that are not UTF-8"))?;
    let mut disposition = None;
    for line in headers.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or_else(|| wrong("has a header without a colon"))?;
        match name.to_ascii_lowercase().as_str() {
            "content-disposition" if disposition.is_some() => return Err(wrong("has two names")),
            "content-disposition" => disposition = Some(value),
            "content-transfer-encoding" if !["7bit", "8bit", "binary"].iter().any(|word| value.trim().eq_ignore_ascii_case(word)) => {
                return Err(wrong("is encoded once more, which RFC 7578 does not allow"));
            }
            _ => {}
        }
    }
    let (kind, parameters) = disposition.unwrap_or_default().split_once(';').unwrap_or_default();
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(wrong("does not say which field it is"));
    }
    if parameter(parameters, "filename").is_some() || parameter(parameters, "filename*").is_some() {
        return Ok(Head::File);
    }
    parameter(parameters, "name").map(Head::Field).ok_or_else(|| wrong("does not say which field it is"))
}

fn value(bytes: &[u8]) -> Result<Cow<'_, str>, Unreadable> {
    if bytes.len() > VALUE_BYTES_MAX {
        return Err(limits(format!("A field of the form is longer than {VALUE_BYTES_MAX} bytes.")));
    }
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Unreadable::unparseable("A field of the form is not UTF-8."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(body: &str) -> Result<(String, Vec<String>), Unreadable> {
        let mut warnings = Vec::new();
        let tree = read(body.as_bytes(), "b0", &Budget::default(), &mut warnings)?;
        Ok((tree.to_json().to_string(), warnings.into_iter().map(|warning| warning.message).collect()))
    }

    fn part(name: &str, value: &str) -> String {
        format!("--b0\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    }

    #[test]
    fn parts_are_fields() {
        let body = format!(
            "preamble\r\n{}{}{}{}--b0--\r\nepilogue",
            part("formID", "23"),
            part("a[b]", "x\r\n--b\r\ny"),
            part("tag", "1"),
            part("tag", "")
        );
        assert_eq!(read_text(&body).unwrap(), (r#"{"formID":"23","a":{"b":"x\r\n--b\r\ny"},"tag":["1",""]}"#.to_owned(), vec![]));
        assert_eq!(read_text("--b0\r\ncontent-disposition:form-data;name=a\r\n\r\n--b0--").unwrap().0, r#"{"a":""}"#);
        assert_eq!(
            read_text("--b0 \t\r\nX: y\r\nContent-Disposition: form-data; name=\"a\\\"b\"\r\n\r\n1\r\n--b0--").unwrap().0,
            r#"{"a\"b":"1"}"#
        );
        assert_eq!(read_text("--b0--").unwrap().0, "{}");
    }

    #[test]
    fn files_are_dropped_and_counted() {
        let file =
            |name: &str| format!("--b0\r\nContent-Disposition: form-data; name=\"f\"; {name}\r\nContent-Type: image/png\r\n\r\n\u{0}\r\n");
        let body = format!("{}{}{}--b0--", file("filename=\"a.png\""), part("x", "1"), file("filename*=UTF-8''b.png"));
        let (tree, warnings) = read_text(&body).unwrap();
        assert_eq!(tree, r#"{"x":"1"}"#);
        assert!(warnings.len() == 1 && warnings[0].starts_with("2 file(s)"), "{warnings:?}");
    }

    #[test]
    fn what_is_not_made_of_parts_is_refused() {
        for body in [
            "",
            "--b1\r\n",
            "--b0",
            "--b0\r\n",
            "--b0\nContent-Disposition: form-data; name=\"a\"\n\n1\n--b0--",
            "--b0\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1",
            "--b0\r\n\r\n1\r\n--b0--",
            "--b0\r\nContent-Disposition: form-data\r\n\r\n1\r\n--b0--",
            "--b0\r\nContent-Disposition: attachment; name=\"a\"\r\n\r\n1\r\n--b0--",
            "--b0\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n1\r\n--b0--",
            "--b0\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64\r\n\r\nMQ==\r\n--b0--",
            "--b0\r\nno colon\r\n\r\n1\r\n--b0--",
        ] {
            assert_eq!(read_text(body).unwrap_err().reason, Reason::Unparseable, "{body}");
        }
        let not_utf8 = [part("a", "x").as_bytes(), b"--b0\r\nContent-Disposition: form-data; name=a\r\n\r\n\xff\r\n--b0--"].concat();
        assert_eq!(read(&not_utf8, "b0", &Budget::default(), &mut Vec::new()).unwrap_err().reason, Reason::Unparseable);
    }

    #[test]
    fn parts_headers_and_values_are_bounded() {
        let many = part("a", "1").repeat(1_001) + "--b0--";
        let header = format!("--b0\r\nX: {}\r\n\r\n1\r\n--b0--", "x".repeat(9_000));
        let value = part("a", &"x".repeat(VALUE_BYTES_MAX + 1)) + "--b0--";
        for body in [many, header, value] {
            assert_eq!(read_text(&body).unwrap_err().reason, Reason::Limits);
        }
        assert!(read_text(&(part("a", &"x".repeat(VALUE_BYTES_MAX)).repeat(3) + "--b0--")).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in "(--b0(--)?|\r\n|Content-Disposition: form-data; name=\"?a\"?|x|;|\"|\\\\){0,12}") {
            let _ = read_text(&body);
        }
    }
}
