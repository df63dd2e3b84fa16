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

#[test]
fn row_55_and_56_forms_and_parts_are_read_where_the_source_says_so() {
    let form = source("content = \"form\"\nid = \"id\"\n[[events]]\ntype = \"lead.created\"\nfields = { company = \"c\", odd = \"z\" }\n");
    let as_form = |body: &[u8]| read_all(&form, &[("content-type", "application/x-www-form-urlencoded")], "", body, NOW).remove(0);
    let (read_event, warnings) = event(as_form(b"id=1&c=a%00b&z=%zz"));
    assert_eq!((&read_event.attributes["company"], &read_event.attributes["odd"]), (&"a\u{fffd}b".into(), &"%zz".into()));
    assert_eq!(warnings, ["nul_replaced"]);
    assert!(key(&as_form(b"id=1&id=2")).contains("|body:"), "two ids are none");
    let many = format!("id=1&{}", "x=1&".repeat(10_000));
    assert_eq!(dead(as_form(many.as_bytes())).0, Reason::Limits);
    assert_eq!(dead(read_all(&form, &[("content-type", "application/json")], "", b"{}", NOW).remove(0)).0, Reason::Unparseable);

    let parts = source(
        "content = \"multipart\"\nparse = [\"rawRequest\"]\nid = \"submissionID\"\n[[events]]\ntype = \"lead.created\"\nfields = { email = \"named(rawRequest, 'email')\" }\n",
    );
    let body = "--B\r\nContent-Disposition: form-data; name=\"submissionID\"\r\n\r\n56\r\n--B\r\nContent-Disposition: form-data; name=\"rawRequest\"\r\n\r\n\
        {\"q4_email\":\"ada@example.com\"}\r\n--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"cv.pdf\"\r\n\r\n\u{1}\r\n--B--\r\n";
    let as_parts =
        |body: &str| read_all(&parts, &[("content-type", "multipart/form-data; boundary=B")], "", body.as_bytes(), NOW).remove(0);
    let (read_event, warnings) = event(as_parts(body));
    assert_eq!((read_event.identity.email.as_deref(), warnings), (Some("ada@example.com"), vec!["files_dropped".to_owned()]));
    assert_eq!(read_event.idempotency_key, "demo|lead.created|56");
    let (reason, message) = dead(as_parts(&body.replace("{\"q4", "{q4")));
    assert!(reason == Reason::Unparseable && message.contains("`rawRequest`") && !message.contains("ada"), "{message}");
    assert!(matches!(as_parts(&body.replace("{\"q4_email\":\"ada@example.com\"}", "just text")), Reading::Event { .. }));
}

#[test]
fn what_is_parsed_once_more_has_the_same_limits_and_duplicates() {
    let source = source("parse = [\"message\"]\nid = \"id\"\n[[events]]\ntype = \"a.b\"\nfields = { company = \"message.c\" }\n");
    let of = |message: &str| read(&source, serde_json::json!({"id": "1", "message": message}).to_string().as_bytes());
    assert_eq!(event(of(r#"{"c":"x"}"#)).0.attributes["company"], serde_json::json!("x"));
    assert!(dead(of(r#"{"c":"x","c":"y"}"#)).1.contains("`c`"));
    assert_eq!(dead(of(&format!("[{}1]", "1,".repeat(100_000)))).0, Reason::Limits);
    assert_eq!(dead(of(&format!("{}{}", "[".repeat(200), "]".repeat(200)))).0, Reason::Unparseable);
}

proptest::proptest! {
    #[test]
    fn any_body_of_any_kind_is_read_into_something(
        kind in "(json|form|multipart|xml|any)", body in "(\\{|\\}|\\[|\\]|\"a\"|:|,|1|=|&|%41|<a>|</a>|<a/>|--b|\r\n|Content-Disposition: form-data; name=a|\r\n\r\n){0,16}",
        media in "(application/json|application/x-www-form-urlencoded|multipart/form-data; boundary=b|text/xml)",
    ) {
        let source = source(&format!("content = \"{kind}\"\nparse = [\"a\"]\n[[events]]\ntype = \"a.b\"\nfields = {{ company = \"a\" }}\n"));
        proptest::prop_assert_eq!(read_all(&source, &[("content-type", &media)], "", body.as_bytes(), NOW).len(), 1);
    }
}
