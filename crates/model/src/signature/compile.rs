//! From a scheme's data to something that runs, with every mistake named at once.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::verify::MacState;
use super::{Algorithm, Encoding, HexCase, KeyEncoding, Layout, Names, Scheme, Unit};
use crate::secret::{SECRET_BYTES_MIN, Secret};
use crate::time::parse_span;

/// Most secrets of a source: a rotation needs two.
const SECRETS_MAX: usize = 8;
/// Most bytes of a template.
const TEMPLATE_BYTES_MAX: usize = 256;
const TOLERANCE_DEFAULT: Duration = Duration::from_secs(300);
const TOLERANCE_MAX: Duration = Duration::from_secs(86_400);
const PLACEHOLDERS: &str = "{body}, {timestamp}, {header:name}, {method} and {target}";

/// What is wrong with a scheme or its secrets. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key it is about: one of the scheme's, or `secrets`.
    pub key: &'static str,
    /// What is wrong and how to mend it.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.key, self.text)
    }
}

/// A scheme with its secrets, ready to check and to sign.
#[derive(Clone)]
pub struct Verifier {
    pub(super) algorithm: Algorithm,
    pub(super) key_encoding: KeyEncoding,
    pub(super) key_prefix: Option<String>,
    /// The signature's header; further names are aliases.
    pub(super) header: Vec<String>,
    pub(super) form: Form,
    pub(super) encoding: Encoding,
    pub(super) hex_case: HexCase,
    pub(super) parts: Vec<Part>,
    pub(super) clock: Option<Clock>,
    pub(super) keys: Vec<Key>,
    pub(super) signed_headers: Vec<String>,
    pub(super) aliases: BTreeMap<String, Vec<String>>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = (self.algorithm, &self.header, &self.parts, self.keys.len());
        f.debug_tuple("Verifier").field(&shown).finish()
    }
}

/// A secret, and the keyed hash's state after the key went in.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) secret: Secret,
    pub(super) state: MacState,
}

/// How the signature's header is built, with what each layout needs.
#[derive(Clone, Debug)]
pub(super) enum Form {
    Plain { prefix: String },
    Kv { separator: String, signature: String, timestamp: Option<String> },
    Tagged { separator: String, tag: String },
}

/// A piece of the signed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Body,
    Timestamp,
    Method,
    Target,
    /// A header's value, which may not hold `until`: the text that ends it. Otherwise a byte could be moved from
    /// the header to what follows under the same signature (the Standard Webhooks specification warns of it).
    Header {
        names: Vec<String>,
        until: Option<String>,
    },
}

/// Where the timestamp is and what it may be.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// Names of its header; empty if it is a field of the signature's header.
    pub(super) header: Vec<String>,
    pub(super) unit: Unit,
    /// `None`: any age.
    pub(super) tolerance: Option<Duration>,
}

impl Scheme {
    /// Checks the scheme, decodes the secrets (newest first) and prepares both for use. Without secrets every
    /// request is refused.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once.
    pub fn compile(&self, secrets: &[Secret]) -> Result<Verifier, Vec<Problem>> {
        let mut work = Work { scheme: self, aliases: BTreeMap::new(), problems: Vec::new() };
        work.read_aliases();
        let header = work.header("header", &self.header);
        let form = work.form();
        let clock = work.clock();
        let parts = work.parts();
        let keys = work.keys(secrets);
        if self.hex_case.is_some() && self.encoding != Encoding::Hex {
            work.problem("hex_case", "is only for `encoding = \"hex\"`: remove it");
        }
        let Work { aliases, problems, .. } = work;
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut signed_headers: Vec<String> = parts.iter().filter_map(Part::header_name).map(str::to_owned).collect();
        signed_headers.sort();
        signed_headers.dedup();
        Ok(Verifier {
            algorithm: self.algorithm,
            key_encoding: self.key,
            key_prefix: self.key_prefix.clone(),
            header,
            form,
            encoding: self.encoding,
            hex_case: self.hex_case.unwrap_or_default(),
            parts,
            clock,
            keys,
            signed_headers,
            aliases,
        })
    }
}

impl Part {
    fn header_name(&self) -> Option<&str> {
        match self {
            Self::Header { names, .. } => names.first().map(String::as_str),
            Self::Text(_) | Self::Body | Self::Timestamp | Self::Method | Self::Target => None,
        }
    }
}

/// A compilation under way.
struct Work<'a> {
    scheme: &'a Scheme,
    aliases: BTreeMap<String, Vec<String>>,
    problems: Vec<Problem>,
}

impl Work<'_> {
    fn problem(&mut self, key: &'static str, text: impl Into<String>) {
        self.problems.push(Problem { key, text: text.into() });
    }

    fn read_aliases(&mut self) {
        for (name, others) in &self.scheme.aliases {
            let others = match others {
                Names::One(other) => std::slice::from_ref(other),
                Names::Several(others) => others.as_slice(),
            };
            let name = self.header_name("aliases", name);
            let others = others.iter().map(|other| self.header_name("aliases", other)).collect();
            self.aliases.insert(name, others);
        }
    }

    /// The lower-case form of a header's name.
    fn header_name(&mut self, key: &'static str, name: &str) -> String {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || name.len() > 128 || !name.bytes().all(token) {
            self.problem(key, format!("`{name}` is not the name of a header"));
        }
        name.to_ascii_lowercase()
    }

    /// A header's name and its aliases.
    fn header(&mut self, key: &'static str, name: &str) -> Vec<String> {
        let name = self.header_name(key, name);
        let others = self.aliases.get(&name).cloned().unwrap_or_default();
        std::iter::once(name).chain(others).collect()
    }

    fn form(&mut self) -> Form {
        let scheme = self.scheme;
        let wanted = |layout| scheme.layout == layout;
        for (key, given, fits, layout) in [
            ("prefix", scheme.prefix.is_some(), wanted(Layout::Plain), "plain"),
            ("signature_field", scheme.signature_field.is_some(), wanted(Layout::Kv), "kv"),
            ("tag", scheme.tag.is_some(), wanted(Layout::Tagged), "tagged"),
        ] {
            if given && !fits {
                self.problem(key, format!("is only for `layout = \"{layout}\"`: remove it, or change the layout"));
            }
        }
        match scheme.layout {
            Layout::Plain => {
                if scheme.separator.is_some() {
                    self.problem("separator", "is only for `layout = \"kv\"` and `\"tagged\"`: remove it");
                }
                let prefix = scheme.prefix.clone().unwrap_or_default();
                if prefix.len() > 64 || !prefix.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
                    self.problem("prefix", "has to be at most 64 characters of plain ASCII");
                }
                Form::Plain { prefix }
            }
            Layout::Kv => Form::Kv {
                separator: self.separator(","),
                signature: self.word("signature_field", scheme.signature_field.as_deref()),
                timestamp: scheme.timestamp.as_ref().and_then(|timestamp| timestamp.field.clone()),
            },
            Layout::Tagged => Form::Tagged { separator: self.separator(" "), tag: self.word("tag", scheme.tag.as_deref()) },
        }
    }

    fn separator(&mut self, default: &str) -> String {
        let separator = self.scheme.separator.as_deref().unwrap_or(default);
        let taken = if self.scheme.layout == Layout::Kv { b'=' } else { b',' };
        let usable = |byte: u8| (0x20..0x7f).contains(&byte) && !byte.is_ascii_alphanumeric() && byte != taken;
        if separator.is_empty() || separator.len() > 4 || !separator.bytes().all(usable) {
            self.problem("separator", "has to be one to four characters, none of them a letter, a digit or the one inside an entry");
        }
        separator.to_owned()
    }

    /// A name inside the signature's header.
    fn word(&mut self, key: &'static str, text: Option<&str>) -> String {
        let Some(text) = text else {
            self.problem(key, "is missing: name the entries of the header that are signatures, for example `v1`");
            return String::new();
        };
        if text.is_empty() || text.len() > 32 || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            self.problem(key, "has to be 1 to 32 letters, digits, `-`, `_` or `.`");
        }
        text.to_owned()
    }

    fn clock(&mut self) -> Option<Clock> {
        let timestamp = self.scheme.timestamp.as_ref()?;
        let header = match (&timestamp.header, &timestamp.field) {
            (Some(header), None) => self.header("timestamp", header),
            (None, Some(field)) => {
                if self.scheme.layout != Layout::Kv {
                    self.problem("timestamp", "`field` is only for `layout = \"kv\"`: name the `header` the timestamp is in");
                }
                let field = self.word("timestamp", Some(field));
                if self.scheme.signature_field.as_ref() == Some(&field) {
                    self.problem("timestamp", "`field` is the same as `signature_field`");
                }
                Vec::new()
            }
            (Some(_), Some(_)) | (None, None) => {
                self.problem("timestamp", "needs either `header` or (with `layout = \"kv\"`) `field`");
                Vec::new()
            }
        };
        if !self.scheme.signed.contains("{timestamp}") {
            self.problem("timestamp", "is not part of `signed`, so anybody could change it: add {timestamp} there, or remove it here");
        }
        Some(Clock { header, unit: timestamp.unit, tolerance: self.tolerance(timestamp.tolerance.as_deref()) })
    }

    fn tolerance(&mut self, text: Option<&str>) -> Option<Duration> {
        match text.map(|text| (text, parse_span(text))) {
            None => Some(TOLERANCE_DEFAULT),
            Some(("off", _)) => None,
            Some((_, Ok(span))) if span >= Duration::from_secs(1) && span <= TOLERANCE_MAX => Some(span),
            Some((text, Ok(_))) => {
                self.problem("timestamp", format!("tolerance `{text}` is not between 1s and 24h; `off` turns the check off"));
                None
            }
            Some((_, Err(wrong))) => {
                self.problem("timestamp", format!("tolerance: {wrong}, or `off`"));
                None
            }
        }
    }

    fn parts(&mut self) -> Vec<Part> {
        let template = self.scheme.signed.as_str();
        if template.len() > TEMPLATE_BYTES_MAX {
            self.problem("signed", format!("is longer than {TEMPLATE_BYTES_MAX} bytes"));
            return Vec::new();
        }
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((text, after)) = rest.split_once('{') {
            parts.extend(self.text(text));
            let Some((name, after)) = after.split_once('}') else {
                self.problem("signed", "has a `{` without its `}`");
                return parts;
            };
            parts.extend(self.placeholder(name));
            rest = after;
        }
        parts.extend(self.text(rest));
        if !parts.contains(&Part::Body) {
            self.problem("signed", "does not hold {body}, so anybody could change the event: add it");
        }
        end_headers(&mut parts);
        parts
    }

    fn text(&mut self, text: &str) -> Option<Part> {
        if text.contains('}') {
            self.problem("signed", "has a `}` without its `{`");
        }
        (!text.is_empty()).then(|| Part::Text(text.to_owned()))
    }

    fn placeholder(&mut self, name: &str) -> Option<Part> {
        match name {
            "body" => Some(Part::Body),
            "method" => Some(Part::Method),
            "target" => Some(Part::Target),
            "timestamp" => {
                if self.scheme.timestamp.is_none() {
                    self.problem("signed", "holds {timestamp}, but `timestamp` does not say where that is");
                }
                Some(Part::Timestamp)
            }
            _ => match name.strip_prefix("header:") {
                Some(header) => self.header_part(header),
                None => {
                    self.problem("signed", format!("does not know {{{name}}}: there are {PLACEHOLDERS}"));
                    None
                }
            },
        }
    }

    fn header_part(&mut self, name: &str) -> Option<Part> {
        let names = self.header("signed", name);
        let is = |other: &str| names.first().is_some_and(|name| name.eq_ignore_ascii_case(other));
        let timestamp = self.scheme.timestamp.as_ref().and_then(|timestamp| timestamp.header.as_deref());
        if is(&self.scheme.header) {
            self.problem("signed", "holds the signature's own header");
        } else if timestamp.is_some_and(is) {
            self.problem("signed", format!("write {{timestamp}} instead of {{header:{name}}}"));
        }
        Some(Part::Header { names, until: None })
    }

    fn keys(&mut self, secrets: &[Secret]) -> Vec<Key> {
        if secrets.len() > SECRETS_MAX {
            self.problem("secrets", format!("are more than {SECRETS_MAX}: remove those that no sender uses any more"));
            return Vec::new();
        }
        let scheme = self.scheme;
        if scheme.key_prefix.is_some() && scheme.key == KeyEncoding::Utf8 {
            self.problem("key_prefix", "is only for `key = \"base64\"` and `\"hex\"`: remove it, the whole text is the key");
        }
        let mut keys = Vec::with_capacity(secrets.len());
        for (at, secret) in secrets.iter().enumerate() {
            match decode_key(secret, scheme.key, scheme.key_prefix.as_deref()) {
                // A plain text's length was checked when the secret was read.
                Some(key) if key.len() >= SECRET_BYTES_MIN || scheme.key == KeyEncoding::Utf8 => {
                    keys.extend(MacState::new(scheme.algorithm, &key).map(|state| Key { secret: secret.clone(), state }));
                }
                Some(key) => {
                    let length = key.len();
                    self.problem(
                        "secrets",
                        format!("secret {} has {length} bytes once decoded and needs {SECRET_BYTES_MIN}: copy it whole", at + 1),
                    );
                }
                None => {
                    let encoding = scheme.key.as_str();
                    self.problem("secrets", format!("secret {} is not {encoding}: copy it whole, as the vendor shows it", at + 1));
                }
            }
        }
        keys
    }
}

/// Tells each header which text ends it.
fn end_headers(parts: &mut [Part]) {
    for at in 1..parts.len() {
        let (before, after) = parts.split_at_mut(at);
        if let (Some(Part::Header { until, .. }), Some(Part::Text(text))) = (before.last_mut(), after.first()) {
            *until = Some(text.clone());
        }
    }
}

/// The bytes of a key; `None` if the secret is not written in this encoding.
pub(super) fn decode_key(secret: &Secret, encoding: KeyEncoding, prefix: Option<&str>) -> Option<Vec<u8>> {
    // What people paste is padded or not, and both mean the same key.
    const EITHER: GeneralPurpose =
        GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));
    let bytes = secret.expose();
    let text = prefix.and_then(|prefix| bytes.strip_prefix(prefix.as_bytes())).unwrap_or(bytes);
    match encoding {
        KeyEncoding::Utf8 => Some(text.to_vec()),
        KeyEncoding::Base64 => EITHER.decode(text).ok(),
        KeyEncoding::Hex => hex::decode(text).ok(),
    }
}
