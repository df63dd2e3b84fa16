//! What every row is put through.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use model::mapping::ReadContext;
use model::preset::{preset, sample};
use model::seal::{SealingKey, SealingKeys};
use model::secret::Secret;
use model::signature::{Algorithm, Encoding, KeyEncoding, Rejection, Scheme, Verified, Verifier};
use model::source::Source;
use model::time::parse_span;
use model::{EventId, RawEventId, Reading, Received, Time};

use super::{Row, hmac_sha1, hmac_sha256, hmac_sha512};

/// An hour after the samples.
const SAMPLES: Time = Time::from_seconds(1_700_003_600);

/// Puts rows through everything.
pub fn check(rows: Vec<Row>) {
    for row in rows {
        let source = row.source();
        let by = compile(&source.scheme, &row.secret);
        let verified = verify(&by, &row, row.now).unwrap_or_else(|rejection| panic!("{}: {rejection:?}", row.preset));
        assert_eq!(verified.secret, 0, "{}", row.preset);
        changed_bodies_are_refused(&by, &row);
        another_secret_is_refused(&source.scheme, &row);
        missing_empty_and_doubled_headers_are_refused(&source.scheme, &by, &row);
        another_time_is_refused(&source.scheme, &by, &row);
        what_an_empty_key_signs_is_refused(&source.scheme, &by, &row);
        a_retry_is_the_same_event_and_another_id_is_another(&source, &row);
    }
}

fn compile(scheme: &Scheme, secret: &str) -> Verifier {
    scheme.compile(&[Secret::for_vectors(secret)]).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn verify(by: &Verifier, row: &Row, now: Time) -> Result<Verified, Rejection> {
    row.received(|request| by.verify(request, now))
}

fn refuses(by: &Verifier, row: &Row, why: &str) {
    if let Ok(verified) = verify(by, row, row.now) {
        panic!("{}: {why}, and yet {verified:?}", row.preset);
    }
}

fn changed_bodies_are_refused(by: &Verifier, row: &Row) {
    for at in [0, row.body.len() / 2, row.body.len().saturating_sub(1)] {
        let mut changed = row.clone();
        if let Some(byte) = changed.body.get_mut(at) {
            *byte ^= 1;
            refuses(by, &changed, "one byte of the body changed");
        }
    }
}

/// The same with one letter or digit changed for another of its kind, so that it is written in the same way.
fn another_text(secret: &str) -> String {
    let letters: Vec<usize> = secret.char_indices().filter(|(_, letter)| letter.is_ascii_alphanumeric()).map(|(at, _)| at).collect();
    let at = letters[letters.len().saturating_sub(3)];
    let other = match secret.as_bytes()[at] {
        b'0' => '1',
        b'1'..=b'9' => '0',
        b'a' => 'b',
        _ => 'a',
    };
    format!("{}{other}{}", &secret[..at], &secret[at + 1..])
}

fn another_secret_is_refused(scheme: &Scheme, row: &Row) {
    refuses(&compile(scheme, &another_text(&row.secret)), row, "another secret");
}

fn missing_empty_and_doubled_headers_are_refused(scheme: &Scheme, by: &Verifier, row: &Row) {
    let timestamp = scheme.timestamp.as_ref().and_then(|timestamp| timestamp.header.as_deref());
    let signed = scheme.signed.split("{header:").skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name));
    for name in std::iter::once(scheme.header.as_str()).chain(timestamp).chain(signed) {
        let held = |(held, _): &&(String, String)| held.eq_ignore_ascii_case(name);
        let Some((name, value)) = row.headers.iter().find(held).cloned() else { panic!("{}: the row lacks `{name}`", row.preset) };
        let mut without = row.clone();
        without.headers.retain(|(held, _)| *held != name);
        refuses(by, &without, &format!("`{name}` is missing"));
        refuses(by, &without.clone().header(&name, ""), &format!("`{name}` is empty"));
        refuses(by, &row.clone().header(&name, value.clone()), &format!("`{name}` comes twice"));
        refuses(by, &without.clone().header(&name, "garbage").header(&name, value), &format!("`{name}` comes twice, the first is garbage"));
    }
}

fn another_time_is_refused(scheme: &Scheme, by: &Verifier, row: &Row) {
    let Some(timestamp) = &scheme.timestamp else { return };
    let tolerance = match timestamp.tolerance.as_deref() {
        Some("off") => return,
        Some(span) => parse_span(span).unwrap(),
        None => Duration::from_secs(300),
    };
    let span = tolerance + Duration::from_secs(2);
    assert_eq!(verify(by, row, row.now + span), Err(Rejection::TimestampStale), "{}", row.preset);
    assert_eq!(verify(by, row, row.now - span), Err(Rejection::TimestampAhead), "{}", row.preset);
}

/// The signature that a key gives, by a reading of the scheme that shares nothing with the engine's.
fn signature(scheme: &Scheme, row: &Row, key: &[u8]) -> String {
    let header = |name: &str| row.headers.iter().find(|(held, _)| held.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value);
    let timestamp = scheme.timestamp.as_ref().map_or("", |timestamp| match (&timestamp.header, &timestamp.field) {
        (Some(name), _) => header(name),
        (None, Some(field)) => {
            let value = header(&scheme.header);
            let from = value.find(&format!("{field}=")).map_or(0, |at| at + field.len() + 1);
            let end = value[from..].find(|letter: char| !letter.is_ascii_digit()).map_or(value.len(), |length| from + length);
            &value[from..end]
        }
        (None, None) => "",
    });
    let mut text = Vec::new();
    for part in scheme.signed.split_inclusive('}') {
        let (literal, name) = part.split_once('{').map_or((part, None), |(literal, name)| (literal, name.strip_suffix('}')));
        text.extend_from_slice(literal.as_bytes());
        match name {
            None => {}
            Some("body") => text.extend_from_slice(&row.body),
            Some("timestamp") => text.extend_from_slice(timestamp.as_bytes()),
            Some("method") => text.extend_from_slice(row.method.as_bytes()),
            Some("target") => text.extend_from_slice(row.target.as_bytes()),
            Some(name) => text.extend_from_slice(header(name.strip_prefix("header:").unwrap()).as_bytes()),
        }
    }
    let hash = match scheme.algorithm {
        Algorithm::HmacSha1 => hmac_sha1(key, &[&text]),
        Algorithm::HmacSha256 => hmac_sha256(key, &[&text]),
        Algorithm::HmacSha512 => hmac_sha512(key, &[&text]),
    };
    match scheme.encoding {
        Encoding::Hex => hex::encode(hash),
        Encoding::Base64 => STANDARD.encode(hash),
        Encoding::Base64url => URL_SAFE_NO_PAD.encode(hash),
    }
}

fn what_an_empty_key_signs_is_refused(scheme: &Scheme, by: &Verifier, row: &Row) {
    let text = scheme.key_prefix.as_ref().and_then(|prefix| row.secret.strip_prefix(prefix)).unwrap_or(&row.secret);
    let key = match scheme.key {
        KeyEncoding::Utf8 => row.secret.as_bytes().to_vec(),
        KeyEncoding::Base64 => STANDARD.decode(text).unwrap(),
        KeyEncoding::Hex => hex::decode(text).unwrap(),
    };
    let (genuine, forged) = (signature(scheme, row, &key), signature(scheme, row, b""));
    let mut other = row.clone();
    for (_, value) in &mut other.headers {
        *value = value.replace(&genuine, &forged);
    }
    assert_ne!(other.headers, row.headers, "{}: the request does not hold what the scheme says", row.preset);
    refuses(by, &other, "signed with an empty key");
}

fn a_retry_is_the_same_event_and_another_id_is_another(source: &Source, row: &Row) {
    let by = compile(&source.scheme, &row.secret);
    let first = read(source, &by, row, &[]);
    assert!(!first.is_empty(), "{}: the sample says nothing", row.preset);
    for reading in &first {
        match reading {
            Reading::DeadLetter { message, .. } => panic!("{}: the sample is a dead letter: {message}", row.preset),
            Reading::Event { warnings, .. } => assert!(warnings.is_empty(), "{}: {warnings:?}", row.preset),
            Reading::Ignored { .. } => {}
        }
    }
    assert_eq!(keys(&read(source, &by, row, &[])), keys(&first), "{}: the same again", row.preset);
    let text = String::from_utf8_lossy(sample(row.preset).unwrap().body);
    let differs = |other: &Vec<Change>| keys(&read(source, &by, row, other)) != keys(&first);
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
    for key in keys(readings) {
        let id = key.rsplit('|').next().unwrap_or_default();
        let parts = id.split([':', '@']).chain([id]).filter(|part| part.len() > 1);
        found.extend(parts.map(|part| vec![(part.to_owned(), another_text(part))]));
    }
    let digits = text.chars().filter(char::is_ascii_digit).take(1).collect::<String>();
    found.extend(["7", "8"].map(|other| vec![(digits.clone(), other.to_owned())]));
    found
}

pub fn keys(readings: &[Reading]) -> Vec<String> {
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
    for name in source.scheme.signed.split("{header:").skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name)) {
        if !headers.iter().any(|(held, _)| held == name) {
            headers.push((name.to_owned(), b"msg_1".to_vec()));
        }
    }
    let changed = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => changes.iter().fold(text.to_owned(), |text, (old, new)| text.replace(old, new)).into_bytes(),
        Err(_) => bytes.to_vec(),
    };
    let body = &changed(sample(row.preset).unwrap().body);
    headers.iter_mut().for_each(|(_, value)| *value = changed(value));
    let unsigned = Received { method: &row.method, target: &row.target, headers: &headers, body };
    let added = by.sign(&unsigned, SAMPLES).unwrap_or_else(|error| panic!("{}: {error}", row.preset));
    headers.extend(added.into_iter().map(|(name, value)| (name, value.into_bytes())));
    let request = Received { method: &row.method, target: &row.target, headers: &headers, body };
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
