//! Destinations: which CRM, how it knows us, how fast it may be asked, what is written there.

use std::collections::BTreeMap;
use std::time::Duration;

use connect::{AuthKind, Client, Kind, SettingsError};
use model::destination::Policy;
use model::protocol::reconcile::EVERY_MIN;
use model::quota::Day;
use model::schedule::{ATTEMPTS_MAX, Schedule};

use super::compile::{Compiler, key};
use super::problem::{Finding, closest, listed};
use super::secret::{SecretRef, TextRef};
use super::tree::Step;
use super::{Destination, read, section};

/// With a larger reserve, replays and catching up would hardly ever go.
const RESERVE_MAX: u8 = 90;
/// The most records that a scheduled run looks at.
const SAMPLE_MAX: u64 = 1_000_000;

/// Every destination by name; `None` where something was wrong with it.
pub fn all(to: &mut Compiler<'_>) -> BTreeMap<String, Option<Destination>> {
    let names = to.names(&[key("destinations")]);
    names.into_iter().map(|name| (name.clone(), one(to, &name))).collect()
}

fn one(to: &mut Compiler<'_>, name: &str) -> Option<Destination> {
    let path = [key("destinations"), key(name)];
    if name.is_empty() || name.len() > 63 || !name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_')) {
        let finding = Finding::new(
            format!("the name `{name}`"),
            "1 to 63 lower-case letters, digits, `-` and `_`",
            "rename it, here and in `routes`",
        );
        to.wrong(&path, finding);
    }
    let node = to.root.at(&path)?.clone();
    let section = read::section::<section::Destination>(&node, &path, &["objects"], to.problems);
    let kind = section.as_ref().and_then(|section| kind(to, &path, &section.kind));
    let adopt = section.as_ref().map(|section| section.adopt).unwrap_or_default();
    // Without a known kind, objects are checked as those of the one there is.
    let objects = super::route::objects(to, &path, kind.unwrap_or(Kind::Salesforce).as_str(), adopt);
    let section = section?;
    let auth = auth(to, &path, &section.auth);
    let policy = policy(to, &path, kind, &section);
    let reconcile = reconcile(to, &path, &section.reconcile);
    let complete = kind.is_some() && auth.is_some();
    // The address is checked even where kind or credentials are wrong, with others in their place.
    let (kind, auth, api_version) = match (kind, auth) {
        (Some(kind), Some(auth)) => (kind, auth, section.api_version),
        (Some(kind), None) => (kind, stand_in(kind), section.api_version),
        (None, _) => (Kind::Hubspot, stand_in(Kind::Hubspot), None),
    };
    let settings = connect::Settings {
        token_url: section.token_url,
        scope: section.scope,
        database: section.database,
        api_version,
        call_timeout: Some(section.call_timeout.0),
        allow_private: section.allow_private,
        ..connect::Settings::new(kind, section.base_url, auth)
    };
    if let Err(error) = Client::http(settings.clone()) {
        let (at, found) = match &error {
            SettingsError::BaseUrl(text) => (key("base_url"), text.clone()),
            SettingsError::Auth(text) => (key("auth"), text.clone()),
            SettingsError::ApiVersion(text) => (key("api_version"), text.clone()),
            SettingsError::Accounts(text) => (key("accounts"), text.clone()),
            SettingsError::CallTimeout => (key("call_timeout"), "a span out of bounds".to_owned()),
            SettingsError::Tls(_) => (key("base_url"), error.to_string()),
        };
        to.wrong(&[path[0].clone(), path[1].clone(), at], Finding::new(found, "", "correct this setting"));
        return None;
    }
    complete.then_some(Destination { settings, policy: policy?, objects: objects?, reconcile: reconcile? })
}

/// `every = "24h"`, or `"off"`; `None` inside where nothing is looked at by itself.
fn reconcile(to: &mut Compiler<'_>, path: &[Step], section: &section::Reconcile) -> Option<Option<worker::reconcile::Schedule>> {
    let at = |name: &str| [path, &[key("reconcile"), key(name)]].concat();
    let (least, most) = (EVERY_MIN, Duration::from_secs(30 * 86_400));
    let mut wrong = |name: &str, found: String, expected: String| {
        to.wrong(&at(name), Finding::new(found, expected, "stay within these bounds, or write `every = \"off\"`"));
        None
    };
    if !(1..=SAMPLE_MAX).contains(&section.sample) {
        return wrong("sample", section.sample.to_string(), format!("a number from 1 to {SAMPLE_MAX}"));
    }
    if section.every == "off" {
        return Some(None);
    }
    match model::time::parse_span(&section.every) {
        Ok(every) if (least..=most).contains(&every) => {
            Some(Some(worker::reconcile::Schedule { every, sample: section.sample, repair: section.repair }))
        }
        Ok(_) | Err(_) => wrong("every", format!("`{}`", section.every), format!("`off`, or a span from {least:?} to {most:?}")),
    }
}

fn stand_in(kind: Kind) -> connect::Auth {
    let (text, secret) = (|| "-".to_owned(), || connect::Secret::new("-"));
    match kind.takes().first() {
        None | Some(AuthKind::Bearer | AuthKind::JwtBearer) => connect::Auth::Bearer { token: secret() },
        Some(AuthKind::ApiKey) => connect::Auth::ApiKey { token: secret() },
        Some(AuthKind::Basic) => connect::Auth::Basic { username: text(), password: secret() },
        Some(AuthKind::ClientCredentials) => connect::Auth::ClientCredentials { client_id: text(), client_secret: secret() },
        Some(AuthKind::RefreshToken) => connect::Auth::RefreshToken { client_id: text(), client_secret: secret(), refresh_token: secret() },
    }
}

fn kind(to: &mut Compiler<'_>, path: &[Step], text: &str) -> Option<Kind> {
    let kind = Kind::parse(text);
    if kind.is_none() {
        let known = || Kind::ALL.iter().map(|kind| kind.as_str());
        let remedy = match closest(text, known()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("this version speaks to {} only", listed(known())),
        };
        to.wrong(&[path, &[key("kind")]].concat(), Finding::new(format!("`{text}`"), listed(known()), remedy));
    }
    kind
}

fn auth(to: &mut Compiler<'_>, path: &[Step], auth: &section::Auth) -> Option<connect::Auth> {
    let environment = to.environment;
    let at = |name: &str| [path, &[key("auth"), key(name)]].concat();
    let mut take = |name: &str, text: Option<Result<String, Finding>>| match text {
        // What is there and could not be read was told already.
        None if to.root.at(&at(name)).is_some() => None,
        Some(Ok(text)) => Some(text),
        Some(Err(finding)) => {
            to.wrong(&at(name), finding);
            None
        }
        None => {
            to.wrong(&at(name), Finding::new("nothing", format!("the key `{name}`, which this kind of `auth` needs"), "add it"));
            None
        }
    };
    let secret = |place: &Option<SecretRef>| place.as_ref().map(|place| place.resolve(environment));
    let text = |place: &Option<TextRef>| place.as_ref().map(|place| place.resolve(environment));
    let (compiled, own): (_, &[&str]) = match auth.kind {
        section::AuthKind::Bearer => {
            let token = take("token", secret(&auth.token));
            (token.map(|token| connect::Auth::Bearer { token: connect::Secret::new(token) }), &["token"])
        }
        section::AuthKind::ApiKey => {
            let token = take("token", secret(&auth.token));
            (token.map(|token| connect::Auth::ApiKey { token: connect::Secret::new(token) }), &["token"])
        }
        section::AuthKind::Basic => {
            let username = take("username", text(&auth.username));
            let password = take("password", secret(&auth.password));
            let basic = || Some(connect::Auth::Basic { username: username?, password: connect::Secret::new(password?) });
            (basic(), &["username", "password"])
        }
        section::AuthKind::RefreshToken => {
            let client_id = take("client_id", text(&auth.client_id));
            let client_secret = take("client_secret", secret(&auth.client_secret));
            let refresh_token = take("refresh_token", secret(&auth.refresh_token));
            let refresh = || {
                Some(connect::Auth::RefreshToken {
                    client_id: client_id?,
                    client_secret: connect::Secret::new(client_secret?),
                    refresh_token: connect::Secret::new(refresh_token?),
                })
            };
            (refresh(), &["client_id", "client_secret", "refresh_token"])
        }
        section::AuthKind::ClientCredentials => {
            let client_id = take("client_id", text(&auth.client_id));
            let client_secret = take("client_secret", secret(&auth.client_secret));
            let credentials =
                || Some(connect::Auth::ClientCredentials { client_id: client_id?, client_secret: connect::Secret::new(client_secret?) });
            (credentials(), &["client_id", "client_secret"])
        }
        section::AuthKind::JwtBearer => {
            let client_id = take("client_id", text(&auth.client_id));
            let username = take("username", text(&auth.username));
            let private_key = take("private_key", secret(&auth.private_key));
            let audience = take("audience", auth.audience.clone().map(Ok));
            let assertion = || {
                Some(connect::Auth::JwtBearer {
                    client_id: client_id?,
                    username: username?,
                    private_key_pem: connect::Secret::new(private_key?),
                    audience: audience?,
                })
            };
            (assertion(), &["client_id", "username", "private_key", "audience"])
        }
    };
    let given = [
        ("token", auth.token.is_some()),
        ("client_id", auth.client_id.is_some()),
        ("client_secret", auth.client_secret.is_some()),
        ("refresh_token", auth.refresh_token.is_some()),
        ("username", auth.username.is_some()),
        ("password", auth.password.is_some()),
        ("private_key", auth.private_key.is_some()),
        ("audience", auth.audience.is_some()),
    ];
    for (name, _) in given.into_iter().filter(|(name, given)| *given && !own.contains(name)) {
        to.wrong(&at(name), Finding::new(format!("`{name}`"), "only keys of this kind of `auth`", "remove it, or change `kind`"));
    }
    compiled
}

fn policy(to: &mut Compiler<'_>, path: &[Step], kind: Option<Kind>, section: &section::Destination) -> Option<Policy> {
    let calls = section.quota.calls.unwrap_or_else(|| kind.map_or(Policy::default().calls, Kind::calls));
    let mut holds = true;
    let mut bounded = |keys: &[&str], fits: bool, found: String, expected: &str| {
        if !fits {
            holds = false;
            let below: Vec<Step> = keys.iter().copied().map(key).collect();
            to.wrong(&[path, below.as_slice()].concat(), Finding::new(found, expected, "stay within these bounds"));
        }
    };
    let mut number = |keys: &[&str], value: u32, least: u32, most: u32| {
        bounded(keys, (least..=most).contains(&value), value.to_string(), &format!("a number from {least} to {most}"));
    };
    number(&["quota", "calls"], calls, 1, 1_000_000);
    number(&["quota", "concurrency"], section.quota.concurrency, 1, 256);
    number(&["breaker", "failures"], section.breaker.failures, 1, 1_000);
    number(&["identifier_trust"], section.identifier_trust.into(), 0, 100);
    number(&["crm_trust"], section.crm_trust.into(), 0, 100);
    let mut span = |keys: &[&str], value: Duration, least: u64, most: u64| {
        let (least, most) = (Duration::from_secs(least), Duration::from_secs(most));
        bounded(keys, (least..=most).contains(&value), format!("{value:?}"), &format!("a span from {least:?} to {most:?}"));
    };
    span(&["quota", "per"], section.quota.per.0, 1, 86_400);
    span(&["call_timeout"], section.call_timeout.0, 1, 600);
    span(&["late_window"], section.late_window.0, 0, 86_400);
    span(&["update_only_wait"], section.update_only_wait.0, 0, 7 * 86_400);
    span(&["breaker", "probe"], section.breaker.probe.0, 1, 3_600);
    span(&["breaker", "probe_max"], section.breaker.probe_max.0, section.breaker.probe.0.as_secs().clamp(1, 86_400), 86_400);
    let schedule = match &section.schedule {
        None => Some(Schedule::default()),
        Some(waits) => {
            let fit = waits.iter().all(|wait| wait.0 <= Duration::from_secs(86_400));
            let schedule = Schedule::new(waits.iter().map(|wait| wait.0).collect()).filter(|_| fit);
            let expected = format!("1 to {ATTEMPTS_MAX} waits of at most a day");
            bounded(&["schedule"], schedule.is_some(), format!("{} waits", waits.len()), &expected);
            schedule
        }
    };
    let (daily, day) = daily(to, path, &section.quota)?;
    let schedule = schedule.filter(|_| holds)?;
    Some(Policy {
        calls,
        per: section.quota.per.0,
        daily,
        day,
        reserve: section.quota.reserve,
        concurrency: section.quota.concurrency,
        call_timeout: section.call_timeout.0,
        late_window: section.late_window.0,
        schedule,
        breaker_failures: section.breaker.failures,
        probe_first: section.breaker.probe.0,
        probe_max: section.breaker.probe_max.0,
        on_auth_failure: section.on_auth_failure,
        identifier_trust: section.identifier_trust,
        crm_trust: section.crm_trust,
        update_only_wait: section.update_only_wait.0,
    })
}

/// The day's budget: `None` if something of it is wrong.
pub fn daily(to: &mut Compiler<'_>, path: &[Step], quota: &section::Quota) -> Option<(Option<u64>, Day)> {
    let mut wrong = |name: &str, found: String, expected: &str, remedy: &str| {
        to.wrong(&[path, &[key("quota"), key(name)]].concat(), Finding::new(found, expected, remedy));
    };
    let bounds = "stay within these bounds";
    let beyond = quota.daily.filter(|daily| !(1..=1_000_000_000).contains(daily));
    if let Some(daily) = beyond {
        wrong("daily", daily.to_string(), "a number from 1 to 1000000000", bounds);
    }
    let fits = quota.reserve <= RESERVE_MAX;
    if !fits {
        wrong("reserve", quota.reserve.to_string(), "a share in percent from 0 to 90", bounds);
    }
    let day = Day::parse(&quota.day);
    if day.is_none() {
        let remedy = "HubSpot's day ends at midnight in the account's time zone, Salesforce's is `rolling`";
        wrong("day", format!("`{}`", quota.day), "`rolling`, or a time zone such as `UTC` or `Europe/Berlin`", remedy);
    }
    let day = day.filter(|_| beyond.is_none() && fits)?;
    Some((quota.daily, day))
}
