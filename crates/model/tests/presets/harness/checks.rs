//! What every row is put through.

use std::time::Duration;

use model::Time;
use model::secret::Secret;
use model::signature::{Algorithm, Rejection, Scheme, Verdict, Verified, Verifier};
use model::time::parse_span;
use serde_json::Value;

use super::changes::{Carrier, carriers};
use super::oracle::{self, Reading};
use super::samples::a_retry_is_the_same_event_and_another_id_is_another;
use super::{Row, keys};

/// Puts rows through everything.
pub fn check(rows: Vec<Row>) {
    for row in rows {
        let source = row.source();
        let scheme = &source.scheme;
        let by = compile(scheme, &row.secret, &row);
        let verified = verify(&by, &row, row.now).unwrap_or_else(|rejection| panic!("{}: {rejection:?}", row.preset));
        assert_eq!(verified.secret, 0, "{}", row.preset);
        assert_eq!(verified.verdict, by.verdict(), "{}", row.preset);
        changed_bodies_are_refused_unless_the_body_is_not_signed(scheme, &by, &row);
        another_secret_is_refused(scheme, &row);
        what_is_missing_empty_doubled_or_changed_is_refused(scheme, &by, &row);
        another_address_is_refused(scheme, &by, &row);
        another_time_is_refused(scheme, &by, &row);
        what_an_empty_key_signs_is_refused(scheme, &by, &row);
        a_retry_is_the_same_event_and_another_id_is_another(&source, &row);
    }
}

pub fn compile(scheme: &Scheme, secret: &str, row: &Row) -> Verifier {
    let address = format!("https://hooks.example.com/webhooks/{}", row.preset);
    scheme
        .compile(&[Secret::for_vectors(secret)], Some(row.url.as_deref().unwrap_or(&address)))
        .unwrap_or_else(|problems| panic!("{}: {problems:#?}", row.preset))
}

fn verify(by: &Verifier, row: &Row, now: Time) -> Result<Verified, Rejection> {
    row.received(|request| by.verify(request, now))
}

fn refuses(by: &Verifier, row: &Row, why: &str) {
    if let Ok(verified) = verify(by, row, row.now) {
        panic!("{}: {why}, and yet {verified:?}", row.preset);
    }
}

fn holds(scheme: &Scheme, words: &[&str]) -> bool {
    words.iter().any(|word| scheme.signed.as_deref().unwrap_or_default().contains(word))
}

/// Whether every byte of the body counts.
fn signs_whole_body(scheme: &Scheme) -> bool {
    let hashed = scheme.jwt.as_ref().is_some_and(|jwt| jwt.body_hash_claim.is_some());
    holds(scheme, &["{body}", "{form-sorted}", "{sha256}", "{crc32}"]) || scheme.body_hash.is_some() || hashed
}

fn changed_bodies_are_refused_unless_the_body_is_not_signed(scheme: &Scheme, by: &Verifier, row: &Row) {
    let in_body = carriers(scheme, row).iter().any(Carrier::is_in_body);
    for at in [0, row.body.len() / 2, row.body.len().saturating_sub(1)] {
        let mut changed = row.clone();
        let Some(byte) = changed.body.get_mut(at) else { continue };
        *byte ^= 1;
        if signs_whole_body(scheme) {
            refuses(by, &changed, "one byte of the body changed");
        } else if !in_body {
            assert_eq!(by.verdict(), Verdict::Authenticated, "{}: what is not signed must not count as verified", row.preset);
            assert!(verify(by, &changed, row.now).is_ok(), "{}: the body is not signed", row.preset);
        }
    }
}

/// The same with one letter or digit changed for another of its kind, so that it is written in the same way.
pub fn another_text(text: &str) -> String {
    let letters: Vec<usize> = text.char_indices().filter(|(_, letter)| letter.is_ascii_alphanumeric()).map(|(at, _)| at).collect();
    let Some(&at) = letters.get(letters.len().saturating_sub(3)) else { return format!("{text}x") };
    let other = match text.as_bytes()[at] {
        b'0' => '1',
        b'1'..=b'9' => '0',
        b'a' => 'b',
        _ => 'a',
    };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}

fn another_secret_is_refused(scheme: &Scheme, row: &Row) {
    let other = keys::private(scheme, true).unwrap_or_else(|| another_text(&row.secret));
    refuses(&compile(scheme, &other, row), row, "another secret");
}

fn what_is_missing_empty_doubled_or_changed_is_refused(scheme: &Scheme, by: &Verifier, row: &Row) {
    let carriers = carriers(scheme, row);
    assert!(!carriers.is_empty(), "{}: the row has nothing of what the scheme reads", row.preset);
    let several = scheme.also.len() + usize::from(scheme.header.as_ref().is_some_and(|name| name.contains("{n}"))) > 0;
    for carrier in carriers {
        let value = carrier.get(row).unwrap();
        refuses(by, &carrier.twice(row, &value), &format!("{carrier:?} comes twice"));
        refuses(by, &carrier.twice(row, "garbage"), &format!("{carrier:?} comes twice, the second is garbage"));
        // Of several headers that hold a signature each, any one will do.
        if several && matches!(carrier, Carrier::Header(_)) {
            continue;
        }
        refuses(by, &carrier.set(row, None), &format!("{carrier:?} is missing"));
        refuses(by, &carrier.set(row, Some("")), &format!("{carrier:?} is empty"));
        refuses(by, &carrier.set(row, Some(&another_text(&value))), &format!("{carrier:?} is another"));
    }
}

fn another_address_is_refused(scheme: &Scheme, by: &Verifier, row: &Row) {
    let mut elsewhere = row.clone();
    elsewhere.target.push_str(if row.target.contains('?') { "&more=1" } else { "?more=1" });
    if holds(scheme, &["{url}", "{target}"]) {
        refuses(by, &elsewhere, "another query string");
    }
    if holds(scheme, &["{url}"]) {
        let mut told = row.clone();
        told.url = Some("https://elsewhere.example.com/hook".to_owned());
        refuses(&compile(scheme, &row.secret, &told), row, "another public URL");
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

/// Also holds the row against a second reading of the scheme: the genuine signature must be found in it.
fn what_an_empty_key_signs_is_refused(scheme: &Scheme, by: &Verifier, row: &Row) {
    let (genuine, forged) = match scheme.algorithm {
        Algorithm::Token | Algorithm::None => (row.secret.clone(), String::new()),
        Algorithm::Basic => (super::base64(row.key()), super::base64(b":")),
        Algorithm::Jwt | Algorithm::Ed25519 | Algorithm::EcdsaP256Sha256 | Algorithm::RsaSha1 | Algorithm::RsaSha256 => {
            // There is no empty public key; what another sender's key signs was refused before.
            return;
        }
        Algorithm::HmacSha1
        | Algorithm::HmacSha256
        | Algorithm::HmacSha384
        | Algorithm::HmacSha512
        | Algorithm::Md5
        | Algorithm::Sha1
        | Algorithm::Sha256 => {
            let list = scheme.each.as_ref().map(|each| each.split_once("[]").unwrap());
            let entry = list.map(|(list, member)| {
                let body: Value = serde_json::from_slice(&row.body).unwrap();
                let entry = &oracle::member(&body, list).unwrap()[0];
                oracle::member(entry, member).unwrap().clone()
            });
            let reading = Reading { row, scheme, entry };
            let key = oracle::key(scheme, &row.secret);
            (reading.signature(&key).unwrap(), reading.signature(b"").unwrap())
        }
    };
    let mut other = row.clone();
    other.headers.iter_mut().for_each(|(_, value)| *value = value.replace(&genuine, &forged));
    other.target = other.target.replace(&genuine, &forged).replace(&escaped(&genuine), &escaped(&forged));
    let body = String::from_utf8_lossy(&row.body);
    if body.contains(&genuine) || body.contains(&escaped(&genuine)) {
        other.body = body.replace(&genuine, &forged).replace(&escaped(&genuine), &escaped(&forged)).into_bytes();
    }
    let changed = (&other.headers, &other.target, &other.body) != (&row.headers, &row.target, &row.body);
    assert!(changed, "{}: the request does not hold what the scheme says: {genuine}", row.preset);
    refuses(by, &other, "signed with an empty key");
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
