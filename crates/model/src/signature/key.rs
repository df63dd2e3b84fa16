//! From a secret's text to what makes and checks signatures.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::digest::{CtOutput, Digest, Output};
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use ring::rand::SystemRandom;
use ring::signature::{self as public, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use super::certificate::{self, Held};
use super::scheme::{Algorithm, HashKind, KeyEncoding, Kind, MacKind, PublicKind};
use crate::Time;
use crate::secret::Secret;

/// A piece of the signed text. The secret is put in by whoever holds it.
#[derive(Clone, Debug)]
pub(super) enum Piece<'a> {
    Bytes(Cow<'a, [u8]>),
    Secret,
}

impl<'a> Piece<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self::Bytes(Cow::Borrowed(bytes))
    }

    pub(super) fn into_owned<'o>(self) -> Piece<'o> {
        match self {
            Self::Bytes(bytes) => Piece::Bytes(Cow::Owned(bytes.into_owned())),
            Self::Secret => Piece::Secret,
        }
    }

    fn bytes<'s>(&'s self, secret: &'s [u8]) -> &'s [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Secret => secret,
        }
    }
}

/// A secret, and what it can do.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) secret: Secret,
    pub(super) power: Power,
}

impl Key {
    /// Whether it still counts.
    pub(super) fn valid(&self, now: Time) -> bool {
        self.secret.not_after().is_none_or(|end| now <= end)
    }
}

/// What a secret can do.
#[derive(Clone)]
pub(super) enum Power {
    Mac(MacState),
    Hash(HashKind, Vec<u8>),
    Public(PublicKey),
    /// Compares with the secret itself.
    Token(TokenState),
    /// One for each algorithm that a token may name.
    Jwt(Vec<(&'static str, Power)>),
}

impl Power {
    /// `None` for no key at all (what an empty key signs, anybody can sign), and for bytes that are no key of this algorithm.
    pub(super) fn new(algorithm: Algorithm, key: &[u8]) -> Option<Self> {
        if key.is_empty() {
            return None;
        }
        match algorithm.kind() {
            Kind::Mac(kind) => MacState::new(kind, key).map(Self::Mac),
            Kind::Hash(kind) => Some(Self::Hash(kind, key.to_vec())),
            Kind::Public(kind) => PublicKey::new(kind, key).map(Self::Public),
            Kind::Bearer => TokenState::new(key).map(Self::Token),
        }
    }

    /// Whether one of `signatures` belongs to the text. For a secret key it takes the same time wherever they differ.
    pub(super) fn signs(&self, text: &[Piece<'_>], signatures: &[Vec<u8>]) -> bool {
        match self {
            Self::Mac(state) => state.signs(text, signatures),
            Self::Hash(HashKind::Md5, secret) => equals::<Md5>(text, secret, signatures),
            Self::Hash(HashKind::Sha1, secret) => equals::<Sha1>(text, secret, signatures),
            Self::Hash(HashKind::Sha256, secret) => equals::<Sha256>(text, secret, signatures),
            Self::Public(key) => {
                let text = joined(text);
                signatures.iter().any(|signature| key.verifies(&text, signature))
            }
            Self::Token(state) => signatures.iter().fold(false, |found, sent| found | state.is(sent)),
            Self::Jwt(_) => false,
        }
    }

    /// The signature of a text; `None` for a public key.
    pub(super) fn sign(&self, text: &[Piece<'_>], secret: &Secret) -> Option<Vec<u8>> {
        match self {
            Self::Mac(state) => Some(state.sign(text)),
            Self::Hash(HashKind::Md5, secret) => Some(digest::<Md5>(text, secret).to_vec()),
            Self::Hash(HashKind::Sha1, secret) => Some(digest::<Sha1>(text, secret).to_vec()),
            Self::Hash(HashKind::Sha256, secret) => Some(digest::<Sha256>(text, secret).to_vec()),
            Self::Public(key) => key.sign(&joined(text)),
            Self::Token(_) => Some(secret.expose().to_vec()),
            Self::Jwt(_) => None,
        }
    }
}

fn joined(text: &[Piece<'_>]) -> Vec<u8> {
    text.iter().flat_map(|piece| piece.bytes(&[]).iter().copied()).collect()
}

fn digest<D: Digest>(text: &[Piece<'_>], secret: &[u8]) -> Output<D> {
    let mut hash = D::new();
    text.iter().for_each(|piece| hash.update(piece.bytes(secret)));
    hash.finalize()
}

fn equals<D: Digest>(text: &[Piece<'_>], secret: &[u8], signatures: &[Vec<u8>]) -> bool {
    let right = CtOutput::<D>::new(digest::<D>(text, secret));
    signatures.iter().fold(false, |found, signature| {
        found | Output::<D>::try_from(signature.as_slice()).is_ok_and(|signature| right == CtOutput::new(signature))
    })
}

/// A keyed hash after its key went in, so that a request costs only its own bytes.
#[derive(Clone)]
pub(super) enum MacState {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
}

impl MacState {
    /// `None` for no key at all.
    pub(super) fn new(kind: MacKind, key: &[u8]) -> Option<Self> {
        if key.is_empty() {
            return None;
        }
        match kind {
            MacKind::Sha1 => Hmac::new_from_slice(key).ok().map(Self::Sha1),
            MacKind::Sha256 => Hmac::new_from_slice(key).ok().map(Self::Sha256),
            MacKind::Sha384 => Hmac::new_from_slice(key).ok().map(Self::Sha384),
            MacKind::Sha512 => Hmac::new_from_slice(key).ok().map(Self::Sha512),
        }
    }

    pub(super) fn signs(&self, text: &[Piece<'_>], signatures: &[Vec<u8>]) -> bool {
        match self {
            Self::Sha1(mac) => signs(mac, text, signatures),
            Self::Sha256(mac) => signs(mac, text, signatures),
            Self::Sha384(mac) => signs(mac, text, signatures),
            Self::Sha512(mac) => signs(mac, text, signatures),
        }
    }

    pub(super) fn sign(&self, text: &[Piece<'_>]) -> Vec<u8> {
        match self {
            Self::Sha1(mac) => hash(mac, text).into_bytes().to_vec(),
            Self::Sha256(mac) => hash(mac, text).into_bytes().to_vec(),
            Self::Sha384(mac) => hash(mac, text).into_bytes().to_vec(),
            Self::Sha512(mac) => hash(mac, text).into_bytes().to_vec(),
        }
    }
}

fn hash<M: Mac + Clone>(mac: &M, text: &[Piece<'_>]) -> CtOutput<M> {
    let mut mac = mac.clone();
    for piece in text {
        mac.update(piece.bytes(&[]));
    }
    mac.finalize()
}

fn signs<M: Mac + Clone>(mac: &M, text: &[Piece<'_>], signatures: &[Vec<u8>]) -> bool {
    let right = hash(mac, text);
    // `|`, not `||`: all are looked at, so that time does not tell which matched.
    signatures.iter().fold(false, |found, signature| {
        found | Output::<M>::try_from(signature.as_slice()).is_ok_and(|signature| right == CtOutput::new(signature))
    })
}

/// Compares what was sent with the secret, in the same time wherever they differ and whatever their lengths: both are hashed first.
#[derive(Clone)]
pub(super) struct TokenState(Hmac<Sha256>);

impl TokenState {
    fn new(secret: &[u8]) -> Option<Self> {
        Hmac::new_from_slice(b"onceward compares tokens by their hashes").ok().map(|mac: Hmac<Sha256>| Self(mac.chain_update(secret)))
    }

    fn is(&self, sent: &[u8]) -> bool {
        let Ok(mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(b"onceward compares tokens by their hashes") else { return false };
        self.0.clone().finalize() == mac.chain_update(sent).finalize()
    }
}

/// A vendor's public key; or a private key of our own, which can also sign.
#[derive(Clone)]
pub(super) struct PublicKey {
    kind: PublicKind,
    bytes: Vec<u8>,
    /// PKCS #8.
    private: Option<Vec<u8>>,
}

impl PublicKey {
    fn new(kind: PublicKind, bytes: &[u8]) -> Option<Self> {
        if kind == PublicKind::Ed25519 && bytes.len() == 32 {
            return Some(Self { kind, bytes: bytes.to_vec(), private: None });
        }
        match certificate::read(bytes, kind)? {
            Held::Public(key) => Some(Self { kind, bytes: key.to_vec(), private: None }),
            Held::Private => {
                let public = match kind {
                    PublicKind::Ed25519 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes).ok()?.public_key().as_ref().to_vec(),
                    PublicKind::EcdsaP256Sha256 => ecdsa(bytes)?.public_key().as_ref().to_vec(),
                    PublicKind::RsaSha1 | PublicKind::RsaSha256 => RsaKeyPair::from_pkcs8(bytes).ok()?.public_key().as_ref().to_vec(),
                };
                Some(Self { kind, bytes: public, private: Some(bytes.to_vec()) })
            }
        }
    }

    fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        let by =
            |algorithm: &'static dyn VerificationAlgorithm| UnparsedPublicKey::new(algorithm, &self.bytes).verify(text, signature).is_ok();
        match self.kind {
            PublicKind::Ed25519 => by(&public::ED25519),
            PublicKind::EcdsaP256Sha256 => {
                by(&public::ECDSA_P256_SHA256_ASN1) || signature.len() == 64 && by(&public::ECDSA_P256_SHA256_FIXED)
            }
            PublicKind::RsaSha1 => by(&public::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY),
            PublicKind::RsaSha256 => by(&public::RSA_PKCS1_2048_8192_SHA256),
        }
    }

    /// Only a key of our own signs: in tests, the demo and rehearsals. `ring` asks the system for its own randomness then; it shows in no
    /// decision.
    fn sign(&self, text: &[u8]) -> Option<Vec<u8>> {
        let private = self.private.as_ref()?;
        match self.kind {
            PublicKind::Ed25519 => Some(Ed25519KeyPair::from_pkcs8_maybe_unchecked(private).ok()?.sign(text).as_ref().to_vec()),
            PublicKind::EcdsaP256Sha256 => Some(ecdsa(private)?.sign(&SystemRandom::new(), text).ok()?.as_ref().to_vec()),
            PublicKind::RsaSha256 => {
                let key = RsaKeyPair::from_pkcs8(private).ok()?;
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&public::RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature).ok()?;
                Some(signature)
            }
            // `ring` checks RSA with SHA-1 and does not make it.
            PublicKind::RsaSha1 => None,
        }
    }

    /// An ECDSA signature as two numbers of 32 bytes (RFC 7518, section 3.4), from one in DER.
    pub(super) fn fixed(der: &[u8]) -> Option<Vec<u8>> {
        let number = |rest: &[u8]| -> Option<(Vec<u8>, usize)> {
            let (&[0x02, length], rest) = rest.split_first_chunk::<2>()? else { return None };
            let digits = rest.get(..usize::from(length))?;
            let digits = digits.strip_prefix(&[0]).unwrap_or(digits);
            let padding = 32_usize.checked_sub(digits.len())?;
            Some(([&vec![0; padding], digits].concat(), 2 + usize::from(length)))
        };
        let inner = der.get(2..)?;
        let (first, used) = number(inner)?;
        let (second, _) = number(inner.get(used..)?)?;
        Some([first, second].concat())
    }
}

fn ecdsa(private: &[u8]) -> Option<EcdsaKeyPair> {
    EcdsaKeyPair::from_pkcs8(&public::ECDSA_P256_SHA256_ASN1_SIGNING, private, &SystemRandom::new()).ok()
}

/// The bytes of a key; `None` if the secret is not written in this encoding.
pub(super) fn decode_key(secret: &Secret, encoding: KeyEncoding, prefix: Option<&str>) -> Option<Vec<u8>> {
    // What people paste is padded or not, and both mean the same key.
    const EITHER: GeneralPurpose =
        GeneralPurpose::new(&ALPHABET, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));
    let bytes = secret.expose();
    let text = prefix.and_then(|prefix| bytes.strip_prefix(prefix.as_bytes())).unwrap_or(bytes);
    match encoding {
        KeyEncoding::Utf8 => Some(text.to_vec()),
        KeyEncoding::Base64 => EITHER.decode(text).ok(),
        KeyEncoding::Hex => hex::decode(text).ok(),
        KeyEncoding::Sha1 => Some(Sha1::digest(text).to_vec()),
        KeyEncoding::Pem => certificate::from_pem(text),
    }
}
