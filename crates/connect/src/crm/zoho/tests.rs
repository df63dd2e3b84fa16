use model::Reason;

use super::*;
use crate::crm::Kind;
use crate::{Auth, Sought};

fn zoho() -> Zoho {
    Zoho::new(&settings("https://www.zohoapis.eu", None)).unwrap()
}

fn settings(base: &str, version: Option<&str>) -> Settings {
    let (client_secret, refresh_token) = (Secret::new("hush"), Secret::new("1000.r"));
    let auth = Auth::RefreshToken { client_id: "1000.A".to_owned(), client_secret, refresh_token };
    Settings { api_version: version.map(str::to_owned), ..Settings::new(Kind::Zoho, base, auth) }
}

fn record(key: &str, crm_id: Option<&str>, fields: Value) -> WriteRecord {
    let fields = fields.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    WriteRecord { key: key.to_owned(), crm_id: crm_id.map(str::to_owned), revision: 1, fields }
}

fn batch(mode: Mode, records: Vec<WriteRecord>) -> WriteBatch {
    WriteBatch { object: "Leads".to_owned(), key_field: "Ext_Id".to_owned(), mode, records }
}

fn of(keys: &[&str]) -> WriteBatch {
    batch(Mode::Upsert, keys.iter().map(|key| record(key, None, json!({ "Last_Name": "Stone" }))).collect())
}

fn reply(status: u16, body: impl ToString) -> Reply {
    Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
}

fn success(id: &str, action: &str) -> Value {
    json!({ "code": "SUCCESS", "duplicate_field": null, "action": action, "details": { "id": id }, "message": "record", "status": "success" })
}

fn error(code: &str, details: Value, message: &str) -> Value {
    json!({ "code": code, "details": details, "message": message, "status": "error" })
}

/// The failure of a batch of one, whether it came as the record's or as the call's.
fn one(batch: &WriteBatch, reply: &Reply) -> Failure {
    match zoho().written(batch, reply) {
        Ok(mut results) => results.remove(0).unwrap_err(),
        Err(failure) => failure,
    }
}

fn sent(batch: &WriteBatch) -> (String, String, Value, Option<String>) {
    let request = zoho().write(batch).unwrap();
    let external = request.header("x-external").map(str::to_owned);
    let body = match request.body {
        Body::Json(body) => body,
        Body::None | Body::Form(_) | Body::Raw { .. } => Value::Null,
    };
    (request.method.to_string(), request.path, body, external)
}

#[test]
fn tokens_come_from_the_data_centre_of_the_base_url() {
    let url = |base: &str| Zoho::new(&settings(base, None)).unwrap().token_url().unwrap();
    for (base, accounts) in [
        ("https://www.zohoapis.com", "https://accounts.zoho.com/oauth/v2/token"),
        ("https://www.zohoapis.eu/", "https://accounts.zoho.eu/oauth/v2/token"),
        ("https://www.zohoapis.com.au", "https://accounts.zoho.com.au/oauth/v2/token"),
        ("https://sandbox.zohoapis.in", "https://accounts.zoho.in/oauth/v2/token"),
        ("https://www.zohoapis.ca", "https://accounts.zohocloud.ca/oauth/v2/token"),
        ("http://127.0.0.1:4000", "/oauth/v2/token"),
        ("https://example.com", "/oauth/v2/token"),
    ] {
        assert_eq!(url(base), accounts);
    }
    assert_eq!(
        Zoho::new(&settings("https://www.zohoapis.com", Some("v2.1"))).unwrap_err().to_string().split(':').next(),
        Some("api_version")
    );
    assert_eq!(Zoho::new(&settings("https://www.zohoapis.com", Some("v7"))).unwrap().probe().path, "/crm/v7/org");
    for bad in ["8", "v", "vx", "v2", "v8/..", ""] {
        assert!(Zoho::new(&settings("https://www.zohoapis.com", Some(bad))).is_err(), "{bad}");
    }
    let token = Token { value: Secret::new("1000.x"), instance_url: None, expires_in: None };
    assert_eq!(zoho().authorize(AuthKind::RefreshToken, &token).1, "Zoho-oauthtoken 1000.x");
}

#[test]
fn each_mode_is_spelled_as_the_vendor_documents_it() {
    let fields = json!({ "Last_Name": "Stone", "Ext_Id": "other", "Phone": null, "Topics": ["a", "b"], "At": "2026-11-22T18:04:00.7Z",
        "Visit": "2026-11-22T18:04:00+01:00", "Note": "2026" });
    let records = || vec![record("demo:42", None, fields.clone())];
    let spelled = json!({ "Last_Name": "Stone", "Ext_Id": "demo:42", "Phone": null, "Topics": ["a", "b"], "At": "2026-11-22T18:04:00+00:00",
        "Visit": "2026-11-22T18:04:00+01:00", "Note": "2026" });
    let upsert = json!({ "data": [spelled.clone()], "duplicate_check_fields": ["Ext_Id"] });
    let post = || "POST".to_owned();
    assert_eq!(sent(&batch(Mode::Upsert, records())), (post(), "/crm/v8/Leads/upsert".to_owned(), upsert, None), "workflows run");
    assert_eq!(sent(&batch(Mode::CreateOnly, records())), (post(), "/crm/v8/Leads".to_owned(), json!({ "data": [spelled.clone()] }), None));
    let by_key = ("PUT".to_owned(), "/crm/v8/Leads".to_owned(), json!({ "data": [spelled] }), Some("Leads.Ext_Id".to_owned()));
    assert_eq!(sent(&batch(Mode::UpdateOnly, records())), by_key);
    let by_id = sent(&batch(Mode::UpdateOnly, vec![record("a", Some("7244"), json!({ "Phone": "1" }))]));
    assert_eq!(by_id, ("PUT".to_owned(), "/crm/v8/Leads".to_owned(), json!({ "data": [{ "id": "7244", "Phone": "1" }] }), None));
    let delete = batch(Mode::Delete, vec![record("a", Some("1"), json!({})), record("b", Some("2"), json!({}))]);
    assert_eq!(sent(&delete), ("DELETE".to_owned(), "/crm/v8/Leads?ids=1,2".to_owned(), Value::Null, None));
    let mixed = batch(Mode::UpdateOnly, vec![record("a", Some("1"), json!({})), record("b", None, json!({}))]);
    assert_eq!((zoho().write_fits(&mixed), zoho().write(&mixed).unwrap_err().code.as_str()), (1, "mixed_batch"));
    let link = Link { object: "Accounts".to_owned(), key_field: "Ext_Id".to_owned(), key: "x".to_owned(), crm_id: Some("7244".to_owned()) };
    let linked = batch(Mode::Upsert, vec![record("a", None, json!({ "Account_Name": link.to_value() }))]);
    assert_eq!(sent(&linked).2["data"][0]["Account_Name"], json!({ "id": "7244" }));
}

#[test]
fn results_are_told_apart_by_their_place_as_long_as_nothing_speaks_against_it() {
    let three = of(&["a", "b", "c"]);
    let told = |status: u16, rows: Value| {
        let results = zoho().written(&three, &reply(status, json!({ "data": rows }))).unwrap();
        results.into_iter().map(|result| result.map_or_else(|failure| failure.code, |written| written.crm_id.unwrap())).collect::<Vec<_>>()
    };
    let lacking = |place: usize| {
        let details = json!({ "api_name": "Last_Name", "json_path": format!("$.data[{place}].Last_Name") });
        error("MANDATORY_NOT_FOUND", details, "required field not found")
    };
    // upsert-records.html, "Sample Response", with an error as insert-records.html shows it.
    assert_eq!(told(200, json!([success("1", "update"), success("2", "insert"), lacking(2)])), ["1", "2", "MANDATORY_NOT_FOUND"]);
    assert_eq!(told(400, json!([lacking(0), lacking(1), lacking(2)])), ["MANDATORY_NOT_FOUND"; 3]);
    assert_eq!(told(207, json!([success("1", "update"), success("3", "insert")])), ["no_result"; 3]);
    assert_eq!(
        told(207, json!([lacking(2), success("1", "update"), success("2", "insert")])),
        ["no_result", "no_result", "MANDATORY_NOT_FOUND"]
    );
    let twice = zoho().written(&three, &reply(207, json!({ "data": [lacking(1), lacking(1), success("1", "insert")] }))).unwrap_err();
    assert_eq!((twice.class, twice.code.as_str()), (Class::Unknown, "result_twice"));
    let mut known = batch(Mode::UpdateOnly, three.records.clone());
    for (record, id) in known.records.iter_mut().zip(["1", "2", "3"]) {
        record.crm_id = Some(id.to_owned());
    }
    let shuffled = reply(200, json!({ "data": [success("3", ""), success("1", ""), success("2", "")] }));
    let ids: Vec<String> = zoho().written(&known, &shuffled).unwrap().into_iter().map(|result| result.unwrap().crm_id.unwrap()).collect();
    assert_eq!(ids, ["1", "2", "3"], "results out of order are matched by id");
    let created =
        zoho().written(&of(&["a", "b"]), &reply(201, json!({ "data": [success("1", "insert"), success("2", "update")] }))).unwrap();
    assert_eq!(created.iter().map(|result| result.as_ref().unwrap().created).collect::<Vec<_>>(), [Some(true), Some(false)]);
    for broken in [
        reply(200, ""),
        reply(200, "<html>"),
        reply(204, ""),
        reply(200, json!({ "data": {} })),
        reply(200, json!({ "data": [{ "status": "success" }, 7, 7] })),
    ] {
        assert_eq!(zoho().written(&three, &broken).unwrap_err().class, Class::Unknown);
    }
}

#[test]
fn each_documented_error_of_a_record_is_in_its_class() {
    let upsert = of(&["a"]);
    for (code, class) in [
        ("MANDATORY_NOT_FOUND", Class::Permanent),
        ("INVALID_DATA", Class::Permanent),
        ("DEPENDENT_FIELD_MISSING", Class::Permanent),
        ("DEPENDENT_MISMATCH", Class::Permanent),
        ("PATTERN_NOT_MATCHED", Class::Permanent),
        ("MAPPING_MISMATCH", Class::Permanent),
        ("AUTHORIZATION_FAILED", Class::Permanent),
        ("CONVERTED_RECORD", Class::Permanent),
        ("ID_ALREADY_CONVERTED", Class::Permanent),
        ("DUPLICATE_DATA", Class::Conflict),
        ("RECORD_LOCKED", Class::Conflict),
        ("RECORD_IN_BLUEPRINT", Class::Conflict),
        ("NOT_APPROVED", Class::Conflict),
        ("ALREADY_MODIFIED", Class::Conflict),
        ("DEPENDENT_SERVICE_ERROR", Class::Conflict),
        ("TOO_MANY_REQUESTS", Class::Throttled),
        ("LIMIT_REACHED", Class::Throttled),
        ("INTERNAL_ERROR", Class::Unknown),
        ("SOMETHING_NEW", Class::Permanent),
    ] {
        let details = json!({ "api_name": "Email", "json_path": "$.data[0].Email" });
        let failed = one(&upsert, &reply(400, json!({ "data": [error(code, details, "says no")] })));
        assert_eq!((failed.class, failed.scope, failed.code.as_str()), (class, Scope::Record, code));
        assert_eq!(failed.fields, ["Email"], "{code}");
    }
}

#[test]
fn each_documented_error_of_a_request_is_in_its_class() {
    let (auth, throttled, permanent, unknown) = (Class::Auth, Class::Throttled, Class::Permanent, Class::Unknown);
    for (status, code, class, pause) in [
        (401, "INVALID_TOKEN", auth, None),
        (401, "AUTHENTICATION_FAILURE", auth, None),
        (401, "OAUTH_SCOPE_MISMATCH", auth, None),
        (403, "NO_PERMISSION", auth, None),
        (400, "INVALID_MODULE", permanent, None),
        (404, "INVALID_URL_PATTERN", permanent, None),
        (400, "FEATURE_NOT_SUPPORTED", permanent, None),
        (429, "TOO_MANY_REQUESTS", throttled, Some(5)),
        (429, "LIMIT_EXCEEDED", throttled, Some(900)),
        (429, "", throttled, Some(5)),
        (500, "INTERNAL_ERROR", unknown, None),
        (502, "", unknown, None),
        (200, "INTERNAL_ERROR", unknown, None),
    ] {
        let failed = zoho().written(&of(&["a", "b"]), &reply(status, error(code, json!({}), "says no"))).unwrap_err();
        let waits = failed.retry_after.map(|wait| wait.as_secs());
        assert_eq!((failed.class, failed.scope, waits), (class, Scope::Destination, pause), "{status} {code}");
    }
    let expired = |code: &str| zoho().expired(&reply(401, error(code, json!({}), "")));
    assert!(expired("INVALID_TOKEN") && !expired("OAUTH_SCOPE_MISMATCH"), "a fresh token has no other scope");
    assert_eq!(zoho().written(&of(&["a", "b"]), &reply(413, "")).unwrap_err().class, Class::Conflict);
}

#[test]
fn what_is_there_or_gone_already_is_what_was_wanted() {
    // insert-records.html, "DUPLICATE_DATA", as crm-oas has it.
    let duplicate = |field: &str, id: &str| {
        let record = json!({ "Owner": { "name": "x", "id": "9" }, "module": { "api_name": "Leads", "id": "8" }, "id": id });
        error(
            "DUPLICATE_DATA",
            json!({ "api_name": field, "duplicate_record": record, "json_path": format!("$.data[0].{field}") }),
            "duplicate data",
        )
    };
    let create = batch(Mode::CreateOnly, of(&["a"]).records);
    let answer = |row: Value| reply(400, json!({ "data": [row] }));
    let there = zoho().written(&create, &answer(duplicate("Ext_Id", "7244"))).unwrap();
    assert_eq!(there, [Ok(Written { crm_id: Some("7244".to_owned()), created: Some(false) })]);
    assert_eq!(one(&create, &answer(duplicate("Email", "7244"))).class, Class::Conflict, "another field is another record");
    assert_eq!(one(&of(&["a"]), &answer(duplicate("Ext_Id", "7244"))).class, Class::Conflict);
    let several = error(
        "MULTIPLE_OR_MULTI_ERRORS",
        json!({ "errors": [duplicate("Ext_Id", "7"), error("INVALID_DATA", json!({ "api_name": "Email" }), "x")] }),
        "x",
    );
    assert_eq!(one(&create, &answer(several)).code, "INVALID_DATA", "what can never succeed outweighs");
    let absent = error("INVALID_DATA", json!({ "api_name": "id", "json_path": "$.data[0].id" }), "the id given seems to be invalid");
    let update = batch(Mode::UpdateOnly, vec![record("a", Some("7"), json!({}))]);
    assert_eq!(one(&update, &answer(absent)).reason, Some(Reason::RecordNotFound));
    let delete = batch(Mode::Delete, vec![record("a", Some("7"), json!({}))]);
    let gone = error("INVALID_DATA", json!({ "id": "7" }), "the id given seems to be invalid");
    assert_eq!(zoho().written(&delete, &answer(gone)).unwrap(), [Ok(Written::default())]);
    let link = Link { object: "Accounts".to_owned(), key_field: "Ext_Id".to_owned(), key: "x".to_owned(), crm_id: Some("5".to_owned()) };
    let linked = batch(Mode::Upsert, vec![record("a", None, json!({ "Account_Name": link.to_value() }))]);
    let parent = error("INVALID_DATA", json!({ "api_name": "Account_Name", "json_path": "$.data[0].Account_Name.id" }), "invalid data");
    assert_eq!(one(&linked, &answer(parent)).class, Class::Conflict, "the parent may come");
}

#[test]
fn a_token_is_read_with_its_life_and_its_host_and_a_refusal_for_what_it_is() {
    let granted = |body: Value| zoho().granted(&reply(200, body)).unwrap();
    let token =
        granted(json!({ "access_token": "1000.x", "api_domain": "https://www.zohoapis.eu", "token_type": "Bearer", "expires_in": 3600 }));
    assert_eq!((token.expires_in, token.instance_url.as_deref()), (Some(Duration::from_secs(3_600)), Some("https://www.zohoapis.eu")));
    assert_eq!(granted(json!({ "access_token": "x", "expires_in": 3_600_000 })).expires_in, Some(Duration::from_secs(3_600)), "told in ms");
    let refused = |status, body: Value| {
        let failure = zoho().granted(&reply(status, body)).unwrap_err();
        (failure.class, failure.code, failure.retry_after.map(|wait| wait.as_secs()))
    };
    assert_eq!(refused(200, json!({ "error": "invalid_code" })), (Class::Auth, "invalid_code".to_owned(), None));
    let says = "You have made too many requests continuously. Please try again after some time.";
    let crowded = json!({ "error": "Access Denied", "error_description": says });
    assert_eq!(refused(400, crowded), (Class::Throttled, "Access Denied".to_owned(), Some(600)));
    assert_eq!(refused(400, json!({ "error": "invalid_client" })).0, Class::Auth);
    assert_eq!(refused(503, Value::Null).0, Class::Retryable);
}

#[test]
fn look_ups_go_by_the_external_field_and_never_by_search() {
    let look_up = |keys: &[&str]| ReadBatch {
        object: "Leads".to_owned(),
        key_field: "Ext_Id".to_owned(),
        records: keys.iter().map(|key| Sought { key: (*key).to_owned(), crm_id: None }).collect(),
        fields: vec!["Email".to_owned(), "Ext_Id".to_owned()],
    };
    let request = zoho().read(&look_up(&["demo:1", "b/c"])).unwrap();
    assert_eq!(request.path, "/crm/v8/Leads?ids=demo%3A1,b%2Fc&fields=Ext_Id,Modified_Time,Email&per_page=200");
    assert_eq!(request.header("x-external"), Some("Leads.Ext_Id"));
    assert_eq!(zoho().read(&look_up(&["a,b"])).unwrap().path, "/crm/v8/Leads/a%2Cb?fields=Ext_Id,Modified_Time,Email");
    assert_eq!((zoho().read_fits(&look_up(&["a", "b,c", "d"])), zoho().read_fits(&look_up(&["b,c", "d"]))), (1, 1));
    for key in ["..", ".", "", " "] {
        assert_eq!(zoho().read(&look_up(&[key])).unwrap_err().code, "invalid_key");
    }
    let two = look_up(&["a", "b"]);
    let found = |reply: &Reply| zoho().found(&two, std::slice::from_ref(reply));
    // get-records-ext.html: the order is not that of the request.
    let row = |key: &str, id: &str| json!({ "Ext_Id": key, "id": id, "Email": null, "Modified_Time": "2026-11-22T18:04:00+05:30" });
    let both = found(&reply(200, json!({ "data": [row("B", "2"), row("a", "1")], "info": { "more_records": false } }))).unwrap();
    let ids: Vec<String> = both.into_iter().map(|result| result.unwrap().unwrap().crm_id).collect();
    assert_eq!(ids, ["1", "2"]);
    assert_eq!(found(&reply(204, "")).unwrap(), [Ok(None), Ok(None)]);
    let twice = found(&reply(200, json!({ "data": [row("a", "1"), row("A", "2")] }))).unwrap();
    assert_eq!(twice[0].clone().unwrap_err().reason, Some(Reason::AmbiguousMatch));
    assert_eq!(found(&reply(200, json!({ "data": [], "info": { "more_records": true } }))).unwrap_err().code, "too_large");
    let stray = found(&reply(200, json!({ "data": [row("x", "1")] }))).unwrap();
    assert!(stray.iter().all(|result| result.as_ref().is_err_and(|failure| failure.class == Class::Unknown)));
    for bad in [reply(200, ""), reply(200, json!({ "data": [{}] })), reply(200, json!({ "data": [{ "Ext_Id": "a", "id": 7 }] }))] {
        assert_eq!(found(&bad).unwrap_err().code, "garbage");
    }
    assert_eq!(found(&reply(400, error("INVALID_DATA", json!({}), "x"))).unwrap_err().scope, Scope::Destination);
}

#[test]
fn what_would_be_refused_is_not_sent_and_what_zoho_stores_in_its_own_way_is_the_same() {
    let code = |batch: &WriteBatch| zoho().write(batch).unwrap_err().code;
    assert_eq!(code(&of(&["a", " A"])), "duplicate_key");
    assert_eq!(code(&of(&[])), "empty_batch");
    let keys: Vec<String> = (0..101).map(|at| at.to_string()).collect();
    let all = of(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((code(&all).as_str(), zoho().write_fits(&all)), ("too_large", 100));
    assert_eq!(code(&batch(Mode::Upsert, vec![record("a", None, json!({ "Last Name": "x" }))])), "invalid_name");
    assert_eq!(code(&batch(Mode::UpdateOnly, vec![record("a", Some("x"), json!({}))])), "invalid_id");
    for (a, b, equal) in [
        (json!(["b", "a"]), json!(["a", "b"]), true),
        (json!([]), json!(null), true),
        (json!("2026-11-22T18:04:00.700Z"), json!("2026-11-22T23:34:00+05:30"), true),
        (json!("Ada@Example.com"), json!("ada@example.com"), true),
        (json!(12), json!(12.0), true),
        (json!("a"), json!("b"), false),
    ] {
        assert_eq!(zoho().equal("x", &a, &b), equal, "{a} {b}");
    }
}
