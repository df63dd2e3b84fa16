//! Vendors that put a keyed hash into a header: of the body, or of a time and the body.

use super::{NOW, sampled};
use crate::harness::{Row, base64, hex, hmac_sha1, hmac_sha256, hmac_sha512};

type Hash = fn(&[u8], &[&[u8]]) -> Vec<u8>;
type Letters = fn(&[u8]) -> String;

/// How the secret is written.
#[derive(Clone, Copy)]
enum Key {
    Utf8,
    Hex,
    Base64,
}

/// One vendor's formula. In texts, `§` is the time, `¶` the body and `¤` the signature.
#[derive(Clone, Copy)]
struct Line {
    preset: &'static str,
    header: &'static str,
    /// What the header says.
    value: &'static str,
    /// The header that says the time, if it has one of its own, and the time as it is written there.
    time: (&'static str, &'static str),
    signed: &'static str,
    hash: Hash,
    key: Key,
    letters: Letters,
}

const HEX: Line =
    Line { preset: "", header: "", value: "¤", time: ("", ""), signed: "¶", hash: hmac_sha256, key: Key::Utf8, letters: hex };
const BASE64: Line = Line { letters: base64, ..HEX };
const BASE64URL: Line = Line { letters: base64url, ..HEX };

const S: &str = "1700000000";
const MS: &str = "1700000000000";
const RFC3339: &str = "2023-11-14T22:13:20Z";
const HTTP_DATE: &str = "Tue, 14 Nov 2023 22:13:20 GMT";

fn base64url(bytes: &[u8]) -> String {
    base64(bytes).replace('+', "-").replace('/', "_")
}

#[rustfmt::skip]
const OVER_THE_BODY: &[Line] = &[
    Line { preset: "ably", header: "x-ably-signature", ..BASE64 },
    Line { preset: "adyen-platform", header: "hmacsignature", key: Key::Hex, ..BASE64 },
    Line { preset: "aftership", header: "aftership-hmac-sha256", ..BASE64 },
    Line { preset: "ashby", header: "ashby-signature", value: "sha256=¤", ..HEX },
    Line { preset: "attentive", header: "x-attentive-hmac-sha256", ..HEX },
    Line { preset: "authorize-net", header: "x-anet-signature", value: "sha512=¤", hash: hmac_sha512, key: Key::Hex, ..HEX },
    Line { preset: "autodesk-aps", header: "x-adsk-signature", value: "sha1hash=¤", hash: hmac_sha1, ..HEX },
    Line { preset: "bitbucket", header: "x-hub-signature", value: "sha256=¤", ..HEX },
    Line { preset: "bolt", header: "x-bolt-hmac-sha256", ..BASE64 },
    Line { preset: "chargify", header: "x-chargify-webhook-signature-hmac-sha-256", ..HEX },
    Line { preset: "checkout-com", header: "cko-signature", ..HEX },
    Line { preset: "checkr", header: "x-checkr-signature", ..HEX },
    Line { preset: "circleci", header: "circleci-signature", value: "v1=¤", ..HEX },
    Line { preset: "commercelayer", header: "x-commercelayer-signature", ..BASE64 },
    Line { preset: "cronofy", header: "cronofy-hmac-sha256", ..BASE64 },
    Line { preset: "deel", header: "x-deel-signature", signed: "POST¶", ..HEX },
    Line { preset: "doppler", header: "x-doppler-signature", value: "sha256=¤", ..HEX },
    Line { preset: "dropbox", header: "x-dropbox-signature", ..HEX },
    Line { preset: "dwolla", header: "x-request-signature-sha-256", ..HEX },
    Line { preset: "easypost", header: "x-hmac-signature", value: "hmac-sha256-hex=¤", ..HEX },
    Line { preset: "fastspring", header: "x-fs-signature", ..BASE64 },
    Line { preset: "fireflies", header: "x-hub-signature", value: "sha256=¤", ..HEX },
    Line { preset: "flutterwave-v4", header: "flutterwave-signature", ..BASE64 },
    Line { preset: "generic-hmac", header: "x-signature", ..HEX },
    Line { preset: "grafana", header: "x-grafana-alerting-signature", ..HEX },
    Line { preset: "greenhouse", header: "signature", value: "sha256 ¤", ..HEX },
    Line { preset: "help-scout", header: "x-helpscout-signature", hash: hmac_sha1, ..BASE64 },
    Line { preset: "heroku", header: "heroku-webhook-hmac-sha256", ..BASE64 },
    Line { preset: "hookdeck", header: "x-hookdeck-signature", ..BASE64 },
    Line { preset: "jira", header: "x-hub-signature", value: "sha256=¤", ..HEX },
    Line { preset: "lago", header: "x-lago-signature", ..BASE64 },
    Line { preset: "launchdarkly", header: "x-ld-signature", ..HEX },
    Line { preset: "lemon-squeezy", header: "x-signature", ..HEX },
    Line { preset: "line", header: "x-line-signature", ..BASE64 },
    Line { preset: "merge", header: "x-merge-webhook-signature", ..BASE64URL },
    Line { preset: "modern-treasury", header: "x-signature", ..HEX },
    Line { preset: "mollie", header: "x-mollie-signature", value: "sha256=¤", ..HEX },
    Line { preset: "mongodb-atlas", header: "x-mms-signature", hash: hmac_sha1, ..BASE64 },
    Line { preset: "ms-teams", header: "authorization", value: "HMAC ¤", key: Key::Base64, ..BASE64 },
    Line { preset: "npm", header: "x-npm-signature", value: "sha256=¤", ..HEX },
    Line { preset: "nuvemshop", header: "x-linkedstore-hmac-sha256", ..HEX },
    Line { preset: "nylas", header: "x-nylas-signature", ..HEX },
    Line { preset: "onfleet", header: "x-onfleet-signature", hash: hmac_sha512, key: Key::Hex, ..HEX },
    Line { preset: "pagerduty", header: "x-pagerduty-signature", value: "v1=¤", ..HEX },
    Line { preset: "paystack", header: "x-paystack-signature", hash: hmac_sha512, ..HEX },
    Line { preset: "picqer", header: "x-picqer-signature", ..BASE64 },
    Line { preset: "primer", header: "x-signature-primary", ..BASE64 },
    Line { preset: "printful", header: "x-pf-webhook-signature", key: Key::Hex, ..HEX },
    Line { preset: "pusher", header: "x-pusher-signature", ..HEX },
    Line { preset: "quickbooks", header: "intuit-signature", ..BASE64 },
    Line { preset: "sendbird", header: "x-sendbird-signature", ..HEX },
    Line { preset: "sentry", header: "sentry-hook-signature", ..HEX },
    Line { preset: "shiphero", header: "x-shiphero-hmac-sha256", ..BASE64 },
    Line { preset: "shopline", header: "x-shopline-hmac-sha256", ..HEX },
    Line { preset: "squarespace", header: "squarespace-signature", key: Key::Hex, ..HEX },
    Line { preset: "storyblok", header: "webhook-signature", hash: hmac_sha1, ..HEX },
    Line { preset: "uber-eats", header: "x-uber-signature", ..HEX },
    Line { preset: "vercel", header: "x-vercel-signature", hash: hmac_sha1, ..HEX },
    Line { preset: "viber", header: "x-viber-content-signature", ..HEX },
    Line { preset: "workable", header: "x-workable-signature", ..HEX },
    Line { preset: "x", header: "x-twitter-webhooks-signature", value: "sha256=¤", ..BASE64 },
    Line { preset: "xero", header: "x-xero-signature", ..BASE64 },
];

#[rustfmt::skip]
const OVER_TIME_AND_BODY: &[Line] = &[
    Line { preset: "affirm", header: "x-affirm-signature", value: "t=§,v0=¤", time: ("", S), signed: "§.¶", hash: hmac_sha512, ..HEX },
    Line { preset: "airship", header: "x-ua-signature", time: ("x-ua-timestamp", S), signed: "§:¶", ..HEX },
    Line { preset: "airwallex", header: "x-signature", time: ("x-timestamp", MS), signed: "§¶", ..HEX },
    Line { preset: "akeneo", header: "x-akeneo-request-signature", time: ("x-akeneo-request-timestamp", S), signed: "§.¶", ..HEX },
    Line { preset: "bamboohr", header: "x-bamboohr-signature", time: ("x-bamboohr-timestamp", S), signed: "¶§", ..HEX },
    Line { preset: "buildkite", header: "x-buildkite-signature", value: "timestamp=§,signature=¤", time: ("", S), signed: "§.¶", ..HEX },
    Line { preset: "cloudflare-stream", header: "webhook-signature", value: "time=§,sig1=¤", time: ("", S), signed: "§.¶", ..HEX },
    Line { preset: "coinbase-cdp", header: "x-hook0-signature", value: "t=§,v0=¤", time: ("", S), signed: "§.¶", ..HEX },
    Line { preset: "courier", header: "courier-signature", value: "t=§,signature=¤", time: ("", S), signed: "§.¶", ..HEX },
    Line { preset: "crisp", header: "x-crisp-signature", time: ("x-crisp-request-timestamp", MS), signed: "[§;¶]", ..HEX },
    Line { preset: "front", header: "x-front-signature", time: ("x-front-request-timestamp", MS), signed: "§:¶", ..BASE64 },
    Line { preset: "knock", header: "x-knock-signature", value: "t=§,s=¤", time: ("", MS), signed: "§.¶", ..BASE64 },
    Line { preset: "lob", header: "lob-signature", time: ("lob-signature-timestamp", S), signed: "§.¶", ..HEX },
    Line { preset: "metronome", header: "metronome-webhook-signature", time: ("date", HTTP_DATE), signed: "§\n¶", ..HEX },
    Line { preset: "orb", header: "x-orb-signature", value: "v1=¤", time: ("x-orb-timestamp", RFC3339), signed: "v1:§:¶", ..HEX },
    Line { preset: "persona", header: "persona-signature", value: "t=§,v1=¤", time: ("", S), signed: "§.¶", ..HEX },
    Line { preset: "pylon", header: "pylon-webhook-signature", value: "hs256=¤", time: ("pylon-webhook-timestamp", S), signed: "§.¶", ..HEX },
    Line { preset: "recharge", header: "x-recharge-webhook-signature", value: "t=§,v1=¤", time: ("", S), signed: "§.¶", ..HEX },
    Line { preset: "recurly", header: "recurly-signature", value: "§,¤", time: ("", S), signed: "§.¶", ..HEX },
    Line { preset: "retell", header: "x-retell-signature", value: "v=§,d=¤", time: ("", MS), signed: "¶§", ..HEX },
    Line { preset: "revolut", header: "revolut-signature", value: "v1=¤", time: ("revolut-request-timestamp", S), signed: "v1.§.¶", ..HEX },
    Line { preset: "shippo", header: "shippo-auth-signature", value: "t=§,v1=¤", time: ("", S), signed: "§.¶", ..HEX },
    Line { preset: "statsig", header: "x-statsig-signature", value: "v0=¤", time: ("x-statsig-request-timestamp", MS), signed: "v0:§:¶", ..HEX },
    Line { preset: "stripe-thin", header: "stripe-signature", value: "t=§,v1=¤", time: ("", S), signed: "§.¶", ..HEX },
    Line { preset: "synctera", header: "synctera-signature", time: ("request-timestamp", S), signed: "§.¶", ..HEX },
    Line { preset: "workos", header: "workos-signature", value: "t=§,v1=¤", time: ("", MS), signed: "§.¶", ..HEX },
];

pub fn rows() -> Vec<Row> {
    OVER_THE_BODY.iter().chain(OVER_TIME_AND_BODY).map(row).collect()
}

fn row(line: &Line) -> Row {
    let key: Vec<u8> = (0..32).collect();
    let (secret, key) = match line.key {
        Key::Utf8 => ("formula-0123456789abcdef".to_owned(), b"formula-0123456789abcdef".to_vec()),
        Key::Hex => (hex(&key), key),
        Key::Base64 => (base64(&key), key),
    };
    let (header, time) = line.time;
    sampled(line.preset, &secret).at(NOW).computed(|row| {
        let (before, rest) = line.signed.split_once('¶').unwrap();
        let timed = |text: &str| text.replace('§', time);
        let hash = (line.hash)(&key, &[timed(before).as_bytes(), &row.body, timed(rest).as_bytes()]);
        let row = row.header(line.header, timed(line.value).replace('¤', &(line.letters)(&hash)));
        if header.is_empty() { row } else { row.header(header, time) }
    })
}
