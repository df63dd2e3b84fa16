use std::collections::BTreeMap;

use model::Reason;
use model::record::Link;

use super::*;
use crate::{Auth, Kind, Secret, Sought};

const KEY: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b";

fn pipedrive() -> Pipedrive {
    let auth = Auth::ApiKey { token: Secret::new("x") };
    Pipedrive::new(&Settings::new(Kind::Pipedrive, "https://example.pipedrive.com", auth)).unwrap()
}

fn record(key: &str, id: Option<&str>, fields: Value) -> WriteRecord {
    let fields: BTreeMap<String, Value> = fields.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    WriteRecord { key: key.to_owned(), crm_id: id.map(str::to_owned), revision: 1, fields }
}

fn batch(mode: Mode, record: WriteRecord) -> WriteBatch {
    WriteBatch { object: "persons".to_owned(), key_field: KEY.to_owned(), mode, records: vec![record] }
}

fn reply(status: u16, body: Value) -> Reply {
    Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
}

fn ok(data: Value) -> Reply {
    reply(200, json!({ "success": true, "data": data }))
}

fn spelled(request: &Request) -> (String, Value) {
    let body = if let Body::Json(value) = &request.body { value.clone() } else { Value::Null };
    (format!("{} {}", request.method, request.path), body)
}

fn sought(records: &[(&str, Option<&str>)]) -> ReadBatch {
    ReadBatch {
        object: "persons".to_owned(),
        key_field: KEY.to_owned(),
        records: records.iter().map(|(key, id)| Sought { key: (*key).to_owned(), crm_id: id.map(str::to_owned) }).collect(),
        fields: vec!["name".to_owned(), "emails".to_owned()],
    }
}

fn person(id: u64, key: &str) -> Value {
    json!({ "id": id, "name": "Ada", "emails": [{ "value": "ada@example.com", "primary": true, "label": "work" }], "is_deleted": false,
            "update_time": "2026-11-22T10:00:00Z", "custom_fields": { KEY: key } })
}

/// Bodies as the official SDK, v2, has them (AddPersonRequest, AddDealRequest).
#[test]
fn a_record_is_created_with_its_key_and_changed_by_its_id_without_it() {
    let fields = json!({ "name": "Ada", "emails": "ada@example.com", "phones": null, "org_id": "12" });
    let (line, body) = spelled(&pipedrive().write(&batch(Mode::Upsert, record("a", None, fields.clone()))).unwrap());
    assert_eq!(line, "POST /api/v2/persons");
    let expected = json!({
        "name": "Ada", "emails": [{ "value": "ada@example.com", "primary": true, "label": "work" }], "phones": [], "org_id": 12,
        "custom_fields": { KEY: "a" },
    });
    assert_eq!(body, expected);
    let (line, body) = spelled(&pipedrive().write(&batch(Mode::Upsert, record("a", Some("7"), fields))).unwrap());
    assert_eq!((line.as_str(), body.get("custom_fields")), ("PATCH /api/v2/persons/7", None));
    let delete = pipedrive().write(&batch(Mode::Delete, record("a", Some("7"), json!({})))).unwrap();
    assert_eq!(spelled(&delete).0, "DELETE /api/v2/persons/7");
    let option = "0123456789abcdef0123456789abcdef01234567";
    let cleared = pipedrive().write(&batch(Mode::Upsert, record("a", Some("7"), json!({ option: [] })))).unwrap();
    assert_eq!(spelled(&cleared).1["custom_fields"], json!({ option: null }), "an empty list is refused there");
}

#[test]
fn a_parent_is_its_number_and_waits_until_that_is_known() {
    let link = |id: Option<&str>| {
        let link = Link { object: "organizations".into(), key_field: KEY.into(), key: "acme".into(), crm_id: id.map(str::to_owned) };
        json!({ "org_id": link.to_value() })
    };
    let request = pipedrive().write(&batch(Mode::Upsert, record("a", None, link(Some("12"))))).unwrap();
    assert_eq!(spelled(&request).1["org_id"], 12);
    let waits = pipedrive().write(&batch(Mode::Upsert, record("a", None, link(None)))).unwrap_err();
    assert_eq!((waits.class, waits.scope, waits.code.as_str()), (Class::Conflict, Scope::Record, "parent_unknown"));
    assert!(pipedrive().equal("org_id", &link(Some("12"))["org_id"], &json!(12)));
}

#[test]
fn what_is_only_created_or_only_changed_is_never_the_other() {
    let missing = pipedrive().write(&batch(Mode::UpdateOnly, record("a", None, json!({})))).unwrap_err();
    assert_eq!(missing.reason, Some(Reason::RecordNotFound));
    let there = pipedrive().write(&batch(Mode::CreateOnly, record("a", Some("7"), json!({})))).unwrap_err();
    assert_eq!(there.code, "already_there");
    assert_eq!(pipedrive().repeat("persons", Mode::Upsert), Repeat::Look);
    assert_eq!(pipedrive().repeat("persons", Mode::UpdateOnly), Repeat::Keyed);
    for (object, field, code) in
        [("leads", "title", "unknown_object"), ("persons", "a b", "invalid_name"), ("persons", "9x", "invalid_name")]
    {
        let odd = WriteBatch { object: object.to_owned(), ..batch(Mode::Upsert, record("a", None, json!({ field: 1 }))) };
        assert_eq!(pipedrive().write(&odd).unwrap_err().code, code);
    }
}

#[test]
fn a_success_without_its_record_is_none() {
    let create = batch(Mode::Upsert, record("a", None, json!({ "name": "Ada" })));
    let wrote = |reply: Reply| pipedrive().written(&create, &reply);
    assert_eq!(
        wrote(reply(201, json!({ "success": true, "data": person(7, "a") }))).unwrap()[0],
        Ok(Written { crm_id: Some("7".into()), created: Some(true) })
    );
    for garbage in [ok(json!({})), ok(json!(null)), reply(200, json!("x")), Reply { status: 201, headers: vec![], body: vec![] }] {
        assert_eq!(wrote(garbage).unwrap_err().class, Class::Unknown);
    }
    let update = batch(Mode::Upsert, record("a", Some("7"), json!({})));
    assert_eq!(pipedrive().written(&update, &ok(person(8, "a"))).unwrap_err().class, Class::Unknown, "another record's answer");
    assert_eq!(pipedrive().written(&update, &ok(person(7, "a"))).unwrap()[0].as_ref().unwrap().created, Some(false));
}

/// crm-apis.md 6: the table there, bodies from the changelog (PD-7) and amp-labs (PD-8).
#[test]
fn refusals_are_what_they_are_documented_to_be() {
    let create = batch(Mode::Upsert, record("a", None, json!({ "name": "Ada", "emails": "ada@example.com" })));
    let error = |error: &str, code: &str| json!({ "success": false, "error": error, "error_info": "x", "data": null, "additional_data": null, "code": code });
    let scope = json!({ "success": false, "error": "Scope and URL mismatch", "errorCode": 403, "error_info": "x" });
    for (status, headers, body, class, scope, code, waits) in [
        (
            400,
            &[][..],
            error("name is required", "ERR_SCHEMA_VALIDATION_FAILED"),
            Class::Permanent,
            Scope::Record,
            "ERR_SCHEMA_VALIDATION_FAILED",
            None,
        ),
        (422, &[], json!({}), Class::Permanent, Scope::Record, "http_422", None),
        (401, &[], error("unauthorized access", ""), Class::Auth, Scope::Destination, "http_401", None),
        (403, &[], scope, Class::Auth, Scope::Destination, "http_403", None),
        (
            403,
            &[],
            error("limit", "feature_capping_deals_limit"),
            Class::Throttled,
            Scope::Destination,
            "feature_capping_deals_limit",
            Some(3_600),
        ),
        (429, &[("x-ratelimit-reset", "2")], error("request over limit", ""), Class::Throttled, Scope::Destination, "http_429", Some(2)),
        (
            429,
            &[(refusal::DAILY_LEFT, "0")],
            error("request over limit", ""),
            Class::Throttled,
            Scope::Destination,
            "daily_budget",
            Some(3_600),
        ),
        (404, &[], json!({}), Class::Permanent, Scope::Destination, "http_404", None),
        (500, &[], error("Internal Server Error", "ERR_UNKNOWN"), Class::Unknown, Scope::Destination, "ERR_UNKNOWN", None),
        (200, &[], error("no", "bad"), Class::Permanent, Scope::Record, "bad", None),
    ] {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let failed = match pipedrive().written(&create, &Reply { headers, ..reply(status, body) }) {
            Ok(mut results) => results.remove(0).unwrap_err(),
            Err(failure) => failure,
        };
        let told = (failed.class, failed.scope, failed.code.as_str(), failed.retry_after.map(|wait| wait.as_secs()));
        assert_eq!(told, (class, scope, code, waits), "{status}");
        if status == 400 {
            assert_eq!(failed.fields, ["name"]);
        }
    }
    let flooded = Reply { status: 403, headers: Vec::new(), body: b"<html>blocked</html>".to_vec() };
    let failed = pipedrive().written(&create, &flooded).unwrap_err();
    assert_eq!((failed.class, failed.code.as_str()), (Class::Throttled, "flooded"));
    let gone = pipedrive().written(&batch(Mode::Upsert, record("a", Some("7"), json!({}))), &reply(404, json!({}))).unwrap().remove(0);
    assert_eq!(gone.unwrap_err().reason, Some(Reason::RecordNotFound), "it is looked for again");
    let done = pipedrive().written(&batch(Mode::Delete, record("a", Some("7"), json!({}))), &reply(410, json!({}))).unwrap().remove(0);
    assert_eq!(done, Ok(Written::default()));
}

#[test]
fn a_look_up_goes_by_id_or_by_search_and_then_by_what_was_hit() {
    let crm = pipedrive();
    let by_key = sought(&[("A/1", None)]);
    let search = "/api/v2/persons/search?term=A%2F1&fields=custom_fields&exact_match=true&limit=100";
    assert_eq!(crm.read(&by_key).unwrap().path, search);
    let hit =
        |ids: &[u64]| ok(json!({ "items": ids.iter().map(|id| json!({ "result_score": 1, "item": { "id": id } })).collect::<Vec<_>>() }));
    assert!(crm.read_on(&by_key, &[hit(&[])]).unwrap().is_none());
    assert_eq!(crm.found(&by_key, &[hit(&[])]).unwrap(), [Ok(None)]);
    assert_eq!(crm.read_on(&by_key, &[hit(&[3, 4])]).unwrap().unwrap().path, "/api/v2/persons?ids=3,4&limit=100");
    let others = [hit(&[3, 4]), ok(json!([person(3, "a/1"), person(4, "another field has it")]))];
    assert_eq!(crm.found(&by_key, &others).unwrap()[0].clone().unwrap().unwrap().crm_id, "3");
    let two = [hit(&[3, 4]), ok(json!([person(3, "a/1"), person(4, "A/1")]))];
    assert_eq!(crm.found(&by_key, &two).unwrap()[0].clone().unwrap_err().reason, Some(Reason::AmbiguousMatch));
    let by_id = sought(&[("a", Some("7"))]);
    assert_eq!(crm.read(&by_id).unwrap().path, "/api/v2/persons/7");
    let present = crm.found(&by_id, &[ok(person(7, "a"))]).unwrap().remove(0).unwrap().unwrap();
    assert!(present.modified_at.is_some() && crm.equal("emails", &json!("ADA@example.com"), &present.fields["emails"]));
    let gone = reply(404, json!({}));
    assert!(crm.read_on(&by_id, std::slice::from_ref(&gone)).unwrap().unwrap().path.contains("/persons/search?term=a&"));
    assert_eq!(crm.found(&by_id, &[gone, hit(&[])]).unwrap(), [Ok(None)]);
    let both = sought(&[("a", Some("7")), ("b", Some("8")), ("c", None)]);
    assert_eq!(crm.read_fits(&both), 2);
    let known = sought(&[("a", Some("7")), ("b", Some("8"))]);
    assert_eq!(crm.read(&known).unwrap().path, "/api/v2/persons?ids=7,8&limit=100");
    let found = crm.found(&known, &[ok(json!([person(8, "b")]))]).unwrap();
    assert_eq!((&found[0], found[1].as_ref().unwrap().is_some()), (&Ok(None), true), "matched by id, in any order");
    assert_eq!(crm.found(&by_key, &[reply(500, json!({}))]).unwrap_err().class, Class::Unknown);
}

#[test]
fn what_pipedrive_keeps_in_its_own_way_is_the_same() {
    let list = |value: &str| json!([{ "value": "x", "primary": false }, { "value": value, "primary": true, "label": "work" }]);
    for (field, a, b, equal) in [
        ("emails", json!("Ada@Example.com"), list("ada@example.com"), true),
        ("emails", json!("x"), list("ada@example.com"), false),
        ("emails", json!(null), json!([]), true),
        ("emails", json!(["x", "ada@example.com"]), list("ada@example.com"), true),
        ("phones", json!("+1 555 010 0199"), list("+15550100199"), true),
        ("value", json!("10"), json!(10), true),
        (KEY, json!(12.5), json!({ "value": 12.5, "currency": "EUR" }), true),
        (KEY, json!("7"), json!({ "id": 7, "label": "Hot" }), true),
        ("close_time", json!("2026-11-22T10:00:00Z"), json!("2026-11-22 10:00:00"), true),
        ("name", json!("Ada"), json!("Eva"), false),
    ] {
        assert_eq!((pipedrive().equal(field, &a, &b), pipedrive().equal(field, &b, &a)), (equal, equal), "{field} {a} {b}");
    }
}

/// `GET /personFields` of the official SDK, v2.
#[test]
fn an_object_is_described_by_its_fields_and_its_key_can_be_made() {
    let rows = json!([
        { "field_name": "Name", "field_code": "name", "field_type": "varchar", "is_custom_field": false, "options": null },
        { "field_name": "Key", "field_code": KEY, "field_type": "varchar", "is_custom_field": true },
        { "field_name": "Created", "field_code": "add_time", "field_type": "date", "is_custom_field": false },
        { "field_name": "Kind", "field_code": "0123456789abcdef0123456789abcdef01234567", "field_type": "set", "is_custom_field": true,
          "options": [{ "id": 1, "label": "Hot" }, { "id": 2, "label": "Cold" }] },
    ]);
    let described = pipedrive().described("persons", &[ok(rows)]).unwrap().fields;
    assert!(described["name"].required && described[KEY].updatable && !described["add_time"].updatable);
    assert_eq!(described[KEY].length_max, Some(255));
    let choice = FieldKind::Choice { options: vec!["1".into(), "2".into()], several: true, open: false };
    assert_eq!(described["0123456789abcdef0123456789abcdef01234567"].kind, choice);
    assert_eq!(pipedrive().describe("deals")[0].path, "/api/v2/dealFields?limit=500");
    let Setup::Calls(calls) = pipedrive().setup("organizations", KEY) else { panic!("it can be made") };
    assert_eq!(spelled(&calls[0]).0, "POST /api/v2/organizationFields");
}
