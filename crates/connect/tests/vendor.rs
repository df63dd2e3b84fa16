//! The vendors' client against a real listener on this machine.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are a test too")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::{Request as HttpRequest, State};
use axum::response::Response;
use model::{Class, Failure, Reason, Scope, Time};
use onceward_connect::vendor::{Answer, Fetched, Kind, Settings, Vendor, Window};
use onceward_connect::{Auth, Secret};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const NOW: Time = Time::from_seconds(1_800_000_000);
const TOKEN: &str = "EAABsbCS1iHgBAxyz";

type Answering = fn(&Heard) -> (u16, Value);

/// A request as the vendor heard it.
#[derive(Clone, Debug)]
struct Heard {
    path: String,
    authorization: String,
    body: String,
    headers: BTreeMap<String, String>,
}

/// A vendor, and what it heard.
#[derive(Clone)]
struct Fake {
    heard: Arc<Mutex<Vec<Heard>>>,
    answer: Answering,
}

impl Fake {
    fn paths(&self) -> Vec<String> {
        self.heard.lock().unwrap().iter().map(|heard| heard.path.clone()).collect()
    }
}

async fn serve(answer: Answering) -> (Fake, String) {
    let fake = Fake { heard: Arc::default(), answer };
    let router = Router::new().fallback(hear).with_state(fake.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (fake, base)
}

async fn hear(State(fake): State<Fake>, request: HttpRequest) -> Response {
    let headers: BTreeMap<String, String> =
        request.headers().iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let path = request.uri().path_and_query().unwrap().to_string();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let authorization = headers.get("authorization").cloned().unwrap_or_default();
    let heard = Heard { path, authorization, body: String::from_utf8(body.to_vec()).unwrap(), headers };
    fake.heard.lock().unwrap().push(heard.clone());
    let (status, body) = (fake.answer)(&heard);
    let response = Response::builder().status(status).header("location", "http://169.254.169.254/latest");
    response.body(HttpBody::from(body.to_string())).unwrap()
}

fn settings(base: &str) -> Settings {
    Settings {
        base_url: Some(base.to_owned()),
        call_timeout: Some(Duration::from_secs(2)),
        ..Settings::new(Auth::Bearer { token: Secret::new(TOKEN) })
    }
}

async fn fetch(vendor: &Vendor, object: &str, ids: &[&str]) -> Answer {
    let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    vendor.fetch(object, &ids, &BTreeMap::new(), NOW).await
}

fn failure(answer: Answer) -> Failure {
    answer.result.unwrap_err()
}

fn lead(id: &str) -> Value {
    json!({ "id": id, "form_id": "55", "created_time": "2023-11-14T22:13:20+0000", "field_data": [{ "name": "email", "values": ["ada@example.com"] }] })
}

fn graph(heard: &Heard) -> (u16, Value) {
    match heard.path.split(['?', '/']).nth(2) {
        Some("55") => {
            (200, json!({ "id": "55", "name": "Contact us", "questions": [{ "key": "email", "label": "Work e-mail", "type": "EMAIL" }] }))
        }
        Some("") => (200, json!({ "1": lead("1"), "2": lead("2") })),
        Some(id) => (200, lead(id)),
        None => (404, json!({})),
    }
}

#[tokio::test]
async fn leads_come_with_their_forms_questions_which_are_asked_for_once() {
    let (fake, base) = serve(graph).await;
    let vendor = Vendor::new(Kind::Meta, settings(&base)).unwrap();
    let answer = fetch(&vendor, "lead", &["1", "nonsense", "2"]).await;
    assert_eq!(answer.status, Some(200));
    let found = answer.result.unwrap();
    assert_eq!(found.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["1", "nonsense", "2"]);
    for place in [0, 2] {
        let Fetched::Object(lead) = &found[place].1 else { panic!("{found:?}") };
        assert_eq!((&lead["field_data"][0]["label"], &lead["form"]["name"]), (&json!("Work e-mail"), &json!("Contact us")));
    }
    assert!(matches!(&found[1].1, Fetched::Refused(failure) if failure.code == "malformed_id" && failure.class == Class::Permanent));
    assert!(matches!(fetch(&vendor, "lead", &["3"]).await.result.unwrap()[0].1, Fetched::Object(_)));
    let paths = fake.paths();
    assert_eq!(paths.iter().filter(|path| path.starts_with("/v24.0/55?")).count(), 1, "{paths:?}");
    assert!(paths[0].starts_with("/v24.0/?ids=1,2&"), "{paths:?}");
    assert!(fake.heard.lock().unwrap().iter().all(|heard| heard.authorization == format!("Bearer {TOKEN}") && !heard.path.contains(TOKEN)));
}

#[tokio::test]
async fn what_is_not_an_id_is_not_asked_for() {
    let (fake, base) = serve(graph).await;
    let vendor = Vendor::new(Kind::Meta, settings(&base)).unwrap();
    let found = fetch(&vendor, "lead", &["../me", "1?x=1"]).await;
    assert!(found.status.is_none() && found.result.unwrap().iter().all(|(_, one)| matches!(one, Fetched::Refused(_))));
    assert!(failure(fetch(&vendor, "page", &["1"]).await).message.contains("it knows lead"));
    let many: Vec<String> = (0..51).map(|id| id.to_string()).collect();
    let too_many = vendor.fetch("lead", &many, &BTreeMap::new(), NOW).await;
    assert_eq!(failure(too_many).class, Class::Conflict);
    assert!(fake.paths().is_empty());
}

#[tokio::test]
async fn a_token_that_the_vendor_repeats_is_in_no_failure() {
    let repeating = |heard: &Heard| {
        let token = heard.authorization.trim_start_matches("Bearer ").to_owned();
        (400, json!({ "error": { "code": 190, "message": format!("Malformed access token {token}") } }))
    };
    let (_, base) = serve(repeating).await;
    let failure = failure(fetch(&Vendor::new(Kind::Meta, settings(&base)).unwrap(), "lead", &["1"]).await);
    assert_eq!((failure.class, failure.message.as_str()), (Class::Auth, "Malformed access token ***"));
}

#[tokio::test]
async fn redirects_are_not_followed_and_nothing_is_ever_in_doubt() {
    let (fake, base) = serve(|_| (302, json!({}))).await;
    let moved = failure(fetch(&Vendor::new(Kind::Stripe, settings(&base)).unwrap(), "event", &["evt_1"]).await);
    assert_eq!((moved.class, moved.scope, moved.code.as_str()), (Class::Permanent, Scope::Destination, "http_302"));
    assert_eq!(fake.paths().len(), 1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        // Cut after the request, and then not there at all.
        drop(listener.accept().await);
    });
    let vendor = Vendor::new(Kind::Stripe, settings(&base)).unwrap();
    for _ in 0..2 {
        let failure = failure(fetch(&vendor, "event", &["evt_1"]).await);
        assert_eq!((failure.class, failure.scope), (Class::Retryable, Scope::Destination), "{}", failure.code);
    }
}

#[tokio::test]
async fn a_vendor_that_hangs_costs_no_more_than_the_whole_fetch_may_take() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let vendor = Vendor::new(Kind::Attio, Settings { call_timeout: Some(Duration::from_secs(1)), ..settings(&base) }).unwrap();
    let failure = failure(fetch(&vendor, "record", &["people:1"]).await);
    assert_eq!((failure.class, failure.code.as_str()), (Class::Retryable, "timeout"));
}

fn with_login(heard: &Heard) -> (u16, Value) {
    match heard.path.as_str() {
        "/oauth/v2/accessToken" => (200, json!({ "access_token": "fresh", "expires_in": 5_184_000 })),
        _ if heard.authorization == "Bearer fresh" => {
            (200, json!({ "id": "a-1", "formResponse": { "answers": [] }, "form": { "content": {} } }))
        }
        _ => (401, json!({ "code": "EXPIRED_ACCESS_TOKEN", "message": "expired" })),
    }
}

#[tokio::test]
async fn a_refresh_token_is_exchanged_where_the_vendor_gives_out_tokens() {
    let (fake, base) = serve(with_login).await;
    let auth =
        Auth::RefreshToken { client_id: "app".to_owned(), client_secret: Secret::new("shh"), refresh_token: Secret::new("AQXrefresh") };
    let settings = Settings { auth, token_url: Some(format!("{base}/oauth/v2/accessToken")), ..settings(&base) };
    let vendor = Vendor::new(Kind::Linkedin, settings).unwrap();
    let urn = "urn:li:leadGenFormResponse:a-1";
    assert!(matches!(fetch(&vendor, "lead", &[urn]).await.result.unwrap()[0].1, Fetched::Object(_)));
    assert!(fetch(&vendor, "lead", &[urn]).await.result.is_ok());
    let heard = fake.heard.lock().unwrap().clone();
    assert_eq!(heard.len(), 3, "one token for both");
    assert_eq!(heard[0].body, "grant_type=refresh_token&refresh_token=AQXrefresh&client_id=app&client_secret=shh");
}

#[tokio::test]
async fn client_credentials_get_a_token_with_their_scope_and_a_dead_login_is_an_auth_failure() {
    let login = |heard: &Heard| match heard.path.as_str() {
        "/connect/token" if heard.body.contains("scope=accounting.contacts.read") => {
            let basic = heard.authorization == "Basic YXBwOnNoaA==";
            if basic { (200, json!({ "access_token": "t", "expires_in": 1_800 })) } else { (400, json!({ "error": "invalid_client" })) }
        }
        "/connect/token" => (400, json!({ "error": "invalid_scope", "error_description": "shh is not to be repeated" })),
        _ => (200, json!({ "Contacts": [{ "ContactID": "1" }] })),
    };
    let (fake, base) = serve(login).await;
    let auth = || Auth::ClientCredentials { client_id: "app".to_owned(), client_secret: Secret::new("shh") };
    let token_url = Some(format!("{base}/connect/token"));
    let with = |scope: &str| Settings { auth: auth(), token_url: token_url.clone(), scope: Some(scope.to_owned()), ..settings(&base) };
    let vendor = Vendor::new(Kind::Xero, with("accounting.contacts.read")).unwrap();
    let url = "https://api.xero.com/api.xro/2.0/Contacts/717f";
    let tenant = BTreeMap::from([("tenant".to_owned(), "c2cc".to_owned())]);
    let answer = vendor.fetch("resource", &[url.to_owned()], &tenant, NOW).await;
    assert!(matches!(answer.result.unwrap()[0].1, Fetched::Object(_)));
    let last = fake.heard.lock().unwrap().last().cloned().unwrap();
    assert_eq!((last.path.as_str(), last.headers.get("xero-tenant-id").map(String::as_str)), ("/api.xro/2.0/Contacts/717f", Some("c2cc")));
    let refused = Vendor::new(Kind::Xero, with("everything")).unwrap().fetch("resource", &[url.to_owned()], &tenant, NOW).await;
    let failure = refused.result.unwrap_err();
    assert_eq!(
        (failure.class, failure.code.as_str(), failure.message.as_str()),
        (Class::Auth, "invalid_scope", "*** is not to be repeated")
    );
}

#[tokio::test]
async fn a_thin_events_object_is_fetched_from_the_configured_host_only() {
    let stripe = |heard: &Heard| match heard.path.as_str() {
        "/v2/core/events/evt_1" => {
            (200, json!({ "id": "evt_1", "related_object": { "id": "cus_1", "type": "customer", "url": "/v1/customers/cus_1" } }))
        }
        "/v2/core/events/evt_2" => {
            (200, json!({ "id": "evt_2", "related_object": { "id": "cus_1", "type": "customer", "url": "http://169.254.169.254/cus_1" } }))
        }
        "/v1/customers/cus_1" => (200, json!({ "id": "cus_1", "email": "ada@example.com" })),
        _ => (404, json!({ "error": { "code": "resource_missing" } })),
    };
    let (fake, base) = serve(stripe).await;
    let vendor = Vendor::new(Kind::Stripe, settings(&base)).unwrap();
    let found = fetch(&vendor, "event", &["evt_1"]).await.result.unwrap();
    assert!(matches!(&found[0].1, Fetched::Object(event) if event["related"]["email"] == "ada@example.com"), "{found:?}");
    let found = fetch(&vendor, "event", &["evt_2"]).await.result.unwrap();
    assert!(matches!(&found[0].1, Fetched::Object(event) if event["related"].is_null()), "{found:?}");
    assert_eq!(fetch(&vendor, "event", &["evt_3"]).await.result.unwrap()[0].1, Fetched::Gone);
    assert_eq!(fake.paths().len(), 4);
}

#[tokio::test]
async fn a_deleted_lead_says_what_it_can_mean() {
    let (_, base) = serve(|_| (400, json!({ "error": { "code": 100, "error_subcode": 33, "message": "Unsupported get request." } }))).await;
    let found = fetch(&Vendor::new(Kind::Meta, settings(&base)).unwrap(), "lead", &["1"]).await.result.unwrap();
    let Fetched::Refused(failure) = &found[0].1 else { panic!("{found:?}") };
    assert_eq!(failure.reason, Some(Reason::RecordNotFound));
    assert!(failure.message.contains("leads_retrieval"), "{}", failure.message);
}

#[tokio::test]
async fn more_forms_than_one_fetch_asks_for_are_left_to_the_next_one() {
    let graph = |heard: &Heard| match heard.path.split(['?', '/']).nth(2) {
        Some("") => {
            let lead = |n: u32| (n.to_string(), json!({ "id": n.to_string(), "form_id": (1_000 + n).to_string(), "field_data": [] }));
            (200, Value::Object((1..=12).map(lead).collect()))
        }
        Some(form) => (200, json!({ "id": form, "name": form, "questions": [] })),
        None => (404, json!({})),
    };
    let (_, base) = serve(graph).await;
    let vendor = Vendor::new(Kind::Meta, settings(&base)).unwrap();
    let ids: Vec<String> = (1..=12).map(|n| n.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let whole = |answer: Answer| answer.result.unwrap().iter().filter(|(_, one)| matches!(one, Fetched::Object(_))).count();
    assert_eq!(whole(fetch(&vendor, "lead", &ids).await), 10);
    assert_eq!(whole(fetch(&vendor, "lead", &ids).await), 12);
}

#[tokio::test]
async fn a_list_is_walked_by_its_cursors_and_an_answer_that_goes_in_circles_is_none() {
    let stripe = |heard: &Heard| {
        let event = |id: &str| json!({ "id": id, "object": "event", "created": 1_799_999_000 });
        match heard.path.contains("starting_after=evt_2") {
            false => (200, json!({ "data": [event("evt_3"), event("evt_2")], "has_more": true })),
            true => (200, json!({ "data": [event("evt_1")], "has_more": false })),
        }
    };
    let (_, base) = serve(stripe).await;
    let vendor = Vendor::new(Kind::Stripe, settings(&base)).unwrap();
    let window = Window { since: NOW - Duration::from_secs(3_600), until: NOW };
    let first = vendor.list("events", window, None, NOW).await.unwrap();
    let second = vendor.list("events", window, first.next.as_deref(), NOW).await.unwrap();
    assert_eq!((first.objects.len(), second.objects.len(), second.next), (2, 1, None));
    assert!(vendor.list("leads", window, None, NOW).await.unwrap_err().message.contains("events"));
    let (_, base) = serve(|_| (200, json!({ "data": [{ "id": "evt_2", "created": 1 }], "has_more": true }))).await;
    let vendor = Vendor::new(Kind::Stripe, settings(&base)).unwrap();
    let page = vendor.list("events", window, None, NOW).await.unwrap();
    assert_eq!(vendor.list("events", window, page.next.as_deref(), NOW).await.unwrap_err().code, "garbage");
}

#[tokio::test]
async fn a_probe_says_whether_the_token_is_taken() {
    let (_, base) = serve(|heard| if heard.path == "/v2/self" { (200, json!({ "active": true })) } else { (404, json!({})) }).await;
    assert!(Vendor::new(Kind::Attio, settings(&base)).unwrap().probe(NOW).await.is_ok());
    let (_, base) = serve(|_| (401, json!({ "code": "unauthorized", "message": "no" }))).await;
    assert_eq!(Vendor::new(Kind::Attio, settings(&base)).unwrap().probe(NOW).await.unwrap_err().class, Class::Auth);
}

#[test]
fn credentials_that_a_vendor_does_not_take_are_refused_at_once() {
    let refresh = || Auth::RefreshToken { client_id: "a".to_owned(), client_secret: Secret::new("b"), refresh_token: Secret::new("c") };
    for kind in Kind::ALL {
        let accounts = if kind == Kind::Bigcommerce { vec!["abc".to_owned()] } else { Vec::new() };
        let bearer = Settings { accounts: accounts.clone(), ..Settings::new(Auth::Bearer { token: Secret::new("t") }) };
        assert!(Vendor::new(kind, bearer).is_ok(), "{kind:?}");
        let taken = matches!(kind, Kind::Linkedin | Kind::Hubspot);
        assert_eq!(Vendor::new(kind, Settings { accounts, ..Settings::new(refresh()) }).is_ok(), taken, "{kind:?}");
        assert_eq!(Kind::parse(kind.as_str()), Some(kind));
    }
    assert!(Vendor::new(Kind::Meta, settings("http://graph.example.com")).is_err(), "https only");
}
