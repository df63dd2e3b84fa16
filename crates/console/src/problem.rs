//! What the admin API says when the answer is no (RFC 9457).

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// One kind of refusal. The stable `type` is `urn:onceward:problem:` and [`Problem::slug`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    MalformedId,
    MalformedQuery,
    MalformedBody,
    Unauthenticated,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Slow,
    InFlight,
    ConfirmationRequired,
    PayloadPurged,
    BodyTooLarge,
    Unsealable,
    ReasonRequired,
    Invalid,
    TooManyReplays,
    Internal,
    LedgerUnavailable,
}

impl Problem {
    /// Status, stable name, title: one line a kind, so that a new kind does not compile without them.
    const fn face(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::MalformedId => (StatusCode::BAD_REQUEST, "malformed-id", "The id is not one of ours"),
            Self::MalformedQuery => (StatusCode::BAD_REQUEST, "malformed-query", "The query cannot be used"),
            Self::MalformedBody => (StatusCode::BAD_REQUEST, "malformed-body", "The body cannot be used"),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "A token is needed"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "The token's role does not allow this"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such thing"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Not with this method"),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "timeout", "It took too long"),
            Self::InFlight => (StatusCode::CONFLICT, "in-flight", "It is not a dead letter"),
            Self::ConfirmationRequired => (StatusCode::CONFLICT, "confirmation-required", "Many deliveries match"),
            Self::PayloadPurged => (StatusCode::GONE, "payload-purged", "Retention has dropped the payload"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large"),
            Self::Unsealable => (StatusCode::INTERNAL_SERVER_ERROR, "unsealable", "The stored payload cannot be opened"),
            Self::ReasonRequired => (StatusCode::UNPROCESSABLE_ENTITY, "reason-required", "A reason is needed"),
            Self::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request cannot be done"),
            Self::TooManyReplays => (StatusCode::TOO_MANY_REQUESTS, "too-many-replays", "Other bulk replays are running"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something is wrong on our side"),
            Self::LedgerUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "ledger-unavailable", "The ledger cannot be reached"),
        }
    }

    /// The stable name.
    pub(crate) const fn slug(self) -> &'static str {
        self.face().1
    }

    /// A refusal with a sentence that says what to do.
    pub(crate) fn because(self, detail: impl Into<String>) -> Refusal {
        Refusal { problem: self, detail: detail.into(), more: Map::new() }
    }
}

/// A problem with its particulars.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) problem: Problem,
    pub(crate) detail: String,
    more: Map<String, Value>,
}

impl Refusal {
    /// Adds a member to the problem, for programs.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// The HTTP status.
    pub(crate) const fn status(&self) -> StatusCode {
        self.problem.face().0
    }

    /// What went wrong, in a few words.
    pub(crate) const fn title(&self) -> &'static str {
        self.problem.face().2
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, slug, title) = self.problem.face();
        let mut body = json!({
            "type": format!("urn:onceward:problem:{slug}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.detail,
        });
        if let Some(body) = body.as_object_mut() {
            body.extend(self.more);
        }
        let mut answer =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(body).into_response().into_body()).into_response();
        if status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer realm=\"onceward\""));
        }
        if matches!(self.problem, Problem::LedgerUnavailable | Problem::TooManyReplays) {
            answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
        }
        answer
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        let problem = match &error {
            store::Error::Unavailable(_) | store::Error::Raced(_) => Problem::LedgerUnavailable,
            store::Error::Refused(_) => Problem::Invalid,
            store::Error::Inconsistent { .. } | store::Error::Rule(_) => Problem::Internal,
        };
        if problem != Problem::Invalid {
            tracing::error!(error = %error, "the ledger did not answer an operator");
        }
        problem.because(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_type_and_keeps_its_particulars() {
        let refusal = Problem::ConfirmationRequired.because("say how many").with("matched", 1_200);
        let answer = refusal.into_response();
        assert_eq!(answer.status(), StatusCode::CONFLICT);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
        let asked = Problem::Unauthenticated.because("").into_response();
        assert!(asked.headers().contains_key(header::WWW_AUTHENTICATE));
    }
}
