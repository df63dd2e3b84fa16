//! Agiled's dialect.

use serde_json::{Value, json};

use crate::Crm;
use crate::rest_demo::under_key;

const CONTACTS: &str = "/public/v1/contacts";

#[test]
fn a_key_answers_the_same_body_again_and_refuses_another_until_it_is_forgotten() {
    let mut crm = Crm::new();
    let avery = json!({ "first_name": "Avery", "email": "avery@example.com" });
    let first = under_key(&mut crm, "k1", CONTACTS, &avery);
    assert_eq!((first.0, first.1["data"]["id"].as_u64()), (201, Some(1)));
    assert_eq!(under_key(&mut crm, "k1", CONTACTS, &avery), first);
    assert_eq!(under_key(&mut crm, "k1", CONTACTS, &json!({ "first_name": "Ava" })).0, 409);
    assert_eq!(under_key(&mut crm, "k1", "/public/v1/accounts", &json!({ "name": "Acme" })).0, 201, "a key is one path's");
    crm.wait(30 * 86_400);
    assert_eq!(under_key(&mut crm, "k1", CONTACTS, &avery).0, 201, "after 30 days it is forgotten");
    assert_eq!(crm.core.records(Some("agiled"), Some("contacts")).count(), 2, "and nothing else is unique");
}

#[test]
fn contacts_are_found_by_address_and_by_nothing_that_is_not_documented() {
    let mut crm = Crm::new();
    for mail in ["a@example.com", "b@example.com"] {
        crm.ask("POST", CONTACTS, &json!({ "first_name": "A", "email": mail }));
    }
    let listed =
        |crm: &mut Crm, query: &str| crm.ask("GET", &format!("{CONTACTS}?{query}"), &Value::Null).1["data"].as_array().unwrap().len();
    assert_eq!(
        (listed(&mut crm, "email=B%40example.com"), listed(&mut crm, "email=c%40example.com"), listed(&mut crm, "external=x")),
        (1, 0, 2)
    );
    assert_eq!(crm.ask("PATCH", "/public/v1/contacts/2", &json!({ "last_name": "Stone" })).1["data"]["last_name"], "Stone");
    assert_eq!(crm.ask("DELETE", "/public/v1/contacts/2", &Value::Null).0, 204);
    assert_eq!(crm.ask("DELETE", "/public/v1/contacts/2", &Value::Null).0, 404);
}

#[test]
fn what_does_not_fit_is_refused_and_writes_are_thirty_a_minute() {
    let mut crm = Crm::new();
    let (status, answer) = crm.ask("POST", CONTACTS, &json!({ "email": "a@example.com" }));
    assert_eq!((status, answer["errors"].get("first_name").is_some()), (422, true));
    assert_eq!(crm.ask("POST", CONTACTS, &json!({ "first_name": "A", "email": "nobody" })).0, 422);
    assert_eq!(crm.ask("POST", CONTACTS, &json!({ "first_name": "A", "nosuch": "x" })).0, 422);
    assert_eq!(crm.ask("POST", CONTACTS, &json!([1])).0, 400);
    let statuses: Vec<u16> = (0..27).map(|at| crm.ask("POST", CONTACTS, &json!({ "first_name": at.to_string() })).0).collect();
    assert_eq!((statuses[25], statuses[26]), (201, 429));
    assert_eq!(crm.ask("GET", "/public/v1/me", &Value::Null).0, 200, "reads have a budget of their own");
}
