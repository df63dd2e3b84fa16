//! A second reading of a scheme that shares nothing with the engine's: what a row's signature must be, by the words of the scheme alone.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::digest::Digest;
use model::signature::{Algorithm, Encoding, KeyEncoding, Scheme};
use serde_json::Value;

use super::{Row, hmac_sha1, hmac_sha256, hmac_sha384, hmac_sha512, sha1, sha256};

/// The request's parts by name.
pub struct Reading<'r> {
    pub row: &'r Row,
    pub scheme: &'r Scheme,
    /// The entry of `each`.
    pub entry: Option<Value>,
}

pub fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escape = if byte == b'%' { after.get(..2).and_then(|digits| hex::decode(digits).ok()) } else { None };
        match escape {
            Some(escaped) => {
                bytes.extend(escaped);
                rest = &after[2..];
            }
            None => {
                bytes.push(if byte == b'+' { b' ' } else { byte });
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

pub fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| pair.split_once('=').map_or((decoded(pair), String::new()), |(name, value)| (decoded(name), decoded(value)));
    text.split('&').filter(|pair| !pair.is_empty()).map(pair).collect()
}

pub fn member<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').filter(|name| !name.is_empty()).try_fold(value, |held, name| held.get(name))
}

fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
    }
}

impl Reading<'_> {
    fn query(&self) -> &str {
        self.row.target.split_once('?').map_or("", |(_, query)| query)
    }

    pub fn body(&self) -> String {
        String::from_utf8_lossy(&self.row.body).into_owned()
    }

    /// The value under `header:name`, `query:name`, `form:name`, `json:path`, `item:path`; nothing where it is absent or empty.
    pub fn value(&self, word: &str, name: &str) -> Option<String> {
        let of = |pairs: Vec<(String, String)>| pairs.into_iter().find(|(held, _)| held == name).map(|(_, value)| value);
        let found = match word.trim_end_matches('?') {
            "header" => self.row.headers.iter().find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone()),
            "query" => of(pairs(self.query())),
            "query-lower" => of(pairs(self.query())).map(|text| text.to_ascii_lowercase()),
            "form" => of(pairs(&self.body())),
            "json" => serde_json::from_slice(&self.row.body).ok().and_then(|body: Value| member(&body, name).and_then(shown)),
            "item" => self.entry.as_ref().and_then(|entry| member(entry, name)).and_then(shown),
            other => panic!("{}: {{{other}:…}} is not known", self.row.preset),
        };
        found.filter(|text| !text.is_empty())
    }

    fn timestamp(&self) -> String {
        let Some(timestamp) = &self.scheme.timestamp else { return String::new() };
        for (word, name) in
            [("header", &timestamp.header), ("json", &timestamp.json), ("query", &timestamp.query), ("form", &timestamp.form)]
        {
            if let Some(name) = name {
                return self.value(word, name).unwrap_or_default();
            }
        }
        let value = self.signature_text();
        let field = timestamp.field.as_deref().unwrap();
        if let Ok(position) = field.parse::<usize>() {
            return value.split(self.scheme.separator.as_deref().unwrap_or(",")).nth(position).unwrap().to_owned();
        }
        let assign = self.scheme.assign.as_deref().unwrap_or("=");
        let (_, after) = value.split_once(&format!("{field}{assign}")).unwrap();
        after.chars().take_while(|letter| letter.is_ascii_alphanumeric() || ":.-+".contains(*letter)).collect()
    }

    /// What stands where the scheme says that the signature is.
    pub fn signature_text(&self) -> String {
        let scheme = self.scheme;
        let header = scheme.header.clone().or_else(|| {
            let bare = scheme.query.is_none() && scheme.json.is_none() && scheme.form.is_none();
            bare.then(|| "authorization".to_owned())
        });
        let json = if scheme.each.is_some() { "item" } else { "json" };
        let places = [("header", &header), ("query", &scheme.query), (json, &scheme.json), ("form", &scheme.form)];
        let names = |name: &String| (1..=16).map(|n| name.replace("{n}", &n.to_string())).chain(scheme.also.clone()).collect::<Vec<_>>();
        places
            .iter()
            .filter_map(|(word, name)| Some((word, name.as_ref()?)))
            .flat_map(|(word, name)| names(name).into_iter().map(move |name| (word, name)))
            .find_map(|(word, name)| self.value(word, &name))
            .unwrap_or_else(|| panic!("{}: the row has nothing where the signature should be", self.row.preset))
    }

    /// The signed text, with a key where the scheme wants the secret itself.
    pub fn text(&self, key: &[u8]) -> Vec<u8> {
        let template = self.scheme.signed.clone().unwrap_or_default();
        let mut text = Vec::new();
        let mut rest = template.as_str();
        while let Some((before, after)) = rest.split_once("[[") {
            let (inside, after) = after.split_once("]]").unwrap();
            text.extend(self.plain(before, key).unwrap());
            text.extend(self.plain(inside, key).unwrap_or_default());
            rest = after;
        }
        text.extend(self.plain(rest, key).unwrap_or_else(|| panic!("{}: the row lacks something of `{template}`", self.row.preset)));
        text
    }

    /// `None` where something that must be there is absent.
    fn plain(&self, template: &str, key: &[u8]) -> Option<Vec<u8>> {
        let row = self.row;
        let mut text = Vec::new();
        for part in template.split_inclusive('}') {
            let (literal, name) = part.split_once('{').map_or((part, None), |(literal, name)| (literal, name.strip_suffix('}')));
            text.extend_from_slice(literal.as_bytes());
            let Some(name) = name else { continue };
            let held: Vec<u8> = match name {
                "body" => row.body.clone(),
                "timestamp" => self.timestamp().into_bytes(),
                "method" => row.method.clone().into_bytes(),
                "target" => row.target.clone().into_bytes(),
                "path" => row.target.split('?').next().unwrap().as_bytes().to_vec(),
                "url" => {
                    let query = row.target.find('?').map_or("", |at| &row.target[at..]);
                    format!("{}{query}", row.url.as_deref().unwrap_or_else(|| panic!("{}: the row lacks `.url(…)`", row.preset)))
                        .into_bytes()
                }
                "form-sorted" => {
                    let mut fields = pairs(&self.body());
                    fields.sort();
                    fields.dedup();
                    fields.into_iter().flat_map(|(name, value)| [name, value]).collect::<String>().into_bytes()
                }
                "crc32" => crc32(&row.body).to_string().into_bytes(),
                "sha256" => hex::encode(sha256(&row.body)).into_bytes(),
                "secret" => key.to_vec(),
                _ => {
                    let (word, name) = name.split_once(':').unwrap();
                    match word {
                        "setting" => self.scheme.settings[name].clone().into_bytes(),
                        _ => match self.value(word, name) {
                            Some(value) => value.into_bytes(),
                            None if word.ends_with('?') => Vec::new(),
                            None => return None,
                        },
                    }
                }
            };
            text.extend(held);
        }
        Some(text)
    }

    /// The signature that a key gives, as it is written; `None` for what needs a private key or signs nothing.
    pub fn signature(&self, key: &[u8]) -> Option<String> {
        let text = self.text(key);
        let hash = match self.scheme.algorithm {
            Algorithm::HmacSha1 => hmac_sha1(key, &[&text]),
            Algorithm::HmacSha256 => hmac_sha256(key, &[&text]),
            Algorithm::HmacSha384 => hmac_sha384(key, &[&text]),
            Algorithm::HmacSha512 => hmac_sha512(key, &[&text]),
            Algorithm::Md5 => md5::Md5::digest(&text).to_vec(),
            Algorithm::Sha1 => sha1(&text),
            Algorithm::Sha256 => sha256(&text),
            Algorithm::Ed25519
            | Algorithm::EcdsaP256Sha256
            | Algorithm::RsaSha1
            | Algorithm::RsaSha256
            | Algorithm::Token
            | Algorithm::Basic
            | Algorithm::Jwt
            | Algorithm::None => return None,
        };
        Some(match self.scheme.encoding {
            Encoding::Hex => hex::encode(hash),
            Encoding::Base64 => STANDARD.encode(hash),
            Encoding::Base64url => URL_SAFE_NO_PAD.encode(hash),
        })
    }
}

/// The bytes of a row's secret, as the scheme reads it.
pub fn key(scheme: &Scheme, secret: &str) -> Vec<u8> {
    let bare = scheme.key_prefix.as_ref().and_then(|prefix| secret.strip_prefix(prefix.as_str())).unwrap_or(secret);
    match scheme.key {
        KeyEncoding::Utf8 | KeyEncoding::Pem => secret.as_bytes().to_vec(),
        KeyEncoding::Base64 => base64::engine::general_purpose::STANDARD_NO_PAD.decode(bare.trim_end_matches('=')).unwrap(),
        KeyEncoding::Hex => hex::decode(bare).unwrap(),
        KeyEncoding::Sha1 => sha1(bare.as_bytes()),
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for &byte in bytes {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    !sum
}
