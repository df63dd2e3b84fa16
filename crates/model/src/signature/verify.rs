//! Checking a request.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::digest::CtOutput;
use sha2::{Digest, Sha256};

use super::body::{Fault, Inside, Tree};
use super::compile::{Clock, Each};
use super::jwt;
use super::key::Key;
use super::place::parse_timestamp;
use super::scheme::{Algorithm, Encoding, HexCase, Kind, Unit};
use super::text::Sources;
use super::{Rejection, Verified, Verifier};
use crate::{Received, Time};

/// Most signatures of one request that are tried; with more, none is.
const SIGNATURES_MAX: usize = 16;
/// Most bytes of a signature's text: 16 signatures of a keyed hash fit, or a token.
pub(super) const SIGNATURE_BYTES_MAX: usize = 4096;
/// Most entries of `each`.
const ENTRIES_MAX: usize = 10_000;

/// What a request says about itself, read but not yet believed.
pub(super) struct Claim<'x> {
    pub(super) signatures: Vec<Vec<u8>>,
    /// The timestamp as it came, and as a moment.
    pub(super) timestamp: Option<(Cow<'x, str>, Time)>,
}

impl Verifier {
    /// Checks a request.
    ///
    /// # Errors
    ///
    /// Why it is not genuine: for operators, never for the sender.
    pub fn verify(&self, request: &Received<'_>, now: Time) -> Result<Verified, Rejection> {
        if !self.keys.iter().any(|key| key.valid(now)) {
            return Err(Rejection::NoSecret);
        }
        let inside = Inside::new(request);
        if let Some(parameter) = &self.body_hash {
            check_body_hash(inside.query(parameter), request.body)?;
        }
        let (timestamp, secret) = match &self.each {
            None => self.verify_one(request, &inside, None, now)?,
            Some(each) => self.verify_each(each, request, &inside, now)?,
        };
        Ok(Verified {
            verdict: self.verdict,
            timestamp,
            signed_headers: self.signed_headers.clone(),
            signed_target: self.signed_target,
            secret,
        })
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

    /// Every entry has to hold; the secret that is told is the one of the first.
    fn verify_each(&self, each: &Each, request: &Received<'_>, inside: &Inside<'_>, now: Time) -> Result<(Option<Time>, usize), Rejection> {
        let mut first = None;
        for entry in entries(each, inside)? {
            let held = self.verify_one(request, inside, Some(entry), now)?;
            first.get_or_insert(held);
        }
        // A list without entries shows nothing.
        first.ok_or(Rejection::SignatureMissing)
    }

    /// When it was signed, and by which secret.
    fn verify_one(
        &self,
        request: &Received<'_>,
        inside: &Inside<'_>,
        entry: Option<&Tree>,
        now: Time,
    ) -> Result<(Option<Time>, usize), Rejection> {
        if let Some(rules) = &self.jwt {
            return jwt::verify(self, rules, request, inside, now);
        }
        let mut last = Rejection::SignatureMissing;
        for claim in self.read(request, inside, entry)? {
            match self.holds(&claim, request, inside, entry, now) {
                Ok(secret) => return Ok((claim.timestamp.map(|(_, at)| at), secret)),
                Err(rejection) => last = rejection,
            }
        }
        Err(last)
    }

    /// Which secret made this claim.
    fn holds(
        &self,
        claim: &Claim<'_>,
        request: &Received<'_>,
        inside: &Inside<'_>,
        entry: Option<&Tree>,
        now: Time,
    ) -> Result<usize, Rejection> {
        let timestamp = claim.timestamp.as_ref().map(|(text, _)| text.as_ref());
        let urls = if self.urls.is_empty() { &[String::new()][..] } else { &self.urls };
        for url in urls {
            let text = self.text(Sources { request, inside, entry, timestamp, url })?;
            if let (Some(clock), Some((_, signed_at))) = (&self.clock, &claim.timestamp) {
                check_age(clock, *signed_at, now)?;
            }
            let matches = |key: &Key| key.valid(now) && key.power.signs(&text, &claim.signatures);
            if let Some(secret) = self.keys.iter().position(matches) {
                return Ok(secret);
            }
        }
        Err(Rejection::Mismatch)
    }

    /// Reads signatures and timestamps: one claim, or one for each group.
    pub(super) fn read<'x>(
        &'x self,
        request: &'x Received<'x>,
        inside: &'x Inside<'_>,
        entry: Option<&'x Tree>,
    ) -> Result<Vec<Claim<'x>>, Rejection> {
        let values = self.place.read(request, inside, entry).map_err(|fault| match fault {
            Fault::Doubled => Rejection::SignatureDoubled,
            Fault::Shape => Rejection::SignatureMalformed,
            Fault::Unreadable => Rejection::BodyUnreadable,
        })?;
        if values.is_empty() {
            return Err(Rejection::SignatureMissing);
        }
        let mut count = 0;
        let mut malformed = false;
        let mut claims: Vec<Claim<'x>> = Vec::with_capacity(1);
        for value in &values {
            let value = plain_text(value.as_bytes(), SIGNATURE_BYTES_MAX).ok_or(Rejection::SignatureMalformed)?;
            for entries in self.form.entries(value)? {
                count += entries.signatures.len();
                if count > SIGNATURES_MAX {
                    return Err(Rejection::TooManySignatures);
                }
                // Among several, one that cannot be read is no worse than one that is wrong.
                let signatures: Vec<Vec<u8>> = entries.signatures.into_iter().filter_map(|signature| self.decode(signature)).collect();
                if signatures.is_empty() {
                    malformed = true;
                    continue;
                }
                let timestamp = self.timestamp(entries.timestamp, request, inside, entry)?;
                claims.push(Claim { signatures, timestamp });
            }
        }
        if claims.is_empty() {
            return Err(if malformed { Rejection::SignatureMalformed } else { Rejection::SignatureMissing });
        }
        Ok(claims)
    }

    fn timestamp<'x>(
        &'x self,
        field: Option<&str>,
        request: &'x Received<'x>,
        inside: &'x Inside<'_>,
        entry: Option<&'x Tree>,
    ) -> Result<Option<(Cow<'x, str>, Time)>, Rejection> {
        let Some(clock) = &self.clock else { return Ok(None) };
        let text: Cow<'x, str> = match &clock.place {
            None => Cow::Owned(field.ok_or(Rejection::TimestampMissing)?.to_owned()),
            Some(place) => {
                let values = place.read(request, inside, entry).map_err(|fault| match fault {
                    Fault::Doubled => Rejection::TimestampDoubled,
                    Fault::Shape => Rejection::TimestampMalformed,
                    Fault::Unreadable => Rejection::BodyUnreadable,
                })?;
                values.into_iter().next().ok_or(Rejection::TimestampMissing)?
            }
        };
        let at = parse_timestamp(&text, clock.unit)?;
        Ok(Some((text, at)))
    }

    /// A signature's bytes; `None` unless they are written as the scheme says and as many as the algorithm makes.
    pub(super) fn decode(&self, text: &str) -> Option<Vec<u8>> {
        if self.algorithm.kind() == Kind::Bearer {
            let basic = self.algorithm == Algorithm::Basic;
            return if basic { basic_credentials(text) } else { Some(text.as_bytes().to_vec()) };
        }
        let bytes = match self.encoding {
            Encoding::Hex if self.hex_case == HexCase::Lower && text.bytes().any(|byte| byte.is_ascii_uppercase()) => None,
            Encoding::Hex => hex::decode(text).ok(),
            Encoding::Base64 => STANDARD.decode(text).ok(),
            Encoding::Base64url => BASE64URL.decode(text).ok(),
        };
        bytes.filter(|bytes| self.algorithm.fits(bytes.len()))
    }
}

/// `Basic <base64 of user:password>` (RFC 7617); the word in any case.
fn basic_credentials(text: &str) -> Option<Vec<u8>> {
    let (word, credentials) = text.split_once(' ')?;
    if word.eq_ignore_ascii_case("basic") { STANDARD.decode(credentials).ok() } else { None }
}

/// The entries of a list that are signed one by one.
pub(super) fn entries<'x>(each: &Each, inside: &'x Inside<'_>) -> Result<Vec<&'x Tree>, Rejection> {
    let list = inside.json().and_then(|tree| tree.at(&each.list));
    let Ok(Some(Tree::List(list))) = list else { return Err(Rejection::BodyUnreadable) };
    if list.len() > ENTRIES_MAX {
        return Err(Rejection::BodyUnreadable);
    }
    let member = |entry: &'x Tree| entry.at(&each.member).ok().flatten().ok_or(Rejection::SignatureMissing);
    list.iter().map(member).collect()
}

/// Whether the hash that came along is that of the body.
fn check_body_hash(sent: super::body::Found<'_>, body: &[u8]) -> Result<(), Rejection> {
    let sent = sent.ok().flatten().and_then(|text| hex::decode(text.as_bytes()).ok()).unwrap_or_default();
    same_hash(&sent, body).then_some(()).ok_or(Rejection::BodyHashMismatch)
}

/// Whether these bytes are the SHA-256 of the body.
pub(super) fn same_hash(sent: &[u8], body: &[u8]) -> bool {
    let right = Sha256::digest(body);
    <[u8; 32]>::try_from(sent).is_ok_and(|sent| CtOutput::<Sha256>::new(sent.into()) == CtOutput::new(right))
}

pub(super) const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

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

pub(super) fn check_age(clock: &Clock, signed_at: Time, now: Time) -> Result<(), Rejection> {
    let Some(tolerance) = clock.tolerance else { return Ok(()) };
    // In the timestamp's own unit, as senders' libraries count it: 300.9 s after a whole second is 300 s.
    let now = match clock.unit {
        Unit::S | Unit::HttpDate => Time::from_seconds(now.seconds()),
        Unit::Ms | Unit::SOrMs | Unit::Rfc3339 => Time::from_millis(now.millis()),
    };
    if now.since(signed_at) > tolerance {
        Err(Rejection::TimestampStale)
    } else if signed_at.since(now) > tolerance {
        Err(Rejection::TimestampAhead)
    } else {
        Ok(())
    }
}
