//! Xero's accounting API: the contacts and invoices that a push names by URL.
//!
//! The id is `TENANT:URL`, both as the push gives them (`tenantId`, `resourceUrl`), or the URL with `tenant` beside it; a URL alone belongs to the first of the configured accounts.
//! The URL has to be on Xero's own host and on a path that contacts and invoices have, and even then only its path is used. The fetched document
//! is the object itself with `resource` (`Contacts`) and `updated_at` (RFC 3339, from Xero's own form of a moment) put in.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Class, Failure, Scope, Time};
use reqwest::{Method, Url};
use serde_json::Value;

use super::api::{Api, plain};
use super::refusal::{Said, by_status, garbage, of_some, until_midnight};
use super::{Fetched, Kind, Page, Settings, Window, unknown};
use crate::{Body, Reply, Request, Token};

/// What is pushed, and what it is a part of.
const RESOURCES: [&str; 5] = ["Contacts", "Invoices", "CreditNotes", "Payments", "Subscriptions"];
/// 60 calls a minute and organisation (developer.xero.com/documentation/guides/oauth2/limits).
const MINUTE: Duration = Duration::from_secs(60);
/// For the limit of calls at once.
const CONCURRENT: Duration = Duration::from_secs(2);

/// The translator for Xero.
pub(super) struct Xero {
    tenant: Option<String>,
}

impl Xero {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { tenant: settings.accounts.first().cloned() }
    }

    /// Tenant, resource and path of an id.
    fn parts<'a>(&'a self, id: &'a str) -> Option<(&'a str, &'static str, String)> {
        let (tenant, url) = match id.split_once(':')? {
            ("https", _) => (self.tenant.as_deref()?, id),
            (tenant, url) => (tenant, url),
        };
        let url = Url::parse(url).ok()?;
        let own = Url::parse(Kind::Xero.base_url()).ok()?;
        if url.origin() != own.origin()
            || !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some()
        {
            return None;
        }
        let (resource, object) = url.path().strip_prefix("/api.xro/2.0/")?.split_once('/')?;
        let resource = RESOURCES.into_iter().find(|known| known.eq_ignore_ascii_case(resource))?;
        (plain(tenant, b"-", 64) && plain(object, b"-", 64)).then(|| (tenant, resource, format!("/api.xro/2.0/{resource}/{object}")))
    }
}

impl Api for Xero {
    fn batch(&self, object: &str) -> Option<usize> {
        (object == "resource").then_some(1)
    }

    fn whole_id(&self, id: &str, with: &BTreeMap<String, String>) -> String {
        with.get("tenant").map_or_else(|| id.to_owned(), |tenant| format!("{tenant}:{id}"))
    }

    fn is_id(&self, _object: &str, id: &str) -> bool {
        self.parts(id).is_some()
    }

    fn fetch(&self, _object: &str, ids: &[&str]) -> Request {
        let (tenant, _, path) = ids.first().and_then(|id| self.parts(id)).unwrap_or_default();
        let mut request = Request::new(Method::GET, path, Body::None);
        request.headers.push(("xero-tenant-id".to_owned(), tenant.to_owned()));
        request
    }

    fn fetched(&self, _object: &str, ids: &[&str], reply: &Reply) -> Result<Vec<Fetched>, Failure> {
        match reply.status {
            200 => {}
            404 => return Ok(vec![Fetched::Gone]),
            _ => return of_some(ids, self.refused(reply)),
        }
        let resource = ids.first().and_then(|id| self.parts(id)).map(|(_, resource, _)| resource).unwrap_or_default();
        let mut body = reply.json().unwrap_or_default();
        let mut object = body[resource].as_array_mut().filter(|list| list.len() == 1).map(|list| list[0].take()).filter(Value::is_object);
        if let Some(object) = object.as_mut().and_then(Value::as_object_mut) {
            let updated = object.get("UpdatedDateUTC").and_then(Value::as_str).and_then(xero_moment);
            object.insert("resource".to_owned(), Value::from(resource));
            updated.and_then(|at| object.insert("updated_at".to_owned(), Value::from(at.to_string())));
        }
        object.map(|object| vec![Fetched::Object(object)]).ok_or_else(|| garbage(reply))
    }

    fn list(&self, what: &str, _window: Window, _cursor: Option<&str>) -> Result<Request, Failure> {
        Err(unknown(what, Kind::Xero, Kind::Xero.lists()))
    }

    fn listed(&self, what: &str, _window: Window, _cursor: Option<&str>, _reply: &Reply) -> Result<Page, Failure> {
        Err(unknown(what, Kind::Xero, Kind::Xero.lists()))
    }

    fn probe(&self) -> Request {
        Request::new(Method::GET, "/connections", Body::None)
    }

    /// The table (developer.xero.com/documentation/api/accounting/responsecodes and …/guides/oauth2/limits).
    fn refused(&self, reply: &Reply) -> Failure {
        let body = reply.json().unwrap_or_default();
        let text = |names: [&str; 2]| names.into_iter().find_map(|name| body[name].as_str()).map(str::to_owned);
        let problem = reply.header("x-rate-limit-problem").map(str::to_ascii_lowercase);
        let code = problem.clone().filter(|_| reply.status == 429).or_else(|| text(["Title", "Type"]));
        let failure = by_status(reply, Said::new(code, text(["Detail", "Message"])));
        let wait = match problem.as_deref() {
            Some("day") => until_midnight(reply),
            Some("concurrent") => CONCURRENT,
            Some(_) | None => MINUTE,
        };
        match reply.status {
            429 => Failure { retry_after: Some(wait), ..failure },
            // The organisation is offline, says Xero of 503.
            503 => Failure { class: Class::Retryable, scope: Scope::Destination, ..failure },
            _ => failure,
        }
    }

    fn authorize(&self, request: &mut Request, token: &Token) {
        request.headers.push(("authorization".to_owned(), format!("Bearer {}", token.value.reveal())));
    }

    fn retry_after_max(&self) -> Duration {
        Duration::from_secs(24 * 3_600)
    }
}

/// `/Date(1488391422280+0000)/`: milliseconds since 1970, and an offset that changes nothing.
fn xero_moment(text: &str) -> Option<Time> {
    let inside = text.strip_prefix("/Date(")?.strip_suffix(")/")?;
    let digits = inside.find(['+', '-']).map_or(inside, |at| &inside[..at]);
    digits.parse::<i64>().ok().filter(|millis| (0..=253_402_300_799_000).contains(millis)).map(Time::from_millis)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Auth, Secret};

    const URL: &str = "https://api.xero.com/api.xro/2.0/Contacts/717f2bfc-c6d4-41fd-b238-3f2f0c0cf777";

    fn xero() -> Xero {
        Xero::new(&Settings { accounts: vec!["c2cc9b6e".to_owned()], ..Settings::new(Auth::Bearer { token: Secret::new("x") }) })
    }

    fn reply(status: u16, headers: &[(&str, &str)], body: &Value) -> Reply {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Reply { status, headers, body: body.to_string().into_bytes() }
    }

    #[test]
    fn only_xeros_own_objects_are_asked_for() {
        let id = format!("9d1f0a2b-1c:{URL}");
        let request = xero().fetch("resource", &[&id]);
        assert_eq!(request.path, "/api.xro/2.0/Contacts/717f2bfc-c6d4-41fd-b238-3f2f0c0cf777");
        assert_eq!(request.header("xero-tenant-id"), Some("9d1f0a2b-1c"));
        assert_eq!(xero().whole_id(URL, &BTreeMap::from([("tenant".to_owned(), "9d1f0a2b-1c".to_owned())])), id);
        assert_eq!(xero().fetch("resource", &[URL]).header("xero-tenant-id"), Some("c2cc9b6e"));
        for wrong in [
            "https://api.xero.com.evil.example/api.xro/2.0/Contacts/1",
            "https://evil.example/api.xro/2.0/Contacts/1",
            "http://api.xero.com/api.xro/2.0/Contacts/1",
            "https://api.xero.com:8443/api.xro/2.0/Contacts/1",
            "https://u:p@api.xero.com/api.xro/2.0/Contacts/1",
            "https://api.xero.com/api.xro/2.0/Users/1",
            "https://api.xero.com/api.xro/2.0/Contacts/../Users/1",
            "https://api.xero.com/api.xro/2.0/Contacts/1?where=x",
            "https://api.xero.com/api.xro/2.0/Contacts",
            "t/../x:https://api.xero.com/api.xro/2.0/Contacts/1",
            "t:file:///etc/passwd",
            "",
        ] {
            assert!(!xero().is_id("resource", wrong), "{wrong}");
        }
    }

    /// After developer.xero.com/documentation/api/accounting/contacts, with made-up people.
    #[test]
    fn an_object_is_read_with_its_update_time_in_a_form_that_others_read() {
        let contact = json!({ "ContactID": "717f", "EmailAddress": "ada@example.com", "UpdatedDateUTC": "/Date(1488391422280+0000)/" });
        let found = xero().fetched("resource", &[URL], &reply(200, &[], &json!({ "Contacts": [contact] }))).unwrap();
        let Fetched::Object(found) = &found[0] else { panic!("{found:?}") };
        assert_eq!((&found["resource"], &found["updated_at"]), (&json!("Contacts"), &json!("2017-03-01T18:03:42.280Z")));
        assert_eq!((xero_moment("/Date(x)/"), xero_moment("/Date(-1)/"), xero_moment("2017")), (None, None, None));
        assert!(xero().fetched("resource", &[URL], &reply(200, &[], &json!({ "Contacts": [] }))).is_err());
    }

    #[test]
    fn the_table_of_errors() {
        assert_eq!(
            xero().fetched("resource", &[URL], &reply(404, &[], &json!("The resource you're looking for cannot be found"))).unwrap(),
            [Fetched::Gone]
        );
        let problem = |word| [("x-rate-limit-problem", word), ("date", "Sun, 22 Nov 2026 23:50:00 GMT")];
        let table = [
            (reply(401, &[], &json!({ "Title": "Unauthorized", "Detail": "TokenExpired" })), Class::Auth, None),
            (reply(403, &[], &json!({ "Title": "Forbidden", "Detail": "AuthenticationUnsuccessful" })), Class::Auth, None),
            (reply(429, &problem("minute"), &json!(null)), Class::Throttled, Some(60)),
            (reply(429, &problem("day"), &json!(null)), Class::Throttled, Some(600)),
            (reply(429, &problem("concurrent"), &json!(null)), Class::Throttled, Some(2)),
            (reply(503, &[], &json!("The Organisation is offline")), Class::Retryable, None),
            (reply(500, &[], &json!(null)), Class::Retryable, None),
        ];
        for (reply, class, wait) in table {
            let failure = xero().fetched("resource", &[URL], &reply).unwrap_err();
            assert_eq!((failure.class, failure.retry_after.map(|wait| wait.as_secs())), (class, wait), "{}", reply.status);
        }
    }
}
