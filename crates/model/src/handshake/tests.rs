//! What vendors ask is answered, and no answer signs anything.

use proptest::prelude::*;

use super::*;
use crate::secret::Secret;
use crate::signature::Scheme;

const NOW: Time = Time::from_seconds(1_700_000_000);
const SECRET: &str = "a-secret-of-some-length-01";
const URL: &str = "https://hooks.example.com/webhooks/acme";

fn by(scheme: &str) -> Verifier {
    toml::from_str::<Scheme>(scheme).unwrap().compile(&[Secret::new(SECRET).unwrap()], Some(URL)).unwrap()
}

fn handshake(text: &str) -> Handshake {
    Handshake::compile(&toml::from_str(text).unwrap()).unwrap()
}

/// Each kind that answers with a hash, as its vendor signs.
const LINKEDIN: &str = "algorithm = 'hmac-sha256'\nheader = 'x-li-signature'\nsigned = 'hmacsha256={body}'";
const ZOOM: &str = "algorithm = 'hmac-sha256'\nheader = 'x-zm-signature'\nprefix = 'v0='\nsigned = 'v0:{timestamp}:{body}'\ntimestamp = { header = 'x-zm-request-timestamp' }";
const X: &str =
    "algorithm = 'hmac-sha256'\nheader = 'x-twitter-webhooks-signature'\nprefix = 'sha256='\nencoding = 'base64'\nsigned = '{body}'";
const BRAINTREE: &str = "algorithm = 'hmac-sha1'\nkey = 'sha1'\nform = 'bt_signature'\nlayout = 'kv'\nassign = '|'\nsignature_field = '*'\nseparator = '&'\nsigned = '{form:bt_payload}'\ncovers_body = true";
const PLAIN: &str = "algorithm = 'hmac-sha256'\nheader = 'x-signature'\nsigned = '{body}'";

fn ask(kind: &str, scheme: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Handshaken {
    let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    handshake(kind).answer(&Received { method, target, headers: &headers, body: body.as_bytes() }, &by(scheme), NOW)
}

fn answered(handshaken: Handshaken) -> Answer {
    let Handshaken::Answered(answer) = handshaken else { panic!("{handshaken:?}") };
    answer
}

/// A body signed as the scheme says.
fn signed(kind: &str, scheme: &str, headers: &[(&str, &str)], body: &str) -> Handshaken {
    let mut headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    let unsigned = Received { method: "POST", target: "/", headers: &headers, body: body.as_bytes() };
    let added = by(scheme).sign(&unsigned, NOW).unwrap().headers;
    headers.extend(added.into_iter().map(|(name, value)| (name, value.into_bytes())));
    handshake(kind).answer(&Received { method: "POST", target: "/", headers: &headers, body: body.as_bytes() }, &by(scheme), NOW)
}

#[test]
fn what_is_asked_by_get_is_answered() {
    let token = by(PLAIN).verify_token(NOW).unwrap();
    assert_eq!(token.len(), 48);
    let meta = |token: &str| {
        ask("kind = 'meta'", PLAIN, "GET", &format!("/?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={token}"), &[], "")
    };
    let answer = answered(meta(&token));
    assert_eq!((answer.status, answer.content_type, answer.body.as_str()), (200, Some("text/plain; charset=utf-8"), "1158201444"));
    assert_eq!(meta("another"), Handshaken::Refused(Rejection::HandshakeMismatch));
    let own = ask(
        "kind = 'meta'\nverify_token = 'chosen'",
        PLAIN,
        "GET",
        "/?hub.mode=subscribe&hub.challenge=1&hub.verify_token=chosen",
        &[],
        "",
    );
    assert_eq!(answered(own).body, "1");

    // Python: hmac.new(b"a-secret-of-some-length-01", b"890e4665-4dfe-4ab1-b689-ed553bceeed0", "sha256").hexdigest().
    let code = "890e4665-4dfe-4ab1-b689-ed553bceeed0";
    let answer = answered(ask("kind = 'linkedin'", LINKEDIN, "GET", &format!("/?challengeCode={code}"), &[], ""));
    let hash = "8791836ac0490720785629f7dc45ec3c70016cd9a48c405c16ba2537064c2a76";
    assert_eq!(answer.body, format!(r#"{{"challengeCode":"{code}","challengeResponse":"{hash}"}}"#));

    let answer = answered(ask("kind = 'x'", X, "GET", "/?crc_token=challenge_string", &[], ""));
    assert_eq!(answer.body, r#"{"response_token":"sha256=FS/ipEUTZ0n6loAkxLW8KI/sYL8yRfWaXG9u60ZTPwc="}"#);

    let ebay = "kind = 'ebay'\nverify_token = 'verify-token-of-thirty-two-letters'";
    let answer = answered(ask(ebay, PLAIN, "GET", "/?challenge_code=a8628072", &[], ""));
    assert_eq!(answer.body, r#"{"challengeResponse":"6042890ac6333a14c69933602b536e345a77edf4fba2b021ba870c772592fcc6"}"#);

    let braintree = "kind = 'braintree'\npublic_key = 'integration_public_key'";
    let answer = answered(ask(braintree, BRAINTREE, "GET", "/?bt_challenge=20f9f8ed05f77439fe955c977e4c8a53", &[], ""));
    assert_eq!(answer.body, "integration_public_key|e4bbf15c4b2b440488c9693c0afafaf2e3ee5f54");

    assert_eq!(answered(ask("kind = 'echo'\nparameter = 'challenge'", PLAIN, "GET", "/?challenge=abc", &[], "")).body, "abc");
    let okta = ask("kind = 'okta'", PLAIN, "GET", "/", &[("x-okta-verification-challenge", "abc")], "");
    assert_eq!(answered(okta).body, r#"{"verification":"abc"}"#);
    for (kind, method) in [("head-ok", "HEAD"), ("get-ok", "GET"), ("get-ok", "HEAD"), ("mandrill", "HEAD")] {
        assert_eq!(answered(ask(&format!("kind = '{kind}'"), PLAIN, method, "/", &[], "")), Answer::empty());
    }
}

#[test]
fn what_is_asked_by_post_is_answered_if_it_is_signed() {
    let zoom = r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}"#;
    let answer = answered(signed("kind = 'zoom'", ZOOM, &[], zoom));
    assert_eq!(
        answer.body,
        r#"{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"5fa2c747aff4f60abf674eb74ecb6d38c79d5bd5ac98aa8ea27f16851c1fc96a"}"#
    );
    let slack = r#"{"type":"url_verification","token":"x","challenge":"3eZbrw1aBm2rZgRNFdxV"}"#;
    assert_eq!(answered(signed("kind = 'slack'", PLAIN, &[], slack)).body, "3eZbrw1aBm2rZgRNFdxV");
    assert_eq!(answered(signed("kind = 'discord'", PLAIN, &[], r#"{"type":1}"#)).body, r#"{"type":1}"#);
    assert_eq!(answered(signed("kind = 'discord'", PLAIN, &[], r#"{"type":0}"#)).status, 204);
    let xero = r#"{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"S0m3"}"#;
    assert_eq!(answered(signed("kind = 'xero'", PLAIN, &[], xero)), Answer::empty());
    let twitch = [("twitch-eventsub-message-type", "webhook_callback_verification")];
    assert_eq!(answered(signed("kind = 'twitch'", PLAIN, &twitch, r#"{"challenge":"pogchamp"}"#)).body, "pogchamp");
    let sns = |url: &str| signed("kind = 'sns'", PLAIN, &[], &format!(r#"{{"Type":"SubscriptionConfirmation","SubscribeURL":"{url}"}}"#));
    let url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=1";
    assert_eq!(sns(url), Handshaken::Visit(url.to_owned()));
    for url in [
        "http://sns.eu-west-1.amazonaws.com/",
        "https://sns.eu-west-1.amazonaws.com.evil.example/",
        "https://evil.example/sns.eu-west-1.amazonaws.com/",
        "https://sns.eu-west-1.amazonaws.com@evil.example/",
        "https://sns.a.b.amazonaws.com/",
        "https://sns.amazonaws.com",
    ] {
        assert_eq!(sns(url), Handshaken::Refused(Rejection::HandshakeMismatch), "{url}");
    }
    // Unsigned, all of them are refused.
    for (kind, headers, body) in [
        ("zoom", &[][..], zoom),
        ("slack", &[][..], slack),
        ("discord", &[][..], r#"{"type":1}"#),
        ("xero", &[][..], xero),
        ("twitch", &twitch[..], r#"{"challenge":"pogchamp"}"#),
        ("sns", &[][..], r#"{"Type":"SubscriptionConfirmation","SubscribeURL":"https://sns.eu-west-1.amazonaws.com/"}"#),
    ] {
        assert_eq!(
            ask(&format!("kind = '{kind}'"), PLAIN, "POST", "/", headers, body),
            Handshaken::Refused(Rejection::SignatureMissing),
            "{kind}"
        );
    }
}

#[test]
fn what_is_asked_without_a_signature_is_sent_back_and_nothing_else() {
    let post = |kind: &str, target: &str, headers: &[(&str, &str)], body: &str| {
        ask(&format!("kind = '{kind}'"), PLAIN, "POST", target, headers, body)
    };
    let answer = answered(post("microsoft", "/?validationToken=Validation%3a+Testing", &[], ""));
    assert_eq!((answer.body.as_str(), answer.content_type), ("Validation: Testing", Some("text/plain; charset=utf-8")));
    assert_eq!(answered(post("monday", "/", &[], r#"{"challenge":"3eZbrw1a"}"#)).body, r#"{"challenge":"3eZbrw1a"}"#);
    assert_eq!(post("monday", "/", &[], r#"{"challenge":"x","event":{}}"#), Handshaken::Ordinary);
    assert_eq!(answered(post("notion", "/", &[], r#"{"verification_token":"secret_1"}"#)), Answer::empty());
    assert_eq!(
        answered(post("validation-token", "/", &[("validation-token", "abc-1")], "")).headers,
        [("validation-token", "abc-1".to_owned())]
    );
    assert_eq!(post("validation-token", "/", &[("validation-token", "a b")], ""), Handshaken::Ordinary);
    assert_eq!(answered(post("mandrill", "/", &[], "mandrill_events=%5B%5D")), Answer::empty());
    assert_eq!(post("mandrill", "/", &[], "mandrill_events=%5B%7B%7D%5D"), Handshaken::Ordinary);
    assert_eq!(answered(post("woocommerce", "/", &[], "webhook_id=42")), Answer::empty());
    assert_eq!(post("woocommerce", "/", &[], "webhook_id=42&x=1"), Handshaken::Ordinary);
    let kept = post("asana", "/", &[("x-hook-secret", "b537207f20cbfa02357cf448134da559")], "");
    let Handshaken::Keep { secret, answer } = kept else { panic!("{kept:?}") };
    assert_eq!((secret.as_str(), answer.headers[0].0), ("b537207f20cbfa02357cf448134da559", "x-hook-secret"));
}

#[test]
fn ordinary_requests_are_left_alone() {
    for kind in Kind::ALL {
        let parameter = if *kind == Kind::Echo { "\nparameter = 'challenge'" } else { "" };
        let text = format!("kind = '{}'{parameter}", kind.as_str());
        assert_eq!(signed(&text, PLAIN, &[], r#"{"event":"lead","type":"event","events":[{}],"id":1}"#), Handshaken::Ordinary, "{kind:?}");
        assert_eq!(ask(&text, PLAIN, "PUT", "/", &[], ""), Handshaken::Ordinary, "{kind:?}");
        assert!(!handshake(&text).takes("PUT") && handshake(&text).takes("POST"));
    }
}

#[test]
fn a_definition_that_cannot_work_is_refused() {
    for text in [
        "kind = 'echo'",
        "kind = 'meta'\nparameter = 'a'",
        "kind = 'echo'\nparameter = ''",
        "kind = 'ebay'\nverify_token = 'short'",
        "kind = 'x'\npublic_key = 'a'",
    ] {
        assert!(Handshake::compile(&toml::from_str(text).unwrap()).is_err(), "{text}");
    }
    assert!(handshake("kind = 'ebay'").lacks(None).is_some() && handshake("kind = 'ebay'").lacks(Some(URL)).is_none());
    assert!(handshake("kind = 'braintree'").lacks(Some(URL)).is_some());
}

/// Every hash in an answer, as the vendor's signature of some request could be written.
fn hashes(answer: &Answer) -> Vec<String> {
    let words = answer.body.split(['"', '|', ':', ',', '{', '}', ' ']).map(|word| word.trim_start_matches("sha256="));
    words.filter(|word| word.len() >= 27).map(str::to_owned).collect()
}

/// Whether a request with this body and this text as its signature would be taken, by the handshake and then by the scheme.
fn taken(kind: &str, scheme: &str, hash: &str, body: &[u8]) -> bool {
    let by = by(scheme);
    let form = [b"bt_payload=".as_slice(), body, b"&bt_signature=key|", hash.as_bytes()].concat();
    let bodies = [body.to_vec(), form];
    bodies.iter().any(|body| {
        let mut headers: Vec<(String, Vec<u8>)> = vec![("x-zm-request-timestamp".to_owned(), b"1700000000".to_vec())];
        for (name, prefix) in
            [("x-li-signature", ""), ("x-zm-signature", "v0="), ("x-twitter-webhooks-signature", "sha256="), ("x-signature", "")]
        {
            headers.push((name.to_owned(), format!("{prefix}{hash}").into_bytes()));
        }
        let request = Received { method: "POST", target: "/", headers: &headers, body };
        handshake(kind).answer(&request, &by, NOW) == Handshaken::Ordinary && by.verify(&request, NOW).is_ok()
    })
}

proptest! {
    /// Row 46, for every kind: whatever is asked, and however it is shaped like what the vendor signs, the answer signs no request.
    #[test]
    fn no_answer_is_a_signature(
        free in "[ -~]{0,80}",
        shaped in prop_oneof![
            "hmacsha256=\\{\"a\":1\\}".prop_map(|text| text),
            "v0:1700000000:\\{\"a\":[0-9]\\}".prop_map(|text| text),
            "[0-9a-f]{20,32}",
            "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "[A-Za-z0-9._~+/=-]{1,64}",
            "\\{\"a\":[0-9]{1,3}\\}",
            "PD94bWw[A-Za-z0-9+/]{8}=",
            "true|null|[0-9]{1,9}",
        ],
    ) {
        for (kind, scheme) in [
            ("kind = 'linkedin'", LINKEDIN),
            ("kind = 'zoom'", ZOOM),
            ("kind = 'x'", X),
            ("kind = 'ebay'", PLAIN),
            ("kind = 'braintree'\npublic_key = 'key'", BRAINTREE),
            ("kind = 'meta'", PLAIN),
        ] {
            for challenge in [&free, &shaped] {
                let escaped: String = challenge.bytes().map(|byte| format!("%{byte:02x}")).collect();
                let names = ["challengeCode", "crc_token", "challenge_code", "bt_challenge", "hub.challenge"];
                let query: Vec<String> = names.iter().map(|name| format!("{name}={escaped}")).collect();
                let got = ask(kind, scheme, "GET", &format!("/?{}", query.join("&")), &[], "");
                let zoom = serde_json::json!({"event": "endpoint.url_validation", "payload": {"plainToken": challenge}}).to_string();
                let posted = if kind.contains("zoom") { signed(kind, scheme, &[], &zoom) } else { Handshaken::Ordinary };
                for answer in [got, posted] {
                    let Handshaken::Answered(answer) = answer else { continue };
                    for hash in hashes(&answer) {
                        // What was hashed, and what it would be the hash of if the scheme's own words stood before it.
                        let bare = challenge.strip_prefix("hmacsha256=").unwrap_or(challenge);
                        let inner = challenge.splitn(3, ':').last().unwrap_or_default();
                        for body in [challenge.as_str(), bare, inner, "", "{}"] {
                            prop_assert!(!taken(kind, scheme, &hash, body.as_bytes()), "{kind}: {challenge} signs {body}");
                        }
                    }
                }
            }
        }
    }
}
