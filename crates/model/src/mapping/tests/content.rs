//! bad-inputs.md, section C, and what of D and E is not about one number or one text.

use super::*;

const GOOD: &[u8] = br#"{"type":"signup","id":"1","at":"2023-11-14T22:13:20Z","email":"ada@example.com"}"#;

fn with_type(content_type: &str, body: &[u8]) -> Reading {
    read_all(&plain(), &[("content-type", content_type)], "", body, NOW).remove(0)
}

#[test]
fn row_50_no_content_type_and_text_that_is_json_are_read() {
    assert!(matches!(read(&plain(), GOOD), Reading::Event { .. }));
    assert!(matches!(with_type("text/plain; charset=utf-8", GOOD), Reading::Event { .. }));
    assert_eq!(dead(with_type("text/plain", b"hello")).0, Reason::Unparseable);
    let strict = source("content_types = [\"application/json\"]\n[[events]]\non = [\"signup\"]\ntype = \"lead.created\"\n");
    assert_eq!(dead(read(&strict, GOOD)).0, Reason::Unparseable);
}

#[test]
fn row_53_what_is_still_compressed_is_no_json() {
    assert_eq!(dead(read(&plain(), &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3])).0, Reason::Unparseable);
}

#[test]
fn row_54_utf_16_is_unparseable_by_its_encoding() {
    let wide: Vec<u8> = "{\"type\":\"signup\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for body in [wide.clone(), [&[0xff, 0xfe], wide.as_slice()].concat()] {
        let (reason, message) = dead(with_type("application/json", &body));
        assert!(reason == Reason::Unparseable && message.contains("UTF-16"), "{message}");
    }
    let (reason, message) = dead(with_type("application/json; charset=utf-16", &wide));
    assert!(reason == Reason::Unparseable && message.contains("character set"), "{message}");
}

#[test]
fn rows_55_and_56_forms_and_multipart_are_unparseable() {
    for (name, body) in [
        ("application/x-www-form-urlencoded", &b"type=signup&id=%zz&id=%00"[..]),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n{}\r\n--b--"),
    ] {
        let (reason, message) = dead(with_type(name, body));
        assert!(reason == Reason::Unparseable && message.contains("JSON is expected"), "{message}");
    }
}

#[test]
fn rows_57_and_58_nothing_and_what_is_no_object_are_unparseable() {
    for (body, said) in [
        (&b""[..], "empty"),
        (b"  \n ", "empty"),
        (b"null", "is null"),
        (b"1", "is a number"),
        (b"\"x\"", "is a string"),
        (b"[]", "is a list"),
    ] {
        let (reason, message) = dead(read(&plain(), body));
        assert!(reason == Reason::Unparseable && message.contains(said), "{message}");
    }
}

#[test]
fn row_64_a_byte_order_mark_is_unparseable() {
    assert!(dead(read(&plain(), &[&[0xef, 0xbb, 0xbf], GOOD].concat())).1.contains("byte order mark"));
}

#[test]
fn row_66_too_many_values_are_over_a_limit() {
    let body = format!("{{\"type\":\"signup\",\"x\":[{}1]}}", "1,".repeat(100_000));
    assert_eq!(dead(read(&plain(), body.as_bytes())).0, Reason::Limits);
}

#[test]
fn row_68_a_doubled_name_is_unparseable_where_it_is_read_and_a_warning_where_not() {
    let (reason, message) =
        dead(read(&plain(), br#"{"type":"signup","id":"1","at":null,"email":"ada@example.com","email":"eve@example.com"}"#));
    assert!(reason == Reason::Unparseable && message.contains("`email`") && !message.contains("eve"), "{message}");
    let (event, warnings) =
        event(read(&plain(), br#"{"type":"signup","id":"1","at":"2023-11-14T22:13:20Z","email":"ada@example.com","x":{"y":1,"y":2}}"#));
    assert_eq!((event.identity.email.as_deref(), warnings), (Some("ada@example.com"), vec!["duplicate_name".to_owned()]));
    let nosy = source("[[events]]\non = [\"signup\"]\ntype = \"lead.created\"\nfields = { all = \"values(x)\" }\n");
    assert_eq!(dead(read(&nosy, br#"{"type":"signup","x":{"y":1,"y":2}}"#)).0, Reason::Unparseable);
    // However many others are doubled before it.
    let others: String = (0..500).map(|n| format!("\"a{n}\":1,\"a{n}\":2,")).collect();
    let body = format!("{{\"type\":\"signup\",\"id\":\"1\",{others}\"email\":\"ada@example.com\",\"email\":\"eve@example.com\"}}");
    assert_eq!(dead(read(&plain(), body.as_bytes())).0, Reason::Unparseable);
}

#[test]
fn the_dead_letter_of_an_unreadable_body_has_the_bodys_hash_for_a_key() {
    let reading = read(&plain(), b"null");
    assert_eq!(key(&reading), "demo|unknown|body:74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b");
    assert_eq!(key(&read(&plain(), b"null")), key(&reading));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_into_something(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        proptest::prop_assert_eq!(read_all(&plain(), &[], "", &bytes, NOW).len(), 1);
    }

    #[test]
    fn any_values_in_the_mapped_places_are_read_into_something(
        id in "\\PC{0,40}", at in "[0-9T:Z.+ -]{0,30}", email in "[a-z@.<> ]{0,20}", number in proptest::num::f64::ANY, now in 0i64..4_000_000_000,
    ) {
        let number = if number.is_finite() { number } else { 0.0 };
        let body = serde_json::json!({"type": "signup", "id": id, "at": at, "email": email, "person": number, "company": [number, id]}).to_string();
        let reading = read_all(&plain(), &[], "", body.as_bytes(), Time::from_seconds(now)).remove(0);
        proptest::prop_assert!(key(&reading).len() <= 255);
    }
}
