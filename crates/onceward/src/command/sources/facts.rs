//! What there is to say of a preset, read from its own text: one place for `list`, `show`, `new` and the table in README.

use std::collections::BTreeSet;

use model::preset::{Preset, preset, presets};
use serde::Serialize;
use toml::{Table, Value};

use super::Refused;

/// A preset, as it is listed.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    pub name: String,
    pub title: String,
    pub category: &'static str,
    /// The algorithm, in words.
    pub verification: String,
    /// `verified`: the body is signed; `authenticated`: only the sender is known.
    pub verdict: &'static str,
    pub confidence: &'static str,
    /// Where the formula is from.
    pub source: String,
    /// The vendor's handshake, by name.
    pub handshake: Option<String>,
    /// The list whose entries are events of their own.
    pub batch: Option<String>,
    /// Whose API the object of a push is fetched from.
    pub fetch: Option<String>,
    pub content: String,
    /// Why it cannot be used as it is.
    pub disabled: Option<String>,
    pub docs: String,
    #[serde(skip)]
    pub notes: String,
    #[serde(skip)]
    text: Table,
}

/// Where a sender puts what proves that it is genuine, as far as a person has to know it.
pub enum Secret {
    /// A parameter of the URL.
    Query(String),
    /// `user:password`.
    Basic,
    /// A token that the vendor sends along.
    Token,
    /// The vendor's public key.
    PublicKey,
    /// A key that both know.
    Shared,
}

/// One thing that happens at the vendor, and what becomes of it.
#[derive(Clone, Debug, Serialize)]
pub struct Mapped {
    /// The vendor's own words for it.
    pub on: Vec<String>,
    /// Or an expression that is true of it.
    pub when: Option<String>,
    #[serde(rename = "type")]
    pub event_type: String,
    /// Canonical names.
    pub fields: BTreeSet<String>,
    pub fetch: bool,
}

/// Every preset, by category and name.
///
/// # Errors
///
/// One is damaged, which is a bug.
pub fn all() -> Result<Vec<Facts>, Refused> {
    let mut all = presets().map(|(name, text)| read(name, text)).collect::<Result<Vec<_>, _>>()?;
    all.sort_by_key(|facts| model::preset::Category::ALL.iter().position(|category| category.as_str() == facts.category));
    Ok(all)
}

/// One preset.
///
/// # Errors
///
/// There is none of this name; the text names those that are alike.
pub fn find(name: &str) -> Result<Facts, Refused> {
    let found = presets().find(|(held, _)| *held == name);
    let (name, text) = found.ok_or_else(|| {
        let alike: Vec<&str> = presets().map(|(held, _)| held).filter(|held| held.contains(name) || name.contains(*held)).collect();
        let hint = if alike.is_empty() { String::new() } else { format!("; there is {}", crate::configuration::problem::listed(alike)) };
        Refused::because(format!("there is no preset `{}`{hint}: `onceward sources list` shows them all", crate::shown::plain(name)))
    })?;
    read(name, text)
}

fn read(name: &str, text: &str) -> Result<Facts, Refused> {
    let damaged = |what: String| Refused::because(format!("the preset `{name}` is damaged, which is a bug of ours: {what}"));
    let held: Preset = match preset(name) {
        Some(Ok(preset)) => preset,
        Some(Err(error)) => return Err(damaged(error.to_string())),
        None => return Err(damaged("it is not there".to_owned())),
    };
    let text: Table = text.parse().map_err(|error: toml::de::Error| damaged(error.to_string()))?;
    let word = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let inner = |table: &str, key: &str| word(text.get(table).and_then(|held| held.get(key)));
    let signature = text.get("signature").and_then(Value::as_table).cloned().unwrap_or_default();
    Ok(Facts {
        name: name.to_owned(),
        title: held.title,
        category: held.category.as_str(),
        verification: verification(&signature),
        verdict: if covers_body(&signature) { "verified" } else { "authenticated" },
        confidence: held.confidence.as_str(),
        source: held.formula_from,
        handshake: inner("handshake", "kind"),
        batch: word(text.get("batch")),
        fetch: inner("fetch", "client"),
        content: word(text.get("content")).unwrap_or_else(|| "json".to_owned()),
        disabled: held.disabled,
        docs: held.docs,
        notes: held.notes,
        text,
    })
}

fn word<'a>(table: &'a Table, key: &str) -> &'a str {
    table.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The algorithm, what it covers, and whether old requests are refused.
fn verification(signature: &Table) -> String {
    let algorithm = match word(signature, "algorithm") {
        "hmac-sha1" => "HMAC-SHA1".to_owned(),
        "hmac-sha256" => "HMAC-SHA256".to_owned(),
        "hmac-sha384" => "HMAC-SHA384".to_owned(),
        "hmac-sha512" => "HMAC-SHA512".to_owned(),
        "sha1" => "SHA-1 with the secret".to_owned(),
        "sha256" => "SHA-256 with the secret".to_owned(),
        "md5" => "MD5 with the secret".to_owned(),
        "ed25519" => "Ed25519".to_owned(),
        "ecdsa-p256-sha256" => "ECDSA P-256".to_owned(),
        "rsa-sha1" => "RSA with SHA-1".to_owned(),
        "rsa-sha256" => "RSA with SHA-256".to_owned(),
        "basic" => "HTTP Basic".to_owned(),
        "jwt" => "JWT".to_owned(),
        "token" | "none" => format!("a token in {}", place(signature)),
        other => other.to_owned(),
    };
    let mut words = vec![algorithm];
    let signed = word(signature, "signed");
    if signed.contains("{url}") {
        words.push("over our URL".to_owned());
    }
    if signature.contains_key("each") {
        words.push("each entry by itself".to_owned());
    }
    if signature.contains_key("timestamp") {
        words.push("with a time".to_owned());
    }
    words.join(", ")
}

fn place(signature: &Table) -> String {
    let named = |key: &str| signature.get(key).and_then(Value::as_str);
    match (named("header"), named("query"), named("json").or(named("form"))) {
        (Some("authorization"), _, _) => "`Authorization`".to_owned(),
        (Some(header), _, _) => format!("the header `{header}`"),
        (_, Some(query), _) => format!("the URL's `{query}`"),
        (_, _, Some(member)) => format!("the body's `{member}`"),
        (None, None, None) => "the URL".to_owned(),
    }
}

fn covers_body(signature: &Table) -> bool {
    let says_not = signature.get("covers_body").and_then(Value::as_bool) == Some(false);
    let jwt = signature.get("jwt").and_then(|jwt| jwt.get("body_hash_claim")).is_some();
    !says_not && (!matches!(word(signature, "algorithm"), "token" | "basic" | "none" | "jwt") || jwt)
}

impl Facts {
    /// What a person has to have to set it up.
    pub fn secret(&self) -> Secret {
        let signature = self.text.get("signature").and_then(Value::as_table).cloned().unwrap_or_default();
        match (word(&signature, "algorithm"), signature.get("query").and_then(Value::as_str)) {
            ("token" | "none", Some(query)) => Secret::Query(query.to_owned()),
            ("basic", _) => Secret::Basic,
            ("token" | "none", None) => Secret::Token,
            ("ed25519" | "ecdsa-p256-sha256" | "rsa-sha1" | "rsa-sha256" | "jwt", _) => Secret::PublicKey,
            _ => Secret::Shared,
        }
    }

    /// Whether something that is pushed is only an id, and has to be fetched.
    pub fn fetches(&self) -> bool {
        self.mapped().iter().any(|mapped| mapped.fetch)
    }

    /// Whether the vendor signs the address it posts to.
    pub fn signs_url(&self) -> bool {
        self.text
            .get("signature")
            .is_some_and(|signature| signature.get("signed").and_then(Value::as_str).is_some_and(|text| text.contains("{url}")))
    }

    /// Whether the vendor's page asks for a verify token.
    pub fn asks_for_token(&self) -> bool {
        matches!(self.handshake.as_deref(), Some("meta" | "ebay"))
    }

    /// What becomes of what, in the order in which it is tried.
    pub fn mapped(&self) -> Vec<Mapped> {
        let texts = |value: Option<&Value>| -> Vec<String> {
            value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let events = self.text.get("events").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table);
        let mapped = events.map(|event| Mapped {
            on: texts(event.get("on")),
            when: event.get("when").and_then(Value::as_str).map(str::to_owned),
            event_type: match event.get("type") {
                Some(Value::String(text)) => text.clone(),
                Some(other) => {
                    other.get("from").and_then(Value::as_str).map_or_else(|| "its own".to_owned(), |from| format!("what `{from}` says"))
                }
                None => "its own".to_owned(),
            },
            fields: event.get("fields").and_then(Value::as_table).map(|fields| fields.keys().cloned().collect()).unwrap_or_default(),
            fetch: event.contains_key("fetch"),
        });
        mapped.collect()
    }

    /// The vendor's types that are counted and otherwise left alone.
    pub fn ignored(&self) -> Vec<String> {
        let ignored = self.text.get("ignore").and_then(Value::as_array);
        ignored.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }
}
