//! A request and what comes back for it, without a socket.

use std::time::Duration;

use model::Time;
use serde::Serialize;

/// One request to the sandbox. Borrowed, so that reading it copies nothing.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// `GET`, `PATCH`, …, upper case.
    pub method: &'a str,
    /// Path and query, still percent-encoded.
    pub target: &'a str,
    /// Names in any case.
    pub headers: &'a [(String, String)],
    /// The whole body.
    pub body: &'a [u8],
}

impl<'a> HttpRequest<'a> {
    /// The first value of a header, whose name is compared without case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// An answer of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpReply {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, `content-length` not included.
    pub headers: Vec<(&'static str, String)>,
    /// The whole body; empty with 204.
    pub body: Vec<u8>,
}

impl HttpReply {
    pub(crate) fn json(status: u16, body: &impl Serialize) -> Self {
        // Our own replies are maps with text keys, which always serialize.
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self { status, headers: vec![("content-type", "application/json;charset=UTF-8".into())], body }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn text(status: u16, kind: &str, body: &str) -> Self {
        Self { status, headers: vec![("content-type", kind.into())], body: body.into() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// The first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| *held == name).map(|(_, value)| value.as_str())
    }
}

/// What becomes of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The answer; `None` means that the connection is cut without a byte of one.
    pub reply: Option<HttpReply>,
    /// How long after the request the answer, or the cut, comes.
    pub latency: Duration,
}

/// Undoes percent-encoding; `None` if it is broken or not UTF-8. `plus` reads `+` as a space, as forms and queries write it.
pub(crate) fn decode(text: &str, plus: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Name and value pairs of a query or a form; pairs that cannot be decoded are left out.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    let read = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(name, true)?, decode(value, true)?))
    };
    text.split('&').filter(|pair| !pair.is_empty()).filter_map(read).collect()
}

/// The value of one name in a query or a form.
pub(crate) fn pair(text: &str, name: &str) -> Option<String> {
    pairs(text).into_iter().find(|(held, _)| held == name).map(|(_, value)| value)
}

/// A moment as HTTP writes it (RFC 9110, 5.6.7): `Tue, 23 May 2023 14:42:01 GMT`.
pub(crate) fn http_date(at: Time) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = Time::from_seconds(at.seconds()).to_string();
    let weekday = usize::try_from(at.seconds().div_euclid(86_400).rem_euclid(7)).unwrap_or_default();
    let month = text.get(5..7).and_then(|month| month.parse::<usize>().ok()).unwrap_or(1).clamp(1, 12);
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    format!("{}, {} {} {} {} GMT", DAYS[weekday], part(8..10), MONTHS[month - 1], part(0..4), part(11..19))
}

/// Whether a content type is JSON, with or without parameters.
pub(crate) fn is_json(kind: Option<&str>) -> bool {
    kind.and_then(|kind| kind.split(';').next()).is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// Path and query of a target.
pub(crate) fn split(target: &str) -> (&str, &str) {
    target.split_once('?').unwrap_or((target, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_http_writes_them() {
        for (seconds, says) in [
            (1_684_852_921, "Tue, 23 May 2023 14:42:01 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        ] {
            assert_eq!(http_date(Time::from_seconds(seconds)), says);
        }
    }
}
