//! Salesforce's dialect, row by row.

use serde_json::{Value, json};

use crate::{Crm, lead};

fn query(soql: &str) -> String {
    let encoded: String = soql.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("/query?q={encoded}")
}

#[test]
fn an_upsert_by_key_creates_once_and_then_updates() {
    let mut crm = Crm::new();
    let (status, body) = crm.call("PATCH", "/sobjects/Lead/Ext_Id__c/a%2Fb", &json!({"LastName": "Stone", "Company": "Example"}));
    assert_eq!((status, &body["created"], &body["success"], &body["errors"]), (201, &json!(true), &json!(true), &json!([])));
    let id = body["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("00Q") && id.len() == 18);
    let (status, body) = crm.call("PATCH", "/sobjects/Lead/Ext_Id__c/A%2FB?updateOnly=true", &json!({"LastName": "Flint"}));
    assert_eq!((status, &body["created"], &body["id"]), (200, &json!(false), &json!(id)), "keys match without regard to case");
    assert_eq!(crm.call("PATCH", "/sobjects/Lead/Ext_Id__c/new?updateOnly=true", &json!({"LastName": "Flint"})).0, 404);
    let old = crm.send("PATCH", "/services/data/v45.0/sobjects/Lead/Ext_Id__c/a%2Fb", br#"{"LastName": "Flint"}"#).reply.unwrap();
    assert_eq!((old.status, old.body.len()), (204, 0), "before v46 an update answers nothing");
    let records = crm.records();
    assert_eq!((records.len(), records[0].creates, records[0].writes, records[0].key.as_deref()), (1, 1, 3, Some("a/b")));
}

#[test]
fn a_record_is_created_read_changed_and_deleted_by_its_id() {
    let mut crm = Crm::new();
    let (status, body) =
        crm.call("POST", "/sobjects/Contact", &json!({"FirstName": "Ada", "LastName": " Stone ", "Email": "a@example.com"}));
    assert_eq!((status, body.get("created")), (201, None));
    let path = format!("/sobjects/Contact/{}", body["id"].as_str().unwrap());
    crm.wait(5);
    assert_eq!(crm.call("PATCH", &path, &json!({"Email": null, "Phone": "", "Title": "CEO"})), (204, Value::Null));
    let (status, shown) = crm.get(&path);
    assert_eq!(status, 200);
    assert_eq!(
        (&shown["Name"], &shown["Email"], &shown["Title"]),
        (&json!("Ada Stone"), &Value::Null, &json!("CEO")),
        "null clears, text is trimmed"
    );
    assert_eq!(shown["CreatedDate"], "2026-11-22T18:04:00.000+0000");
    assert_eq!(shown["LastModifiedDate"], "2026-11-22T18:04:05.000+0000");
    let (status, few) = crm.get(&format!("{}?fields=title,id", &path[..path.len() - 3]));
    assert_eq!((status, &few["Title"], few.get("Email")), (200, &json!("CEO"), None), "an id of 15 characters is as good");
    assert_eq!(crm.call("DELETE", &path, &Value::Null).0, 204);
    for (method, body) in [("GET", Value::Null), ("DELETE", Value::Null), ("PATCH", json!({"Title": "x"}))] {
        let (status, error) = crm.call(method, &path, &body);
        assert_eq!((status, &error[0]["errorCode"]), (404, &json!("ENTITY_IS_DELETED")), "{method}");
    }
    assert_eq!(crm.get("/sobjects/Contact/003000000000000AAA").0, 404);
}

#[test]
fn what_is_wrong_with_one_record_is_said_as_the_crm_says_it() {
    let mut crm = Crm::new();
    crm.upsert(&[("taken", "Stone")]);
    let long = "x".repeat(256);
    let path = "/sobjects/Lead/Ext_Id__c/k";
    let good = |name: &str, value: Value| {
        let mut body = json!({"LastName": "Stone", "Company": "Example"});
        body[name] = value;
        body
    };
    let rows = [
        (path, json!({"Company": "Example"}), 400, "REQUIRED_FIELD_MISSING", json!(["LastName"])),
        (path, json!({"LastName": " ", "Company": null}), 400, "REQUIRED_FIELD_MISSING", json!(["LastName", "Company"])),
        (path, good("Email", json!("not an address")), 400, "INVALID_EMAIL_ADDRESS", json!(["Email"])),
        (path, good("Company", json!(long)), 400, "STRING_TOO_LONG", json!(["Company"])),
        (path, good("Plan__c", json!(long)), 400, "STRING_TOO_LONG", json!(["Plan__c"])),
        (path, good("Nickname", json!("x")), 400, "INVALID_FIELD", json!(["Nickname"])),
        (path, good("CreatedDate", json!("x")), 400, "INVALID_FIELD_FOR_INSERT_UPDATE", json!(["CreatedDate"])),
        (path, good("ext_id__C", json!("k")), 400, "INVALID_FIELD", json!(["Ext_Id__c"])),
        (path, good("OtherExt_Id__c", json!({})), 400, "JSON_PARSER_ERROR", Value::Null),
        (path, good("City", json!(7)), 400, "JSON_PARSER_ERROR", Value::Null),
        ("/sobjects/Lead/Nope/k", json!({}), 404, "NOT_FOUND", Value::Null),
        ("/sobjects/Lead/Company/k", json!({}), 404, "NOT_FOUND", Value::Null),
        ("/sobjects/Robot/Ext_Id__c/k", json!({}), 404, "NOT_FOUND", Value::Null),
        ("/sobjects/Lead/Ext_Id__c/", json!({}), 404, "NOT_FOUND", Value::Null),
        (
            "/sobjects/Contact/Ext_Id__c/k",
            json!({"LastName": "x", "Account": {"Ext_Id__c": "none"}}),
            400,
            "INVALID_FIELD",
            json!(["Ext_Id__c"]),
        ),
        ("/sobjects/Contact/Ext_Id__c/k", json!({"LastName": "x", "AccountId": "acme"}), 400, "MALFORMED_ID", json!(["AccountId"])),
    ];
    for (path, body, status, code, fields) in rows {
        let (got, error) = crm.call("PATCH", path, &body);
        assert_eq!((got, &error[0]["errorCode"]), (status, &json!(code)), "{path} {body}: {error}");
        assert_eq!(error[0].get("fields").cloned().unwrap_or_default(), fields, "{path} {body}");
    }
    let (status, error) = crm.call("POST", "/sobjects/Lead", &good("Ext_Id__c", json!("TAKEN")));
    assert_eq!((status, &error[0]["errorCode"]), (400, &json!("DUPLICATE_VALUE")), "a create of a key that is there");
    let id = &crm.records()[0].id;
    assert_eq!(error[0]["message"], format!("duplicate value found: Ext_Id__c duplicates value on record with id: {id}"));
    assert_eq!(crm.core.stats().records, 1);
}

#[test]
fn a_collection_answers_each_record_in_order() {
    let mut crm = Crm::new();
    crm.upsert(&[("b", "Old")]);
    let mut bad = lead("c", "x");
    bad["Email"] = json!("nobody");
    let mut keyless = lead("", "x");
    keyless["Ext_Id__c"] = Value::Null;
    let records = [lead("a", "One"), lead("B", "Two"), bad, keyless, json!({"Ext_Id__c": "d"})];
    let (status, results) = crm.call("PATCH", "/composite/sobjects/Lead/Ext_Id__c", &json!({"records": records}));
    assert_eq!(status, 200);
    let said: Vec<(bool, Value)> = results
        .as_array()
        .unwrap()
        .iter()
        .map(|result| {
            (result["success"] == true, result["created"].as_bool().map_or_else(|| result["errors"][0]["statusCode"].clone(), Value::from))
        })
        .collect();
    let expected = [
        (true, json!(true)),
        (true, json!(false)),
        (false, json!("INVALID_EMAIL_ADDRESS")),
        (false, json!("MISSING_ARGUMENT")),
        (false, json!("INVALID_TYPE")),
    ];
    assert_eq!(said, expected);
    assert_eq!(crm.last_name("b").as_deref(), Some("Two"));
    let stats = crm.core.stats();
    assert_eq!((stats.creates, stats.updates, stats.records, stats.refused), (2, 1, 2, 3));
}

#[test]
fn a_key_that_is_twice_in_a_batch_fails_for_all_its_rows() {
    let mut crm = Crm::new();
    let (status, results) = crm.upsert(&[("a", "One"), ("b", "Two"), ("A", "Three")]);
    assert_eq!(status, 200);
    let codes: Vec<&Value> = results.as_array().unwrap().iter().map(|result| &result["errors"][0]["statusCode"]).collect();
    assert_eq!(codes, [&json!("DUPLICATE_VALUE"), &Value::Null, &json!("DUPLICATE_VALUE")]);
    assert_eq!(results[0]["errors"][0]["message"], "Duplicate external id specified: a");
    assert_eq!((crm.last_name("a"), crm.records().len()), (None, 1));
}

#[test]
fn a_malformed_collection_is_refused_whole() {
    let mut crm = Crm::new();
    let many: Vec<Value> = (0..201).map(|number| lead(&format!("k{number}"), "x")).collect();
    let mut mistyped = lead("b", "x");
    mistyped["LastName"] = json!(1);
    for (records, code) in [
        (json!([]), "REQUIRED_FIELD_MISSING"),
        (json!({}), "JSON_PARSER_ERROR"),
        (json!(many), "EXCEEDED_ID_LIMIT"),
        (json!([lead("a", "x"), 5]), "JSON_PARSER_ERROR"),
        (json!([lead("a", "x"), mistyped]), "JSON_PARSER_ERROR"),
    ] {
        let (status, error) = crm.call("PATCH", "/composite/sobjects/Lead/Ext_Id__c", &json!({"records": records}));
        assert_eq!((status, &error[0]["errorCode"]), (400, &json!(code)));
    }
    assert_eq!(crm.core.stats().records, 0);
    assert_eq!(crm.call("PATCH", "/composite/sobjects/Lead/Ext_Id__c", &json!({"records": many[1..]})).0, 200);
    assert_eq!(crm.core.stats().records, 200);
}

#[test]
fn all_or_none_leaves_nothing_behind() {
    let mut crm = Crm::new();
    crm.upsert(&[("a", "Old")]);
    let before = crm.records();
    let records = [lead("a", "New"), lead("b", "New"), lead("c", "")];
    let (_, results) = crm.call("PATCH", "/composite/sobjects/Lead/Ext_Id__c", &json!({"allOrNone": true, "records": records}));
    let codes: Vec<&Value> = results.as_array().unwrap().iter().map(|result| &result["errors"][0]["statusCode"]).collect();
    assert_eq!(codes, ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "ALL_OR_NONE_OPERATION_ROLLED_BACK", "REQUIRED_FIELD_MISSING"]);
    assert_eq!((crm.records(), crm.core.stats().creates), (before, 1));
}

#[test]
fn collections_create_and_update_by_id_too() {
    let mut crm = Crm::new();
    let (status, created) = crm.call(
        "POST",
        "/composite/sobjects",
        &json!({"records": [lead("a", "One"), {"attributes": {"type": "Account"}, "Name": "Acme"}]}),
    );
    assert_eq!((status, &created[0]["success"], created[0].get("created")), (200, &json!(true), None));
    let (lead_id, account) = (created[0]["id"].clone(), created[1]["id"].clone());
    let records = json!({"records": [
        {"attributes": {"type": "Lead"}, "id": lead_id, "LastName": "Two"},
        {"attributes": {"type": "Account"}, "id": lead_id, "Name": "x"},
        {"attributes": {"type": "Lead"}, "LastName": "x"},
    ]});
    let (status, updated) = crm.call("PATCH", "/composite/sobjects", &records);
    assert_eq!((status, &updated[0]["success"]), (200, &json!(true)));
    assert_eq!(
        (&updated[1]["errors"][0]["statusCode"], &updated[2]["errors"][0]["statusCode"]),
        (&json!("NOT_FOUND"), &json!("MISSING_ARGUMENT"))
    );
    assert_eq!(crm.last_name("a").as_deref(), Some("Two"));
    assert_eq!(
        crm.core.calls(1).next().unwrap().records[0].key.as_deref(),
        Some("a"),
        "the log names the key even where the call named the id"
    );
    let contact = json!({"LastName": "Stone", "AccountId": account});
    assert_eq!(crm.call("PATCH", "/sobjects/Contact/Ext_Id__c/c", &contact).0, 201);
    assert_eq!(crm.call("PATCH", "/sobjects/Account/Ext_Id__c/acct-42", &json!({"Name": "Acme"})).0, 201);
    assert_eq!(crm.call("PATCH", "/sobjects/Contact/Ext_Id__c/c", &json!({"Account": {"Ext_Id__c": "ACCT-42"}})).0, 200);
    let (_, contacts) = crm.get(&query("SELECT AccountId FROM Contact"));
    assert_ne!(contacts["records"][0]["AccountId"], account, "the parent is named by its key");
}

#[test]
fn an_address_that_several_records_share_is_ambiguous() {
    let mut crm = Crm::new();
    for key in ["a", "b"] {
        let body = json!({"LastName": "Stone", "Company": "Example", "Email": "Same@example.com"});
        crm.call("PATCH", &format!("/sobjects/Lead/Ext_Id__c/{key}"), &body);
    }
    let (status, matches) = crm.call("PATCH", "/sobjects/Lead/Email/same@example.com", &json!({"LastName": "Flint"}));
    assert_eq!((status, matches.as_array().unwrap().len()), (300, 2));
    assert!(matches[0].as_str().unwrap().starts_with("/services/data/v68.0/sobjects/Lead/00Q"));
    let record = json!({"attributes": {"type": "Lead"}, "Email": "same@example.com", "LastName": "Flint"});
    let (_, results) = crm.call("PATCH", "/composite/sobjects/Lead/Email", &json!({"records": [record]}));
    assert_eq!(results[0]["errors"][0]["statusCode"], "DUPLICATE_EXTERNAL_ID");
    assert!(crm.records().iter().all(|record| record.writes == 1));
}

#[test]
fn a_query_reads_back_by_key_id_and_address() {
    let mut crm = Crm::new();
    crm.upsert(&[("o'neil\\x", "O'Neil"), ("b", "Two"), ("gone", "Three")]);
    let ids: Vec<String> = crm.records().into_iter().map(|record| record.id).collect();
    crm.call("DELETE", &format!("/sobjects/Lead/{}", ids[2]), &Value::Null);
    let (status, found) =
        crm.get(&query(r"SELECT id,Ext_Id__c, LastModifiedDate FROM lead WHERE Ext_Id__c IN ('O\'Neil\\x','gone', 'none')"));
    let url = format!("/services/data/v68.0/sobjects/Lead/{}", ids[0]);
    let record = json!({"attributes": {"type": "Lead", "url": url}, "Id": ids[0], "Ext_Id__c": "o'neil\\x", "LastModifiedDate": "2026-11-22T18:04:00.000+0000"});
    assert_eq!((status, found), (200, json!({"totalSize": 1, "done": true, "records": [record]})));
    for (soql, total) in [
        (format!("SELECT Id FROM Lead WHERE Id IN ('{}', '{}')", ids[1], ids[2]), 1),
        ("SELECT Id FROM Lead WHERE LastName = 'two' AND Ext_Id__c IN ('b')".into(), 1),
        ("SELECT Id FROM Lead WHERE LastName = 'two' AND Ext_Id__c = 'x'".into(), 0),
        ("SELECT Id FROM Lead WHERE Email = null".into(), 2),
        ("SELECT Id FROM Lead WHERE Never_Written__c = 'x'".into(), 0),
        ("SELECT Id FROM Lead LIMIT 1".into(), 1),
        ("SELECT Id FROM Contact".into(), 0),
    ] {
        assert_eq!(crm.get(&query(&soql)).1["totalSize"], total, "{soql}");
    }
    for (soql, code) in [
        ("SELECT Id FROM Lead WHERE Ext_Id__c = 'O'Neil'", "MALFORMED_QUERY"),
        ("SELECT Nope FROM Lead", "INVALID_FIELD"),
        ("SELECT Id FROM Robot", "INVALID_TYPE"),
        ("SELECT Id FROM Lead WHERE Id = 'x'", "INVALID_QUERY_FILTER_OPERATOR"),
    ] {
        let (status, error) = crm.get(&query(soql));
        assert_eq!((status, &error[0]["errorCode"]), (400, &json!(code)), "{soql}");
    }
}

#[test]
fn a_long_result_comes_in_pages() {
    let mut crm = Crm::new();
    for page in 0..11 {
        let keys: Vec<String> = (0..200).map(|number| format!("{page}-{number}")).collect();
        crm.upsert(&keys.iter().map(|key| (key.as_str(), "x")).collect::<Vec<_>>());
    }
    let (_, first) = crm.get(&query("SELECT Ext_Id__c FROM Lead"));
    assert_eq!((&first["totalSize"], &first["done"], first["records"].as_array().unwrap().len()), (&json!(2_200), &json!(false), 2_000));
    let next = first["nextRecordsUrl"].as_str().unwrap().strip_prefix("/services/data/v68.0").unwrap();
    let (_, second) = crm.get(next);
    assert_eq!((&second["done"], second["records"].as_array().unwrap().len()), (&json!(true), 200));
    assert_eq!(second["records"][0]["Ext_Id__c"], "10-0");
}

#[test]
fn what_no_crm_understands_is_refused_in_its_words() {
    let mut crm = Crm::new();
    for (method, target, status, code) in [
        ("GET", "/services/data/v68.0/nope", 404, "NOT_FOUND"),
        ("GET", "/services/data/v12.0/limits", 404, "NOT_FOUND"),
        ("GET", "/", 404, "NOT_FOUND"),
        ("GET", "/services/data/v68.0/sobjects/Lead/%ZZ", 404, "NOT_FOUND"),
        ("PUT", "/services/data/v68.0/sobjects/Lead/x", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/services/data/v68.0/sobjects/Lead", 400, "JSON_PARSER_ERROR"),
        ("GET", "/services/data/v68.0/query", 400, "MALFORMED_QUERY"),
    ] {
        let reply = crm.send(method, target, b"[").reply.unwrap();
        let error: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!((reply.status, &error[0]["errorCode"]), (status, &json!(code)), "{method} {target}");
    }
    let long = format!("/services/data/v68.0/query?q={}", "x".repeat(16_400));
    assert_eq!(crm.send("GET", &long, b"").reply.unwrap().status, 414);
    let (status, described) = crm.get("/sobjects/lead/describe");
    assert_eq!((status, &described["name"], &described["keyPrefix"]), (200, &json!("Lead"), &json!("00Q")));
}

#[test]
fn the_days_calls_are_counted_and_limited() {
    let options = onceward_sandbox::Options { daily_calls: 2, max_records: 1, ..Default::default() };
    let mut crm = Crm { core: onceward_sandbox::Core::new(1, options), now: crate::START };
    let limits = "/services/data/v68.0/limits";
    assert_eq!(crm.send("GET", limits, b"").reply.unwrap().header("sforce-limit-info"), Some("api-usage=1/2"));
    let (_, results) = crm.upsert(&[("a", "One"), ("b", "Two")]);
    assert_eq!(results[1]["errors"][0]["statusCode"], "STORAGE_LIMIT_EXCEEDED");
    let (status, error) = crm.get("/limits");
    assert_eq!(
        (status, &error[0]["errorCode"], &error[0]["message"]),
        (403, &json!("REQUEST_LIMIT_EXCEEDED"), &json!("TotalRequests Limit exceeded."))
    );
    crm.wait(86_400);
    assert_eq!(crm.get("/limits"), (200, json!({"DailyApiRequests": {"Max": 2, "Remaining": 1}})));
}
