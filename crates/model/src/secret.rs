//! Secrets that cannot be printed by accident.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::Time;

/// Fewest bytes of a secret. An empty key verifies what an empty key signed, and a short one can be guessed.
pub const SECRET_BYTES_MIN: usize = 16;

/// Most bytes of a secret.
pub const SECRET_BYTES_MAX: usize = 4096;

/// A secret's text, as the vendor gave it. Prints and serializes as `***`.
#[derive(Clone)]
pub struct Secret {
    bytes: Vec<u8>,
    not_after: Option<Time>,
}

/// Why a text is no secret. Never holds the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nothing there.
    #[error("the secret is empty: set the environment variable or file it comes from to the secret the vendor shows")]
    Empty,
    /// Too short to be one.
    #[error("the secret has {0} bytes and needs at least {SECRET_BYTES_MIN}: copy it whole, or make one with `openssl rand -base64 32`")]
    Short(usize),
    /// Too long to be one.
    #[error("the secret has {0} bytes and may have at most {SECRET_BYTES_MAX}: is this the right file?")]
    Long(usize),
    /// A newline or space came along.
    #[error("the secret begins or ends with white space, often a newline that came with the copy: remove it")]
    WhiteSpace,
}

impl Secret {
    /// Takes a secret.
    ///
    /// # Errors
    ///
    /// It is empty, shorter than [`SECRET_BYTES_MIN`], longer than [`SECRET_BYTES_MAX`], or begins or ends with white space.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, SecretError> {
        let bytes = bytes.into();
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
        match bytes.len() {
            0 => Err(SecretError::Empty),
            _ if edge(bytes.first()) || edge(bytes.last()) => Err(SecretError::WhiteSpace),
            length if length < SECRET_BYTES_MIN => Err(SecretError::Short(length)),
            length if length > SECRET_BYTES_MAX => Err(SecretError::Long(length)),
            _ => Ok(Self { bytes, not_after: None }),
        }
    }

    /// The same secret, refused for requests that come after `end`: the old one of a rotation.
    #[must_use]
    pub fn until(mut self, end: Time) -> Self {
        self.not_after = Some(end);
        self
    }

    /// The last moment at which this secret counts.
    pub fn not_after(&self) -> Option<Time> {
        self.not_after
    }

    /// The secret itself. Whoever calls this keeps it out of texts.
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// A published test vector's secret, which may be shorter than we allow. For tests alone: what is configured goes through
    /// [`Secret::new`].
    #[doc(hidden)]
    pub fn for_vectors(text: &str) -> Self {
        Self { bytes: text.as_bytes().to_vec(), not_after: None }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_shows_itself() {
        let secret = Secret::new("correct horse battery staple").unwrap().until(Time::from_seconds(1));
        assert_eq!(format!("{secret} {secret:?} {:#?}", Some(&secret)), "*** *** Some(\n    ***,\n)");
        assert_eq!(serde_json::to_string(&secret).unwrap(), r#""***""#);
        assert_eq!(secret.expose(), b"correct horse battery staple");
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused_without_being_repeated() {
        for (text, wrong) in [
            ("", SecretError::Empty),
            ("hunter2", SecretError::Short(7)),
            ("fifteen-bytes-x", SecretError::Short(15)),
            ("long-enough-but-a-newline\n", SecretError::WhiteSpace),
            (" long-enough-but-a-space", SecretError::WhiteSpace),
        ] {
            let error = Secret::new(text).unwrap_err();
            assert_eq!(error, wrong);
            assert!(text.is_empty() || !error.to_string().contains(text.trim()), "{error}");
        }
        assert_eq!(Secret::new(vec![b'x'; 4097]).unwrap_err(), SecretError::Long(4097));
        assert!(Secret::new("sixteen-bytes-xx").is_ok());
    }
}
