//! Twenty's dialect, row by row.

use serde_json::{Value, json};

use crate::Crm;

const UPSERT: &str = "/rest/batch/people?upsert=true";

fn person(key: &str, mail: &str, first: &str) -> Value {
    json!({ "crmExtId": key, "emails": { "primaryEmail": mail }, "name": { "firstName": first } })
}

fn says(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["messages"][0].as_str().unwrap_or_default())
}

fn find(crm: &mut Crm, filter: &str) -> Vec<Value> {
    let encoded: String = filter.bytes().map(|byte| format!("%{byte:02X}")).collect();
    crm.ask("GET", &format!("/rest/people?filter={encoded}"), &Value::Null).1["data"]["people"].as_array().cloned().unwrap_or_default()
}

#[test]
fn what_is_updated_comes_before_what_is_created() {
    let mut crm = Crm::new();
    assert_eq!(crm.ask("POST", UPSERT, &json!([person("b", "b@example.com", "Berg")])).0, 201);
    let both = json!([person("a", "a@example.com", "Ada"), { "crmExtId": "b", "jobTitle": "CTO", "name": { "lastName": "Stone" } }]);
    let (status, answer) = crm.ask("POST", UPSERT, &both);
    let rows = answer["data"]["people"].as_array().unwrap();
    assert_eq!((status, &rows[0]["crmExtId"], &rows[1]["crmExtId"]), (201, &json!("b"), &json!("a")));
    assert_eq!(rows[0]["name"], json!({ "firstName": "Berg", "lastName": "Stone" }), "a part that is not sent is left");
    let held = crm.records_of("twenty");
    assert_eq!(held.iter().map(|held| (held.key.as_deref(), held.creates)).collect::<Vec<_>>(), [(Some("b"), 1), (Some("a"), 1)]);
    assert_eq!((crm.core.stats().creates, crm.core.stats().updates), (2, 1));
    assert_eq!(find(&mut crm, "or(crmExtId[eq]:\"a\",emails.primaryEmail[eq]:\"B@example.com\")").len(), 2);
    assert_eq!(find(&mut crm, "crmExtId[eq]:\"z\"").len(), 0);
}

#[test]
fn one_bad_record_undoes_the_call() {
    let mut crm = Crm::new();
    crm.ask("POST", UPSERT, &json!([person("a", "a@example.com", "Ada")]));
    let bad = json!([person("b", "b@example.com", "Berg"), { "crmExtId": "a", "jobTitle": "CTO" }, { "crmExtId": "c", "nosuch": 1 }]);
    assert_eq!(says(&crm.ask("POST", UPSERT, &bad)).0, 400);
    let twice = json!([person("d", "d@example.com", "D"), person("d", "e@example.com", "E")]);
    assert!(says(&crm.ask("POST", UPSERT, &twice)).1.contains("duplicate key value"));
    let taken = json!([person("e", "a@example.com", "E")]);
    assert!(says(&crm.ask("POST", "/rest/batch/people", &taken)).1.contains("duplicate key value"), "without upsert it is a creation");
    let both = json!([{ "crmExtId": "a", "emails": { "primaryEmail": "x@example.com" } }, person("x", "y@example.com", "X")]);
    assert_eq!(crm.ask("POST", UPSERT, &both).0, 201);
    let clash = json!([person("a", "y@example.com", "A")]);
    assert!(says(&crm.ask("POST", UPSERT, &clash)).1.contains("Multiple records"));
    for wrong in [json!({}), json!([]), json!(vec![person("k", "k@example.com", "K"); 61])] {
        assert_eq!(crm.ask("POST", UPSERT, &wrong).0, 400);
    }
    assert_eq!(crm.records_of("twenty").len(), 2);
    assert!(!crm.records_of("twenty")[0].fields.contains_key("jobTitle"));
}

#[test]
fn an_upsert_takes_by_any_unique_value_and_brings_back_what_was_deleted_softly() {
    let mut crm = Crm::new();
    crm.ask("POST", UPSERT, &json!([person("a", "a@example.com", "Ada")]));
    let id = crm.records_of("twenty")[0].id.clone();
    crm.ask("POST", UPSERT, &json!([person("other", "a@example.com", "Ada")]));
    assert_eq!(crm.records_of("twenty")[0].key.as_deref(), Some("other"), "the address was enough");
    assert_eq!(crm.ask("DELETE", &format!("/rest/people/{id}?soft_delete=true"), &Value::Null).0, 200);
    assert_eq!((find(&mut crm, "crmExtId[eq]:\"other\"").len(), crm.core.stats().records), (0, 0));
    crm.ask("POST", UPSERT, &json!([person("other", "a@example.com", "Again")]));
    assert_eq!(find(&mut crm, "crmExtId[eq]:\"other\"")[0]["id"], id);
    let (status, gone) = crm.ask("DELETE", &format!("/rest/people/{id}"), &Value::Null);
    assert_eq!((status, &gone["data"]["deletePerson"]["id"]), (200, &json!(id)));
    crm.ask("POST", UPSERT, &json!([person("other", "a@example.com", "New")]));
    let held = crm.records_of("twenty");
    assert_eq!((held.len(), held[0].creates, held[0].id == id), (1, 2, false), "what was deleted for good is created anew");
    assert_eq!(says(&crm.ask("PATCH", &format!("/rest/people/{id}"), &json!({ "jobTitle": "x" }))), (404, "Record not found"));
}

#[test]
fn relations_choices_and_amounts_are_checked() {
    let mut crm = Crm::new();
    let (_, made) = crm.ask("POST", "/rest/batch/companies?upsert=true", &json!([{ "crmExtId": "c", "name": "Example" }]));
    let company = made["data"]["companies"][0]["id"].clone();
    let deal = |more: Value| {
        let mut deal = json!({ "crmExtId": "d", "name": "Deal" });
        deal.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([deal])
    };
    let target = "/rest/batch/opportunities?upsert=true";
    assert_eq!(
        crm.ask("POST", target, &deal(json!({ "companyId": company, "amount": { "amountMicros": 5_000_000, "currencyCode": "EUR" } }))).0,
        201
    );
    for wrong in [
        json!({ "companyId": "b09e3779-2001-4a00-8000-000000000009" }),
        json!({ "stage": "SIGNED" }),
        json!({ "amount": { "amountMicros": 1.5 } }),
        json!({ "amount": 5 }),
        json!({ "closeDate": "soon" }),
    ] {
        assert_eq!(crm.ask("POST", target, &deal(wrong.clone())).0, 400, "{wrong}");
    }
    assert!(says(&crm.ask("POST", "/rest/batch/pets", &json!([{}]))).1.contains("pets"));
    let (_, model) = crm.ask("GET", "/rest/metadata/objects", &Value::Null);
    assert_eq!(model["data"]["objects"].as_array().unwrap().len(), 3);
}

#[test]
fn faults_strike_in_the_words_of_the_dialect() {
    for (faults, status, applied) in [
        ("429=1", 429, 0),
        ("500-before=1", 500, 0),
        ("500-after=1", 500, 2),
        ("cut-after=1", 0, 2),
        ("expired-token=1", 401, 0),
        ("lock=1", 400, 0),
        ("partial=1", 400, 0),
        ("missing=1", 201, 2),
    ] {
        let mut crm = Crm::with(faults);
        let answer = crm.ask("POST", UPSERT, &json!([person("a", "a@example.com", "A"), person("b", "b@example.com", "B")]));
        assert_eq!((answer.0, crm.records_of("twenty").len()), (status, applied), "{faults}");
        if faults == "missing=1" {
            assert_eq!(answer.1["data"]["people"].as_array().unwrap().len(), 1);
        }
    }
    let mut crm = Crm::new();
    let calls: Vec<u16> = (0..101).map(|_| crm.ask("GET", "/rest/people", &Value::Null).0).collect();
    assert_eq!((calls[99], calls[100]), (200, 429));
}
