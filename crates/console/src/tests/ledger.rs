//! Operators against a real ledger: SQLite in a folder of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use model::intake::{Fate, NewEvent};
use model::route::{ObjectDef, ObjectPlan, RouteDef, Routes};
use model::seal::{Kept, pack};
use model::source::Source;
use model::{EventId, RawEventId, Reason, Time};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::{Intake, NewRawEvent, Status, Store};
use tempfile::TempDir;

use super::{Admin, console};
use crate::{App, Console, Role, router};

const START: Time = Time::from_seconds(1_795_370_640);
const BODY: &str = r#"{"type":"signup","id":"42","email":"ann@example.com","at":"2026-11-22T18:00:00Z"}"#;

struct House {
    admin: Admin,
    console: Console,
    _folder: TempDir,
}

fn source() -> Source {
    let def = json!({
        "signature": {"algorithm": "hmac-sha256", "header": "x-signature", "encoding": "hex", "signed": "{body}"},
        "events": [{"when": "type == 'signup'", "type": "lead.created", "id": "id", "occurred_at": "at",
            "fields": {"external_id": "id", "email": {"from": "email", "as": "email"}}}],
    });
    Source::compile("demo", &serde_json::from_value(def).unwrap()).unwrap()
}

fn routes() -> Routes {
    let object: ObjectDef =
        serde_json::from_value(json!({"key": {"field": "External_Lead_Id__c"}, "match": ["external_id"], "fields": {"Email": "email"}}))
            .unwrap();
    let objects = BTreeMap::from([("Lead".to_owned(), ObjectPlan::compile("salesforce", "Lead", &object).unwrap())]);
    let route: RouteDef = serde_json::from_value(json!({"to": "salesforce", "object": "Lead", "owner": "sales-ops"})).unwrap();
    Routes::compile(&[route], &BTreeSet::from(["demo".to_owned()]), BTreeMap::from([("salesforce".to_owned(), objects)])).unwrap()
}

impl House {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let store = Store::open(&format!("sqlite:{}", folder.path().join("ledger.db").display())).await.unwrap();
        store.migrate().await.unwrap();
        let clock = Arc::new(std::sync::atomic::AtomicI64::new(START.0));
        let mut console = console(store, &clock);
        console.sources = BTreeMap::from([("demo".to_owned(), Arc::new(source()))]);
        console.routes = Arc::new(routes());
        Self { admin: Admin { router: router(console.clone()), clock }, console, _folder: folder }
    }

    /// Takes in requests that no mapping fitted at the time, in one commit.
    async fn unmapped(&self, numbers: std::ops::Range<u32>, body: &str) {
        let batch: Vec<Intake> = numbers.map(|n| self.intake(n, body)).collect();
        for some in batch.chunks(200) {
            self.console.store.accept(START, some).await.unwrap();
        }
    }

    fn intake(&self, n: u32, body: &str) -> Intake {
        let store = &self.console.store;
        let (id, event) = (RawEventId(store.next_id(START)), EventId(store.next_id(START)));
        let body = body.replace("42", &format!("{n}"));
        let kept = Kept { method: "POST".into(), target: "/webhooks/demo".into(), headers: Vec::new(), body: body.clone().into_bytes() };
        let sealed = self.console.keys.seal([3; 12], id.0, &pack(&kept.received())).unwrap();
        let key = format!("demo|unknown|{n}");
        Intake {
            lane: model::quota::Lane::Fresh,
            raw: NewRawEvent {
                id,
                source: "demo".into(),
                received_at: START,
                body_sha256: Sha256::digest(body.as_bytes()).into(),
                key_id: sealed.key_id,
                sealed: sealed.bytes,
                correlation_id: id.to_string(),
            },
            events: vec![NewEvent {
                id: event,
                event_type: "unknown".into(),
                key: key.clone(),
                occurred_at: START,
                trust: 50,
                mapping_version: "0000000000000000".into(),
                content_hash: [1; 16],
                normalized: json!({"idempotency_key": key}).to_string(),
                fallback_key: false,
                warnings: Vec::new(),
                fate: Fate::DeadLetter { reason: Reason::Unmapped, message: "No entry of `events` fits.".into(), owner: None },
            }],
        }
    }

    async fn letters(&self) -> Vec<Value> {
        self.admin.get(Role::Viewer, "/api/dead-letters?limit=1000").await.json()["dead_letters"].as_array().unwrap().clone()
    }

    async fn letter(&self) -> String {
        self.letters().await[0]["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_dead_letter_is_mapped_again_and_goes_on_its_way_under_its_key() {
    let house = House::new().await;
    house.unmapped(0..1, BODY).await;
    let before = &house.letters().await[0];
    assert_eq!((before["reason"].as_str(), before["idempotency_key"].as_str()), (Some("unmapped"), Some("demo|unknown|0")));
    let path = format!("/api/dead-letters/{}/replay", before["id"].as_str().unwrap());
    let answer = house.admin.post(Role::Operator, &path, r#"{"reason":"mapped now"}"#).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.json()["result"], "replaced");
    let held = tokio::time::timeout(Duration::from_secs(5), house.console.queue.next()).await.unwrap().unwrap();
    assert_eq!(held.wakeup.destination, "salesforce");

    let event = house.admin.get(Role::Viewer, &format!("/api/events/{}", before["event"].as_str().unwrap())).await.json();
    assert_eq!(event["event"]["idempotency_key"], "demo|unknown|0");
    assert_eq!(
        (&event["event"]["event_type"], &event["normalized"]["identity"]["email"]),
        (&json!("lead.created"), &json!("ann@example.com"))
    );
    assert_eq!(event["event"]["occurred_at"], START.to_string());
    assert_eq!(house.letters().await, [] as [Value; 0]);

    let again = house.admin.post(Role::Operator, &path, r#"{"reason":"once more"}"#).await;
    assert_eq!((again.status, again.problem().as_str()), (StatusCode::CONFLICT, "in-flight"));
}

#[tokio::test]
async fn a_replay_of_an_unknown_delivery_is_404() {
    let house = House::new().await;
    for verb in ["replay", "resolve", "assign"] {
        let body = if verb == "assign" { r#"{"reason":"x","owner":"y"}"# } else { r#"{"reason":"x"}"# };
        let answer = house.admin.post(Role::Operator, &format!("/api/dead-letters/dlv_0000000000001/{verb}"), body).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::NOT_FOUND, "not-found"), "{verb}");
    }
    assert_eq!(house.admin.get(Role::Viewer, "/api/trace?q=nobody@example.com").await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        house.admin.post(Role::Operator, "/api/destinations/nowhere/pause", r#"{"reason":"x"}"#).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn of_two_operators_who_replay_at_once_one_wins() {
    let house = House::new().await;
    house.unmapped(0..1, BODY).await;
    let path = format!("/api/dead-letters/{}/replay", house.letter().await);
    let (one, two) = tokio::join!(
        house.admin.post(Role::Operator, &path, r#"{"reason":"one"}"#),
        house.admin.post(Role::Admin, &path, r#"{"reason":"two"}"#)
    );
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{} {}", one.text, two.text);
}

#[tokio::test]
async fn what_still_cannot_be_mapped_is_said_and_an_edited_payload_mends_it() {
    let house = House::new().await;
    house.unmapped(0..1, r#"{"type":"other"}"#).await;
    let path = format!("/api/dead-letters/{}/replay", house.letter().await);
    let answer = house.admin.post(Role::Operator, &path, r#"{"reason":"try"}"#).await;
    assert_eq!((answer.status, &answer.json()["result"]), (StatusCode::OK, &json!("still_dead")), "{}", answer.text);
    let body = json!({"reason": "corrected by hand", "payload": serde_json::from_str::<Value>(BODY).unwrap()});
    let answer = house.admin.post(Role::Operator, &path, body.to_string()).await;
    assert_eq!(answer.json()["result"], "replaced", "{}", answer.text);
    let audit = house.admin.get(Role::Viewer, "/api/audit").await.json();
    assert_eq!((&audit["audit"][0]["action"], &audit["audit"][0]["actor"]), (&json!("replay"), &json!("operator")));
    assert!(audit["audit"][0]["detail"]["edited_raw_event"].as_str().unwrap().starts_with("raw_"));
}

#[tokio::test]
async fn a_raw_request_is_shown_to_operators_and_the_audit_trail_knows() {
    let house = House::new().await;
    house.unmapped(0..1, BODY).await;
    let raw = house.letters().await[0]["raw_event"].as_str().unwrap().to_owned();
    let answer = house.admin.get(Role::Operator, &format!("/api/raw-events/{raw}")).await.json();
    assert!(answer["body"].as_str().unwrap().contains("ann@example.com"), "{answer}");
    let audit = house.admin.get(Role::Viewer, "/api/audit").await.json();
    assert_eq!((&audit["audit"][0]["action"], &audit["audit"][0]["subject"]), (&json!("raw_event_read"), &json!(raw)));
    assert_eq!(house.admin.get(Role::Viewer, &format!("/api/raw-events/{raw}")).await.status, StatusCode::FORBIDDEN);
    assert_eq!(house.admin.get(Role::Admin, "/api/raw-events/raw_0000000000001").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_dead_letter_is_assigned_and_resolved() {
    let house = House::new().await;
    house.unmapped(0..2, BODY).await;
    let id = house.letter().await;
    let answer = house.admin.post(Role::Operator, &format!("/api/dead-letters/{id}/assign"), r#"{"reason":"hers","owner":"ann"}"#).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let mine = house.admin.get(Role::Viewer, "/api/dead-letters?owner=ann").await.json();
    assert_eq!((mine["dead_letters"].as_array().unwrap().len(), &mine["dead_letters"][0]["id"]), (1, &json!(id)));
    let path = format!("/api/dead-letters/{id}/resolve");
    assert_eq!(house.admin.post(Role::Operator, &path, r#"{"reason":"spam"}"#).await.json()["status"], Status::Cancelled.as_str());
    assert_eq!(house.letters().await.len(), 1);
}

/// Waits until a bulk replay is through, as a person does: by asking.
async fn through(house: &House, id: &str) -> Value {
    for _ in 0..6_000 {
        let row = house.admin.get(Role::Viewer, &format!("/api/replays/{id}")).await.json();
        if row["finished_at"].is_string() {
            return row;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the bulk replay {id} does not end");
}

#[tokio::test]
async fn many_are_replayed_in_the_background_and_a_dry_run_touches_none() {
    let house = House::new().await;
    house.unmapped(0..30, BODY).await;
    house.unmapped(30..35, r#"{"type":"other","id":"42"}"#).await;
    house.admin.clock.fetch_add(1_000_000, std::sync::atomic::Ordering::Relaxed);
    let ask = |more: Value| {
        let mut body = json!({"reason": "mapped now", "filter": {"reason": "unmapped", "source": "demo"}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    let dry = house.admin.post(Role::Operator, "/api/replays", ask(json!({"dry_run": true}))).await.json();
    assert_eq!((&dry["matched"], dry["sample"].as_array().unwrap().len()), (&json!(35), 10));
    assert_eq!(house.letters().await.len(), 35);
    let begun = house.admin.post(Role::Operator, "/api/replays", ask(json!({}))).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.text);
    let id = begun.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(begun.headers["location"], format!("/api/replays/{id}"));
    let row = through(&house, &id).await;
    assert_eq!((&row["matched"], &row["reopened"], &row["refused"]), (&json!(35), &json!(30), &json!(5)));
    assert_eq!(house.letters().await.len(), 5);
}

#[tokio::test]
async fn more_than_a_thousand_need_to_be_confirmed_by_their_number() {
    let house = House::new().await;
    house.unmapped(0..1_001, BODY).await;
    house.admin.clock.fetch_add(1_000_000, std::sync::atomic::Ordering::Relaxed);
    for confirm in [json!(null), json!(1_000), json!(99_999)] {
        let answer = house.admin.post(Role::Operator, "/api/replays", json!({"reason": "x", "confirm": confirm}).to_string()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::CONFLICT, "confirmation-required"));
        assert_eq!(answer.json()["matched"], 1_001);
    }
    let answer = house.admin.post(Role::Operator, "/api/replays", json!({"reason": "x", "confirm": 1_001}).to_string()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
}

#[tokio::test]
async fn a_bulk_replay_that_was_broken_off_is_gone_on_with() {
    let house = House::new().await;
    house.unmapped(0..7, BODY).await;
    house.admin.clock.fetch_add(1_000_000, std::sync::atomic::Ordering::Relaxed);
    let store = &house.console.store;
    let id = model::ReplayId(store.next_id(START));
    let filter = json!({"where": {"reason": "unmapped"}, "mapping": "current"});
    store.begin_replay(START + Duration::from_millis(1), id, "ann", "mapped now", &filter, 10).await.unwrap();
    store.note_replay(id, 3, 0, None).await.unwrap();
    crate::resume_replays(&house.console, store.unfinished_replays().await.unwrap());
    let row = through(&house, &id.to_string()).await;
    assert_eq!((&row["reopened"], &row["refused"], row["actor"].as_str()), (&json!(10), &json!(0), Some("ann")));
    assert!(house.letters().await.is_empty());
}

#[tokio::test]
async fn lists_are_paged_through_without_a_gap() {
    let house = House::new().await;
    house.unmapped(0..25, BODY).await;
    let mut seen = BTreeSet::new();
    let mut target = "/api/dead-letters?limit=10".to_owned();
    loop {
        let page = house.admin.get(Role::Viewer, &target).await.json();
        seen.extend(page["dead_letters"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/api/dead-letters?limit=10&after={next}");
    }
    assert_eq!(seen.len(), 25);
}

#[tokio::test]
async fn every_page_of_a_lived_in_ledger_is_shown() {
    let house = House::new().await;
    house.unmapped(0..3, BODY).await;
    let letter = house.letters().await[0].clone();
    let app = App::new(house.console.clone());
    let cookie = {
        let body = axum::body::Body::from("token=operator");
        let request = axum::http::Request::post("/login").header("content-type", "application/x-www-form-urlencoded").body(body);
        let answer = house.admin.ask(request.unwrap()).await;
        answer.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
    };
    let (id, event, raw) = (letter["id"].as_str().unwrap(), letter["event"].as_str().unwrap(), letter["raw_event"].as_str().unwrap());
    for target in [
        "/".to_owned(),
        format!("/trace?q={event}"),
        "/trace?q=demo%7Cunknown%7C1".to_owned(),
        "/dead-letters?reason=unmapped&destination=".to_owned(),
        format!("/dead-letters/{id}"),
        "/events".to_owned(),
        format!("/events/{event}"),
        format!("/raw-events/{raw}"),
        "/destinations".to_owned(),
        "/audit".to_owned(),
        "/rejected".to_owned(),
        "/sources".to_owned(),
        "/sources/demo".to_owned(),
    ] {
        let request = axum::http::Request::get(&target).header("cookie", &cookie).body(axum::body::Body::empty());
        let answer = house.admin.ask(request.unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK, "{target}: {}", answer.text);
    }
    crate::refresh_gauges(app.store(), app.now()).await.unwrap();
}

#[tokio::test]
async fn refused_requests_are_looked_at_again_in_the_api_and_by_a_button() {
    let mut house = House::new().await;
    let rejected = |n: u64| store::NewRejected {
        id: model::RejectedId(house.console.store.next_id(START)),
        source: "demo".into(),
        at: START + Duration::from_secs(n),
        reason: "mismatch".into(),
        diagnosis: "none of the secrets".into(),
        body_bytes: 3,
        body_sha256: [9; 32],
        key_id: 1,
        sealed: vec![5; 3],
    };
    let (one, two, three) = (rejected(1), rejected(2), rejected(3));
    let bounds = store::RejectedBounds { rows_max: 10, bytes_max: 1_000, age_max: Duration::from_secs(1_000) };
    for kept in [&one, &two, &three] {
        house.console.store.keep_rejected(START, kept, bounds).await.unwrap();
    }
    let path = "/api/sources/demo/rejected/retry";
    let nowhere = house.admin.post(Role::Operator, path, r#"{"reason":"mended"}"#).await;
    assert_eq!(nowhere.problem(), "invalid", "a process without the door cannot");

    let ready: BTreeMap<i64, Intake> = [(one.id.0, house.intake(1, BODY)), (two.id.0, house.intake(2, BODY))].into();
    house.console.recheck = Some(Arc::new(move |kept| match ready.get(&kept.id.0) {
        Some(intake) => Ok(crate::Rechecked::Genuine(Box::new(intake.clone()))),
        None => Ok(crate::Rechecked::Refused { reason: "timestamp_stale".into(), diagnosis: "old when it came".into() }),
    }));
    house.admin.router = router(house.console.clone());
    assert_eq!(house.admin.post(Role::Viewer, path, r#"{"reason":"x"}"#).await.status, StatusCode::FORBIDDEN);
    assert_eq!(house.admin.post(Role::Operator, path, "{}").await.problem(), "reason-required");
    assert_eq!(house.admin.post(Role::Operator, path, r#"{"reason":"x","id":"rej_1"}"#).await.problem(), "malformed-id");
    assert_eq!(house.admin.post(Role::Operator, "/api/sources/nobody/rejected/retry", r#"{"reason":"x"}"#).await.problem(), "not-found");
    let first = json!({ "reason": "mended", "id": one.id }).to_string();
    let answer = house.admin.post(Role::Operator, path, first.clone()).await.json();
    assert_eq!((&answer["taken_in"], &answer["requests"][0]["events"][0]["status"]), (&json!(1), &json!("dead_letter")), "{answer}");
    assert_eq!(house.admin.post(Role::Operator, path, first).await.status, StatusCode::NOT_FOUND);

    let body = axum::body::Body::from("token=operator");
    let request = axum::http::Request::post("/login").header("content-type", "application/x-www-form-urlencoded").body(body);
    let answer = house.admin.ask(request.unwrap()).await;
    let cookie = answer.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let request = axum::http::Request::get("/rejected?source=demo").header("cookie", &cookie).body(axum::body::Body::empty());
    let page = house.admin.ask(request.unwrap()).await.text;
    assert!(page.contains("Check those of demo again"), "{page}");
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let form = axum::body::Body::from(format!("csrf={csrf}&reason=mended"));
    let request =
        axum::http::Request::post("/sources/demo/rejected/retry").header("cookie", &cookie).header("sec-fetch-site", "same-origin");
    let pressed = house.admin.ask(request.header("content-type", "application/x-www-form-urlencoded").body(form).unwrap()).await;
    assert_eq!(
        (pressed.status, &pressed.headers["location"]),
        (StatusCode::SEE_OTHER, &"/rejected?source=demo&done=taken_back".parse().unwrap())
    );
    let left = house.admin.get(Role::Viewer, "/api/sources/demo/rejected").await.json();
    let left: Vec<_> = left["rejected"].as_array().unwrap().iter().map(|row| row["reason"].as_str().unwrap()).collect();
    assert_eq!(left, ["timestamp_stale"]);
    assert_eq!(house.letters().await.len(), 2);
    let audit = house.admin.get(Role::Viewer, "/api/audit").await.json();
    let actions: Vec<_> = audit["audit"].as_array().unwrap().iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["rejected_retry", "take_back", "take_back"]);
}
