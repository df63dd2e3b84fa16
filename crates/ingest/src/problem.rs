//! Every answer that is not the one the sender hoped for (RFC 9457).

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $status:literal, $word:literal, $result:literal, $title:literal, $detail:literal;)*) => {
        /// Why a request was not accepted, as the sender sees it. Bodies are constant: they repeat nothing of the
        /// request and tell nobody which check failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Problem {
            $($(#[$doc])* $name,)*
        }

        impl Problem {
            /// Every problem.
            pub const ALL: &'static [Problem] = &[$(Self::$name),*];

            /// The HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// The stable `type` of RFC 9457.
            pub const fn kind(self) -> &'static str {
                match self { $(Self::$name => concat!("urn:onceward:problem:", $word),)* }
            }

            /// The `result` label of `onceward_ingest_requests_total`.
            pub const fn result(self) -> &'static str {
                match self { $(Self::$name => $result,)* }
            }

            const fn body(self) -> &'static str {
                match self { $(Self::$name => concat!(
                    r#"{"type":"urn:onceward:problem:"#, $word, r#"","title":""#, $title, r#"","status":"#, $status, r#","detail":""#, $detail, "\"}\n",
                ),)* }
            }
        }
    };
}

problems! {
    /// Not the HTTP that we speak: no Host or several, or not HTTP/1.1.
    Malformed = 400, "malformed-request", "malformed", "Malformed request", "Send HTTP/1.1 with exactly one Host header and one length.";
    /// The same answer for whatever is wrong with a signature.
    Unauthentic = 401, "bad-signature", "unauthentic", "Signature not accepted", "The request could not be verified. Sign the exact bytes of the body with this source's secret.";
    /// No such path, or a source that never was.
    NotFound = 404, "not-found", "not_found", "Not found", "There is nothing under this path.";
    /// The path takes POST only.
    WrongMethod = 405, "wrong-method", "wrong_method", "Method not allowed", "See the Allow header.";
    /// The body did not arrive in time.
    TooSlow = 408, "too-slow", "too_slow", "Body too slow", "The body did not arrive in time. Send it again.";
    /// The body is over the source's limit.
    TooLarge = 413, "too-large", "too_large", "Body too large", "The body is over this source's limit.";
    /// Compressed, which is not enabled.
    Encoded = 415, "content-encoding", "encoded", "Content-Encoding not accepted", "Send the body without Content-Encoding.";
    /// More requests at once than we take in.
    Busy = 429, "over-capacity", "busy", "Too many requests at once", "Nothing was stored. Send it again after the time in Retry-After.";
    /// A bug of ours.
    Internal = 500, "internal", "internal", "Internal error", "Nothing is known to be stored. Send it again.";
    /// The ledger cannot be written now, or does not answer.
    Unavailable = 503, "unavailable", "unavailable", "Temporarily unavailable", "Nothing is known to be stored. Send it again after the time in Retry-After.";
    /// The source was configured once, and senders must not learn to give up on it.
    SourceGone = 503, "source-not-configured", "source_gone", "Source not configured", "This source is not configured at present. Send it again later.";
    /// More connections than we hold.
    Crowded = 503, "too-many-connections", "crowded", "Too many connections", "Send it again after the time in Retry-After.";
}

impl Problem {
    /// Seconds after which to try again, where that is worth it.
    pub const fn retry_after(self) -> Option<&'static str> {
        match self {
            Self::Busy | Self::Crowded => Some("1"),
            Self::Unavailable => Some("2"),
            Self::SourceGone => Some("300"),
            Self::Malformed
            | Self::Unauthentic
            | Self::NotFound
            | Self::WrongMethod
            | Self::TooSlow
            | Self::TooLarge
            | Self::Encoded
            | Self::Internal => None,
        }
    }

    /// The answer.
    pub(crate) fn response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from_static(self.body().as_bytes())));
        *response.status_mut() = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        match self {
            Self::WrongMethod => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            // Part of the body may still be on its way: the connection cannot be used again.
            Self::TooSlow | Self::TooLarge | Self::Malformed => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Self::Unauthentic
            | Self::NotFound
            | Self::Encoded
            | Self::Busy
            | Self::Internal
            | Self::Unavailable
            | Self::SourceGone
            | Self::Crowded => {}
        }
        response
    }

    /// The whole answer as bytes, for a connection that no HTTP code looks after.
    pub(crate) fn raw(self) -> String {
        let status = self.status();
        let reason = StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason()).unwrap_or_default();
        let retry = self.retry_after().map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
        let body = self.body();
        format!(
            "HTTP/1.1 {status} {reason}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n{retry}connection: close\r\n\r\n{body}",
            body.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_json_that_says_what_its_status_line_says() {
        for &problem in Problem::ALL {
            let body: serde_json::Value = serde_json::from_str(problem.body()).unwrap();
            assert_eq!(body["status"], problem.status());
            assert_eq!(body["type"], problem.kind());
            assert_eq!(problem.response().status().as_u16(), problem.status());
            assert_eq!(problem.retry_after().is_some(), matches!(problem.status(), 429 | 503), "{problem:?}");
        }
    }
}
