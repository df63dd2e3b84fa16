//! One webhook that tells of a company, a contact and a deal: parents first, links, what a failed parent does, and deletions.

use std::time::Duration;

use harness::{Onceward, SOON, Sent, Setup, Source};
use serde_json::{Value, json};

const SHOP: &str = r#"
[sources.shop]
secrets   = [{ env = "DESK_SECRET" }]
signature = { algorithm = "hmac-sha256", header = "x-desk-signature", encoding = "hex", prefix = "sha256=", signed = "{body}" }
shared    = true
[[sources.shop.events]]
when        = "type == 'sold'"
type        = "order.created"
id          = "id"
occurred_at = "at"
[sources.shop.events.fields]
external_id = "buyer.id"
email       = { from = "buyer.email", as = "email" }
last_name   = "buyer.last"
company     = "company.name"
deal_name   = "deal.name"
stage       = { const = "appointmentscheduled" }
[sources.shop.events.identities.company]
external_id = "company.id"
[sources.shop.events.identities.deal]
external_id = "deal.id"
[[sources.shop.events]]
when        = "type == 'gone'"
type        = "contact.deleted"
id          = "id"
occurred_at = "at"
[sources.shop.events.fields]
external_id = "buyer.id"

[destinations.hubspot]
kind         = "hubspot"
base_url     = "{crm}"
auth         = { kind = "bearer", token = { env = "HUBSPOT_TOKEN" } }
call_timeout = "2s"
late_window  = "1s"
[destinations.hubspot.objects.companies]
key    = { field = "crm_ext_id", from = "identities.company.external_id" }
fields = { name = "company" }
[destinations.hubspot.objects.contacts]
key     = { field = "crm_ext_id" }
match   = ["external_id", "email"]
fields  = { email = "email", lastname = "last_name" }
parents = [{ object = "companies" }]
[destinations.hubspot.objects.deals]
key     = { field = "crm_ext_id", from = "identities.deal.external_id" }
fields  = { dealname = "deal_name", dealstage = "stage" }
parents = [{ object = "contacts" }, { object = "companies" }]

[destinations.salesforce.objects.Account]
key    = { field = "Ext_Id__c", from = "identities.company.external_id" }
fields = { Name = "company" }
[destinations.salesforce.objects.Contact]
key     = { field = "Ext_Id__c" }
fields  = { Email = "email", LastName = "last_name" }
parents = [{ object = "Account", field = "AccountId" }]

[[routes]]
source = "shop"
event  = "order.*"
to     = "hubspot"
object = "contacts"
[[routes]]
source = "shop"
event  = "order.*"
to     = "hubspot"
object = "companies"
[[routes]]
source = "shop"
event  = "order.*"
to     = "hubspot"
object = "deals"
[[routes]]
source = "shop"
event  = "order.*"
to     = "salesforce"
object = "Contact"
[[routes]]
source = "shop"
event  = "order.*"
to     = "salesforce"
object = "Account"
[[routes]]
source    = "shop"
event     = "contact.*"
to        = "hubspot"
object    = "contacts"
on_delete = "delete"
[[routes]]
source    = "shop"
event     = "contact.*"
to        = "salesforce"
object    = "Contact"
on_delete = "delete"
"#;

async fn shop(faults: &'static str) -> Onceward {
    Onceward::with(Setup { faults, more: SHOP, ..Setup::default() }).await
}

/// Posts a body of the shop, and returns the event's id.
async fn told(onceward: &Onceward, body: Value) -> String {
    let sent = Sent { source: Source::Desk, id: String::new(), body: body.to_string().into_bytes() };
    let mut request = onceward.http.post(format!("{}/webhooks/shop", onceward.public)).body(sent.body.clone());
    for (name, value) in harness::headers(&sent, harness::now()) {
        request = request.header(name, value);
    }
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["events"][0]["status"], "accepted", "{answer}");
    answer["events"][0]["id"].as_str().unwrap().to_owned()
}

fn sold(id: &str, at: &str, buyer: &str, company: Value, deal: &str) -> Value {
    json!({ "type": "sold", "id": id, "at": at, "buyer": { "id": buyer, "email": format!("{buyer}@example.com"), "last": "Stone" },
        "company": company, "deal": { "id": deal, "name": format!("Deal {deal}") } })
}

/// The records of a CRM's object, live ones only.
async fn records(onceward: &Onceward, crm: &str, object: &str) -> Vec<Value> {
    let url = format!("{}/_sandbox/records", onceward.crm.base);
    let query = [("crm", crm), ("object", object)];
    let all: Vec<Value> = onceward.http.get(url).query(&query).send().await.unwrap().json().await.unwrap();
    all.into_iter().filter(|record| record["deleted"] == false).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_webhook_writes_company_contact_and_deal_and_what_links_them() {
    let onceward = shop("").await;
    let example = json!({ "id": "c1", "name": "Example Ltd" });
    told(&onceward, sold("e1", "2026-11-01T10:00:00Z", "b1", example.clone(), "d1")).await;
    told(&onceward, sold("e2", "2026-11-01T11:00:00Z", "b2", example, "d2")).await;
    onceward.until_idle(SOON).await;
    let dead = onceward.admin.dead_letters().await;
    assert!(dead.is_empty(), "{dead:#?}");
    let (companies, contacts, deals) = (
        records(&onceward, "hubspot", "companies").await,
        records(&onceward, "hubspot", "contacts").await,
        records(&onceward, "hubspot", "deals").await,
    );
    assert_eq!((companies.len(), contacts.len(), deals.len()), (1, 2, 2));
    for contact in &contacts {
        let links = records(&onceward, "hubspot", "contacts>companies").await;
        let linked = |link: &&Value| link["fields"]["from_id"] == contact["id"] && link["fields"]["to_id"] == companies[0]["id"];
        assert_eq!(links.iter().filter(linked).count(), 1, "{links:#?}");
    }
    assert_eq!(records(&onceward, "hubspot", "deals>contacts").await.len(), 2);
    assert_eq!(records(&onceward, "hubspot", "deals>companies").await.len(), 2);
    let accounts = records(&onceward, "salesforce", "Account").await;
    let people = records(&onceward, "salesforce", "Contact").await;
    assert_eq!((accounts.len(), people.len()), (1, 2));
    assert!(people.iter().all(|person| person["fields"]["AccountId"] == accounts[0]["id"]), "{people:#?}");
    // What was written is what is believed, links included.
    let reconciled = onceward.run(&["reconcile", "hubspot", "--all"]).await;
    assert_eq!(reconciled.code, 0, "{reconciled:?}");
    // Parents were written first.
    let calls = onceward.crm.calls(0).await;
    let first =
        |object: &str| calls.iter().position(|call| call.path.contains(&format!("sobjects/{object}")) && call.method == "PATCH").unwrap();
    assert!(first("Account") < first("Contact"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_parent_explains_its_children_and_its_replay_sends_them() {
    let onceward = shop("").await;
    // Salesforce takes no account without a name, and no more than 255 letters of one.
    told(&onceward, sold("e1", "2026-11-01T10:00:00Z", "b1", json!({ "id": "c1", "name": "x".repeat(300) }), "d1")).await;
    onceward.until_idle(SOON).await;
    let dead = onceward.admin.dead_letters().await;
    let of =
        |object: &str| dead.iter().find(|letter| letter["destination"] == "salesforce" && letter["object"] == object).cloned().unwrap();
    assert_eq!(
        (of("Account")["reason"].as_str(), of("Contact")["reason"].as_str()),
        (Some("rejected_by_crm"), Some("parent_failed")),
        "{dead:#?}"
    );
    let parent = of("Account")["id"].as_str().unwrap().to_owned();
    assert!(of("Contact")["message"].as_str().unwrap().contains(&parent));
    let edited = sold("e1", "2026-11-01T10:00:00Z", "b1", json!({ "id": "c1", "name": "Example Ltd" }), "d1");
    let answer = onceward
        .admin
        .post(&format!("/api/dead-letters/{parent}/replay"), &json!({ "reason": "a shorter name", "payload": edited.to_string() }))
        .await
        .ok();
    assert!(answer.is_object());
    onceward.until_idle(SOON).await;
    let people = records(&onceward, "salesforce", "Contact").await;
    let accounts = records(&onceward, "salesforce", "Account").await;
    assert_eq!((people.len(), accounts.len()), (1, 1), "{:#?}", onceward.admin.dead_letters().await);
    assert_eq!(people[0]["fields"]["AccountId"], accounts[0]["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_does_not_come_back_with_what_is_older() {
    let onceward = shop("").await;
    let example = json!({ "id": "c1", "name": "Example Ltd" });
    told(&onceward, sold("e1", "2026-11-01T10:00:00Z", "b1", example.clone(), "d1")).await;
    onceward.until_idle(SOON).await;
    told(&onceward, json!({ "type": "gone", "id": "e2", "at": "2026-11-01T12:00:00Z", "buyer": { "id": "b1" } })).await;
    onceward.until_idle(SOON).await;
    assert_eq!(records(&onceward, "hubspot", "contacts").await.len() + records(&onceward, "salesforce", "Contact").await.len(), 0);
    told(&onceward, sold("e3", "2026-11-01T11:00:00Z", "b1", example.clone(), "d1")).await;
    onceward.until_idle(SOON).await;
    assert_eq!(records(&onceward, "hubspot", "contacts").await.len() + records(&onceward, "salesforce", "Contact").await.len(), 0);
    told(&onceward, sold("e4", "2026-11-01T13:00:00Z", "b1", example, "d1")).await;
    let back =
        async || records(&onceward, "hubspot", "contacts").await.len() == 1 && records(&onceward, "salesforce", "Contact").await.len() == 1;
    onceward.until_idle(SOON).await;
    assert!(back().await, "the newer one makes both anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn families_are_written_once_whatever_becomes_of_the_answers() {
    let faults = "cut-after=0.15,500-after=0.1,cut-before=0.05,500-before=0.05,late=0.1:1s,garbage=0.05,missing=0.1,partial=0.1,lock=0.05";
    let mut onceward = shop(faults).await;
    for round in 0..3 {
        for number in 0..15 {
            let (buyer, company) = (format!("b{number}"), format!("c{}", number % 5));
            let at = format!("2026-11-01T1{round}:00:00Z");
            told(
                &onceward,
                sold(
                    &format!("e{round}-{number}"),
                    &at,
                    &buyer,
                    json!({ "id": company, "name": format!("Name {round}") }),
                    &format!("d{number}"),
                ),
            )
            .await;
        }
        onceward.kill9();
        onceward.restart();
    }
    onceward.until_idle(Duration::from_secs(180)).await;
    let dead = onceward.admin.dead_letters().await;
    assert!(dead.is_empty(), "{} dead letters, such as {:#}", dead.len(), dead[0]);
    for (crm, object, count) in [
        ("hubspot", "companies", 5),
        ("hubspot", "contacts", 15),
        ("hubspot", "deals", 15),
        ("hubspot", "contacts>companies", 15),
        ("hubspot", "deals>contacts", 15),
        ("hubspot", "deals>companies", 15),
        ("salesforce", "Account", 5),
        ("salesforce", "Contact", 15),
    ] {
        let held = records(&onceward, crm, object).await;
        assert_eq!(held.len(), count, "{crm} {object}");
        assert!(held.iter().all(|record| record["creates"] == 1), "{crm} {object}: {held:#?}");
    }
    assert!(records(&onceward, "hubspot", "companies").await.iter().all(|company| company["fields"]["name"] == "Name 2"));
}
