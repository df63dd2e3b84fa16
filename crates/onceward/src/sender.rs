//! Signs payloads as a vendor would, and posts them.

use std::time::{Duration, Instant};

use model::signature::{SignError, Signed, Verifier};
use model::{Received, Time};
use reqwest::Url;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// From connecting to the answer's last byte.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Posts signed payloads to one address. Cloning shares the connections.
#[derive(Clone)]
pub struct Sender {
    client: reqwest::Client,
    url: Url,
    verifier: Verifier,
    /// What comes with the body, before it is signed.
    headers: Vec<(String, Vec<u8>)>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body as JSON, or as text where it is none.
    pub body: Value,
    /// From the first byte sent to the last received.
    pub took: Duration,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The payload cannot be signed.
    #[error("{0}")]
    Sign(#[from] SignError),
    /// Nobody answered.
    #[error("{url} did not answer: {why}; is `onceward` running there?")]
    NoAnswer {
        /// Where it was sent.
        url: String,
        /// In the system's words.
        why: String,
    },
}

impl Sender {
    /// A sender for a source's address: `base` and the source's path, or `base` as it is if it has a path.
    ///
    /// # Errors
    ///
    /// `base` is no http or https URL, or this machine cannot do TLS.
    pub fn new(base: &str, source: &str, verifier: Verifier) -> Result<Self, String> {
        let mut url = Url::parse(base).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if let Some(url) = url.as_mut().filter(|url| url.path() == "/" && url.query().is_none()) {
            url.set_path(&format!("/webhooks/{source}"));
        }
        let url = url.ok_or_else(|| format!("`{base}` is no http or https URL"))?;
        let client = client(&url)?;
        let headers = vec![("content-type".to_owned(), b"application/json".to_vec())];
        Ok(Self { client, url, verifier, headers })
    }

    /// The same, with other headers beside the body than that it is JSON.
    #[must_use]
    pub fn speaking(mut self, headers: Vec<(String, Vec<u8>)>) -> Self {
        self.headers = headers;
        self
    }

    /// Where it goes.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The request that the vendor would send with this body: all its headers, and the target and body with whatever the scheme puts there.
    ///
    /// Ids that the scheme signs as headers or parameters are made from the body, so that the same body sent again is the same event.
    ///
    /// # Errors
    ///
    /// The source has no secret that is still valid, or only a public key, or the body lacks what is signed.
    pub fn sign(&self, body: &[u8], now: Time) -> Result<Signed, SignError> {
        let mut target = match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        };
        let id = || format!("msg_{}", hex::encode(&Sha256::digest(body)[..12]));
        let mut headers = self.headers.clone();
        loop {
            let request = Received { method: "POST", target: &target, headers: &headers, body };
            match self.verifier.sign(&request, now) {
                Ok(mut signed) => {
                    let own = headers.into_iter().map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()));
                    signed.headers = own.chain(signed.headers).collect();
                    return Ok(signed);
                }
                Err(SignError::Header(name)) if !headers.iter().any(|(held, _)| *held == name) => headers.push((name, id().into_bytes())),
                Err(SignError::Query(name)) if !target.contains(&format!("{name}=")) => {
                    let joint = if target.contains('?') { '&' } else { '?' };
                    target = format!("{target}{joint}{name}={}", id());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Posts a signed request.
    ///
    /// # Errors
    ///
    /// Nobody answered.
    pub async fn post(&self, signed: Signed) -> Result<Answer, SendError> {
        let begun = Instant::now();
        let url = self.url.join(&signed.target).unwrap_or_else(|_| self.url.clone());
        let mut request = self.client.post(url).timeout(TIMEOUT).body(signed.body);
        for (name, value) in &signed.headers {
            request = request.header(name, value);
        }
        let no_answer = |error: reqwest::Error| SendError::NoAnswer { url: self.url.to_string(), why: innermost(&error) };
        let mut response = request.send().await.map_err(no_answer)?;
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                break;
            }
            bytes.extend_from_slice(&chunk);
        }
        let took = begun.elapsed();
        let text = || if bytes.is_empty() { Value::Null } else { Value::String(String::from_utf8_lossy(&bytes).into_owned()) };
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
        Ok(Answer { status, body, took })
    }
}

/// A client for an address of ours: no redirects, no proxy, no retries of its own.
///
/// # Errors
///
/// This machine cannot do TLS, which only https needs.
pub fn client(url: &Url) -> Result<reqwest::Client, String> {
    // Another provider may have been installed already; either serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .user_agent(concat!("onceward/", env!("CARGO_PKG_VERSION")));
    if url.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| format!("TLS cannot be set up: {}; install the system's root certificates", innermost(&error)))
}

/// The last cause of an error, which is what a person can act on.
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use model::preset::sample;
    use model::secret::Secret;
    use model::source::{Source, SourceDef};

    use super::*;

    const URL: &str = "https://hooks.example.com/webhooks/a-source";
    /// Private keys that are nobody's, one a line: Ed25519, P-256, RSA; PKCS#8 in base64.
    const KEYS: &str = include_str!("sender/keys.txt");

    /// One secret for each way in which schemes write theirs.
    fn secrets() -> Vec<String> {
        let mut secrets: Vec<String> = [
            "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
            "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
            "v1,whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
            "somebody:a-long-password-0123",
        ]
        .map(str::to_owned)
        .into();
        secrets.push(hex::encode([7; 32]));
        for key in KEYS.lines() {
            let wrapped = key.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>().join("\n");
            secrets.extend([format!("-----BEGIN PRIVATE KEY-----\n{wrapped}\n-----END PRIVATE KEY-----"), key.to_owned()]);
            secrets.push(hex::encode(STANDARD.decode(key).unwrap()));
        }
        secrets
    }

    fn verifiers(preset: &str) -> Vec<Verifier> {
        let def = SourceDef { preset: Some(preset.to_owned()), ..SourceDef::default() };
        let source = Source::compile("a-source", &def).unwrap_or_else(|problems| panic!("{preset}: {problems:?}"));
        secrets().into_iter().filter_map(|text| source.scheme.compile(&[Secret::new(text).ok()?], Some(URL)).ok()).collect()
    }

    fn verifier(preset: &str) -> Verifier {
        verifiers(preset).remove(0)
    }

    /// What keeps a sample from being signed so that it verifies.
    fn sent(preset: &str, verifier: &Verifier, now: Time) -> Result<(), String> {
        let sender = Sender::new("http://127.0.0.1:1", "a-source", verifier.clone()).unwrap();
        assert_eq!(sender.url().path(), "/webhooks/a-source");
        let body = sample(preset).unwrap().body;
        let sender = sender.speaking(crate::command::send::headers("sample", Some(preset), body));
        let signed = sender.sign(body, now).map_err(|error| error.to_string())?;
        let again = sender.sign(body, now).map_err(|error| error.to_string())?;
        // An ECDSA signature is another one each time.
        if !["plaid", "sendgrid-events"].contains(&preset) {
            assert_eq!(signed, again, "{preset}: the same again is the same");
        }
        let headers: Vec<_> = signed.headers.into_iter().map(|(name, value)| (name.to_lowercase(), value.into_bytes())).collect();
        let request = Received { method: "POST", target: &signed.target, headers: &headers, body: &signed.body };
        verifier.verify(&request, now).map(drop).map_err(|rejection| format!("signed, and refused: {}", rejection.sentence()))
    }

    #[test]
    fn every_presets_sample_is_signed_so_that_it_verifies() {
        let now = Time::from_seconds(1_800_000_000);
        let mut unsigned = Vec::new();
        for facts in crate::command::sources::facts::all().unwrap().into_iter().filter(|facts| facts.disabled.is_none()) {
            let tried: Vec<Result<(), String>> = verifiers(&facts.name).iter().map(|verifier| sent(&facts.name, verifier, now)).collect();
            if !tried.iter().any(Result::is_ok) {
                unsigned.push((facts.name.clone(), tried));
            }
        }
        // Amazon signs with a certificate of its own, which nobody else can have; of PayPal's text a part is the user's to say.
        unsigned.retain(|(name, _)| !["aws-ses", "aws-sns", "paypal"].contains(&name.as_str()));
        assert!(unsigned.is_empty(), "{unsigned:#?}");
    }

    #[test]
    fn an_address_with_a_path_is_taken_as_it_is_and_nonsense_is_refused() {
        let sender = Sender::new("http://127.0.0.1:1/elsewhere?x=1", "a", verifier("stripe")).unwrap();
        assert_eq!(sender.url().as_str(), "http://127.0.0.1:1/elsewhere?x=1");
        for base in ["", "127.0.0.1:8080", "ftp://x", "file:///etc/passwd"] {
            assert!(Sender::new(base, "a", verifier("stripe")).is_err(), "{base}");
        }
    }
}
