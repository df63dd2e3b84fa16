//! Paths of names and lists: `entry[].changes[]`.

use std::fmt;

/// Most steps of a path. What is around a batch's entry is as deep.
const STEPS_MAX: usize = 16;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// To a member.
    Name(String),
    /// To each entry.
    Each,
}

/// A path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    text: String,
    steps: Vec<Step>,
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as a phrase.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let mut steps = Vec::new();
        for part in text.split('.') {
            let name = part.trim_end_matches("[]");
            let lists = (part.len() - name.len()) / 2;
            if name.contains(['[', ']', '"', '*', '|', '(', ' ']) || name.is_empty() && (lists == 0 || !steps.is_empty()) {
                return Err(format!("`{text}` is not a path of names and `[]`"));
            }
            if !name.is_empty() {
                steps.push(Step::Name(name.to_owned()));
            }
            steps.extend((0..lists).map(|_| Step::Each));
        }
        if steps.len() > STEPS_MAX {
            return Err(format!("has {} steps; at most {STEPS_MAX} are accepted", steps.len()));
        }
        Ok(Self { text: text.to_owned(), steps })
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether it begins with the body itself as a list.
    pub(crate) fn is_of_body(&self) -> bool {
        matches!(self.steps.first(), Some(Step::Each))
    }

    /// The names on it.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.steps.iter().filter_map(|step| match step {
            Step::Name(name) => Some(name),
            Step::Each => None,
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_names_and_lists() {
        let name = |text: &str| Step::Name(text.to_owned());
        for (text, steps) in [
            ("[]", vec![Step::Each]),
            ("entry[].changes[]", vec![name("entry"), Step::Each, name("changes"), Step::Each]),
            ("notificationItems[].NotificationRequestItem", vec![name("notificationItems"), Step::Each, name("NotificationRequestItem")]),
            ("[][]", vec![Step::Each, Step::Each]),
            ("event-data", vec![name("event-data")]),
        ] {
            assert_eq!(Path::parse(text).unwrap().steps(), steps, "{text}");
        }
        for text in
            ["", ".", "a.", "a..b", "a[0]", "a[*]", "a[].[]", "a b", "\"a\"", "a | b", &"a.".repeat(16), &format!("a{}", "[]".repeat(16))]
        {
            assert!(Path::parse(text).is_err(), "{text}");
        }
    }
}
