//! What the API changes. Every change has a reason and an entry in the audit trail.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use model::DeliveryId;
use model::wakeup::Wakeup;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Reopened, Status};

use super::id;
use crate::App;
use crate::access::Actor;
use crate::ask::{Ask, Body, reason};
use crate::problem::{Problem, Refusal};
use crate::replays::{self, Mapping, Wanted};
use crate::spelled::spelled;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replay {
    reason: Option<String>,
    #[serde(default)]
    mapping: Mapping,
    payload: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Assign {
    reason: Option<String>,
    owner: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replays {
    #[serde(default)]
    filter: BTreeMap<String, String>,
    reason: Option<String>,
    #[serde(default)]
    mapping: Mapping,
    #[serde(default)]
    dry_run: bool,
    confirm: Option<u64>,
}

type Answer = Result<Json<Value>, Refusal>;

/// An edited payload as bytes: a text is taken as it is, anything else is written as JSON.
fn edited(payload: Value) -> Vec<u8> {
    match payload {
        Value::String(text) => text.into_bytes(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string().into_bytes(),
    }
}

pub(super) async fn replay(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Path(text): Path<String>,
    Body(body): Body<Replay>,
) -> Answer {
    let delivery = id(&text, DeliveryId::parse, DeliveryId::PREFIX)?;
    let wanted = Wanted { delivery, mapping: body.mapping, edited: body.payload.map(edited) };
    let reopened = replays::replay(&app, &actor.name, &reason(body.reason)?, wanted).await?;
    refuse_untouched(&reopened)?;
    Ok(Json(spelled(&reopened)))
}

/// A replay that changed nothing is not a success.
pub(crate) fn refuse_untouched(reopened: &Reopened) -> Result<(), Refusal> {
    match reopened {
        Reopened::InFlight { status } => Err(not_dead(*status)),
        Reopened::NotFound => Err(unknown()),
        Reopened::Reopened { .. } | Reopened::Replaced { .. } | Reopened::StillDead { .. } => Ok(()),
    }
}

fn not_dead(status: Status) -> Refusal {
    let status = status.as_str();
    Problem::InFlight
        .because(format!("This delivery is `{status}`, not a dead letter; nothing was changed."))
        .with("delivery_status", status)
}

fn unknown() -> Refusal {
    Problem::NotFound.because("There is no delivery with this id.")
}

/// Gives a dead letter to somebody.
pub(crate) async fn assigned(app: &App, actor: &Actor, delivery: DeliveryId, owner: Option<String>, why: &str) -> Result<(), Refusal> {
    let owner = owner.map(|owner| owner.trim().to_owned()).filter(|owner| (1..=100).contains(&owner.len()));
    let owner = owner.filter(|owner| !owner.chars().any(char::is_control));
    let owner = owner.ok_or_else(|| Problem::Invalid.because("Say in `owner` who looks at it: 1 to 100 bytes."))?;
    match app.store().assign(app.now(), &actor.name, delivery, &owner, why).await? {
        true => Ok(()),
        false => Err(Problem::NotFound.because("There is no dead letter with this id.")),
    }
}

/// Closes a dead letter.
pub(crate) async fn resolved(app: &App, actor: &Actor, delivery: DeliveryId, why: &str) -> Result<(), Refusal> {
    match app.store().resolve(app.now(), &actor.name, delivery, why).await? {
        Some(Status::Cancelled) => Ok(()),
        Some(status) => Err(not_dead(status)),
        None => Err(unknown()),
    }
}

pub(super) async fn assign(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Path(text): Path<String>,
    Body(body): Body<Assign>,
) -> Answer {
    let delivery = id(&text, DeliveryId::parse, DeliveryId::PREFIX)?;
    assigned(&app, &actor, delivery, body.owner.clone(), &reason(body.reason)?).await?;
    Ok(Json(json!({ "id": delivery, "owner": body.owner })))
}

pub(super) async fn resolve(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Path(text): Path<String>,
    Body(body): Body<Why>,
) -> Answer {
    let delivery = id(&text, DeliveryId::parse, DeliveryId::PREFIX)?;
    resolved(&app, &actor, delivery, &reason(body.reason)?).await?;
    Ok(Json(json!({ "id": delivery, "status": Status::Cancelled.as_str() })))
}

pub(super) async fn begin_replay(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Body(body): Body<Replays>,
) -> Result<Response, Refusal> {
    let why = reason(body.reason)?;
    let mut asked = body.filter;
    let plan = replays::plan(&app, Ask::new(asked.clone())?.dead_letters()?).await?;
    asked.insert("until".to_owned(), plan.until().to_string());
    if body.dry_run {
        let sample: Vec<DeliveryId> = plan.sample(&app).await?;
        return Ok(Json(json!({ "dry_run": true, "matched": plan.matched, "filter": asked, "sample": sample })).into_response());
    }
    let id = replays::begin(&app, &actor.name, &why, plan, asked, body.mapping, body.confirm).await?;
    let place = format!("/api/replays/{id}");
    let row = app.store().replay(id).await?.map(|row| spelled(&row)).unwrap_or_else(|| json!({ "id": id }));
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, place)], Json(row)).into_response())
}

pub(super) async fn pause(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
    Body(body): Body<Why>,
) -> Answer {
    let why = reason(body.reason)?;
    steer(&app, &actor, &name, true, &why).await?;
    Ok(Json(json!({ "name": name, "paused": true })))
}

pub(super) async fn resume(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Path(name): Path<String>,
    Body(body): Body<Why>,
) -> Answer {
    let why = reason(body.reason)?;
    steer(&app, &actor, &name, false, &why).await?;
    Ok(Json(json!({ "name": name, "paused": false })))
}

/// Pauses or resumes a destination.
pub(crate) async fn steer(app: &App, actor: &Actor, name: &str, pause: bool, why: &str) -> Result<(), Refusal> {
    let found = match pause {
        true => app.store().pause(app.now(), &actor.name, name, why).await?,
        false => app.store().resume(app.now(), &actor.name, name, why).await?,
    };
    if !found {
        return Err(Problem::NotFound.because("There is no destination of this name; /api/destinations lists them."));
    }
    if !pause {
        // Else what was held would wait for the next sweep.
        app.console.queue.wake(Wakeup { destination: name.to_owned(), records: Vec::new(), correlation_id: String::new() });
    }
    Ok(())
}
