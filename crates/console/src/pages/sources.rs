//! Sources: whether they still send, and what was refused of them.

use axum::Extension;
use axum::extract::State;
use axum::http::Uri;
use maud::{Markup, html};

use super::frame::{empty, encoded, when};
use super::{Frame, OrPage, Page, Visitor};
use crate::App;
use crate::api::sources::{SourceRow, rows};

pub(super) async fn list(State(app): State<App>, Extension(visitor): Extension<Visitor>, uri: Uri) -> Page {
    let rows = rows(&app).await.or_page(&app, &visitor)?;
    Ok(view(&Frame::new(&app, &visitor, "Sources").after(&uri), &rows))
}

pub(super) fn view(frame: &Frame, rows: &[SourceRow]) -> Markup {
    frame.around(&html! {
        p.lead { "Where webhooks come from. The numbers of requests are this process's, since it started." }
        @if rows.is_empty() { (empty("No source is configured.")) } @else {
            div.scroll tabindex="0" role="region" aria-label="Sources" { table {
                thead { tr { th { "Source" } th { "Preset" } th.number { "Trust" } th { "Last event" } th { "Requests" } th.number { "Rejected" } } }
                tbody { @for row in rows { tr {
                    td { a href={ "/events?source=" (encoded(&row.name)) } { (row.name) } @if row.retired { " " span.soft { "retired" } } }
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
