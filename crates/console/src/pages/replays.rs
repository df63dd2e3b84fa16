//! Bulk replays: the form's end, and how far one is.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Redirect;
use maud::{Markup, html};
use model::ReplayId;
use store::ReplayRow;

use super::dead_letters::replay_mapping;
use super::frame::{badge, when};
use super::{Frame, OrPage, Page, Posted, Unshown, Visitor};
use crate::api::id;
use crate::ask::{Ask, reason};
use crate::problem::{Problem, Refusal};
use crate::{App, replays};

/// The filter's fields in the form.
const WHERE: [&str; 8] = ["id", "destination", "source", "reason", "owner", "event_type", "since", "until"];

pub(super) async fn begin(State(app): State<App>, mut posted: Posted) -> Result<Redirect, Unshown> {
    let begun = try_begin(&app, &mut posted).await;
    let id = begun.or_page(&app, &posted.visitor)?;
    Ok(Redirect::to(&format!("/replays/{id}?done=begun")))
}

async fn try_begin(app: &App, posted: &mut Posted) -> Result<ReplayId, Refusal> {
    let why = reason(posted.take("reason"))?;
    let mapping = replay_mapping(posted)?;
    let mut asked: BTreeMap<String, String> = BTreeMap::new();
    for name in WHERE {
        asked.extend(posted.take(&format!("where_{name}")).map(|value| (name.to_owned(), value)));
    }
    let plan = replays::plan(app, Ask::new(asked.clone())?.dead_letters()?).await?;
    asked.insert("until".to_owned(), plan.until().to_string());
    let confirm: Option<u64> = posted.take("confirm").and_then(|text| text.trim().parse().ok());
    if confirm != Some(plan.matched) {
        let detail = format!("{} dead letters match now. Go back and type that number if you mean them.", plan.matched);
        return Err(Problem::ConfirmationRequired.because(detail));
    }
    replays::begin(app, &posted.visitor.actor.name, &why, plan, asked, mapping, confirm).await
}

pub(super) async fn one(State(app): State<App>, Extension(visitor): Extension<Visitor>, Path(text): Path<String>, uri: Uri) -> Page {
    let id = id(&text, ReplayId::parse, ReplayId::PREFIX).or_page(&app, &visitor)?;
    let row = app.store().replay(id).await.or_page(&app, &visitor)?;
    let row = row.ok_or_else(|| Problem::NotFound.because("There is no bulk replay with this id.")).or_page(&app, &visitor)?;
    Ok(view(&Frame::new(&app, &visitor, "Bulk replay").after(&uri), &row))
}

pub(super) fn view(frame: &Frame, row: &ReplayRow) -> Markup {
    let through = row.reopened + row.refused;
    html! {
        (frame.around(&html! {
            section.card aria-label="Progress" {
                h2 { @if row.finished_at.is_some() { "Through " (badge("succeeded")) } @else { "Running " (badge("processing")) } }
                progress max=(row.matched.max(1)) value=(through.min(row.matched)) aria-label="Progress" { (through) " of " (row.matched) }
                dl.facts {
                    div { dt { "Matched" } dd { (row.matched) } }
                    div { dt { "On their way again" } dd { (row.reopened) } }
                    div { dt { "Still dead or in flight" } dd { (row.refused) } }
                }
                dl.lines {
                    dt { "Asked by" } dd { (row.actor) ", " (when(frame.now, row.at)) }
                    dt { "Reason" } dd { (row.reason) }
                    dt { "Filter" } dd { code { (row.filter) } }
                    @if let Some(at) = row.finished_at { dt { "Finished" } dd { (when(frame.now, at)) } }
                }
                @if row.finished_at.is_none() { p.hint { "Reload this page to see how far it is." } }
            }
        }))
    }
}
