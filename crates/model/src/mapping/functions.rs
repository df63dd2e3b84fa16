//! What expressions can call: JMESPath's own functions, and a few that webhooks need.

use std::sync::LazyLock;

use jmespath::functions::{ArgumentType, CustomFunction, Signature};
use jmespath::{Context, Rcvar, Runtime, SearchResult, Variable};

use super::node::Node;

/// Ours, for people.
pub(crate) const OURS: &str = "`lower(text)`, `split(text, separator)`, `answer(form_response, name, …)`";

/// The function that is ours alone, and evaluated without the library.
pub(crate) const ANSWER: &str = "answer";

/// The functions that exist.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = Runtime::new();
    runtime.register_builtin_functions();
    let text = || ArgumentType::String;
    register(&mut runtime, "lower", Signature::new(vec![text()], None), lower);
    register(&mut runtime, "split", Signature::new(vec![text(), text()], None), split);
    register(&mut runtime, ANSWER, Signature::new(vec![ArgumentType::Any, text()], Some(text())), answer_for_library);
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
pub(crate) fn answer<'d, 'a>(form: &'d Node<'a>, names: &[&str]) -> Option<&'d Node<'a>> {
    let answers = form.member("answers")?.entries()?;
    let questions = form.member("definition").and_then(|definition| definition.member("fields")?.entries());
    let titled = |field: &Node<'a>| {
        let id = field.member("id")?;
        questions?.iter().find(|question| question.member("id").is_some_and(|held| held.same(id)))?.member("title")?.text()
    };
    // Reference and title of each answer's question, looked up once for all names.
    let asked: Vec<_> = answers
        .iter()
        .map(|answer| answer.member("field").map_or((None, None), |field| (field.member("ref").and_then(Node::text), titled(field))))
        .collect();
    let fits = |name: &str, (reference, title): &(Option<&str>, Option<&str>)| {
        let is_phrase = words(name).nth(1).is_some();
        reference.is_some_and(|text| is(text, name)) || title.is_some_and(|text| is(text, name) || is_phrase && holds(text, name))
    };
    let place = names.iter().find_map(|name| asked.iter().position(|asked| fits(name, asked)))?;
    value_of(answers.get(place)?)
}

fn answer_for_library(args: &[Rcvar], _: &mut Context<'_>) -> SearchResult {
    let form = args.first().map_or(Node::Null, |form| Node::from_library(form));
    let names: Vec<_> = args.iter().skip(1).filter_map(|name| name.as_string()).map(String::as_str).collect();
    Ok(answer(&form, &names).map_or_else(|| Node::Null.to_library(), Node::to_library))
}

/// Runs of letters and digits.
fn words(text: &str) -> impl Iterator<Item = &str> + Clone {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// Whether a text is made of a name's words.
fn is(text: &str, name: &str) -> bool {
    let first = |text: &str| text.bytes().next().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_lowercase());
    let differs = matches!((first(text), first(name)), (Some(one), Some(other)) if one != other);
    !differs && begins(words(text), name) == Some(true)
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

/// What an answer holds: `choice.label`, `choices.labels`, or the member that is called like its type.
fn value_of<'d, 'a>(answer: &'d Node<'a>) -> Option<&'d Node<'a>> {
    match answer.member("type")?.text()? {
        "choice" => {
            let choice = answer.member("choice")?;
            choice.member("label").or_else(|| choice.member("other"))
        }
        "choices" => answer.member("choices")?.member("labels"),
        other => answer.member(other),
    }
}

#[cfg(test)]
mod tests {
    use crate::mapping::document;
    use crate::mapping::expression::Expression;

    fn evaluate(expression: &str, body: &str) -> String {
        let (expression, document) = (Expression::compile(expression).unwrap(), document::parse(body.as_bytes()).unwrap());
        expression.evaluate(&document).unwrap().to_library().to_string()
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
