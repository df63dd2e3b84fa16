//! Drills: the broker, the ledger or the CRM is away, and nobody outside is to notice more than has to be noticed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::{Admin, Fleet, Lead, SOON, Setup, Source, headers, now, post, until};
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};

/// What became of one webhook.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    number: u64,
    /// `None`: no answer at all.
    pub(crate) status: Option<u16>,
    retry_after: bool,
    at: Instant,
    took: Duration,
}

/// A vendor who sends a lead every so often, each once and whether or not those before were answered, and notes what was.
pub(crate) struct Steady {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    sending: JoinHandle<Vec<Answered>>,
}

impl Steady {
    pub(crate) fn start(fleet: &Fleet, first: u64, every: Duration) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (http, public) = (fleet.http.clone(), fleet.ingests[0].public().to_owned());
        let (stopped, counted) = (stop.clone(), sent.clone());
        let sending = tokio::spawn(async move {
            let mut under_way = JoinSet::new();
            while !stopped.load(Ordering::Relaxed) {
                let number = first + counted.fetch_add(1, Ordering::Relaxed);
                let (http, public) = (http.clone(), public.clone());
                under_way.spawn(async move {
                    let sent = Lead::new(number).sent_by(Source::Forms);
                    let at = Instant::now();
                    let answer = post(&http, &public, sent.source, &headers(&sent, now()), sent.body.clone()).await.ok();
                    let retry_after = answer.as_ref().is_some_and(|answer| answer.header("retry-after").is_some());
                    Answered { number, status: answer.map(|answer| answer.status), retry_after, at, took: at.elapsed() }
                });
                tokio::time::sleep(every).await;
            }
            under_way.join_all().await
        });
        Self { stop, sent, sending }
    }

    pub(crate) async fn until_sent(&self, more: u64) {
        let wanted = self.sent.load(Ordering::Relaxed) + more;
        until("webhooks are being sent", SOON, async || (self.sent.load(Ordering::Relaxed) >= wanted).then_some(())).await;
    }

    pub(crate) async fn stop(self) -> Vec<Answered> {
        self.stop.store(true, Ordering::Relaxed);
        self.sending.await.unwrap()
    }
}

/// Each lead that was accepted is in the CRM, created once, and nothing else is.
async fn assert_all_there(fleet: &Fleet, answered: &[Answered]) {
    let leads = fleet.crm.leads().await;
    let held: BTreeMap<&str, u64> = leads.iter().map(|lead| (lead.text("Email"), lead.creates)).collect();
    assert_eq!(held.len(), leads.len(), "somebody is there twice");
    let accepted: Vec<u64> = answered.iter().filter(|one| one.status == Some(200)).map(|one| one.number).collect();
    for number in &accepted {
        assert_eq!(held.get(format!("person-{number}@example.com").as_str()), Some(&1), "person {number}");
    }
    assert!(fleet.admin().dead_letters().await.is_empty());
}

async fn metric(admin: &Admin, line: &str) -> Option<f64> {
    let metrics = admin.metrics().await;
    metrics.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
}

pub(crate) async fn until_metric(admin: &Admin, line: &str, wanted: f64, within: Duration) {
    until(&format!("{line} is {wanted}"), within, async || (metric(admin, line).await == Some(wanted)).then_some(())).await;
}

async fn until_state(fleet: &Fleet, wanted: &str) {
    let admin = fleet.admin();
    until(&format!("salesforce is {wanted}"), SOON, async || (admin.destination("salesforce").await["state"] == wanted).then_some(()))
        .await;
}

/// Senders notice nothing: every answer a 2xx, and none of them late.
fn assert_nobody_noticed(answered: &[Answered]) {
    let odd: Vec<_> = answered.iter().filter(|one| one.status != Some(200) || one.took > Duration::from_secs(2)).collect();
    assert!(odd.is_empty(), "{} of {} noticed, such as {:?}", odd.len(), answered.len(), odd.first());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_gone_for_a_minute_costs_senders_nothing_and_deliveries_seconds() {
    let mut fleet = Fleet::start(Setup::default(), 1, 1).await;
    let steady = Steady::start(&fleet, 0, Duration::from_millis(50));
    steady.until_sent(40).await;
    fleet.broker.kill9();
    let gone = Instant::now();
    let admin = fleet.admin();
    until_metric(&admin, "onceward_queue_state{connection=\"publish\",state=\"down\"}", 1.0, SOON).await;
    // Readiness tells of it, and does not take the ingest out of service.
    let ready = admin.get("/readyz").await;
    assert_eq!((ready.status, ready.body["degraded"].as_array().map(Vec::len)), (200, Some(1)), "{ready:?}");
    // The sweep delivers meanwhile.
    let before = fleet.crm.leads().await.len();
    until("leads arrive without a broker", Duration::from_secs(30), async || (fleet.crm.leads().await.len() > before + 50).then_some(()))
        .await;
    tokio::time::sleep(Duration::from_secs(60).saturating_sub(gone.elapsed())).await;
    tokio::task::block_in_place(|| fleet.broker.restart());
    until_metric(&admin, "onceward_queue_state{connection=\"publish\",state=\"up\"}", 1.0, Duration::from_secs(30)).await;
    steady.until_sent(40).await;
    let answered = steady.stop().await;
    fleet.until_idle(SOON).await;
    assert_nobody_noticed(&answered);
    assert_all_there(&fleet, &answered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_memory_costs_senders_nothing() {
    let fleet = Fleet::start(Setup::default(), 1, 1).await;
    let steady = Steady::start(&fleet, 0, Duration::from_millis(50));
    steady.until_sent(20).await;
    fleet.broker.alarm(true).await;
    let admin = fleet.admin();
    until_metric(&admin, "onceward_queue_state{connection=\"publish\",state=\"blocked\"}", 1.0, SOON).await;
    let before = fleet.crm.leads().await.len();
    until("leads arrive past the broker", Duration::from_secs(30), async || (fleet.crm.leads().await.len() > before + 50).then_some(()))
        .await;
    fleet.broker.alarm(false).await;
    until_metric(&admin, "onceward_queue_state{connection=\"publish\",state=\"up\"}", 1.0, Duration::from_secs(30)).await;
    let answered = steady.stop().await;
    fleet.until_idle(SOON).await;
    assert_nobody_noticed(&answered);
    assert_all_there(&fleet, &answered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_gone_for_half_a_minute_is_answered_with_503_and_everything_heals() {
    let mut fleet = Fleet::start(Setup::default(), 1, 2).await;
    let steady = Steady::start(&fleet, 0, Duration::from_millis(50));
    steady.until_sent(40).await;
    let gone = Instant::now();
    fleet.postgres.kill9();
    let admin = fleet.admin();
    until("the ingest says that it is not ready", SOON, async || (admin.get("/readyz").await.status == 503).then_some(())).await;
    assert_eq!(admin.get("/healthz").await.status, 200);
    until_metric(&admin, "onceward_ledger_up", 0.0, SOON).await;
    tokio::time::sleep(Duration::from_secs(30).saturating_sub(gone.elapsed())).await;
    let resident = fleet.ingests[0].resident_kib() + fleet.workers.iter().map(harness::Node::resident_kib).sum::<u64>();
    let back = Instant::now();
    tokio::task::block_in_place(|| fleet.postgres.restart());
    for node in fleet.ingests.iter().chain(&fleet.workers) {
        node.until_ready(&fleet.http).await;
    }
    let ready = Instant::now();
    // The request that tries the ledger may have begun its wait while nobody answered.
    let tried = ready + Duration::from_secs(3);
    steady.until_sent(120).await;
    let answered = steady.stop().await;
    fleet.until_idle(Duration::from_secs(60)).await;
    // While it was away: nothing but 503 with a time to come back, soon; I26.
    let away: Vec<_> = answered.iter().filter(|one| one.at > gone + Duration::from_secs(1) && one.at + one.took < back).collect();
    assert!(away.len() > 200, "{} webhooks were sent meanwhile", away.len());
    let odd: Vec<_> = away.iter().filter(|one| one.status != Some(503) || !one.retry_after || one.took > Duration::from_secs(4)).collect();
    assert!(odd.is_empty(), "{} of {} were answered otherwise, such as {:?}", odd.len(), away.len(), odd.first());
    // Hardly anybody has to wait to hear it.
    let waited = away.iter().filter(|one| one.took > Duration::from_millis(500)).count();
    assert!(waited * 5 < away.len(), "{waited} of {} waited for their 503", away.len());
    let late: Vec<_> = answered.iter().filter(|one| one.at > tried && one.status != Some(200)).collect();
    assert!(late.is_empty(), "{} refused long after it was ready again: {:?}", late.len(), late.first());
    assert!(resident < 300 << 10, "{resident} KiB");
    assert_all_there(&fleet, &answered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crm_that_is_down_for_two_minutes_uses_up_no_attempt_and_the_backlog_drains() {
    const OUTAGE: Duration = Duration::from_secs(120);
    // With only three attempts, an outage that counted would fail everything.
    let fleet = Fleet::start(Setup { destination: "schedule = [\"0s\", \"0s\", \"0s\"]", ..Setup::default() }, 1, 2).await;
    let steady = Steady::start(&fleet, 0, Duration::from_millis(50));
    steady.until_sent(20).await;
    fleet.crm.misbehave(json!({ "down": "120s" })).await;
    let down = Instant::now();
    until_state(&fleet, "breaker_open").await;
    tokio::time::sleep(OUTAGE.saturating_sub(down.elapsed())).await;
    let answered = steady.stop().await;
    assert_nobody_noticed(&answered);
    fleet.until_idle(OUTAGE).await;
    println!("{} webhooks; drained {:?} after an outage of {OUTAGE:?}", answered.len(), down.elapsed().saturating_sub(OUTAGE));
    assert_all_there(&fleet, &answered).await;
    until_state(&fleet, "active").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_revoked_stops_the_destination_and_loses_nothing() {
    let fleet = Fleet::start(Setup::default(), 1, 2).await;
    let steady = Steady::start(&fleet, 0, Duration::from_millis(50));
    steady.until_sent(20).await;
    fleet.crm.misbehave(json!({ "expired-token": 1 })).await;
    let admin = fleet.admin();
    // What the alert looks at.
    until_metric(&admin, "onceward_destination_state{destination=\"salesforce\",state=\"auth_failed\"}", 1.0, SOON).await;
    steady.until_sent(40).await;
    let calls = fleet.crm.stats().await["calls"].as_u64().unwrap();
    steady.until_sent(40).await;
    let more = fleet.crm.stats().await["calls"].as_u64().unwrap() - calls;
    assert!(more < 5, "{more} calls while nobody has renewed the token");
    fleet.crm.misbehave(json!({})).await;
    let (done, said) = fleet
        .run(&[
            "destinations",
            "resume",
            "salesforce",
            "--reason",
            "the token was renewed",
            "--admin",
            &admin.base,
            "--token",
            &admin.token,
        ])
        .await;
    assert!(done, "{said}");
    let answered = steady.stop().await;
    fleet.until_idle(SOON).await;
    assert_nobody_noticed(&answered);
    assert_all_there(&fleet, &answered).await;
    until_state(&fleet, "active").await;
}
