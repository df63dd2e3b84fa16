//! One request and its reply, as data.

use std::time::Duration;

use model::{Class, Failure, Scope, Time};
use reqwest::Method;
use serde_json::Value;

/// A `Retry-After` below this is taken for this, so that a silly value does not make us hammer the CRM.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

/// A request, relative to the destination's base URL.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST`, `PATCH`, …
    pub method: Method,
    /// Path and query, percent-encoded, starting with `/`.
    pub path: String,
    /// Header names in lower case.
    pub headers: Vec<(String, String)>,
    /// What is sent.
    pub body: Body,
}

/// A request's body.
#[derive(Clone, Debug)]
pub enum Body {
    /// Nothing.
    None,
    /// `application/json`.
    Json(Value),
    /// `application/x-www-form-urlencoded`.
    Form(Vec<(String, String)>),
    /// Anything else, as it is.
    Raw {
        /// Its `Content-Type`.
        kind: String,
        /// What is sent.
        text: String,
    },
}

impl Request {
    /// A request without headers of its own.
    pub fn new(method: Method, path: impl Into<String>, body: Body) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body }
    }

    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }
}

/// What came back. The caller need not trust any of it.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Header names in lower case.
    pub headers: Vec<(String, String)>,
    /// At most 8 MiB, or the first 64 kB of an answer that is no success.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `None` if it is empty, truncated, HTML, compressed or anything else.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// What `Retry-After` asks for, in either of its legal forms, clamped to 1 s … `most`. `None` if it is missing or
    /// neither form. A date is taken relative to the reply's own `Date`, else to `now`.
    pub fn retry_after(&self, now: Time, most: Duration) -> Option<Duration> {
        let text = self.header("retry-after")?.trim();
        let asked = if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
            Duration::from_secs(text.parse().unwrap_or(u64::MAX))
        } else {
            let there = self.header("date").and_then(http_date).unwrap_or(now);
            http_date(text)?.since(there)
        };
        Some(asked.clamp(RETRY_AFTER_MIN, most.max(RETRY_AFTER_MIN)))
    }
}

/// A moment as HTTP writes it.
pub(crate) fn http_date(text: &str) -> Option<Time> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok().map(|at| Time(at.as_microsecond()))
}

/// Why there is no reply.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransportError {
    /// Surely nothing was sent: no such host, refused, no connection in time, TLS, stopped on our side before the first byte.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The request may have reached the CRM.
    #[error("{code}: {message}")]
    Unknown {
        /// `timeout`, `cut`, `garbage` or `oversized`.
        code: &'static str,
        /// What happened, without the URL.
        message: String,
    },
}

impl TransportError {
    /// The failure this is for a call that would have changed something.
    pub fn failure(self) -> Failure {
        match self {
            Self::NotSent(message) => Failure::new(Class::Retryable, Scope::Destination, "not_sent", message),
            Self::Unknown { code, message } => Failure::new(Class::Unknown, Scope::Destination, code, message),
        }
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters: fit for one path segment or one query value.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(b"0123456789ABCDEF"[usize::from(byte >> 4)]));
            encoded.push(char::from(b"0123456789ABCDEF"[usize::from(byte & 15)]));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_silly() {
        let now = Time::parse_rfc3339("2026-11-22T18:00:00Z").unwrap();
        let most = Duration::from_secs(900);
        let at = |value: &str, date: Option<&str>| {
            let mut headers = vec![("retry-after".to_owned(), value.to_owned())];
            headers.extend(date.map(|date| ("date".to_owned(), date.to_owned())));
            Reply { status: 429, headers, body: Vec::new() }.retry_after(now, most).map(|wait| wait.as_secs())
        };
        assert_eq!(at("120", None), Some(120));
        assert_eq!(at("0", None), Some(1));
        assert_eq!(at("9000000000", None), Some(900));
        assert_eq!(at("99999999999999999999999", None), Some(900));
        assert_eq!(at("Sun, 22 Nov 2026 18:00:30 GMT", None), Some(30));
        assert_eq!(at("Sun, 22 Nov 2026 18:00:30 GMT", Some("Sun, 22 Nov 2026 18:00:10 GMT")), Some(20));
        assert_eq!(at("Sat, 21 Nov 2026 18:00:30 GMT", None), Some(1));
        assert_eq!(at("Thu, 01 Jan 2032 00:00:00 GMT", None), Some(900));
        for garbage in ["-5", "9e9", "soon", "", "1.5", "+3"] {
            assert_eq!(at(garbage, None), None, "{garbage}");
        }
        assert_eq!(Reply { status: 429, headers: Vec::new(), body: Vec::new() }.retry_after(now, most), None);
    }

    #[test]
    fn nothing_leaves_a_path_segment() {
        assert_eq!(encode("a/b?c#d%e f@g.h+é'\\"), "a%2Fb%3Fc%23d%25e%20f%40g.h%2B%C3%A9%27%5C");
    }
}
