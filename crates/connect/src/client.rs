//! One client for all connectors.

use std::time::Duration;

use model::{CallId, Class, Failure, Scope, Time};
use reqwest::Url;
use tokio::time::Instant;

use crate::auth::TokenCache;
use crate::crm::{Hubspot, Salesforce};
use crate::transport::{base_url, is_loopback};
use crate::{Auth, Connector, Outcome, Present, ReadBatch, Reply, Request, Token, Transport, TransportError, Usage, WriteBatch, Written};

/// Longest wait for a token, also bounded by the call's own deadline.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);
/// With less than this left, a call is not begun: it could not end in time.
const LEFT_MIN: Duration = Duration::from_millis(500);

/// Which CRM a destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Salesforce.
    Salesforce,
    /// HubSpot.
    Hubspot,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Salesforce, Self::Hubspot];

    /// The word used in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Salesforce => "salesforce",
            Self::Hubspot => "hubspot",
        }
    }

    /// Reads the word back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A destination as configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which CRM it is.
    pub kind: Kind,
    /// `https://example.my.salesforce.com`; `http` for loopback addresses only.
    pub base_url: String,
    /// How it knows us.
    pub auth: Auth,
    /// The API's version; the connector's default if there is none.
    pub api_version: Option<String>,
    /// From connecting to the last byte, a token's renewal included; the connector's default if there is none. 1 s to 10 min.
    pub call_timeout: Option<Duration>,
    /// Lets the base URL's name stand for addresses of a private network.
    pub allow_private: bool,
}

/// What is wrong with a destination's settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The base URL cannot be used.
    #[error("base_url: {0}")]
    BaseUrl(String),
    /// The credentials cannot be used.
    #[error("auth: {0}")]
    Auth(String),
    /// The API's version is malformed or too old.
    #[error("api_version: {0}")]
    ApiVersion(String),
    /// What a vendor's client is to list or read is too much, or is malformed.
    #[error("accounts: {0}")]
    Accounts(String),
    /// The timeout is out of bounds.
    #[error("call_timeout: write a span from 1s to 10m")]
    CallTimeout,
    /// This machine cannot do TLS.
    #[error("TLS cannot be set up: {0}; install the system's root certificates (package `ca-certificates`)")]
    Tls(String),
}

/// What came of a call.
#[derive(Clone, Debug)]
pub struct Report<T> {
    /// The status of the CRM's answer, if there was one.
    pub status: Option<u16>,
    /// Per record in the order of the batch, or for the whole call.
    pub result: Outcome<T>,
    /// The CRM's own count of our quota, if the answer told.
    pub usage: Option<Usage>,
}

/// Calls one destination.
pub struct Client {
    connector: Box<dyn Connector>,
    transport: Transport,
    auth: Auth,
    base: Url,
    call_timeout: Duration,
    tokens: TokenCache,
}

impl Client {
    /// A client over HTTP.
    ///
    /// # Errors
    ///
    /// Something in the settings cannot work; nothing is sent to find out.
    pub fn http(settings: Settings) -> Result<Self, SettingsError> {
        let transport = Transport::http(&settings.base_url, settings.allow_private)?;
        Self::new(settings, transport)
    }

    /// A client over any transport.
    ///
    /// # Errors
    ///
    /// As [`Client::http`].
    pub fn new(settings: Settings, transport: Transport) -> Result<Self, SettingsError> {
        let Settings { kind, base_url: base, auth, api_version, call_timeout, allow_private } = settings;
        let base = base_url(&base, allow_private)?;
        auth.check()?;
        suits(kind, &auth)?;
        let connector: Box<dyn Connector> = match kind {
            Kind::Salesforce => Box::new(Salesforce::new(api_version.as_deref())?),
            Kind::Hubspot => Box::new(Hubspot::new(api_version.as_deref())?),
        };
        let call_timeout = call_timeout.unwrap_or(connector.limits().call_timeout);
        if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&call_timeout) {
            return Err(SettingsError::CallTimeout);
        }
        Ok(Self { connector, transport, auth, base, call_timeout, tokens: TokenCache::default() })
    }

    /// The translator in use: its limits, its notion of equality.
    pub fn connector(&self) -> &dyn Connector {
        &*self.connector
    }

    /// How long a call can take at most. A lease must be longer.
    pub fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    /// Writes a batch by one call.
    pub async fn write(&self, batch: &WriteBatch, call: CallId, now: Time) -> Report<Written> {
        let request = self.connector.write(batch);
        self.report(request, call, now, |reply| self.connector.written(batch, reply)).await
    }

    /// Looks up a batch of keys by one call.
    pub async fn read(&self, batch: &ReadBatch, call: CallId, now: Time) -> Report<Option<Present>> {
        let request = self.connector.read(batch);
        self.report(request, call, now, |reply| self.connector.found(batch, reply)).await
    }

    /// Finds out by the cheapest call whether the destination is well and takes our credentials.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub async fn probe(&self, now: Time) -> Result<(), Failure> {
        let reply = self.exchange(self.connector.probe(), None, now).await?;
        self.judge(&reply, now, |reply| self.connector.probed(reply))
    }

    async fn report<T>(
        &self,
        request: Result<Request, Failure>,
        call: CallId,
        now: Time,
        read: impl FnOnce(&Reply) -> Outcome<T>,
    ) -> Report<T> {
        let reply = match request {
            Ok(request) => self.exchange(request, Some(call), now).await,
            Err(failure) => Err(failure),
        };
        match reply {
            Ok(reply) => {
                let usage = self.connector.usage(&reply);
                Report { status: Some(reply.status), result: self.judge(&reply, now, read), usage }
            }
            Err(failure) => Report { status: None, result: Err(failure), usage: None },
        }
    }

    /// What holds for every CRM: a redirect is not followed, and `Retry-After` is believed within bounds.
    fn judge<T>(&self, reply: &Reply, now: Time, read: impl FnOnce(&Reply) -> Result<T, Failure>) -> Result<T, Failure> {
        if (301..400).contains(&reply.status) {
            return Err(misdirected(reply.status));
        }
        read(reply).map_err(|mut failure| {
            match failure.class {
                Class::Throttled | Class::Retryable | Class::Unknown => {
                    failure.retry_after = reply.retry_after(now, self.connector.limits().retry_after_max).or(failure.retry_after)
                }
                Class::Auth | Class::Conflict | Class::Permanent => {}
            }
            failure
        })
    }

    /// Sends a request with a token, and once more with a fresh one if only the token was refused.
    async fn exchange(&self, mut request: Request, call: Option<CallId>, now: Time) -> Result<Reply, Failure> {
        let deadline = Instant::now() + self.call_timeout;
        if let Some(call) = call {
            request.headers.push(("x-onceward-call".to_owned(), call.to_string()));
        }
        let token = self.token(None, now, deadline).await?;
        let reply = self.send(&request, &token, deadline).await?;
        if !self.connector.expired(&reply) {
            return Ok(reply);
        }
        let token = self.token(Some(&token), now, deadline).await?;
        self.send(&request, &token, deadline).await
    }

    async fn send(&self, request: &Request, token: &Token, deadline: Instant) -> Result<Reply, Failure> {
        let mut request = request.clone();
        request.headers.push(self.connector.authorize(token));
        let left = left(deadline)?;
        self.transport.send(request, left).await.map_err(TransportError::failure)
    }

    async fn token(&self, refused: Option<&Token>, now: Time, deadline: Instant) -> Result<Token, Failure> {
        // A token that was given to us is the only one there is.
        if let Auth::Bearer { token } = &self.auth {
            return Ok(Token { value: token.clone(), instance_url: None });
        }
        let ask = async || {
            let request = self.connector.token(&self.auth, now)?;
            let left = left(deadline)?.min(TOKEN_TIMEOUT);
            // Whatever became of this request, the call itself was not sent.
            let reply = self.transport.send(request, left).await.map_err(|error| {
                Failure::new(Class::Retryable, Scope::Destination, "token", format!("no answer to the request for a token: {error}"))
            })?;
            let token = self.judge(&reply, now, |reply| self.connector.granted(reply))?;
            self.check_instance(&token)?;
            Ok(token)
        };
        self.tokens.get(refused, now, ask).await
    }

    /// A token for another org must not be used: its records are not ours to change.
    fn check_instance(&self, token: &Token) -> Result<(), Failure> {
        let Some(named) = &token.instance_url else { return Ok(()) };
        let same = Url::parse(named).is_ok_and(|named| {
            let host = named.host_str() == self.base.host_str() || (is_loopback(&named) && is_loopback(&self.base));
            host && named.port_or_known_default() == self.base.port_or_known_default()
        });
        if same {
            return Ok(());
        }
        let message = format!(
            "the token is for `{named}`, and `base_url` is `{}`: set `base_url` to the org's My Domain, or use the credentials of this org",
            self.base
        );
        Err(Failure::new(Class::Auth, Scope::Destination, "instance_url", message))
    }
}

/// Each CRM takes its own credentials.
fn suits(kind: Kind, auth: &Auth) -> Result<(), SettingsError> {
    let other = |text: &str| Err(SettingsError::Auth(text.to_owned()));
    match (kind, auth) {
        (Kind::Salesforce, Auth::ClientCredentials { .. } | Auth::JwtBearer { .. }) | (Kind::Hubspot, Auth::Bearer { .. }) => Ok(()),
        (Kind::Salesforce, Auth::Bearer { .. } | Auth::RefreshToken { .. }) => {
            other("Salesforce takes `client_credentials` or `jwt_bearer`")
        }
        (Kind::Hubspot, Auth::ClientCredentials { .. } | Auth::RefreshToken { .. } | Auth::JwtBearer { .. }) => {
            other("HubSpot takes `bearer`, with the token of a private app")
        }
    }
}

fn left(deadline: Instant) -> Result<Duration, Failure> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left < LEFT_MIN { Err(out_of_time()) } else { Ok(left) }
}

fn out_of_time() -> Failure {
    Failure::new(Class::Retryable, Scope::Destination, "not_sent", "getting a token took as long as the whole call may take")
}

fn misdirected(status: u16) -> Failure {
    let message = "the CRM answered with a redirect, which is never followed: set the destination's `base_url` to its final address";
    Failure::new(Class::Permanent, Scope::Destination, format!("http_{status}"), message)
}
