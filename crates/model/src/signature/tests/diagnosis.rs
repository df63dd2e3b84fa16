//! Operators are told what would have matched.

use super::*;

const AT: Time = Time::from_seconds(1_700_000_000);
const SECRET: &str = "a-secret-of-some-length-01";

fn told(by: &Verifier, sent: &Sent, now: Time) -> String {
    let rejection = by.verify(&sent.received(), now).unwrap_err();
    let text = by.diagnose(&sent.received(), rejection, now);
    assert!(text.starts_with(rejection.sentence()) && text.len() < 600, "{text}");
    for hidden in [SECRET, SW_SECRET, "ada@example.com", "757107ea"] {
        assert!(!text.contains(hidden), "{text}");
    }
    text
}

fn custom(more: &str) -> Verifier {
    let text = format!("algorithm = \"hmac-sha256\"\nheader = \"x-hub-signature-256\"\n{more}");
    toml::from_str::<Scheme>(&text).unwrap().compile(&[Secret::new(SECRET).unwrap()], None).unwrap()
}

#[test]
fn what_would_have_matched_is_said() {
    let github = verifier("github", &["0000-another-secret-0000", SECRET]);
    let sent = |more: &str| Sent::new(&[], BODY).signed(&custom(more), AT);
    let right = sent("signed = \"{body}\"\nprefix = \"sha256=\"");
    for (changed, words) in [
        (right.over(format!("{BODY}\n")), "Secret 2 would match over the body without the white space around it"),
        (right.over([b"\xef\xbb\xbf", BODY.as_bytes()].concat()), "without its byte order mark"),
        (sent("signed = \"{body}\\n\"\nprefix = \"sha256=\""), "with a line feed at its end"),
        (
            sent("signed = \"{body}\""),
            "Secret 2 gives this very signature; the scheme wants it written as `sha256=` and then lower-case hex.",
        ),
        (sent("signed = \"{body}\"\nencoding = \"base64\"\nprefix = \"sha256=\""), "gives this very signature"),
        (right.with("x-hub-signature-256", right.value("x-hub-signature-256").to_uppercase()), "gives this very signature"),
    ] {
        let text = told(&github, &changed, AT);
        assert!(text.contains(words), "{text}");
    }
    let text = told(&custom("signed = \"v0:{body}\"\nprefix = \"sha256=\""), &right, AT);
    assert!(text.contains("over the body alone"), "{text}");
}

#[test]
fn another_algorithm_or_key_encoding_is_recognised() {
    let toml = |text: &str| toml::from_str::<Scheme>(text).unwrap();
    let secrets = [Secret::new(SW_SECRET).unwrap()];
    let base = "header = \"x-sig\"\nsigned = \"{body}\"\n";
    let plain = toml(&format!("{base}algorithm = \"hmac-sha256\"")).compile(&secrets, None).unwrap();
    let decoded =
        toml(&format!("{base}algorithm = \"hmac-sha256\"\nkey = \"base64\"\nkey_prefix = \"whsec_\"")).compile(&secrets, None).unwrap();
    for algorithm in ["hmac-sha1", "hmac-sha512"] {
        let other = toml(&format!("{base}algorithm = \"{algorithm}\"")).compile(&secrets, None).unwrap();
        let text = told(&plain, &Sent::new(&[], BODY).signed(&other, AT), AT);
        assert!(text.contains(&format!("with {algorithm} instead of hmac-sha256")), "{text}");
    }
    let text = told(&plain, &Sent::new(&[], BODY).signed(&decoded, AT), AT);
    assert!(text.contains("`key = \"base64\"`"), "{text}");
    let text = told(&decoded, &Sent::new(&[], BODY).signed(&plain, AT), AT);
    assert!(text.contains("`key = \"utf8\"`"), "{text}");
}

#[test]
fn the_age_is_said_and_whether_the_signature_is_right() {
    let by = verifier("stripe", &[SECRET]);
    let sent = Sent::new(&[], BODY).signed(&by, AT);
    let text = told(&by, &sent, Time::from_seconds(1_700_000_431));
    assert!(text.contains("signed 431 s before it came. The signature itself is right."), "{text}");
    let text = told(&by, &sent.over("{}"), Time::from_seconds(1_699_999_000));
    assert!(text.contains("signed 1000 s after it came. The signature itself is wrong, too."), "{text}");

    let milliseconds = sent.with("stripe-signature", sent.value("stripe-signature").replace("1700000000", "1700000000000"));
    assert!(told(&by, &milliseconds, AT).contains("milliseconds"));
}

#[test]
fn a_secret_that_has_ended_is_recognised() {
    let ended = Secret::new(SECRET).unwrap().until(Time::from_seconds(1_600_000_000));
    let by = scheme("github").compile(&[ended], None).unwrap();
    let sent = Sent::new(&[], BODY).signed(&verifier("github", &[SECRET]), AT);
    assert!(told(&by, &sent, AT).contains("valid until 2020-09-13T12:26:40.000Z"));
}

#[test]
fn a_signature_under_another_name_is_pointed_at() {
    let by = verifier("github", &[SECRET]);
    let text = told(&by, &Sent::new(&[("x-shopify-hmac-sha256", "x"), ("accept", "y")], BODY), AT);
    assert!(text.contains("The request has `x-shopify-hmac-sha256`: "), "{text}");
}

#[test]
fn nothing_is_made_up_about_a_forgery() {
    let by = verifier("github", &[SECRET]);
    let sent = Sent::new(&[("x-hub-signature-256", &format!("sha256={}", "0".repeat(64)))], BODY);
    assert_eq!(told(&by, &sent, AT), Rejection::Mismatch.sentence());
}

#[test]
fn a_body_that_was_written_anew_is_recognised() {
    let by = verifier("github", &[SECRET]);
    let was = |body: &str| Sent::new(&[], body).signed(&by, AT);
    let python = r#"{"a": {"z": 1}, "name": "Zo\u00eb/x"}"#;
    for (signed, came, words) in [
        (r#"{"b":1,"a":"ë"}"#, r#"{ "b": 1, "a": "ë" }"#, "written without spaces"),
        (r#"{"a":"ë","b":1}"#, r#"{"b":1,"a":"ë"}"#, "with sorted names"),
        (r#"{"b":1,"a":"\u00eb"}"#, r#"{"b":1,"a":"ë"}"#, "letters beyond ASCII escaped"),
        (r#"{"b":"x\/y","a":"\u00eb"}"#, r#"{"b":"x/y","a":"ë"}"#, "as PHP writes it"),
        (python, r#"{"a":{"z":1},"name":"Zoë/x"}"#, "as Python writes it"),
        (r#"{"b": 1, "a": 2}"#, r#"{"b":1,"a":2}"#, "with a space after commas and colons"),
    ] {
        let text = told(&by, &was(signed).over(came), AT);
        assert!(text.contains("Secret 1 would match over the same JSON") && text.contains(words), "{came}: {text}");
    }
}

#[test]
fn a_secret_without_its_prefix_is_recognised() {
    let by = verifier("stripe", &[SECRET]);
    let whole = format!("whsec_{SECRET}");
    let sent = Sent::new(&[], BODY).signed(&verifier("stripe", &[&whole]), AT);
    let text = told(&by, &sent, AT);
    assert!(text.contains("with `whsec_` before the secret: was the prefix left out"), "{text}");
}

#[test]
fn another_public_url_is_recognised() {
    let scheme: Scheme = toml::from_str("algorithm = 'hmac-sha256'\nheader = 'x-sum'\nsigned = '{url}{body}'").unwrap();
    let by = |url: &str| scheme.compile(&[Secret::new(SECRET).unwrap()], Some(url)).unwrap();
    let ours = by("https://hooks.example.com/webhooks/acme");
    for url in [
        "http://hooks.example.com/webhooks/acme",
        "https://hooks.example.com/webhooks/acme/",
        "https://hooks.example.com/hooks/x",
        "http://10.1.2.3:8080/hooks/x",
        "https://proxy.example.org/hooks/x",
    ] {
        let headers = [("host", "10.1.2.3:8080"), ("x-forwarded-host", "proxy.example.org")];
        let sent = Sent::new(&headers, BODY).signed(&by(url), AT);
        let text = told(&ours, &sent, AT);
        assert!(text.contains(&format!("over the address `{url}`: is that what the vendor was told?")), "{url}: {text}");
    }
    // The vendor leaves the query string out.
    let request = Received { method: "POST", target: "/hooks/x", headers: &[], body: BODY.as_bytes() };
    let headers: Vec<_> = ours.sign(&request, AT).unwrap().headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
    let request = Received { target: "/hooks/x?y=1", headers: &headers, ..request };
    let text = ours.diagnose(&request, ours.verify(&request, AT).unwrap_err(), AT);
    assert!(text.contains("without its query string"), "{text}");
}

#[test]
fn another_sources_request_or_secret_is_recognised() {
    let (ours, theirs) = (verifier("github", &[SECRET]), verifier("shopify", &["the-secret-of-the-shop-01"]));
    let others = || [("desk", &ours), ("shop", &theirs)].into_iter().filter(|(name, _)| *name == "shop");
    let told = |sent: &Sent| {
        let rejection = ours.verify(&sent.received(), AT).unwrap_err();
        ours.diagnose_among(&sent.received(), rejection, AT, others())
    };
    let text = told(&Sent::new(&[], BODY).signed(&theirs, AT));
    assert!(text.contains("It is signed as the source `shop` is: the vendor sends to this source's address"), "{text}");
    let mixed = verifier("github", &["the-secret-of-the-shop-01"]);
    let text = told(&Sent::new(&[], BODY).signed(&mixed, AT));
    assert!(text.contains("The secret of the source `shop` would match: were the two sources' secrets mixed up?"), "{text}");
    let stranger = verifier("github", &["nobody's-secret-0123456789"]);
    let text = told(&Sent::new(&[], BODY).signed(&stranger, AT));
    assert_eq!(text, Rejection::Mismatch.sentence());
}

#[test]
fn where_a_signature_was_looked_for_is_said() {
    for (toml, words) in [
        ("algorithm = 'token'\nquery = 'key'", "It was looked for in the parameter `key` of the query string."),
        ("algorithm = 'token'\nform = 'HandshakeKey'", "It was looked for in the form's field `HandshakeKey`."),
        ("algorithm = 'token'\njson = 'lead.key'", "It was looked for in the body's member `lead.key`."),
    ] {
        let by = toml::from_str::<Scheme>(toml).unwrap().compile(&[Secret::new(SECRET).unwrap()], None).unwrap();
        let text = told(&by, &Sent::new(&[], "{}"), AT);
        assert!(text.contains(words), "{text}");
    }
    let bearer: Scheme = toml::from_str("algorithm = 'token'\nheader = 'authorization'\nprefix = 'Bearer '").unwrap();
    let by = bearer.compile(&[Secret::new(SECRET).unwrap()], None).unwrap();
    let text = told(&by, &Sent::new(&[("authorization", SECRET)], "{}"), AT);
    assert!(text.contains("gives this very signature; the scheme wants it written as `Bearer ` and then the secret as it is"), "{text}");
    let zendesk: Scheme = toml::from_str(
        "algorithm = 'hmac-sha256'\nheader = 's'\nsigned = '{timestamp}{body}'\ntimestamp = { header = 't', unit = 'rfc3339' }",
    )
    .unwrap();
    let by = zendesk.compile(&[Secret::new(SECRET).unwrap()], None).unwrap();
    let text = told(&by, &Sent::new(&[], "{}").signed(&by, AT).with("t", "1700000000"), AT);
    assert!(text.contains("It looks like seconds: the scheme may need `unit = \"s\"`."), "{text}");
}
