//! The finance system that nobody sells.

use onceward_sandbox::HttpRequest;
use serde_json::{Value, json};

use crate::Crm;

/// A POST under an idempotency key: status and body.
pub fn under_key(crm: &mut Crm, key: &str, target: &str, body: &Value) -> (u16, Value) {
    let headers = [("Authorization", "Bearer a-token"), ("Content-Type", "application/json"), ("Idempotency-Key", key)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let body = body.to_string().into_bytes();
    let reply = crm.core.exchange(&HttpRequest { method: "POST", target, headers: &headers, body: &body }, crm.now).reply;
    reply.map_or((0, Value::Null), |reply| (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default()))
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["error"]["code"].as_str().unwrap_or_default())
}

#[test]
fn an_invoice_is_posted_once_whatever_is_sent_again() {
    let mut crm = Crm::new();
    let invoice = json!({ "data": { "number": "R-1", "total": { "amount": 99.5, "currency": "EUR" } } });
    let first = under_key(&mut crm, "k1", "/rest-demo/invoices", &invoice);
    assert_eq!((first.0, first.1["data"]["id"].as_str()), (201, Some("invoice_1")));
    assert_eq!(under_key(&mut crm, "k1", "/rest-demo/invoices", &invoice), first, "the same bytes are answered with the first answer");
    let other = json!({ "data": { "number": "R-1", "total": 100 } });
    assert_eq!(code(&under_key(&mut crm, "k1", "/rest-demo/invoices", &other)), (409, "idempotency_key_reused"));
    assert_eq!(code(&under_key(&mut crm, "k2", "/rest-demo/invoices", &invoice)), (409, "duplicate_number"));
    assert_eq!(code(&crm.ask("POST", "/rest-demo/invoices", &invoice)), (400, "idempotency_key_missing"));
    let held = crm.records_of("rest-demo");
    assert_eq!((held.len(), held[0].key.as_deref(), held[0].creates, held[0].writes), (1, Some("R-1"), 1, 1));
    let (status, listed) = crm.ask("GET", "/rest-demo/invoices?number=r-1", &Value::Null);
    assert_eq!((status, &listed["data"][0]["total"]), (200, &json!({ "amount": 99.5, "currency": "EUR" })));
    let (status, changed) = crm.ask("PATCH", "/rest-demo/invoices/invoice_1", &json!({ "data": { "currency": "USD" } }));
    assert_eq!((status, changed["data"]["total"]["currency"].as_str()), (200, Some("USD")));
    assert_eq!(crm.ask("DELETE", "/rest-demo/invoices/invoice_1", &Value::Null).0, 204);
    assert_eq!(code(&crm.ask("GET", "/rest-demo/invoices/invoice_1", &Value::Null)), (404, "not_found"));
}

#[test]
fn a_customer_is_put_at_its_number_and_a_bad_field_is_named() {
    let mut crm = Crm::new();
    assert_eq!(crm.ask("PUT", "/rest-demo/customers/c%2F1", &json!({ "no": "c/1", "name": "Ada" })).0, 201);
    assert_eq!(crm.ask("PUT", "/rest-demo/customers/c%2F1", &json!({ "name": "Eva" })).0, 200);
    let bad = crm.ask("PUT", "/rest-demo/customers/c%2F1", &json!({ "name": 5 }));
    assert_eq!((code(&bad), bad.1["error"]["details"][0]["field"].as_str()), ((422, "invalid"), Some("name")));
    assert_eq!(code(&crm.ask("PUT", "/rest-demo/customers/c2", &json!({ "nosuch": "x" }))), (422, "unknown_field"));
    assert_eq!(crm.ask("GET", "/rest-demo/customers/c%2F1", &Value::Null).1["name"], "Eva");
}

#[test]
fn payments_have_a_result_each_and_orders_are_as_many_as_were_posted() {
    let mut crm = Crm::new();
    let items = json!({ "items": [{ "reference": "p1", "amount": 5 }, { "reference": "p2", "amount": "five" }] });
    let (status, answer) = crm.ask("POST", "/rest-demo/payments/batch", &items);
    let told: Vec<(&str, u64)> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["reference"].as_str().unwrap(), row["status"].as_u64().unwrap()))
        .collect();
    assert_eq!((status, told), (207, vec![("p2", 422), ("p1", 201)]));
    crm.set("missing=1");
    let (_, short) = crm.ask(
        "POST",
        "/rest-demo/payments/batch",
        &json!({ "items": [{ "reference": "p1", "amount": 6 }, { "reference": "p3", "amount": 1 }] }),
    );
    assert_eq!(short["results"].as_array().unwrap().len(), 1);
    crm.set("");
    let order = json!({ "no": "o1", "total": 5 });
    assert_eq!((crm.ask("POST", "/rest-demo/orders", &order).0, crm.ask("POST", "/rest-demo/orders", &order).0), (201, 201));
    assert_eq!(crm.core.records(Some("rest-demo"), Some("orders")).count(), 2, "nothing holds a second one up");
    assert_eq!(crm.ask("GET", "/rest-demo/me", &Value::Null).0, 200);
    assert_eq!(code(&crm.ask("GET", "/rest-demo/nosuch/1", &Value::Null)), (404, "no_such_path"));
}

#[test]
fn what_was_answered_is_remembered_over_a_late_write() {
    let mut crm = Crm::with("late=1:30s");
    let invoice = json!({ "number": "R-9", "total": 1 });
    assert_eq!(under_key(&mut crm, "k9", "/rest-demo/invoices", &invoice).0, 0);
    crm.set("");
    crm.wait(31);
    assert_eq!(under_key(&mut crm, "k9", "/rest-demo/invoices", &invoice).0, 201, "it landed, and is answered now");
    assert_eq!(crm.records_of("rest-demo")[0].creates, 1);
    assert_eq!(crm.records_of("rest-demo").len(), 1);
}
