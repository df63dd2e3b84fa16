//! Rows for tests of pages, and for looking at them: every kind of thing that a page can show.

use std::time::Duration;

use model::drift::{Change, ChangeKind};
use model::event::{Mode, Warning};
use model::protocol::reconcile::{Cause, Repair, Verdict};
use model::quota::{Left, Window};
use model::{CallId, Class, DeliveryId, EventId, RawEventId, Reason, ReconciliationId, RecordId, RejectedId, ReplayId, Time};
use serde_json::json;
use store::*;

use super::overview::Overview;
use super::{Frame, Visitor};
use crate::access::{Actor, Role};
use crate::api::sources::SourceRow;

/// 2026-11-22T18:04:00Z.
pub(crate) const NOW: Time = Time::from_seconds(1_795_370_640);

fn ago(seconds: u64) -> Time {
    NOW - Duration::from_secs(seconds)
}

fn visitor(role: Role) -> Visitor {
    Visitor { actor: Actor { name: "ann".into(), role }, csrf: "token-of-the-session".into() }
}

pub(crate) fn frame(title: &str) -> Frame {
    Frame { title: title.into(), now: NOW, visitor: visitor(Role::Operator), version: "0.1.0".into(), query: String::new(), done: None }
}

pub(crate) fn viewer(title: &str) -> Frame {
    Frame { visitor: visitor(Role::Viewer), ..frame(title) }
}

pub(crate) fn dead_letters() -> Vec<DeadLetterRow> {
    let row = |n: i64, reason: Reason, class, message: &str, owner: Option<&str>, destination: Option<&str>| DeadLetterRow {
        id: DeliveryId(n << 20),
        status: match reason.state() {
            model::failure::DeadState::Failed => Status::Failed,
            model::failure::DeadState::Quarantined => Status::Quarantined,
        },
        reason,
        remedy: reason.remedy(),
        class,
        message: message.into(),
        owner: owner.map(Into::into),
        source: "typeform".into(),
        event_type: "lead.created".into(),
        event: EventId(n << 20),
        idempotency_key: format!("typeform|lead.created|01HF6Z{n}"),
        destination: destination.map(Into::into),
        object: destination.map(|_| "Lead".into()),
        first_received_at: ago(600),
        failed_at: ago(200),
        last_attempt_at: destination.map(|_| ago(210)),
        attempts: destination.map_or(0, |_| 3),
        raw_event: RawEventId(n << 20),
    };
    vec![
        row(
            41,
            Reason::RejectedByCrm,
            Some(Class::Permanent),
            "REQUIRED_FIELD_MISSING: Required fields are missing: [Company]",
            Some("sales-ops"),
            Some("salesforce"),
        ),
        row(42, Reason::Unmapped, None, "No entry of `events` fits a payload of type `form_abandoned`.", None, None),
    ]
}

fn delivery(n: i64, status: Status, outcome: Option<&str>) -> DeliveryRow {
    DeliveryRow {
        id: DeliveryId(n << 21),
        event: EventId(n << 20),
        destination: Some("salesforce".into()),
        object: Some("Lead".into()),
        mode: Mode::Upsert,
        status,
        outcome: outcome.map(Into::into),
        record: Some(RecordId(7 << 20)),
        record_key: Some("typeform:42".into()),
        crm_record_id: Some("00QAb00000C1xYzMAJ".into()),
        generation: 1,
        ended_at: matches!(status, Status::Succeeded).then(|| ago(58)),
        wake_at: matches!(status, Status::Retrying).then(|| NOW + Duration::from_secs(4)),
        superseded_by: None,
        dead_letter: None,
    }
}

pub(crate) fn event(n: i64, event_type: &str, deliveries: Vec<DeliveryRow>) -> EventRow {
    EventRow {
        id: EventId(n << 20),
        source: if n % 2 == 0 { "demo" } else { "typeform" }.into(),
        event_type: event_type.into(),
        idempotency_key: format!("typeform|{event_type}|01HF6Z{n}"),
        occurred_at: ago(60 + 30 * n.unsigned_abs()),
        received_at: ago(58 + 30 * n.unsigned_abs()),
        trust: 60,
        mapping_version: "9f31c2a4b5d6e7f8".into(),
        fallback_key: false,
        ignored: deliveries.is_empty(),
        correlation_id: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
        raw_event: RawEventId(n << 20),
        warnings: Vec::new(),
        deliveries,
    }
}

pub(crate) fn events() -> Vec<EventRow> {
    vec![
        event(1, "lead.created", vec![delivery(1, Status::Succeeded, Some("applied"))]),
        event(2, "contact.updated", vec![delivery(2, Status::Retrying, None)]),
        event(3, "lead.created", vec![delivery(3, Status::Failed, None)]),
        event(4, "invoice.finalized", Vec::new()),
    ]
}

pub(crate) fn trace() -> Trace {
    let step = |millis: u64, step: &str, detail: &str, call: Option<i64>| TraceStep {
        at: ago(60) + Duration::from_millis(millis),
        step: step.into(),
        detail: detail.into(),
        event: Some(EventId(1 << 20)),
        delivery: (millis > 2).then_some(DeliveryId(1 << 21)),
        call: call.map(CallId),
        duration_ms: call.map(|_| 6),
        http_status: call.map(|_| 200),
    };
    let mut first = event(1, "lead.created", vec![delivery(1, Status::Succeeded, Some("unchanged"))]);
    first.warnings = vec![Warning {
        kind: "identity_conflict".into(),
        message: "The e-mail address belongs to another record; it was not changed.".into(),
    }];
    Trace {
        found_as: vec!["identifier".into()],
        events: vec![first],
        records: vec![RecordRow {
            id: RecordId(7 << 20),
            destination: "salesforce".into(),
            object: "Lead".into(),
            key: "typeform:42".into(),
            crm_record_id: Some("00QAb00000C1xYzMAJ".into()),
            state: "clean".into(),
            wake_at: None,
            attempts: 0,
            fields: json!({
                "External_Lead_Id__c": {"value": "typeform:42", "trust": 60, "occurred_at": ago(60).0, "key": "typeform|lead.created|01HF6Z1"},
                "Email": {"value": "ann@example.com", "trust": 60, "occurred_at": ago(60).0, "key": "typeform|lead.created|01HF6Z1"},
                "Phone": {"value": "+14155550100", "trust": 50, "occurred_at": ago(90_000).0, "key": "crm"},
                "Company": {"value": null, "trust": 60, "occurred_at": ago(60).0, "key": "typeform|lead.created|01HF6Z1"},
            }),
            last_error: None,
        }],
        steps: vec![
            step(0, "received", "POST from typeform, signature verified, 1,204 bytes", None),
            step(2, "accepted", "lead.created, one delivery to salesforce / Lead", None),
            step(5, "claimed", "The record typeform:42 was leased; one delivery folded into it", None),
            step(14, "written", "Upsert by External_Lead_Id__c: created 00QAb00000C1xYzMAJ", Some(1 << 30)),
            step(15, "settled", "succeeded, applied", None),
            step(31_000, "duplicate", "The sender sent it again; nothing was written", None),
        ],
        truncated: false,
    }
}

pub(crate) fn destinations() -> Vec<DestinationRow> {
    let row = |name: &str, state: &str, reason: Option<&str>, open: u64, dead_letters: u64| DestinationRow {
        name: name.into(),
        state: state.into(),
        reason: reason.map(Into::into),
        until: (state == "breaker_open").then(|| NOW + Duration::from_secs(25)),
        open,
        retrying: open / 3,
        verifying: open / 10,
        oldest_open: (open > 0).then(|| ago(41)),
        dead_letters,
        quota: vec![
            Left { window: Window::Burst, left: 97, limit: 100, told: false, reserve: 0, until: None },
            Left { window: Window::Day, left: 12_480, limit: 15_000, told: true, reserve: 3_000, until: None },
        ],
        concurrency: Some(2),
        concurrency_max: Some(4),
        last_success_at: Some(ago(12)),
        last_error: (state != "active").then(|| "INVALID_SESSION_ID: Session expired or invalid".into()),
    };
    vec![
        row("salesforce", "auth_failed", Some("401 after a fresh token"), 128, 1),
        row("hubspot", "active", None, 3, 0),
        row("dynamics", "paused", Some("ann: maintenance until noon"), 12, 0),
    ]
}

pub(crate) fn sources() -> Vec<SourceRow> {
    let row = |name: &str, preset: Option<&str>, last: Option<u64>, rejected: u64| SourceRow {
        name: name.into(),
        preset: preset.map(Into::into),
        trust: 60,
        retired: false,
        last_event_at: last.map(ago),
        requests: last.map(|_| ("accepted".to_owned(), 1_204)).into_iter().collect(),
        rejected,
    };
    vec![row("stripe", Some("stripe"), Some(12), 3), row("landing-page", None, None, 0)]
}

pub(crate) fn drift() -> Vec<DriftRow> {
    let change = |kind, path: &str, was: &str, is: &str| Change { at: ago(90), kind, path: path.into(), was: was.into(), is: is.into() };
    let changes = vec![
        change(ChangeKind::New, "data.object.tax_ids[].value", "", "text"),
        change(ChangeKind::ChangedType, "data.object.phone", "text", "number"),
    ];
    vec![DriftRow { event_type: "customer.created".into(), bodies: 1_240, paths: 62, updated_at: ago(5), changes }]
}

pub(crate) fn rejected() -> Vec<RejectedRow> {
    vec![RejectedRow {
        id: RejectedId(9 << 20),
        source: "stripe".into(),
        at: ago(300),
        reason: "signature_mismatch".into(),
        diagnosis: "Well-formed, fresh, and signed with none of the 2 secrets of this source. Is the endpoint's secret (whsec_…) from the other mode?"
            .into(),
        body_bytes: 2_114,
    }]
}

pub(crate) fn audit() -> Vec<AuditRow> {
    let row = |seq: i64, actor: &str, action: &str, subject: String, detail| AuditRow {
        seq,
        at: ago(1_000 - seq.unsigned_abs()),
        actor: actor.into(),
        action: action.into(),
        subject,
        detail,
        hash: "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef".into(),
    };
    vec![
        row(3, "ann", "replay", DeliveryId(41 << 20).to_string(), json!({"reason": "Company is mapped now", "generation": 2})),
        row(2, "bob", "pause", "dynamics".into(), json!({"reason": "maintenance until noon"})),
        row(1, "ann", "raw_event_read", RawEventId(41 << 20).to_string(), json!({})),
    ]
}

pub(crate) fn replay() -> ReplayRow {
    ReplayRow {
        id: ReplayId(5 << 20),
        at: ago(40),
        actor: "ann".into(),
        reason: "Company is mapped now".into(),
        filter: json!({"where": {"reason": "rejected_by_crm"}, "mapping": "current"}),
        matched: 4_200,
        reopened: 1_780,
        refused: 12,
        finished_at: None,
    }
}

pub(crate) fn reconciliations() -> Vec<ReconciliationRow> {
    let finding = |key: &str, verdict, fields: &[(&str, Cause)]| Finding {
        record: RecordId(9 << 20),
        key: key.into(),
        crm_id: Some("00QHs000001abcd".into()),
        verdict,
        fields: fields.iter().map(|(field, cause)| ((*field).to_owned(), *cause)).collect(),
        repaired: verdict == Verdict::Ours,
        code: None,
    };
    let row = ReconciliationRow {
        id: ReconciliationId(7 << 20),
        destination: "salesforce".into(),
        object: "Lead".into(),
        at: ago(90),
        actor: "schedule".into(),
        reason: "the destination's `reconcile`".into(),
        sample: Some(200),
        repair: Repair::Ours,
        state: ReconciliationState::Done,
        wake_at: ago(60),
        fence: 2,
        lease: None,
        first: RecordId(0),
        cursor: RecordId(0),
        wrapped: false,
        look_max: 0,
        looks: 1,
        counts: Reconciled { equal: 196, ours: 1, edited: 1, missing: 1, busy: 1, ..Reconciled::default() },
        repaired: 1,
        findings: vec![
            finding("ann@example.com", Verdict::Ours, &[("Company", Cause::Ours), ("Phone", Cause::Edited)]),
            finding("bob@example.com", Verdict::Edited, &[("Title", Cause::Edited)]),
            finding("eve@example.com", Verdict::Missing, &[]),
        ],
        failures: 0,
        note: None,
        finished_at: Some(ago(60)),
    };
    let given_up = ReconciliationRow {
        state: ReconciliationState::GivenUp,
        note: Some("INVALID_FIELD: No such column".into()),
        findings: Vec::new(),
        counts: Reconciled::default(),
        ..row.clone()
    };
    vec![given_up, row]
}

pub(super) fn overview() -> Overview {
    Overview {
        destinations: destinations(),
        counts: [("succeeded", 18_204), ("retrying", 7), ("queued", 121), ("processing", 15), ("failed", 1), ("quarantined", 1)]
            .map(|(status, count)| (status.to_owned(), count))
            .into(),
        reasons: [(Reason::RejectedByCrm, 1), (Reason::Unmapped, 1)].into(),
        sources: vec![("demo".into(), ago(4)), ("stripe".into(), ago(3_700)), ("typeform".into(), ago(58))],
        events: events(),
        rejected: rejected(),
    }
}

/// Writes every page to the folder that `ONCEWARD_PAGES` names, to be looked at in a browser.
#[test]
fn every_page_renders_and_names_itself() {
    let pages = [
        ("overview", super::overview::view(&frame("Overview"), &overview())),
        ("calm", super::overview::view(&frame("Overview"), &Overview { events: events(), ..Overview::default() })),
        ("trace", super::trace::view(&Frame { query: "ann@example.com".into(), ..frame("Trace") }, Some(&trace()))),
        ("dead-letters", super::dead_letters::list_view(&frame("Dead letters"), &dead_letters(), 2, &[], Some("dlv_0000000000000"))),
        ("dead-letter", super::dead_letters::one_view(&Frame { done: Some("Assigned."), ..frame("Dead letter") }, &dead_letters()[0])),
        ("events", super::events::list_view(&frame("Events"), &events(), &[], None)),
        (
            "event",
            super::events::one_view(&frame("Event"), &trace().events[0], json!({"schema_version": "1.0", "occurred_at": NOW.0}), None),
        ),
        ("destinations", super::destinations::view(&frame("Destinations"), &destinations())),
        ("audit", super::audit::view(&frame("Audit"), &audit(), &maud::html! {})),
        ("sources", super::sources::view(&frame("Sources"), &sources())),
        ("source", super::sources::one_view(&frame("Source stripe"), "stripe", &drift())),
        ("rejected", super::rejected::view(&frame("Rejected"), &rejected(), &[])),
        ("reconciling", super::reconciliations::view(&frame("Reconciling salesforce"), &reconciliations())),
        ("replay", super::replays::view(&frame("Bulk replay"), &replay())),
        ("login", super::login::view("/", true)),
    ];
    for (name, page) in pages {
        let page = page.into_string();
        assert!(page.starts_with("<!DOCTYPE html>") && page.matches("<h1>").count() == 1, "{name}");
        assert!(!page.contains("style=") && !page.contains("<script"), "{name}: the policy allows neither");
        if let Ok(folder) = std::env::var("ONCEWARD_PAGES") {
            std::fs::write(std::path::Path::new(&folder).join(format!("{name}.html")), page).unwrap();
        }
    }
}
