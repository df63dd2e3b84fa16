//! How vendors try an address before they send there, and what they are answered. None of it is an event.
//!
//! Whoever hashes a text of a stranger's choice with the signing key signs forgeries for him. So where an answer holds such a hash, only texts are
//! taken that no request of that vendor could have signed, and requests that would be signed by such an answer are refused: see [`guard`].
//! Texts are sent back as plain text, with `nosniff`, and in one piece of visible ASCII.
//!
//! | `kind` | vendor | asks | is answered |
//! | --- | --- | --- | --- |
//! | `meta` | Meta | `GET ?hub.mode=subscribe&hub.verify_token=…&hub.challenge=…` | the challenge, if the token is ours |
//! | `linkedin` | LinkedIn | `GET ?challengeCode=<uuid>` | JSON with the code's keyed hash |
//! | `zoom` | Zoom | signed `POST`, `endpoint.url_validation` | JSON with the token's keyed hash |
//! | `slack` | Slack | signed `POST`, `url_verification` | the challenge |
//! | `discord` | Discord | signed `POST`, type 1 or 0 | `{"type":1}`, or nothing |
//! | `xero` | Xero | signed `POST` without events | nothing; 401 where the signature is wrong |
//! | `twitch` | Twitch | signed `POST`, `webhook_callback_verification` | the challenge |
//! | `sns` | AWS SNS | signed `POST`, `SubscriptionConfirmation` | an address is to be visited |
//! | `asana` | Asana | `POST` with `X-Hook-Secret` | the same header; the secret is to be kept |
//! | `x` | X | `GET ?crc_token=…` | JSON with the token's keyed hash |
//! | `ebay` | eBay | `GET ?challenge_code=…` | JSON with a hash of code, our token and the public URL |
//! | `braintree` | Braintree | `GET ?bt_challenge=…` | our public key and the challenge's keyed hash |
//! | `microsoft` | Microsoft Graph | `POST ?validationToken=…` | the token |
//! | `okta` | Okta | `GET` with `X-Okta-Verification-Challenge` | JSON with the challenge |
//! | `monday` | monday.com | `POST` of nothing but `{"challenge":…}` | the same |
//! | `notion` | Notion | `POST` of nothing but `{"verification_token":…}` | nothing |
//! | `validation-token` | RingCentral | `POST` with `Validation-Token` | the same header |
//! | `echo` | Dropbox, Adobe | `GET ?<parameter>=…` | the parameter's value |
//! | `mandrill` | Mandrill | `HEAD`, or `POST` without events | nothing |
//! | `woocommerce` | WooCommerce | `POST` of nothing but `webhook_id=<number>` | nothing |
//! | `head-ok`, `get-ok` | several | `HEAD`; `GET` or `HEAD` | nothing |

mod challenge;
mod guard;

#[cfg(test)]
mod tests;

use serde::Deserialize;

use crate::signature::{Rejection, Verifier};
use crate::{Received, Time};

/// `[handshake]` of a preset or a source.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandshakeDef {
    /// Which of the module's table.
    pub kind: Kind,
    /// `echo`: the parameter of the query string.
    #[serde(default)]
    pub parameter: Option<String>,
    /// `meta`, `ebay`: the word that was typed in at the vendor; without it the one that [`Verifier::verify_token`] makes.
    #[serde(default)]
    pub verify_token: Option<String>,
    /// `braintree`: the public key, which goes with the private one.
    #[serde(default)]
    pub public_key: Option<String>,
}

words! {
    /// Whose handshake it is. See the module's table.
    Kind {
        /// `hub.challenge`.
        Meta = "meta",
        /// `challengeCode`.
        Linkedin = "linkedin",
        /// `endpoint.url_validation`.
        Zoom = "zoom",
        /// `url_verification`.
        Slack = "slack",
        /// Types 0 and 1.
        Discord = "discord",
        /// Intent to receive.
        Xero = "xero",
        /// `HEAD`.
        HeadOk = "head-ok",
        /// `GET` or `HEAD`.
        GetOk = "get-ok",
        /// `HEAD`, or no events.
        Mandrill = "mandrill",
        /// `webhook_id`.
        Woocommerce = "woocommerce",
        /// `validationToken`.
        Microsoft = "microsoft",
        /// `X-Okta-Verification-Challenge`.
        Okta = "okta",
        /// `webhook_callback_verification`.
        Twitch = "twitch",
        /// `challenge` alone.
        Monday = "monday",
        /// `X-Hook-Secret`.
        Asana = "asana",
        /// `crc_token`.
        X = "x",
        /// A parameter's value.
        Echo = "echo",
        /// `challenge_code`.
        Ebay = "ebay",
        /// `bt_challenge`.
        Braintree = "braintree",
        /// `SubscriptionConfirmation`.
        Sns = "sns",
        /// `Validation-Token`.
        ValidationToken = "validation-token",
        /// `verification_token` alone.
        Notion = "notion",
    }
}

/// A handshake, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Whose it is.
    pub kind: Kind,
    parameter: String,
    verify_token: Option<String>,
    public_key: String,
}

/// What a vendor is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status: 200 or 204.
    pub status: u16,
    /// The `Content-Type`; none for an empty body.
    pub content_type: Option<&'static str>,
    /// More headers, beside `X-Content-Type-Options: nosniff`, which every answer has.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

/// What a request is, as far as the handshake goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handshaken {
    /// No handshake: it is to be verified and read like any other.
    Ordinary,
    /// To be answered with this. Nothing is to be kept.
    Answered(Answer),
    /// A handshake that is not genuine, or a request that only a handshake's answer could have signed: 401.
    Refused(Rejection),
    /// Genuine; the subscription is confirmed by a `GET` of this `https` URL of the vendor's own. Answered with 200 once that has succeeded.
    Visit(String),
    /// The vendor names the secret that it will sign with: to be kept only while the source has none, then answered so.
    Keep {
        /// The secret's text.
        secret: String,
        /// The answer.
        answer: Answer,
    },
}

impl Handshake {
    /// Checks a definition.
    ///
    /// # Errors
    ///
    /// Everything that is wrong: key and sentence.
    pub fn compile(def: &HandshakeDef) -> Result<Self, Vec<(&'static str, String)>> {
        let mut problems = Vec::new();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let plain = |text: &str| text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        for (key, given, kinds) in [
            ("parameter", &def.parameter, &[Kind::Echo][..]),
            ("verify_token", &def.verify_token, &[Kind::Meta, Kind::Ebay][..]),
            ("public_key", &def.public_key, &[Kind::Braintree][..]),
        ] {
            let wanted = kinds.contains(&def.kind);
            match given {
                Some(_) if !wanted => problems.push((key, format!("is not for `kind = \"{}\"`: remove it", def.kind.as_str()))),
                Some(given) if given.is_empty() || !plain(given) => {
                    problems.push((key, "has to be 1 to 128 letters, digits, `-`, `_` or `.`".to_owned()));
                }
                Some(_) | None => {}
            }
        }
        if def.kind == Kind::Echo && def.parameter.is_none() {
            problems.push(("parameter", "is missing: name the parameter of the query string that is sent back".to_owned()));
        }
        if def.kind == Kind::Ebay && def.verify_token.as_ref().is_some_and(|token| token.len() < 32 || token.len() > 80) {
            problems.push(("verify_token", "has to have 32 to 80 characters, as eBay wants it".to_owned()));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let (parameter, public_key) = (text(&def.parameter), text(&def.public_key));
        Ok(Self { kind: def.kind, parameter, verify_token: def.verify_token.clone(), public_key })
    }

    /// What only an installation can add and has not: key below the source, and sentence. `public_url` is the source's address as its vendor was told
    /// it.
    pub fn lacks(&self, public_url: Option<&str>) -> Option<(&'static str, String)> {
        if self.kind == Kind::Ebay && public_url.is_none() {
            let text = "is needed, because eBay's handshake signs our address: set `listen.public_url`, or `public_url` of this source";
            return Some(("public_url", text.to_owned()));
        }
        let keyless = self.kind == Kind::Braintree && self.public_key.is_empty();
        keyless.then(|| {
            let example = "write `handshake = { kind = \"braintree\", public_key = \"…\" }`";
            ("handshake.public_key", format!("is missing: Braintree's handshake is answered with it; {example}"))
        })
    }

    /// The word that is to be typed in at the vendor, where there is one.
    pub fn verify_token(&self, by: &Verifier, now: Time) -> Option<String> {
        let asks = matches!(self.kind, Kind::Meta | Kind::Ebay);
        if asks { self.verify_token.clone().or_else(|| by.verify_token(now)) } else { None }
    }

    /// Whether requests of this method may be a handshake; others are refused before anything is read.
    pub fn takes(&self, method: &str) -> bool {
        let get = matches!(
            self.kind,
            Kind::Meta | Kind::Linkedin | Kind::GetOk | Kind::Okta | Kind::X | Kind::Echo | Kind::Ebay | Kind::Braintree
        );
        let head = matches!(self.kind, Kind::HeadOk | Kind::GetOk | Kind::Mandrill);
        method == "POST" || method == "GET" && get || method == "HEAD" && head
    }

    /// What to do with a request of a source with this handshake, before it is verified as an event.
    pub fn answer(&self, request: &Received<'_>, by: &Verifier, now: Time) -> Handshaken {
        if let Some(rejection) = guard::signed_by_an_answer(self.kind, request) {
            return Handshaken::Refused(rejection);
        }
        self.ask(request, by, now)
    }
}

impl Answer {
    fn empty() -> Self {
        Self { status: 200, ..Self::default() }
    }

    fn text(body: &str) -> Self {
        Self { status: 200, content_type: Some("text/plain; charset=utf-8"), headers: Vec::new(), body: body.to_owned() }
    }

    fn json(body: serde_json::Value) -> Self {
        Self { status: 200, content_type: Some("application/json"), headers: Vec::new(), body: body.to_string() }
    }
}
