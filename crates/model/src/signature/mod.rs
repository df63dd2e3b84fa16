//! Is this request genuine? One engine, and one row of data per vendor.
//!
//! A [`Scheme`] is data: `[signature]` of a vendor's preset, or `signature = { … }` of a source of one's own.
//! [`Scheme::compile`] checks it, names everything that is wrong with it at once, decodes the secrets and returns a
//! [`Verifier`], which checks requests and signs them the way the vendor would.
//!
//! # Vocabulary
//!
//! | key | values | means |
//! | --- | --- | --- |
//! | `algorithm` | `hmac-sha1`, `hmac-sha256`, `hmac-sha512` | required |
//! | `key` | `utf8` (default), `base64`, `hex` | how the secret's text becomes the key |
//! | `key_prefix` | text | taken off the secret, where it is there, before it is decoded; not with `utf8` |
//! | `header` | header name | required; where the signature is |
//! | `layout` | `plain` (default), `kv`, `tagged` | `<prefix><signature>`; `t=…,v1=…,v1=…`; `v1,… v1,…` |
//! | `prefix` | text | `plain`: what stands before the signature, and must |
//! | `signature_field` | name | `kv`, required: which fields are signatures; other fields are skipped |
//! | `tag` | name | `tagged`, required: which entries are signatures; other entries are skipped |
//! | `separator` | text | `kv`: `,` by default; `tagged`: a space by default |
//! | `encoding` | `hex` (default), `base64`, `base64url` | base64 with its padding; base64url with or without |
//! | `hex_case` | `lower` (default), `any` | we are not more lenient than the vendor |
//! | `signed` | template | required; text with `{body}`, `{timestamp}`, `{header:name}`, `{method}`, `{target}` (path and query) |
//! | `timestamp` | table | `{ header = name }` or (`kv`) `{ field = name }`; `unit` = `s` (default), `ms`; `tolerance` = `5m` (default), `off` |
//! | `aliases` | table | other names under which a header may come: `{ "webhook-id" = "svix-id" }`, or a list of names |
//!
//! Header names may be written in any case. Whatever was signed is what we read: a timestamp goes into the signed
//! text verbatim, and a signed header counts for identity ([`Verified::signed_headers`]) because nobody else could
//! have written it. `examples.toml` beside this file has real schemes.

mod compile;
mod diagnose;
mod verify;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Deserialize;

pub use compile::{Problem, Verifier};

use crate::Time;

/// How a vendor signs, as written in a preset or in the configuration. See the module's table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheme {
    /// The keyed hash.
    pub algorithm: Algorithm,
    /// How the secret's text becomes the key.
    #[serde(default)]
    pub key: KeyEncoding,
    /// Taken off the secret, where it is there, before it is decoded.
    #[serde(default)]
    pub key_prefix: Option<String>,
    /// The header with the signature.
    pub header: String,
    /// How that header is built.
    #[serde(default)]
    pub layout: Layout,
    /// `plain`: what stands before the signature.
    #[serde(default)]
    pub prefix: Option<String>,
    /// `kv`: the name of the signatures' fields.
    #[serde(default)]
    pub signature_field: Option<String>,
    /// `tagged`: the tag of the signatures' entries.
    #[serde(default)]
    pub tag: Option<String>,
    /// `kv`, `tagged`: what stands between entries.
    #[serde(default)]
    pub separator: Option<String>,
    /// How the signature's bytes are written.
    #[serde(default)]
    pub encoding: Encoding,
    /// `hex`: whether capitals are taken.
    #[serde(default)]
    pub hex_case: Option<HexCase>,
    /// What is signed.
    pub signed: String,
    /// Where the time of signing is, and how far it may be from now.
    #[serde(default)]
    pub timestamp: Option<Timestamp>,
    /// Other names of headers.
    #[serde(default)]
    pub aliases: BTreeMap<String, Names>,
}

/// A keyed hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// 20 bytes. Sound as a keyed hash, though SHA-1 alone is not.
    #[serde(rename = "hmac-sha1")]
    HmacSha1,
    /// 32 bytes.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// 64 bytes.
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::HmacSha1, Self::HmacSha256, Self::HmacSha512];

    /// The word used in presets.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha1 => "hmac-sha1",
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha512 => "hmac-sha512",
        }
    }

    /// Bytes of a signature.
    const fn length(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
            Self::HmacSha512 => 64,
        }
    }
}

/// How the secret's text becomes the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyEncoding {
    /// Its bytes, as they are.
    #[default]
    Utf8,
    /// Standard base64, with or without padding.
    Base64,
    /// Hexadecimal, in either case.
    Hex,
}

impl KeyEncoding {
    /// The word used in presets.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Base64 => "base64",
            Self::Hex => "hex",
        }
    }
}

/// How the signature's header is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// One signature, with an optional prefix.
    #[default]
    Plain,
    /// `name=value` fields.
    Kv,
    /// `tag,value` entries.
    Tagged,
}

/// How a signature's bytes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Hexadecimal.
    #[default]
    Hex,
    /// The standard alphabet, with padding.
    Base64,
    /// The URL-safe alphabet, with or without padding.
    Base64url,
}

impl Encoding {
    /// The word used in presets.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Base64url => "base64url",
        }
    }
}

/// Which letters hexadecimal is written with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HexCase {
    /// `a` to `f` only.
    #[default]
    Lower,
    /// Either.
    Any,
}

/// Where the time of signing is, and how far it may be from now.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timestamp {
    /// The header that holds it.
    #[serde(default)]
    pub header: Option<String>,
    /// `kv`: the field of the signature's header that holds it.
    #[serde(default)]
    pub field: Option<String>,
    /// What it counts.
    #[serde(default)]
    pub unit: Unit,
    /// How far it may be from now in either direction: a span such as `5m` (the default), or `off`.
    #[serde(default)]
    pub tolerance: Option<String>,
}

/// What a timestamp counts, since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Seconds: at most 12 digits.
    #[default]
    S,
    /// Milliseconds: at most 13 digits.
    Ms,
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

/// What a genuine request has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// When the sender signed it, where the scheme says so.
    pub timestamp: Option<Time>,
    /// Headers whose values were signed, by the scheme's names in lower case, sorted: only these may become keys.
    /// Read them with [`Verifier::header`], which knows the aliases.
    pub signed_headers: Vec<String>,
    /// Which of the secrets matched, counted from 0.
    pub secret: usize,
}

macro_rules! rejections {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $sentence:literal;)*) => {
        /// Why a request is not taken for genuine. For operators: the answer to the sender is always the same.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rejection {
            $($(#[$doc])* $name,)*
        }

        impl Rejection {
            /// Every rejection.
            pub const ALL: &'static [Rejection] = &[$(Self::$name),*];

            /// The word used in the ledger, metrics and pages.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What was found and what to look at.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }

            /// Reads the word back.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|rejection| rejection.as_str() == text)
            }
        }
    };
}

rejections! {
    /// The source has no secret, or all of them have ended.
    NoSecret = "no_secret", "This source has no secret that is still valid: configure one under `secrets`.";
    /// The signature's header is missing or empty.
    SignatureMissing = "signature_missing", "The signature's header is missing or empty: the sender does not sign, or signs in another way than this source's scheme says.";
    /// The signature's header came twice.
    SignatureDoubled = "signature_doubled", "The signature's header came more than once: a proxy may be adding its own.";
    /// The signature's header is not built as the scheme says.
    SignatureMalformed = "signature_malformed", "The signature's header is not built as this source's scheme says: compare prefix, encoding and length.";
    /// The header lists more signatures than we try.
    TooManySignatures = "too_many_signatures", "The signature's header lists more than 16 signatures; no vendor sends that many.";
    /// The timestamp is missing or empty.
    TimestampMissing = "timestamp_missing", "The timestamp is missing or empty, so the signature cannot be checked.";
    /// The timestamp came twice.
    TimestampDoubled = "timestamp_doubled", "The timestamp came more than once, so it is not known which was signed.";
    /// The timestamp is not a count of the scheme's unit.
    TimestampMalformed = "timestamp_malformed", "The timestamp is not a plain number of the unit this source's scheme names.";
    /// Signed too long ago.
    TimestampStale = "timestamp_stale", "The request was signed longer ago than the tolerance allows: a replay, a slow retry under an old signature, or a clock that is wrong.";
    /// Signed in the future.
    TimestampAhead = "timestamp_ahead", "The request was signed further in the future than the tolerance allows: a clock is wrong, here or at the sender.";
    /// A header that is part of the signed text is missing or empty.
    SignedHeaderMissing = "signed_header_missing", "A header that is part of the signed text is missing or empty: a proxy may be dropping it.";
    /// A header that is part of the signed text came twice.
    SignedHeaderDoubled = "signed_header_doubled", "A header that is part of the signed text came more than once, so it is not known which was signed.";
    /// A header that is part of the signed text is too long, or holds what could be taken for the text after it.
    SignedHeaderMalformed = "signed_header_malformed", "A header that is part of the signed text is too long, is not visible ASCII, or holds the separator that ends it.";
    /// Everything is in place and no secret gives this signature.
    Mismatch = "mismatch", "No secret of this source gives this signature over these bytes: the secret is another one, or the body was changed on its way.";
}

/// Why a request could not be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The source has no secret, or all of them have ended.
    #[error("there is no secret to sign with: configure one under `secrets` of the source")]
    NoSecret,
    /// The scheme signs a header that the request does not have, or not in a form that can be signed.
    #[error("the scheme signs the header `{0}`: give it one value, without the text that follows it in `signed`")]
    Header(String),
}
