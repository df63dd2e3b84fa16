//! Who may do what: tokens, roles, and the sessions of people who logged in on the pages.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use model::Time;
use sha2::{Digest, Sha256};

/// What a token may do; each role may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads everything but raw requests.
    Viewer,
    /// Reads raw requests; replays, assigns, resolves, pauses, resumes.
    Operator,
    /// Decides about actions that wait for approval.
    Approver,
    /// Everything.
    Admin,
}

impl Role {
    /// Every role, the weakest first.
    pub const ALL: [Role; 4] = [Self::Viewer, Self::Operator, Self::Approver, Self::Admin];

    /// The word used in the configuration and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }

    /// Reads the word back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// One entry of `[admin] tokens`. Holds the token's hash only.
#[derive(Clone)]
pub struct Token {
    /// Who it is, in the audit trail.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// SHA-256 of the token's text.
    pub hash: [u8; 32],
}

impl Token {
    /// A token from its text, which is hashed and not kept. Tokens are long and random, so a plain hash is enough.
    pub fn new(name: impl Into<String>, role: Role, text: &str) -> Self {
        Self { name: name.into(), role, hash: hash(text.as_bytes()) }
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Actor {
    pub(crate) name: String,
    pub(crate) role: Role,
}

pub(crate) fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Whether two hashes are equal, in a time that does not tell where they differ.
pub(crate) fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let difference = one.iter().zip(other).fold(0u8, |held, (a, b)| std::hint::black_box(held | (a ^ b)));
    std::hint::black_box(difference) == 0
}

/// Whose token this is. Looks at every token whichever fits, so that the time says nothing.
pub(crate) fn whose(tokens: &[Token], text: &str) -> Option<Actor> {
    let given = hash(text.as_bytes());
    let mut found = None;
    for token in tokens {
        if same(&token.hash, &given) {
            found = Some(Actor { name: token.name.clone(), role: token.role });
        }
    }
    found
}

/// The bearer token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (values.next().is_none() && scheme.eq_ignore_ascii_case("bearer")).then(|| token.trim())
}

/// The name of the pages' cookie.
pub(crate) const COOKIE: &str = "onceward_session";

/// The session id that the cookies name.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// How long a login lasts.
pub(crate) const SESSION_AGE_MAX: Duration = Duration::from_secs(12 * 3_600);
/// The most logins at a time; one more ends the oldest.
const SESSIONS_MAX: usize = 1_000;

/// One person who logged in.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) actor: Actor,
    /// What every form of this session carries.
    pub(crate) csrf: String,
    started: Time,
}

/// The logins of this process; gone with it. Keyed by the hash of the session id, so that neither a lookup's time nor a dump of
/// memory tells an id.
#[derive(Default)]
pub(crate) struct Sessions {
    held: Mutex<HashMap<[u8; 32], Session>>,
}

impl Sessions {
    /// Starts a session; the answer is the id for the cookie. `None` if the system has no randomness to give.
    pub(crate) fn start(&self, now: Time, actor: Actor) -> Option<String> {
        let (id, csrf) = (random()?, random()?);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, session| now.since(session.started) < SESSION_AGE_MAX);
        if held.len() >= SESSIONS_MAX {
            let oldest = held.iter().min_by_key(|(_, session)| session.started).map(|(key, _)| *key);
            oldest.map(|key| held.remove(&key));
        }
        held.insert(hash(id.as_bytes()), Session { actor, csrf, started: now });
        Some(id)
    }

    /// The session with this id, unless it is over.
    pub(crate) fn find(&self, now: Time, id: &str) -> Option<Session> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(&hash(id.as_bytes())).filter(|session| now.since(session.started) < SESSION_AGE_MAX).cloned()
    }

    /// Ends a session.
    pub(crate) fn end(&self, id: &str) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash(id.as_bytes()));
    }
}

/// 256 random bits in hex.
fn random() -> Option<String> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(name: &str) -> Actor {
        Actor { name: name.into(), role: Role::Viewer }
    }

    #[test]
    fn a_token_is_known_by_its_hash_and_roles_rise() {
        let tokens = [Token::new("ann", Role::Viewer, "one"), Token::new("bob", Role::Admin, "two")];
        assert_eq!(whose(&tokens, "two").map(|actor| actor.name).as_deref(), Some("bob"));
        assert_eq!(whose(&tokens, "three"), None);
        assert_eq!(whose(&tokens, ""), None);
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Approver && Role::Approver < Role::Admin);
    }

    #[test]
    fn two_authorization_headers_say_nothing() {
        let mut headers = HeaderMap::new();
        headers.append(header::AUTHORIZATION, header::HeaderValue::from_static("bearer one"));
        assert_eq!(bearer(&headers), Some("one"));
        headers.append(header::AUTHORIZATION, header::HeaderValue::from_static("Bearer two"));
        assert_eq!(bearer(&headers), None);
    }

    #[test]
    fn a_session_ends_by_age_by_logout_and_by_being_the_oldest_of_too_many() {
        let sessions = Sessions::default();
        let start = Time::from_seconds(1_000_000);
        let first = sessions.start(start, actor("first")).unwrap();
        assert!(sessions.find(start + Duration::from_secs(60), &first).is_some());
        assert!(sessions.find(start + SESSION_AGE_MAX, &first).is_none());
        for n in 1..=SESSIONS_MAX as u64 {
            sessions.start(start + Duration::from_secs(n), actor("later")).unwrap();
        }
        assert!(sessions.find(start, &first).is_none());
        let last = sessions.start(start, actor("last")).unwrap();
        sessions.end(&last);
        assert!(sessions.find(start, &last).is_none());
    }
}
