//! What a row says, and what every row is put through.
//!
//! ```text
//! Row::new("acme", "the-secret-as-the-vendor-shows-it")
//!     .at(1_700_000_000)                                  // the time, for schemes that sign it; seconds (`at_millis`: milliseconds)
//!     .url("https://hooks.example.com/webhooks/acme")     // the configured public URL, for schemes that sign it
//!     .method("POST").target("/webhooks/acme?token=x")    // the request, besides its body
//!     .header("x-acme-id", "1")
//!     .body(r#"{"id":"1"}"#)
//!     .published("https://docs.acme.example/…")           // or .computed(|row| row.header("x-acme-signature", …)): by the plain formula
//! ```
//!
//! The formula of a computed row is written out with [`hmac_sha256`] and its kin; it must not ask the code under test.

mod changes;
mod checks;
mod hashes;
#[allow(dead_code, reason = "not every key is needed by some row")]
pub mod keys;
mod oracle;
mod samples;

pub use checks::check;
#[allow(unused_imports, reason = "not every formula is needed by some row")]
pub use hashes::{base64, hex, hmac_sha1, hmac_sha256, hmac_sha384, hmac_sha512, sha1, sha256};

use model::source::{Source, SourceDef};
use model::{Received, Time};

/// One genuine request of one preset.
#[derive(Clone, Debug)]
pub struct Row {
    pub preset: &'static str,
    /// As the vendor shows it.
    pub secret: String,
    pub now: Time,
    pub method: String,
    pub target: String,
    pub url: Option<String>,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Keys laid over the preset, as `[sources.NAME]` would.
    pub over: String,
    /// Texts of the sample, and what stands there in another event.
    pub other: Vec<(String, String)>,
    /// Where the vendor published the signature; `None`: it was computed.
    published: Option<&'static str>,
}

#[allow(dead_code, reason = "not every word is needed by some row")]
impl Row {
    pub fn new(preset: &'static str, secret: &str) -> Self {
        Self {
            preset,
            secret: secret.to_owned(),
            now: Time::from_seconds(1_700_000_000),
            method: "POST".to_owned(),
            target: format!("/webhooks/{preset}"),
            url: None,
            headers: Vec::new(),
            body: Vec::new(),
            over: String::new(),
            other: Vec::new(),
            published: None,
        }
    }

    /// When it came, in seconds since 1970.
    pub fn at(mut self, seconds: i64) -> Self {
        self.now = Time::from_seconds(seconds);
        self
    }

    /// When it came, in milliseconds since 1970.
    pub fn at_millis(mut self, millis: i64) -> Self {
        self.now = Time::from_millis(millis);
        self
    }

    pub fn method(mut self, method: &str) -> Self {
        self.method = method.to_owned();
        self
    }

    /// Path and query as received.
    pub fn target(mut self, target: &str) -> Self {
        self.target = target.to_owned();
        self
    }

    /// The configured public URL of the source.
    pub fn url(mut self, url: &str) -> Self {
        self.url = Some(url.to_owned());
        self
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// Lays keys over the preset, as `[sources.NAME]` would: `signature = { … }`.
    pub fn over(mut self, toml: &str) -> Self {
        self.over = toml.to_owned();
        self
    }

    /// Which text of the sample makes it another event when it changes. Needed only where the id is not found by itself.
    pub fn other_id(mut self, text: &str, another: &str) -> Self {
        self.other.push((text.to_owned(), another.to_owned()));
        self
    }

    /// The request so far carries the vendor's own signature, published there.
    pub fn published(mut self, at: &'static str) -> Self {
        self.published = Some(at);
        self
    }

    /// Adds a signature that was computed from the vendor's formula.
    pub fn computed(self, sign: impl FnOnce(Self) -> Self) -> Self {
        sign(self)
    }

    pub fn is_published(&self) -> bool {
        self.published.is_some()
    }

    /// The secret's bytes as they are.
    pub fn key(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    /// The source, with this preset.
    pub fn source(&self) -> Source {
        let mut def: SourceDef = toml::from_str(&self.over).unwrap_or_else(|error| panic!("{}: `over`: {error}", self.preset));
        def.preset = Some(self.preset.to_owned());
        Source::compile(self.preset, &def).unwrap_or_else(|problems| panic!("{}: {problems:#?}", self.preset))
    }

    /// Hands the request on.
    pub fn received<T>(&self, to: impl FnOnce(&Received<'_>) -> T) -> T {
        let headers: Vec<(String, Vec<u8>)> =
            self.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_bytes().to_vec())).collect();
        to(&Received { method: &self.method, target: &self.target, headers: &headers, body: &self.body })
    }
}
