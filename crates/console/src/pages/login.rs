//! Logging in with a token, and out again.

use std::collections::BTreeMap;

use axum::extract::{Form, FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::frame::{MARK, encoded, pairs, shell, value};
use crate::access::{self, COOKIE, SESSION_AGE_MAX};
use crate::problem::Problem;
use crate::{App, guard};

/// The login that leads on to a page.
pub(super) fn address(wanted: &str) -> String {
    if wanted == "/" { "/login".to_owned() } else { format!("/login?next={}", encoded(wanted)) }
}

/// Where to go on: a path of ours or the overview, never another site.
fn onward(next: Option<&str>) -> &str {
    let ours = |next: &&str| next.starts_with('/') && !next.starts_with("//") && !next.chars().any(|c| c == '\\' || c.is_control());
    next.filter(ours).unwrap_or("/")
}

pub(super) fn view(next: &str, wrong: bool) -> Markup {
    shell(
        "Log in",
        &html! {
            main #content .login {
                p.brand { (MARK) span { "Onceward" } }
                form.card action="/login" method="post" {
                    h1 { "Log in" }
                    @if wrong { p.error #wrong role="alert" { "This token is not known here." } }
                    input type="hidden" name="next" value=(next);
                    label {
                        span { "Token" }
                        input type="password" name="token" required maxlength="1000" autofocus autocomplete="current-password" aria-describedby="hint";
                    }
                    p.hint #hint { "It was printed when Onceward started, and is in the file " code { "admin-token" } " of its data folder, or one of " code { "[admin] tokens" } "." }
                    button { "Log in" }
                }
            }
        },
    )
}

pub(super) async fn form(uri: Uri) -> Markup {
    view(onward(Some(value(&pairs(&uri), "next"))), false)
}

pub(super) async fn login(State(app): State<App>, headers: HeaderMap, request: Request) -> Response {
    if guard::from_elsewhere(&request) {
        return Problem::Forbidden.because("This form was on another site's page.").into_response();
    }
    let Ok(Form(fields)) = Form::<BTreeMap<String, String>>::from_request(request, &app).await else {
        return Problem::MalformedBody.because("The form could not be read.").into_response();
    };
    let next = onward(fields.get("next").map(String::as_str));
    let actor = fields.get("token").and_then(|token| access::whose(&app.console.tokens, token.trim()));
    let Some(actor) = actor else {
        tracing::warn!("somebody tried to log in to the console with an unknown token");
        return (StatusCode::UNAUTHORIZED, view(next, true)).into_response();
    };
    let Some(id) = app.sessions.start(app.now(), actor) else {
        return Problem::Internal.because("The system gave no randomness for a session.").into_response();
    };
    let secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let cookie = cookie(&id, SESSION_AGE_MAX.as_secs(), secure);
    ([(header::SET_COOKIE, cookie)], Redirect::to(next)).into_response()
}

fn cookie(id: &str, age: u64, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{COOKIE}={id}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}")
}

/// Ends the session. Needs no token of the form: the worst that a stranger's form could do is log somebody out.
pub(super) async fn logout(State(app): State<App>, headers: HeaderMap) -> Response {
    if let Some(id) = access::cookie(&headers) {
        app.sessions.end(id);
    }
    ([(header::SET_COOKIE, cookie("", 0, false))], Redirect::to("/login")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_leads_on_to_our_own_pages_only() {
        for (next, to) in [("/trace?q=a", "/trace?q=a"), ("//evil.example", "/"), ("https://evil.example", "/"), ("/\\evil.example", "/")] {
            assert_eq!(onward(Some(next)), to);
        }
        assert_eq!(onward(None), "/");
    }
}
