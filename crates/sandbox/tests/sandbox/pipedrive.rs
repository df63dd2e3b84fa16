//! Pipedrive's dialect.

use onceward_sandbox::HttpRequest;
use serde_json::{Value, json};

use crate::Crm;

const KEY: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b";
const SEARCH: &str = "/api/v2/persons/search?fields=custom_fields&exact_match=true&limit=100&term=";

fn ids(answer: &Value) -> Vec<u64> {
    answer["data"]["items"].as_array().unwrap().iter().map(|hit| hit["item"]["id"].as_u64().unwrap()).collect()
}

#[test]
fn a_person_is_created_found_by_search_after_a_while_and_changed_by_id() {
    let mut crm = Crm::new();
    let person = json!({ "name": "Ada", "emails": [{ "value": "a@example.com", "primary": true, "label": "work" }], "custom_fields": { KEY: "K-1" } });
    let (status, made) = crm.ask("POST", "/api/v2/persons", &person);
    assert_eq!((status, made["success"].as_bool(), made["data"]["id"].as_u64()), (201, Some(true), Some(1)));
    let search = format!("{SEARCH}k-1");
    assert!(ids(&crm.ask("GET", &search, &Value::Null).1).is_empty(), "the index lags behind");
    crm.wait(2);
    assert_eq!(ids(&crm.ask("GET", &search, &Value::Null).1), [1], "without regard to case");
    assert_eq!(crm.ask("GET", "/api/v2/persons/1", &Value::Null).1["data"]["custom_fields"][KEY], "K-1");
    let (_, changed) = crm.ask("PATCH", "/api/v2/persons/1", &json!({ "name": "Eva", "emails": [] }));
    assert_eq!((changed["data"]["name"].as_str(), &changed["data"]["emails"]), (Some("Eva"), &json!([])));
    assert_eq!(crm.ask("GET", "/api/v2/persons?ids=1,99", &Value::Null).1["data"].as_array().unwrap().len(), 1);
    crm.ask("POST", "/api/v2/persons", &person);
    let held = crm.records_of("pipedrive");
    assert_eq!((held.len(), held[0].key.as_deref()), (2, Some("K-1")), "nothing is unique there");
    assert_eq!(crm.ask("DELETE", "/api/v2/persons/1", &Value::Null).0, 200);
    assert_eq!(crm.ask("GET", "/api/v2/persons/1", &Value::Null).0, 404);
}

#[test]
fn what_does_not_fit_is_refused_in_its_words() {
    let mut crm = Crm::new();
    for body in [
        json!({}),
        json!({ "name": "A", "nosuch": 1 }),
        json!({ "name": "A", "emails": "a@example.com" }),
        json!({ "name": "A", "owner_id": "1" }),
        json!({ "name": "A", "custom_fields": { "0123456789abcdef0123456789abcdef01234567": "x" } }),
    ] {
        let (status, answer) = crm.ask("POST", "/api/v2/persons", &body);
        assert_eq!((status, answer["code"].as_str()), (400, Some("ERR_SCHEMA_VALIDATION_FAILED")), "{body}");
    }
    assert_eq!(crm.ask("POST", "/api/v2/deals", &json!({ "title": "D", "org_id": 7 })).0, 400, "no such parent");
    assert_eq!(crm.ask("PATCH", "/api/v2/persons/7", &json!({ "name": "A" })).0, 404);
    assert_eq!(crm.records_of("pipedrive").len(), 0);
}

#[test]
fn a_field_is_made_and_can_be_written_then() {
    let mut crm = Crm::new();
    let (status, made) = crm.ask("POST", "/api/v2/dealFields", &json!({ "field_name": "Onceward key", "field_type": "varchar" }));
    let code = made["data"]["field_code"].as_str().unwrap().to_owned();
    assert_eq!((status, code.len()), (201, 40));
    let (status, deal) = crm.ask("POST", "/api/v2/deals", &json!({ "title": "D", "custom_fields": { &code: "k" } }));
    assert_eq!((status, deal["data"]["custom_fields"][&code].as_str()), (201, Some("k")));
    let listed = crm.ask("GET", "/api/v2/dealFields?limit=500", &Value::Null).1;
    assert!(listed["data"].as_array().unwrap().iter().any(|field| field["field_code"] == code.as_str()));
}

#[test]
fn searches_are_ten_in_two_seconds_and_calls_twenty() {
    let mut crm = Crm::new();
    let statuses: Vec<u16> = (0..11).map(|_| crm.ask("GET", &format!("{SEARCH}x"), &Value::Null).0).collect();
    assert_eq!((statuses[9], statuses[10]), (200, 429));
    crm.wait(2);
    let reply = crm.send("GET", "/api/v2/persons/1", b"").reply.unwrap();
    assert_eq!((reply.header("x-ratelimit-limit"), reply.header("x-ratelimit-remaining")), (Some("20"), Some("19")));
    let headers = [("X-Api-Token".to_owned(), "t".to_owned())];
    let request = HttpRequest { method: "GET", target: "/api/v2/persons", headers: &headers, body: b"" };
    assert_eq!(crm.core.exchange(&request, crm.now).reply.unwrap().status, 200);
    let request = HttpRequest { headers: &[], ..request };
    assert_eq!(crm.core.exchange(&request, crm.now).reply.unwrap().status, 401);
}
