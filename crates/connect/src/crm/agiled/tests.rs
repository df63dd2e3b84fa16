use std::collections::BTreeMap;

use model::Reason;
use serde_json::json;

use super::*;
use crate::{Auth, Kind, Secret, Sought};

fn agiled() -> Agiled {
    let auth = Auth::Bearer { token: Secret::new("x") };
    Agiled::new(&Settings::new(Kind::Agiled, "https://api.example.com", auth)).unwrap()
}

fn batch(mode: Mode, id: Option<&str>, revision: i64, fields: Value) -> WriteBatch {
    let fields: BTreeMap<String, Value> = fields.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let record = WriteRecord { key: "avery@example.com".to_owned(), crm_id: id.map(str::to_owned), revision, fields };
    WriteBatch { object: "contacts".to_owned(), key_field: "email".to_owned(), mode, records: vec![record] }
}

fn reply(status: u16, body: Value) -> Reply {
    Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
}

fn body(request: &Request) -> String {
    if let Body::Json(value) = &request.body { value.to_string() } else { String::new() }
}

/// agiled-docs.pages.dev: create a contact with the API; idempotency.
#[test]
fn the_same_content_has_the_same_bytes_and_key_and_another_has_others() {
    let write = |batch: &WriteBatch| agiled().write(batch).unwrap();
    let create = batch(Mode::Upsert, None, 3, json!({ "last_name": "Stone", "first_name": "Avery" }));
    let request = write(&create);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/public/v1/contacts"));
    assert_eq!(body(&request), r#"{"first_name":"Avery","last_name":"Stone","email":"avery@example.com"}"#);
    let key = |request: &Request| request.header("idempotency-key").unwrap().to_owned();
    let again = write(&batch(Mode::Upsert, None, 3, json!({ "first_name": "Avery", "last_name": "Stone" })));
    assert_eq!((body(&again), key(&again)), (body(&request), key(&request)));
    let first = key(&request);
    assert!(first.starts_with("onceward-contacts-3-") && first.len() <= 255 && !first.contains("avery"), "{first}");
    let mut others = vec![first];
    for other in [
        batch(Mode::Upsert, None, 4, json!({ "first_name": "Avery", "last_name": "Stone" })),
        batch(Mode::Upsert, None, 3, json!({ "first_name": "Ava", "last_name": "Stone" })),
        batch(Mode::Upsert, Some("7"), 3, json!({ "first_name": "Avery", "last_name": "Stone" })),
        batch(Mode::Upsert, Some("8"), 3, json!({ "first_name": "Avery", "last_name": "Stone" })),
        batch(Mode::Delete, Some("7"), 3, json!({})),
    ] {
        others.push(key(&write(&other)));
    }
    let count = others.len();
    others.sort();
    others.dedup();
    assert_eq!(others.len(), count);
}

#[test]
fn each_mode_has_its_call_and_an_unknown_outcome_only_its_own_bytes() {
    let line = |batch: &WriteBatch| agiled().write(batch).map(|request| format!("{} {}", request.method, request.path));
    assert_eq!(line(&batch(Mode::UpdateOnly, Some("7"), 1, json!({}))).unwrap(), "PATCH /public/v1/contacts/7");
    assert_eq!(line(&batch(Mode::Delete, Some("7/8"), 1, json!({}))).unwrap(), "DELETE /public/v1/contacts/7%2F8");
    assert_eq!(line(&batch(Mode::UpdateOnly, None, 1, json!({}))).unwrap_err().reason, Some(Reason::RecordNotFound));
    assert_eq!(agiled().repeat("contacts", Mode::Upsert), Repeat::Same);
    assert_eq!(agiled().repeat("contacts", Mode::UpdateOnly), Repeat::Keyed);
    assert_eq!((Kind::Agiled.calls(), Kind::Agiled.per()), (30, Duration::from_secs(60)));
}

/// agiled-docs.pages.dev: errors and rate limits.
#[test]
fn refusals_are_what_they_are_documented_to_be() {
    let create = batch(Mode::Upsert, None, 1, json!({ "first_name": "Avery" }));
    for (status, body, class, scope, code) in [
        (400, json!({ "error": "Invalid JSON" }), Class::Permanent, Scope::Record, "http_400"),
        (401, json!({ "error": "x" }), Class::Auth, Scope::Destination, "http_401"),
        (403, json!({ "error": "x" }), Class::Auth, Scope::Destination, "http_403"),
        (409, json!({ "error": "x" }), Class::Permanent, Scope::Record, "idempotency_conflict"),
        (
            422,
            json!({ "error": "The given data was invalid.", "errors": { "first_name": ["too long"] } }),
            Class::Permanent,
            Scope::Record,
            "http_422",
        ),
        (429, json!({ "error": "x" }), Class::Throttled, Scope::Destination, "http_429"),
        (500, json!({ "error": "x" }), Class::Unknown, Scope::Destination, "http_500"),
        (502, json!("<html>"), Class::Unknown, Scope::Destination, "http_502"),
    ] {
        let failed = match agiled().written(&create, &reply(status, body)) {
            Ok(mut results) => results.remove(0).unwrap_err(),
            Err(failure) => failure,
        };
        assert_eq!((failed.class, failed.scope, failed.code.as_str()), (class, scope, code), "{status}");
        if status == 422 {
            assert_eq!(failed.fields, ["first_name"]);
        }
    }
    let gone = agiled().written(&batch(Mode::Upsert, Some("7"), 1, json!({})), &reply(404, json!({}))).unwrap().remove(0);
    assert_eq!(gone.unwrap_err().reason, Some(Reason::RecordNotFound));
    assert_eq!(agiled().written(&batch(Mode::Delete, Some("7"), 1, json!({})), &reply(404, json!({}))).unwrap(), [Ok(Written::default())]);
}

#[test]
fn a_success_without_its_record_is_none() {
    let create = batch(Mode::CreateOnly, None, 1, json!({}));
    let made = Ok(Written { crm_id: Some("7".into()), created: Some(true) });
    for body in [json!({ "id": 7 }), json!({ "data": { "id": "7" } })] {
        assert_eq!(agiled().written(&create, &reply(201, body)).unwrap()[0], made);
    }
    for body in [json!({}), json!({ "data": [] }), json!(null)] {
        assert_eq!(agiled().written(&create, &reply(201, body)).unwrap_err().class, Class::Unknown);
    }
}

#[test]
fn a_contact_is_looked_up_by_address_and_a_filter_that_is_not_known_is_not_believed() {
    let by = |id: Option<&str>, key_field: &str| ReadBatch {
        object: "contacts".to_owned(),
        key_field: key_field.to_owned(),
        records: vec![Sought { key: "Avery+1@example.com".to_owned(), crm_id: id.map(str::to_owned) }],
        fields: vec!["first_name".to_owned()],
    };
    let mail = by(None, "email");
    assert_eq!(agiled().read(&mail).unwrap().path, "/public/v1/contacts?email=Avery%2B1%40example.com");
    let row = |id: u64| json!({ "id": id, "email": "avery+1@example.com", "first_name": "Avery", "updated_at": "2026-11-22T10:00:00Z" });
    let found = |rows: Value| agiled().found(&mail, &[reply(200, json!({ "data": rows }))]);
    assert_eq!(found(json!([])).unwrap(), [Ok(None)]);
    assert_eq!(found(json!([row(7)])).unwrap()[0].clone().unwrap().unwrap().crm_id, "7");
    assert_eq!(found(json!([row(7), row(8)])).unwrap()[0].clone().unwrap_err().reason, Some(Reason::AmbiguousMatch));
    let ignored = found(json!([{ "id": 1, "email": "other@example.com" }])).unwrap_err();
    assert_eq!((ignored.class, ignored.scope, ignored.code.as_str()), (Class::Permanent, Scope::Destination, "not_searchable"));
    let known = by(Some("7"), "email");
    assert_eq!(agiled().read(&known).unwrap().path, "/public/v1/contacts/7");
    assert!(agiled().read_on(&known, &[reply(404, json!({}))]).unwrap().unwrap().path.contains("?email="));
    assert_eq!(agiled().found(&known, &[reply(200, json!({ "data": row(7) }))]).unwrap()[0].clone().unwrap().unwrap().crm_id, "7");
}
