//! HubSpot beside Salesforce: each webhook ends as one lead there and as one contact here, whatever becomes of the answers.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::{Lead, Onceward, SOON, Setup, Source, until};
use serde_json::{Value, json};

/// Everything goes to both. Quota and schedule are those of nobody: time is short here, half of the calls fail, and a minute between attempts would outlast the test.
const BOTH: &str = r#"
[destinations.hubspot]
kind         = "hubspot"
base_url     = "{crm}"
auth         = { kind = "bearer", token = { env = "HUBSPOT_TOKEN" } }
call_timeout = "1s"
late_window  = "2s"
quota        = { calls = 17, concurrency = 4 }
breaker      = { failures = 5, probe = "1s", probe_max = "1s" }
schedule     = ["0s", "0s", "0s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s"]
[destinations.hubspot.objects.contacts]
key    = { field = "crm_ext_id", from = "identity.external_id" }
match  = ["external_id", "email"]
fields = { email = "email", firstname = "first_name", lastname = "last_name", phone = "phone_e164", jobtitle = "job_title", hs_lead_status = "company" }

[[routes]]
source = "*"
event  = "lead.*"
to     = "hubspot"
object = "contacts"
owner  = "marketing"
"#;

async fn both(faults: &'static str) -> Onceward {
    Onceward::with(Setup { faults, more: BOTH, ..Setup::default() }).await
}

/// A person whose company HubSpot takes for a lead's status.
fn person(number: u64) -> Lead {
    Lead { company: "OPEN".to_owned(), ..Lead::new(number) }
}

async fn state(onceward: &Onceward, destination: &str) -> String {
    onceward.admin.destination(destination).await["state"].as_str().unwrap().to_owned()
}

/// An event's deliveries by destination: status and outcome.
async fn deliveries(onceward: &Onceward, event: &str) -> BTreeMap<String, (String, Value)> {
    let answer = onceward.admin.get(&format!("/api/events/{event}")).await.ok();
    let row = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        (text("destination"), (text("status"), row["outcome"].clone()))
    };
    answer["event"]["deliveries"].as_array().unwrap().iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_ends_as_one_lead_and_one_contact() {
    let onceward = both("").await;
    let lead = person(1);
    let event = onceward.accepted(&lead.sent_by(Source::Forms), "accepted").await;
    onceward.accepted(&lead.sent_by(Source::Forms), "duplicate").await;
    onceward.until_idle(SOON).await;
    for (destination, delivery) in deliveries(&onceward, &event).await {
        assert_eq!(delivery, ("succeeded".to_owned(), json!("applied")), "{destination}");
    }
    let contacts = onceward.crm.contacts().await;
    assert_eq!((contacts.len(), onceward.crm.leads().await.len()), (1, 1));
    let contact = &contacts[0];
    assert_eq!((contact.key.as_deref(), contact.creates, contact.writes), (Some("person-1"), 1, 1));
    assert_eq!((contact.text("email"), contact.text("lastname"), contact.text("crm_ext_id")), (lead.email.as_str(), "Person1", "person-1"));

    // The same person from elsewhere, known by the address alone, meets the same contact.
    let mut other = Lead { person: None, phone: Some("+14155550100".to_owned()), ..person(1) };
    other.id = "evt-other".to_owned();
    onceward.accepted(&other.sent_by(Source::Desk), "accepted").await;
    onceward.until_idle(SOON).await;
    let contacts = onceward.crm.contacts().await;
    assert_eq!((contacts.len(), contacts[0].creates, contacts[0].writes), (1, 1, 2));
    assert_eq!(contacts[0].text("phone"), "+14155550100");

    let trace = onceward.run(&["trace", &lead.email]).await;
    for part in ["hubspot contacts", "salesforce Lead", contacts[0].id.as_str()] {
        assert!(trace.out.contains(part), "{part} is not in\n{}", trace.out);
    }
    let probe = onceward.run(&["--json", "destinations", "probe", "hubspot"]).await;
    assert_eq!(probe.code, 0, "{probe:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_that_people_made_is_updated_and_not_made_again() {
    let onceward = both("").await;
    let made = json!({ "inputs": [{ "id": "person-1", "idProperty": "crm_ext_id", "objectWriteTraceId": "0",
        "properties": { "lastname": "Person1", "firstname": "Ada", "email": "person-1@example.com" } }] });
    let url = format!("{}/crm/v3/objects/contacts/batch/upsert", onceward.crm.base);
    let answer = onceward.http.post(url).bearer_auth("x").json(&made).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    onceward.accepted(&Lead { title: Some(Some("CEO".to_owned())), ..person(1) }.sent_by(Source::Forms), "accepted").await;
    onceward.until_idle(SOON).await;
    let contacts = onceward.crm.contacts().await;
    assert_eq!((contacts.len(), contacts[0].creates, contacts[0].writes), (1, 1, 2));
    assert_eq!((contacts[0].text("firstname"), contacts[0].text("jobtitle")), ("Ada", "CEO"), "what was there was read first");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_the_answers_nobody_is_created_twice() {
    let faults = "hubspot.cut-after=0.15,hubspot.500-after=0.1,hubspot.cut-before=0.05,hubspot.500-before=0.05,hubspot.late=0.1:1s,\
                  hubspot.garbage=0.05,hubspot.missing=0.1,hubspot.partial=0.1,hubspot.lock=0.05,hubspot.empty=0.05,hubspot.limit=0";
    let mut onceward = both(faults).await;
    let mut events = Vec::new();
    for round in 0..4 {
        for number in 0..60 {
            // Each person is spoken of four times, later each time.
            let mut lead = person(number);
            lead.id = format!("evt-{round}-{number}");
            lead.last = format!("Last{round}");
            events.push(onceward.accepted(&lead.sent_by(Source::Forms), "accepted").await);
        }
        onceward.kill9();
        onceward.restart();
    }
    onceward.until_idle(Duration::from_secs(120)).await;
    let dead = onceward.admin.dead_letters().await;
    assert!(dead.is_empty(), "{} dead letters, such as {:#}", dead.len(), dead[0]);
    let contacts = onceward.crm.contacts().await;
    assert_eq!(contacts.len(), 60);
    for contact in &contacts {
        assert_eq!((contact.creates, contact.text("lastname")), (1, "Last3"), "{contact:?}");
    }
    for event in events {
        for (destination, (status, _)) in deliveries(&onceward, &event).await {
            assert_eq!(status, "succeeded", "{event} to {destination}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_that_hubspot_refuses_is_a_dead_letter_and_its_neighbours_are_not() {
    let onceward = both("").await;
    onceward.admin.post("/api/destinations/hubspot/pause", &json!({ "reason": "so that they share a call" })).await.ok();
    for number in 0..20 {
        let company = if number == 7 { "Example Ltd" } else { "OPEN" };
        onceward.accepted(&Lead { company: company.to_owned(), ..person(number) }.sent_by(Source::Forms), "accepted").await;
    }
    onceward.admin.post("/api/destinations/hubspot/resume", &json!({ "reason": "go" })).await.ok();
    onceward.until_idle(SOON).await;
    assert_eq!((onceward.crm.contacts().await.len(), onceward.crm.leads().await.len()), (19, 20));
    let row = onceward.dead_letter().await;
    assert_eq!(
        (&row["reason"], &row["class"], &row["owner"]),
        (&json!("rejected_by_crm"), &json!("permanent"), &json!("marketing")),
        "{row:#}"
    );
    let message = row["message"].as_str().unwrap();
    assert!(message.contains("INVALID_OPTION") && message.contains("hs_lead_status") && !message.contains("Example Ltd"), "{message}");
    let writes: Vec<_> = onceward.crm.calls(0).await.into_iter().filter(|call| call.path.ends_with("/contacts/batch/upsert")).collect();
    assert_eq!((writes.len(), writes[0].records.len(), writes[0].status), (1, 20, Some(207)), "one call, and each is told for itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_stops_hubspot_alone_and_a_resume_loses_nothing() {
    let onceward = both("hubspot.expired-token=1").await;
    for number in 0..10 {
        onceward.accepted(&person(number).sent_by(Source::Forms), "accepted").await;
    }
    until("hubspot no longer takes our token", SOON, async || (state(&onceward, "hubspot").await == "auth_failed").then_some(())).await;
    until("salesforce has all", SOON, async || (onceward.crm.leads().await.len() == 10).then_some(())).await;
    assert_eq!(state(&onceward, "salesforce").await, "active");
    assert_eq!(onceward.admin.destination("hubspot").await["open"], 10);
    onceward.crm.misbehave(json!({})).await;
    onceward.admin.post("/api/destinations/hubspot/resume", &json!({ "reason": "the token is right again" })).await.ok();
    onceward.until_idle(SOON).await;
    assert_eq!(onceward.crm.contacts().await.len(), 10);
    assert!(onceward.admin.dead_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_pauses_hubspot_alone_and_costs_no_attempt() {
    let onceward = both("").await;
    onceward.crm.misbehave(json!({ "hubspot.429": "1:2s" })).await;
    for number in 0..10 {
        onceward.accepted(&person(number).sent_by(Source::Forms), "accepted").await;
    }
    until("hubspot is throttled", SOON, async || (state(&onceward, "hubspot").await == "throttled").then_some(())).await;
    until("salesforce has all", SOON, async || (onceward.crm.leads().await.len() == 10).then_some(())).await;
    onceward.crm.misbehave(json!({})).await;
    onceward.until_idle(SOON).await;
    assert_eq!(onceward.crm.contacts().await.len(), 10);
    assert!(onceward.admin.dead_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_demo_leads_go_to_salesforce_and_customers_to_hubspot() {
    let onceward = Onceward::demo().await;
    for source in ["demo", "typeform", "stripe"] {
        let sent = onceward.run(&["--json", "send", "--source", source, "sample"]).await.json();
        assert_eq!(sent["answer"]["events"][0]["status"], "accepted", "{sent}");
    }
    onceward.until_idle(SOON).await;
    let (leads, contacts) = (onceward.crm.leads().await, onceward.crm.contacts().await);
    assert_eq!((leads.len(), contacts.len()), (1, 1), "{leads:?} {contacts:?}");
    assert_eq!((leads[0].text("Email"), contacts[0].text("email")), ("ada@example.com", "ada@example.com"));
    assert!(contacts[0].key.as_deref().is_some_and(|key| key.starts_with("stripe:cus_")), "{contacts:?}");
    assert!(onceward.admin.dead_letters().await.is_empty());
}
