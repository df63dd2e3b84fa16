//! How a source's vendor is asked for objects and lists: whose API it is, how it knows us, how fast it may be asked.

use std::time::Duration;

use connect::vendor::{Kind, Settings, Vendor};
use connect::{Auth, Secret, SettingsError};
use model::destination::Policy;
use model::schedule::{ATTEMPTS_MAX, Schedule};
use model::source::Source;
use serde::Deserialize;

use super::compile::{Compiler, key};
use super::destination::daily;
use super::problem::{Finding, closest, listed};
use super::secret::{SecretRef, TextRef};
use super::section::{Breaker, Quota, Span};
use super::tree::{Step, Value};
use super::{FetchOf, read};

/// Calls a second where nothing is configured: what the strictest of these vendors bears (Xero: 60 a minute) for a while.
const CALLS: u32 = 5;
/// Calls at once.
const CONCURRENCY: u32 = 2;
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// `[sources.NAME.fetch]`; a preset says what does not depend on the account.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Section {
    client: Option<String>,
    token: Option<SecretRef>,
    client_id: Option<TextRef>,
    client_secret: Option<SecretRef>,
    refresh_token: Option<SecretRef>,
    app_secret: Option<SecretRef>,
    base_url: Option<String>,
    token_url: Option<String>,
    scope: Option<String>,
    version: Option<String>,
    accounts: Vec<String>,
    properties: Vec<String>,
    allow_private: bool,
    call_timeout: Option<Span>,
    quota: Option<Quota>,
    schedule: Option<Vec<Span>>,
    breaker: Breaker,
}

/// What a source has of it: its vendor, if it can be asked, and how often it is caught up with.
pub fn fetch(to: &mut Compiler<'_>, path: &[Step], source: &Source) -> Option<(Option<FetchOf>, Option<Duration>)> {
    let at = [path, &[key("fetch")]].concat();
    let before = to.problems.len();
    // Read as it stands in the file first, so that each mistake shows with its place.
    if let Some(node) = to.root.at(&at).cloned() {
        read::section::<Section>(&node, &at, &[], to.problems);
    }
    let every = catch_up(to, path);
    if to.problems.len() > before {
        return None;
    }
    let words = source.fetch.clone().unwrap_or_default();
    let section: Section = match toml::Value::Table(words).try_into() {
        Ok(section) => section,
        Err(error) => {
            to.wrong(&at, Finding::new(error.message().to_owned(), "", "correct this setting"));
            return None;
        }
    };
    let needed = source.fetches().next().is_some() || every.is_some();
    let given = section.token.is_some() || section.client_id.is_some() || section.refresh_token.is_some();
    if !needed && !given {
        return Some((None, None));
    }
    let kind = kind(to, &at, section.client.as_deref())?;
    serves(to, &at, kind, source)?;
    if every.is_some() && kind.lists().is_empty() {
        let finding = Finding::new(
            format!("`catch_up` of a source whose vendor is `{}`", kind.as_str()),
            "",
            "remove it: that vendor keeps no list to catch up from",
        );
        to.wrong(&[path, &[key("catch_up")]].concat(), finding);
        return None;
    }
    if every.is_some() && section.accounts.is_empty() && matches!(kind, Kind::Meta | Kind::Linkedin) {
        let remedy = match kind {
            Kind::Linkedin => "accounts = [\"urn:li:sponsoredAccount:…\"]",
            Kind::Meta | Kind::Hubspot | Kind::Stripe | Kind::Attio | Kind::Xero | Kind::Bigcommerce => "accounts = [\"<Page id>\"]",
        };
        let finding = Finding::new("nothing", "whose leads are listed, for `catch_up`", format!("write for example `{remedy}`"));
        to.wrong(&[at.as_slice(), &[key("accounts")]].concat(), finding);
        return None;
    }
    let auth = auth(to, &at, kind, &section)?;
    let app_secret = secret(to, &at, "app_secret", &section.app_secret)?;
    let policy = policy(to, &at, &section)?;
    let settings = Settings {
        base_url: section.base_url,
        token_url: section.token_url,
        scope: section.scope,
        version: section.version,
        app_secret,
        accounts: section.accounts,
        properties: section.properties,
        call_timeout: Some(policy.call_timeout),
        allow_private: section.allow_private,
        ..Settings::new(auth)
    };
    if let Err(error) = Vendor::new(kind, settings.clone()) {
        let (name, found) = match &error {
            SettingsError::BaseUrl(text) => ("base_url", text.clone()),
            SettingsError::Auth(text) if text.contains("token_url") => ("token_url", text.clone()),
            SettingsError::Auth(text) => ("token", text.clone()),
            SettingsError::ApiVersion(text) => ("version", text.clone()),
            SettingsError::Accounts(text) => ("accounts", text.clone()),
            SettingsError::CallTimeout => ("call_timeout", "a span out of bounds".to_owned()),
            SettingsError::Tls(_) => ("base_url", error.to_string()),
        };
        to.wrong(&[at.as_slice(), &[key(name)]].concat(), Finding::new(found, "", "correct this setting"));
        return None;
    }
    Some((Some(FetchOf { kind, settings, policy }), every))
}

/// `catch_up = "1h"`
fn catch_up(to: &mut Compiler<'_>, path: &[Step]) -> Option<Duration> {
    let at = [path, &[key("catch_up")]].concat();
    let node = to.root.at(&at)?.clone();
    let span = match &node.value {
        Value::Text(text) => model::time::parse_span(text).ok(),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    };
    let (least, most) = (model::catch_up::EVERY_MIN, Duration::from_secs(30 * 86_400));
    let fits = span.filter(|span| (least..=most).contains(span));
    if fits.is_none() {
        to.wrong(
            &at,
            Finding::new(
                node.kind(),
                "a span from 5m to 30d in quotes, such as \"1h\"",
                "write how often the vendor's lists are looked through",
            ),
        );
    }
    fits
}

fn kind(to: &mut Compiler<'_>, at: &[Step], client: Option<&str>) -> Option<Kind> {
    let known = Kind::ALL.map(Kind::as_str);
    let finding = match client {
        Some(client) => match Kind::parse(client) {
            Some(kind) => return Some(kind),
            None => {
                let remedy = closest(client, known).map_or("write one of these".to_owned(), |meant| format!("did you mean `{meant}`?"));
                Finding::new(format!("`{client}`"), listed(known), remedy)
            }
        },
        None => Finding::new("nothing", listed(known), "say whose API it is; presets of these vendors bring it with them"),
    };
    to.wrong(&[at, &[key("client")]].concat(), finding);
    None
}

/// What the mapping fetches is something that the vendor's client knows.
fn serves(to: &mut Compiler<'_>, at: &[Step], kind: Kind, source: &Source) -> Option<()> {
    let strange: Vec<&str> = source.fetches().filter(|object| !kind.objects().contains(object)).collect();
    let object = match strange.first() {
        None => return Some(()),
        Some(object) => *object,
    };
    let remedy = "correct `fetch.object` of the entry and the name of its `fetched` table";
    to.wrong(
        at,
        Finding::new(format!("a mapping that fetches `{object}` from `{}`", kind.as_str()), listed(kind.objects().iter().copied()), remedy),
    );
    None
}

/// A secret that may be missing; the outer `None` if it is named and cannot be had.
#[expect(clippy::option_option, reason = "missing is one thing, and not to be had another")]
fn secret(to: &mut Compiler<'_>, at: &[Step], name: &str, place: &Option<SecretRef>) -> Option<Option<Secret>> {
    match place.as_ref().map(|place| place.resolve(to.environment)) {
        None => Some(None),
        Some(Ok(text)) => Some(Some(Secret::new(text))),
        Some(Err(finding)) => {
            to.wrong(&[at, &[key(name)]].concat(), finding);
            None
        }
    }
}

fn auth(to: &mut Compiler<'_>, at: &[Step], kind: Kind, section: &Section) -> Option<Auth> {
    let token = secret(to, at, "token", &section.token)?;
    let client_secret = secret(to, at, "client_secret", &section.client_secret)?;
    let refresh_token = secret(to, at, "refresh_token", &section.refresh_token)?;
    let client_id = match section.client_id.as_ref().map(|place| place.resolve(to.environment)) {
        None => None,
        Some(Ok(text)) => Some(text),
        Some(Err(finding)) => {
            to.wrong(&[at, &[key("client_id")]].concat(), finding);
            return None;
        }
    };
    let login = client_id.is_some() || client_secret.is_some() || refresh_token.is_some();
    let found = match (token, client_id, client_secret, refresh_token) {
        (Some(token), _, _, _) if !login => return Some(Auth::Bearer { token }),
        (None, Some(client_id), Some(client_secret), None) => return Some(Auth::ClientCredentials { client_id, client_secret }),
        (None, Some(client_id), Some(client_secret), Some(refresh_token)) => {
            return Some(Auth::RefreshToken { client_id, client_secret, refresh_token });
        }
        (Some(_), _, _, _) => "a `token` and a login",
        (None, None, None, None) => "nothing",
        (None, _, _, _) => "a part of a login",
    };
    let way = match kind {
        Kind::Linkedin | Kind::Hubspot => "`token`, or `client_id`, `client_secret` and `refresh_token`",
        Kind::Xero => "`client_id` and `client_secret` of a custom connection, or `token`",
        Kind::Meta | Kind::Stripe | Kind::Attio | Kind::Bigcommerce => "`token`",
    };
    to.wrong(
        at,
        Finding::new(
            found,
            way,
            format!("give the credentials by which {} lets its objects be read: token = {{ env = \"NAME\" }}", kind.as_str()),
        ),
    );
    None
}

fn policy(to: &mut Compiler<'_>, at: &[Step], section: &Section) -> Option<Policy> {
    let before = to.problems.len();
    let mut bounded = |keys: &[&str], fits: bool, found: String, expected: &str| {
        if !fits {
            let below: Vec<Step> = keys.iter().copied().map(key).collect();
            to.wrong(&[at, below.as_slice()].concat(), Finding::new(found, expected, "stay within these bounds"));
        }
    };
    let unsaid = Quota::default();
    let quota = section.quota.as_ref().unwrap_or(&unsaid);
    let (calls, per, concurrency) = match &section.quota {
        Some(quota) => (quota.calls.unwrap_or(CALLS), quota.per.0, quota.concurrency),
        None => (CALLS, Duration::from_secs(1), CONCURRENCY),
    };
    let call_timeout = section.call_timeout.map_or(CALL_TIMEOUT, |span| span.0);
    let seconds = |span: Duration, least: u64, most: u64| (Duration::from_secs(least)..=Duration::from_secs(most)).contains(&span);
    bounded(&["quota", "calls"], (1..=1_000_000).contains(&calls), calls.to_string(), "a number from 1 to 1000000");
    bounded(&["quota", "concurrency"], (1..=256).contains(&concurrency), concurrency.to_string(), "a number from 1 to 256");
    bounded(&["quota", "per"], seconds(per, 1, 86_400), format!("{per:?}"), "a span from 1s to 24h");
    bounded(&["call_timeout"], seconds(call_timeout, 1, 600), format!("{call_timeout:?}"), "a span from 1s to 10m");
    let Breaker { failures, probe, probe_max } = &section.breaker;
    bounded(&["breaker", "failures"], (1..=1_000).contains(failures), failures.to_string(), "a number from 1 to 1000");
    bounded(&["breaker", "probe"], seconds(probe.0, 1, 3_600), format!("{:?}", probe.0), "a span from 1s to 1h");
    let longest = (probe.0..=Duration::from_secs(86_400)).contains(&probe_max.0);
    bounded(&["breaker", "probe_max"], longest, format!("{:?}", probe_max.0), "a span from `probe` to 24h");
    let schedule = match &section.schedule {
        None => Some(Schedule::default()),
        Some(waits) => {
            let fit = waits.iter().all(|wait| wait.0 <= Duration::from_secs(86_400));
            let schedule = Schedule::new(waits.iter().map(|wait| wait.0).collect()).filter(|_| fit);
            bounded(
                &["schedule"],
                schedule.is_some(),
                format!("{} waits", waits.len()),
                &format!("1 to {ATTEMPTS_MAX} waits of at most a day"),
            );
            schedule
        }
    };
    let (daily, day) = daily(to, at, quota)?;
    let schedule = schedule.filter(|_| to.problems.len() == before)?;
    Some(Policy {
        calls,
        per,
        daily,
        day,
        reserve: quota.reserve,
        concurrency,
        call_timeout,
        // Reading leaves nothing behind that could still land.
        late_window: Duration::ZERO,
        schedule,
        breaker_failures: *failures,
        probe_first: probe.0,
        probe_max: probe_max.0,
        ..Policy::default()
    })
}
