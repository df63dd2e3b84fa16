//! Keys, content hashes and canonical events as they are in ledgers since the first release. A change here makes a sender's retry of
//! yesterday a new event of today, so an expected value is never adapted to new code; to a preset that maps more, it is.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::*;
use crate::intake::prepare;
use crate::route::Routes;

/// What stands in the ledger for one request: key, content hash, and a hash of everything else.
fn committed(source: &Source, headers: &[(&str, &str)], body: &[u8]) -> String {
    let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    let request = Received { method: "POST", target: "/webhooks/demo?q=a+b", headers: &headers, body };
    let signed_headers = ["x-id".to_owned(), "webhook-id".to_owned()];
    let (hash_key, mut next) = (hash_key(7), 0);
    let mut event_id = || {
        next += 1;
        EventId(next << 6)
    };
    let mut context = ReadContext {
        received_at: NOW,
        raw_event: RawEventId(41),
        correlation_id: "c0ffee",
        signed_headers: &signed_headers,
        hash_key: &hash_key,
        event_id: &mut event_id,
    };
    let readings = source.read(&request, &mut context);
    let routes = Routes::compile(&[], &BTreeSet::new(), BTreeMap::new()).unwrap();
    let event = prepare(source, &request, readings, &routes, &BTreeMap::new(), &mut context).remove(0);
    let warnings: Vec<_> = event.warnings.iter().map(|warning| (&warning.kind, &warning.message)).collect();
    let normalized = event.normalized.replace(source.mapping_version(), "version");
    let rest = format!("{normalized}\n{warnings:?}\n{:?}", event.fate);
    let short = |bytes: &[u8]| hex::encode(&bytes[..6]);
    format!("{} {} {}", event.key, short(&event.content_hash), short(&Sha256::digest(rest)))
}

const ODD: &str = r#"
    id = "id"
    occurred_at = { from = "at", unit = "s" }
    region = "US"
    [[events]]
    when = "kind != 'x'"
    type = "lead.created"
    [events.fields]
    external_id = "person.id || person.\"\""
    email = "mails[?ok].address | [0]"
    phone_e164 = "phone"
    full_name = "join(' ', [person.first, person.last])"
    amount = "amount"
    text = { from = "amount", as = "text" }
    tags = "tags"
    last = "tags[-1]"
    city = { from = "city", clear = true }
    form = { header = "x-form" }
    query = { query = "q" }
    rest = "to_string(rest)"
    [[events]]
    type = { from = "type" }
    id = { header = "x-id" }
    fields = { email = "email", company = { from = "company", truncate = 3, default = "none" } }
"#;

#[test]
fn samples_are_committed_as_ever() {
    let headers =
        [("webhook-id", "msg_1"), ("x-github-event", "push"), ("x-github-delivery", "1"), ("x-shopify-topic", "customers/create")];
    let committed = |preset: &str| {
        let source = source(&format!("preset = \"{preset}\""));
        committed(&source, &headers, crate::preset::sample(preset).unwrap().body)
    };
    for (preset, expected) in [
        ("typeform", "demo|lead.created|01HF6Z3M8Q4V7T2N9K5C1B0XYW e62788196e3c 462e679b8c5f"),
        ("standard-webhooks", "demo|lead.created|msg_1 b720a0498ba6 957a9c54cbe0"),
        ("stripe", "demo|customer.created|evt_1OCP7kLkdIwHu7ixA1b2C3d4 a25b9b067a7c 890c13a6f2f9"),
        ("shopify", "demo|customer.created|706405506930370084@2023-11-14T17:13:20-05:00 16abd37dc1b9 2e05ef8e06eb"),
        ("github", "demo|push|body:f4e31dd9379c1f0e00041b7444ab595570af14dd9373e8bc7febd0a8a4bc3959 7828b32cbf73 d24aa2e60cfd"),
    ] {
        assert_eq!(committed(preset), expected, "{preset}");
    }
}

#[test]
fn odd_documents_are_committed_as_ever() {
    let odd = source(ODD);
    let deep = format!(r#"{{"id":"1","rest":{}{}}}"#, "[".repeat(120), "]".repeat(120));
    let many: Vec<_> = (0..40).map(|at| format!("\"n{at}\":{at}")).collect();
    let many = format!(r#"{{"id":"7","at":1700000000,{},"rest":{{{}}},"n3":true}}"#, many.join(","), many.join(","));
    for (body, expected) in [
        (
            r#"{"id":"1","at":1700000000,"person":{"":7,"first":"Ada","last":"Example"},"amount":-0,"tags":["a",1,true],"city":null}"#,
            "demo|lead.created|1 dd2c48729c05 442d844c2860",
        ),
        (
            r#"{"id":2,"at":"1700000000.25","person":{"id":18446744073709551616},"amount":0.1000000000000000055,"rest":{"b":1e3,"a":-0.0}}"#,
            "demo|lead.created|2 e42159eeb9e5 77a22037f87a",
        ),
        (
            r#"{"id":"a|b","mails":[{"ok":false,"address":"x"},{"ok":true,"address":"Ada@Example.COM"}],"phone":"(281) 332-2575","at":1700000000}"#,
            "demo|lead.created|a%7Cb 7132d26e0a5b 996cfd96910a",
        ),
        (
            r#"{"id":"\ud83d\ude00\u0061","at":1700000000,"phone":"+49 30 123456","tags":[],"city":"","rest":"e\u0301\u0000"}"#,
            "demo|lead.created|😀a b8c60ccabc44 8d6d1f2f58bb",
        ),
        (
            r#"{"id":"3","id":"4","at":1700000000}"#,
            "demo|unknown|body:6b3f6674735eaffe508be514034696d972b97706ee50cdd8a38876a1ebc20d5b 6b3f6674735e 96e806ab0cdb",
        ),
        (
            r#"{"id":"5","at":1700000000,"zzz":{"y":1,"y":2},"amount":[1,[2]],"tags":{"a":1}}"#,
            "demo|lead.created|5 2bbc3ff14d9b 31b74c30fcb4",
        ),
        (
            r#"{"kind":"x","type":"order.paid","email":"ada@example.com","company":"\u00e9\u00e9\u00e9\u00e9"}"#,
            "demo|order.paid|h%231 b38afd55f3cf 5e01320b43e7",
        ),
        (r#"{"kind":"x","type":"a b"}"#, "demo|a_b|h%231 731829ec576c 7d47d3dc91cc"),
        (
            r#"[{"id":"1"},{"id":"2"}]"#,
            "demo|unknown|body:6dcfd5038e71e99307e8de578546038ace72e6dd6778336cd7f722ac718a9314 6dcfd5038e71 214007cee4b3",
        ),
        (r#"{"id":1e400}"#, "demo|unknown|body:6897064b2fef2d297095fa6aa846f6bca02f84d985180f4a98d6860d934dd3d4 6897064b2fef 05930b65a0b6"),
        (
            r#"{"id":"\ud800"}"#,
            "demo|unknown|body:959de2b22575effc10f6af91c0c8d82e122d56b9899a2765df9270fbab7543d5 959de2b22575 75ecd6da9250",
        ),
        (r#"{"id":"1","person":{"first":1}}"#, "demo|lead.created|1 2bbc3ff14d9b d0981909608e"),
        (deep.as_str(), "demo|lead.created|1 7e5b4f709bff 419b7a52c7d6"),
        (many.as_str(), "demo|lead.created|7 d3a2c4c518a4 31310f1e38dc"),
    ] {
        assert_eq!(committed(&odd, &[("x-id", "h#1"), ("x-form", " f ")], body.as_bytes()), expected, "{}", &body[..body.len().min(200)]);
    }
}
