//! Who did what, and why.

use axum::Extension;
use axum::extract::State;
use axum::http::Uri;
use maud::{Markup, html};
use store::AuditRow;

use super::frame::{badge, empty, further, pairs, trace_of, when};
use super::{Frame, OrPage, Page, Visitor, asked};
use crate::App;
use crate::api::read::next;

pub(super) async fn list(State(app): State<App>, Extension(visitor): Extension<Visitor>, uri: Uri) -> Page {
    let mut ask = asked(&uri).or_page(&app, &visitor)?;
    let before = ask.parsed("before", "a number", |text| text.parse().ok()).or_page(&app, &visitor)?;
    let limit = ask.limit().or_page(&app, &visitor)?;
    ask.done().or_page(&app, &visitor)?;
    let rows = app.store().audit_rows(before, limit).await.or_page(&app, &visitor)?;
    let next = next(&rows, limit, |row| row.seq.to_string());
    Ok(view(&Frame::new(&app, &visitor, "Audit"), &rows, &further("/audit", &pairs(&uri), "before", next.as_deref())))
}

pub(super) fn view(frame: &Frame, rows: &[AuditRow], further: &Markup) -> Markup {
    frame.around(&html! {
        p.lead { "Everything that people and programs changed here. Each row holds a hash over the row before it, so that a missing or altered row shows." }
        @if rows.is_empty() { (empty("Nothing was changed yet.")) } @else {
            div.scroll tabindex="0" role="region" aria-label="Audit trail" { table {
                thead { tr { th { "When" } th { "Who" } th { "What" } th { "On what" } th { "Why" } th { "Hash" } } }
                tbody { @for row in rows { tr {
                    td { (when(frame.now, row.at)) }
                    td { (row.actor) }
                    td { (badge(&row.action)) }
                    td { (subject(&row.subject)) }
                    td.wide { (why(row)) }
                    td { code.soft title=(row.hash) { (row.hash.get(..10).unwrap_or(&row.hash)) } }
                } } }
            } }
            (further)
        }
    })
}

fn subject(subject: &str) -> Markup {
    let traceable = ["dlv_", "evt_", "raw_", "rec_"].iter().any(|prefix| subject.starts_with(prefix));
    html! { @if traceable { (trace_of(subject, subject)) } @else { (subject) } }
}

/// The reason in words, and whatever else is in the detail as it is.
fn why(row: &AuditRow) -> Markup {
    let mut rest = row.detail.clone();
    let reason = rest.as_object_mut().and_then(|members| members.shift_remove("reason"));
    let rest = rest.as_object().filter(|members| !members.is_empty());
    html! {
        @if let Some(reason) = reason.as_ref().and_then(|reason| reason.as_str()) { (reason) " " }
        @if let Some(rest) = rest { code.soft { (serde_json::Value::Object(rest.clone()).to_string()) } }
    }
}
