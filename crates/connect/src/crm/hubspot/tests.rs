use std::collections::BTreeMap;

use model::Reason;

use super::*;
use crate::Sought;

fn hubspot() -> Hubspot {
    Hubspot::of_version(None).unwrap()
}

fn record(key: &str, crm_id: Option<&str>, fields: Value) -> WriteRecord {
    let fields = fields.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    WriteRecord { key: key.to_owned(), crm_id: crm_id.map(str::to_owned), revision: 1, fields }
}

fn batch(mode: Mode, records: Vec<WriteRecord>) -> WriteBatch {
    WriteBatch { object: "contacts".to_owned(), key_field: "crm_ext_id".to_owned(), mode, records }
}

fn of(keys: &[&str]) -> WriteBatch {
    batch(Mode::Upsert, keys.iter().map(|key| record(key, None, json!({ "lastname": "Stone" }))).collect())
}

fn look_up(keys: &[&str]) -> ReadBatch {
    ReadBatch {
        object: "contacts".to_owned(),
        key_field: "crm_ext_id".to_owned(),
        records: keys.iter().map(|key| Sought { key: (*key).to_owned(), crm_id: None }).collect(),
        fields: vec!["email".to_owned(), "phone".to_owned()],
    }
}

fn looked_up(batch: &ReadBatch, reply: &Reply) -> Outcome<Option<Present>> {
    hubspot().found(batch, std::slice::from_ref(reply))
}

fn reply(status: u16, body: impl ToString) -> Reply {
    Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
}

fn complete(results: Value) -> Value {
    json!({ "status": "COMPLETE", "results": results, "startedAt": "2026-11-22T18:04:00Z", "completedAt": "2026-11-22T18:04:00Z" })
}

fn partly(results: Value, errors: Value) -> Value {
    json!({ "status": "COMPLETE", "results": results, "numErrors": errors.as_array().unwrap().len(), "errors": errors })
}

fn row(id: &str, trace: &str, new: bool) -> Value {
    json!({ "id": id, "properties": { "lastname": "Stone" }, "objectWriteTraceId": trace, "new": new, "archived": false })
}

fn sent(batch: &WriteBatch) -> (String, Value) {
    let request = hubspot().write(batch).unwrap();
    match request.body {
        Body::Json(body) => (request.path, body["inputs"].clone()),
        Body::None | Body::Form(_) => panic!("no JSON"),
    }
}

/// The failure of a batch of one, whether it came as the record's or as the call's.
fn one(batch: &WriteBatch, reply: &Reply) -> Failure {
    match hubspot().written(batch, reply) {
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

fn written(id: &str, created: bool) -> Result<Written, Failure> {
    Ok(Written { crm_id: Some(id.to_owned()), created: Some(created) })
}

#[test]
fn both_families_of_paths_are_spoken() {
    let path = |version| Hubspot::of_version(version).unwrap().write(&of(&["a"])).unwrap().path;
    assert_eq!(path(None), "/crm/v3/objects/contacts/batch/upsert");
    assert_eq!(path(Some("2026-09")), "/crm/objects/2026-09/contacts/batch/upsert");
    for bad in ["v4", "2026", "2026-9", "2026-09/..", "latest", ""] {
        assert!(Hubspot::of_version(Some(bad)).is_err(), "{bad}");
    }
}

#[test]
fn every_input_has_a_trace_id_and_every_value_is_a_text() {
    let fields = json!({ "lastname": "Stone", "phone": null, "topics": ["a", "b"], "employees": 12, "vip": true, "crm_ext_id": "other" });
    let (path, inputs) = sent(&batch(Mode::Upsert, vec![record("demo:42", None, fields), record("demo:43", Some("7"), json!({}))]));
    assert_eq!(path, "/crm/v3/objects/contacts/batch/upsert");
    assert_eq!(
        inputs,
        json!([
            { "objectWriteTraceId": "0", "id": "demo:42", "idProperty": "crm_ext_id", "properties": {
                "lastname": "Stone", "phone": "", "topics": "a;b", "employees": "12", "vip": "true", "crm_ext_id": "demo:42" } },
            { "objectWriteTraceId": "1", "id": "demo:43", "idProperty": "crm_ext_id", "properties": { "crm_ext_id": "demo:43" } },
        ])
    );
}

#[test]
fn a_contact_found_by_its_second_address_keeps_its_first() {
    let by_email =
        WriteBatch { key_field: "email".to_owned(), ..batch(Mode::Upsert, vec![record("a@example.com", None, json!({ "phone": "1" }))]) };
    let expected = json!([{ "objectWriteTraceId": "0", "id": "a@example.com", "idProperty": "email", "properties": { "phone": "1" } }]);
    assert_eq!(sent(&by_email).1, expected);
}

#[test]
fn updates_go_by_id_where_it_is_known_and_creations_carry_their_key() {
    let records = || vec![record("a", Some("171591000198"), json!({ "phone": "1" })), record("b", None, json!({ "phone": "2" }))];
    let (path, inputs) = sent(&batch(Mode::UpdateOnly, records()));
    assert_eq!(path, "/crm/v3/objects/contacts/batch/update");
    assert_eq!((&inputs[0]["id"], inputs[0].get("idProperty")), (&json!("171591000198"), None));
    assert_eq!((&inputs[1]["id"], &inputs[1]["idProperty"]), (&json!("b"), &json!("crm_ext_id")));
    assert_eq!(inputs[1]["properties"], json!({ "phone": "2" }));
    let (path, inputs) = sent(&batch(Mode::CreateOnly, records()));
    assert_eq!(path, "/crm/v3/objects/contacts/batch/create");
    assert_eq!(inputs[1], json!({ "objectWriteTraceId": "1", "properties": { "phone": "2", "crm_ext_id": "b" } }));
}

#[test]
fn what_would_be_refused_is_not_sent() {
    let code = |batch: &WriteBatch| {
        let failure = hubspot().write(batch).unwrap_err();
        assert_eq!(failure.scope, Scope::Call);
        (failure.class, failure.code)
    };
    let hundred: Vec<String> = (0..101).map(|at| at.to_string()).collect();
    let all: Vec<&str> = hundred.iter().map(String::as_str).collect();
    assert_eq!(code(&of(&all)), (Class::Conflict, "too_large".to_owned()));
    assert_eq!(hubspot().write_fits(&of(&all)), 100);
    assert!(hubspot().write(&of(&all[..100])).is_ok());
    // The same id twice fails the whole batch, and addresses are compared without case.
    assert_eq!(code(&of(&["a@x", " A@X"])), (Class::Conflict, "duplicate_key".to_owned()));
    assert_eq!(code(&of(&[" "])), (Class::Permanent, "invalid_key".to_owned()));
    assert_eq!(code(&of(&[])), (Class::Permanent, "empty_batch".to_owned()));
    assert_eq!(code(&WriteBatch { object: "contacts/x".to_owned(), ..of(&["a"]) }), (Class::Permanent, "invalid_name".to_owned()));
    assert_eq!(code(&batch(Mode::Upsert, vec![record("a", Some("../1"), json!({}))])), (Class::Permanent, "invalid_id".to_owned()));
}

#[test]
fn results_are_told_apart_by_trace_id_whatever_their_order() {
    let three = of(&["a", "b", "c"]);
    let answer = complete(json!([row("3", "2", false), row("1", "0", true), row("2", "1", false)]));
    let results = hubspot().written(&three, &reply(200, answer)).unwrap();
    assert_eq!(results, [written("1", true), written("2", false), written("3", false)]);
    // Without one the key tells, and in a batch of one nothing has to.
    let keyed = json!([{ "id": "2", "properties": { "crm_ext_id": "B" }, "new": true }, { "id": "1", "properties": { "crm_ext_id": "a" }, "new": false }]);
    let results = hubspot().written(&of(&["a", "b"]), &reply(200, complete(keyed))).unwrap();
    assert_eq!(results, [written("1", false), written("2", true)]);
    let alone = hubspot().written(&of(&["a"]), &reply(201, complete(json!([{ "id": "1", "new": true }])))).unwrap();
    assert_eq!(alone, [written("1", true)]);
}

#[test]
fn a_partial_failure_is_each_records_own() {
    let message = r#"Property values were not valid: [{"isValid":false,"message":"Email address ada@ is invalid","error":"INVALID_EMAIL","name":"email"}]"#;
    let errors = json!([
        { "status": "error", "category": "VALIDATION_ERROR", "message": message, "context": { "objectWriteTraceId": ["1"] } },
        { "category": "CONFLICT", "message": "Contact already exists. Existing ID: 171591000198",
          "context": { "objectWriteTraceId": ["2"], "existingId": ["171591000198"] } },
    ]);
    let results = hubspot().written(&of(&["a", "b", "c"]), &reply(207, partly(json!([row("1", "0", true)]), errors))).unwrap();
    assert_eq!(results[0], written("1", true));
    let invalid = results[1].clone().unwrap_err();
    assert_eq!((invalid.class, invalid.scope, invalid.code.as_str()), (Class::Permanent, Scope::Record, "INVALID_EMAIL"));
    assert_eq!(invalid.fields, ["email"], "so that the guilty delivery is found");
    assert_eq!(invalid.message, "Property values were not valid: email: INVALID_EMAIL", "the value is not repeated");
    let conflict = results[2].clone().unwrap_err();
    assert_eq!((conflict.class, conflict.code.as_str()), (Class::Conflict, "CONFLICT"));
}

#[test]
fn what_nobody_vouches_for_is_unknown() {
    let loose = json!({ "status": "error", "category": "VALIDATION_ERROR", "message": "something" });
    let results = hubspot().written(&of(&["a", "b", "c"]), &reply(207, partly(json!([row("1", "0", true)]), json!([loose])))).unwrap();
    assert_eq!(results[0], written("1", true));
    for result in &results[1..] {
        let failure = result.clone().unwrap_err();
        assert_eq!((failure.class, failure.scope, failure.code.as_str()), (Class::Unknown, Scope::Record, "no_result"));
    }
    // With one left there is nobody else.
    let results = hubspot().written(&of(&["a", "b"]), &reply(207, partly(json!([row("1", "0", true)]), json!([loose])))).unwrap();
    assert_eq!(results[1].clone().unwrap_err().class, Class::Permanent);
    // A result that is missing without a word.
    let results = hubspot().written(&of(&["a", "b"]), &reply(200, complete(json!([row("1", "1", true)])))).unwrap();
    assert_eq!((results[0].clone().unwrap_err().class, &results[1]), (Class::Unknown, &written("1", true)));
    // Results for inputs that there are not.
    let results = hubspot().written(&of(&["a", "b"]), &reply(200, complete(json!([row("1", "7", true), row("2", "x", true)])))).unwrap();
    assert!(results.iter().all(|result| result.clone().unwrap_err().class == Class::Unknown));
}

#[test]
fn a_success_with_nothing_in_it_is_no_success() {
    let empty = complete(json!([]));
    let many = hubspot().written(&of(&["a", "b"]), &reply(200, &empty)).unwrap_err();
    assert_eq!((many.class, many.scope, many.code.as_str()), (Class::Conflict, Scope::Call, "nothing_written"), "alone the next time");
    let alone = one(&of(&["a"]), &reply(201, &empty));
    assert_eq!((alone.class, alone.scope, alone.reason), (Class::Conflict, Scope::Record, Some(Reason::UnknownOutcome)));
    // What is not even an answer, and what is not done, may have been applied.
    for (status, body) in [
        (200, json!("")),
        (204, json!(null)),
        (200, json!({})),
        (200, json!([])),
        (202, json!({ "status": "PENDING", "results": [] })),
        (200, complete(json!([{ "id": "x" }]))),
        (200, complete(json!([row("1", "0", true), row("2", "0", true)]))),
    ] {
        let failure = hubspot().written(&of(&["a", "b"]), &reply(status, &body)).unwrap_err();
        assert_eq!((failure.class, failure.scope), (Class::Unknown, Scope::Call), "{status} {body}");
    }
    let failure = hubspot().written(&of(&["a"]), &reply(200, "<html>")).unwrap_err();
    assert_eq!(failure.class, Class::Unknown);
}

#[test]
fn a_record_that_is_missing_is_told_by_its_id() {
    let missing =
        |id: &str| json!({ "category": "OBJECT_NOT_FOUND", "message": "Could not get some CONTACT objects", "context": { "ids": [id] } });
    let records = vec![record("a", Some("9"), json!({})), record("b", Some("8"), json!({})), record("c", Some("7"), json!({}))];
    let update = batch(Mode::UpdateOnly, records);
    let both = json!({ "category": "OBJECT_NOT_FOUND", "message": "Could not get some CONTACT objects", "context": { "ids": ["8", "9"] } });
    let results = hubspot().written(&update, &reply(207, partly(json!([row("7", "2", false)]), json!([both])))).unwrap();
    assert_eq!(results[2], written("7", false));
    for result in &results[..2] {
        assert_eq!(result.clone().unwrap_err().reason, Some(Reason::RecordNotFound));
    }
    let by_key = batch(Mode::UpdateOnly, vec![record("a", None, json!({}))]);
    assert_eq!(one(&by_key, &reply(404, missing("a"))).reason, Some(Reason::RecordNotFound));
    assert_eq!(one(&by_key, &reply(207, partly(json!([]), json!([missing("a")])))).reason, Some(Reason::RecordNotFound));
    // An upsert that misses its record meets an archived one: look again.
    let failure = one(&of(&["a"]), &reply(207, partly(json!([]), json!([missing("a")]))));
    assert_eq!((failure.class, failure.reason), (Class::Conflict, None));
    // And a wrong address is no missing record.
    let failure = one(&by_key, &reply(404, "<html>"));
    assert_eq!((failure.class, failure.scope, failure.reason), (Class::Permanent, Scope::Destination, None));
}

#[test]
fn refused_requests_are_classified_as_the_vendor_documents_them() {
    let error =
        |category: &str, message: &str| json!({ "status": "error", "message": message, "correlationId": "c033cdaa", "category": category });
    let rows = [
        // Status, body, class alone, scope alone, class of several, scope of several, code.
        (400, error("VALIDATION_ERROR", "bad"), Class::Permanent, Scope::Record, Class::Permanent, Scope::Call, "VALIDATION_ERROR"),
        (
            400,
            error("VALIDATION_ERROR", "Unable to perform update/upsert by non-unique 0-2 property domain in portal ID 1"),
            Class::Permanent,
            Scope::Destination,
            Class::Permanent,
            Scope::Destination,
            "VALIDATION_ERROR",
        ),
        (
            400,
            json!({ "category": "VALIDATION_ERROR", "message": "Duplicate IDs found in batch input: [a]. IDs must be unique", "context": { "ids": ["a"] } }),
            Class::Conflict,
            Scope::Record,
            Class::Conflict,
            Scope::Call,
            "VALIDATION_ERROR",
        ),
        // JSON that does not parse has no category.
        (
            400,
            json!({ "status": "error", "message": "Invalid input JSON on line 1" }),
            Class::Permanent,
            Scope::Record,
            Class::Permanent,
            Scope::Call,
            "http_400",
        ),
        (400, json!(null), Class::Permanent, Scope::Record, Class::Permanent, Scope::Call, "http_400"),
        (
            401,
            error("EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired 5 minute(s) ago."),
            Class::Auth,
            Scope::Destination,
            Class::Auth,
            Scope::Destination,
            "EXPIRED_AUTHENTICATION",
        ),
        (
            401,
            error("INVALID_AUTHENTICATION", "Authentication credentials not found."),
            Class::Auth,
            Scope::Destination,
            Class::Auth,
            Scope::Destination,
            "INVALID_AUTHENTICATION",
        ),
        (401, json!(""), Class::Auth, Scope::Destination, Class::Auth, Scope::Destination, "http_401"),
        (
            403,
            error("MISSING_SCOPES", "One or more of the following scopes are required."),
            Class::Auth,
            Scope::Destination,
            Class::Auth,
            Scope::Destination,
            "MISSING_SCOPES",
        ),
        (
            409,
            error("CONFLICT", "Contact already exists. Existing ID: 42"),
            Class::Conflict,
            Scope::Record,
            Class::Conflict,
            Scope::Call,
            "CONFLICT",
        ),
        (414, json!(null), Class::Permanent, Scope::Record, Class::Conflict, Scope::Call, "http_414"),
        (423, error("LOCKED", "locked"), Class::Retryable, Scope::Call, Class::Retryable, Scope::Call, "LOCKED"),
        (477, json!(null), Class::Throttled, Scope::Destination, Class::Throttled, Scope::Destination, "http_477"),
        (
            500,
            json!({ "status": "error", "message": "internal error" }),
            Class::Unknown,
            Scope::Destination,
            Class::Unknown,
            Scope::Destination,
            "http_500",
        ),
        (502, json!("<html>"), Class::Unknown, Scope::Destination, Class::Unknown, Scope::Destination, "http_502"),
        (504, json!(null), Class::Unknown, Scope::Destination, Class::Unknown, Scope::Destination, "http_504"),
        (524, json!(null), Class::Unknown, Scope::Destination, Class::Unknown, Scope::Destination, "http_524"),
        (521, json!(null), Class::Retryable, Scope::Destination, Class::Retryable, Scope::Destination, "http_521"),
        (525, json!(null), Class::Retryable, Scope::Destination, Class::Retryable, Scope::Destination, "http_525"),
    ];
    for (status, body, alone, alone_scope, many, many_scope, code) in rows {
        let failure = one(&of(&["a"]), &reply(status, &body));
        assert_eq!((failure.class, failure.scope, failure.code.as_str()), (alone, alone_scope, code), "{status} {body}");
        let failure = hubspot().written(&of(&["a", "b"]), &reply(status, &body)).unwrap_err();
        assert_eq!((failure.class, failure.scope), (many, many_scope), "{status} {body} of several");
    }
}

#[test]
fn each_limit_asks_for_its_own_pause() {
    let limit = |policy: Option<&str>, message: &str| {
        let mut body = json!({ "status": "error", "message": message, "errorType": "RATE_LIMIT", "correlationId": "c", "requestId": "r" });
        if let Some(policy) = policy {
            body["policyName"] = json!(policy);
        }
        body
    };
    let at = |body: &Value, date: Option<&str>| {
        let headers = date.map(|date| ("date".to_owned(), date.to_owned())).into_iter().collect();
        let failure = hubspot().written(&of(&["a"]), &Reply { headers, ..reply(429, body) }).unwrap_err();
        assert_eq!((failure.class, failure.scope), (Class::Throttled, Scope::Destination));
        (failure.retry_after.unwrap().as_secs(), failure.code)
    };
    let pause = |policy, message: &str| at(&limit(policy, message), None);
    assert_eq!(
        pause(Some("TEN_SECONDLY_ROLLING"), "You have reached your ten_secondly_rolling limit."),
        (10, "TEN_SECONDLY_ROLLING".to_owned())
    );
    assert_eq!(pause(None, "You have reached your ten_secondly_rolling limit."), (10, "RATE_LIMIT".to_owned()));
    assert_eq!(pause(Some("SECONDLY"), "You have reached your secondly limit.").0, 1);
    assert_eq!(pause(None, "You have reached your secondly limit.").0, 1);
    assert_eq!(pause(None, "slow down").0, 10);
    // Midnight in any zone is a quarter of an hour in ours.
    let daily = limit(Some("DAILY"), "You have reached your daily limit.");
    assert_eq!(at(&daily, Some("Sun, 22 Nov 2026 18:10:00 GMT")), (300, "DAILY".to_owned()));
    assert_eq!(at(&daily, Some("Sun, 22 Nov 2026 18:15:00 GMT")).0, 900);
    assert_eq!(at(&daily, None).0, 900);
    assert_eq!(at(&json!("<html>"), None), (10, "http_429".to_owned()));
    let waits = |status| one(&of(&["a"]), &reply(status, "")).retry_after.unwrap().as_secs();
    assert_eq!((waits(423), waits(500), waits(477)), (2, 3, 900));
    assert_eq!(hubspot().limits().retry_after_max.as_secs(), 86_400, "a migration takes up to a day, and says so");
}

#[test]
fn errors_of_one_record_are_classified_by_category_and_detail() {
    let class = |error: Value| {
        let mut error = error;
        error["context"] = json!({ "objectWriteTraceId": ["0"] });
        let failure = one(&of(&["a"]), &reply(207, partly(json!([]), json!([error]))));
        (failure.class, failure.code)
    };
    let detail = |code: &str| {
        json!({ "category": "VALIDATION_ERROR", "message": "Property values were not valid",
            "errors": [{ "message": "no", "code": code, "in": "field", "context": { "propertyName": ["discount"] } }] })
    };
    for code in ["PROPERTY_DOESNT_EXIST", "INVALID_INTEGER", "INVALID_OPTION", "INVALID_EMAIL"] {
        assert_eq!(class(detail(code)), (Class::Permanent, code.to_owned()));
    }
    // Taken by another record, perhaps only for the moment.
    assert_eq!(class(detail("CONFLICTING_UNIQUE_VALUE")).0, Class::Conflict);
    for (category, expected) in [
        ("CONFLICT", Class::Conflict),
        ("OBJECT_ALREADY_EXISTS", Class::Conflict),
        ("LOCKED", Class::Retryable),
        ("RATE_LIMITS", Class::Throttled),
        ("INTERNAL_ERROR", Class::Unknown),
        ("SOMETHING_NEW", Class::Permanent),
    ] {
        assert_eq!(class(json!({ "category": category, "message": "x" })), (expected, category.to_owned()));
    }
    // What can never succeed outweighs what could.
    let both = json!([
        { "category": "LOCKED", "message": "x", "context": { "objectWriteTraceId": ["0"] } },
        { "category": "VALIDATION_ERROR", "message": "y", "context": { "objectWriteTraceId": "0" } },
    ]);
    assert_eq!(one(&of(&["a"]), &reply(207, partly(json!([]), both))).class, Class::Permanent);
}

#[test]
fn create_only_leaves_a_record_alone_that_is_there() {
    let conflict = json!({ "category": "CONFLICT", "message": "Contact already exists. Existing ID: 42" });
    let by = |key_field: &str| WriteBatch {
        key_field: key_field.to_owned(),
        ..batch(Mode::CreateOnly, vec![record("a@x.org", None, json!({}))])
    };
    assert_eq!(hubspot().written(&by("email"), &reply(409, &conflict)).unwrap(), [written("42", false)]);
    // By another key the address belongs to somebody else.
    assert_eq!(one(&by("crm_ext_id"), &reply(409, &conflict)).class, Class::Conflict);
    let taken = json!({ "category": "VALIDATION_ERROR", "message": "Property values were not valid: [{\"isValid\":false,\"error\":\"CONFLICTING_UNIQUE_VALUE\",\"name\":\"crm_ext_id\"}]",
        "context": { "objectWriteTraceId": ["0"] } });
    let there = hubspot().written(&by("crm_ext_id"), &reply(207, partly(json!([]), json!([taken.clone()])))).unwrap();
    assert_eq!(there, [Ok(Written { crm_id: None, created: Some(false) })]);
    assert_eq!(hubspot().written(&by("crm_ext_id"), &reply(400, &taken)).unwrap(), there);
    assert_eq!(one(&by("other_id"), &reply(400, &taken)).class, Class::Conflict);
}

#[test]
fn a_look_up_asks_by_key_and_never_searches() {
    let request = hubspot().read(&look_up(&["a", "b"])).unwrap();
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/crm/v3/objects/contacts/batch/read"));
    let Body::Json(body) = request.body else { panic!() };
    let expected = json!({ "idProperty": "crm_ext_id", "properties": ["crm_ext_id", "email", "phone"], "propertiesWithHistory": [],
        "inputs": [{ "id": "a" }, { "id": "b" }] });
    assert_eq!(body, expected);
    let hundred: Vec<String> = (0..101).map(|at| at.to_string()).collect();
    let all: Vec<&str> = hundred.iter().map(String::as_str).collect();
    assert_eq!(hubspot().read_fits(&look_up(&all)), 100);
    assert_eq!(hubspot().read(&look_up(&all)).unwrap_err().code, "too_large");
}

#[test]
fn rows_are_matched_by_key_and_not_by_order() {
    let row = |id: &str, key: &str| json!({ "id": id, "properties": { "crm_ext_id": key, "email": "a@example.com", "phone": null }, "updatedAt": "2026-11-22T18:04:00.250Z", "archived": false });
    let asked = look_up(&["b", "A", "c"]);
    let missing = json!([{ "category": "OBJECT_NOT_FOUND", "message": "Could not get some CONTACT objects", "context": { "ids": ["c"] } }]);
    let found = looked_up(&asked, &reply(207, partly(json!([row("1", "a"), row("2", "b")]), missing.clone()))).unwrap();
    let second = found[1].clone().unwrap().unwrap();
    assert_eq!((found[0].clone().unwrap().unwrap().crm_id.as_str(), second.crm_id.as_str()), ("2", "1"));
    assert_eq!(second.modified_at, Time::parse_rfc3339("2026-11-22T18:04:00.250Z"));
    assert_eq!(second.fields, BTreeMap::from([("email".to_owned(), json!("a@example.com")), ("phone".to_owned(), Value::Null)]));
    assert_eq!(found[2], Ok(None));
    // Nobody is there: still an answer.
    assert_eq!(looked_up(&look_up(&["c"]), &reply(207, partly(json!([]), missing.clone()))).unwrap(), [Ok(None)]);
    // An archived row is none.
    let mut archived = row("1", "a");
    archived["archived"] = json!(true);
    assert_eq!(looked_up(&look_up(&["a"]), &reply(200, complete(json!([archived])))).unwrap(), [Ok(None)]);
    let twice = looked_up(&look_up(&["a"]), &reply(200, complete(json!([row("1", "a"), row("2", "A")])))).unwrap();
    assert_eq!(twice[0].clone().unwrap_err().reason, Some(Reason::AmbiguousMatch));
    // A row that was not asked for leaves open whether the missing one is absent.
    let stray = looked_up(&asked, &reply(207, partly(json!([row("1", "a"), row("2", "z")]), missing))).unwrap();
    assert_eq!((stray[0].clone().unwrap_err().class, &stray[2]), (Class::Unknown, &Ok(None)));
}

#[test]
fn a_contact_is_found_by_its_further_addresses() {
    let by_email = ReadBatch { key_field: "email".to_owned(), ..look_up(&["old@example.com"]) };
    let Body::Json(body) = hubspot().read(&by_email).unwrap().body else { panic!() };
    assert_eq!(body["properties"], json!(["email", "hs_additional_emails", "phone"]));
    let row =
        json!({ "id": "1", "properties": { "email": "new@example.com", "hs_additional_emails": "older@example.com;old@example.com" } });
    let found = looked_up(&by_email, &reply(200, complete(json!([row])))).unwrap();
    assert_eq!(found[0].clone().unwrap().unwrap().fields["email"], "new@example.com");
}

#[test]
fn an_answer_to_a_look_up_that_is_not_whole_proves_nothing_absent() {
    let asked = look_up(&["a", "b"]);
    for (status, body) in [
        (200, json!({})),
        (200, json!([])),
        (200, json!("<html>")),
        (204, json!(null)),
        (500, json!(null)),
        (207, json!({ "status": "PENDING", "results": [] })),
        (200, complete(json!([{ "id": "x" }]))),
    ] {
        assert_eq!(looked_up(&asked, &reply(status, &body)).unwrap_err().class, Class::Unknown, "{status} {body}");
    }
    for trouble in [json!([{ "category": "INTERNAL_ERROR", "message": "x" }]), json!([{}])] {
        let found = looked_up(&asked, &reply(207, partly(json!([]), trouble))).unwrap();
        assert!(found.iter().all(|one| one.clone().unwrap_err().class == Class::Unknown));
    }
    let spoiled = looked_up(&asked, &reply(400, json!({ "category": "VALIDATION_ERROR", "message": "bad id" }))).unwrap_err();
    assert_eq!((spoiled.class, spoiled.scope), (Class::Permanent, Scope::Call), "found by halving");
}

#[test]
fn values_are_compared_as_hubspot_keeps_them() {
    let equal = |a: Value, b: Value| hubspot().equal("p", &a, &b) && hubspot().equal("p", &b, &a);
    for (a, b) in [
        (json!(null), json!("")),
        (json!("  "), json!(null)),
        (json!(" Oslo"), json!("Oslo ")),
        (json!("A@Example.com"), json!("a@example.COM")),
        (json!(1), json!("1")),
        (json!(1.5), json!("1.50")),
        (json!(true), json!("true")),
        (json!("a\r\nb"), json!("a\nb")),
        (json!("2026-11-22T19:04:00.250+01:00"), json!("2026-11-22T18:04:00.250Z")),
        (json!("2026-11-22"), json!("1795305600000")),
        (json!("2026-11-22T00:00:00Z"), json!("2026-11-22")),
        (json!(["a", "b"]), json!("b;a")),
    ] {
        assert!(equal(a.clone(), b.clone()), "{a} {b}");
    }
    for (a, b) in [
        (json!("Oslo"), json!("oslo")),
        (json!(0), json!(null)),
        (json!("007"), json!("7")),
        (json!(1), json!("2")),
        (json!(true), json!("false")),
        (json!("2026-11-22"), json!("2026-11-23")),
        (json!("2026-11-22T18:04:00.250Z"), json!("2026-11-22T18:04:00.251Z")),
        (json!(["a", "b"]), json!("a")),
    ] {
        assert!(!equal(a.clone(), b.clone()), "{a} {b}");
    }
}

#[test]
fn the_quota_is_read_where_it_is_told() {
    let told = |headers: &[(&str, &str)]| {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        hubspot().usage(&Reply { headers, ..reply(200, "") })
    };
    let (limit, left) = (("x-hubspot-ratelimit-daily", "250000"), ("x-hubspot-ratelimit-daily-remaining", "249990"));
    assert_eq!(told(&[limit, left]), [Usage::day(10, 250_000)]);
    assert_eq!(told(&[limit]), []);
    let (max, remaining) = (("x-hubspot-ratelimit-max", "100"), ("x-hubspot-ratelimit-remaining", "97"));
    let interval = ("x-hubspot-ratelimit-interval-milliseconds", "10000");
    assert_eq!(told(&[max, remaining, interval]), [Usage::burst(3, 100, Duration::from_secs(10))]);
    assert_eq!(told(&[limit, left, max, remaining, interval]).len(), 2);
    assert_eq!(told(&[max, remaining]), [], "of what time it is, is not told");
}

#[test]
fn a_probe_needs_the_token_and_no_scope() {
    assert_eq!(hubspot().probe().path, "/account-info/v3/details");
    assert_eq!(hubspot().probed(&reply(200, json!({ "portalId": 1 }))), Ok(()));
    assert_eq!(hubspot().probed(&reply(403, json!({ "category": "MISSING_SCOPES", "message": "x" }))), Ok(()));
    for (status, body, class) in [
        (401, json!(null), Class::Auth),
        (403, json!(null), Class::Auth),
        (200, json!("<html>"), Class::Unknown),
        (503, json!(null), Class::Unknown),
    ] {
        assert_eq!(hubspot().probed(&reply(status, &body)).unwrap_err().class, class, "{status}");
    }
}

#[test]
fn messages_codes_and_fields_of_any_length_are_cut() {
    let long = "ü".repeat(10_000);
    let details: Vec<Value> = (0..1_000).map(|_| json!({ "code": long, "context": { "propertyName": [long] } })).collect();
    let failure = one(&of(&["a"]), &reply(400, json!({ "category": long, "message": long, "errors": details })));
    assert!(failure.code.len() <= 64 && failure.message.len() <= 500 && failure.fields.len() <= 50, "{}", failure.code.len());
}
