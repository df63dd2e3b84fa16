//! Requests that were refused at the door.

use axum::Extension;
use axum::extract::State;
use axum::http::Uri;
use maud::{Markup, html};
use store::RejectedRow;

use super::frame::{badge, empty, field, pairs, value, when};
use super::{Frame, OrPage, Page, Visitor, asked};
use crate::App;

pub(super) async fn list(State(app): State<App>, Extension(visitor): Extension<Visitor>, uri: Uri) -> Page {
    let mut ask = asked(&uri).or_page(&app, &visitor)?;
    let source = ask.name("source").or_page(&app, &visitor)?;
    let limit = ask.limit().or_page(&app, &visitor)?;
    ask.done().or_page(&app, &visitor)?;
    let rows = app.store().rejected(source.as_deref(), limit).await.or_page(&app, &visitor)?;
    Ok(view(&Frame::new(&app, &visitor, "Rejected"), &rows, &pairs(&uri)))
}

pub(super) fn view(frame: &Frame, rows: &[RejectedRow], asked: &[(String, String)]) -> Markup {
    frame.around(&html! {
        p.lead { "Requests whose signature could not be verified. The sender got a 401 without a reason; the diagnosis is for you. They are kept sealed for a bounded time, so that a wrong secret on our side loses nothing." }
        form.filters method="get" { (field("source", "Source", value(asked, "source"))) button { "Filter" } }
        @if rows.is_empty() { (empty("Nothing was rejected.")) } @else {
            div.scroll tabindex="0" role="region" aria-label="Rejected requests" { table {
                thead { tr { th { "When" } th { "Source" } th { "Reason" } th { "Diagnosis" } th.number { "Bytes" } th { "Id" } } }
                tbody { @for row in rows { tr {
                    td { (when(frame.now, row.at)) }
                    td { (row.source) }
                    td { (badge(&row.reason)) }
                    td.wide { (row.diagnosis) }
                    td.number { (row.body_bytes) }
                    td { code { (row.id) } }
                } } }
            } }
        }
    })
}
