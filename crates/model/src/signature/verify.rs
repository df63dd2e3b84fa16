//! Checking a request, and signing one the way the vendor would.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::digest::{CtOutput, Output};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::compile::{Clock, Form, Key, Part};
use super::{Algorithm, Encoding, HexCase, Rejection, SignError, Unit, Verified, Verifier};
use crate::{Received, Time};

/// Most signatures of one header that are tried; with more, none is.
const SIGNATURES_MAX: usize = 16;
/// Most bytes of the signature's header: 16 signatures of any algorithm fit.
const HEADER_BYTES_MAX: usize = 4096;
/// Most bytes of a header that is part of the signed text.
const SIGNED_HEADER_BYTES_MAX: usize = 1024;

/// A keyed hash after its key went in, so that a request costs only its own bytes.
#[derive(Clone)]
pub(super) enum MacState {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

impl MacState {
    /// `None` for no key at all: what an empty key signs, anybody can sign.
    pub(super) fn new(algorithm: Algorithm, key: &[u8]) -> Option<Self> {
        if key.is_empty() {
            return None;
        }
        match algorithm {
            Algorithm::HmacSha1 => Hmac::new_from_slice(key).ok().map(Self::Sha1),
            Algorithm::HmacSha256 => Hmac::new_from_slice(key).ok().map(Self::Sha256),
            Algorithm::HmacSha512 => Hmac::new_from_slice(key).ok().map(Self::Sha512),
        }
    }

    /// Whether one of `signatures` belongs to the text. Takes the same time wherever they differ.
    pub(super) fn signs(&self, text: &[&[u8]], signatures: &[Vec<u8>]) -> bool {
        match self {
            Self::Sha1(mac) => signs(mac, text, signatures),
            Self::Sha256(mac) => signs(mac, text, signatures),
            Self::Sha512(mac) => signs(mac, text, signatures),
        }
    }

    fn sign(&self, text: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Sha1(mac) => hash(mac, text).into_bytes().to_vec(),
            Self::Sha256(mac) => hash(mac, text).into_bytes().to_vec(),
            Self::Sha512(mac) => hash(mac, text).into_bytes().to_vec(),
        }
    }
}

fn hash<M: Mac + Clone>(mac: &M, text: &[&[u8]]) -> CtOutput<M> {
    let mut mac = mac.clone();
    for piece in text {
        mac.update(piece);
    }
    mac.finalize()
}

fn signs<M: Mac + Clone>(mac: &M, text: &[&[u8]], signatures: &[Vec<u8>]) -> bool {
    let right = hash(mac, text);
    // `|`, not `||`: all are looked at, so that time does not tell which matched.
    signatures.iter().fold(false, |found, signature| {
        found | Output::<M>::try_from(signature.as_slice()).is_ok_and(|signature| right == CtOutput::new(signature))
    })
}

/// What a request says about itself, read but not yet believed.
pub(super) struct Claim<'a> {
    pub(super) signatures: Vec<Vec<u8>>,
    /// The timestamp as it came, and as a moment.
    pub(super) timestamp: Option<(&'a str, Time)>,
}

impl Verifier {
    /// Checks a request.
    ///
    /// # Errors
    ///
    /// Why it is not genuine: for operators, never for the sender.
    pub fn verify(&self, request: &Received<'_>, now: Time) -> Result<Verified, Rejection> {
        if !self.keys.iter().any(|key| valid(key, now)) {
            return Err(Rejection::NoSecret);
        }
        let claim = self.read(request)?;
        let text = self.text(request, claim.timestamp.map(|(text, _)| text))?;
        if let (Some(clock), Some((_, signed_at))) = (&self.clock, claim.timestamp) {
            check_age(clock, signed_at, now)?;
        }
        let matches = |key: &Key| valid(key, now) && key.state.signs(&text, &claim.signatures);
        let secret = self.keys.iter().position(matches).ok_or(Rejection::Mismatch)?;
        Ok(Verified { timestamp: claim.timestamp.map(|(_, at)| at), signed_headers: self.signed_headers.clone(), secret })
    }

    /// The one value of a header, under its own name (in lower case) or an alias. `Err(())` if one name came twice, or
    /// two names differ.
    ///
    /// # Errors
    ///
    /// The header says more than one thing.
    #[expect(clippy::result_unit_err, reason = "the only thing that can be wrong is that there are two")]
    pub fn header<'a>(&self, request: &Received<'a>, name: &str) -> Result<Option<&'a [u8]>, ()> {
        let aliases = self.aliases.get(name).into_iter().flatten().map(String::as_str);
        read_header(request, std::iter::once(name).chain(aliases))
    }

    /// The headers a vendor would add to this request, signed with the first secret that is still valid. `{header:…}` parts are taken
    /// from the request.
    ///
    /// # Errors
    ///
    /// There is no secret, or the request lacks a header that is signed.
    pub fn sign(&self, request: &Received<'_>, now: Time) -> Result<Vec<(String, String)>, SignError> {
        let key = self.keys.iter().find(|key| valid(key, now)).ok_or(SignError::NoSecret)?;
        let timestamp = self.clock.as_ref().map(|clock| match clock.unit {
            Unit::S => now.seconds().to_string(),
            Unit::Ms => now.millis().to_string(),
        });
        if let Some(name) = self.missing_header(request) {
            return Err(SignError::Header(name));
        }
        let header = || self.header.first().cloned().unwrap_or_default();
        let text = self.text(request, timestamp.as_deref()).map_err(|_| SignError::Header(self.signed_headers.join("`, `")))?;
        let signature = encode(&key.state.sign(&text), self.encoding);
        let mut headers = Vec::with_capacity(2);
        if let (Some(name), Some(timestamp)) = (self.clock.as_ref().and_then(|clock| clock.header.first()), &timestamp) {
            headers.push((name.clone(), timestamp.clone()));
        }
        let value = match &self.form {
            Form::Plain { prefix } => format!("{prefix}{signature}"),
            Form::Tagged { tag, .. } => format!("{tag},{signature}"),
            Form::Kv { separator, signature: name, timestamp: field } => match (field, &timestamp) {
                (Some(field), Some(timestamp)) => format!("{field}={timestamp}{separator}{name}={signature}"),
                (Some(_) | None, Some(_) | None) => format!("{name}={signature}"),
            },
        };
        headers.push((header(), value));
        Ok(headers)
    }

    fn missing_header(&self, request: &Received<'_>) -> Option<String> {
        let missing = |name: &&String| !matches!(self.header(request, name), Ok(Some(value)) if !value.is_empty());
        self.signed_headers.iter().find(missing).cloned()
    }

    /// Reads signatures and timestamp.
    pub(super) fn read<'a>(&self, request: &Received<'a>) -> Result<Claim<'a>, Rejection> {
        let value = read_header(request, self.header.iter().map(String::as_str)).map_err(|()| Rejection::SignatureDoubled)?;
        let value = value.filter(|value| !value.is_empty()).ok_or(Rejection::SignatureMissing)?;
        let value = plain_text(value, HEADER_BYTES_MAX).ok_or(Rejection::SignatureMalformed)?;
        let (signatures, field) = self.entries(value)?;
        if signatures.len() > SIGNATURES_MAX {
            return Err(Rejection::TooManySignatures);
        }
        // Among several, one that cannot be read is no worse than one that is wrong.
        let signatures: Vec<Vec<u8>> = signatures.into_iter().filter_map(|signature| self.decode(signature)).collect();
        if signatures.is_empty() {
            return Err(Rejection::SignatureMalformed);
        }
        let timestamp = match &self.clock {
            None => None,
            Some(clock) if clock.header.is_empty() => Some(parse_timestamp(field.unwrap_or_default(), clock.unit)?),
            Some(clock) => {
                let value = read_header(request, clock.header.iter().map(String::as_str)).map_err(|()| Rejection::TimestampDoubled)?;
                let value = value.filter(|value| !value.is_empty()).ok_or(Rejection::TimestampMissing)?;
                Some(parse_timestamp(plain_text(value, 32).ok_or(Rejection::TimestampMalformed)?, clock.unit)?)
            }
        };
        Ok(Claim { signatures, timestamp })
    }

    /// The texts of the signatures, and of the timestamp if it is a field.
    fn entries<'a>(&self, value: &'a str) -> Result<(Vec<&'a str>, Option<&'a str>), Rejection> {
        let mut signatures = Vec::with_capacity(1);
        let mut timestamp = None;
        match &self.form {
            Form::Plain { prefix } => signatures.push(value.strip_prefix(prefix.as_str()).ok_or(Rejection::SignatureMalformed)?),
            Form::Tagged { separator, tag } => {
                let entries = value.split(separator.as_str()).filter_map(|entry| entry.split_once(','));
                signatures.extend(entries.filter(|(held, _)| held == tag).map(|(_, signature)| signature));
            }
            Form::Kv { separator, signature: name, timestamp: field } => {
                for entry in value.split(separator.as_str()) {
                    // A space after the separator is taken, as vendors' own libraries do.
                    let (held, text) = entry.trim_start_matches(' ').split_once('=').ok_or(Rejection::SignatureMalformed)?;
                    if held == name {
                        signatures.push(text);
                    } else if field.as_deref() == Some(held) && timestamp.replace(text).is_some() {
                        return Err(Rejection::TimestampDoubled);
                    }
                }
            }
        }
        Ok((signatures, timestamp))
    }

    /// A signature's bytes; `None` unless they are written as the scheme says and as many as the algorithm makes.
    fn decode(&self, text: &str) -> Option<Vec<u8>> {
        let bytes = match self.encoding {
            Encoding::Hex if self.hex_case == HexCase::Lower && text.bytes().any(|byte| byte.is_ascii_uppercase()) => None,
            Encoding::Hex => hex::decode(text).ok(),
            Encoding::Base64 => STANDARD.decode(text).ok(),
            Encoding::Base64url => BASE64URL.decode(text).ok(),
        };
        bytes.filter(|bytes| bytes.len() == self.algorithm.length())
    }

    /// The signed text, in pieces: nothing is copied.
    pub(super) fn text<'a>(&'a self, request: &Received<'a>, timestamp: Option<&'a str>) -> Result<Vec<&'a [u8]>, Rejection> {
        let piece = |part: &'a Part| match part {
            Part::Text(text) => Ok(text.as_bytes()),
            Part::Body => Ok(request.body),
            Part::Method => Ok(request.method.as_bytes()),
            Part::Target => Ok(request.target.as_bytes()),
            Part::Timestamp => timestamp.map(str::as_bytes).ok_or(Rejection::TimestampMissing),
            Part::Header { names, until } => {
                let value = read_header(request, names.iter().map(String::as_str)).map_err(|()| Rejection::SignedHeaderDoubled)?;
                let value = value.filter(|value| !value.is_empty()).ok_or(Rejection::SignedHeaderMissing)?;
                let text = plain_text(value, SIGNED_HEADER_BYTES_MAX).ok_or(Rejection::SignedHeaderMalformed)?;
                match until {
                    Some(until) if text.contains(until.as_str()) => Err(Rejection::SignedHeaderMalformed),
                    Some(_) | None => Ok(text.as_bytes()),
                }
            }
        };
        self.parts.iter().map(piece).collect()
    }
}

const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn encode(bytes: &[u8], encoding: Encoding) -> String {
    match encoding {
        Encoding::Hex => hex::encode(bytes),
        Encoding::Base64 => STANDARD.encode(bytes),
        Encoding::Base64url => BASE64URL.encode(bytes),
    }
}

/// Whether a secret still counts.
fn valid(key: &Key, now: Time) -> bool {
    key.secret.not_after().is_none_or(|end| now <= end)
}

/// The value that all of these names agree on.
pub(super) fn read_header<'a, 'n>(request: &Received<'a>, names: impl Iterator<Item = &'n str>) -> Result<Option<&'a [u8]>, ()> {
    let mut found = None;
    for name in names {
        match (found, request.header(name)?) {
            (None, value) => found = value,
            (Some(_), None) => {}
            (Some(first), Some(value)) if first == value => {}
            (Some(_), Some(_)) => return Err(()),
        }
    }
    Ok(found)
}

pub(super) fn plain_text(value: &[u8], bytes_max: usize) -> Option<&str> {
    let fits = value.len() <= bytes_max && value.iter().all(|byte| (0x20..0x7f).contains(byte));
    if fits { std::str::from_utf8(value).ok() } else { None }
}

/// Digits and nothing else: what other readers forgive (a sign, a space, a fraction) is where two readers differ.
fn parse_timestamp(text: &str, unit: Unit) -> Result<(&str, Time), Rejection> {
    let digits_max = match unit {
        Unit::S => 12,
        Unit::Ms => 13,
    };
    if text.is_empty() {
        return Err(Rejection::TimestampMissing);
    }
    if text.len() > digits_max || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Rejection::TimestampMalformed);
    }
    let count: i64 = text.parse().map_err(|_| Rejection::TimestampMalformed)?;
    let at = match unit {
        Unit::S => Time::from_seconds(count),
        Unit::Ms => Time::from_millis(count),
    };
    Ok((text, at))
}

fn check_age(clock: &Clock, signed_at: Time, now: Time) -> Result<(), Rejection> {
    let Some(tolerance) = clock.tolerance else { return Ok(()) };
    // In the timestamp's own unit, as senders' libraries count it: 300.9 s after a whole second is 300 s.
    let now = match clock.unit {
        Unit::S => Time::from_seconds(now.seconds()),
        Unit::Ms => Time::from_millis(now.millis()),
    };
    if now.since(signed_at) > tolerance {
        Err(Rejection::TimestampStale)
    } else if signed_at.since(now) > tolerance {
        Err(Rejection::TimestampAhead)
    } else {
        Ok(())
    }
}
