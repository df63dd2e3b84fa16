//! What is told of a reading is what it was.

use serde_json::{Value, json};

use super::*;
use crate::mapping::explain::{Explained, ExplainedField};

fn explained(source: &Source, body: &str) -> Vec<Explained> {
    let hash_key = hash_key(7);
    let mut event_id = || EventId(64);
    let mut context = ReadContext {
        received_at: NOW,
        raw_event: RawEventId(41),
        correlation_id: "c0ffee",
        signed_headers: &[],
        hash_key: &hash_key,
        event_id: &mut event_id,
    };
    let request = Received { method: "POST", target: "/webhooks/demo?q=a", headers: &[], body: body.as_bytes() };
    source.explain(&request, &mut context)
}

const MAPPING: &str = r#"
    id = "id"
    occurred_at = { from = "at", unit = "s" }
    ignore = ["ping", "test.*"]
    [[events]]
    on = ["order.*"]
    when = "total > `10`"
    type = "order.created"
    [[events]]
    when = "contains(kind, 'lead')"
    type = "lead.created"
    [events.fields]
    email = "email"
    phone_e164 = "phone"
    company = { from = "company", truncate = 3 }
    plan = { from = "plan", default = "free" }
    city = { from = "city", clear = true }
    amount = { from = "cents", as = "money", minor = "currency" }
    note = { query = "q" }
    score = "score"
"#;

fn field<'a>(explained: &'a Explained, name: &str) -> &'a ExplainedField {
    explained.fields.iter().find(|field| field.name == name).unwrap()
}

#[test]
fn every_rule_and_every_field_says_what_it_found_and_why() {
    let body = r#"{"type":"order.new","kind":"a lead","total":5,"id":7,"at":1700000000,"email":"ADA@Example.com","phone":"call me","company":"Example",
        "city":null,"cents":1999,"currency":"USD","score":""}"#;
    let all = explained(&source(MAPPING), body);
    assert_eq!(all.len(), 1);
    let one = &all[0];
    assert_eq!((one.entry, one.vendor_type.as_str()), (None, "order.new"));
    let rules: Vec<_> = one.rules.iter().map(|rule| (rule.rule.as_str(), rule.makes.as_str(), rule.fits, rule.why.as_str())).collect();
    assert_eq!(
        rules,
        [
            ("events.0", "order.created", false, "the type `order.new` fits `order.*`, and `total > `10`` is not true"),
            ("events.1", "lead.created", true, "`contains(kind, 'lead')` is true"),
        ]
    );
    type Told<'a> = (&'a str, Option<Value>, &'a str, Option<Value>, Option<&'a str>);
    let told: Vec<Told<'_>> = one
        .fields
        .iter()
        .map(|field| (field.name.as_str(), field.found.clone(), field.normalizer, field.result.clone(), field.kind.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            ("type", Some(json!("lead.created")), "text", Some(json!("lead.created")), None),
            ("id", Some(json!(7)), "text", Some(json!("7")), None),
            ("occurred_at", Some(json!(1_700_000_000)), "datetime", Some(json!("2023-11-14T22:13:20.000Z")), None),
            ("amount", Some(json!(1999)), "money", Some(json!("19.99")), None),
            ("city", Some(Value::Null), "as it is", Some(Value::Null), None),
            ("company", Some(json!("Example")), "as it is", Some(json!("Exa")), Some("truncated")),
            ("email", Some(json!("ADA@Example.com")), "email", Some(json!("ADA@example.com")), None),
            ("note", Some(json!("a")), "as it is", Some(json!("a")), None),
            ("phone_e164", Some(json!("call me")), "phone", None, Some("unusable_phone")),
            ("plan", None, "as it is", Some(json!("free")), None),
            ("score", Some(Value::Null), "as it is", None, None),
        ]
    );
    assert_eq!(field(one, "email").from, "from `email`");
    assert!(field(one, "score").why.as_deref().unwrap().contains("blank"));
    assert!(field(one, "plan").why.as_deref().unwrap().contains("default"));
    assert!(field(one, "phone_e164").why.is_some() && field(one, "email").why.is_none());
}

#[test]
fn what_is_ignored_unmatched_or_unreadable_says_so() {
    let source = source(MAPPING);
    let of = |body: &str| explained(&source, body).remove(0);
    let last = |one: &Explained| one.rules.last().map(|rule| (rule.rule.clone(), rule.fits, rule.why.clone())).unwrap();
    assert_eq!(
        last(&of(r#"{"type":"test.a","kind":""}"#)),
        ("ignore".to_owned(), true, "the type `test.a` is listed as `test.*`".to_owned())
    );
    let failed = of(r#"{"type":"x"}"#);
    assert!(failed.rules.iter().any(|rule| rule.why.contains("cannot be evaluated")), "{:?}", failed.rules);
    assert_eq!(last(&failed), ("unmatched".to_owned(), true, "no rule fits".to_owned()));
    for body in ["{", r#"{"kind":"lead","email":"a","email":"b"}"#] {
        let one = of(body);
        assert!(one.rules.is_empty() && one.fields.is_empty() && matches!(one.reading, Reading::DeadLetter { .. }));
    }
    let refused = of(r#"{"kind":"lead","id":1,"at":"soon"}"#);
    assert_eq!(field(&refused, "occurred_at").kind.as_deref(), Some("schema_mismatch"));
    let long = of(&format!(r#"{{"kind":"lead","id":1,"at":1700000000,"score":"{}"}}"#, "x".repeat(10_000)));
    assert_eq!(field(&long, "score").found.as_ref().unwrap().as_str().unwrap().chars().count(), 2_001);
}

#[test]
fn the_entries_of_a_batch_are_explained_one_by_one() {
    let source = source("batch = \"[]\"\nid = \"id\"\n[[events]]\ntype = \"a.b\"\nfields = { email = \"email\" }\n");
    let all = explained(&source, r#"[{"id":1,"email":"a@example.com"},null,{"id":2}]"#);
    assert_eq!(all.iter().map(|one| one.entry).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
    assert_eq!(field(&all[0], "email").result, Some(json!("a@example.com")));
    assert!(matches!(all[1].reading, Reading::DeadLetter { .. }) && all[1].rules.is_empty());
    assert_eq!(field(&all[2], "email").why.as_deref(), Some("nothing is there"));
}

#[test]
fn the_reading_that_is_explained_is_the_one_that_intake_makes() {
    for (name, _) in crate::preset::presets() {
        let Ok(source) = Source::compile("demo", &toml::from_str(&format!("preset = \"{name}\"")).unwrap()) else { continue };
        let body = String::from_utf8_lossy(crate::preset::sample(name).unwrap().body).into_owned();
        let explained: Vec<_> = explained(&source, &body).into_iter().map(|one| key(&one.reading)).collect();
        let read: Vec<_> = read_all(&source, &[], "", body.as_bytes(), NOW).iter().map(key).collect();
        assert!(!read.is_empty() && explained == read, "{name}: {explained:?} and {read:?}");
    }
}
