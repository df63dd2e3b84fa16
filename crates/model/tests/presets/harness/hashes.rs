//! Plain formulas, apart from the code under test.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

fn keyed<M: Mac + KeyInit>(key: &[u8], text: &[&[u8]]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).unwrap();
    text.iter().for_each(|piece| mac.update(piece));
    mac.finalize().into_bytes().to_vec()
}

pub fn hmac_sha1(key: &[u8], text: &[&[u8]]) -> Vec<u8> {
    keyed::<Hmac<Sha1>>(key, text)
}

pub fn hmac_sha256(key: &[u8], text: &[&[u8]]) -> Vec<u8> {
    keyed::<Hmac<Sha256>>(key, text)
}

pub fn hmac_sha384(key: &[u8], text: &[&[u8]]) -> Vec<u8> {
    keyed::<Hmac<Sha384>>(key, text)
}

pub fn hmac_sha512(key: &[u8], text: &[&[u8]]) -> Vec<u8> {
    keyed::<Hmac<Sha512>>(key, text)
}

pub fn sha1(text: &[u8]) -> Vec<u8> {
    Sha1::digest(text).to_vec()
}

pub fn sha256(text: &[u8]) -> Vec<u8> {
    Sha256::digest(text).to_vec()
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// Standard base64 with its padding.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[test]
fn the_plain_formulas_give_the_published_values() {
    // FIPS 180 for `abc`, and RFC 2202 and 4231, second case.
    assert_eq!(hex(&sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_eq!(hex(&sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let (key, text) = (b"Jefe".as_slice(), [b"what do ya want ".as_slice(), b"for nothing?"]);
    assert_eq!(hex(&hmac_sha1(key, &text)), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    assert_eq!(hex(&hmac_sha256(key, &text)), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    assert!(hex(&hmac_sha384(key, &text)).starts_with("af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e"));
    assert!(hex(&hmac_sha512(key, &text)).starts_with("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"));
}
