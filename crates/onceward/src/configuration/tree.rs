//! The file and the environment as one tree that remembers where each value was written.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::problem::{Finding, Place, Problems, closest, listed};

/// Deepest nesting of overrides and files. Nothing real needs more than eight levels.
pub const DEPTH_MAX: usize = 32;

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `"text"`
    Text(String),
    /// `5`
    Integer(i64),
    /// `0.5`
    Float(f64),
    /// `true`
    Boolean(bool),
    /// A TOML date or time, as written. No setting takes one.
    Datetime(String),
    /// `[…]`
    Array(Vec<Node>),
    /// `{…}` or `[…]` at the beginning of a line.
    Table(BTreeMap<String, Node>),
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Of its key, or of the value itself in an array.
    pub place: Place,
    /// The value.
    pub value: Value,
}

impl Node {
    /// What it is, in a word for people.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Text(_) => "a text",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number with a fraction",
            Value::Boolean(_) => "true or false",
            Value::Datetime(_) => "a date or time",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// The value at a path, if it is there.
    pub fn at(&self, path: &[Step]) -> Option<&Node> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        match (&self.value, first) {
            (Value::Table(table), Step::Key(key)) => table.get(key)?.at(rest),
            (Value::Array(array), Step::Index(index)) => array.get(*index)?.at(rest),
            _ => None,
        }
    }

    /// The value at a path, to be changed.
    pub fn at_mut(&mut self, path: &[Step]) -> Option<&mut Node> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        match (&mut self.value, first) {
            (Value::Table(table), Step::Key(key)) => table.get_mut(key)?.at_mut(rest),
            (Value::Array(array), Step::Index(index)) => array.get_mut(*index)?.at_mut(rest),
            _ => None,
        }
    }

    /// The path that a dotted key such as `events.0.fields.email` means here, as far as it leads somewhere.
    pub fn resolve(&self, key: &str) -> Vec<Step> {
        if key.is_empty() {
            return Vec::new();
        }
        // A key may hold dots itself.
        if matches!(&self.value, Value::Table(table) if table.contains_key(key)) {
            return vec![Step::Key(key.to_owned())];
        }
        let (first, rest) = key.split_once('.').unwrap_or((key, ""));
        let index = first.parse().ok().filter(|_| matches!(self.value, Value::Array(_)));
        let step = index.map_or_else(|| Step::Key(first.to_owned()), Step::Index);
        let below = self.at(std::slice::from_ref(&step)).map(|node| node.resolve(rest));
        let below = below.unwrap_or_else(|| if rest.is_empty() { Vec::new() } else { vec![Step::Key(rest.to_owned())] });
        [vec![step], below].concat()
    }

    /// Where the value at a path was written, or the closest thing around it.
    pub fn place(&self, path: &[Step]) -> Place {
        (0..=path.len()).rev().find_map(|length| self.at(&path[..length])).map_or(Place::Nowhere, |node| node.place.clone())
    }
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Into a table.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// `sources.landing-page.events[1].when`
pub fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Index(index) => text.push_str(&format!("[{index}]")),
            Step::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
                if bare { text.push_str(key) } else { text.push_str(&format!("{key:?}")) }
            }
        }
    }
    text
}

/// Reads TOML. Whatever can be read in spite of a syntax error is read, so that other mistakes show as well.
pub fn parse(text: &str, problems: &mut Problems) -> BTreeMap<String, Node> {
    let lines = Lines::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let place = error.span().map_or(Place::Nowhere, |span| lines.place(span.start));
        problems.add(
            &place,
            "",
            Finding::new("not TOML", error.message().to_owned(), "correct the line; https://toml.io shows how values are written"),
        );
    }
    lines.table(table.get_ref(), 0)
}

struct Lines<'a> {
    text: &'a str,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self { text }
    }

    fn place(&self, at: usize) -> Place {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Place::File { line, column }
    }

    fn table(&self, table: &DeTable<'_>, depth: usize) -> BTreeMap<String, Node> {
        let node = |key: &toml::Spanned<_>, value| Node { place: self.place(key.span().start), value: self.value(value, depth + 1) };
        table.iter().map(|(key, value)| (key.get_ref().to_string(), node(key, value.get_ref()))).collect()
    }

    fn value(&self, value: &DeValue<'_>, depth: usize) -> Value {
        if depth > DEPTH_MAX {
            return Value::Text(String::new());
        }
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Text(number.to_string()),
            },
            DeValue::Float(number) => number.as_str().parse().map_or_else(|_| Value::Text(number.to_string()), Value::Float),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(at) => Value::Datetime(at.to_string()),
            DeValue::Array(array) => {
                let node = |value: &toml::Spanned<DeValue<'_>>| Node {
                    place: self.place(value.span().start),
                    value: self.value(value.get_ref(), depth + 1),
                };
                Value::Array(array.iter().map(node).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table, depth)),
        }
    }
}

/// Variables that look like overrides and are something else.
const SHORT_FORMS: [(&str, [&str; 2]); 2] = [("ONCEWARD_LEDGER_URL", ["ledger", "url"]), ("ONCEWARD_QUEUE_URL", ["queue", "url"])];

/// Lays the environment over the file: `ONCEWARD_LISTEN__PUBLIC` is `listen.public`; `-` in a name is written `_`.
///
/// The value is read as TOML where it is TOML (`60`, `true`, `["a"]`), else it is a text.
pub fn overlay(tree: &mut BTreeMap<String, Node>, environment: &BTreeMap<String, String>, problems: &mut Problems) {
    for (name, text) in environment {
        let place = Place::Variable(name.clone());
        let Some(rest) = name.strip_prefix("ONCEWARD_") else { continue };
        let levels: Vec<String> = match SHORT_FORMS.iter().find(|(short, _)| short == name) {
            Some((_, levels)) => levels.iter().map(|&level| level.to_owned()).collect(),
            None if rest.contains("__") => rest.split("__").map(str::to_lowercase).collect(),
            None => continue,
        };
        if levels.iter().any(String::is_empty) || levels.len() > DEPTH_MAX {
            let expected = "names of settings with `__` between levels, such as ONCEWARD_LISTEN__PUBLIC";
            problems.add(&place, "", Finding::new("an empty level in the name", expected, "correct the variable's name, or unset it"));
            continue;
        }
        let value = match DeValue::parse(text) {
            Ok(value) => Lines::new(text).value(value.get_ref(), 0),
            Err(_) => Value::Text(text.clone()),
        };
        if let Err(found) = put(tree, &levels, with_place(value, &place)) {
            let remedy = "unset the variable, or name a setting";
            problems.add(&place, levels.join("."), Finding::new(found, "a setting inside a table", remedy));
        }
    }
}

fn with_place(value: Value, place: &Place) -> Node {
    let again = |node: Node| with_place(node.value, place);
    let value = match value {
        Value::Array(array) => Value::Array(array.into_iter().map(again).collect()),
        Value::Table(table) => Value::Table(table.into_iter().map(|(key, node)| (key, again(node))).collect()),
        scalar @ (Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_)) => scalar,
    };
    Node { place: place.clone(), value }
}

fn put(table: &mut BTreeMap<String, Node>, levels: &[String], node: Node) -> Result<(), String> {
    let Some((first, rest)) = levels.split_first() else { return Ok(()) };
    let key = table.keys().find(|held| held.to_lowercase().replace('-', "_") == *first).unwrap_or(first).clone();
    if rest.is_empty() {
        table.insert(key, node);
        return Ok(());
    }
    let held = table.entry(key).or_insert_with(|| Node { place: node.place.clone(), value: Value::Table(BTreeMap::new()) });
    let kind = held.kind();
    match &mut held.value {
        Value::Table(inner) => put(inner, rest, node),
        Value::Array(array) => put_entry(array, rest, node),
        Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            Err(format!("a setting below `{first}`, which is {kind}"))
        }
    }
}

fn put_entry(array: &mut [Node], levels: &[String], node: Node) -> Result<(), String> {
    let Some((first, rest)) = levels.split_first() else { return Ok(()) };
    let length = array.len();
    let entry = first.parse::<usize>().ok().and_then(|index| array.get_mut(index));
    let entry = entry.ok_or_else(|| format!("`{first}`, and the list has {length} entries, counted from 0"))?;
    if rest.is_empty() {
        *entry = node;
        return Ok(());
    }
    let kind = entry.kind();
    match &mut entry.value {
        Value::Table(inner) => put(inner, rest, node),
        Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) => {
            Err(format!("{} below an entry that is {kind}", rest.join(".")))
        }
    }
}

/// What to say about a key that is not known.
pub fn unknown_key<'a>(key: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Finding {
    let remedy = match closest(key, known.clone()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "remove it, or correct its name".to_owned(),
    };
    Finding::new(format!("the unknown key `{key}`"), listed(known), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, environment: &[(&str, &str)]) -> (BTreeMap<String, Node>, Vec<super::super::problem::Problem>) {
        let mut problems = Problems::new("f.toml");
        let mut tree = parse(text, &mut problems);
        let environment = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        overlay(&mut tree, &environment, &mut problems);
        (tree, problems.into_sorted())
    }

    fn path(text: &str) -> Vec<Step> {
        text.split('.').map(|step| step.parse().map_or_else(|_| Step::Key(step.to_owned()), Step::Index)).collect()
    }

    #[test]
    fn every_syntax_error_has_its_line() {
        let (_, problems) = read("[a]\nb = \nc = 1\nd = \"open\n", &[]);
        assert_eq!(problems.iter().filter_map(|problem| problem.line).collect::<Vec<_>>(), [2, 4], "{problems:#?}");
    }

    #[test]
    fn the_environment_lies_over_the_file_with_underscores_for_hyphens() {
        let overrides = [
            ("ONCEWARD_SOURCES__LANDING_PAGE__TRUST", "60"),
            ("ONCEWARD_LEDGER_URL", "sqlite:x.db"),
            ("ONCEWARD_ROUTES__0__OWNER", "sales"),
            ("ONCEWARD_LOG", "debug"),
            ("PATH", "/bin"),
        ];
        let (tree, problems) = read("[sources.landing-page]\ntrust = 1\n[[routes]]\nowner = \"x\"\n", &overrides);
        assert!(problems.is_empty(), "{problems:?}");
        let root = Node { place: Place::Nowhere, value: Value::Table(tree) };
        assert_eq!(root.at(&path("sources.landing-page.trust")).unwrap().value, Value::Integer(60));
        assert_eq!(root.at(&path("ledger.url")).unwrap().value, Value::Text("sqlite:x.db".into()));
        assert_eq!(root.at(&path("routes.0.owner")).unwrap().value, Value::Text("sales".into()));
        assert_eq!(root.place(&path("ledger.url")), Place::Variable("ONCEWARD_LEDGER_URL".into()));
        assert!(root.at(&path("log")).is_none());
    }

    #[test]
    fn a_path_reads_as_it_is_written_in_the_file() {
        assert_eq!(dotted(&path("sources.landing-page.events.1.when")), "sources.landing-page.events[1].when");
        assert_eq!(dotted(&[Step::Key("a b".into())]), "\"a b\"");
    }
}
