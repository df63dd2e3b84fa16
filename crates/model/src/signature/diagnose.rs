//! What is probably wrong, for operators: most rejected requests are genuine ones of a source that is set up wrongly.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use super::body::Inside;
use super::guess::{Guess, bodies, urls};
use super::key::{Key, Piece, Power, decode_key};
use super::place::{Form, Place};
use super::scheme::{Algorithm, Encoding, HexCase, KeyEncoding, Kind, Unit};
use super::text::Sources;
use super::verify::{entries, plain_text};
use super::{Rejection, Verifier};
use crate::{Received, Time};

/// Bodies above this are not tried in variants.
const BODY_BYTES_MAX: usize = 2 << 20;
/// Most pieces of the signature's text that are tried as signatures.
const CANDIDATES_MAX: usize = 16;
/// Most bytes that one diagnosis hashes: about a second's work at worst.
const HASHED_BYTES_MAX: usize = 256 << 20;
/// Most other sources that are asked.
const SOURCES_MAX: usize = 64;

impl Verifier {
    /// Says in a few sentences why a request was rejected, and what would have matched. Holds no secret, no signature
    /// and nothing of the body.
    ///
    /// Costs some dozens of hashes over the body (not tried above 2 MiB): for the bounded list that operators see,
    /// not for every request.
    pub fn diagnose(&self, request: &Received<'_>, rejection: Rejection, now: Time) -> String {
        self.diagnose_among(request, rejection, now, std::iter::empty())
    }

    /// The same, and whether the request belongs to one of the other sources (by name; at most 64 are asked).
    pub fn diagnose_among<'v>(
        &self,
        request: &Received<'_>,
        rejection: Rejection,
        now: Time,
        others: impl Iterator<Item = (&'v str, &'v Verifier)>,
    ) -> String {
        let own = match rejection {
            Rejection::SignatureMissing => self.elsewhere(request),
            Rejection::SignatureMalformed | Rejection::Mismatch | Rejection::NoSecret => self.what_matches(request),
            Rejection::TimestampStale | Rejection::TimestampAhead => self.age(request, now),
            Rejection::TimestampMalformed => self.other_unit(request),
            Rejection::SignatureDoubled
            | Rejection::TooManySignatures
            | Rejection::TimestampMissing
            | Rejection::TimestampDoubled
            | Rejection::SignedHeaderMissing
            | Rejection::SignedHeaderDoubled
            | Rejection::SignedHeaderMalformed
            | Rejection::BodyUnreadable
            | Rejection::BodyHashMismatch
            | Rejection::ClaimMismatch
            | Rejection::HandshakeMismatch
            | Rejection::AddressNotAllowed => None,
        };
        let foreign = || if request.body.len() > BODY_BYTES_MAX { None } else { self.of_another(request, now, others) };
        let known = own.is_some() && rejection != Rejection::SignatureMissing;
        let more: Vec<String> = [own, if known { None } else { foreign() }].into_iter().flatten().collect();
        [vec![rejection.sentence().to_owned()], more].concat().join(" ")
    }

    /// Whether another source takes the request, or another source's secret gives its signature.
    fn of_another<'v>(&self, request: &Received<'_>, now: Time, others: impl Iterator<Item = (&'v str, &'v Verifier)>) -> Option<String> {
        for (name, other) in others.take(SOURCES_MAX) {
            if other.signed_here(request, now) {
                return Some(format!(
                    "It is signed as the source `{name}` is: the vendor sends to this source's address instead of that one's."
                ));
            }
            let mut mixed = self.clone();
            mixed.keys = other.keys.iter().filter_map(|key| self.own_use(key)).collect();
            if !mixed.keys.is_empty() && mixed.signed_here(request, now) {
                return Some(format!("The secret of the source `{name}` would match: were the two sources' secrets mixed up?"));
            }
        }
        None
    }

    /// Another source's secret, taken as this source takes its own.
    fn own_use(&self, key: &Key) -> Option<Key> {
        let bytes = decode_key(&key.secret, self.key_encoding, self.key_prefix.as_deref())?;
        let power = if self.jwt.is_some() { return None } else { Power::new(self.algorithm, &bytes)? };
        Some(Key { secret: key.secret.clone(), power })
    }

    /// Whether a request is signed by one of the secrets, at whatever time.
    fn signed_here(&self, request: &Received<'_>, now: Time) -> bool {
        let mut any_time = self.clone();
        if let Some(clock) = &mut any_time.clock {
            clock.tolerance = None;
        }
        any_time.verify(request, now).is_ok()
    }

    fn age(&self, request: &Received<'_>, now: Time) -> Option<String> {
        if self.jwt.is_some() {
            return Some("The token has ended, or was issued too long ago or ahead of our clock.".to_owned());
        }
        let inside = Inside::new(request);
        let entry = self.each.as_ref().and_then(|each| entries(each, &inside).ok()?.first().copied());
        let (_, signed_at) = self.read(request, &inside, entry).ok()?.pop()?.timestamp?;
        let seconds = now.since(signed_at).max(signed_at.since(now)).as_secs();
        let side = if signed_at <= now { "before" } else { "after" };
        let verdict = if self.signed_here(request, now) { "is right." } else { "is wrong, too." };
        Some(format!("It was signed {seconds} s {side} it came. The signature itself {verdict}"))
    }

    fn other_unit(&self, request: &Received<'_>) -> Option<String> {
        let text = self.timestamp_text(request)?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let unit = self.clock.as_ref()?.unit;
        let looks = |what: &str, unit: &str| Some(format!("It looks like {what}: the scheme may need `unit = \"{unit}\"`."));
        match unit {
            Unit::S if digits && text.len() == 13 => looks("milliseconds", "ms"),
            Unit::Rfc3339 | Unit::HttpDate if digits && text.len() == 13 => looks("milliseconds", "ms"),
            Unit::Rfc3339 | Unit::HttpDate if digits => looks("seconds", "s"),
            Unit::S | Unit::Ms | Unit::SOrMs | Unit::HttpDate if Time::parse_rfc3339(&text).is_some() => {
                looks("a date and time", "rfc3339")
            }
            Unit::S | Unit::Ms | Unit::SOrMs | Unit::Rfc3339 if text.ends_with(" GMT") => looks("an HTTP date", "http-date"),
            Unit::S | Unit::Ms | Unit::SOrMs | Unit::Rfc3339 | Unit::HttpDate => None,
        }
    }

    /// Tries what is commonly set up wrongly, one thing at a time.
    fn what_matches(&self, request: &Received<'_>) -> Option<String> {
        if request.body.len() > BODY_BYTES_MAX || self.jwt.is_some() || self.each.is_some() {
            return None;
        }
        let candidates = self.candidates(request);
        let mut budget = HASHED_BYTES_MAX;
        for algorithm in self.algorithms() {
            let signatures: Vec<Vec<u8>> = candidates.iter().filter(|bytes| algorithm.fits(bytes.len())).cloned().collect();
            if signatures.is_empty() {
                continue;
            }
            for (at, key) in self.keys.iter().enumerate() {
                for (key_guess, bytes) in self.key_guesses(key) {
                    let Some(power) = Power::new(algorithm, &bytes) else { continue };
                    for (text_guess, text) in self.text_guesses(request) {
                        let one_thing = key_guess.is_none() || text_guess.is_none();
                        budget = budget.checked_sub(if one_thing { request.body.len() } else { 0 })?;
                        if one_thing && power.signs(&text, &signatures) {
                            return Some(self.explain(at, algorithm, key_guess.as_deref(), text_guess.as_deref()));
                        }
                    }
                }
            }
        }
        None
    }

    /// The scheme's own algorithm and those it may be taken for.
    fn algorithms(&self) -> Vec<Algorithm> {
        let keyed = [Algorithm::HmacSha1, Algorithm::HmacSha256, Algorithm::HmacSha384, Algorithm::HmacSha512];
        match self.algorithm.kind() {
            Kind::Mac(_) => keyed.to_vec(),
            Kind::Hash(_) | Kind::Public(_) | Kind::Bearer => vec![self.algorithm],
        }
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
            let words = self.encoding_words();
            let written = match &self.form {
                Form::Plain { prefix, .. } => format!("`{prefix}` and then {words}"),
                Form::Kv { signature, assign, .. } => format!("`{signature}{assign}` and then {words}"),
                Form::Tagged { tag, .. } => format!("`{tag},` and then {words}"),
                Form::List { .. } => words.to_owned(),
            };
            return format!("Secret {secret} gives this very signature; the scheme wants it written as {written}.");
        }
        format!("Secret {secret} would match {}.", differs.join(", and "))
    }

    fn encoding_words(&self) -> &'static str {
        match (self.algorithm.kind(), self.encoding, self.hex_case) {
            (Kind::Bearer, _, _) => "the secret as it is",
            (_, Encoding::Hex, HexCase::Lower) => "lower-case hex",
            (_, Encoding::Hex, HexCase::Any) => "hex",
            (_, Encoding::Base64, _) => "padded base64",
            (_, Encoding::Base64url, _) => "base64url",
        }
    }

    /// Everything where the signature is that could be one, in any layout and encoding.
    fn candidates(&self, request: &Received<'_>) -> Vec<Vec<u8>> {
        let inside = Inside::new(request);
        let values = self.place.read(request, &inside, None).unwrap_or_default();
        let values = values.iter().filter_map(|value| plain_text(value.as_bytes(), 4096));
        let entries = values.flat_map(|value| value.split([',', ';', ' ', '&'])).filter(|entry| !entry.is_empty());
        let texts = entries.flat_map(|entry| [Some(entry), entry.split_once(['=', ':', '|']).map(|(_, text)| text)]).flatten();
        let bearer = self.algorithm.kind() == Kind::Bearer;
        let read = |text: &str| if bearer { token_somehow(text) } else { decode_somehow(text) };
        texts.flat_map(read).take(CANDIDATES_MAX).collect()
    }

    fn key_guesses(&self, key: &Key) -> Vec<Guess<Vec<u8>>> {
        let prefix = self.key_prefix.as_deref();
        let set_up = decode_key(&key.secret, self.key_encoding, prefix);
        let mut guesses: Vec<Guess<Vec<u8>>> = set_up.into_iter().map(|bytes| (None, bytes)).collect();
        if !matches!(self.algorithm.kind(), Kind::Mac(_)) {
            return guesses;
        }
        let usual = prefix.unwrap_or("whsec_");
        let others: [(&'static str, Option<Vec<u8>>); 6] = [
            ("with the secret taken as it is (`key = \"utf8\"`)", decode_key(&key.secret, KeyEncoding::Utf8, None)),
            ("with the secret taken as it is, without its prefix", decode_key(&key.secret, KeyEncoding::Utf8, Some(usual))),
            (
                "with `whsec_` before the secret: was the prefix left out when it was copied?",
                Some([usual.as_bytes(), key.secret.expose()].concat()),
            ),
            ("with the secret decoded (`key = \"base64\"`)", decode_key(&key.secret, KeyEncoding::Base64, Some(usual))),
            ("with the secret decoded (`key = \"hex\"`)", decode_key(&key.secret, KeyEncoding::Hex, prefix)),
            ("with the SHA-1 of the secret (`key = \"sha1\"`)", decode_key(&key.secret, KeyEncoding::Sha1, None)),
        ];
        for (words, bytes) in others {
            let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else { continue };
            if guesses.iter().all(|(_, known)| *known != bytes) {
                guesses.push((Some(Cow::Borrowed(words)), bytes));
            }
        }
        guesses
    }

    fn text_guesses<'a>(&'a self, request: &Received<'a>) -> Vec<Guess<Vec<Piece<'a>>>> {
        let timestamp = self.timestamp_text(request);
        let mut guesses: Vec<Guess<Vec<Piece<'a>>>> = Vec::new();
        let mut guess = |words: Option<Cow<'static, str>>, request: &Received<'_>, url: &str| {
            let inside = Inside::new(request);
            let from = Sources { request, inside: &inside, entry: None, timestamp: timestamp.as_deref(), url };
            if let Ok(text) = self.text(from) {
                guesses.push((words, text.into_iter().map(Piece::into_owned).collect()));
            }
        };
        let urls = urls(&self.urls, request);
        let configured = self.urls.first().map_or("", String::as_str);
        for (words, body) in bodies(request.body) {
            guess(words, &Received { body: &body, ..*request }, configured);
        }
        for (words, url) in urls.into_iter().skip(1) {
            guess(words, request, &url);
        }
        if !self.urls.is_empty() && request.target.contains('?') {
            let target = request.target.split_once('?').map_or(request.target, |(path, _)| path);
            guess(Some("over the address without its query string".into()), &Received { target, ..*request }, configured);
        }
        if matches!(self.algorithm.kind(), Kind::Mac(_) | Kind::Public(_)) {
            guesses.push((Some("over the body alone (`signed = \"{body}\"`)".into()), vec![Piece::of(request.body)]));
        }
        guesses
    }

    /// The timestamp as it came, from a request that may be wrong otherwise.
    fn timestamp_text(&self, request: &Received<'_>) -> Option<String> {
        let clock = self.clock.as_ref()?;
        let inside = Inside::new(request);
        let first = |place: &Place| {
            let values = place.read(request, &inside, None).ok()?;
            plain_text(values.first()?.as_bytes(), 4096).map(str::to_owned)
        };
        if let Some(place) = &clock.place {
            return first(place).filter(|text| text.len() <= 64);
        }
        let value = first(&self.place)?;
        let text = match &self.form {
            Form::Kv { separator, assign, timestamp: Some(field), .. } => {
                let mut entries = value.split(separator.as_str()).filter_map(|entry| entry.trim().split_once(assign.as_str()));
                entries.find(|(held, _)| held == field).map(|(_, text)| text)
            }
            Form::List { separator, timestamp: Some(at) } => value.split(separator.as_str()).nth(*at),
            Form::Kv { timestamp: None, .. } | Form::List { timestamp: None, .. } | Form::Plain { .. } | Form::Tagged { .. } => None,
        };
        text.map(str::to_owned)
    }

    /// Where the signature was looked for, and the names of other headers of the request that look like one: at most three, cut to 64 bytes.
    fn elsewhere(&self, request: &Received<'_>) -> Option<String> {
        const WORDS: [&str; 7] = ["signature", "hmac", "-sig", "digest", "-hash", "token", "authorization"];
        let place = match &self.place {
            Place::Headers(_) => None,
            Place::Query(name) => Some(format!("It was looked for in the parameter `{name}` of the query string.")),
            Place::Form(name) => Some(format!("It was looked for in the form's field `{name}`.")),
            Place::Json(path) => Some(format!("It was looked for in the body's member `{}`.", path.shown())),
        };
        let looks = |name: &&str| WORDS.iter().any(|word| name.contains(word)) && name.len() <= 64;
        let names: Vec<String> =
            request.headers.iter().map(|(name, _)| name.as_str()).filter(looks).take(3).map(|name| format!("`{name}`")).collect();
        let names =
            (!names.is_empty()).then(|| format!("The request has {}: is this the right source, or the right `header`?", names.join(", ")));
        let said: Vec<String> = [place, names].into_iter().flatten().collect();
        (!said.is_empty()).then(|| said.join(" "))
    }
}

/// Reads a signature in whatever encoding gives the length of one.
fn decode_somehow(text: &str) -> Vec<Vec<u8>> {
    let readers = [
        hex::decode(text).ok(),
        STANDARD.decode(text).ok(),
        URL_SAFE.decode(text).ok(),
        STANDARD_NO_PAD.decode(text).ok(),
        URL_SAFE_NO_PAD.decode(text).ok(),
    ];
    let fits = |bytes: &Vec<u8>| {
        let bearer = |algorithm: &&Algorithm| algorithm.kind() != Kind::Bearer;
        Algorithm::ALL.iter().filter(bearer).any(|algorithm| algorithm.fits(bytes.len()))
    };
    readers.into_iter().flatten().find(fits).into_iter().collect()
}

/// Reads a token as it is, and decoded.
fn token_somehow(text: &str) -> Vec<Vec<u8>> {
    let decoded = STANDARD.decode(text).ok().filter(|bytes| !bytes.is_empty());
    [Some(text.as_bytes().to_vec()), decoded].into_iter().flatten().collect()
}
