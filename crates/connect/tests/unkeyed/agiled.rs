use model::event::Mode;
use model::{Class, Reason, Scope};
use onceward_connect::{Kind, Repeat, WriteRecord};
use sandbox::Options;
use serde_json::json;

use crate::{Crm, record};

async fn with(faults: &str, options: Options) -> Crm {
    let options = Options { faults: faults.parse().unwrap(), ..options };
    Crm::with(Kind::Agiled, ["agiled", "contacts", "email"], options, |settings| settings).await
}

fn avery() -> WriteRecord {
    record("avery@example.com", None, json!({ "first_name": "Avery", "last_name": "Stone" }))
}

#[tokio::test]
async fn a_contact_is_looked_for_created_changed_by_id_and_taken_out() {
    let crm = with("", Options::default()).await;
    assert_eq!(crm.look("avery@example.com", None, &["first_name"]).await, Ok(None));
    let made = crm.one(Mode::Upsert, &avery()).await.unwrap();
    let id = made.crm_id.clone().unwrap();
    assert_eq!(made.created, Some(true));
    let present = crm.look("Avery@Example.com", None, &["first_name", "phone"]).await.unwrap().unwrap();
    assert_eq!(
        (present.crm_id.as_str(), &present.fields["first_name"], &present.fields["phone"]),
        (id.as_str(), &json!("Avery"), &json!(null))
    );
    let change = WriteRecord { revision: 2, ..record("avery@example.com", Some(&id), json!({ "last_name": "Flint", "phone": null })) };
    assert_eq!(crm.one(Mode::Upsert, &change).await.unwrap().created, Some(false));
    assert_eq!((crm.records().len(), &crm.records()[0].fields["last_name"]), (1, &json!("Flint")));
    let gone = WriteRecord { revision: 3, ..record("avery@example.com", Some(&id), json!({})) };
    assert!(crm.one(Mode::Delete, &gone).await.is_ok());
    assert!(crm.one(Mode::Delete, &WriteRecord { revision: 4, ..gone.clone() }).await.is_ok(), "what is gone is gone");
    let missing = crm.one(Mode::UpdateOnly, &WriteRecord { revision: 5, ..change }).await.unwrap_err();
    assert_eq!(missing.reason, Some(Reason::RecordNotFound));
    assert_eq!(crm.look("avery@example.com", Some(&id), &["first_name"]).await, Ok(None));
    assert_eq!(crm.client.probe(crm.now()).await, Ok(()));
}

#[tokio::test]
async fn an_unknown_creation_is_repeated_byte_for_byte_and_made_once() {
    for faults in ["cut-after=1", "500-after=1", "garbage=1", "late=1:30s"] {
        let crm = with(faults, Options::default()).await;
        assert_eq!(crm.one(Mode::Upsert, &avery()).await.unwrap_err().class, Class::Unknown, "{faults}");
        crm.misbehave("");
        assert_eq!(crm.client.connector().repeat("contacts", Mode::Upsert), Repeat::Same);
        crm.wait(31);
        assert!(crm.one(Mode::Upsert, &avery()).await.unwrap().crm_id.is_some(), "{faults}");
        assert_eq!((crm.records().len(), crm.records()[0].creates), (1, 1), "{faults}");
    }
    let crm = with("", Options::default()).await;
    crm.one(Mode::Upsert, &avery()).await.unwrap();
    crm.one(Mode::Upsert, &WriteRecord { revision: 2, ..avery() }).await.unwrap();
    assert_eq!(crm.records().len(), 2, "another revision has another key, which is why it waits for the first one's outcome");
}

#[tokio::test]
async fn every_fault_is_read_as_what_it_is() {
    for (faults, class, scope, code, pause) in [
        ("429=1:90s", Class::Throttled, Scope::Destination, "http_429", Some(90)),
        ("limit=1", Class::Throttled, Scope::Destination, "http_429", Some(60)),
        ("500-before=1", Class::Unknown, Scope::Destination, "http_500", None),
        ("cut-before=1", Class::Unknown, Scope::Destination, "cut", None),
        ("expired-token=1", Class::Auth, Scope::Destination, "http_401", None),
    ] {
        let crm = with(faults, Options::default()).await;
        let failed = crm.one(Mode::Upsert, &avery()).await.unwrap_err();
        let waits = failed.retry_after.map(|wait| wait.as_secs());
        assert_eq!((failed.class, failed.scope, failed.code.as_str(), waits), (class, scope, code, pause), "{faults}");
        assert_eq!((crm.records().len(), crm.calls()), (0, 1), "{faults}");
    }
}

#[tokio::test]
async fn a_refusal_names_its_field_and_the_writes_of_a_minute_are_thirty() {
    let crm = with("", Options::default()).await;
    let refused = crm.one(Mode::Upsert, &record("avery@example.com", None, json!({ "first_name": 5 }))).await.unwrap_err();
    assert_eq!((refused.class, refused.scope, refused.fields), (Class::Permanent, Scope::Record, vec!["first_name".to_owned()]));
    for at in 0..29 {
        crm.one(Mode::CreateOnly, &record(&format!("{at}@example.com"), None, json!({ "first_name": "A" }))).await.unwrap();
    }
    let spent = crm.one(Mode::CreateOnly, &avery()).await.unwrap_err();
    assert_eq!((spent.class, spent.retry_after.map(|wait| wait.as_secs())), (Class::Throttled, Some(60)));
}

#[tokio::test]
async fn what_cannot_be_looked_up_is_not_taken_for_missing() {
    let crm = with("", Options::default()).await;
    crm.one(Mode::Upsert, &avery()).await.unwrap();
    let odd = Crm { key_field: "phone", ..crm };
    let failed = odd.look("+15550100", None, &["first_name"]).await.unwrap_err();
    assert_eq!((failed.class, failed.scope, failed.code.as_str()), (Class::Permanent, Scope::Destination, "not_searchable"));
}
