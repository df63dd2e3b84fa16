//! Dataverse's connector against the sandbox that speaks its dialect, over real sockets.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are a test too")]

use std::collections::BTreeMap;
use std::time::Duration;

use model::event::Mode;
use model::record::Link;
use model::{CallId, Class, Failure, Reason, Scope, Time};
use onceward_connect::{
    Auth, Client, FieldKind, Kind, Present, ReadBatch, Report, Secret, Settings, Setup, Sought, WriteBatch, WriteRecord, Written,
};
use sandbox::{Options, RecordView, Sandbox};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const NOW: Time = Time::from_seconds(1_800_000_000);

/// A sandbox and a client for it.
struct Crm {
    sandbox: Sandbox,
    client: Client,
}

impl Crm {
    async fn with(faults: &str, options: Options, secret: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = Options { latency: Duration::ZERO, faults: faults.parse().unwrap(), ..options };
        let sandbox = Sandbox::serve(listener, 7, options, || NOW).unwrap();
        let base = format!("http://{}", sandbox.address());
        let auth = Auth::ClientCredentials { client_id: "app".to_owned(), client_secret: Secret::new(secret) };
        let settings = Settings {
            token_url: Some(format!("{base}/1b2c/oauth2/v2.0/token")),
            call_timeout: Some(Duration::from_secs(2)),
            ..Settings::new(Kind::Dataverse, base, auth)
        };
        Self { sandbox, client: Client::http(settings).unwrap() }
    }

    async fn new(faults: &str) -> Self {
        let crm = Self::with("", Options::default(), "hush").await;
        // The token comes before the faults, so that they meet the calls.
        crm.client.probe(NOW).await.unwrap();
        crm.misbehave(faults);
        crm
    }

    fn misbehave(&self, faults: &str) {
        self.sandbox.core().lock().unwrap().set_faults(faults.parse().unwrap(), NOW);
    }

    async fn write(&self, batch: &WriteBatch) -> Report<Written> {
        self.client.write(batch, CallId(1), NOW).await
    }

    async fn read(&self, keys: &[&str], fields: &[&str]) -> Report<Option<Present>> {
        let batch = ReadBatch {
            object: "contacts".to_owned(),
            key_field: "onceward_key".to_owned(),
            records: keys.iter().map(|key| Sought { key: (*key).to_owned(), crm_id: None }).collect(),
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        };
        self.client.read(&batch, CallId(2), NOW).await
    }

    fn contacts(&self) -> Vec<RecordView> {
        self.sandbox.core().lock().unwrap().records(Some("dataverse"), Some("contacts")).collect()
    }

    fn calls(&self) -> u64 {
        self.sandbox.core().lock().unwrap().stats().calls
    }
}

fn record(key: &str, fields: Value) -> WriteRecord {
    let fields: BTreeMap<String, Value> = fields.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    WriteRecord { key: key.to_owned(), crm_id: None, revision: 1, fields }
}

fn batch(mode: Mode, records: Vec<WriteRecord>) -> WriteBatch {
    WriteBatch { object: "contacts".to_owned(), key_field: "onceward_key".to_owned(), mode, records }
}

fn of(keys: &[&str]) -> WriteBatch {
    batch(Mode::Upsert, keys.iter().map(|key| record(key, json!({ "lastname": "Stone" }))).collect())
}

fn created(results: &[Result<Written, Failure>]) -> Vec<Option<bool>> {
    results.iter().map(|result| result.as_ref().unwrap().created).collect()
}

fn ids(results: &[Result<Written, Failure>]) -> Vec<String> {
    results.iter().map(|result| result.as_ref().unwrap().crm_id.clone().unwrap()).collect()
}

fn failure<T: std::fmt::Debug>(report: Report<T>) -> Failure {
    match report.result {
        Ok(mut results) => results.remove(0).unwrap_err(),
        Err(failure) => failure,
    }
}

#[tokio::test]
async fn a_hundred_contacts_are_one_call_and_the_same_again_creates_none() {
    let crm = Crm::new("").await;
    // Half of the keys can be part of a URL, half cannot.
    let keys: Vec<String> = (0..100).map(|at| if at % 2 == 0 { format!("demo-{at}") } else { format!("demo:{at}") }).collect();
    let all = of(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    let report = crm.write(&all).await;
    assert_eq!(report.status, Some(200));
    let first = report.result.unwrap();
    assert_eq!(created(&first), [Some(true); 100]);
    let again = crm.write(&all).await.result.unwrap();
    assert_eq!(created(&again), [Some(false); 100]);
    assert_eq!(ids(&again), ids(&first));
    assert_eq!((crm.calls(), crm.contacts().len()), (4, 100), "a token, a probe and two batches");
    for key in &keys {
        let held = crm.contacts().into_iter().find(|held| held.key.as_ref() == Some(key)).unwrap();
        assert_eq!((held.creates, &held.fields["lastname"]), (1, &json!("Stone")), "{key}");
    }
    let calls: Vec<_> = crm.sandbox.core().lock().unwrap().calls(0).map(|call| call.call.clone()).collect();
    assert_eq!(calls.last(), Some(&Some(CallId(1).to_string())), "each call says whose it is");
}

#[tokio::test]
async fn what_was_written_is_read_back_by_key_and_the_rest_is_absent() {
    let crm = Crm::new("").await;
    let fields = json!({
        "lastname": " Stone ", "emailaddress1": "Ada@Example.com", "telephone1": null, "onceward_topics": [100_000_000, 100_000_001],
        "lastusedincampaign": "2026-11-22T19:04:00.700+01:00", "leadsourcecode": 1, "donotemail": true, "creditlimit": 12.5,
    });
    crm.write(&batch(Mode::Upsert, vec![record("O'Brien", fields.clone()), record("b:1", json!({ "lastname": "Berg" }))]))
        .await
        .result
        .unwrap();
    let names: Vec<&str> = fields.as_object().unwrap().keys().map(String::as_str).collect();
    let report = crm.read(&["nobody", "B:1", "O'Brien"], &names).await;
    assert_eq!(report.status, Some(200));
    let found = report.result.unwrap();
    assert_eq!(found[0], Ok(None));
    let (b, a) = (found[1].clone().unwrap().unwrap(), found[2].clone().unwrap().unwrap());
    assert_eq!((&b.fields["lastname"], &b.fields["telephone1"], b.modified_at), (&json!("Berg"), &Value::Null, Some(NOW)));
    let connector = crm.client.connector();
    for (name, sent) in fields.as_object().unwrap() {
        assert!(connector.equal(name, sent, &a.fields[name]), "{name}: {}", a.fields[name]);
    }
    assert_eq!(crm.client.probe(NOW).await, Ok(()));
}

#[tokio::test]
async fn one_bad_contact_does_not_spoil_the_others() {
    let crm = Crm::new("").await;
    let records = vec![
        record("a", json!({ "lastname": "x".repeat(51) })),
        record("b", json!({ "lastname": "Berg" })),
        record("c", json!({ "leadsourcecode": 7 })),
        record("d", json!({ "nosuch": "x" })),
        record("e", json!({ "leadsourcecode": "Advertisement" })),
    ];
    let results = crm.write(&batch(Mode::Upsert, records)).await.result.unwrap();
    assert_eq!(results[1].as_ref().unwrap().created, Some(true));
    let told: Vec<(Class, Scope, String, Vec<String>)> = [0, 2, 3, 4]
        .map(|place: usize| results[place].clone().unwrap_err())
        .into_iter()
        .map(|failure| (failure.class, failure.scope, failure.code, failure.fields))
        .collect();
    let row = |code: &str, field: &str| (Class::Permanent, Scope::Record, code.to_owned(), vec![field.to_owned()]);
    let expected = [
        row("0x80044331", "lastname"),
        row("0x80044331", "leadsourcecode"),
        row("0x80048d19", "nosuch"),
        row("0x80048d19", "leadsourcecode"),
    ];
    assert_eq!(told, expected);
    assert_eq!(crm.contacts().len(), 1);
}

#[tokio::test]
async fn each_mode_does_what_it_says_with_either_kind_of_key() {
    for key in ["a", "a:1"] {
        let crm = Crm::new("").await;
        let update = WriteBatch { mode: Mode::UpdateOnly, ..of(&[key]) };
        let missing = failure(crm.write(&update).await);
        let reason = if key == "a" { Some(Reason::RecordNotFound) } else { None };
        assert_eq!((missing.class, missing.reason), (Class::Permanent, reason), "{key}: {missing:?}");
        let create = WriteBatch { mode: Mode::CreateOnly, ..of(&[key, "b", "b:2"]) };
        let report = crm.write(&create).await;
        assert_eq!(created(&report.result.unwrap()), [Some(true); 3]);
        let there = crm.write(&batch(Mode::CreateOnly, vec![record(key, json!({ "lastname": "Other" }))])).await.result.unwrap();
        assert_eq!(created(&there), [Some(false)], "it is there, which is what was wanted");
        let id = crm.read(&[key], &[]).await.result.unwrap().remove(0).unwrap().unwrap().crm_id;
        let mut update = batch(Mode::UpdateOnly, vec![record(key, json!({ "lastname": "Flint" }))]);
        update.records[0].crm_id = Some(id.clone());
        assert_eq!(created(&crm.write(&update).await.result.unwrap()), [Some(false)]);
        let held = crm.contacts().into_iter().find(|held| held.key.as_deref() == Some(key)).unwrap();
        assert_eq!((&held.fields["lastname"], held.creates), (&json!("Flint"), 1));
        let mut delete = batch(Mode::Delete, vec![record(key, json!({}))]);
        delete.records[0].crm_id = Some(id.clone());
        assert_eq!(crm.write(&delete).await.result.unwrap(), [Ok(Written::default())]);
        assert_eq!(crm.write(&delete).await.result.unwrap(), [Ok(Written::default())], "what is gone is gone");
        assert_eq!(crm.read(&[key], &[]).await.result.unwrap(), [Ok(None)]);
        update.records[0].crm_id = Some(id);
        assert_eq!(failure(crm.write(&update).await).reason, Some(Reason::RecordNotFound));
        let gone = crm.write(&delete_of(&crm, &["b", "b:2"]).await).await.result.unwrap();
        assert_eq!(gone, [Ok(Written::default()), Ok(Written::default())], "and several in one call");
        assert!(crm.contacts().iter().all(|held| held.deleted));
    }
}

async fn delete_of(crm: &Crm, keys: &[&str]) -> WriteBatch {
    let found = crm.read(keys, &[]).await.result.unwrap();
    let mut delete = WriteBatch { mode: Mode::Delete, ..of(keys) };
    for (record, found) in delete.records.iter_mut().zip(found) {
        record.crm_id = found.unwrap().map(|found| found.crm_id);
    }
    delete
}

#[tokio::test]
async fn a_record_of_somebody_else_under_such_a_key_is_found_and_updated_instead_of_created_again() {
    let crm = Crm::new("").await;
    let base = format!("http://{}", crm.sandbox.address());
    let theirs = json!({ "lastname": "Theirs", "onceward_key": "shop:7" });
    let made = reqwest::Client::new().post(format!("{base}/api/data/v9.2/contacts")).bearer_auth("any").json(&theirs).send().await.unwrap();
    assert_eq!(made.status().as_u16(), 204);
    let refused = failure(crm.write(&of(&["shop:7"])).await);
    assert_eq!((refused.class, refused.scope, refused.code.as_str()), (Class::Conflict, Scope::Record, "0x80060892"));
    assert!(!refused.message.contains("shop:7"), "{}", refused.message);
    let id = crm.read(&["shop:7"], &[]).await.result.unwrap().remove(0).unwrap().unwrap().crm_id;
    let mut again = of(&["shop:7"]);
    again.records[0].crm_id = Some(id.clone());
    assert_eq!(crm.write(&again).await.result.unwrap(), [Ok(Written { crm_id: Some(id), created: Some(false) })]);
    assert_eq!((crm.contacts().len(), &crm.contacts()[0].fields["lastname"]), (1, &json!("Stone")));
}

#[tokio::test]
async fn a_contact_is_bound_to_its_account_and_read_back_with_it() {
    let crm = Crm::new("").await;
    let account = WriteBatch { object: "accounts".to_owned(), ..batch(Mode::Upsert, vec![record("acct-1", json!({ "name": "Example" }))]) };
    let id = ids(&crm.write(&account).await.result.unwrap()).remove(0);
    let link = |crm_id: Option<&str>, key: &str| {
        let crm_id = crm_id.map(str::to_owned);
        Link { object: "accounts".to_owned(), key_field: "onceward_key".to_owned(), key: key.to_owned(), crm_id }.to_value()
    };
    let linked = |value: Value| batch(Mode::Upsert, vec![record("c-1", json!({ "parentcustomerid_account": value }))]);
    for value in [link(None, "acct-1"), link(Some(&id), "acct-1")] {
        crm.write(&linked(value)).await.result.unwrap()[0].clone().unwrap();
        let report = crm.read(&["c-1"], &["lastname", "parentcustomerid_account"]).await;
        let found = report.result.unwrap().remove(0).unwrap().unwrap();
        assert_eq!(found.fields["parentcustomerid_account"], json!(id));
        assert_eq!(report.calls, 2, "a lookup cannot be selected by the name that it is written by");
        assert!(crm.client.connector().equal("parentcustomerid_account", &link(Some(&id.to_uppercase()), "x"), &json!(id)));
        assert!(!crm.client.connector().equal("parentcustomerid_account", &link(None, "x"), &json!(id)));
    }
    for value in [link(None, "acct-2"), link(Some("00000000-0000-0000-0000-000000000001"), "acct-2")] {
        let refused = failure(crm.write(&linked(value)).await);
        assert_eq!((refused.class, refused.scope, refused.reason), (Class::Conflict, Scope::Record, None), "{refused:?}");
    }
    let unknown = failure(crm.write(&linked(link(None, "acct:2"))).await);
    assert_eq!((unknown.class, unknown.code.as_str()), (Class::Conflict, "parent_unknown"));
    crm.write(&linked(Value::Null)).await.result.unwrap()[0].clone().unwrap();
    let found = crm.read(&["c-1"], &["parentcustomerid_account"]).await.result.unwrap().remove(0).unwrap().unwrap();
    assert_eq!(found.fields["parentcustomerid_account"], Value::Null, "null unbinds");
}

#[tokio::test]
async fn every_fault_is_read_as_what_it_is() {
    for (faults, status, class, scope, code, pause, applied) in [
        ("429=1:90s", Some(429), Class::Throttled, Scope::Destination, "0x80072322", Some(90), false),
        ("limit=1", Some(429), Class::Throttled, Scope::Destination, "0x80072326", Some(1), false),
        ("500-before=1", Some(500), Class::Unknown, Scope::Destination, "0x80040216", None, false),
        ("500-after=1", Some(500), Class::Unknown, Scope::Destination, "0x80040216", None, true),
        ("cut-before=1", None, Class::Unknown, Scope::Destination, "cut", None, false),
        ("cut-after=1", None, Class::Unknown, Scope::Destination, "cut", None, true),
        ("garbage=1", Some(200), Class::Unknown, Scope::Call, "garbage", None, true),
        ("late=1", None, Class::Unknown, Scope::Destination, "cut", None, false),
        ("lock=1", Some(500), Class::Unknown, Scope::Destination, "0x80044150", None, false),
    ] {
        for key in ["a", "demo:1"] {
            let crm = Crm::new(faults).await;
            let before = crm.calls();
            let report = crm.write(&of(&[key])).await;
            assert_eq!(report.status, status, "{faults}");
            let failed = failure(report);
            let waits = failed.retry_after.map(|wait| wait.as_secs());
            assert_eq!((failed.class, failed.scope, failed.code.as_str(), waits), (class, scope, code, pause), "{faults}");
            assert_eq!(
                (crm.contacts().len(), crm.calls() - before),
                (usize::from(applied), 1),
                "{faults}: nothing is sent twice by itself"
            );
            crm.misbehave("");
            assert!(crm.write(&of(&[key])).await.result.unwrap()[0].is_ok(), "{faults}");
            assert_eq!((crm.contacts().len(), crm.contacts()[0].creates), (1, 1), "{faults}: the keyed write can be repeated");
        }
    }
}

#[tokio::test]
async fn a_token_that_ends_is_renewed_in_the_middle_and_the_call_is_sent_once_more() {
    let crm = Crm::new("expired-token=1").await;
    let before = crm.calls();
    let failed = failure(crm.write(&of(&["a", "b"])).await);
    assert_eq!((failed.class, failed.scope), (Class::Auth, Scope::Destination));
    assert_eq!(crm.calls() - before, 3, "the call, a token, the call; and not a third time");
    crm.misbehave("expired-token=0.5");
    let mut done = 0;
    for at in 0..20 {
        done += usize::from(crm.write(&of(&[&format!("k{at}"), &format!("l{at}")])).await.result.is_ok());
    }
    assert!(done > 10, "{done}");
    assert!(crm.contacts().iter().all(|held| held.creates == 1));
}

#[tokio::test]
async fn in_a_batch_only_those_without_a_word_are_unknown() {
    let crm = Crm::new("missing=1").await;
    let results = crm.write(&of(&["a", "b:1", "c"])).await.result.unwrap();
    assert_eq!((results[0].is_ok(), results[1].is_ok()), (true, true));
    let unknown = results[2].clone().unwrap_err();
    assert_eq!((unknown.class, unknown.scope, unknown.code.as_str()), (Class::Unknown, Scope::Record, "no_result"));
    crm.misbehave("partial=1");
    let keys: Vec<String> = (0..50).map(|at| format!("k{at}")).collect();
    let results = crm.write(&of(&keys.iter().map(String::as_str).collect::<Vec<_>>())).await.result.unwrap();
    let locked: Vec<&Failure> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert_eq!(crm.contacts().len(), 3 + 50 - locked.len());
    assert!((10..40).contains(&locked.len()), "{}", locked.len());
    assert!(locked.iter().all(|failure| (failure.class, failure.scope) == (Class::Unknown, Scope::Record)));
}

#[tokio::test]
async fn credentials_are_told_from_scopes_and_crowds() {
    let options = || Options { credentials: "app:right".parse().unwrap(), ..Options::default() };
    let wrong = Crm::with("", options(), "wrong").await;
    let failed = failure(wrong.write(&of(&["a"])).await);
    assert_eq!((failed.class, failed.scope, failed.code.as_str()), (Class::Auth, Scope::Destination, "invalid_client"));
    assert!(failed.message.contains("AADSTS7000215"), "{}", failed.message);
    assert_eq!(wrong.calls(), 1, "and the record was not sent");
    let right = Crm::with("", options(), "right").await;
    assert!(right.write(&of(&["a"])).await.result.is_ok());
    let crowded = Crm::with("429=1:40s", Options::default(), "x").await;
    let failed = failure(crowded.write(&of(&["a"])).await);
    assert_eq!((failed.class, failed.retry_after), (Class::Throttled, Some(Duration::from_secs(40))), "at the token endpoint");
}

#[tokio::test]
async fn a_column_without_an_alternate_key_is_the_destinations_fault_and_can_be_mended() {
    let crm = Crm::new("").await;
    let by_mail = WriteBatch { key_field: "emailaddress1".to_owned(), ..of(&["a@example.com"]) };
    let failed = failure(crm.write(&by_mail).await);
    assert_eq!((failed.class, failed.scope, failed.code.as_str()), (Class::Permanent, Scope::Destination, "key_not_defined"));
    let segment = failure(crm.write(&WriteBatch { object: "contact".to_owned(), ..of(&["a"]) }).await);
    assert_eq!((segment.class, segment.scope), (Class::Permanent, Scope::Destination));
    assert_eq!(crm.client.describe("contact", NOW).await.unwrap_err().code, "no_such_object");
    let before = crm.client.describe("opportunities", NOW).await.unwrap();
    assert!(before.fields["onceward_key"].unique && !before.fields.contains_key("erp_key"));
    let Setup::Calls(calls) = crm.client.connector().setup("opportunities", "erp_key") else { unreachable!("calls") };
    for call in calls {
        assert_eq!(crm.client.set_up(call, NOW).await.unwrap().status, 204);
    }
    let after = crm.client.describe("opportunities", NOW).await.unwrap();
    let key = &after.fields["erp_key"];
    assert_eq!(
        (&key.kind, key.length_max, key.creatable, key.unique),
        (&FieldKind::Text, Some(255), true, false),
        "its index is being built"
    );
}

#[tokio::test]
async fn a_table_is_described_with_its_choices_and_its_links() {
    let crm = Crm::new("").await;
    let contact = crm.client.describe("contacts", NOW).await.unwrap();
    let kind = |name: &str| contact.fields[name].kind.clone();
    assert_eq!((kind("lastname"), contact.fields["lastname"].length_max), (FieldKind::Text, Some(50)));
    assert_eq!(kind("leadsourcecode"), FieldKind::Choice { options: vec!["1".to_owned()], several: false, open: false });
    assert!(matches!(kind("onceward_topics"), FieldKind::Choice { options, several: true, .. } if options.len() == 3));
    assert_eq!((kind("birthdate"), kind("lastusedincampaign")), (FieldKind::Date, FieldKind::DateTime));
    assert_eq!((kind("parentcustomerid_account"), kind("creditlimit")), (FieldKind::Reference, FieldKind::Number));
    assert!(contact.fields["onceward_key"].unique && !contact.fields["emailaddress1"].unique);
    assert!(contact.fields.values().all(|field| !field.required));
}
