//! HubSpot's dialect, row by row.

use std::time::Duration;

use onceward_sandbox::{Core, HttpReply, HttpRequest, Options, RecordView};
use serde_json::{Value, json};

use crate::{Crm, START, lead};

const UPSERT: &str = "/contacts/batch/upsert";

fn call(crm: &mut Crm, method: &str, target: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    match crm.send(method, &format!("/crm/v3/objects{target}"), &body).reply {
        Some(reply) => (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default()),
        None => (0, Value::Null),
    }
}

/// An input with a trace id.
fn input(trace: &str, key: &str, properties: Value) -> Value {
    json!({ "id": key, "idProperty": "crm_ext_id", "objectWriteTraceId": trace, "properties": properties })
}

fn upsert(crm: &mut Crm, inputs: &[Value]) -> (u16, Value) {
    call(crm, "POST", UPSERT, &json!({ "inputs": inputs }))
}

fn contact(last: &str) -> Value {
    json!({ "lastname": last, "email": format!("{}@example.com", last.to_lowercase()) })
}

fn contacts(crm: &Crm) -> Vec<RecordView> {
    crm.core.records(Some("hubspot"), Some("contacts")).collect()
}

fn traces(rows: &Value, at: &str) -> Vec<String> {
    let trace = |row: &Value| row.pointer(at).unwrap().as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(trace).collect()
}

#[test]
fn an_upsert_by_a_unique_property_creates_once_and_then_updates() {
    let mut crm = Crm::new();
    let (status, body) = upsert(&mut crm, &[input("x", "cust-42", contact("Stone"))]);
    assert_eq!((status, &body["status"], &body["results"][0]["new"]), (200, &json!("COMPLETE"), &json!(true)));
    let row = &body["results"][0];
    assert_eq!(
        (&row["objectWriteTraceId"], &row["archived"], &row["properties"]["crm_ext_id"]),
        (&json!("x"), &json!(false), &json!("cust-42"))
    );
    assert_eq!(row["createdAt"], "2026-11-22T18:04:00.700Z");
    let id = row["id"].as_str().unwrap().to_owned();
    assert!(id.bytes().all(|byte| byte.is_ascii_digit()));
    crm.wait(5);
    let (_, body) = upsert(&mut crm, &[input("y", "CUST-42", json!({ "phone": "1", "lastname": "" }))]);
    let row = &body["results"][0];
    assert_eq!((&row["new"], &row["id"], &row["updatedAt"]), (&json!(false), &json!(id), &json!("2026-11-22T18:04:05.700Z")));
    let held = contacts(&crm).remove(0);
    assert_eq!((held.key.as_deref(), held.creates, held.writes, held.crm.as_ref()), (Some("cust-42"), 1, 2, "hubspot"));
    assert_eq!((held.fields.get("phone"), held.fields.get("lastname")), (Some(&json!("1")), None), "empty text clears");
    let dated = crm.send("GET", &format!("/crm/objects/2026-09/contacts/{id}"), b"").reply.unwrap();
    assert_eq!(dated.status, 200, "both families of paths lead to the same records");
}

#[test]
fn with_trace_ids_each_input_is_answered_for_itself_and_without_one_spoils_all() {
    let mut crm = Crm::new();
    upsert(&mut crm, &[input("0", "c", contact("Stone")), input("1", "z", contact("Zimmer"))]);
    let mut inputs = vec![
        input("0", "b", contact("Berg")),
        input("1", "d", json!({ "email": "nobody" })),
        input("2", "e", json!({ "nosuch": "x" })),
        input("3", "f", contact("Stone")),
        input("4", "c", json!({ "phone": "1" })),
    ];
    let (status, body) = upsert(&mut crm, &inputs);
    assert_eq!((status, &body["numErrors"]), (207, &json!(3)));
    assert_eq!(traces(&body["results"], "/objectWriteTraceId"), ["4", "0"], "in the order of the records, not of the request");
    let errors = &body["errors"];
    assert_eq!(traces(errors, "/context/objectWriteTraceId/0"), ["1", "2", "3"]);
    assert_eq!(traces(errors, "/category"), ["VALIDATION_ERROR", "VALIDATION_ERROR", "CONFLICT"]);
    let message = errors[0]["message"].as_str().unwrap();
    assert!(message.starts_with("Property values were not valid: [{") && message.contains("INVALID_EMAIL"), "{message}");
    assert!(errors[1]["message"].as_str().unwrap().contains("PROPERTY_DOESNT_EXIST"));
    let stone = contacts(&crm).into_iter().find(|held| held.key.as_deref() == Some("c")).unwrap().id;
    assert_eq!(errors[2]["context"]["existingId"], json!([stone]));
    assert_eq!(contacts(&crm).len(), 3);

    inputs.iter_mut().for_each(|input| drop(input.as_object_mut().unwrap().remove("objectWriteTraceId")));
    inputs[0]["id"] = json!("new");
    inputs[0]["properties"] = json!({});
    let (status, body) = upsert(&mut crm, &inputs);
    assert_eq!((status, &body["category"]), (400, &json!("VALIDATION_ERROR")));
    assert_eq!(contacts(&crm).len(), 3, "nothing of it was applied");
}

#[test]
fn what_fails_a_whole_request_is_said_as_the_crm_says_it() {
    let mut crm = Crm::new();
    let by =
        |id_property: &str| json!({ "inputs": [{ "id": "x", "idProperty": id_property, "objectWriteTraceId": "0", "properties": {} }] });
    let many: Vec<Value> = (0..101).map(|at| input(&at.to_string(), &at.to_string(), json!({}))).collect();
    for (target, body, status, category, says) in [
        (
            UPSERT,
            json!({ "inputs": [input("0", "a", json!({})), input("1", "A", json!({}))] }),
            400,
            json!("VALIDATION_ERROR"),
            "Duplicate IDs found in batch input: [A]. IDs must be unique",
        ),
        (UPSERT, json!({ "inputs": many }), 400, json!("VALIDATION_ERROR"), "100"),
        (UPSERT, json!({ "inputs": [] }), 400, json!("VALIDATION_ERROR"), "inputs"),
        (UPSERT, json!({ "inputs": [{ "properties": {} }] }), 400, json!("VALIDATION_ERROR"), "[id]"),
        (UPSERT, json!({ "inputs": [input("0", "a", json!({ "lastname": null }))] }), 400, Value::Null, "Invalid input JSON"),
        (UPSERT, json!([]), 400, Value::Null, "Invalid input JSON"),
        (UPSERT, by("lastname"), 400, json!("VALIDATION_ERROR"), "Unable to perform update/upsert by non-unique 0-1 property lastname"),
        ("/companies/batch/upsert", by("domain"), 400, json!("VALIDATION_ERROR"), "by non-unique 0-2 property domain"),
        ("/deals/batch/update", by("dealname"), 400, json!("VALIDATION_ERROR"), "by non-unique 0-3 property dealname"),
        ("/robots/batch/upsert", by("crm_ext_id"), 400, json!("VALIDATION_ERROR"), "Unable to infer object type from: robots"),
        ("/contacts/batch/nope", json!({}), 404, Value::Null, "resource not found"),
    ] {
        let (got, error) = call(&mut crm, "POST", target, &body);
        assert_eq!((got, error.get("category").cloned().unwrap_or_default()), (status, category), "{target}: {error}");
        assert!(error["message"].as_str().unwrap().contains(says) && error["correlationId"].is_string(), "{says}: {error}");
    }
    assert_eq!(call(&mut crm, "PUT", "/contacts", &json!({})).0, 405);
    assert_eq!(contacts(&crm).len(), 0);
}

#[test]
fn values_that_do_not_fit_are_refused_with_their_code() {
    let mut crm = Crm::new();
    for (object, name, value, code) in [
        ("contacts", "email", "a@b", "INVALID_EMAIL"),
        ("contacts", "lifecyclestage", "Lead", "INVALID_OPTION"),
        ("contacts", "createdate", "2026-11-22", "READ_ONLY_VALUE"),
        ("contacts", "FirstName", "x", "PROPERTY_DOESNT_EXIST"),
        ("companies", "numberofemployees", "many", "INVALID_INTEGER"),
        ("companies", "is_public", "yes", "INVALID_OPTION"),
        ("deals", "closedate", "soon", "INVALID_DATE"),
        ("deals", "contract_end_date", "1572480000001", "INVALID_DATE"),
    ] {
        let (status, body) =
            call(&mut crm, "POST", &format!("/{object}/batch/upsert"), &json!({ "inputs": [input("0", "k", json!({ name: value }))] }));
        assert_eq!(status, 207, "{name}");
        let message = body["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(code) && message.contains(&format!("\"name\":\"{name}\"")), "{name}: {message}");
    }
    let good = json!({ "closedate": "1572480000000", "contract_end_date": "1572480000000", "amount": "12.50", "pipeline": "default" });
    let (_, body) = call(&mut crm, "POST", "/deals/batch/upsert", &json!({ "inputs": [input("0", "k", good)] }));
    let held = &body["results"][0]["properties"];
    assert_eq!(
        (&held["closedate"], &held["contract_end_date"], &held["amount"]),
        (&json!("2019-10-31T00:00:00.000Z"), &json!("2019-10-31"), &json!("12.50"))
    );
}

#[test]
fn two_records_never_share_an_address_or_a_unique_value() {
    let mut crm = Crm::new();
    upsert(&mut crm, &[input("0", "a", contact("Stone"))]);
    let id = contacts(&crm)[0].id.clone();
    let (status, error) = call(&mut crm, "POST", "/contacts", &json!({ "properties": { "email": " STONE@example.com" } }));
    assert_eq!((status, &error["category"]), (409, &json!("CONFLICT")));
    assert_eq!(error["message"], format!("Contact already exists. Existing ID: {id}"));
    let create = json!({ "inputs": [{ "objectWriteTraceId": "0", "properties": { "crm_ext_id": "A" } }] });
    let (status, body) = call(&mut crm, "POST", "/contacts/batch/create", &create);
    assert_eq!(status, 207);
    assert!(body["errors"][0]["message"].as_str().unwrap().contains("CONFLICTING_UNIQUE_VALUE"), "{body}");
    // By its address the contact is found, whoever keyed it.
    let by_email = json!({ "inputs": [{ "id": "Stone@Example.com", "idProperty": "email", "objectWriteTraceId": "0", "properties": { "phone": "1" } }] });
    let (_, body) = call(&mut crm, "POST", UPSERT, &by_email);
    assert_eq!((&body["results"][0]["new"], &body["results"][0]["id"]), (&json!(false), &json!(id)));
    assert_eq!(contacts(&crm).len(), 1);
}

#[test]
fn a_batch_is_read_by_key_and_what_is_missing_is_named() {
    let mut crm = Crm::new();
    upsert(&mut crm, &[input("0", "a", contact("Stone")), input("1", "b", contact("Berg"))]);
    let read = |inputs: Value| json!({ "idProperty": "crm_ext_id", "properties": ["crm_ext_id", "lastname", "phone", "nosuch"], "inputs": inputs });
    let (status, body) = call(&mut crm, "POST", "/contacts/batch/read", &read(json!([{ "id": "B" }, { "id": "a" }])));
    assert_eq!((status, body.get("errors")), (200, None));
    let properties = &body["results"][0]["properties"];
    assert_eq!((&properties["lastname"], &properties["phone"], properties.get("nosuch")), (&json!("Stone"), &Value::Null, None));
    let (status, body) = call(&mut crm, "POST", "/contacts/batch/read", &read(json!([{ "id": "x" }, { "id": "b" }, { "id": "y" }])));
    assert_eq!((status, body["results"].as_array().unwrap().len()), (207, 1));
    assert_eq!((&body["errors"][0]["category"], &body["errors"][0]["context"]["ids"]), (&json!("OBJECT_NOT_FOUND"), &json!(["x", "y"])));
    let (status, _) = call(&mut crm, "POST", "/contacts/batch/read", &json!({ "idProperty": "lastname", "inputs": [{ "id": "x" }] }));
    assert_eq!(status, 400);
}

#[test]
fn an_update_touches_only_what_is_there_and_an_archived_record_is_not() {
    let mut crm = Crm::new();
    upsert(&mut crm, &[input("0", "a", contact("Stone"))]);
    let id = contacts(&crm)[0].id.clone();
    let update = |id: &str| json!({ "inputs": [{ "id": id, "objectWriteTraceId": "7", "properties": { "phone": "1" } }] });
    let (status, body) = call(&mut crm, "POST", "/contacts/batch/update", &update(&id));
    assert_eq!((status, body["results"][0].get("new")), (200, None));
    let (status, body) = call(&mut crm, "POST", "/contacts/batch/update", &update("9"));
    assert_eq!((status, &body["errors"][0]["context"]), (207, &json!({ "ids": ["9"], "objectWriteTraceId": ["7"] })));
    assert_eq!(call(&mut crm, "PATCH", "/contacts/a?idProperty=crm_ext_id", &json!({ "properties": { "phone": "2" } })).0, 200);
    assert_eq!(call(&mut crm, "GET", "/contacts/A?idProperty=crm_ext_id&properties=phone", &Value::Null).1["properties"]["phone"], "2");
    assert_eq!(call(&mut crm, "DELETE", &format!("/contacts/{id}"), &Value::Null), (204, Value::Null));
    assert_eq!(call(&mut crm, "GET", &format!("/contacts/{id}"), &Value::Null).0, 404);
    assert_eq!(call(&mut crm, "GET", "/contacts?limit=5", &Value::Null).1["results"], json!([]));
    let (_, body) = upsert(&mut crm, &[input("0", "a", contact("Stone"))]);
    assert_ne!(body["results"][0]["id"], id);
    assert_eq!(contacts(&crm)[0].creates, 2, "it counts both");
}

fn core(options: Options) -> Core {
    Core::new(1, options)
}

fn ask(core: &mut Core, authorization: Option<&str>, after: Duration) -> HttpReply {
    let headers: Vec<_> = authorization.map(|value| ("authorization".to_owned(), value.to_owned())).into_iter().collect();
    let request = HttpRequest { method: "GET", target: "/account-info/v3/details", headers: &headers, body: b"" };
    core.exchange(&request, START + after).reply.unwrap()
}

fn said(reply: &HttpReply) -> (u16, String) {
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    let word = body["policyName"].as_str().or_else(|| body["category"].as_str());
    (reply.status, word.unwrap_or_default().to_owned())
}

#[test]
fn a_private_apps_token_lets_in_and_nothing_else_does() {
    let mut core = core(Options { credentials: "me:secret,pat-1".parse().unwrap(), ..Options::default() });
    let refused = (401, "INVALID_AUTHENTICATION".to_owned());
    for wrong in [None, Some("Bearer pat-2"), Some("Basic bWU6c2VjcmV0"), Some("Bearer ")] {
        assert_eq!(said(&ask(&mut core, wrong, Duration::ZERO)), refused, "{wrong:?}");
    }
    assert_eq!(ask(&mut core, Some("bearer pat-1"), Duration::ZERO).status, 200);
    core.set_faults("expired-token=1".parse().unwrap(), START);
    assert_eq!(said(&ask(&mut core, Some("Bearer pat-1"), Duration::ZERO)), (401, "EXPIRED_AUTHENTICATION".to_owned()));
    core.set_faults("".parse().unwrap(), START);
    assert_eq!(ask(&mut core, Some("Bearer pat-1"), Duration::ZERO).status, 200, "it cannot be renewed, so it lives on");
}

#[test]
fn each_limit_says_which_one_it_is_and_the_gauges_tell() {
    let mut core = core(Options { ten_secondly_calls: 3, daily_calls: 5, ..Options::default() });
    let mut at = |millis| ask(&mut core, Some("Bearer x"), Duration::from_millis(millis));
    let first = at(0);
    let told = |reply: &HttpReply, name: &str| reply.header(&format!("x-hubspot-ratelimit-{name}")).unwrap().to_owned();
    assert_eq!(
        (told(&first, "max"), told(&first, "remaining"), told(&first, "interval-milliseconds")),
        ("3".into(), "2".into(), "10000".into())
    );
    assert_eq!((told(&first, "daily"), told(&first, "daily-remaining")), ("5".into(), "4".into()));
    assert_eq!((at(5_000).status, at(6_000).status), (200, 200));
    let over = at(9_999);
    assert_eq!(said(&over), (429, "TEN_SECONDLY_ROLLING".to_owned()));
    assert_eq!(over.header("retry-after"), None, "it is not documented for this one");
    assert_eq!(at(10_000).status, 200, "the window rolls");
    assert_eq!(said(&at(60_000)), (429, "DAILY".to_owned()));
    assert_eq!(at(86_400_000).status, 200);
}

#[test]
fn every_fault_answers_and_applies_as_it_says() {
    for (faults, status, word, applied) in [
        ("429=1:90s", Some(429), "TEN_SECONDLY_ROLLING", false),
        ("limit=1", Some(429), "TEN_SECONDLY_ROLLING", false),
        ("500-before=1", Some(500), "", false),
        ("cut-before=1", None, "", false),
        ("500-after=1", Some(500), "", true),
        ("cut-after=1", None, "", true),
        ("garbage=1", Some(200), "", true),
        ("expired-token=1", Some(401), "EXPIRED_AUTHENTICATION", false),
        ("late=1", None, "", false),
        ("lock=1", Some(423), "LOCKED", false),
        ("empty=1", Some(200), "", false),
        ("429=1,hubspot.429=0", Some(200), "", true),
        ("salesforce.429=1", Some(200), "", true),
    ] {
        let mut crm = Crm::with(faults);
        let body = json!({ "inputs": [input("0", "a", contact("Stone"))] }).to_string();
        let reply = crm.send("POST", &format!("/crm/v3/objects{UPSERT}"), body.as_bytes()).reply;
        assert_eq!(reply.as_ref().map(|reply| reply.status), status, "{faults}");
        assert_eq!(contacts(&crm).len(), usize::from(applied), "{faults}");
        if !word.is_empty() {
            assert_eq!(said(reply.as_ref().unwrap()).1, word, "{faults}");
        }
        if faults == "empty=1" {
            let body: Value = serde_json::from_slice(&reply.as_ref().unwrap().body).unwrap();
            assert_eq!(body["results"], json!([]));
        }
        let retry_after = reply.as_ref().and_then(|reply| reply.header("retry-after"));
        assert_eq!(retry_after, (faults == "429=1:90s").then_some("90"), "{faults}");
        let call = crm.core.calls(0).next().unwrap();
        assert_eq!((call.status, call.applied, call.crm.as_ref()), (status, applied, "hubspot"), "{faults}: the log tells the truth");
    }
}

#[test]
fn a_partial_batch_fails_for_some_inputs_that_a_retry_heals_and_a_missing_result_is_applied() {
    let mut crm = Crm::with("partial=1");
    let inputs: Vec<Value> = (0..50).map(|at| input(&at.to_string(), &format!("k{at}"), contact(&format!("n{at}")))).collect();
    let (status, body) = upsert(&mut crm, &inputs);
    let locked = body["errors"].as_array().unwrap().iter().filter(|error| error["category"] == "LOCKED").count();
    assert!(status == 207 && (10..40).contains(&locked), "{locked}");
    assert_eq!(contacts(&crm).len(), 50 - locked);
    crm.set("missing=1");
    let (_, body) = upsert(&mut crm, &inputs);
    assert_eq!((body["results"].as_array().unwrap().len(), contacts(&crm).len()), (49, 50));
}

#[test]
fn a_late_write_lands_late_over_a_newer_value() {
    let mut crm = Crm::with("late=1:30s");
    assert_eq!(upsert(&mut crm, &[input("0", "a", json!({ "lastname": "Old" }))]).0, 0);
    crm.set("");
    crm.wait(10);
    upsert(&mut crm, &[input("0", "a", json!({ "lastname": "New" }))]);
    crm.wait(20);
    crm.core.advance(crm.now);
    let held = contacts(&crm).remove(0);
    assert_eq!((&held.fields["lastname"], held.creates, held.writes), (&json!("Old"), 1, 2));
    let results: Vec<String> = crm.core.calls(0).map(|call| format!("{} {}", call.crm, call.records[0].result)).collect();
    assert_eq!(results, ["hubspot late", "hubspot created", "hubspot updated"]);
}

#[test]
fn both_dialects_live_at_one_root_and_keep_their_records_apart() {
    let mut crm = Crm::new();
    upsert(&mut crm, &[input("0", "a", contact("Stone"))]);
    crm.upsert(&[("a", "Lead")]);
    let body = json!({ "records": [lead("b", "Two")] }).to_string();
    crm.send("PATCH", crate::UPSERT, body.as_bytes());
    let names: Vec<String> = crm.records().iter().map(|held| format!("{} {}", held.crm, held.object)).collect();
    assert_eq!(names, ["salesforce Lead", "salesforce Lead", "hubspot contacts"]);
    assert_eq!(crm.get("/_sandbox/records?crm=hubspot&object=contacts").1.as_array().unwrap().len(), 1);
    assert_eq!(crm.get("/_sandbox/records?crm=hubspot&object=Lead").1, json!([]));
    let stats = crm.core.stats();
    assert_eq!((stats.calls, stats.creates, stats.records), (3, 3, 3));
}

#[test]
fn properties_are_shown_and_made_and_their_uniqueness_is_settled_when_they_are_made() {
    let mut crm = Crm::new();
    let target = "/crm/v3/properties/contacts";
    let new = |name: &str, unique: bool| json!({ "name": name, "label": "Key", "groupName": "contactinformation", "type": "string", "fieldType": "text", "hasUniqueValue": unique });
    let all = |crm: &mut Crm| crm.ask("GET", target, &Value::Null).1["results"].as_array().unwrap().clone();
    let one = |rows: &[Value], name: &str| rows.iter().find(|row| row["name"] == name).cloned();
    let before = all(&mut crm);
    assert!(one(&before, "persons_key").is_none());
    let status = one(&before, "hs_lead_status").unwrap();
    assert_eq!((&status["type"], &status["options"][0]["value"]), (&json!("enumeration"), &json!("NEW")));
    assert_eq!(one(&before, "createdate").unwrap()["modificationMetadata"]["readOnlyValue"], true);

    assert_eq!(crm.ask("POST", target, &new("persons_key", true)).0, 201);
    assert_eq!(one(&all(&mut crm), "persons_key").unwrap()["hasUniqueValue"], true);
    assert_eq!(crm.ask("POST", target, &new("persons_key", true)).0, 409, "it is there");
    assert_eq!(crm.ask("POST", target, &new("loose_key", false)).0, 201);
    let change = json!({ "hasUniqueValue": true });
    assert_eq!(crm.ask("PATCH", &format!("{target}/loose_key"), &change).0, 400);
    assert_eq!(crm.ask("PATCH", &format!("{target}/loose_key"), &json!({ "label": "Loose" })).1["label"], "Loose");
    let by_loose =
        json!({ "inputs": [{ "id": "1", "idProperty": "loose_key", "objectWriteTraceId": "0", "properties": contact("Stone") }] });
    let (status, refusal) = call(&mut crm, "POST", UPSERT, &by_loose);
    assert!(status == 400 && refusal["message"].as_str().unwrap().contains("non-unique"), "{refusal}");

    // Ten of them, and no more.
    for n in 1..10 {
        assert_eq!(crm.ask("POST", target, &new(&format!("key_{n}"), true)).0, 201, "{n}");
    }
    let (status, refusal) = crm.ask("POST", target, &new("key_10", true));
    assert!(status == 400 && refusal["message"].as_str().unwrap().contains("limit of 10"), "{refusal}");
    for (body, status) in [(json!({ "name": "x_y" }), 400), (new("Bad Name", true), 400), (new("email", true), 409)] {
        assert_eq!(crm.ask("POST", target, &body).0, status, "{body}");
    }
    assert_eq!(crm.ask("GET", "/crm/v3/properties/unicorns", &Value::Null).0, 400);
    assert_eq!(crm.ask("GET", &format!("{target}/nothing_here"), &Value::Null).0, 404);
}

#[test]
fn a_number_is_kept_in_a_form_of_the_accounts_own() {
    let mut crm = Crm::new();
    upsert(&mut crm, &[input("0", "c", json!({ "mobilephone": "+14155550100", "phone": "+14155550100" }))]);
    let held = contacts(&crm).remove(0);
    assert_eq!((&held.fields["mobilephone"], &held.fields["phone"]), (&json!("+1 (415) 555-0100"), &json!("+14155550100")));
}
