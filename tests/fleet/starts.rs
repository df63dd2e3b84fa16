//! Starting, stopping and replacing a fleet's processes.

use std::time::Duration;

use harness::{Fleet, Lead, SOON, Setup, Source, until};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_unmigrated_ledger_is_waited_for_and_says_what_to_do() {
    let mut fleet = Fleet::unmigrated(Setup::default(), 1, 1).await;
    fleet.ingests[0].start();
    fleet.workers[0].start();
    let admin = fleet.admin();
    for base in [fleet.ingests[0].admin(), fleet.workers[0].admin(), fleet.ingests[0].public()] {
        let alive = fleet.http.get(format!("{base}/healthz")).send().await.unwrap();
        assert_eq!(alive.status(), 200, "{base}");
        let ready = fleet.http.get(format!("{base}/readyz")).send().await.unwrap();
        assert_eq!(ready.status(), 503, "{base}");
        let said = ready.text().await.unwrap();
        assert!(said.contains("onceward migrate"), "{said}");
    }
    let lead = Lead::new(1).sent_by(Source::Forms);
    let headers = harness::headers(&lead, harness::now());
    let refused = harness::post(&fleet.http, fleet.ingests[0].public(), lead.source, &headers, lead.body.clone()).await.unwrap();
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true), "{refused:?}");
    fleet.migrate().await;
    for node in fleet.ingests.iter().chain(&fleet.workers) {
        node.until_ready(&fleet.http).await;
    }
    let taken = harness::post(&fleet.http, fleet.ingests[0].public(), lead.source, &headers, lead.body.clone()).await.unwrap();
    assert_eq!(taken.body["events"][0]["status"], "accepted", "{taken:?}");
    fleet.until_idle(SOON).await;
    assert_eq!(fleet.crm.leads().await.len(), 1);
    assert_eq!(admin.get("/api/audit").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_process_has_to_itself_is_refused() {
    let fleet = Fleet::unmigrated(Setup::default(), 1, 0).await;
    for (name, value, word) in [("ONCEWARD_LEDGER_URL", "sqlite:alone.db", "ledger.url"), ("ONCEWARD_QUEUE_URL", "embedded:", "queue.url")]
    {
        for program in ["onceward-ingest", "onceward-worker"] {
            let (done, said) = fleet.run_as(program, &[], &[(name, value)]).await;
            assert!(!done && said.contains(word) && said.contains("fleet.toml") && said.contains(program), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_workers_records_are_taken_over_before_their_leases_end() {
    // A call may take a minute here, and so may a lease.
    let setup = Setup { call_timeout: "60s", latency_millis: 5, ..Setup::default() };
    let mut fleet = Fleet::start(setup, 1, 1).await;
    let (http, public) = (fleet.http.clone(), fleet.ingests[0].public().to_owned());
    let send = async |number: u64| {
        let lead = Lead::new(number).sent_by(Source::Forms);
        let headers = harness::headers(&lead, harness::now());
        harness::post(&http, &public, lead.source, &headers, lead.body.clone()).await.unwrap().ok()
    };
    send(1).await;
    fleet.until_idle(SOON).await;
    // The CRM hangs, so the worker dies with a call under way.
    fleet.crm.misbehave(json!({ "slow": "1:50s" })).await;
    send(2).await;
    let admin = fleet.admin();
    until("the record is in a worker's hands", SOON, async || {
        let trace = admin.trace("person-2@example.com").await?;
        trace.to_string().contains("processing").then_some(())
    })
    .await;
    fleet.workers[0].kill9();
    fleet.crm.misbehave(json!({})).await;
    let died = std::time::Instant::now();
    fleet.workers[0].start();
    fleet.until_idle(Duration::from_secs(40)).await;
    println!("taken over after {:?}", died.elapsed());
    let leads = fleet.crm.leads().await;
    assert!(leads.len() == 2 && leads.iter().all(|lead| lead.creates == 1), "{leads:?}");
}
