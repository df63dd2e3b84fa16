//! Reconciling: the runs of a destination, and what differed.

use axum::Extension;
use axum::extract::{Path, State};
use maud::{Markup, html};
use store::{Finding, ReconciliationRow, ReconciliationState};

use super::frame::{badge, empty, encoded, when};
use super::{Frame, OrPage, Page, Visitor};
use crate::App;
use crate::problem::Problem;

/// Runs that are shown.
const RUNS: u32 = 50;

pub(super) async fn of_destination(State(app): State<App>, Extension(visitor): Extension<Visitor>, Path(name): Path<String>) -> Page {
    if app.console.routes.objects(&name).next().is_none() {
        return Err(Problem::NotFound.because("There is no destination of this name that has objects.")).or_page(&app, &visitor);
    }
    let rows = app.store().reconciliations(Some(&name), RUNS).await.or_page(&app, &visitor)?;
    Ok(view(&Frame::new(&app, &visitor, format!("Reconciling {name}")), &rows))
}

pub(super) fn view(frame: &Frame, rows: &[ReconciliationRow]) -> Markup {
    frame.around(&html! {
        p.lead { "What we believe of its records, compared with what the CRM holds. Ask for a run with " code { "onceward reconcile" } "." }
        @if rows.is_empty() { (empty("It was never reconciled.")) } @else {
            div.scroll tabindex="0" role="region" aria-label="Runs" { table {
                thead { tr { th { "Asked" } th { "By" } th { "Object" } th { "Repair" } th { "State" } th.number { "Equal" } th.number { "Differ" } th.number { "Busy" } th.number { "Repaired" } } }
                tbody { @for row in rows { tr {
                    td { (when(frame.now, row.at)) }
                    td { (row.actor) }
                    td { (row.object) }
                    td { (row.repair.as_str()) }
                    td { (badge(state(row))) @if let Some(note) = &row.note { " " span.soft { (note) } } }
                    td.number { (row.counts.equal) }
                    td.number { (differ(row)) }
                    td.number { (row.counts.busy) }
                    td.number { (row.repaired) }
                } } }
            } }
        }
        @for row in rows.iter().filter(|row| !row.findings.is_empty()).take(1) { (findings(frame, row)) }
    })
}

fn findings(frame: &Frame, row: &ReconciliationRow) -> Markup {
    html! {
        h2 { "What differed of " (row.object) ", " (when(frame.now, row.at)) }
        div.scroll tabindex="0" role="region" aria-label="Findings" { table {
            thead { tr { th { "Key" } th { "CRM id" } th { "Found" } th { "Fields" } th { "Repaired" } } }
            tbody { @for finding in &row.findings { tr {
                td { a href={ "/trace?q=" (encoded(&finding.key)) } { (finding.key) } }
                td { (finding.crm_id.as_deref().unwrap_or("")) }
                td { (finding.verdict.as_str()) }
                td { (fields(finding)) }
                td { @if finding.repaired { "yes" } @else { "no" } }
            } } }
        } }
    }
}

fn fields(finding: &Finding) -> String {
    let named = finding.fields.iter().map(|(field, cause)| format!("{field} ({})", cause.as_str()));
    named.chain(finding.code.clone()).collect::<Vec<_>>().join(", ")
}

fn differ(row: &ReconciliationRow) -> u64 {
    row.counts.looked_at().saturating_sub(row.counts.equal).saturating_sub(row.counts.busy)
}

/// In the words of deliveries, whose colours people know.
fn state(row: &ReconciliationRow) -> &'static str {
    match row.state {
        ReconciliationState::Open => "processing",
        ReconciliationState::Done => "succeeded",
        ReconciliationState::GivenUp => "failed",
    }
}
