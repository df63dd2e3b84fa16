//! Who may come in, and what is refused before the ledger is asked.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use store::Store;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Admin;
use crate::Role;

const DLV: &str = "dlv_0000000000001";

fn admin() -> Admin {
    Admin::new(Store::memory())
}

/// Every path and method of the API, with an id of the right form in it.
fn operations() -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(&crate::api::openapi::TEXT.replace("{{version}}", "0")).unwrap();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let pattern = operation["parameters"][0]["schema"]["pattern"].as_str().unwrap_or("^name");
            let prefix = pattern.trim_start_matches('^').split('[').next().unwrap();
            found.push((method.to_uppercase(), path.replace("{id}", &format!("{prefix}0000000000001")).replace("{name}", "salesforce")));
        }
    }
    found
}

#[tokio::test]
async fn the_description_and_the_routes_are_the_same() {
    let admin = admin();
    let operations = operations();
    assert_eq!(operations.len(), 26);
    for (method, path) in operations {
        let request = Request::builder().method(method.as_str()).uri(&path).header("authorization", "Bearer admin");
        let answer = admin.ask(request.body(Body::empty()).unwrap()).await;
        assert_ne!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        assert!(!answer.text.contains("There is no such path"), "{method} {path}");
    }
    assert_eq!(admin.get(Role::Viewer, "/api/openapi.json").await.json()["info"]["version"], "0.1.0");
    assert_eq!(admin.get(Role::Viewer, "/api/nothing").await.problem(), "not-found");
    assert_eq!(admin.post(Role::Admin, "/api/trace", "{}").await.problem(), "method-not-allowed");
}

#[tokio::test]
async fn nobody_gets_in_without_a_token_that_is_known() {
    let admin = admin();
    for (method, path) in operations() {
        for authorization in ["", "Bearer", "Bearer nonsense", "Basic YWRtaW46YWRtaW4=", "bearer admin2"] {
            let request = Request::builder().method(method.as_str()).uri(&path).header("authorization", authorization);
            let answer = admin.ask(request.body(Body::empty()).unwrap()).await;
            assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::UNAUTHORIZED, "unauthenticated"), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_viewer_changes_nothing_and_sees_no_raw_request() {
    let admin = admin();
    for (method, path) in operations().into_iter().filter(|(method, path)| method == "POST" || path.contains("raw-events")) {
        let request = Request::builder().method(method.as_str()).uri(&path).header("authorization", "Bearer viewer");
        let answer = admin.ask(request.body(Body::from(r#"{"reason":"x"}"#)).unwrap()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::FORBIDDEN, "forbidden"), "{method} {path}");
    }
}

#[tokio::test]
async fn a_malformed_id_is_400_and_a_missing_reason_422() {
    let admin = admin();
    for verb in ["replay", "assign", "resolve"] {
        for id in ["1", "evt_0000000000001", "dlv_000000000000u", "dlv_00000000000011"] {
            let answer = admin.post(Role::Operator, &format!("/api/dead-letters/{id}/{verb}"), r#"{"reason":"x","owner":"y"}"#).await;
            // `assign` alone knows an owner; that member is refused elsewhere, as 400 too.
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{verb} {id}");
        }
        let path = format!("/api/dead-letters/{DLV}/{verb}");
        for body in ["", "{}", r#"{"reason":""}"#, r#"{"reason":"   "}"#, r#"{"reason":null}"#] {
            let answer = admin.post(Role::Operator, &path, body).await;
            assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (422, "reason-required"), "{verb} {body}");
        }
    }
    for path in ["/api/destinations/salesforce/pause", "/api/destinations/salesforce/resume", "/api/replays"] {
        assert_eq!(admin.post(Role::Operator, path, "{}").await.problem(), "reason-required", "{path}");
    }
    for id in ["evt_1", "raw_0000000000001"] {
        assert_eq!(admin.get(Role::Admin, &format!("/api/events/{id}")).await.problem(), "malformed-id");
    }
}

#[tokio::test]
async fn bodies_are_read_strictly_and_within_bounds() {
    let admin = admin();
    let path = format!("/api/dead-letters/{DLV}/replay");
    for body in ["{", "[]", r#"{"reason":"x","maping":"current"}"#, r#"{"reason":"x","mapping":"newest"}"#, r#"{"reason":5}"#] {
        assert_eq!(admin.post(Role::Operator, &path, body).await.problem(), "malformed-body", "{body}");
    }
    let large = json!({"reason": "x", "payload": "a".repeat(3 << 20)}).to_string();
    assert_eq!(admin.post(Role::Operator, &path, large).await.problem(), "body-too-large");
    let large = json!({"reason": "a".repeat(70 << 10)}).to_string();
    assert_eq!(admin.post(Role::Operator, &format!("/api/dead-letters/{DLV}/resolve"), large).await.problem(), "body-too-large");
}

#[tokio::test]
async fn queries_that_are_too_long_or_unknown_are_400() {
    let admin = admin();
    let long = "a".repeat(1_025);
    for query in [
        format!("source={}", "a".repeat(1 << 14)),
        format!("owner={long}"),
        "source=a'%20OR%201=1--".to_owned(),
        "reason=(a%2B)%2B$".to_owned(),
        "limit=100000".to_owned(),
        "sauce=demo".to_owned(),
        "owner=a&owner=b".to_owned(),
        "owner=%00".to_owned(),
        "since=yesterday".to_owned(),
    ] {
        let answer = admin.get(Role::Viewer, &format!("/api/dead-letters?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (400, "malformed-query"), "{}", &query[..query.len().min(40)]);
    }
    assert_eq!(admin.get(Role::Viewer, "/api/trace").await.problem(), "malformed-query");
    assert_eq!(admin.get(Role::Viewer, &format!("/api/trace?q={long}")).await.problem(), "malformed-query");
    let filter = json!({"reason": "x", "filter": {"source": "a' OR 1=1--"}}).to_string();
    assert_eq!(admin.post(Role::Operator, "/api/replays", filter).await.problem(), "malformed-query");
}

#[tokio::test]
async fn every_answer_forbids_scripts_frames_sniffing_and_keeping() {
    let admin = admin();
    for target in ["/healthz", "/login", "/api/events", "/", "/nothing"] {
        let answer = admin.ask(Request::get(target).body(Body::empty()).unwrap()).await;
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{target}");
        assert!(!policy.contains("script-src") && !policy.contains("unsafe"), "{target}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{target}");
        assert_eq!(answer.headers["x-frame-options"], "DENY", "{target}");
        assert_eq!(answer.headers["cache-control"], "no-store", "{target}");
    }
}

#[tokio::test]
async fn probes_need_no_token() {
    let admin = admin();
    let ask = async |target: &str| admin.ask(Request::get(target).body(Body::empty()).unwrap()).await;
    assert_eq!((ask("/healthz").await.status, ask("/metrics").await.status), (StatusCode::OK, StatusCode::OK));
    assert!(ask("/metrics").await.text.contains("onceward_build_info"));
    let ready = ask("/readyz").await;
    assert_eq!(ready.json()["ready"], ready.status == StatusCode::OK);
}

#[tokio::test]
async fn the_listener_answers_and_stops_while_a_connection_is_idle() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(crate::serve(listener, admin().router, async {
        let _ = stopping.await;
    }));
    let mut idle = TcpStream::connect(address).await.unwrap();
    let mut asking = TcpStream::connect(address).await.unwrap();
    asking.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    asking.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("ok\n"), "{text}");
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(4), serving).await.unwrap().unwrap().unwrap();
    assert_eq!(idle.read(&mut [0; 8]).await.unwrap(), 0);
}
