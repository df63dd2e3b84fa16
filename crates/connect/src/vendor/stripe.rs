//! Stripe: events that hold no more than a name of what changed, the objects they name, and the list of events for catching up.
//!
//! A thin event (docs.stripe.com/event-destinations) is read whole, and the object that it names is put into it as `related`; null if that is gone.
//! Listed events are whole and are taken in as they are: they carry the id that their push did.

use std::time::Duration;

use model::{Class, Failure, Scope, Time};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::api::{Api, Beside, cursor, plain, read_cursor};
use super::refusal::{Said, by_status, garbage, of_some};
use super::{Fetched, Listed, Page, Settings, Window};
use crate::wire::encode;
use crate::{Body, Reply, Request, SettingsError};

/// Needed for `/v2`, and so that objects look alike whatever the account's own default is.
const VERSION: &str = "2025-09-30.clover";
const EVENTS_A_PAGE: usize = 100;
/// Stripe counts by the second.
const LIMIT_PAUSE: Duration = Duration::from_secs(2);

/// Objects by the word in a mapping, with their collection under `/v1`; `event` is a thin one, under `/v2`.
const COLLECTIONS: [(&str, &str); 8] = [
    ("customer", "customers"),
    ("subscription", "subscriptions"),
    ("invoice", "invoices"),
    ("charge", "charges"),
    ("payment_intent", "payment_intents"),
    ("checkout_session", "checkout/sessions"),
    ("product", "products"),
    ("price", "prices"),
];
pub(super) const OBJECTS: &[&str] =
    &["event", "customer", "subscription", "invoice", "charge", "payment_intent", "checkout_session", "product", "price"];

/// The translator for Stripe.
pub(super) struct Stripe {
    version: String,
}

/// Newest first: whatever happens meanwhile comes before the first page.
#[derive(Default, Serialize, Deserialize)]
struct Place {
    after: Option<String>,
}

impl Stripe {
    pub(super) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let version = settings.version.clone().unwrap_or_else(|| VERSION.to_owned());
        if !plain(&version, b".-_", 40) || !version.starts_with("20") {
            return Err(SettingsError::ApiVersion(format!("`{version}` is no version of Stripe's API; one looks like `{VERSION}`")));
        }
        Ok(Self { version })
    }

    fn get(&self, path: String) -> Request {
        let mut request = Request::new(Method::GET, path, Body::None);
        request.headers.push(("stripe-version".to_owned(), self.version.clone()));
        request
    }
}

impl Api for Stripe {
    fn batch(&self, object: &str) -> Option<usize> {
        OBJECTS.contains(&object).then_some(1)
    }

    fn is_id(&self, _object: &str, id: &str) -> bool {
        plain(id, b"_", 255)
    }

    fn fetch(&self, object: &str, ids: &[&str]) -> Request {
        let id = ids.first().copied().unwrap_or_default();
        match COLLECTIONS.iter().find(|(name, _)| *name == object) {
            Some((_, collection)) => self.get(format!("/v1/{collection}/{id}")),
            None => self.get(format!("/v2/core/events/{id}")),
        }
    }

    fn fetched(&self, _object: &str, ids: &[&str], reply: &Reply) -> Result<Vec<Fetched>, Failure> {
        match reply.status {
            200 => {}
            404 if code(reply).as_deref().is_some_and(is_missing) => return Ok(vec![Fetched::Gone]),
            _ => return of_some(ids, self.refused(reply)),
        }
        let body = reply.json().filter(|body| body["id"].as_str() == ids.first().copied()).ok_or_else(|| garbage(reply))?;
        // What remains of a deleted customer is its id.
        Ok(vec![if body["deleted"] == true { Fetched::Gone } else { Fetched::Object(body) }])
    }

    fn beside(&self, object: &str, document: &Value) -> Option<Beside> {
        let related = &document["related_object"];
        let (url, id) = (related["url"].as_str()?, related["id"].as_str()?);
        (object == "event" && confined(url, id)).then(|| Beside { key: url.to_owned(), request: self.get(url.to_owned()), keep: false })
    }

    fn read_beside(&self, reply: &Reply) -> Result<Value, Failure> {
        match reply.status {
            200 => reply
                .json()
                .filter(Value::is_object)
                .map(|found| if found["deleted"] == true { Value::Null } else { found })
                .ok_or_else(|| garbage(reply)),
            404 if code(reply).as_deref().is_some_and(is_missing) => Ok(Value::Null),
            _ => Err(self.refused(reply)),
        }
    }

    fn complete(&self, document: &mut Value, related: &Value) {
        if let Some(event) = document.as_object_mut() {
            event.insert("related".to_owned(), related.clone());
        }
    }

    fn list(&self, _what: &str, window: Window, cursor: Option<&str>) -> Result<Request, Failure> {
        let place: Place = read_cursor(cursor)?;
        let after = place.after.filter(|after| plain(after, b"_", 255)).map(|after| format!("&starting_after={after}")).unwrap_or_default();
        let (since, until) = (window.since.seconds(), Time(window.until.0.saturating_add(999_999)).seconds());
        let bound = |word: &str, at: i64| format!("{}={at}", encode(&format!("created[{word}]")));
        Ok(self.get(format!("/v1/events?{}&{}&limit={EVENTS_A_PAGE}{after}", bound("gte", since), bound("lt", until))))
    }

    fn listed(&self, _what: &str, _window: Window, _cursor: Option<&str>, reply: &Reply) -> Result<Page, Failure> {
        if reply.status != 200 {
            return Err(self.refused(reply));
        }
        let body = reply.json().unwrap_or_default();
        let rows = body["data"].as_array().filter(|rows| rows.iter().all(|row| row["id"].is_string())).ok_or_else(|| garbage(reply))?;
        let last = rows.last().and_then(|row| row["id"].as_str()).map(str::to_owned);
        let next = match (body["has_more"] == true, last) {
            (true, Some(last)) => Some(cursor(&Place { after: Some(last) })?),
            (true, None) | (false, _) => None,
        };
        Ok(Page { objects: rows.iter().map(|event| Listed { push: event.clone(), object: None }).collect(), next })
    }

    fn probe(&self) -> Request {
        self.get("/v1/events?limit=1".to_owned())
    }

    /// The table (docs.stripe.com/error-codes, docs.stripe.com/rate-limits).
    fn refused(&self, reply: &Reply) -> Failure {
        let message = reply.json().unwrap_or_default()["error"]["message"].as_str().map(str::to_owned);
        let code = code(reply);
        let is = |word: &str| code.as_deref() == Some(word);
        let (locked, mode) = (
            is("lock_timeout"),
            is("testmode_charges_only") || is("livemode_mismatch") || is("platform_api_key_expired") || is("api_key_expired"),
        );
        let failure = by_status(reply, Said::new(code, message));
        match reply.status {
            429 if locked => Failure { class: Class::Retryable, scope: Scope::Call, ..failure },
            429 => Failure { retry_after: Some(LIMIT_PAUSE), ..failure },
            400..=499 if mode => Failure { class: Class::Auth, scope: Scope::Destination, ..failure },
            // A path that does not exist has no code.
            404 => Failure { scope: Scope::Destination, ..failure },
            _ => failure,
        }
    }
}

/// The finest word of an error.
fn code(reply: &Reply) -> Option<String> {
    let body = reply.json()?;
    ["code", "type"].into_iter().find_map(|name| body["error"][name].as_str()).map(str::to_owned)
}

/// `/v1` and `/v2` spell it differently.
fn is_missing(code: &str) -> bool {
    matches!(code, "resource_missing" | "not_found")
}

/// Whether an event's link leads to the object that it names, within the API: `/v1/customers/cus_1`, `/v2/core/accounts/acct_1`.
fn confined(url: &str, id: &str) -> bool {
    let path = url.strip_prefix("/v1/").or_else(|| url.strip_prefix("/v2/"));
    let Some((collection, last)) = path.and_then(|path| path.rsplit_once('/')) else { return false };
    last == id && plain(id, b"_", 255) && collection.split('/').all(|part| plain(part, b"_", 60)) && collection.len() <= 200
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Auth, Secret};

    fn stripe() -> Stripe {
        Stripe::new(&Settings::new(Auth::Bearer { token: Secret::new("sk_test_x") })).unwrap()
    }

    fn reply(status: u16, body: &Value) -> Reply {
        Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
    }

    /// After docs.stripe.com/event-destinations, with made-up ids.
    fn thin(url: &str) -> Value {
        json!({
            "id": "evt_65R", "object": "v2.core.event", "type": "v1.billing.meter.error_report_triggered", "livemode": false,
            "created": "2026-11-22T18:00:00.000Z", "related_object": { "id": "mtr_1", "type": "billing.meter", "url": url },
        })
    }

    #[test]
    fn a_thin_event_is_read_with_the_object_that_it_names() {
        let request = stripe().fetch("event", &["evt_65R"]);
        assert_eq!((request.path.as_str(), request.header("stripe-version")), ("/v2/core/events/evt_65R", Some(VERSION)));
        let event = thin("/v1/billing/meters/mtr_1");
        let found = stripe().fetched("event", &["evt_65R"], &reply(200, &event)).unwrap();
        assert_eq!(found, [Fetched::Object(event.clone())]);
        let beside = stripe().beside("event", &event).unwrap();
        assert_eq!((beside.request.path.as_str(), beside.keep), ("/v1/billing/meters/mtr_1", false));
        let mut event = event;
        stripe().complete(&mut event, &stripe().read_beside(&reply(200, &json!({ "id": "mtr_1" }))).unwrap());
        assert_eq!(event["related"]["id"], "mtr_1");
        let missing = reply(404, &json!({ "error": { "code": "resource_missing", "message": "No such meter" } }));
        assert_eq!(stripe().read_beside(&missing).unwrap(), Value::Null);
        assert_eq!(stripe().read_beside(&reply(403, &json!({ "error": { "message": "no" } }))).unwrap_err().class, Class::Auth);
    }

    #[test]
    fn an_events_link_is_followed_only_within_the_api_and_to_the_object_it_names() {
        for url in [
            "https://evil.example/v1/billing/meters/mtr_1",
            "//evil.example/mtr_1",
            "/v1/billing/meters/mtr_2",
            "/v1/../admin/mtr_1",
            "/v1/customers?limit=1/mtr_1",
            "/v1/a%2Fb/mtr_1",
            "/v3/x/mtr_1",
            "/v1/mtr_1",
            "",
        ] {
            assert!(stripe().beside("event", &thin(url)).is_none(), "{url}");
        }
    }

    #[test]
    fn objects_are_read_from_their_collections_and_deleted_ones_are_gone() {
        assert_eq!(stripe().fetch("checkout_session", &["cs_1"]).path, "/v1/checkout/sessions/cs_1");
        assert!(COLLECTIONS.iter().all(|(name, _)| OBJECTS.contains(name)) && COLLECTIONS.len() + 1 == OBJECTS.len());
        let deleted = reply(200, &json!({ "id": "cus_1", "object": "customer", "deleted": true }));
        assert_eq!(stripe().fetched("customer", &["cus_1"], &deleted).unwrap(), [Fetched::Gone]);
        let other = reply(200, &json!({ "id": "cus_2" }));
        assert_eq!(stripe().fetched("customer", &["cus_1"], &other).unwrap_err().class, Class::Retryable);
        for wrong in ["", "cus_1/../x", "cus 1", "cus_1?x"] {
            assert!(!stripe().is_id("customer", wrong), "{wrong}");
        }
    }

    #[test]
    fn the_table_of_errors() {
        use Class::{Auth, Permanent, Retryable, Throttled};
        let table = [
            (401, json!({ "type": "invalid_request_error", "message": "Invalid API Key provided" }), Auth, Scope::Destination),
            (401, json!({ "code": "api_key_expired" }), Auth, Scope::Destination),
            (
                403,
                json!({ "type": "invalid_request_error", "message": "The provided key does not have the required permissions" }),
                Auth,
                Scope::Destination,
            ),
            (404, json!({ "type": "invalid_request_error", "message": "Unrecognized request URL" }), Permanent, Scope::Destination),
            (400, json!({ "code": "parameter_invalid_integer", "message": "Invalid integer" }), Permanent, Scope::Call),
            (429, json!({ "code": "rate_limit", "message": "Too many requests" }), Throttled, Scope::Destination),
            (429, json!({ "code": "lock_timeout", "message": "This object cannot be accessed right now" }), Retryable, Scope::Call),
            (500, json!({ "type": "api_error" }), Retryable, Scope::Destination),
            (503, json!(null), Retryable, Scope::Destination),
        ];
        for (status, error, class, scope) in table {
            let failure = stripe().refused(&reply(status, &json!({ "error": error })));
            assert_eq!((failure.class, failure.scope), (class, scope), "{status} {error}");
        }
        for word in ["resource_missing", "not_found"] {
            let missing = reply(404, &json!({ "error": { "code": word } }));
            assert_eq!(stripe().fetched("event", &["evt_1"], &missing).unwrap(), [Fetched::Gone]);
        }
    }

    #[test]
    fn events_are_listed_from_the_newest_to_the_oldest() {
        let window = Window { since: Time::from_seconds(1_700_000_000), until: Time(1_700_000_100_000_001) };
        let first = stripe().list("events", window, None).unwrap();
        assert_eq!(first.path, "/v1/events?created%5Bgte%5D=1700000000&created%5Blt%5D=1700000101&limit=100");
        let event = json!({ "id": "evt_2", "object": "event", "created": 1_700_000_050, "type": "customer.created" });
        let page = stripe().listed("events", window, None, &reply(200, &json!({ "data": [event], "has_more": true }))).unwrap();
        assert_eq!(page.objects, [Listed { push: event, object: None }]);
        let next = page.next.unwrap();
        assert!(stripe().list("events", window, Some(&next)).unwrap().path.ends_with("&starting_after=evt_2"));
        let last = stripe().listed("events", window, Some(&next), &reply(200, &json!({ "data": [], "has_more": false }))).unwrap();
        assert_eq!(last, Page::default());
    }
}
