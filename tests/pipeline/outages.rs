//! A CRM that is away, slow, or no longer knows us: nothing is lost, nothing is given up, and a person hears of it.

use std::time::{Duration, Instant};

use harness::{Lead, Onceward, SOON, Setup, Source, until};
use serde_json::json;

/// Sends leads of these numbers.
async fn send(onceward: &Onceward, numbers: std::ops::Range<u64>) {
    for number in numbers {
        onceward.accepted(&Lead::new(number).sent_by(Source::Forms), "accepted").await;
    }
}

async fn state(onceward: &Onceward) -> String {
    onceward.admin.destination("salesforce").await["state"].as_str().unwrap().to_owned()
}

async fn until_state(onceward: &Onceward, wanted: &str) {
    until(&format!("salesforce is {wanted}"), SOON, async || (state(onceward).await == wanted).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_destination_holds_deliveries_and_loses_none() {
    let mut onceward = Onceward::start().await;
    let paused = onceward.run(&["--json", "destinations", "pause", "salesforce", "--reason", "a migration over there"]).await;
    assert_eq!(paused.code, 0, "{paused:?}");
    assert_eq!(state(&onceward).await, "paused");
    let before = onceward.crm.stats().await["calls"].clone();
    send(&onceward, 0..30).await;
    // It stays so over a power cut.
    onceward.kill9();
    onceward.restart();
    send(&onceward, 30..40).await;
    let row = onceward.admin.destination("salesforce").await;
    assert_eq!((&row["open"], &row["state"]), (&json!(40), &json!("paused")), "{row:#}");
    assert!(row["reason"].as_str().unwrap().contains("migration"), "{row:#}");
    assert_eq!(onceward.crm.stats().await["calls"], before);
    let resumed = onceward.run(&["--json", "destinations", "resume", "salesforce", "--reason", "done"]).await;
    assert_eq!(resumed.code, 0, "{resumed:?}");
    onceward.until_idle(SOON).await;
    assert_eq!(onceward.crm.leads().await.len(), 40);
    assert_eq!(onceward.admin.post("/api/destinations/moon/pause", &json!({ "reason": "far" })).await.status, 404);
    assert_eq!(onceward.admin.post("/api/destinations/salesforce/pause", &json!({})).await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_uses_up_no_attempts_and_drains_when_it_is_over() {
    // With only three attempts, an outage that counted would fail everything.
    let destination = "schedule = [\"0s\", \"0s\", \"0s\"]\nbreaker = { failures = 3, probe = \"1s\", probe_max = \"1s\" }";
    let onceward = Onceward::with(Setup { destination, ..Setup::default() }).await;
    send(&onceward, 0..1).await;
    onceward.until_idle(SOON).await;
    onceward.crm.misbehave(json!({ "down": "6s" })).await;
    send(&onceward, 1..60).await;
    until_state(&onceward, "breaker_open").await;
    onceward.until_idle(Duration::from_secs(40)).await;
    assert_eq!(onceward.crm.leads().await.len(), 60);
    assert!(onceward.admin.dead_letters().await.is_empty());
    until_state(&onceward, "active").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn being_told_to_wait_pauses_the_destination_and_costs_no_attempt() {
    let onceward = Onceward::with(Setup { destination: "schedule = [\"0s\"]", ..Setup::default() }).await;
    onceward.crm.misbehave(json!({ "429": "1:2s" })).await;
    send(&onceward, 0..20).await;
    until_state(&onceward, "throttled").await;
    onceward.crm.misbehave(json!({})).await;
    onceward.until_idle(SOON).await;
    assert_eq!(onceward.crm.leads().await.len(), 20);
    assert!(onceward.admin.dead_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_expired_is_refreshed_and_nobody_notices() {
    let onceward = Onceward::with(Setup { token_life_millis: 200, ..Setup::default() }).await;
    for number in 0..5 {
        let sent = Instant::now();
        let event = onceward.accepted(&Lead::new(number).sent_by(Source::Forms), "accepted").await;
        onceward.until_status(&event, "succeeded").await;
        until("the token has expired", SOON, async || (sent.elapsed() > Duration::from_millis(250)).then_some(())).await;
    }
    assert!(onceward.admin.dead_letters().await.is_empty());
    assert_eq!(state(&onceward).await, "active");
    let leads = onceward.crm.leads().await;
    assert!(leads.len() == 5 && leads.iter().all(|lead| lead.creates == 1));
    let refused = onceward.crm.calls(0).await.iter().filter(|call| call.status == Some(401)).count();
    assert!((1..=5).contains(&refused), "{refused} calls met an expired token");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_hold_everything_until_they_are_mended_and_somebody_resumes() {
    let onceward = Onceward::start().await;
    // Every token is refused, fresh ones too.
    onceward.crm.misbehave(json!({ "expired-token": 1 })).await;
    send(&onceward, 0..10).await;
    until_state(&onceward, "auth_failed").await;
    let row = onceward.admin.destination("salesforce").await;
    assert_eq!(row["open"], 10, "{row:#}");
    assert!(onceward.admin.dead_letters().await.is_empty());
    onceward.crm.misbehave(json!({})).await;
    onceward.admin.post("/api/destinations/salesforce/resume", &json!({ "reason": "the secret is right again" })).await.ok();
    onceward.until_idle(SOON).await;
    assert_eq!(onceward.crm.leads().await.len(), 10);
    assert_eq!(state(&onceward).await, "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_never_created_twice() {
    let onceward = Onceward::with(Setup { destination: "adopt = \"overwrite\"", ..Setup::default() }).await;
    // One that goes well, for the token; from then on every answer is lost, though the work is done.
    send(&onceward, 0..1).await;
    onceward.until_idle(SOON).await;
    onceward.crm.misbehave(json!({ "cut-after": 1 })).await;
    send(&onceward, 1..5).await;
    until("the leads are there although nobody was told", SOON, async || (onceward.crm.leads().await.len() == 5).then_some(())).await;
    onceward.crm.misbehave(json!({})).await;
    onceward.until_idle(Duration::from_secs(40)).await;
    let leads = onceward.crm.leads().await;
    assert!(leads.len() == 5 && leads.iter().all(|lead| lead.creates == 1), "{leads:?}");
    assert!(onceward.admin.dead_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_for_one_record_is_merged_and_one_for_many_shares_calls() {
    let onceward = Onceward::start().await;
    onceward.admin.post("/api/destinations/salesforce/pause", &json!({ "reason": "to let it gather" })).await.ok();
    for number in 0..50u64 {
        let mut lead = Lead::new(1);
        lead.id = format!("burst-{number}");
        lead.last = format!("Last{number}");
        onceward.accepted(&lead.sent_by(Source::Desk), "accepted").await;
    }
    send(&onceward, 100..250).await;
    let before = onceward.crm.calls(0).await.last().map_or(0, |call| call.seq);
    onceward.admin.post("/api/destinations/salesforce/resume", &json!({ "reason": "gathered" })).await.ok();
    onceward.until_idle(SOON).await;
    let hot = onceward.crm.with_email("person-1@example.com").await.pop().unwrap();
    assert!(hot.writes <= 2, "50 events of one record are one write: {hot:?}");
    assert_eq!(onceward.crm.leads().await.len(), 151);
    let calls = onceward.crm.calls(before).await;
    assert!(calls.len() <= 12, "200 events took {} calls: {calls:?}", calls.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_what_takes_too_long_is_told_once() {
    let onceward = Onceward::with(Setup { more: "alert_after = \"1s\"", ..Setup::default() }).await;
    onceward.admin.post("/api/destinations/salesforce/pause", &json!({ "reason": "to let it take long" })).await.ok();
    send(&onceward, 0..3).await;
    let overdue = async || {
        let metrics = onceward.admin.metrics().await;
        let line = metrics.lines().find_map(|line| line.strip_prefix("onceward_deliveries_overdue{destination=\"salesforce\"} "))?;
        line.trim().parse::<f64>().ok()
    };
    until("three deliveries are overdue", SOON, async || (overdue().await == Some(3.0)).then_some(())).await;
    onceward.admin.post("/api/destinations/salesforce/resume", &json!({ "reason": "long enough" })).await.ok();
    onceward.until_idle(SOON).await;
    until("nothing is overdue any more", SOON, async || (overdue().await == Some(0.0)).then_some(())).await;
    let log = onceward.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("has not ended in the time that its route allows")).collect();
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(told.iter().all(|line| line.contains("sales-ops") && line.contains("onceward trace dlv_")), "{told:#?}");
}
