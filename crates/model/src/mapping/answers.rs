//! A form's questions and answers as attributes: `answer_` and the question in plain letters.

use std::collections::BTreeSet;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::expression::Expression;
use super::forms;
use super::node::Node;
use super::normalize::plain_letters;

/// Most attributes that are made of one form.
const ANSWERS_MAX: usize = 100;
/// Most questions that are looked at.
const QUESTIONS_MAX: usize = 1_000;
/// Longest name behind `answer_`, in letters.
const NAME_MAX: usize = 50;
/// Longest answer, in characters; a longer one is cut.
const TEXT_MAX: usize = 4_000;
/// Most values of one answer.
const VALUES_MAX: usize = 100;

/// Where the questions are.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    pub(crate) from: Expression,
    pub(crate) label: Expression,
    pub(crate) value: Expression,
    /// Questions that are mapped elsewhere.
    pub(crate) except: Vec<String>,
}

/// What was made of a form.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    /// Names, with their `answer_`, and values.
    pub(crate) attributes: Vec<(String, Value)>,
    /// There were more than are kept.
    pub(crate) dropped: bool,
    /// One at least was cut.
    pub(crate) cut: bool,
}

impl Answers {
    /// The answers of `form`, which is what `from` gave: a list of questions, or an object whose names are the questions.
    ///
    /// # Errors
    ///
    /// The label's or the value's expression cannot be evaluated; a sentence that holds no value.
    pub(crate) fn of(&self, form: &Node<'_>) -> Result<Answered, String> {
        let mut found = Answered::default();
        let mut names = BTreeSet::new();
        if let Node::Object(members) = form {
            for (label, value) in members.iter().take(QUESTIONS_MAX) {
                self.add(label, value, &mut names, &mut found);
            }
        }
        for entry in form.entries().unwrap_or_default().iter().take(QUESTIONS_MAX) {
            let (label, value) = (self.label.evaluate_on(entry)?, self.value.evaluate_on(entry)?);
            if let Some(label) = label.text() {
                self.add(label, &forms::resolved(entry, &value), &mut names, &mut found);
            }
        }
        Ok(found)
    }

    fn add(&self, label: &str, value: &Node<'_>, names: &mut BTreeSet<String>, found: &mut Answered) {
        if label.trim().is_empty() || forms::is_one_of(label, &self.except) {
            return;
        }
        let Some(value) = shown(value, &mut found.cut) else { return };
        if found.attributes.len() >= ANSWERS_MAX {
            found.dropped = true;
            return;
        }
        let name = name(label);
        // Two questions of one name: the second is numbered.
        let free =
            (1..).map(|number| if number == 1 { name.clone() } else { format!("{name}_{number}") }).find(|name| !names.contains(name));
        let name = free.unwrap_or(name);
        names.insert(name.clone());
        found.attributes.push((format!("answer_{name}"), value));
    }
}

/// A question in letters that can stand in a name: without accents, in lower case, `_` for whatever is between words. One that has none of
/// these letters is called by a hash of it.
fn name(label: &str) -> String {
    let mut name = String::new();
    for letter in plain_letters(label).chars() {
        if letter.is_ascii_alphanumeric() {
            name.push(letter);
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
        if name.len() >= NAME_MAX {
            break;
        }
    }
    name.truncate(name.trim_end_matches('_').len());
    if name.is_empty() { format!("q{}", &hex::encode(Sha256::digest(label))[..8]) } else { name }
}

/// An answer as an attribute can hold it; `None` where there is nothing. An object's texts are joined, as those of a name or an address are.
fn shown(value: &Node<'_>, cut: &mut bool) -> Option<Value> {
    match value {
        Node::Null | Node::Reference => None,
        Node::Bool(value) => Some(Value::Bool(*value)),
        Node::Number(number) => Some(Value::Number(number.clone())),
        Node::Text(text) => bounded(text, cut),
        Node::List(values) => {
            *cut |= values.len() > VALUES_MAX;
            let mut values: Vec<_> =
                values.iter().take(VALUES_MAX).filter_map(|value| shown(value, cut)).filter(|value| !value.is_array()).collect();
            if values.len() > 1 { Some(Value::Array(values)) } else { values.pop() }
        }
        Node::Object(members) => {
            let texts: Vec<_> =
                members.iter().filter_map(|(_, value)| value.text()).map(str::trim).filter(|text| !text.is_empty()).collect();
            bounded(&texts.join(" "), cut)
        }
    }
}

fn bounded(text: &str, cut: &mut bool) -> Option<Value> {
    let text = text.trim();
    let end = text.char_indices().nth(TEXT_MAX).map(|(end, _)| end);
    *cut |= end.is_some();
    let text = end.map_or(text, |end| &text[..end]);
    (!text.is_empty()).then(|| Value::String(text.replace('\0', "\u{fffd}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mapping::document;

    fn answered(body: &str, except: &[&str]) -> (Value, bool, bool) {
        let expression = |text: &str| Expression::compile(text).unwrap();
        let except = except.iter().map(|&name| name.to_owned()).collect();
        let answers = Answers { from: expression("f"), label: expression("label"), value: expression("value"), except };
        let document = document::parse(body.as_bytes()).unwrap();
        let found = answers.of(&answers.from.evaluate(&document).unwrap()).unwrap();
        (Value::Object(found.attributes.into_iter().collect()), found.dropped, found.cut)
    }

    #[test]
    fn each_answer_is_called_after_its_question() {
        let body = r#"{"f":[{"label":"Team size?","value":7},{"label":" What's your  rôle – exactly? ","value":" Lead "},{"label":"OK","value":false},
            {"label":"Topics","value":["a",""," b ",null]},{"label":"Only","value":["x"]},{"label":"Choice","value":"o1","options":[{"id":"o1","text":"Sales"}]},
            {"label":"Address","value":{"street":"1 Main St","city":"Springfield","n":1}},{"label":"名前","value":"x"},{"label":"team SIZE","value":8},
            {"label":"","value":"x"},{"value":"x"},{"label":"Empty","value":" "},{"label":"None","value":null},{"label":"Nothing","value":[]},7]}"#;
        let name = format!("answer_q{}", &hex::encode(Sha256::digest("名前"))[..8]);
        let mut expected = json!({"answer_team_size": 7, "answer_what_s_your_role_exactly": "Lead", "answer_ok": false, "answer_topics": ["a", "b"],
            "answer_only": "x", "answer_choice": "Sales", "answer_address": "1 Main St Springfield", "answer_team_size_2": 8});
        expected[name] = json!("x");
        assert_eq!(answered(body, &[]), (expected, false, false));
    }

    #[test]
    fn an_objects_names_are_questions_and_those_mapped_elsewhere_are_left_out() {
        let body = r#"{"f":{"First Name":"Ada","q4_email":"a@example.com","jobTitle":"CEO","Size":3}}"#;
        assert_eq!(answered(body, &["first name", "Email", "job title"]).0, json!({"answer_size": 3}));
        assert_eq!(answered(r#"{"f":"text"}"#, &[]).0, json!({}));
        assert_eq!(answered("{}", &[]).0, json!({}));
    }

    #[test]
    fn their_number_and_length_are_bounded() {
        let many: Vec<_> = (0..150).map(|n| json!({"label": format!("Question {n}"), "value": n})).collect();
        let (found, dropped, cut) = answered(&json!({ "f": many }).to_string(), &[]);
        assert_eq!((found.as_object().unwrap().len(), dropped, cut), (100, true, false));
        let long = json!({"f": [{"label": "x".repeat(500), "value": "é".repeat(5_000)}, {"label": "x".repeat(600), "value": "b\u{0}"}]});
        let (found, _, cut) = answered(&long.to_string(), &[]);
        let (name, text) = found.as_object().unwrap().iter().next().unwrap();
        assert_eq!((name.len(), text.as_str().unwrap().chars().count(), cut), (57, 4_000, true));
        assert_eq!(found[format!("answer_{}_2", "x".repeat(50))], json!("b\u{fffd}"));
    }
}
