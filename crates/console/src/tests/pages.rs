//! Logging in, and what a form needs.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use store::Store;

use super::{Admin, Answer};
use crate::access::SESSION_AGE_MAX;

const DLV: &str = "dlv_0000000000001";

async fn login(admin: &Admin, token: &str, next: &str) -> Answer {
    let body = format!("token={token}&next={next}");
    let request = Request::post("/login").header("content-type", "application/x-www-form-urlencoded");
    admin.ask(request.body(Body::from(body)).unwrap()).await
}

/// The cookie of a fresh login, as a browser sends it back.
async fn cookie(admin: &Admin, token: &str) -> String {
    let answer = login(admin, token, "/").await;
    answer.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
}

async fn get(admin: &Admin, target: &str, cookie: &str) -> Answer {
    admin.ask(Request::get(target).header("cookie", cookie).body(Body::empty()).unwrap()).await
}

async fn post(admin: &Admin, target: &str, cookie: &str, body: &str, site: &str) -> Answer {
    let request = Request::post(target).header("cookie", cookie).header("sec-fetch-site", site);
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(Body::from(body.to_owned()));
    admin.ask(request.unwrap()).await
}

fn csrf(page: &Answer) -> String {
    page.text.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_stranger_is_sent_to_the_login_and_on_from_there() {
    let admin = Admin::new(Store::memory());
    let answer = get(&admin, "/trace?q=a%26b", "").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.headers["location"], "/login?next=%2Ftrace%3Fq%3Da%2526b");
    let form = get(&admin, "/login?next=%2Ftrace%3Fq%3Da%2526b", "").await;
    assert!(form.text.contains("name=\"next\" value=\"/trace?q=a%26b\""), "{}", form.text);
    let answer = login(&admin, "viewer", "%2Ftrace").await;
    assert_eq!((answer.status, &answer.headers["location"]), (StatusCode::SEE_OTHER, &"/trace".parse().unwrap()));
    let answer = login(&admin, "viewer", "%2F%2Fevil.example").await;
    assert_eq!(answer.headers["location"], "/");
}

#[tokio::test]
async fn the_cookie_is_not_the_token_and_is_out_of_reach_of_scripts_and_other_sites() {
    let admin = Admin::new(Store::memory());
    let answer = login(&admin, "operator", "/").await;
    let set = answer.headers["set-cookie"].to_str().unwrap();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && set.contains("Path=/") && !set.contains("operator"), "{set}");
    let wrong = login(&admin, "nonsense", "/").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(!wrong.headers.contains_key("set-cookie") && wrong.text.contains("not known here"));
}

#[tokio::test]
async fn the_api_takes_no_cookie() {
    let admin = Admin::new(Store::memory());
    let cookie = cookie(&admin, "admin").await;
    assert_eq!(get(&admin, "/api/openapi.json", &cookie).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_session_ends_by_logout_and_by_age() {
    let admin = Admin::new(Store::memory());
    let (one, two) = (cookie(&admin, "viewer").await, cookie(&admin, "viewer").await);
    assert_eq!(get(&admin, "/trace", &one).await.status, StatusCode::OK);
    let out = post(&admin, "/logout", &one, "", "same-origin").await;
    assert!(out.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(get(&admin, "/trace", &one).await.status, StatusCode::SEE_OTHER);
    assert_eq!(get(&admin, "/trace", &two).await.status, StatusCode::OK);
    admin.clock.fetch_add(i64::try_from(SESSION_AGE_MAX.as_micros()).unwrap(), Ordering::Relaxed);
    assert_eq!(get(&admin, "/trace", &two).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_form_needs_the_sessions_own_token_and_an_operator() {
    let admin = Admin::new(Store::memory());
    let (mine, theirs) = (cookie(&admin, "operator").await, cookie(&admin, "operator").await);
    let (my_token, their_token) = (csrf(&get(&admin, "/trace", &mine).await), csrf(&get(&admin, "/trace", &theirs).await));
    let target = format!("/dead-letters/{DLV}/resolve");
    for body in ["reason=x".to_owned(), "reason=x&csrf=".to_owned(), format!("reason=x&csrf={their_token}")] {
        let answer = post(&admin, &target, &mine, &body, "same-origin").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{body}");
        assert!(answer.text.contains("earlier login"));
    }
    let right = format!("reason=&csrf={my_token}");
    assert_eq!(post(&admin, &target, &mine, &right, "cross-site").await.status, StatusCode::FORBIDDEN);
    // With the right token the form is read, and misses its reason.
    let answer = post(&admin, &target, &mine, &right, "same-origin").await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.text.contains("<!DOCTYPE html>") && answer.text.contains("A reason is needed"));

    let viewer = cookie(&admin, "viewer").await;
    let token = csrf(&get(&admin, "/trace", &viewer).await);
    let answer = post(&admin, &target, &viewer, &format!("reason=x&csrf={token}"), "same-origin").await;
    assert!(answer.status == StatusCode::FORBIDDEN && answer.text.contains("needs the role"));
}

#[tokio::test]
async fn an_unknown_page_is_a_page() {
    let admin = Admin::new(Store::memory());
    let cookie = cookie(&admin, "viewer").await;
    let answer = get(&admin, "/nothing", &cookie).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(answer.text.contains("There is no such page."));
    assert_eq!(get(&admin, "/dead-letters?reason=nonsense", &cookie).await.status, StatusCode::BAD_REQUEST);
}
