//! Signing a request the way the vendor would: for `onceward send`, rehearsals, the demo and tests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::body::{Inside, Path};
use super::key::Key;
use super::place::{Place, write_timestamp};
use super::scheme::{Algorithm, Encoding, Kind};
use super::template::{Origin, Part};
use super::text::Sources;
use super::verify::{BASE64URL, entries};
use super::{Rejection, SignError, Verifier, jwt};
use crate::{Received, Time};

/// What the vendor would send: the request with its signature in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Headers to be added.
    pub headers: Vec<(String, String)>,
    /// Path and query.
    pub target: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Verifier {
    /// The request as its vendor would send it, signed with the first secret that is still valid. Parts that are signed and that the vendor chooses
    /// (`{header:…}`, `{query:…}`, `{json:…}`) are taken from the request; a timestamp, a hash of the body and the signature are put where the scheme
    /// says.
    ///
    /// # Errors
    ///
    /// There is no secret, only a public key, or the request lacks something that is signed.
    pub fn sign(&self, request: &Received<'_>, now: Time) -> Result<Signed, SignError> {
        let key = self.keys.iter().find(|key| key.valid(now)).ok_or(SignError::NoSecret)?;
        let mut signed = Signed { headers: Vec::new(), target: request.target.to_owned(), body: request.body.to_vec() };
        let timestamp = self.clock.as_ref().map(|clock| write_timestamp(now, clock.unit));
        if let Some((place, text)) = self.clock.as_ref().and_then(|clock| clock.place.as_ref()).zip(timestamp.as_deref()) {
            signed.put(place, text)?;
        }
        if let Some(parameter) = &self.body_hash {
            let hash = Inside::new(&Received { body: &signed.body, ..*request }).sha256().to_owned();
            signed.target = with_parameter(&signed.target, parameter, &hash);
        }
        if let Some(each) = &self.each {
            return self.sign_each(each, key, request, signed);
        }
        let value = {
            let request = Received { target: &signed.target, body: &signed.body, ..*request };
            match &self.jwt {
                Some(rules) => {
                    let token = jwt::sign(self, rules, &request, &key.power, &key.secret, now)?;
                    self.form.write(&token, None)
                }
                None => self.value(key, &request, None, timestamp.as_deref())?,
            }
        };
        signed.put(&self.place, &value)?;
        Ok(signed)
    }

    fn sign_each(&self, each: &super::compile::Each, key: &Key, request: &Received<'_>, mut signed: Signed) -> Result<Signed, SignError> {
        let unread = || SignError::Body(format!("the list `{}`", each.list.shown()));
        let Place::Json(member) = &self.place else { return Err(unread()) };
        let request = Received { target: &signed.target, body: &signed.body, ..*request };
        let inside = Inside::new(&request);
        let entries = entries(each, &inside).map_err(|_| unread())?;
        let values: Vec<String> =
            entries.into_iter().map(|entry| self.value(key, &request, Some(entry), None)).collect::<Result<_, _>>()?;
        let mut document: Value = serde_json::from_slice(&signed.body).map_err(|_| unread())?;
        let list = at_mut(&mut document, &each.list.0).and_then(Value::as_array_mut).ok_or_else(unread)?;
        for (entry, value) in list.iter_mut().zip(values) {
            let path = [each.member.0.as_slice(), &member.0].concat();
            set(entry, &path, value.into()).ok_or_else(unread)?;
        }
        signed.body = document.to_string().into_bytes();
        Ok(signed)
    }

    /// The text of a signature, as it stands where the scheme says.
    fn value(
        &self,
        key: &Key,
        request: &Received<'_>,
        entry: Option<&super::body::Tree>,
        timestamp: Option<&str>,
    ) -> Result<String, SignError> {
        let inside = Inside::new(request);
        let url = self.urls.first().map_or("", String::as_str);
        let text =
            self.text(Sources { request, inside: &inside, entry, timestamp, url }).map_err(|rejection| self.lacks(request, rejection))?;
        let bytes = key.power.sign(&text, &key.secret).ok_or(SignError::PublicKey)?;
        if self.algorithm == Algorithm::Basic {
            return Ok(format!("Basic {}", STANDARD.encode(bytes)));
        }
        let signature = match (self.algorithm.kind(), self.encoding) {
            (Kind::Bearer, _) => String::from_utf8_lossy(&bytes).into_owned(),
            (_, Encoding::Hex) => hex::encode(bytes),
            (_, Encoding::Base64) => STANDARD.encode(bytes),
            (_, Encoding::Base64url) => BASE64URL.encode(bytes),
        };
        Ok(self.form.write(&signature, timestamp))
    }

    /// What is signed and not there, or not in a form that can be signed.
    fn lacks(&self, request: &Received<'_>, rejection: Rejection) -> SignError {
        let inside = Inside::new(request);
        let from = |part: &Part| {
            let Part::Value { from, until, .. } = part else { return None };
            let usable =
                |text: &[u8]| !text.is_empty() && until.as_deref().is_none_or(|until| !String::from_utf8_lossy(text).contains(until));
            let (fits, error) = match from {
                Origin::Header(names) => {
                    let name = names.first().cloned().unwrap_or_default();
                    (matches!(self.header(request, &name), Ok(Some(value)) if usable(value)), SignError::Header(name))
                }
                Origin::Query(name) | Origin::QueryLower(name) => {
                    (matches!(inside.query(name), Ok(Some(value)) if usable(value.as_bytes())), SignError::Query(name.clone()))
                }
                Origin::Form(name) => (
                    matches!(inside.form(name), Ok(Some(value)) if usable(value.as_bytes())),
                    SignError::Body(format!("the field `{name}`")),
                ),
                Origin::Json(path) | Origin::Item(path) => (false, SignError::Body(format!("the member `{}`", path.shown()))),
            };
            (!fits).then_some(error)
        };
        // What may be absent is not what is missing.
        let required = self.parts.iter().filter(|part| !matches!(part, Part::Value { optional: true, .. }));
        required.into_iter().find_map(from).unwrap_or_else(|| SignError::Body(rejection.sentence().to_owned()))
    }
}

impl Signed {
    /// Puts a text where a scheme says.
    fn put(&mut self, place: &Place, text: &str) -> Result<(), SignError> {
        match place {
            Place::Headers(headers) => {
                let name = headers.first().and_then(|names| names.first()).cloned().unwrap_or_default();
                self.headers.push((name, text.to_owned()));
            }
            Place::Query(name) => self.target = with_parameter(&self.target, name, text),
            Place::Form(name) => {
                let fields = with_field(&String::from_utf8_lossy(&self.body), name, text);
                self.body = fields.into_bytes();
            }
            Place::Json(path) => {
                let unread = || SignError::Body(format!("the member `{}`", path.shown()));
                let mut document: Value = serde_json::from_slice(&self.body).map_err(|_| unread())?;
                let number = at_mut(&mut document, &path.0).is_some_and(|held| held.is_number());
                let value = text.parse::<i64>().ok().filter(|_| number).map_or_else(|| Value::from(text), Value::from);
                set(&mut document, &path.0, value).ok_or_else(unread)?;
                self.body = document.to_string().into_bytes();
            }
        }
        Ok(())
    }
}

fn at_mut<'v>(value: &'v mut Value, path: &[String]) -> Option<&'v mut Value> {
    path.iter().try_fold(value, |held, name| held.get_mut(name.as_str()))
}

/// Sets a member, and the objects on the way to it. `None` if something else is in the way.
fn set(document: &mut Value, path: &[String], value: Value) -> Option<()> {
    let (last, outer) = path.split_last()?;
    let mut held = document;
    for name in outer {
        held = held.as_object_mut()?.entry(name.clone()).or_insert_with(|| Value::Object(serde_json::Map::new()));
    }
    held.as_object_mut()?.insert(last.clone(), value);
    Some(())
}

/// A path and query with one parameter set.
fn with_parameter(target: &str, name: &str, value: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    format!("{path}?{}", with_field(query, name, value))
}

/// Pairs with one of them set, at the end.
fn with_field(pairs: &str, name: &str, value: &str) -> String {
    let name = escaped(name);
    let others = pairs.split('&').filter(|pair| !pair.is_empty() && pair.split_once('=').map_or(*pair, |(held, _)| held) != name);
    let own = format!("{name}={}", escaped(value));
    others.map(str::to_owned).chain([own]).collect::<Vec<_>>().join("&")
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

impl Path {
    /// As it is written.
    pub(super) fn shown(&self) -> String {
        self.0.join(".")
    }
}
