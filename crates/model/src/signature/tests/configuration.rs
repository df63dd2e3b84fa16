//! A scheme that cannot work is told so before the first request.

use super::*;

fn problems(text: &str, secrets: &[Secret]) -> Vec<&'static str> {
    let scheme: Scheme = toml::from_str(text).unwrap();
    scheme.compile(secrets, None).map(|_| Vec::new()).unwrap_or_else(|problems| problems.iter().map(|problem| problem.key).collect())
}

#[test]
fn the_short_form_of_the_configuration_is_a_scheme() {
    let text =
        r#"signature = { algorithm = "hmac-sha256", header = "X-Signature", encoding = "hex", prefix = "sha256=", signed = "{body}" }"#;
    let source: BTreeMap<String, Scheme> = toml::from_str(text).unwrap();
    let by = source["signature"].compile(&[Secret::new("a-secret-of-some-length").unwrap()], None).unwrap();
    let sent = Sent::new(&[], BODY).signed(&by, Time::default());
    assert_eq!(sent.headers[0].0, "x-signature");
    assert!(by.verify(&sent.received(), Time::default()).is_ok());
}

#[test]
fn unknown_words_are_errors() {
    for text in [
        r#"{ algorithm = "hmac-md5", header = "x", signed = "{body}" }"#,
        r#"{ algorithm = "hmac-sha256", header = "x", signed = "{body}", tolerence = "5m" }"#,
        r#"{ algorithm = "hmac-sha256", header = "x", signed = "{body}", timestamp = { header = "t", units = "s" } }"#,
    ] {
        assert!(toml::from_str::<BTreeMap<String, Scheme>>(&format!("signature = {text}")).is_err(), "{text}");
    }
}

#[test]
fn every_mistake_is_named_at_once() {
    let text = r#"
        algorithm = "hmac-sha256"
        header = "x signature"
        layout = "tagged"
        prefix = "sha256="
        separator = "a"
        key_prefix = "whsec_"
        encoding = "base64"
        hex_case = "any"
        signed = "{timestamp}.{bdoy}"
        timestamp = { field = "t", tolerance = "2d" }
    "#;
    let found = problems(text, &[]);
    for key in ["header", "prefix", "separator", "tag", "key_prefix", "hex_case", "signed", "timestamp"] {
        assert!(found.contains(&key), "{key} of {found:?}");
    }
    assert_eq!(found.iter().filter(|&&key| key == "signed").count(), 2, "the unknown placeholder, and no body");
    assert_eq!(found.iter().filter(|&&key| key == "timestamp").count(), 2, "the field, and the tolerance");
}

#[test]
fn what_cannot_be_checked_is_a_mistake() {
    let with = |more: &str| format!("algorithm = \"hmac-sha256\"\nheader = \"x-signature\"\n{more}");
    for (more, key) in [
        (r#"signed = "{timestamp}.{body}""#, "signed"),
        (r#"signed = "constant""#, "signed"),
        ("", "signed"),
        (r#"signed = "{header:}{body}""#, "signed"),
        (r#"signed = "{header:X-Signature}{body}""#, "signed"),
        (r#"signed = "{body""#, "signed"),
        (r#"signed = "body}""#, "signed"),
        ("signed = \"{body}\"\ntimestamp = { header = \"x-time\" }", "timestamp"),
        ("signed = \"{timestamp}{body}\"\ntimestamp = { }", "timestamp"),
        ("signed = \"{timestamp}{body}\"\ntimestamp = { header = \"a\", field = \"b\" }", "timestamp"),
        ("signed = \"{timestamp}{body}\"\ntimestamp = { header = \"a\", tolerance = \"soon\" }", "timestamp"),
        ("signed = \"{timestamp}{header:A}{body}\"\ntimestamp = { header = \"a\" }", "signed"),
        ("signed = \"{body}\"\nlayout = \"kv\"", "signature_field"),
        ("signed = \"{body}\"\nseparator = \",\"", "separator"),
        ("signed = \"{body}\"\nlayout = \"kv\"\nsignature_field = \"a=b\"", "signature_field"),
        ("signed = \"{timestamp}{body}\"\nlayout = \"kv\"\nsignature_field = \"v1\"\ntimestamp = { field = \"v1\" }", "timestamp"),
        ("signed = \"{body}\"\naliases = { \"a b\" = \"c\" }", "aliases"),
    ] {
        assert!(problems(&with(more), &[]).contains(&key), "{more}: {:?}", problems(&with(more), &[]));
    }
}

#[test]
fn a_secret_that_does_not_decode_is_named_by_its_number_and_never_shown() {
    let scheme = scheme("standard-webhooks");
    let right = Secret::new(SW_SECRET).unwrap();
    for wrong in ["whsec_this is no base64!", "whsec_c2hvcnQ="] {
        let problems = scheme.compile(&[right.clone(), Secret::for_vectors(wrong)], None).unwrap_err();
        let text = problems[0].to_string();
        assert!(text.starts_with("`secrets`: secret 2 "), "{text}");
        assert!(!text.contains(&wrong[6..]), "{text}");
    }
    assert!(scheme.compile(&vec![right.clone(); 9], None).is_err());
    // With and without the prefix, with and without padding: the same key.
    let bare = Secret::new(SW_SECRET.trim_start_matches("whsec_")).unwrap();
    let at = Time::from_seconds(1_700_000_000);
    let sent = Sent::new(&[("webhook-id", "m")], BODY).signed(&scheme.compile(&[bare], None).unwrap(), at);
    assert!(scheme.compile(&[right], None).unwrap().verify(&sent.received(), at).is_ok());
}

#[test]
fn a_verifier_never_shows_its_secrets() {
    let shown = format!("{:?}", verifier("github", &["a-secret-of-some-length"]));
    assert!(!shown.contains("a-secret"), "{shown}");
}
