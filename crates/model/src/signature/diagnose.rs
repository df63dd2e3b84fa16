//! What is probably wrong, for operators: most rejected requests are genuine ones of a source that is set up wrongly.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use super::compile::{Form, Key, decode_key};
use super::verify::{MacState, plain_text, read_header};
use super::{Algorithm, Encoding, HexCase, KeyEncoding, Rejection, Unit, Verifier};
use crate::{Received, Time};

/// Bodies above this are not tried in variants.
const BODY_BYTES_MAX: usize = 2 << 20;
/// Most pieces of the header that are tried as signatures.
const CANDIDATES_MAX: usize = 16;

/// One thing that may be different from what the scheme says.
type Guess<T> = (Option<&'static str>, T);

impl Verifier {
    /// Says in a few sentences why a request was rejected, and what would have matched. Holds no secret, no signature
    /// and nothing of the body.
    ///
    /// Costs some dozens of hashes over the body (not tried above 2 MiB): for the bounded list that operators see,
    /// not for every request.
    pub fn diagnose(&self, request: &Received<'_>, rejection: Rejection, now: Time) -> String {
        let more = match rejection {
            Rejection::SignatureMissing => other_headers(request),
            Rejection::SignatureMalformed | Rejection::Mismatch | Rejection::NoSecret => self.what_matches(request),
            Rejection::TimestampStale | Rejection::TimestampAhead => self.age(request, now),
            Rejection::TimestampMalformed => self.other_unit(request),
            Rejection::SignatureDoubled
            | Rejection::TooManySignatures
            | Rejection::TimestampMissing
            | Rejection::TimestampDoubled
            | Rejection::SignedHeaderMissing
            | Rejection::SignedHeaderDoubled
            | Rejection::SignedHeaderMalformed => None,
        };
        match more {
            Some(more) => format!("{} {more}", rejection.sentence()),
            None => rejection.sentence().to_owned(),
        }
    }

    fn age(&self, request: &Received<'_>, now: Time) -> Option<String> {
        let claim = self.read(request).ok()?;
        let (timestamp, signed_at) = claim.timestamp?;
        let text = self.text(request, Some(timestamp)).ok()?;
        let right = self.keys.iter().any(|key| key.state.signs(&text, &claim.signatures));
        let seconds = now.since(signed_at).max(signed_at.since(now)).as_secs();
        let side = if signed_at <= now { "before" } else { "after" };
        let verdict = if right { "is right." } else { "is wrong, too." };
        Some(format!("It was signed {seconds} s {side} it came. The signature itself {verdict}"))
    }

    fn other_unit(&self, request: &Received<'_>) -> Option<String> {
        let text = self.timestamp_text(request)?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = self.clock.as_ref().is_some_and(|clock| clock.unit == Unit::S);
        (digits && seconds && text.len() == 13).then(|| "It looks like milliseconds: the scheme may need `unit = \"ms\"`.".to_owned())
    }

    /// Tries what is commonly set up wrongly, one thing at a time.
    fn what_matches(&self, request: &Received<'_>) -> Option<String> {
        if request.body.len() > BODY_BYTES_MAX {
            return None;
        }
        let candidates = self.candidates(request);
        for algorithm in Algorithm::ALL {
            let signatures: Vec<Vec<u8>> = candidates.iter().filter(|bytes| bytes.len() == algorithm.length()).cloned().collect();
            if signatures.is_empty() {
                continue;
            }
            for (at, key) in self.keys.iter().enumerate() {
                for (key_guess, bytes) in self.key_guesses(key) {
                    let Some(state) = MacState::new(algorithm, &bytes) else { continue };
                    for (text_guess, text) in self.text_guesses(request) {
                        let pieces: Vec<&[u8]> = text.iter().map(AsRef::as_ref).collect();
                        if (key_guess.is_none() || text_guess.is_none()) && state.signs(&pieces, &signatures) {
                            return Some(self.explain(at, algorithm, key_guess, text_guess));
                        }
                    }
                }
            }
        }
        None
    }

    fn explain(&self, at: usize, algorithm: Algorithm, key: Option<&str>, text: Option<&str>) -> String {
        let mut differs: Vec<String> = [key, text].into_iter().flatten().map(str::to_owned).collect();
        if algorithm != self.algorithm {
            differs.push(format!("with {} instead of {}", algorithm.as_str(), self.algorithm.as_str()));
        }
        if let Some(end) = self.keys.get(at).and_then(|key| key.secret.not_after()) {
            differs.push(format!("with a secret that is valid until {end}"));
        }
        let secret = at + 1;
        if differs.is_empty() {
            let written = match &self.form {
                Form::Plain { prefix } => format!("`{prefix}` and then {}", self.encoding_words()),
                Form::Kv { signature, .. } => format!("`{signature}=` and then {}", self.encoding_words()),
                Form::Tagged { tag, .. } => format!("`{tag},` and then {}", self.encoding_words()),
            };
            return format!("Secret {secret} gives this very signature; the scheme wants it written as {written}.");
        }
        format!("Secret {secret} would match {}.", differs.join(", and "))
    }

    fn encoding_words(&self) -> &'static str {
        match (self.encoding, self.hex_case) {
            (Encoding::Hex, HexCase::Lower) => "lower-case hex",
            (Encoding::Hex, HexCase::Any) => "hex",
            (Encoding::Base64, _) => "padded base64",
            (Encoding::Base64url, _) => "base64url",
        }
    }

    /// Everything in the signature's header that could be a signature, in any layout and encoding.
    fn candidates(&self, request: &Received<'_>) -> Vec<Vec<u8>> {
        let value = read_header(request, self.header.iter().map(String::as_str)).ok().flatten();
        let Some(value) = value.and_then(|value| plain_text(value, 4096)) else { return Vec::new() };
        let entries = value.split([',', ';', ' ']).filter(|entry| !entry.is_empty());
        let texts = entries.flat_map(|entry| [Some(entry), entry.split_once(['=', ':']).map(|(_, text)| text)]).flatten();
        texts.filter_map(decode_somehow).take(CANDIDATES_MAX).collect()
    }

    fn key_guesses(&self, key: &Key) -> Vec<Guess<Vec<u8>>> {
        let prefix = self.key_prefix.as_deref();
        let set_up = decode_key(&key.secret, self.key_encoding, prefix);
        let mut guesses: Vec<Guess<Vec<u8>>> = set_up.into_iter().map(|bytes| (None, bytes)).collect();
        let others: [Guess<(KeyEncoding, Option<&str>)>; 4] = [
            (Some("with the secret taken as it is (`key = \"utf8\"`)"), (KeyEncoding::Utf8, None)),
            (Some("with the secret taken as it is, without its prefix"), (KeyEncoding::Utf8, Some(prefix.unwrap_or("whsec_")))),
            (Some("with the secret decoded (`key = \"base64\"`)"), (KeyEncoding::Base64, Some(prefix.unwrap_or("whsec_")))),
            (Some("with the secret decoded (`key = \"hex\"`)"), (KeyEncoding::Hex, prefix)),
        ];
        for (words, (encoding, prefix)) in others {
            let Some(bytes) = decode_key(&key.secret, encoding, prefix).filter(|bytes| !bytes.is_empty()) else { continue };
            if guesses.iter().all(|(_, known)| *known != bytes) {
                guesses.push((words, bytes));
            }
        }
        guesses
    }

    fn text_guesses<'a>(&'a self, request: &Received<'a>) -> Vec<Guess<Vec<Cow<'a, [u8]>>>> {
        let timestamp = self.timestamp_text(request);
        let mut guesses = Vec::new();
        for (words, body) in body_guesses(request.body) {
            let changed = Received { body: &body, ..*request };
            let Ok(text) = self.text(&changed, timestamp) else { continue };
            guesses.push((words, text.into_iter().map(|piece| Cow::Owned(piece.to_vec())).collect()));
        }
        guesses.push((Some("over the body alone (`signed = \"{body}\"`)"), vec![Cow::Borrowed(request.body)]));
        guesses
    }

    /// The timestamp as it came, from a header that may be wrong otherwise.
    fn timestamp_text<'a>(&self, request: &Received<'a>) -> Option<&'a str> {
        let clock = self.clock.as_ref()?;
        if !clock.header.is_empty() {
            let value = read_header(request, clock.header.iter().map(String::as_str)).ok().flatten()?;
            return plain_text(value, 64);
        }
        let Form::Kv { separator, timestamp: Some(field), .. } = &self.form else { return None };
        let value = read_header(request, self.header.iter().map(String::as_str)).ok().flatten()?;
        let mut entries = plain_text(value, 4096)?.split(separator.as_str()).filter_map(|entry| entry.trim().split_once('='));
        entries.find(|(held, _)| held == field).map(|(_, text)| text)
    }
}

/// The body as it came, then as it may have been before something on its way touched it.
fn body_guesses(body: &[u8]) -> Vec<Guess<Cow<'_, [u8]>>> {
    const BOM: &[u8] = b"\xef\xbb\xbf";
    let with = |end: &[u8]| Cow::Owned([body, end].concat());
    let mut guesses = vec![(None, Cow::Borrowed(body))];
    if body.trim_ascii() != body {
        guesses.push((
            Some("over the body without the white space around it: something adds it on the way"),
            Cow::Borrowed(body.trim_ascii()),
        ));
    }
    if let Some(rest) = body.strip_prefix(BOM) {
        guesses.push((Some("over the body without its byte order mark: something adds it on the way"), Cow::Borrowed(rest)));
    }
    guesses.push((Some("over the body with a line feed at its end: something trims it on the way"), with(b"\n")));
    guesses.push((Some("over the body with a carriage return and line feed at its end: something trims it on the way"), with(b"\r\n")));
    guesses
}

/// Reads a signature in whatever encoding gives the length of a hash.
fn decode_somehow(text: &str) -> Option<Vec<u8>> {
    let readers = [
        hex::decode(text).ok(),
        STANDARD.decode(text).ok(),
        URL_SAFE.decode(text).ok(),
        STANDARD_NO_PAD.decode(text).ok(),
        URL_SAFE_NO_PAD.decode(text).ok(),
    ];
    readers.into_iter().flatten().find(|bytes| Algorithm::ALL.iter().any(|algorithm| algorithm.length() == bytes.len()))
}

/// Names other headers of the request that look like signatures. Names only: at most three, cut to 64 bytes.
fn other_headers(request: &Received<'_>) -> Option<String> {
    let looks = |name: &&str| ["signature", "hmac", "-sig"].iter().any(|word| name.contains(word));
    let names = request.headers.iter().map(|(name, _)| name.as_str()).filter(looks).filter(|name| name.len() <= 64);
    let names: Vec<String> = names.take(3).map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        None
    } else {
        Some(format!("The request has {}: is this the right source, or the right `header`?", names.join(", ")))
    }
}
