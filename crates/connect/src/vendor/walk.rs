//! One client for all vendors.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Class, Failure, Scope, Time};
use serde_json::Value;
use tokio::time::Instant;

use super::api::Api;
use super::cache::Cache;
use super::{Answer, Fetched, Kind, PAGE_MAX, Page, Settings, Window, refusal, translator, unknown};
use crate::auth::{TokenCache, granted};
use crate::transport::base_url;
use crate::{Auth, Reply, Request, Secret, SettingsError, Token, Transport};

const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for a token, also bounded by the call's own deadline.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);
/// With less than this left, a call is not begun.
const LEFT_MIN: Duration = Duration::from_millis(200);
/// Calls that one fetch makes for what belongs to its objects.
const BESIDE_MAX: usize = 10;
const ACCOUNTS_MAX: usize = 20;
const PROPERTIES_MAX: usize = 200;

/// Reads from one source's vendor.
pub struct Vendor {
    kind: Kind,
    api: Box<dyn Api>,
    transport: Transport,
    /// Where tokens are asked for, and with which path.
    granting: Option<(Transport, String)>,
    auth: Auth,
    scope: Option<String>,
    call_timeout: Duration,
    tokens: TokenCache,
    beside: Cache,
    /// What must never stand in an error.
    secrets: Vec<Secret>,
}

impl Vendor {
    /// A client over HTTP. Nothing is sent to find out whether the settings are right.
    ///
    /// # Errors
    ///
    /// Something in the settings cannot work.
    pub fn new(kind: Kind, settings: Settings) -> Result<Self, SettingsError> {
        let base = settings.base_url.clone().unwrap_or_else(|| kind.base_url().to_owned());
        let transport = Transport::http(&base, settings.allow_private)?;
        Self::over(kind, settings, transport)
    }

    /// A client over any transport. Tokens are asked for over the same one if it is a function of this process.
    ///
    /// # Errors
    ///
    /// As [`Vendor::new`].
    pub fn over(kind: Kind, settings: Settings, transport: Transport) -> Result<Self, SettingsError> {
        settings.auth.check()?;
        kind.suits(&settings.auth)?;
        if settings.accounts.len() > ACCOUNTS_MAX || settings.properties.len() > PROPERTIES_MAX {
            return Err(SettingsError::Accounts(format!("write at most {ACCOUNTS_MAX} `accounts` and {PROPERTIES_MAX} `properties`")));
        }
        base_url(settings.base_url.as_deref().unwrap_or(kind.base_url()), settings.allow_private)?;
        let call_timeout = settings.call_timeout.unwrap_or(CALL_TIMEOUT);
        if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&call_timeout) {
            return Err(SettingsError::CallTimeout);
        }
        let api = translator(kind, &settings)?;
        let granting = match settings.auth {
            Auth::Bearer { .. } | Auth::ApiKey { .. } | Auth::Basic { .. } => None,
            Auth::ClientCredentials { .. } | Auth::RefreshToken { .. } | Auth::JwtBearer { .. } => {
                let url = settings.token_url.as_deref().or(kind.token_url());
                let url = url.ok_or_else(|| SettingsError::Auth(format!("{} gives out no tokens that way", kind.as_str())))?;
                Some(transport.granting(url, settings.allow_private)?)
            }
        };
        let secrets = settings.auth.secrets().into_iter().chain(settings.app_secret.clone()).collect();
        let Settings { auth, scope, .. } = settings;
        Ok(Self {
            kind,
            api,
            transport,
            granting,
            auth,
            scope,
            call_timeout,
            tokens: TokenCache::default(),
            beside: Cache::default(),
            secrets,
        })
    }

    /// Whose API it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How long a fetch can take at most. A lease must be longer.
    pub fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    /// How many ids of an object share a fetch; `None`: there is no such object.
    pub fn batch(&self, object: &str) -> Option<usize> {
        self.api.batch(object)
    }

    /// Fetches objects of one kind by their ids, at most [`Vendor::batch`] of them: what became of each, in their order. It makes one call, and up
    /// to ten more for what belongs to the objects and is not known yet. `with` is what else the push said that the vendor needs: the `tenant` of
    /// Xero, the `object` of Attio.
    ///
    /// The whole call may have failed: `Throttled`, `Auth`, `Retryable` (never `Unknown`: nothing was to be changed), `Permanent` with scope
    /// `Destination` for settings that cannot work, and `Conflict` with scope `Call` for ids that would work in halves.
    pub async fn fetch(&self, object: &str, ids: &[String], with: &BTreeMap<String, String>, now: Time) -> Answer {
        let mut status = None;
        let result = self.fetch_all(object, ids, with, now, &mut status).await;
        Answer { status, result }
    }

    async fn fetch_all(
        &self,
        object: &str,
        ids: &[String],
        with: &BTreeMap<String, String>,
        now: Time,
        status: &mut Option<u16>,
    ) -> Result<Vec<(String, Fetched)>, Failure> {
        let deadline = Instant::now() + self.call_timeout;
        let most = self.api.batch(object).ok_or_else(|| unknown(object, self.kind, self.kind.objects()))?;
        if ids.len() > most {
            let message = format!("{} ids were asked for at once, and {most} can be", ids.len());
            return Err(Failure::new(Class::Conflict, Scope::Call, "too_large", message));
        }
        let whole: Vec<String> = ids.iter().map(|id| self.api.whole_id(id, with)).collect();
        let asked: Vec<&str> = whole.iter().map(String::as_str).filter(|id| self.api.is_id(object, id)).collect();
        let mut fetched = Vec::new();
        if !asked.is_empty() {
            let reply = self.exchange(self.api.fetch(object, &asked), now, deadline).await?;
            *status = Some(reply.status);
            fetched = self.judge(&reply, now, |reply| self.api.fetched(object, &asked, reply))?;
            self.complete(object, &mut fetched, now, deadline).await?;
        }
        let mut fetched = fetched.into_iter();
        let mut one = |whole: &String| match self.api.is_id(object, whole) {
            true => fetched.next().unwrap_or_else(not_told),
            false => Fetched::Refused(malformed(object)),
        };
        Ok(ids.iter().zip(&whole).map(|(id, whole)| (id.clone(), one(whole))).collect())
    }

    /// Adds to each object what belongs to it and was not in the answer.
    async fn complete(&self, object: &str, fetched: &mut [Fetched], now: Time, deadline: Instant) -> Result<(), Failure> {
        let mut calls = 0;
        for one in fetched {
            let Fetched::Object(document) = one else { continue };
            let Some(beside) = self.api.beside(object, document) else { continue };
            let found = match self.beside.get(&beside.key, now).filter(|_| beside.keep) {
                Some(kept) => Ok(kept),
                None if calls == BESIDE_MAX => Err(later()),
                None => {
                    calls += 1;
                    self.ask_beside(beside.request, now, deadline).await.inspect(|found| {
                        if beside.keep {
                            self.beside.put(&beside.key, found, now);
                        }
                    })
                }
            };
            match found {
                Ok(found) => self.api.complete(document, &found),
                Err(failure) if failure.scope == Scope::Record => *one = Fetched::Refused(failure),
                Err(failure) => *one = refusal::of_one(failure)?,
            }
        }
        Ok(())
    }

    async fn ask_beside(&self, request: Request, now: Time, deadline: Instant) -> Result<Value, Failure> {
        let reply = self.exchange(request, now, deadline).await?;
        self.judge(&reply, now, |reply| self.api.read_beside(reply))
    }

    /// Whether a page could be asked for at all: what the settings must say for it is there, and the cursor is one of ours. Nothing is sent.
    ///
    /// # Errors
    ///
    /// What is missing.
    pub fn can_list(&self, what: &str, window: Window, cursor: Option<&str>) -> Result<(), Failure> {
        if !self.kind.lists().contains(&what) {
            return Err(unknown(what, self.kind, self.kind.lists()));
        }
        self.api.list(what, window, cursor).map(drop)
    }

    /// One page of what the vendor has of `what` (see [`Kind::lists`]) in a window. `cursor` is the `next` of the page before.
    ///
    /// # Errors
    ///
    /// As the failures of [`Vendor::fetch`]. What belongs to a listed object and could not be had is no failure: the object is left out then.
    pub async fn list(&self, what: &str, window: Window, cursor: Option<&str>, now: Time) -> Result<Page, Failure> {
        self.can_list(what, window, cursor)?;
        let deadline = Instant::now() + self.call_timeout;
        let request = self.api.list(what, window, cursor)?;
        let reply = self.exchange(request, now, deadline).await?;
        let mut page = self.judge(&reply, now, |reply| self.api.listed(what, window, cursor, reply))?;
        if page.objects.len() > PAGE_MAX || (page.next.is_some() && page.next.as_deref() == cursor) {
            return Err(refusal::garbage(&reply));
        }
        self.complete_listed(&mut page, now, deadline).await;
        Ok(page)
    }

    /// Adds to listed objects what a fetch would have: what is still missing then is left to be fetched.
    async fn complete_listed(&self, page: &mut Page, now: Time, deadline: Instant) {
        let Some(object) = self.kind.objects().first() else { return };
        let mut whole: Vec<Fetched> =
            page.objects.iter().map(|listed| listed.object.clone().map_or(Fetched::Gone, |(_, it)| Fetched::Object(it))).collect();
        let completed = self.complete(object, &mut whole, now, deadline).await;
        for (listed, whole) in page.objects.iter_mut().zip(whole) {
            match whole {
                Fetched::Object(document) if completed.is_ok() => {
                    if let Some((_, held)) = &mut listed.object {
                        *held = document;
                    }
                }
                Fetched::Object(_) | Fetched::Gone | Fetched::Refused(_) => listed.object = None,
            }
        }
    }

    /// Finds out by the cheapest call whether the vendor is well and takes our credentials.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub async fn probe(&self, now: Time) -> Result<(), Failure> {
        let reply = self.exchange(self.api.probe(), now, Instant::now() + self.call_timeout).await?;
        self.judge(&reply, now, |reply| match reply.status {
            200..=299 => Ok(()),
            _ => Err(self.api.refused(reply)),
        })
    }

    /// What holds for every vendor: a redirect is not followed, and `Retry-After` is believed within bounds.
    fn judge<T>(&self, reply: &Reply, now: Time, read: impl FnOnce(&Reply) -> Result<T, Failure>) -> Result<T, Failure> {
        if (300..400).contains(&reply.status) {
            let message =
                "the vendor answered with a redirect, which is never followed: set the source's `fetch.base_url` to its final address";
            return Err(Failure::new(Class::Permanent, Scope::Destination, format!("http_{}", reply.status), message));
        }
        read(reply).map_err(|mut failure| {
            if matches!(failure.class, Class::Throttled | Class::Retryable) {
                failure.retry_after = reply.retry_after(now, self.api.retry_after_max()).or(failure.retry_after);
            }
            failure
        })
    }

    /// Sends a request with a token, and once more with a fresh one if only the token was refused.
    async fn exchange(&self, request: Request, now: Time, deadline: Instant) -> Result<Reply, Failure> {
        let token = self.token(None, now, deadline).await?;
        let reply = self.send(&request, &token, deadline).await?;
        if reply.status != 401 || self.granting.is_none() {
            return Ok(reply);
        }
        let token = self.token(Some(&token), now, deadline).await?;
        self.send(&request, &token, deadline).await
    }

    async fn send(&self, request: &Request, token: &Token, deadline: Instant) -> Result<Reply, Failure> {
        let mut request = request.clone();
        request.headers.push(("accept".to_owned(), "application/json".to_owned()));
        self.api.authorize(&mut request, token);
        let reply = self.transport.send(request, left(deadline)?).await.map_err(refusal::unanswered)?;
        Ok(self.without_secrets(reply, Some(token)))
    }

    /// Some vendors repeat the token that they refuse; nobody is to read it in a list of failures.
    fn without_secrets(&self, mut reply: Reply, token: Option<&Token>) -> Reply {
        if (200..300).contains(&reply.status) {
            return reply;
        }
        let mut text = String::from_utf8_lossy(&reply.body).into_owned();
        for secret in self.secrets.iter().chain(token.map(|token| &token.value)) {
            let secret = secret.reveal();
            if !secret.is_empty() {
                text = text.replace(secret, "***").replace(&secret.replace('/', "\\/"), "***");
            }
        }
        reply.body = text.into_bytes();
        reply
    }

    async fn token(&self, refused: Option<&Token>, now: Time, deadline: Instant) -> Result<Token, Failure> {
        // A token that was given to us is the only one there is.
        if let Some(token) = self.auth.fixed() {
            return Ok(token);
        }
        let Some((transport, path)) = &self.granting else {
            return Err(Failure::new(Class::Auth, Scope::Destination, "token", "there is nobody to ask for a token"));
        };
        let ask = async || {
            let request = self.auth.oauth_request(path, self.scope.as_deref(), now)?;
            let left = left(deadline)?.min(TOKEN_TIMEOUT);
            let reply = transport.send(request, left).await.map_err(refusal::unanswered)?;
            let reply = self.without_secrets(reply, None);
            self.judge(&reply, now, granted)
        };
        self.tokens.get(refused, now, ask).await
    }
}

fn left(deadline: Instant) -> Result<Duration, Failure> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left < LEFT_MIN {
        let message = "what came before took as long as the whole fetch may take";
        return Err(Failure::new(Class::Retryable, Scope::Destination, "timeout", message));
    }
    Ok(left)
}

fn malformed(object: &str) -> Failure {
    let message = format!("the push names a {object} by something that is no id of this vendor's; nothing was asked for");
    Failure::new(Class::Permanent, Scope::Record, "malformed_id", message)
}

fn not_told() -> Fetched {
    let message = "the answer says nothing of this object";
    Fetched::Refused(Failure::new(Class::Retryable, Scope::Record, "no_result", message))
}

fn later() -> Failure {
    let message = format!("the objects need more than {BESIDE_MAX} further calls; the rest follows with the next fetch");
    Failure::new(Class::Retryable, Scope::Record, "further_calls", message)
}
