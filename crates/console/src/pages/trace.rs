//! "What happened to X?"

use axum::Extension;
use axum::extract::State;
use axum::http::Uri;
use maud::{Markup, html};
use model::Time;
use serde_json::Value;
use store::{DeliveryRow, EventRow, RecordRow, Trace, TraceStep};

use super::frame::{badge, empty, span, status, target, time, trace_of, when};
use super::{Frame, OrPage, Page, Visitor, asked};
use crate::App;

pub(super) async fn page(State(app): State<App>, Extension(visitor): Extension<Visitor>, uri: Uri) -> Page {
    let mut ask = asked(&uri).or_page(&app, &visitor)?;
    let query = ask.text("q").unwrap_or_default();
    ask.done().or_page(&app, &visitor)?;
    let trace = if query.is_empty() { None } else { Some(app.store().trace(app.now(), &query).await.or_page(&app, &visitor)?) };
    let frame = Frame { query, ..Frame::new(&app, &visitor, "Trace") };
    Ok(view(&frame, trace.as_ref()))
}

pub(super) fn view(frame: &Frame, trace: Option<&Trace>) -> Markup {
    frame.around(&html! {
        @match trace {
            None => { p.lead { "Ask the box above for anything: an e-mail address, an external id, an idempotency key, a CRM record's id, a vendor's event id, a correlation id, or one of our own ids." } },
            Some(trace) if trace.events.is_empty() && trace.records.is_empty() && trace.steps.is_empty() => {
                (empty("The ledger knows nothing by this name. Is it spelled as the sender spells it? Requests that were refused at the door are under Rejected."))
            },
            Some(trace) => { (found(frame, trace)) },
        }
    })
}

fn found(frame: &Frame, trace: &Trace) -> Markup {
    html! {
        p.lead {
            code { (frame.query) } " is " @for (n, word) in trace.found_as.iter().enumerate() { @if n > 0 { ", " } "a " strong { (word.replace('_', " ")) } }
            ": " (trace.events.len()) @if trace.events.len() == 1 { " event" } @else { " events" }
            ", " (trace.records.len()) @if trace.records.len() == 1 { " record." } @else { " records." }
        }
        @if trace.truncated { p.card.hold { "There was more than fits here; the oldest 200 events and 2,000 steps are shown. Ask for one event or one record to see the rest." } }
        @for record in &trace.records { (self::record(frame, record)) }
        @if !trace.steps.is_empty() { section { h2 { "Timeline" } (timeline(&trace.steps)) } }
        @if !trace.events.is_empty() { section { h2 { "Events" } @for row in &trace.events { (event(frame, row)) } } }
    }
}

fn record(frame: &Frame, row: &RecordRow) -> Markup {
    let fields = fields(&row.fields);
    html! {
        section.card aria-label={ "Record " (row.key) } {
            h2 { (row.object) " " code { (row.key) } " " (badge(&row.state)) }
            dl.lines {
                dt { "Destination" } dd { (row.destination) }
                @if let Some(id) = &row.crm_record_id { dt { "CRM record" } dd { code { (id) } } }
                dt { "Record" } dd { (trace_of(&row.id.to_string(), &row.id.to_string())) }
                @if row.attempts > 0 { dt { "Attempts since success" } dd { (row.attempts) } }
                @if let Some(at) = row.wake_at { dt { "Next" } dd { (when(frame.now, at)) } }
                @if let Some(error) = &row.last_error { dt { "Last error" } dd.quote { (error) } }
            }
            @if !fields.is_empty() {
                div.scroll tabindex="0" role="region" aria-label="Fields of the record" { table {
                    thead { tr { th { "Field" } th { "Value" } th.number { "Trust" } th { "As of" } th { "Whose word" } } }
                    tbody { @for field in &fields { tr {
                        th scope="row" { (field.name) }
                        td { (plain(field.value)) }
                        td.number { @if let Some(trust) = field.trust { (trust) } }
                        td { @if let Some(at) = field.occurred_at { (when(frame.now, at)) } }
                        td { @match field.by { Some("crm") => { "the CRM" }, Some(key) => { (trace_of(key, key)) }, None => {} } }
                    } } }
                } }
            }
        }
    }
}

/// One field of a record with its provenance.
pub(super) struct Provenance<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a Value,
    pub(super) trust: Option<u64>,
    pub(super) occurred_at: Option<Time>,
    pub(super) by: Option<&'a str>,
}

/// Reads the ledger's account of a record's fields; a member without provenance is shown with its value only.
pub(super) fn fields(fields: &Value) -> Vec<Provenance<'_>> {
    let members = fields.as_object().into_iter().flatten();
    members
        .map(|(name, held)| Provenance {
            name,
            value: held.get("value").unwrap_or(held),
            trust: held.get("trust").and_then(Value::as_u64),
            occurred_at: held.get("occurred_at").and_then(Value::as_i64).map(Time),
            by: held.get("key").and_then(Value::as_str),
        })
        .collect()
}

/// A value as people write it: texts without quotes.
fn plain(value: &Value) -> Markup {
    html! {
        @match value {
            Value::Null => { span.soft { "cleared" } },
            Value::String(text) => { (text) },
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => { code { (value) } },
        }
    }
}

fn timeline(steps: &[TraceStep]) -> Markup {
    let first = steps.first().map_or(Time::default(), |step| step.at);
    html! {
        ol.timeline { @for (n, step) in steps.iter().enumerate() {
            @let before = n.checked_sub(1).and_then(|before| steps.get(before));
            li {
                div.at { (time(step.at)) span.soft { @if step.at > first { " +" (elapsed(first, step.at)) } } }
                div.what {
                    (badge(&step.step)) " " (step.detail)
                    @if let Some(code) = step.http_status { " " span.soft { "HTTP " (code) } }
                    @if let Some(millis) = step.duration_ms { " " span.soft { (millis) " ms" } }
                }
                // An id is said where it is new; below that it goes without saying.
                div.ids {
                    @if let Some(id) = step.event && before.and_then(|before| before.event) != step.event { (trace_of(&id.to_string(), &id.to_string())) " " }
                    @if let Some(id) = step.delivery && before.and_then(|before| before.delivery) != step.delivery { (trace_of(&id.to_string(), &id.to_string())) " " }
                    @if let Some(id) = step.call { code { (id) } }
                }
            }
        } }
    }
}

/// How long after the first step: to the millisecond below ten seconds, because that is where people look for it.
fn elapsed(first: Time, at: Time) -> String {
    let after = at.since(first);
    if after.as_secs() < 10 { format!("{} ms", after.as_millis()) } else { span(after) }
}

fn event(frame: &Frame, row: &EventRow) -> Markup {
    html! {
        section.card aria-label={ "Event " (row.id) } {
            h3 { (row.event_type) " " span.soft { "from" } " " (row.source) @if row.ignored { " " (badge("ignored")) } }
            dl.lines {
                dt { "Event" } dd { a href={ "/events/" (row.id) } { (row.id) } }
                dt { "Idempotency key" } dd { code { (row.idempotency_key) } @if row.fallback_key { " " (badge("fallback key")) } }
                dt { "Happened" } dd { (when(frame.now, row.occurred_at)) }
                dt { "Received" } dd { (when(frame.now, row.received_at)) }
                dt { "Trust" } dd { (row.trust) }
                dt { "Correlation id" } dd { (trace_of(&row.correlation_id, &row.correlation_id)) }
            }
            @for warning in &row.warnings { p.card.hold { strong { (warning.kind.replace('_', " ")) } ": " (warning.message) } }
            (deliveries(frame, &row.deliveries))
        }
    }
}

/// An event's deliveries.
pub(super) fn deliveries(frame: &Frame, rows: &[DeliveryRow]) -> Markup {
    html! {
        @if !rows.is_empty() {
            div.scroll tabindex="0" role="region" aria-label="Deliveries" { table {
                thead { tr { th { "Delivery" } th { "To" } th { "Mode" } th { "Status" } th { "Record" } th { "Ended" } } }
                tbody { @for row in rows { tr {
                    td { @if row.dead_letter.is_some() { a href={ "/dead-letters/" (row.id) } { (row.id) } } @else { (trace_of(&row.id.to_string(), &row.id.to_string())) }
                        @if row.generation > 1 { " " span.soft { "generation " (row.generation) } } }
                    td { (target(row.destination.as_deref(), row.object.as_deref())) }
                    td { (row.mode.as_str().replace('_', " ")) }
                    td { (status(row.status)) @if let Some(outcome) = &row.outcome { " " span.soft { (outcome) } }
                        @if let Some(dead) = &row.dead_letter { " " span.soft { (dead.reason.as_str().replace('_', " ")) } }
                        @if let Some(by) = row.superseded_by { " " span.soft { "replaced by " } (trace_of(&by.to_string(), &by.to_string())) } }
                    td { @if let Some(key) = &row.record_key { code { (key) } } @if let Some(id) = &row.crm_record_id { " " code.soft { (id) } } }
                    td { @if let Some(at) = row.ended_at { (when(frame.now, at)) } @else if let Some(at) = row.wake_at { span.soft { "next " } (when(frame.now, at)) } }
                } } }
            } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_trace_shows_the_way_and_whose_word_each_field_is() {
        let frame = Frame { query: "ann@example.com".into(), ..samples::frame("Trace") };
        let page = view(&frame, Some(&samples::trace())).into_string();
        for text in ["Timeline", "+14 ms", "the CRM", "External_Lead_Id__c", "typeform|lead.created|01HF6Z", "unchanged"] {
            assert!(page.contains(text), "{text}");
        }
    }

    #[test]
    fn what_senders_wrote_is_escaped() {
        let mut trace = samples::trace();
        trace.steps[0].detail = "<script>alert(1)</script>".into();
        let frame = Frame { query: "\"><img src=x onerror=alert(1)>".into(), ..samples::frame("Trace") };
        let page = view(&frame, Some(&trace)).into_string();
        assert!(!page.contains("<script") && !page.contains("<img"));
    }

    #[test]
    fn nothing_found_says_where_else_to_look() {
        let page = view(&samples::frame("Trace"), Some(&Trace::default())).into_string();
        assert!(page.contains("knows nothing by this name"));
    }
}
