//! From a signed webhook to exactly one record, and what everybody sees of it.

use std::time::{Duration, Instant};

use harness::{Lead, Onceward, SOON, Source, headers, now, post, until};
use model::Time;
use serde_json::{Value, json};

/// The leads of the demo's sample person.
async fn ada(onceward: &Onceward) -> Vec<harness::Record> {
    onceward.crm.with_email("ada@example.com").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_takes_a_signed_sample_to_one_record_within_a_second() {
    let onceward = Onceward::demo().await;
    let sent = onceward.run(&["--json", "send", "--source", "demo", "sample"]).await;
    assert_eq!(sent.code, 0, "{sent:?}");
    let answer = sent.json();
    assert_eq!(answer["answer"]["events"][0]["status"], "accepted", "{answer}");
    let begun = Instant::now();
    let lead = until("the lead is in the CRM", SOON, async || ada(&onceward).await.pop()).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(lead.text("Company"), "Example Ltd");
    assert_eq!(lead.text("FirstName"), "Ada");
    assert_eq!((lead.creates, lead.writes), (1, 1));

    // Again: a duplicate, and no second write.
    let again = onceward.run(&["--json", "send", "--source", "demo", "sample"]).await.json();
    assert_eq!(again["answer"]["events"][0]["status"], "duplicate", "{again}");
    assert_eq!(again["answer"]["events"][0]["id"], answer["answer"]["events"][0]["id"]);

    // From elsewhere: the same person, the same record.
    let other = onceward.run(&["--json", "send", "--source", "typeform", "sample"]).await.json();
    assert_eq!(other["answer"]["events"][0]["status"], "accepted", "{other}");
    let event = other["answer"]["events"][0]["id"].as_str().unwrap();
    onceward.until_status(event, "succeeded").await;
    let leads = ada(&onceward).await;
    assert_eq!(leads.len(), 1, "{leads:?}");
    assert_eq!(leads[0].creates, 1);
    assert!(leads[0].writes <= 2, "{leads:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_shows_the_way_step_by_step_with_times() {
    let onceward = Onceward::start().await;
    let lead = Lead::new(1);
    let sent = lead.sent_by(Source::Forms);
    let answer = onceward.send(&sent).await.ok();
    let event = answer["events"][0]["id"].as_str().unwrap().to_owned();
    let key = answer["events"][0]["idempotency_key"].as_str().unwrap().to_owned();
    assert_eq!(key, "forms|lead.created|evt-1");
    onceward.until_status(&event, "succeeded").await;
    let record = onceward.crm.with_email(&lead.email).await.pop().unwrap();

    // Whatever is known of it leads there.
    let raw = answer["raw_event"].as_str().unwrap();
    for x in [event.as_str(), &key, raw, &lead.email, "person-1", "evt-1", &record.id] {
        let trace = onceward.admin.trace(x).await.unwrap_or_else(|| panic!("nothing is known of {x}"));
        assert_eq!(trace["events"][0]["id"], event.as_str(), "{x}");
        assert!(trace["found_as"].as_array().is_some_and(|found| !found.is_empty()), "{x}: {trace}");
    }
    let trace = onceward.admin.trace(&key).await.unwrap();
    let steps = trace["steps"].as_array().unwrap();
    let times: Vec<Time> = steps.iter().map(|step| Time::parse_rfc3339(step["at"].as_str().unwrap()).unwrap()).collect();
    assert!(times.is_sorted(), "{trace:#}");
    let words: Vec<&str> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert!(words.contains(&"received"), "{words:?}");
    assert!(steps.iter().any(|step| step["duration_ms"].is_u64()), "a call has a duration: {trace:#}");
    assert_eq!(trace["records"][0]["crm_record_id"], record.id.as_str(), "{trace:#}");
    assert_eq!(trace["events"][0]["deliveries"][0]["outcome"], "applied");

    // And in a terminal.
    let shown = onceward.run(&["trace", &lead.email]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    for part in [event.as_str(), &record.id, "salesforce Lead", "succeeded (applied)"] {
        assert!(shown.out.contains(part), "{part} is not in\n{}", shown.out);
    }
    assert_eq!(onceward.run(&["trace", "nobody@example.com"]).await.code, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_genuine_is_refused_alike_and_kept_with_a_diagnosis() {
    let onceward = Onceward::start().await;
    let sent = Lead::new(1).sent_by(Source::Forms);
    let good = headers(&sent, now());
    let stale = headers(&sent, now() - Duration::from_secs(301));
    let early = headers(&sent, now() + Duration::from_secs(310));
    let mut tampered = sent.body.clone();
    tampered.push(b' ');
    let mut answers = Vec::new();
    for (headers, body) in [(&good, tampered), (&stale, sent.body.clone()), (&early, sent.body.clone()), (&Vec::new(), sent.body.clone())] {
        let answer = post(&onceward.http, &onceward.public, Source::Forms, headers, body).await.unwrap();
        assert_eq!(answer.status, 401, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        answers.push((answer.body["type"].clone(), answer.body["title"].clone(), answer.body["detail"].clone()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "the answer tells a stranger nothing: {answers:?}");
    let kept = until("the rejected requests are kept", SOON, async || {
        let kept = onceward.admin.get("/api/rejected?source=forms").await.ok()["rejected"].as_array().unwrap().clone();
        (kept.len() == 4).then_some(kept)
    });
    let mut reasons: Vec<String> = kept.await.iter().map(|row| row["reason"].as_str().unwrap().to_owned()).collect();
    reasons.sort();
    reasons.dedup();
    assert!(reasons.len() >= 3, "each has its own reason: {reasons:?}");
    assert!(onceward.crm.leads().await.is_empty());
    assert!(onceward.admin.events().await.is_empty());

    // And the same request as it was meant to be is accepted.
    onceward.accepted(&sent, "accepted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_metrics_say_how_it_is() {
    let onceward = Onceward::start().await;
    for base in [&onceward.public, &onceward.admin.base] {
        for path in ["/healthz", "/readyz"] {
            let status = onceward.http.get(format!("{base}{path}")).send().await.unwrap().status();
            assert_eq!(status, 200, "{base}{path}");
        }
    }
    let event = onceward.accepted(&Lead::new(1).sent_by(Source::Forms), "accepted").await;
    onceward.until_status(&event, "succeeded").await;
    onceward.accepted(&Lead::new(1).sent_by(Source::Forms), "duplicate").await;
    let metrics = onceward.admin.metrics().await;
    for name in [
        "ingest_requests_total",
        "ingest_duration_seconds",
        "deliveries_total",
        "delivery_duration_seconds",
        "attempts_total",
        "crm_calls_total",
        "crm_call_duration_seconds",
        "crm_records_per_call",
        "queue_depth",
        "queue_oldest_age_seconds",
        "destination_state",
        "source_last_event_timestamp_seconds",
        "wakeups_total",
        "build_info",
    ] {
        assert!(
            metrics.contains(&format!("\nonceward_{name}")) || metrics.starts_with(&format!("onceward_{name}")),
            "{name} is not in\n{metrics}"
        );
    }
    let line = metrics.lines().find(|line| line.starts_with("onceward_deliveries_total{") && line.contains("applied")).unwrap_or_default();
    assert!(line.ends_with(" 1") && line.contains("destination=\"salesforce\"") && line.contains("object=\"Lead\""), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_people_put_into_the_crm_count_too() {
    let onceward = Onceward::start().await;
    // There before us: a person wrote a title just now, which is newer than what the form knows.
    let body = json!({ "LastName": "Lovelace", "Company": "Example Ltd", "Email": "ada@example.com", "Title": "Countess" });
    let token = onceward.http.post(format!("{}/services/oauth2/token", onceward.crm.base));
    let form = [("grant_type", "client_credentials"), ("client_id", "a person"), ("client_secret", "theirs")];
    let token: Value = token.form(&form).send().await.unwrap().json().await.unwrap();
    let url = format!("{}/services/data/v62.0/sobjects/Lead/External_Lead_Id__c/person-1", onceward.crm.base);
    let written = onceward.http.patch(url).bearer_auth(token["access_token"].as_str().unwrap()).json(&body).send().await.unwrap();
    assert!(written.status().is_success(), "{written:?}");

    let mut lead = Lead::new(1);
    lead.email = "ada@example.com".to_owned();
    lead.at = now() - Duration::from_secs(3_600);
    lead.title = Some(Some("Programmer".to_owned()));
    lead.phone = Some("+14155550100".to_owned());
    let event = onceward.accepted(&lead.sent_by(Source::Forms), "accepted").await;
    onceward.until_status(&event, "succeeded").await;
    let found = onceward.crm.leads().await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].text("Title"), "Countess", "newer, and as trusted");
    assert_eq!(found[0].text("LastName"), "Lovelace");
    assert_eq!(found[0].text("Phone"), "+14155550100", "what the CRM did not know is added");

    // More trusted, and so it wins.
    lead.id = "evt-2".to_owned();
    let event = onceward.accepted(&lead.sent_by(Source::Desk), "accepted").await;
    onceward.until_status(&event, "succeeded").await;
    assert_eq!(onceward.crm.leads().await[0].text("Title"), "Programmer");
}
