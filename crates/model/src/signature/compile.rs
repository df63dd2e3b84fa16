//! From a scheme's data to something that runs, with every mistake named at once.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::Verdict;
use super::body::Path;
use super::installed::with_and_without_port;
use super::jwt::Rules;
use super::key::{Key, MacState, Piece, Power};
use super::network::Network;
use super::place::{Form, Place};
use super::scheme::{Algorithm, Encoding, HexCase, KeyEncoding, Kind, Layout, MacKind, Scheme, Unit};
use super::template::{Origin, Part};
use crate::Time;
use crate::secret::Secret;
use crate::time::parse_span;

/// Most numbered headers.
const NUMBERED_MAX: usize = 16;
/// Most networks of `allow_from`.
const NETWORKS_MAX: usize = 256;
const TOLERANCE_DEFAULT: Duration = Duration::from_secs(300);
const TOLERANCE_MAX: Duration = Duration::from_secs(86_400);

/// What is wrong with a scheme or its secrets. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key it is about: one of the scheme's, or `secrets`, or `public_url`.
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
    pub(super) place: Place,
    pub(super) form: Form,
    pub(super) encoding: Encoding,
    pub(super) hex_case: HexCase,
    pub(super) parts: Vec<Part>,
    /// The public URL without its query, as configured and with its default port written or not; none if it is not signed.
    pub(super) urls: Vec<String>,
    /// The public URL as configured, whether it is signed or not.
    pub(super) public_url: Option<String>,
    pub(super) clock: Option<Clock>,
    /// The parameter that holds the body's hash.
    pub(super) body_hash: Option<String>,
    pub(super) each: Option<Each>,
    pub(super) jwt: Option<Rules>,
    pub(super) verdict: Verdict,
    pub(super) signed_target: bool,
    pub(super) keys: Vec<Key>,
    pub(super) signed_headers: Vec<String>,
    pub(super) aliases: BTreeMap<String, Vec<String>>,
    networks: Vec<Network>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = (self.algorithm, &self.place, &self.parts, self.keys.len());
        f.debug_tuple("Verifier").field(&shown).finish()
    }
}

impl Verifier {
    /// How much a request shows that this takes for genuine.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The scheme's keyed hash of a text, by the first secret that is still valid: for answers to handshakes, which must never be able to sign a
    /// request (see [`crate::handshake`]).
    pub(crate) fn keyed_hash(&self, text: &[u8], now: Time) -> Option<Vec<u8>> {
        let key = self.keys.iter().find(|key| key.valid(now))?;
        if let Power::Mac(state) = &key.power { Some(state.sign(&[Piece::of(text)])) } else { None }
    }

    /// A word that only this source's owner knows, for vendors that want one to be chosen: made from the first valid secret, so that it need not be
    /// kept anywhere. 48 hexadecimal digits.
    pub fn verify_token(&self, now: Time) -> Option<String> {
        let key = self.keys.iter().find(|key| key.valid(now))?;
        let state = MacState::new(MacKind::Sha256, key.secret.expose())?;
        Some(hex::encode(&state.sign(&[Piece::of(b"onceward: a word for the vendor's handshake")])[..24]))
    }

    /// Whether a parameter of the query string is signed: only then may it become a key.
    pub fn signs_parameter(&self, name: &str) -> bool {
        // A parameter that is signed in lower case could come in capitals the next time.
        let is = |part: &&Part| matches!(part, Part::Value { from: Origin::Query(held), .. } if held == name);
        self.signed_target || Part::all(&self.parts).iter().any(is)
    }

    /// The names of all headers that are read to check a request, aliases included, in lower case: whoever keeps a request to check it again keeps
    /// these.
    pub fn header_names(&self) -> Vec<&str> {
        let places = [Some(&self.place), self.clock.as_ref().and_then(|clock| clock.place.as_ref())];
        let placed =
            places.into_iter().flatten().filter_map(|place| if let Place::Headers(headers) = place { Some(headers) } else { None });
        let signed = Part::all(&self.parts)
            .into_iter()
            .filter_map(|part| if let Part::Value { from: Origin::Header(names), .. } = part { Some(names) } else { None });
        let mut names: Vec<&str> = placed.flatten().chain(signed).flatten().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The source's address as its vendor was told it.
    pub fn public_url(&self) -> Option<&str> {
        self.public_url.as_deref()
    }

    /// Whether requests may come from this address: the peer's, or the one that a trusted proxy names.
    pub fn allows(&self, peer: IpAddr) -> bool {
        self.networks.is_empty() || self.networks.iter().any(|network| network.holds(peer))
    }
}

/// Where the timestamp is and what it may be.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// `None`: a field of the signature's own text.
    pub(super) place: Option<Place>,
    pub(super) unit: Unit,
    /// `None`: any age.
    pub(super) tolerance: Option<Duration>,
}

/// The list whose entries are signed one by one.
#[derive(Clone, Debug)]
pub(super) struct Each {
    pub(super) list: Path,
    /// What is signed of an entry; the entry itself if empty.
    pub(super) member: Path,
}

impl Scheme {
    /// Checks the scheme, decodes the secrets (newest first) and prepares both for use. Without secrets every
    /// request is refused. `public_url` is the source's address as its vendor was told it, without a query: needed by schemes that sign `{url}`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once.
    pub fn compile(&self, secrets: &[Secret], public_url: Option<&str>) -> Result<Verifier, Vec<Problem>> {
        self.prepare(secrets, public_url, true)
    }

    /// Checks the scheme alone: what only an installation knows (secrets, public URL, settings) may be missing.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once.
    pub fn outline(&self) -> Result<Verifier, Vec<Problem>> {
        self.prepare(&[], None, false)
    }

    fn prepare(&self, secrets: &[Secret], public_url: Option<&str>, whole: bool) -> Result<Verifier, Vec<Problem>> {
        let mut work = Work { scheme: self, whole, aliases: BTreeMap::new(), problems: Vec::new() };
        work.read_aliases();
        let place = work.place();
        let form = work.form();
        let clock = work.clock();
        let parts = work.parts();
        let each = work.each();
        let jwt = Rules::compile(&mut work);
        let urls = work.urls(&parts, public_url);
        let verdict = work.verdict(&parts);
        work.check_circles(&parts);
        let networks = work.networks();
        let keys = work.keys(secrets);
        if self.hex_case.is_some() && self.encoding != Encoding::Hex {
            work.problem("hex_case", "is only for `encoding = \"hex\"`: remove it");
        }
        let Work { aliases, problems, .. } = work;
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut signed_headers: Vec<String> = Part::all(&parts).iter().filter_map(|part| part.header_name()).map(str::to_owned).collect();
        signed_headers.sort();
        signed_headers.dedup();
        let signed_target = Part::all(&parts).iter().any(|part| matches!(part, Part::Target | Part::Url));
        Ok(Verifier {
            algorithm: self.algorithm,
            key_encoding: self.key,
            key_prefix: self.key_prefix.clone(),
            place,
            form,
            encoding: self.encoding,
            hex_case: self.hex_case.unwrap_or_default(),
            parts,
            urls,
            public_url: public_url.map(str::to_owned),
            clock,
            body_hash: self.body_hash.as_ref().map(|hash| hash.query.clone()),
            each,
            jwt,
            verdict,
            signed_target,
            keys,
            signed_headers,
            aliases,
            networks,
        })
    }
}

/// A compilation under way.
pub(super) struct Work<'a> {
    pub(super) scheme: &'a Scheme,
    /// Whether everything that an installation knows must be there.
    pub(super) whole: bool,
    aliases: BTreeMap<String, Vec<String>>,
    problems: Vec<Problem>,
}

impl Work<'_> {
    pub(super) fn problem(&mut self, key: &'static str, text: impl Into<String>) {
        self.problems.push(Problem { key, text: text.into() });
    }

    fn read_aliases(&mut self) {
        for (name, others) in &self.scheme.aliases {
            let name = self.header_name("aliases", name);
            let others = others.as_slice().iter().map(|other| self.header_name("aliases", other)).collect();
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
    pub(super) fn header(&mut self, key: &'static str, name: &str) -> Vec<String> {
        let name = self.header_name(key, name);
        let others = self.aliases.get(&name).cloned().unwrap_or_default();
        std::iter::once(name).chain(others).collect()
    }

    /// A path of plain names.
    pub(super) fn path(&mut self, key: &'static str, text: &str) -> Path {
        Path::parse(text).unwrap_or_else(|| {
            self.problem(
                key,
                format!("`{text}` is no path: write one to eight plain names with dots between them, such as `data.signature`"),
            );
            Path(Vec::new())
        })
    }

    fn parameter(&mut self, key: &'static str, name: &str) -> String {
        if name.is_empty() || name.len() > 128 {
            self.problem(key, "needs the name of a parameter or field, of at most 128 bytes");
        }
        name.to_owned()
    }

    fn place(&mut self) -> Place {
        let scheme = self.scheme;
        let bearer = matches!(scheme.algorithm, Algorithm::Basic | Algorithm::Jwt);
        let mut places = Vec::new();
        if let Some(name) = &scheme.header {
            let names =
                (1..=NUMBERED_MAX).map(|n| name.replace("{n}", &n.to_string())).take(if name.contains("{n}") { NUMBERED_MAX } else { 1 });
            let mut headers: Vec<Vec<String>> = names.map(|name| self.header("header", &name)).collect();
            headers.extend(scheme.also.iter().map(|name| self.header("also", name)));
            places.push(Place::Headers(headers));
        } else if !scheme.also.is_empty() {
            self.problem("also", "is only for signatures in a `header`: remove it");
        }
        if let Some(name) = &scheme.query {
            places.push(Place::Query(self.parameter("query", name)));
        }
        if let Some(path) = &scheme.json {
            places.push(Place::Json(self.path("json", path)));
        }
        if let Some(name) = &scheme.form {
            places.push(Place::Form(self.parameter("form", name)));
        }
        if places.len() > 1 || places.is_empty() && !bearer {
            self.problem("header", "exactly one of `header`, `query`, `json` and `form` has to say where the signature is");
        }
        let first = places.first();
        if scheme.algorithm == Algorithm::Basic && !matches!(first, None | Some(Place::Headers(_))) {
            self.problem("header", "`basic` is sent in a header");
        } else if scheme.algorithm == Algorithm::None && !matches!(first, Some(Place::Query(_))) {
            self.problem(
                "query",
                "`none` needs the parameter of the query string that holds the secret: a request that shows nothing cannot be told from a forgery",
            );
        } else if scheme.each.is_some() && !matches!(first, Some(Place::Json(_))) {
            self.problem("each", "needs `json`: where the signature is in each entry");
        }
        places.into_iter().next().unwrap_or_else(|| Place::Headers(vec![vec!["authorization".to_owned()]]))
    }

    fn form(&mut self) -> Form {
        let scheme = self.scheme;
        let wanted = |layout| scheme.layout == layout;
        for (key, given, fits, layout) in [
            ("prefix", scheme.prefix.is_some(), wanted(Layout::Plain), "plain"),
            ("signature_field", scheme.signature_field.is_some(), wanted(Layout::Kv), "kv"),
            ("assign", scheme.assign.is_some(), wanted(Layout::Kv), "kv"),
            ("group", scheme.group.is_some(), wanted(Layout::Kv), "kv"),
            ("tag", scheme.tag.is_some(), wanted(Layout::Tagged), "tagged"),
        ] {
            if given && !fits {
                self.problem(key, format!("is only for `layout = \"{layout}\"`: remove it, or change the layout"));
            }
        }
        if scheme.prefix_optional && scheme.prefix.is_none() {
            self.problem("prefix_optional", "is only for a `prefix`: remove it");
        }
        if scheme.layout != Layout::Plain && scheme.algorithm.kind() == Kind::Bearer {
            self.problem("layout", "of a token is `plain`");
        }
        match scheme.layout {
            Layout::Plain => {
                if scheme.separator.is_some() {
                    self.problem("separator", "is only for `layout = \"kv\"`, `\"tagged\"` and `\"list\"`: remove it");
                }
                let prefix = scheme.prefix.clone().unwrap_or_default();
                if prefix.len() > 64 || !prefix.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
                    self.problem("prefix", "has to be at most 64 characters of plain ASCII");
                }
                Form::Plain { prefix, optional: scheme.prefix_optional }
            }
            Layout::Kv => {
                let assign = scheme.assign.clone().unwrap_or_else(|| "=".to_owned());
                Form::Kv {
                    separator: self.separator("separator", scheme.separator.as_deref().unwrap_or(","), &assign),
                    group: scheme.group.as_deref().map(|group| self.separator("group", group, &assign)),
                    signature: self.signature_field(),
                    timestamp: scheme.timestamp.as_ref().and_then(|timestamp| timestamp.field.clone()),
                    assign: self.separator("assign", &assign, ""),
                }
            }
            Layout::Tagged => Form::Tagged {
                separator: self.separator("separator", scheme.separator.as_deref().unwrap_or(" "), ","),
                tag: self.word("tag", scheme.tag.as_deref()),
            },
            Layout::List => Form::List {
                separator: self.separator("separator", scheme.separator.as_deref().unwrap_or(","), ""),
                timestamp: scheme.timestamp.as_ref().and_then(|timestamp| timestamp.field.as_ref()).and_then(|field| field.parse().ok()),
            },
        }
    }

    /// What stands between entries; not what is inside one.
    fn separator(&mut self, key: &'static str, separator: &str, inside: &str) -> String {
        let usable = |byte: u8| (0x20..0x7f).contains(&byte) && !byte.is_ascii_alphanumeric() && !inside.as_bytes().contains(&byte);
        if separator.is_empty() || separator.len() > 4 || !separator.bytes().all(usable) {
            self.problem(key, "has to be one to four characters, none of them a letter, a digit or the one inside an entry");
        }
        separator.to_owned()
    }

    fn signature_field(&mut self) -> String {
        match self.scheme.signature_field.as_deref() {
            Some("*") => "*".to_owned(),
            field => self.word("signature_field", field),
        }
    }

    /// A name inside the signature's text.
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
        let mut places = Vec::new();
        if let Some(name) = &timestamp.header {
            places.push(Some(Place::Headers(vec![self.header("timestamp", name)])));
        }
        if let Some(field) = &timestamp.field {
            self.field(field);
            places.push(None);
        }
        if let Some(path) = &timestamp.json {
            places.push(Some(Place::Json(self.path("timestamp", path))));
        }
        if let Some(name) = &timestamp.query {
            places.push(Some(Place::Query(self.parameter("timestamp", name))));
        }
        if let Some(name) = &timestamp.form {
            places.push(Some(Place::Form(self.parameter("timestamp", name))));
        }
        if places.len() != 1 {
            self.problem(
                "timestamp",
                "needs exactly one of `header`, `json`, `query`, `form` and (with `layout = \"kv\"` or `\"list\"`) `field`",
            );
        }
        if !self.signs_timestamp(places.first().and_then(Option::as_ref)) {
            self.problem("timestamp", "is not part of `signed`, so anybody could change it: add {timestamp} there, or remove it here");
        }
        let tolerance = self.tolerance("timestamp", timestamp.tolerance.as_deref());
        Some(Clock { place: places.into_iter().next().flatten(), unit: timestamp.unit, tolerance })
    }

    fn field(&mut self, field: &str) {
        match self.scheme.layout {
            Layout::Kv => {
                let field = self.word("timestamp", Some(field));
                if self.scheme.signature_field.as_ref() == Some(&field) {
                    self.problem("timestamp", "`field` is the same as `signature_field`");
                }
            }
            Layout::List if matches!(field.parse::<usize>(), Ok(0..16)) => {}
            Layout::List => self.problem("timestamp", "`field` has to be a position from 0 to 15 in a list"),
            Layout::Plain | Layout::Tagged => {
                self.problem("timestamp", "`field` is only for `layout = \"kv\"` and `\"list\"`: name the `header` the timestamp is in");
            }
        }
    }

    /// Whether the template holds the timestamp, by name or as a part of what it holds.
    fn signs_timestamp(&self, place: Option<&Place>) -> bool {
        let signed = self.scheme.signed.as_deref().unwrap_or_default();
        let holds = |words: &[&str]| words.iter().any(|word| signed.contains(word));
        signed.contains("{timestamp}")
            || match place {
                Some(Place::Json(_)) => holds(&["{body}", "{sha256}"]),
                Some(Place::Form(_)) => holds(&["{body}", "{sha256}", "{form-sorted}"]),
                Some(Place::Query(_)) => holds(&["{target}", "{url}"]),
                Some(Place::Headers(_)) | None => false,
            }
    }

    pub(super) fn tolerance(&mut self, key: &'static str, text: Option<&str>) -> Option<Duration> {
        match text.map(|text| (text, parse_span(text))) {
            None => Some(TOLERANCE_DEFAULT),
            Some(("off", _)) => None,
            Some((_, Ok(span))) if span >= Duration::from_secs(1) && span <= TOLERANCE_MAX => Some(span),
            Some((text, Ok(_))) => {
                self.problem(key, format!("tolerance `{text}` is not between 1s and 24h; `off` turns the check off"));
                None
            }
            Some((_, Err(wrong))) => {
                self.problem(key, format!("tolerance: {wrong}, or `off`"));
                None
            }
        }
    }

    fn each(&mut self) -> Option<Each> {
        let text = self.scheme.each.as_deref()?;
        let (list, member) = match text.split_once("[]") {
            Some((list, member)) => (list, member.strip_prefix('.').or(member.is_empty().then_some(""))),
            None => (text, None),
        };
        let Some(member) = member else {
            self.problem("each", format!("`{text}` does not name a list: write it like `items[]` or `items[].notification`"));
            return None;
        };
        let list = if list.is_empty() { Path(Vec::new()) } else { self.path("each", list) };
        let member = if member.is_empty() { Path(Vec::new()) } else { self.path("each", member) };
        Some(Each { list, member })
    }

    /// The public URL as it may have been signed.
    fn urls(&mut self, parts: &[Part], public_url: Option<&str>) -> Vec<String> {
        let signs_url = Part::all(parts).contains(&&Part::Url) || self.scheme.jwt.as_ref().is_some_and(|jwt| jwt.url_claim.is_some());
        if !signs_url || !self.whole {
            return Vec::new();
        }
        let Some(url) = public_url else {
            self.problem(
                "public_url",
                "is needed, because this vendor signs the address it sends to, and a proxy may hide that from us: set `listen.public_url`, or `public_url` of this source, to what the vendor was told",
            );
            return Vec::new();
        };
        match with_and_without_port(url) {
            Some(urls) => urls,
            None => {
                self.problem(
                    "public_url",
                    "has to be an http or https URL without query and fragment, such as `https://hooks.example.com/webhooks/name`",
                );
                Vec::new()
            }
        }
    }

    /// What a right signature shows; wrong where the template does not cover the body and the scheme does not say so.
    fn verdict(&mut self, parts: &[Part]) -> Verdict {
        let scheme = self.scheme;
        let parts = Part::all(parts);
        let holds = |wanted: &Part| parts.contains(&wanted);
        let target = holds(&Part::Url) || holds(&Part::Target);
        let hashed = scheme.jwt.as_ref().is_some_and(|jwt| jwt.body_hash_claim.is_some());
        let whole = [Part::Body, Part::FormSorted, Part::Crc32, Part::Sha256].iter().any(holds);
        let covered = whole || scheme.each.is_some() && !parts.is_empty() || scheme.body_hash.is_some() && target || hashed;
        let inside = |part: &&Part| matches!(part, Part::Value { from: Origin::Json(_) | Origin::Form(_) | Origin::Item(_), .. });
        if scheme.body_hash.is_some() && !target {
            self.problem("body_hash", "is not signed, so anybody could change it: `signed` has to hold {url} or {target}");
        }
        match (scheme.covers_body, covered) {
            (Some(false), _) => Verdict::Authenticated,
            (None | Some(true), true) => Verdict::Verified,
            (Some(true), false) if parts.iter().any(inside) => Verdict::Verified,
            (Some(true), false) => {
                self.problem("covers_body", "is true, and nothing of the body is signed: write `covers_body = false`");
                Verdict::Authenticated
            }
            (None, false) if scheme.algorithm.kind() == Kind::Bearer => Verdict::Authenticated,
            (None, false) => {
                self.problem("signed", "does not hold {body} or anything else that covers it, so anybody could change the event: add it, or say `covers_body = false`");
                Verdict::Authenticated
            }
        }
    }

    /// A signature cannot be inside of what it signs.
    fn check_circles(&mut self, parts: &[Part]) {
        let parts = Part::all(parts);
        let holds = |wanted: &[Part]| wanted.iter().any(|wanted| parts.contains(&wanted));
        let body = holds(&[Part::Body, Part::Crc32, Part::Sha256]);
        let scheme = self.scheme;
        if body && (scheme.json.is_some() || scheme.form.is_some()) || scheme.form.is_some() && holds(&[Part::FormSorted]) {
            self.problem(
                "signed",
                "holds the body, and the signature itself is in there: name the signed members with {json:…} or {form:…}",
            );
        }
        if scheme.query.is_some() && holds(&[Part::Target, Part::Url]) {
            self.problem(
                "signed",
                "holds the query string, and the signature itself is in there: name the signed parameters with {query:…}",
            );
        }
    }

    fn networks(&mut self) -> Vec<Network> {
        if self.scheme.allow_from.len() > NETWORKS_MAX {
            self.problem("allow_from", format!("lists more than {NETWORKS_MAX} networks"));
        }
        let mut networks = Vec::new();
        for text in self.scheme.allow_from.iter().take(NETWORKS_MAX) {
            match Network::parse(text) {
                Some(network) => networks.push(network),
                None => self.problem(
                    "allow_from",
                    format!("`{text}` is no network: write it like `203.0.113.0/24`, with zeros after the bits that count"),
                ),
            }
        }
        networks
    }
}
