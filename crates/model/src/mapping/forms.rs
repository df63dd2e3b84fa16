//! Questions and answers: how forms name what people write into them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::node::{Members, Node};

/// Most values of one answer whose options are looked up.
const VALUES_MAX: usize = 100;

/// The answer to the first question whose reference or title is one of the names, in the order of the names.
///
/// A form lists its questions (`definition.fields`, with `id`, `ref` and `title`) apart from its answers (`answers`, with
/// `field.id` and a value under the name of their `type`); JMESPath cannot join two lists. Letters' case and whatever
/// stands between words do not count. A name of several words also fits a longer title: "What is your first name?".
pub(super) fn answer<'d, 'a>(form: &'d Node<'a>, names: &[&str]) -> Option<&'d Node<'a>> {
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
    let asks = |name: &str, (reference, title): &(Option<&str>, Option<&str>)| {
        let is_phrase = words(name).nth(1).is_some();
        reference.is_some_and(|text| is(text, name)) || title.is_some_and(|text| is(text, name) || is_phrase && holds(text, name))
    };
    let place = names.iter().find_map(|name| asked.iter().position(|asked| asks(name, asked)))?;
    value_of(answers.get(place)?)
}

/// All answers of such a form, each with its question's title, or its reference where it has none: `[{label, value}]`.
pub(super) fn answers<'a>(form: &Node<'a>) -> Option<Node<'a>> {
    let answers = form.member("answers")?.entries()?;
    let questions = form.member("definition").and_then(|definition| definition.member("fields")?.entries()).unwrap_or_default();
    // A form has as many answers as questions: looking each up one by one would cost their square.
    let titles: BTreeMap<&str, &str> =
        questions.iter().filter_map(|question| Some((question.member("id")?.text()?, question.member("title")?.text()?))).collect();
    let pairs = answers.iter().filter_map(|answer| {
        let field = answer.member("field")?;
        let title = field.member("id").and_then(|id| titles.get(id.text()?).copied());
        let label = title.filter(|title| !title.trim().is_empty()).or_else(|| field.member("ref")?.text())?;
        Some(pair(Cow::Owned(label.to_owned()), value_of(answer)?.clone()))
    });
    Some(Node::List(pairs.collect()))
}

/// An object as a list of its members: `[{label, value}]`, in the order of their names.
pub(super) fn entries<'a>(object: &Node<'a>) -> Option<Node<'a>> {
    let Node::Object(members) = object else { return None };
    let mut members: Vec<_> = members.iter().collect();
    members.sort_by_key(|(name, _)| *name);
    Some(Node::List(members.into_iter().map(|(name, value)| pair(name.clone(), value.clone())).collect()))
}

fn pair<'a>(label: Cow<'a, str>, value: Node<'a>) -> Node<'a> {
    let mut members = Members::new();
    members.insert(Cow::Borrowed("label"), Node::Text(label));
    members.insert(Cow::Borrowed("value"), value);
    Node::Object(members)
}

/// In a list of objects that each hold a label and a value: the value of the first whose label is one of the names, in the order of the
/// names, passing over those without any. A list of one value is that value.
pub(super) fn labelled<'a>(list: &Node<'a>, label: &str, value: &str, names: &[&str]) -> Option<Node<'a>> {
    let entries = list.entries()?;
    let found = |name: &str, entry: &Node<'a>| {
        let labelled = entry.member(label)?.text().is_some_and(|label| fits(label, name));
        let value = resolved(entry, entry.member(value).filter(|_| labelled)?);
        Some(value).filter(|value| !value.is_blank() && value.entries().is_none_or(|entries| !entries.is_empty()))
    };
    names.iter().find_map(|name| entries.iter().find_map(|entry| found(name, entry)))
}

/// The value of the first member whose name is one of the names, in the order of the names, passing over those without any.
pub(super) fn named<'d, 'a>(object: &'d Node<'a>, names: &[&str]) -> Option<&'d Node<'a>> {
    let Node::Object(members) = object else { return None };
    names.iter().find_map(|name| members.iter().find(|(label, value)| fits(label, name) && !value.is_blank()).map(|(_, value)| value))
}

/// A value as it was shown to whoever chose it: where the entry lists its `options`, ids are put into the words that stand there.
pub(super) fn resolved<'a>(entry: &Node<'a>, value: &Node<'a>) -> Node<'a> {
    let options = entry.member("options").and_then(Node::entries).unwrap_or_default();
    let shown = |value: &Node<'a>| {
        let option = options.iter().find(|option| option.member("id").is_some_and(|id| id.same(value)));
        let words = option.and_then(|option| ["text", "label", "name", "title"].iter().find_map(|name| option.member(name)));
        words.unwrap_or(value).clone()
    };
    match value {
        Node::List(values) if values.len() == 1 => values.first().map_or(Node::Null, shown),
        Node::List(values) => Node::List(values.iter().take(VALUES_MAX).map(shown).collect()),
        other @ (Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Object(_) | Node::Reference) => shown(other),
    }
}

/// Whether a label is one of the names.
pub(super) fn is_one_of(label: &str, names: &[String]) -> bool {
    names.iter().any(|name| is(unnumbered(label), name) || spaced(unnumbered(label)).is_some_and(|label| is(&label, name)))
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

/// Whether a label is one of a name's spellings: its words in any case, with anything between them; a name of several words also fits a
/// longer label. What names in programs add is looked through: `firstName`, and the `q3_` that Jotform puts before them.
fn fits(label: &str, name: &str) -> bool {
    let label = unnumbered(label);
    let fits = |label: &str| is(label, name) || words(name).nth(1).is_some() && holds(label, name);
    fits(label) || spaced(label).is_some_and(|label| fits(&label))
}

/// Without a `q` and digits before its first `_`.
fn unnumbered(label: &str) -> &str {
    let named = label.split_once('_').filter(|(number, name)| {
        let digits = number.strip_prefix('q').unwrap_or_default();
        !name.is_empty() && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    named.map_or(label, |(_, name)| name)
}

/// With a space where a small letter stands before a large one; `None` where there is no such place.
fn spaced(label: &str) -> Option<String> {
    let humps = label.as_bytes().windows(2).any(|two| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase());
    if !humps {
        return None;
    }
    let mut text = String::with_capacity(label.len() + 4);
    let mut before = ' ';
    for letter in label.chars() {
        if before.is_ascii_lowercase() && letter.is_ascii_uppercase() {
            text.push(' ');
        }
        text.push(letter);
        before = letter;
    }
    Some(text)
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

    #[test]
    fn all_answers_have_their_questions_for_labels() {
        let form = r#"{"definition":{"fields":[{"id":"1","title":"Team size"},{"id":"2","title":" "}]},"answers":[
            {"type":"number","number":7,"field":{"id":"1","ref":"a"}},{"type":"choices","choices":{"labels":["x"]},"field":{"id":"2","ref":"topic"}},
            {"type":"boolean","boolean":true,"field":{"id":"3","ref":"ok"}},{"type":"text","field":{"id":"4"}},{}]}"#;
        let expected = r#"[{"label":"Team size","value":7},{"label":"topic","value":["x"]},{"label":"ok","value":true}]"#;
        assert_eq!(evaluate("answers(@)", form), expected);
        assert_eq!(evaluate("answers(missing)", form), "null");
        assert_eq!(evaluate("entries(@)", r#"{"b":1,"a":{"c":2}}"#), r#"[{"label":"a","value":{"c":2}},{"label":"b","value":1}]"#);
        assert_eq!(evaluate("entries(@.b)", r#"{"b":1}"#), "null");
    }

    #[test]
    fn a_labelled_value_is_found_by_any_spelling_of_its_label() {
        let body = r#"{"meta":[{"name":"full_name","values":["Ada"]},{"name":"what_is_your_team_size?","values":["1","2"]},{"name":"email","values":[]}],
            "google":[{"column_id":"FULL_NAME","string_value":"Ada"},{"column_name":"x"}],
            "tally":[{"label":"Team","value":["o1"],"options":[{"id":"o1","text":"Sales"}]},{"label":"Topics","value":["o1","o2","o9"],"options":[{"id":"o1","text":"A"},{"id":"o2","text":"B"}]},
                {"label":"Company","value":null},{"label":"companyName","value":"Example Ltd"}]}"#;
        for (call, found) in [
            ("labelled(meta, 'name', 'values', 'full name')", "\"Ada\""),
            ("labelled(meta, 'name', 'values', 'team size')", "[\"1\",\"2\"]"),
            ("labelled(meta, 'name', 'values', 'email')", "null"),
            ("labelled(google, 'column_id', 'string_value', 'x', 'FULL_NAME')", "\"Ada\""),
            ("labelled(tally, 'label', 'value', 'team')", "\"Sales\""),
            ("labelled(tally, 'label', 'value', 'topics')", "[\"A\",\"B\",\"o9\"]"),
            ("labelled(tally, 'label', 'value', 'company', 'company name')", "\"Example Ltd\""),
            ("labelled(missing, 'label', 'value', 'company')", "null"),
        ] {
            assert_eq!(evaluate(call, body), found, "{call}");
        }
    }

    #[test]
    fn a_named_member_is_found_by_any_spelling_of_its_name() {
        let body = r#"{"First Name":"Ada","q3_email":"a@example.com","q12_phoneNumber":{"full":"1"},"What is your job title?":"CEO","company":"","Company-Name":"X","q_a":1}"#;
        for (call, found) in [
            ("named(@, 'first name')", "\"Ada\""),
            ("named(@, 'e mail', 'email')", "\"a@example.com\""),
            ("named(@, 'phone number').full", "\"1\""),
            ("named(@, 'job title')", "\"CEO\""),
            ("named(@, 'title')", "null"),
            ("named(@, 'company', 'company name')", "\"X\""),
            ("named(@, 'q a')", "1"),
            ("named(q_a, 'x')", "null"),
        ] {
            assert_eq!(evaluate(call, body), found, "{call}");
        }
    }
}
