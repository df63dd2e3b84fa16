//! What is wrong with a configuration, said so that it can be mended without asking.

use std::fmt;

use serde::Serialize;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Line and column of the file, both from 1.
    File {
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// An environment variable that overrides the file.
    Variable(String),
    /// Nowhere: it is missing, and so is what should hold it.
    Nowhere,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, or the environment variable, that holds it.
    pub file: String,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// `sources.typeform.secrets[0]`; empty for the file as a whole.
    pub key: String,
    /// What is there.
    pub found: String,
    /// What should be; empty where `found` says it all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expected: String,
    /// What to do.
    pub remedy: String,
}

/// What was found, what was expected and what to do; [`Problems`] adds where.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What is there. Never a secret.
    pub found: String,
    /// What should be.
    pub expected: String,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    /// A finding of three sentences.
    pub fn new(found: impl Into<String>, expected: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { found: found.into(), expected: expected.into(), remedy: remedy.into() }
    }
}

/// Every mistake that was found so far.
#[derive(Debug)]
pub struct Problems {
    file: String,
    all: Vec<Problem>,
}

impl Problems {
    /// None yet, in this file.
    pub fn new(file: impl Into<String>) -> Self {
        Self { file: file.into(), all: Vec::new() }
    }

    /// Notes one.
    pub fn add(&mut self, place: &Place, key: impl Into<String>, finding: Finding) {
        let (file, line, column) = match place {
            Place::File { line, column } => (self.file.clone(), Some(*line), Some(*column)),
            Place::Variable(name) => (format!("environment variable {name}"), None, None),
            Place::Nowhere => (self.file.clone(), None, None),
        };
        let Finding { found, expected, remedy } = finding;
        let problem = Problem { file, line, column, key: key.into(), found, expected, remedy };
        if !self.all.contains(&problem) {
            self.all.push(problem);
        }
    }

    /// How many so far.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether nothing was wrong.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// In the order of the file; what has no line comes last.
    pub fn into_sorted(mut self) -> Vec<Problem> {
        self.all.sort_by_key(|problem| (problem.line.unwrap_or(usize::MAX), problem.column, problem.key.clone()));
        self.all
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, "  {}", self.key)?;
        }
        write!(f, "\n  found:    {}", self.found)?;
        if !self.expected.is_empty() {
            write!(f, "\n  expected: {}", self.expected)?;
        }
        write!(f, "\n  remedy:   {}", self.remedy)
    }
}

/// The candidate that a person most likely meant, if one is close.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    let close = |candidate: &str| distance(&word, &candidate.to_lowercase().replace('-', "_"));
    let bound = (word.chars().count() / 3).clamp(1, 3);
    candidates.into_iter().map(|candidate| (close(candidate), candidate)).filter(|(far, _)| *far <= bound).min().map(|(_, found)| found)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// `a`, `b` and `c`, for sentences.
pub fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        None => "none".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_is_recognised_and_a_different_word_is_not() {
        let known = ["preset", "secrets", "trust", "signature"];
        assert_eq!(closest("presett", known), Some("preset"));
        assert_eq!(closest("secrtes", known), Some("secrets"));
        assert_eq!(closest("Trust", known), Some("trust"));
        assert_eq!(closest("password", known), None);
    }
}
