//! Credentials, and the tokens they are exchanged for.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use model::{Class, Failure, Scope, Time};
use reqwest::Method;
use ring::rsa::KeyPair;
use serde_json::json;
use tokio::sync::Mutex;

use crate::{Body, Reply, Request, SettingsError};

/// How long a token is used whose life nobody told: half an hour is well inside any Salesforce org's session timeout.
const TOKEN_LIFE: Duration = Duration::from_secs(30 * 60);
/// How long before its end a token is used no more, so that none ends on its way.
const TOKEN_REST: Duration = Duration::from_secs(60);
/// A token longer than this is no token.
pub(crate) const TOKEN_MAX: usize = 4 * 1024;
/// How far ahead a signed assertion expires; three minutes is the most that is sure to be accepted.
const ASSERTION_LIFE_SECONDS: i64 = 180;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text into keeping.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the request that needs it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The kinds of [`Auth`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthKind {
    /// [`Auth::Bearer`].
    Bearer,
    /// [`Auth::ApiKey`].
    ApiKey,
    /// [`Auth::Basic`].
    Basic,
    /// [`Auth::ClientCredentials`].
    ClientCredentials,
    /// [`Auth::RefreshToken`].
    RefreshToken,
    /// [`Auth::JwtBearer`].
    JwtBearer,
}

impl AuthKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Bearer, Self::ApiKey, Self::Basic, Self::ClientCredentials, Self::RefreshToken, Self::JwtBearer];

    /// The word used in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::ApiKey => "api_key",
            Self::Basic => "basic",
            Self::ClientCredentials => "client_credentials",
            Self::RefreshToken => "refresh_token",
            Self::JwtBearer => "jwt_bearer",
        }
    }
}

/// How a destination knows us.
#[derive(Clone, Debug)]
pub enum Auth {
    /// A token that somebody gave us and that does not end by itself: a private app's.
    Bearer {
        /// Goes into a header as it is.
        token: Secret,
    },
    /// A key that goes into a header of its own, by the CRM's name for it.
    ApiKey {
        /// Goes into that header as it is.
        token: Secret,
    },
    /// A user and a password (RFC 7617).
    Basic {
        /// Without a colon.
        username: String,
        /// Never shown.
        password: Secret,
    },
    /// OAuth client credentials: an app with a user to run as.
    ClientCredentials {
        /// The app's consumer key.
        client_id: String,
        /// The app's consumer secret.
        client_secret: Secret,
    },
    /// An OAuth refresh token that stays the same when it is used.
    RefreshToken {
        /// The app's client id.
        client_id: String,
        /// The app's client secret.
        client_secret: Secret,
        /// What access tokens are given out for.
        refresh_token: Secret,
    },
    /// An assertion signed with our own key, for a user who was authorized beforehand.
    JwtBearer {
        /// The app's consumer key.
        client_id: String,
        /// Whom we act as.
        username: String,
        /// An RSA key in PEM, PKCS#8 or PKCS#1, without a passphrase.
        private_key_pem: Secret,
        /// The login host: `https://login.salesforce.com`.
        audience: String,
    },
}

/// What a destination lets us in with.
#[derive(Clone, Debug)]
pub struct Token {
    /// Goes into a header.
    pub value: Secret,
    /// The host that the token is for, where the answer named one.
    pub instance_url: Option<String>,
    /// How long it is good for, where the answer said.
    pub expires_in: Option<Duration>,
}

impl Token {
    /// A token that does not end by itself.
    pub(crate) fn lasting(value: Secret) -> Self {
        Self { value, instance_url: None, expires_in: None }
    }

    /// How long it is used before a fresh one is asked for.
    fn used_for(&self) -> Duration {
        // One that lives for less than two rests is used for half of its life.
        self.expires_in.map_or(TOKEN_LIFE, |life| life.saturating_sub(TOKEN_REST).max(life / 2))
    }
}

/// Reads a token as RFC 6749, section 5, has it answered.
///
/// # Errors
///
/// Never `Unknown`. Being told to come back later is no refusal of the credentials.
pub(crate) fn granted(reply: &Reply) -> Result<Token, Failure> {
    let body = reply.json().unwrap_or_default();
    let token = body["access_token"].as_str().filter(|token| reply.status == 200 && is_token(token));
    if let Some(token) = token {
        let expires_in = body["expires_in"].as_u64().or_else(|| body["expires_in"].as_str()?.parse().ok());
        return Ok(Token { value: Secret::new(token), instance_url: None, expires_in: expires_in.map(Duration::from_secs) });
    }
    let text = |names: [&str; 3]| names.into_iter().find_map(|name| body[name].as_str()).map(str::to_owned);
    let code = text(["error", "status", "code"]).unwrap_or_else(|| format!("http_{}", reply.status));
    let said = text(["error_description", "message", "detail"]).unwrap_or_else(|| "the request for a token was refused".to_owned());
    let (class, wait) = match reply.status {
        429 => (Class::Throttled, Some(Duration::from_secs(60))),
        408 | 500..=599 => (Class::Retryable, None),
        _ => (Class::Auth, None),
    };
    Err(Failure { retry_after: wait, ..Failure::new(class, Scope::Destination, code, said) })
}

/// The header of RFC 6750, or of RFC 7617.
pub(crate) fn authorization(kind: AuthKind, token: &Token) -> (String, String) {
    let scheme = match kind {
        AuthKind::Basic => "Basic",
        AuthKind::Bearer | AuthKind::ApiKey | AuthKind::ClientCredentials | AuthKind::RefreshToken | AuthKind::JwtBearer => "Bearer",
    };
    ("authorization".to_owned(), format!("{scheme} {}", token.value.reveal()))
}

/// Whether a text may be a token: it goes into a header.
pub(crate) fn is_token(text: &str) -> bool {
    (1..=TOKEN_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Auth {
    /// Which kind it is.
    pub const fn kind(&self) -> AuthKind {
        match self {
            Self::Bearer { .. } => AuthKind::Bearer,
            Self::ApiKey { .. } => AuthKind::ApiKey,
            Self::Basic { .. } => AuthKind::Basic,
            Self::ClientCredentials { .. } => AuthKind::ClientCredentials,
            Self::RefreshToken { .. } => AuthKind::RefreshToken,
            Self::JwtBearer { .. } => AuthKind::JwtBearer,
        }
    }

    /// What stands for a token without anybody being asked for one.
    pub(crate) fn fixed(&self) -> Option<Token> {
        match self {
            Self::Bearer { token } | Self::ApiKey { token } => Some(Token::lasting(token.clone())),
            Self::Basic { username, password } => {
                Some(Token::lasting(Secret::new(STANDARD.encode(format!("{username}:{}", password.reveal())))))
            }
            Self::ClientCredentials { .. } | Self::RefreshToken { .. } | Self::JwtBearer { .. } => None,
        }
    }

    /// Checks what can be checked without asking anyone.
    ///
    /// # Errors
    ///
    /// What is missing or malformed.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        let missing = |name: &str| Err(SettingsError::Auth(format!("`{name}` is empty")));
        match self {
            Self::Bearer { token } | Self::ApiKey { token } if token.0.is_empty() => missing("token"),
            Self::Bearer { token } | Self::ApiKey { token } if !is_token(&token.0) => {
                Err(SettingsError::Auth(format!("`token` is no token: one is up to {TOKEN_MAX} visible ASCII characters without spaces")))
            }
            Self::Bearer { .. } | Self::ApiKey { .. } => Ok(()),
            Self::Basic { username, .. } if username.trim().is_empty() => missing("username"),
            Self::Basic { password, .. } if password.0.is_empty() => missing("password"),
            Self::Basic { username, password } if username.contains(':') || username.len() + password.0.len() > TOKEN_MAX / 2 => {
                Err(SettingsError::Auth(format!("`username` has no colon, and with `password` at most {} characters", TOKEN_MAX / 2)))
            }
            Self::Basic { .. } => Ok(()),
            Self::ClientCredentials { client_id, .. } if client_id.trim().is_empty() => missing("client_id"),
            Self::ClientCredentials { client_secret, .. } if client_secret.0.trim().is_empty() => missing("client_secret"),
            Self::ClientCredentials { .. } => Ok(()),
            Self::RefreshToken { client_id, .. } if client_id.trim().is_empty() => missing("client_id"),
            Self::RefreshToken { client_secret, .. } if client_secret.0.trim().is_empty() => missing("client_secret"),
            Self::RefreshToken { refresh_token, .. } if refresh_token.0.trim().is_empty() => missing("refresh_token"),
            Self::RefreshToken { .. } => Ok(()),
            Self::JwtBearer { client_id, .. } if client_id.trim().is_empty() => missing("client_id"),
            Self::JwtBearer { username, .. } if username.trim().is_empty() => missing("username"),
            Self::JwtBearer { audience, .. } if !audience.starts_with("https://") => {
                Err(SettingsError::Auth("`audience` is the login host, such as `https://login.salesforce.com`".to_owned()))
            }
            Self::JwtBearer { private_key_pem, .. } => rsa_key(private_key_pem).map(drop).map_err(SettingsError::Auth),
        }
    }

    /// What of it must never be shown.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::Bearer { token } | Self::ApiKey { token } => vec![token.clone()],
            Self::Basic { password, .. } => vec![password.clone()],
            Self::ClientCredentials { client_secret, .. } => vec![client_secret.clone()],
            Self::RefreshToken { client_secret, refresh_token, .. } => vec![client_secret.clone(), refresh_token.clone()],
            Self::JwtBearer { private_key_pem, .. } => vec![private_key_pem.clone()],
        }
    }

    /// Spells the OAuth token request of RFC 6749 (client credentials in a Basic header; a refresh token, with them in the form, which all
    /// vendors that give out such tokens take) or RFC 7523 (signed assertion).
    ///
    /// # Errors
    ///
    /// The assertion could not be signed.
    pub(crate) fn oauth_request(&self, path: &str, scope: Option<&str>, now: Time) -> Result<Request, Failure> {
        let form = |pairs: &[(&str, &str)]| {
            let scope = scope.map(|scope| ("scope", scope));
            Body::Form(pairs.iter().copied().chain(scope).map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
        };
        let mut request = Request::new(Method::POST, path, Body::None);
        request.headers.push(("accept".to_owned(), "application/json".to_owned()));
        match self {
            Self::ClientCredentials { client_id, client_secret } => {
                let basic = STANDARD.encode(format!("{client_id}:{}", client_secret.reveal()));
                request.headers.push(("authorization".to_owned(), format!("Basic {basic}")));
                request.body = form(&[("grant_type", "client_credentials")]);
            }
            Self::RefreshToken { client_id, client_secret, refresh_token } => {
                request.body = form(&[
                    ("grant_type", "refresh_token"),
                    ("refresh_token", refresh_token.reveal()),
                    ("client_id", client_id),
                    ("client_secret", client_secret.reveal()),
                ]);
            }
            Self::Bearer { .. } | Self::ApiKey { .. } | Self::Basic { .. } => {
                return Err(Failure::new(Class::Auth, Scope::Destination, "auth_kind", "a fixed token is not asked for"));
            }
            Self::JwtBearer { client_id, username, private_key_pem, audience } => {
                let assertion = assertion(client_id, username, private_key_pem, audience, now)
                    .map_err(|why| Failure::new(Class::Auth, Scope::Destination, "assertion", why))?;
                request.body = form(&[("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &assertion)]);
            }
        }
        Ok(request)
    }
}

fn assertion(client_id: &str, username: &str, key: &Secret, audience: &str, now: Time) -> Result<String, String> {
    let claims = json!({ "iss": client_id, "sub": username, "aud": audience, "exp": now.seconds() + ASSERTION_LIFE_SECONDS });
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(br#"{"alg":"RS256","typ":"JWT"}"#), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let key = rsa_key(key)?;
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&ring::signature::RSA_PKCS1_SHA256, &ring::rand::SystemRandom::new(), text.as_bytes(), &mut signature)
        .map_err(|_| "the private key could not sign".to_owned())?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn rsa_key(pem: &Secret) -> Result<KeyPair, String> {
    let form = |label: &str| {
        let (_, rest) = pem.0.split_once(&format!("-----BEGIN {label}-----"))?;
        let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
        STANDARD.decode(body.split_whitespace().collect::<String>()).ok()
    };
    let read = match (form("PRIVATE KEY"), form("RSA PRIVATE KEY")) {
        (Some(der), _) => KeyPair::from_pkcs8(&der),
        (None, Some(der)) => KeyPair::from_der(&der),
        (None, None) => {
            return Err("`private_key` is no PEM text that starts with `-----BEGIN PRIVATE KEY-----` (without a passphrase)".to_owned());
        }
    };
    read.map_err(|why| format!("`private_key` is no RSA key of 2048 to 4096 bits: {why}"))
}

/// The one token of a destination, and the rule that only one caller at a time asks for it.
#[derive(Default)]
pub(crate) struct TokenCache {
    held: Mutex<Held>,
    /// How many times a token was asked for: a caller who finds it raised after waiting takes what the other got.
    asked: AtomicU64,
}

#[derive(Default)]
struct Held {
    token: Option<(Token, Time)>,
    /// Why the last asking failed.
    failure: Option<Failure>,
}

impl TokenCache {
    /// The token in use, or a fresh one from `ask`.
    ///
    /// `refused` is a token that the CRM no longer takes. Callers that wait while another asks share its answer, also
    /// when it is a failure: sixteen calls do not make sixteen attempts with a wrong password.
    ///
    /// # Errors
    ///
    /// Why no token could be had.
    pub(crate) async fn get(
        &self,
        refused: Option<&Token>,
        now: Time,
        ask: impl AsyncFnOnce() -> Result<Token, Failure>,
    ) -> Result<Token, Failure> {
        let before = self.asked.load(Ordering::Acquire);
        let mut held = self.held.lock().await;
        let usable = held
            .token
            .as_ref()
            .filter(|(token, since)| now.since(*since) < token.used_for() && refused.is_none_or(|refused| refused.value != token.value));
        if let Some((token, _)) = usable {
            return Ok(token.clone());
        }
        if self.asked.load(Ordering::Acquire) != before
            && let Some(failure) = &held.failure
        {
            return Err(failure.clone());
        }
        let answer = ask().await;
        self.asked.fetch_add(1, Ordering::AcqRel);
        match &answer {
            Ok(token) => *held = Held { token: Some((token.clone(), now)), failure: None },
            Err(failure) => *held = Held { token: None, failure: Some(failure.clone()) },
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(pem: &str) -> Auth {
        Auth::JwtBearer {
            client_id: "3MVG9".to_owned(),
            username: "api@example.com".to_owned(),
            private_key_pem: Secret::new(pem),
            audience: "https://login.salesforce.com".to_owned(),
        }
    }

    #[test]
    fn both_forms_of_key_sign_an_assertion_that_verifies() {
        for pem in [include_str!("testdata/throwaway_pkcs1.pem"), include_str!("testdata/throwaway_pkcs8.pem")] {
            let request = jwt(pem).oauth_request("/services/oauth2/token", None, Time::from_seconds(1_000)).unwrap();
            let Body::Form(form) = &request.body else { panic!("{request:?}") };
            assert_eq!(form[0].1, "urn:ietf:params:oauth:grant-type:jwt-bearer");
            let (text, signature) = form[1].1.rsplit_once('.').unwrap();
            let claims: serde_json::Value =
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text.split_once('.').unwrap().1).unwrap()).unwrap();
            let expected = json!({ "iss": "3MVG9", "sub": "api@example.com", "aud": "https://login.salesforce.com", "exp": 1_180 });
            assert_eq!(claims, expected);
            let public = rsa_key(&Secret::new(pem)).unwrap().public().as_ref().to_vec();
            ring::signature::UnparsedPublicKey::new(&ring::signature::RSA_PKCS1_2048_8192_SHA256, public)
                .verify(text.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
                .unwrap();
        }
    }

    #[test]
    fn credentials_that_cannot_work_are_refused_at_the_start_and_never_printed() {
        for pem in
            ["", "MIIB", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA"]
        {
            assert!(jwt(pem).check().is_err(), "{pem}");
        }
        let empty = Auth::ClientCredentials { client_id: "a".to_owned(), client_secret: Secret::new(" ") };
        assert!(empty.check().is_err());
        let auth = Auth::ClientCredentials { client_id: "a".to_owned(), client_secret: Secret::new("hush") };
        assert!(auth.check().is_ok() && !format!("{auth:?}").contains("hush"));
        let request = auth.oauth_request("/token", None, Time(0)).unwrap();
        assert_eq!(request.header("authorization"), Some("Basic YTpodXNo"));
    }
}
