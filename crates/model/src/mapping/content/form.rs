//! Forms: names and values, as a tree.
//!
//! A form knows nothing but a row of texts. A name that comes several times holds a list; names with brackets nest as PHP writes them
//! (`a[b][c]`, `list[]`, `rows[0][id]`), which is what forms' senders mean by them.

use std::borrow::Cow;

use crate::Reason;
use crate::mapping::document::{Budget, Unreadable};
use crate::mapping::node::{Members, Node};
use crate::received::percent_decoded;

/// Most fields of one form.
const FIELDS_MAX: usize = 10_000;
/// Most brackets of one name that nest; with more it is a name like any other.
const BRACKETS_MAX: usize = 8;

/// Reads `application/x-www-form-urlencoded` (WHATWG URL, section 5.1): what is no escape stands for itself.
pub(super) fn read<'a>(body: &'a [u8], budget: &Budget) -> Result<Node<'a>, Unreadable> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Unreadable::unparseable("The body is empty, and a form is expected."));
    }
    let text = std::str::from_utf8(body).map_err(|_| Unreadable::unparseable("The body is not UTF-8."))?;
    let mut fields = Fields::default();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        fields.add(decoded(name)?, decoded(value)?, budget)?;
    }
    Ok(fields.finish())
}

fn decoded(text: &str) -> Result<Cow<'_, str>, Unreadable> {
    if !text.contains(['%', '+']) {
        return Ok(Cow::Borrowed(text));
    }
    String::from_utf8(percent_decoded(text.as_bytes()))
        .map(Cow::Owned)
        .map_err(|_| Unreadable::unparseable("The form holds escapes that are not UTF-8."))
}

/// The fields of a form, while they are read.
#[derive(Default)]
pub(super) struct Fields<'a> {
    root: Members<'a>,
    count: usize,
}

impl<'a> Fields<'a> {
    /// Adds a field.
    pub(super) fn add(&mut self, name: Cow<'a, str>, value: Cow<'a, str>, budget: &Budget) -> Result<(), Unreadable> {
        self.count += 1;
        if self.count > FIELDS_MAX {
            return Err(Unreadable { reason: Reason::Limits, message: format!("The form holds more than {FIELDS_MAX} fields.") });
        }
        budget.node()?;
        let value = Node::Text(value);
        let value = match brackets(&name) {
            Some((first, parts)) => match put(&mut self.root, first, &parts, value, budget)? {
                None => return Ok(()),
                // `a=1&a[b]=2`: there is no tree that holds both, so the second keeps its written name.
                Some(value) => value,
            },
            None => value,
        };
        add(&mut self.root, name, value);
        Ok(())
    }

    /// The tree. What is numbered from 0 without a gap is a list.
    pub(super) fn finish(self) -> Node<'a> {
        let mut root = Node::Object(self.root);
        if let Node::Object(members) = &mut root {
            settle(members);
        }
        root
    }
}

/// Adds a value under a name; the second of a name makes a list of the first.
fn add<'a>(members: &mut Members<'a>, name: Cow<'a, str>, value: Node<'a>) {
    match members.get_mut(&name) {
        None => {
            members.insert(name, value);
        }
        Some(Node::List(entries)) => entries.push(value),
        Some(held) => *held = Node::List(vec![std::mem::replace(held, Node::Null), value]),
    }
}

/// `a[b][]` in parts: `a` and `b`, ``.
fn brackets(name: &str) -> Option<(&str, Vec<&str>)> {
    let open = name.find('[').filter(|&open| open > 0 && name.ends_with(']'))?;
    let inner = &name[open + 1..name.len() - 1];
    let parts: Vec<_> = inner.split("][").collect();
    let fine = parts.len() <= BRACKETS_MAX && parts.iter().all(|part| !part.contains(['[', ']']));
    fine.then(|| (&name[..open], parts))
}

/// Puts a value where its name says; gives it back where something else stands there.
fn put<'a>(members: &mut Members<'a>, name: &str, rest: &[&str], value: Node<'a>, budget: &Budget) -> Result<Option<Node<'a>>, Unreadable> {
    // `[]` is the next number.
    let numbered = members.len().to_string();
    let name = if name.is_empty() { &numbered } else { name };
    let Some((next, rest)) = rest.split_first() else {
        if matches!(members.get(name), Some(Node::Object(_))) {
            return Ok(Some(value));
        }
        add(members, Cow::Owned(name.to_owned()), value);
        return Ok(None);
    };
    if members.get(name).is_none() {
        budget.node()?;
        members.insert(Cow::Owned(name.to_owned()), Node::Object(Members::new()));
    }
    match members.get_mut(name) {
        Some(Node::Object(inner)) => put(inner, next, rest, value, budget),
        _ => Ok(Some(value)),
    }
}

fn settle(members: &mut Members<'_>) {
    for (_, value) in members.iter_mut() {
        let Node::Object(inner) = value else { continue };
        settle(inner);
        if inner.len() > 0 && (0..inner.len()).all(|place| inner.get(&place.to_string()).is_some()) {
            *value = Node::List((0..inner.len()).filter_map(|place| inner.remove(&place.to_string())).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(body: &str) -> String {
        read(body.as_bytes(), &Budget::default()).unwrap().to_json().to_string()
    }

    #[test]
    fn names_and_values_are_decoded_once() {
        for (body, held) in [
            ("a=1&b=x+y%2Bz&c", r#"{"a":"1","b":"x y+z","c":""}"#),
            ("a=%C3%A9&%61b=1", r#"{"a":"é","ab":"1"}"#),
            ("a=%2541&&=x", r#"{"a":"%41","":"x"}"#),
            ("id=%zz&x=%00&y=%", r#"{"id":"%zz","x":"\u0000","y":"%"}"#),
            ("a=b=c", r#"{"a":"b=c"}"#),
        ] {
            assert_eq!(tree(body), held, "{body}");
        }
    }

    #[test]
    fn repeated_names_are_lists_and_brackets_nest() {
        for (body, held) in [
            ("a=1&a=2&a=3", r#"{"a":["1","2","3"]}"#),
            ("a[]=1&a[]=2", r#"{"a":["1","2"]}"#),
            (
                "data[merges][FNAME]=Ada&data[email]=x&type=subscribe",
                r#"{"data":{"merges":{"FNAME":"Ada"},"email":"x"},"type":"subscribe"}"#,
            ),
            ("r[0][id]=a&r[1][id]=b&r[1][n]=c", r#"{"r":[{"id":"a"},{"id":"b","n":"c"}]}"#),
            ("r[1]=b&r[0]=a", r#"{"r":["a","b"]}"#),
            ("r[1]=b&r[7]=a", r#"{"r":{"1":"b","7":"a"}}"#),
            ("a[x]=1&a[x]=2", r#"{"a":{"x":["1","2"]}}"#),
            ("a=1&a[b]=2", r#"{"a":"1","a[b]":"2"}"#),
            ("a[b]=2&a=1", r#"{"a":[{"b":"2"},"1"]}"#),
            ("a[b=1&[c]=2&d]=3&a[b]c=4", r#"{"a[b":"1","[c]":"2","d]":"3","a[b]c":"4"}"#),
            ("a[1][2][3][4][5][6][7][8][9]=x", r#"{"a[1][2][3][4][5][6][7][8][9]":"x"}"#),
            ("a%5Bb%5D=1", r#"{"a":{"b":"1"}}"#),
        ] {
            assert_eq!(tree(body), held, "{body}");
        }
    }

    #[test]
    fn row_55_what_is_no_form_or_too_much_of_one_is_refused() {
        for body in [&b""[..], b" \r\n", b"a=\xff", b"a=%ff", b"%c3=1"] {
            assert_eq!(read(body, &Budget::default()).unwrap_err().reason, Reason::Unparseable, "{body:?}");
        }
        let most = "a=1&".repeat(10_000);
        assert!(read(most.as_bytes(), &Budget::default()).is_ok());
        assert_eq!(read(format!("{most}b=1").as_bytes(), &Budget::default()).unwrap_err().reason, Reason::Limits);
        let deep = (0..10_000).map(|n| format!("a{n}[a][b][c][d][e][f][g][h]=1&")).collect::<String>();
        let budget = Budget::default();
        assert!(read(deep.as_bytes(), &budget).is_ok(), "each of them makes nine values");
        assert_eq!(read(deep.as_bytes(), &budget).unwrap_err().reason, Reason::Limits);
    }

    proptest::proptest! {
        #[test]
        fn any_form_is_read_or_refused(body in "[a-c0-2\\[\\]=&%+x]{0,80}") {
            let _ = read(body.as_bytes(), &Budget::default());
        }
    }
}
