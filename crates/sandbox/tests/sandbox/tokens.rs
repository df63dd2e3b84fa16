//! How a client gets a token, and when the token is refused.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use onceward_sandbox::{Core, HttpRequest, Options};
use serde_json::{Value, json};

use crate::START;

const CLIENT: &str = "grant_type=client_credentials&client_id=me&client_secret=s%2B1";

fn core(credentials: &str) -> Core {
    let credentials = if credentials.is_empty() { Default::default() } else { credentials.parse().unwrap() };
    Core::new(1, Options { credentials, ..Options::default() })
}

fn ask(core: &mut Core, authorization: Option<&str>, form: &str) -> (u16, Value) {
    let mut headers = vec![("host".to_owned(), "127.0.0.1:9".to_owned())];
    headers.extend(authorization.map(|value| ("authorization".to_owned(), value.to_owned())));
    let request = HttpRequest { method: "POST", target: "/services/oauth2/token", headers: &headers, body: form.as_bytes() };
    let reply = core.exchange(&request, START).reply.unwrap();
    (reply.status, serde_json::from_slice(&reply.body).unwrap())
}

fn probe(core: &mut Core, authorization: &str, after: Duration) -> (u16, String) {
    let headers = [("authorization".to_owned(), authorization.to_owned())];
    let request = HttpRequest { method: "GET", target: "/services/data/v68.0/limits", headers: &headers, body: b"" };
    let reply = core.exchange(&request, START + after).reply.unwrap();
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    (reply.status, body[0]["errorCode"].as_str().unwrap_or_default().to_owned())
}

fn assertion(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let jwt = format!("{}.{}.{}", part(&json!({"alg": "RS256"})), part(claims), URL_SAFE_NO_PAD.encode("signature"));
    format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={jwt}")
}

#[test]
fn a_token_works_until_it_ends() {
    let mut core = core("me:s+1");
    let (status, token) = ask(&mut core, None, CLIENT);
    assert_eq!((status, &token["token_type"], &token["instance_url"]), (200, &json!("Bearer"), &json!("http://127.0.0.1:9")));
    assert_eq!((token.get("expires_in"), token["issued_at"].as_str()), (None, Some("1795370640700")));
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    assert_eq!(probe(&mut core, &bearer, Duration::from_secs(7_199)).0, 200);
    assert_eq!(probe(&mut core, &bearer, Duration::from_secs(7_200)), (401, "INVALID_SESSION_ID".into()));
}

#[test]
fn named_credentials_let_nobody_else_in() {
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    let claims = |iss: &str, exp: i64| json!({"iss": iss, "sub": "user@example.com", "aud": "https://login.example.com", "exp": exp});
    let grant = "grant_type=client_credentials";
    let soon = START.seconds() + 300;
    for (authorization, form, expected) in [
        (None, CLIENT.to_owned(), "me"),
        (Some(basic("me:s+1")), grant.into(), "me"),
        (Some(basic("me:wrong")), CLIENT.into(), "me"),
        (Some(basic("me:wrong")), grant.into(), "invalid_client"),
        (Some(basic("you:s+1")), grant.into(), "invalid_client_id"),
        (None, grant.into(), "invalid_client_id"),
        (None, assertion(&claims("me", soon)), "me"),
        (None, assertion(&claims("you", soon)), "invalid_client_id"),
        (None, assertion(&claims("me", soon - 600)), "invalid_grant"),
        (None, assertion(&json!({"iss": "me", "exp": soon})), "invalid_grant"),
        (None, "grant_type=password".into(), "unsupported_grant_type"),
        (None, String::new(), "invalid_request"),
    ] {
        let (status, body) = ask(&mut core("me:s+1,fixed-token"), authorization.as_deref(), &form);
        assert_eq!(status, if expected == "me" { 200 } else { 400 }, "{form}: {body}");
        assert_eq!(body["error"].as_str().unwrap_or("me"), expected, "{form}");
    }
    let mut core = core("me:s+1,fixed-token");
    assert_eq!(probe(&mut core, "Bearer fixed-token", Duration::ZERO).0, 200);
    assert_eq!(probe(&mut core, "Bearer another", Duration::ZERO), (401, "INVALID_SESSION_ID".into()));
    assert_eq!(probe(&mut core, "Basic eDp5", Duration::ZERO), (401, "INVALID_AUTH_HEADER".into()));
    assert!("me:".parse::<onceward_sandbox::Credentials>().is_err() && ",".parse::<onceward_sandbox::Credentials>().is_err());
}

#[test]
fn with_no_credentials_named_anyone_is_let_in_but_an_ended_token_is_not() {
    let mut core = core("");
    assert_eq!(probe(&mut core, "Bearer whatever", Duration::ZERO).0, 200);
    let (_, token) = ask(&mut core, None, "grant_type=client_credentials&client_id=x&client_secret=y");
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    core.set_faults("expired-token=1".parse().unwrap(), START);
    assert_eq!(probe(&mut core, &bearer, Duration::ZERO).0, 401);
    core.set_faults("".parse().unwrap(), START);
    assert_eq!(probe(&mut core, &bearer, Duration::ZERO).0, 401, "it stays refused when the fault is over");
    let (_, token) = ask(&mut core, None, "grant_type=client_credentials&client_id=x&client_secret=y");
    assert_eq!(probe(&mut core, &format!("Bearer {}", token["access_token"].as_str().unwrap()), Duration::ZERO).0, 200);
}
