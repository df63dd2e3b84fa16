//! Every word of the vocabulary: published vectors where a vendor has them, else what we sign ourselves; and each part of it changed.

use super::*;

const SECRET: &str = "a-secret-of-some-length-01";
const AT: Time = Time::from_seconds(1_700_000_000);

/// A whole request.
#[derive(Clone, Debug)]
struct Whole {
    method: &'static str,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

fn whole(target: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Whole {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    Whole { method: "POST", target: target.to_owned(), headers, body: body.as_ref().to_vec() }
}

impl Whole {
    fn received(&self) -> Received<'_> {
        Received { method: self.method, target: &self.target, headers: &self.headers, body: &self.body }
    }

    fn by(mut self, by: &Verifier, at: Time) -> Self {
        let signed = by.sign(&self.received(), at).unwrap();
        self.headers.extend(signed.headers.into_iter().map(|(name, value)| (name, value.into_bytes())));
        Self { target: signed.target, body: signed.body, ..self }
    }

    fn body(&self, body: impl AsRef<[u8]>) -> Self {
        Self { body: body.as_ref().to_vec(), ..self.clone() }
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn target(&self, target: &str) -> Self {
        Self { target: target.to_owned(), ..self.clone() }
    }

    fn header(&self, name: &str, value: &str) -> Self {
        let mut changed = self.clone();
        changed.headers.retain(|(held, _)| held != name);
        changed.headers.push((name.to_owned(), value.as_bytes().to_vec()));
        changed
    }
}

fn compiled(toml: &str, secret: &str, url: Option<&str>) -> Verifier {
    let scheme: Scheme = toml::from_str(toml).unwrap_or_else(|error| panic!("{toml}: {error}"));
    scheme.compile(&[Secret::for_vectors(secret)], url).unwrap_or_else(|problems| panic!("{toml}: {problems:#?}"))
}

fn accepts(by: &Verifier, request: &Whole, at: Time) -> Verified {
    by.verify(&request.received(), at).unwrap_or_else(|rejection| panic!("{by:?}: {rejection:?}: {request:?}"))
}

fn refuses(by: &Verifier, requests: &[Whole], at: Time) {
    for request in requests {
        assert!(by.verify(&request.received(), at).is_err(), "{by:?} took {request:?}");
    }
}

#[test]
fn a_plain_hash_with_the_secret_in_it_is_hubspots_first_and_second_version() {
    // developers.hubspot.com/docs/faq/v1-request-validation and the tests of @hubspot/api-client.
    let secret = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy";
    let first = compiled("algorithm = 'sha256'\nheader = 'x-hubspot-signature'\nsigned = '{secret}{body}'", secret, None);
    let body = r#"[{"eventId":1,"subscriptionId":12345,"portalId":62515,"occurredAt":1564113600000,"subscriptionType":"contact.creation","attemptNumber":0,"objectId":123,"changeSource":"CRM","changeFlag":"NEW","appId":54321}]"#;
    let request = whole("/", &[("x-hubspot-signature", "232db2615f3d666fe21a8ec971ac7b5402d33b9a925784df3ca654d05f4817de")], body);
    accepts(&first, &request, AT);
    refuses(&first, &[request.body("[]"), request.header("x-hubspot-signature", &"0".repeat(64))], AT);

    let scheme = "algorithm = 'sha256'\nheader = 'x-hubspot-signature'\nsigned = '{secret}{method}{url}{body}'";
    let second = compiled(scheme, secret, Some("https://www.example.com/webhook_uri"));
    let hash = "9569219f8ba981ffa6f6f16aa0f48637d35d728c7e4d93d0d52efaa512af7900";
    let request = whole("/inside/path", &[("x-hubspot-signature", hash)], r#"{"example_field":"example_value"}"#);
    assert!(accepts(&second, &request, AT).signed_target);
    refuses(&second, &[request.target("/inside/path?a=1"), Whole { method: "PUT", ..request.clone() }], AT);
    let get = whole("/", &[("x-hubspot-signature", "eee2dddcc73c94d699f5e395f4b9d454a069a6855fbfa152e91e88823087200e")], "");
    accepts(&second, &Whole { method: "GET", ..get }, AT);
    // Other plain hashes.
    for algorithm in ["md5", "sha1"] {
        let by = compiled(&format!("algorithm = '{algorithm}'\nheader = 'x'\nsigned = '{{body}}{{secret}}'"), SECRET, None);
        let request = whole("/", &[], "{}").by(&by, AT);
        accepts(&by, &request, AT);
        refuses(&by, &[request.body("{ }")], AT);
    }
    let md5 = compiled("algorithm = 'md5'\nheader = 'x'\nsigned = '{body}{secret}'", "c", None);
    // RFC 1321: the hash of `abc`.
    accepts(&md5, &whole("/", &[("x", "900150983cd24fb0d6963f7d28e17f72")], "ab"), AT);
}

#[test]
fn the_public_url_is_signed_as_it_was_told_and_not_as_we_were_reached() {
    // Square's SDK samples.
    let scheme = "algorithm = 'hmac-sha256'\nheader = 'x-square-hmacsha256-signature'\nencoding = 'base64'\nsigned = '{url}{body}'";
    let square = |url| compiled(scheme, "asdf1234", Some(url));
    let headers = [("x-square-hmacsha256-signature", "2kRE5qRU2tR+tBGlDwMEw2avJ7QM4ikPYD/PJ3bd9Og="), ("host", "10.0.0.1")];
    let request = whole("/webhooks/square", &headers, r#"{"hello":"world"}"#);
    accepts(&square("https://example.com/webhook"), &request, AT);
    // With the default port or without.
    accepts(&square("https://example.com:443/webhook"), &request, AT);
    for url in ["https://example.com/webhook/", "http://example.com/webhook", "https://example.org/webhook"] {
        refuses(&square(url), std::slice::from_ref(&request), AT);
    }
    refuses(&square("https://example.com/webhook"), &[request.target("/webhooks/square?x=1")], AT);
}

const TWILIO: &str = "algorithm = 'hmac-sha1'\nheader = 'x-twilio-signature'\nencoding = 'base64'\nsigned = '{url}{form-sorted}'";

#[test]
fn a_form_is_signed_sorted_as_twilio_does() {
    // Tests of Twilio's libraries.
    let by = compiled(TWILIO, "12345", Some("https://mycompany.com/myapp.php"));
    let body = "To=%2B18005551212&Digits=1234&CallSid=CA1234567890ABCDE&From=%2B14158675309&Caller=%2B14158675309";
    let request = whole("/myapp.php?foo=1&bar=2", &[("x-twilio-signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8=")], body);
    assert_eq!(accepts(&by, &request, AT).verdict, Verdict::Verified);
    let again = request.body(format!("{body}&Digits=1234"));
    accepts(&by, &again, AT);
    refuses(&by, &[request.body(format!("{body}&Digits=1235")), request.body(body.replace("1234&", "1235&")), request.body("")], AT);
    refuses(&by, &[request.target("/myapp.php?bar=2&foo=1"), request.target("/myapp.php")], AT);
    // twilio.com/docs/usage/security.
    let docs = body.replace("%2B14158675309", "%2B12349013030");
    accepts(&by, &request.body(docs).header("x-twilio-signature", "0/KCTR6DLpKmkAf8muzZqo1nDgQ="), AT);
}

#[test]
fn the_hash_of_the_body_in_the_signed_address_counts() {
    let scheme = "algorithm = 'hmac-sha1'\nheader = 'x-twilio-signature'\nencoding = 'base64'\nsigned = '{url}'\nbody_hash = { query = 'bodySHA256' }";
    let by = compiled(scheme, "12345", Some("https://mycompany.com/myapp.php"));
    let body = r#"{"property": "value", "boolean": true}"#;
    let target = "/myapp.php?foo=1&bar=2&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
    let request = whole(target, &[("x-twilio-signature", "a9nBmqA0ju/hNViExpshrM61xv4=")], body);
    accepts(&by, &request, AT);
    let other = request.body("{}");
    assert_eq!(by.verify(&other.received(), AT), Err(Rejection::BodyHashMismatch));
    assert_eq!(by.verify(&request.target("/myapp.php?foo=1&bar=2").received(), AT), Err(Rejection::BodyHashMismatch));
    refuses(&by, &[request.target(&target.replace("foo=1", "foo=2")), request.target(&format!("{target}&bodySHA256=00"))], AT);
    accepts(&by, &whole("/myapp.php?x=1", &[], "{}").by(&by, AT), AT);
}

const ADYEN: &str = r#"
algorithm = "hmac-sha256"
key = "hex"
json = "additionalData.hmacSignature"
encoding = "base64"
each = "notificationItems[].NotificationRequestItem"
signed = "{item:pspReference}:{item?:originalReference}:{item:merchantAccountCode}:{item:merchantReference}:{item:amount.value}:{item:amount.currency}:{item:eventCode}:{item:success}"
"#;

#[test]
fn every_item_of_a_list_is_signed_and_one_that_is_not_spoils_the_rest() {
    // docs.adyen.com, and the tests of Adyen's Ruby library.
    let by = compiled(ADYEN, "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056", None);
    let item = r#"{"NotificationRequestItem":{"additionalData":{"hmacSignature":"coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="},"amount":{"value":1130,"currency":"EUR"},"pspReference":"7914073381342284","eventCode":"AUTHORISATION","merchantAccountCode":"TestMerchant","merchantReference":"TestPayment-1407325143704","success":"true"}}"#;
    let list = |items: &[&str]| whole("/", &[], format!(r#"{{"live":"false","notificationItems":[{}]}}"#, items.join(",")));
    assert_eq!(accepts(&by, &list(&[item]), AT).verdict, Verdict::Verified);
    accepts(&by, &list(&[item, item]), AT);
    let forged = item.replace("1130", "9130");
    let bare = item.replace("hmacSignature", "other");
    refuses(&by, &[list(&[&forged]), list(&[item, &forged]), list(&[&forged, item]), list(&[item, &bare]), list(&[])], AT);
    // A colon could be moved from one value to the next under the same signature.
    let moved = item.replace(r#""TestMerchant""#, r#""TestMerchant:TestPayment-1407325143704""#);
    assert_eq!(by.verify(&list(&[&moved]).received(), AT), Err(Rejection::SignedHeaderMalformed));
    refuses(&by, &[whole("/", &[], "{}"), whole("/", &[], "no JSON"), whole("/", &[], r#"{"notificationItems":[{}]}"#)], AT);
    accepts(&by, &list(&[&bare, &forged]).by(&by, AT), AT);
}

#[test]
fn sendgrids_own_vector_holds_under_its_public_key() {
    let scheme = "algorithm = 'ecdsa-p256-sha256'\nkey = 'base64'\nheader = 'x-twilio-email-event-webhook-signature'\nencoding = 'base64'\nsigned = '{timestamp}{body}'\ntimestamp = { header = 'x-twilio-email-event-webhook-timestamp' }";
    let key =
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==";
    let by = compiled(scheme, key, None);
    let body = concat!(
        r#"[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address","sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA","#,
        r#""sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0","smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]"#,
        "\r\n"
    );
    let signature = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=";
    let headers = [("x-twilio-email-event-webhook-signature", signature), ("x-twilio-email-event-webhook-timestamp", "1600112502")];
    let request = whole("/", &headers, body);
    let at = Time::from_seconds(1_600_112_502);
    accepts(&by, &request, at);
    refuses(&by, &[request.body(body.trim_end()), request.header("x-twilio-email-event-webhook-timestamp", "1600112503")], at);
    assert_eq!(by.sign(&request.received(), at), Err(SignError::PublicKey));
}

// Made for these tests: `openssl genpkey`, PKCS #8 in base64.
const ED25519: &str = "MC4CAQAwBQYDK2VwBCIEIGpZkc02d6iUqX6/V7IyRb5TaHTCTFU5dpMbNOvPvmY+";

#[test]
fn a_private_key_of_our_own_signs_what_its_public_key_checks() {
    let discord = "algorithm = 'ed25519'\nkey = 'hex'\nheader = 'x-signature-ed25519'\nsigned = '{timestamp}{body}'\ntimestamp = { header = 'x-signature-timestamp' }";
    let base64 = discord.replace("'hex'", "'base64'");
    let own = compiled(&base64, ED25519, None);
    let request = whole("/", &[], "{}").by(&own, AT);
    accepts(&own, &request, AT);
    let public = "551adc72309632e2d38c3456fa5989d95c087787957df31417678bdc4fdb698c";
    let by = compiled(discord, public, None);
    accepts(&by, &request, AT);
    refuses(&by, &[request.body("{ }"), request.header("x-signature-ed25519", &"00".repeat(64))], AT);
    let other = compiled(discord, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", None);
    refuses(&other, &[request], AT);
    // A key of another kind, or none.
    let scheme: Scheme = toml::from_str(&discord.replace("ed25519'\nkey", "ecdsa-p256-sha256'\nkey")).unwrap();
    assert!(scheme.compile(&[Secret::for_vectors(public)], None).is_err());
}

#[test]
fn what_is_sent_is_the_secret_itself() {
    for (scheme, request) in [
        ("algorithm = 'token'\nheader = 'x-token'", whole("/", &[("x-token", SECRET)], "{}")),
        (
            "algorithm = 'token'\nheader = 'authorization'\nprefix = 'Bearer '",
            whole("/", &[("authorization", &format!("Bearer {SECRET}"))], ""),
        ),
        (
            "algorithm = 'token'\nheader = 'authorization'\nprefix = 'Bearer '\nprefix_optional = true",
            whole("/", &[("authorization", SECRET)], ""),
        ),
        ("algorithm = 'none'\nquery = 'token'", whole(&format!("/hook?a=1&token={SECRET}"), &[], "{}")),
        ("algorithm = 'token'\njson = 'lead.google_key'", whole("/", &[], format!(r#"{{"lead":{{"google_key":"{SECRET}"}}}}"#))),
        ("algorithm = 'token'\nform = 'HandshakeKey'", whole("/", &[], format!("a=1&HandshakeKey={SECRET}"))),
    ] {
        let by = compiled(scheme, SECRET, None);
        assert_eq!(accepts(&by, &request, AT).verdict, Verdict::Authenticated, "{scheme}");
        let with = |secret: &str| Whole {
            target: request.target.replace(SECRET, secret),
            headers: request
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).replace(SECRET, secret).into_bytes()))
                .collect(),
            body: request.text().replace(SECRET, secret).into_bytes(),
            ..request.clone()
        };
        let longer = format!("{SECRET}1");
        refuses(&by, &["", "a", &SECRET[1..], &longer, &SECRET.to_uppercase(), "a-secret-of-some-length-02"].map(with), AT);
        let bare = Whole { headers: Vec::new(), ..with("") };
        accepts(&by, &bare.by(&by, AT), AT);
    }
    let graph = compiled("algorithm = 'token'\neach = 'value[]'\njson = 'clientState'", SECRET, None);
    let list = |second: &str| whole("/", &[], format!(r#"{{"value":[{{"clientState":"{SECRET}"}},{{"clientState":"{second}"}}]}}"#));
    accepts(&graph, &list(SECRET), AT);
    refuses(&graph, &[list("another"), list("")], AT);
}

#[test]
fn a_password_may_hold_colons() {
    let secret = "onceward:pass:word:with:colons";
    let by = compiled("algorithm = 'basic'", secret, None);
    // Python: base64.b64encode(b"onceward:pass:word:with:colons").
    let request = whole("/", &[("authorization", "Basic b25jZXdhcmQ6cGFzczp3b3JkOndpdGg6Y29sb25z")], "{}");
    assert_eq!(accepts(&by, &request, AT).verdict, Verdict::Authenticated);
    accepts(&by, &request.header("authorization", "basic b25jZXdhcmQ6cGFzczp3b3JkOndpdGg6Y29sb25z"), AT);
    let others = ["Basic b25jZXdhcmQ6cGFzcw==", "Bearer b25jZXdhcmQ6cGFzczp3b3JkOndpdGg6Y29sb25z", "Basic", "Basic !!", secret];
    refuses(&by, &others.map(|value| request.header("authorization", value)), AT);
    accepts(&by, &whole("/", &[], "{}").by(&by, AT), AT);
    let scheme: Scheme = toml::from_str("algorithm = 'basic'").unwrap();
    assert!(scheme.compile(&[Secret::for_vectors("no colon in this one")], None).is_err());
}

#[test]
fn a_token_is_held_to_its_algorithm_time_issuer_and_body() {
    let toml = "algorithm = 'jwt'\nheader = 'authorization'\nprefix = 'Bearer '\n[jwt]\nalgorithms = ['HS256']\nbody_hash_claim = 'body_sha256'\nissuer = 'acme'\nurl_claim = 'url'";
    let by = compiled(toml, SECRET, Some("https://hooks.example.com/webhooks/acme"));
    let request = whole("/webhooks/acme", &[], r#"{"a":1}"#).by(&by, AT);
    let verified = accepts(&by, &request, AT);
    assert_eq!((verified.verdict, verified.timestamp), (Verdict::Verified, Some(AT)));
    assert_eq!(by.verify(&request.body("{}").received(), AT), Err(Rejection::BodyHashMismatch));
    assert_eq!(by.verify(&request.received(), Time::from_seconds(1_700_000_361)), Err(Rejection::TimestampStale));
    assert_eq!(by.verify(&request.received(), Time::from_seconds(1_699_999_930)), Err(Rejection::TimestampAhead));
    let other = |toml: &str, secret: &str, url: &str| whole("/webhooks/acme", &[], r#"{"a":1}"#).by(&compiled(toml, secret, Some(url)), AT);
    let ours = "https://hooks.example.com/webhooks/acme";
    assert_eq!(by.verify(&other(&toml.replace("acme", "evil"), SECRET, ours).received(), AT), Err(Rejection::ClaimMismatch));
    assert_eq!(by.verify(&other(toml, SECRET, "https://hooks.example.org/").received(), AT), Err(Rejection::ClaimMismatch));
    assert_eq!(by.verify(&other(toml, "another-secret-of-length", ours).received(), AT), Err(Rejection::Mismatch));
    assert_eq!(by.verify(&other(&toml.replace("HS256", "HS512"), SECRET, ours).received(), AT), Err(Rejection::ClaimMismatch));
    // `alg: none`, and no signature at all.
    let token = String::from_utf8(request.headers[0].1.clone()).unwrap();
    let (_, rest) = token.split_once('.').unwrap();
    let (claims, _) = rest.split_once('.').unwrap();
    let none = format!("Bearer eyJhbGciOiJub25lIn0.{claims}.");
    refuses(
        &by,
        &[none.as_str(), "Bearer ", "Bearer a.b", "Bearer ..", "Bearer a.b.c"].map(|value| request.header("authorization", value)),
        AT,
    );
    // RFC 7515, appendix A.1, whose key is the one of RFC 7517; the token ended in 2011.
    let rfc = compiled(
        "algorithm = 'jwt'\nheader = 'authorization'\nkey = 'hex'\n[jwt]\nalgorithms = ['HS256']\nissuer = 'joe'",
        "0323354b2b0fa5bc837e0665777ba68f5ab328e6f054c928a90f84b2d2502ebfd3fb5a92d20647ef968ab4c377623d223d2e2172052e4f08c0cd9af567d080a3",
        None,
    );
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let request = whole("/", &[("authorization", token)], "{}");
    accepts(&rfc, &request, Time::from_seconds(1_300_819_000));
    assert_eq!(rfc.verify(&request.received(), AT), Err(Rejection::TimestampStale));
}

#[test]
fn signatures_are_found_wherever_vendors_put_them() {
    let recurly = "algorithm = 'hmac-sha256'\nheader = 'recurly-signature'\nlayout = 'list'\nsigned = '{timestamp}.{body}'\ntimestamp = { field = '0', unit = 's-or-ms' }";
    let docusign = "algorithm = 'hmac-sha256'\nheader = 'x-docusign-signature-{n}'\nencoding = 'base64'\nsigned = '{body}'";
    let persona = "algorithm = 'hmac-sha256'\nheader = 'persona-signature'\nlayout = 'kv'\nsignature_field = 'v1'\ngroup = ' '\nsigned = '{timestamp}.{body}'\ntimestamp = { field = 't' }";
    let zendesk = "algorithm = 'hmac-sha256'\nheader = 's'\nencoding = 'base64'\nsigned = '{timestamp}{body}'\ntimestamp = { header = 't', unit = 'rfc3339' }";
    let klaviyo = "algorithm = 'hmac-sha256'\nheader = 's'\nsigned = '{body}{timestamp}'\ntimestamp = { header = 't', unit = 'http-date' }";
    let boxed = "algorithm = 'hmac-sha384'\nheader = 'first'\nalso = ['second']\nencoding = 'base64url'\nsigned = '{body}'";
    for toml in [recurly, docusign, persona, zendesk, klaviyo, boxed] {
        let by = compiled(toml, SECRET, None);
        let request = whole("/", &[], BODY).by(&by, AT);
        accepts(&by, &request, AT);
        refuses(&by, &[request.body("{}"), Whole { headers: Vec::new(), ..request.clone() }], AT);
        if toml.contains("timestamp") {
            refuses(&by, std::slice::from_ref(&request), Time::from_seconds(1_700_000_301));
        }
    }
    let by = compiled(docusign, SECRET, None);
    let signed = whole("/", &[], BODY).by(&by, AT);
    let value = String::from_utf8(signed.headers[0].1.clone()).unwrap();
    let headers = [("x-docusign-signature-1", "AAAA"), ("x-docusign-signature-7", value.as_str())];
    accepts(&by, &whole("/", &headers, BODY), AT);
    refuses(&by, &[whole("/", &[("x-docusign-signature-17", &value)], BODY)], AT);
    // Persona's rotation: each group has its own time.
    let (old, new) = (compiled(persona, "the-old-secret-0123456789", None), compiled(persona, SECRET, None));
    let value = |by: &Verifier| String::from_utf8(whole("/", &[], BODY).by(by, AT).headers[0].1.clone()).unwrap();
    let both = format!("{} {}", value(&old), value(&new));
    accepts(&new, &whole("/", &[("persona-signature", &both)], BODY), AT);
    accepts(&old, &whole("/", &[("persona-signature", &both)], BODY), AT);
}

#[test]
fn the_signature_may_be_inside_the_body() {
    let mailgun = "algorithm = 'hmac-sha256'\njson = 'signature.signature'\nsigned = '{timestamp}{json:signature.token}'\ntimestamp = { json = 'signature.timestamp' }\ncovers_body = false";
    let by = compiled(mailgun, SECRET, None);
    let request = whole("/", &[], r#"{"signature":{"token":"abc","timestamp":"1"},"event-data":{"id":"1"}}"#).by(&by, AT);
    assert_eq!(accepts(&by, &request, AT).verdict, Verdict::Authenticated);
    let text = request.text();
    accepts(&by, &request.body(text.replace(r#""id":"1""#, r#""id":"2""#)), AT);
    let doubled = text.replace(r#""token""#, r#""token":"abd","token""#);
    refuses(&by, &[request.body(text.replace("abc", "abd")), request.body(doubled), request.body("{}"), request.body("[")], AT);

    let braintree = "algorithm = 'hmac-sha1'\nkey = 'sha1'\nform = 'bt_signature'\nlayout = 'kv'\nassign = '|'\nsignature_field = '*'\nseparator = '&'\nsigned = '{form:bt_payload}'\ncovers_body = true";
    let by = compiled(braintree, SECRET, None);
    let request = whole("/", &[], "bt_payload=PD94bWw%3D").by(&by, AT);
    assert_eq!(accepts(&by, &request, AT).verdict, Verdict::Verified);
    let text = request.text();
    refuses(&by, &[request.body(text.replace("PD94", "PD95")), request.body(format!("{text}&bt_payload=x"))], AT);
}

#[test]
fn parts_that_may_be_absent_are_signed_as_absent() {
    let pago = "algorithm = 'hmac-sha256'\nheader = 'x-signature'\nlayout = 'kv'\nsignature_field = 'v1'\ntimestamp = { field = 'ts', unit = 's-or-ms', tolerance = 'off' }\nsigned = '[[id:{query-lower:data.id};]][[request-id:{header:x-request-id};]]ts:{timestamp};'\ncovers_body = false";
    let by = compiled(pago, SECRET, None);
    let with = whole("/?data.id=ABC", &[("x-request-id", "r1")], "{}").by(&by, AT);
    let verified = accepts(&by, &with, AT);
    assert_eq!(verified.signed_headers, ["x-request-id"]);
    accepts(&by, &with.target("/?data.id=abc"), AT);
    refuses(
        &by,
        &[with.target("/"), with.target("/?data.id=abd"), with.header("x-request-id", ""), with.target("/?data.id=abc&data.id=abc")],
        AT,
    );
    let without = whole("/", &[], "{}").by(&by, AT);
    accepts(&by, &without, AT);
    refuses(&by, &[without.target("/?data.id=ABC"), without.header("x-request-id", "r1")], AT);
    // What ends a value may not be in it.
    assert_eq!(by.verify(&with.header("x-request-id", "r1;ts:1").received(), AT), Err(Rejection::SignedHeaderMalformed));
}

#[test]
fn what_the_vendor_signs_and_does_not_send_is_a_setting() {
    let text = "algorithm = 'hmac-sha256'\nheader = 's'\nsigned = '{header:id}|{timestamp}|{setting:webhook_id}|{crc32}|{sha256}'\ntimestamp = { header = 't', unit = 'rfc3339' }";
    let scheme: Scheme = toml::from_str(text).unwrap();
    let problems = scheme.compile(&[], None).unwrap_err();
    assert!(problems[0].key == "settings" && problems[0].text.contains("webhook_id"), "{problems:?}");
    assert!(scheme.outline().is_ok(), "a preset has no settings of its own");
    let with = |id: &str| compiled(&format!("{text}\nsettings = {{ webhook_id = '{id}' }}"), SECRET, None);
    let request = whole("/", &[("id", "1")], "{}").by(&with("0NH55953DH663215D"), AT);
    accepts(&with("0NH55953DH663215D"), &request, AT);
    refuses(&with("another"), std::slice::from_ref(&request), AT);
    refuses(&with("0NH55953DH663215D"), &[request.body("{ }")], AT);
}

#[test]
fn requests_may_be_held_to_networks() {
    let by = compiled("algorithm = 'token'\nheader = 'x'\nallow_from = ['203.0.113.0/24', '2001:db8::/32']", SECRET, None);
    for (peer, expected) in [("203.0.113.9", true), ("203.0.114.9", false), ("2001:db8::1", true), ("::1", false)] {
        assert_eq!(by.allows(peer.parse().unwrap()), expected, "{peer}");
    }
    assert!(compiled("algorithm = 'token'\nheader = 'x'", SECRET, None).allows("9.9.9.9".parse().unwrap()));
}

#[test]
fn a_scheme_that_would_prove_nothing_is_a_mistake() {
    for (text, key) in [
        ("algorithm = 'none'", "header"),
        ("algorithm = 'none'\nheader = 'x'", "query"),
        ("algorithm = 'token'\nheader = 'x'\nquery = 'y'", "header"),
        ("algorithm = 'token'\nheader = 'x'\nsigned = '{body}'", "signed"),
        ("algorithm = 'token'\nheader = 'x'\nlayout = 'kv'\nsignature_field = 'a'", "layout"),
        ("algorithm = 'basic'\nquery = 'x'", "header"),
        ("algorithm = 'sha256'\nheader = 'x'\nsigned = '{body}'", "signed"),
        ("algorithm = 'hmac-sha256'\nheader = 'x'\nsigned = '{secret}{body}'", "signed"),
        ("algorithm = 'hmac-sha256'\nheader = 'x'\nsigned = '{json:a}'", "signed"),
        (
            "algorithm = 'hmac-sha256'\nheader = 'x'\nsigned = '{timestamp}'\ntimestamp = { header = 't' }\ncovers_body = true",
            "covers_body",
        ),
        ("algorithm = 'hmac-sha256'\njson = 'a'\nsigned = '{body}'", "signed"),
        ("algorithm = 'hmac-sha256'\nform = 'a'\nsigned = '{form-sorted}'", "signed"),
        ("algorithm = 'hmac-sha256'\nquery = 'a'\nsigned = '{target}{body}'", "signed"),
        ("algorithm = 'hmac-sha256'\nheader = 'x'\nsigned = '[[{body}]]'", "signed"),
        ("algorithm = 'hmac-sha256'\nheader = 'x'\nsigned = '{body}[[{header:y}'", "signed"),
        ("algorithm = 'hmac-sha256'\nheader = 'x'\nsigned = '{item:a}{body}'", "signed"),
        ("algorithm = 'hmac-sha256'\nheader = 'x'\nsigned = '{json:a[0]}{body}'", "signed"),
        ("algorithm = 'hmac-sha256'\nheader = 'x'\neach = 'a[]'\nsigned = '{item:b}'", "each"),
        ("algorithm = 'hmac-sha256'\njson = 'x'\neach = 'a'\nsigned = '{item:b}'", "each"),
        ("algorithm = 'hmac-sha256'\nheader = 'x'\nsigned = '{body}'\nbody_hash = { query = 'h' }", "body_hash"),
        ("algorithm = 'hmac-sha256'\nheader = 'x'\nsigned = '{url}{body}'", "public_url"),
        ("algorithm = 'hmac-sha256'\nheader = 'x'\nsigned = '{body}'\nkey = 'pem'", "key"),
        ("algorithm = 'ed25519'\nheader = 'x'\nsigned = '{body}'", "key"),
        ("algorithm = 'token'\nheader = 'x'\nkey = 'base64'", "key"),
        ("algorithm = 'hmac-sha256'\nheader = 'x'\nsigned = '{body}'\nallow_from = ['203.0.113.1/24']", "allow_from"),
        ("algorithm = 'hmac-sha256'\nheader = 'x'\nsigned = '{body}'\nprefix_optional = true", "prefix_optional"),
        ("algorithm = 'hmac-sha256'\nquery = 'x'\nsigned = '{body}'\nalso = ['y']", "also"),
        (
            "algorithm = 'hmac-sha256'\nheader = 'x'\nlayout = 'list'\nsigned = '{timestamp}{body}'\ntimestamp = { field = 'a' }",
            "timestamp",
        ),
        ("algorithm = 'jwt'", "jwt"),
        ("algorithm = 'jwt'\njwt = { algorithms = [] }", "jwt"),
        ("algorithm = 'jwt'\njwt = { algorithms = ['none'] }", "jwt"),
        ("algorithm = 'jwt'\njwt = { algorithms = ['HS256', 'RS256'] }", "jwt"),
        ("algorithm = 'token'\nheader = 'x'\njwt = { algorithms = ['HS256'] }", "jwt"),
    ] {
        let scheme: Scheme = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let keys: Vec<&str> =
            scheme.compile(&[], None).map(|_| Vec::new()).unwrap_or_else(|problems| problems.iter().map(|problem| problem.key).collect());
        assert!(keys.contains(&key), "{text}: {keys:?}");
    }
    for url in [
        "",
        "hooks.example.com",
        "ftp://hooks.example.com",
        "https://",
        "https://a/b?c",
        "https://a/#b",
        "https://a:b@c/",
        "https://a:99999/",
    ] {
        let scheme: Scheme = toml::from_str("algorithm = 'hmac-sha256'\nheader = 'x'\nsigned = '{url}{body}'").unwrap();
        assert_eq!(scheme.compile(&[], Some(url)).unwrap_err()[0].key, "public_url", "{url}");
    }
}
