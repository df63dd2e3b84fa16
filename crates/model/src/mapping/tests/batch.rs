//! Requests of several events, and bad-inputs.md rows 58, 68 and 101.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::*;
use crate::intake::prepare;
use crate::route::Routes;

fn batched(path: &str) -> Source {
    source(&format!(
        r#"
        batch = "{path}"
        vendor_type = "type"
        id = "id"
        occurred_at = {{ from = "at || _outer.at", unit = "s" }}
        ignore = ["ping"]
        [[events]]
        on = ["signup"]
        type = "lead.created"
        [events.fields]
        email = {{ from = "email", required = true }}
        company = "_outer.company"
        account = "_outer._outer.account"
        "#
    ))
}

fn all(source: &Source, body: &str) -> Vec<Reading> {
    read_all(source, &[], "", body.as_bytes(), NOW)
}

fn signup(id: &str, email: &str) -> String {
    format!(r#"{{"type":"signup","id":"{id}","at":1700000000,"email":"{email}"}}"#)
}

#[test]
fn each_entry_is_an_event_of_its_own_and_sees_what_is_around_it() {
    let body = r#"{"account":"A","entry":[
        {"company":"One","at":1700000001,"changes":[{"type":"signup","id":1,"email":"a@example.com"},{"type":"signup","id":2,"email":"b@example.com"}]},
        {"company":"Two","at":1700000002,"changes":[{"type":"ping"},{"type":"signup","id":3,"at":1700000009,"email":"c@example.com"}]}]}"#;
    let readings = all(&batched("entry[].changes[]"), body);
    assert_eq!(readings.iter().map(key).collect::<Vec<_>>()[..2], ["demo|lead.created|1", "demo|lead.created|2"]);
    assert!(matches!(&readings[2], Reading::Ignored { event_type, .. } if event_type == "ping"));
    let seen: Vec<_> = [0, 1, 3]
        .into_iter()
        .map(|at| {
            let (event, warnings) = event(readings[at].clone());
            assert!(warnings.is_empty(), "{warnings:?}");
            let attributes = json!(event.attributes);
            (event.audit.entry, event.occurred_at.seconds(), attributes["company"].clone(), attributes["account"].clone())
        })
        .collect();
    let [one, two] = [json!("One"), json!("Two")];
    let account = json!("A");
    assert_eq!(
        seen,
        [
            (Some(0), 1_700_000_001, one.clone(), account.clone()),
            (Some(1), 1_700_000_001, one, account.clone()),
            (Some(3), 1_700_000_009, two, account)
        ]
    );
}

#[test]
fn a_list_further_down_has_one_outer_a_name_and_a_member_behind_it_is_the_entry() {
    let source = source(
        "batch = \"data.items[].request\"\nid = \"id\"\n[[events]]\ntype = \"a\"\nfields = { n = \"_outer.n\", d = \"_outer._outer.d\", r = \"_outer._outer._outer.r\", library = \"sum([_outer._outer._outer.r, _outer.n])\" }\n",
    );
    let readings = all(&source, r#"{"r":1,"data":{"d":2,"items":[{"n":3,"request":{"id":"x"}},{"n":4,"request":{"id":"y"}}]}}"#);
    let held: Vec<_> = readings.into_iter().map(|reading| json!(event(reading).0.attributes)).collect();
    assert_eq!(held, [json!({"n": 3, "d": 2, "r": 1, "library": 4.0}), json!({"n": 4, "d": 2, "r": 1, "library": 5.0})]);
}

#[test]
fn row_58_a_batch_of_nothing_is_nothing_and_what_is_no_batch_is_a_dead_letter() {
    assert!(all(&batched("[]"), "[]").is_empty());
    assert!(all(&batched("entry[].changes[]"), r#"{"entry":[]}"#).is_empty());
    assert!(all(&batched("entry[].changes[]"), r#"{"entry":[{"changes":[]},{"changes":[]}]}"#).is_empty());
    for body in ["null", "1", "\"x\"", "", "  "] {
        let mut readings = all(&batched("[]"), body);
        assert_eq!(readings.len(), 1);
        assert_eq!(dead(readings.remove(0)).0, Reason::Unparseable, "{body}");
    }
}

#[test]
fn where_there_is_no_list_the_object_that_would_hold_it_is_the_entry() {
    let plain = signup("1", "a@example.com");
    for (path, body) in [
        ("[]", plain.clone()),
        ("events[]", plain.clone()),
        ("events[]", plain.replacen('{', r#"{"events":null,"#, 1)),
        ("events[]", format!(r#"{{"events":{plain}}}"#)),
        ("data.events[]", plain.replacen('{', r#"{"data":{"x":1},"#, 1)),
        ("entry[].changes[]", format!(r#"{{"entry":[{plain}]}}"#)),
    ] {
        let readings = all(&batched(path), &body);
        assert_eq!(readings.iter().map(key).collect::<Vec<_>>(), ["demo|lead.created|1"], "{path} {body}");
    }
}

#[test]
fn row_101_one_bad_entry_is_a_dead_letter_and_the_good_ones_go_on() {
    let body = format!(
        r#"[{},{{"type":"signup","id":"2"}},null,7,[1],{{"type":"new","id":"5"}},{}]"#,
        signup("1", "a@example.com"),
        signup("6", "b@example.com")
    );
    let readings = all(&batched("[]"), &body);
    let kinds: Vec<_> = readings
        .iter()
        .map(|reading| match reading {
            Reading::Event { .. } => "event".to_owned(),
            Reading::Ignored { .. } => "ignored".to_owned(),
            Reading::DeadLetter { reason, .. } => reason.as_str().to_owned(),
        })
        .collect();
    assert_eq!(kinds, ["event", "schema_mismatch", "unparseable", "unparseable", "unparseable", "unmapped", "event"]);
    let keys: BTreeSet<_> = readings.iter().map(key).collect();
    assert_eq!(keys.len(), 7, "each has a key of its own");
    assert_eq!(key(&readings[1]), "demo|lead.created|2");
    assert_eq!(key(&readings[5]), "demo|new|5");
}

#[test]
fn row_101_the_same_entry_is_the_same_event_in_any_batch_at_any_place() {
    let source = source("batch = \"[]\"\n[[events]]\ntype = \"lead.created\"\nfields = { company = \"c\" }\n");
    let keys = |body: &str| all(&source, body).iter().map(key).collect::<Vec<_>>();
    let one = keys(r#"[{"c":"x","n":[1,{"b":2,"a":"\u00e9"}]}]"#);
    assert!(one[0].starts_with("demo|lead.created|body:"));
    let other = keys(r#"[{"c":"y"}, {"n": [1, {"a": "é", "b": 2}], "c": "x"}, {"c":"x","n":[1,{"b":2,"a":"é"}]}]"#);
    assert_eq!((&other[1], &other[2]), (&one[0], &one[0]));
    assert_ne!(other[0], one[0]);
    assert_ne!(keys(r#"[{"c":"x","n":[1,{"b":"2","a":"é"}]}]"#), one);
}

#[test]
fn what_is_around_an_entry_is_no_part_of_its_key() {
    let source = source("batch = \"e[]\"\n[[events]]\ntype = \"lead.created\"\nfields = { company = \"c\" }\n");
    let key_in = |body: &str| key(&all(&source, body)[0]);
    assert_eq!(key_in(r#"{"sent":1,"e":[{"c":"x"}]}"#), key_in(r#"{"sent":2,"e":[{"c":"x"}]}"#));
}

#[test]
fn a_bad_entry_is_told_from_other_bytes_under_its_key_by_itself() {
    let source = batched("[]");
    let committed = |body: &str| {
        let (hash_key, mut next) = (hash_key(7), 0);
        let mut event_id = || {
            next += 64;
            EventId(next)
        };
        let mut context = ReadContext {
            received_at: NOW,
            raw_event: RawEventId(41),
            correlation_id: "c",
            signed_headers: &[],
            hash_key: &hash_key,
            event_id: &mut event_id,
        };
        let request = Received { method: "POST", target: "/", headers: &[], body: body.as_bytes() };
        let readings = source.read(&request, &mut context);
        let routes = Routes::compile(&[], &BTreeSet::new(), BTreeMap::new()).unwrap();
        prepare(&source, &request, readings, &routes, &BTreeMap::new(), &mut context)
    };
    let (one, other) =
        (committed(r#"[{"type":"new","id":"1"}]"#), committed(r#"[{"type":"x"},{"id":"1","type":"new"},{"type":"new","id":"1","x":1}]"#));
    assert_eq!((&one[0].key, one[0].content_hash), (&other[1].key, other[1].content_hash));
    assert_eq!(one[0].key, other[2].key);
    assert_ne!(one[0].content_hash, other[2].content_hash);
    let entry = |event: &crate::intake::NewEvent| serde_json::from_str::<Event>(&event.normalized).unwrap().audit.entry;
    assert_eq!(other.iter().map(entry).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
}

#[test]
fn row_101_more_than_ten_thousand_entries_are_one_dead_letter() {
    let body = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
    assert_eq!(all(&batched("[]"), &body(10_000)).len(), 10_000);
    let mut readings = all(&batched("[]"), &body(10_001));
    assert_eq!(readings.len(), 1);
    assert!(key(&readings[0]).starts_with("demo|unknown|body:"));
    assert_eq!(dead(readings.remove(0)).0, Reason::Limits);
    let nested = format!(r#"{{"entry":[{}]}}"#, vec![format!(r#"{{"changes":{}}}"#, body(101)); 100].join(","));
    assert_eq!(dead(all(&batched("entry[].changes[]"), &nested).remove(0)).0, Reason::Limits);
}

#[test]
fn row_68_a_doubled_name_matters_in_its_own_entry_only() {
    let doubled = r#"{"type":"signup","id":"2","email":"a@example.com","email":"b@example.com"}"#;
    let readings = all(&batched("[]"), &format!("[{},{doubled},{}]", signup("1", "a@example.com"), signup("3", "c@example.com")));
    assert!(matches!((&readings[0], &readings[2]), (Reading::Event { warnings, .. }, Reading::Event { .. }) if warnings.is_empty()));
    assert_eq!(dead(readings[1].clone()).0, Reason::Unparseable);
    let around = all(&batched("e[]"), &format!(r#"{{"company":"a","company":"b","e":[{}]}}"#, signup("1", "a@example.com")));
    assert!(dead(around[0].clone()).1.contains("`company`"), "what is around is read, too");
    let lists = all(&batched("e[]"), &format!(r#"{{"e":[],"e":[{}]}}"#, signup("1", "a@example.com")));
    assert!(dead(lists[0].clone()).1.contains("`e`"), "which list is meant is not known");
    let unread = all(&batched("e[]"), &format!(r#"{{"z":1,"z":2,"e":[{}]}}"#, signup("1", "a@example.com")));
    assert_eq!(event(unread[0].clone()).1, ["duplicate_name"]);
}

#[test]
fn a_large_surrounding_of_many_entries_costs_their_sum() {
    // The library is asked in each entry, and what is around would be 800 million values if it were copied for each.
    let source = source(
        "batch = \"e[]\"\nid = \"id\"\n[[events]]\ntype = \"a\"\nfields = { n = \"length(_outer.big)\", z = \"sort_by([@], &id)[0].id\" }\n",
    );
    let body = format!(r#"{{"big":[{}0],"e":[{}{{"id":"last"}}]}}"#, "0,".repeat(79_000), r#"{"id":"x"},"#.repeat(9_000));
    let began = std::time::Instant::now();
    let readings = all(&source, &body);
    assert_eq!((readings.len(), key(&readings[9_000])), (9_001, "demo|a|last".to_owned()));
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn an_id_of_the_whole_request_names_an_entry_together_with_its_bytes() {
    let source = source("batch = \"[]\"\nid = { header = \"x-id\" }\n[[events]]\ntype = \"a\"\n");
    let keys = |id: &str, body: &str| read_all(&source, &[("x-id", id)], "", body.as_bytes(), NOW).iter().map(key).collect::<Vec<_>>();
    let one = keys("r1", r#"[{"a":1},{"a":2}]"#);
    assert!(one[0].starts_with("demo|a|r1:") && one[0] != one[1], "{one:?}");
    assert_eq!(keys("r1", r#"[{"a":2}, {"a":1}]"#), [one[1].clone(), one[0].clone()]);
    assert_ne!(keys("r2", r#"[{"a":1}]"#)[0], one[0]);
}

#[test]
fn an_id_that_is_not_signed_is_for_what_is_fetched_alone() {
    let fetched = "[[events]]\nwhen = \"x\"\ntype = \"a\"\nfetch = { object = \"o\", id = \"x\" }\n[fetched.o.fields]\nemail = \"email\"\n";
    let source = source(&format!("batch = \"[]\"\nid = {{ header = \"x-other\", unsigned = true }}\n{fetched}"));
    let of = |id: &str, body: &[u8]| read_all(&source, &[("x-other", id)], "", body, NOW).remove(0);
    let (one, again, other) = (of("1", br#"[{"x":"7"}]"#), of("1", br#"[{"x": "7"}]"#), of("2", br#"[{"x":"7"}]"#));
    assert!(key(&one).starts_with("demo|a|1:") && matches!(&one, Reading::Event { warnings, .. } if warnings.is_empty()), "{one:?}");
    assert!(key(&one) == key(&again) && key(&one) != key(&other));
    assert!(key(&of("1", br#"[{"y":1}]"#)).contains("|body:"), "where nothing is fetched, it counts for nothing");
    let plain = compile(
        "id = { header = \"x\", unsigned = true }\n[[events]]\ntype = \"a\"\nfields = { company = { from = \"c\", unsigned = true } }\n",
    );
    let keys: Vec<_> = plain.unwrap_err().into_iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["events.0.fields.company.unsigned", "events.0.id.unsigned"]);
}

#[test]
fn a_path_that_is_none_is_found_when_the_source_is_compiled() {
    for path in ["a..b", "a[0]", "*"] {
        assert_eq!(compile(&format!("batch = \"{path}\"\n[[events]]\ntype = \"a\"\n")).unwrap_err()[0].key, "batch");
    }
}

proptest::proptest! {
    #[test]
    fn any_document_is_split_into_as_many_readings_as_it_is_counted_to_have(
        body in "(\\{\"e\":|\\[|\\{\"id\":1\\}|null|,|\\]|\\}|1){0,14}", path in "(e\\[\\]|\\[\\]|e\\[\\]\\.e|e\\.e\\[\\]|\\[\\]\\[\\])",
    ) {
        let readings = all(&batched(&path), &body);
        for (place, reading) in readings.iter().enumerate() {
            if let Reading::Event { event, .. } = reading {
                proptest::prop_assert_eq!(event.audit.entry, u32::try_from(place).ok());
            }
        }
    }
}
