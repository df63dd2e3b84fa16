//! Each fault does what it says: what is answered, and whether it was applied.

use std::time::Duration;

use onceward_sandbox::Exchange;
use serde_json::{Value, json};

use crate::{Crm, UPSERT, lead};

fn write(crm: &mut Crm, last: &str) -> Exchange {
    crm.send("PATCH", UPSERT, json!({"records": [lead("a", last)]}).to_string().as_bytes())
}

#[test]
fn every_fault_answers_and_applies_as_it_says() {
    for (faults, status, code, applied) in [
        ("429=1:90s", Some(429), None, false),
        ("limit=1", Some(403), Some("REQUEST_LIMIT_EXCEEDED"), false),
        ("500-before=1", Some(500), Some("UNKNOWN_EXCEPTION"), false),
        ("cut-before=1", None, None, false),
        ("500-after=1", Some(500), Some("UNKNOWN_EXCEPTION"), true),
        ("cut-after=1", None, None, true),
        ("garbage=1", Some(200), None, true),
        ("expired-token=1", Some(401), Some("INVALID_SESSION_ID"), false),
        ("late=1", None, None, false),
        ("lock=1", Some(200), None, false),
        ("429=1,salesforce.429=0", Some(200), None, true),
    ] {
        let mut crm = Crm::with(faults);
        let reply = write(&mut crm, "New").reply;
        assert_eq!(reply.as_ref().map(|reply| reply.status), status, "{faults}");
        assert_eq!(crm.last_name("a").is_some(), applied, "{faults}");
        if let Some(code) = code {
            let error: Value = serde_json::from_slice(&reply.as_ref().unwrap().body).unwrap();
            assert_eq!(error[0]["errorCode"], code, "{faults}");
        }
        let retry_after = reply.as_ref().and_then(|reply| reply.header("retry-after"));
        assert_eq!(retry_after, (faults == "429=1:90s").then_some("90"), "{faults}");
        let call = crm.core.calls(0).next().unwrap();
        assert_eq!((call.status, call.applied), (status, applied), "{faults}: the log tells the truth");
    }
}

#[test]
fn a_late_write_lands_late_over_a_newer_value() {
    let mut crm = Crm::with("late=1:30s");
    write(&mut crm, "Old");
    crm.set("");
    crm.wait(10);
    assert!(write(&mut crm, "New").reply.is_some());
    assert_eq!(crm.last_name("a").as_deref(), Some("New"));
    assert_eq!(crm.core.next_due(), Some(crate::START + Duration::from_secs(30)));
    crm.wait(19);
    crm.core.advance(crm.now);
    assert_eq!(crm.last_name("a").as_deref(), Some("New"), "not before its time");
    crm.wait(3_600);
    let (_, shown) = crm.get("/sobjects/Lead/Ext_Id__c/a?fields=LastName,LastModifiedDate");
    assert_eq!((&shown["LastName"], &shown["LastModifiedDate"]), (&json!("Old"), &json!("2026-11-22T18:04:30.000+0000")));
    let said: Vec<(String, bool, Option<u16>)> = crm
        .core
        .calls(0)
        .map(|call| (call.records.first().map_or("-".into(), |record| record.result.to_string()), call.applied, call.status))
        .collect();
    let expected = [("late", false, None), ("created", true, Some(200)), ("updated", true, None), ("-", false, Some(200))];
    assert_eq!(said, expected.map(|(result, applied, status)| (result.to_owned(), applied, status)));
    assert_eq!((crm.core.stats().calls, crm.core.next_due()), (3, None), "a landing is no call");
}

#[test]
fn a_partial_batch_fails_for_some_records_that_a_retry_heals() {
    let mut crm = Crm::with("partial=1");
    let keys: Vec<String> = (0..50).map(|number| format!("k{number}")).collect();
    let leads: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "x")).collect();
    let (status, results) = crm.upsert(&leads);
    let locked = results.as_array().unwrap().iter().filter(|result| result["errors"][0]["statusCode"] == "UNABLE_TO_LOCK_ROW").count();
    assert!(status == 200 && (10..40).contains(&locked), "{locked}");
    assert_eq!(crm.records().len(), 50 - locked);
    for (result, key) in results.as_array().unwrap().iter().zip(&keys) {
        assert_eq!(result["success"] == true, crm.last_name(key).is_some(), "{key}");
    }
    crm.set("");
    crm.upsert(&leads);
    assert_eq!(crm.records().len(), 50);
    crm.set("partial=1");
    assert_eq!(crm.upsert(&[("one", "x")]).1[0]["success"], true, "one record is no batch");
    crm.set("lock=1");
    let (status, error) = crm.call("PATCH", "/sobjects/Lead/Ext_Id__c/k1", &json!({"LastName": "y"}));
    assert_eq!((status, &error[0]["errorCode"]), (400, &json!("UNABLE_TO_LOCK_ROW")));
}

#[test]
fn a_missing_result_is_applied_all_the_same() {
    let mut crm = Crm::with("missing=1");
    let (status, results) = crm.upsert(&[("a", "x"), ("b", "y")]);
    assert_eq!((status, results.as_array().unwrap().len(), crm.records().len()), (200, 1, 2));
}

#[test]
fn down_lasts_for_its_span_from_when_it_was_set() {
    let mut crm = Crm::new();
    write(&mut crm, "New");
    crm.wait(100);
    crm.set("down=30s");
    let answers: Vec<u16> = (0..20).map(|_| crm.get("/limits").0).collect();
    assert!(answers.contains(&503) && answers.contains(&0) && answers.iter().all(|status| [503, 0].contains(status)), "{answers:?}");
    assert_eq!(crm.core.faults(crm.now).to_string(), "down=30s");
    crm.wait(30);
    assert_eq!(crm.get("/limits").0, 200);
    assert_eq!(crm.core.faults(crm.now).to_string(), "");
}

#[test]
fn a_slow_answer_is_applied_at_once_and_answered_later() {
    let mut crm = Crm::with("slow=1:250ms");
    let exchange = write(&mut crm, "New");
    assert_eq!((exchange.latency, exchange.reply.unwrap().status), (Duration::from_millis(250), 200));
    assert!(crm.last_name("a").is_some());
}

#[test]
fn garbage_is_never_an_answer_that_could_be_believed() {
    let mut crm = Crm::with("garbage=1");
    for _ in 0..50 {
        let reply = write(&mut crm, "New").reply.unwrap();
        assert!(reply.status == 200 && serde_json::from_slice::<Value>(&reply.body).is_err());
    }
}

#[test]
fn the_same_seed_misbehaves_in_the_same_way() {
    let list = "429=0.05,500-before=0.05,500-after=0.05,cut-after=0.05,late=0.05:3s,partial=0.2,lock=0.05,expired-token=0.05,slow=0.1,garbage=0.05,cut-before=0.05";
    let run = || {
        let mut crm = Crm::with(list);
        let answers: Vec<Exchange> = (0..500)
            .map(|round| {
                crm.wait(1);
                let records: Vec<Value> = (0..5).map(|place| lead(&format!("k{}", (round * 3 + place) % 40), &round.to_string())).collect();
                crm.send("PATCH", UPSERT, json!({"records": records}).to_string().as_bytes())
            })
            .collect();
        (answers, crm.records(), crm.core.stats())
    };
    let (answers, records, stats) = run();
    assert_eq!((&answers, &records, stats), (&run().0, &run().1, run().2));
    for status in [429, 500, 401, 200] {
        assert!(answers.iter().flat_map(|answer| &answer.reply).any(|reply| reply.status == status), "{status} is among the answers");
    }
    assert!(answers.iter().any(|answer| answer.reply.is_none()));
    assert!(records.iter().all(|record| record.creates == 1));
}
