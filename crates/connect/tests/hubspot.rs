//! HubSpot's connector against the sandbox that speaks its dialect, over real sockets.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are a test too")]

use std::collections::BTreeMap;
use std::time::Duration;

use model::event::Mode;
use model::{CallId, Class, Failure, Reason, Scope, Time};
use onceward_connect::{Auth, Client, Kind, Present, ReadBatch, Report, Secret, Settings, Sought, Usage, WriteBatch, WriteRecord, Written};
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
    async fn with(faults: &str, options: Options, token: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = Options { latency: Duration::ZERO, faults: faults.parse().unwrap(), ..options };
        let sandbox = Sandbox::serve(listener, 7, options, || NOW).unwrap();
        let auth = Auth::Bearer { token: Secret::new(token) };
        let settings = Settings::new(Kind::Hubspot, format!("http://{}", sandbox.address()), auth);
        let client = Client::http(Settings { call_timeout: Some(Duration::from_secs(2)), ..settings });
        Self { sandbox, client: client.unwrap() }
    }

    async fn new(faults: &str) -> Self {
        Self::with(faults, Options::default(), "pat-eu1-x").await
    }

    fn misbehave(&self, faults: &str) {
        self.sandbox.core().lock().unwrap().set_faults(faults.parse().unwrap(), NOW);
    }

    async fn write(&self, batch: &WriteBatch) -> Report<Written> {
        self.client.write(batch, CallId(1), NOW).await
    }

    async fn read(&self, keys: &[&str]) -> Report<Option<Present>> {
        let batch = ReadBatch {
            object: "contacts".to_owned(),
            key_field: "crm_ext_id".to_owned(),
            records: keys.iter().map(|key| Sought { key: (*key).to_owned(), crm_id: None }).collect(),
            fields: vec!["email".to_owned(), "lastname".to_owned(), "phone".to_owned()],
        };
        self.client.read(&batch, CallId(2), NOW).await
    }

    fn contacts(&self) -> Vec<RecordView> {
        self.sandbox.core().lock().unwrap().records(Some("hubspot"), Some("contacts")).collect()
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
    WriteBatch { object: "contacts".to_owned(), key_field: "crm_ext_id".to_owned(), mode, records }
}

fn of(keys: &[&str]) -> WriteBatch {
    batch(
        Mode::Upsert,
        keys.iter()
            .map(|key| record(key, json!({ "lastname": "Stone", "email": format!("{}@example.com", key.replace(':', "-")) })))
            .collect(),
    )
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
    assert_eq!((report.status, report.usage.first()), (Some(200), Some(&Usage::day(1, 5_000_000))));
    assert_eq!(created(&report.result.unwrap()), [Some(true); 100]);
    let again = crm.write(&all).await.result.unwrap();
    assert_eq!(created(&again), [Some(false); 100]);
    assert_eq!((crm.calls(), crm.contacts().len()), (2, 100));
    for (result, key) in again.iter().zip(&keys) {
        let held = crm.contacts().into_iter().find(|held| held.key.as_ref() == Some(key)).unwrap();
        assert_eq!((result.as_ref().unwrap().crm_id.as_deref(), held.creates), (Some(held.id.as_str()), 1));
    }
    let call = crm.sandbox.core().lock().unwrap().calls(0).next().unwrap().call.clone();
    assert_eq!(call, Some(CallId(1).to_string()), "each call says whose it is");
}

#[tokio::test]
async fn what_was_written_is_read_back_by_key_and_the_rest_is_absent() {
    let crm = Crm::new("").await;
    let fields = json!({ "lastname": " Stone ", "email": "Ada@Example.com", "phone": null });
    crm.write(&batch(Mode::Upsert, vec![record("a", fields.clone()), record("b", json!({ "lastname": "Berg" }))])).await.result.unwrap();
    let report = crm.read(&["nobody", "B", "a"]).await;
    assert_eq!(report.status, Some(207));
    let found = report.result.unwrap();
    assert_eq!(found[0], Ok(None));
    let (b, a) = (found[1].clone().unwrap().unwrap(), found[2].clone().unwrap().unwrap());
    assert_eq!((&b.fields["lastname"], &b.fields["phone"], b.modified_at), (&json!("Berg"), &Value::Null, Some(NOW)));
    let connector = crm.client.connector();
    for (name, sent) in fields.as_object().unwrap() {
        assert!(connector.equal(name, sent, &a.fields[name]), "{name}: {}", a.fields[name]);
    }
    assert_eq!(crm.read(&["a", "b"]).await.status, Some(200));
    assert_eq!(crm.client.probe(NOW).await, Ok(()));
}

#[tokio::test]
async fn one_bad_contact_does_not_spoil_the_others() {
    let crm = Crm::new("").await;
    crm.write(&of(&["taken"])).await.result.unwrap();
    let records = vec![
        record("a", json!({ "email": "nobody" })),
        record("b", json!({ "lastname": "Berg" })),
        record("c", json!({ "email": "taken@example.com" })),
        record("d", json!({ "nosuch": "x" })),
    ];
    let results = crm.write(&batch(Mode::Upsert, records)).await.result.unwrap();
    assert_eq!(results[1].as_ref().unwrap().created, Some(true));
    let told: Vec<(Class, Scope, String, Vec<String>)> = [0, 2, 3]
        .map(|place: usize| results[place].clone().unwrap_err())
        .into_iter()
        .map(|failure| (failure.class, failure.scope, failure.code, failure.fields))
        .collect();
    let row = |class, code: &str, fields: &[&str]| {
        (class, Scope::Record, code.to_owned(), fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(
        told,
        [
            row(Class::Permanent, "INVALID_EMAIL", &["email"]),
            row(Class::Conflict, "CONFLICT", &[]),
            row(Class::Permanent, "PROPERTY_DOESNT_EXIST", &["nosuch"]),
        ]
    );
    assert_eq!(crm.contacts().len(), 2);
}

#[tokio::test]
async fn each_mode_does_what_it_says() {
    let crm = Crm::new("").await;
    let missing = failure(crm.write(&WriteBatch { mode: Mode::UpdateOnly, ..of(&["a"]) }).await);
    assert_eq!((missing.class, missing.reason), (Class::Permanent, Some(Reason::RecordNotFound)));
    let create = WriteBatch { mode: Mode::CreateOnly, ..of(&["a", "b"]) };
    let report = crm.write(&create).await;
    assert_eq!((report.status, created(&report.result.unwrap())), (Some(201), vec![Some(true); 2]));
    let there = crm.write(&batch(Mode::CreateOnly, vec![record("A", json!({ "lastname": "Other" }))])).await.result.unwrap();
    assert_eq!(created(&there), [Some(false)], "it is there, which is what was wanted");
    let mut update = batch(Mode::UpdateOnly, vec![record("a", json!({ "lastname": "Flint" }))]);
    update.records[0].crm_id = Some(crm.contacts()[0].id.clone());
    assert_eq!(created(&crm.write(&update).await.result.unwrap()), [Some(false)]);
    assert_eq!(crm.contacts()[0].fields["lastname"], "Flint");
}

#[tokio::test]
async fn every_fault_is_read_as_what_it_is() {
    for (faults, status, class, scope, code, pause, applied) in [
        ("429=1:90s", Some(429), Class::Throttled, Scope::Destination, "TEN_SECONDLY_ROLLING", Some(90), false),
        ("limit=1", Some(429), Class::Throttled, Scope::Destination, "TEN_SECONDLY_ROLLING", Some(10), false),
        ("500-before=1", Some(500), Class::Unknown, Scope::Destination, "http_500", Some(3), false),
        ("500-after=1", Some(500), Class::Unknown, Scope::Destination, "http_500", Some(3), true),
        ("cut-before=1", None, Class::Unknown, Scope::Destination, "cut", None, false),
        ("cut-after=1", None, Class::Unknown, Scope::Destination, "cut", None, true),
        ("garbage=1", Some(200), Class::Unknown, Scope::Call, "garbage", None, true),
        ("late=1", None, Class::Unknown, Scope::Destination, "cut", None, false),
        ("expired-token=1", Some(401), Class::Auth, Scope::Destination, "EXPIRED_AUTHENTICATION", None, false),
        ("lock=1", Some(423), Class::Retryable, Scope::Call, "LOCKED", Some(2), false),
        ("empty=1", Some(200), Class::Conflict, Scope::Record, "nothing_written", None, false),
        ("missing=1", Some(200), Class::Conflict, Scope::Record, "nothing_written", None, true),
    ] {
        let crm = Crm::new(faults).await;
        let report = crm.write(&of(&["a"])).await;
        assert_eq!(report.status, status, "{faults}");
        let failed = failure(report);
        let waits = failed.retry_after.map(|wait| wait.as_secs());
        assert_eq!((failed.class, failed.scope, failed.code.as_str(), waits), (class, scope, code, pause), "{faults}");
        assert_eq!((crm.contacts().len(), crm.calls()), (usize::from(applied), 1), "{faults}: nothing is sent twice by itself");
        crm.misbehave("");
        assert!(crm.write(&of(&["a"])).await.result.unwrap()[0].is_ok(), "{faults}");
        assert_eq!((crm.contacts().len(), crm.contacts()[0].creates), (1, 1), "{faults}: the keyed write can be repeated");
    }
}

#[tokio::test]
async fn in_a_batch_only_those_without_a_word_are_unknown() {
    let crm = Crm::new("missing=1").await;
    let results = crm.write(&of(&["a", "b", "c"])).await.result.unwrap();
    let unknown = results.iter().filter_map(|result| result.as_ref().err()).collect::<Vec<_>>();
    assert_eq!((unknown.len(), unknown[0].class, unknown[0].code.as_str()), (1, Class::Unknown, "no_result"));
    crm.misbehave("partial=1");
    let keys: Vec<String> = (0..50).map(|at| format!("k{at}")).collect();
    let results = crm.write(&of(&keys.iter().map(String::as_str).collect::<Vec<_>>())).await.result.unwrap();
    let locked: Vec<&Failure> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert_eq!(crm.contacts().len(), 3 + 50 - locked.len());
    assert!((10..40).contains(&locked.len()), "{}", locked.len());
    assert!(locked.iter().all(|failure| (failure.class, failure.scope) == (Class::Retryable, Scope::Record)));
    crm.misbehave("empty=1");
    let failed = crm.write(&of(&["x", "y"])).await.result.unwrap_err();
    assert_eq!((failed.class, failed.scope), (Class::Conflict, Scope::Call), "so that each is alone the next time");
}

#[tokio::test]
async fn a_wrong_token_is_told_once_and_not_tried_again() {
    let options = Options { credentials: "pat-right".parse().unwrap(), ..Options::default() };
    let crm = Crm::with("", options, "pat-wrong").await;
    let failed = failure(crm.write(&of(&["a"])).await);
    assert_eq!((failed.class, failed.scope, failed.code.as_str()), (Class::Auth, Scope::Destination, "INVALID_AUTHENTICATION"));
    assert_eq!(crm.calls(), 1);
    assert_eq!(crm.client.probe(NOW).await.unwrap_err().class, Class::Auth);
}

#[tokio::test]
async fn each_limit_of_the_account_pauses_as_long_as_it_lasts() {
    let crm = Crm::with("", Options { ten_secondly_calls: 1, ..Options::default() }, "pat").await;
    crm.write(&of(&["a"])).await.result.unwrap();
    let failed = failure(crm.write(&of(&["b"])).await);
    assert_eq!((failed.code.as_str(), failed.retry_after), ("TEN_SECONDLY_ROLLING", Some(Duration::from_secs(10))));
    let crm = Crm::with("", Options { daily_calls: 0, ..Options::default() }, "pat").await;
    let failed = failure(crm.write(&of(&["a"])).await);
    assert_eq!((failed.class, failed.code.as_str()), (Class::Throttled, "DAILY"));
    assert!(failed.retry_after.unwrap() <= Duration::from_secs(900), "until the next midnight that there can be");
}

#[tokio::test]
async fn a_property_that_is_not_unique_is_the_destinations_fault() {
    let crm = Crm::new("").await;
    let by_name = WriteBatch { object: "companies".to_owned(), key_field: "domain".to_owned(), ..of(&["example.com"]) };
    let records = vec![record("example.com", json!({ "name": "Example" }))];
    let failed = failure(crm.write(&WriteBatch { records, ..by_name }).await);
    assert_eq!((failed.class, failed.scope), (Class::Permanent, Scope::Destination));
    assert!(failed.message.contains("non-unique 0-2 property domain"), "{}", failed.message);
}

#[test]
fn each_crm_takes_its_own_credentials() {
    let settings = |kind, auth| Settings::new(kind, "https://api.hubapi.com", auth);
    let bearer = |token: &str| Auth::Bearer { token: Secret::new(token) };
    let client = || Auth::ClientCredentials { client_id: "a".to_owned(), client_secret: Secret::new("b") };
    assert!(Client::http(settings(Kind::Hubspot, bearer("pat-eu1-0123"))).is_ok());
    for (kind, auth, says) in [
        (Kind::Hubspot, client(), "hubspot takes `bearer` or `refresh_token`, not `client_credentials`"),
        (Kind::Salesforce, bearer("pat"), "client_credentials"),
        (Kind::Hubspot, bearer(""), "`token` is empty"),
        (Kind::Hubspot, bearer("a\r\nx: hush"), "visible ASCII"),
        (Kind::Hubspot, bearer(&"x".repeat(5_000)), "visible ASCII"),
    ] {
        let error = Client::http(settings(kind, auth)).err().unwrap().to_string();
        assert!(error.contains(says) && !error.contains("hush"), "{error}");
    }
    for kind in Kind::ALL {
        assert_eq!(Kind::parse(kind.as_str()), Some(*kind));
    }
}
