//! The rules of `mapping::key`, and bad-inputs.md rows 45 and 83 to 88.

use super::*;

fn mapped(id: &str) -> Source {
    source(&format!(
        "{id}\noccurred_at = \"at\"\n[[events]]\ntype = \"lead.created\"\nfields = {{ email = \"email\", company = \"company\" }}\n"
    ))
}

const BODY: &[u8] = br#"{"id":"1","at":"2023-11-14T22:13:20Z","email":"Ada@example.com","company":"Example Ltd"}"#;

fn with(source: &Source, headers: &[(&str, &str)], body: &[u8]) -> (String, bool, Vec<String>) {
    let reading = read_all(source, headers, "?k=q", body, NOW).remove(0);
    let fallback = matches!(reading, Reading::Event { fallback_key: true, .. });
    let key = key(&reading);
    (key.rsplit('|').next().unwrap().to_owned(), fallback, event(reading).1)
}

#[test]
fn the_body_a_constant_and_signed_headers_make_keys() {
    assert_eq!(with(&mapped("id = \"id\""), &[], BODY), ("1".into(), false, vec![]));
    assert_eq!(with(&mapped("id = { const = \"only\" }"), &[], BODY).0, "only");
    assert_eq!(with(&mapped("id = { header = \"X-Id\" }"), &[("x-id", "signed")], BODY), ("signed".into(), false, vec![]));
}

#[test]
fn row_45_headers_and_parameters_that_are_not_signed_never_do() {
    for id in ["id = { header = \"x-delivery\" }", "id = { query = \"k\" }"] {
        let source = mapped(id);
        let (one, fallback, warnings) = with(&source, &[("x-delivery", "1")], BODY);
        assert!(one.starts_with("body:") && !fallback && warnings == ["unsigned_id"], "{one} {warnings:?}");
        assert_eq!(with(&source, &[("x-delivery", "2")], BODY).0, one);
    }
}

#[test]
fn a_parameter_that_is_signed_makes_a_key() {
    for signed in ["{target}{body}", "{query:k}.{body}"] {
        let text = format!(
            "signature = {{ algorithm = \"hmac-sha256\", header = \"x-signature\", signed = \"{signed}\" }}\nid = {{ query = \"k\" }}\n[[events]]\ntype = \"lead.created\"\n"
        );
        assert_eq!(with(&source(&text), &[], BODY).0, "q", "{signed}");
    }
}

#[test]
fn row_83_a_configured_id_that_is_missing_leaves_the_bodys_hash() {
    for body in [
        &br#"{"email":"a@example.com","at":"2023-11-14T22:13:20Z"}"#[..],
        br#"{"id":"","at":"2023-11-14T22:13:20Z"}"#,
        br#"{"id":"  ","at":"2023-11-14T22:13:20Z"}"#,
        br#"{"id":null,"at":"2023-11-14T22:13:20Z"}"#,
    ] {
        let (tail, fallback, warnings) = with(&mapped("id = \"id\""), &[], body);
        assert!(tail.starts_with("body:") && !fallback && warnings == ["id_missing"], "{tail} {warnings:?}");
    }
    let (tail, _, warnings) = with(&mapped("id = \"id\""), &[], br#"{"id":{"a":1},"at":"2023-11-14T22:13:20Z"}"#);
    assert!(tail.starts_with("body:") && warnings == ["unusable_id"]);
    let (tail, _, warnings) = with(&mapped("id = { header = \"x-id\" }"), &[("x-id", "1"), ("x-id", "2")], BODY);
    assert!(tail.starts_with("body:") && warnings == ["unusable_id"]);
}

#[test]
fn without_any_id_a_person_and_a_time_make_the_key_and_else_the_body() {
    let source = mapped("");
    let (tail, fallback, _) = with(&source, &[], BODY);
    assert!(tail.starts_with("fallback:") && fallback);
    let again = br#"{"at":"2023-11-14T23:13:20+01:00",  "email":"ada@EXAMPLE.com", "company": "Other"}"#;
    assert_eq!(with(&source, &[], again).0, tail, "other bytes, the same person and moment");
    for body in [
        &br#"{"at":"2023-11-14T22:13:20Z"}"#[..],
        br#"{"email":"ada@example.com"}"#,
        br#"{"email":"ada@example.com","at":"2023-11-14T23:30:00Z"}"#,
    ] {
        let (tail, fallback, _) = with(&source, &[], body);
        assert!(tail.starts_with("body:") && !fallback, "no person, no time, or a time that was clamped: {tail}");
    }
}

#[test]
fn row_84_long_and_odd_ids_are_hashed_and_numbers_keep_their_digits() {
    let source = mapped("id = \"id\"");
    let tail = |id: &str| with(&source, &[], format!(r#"{{"id":{id},"at":"2023-11-14T22:13:20Z"}}"#).as_bytes()).0;
    assert_eq!(tail("9007199254740993"), "9007199254740993");
    assert_eq!(tail("123456789012345678901234567890"), "123456789012345678901234567890");
    assert_eq!(tail("12.50"), "12.5");
    assert!(tail(&format!("\"{}\"", "x".repeat(64_000))).starts_with("hash:"));
    assert!(tail(r#""a\nb""#).starts_with("hash:"));
    let reading = read(&source, br#"{"id":"a\u0000b","at":"2023-11-14T22:13:20Z"}"#);
    assert_eq!(dead(reading).0, Reason::SchemaMismatch);
}

#[test]
fn row_86_other_content_is_told_from_the_same() {
    let source = mapped("id = \"id\"");
    let hash =
        |body: &str, at: i64| source.content_hash(&event(read_all(&source, &[], "", body.as_bytes(), Time::from_seconds(at)).remove(0)).0);
    let (one, now) = (r#"{"id":"1","email":"ada@example.com","company":"Example Ltd"}"#, NOW.seconds());
    assert_eq!(hash(one, now), hash(r#"{"company":"Example Ltd" , "id":"1","email":"ada@example.com","unmapped":7}"#, now + 5_000));
    assert_ne!(hash(one, now), hash(&one.replace("Ltd", "Inc"), now));
    assert_ne!(hash(one, now), hash(&one.replace("ada", "eve"), now));
}

#[test]
fn what_a_source_calls_volatile_is_no_content() {
    let text = "id = \"id\"\nvolatile = [\"meta\", \"score\"]\n[[events]]\ntype = \"lead.created\"\nfields = { tries = \"meta.tries\", score = \"s\", kept = \"metaphor\" }\n";
    let source = source(text);
    let hash = |tries: i32, score: i32, kept: i32| {
        let body = format!(r#"{{"id":"1","meta":{{"tries":{tries}}},"s":{score},"metaphor":{kept}}}"#);
        source.content_hash(&event(read(&source, body.as_bytes())).0)
    };
    assert_eq!(hash(1, 1, 1), hash(2, 2, 1));
    assert_ne!(hash(1, 1, 1), hash(1, 1, 2));
}

#[test]
fn row_87_and_88_sources_and_separators_never_mix() {
    let keys: std::collections::BTreeSet<_> = ["a|b", "a%7Cb", "a#b", "body:x"]
        .into_iter()
        .map(|id| key(&read(&mapped("id = \"id\""), format!(r#"{{"id":"{id}"}}"#).as_bytes())))
        .collect();
    assert_eq!(keys.len(), 4);
    assert!(keys.iter().all(|key| key.split('|').count() == 3 && !key.contains('#')), "{keys:?}");
}
