//! Zoho's connector against the sandbox that speaks its dialect, over real sockets.

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
    async fn with(faults: &str, options: Options, refresh: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = Options { latency: Duration::ZERO, faults: faults.parse().unwrap(), ..options };
        let sandbox = Sandbox::serve(listener, 7, options, || NOW).unwrap();
        let auth = Auth::RefreshToken {
            client_id: "1000.APP".to_owned(),
            client_secret: Secret::new("hush"),
            refresh_token: Secret::new(refresh),
        };
        let settings = Settings::new(Kind::Zoho, format!("http://{}", sandbox.address()), auth);
        let client = Client::http(Settings { call_timeout: Some(Duration::from_secs(2)), ..settings }).unwrap();
        Self { sandbox, client }
    }

    async fn new(faults: &str) -> Self {
        let crm = Self::with("", Options::default(), "1000.refresh").await;
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
            object: "Contacts".to_owned(),
            key_field: "Onceward_Key".to_owned(),
            records: keys.iter().map(|key| Sought { key: (*key).to_owned(), crm_id: None }).collect(),
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        };
        self.client.read(&batch, CallId(2), NOW).await
    }

    fn contacts(&self) -> Vec<RecordView> {
        self.sandbox.core().lock().unwrap().records(Some("zoho"), Some("Contacts")).collect()
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
    WriteBatch { object: "Contacts".to_owned(), key_field: "Onceward_Key".to_owned(), mode, records }
}

fn of(keys: &[&str]) -> WriteBatch {
    batch(Mode::Upsert, keys.iter().map(|key| record(key, json!({ "Last_Name": "Stone" }))).collect())
}

fn created(results: &[Result<Written, Failure>]) -> Vec<Option<bool>> {
    results.iter().map(|result| result.as_ref().unwrap().created).collect()
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
    let keys: Vec<String> = (0..100).map(|at| format!("demo:{at}")).collect();
    let all = of(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    let report = crm.write(&all).await;
    assert_eq!((report.status, created(&report.result.unwrap())), (Some(200), vec![Some(true); 100]));
    let again = crm.write(&all).await.result.unwrap();
    assert_eq!(created(&again), [Some(false); 100]);
    assert_eq!((crm.calls(), crm.contacts().len()), (4, 100), "a token, a probe and two batches");
    for (result, key) in again.iter().zip(&keys) {
        let held = crm.contacts().into_iter().find(|held| held.key.as_ref() == Some(key)).unwrap();
        assert_eq!((result.as_ref().unwrap().crm_id.as_deref(), held.creates), (Some(held.id.as_str()), 1));
    }
}

#[tokio::test]
async fn what_was_written_is_read_back_by_key_and_the_rest_is_absent() {
    let crm = Crm::new("").await;
    let fields = json!({
        "Last_Name": " Stone ", "Email": "Ada@Example.com", "Phone": null, "Topics": ["Korean", "Spanish"],
        "Last_Visit": "2026-11-22T18:04:00.700Z", "Date_of_Birth": "1990-02-28",
    });
    crm.write(&batch(Mode::Upsert, vec![record("a", fields.clone()), record("b, c/d", json!({ "Last_Name": "Berg" }))]))
        .await
        .result
        .unwrap();
    let names: Vec<&str> = fields.as_object().unwrap().keys().map(String::as_str).collect();
    let report = crm.read(&["nobody", "A"], &names).await;
    assert_eq!(report.status, Some(200));
    let found = report.result.unwrap();
    assert_eq!(found[0], Ok(None));
    let a = found[1].clone().unwrap().unwrap();
    assert_eq!((&a.fields["Phone"], a.modified_at), (&Value::Null, Some(NOW)));
    let connector = crm.client.connector();
    for (name, sent) in fields.as_object().unwrap() {
        assert!(connector.equal(name, sent, &a.fields[name]), "{name}: {}", a.fields[name]);
    }
    let odd = crm.read(&["b, c/d"], &["Last_Name"]).await.result.unwrap().remove(0).unwrap().unwrap();
    assert_eq!(odd.fields["Last_Name"], "Berg", "a key with a comma is looked up alone");
    assert_eq!(crm.read(&["x"], &[]).await.result.unwrap(), [Ok(None)]);
    assert_eq!(crm.read(&["x", "y"], &[]).await.result.unwrap(), [Ok(None), Ok(None)]);
}

#[tokio::test]
async fn one_bad_contact_does_not_spoil_the_others() {
    let crm = Crm::new("").await;
    let member = |number: &str| json!({ "Last_Name": "Stone", "Member_Number": number });
    crm.write(&batch(Mode::Upsert, vec![record("taken", member("7")), record("d", member("8"))])).await.result.unwrap();
    let records = vec![
        record("a", json!({ "Last_Name": "Stone", "Email": "nobody" })),
        record("b", json!({ "Last_Name": "Berg" })),
        record("c", json!({ "First_Name": "Ada" })),
        record("d", member("7")),
    ];
    let report = crm.write(&batch(Mode::Upsert, records)).await;
    assert_eq!(report.status, Some(207));
    let results = report.result.unwrap();
    assert_eq!(results[1].as_ref().unwrap().created, Some(true));
    let told: Vec<(Class, Scope, String, Vec<String>)> = [0, 2, 3]
        .map(|place: usize| results[place].clone().unwrap_err())
        .into_iter()
        .map(|failure| (failure.class, failure.scope, failure.code, failure.fields))
        .collect();
    let row = |class, code: &str, field: &str| (class, Scope::Record, code.to_owned(), vec![field.to_owned()]);
    let expected = [
        row(Class::Permanent, "INVALID_DATA", "Email"),
        row(Class::Permanent, "MANDATORY_NOT_FOUND", "Last_Name"),
        row(Class::Conflict, "DUPLICATE_DATA", "Member_Number"),
    ];
    assert_eq!(told, expected);
    assert_eq!(crm.contacts().len(), 3);
    let alone = crm.write(&batch(Mode::Upsert, vec![record("a", json!({ "Last_Name": "Stone", "Email": "nobody" }))])).await;
    assert_eq!((alone.status, failure(alone).code.as_str()), (Some(400), "INVALID_DATA"), "a list in a refusal is read too");
}

#[tokio::test]
async fn each_mode_does_what_it_says() {
    let crm = Crm::new("").await;
    let missing = failure(crm.write(&WriteBatch { mode: Mode::UpdateOnly, ..of(&["a"]) }).await);
    assert_eq!((missing.class, missing.reason), (Class::Permanent, Some(Reason::RecordNotFound)));
    let create = WriteBatch { mode: Mode::CreateOnly, ..of(&["a", "b"]) };
    assert_eq!(created(&crm.write(&create).await.result.unwrap()), [Some(true); 2]);
    let id = crm.contacts()[0].id.clone();
    let there = crm.write(&batch(Mode::CreateOnly, vec![record("A", json!({ "Last_Name": "Other" }))])).await.result.unwrap();
    assert_eq!(there, [Ok(Written { crm_id: Some(id.clone()), created: Some(false) })], "it is there, which is what was wanted");
    let by_key = batch(Mode::UpdateOnly, vec![record("a", json!({ "Last_Name": "Flint" })), record("b", json!({ "Last_Name": "Flint" }))]);
    assert_eq!(created(&crm.write(&by_key).await.result.unwrap()), [Some(false); 2]);
    let mut by_id = batch(Mode::UpdateOnly, vec![record("a", json!({ "Last_Name": "Slate" }))]);
    by_id.records[0].crm_id = Some(id.clone());
    assert_eq!(created(&crm.write(&by_id).await.result.unwrap()), [Some(false)]);
    assert_eq!(crm.contacts()[0].fields["Last_Name"], "Slate");
    let mut delete = batch(Mode::Delete, vec![record("a", json!({})), record("b", json!({}))]);
    delete.records[0].crm_id = Some(id.clone());
    delete.records[1].crm_id = Some("554023001000000999".to_owned());
    assert_eq!(crm.write(&delete).await.result.unwrap(), [Ok(Written::default()), Ok(Written::default())], "and what is gone is gone");
    assert_eq!(crm.read(&["a"], &[]).await.result.unwrap(), [Ok(None)]);
    assert_eq!(failure(crm.write(&by_id).await).reason, Some(Reason::RecordNotFound));
    assert_eq!(created(&crm.write(&of(&["a"])).await.result.unwrap()), [Some(true)], "an upsert makes it anew");
}

#[tokio::test]
async fn a_contact_is_linked_to_its_account_and_read_back_with_it() {
    let crm = Crm::new("").await;
    let accounts = |key: &str| WriteBatch {
        object: "Accounts".to_owned(),
        ..batch(Mode::Upsert, vec![record(key, json!({ "Account_Name": "Example" }))])
    };
    let id = crm.write(&accounts("acct:1")).await.result.unwrap().remove(0).unwrap().crm_id.unwrap();
    let link = |crm_id: Option<&str>| {
        let (object, key_field, key) = ("Accounts".to_owned(), "Onceward_Key".to_owned(), "acct:1".to_owned());
        Link { object, key_field, key, crm_id: crm_id.map(str::to_owned) }.to_value()
    };
    let linked = |value: Value| batch(Mode::Upsert, vec![record("c", json!({ "Last_Name": "Stone", "Account_Name": value }))]);
    crm.write(&linked(link(Some(&id)))).await.result.unwrap()[0].clone().unwrap();
    let found = crm.read(&["c"], &["Account_Name"]).await.result.unwrap().remove(0).unwrap().unwrap();
    assert!(crm.client.connector().equal("Account_Name", &link(Some(&id)), &found.fields["Account_Name"]), "{:?}", found.fields);
    assert!(!crm.client.connector().equal("Account_Name", &link(Some("1")), &found.fields["Account_Name"]));
    let gone = failure(crm.write(&linked(link(Some("554023002000000999")))).await);
    assert_eq!((gone.class, gone.scope, gone.code.as_str()), (Class::Conflict, Scope::Record, "INVALID_DATA"));
    assert_eq!(failure(crm.write(&linked(link(None))).await).code, "parent_unknown");
}

#[tokio::test]
async fn every_fault_is_read_as_what_it_is() {
    for (faults, status, class, scope, code, pause, applied) in [
        ("429=1:90s", Some(429), Class::Throttled, Scope::Destination, "TOO_MANY_REQUESTS", Some(90), false),
        ("limit=1", Some(429), Class::Throttled, Scope::Destination, "TOO_MANY_REQUESTS", Some(5), false),
        ("500-before=1", Some(500), Class::Unknown, Scope::Destination, "INTERNAL_ERROR", None, false),
        ("500-after=1", Some(500), Class::Unknown, Scope::Destination, "INTERNAL_ERROR", None, true),
        ("cut-before=1", None, Class::Unknown, Scope::Destination, "cut", None, false),
        ("cut-after=1", None, Class::Unknown, Scope::Destination, "cut", None, true),
        ("garbage=1", Some(200), Class::Unknown, Scope::Call, "garbage", None, true),
        ("late=1", None, Class::Unknown, Scope::Destination, "cut", None, false),
        ("lock=1", Some(400), Class::Conflict, Scope::Record, "RECORD_LOCKED", Some(60), false),
        ("missing=1", Some(200), Class::Unknown, Scope::Record, "no_result", None, true),
    ] {
        let crm = Crm::new(faults).await;
        let before = crm.calls();
        let report = crm.write(&of(&["a"])).await;
        assert_eq!(report.status, status, "{faults}");
        let failed = failure(report);
        let waits = failed.retry_after.map(|wait| wait.as_secs());
        assert_eq!((failed.class, failed.scope, failed.code.as_str(), waits), (class, scope, code, pause), "{faults}");
        assert_eq!((crm.contacts().len(), crm.calls() - before), (usize::from(applied), 1), "{faults}: nothing is sent twice by itself");
        crm.misbehave("");
        assert!(crm.write(&of(&["a"])).await.result.unwrap()[0].is_ok(), "{faults}");
        assert_eq!((crm.contacts().len(), crm.contacts()[0].creates), (1, 1), "{faults}: the keyed write can be repeated");
    }
}

#[tokio::test]
async fn a_token_that_ends_is_renewed_in_the_middle_and_the_call_is_sent_once_more() {
    let crm = Crm::new("expired-token=1").await;
    let before = crm.calls();
    let failed = failure(crm.write(&of(&["a", "b"])).await);
    assert_eq!((failed.class, failed.scope, failed.code.as_str()), (Class::Auth, Scope::Destination, "INVALID_TOKEN"));
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
    let results = crm.write(&of(&["a", "b", "c"])).await.result.unwrap();
    assert!(results.iter().all(|result| result.as_ref().is_err_and(|failure| failure.code == "no_result")), "{results:?}");
    crm.misbehave("partial=1");
    let keys: Vec<String> = (0..50).map(|at| format!("k{at}")).collect();
    let results = crm.write(&of(&keys.iter().map(String::as_str).collect::<Vec<_>>())).await.result.unwrap();
    let locked: Vec<&Failure> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert_eq!(crm.contacts().len(), 3 + 50 - locked.len());
    assert!((10..40).contains(&locked.len()), "{}", locked.len());
    assert!(locked.iter().all(|failure| (failure.class, failure.scope) == (Class::Conflict, Scope::Record)));
}

#[tokio::test]
async fn a_dead_refresh_token_is_told_from_too_many() {
    let options = || Options { credentials: "1000.APP:hush,1000.refresh".parse().unwrap(), ..Options::default() };
    let dead = Crm::with("", options(), "1000.revoked").await;
    let failed = failure(dead.write(&of(&["a"])).await);
    assert_eq!((failed.class, failed.scope, failed.code.as_str()), (Class::Auth, Scope::Destination, "invalid_code"));
    assert_eq!(dead.calls(), 1, "and the record was not sent");
    let good = Crm::with("", options(), "1000.refresh").await;
    assert!(good.write(&of(&["a"])).await.result.is_ok());
    let crowded = Crm::with("429=1:40s", Options::default(), "1000.refresh").await;
    let failed = failure(crowded.write(&of(&["a"])).await);
    assert_eq!(
        (failed.class, failed.code.as_str(), failed.retry_after),
        (Class::Throttled, "Access Denied", Some(Duration::from_secs(600)))
    );
}

#[tokio::test]
async fn the_days_credits_are_a_pause_and_a_wrong_module_is_the_destinations_fault() {
    let crm = Crm::with("", Options { daily_calls: 1, ..Options::default() }, "x").await;
    crm.write(&of(&["a"])).await.result.unwrap();
    let failed = failure(crm.write(&of(&["b"])).await);
    assert_eq!(
        (failed.class, failed.code.as_str(), failed.retry_after),
        (Class::Throttled, "LIMIT_EXCEEDED", Some(Duration::from_secs(900)))
    );
    let crm = Crm::new("").await;
    let failed = failure(crm.write(&WriteBatch { object: "People".to_owned(), ..of(&["a"]) }).await);
    assert_eq!((failed.class, failed.scope, failed.code.as_str()), (Class::Permanent, Scope::Destination, "INVALID_MODULE"));
    let by_phone = batch(Mode::Upsert, vec![record("1", json!({ "Last_Name": "Stone" }))]);
    let failed = failure(crm.write(&WriteBatch { key_field: "Phone".to_owned(), ..by_phone }).await);
    assert_eq!((failed.class, failed.code.as_str()), (Class::Permanent, "INVALID_DATA"));
}

#[tokio::test]
async fn a_module_is_described_and_the_field_of_a_key_made() {
    let crm = Crm::new("").await;
    let leads = crm.client.describe("Leads", NOW).await.unwrap();
    let kind = |name: &str| leads.fields[name].kind.clone();
    assert_eq!((kind("Last_Name"), leads.fields["Last_Name"].required), (FieldKind::Text, true));
    assert!(matches!(kind("Lead_Status"), FieldKind::Choice { options, several: false, .. } if options.len() == 3));
    assert!(matches!(kind("Topics"), FieldKind::Choice { several: true, .. }));
    assert_eq!(
        (kind("No_of_Employees"), kind("Annual_Revenue"), kind("Email_Opt_Out")),
        (FieldKind::Integer, FieldKind::Number, FieldKind::Boolean)
    );
    assert!(leads.fields["Onceward_Key"].unique && !leads.fields["Email"].unique && !leads.fields.contains_key("Erp_Key"));
    let Setup::Calls(calls) = crm.client.connector().setup("Leads", "Erp_Key") else { unreachable!("calls") };
    for call in calls {
        assert_eq!(crm.client.set_up(call, NOW).await.unwrap().status, 200);
    }
    let after = crm.client.describe("Leads", NOW).await.unwrap();
    assert!(after.fields["Erp_Key"].unique);
    let by_it = WriteBatch { object: "Leads".to_owned(), key_field: "Erp_Key".to_owned(), ..of(&["e:1", "e:2"]) };
    assert_eq!(created(&crm.write(&by_it).await.result.unwrap()), [Some(true); 2]);
    assert_eq!(crm.client.describe("People", NOW).await.unwrap_err().scope, Scope::Destination);
}
