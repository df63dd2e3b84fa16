//! What a webhook costs before it is committed: checking the signature of a Typeform response of 2 KB, and reading it into an event.

use std::hint::black_box;

use base64::Engine as _;
use criterion::Criterion;
use hmac::{Hmac, KeyInit, Mac};
use onceward_model::mapping::ReadContext;
use onceward_model::seal::{SealingKey, SealingKeys};
use onceward_model::secret::Secret;
use onceward_model::source::{Source, SourceDef};
use onceward_model::{EventId, RawEventId, Reading, Received, Time};

const SECRET: &str = "a secret of the benchmark";
const NOW: Time = Time::from_seconds(1_700_003_600);

fn reading(c: &mut Criterion) {
    let def = SourceDef { preset: Some("typeform".to_owned()), ..SourceDef::default() };
    let source = Source::compile("typeform", &def).unwrap_or_else(|problems| unreachable!("{problems:?}"));
    let secret = Secret::new(SECRET).unwrap_or_else(|error| unreachable!("{error}"));
    let verifier = source.scheme.compile(&[secret], None).unwrap_or_else(|problems| unreachable!("{problems:?}"));
    let body = onceward_model::preset::sample("typeform").map(|sample| sample.body).unwrap_or_default();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap_or_else(|_| unreachable!("any key will do"));
    mac.update(body);
    let signature = format!("sha256={}", base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes()));
    let headers = [("content-type".to_owned(), b"application/json".to_vec()), ("typeform-signature".to_owned(), signature.into_bytes())];
    let request = Received { method: "POST", target: "/webhooks/typeform", headers: &headers, body };
    let keys = SealingKeys::new(vec![SealingKey::new(&[7; 32])]).unwrap_or_else(|error| unreachable!("{error}"));
    let hash_key = keys.hash_key("events");
    let read = || {
        let mut event_id = || EventId(64);
        let mut context = ReadContext {
            received_at: NOW,
            raw_event: RawEventId(41),
            correlation_id: "c0ffee",
            signed_headers: &[],
            hash_key: &hash_key,
            event_id: &mut event_id,
        };
        source.read(black_box(&request), &mut context)
    };
    assert!(verifier.verify(&request, NOW).is_ok() && matches!(read().as_slice(), [Reading::Event { .. }]));
    println!("{} bytes", body.len());
    c.bench_function("verify", |b| b.iter(|| verifier.verify(black_box(&request), NOW)));
    c.bench_function("read", |b| b.iter(read));
    c.bench_function("verify and read", |b| b.iter(|| verifier.verify(black_box(&request), NOW).map(|_| read())));
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    reading(&mut criterion);
    criterion.final_summary();
}
