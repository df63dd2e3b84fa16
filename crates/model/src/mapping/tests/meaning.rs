//! bad-inputs.md, rows 69 to 82 and 89 to 102, as far as one body tells.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::*;

fn fields(fields: &str) -> Source {
    let mut text = "id = \"id\"\noccurred_at = \"at\"\n[[events]]\ntype = \"lead.created\"\n[events.fields]\n".to_owned();
    write!(text, "{fields}").unwrap();
    source(&text)
}

fn at(value: &str, unit: &str) -> Reading {
    let source = source(&format!("id = \"id\"\noccurred_at = {{ from = \"at\"{unit} }}\n[[events]]\ntype = \"lead.created\"\n"));
    read(&source, format!(r#"{{"id":"1","at":{value}}}"#).as_bytes())
}

#[test]
fn row_69_the_character_zero_is_replaced_in_values_and_refused_in_ids() {
    let source = fields("company = \"c\"\nexternal_id = \"x\"\n");
    let (read_event, warnings) = event(read(&source, br#"{"id":"1","at":"2023-11-14T22:13:20Z","c":"a\u0000b"}"#));
    assert_eq!((&read_event.attributes["company"], warnings), (&json!("a\u{fffd}b"), vec!["nul_replaced".to_owned()]));
    assert_eq!(dead(read(&source, br#"{"id":"1","at":"2023-11-14T22:13:20Z","x":"a\u0000b"}"#)).0, Reason::SchemaMismatch);
}

#[test]
fn rows_72_77_80_texts_reach_the_event_as_they_are() {
    let source = fields("company = \"c\"\n");
    for text in [
        "\u{1f469}\u{200d}\u{1f680}",
        "a\u{2028}b",
        "\u{ffff}",
        "e\u{301}",
        "{{7*7}}",
        "'; DROP TABLE x",
        "${jndi:ldap://x}",
        "=cmd()",
        "\u{1b}[31m",
        "\u{202e}abc",
        "a\r\nb",
    ] {
        let body = json!({"id": "1", "at": "2023-11-14T22:13:20Z", "c": text, "__proto__": {"polluted": true}}).to_string();
        assert_eq!(event(read(&source, body.as_bytes())).0.attributes["company"], json!(text));
    }
}

#[test]
fn row_75_numbers_are_exact_or_texts() {
    let source = fields("keep = \"n\"\nnumber = { from = \"n\", as = \"number\" }\n");
    let read_number = |number: &str| event(read(&source, format!(r#"{{"id":"1","at":"2023-11-14T22:13:20Z","n":{number}}}"#).as_bytes()));
    assert_eq!(read_number("9007199254740993").0.attributes["number"], json!(9_007_199_254_740_993_u64));
    let (read_event, warnings) = read_number("18446744073709551616");
    assert_eq!((&read_event.attributes["keep"], read_event.attributes.get("number")), (&json!("18446744073709551616"), None));
    assert_eq!(warnings, ["unusable_number"]);
}

#[test]
fn row_82_texts_become_numbers_and_booleans_only_where_the_mapping_says_so() {
    let source = fields(
        "n = { from = \"n\", as = \"number\" }\nb = { from = \"b\", as = \"boolean\" }\nk = \"n\"\nt = { from = \"t\", as = \"text\" }\nl = { from = \"k\", as = \"lower\" }\nd = { from = \"d\", as = \"date\" }\n",
    );
    let (event, warnings) =
        event(read(&source, br#"{"id":"1","at":"2023-11-14T22:13:20Z","n":" 12.5","b":"TRUE","t":7,"k":"ABC","d":20231114}"#));
    assert_eq!(json!(event.attributes), json!({"n": 12.5, "b": true, "k": "12.5", "t": "7", "l": "abc"}));
    assert_eq!(warnings, ["unusable_date"]);
}

#[test]
fn row_89_without_a_time_it_happened_when_it_arrived() {
    for value in ["null", "\"\""] {
        let (event, warnings) = event(at(value, ""));
        assert_eq!((event.occurred_at, warnings), (NOW, vec!["occurred_at_missing".to_owned()]));
    }
    let (read_event, warnings) = event(read(&source("[[events]]\ntype = \"lead.created\"\n"), b"{}"));
    assert_eq!((read_event.occurred_at, warnings.len()), (NOW, 0));
}

#[test]
fn row_90_a_clock_a_little_ahead_is_forgiven_and_nonsense_is_not() {
    let ahead = |seconds: i64| at(&format!("\"{}\"", Time::from_seconds(NOW.seconds() + seconds)), "");
    assert_eq!(event(ahead(299)).0.occurred_at, Time::from_seconds(NOW.seconds() + 299));
    let (event, warnings) = event(ahead(360));
    assert_eq!((event.occurred_at, warnings), (NOW, vec!["occurred_at_clamped".to_owned()]));
    assert_eq!(dead(ahead(25 * 3_600)).0, Reason::SchemaMismatch);
    for value in [
        "9999-12-31T23:59:59Z",
        "+294277-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "1999-12-31T23:59:59Z",
        "-infinity",
        "2023-11-14T23:59:60Z",
        "2023-02-30T00:00:00Z",
        "2023-11-14T22:13:20+99:99",
    ] {
        let (reason, message) = dead(at(&format!("\"{value}\""), ""));
        assert!(reason == Reason::SchemaMismatch && message.contains("`occurred_at` (from `at`)") && !message.contains(value), "{message}");
    }
}

#[test]
fn row_91_one_moment_however_it_is_written_or_a_dead_letter() {
    let moment = Time::from_seconds(1_700_000_000);
    for (value, unit) in [
        ("1700000000", ", unit = \"s\""),
        ("1700000000000", ", unit = \"ms\""),
        ("1700000000000000", ", unit = \"us\""),
        ("\"1700000000\"", ", unit = \"s\""),
        ("1700000000.0", ", unit = \"s\""),
        ("\"2023-11-14T22:13:20.0Z\"", ""),
        ("\"2023-11-14T23:13:20+01:00\"", ""),
    ] {
        assert_eq!(event(at(value, unit)).0.occurred_at, moment, "{value}");
    }
    for (value, unit) in [
        ("1700000000", ""),
        ("1700000000000", ", unit = \"s\""),
        ("1700000000", ", unit = \"ms\""),
        ("\"2023-11-14T22:13:20\"", ""),
        ("\"Tue, 14 Nov 2023 22:13:20 GMT\"", ""),
        ("{}", ""),
        ("true", ", unit = \"s\""),
    ] {
        assert_eq!(dead(at(value, unit)).0, Reason::SchemaMismatch, "{value}");
    }
}

#[test]
fn row_95_null_blanks_only_what_the_mapping_says() {
    let source = fields("phone = { from = \"p\", clear = true }\ncompany = \"c\"\nemail = \"e\"\n");
    let attributes = |body: &str| json!(event(read(&source, body.as_bytes())).0.attributes);
    assert_eq!(attributes(r#"{"id":"1","p":null,"c":null,"e":null}"#), json!({"phone": Value::Null}));
    assert_eq!(attributes(r#"{"id":"1","p":"","c":""}"#), json!({"phone": Value::Null}));
    assert_eq!(attributes(r#"{"id":"1"}"#), json!({}), "absent says nothing");
}

#[test]
fn a_required_value_that_cannot_be_used_makes_a_dead_letter_with_all_that_is_wrong() {
    let source =
        fields("email = { from = \"contact.mail\", required = true }\nphone_e164 = { from = \"p\", required = true }\ncompany = \"c\"\n");
    let reading = read(&source, br#"{"id":"1","contact":{"mail":"nonsense"},"c":"Example Ltd"}"#);
    let Reading::DeadLetter { reason, message, partial, idempotency_key, .. } = reading else { panic!("{reading:?}") };
    assert!(reason == Reason::SchemaMismatch && idempotency_key == "demo|lead.created|1");
    assert!(message.contains("`email` (from `contact.mail`)") && message.contains("`phone_e164` (from `p`): is missing"), "{message}");
    assert!(!message.contains("nonsense"), "{message}");
    assert_eq!(partial.unwrap().attributes["company"], "Example Ltd");
}

#[test]
fn an_optional_value_that_cannot_be_used_is_left_out_with_a_warning() {
    let source = fields(
        "email = \"e\"\nphone_e164 = { from = \"p\", region = \"US\" }\ncompany = \"c\"\ncountry = { from = \"missing\", default = \"US\" }\n",
    );
    let reading = read(&source, br#"{"id":"1","at":"2023-11-14T22:13:20Z","e":"nonsense","p":"12","c":{"name":"x"}}"#);
    let Reading::Event { event, warnings, trust: 50, fallback_key: false } = reading else { panic!("{reading:?}") };
    assert_eq!(
        warnings.iter().map(|warning| warning.kind.as_str()).collect::<Vec<_>>(),
        ["not_a_scalar", "unusable_email", "unusable_phone"]
    );
    assert!(warnings.iter().all(|warning| !warning.message.contains("nonsense")));
    assert_eq!((json!(event.attributes), event.identity), (json!({"country": "US"}), crate::Identity::default()));
}

#[test]
fn row_97_external_ids_are_exact_and_blank_ones_are_refused() {
    let source = fields("external_id = \"x\"\n");
    let external = |value: &str| read(&source, json!({"id": "1", "at": "2023-11-14T22:13:20Z", "x": value}).to_string().as_bytes());
    for id in ["../x", "a'b\"c", "%2F", "a|b", "a b"] {
        assert_eq!(event(external(id)).0.identity.contact_external_id, Some(format!("demo:{id}")));
    }
    assert_eq!(event(external("")).0.identity.contact_external_id, None);
    for id in ["   ", "a\nb", &"x".repeat(10_000)] {
        assert_eq!(dead(external(id)).0, Reason::SchemaMismatch);
    }
    let shared = self::source("shared = true\nid = \"id\"\n[[events]]\ntype = \"a\"\nfields = { external_id = \"x\" }\n");
    assert_eq!(event(read(&shared, br#"{"id":"1","x":42}"#)).0.identity.contact_external_id.as_deref(), Some("42"));
}

#[test]
fn row_99_an_unknown_type_is_unmapped_or_ignored() {
    let (reason, message) = dead(read(&plain(), br#"{"type":"order.paid","id":"1"}"#));
    assert!(reason == Reason::Unmapped && message.contains("`order.paid`"), "{message}");
    let lax = source("unmatched = \"ignore\"\nid = \"id\"\n");
    assert_eq!(
        read(&lax, br#"{"type":"order.paid","id":"1"}"#),
        Reading::Ignored { event_type: "order.paid".into(), idempotency_key: "demo|order.paid|1".into() }
    );
}

#[test]
fn row_100_trust_is_not_the_payloads_to_say() {
    let reading = read(&source("trust = 30\n[[events]]\ntype = \"a\"\nfields = { trust = \"trust\" }\n"), br#"{"trust":100}"#);
    assert!(matches!(reading, Reading::Event { trust: 30, .. }));
}

#[test]
fn a_type_from_the_payload_must_be_fit_for_keys_and_labels() {
    let source = source("[[events]]\ntype = { from = \"type\" }\n");
    assert_eq!(event(read(&source, br#"{"type":"contact.created"}"#)).0.event_type, "contact.created");
    for body in [&br#"{}"#[..], br#"{"type":"a|b"}"#, br#"{"type":"a b"}"#, br#"{"type":{}}"#] {
        assert_eq!(dead(read(&source, body)).0, Reason::SchemaMismatch);
    }
}

#[test]
fn an_expression_that_fails_on_a_payload_is_a_warning_and_no_match() {
    let text = "[[events]]\nwhen = \"starts_with(kind, 'a')\"\ntype = \"a\"\nfields = { n = \"length(kind)\" }\n[[events]]\ntype = \"b\"\nfields = { n = \"length(kind)\" }\n";
    let (event, warnings) = event(read(&source(text), br#"{"kind":7}"#));
    assert_eq!((event.event_type.as_str(), event.attributes.len()), ("b", 0));
    assert_eq!(warnings, ["expression_failed", "expression_failed"]);
}

#[test]
fn values_come_from_headers_parameters_and_constants_too() {
    let source = fields(
        "form = { header = \"X-Form\" }\ncampaign = { query = \"utm\" }\nlead_source = { const = \"Web\" }\ntwice = { query = \"k\" }\ncut = { from = \"c\", truncate = 3 }\n",
    );
    let (event, warnings) = event(
        read_all(
            &source,
            &[("x-form", " a ")],
            "?utm=spring+sale%21&k=1&k=2",
            "{\"id\":\"1\",\"at\":\"2023-11-14T22:13:20Z\",\"c\":\"\u{e9}\u{e9}\u{e9}\u{e9}\"}".as_bytes(),
            NOW,
        )
        .remove(0),
    );
    assert_eq!(
        json!(event.attributes),
        json!({"form": "a", "campaign": "spring sale!", "lead_source": "Web", "cut": "\u{e9}\u{e9}\u{e9}"})
    );
    assert_eq!(warnings, ["truncated", "query_doubled"]);
}
