//! BigCommerce: what a push names by scope and id (developer.bigcommerce.com/docs/rest-management, customers and orders). The store's hash is the
//! one configured account; customers, subscribers and products come fifty at once, orders one by one. A customer has its addresses with it.

use std::time::Duration;

use model::{Class, Failure, Scope};
use reqwest::Method;
use serde_json::Value;

use super::api::{Api, id_text, plain};
use super::refusal::{Said, by_status, garbage, of_some};
use super::{Fetched, Kind, Page, Settings, Window, unknown};
use crate::{Body, Reply, Request, SettingsError, Token};

/// What a list gives where nothing is said, and what is asked for.
const BATCH_MAX: usize = 50;
const LIMIT_PAUSE: Duration = Duration::from_secs(30);

pub(super) const OBJECTS: &[&str] = &["customer", "order", "subscriber", "product"];

/// The translator for BigCommerce.
pub(super) struct Bigcommerce {
    /// `/stores/abc123`.
    root: String,
}

impl Bigcommerce {
    pub(super) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        match settings.accounts.as_slice() {
            [hash] if plain(hash, b"", 40) => Ok(Self { root: format!("/stores/{hash}") }),
            _ => Err(SettingsError::Accounts(
                "name the store by its hash, which stands in its API path: `accounts = [\"<store hash>\"]`".to_owned(),
            )),
        }
    }
}

impl Api for Bigcommerce {
    fn batch(&self, object: &str) -> Option<usize> {
        OBJECTS.contains(&object).then_some(if object == "order" { 1 } else { BATCH_MAX })
    }

    fn is_id(&self, _object: &str, id: &str) -> bool {
        (1..=20).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit())
    }

    fn fetch(&self, object: &str, ids: &[&str]) -> Request {
        let (root, ids) = (&self.root, ids.join(","));
        let listed = format!("id%3Ain={ids}&limit={BATCH_MAX}");
        let path = match object {
            "order" => format!("{root}/v2/orders/{ids}"),
            "subscriber" => format!("{root}/v3/customers/subscribers?{listed}"),
            "product" => format!("{root}/v3/catalog/products?{listed}"),
            _ => format!("{root}/v3/customers?{listed}&include=addresses"),
        };
        Request::new(Method::GET, path, Body::None)
    }

    fn fetched(&self, object: &str, ids: &[&str], reply: &Reply) -> Result<Vec<Fetched>, Failure> {
        let alone = object == "order";
        match reply.status {
            200 => {}
            404 if alone => return Ok(vec![Fetched::Gone]),
            // A list of nothing, as the older API says it.
            204 => return Ok(ids.iter().map(|_| Fetched::Gone).collect()),
            _ => return of_some(ids, self.refused(reply)),
        }
        let body = reply.json().unwrap_or_default();
        let is = |row: &Value, id: &str| id_text(&row["id"]).as_deref() == Some(id);
        if alone {
            let sound = ids.first().is_some_and(|id| is(&body, id));
            return if sound { Ok(vec![Fetched::Object(body)]) } else { Err(garbage(reply)) };
        }
        let rows = body["data"].as_array().ok_or_else(|| garbage(reply))?;
        let one = |id: &&str| rows.iter().find(|row| is(row, id)).map_or(Fetched::Gone, |row| Fetched::Object(row.clone()));
        Ok(ids.iter().map(one).collect())
    }

    fn list(&self, what: &str, _window: Window, _cursor: Option<&str>) -> Result<Request, Failure> {
        Err(unknown(what, Kind::Bigcommerce, Kind::Bigcommerce.lists()))
    }

    fn listed(&self, what: &str, _window: Window, _cursor: Option<&str>, _reply: &Reply) -> Result<Page, Failure> {
        Err(unknown(what, Kind::Bigcommerce, Kind::Bigcommerce.lists()))
    }

    fn probe(&self) -> Request {
        Request::new(Method::GET, format!("{}/v2/store", self.root), Body::None)
    }

    /// The table (developer.bigcommerce.com/docs/start/best-practices/api-rate-limits, …/about/status-codes).
    fn refused(&self, reply: &Reply) -> Failure {
        let mut body = reply.json().unwrap_or_default();
        // The older API answers with a list of errors.
        if body.is_array() {
            body = body[0].take();
        }
        let message = ["title", "message", "detail"].into_iter().find_map(|name| body[name].as_str()).map(str::to_owned);
        let failure = by_status(reply, Said::new(None, message));
        let reset = reply.header("x-rate-limit-time-reset-ms").and_then(|text| text.trim().parse::<u64>().ok()).map(Duration::from_millis);
        match reply.status {
            429 => {
                let wait = reset.unwrap_or(LIMIT_PAUSE).clamp(Duration::from_secs(1), self.retry_after_max());
                Failure { retry_after: Some(wait), ..failure }
            }
            404 => Failure { scope: Scope::Destination, ..failure },
            // The store is down for maintenance or has not paid; the plan lacks the API.
            402 | 409 => Failure { class: Class::Auth, scope: Scope::Destination, ..failure },
            _ => failure,
        }
    }

    fn authorize(&self, request: &mut Request, token: &Token) {
        request.headers.push(("x-auth-token".to_owned(), token.value.reveal().to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Auth, Secret};

    fn shop() -> Bigcommerce {
        Bigcommerce::new(&Settings { accounts: vec!["abc123".to_owned()], ..Settings::new(Auth::Bearer { token: Secret::new("t") }) })
            .unwrap()
    }

    fn reply(status: u16, body: &Value) -> Reply {
        Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
    }

    #[test]
    fn customers_come_together_and_orders_alone() {
        assert_eq!(shop().fetch("customer", &["4", "5"]).path, "/stores/abc123/v3/customers?id%3Ain=4,5&limit=50&include=addresses");
        assert_eq!(shop().fetch("order", &["118"]).path, "/stores/abc123/v2/orders/118");
        assert_eq!((shop().batch("customer"), shop().batch("order"), shop().batch("cart")), (Some(50), Some(1), None));
        let rows = json!({ "data": [{ "id": 5, "email": "ada@example.com" }], "meta": {} });
        let found = shop().fetched("customer", &["4", "5"], &reply(200, &rows)).unwrap();
        assert_eq!(found, [Fetched::Gone, Fetched::Object(json!({ "id": 5, "email": "ada@example.com" }))]);
        let order = json!({ "id": 118, "status": "Shipped" });
        assert_eq!(shop().fetched("order", &["118"], &reply(200, &order)).unwrap(), [Fetched::Object(order)]);
        assert_eq!(
            shop().fetched("order", &["118"], &reply(404, &json!([{ "status": 404, "message": "not found" }]))).unwrap(),
            [Fetched::Gone]
        );
        assert!(shop().fetched("order", &["119"], &reply(200, &json!({ "id": 118 }))).is_err());
        for wrong in ["", "1/2", "1,2", "a", "-1"] {
            assert!(!shop().is_id("customer", wrong), "{wrong}");
        }
    }

    #[test]
    fn the_token_has_a_header_of_its_own_and_the_store_must_be_named() {
        let mut request = shop().probe();
        shop().authorize(&mut request, &Token::lasting(Secret::new("t")));
        assert_eq!((request.header("x-auth-token"), request.header("authorization")), (Some("t"), None));
        let bearer = || Settings::new(Auth::Bearer { token: Secret::new("t") });
        assert!(Bigcommerce::new(&bearer()).is_err());
        assert!(Bigcommerce::new(&Settings { accounts: vec!["../x".to_owned()], ..bearer() }).is_err());
    }

    #[test]
    fn the_table_of_errors() {
        let table = [
            (401, Class::Auth, Scope::Destination),
            (402, Class::Auth, Scope::Destination),
            (403, Class::Auth, Scope::Destination),
            (404, Class::Permanent, Scope::Destination),
            (422, Class::Permanent, Scope::Call),
            (429, Class::Throttled, Scope::Destination),
            (500, Class::Retryable, Scope::Destination),
            (503, Class::Retryable, Scope::Destination),
        ];
        for (status, class, scope) in table {
            let failure = shop().refused(&reply(status, &json!({ "status": status, "title": "t" })));
            assert_eq!((failure.class, failure.scope), (class, scope), "{status}");
        }
        let headers = vec![("x-rate-limit-time-reset-ms".to_owned(), "15000".to_owned())];
        assert_eq!(shop().refused(&Reply { status: 429, headers, body: Vec::new() }).retry_after, Some(Duration::from_secs(15)));
    }
}
