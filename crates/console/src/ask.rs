//! What an operator asks for: query strings and filters, read strictly and within bounds.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use model::{Reason, Time};
use serde::de::DeserializeOwned;
use store::{DeadLetterFilter, EventFilter};

use crate::problem::{Problem, Refusal};

/// Bytes of one value.
pub(crate) const VALUE_BYTES_MAX: usize = 1_024;
/// Rows of one page, where nothing is asked.
const LIMIT_DEFAULT: u32 = 100;
/// Rows of one page.
const LIMIT_MAX: u32 = 1_000;
/// Bytes of a reason.
const REASON_BYTES_MAX: usize = 1_000;
/// What stands for "has no destination" in a filter.
pub(crate) const NO_DESTINATION: &str = "-";

/// Names and values that were asked, each at most once. What is not taken by the end is an error, so that a misspelt filter never
/// means "everything".
#[derive(Debug, Default)]
pub(crate) struct Ask {
    left: BTreeMap<String, String>,
}

impl Ask {
    /// Reads pairs; an empty value is one that was not given, because that is what an empty input of a form sends.
    pub(crate) fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, Refusal> {
        let mut left = BTreeMap::new();
        for (name, value) in pairs {
            if value.len() > VALUE_BYTES_MAX || name.len() > 64 {
                return Err(Problem::MalformedQuery.because(format!("A value of a query has at most {VALUE_BYTES_MAX} bytes.")));
            }
            if value.chars().any(char::is_control) {
                return Err(Problem::MalformedQuery.because(format!("`{name}` holds a control character.")));
            }
            let value = value.trim().to_owned();
            if value.is_empty() {
                continue;
            }
            if left.insert(name.clone(), value).is_some() {
                return Err(Problem::MalformedQuery.because(format!("`{name}` is there twice.")));
            }
        }
        Ok(Self { left })
    }

    /// A free text.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        self.left.remove(name)
    }

    /// The name of a source, a destination, an event type or an owner.
    pub(crate) fn name(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        self.parsed(name, "a name: letters, digits and . _ - / : @ +", |text| {
            let fits = text.len() <= 255 && text.chars().all(|c| c.is_alphanumeric() || "._-/:@+".contains(c));
            fits.then(|| text.to_owned())
        })
    }

    fn time(&mut self, name: &str) -> Result<Option<Time>, Refusal> {
        self.parsed(name, "a moment like 2026-11-22T18:04:00Z", Time::parse_rfc3339)
    }

    /// A value of a closed form; 400 says what was expected, never what was found.
    pub(crate) fn parsed<T>(&mut self, name: &str, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Refusal> {
        let Some(text) = self.left.remove(name) else { return Ok(None) };
        let parsed = parse(&text).ok_or_else(|| Problem::MalformedQuery.because(format!("`{name}` is not {expected}.")));
        parsed.map(Some)
    }

    /// Rows of a page, 1 to 1,000.
    pub(crate) fn limit(&mut self) -> Result<u32, Refusal> {
        let parse = |text: &str| text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        Ok(self.parsed("limit", "a number from 1 to 1000", parse)?.unwrap_or(LIMIT_DEFAULT))
    }

    /// Refuses whatever nobody asked for.
    pub(crate) fn done(self) -> Result<(), Refusal> {
        match self.left.into_keys().next() {
            Some(name) => Err(Problem::MalformedQuery.because(format!("`{name}` is not known here; /api/openapi.json lists what is."))),
            None => Ok(()),
        }
    }

    /// Everything as a filter of dead letters.
    pub(crate) fn dead_letters(mut self) -> Result<DeadLetterFilter, Refusal> {
        let destination = self.name("destination")?;
        let filter = DeadLetterFilter {
            id: self.parsed("id", "a delivery's id (dlv_…)", model::DeliveryId::parse)?,
            destination: destination.map(|name| if name == NO_DESTINATION { String::new() } else { name }),
            source: self.name("source")?,
            reason: self.parsed("reason", "one of the reason codes", Reason::parse)?,
            owner: self.name("owner")?,
            event_type: self.name("event_type")?,
            since: self.time("since")?,
            until: self.time("until")?,
            after: self.parsed("after", "the `next` of the page before", model::DeliveryId::parse)?,
            limit: self.limit()?,
        };
        self.done()?;
        Ok(filter)
    }

    /// Everything as a filter of events.
    pub(crate) fn events(mut self) -> Result<EventFilter, Refusal> {
        let filter = EventFilter {
            source: self.name("source")?,
            event_type: self.name("event_type")?,
            since: self.time("since")?,
            until: self.time("until")?,
            after: self.parsed("after", "the `next` of the page before", model::EventId::parse)?,
            limit: self.limit()?,
        };
        self.done()?;
        Ok(filter)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Ask {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::MalformedQuery.because("The query is not a list of names and values."))?;
        Self::new(pairs)
    }
}

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
                return Problem::BodyTooLarge.because("Send less.");
            }
            Problem::MalformedBody.because("The body did not arrive.")
        })?;
        if bytes.is_empty() {
            // An absent body is an empty one: what is missing in it is then said by name.
            return serde_json::from_str("{}").map(Body).map_err(|_| Problem::MalformedBody.because("Send a JSON object."));
        }
        serde_json::from_slice(&bytes)
            .map(Body)
            .map_err(|error| Problem::MalformedBody.because(format!("The body cannot be read: {error}.")))
    }
}

/// The reason that every change needs, and that the audit trail keeps.
pub(crate) fn reason(given: Option<String>) -> Result<String, Refusal> {
    let given = given.map(|text| text.trim().to_owned()).unwrap_or_default();
    if given.is_empty() {
        return Err(Problem::ReasonRequired.because("Say why in `reason`; the audit trail keeps it."));
    }
    if given.len() > REASON_BYTES_MAX {
        return Err(Problem::Invalid.because(format!("`reason` has at most {REASON_BYTES_MAX} bytes.")));
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(pairs: &[(&str, &str)]) -> Result<Ask, Refusal> {
        Ask::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn a_filter_is_read_and_its_bounds_hold() {
        let filter = ask(&[("reason", "auth"), ("destination", "-"), ("owner", ""), ("limit", "1000")]).unwrap().dead_letters().unwrap();
        assert_eq!((filter.reason, filter.limit), (Some(Reason::Auth), 1_000));
        assert_eq!((filter.destination.as_deref(), filter.owner), (Some(""), None));
    }

    #[test]
    fn what_is_not_a_filter_is_refused() {
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        for pair in [
            ("reason", "nonsense"),
            ("source", "a' OR 1=1 --"),
            ("source", "(a+)+$"),
            ("limit", "0"),
            ("limit", "1001"),
            ("since", "yesterday"),
            ("after", "evt_1"),
            ("sauce", "demo"),
            ("owner", &long),
            ("owner", "a\u{0}b"),
        ] {
            let refused = ask(&[pair]).and_then(Ask::dead_letters).expect_err(pair.1);
            assert_eq!(refused.problem, Problem::MalformedQuery, "{pair:?}");
        }
        assert!(ask(&[("owner", "a"), ("owner", "b")]).is_err());
    }

    #[test]
    fn a_reason_is_a_text() {
        assert_eq!(reason(Some(" ok ".into())).unwrap(), "ok");
        for wrong in [None, Some(String::new()), Some("  \n".into())] {
            assert_eq!(reason(wrong).unwrap_err().problem, Problem::ReasonRequired);
        }
        assert!(reason(Some("x".repeat(REASON_BYTES_MAX + 1))).is_err());
    }
}
