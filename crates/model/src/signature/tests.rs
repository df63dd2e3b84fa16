//! Schemes against the vendors' own vectors, and what the tests of refusals and configuration share.

mod configuration;
mod diagnosis;
mod refusals;
mod vocabulary;

use std::collections::BTreeMap;

use super::*;
use crate::Received;
use crate::secret::Secret;

/// Schemes beside those of `examples.toml`: other layouts, other encodings.
const MORE: &str = r#"
[slack]
algorithm = "hmac-sha256"
header    = "X-Slack-Signature"
prefix    = "v0="
signed    = "v0:{timestamp}:{body}"
timestamp = { header = "X-Slack-Request-Timestamp" }

[mux]
algorithm       = "hmac-sha256"
header          = "mux-signature"
layout          = "kv"
signature_field = "v1"
signed          = "{timestamp}.{body}"
timestamp       = { field = "t" }

[paddle]
algorithm       = "hmac-sha256"
header          = "paddle-signature"
layout          = "kv"
separator       = ";"
signature_field = "h1"
signed          = "{timestamp}:{body}"
timestamp       = { field = "ts", tolerance = "5s" }

[intercom]
algorithm = "hmac-sha1"
header    = "x-hub-signature"
prefix    = "sha1="
signed    = "{body}"

[everything]
algorithm = "hmac-sha512"
key       = "hex"
header    = "x-sum"
encoding  = "base64url"
signed    = "{method}{target}{timestamp}{body}"
timestamp = { header = "x-at", unit = "ms", tolerance = "off" }
"#;

/// Non-ASCII text, so that nothing may pass through a decoder on its way.
const BODY: &str = "{\"id\":\"evt_1\",\"email\":\"ada@example.com\",\"name\":\"Zoë\"}";
const SW_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn scheme(name: &str) -> Scheme {
    let read = |text| toml::from_str::<BTreeMap<String, Scheme>>(text).unwrap().remove(name);
    read(include_str!("examples.toml")).or_else(|| read(MORE)).unwrap()
}

fn verifier(name: &str, secrets: &[&str]) -> Verifier {
    let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::for_vectors(text)).collect();
    scheme(name).compile(&secrets, None).unwrap()
}

/// A request that can be changed.
#[derive(Clone)]
struct Sent {
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Sent {
    fn new(headers: &[(&str, &str)], body: &str) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        Self { headers, body: body.as_bytes().to_vec() }
    }

    fn with(&self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let mut sent = self.without(name);
        sent.headers.push((name.to_owned(), value.as_ref().to_vec()));
        sent
    }

    fn and(&self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let mut sent = self.clone();
        sent.headers.push((name.to_owned(), value.as_ref().to_vec()));
        sent
    }

    fn without(&self, name: &str) -> Self {
        let mut sent = self.clone();
        sent.headers.retain(|(held, _)| held != name);
        sent
    }

    fn over(&self, body: impl AsRef<[u8]>) -> Self {
        Self { headers: self.headers.clone(), body: body.as_ref().to_vec() }
    }

    fn value(&self, name: &str) -> String {
        let (_, value) = self.headers.iter().find(|(held, _)| held == name).unwrap();
        String::from_utf8(value.clone()).unwrap()
    }

    fn received(&self) -> Received<'_> {
        Received { method: "POST", target: "/hooks/x?y=1", headers: &self.headers, body: &self.body }
    }

    /// Signs it as the vendor would.
    fn signed(mut self, by: &Verifier, now: Time) -> Self {
        let added = by.sign(&self.received(), now).unwrap();
        assert_eq!((added.target.as_str(), added.body.as_slice()), (self.received().target, self.received().body));
        self.headers.extend(added.headers.into_iter().map(|(name, value)| (name, value.into_bytes())));
        self
    }
}

/// The published and computed vectors: scheme, secret, time of signing, headers, body.
type Vector = (&'static str, &'static str, Time, Vec<(&'static str, &'static str)>, &'static str);

fn published() -> Vec<Vector> {
    vec![
        (
            // Standard Webhooks, JavaScript and Python tests.
            "standard-webhooks",
            SW_SECRET,
            Time::from_seconds(1_614_265_330),
            vec![
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("webhook-timestamp", "1614265330"),
                ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
            ],
            "{\"test\": 2432232314}",
        ),
        (
            // docs.github.com, validating webhook deliveries.
            "github",
            "It's a Secret to Everybody",
            Time::default(),
            vec![("x-hub-signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")],
            "Hello, World!",
        ),
        (
            // api.slack.com, verifying requests.
            "slack",
            "8f742231b10e8888abcd99yyyzzz85a5",
            Time::from_seconds(1_531_420_618),
            vec![
                ("x-slack-request-timestamp", "1531420618"),
                ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
            ],
            "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
        ),
        (
            // hexdocs.pm/mux, TestUtils: Stripe's layout. Its secret is shorter than we would take.
            "mux",
            "SuperSecret123",
            Time::from_seconds(1_591_664_030),
            vec![("mux-signature", "t=1591664030,v1=e43496b6aae982c4c2fd6f8e92935f1d90216f1f64d56024e72390acfb988272")],
            "payload",
        ),
    ]
}

/// Computed with Python's `hmac` from the vendors' documented formulas: there is no published vector.
fn computed() -> Vec<Vector> {
    vec![
        (
            "stripe",
            "whsec_formula_0123456789abcdef",
            Time::from_seconds(1_700_000_000),
            vec![("stripe-signature", "t=1700000000,v1=4145ceef86272a7f79c35148eba2c479f2ec0173fe90d11cb049cf8c53cc0a3a")],
            BODY,
        ),
        (
            "typeform",
            "typeform-formula-0123456789",
            Time::default(),
            vec![("typeform-signature", "sha256=mvKkhLTSpfuGQctWs4PKRTjDAJnSQYZgHbdOZ08Q1sY=")],
            BODY,
        ),
        (
            "shopify",
            "shpss_formula_0123456789abcdef",
            Time::default(),
            vec![("x-shopify-hmac-sha256", "l/ACPEX3iYF8hVbb3yhuSwJOxuyotAr8JWIvYfW6Hg4=")],
            BODY,
        ),
        (
            "intercom",
            "intercom-formula-0123456789",
            Time::default(),
            vec![("x-hub-signature", "sha1=9263177c57772b8ef16a0971c88ba49fb43c6e73")],
            BODY,
        ),
        (
            "everything",
            "00112233445566778899aabbccddeeff",
            Time::from_millis(1_700_000_000_123),
            vec![
                ("x-at", "1700000000123"),
                ("x-sum", "2P658AHJ2FzOjXF0-6Lr_2dyfVCx3uWo2AujqLyHVzyiI2EaORulZKQx2qmeC8AXfIjajXasshG1ypYxz6q1xw"),
            ],
            BODY,
        ),
    ]
}

#[test]
fn every_vendors_vector_is_genuine_and_we_sign_the_same() {
    for (name, secret, at, headers, body) in published().into_iter().chain(computed()) {
        let verifier = verifier(name, &[secret]);
        let sent = Sent::new(&headers, body);
        let verified = verifier.verify(&sent.received(), at).unwrap_or_else(|rejection| panic!("{name}: {rejection:?}"));
        assert_eq!(verified.secret, 0);
        assert_eq!(verified.timestamp, verifier.clock.is_some().then_some(at), "{name}");

        let signed = verifier.sign(&sent.received(), at).unwrap();
        for (header, value) in signed.headers {
            assert_eq!(sent.value(&header), value, "{name}");
        }
        // One byte changed in the body, and one in the signature.
        let mut changed = sent.clone();
        changed.body[0] ^= 1;
        assert_eq!(verifier.verify(&changed.received(), at), Err(Rejection::Mismatch), "{name}");
        for secret in ["another-secret-of-length", ""] {
            let other = scheme(name).compile(&[Secret::for_vectors(secret)], None);
            assert!(other.is_err() || other.is_ok_and(|other| other.verify(&sent.received(), at).is_err()), "{name}");
        }
    }
}

#[test]
fn only_headers_that_were_signed_may_become_keys() {
    let at = Time::from_seconds(1_614_265_330);
    let by = verifier("standard-webhooks", &[SW_SECRET]);
    let sent = Sent::new(&[("webhook-id", "msg_1"), ("x-request-id", "r1")], BODY).signed(&by, at);
    assert_eq!(by.verify(&sent.received(), at).unwrap().signed_headers, ["webhook-id"]);
    // Another id under the same signature is a forgery (row 44).
    assert_eq!(by.verify(&sent.with("webhook-id", "msg_2").received(), at), Err(Rejection::Mismatch));

    // GitHub does not sign its delivery id: changing it changes nothing, and so it is no key (row 45).
    let by = verifier("github", &["It's a Secret to Everybody"]);
    let sent = Sent::new(&[("x-github-delivery", "a")], BODY).signed(&by, at);
    let verified = by.verify(&sent.with("x-github-delivery", "b").received(), at).unwrap();
    assert!(verified.signed_headers.is_empty());
}

#[test]
fn a_header_may_come_under_another_of_its_names() {
    let at = Time::from_seconds(1_614_265_330);
    let by = verifier("standard-webhooks", &[SW_SECRET]);
    let sent = Sent::new(&[("webhook-id", "msg_1")], BODY).signed(&by, at);
    let mut svix = sent.clone();
    for (name, _) in &mut svix.headers {
        *name = name.replace("webhook-", "svix-");
    }
    let verified = by.verify(&svix.received(), at).unwrap();
    assert_eq!(verified.signed_headers, ["webhook-id"]);
    assert_eq!(by.header(&svix.received(), "webhook-id"), Ok(Some(b"msg_1".as_slice())));

    // Both names with one value say one thing; with two values, nothing.
    assert!(by.verify(&sent.and("svix-id", "msg_1").received(), at).is_ok());
    assert_eq!(by.verify(&sent.and("svix-id", "msg_2").received(), at), Err(Rejection::SignedHeaderDoubled));
}

#[test]
fn any_secret_and_any_signature_of_a_rotation_will_do() {
    let at = Time::from_seconds(1_700_000_000);
    let (old, new) = ("the-old-secret-0123456789", "the-new-secret-0123456789");
    for name in ["stripe", "github", "shopify", "typeform", "slack", "intercom"] {
        let both = verifier(name, &[new, old]);
        let sent = Sent::new(&[], BODY).signed(&verifier(name, &[old]), at);
        assert_eq!(both.verify(&sent.received(), at).unwrap().secret, 1, "{name}");
        assert_eq!(verifier(name, &[new]).verify(&sent.received(), at), Err(Rejection::Mismatch), "{name}");
    }
    // The sender signs with both: only the last of the listed signatures is ours (row 33).
    let by = verifier("stripe", &[new]);
    let good = Sent::new(&[], BODY).signed(&by, at).value("stripe-signature");
    let wrong = "0".repeat(64);
    for listed in [good.replace(",v1=", &format!(",v1={wrong},v1=")), good.replace(",v1=", ", v0=x, v1=short, v1=")] {
        assert!(by.verify(&Sent::new(&[("stripe-signature", &listed)], BODY).received(), at).is_ok(), "{listed}");
    }
    let by = verifier("standard-webhooks", &[SW_SECRET]);
    let sent = Sent::new(&[("webhook-id", "msg_1")], BODY).signed(&by, at);
    let listed = format!("v1a,xyz v1,{}= v2,x {}", "A".repeat(43), sent.value("webhook-signature"));
    assert!(by.verify(&sent.with("webhook-signature", &listed).received(), at).is_ok());
}

#[test]
fn a_secret_of_a_rotation_ends_when_it_should() {
    let at = Time::from_seconds(1_700_000_000);
    let new = Secret::new("the-new-secret-0123456789").unwrap();
    let old = || Secret::new("the-old-secret-0123456789").unwrap();
    let sent = Sent::new(&[], BODY).signed(&scheme("github").compile(&[old()], None).unwrap(), at);
    let verify = |secrets: &[Secret], now| scheme("github").compile(secrets, None).unwrap().verify(&sent.received(), now);

    let ending = old().until(at);
    assert_eq!(verify(&[new.clone(), ending.clone()], at).map(|verified| verified.secret), Ok(1));
    assert_eq!(verify(&[new, ending.clone()], Time(at.0 + 1)), Err(Rejection::Mismatch));
    assert_eq!(verify(&[ending], Time(at.0 + 1)), Err(Rejection::NoSecret));
}

#[test]
fn what_the_sender_signed_is_taken_byte_for_byte() {
    // Row 37: duplicate keys, numbers with zeros, escapes, an empty body, bytes that are not text.
    let at = Time::from_seconds(1_700_000_000);
    for name in ["stripe", "github", "shopify", "typeform"] {
        let by = verifier(name, &["a-secret-of-some-length"]);
        for body in [br#"{"a":1,"a":2,"price":12.50,"name":"\u00eb"}"#.as_slice(), b"", b"\xff\x00\xfe", b" {}\r\n"] {
            let sent = Sent::new(&[], "").over(body).signed(&by, at);
            assert!(by.verify(&sent.received(), at).is_ok(), "{name}");
        }
    }
}

#[test]
fn signing_needs_a_secret_and_every_header_that_is_signed() {
    let at = Time::from_seconds(1_700_000_000);
    let by = verifier("standard-webhooks", &[SW_SECRET]);
    for headers in [vec![], vec![("webhook-id", "")], vec![("webhook-id", "a.b")]] {
        assert_eq!(by.sign(&Sent::new(&headers, BODY).received(), at), Err(SignError::Header("webhook-id".to_owned())));
    }
    assert_eq!(verifier("github", &[]).sign(&Sent::new(&[], BODY).received(), at), Err(SignError::NoSecret));
}
