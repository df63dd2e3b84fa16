//! Reconciling with a CRM: asked for here, done by a worker.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use model::ReconciliationId;
use model::protocol::reconcile::Repair;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{AskedReconciliation, NewReconciliation};

use super::id;
use crate::App;
use crate::access::Actor;
use crate::ask::{Ask, Body, reason};
use crate::problem::{Problem, Refusal};
use crate::spelled::spelled;

/// So many records of an object are looked at where nobody says how many.
const SAMPLE: u64 = 200;
const SAMPLE_MAX: u64 = 1_000_000;

type Answer = Result<Json<Value>, Refusal>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    reason: Option<String>,
    destination: String,
    object: Option<String>,
    sample: Option<u64>,
    #[serde(default)]
    all: bool,
    repair: Option<String>,
}

pub(super) async fn begin(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Body(body): Body<Wanted>,
) -> Result<Response, Refusal> {
    let why = reason(body.reason.clone())?;
    let new = wanted(&app, &body)?;
    let ids = match app.store().ask_reconciliation(app.now(), &actor.name, &why, &new).await? {
        AskedReconciliation::Begun(ids) => ids,
        AskedReconciliation::TooMany => {
            return Err(Problem::Invalid.because("Too many runs of this destination wait already; let them end first."));
        }
    };
    let mut rows = Vec::with_capacity(ids.len());
    for id in ids {
        rows.push(app.store().reconciliation(id).await?.map_or_else(|| json!({ "id": id }), |row| spelled(&row)));
    }
    Ok((StatusCode::ACCEPTED, Json(json!({ "reconciliations": rows }))).into_response())
}

fn wanted(app: &App, body: &Wanted) -> Result<NewReconciliation, Refusal> {
    let known: Vec<String> = app.console.routes.objects(&body.destination).map(str::to_owned).collect();
    if known.is_empty() {
        return Err(Problem::NotFound.because("There is no destination of this name that has objects."));
    }
    let objects = match &body.object {
        None => known,
        Some(object) if known.contains(object) => vec![object.clone()],
        Some(_) => return Err(Problem::NotFound.because("The destination has no such object in the configuration.")),
    };
    let sample = match (body.all, body.sample) {
        (true, Some(_)) => return Err(Problem::Invalid.because("Say `all` or `sample`, not both.")),
        (true, None) => None,
        (false, sample) => Some(sample.unwrap_or(SAMPLE)),
    };
    if sample.is_some_and(|sample| !(1..=SAMPLE_MAX).contains(&sample)) {
        return Err(Problem::Invalid.because(format!("`sample` is a number from 1 to {SAMPLE_MAX}.")));
    }
    let repair = match body.repair.as_deref() {
        None => Repair::Off,
        Some(word) => Repair::parse(word).ok_or_else(|| Problem::Invalid.because("`repair` is `off`, `ours` or `all`."))?,
    };
    Ok(NewReconciliation { destination: body.destination.clone(), objects, sample, repair })
}

pub(super) async fn list(State(app): State<App>, mut ask: Ask) -> Answer {
    let (destination, limit) = (ask.name("destination")?, ask.limit()?);
    ask.done()?;
    let rows = app.store().reconciliations(destination.as_deref(), limit).await?;
    Ok(Json(json!({ "reconciliations": spelled(&rows) })))
}

pub(super) async fn one(State(app): State<App>, Path(text): Path<String>) -> Answer {
    let id = id(&text, ReconciliationId::parse, ReconciliationId::PREFIX)?;
    let row =
        app.store().reconciliation(id).await?.ok_or_else(|| Problem::NotFound.because("There is no run of reconciling with this id."))?;
    Ok(Json(spelled(&row)))
}
