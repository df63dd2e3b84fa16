//! Sources: whether they still send, what was refused of them, and how what they send has changed.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::Uri;
use maud::{Markup, html};
use store::DriftRow;

use super::frame::{badge, empty, encoded, when};
use super::{Frame, OrPage, Page, Visitor};
use crate::App;
use crate::api::sources::{SourceRow, known, rows};

pub(super) async fn list(State(app): State<App>, Extension(visitor): Extension<Visitor>, uri: Uri) -> Page {
    let rows = rows(&app).await.or_page(&app, &visitor)?;
    Ok(view(&Frame::new(&app, &visitor, "Sources").after(&uri), &rows))
}

pub(super) async fn one(State(app): State<App>, Extension(visitor): Extension<Visitor>, Path(name): Path<String>) -> Page {
    known(&app, &name).await.or_page(&app, &visitor)?;
    let rows = app.store().drift(&name).await.or_page(&app, &visitor)?;
    Ok(one_view(&Frame::new(&app, &visitor, format!("Source {name}")), &name, &rows))
}

pub(super) fn one_view(frame: &Frame, name: &str, rows: &[DriftRow]) -> Markup {
    let changes = rows.iter().flat_map(|row| row.changes.iter().map(move |change| (row, change)));
    let mut changes: Vec<_> = changes.collect();
    changes.sort_by_key(|(_, change)| std::cmp::Reverse(change.at));
    frame.around(&html! {
        p { a href={ "/events?source=" (encoded(name)) } { "Its events" } " · " a href={ "/rejected?source=" (encoded(name)) } { "What was refused of it" } }
        h2 { "What has changed in what it sends" }
        p.lead { "Learned from a few bodies a second. Nothing is refused for it: see whether the mapping should follow." }
        @if changes.is_empty() { (empty("Nothing has changed.")) } @else {
            div.scroll tabindex="0" role="region" aria-label="Changes" { table {
                thead { tr { th { "When" } th { "Event type" } th { "What" } th { "Member" } th { "Was" } th { "Is" } } }
                tbody { @for (row, change) in &changes { tr {
                    td { (when(frame.now, change.at)) }
                    td { (row.event_type) }
                    td { (badge(change.kind.as_str())) }
                    td { code { (change.path) } }
                    td { (change.was) }
                    td { (change.is) }
                } } }
            } }
        }
        @if !rows.is_empty() {
            h2 { "What is known" }
            ul { @for row in rows { li { (row.event_type) ": " (row.paths) " members, from " (row.bodies) " bodies, last " (when(frame.now, row.updated_at)) } } }
        }
    })
}

pub(super) fn view(frame: &Frame, rows: &[SourceRow]) -> Markup {
    frame.around(&html! {
        p.lead { "Where webhooks come from. The numbers of requests are this process's, since it started." }
        @if rows.is_empty() { (empty("No source is configured.")) } @else {
            div.scroll tabindex="0" role="region" aria-label="Sources" { table {
                thead { tr { th { "Source" } th { "Preset" } th.number { "Trust" } th { "Last event" } th { "Requests" } th.number { "Rejected" } } }
                tbody { @for row in rows { tr {
                    td { a href={ "/sources/" (encoded(&row.name)) } { (row.name) } @if row.retired { " " span.soft { "retired" } } }
                    td { @if let Some(preset) = &row.preset { (preset) } @else { span.soft { "your own" } } }
                    td.number { (row.trust) }
                    td { @if let Some(at) = row.last_event_at { (when(frame.now, at)) } @else { span.soft { "none yet" } } }
                    td { (requests(row)) }
                    td.number { @if row.rejected > 0 { a href={ "/rejected?source=" (encoded(&row.name)) } { (row.rejected) } } @else { "0" } }
                } } }
            } }
        }
    })
}

fn requests(row: &SourceRow) -> Markup {
    html! {
        @if row.requests.is_empty() { span.soft { "none" } }
        @for (n, (result, number)) in row.requests.iter().enumerate() { @if n > 0 { ", " } (number) " " span.soft { (result.replace('_', " ")) } }
    }
}
