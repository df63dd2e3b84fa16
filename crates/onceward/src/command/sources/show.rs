//! `onceward sources show`

use clap::Args;
use serde_json::{Value, json};

use super::facts::{Facts, Secret, find};
use super::{Context, Refused};
use crate::clock;
use crate::configuration::Configuration;
use crate::installation::{self, Installation};

/// What stands where nobody has said how vendors reach us.
pub const NO_HOST: &str = "https://YOUR-HOST";

/// What a `[sources.NAME]` may say, whatever its preset says.
pub const KEYS: [(&str, &str); 25] = [
    ("secrets", "the secrets that count, newest first; several during a rotation, an old one with `until`"),
    ("trust", "0 to 100, whose word counts more when sources disagree; default 50"),
    ("signature", "single keys of the scheme are laid over the preset's: `signature = { timestamp = { tolerance = \"10m\" } }`"),
    ("events", "an entry with a `type` of the preset's changes that one, field by field; others come first"),
    ("ignore", "vendor's types that are counted and left alone; a trailing `*` stands for anything"),
    ("unmatched", "what becomes of an event that nothing fits: `dead_letter` or `ignore`"),
    ("vendor_type", "where the vendor says what happened"),
    ("id", "where the vendor's id of the event is; signed material only"),
    ("occurred_at", "where it says when it happened"),
    ("content", "what bodies are written in: `json`, `form`, `multipart`, `xml`, `any`"),
    ("content_types", "the media types that are read so"),
    ("parse", "members whose text is JSON and is read as such"),
    ("batch", "the list whose entries are events of their own"),
    ("region", "the country whose national phone numbers are understood: `US`"),
    ("volatile", "members that differ between copies of one event"),
    ("shared", "its external ids mean the same as in other sources with `shared = true`"),
    ("body_max", "largest body in bytes; default 1 MiB, at most 32 MiB"),
    ("gzip", "take bodies that are compressed with gzip"),
    ("answer", "what an accepted webhook is answered: `{ status, content_type, body }`"),
    ("public_url", "this source's whole address as the vendor was told it, where it is not `listen.public_url` and `/webhooks/NAME`"),
    ("handshake", "how the vendor tries an address before it sends there: `{ kind = \"slack\" }`"),
    ("fetch", "how the vendor is asked for objects of which it pushes only the id: its credential, address, quota"),
    ("catch_up", "how often the vendor's own lists are looked through for what was not pushed: `\"1h\"`"),
    ("fetched", "how such objects are read: fields, as in `events`"),
    ("retired", "answer 503 from now on, which no vendor takes for \"gone for good\""),
];

#[derive(Args)]
pub struct Show {
    /// A preset, or a configured source.
    preset: String,
}

/// Says everything that a user must know of a preset.
pub fn run(context: &Context, asked: &Show) -> Result<(), Refused> {
    let there = installation::file(context).is_some() || context.data.exists();
    let installation = there.then(|| Installation::find(context)).transpose();
    let configuration = installation.as_ref().ok().and_then(Option::as_ref).map(|installation| &installation.configuration);
    let held = configuration.and_then(|configuration| configuration.sources.get(&asked.preset));
    let facts = match (find(held.and_then(|held| held.source.preset.as_deref()).unwrap_or(&asked.preset)), &installation) {
        // What is wrong with a configuration keeps nobody from reading about a preset; a source cannot be found in it.
        (Err(_), Err(_)) => return installation.map(drop),
        (facts, Ok(_) | Err(_)) => facts?,
    };
    let named = configuration.map(|configuration| names(configuration, &asked.preset, &facts.name)).unwrap_or_default();
    let host = configuration.and_then(|configuration| configuration.listen.public_url.clone());
    let host = host.as_deref().unwrap_or(NO_HOST);
    let token = held.and_then(|held| held.source.handshake.as_ref()?.verify_token(&held.verifier, clock::now()));
    let (mut told, mut text) = (told_json(&facts, &named, host), self::told(&facts, &named, host, token.as_deref()));
    told["verify_token"] = json!(token);
    if let Some(own) = held.and_then(|held| held.source.public_url.as_deref()) {
        // Its own word for its address stands before the one of all.
        told["urls"] = json!([own]);
        text = text.replace(&url(&facts, host, &asked.preset), own);
    }
    context.say(&told, &text);
    Ok(())
}

/// The configured sources that are meant, or the name that a new one would get.
fn names(configuration: &Configuration, asked: &str, preset: &str) -> Vec<String> {
    if configuration.sources.contains_key(asked) {
        return vec![asked.to_owned()];
    }
    configuration.sources.iter().filter(|(_, held)| held.source.preset.as_deref() == Some(preset)).map(|(name, _)| name.clone()).collect()
}

/// The address to paste at the vendor.
pub fn url(facts: &Facts, host: &str, name: &str) -> String {
    match facts.secret() {
        Secret::Query(query) => format!("{host}/webhooks/{name}?{query}=SECRET"),
        Secret::Basic | Secret::Token | Secret::PublicKey | Secret::Shared => format!("{host}/webhooks/{name}"),
    }
}

/// Where the secret comes from, in a sentence; the preset's notes say more.
pub fn secret_words(facts: &Facts) -> String {
    match facts.secret() {
        Secret::Query(query) => format!("Any long random text of yours (`openssl rand -hex 32`): it stands in the URL, as `{query}`."),
        Secret::Basic => "A user and a password of your choice, as `user:password`; give both to the vendor.".to_owned(),
        Secret::Token => "The token that the vendor sends along: the one it shows, or one of your choice that you give it.".to_owned(),
        Secret::PublicKey => "The vendor's public key. It is no secret, and goes where a secret goes.".to_owned(),
        Secret::Shared => "The signing secret that the vendor shows beside the webhook's address, or that you give it there.".to_owned(),
    }
}

/// The name of the variable that a source's secret is usually in.
pub fn variable(name: &str) -> String {
    format!("{}_SECRET", name.to_uppercase().replace('-', "_"))
}

/// The name of the variable that a source's token for fetching is usually in.
pub fn token_variable(name: &str) -> String {
    format!("{}_TOKEN", name.to_uppercase().replace('-', "_"))
}

/// What to put into onceward.toml.
fn block(facts: &Facts, name: &str) -> String {
    let fetch = if facts.fetches() { format!("fetch   = {{ token = {{ env = \"{}\" }} }}\n", token_variable(name)) } else { String::new() };
    format!("[sources.{name}]\npreset  = \"{}\"\nsecrets = [{{ env = \"{}\" }}]\n{fetch}", facts.name, variable(name))
}

fn told_json(facts: &Facts, named: &[String], host: &str) -> Value {
    let name = named.first().map_or(facts.name.as_str(), String::as_str);
    let urls: Vec<String> = named.iter().map(|name| url(facts, host, name)).collect();
    let urls = if urls.is_empty() { vec![url(facts, host, &facts.name)] } else { urls };
    let mut told = json!(facts);
    told["notes"] = json!(facts.notes.trim());
    told["configured_as"] = json!(named);
    told["urls"] = json!(urls);
    told["secret"] = json!(secret_words(facts));
    told["signs_url"] = json!(facts.signs_url());
    told["events"] = json!(facts.mapped());
    told["ignored"] = json!(facts.ignored());
    told["keys"] = json!(KEYS.map(|(key, _)| key));
    told["block"] = json!(block(facts, name));
    told
}

fn told(facts: &Facts, named: &[String], host: &str, token: Option<&str>) -> String {
    let mut text = format!("{}  (preset {}, {})\n", facts.title, facts.name, facts.category);
    if let Some(reason) = &facts.disabled {
        text.push_str(&format!("DISABLED: {reason}\nWith a `signature` of your own it can be used.\n"));
    }
    text.push_str(&format!("  {}: {}\n", facts.verdict, facts.verification));
    text.push_str(&format!("  the formula is {}: {}\n", facts.confidence, facts.source));
    for (word, held) in [("handshake", &facts.handshake), ("batch", &facts.batch), ("fetches from", &facts.fetch)] {
        if let Some(held) = held {
            text.push_str(&format!("  {word}: {held}\n"));
        }
    }
    text.push_str(&format!("  {}\n", facts.docs));
    text.push_str(&paste(facts, named, host, token));
    text.push_str("\nWhat it becomes\n");
    for mapped in facts.mapped() {
        let fields: Vec<&str> = mapped.fields.iter().map(String::as_str).collect();
        let words = match (&mapped.on[..], &mapped.when) {
            ([], None) => "anything else".to_owned(),
            ([], Some(when)) => format!("where {when}"),
            (on, Some(when)) => format!("{} where {when}", on.join(", ")),
            (on, None) => on.join(", "),
        };
        let fetched = if mapped.fetch { " (fetched)" } else { "" };
        text.push_str(&format!("  {words}\n    → {}{fetched}: {}\n", mapped.event_type, fields.join(", ")));
    }
    let ignored = facts.ignored();
    if !ignored.is_empty() {
        text.push_str(&format!("  ignored: {}\n", ignored.join(", ")));
    }
    if !facts.notes.trim().is_empty() {
        text.push_str(&format!("\n{}\n", facts.notes.trim()));
    }
    text.push_str("\nWhat your source may say otherwise\n");
    for (key, words) in KEYS {
        text.push_str(&format!("  {key:<15}{words}\n"));
    }
    let name = named.first().map_or(facts.name.as_str(), String::as_str);
    text.push_str(&format!("\n{}\nOr:  onceward sources new --preset {}", block(facts, name), facts.name));
    text
}

/// What goes into the vendor's own pages; `token` is the word that a handshake asks for, where the source and its secret are known.
pub fn paste(facts: &Facts, named: &[String], host: &str, token: Option<&str>) -> String {
    let mut text = String::from("\nPaste at the vendor\n");
    let own = [facts.name.clone()];
    for name in if named.is_empty() { &own } else { named } {
        text.push_str(&format!("  URL      {}\n", url(facts, host, name)));
    }
    if host == NO_HOST {
        text.push_str("           Say in `listen.public_url` how vendors reach you, and it stands here.\n");
    }
    if facts.signs_url() {
        text.push_str("           The vendor signs this address: `listen.public_url` must be it, letter by letter.\n");
    }
    let mut events: Vec<String> = facts.mapped().into_iter().flat_map(|mapped| mapped.on).collect();
    events.dedup();
    let events =
        if events.is_empty() { "whatever it offers; what nothing fits is told as `unmapped`".to_owned() } else { events.join(", ") };
    text.push_str(&format!("  events   {events}\n  secret   {}\n", secret_words(facts)));
    match token {
        Some(token) => {
            text.push_str(&format!("  token    {token}\n           The verify token: the vendor sends it when it tries the address.\n"))
        }
        None if facts.asks_for_token() => {
            let name = named.first().map_or("NAME", String::as_str);
            text.push_str(&format!(
                "  token    `onceward sources show {name}` prints the verify token once the source is configured with its secret.\n"
            ));
        }
        None => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::sources::facts::all;
    use crate::configuration::{self, Environment};

    #[test]
    fn every_key_that_a_source_may_have_is_told_and_no_other() {
        let problems = configuration::parse("x", "[sources.demo]\nnonsense = 1\n", &Environment::new()).unwrap_err();
        let said = problems.iter().find(|problem| problem.key.ends_with("nonsense")).unwrap().expected.clone();
        let mut known: Vec<&str> = said.split('`').skip(1).step_by(2).filter(|key| !["preset", "empty_answer"].contains(key)).collect();
        let mut told = KEYS.map(|(key, _)| key);
        known.sort_unstable();
        told.sort_unstable();
        assert_eq!(known, told);
    }

    #[test]
    fn a_verify_token_is_told_where_the_vendor_asks_for_one() {
        let facts = find("meta-lead-ads").unwrap();
        assert!(paste(&facts, &[], NO_HOST, Some("5ecret-word")).contains("token    5ecret-word\n"));
        assert!(paste(&facts, &["leads".to_owned()], NO_HOST, None).contains("`onceward sources show leads` prints the verify token"));
        assert!(!paste(&find("typeform").unwrap(), &[], NO_HOST, None).contains("token"));
    }

    #[test]
    fn every_preset_is_told_with_its_address_its_secret_and_its_block() {
        for facts in all().unwrap() {
            let text = super::told(&facts, &["shop".to_owned()], "https://hooks.example.com", None);
            for part in ["https://hooks.example.com/webhooks/shop", "secrets = [{ env = \"SHOP_SECRET\" }]", &facts.docs, facts.confidence]
            {
                assert!(text.contains(part), "{}: {part} is not in\n{text}", facts.name);
            }
            assert!(!facts.verification.is_empty() && !facts.verification.starts_with(','), "{}", facts.name);
        }
    }
}
