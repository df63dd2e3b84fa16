//! Attio's records (docs.attio.com/rest-api/endpoint-reference/records). A push names a record by the ids of its object and of itself: the id here
//! is both, `OBJECT:RECORD`, or the record's with `object` beside it. The fetched document is the record: `id`, `created_at`, `web_url`, `values` (a list of what each attribute holds now).

use std::collections::BTreeMap;

use model::{Class, Failure, Scope};
use reqwest::Method;

use super::api::{Api, plain};
use super::refusal::{Said, by_status, garbage, of_some};
use super::{Fetched, Kind, Page, Window, unknown};
use crate::{Body, Reply, Request};

/// The translator for Attio.
pub(super) struct Attio;

impl Api for Attio {
    fn batch(&self, object: &str) -> Option<usize> {
        (object == "record").then_some(1)
    }

    fn whole_id(&self, id: &str, with: &BTreeMap<String, String>) -> String {
        with.get("object").map_or_else(|| id.to_owned(), |object| format!("{object}:{id}"))
    }

    fn is_id(&self, _object: &str, id: &str) -> bool {
        id.split_once(':').is_some_and(|(object, record)| plain(object, b"-_", 64) && plain(record, b"-", 64))
    }

    fn fetch(&self, _object: &str, ids: &[&str]) -> Request {
        let (object, record) = ids.first().and_then(|id| id.split_once(':')).unwrap_or_default();
        Request::new(Method::GET, format!("/v2/objects/{object}/records/{record}"), Body::None)
    }

    fn fetched(&self, _object: &str, ids: &[&str], reply: &Reply) -> Result<Vec<Fetched>, Failure> {
        match reply.status {
            200 => {}
            404 if reply.json().is_some_and(|body| body["code"] == "not_found") => return Ok(vec![Fetched::Gone]),
            _ => return of_some(ids, self.refused(reply)),
        }
        let record = reply.json().map(|mut body| body["data"].take()).filter(|record| record["values"].is_object());
        record.map(|record| vec![Fetched::Object(record)]).ok_or_else(|| garbage(reply))
    }

    fn list(&self, what: &str, _window: Window, _cursor: Option<&str>) -> Result<Request, Failure> {
        Err(unknown(what, Kind::Attio, Kind::Attio.lists()))
    }

    fn listed(&self, what: &str, _window: Window, _cursor: Option<&str>, _reply: &Reply) -> Result<Page, Failure> {
        Err(unknown(what, Kind::Attio, Kind::Attio.lists()))
    }

    fn probe(&self) -> Request {
        Request::new(Method::GET, "/v2/self", Body::None)
    }

    /// Attio names what went wrong in `type` and `code`; its limit of reads comes with `Retry-After` as a date (crm-apis.md 9.1).
    fn refused(&self, reply: &Reply) -> Failure {
        let body = reply.json().unwrap_or_default();
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let failure = by_status(reply, Said::new(text("code"), text("message")));
        match reply.status {
            404 if body["code"].is_null() => Failure { class: Class::Permanent, scope: Scope::Destination, ..failure },
            _ => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ID: &str = "97052eb9-e65e-443f-a297-f2d9a4a7f795:bf071e1f-6035-429d-b874-d83ea64ea13b";

    fn reply(status: u16, body: &Value) -> Reply {
        Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
    }

    #[test]
    fn a_record_is_read_by_the_ids_of_its_object_and_itself() {
        let request = Attio.fetch("record", &[ID]);
        assert_eq!(request.path, "/v2/objects/97052eb9-e65e-443f-a297-f2d9a4a7f795/records/bf071e1f-6035-429d-b874-d83ea64ea13b");
        let with = BTreeMap::from([("object".to_owned(), "people".to_owned())]);
        assert_eq!((Attio.whole_id("b-1", &with), Attio.whole_id(ID, &BTreeMap::new())), ("people:b-1".to_owned(), ID.to_owned()));
        for wrong in ["", "people", "people:", ":x", "people/../x:1", "people:1/2", "people:1?x", "a:b:c"] {
            assert!(!Attio.is_id("record", wrong), "{wrong}");
        }
        let record = json!({ "id": { "record_id": "b" }, "values": { "email_addresses": [{ "email_address": "ada@example.com" }] } });
        assert_eq!(Attio.fetched("record", &[ID], &reply(200, &json!({ "data": record }))).unwrap(), [Fetched::Object(record)]);
        assert_eq!(Attio.fetched("record", &[ID], &reply(200, &json!({}))).unwrap_err().class, Class::Retryable);
    }

    #[test]
    fn the_table_of_errors() {
        let error = |status: u16, kind: &str, code: &str| {
            reply(status, &json!({ "status_code": status, "type": kind, "code": code, "message": "m" }))
        };
        assert_eq!(Attio.fetched("record", &[ID], &error(404, "invalid_request_error", "not_found")).unwrap(), [Fetched::Gone]);
        let table = [
            (error(401, "auth_error", "unauthorized"), Class::Auth, Scope::Destination),
            (error(403, "auth_error", "insufficient_scopes"), Class::Auth, Scope::Destination),
            (error(429, "rate_limit_error", "rate_limit_exceeded"), Class::Throttled, Scope::Destination),
            (error(500, "api_error", "internal"), Class::Retryable, Scope::Destination),
            (reply(404, &json!("<html>")), Class::Permanent, Scope::Destination),
        ];
        for (reply, class, scope) in table {
            let failure = Attio.fetched("record", &[ID], &reply).unwrap_err();
            assert_eq!((failure.class, failure.scope), (class, scope), "{}", reply.status);
        }
        let refused = Attio.fetched("record", &[ID], &error(400, "invalid_request_error", "validation_type")).unwrap();
        assert!(matches!(&refused[0], Fetched::Refused(failure) if failure.scope == Scope::Record && failure.code == "validation_type"));
    }
}
