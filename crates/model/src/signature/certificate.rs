//! Public keys as vendors show them, down to the bytes that a check needs.
//!
//! Only as much of DER (X.690) is read as leads to the key: a `SubjectPublicKeyInfo` (RFC 5280, section 4.1), alone or inside a
//! certificate. Whether a certificate is valid is not asked: whoever pasted it trusts it.

use super::scheme::PublicKind;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// `[0] EXPLICIT`, which a certificate's version has.
const VERSION: u8 = 0xa0;

/// 1.2.840.113549.1.1.1
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.10045.2.1
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.10045.3.1.7
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.3.101.112
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// What the bytes of a secret are.
pub(super) enum Held<'a> {
    /// A public key, as `ring` wants it.
    Public(&'a [u8]),
    /// A private key in PKCS #8, whole.
    Private,
}

/// Finds the key of an algorithm; `None` if it is something else.
pub(super) fn read(der: &[u8], algorithm: PublicKind) -> Option<Held<'_>> {
    let (outer, rest) = value(der, SEQUENCE)?;
    if !rest.is_empty() {
        return None;
    }
    // PKCS #8 begins with its version, a key with its algorithm, and a certificate with what is certified.
    if outer.first() == Some(&INTEGER) {
        return Some(Held::Private);
    }
    key(outer, algorithm).or_else(|| key(certified(outer)?, algorithm)).map(Held::Public)
}

/// The bytes of a key's information.
fn key(information: &[u8], algorithm: PublicKind) -> Option<&[u8]> {
    let (identifier, rest) = value(information, SEQUENCE)?;
    let (kind, parameters) = value(identifier, OBJECT_IDENTIFIER)?;
    let fits = match algorithm {
        PublicKind::RsaSha1 | PublicKind::RsaSha256 => kind == RSA,
        PublicKind::EcdsaP256Sha256 => kind == EC && value(parameters, OBJECT_IDENTIFIER).is_some_and(|(curve, _)| curve == P256),
        PublicKind::Ed25519 => kind == ED25519,
    };
    let (bits, rest) = value(rest, BIT_STRING)?;
    // The first byte counts the bits that do not belong to the key.
    if fits && rest.is_empty() { bits.strip_prefix(&[0]) } else { None }
}

/// The information on the key inside a certificate.
fn certified(certificate: &[u8]) -> Option<&[u8]> {
    let (mut rest, _) = value(certificate, SEQUENCE)?;
    if let Some((_, after)) = value(rest, VERSION) {
        rest = after;
    }
    // Serial number, algorithm, issuer, validity, subject; then the key.
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        (_, rest) = value(rest, tag)?;
    }
    value(rest, SEQUENCE).map(|(information, _)| information)
}

/// The content of the first value, which must have this tag, and what follows it.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&held, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest)
        }
        _ => return None,
    };
    if held == tag { rest.split_at_checked(length) } else { None }
}

/// The bytes between `-----BEGIN …-----` and `-----END …-----` of the first block; line breaks may be written as `\n`.
pub(super) fn from_pem(text: &[u8]) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let text = std::str::from_utf8(text).ok()?.replace("\\n", "\n");
    let (_, after) = text.split_once("-----BEGIN ")?;
    let (_, after) = after.split_once("-----")?;
    let (inner, _) = after.split_once("-----END ")?;
    let inner: String = inner.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
    base64::engine::general_purpose::STANDARD.decode(inner).ok()
}
