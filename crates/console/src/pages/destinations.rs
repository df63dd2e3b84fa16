//! Destinations: how they are, and the two things a person can do to them.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Redirect;
use maud::{Markup, html};
use model::quota::{Left, Window};
use store::DestinationRow;

use super::frame::{badge, empty, encoded, reason_field, relative, when};
use super::{Frame, OrPage, Page, Posted, Unshown, Visitor};
use crate::api::write;
use crate::problem::Problem;
use crate::{App, ask};

pub(super) async fn list(State(app): State<App>, Extension(visitor): Extension<Visitor>, uri: Uri) -> Page {
    let rows = app.store().destinations(app.now()).await.or_page(&app, &visitor)?;
    Ok(view(&Frame::new(&app, &visitor, "Destinations").after(&uri), &rows))
}

pub(super) async fn steer(
    State(app): State<App>,
    Path((name, verb)): Path<(String, String)>,
    mut posted: Posted,
) -> Result<Redirect, Unshown> {
    let pause = match verb.as_str() {
        "pause" => true,
        "resume" => false,
        _ => return Err(Unshown::new(&app, &posted.visitor, Problem::NotFound.because("A destination can be paused or resumed."))),
    };
    let why = ask::reason(posted.take("reason")).or_page(&app, &posted.visitor)?;
    write::steer(&app, &posted.visitor.actor, &name, pause, &why).await.or_page(&app, &posted.visitor)?;
    Ok(Redirect::to(if pause { "/destinations?done=paused" } else { "/destinations?done=resumed" }))
}

pub(super) fn view(frame: &Frame, rows: &[DestinationRow]) -> Markup {
    frame.around(&html! {
        @if rows.is_empty() { (empty("No destination is configured.")) }
        div.cards { @for row in rows { (card(frame, row)) } }
    })
}

fn card(frame: &Frame, row: &DestinationRow) -> Markup {
    html! {
        section.card aria-label=(row.name) {
            h2 { (row.name) " " (badge(&row.state)) }
            @if let Some(reason) = &row.reason { p { (reason) } }
            @if let Some(until) = row.until { p { "Goes on by itself " (relative(frame.now, until)) "." } }
            dl.facts {
                div { dt { "Open" } dd { (row.open) } }
                div { dt { "Retrying" } dd { (row.retrying) } }
                div { dt { "Verifying" } dd { (row.verifying) } }
                div { dt { "Dead letters" } dd { @if row.dead_letters == 0 { "0" } @else { a href={ "/dead-letters?destination=" (encoded(&row.name)) } { (row.dead_letters) } } } }
            }
            dl.lines {
                @for left in &row.quota { dt { (budget(left)) } dd { (remaining(frame, left)) } }
                @if let (Some(now), Some(most)) = (row.concurrency, row.concurrency_max) { dt { "At once" } dd { (now) " of " (most) " calls" } }
                @if let Some(oldest) = row.oldest_open { dt { "Oldest open" } dd { (when(frame.now, oldest)) } }
                dt { "Last success" } dd { @if let Some(at) = row.last_success_at { (when(frame.now, at)) } @else { "none yet" } }
                @if let Some(error) = &row.last_error { dt { "Last error" } dd.quote { (error) } }
            }
            @if model::fetch::source_of(&row.name).is_none() {
                p { a href={ "/destinations/" (encoded(&row.name)) "/reconciliations" } { "What reconciling found" } }
            }
            @if frame.operates() { (form(frame, row)) }
        }
    }
}

const fn budget(left: &Left) -> &'static str {
    match left.window {
        Window::Burst => "Calls left now",
        Window::Day => "Calls left today",
    }
}

fn remaining(frame: &Frame, left: &Left) -> Markup {
    html! {
        (left.left) " of " (left.limit)
        @if left.told { span.soft { ", by the CRM’s own count" } }
        @if left.reserve > 0 { span.soft { "; the last " (left.reserve) " not for replays and catching up" } }
        @if let Some(until) = left.until { span.soft { "; the next " (relative(frame.now, until)) } }
    }
}

fn form(frame: &Frame, row: &DestinationRow) -> Markup {
    // A breaker or a refused credential is ended by resuming too; only what runs freely can be paused.
    let paused = matches!(row.state.as_str(), "paused" | "breaker_open" | "auth_failed");
    let (verb, name) = if paused { ("resume", "Resume") } else { ("pause", "Pause") };
    html! {
        form.inline method="post" action={ "/destinations/" (encoded(&row.name)) "/" (verb) } {
            (frame.csrf())
            (reason_field(&format!("reason-{}", row.name), if paused { "Why it can go on" } else { "Why it should wait" }))
            button.quiet[!paused] { (name) " " (row.name) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_card_tells_what_is_left_and_by_whose_count() {
        let shown = view(&samples::frame("Destinations"), &samples::destinations()).into_string();
        for told in [
            "<dt>Calls left now</dt><dd>97 of 100</dd>",
            "12480 of 15000<span class=\"soft\">, by the CRM’s own count</span><span class=\"soft\">; the last 3000 not for replays and catching up</span>",
            "<dt>At once</dt><dd>2 of 4 calls</dd>",
        ] {
            assert!(shown.contains(told), "{told} is not in {shown}");
        }
    }
}
