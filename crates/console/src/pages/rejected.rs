//! Requests that were refused at the door, and the way back in for those that are genuine.

use std::collections::BTreeSet;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Redirect;
use maud::{Markup, html};
use model::RejectedId;
use store::RejectedRow;

use super::frame::{badge, empty, encoded, field, pairs, reason_field, value, when};
use super::{Frame, OrPage, Page, Posted, Unshown, Visitor, asked};
use crate::problem::Problem;
use crate::rejected::{self, AT_ONCE, Wanted};
use crate::{App, ask};

/// Retries of one click: beyond them, the person clicks again.
const ROUNDS_MAX: usize = 10;

pub(super) async fn list(State(app): State<App>, Extension(visitor): Extension<Visitor>, uri: Uri) -> Page {
    let mut ask = asked(&uri).or_page(&app, &visitor)?;
    let source = ask.name("source").or_page(&app, &visitor)?;
    let limit = ask.limit().or_page(&app, &visitor)?;
    ask.done().or_page(&app, &visitor)?;
    let rows = app.store().rejected(source.as_deref(), limit).await.or_page(&app, &visitor)?;
    Ok(view(&Frame::new(&app, &visitor, "Rejected").after(&uri), &rows, &pairs(&uri)))
}

pub(super) async fn retry(State(app): State<App>, Path(source): Path<String>, mut posted: Posted) -> Result<Redirect, Unshown> {
    let why = ask::reason(posted.take("reason")).or_page(&app, &posted.visitor)?;
    let one = posted.take("id").map(|text| RejectedId::parse(&text).ok_or_else(|| Problem::MalformedId.because("An id here is `rej_…`.")));
    let mut wanted = Wanted { source: source.clone(), id: one.transpose().or_page(&app, &posted.visitor)?, ..Wanted::default() };
    let (mut taken_in, mut rounds) = (0, 0);
    let begun = tokio::time::Instant::now();
    let next = loop {
        let retried = rejected::retry(&app, &posted.visitor.actor, &why, wanted.clone()).await.or_page(&app, &posted.visitor)?;
        (taken_in, rounds) = (taken_in + retried.taken_in, rounds + 1);
        wanted.after = retried.next;
        // A page is answered within 30 s, and one more round may take 10.
        if wanted.after.is_none() || rounds >= ROUNDS_MAX || begun.elapsed().as_secs() >= 10 {
            break wanted.after;
        }
    };
    let done = match (next, taken_in) {
        (Some(_), _) => "more_refused",
        (None, 0) => "still_refused",
        (None, _) => "taken_back",
    };
    Ok(Redirect::to(&format!("/rejected?source={}&done={done}", encoded(&source))))
}

pub(super) fn view(frame: &Frame, rows: &[RejectedRow], asked: &[(String, String)]) -> Markup {
    let sources: BTreeSet<&str> = rows.iter().map(|row| row.source.as_str()).collect();
    frame.around(&html! {
        p.lead { "Requests whose signature could not be verified. The sender got a 401 without a reason; the diagnosis is for you. They are kept sealed for a bounded time, so that a wrong secret on our side loses nothing." }
        form.filters method="get" { (field("source", "Source", value(asked, "source"))) button { "Filter" } }
        @if frame.operates() { @for source in &sources { (form(frame, source)) } }
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

/// Once the secret is mended and the process has been started with it.
fn form(frame: &Frame, source: &str) -> Markup {
    html! {
        form.inline method="post" action={ "/sources/" (encoded(source)) "/rejected/retry" } {
            (frame.csrf())
            (reason_field(&format!("reason-{source}"), "What was mended"))
            button.quiet title={ "Up to " (AT_ONCE) " at a time, the oldest first" } { "Check those of " (source) " again" }
        }
    }
}
