use model::Time;

use super::*;
use crate::Sought;

const ID: &str = "00Q000000000001AAA";
const ID2: &str = "00Q000000000002AAA";

fn of_version(version: Option<&str>) -> Result<Salesforce, SettingsError> {
    let auth = crate::Auth::ClientCredentials { client_id: "id".to_owned(), client_secret: Secret::new("secret") };
    let settings = Settings::new(crate::Kind::Salesforce, "https://example.my.salesforce.com", auth);
    Salesforce::new(&Settings { api_version: version.map(str::to_owned), ..settings })
}

fn salesforce() -> Salesforce {
    of_version(None).unwrap()
}

fn record(key: &str, crm_id: Option<&str>, fields: Value) -> WriteRecord {
    let fields = fields.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    WriteRecord { key: key.to_owned(), crm_id: crm_id.map(str::to_owned), revision: 1, fields }
}

fn batch(mode: Mode, records: Vec<WriteRecord>) -> WriteBatch {
    WriteBatch { object: "Lead".to_owned(), key_field: "Ext__c".to_owned(), mode, records }
}

fn of(keys: &[&str]) -> WriteBatch {
    batch(Mode::Upsert, keys.iter().map(|key| record(key, None, json!({ "LastName": "Stone" }))).collect())
}

fn look_up(keys: &[&str]) -> ReadBatch {
    ReadBatch {
        object: "Lead".to_owned(),
        key_field: "Ext__c".to_owned(),
        records: keys.iter().map(|key| Sought { key: (*key).to_owned(), crm_id: None }).collect(),
        fields: vec!["Email".to_owned(), "id".to_owned()],
    }
}

fn looked_up(batch: &ReadBatch, reply: &Reply) -> Outcome<Option<Present>> {
    salesforce().found(batch, std::slice::from_ref(reply))
}

fn reply(status: u16, body: impl ToString) -> Reply {
    Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
}

fn spelled_body(request: &Request) -> Value {
    match &request.body {
        Body::Json(value) => value.clone(),
        Body::None | Body::Form(_) => Value::Null,
    }
}

/// The failure of a batch of one, whether it came as the record's or as the call's.
fn one(batch: &WriteBatch, reply: &Reply) -> Failure {
    match salesforce().written(batch, reply) {
        Ok(mut results) => {
            let failure = results.remove(0).unwrap_err();
            assert_eq!(failure.scope, Scope::Record);
            failure
        }
        Err(failure) => {
            assert_ne!(failure.scope, Scope::Record);
            failure
        }
    }
}

#[test]
fn versions_that_do_not_answer_an_update_are_refused() {
    assert_eq!(salesforce().root, "/services/data/v68.0");
    assert!(of_version(Some("v46.0")).is_ok());
    for bad in ["v45.0", "68.0", "v68", "v068.0", "v68.0/..", "latest", ""] {
        assert!(of_version(Some(bad)).is_err(), "{bad}");
    }
}

#[test]
fn one_record_with_a_plain_key_goes_by_its_path_and_the_key_is_not_in_the_body() {
    let fields = json!({ "LastName": "Stone", "Email": null, "ext__C": "other", "Topics__c": ["a", "b", 3] });
    let request = salesforce().write(&batch(Mode::Upsert, vec![record("demo:42", None, fields)])).unwrap();
    assert_eq!((request.method.as_str(), request.path.as_str()), ("PATCH", "/services/data/v68.0/sobjects/Lead/Ext__c/demo%3A42"));
    assert_eq!(spelled_body(&request), json!({ "Email": null, "LastName": "Stone", "Topics__c": "a;b;3" }));
    assert_eq!(request.header("sforce-call-options"), Some("client=onceward"));
}

#[test]
fn one_record_with_a_difficult_key_goes_by_collections_where_the_key_is_in_the_body() {
    for key in ["a@example.inc", "a/b", "a?b=#c", "100%", "x y", "jürgen", "..", "it's"] {
        let request = salesforce().write(&of(&[key])).unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("PATCH", "/services/data/v68.0/composite/sobjects/Lead/Ext__c"));
        let expected = json!({ "allOrNone": false, "records": [{ "attributes": { "type": "Lead" }, "LastName": "Stone", "Ext__c": key }] });
        assert_eq!(spelled_body(&request), expected);
    }
}

#[test]
fn several_records_go_in_one_call_whatever_the_mode() {
    let both =
        |first: Option<&str>, second: Option<&str>| vec![record("a", first, json!({ "City": "Oslo" })), record("b", second, json!({}))];
    let spell = |mode, records| salesforce().write(&batch(mode, records)).unwrap();

    let request = spell(Mode::CreateOnly, both(None, None));
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/services/data/v68.0/composite/sobjects"));
    assert_eq!(spelled_body(&request)["records"][0], json!({ "attributes": { "type": "Lead" }, "City": "Oslo", "Ext__c": "a" }));

    let request = spell(Mode::UpdateOnly, both(Some(ID), Some(ID2)));
    assert_eq!((request.method.as_str(), request.path.as_str()), ("PATCH", "/services/data/v68.0/composite/sobjects"));
    assert_eq!(spelled_body(&request)["records"][0], json!({ "attributes": { "type": "Lead" }, "id": ID, "City": "Oslo" }));

    let mixed = batch(Mode::UpdateOnly, both(Some(ID), None));
    assert_eq!(salesforce().write_fits(&mixed), 1);
    let failure = salesforce().write(&mixed).unwrap_err();
    assert_eq!((failure.class, failure.scope, failure.code.as_str()), (Class::Conflict, Scope::Call, "mixed_batch"));
}

#[test]
fn one_record_by_mode() {
    let spell = |mode, key, id| {
        let request = salesforce().write(&batch(mode, vec![record(key, id, json!({ "City": "Oslo" }))])).unwrap();
        (request.method.to_string(), request.path.clone(), spelled_body(&request))
    };
    assert_eq!(
        spell(Mode::CreateOnly, "a@b.co", None),
        ("POST".to_owned(), "/services/data/v68.0/sobjects/Lead".to_owned(), json!({ "City": "Oslo", "Ext__c": "a@b.co" }))
    );
    let path = "/services/data/v68.0/sobjects/Lead/Ext__c/a%40b%2Fc%23%3F%25%20%C3%BC?updateOnly=true".to_owned();
    assert_eq!(spell(Mode::UpdateOnly, "a@b/c#?% ü", None), ("PATCH".to_owned(), path, json!({ "City": "Oslo" })));
    let path = format!("/services/data/v68.0/sobjects/Lead/{ID}");
    assert_eq!(spell(Mode::UpdateOnly, "a", Some(ID)), ("PATCH".to_owned(), path, json!({ "City": "Oslo" })));
    assert_eq!(salesforce().write(&batch(Mode::UpdateOnly, vec![record("..", None, json!({}))])).unwrap_err().code, "key_not_addressable");
}

#[test]
fn what_must_not_be_sent_is_not_spelled() {
    let code = |batch: &WriteBatch| salesforce().write(batch).unwrap_err().code;
    assert_eq!(code(&of(&[])), "empty_batch");
    assert_eq!(code(&of(&["a", "A "])), "duplicate_key");
    assert_eq!(code(&of(&[" "])), "invalid_key");
    assert_eq!(code(&of(&["x".repeat(256).as_str()])), "invalid_key");
    let keys: Vec<String> = (0..201).map(|at| at.to_string()).collect();
    let many = of(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((code(&many).as_str(), salesforce().write_fits(&many)), ("too_large", 200));
    assert_eq!(code(&batch(Mode::UpdateOnly, vec![record("a", Some("../x"), json!({}))])), "invalid_id");
    for name in ["", "1a", "a b", "Name FROM User", "a.b", "Ünicode", "a'"] {
        assert_eq!(code(&batch(Mode::Upsert, vec![record("a", None, json!({ name: 1 }))])), "invalid_name", "{name}");
        assert_eq!(code(&WriteBatch { object: name.to_owned(), ..of(&["a"]) }), "invalid_name", "{name}");
        assert_eq!(salesforce().read(&ReadBatch { key_field: name.to_owned(), ..look_up(&["a"]) }).unwrap_err().code, "invalid_name");
    }
}

#[test]
fn documented_successes_are_read_and_no_others() {
    let upsert = of(&["a"]);
    let body = |created: bool| json!({ "id": ID, "success": true, "errors": [], "created": created });
    let ok = |batch: &WriteBatch, reply: &Reply| salesforce().written(batch, reply).unwrap().remove(0).unwrap();
    let written = |created| Written { crm_id: Some(ID.to_owned()), created: Some(created) };
    assert_eq!(ok(&upsert, &reply(201, body(true))), written(true));
    assert_eq!(ok(&upsert, &reply(200, body(false))), written(false));
    let by_id = batch(Mode::UpdateOnly, vec![record("a", Some(ID), json!({}))]);
    assert_eq!(ok(&by_id, &reply(204, "")), written(false));
    assert_eq!(
        ok(&batch(Mode::CreateOnly, upsert.records.clone()), &reply(201, json!({ "id": ID, "success": true, "errors": [] }))),
        written(true)
    );
    for unknown in [
        reply(204, ""),
        reply(202, body(true)),
        reply(206, body(true)),
        reply(200, ""),
        reply(200, "<html>proxy</html>"),
        reply(201, r#"{"id":"00Q00000"#),
        reply(201, json!({ "id": "x", "success": true })),
        reply(201, json!({ "success": true })),
        reply(201, json!([])),
        reply(200, json!({ "id": ID, "success": "yes" })),
    ] {
        assert_eq!(one(&upsert, &unknown).class, Class::Unknown, "{unknown:?}");
    }
    assert_eq!(one(&by_id, &reply(200, body(false))).class, Class::Unknown);
}

#[test]
fn results_of_a_batch_are_read_one_by_one_in_order() {
    let body = json!([
        { "id": ID, "success": true, "errors": [], "created": true },
        { "success": false, "errors": [{ "statusCode": "REQUIRED_FIELD_MISSING", "message": "Required fields are missing: [LastName]", "fields": ["LastName"] }] },
        { "success": false, "errors": [{ "statusCode": "UNABLE_TO_LOCK_ROW", "message": "unable to obtain exclusive access to this record" }] },
        { "success": false, "errors": [] },
    ]);
    let results = salesforce().written(&of(&["a", "b", "c", "d"]), &reply(200, body)).unwrap();
    assert_eq!(results[0], Ok(Written { crm_id: Some(ID.to_owned()), created: Some(true) }));
    let refused = results[1].clone().unwrap_err();
    assert_eq!((refused.class, refused.scope, refused.code.as_str()), (Class::Permanent, Scope::Record, "REQUIRED_FIELD_MISSING"));
    assert_eq!(refused.fields, ["LastName"]);
    assert_eq!(results[2].clone().unwrap_err().class, Class::Retryable);
    assert_eq!(results[3].clone().unwrap_err().code, "unnamed");
}

#[test]
fn results_that_cannot_be_told_apart_leave_all_unknown() {
    let row = |id: &str| json!({ "id": id, "success": true, "errors": [], "created": false });
    let known = batch(Mode::Upsert, vec![record("a", Some(ID), json!({})), record("b", Some(&ID2[..15]), json!({}))]);
    assert!(salesforce().written(&known, &reply(200, json!([row(ID), row(ID2)]))).is_ok());
    // A record that the CRM merged or made again has another id, and nobody else's.
    assert!(salesforce().written(&known, &reply(200, json!([row(ID), row("00Q000000000009AAA")]))).is_ok());
    for (body, code) in [
        (json!([row(ID)]), "result_count"),
        (json!([row(ID), row(ID2), row(ID2)]), "result_count"),
        (json!([]), "result_count"),
        (json!([row(ID2), row(ID)]), "result_order"),
        (json!([row(ID), row(ID)]), "result_order"),
        (json!([row(ID), null]), "garbage"),
        (json!([row(ID), { "errors": [] }]), "garbage"),
        (json!({ "results": [] }), "garbage"),
        (json!("ok"), "garbage"),
    ] {
        let failure = salesforce().written(&known, &reply(200, &body)).unwrap_err();
        assert_eq!((failure.class, failure.scope, failure.code.as_str()), (Class::Unknown, Scope::Call, code), "{body}");
    }
    for (status, body) in [(200, ""), (200, "<html>"), (200, "[{\"id\":"), (201, "[]"), (204, ""), (207, "[]")] {
        assert_eq!(salesforce().written(&known, &reply(status, body)).unwrap_err().class, Class::Unknown, "{status} {body}");
    }
}

/// Every row of crm-apis.md 2.5 that concerns one record: code, message, class, and a dead letter's own reason.
const RECORD_ERRORS: &[(&str, &str, Class, Option<model::Reason>)] = &[
    ("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record or 1 records: 001", Class::Retryable, None),
    ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "T: execution of AfterUpdate caused by UNABLE_TO_LOCK_ROW", Class::Retryable, None),
    ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "T: System.LimitException: Too many SOQL queries: 101", Class::Retryable, None),
    ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "T: System.NullPointerException", Class::Permanent, None),
    ("ENTITY_IS_LOCKED", "the entity is locked for editing", Class::Conflict, None),
    ("TXN_SECURITY_METERING_ERROR", "", Class::Conflict, None),
    ("UNKNOWN_EXCEPTION", "", Class::Conflict, None),
    ("DUPLICATES_DETECTED", "You're creating a duplicate record.", Class::Permanent, None),
    ("DUPLICATE_VALUE", "duplicate value found: Mail__c duplicates value on record with id: 00Q000000000001", Class::Conflict, None),
    ("DUPLICATE_VALUE", "Duplicate external id specified: a", Class::Conflict, None),
    (
        "DUPLICATE_EXTERNAL_ID",
        "Ext__c: more than one record found for external id field",
        Class::Conflict,
        Some(model::Reason::AmbiguousMatch),
    ),
    ("REQUIRED_FIELD_MISSING", "", Class::Permanent, None),
    ("STRING_TOO_LONG", "", Class::Permanent, None),
    ("INVALID_EMAIL_ADDRESS", "", Class::Permanent, None),
    ("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "", Class::Permanent, None),
    ("INVALID_TYPE_ON_FIELD_IN_RECORD", "", Class::Permanent, None),
    ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "", Class::Permanent, None),
    ("FIELD_INTEGRITY_EXCEPTION", "", Class::Permanent, None),
    ("INVALID_FIELD", "No such column 'x' on sobject of type Contact", Class::Permanent, None),
    ("INVALID_FIELD", "Foreign key external ID: acct-42 not found for field Ext_Id__c in entity Account", Class::Conflict, None),
    ("INVALID_FIELD_FOR_INSERT_UPDATE", "", Class::Permanent, None),
    ("INVALID_CROSS_REFERENCE_KEY", "", Class::Conflict, None),
    ("ENTITY_IS_DELETED", "entity is deleted", Class::Conflict, None),
    ("CANNOT_UPDATE_CONVERTED_LEAD", "", Class::Permanent, None),
    ("INSUFFICIENT_ACCESS_OR_READONLY", "", Class::Permanent, None),
    ("ALL_OR_NONE_OPERATION_ROLLED_BACK", "", Class::Retryable, None),
    ("PROCESSING_HALTED", "", Class::Retryable, None),
    ("SOMETHING_NEW", "", Class::Permanent, None),
];

#[test]
fn every_record_error_has_its_class_in_a_batch_and_alone() {
    for (code, message, class, reason) in RECORD_ERRORS {
        let row = json!({ "success": false, "errors": [{ "statusCode": code, "message": message, "fields": ["F"] }] });
        let fine = json!({ "id": ID, "success": true, "errors": [], "created": true });
        let in_batch = salesforce().written(&of(&["a", "b"]), &reply(200, json!([row, fine]))).unwrap().remove(0).unwrap_err();
        let alone = one(&of(&["a"]), &reply(400, json!([{ "errorCode": code, "message": message, "fields": ["F"] }])));
        assert_eq!((in_batch.class, in_batch.scope, in_batch.reason), (*class, Scope::Record, *reason), "{code} {message}");
        assert_eq!((alone.class, alone.scope, alone.reason), (*class, Scope::Record, *reason), "{code} {message}");
        if *code != "DUPLICATE_EXTERNAL_ID" {
            assert_eq!((in_batch.fields.as_slice(), alone.fields.as_slice()), (["F".to_owned()].as_slice(), ["F".to_owned()].as_slice()));
        }
    }
}

#[test]
fn what_can_never_succeed_outweighs_what_could() {
    let row = json!([{ "success": false, "errors": [
        { "statusCode": "UNABLE_TO_LOCK_ROW", "message": "later", "fields": [] },
        { "statusCode": "STRING_TOO_LONG", "message": "never", "fields": ["City"] },
        { "statusCode": "REQUIRED_FIELD_MISSING", "message": "never", "fields": ["LastName", "City"] },
    ]}]);
    let failure = one(&of(&["a@b.co"]), &reply(200, row));
    assert_eq!((failure.class, failure.code.as_str()), (Class::Permanent, "STRING_TOO_LONG"));
    assert_eq!(failure.fields, ["City", "LastName"]);
}

/// Every answer that concerns more than one record: status, body, class and scope for a batch and for a record alone.
#[test]
fn every_refusal_of_a_call_has_its_class_and_scope() {
    let error = |code: &str, message: &str| json!([{ "errorCode": code, "message": message }]).to_string();
    let object = |code: &str| json!({ "errorCode": code, "message": "" }).to_string();
    use Class::{Auth, Conflict, Permanent, Retryable, Throttled, Unknown};
    use Scope::{Call, Destination, Record};
    let cases = [
        (401, error("INVALID_SESSION_ID", "Session expired or invalid"), (Auth, Destination), (Auth, Destination)),
        (401, object("INVALID_AUTH_HEADER"), (Auth, Destination), (Auth, Destination)),
        (401, String::new(), (Auth, Destination), (Auth, Destination)),
        (403, error("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."), (Throttled, Destination), (Throttled, Destination)),
        (403, error("API_DISABLED_FOR_ORG", ""), (Auth, Destination), (Auth, Destination)),
        (403, error("INSUFFICIENT_ACCESS", ""), (Auth, Destination), (Permanent, Record)),
        (403, "<html>WAF</html>".to_owned(), (Auth, Destination), (Auth, Destination)),
        (429, "slow down".to_owned(), (Throttled, Destination), (Throttled, Destination)),
        (500, error("UNKNOWN_EXCEPTION", ""), (Unknown, Destination), (Unknown, Destination)),
        (502, String::new(), (Unknown, Destination), (Unknown, Destination)),
        (503, error("SERVER_UNAVAILABLE", ""), (Unknown, Destination), (Unknown, Destination)),
        (504, "<html>".to_owned(), (Unknown, Destination), (Unknown, Destination)),
        (408, String::new(), (Unknown, Destination), (Unknown, Destination)),
        (420, String::new(), (Retryable, Destination), (Retryable, Destination)),
        (420, error("EDGE", ""), (Retryable, Destination), (Retryable, Destination)),
        (404, error("NOT_FOUND", "The requested resource does not exist"), (Permanent, Destination), (Permanent, Destination)),
        (404, "<html>".to_owned(), (Permanent, Destination), (Permanent, Destination)),
        (300, json!(["/services/data/v68.0/sobjects/Lead/00Q000000000001"]).to_string(), (Conflict, Call), (Conflict, Record)),
        (413, String::new(), (Conflict, Call), (Permanent, Record)),
        (414, error("URI_TOO_LONG", ""), (Conflict, Call), (Permanent, Record)),
        (400, error("JSON_PARSER_ERROR", ""), (Permanent, Call), (Permanent, Record)),
        (400, error("MALFORMED_ID", ""), (Permanent, Call), (Permanent, Record)),
        (400, error("INVALID_FIELD", "No such column 'x' on sobject of type Lead"), (Permanent, Call), (Permanent, Record)),
        (400, error("REQUIRED_FIELD_MISSING", "At least 1 record is required"), (Permanent, Call), (Permanent, Record)),
        (400, error("UNABLE_TO_LOCK_ROW", ""), (Retryable, Call), (Retryable, Record)),
        (400, "no".to_owned(), (Permanent, Call), (Permanent, Record)),
        (101, String::new(), (Unknown, Call), (Unknown, Call)),
    ];
    for (status, body, many, alone) in cases {
        let failure = salesforce().written(&of(&["a", "b"]), &reply(status, &body)).unwrap_err();
        assert_eq!((failure.class, failure.scope), many, "{status} {body} in a batch");
        let failure = one(&of(&["a"]), &reply(status, &body));
        assert_eq!((failure.class, failure.scope), alone, "{status} {body} alone");
    }
    assert_eq!(one(&of(&["a"]), &reply(300, json!(["/x"]))).reason, Some(model::Reason::AmbiguousMatch));
}

#[test]
fn the_two_request_limits_pause_for_different_times() {
    let limited =
        |message: &str| one(&of(&["a"]), &reply(403, json!([{ "errorCode": "REQUEST_LIMIT_EXCEEDED", "message": message }]))).retry_after;
    assert_eq!(limited("ConcurrentRequests (Concurrent API Requests) Limit exceeded."), Some(Duration::from_secs(30)));
    assert_eq!(limited("TotalRequests Limit exceeded."), Some(Duration::from_secs(900)));
}

#[test]
fn a_duplicate_rules_finding_is_told_without_other_peoples_records() {
    for spelling in ["duplicateResut", "duplicateResult"] {
        let finding = json!({ "allowSave": true, "errorMessage": "You're creating a duplicate record. Use an existing one.",
            "matchResults": [{ "matchRecords": [{ "record": { "Id": "0038M000000001", "Email": "someone@else.example" } }] }] });
        let failure = one(&of(&["a"]), &reply(400, json!([{ spelling: finding, "errorCode": "DUPLICATES_DETECTED", "message": "" }])));
        assert_eq!((failure.class, failure.code.as_str()), (Class::Permanent, "DUPLICATES_DETECTED"));
        assert_eq!(failure.message, "You're creating a duplicate record. Use an existing one.");
    }
}

#[test]
fn messages_codes_and_fields_of_any_length_are_cut() {
    let long = "ü".repeat(10_000);
    let failure = one(&of(&["a"]), &reply(400, json!([{ "errorCode": long, "message": long, "fields": vec!["F"; 1_000] }])));
    assert!(failure.code.len() <= 64 && failure.message.len() <= 500 && failure.fields.len() <= 50);
}

#[test]
fn an_update_of_a_record_that_is_not_there_says_so() {
    let by_key = batch(Mode::UpdateOnly, vec![record("a", None, json!({}))]);
    let missing = reply(404, json!([{ "errorCode": "NOT_FOUND", "message": "The requested resource does not exist" }]));
    let failure = one(&by_key, &missing);
    assert_eq!((failure.scope, failure.reason), (Scope::Record, Some(model::Reason::RecordNotFound)));
    let by_id = batch(Mode::UpdateOnly, vec![record("a", Some(ID), json!({}))]);
    let deleted = reply(404, json!([{ "errorCode": "ENTITY_IS_DELETED", "message": "entity is deleted" }]));
    assert_eq!(one(&by_id, &deleted).reason, Some(model::Reason::RecordNotFound));
    // A mistyped field and a proxy's page are no missing record.
    let mistyped = reply(
        404,
        json!([{ "errorCode": "NOT_FOUND", "message": "Provided external ID field does not exist or is not accessible: Ex__c" }]),
    );
    for not_the_record in [mistyped, reply(404, "<html>")] {
        let failure = one(&by_key, &not_the_record);
        assert_eq!((failure.class, failure.scope, failure.reason), (Class::Permanent, Scope::Destination, None));
    }
}

#[test]
fn create_only_leaves_a_record_alone_that_is_there() {
    let create = batch(Mode::CreateOnly, vec![record("a", None, json!({}))]);
    let duplicate = |field: &str| json!([{ "errorCode": "DUPLICATE_VALUE", "message": format!("duplicate value found: {field} duplicates value on record with id: {ID}") }]);
    let there = salesforce().written(&create, &reply(400, duplicate("Ext__c"))).unwrap().remove(0);
    assert_eq!(there, Ok(Written { crm_id: Some(ID.to_owned()), created: Some(false) }));
    assert_eq!(one(&create, &reply(400, duplicate("Other__c"))).class, Class::Conflict);
}

#[test]
fn a_look_up_is_one_query_that_nothing_escapes_from() {
    let keys = ["it's", r"back\slash", "100%", "ключ", "a\nb", "') OR Name != ('"];
    let request = salesforce().read(&look_up(&keys)).unwrap();
    let encoded = request.path.strip_prefix("/services/data/v68.0/query?q=").unwrap();
    assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)));
    assert_eq!(
        decode(encoded),
        r"SELECT Id,Ext__c,LastModifiedDate,Email FROM Lead WHERE Ext__c IN ('it\'s','back\\slash','100%','ключ','a\nb','\') OR Name != (\'')"
    );
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&after[..2]).unwrap(), 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_look_up_never_outgrows_the_url() {
    let keys: Vec<String> = (0..200).map(|at| format!("{at:0>3}{}", "é".repeat(100))).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let all = look_up(&keys);
    let fits = salesforce().read_fits(&all);
    assert!(fits > 5 && fits < 200, "{fits}");
    let some = ReadBatch { records: all.records[..fits].to_vec(), ..all.clone() };
    assert!(salesforce().read(&some).unwrap().path.len() <= 11_000);
    let failure = salesforce().read(&all).unwrap_err();
    assert_eq!((failure.class, failure.scope, failure.code.as_str()), (Class::Conflict, Scope::Call, "too_large"));
    assert_eq!(salesforce().read_fits(&look_up(&[])), 0);
    assert_eq!(salesforce().read_fits(&look_up(&["a", "b"])), 2);
}

#[test]
fn rows_are_matched_by_key_and_not_by_order() {
    let row = |id: &str, key: &str| json!({ "attributes": {}, "Id": id, "Ext__c": key, "LastModifiedDate": "2026-11-22T18:04:00.000+0000", "Email": null });
    let answer = |rows: Vec<Value>| reply(200, json!({ "totalSize": rows.len(), "done": true, "records": rows }));
    let asked = look_up(&["b", "A", "c"]);

    let found = looked_up(&asked, &answer(vec![row(ID, "a"), row(ID2, "b")])).unwrap();
    let second = found[1].clone().unwrap().unwrap();
    assert_eq!((found[0].clone().unwrap().unwrap().crm_id.as_str(), second.crm_id.as_str()), (ID2, ID));
    assert_eq!(second.modified_at, Time::parse_rfc3339("2026-11-22T18:04:00Z"));
    assert_eq!(second.fields, BTreeMap::from([("Email".to_owned(), Value::Null), ("id".to_owned(), json!(ID))]));
    assert_eq!(found[2], Ok(None));

    let twice = looked_up(&asked, &answer(vec![row(ID, "a"), row(ID2, "A")])).unwrap();
    assert_eq!(twice[1].clone().unwrap_err().reason, Some(model::Reason::AmbiguousMatch));
    assert_eq!(twice[0], Ok(None));

    let stray = looked_up(&asked, &answer(vec![row(ID, "a"), row(ID2, "z")])).unwrap();
    assert!(stray[1].is_ok());
    assert_eq!(stray[0].clone().unwrap_err().class, Class::Unknown);
}

#[test]
fn an_answer_to_a_look_up_that_is_not_whole_proves_nothing_absent() {
    let asked = look_up(&["a"]);
    for body in [
        json!({ "totalSize": 0, "records": [] }),
        json!({ "totalSize": 3000, "done": false, "records": [], "nextRecordsUrl": "/x" }),
        json!({ "totalSize": 1, "done": true, "records": [] }),
        json!({ "totalSize": 1, "done": true, "records": [{ "Id": ID }] }),
        json!({ "totalSize": 1, "done": true, "records": [{ "Id": "1", "Ext__c": "a" }] }),
        json!([]),
    ] {
        assert!(looked_up(&asked, &reply(200, &body)).is_err(), "{body}");
    }
    for (status, body) in [(200, "<html>"), (200, ""), (204, ""), (500, "")] {
        assert_eq!(looked_up(&asked, &reply(status, body)).unwrap_err().class, Class::Unknown);
    }
    let schema = looked_up(&asked, &reply(400, json!([{ "errorCode": "INVALID_FIELD", "message": "No such column" }]))).unwrap_err();
    assert_eq!((schema.class, schema.scope), (Class::Permanent, Scope::Destination));
}

#[test]
fn values_are_compared_as_salesforce_keeps_them() {
    let equal = |a: Value, b: Value| salesforce().equal("F", &a, &b) && salesforce().equal("F", &b, &a);
    for (a, b) in [
        (json!(null), json!("")),
        (json!("  "), json!(null)),
        (json!(" Oslo"), json!("Oslo ")),
        (json!("A@Example.com"), json!("a@example.COM")),
        (json!(1), json!(1.0)),
        (json!("1.50"), json!(1.5)),
        (json!("007"), json!(7)),
        (json!(true), json!("true")),
        (json!("a\r\nb"), json!("a\nb")),
        (json!("2026-11-22T19:04:00.250+01:00"), json!("2026-11-22T18:04:00.000+0000")),
        (json!(["a", "b"]), json!("a;b")),
    ] {
        assert!(equal(a.clone(), b.clone()), "{a} {b}");
    }
    for (a, b) in [
        (json!("Oslo"), json!("oslo")),
        (json!(0), json!(null)),
        (json!(false), json!(null)),
        (json!("007"), json!("7")),
        (json!(1), json!(2)),
        (json!(true), json!(false)),
        (json!("2026-11-22"), json!("2026-11-23")),
    ] {
        assert!(!equal(a.clone(), b.clone()), "{a} {b}");
    }
}

#[test]
fn the_quota_is_read_where_it_is_told() {
    let told =
        |text: &str| salesforce().usage(&Reply { headers: vec![("sforce-limit-info".to_owned(), text.to_owned())], ..reply(200, "") });
    assert_eq!(told("api-usage=18/15000"), [Usage::day(18, 15_000)]);
    assert_eq!(told("per-app-api-usage=17/250(appName=x), api-usage=25/5000"), [Usage::day(25, 5_000)]);
    assert_eq!(told("api-usage=many"), []);
    assert_eq!(salesforce().usage(&reply(200, "")), []);
}

#[test]
fn the_token_endpoint_is_read_and_its_refusals_tell_why() {
    let granted =
        salesforce().granted(&reply(200, json!({ "access_token": "00D!x", "instance_url": "https://e.my.salesforce.com/" }))).unwrap();
    assert_eq!(granted.instance_url.as_deref(), Some("https://e.my.salesforce.com/"));
    let refused = |status, body: &Value| salesforce().granted(&reply(status, body)).unwrap_err();
    let wrong = refused(400, &json!({ "error": "invalid_grant", "error_description": "user hasn't approved this consumer" }));
    assert_eq!((wrong.class, wrong.scope, wrong.code.as_str()), (Class::Auth, Scope::Destination, "invalid_grant"));
    assert!(wrong.message.contains("user hasn't approved this consumer"));
    for (status, body, class) in [
        (401, json!({ "error": "invalid_client" }), Class::Auth),
        (400, json!({ "error": "invalid_grant", "error_description": "login rate exceeded" }), Class::Throttled),
        (429, json!("slow"), Class::Throttled),
        (403, json!([{ "errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "" }]), Class::Throttled),
        (500, json!(null), Class::Retryable),
        (200, json!({}), Class::Retryable),
        (200, json!({ "access_token": "a\r\nx: y" }), Class::Retryable),
        (200, json!({ "access_token": "x".repeat(5_000) }), Class::Retryable),
    ] {
        assert_eq!(refused(status, &body).class, class, "{status} {body}");
    }
}
