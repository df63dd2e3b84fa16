//! Token endpoints, as far as the CRMs that have one agree (RFC 6749).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Time;

use super::Request;
use crate::credentials::{Credentials, Sessions};
use crate::faults::Dice;
use crate::http::pair;

/// What a dialect's token endpoint works with.
#[derive(Debug)]
pub(crate) struct Tokens<'a> {
    pub credentials: &'a Credentials,
    pub sessions: &'a mut Sessions,
    pub dice: &'a mut Dice,
    /// How long a token is good for.
    pub life: Duration,
    pub now: Time,
}

impl Tokens<'_> {
    /// A new token for a form with `grant_type`: client credentials with the right secret, or a refresh token of a client with the right
    /// secret; the client may be named in the form or in the header.
    ///
    /// # Errors
    ///
    /// OAuth's own code: `invalid_request`, `invalid_client`, `invalid_grant`, `unsupported_grant_type`.
    pub fn oauth(&mut self, request: &Request) -> Result<String, &'static str> {
        let form = request.body.as_str();
        if request.method != "POST" {
            return Err("invalid_request");
        }
        let in_form = pair(form, "client_id").map(|id| (id, pair(form, "client_secret").unwrap_or_default()));
        let (id, secret) = in_form.or_else(|| basic(request.authorization.as_deref()?)).ok_or("invalid_client")?;
        if id.is_empty() || secret.is_empty() || !self.credentials.accepts(&id, &secret) {
            return Err("invalid_client");
        }
        match pair(form, "grant_type").as_deref() {
            Some("client_credentials") => Ok(self.issue()),
            Some("refresh_token") => match pair(form, "refresh_token") {
                Some(token) if self.sessions.accepts(self.credentials, &token, self.now) => Ok(self.issue()),
                Some(_) => Err("invalid_grant"),
                None => Err("invalid_request"),
            },
            Some(_) => Err("unsupported_grant_type"),
            None => Err("invalid_request"),
        }
    }

    /// A new token.
    pub fn issue(&mut self) -> String {
        self.sessions.issue(self.dice, self.now, self.life)
    }
}

/// Name and password of a `Basic` header.
pub(crate) fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, value) = header.split_once(' ')?;
    let pair = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    let (name, password) = pair.split_once(':').filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    Some((name.to_owned(), password.to_owned()))
}
