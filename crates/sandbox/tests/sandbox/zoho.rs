//! Zoho's dialect: upserts by a unique field, updates and look-ups by an external one, fields, tokens.

use std::time::Duration;

use onceward_sandbox::{HttpRequest, Options};
use serde_json::{Value, json};

use crate::Crm;

const BY_KEY: (&str, &str) = ("x-external", "Contacts.Onceward_Key");

fn ask(crm: &mut Crm, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
    let mut all =
        vec![("authorization".to_owned(), "Zoho-oauthtoken a".to_owned()), ("content-type".to_owned(), "application/json".to_owned())];
    all.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let target = format!("/crm/v8{path}");
    let reply = crm.core.exchange(&HttpRequest { method, target: &target, headers: &all, body: &body }, crm.now).reply;
    reply.map_or((0, Value::Null), |reply| (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default()))
}

fn upsert(crm: &mut Crm, records: Value) -> (u16, Value) {
    ask(crm, "POST", "/Contacts/upsert", &[], &json!({ "data": records, "duplicate_check_fields": ["Onceward_Key"] }))
}

fn codes(answer: &Value) -> Vec<&str> {
    answer["data"].as_array().unwrap().iter().map(|row| row["code"].as_str().unwrap()).collect()
}

fn contact(key: &str) -> Value {
    json!({ "Last_Name": "Stone", "Onceward_Key": key })
}

#[test]
fn an_upsert_answers_each_record_in_its_place() {
    let mut crm = Crm::new();
    let records = json!([contact("a"), { "First_Name": "Ada" }, contact("b"), contact("A"), { "Last_Name": "x", "Email": "nobody" }]);
    let (status, answer) = upsert(&mut crm, records);
    assert_eq!((status, codes(&answer)), (207, vec!["SUCCESS", "MANDATORY_NOT_FOUND", "SUCCESS", "SUCCESS", "INVALID_DATA"]));
    let row = |at: usize| (answer["data"][at]["action"].as_str().unwrap(), answer["data"][at]["duplicate_field"].clone());
    assert_eq!((row(0), row(3)), (("insert", Value::Null), ("update", json!("Onceward_Key"))), "one key twice is two successes");
    assert_eq!(answer["data"][1]["details"], json!({ "api_name": "Last_Name", "json_path": "$.data[1].Last_Name" }));
    let held = crm.records_of("zoho");
    assert_eq!((held.len(), held[0].creates, held[0].writes), (2, 1, 2));
    let many: Vec<Value> = (0..101).map(|at| contact(&at.to_string())).collect();
    assert_eq!(upsert(&mut crm, json!(many)).0, 400);
    assert_eq!(upsert(&mut crm, json!([])).1["code"], "MANDATORY_NOT_FOUND");
    let (_, refused) =
        ask(&mut crm, "POST", "/Contacts/upsert", &[], &json!({ "data": [contact("c")], "duplicate_check_fields": ["Phone"] }));
    assert_eq!(refused["code"], "INVALID_DATA", "only unique fields are looked at");
}

#[test]
fn an_upsert_also_finds_a_record_by_another_unique_field_and_without_fields_by_the_address() {
    let mut crm = Crm::new();
    let member = |key: &str| json!({ "Last_Name": "Stone", "Onceward_Key": key, "Member_Number": "7", "Email": "a@example.com" });
    upsert(&mut crm, json!([member("a")]));
    let (_, answer) = upsert(&mut crm, json!([member("b")]));
    assert_eq!(
        (answer["data"][0]["action"].as_str(), answer["data"][0]["duplicate_field"].as_str()),
        (Some("update"), Some("Member_Number"))
    );
    let (_, answer) = ask(&mut crm, "POST", "/Contacts/upsert", &[], &json!({ "data": [{ "Last_Name": "x", "Email": "A@Example.com" }] }));
    assert_eq!(answer["data"][0]["duplicate_field"], "Email");
    assert_eq!(crm.records_of("zoho").len(), 1);
}

#[test]
fn creations_updates_and_deletions_refuse_in_zohos_words() {
    let mut crm = Crm::new();
    let (status, made) = ask(&mut crm, "POST", "/Contacts", &[], &json!({ "data": [contact("a")] }));
    let id = made["data"][0]["details"]["id"].as_str().unwrap().to_owned();
    assert_eq!((status, crm.records_of("zoho")[0].id.as_str()), (200, id.as_str()));
    let (status, again) = ask(&mut crm, "POST", "/Contacts", &[], &json!({ "data": [contact("A")] }));
    let duplicate = &again["data"][0];
    assert_eq!(
        (status, duplicate["code"].as_str(), duplicate["details"]["duplicate_record"]["id"].as_str()),
        (400, Some("DUPLICATE_DATA"), Some(id.as_str()))
    );
    let update =
        |crm: &mut Crm, headers: &[(&str, &str)], record: Value| ask(crm, "PUT", "/Contacts", headers, &json!({ "data": [record] }));
    assert_eq!(codes(&update(&mut crm, &[], json!({ "id": id, "Phone": "1" })).1), ["SUCCESS"]);
    assert_eq!(codes(&update(&mut crm, &[BY_KEY], json!({ "Onceward_Key": "a", "Phone": "2" })).1), ["SUCCESS"]);
    let gone = update(&mut crm, &[BY_KEY], json!({ "Onceward_Key": "x", "Phone": "2" })).1["data"][0].clone();
    assert_eq!((gone["code"].as_str(), gone["message"].as_str()), (Some("INVALID_DATA"), Some("the id given seems to be invalid")));
    assert_eq!(update(&mut crm, &[("x-external", "Contacts.Phone")], json!({ "Phone": "2" })).1["code"], "INVALID_DATA", "not external");
    let parent = update(&mut crm, &[], json!({ "id": id, "Account_Name": { "id": "554023002000000001" } })).1["data"][0].clone();
    assert_eq!(parent["details"]["api_name"], "Account_Name");
    assert_eq!(codes(&ask(&mut crm, "DELETE", &format!("/Contacts?ids={id},7"), &[], &Value::Null).1), ["SUCCESS", "INVALID_DATA"]);
    assert_eq!(ask(&mut crm, "GET", "/People?fields=id", &[], &Value::Null).1["code"], "INVALID_MODULE");
    assert_eq!(ask(&mut crm, "PATCH", "/Contacts", &[], &Value::Null).1["code"], "INVALID_REQUEST_METHOD");
    assert_eq!(ask(&mut crm, "GET", "/a/b/c", &[], &Value::Null).0, 404);
}

#[test]
fn look_ups_by_external_values_come_in_no_order_and_an_absent_one_is_left_out() {
    let mut crm = Crm::new();
    upsert(&mut crm, json!([contact("a"), contact("b"), contact("c,d")]));
    let (status, found) = ask(&mut crm, "GET", "/Contacts?ids=a,x,b&fields=Onceward_Key&per_page=200", &[BY_KEY], &Value::Null);
    let keys: Vec<&str> = found["data"].as_array().unwrap().iter().map(|row| row["Onceward_Key"].as_str().unwrap()).collect();
    assert_eq!((status, keys, &found["info"]["more_records"]), (200, vec!["b", "a"], &json!(false)));
    assert_eq!(ask(&mut crm, "GET", "/Contacts?ids=x&fields=id", &[BY_KEY], &Value::Null).0, 204);
    assert_eq!(ask(&mut crm, "GET", "/Contacts/c%2Cd?fields=Last_Name", &[BY_KEY], &Value::Null).1["data"][0]["Last_Name"], "Stone");
    assert_eq!(ask(&mut crm, "GET", "/Contacts/x", &[BY_KEY], &Value::Null).0, 204);
    assert_eq!(ask(&mut crm, "GET", "/Contacts?ids=a", &[BY_KEY], &Value::Null).1["code"], "REQUIRED_PARAM_MISSING");
    let (_, page) = ask(&mut crm, "GET", "/Contacts?ids=a,b&fields=id&per_page=1", &[BY_KEY], &Value::Null);
    assert_eq!((page["data"].as_array().unwrap().len(), &page["info"]["more_records"]), (1, &json!(true)));
}

#[test]
fn a_field_is_made_once_and_only_two_unique_ones() {
    let mut crm = Crm::new();
    let field = |label: &str| {
        json!({ "fields": [{ "field_label": label, "data_type": "text", "length": 255, "unique": { "case_sensitive": false },
        "external": { "type": "org", "show": true } }] })
    };
    let mut make = |label: &str| ask(&mut crm, "POST", "/settings/fields?module=Leads", &[], &field(label));
    assert_eq!((make("Erp Key").0, make("Erp Key").1["fields"][0]["code"].clone()), (200, json!("DUPLICATE_DATA")));
    assert_eq!((make("Shop Key").0, make("One More").0), (200, 400));
    let (_, listed) = ask(&mut crm, "GET", "/settings/fields?module=Leads", &[], &Value::Null);
    let made = listed["fields"].as_array().unwrap().iter().find(|field| field["api_name"] == "Erp_Key").unwrap().clone();
    assert_eq!((&made["external"]["type"], made["unique"] != json!({})), (&json!("org"), true));
    assert_eq!(crm.records_of("zoho").len(), 0, "what was added to a module is no record");
}

#[test]
fn tokens_name_their_host_and_refusals_come_with_status_200() {
    let options = Options { latency: Duration::ZERO, credentials: "app:hush,refresh".parse().unwrap(), ..Options::default() };
    let mut crm = Crm { core: onceward_sandbox::Core::new(7, options), now: crate::START };
    let mut token = |refresh: &str| {
        let headers = [("host".to_owned(), "127.0.0.1:9".to_owned())];
        let form = format!("grant_type=refresh_token&client_id=app&client_secret=hush&refresh_token={refresh}");
        let request = HttpRequest { method: "POST", target: "/oauth/v2/token", headers: &headers, body: form.as_bytes() };
        let reply = crm.core.exchange(&request, crm.now).reply.unwrap();
        (reply.status, serde_json::from_slice::<Value>(&reply.body).unwrap())
    };
    let (status, granted) = token("refresh");
    assert_eq!((status, granted["api_domain"].as_str(), granted["expires_in"].is_u64()), (200, Some("http://127.0.0.1:9"), true));
    assert_eq!(token("revoked"), (200, json!({ "error": "invalid_code" })));
    let mut crowded = Crm::with("429=1");
    let request = HttpRequest { method: "POST", target: "/oauth/v2/token", headers: &[], body: b"" };
    let reply = crowded.core.exchange(&request, crowded.now).reply.unwrap();
    assert_eq!((reply.status, String::from_utf8(reply.body).unwrap().contains("too many requests")), (400, true));
}

#[test]
fn faults_answer_in_zohos_words_and_apply_as_they_say() {
    for (faults, status, code, applied) in [
        ("429=1:90s", 429, "TOO_MANY_REQUESTS", false),
        ("limit=1", 429, "TOO_MANY_REQUESTS", false),
        ("500-before=1", 500, "INTERNAL_ERROR", false),
        ("500-after=1", 500, "INTERNAL_ERROR", true),
        ("expired-token=1", 401, "INVALID_TOKEN", false),
    ] {
        let mut crm = Crm::with(faults);
        let answer = upsert(&mut crm, json!([contact("a")]));
        assert_eq!((answer.0, answer.1["code"].as_str()), (status, Some(code)), "{faults}");
        assert_eq!(crm.records_of("zoho").len() == 1, applied, "{faults}");
    }
    let mut crm = Crm::with("lock=1");
    assert_eq!(codes(&upsert(&mut crm, json!([contact("a")])).1), ["RECORD_LOCKED"]);
    crm.set("missing=1");
    assert_eq!(upsert(&mut crm, json!([contact("a"), contact("b")])).1["data"].as_array().unwrap().len(), 1);
    let mut crm = Crm::with("late=1:30s");
    upsert(&mut crm, json!([contact("a")]));
    crm.set("");
    upsert(&mut crm, json!([contact("a")]));
    crm.wait(30);
    crm.core.advance(crm.now);
    assert_eq!((crm.records_of("zoho").len(), crm.records_of("zoho")[0].creates), (1, 1));
}
