//! The client against a real listener on this machine.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are a test too")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::{Request as HttpRequest, State};
use axum::response::{IntoResponse, Response};
use model::event::Mode;
use model::{CallId, Class, Failure, Scope, Time};
use onceward_connect::{
    Auth, Client, Kind, ReadBatch, Reply, Report, Request, Secret, Settings, Sought, Transport, TransportError, Usage, WriteBatch,
    WriteRecord, Written,
};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const NOW: Time = Time::from_seconds(1_800_000_000);

fn settings(base_url: &str) -> Settings {
    let auth = Auth::ClientCredentials { client_id: "id".to_owned(), client_secret: Secret::new("secret") };
    Settings { call_timeout: Some(Duration::from_secs(1)), ..Settings::new(Kind::Salesforce, base_url, auth) }
}

fn batch() -> WriteBatch {
    let fields = BTreeMap::from([("LastName".to_owned(), json!("Stone"))]);
    let record = WriteRecord { key: "k1".to_owned(), crm_id: None, revision: 1, fields };
    WriteBatch { object: "Lead".to_owned(), key_field: "Ext__c".to_owned(), mode: Mode::Upsert, records: vec![record] }
}

async fn write(client: &Client) -> Report<Written> {
    client.write(&batch(), CallId(1), NOW).await
}

fn failure(report: Report<Written>) -> Failure {
    match report.result {
        Ok(mut results) => results.remove(0).unwrap_err(),
        Err(failure) => failure,
    }
}

/// What the CRM does with writes, and what it counted.
#[derive(Default)]
struct Crm {
    tokens: AtomicUsize,
    writes: AtomicUsize,
    /// Tokens up to this one are refused.
    expired_up_to: AtomicUsize,
    /// The token endpoint refuses.
    locked: bool,
    instance_url: Option<String>,
    answer: Option<fn(HttpRequest) -> Response>,
}

async fn serve(crm: Crm) -> (Arc<Crm>, String) {
    let crm = Arc::new(crm);
    let router = Router::new().fallback(answer).with_state(Arc::clone(&crm));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (crm, base)
}

fn answered(status: u16, body: impl Into<HttpBody>) -> Response {
    Response::builder().status(status).body(body.into()).unwrap()
}

async fn answer(State(crm): State<Arc<Crm>>, request: HttpRequest) -> Response {
    if request.uri().path() == "/services/oauth2/token" {
        // Long enough that callers who come together overlap.
        let number = crm.tokens.fetch_add(1, Ordering::SeqCst) + 1;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        if crm.locked {
            return answered(400, json!({ "error": "invalid_grant", "error_description": "authentication failure" }).to_string());
        }
        return answered(200, json!({ "access_token": format!("token-{number}"), "instance_url": crm.instance_url }).to_string());
    }
    crm.writes.fetch_add(1, Ordering::SeqCst);
    let token = request.headers()["authorization"].to_str().unwrap();
    let number: usize = token.strip_prefix("Bearer token-").unwrap().parse().unwrap();
    if number <= crm.expired_up_to.load(Ordering::SeqCst) {
        return answered(401, json!([{ "errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid" }]).to_string());
    }
    match crm.answer {
        Some(answer) => answer(request),
        None => fine(),
    }
}

fn fine() -> Response {
    let body = json!({ "id": "00Q000000000001AAA", "success": true, "errors": [], "created": true }).to_string();
    (axum::http::StatusCode::CREATED, [("sforce-limit-info", "api-usage=18/15000")], body).into_response()
}

#[tokio::test]
async fn a_write_carries_its_call_and_tells_the_quota() {
    let answer = |request: HttpRequest| {
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("x-onceward-call"), CallId(1).to_string());
        assert_eq!(header("content-type"), "application/json");
        assert!(!request.headers().contains_key("accept-encoding"));
        assert_eq!(request.uri().path(), "/services/data/v68.0/sobjects/Lead/Ext__c/k1");
        fine()
    };
    let (crm, base) = serve(Crm { answer: Some(answer), ..Crm::default() }).await;
    let client = Client::http(settings(&base)).unwrap();
    let report = write(&client).await;
    assert_eq!((report.status, report.usage), (Some(201), vec![Usage::day(18, 15_000)]));
    let written = Written { crm_id: Some("00Q000000000001AAA".to_owned()), created: Some(true) };
    assert_eq!(report.result.unwrap(), [Ok(written)]);
    assert!(write(&client).await.result.is_ok());
    assert_eq!(crm.tokens.load(Ordering::SeqCst), 1);
    let later = client.write(&batch(), CallId(1), NOW + Duration::from_secs(31 * 60)).await;
    assert!(later.result.is_ok());
    assert_eq!(crm.tokens.load(Ordering::SeqCst), 2, "a token is used for half an hour");
}

#[tokio::test]
async fn sixteen_callers_ask_for_one_token_and_refresh_it_once() {
    let (crm, base) = serve(Crm::default()).await;
    let client = Arc::new(Client::http(settings(&base)).unwrap());
    for (expired_up_to, tokens, writes) in [(0, 1, 16), (1, 2, 16 + 32)] {
        crm.expired_up_to.store(expired_up_to, Ordering::SeqCst);
        let calls: Vec<_> = (0..16)
            .map(|_| {
                tokio::spawn({
                    let client = Arc::clone(&client);
                    async move { write(&client).await.result.is_ok() }
                })
            })
            .collect();
        for call in calls {
            assert!(call.await.unwrap());
        }
        assert_eq!(crm.tokens.load(Ordering::SeqCst), tokens);
        assert!(crm.writes.load(Ordering::SeqCst) <= writes);
    }
}

#[tokio::test]
async fn a_fresh_token_that_is_refused_too_ends_the_call() {
    let (crm, base) = serve(Crm { expired_up_to: AtomicUsize::new(usize::MAX), ..Crm::default() }).await;
    let failure = failure(write(&Client::http(settings(&base)).unwrap()).await);
    assert_eq!((failure.class, failure.scope, failure.code.as_str()), (Class::Auth, Scope::Destination, "INVALID_SESSION_ID"));
    assert_eq!((crm.tokens.load(Ordering::SeqCst), crm.writes.load(Ordering::SeqCst)), (2, 2));
}

#[tokio::test]
async fn a_malformed_header_is_not_answered_with_another_token() {
    let answer = |_| answered(401, json!([{ "errorCode": "INVALID_AUTH_HEADER", "message": "" }]).to_string());
    let (crm, base) = serve(Crm { answer: Some(answer), ..Crm::default() }).await;
    assert_eq!(failure(write(&Client::http(settings(&base)).unwrap()).await).class, Class::Auth);
    assert_eq!((crm.tokens.load(Ordering::SeqCst), crm.writes.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn a_refused_login_is_tried_once_for_all_who_wait() {
    let (crm, base) = serve(Crm { locked: true, ..Crm::default() }).await;
    let client = Arc::new(Client::http(settings(&base)).unwrap());
    let calls: Vec<_> = (0..16)
        .map(|_| {
            tokio::spawn({
                let client = Arc::clone(&client);
                async move { failure(write(&client).await) }
            })
        })
        .collect();
    for call in calls {
        let failure = call.await.unwrap();
        assert_eq!((failure.class, failure.code.as_str()), (Class::Auth, "invalid_grant"));
        assert!(failure.message.contains("authentication failure"));
    }
    assert!(crm.tokens.load(Ordering::SeqCst) < 16);
    assert_eq!(crm.writes.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_token_for_another_org_is_not_used() {
    let (crm, base) = serve(Crm { instance_url: Some("https://other.my.salesforce.com".to_owned()), ..Crm::default() }).await;
    let failure = failure(write(&Client::http(settings(&base)).unwrap()).await);
    assert_eq!((failure.class, failure.code.as_str()), (Class::Auth, "instance_url"));
    assert_eq!(crm.writes.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    for status in [301u16, 302, 303, 307, 308] {
        let answer: fn(HttpRequest) -> Response = match status {
            301 => |_| moved(301),
            302 => |_| moved(302),
            303 => |_| moved(303),
            307 => |_| moved(307),
            _ => |_| moved(308),
        };
        let (crm, base) = serve(Crm { answer: Some(answer), ..Crm::default() }).await;
        let failure = failure(write(&Client::http(settings(&base)).unwrap()).await);
        assert_eq!((failure.class, failure.scope, failure.code), (Class::Permanent, Scope::Destination, format!("http_{status}")));
        assert_eq!(crm.writes.load(Ordering::SeqCst), 1);
    }
}

fn moved(status: u16) -> Response {
    Response::builder().status(status).header("location", "http://169.254.169.254/latest").body(HttpBody::empty()).unwrap()
}

#[tokio::test]
async fn retry_after_is_believed_within_bounds() {
    let answer = |_| (axum::http::StatusCode::TOO_MANY_REQUESTS, [("retry-after", "86400")], "").into_response();
    let (_, base) = serve(Crm { answer: Some(answer), ..Crm::default() }).await;
    let failure = failure(write(&Client::http(settings(&base)).unwrap()).await);
    assert_eq!((failure.class, failure.retry_after), (Class::Throttled, Some(Duration::from_secs(900))));
}

#[tokio::test]
async fn an_oversized_success_is_unknown_and_an_oversized_refusal_is_cut() {
    let (_, base) = serve(Crm { answer: Some(|_| answered(201, vec![b' '; 9 * 1024 * 1024])), ..Crm::default() }).await;
    let big = failure(write(&Client::http(settings(&base)).unwrap()).await);
    assert_eq!((big.class, big.code.as_str()), (Class::Unknown, "oversized"));
    let (_, base) = serve(Crm { answer: Some(|_| answered(400, vec![b' '; 9 * 1024 * 1024])), ..Crm::default() }).await;
    assert_eq!(failure(write(&Client::http(settings(&base)).unwrap()).await).class, Class::Permanent);
}

async fn give_token(mut stream: tokio::net::TcpStream) {
    let mut bytes = [0u8; 4096];
    let _ = stream.read(&mut bytes).await;
    let body = r#"{"access_token":"token-1"}"#;
    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let _ = stream.write_all(head.as_bytes()).await;
}

/// A listener that gives out a token over one connection and does `then` with the next request.
async fn rude<F: Future<Output = ()> + Send + 'static>(then: fn(tokio::net::TcpStream) -> F) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut first = true;
        while let Ok((mut stream, _)) = listener.accept().await {
            if std::mem::take(&mut first) {
                give_token(stream).await;
            } else {
                let mut bytes = [0u8; 4096];
                let _ = stream.read(&mut bytes).await;
                tokio::spawn(then(stream));
            }
        }
    });
    base
}

#[tokio::test]
async fn an_answer_that_does_not_come_whole_is_unknown() {
    async fn hang(stream: tokio::net::TcpStream) {
        std::future::pending::<()>().await;
        drop(stream);
    }
    async fn cut(stream: tokio::net::TcpStream) {
        drop(stream);
    }
    async fn cut_midway(mut stream: tokio::net::TcpStream) {
        let _ = stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{\"id\":").await;
    }
    async fn nonsense(mut stream: tokio::net::TcpStream) {
        let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n\r\n").await;
    }
    async fn drip(mut stream: tokio::net::TcpStream) {
        let _ = stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 100000\r\n\r\n").await;
        let mut beat = tokio::time::interval(Duration::from_millis(50));
        while stream.write_all(b" ").await.is_ok() {
            beat.tick().await;
        }
    }
    for (base, code) in [
        (rude(hang).await, "timeout"),
        (rude(drip).await, "timeout"),
        (rude(cut).await, "cut"),
        (rude(cut_midway).await, "cut"),
        (rude(nonsense).await, "garbage"),
    ] {
        let failure = failure(write(&Client::http(settings(&base)).unwrap()).await);
        assert_eq!((failure.class, failure.code.as_str()), (Class::Unknown, code), "{}", failure.message);
        assert!(!failure.message.contains("k1"), "no key in {}", failure.message);
    }
}

#[tokio::test]
async fn what_was_not_sent_is_known_not_to_be_applied() {
    // The listener is gone before the token arrives, so that it is the write which finds nobody.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        drop(listener);
        give_token(stream).await;
    });
    let failed = failure(write(&Client::http(settings(&base)).unwrap()).await);
    assert_eq!((failed.class, failed.scope, failed.code.as_str()), (Class::Retryable, Scope::Destination, "not_sent"));
    assert!(!failed.message.contains("k1"), "no key in {}", failed.message);
    // TLS with a server that speaks none.
    let (_, base) = serve(Crm::default()).await;
    let failed = failure(write(&Client::http(settings(&base.replace("http:", "https:"))).unwrap()).await);
    assert_eq!((failed.class, failed.scope), (Class::Retryable, Scope::Destination));
}

#[tokio::test]
async fn this_machine_may_be_named_and_not_only_numbered() {
    let (crm, base) = serve(Crm::default()).await;
    let port = base.rsplit_once(':').unwrap().1;
    let here = Client::http(settings(&format!("http://localhost:{port}"))).unwrap();
    assert!(write(&here).await.result.is_ok());
    assert_eq!(crm.writes.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_function_of_this_process_can_be_the_crm() {
    let crm = Transport::InProcess(Arc::new(|request: Request| {
        Box::pin(async move {
            let body = match request.path.as_str() {
                "/services/oauth2/token" => json!({ "access_token": "t" }),
                "/services/data/v68.0/limits" => json!({ "DailyApiRequests": { "Max": 15_000, "Remaining": 14_998 } }),
                "/services/data/v68.0/sobjects/Lead/Ext__c/k1" => {
                    return Err(TransportError::Unknown { code: "cut", message: "gone".to_owned() });
                }
                _ => return Err(TransportError::NotSent("no such path".to_owned())),
            };
            Ok(Reply { status: 200, headers: Vec::new(), body: body.to_string().into_bytes() })
        })
    }));
    let client = Client::new(settings("http://127.0.0.1:1"), crm).unwrap();
    assert_eq!(client.probe(NOW).await, Ok(()));
    let failed = failure(write(&client).await);
    assert_eq!((failed.class, failed.scope, failed.code.as_str()), (Class::Unknown, Scope::Destination, "cut"));
    let records = vec![Sought { key: "k".to_owned(), crm_id: None }];
    let look_up = ReadBatch { object: "Lead".to_owned(), key_field: "Ext__c".to_owned(), records, fields: Vec::new() };
    assert_eq!(client.read(&look_up, CallId(1), NOW).await.result.unwrap_err().class, Class::Retryable);
}

#[test]
fn settings_that_cannot_work_say_what_to_write_instead() {
    let says = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings("http://127.0.0.1:1");
        change(&mut settings);
        Client::http(settings).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(says(&|_| ()), "");
    assert!(says(&|settings| settings.base_url = "http://example.com".to_owned()).contains("https"));
    assert!(says(&|settings| settings.api_version = Some("v45.0".to_owned())).contains("v46.0"));
    assert!(says(&|settings| settings.call_timeout = Some(Duration::ZERO)).contains("1s to 10m"));
}
