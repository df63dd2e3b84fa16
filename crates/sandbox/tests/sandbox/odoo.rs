//! Odoo's dialect, row by row.

use serde_json::{Value, json};

use crate::Crm;

fn load(crm: &mut Crm, model: &str, fields: &[&str], data: &[&[&str]]) -> (u16, Value) {
    crm.ask("POST", &format!("/json/2/{model}/load"), &json!({ "fields": fields, "data": data, "context": { "tz": "UTC" } }))
}

fn read(crm: &mut Crm, model: &str, domain: &Value, fields: &[&str]) -> Value {
    let body = json!({ "domain": domain, "fields": fields, "context": { "active_test": false } });
    crm.ask("POST", &format!("/json/2/{model}/search_read"), &body).1
}

/// Fields and texts of the messages.
fn messages(answer: &Value) -> Vec<(u64, String)> {
    let one = |message: &Value| (message["record"].as_u64().unwrap(), message["field"].as_str().unwrap().to_owned());
    answer["messages"].as_array().unwrap().iter().map(one).collect()
}

#[test]
fn a_row_is_found_by_its_external_id_and_an_empty_cell_clears() {
    let mut crm = Crm::new();
    let (status, made) =
        load(&mut crm, "res.partner", &["id", "name", "email"], &[&["ext.a", "Ada", "a@example.com"], &["ext.b", "Berg", ""]]);
    assert_eq!((status, &made["messages"]), (200, &json!([])));
    let ids = made["ids"].clone();
    let (_, again) = load(&mut crm, "res.partner", &["id", "email"], &[&["ext.a", ""]]);
    assert_eq!(again["ids"], json!([ids[0]]));
    let rows = read(&mut crm, "res.partner", &json!([["id", "in", ids]]), &["name", "email", "is_company", "write_date"]);
    assert_eq!(rows[0], json!({ "id": ids[0], "name": "Ada", "email": false, "is_company": false, "write_date": "2026-11-22 18:04:00" }));
    let known = read(&mut crm, "ir.model.data", &json!([["module", "=", "ext"], ["name", "in", ["a", "z"]]]), &["name", "res_id"]);
    assert_eq!((known.as_array().unwrap().len(), &known[0]["res_id"]), (1, &ids[0]));
    let held = crm.records_of("odoo");
    assert_eq!((held.len(), held[0].key.as_deref(), held[0].creates, held[0].writes), (2, Some("ext.a"), 1, 2));
    assert_eq!(crm.core.stats().records, 2, "external ids are no records");
}

#[test]
fn any_refused_row_undoes_all_and_each_is_named() {
    let mut crm = Crm::new();
    let rows: &[&[&str]] = &[&["ext.a", "Ada", "1"], &["ext.b", "", "1"], &["ext.c", "Carl", "perhaps"]];
    let (status, answer) = load(&mut crm, "res.partner", &["id", "name", "is_company"], rows);
    assert_eq!((status, &answer["ids"]), (200, &json!(false)));
    assert_eq!(messages(&answer), [(2, "is_company".to_owned())], "cells are read before anything is written");
    let (_, answer) = load(&mut crm, "res.partner", &["id", "name"], &[&["ext.a", "Ada"], &["ext.b", ""]]);
    assert_eq!((messages(&answer), crm.records_of("odoo").len()), (vec![(1, "name".to_owned())], 0));
    let (status, error) = load(&mut crm, "res.partner", &["id", "nosuch"], &[&["ext.a", "x"]]);
    assert_eq!((status, &error["name"]), (500, &json!("builtins.ValueError")));
    assert_eq!(load(&mut crm, "res.pets", &["id"], &[&["x"]]).0, 404);
}

#[test]
fn references_go_by_name_external_id_or_database_id() {
    let mut crm = Crm::new();
    let (_, company) = load(&mut crm, "res.partner", &["id", "name", "is_company"], &[&["ext.co", "Deco", "true"]]);
    let number = company["ids"][0].to_string();
    for (column, cell) in [("parent_id/id", "ext.co"), ("parent_id/.id", number.as_str()), ("parent_id", "Deco")] {
        let (_, answer) = load(&mut crm, "res.partner", &["id", "name", column], &[&["ext.a", "Ada", cell]]);
        let rows = read(&mut crm, "res.partner", &json!([["id", "=", answer["ids"][0]]]), &["parent_id"]);
        assert_eq!(rows[0]["parent_id"], json!([company["ids"][0], "Deco"]), "{column}");
    }
    let (_, answer) = load(&mut crm, "crm.lead", &["id", "name", "partner_id/id"], &[&["ext.l", "Lead", "ext.none"]]);
    assert_eq!(messages(&answer), [(0, "partner_id".to_owned())]);
    let (_, answer) = load(&mut crm, "crm.lead", &["id", "name"], &[&["ext.co", "Lead"]]);
    assert_eq!(messages(&answer), [(0, "id".to_owned())], "the id is another model's");
}

#[test]
fn what_is_only_changed_goes_by_its_database_id_and_what_is_gone_is_missing() {
    let mut crm = Crm::new();
    let (_, made) = load(&mut crm, "res.partner", &["id", "name"], &[&["ext.a", "Ada"]]);
    let id = made["ids"][0].to_string();
    assert_eq!(load(&mut crm, "res.partner", &[".id", "city"], &[&[&id, "Rome"]]).1["ids"], made["ids"]);
    let unlink = json!({ "ids": made["ids"] });
    assert_eq!(crm.ask("POST", "/json/2/res.partner/unlink", &unlink), (200, json!(true)));
    let (status, error) = crm.ask("POST", "/json/2/res.partner/unlink", &unlink);
    assert_eq!((status, &error["name"]), (404, &json!("odoo.exceptions.MissingError")));
    assert_eq!(messages(&load(&mut crm, "res.partner", &[".id", "city"], &[&[&id, "Rome"]]).1), [(0, ".id".to_owned())]);
    assert_eq!(
        read(&mut crm, "ir.model.data", &json!([["module", "=", "ext"]]), &["name", "res_id"]),
        json!([]),
        "its external id went with it"
    );
    load(&mut crm, "res.partner", &["id", "name"], &[&["ext.a", "Ada"]]);
    let held = crm.records_of("odoo");
    assert_eq!((held.len(), held[0].creates), (1, 2));
}

#[test]
fn faults_strike_in_the_words_of_the_dialect() {
    for (faults, status, applied) in [
        ("429=1", 429, 0),
        ("500-before=1", 502, 0),
        ("500-after=1", 502, 2),
        ("cut-after=1", 0, 2),
        ("expired-token=1", 401, 0),
        ("lock=1", 200, 0),
        ("missing=1", 200, 2),
    ] {
        let mut crm = Crm::with(faults);
        let answer = load(&mut crm, "res.partner", &["id", "name"], &[&["ext.a", "Ada"], &["ext.b", "Berg"]]);
        assert_eq!((answer.0, crm.records_of("odoo").len()), (status, applied), "{faults}");
        match faults {
            "lock=1" => assert_eq!(messages(&answer.1).len(), 1),
            "missing=1" => assert_eq!(answer.1["ids"].as_array().unwrap().len(), 1),
            "expired-token=1" => assert_eq!(answer.1["arguments"][0], "Invalid apikey"),
            _ => {}
        }
    }
    let mut crm = Crm::new();
    assert_eq!(crm.ask("POST", "/json/2/res.users/context_get", &json!({})).0, 200);
    let (_, fields) = crm.ask("POST", "/json/2/res.partner/fields_get", &json!({}));
    assert_eq!((&fields["name"]["required"], &fields["parent_id"]["type"]), (&json!(true), &json!("many2one")));
}
