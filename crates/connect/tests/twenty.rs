//! Twenty's connector against the sandbox that speaks its dialect, over real sockets.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are a test too")]

mod support;

use std::time::Duration;

use model::event::Mode;
use model::record::Link;
use model::{Class, Reason, Scope};
use onceward_connect::{Kind, WriteRecord};
use sandbox::Options;
use serde_json::{Value, json};

use support::{Crm, NOW, failure, record, sought};

const PEOPLE: (&str, &str) = ("people", "crmExtId");

async fn twenty(faults: &str) -> Crm {
    Crm::new(Kind::Twenty, faults, PEOPLE).await
}

fn person(key: &str, mut more: Value) -> WriteRecord {
    more["emails.primaryEmail"] = format!("{key}@example.com").into();
    record(key, more)
}

#[tokio::test]
async fn sixty_people_are_one_call_and_each_gets_its_own_id_in_whatever_order_they_come_back() {
    let crm = twenty("").await;
    let some = [7, 3, 40].map(|at| person(&format!("k{at}"), json!({ "jobTitle": "CTO" }))).to_vec();
    crm.write(Mode::Upsert, some).await.result.unwrap();
    let all: Vec<WriteRecord> = (0..60).map(|at| person(&format!("k{at}"), json!({ "name.firstName": "Ada" }))).collect();
    let results = crm.write(Mode::Upsert, all.clone()).await.result.unwrap();
    assert_eq!((crm.calls(), crm.records().len()), (2, 60));
    for (result, sent) in results.iter().zip(&all) {
        let held = crm.records().into_iter().find(|held| held.key.as_deref() == Some(&sent.key)).unwrap();
        assert_eq!((result.as_ref().unwrap().crm_id.as_deref(), held.creates), (Some(held.id.as_str()), 1), "{}", sent.key);
    }
    let wanted = (0..61).map(|at| sought(&format!("k{at}"), None)).take(60).collect();
    let found = crm.read(&["name.firstName", "jobTitle", "emails.primaryEmail"], wanted).await.result.unwrap();
    assert!(found.iter().all(|found| found.as_ref().unwrap().as_ref().unwrap().fields["name.firstName"] == "Ada"));
    assert_eq!(found[7].as_ref().unwrap().as_ref().unwrap().fields["jobTitle"], "CTO");
    assert_eq!(crm.client.probe(NOW).await, Ok(()));
}

#[tokio::test]
async fn what_was_written_is_read_back_as_the_same() {
    let crm = twenty("").await.with_object("opportunities", "crmExtId");
    let companies = crm.with_object("companies", "crmExtId");
    let company = companies.write(Mode::Upsert, vec![record("c", json!({ "name": "Example" }))]).await.result.unwrap().remove(0).unwrap();
    let link = Link { object: "companies".into(), key_field: "crmExtId".into(), key: "c".into(), crm_id: company.crm_id }.to_value();
    let fields = json!({ "name": "Deal", "amount.amountMicros": "12.5", "amount.currencyCode": "EUR", "stage": "NEW",
        "closeDate": "2026-12-01T00:00:00Z", "company": link });
    let made = crm.write(Mode::Upsert, vec![record("d", fields.clone())]).await.result.unwrap().remove(0).unwrap();
    let names: Vec<&str> = fields.as_object().unwrap().keys().map(String::as_str).collect();
    let held = crm.read(&names, vec![sought("d", made.crm_id.as_deref()), sought("e", None)]).await.result.unwrap();
    let deal = held[0].clone().unwrap().unwrap();
    for (name, sent) in fields.as_object().unwrap() {
        assert!(crm.client.connector().equal(name, sent, &deal.fields[name]), "{name}: {}", deal.fields[name]);
    }
    assert_eq!((deal.modified_at, &held[1]), (Some(NOW), &Ok(None)));
    let told = crm.client.describe("opportunities", NOW).await.unwrap();
    assert!(told.fields["crmExtId"].unique && told.fields.contains_key("amount.amountMicros") && told.fields.contains_key("companyId"));
}

#[tokio::test]
async fn each_mode_does_what_it_says() {
    let crm = twenty("").await;
    let made = crm.write(Mode::CreateOnly, vec![person("a", json!({ "jobTitle": "CTO" }))]).await.result.unwrap().remove(0).unwrap();
    assert_eq!(made.created, Some(true));
    let there = crm.write(Mode::CreateOnly, vec![person("a", json!({ "jobTitle": "CEO" }))]).await.result.unwrap().remove(0).unwrap();
    assert_eq!((there.created, &crm.records()[0].fields["jobTitle"]), (Some(false), &json!("CTO")));
    let update = WriteRecord { crm_id: made.crm_id.clone(), ..record("a", json!({ "jobTitle": null })) };
    assert_eq!(crm.write(Mode::UpdateOnly, vec![update.clone()]).await.result.unwrap()[0].as_ref().unwrap().created, Some(false));
    assert!(!crm.records()[0].fields.contains_key("jobTitle"));
    for _ in 0..2 {
        let gone = WriteRecord { crm_id: made.crm_id.clone(), ..record("a", json!({})) };
        assert!(crm.write(Mode::Delete, vec![gone]).await.result.unwrap()[0].is_ok(), "also where it is gone already");
    }
    assert_eq!(failure(crm.write(Mode::UpdateOnly, vec![update]).await).reason, Some(Reason::RecordNotFound));
}

#[tokio::test]
async fn one_bad_record_has_the_call_halved_and_alone_it_is_told_by_its_field() {
    let crm = twenty("").await;
    let bad = person("b", json!({ "nosuch": "x" }));
    let failed = crm.write(Mode::Upsert, vec![person("a", json!({})), bad.clone()]).await.result.unwrap_err();
    assert_eq!((failed.class, failed.scope, crm.records().len()), (Class::Conflict, Scope::Call, 0), "nothing of it was written");
    let alone = failure(crm.write(Mode::Upsert, vec![bad]).await);
    assert_eq!((alone.class, alone.scope, alone.fields), (Class::Permanent, Scope::Record, vec!["nosuch".to_owned()]));
    crm.misbehave("lock=1");
    let locked = crm.write(Mode::Upsert, vec![person("a", json!({})), person("b", json!({}))]).await.result.unwrap_err();
    assert_eq!((locked.class, locked.scope), (Class::Retryable, Scope::Call));
    crm.misbehave("missing=1");
    let results = crm.write(Mode::Upsert, vec![person("a", json!({})), person("b", json!({}))]).await.result.unwrap();
    let silent = results[1].as_ref().unwrap_err();
    assert!(results[0].is_ok());
    assert_eq!((silent.class, silent.code.as_str()), (Class::Unknown, "no_result"));
}

#[tokio::test]
async fn every_fault_is_read_as_what_it_is_and_the_same_again_doubles_nothing() {
    for (faults, status, class, scope, pause, applied) in [
        ("429=1:90s", Some(429), Class::Throttled, Scope::Destination, Some(90), 0),
        ("limit=1", Some(429), Class::Throttled, Scope::Destination, Some(60), 0),
        ("500-before=1", Some(500), Class::Unknown, Scope::Destination, None, 0),
        ("500-after=1", Some(500), Class::Unknown, Scope::Destination, None, 2),
        ("cut-before=1", None, Class::Unknown, Scope::Destination, None, 0),
        ("cut-after=1", None, Class::Unknown, Scope::Destination, None, 2),
        ("late=1", None, Class::Unknown, Scope::Destination, None, 0),
        ("garbage=1", Some(200), Class::Unknown, Scope::Call, None, 2),
        ("expired-token=1", Some(401), Class::Auth, Scope::Destination, None, 0),
    ] {
        let crm = twenty(faults).await;
        let both = || vec![person("a", json!({})), person("b", json!({}))];
        let report = crm.write(Mode::Upsert, both()).await;
        assert_eq!(report.status, status, "{faults}");
        let failed = failure(report);
        assert_eq!((failed.class, failed.scope, failed.retry_after.map(|wait| wait.as_secs())), (class, scope, pause), "{faults}");
        assert_eq!((crm.records().len(), crm.calls()), (applied, 1), "{faults}: nothing is sent twice by itself");
        crm.misbehave("");
        assert!(crm.write(Mode::Upsert, both()).await.result.unwrap().iter().all(Result::is_ok), "{faults}");
        assert!(crm.records().len() == 2 && crm.records().iter().all(|held| held.creates == 1), "{faults}");
    }
    let crm = Crm::with(Kind::Twenty, "", Options { daily_calls: 1, ..Options::default() }, "key", PEOPLE).await;
    crm.write(Mode::Upsert, vec![person("a", json!({}))]).await.result.unwrap();
    assert_eq!(failure(crm.write(Mode::Upsert, vec![person("b", json!({}))]).await).retry_after, Some(Duration::from_secs(60)));
}
