//! The overview: is all well, and if not, what to do next.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::Uri;
use maud::{Markup, html};
use model::{Reason, Time};
use store::{DestinationRow, EventFilter, EventRow, RejectedRow, Status};

use super::frame::{badge, empty, encoded, relative, sentence, span, when};
use super::{Frame, OrPage, Page, Visitor, events};
use crate::App;

/// What the counts are over.
const DAY: Duration = Duration::from_secs(86_400);
/// An open delivery that waits longer than this behind a destination that is well needs a look.
const SLOW_AFTER: Duration = Duration::from_secs(300);

/// What the overview shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Overview {
    pub(super) destinations: Vec<DestinationRow>,
    /// Deliveries of the last 24 hours by status.
    pub(super) counts: BTreeMap<String, u64>,
    pub(super) reasons: BTreeMap<Reason, u64>,
    pub(super) sources: Vec<(String, Time)>,
    pub(super) events: Vec<EventRow>,
    pub(super) rejected: Vec<RejectedRow>,
}

pub(super) async fn page(State(app): State<App>, Extension(visitor): Extension<Visitor>, uri: Uri) -> Page {
    let shown = gather(&app).await.or_page(&app, &visitor)?;
    Ok(view(&Frame::new(&app, &visitor, "Overview").after(&uri), &shown))
}

async fn gather(app: &App) -> Result<Overview, store::Error> {
    let now = app.now();
    Ok(Overview {
        destinations: app.store().destinations(now).await?,
        counts: app.store().counts(now - DAY).await?,
        reasons: app.store().dead_letter_reasons().await?,
        sources: app.store().gauges(now).await?.sources,
        events: app.store().events(now, &EventFilter { limit: 10, ..EventFilter::default() }).await?,
        rejected: app.store().rejected(None, 100).await?,
    })
}

/// Something that a person should do or know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Advice {
    /// `bad`, `hold` or `mute`.
    pub(super) tone: &'static str,
    pub(super) what: String,
    pub(super) next: String,
    pub(super) link: String,
}

/// What to do next, the most urgent first.
pub(super) fn advice(now: Time, shown: &Overview) -> Vec<Advice> {
    let mut list: Vec<Advice> = shown.destinations.iter().filter_map(|row| of_destination(now, row)).collect();
    for (reason, count) in shown.reasons.iter().filter(|(_, count)| **count > 0) {
        list.push(Advice {
            tone: "hold",
            what: format!("{}: {}", plural(*count, "dead letter", "dead letters"), reason.as_str().replace('_', " ")),
            next: reason.remedy().to_owned(),
            link: format!("/dead-letters?reason={}", reason.as_str()),
        });
    }
    let mut refused: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for row in shown.rejected.iter().filter(|row| now.since(row.at) < DAY) {
        *refused.entry((&row.source, &row.reason)).or_default() += 1;
    }
    for ((source, reason), count) in refused {
        list.push(Advice {
            tone: "mute",
            what: format!(
                "{} of `{source}` in 24 h: {}",
                plural(count, "request was rejected", "requests were rejected"),
                reason.replace('_', " ")
            ),
            next: "If they are genuine, compare the secret here with the sender's; the diagnosis says what did not fit.".to_owned(),
            link: format!("/rejected?source={}", encoded(source)),
        });
    }
    list.sort_by_key(|advice| ["bad", "hold", "mute"].iter().position(|tone| *tone == advice.tone));
    list
}

fn of_destination(now: Time, row: &DestinationRow) -> Option<Advice> {
    let name = &row.name;
    let held = plural(row.open, "open delivery", "open deliveries");
    let waiting = row.oldest_open.map_or(Duration::ZERO, |at| now.since(at));
    let (tone, what, next) = match row.state.as_str() {
        "auth_failed" => (
            "bad",
            format!("{name} refuses our credentials; {held} held"),
            "Renew its credentials or permissions, then resume it. Nothing is lost meanwhile.",
        ),
        "breaker_open" => (
            "bad",
            format!("{name} does not answer; {held} held"),
            "It is probed and goes on by itself. If it lasts, look at its status page and at the last error.",
        ),
        "paused" => ("hold", format!("{name} is paused; {held} held"), "Resume it when its reason is gone."),
        "throttled" if row.reason.is_some() => (
            "hold",
            format!("{name} has no calls left for today; {held} held"),
            "It goes on by itself. If that is too late, raise `quota.daily` or buy more calls, and look who else uses the account.",
        ),
        "throttled" if waiting > SLOW_AFTER => (
            "mute",
            format!("{name} asks us to be slower; {held} held"),
            "It goes on by itself. If it lasts, raise its quota at the vendor or lower it here.",
        ),
        "active" if waiting > SLOW_AFTER => (
            "hold",
            format!("{name} is well, and a delivery has waited for {}", span(waiting)),
            "Is a worker running? Look at its /readyz and its log.",
        ),
        _ => return None,
    };
    Some(Advice { tone, what, next: next.to_owned(), link: "/destinations".to_owned() })
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

pub(super) fn view(frame: &Frame, shown: &Overview) -> Markup {
    frame.around(&html! {
        (next_steps(frame, shown))
        (tiles(&shown.counts))
        div.columns {
            section {
                h2 { "Destinations" }
                @if shown.destinations.is_empty() { (empty("No destination is configured.")) } @else { (destinations(frame, &shown.destinations)) }
            }
            section {
                h2 { "Sources" }
                @if shown.sources.is_empty() { (empty("No event has arrived yet.")) } @else {
                    div.scroll tabindex="0" role="region" aria-label="Sources" { table {
                        thead { tr { th { "Source" } th { "Last event" } } }
                        tbody { @for (source, at) in &shown.sources { tr {
                            td { a href={ "/events?source=" (encoded(source)) } { (source) } }
                            td { (when(frame.now, *at)) }
                        } } }
                    } }
                }
            }
        }
        section {
            h2 { "Recent events" }
            @if shown.events.is_empty() { (empty("No event has arrived yet.")) } @else { (events::table(frame, &shown.events)) p.further { a href="/events" { "All events →" } } }
        }
    })
}

fn next_steps(frame: &Frame, shown: &Overview) -> Markup {
    let list = advice(frame.now, shown);
    html! {
        section.next aria-label="What to do next" {
            @if !list.is_empty() {
                h2 { "What to do next" }
                ul.advice { @for advice in &list { li class=(advice.tone) {
                    a href=(advice.link) { (sentence(&advice.what)) }
                    p { (sentence(&advice.next)) }
                } } }
            } @else if shown.events.is_empty() {
                p.card { "Nothing has arrived yet. Send a signed sample: " code { "onceward send --source NAME FILE" } }
            } @else {
                p.card.ok { strong { "All is well." } " Nothing waits for a person." }
            }
        }
    }
}

fn tiles(counts: &BTreeMap<String, u64>) -> Markup {
    let count = |status: Status| counts.get(status.as_str()).copied().unwrap_or(0);
    html! {
        section aria-label="Deliveries of the last 24 hours" {
            h2 { "Deliveries, last 24 hours" }
            dl.facts.tiles { @for status in Status::ALL { div { dt { (badge(status.as_str())) } dd { (count(status)) } } } }
        }
    }
}

fn destinations(frame: &Frame, rows: &[DestinationRow]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Destinations" { table {
            thead { tr { th { "Destination" } th { "State" } th.number { "Open" } th { "Oldest" } th.number { "Dead" } th { "Last success" } } }
            tbody { @for row in rows { tr {
                td { a href="/destinations" { (row.name) } }
                td { (badge(&row.state)) }
                td.number { (row.open) }
                td { @if let Some(at) = row.oldest_open { span title=(at) { (relative(frame.now, at)) } } @else { span.soft { "–" } } }
                td.number { @if row.dead_letters == 0 { "0" } @else { a href={ "/dead-letters?destination=" (encoded(&row.name)) } { (row.dead_letters) } } }
                td { @if let Some(at) = row.last_success_at { span title=(at) { (relative(frame.now, at)) } } @else { span.soft { "none yet" } } }
            } } }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn the_overview_says_what_to_do_next_the_most_urgent_first() {
        let shown = samples::overview();
        let list = advice(samples::NOW, &shown);
        assert_eq!(list.first().map(|advice| advice.tone), Some("bad"));
        assert!(list.iter().any(|advice| advice.what.contains("dead letter") && advice.link == "/dead-letters?reason=rejected_by_crm"));
        assert_eq!(advice(samples::NOW, &Overview::default()), []);
    }

    #[test]
    fn an_empty_ledger_says_how_to_send_something() {
        let page = view(&samples::frame("Overview"), &Overview::default()).into_string();
        assert!(page.contains("onceward send"));
        let page = view(&samples::frame("Overview"), &samples::overview()).into_string();
        assert!(page.contains("refuses our credentials") && !page.contains("All is well"));
    }
}
