//! Ending well and ending badly: nothing that was accepted is lost, and nothing is written twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::{Dice, Lead, Onceward, Setup, Source, headers, now, post};
use tokio::task::JoinSet;

/// Sends leads of their own from several connections until told to stop or nobody answers; the numbers of those accepted.
async fn flood(onceward: &Onceward, connections: u64, first: u64, stop: Arc<AtomicBool>) -> JoinSet<Vec<u64>> {
    let mut senders = JoinSet::new();
    for connection in 0..connections {
        let (http, public, stop) = (onceward.http.clone(), onceward.public.clone(), stop.clone());
        senders.spawn(async move {
            let mut accepted = Vec::new();
            let mut number = first + connection;
            while !stop.load(Ordering::Relaxed) {
                let sent = Lead::new(number).sent_by(Source::Forms);
                match post(&http, &public, sent.source, &headers(&sent, now()), sent.body.clone()).await {
                    Ok(answer) if answer.status == 200 => accepted.push(number),
                    Ok(_) => {}
                    Err(_) => break,
                }
                number += connections;
            }
            accepted
        });
    }
    senders
}

/// Waits for some of the flood to have come through.
async fn until_accepted(onceward: &Onceward, count: u64) {
    let counted = |metrics: &str| {
        let lines = metrics.lines().filter(|line| line.starts_with("onceward_ingest_requests_total{") && line.contains("accepted"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    harness::until("webhooks are being accepted", harness::SOON, async || {
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let enough = counted(&onceward.admin.metrics().await) >= count as f64;
        enough.then_some(())
    })
    .await;
}

/// Every accepted lead is in the CRM, created once.
async fn assert_all_there(onceward: &Onceward, accepted: &[u64]) {
    onceward.until_idle(Duration::from_secs(60)).await;
    let leads = onceward.crm.leads().await;
    let mut held: Vec<&str> = leads.iter().map(|lead| lead.text("Email")).collect();
    held.sort_unstable();
    for number in accepted {
        let email = format!("person-{number}@example.com");
        assert_eq!(held.iter().filter(|held| **held == email).count(), 1, "{email}");
    }
    assert!(leads.iter().all(|lead| lead.creates == 1), "created twice: {:?}", leads.iter().find(|lead| lead.creates != 1));
    assert!(onceward.admin.dead_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_with_requests_in_flight_loses_nothing() {
    for signal in ["INT", "TERM"] {
        let mut onceward = Onceward::start().await;
        let stop = Arc::new(AtomicBool::new(false));
        let senders = flood(&onceward, 8, 0, stop.clone()).await;
        until_accepted(&onceward, 100).await;
        let begun = Instant::now();
        onceward.stop(signal);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        stop.store(true, Ordering::Relaxed);
        let accepted = senders.join_all().await.concat();
        assert!(accepted.len() >= 100);
        onceward.restart();
        assert_all_there(&onceward, &accepted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_it_loses_nothing_and_writes_nothing_twice() {
    let mut dice = Dice::from_environment("ONCEWARD_KILLS_SEED");
    let mut onceward = Onceward::with(Setup { call_timeout: "1s", ..Setup::default() }).await;
    let mut accepted = Vec::new();
    for round in 0..3 {
        let stop = Arc::new(AtomicBool::new(false));
        let senders = flood(&onceward, 6, round * 1_000_000, stop.clone()).await;
        until_accepted(&onceward, 20 + dice.below(150)).await;
        onceward.kill9();
        stop.store(true, Ordering::Relaxed);
        accepted.extend(senders.join_all().await.concat());
        onceward.restart();
    }
    assert!(accepted.len() >= 60);
    assert_all_there(&onceward, &accepted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_that_was_killed_goes_on_where_it_was() {
    let mut onceward = Onceward::demo().await;
    let first = onceward.run(&["--json", "send", "--source", "demo", "sample"]).await.json();
    let event = first["answer"]["events"][0]["id"].as_str().unwrap().to_owned();
    onceward.until_status(&event, "succeeded").await;
    onceward.kill9();
    onceward.restart();
    let again = onceward.run(&["--json", "send", "--source", "demo", "sample"]).await.json();
    assert_eq!(again["answer"]["events"][0]["status"], "duplicate", "{again}");
    assert_eq!(again["answer"]["events"][0]["id"], event.as_str());
    assert!(onceward.admin.trace("ada@example.com").await.is_some());
}
