//! Events: the list, one of them, and the request it came in.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::Uri;
use maud::{Markup, html};
use model::{EventId, RawEventId};
use serde_json::Value;
use store::EventRow;

use super::frame::{badge, empty, field, further, pairs, status, trace_of, value, when};
use super::{Frame, OrPage, Page, Visitor, asked, trace};
use crate::access::Role;
use crate::api::id;
use crate::api::read::next;
use crate::problem::Problem;
use crate::raw::{self, Shown};
use crate::spelled::spelled_event;
use crate::{App, guard};

pub(super) async fn list(State(app): State<App>, Extension(visitor): Extension<Visitor>, uri: Uri) -> Page {
    let filter = asked(&uri).and_then(crate::ask::Ask::events).or_page(&app, &visitor)?;
    let rows = app.store().events(app.now(), &filter).await.or_page(&app, &visitor)?;
    let next = next(&rows, filter.limit, |row| row.id.to_string());
    Ok(list_view(&Frame::new(&app, &visitor, "Events"), &rows, &pairs(&uri), next.as_deref()))
}

pub(super) async fn one(State(app): State<App>, Extension(visitor): Extension<Visitor>, Path(text): Path<String>) -> Page {
    let id = id(&text, EventId::parse, EventId::PREFIX).or_page(&app, &visitor)?;
    let found = app.store().event(app.now(), id).await.or_page(&app, &visitor)?;
    let found = found.ok_or_else(|| Problem::NotFound.because("There is no event with this id."));
    let (row, normalized, mapping) = found.or_page(&app, &visitor)?;
    Ok(one_view(&Frame::new(&app, &visitor, "Event"), &row, normalized, mapping.as_deref()))
}

pub(super) async fn raw(State(app): State<App>, Extension(visitor): Extension<Visitor>, Path(text): Path<String>) -> Page {
    guard::need(&visitor.actor, Role::Operator).or_page(&app, &visitor)?;
    let id = id(&text, RawEventId::parse, RawEventId::PREFIX).or_page(&app, &visitor)?;
    let shown = raw::shown(&app, &visitor.actor, id).await.or_page(&app, &visitor)?;
    Ok(raw_view(&Frame::new(&app, &visitor, "Raw event"), &shown))
}

pub(super) fn list_view(frame: &Frame, rows: &[EventRow], asked: &[(String, String)], next: Option<&str>) -> Markup {
    frame.around(&html! {
        form.filters method="get" {
            (field("source", "Source", value(asked, "source")))
            (field("event_type", "Type", value(asked, "event_type")))
            (field("since", "Since (RFC 3339)", value(asked, "since")))
            button { "Filter" }
        }
        @if rows.is_empty() { (empty("No event fits.")) } @else { (table(frame, rows)) (further("/events", asked, "after", next)) }
    })
}

/// Events as a table, newest first.
pub(super) fn table(frame: &Frame, rows: &[EventRow]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Events" { table {
            thead { tr { th { "Received" } th { "Source" } th { "Type" } th { "Deliveries" } th { "Event" } } }
            tbody { @for row in rows { tr {
                td { (when(frame.now, row.received_at)) }
                td { (row.source) }
                td { (row.event_type) }
                td { @if row.ignored { (badge("ignored")) } @for delivery in &row.deliveries {
                    span.pair { (status(delivery.status)) " " span.soft { (delivery.destination.as_deref().unwrap_or("no destination")) } } " "
                } }
                td { (trace_of(&row.id.to_string(), &row.id.to_string())) }
            } } }
        } }
    }
}

pub(super) fn one_view(frame: &Frame, row: &EventRow, normalized: Value, mapping: Option<&str>) -> Markup {
    let normalized = serde_json::to_string_pretty(&spelled_event(normalized)).unwrap_or_default();
    frame.around(&html! {
        p.lead { strong { (row.event_type) } " from " (row.source) ", received " (when(frame.now, row.received_at)) }
        (trace::deliveries(frame, &row.deliveries))
        p.links {
            (trace_of(&row.id.to_string(), "Trace of this event"))
            @if frame.operates() { " · " a href={ "/raw-events/" (row.raw_event) } { "The request as it came (looking is audited)" } }
        }
        h2 { "Normalized event" }
        pre tabindex="0" { (normalized) }
        @if let Some(mapping) = mapping {
            details { summary { "The mapping that made it, version " (row.mapping_version) } pre tabindex="0" { (pretty(mapping)) } }
        }
    })
}

/// JSON with line breaks; whatever is not JSON stays as it is.
fn pretty(text: &str) -> String {
    serde_json::from_str::<Value>(text).and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_else(|_| text.to_owned())
}

pub(super) fn raw_view(frame: &Frame, shown: &Shown) -> Markup {
    let (row, kept) = (&shown.row, &shown.kept);
    frame.around(&html! {
        p.lead { (badge(&row.disposition)) " from " (row.source) ", received " (when(frame.now, row.received_at)) ". That you looked at it is in the audit trail." }
        dl.lines {
            dt { "Request" } dd { code { (kept.method) " " (kept.target) } }
            dt { "SHA-256 of the body" } dd { code { (hex::encode(&row.body_sha256)) } }
            dt { "Events" } dd { @for id in &row.events { (trace_of(&id.to_string(), &id.to_string())) " " } }
        }
        h2 { "Headers" }
        pre tabindex="0" { @for (name, value) in &kept.headers { (name) ": " (String::from_utf8_lossy(value)) "\n" } }
        h2 { "Body, " (kept.body.len()) " bytes" }
        pre tabindex="0" { (String::from_utf8_lossy(&kept.body)) }
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn only_who_operates_is_offered_the_raw_request() {
        let trace = samples::trace();
        let event = serde_json::json!({"occurred_at": 0, "attributes": {"note": "<b>"}});
        let page = |frame: &Frame| one_view(frame, &trace.events[0], event.clone(), Some("{\"a\":1}")).into_string();
        let operator = page(&samples::frame("Event"));
        assert!(operator.contains("/raw-events/raw_") && operator.contains("&lt;b&gt;") && operator.contains("1970-01-01"));
        assert!(!page(&samples::viewer("Event")).contains("/raw-events/"));
    }
}
