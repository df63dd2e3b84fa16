//! Vendors that try an address before they send there: asked of the model, answered here. Nothing of it is kept.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use model::handshake::{Answer, Handshaken};
use model::signature::Rejection;
use model::{Received, Time};

use crate::{Door, Gate};

/// What became of it.
pub(crate) enum Met {
    /// It is none.
    Ordinary,
    /// It is one, and this is the answer.
    Answered(Response<Full<Bytes>>),
    /// It is not genuine.
    Refused(Rejection),
    /// What it asks of us did not work: the vendor asks again.
    NotNow,
}

/// Looks whether a request is its source's handshake.
pub(crate) async fn meet(door: &Door, gate: &Gate, request: &Received<'_>, now: Time) -> Met {
    let Some(handshake) = &gate.source.handshake else { return Met::Ordinary };
    match handshake.answer(request, &gate.verifier, now) {
        Handshaken::Ordinary => Met::Ordinary,
        Handshaken::Answered(answer) => Met::Answered(response(&answer)),
        Handshaken::Refused(rejection) => Met::Refused(rejection),
        Handshaken::Visit(url) => {
            let Some(visit) = &door.visit else { return Met::NotNow };
            if visit(url).await {
                tracing::info!(source = gate.source.name, "the vendor's subscription was confirmed");
                Met::Answered(Response::default())
            } else {
                tracing::warn!(
                    source = gate.source.name,
                    "the address that confirms the vendor's subscription did not answer; the vendor asks again"
                );
                Met::NotNow
            }
        }
        // Secrets come from the configuration and from nowhere else.
        Handshaken::Keep { .. } => Met::Refused(Rejection::NoSecret),
    }
}

fn response(answer: &Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body.clone())));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(kind) = answer.content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    for (name, value) in &answer.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    response
}
