use serde_json::json;

use super::*;
use crate::{Auth, Kind, Secret};

/// A finance system: an invoice is posted once under an idempotency key, a customer is put at its number, payments go in batches.
fn erp() -> Rest {
    let target = json!({
        "probe": "/me",
        "headers": { "X-Tenant": "42" },
        "errors": {
            "code": "/error/code", "message": "/error/message", "fields": "/error/details/*/field",
            "codes": { "duplicate_number": "exists", "key_reused": "permanent", "in_progress": "retryable", "no_such_customer": "missing" },
            "statuses": { "409": "permanent", "503": "retryable" },
        },
        "limits": { "limit": "X-Limit", "remaining": "X-Left", "reset": "X-Reset", "per": "60s" },
        "idempotency_life": "24h",
    });
    let invoice = json!({
        "id": "/data/id",
        "create": {
            "path": "/invoices", "success": [200, 201], "idempotency": "{destination}:{object}:{key}:{revision}", "wrap": "/data",
            "body": { "number": "{key}", "total": { "amount": "{fields.total}", "currency": "{fields.currency}" }, "kind": "sale" },
        },
        "update": { "path": "/invoices/{id}", "wrap": "/data" },
        "read": {
            "path": "/invoices?number={key}", "by_id": "/invoices/{id}", "items": "/data", "item": "/data", "id": "/id", "key": "/number",
            "fields": { "total": "/total/amount", "currency": "/total/currency" }, "modified_at": "/updated_at",
        },
        "delete": { "path": "/invoices/{id}" },
    });
    let customer = json!({
        "upsert": { "path": "/customers/{key}" },
        "update": { "method": "PUT", "path": "/customers/{key}" },
        "read": { "path": "/customers/{key}", "key": "/no" },
    });
    let payment = json!({
        "id": "/id",
        "upsert": {
            "method": "POST", "path": "/payments/batch",
            "batch": { "size": 3, "items": "/items", "results": "/results", "key": "/reference", "status": "/status", "error": "/error" },
        },
        "read": { "path": "/payments?refs={keys}", "items": "/items", "id": "/id", "key": "/reference", "batch": 3 },
    });
    let order = json!({ "create": { "path": "/orders" }, "read": { "path": "/orders/{key}" } });
    let note = json!({ "create": { "path": "/notes" } });
    let definition = compile(
        &target,
        &[
            ("Invoice", invoice, "number", &["total", "currency"]),
            ("Customer", customer, "no", &["name", "vat"]),
            ("Payment", payment, "reference", &["amount"]),
            ("Order", order, "no", &["total"]),
            ("Note", note, "no", &["text"]),
        ],
    );
    let definition = definition.unwrap_or_else(|problems| panic!("{problems:#?}"));
    let settings = Settings::new(Kind::Rest, "https://erp.example.com", Auth::Bearer { token: Secret::new("x") });
    Rest::new(&Settings { rest: Some(Arc::new(definition)), ..settings }).unwrap()
}

type Written4<'a> = (&'a str, Value, &'a str, &'a [&'a str]);

fn compile(target: &Value, objects: &[Written4<'_>]) -> Result<Definition, Vec<model::source::Problem>> {
    let target: Target = serde_json::from_value(target.clone()).unwrap();
    let read = |value: &Value| serde_json::from_value::<ObjectDefinition>(value.clone()).unwrap();
    let spelled: BTreeMap<&str, ObjectDefinition> = objects.iter().map(|(name, value, _, _)| (*name, read(value))).collect();
    let names = objects.iter().map(|(name, _, key_field, fields)| {
        let fields = fields.iter().map(|field| (*field).to_owned()).collect();
        ((*name).to_owned(), ObjectNames { rest: spelled.get(name), key_field, fields })
    });
    Definition::compile("erp", &target, &names.collect())
}

fn record(key: &str, id: Option<&str>, fields: Value) -> WriteRecord {
    let fields = fields.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    WriteRecord { key: key.to_owned(), crm_id: id.map(str::to_owned), revision: 7, fields }
}

fn batch(object: &str, mode: Mode, records: Vec<WriteRecord>) -> WriteBatch {
    let key_field = match object {
        "Invoice" => "number",
        "Payment" => "reference",
        _ => "no",
    };
    WriteBatch { object: object.to_owned(), key_field: key_field.to_owned(), mode, records }
}

fn reply(status: u16, body: Value) -> Reply {
    Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
}

fn spelled(request: &Request) -> (String, Value) {
    let body = match &request.body {
        crate::Body::Json(value) => value.clone(),
        crate::Body::None | Body::Raw { .. } => Value::Null,
        crate::Body::Form(_) => panic!("{request:?}"),
    };
    (format!("{} {}", request.method, request.path), body)
}

#[test]
fn an_invoice_is_posted_as_it_is_described_and_the_same_bytes_under_the_same_key() {
    let erp = erp();
    let create = batch("Invoice", Mode::CreateOnly, vec![record("R 1/7", None, json!({ "total": 99.5, "currency": "EUR" }))]);
    let request = erp.write(&create).unwrap();
    let body = json!({ "data": { "number": "R 1/7", "total": { "amount": 99.5, "currency": "EUR" }, "kind": "sale" } });
    assert_eq!(spelled(&request), ("POST /invoices".to_owned(), body));
    assert_eq!(request.header("idempotency-key"), Some("erp:Invoice:R%201%2F7:7"));
    assert_eq!(request.header("x-tenant"), Some("42"));
    let again = erp.write(&create).unwrap();
    assert_eq!(format!("{:?}", again.body), format!("{:?}", request.body));
    let mut other = create.clone();
    other.records[0].revision = 8;
    assert_ne!(erp.write(&other).unwrap().header("idempotency-key"), request.header("idempotency-key"));
    other.records[0].key = "é".repeat(200);
    let hashed = erp.write(&other).unwrap().header("idempotency-key").unwrap().to_owned();
    assert!(hashed.starts_with("sha256:") && hashed.len() == 71, "{hashed}");
}

#[test]
fn each_mode_goes_by_the_operation_that_serves_it() {
    let erp = erp();
    let fields = || json!({ "total": 1, "currency": null });
    for (mode, id, line, body) in [
        (Mode::Upsert, Some("77"), "PATCH /invoices/77", json!({ "data": { "total": 1, "currency": null } })),
        (Mode::UpdateOnly, Some("77"), "PATCH /invoices/77", json!({ "data": { "total": 1, "currency": null } })),
        (Mode::Delete, Some("7 7"), "DELETE /invoices/7%207", Value::Null),
    ] {
        let request = erp.write(&batch("Invoice", mode, vec![record("R1", id, fields())])).unwrap();
        assert_eq!(spelled(&request), (line.to_owned(), body));
    }
    let customer = |mode, id| erp.write(&batch("Customer", mode, vec![record("c/1", id, json!({ "name": "Ada" }))])).unwrap();
    assert_eq!(spelled(&customer(Mode::Upsert, None)), ("PUT /customers/c%2F1".to_owned(), json!({ "no": "c/1", "name": "Ada" })));
    assert_eq!(spelled(&customer(Mode::UpdateOnly, Some("c/1"))).0, "PUT /customers/c%2F1");
    let missing = erp.write(&batch("Invoice", Mode::UpdateOnly, vec![record("R1", None, fields())])).unwrap_err();
    assert_eq!((missing.class, missing.scope, missing.reason), (Class::Permanent, Scope::Record, Some(Reason::RecordNotFound)));
    let undescribed = erp.write(&batch("Note", Mode::Delete, vec![record("n", Some("n"), json!({}))])).unwrap_err();
    assert!(undescribed.message.contains("objects.Note.rest.delete"), "{}", undescribed.message);
    let dots = erp.write(&batch("Customer", Mode::Upsert, vec![record("..", None, json!({}))])).unwrap_err();
    assert_eq!((dots.class, dots.code.as_str()), (Class::Permanent, "key_not_addressable"));
}

#[test]
fn what_may_follow_an_unknown_outcome_follows_from_the_description() {
    let erp = erp();
    for (object, mode, repeat) in [
        ("Invoice", Mode::Upsert, Repeat::Same),
        ("Invoice", Mode::CreateOnly, Repeat::Same),
        ("Invoice", Mode::UpdateOnly, Repeat::Keyed),
        ("Customer", Mode::Upsert, Repeat::Keyed),
        ("Payment", Mode::Upsert, Repeat::Keyed),
        ("Order", Mode::CreateOnly, Repeat::Look),
        ("Note", Mode::CreateOnly, Repeat::Person),
        ("Unheard", Mode::Upsert, Repeat::Person),
    ] {
        assert_eq!(erp.repeat(object, mode), repeat, "{object} {mode:?}");
    }
    assert_eq!(erp.level(), Level::C);
    assert!(erp.statement().cannot.contains("goes to a person"));
}

#[test]
fn a_created_record_is_told_from_one_that_was_there_and_a_success_without_its_id_is_none() {
    let erp = erp();
    let create = batch("Invoice", Mode::CreateOnly, vec![record("R1", None, json!({ "total": 1 }))]);
    let wrote = |reply: Reply| erp.written(&create, &reply).map(|mut results| results.remove(0));
    let id = |id: Option<&str>, created| Ok(Ok(Written { crm_id: id.map(str::to_owned), created: Some(created) }));
    assert_eq!(wrote(reply(201, json!({ "data": { "id": 77 } }))), id(Some("77"), true));
    let there = json!({ "error": { "code": "duplicate_number" }, "data": { "id": "5" } });
    assert_eq!(wrote(reply(409, there)), id(Some("5"), false));
    for (answer, code) in [(reply(201, json!({ "data": {} })), "garbage"), (reply(202, json!({ "data": { "id": 1 } })), "http_202")] {
        let failed = wrote(answer).unwrap_err();
        assert_eq!((failed.class, failed.code.as_str()), (Class::Unknown, code));
    }
    let empty = wrote(Reply { status: 200, headers: Vec::new(), body: Vec::new() }).unwrap_err();
    assert_eq!(empty.class, Class::Unknown);
    let customer = |status| {
        let batch = batch("Customer", Mode::Upsert, vec![record("c1", None, json!({ "name": "Ada" }))]);
        erp.written(&batch, &Reply { status, headers: Vec::new(), body: Vec::new() }).unwrap().remove(0).unwrap()
    };
    assert_eq!(customer(201), Written { crm_id: Some("c1".to_owned()), created: Some(true) });
    assert_eq!(customer(204), Written { crm_id: Some("c1".to_owned()), created: Some(false) });
}

/// Answers of APIs that crm-apis.md, section 11, names, in the words of the description above.
#[test]
fn refusals_are_read_by_code_then_by_status_then_by_the_common_table() {
    let erp = erp();
    let create = batch("Invoice", Mode::CreateOnly, vec![record("R1", None, json!({ "total": 1 }))]);
    let error =
        |code: &str| json!({ "error": { "code": code, "message": "says the API", "details": [{ "field": "total" }, { "field": "vat" }] } });
    for (status, body, class, scope, code) in [
        (409, error("key_reused"), Class::Permanent, Scope::Record, "key_reused"),
        (409, error("in_progress"), Class::Retryable, Scope::Record, "in_progress"),
        (409, json!({}), Class::Permanent, Scope::Record, "http_409"),
        (422, error("invalid"), Class::Permanent, Scope::Record, "invalid"),
        (503, json!("down"), Class::Retryable, Scope::Record, "http_503"),
        (500, json!({}), Class::Unknown, Scope::Destination, "http_500"),
        (502, json!("<html>"), Class::Unknown, Scope::Destination, "http_502"),
        (429, json!({}), Class::Throttled, Scope::Destination, "http_429"),
        (401, json!({}), Class::Auth, Scope::Destination, "http_401"),
        (403, json!({}), Class::Auth, Scope::Destination, "http_403"),
        (404, json!({}), Class::Permanent, Scope::Destination, "http_404"),
        (412, json!({}), Class::Conflict, Scope::Record, "http_412"),
        (423, json!({}), Class::Retryable, Scope::Record, "http_423"),
    ] {
        let failed = match erp.written(&create, &reply(status, body)) {
            Ok(mut results) => results.remove(0).unwrap_err(),
            Err(failure) => failure,
        };
        assert_eq!((failed.class, failed.scope, failed.code.as_str()), (class, scope, code), "{status}");
        if code == "invalid" {
            assert_eq!((failed.fields, failed.message.as_str()), (vec!["total".to_owned(), "vat".to_owned()], "says the API"));
        }
    }
    let mut throttled = reply(429, json!({}));
    throttled.headers.push(("x-reset".to_owned(), "40".to_owned()));
    assert_eq!(erp.written(&create, &throttled).unwrap_err().retry_after, Some(Duration::from_secs(40)));
}

#[test]
fn what_is_gone_is_looked_for_again_and_a_delete_of_it_is_done() {
    let erp = erp();
    let known = |mode| batch("Invoice", mode, vec![record("R1", Some("77"), json!({ "total": 1 }))]);
    for mode in [Mode::Upsert, Mode::UpdateOnly] {
        let gone = erp.written(&known(mode), &reply(404, json!({}))).unwrap().remove(0).unwrap_err();
        assert_eq!((gone.scope, gone.reason), (Scope::Record, Some(Reason::RecordNotFound)), "{mode:?}");
    }
    assert_eq!(erp.written(&known(Mode::Delete), &reply(404, json!({}))).unwrap(), [Ok(Written::default())]);
    assert_eq!(erp.written(&known(Mode::Delete), &reply(204, json!(null))).unwrap(), [Ok(Written::default())]);
    let by_code = reply(422, json!({ "error": { "code": "no_such_customer" } }));
    let gone = erp.written(&known(Mode::UpdateOnly), &by_code).unwrap().remove(0).unwrap_err();
    assert_eq!((gone.code.as_str(), gone.reason), ("no_such_customer", Some(Reason::RecordNotFound)));
}

#[test]
fn results_of_a_batch_are_matched_by_key_and_the_silent_are_unknown() {
    let erp = erp();
    let records = ["a", "b", "c"].map(|key| record(key, None, json!({ "amount": 1 }))).to_vec();
    let all = batch("Payment", Mode::Upsert, records);
    let request = erp.write(&all).unwrap();
    let item = |key: &str| json!({ "reference": key, "amount": 1 });
    assert_eq!(spelled(&request), ("POST /payments/batch".to_owned(), json!({ "items": [item("a"), item("b"), item("c")] })));
    let results = erp
        .written(
            &all,
            &reply(
                207,
                json!({ "results": [
            { "reference": "C", "status": 201, "id": 3 },
            { "reference": "a", "status": 422, "error": { "code": "invalid", "message": "no", "details": [{ "field": "amount" }] } },
            { "reference": "zzz", "status": 201, "id": 9 },
        ] }),
            ),
        )
        .unwrap();
    assert_eq!(results[2], Ok(Written { crm_id: Some("3".to_owned()), created: Some(true) }));
    let refused = results[0].clone().unwrap_err();
    assert_eq!((refused.class, refused.scope, refused.code.as_str()), (Class::Permanent, Scope::Record, "invalid"));
    let silent = results[1].clone().unwrap_err();
    assert_eq!((silent.class, silent.code.as_str()), (Class::Unknown, "no_result"));
    let twice = json!({ "results": [{ "reference": "a", "status": 200, "id": 1 }, { "reference": "a", "status": 200, "id": 2 }] });
    assert_eq!(erp.written(&all, &reply(200, twice)).unwrap()[0].clone().unwrap_err().class, Class::Unknown);
    let whole = erp.written(&all, &reply(400, json!({ "error": { "code": "bad" } }))).unwrap_err();
    assert_eq!((whole.class, whole.scope), (Class::Conflict, Scope::Call), "halved until the bad one is alone");
    assert_eq!(erp.written(&all, &reply(200, json!({ "results": null }))).unwrap_err().class, Class::Unknown);
    let four = ["a", "b", "c", "d"].map(|key| record(key, None, json!({}))).to_vec();
    assert_eq!(erp.write_fits(&batch("Payment", Mode::Upsert, four)), 3);
    let doubled = vec![record("a", None, json!({})), record("A ", None, json!({}))];
    assert_eq!(erp.write(&batch("Payment", Mode::Upsert, doubled)).unwrap_err().code, "duplicate_key");
    let mixed = vec![record("a", Some("1"), json!({ "total": 1 })), record("b", None, json!({ "total": 1 }))];
    assert_eq!(erp.write_fits(&batch("Invoice", Mode::Upsert, mixed)), 1);
}

fn sought(object: &str, records: &[(&str, Option<&str>)], fields: &[&str]) -> ReadBatch {
    let of = batch(object, Mode::Upsert, Vec::new());
    ReadBatch {
        object: of.object,
        key_field: of.key_field,
        records: records.iter().map(|(key, id)| Sought { key: (*key).to_owned(), crm_id: id.map(str::to_owned) }).collect(),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
    }
}

#[test]
fn a_look_up_goes_by_id_where_it_is_known_and_by_key_where_that_finds_nothing() {
    let erp = erp();
    let by_id = sought("Invoice", &[("R1", Some("77"))], &["total", "currency"]);
    assert_eq!(erp.read(&by_id).unwrap().path, "/invoices/77");
    let one = json!({ "id": 77, "number": "R1", "total": { "amount": 5, "currency": "EUR" }, "updated_at": "2026-11-22T10:00:00Z" });
    let here = reply(200, json!({ "data": one }));
    assert!(erp.read_on(&by_id, std::slice::from_ref(&here)).unwrap().is_none());
    let present = erp.found(&by_id, &[here]).unwrap().remove(0).unwrap().unwrap();
    assert_eq!((present.crm_id.as_str(), &present.fields["total"], present.modified_at.is_some()), ("77", &json!(5), true));
    let gone = reply(404, json!({}));
    assert_eq!(erp.read_on(&by_id, std::slice::from_ref(&gone)).unwrap().unwrap().path, "/invoices?number=R1");
    let two = [gone.clone(), reply(200, json!({ "data": [one] }))];
    assert_eq!(erp.found(&by_id, &two).unwrap().remove(0).unwrap().unwrap().crm_id, "77");
    let by_key = sought("Invoice", &[("r1", None)], &["total"]);
    let list = |rows: Value| reply(200, json!({ "data": rows }));
    assert_eq!(erp.found(&by_key, &[list(json!([]))]).unwrap(), [Ok(None)]);
    assert_eq!(erp.found(&by_key, &[list(json!([{ "id": 1, "number": "R10" }]))]).unwrap(), [Ok(None)], "the API searches loosely");
    let both = list(json!([{ "id": 1, "number": "R1" }, { "id": 2, "number": "r1" }]));
    let ambiguous = erp.found(&by_key, &[both]).unwrap().remove(0).unwrap_err();
    assert_eq!(ambiguous.reason, Some(Reason::AmbiguousMatch));
    assert_eq!(erp.found(&by_key, &[list(json!(null))]).unwrap_err().code, "garbage");
    assert_eq!(erp.found(&by_key, &[gone]).unwrap(), [Ok(None)]);
    assert_eq!(erp.found(&by_key, &[reply(500, json!({}))]).unwrap_err().class, Class::Unknown);
}

#[test]
fn several_keys_are_one_look_up_where_the_api_takes_them() {
    let erp = erp();
    let three = sought("Payment", &[("a", None), ("b,1", None), ("c", None)], &["amount"]);
    assert_eq!((erp.read_fits(&three), erp.read(&three).unwrap().path.as_str()), (3, "/payments?refs=a,b%2C1,c"));
    let rows = json!({ "items": [{ "id": 2, "reference": "B,1", "amount": 4 }] });
    let found = erp.found(&three, &[reply(200, rows)]).unwrap();
    assert_eq!((&found[0], &found[2]), (&Ok(None), &Ok(None)));
    assert_eq!(found[1].clone().unwrap().unwrap().crm_id, "2");
    let note = erp.read(&sought("Note", &[("n", None)], &[])).unwrap_err();
    assert!(note.message.contains("objects.Note.rest.read"), "{}", note.message);
}

#[test]
fn an_error_in_a_good_answer_is_a_refusal() {
    let target = json!({ "probe": "/", "errors": { "code": "/code", "codes": { "busy": "retryable" }, "ok": { "at": "/success" } } });
    let definition =
        compile(&target, &[("Note", json!({ "create": { "path": "/n" }, "read": { "path": "/n/{key}" } }), "no", &[])]).unwrap();
    let settings = Settings::new(Kind::Rest, "https://x.example", Auth::Bearer { token: Secret::new("x") });
    let rest = Rest::new(&Settings { rest: Some(Arc::new(definition)), ..settings }).unwrap();
    let note = batch("Note", Mode::CreateOnly, vec![record("n", None, json!({}))]);
    let wrote = |body| rest.written(&note, &reply(200, body)).unwrap().remove(0);
    assert!(wrote(json!({ "success": true })).is_ok());
    assert_eq!(wrote(json!({ "success": false, "code": "busy" })).unwrap_err().class, Class::Retryable);
    assert_eq!(wrote(json!({ "success": false, "code": "bad" })).unwrap_err().class, Class::Permanent);
}

#[test]
fn what_cannot_work_is_found_before_anything_is_sent() {
    let target = |more: Value| {
        let mut target = json!({ "probe": "/me" });
        target.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        target
    };
    let object = |create: Value| json!({ "create": create, "read": { "path": "/x/{key}" } });
    let good = || object(json!({ "path": "/x" }));
    for (target, object, key, says) in [
        (target(json!({ "probe": "me" })), good(), "rest.probe", "no path"),
        (target(json!({ "headers": { "Authorization": "x" } })), good(), "rest.headers.Authorization", "no header"),
        (target(json!({ "idempotency_life": "1 day" })), good(), "rest.idempotency_life", "span"),
        (target(json!({ "errors": { "statuses": { "200": "auth" } } })), good(), "rest.errors.statuses.200", "400 to 599"),
        (target(json!({ "errors": { "statuses": { "409": "confict" } } })), good(), "rest.errors.statuses.409", "no class"),
        (target(json!({ "errors": { "codes": { "x": "auth" } } })), good(), "rest.errors.code", "missing"),
        (target(json!({})), object(json!({ "path": "/x/{key", })), "objects.O.rest.create.path", "brace"),
        (target(json!({})), object(json!({ "path": "/x/{id}" })), "objects.O.rest.create.path", "no placeholder"),
        (target(json!({})), object(json!({ "path": "/x", "body": { "a": "{fields.b}" } })), "objects.O.rest.create.body", "`b` is not in"),
        (target(json!({})), object(json!({ "path": "/x", "method": "GET" })), "objects.O.rest.create.method", "no method"),
        (target(json!({})), object(json!({ "path": "/x", "success": [302] })), "objects.O.rest.create.success", "no success"),
        (
            target(json!({})),
            object(json!({ "path": "/x", "idempotency": "{revision}" })),
            "objects.O.rest.create.idempotency",
            "every record",
        ),
        (
            target(json!({})),
            json!({ "update": { "path": "/x/{id}", "idempotency": "{key}" } }),
            "objects.O.rest.update.idempotency",
            "every change",
        ),
        (
            target(json!({})),
            object(json!({ "path": "/x", "batch": { "size": 5 }, "idempotency": "{key}" })),
            "objects.O.rest.create.batch",
            "one record's",
        ),
        (target(json!({})), object(json!({ "path": "/x", "batch": { "size": 5 } })), "objects.O.rest.create.batch", "tells a refused"),
        (target(json!({})), json!({ "read": { "path": "/x/{key}" } }), "objects.O.rest", "how a record is written"),
        (target(json!({})), json!({ "create": { "path": "/x" }, "read": { "path": "/x" } }), "objects.O.rest.read.path", "name the record"),
        (
            target(json!({})),
            json!({ "id": "/id", "create": { "path": "/x" }, "read": { "path": "/x/{key}" } }),
            "objects.O.rest.read.id",
            "is missing",
        ),
    ] {
        let problems = compile(&target, &[("O", object, "no", &["a"])]).unwrap_err();
        let found = problems.iter().find(|problem| problem.key == key);
        assert!(found.is_some_and(|problem| problem.message.contains(says)), "{key} {says}: {problems:#?}");
    }
}

#[test]
fn doubtful_descriptions_are_told_with_a_remedy() {
    let doubts = |life: &str, object: Value, hours: u64| {
        let definition = compile(&json!({ "probe": "/", "idempotency_life": life }), &[("O", object, "no", &[])]).unwrap();
        definition.doubts(Duration::from_secs(hours * 3_600))
    };
    let keyed = || json!({ "create": { "path": "/o", "idempotency": "{key}" } });
    assert!(doubts("24h", keyed(), 2).is_empty());
    let short = doubts("30m", keyed(), 2);
    assert!(short[0].key == "rest.idempotency_life" && short[0].message.contains("second one"), "{short:?}");
    let person = doubts("24h", json!({ "create": { "path": "/o" } }), 2);
    assert!(person[0].key == "objects.O.rest.create" && person[0].message.contains("POST cannot be repeated"), "{person:?}");
    let put = json!({ "create": { "method": "PUT", "path": "/o/{key}" } });
    assert!(doubts("1s", put, 2).is_empty());
}

#[test]
fn credentials_go_where_the_api_looks_for_them() {
    let erp = erp();
    let token = Token { value: Secret::new("t"), instance_url: None, expires_in: None };
    assert_eq!(erp.authorize(AuthKind::ApiKey, &token), ("x-api-key".to_owned(), "t".to_owned()));
    assert_eq!(erp.authorize(AuthKind::Basic, &token).1, "Basic t");
    assert_eq!(erp.authorize(AuthKind::ClientCredentials, &token).1, "Bearer t");
    assert!(erp.expired(&reply(401, json!({}))) && !erp.expired(&reply(403, json!({}))));
    let mut told = reply(200, json!({}));
    told.headers.extend([("x-limit".to_owned(), "60".to_owned()), ("x-left".to_owned(), "58".to_owned())]);
    assert_eq!(erp.usage(&told), [Usage::burst(2, 60, Duration::from_secs(60))]);
    assert_eq!(erp.usage(&reply(200, json!({}))), []);
    assert!(erp.reads("Invoice") && !erp.reads("Note"));
}
