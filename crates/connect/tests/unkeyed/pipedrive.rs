use model::event::Mode;
use model::{Class, Reason, Scope};
use onceward_connect::{Auth, FieldKind, Kind, Repeat, Secret, Setup};
use sandbox::Options;
use serde_json::json;

use crate::{Crm, record};

const KEY: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b";

async fn with(faults: &str, options: Options) -> Crm {
    let options = Options { faults: faults.parse().unwrap(), budget_times: 1_000, ..options };
    Crm::with(Kind::Pipedrive, ["pipedrive", "persons", KEY], options, |settings| onceward_connect::Settings {
        auth: Auth::ApiKey { token: Secret::new("a-token") },
        ..settings
    })
    .await
}

#[tokio::test]
async fn a_person_is_looked_for_created_changed_by_id_and_taken_out() {
    let crm = with("", Options::default()).await;
    assert_eq!(crm.look("k1", None, &["name"]).await, Ok(None));
    let fields = json!({ "name": "Ada", "emails": "Ada@Example.com", "phones": "+15550100199" });
    let made = crm.one(Mode::Upsert, &record("k1", None, fields.clone())).await.unwrap();
    let id = made.crm_id.clone().unwrap();
    assert_eq!(made.created, Some(true));
    let present = crm.look("k1", Some(&id), &["name", "emails", "phones", KEY]).await.unwrap().unwrap();
    for (name, sent) in fields.as_object().unwrap() {
        assert!(crm.client.connector().equal(name, sent, &present.fields[name]), "{name}: {}", present.fields[name]);
    }
    let changed = crm.one(Mode::Upsert, &record("k1", Some(&id), json!({ "name": "Eva" }))).await.unwrap();
    assert_eq!((changed.created, changed.crm_id.as_ref()), (Some(false), Some(&id)));
    let held = crm.records();
    assert_eq!((held.len(), &held[0].fields["name"], held[0].key.as_deref()), (1, &json!("Eva"), Some("k1")));
    assert!(crm.one(Mode::Delete, &record("k1", Some(&id), json!({}))).await.is_ok());
    assert!(crm.one(Mode::Delete, &record("k1", Some(&id), json!({}))).await.is_ok(), "what is gone is gone");
    let gone = crm.one(Mode::Upsert, &record("k1", Some(&id), json!({ "name": "Ada" }))).await.unwrap_err();
    assert_eq!((gone.class, gone.reason), (Class::Permanent, Some(Reason::RecordNotFound)));
    assert_eq!(crm.look("k1", Some(&id), &["name"]).await, Ok(None), "by id, then by key");
    assert_eq!(crm.client.probe(crm.now()).await, Ok(()));
}

#[tokio::test]
async fn an_unknown_creation_is_found_once_the_index_has_it_and_not_made_twice() {
    let crm = with("cut-after=1", Options::default()).await;
    let ada = record("k1", None, json!({ "name": "Ada" }));
    assert_eq!(crm.one(Mode::Upsert, &ada).await.unwrap_err().class, Class::Unknown);
    crm.misbehave("");
    assert_eq!(crm.client.connector().repeat("persons", Mode::Upsert), Repeat::Look);
    assert_eq!(crm.look("k1", None, &["name"]).await, Ok(None), "too early: the index does not have it yet");
    crm.wait(i64::try_from(crm.client.connector().limits().late_window.as_secs()).unwrap());
    let present = crm.look("k1", None, &["name"]).await.unwrap().unwrap();
    let again = crm.one(Mode::Upsert, &record("k1", Some(&present.crm_id), json!({ "name": "Ada" }))).await.unwrap();
    assert_eq!((again.created, crm.records().len()), (Some(false), 1));
}

#[tokio::test]
async fn two_with_one_key_are_for_a_person() {
    let crm = with("", Options::default()).await;
    for name in ["Ada", "Eva"] {
        crm.one(Mode::CreateOnly, &record("k1", None, json!({ "name": name }))).await.unwrap();
    }
    crm.wait(5);
    let ambiguous = crm.look("K1", None, &["name"]).await.unwrap_err();
    assert_eq!((ambiguous.class, ambiguous.reason), (Class::Conflict, Some(Reason::AmbiguousMatch)));
}

#[tokio::test]
async fn every_fault_is_read_as_what_it_is() {
    for (faults, class, scope, code, pause, applied) in [
        ("429=1:9s", Class::Throttled, Scope::Destination, "http_429", Some(9), false),
        ("limit=1", Class::Throttled, Scope::Destination, "http_429", Some(2), false),
        ("500-before=1", Class::Unknown, Scope::Destination, "ERR_UNKNOWN", None, false),
        ("500-after=1", Class::Unknown, Scope::Destination, "ERR_UNKNOWN", None, true),
        ("cut-before=1", Class::Unknown, Scope::Destination, "cut", None, false),
        ("late=1", Class::Unknown, Scope::Destination, "cut", None, false),
        ("garbage=1", Class::Unknown, Scope::Call, "garbage", None, true),
        ("expired-token=1", Class::Auth, Scope::Destination, "http_401", None, false),
        ("lock=1", Class::Unknown, Scope::Destination, "ERR_UNKNOWN", None, false),
    ] {
        let crm = with(faults, Options::default()).await;
        let failed = crm.one(Mode::Upsert, &record("k1", None, json!({ "name": "Ada" }))).await.unwrap_err();
        let waits = failed.retry_after.map(|wait| wait.as_secs());
        assert_eq!((failed.class, failed.scope, failed.code.as_str(), waits), (class, scope, code, pause), "{faults}");
        assert_eq!((crm.records().len(), crm.calls()), (usize::from(applied), 1), "{faults}: nothing is sent twice by itself");
    }
    let crm = with("", Options { daily_calls: 0, ..Options::default() }).await;
    let spent = crm.one(Mode::Upsert, &record("k1", None, json!({ "name": "Ada" }))).await.unwrap_err();
    assert_eq!((spent.class, spent.code.as_str()), (Class::Throttled, "daily_budget"));
}

#[tokio::test]
async fn a_refusal_names_its_field_and_a_missing_record_is_told() {
    let crm = with("", Options::default()).await;
    let refused = crm.one(Mode::Upsert, &record("k1", None, json!({ "name": "Ada", "currency": "EUR" }))).await.unwrap_err();
    assert_eq!((refused.class, refused.scope, refused.fields), (Class::Permanent, Scope::Record, vec!["currency".to_owned()]));
    let missing = crm.one(Mode::UpdateOnly, &record("k1", Some("99"), json!({ "name": "Ada" }))).await.unwrap_err();
    assert_eq!(missing.reason, Some(Reason::RecordNotFound));
    assert_eq!(crm.one(Mode::UpdateOnly, &record("k1", None, json!({}))).await.unwrap_err().reason, Some(Reason::RecordNotFound));
}

#[tokio::test]
async fn its_fields_are_described_and_the_key_is_made() {
    let crm = with("", Options::default()).await;
    let described = crm.client.describe("persons", crm.now()).await.unwrap().fields;
    assert_eq!((described[KEY].kind.clone(), described[KEY].updatable, described["name"].required), (FieldKind::Text, true, true));
    let Setup::Calls(calls) = crm.client.connector().setup("persons", KEY) else { panic!("it can be made") };
    let reply = crm.client.set_up(calls[0].clone(), crm.now()).await.unwrap();
    let code = reply.json().unwrap()["data"]["field_code"].as_str().unwrap().to_owned();
    assert!(reply.status == 201 && Kind::Pipedrive.allows(&code) && !Kind::Hubspot.allows(&code), "{code}");
    assert!(crm.client.describe("persons", crm.now()).await.unwrap().fields.contains_key(&code));
}
