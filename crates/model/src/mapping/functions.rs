//! What expressions can call: JMESPath's own functions, and those that webhooks need.
//!
//! Each of ours is written once, on our own tree. Where the library evaluates an expression, it calls the same code.

use std::borrow::Cow;
use std::sync::LazyLock;

use jmespath::functions::{ArgumentType, CustomFunction, Signature};
use jmespath::{Context, ErrorReason, JmespathError, Rcvar, Runtime, RuntimeError, SearchResult};
use regex::Regex;

use super::document::{Budget, json_text};
use super::forms;
use super::node::Node;
use super::normalize::scalar_text;
use crate::received::percent_decoded;

/// Longest text that a function makes, in bytes: separators and replacements may come from a payload, too.
const MADE_BYTES_MAX: usize = 4 << 20;
/// Most memory that a pattern may use once it is compiled, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 18;

/// A function was given what it does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed;

/// A function of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ours {
    Lower,
    Upper,
    Trim,
    Split,
    Replace,
    JoinNonempty,
    First,
    Coalesce,
    Key,
    FromJson,
    RegexFind,
    QueryParam,
    Answer,
    Answers,
    Labelled,
    Named,
    Entries,
}

/// Name, how it is written, and how many arguments it takes; without a most, any number.
const ALL: [(Ours, &str, &str, usize, Option<usize>); 17] = [
    (Ours::Lower, "lower", "lower(text)", 1, Some(1)),
    (Ours::Upper, "upper", "upper(text)", 1, Some(1)),
    (Ours::Trim, "trim", "trim(text)", 1, Some(1)),
    (Ours::Split, "split", "split(text, separator)", 2, Some(2)),
    (Ours::Replace, "replace", "replace(text, from, to)", 3, Some(3)),
    (Ours::JoinNonempty, "join_nonempty", "join_nonempty(separator, list)", 2, Some(2)),
    (Ours::First, "first", "first(list)", 1, Some(1)),
    (Ours::Coalesce, "coalesce", "coalesce(a, b, …)", 1, None),
    (Ours::Key, "key", "key(a, b, …)", 1, None),
    (Ours::FromJson, "from_json", "from_json(text)", 1, Some(1)),
    (Ours::RegexFind, "regex_find", "regex_find(text, 'pattern')", 2, Some(2)),
    (Ours::QueryParam, "query_param", "query_param(url, name)", 2, Some(2)),
    (Ours::Answer, "answer", "answer(form_response, name, …)", 2, None),
    (Ours::Answers, "answers", "answers(form_response)", 1, Some(1)),
    (Ours::Labelled, "labelled", "labelled(list, 'label', 'value', name, …)", 4, None),
    (Ours::Named, "named", "named(object, name, …)", 2, None),
    (Ours::Entries, "entries", "entries(object)", 1, Some(1)),
];

/// The functions that exist.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = Runtime::new();
    runtime.register_builtin_functions();
    for (ours, name, _, least, most) in ALL {
        let takes = Signature::new(vec![ArgumentType::Any; least], most.is_none().then_some(ArgumentType::Any));
        runtime
            .register_function(name, Box::new(CustomFunction::new(takes, Box::new(move |args, context| for_library(ours, args, context)))));
    }
    runtime
});

fn for_library(ours: Ours, args: &[Rcvar], context: &mut Context<'_>) -> SearchResult {
    let args: Vec<_> = args.iter().map(|arg| Cow::Owned(Node::from_library(arg))).collect();
    match ours.call(&args) {
        Ok(value) => Ok(value.to_library()),
        Err(Failed) => {
            let reason = RuntimeError::InvalidType { expected: "another type".to_owned(), actual: "this".to_owned(), position: 0 };
            Err(JmespathError::from_ctx(context, ErrorReason::Runtime(reason)))
        }
    }
}

/// How ours are written, for people.
pub(crate) fn listed() -> String {
    ALL.iter().map(|(_, _, written, _, _)| format!("`{written}`")).collect::<Vec<_>>().join(", ")
}

/// A pattern that cannot take long: the library's search is linear in the text.
pub(crate) fn pattern(text: &str) -> Result<Regex, Failed> {
    regex::RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build().map_err(|_| Failed)
}

/// The first group of the first match, or the whole of it where there is no group.
pub(crate) fn find<'a>(pattern: &Regex, text: &Node<'a>) -> Result<Node<'a>, Failed> {
    let Some(text) = optional_text(text)? else { return Ok(Node::Null) };
    let found = pattern.captures(text).and_then(|found| found.get(1).or_else(|| found.get(0)));
    Ok(found.map_or(Node::Null, |found| owned(found.as_str())))
}

impl Ours {
    /// The function of this name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        ALL.iter().find(|(_, held, ..)| *held == name).map(|(ours, ..)| *ours)
    }

    /// Whether it takes so many arguments; if not, how it is written.
    pub(crate) fn takes(self, count: usize) -> Result<(), &'static str> {
        match ALL.iter().find(|(ours, ..)| *ours == self) {
            Some((_, _, written, least, most)) if count < *least || most.is_some_and(|most| count > most) => Err(written),
            _ => Ok(()),
        }
    }

    /// Whether members may be read whose names are not in the expression.
    pub(crate) fn reads_any_name(self) -> bool {
        matches!(self, Self::Answer | Self::Answers | Self::Labelled | Self::Named | Self::Entries)
    }

    /// Calls it.
    ///
    /// # Errors
    ///
    /// It does not take such values. Null is taken everywhere and gives null.
    pub(crate) fn call<'a>(self, args: &[Cow<'_, Node<'a>>]) -> Result<Node<'a>, Failed> {
        match (self, args) {
            (Self::Lower, [value]) => Ok(optional_text(value)?.map_or(Node::Null, |text| owned(&text.to_lowercase()))),
            (Self::Upper, [value]) => Ok(optional_text(value)?.map_or(Node::Null, |text| owned(&text.to_uppercase()))),
            (Self::Trim, [value]) => Ok(optional_text(value)?.map_or(Node::Null, |text| owned(text.trim()))),
            (Self::Split, [value, separator]) => split(value, separator.text().ok_or(Failed)?),
            (Self::Replace, [value, from, to]) => replace(value, from.text().ok_or(Failed)?, to.text().ok_or(Failed)?),
            (Self::JoinNonempty, [separator, list]) => join(separator.text().ok_or(Failed)?, list),
            (Self::First, [value]) => Ok(match &**value {
                Node::List(entries) => entries.first().cloned().unwrap_or(Node::Null),
                // XML does not tell one from a list of one.
                other @ (Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Object(_) | Node::Reference) => other.clone(),
            }),
            (Self::Coalesce, values) => {
                Ok(values.iter().find(|value| !value.is_blank()).map_or(Node::Null, |value| value.clone().into_owned()))
            }
            (Self::Key, parts) => key(parts),
            (Self::FromJson, [value]) => Ok(match &**value {
                Node::Text(text) => json_text(text, &Budget::default()).map_or(Node::Null, Node::detached),
                other @ (Node::Null | Node::Bool(_) | Node::Number(_) | Node::List(_) | Node::Object(_) | Node::Reference) => other.clone(),
            }),
            (Self::RegexFind, [value, text]) => find(&pattern(text.text().ok_or(Failed)?)?, value),
            (Self::QueryParam, [url, name]) => query_param(url, name.text().ok_or(Failed)?),
            (Self::Answer, [form, names @ ..]) => Ok(forms::answer(form, &texts(names)?).cloned().unwrap_or(Node::Null)),
            (Self::Answers, [form]) => Ok(forms::answers(form).unwrap_or(Node::Null)),
            (Self::Labelled, [list, label, value, names @ ..]) => {
                let (label, value) = (label.text().ok_or(Failed)?, value.text().ok_or(Failed)?);
                Ok(forms::labelled(list, label, value, &texts(names)?).unwrap_or(Node::Null))
            }
            (Self::Named, [object, names @ ..]) => Ok(forms::named(object, &texts(names)?).cloned().unwrap_or(Node::Null)),
            (Self::Entries, [object]) => Ok(forms::entries(object).unwrap_or(Node::Null)),
            (
                Self::Lower
                | Self::Upper
                | Self::Trim
                | Self::Split
                | Self::Replace
                | Self::JoinNonempty
                | Self::First
                | Self::FromJson
                | Self::RegexFind
                | Self::QueryParam
                | Self::Answer
                | Self::Answers
                | Self::Labelled
                | Self::Named
                | Self::Entries,
                _,
            ) => Err(Failed),
        }
    }
}

fn owned<'a>(text: &str) -> Node<'a> {
    Node::Text(Cow::Owned(text.to_owned()))
}

fn optional_text<'d>(value: &'d Node<'_>) -> Result<Option<&'d str>, Failed> {
    match value {
        Node::Null => Ok(None),
        Node::Text(text) => Ok(Some(text)),
        Node::Bool(_) | Node::Number(_) | Node::List(_) | Node::Object(_) | Node::Reference => Err(Failed),
    }
}

fn texts<'d>(values: &'d [Cow<'_, Node<'_>>]) -> Result<Vec<&'d str>, Failed> {
    values.iter().map(|value| value.text()).collect::<Option<Vec<_>>>().filter(|texts| !texts.is_empty()).ok_or(Failed)
}

fn split<'a>(value: &Node<'a>, separator: &str) -> Result<Node<'a>, Failed> {
    let Some(whole) = optional_text(value)? else { return Ok(Node::Null) };
    let parts = if separator.is_empty() { vec![whole] } else { whole.split(separator).collect() };
    Ok(Node::List(parts.into_iter().map(owned).collect()))
}

fn replace<'a>(value: &Node<'a>, from: &str, to: &str) -> Result<Node<'a>, Failed> {
    let Some(text) = optional_text(value)? else { return Ok(Node::Null) };
    if from.is_empty() {
        return Ok(owned(text));
    }
    let made = text.matches(from).count().saturating_mul(to.len()).saturating_add(text.len());
    if made > MADE_BYTES_MAX { Err(Failed) } else { Ok(owned(&text.replace(from, to))) }
}

fn join<'a>(separator: &str, list: &Node<'a>) -> Result<Node<'a>, Failed> {
    let entries = match list {
        Node::Null => return Ok(Node::Null),
        Node::List(entries) => entries.as_slice(),
        one @ (Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Object(_) | Node::Reference) => std::slice::from_ref(one),
    };
    let parts = entries.iter().filter(|entry| !entry.is_blank()).map(scalar_text).collect::<Result<Vec<_>, _>>().map_err(|_| Failed)?;
    let made = parts.iter().map(|part| part.len()).sum::<usize>().saturating_add(parts.len().saturating_mul(separator.len()));
    match parts.is_empty() {
        true => Ok(Node::Null),
        false if made > MADE_BYTES_MAX => Err(Failed),
        false => Ok(owned(&parts.join(separator))),
    }
}

/// What is there, with `:` between; null where the first is not there, because the rest alone would name something else.
fn key<'a>(parts: &[Cow<'_, Node<'a>>]) -> Result<Node<'a>, Failed> {
    if parts.first().is_none_or(|first| first.is_blank()) {
        return Ok(Node::Null);
    }
    let there = parts.iter().filter(|part| !part.is_blank());
    let texts = there.map(|part| scalar_text(part)).collect::<Result<Vec<_>, _>>().map_err(|_| Failed)?;
    Ok(owned(&texts.join(":")))
}

/// A parameter of a URL's query, decoded; the first of its name.
fn query_param<'a>(url: &Node<'a>, name: &str) -> Result<Node<'a>, Failed> {
    let Some(url) = optional_text(url)? else { return Ok(Node::Null) };
    let query = url.split('#').next().unwrap_or_default().split_once('?').map_or("", |(_, query)| query);
    let found = query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decoded(key.as_bytes()) == name.as_bytes()).then(|| String::from_utf8(percent_decoded(value.as_bytes())).ok())
    });
    Ok(found.flatten().map_or(Node::Null, |value| owned(&value)))
}

#[cfg(test)]
mod tests {
    use crate::mapping::document;
    use crate::mapping::expression::Expression;

    const BODY: &str = r#"{"t":" Ada\u00e9 ","n":7,"l":["a",null,""," ","b",1,true],"e":[],"o":{"a":1},"j":"{\"x\":[1]}","bad":"{","s":"a-b-c",
        "u":"https://example.com/p?utm_source=x%20y&utm_medium=a+b&e=&utm_source=z#f?q=1","big":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}"#;

    fn evaluate(expression: &str) -> Result<String, String> {
        let (expression, document) = (Expression::compile(expression).unwrap(), document::parse(BODY.as_bytes()).unwrap());
        let ours = expression.evaluate(&document).map(|value| value.to_library().to_string());
        // A slice is evaluated by the library alone, and this one changes nothing.
        let through = format!("[{}][0:1] | [0]", expression.text());
        let theirs = Expression::compile(&through).unwrap().evaluate(&document).map(|value| value.to_library().to_string());
        assert_eq!(ours.as_ref().ok(), theirs.as_ref().ok(), "{through}");
        ours
    }

    #[test]
    fn each_function_gives_what_is_documented_by_either_road() {
        for (call, found) in [
            ("lower(t)", "\" adaé \""),
            ("upper(t)", "\" ADAÉ \""),
            ("trim(t)", "\"Adaé\""),
            ("trim(missing)", "null"),
            ("split(s, '-')", "[\"a\",\"b\",\"c\"]"),
            ("split(s, '')", "[\"a-b-c\"]"),
            ("split(missing, '-')", "null"),
            ("replace(s, '-', '/')", "\"a/b/c\""),
            ("replace(s, '', '/')", "\"a-b-c\""),
            ("join_nonempty(', ', l)", "\"a, b, 1, true\""),
            ("join_nonempty(' ', [s, missing, n])", "\"a-b-c 7\""),
            ("join_nonempty(' ', e)", "null"),
            ("join_nonempty(' ', missing)", "null"),
            ("first(l)", "\"a\""),
            ("first(e)", "null"),
            ("first(o)", "{\"a\":1}"),
            ("first(missing)", "null"),
            ("coalesce(missing, l[2], l[3], n)", "7"),
            ("coalesce(missing, e)", "[]"),
            ("coalesce(missing)", "null"),
            ("key(s, missing, n)", "\"a-b-c:7\""),
            ("key(missing, n)", "null"),
            ("from_json(j).x[0]", "1"),
            ("from_json(bad)", "null"),
            ("from_json(o)", "{\"a\":1}"),
            ("regex_find(s, '-(.)-')", "\"b\""),
            ("regex_find(s, '[a-z]$')", "\"c\""),
            ("regex_find(s, '^x')", "null"),
            ("regex_find(missing, '^x')", "null"),
            ("query_param(u, 'utm_source')", "\"x y\""),
            ("query_param(u, 'utm_medium')", "\"a b\""),
            ("query_param(u, 'e')", "\"\""),
            ("query_param(u, 'q')", "null"),
            ("query_param(s, 'q')", "null"),
        ] {
            assert_eq!(evaluate(call).as_deref(), Ok(found), "{call}");
        }
    }

    #[test]
    fn what_a_function_does_not_take_is_an_error_by_either_road() {
        for call in [
            "lower(n)",
            "upper(l)",
            "split(s, n)",
            "split(n, '-')",
            "replace(s, n, '')",
            "join_nonempty(' ', [o])",
            "key(o)",
            "regex_find(n, 'x')",
            "regex_find(s, bad)",
            "query_param(n, 'x')",
            "answer(o, n)",
            "named(o, n)",
        ] {
            let failed = evaluate(call);
            assert!(failed.is_err(), "{call}: {failed:?}");
        }
    }

    #[test]
    fn what_a_function_makes_is_bounded() {
        let doubled = (0..40).fold("big".to_owned(), |inner, _| format!("replace({inner}, 'a', 'aa')"));
        assert!(evaluate(&doubled).is_err());
    }

    #[test]
    fn wrong_calls_of_ours_are_found_before_the_first_event() {
        for (call, said) in [
            ("lower()", "`lower(text)`"),
            ("lower(a, b)", "`lower(text)`"),
            ("key()", "`key(a, b, …)`"),
            ("labelled(a, 'b', 'c')", "`labelled("),
            ("regex_find(a, '(')", "pattern"),
            ("regex_find(a, '[[:alpha:]]{9999999}')", "pattern"),
            ("nobody(a)", "calls `nobody`"),
        ] {
            let error = Expression::compile(call).unwrap_err();
            assert!(error.contains(said), "{call}: {error}");
        }
    }
}
