use model::Reason;
use model::record::Link;

use super::*;
use crate::crm::Kind;
use crate::{Auth, Secret};

fn odoo() -> Odoo {
    let settings = Settings::new(Kind::Odoo, "https://example.odoo.com", Auth::Bearer { token: Secret::new("x") });
    Odoo::new(&Settings { database: Some("example".to_owned()), ..settings }).unwrap()
}

fn record(key: &str, id: Option<&str>, fields: Value) -> WriteRecord {
    let fields = fields.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    WriteRecord { key: key.to_owned(), crm_id: id.map(str::to_owned), revision: 1, fields }
}

fn batch(mode: Mode, records: Vec<WriteRecord>) -> WriteBatch {
    WriteBatch { object: "res.partner".to_owned(), key_field: "id".to_owned(), mode, records }
}

fn reply(status: u16, body: &Value) -> Reply {
    Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
}

fn body(request: &Request) -> Value {
    match &request.body {
        Body::Json(body) => body.clone(),
        Body::None | Body::Form(_) | Body::Raw { .. } => Value::Null,
    }
}

#[test]
fn a_record_is_loaded_by_an_external_id_made_of_object_and_key() {
    let link = |id: Option<&str>| Link {
        object: "res.partner:company".into(),
        key_field: "id".into(),
        key: "c 1".into(),
        crm_id: id.map(str::to_owned),
    };
    let fields = json!({ "name": "Ada Stone", "email": null, "active": true, "parent_id": link(None).to_value(), "date_x": "2026-11-22T19:04:00+01:00" });
    let upsert = odoo().write(&batch(Mode::Upsert, vec![record("demo:42", None, fields)])).unwrap();
    assert_eq!((upsert.method.clone(), upsert.path.as_str()), (Method::POST, "/json/2/res.partner/load"));
    assert_eq!(upsert.header("x-odoo-database"), Some("example"));
    let sent = body(&upsert);
    assert_eq!(sent["fields"], json!(["id", "active", "date_x", "email", "name", "parent_id/id"]));
    let cells = json!([[
        "onceward.res_2epartner__demo_3a42",
        "true",
        "2026-11-22 18:04:00",
        "",
        "Ada Stone",
        "onceward.res_2epartner_3acompany__c_201"
    ]]);
    assert_eq!(sent["data"], cells);
    assert_eq!(sent["context"]["tz"], "UTC", "moments are not in the zone of the API's user");
    let by_id = batch(Mode::UpdateOnly, vec![record("a", Some("25"), json!({ "parent_id": link(Some("7")).to_value() }))]);
    let update = body(&odoo().write(&by_id).unwrap());
    assert_eq!((&update["fields"], &update["data"]), (&json!([".id", "parent_id/.id"]), &json!([["25", "7"]])));
    let delete = odoo().write(&batch(Mode::Delete, vec![record("a", Some("25"), json!({}))])).unwrap();
    assert_eq!((delete.path.as_str(), &body(&delete)["ids"]), ("/json/2/res.partner/unlink", &json!([25])));
    let company = WriteBatch { object: "res.partner:company".to_owned(), ..batch(Mode::Upsert, vec![record("c", None, json!({}))]) };
    assert_eq!(odoo().write(&company).unwrap().path, "/json/2/res.partner/load");
    assert!(external_name("a.b", "c") != external_name("a", "b.c") && external_name("a", "_2e") != external_name("a", "."));
}

#[test]
fn only_records_with_the_same_columns_share_a_call() {
    let linked = |id: Option<&str>| {
        Link { object: "res.partner".into(), key_field: "id".into(), key: "c".into(), crm_id: id.map(str::to_owned) }.to_value()
    };
    let mixed = batch(
        Mode::Upsert,
        vec![
            record("a", None, json!({ "name": "A", "parent_id": linked(None) })),
            record("b", None, json!({ "name": "B", "parent_id": linked(None) })),
            record("c", None, json!({ "name": "C", "parent_id": linked(Some("7")) })),
        ],
    );
    assert_eq!((odoo().write_fits(&mixed), odoo().write(&mixed).unwrap_err().code.as_str()), (2, "mixed_batch"));
    let large = batch(Mode::Upsert, (0..101).map(|at| record(&at.to_string(), None, json!({}))).collect());
    assert_eq!((odoo().write_fits(&large), odoo().write(&large).unwrap_err().code.as_str()), (100, "too_large"));
}

/// Messages as the vendor's `load` builds them (odoo/orm/models.py).
#[test]
fn the_rows_that_are_named_are_refused_and_the_others_only_undone() {
    let link = Link { object: "res.partner".into(), key_field: "id".into(), key: "c".into(), crm_id: None }.to_value();
    let asked = batch(
        Mode::Upsert,
        vec![
            record("a", None, json!({ "name": "A", "parent_id": link })),
            record("b", None, json!({ "name": "B", "parent_id": link })),
            record("c", None, json!({ "name": "C", "parent_id": link })),
        ],
    );
    let messages = json!([
        { "type": "warning", "message": "x", "record": 2 },
        { "type": "error", "message": "No matching record found for external id 'onceward.x' in field 'parent_id'", "rows": { "from": 0, "to": 0 }, "record": 0, "field": "parent_id" },
        { "type": "error", "message": "Missing required value for the field 'Name' (name)", "rows": { "from": 1, "to": 1 }, "record": 1, "field": "name" },
    ]);
    let results = odoo().written(&asked, &reply(200, &json!({ "ids": false, "messages": messages, "nextrow": 0 }))).unwrap();
    let told: Vec<(Class, &str, Vec<String>)> = results
        .iter()
        .map(|result| result.as_ref().unwrap_err())
        .map(|failure| (failure.class, failure.code.as_str(), failure.fields.clone()))
        .collect();
    let fields = |name: &str| vec![name.to_owned()];
    assert_eq!(
        told,
        [
            (Class::Conflict, "no_matching_record", fields("parent_id")),
            (Class::Permanent, "invalid_row", fields("name")),
            (Class::Retryable, "rolled_back", vec![]),
        ]
    );
    let fine = json!({ "ids": [25, 26, 27], "messages": [], "nextrow": 0 });
    assert_eq!(odoo().written(&asked, &reply(200, &fine)).unwrap()[2], Ok(Written { crm_id: Some("27".to_owned()), created: None }));
    for unclear in [json!({ "ids": [25, 26], "messages": [] }), json!({ "ids": false, "messages": [] }), json!({ "ids": [] }), json!(null)]
    {
        assert_eq!(odoo().written(&asked, &reply(200, &unclear)).unwrap_err().class, Class::Unknown, "{unclear}");
    }
    let gone = json!({ "ids": false, "messages": [{ "type": "error", "message": "Unknown database identifier '25'", "record": 0, "field": ".id" }] });
    let update = batch(Mode::UpdateOnly, vec![record("a", Some("25"), json!({}))]);
    let gone = odoo().written(&update, &reply(200, &gone)).unwrap().remove(0).unwrap_err();
    assert_eq!(gone.reason, Some(Reason::RecordNotFound));
}

/// The error object of the vendor's documentation of the external API, with the exceptions of crm-apis.md 9.
#[test]
fn each_documented_exception_is_in_its_class() {
    let told = |status: u16, name: &str| {
        reply(status, &json!({ "name": name, "message": "It is key-1", "arguments": [], "context": {}, "debug": "Traceback key-1" }))
    };
    let one = batch(Mode::Upsert, vec![record("key-1", None, json!({}))]);
    let two = batch(Mode::Upsert, vec![record("key-1", None, json!({})), record("b", None, json!({}))]);
    for (status, name, alone, many) in [
        (401, "werkzeug.exceptions.Unauthorized", (Class::Auth, Scope::Destination), (Class::Auth, Scope::Destination)),
        (403, "odoo.exceptions.AccessError", (Class::Auth, Scope::Destination), (Class::Auth, Scope::Destination)),
        (404, "werkzeug.exceptions.NotFound", (Class::Permanent, Scope::Destination), (Class::Permanent, Scope::Destination)),
        (404, "odoo.exceptions.MissingError", (Class::Permanent, Scope::Record), (Class::Conflict, Scope::Call)),
        (422, "odoo.exceptions.ValidationError", (Class::Permanent, Scope::Record), (Class::Conflict, Scope::Call)),
        (422, "odoo.exceptions.UserError", (Class::Permanent, Scope::Record), (Class::Conflict, Scope::Call)),
        (500, "psycopg2.errors.SerializationFailure", (Class::Retryable, Scope::Record), (Class::Retryable, Scope::Call)),
        (500, "psycopg2.errors.LockNotAvailable", (Class::Retryable, Scope::Record), (Class::Retryable, Scope::Call)),
        (500, "psycopg2.errors.UniqueViolation", (Class::Conflict, Scope::Record), (Class::Conflict, Scope::Call)),
        (500, "builtins.ValueError", (Class::Permanent, Scope::Destination), (Class::Permanent, Scope::Destination)),
        (500, "", (Class::Unknown, Scope::Destination), (Class::Unknown, Scope::Destination)),
        (502, "", (Class::Unknown, Scope::Destination), (Class::Unknown, Scope::Destination)),
        (429, "", (Class::Throttled, Scope::Destination), (Class::Throttled, Scope::Destination)),
    ] {
        let failure = |batch: &WriteBatch| match odoo().written(batch, &told(status, name)) {
            Ok(mut results) => results.remove(0).unwrap_err(),
            Err(failure) => failure,
        };
        let (one, two) = (failure(&one), failure(&two));
        assert_eq!(((one.class, one.scope), (two.class, two.scope)), (alone, many), "{name} {status}");
        assert!(!one.message.contains("key-1") && !one.message.contains("Traceback"), "{}", one.message);
    }
    let gone = odoo().written(&batch(Mode::Delete, vec![record("a", Some("25"), json!({}))]), &told(404, "odoo.exceptions.MissingError"));
    assert_eq!(gone, Ok(vec![Ok(Written::default())]), "what is not there any more has been deleted");
}

#[test]
fn a_look_up_asks_for_external_ids_first_and_only_where_they_are_needed() {
    let sought = |key: &str, id: Option<&str>| Sought { key: key.to_owned(), crm_id: id.map(str::to_owned) };
    let read = |records: Vec<Sought>| ReadBatch {
        object: "res.partner".into(),
        key_field: "id".into(),
        records,
        fields: vec!["name".into(), "parent_id".into()],
    };
    let both = read(vec![sought("a", None), sought("b", Some("26")), sought("c", None)]);
    let first = odoo().read(&both).unwrap();
    assert_eq!(first.path, "/json/2/ir.model.data/search_read");
    let names = json!(["res_2epartner__a", "res_2epartner__c"]);
    assert_eq!(body(&first)["domain"], json!([["module", "=", "onceward"], ["model", "=", "res.partner"], ["name", "in", names]]));
    let known = reply(200, &json!([{ "id": 9, "name": "res_2epartner__a", "res_id": 25 }]));
    let second = odoo().read_on(&both, std::slice::from_ref(&known)).unwrap().unwrap();
    assert_eq!((second.path.as_str(), &body(&second)["domain"]), ("/json/2/res.partner/search_read", &json!([["id", "in", [25, 26]]])));
    let rows = reply(
        200,
        &json!([
            { "id": 25, "name": "Ada", "parent_id": [7, "Deco Addict"], "write_date": "2026-11-22 18:04:00" },
            { "id": 26, "name": "Berg", "parent_id": false, "write_date": false },
        ]),
    );
    let found = odoo().found(&both, &[known.clone(), rows]).unwrap();
    let a = found[0].clone().unwrap().unwrap();
    assert_eq!((a.crm_id.as_str(), a.modified_at), ("25", model::Time::parse_rfc3339("2026-11-22T18:04:00Z")));
    let link = Link { object: "res.partner".into(), key_field: "id".into(), key: "x".into(), crm_id: Some("7".into()) }.to_value();
    assert!(
        odoo().equal("parent_id", &link, &a.fields["parent_id"])
            && odoo().equal("parent_id", &json!("Deco Addict"), &a.fields["parent_id"])
    );
    assert!(!odoo().equal("parent_id", &json!("Another"), &a.fields["parent_id"]));
    assert!(odoo().equal("parent_id", &json!(null), &found[1].clone().unwrap().unwrap().fields["parent_id"]));
    assert_eq!(found[2], Ok(None));
    assert!(odoo().read_on(&both, &[known.clone(), known.clone()]).unwrap().is_none());
    let new = read(vec![sought("a", None)]);
    let none = reply(200, &json!([]));
    assert!(odoo().read_on(&new, std::slice::from_ref(&none)).unwrap().is_none());
    assert_eq!(odoo().found(&new, &[none]).unwrap(), [Ok(None)]);
    let by_id = read(vec![sought("b", Some("26"))]);
    assert_eq!(odoo().read(&by_id).unwrap().path, "/json/2/res.partner/search_read");
}

#[test]
fn a_model_is_described_with_its_external_id_as_the_unique_field() {
    let fields = json!({ "id": { "type": "integer", "readonly": true }, "name": { "type": "char", "required": true, "readonly": false },
        "type": { "type": "selection", "selection": [["contact", "Contact"], ["invoice", "Invoice"]] } });
    let told = odoo().described("res.partner", &[reply(200, &fields)]).unwrap();
    assert!(told.fields["id"].unique && told.fields["id"].creatable && told.fields["name"].required);
    let options = vec!["contact".to_owned(), "invoice".to_owned()];
    assert_eq!(told.fields["type"].kind, FieldKind::Choice { options, several: false, open: false });
}
