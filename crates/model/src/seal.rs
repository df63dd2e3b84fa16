//! Raw requests at rest: packed into one buffer, compressed, sealed.
//!
//! A sealed row is `version (1 byte) | nonce (12) | ciphertext and tag`. The plain text is LZ4-compressed with its length in
//! front, then sealed with AES-256-GCM. The key is derived from the configured one and the row's id, for two reasons: a row
//! moved to another row's place does not open, and no key seals more than a few texts, so that random nonces stay safe for
//! any number of rows. The configured key's id is kept beside the row, so that keys can be changed while old rows still open.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use lz4_flex::block::{compress_into, get_maximum_output_size};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use sha2::{Digest, Sha256};

use crate::Received;

/// Bytes of a configured key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// Most bytes of a plain text, sealed or opened.
pub const PLAIN_BYTES_MAX: usize = 64 << 20;
/// Most keys at once.
pub const KEYS_MAX: usize = 16;

const SEAL_VERSION: u8 = 1;
const PACK_VERSION: u8 = 1;
/// LZ4 cannot shrink further than this: one more byte of length adds 255 to a run.
const SHRINK_MAX: usize = 256;

/// Headers that carry a caller's own credentials: never kept. Signatures stay, they are needed to check a request again.
const DROPPED_HEADERS: [&str; 16] = [
    "api-key",
    "apikey",
    "authorization",
    "cookie",
    "ocp-apim-subscription-key",
    "proxy-authorization",
    "set-cookie",
    "x-access-token",
    "x-amz-security-token",
    "x-api-key",
    "x-auth-token",
    "x-csrf-token",
    "x-functions-key",
    "x-gitlab-token",
    "x-goog-api-key",
    "x-vault-token",
];

/// Why something could not be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// A configured key is not 32 bytes of base64.
    #[error("an encryption key is 32 bytes in base64, 44 characters: make one with `openssl rand -base64 32`")]
    KeyForm,
    /// No key, too many, or one twice.
    #[error("`encryption.keys` needs 1 to {KEYS_MAX} different keys: the first seals, all of them open")]
    KeyCount,
    /// The row was sealed with a key that is not configured.
    #[error("this row was sealed with key {0:08x}, which is not configured: add that key to `encryption.keys` again, after the first")]
    UnknownKey(u32),
    /// The bytes are not what was sealed for this row.
    #[error("this row does not open: its bytes were changed, cut or belong to another row; restore it from a backup")]
    Damaged,
    /// The row's format is of a later version.
    #[error("this row has format {0}, which this version does not know: upgrade")]
    Version(u8),
    /// Too large.
    #[error("more than {PLAIN_BYTES_MAX} bytes cannot be sealed: lower the source's body limit")]
    TooLarge,
}

/// One configured key. Prints as its id.
#[derive(Clone)]
pub struct SealingKey {
    id: u32,
    mac: Hmac<Sha256>,
}

impl SealingKey {
    /// Reads a key: 32 bytes, standard base64. White space around it is forgiven, since keys come from files.
    ///
    /// # Errors
    ///
    /// [`SealError::KeyForm`].
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let bytes = STANDARD.decode(text.trim_ascii()).map_err(|_| SealError::KeyForm)?;
        Ok(Self::new(&<[u8; KEY_BYTES]>::try_from(bytes).map_err(|_| SealError::KeyForm)?))
    }

    /// Takes a key's bytes.
    pub fn new(bytes: &[u8; KEY_BYTES]) -> Self {
        let [first, second, third, fourth, ..] = <[u8; 32]>::from(Sha256::digest(bytes));
        Self { id: u32::from_be_bytes([first, second, third, fourth]), mac: keyed(bytes) }
    }

    /// The first four bytes of the key's SHA-256: names the key without telling it.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// A key for one purpose, from which neither this key nor any other purpose's can be found.
    fn derive(&self, purpose: &str, of: &[u8]) -> [u8; 32] {
        // The zero byte ends the purpose, so that no purpose is the beginning of another.
        self.mac.clone().chain_update(purpose).chain_update([0]).chain_update(of).finalize().into_bytes().into()
    }

    fn row_key(&self, row: i64) -> Result<LessSafeKey, SealError> {
        let bytes = self.derive("onceward seal", &row.to_be_bytes());
        UnboundKey::new(&AES_256_GCM, &bytes).map(LessSafeKey::new).map_err(|_| SealError::KeyForm)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({:08x})", self.id)
    }
}

/// All configured keys: the first seals, all open.
#[derive(Clone, Debug)]
pub struct SealingKeys {
    first: SealingKey,
    others: Vec<SealingKey>,
}

/// What was sealed, and with which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Kept beside the bytes, and given back to [`SealingKeys::open`].
    pub key_id: u32,
    /// `version | nonce | ciphertext and tag`.
    pub bytes: Vec<u8>,
}

impl SealingKeys {
    /// Takes the configured keys, newest first.
    ///
    /// # Errors
    ///
    /// [`SealError::KeyCount`]: none, more than [`KEYS_MAX`], or one twice.
    pub fn new(keys: Vec<SealingKey>) -> Result<Self, SealError> {
        let mut ids: Vec<u32> = keys.iter().map(SealingKey::id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != keys.len() || keys.len() > KEYS_MAX {
            return Err(SealError::KeyCount);
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or(SealError::KeyCount)?;
        Ok(Self { first, others: keys.collect() })
    }

    /// Seals a plain text for one row. `nonce` is fresh chance.
    ///
    /// # Errors
    ///
    /// [`SealError::TooLarge`] above [`PLAIN_BYTES_MAX`].
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], row: i64, plain: &[u8]) -> Result<Sealed, SealError> {
        if plain.len() > PLAIN_BYTES_MAX {
            return Err(SealError::TooLarge);
        }
        let length = u32::try_from(plain.len()).map_err(|_| SealError::TooLarge)?.to_le_bytes();
        let head = [&[SEAL_VERSION], nonce.as_slice(), &length].concat();
        // Compressed and sealed where it stands in the row, so that nothing is copied.
        let mut bytes = vec![0; head.len() + get_maximum_output_size(plain.len()) + AES_256_GCM.tag_len()];
        bytes[..head.len()].copy_from_slice(&head);
        let compressed = compress_into(plain, &mut bytes[head.len()..]).map_err(|_| SealError::TooLarge)?;
        bytes.truncate(head.len() + compressed);
        let key = self.first.row_key(row)?;
        let text = &mut bytes[1 + NONCE_BYTES..];
        let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), bound(row), text);
        bytes.extend_from_slice(tag.map_err(|_| SealError::TooLarge)?.as_ref());
        bytes.shrink_to_fit();
        Ok(Sealed { key_id: self.first.id, bytes })
    }

    /// Opens what was sealed for this row.
    ///
    /// # Errors
    ///
    /// [`SealError::UnknownKey`], [`SealError::Version`] or [`SealError::Damaged`].
    pub fn open(&self, row: i64, key_id: u32, bytes: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut keys = std::iter::once(&self.first).chain(&self.others);
        let key = keys.find(|key| key.id == key_id).ok_or(SealError::UnknownKey(key_id))?.row_key(row)?;
        let (&version, rest) = bytes.split_first().ok_or(SealError::Damaged)?;
        if version != SEAL_VERSION {
            return Err(SealError::Version(version));
        }
        let (nonce, text) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(SealError::Damaged)?;
        let mut text = text.to_vec();
        let opened = key.open_in_place(Nonce::assume_unique_for_key(*nonce), bound(row), &mut text);
        decompress(opened.map_err(|_| SealError::Damaged)?)
    }

    /// A key for hashing identities, one per `label`.
    ///
    /// It comes from the **last** key, the oldest, so that a new first key changes no hash that is already in the ledger. Once the oldest
    /// key is dropped, hashes change: keep it as long as idempotency keys are kept.
    pub fn hash_key(&self, label: &str) -> HashKey {
        HashKey(keyed(&self.others.last().unwrap_or(&self.first).derive("onceward hash", label.as_bytes())))
    }
}

/// HMAC-SHA256 with this key. A key shorter than a block is padded with zeros, as RFC 2104 says: so this cannot fail.
fn keyed(key: &[u8; KEY_BYTES]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    block[..KEY_BYTES].copy_from_slice(key);
    Hmac::new(&block.into())
}

/// What a sealed text is bound to, besides its key.
fn bound(row: i64) -> Aad<[u8; 9]> {
    let mut bytes = [SEAL_VERSION; 9];
    bytes[1..].copy_from_slice(&row.to_be_bytes());
    Aad::from(bytes)
}

fn decompress(bytes: &[u8]) -> Result<Vec<u8>, SealError> {
    let (length, text) = bytes.split_first_chunk::<4>().ok_or(SealError::Damaged)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| SealError::Damaged)?;
    if length > PLAIN_BYTES_MAX || length > text.len().saturating_mul(SHRINK_MAX) {
        return Err(SealError::Damaged);
    }
    let plain = lz4_flex::block::decompress(text, length).map_err(|_| SealError::Damaged)?;
    if plain.len() == length { Ok(plain) } else { Err(SealError::Damaged) }
}

/// A key for hashes that nobody without it can make or test guesses against.
#[derive(Clone)]
pub struct HashKey(Hmac<Sha256>);

impl HashKey {
    /// For readings that make no key of anything.
    pub(crate) fn unused() -> Self {
        Self(keyed(&[0; KEY_BYTES]))
    }

    /// HMAC-SHA256 over the parts, each with its length, so that no two lists of parts read the same.
    pub fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(&length(part));
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(***)")
    }
}

/// A request taken out of its seal.
#[derive(Clone, PartialEq, Eq)]
pub struct Kept {
    /// `POST`, `GET`, …
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// What [`kept_headers`] left, in the order it came.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The exact body.
    pub body: Vec<u8>,
}

impl Kept {
    /// The request as the pure code sees it, to be checked or mapped again.
    pub fn received(&self) -> Received<'_> {
        Received { method: &self.method, target: &self.target, headers: &self.headers, body: &self.body }
    }
}

impl fmt::Debug for Kept {
    /// Sizes only: the rest is personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kept({} {} headers, {} bytes)", self.method, self.headers.len(), self.body.len())
    }
}

/// The headers of a request that are kept: all but those that carry the caller's own credentials.
pub fn kept_headers<'a>(request: &Received<'a>) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
    kept_with(request, &[]).into_iter()
}

fn kept_with<'a>(request: &Received<'a>, needed: &[&str]) -> Vec<(&'a str, &'a [u8])> {
    let kept = |(name, _): &&(String, Vec<u8>)| !DROPPED_HEADERS.contains(&name.as_str()) || needed.contains(&name.as_str());
    request.headers.iter().filter(kept).map(|(name, value)| (name.as_str(), value.as_slice())).collect()
}

/// Packs what is kept of a request into one buffer: a version byte, then method, target, number of headers, names and values, and body,
/// each text with its length in front (8 bytes, big-endian).
pub fn pack(request: &Received<'_>) -> Vec<u8> {
    packed(request, &[])
}

/// As [`pack`], with the headers that it takes to check the request again, credentials among them: for requests that were refused, whose token may be
/// the right one and ours the wrong one. They are gone as soon as the request is taken in, or too old.
pub fn pack_for_check(request: &Received<'_>, needed: &[&str]) -> Vec<u8> {
    packed(request, needed)
}

fn packed(request: &Received<'_>, needed: &[&str]) -> Vec<u8> {
    let headers = kept_with(request, needed);
    let mut bytes = Vec::with_capacity(request.body.len() + request.target.len() + 1024);
    bytes.push(PACK_VERSION);
    let mut put = |part: &[u8]| {
        bytes.extend_from_slice(&length(part));
        bytes.extend_from_slice(part);
    };
    put(request.method.as_bytes());
    put(request.target.as_bytes());
    put(&u64::to_be_bytes(headers.len() as u64));
    for (name, value) in headers {
        put(name.as_bytes());
        put(value);
    }
    put(request.body);
    bytes
}

/// Reads what [`pack`] wrote.
///
/// # Errors
///
/// [`SealError::Version`], or [`SealError::Damaged`] for anything that [`pack`] does not write.
pub fn unpack(bytes: &[u8]) -> Result<Kept, SealError> {
    let (&version, mut rest) = bytes.split_first().ok_or(SealError::Damaged)?;
    if version != PACK_VERSION {
        return Err(SealError::Version(version));
    }
    let method = take_text(&mut rest)?;
    let target = take_text(&mut rest)?;
    let count = <[u8; 8]>::try_from(take(&mut rest)?).map_err(|_| SealError::Damaged)?;
    let mut headers = Vec::new();
    for _ in 0..u64::from_be_bytes(count) {
        headers.push((take_text(&mut rest)?, take(&mut rest)?.to_vec()));
    }
    let body = take(&mut rest)?.to_vec();
    if rest.is_empty() { Ok(Kept { method, target, headers, body }) } else { Err(SealError::Damaged) }
}

fn length(part: &[u8]) -> [u8; 8] {
    (part.len() as u64).to_be_bytes()
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], SealError> {
    let (length, after) = rest.split_first_chunk::<8>().ok_or(SealError::Damaged)?;
    let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| SealError::Damaged)?;
    let (part, after) = after.split_at_checked(length).ok_or(SealError::Damaged)?;
    *rest = after;
    Ok(part)
}

fn take_text(rest: &mut &[u8]) -> Result<String, SealError> {
    String::from_utf8(take(rest)?.to_vec()).map_err(|_| SealError::Damaged)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONCE: [u8; NONCE_BYTES] = [7; NONCE_BYTES];

    fn keys(bytes: &[u8]) -> SealingKeys {
        SealingKeys::new(bytes.iter().map(|&byte| SealingKey::new(&[byte; KEY_BYTES])).collect()).unwrap()
    }

    fn headers(names: &[&str]) -> Vec<(String, Vec<u8>)> {
        names.iter().map(|name| ((*name).to_owned(), format!("value of {name}").into_bytes())).collect()
    }

    #[test]
    fn what_was_sealed_opens_and_does_not_show_through() {
        let keys = keys(&[1]);
        let plain = "ada@example.com ".repeat(500);
        let sealed = keys.seal(NONCE, 42, plain.as_bytes()).unwrap();
        assert!(sealed.bytes.len() < plain.len() / 10, "compressed");
        assert!(!sealed.bytes.windows(4).any(|window| window == b"ada@"));
        assert_eq!(sealed.bytes[..13], [&[SEAL_VERSION], NONCE.as_slice()].concat());
        assert_eq!(keys.open(42, sealed.key_id, &sealed.bytes).unwrap(), plain.as_bytes());
        assert_ne!(keys.seal(NONCE, 43, plain.as_bytes()).unwrap().bytes, sealed.bytes, "each row has a key of its own");
    }

    #[test]
    fn after_a_rotation_old_rows_open_and_new_ones_use_the_new_key() {
        let old = keys(&[1]);
        let both = keys(&[2, 1]);
        let row = old.seal(NONCE, 1, b"old").unwrap();
        assert_eq!(both.open(1, row.key_id, &row.bytes).unwrap(), b"old");
        let new = both.seal(NONCE, 1, b"new").unwrap();
        assert_ne!(new.key_id, row.key_id);
        let error = old.open(1, new.key_id, &new.bytes).unwrap_err();
        assert_eq!(error, SealError::UnknownKey(new.key_id));
        assert!(error.to_string().contains(&format!("{:08x}", new.key_id)), "{error}");
        assert_eq!(keys(&[2]).open(1, new.key_id, &new.bytes).unwrap(), b"new");
    }

    #[test]
    fn a_changed_cut_or_swapped_row_does_not_open() {
        let keys = keys(&[1, 2]);
        let sealed = keys.seal(NONCE, 1, b"some text that is sealed").unwrap();
        for at in 0..sealed.bytes.len() {
            let mut changed = sealed.bytes.clone();
            changed[at] ^= 1;
            let expected = if at == 0 { SealError::Version(0) } else { SealError::Damaged };
            assert_eq!(keys.open(1, sealed.key_id, &changed), Err(expected), "byte {at}");
            assert!(keys.open(1, sealed.key_id, &sealed.bytes[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(keys.open(2, sealed.key_id, &sealed.bytes), Err(SealError::Damaged), "another row");
        let other = SealingKey::new(&[2; KEY_BYTES]).id();
        assert_eq!(keys.open(1, other, &sealed.bytes), Err(SealError::Damaged), "another key");
    }

    #[test]
    fn a_key_is_32_bytes_of_base64_and_never_shown() {
        let text = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
        let key = SealingKey::parse(&format!("{text}\n")).unwrap();
        assert_eq!(key.id(), SealingKey::new(&[1; KEY_BYTES]).id());
        assert_eq!(format!("{key:?}"), format!("SealingKey({:08x})", key.id()));
        for wrong in ["", "AQEB", "not base64 at all", &text[1..], &format!("{text}AQEB")] {
            assert_eq!(SealingKey::parse(wrong).unwrap_err(), SealError::KeyForm, "{wrong}");
        }
        assert_eq!(SealingKeys::new(vec![]).unwrap_err(), SealError::KeyCount);
        assert_eq!(SealingKeys::new(vec![key.clone(), key]).unwrap_err(), SealError::KeyCount);
    }

    #[test]
    fn a_length_that_the_text_cannot_have_is_refused_before_memory_is_taken() {
        for length in [u32::MAX, 64 << 20, 4096] {
            assert_eq!(decompress(&[&length.to_le_bytes(), [0x10, b'x'].as_slice()].concat()), Err(SealError::Damaged), "{length}");
        }
        let large = vec![0; 300_000];
        assert_eq!(decompress(&lz4_flex::block::compress_prepend_size(&large)).unwrap(), large, "the best that LZ4 can do is let through");
    }

    #[test]
    fn credentials_are_not_kept_and_signatures_are() {
        let dropped = ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-gitlab-token"];
        let kept = ["content-type", "webhook-signature", "stripe-signature", "i-twilio-idempotency-token", "x-github-delivery"];
        let request = Received {
            method: "POST",
            target: "/hooks/a?b=c",
            headers: &headers(&[dropped, ["x", "x", "x", "x", "x", "x"]].concat()),
            body: b"{}",
        };
        assert!(unpack(&pack(&request)).unwrap().headers.iter().all(|(name, _)| name == "x"));
        let request = Received { headers: &headers(&kept), ..request };
        let opened = unpack(&pack(&request)).unwrap();
        assert_eq!((opened.method.as_str(), opened.target.as_str()), ("POST", "/hooks/a?b=c"));
        assert_eq!(opened.received().headers, request.headers);
        assert_eq!(opened.body, b"{}");
        assert_eq!(format!("{opened:?}"), "Kept(POST 5 headers, 2 bytes)");
    }

    #[test]
    fn hashes_tell_parts_labels_and_keys_apart_and_outlive_a_new_key() {
        let hash = |keys: &SealingKeys, label: &str, parts: &[&[u8]]| keys.hash_key(label).hash(parts);
        let first = hash(&keys(&[1]), "fallback", &[b"ada", b"2026"]);
        assert_eq!(hash(&keys(&[2, 1]), "fallback", &[b"ada", b"2026"]), first, "a new key is put in front");
        for other in [
            hash(&keys(&[1]), "fallback", &[b"ada2026", b""]),
            hash(&keys(&[1]), "fallback", &[b"ad", b"a2026"]),
            hash(&keys(&[1]), "fallback", &[b"ada", b"2026", b""]),
            hash(&keys(&[1]), "other", &[b"ada", b"2026"]),
            hash(&keys(&[2]), "fallback", &[b"ada", b"2026"]),
        ] {
            assert_ne!(other, first);
        }
    }

    proptest! {
        #[test]
        fn any_request_comes_back_as_it_was(
            method in "[A-Z]{1,8}",
            target in "/[ -~]{0,40}",
            headers in proptest::collection::vec(("[a-z]{1,12}", proptest::collection::vec(any::<u8>(), 0..40)), 0..8),
            body in proptest::collection::vec(any::<u8>(), 0..2000),
            nonce: [u8; NONCE_BYTES],
            row: i64,
        ) {
            let headers: Vec<_> = headers.into_iter().filter(|(name, _)| !DROPPED_HEADERS.contains(&name.as_str())).collect();
            let request = Received { method: &method, target: &target, headers: &headers, body: &body };
            let keys = keys(&[9]);
            let sealed = keys.seal(nonce, row, &pack(&request)).unwrap();
            let opened = unpack(&keys.open(row, sealed.key_id, &sealed.bytes).unwrap()).unwrap();
            prop_assert_eq!(opened, Kept { method, target, headers, body });
        }

        #[test]
        fn garbage_is_refused_and_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), version in 0u8..3) {
            let keys = keys(&[1]);
            let id = SealingKey::new(&[1; KEY_BYTES]).id();
            let _ = decompress(&bytes);
            if let Some(first) = bytes.first_mut() {
                *first = version;
            }
            prop_assert!(keys.open(1, id, &bytes).is_err());
            let _ = unpack(&bytes);
        }

        #[test]
        fn a_cut_or_changed_pack_is_refused_or_another_request(at in 0usize..120, with: u8, cut: bool) {
            let request = Received { method: "POST", target: "/x", headers: &headers(&["a", "b"]), body: b"{\"id\":1}" };
            let mut bytes = pack(&request);
            let at = at % bytes.len();
            if cut {
                bytes.truncate(at);
                prop_assert!(unpack(&bytes).is_err());
            } else {
                bytes[at] = with;
                let _ = unpack(&bytes);
            }
        }
    }
}
