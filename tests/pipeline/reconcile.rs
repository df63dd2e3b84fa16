//! Reconciling: what somebody or something changed in the CRM behind our back is told, put right or believed, and is equal from then on.

use std::time::Duration;

use harness::{Lead, Onceward, Ran, SOON, Setup, Source};
use serde_json::{Value, json};

/// A second Salesforce account, keyed by what is not unique there.
const TWINS: &str = r#"
[destinations.twins]
kind         = "salesforce"
base_url     = "{crm}"
auth         = { kind = "client_credentials", client_id = "onceward", client_secret = { env = "SF_SECRET" } }
late_window  = "1s"
[destinations.twins.objects.Contact]
key    = { field = "Email", from = "identity.email" }
fields = { LastName = "last_name" }

[[routes]]
source = "*"
event  = "lead.*"
to     = "twins"
object = "Contact"
owner  = "sales-ops"
"#;

const HUBSPOT: &str = r#"
[destinations.hubspot]
kind        = "hubspot"
base_url    = "{crm}"
auth        = { kind = "bearer", token = { env = "HUBSPOT_TOKEN" } }
late_window = "1s"
[destinations.hubspot.objects.contacts]
key    = { field = "crm_ext_id", from = "identity.external_id" }
fields = { email = "email", lastname = "last_name", mobilephone = "phone_e164" }

[[routes]]
source = "*"
event  = "lead.*"
to     = "hubspot"
object = "contacts"
"#;

/// Somebody at work in Salesforce.
struct Person<'o>(&'o Onceward, String);

impl<'o> Person<'o> {
    async fn of(onceward: &'o Onceward) -> Self {
        let form = [("grant_type", "client_credentials"), ("client_id", "ann"), ("client_secret", "x")];
        let url = format!("{}/services/oauth2/token", onceward.crm.base);
        let granted: Value = onceward.http.post(url).form(&form).send().await.unwrap().json().await.unwrap();
        Self(onceward, granted["access_token"].as_str().unwrap().to_owned())
    }

    async fn does(&self, method: reqwest::Method, path: &str, body: Option<Value>) {
        let url = format!("{}/services/data/v68.0/sobjects/{path}", self.0.crm.base);
        let mut request = self.0.http.request(method, url).bearer_auth(&self.1);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{path}: {status} {}", answer.text().await.unwrap());
    }
}

async fn reconciled(onceward: &Onceward, more: &[&str]) -> Ran {
    onceward.run(&[&["--json", "reconcile"], more].concat()).await
}

fn counts(ran: &Ran) -> Value {
    let run = &ran.json()["reconciliations"][0];
    let names = ["equal", "missing", "ours", "edited", "duplicated", "busy", "repaired"];
    Value::Object(names.iter().filter(|name| run[**name] != 0).map(|name| ((*name).to_owned(), run[*name].clone())).collect())
}

async fn lead(onceward: &Onceward, number: u64) -> harness::Record {
    onceward.crm.with_email(&format!("person-{number}@example.com")).await.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_behind_our_back_is_told_by_its_cause_put_right_and_clean_afterwards() {
    let onceward = Onceward::with(Setup::default()).await;
    for number in 1..=4 {
        onceward.accepted(&Lead::new(number).sent_by(Source::Forms), "accepted").await;
    }
    onceward.until_idle(SOON).await;
    // The first one's company was Example Ltd before it became this.
    let renamed = Lead { id: "evt-renamed".into(), company: "Renamed Ltd".into(), ..Lead::new(1) };
    onceward.accepted(&renamed.sent_by(Source::Forms), "accepted").await;
    onceward.until_idle(SOON).await;
    let clean = reconciled(&onceward, &["salesforce", "--all"]).await;
    assert_eq!((clean.code, counts(&clean)), (0, json!({ "equal": 4 })), "{clean:?}");

    let person = Person::of(&onceward).await;
    let id = async |number| lead(&onceward, number).await.id;
    person.does(reqwest::Method::PATCH, &format!("Lead/{}", id(1).await), Some(json!({ "Company": "Example Ltd" }))).await;
    person.does(reqwest::Method::PATCH, &format!("Lead/{}", id(2).await), Some(json!({ "Company": "By a person", "Title": "CEO" }))).await;
    person.does(reqwest::Method::DELETE, &format!("Lead/{}", id(3).await), None).await;
    let told = reconciled(&onceward, &["salesforce", "--all"]).await;
    assert_eq!((told.code, counts(&told)), (1, json!({ "equal": 1, "ours": 1, "edited": 1, "missing": 1 })), "{told:?}");
    let findings = told.json()["reconciliations"][0]["findings"].clone();
    assert_eq!((&findings[0]["fields"], &findings[1]["fields"]), (&json!({ "Company": "ours" }), &json!({ "Company": "edited" })));
    let shown = onceward.run(&["reconcile", "salesforce", "--all"]).await;
    assert!(shown.code == 1 && shown.out.contains("Company (edited)") && shown.out.contains("person-3"), "{shown:?}");
    assert_eq!(lead(&onceward, 1).await.text("Company"), "Example Ltd", "who only looks changes nothing");

    let repaired = reconciled(&onceward, &["salesforce", "--all", "--repair", "--reason", "the quarter ends"]).await;
    assert_eq!((repaired.code, counts(&repaired)), (1, json!({ "equal": 1, "ours": 1, "edited": 1, "missing": 1, "repaired": 2 })));
    harness::until("the late value is put right", SOON, async || (lead(&onceward, 1).await.text("Company") == "Renamed Ltd").then_some(()))
        .await;
    onceward.until_idle(SOON).await;
    assert_eq!(lead(&onceward, 2).await.text("Company"), "By a person", "nobody's edit is undone");
    let again = reconciled(&onceward, &["salesforce", "--all", "--repair"]).await;
    assert_eq!(counts(&again), json!({ "equal": 3, "missing": 1 }), "{again:?}");

    let all = reconciled(&onceward, &["salesforce", "--all", "--repair", "all"]).await;
    assert_eq!(counts(&all), json!({ "equal": 3, "missing": 1, "repaired": 1 }), "{all:?}");
    let back =
        harness::until("what was missing is there again", SOON, async || onceward.crm.with_email("person-3@example.com").await.pop()).await;
    assert_eq!((back.text("Company"), back.text("LastName")), ("Example Ltd", "Person3"), "all of it");
    onceward.until_idle(SOON).await;
    let at_last = reconciled(&onceward, &["salesforce", "--all"]).await;
    assert_eq!((at_last.code, counts(&at_last)), (0, json!({ "equal": 4 })), "{at_last:?}");

    // A value that is older than the person's loses against it.
    let older = Lead { id: "evt-older".into(), company: "Too late".into(), at: model::Time::from_seconds(1_700_000_000), ..Lead::new(2) };
    onceward.accepted(&older.sent_by(Source::Forms), "accepted").await;
    onceward.until_idle(SOON).await;
    assert_eq!(lead(&onceward, 2).await.text("Company"), "By a person");

    let trace = onceward.run(&["trace", "person-1"]).await;
    assert!(trace.out.contains("the quarter ends") && trace.out.contains("compared"), "{}", trace.out);
    let audit = onceward.admin.get("/api/audit").await.ok();
    let deeds: Vec<&str> = audit["audit"].as_array().unwrap().iter().filter_map(|row| row["action"].as_str()).collect();
    assert!(deeds.contains(&"reconcile") && deeds.contains(&"repair"), "{deeds:?}");
    let metrics = onceward.admin.metrics().await;
    for series in [
        "onceward_reconcile_records_total{destination=\"salesforce\",result=\"edited\"}",
        "onceward_reconcile_last_timestamp_seconds{destination=\"salesforce\"}",
    ] {
        assert!(metrics.contains(series), "{series} is not in\n{metrics}");
    }
    let runs = onceward.run(&["reconcile", "salesforce", "--runs"]).await;
    assert_eq!((runs.code, runs.out.lines().count()), (0, 8), "{}", runs.out);
    let nobody = onceward.run(&["reconcile", "nobody"]).await;
    assert!(nobody.code == 1 && nobody.err.contains("no destination"), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_in_the_crm_is_a_dead_letter_until_somebody_has_merged_it() {
    let onceward = Onceward::with(Setup { more: TWINS, ..Setup::default() }).await;
    onceward.accepted(&Lead::new(1).sent_by(Source::Forms), "accepted").await;
    onceward.until_idle(SOON).await;
    let person = Person::of(&onceward).await;
    person.does(reqwest::Method::POST, "Contact", Some(json!({ "LastName": "Twin", "Email": "person-1@example.com" }))).await;
    let told = reconciled(&onceward, &["twins"]).await;
    assert_eq!((told.code, counts(&told)), (1, json!({ "duplicated": 1 })), "{told:?}");
    assert!(onceward.admin.dead_letters().await.is_empty());
    for _ in 0..2 {
        let held = reconciled(&onceward, &["twins", "--repair"]).await;
        assert_eq!(counts(&held), json!({ "duplicated": 1 }), "{held:?}");
    }
    let letters = onceward.admin.dead_letters().await;
    assert_eq!((letters.len(), &letters[0]["reason"], &letters[0]["owner"]), (1, &json!("ambiguous_match"), &json!("sales-ops")));
    let records = onceward.crm.contacts_of_salesforce().await;
    let twin = records.iter().find(|record| record.text("LastName") == "Twin").unwrap();
    person.does(reqwest::Method::DELETE, &format!("Contact/{}", twin.id), None).await;
    let id = letters[0]["id"].as_str().unwrap();
    let replayed = onceward.run(&["dead-letters", "replay", id, "--reason", "merged"]).await;
    assert_eq!(replayed.code, 0, "{replayed:?}");
    onceward.until_idle(SOON).await;
    assert!(onceward.admin.dead_letters().await.is_empty());
    let clean = reconciled(&onceward, &["twins"]).await;
    assert_eq!((clean.code, counts(&clean)), (0, json!({ "equal": 1 })), "{clean:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_crm_makes_of_our_values_is_never_repaired_for_ever() {
    let onceward = Onceward::with(Setup { more: HUBSPOT, ..Setup::default() }).await;
    let lead = Lead { email: "Person-1@example.com".into(), phone: Some("+14155550100".into()), ..Lead::new(1) };
    onceward.accepted(&lead.sent_by(Source::Desk), "accepted").await;
    onceward.until_idle(SOON).await;
    let contact = async || onceward.crm.contacts().await.remove(0);
    let written = contact().await;
    assert_eq!((written.text("email"), written.text("mobilephone")), ("person-1@example.com", "+1 (415) 555-0100"));
    // The address is equal as HubSpot sees it. The number is written once more, and then believed as HubSpot keeps it.
    let first = reconciled(&onceward, &["hubspot", "--repair", "all"]).await;
    assert_eq!(first.json()["reconciliations"][0]["findings"][0]["fields"], json!({ "mobilephone": "edited" }), "{first:?}");
    harness::until("it is written once more", SOON, async || (contact().await.writes == 2).then_some(())).await;
    onceward.until_idle(SOON).await;
    for round in 0..3 {
        reconciled(&onceward, &["hubspot", "--repair", "all"]).await;
        tokio::time::timeout(Duration::from_secs(10), onceward.until_idle(SOON)).await.unwrap();
        assert_eq!(contact().await.writes, 2, "round {round}");
    }
    let clean = reconciled(&onceward, &["hubspot"]).await;
    assert_eq!((clean.code, counts(&clean)), (0, json!({ "equal": 1 })), "{clean:?}");
    // The same number again is no change.
    let again = Lead { id: "evt-again".into(), ..lead };
    onceward.accepted(&again.sent_by(Source::Desk), "accepted").await;
    onceward.until_idle(SOON).await;
    assert_eq!(contact().await.text("mobilephone"), "+1 (415) 555-0100");
}
