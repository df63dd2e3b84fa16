//! Catching up with a source's vendor: asked for here, done by a worker.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use model::catch_up::BACK_MAX;
use model::{CatchUpId, Time};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{AskedCatchUp, NewCatchUp};

use super::{id, sources};
use crate::App;
use crate::access::Actor;
use crate::ask::{Ask, Body, reason};
use crate::problem::{Problem, Refusal};
use crate::spelled::spelled;

type Answer = Result<Json<Value>, Refusal>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    reason: Option<String>,
    since: Option<String>,
    until: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn begin(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Path(source): Path<String>,
    Body(body): Body<Wanted>,
) -> Result<Response, Refusal> {
    let why = reason(body.reason)?;
    let (since, until) = window(app.now(), body.since.as_deref(), body.until.as_deref())?;
    sources::known(&app, &source).await?;
    if !app.console.catches_up.contains(&source) {
        let detail = "This source cannot be caught up with: its vendor keeps no list of what it has sent, or `fetch` of the source has no credentials.";
        return Err(Problem::Invalid.because(detail));
    }
    let new = NewCatchUp { source, since, until, dry_run: body.dry_run };
    let id = match app.store().ask_catch_up(app.now(), &actor.name, &why, &new).await? {
        AskedCatchUp::Begun(id) => id,
        AskedCatchUp::TooMany => return Err(Problem::Invalid.because("Too many runs of this source wait already; let them end first.")),
    };
    let row = app.store().catch_up(id).await?.map(|row| spelled(&row)).unwrap_or_else(|| json!({ "id": id }));
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, format!("/api/catch-ups/{id}"))], Json(row)).into_response())
}

/// What is to be listed: from `since` on, up to `until` or now.
fn window(now: Time, since: Option<&str>, until: Option<&str>) -> Result<(Time, Time), Refusal> {
    let moment = |name: &str, text: &str| {
        Time::parse_rfc3339(text).ok_or_else(|| Problem::Invalid.because(format!("`{name}` is no moment like 2026-11-22T18:04:00Z.")))
    };
    let since = moment("since", since.ok_or_else(|| Problem::Invalid.because("Say in `since` from when on to look."))?)?;
    let until = until.map(|text| moment("until", text)).transpose()?.unwrap_or(now);
    if until > now {
        return Err(Problem::Invalid.because("`until` lies ahead: leave it out to look up to now."));
    }
    if since >= until {
        return Err(Problem::Invalid.because("`since` must lie before `until`."));
    }
    if now.since(since) > BACK_MAX {
        return Err(Problem::Invalid.because("`since` lies further back than any vendor's list goes: at most 366 days."));
    }
    Ok((since, until))
}

pub(super) async fn of_source(State(app): State<App>, Path(name): Path<String>, mut ask: Ask) -> Answer {
    let limit = ask.limit()?;
    ask.done()?;
    sources::known(&app, &name).await?;
    let rows = app.store().catch_ups(Some(&name), limit).await?;
    Ok(Json(json!({ "source": name, "catch_ups": spelled(&rows) })))
}

pub(super) async fn one(State(app): State<App>, Path(text): Path<String>) -> Answer {
    let id = id(&text, CatchUpId::parse, CatchUpId::PREFIX)?;
    let row = app.store().catch_up(id).await?.ok_or_else(|| Problem::NotFound.because("There is no run of catching up with this id."))?;
    Ok(Json(spelled(&row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_lies_behind_us_and_not_too_far() {
        let now = Time::parse_rfc3339("2026-11-23T00:00:00Z").unwrap();
        let at = |text: &str| Time::parse_rfc3339(text).unwrap();
        let read = |since, until| window(now, since, until);
        assert_eq!(read(Some("2026-11-20T00:00:00Z"), None).unwrap(), (at("2026-11-20T00:00:00Z"), now));
        for (since, until) in [
            (None, None),
            (Some("yesterday"), None),
            (Some("2026-11-24T00:00:00Z"), None),
            (Some("2026-11-20T00:00:00Z"), Some("2026-11-23T00:00:01Z")),
            (Some("2026-11-20T00:00:00Z"), Some("2026-11-20T00:00:00Z")),
            (Some("2020-01-01T00:00:00Z"), None),
        ] {
            assert_eq!(read(since, until).unwrap_err().problem, Problem::Invalid, "{since:?} {until:?}");
        }
    }
}
