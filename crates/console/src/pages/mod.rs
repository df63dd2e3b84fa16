//! The pages: the same as the API, for people. Rendered on the server, without a script, usable with a keyboard and on a phone.
//!
//! Each page is a handler that gathers rows and a function that renders them; the second is pure, so that it can be tested and looked
//! at without a ledger.

mod audit;
mod dead_letters;
mod destinations;
mod events;
mod frame;
mod login;
mod overview;
mod reconciliations;
mod rejected;
mod replays;
#[cfg(test)]
pub(crate) mod samples;
mod sources;
mod trace;

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Form, FromRequest, Request, State};
use axum::http::{Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::{Markup, html};

use crate::access::{self, Actor};
use crate::ask::Ask;
use crate::problem::{Problem, Refusal};
use crate::{App, api, guard};
pub(crate) use frame::Frame;

const STYLE: &str = include_str!("style.css");

/// Who looks at a page.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    pub(crate) actor: Actor,
    /// What each form of this session carries.
    pub(crate) csrf: String,
}

/// A page, or what to show instead.
type Page = Result<Markup, Unshown>;

pub(crate) fn routes(app: &App) -> Router {
    let inside = Router::new()
        .route("/", get(overview::page))
        .route("/trace", get(trace::page))
        .route("/events", get(events::list))
        .route("/events/{id}", get(events::one))
        .route("/raw-events/{id}", get(events::raw))
        .route("/dead-letters", get(dead_letters::list))
        .route("/dead-letters/{id}", get(dead_letters::one))
        .route("/dead-letters/{id}/replay", post(dead_letters::replay).layer(DefaultBodyLimit::max(3 * api::REPLAY_BYTES_MAX)))
        .route("/dead-letters/{id}/assign", post(dead_letters::assign))
        .route("/dead-letters/{id}/resolve", post(dead_letters::resolve))
        .route("/replays", post(replays::begin))
        .route("/replays/{id}", get(replays::one))
        .route("/destinations", get(destinations::list))
        .route("/destinations/{name}/reconciliations", get(reconciliations::of_destination))
        .route("/destinations/{name}/{verb}", post(destinations::steer))
        .route("/audit", get(audit::list))
        .route("/rejected", get(rejected::list))
        .route("/sources", get(sources::list))
        .route("/sources/{name}", get(sources::one))
        .route("/sources/{name}/rejected/retry", post(rejected::retry))
        .route("/logout", post(login::logout))
        .fallback(async |State(app): State<App>, visitor: axum::Extension<Visitor>| -> Page {
            Err(Unshown::new(&app, &visitor, Problem::NotFound.because("There is no such page.")))
        })
        .layer(from_fn_with_state(app.clone(), logged_in));
    let outside = Router::new().route("/login", get(login::form).post(login::login)).route(
        "/style.css",
        get(async || ([(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")], STYLE)),
    );
    outside.merge(inside).with_state(app.clone())
}

/// The pages' door: a session, or on to the login.
async fn logged_in(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let session = access::cookie(request.headers()).and_then(|id| app.sessions.find(app.now(), id));
    let Some(session) = session else {
        let wanted = if request.method() == axum::http::Method::GET { request.uri().path_and_query().map(|to| to.as_str()) } else { None };
        return Redirect::to(&login::address(wanted.unwrap_or("/"))).into_response();
    };
    let visitor = Visitor { actor: session.actor, csrf: session.csrf };
    if guard::from_elsewhere(&request) && request.method() != axum::http::Method::GET {
        return Unshown::new(&app, &visitor, Problem::Forbidden.because("This form was on another site's page.")).into_response();
    }
    request.extensions_mut().insert(visitor);
    next.run(request).await
}

/// A refusal as a page.
pub(crate) struct Unshown(Box<(Frame, Refusal)>);

impl Unshown {
    fn new(app: &App, visitor: &Visitor, refusal: Refusal) -> Self {
        Self(Box::new((Frame::new(app, visitor, refusal.title()), refusal)))
    }
}

impl IntoResponse for Unshown {
    fn into_response(self) -> Response {
        let (frame, refusal) = *self.0;
        let body = html! {
            section.card.bad role="alert" {
                h2 { (refusal.title()) }
                p { (refusal.detail) }
                p { a href="/" { "To the overview" } }
            }
        };
        (refusal.status(), frame.around(&body)).into_response()
    }
}

/// Lets handlers write `.or_page(&app, &visitor)?` behind whatever the API's functions answer.
trait OrPage<T> {
    fn or_page(self, app: &App, visitor: &Visitor) -> Result<T, Unshown>;
}

impl<T, E: Into<Refusal>> OrPage<T> for Result<T, E> {
    fn or_page(self, app: &App, visitor: &Visitor) -> Result<T, Unshown> {
        self.map_err(|refusal| Unshown::new(app, visitor, refusal.into()))
    }
}

/// The query of a page, read as the API reads it.
fn asked(uri: &Uri) -> Result<Ask, Refusal> {
    let axum::extract::Query(pairs) = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|_| Problem::MalformedQuery.because("The query is not a list of names and values."))?;
    // What a page says about the change before is not part of any filter.
    Ask::new(pairs.into_iter().filter(|(name, _)| name != "done"))
}

/// A posted form of a logged-in operator, whose token was checked.
pub(crate) struct Posted {
    pub(crate) visitor: Visitor,
    fields: BTreeMap<String, String>,
}

impl Posted {
    /// A field that was filled in.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        self.fields.remove(name).filter(|text| !text.trim().is_empty())
    }
}

impl FromRequest<App> for Posted {
    type Rejection = Unshown;

    async fn from_request(request: Request, app: &App) -> Result<Self, Unshown> {
        let none = Visitor { actor: Actor { name: String::new(), role: access::Role::Viewer }, csrf: String::new() };
        let visitor = request.extensions().get::<Visitor>().cloned().unwrap_or(none);
        let read = Form::<Vec<(String, String)>>::from_request(request, app).await;
        let Form(pairs) = read.map_err(|_| Problem::MalformedBody.because("The form could not be read.")).or_page(app, &visitor)?;
        let mut fields: BTreeMap<String, String> = pairs.into_iter().collect();
        let given = access::hash(fields.remove("csrf").unwrap_or_default().as_bytes());
        let known = !visitor.csrf.is_empty() && access::same(&given, &access::hash(visitor.csrf.as_bytes()));
        if !known {
            return Err(Unshown::new(
                app,
                &visitor,
                Problem::Forbidden.because("The form is from an earlier login. Go back, reload, and send it again."),
            ));
        }
        guard::need(&visitor.actor, access::Role::Operator).or_page(app, &visitor)?;
        Ok(Self { visitor, fields })
    }
}
