//! What surrounds every request: deadlines, bounds, headers, and who may come in.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

use crate::App;
use crate::access::{Actor, Role, bearer, whose};
use crate::problem::{Problem, Refusal};

/// No answer takes longer.
const DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of a query string as sent.
const QUERY_BYTES_MAX: usize = 4 * 1_024;
/// Bytes of a body, except where an edited payload may come.
const BODY_BYTES_MAX: usize = 64 * 1_024;

/// The pages need their own style and nothing else: no script, no frame, no stranger.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Puts deadlines, bounds and headers around a router.
pub(crate) fn around(inner: Router) -> Router {
    inner
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(bounded_query))
        .layer(from_fn(finished_in_time))
        .layer(from_fn(safe_headers))
}

async fn safe_headers(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}

/// Runs the request apart from its connection, so that a person who closes the window does not stop a write half-way.
async fn finished_in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(DEADLINE, tokio::spawn(next.run(request))).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Problem::Internal.because("The request broke off; the log says more.").into_response(),
        Err(_) => Problem::Slow.because("No answer within 30 s. Ask for less, or look at the ledger's health.").into_response(),
    }
}

async fn bounded_query(request: Request, next: Next) -> Response {
    match request.uri().query() {
        Some(query) if query.len() > QUERY_BYTES_MAX => Problem::MalformedQuery
            .because(format!("The query has {} bytes; at most {QUERY_BYTES_MAX} are read.", query.len()))
            .into_response(),
        Some(_) | None => next.run(request).await,
    }
}

/// The API's door: a bearer token; reading needs a viewer, everything else an operator.
pub(crate) async fn api(State(app): State<App>, mut request: Request, next: Next) -> Result<Response, Refusal> {
    let token = bearer(request.headers());
    let actor = token
        .and_then(|token| whose(&app.console.tokens, token))
        .ok_or_else(|| Problem::Unauthenticated.because("Send `Authorization: Bearer …` with one of the tokens of `[admin] tokens`."))?;
    if *request.method() != Method::GET && *request.method() != Method::HEAD {
        need(&actor, Role::Operator)?;
    }
    request.extensions_mut().insert(actor);
    Ok(next.run(request).await)
}

/// Refuses whoever may do less than `role`.
pub(crate) fn need(actor: &Actor, role: Role) -> Result<(), Refusal> {
    if actor.role >= role {
        return Ok(());
    }
    let (is, needs) = (actor.role.as_str(), role.as_str());
    Err(Problem::Forbidden.because(format!("This needs the role `{needs}`; `{}` is `{is}`.", actor.name)).with("needs", needs))
}

/// Whether a browser says that the form was on another site's page.
pub(crate) fn from_elsewhere(request: &axum::http::Request<Body>) -> bool {
    let site = request.headers().get("sec-fetch-site").and_then(|value| value.to_str().ok());
    matches!(site, Some("cross-site" | "same-site"))
}
