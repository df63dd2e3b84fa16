//! The example of docs/crms/rest.md, run as it stands there.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::event::Mode;
use model::{Class, Reason, Scope};
use onceward_connect::crm::rest::{Definition, ObjectDefinition, ObjectNames, Target};
use onceward_connect::{Auth, Kind, Level, Repeat, Secret, Settings, WriteRecord, Written};
use sandbox::Options;
use serde_json::{Value, json};

use crate::{Crm, first, record};

const PAGE: &str = include_str!("../../../../docs/crms/rest.md");

/// The page's first block of TOML, as the destination's tables.
fn example() -> Definition {
    let (_, rest) = PAGE.split_once("```toml\n").unwrap();
    let table: toml::Table = toml::from_str(rest.split_once("```").unwrap().0).unwrap();
    let erp = table["destinations"]["erp"].clone();
    let target: Target = erp["rest"].clone().try_into().unwrap();
    let objects: BTreeMap<String, toml::Table> = erp["objects"].clone().try_into().unwrap();
    let spelled: BTreeMap<&String, ObjectDefinition> =
        objects.iter().map(|(name, object)| (name, object["rest"].clone().try_into().unwrap())).collect();
    let names = objects.iter().map(|(name, object)| {
        let fields = object["fields"].as_table().unwrap().keys().cloned().collect();
        (name.clone(), ObjectNames { rest: spelled.get(name), key_field: object["key"]["field"].as_str().unwrap(), fields })
    });
    Definition::compile("erp", &target, &names.collect()).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

async fn with(object: &'static str, faults: &str, auth: Option<Auth>) -> Crm {
    let key = match object {
        "Invoice" => "number",
        "Customer" => "no",
        _ => "reference",
    };
    let options = Options { faults: faults.parse().unwrap(), ..Options::default() };
    Crm::with(Kind::Rest, ["rest-demo", object, key], options, |settings| Settings {
        rest: Some(Arc::new(example())),
        auth: auth.unwrap_or(settings.auth),
        token_url: Some("/rest-demo/oauth/token".to_owned()),
        ..settings
    })
    .await
}

fn invoice() -> WriteRecord {
    record("R 1/7", None, json!({ "total": 99.5, "currency": "EUR" }))
}

#[tokio::test]
async fn an_invoice_is_posted_once_whatever_happens_on_the_way() {
    for faults in ["cut-after=1", "500-after=1", "garbage=1", "late=1:30s", "500-before=1", "cut-before=1"] {
        let crm = with("Invoice", faults, None).await;
        let failed = crm.one(Mode::CreateOnly, &invoice()).await.unwrap_err();
        assert_eq!(failed.class, Class::Unknown, "{faults}");
        crm.misbehave("");
        crm.wait(31);
        assert_eq!(crm.client.connector().repeat("Invoice", Mode::CreateOnly), Repeat::Same);
        let done = crm.one(Mode::CreateOnly, &invoice()).await.unwrap();
        assert_eq!(done, Written { crm_id: Some("invoice_1".to_owned()), created: Some(true) }, "{faults}");
        let held = crm.records();
        assert_eq!((held.len(), held[0].creates, held[0].writes), (1, 1, 1), "{faults}: posted once");
        assert_eq!((&held[0].fields["total"], &held[0].fields["currency"]), (&json!(99.5), &json!("EUR")));
    }
}

#[tokio::test]
async fn an_invoice_that_is_there_is_left_alone_and_found_by_number_and_by_id() {
    let crm = with("Invoice", "", None).await;
    crm.one(Mode::CreateOnly, &invoice()).await.unwrap();
    let there = crm.one(Mode::CreateOnly, &WriteRecord { revision: 2, ..invoice() }).await.unwrap();
    assert_eq!(there.created, Some(false), "its number is taken, which is what was wanted");
    for id in [None, Some("invoice_1"), Some("invoice_99")] {
        let present = crm.look("r 1/7", id, &["total", "currency"]).await.unwrap().unwrap();
        assert_eq!(
            (present.crm_id.as_str(), &present.fields["total"], present.modified_at),
            ("invoice_1", &json!(99.5), Some(crm.now())),
            "{id:?}"
        );
    }
    assert_eq!(crm.look("R 2", None, &["total"]).await, Ok(None));
    let changed = crm.one(Mode::Upsert, &record("R 1/7", Some("invoice_1"), json!({ "total": 5 }))).await.unwrap();
    assert_eq!((changed.created, &crm.records()[0].fields["total"]), (Some(false), &json!(5)));
    for _ in 0..2 {
        assert!(crm.one(Mode::Delete, &record("R 1/7", Some("invoice_1"), json!({}))).await.is_ok());
    }
    let missing = crm.one(Mode::UpdateOnly, &record("R 1/7", Some("invoice_1"), json!({ "total": 5 }))).await.unwrap_err();
    assert_eq!((missing.class, missing.reason), (Class::Permanent, Some(Reason::RecordNotFound)));
    assert_eq!(crm.client.probe(crm.now()).await, Ok(()));
    assert_eq!(crm.client.connector().level(), Level::B);
}

#[tokio::test]
async fn another_body_under_a_known_key_is_refused_for_good() {
    let crm = with("Invoice", "", None).await;
    crm.one(Mode::CreateOnly, &invoice()).await.unwrap();
    let other = record("R 1/7", None, json!({ "total": 100, "currency": "EUR" }));
    let refused = crm.one(Mode::CreateOnly, &other).await.unwrap_err();
    assert_eq!((refused.class, refused.scope, refused.code.as_str()), (Class::Permanent, Scope::Record, "idempotency_key_reused"));
    let bad = record("R 2", None, json!({ "total": "much", "currency": "EUR" }));
    let named = crm.one(Mode::CreateOnly, &bad).await.unwrap_err();
    assert_eq!((named.code.as_str(), named.fields), ("invalid", vec!["total".to_owned()]));
}

#[tokio::test]
async fn a_customer_is_put_at_its_number_as_often_as_one_likes() {
    let crm = with("Customer", "", None).await;
    let ada = |name: &str| record("c/1", None, json!({ "name": name, "email": "a@example.com" }));
    let created: Vec<Option<bool>> =
        vec![crm.one(Mode::Upsert, &ada("Ada")).await.unwrap().created, crm.one(Mode::Upsert, &ada("Eva")).await.unwrap().created];
    assert_eq!(created, [Some(true), Some(false)]);
    crm.misbehave("cut-after=1");
    assert_eq!(crm.one(Mode::Upsert, &ada("Ida")).await.unwrap_err().class, Class::Unknown);
    crm.misbehave("");
    assert_eq!(crm.one(Mode::Upsert, &ada("Ida")).await.unwrap().crm_id.as_deref(), Some("c/1"), "the key is the id");
    assert_eq!((crm.records().len(), crm.records()[0].creates, &crm.records()[0].fields["name"]), (1, 1, &json!("Ida")));
    let present = crm.look("c/1", None, &["name"]).await.unwrap().unwrap();
    assert_eq!((present.crm_id.as_str(), &present.fields["name"]), ("c/1", &json!("Ida")));
    assert_eq!(crm.look("c/2", None, &["name"]).await, Ok(None));
}

#[tokio::test]
async fn payments_go_together_each_with_its_own_result_and_one_that_is_lacking_is_unknown() {
    let crm = with("Payment", "", None).await;
    let payment = |key: &str, amount: Value| record(key, None, json!({ "amount": amount }));
    let all = [payment("p1", json!(1)), payment("p2", json!("two")), payment("p3", json!(3))];
    let results = crm.write(Mode::Upsert, &all).await.result.unwrap();
    assert_eq!((results[0].as_ref().unwrap().created, results[2].as_ref().unwrap().created), (Some(true), Some(true)));
    let refused = results[1].clone().unwrap_err();
    assert_eq!(
        (refused.class, refused.scope, refused.code.as_str(), refused.fields),
        (Class::Permanent, Scope::Record, "invalid", vec!["amount".to_owned()])
    );
    assert_eq!(crm.calls(), 1);
    crm.misbehave("missing=1");
    let results = crm.write(Mode::Upsert, &[payment("p1", json!(1)), payment("p3", json!(4))]).await.result.unwrap();
    let silent: Vec<&str> = results.iter().filter_map(|result| result.as_ref().err()).map(|failure| failure.code.as_str()).collect();
    assert_eq!(silent, ["no_result"]);
    crm.misbehave("partial=1");
    let many: Vec<WriteRecord> = (0..50).map(|at| payment(&format!("k{at}"), json!(at))).collect();
    let results = crm.write(Mode::Upsert, &many).await.result.unwrap();
    let locked = results.iter().filter_map(|result| result.as_ref().err()).collect::<Vec<_>>();
    assert!((5..45).contains(&locked.len()) && locked.iter().all(|failure| failure.class == Class::Retryable), "{}", locked.len());
    crm.misbehave("");
    let again = crm.write(Mode::Upsert, &many).await.result.unwrap();
    assert!(again.iter().all(Result::is_ok));
    assert_eq!(crm.records().len(), 52);
    assert!(crm.records().iter().all(|record| record.creates == 1));
}

#[tokio::test]
async fn throttling_pauses_and_a_token_that_runs_out_is_renewed_on_the_way() {
    let crm = with("Customer", "429=1:90s", None).await;
    let failed = crm.one(Mode::Upsert, &record("c1", None, json!({ "name": "Ada" }))).await.unwrap_err();
    assert_eq!((failed.class, failed.retry_after.map(|wait| wait.as_secs())), (Class::Throttled, Some(90)));
    let auth = Auth::ClientCredentials { client_id: "id".to_owned(), client_secret: Secret::new("secret") };
    let crm = with("Customer", "", Some(auth)).await;
    crm.one(Mode::Upsert, &record("c1", None, json!({ "name": "Ada" }))).await.unwrap();
    // The sandbox's tokens end, and the client does not know.
    crm.misbehave("expired-token=1");
    let refused = crm.one(Mode::Upsert, &record("c1", None, json!({ "name": "Eva" }))).await.unwrap_err();
    assert_eq!((refused.class, refused.code.as_str()), (Class::Auth, "token_expired"), "a fresh one is refused as well: once is enough");
    crm.misbehave("");
    assert!(crm.one(Mode::Upsert, &record("c1", None, json!({ "name": "Eva" }))).await.is_ok(), "and then it is asked for anew");
    assert_eq!(crm.records()[0].fields["name"], "Eva");
}

#[tokio::test]
async fn each_credential_goes_its_own_way() {
    for auth in [
        Auth::ApiKey { token: Secret::new("k") },
        Auth::Basic { username: "ann".to_owned(), password: Secret::new("p") },
        Auth::RefreshToken { client_id: "id".to_owned(), client_secret: Secret::new("s"), refresh_token: Secret::new("r") },
    ] {
        let crm = with("Customer", "", Some(auth)).await;
        let report = crm.write(Mode::Upsert, &[record("c1", None, json!({ "name": "Ada" }))]).await;
        assert!(first(report).is_ok());
    }
}
