//! How a request travels: over HTTP, or into a function of this process.

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::{Body, Reply, Request, SettingsError, TransportError};

/// A larger success than this is no answer to anything we ask.
const BODY_MAX: usize = 8 * 1024 * 1024;
/// As much of a refusal as anyone will read.
const ERROR_BODY_MAX: usize = 64 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Below the keep-alive of any server we know, so that a connection is seldom closed under a request.
const POOL_IDLE: Duration = Duration::from_secs(15);

/// The future that a function in this process answers with.
pub type Answering = Pin<Box<dyn Future<Output = Result<Reply, TransportError>> + Send>>;

/// How requests travel.
#[derive(Clone)]
pub enum Transport {
    /// Real HTTP to one destination.
    Http(Http),
    /// A function in this process: simulation and tests. It gets the path relative to the base URL; time is its own
    /// affair, so that no timer runs here.
    InProcess(Arc<dyn Fn(Request) -> Answering + Send + Sync>),
}

/// An HTTP client that follows no redirect, trusts no proxy setting, repeats nothing and reads no more than it should.
#[derive(Clone)]
pub struct Http {
    client: reqwest::Client,
    base: Arc<str>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(_) => f.write_str("Http"),
            Self::InProcess(_) => f.write_str("InProcess"),
        }
    }
}

impl Transport {
    /// A client for one base URL.
    ///
    /// # Errors
    ///
    /// The base URL is not fit (see [`base_url`]), or the machine has no usable root certificates.
    pub fn http(base: &str, allow_private: bool) -> Result<Self, SettingsError> {
        let url = base_url(base, allow_private)?;
        let loopback = is_loopback(&url);
        // Another provider may have been installed already; either serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("onceward/", env!("CARGO_PKG_VERSION")))
            .https_only(url.scheme() == "https")
            .dns_resolver(Resolver { allowed: if loopback { Allowed::Loopback } else { Allowed::remote(allow_private) } });
        if url.scheme() == "http" {
            // The sandbox needs no root certificates, and so a machine without any can still run it.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| SettingsError::Tls(chain(&error)))?;
        Ok(Self::Http(Http { client, base: url.as_str().trim_end_matches('/').into() }))
    }

    /// Where tokens are asked for: on its own host, with the path to ask at. A function of this process is asked itself.
    ///
    /// # Errors
    ///
    /// It is no URL that a secret may be sent to.
    pub(crate) fn granting(&self, url: &str, allow_private: bool) -> Result<(Self, String), SettingsError> {
        let wrong = |error: String| SettingsError::Auth(format!("`token_url`: {error}"));
        let parsed = Url::parse(url).map_err(|error| wrong(format!("`{url}` is no URL ({error})")))?;
        let (path, origin) = (parsed.path().to_owned(), parsed.origin().ascii_serialization());
        if parsed.query().is_some() || !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(wrong("must come without user, password and query".to_owned()));
        }
        let transport = match self {
            Self::Http(_) => Self::http(&origin, allow_private)?,
            Self::InProcess(_) => self.clone(),
        };
        Ok((transport, path))
    }

    /// Sends a request once and reads the whole reply. `timeout` bounds it from the first byte of the name look-up to
    /// the last byte of the body.
    ///
    /// # Errors
    ///
    /// There is no reply; [`TransportError`] says whether the request may have arrived.
    pub async fn send(&self, request: Request, timeout: Duration) -> Result<Reply, TransportError> {
        match self {
            Self::Http(http) => http.send(request, timeout).await,
            Self::InProcess(answer) => {
                let mut reply = answer(request).await?;
                if reply.body.len() > room(reply.status) {
                    reply.body = bounded(reply.status, reply.body)?;
                }
                Ok(reply)
            }
        }
    }
}

impl Http {
    async fn send(&self, request: Request, timeout: Duration) -> Result<Reply, TransportError> {
        let mut response = self.spell(request, timeout)?.send().await.map_err(|error| unsent_or_unknown(&error))?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unknown(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > room(status) {
                body = bounded(status, body)?;
                break;
            }
        }
        Ok(Reply { status, headers, body })
    }

    fn spell(&self, request: Request, timeout: Duration) -> Result<reqwest::RequestBuilder, TransportError> {
        let url = format!("{}{}", self.base, request.path);
        let parsed = Url::parse(&url).map_err(|error| TransportError::NotSent(format!("the request's path is no URL path: {error}")))?;
        if parsed.as_str() != url {
            return Err(TransportError::NotSent("the request's path would change on its way; this is a bug of ours".to_owned()));
        }
        let mut builder = self.client.request(request.method, parsed).timeout(timeout);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        Ok(match request.body {
            Body::None => builder,
            Body::Json(value) => builder.json(&value),
            Body::Form(pairs) => builder.form(&pairs),
            Body::Raw { kind, text } => builder.header("content-type", kind).body(text),
        })
    }
}

const fn room(status: u16) -> usize {
    if status >= 200 && status < 300 { BODY_MAX } else { ERROR_BODY_MAX }
}

/// The start of a refusal is enough to know why; the start of a success is not.
fn bounded(status: u16, mut body: Vec<u8>) -> Result<Vec<u8>, TransportError> {
    if (200..300).contains(&status) {
        return Err(TransportError::Unknown { code: "oversized", message: format!("the answer is larger than {BODY_MAX} bytes") });
    }
    body.truncate(ERROR_BODY_MAX);
    Ok(body)
}

/// Only what fails before there is a connection was surely not applied (traps.md, section 5).
fn unsent_or_unknown(error: &reqwest::Error) -> TransportError {
    if error.is_builder() || error.is_connect() { TransportError::NotSent(chain(error)) } else { unknown(error) }
}

fn unknown(error: &reqwest::Error) -> TransportError {
    let code = if error.is_timeout() {
        "timeout"
    } else if causes(error).any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)) {
        "garbage"
    } else {
        "cut"
    };
    TransportError::Unknown { code, message: chain(error) }
}

fn causes<'a>(error: &'a reqwest::Error) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

/// The causes without reqwest's own first line, which repeats the URL and with it a record's key.
fn chain(error: &reqwest::Error) -> String {
    let mut text = causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    if text.is_empty() {
        text = if error.is_timeout() { "timed out".to_owned() } else { "the request could not be sent".to_owned() };
    }
    text
}

/// Checks a destination's base URL: `https`, or `http` to this machine; no credentials, query or fragment; no address
/// of a private network unless that is allowed.
///
/// # Errors
///
/// What is wrong and what to write instead.
pub(crate) fn base_url(text: &str, allow_private: bool) -> Result<Url, SettingsError> {
    let url = Url::parse(text.trim()).map_err(|error| SettingsError::BaseUrl(format!("`{text}` is no URL ({error})")))?;
    let wrong = |what: &str| Err(SettingsError::BaseUrl(format!("`{}` {what}", url.host_str().unwrap_or_default())));
    let loopback = is_loopback(&url);
    if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
        return wrong("must be reached over https; http is for loopback addresses only");
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return wrong("must come without user, password, query and fragment; credentials belong into `auth`");
    }
    let address = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse().ok());
    if !loopback && address.is_some_and(|address| !Allowed::remote(allow_private).admits(address)) {
        return wrong("is an address of a private network; set `allow_private = true` if the CRM really is there");
    }
    Ok(url)
}

/// Whether a URL names this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Which addresses a host name may stand for, so that a name in someone's DNS cannot lead us into our own network.
#[derive(Clone, Copy)]
enum Allowed {
    Loopback,
    Public,
    PublicAndPrivate,
}

impl Allowed {
    const fn remote(allow_private: bool) -> Self {
        if allow_private { Self::PublicAndPrivate } else { Self::Public }
    }

    fn admits(self, address: IpAddr) -> bool {
        let v4 = match address {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(v6) => v6.to_ipv4_mapped(),
        };
        let (loopback, never, private) = match (v4, address) {
            (Some(v4), _) => {
                let [a, b, ..] = v4.octets();
                let never = v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() || a == 0 || a >= 240;
                (v4.is_loopback(), never, v4.is_private() || (a == 100 && b & 0xc0 == 64))
            }
            (None, IpAddr::V6(v6)) => {
                let never = v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local();
                (v6.is_loopback(), never, v6.is_unique_local())
            }
            (None, IpAddr::V4(_)) => (false, true, false),
        };
        match self {
            Self::Loopback => loopback,
            Self::Public => !loopback && !never && !private,
            Self::PublicAndPrivate => !loopback && !never,
        }
    }
}

struct Resolver {
    allowed: Allowed,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.allowed;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let kept: Vec<SocketAddr> = found.into_iter().filter(|address| allowed.admits(address.ip())).collect();
            if kept.is_empty() {
                return Err("the name stands for no address that this destination may use".into());
            }
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_this_machine_is_a_destination() {
        for good in
            ["https://example.my.salesforce.com", "http://127.0.0.1:8100", "http://localhost:1/", "http://[::1]:9", "https://1.1.1.1"]
        {
            assert!(base_url(good, false).is_ok(), "{good}");
        }
        for bad in [
            "http://example.com",
            "ftp://127.0.0.1",
            "example.com",
            "https://user:secret@example.com",
            "https://example.com/?x=1",
            "https://example.com/#x",
            "https://169.254.169.254",
            "https://10.0.0.1",
            "https://192.168.1.1",
            "https://100.64.0.1",
            "https://0.0.0.0",
            "https://[fe80::1]",
            "https://[fd00::1]",
            "https://[::ffff:169.254.169.254]",
            "https://2852039166",
        ] {
            let error = base_url(bad, false).map(|url| url.to_string());
            assert!(error.is_err(), "{bad} {error:?}");
            assert!(!format!("{error:?}").contains("secret"));
        }
        assert!(base_url("https://10.0.0.1", true).is_ok());
        assert!(base_url("https://169.254.169.254", true).is_err());
    }

    #[tokio::test]
    async fn a_name_that_stands_for_this_machine_is_no_remote_destination() {
        for (allowed, found) in [(Allowed::Loopback, true), (Allowed::Public, false), (Allowed::PublicAndPrivate, false)] {
            let addresses = Resolver { allowed }.resolve("localhost".parse().unwrap()).await;
            assert_eq!(addresses.is_ok(), found);
        }
    }
}
