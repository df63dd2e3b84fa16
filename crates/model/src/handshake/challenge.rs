//! What each vendor asks, and the answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::guard::{braintree_challenge, crc_token, plain, uuid, zoom_token};
use super::{Answer, Handshake, Handshaken, Kind};
use crate::signature::{Rejection, Verifier, form_field, same_text};
use crate::{Received, Time};

/// Most bytes of a body that is a handshake.
const BODY_BYTES_MAX: usize = 16 * 1024;

impl Handshake {
    /// What this vendor's question is answered, whatever method it comes by.
    pub(super) fn ask(&self, request: &Received<'_>, by: &Verifier, now: Time) -> Handshaken {
        let (get, head, post) = (request.method == "GET", request.method == "HEAD", request.method == "POST");
        let fits = post && request.body.len() <= BODY_BYTES_MAX;
        match self.kind {
            Kind::HeadOk => sent_back(head.then(Answer::empty)),
            Kind::GetOk => sent_back((get || head).then(Answer::empty)),
            Kind::Meta => challenged(get, || self.meta(request, by, now)),
            Kind::Linkedin => challenged(get, || linkedin(request, by, now)),
            Kind::X => challenged(get, || x(request, by, now)),
            Kind::Ebay => challenged(get, || self.ebay(request, by, now)),
            Kind::Braintree => challenged(get, || self.braintree(request, by, now)),
            Kind::Echo => {
                challenged(get, || parameter(request, &self.parameter).filter(|text| plain(text)).map(|text| Answer::text(&text)))
            }
            Kind::Okta => {
                challenged(get, || header(request, "x-okta-verification-challenge").map(|text| Answer::json(json!({"verification": text}))))
            }
            Kind::Zoom => signed(fits, request, by, now, |body| zoom(body, by, now)),
            Kind::Slack => signed(fits, request, by, now, slack),
            Kind::Discord => signed(fits, request, by, now, discord),
            Kind::Xero => signed(fits, request, by, now, xero),
            Kind::Twitch => signed(fits, request, by, now, |body| twitch(request, body)),
            Kind::Sns => signed(fits, request, by, now, sns),
            Kind::Asana if fits => asana(request),
            Kind::Microsoft if fits => sent_back(microsoft(request)),
            Kind::Monday if fits => sent_back(monday(request)),
            Kind::Notion if fits => sent_back(only_member(request.body, "verification_token").map(|_| Answer::empty())),
            Kind::ValidationToken if fits => sent_back(validation_token(request)),
            Kind::Mandrill if fits => sent_back(mandrill(request)),
            Kind::Mandrill => sent_back(head.then(Answer::empty)),
            Kind::Woocommerce if fits => sent_back(woocommerce(request)),
            Kind::Asana | Kind::Microsoft | Kind::Monday | Kind::Notion | Kind::ValidationToken | Kind::Woocommerce => Handshaken::Ordinary,
        }
    }

    fn meta(&self, request: &Received<'_>, by: &Verifier, now: Time) -> Option<Answer> {
        let (ours, theirs) = self.verify_token(by, now).zip(parameter(request, "hub.verify_token"))?;
        let ours = same_text(&ours, &theirs) && parameter(request, "hub.mode").as_deref() == Some("subscribe");
        parameter(request, "hub.challenge").filter(|text| ours && plain(text)).map(|text| Answer::text(&text))
    }

    fn ebay(&self, request: &Received<'_>, by: &Verifier, now: Time) -> Option<Answer> {
        let code = parameter(request, "challenge_code").filter(|code| plain(code))?;
        let text = [code, self.verify_token(by, now)?, by.public_url()?.to_owned()].concat();
        Some(Answer::json(json!({"challengeResponse": hex::encode(Sha256::digest(text))})))
    }

    fn braintree(&self, request: &Received<'_>, by: &Verifier, now: Time) -> Option<Answer> {
        let text = parameter(request, "bt_challenge").filter(|text| braintree_challenge(text))?;
        let hash = hex::encode(by.keyed_hash(text.as_bytes(), now)?);
        Some(Answer::text(&format!("{}|{hash}", self.public_key)))
    }
}

/// A question by `GET`: without its challenge, or with another word than ours, it is refused.
fn challenged(asked: bool, answer: impl FnOnce() -> Option<Answer>) -> Handshaken {
    if asked { answer().map_or(Handshaken::Refused(Rejection::HandshakeMismatch), Handshaken::Answered) } else { Handshaken::Ordinary }
}

/// A question that is signed like an event: nothing counts unless the signature holds.
fn signed(fits: bool, request: &Received<'_>, by: &Verifier, now: Time, answer: impl FnOnce(&Value) -> Option<Handshaken>) -> Handshaken {
    let body: Option<Value> = fits.then(|| serde_json::from_slice(request.body).ok()).flatten();
    match body.as_ref().and_then(answer) {
        None => Handshaken::Ordinary,
        Some(handshaken) => by.verify(request, now).map_or_else(Handshaken::Refused, |_| handshaken),
    }
}

/// A question that shows nothing. What it says is sent back or left; nothing is made with a key.
fn sent_back(answer: Option<Answer>) -> Handshaken {
    answer.map_or(Handshaken::Ordinary, Handshaken::Answered)
}

fn parameter(request: &Received<'_>, name: &str) -> Option<String> {
    form_field(request.query().as_bytes(), name)
}

fn text<'b>(body: &'b Value, name: &str) -> Option<&'b str> {
    body.get(name).and_then(Value::as_str)
}

fn linkedin(request: &Received<'_>, by: &Verifier, now: Time) -> Option<Answer> {
    let code = parameter(request, "challengeCode").filter(|code| uuid(code))?;
    let hash = hex::encode(by.keyed_hash(code.as_bytes(), now)?);
    Some(Answer::json(json!({"challengeCode": code, "challengeResponse": hash})))
}

fn x(request: &Received<'_>, by: &Verifier, now: Time) -> Option<Answer> {
    let token = parameter(request, "crc_token").filter(|token| crc_token(token))?;
    let hash = STANDARD.encode(by.keyed_hash(token.as_bytes(), now)?);
    Some(Answer::json(json!({"response_token": format!("sha256={hash}")})))
}

fn zoom(body: &Value, by: &Verifier, now: Time) -> Option<Handshaken> {
    if text(body, "event") != Some("endpoint.url_validation") {
        return None;
    }
    let token = body.pointer("/payload/plainToken").and_then(Value::as_str).filter(|token| zoom_token(token));
    let answer = token.and_then(|token| {
        let hash = hex::encode(by.keyed_hash(token.as_bytes(), now)?);
        Some(Answer::json(json!({"plainToken": token, "encryptedToken": hash})))
    });
    Some(answer.map_or(Handshaken::Refused(Rejection::HandshakeMismatch), Handshaken::Answered))
}

fn slack(body: &Value) -> Option<Handshaken> {
    let asks = text(body, "type") == Some("url_verification");
    let challenge = text(body, "challenge").filter(|text| asks && plain(text))?;
    Some(Handshaken::Answered(Answer::text(challenge)))
}

fn discord(body: &Value) -> Option<Handshaken> {
    match (body.get("event"), body.get("type").and_then(Value::as_i64)) {
        (None, Some(1)) => Some(Handshaken::Answered(Answer::json(json!({"type": 1})))),
        (None, Some(0)) => Some(Handshaken::Answered(Answer { status: 204, ..Answer::default() })),
        (None | Some(_), _) => None,
    }
}

fn xero(body: &Value) -> Option<Handshaken> {
    let events = body.get("events").and_then(Value::as_array)?;
    events.is_empty().then(|| Handshaken::Answered(Answer::empty()))
}

fn twitch(request: &Received<'_>, body: &Value) -> Option<Handshaken> {
    let asks = header(request, "twitch-eventsub-message-type").as_deref() == Some("webhook_callback_verification");
    let challenge = text(body, "challenge").filter(|text| asks && plain(text))?;
    Some(Handshaken::Answered(Answer::text(challenge)))
}

fn sns(body: &Value) -> Option<Handshaken> {
    match text(body, "Type")? {
        "SubscriptionConfirmation" => Some(match text(body, "SubscribeURL").filter(|url| is_sns(url)) {
            Some(url) => Handshaken::Visit(url.to_owned()),
            None => Handshaken::Refused(Rejection::HandshakeMismatch),
        }),
        // Tells that a subscription has ended; there is nothing to be done, and it is no event.
        "UnsubscribeConfirmation" => Some(Handshaken::Answered(Answer::empty())),
        _ => None,
    }
}

fn asana(request: &Received<'_>) -> Handshaken {
    match header(request, "x-hook-secret").filter(|_| request.header("x-hook-signature") == Ok(None)) {
        Some(secret) => {
            let answer = Answer { headers: vec![("x-hook-secret", secret.clone())], ..Answer::empty() };
            Handshaken::Keep { secret, answer }
        }
        None => Handshaken::Ordinary,
    }
}

fn microsoft(request: &Received<'_>) -> Option<Answer> {
    // Spaces and colons are in there; it must not be read as anything but text.
    let printable = |token: &String| (1..=2048).contains(&token.len()) && token.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    parameter(request, "validationToken").filter(printable).map(|token| Answer::text(&token))
}

fn monday(request: &Received<'_>) -> Option<Answer> {
    only_member(request.body, "challenge").filter(|text| plain(text)).map(|text| Answer::json(json!({"challenge": text})))
}

fn validation_token(request: &Received<'_>) -> Option<Answer> {
    // What has a body may be an event, which nobody would look at again.
    if !request.body.trim_ascii().is_empty() {
        return None;
    }
    let token = header(request, "validation-token")?;
    let fits = token.len() <= 256 && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    fits.then(|| Answer { headers: vec![("validation-token", token)], ..Answer::empty() })
}

fn mandrill(request: &Received<'_>) -> Option<Answer> {
    let events = form_field(request.body, "mandrill_events");
    (request.body.is_empty() || events.as_deref() == Some("[]")).then(Answer::empty)
}

fn woocommerce(request: &Received<'_>) -> Option<Answer> {
    let number = std::str::from_utf8(request.body).ok()?.trim().strip_prefix("webhook_id=")?;
    let digits = !number.is_empty() && number.len() <= 20 && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(Answer::empty)
}

/// A header's one value, if it may be sent back.
fn header(request: &Received<'_>, name: &str) -> Option<String> {
    let value = request.header(name).ok().flatten()?;
    std::str::from_utf8(value).ok().filter(|text| plain(text)).map(str::to_owned)
}

/// The text of an object that has this member and no other.
fn only_member(body: &[u8], name: &str) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let members = body.as_object().filter(|members| members.len() == 1)?;
    members.get(name)?.as_str().map(str::to_owned)
}

/// `https://sns.<region>.amazonaws.com/…`, and nothing that merely looks so: what is visited here is visited by us.
fn is_sns(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://sns.") else { return false };
    let Some((host, path)) = rest.split_once('/') else { return false };
    let region = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"));
    let letters = |region: &str| region.len() >= 3 && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let plain = url.len() <= 2048 && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    plain && region.is_some_and(letters)
}
