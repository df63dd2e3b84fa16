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
