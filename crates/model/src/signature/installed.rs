//! What an installation adds to a scheme: its secrets, and its address.

use super::compile::Work;
use super::jwt::Rules;
use super::key::{Key, Power, decode_key};
use super::scheme::{Algorithm, KeyEncoding, Kind, PublicKind};
use crate::secret::{SECRET_BYTES_MIN, Secret};

/// Most secrets of a source: a rotation needs two.
const SECRETS_MAX: usize = 8;

impl Work<'_> {
    pub(super) fn keys(&mut self, secrets: &[Secret]) -> Vec<Key> {
        let scheme = self.scheme;
        if scheme.key_prefix.is_some() && matches!(scheme.key, KeyEncoding::Utf8 | KeyEncoding::Pem) {
            self.problem("key_prefix", "is only for `key = \"base64\"`, `\"hex\"` and `\"sha1\"`: remove it, the whole text is the key");
        }
        let public = matches!(scheme.algorithm.kind(), Kind::Public(_)) || scheme.jwt.as_ref().is_some_and(Rules::is_public);
        match (public, scheme.key) {
            (true, KeyEncoding::Utf8 | KeyEncoding::Sha1) => {
                self.problem("key", "of a public key is `pem`, `base64` or `hex`: say how the vendor shows it")
            }
            (false, KeyEncoding::Pem) => self.problem("key", "`pem` is only for public keys"),
            (false, KeyEncoding::Base64 | KeyEncoding::Hex | KeyEncoding::Sha1)
                if scheme.algorithm.kind() == Kind::Bearer && scheme.algorithm != Algorithm::Jwt =>
            {
                self.problem("key", "of a token is the token itself: remove it");
            }
            (true | false, _) => {}
        }
        if secrets.len() > SECRETS_MAX {
            self.problem("secrets", format!("are more than {SECRETS_MAX}: remove those that no sender uses any more"));
            return Vec::new();
        }
        secrets.iter().enumerate().filter_map(|(at, secret)| self.key(at + 1, secret)).collect()
    }

    fn key(&mut self, number: usize, secret: &Secret) -> Option<Key> {
        let scheme = self.scheme;
        let encoding = scheme.key.as_str();
        let Some(bytes) = decode_key(secret, scheme.key, scheme.key_prefix.as_deref()) else {
            self.problem("secrets", format!("secret {number} is not {encoding}: copy it whole, as the vendor shows it"));
            return None;
        };
        // A plain text's length was checked when the secret was read.
        let decoded = matches!(scheme.key, KeyEncoding::Base64 | KeyEncoding::Hex);
        if decoded && bytes.len() < SECRET_BYTES_MIN {
            let length = bytes.len();
            self.problem("secrets", format!("secret {number} has {length} bytes once decoded and needs {SECRET_BYTES_MIN}: copy it whole"));
            return None;
        }
        if scheme.algorithm == Algorithm::Basic && !bytes.contains(&b':') {
            self.problem("secrets", format!("secret {number} has to be `user:password`"));
            return None;
        }
        let power = match &scheme.jwt {
            Some(rules) => Rules::power(rules, &bytes),
            None => Power::new(scheme.algorithm, &bytes),
        };
        if power.is_none() && !bytes.is_empty() {
            let kind = match scheme.algorithm.kind() {
                Kind::Public(PublicKind::Ed25519) => "an Ed25519",
                Kind::Public(PublicKind::EcdsaP256Sha256) => "a P-256",
                Kind::Public(PublicKind::RsaSha1 | PublicKind::RsaSha256) => "an RSA",
                Kind::Mac(_) | Kind::Hash(_) | Kind::Bearer => "a fitting",
            };
            self.problem(
                "secrets",
                format!("secret {number} is not {kind} public key (or certificate) as `{encoding}`: copy it whole, as the vendor shows it"),
            );
        }
        power.map(|power| Key { secret: secret.clone(), power })
    }
}

/// A URL, and the same with its default port or without its port: proxies differ, and so do vendors (Twilio's own library tries both).
pub(super) fn with_and_without_port(url: &str) -> Option<Vec<String>> {
    let (scheme, rest) = url.split_once("://")?;
    let port = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let plain = url.len() <= 2048 && url.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#@".contains(&byte));
    let host = match authority.rsplit_once(':') {
        Some((host, digits)) if !digits.contains(']') => digits.parse::<u16>().ok().map(|_| host)?,
        Some(_) | None => authority,
    };
    let other = if host == authority { format!("{scheme}://{host}:{port}{path}") } else { format!("{scheme}://{host}{path}") };
    (plain && !host.is_empty()).then(|| vec![url.to_owned(), other])
}
