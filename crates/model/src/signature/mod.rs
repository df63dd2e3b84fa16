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
//! | `algorithm` | `hmac-sha1`, `hmac-sha256`, `hmac-sha384`, `hmac-sha512` | a keyed hash of `signed` |
//! | | `md5`, `sha1`, `sha256` | a plain hash of `signed`, which then holds `{secret}` |
//! | | `ed25519`, `ecdsa-p256-sha256`, `rsa-sha1`, `rsa-sha256` | a public key: the "secret" is the vendor's |
//! | | `token`, `none` | what is sent is the secret itself; `none`: in the query of the address the sender was given |
//! | | `basic` | `Authorization: Basic`; the secret is `user:password` |
//! | | `jwt` | a JSON Web Token; `[signature.jwt]` says what it must say |
//! | `key` | `utf8` (default), `base64`, `hex`, `sha1`, `pem` | how the secret's text becomes the key |
//! | `key_prefix` | text | taken off the secret, where it is there, before it is decoded; not with `utf8` and `pem` |
//! | `header`, `query`, `json`, `form` | name; `json`: plain names with dots | exactly one: where the signature is; `{n}` in a header's name stands for 1 to 16 |
//! | `also` | list of header names | more headers with a signature each |
//! | `layout` | `plain` (default), `kv`, `tagged`, `list` | `<prefix><signature>`; `t=…,v1=…,v1=…`; `v1,… v1,…`; `…,…,…` |
//! | `prefix`, `prefix_optional` | text, `true` | `plain`: what stands before the signature, and must unless it is optional |
//! | `signature_field` | name or `*` | `kv`, required: which fields are signatures; other fields are skipped |
//! | `assign`, `group` | text | `kv`: `=` by default; and what stands between groups of fields |
//! | `tag` | name | `tagged`, required: which entries are signatures; other entries are skipped |
//! | `separator` | text | `kv`, `list`: `,` by default; `tagged`: a space by default |
//! | `encoding` | `hex` (default), `base64`, `base64url` | base64 with its padding; base64url with or without |
//! | `hex_case` | `lower` (default), `any` | we are not more lenient than the vendor |
//! | `signed` | template | what is signed; see below |
//! | `settings` | table | texts for `{setting:name}` |
//! | `timestamp` | table | one of `header`, `field` (`kv`: a name, `list`: a position), `json`, `query`, `form`; `unit` = `s` (default), `ms`, `s-or-ms`, `rfc3339`, `http-date`; `tolerance` = `5m` (default), `off` |
//! | `body_hash` | `{ query = name }` | the hex SHA-256 of the body must be there, too |
//! | `each` | `list[].member` | every entry of that list has its own signature, and all must hold; `json` and `{item:…}` are relative to an entry |
//! | `covers_body` | `false`, `true` | `false`: the body is not signed, the verdict is [`Verdict::Authenticated`]; `true`: the `{json:…}` or `{form:…}` parts are all that matters of it |
//! | `allow_from` | list of networks | where requests may come from |
//! | `aliases` | table | other names under which a header may come: `{ "webhook-id" = "svix-id" }`, or a list of names |
//!
//! A template is text with `{body}`, `{timestamp}`, `{header:name}`, `{method}`, `{target}` (path and query as received), `{path}`, `{url}` (the
//! source's configured public URL and the received query), `{query:name}`, `{query-lower:name}`, `{form:name}`, `{form-sorted}` (names and their
//! distinct values, sorted), `{json:path}`, `{item:path}`, `{crc32}` (of the body, in decimal), `{sha256}` (of the body, in hex), `{secret}` and `{setting:name}`. `{json?:path}`
//! and `{item?:path}` may be absent and are then empty; `[[…]]` is left out whole where a part in it is absent.
//!
//! Header names may be written in any case. Whatever was signed is what we read: a timestamp goes into the signed
//! text verbatim, and a signed header counts for identity ([`Verified::signed_headers`]) because nobody else could
//! have written it. A value that could be taken for the text that follows it in the template is refused: under the same signature a byte could
//! be moved from one to the other. `examples.toml` beside this file has real schemes.

mod body;
mod certificate;
mod compile;
mod diagnose;
mod guess;
mod installed;
mod jwt;
mod key;
mod network;
mod place;
mod scheme;
mod sign;
mod template;
mod text;
mod verify;

#[cfg(test)]
mod tests;

pub use compile::{Problem, Verifier};
pub use network::Network;
pub use scheme::{Algorithm, BodyHash, Encoding, HexCase, JwtRules, KeyEncoding, Layout, Names, Scheme, Timestamp, Unit};
pub use sign::Signed;

use crate::Time;

/// The one value of a field of a form or query string; nothing if it is absent, doubled or no text.
pub(crate) fn form_field(text: &[u8], name: &str) -> Option<String> {
    body::field(text, name).ok().flatten()
}

/// Whether two texts are the same, in a time that says nothing of where they differ.
pub(crate) fn same_text(ours: &str, theirs: &str) -> bool {
    key::Power::new(Algorithm::Token, ours.as_bytes()).is_some_and(|ours| ours.signs(&[], &[theirs.as_bytes().to_vec()]))
}

/// How much a genuine request has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Its body is signed.
    Verified,
    /// Its sender is known, and the body is not signed.
    Authenticated,
}

impl Verdict {
    /// The word used in lists and pages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Authenticated => "authenticated",
        }
    }
}

/// What a genuine request has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whether the body is signed.
    pub verdict: Verdict,
    /// When the sender signed it, where the scheme says so.
    pub timestamp: Option<Time>,
    /// Headers whose values were signed, by the scheme's names in lower case, sorted: only these may become keys.
    /// Read them with [`Verifier::header`], which knows the aliases.
    pub signed_headers: Vec<String>,
    /// Whether path and query are signed: only then may a parameter become a key.
    pub signed_target: bool,
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
    SignatureMissing = "signature_missing", "The signature is missing or empty: the sender does not sign, or signs in another way than this source's scheme says.";
    /// The signature's header came twice.
    SignatureDoubled = "signature_doubled", "The signature came more than once: a proxy may be adding its own.";
    /// The signature's header is not built as the scheme says.
    SignatureMalformed = "signature_malformed", "The signature is not built as this source's scheme says: compare prefix, encoding and length.";
    /// The header lists more signatures than we try.
    TooManySignatures = "too_many_signatures", "The request lists more than 16 signatures; no vendor sends that many.";
    /// The timestamp is missing or empty.
    TimestampMissing = "timestamp_missing", "The timestamp is missing or empty, so the signature cannot be checked.";
    /// The timestamp came twice.
    TimestampDoubled = "timestamp_doubled", "The timestamp came more than once, so it is not known which was signed.";
    /// The timestamp is not a count of the scheme's unit.
    TimestampMalformed = "timestamp_malformed", "The timestamp is not written in the unit that this source's scheme names.";
    /// Signed too long ago.
    TimestampStale = "timestamp_stale", "The request was signed longer ago than the tolerance allows: a replay, a slow retry under an old signature, or a clock that is wrong.";
    /// Signed in the future.
    TimestampAhead = "timestamp_ahead", "The request was signed further in the future than the tolerance allows: a clock is wrong, here or at the sender.";
    /// A header that is part of the signed text is missing or empty.
    SignedHeaderMissing = "signed_header_missing", "A header, parameter or member that is part of the signed text is missing or empty: a proxy may be dropping it.";
    /// A header that is part of the signed text came twice.
    SignedHeaderDoubled = "signed_header_doubled", "A header, parameter or member that is part of the signed text came more than once, so it is not known which was signed.";
    /// A header that is part of the signed text is too long, or holds what could be taken for the text after it.
    SignedHeaderMalformed = "signed_header_malformed", "A header, parameter or member that is part of the signed text is too long, is no plain text, or holds the separator that ends it.";
    /// The scheme reads the body, which is no JSON or form.
    BodyUnreadable = "body_unreadable", "The scheme finds its signature or what is signed inside the body, and the body is no such JSON or form: is this the right source?";
    /// The hash of the body that came along is not that of the body.
    BodyHashMismatch = "body_hash_mismatch", "The hash of the body that came along is missing or is not that of the body: the body was changed on its way.";
    /// A token is signed, and says something else than it must.
    ClaimMismatch = "claim_mismatch", "The token's algorithm, issuer, audience, address or hash of the body is not what this source's scheme asks for.";
    /// It came from somewhere else.
    AddressNotAllowed = "address_not_allowed", "The request came from an address outside `allow_from`: the vendor's networks have changed, or the proxy's address is seen instead.";
    /// A vendor's handshake that is not to be answered.
    HandshakeMismatch = "handshake_mismatch", "A vendor's handshake that is not answered: its verify token is not the one that `onceward sources show NAME` prints, its challenge is missing or of another form than the vendor's, or it is a forgery made of such an answer.";
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
    /// The scheme signs a parameter that the request does not have, or not in a form that can be signed.
    #[error("the scheme signs the parameter `{0}` of the query: give it one value, without the text that follows it in `signed`")]
    Query(String),
    /// The secret is the vendor's public key.
    #[error(
        "the secret of this source is the vendor's public key, which can check a signature and make none: to sign, configure a private key of your own (PKCS #8) in its place"
    )]
    PublicKey,
    /// The body is not what the scheme reads.
    #[error("the scheme reads {0} of the body, and the body has no such thing: is this a payload of this vendor?")]
    Body(String),
}
