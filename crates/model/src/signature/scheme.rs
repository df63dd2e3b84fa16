//! A scheme as it is written: data, nothing else. The module's table says what each word means.

use std::collections::BTreeMap;

use serde::Deserialize;

/// How a vendor signs, as written in a preset or in the configuration. See the module's table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheme {
    /// What makes or checks the signature.
    pub algorithm: Algorithm,
    /// How the secret's text becomes the key.
    #[serde(default)]
    pub key: KeyEncoding,
    /// Taken off the secret, where it is there, before it is decoded.
    #[serde(default)]
    pub key_prefix: Option<String>,
    /// The header with the signature; `{n}` in it stands for 1 to 16.
    #[serde(default)]
    pub header: Option<String>,
    /// The parameter of the query string with the signature.
    #[serde(default)]
    pub query: Option<String>,
    /// The member of a JSON body with the signature: a path of plain names.
    #[serde(default)]
    pub json: Option<String>,
    /// The field of a form body with the signature.
    #[serde(default)]
    pub form: Option<String>,
    /// More headers beside `header` with a signature each; any will do.
    #[serde(default)]
    pub also: Vec<String>,
    /// How the signature's text is built.
    #[serde(default)]
    pub layout: Layout,
    /// `plain`: what stands before the signature.
    #[serde(default)]
    pub prefix: Option<String>,
    /// `plain`: whether the prefix may be missing.
    #[serde(default)]
    pub prefix_optional: bool,
    /// `kv`: the name of the signatures' fields; `*`: all of them.
    #[serde(default)]
    pub signature_field: Option<String>,
    /// `kv`: what stands between a field's name and its value.
    #[serde(default)]
    pub assign: Option<String>,
    /// `kv`: what stands between groups of fields, each with its own timestamp.
    #[serde(default)]
    pub group: Option<String>,
    /// `tagged`: the tag of the signatures' entries.
    #[serde(default)]
    pub tag: Option<String>,
    /// `kv`, `tagged`, `list`: what stands between entries.
    #[serde(default)]
    pub separator: Option<String>,
    /// How the signature's bytes are written.
    #[serde(default)]
    pub encoding: Encoding,
    /// `hex`: whether capitals are taken.
    #[serde(default)]
    pub hex_case: Option<HexCase>,
    /// What is signed. Needed by every algorithm that signs a text.
    #[serde(default)]
    pub signed: Option<String>,
    /// Texts for `{setting:name}` that the vendor shows and does not send.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Where the time of signing is, and how far it may be from now.
    #[serde(default)]
    pub timestamp: Option<Timestamp>,
    /// Where the SHA-256 of the body must also be.
    #[serde(default)]
    pub body_hash: Option<BodyHash>,
    /// The list whose entries each carry a signature of their own.
    #[serde(default)]
    pub each: Option<String>,
    /// `false`: the body is not signed, and the verdict is `authenticated`.
    #[serde(default)]
    pub covers_body: Option<bool>,
    /// Networks that requests may come from; empty: any.
    #[serde(default)]
    pub allow_from: Vec<String>,
    /// What a JSON Web Token must say.
    #[serde(default)]
    pub jwt: Option<JwtRules>,
    /// Other names of headers.
    #[serde(default)]
    pub aliases: BTreeMap<String, Names>,
}

words! {
    /// What makes or checks a signature.
    Algorithm {
        /// 20 bytes. Sound as a keyed hash, though SHA-1 alone is not.
        HmacSha1 = "hmac-sha1",
        /// 32 bytes.
        HmacSha256 = "hmac-sha256",
        /// 48 bytes.
        HmacSha384 = "hmac-sha384",
        /// 64 bytes.
        HmacSha512 = "hmac-sha512",
        /// A plain hash of a text that holds the secret.
        Md5 = "md5",
        /// A plain hash of a text that holds the secret.
        Sha1 = "sha1",
        /// A plain hash of a text that holds the secret.
        Sha256 = "sha256",
        /// A public key (RFC 8032).
        Ed25519 = "ed25519",
        /// A public key; the signature in DER, or as two numbers of 32 bytes.
        EcdsaP256Sha256 = "ecdsa-p256-sha256",
        /// A public key, PKCS #1 v1.5. For senders that have not moved on (AWS SNS, version 1).
        RsaSha1 = "rsa-sha1",
        /// A public key, PKCS #1 v1.5.
        RsaSha256 = "rsa-sha256",
        /// What is sent is the secret itself.
        Token = "token",
        /// `Authorization: Basic` (RFC 7617); the secret is `user:password`.
        Basic = "basic",
        /// A JSON Web Token (RFC 7519).
        Jwt = "jwt",
        /// The sender can do nothing: the secret is part of the address that it was given.
        None = "none",
    }
}

/// What an algorithm needs to be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyed hash.
    Mac(MacKind),
    /// A plain hash with the secret in the text.
    Hash(HashKind),
    /// A public key.
    Public(PublicKind),
    /// Nothing is signed: the secret itself, or a token.
    Bearer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MacKind {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HashKind {
    Md5,
    Sha1,
    Sha256,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PublicKind {
    Ed25519,
    EcdsaP256Sha256,
    RsaSha1,
    RsaSha256,
}

impl Algorithm {
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::HmacSha1 => Kind::Mac(MacKind::Sha1),
            Self::HmacSha256 => Kind::Mac(MacKind::Sha256),
            Self::HmacSha384 => Kind::Mac(MacKind::Sha384),
            Self::HmacSha512 => Kind::Mac(MacKind::Sha512),
            Self::Md5 => Kind::Hash(HashKind::Md5),
            Self::Sha1 => Kind::Hash(HashKind::Sha1),
            Self::Sha256 => Kind::Hash(HashKind::Sha256),
            Self::Ed25519 => Kind::Public(PublicKind::Ed25519),
            Self::EcdsaP256Sha256 => Kind::Public(PublicKind::EcdsaP256Sha256),
            Self::RsaSha1 => Kind::Public(PublicKind::RsaSha1),
            Self::RsaSha256 => Kind::Public(PublicKind::RsaSha256),
            Self::Token | Self::Basic | Self::Jwt | Self::None => Kind::Bearer,
        }
    }

    /// Whether a signature may have this many bytes.
    pub(super) const fn fits(self, length: usize) -> bool {
        match self {
            Self::Md5 => length == 16,
            Self::HmacSha1 | Self::Sha1 => length == 20,
            Self::HmacSha256 | Self::Sha256 => length == 32,
            Self::HmacSha384 => length == 48,
            Self::HmacSha512 | Self::Ed25519 => length == 64,
            // DER of two numbers of at most 33 bytes.
            Self::EcdsaP256Sha256 => length >= 8 && length <= 72,
            // Keys of 2048 to 8192 bits.
            Self::RsaSha1 | Self::RsaSha256 => length >= 256 && length <= 1024,
            Self::Token | Self::Basic | Self::Jwt | Self::None => length > 0,
        }
    }
}

words! {
    /// How the secret's text becomes the key.
    #[derive(Default)]
    KeyEncoding {
        /// Its bytes, as they are.
        #[default]
        Utf8 = "utf8",
        /// Standard base64, with or without padding; a public key's DER.
        Base64 = "base64",
        /// Hexadecimal, in either case; a public key's raw bytes.
        Hex = "hex",
        /// The SHA-1 of its bytes.
        Sha1 = "sha1",
        /// A public key or certificate between `-----BEGIN …-----` and `-----END …-----`.
        Pem = "pem",
    }
}

words! {
    /// How the signature's text is built.
    #[derive(Default)]
    Layout {
        /// One signature, with an optional prefix.
        #[default]
        Plain = "plain",
        /// `name=value` fields.
        Kv = "kv",
        /// `tag,value` entries.
        Tagged = "tagged",
        /// Values without names.
        List = "list",
    }
}

words! {
    /// How a signature's bytes are written.
    #[derive(Default)]
    Encoding {
        /// Hexadecimal.
        #[default]
        Hex = "hex",
        /// The standard alphabet, with padding.
        Base64 = "base64",
        /// The URL-safe alphabet, with or without padding.
        Base64url = "base64url",
    }
}

words! {
    /// Which letters hexadecimal is written with.
    #[derive(Default)]
    HexCase {
        /// `a` to `f` only.
        #[default]
        Lower = "lower",
        /// Either.
        Any = "any",
    }
}

words! {
    /// What a timestamp counts or how it is written.
    #[derive(Default)]
    Unit {
        /// Seconds since 1970: at most 12 digits.
        #[default]
        S = "s",
        /// Milliseconds since 1970: at most 13 digits.
        Ms = "ms",
        /// Either: 13 digits are milliseconds.
        SOrMs = "s-or-ms",
        /// A date, a time and an offset (RFC 3339).
        Rfc3339 = "rfc3339",
        /// `Thu, 04 Jan 2024 18:05:25 GMT` (RFC 9110, section 5.6.7, the one form that is still sent).
        HttpDate = "http-date",
    }
}

/// Where the time of signing is, and how far it may be from now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timestamp {
    /// The header that holds it.
    #[serde(default)]
    pub header: Option<String>,
    /// `kv`: the field that holds it; `list`: its position, from 0.
    #[serde(default)]
    pub field: Option<String>,
    /// The member of a JSON body that holds it.
    #[serde(default)]
    pub json: Option<String>,
    /// The parameter of the query string that holds it.
    #[serde(default)]
    pub query: Option<String>,
    /// The field of a form body that holds it.
    #[serde(default)]
    pub form: Option<String>,
    /// What it counts.
    #[serde(default)]
    pub unit: Unit,
    /// How far it may be from now in either direction: a span such as `5m` (the default), or `off`.
    #[serde(default)]
    pub tolerance: Option<String>,
}

/// Where the SHA-256 of the body must also be, in hex.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BodyHash {
    /// The parameter of the query string that holds it.
    pub query: String,
}

/// `[signature.jwt]`: what a JSON Web Token must say besides being signed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtRules {
    /// Which algorithms are taken; the token's own word counts only where it is one of them. `HS256`, `HS384`, `HS512` (keyed), or
    /// `RS256`, `ES256`, `EdDSA` (public keys); not both.
    pub algorithms: Vec<String>,
    /// The claim that holds the hex SHA-256 of the body.
    #[serde(default)]
    pub body_hash_claim: Option<String>,
    /// The claim that holds the source's public URL.
    #[serde(default)]
    pub url_claim: Option<String>,
    /// What `iss` must be.
    #[serde(default)]
    pub issuer: Option<String>,
    /// What `aud` must be or hold.
    #[serde(default)]
    pub audience: Option<String>,
    /// How old a token without `exp` may be by its `iat`: a span such as `5m` (the default), or `off`.
    #[serde(default)]
    pub tolerance: Option<String>,
}

/// One name, or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Names {
    /// `"svix-id"`
    One(String),
    /// `["svix-id", "x-id"]`
    Several(Vec<String>),
}

impl Names {
    pub(super) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}
