//! Attio's dialect, and with it the frame that the further dialects share.

use std::time::Duration;

use onceward_sandbox::{HttpRequest, Options, dialects};
use serde_json::{Value, json};

use crate::Crm;

const PEOPLE: &str = "/v2/objects/people/records";
const BY_MAIL: &str = "/v2/objects/people/records?matching_attribute=email_addresses";

fn person(mail: &str, more: Value) -> Value {
    let mut values = json!({ "email_addresses": [mail] });
    values.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "data": { "values": values } })
}

fn id(answer: &Value) -> String {
    answer["data"]["id"]["record_id"].as_str().unwrap().to_owned()
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default())
}

#[test]
fn an_assert_creates_once_and_then_updates_without_saying_which() {
    let mut crm = Crm::new();
    let (status, made) = crm.ask("PUT", BY_MAIL, &person("A@Example.com", json!({ "name": "Stone, Ada", "job_title": "CTO" })));
    assert_eq!((status, made["data"]["values"]["name"][0]["full_name"].as_str()), (200, Some("Ada Stone")));
    assert_eq!(made["data"]["values"]["email_addresses"][0]["email_address"], "a@example.com");
    crm.wait(5);
    let more = json!({ "email_addresses": ["b@example.com", "a@example.com"], "job_title": null });
    let (status, again) = crm.ask("PUT", BY_MAIL, &json!({ "data": { "values": more } }));
    assert_eq!((status, id(&again)), (200, id(&made)));
    assert_eq!(again["data"]["values"]["job_title"], json!([]), "null clears");
    let held = crm.records_of("attio").remove(0);
    assert_eq!((held.key.as_deref(), held.creates, held.writes), (Some("b@example.com"), 1, 2));
    assert_eq!(held.fields["email_addresses"], json!(["b@example.com", "a@example.com"]));
    assert_eq!((crm.core.stats().creates, crm.core.stats().updates, crm.core.stats().records), (1, 1, 1));
}

#[test]
fn a_list_is_added_to_or_replaced_by_who_asks() {
    let mut crm = Crm::new();
    let (_, made) = crm.ask("PUT", BY_MAIL, &person("a@example.com", json!({ "interests": ["Pricing"] })));
    let record = format!("{PEOPLE}/{}", id(&made));
    let interests = |answer: &(u16, Value)| -> Vec<String> {
        let entries = answer.1["data"]["values"]["interests"].as_array().unwrap().clone();
        entries.iter().map(|entry| entry["option"]["title"].as_str().unwrap().to_owned()).collect()
    };
    let values = |list: Value| json!({ "data": { "values": { "interests": list } } });
    assert_eq!(interests(&crm.ask("PATCH", &record, &values(json!(["Support"])))), ["Support", "Pricing"], "PATCH prepends");
    assert_eq!(interests(&crm.ask("PUT", &record, &values(json!(["Product"])))), ["Product"], "PUT overwrites");
    let replaced = crm.ask("PUT", BY_MAIL, &person("a@example.com", json!({ "interests": ["Careers"] })));
    assert_eq!(interests(&replaced), ["Careers"], "an assert replaces every list but the one it matches by");
    assert_eq!(code(&crm.ask("PATCH", &record, &values(json!(["Skiing"])))), (400, "value_not_found"));
    assert_eq!(code(&crm.ask("PATCH", &record, &values(json!("Pricing")))), (400, "validation_type"), "a list is written as one");
}

#[test]
fn what_is_unique_stays_unique_and_what_matches_several_is_refused() {
    let mut crm = Crm::new();
    let (_, ada) = crm.ask("POST", PEOPLE, &person("a@example.com", json!({})));
    crm.ask("POST", PEOPLE, &person("b@example.com", json!({})));
    let doubled = crm.ask("POST", PEOPLE, &person("a@example.com", json!({})));
    assert_eq!(code(&doubled), (400, "uniqueness_conflict"));
    assert!(doubled.1["message"].as_str().unwrap().contains(&id(&ada)), "it names the record: {doubled:?}");
    let both = json!({ "data": { "values": { "email_addresses": ["a@example.com", "b@example.com"] } } });
    assert_eq!(code(&crm.ask("PUT", BY_MAIL, &both)), (400, "multiple_match_results"));
    let by_name = "/v2/objects/companies/records?matching_attribute=name";
    let company = json!({ "data": { "values": { "name": "Example" } } });
    assert_eq!(code(&crm.ask("PUT", by_name, &company)), (400, "matching_attribute_definition_not_unique"));
    assert_eq!(code(&crm.ask("PUT", PEOPLE, &company)), (400, "validation_type"), "without a matching attribute");
    assert_eq!(code(&crm.ask("PUT", BY_MAIL, &json!({ "data": { "values": {} } }))), (400, "missing_value"));
    assert_eq!(crm.records_of("attio").len(), 2);
}

#[test]
fn deals_need_what_they_require_and_take_parents_by_id_or_by_a_match() {
    let mut crm = Crm::new();
    let by_key = "/v2/objects/deals/records?matching_attribute=crm_ext_id";
    let (_, company) = crm.ask("POST", "/v2/objects/companies/records", &json!({ "data": { "values": { "domains": ["example.com"] } } }));
    let deal = |more: Value| {
        let mut values = json!({ "crm_ext_id": "d-1", "name": "Deal", "stage": "Lead",
            "owner": [{ "referenced_actor_type": "workspace-member", "referenced_actor_id": "b0fd043e-71fe-4ad1-9cc4-4b9c3da919cd" }] });
        values.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "data": { "values": values } })
    };
    let without = json!({ "data": { "values": { "crm_ext_id": "d-1", "name": "Deal", "stage": "Lead" } } });
    assert_eq!(code(&crm.ask("PUT", by_key, &without)), (400, "missing_value"), "an owner is required");
    assert_eq!(code(&crm.ask("PUT", by_key, &deal(json!({ "stage": "Signed" })))), (400, "value_not_found"));
    let matched = json!({ "associated_company": { "target_object": "companies", "domains": [{ "domain": "Example.com" }] } });
    let (status, made) = crm.ask("PUT", by_key, &deal(matched));
    assert_eq!((status, &made["data"]["values"]["associated_company"][0]["target_record_id"]), (200, &json!(id(&company))));
    let by_id = json!({ "associated_company": { "target_object": "companies", "target_record_id": id(&company) } });
    assert_eq!(crm.ask("PUT", by_key, &deal(by_id)).0, 200);
    let absent = json!({ "associated_company": { "target_object": "companies", "domains": ["nowhere.example"] } });
    assert_eq!(code(&crm.ask("PUT", by_key, &deal(absent))), (400, "value_not_found"));
}

#[test]
fn records_are_read_found_and_deleted_by_what_they_are() {
    let mut crm = Crm::new();
    let (_, made) = crm.ask("PUT", BY_MAIL, &person("a@example.com", json!({})));
    let record = format!("{PEOPLE}/{}", id(&made));
    assert_eq!(crm.ask("GET", &record, &Value::Null).0, 200);
    let query = |mail: &str| json!({ "filter": { "email_addresses": mail }, "limit": 2 });
    assert_eq!(crm.ask("POST", "/v2/objects/people/records/query", &query("A@example.com")).1["data"].as_array().unwrap().len(), 1);
    assert_eq!(crm.ask("POST", "/v2/objects/people/records/query", &query("z@example.com")).1["data"], json!([]));
    let (status, known) = crm.ask("GET", "/v2/objects/people/attributes", &Value::Null);
    let mail = known["data"].as_array().unwrap().iter().find(|attribute| attribute["api_slug"] == "email_addresses").unwrap();
    assert_eq!((status, &mail["type"], &mail["is_unique"]), (200, &json!("email-address"), &json!(true)));
    assert_eq!(crm.ask("DELETE", &record, &Value::Null), (200, json!({})));
    assert_eq!(code(&crm.ask("DELETE", &record, &Value::Null)), (404, "not_found"));
    assert_eq!(code(&crm.ask("PATCH", &record, &person("a@example.com", json!({})))), (404, "not_found"));
    assert_eq!(crm.ask("PUT", BY_MAIL, &person("a@example.com", json!({}))).0, 200);
    let held = crm.records_of("attio");
    assert_eq!((held.len(), held[0].creates, held[0].deleted), (1, 2, false), "a new record under the key that was deleted");
}

#[test]
fn an_attribute_is_created_once_and_never_unique_for_people() {
    let mut crm = Crm::new();
    let made = |unique: bool| {
        json!({ "data": { "title": "Key", "description": "", "api_slug": "erp_id", "type": "text", "is_required": false, "is_unique": unique,
            "is_multiselect": false, "config": {} } })
    };
    assert_eq!(code(&crm.ask("POST", "/v2/objects/people/attributes", &made(true))), (400, "validation_type"));
    assert_eq!(crm.ask("POST", "/v2/objects/deals/attributes", &made(true)).0, 200);
    assert_eq!(code(&crm.ask("POST", "/v2/objects/deals/attributes", &made(true))), (409, "slug_conflict"));
    assert_eq!(code(&crm.ask("PUT", BY_MAIL, &person("a@example.com", json!({ "erp_id": "1" })))), (400, "unknown_attribute_slug"));
    let values = json!({ "data": { "values": { "erp_id": "d-1", "name": "Deal", "stage": "Lead", "owner": "me" } } });
    assert_eq!(crm.ask("PUT", "/v2/objects/deals/records?matching_attribute=erp_id", &values).0, 200);
    assert_eq!(crm.records_of("attio").len(), 1, "what was added to an object is no record");
}

#[test]
fn budgets_are_the_documented_ones_and_say_until_when_as_a_date() {
    let mut crm = Crm::new();
    let writes: Vec<u16> = (0..26).map(|_| crm.ask("PUT", BY_MAIL, &person("a@example.com", json!({}))).0).collect();
    assert_eq!((&writes[..25], writes[25]), (&[200; 25][..], 429));
    let refused = crm.send("PUT", BY_MAIL, person("a@example.com", json!({})).to_string().as_bytes()).reply.unwrap();
    let error: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!((&error["type"], &error["code"]), (&json!("rate_limit_error"), &json!("rate_limit_exceeded")));
    assert_eq!(refused.header("retry-after"), Some("Sun, 22 Nov 2026 18:04:02 GMT"), "rounded up to a whole second");
    assert_eq!(crm.ask("GET", "/v2/self", &Value::Null).0, 200, "reads have a budget of their own");
    crm.wait(1);
    assert_eq!(crm.ask("PUT", BY_MAIL, &person("a@example.com", json!({}))).0, 200);
}

#[test]
fn every_fault_answers_and_applies_as_it_says_in_the_frame_too() {
    for (faults, status, applied) in [
        ("429=1:90s", 429, false),
        ("attio.429=1", 429, false),
        ("salesforce.429=1", 200, true),
        ("limit=1", 429, false),
        ("500-before=1", 500, false),
        ("cut-before=1", 0, false),
        ("500-after=1", 500, true),
        ("cut-after=1", 0, true),
        ("garbage=1", 200, true),
        ("expired-token=1", 401, false),
        ("late=1", 0, false),
        ("lock=1", 503, false),
        ("empty=1", 200, true),
    ] {
        let mut crm = Crm::with(faults);
        assert_eq!(crm.ask("PUT", BY_MAIL, &person("a@example.com", json!({}))).0, status, "{faults}");
        assert_eq!(crm.records_of("attio").len() == 1, applied, "{faults}");
        let call = crm.core.calls(0).next().unwrap();
        assert_eq!((call.crm.as_ref(), call.applied), ("attio", applied), "{faults}");
    }
    assert!(dialects().any(|name| name == "attio"));
}

#[test]
fn a_late_write_lands_over_a_newer_value() {
    let mut crm = Crm::with("late=1:30s");
    crm.ask("PUT", BY_MAIL, &person("a@example.com", json!({ "job_title": "Old" })));
    crm.set("");
    crm.wait(10);
    crm.ask("PUT", BY_MAIL, &person("a@example.com", json!({ "job_title": "New" })));
    assert_eq!(crm.records_of("attio")[0].fields["job_title"], "New");
    crm.wait(20);
    crm.core.advance(crm.now);
    let held = crm.records_of("attio").remove(0);
    assert_eq!((&held.fields["job_title"], held.creates, held.writes), (&json!("Old"), 1, 2));
    let results: Vec<String> = crm.core.calls(0).map(|call| call.records[0].result.to_string()).collect();
    assert_eq!(results, ["late", "created", "updated"]);
}

#[test]
fn only_those_who_are_named_are_let_in() {
    let options = Options { latency: Duration::ZERO, credentials: "key-1".parse().unwrap(), ..Options::default() };
    let mut core = onceward_sandbox::Core::new(7, options);
    for (header, status) in [("Bearer key-1", 200), ("bearer key-1", 200), ("Bearer key-2", 401), ("Basic key-1", 401), ("", 401)] {
        let headers = [("authorization".to_owned(), header.to_owned())];
        let request = HttpRequest { method: "GET", target: "/v2/self", headers: &headers, body: b"" };
        assert_eq!(core.exchange(&request, crate::START).reply.unwrap().status, status, "{header}");
    }
}
