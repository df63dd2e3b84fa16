//! Attio's connector against the sandbox that speaks its dialect, over real sockets.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are a test too")]

mod support;

use std::time::Duration;

use model::event::Mode;
use model::record::Link;
use model::{Class, Reason, Scope};
use onceward_connect::{Kind, Setup};
use sandbox::Options;
use serde_json::json;

use support::{Crm, NOW, failure, record, sought};

async fn attio(faults: &str) -> Crm {
    Crm::new(Kind::Attio, faults, ("people", "email_addresses")).await
}

#[tokio::test]
async fn an_assert_creates_once_and_what_was_written_is_read_back() {
    let crm = attio("").await;
    let fields = json!({ "name": "Stone, Ada", "phone_numbers": "+1 555 010 0199", "job_title": " CTO ", "interests": ["Support", "Pricing"], "birthday": "1990-01-31" });
    let first = crm.write(Mode::Upsert, vec![record("Ada@Example.com", fields.clone())]).await.result.unwrap().remove(0).unwrap();
    assert_eq!(first.created, None, "Attio does not tell");
    let again =
        crm.write(Mode::Upsert, vec![record("ada@example.com", json!({ "job_title": null }))]).await.result.unwrap().remove(0).unwrap();
    assert_eq!((again.crm_id, crm.records().len(), crm.records()[0].creates), (first.crm_id.clone(), 1, 1));
    crm.write(Mode::Upsert, vec![record("ada@example.com", fields.clone())]).await.result.unwrap();
    for by in [sought("ada@example.com", None), sought("ada@example.com", first.crm_id.as_deref())] {
        let held = crm.read(&["name", "phone_numbers", "job_title", "interests", "birthday", "company"], vec![by]).await;
        let held = held.result.unwrap().remove(0).unwrap().unwrap();
        assert_eq!((Some(held.crm_id), held.modified_at), (first.crm_id.clone(), Some(NOW)));
        for (name, sent) in fields.as_object().unwrap() {
            assert!(crm.client.connector().equal(name, sent, &held.fields[name]), "{name}: {}", held.fields[name]);
        }
        assert!(held.fields["company"].is_null());
    }
    assert_eq!(crm.read(&["name"], vec![sought("nobody@example.com", None)]).await.result, Ok(vec![Ok(None)]));
    assert_eq!(crm.client.probe(NOW).await, Ok(()));
}

#[tokio::test]
async fn each_mode_does_what_it_says() {
    let crm = attio("").await;
    let created =
        crm.write(Mode::CreateOnly, vec![record("a@example.com", json!({ "job_title": "CTO" }))]).await.result.unwrap().remove(0).unwrap();
    assert_eq!(created.created, Some(true));
    let there =
        crm.write(Mode::CreateOnly, vec![record("A@example.com", json!({ "job_title": "CEO" }))]).await.result.unwrap().remove(0).unwrap();
    assert_eq!((there.created, &crm.records()[0].fields["job_title"]), (Some(false), &json!("CTO")), "it is left as it is");
    let mut update = record("a@example.com", json!({ "job_title": "CEO" }));
    update.crm_id = created.crm_id.clone();
    assert_eq!(crm.write(Mode::UpdateOnly, vec![update.clone()]).await.result.unwrap()[0].as_ref().unwrap().created, Some(false));
    assert_eq!(crm.records()[0].fields["job_title"], "CEO");
    for _ in 0..2 {
        let mut gone = record("a@example.com", json!({}));
        gone.crm_id = created.crm_id.clone();
        assert!(crm.write(Mode::Delete, vec![gone]).await.result.unwrap()[0].is_ok(), "also where it is gone already");
    }
    let missing = failure(crm.write(Mode::UpdateOnly, vec![update]).await);
    assert_eq!((missing.class, missing.reason), (Class::Permanent, Some(Reason::RecordNotFound)));
    assert!(crm.records()[0].deleted);
}

#[tokio::test]
async fn every_fault_is_read_as_what_it_is_and_the_same_again_doubles_nothing() {
    for (faults, status, class, scope, pause, applied) in [
        ("429=1:90s", Some(429), Class::Throttled, Scope::Destination, Some(90), false),
        ("limit=1", Some(429), Class::Throttled, Scope::Destination, Some(1), false),
        ("500-before=1", Some(500), Class::Unknown, Scope::Destination, None, false),
        ("500-after=1", Some(500), Class::Unknown, Scope::Destination, None, true),
        ("cut-before=1", None, Class::Unknown, Scope::Destination, None, false),
        ("cut-after=1", None, Class::Unknown, Scope::Destination, None, true),
        ("late=1", None, Class::Unknown, Scope::Destination, None, false),
        ("garbage=1", Some(200), Class::Unknown, Scope::Call, None, true),
        ("lock=1", Some(503), Class::Unknown, Scope::Destination, None, false),
        ("expired-token=1", Some(401), Class::Auth, Scope::Destination, None, false),
    ] {
        let crm = attio(faults).await;
        let report = crm.write(Mode::Upsert, vec![record("a@example.com", json!({ "job_title": "CTO" }))]).await;
        assert_eq!(report.status, status, "{faults}");
        let failed = failure(report);
        assert_eq!((failed.class, failed.scope, failed.retry_after.map(|wait| wait.as_secs())), (class, scope, pause), "{faults}");
        assert_eq!((crm.records().len(), crm.calls()), (usize::from(applied), 1), "{faults}: nothing is sent twice by itself");
        crm.misbehave("");
        assert!(
            crm.write(Mode::Upsert, vec![record("a@example.com", json!({ "job_title": "CTO" }))]).await.result.unwrap()[0].is_ok(),
            "{faults}"
        );
        assert_eq!((crm.records().len(), crm.records()[0].creates), (1, 1), "{faults}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_record_is_told_with_its_field_and_without_its_values() {
    let crm = attio("").await;
    crm.write(Mode::Upsert, vec![record("taken@example.com", json!({}))]).await.result.unwrap();
    for (fields, class, code, named) in [
        (json!({ "interests": "Skiing" }), Class::Permanent, "value_not_found", "interests"),
        (json!({ "birthday": "soon" }), Class::Permanent, "validation_type", "birthday"),
        (json!({ "nosuch": "x" }), Class::Permanent, "unknown_attribute_slug", "nosuch"),
    ] {
        let failed = failure(crm.write(Mode::Upsert, vec![record("a@example.com", fields)]).await);
        assert_eq!(
            (failed.class, failed.scope, failed.code.as_str(), failed.fields.as_slice()),
            (class, Scope::Record, code, &[named.to_owned()][..])
        );
        assert!(!failed.message.contains("Skiing"), "{}", failed.message);
    }
    let by_name = crm.with_object("companies", "name");
    let failed = failure(by_name.write(Mode::Upsert, vec![record("Example", json!({}))]).await);
    assert_eq!((failed.class, failed.scope), (Class::Permanent, Scope::Destination), "a key that is not unique is the mapping's fault");
}

#[tokio::test]
async fn a_deal_is_set_up_and_linked_to_its_company_as_soon_as_that_is_there() {
    let crm = attio("").await.with_object("deals", "erp_id");
    let Setup::Calls(calls) = crm.client.connector().setup("deals", "erp_id") else { panic!("deals can have unique attributes") };
    assert!(matches!(crm.client.connector().setup("people", "erp_id"), Setup::Instructions(_)), "people cannot");
    assert!(!crm.client.describe("deals", NOW).await.unwrap().fields.contains_key("erp_id"));
    for (call, status) in calls.iter().chain(&calls).zip([200, 409]) {
        assert_eq!(crm.client.set_up(call.clone(), NOW).await.unwrap().status, status);
    }
    assert!(crm.client.describe("deals", NOW).await.unwrap().fields["erp_id"].unique);
    let link = |id: Option<String>| Link { object: "companies".into(), key_field: "domains".into(), key: "example.com".into(), crm_id: id };
    let deal = |link: Link| {
        record("d-1", json!({ "name": "Deal", "stage": "Lead", "owner": "me", "value": 5, "associated_company": link.to_value() }))
    };
    let early = failure(crm.write(Mode::Upsert, vec![deal(link(None))]).await);
    assert_eq!((early.class, early.code.as_str()), (Class::Conflict, "value_not_found"), "its company is still on its way");
    let companies = crm.with_object("companies", "domains");
    let company =
        companies.write(Mode::Upsert, vec![record("example.com", json!({ "name": "Example" }))]).await.result.unwrap().remove(0).unwrap();
    for known in [None, company.crm_id.clone()] {
        crm.write(Mode::Upsert, vec![deal(link(known))]).await.result.unwrap().remove(0).unwrap();
    }
    let held = crm.read(&["associated_company", "value"], vec![sought("d-1", None)]).await.result.unwrap().remove(0).unwrap().unwrap();
    assert!(crm.client.connector().equal("associated_company", &link(company.crm_id).to_value(), &held.fields["associated_company"]));
    assert_eq!(held.fields["value"], 5);
}

#[tokio::test]
async fn the_documented_budget_pauses_until_the_date_that_is_told() {
    let crm = Crm::with(Kind::Attio, "", Options { daily_calls: 1, ..Options::default() }, "key", ("people", "email_addresses")).await;
    crm.write(Mode::Upsert, vec![record("a@example.com", json!({}))]).await.result.unwrap();
    let failed = failure(crm.write(Mode::Upsert, vec![record("b@example.com", json!({}))]).await);
    assert_eq!((failed.class, failed.retry_after), (Class::Throttled, Some(Duration::from_secs(3_600))), "a day is not believed at once");
    let options = Options { credentials: "right".parse().unwrap(), ..Options::default() };
    let crm = Crm::with(Kind::Attio, "", options, "wrong", ("people", "email_addresses")).await;
    assert_eq!(crm.client.probe(NOW).await.unwrap_err().class, Class::Auth);
}
