//! Every preset's sample, read as it would come.

use model::mapping::ReadContext;
use model::preset::{preset, sample};
use model::seal::{SealingKey, SealingKeys};
use model::signature::{SignError, Signed, Verifier};
use model::source::Source;
use model::{EventId, RawEventId, Reading, Received, Time};

use super::checks::{another_text, compile};
use super::{Row, keys};

/// An hour after the samples.
const SAMPLES: Time = Time::from_seconds(1_700_003_600);

pub fn a_retry_is_the_same_event_and_another_id_is_another(source: &Source, row: &Row) {
    // A public key checks and cannot sign: the sample is signed with a key of our own.
    let secret = keys::private(&source.scheme, false).unwrap_or_else(|| row.secret.clone());
    let by = compile(&source.scheme, &secret, row);
    let first = read(source, &by, row, &[]);
    assert!(!first.is_empty(), "{}: the sample says nothing", row.preset);
    for reading in &first {
        match reading {
            Reading::DeadLetter { message, .. } => panic!("{}: the sample is a dead letter: {message}", row.preset),
            Reading::Event { warnings, .. } => assert!(warnings.is_empty(), "{}: {warnings:?}", row.preset),
            Reading::Ignored { .. } => {}
        }
    }
    assert_eq!(event_keys(&read(source, &by, row, &[])), event_keys(&first), "{}: the same again", row.preset);
    let text = String::from_utf8_lossy(sample(row.preset).unwrap().body);
    let differs = |other: &Vec<Change>| event_keys(&read(source, &by, row, other)) != event_keys(&first);
    assert!(changes(&text, &first, row).iter().any(differs), "{}: no other id makes another key: name it with `.other_id(…)`", row.preset);
}

/// A text of the sample or its headers, and what stands there in another event.
type Change = (String, String);

/// What may make the sample another event: every part of its key, and every digit of its body where that is the key.
fn changes(text: &str, readings: &[Reading], row: &Row) -> Vec<Vec<Change>> {
    if !row.other.is_empty() {
        return vec![row.other.clone()];
    }
    let mut found = Vec::new();
    for key in event_keys(readings) {
        let id = key.rsplit('|').next().unwrap_or_default();
        let parts = id.split([':', '@']).chain([id]).filter(|part| part.len() > 1);
        found.extend(parts.map(|part| vec![(part.to_owned(), another_text(part))]));
    }
    let digits = text.chars().filter(char::is_ascii_digit).take(1).collect::<String>();
    found.extend(["7", "8"].map(|other| vec![(digits.clone(), other.to_owned())]));
    found
}

pub fn event_keys(readings: &[Reading]) -> Vec<String> {
    let key = |reading: &Reading| match reading {
        Reading::Event { event, .. } => event.idempotency_key.clone(),
        Reading::Ignored { idempotency_key, .. } | Reading::DeadLetter { idempotency_key, .. } => idempotency_key.clone(),
    };
    readings.iter().map(key).collect()
}

/// A body as the vendor would send it now, checked and read.
fn read(source: &Source, by: &Verifier, row: &Row, changes: &[Change]) -> Vec<Reading> {
    let preset = preset(row.preset).unwrap().unwrap();
    let mut headers: Vec<(String, Vec<u8>)> =
        preset.sample_headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_bytes().to_vec())).collect();
    headers.push(("content-type".to_owned(), sample(row.preset).unwrap().content_type().into_bytes()));
    let changed = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => changes.iter().fold(text.to_owned(), |text, (old, new)| text.replace(old, new)).into_bytes(),
        Err(_) => bytes.to_vec(),
    };
    let body = &changed(sample(row.preset).unwrap().body);
    headers.iter_mut().for_each(|(_, value)| *value = changed(value));
    let signed = signed(by, row, &mut headers, body, &String::from_utf8_lossy(&changed(b"msg_1")));
    let request = Received { method: &row.method, target: &signed.target, headers: &headers, body: &signed.body };
    let verified = by.verify(&request, SAMPLES).unwrap_or_else(|rejection| panic!("{}: signed by us: {rejection:?}", row.preset));
    let hash_key = SealingKeys::new(vec![SealingKey::new(&[7; 32])]).unwrap().hash_key("events");
    let mut next = 0;
    let mut event_id = || {
        next += 1;
        EventId(next)
    };
    let mut context = ReadContext {
        received_at: SAMPLES,
        raw_event: RawEventId(41),
        correlation_id: "c0ffee",
        signed_headers: &verified.signed_headers,
        hash_key: &hash_key,
        event_id: &mut event_id,
    };
    source.read(&request, &mut context)
}

/// Signs as the vendor would, with values of our own for what the vendor chooses.
fn signed(by: &Verifier, row: &Row, headers: &mut Vec<(String, Vec<u8>)>, body: &[u8], id: &str) -> Signed {
    let mut target = row.target.clone();
    loop {
        let unsigned = Received { method: &row.method, target: &target, headers, body };
        match by.sign(&unsigned, SAMPLES) {
            Ok(signed) => {
                headers.extend(signed.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())));
                return signed;
            }
            Err(SignError::Header(name)) if !headers.iter().any(|(held, _)| *held == name) => headers.push((name, id.as_bytes().to_vec())),
            Err(SignError::Query(name)) if !target.contains(&format!("{name}=")) => {
                target.push_str(&format!("{}{name}={id}", if target.contains('?') { '&' } else { '?' }));
            }
            Err(error) => panic!("{}: {error}", row.preset),
        }
    }
}
