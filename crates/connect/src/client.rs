//! One client for all connectors.

use std::time::Duration;

use model::{CallId, Class, Failure, Scope, Time};
use reqwest::Url;
use tokio::time::Instant;

use crate::auth::TokenCache;
use crate::crm::{self, Kind};
use crate::transport::{base_url, is_loopback};
use crate::{
    Auth, AuthKind, Connector, Description, Outcome, Present, READ_STEPS_MAX, ReadBatch, Reply, Request, Token, Transport, TransportError,
    Usage, WriteBatch, Written,
};

/// Longest wait for a token, also bounded by the call's own deadline.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);
/// With less than this left, a call is not begun: it could not end in time.
const LEFT_MIN: Duration = Duration::from_millis(500);

/// A destination as configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which CRM it is.
    pub kind: Kind,
    /// `https://example.my.salesforce.com`; `http` for loopback addresses only.
    pub base_url: String,
    /// How it knows us.
    pub auth: Auth,
    /// Where tokens are asked for; the connector's default if there is none.
    pub token_url: Option<String>,
    /// The OAuth scope to ask for; the connector's default if there is none.
    pub scope: Option<String>,
    /// The API's version; the connector's default if there is none.
    pub api_version: Option<String>,
    /// From connecting to the last byte, a token's renewal included; the connector's default if there is none. 1 s to 10 min.
    pub call_timeout: Option<Duration>,
    /// Lets the base URL's name stand for addresses of a private network.
    pub allow_private: bool,
}

impl Settings {
    /// Nothing but an address and credentials.
    pub fn new(kind: Kind, base_url: impl Into<String>, auth: Auth) -> Self {
        Self {
            kind,
            base_url: base_url.into(),
            auth,
            token_url: None,
            scope: None,
            api_version: None,
            call_timeout: None,
            allow_private: false,
        }
    }
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
    /// The CRM's own count of our calls, as far as the answer told.
    pub usage: Vec<Usage>,
    /// How many requests were sent to the CRM for it, tokens included.
    pub calls: u32,
}

/// Calls one destination.
pub struct Client {
    connector: Box<dyn Connector>,
    transport: Transport,
    /// Where tokens are asked for, and with which path.
    granting: Option<(Transport, String)>,
    scope: Option<String>,
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
        let base = base_url(&settings.base_url, settings.allow_private)?;
        settings.auth.check()?;
        let connector = crm::connector(&settings)?;
        let given = settings.auth.kind();
        if !settings.kind.takes().contains(&given) {
            let words: Vec<String> = settings.kind.takes().iter().map(|kind| format!("`{}`", kind.as_str())).collect();
            let error = format!("{} takes {}, not `{}`", settings.kind.as_str(), words.join(" or "), given.as_str());
            return Err(SettingsError::Auth(error));
        }
        let call_timeout = settings.call_timeout.unwrap_or(connector.limits().call_timeout);
        if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&call_timeout) {
            return Err(SettingsError::CallTimeout);
        }
        let granting = match given {
            AuthKind::Bearer | AuthKind::ApiKey | AuthKind::Basic => None,
            AuthKind::ClientCredentials | AuthKind::RefreshToken | AuthKind::JwtBearer => {
                Some(granting(&*connector, &settings, &transport)?)
            }
        };
        let scope = settings.scope.or_else(|| connector.scope());
        Ok(Self { connector, transport, granting, scope, auth: settings.auth, base, call_timeout, tokens: TokenCache::default() })
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
        let mut way = Way::new(Some(call), now, self.call_timeout);
        let replied = match self.connector.write(batch) {
            Ok(request) => self.exchange(request, &mut way).await,
            Err(failure) => Err(failure),
        };
        match replied {
            Ok(reply) => Report {
                status: Some(reply.status),
                result: self.judge(&reply, now, |reply| self.connector.written(batch, reply)),
                usage: self.connector.usage(&reply),
                calls: way.calls,
            },
            Err(failure) => Report { status: None, result: Err(failure), usage: Vec::new(), calls: way.calls },
        }
    }

    /// Looks up a batch of records, by one call or the few that the CRM needs for it.
    pub async fn read(&self, batch: &ReadBatch, call: CallId, now: Time) -> Report<Option<Present>> {
        let mut way = Way::new(Some(call), now, self.call_timeout);
        let mut replies = Vec::new();
        let result = self.look_up(batch, &mut replies, &mut way).await;
        let last = replies.last();
        Report {
            status: last.map(|reply| reply.status),
            result,
            usage: last.map(|reply| self.connector.usage(reply)).unwrap_or_default(),
            calls: way.calls,
        }
    }

    async fn look_up(&self, batch: &ReadBatch, replies: &mut Vec<Reply>, way: &mut Way) -> Outcome<Option<Present>> {
        let mut next = Some(self.connector.read(batch)?);
        while let Some(request) = next {
            if replies.len() == READ_STEPS_MAX {
                let message = format!("the look-up takes more than {READ_STEPS_MAX} calls; this is a bug of ours");
                return Err(Failure::new(Class::Permanent, Scope::Call, "too_many_steps", message));
            }
            replies.push(self.exchange(request, way).await?);
            let reply = replies.last().ok_or_else(out_of_time)?;
            next = self.judge(reply, way.now, |_| self.connector.read_on(batch, replies))?;
        }
        let Some(last) = replies.last() else { return Ok(Vec::new()) };
        self.judge(last, way.now, |_| self.connector.found(batch, replies))
    }

    /// What fields the CRM says that an object has.
    ///
    /// # Errors
    ///
    /// It does not say, or could not be asked.
    pub async fn describe(&self, object: &str, now: Time) -> Result<Description, Failure> {
        let mut way = Way::new(None, now, self.call_timeout);
        let mut replies = Vec::new();
        for request in self.connector.describe(object) {
            replies.push(self.exchange(request, &mut way).await?);
        }
        match replies.last() {
            Some(last) => self.judge(last, now, |_| self.connector.described(object, &replies)),
            None => self.connector.described(object, &replies),
        }
    }

    /// Sends one of the calls that [`Connector::setup`] spells.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub async fn set_up(&self, request: Request, now: Time) -> Result<Reply, Failure> {
        self.exchange(request, &mut Way::new(None, now, self.call_timeout)).await
    }

    /// Finds out by the cheapest call whether the destination is well and takes our credentials.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub async fn probe(&self, now: Time) -> Result<(), Failure> {
        let reply = self.exchange(self.connector.probe(), &mut Way::new(None, now, self.call_timeout)).await?;
        self.judge(&reply, now, |reply| self.connector.probed(reply))
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
    async fn exchange(&self, mut request: Request, way: &mut Way) -> Result<Reply, Failure> {
        if let Some(call) = way.call {
            request.headers.push(("x-onceward-call".to_owned(), call.to_string()));
        }
        let token = self.token(None, way).await?;
        let reply = self.send(&request, &token, way).await?;
        if self.granting.is_none() || !self.connector.expired(&reply) {
            return Ok(reply);
        }
        let token = self.token(Some(&token), way).await?;
        self.send(&request, &token, way).await
    }

    async fn send(&self, request: &Request, token: &Token, way: &mut Way) -> Result<Reply, Failure> {
        let mut request = request.clone();
        request.headers.push(self.connector.authorize(self.auth.kind(), token));
        let left = left(way.deadline)?;
        way.calls += 1;
        self.transport.send(request, left).await.map_err(TransportError::failure)
    }

    async fn token(&self, refused: Option<&Token>, way: &mut Way) -> Result<Token, Failure> {
        // A token that was given to us is the only one there is.
        if let Some(token) = self.auth.fixed() {
            return Ok(token);
        }
        let Some((transport, path)) = &self.granting else {
            return Err(Failure::new(Class::Auth, Scope::Destination, "token", "there is nobody to ask for a token"));
        };
        let Way { now, deadline, .. } = *way;
        let ask = async || {
            let request = self.auth.oauth_request(path, self.scope.as_deref(), now)?;
            let left = left(deadline)?.min(TOKEN_TIMEOUT);
            way.calls += 1;
            // Whatever became of this request, the call itself was not sent.
            let reply = transport.send(request, left).await.map_err(|error| {
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

/// What the requests of one call have in common.
struct Way {
    call: Option<CallId>,
    now: Time,
    deadline: Instant,
    /// Requests sent so far.
    calls: u32,
}

impl Way {
    fn new(call: Option<CallId>, now: Time, timeout: Duration) -> Self {
        Self { call, now, deadline: Instant::now() + timeout, calls: 0 }
    }
}

/// Where tokens are asked for: by the settings, else where the connector knows; a path is one on the base URL.
fn granting(connector: &dyn Connector, settings: &Settings, transport: &Transport) -> Result<(Transport, String), SettingsError> {
    let url = settings.token_url.clone().or_else(|| connector.token_url());
    let url = url.ok_or_else(|| SettingsError::Auth("`token_url` is missing: write where tokens are asked for".to_owned()))?;
    if url.starts_with('/') {
        return Ok((transport.clone(), url));
    }
    transport.granting(&url, settings.allow_private)
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
