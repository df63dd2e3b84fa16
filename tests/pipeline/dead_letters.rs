//! What ends badly: on a list that a person owns, with a reason and a remedy, and a way back.

use harness::{Lead, Onceward, SOON, Sent, Setup, Source, until};
use serde_json::{Value, json};

/// A lead that the CRM refuses: its address is none.
fn refused(number: u64) -> Sent {
    let mut lead = Lead::new(number);
    lead.phone = Some("+14155550100".to_owned());
    lead.company = "x".repeat(300);
    lead.sent_by(Source::Forms)
}

async fn dead(onceward: &Onceward, sent: &Sent) -> (String, Value) {
    let event = onceward.accepted(sent, "accepted").await;
    onceward.until_status(&event, "failed").await;
    let all = onceward.admin.dead_letters().await;
    let row = all.into_iter().find(|row| row["event"] == event.as_str()).unwrap();
    (event, row)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lead_that_the_crm_refuses_has_a_reason_an_owner_and_a_remedy() {
    let onceward = Onceward::start().await;
    let (event, row) = dead(&onceward, &refused(1)).await;
    assert_eq!(row["reason"], "rejected_by_crm", "{row:#}");
    assert_eq!(row["owner"], "sales-ops");
    assert_eq!(row["class"], "permanent");
    assert_eq!(row["attempts"], 1, "what can never succeed is tried once: {row:#}");
    assert!(row["message"].as_str().unwrap().contains("Company"), "in the CRM's words: {row:#}");
    assert!(row["remedy"].as_str().is_some_and(|remedy| remedy.len() > 10), "{row:#}");
    assert_eq!(row["idempotency_key"], "forms|lead.created|evt-1");
    assert!(onceward.crm.leads().await.is_empty());
    let metrics = onceward.admin.metrics().await;
    let gauge = metrics.lines().find(|line| line.starts_with("onceward_dead_letters{") && line.contains("rejected_by_crm"));
    assert!(gauge.is_some_and(|line| line.ends_with(" 1")), "{gauge:?}");

    // The neighbour in the same batch is not held back.
    let good = onceward.accepted(&Lead::new(2).sent_by(Source::Forms), "accepted").await;
    onceward.until_status(&good, "succeeded").await;

    // The same webhook again is a duplicate of a dead letter, not a second chance.
    assert_eq!(onceward.accepted(&refused(1), "duplicate").await, event);
    assert_eq!(onceward.admin.dead_letters().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_needs_a_reason_a_role_and_a_dead_letter() {
    let onceward = Onceward::with(Setup {
        more: "[[admin.tokens]]\nname = \"vera\"\nrole = \"viewer\"\ntoken = { env = \"VIEWER_TOKEN\" }\n\
               [[admin.tokens]]\nname = \"otto\"\nrole = \"operator\"\ntoken = { env = \"OPERATOR_TOKEN\" }",
        ..Setup::default()
    });
    let mut onceward = onceward.await;
    let viewer = onceward.admin.as_token(harness::ENVIRONMENT[5].1);
    onceward.admin = onceward.admin.as_token(harness::ENVIRONMENT[6].1);
    let (event, row) = dead(&onceward, &refused(1)).await;
    let id = row["id"].as_str().unwrap();

    // Rows 114, 115, 117 of the bad inputs.
    assert_eq!(onceward.admin.replay("dlv_0000000000000", "why not").await.status, 404);
    assert_eq!(onceward.admin.replay("nonsense", "why not").await.status, 400);
    let path = format!("/api/dead-letters/{id}/replay");
    assert_eq!(onceward.admin.post(&path, &json!({})).await.status, 422);
    assert_eq!(onceward.admin.post(&path, &json!({ "reason": "  " })).await.status, 422);
    assert_eq!(viewer.replay(id, "may I?").await.status, 403);
    assert_eq!(onceward.admin.as_token("guess").replay(id, "may I?").await.status, 401);
    assert_eq!(onceward.status(&event).await, "failed", "nothing was changed");

    // One that ended well is no dead letter.
    let good = onceward.accepted(&Lead::new(2).sent_by(Source::Forms), "accepted").await;
    onceward.until_status(&good, "succeeded").await;
    let delivery =
        onceward.admin.get(&format!("/api/events/{good}")).await.ok()["event"]["deliveries"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(onceward.admin.replay(&delivery, "again").await.status, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_who_replay_at_once_replay_once() {
    let onceward = Onceward::start().await;
    let (event, row) = dead(&onceward, &refused(1)).await;
    let id = row["id"].as_str().unwrap().to_owned();
    // Held, so that the winner's delivery is still on its way when the loser asks.
    onceward.admin.post("/api/destinations/salesforce/pause", &json!({ "reason": "a test" })).await.ok();
    let (one, other) = tokio::join!(onceward.admin.replay(&id, "mended"), onceward.admin.replay(&id, "mended too"));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{one:?} {other:?}");
    let answer = onceward.admin.get(&format!("/api/events/{event}")).await.ok();
    assert_eq!(answer["event"]["deliveries"][0]["generation"], 2, "{answer:#}");
    let audit = onceward.admin.get("/api/audit?limit=100").await.ok();
    let replays: Vec<&Value> = audit["audit"].as_array().unwrap().iter().filter(|row| row["action"] == "replay").collect();
    assert_eq!(replays.len(), 1, "{audit:#}");
    assert!(replays[0]["actor"].is_string() && replays[0].to_string().contains("mended"), "{audit:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_payload_goes_through_under_the_same_key() {
    let onceward = Onceward::start().await;
    let (event, row) = dead(&onceward, &refused(1)).await;
    let id = row["id"].as_str().unwrap();
    let mut mended: Value = serde_json::from_slice(&refused(1).body).unwrap();
    mended["data"]["company"] = json!("Example Ltd");
    let body = json!({ "reason": "the company was the whole imprint", "payload": mended });
    onceward.admin.post(&format!("/api/dead-letters/{id}/replay"), &body).await.ok();
    let lead = until("the mended lead is in the CRM", SOON, async || onceward.crm.leads().await.pop()).await;
    assert_eq!(lead.text("Company"), "Example Ltd");
    until("no dead letter is left", SOON, async || onceward.admin.dead_letters().await.is_empty().then_some(())).await;
    let trace = onceward.admin.trace("forms|lead.created|evt-1").await.unwrap();
    assert_eq!(trace["events"].as_array().unwrap().len(), 1, "the same event under the same key: {trace:#}");
    assert_eq!(trace["events"][0]["id"], event.as_str());
    // And the vendor's copy is still a duplicate.
    onceward.accepted(&refused(1), "duplicate").await;
    onceward.until_idle(SOON).await;
    assert_eq!(onceward.crm.leads().await[0].text("Company"), "Example Ltd");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_can_be_given_to_somebody_and_closed() {
    let onceward = Onceward::start().await;
    let (event, row) = dead(&onceward, &refused(1)).await;
    let id = row["id"].as_str().unwrap();
    let given = onceward.run(&["--json", "dead-letters", "assign", id, "--owner", "ann", "--reason", "her customer"]).await;
    assert_eq!(given.code, 0, "{given:?}");
    assert_eq!(onceward.admin.dead_letters().await[0]["owner"], "ann");
    let closed = onceward.run(&["--json", "dead-letters", "resolve", id, "--reason", "entered by hand"]).await;
    assert_eq!(closed.code, 0, "{closed:?}");
    assert!(onceward.admin.dead_letters().await.is_empty());
    assert_eq!(onceward.status(&event).await, "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_genuine_and_unusable_is_kept_for_a_person() {
    let onceward = Onceward::start().await;
    let sent = |id: &str, body: &[u8]| Sent { source: Source::Forms, id: id.to_owned(), body: body.to_vec() };
    let nobody =
        json!({ "type": "lead.created", "timestamp": harness::now().to_string(), "data": { "last_name": "Nobody", "company": "None" } });
    for (id, body, reason) in [
        ("evt-json", b"{\"type\": ".to_vec(), "unparseable"),
        ("evt-type", b"{\"type\": \"moon.risen\", \"data\": {}}".to_vec(), "unmapped"),
        ("evt-nobody", nobody.to_string().into_bytes(), "missing_identity"),
    ] {
        let event = onceward.accepted(&sent(id, &body), "dead_letter").await;
        let dead = onceward.admin.dead_letters().await.into_iter().find(|row| row["event"] == event.as_str());
        assert_eq!(dead.unwrap()["reason"], reason, "{id}");
    }
    // The same id with other content is not taken for a duplicate.
    onceward.accepted(&Lead::new(1).sent_by(Source::Forms), "accepted").await;
    let mut other = Lead::new(2);
    other.id = "evt-1".to_owned();
    let event = onceward.accepted(&other.sent_by(Source::Forms), "dead_letter").await;
    let dead = onceward.admin.dead_letters().await.into_iter().find(|row| row["event"] == event.as_str()).unwrap();
    assert_eq!((&dead["reason"], &dead["status"]), (&json!("key_conflict"), &json!("quarantined")), "{dead:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_fit_a_filter_are_replayed_and_a_wrong_filter_is_refused() {
    let onceward = Onceward::start().await;
    for number in 1..=3 {
        dead(&onceward, &refused(number)).await;
    }
    let filter = ["--json", "replay", "--where", "reason=rejected_by_crm", "--reason", "the CRM takes long names now"];
    let dry = onceward.run(&[filter.as_slice(), &["--dry-run"]].concat()).await;
    assert_eq!((dry.code, &dry.json()["matched"]), (0, &json!(3)), "{dry:?}");
    let through = onceward.run(&filter).await;
    assert_eq!((through.code, &through.json()["reopened"]), (0, &json!(3)), "{through:?}");
    onceward.until_idle(SOON).await;
    let again = onceward.admin.dead_letters().await;
    assert_eq!(again.len(), 3, "the CRM still refuses them: {again:?}");
    // More than a thousand want their count said; a wrong one is refused at once.
    let wrong = json!({ "filter": { "reason": "rejected_by_crm" }, "reason": "again", "confirm": 2 });
    let wrong = onceward.admin.post("/api/replays", &wrong).await;
    assert!([202, 409].contains(&wrong.status), "{wrong:?}");
    // Row 120: a filter that is none is refused.
    for filter in ["reason='; drop table delivery", "colour=red", "since=yesterday"] {
        let path = format!("/api/dead-letters?{}", filter.replace(' ', "%20"));
        assert_eq!(onceward.admin.get(&path).await.status, 400, "{filter}");
    }
}
