//! What is to be written, asked from a person.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use super::{Facts, New, Place, Wanted, find, told};
use crate::command::Refused;
use crate::shown::plain;

/// How often a question is asked again.
const TRIES_MAX: usize = 5;
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 1_024;

/// Puts questions, one line each.
pub struct Asker<'a> {
    from: &'a mut dyn BufRead,
    to: &'a mut dyn Write,
}

impl<'a> Asker<'a> {
    pub fn new(from: &'a mut dyn BufRead, to: &'a mut dyn Write) -> Self {
        Self { from, to }
    }

    /// Asks until the answer will do. An empty answer stands for the default.
    fn ask<T>(&mut self, question: &str, default: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<T, Refused> {
        let gone = |error: std::io::Error| Refused::because(format!("nobody answers: {error}"));
        for _ in 0..TRIES_MAX {
            let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
            write!(self.to, "{question}{shown}: ").and_then(|()| self.to.flush()).map_err(gone)?;
            let mut line = String::new();
            let bytes = std::io::Read::take(&mut *self.from, ANSWER_BYTES_MAX).read_line(&mut line).map_err(gone)?;
            if bytes == 0 {
                return Err(Refused::because("nobody answers; the answers can be given as arguments: `onceward sources new --help`"));
            }
            let answer = line.trim();
            match read(if answer.is_empty() { default } else { answer }) {
                Ok(held) => return Ok(held),
                Err(why) => writeln!(self.to, "  {}", plain(&why)).map_err(gone)?,
            }
        }
        Err(Refused::because(format!("no answer would do, {TRIES_MAX} times; `onceward sources new --help` says what is asked")))
    }
}

/// Asks for what the arguments do not say.
pub fn wanted(asked: &New, destinations: &BTreeMap<String, Vec<String>>, asker: &mut Asker<'_>) -> Result<(Wanted, Facts), Refused> {
    let mut asked = asked.clone();
    if asked.preset.is_none() {
        let known = |text: &str| find(text).map(|facts| facts.name).map_err(|refused| refused.to_string());
        asked.preset = Some(asker.ask("Preset (`onceward sources list` shows them)", "", known)?);
    }
    let (defaults, _) = told(&asked)?;
    if asked.name.is_none() {
        asked.name = Some(asker.ask("Name, which becomes part of the URL", &defaults.name, name)?);
    }
    if asked.secret_env.is_none() && asked.secret_file.is_none() {
        let (defaults, _) = told(&asked)?;
        let Place::Env(variable) = defaults.secret else { return told(&asked) };
        match asker.ask("The variable that holds the secret, or the path of a file", &variable, secret)? {
            Place::Env(variable) => asked.secret_env = Some(variable),
            Place::File(file) => asked.secret_file = Some(file),
        }
    }
    if asked.to.is_none() && !destinations.is_empty() {
        let all: Vec<String> =
            destinations.iter().flat_map(|(to, objects)| objects.iter().map(move |object| format!("{to} {object}"))).collect();
        let question = format!("Where its events go ({}; `-` for nowhere yet)", all.join(", "));
        let target = |text: &str| match (text, text.split_once(' ')) {
            ("-", _) => Ok(None),
            (_, Some((to, object))) if all.iter().any(|held| held == text) => Ok(Some((to.to_owned(), object.to_owned()))),
            _ => Err(format!("write one of these: {}", all.join(", "))),
        };
        if let Some((to, object)) = asker.ask(&question, "-", target)? {
            (asked.to, asked.object) = (Some(to), Some(object));
            let events = told(&asked)?.0.route.map(|(_, _, events)| events.join(" ")).unwrap_or_default();
            let list = |text: &str| Ok(text.split_whitespace().map(str::to_owned).collect());
            asked.event = asker.ask("Which of them", &events, list)?;
        }
    }
    told(&asked)
}

fn name(text: &str) -> Result<String, String> {
    let fits = (1..=63).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    if fits { Ok(text.to_owned()) } else { Err("at most 63 lower-case letters, digits, `-` and `_`".to_owned()) }
}

/// A path has a slash or a dot, which no variable has.
fn secret(text: &str) -> Result<Place, String> {
    if text.contains(['/', '.']) {
        return Ok(Place::File(text.into()));
    }
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if fits {
        Ok(Place::Env(text.to_owned()))
    } else {
        Err("the name of a variable (`TYPEFORM_SECRET`) or the path of a file, never the secret itself".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(asked: &New, answers: &str) -> (Result<(Wanted, Facts), Refused>, String) {
        let destinations = BTreeMap::from([("salesforce".to_owned(), vec!["Lead".to_owned()])]);
        let mut said = Vec::new();
        let wanted = wanted(asked, &destinations, &mut Asker::new(&mut answers.as_bytes(), &mut said));
        (wanted, String::from_utf8(said).unwrap())
    }

    #[test]
    fn what_the_arguments_leave_open_is_asked_and_a_wrong_answer_is_asked_again() {
        let (held, said) = answered(
            &New::default(),
            "tyepform\ntypeform\nMy Forms\nforms\nwhsec_+\n/run/secrets/forms\nhubspot contacts\nsalesforce Lead\n\n",
        );
        let (held, _) = held.unwrap();
        assert_eq!((held.preset.as_str(), held.name.as_str()), ("typeform", "forms"));
        assert_eq!(held.secret, Place::File("/run/secrets/forms".into()));
        assert_eq!(held.route, Some(("salesforce".into(), "Lead".into(), vec!["lead.*".into()])));
        for words in ["there is no preset `tyepform`", "lower-case", "never the secret itself", "write one of these"] {
            assert!(said.contains(words), "{words} in {said}");
        }
    }

    #[test]
    fn enter_takes_the_default_and_silence_ends_it() {
        let asked = New { preset: Some("stripe".into()), ..New::default() };
        let (held, _) = answered(&asked, "\n\n\n").0.unwrap();
        assert_eq!((held.name.as_str(), held.secret, held.route), ("stripe", Place::Env("STRIPE_SECRET".into()), None));
        assert!(answered(&asked, "").0.is_err());
        assert!(answered(&New::default(), &"nonsense\n".repeat(9)).0.is_err());
    }
}
