use model::Reason;
use model::record::Link;

use super::*;
use crate::crm::Kind;
use crate::{Auth, Secret, Sought, WriteRecord};

fn attio() -> Attio {
    Attio::new(&Settings::new(Kind::Attio, "https://api.attio.com", Auth::Bearer { token: Secret::new("x") })).unwrap()
}

fn record(key: &str, id: Option<&str>, fields: Value) -> WriteRecord {
    let fields = fields.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    WriteRecord { key: key.to_owned(), crm_id: id.map(str::to_owned), revision: 1, fields }
}

fn batch(mode: Mode, record: WriteRecord) -> WriteBatch {
    WriteBatch { object: "people".to_owned(), key_field: "email_addresses".to_owned(), mode, records: vec![record] }
}

fn reply(status: u16, body: &Value) -> Reply {
    Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
}

fn body(request: &Request) -> Value {
    match &request.body {
        Body::Json(body) => body.clone(),
        Body::None | Body::Form(_) => Value::Null,
    }
}

#[test]
fn each_mode_is_spelled_as_the_vendor_documents_it() {
    let link = |id: Option<&str>| {
        Link { object: "companies".into(), key_field: "domains".into(), key: "example.com".into(), crm_id: id.map(str::to_owned) }
            .to_value()
    };
    let fields = json!({ "name": "Stone, Ada", "job_title": null, "interests": ["a", "b"], "company": link(None) });
    let upsert = attio().write(&batch(Mode::Upsert, record("a@example.com", None, fields.clone()))).unwrap();
    assert_eq!((upsert.method, upsert.path.as_str()), (Method::PUT, "/v2/objects/people/records?matching_attribute=email_addresses"));
    let values =
        body(&attio().write(&batch(Mode::Upsert, record("a@example.com", None, fields.clone()))).unwrap())["data"]["values"].clone();
    let matched = json!([{ "target_object": "companies", "domains": [{ "domain": "example.com" }] }]);
    let expected = json!({ "company": matched, "interests": ["a", "b"], "job_title": [], "name": ["Stone, Ada"], "email_addresses": ["a@example.com"] });
    assert_eq!(values, expected);
    let by_id = batch(Mode::UpdateOnly, record("a@example.com", Some("b0-1"), json!({ "company": link(Some("c0-1")) })));
    let update = attio().write(&by_id).unwrap();
    assert_eq!((update.method.clone(), update.path.as_str()), (Method::PUT, "/v2/objects/people/records/b0-1"));
    let linked = json!({ "company": [{ "target_object": "companies", "target_record_id": "c0-1" }] });
    assert_eq!(body(&update)["data"]["values"], linked, "the key is never added to by an id");
    let create = attio().write(&batch(Mode::CreateOnly, record("a@example.com", None, json!({})))).unwrap();
    assert_eq!((create.method, create.path.as_str()), (Method::POST, "/v2/objects/people/records"));
    let delete = attio().write(&batch(Mode::Delete, record("a@example.com", Some("b0-1"), json!({})))).unwrap();
    assert_eq!((delete.method, delete.path.as_str()), (Method::DELETE, "/v2/objects/people/records/b0-1"));
    assert_eq!(attio().write(&batch(Mode::UpdateOnly, record("a", None, json!({})))).unwrap_err().code, "invalid_id");
    for (key, field) in [("", "name"), (" ", "name"), ("a", "na me"), ("a", "a/b")] {
        assert!(attio().write(&batch(Mode::Upsert, record(key, None, json!({ field: "x" })))).is_err(), "{key} {field}");
    }
}

/// Bodies of docs.attio.com/rest-api/guides/rate-limiting, of the vendor's OpenAPI description, and of answers seen by users of the live API.
#[test]
fn each_documented_error_is_in_its_class() {
    let told = |status: u16, kind: &str, code: &str, message: &str| {
        reply(status, &json!({ "status_code": status, "type": kind, "code": code, "message": message }))
    };
    let limited = told(429, "rate_limit_error", "rate_limit_exceeded", "Rate limit exceeded, please try again later");
    let taken = "The value \"{\"email_address\":\"a@example.com\"}\" provided for attribute with ID \"b8bf\" conflicts with one already in the system.";
    let invalid = "invalid_request_error";
    for (reply, class, scope, code, reason) in [
        (limited, Class::Throttled, Scope::Destination, "rate_limit_exceeded", None),
        (told(401, invalid, "unauthorized", "expired"), Class::Auth, Scope::Destination, "unauthorized", None),
        (told(403, "auth_error", "forbidden", "scope"), Class::Auth, Scope::Destination, "forbidden", None),
        (told(402, "billing_error", "quota_exceeded", "full"), Class::Throttled, Scope::Destination, "quota_exceeded", None),
        (told(404, invalid, "not_found", "no such object"), Class::Permanent, Scope::Destination, "not_found", None),
        (told(400, invalid, "validation_type", "wrong \"job_title\""), Class::Permanent, Scope::Record, "validation_type", None),
        (told(400, invalid, "value_not_found", "no option"), Class::Permanent, Scope::Record, "value_not_found", None),
        (told(400, invalid, "missing_value", "required"), Class::Permanent, Scope::Record, "missing_value", None),
        (told(400, invalid, "immutable_value", "fixed"), Class::Permanent, Scope::Record, "immutable_value", None),
        (
            told(400, invalid, "matching_attribute_definition_not_unique", "The matching attribute specified is not a unique attribute."),
            Class::Permanent,
            Scope::Destination,
            "matching_attribute_definition_not_unique",
            None,
        ),
        (
            told(400, invalid, "multiple_match_results", "x"),
            Class::Conflict,
            Scope::Record,
            "ambiguous_match",
            Some(Reason::AmbiguousMatch),
        ),
        (
            told(409, invalid, "multiple_match_results", "x"),
            Class::Conflict,
            Scope::Record,
            "ambiguous_match",
            Some(Reason::AmbiguousMatch),
        ),
        (told(400, invalid, "uniqueness_conflict", taken), Class::Conflict, Scope::Record, "uniqueness_conflict", None),
        (told(409, invalid, "uniqueness_conflict", taken), Class::Conflict, Scope::Record, "uniqueness_conflict", None),
        (told(500, "api_error", "internal_error", "oops"), Class::Unknown, Scope::Destination, "internal_error", None),
        (Reply { status: 502, headers: Vec::new(), body: b"<html>".to_vec() }, Class::Unknown, Scope::Destination, "http_502", None),
        (Reply { status: 200, headers: Vec::new(), body: b"<html>".to_vec() }, Class::Unknown, Scope::Call, "garbage", None),
        (reply(200, &json!({})), Class::Unknown, Scope::Call, "garbage", None),
    ] {
        let written = attio().written(&batch(Mode::Upsert, record("a@example.com", None, json!({ "job_title": "CTO" }))), &reply);
        let failure = written.map_or_else(|failure| failure, |mut results| results.remove(0).unwrap_err());
        let found = (failure.class, failure.scope, failure.code.as_str(), failure.reason);
        assert_eq!(found, (class, scope, code, reason), "{}", String::from_utf8_lossy(&reply.body));
        assert!(!failure.message.contains("a@example.com"), "{}", failure.message);
        assert_eq!(failure.fields.is_empty(), code != "validation_type", "{failure:?}");
    }
}

#[test]
fn what_is_there_or_gone_is_what_was_wanted() {
    let taken = json!({ "code": "uniqueness_conflict", "message": "The value \"{\"email_address\":\"A@example.com\"}\" conflicts" });
    let there = attio().written(&batch(Mode::CreateOnly, record("a@example.com", None, json!({}))), &reply(400, &taken));
    assert_eq!(there, Ok(vec![Ok(Written { crm_id: None, created: Some(false) })]));
    let other = json!({ "code": "uniqueness_conflict", "message": "The value \"{\"value\":\"7\"}\" conflicts" });
    let other = attio().written(&batch(Mode::CreateOnly, record("a@example.com", None, json!({}))), &reply(400, &other)).unwrap();
    assert_eq!(other[0].as_ref().unwrap_err().class, Class::Conflict, "another value than the key's");
    let gone = reply(404, &json!({ "code": "not_found" }));
    let deleted = attio().written(&batch(Mode::Delete, record("a", Some("b0"), json!({}))), &gone);
    assert_eq!(deleted, Ok(vec![Ok(Written::default())]));
    let update = attio().written(&batch(Mode::UpdateOnly, record("a", Some("b0"), json!({}))), &gone).unwrap();
    assert_eq!(update[0].as_ref().unwrap_err().reason, Some(Reason::RecordNotFound));
}

/// The shapes of docs.attio.com/rest-api/endpoint-reference/standard-objects/people/list-person-records.
#[test]
fn a_record_is_read_as_plain_values() {
    let meta = |kind: &str, more: Value| {
        let mut entry = json!({ "active_from": "2023-01-01T15:00:00.000000000Z", "active_until": null,
            "created_by_actor": { "type": "system", "id": null }, "attribute_type": kind });
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    let values = json!({
        "name": [meta("personal-name", json!({ "first_name": "Ada", "last_name": "Stone", "full_name": "Ada Stone" }))],
        "email_addresses": [
            meta("email-address", json!({ "original_email_address": "A@x.com", "email_address": "a@x.com", "email_domain": "x.com" })),
            meta("email-address", json!({ "email_address": "b@x.com" }))
        ],
        "phone_numbers": [meta("phone-number", json!({ "original_phone_number": "+1 555 0100", "country_code": "US", "phone_number": "+15550100" }))],
        "job_title": [],
        "twitter": [meta("text", json!({ "value": "https://x.com/ada" }))],
        "stage": [meta("status", json!({ "status": { "title": "Lead", "is_archived": false } }))],
        "company": [meta("record-reference", json!({ "target_object": "companies", "target_record_id": "c0-1" }))],
    });
    let row = json!({ "id": { "workspace_id": "w", "object_id": "o", "record_id": "b0-1" }, "created_at": "2022-11-21T13:22:49.061281000Z", "values": values });
    let fields: Vec<String> = values.as_object().unwrap().keys().cloned().collect();
    let sought = Sought { key: "a@x.com".to_owned(), crm_id: None };
    let read = ReadBatch { object: "people".into(), key_field: "email_addresses".into(), records: vec![sought], fields };
    let request = attio().read(&read).unwrap();
    assert_eq!((request.method.clone(), request.path.as_str()), (Method::POST, "/v2/objects/people/records/query"));
    assert_eq!(body(&request), json!({ "filter": { "email_addresses": "a@x.com" }, "limit": 3 }));
    let found = attio().found(&read, &[reply(200, &json!({ "data": [row] }))]).unwrap().remove(0).unwrap().unwrap();
    let expected = json!({ "company": "c0-1", "email_addresses": ["a@x.com", "b@x.com"], "job_title": null, "name": "Stone, Ada",
        "phone_numbers": "+15550100", "stage": "Lead", "twitter": "https://x.com/ada" });
    assert_eq!((json!(found.fields), found.crm_id.as_str()), (expected, "b0-1"));
    assert_eq!(found.modified_at, model::Time::parse_rfc3339("2023-01-01T15:00:00Z"));
    assert_eq!(attio().found(&read, &[reply(200, &json!({ "data": [] }))]), Ok(vec![Ok(None)]));
    let twice = attio().found(&read, &[reply(200, &json!({ "data": [row, row] }))]).unwrap().remove(0).unwrap_err();
    assert_eq!(twice.reason, Some(Reason::AmbiguousMatch));
    let by_id = ReadBatch { records: vec![Sought { key: "a@x.com".into(), crm_id: Some("b0-1".into()) }], ..read };
    assert_eq!(attio().read(&by_id).unwrap().path, "/v2/objects/people/records/b0-1");
    assert_eq!(attio().found(&by_id, &[reply(404, &json!({ "code": "not_found" }))]), Ok(vec![Ok(None)]));
}
