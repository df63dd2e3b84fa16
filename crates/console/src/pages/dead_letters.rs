//! Dead letters: what waits for a person, why, and the three things to do about it.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Redirect;
use maud::{Markup, html};
use model::{DeliveryId, Reason};
use store::{DeadLetterFilter, DeadLetterRow, Reopened};

use super::frame::{badge, choice, empty, field, further, pairs, reason_field, relative, sentence, status, target, trace_of, value, when};
use super::{Frame, OrPage, Page, Posted, Unshown, Visitor, asked};
use crate::api::read::{dead_letter, next};
use crate::api::{id, write};
use crate::problem::{Problem, Refusal};
use crate::replays::{Mapping, Wanted};
use crate::{App, ask, replays};

/// Rows of a page, where nothing is asked.
const ROWS: u32 = 50;

pub(super) async fn list(State(app): State<App>, Extension(visitor): Extension<Visitor>, uri: Uri) -> Page {
    let mut filter = asked(&uri).and_then(ask::Ask::dead_letters).or_page(&app, &visitor)?;
    let pairs = pairs(&uri);
    if value(&pairs, "limit").is_empty() {
        filter.limit = ROWS;
    }
    let rows = app.store().dead_letters(&filter).await.or_page(&app, &visitor)?;
    let matched = app.store().count_dead_letters(&DeadLetterFilter { after: None, ..filter.clone() }).await.or_page(&app, &visitor)?;
    let next = next(&rows, filter.limit, |row| row.id.to_string());
    Ok(list_view(&Frame::new(&app, &visitor, "Dead letters").after(&uri), &rows, matched, &pairs, next.as_deref()))
}

pub(super) async fn one(State(app): State<App>, Extension(visitor): Extension<Visitor>, Path(text): Path<String>, uri: Uri) -> Page {
    let id = id(&text, DeliveryId::parse, DeliveryId::PREFIX).or_page(&app, &visitor)?;
    let row = dead_letter(&app, id).await.or_page(&app, &visitor)?;
    let frame = Frame::new(&app, &visitor, "Dead letter").after(&uri);
    Ok(match row {
        Some(row) => one_view(&frame, &row),
        None => gone_view(&frame, id),
    })
}

pub(super) async fn replay(State(app): State<App>, Path(text): Path<String>, mut posted: Posted) -> Result<Redirect, Unshown> {
    let done = try_replay(&app, &text, &mut posted).await.or_page(&app, &posted.visitor)?;
    Ok(Redirect::to(&format!("/dead-letters/{text}?done={done}")))
}

async fn try_replay(app: &App, text: &str, posted: &mut Posted) -> Result<&'static str, Refusal> {
    let delivery = id(text, DeliveryId::parse, DeliveryId::PREFIX)?;
    let why = ask::reason(posted.take("reason"))?;
    let mapping = replay_mapping(posted)?;
    let wanted = Wanted { delivery, mapping, edited: posted.take("payload").map(String::into_bytes) };
    let reopened = replays::replay(app, &posted.visitor.actor.name, &why, wanted).await?;
    write::refuse_untouched(&reopened)?;
    Ok(match reopened {
        Reopened::Replaced { .. } => "replaced",
        Reopened::StillDead { .. } => "still_dead",
        Reopened::Reopened { .. } | Reopened::InFlight { .. } | Reopened::NotFound => "replayed",
    })
}

/// Which mapping a form asks for.
pub(super) fn replay_mapping(posted: &mut Posted) -> Result<Mapping, Refusal> {
    match posted.take("mapping").as_deref() {
        None | Some("current") => Ok(Mapping::Current),
        Some("original") => Ok(Mapping::Original),
        Some(_) => Err(Problem::MalformedBody.because("`mapping` is `current` or `original`.")),
    }
}

pub(super) async fn assign(State(app): State<App>, Path(text): Path<String>, mut posted: Posted) -> Result<Redirect, Unshown> {
    let changed = async {
        let delivery = id(&text, DeliveryId::parse, DeliveryId::PREFIX)?;
        let why = ask::reason(posted.take("reason"))?;
        write::assigned(&app, &posted.visitor.actor.clone(), delivery, posted.take("owner"), &why).await
    };
    let changed = changed.await;
    changed.or_page(&app, &posted.visitor)?;
    Ok(Redirect::to(&format!("/dead-letters/{text}?done=assigned")))
}

pub(super) async fn resolve(State(app): State<App>, Path(text): Path<String>, mut posted: Posted) -> Result<Redirect, Unshown> {
    let changed = async {
        let delivery = id(&text, DeliveryId::parse, DeliveryId::PREFIX)?;
        write::resolved(&app, &posted.visitor.actor.clone(), delivery, &ask::reason(posted.take("reason"))?).await
    };
    let changed = changed.await;
    changed.or_page(&app, &posted.visitor)?;
    Ok(Redirect::to(&format!("/dead-letters/{text}?done=resolved")))
}

pub(super) fn list_view(frame: &Frame, rows: &[DeadLetterRow], matched: u64, asked: &[(String, String)], next: Option<&str>) -> Markup {
    frame.around(&html! {
        form.filters method="get" {
            (choice("reason", "Reason", value(asked, "reason"), Reason::ALL.iter().map(|reason| reason.as_str())))
            (field("destination", "Destination", value(asked, "destination")))
            (field("source", "Source", value(asked, "source")))
            (field("owner", "Owner", value(asked, "owner")))
            button { "Filter" }
        }
        @if rows.is_empty() { (empty("No dead letter fits. Nothing waits for a person here.")) } @else {
            p.lead { strong { (matched) } @if matched == 1 { " dead letter." } @else { " dead letters, newest first." } }
            ul.letters { @for row in rows { (line(frame, row)) } }
            (further("/dead-letters", asked, "after", next))
            @if frame.operates() { (bulk(frame, matched, asked)) }
        }
    })
}

fn line(frame: &Frame, row: &DeadLetterRow) -> Markup {
    html! {
        li.card {
            div.top {
                h2 { a href={ "/dead-letters/" (row.id) } { (row.reason.as_str().replace('_', " ")) } " " (status(row.status)) }
                span.soft title=(row.failed_at) { (relative(frame.now, row.failed_at)) }
            }
            p.quote { (sentence(&row.message)) }
            p.remedy { (sentence(row.remedy)) }
            p.meta {
                (row.event_type) " from " (row.source) " → " (target(row.destination.as_deref(), row.object.as_deref()))
                " · owner " @if let Some(owner) = &row.owner { (owner) } @else { "nobody yet" }
                " · " (row.attempts) @if row.attempts == 1 { " attempt" } @else { " attempts" }
                " · " (trace_of(&row.event.to_string(), "trace"))
            }
        }
    }
}

fn bulk(frame: &Frame, matched: u64, asked: &[(String, String)]) -> Markup {
    html! {
        details.card {
            summary { "Replay all " (matched) " that fit this filter" }
            form.stack method="post" action="/replays" {
                (frame.csrf())
                @for (name, value) in asked.iter().filter(|(name, _)| !matches!(name.as_str(), "after" | "limit" | "done" | "reason")) {
                    input type="hidden" name={ "where_" (name) } value=(value);
                }
                @let held = value(asked, "reason");
                @if !held.is_empty() { input type="hidden" name="where_reason" value=(held); }
                (reason_field("bulk-reason", "What was mended"))
                (mappings())
                label for="confirm" { span { "Type the number of dead letters to confirm" } input #confirm name="confirm" inputmode="numeric" pattern="[0-9]*" required autocomplete="off"; }
                p.hint { "It runs in the background at up to 200 a second. Keys stay the same, so nothing is written twice." }
                button { "Replay all" }
            }
        }
    }
}

fn mappings() -> Markup {
    html! {
        label { span { "Mapping" } select name="mapping" {
            option value="current" { "today's: read the stored request again" }
            option value="original" { "the original: send the event as it is stored" }
        } }
    }
}

pub(super) fn one_view(frame: &Frame, row: &DeadLetterRow) -> Markup {
    frame.around(&html! {
        section.card aria-label="What happened" {
            h2 { (row.reason.as_str().replace('_', " ")) " " (status(row.status)) @if let Some(class) = row.class { " " (badge(class.as_str())) } }
            p.quote { (sentence(&row.message)) }
            p.remedy { strong { "What to do: " } (sentence(row.remedy)) }
            dl.lines {
                dt { "Event" } dd { (row.event_type) " from " (row.source) ", " a href={ "/events/" (row.event) } { (row.event) } }
                dt { "To" } dd { (target(row.destination.as_deref(), row.object.as_deref())) }
                dt { "Idempotency key" } dd { code { (row.idempotency_key) } }
                dt { "Owner" } dd { (row.owner.as_deref().unwrap_or("nobody yet")) }
                dt { "First received" } dd { (when(frame.now, row.first_received_at)) }
                @if let Some(at) = row.last_attempt_at { dt { "Last attempt" } dd { (when(frame.now, at)) } }
                dt { "Dead letter since" } dd { (when(frame.now, row.failed_at)) }
                dt { "Attempts" } dd { (row.attempts) }
            }
            p.links {
                (trace_of(&row.event.to_string(), "Everything that happened"))
                @if frame.operates() { " · " a href={ "/raw-events/" (row.raw_event) } { "The request as it came (looking is audited)" } }
            }
        }
        @if frame.operates() { (forms(frame, row)) }
    })
}

fn forms(frame: &Frame, row: &DeadLetterRow) -> Markup {
    html! {
        div.cards {
            form.card.stack method="post" action={ "/dead-letters/" (row.id) "/replay" } {
                h2 { "Replay" }
                (frame.csrf())
                (reason_field("replay-reason", "What was mended"))
                (mappings())
                details { summary { "With an edited payload" }
                    label for="payload" { span { "The whole body, as the sender would send it; the original is kept" } textarea #payload name="payload" rows="8" spellcheck="false" {} }
                }
                button { "Replay" }
            }
            form.card.stack method="post" action={ "/dead-letters/" (row.id) "/assign" } {
                h2 { "Assign" }
                (frame.csrf())
                label for="owner" { span { "Owner" } input #owner name="owner" required maxlength="100" value=(row.owner.as_deref().unwrap_or("")) autocomplete="off"; }
                (reason_field("assign-reason", "Why them"))
                button.quiet { "Assign" }
            }
            form.card.stack method="post" action={ "/dead-letters/" (row.id) "/resolve" } {
                h2 { "Resolve" }
                (frame.csrf())
                (reason_field("resolve-reason", "Why it need not be sent"))
                p.hint { "Closes it as cancelled. It is not sent." }
                button.quiet { "Resolve" }
            }
        }
    }
}

/// What is shown once a dead letter is none any more.
fn gone_view(frame: &Frame, id: DeliveryId) -> Markup {
    frame.around(&html! {
        p.card { "The delivery " code { (id) } " is not a dead letter now: it was replayed, resolved, or never was one." }
        p.links { (trace_of(&id.to_string(), "Everything that happened to it")) " · " a href="/dead-letters" { "All dead letters" } }
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_dead_letter_shows_its_reason_remedy_owner_and_age() {
        let page = list_view(&samples::frame("Dead letters"), &samples::dead_letters(), 2, &[], None).into_string();
        for text in ["rejected by crm", "REQUIRED_FIELD_MISSING", "Correct what the CRM named", "sales-ops", "3 min ago"] {
            assert!(page.contains(text), "{text}");
        }
    }

    #[test]
    fn forms_are_for_operators_and_carry_the_sessions_token() {
        let row = &samples::dead_letters()[0];
        let page = one_view(&samples::frame("Dead letter"), row).into_string();
        assert_eq!(page.matches("name=\"csrf\" value=\"token-of-the-session\"").count(), 4, "three forms and the logout");
        assert_eq!(page.matches("name=\"reason\" required").count(), 3);
        assert!(!one_view(&samples::viewer("Dead letter"), row).into_string().contains("/replay\""));
    }
}
