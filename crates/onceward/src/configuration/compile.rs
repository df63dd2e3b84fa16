//! From sections to what the rest needs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use console::Role;
use model::seal::{SealingKey, SealingKeys};
use model::secret::Secret;
use model::signature::{Network, Scheme};
use model::source::{Source, SourceDef};
use serde::de::DeserializeOwned;

use super::problem::{Finding, Place, Problems, listed};
use super::secret::{EndingSecretRef, SecretRef};
use super::tree::{Node, Step, Value, dotted, unknown_key};
use super::{AdminToken, Configuration, Environment, Listen, Retention, SourceOf, destination, fetch, ledger, read, rest, route, section};

/// Fewest bytes of a token for the admin listener.
pub const TOKEN_BYTES_MIN: usize = 24;
/// Most entries of a table or list: sources, destinations, routes, tokens.
const ENTRIES_MAX: usize = 1_000;

/// What every step needs.
pub struct Compiler<'a> {
    pub root: Node,
    pub environment: &'a Environment,
    pub problems: &'a mut Problems,
}

impl Compiler<'_> {
    /// Notes what is wrong at a path.
    pub fn wrong(&mut self, path: &[Step], finding: Finding) {
        self.problems.add(&self.root.place(path), dotted(path), finding);
    }

    /// Reads the section at a path; its default if it is not there.
    pub fn section<T: DeserializeOwned + Default>(&mut self, name: &str) -> Option<T> {
        let path = [key(name)];
        match self.root.at(&path) {
            Some(node) => read::section(node, &path, &[], self.problems),
            None => Some(T::default()),
        }
    }

    /// Reads each entry of the list at a path on its own. `None`: there is no list, which is then in the problems unless nothing is there.
    pub fn entries<T: DeserializeOwned>(&mut self, path: &[Step], remedy: &str) -> Option<Vec<(Vec<Step>, Option<T>)>> {
        let node = self.root.at(path)?.clone();
        let Value::Array(array) = &node.value else {
            self.wrong(path, Finding::new(node.kind(), "a list in `[…]`", remedy));
            return None;
        };
        if array.len() > ENTRIES_MAX {
            self.wrong(path, Finding::new(format!("{} entries", array.len()), format!("at most {ENTRIES_MAX}"), "shorten it"));
            return None;
        }
        let entry = |(index, node): (usize, &Node)| {
            let at = [path, &[Step::Index(index)]].concat();
            let held = read::section(node, &at, &[], self.problems);
            (at, held)
        };
        Some(array.iter().enumerate().map(entry).collect())
    }

    /// The names in the table at a path. Anything but a table is wrong.
    pub fn names(&mut self, path: &[Step]) -> Vec<String> {
        let finding = match self.root.at(path).map(|node| (node.kind(), &node.value)) {
            None => return Vec::new(),
            Some((_, Value::Table(table))) if table.len() <= ENTRIES_MAX => return table.keys().cloned().collect(),
            Some((_, Value::Table(table))) => Finding::new(
                format!("{} entries", table.len()),
                format!("at most {ENTRIES_MAX}"),
                "split the work over several installations",
            ),
            Some((kind, _)) => {
                let example = dotted(path);
                Finding::new(kind, "a table with a name for each entry", format!("begin each with a line like `[{example}.NAME]`"))
            }
        };
        self.wrong(path, finding);
        Vec::new()
    }

    fn model(&mut self, path: &[Step], problem: model::source::Problem) {
        let below = self.root.at(path).map(|node| node.resolve(&problem.key)).unwrap_or_default();
        self.wrong(&[path, &below].concat(), Finding::new(problem.message, "", problem.remedy));
    }

    /// Notes what the model found wrong below a path.
    pub fn models(&mut self, path: &[Step], problems: Vec<model::source::Problem>) {
        for problem in problems {
            self.model(path, problem);
        }
    }
}

/// A step into a table.
pub fn key(name: impl Into<String>) -> Step {
    Step::Key(name.into())
}

/// Compiles the whole tree. `None` if something that has no default was wrong; what was wrong is in `problems`.
pub fn configuration(table: BTreeMap<String, Node>, environment: &Environment, problems: &mut Problems) -> Option<Configuration> {
    let root = Node { place: Place::Nowhere, value: Value::Table(table) };
    let mut compiler = Compiler { root, environment, problems };
    let to = &mut compiler;
    unknown_sections(to);
    let ledger = ledger::ledger(to);
    let queue = ledger::queue(to);
    let listen = listen(to);
    let keys = keys(to);
    let retention = retention(to);
    let limits = limits(to);
    let tokens = tokens(to);
    let sources = sources(to, listen.as_ref());
    let destinations = destination::all(to);
    let routed = route::definitions(to);
    let routes = route::compile(to, routed.as_deref().unwrap_or_default(), &destinations);
    let routed = routed?;
    rest::routes(to, &routed, &destinations);
    let mut warnings = route::warnings(&sources, &destinations, &routed);
    warnings.extend(rest::warnings(&destinations));
    Some(Configuration {
        ledger: ledger?,
        queue: queue?,
        listen: listen?,
        keys: keys?,
        retention: retention?,
        limits: limits?,
        tokens,
        sources: sources.into_iter().filter_map(|(name, source)| Some((name, source?))).collect(),
        destinations: destinations.into_iter().filter_map(|(name, destination)| Some((name, destination?))).collect(),
        routes: Arc::new(routes?),
        routed,
        warnings,
    })
}

fn unknown_sections(to: &mut Compiler<'_>) {
    for name in to.names(&[]) {
        if !section::SECTIONS.contains(&name.as_str()) {
            to.wrong(&[key(&name)], unknown_key(&name, section::SECTIONS));
        }
    }
}

fn listen(to: &mut Compiler<'_>) -> Option<Listen> {
    let section = to.section::<section::Listen>("listen")?;
    let mut address = |name: &str, text: &str| {
        let parsed = text.parse::<SocketAddr>().ok();
        if parsed.is_none() {
            let remedy = "write for example `127.0.0.1:8080`, or `0.0.0.0:8080` to listen on every address of this machine";
            to.wrong(&[key("listen"), key(name)], Finding::new(format!("`{text}`"), "an IP address and a port", remedy));
        }
        parsed
    };
    let (public, admin) = (address("public", &section.public), section.admin.as_deref().map(|admin| address("admin", admin)));
    let public_url = section.public_url.as_deref().map(|url| public_url(to, url));
    let trusted_proxies = section.trusted_proxies.iter().enumerate().filter_map(|(index, text)| network(to, index, text)).collect();
    let listen = Listen { public: public?, admin: admin.map_or(Some(None), |admin| admin.map(Some))?, public_url: None, trusted_proxies };
    let (public, admin) = (listen.public, listen.admin());
    let meet = public.ip() == admin.ip() || public.ip().is_unspecified() || admin.ip().is_unspecified();
    if meet && public.port() == admin.port() && public.port() != 0 {
        let found = format!("`{admin}`, which is also where `listen.public` is");
        to.wrong(&[key("listen"), key("admin")], Finding::new(found, "an address and port of its own", "use another port"));
    }
    match public_url {
        Some(url) => Some(Listen { public_url: Some(url?), ..listen }),
        None => Some(listen),
    }
}

fn network(to: &mut Compiler<'_>, index: usize, text: &str) -> Option<Network> {
    let network = Network::parse(text);
    if network.is_none() {
        let finding = Finding::new(
            format!("`{text}`"),
            "an address or a network such as `10.0.0.0/8`",
            "write the addresses that your proxies connect from",
        );
        to.wrong(&[key("listen"), key("trusted_proxies"), Step::Index(index)], finding);
    }
    network
}

fn public_url(to: &mut Compiler<'_>, url: &str) -> Option<String> {
    let parsed = reqwest::Url::parse(url).ok().filter(|parsed| {
        let plain = parsed.query().is_none() && parsed.fragment().is_none() && parsed.username().is_empty() && parsed.password().is_none();
        matches!(parsed.scheme(), "http" | "https") && parsed.has_host() && plain
    });
    if parsed.is_none() {
        let expected = "an http or https URL without a query, such as `https://hooks.example.com`";
        let finding = Finding::new("something that is no such URL", expected, "write the address that vendors use, as they are told it");
        to.wrong(&[key("listen"), key("public_url")], finding);
    }
    parsed.map(|_| url.trim_end_matches('/').to_owned())
}

fn keys(to: &mut Compiler<'_>) -> Option<SealingKeys> {
    let path = [key("encryption"), key("keys")];
    let expected = "1 to 16 keys of 32 bytes in base64; the first seals, all open";
    let remedy = "make one with `openssl rand -base64 32`, put it into a variable or file, and write `keys = [{ env = \"ONCEWARD_KEY\" }]`";
    if let Some(node) = to.root.at(&path[..1]).cloned() {
        read::section::<section::Encryption>(&node, &path[..1], &["keys"], to.problems)?;
    }
    let there = to.root.at(&path).is_some();
    let Some(places) = to.entries::<SecretRef>(&path, remedy) else {
        if !there {
            to.wrong(&path, Finding::new("nothing", expected, remedy));
        }
        return None;
    };
    let count = places.len();
    let mut keys = Vec::new();
    for (at, place) in places {
        let Some(text) = place.map(|place| place.resolve(to.environment)) else { continue };
        match text.and_then(|text| SealingKey::parse(&text).map_err(|error| Finding::new(error.to_string(), "", remedy))) {
            Ok(key) => keys.push(key),
            Err(finding) => to.wrong(&at, finding),
        }
    }
    if keys.len() < count {
        return None;
    }
    SealingKeys::new(keys).map_err(|error| to.wrong(&path, Finding::new(error.to_string(), expected, remedy))).ok()
}

fn retention(to: &mut Compiler<'_>) -> Option<Retention> {
    let section = to.section::<section::Retention>("retention")?;
    let (raw_events, payloads, keys) = (section.raw_events.0, section.payloads.0, section.keys.0);
    let mut holds = true;
    let hour = std::time::Duration::from_secs(3_600);
    for (name, span) in [("raw_events", raw_events), ("payloads", payloads), ("keys", keys)] {
        if span < hour {
            holds = false;
            to.wrong(
                &[key("retention"), key(name)],
                Finding::new("less than an hour", "`1h` or more", "vendors retry for days: keep at least `7d`"),
            );
        }
    }
    if keys < payloads || keys < raw_events {
        holds = false;
        let remedy = "raise it: an event whose key is forgotten would be taken for a new one";
        to.wrong(
            &[key("retention"), key("keys")],
            Finding::new("less than `raw_events` or `payloads`", "the longest of the three", remedy),
        );
    }
    holds.then_some(Retention { raw_events, payloads, keys })
}

fn limits(to: &mut Compiler<'_>) -> Option<ingest::Limits> {
    let section = to.section::<section::Limits>("limits")?;
    let numbers = section.numbers().map(|(name, value, least, most)| {
        (name, value.to_string(), (least..=most).contains(&value), format!("a number from {least} to {most}"))
    });
    let spans = section.spans().map(|(name, value, least, most)| {
        (name, format!("{value:?}"), (least..=most).contains(&value), format!("a span from {least:?} to {most:?}"))
    });
    let mut holds = true;
    for (name, found, fits, expected) in numbers.into_iter().chain(spans) {
        if !fits {
            holds = false;
            to.wrong(&[key("limits"), key(name)], Finding::new(found, expected, "stay within these bounds"));
        }
    }
    holds.then(|| section.compiled())
}

fn tokens(to: &mut Compiler<'_>) -> Vec<AdminToken> {
    if let Some(node) = to.root.at(&[key("admin")]).cloned() {
        let _: Option<section::Admin> = read::section(&node, &[key("admin")], &["tokens"], to.problems);
    }
    let (mut tokens, mut names) = (Vec::new(), BTreeSet::new());
    let entries =
        to.entries::<section::AdminToken>(&[key("admin"), key("tokens")], "write `tokens = [{ name = …, role = …, token = { env = … } }]`");
    for (path, entry) in entries.unwrap_or_default() {
        let Some(entry) = entry else { continue };
        let at = |name: &str| [path.as_slice(), &[key(name)]].concat();
        if entry.name.is_empty() || entry.name.len() > 64 || !names.insert(entry.name.clone()) {
            let finding = Finding::new(
                format!("`{}`", entry.name),
                "a name of 1 to 64 bytes that no other token has",
                "name whoever uses it; audits show it",
            );
            to.wrong(&at("name"), finding);
        }
        let role = Role::parse(&entry.role);
        if role.is_none() {
            let finding =
                Finding::new(format!("`{}`", entry.role), listed(Role::ALL.map(Role::as_str)), "each role may do what those before it may");
            to.wrong(&at("role"), finding);
        }
        let remedy = "make one with `openssl rand -hex 32`";
        let token = entry.token.resolve(to.environment).and_then(|token| {
            if token.len() < TOKEN_BYTES_MIN {
                let found = format!("a token of {} bytes", token.len());
                return Err(Finding::new(found, format!("{TOKEN_BYTES_MIN} bytes or more"), remedy));
            }
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(Finding::new(
                    "a token with white space or other unusual bytes",
                    "visible ASCII, as it goes into a header",
                    remedy,
                ));
            }
            Ok(token)
        });
        match (role, token) {
            (Some(role), Ok(token)) => tokens.push(AdminToken { name: entry.name, role, token }),
            (_, Err(finding)) => to.wrong(&at("token"), finding),
            (None, Ok(_)) => {}
        }
    }
    tokens
}

/// Every source by name; `None` where something was wrong with it.
fn sources(to: &mut Compiler<'_>, listen: Option<&Listen>) -> BTreeMap<String, Option<SourceOf>> {
    let names = to.names(&[key("sources")]);
    names.into_iter().map(|name| (name.clone(), source(to, &name, listen))).collect()
}

fn source(to: &mut Compiler<'_>, name: &str, listen: Option<&Listen>) -> Option<SourceOf> {
    let path = [key("sources"), key(name)];
    let node = to.root.at(&path)?.clone();
    let before = to.problems.len();
    let def = read::section::<SourceDef>(&node, &path, &["secrets", "catch_up"], to.problems);
    let clean = to.problems.len() == before;
    let signature_told = signature(to, &path, &node);
    let retired = def.as_ref().is_some_and(|def| def.retired == Some(true));
    let secrets = secrets(to, &path, retired);
    let source = match Source::compile(name, &def?) {
        Ok(source) => source,
        Err(mut problems) => {
            // What is only missing because something else is misspelled was told with that.
            let misnamed = !clean || problems.iter().any(|problem| problem.key == "preset");
            problems.retain(|problem| match problem.key.as_str() {
                "signature" => !signature_told && !misnamed,
                "events" => !misnamed,
                _ => true,
            });
            to.models(&path, problems);
            return None;
        }
    };
    // The vendor's word for our address: the source's own, or the one of all with the source's path.
    let all = listen.and_then(|listen| listen.public_url.as_ref()).map(|url| format!("{url}/webhooks/{name}"));
    let public_url = source.public_url.clone().or(all);
    if let Some((lacking, text)) = source.handshake.as_ref().and_then(|handshake| handshake.lacks(public_url.as_deref())) {
        to.model(&path, model::source::Problem::new(lacking, text, "add it"));
        return None;
    }
    let fetch = fetch::fetch(to, &path, &source);
    match source.scheme.compile(&secrets?, public_url.as_deref()) {
        Ok(verifier) => {
            let (fetch, catch_up) = fetch?;
            Some(SourceOf { source: Arc::new(source), verifier, fetch, catch_up })
        }
        Err(problems) => {
            // Where `listen` is wrong, that was told.
            for problem in problems.into_iter().filter(|problem| problem.key != "public_url" || listen.is_some()) {
                let own = matches!(problem.key, "secrets" | "public_url");
                let outer = if own { problem.key.to_owned() } else { format!("signature.{}", problem.key) };
                to.model(&path, model::source::Problem::new(outer, problem.text, "correct it; the presets are good examples"));
            }
            None
        }
    }
}

/// Reads a source's signature on its own, so that each of its mistakes shows with its place. What a preset adds may be missing.
fn signature(to: &mut Compiler<'_>, path: &[Step], source: &Node) -> bool {
    let inherits = source.at(&[key("preset")]).is_some();
    let path = [path, &[key("signature")]].concat();
    let Some(node) = to.root.at(&path).cloned() else { return false };
    let mut found = Problems::new("");
    let _: Option<Scheme> = read::section(&node, &path, &[], &mut found);
    let told = found.into_sorted().into_iter().filter(|problem| !inherits || problem.found != "nothing");
    let told: Vec<_> = told.collect();
    for problem in &told {
        let at = [path.as_slice(), &node.resolve(problem.key.strip_prefix(&format!("{}.", dotted(&path))).unwrap_or(""))].concat();
        to.wrong(&at, Finding::new(&problem.found, &problem.expected, &problem.remedy));
    }
    !told.is_empty()
}

fn secrets(to: &mut Compiler<'_>, path: &[Step], retired: bool) -> Option<Vec<Secret>> {
    let path = [path, &[key("secrets")]].concat();
    let expected = "the secrets that the vendor shows, newest first";
    let remedy = "write `secrets = [{ env = \"NAME\" }]`";
    if to.root.at(&path).is_none() {
        if !retired {
            to.wrong(&path, Finding::new("nothing", expected, remedy));
        }
        return retired.then(Vec::new);
    }
    let places = to.entries::<EndingSecretRef>(&path, remedy)?;
    let count = places.len();
    if places.is_empty() && !retired {
        to.wrong(&path, Finding::new("an empty list", expected, remedy));
        return None;
    }
    let mut secrets = Vec::new();
    for (at, place) in places {
        let Some(place) = place else { continue };
        let text = place.place.resolve(to.environment);
        match text.and_then(|text| {
            Secret::new(text).map_err(|error| Finding::new(error.to_string(), "", "correct what the variable or file holds"))
        }) {
            Ok(secret) => secrets.push(match place.until {
                Some(end) => secret.until(end),
                None => secret,
            }),
            Err(finding) => to.wrong(&at, finding),
        }
    }
    (secrets.len() == count).then_some(secrets)
}
