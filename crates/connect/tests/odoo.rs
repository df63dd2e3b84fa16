//! Odoo's connector against the sandbox that speaks its dialect, over real sockets.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are a test too")]

mod support;

use model::event::Mode;
use model::record::Link;
use model::{Class, Reason, Scope};
use onceward_connect::{Kind, WriteRecord};
use sandbox::Options;
use serde_json::json;

use support::{Crm, NOW, failure, record, sought};

const PARTNER: (&str, &str) = ("res.partner", "id");

async fn odoo(faults: &str) -> Crm {
    Crm::new(Kind::Odoo, faults, PARTNER).await
}

#[tokio::test]
async fn a_hundred_partners_are_one_call_and_the_same_again_creates_none() {
    let crm = odoo("").await;
    let all: Vec<WriteRecord> =
        (0..100).map(|at| record(&format!("demo:{at}"), json!({ "name": format!("Partner {at}"), "city": "Rome" }))).collect();
    let first = crm.write(Mode::Upsert, all.clone()).await.result.unwrap();
    let again = crm.write(Mode::Upsert, all).await.result.unwrap();
    assert_eq!((first, crm.calls()), (again, 2));
    assert!(crm.records().len() == 100 && crm.records().iter().all(|held| held.creates == 1));
    assert_eq!(crm.client.probe(NOW).await, Ok(()));
}

#[tokio::test]
async fn what_was_written_is_read_back_in_steps_and_is_the_same() {
    let crm = odoo("").await;
    let companies = crm.with_object("res.partner:company", "id");
    let company = companies
        .write(Mode::Upsert, vec![record("deco", json!({ "name": "Deco", "is_company": true }))])
        .await
        .result
        .unwrap()
        .remove(0)
        .unwrap();
    let link = |id: Option<String>| {
        Link { object: "res.partner:company".into(), key_field: "id".into(), key: "deco".into(), crm_id: id }.to_value()
    };
    let leads = crm.with_object("crm.lead", "id");
    let fields = json!({ "name": "Lead", "type": "opportunity", "expected_revenue": "12.5", "date_deadline": "2026-12-01",
        "date_open": "2026-11-22T19:04:00+01:00", "email_from": "a@example.com", "phone": null, "partner_id": link(None) });
    let made = leads.write(Mode::Upsert, vec![record("l/1", fields.clone())]).await.result.unwrap().remove(0).unwrap();
    let names: Vec<&str> = fields.as_object().unwrap().keys().map(String::as_str).collect();
    let before = crm.calls();
    let found = leads.read(&names, vec![sought("l/1", None), sought("l/2", None)]).await;
    assert_eq!((found.calls, crm.calls() - before), (2, 2), "external ids, then the model");
    let found = found.result.unwrap();
    let lead = found[0].clone().unwrap().unwrap();
    for (name, sent) in fields.as_object().unwrap().iter().filter(|(name, _)| *name != "partner_id") {
        assert!(crm.client.connector().equal(name, sent, &lead.fields[name]), "{name}: {}", lead.fields[name]);
    }
    assert!(crm.client.connector().equal("partner_id", &link(company.crm_id), &lead.fields["partner_id"]));
    assert_eq!((Some(lead.crm_id), lead.modified_at, &found[1]), (made.crm_id.clone(), Some(NOW), &Ok(None)));
    let known = leads.read(&["name"], vec![sought("l/1", made.crm_id.as_deref())]).await;
    assert_eq!((known.calls, known.result.unwrap()[0].as_ref().unwrap().is_some()), (1, true), "one step where the id is known");
    assert_eq!(leads.read(&["name"], vec![sought("nobody", None)]).await.calls, 1, "and where there is nothing to read");
    let told = crm.client.describe("res.partner:company", NOW).await.unwrap();
    assert!(told.fields["id"].unique && told.fields["name"].required);
}

#[tokio::test]
async fn each_mode_does_what_it_says() {
    let crm = odoo("").await;
    let made = crm.write(Mode::CreateOnly, vec![record("a", json!({ "name": "Ada" }))]).await.result.unwrap().remove(0).unwrap();
    assert_eq!(made.created, Some(true));
    let with_id = |fields| WriteRecord { crm_id: made.crm_id.clone(), ..record("a", fields) };
    let updated = crm.write(Mode::UpdateOnly, vec![with_id(json!({ "city": "Rome" }))]).await.result.unwrap().remove(0).unwrap();
    assert_eq!((updated.crm_id.clone(), updated.created), (made.crm_id.clone(), Some(false)));
    for _ in 0..2 {
        assert!(crm.write(Mode::Delete, vec![with_id(json!({}))]).await.result.unwrap()[0].is_ok(), "also where it is gone already");
    }
    let missing = failure(crm.write(Mode::UpdateOnly, vec![with_id(json!({ "city": "Rome" }))]).await);
    assert_eq!((missing.class, missing.reason), (Class::Permanent, Some(Reason::RecordNotFound)));
    let unknown = failure(crm.write(Mode::UpdateOnly, vec![record("b", json!({ "city": "Rome" }))]).await);
    assert_eq!((unknown.code.as_str(), crm.records().len()), ("invalid_id", 1), "nothing is created in its place");
}

#[tokio::test]
async fn a_refused_row_is_told_by_itself_and_the_others_go_again() {
    let crm = odoo("").await;
    let rows =
        |city: &str| vec![record("a", json!({ "name": "Ada", "type": "contact" })), record("b", json!({ "name": "Berg", "type": city }))];
    let results = crm.write(Mode::Upsert, rows("private")).await.result.unwrap();
    let told: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().unwrap_err())
        .map(|failed| (failed.class, failed.scope, failed.fields.clone()))
        .collect();
    let named = vec!["type".to_owned()];
    assert_eq!(told, [(Class::Retryable, Scope::Record, Vec::new()), (Class::Permanent, Scope::Record, named)]);
    assert_eq!(crm.records().len(), 0, "nothing of it was imported");
    let early = Link { object: "res.partner".into(), key_field: "id".into(), key: "later".into(), crm_id: None };
    let early = failure(crm.write(Mode::Upsert, vec![record("c", json!({ "name": "C", "parent_id": early.to_value() }))]).await);
    assert_eq!((early.class, early.code.as_str()), (Class::Conflict, "no_matching_record"), "its parent is still on its way");
    crm.misbehave("lock=1");
    let locked = crm.write(Mode::Upsert, rows("other")).await.result.unwrap();
    assert!(locked.iter().all(|result| result.as_ref().unwrap_err().class == Class::Retryable) && crm.records().is_empty());
    crm.misbehave("missing=1");
    let unclear = crm.write(Mode::Upsert, rows("other")).await.result.unwrap_err();
    assert_eq!((unclear.class, unclear.scope), (Class::Unknown, Scope::Call), "which result is whose cannot be known");
    let unknown_field = failure(crm.write(Mode::Upsert, vec![record("a", json!({ "nosuch": "x" }))]).await);
    assert_eq!((unknown_field.class, unknown_field.scope), (Class::Permanent, Scope::Destination));
}

#[tokio::test]
async fn every_fault_is_read_as_what_it_is_and_the_same_again_doubles_nothing() {
    for (faults, status, class, scope, pause, applied) in [
        ("429=1:90s", Some(429), Class::Throttled, Scope::Destination, Some(90), 0),
        ("limit=1", Some(503), Class::Unknown, Scope::Destination, None, 0),
        ("500-before=1", Some(502), Class::Unknown, Scope::Destination, None, 0),
        ("500-after=1", Some(502), Class::Unknown, Scope::Destination, None, 2),
        ("cut-before=1", None, Class::Unknown, Scope::Destination, None, 0),
        ("cut-after=1", None, Class::Unknown, Scope::Destination, None, 2),
        ("late=1", None, Class::Unknown, Scope::Destination, None, 0),
        ("garbage=1", Some(200), Class::Unknown, Scope::Call, None, 2),
        ("expired-token=1", Some(401), Class::Auth, Scope::Destination, None, 0),
    ] {
        let crm = odoo(faults).await;
        let both = || vec![record("a", json!({ "name": "Ada" })), record("b", json!({ "name": "Berg" }))];
        let report = crm.write(Mode::Upsert, both()).await;
        assert_eq!(report.status, status, "{faults}");
        let failed = failure(report);
        assert_eq!((failed.class, failed.scope, failed.retry_after.map(|wait| wait.as_secs())), (class, scope, pause), "{faults}");
        assert_eq!((crm.records().len(), crm.calls()), (applied, 1), "{faults}: nothing is sent twice by itself");
        crm.misbehave("");
        assert!(crm.write(Mode::Upsert, both()).await.result.unwrap().iter().all(Result::is_ok), "{faults}");
        assert!(crm.records().len() == 2 && crm.records().iter().all(|held| held.creates == 1), "{faults}");
    }
    let options = Options { credentials: "right".parse().unwrap(), ..Options::default() };
    let crm = Crm::with(Kind::Odoo, "", options, "wrong", PARTNER).await;
    let failed = crm.client.probe(NOW).await.unwrap_err();
    assert_eq!((failed.class, failed.code.as_str()), (Class::Auth, "Unauthorized"));
}
