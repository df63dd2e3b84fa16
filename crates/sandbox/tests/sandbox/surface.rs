//! The sandbox's own surface: exactly the shapes that acceptance checks read.

use onceward_sandbox::{CallView, RecordView};
use serde_json::{Value, json};

use crate::{Crm, UPSERT};

#[test]
fn counts_records_and_calls_have_the_shapes_of_the_contract() {
    let mut crm = Crm::new();
    crm.upsert(&[("a", "One"), ("bad", "")]);
    crm.upsert(&[("a", "Two")]);
    let stats = crm.get("/_sandbox/stats");
    assert_eq!(stats, (200, json!({"calls": 2, "creates": 1, "updates": 1, "records": 1, "refused": 1})));
    let (_, records) = crm.get("/_sandbox/records?crm=salesforce&object=Lead");
    let id = records[0]["id"].clone();
    let expected = json!([{"crm": "salesforce", "object": "Lead", "id": id, "key": "a", "creates": 1, "writes": 2, "deleted": false,
        "fields": {"Ext_Id__c": "a", "LastName": "Two", "Company": "Example"}}]);
    assert_eq!(records, expected);
    for other in ["?crm=hubspot", "?object=Contact", "?crm=salesforce&object=Account"] {
        assert_eq!(crm.get(&format!("/_sandbox/records{other}")), (200, json!([])), "{other}");
    }
    let (_, calls) = crm.get("/_sandbox/calls?after=0");
    let expected = json!({"seq": 1, "at": "2026-11-22T18:04:00.700Z", "crm": "salesforce", "method": "PATCH", "path": UPSERT, "call": "call_1",
        "status": 200, "applied": true, "records": [{"key": "a", "result": "created"}, {"key": "bad", "result": "REQUIRED_FIELD_MISSING"}]});
    assert_eq!((&calls[0], calls.as_array().unwrap().len()), (&expected, 2));
    assert_eq!(crm.get("/_sandbox/calls?after=1").1.as_array().unwrap().len(), 1);
    assert_eq!(crm.get("/_sandbox/calls?after=2").1, json!([]));
    assert_eq!(crm.get("/_sandbox/calls?after=18446744073709551615").1, json!([]));
    assert_eq!(crm.get("/_sandbox/calls?limit=1").1[0]["seq"], 1);
    serde_json::from_value::<Vec<CallView>>(calls).unwrap();
    serde_json::from_value::<Vec<RecordView>>(records).unwrap();
}

#[test]
fn a_record_that_is_created_again_after_its_deletion_counts_both() {
    let mut crm = Crm::new();
    crm.upsert(&[("a", "One")]);
    let first = crm.records().remove(0).id;
    crm.call("DELETE", &format!("/sobjects/Lead/{first}"), &Value::Null);
    let gone = crm.records();
    assert_eq!((gone.len(), gone[0].deleted, gone[0].key.as_deref(), crm.core.stats().records), (1, true, Some("a"), 0));
    crm.upsert(&[("A", "Two")]);
    let back = crm.records();
    assert_eq!((back.len(), back[0].deleted, back[0].creates, back[0].writes), (1, false, 2, 2));
    assert_ne!(back[0].id, first);
}

#[test]
fn faults_are_replaced_as_a_whole_and_answered_as_they_are_in_force() {
    let mut crm = Crm::with("lock=0.5");
    let faults = json!({"429": 0.05, "late": "0.01:30s", "down": "30s", "salesforce.lock": 0.01});
    let (status, body) = crm.call("PUT", "/_sandbox/faults", &faults);
    assert_eq!((status, &body), (200, &json!({"down": "30s", "429": "0.05:1s", "late": "0.01:30s", "salesforce.lock": 0.01})));
    assert_eq!(crm.call("PUT", "/_sandbox/faults", &body).1, body, "what is answered reads back");
    crm.wait(30);
    assert_eq!(crm.get("/_sandbox/faults").1, json!({"429": "0.05:1s", "late": "0.01:30s", "salesforce.lock": 0.01}));
    for (wrong, says) in
        [(json!({"428": 1}), "there is no fault `428`"), (json!({"lock": 2}), "chance from 0 to 1"), (json!([]), "JSON object")]
    {
        let (status, error) = crm.call("PUT", "/_sandbox/faults", &wrong);
        assert!(status == 400 && error["error"].as_str().unwrap().contains(says), "{error}");
    }
    assert_eq!(crm.get("/_sandbox/faults").1["late"], "0.01:30s", "a wrong one changes nothing");
    assert_eq!(crm.call("PUT", "/_sandbox/faults", &json!({})), (200, json!({})));
}

#[test]
fn a_reset_starts_again_as_at_the_start() {
    let mut crm = Crm::with("lock=0.5,late=0.5");
    let first: Vec<_> = (0..20).map(|number| crm.upsert(&[(&number.to_string(), "x")])).collect();
    crm.set("");
    assert_eq!(crm.call("DELETE", "/_sandbox", &Value::Null).0, 204);
    crm.wait(60);
    assert_eq!((crm.get("/_sandbox/records").1, crm.get("/_sandbox/calls").1), (json!([]), json!([])), "late writes are forgotten too");
    assert_eq!(crm.get("/_sandbox/faults").1, json!({"lock": 0.5, "late": "0.5:30s"}));
    let again: Vec<_> = (0..20).map(|number| crm.upsert(&[(&number.to_string(), "x")])).collect();
    assert_eq!(first, again);
}

#[test]
fn the_surface_refuses_what_it_does_not_have_and_is_never_down() {
    let mut crm = Crm::with("down=1h");
    assert_eq!(crm.get("/_sandbox/stats").0, 200);
    assert_eq!(crm.get("/_sandbox/nope").0, 404);
    assert_eq!(crm.get("/_sandbox").0, 405);
    assert_eq!(crm.get("/_sandbox/calls?after=x").0, 400);
    assert!([0, 503].contains(&crm.get("/limits").0));
    assert_eq!(crm.core.stats().calls, 1, "only calls to the CRM count");
}

#[test]
fn the_log_keeps_the_latest_calls_within_its_bounds() {
    let mut crm = Crm::new();
    for _ in 0..100_010 {
        crm.send("GET", "/services/data/v68.0/limits", b"");
    }
    let kept: Vec<u64> = crm.core.calls(0).map(|call| call.seq).collect();
    assert_eq!((kept.len(), kept[0], kept[99_999]), (100_000, 11, 100_010));
    assert_eq!(crm.core.calls(100_009).map(|call| call.seq).collect::<Vec<_>>(), [100_010]);
}
