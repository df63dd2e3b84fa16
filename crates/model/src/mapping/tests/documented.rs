//! docs/mapping.md says what is so: every example of it is run here.

use serde_json::{Value, json};

use super::*;
use crate::mapping::document;
use crate::mapping::expression::Expression;
use crate::mapping::node::Node;

const PAGE: &str = include_str!("../../../../../docs/mapping.md");

/// Blocks of code: what stands behind the fence, and the text.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let mut blocks = Vec::new();
    let mut rest = PAGE;
    while let Some((_, after)) = rest.split_once("\n```") {
        let (info, after) = after.split_once('\n').unwrap();
        let (text, after) = after.split_once("\n```").unwrap();
        blocks.push((info, text));
        rest = after;
    }
    blocks
}

/// The cells of the rows of a table that begins with this cell.
fn table(head: &str) -> Vec<Vec<String>> {
    let (_, after) = PAGE.split_once(&format!("\n| {head} |")).unwrap();
    let rows = after.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| {
        let row = row.replace("\\|", "\u{0}");
        row.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`').replace('\u{0}', "|")).collect::<Vec<_>>()
    };
    rows.map(cells).collect()
}

/// Whether everything that is expected is there; members that are not named do not matter.
fn holds(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            expected.iter().all(|(name, expected)| found.get(name).is_some_and(|found| holds(found, expected)))
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(found, expected)| holds(found, expected))
        }
        _ => found == expected,
    }
}

#[test]
fn each_mapping_makes_of_its_body_what_the_page_says() {
    let (mut current, mut body, mut run) = (None, (String::new(), ""), 0);
    for (info, text) in blocks() {
        match info {
            "toml source" => current = Some(source(text)),
            "json events" => {
                let readings = read_all(current.as_ref().unwrap(), &[("content-type", body.1)], "", body.0.as_bytes(), NOW);
                let found: Vec<_> = readings
                    .into_iter()
                    .map(|reading| {
                        let (event, warnings) = event(reading);
                        assert!(warnings.iter().all(|kind| kind == "occurred_at_missing"), "{warnings:?}");
                        let mut event_json = json!(event);
                        event_json["occurred_at"] = json!(event.occurred_at.to_string());
                        event_json
                    })
                    .collect();
                let expected: Value = serde_json::from_str(text).unwrap();
                assert!(holds(&json!(found), &expected), "{found:#?}\nis not\n{expected:#}");
                for (found, expected) in found.iter().zip(expected.as_array().unwrap()) {
                    if let Some(attributes) = expected.get("attributes") {
                        assert_eq!(&found["attributes"], attributes, "all attributes are named");
                    }
                }
                run += 1;
            }
            "json functions" => {}
            info => {
                let (kind, name) = info.split_once(' ').unwrap();
                assert_eq!(name, "body", "{info}");
                let content_type = match kind {
                    "form" => "application/x-www-form-urlencoded",
                    "xml" => "text/xml",
                    _ => "application/json",
                };
                body = (text.to_owned(), content_type);
            }
        }
    }
    assert!(run >= 6, "{run}");
}

#[test]
fn each_function_gives_what_the_page_says() {
    let (_, body) = blocks().into_iter().find(|(info, _)| *info == "json functions").unwrap();
    let document = document::parse(body.as_bytes()).unwrap();
    let rows = table("function");
    for row in &rows {
        let [written, example, gives] = row.as_slice() else { panic!("{row:?}") };
        let expression = Expression::compile(example).unwrap();
        let found = expression.evaluate(&document).unwrap().to_json();
        assert_eq!(found, serde_json::from_str::<Value>(gives).unwrap(), "{written}: {example}");
    }
    let ours = crate::mapping::functions::listed();
    for name in ours.split('`').filter_map(|written| written.split_once('(')).map(|(name, _)| name) {
        assert!(rows.iter().any(|row| row[0].contains(&format!("{name}("))), "`{name}` is not on the page");
    }
}

#[test]
fn each_normalizer_makes_what_the_page_says() {
    let rows = table("as");
    for row in &rows {
        let [how, value, becomes] = row.as_slice() else { panic!("{row:?}") };
        let source = source(&format!("id = \"id\"\n[[events]]\ntype = \"a\"\nfields = {{ x = {{ from = \"v\", {how} }} }}\n"));
        let (event, warnings) = event(read(&source, format!("{{\"id\":\"1\",\"v\":{value}}}").as_bytes()));
        assert_eq!(event.attributes.get("x"), Some(&serde_json::from_str::<Value>(becomes).unwrap()), "{how} {value} {warnings:?}");
    }
    for word in [
        "text",
        "lower",
        "email",
        "phone",
        "domain",
        "number",
        "boolean",
        "date",
        "country",
        "enum",
        "html_to_text",
        "list",
        "raw",
        "money",
        "datetime",
    ] {
        assert!(rows.iter().any(|row| row[0].contains(&format!("as = \"{word}\""))), "{word}");
    }
    assert!(matches!(document::parse(b"{}").unwrap().root, Node::Object(_)));
}
