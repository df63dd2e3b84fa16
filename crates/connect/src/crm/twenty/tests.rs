use model::Reason;
use serde_json::json;

use super::*;
use crate::crm::Kind;
use crate::{Auth, FieldKind, Secret};

const A: &str = "b09e3779-0000-4a00-8000-000000000001";
const B: &str = "b09e3779-0000-4a00-8000-000000000002";

fn twenty() -> Twenty {
    Twenty::new(&Settings::new(Kind::Twenty, "https://api.twenty.com", Auth::Bearer { token: Secret::new("x") })).unwrap()
}

fn record(key: &str, id: Option<&str>, fields: Value) -> WriteRecord {
    let fields = fields.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    WriteRecord { key: key.to_owned(), crm_id: id.map(str::to_owned), revision: 1, fields }
}

fn batch(mode: Mode, records: Vec<WriteRecord>) -> WriteBatch {
    WriteBatch { object: "people".to_owned(), key_field: "crmExtId".to_owned(), mode, records }
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
fn each_mode_is_spelled_as_the_api_takes_it() {
    let company = Link { object: "companies".into(), key_field: "crmExtId".into(), key: "c".into(), crm_id: Some(B.to_owned()) };
    let fields = json!({ "name.firstName": "Ada", "name.lastName": "Stone", "emails.primaryEmail": "a@example.com", "company": company.to_value(),
        "deal.amountMicros": "12.5" });
    let upsert = twenty().write(&batch(Mode::Upsert, vec![record("a", None, fields)])).unwrap();
    assert_eq!((upsert.method.clone(), upsert.path.as_str()), (Method::POST, "/rest/batch/people?depth=0&upsert=true"));
    let row = json!([{ "companyId": B, "deal": { "amountMicros": 12_500_000 }, "emails": { "primaryEmail": "a@example.com" },
        "name": { "firstName": "Ada", "lastName": "Stone" }, "crmExtId": "a" }]);
    assert_eq!(body(&upsert), row);
    let create = twenty().write(&batch(Mode::CreateOnly, vec![record("a", None, json!({}))])).unwrap();
    assert_eq!(create.path, "/rest/batch/people?depth=0");
    let update = twenty().write(&batch(Mode::UpdateOnly, vec![record("a", Some(A), json!({ "jobTitle": null }))])).unwrap();
    assert_eq!((update.method.clone(), update.path.clone()), (Method::PATCH, format!("/rest/people/{A}?depth=0")));
    assert_eq!(body(&update), json!({ "jobTitle": null }));
    let delete = twenty().write(&batch(Mode::Delete, vec![record("a", Some(A), json!({}))])).unwrap();
    assert_eq!((delete.method, delete.path), (Method::DELETE, format!("/rest/people/{A}")));
    let several = batch(Mode::UpdateOnly, vec![record("a", Some(A), json!({})), record("b", Some(B), json!({}))]);
    assert_eq!((twenty().write_fits(&several), twenty().write(&several).unwrap_err().code.as_str()), (1, "too_large"));
    let early = Link { crm_id: None, ..company };
    let early = twenty().write(&batch(Mode::Upsert, vec![record("a", None, json!({ "company": early.to_value() }))])).unwrap_err();
    assert_eq!((early.class, early.code.as_str()), (Class::Conflict, "parent_unknown"));
    for key in ["", "a\"b", "a\\b"] {
        assert_eq!(twenty().write(&batch(Mode::Upsert, vec![record(key, None, json!({}))])).unwrap_err().code, "invalid_key");
    }
    let twice = batch(Mode::Upsert, vec![record("a", None, json!({})), record("a", None, json!({}))]);
    assert_eq!(twenty().write(&twice).unwrap_err().code, "duplicate_key");
}

#[test]
fn rows_are_told_by_their_keys_in_whatever_order_and_under_whatever_name_they_come() {
    let asked = batch(Mode::Upsert, vec![record("a", None, json!({})), record("b", None, json!({})), record("c", None, json!({}))]);
    for name in ["people", "createPeople"] {
        let rows = json!({ "data": { name: [{ "id": B, "crmExtId": "b" }, { "id": A, "crmExtId": "a" }] } });
        let results = twenty().written(&asked, &reply(201, &rows)).unwrap();
        assert_eq!(results[0], Ok(Written { crm_id: Some(A.to_owned()), created: None }));
        assert_eq!(results[1], Ok(Written { crm_id: Some(B.to_owned()), created: None }));
        let lost = results[2].as_ref().unwrap_err();
        assert_eq!((lost.class, lost.code.as_str()), (Class::Unknown, "no_result"), "2xx without a row is no success");
    }
    for garbage in [json!({}), json!({ "data": {} }), json!({ "data": { "people": "x" } }), json!({ "data": { "people": [{ "id": 7 }] } })]
    {
        assert_eq!(twenty().written(&asked, &reply(201, &garbage)).unwrap_err().code, "garbage", "{garbage}");
    }
}

/// Bodies of the vendor's integration tests (packages/twenty-server/test/integration/rest) and of issue 13567.
#[test]
fn each_documented_error_is_in_its_class() {
    let told =
        |status: u16, error: &str, message: &str| reply(status, &json!({ "statusCode": status, "error": error, "messages": [message] }));
    let doubled = "duplicate key value violates unique constraint \"IDX_UNIQUE_2a32339058d0b6910b0834ddf81\"";
    let one = |mode: Mode| batch(mode, vec![record("key-1", Some(A), json!({ "jobTitle": "CTO" }))]);
    for (mode, reply, class, scope, reason) in [
        (Mode::Upsert, told(400, "BadRequestException", doubled), Class::Conflict, Scope::Record, None),
        (
            Mode::Upsert,
            told(400, "BadRequestException", "Object people doesn't have any \"jobTitle\" field."),
            Class::Permanent,
            Scope::Record,
            None,
        ),
        (
            Mode::Upsert,
            told(400, "BadRequestException", "Multiple records found with the same unique field values for key-1"),
            Class::Conflict,
            Scope::Record,
            Some(Reason::AmbiguousMatch),
        ),
        (
            Mode::UpdateOnly,
            told(400, "EntityNotFoundError", "Could not find any entity of type \"person\""),
            Class::Permanent,
            Scope::Record,
            Some(Reason::RecordNotFound),
        ),
        (
            Mode::UpdateOnly,
            told(404, "NotFoundException", "Record not found"),
            Class::Permanent,
            Scope::Record,
            Some(Reason::RecordNotFound),
        ),
        (Mode::Upsert, told(401, "UnauthorizedException", "Token invalid."), Class::Auth, Scope::Destination, None),
        (Mode::Upsert, told(403, "ForbiddenException", "denied"), Class::Auth, Scope::Destination, None),
        (Mode::Upsert, told(429, "ThrottlerException", "Limit reached"), Class::Throttled, Scope::Destination, None),
        (Mode::Upsert, told(500, "InternalServerError", "oops"), Class::Unknown, Scope::Destination, None),
    ] {
        let outcome = twenty().written(&one(mode), &reply);
        let failure = outcome.map_or_else(|failure| failure, |mut results| results.remove(0).unwrap_err());
        assert_eq!((failure.class, failure.scope, failure.reason), (class, scope, reason), "{}", String::from_utf8_lossy(&reply.body));
        assert!(!failure.message.contains("key-1"), "{}", failure.message);
    }
    let locked = twenty().written(&one(Mode::Upsert), &told(400, "QueryFailedError", "deadlock detected")).unwrap();
    assert_eq!(locked[0].as_ref().unwrap_err().class, Class::Retryable);
    let gone = told(400, "EntityNotFoundError", "Could not find any entity of type \"person\"");
    assert_eq!(twenty().written(&one(Mode::Delete), &gone), Ok(vec![Ok(Written::default())]));
    let there = twenty().written(&one(Mode::CreateOnly), &told(400, "BadRequestException", doubled)).unwrap();
    assert_eq!(there, [Ok(Written { crm_id: None, created: Some(false) })]);
    let two = batch(Mode::Upsert, vec![record("a", None, json!({})), record("b", None, json!({}))]);
    let halved = twenty().written(&two, &told(400, "BadRequestException", doubled)).unwrap_err();
    assert_eq!((halved.class, halved.scope), (Class::Conflict, Scope::Call), "so that it is halved");
    assert_eq!(twenty().written(&two, &told(429, "ThrottlerException", "x")).unwrap_err().retry_after, Some(PAUSE));
}

#[test]
fn a_look_up_is_a_filter_and_reads_parts_of_composite_fields() {
    let sought = |key: &str, id: Option<&str>| Sought { key: key.to_owned(), crm_id: id.map(str::to_owned) };
    let fields = ["name.firstName", "phones.primaryPhoneNumber", "deal.amountMicros", "company", "jobTitle"].map(str::to_owned).to_vec();
    let read = ReadBatch {
        object: "people".into(),
        key_field: "crmExtId".into(),
        records: vec![sought("a", None), sought("b", Some(B)), sought("c", None)],
        fields,
    };
    let request = twenty().read(&read).unwrap();
    let filter = encode(&format!("or(crmExtId[eq]:\"a\",id[eq]:\"{B}\",crmExtId[eq]:\"c\")"));
    assert_eq!(request.path, format!("/rest/people?depth=0&limit=60&filter={filter}"));
    let rows = json!({ "data": { "people": [
        { "id": B, "crmExtId": "other", "updatedAt": "2026-11-22T18:04:00.000Z" },
        { "id": A, "crmExtId": "a", "name": { "firstName": "Ada" }, "companyId": B, "deal": { "amountMicros": "12500000" },
          "phones": { "primaryPhoneNumber": "612345678", "primaryPhoneCallingCode": "+33" } }
    ] }, "pageInfo": { "hasNextPage": false } });
    let found = twenty().found(&read, &[reply(200, &rows)]).unwrap();
    let a = found[0].clone().unwrap().unwrap();
    let expected = json!({ "company": B, "deal.amountMicros": 12.5, "jobTitle": null, "name.firstName": "Ada", "phones.primaryPhoneNumber": "+33612345678" });
    assert_eq!((json!(a.fields), a.crm_id.as_str()), (expected, A));
    let b = found[1].clone().unwrap().unwrap();
    assert_eq!(b.modified_at, Time::parse_rfc3339("2026-11-22T18:04:00Z"), "by its id, whatever its key is now");
    assert_eq!(found[2], Ok(None));
    let many = ReadBatch { records: (0..60).map(|at| sought(&format!("{at:0>200}"), None)).collect(), ..read };
    assert!((10..25).contains(&twenty().read_fits(&many)), "an address is not endless");
}

#[test]
fn a_data_model_is_read_with_the_parts_of_its_composite_fields() {
    let field = |name: &str, kind: &str, unique: bool| json!({ "name": name, "type": kind, "isUnique": unique, "isNullable": true, "isActive": true });
    let objects = json!({ "data": { "objects": [{ "namePlural": "people", "fields": [
        field("crmExtId", "TEXT", true), field("emails", "EMAILS", true), field("company", "RELATION", false)
    ] }] } });
    let told = twenty().described("people", &[reply(200, &objects)]).unwrap();
    assert!(told.fields["crmExtId"].unique && told.fields["emails.primaryEmail"].unique && !told.fields["emails.additionalEmails"].unique);
    assert_eq!((&told.fields["companyId"].kind, &told.fields["crmExtId"].kind), (&FieldKind::Reference, &FieldKind::Text));
    assert_eq!(twenty().described("pets", &[reply(200, &objects)]).unwrap_err().code, "no_object");
}
