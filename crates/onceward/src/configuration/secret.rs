//! Secrets are named in the file and kept elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;

use model::Time;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::problem::Finding;

/// Most bytes of a file that holds a secret.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where a secret is: `{ env = "NAME" }` or `{ file = "path" }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file; one newline at its end does not count. A relative path counts from the working directory.
    File(PathBuf),
}

/// A text that need not be secret: written out, or where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextRef {
    /// The text itself.
    Text(String),
    /// Where it is.
    Elsewhere(SecretRef),
}

/// A source's secret, which may end at some moment: the old one of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndingSecretRef {
    /// Where it is.
    pub place: SecretRef,
    /// The last moment at which it counts.
    pub until: Option<Time>,
}

const EXPECTED: &str = "`{ env = \"NAME\" }` or `{ file = \"path\" }`";

#[derive(Clone, Copy, PartialEq, Eq)]
enum RefVisitor {
    Secret,
    EndingSecret,
    Text,
}

impl<'de> Visitor<'de> for RefVisitor {
    type Value = (TextRef, Option<Time>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Text { "a text, `{ env = \"NAME\" }` or `{ file = \"path\" }`" } else { EXPECTED })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if self == Self::Text {
            return Ok((TextRef::Text(text.to_owned()), None));
        }
        let remedy = "take the secret out of the file and put it into an environment variable or a file of its own; if the file was shared, replace the secret";
        Err(E::custom(format!("a secret written into the file | {EXPECTED} | {remedy}")))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let wrong = |found: String| de::Error::custom(format!("{found} | {EXPECTED} | name the variable or the file that holds it"));
        let (mut found, mut until) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            let value: String = map.next_value()?;
            let place = match key.as_str() {
                "env" => SecretRef::Env(value),
                "file" => SecretRef::File(value.into()),
                "until" if self == Self::EndingSecret => {
                    let end = Time::parse_rfc3339(&value);
                    until = Some(end.ok_or_else(|| {
                        let expected = "`until` with a date, a time and an offset | write it like `2026-12-31T00:00:00Z`";
                        de::Error::custom(format!("`{value}` | {expected}"))
                    })?);
                    continue;
                }
                _ => return Err(wrong(format!("the unknown key `{key}`"))),
            };
            if found.replace(place).is_some() {
                return Err(wrong("both `env` and `file`".to_owned()));
            }
        }
        found.map(|place| (TextRef::Elsewhere(place), until)).ok_or_else(|| wrong("neither `env` nor `file`".to_owned()))
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match from.deserialize_any(RefVisitor::Secret)?.0 {
            TextRef::Elsewhere(place) => Ok(place),
            TextRef::Text(_) => Err(de::Error::custom(EXPECTED)),
        }
    }
}

impl<'de> Deserialize<'de> for EndingSecretRef {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match from.deserialize_any(RefVisitor::EndingSecret)? {
            (TextRef::Elsewhere(place), until) => Ok(Self { place, until }),
            (TextRef::Text(_), _) => Err(de::Error::custom(EXPECTED)),
        }
    }
}

impl<'de> Deserialize<'de> for TextRef {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(RefVisitor::Text).map(|(text, _)| text)
    }
}

impl SecretRef {
    /// The secret.
    ///
    /// # Errors
    ///
    /// The variable or the file is missing, empty, unreadable or too long. Says so without the secret.
    pub fn resolve(&self, environment: &BTreeMap<String, String>) -> Result<String, Finding> {
        match self {
            Self::Env(name) => {
                let remedy = format!("set it before starting: export {name}=…");
                let finding = |found: String| Finding::new(found, format!("a secret in the environment variable `{name}`"), &remedy);
                match environment.get(name) {
                    None => Err(finding(format!("`{name}` is not set"))),
                    Some(text) if text.is_empty() => Err(finding(format!("`{name}` is empty"))),
                    Some(text) => Ok(text.clone()),
                }
            }
            Self::File(path) => {
                let shown = path.display();
                let finding = |found: String| {
                    let remedy = "create the file with the secret and nothing else in it, readable by the user who runs this";
                    Finding::new(found, format!("a secret in the file `{shown}`"), remedy)
                };
                let mut bytes = Vec::new();
                let file = std::fs::File::open(path).map_err(|error| finding(format!("`{shown}` cannot be opened: {error}")))?;
                let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
                read.map_err(|error| finding(format!("`{shown}` cannot be read: {error}")))?;
                if bytes.len() as u64 > FILE_BYTES_MAX {
                    return Err(finding(format!("`{shown}` has more than {FILE_BYTES_MAX} bytes")));
                }
                let text = String::from_utf8(bytes).map_err(|_| finding(format!("`{shown}` is not UTF-8 text")))?;
                let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
                if text.is_empty() {
                    return Err(finding(format!("`{shown}` is empty")));
                }
                Ok(text.to_owned())
            }
        }
    }
}

impl TextRef {
    /// The text.
    ///
    /// # Errors
    ///
    /// As [`SecretRef::resolve`].
    pub fn resolve(&self, environment: &BTreeMap<String, String>) -> Result<String, Finding> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Elsewhere(place) => place.resolve(environment),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_last_newline_does_not_count_and_only_one() {
        let folder = tempfile::tempdir().unwrap();
        for (held, read) in [("secret", "secret"), ("secret\n", "secret"), ("secret\r\n", "secret"), ("secret\n\n", "secret\n")] {
            let path = folder.path().join("secret");
            std::fs::write(&path, held).unwrap();
            assert_eq!(SecretRef::File(path).resolve(&BTreeMap::new()).unwrap(), read);
        }
    }

    #[test]
    fn a_missing_variable_or_file_is_named_with_what_to_do() {
        let finding = SecretRef::Env("NOT_SET".into()).resolve(&BTreeMap::new()).unwrap_err();
        assert!(finding.found.contains("`NOT_SET` is not set") && finding.remedy.contains("export NOT_SET="), "{finding:?}");
        let finding = SecretRef::File("/nowhere/secret".into()).resolve(&BTreeMap::new()).unwrap_err();
        assert!(finding.found.contains("/nowhere/secret"), "{finding:?}");
    }
}
