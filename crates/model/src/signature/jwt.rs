//! JSON Web Tokens (RFC 7519) as some vendors send them instead of a signature: three parts in base64url with dots between them.
//!
//! The token's own word for its algorithm chooses among those that the scheme lists and never beyond them; keyed and public algorithms are never
//! listed together, so that a public key cannot be taken for a secret.

use std::time::Duration;

use base64::Engine as _;
use serde_json::Value;

use super::body::{Fault, Inside};
use super::compile::Work;
use super::key::{Piece, Power, PublicKey};
use super::scheme::{Algorithm, JwtRules};
use super::verify::{BASE64URL, same_hash};
use super::{Rejection, SignError, Verifier};
use crate::secret::Secret;
use crate::{Received, Time};

/// Most bytes of a token.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// How far two clocks may be apart.
const LEEWAY: Duration = Duration::from_secs(60);
/// How long a token of ours is valid.
const VALID: Duration = Duration::from_secs(300);

const ALGORITHMS: [(&str, Algorithm); 6] = [
    ("HS256", Algorithm::HmacSha256),
    ("HS384", Algorithm::HmacSha384),
    ("HS512", Algorithm::HmacSha512),
    ("RS256", Algorithm::RsaSha256),
    ("ES256", Algorithm::EcdsaP256Sha256),
    ("EdDSA", Algorithm::Ed25519),
];

/// What a token must say.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    body_hash_claim: Option<String>,
    url_claim: Option<String>,
    issuer: Option<String>,
    audience: Option<String>,
    /// `None`: any age.
    tolerance: Option<Duration>,
}

impl Rules {
    pub(super) fn compile(work: &mut Work<'_>) -> Option<Self> {
        let rules = match (&work.scheme.jwt, work.scheme.algorithm) {
            (Some(rules), Algorithm::Jwt) => rules,
            (None, Algorithm::Jwt) => {
                work.problem("jwt", "is missing: say which algorithms are taken, `[signature.jwt]` with `algorithms = [\"HS256\"]`");
                return None;
            }
            (Some(_), _) => {
                work.problem("jwt", "is only for `algorithm = \"jwt\"`: remove it");
                return None;
            }
            (None, _) => return None,
        };
        let known = |name: &String| ALGORITHMS.iter().any(|(held, _)| held == name);
        if rules.algorithms.is_empty() || !rules.algorithms.iter().all(known) {
            work.problem("jwt", "`algorithms` have to be some of HS256, HS384, HS512 (keyed), or of RS256, ES256, EdDSA (public keys)");
        }
        let public = rules.algorithms.iter().filter(|name| !name.starts_with("HS")).count();
        if public > 1 || public == 1 && rules.algorithms.len() > 1 {
            work.problem("jwt", "`algorithms` have to be either keyed ones or a single one with a public key, as a key fits only one kind");
        }
        if work.scheme.timestamp.is_some() {
            work.problem("timestamp", "is not for tokens, which say their own time: remove it");
        }
        let tolerance = work.tolerance("jwt", rules.tolerance.as_deref());
        let JwtRules { body_hash_claim, url_claim, issuer, audience, .. } = rules.clone();
        Some(Self { body_hash_claim, url_claim, issuer, audience, tolerance })
    }

    /// Whether the key is a public one.
    pub(super) fn is_public(rules: &JwtRules) -> bool {
        rules.algorithms.iter().any(|name| !name.starts_with("HS"))
    }

    /// What a key can do under these rules.
    pub(super) fn power(rules: &JwtRules, key: &[u8]) -> Option<Power> {
        let wanted = ALGORITHMS.iter().filter(|(name, _)| rules.algorithms.iter().any(|held| held == name));
        let powers: Option<Vec<_>> = wanted.map(|&(name, algorithm)| Some((name, Power::new(algorithm, key)?))).collect();
        powers.filter(|powers| !powers.is_empty()).map(Power::Jwt)
    }
}

/// When a token was issued, and which secret signed it.
pub(super) fn verify(
    by: &Verifier,
    rules: &Rules,
    request: &Received<'_>,
    inside: &Inside<'_>,
    now: Time,
) -> Result<(Option<Time>, usize), Rejection> {
    let values = by.place.read(request, inside, None).map_err(|fault| match fault {
        Fault::Doubled => Rejection::SignatureDoubled,
        Fault::Shape => Rejection::SignatureMalformed,
        Fault::Unreadable => Rejection::BodyUnreadable,
    })?;
    let [value] = values.as_slice() else { return Err(Rejection::SignatureMissing) };
    if value.len() > TOKEN_BYTES_MAX {
        return Err(Rejection::SignatureMalformed);
    }
    let entries = by.form.entries(value)?;
    let token = entries.first().and_then(|entries| entries.signatures.first()).ok_or(Rejection::SignatureMissing)?;
    let (signed, signature) = token.rsplit_once('.').ok_or(Rejection::SignatureMalformed)?;
    let (header, claims) = signed.split_once('.').ok_or(Rejection::SignatureMalformed)?;
    let header = object(header)?;
    let signature = vec![BASE64URL.decode(signature).map_err(|_| Rejection::SignatureMalformed)?];
    let named = header.get("alg").and_then(Value::as_str).unwrap_or_default();
    // `crit` names what must be understood (RFC 7515, section 4.1.11), and there is nothing here that understands it.
    if header.get("crit").is_some() {
        return Err(Rejection::ClaimMismatch);
    }
    let text = [Piece::of(signed.as_bytes())];
    let mut known = false;
    let mut matches = |power: &Power| {
        let Power::Jwt(powers) = power else { return false };
        let fitting = powers.iter().find(|(name, _)| *name == named);
        known |= fitting.is_some();
        fitting.is_some_and(|(_, power)| power.signs(&text, &signature))
    };
    let secret = by.keys.iter().position(|key| key.valid(now) && matches(&key.power));
    let Some(secret) = secret else { return Err(if known { Rejection::Mismatch } else { Rejection::ClaimMismatch }) };
    let claims = object(claims)?;
    let issued = rules.check(&claims, by, request, now)?;
    Ok((issued, secret))
}

fn object(part: &str) -> Result<Value, Rejection> {
    let bytes = BASE64URL.decode(part).map_err(|_| Rejection::SignatureMalformed)?;
    serde_json::from_slice(&bytes).ok().filter(Value::is_object).ok_or(Rejection::SignatureMalformed)
}

impl Rules {
    /// When the token was issued, if everything else it says is as it must be.
    fn check(&self, claims: &Value, by: &Verifier, request: &Received<'_>, now: Time) -> Result<Option<Time>, Rejection> {
        let seconds = |name: &str| {
            claims.get(name).and_then(Value::as_f64).filter(|at| (0.0..1e12).contains(at)).map(|at| Time::from_seconds(at as i64))
        };
        let (issued, expires, not_before) = (seconds("iat"), seconds("exp"), seconds("nbf"));
        for at in [issued, not_before].into_iter().flatten() {
            if at.since(now) > LEEWAY {
                return Err(Rejection::TimestampAhead);
            }
        }
        match (expires, issued, self.tolerance) {
            (Some(expires), _, _) if now.since(expires) > LEEWAY => return Err(Rejection::TimestampStale),
            (None, Some(issued), Some(tolerance)) if now.since(issued) > tolerance => return Err(Rejection::TimestampStale),
            (None, None, Some(_)) => return Err(Rejection::TimestampMissing),
            (Some(_), _, _) | (None, _, _) => {}
        }
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let right = self.issuer.as_deref().is_none_or(|issuer| text("iss") == Some(issuer))
            && self.audience.as_deref().is_none_or(|audience| holds(claims.get("aud"), audience))
            && self.url_claim.as_deref().is_none_or(|claim| {
                let query = request.target.find('?').map_or("", |at| &request.target[at..]);
                text(claim).is_some_and(|held| by.urls.iter().any(|url| held == url || held.strip_prefix(url.as_str()) == Some(query)))
            });
        if !right {
            return Err(Rejection::ClaimMismatch);
        }
        if let Some(claim) = &self.body_hash_claim {
            let sent = text(claim).and_then(|text| hex::decode(text).ok()).unwrap_or_default();
            if !same_hash(&sent, request.body) {
                return Err(Rejection::BodyHashMismatch);
            }
        }
        Ok(issued)
    }
}

/// Whether a claim is this text, or a list that holds it.
fn holds(claim: Option<&Value>, text: &str) -> bool {
    let is = |value: &Value| value.as_str() == Some(text);
    claim.is_some_and(|claim| is(claim) || claim.as_array().is_some_and(|list| list.iter().any(is)))
}

/// A token such as the vendor would send with this request.
pub(super) fn sign(
    by: &Verifier,
    rules: &Rules,
    request: &Received<'_>,
    power: &Power,
    secret: &Secret,
    now: Time,
) -> Result<String, SignError> {
    let Power::Jwt(powers) = power else { return Err(SignError::NoSecret) };
    let (name, power) = powers.first().ok_or(SignError::NoSecret)?;
    let mut claims = serde_json::Map::new();
    claims.insert("iat".to_owned(), now.seconds().into());
    claims.insert("exp".to_owned(), (now + VALID).seconds().into());
    let texts = [
        (Some("iss".to_owned()), rules.issuer.clone()),
        (Some("aud".to_owned()), rules.audience.clone()),
        (rules.url_claim.clone(), by.urls.first().cloned()),
        (rules.body_hash_claim.clone(), Some(hash(request.body))),
    ];
    for (claim, text) in texts {
        if let (Some(claim), Some(text)) = (claim, text) {
            claims.insert(claim, text.into());
        }
    }
    let part = |value: &Value| BASE64URL.encode(value.to_string());
    let header = serde_json::json!({"alg": name, "typ": "JWT"});
    let signed = format!("{}.{}", part(&header), part(&Value::Object(claims)));
    let mut signature = power.sign(&[Piece::of(signed.as_bytes())], secret).ok_or(SignError::PublicKey)?;
    if *name == "ES256" {
        signature = PublicKey::fixed(&signature).ok_or(SignError::PublicKey)?;
    }
    Ok(format!("{signed}.{}", BASE64URL.encode(signature)))
}

fn hash(body: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(Sha256::digest(body))
}
