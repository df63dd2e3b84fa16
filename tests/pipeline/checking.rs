//! `onceward destinations check` and `setup`: what a CRM says of its objects against what is configured.

use harness::{Onceward, Ran, Setup};
use serde_json::{Value, json};

/// Two accounts that were set up by somebody in a hurry.
const HURRIED: &str = r#"
[destinations.hurried]
kind     = "salesforce"
base_url = "{crm}"
auth     = { kind = "client_credentials", client_id = "onceward", client_secret = { env = "SF_SECRET" } }
[destinations.hurried.objects.Contact]
key    = { field = "Persons_Key__c" }
fields = { LastName = "last_name", Frist = "first_name", FirstName = "first_name", Name = "company", MailingPostalCode = "occurred_at", DoNotCall = "job_title" }

[destinations.hubspot]
kind     = "hubspot"
base_url = "{crm}"
auth     = { kind = "bearer", token = { env = "HUBSPOT_TOKEN" } }
[destinations.hubspot.objects.contacts]
key    = { field = "persons_key" }
fields = { email = "email", lastname = "last_name", hs_lead_status = { const = "OPNE" } }
[destinations.hubspot.objects.companies]
key    = { field = "loose_key" }
fields = { name = "company", annualrevenue = "job_title" }

[[routes]]
event  = "lead.*"
to     = "hurried"
object = "Contact"
[[routes]]
event  = "lead.*"
to     = "hubspot"
object = "contacts"
[[routes]]
event  = "lead.*"
to     = "hubspot"
object = "companies"
"#;

/// What was found, by key.
fn findings(ran: &Ran) -> Vec<(String, String)> {
    let found = ran.json()["findings"].as_array().unwrap().clone();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    found.iter().map(|row| (text(row, "key"), format!("{}; {}", text(row, "found"), text(row, "remedy")))).collect()
}

fn assert_found(ran: &Ran, expected: &[(&str, &str)]) {
    let found = findings(ran);
    assert_eq!((ran.code, found.len()), (1, expected.len()), "{found:#?}");
    for (key, said) in expected {
        let text = found.iter().find(|(held, _)| held == key).unwrap_or_else(|| panic!("nothing of {key}: {found:#?}"));
        assert!(text.1.contains(said), "{key}: {}", text.1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_checked_against_what_the_crm_says_of_them() {
    let onceward = Onceward::with(Setup { more: HURRIED, ..Setup::default() }).await;
    // Written once, so that the account has the key of the others.
    onceward.accepted(&harness::Lead::new(1).sent_by(harness::Source::Forms), "accepted").await;
    let lead = harness::until("the lead is there", harness::SOON, async || onceward.crm.leads().await.pop()).await;
    assert_eq!(lead.creates, 1);
    let well = onceward.run(&["--json", "destinations", "check", "salesforce"]).await;
    assert_eq!((well.code, well.json()["fields"].as_u64()), (0, Some(7)), "{well:?}");

    let at = |name: &str| format!("destinations.hurried.objects.Contact.fields.{name}");
    let (frist, name, zip, call) = (at("Frist"), at("Name"), at("MailingPostalCode"), at("DoNotCall"));
    let ran = onceward.run(&["--json", "destinations", "check", "hurried"]).await;
    assert_found(
        &ran,
        &[
            (&frist, "no field `Frist`"),
            (&name, "cannot be written"),
            (&zip, "holds 20 characters, and may be given 27"),
            (&call, "takes yes or no, and is given text"),
        ],
    );
    let shown = onceward.run(&["destinations", "check", "hurried", "--object", "Contact"]).await;
    assert!(shown.code == 1 && shown.out.contains("remedy:") && shown.out.contains("4 of 7 fields do not fit"), "{shown:?}");
    let nobody = onceward.run(&["destinations", "check", "hurried", "--object", "Lead"]).await;
    assert!(nobody.code == 1 && nobody.err.contains("there are `Contact`"), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_made_where_the_crm_allows_it_once() {
    let onceward = Onceward::with(Setup { more: HURRIED, ..Setup::default() }).await;
    // Somebody made this one without unique values, which HubSpot does not change.
    let loose = json!({ "name": "loose_key", "label": "Key", "groupName": "companyinformation", "type": "string", "fieldType": "text" });
    let url = format!("{}/crm/v3/properties/companies", onceward.crm.base);
    let made = onceward.http.post(&url).bearer_auth("x").json(&loose).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let changed =
        onceward.http.patch(format!("{url}/loose_key")).bearer_auth("x").json(&json!({ "hasUniqueValue": true })).send().await.unwrap();
    assert_eq!(changed.status(), 400, "it is settled when a property is made");

    let key = "destinations.hubspot.objects.contacts.key.field";
    let ran = onceward.run(&["--json", "destinations", "check", "hubspot"]).await;
    let expected = [
        ("destinations.hubspot.objects.companies.key.field", "not unique"),
        ("destinations.hubspot.objects.companies.fields.annualrevenue", "takes a number, and is given text"),
        (key, "onceward destinations setup"),
        ("destinations.hubspot.objects.contacts.fields.hs_lead_status", "`OPEN` is one of them"),
    ];
    assert_found(&ran, &expected);

    let asked = onceward.run(&["destinations", "setup", "hubspot", "--object", "contacts"]).await;
    assert!(asked.code == 1 && asked.err.contains("\"hasUniqueValue\":true") && asked.err.contains("--yes"), "{asked:?}");
    assert!(
        findings(&onceward.run(&["--json", "destinations", "check", "hubspot"]).await).iter().any(|(held, _)| held == key),
        "nothing was sent"
    );
    let made = onceward.run(&["destinations", "setup", "hubspot", "--object", "contacts", "--yes"]).await;
    assert!(made.code == 0 && made.out.contains("`persons_key` was made"), "{made:?}");
    let again = onceward.run(&["--json", "destinations", "setup", "hubspot", "--object", "contacts", "--yes"]).await;
    assert_eq!((again.code, &again.json()["objects"][0]["result"]), (0, &json!("there")), "{again:?}");
    assert!(!findings(&onceward.run(&["--json", "destinations", "check", "hubspot"]).await).iter().any(|(held, _)| held == key));
    let companies = onceward.run(&["destinations", "setup", "hubspot", "--object", "companies", "--yes"]).await;
    assert!(companies.code == 1 && companies.out.contains("name another field"), "{companies:?}");

    let salesforce = onceward.run(&["destinations", "setup", "hurried"]).await;
    assert!(
        salesforce.code == 1 && salesforce.out.contains("Object Manager") && salesforce.out.contains("tooling/sobjects/CustomField"),
        "{salesforce:?}"
    );
    assert!(!onceward.log().contains("pat-canary"), "the token is in no log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_says_what_its_connector_promises() {
    let onceward = Onceward::with(Setup { more: HURRIED, ..Setup::default() }).await;
    let shown = onceward.run(&["destinations", "show", "salesforce"]).await;
    for part in ["level B", "200 written", "`created` of each result", "cannot"] {
        assert!(shown.code == 0 && shown.out.contains(part), "{part}: {shown:?}");
    }
    let json = onceward.run(&["--json", "destinations", "show", "hubspot"]).await.json();
    assert_eq!((&json["connector"]["level"], &json["connector"]["records_per_write"]), (&json!("B"), &json!(100)));
}
