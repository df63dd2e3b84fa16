//! Dataverse's dialect: rows by alternate key and id, batches, queries, keys that are being built.

use std::time::Duration;

use onceward_sandbox::{HttpRequest, Options};
use serde_json::{Value, json};

use crate::Crm;

const ROOT: &str = "/api/data/v9.2";
const SHOWN: (&str, &str) = ("prefer", "return=representation");

fn ask(crm: &mut Crm, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
    let mut all =
        vec![("authorization".to_owned(), "Bearer a-token".to_owned()), ("content-type".to_owned(), "application/json".to_owned())];
    all.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let target = format!("{ROOT}{path}");
    let reply = crm.core.exchange(&HttpRequest { method, target: &target, headers: &all, body: &body }, crm.now).reply;
    reply.map_or((0, Value::Null), |reply| (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default()))
}

fn patch(crm: &mut Crm, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
    ask(crm, "PATCH", path, headers, body)
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["error"]["code"].as_str().unwrap_or_default())
}

#[test]
fn an_upsert_tells_created_from_updated_only_where_it_is_asked_to_show() {
    let mut crm = Crm::new();
    let path = "/contacts(onceward_key='a')?$select=contactid";
    assert_eq!(patch(&mut crm, path, &[], &json!({ "lastname": "Stone" })).0, 204);
    let (status, shown) = patch(&mut crm, path, &[SHOWN], &json!({ "lastname": "Flint", "onceward_key": "b" }));
    assert_eq!((status, shown.get("lastname"), shown["contactid"].is_string()), (200, None, true));
    let (status, new) = patch(&mut crm, "/contacts(onceward_key='O%27%27Brien')?$select=onceward_key", &[SHOWN], &json!({}));
    assert_eq!((status, &new["onceward_key"]), (201, &json!("O'Brien")));
    let held = crm.records_of("dataverse");
    assert_eq!(
        (held.len(), held[0].key.as_deref(), held[0].creates, held[0].writes),
        (2, Some("a"), 1, 2),
        "a key in the body changes nothing"
    );
    assert_eq!(held[0].fields["lastname"], "Flint");
}

#[test]
fn conditions_prevent_creation_or_change_in_the_documented_words() {
    let mut crm = Crm::new();
    let (only_update, only_create) = (("if-match", "*"), ("if-none-match", "*"));
    let id = "/contacts(00000000-0000-0000-0000-000000000001)";
    let refused = patch(&mut crm, id, &[only_update], &json!({ "lastname": "x" }));
    assert_eq!(
        (refused.0, refused.1["error"]["message"].as_str()),
        (404, Some("contact With Id = 00000000-0000-0000-0000-000000000001 Does Not Exist"))
    );
    assert_eq!(code(&patch(&mut crm, "/contacts(onceward_key='a')", &[only_update], &json!({}))), (404, "0x80060891"));
    assert_eq!(patch(&mut crm, id, &[only_create], &json!({ "lastname": "x" })).0, 204, "under an id of one's own");
    let refused = patch(&mut crm, id, &[only_create], &json!({ "lastname": "y" }));
    assert_eq!((refused.0, refused.1["error"]["message"].as_str()), (412, Some("A record with matching key values already exists.")));
    assert_eq!(ask(&mut crm, "DELETE", id, &[], &Value::Null).0, 204);
    assert_eq!(code(&ask(&mut crm, "DELETE", id, &[], &Value::Null)), (404, "0x80040217"));
    assert_eq!(patch(&mut crm, id, &[], &json!({})).0, 204, "it comes back under its id");
}

#[test]
fn two_rows_never_have_one_alternate_key() {
    let mut crm = Crm::new();
    assert_eq!(ask(&mut crm, "POST", "/contacts", &[], &json!({ "onceward_key": "shop:7" })).0, 204);
    let again = ask(&mut crm, "POST", "/contacts", &[], &json!({ "onceward_key": "SHOP:7" }));
    assert_eq!(code(&again), (412, "0x80060892"));
    assert!(again.1["error"]["message"].as_str().unwrap().contains("<DuplicateEntity><Id>"));
    let under_an_id = patch(&mut crm, "/contacts(00000000-0000-0000-0000-000000000001)", &[], &json!({ "onceward_key": "shop:7" }));
    assert_eq!(code(&under_an_id), (412, "0x80060892"));
    assert_eq!(crm.records_of("dataverse").len(), 1);
}

#[test]
fn addresses_and_values_are_refused_as_the_real_one_does() {
    let mut crm = Crm::new();
    for key in ["a%3Ab", "a%2Fb", "a%26b", "50%25", "a%2Bb", "a%23b"] {
        assert_eq!(patch(&mut crm, &format!("/contacts(onceward_key='{key}')"), &[], &json!({})).0, 400, "{key}");
    }
    assert_eq!(code(&patch(&mut crm, "/contacts(lastname='a')", &[], &json!({}))), (400, "0x80060888"), "no alternate key");
    assert_eq!(code(&patch(&mut crm, "/conacs(onceward_key='a')", &[], &json!({}))), (404, "0x80060888"));
    for (body, says) in [
        (json!({ "nosuch": 1 }), "0x80048d19"),
        (json!({ "lastname": "x".repeat(51) }), "0x80044331"),
        (json!({ "lastname": 7 }), "0x80048d19"),
        (json!({ "leadsourcecode": "1" }), "0x80048d19"),
        (json!({ "leadsourcecode": 9 }), "0x80044331"),
        (json!({ "birthdate": "soon" }), "0x80048d19"),
        (json!({ "parentcustomerid_account": "x" }), "0x80048d19"),
        (json!({ "ParentCustomerId_account@odata.bind": null }), "0x80048d19"),
    ] {
        assert_eq!(code(&patch(&mut crm, "/contacts(onceward_key='a')", &[], &body)), (400, says), "{body}");
    }
    let bind = |address: &str| json!({ "parentcustomerid_account@odata.bind": address });
    for (address, status) in
        [("/accounts(onceward_key='x')", 404), ("/accounts(00000000-0000-0000-0000-000000000001)", 404), ("/leads(onceward_key='x')", 400)]
    {
        assert_eq!(patch(&mut crm, "/contacts(onceward_key='a')", &[], &bind(address)).0, status, "{address}");
    }
    assert!(crm.records_of("dataverse").is_empty());
    patch(&mut crm, "/accounts(onceward_key='x')", &[], &json!({ "name": "Example" }));
    assert_eq!(patch(&mut crm, "/contacts(onceward_key='a')", &[], &bind("/accounts(onceward_key='x')")).0, 204);
    let (_, rows) =
        ask(&mut crm, "GET", "/contacts?$filter=onceward_key%20eq%20%27a%27&$select=_parentcustomerid_value", &[], &Value::Null);
    assert!(rows["value"][0]["_parentcustomerid_value"].is_string(), "{rows}");
    let by_name = "/contacts?$filter=onceward_key%20eq%20%27a%27&$select=parentcustomerid_account";
    assert_eq!(code(&ask(&mut crm, "GET", by_name, &[], &Value::Null)), (400, "0x80060888"));
    assert_eq!(ask(&mut crm, "GET", "/contacts?$filter=onceward_key%20ne%20%27a%27", &[], &Value::Null).0, 400);
}

fn batch(parts: &[&str]) -> String {
    let part = |part: &&str| format!("--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n{part}\r\n");
    format!("{}--b--\r\n", parts.iter().map(part).collect::<String>())
}

fn send(crm: &mut Crm, body: &str, prefer: &str) -> (u16, String) {
    let headers = [("authorization", "Bearer a"), ("content-type", "multipart/mixed; boundary=\"b\""), ("prefer", prefer)];
    let headers: Vec<(String, String)> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let request = HttpRequest { method: "POST", target: "/api/data/v9.2/$batch", headers: &headers, body: body.as_bytes() };
    let reply = crm.core.exchange(&request, crm.now).reply.unwrap();
    (reply.status, String::from_utf8(reply.body).unwrap())
}

#[test]
fn a_batch_stops_at_the_first_error_unless_it_is_to_go_on() {
    let write = |key: &str, body: &str| {
        format!(
            "PATCH {ROOT}/contacts(onceward_key='{key}')?$select=onceward_key HTTP/1.1\r\nprefer: return=representation\r\ncontent-type: application/json; type=entry\r\n\r\n{body}"
        )
    };
    let (good, bad, last) = (write("a", "{}"), write("b", "{\"nosuch\":1}"), write("c", "{}"));
    let text = batch(&[&good, &bad, &last]);
    let mut crm = Crm::new();
    let (status, answer) = send(&mut crm, &text, "");
    assert_eq!((status, answer.matches("HTTP/1.1 ").count(), crm.records_of("dataverse").len()), (400, 2, 1));
    let mut crm = Crm::new();
    let (status, answer) = send(&mut crm, &text, "odata.continue-on-error");
    let said: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")).collect();
    assert_eq!((status, said), (200, vec!["201 Created", "400 Bad Request", "201 Created"]));
    let results: Vec<String> = crm.core.calls(0).next().unwrap().records.iter().map(|record| record.result.to_string()).collect();
    assert_eq!(results, ["created", "0x80048d19", "created"]);
    for broken in ["", "--b--", "--b\r\n\r\nPATCH x HTTP/1.1\r\n\r\n--b--\r\n", &text[..text.len() - 8]] {
        let (status, _) = send(&mut crm, broken, "odata.continue-on-error");
        assert_eq!((status >= 400 || crm.records_of("dataverse").len() == 2, crm.records_of("dataverse").len()), (true, 2), "{broken}");
    }
    crm.set("missing=1");
    let (_, answer) = send(&mut crm, &text, "odata.continue-on-error");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 2, "the last is missing");
}

#[test]
fn a_new_alternate_key_is_refused_until_its_index_is_built() {
    let mut crm = Crm::new();
    let column = json!({ "@odata.type": "Microsoft.Dynamics.CRM.StringAttributeMetadata", "SchemaName": "erp_Key", "MaxLength": 255 });
    let table = "/EntityDefinitions(LogicalName='contact')";
    assert_eq!(ask(&mut crm, "POST", &format!("{table}/Keys"), &[], &json!({ "KeyAttributes": ["erp_key"] })).0, 400);
    assert_eq!(ask(&mut crm, "POST", &format!("{table}/Attributes"), &[], &column).0, 204);
    assert_eq!(ask(&mut crm, "POST", &format!("{table}/Attributes"), &[], &column).0, 400, "once");
    assert_eq!(ask(&mut crm, "POST", &format!("{table}/Keys"), &[], &json!({ "KeyAttributes": ["erp_key"] })).0, 204);
    assert_eq!(patch(&mut crm, "/contacts(erp_key='1')", &[], &json!({})).0, 400);
    crm.wait(10);
    assert_eq!(patch(&mut crm, "/contacts(erp_key='1')", &[], &json!({})).0, 204);
    assert_eq!(crm.records_of("dataverse").len(), 1, "what was added to a table is no record");
}

#[test]
fn a_token_needs_the_scope_of_the_environment_and_faults_answer_in_dataverses_words() {
    let options = Options { latency: Duration::ZERO, credentials: "app:hush".parse().unwrap(), ..Options::default() };
    let mut crm = Crm { core: onceward_sandbox::Core::new(7, options), now: crate::START };
    let mut token = |form: &str| {
        let headers = [("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned())];
        let target = "/1b2c/oauth2/v2.0/token";
        let reply =
            crm.core.exchange(&HttpRequest { method: "POST", target, headers: &headers, body: form.as_bytes() }, crm.now).reply.unwrap();
        (reply.status, serde_json::from_slice::<Value>(&reply.body).unwrap())
    };
    let form = "grant_type=client_credentials&client_id=app&client_secret=";
    assert_eq!(token(&format!("{form}hush")).1["error"], "invalid_scope");
    assert_eq!(token(&format!("{form}wrong&scope=x/.default")).0, 401);
    let (status, granted) = token(&format!("{form}hush&scope=https%3A%2F%2Fx%2F.default"));
    assert_eq!((status, granted["expires_in"].is_u64(), granted["access_token"].is_string()), (200, true, true));
    for (faults, status) in [
        ("429=1:90s", 429),
        ("limit=1", 429),
        ("500-before=1", 500),
        ("expired-token=1", 401),
        ("lock=1", 500),
        ("dataverse.lock=1", 500),
        ("zoho.lock=1", 204),
    ] {
        let mut crm = Crm::with(faults);
        assert_eq!(patch(&mut crm, "/contacts(onceward_key='a')", &[], &json!({})).0, status, "{faults}");
        assert_eq!(crm.records_of("dataverse").len() == 1, status == 204, "{faults}");
    }
}

#[test]
fn a_late_write_lands_over_a_newer_value_and_creates_nothing_twice() {
    let mut crm = Crm::with("late=1:30s");
    patch(&mut crm, "/contacts(onceward_key='a')", &[], &json!({ "lastname": "Old" }));
    crm.set("");
    patch(&mut crm, "/contacts(onceward_key='a')", &[], &json!({ "lastname": "New" }));
    crm.wait(30);
    crm.core.advance(crm.now);
    let held = crm.records_of("dataverse").remove(0);
    assert_eq!((&held.fields["lastname"], held.creates, held.writes), (&json!("Old"), 1, 2));
}
