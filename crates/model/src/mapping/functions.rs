//! What expressions can call: JMESPath's own functions, and a few that webhooks need.

use std::sync::LazyLock;

use jmespath::functions::{ArgumentType, CustomFunction, Signature};
use jmespath::{Context, Rcvar, Runtime, SearchResult, Variable};

/// Ours, for people.
pub(crate) const OURS: &str = "`lower(text)`, `split(text, separator)`, `answer(form_response, name, …)`";

/// The functions that exist.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = Runtime::new();
    runtime.register_builtin_functions();
    let text = || ArgumentType::String;
    register(&mut runtime, "lower", Signature::new(vec![text()], None), lower);
    register(&mut runtime, "split", Signature::new(vec![text(), text()], None), split);
    register(&mut runtime, "answer", Signature::new(vec![ArgumentType::Any, text()], Some(text())), answer);
    runtime
});

fn register(runtime: &mut Runtime, name: &str, takes: Signature, function: fn(&[Rcvar], &mut Context<'_>) -> SearchResult) {
    runtime.register_function(name, Box::new(CustomFunction::new(takes, Box::new(function))));
}

fn text(args: &[Rcvar], at: usize) -> &str {
    args.get(at).and_then(|value| value.as_string()).map_or("", String::as_str)
}

fn string(text: impl Into<String>) -> Rcvar {
    Rcvar::new(Variable::String(text.into()))
}

fn lower(args: &[Rcvar], _: &mut Context<'_>) -> SearchResult {
    Ok(string(text(args, 0).to_lowercase()))
}

fn split(args: &[Rcvar], _: &mut Context<'_>) -> SearchResult {
    let (whole, separator) = (text(args, 0), text(args, 1));
    let parts = if separator.is_empty() { vec![whole] } else { whole.split(separator).collect() };
    Ok(Rcvar::new(Variable::Array(parts.into_iter().map(string).collect())))
}

/// The answer to the first question whose reference or title is one of the names, in the order of the names.
///
/// A form lists its questions (`definition.fields`, with `id`, `ref` and `title`) apart from its answers (`answers`, with
/// `field.id` and a value under the name of their `type`); JMESPath cannot join two lists. Letters' case and whatever
/// stands between words do not count. A name of several words also fits a longer title: "What is your first name?".
fn answer(args: &[Rcvar], _: &mut Context<'_>) -> SearchResult {
    let nothing = Rcvar::new(Variable::Null);
    let Some((form, names)) = args.split_first() else { return Ok(nothing) };
    let (Some(answers), questions) = (list(form, &["answers"]), list(form, &["definition", "fields"])) else { return Ok(nothing) };
    let titled = |answer: &Rcvar| {
        let id = member(answer, &["field", "id"])?;
        questions?.iter().find(|question| member(question, &["id"]) == Some(id)).and_then(|question| member(question, &["title"]))
    };
    let fits = |name: &str, answer: &Rcvar| {
        let reference = member(answer, &["field", "ref"]).and_then(|text| text.as_string());
        let title = titled(answer).and_then(|text| text.as_string());
        let is_phrase = words(name).nth(1).is_some();
        reference.is_some_and(|text| begins(words(text), name) == Some(true))
            || title.is_some_and(|text| begins(words(text), name) == Some(true) || is_phrase && holds(text, name))
    };
    let found = names.iter().filter_map(|name| name.as_string()).find_map(|name| answers.iter().find(|answer| fits(name, answer)));
    Ok(found.and_then(value_of).unwrap_or(nothing))
}

/// Runs of letters and digits.
fn words(text: &str) -> impl Iterator<Item = &str> + Clone {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// Whether words begin with a name's words, and if so, whether that is all of them. Nothing is allocated: a form has
/// many questions, every one is compared with many names, and nearly all differ in their first letter.
fn begins<'a>(mut words_of: impl Iterator<Item = &'a str>, name: &str) -> Option<bool> {
    for wanted in words(name) {
        let word = words_of.next()?;
        let same = match word.is_ascii() && wanted.is_ascii() {
            true => word.eq_ignore_ascii_case(wanted),
            false => word.chars().flat_map(char::to_lowercase).eq(wanted.chars().flat_map(char::to_lowercase)),
        };
        if !same {
            return None;
        }
    }
    Some(words_of.next().is_none())
}

/// Whether a text holds a name's words in a row.
fn holds(text: &str, name: &str) -> bool {
    let mut rest = words(text);
    loop {
        if begins(rest.clone(), name).is_some() {
            return true;
        }
        if rest.next().is_none() {
            return false;
        }
    }
}

fn member<'a>(value: &'a Rcvar, path: &[&str]) -> Option<&'a Rcvar> {
    path.iter().try_fold(value, |at, name| at.as_object()?.get(*name))
}

fn list<'a>(value: &'a Rcvar, path: &[&str]) -> Option<&'a Vec<Rcvar>> {
    member(value, path)?.as_array()
}

/// What an answer holds: `choice.label`, `choices.labels`, or the member that is called like its type.
fn value_of(answer: &Rcvar) -> Option<Rcvar> {
    let kind = member(answer, &["type"])?.as_string()?;
    let value = match kind.as_str() {
        "choice" => member(answer, &["choice", "label"]).or_else(|| member(answer, &["choice", "other"])),
        "choices" => member(answer, &["choices", "labels"]),
        other => member(answer, &[other]),
    };
    value.cloned()
}

#[cfg(test)]
mod tests {
    use crate::mapping::document;
    use crate::mapping::expression::Expression;

    fn evaluate(expression: &str, body: &str) -> String {
        Expression::compile(expression).unwrap().evaluate(&document::parse(body.as_bytes()).unwrap().root).unwrap().to_string()
    }

    #[test]
    fn an_answer_is_found_by_the_reference_or_title_of_its_question() {
        let form = r#"{"f":{"definition":{"fields":[
            {"id":"1","ref":"x","title":"Company name"},{"id":"2","ref":"y","title":"So, what's your First Name?"},
            {"id":"3","ref":"team_size","title":"How many?"},{"id":"4","ref":"z","title":"Topics"}]},
          "answers":[{"type":"text","text":"Example Ltd","field":{"id":"1","ref":"x"}},{"type":"text","text":"Ada","field":{"id":"2","ref":"y"}},
            {"type":"choice","choice":{"label":"1-10"},"field":{"id":"3","ref":"team_size"}},{"type":"choices","choices":{"labels":["a","b"]},"field":{"id":"4","ref":"z"}},
            {"type":"number","number":7,"field":{"id":"9","ref":"lonely"}},{"field":{}}]}}"#;
        for (call, found) in [
            ("answer(f, 'first name')", "\"Ada\""),
            ("answer(f, 'name')", "null"),
            ("answer(f, 'company', 'company name')", "\"Example Ltd\""),
            ("answer(f, 'Team Size')", "\"1-10\""),
            ("answer(f, 'topics')", "[\"a\",\"b\"]"),
            ("answer(f, 'lonely')", "7"),
            ("answer(f, 'irst nam')", "null"),
            ("answer(missing, 'x')", "null"),
        ] {
            assert_eq!(evaluate(call, form), found, "{call}");
        }
    }
}
