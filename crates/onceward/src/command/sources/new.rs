//! `onceward sources new`

mod ask;
mod edit;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::json;

use self::ask::Asker;
use super::facts::{Facts, find};
use super::show::{paste, token_variable, variable};
use super::{Context, Refused};
use crate::configuration::problem::Problem;
use crate::configuration::{self, Environment};
use crate::installation::{folder, random, secret_file};

#[derive(Args, Clone, Default)]
pub struct New {
    /// The preset to start from: `onceward sources list` shows them.
    #[arg(long)]
    preset: Option<String>,
    /// The source's name, which is part of its URL. Default: the preset's.
    #[arg(long)]
    name: Option<String>,
    /// The environment variable that will hold its secret. Default: the name in capitals and `_SECRET`.
    #[arg(long, value_name = "VARIABLE", conflicts_with = "secret_file")]
    secret_env: Option<String>,
    /// The file that will hold its secret.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// 0 to 100: whose word counts more when sources disagree. Default: 50.
    #[arg(long)]
    trust: Option<u8>,
    /// The destination that its events go to. Default: no route is written.
    #[arg(long, value_name = "DESTINATION", requires = "object")]
    to: Option<String>,
    /// The destination's object.
    #[arg(long, requires = "to")]
    object: Option<String>,
    /// Which of its events: `lead.*`, `customer.created`; one route for each. Default: all that the preset makes.
    #[arg(long, value_name = "EVENT", requires = "to")]
    event: Vec<String>,
}

/// Where the secret will be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Env(String),
    File(PathBuf),
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    preset: String,
    name: String,
    secret: Place,
    trust: Option<u8>,
    /// The variable that will hold the token with which what it pushes is fetched, where it pushes only ids.
    token: Option<String>,
    /// Destination, object, events.
    route: Option<(String, String, Vec<String>)>,
}

/// Writes a source into onceward.toml, and says what to paste at the vendor.
pub fn run(context: &Context, asked: &New) -> Result<(), Refused> {
    let path = context.config.clone().unwrap_or_else(|| PathBuf::from("onceward.toml"));
    let there = read(&path)?;
    let before = match &there {
        Some(text) => text.clone(),
        None => template(&context.data),
    };
    let destinations = edit::destinations(&before);
    let (wanted, facts) = if std::io::stdin().is_terminal() && !context.json {
        let (mut stdin, mut stdout) = (std::io::stdin().lock(), std::io::stdout());
        ask::wanted(asked, &destinations, &mut Asker::new(&mut stdin, &mut stdout))?
    } else {
        told(asked)?
    };
    if there.is_none() {
        make_key(&context.data)?;
    }
    let after = edit::with(&before, &wanted).map_err(|error| Refused::because(format!("{}: {error}", path.display())))?;
    let missing = validated(&path, &before, &after, &wanted, &context.environment)?;
    write(&path, &after)?;
    said(context, &path, &wanted, &facts, missing.as_ref(), &after, there.is_none());
    Ok(())
}

/// What the arguments say, with a default for whatever they do not.
fn told(asked: &New) -> Result<(Wanted, Facts), Refused> {
    let preset = asked.preset.as_deref();
    let preset = preset
        .ok_or_else(|| Refused::Usage("`--preset` is needed where nobody can be asked; `onceward sources list` shows them".to_owned()))?;
    let facts = find(preset)?;
    let name = asked.name.clone().unwrap_or_else(|| facts.name.clone());
    let secret = match (&asked.secret_env, &asked.secret_file) {
        (_, Some(file)) => Place::File(file.clone()),
        (Some(variable), None) => Place::Env(variable.clone()),
        (None, None) => Place::Env(variable(&name)),
    };
    let route = asked.to.clone().zip(asked.object.clone());
    let route = route.map(|(to, object)| (to, object, if asked.event.is_empty() { events(&facts) } else { asked.event.clone() }));
    let token = facts.fetches().then(|| token_variable(&name));
    Ok((Wanted { preset: facts.name.clone(), name, secret, trust: asked.trust, token, route }, facts))
}

/// One pattern for everything that the preset makes, where one says it: `lead.*`.
fn events(facts: &Facts) -> Vec<String> {
    let types: Vec<String> = facts.mapped().into_iter().map(|mapped| mapped.event_type).collect();
    let mut nouns: Vec<&str> = types.iter().filter_map(|event_type| event_type.split_once('.').map(|(noun, _)| noun)).collect();
    nouns.dedup();
    match nouns[..] {
        [noun] if types.iter().all(|event_type| event_type.contains('.')) => vec![format!("{noun}.*")],
        _ => vec!["*".to_owned()],
    }
}

fn read(path: &Path) -> Result<Option<String>, Refused> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Refused::because(format!("`{}` cannot be read: {error}", path.display()))),
    }
}

/// The smallest configuration that runs: everything else has a default.
fn template(data: &Path) -> String {
    let text = |name: &str| toml::Value::from(data.join(name).display().to_string()).to_string();
    let ledger = toml::Value::from(format!("sqlite:{}", data.join("onceward.db").display())).to_string();
    format!(
        "# Onceward: where webhooks come from, where their events go. Every setting with its default: deploy/onceward.toml.\n\n\
         [ledger]\nurl = {ledger}\n\n\
         # What requests are sealed with. Keep it: without it they cannot be opened again.\n\
         [encryption]\nkeys = [{{ file = {} }}]\n",
        text("encryption-key")
    )
}

fn make_key(data: &Path) -> Result<(), Refused> {
    let made = folder(data).and_then(|()| secret_file(&data.join("encryption-key"), || random::<32>().map(|key| STANDARD.encode(key))));
    made.map(drop)
        .map_err(|error| Refused::because(format!("`{}` cannot be written: {error}; name another folder with `--data`", data.display())))
}

/// Checks the file as `onceward check` does. What was wrong before is not this command's doing. A secret that is not there yet is a thing left to do, and
/// is given back; anything else that the new lines bring is refused.
fn validated(path: &Path, before: &str, after: &str, wanted: &Wanted, environment: &Environment) -> Result<Option<Problem>, Refused> {
    let file = path.display().to_string();
    let old = configuration::parse(&file, before, environment).err().unwrap_or_default();
    let Err(problems) = configuration::parse(&file, after, environment) else { return Ok(None) };
    let known = |problem: &Problem| old.iter().any(|old| old.key == problem.key && old.found == problem.found);
    let absent = match &wanted.secret {
        Place::Env(name) => !environment.contains_key(name),
        Place::File(file) => !file.exists(),
    };
    let secret = format!("sources.{}.secrets[0]", wanted.name);
    let token = format!("sources.{}.fetch.token", wanted.name);
    let tokenless = wanted.token.as_ref().is_some_and(|name| !environment.contains_key(name));
    let later = |problem: &Problem| (absent && problem.key == secret) || (tokenless && problem.key.starts_with(&token));
    let (missing, wrong): (Vec<_>, Vec<_>) = problems.into_iter().filter(|problem| !known(problem)).partition(later);
    if wrong.is_empty() { Ok(missing.into_iter().next()) } else { Err(Refused::Configuration(wrong)) }
}

/// Whole or not at all, and readable by whom it was readable before.
fn write(path: &Path, text: &str) -> Result<(), Refused> {
    let failed = |error: std::io::Error| Refused::because(format!("`{}` cannot be written: {error}", path.display()));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".onceward-").tempfile_in(folder).map_err(failed)?;
    if let Ok(held) = std::fs::metadata(path) {
        file.as_file().set_permissions(held.permissions()).map_err(failed)?;
    }
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(path).map(drop).map_err(|error| failed(error.error))
}

fn said(context: &Context, path: &Path, wanted: &Wanted, facts: &Facts, missing: Option<&Problem>, after: &str, created: bool) {
    let host = edit::public_url(after);
    let named = [wanted.name.clone()];
    let pasted = paste(facts, &named, host.as_deref().unwrap_or(super::show::NO_HOST), None);
    let verb = if created { "is new, with" } else { "has" };
    let mut text = format!("{} {verb} the source `{}`.\n{pasted}\nThen\n", path.display(), wanted.name);
    match (&wanted.secret, missing) {
        (Place::Env(variable), Some(_)) => text.push_str(&format!("  put the secret into the environment variable {variable}\n")),
        (Place::File(file), Some(_)) => text.push_str(&format!("  put the secret into the file {}\n", file.display())),
        (_, None) => {}
    }
    if let Some(token) = wanted.token.as_ref().filter(|token| !context.environment.contains_key(*token)) {
        text.push_str(&format!("  put the token with which its objects are read into the environment variable {token}\n"));
    }
    if wanted.route.is_none() {
        text.push_str("  write a route for its events ([[routes]]): until then they are dead letters, `unrouted`\n");
    }
    text.push_str("  onceward check, and start onceward again\n");
    text.push_str(&format!("  onceward send --source {} sample\n", wanted.name));
    let answer = json!({
        "file": path.display().to_string(),
        "created": created,
        "source": wanted.name,
        "preset": wanted.preset,
        "url": super::show::url(facts, host.as_deref().unwrap_or(super::show::NO_HOST), &wanted.name),
        "secret_missing": missing.is_some(),
        "routed": wanted.route.is_some(),
    });
    context.say(&answer, &text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(preset: &str) -> New {
        New { preset: Some(preset.to_owned()), ..New::default() }
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let (wanted, _) = told(&asked("typeform")).unwrap();
        assert_eq!((wanted.name.as_str(), wanted.secret, wanted.route), ("typeform", Place::Env("TYPEFORM_SECRET".into()), None));
        let asked = New { to: Some("crm".into()), object: Some("Lead".into()), name: Some("my-forms".into()), ..asked("typeform") };
        let (wanted, _) = told(&asked).unwrap();
        assert_eq!(wanted.secret, Place::Env("MY_FORMS_SECRET".into()));
        assert_eq!(wanted.route, Some(("crm".into(), "Lead".into(), vec!["lead.*".into()])));
        assert!(matches!(told(&New::default()), Err(Refused::Usage(_))));
        assert!(told(&self::asked("tyepform")).is_err());
    }

    #[test]
    fn the_template_with_any_source_is_in_order() {
        let folder = tempfile::tempdir().unwrap();
        make_key(folder.path()).unwrap();
        let before = template(folder.path());
        let path = Path::new("onceward.toml");
        let (wanted, _) = told(&asked("typeform")).unwrap();
        let after = edit::with(&before, &wanted).unwrap();
        let environment = Environment::from([("TYPEFORM_SECRET".to_owned(), "a-secret-0123456789".to_owned())]);
        assert_eq!(validated(path, &before, &after, &wanted, &environment).unwrap(), None);
        assert!(configuration::parse("x", &after, &environment).unwrap().sources.contains_key("typeform"));
        // A secret that is not there yet is something to do; a name that cannot be is a mistake.
        let missing = validated(path, &before, &after, &wanted, &Environment::new()).unwrap();
        assert_eq!(missing.unwrap().key, "sources.typeform.secrets[0]");
        let wanted = Wanted { name: "Type Form".into(), ..wanted };
        let after = edit::with(&before, &wanted).unwrap();
        assert!(matches!(validated(path, &before, &after, &wanted, &environment), Err(Refused::Configuration(_))));
        // Nor can a route lead to nowhere.
        let wanted = Wanted { name: "forms".into(), route: Some(("nowhere".into(), "Lead".into(), vec!["*".into()])), ..wanted };
        let after = edit::with(&before, &wanted).unwrap();
        assert!(matches!(validated(path, &before, &after, &wanted, &environment), Err(Refused::Configuration(_))));
    }
}
