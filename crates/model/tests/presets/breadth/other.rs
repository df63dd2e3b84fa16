//! Vendors whose formula is not just a hash of time and body.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use md5::{Digest, Md5};
use model::preset::sample;

use super::{NOW, sampled};
use crate::harness::keys::{ED25519_PUBLIC, P256_PUBLIC, RSA_CERTIFICATE, RSA_PUBLIC, ed25519, ed25519_public_hex, p256, pem, rsa_sha256};
use crate::harness::{Row, base64, hex, hmac_sha1, hmac_sha256, sha1, sha256};

const SECRET: &str = "formula-0123456789abcdef";

pub fn rows() -> Vec<Row> {
    [standard_webhooks(), with_the_url(), with_other_headers(), in_the_body(), plain_hashes(), public_keys(), json_web_tokens(), tokens()]
        .concat()
}

/// Preset, how its headers begin, the header of the id, and how its secret begins.
fn standard_webhooks() -> Vec<Row> {
    let vendors = [
        ("brex", "webhook", "webhook-id", "whsec_"),
        ("etsy", "webhook", "webhook-id", "whsec_"),
        ("finch", "finch", "finch-event-id", ""),
        ("gitlab-signed", "webhook", "webhook-id", "whsec_"),
        ("incident-io", "webhook", "webhook-id", "whsec_"),
        ("increase", "webhook", "webhook-id", "whsec_"),
        ("lithic", "webhook", "webhook-id", "whsec_"),
        ("loops", "webhook", "webhook-id", "whsec_"),
        ("novu", "svix", "svix-id", "whsec_"),
        ("openai", "webhook", "webhook-id", "whsec_"),
        ("polar", "webhook", "webhook-id", "polar_whs_"),
        ("render", "webhook", "webhook-id", "whsec_"),
        ("replicate", "webhook", "webhook-id", "whsec_"),
        ("resend", "svix", "svix-id", "whsec_"),
        ("shipbob", "webhook", "webhook-id", "whsec_"),
        ("stytch", "svix", "svix-id", "whsec_"),
        ("supabase", "webhook", "webhook-id", "v1,whsec_"),
        ("vanta", "svix", "svix-id", "whsec_"),
    ];
    let key: Vec<u8> = (0..24).collect();
    let row = |(preset, headers, id, prefix): (&'static str, &str, &str, &str)| {
        let secret = format!("{prefix}{}", base64(&key));
        // Polar's key is the whole text, the others' is what the text stands for.
        let key = if preset == "polar" { secret.as_bytes() } else { key.as_slice() };
        sampled(preset, &secret).computed(|row| {
            let hash = hmac_sha256(key, &[b"msg_1.1700000000.", &row.body]);
            row.header(id, "msg_1")
                .header(&format!("{headers}-timestamp"), "1700000000")
                .header(&format!("{headers}-signature"), format!("v1,{}", base64(&hash)))
        })
    };
    vendors.into_iter().map(row).collect()
}

fn with_the_url() -> Vec<Row> {
    vec![
        sampled("trello", SECRET).url("https://hooks.example.com/webhooks/trello").computed(|row| {
            let hash = hmac_sha1(row.key(), &[&row.body, b"https://hooks.example.com/webhooks/trello"]);
            row.header("x-trello-webhook", base64(&hash))
        }),
        sampled("plivo", SECRET).url("https://hooks.example.com/webhooks/plivo").computed(|row| {
            let sorted = "From14155550100MessageIntentMessageUUID3b8e1a56-8d0c-11ee-9a5b-0242ac110005PowerpackUUIDTextCould we talk next week?\
                To14155550199TotalAmount0TotalRate0TypesmsUnits1";
            let text = format!("https://hooks.example.com/webhooks/plivo?{sorted}.05429567804466091622");
            let hash = hmac_sha256(row.key(), &[text.as_bytes()]);
            row.header("x-plivo-signature-v3-nonce", "05429567804466091622").header("x-plivo-signature-ma-v3", base64(&hash))
        }),
        sampled("walmart-marketplace", SECRET).target("/webhooks/walmart-marketplace?shop=1").computed(|row| {
            let line = format!("POST\n/webhooks/walmart-marketplace?shop=1\n1700000000\n{}", hex(&sha256(&row.body)));
            let hash = hmac_sha256(row.key(), &[line.as_bytes()]);
            row.header("wm_sec.timestamp", "1700000000").header("wm_sec.signature", base64(&hash))
        }),
        sampled("mercado-pago", SECRET).target("/webhooks/mercado-pago?data.id=ABC123&type=payment").computed(|row| {
            let hash = hmac_sha256(row.key(), &[b"id:abc123;request-id:2066ca19-c6f1-498a-be75-1923005edd06;ts:1700000000;"]);
            row.header("x-request-id", "2066ca19-c6f1-498a-be75-1923005edd06").header("x-signature", format!("ts=1700000000,v1={}", hex(&hash)))
        }),
    ]
}

fn with_other_headers() -> Vec<Row> {
    vec![
        sampled("twitch", SECRET).computed(|row| {
            let hash = hmac_sha256(row.key(), &[b"e76c6bd4-55c9-4987-8304-da1588d8988b", b"2023-11-14T22:13:20.123456789Z", &row.body]);
            row.header("twitch-eventsub-message-id", "e76c6bd4-55c9-4987-8304-da1588d8988b")
                .header("twitch-eventsub-message-timestamp", "2023-11-14T22:13:20.123456789Z")
                .header("twitch-eventsub-message-signature", format!("sha256={}", hex(&hash)))
        }),
        sampled("sinch", SECRET).computed(|row| {
            let hash = hmac_sha256(row.key(), &[&row.body, b".01FJA8B4A7BM43YGWSG9GBV067.1700000000"]);
            row.header("x-sinch-webhook-signature-nonce", "01FJA8B4A7BM43YGWSG9GBV067")
                .header("x-sinch-webhook-signature-timestamp", "1700000000")
                .header("x-sinch-webhook-signature", base64(&hash))
        }),
        sampled("configcat", SECRET).computed(|row| {
            let hash = hmac_sha256(row.key(), &[b"b616ca659d154a5fb907dd8475792eeb1700000000", &row.body]);
            row.header("x-configcat-webhook-id", "b616ca659d154a5fb907dd8475792eeb")
                .header("x-configcat-webhook-timestamp", "1700000000")
                .header("x-configcat-webhook-signature-v1", base64(&hash))
        }),
        sampled("docusign", SECRET).computed(|row| {
            let hash = hmac_sha256(row.key(), &[&row.body]);
            row.header("x-docusign-signature-2", base64(&hash))
        }),
        sampled("linear", SECRET).at(1_700_003_600).computed(|row| {
            let hash = hmac_sha256(row.key(), &[&row.body]);
            row.header("linear-signature", hex(&hash))
        }),
    ]
}

/// The sample with something else in it.
fn with(preset: &'static str, secret: &str, old: &str, new: &str) -> Row {
    let text = String::from_utf8(sample(preset).unwrap().body.to_vec()).unwrap();
    assert!(text.contains(old), "{preset}: the sample does not hold {old}");
    Row::new(preset, secret).at(NOW).body(text.replace(old, new))
}

fn in_the_body() -> Vec<Row> {
    let lever = hmac_sha256(SECRET.as_bytes(), &[b"7b0a9a4e2a344b3c9e573d5a0d6f3c11", b"1700000000344"]);
    let braintree = sample("braintree").unwrap().body.strip_prefix(b"bt_payload=").unwrap();
    let payload = String::from_utf8(braintree.to_vec()).unwrap().replace("%0A", "\n");
    let signature = hex(&hmac_sha1(&sha1(SECRET.as_bytes()), &[payload.as_bytes()]));
    vec![
        sampled("ecwid", SECRET).computed(|row| {
            let hash = hmac_sha256(row.key(), &[b"1700000000.80aece08-40e8-4145-8764-6c2f0d38678a"]);
            row.header("x-ecwid-webhook-signature", base64(&hash))
        }),
        with("lever", SECRET, &"0".repeat(64), &hex(&lever)),
        Row::new("braintree", SECRET).at(NOW).header("content-type", "application/x-www-form-urlencoded").body(format!(
            "bt_signature=other_public_key%7C{}%26our_public_key%7C{signature}&bt_payload={}",
            "0".repeat(40),
            String::from_utf8_lossy(braintree)
        )),
    ]
}

fn plain_hashes() -> Vec<Row> {
    let data = "%7B%22id%22%3A1001%2C%22quote_number%22%3A%22Q-1001%22%2C%22name%22%3A%22Engine%22%7D";
    let quoter = hex(&Md5::digest(format!(r#"{SECRET}1700000000{{"id":1001,"quote_number":"Q-1001","name":"Engine"}}"#)));
    vec![
        sampled("cloudinary", SECRET).computed(|row| {
            let hash = sha1(&[row.body.as_slice(), b"1700000000", row.key()].concat());
            row.header("x-cld-timestamp", "1700000000").header("x-cld-signature", hex(&hash))
        }),
        Row::new("quoter", SECRET)
            .at(NOW)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("hash={quoter}&timestamp=1700000000&data={data}")),
    ]
}

fn public_keys() -> Vec<Row> {
    let (rsa, certificate) = (pem("PUBLIC KEY", RSA_PUBLIC), pem("CERTIFICATE", RSA_CERTIFICATE));
    let discord = |preset| {
        sampled(preset, &ed25519_public_hex()).computed(|row| {
            let signature = ed25519(&[b"1700000000", row.body.as_slice()].concat());
            row.header("x-signature-timestamp", "1700000000").header("x-signature-ed25519", hex(&signature))
        })
    };
    let sns = |preset, message: &str, topic: &str, id: &str, at: &str, subject: &str| {
        let text = format!(
            "Message\n{message}\nMessageId\n{id}\nSubject\n{subject}\nTimestamp\n{at}\nTopicArn\narn:aws:sns:us-west-2:123456789012:{topic}\nType\nNotification\n"
        );
        with(preset, &certificate, "replaced when it is signed", &base64(&rsa_sha256(text.as_bytes())))
    };
    let ses: serde_json::Value = serde_json::from_slice(sample("aws-ses").unwrap().body).unwrap();
    vec![
        discord("discord"),
        discord("discord-events"),
        sampled("telnyx", ED25519_PUBLIC).computed(|row| {
            let signature = ed25519(&[b"1700000000|", row.body.as_slice()].concat());
            row.header("telnyx-timestamp", "1700000000").header("telnyx-signature-ed25519", base64(&signature))
        }),
        sampled("wise", &rsa).computed(|row| {
            let signature = rsa_sha256(&row.body);
            row.header("x-signature-sha256", base64(&signature))
        }),
        sampled("paypal", &certificate).over("signature = { settings = { webhook_id = \"0NH55953DH663215D\" } }").computed(|row| {
            let text = format!("db49fb10-1343-11ef-ac58-e32457403f67|2023-11-14T22:13:20Z|0NH55953DH663215D|{}", crc32(&row.body));
            row.header("paypal-transmission-id", "db49fb10-1343-11ef-ac58-e32457403f67")
                .header("paypal-transmission-time", "2023-11-14T22:13:20Z")
                .header("paypal-transmission-sig", base64(&rsa_sha256(text.as_bytes())))
        }),
        sns(
            "aws-sns",
            "The engine stopped at noon.",
            "engine",
            "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "2023-11-14T22:13:20.344Z",
            "It stops at noon",
        ),
        sns(
            "aws-ses",
            ses["Message"].as_str().unwrap(),
            "ses",
            "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf325",
            "2023-11-14T22:13:21.000Z",
            "Amazon SES Email Event Notification",
        ),
    ]
}

/// CRC-32 as zlib has it (RFC 1952, section 8), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0_u32, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}

#[test]
fn the_checksum_is_the_one_that_paypal_shows() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
}

fn token(header: &str, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(sign(signed.as_bytes())))
}

fn json_web_tokens() -> Vec<Row> {
    let keyed = |preset, header: &'static str, prefix: &'static str, claims: fn(&str) -> String| {
        sampled(preset, "formula-0123456789abcdef-0123456789").computed(|row| {
            let claims = claims(&hex(&sha256(&row.body)));
            let token = token(r#"{"alg":"HS256","typ":"JWT"}"#, &claims, |text| hmac_sha256(row.key(), &[text]));
            row.header(header, format!("{prefix}{token}"))
        })
    };
    vec![
        keyed("vonage", "authorization", "Bearer ", |hash| {
            format!(r#"{{"iat":1700000000,"jti":"1","iss":"Vonage","payload_hash":"{hash}","api_key":"abcd1234"}}"#)
        }),
        keyed("messagebird", "messagebird-signature-jwt", "", |hash| {
            format!(r#"{{"iss":"MessageBird","nbf":1700000000,"exp":1700000060,"jti":"1","url_hash":"00","payload_hash":"{hash}"}}"#)
        }),
        keyed("netlify", "x-webhook-signature", "", |hash| format!(r#"{{"iss":"netlify","sha256":"{hash}"}}"#)),
        sampled("plaid", &pem("PUBLIC KEY", P256_PUBLIC)).computed(|row| {
            let claims = format!(r#"{{"iat":1700000000,"request_body_sha256":"{}"}}"#, hex(&sha256(&row.body)));
            let header = r#"{"alg":"ES256","kid":"bfbd5111-8e33-4643-8ced-b2e642a72f3c","typ":"JWT"}"#;
            row.header("plaid-verification", token(header, &claims, |text| fixed(&p256(text))))
        }),
    ]
}

/// A signature in DER as two numbers of 32 bytes, which is how tokens have it (RFC 7518, section 3.4).
fn fixed(der: &[u8]) -> Vec<u8> {
    let number = |at: usize| {
        let length = usize::from(der[at + 1]);
        let digits = &der[at + 2..at + 2 + length];
        let digits = digits.strip_prefix(&[0]).unwrap_or(digits);
        ([vec![0; 32 - digits.len()], digits.to_vec()].concat(), at + 2 + length)
    };
    let (r, next) = number(2);
    [r, number(next).0].concat()
}

fn tokens() -> Vec<Row> {
    let in_a_header = [
        ("cloudevents", "authorization", "Bearer "),
        ("contentful", "x-onceward-token", ""),
        ("datadog", "x-onceward-token", ""),
        ("flutterwave", "verif-hash", ""),
        ("freshdesk", "x-onceward-token", ""),
        ("generic-bearer", "authorization", "Bearer "),
        ("gitlab", "x-gitlab-token", ""),
        ("gorgias", "x-onceward-token", ""),
        ("hugging-face", "x-webhook-secret", ""),
        ("new-relic", "authorization", "Bearer "),
        ("okta", "authorization", ""),
        ("telegram", "x-telegram-bot-api-secret-token", ""),
    ];
    let in_the_url = ["generic-token", "gumroad", "mollie-classic"];
    let basic = ["bandwidth", "chargebee", "generic-basic"];
    let mut rows: Vec<Row> =
        in_a_header.iter().map(|&(preset, header, prefix)| sampled(preset, SECRET).header(header, format!("{prefix}{SECRET}"))).collect();
    rows.extend(in_the_url.map(|preset| sampled(preset, SECRET).target(&format!("/webhooks/{preset}?token={SECRET}"))));
    rows.extend(basic.map(|preset| {
        sampled(preset, "onceward:formula:0123456789").header("authorization", format!("Basic {}", base64(b"onceward:formula:0123456789")))
    }));
    rows.extend(["figma", "microsoft-graph"].map(|preset| with(preset, SECRET, "replaced when it is signed", SECRET)));
    rows
}
