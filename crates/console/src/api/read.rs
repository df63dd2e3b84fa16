//! What the API tells.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use model::{DeliveryId, EventId, RawEventId, ReplayId};
use serde_json::{Value, json};

use super::id;
use crate::access::{Actor, Role};
use crate::ask::Ask;
use crate::problem::{Problem, Refusal};
use crate::spelled::{spelled, spelled_event};
use crate::{App, guard};

type Answer = Result<Json<Value>, Refusal>;

pub(super) async fn trace(State(app): State<App>, mut ask: Ask) -> Answer {
    let x =
        ask.text("q").ok_or_else(|| Problem::MalformedQuery.because("Say in `q` what to look for: an id, a key, an e-mail address …"))?;
    ask.done()?;
    let trace = app.store().trace(app.now(), &x).await?;
    if trace.found_as.is_empty() && trace.events.is_empty() && trace.records.is_empty() {
        return Err(Problem::NotFound.because("The ledger knows nothing by this name. Is it spelled as the sender spells it?"));
    }
    Ok(Json(spelled(&trace)))
}

/// The last id of a full page, for the next one.
pub(crate) fn next<T>(rows: &[T], limit: u32, id: impl FnOnce(&T) -> String) -> Option<String> {
    if rows.len() < limit as usize { None } else { rows.last().map(id) }
}

pub(super) async fn events(State(app): State<App>, ask: Ask) -> Answer {
    let filter = ask.events()?;
    let rows = app.store().events(app.now(), &filter).await?;
    Ok(Json(json!({ "events": spelled(&rows), "next": next(&rows, filter.limit, |row| row.id.to_string()) })))
}

pub(super) async fn event(State(app): State<App>, Path(text): Path<String>) -> Answer {
    let id = id(&text, EventId::parse, EventId::PREFIX)?;
    let (row, normalized, mapping) =
        app.store().event(app.now(), id).await?.ok_or_else(|| Problem::NotFound.because("There is no event with this id."))?;
    Ok(Json(json!({ "event": spelled(&row), "normalized": spelled_event(normalized), "mapping": mapping })))
}

pub(super) async fn raw_event(State(app): State<App>, Extension(actor): Extension<Actor>, Path(text): Path<String>) -> Answer {
    guard::need(&actor, Role::Operator)?;
    let id = id(&text, RawEventId::parse, RawEventId::PREFIX)?;
    Ok(Json(crate::raw::shown(&app, &actor, id).await?.to_json()))
}

pub(super) async fn dead_letters(State(app): State<App>, ask: Ask) -> Answer {
    let filter = ask.dead_letters()?;
    let rows = app.store().dead_letters(&filter).await?;
    Ok(Json(json!({ "dead_letters": spelled(&rows), "next": next(&rows, filter.limit, |row| row.id.to_string()) })))
}

pub(super) async fn replay(State(app): State<App>, Path(text): Path<String>) -> Answer {
    let id = id(&text, ReplayId::parse, ReplayId::PREFIX)?;
    let row = app.store().replay(id).await?.ok_or_else(|| Problem::NotFound.because("There is no bulk replay with this id."))?;
    Ok(Json(spelled(&row)))
}

pub(super) async fn destinations(State(app): State<App>, ask: Ask) -> Answer {
    ask.done()?;
    Ok(Json(json!({ "destinations": spelled(&app.store().destinations(app.now()).await?) })))
}

pub(super) async fn audit(State(app): State<App>, mut ask: Ask) -> Answer {
    let before = ask.parsed("before", "the `next` of the page before", |text| text.parse::<i64>().ok())?;
    let limit = ask.limit()?;
    ask.done()?;
    let rows = app.store().audit_rows(before, limit).await?;
    Ok(Json(json!({ "audit": spelled(&rows), "next": next(&rows, limit, |row| row.seq.to_string()) })))
}

pub(super) async fn rejected(State(app): State<App>, mut ask: Ask) -> Answer {
    let (source, limit) = (ask.name("source")?, ask.limit()?);
    ask.done()?;
    let rows = app.store().rejected(source.as_deref(), limit).await?;
    Ok(Json(json!({ "rejected": spelled(&rows) })))
}

/// The dead letter with this id, if it is one.
pub(crate) async fn dead_letter(app: &App, id: DeliveryId) -> Result<Option<store::DeadLetterRow>, Refusal> {
    let filter = store::DeadLetterFilter { id: Some(id), limit: 1, ..store::DeadLetterFilter::default() };
    Ok(app.store().dead_letters(&filter).await?.into_iter().next())
}
