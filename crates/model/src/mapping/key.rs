//! Idempotency keys: `source|event_type|source_event_id`, at most 255 bytes.
//!
//! What stands for the id, in this order:
//!
//! 1. the configured `id`, where it comes from signed material: the body, or a header that the scheme signs;
//! 2. an `id` is configured and this request has none, or has it only in a header that is not signed: `body:` and the
//!    SHA-256 of the body. The same bytes are the same event, and an attacker who replays a body under another
//!    delivery id gains nothing;
//! 3. no `id` is configured, but the event names a person and says when it happened: `fallback:` and a keyed hash of
//!    both. A sender without ids may write its retries with other bytes, so this comes before the body's hash;
//! 4. no `id` is configured and one of the two is missing: `body:` and the SHA-256 of the body.
//!
//! The body alone is hashed, not everything that was signed: a signed timestamp is that of the attempt, and would
//! make every retry a new event.

use sha2::{Digest, Sha256};

use crate::seal::HashKey;
use crate::{Identity, Time};

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 255;
/// Longest event type, in bytes.
pub(crate) const TYPE_BYTES_MAX: usize = 100;

const BODY: &str = "body:";
const FALLBACK: &str = "fallback:";
const HASH: &str = "hash:";

/// The last part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tail(String);

impl Tail {
    /// A vendor's id. What cannot stand in a key, or could be taken for one of our own forms, is escaped; what is too
    /// long or holds control characters is hashed.
    pub(crate) fn id(id: &str) -> Self {
        if id.len() > KEY_BYTES_MAX || id.chars().any(char::is_control) {
            return Self::hash(id);
        }
        let mut escaped = String::with_capacity(id.len());
        for letter in id.chars() {
            match letter {
                '%' => escaped.push_str("%25"),
                '|' => escaped.push_str("%7C"),
                // The ledger sets a conflicting event apart with `#` and a hash.
                '#' => escaped.push_str("%23"),
                _ => escaped.push(letter),
            }
        }
        for ours in [BODY, FALLBACK, HASH] {
            if let Some(rest) = escaped.strip_prefix(ours) {
                escaped = format!("{}%3A{rest}", ours.trim_end_matches(':'));
            }
        }
        Self(escaped)
    }

    /// The body stands for the id.
    pub(crate) fn body(body: &[u8]) -> Self {
        Self(format!("{BODY}{}", hex::encode(Sha256::digest(body))))
    }

    /// Identity and time stand for the id. Keyed, so that nobody can find an address by hashing guesses.
    pub(crate) fn fallback(hash_key: &HashKey, identity: &Identity, occurred_at: Time) -> Self {
        // Lower case, because identifiers that differ only in case are one record.
        let part = |part: &Option<String>| part.as_deref().unwrap_or_default().to_lowercase();
        let [id, email, phone, domain] = [&identity.contact_external_id, &identity.email, &identity.phone_e164, &identity.domain].map(part);
        let at = occurred_at.0.to_be_bytes();
        Self(format!(
            "{FALLBACK}{}",
            hex::encode(hash_key.hash(&[id.as_bytes(), email.as_bytes(), phone.as_bytes(), domain.as_bytes(), &at]))
        ))
    }

    fn hash(id: &str) -> Self {
        Self(format!("{HASH}{}", hex::encode(Sha256::digest(id.as_bytes()))))
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The whole key. `source` is at most 63 bytes and `event_type` at most [`TYPE_BYTES_MAX`], neither with a `|`.
pub(crate) fn key(source: &str, event_type: &str, tail: &Tail) -> String {
    let key = format!("{source}|{event_type}|{}", tail.0);
    if key.len() <= KEY_BYTES_MAX { key } else { format!("{source}|{event_type}|{}", Tail::hash(&tail.0).0) }
}

/// Whether a text can be an event's type: letters, digits and `. _ - / :`, so that it needs no escaping anywhere.
pub(crate) fn is_event_type(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
    !text.is_empty() && text.len() <= TYPE_BYTES_MAX && text.bytes().all(letter)
}

/// A vendor's word as it can stand in a key.
pub(crate) fn type_for_key(text: &str) -> String {
    let mut word: String = text
        .chars()
        .take(TYPE_BYTES_MAX)
        .map(|letter| if letter.is_ascii_alphanumeric() || "._-/:".contains(letter) { letter } else { '_' })
        .collect();
    if word.is_empty() {
        word.push_str("unknown");
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str) -> String {
        key("demo", "lead.created", &Tail::id(id))
    }

    #[test]
    fn a_vendors_id_is_the_last_part() {
        assert_eq!(of("evt_1"), "demo|lead.created|evt_1");
    }

    #[test]
    fn no_two_ids_share_a_key_however_they_are_chosen() {
        let hash = of(&"x".repeat(300));
        let hash = hash.rsplit('|').next().unwrap();
        let ids = [
            "a|b",
            "a%7Cb",
            "a%257Cb",
            "a#b",
            "a%23b",
            "body:00",
            "body%3A00",
            "fallback:1",
            "hash:1",
            hash,
            &"x".repeat(300),
            &"x".repeat(299),
            "a\nb",
            "a b",
        ];
        let keys: std::collections::BTreeSet<_> = ids.iter().map(|id| of(id)).collect();
        assert_eq!(keys.len(), ids.len());
        assert!(keys.iter().all(|key| key.matches('|').count() == 2 && !key.contains('#')));
    }

    #[test]
    fn a_key_is_never_longer_than_its_column() {
        for id in ["|".repeat(255), "|".repeat(80), "\u{1f600}".repeat(60), "y".repeat(64_000), "z".repeat(190)] {
            let key = key(&"s".repeat(63), &"t".repeat(100), &Tail::id(&id));
            assert!(key.len() <= KEY_BYTES_MAX, "{} bytes", key.len());
        }
    }

    #[test]
    fn the_fallback_depends_on_person_time_and_key_and_not_on_case() {
        let of = |email: &str, phone: Option<&str>, at: i64, key: u8| {
            let identity = Identity { email: Some(email.into()), phone_e164: phone.map(Into::into), ..Identity::default() };
            Tail::fallback(&crate::mapping::tests::hash_key(key), &identity, Time(at))
        };
        assert_eq!(of("Ada@example.com", None, 1, 1), of("ada@example.com", None, 1, 1));
        let distinct = [
            of("a@b.co", None, 1, 1),
            of("a@b.co", None, 2, 1),
            of("a@b.co", Some("+1"), 1, 1),
            of("a@b.co+1", None, 1, 1),
            of("a@b.co", None, 1, 2),
        ];
        assert!(distinct.iter().enumerate().all(|(at, tail)| !distinct[..at].contains(tail)));
    }

    #[test]
    fn a_vendors_word_is_made_fit_for_a_key() {
        assert_eq!(type_for_key("customers/create"), "customers/create");
        assert_eq!(type_for_key("a|b c\u{e9}"), "a_b_c_");
        assert_eq!(type_for_key(""), "unknown");
        assert!(is_event_type("lead.created") && !is_event_type("") && !is_event_type("a|b") && !is_event_type(&"x".repeat(101)));
    }
}
