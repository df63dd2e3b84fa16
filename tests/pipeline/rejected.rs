//! Refused for a secret of ours that was wrong: kept, diagnosed, and taken in once it is mended, exactly once.

use harness::{Lead, Onceward, SOON, Sent, Setup, Source, headers, now, post, until};
use serde_json::{Value, json};

const RIGHT: &str = "{ env = \"DESK_SECRET\" }";
const WRONG: &str = "{ env = \"SF_SECRET\" }";

fn reconfigure(onceward: &mut Onceward, from: &str, to: &str) {
    onceward.stop("TERM");
    let file = onceward.folder().join("pipeline.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from}");
    std::fs::write(&file, text.replace(from, to)).unwrap();
    onceward.restart();
}

/// A pipeline whose secret of `desk` is wrong.
async fn wrong(more: &'static str) -> Onceward {
    let mut onceward = Onceward::with(Setup { more, ..Setup::default() }).await;
    reconfigure(&mut onceward, RIGHT, WRONG);
    onceward
}

async fn refused(onceward: &Onceward, sent: &Sent) {
    let answer = onceward.send(sent).await;
    assert_eq!(answer.status, 401, "{answer:?}");
}

async fn kept(onceward: &Onceward, source: &str, number: usize) -> Vec<Value> {
    until(&format!("{number} refused requests of {source} are kept"), SOON, async || {
        let answer = onceward.admin.get(&format!("/api/sources/{source}/rejected?limit=1000")).await.ok();
        let rows = answer["rejected"].as_array().unwrap().clone();
        (rows.len() == number).then_some(rows)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_wrong_secret_of_ours_refused_is_taken_in_under_its_own_time_once_it_is_mended() {
    let mut onceward = wrong("").await;
    for number in 1..=3 {
        refused(&onceward, &Lead::new(number).sent_by(Source::Desk)).await;
    }
    let rows = kept(&onceward, "desk", 3).await;
    let listed = onceward.run(&["sources", "rejected", "desk"]).await;
    assert!(listed.code == 0 && listed.out.contains("mismatch") && listed.out.contains("--retry"), "{listed:?}");

    // Nothing was mended yet: each stays, and is said to be as wrong as before.
    let retried = onceward.run(&["--json", "sources", "rejected", "desk", "--retry"]).await;
    assert_eq!((retried.code, &retried.json()["still_refused"], &retried.json()["taken_in"]), (1, &json!(3), &json!(0)), "{retried:?}");
    kept(&onceward, "desk", 3).await;

    reconfigure(&mut onceward, WRONG, RIGHT);
    let dry = onceward.run(&["--json", "sources", "rejected", "desk", "--retry", "--dry-run"]).await;
    assert_eq!((dry.code, &dry.json()["taken_in"]), (0, &json!(3)), "{dry:?}");
    assert_eq!((onceward.admin.events().await.len(), kept(&onceward, "desk", 3).await.len()), (0, 3), "a dry run writes nothing");

    // The vendor has sent one of them again meanwhile.
    onceward.accepted(&Lead::new(2).sent_by(Source::Desk), "accepted").await;
    let one = rows.last().unwrap()["id"].as_str().unwrap();
    let first = onceward.run(&["--json", "sources", "rejected", "desk", "--retry", "--id", one, "--reason", "mended"]).await;
    assert_eq!(first.json()["taken_in"], 1, "{first:?}");
    let rest = onceward.run(&["--json", "sources", "rejected", "desk", "--retry"]).await;
    assert_eq!((rest.code, &rest.json()["taken_in"]), (0, &json!(2)), "{rest:?}");
    let answered = rest.json();
    let requests = answered["requests"].as_array().unwrap();
    let statuses: Vec<&str> = requests.iter().map(|request| request["events"][0]["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["duplicate", "accepted"]);
    kept(&onceward, "desk", 0).await;
    let again = onceward.run(&["--json", "sources", "rejected", "desk", "--retry"]).await;
    assert_eq!((again.code, &again.json()["taken_in"]), (0, &json!(0)), "{again:?}");
    let gone = onceward.run(&["--json", "sources", "rejected", "desk", "--retry", "--id", one]).await;
    assert_eq!(gone.code, 1, "it is off the list: {gone:?}");

    // They came when they came.
    onceward.until_idle(SOON).await;
    let events = onceward.admin.events().await;
    assert_eq!((events.len(), onceward.crm.leads().await.len()), (3, 3));
    let event = events.iter().find(|event| event["idempotency_key"] == "desk|lead.created|evt-1").unwrap();
    assert_eq!(event["received_at"], rows.last().unwrap()["at"], "{event:#}");
    let whole = onceward.admin.get(&format!("/api/events/{}", event["id"].as_str().unwrap())).await.ok();
    assert_eq!(whole["normalized"]["audit"]["received_at"], event["received_at"]);
    let trace = onceward.admin.trace("desk|lead.created|evt-1").await.unwrap();
    let step = trace["steps"].as_array().unwrap().iter().find(|step| step["step"] == "taken_back").cloned();
    assert!(step.unwrap()["detail"].as_str().unwrap().contains("mended"), "{trace:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_genuine_stays_with_a_fresh_diagnosis() {
    let mut onceward = wrong("").await;
    refused(&onceward, &Lead::new(1).sent_by(Source::Desk)).await;
    let sent = Lead::new(2).sent_by(Source::Desk);
    let answer = post(&onceward.http, &onceward.public, Source::Desk, &headers(&sent, now()), b"{\"forged\":true}".to_vec()).await.unwrap();
    assert_eq!(answer.status, 401);
    let before = kept(&onceward, "desk", 2).await;
    reconfigure(&mut onceward, WRONG, RIGHT);
    let retried = onceward.run(&["--json", "sources", "rejected", "desk", "--retry"]).await;
    assert_eq!((retried.code, &retried.json()["taken_in"], &retried.json()["still_refused"]), (1, &json!(1), &json!(1)), "{retried:?}");
    let left = kept(&onceward, "desk", 1).await.remove(0);
    assert_eq!((&left["id"], &left["reason"]), (&before[0]["id"], &json!("mismatch")));
    let audit = onceward.admin.get("/api/audit").await.ok();
    let actions: Vec<&str> = audit["audit"].as_array().unwrap().iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert!(actions.contains(&"take_back") && actions.contains(&"rejected_retry"), "{actions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_a_crash_cuts_short_and_a_second_one_beside_it_take_each_in_once() {
    const MANY: usize = 240;
    let mut onceward = wrong("[limits]\nrejected_rate = 10000\nrejected_rows = 10000\n").await;
    for number in 1..=MANY as u64 {
        refused(&onceward, &Lead::new(number).sent_by(Source::Desk)).await;
        // Keeping is one at a time, and never holds up an answer: not faster than it can.
        if number % 40 == 0 {
            kept(&onceward, "desk", number as usize).await;
        }
    }
    reconfigure(&mut onceward, WRONG, RIGHT);
    let retrying = {
        let admin = onceward.admin.clone();
        tokio::spawn(async move {
            let request = admin.http.post(format!("{}/api/sources/desk/rejected/retry", admin.base)).bearer_auth(&admin.token);
            request.json(&json!({ "reason": "mended" })).send().await.map(|answer| answer.status().as_u16())
        })
    };
    until("some are taken in", SOON, async || (onceward.admin.events().await.len() > 5).then_some(())).await;
    onceward.kill9();
    let _ = retrying.await.unwrap();
    onceward.restart();
    let before = onceward.admin.events().await.len();
    assert!((5..=MANY).contains(&before), "{before}");

    // Two at once now.
    let (one, two) = tokio::join!(
        onceward.run(&["--json", "sources", "rejected", "desk", "--retry"]),
        onceward.run(&["--json", "sources", "rejected", "desk", "--retry"])
    );
    let taken = [&one, &two].map(|ran| ran.json()["taken_in"].as_u64().unwrap() as usize);
    assert_eq!(before + taken[0] + taken[1], MANY, "{taken:?}");
    kept(&onceward, "desk", 0).await;
    onceward.until_idle(SOON).await;
    let events = onceward.admin.events().await;
    let keys: std::collections::BTreeSet<&str> = events.iter().map(|event| event["idempotency_key"].as_str().unwrap()).collect();
    assert_eq!((events.len(), keys.len()), (MANY, MANY));
    let leads = onceward.crm.leads().await;
    assert_eq!(leads.len(), MANY);
    assert!(leads.iter().all(|lead| lead.creates == 1), "{leads:?}");
}
