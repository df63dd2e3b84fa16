//! JMESPath, compiled once and evaluated on a document that was parsed once.

use std::borrow::Cow;
use std::collections::BTreeSet;

use jmespath::Context;
use jmespath::ast::Ast;

use super::document::Document;
use super::evaluate::{Stopped, Term};
use super::functions::{self, Ours, RUNTIME};
use super::node::Node;

/// Longest expression that is accepted, in bytes: the parser recurses, and no mapping needs more.
const EXPRESSION_BYTES_MAX: usize = 2_000;

/// One step of a plain path.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub(crate) struct Expression {
    text: String,
    ast: Ast,
    /// The steps, where the expression is nothing but names and indexes: the common case, walked without the
    /// interpreter, and the only case in which "absent" and "null" can be told apart.
    path: Option<Vec<Step>>,
    /// Where it is made of what we evaluate ourselves.
    term: Option<Term>,
}

/// What a plain path leads to.
pub(crate) enum Found<'a> {
    /// Nothing: some name on the way is not there.
    Absent,
    /// JSON null or any other value.
    Value(&'a Node<'a>),
}

impl Expression {
    /// Compiles, and finds what would fail only when it is evaluated: functions that do not exist.
    ///
    /// # Errors
    ///
    /// What is wrong with it and where, as a phrase.
    pub(crate) fn compile(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("is empty".to_owned());
        }
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(format!("is {} bytes long; at most {EXPRESSION_BYTES_MAX} are accepted", text.len()));
        }
        if nesting(text) > 64 {
            return Err("is nested deeper than 64 levels".to_owned());
        }
        let ast = jmespath::parse(text).map_err(|error| {
            let reason = error.reason.to_string();
            format!("is not JMESPath: {} (column {})", reason.trim().trim_end_matches('.'), error.column + 1)
        })?;
        let mut wrong = None;
        visit(&ast, &mut |node| {
            if let Ast::Function { name, args, .. } = node
                && wrong.is_none()
            {
                wrong = wrong_call(name, args);
            }
        });
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        let mut steps = Vec::new();
        let path = plain(&ast, &mut steps).then_some(steps);
        let term = Term::compile(&ast);
        Ok(Self { text: text.to_owned(), ast, path, term })
    }

    /// The text it was compiled from.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is nothing but names and indexes.
    pub(crate) fn is_path(&self) -> bool {
        self.path.is_some()
    }

    /// Evaluates on a document.
    ///
    /// # Errors
    ///
    /// A function was given a type that it does not take. The sentence names the expression and no value.
    pub(crate) fn evaluate<'a>(&'a self, document: &'a Document<'a>) -> Result<Cow<'a, Node<'a>>, String> {
        match self.term.as_ref().map(|term| term.evaluate(&document.root)) {
            Some(Ok(value)) => return Ok(value),
            Some(Err(Stopped::Failed)) => return Err(self.failed()),
            Some(Err(Stopped::Unsuited)) | None => {}
        }
        let mut context = Context::new(&self.text, &RUNTIME);
        let value = jmespath::interpret(document.library(), &self.ast, &mut context).map_err(|_| self.failed())?;
        Ok(Cow::Owned(Node::from_library(&value)))
    }

    /// Evaluates on a part of a document.
    ///
    /// # Errors
    ///
    /// As [`Expression::evaluate`].
    pub(crate) fn evaluate_on<'d, 'a>(&'d self, part: &'d Node<'a>) -> Result<Cow<'d, Node<'a>>, String> {
        match self.term.as_ref().map(|term| term.evaluate(part)) {
            Some(Ok(value)) => return Ok(value),
            Some(Err(Stopped::Failed)) => return Err(self.failed()),
            Some(Err(Stopped::Unsuited)) | None => {}
        }
        let mut context = Context::new(&self.text, &RUNTIME);
        let value = jmespath::interpret(&part.to_library(), &self.ast, &mut context).map_err(|_| self.failed())?;
        Ok(Cow::Owned(Node::from_library(&value)))
    }

    fn failed(&self) -> String {
        format!("`{}` cannot be evaluated on this payload: a function was given a type that it does not take", self.text)
    }

    /// Walks a plain path; `None` if this is not one.
    pub(crate) fn find<'a>(&self, document: &'a Document<'a>) -> Option<Found<'a>> {
        let mut at = &document.root;
        for step in self.path.as_ref()? {
            let next = match step {
                Step::Key(name) => at.member(name),
                Step::Index(index) => at.entries().and_then(|entries| entries.get(*index)),
            };
            let Some(next) = next else { return Some(Found::Absent) };
            at = next;
        }
        Some(Found::Value(at))
    }

    /// Adds the names of all members that it reads; `false` if it may read any (`*`, `values`, `to_string`, …).
    pub(crate) fn read_names(&self, names: &mut BTreeSet<String>) -> bool {
        let mut bounded = true;
        visit(&self.ast, &mut |node| match node {
            Ast::Field { name, .. } => {
                names.insert(name.clone());
            }
            Ast::ObjectValues { .. } => bounded = false,
            Ast::Function { name, .. } if matches!(name.as_str(), "keys" | "values" | "merge" | "to_array") => bounded = false,
            Ast::Function { name, .. } if Ours::of(name).is_some_and(Ours::reads_any_name) => bounded = false,
            Ast::Comparison { .. }
            | Ast::Condition { .. }
            | Ast::Identity { .. }
            | Ast::Expref { .. }
            | Ast::Flatten { .. }
            | Ast::Function { .. }
            | Ast::Index { .. }
            | Ast::Literal { .. }
            | Ast::MultiList { .. }
            | Ast::MultiHash { .. }
            | Ast::Not { .. }
            | Ast::Projection { .. }
            | Ast::And { .. }
            | Ast::Or { .. }
            | Ast::Slice { .. }
            | Ast::Subexpr { .. } => {}
        });
        bounded
    }
}

/// What is wrong with a call, as far as can be told before there is a payload.
fn wrong_call(name: &str, args: &[Ast]) -> Option<String> {
    if RUNTIME.get_function(name).is_none() {
        return Some(format!("calls `{name}`, which is neither a function of JMESPath nor one of ours ({})", functions::listed()));
    }
    let ours = Ours::of(name)?;
    if let Err(written) = ours.takes(args.len()) {
        return Some(format!("calls `{name}` with {} argument(s); it is written `{written}`", args.len()));
    }
    match (ours, args) {
        (Ours::RegexFind, [_, Ast::Literal { value, .. }]) if value.as_string().is_none_or(|text| functions::pattern(text).is_err()) => {
            Some("calls `regex_find` with a pattern that is none, or is too large".to_owned())
        }
        _ => None,
    }
}

/// How deep brackets are nested, quotes not counted: a bound before a parser that recurses.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' | b'!' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn plain(ast: &Ast, steps: &mut Vec<Step>) -> bool {
    match ast {
        Ast::Field { name, .. } => steps.push(Step::Key(name.clone())),
        Ast::Index { idx, .. } => match usize::try_from(*idx) {
            Ok(index) => steps.push(Step::Index(index)),
            Err(_) => return false,
        },
        Ast::Subexpr { lhs, rhs, .. } => return plain(lhs, steps) && plain(rhs, steps),
        Ast::Comparison { .. }
        | Ast::Condition { .. }
        | Ast::Identity { .. }
        | Ast::Expref { .. }
        | Ast::Flatten { .. }
        | Ast::Function { .. }
        | Ast::Literal { .. }
        | Ast::MultiList { .. }
        | Ast::MultiHash { .. }
        | Ast::Not { .. }
        | Ast::Projection { .. }
        | Ast::ObjectValues { .. }
        | Ast::And { .. }
        | Ast::Or { .. }
        | Ast::Slice { .. } => return false,
    }
    true
}

fn visit(ast: &Ast, see: &mut impl FnMut(&Ast)) {
    see(ast);
    match ast {
        Ast::Comparison { lhs, rhs, .. }
        | Ast::Projection { lhs, rhs, .. }
        | Ast::And { lhs, rhs, .. }
        | Ast::Or { lhs, rhs, .. }
        | Ast::Subexpr { lhs, rhs, .. } => {
            visit(lhs, see);
            visit(rhs, see);
        }
        Ast::Condition { predicate, then, .. } => {
            visit(predicate, see);
            visit(then, see);
        }
        Ast::Expref { ast: node, .. } | Ast::Flatten { node, .. } | Ast::Not { node, .. } | Ast::ObjectValues { node, .. } => {
            visit(node, see)
        }
        Ast::Function { args: nodes, .. } | Ast::MultiList { elements: nodes, .. } => nodes.iter().for_each(|node| visit(node, see)),
        Ast::MultiHash { elements, .. } => elements.iter().for_each(|pair| visit(&pair.value, see)),
        Ast::Identity { .. } | Ast::Field { .. } | Ast::Index { .. } | Ast::Literal { .. } | Ast::Slice { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use jmespath::Rcvar;

    use super::*;
    use crate::mapping::document;

    fn evaluate(expression: &str, body: &str) -> Rcvar {
        let (expression, document) = (Expression::compile(expression).unwrap(), document::parse(body.as_bytes()).unwrap());
        expression.evaluate(&document).unwrap().to_library()
    }

    #[test]
    fn mistakes_are_found_before_the_first_event() {
        for (expression, said) in [
            ("", "is empty"),
            ("a.", "is not JMESPath"),
            ("a['b", "is not JMESPath"),
            ("title(a)", "calls `title`"),
            ("a || last(b)", "calls `last`"),
        ] {
            let error = Expression::compile(expression).unwrap_err();
            assert!(error.contains(said), "{expression}: {error}");
        }
        assert!(Expression::compile(&"a".repeat(2_001)).is_err());
        assert!(Expression::compile(&format!("{}a{}", "(".repeat(900), ")".repeat(900))).is_err());
    }

    #[test]
    fn paths_and_expressions_read_the_same_document() {
        let body = r#"{"a":{"b":[{"c":"x"},{"c":"y"}]},"N":"Ada Example"}"#;
        assert_eq!(evaluate("a.b[1].c", body).as_string().unwrap(), "y");
        assert_eq!(evaluate("a.b[?c=='x'].c | [0]", body).as_string().unwrap(), "x");
        assert_eq!(evaluate("lower(N)", body).as_string().unwrap(), "ada example");
        assert_eq!(evaluate("split(N, ' ')[1]", body).as_string().unwrap(), "Example");
        assert!(evaluate("a.z.y", body).is_null());
    }

    #[test]
    fn absent_and_null_are_told_apart_on_plain_paths() {
        let document = document::parse(br#"{"a":null}"#).unwrap();
        assert!(matches!(Expression::compile("a").unwrap().find(&document), Some(Found::Value(_))));
        assert!(matches!(Expression::compile("b").unwrap().find(&document), Some(Found::Absent)));
        assert!(Expression::compile("a || b").unwrap().find(&document).is_none());
    }
}
