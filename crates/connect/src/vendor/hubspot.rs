//! HubSpot: the objects that a push names by id, and those that came to be in a window, for catching up.
//!
//! Search lags some minutes behind and gives at most 10,000 results to a query, so the list goes by ascending record id, each page a query of its
//! own. What a push of a creation said beyond the record is not known afterwards (its event id is not kept anywhere), so a source that catches up
//! makes the key of a creation from portal and record: a record is created once.

use std::time::Duration;

use model::{Class, Failure, Scope, Time};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{Api, cursor, id_text, read_cursor};
use super::refusal::{garbage, of_some};
use super::{Fetched, Listed, Page, Settings, Window};
use crate::crm::hubspot::refused_read;
use crate::{Body, Reply, Request, SettingsError, valid_name};

/// Documented for batch reads and bearable for searches.
const BATCH_MAX: usize = 100;
const FOUND_A_PAGE: usize = 100;

/// Words of a mapping; the collection is the plural.
pub(super) const OBJECTS: &[&str] = &["contact", "company", "deal", "ticket"];
/// What is listed, in this order.
pub(super) const LISTS: &[&str] = &["contacts", "companies", "deals"];

const CONTACT: &[&str] = &[
    "email",
    "hs_additional_emails",
    "firstname",
    "lastname",
    "phone",
    "mobilephone",
    "company",
    "jobtitle",
    "website",
    "address",
    "city",
    "state",
    "zip",
    "country",
    "hs_language",
    "hs_timezone",
    "lifecyclestage",
    "hs_lead_status",
    "hs_legal_basis",
    "hs_analytics_source",
    "hs_analytics_source_data_1",
    "hs_analytics_source_data_2",
    "hs_google_click_id",
    "hs_facebook_click_id",
    "message",
    // No account has these of itself; many have made them, and what an account does not have is left out of the answer.
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
    "hubspot_owner_id",
    "createdate",
    "lastmodifieddate",
];
const COMPANY: &[&str] = &[
    "name",
    "domain",
    "website",
    "phone",
    "industry",
    "description",
    "address",
    "city",
    "state",
    "zip",
    "country",
    "numberofemployees",
    "annualrevenue",
    "lifecyclestage",
    "hubspot_owner_id",
    "createdate",
    "hs_lastmodifieddate",
];
const DEAL: &[&str] = &[
    "dealname",
    "amount",
    "deal_currency_code",
    "dealstage",
    "pipeline",
    "dealtype",
    "closedate",
    "hs_is_closed",
    "hs_is_closed_won",
    "hubspot_owner_id",
    "createdate",
    "hs_lastmodifieddate",
];
const TICKET: &[&str] = &[
    "subject",
    "content",
    "hs_pipeline",
    "hs_pipeline_stage",
    "hs_ticket_priority",
    "hubspot_owner_id",
    "createdate",
    "hs_lastmodifieddate",
];

/// The translator for HubSpot.
pub(super) struct Hubspot {
    /// `/crm/v3/objects` or `/crm/objects/2026-09`.
    root: String,
    properties: Vec<String>,
    portal: Option<String>,
}

/// By ascending record id; first of all, whose portal it is.
#[derive(Default, Serialize, Deserialize)]
struct Place {
    portal: Option<String>,
    after: Option<String>,
}

impl Hubspot {
    pub(super) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let root = crate::crm::Hubspot::of_version(settings.version.as_deref())?.root().to_owned();
        if let Some(wrong) = settings.properties.iter().find(|name| !valid_name(name)) {
            return Err(SettingsError::Accounts(format!("`{wrong}` is no name of a property")));
        }
        if let Some(wrong) = settings.accounts.iter().find(|portal| !is_number(portal)) {
            return Err(SettingsError::Accounts(format!("`{wrong}` is no portal id: one is all digits")));
        }
        Ok(Self { root, properties: settings.properties.clone(), portal: settings.accounts.first().cloned() })
    }

    fn properties(&self, of: &[&str]) -> Vec<String> {
        of.iter().map(|name| (*name).to_owned()).chain(self.properties.iter().cloned()).collect()
    }

    fn place(&self, cursor: Option<&str>) -> Result<Place, Failure> {
        let place: Place = read_cursor(cursor)?;
        let sound = place.portal.as_deref().is_none_or(is_number) && place.after.as_deref().is_none_or(is_number);
        if !sound {
            return Err(Failure::new(
                Class::Permanent,
                Scope::Call,
                "cursor",
                "the cursor is none that this client has given: begin again",
            ));
        }
        Ok(Place { portal: place.portal.or_else(|| self.portal.clone()), ..place })
    }

    fn post(path: String, body: Value) -> Request {
        Request::new(Method::POST, path, Body::Json(body))
    }
}

impl Api for Hubspot {
    fn batch(&self, object: &str) -> Option<usize> {
        OBJECTS.contains(&object).then_some(BATCH_MAX)
    }

    fn is_id(&self, _object: &str, id: &str) -> bool {
        is_number(id)
    }

    fn fetch(&self, object: &str, ids: &[&str]) -> Request {
        let (collection, properties) = collection(object);
        let inputs: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
        Self::post(format!("{}/{collection}/batch/read", self.root), json!({ "inputs": inputs, "properties": self.properties(properties) }))
    }

    fn fetched(&self, _object: &str, ids: &[&str], reply: &Reply) -> Result<Vec<Fetched>, Failure> {
        if !matches!(reply.status, 200 | 207) {
            return of_some(ids, self.refused(reply));
        }
        let body = reply.json().unwrap_or_default();
        let rows = body["results"].as_array().ok_or_else(|| garbage(reply))?;
        // Of a record that is not there the answer says nothing, or that it was not found; another error leaves open whom it concerns.
        let errors = body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        let troubled = errors.iter().any(|error| error["category"] != "OBJECT_NOT_FOUND");
        let one = |id: &&str| match rows.iter().find(|row| row["id"].as_str() == Some(id)) {
            Some(row) if row["archived"] == true => Fetched::Gone,
            Some(row) => Fetched::Object(row.clone()),
            None if troubled => {
                let message = "the answer says neither that this record is there nor that it is not";
                Fetched::Refused(Failure::new(Class::Retryable, Scope::Record, "no_result", message))
            }
            None => Fetched::Gone,
        };
        Ok(ids.iter().map(one).collect())
    }

    fn list(&self, what: &str, window: Window, cursor: Option<&str>) -> Result<Request, Failure> {
        let place = self.place(cursor)?;
        if place.portal.is_none() {
            return Ok(self.probe());
        }
        let filter = |name: &str, operator: &str, value: String| json!({ "propertyName": name, "operator": operator, "value": value });
        let mut filters = vec![
            filter("createdate", "GTE", window.since.millis().to_string()),
            filter("createdate", "LT", Time(window.until.0.saturating_add(999)).millis().to_string()),
        ];
        filters.extend(place.after.map(|after| filter("hs_object_id", "GT", after)));
        let body = json!({
            "filterGroups": [{ "filters": filters }],
            "sorts": [{ "propertyName": "hs_object_id", "direction": "ASCENDING" }],
            "properties": self.properties(collection(singular(what)).1),
            "limit": FOUND_A_PAGE,
        });
        Ok(Self::post(format!("{}/{what}/search", self.root), body))
    }

    fn listed(&self, what: &str, _window: Window, at: Option<&str>, reply: &Reply) -> Result<Page, Failure> {
        if reply.status != 200 {
            return Err(self.refused(reply));
        }
        let place = self.place(at)?;
        let body = reply.json().unwrap_or_default();
        let Some(portal) = place.portal else {
            let portal = id_text(&body["portalId"]).filter(|portal| is_number(portal)).ok_or_else(|| garbage(reply))?;
            return Ok(Page { objects: Vec::new(), next: Some(cursor(&Place { portal: Some(portal), after: None })?) });
        };
        let rows = body["results"].as_array().ok_or_else(|| garbage(reply))?;
        let objects = rows.iter().map(|row| listed(what, &portal, row)).collect::<Option<Vec<_>>>().ok_or_else(|| garbage(reply))?;
        let last = rows.last().and_then(|row| row["id"].as_str()).map(str::to_owned).filter(|_| rows.len() >= FOUND_A_PAGE);
        let next = last.map(|last| cursor(&Place { portal: Some(portal), after: Some(last) })).transpose()?;
        Ok(Page { objects, next })
    }

    fn probe(&self) -> Request {
        Request::new(Method::GET, "/account-info/v3/details", Body::None)
    }

    fn refused(&self, reply: &Reply) -> Failure {
        let failure = refused_read(reply);
        match failure.class {
            Class::Unknown => Failure { class: Class::Retryable, ..failure },
            Class::Retryable | Class::Throttled | Class::Auth | Class::Conflict | Class::Permanent => failure,
        }
    }

    fn retry_after_max(&self) -> Duration {
        Duration::from_secs(24 * 3_600)
    }
}

fn is_number(text: &str) -> bool {
    (1..=25).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn collection(object: &str) -> (&'static str, &'static [&'static str]) {
    match object {
        "company" => ("companies", COMPANY),
        "deal" => ("deals", DEAL),
        "ticket" => ("tickets", TICKET),
        _ => ("contacts", CONTACT),
    }
}

fn singular(list: &str) -> &'static str {
    match list {
        "companies" => "company",
        "deals" => "deal",
        _ => "contact",
    }
}

/// The push that told of a creation, without what only that push knew (webhook-sources.md 7.6).
fn listed(what: &str, portal: &str, row: &Value) -> Option<Listed> {
    let id = row["id"].as_str().filter(|id| is_number(id))?;
    let created = row["createdAt"].as_str().or_else(|| row["properties"]["createdate"].as_str()).and_then(Time::parse_rfc3339)?;
    let number = |text: &str| text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number));
    let push = json!([{
        "portalId": number(portal),
        "occurredAt": created.millis(),
        "subscriptionType": format!("{}.creation", singular(what)),
        "attemptNumber": 0,
        "objectId": number(id),
        "changeFlag": "NEW",
    }]);
    Some(Listed { push, object: Some((id.to_owned(), row.clone())) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Auth, Secret};

    fn hubspot() -> Hubspot {
        let settings =
            Settings { properties: vec!["crm_ext_id".to_owned()], ..Settings::new(Auth::Bearer { token: Secret::new("pat-x") }) };
        Hubspot::new(&settings).unwrap()
    }

    fn reply(status: u16, body: &Value) -> Reply {
        Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
    }

    /// After crm-apis.md 3.3 (HubSpot's public OpenAPI), with made-up people.
    fn contact(id: &str) -> Value {
        json!({ "id": id, "properties": { "email": "ada@example.com", "createdate": "2023-11-14T22:13:20.123Z" },
                "createdAt": "2023-11-14T22:13:20.123Z", "updatedAt": "2023-11-14T22:13:21Z", "archived": false })
    }

    #[test]
    fn a_hundred_are_read_at_once_with_the_usual_and_the_configured_properties() {
        let request = hubspot().fetch("company", &["1", "2"]);
        let Body::Json(body) = &request.body else { panic!("{request:?}") };
        assert_eq!((request.method, request.path.as_str()), (Method::POST, "/crm/v3/objects/companies/batch/read"));
        assert_eq!(body["inputs"], json!([{ "id": "1" }, { "id": "2" }]));
        let properties = body["properties"].as_array().unwrap();
        assert!(properties.contains(&json!("domain")) && properties.contains(&json!("crm_ext_id")));
        assert_eq!((hubspot().batch("contact"), hubspot().batch("quote")), (Some(100), None));
        assert!(hubspot().is_id("contact", "123") && !hubspot().is_id("contact", "1/../2") && !hubspot().is_id("contact", ""));
    }

    #[test]
    fn what_the_answer_leaves_out_is_gone_unless_something_else_went_wrong() {
        let mut archived = contact("2");
        archived["archived"] = json!(true);
        let body = json!({ "status": "COMPLETE", "results": [contact("1"), archived], "numErrors": 1,
                           "errors": [{ "category": "OBJECT_NOT_FOUND", "message": "Could not get some CONTACT objects", "context": { "ids": ["3"] } }] });
        let found = hubspot().fetched("contact", &["3", "1", "2"], &reply(207, &body)).unwrap();
        assert_eq!(found, [Fetched::Gone, Fetched::Object(contact("1")), Fetched::Gone]);
        let body = json!({ "results": [], "errors": [{ "category": "INTERNAL_ERROR", "message": "trouble" }] });
        let found = hubspot().fetched("contact", &["3"], &reply(207, &body)).unwrap();
        assert!(matches!(&found[0], Fetched::Refused(failure) if failure.class == Class::Retryable), "{found:?}");
    }

    #[test]
    fn the_table_of_errors() {
        use Class::{Auth, Permanent, Retryable, Throttled};
        let limit = |policy: &str| json!({ "status": "error", "errorType": "RATE_LIMIT", "policyName": policy, "message": "limit" });
        let table = [
            (401, json!({ "category": "EXPIRED_AUTHENTICATION", "message": "expired" }), Auth, None),
            (403, json!({ "category": "MISSING_SCOPES", "message": "scopes" }), Auth, None),
            (429, limit("TEN_SECONDLY_ROLLING"), Throttled, Some(10)),
            (429, limit("SECONDLY"), Throttled, Some(1)),
            (429, limit("DAILY"), Throttled, Some(900)),
            (477, json!({}), Throttled, Some(900)),
            (423, json!({ "category": "LOCKED", "message": "locked" }), Retryable, Some(2)),
            (502, json!("<html>"), Retryable, Some(3)),
            (400, json!({ "category": "VALIDATION_ERROR", "message": "Invalid input JSON" }), Permanent, None),
        ];
        for (status, body, class, wait) in table {
            let failure = hubspot().refused(&reply(status, &body));
            assert_eq!((failure.class, failure.retry_after.map(|wait| wait.as_secs())), (class, wait), "{status} {body}");
        }
    }

    #[test]
    fn creations_are_listed_by_ascending_record_and_told_as_pushes() {
        let (hubspot, window) = (hubspot(), Window { since: Time::from_seconds(1_700_000_000), until: Time::from_seconds(1_700_001_000) });
        assert_eq!(hubspot.list("contacts", window, None).unwrap().path, "/account-info/v3/details");
        let page = hubspot.listed("contacts", window, None, &reply(200, &json!({ "portalId": 62_515, "timeZone": "UTC" }))).unwrap();
        let first = page.next.unwrap();
        let request = hubspot.list("contacts", window, Some(&first)).unwrap();
        let Body::Json(body) = &request.body else { panic!("{request:?}") };
        assert_eq!(request.path, "/crm/v3/objects/contacts/search");
        assert_eq!(
            body["filterGroups"][0]["filters"][0],
            json!({ "propertyName": "createdate", "operator": "GTE", "value": "1700000000000" })
        );
        let full = json!({ "results": (1..=100).map(|id| contact(&id.to_string())).collect::<Vec<_>>() });
        let page = hubspot.listed("contacts", window, Some(&first), &reply(200, &full)).unwrap();
        let expected = json!([{ "portalId": 62_515, "occurredAt": 1_700_000_000_123_i64, "subscriptionType": "contact.creation", "attemptNumber": 0,
                                "objectId": 1, "changeFlag": "NEW" }]);
        assert_eq!((page.objects.len(), &page.objects[0].push), (100, &expected));
        let second = hubspot.list("contacts", window, page.next.as_deref()).unwrap();
        let Body::Json(body) = &second.body else { panic!("{second:?}") };
        assert_eq!(body["filterGroups"][0]["filters"][2]["value"], "100");
        let last = hubspot.listed("contacts", window, page.next.as_deref(), &reply(200, &json!({ "results": [] }))).unwrap();
        assert_eq!(last, Page::default());
        assert!(hubspot.list("contacts", window, Some("{\"portal\":\"x\"}")).is_err());
    }
}
