use model::Reason;
use serde_json::json;

use super::*;
use crate::crm::Kind;
use crate::{Auth, Secret, Sought};

const ID: &str = "00000000-0000-0000-0000-000000000001";

fn dataverse() -> Dataverse {
    Dataverse::new(&settings(None)).unwrap()
}

fn settings(version: Option<&str>) -> Settings {
    let auth = Auth::ClientCredentials { client_id: "app".to_owned(), client_secret: Secret::new("hush") };
    Settings { api_version: version.map(str::to_owned), ..Settings::new(Kind::Dataverse, "https://example.crm4.dynamics.com/", auth) }
}

fn record(key: &str, crm_id: Option<&str>, fields: Value) -> WriteRecord {
    let fields = fields.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    WriteRecord { key: key.to_owned(), crm_id: crm_id.map(str::to_owned), revision: 1, fields }
}

fn batch(mode: Mode, records: Vec<WriteRecord>) -> WriteBatch {
    WriteBatch { object: "contacts".to_owned(), key_field: "onceward_key".to_owned(), mode, records }
}

fn of(keys: &[&str]) -> WriteBatch {
    batch(Mode::Upsert, keys.iter().map(|key| record(key, None, json!({ "lastname": "Stone" }))).collect())
}

fn reply(status: u16, body: impl ToString) -> Reply {
    Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
}

fn refusal(code: &str, message: &str) -> Value {
    json!({ "error": { "code": code, "message": message } })
}

/// The failure of a batch of one, whether it came as the record's or as the call's.
fn one(batch: &WriteBatch, reply: &Reply) -> Failure {
    match dataverse().written(batch, reply) {
        Ok(mut results) => results.remove(0).unwrap_err(),
        Err(failure) => failure,
    }
}

fn parts(parts: &[(u16, Value)]) -> Reply {
    let mut text = String::new();
    for (status, body) in parts {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        text += "--batchresponse_f44b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n";
        text += &format!("HTTP/1.1 {status} Said\r\nOData-Version: 4.0\r\n\r\n{body}\r\n");
    }
    let headers = vec![("content-type".to_owned(), "multipart/mixed; boundary=batchresponse_f44b".to_owned())];
    Reply { status: 200, headers, body: format!("{text}--batchresponse_f44b--\r\n").into_bytes() }
}

fn row(key: &str, number: u8) -> Value {
    json!({ "@odata.etag": "W/\"71004878\"", "onceward_key": key, "contactid": format!("ef0d112e-d70e-ed11-82e5-0022482257{number:02x}") })
}

#[test]
fn the_version_and_the_scope_follow_from_the_settings() {
    assert_eq!(dataverse().scope(), Some("https://example.crm4.dynamics.com/.default".to_owned()));
    assert_eq!(dataverse().token_url(), None, "it has the tenant in it, and must be configured");
    let path = Dataverse::new(&settings(Some("v9.1"))).unwrap().probe().path;
    assert_eq!(path, "/api/data/v9.1/WhoAmI");
    for bad in ["9.2", "v9", "v9.", "v9.x", "v9.2/..", "v10.0", ""] {
        assert!(Dataverse::new(&settings(Some(bad))).is_err(), "{bad}");
    }
}

#[test]
fn a_record_is_addressed_as_its_mode_and_its_key_allow() {
    let sent = |mode, key: &str, id: Option<&str>| {
        let request = dataverse().write(&batch(mode, vec![record(key, id, json!({ "lastname": "Stone" }))])).unwrap();
        let condition = ["if-match", "if-none-match"].into_iter().find(|name| request.header(name) == Some("*"));
        let keyed = matches!(&request.body, Body::Json(body) if body.get("onceward_key").is_some());
        (request.method.to_string(), request.path, condition, keyed)
    };
    let select = "?$select=onceward_key";
    let by_key = format!("/api/data/v9.2/contacts(onceward_key='O%27%27Brien%20%C3%A9'){select}");
    let by_id = format!("/api/data/v9.2/contacts({ID}){select}");
    let derived = format!("/api/data/v9.2/contacts({}){select}", address::derived("contacts", "onceward_key", "Demo:1 "));
    let patch = || "PATCH".to_owned();
    assert_eq!(sent(Mode::Upsert, "O'Brien é", None), (patch(), by_key.clone(), None, false));
    assert_eq!(sent(Mode::Upsert, "O'Brien é", Some(ID)), (patch(), by_key.clone(), None, false));
    assert_eq!(sent(Mode::UpdateOnly, "O'Brien é", None), (patch(), by_key.clone(), Some("if-match"), false));
    assert_eq!(sent(Mode::CreateOnly, "O'Brien é", None), (patch(), by_key, Some("if-none-match"), false));
    assert_eq!(sent(Mode::UpdateOnly, "demo:1", Some(ID)), (patch(), by_id.clone(), Some("if-match"), false));
    assert_eq!(sent(Mode::Upsert, "demo:1", Some(ID)), (patch(), by_id, Some("if-match"), false));
    assert_eq!(sent(Mode::Upsert, "demo:1", None), (patch(), derived.clone(), None, true), "the key is in the record");
    assert_eq!(sent(Mode::CreateOnly, "demo:1", None), (patch(), derived.clone(), Some("if-none-match"), true));
    let own = address::derived("contacts", "onceward_key", "demo:1").to_uppercase();
    assert_eq!(sent(Mode::Upsert, "demo:1", Some(&own)), (patch(), derived, None, true), "what was deleted comes back under its id");
    assert_eq!(sent(Mode::Delete, "demo:1", Some(ID)), ("DELETE".to_owned(), format!("/api/data/v9.2/contacts({ID})"), None, false));
    let nothing =
        batch(Mode::UpdateOnly, vec![record("a", Some(ID), json!({})), record("b:1", None, json!({})), record("c", None, json!({}))]);
    assert_eq!(dataverse().write_fits(&nothing), 1, "those that can be written go without it");
    let refused = dataverse().write(&batch(Mode::UpdateOnly, vec![record("b:1", None, json!({}))])).unwrap_err();
    assert_eq!((refused.class, refused.code.as_str()), (Class::Permanent, "key_not_addressable"));
    assert!(refused.message.contains("adopt = \"read\""), "{}", refused.message);
}

#[test]
fn a_derived_id_is_the_same_for_the_same_key_only_and_a_uuid() {
    let id = |object: &str, key: &str| address::derived(object, "onceward_key", key);
    let first = id("contacts", "demo:1");
    assert_eq!(first, id("contacts", " DEMO:1"));
    assert_ne!(first, id("contacts", "demo:2"));
    assert_ne!(first, id("accounts", "demo:1"));
    assert!(valid_id(&first) && first.as_bytes()[14] == b'8' && b"89ab".contains(&first.as_bytes()[19]), "{first}");
    for bad in
        ["", "1", "00000000-0000-0000-0000-00000000000g", "{00000000-0000-0000-0000-000000000001}", "000000000000-0000-0000-0000-00000001"]
    {
        assert!(!valid_id(bad), "{bad}");
    }
}

#[test]
fn a_batch_is_the_multipart_text_that_the_vendor_documents_and_the_same_for_the_same_content() {
    let two = batch(Mode::Upsert, vec![record("a", None, json!({ "lastname": "Stone" })), record("b", None, json!({ "lastname": null }))]);
    let request = dataverse().write(&two).unwrap();
    assert_eq!((request.path.as_str(), request.header("prefer")), ("/api/data/v9.2/$batch", Some("odata.continue-on-error")));
    let Body::Raw { kind, text } = &request.body else { panic!("{request:?}") };
    let boundary = kind.strip_prefix("multipart/mixed; boundary=\"").unwrap().trim_end_matches('"');
    let part = |key: &str, body: &str| {
        format!(
            "--{boundary}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n\
             PATCH /api/data/v9.2/contacts(onceward_key='{key}')?$select=onceward_key HTTP/1.1\r\nprefer: return=representation\r\n\
             content-type: application/json; type=entry\r\n\r\n{body}\r\n"
        )
    };
    let expected = format!("{}{}--{boundary}--\r\n", part("a", "{\"lastname\":\"Stone\"}"), part("b", "{\"lastname\":null}"));
    assert_eq!(*text, expected);
    let Body::Raw { text: again, .. } = dataverse().write(&two).unwrap().body else { panic!("no batch") };
    assert_eq!(*text, again);
    let delete = batch(Mode::Delete, vec![record("a", Some(ID), json!({})), record("b", Some(ID), json!({}))]);
    let Body::Raw { text, .. } = dataverse().write(&delete).unwrap().body else { panic!("no batch") };
    assert!(text.contains(&format!("DELETE /api/data/v9.2/contacts({ID}) HTTP/1.1\r\n\r\n\r\n--batch_")), "{text}");
}

/// execute-batch-operations-using-web-api, "Handling errors": the answer with `odata.continue-on-error`.
const DOCUMENTED: &str = "--batchresponse_f44bd09d-573f-4a30-bca0-2e500ee7e139\nContent-Type: application/http\nContent-Transfer-Encoding: binary\n\n\
HTTP/1.1 400 Bad Request\nREQ_ID: de4c5227-4a28-4ebd-8ced-3392ece1697b\nContent-Type: application/json; odata.metadata=minimal\nOData-Version: 4.0\n\n\
{\"error\":{\"code\":\"0x80044331\",\"message\":\"A validation error occurred.  The length of the 'subject' attribute of the 'task' entity exceeded \
the maximum allowed length of '200'.\"}}\n--batchresponse_f44bd09d-573f-4a30-bca0-2e500ee7e139\nContent-Type: application/http\n\
Content-Transfer-Encoding: binary\n\nHTTP/1.1 204 No Content\nOData-Version: 4.0\nLocation: [Organization Uri]/api/data/v9.2/tasks(aed2ae8b-3c94-ed11-aad1-000d3a9933c9)\n\
OData-EntityId: [Organization Uri]/api/data/v9.2/tasks(aed2ae8b-3c94-ed11-aad1-000d3a9933c9)\n\n\n--batchresponse_f44bd09d-573f-4a30-bca0-2e500ee7e139--\n";

#[test]
fn the_vendors_own_batch_answer_is_read_part_by_part() {
    let reply = Reply { status: 200, headers: Vec::new(), body: DOCUMENTED.as_bytes().to_vec() };
    let statuses: Vec<u16> = batch::statuses(&reply).unwrap().iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [400, 204]);
    let two = batch(Mode::Upsert, vec![record("a", None, json!({ "subject": "x" })), record("b", None, json!({ "subject": "y" }))]);
    let results = dataverse().written(&two, &reply).unwrap();
    let refused = results[0].clone().unwrap_err();
    assert_eq!((refused.class, refused.scope, refused.fields), (Class::Permanent, Scope::Record, vec!["subject".to_owned()]));
    let id = "aed2ae8b-3c94-ed11-aad1-000d3a9933c9".to_owned();
    assert_eq!(results[1], Ok(Written { crm_id: Some(id), created: None }), "a table that does not show what it wrote");
}

#[test]
fn results_are_told_apart_by_the_key_that_they_show_and_never_by_a_guess() {
    let three = of(&["a", "b", "c"]);
    let written = |parts_: &[(u16, Value)]| {
        let results = dataverse().written(&three, &parts(parts_)).unwrap();
        results
            .into_iter()
            .map(|result| result.map_or_else(|failure| failure.code, |written| written.crm_id.unwrap()[34..].to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(written(&[(201, row("a", 1)), (200, row("B", 2)), (201, row("c", 3))]), ["01", "02", "03"]);
    assert_eq!(written(&[(201, row("c", 3)), (201, row("a", 1)), (200, row("b", 2))]), ["01", "02", "03"], "out of order");
    assert_eq!(written(&[(201, row("a", 1)), (201, row("c", 3))]), ["01", "no_result", "03"], "one is missing");
    let refused = refusal("0x80044331", "A validation error occurred.");
    assert_eq!(written(&[(201, row("a", 1)), (400, refused.clone()), (201, row("c", 3))]), ["01", "0x80044331", "03"]);
    assert_eq!(written(&[(201, row("b", 2)), (400, refused.clone()), (201, row("c", 3))]), ["no_result", "02", "03"], "whose error is it?");
    assert_eq!(written(&[(201, row("a", 1)), (400, refused)]), ["01", "no_result", "no_result"]);
    let twice = dataverse().written(&three, &parts(&[(201, row("a", 1)), (201, row("a", 2)), (201, row("c", 3))])).unwrap_err();
    assert_eq!((twice.class, twice.scope), (Class::Unknown, Scope::Call));
    let mut cut = parts(&[(201, row("a", 1)), (201, row("b", 2)), (201, row("c", 3))]);
    cut.body.truncate(cut.body.len() - 10);
    for broken in [cut, reply(200, ""), reply(200, "<html>"), reply(200, "--"), reply(202, json!({}))] {
        assert_eq!(dataverse().written(&three, &broken).unwrap_err().code, "garbage");
    }
}

#[test]
fn what_every_part_was_refused_for_is_the_destinations_and_among_successes_the_records() {
    let two = of(&["a", "b"]);
    let crowded = refusal("0x80072322", "Number of requests exceeded the limit of 6000 over time window of 300 seconds.");
    let all = dataverse().written(&two, &parts(&[(429, crowded.clone()), (429, crowded.clone())])).unwrap_err();
    assert_eq!((all.class, all.scope, all.retry_after), (Class::Throttled, Scope::Destination, Some(Duration::from_secs(30))));
    let some = dataverse().written(&two, &parts(&[(201, row("a", 1)), (429, crowded)])).unwrap();
    let failed = some[1].clone().unwrap_err();
    assert_eq!((failed.class, failed.scope, failed.retry_after.is_some()), (Class::Throttled, Scope::Record, true));
    let forbidden = refusal("0x80040220", "Principal user is missing prvCreateContact privilege");
    let some = dataverse().written(&two, &parts(&[(201, row("a", 1)), (403, forbidden.clone())])).unwrap();
    assert_eq!(some[1].clone().unwrap_err().class, Class::Permanent, "the credentials are good, as the other record shows");
    assert_eq!(dataverse().written(&two, &parts(&[(403, forbidden.clone()), (403, forbidden)])).unwrap_err().class, Class::Auth);
}

#[test]
fn created_is_told_from_updated() {
    let single = |mode, status, body: Value| dataverse().written(&batch(mode, of(&["a"]).records), &reply(status, body)).unwrap().remove(0);
    let written = |created| Ok(Written { crm_id: Some("ef0d112e-d70e-ed11-82e5-002248225701".to_owned()), created });
    assert_eq!(single(Mode::Upsert, 201, row("a", 1)), written(Some(true)));
    assert_eq!(single(Mode::Upsert, 200, row("a", 1)), written(Some(false)));
    assert_eq!(single(Mode::UpdateOnly, 200, row("a", 1)), written(Some(false)));
    assert_eq!(single(Mode::CreateOnly, 201, row("a", 1)), written(Some(true)));
    for (mode, status, body) in [(Mode::Upsert, 200, json!({})), (Mode::Upsert, 201, Value::Null), (Mode::CreateOnly, 200, row("a", 1))] {
        assert_eq!(one(&batch(mode, of(&["a"]).records), &reply(status, body)).code, "garbage");
    }
    let three = of(&["a", "b"]);
    assert_eq!(dataverse().written(&three, &reply(401, "")).unwrap_err().class, Class::Auth);
}

#[test]
fn each_documented_refusal_is_in_its_class() {
    let upsert = of(&["a"]);
    let update = batch(Mode::UpdateOnly, of(&["a"]).records);
    let create = batch(Mode::CreateOnly, of(&["a"]).records);
    let (record, call, destination) = (Scope::Record, Scope::Call, Scope::Destination);
    let key = "The key in the request URI is not valid for resource 'Microsoft.Dynamics.CRM.contact'. Ensure that the names and number of key \
               properties match the declared or alternate key properties for the resource 'Microsoft.Dynamics.CRM.contact'.";
    let version = "The version of the existing record doesn't match the RowVersion property provided.";
    let taken = "Entity Key onceward_key violated. A record with the same value for Key already exists.";
    for (batch, status, code, message, class, scope) in [
        // compose-http-requests-handle-errors, update-delete-entities and error codes seen by others.
        (&upsert, 400, "0x80044331", "The length of the 'lastname' attribute exceeded", Class::Permanent, record),
        (&upsert, 400, "0x80040265", "A plug-in says no", Class::Conflict, record),
        (&upsert, 400, "", key, Class::Permanent, destination),
        (&upsert, 401, "", "", Class::Auth, destination),
        (&upsert, 403, "0x80040220", "missing prvCreateContact privilege", Class::Auth, destination),
        (&upsert, 404, "0x80060888", "Resource not found for the segment 'conacs'.", Class::Permanent, destination),
        (&update, 404, "", "contact With Id = 00000000-0000-0000-0000-000000000001 Does Not Exist", Class::Permanent, record),
        (&update, 404, "0x80060891", "A record with the specified key values does not exist in contact entity", Class::Permanent, record),
        (&upsert, 412, "", version, Class::Conflict, record),
        (&upsert, 412, "0x80060892", taken, Class::Conflict, record),
        (&upsert, 412, "0x80040237", "Cannot insert duplicate key.", Class::Conflict, record),
        (&create, 412, "0x80060892", "Entity Key mail violated.", Class::Conflict, record),
        (&upsert, 413, "", "", Class::Permanent, record),
        (&upsert, 429, "0x80072321", "Combined execution time of incoming requests exceeded limit", Class::Throttled, destination),
        (&upsert, 500, "0x80044150", "Generic SQL error.", Class::Unknown, destination),
        (&upsert, 503, "", "", Class::Unknown, destination),
        (&upsert, 202, "", "", Class::Unknown, call),
    ] {
        let failed = one(batch, &reply(status, refusal(code, message)));
        assert_eq!((failed.class, failed.scope), (class, scope), "{status} {code} {message}: {failed:?}");
    }
    let missing = one(&update, &reply(404, refusal("", "contact With Id = x Does Not Exist")));
    assert_eq!(missing.reason, Some(Reason::RecordNotFound));
    for (code, message) in [("", "A record with matching key values already exists."), ("0x80060892", taken)] {
        let there = dataverse().written(&create, &reply(412, refusal(code, message))).unwrap();
        assert_eq!(there, [Ok(Written { crm_id: None, created: Some(false) })], "{message}");
    }
    let named = format!("{taken} <DuplicateEntity><Id>{ID}</Id></DuplicateEntity>");
    let there = dataverse().written(&create, &reply(412, refusal("0x80060892", &named))).unwrap();
    assert_eq!(there, [Ok(Written { crm_id: Some(ID.to_owned()), created: Some(false) })]);
    for mangled in ["", "<html>", "[]", "{\"error\":7}", "{\"error\":{}}"] {
        assert_eq!(one(&upsert, &reply(400, mangled)).class, Class::Permanent, "{mangled}");
    }
    let many = of(&["a", "b"]);
    assert_eq!(dataverse().written(&many, &reply(413, "")).unwrap_err().class, Class::Conflict, "halves are smaller");
}

#[test]
fn a_parent_that_is_not_there_is_told_from_the_record() {
    let link =
        Link { object: "accounts".to_owned(), key_field: "onceward_key".to_owned(), key: "acct-1".to_owned(), crm_id: Some(ID.to_owned()) };
    let with = |mode, id: Option<&str>| batch(mode, vec![record("a", id, json!({ "parentcustomerid_account": link.to_value() }))]);
    let Body::Json(body) = dataverse().write(&with(Mode::Upsert, None)).unwrap().body else { panic!("no JSON") };
    assert_eq!(body, json!({ "parentcustomerid_account@odata.bind": format!("/accounts({ID})") }));
    let own = "10000000-0000-0000-0000-000000000002";
    let parent = refusal("0x80040217", &format!("account With Id = {ID} Does Not Exist"));
    let itself = refusal("0x80040217", &format!("contact With Id = {own} Does Not Exist"));
    for mode in [Mode::Upsert, Mode::UpdateOnly] {
        let failed = one(&with(mode, Some(own)), &reply(404, &parent));
        assert_eq!((failed.class, failed.scope, failed.reason), (Class::Conflict, Scope::Record, None));
    }
    assert_eq!(one(&with(Mode::UpdateOnly, Some(own)), &reply(404, &itself)).reason, Some(Reason::RecordNotFound));
    let gone = batch(Mode::Upsert, vec![record("demo:1", Some(own), json!({}))]);
    assert_eq!(one(&gone, &reply(404, &itself)).class, Class::Conflict, "it is looked up again, and created anew");
    let delete = batch(Mode::Delete, vec![record("a", Some(own), json!({}))]);
    assert_eq!(dataverse().written(&delete, &reply(404, &itself)).unwrap(), [Ok(Written::default())]);
    let segment = refusal("0x80060888", "Resource not found for the segment 'contact'.");
    assert_eq!(one(&delete, &reply(404, &segment)).scope, Scope::Destination, "which deletes nothing");
}

#[test]
fn a_look_up_is_one_query_by_key_and_each_answer_is_read_for_what_it_says() {
    let look_up = |keys: &[&str], fields: &[&str]| ReadBatch {
        object: "contacts".to_owned(),
        key_field: "onceward_key".to_owned(),
        records: keys.iter().map(|key| Sought { key: (*key).to_owned(), crm_id: None }).collect(),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
    };
    let two = look_up(&["O'Brien", "b:1"], &["lastname"]);
    let path = "/api/data/v9.2/contacts?$select=onceward_key,modifiedon,lastname&$filter=\
                onceward_key%20eq%20%27O%27%27Brien%27%20or%20onceward_key%20eq%20%27b%3A1%27";
    assert_eq!(dataverse().read(&two).unwrap().path, path);
    let rows = |rows: Value| reply(200, json!({ "value": rows }));
    let found = |reply: &Reply| dataverse().found(&two, std::slice::from_ref(reply));
    let mut present = row("o'brien", 1);
    present["modifiedon"] = json!("2026-11-22T18:04:00Z");
    present["address1_addressid"] = json!("20000000-0000-0000-0000-000000000002");
    let results = found(&rows(json!([present]))).unwrap();
    let first = results[0].clone().unwrap().unwrap();
    assert_eq!(
        (first.crm_id.as_str(), &first.fields["lastname"], first.modified_at.is_some()),
        ("ef0d112e-d70e-ed11-82e5-002248225701", &Value::Null, true)
    );
    assert_eq!(results[1], Ok(None));
    let twice = found(&rows(json!([row("b:1", 1), row("B:1", 2)]))).unwrap()[1].clone().unwrap_err();
    assert_eq!(twice.reason, Some(Reason::AmbiguousMatch));
    let stray = found(&rows(json!([row("x", 1)]))).unwrap();
    assert!(stray.iter().all(|result| result.as_ref().is_err_and(|failure| failure.class == Class::Unknown)));
    let page = reply(200, json!({ "value": [], "@odata.nextLink": "https://…" }));
    assert_eq!(found(&page).unwrap_err().code, "too_large");
    for bad in [reply(200, ""), reply(200, json!({})), rows(json!([{}])), rows(json!([{ "onceward_key": "b:1" }]))] {
        assert_eq!(found(&bad).unwrap_err().code, "garbage");
    }
    let unknown = reply(
        400,
        refusal("0x80060888", "Could not find a property named 'parentcustomerid_account' on type 'Microsoft.Dynamics.CRM.contact'."),
    );
    let second = dataverse().read_on(&two, std::slice::from_ref(&unknown)).unwrap().unwrap();
    assert!(!second.path.contains("$select") && second.header("prefer").unwrap().contains("associatednavigationproperty"));
    assert!(dataverse().read_on(&two, &[rows(json!([]))]).unwrap().is_none());
    assert!(dataverse().read_on(&two, &[unknown.clone(), unknown]).unwrap().is_none(), "not a third time");
    let long: Vec<String> = (0..100).map(|at| format!("{at:0>400}")).collect();
    let many = look_up(&long.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    let fits = dataverse().read_fits(&many);
    assert!((10..60).contains(&fits) && dataverse().read(&many).is_err(), "{fits}");
}

#[test]
fn what_would_be_refused_is_not_sent() {
    let code = |batch: &WriteBatch| dataverse().write(batch).unwrap_err().code;
    assert_eq!(code(&of(&["a", " A"])), "duplicate_key");
    assert_eq!(code(&of(&[])), "empty_batch");
    assert_eq!(code(&of(&[" "])), "invalid_key");
    assert_eq!(code(&of(&["x".repeat(451).as_str()])), "invalid_key");
    let keys: Vec<String> = (0..101).map(|at| at.to_string()).collect();
    let all = of(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((code(&all).as_str(), dataverse().write_fits(&all)), ("too_large", 100));
    for name in ["last name", "a/b", "a@odata.bind", "1a"] {
        assert_eq!(code(&batch(Mode::Upsert, vec![record("a", None, json!({ name: "x" }))])), "invalid_name", "{name}");
    }
    assert_eq!(code(&batch(Mode::UpdateOnly, vec![record("a", Some("7"), json!({}))])), "invalid_id");
}

#[test]
fn what_dataverse_stores_in_its_own_way_is_the_same() {
    for (a, b, equal) in [
        (json!(" Stone "), json!("Stone"), true),
        (json!(null), json!(""), true),
        (json!("2026-11-22T19:04:00.700+01:00"), json!("2026-11-22T18:04:00Z"), true),
        (json!("2026-11-22T18:04:01Z"), json!("2026-11-22T18:04:00Z"), false),
        (json!([2, 1]), json!("1,2"), true),
        (json!("1,2"), json!("1,3"), false),
        (json!(12.5), json!("12.50"), true),
        (json!(true), json!(false), false),
        (json!("Ada@Example.com"), json!("ada@example.com"), true),
    ] {
        assert_eq!(dataverse().equal("x", &a, &b), equal, "{a} {b}");
    }
}

#[test]
fn tables_are_named_as_entity_sets_form_their_plurals() {
    for (set, table) in [
        ("contacts", "contact"),
        ("opportunities", "opportunity"),
        ("new_addresses", "new_address"),
        ("new_boxes", "new_box"),
        ("leads", "lead"),
    ] {
        assert_eq!(metadata::table(set), table);
    }
}
