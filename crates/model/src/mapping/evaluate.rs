//! Evaluation of what mappings are made of, on the tree that a body was read into.
//!
//! Names, indexes, literals, `||`, `&&`, `!`, comparisons, filters, lists, our own functions and functions of scalars: with these little is
//! copied and the library's tree is never built. Slices, `&expressions`, and every function of JMESPath that is given an object or a long
//! list, are the library's: it evaluates the whole expression on its own tree. Both must mean the same, and a test compares them on
//! generated documents and expressions.

use std::borrow::Cow;

use jmespath::ast::{Ast, Comparator};
use jmespath::{Context, Variable};
use regex::Regex;

use super::functions::{self, Failed, Ours, RUNTIME};
use super::node::{Members, Node};

/// An expression that can be evaluated without the library.
#[derive(Clone, Debug)]
pub(crate) enum Term {
    Here,
    Literal(Node<'static>),
    Name(String),
    /// From the end where it is negative: -1 is the last.
    Index(i32),
    Then(Box<Term>, Box<Term>),
    Or(Box<Term>, Box<Term>),
    And(Box<Term>, Box<Term>),
    Not(Box<Term>),
    Compare(Comparator, Box<Term>, Box<Term>),
    /// The second where the first is true, else null.
    If(Box<Term>, Box<Term>),
    /// The second for each entry of the first, without nulls.
    Each(Box<Term>, Box<Term>),
    /// The entries' entries, where they are lists.
    Flat(Box<Term>),
    /// The values of an object, in the order of their names.
    Values(Box<Term>),
    Several(Vec<Term>),
    Made(Vec<(String, Term)>),
    /// The library's own.
    Call(String, Vec<Term>),
    /// Ours, which read whole forms and so must not be given copies.
    Ours(Ours, Vec<Term>),
    /// `regex_find` with a pattern that was compiled once.
    Find(Box<Term>, Regex),
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// A function was given a type that it does not take.
    Failed,
    /// Only the library can tell.
    Unsuited,
}

type Evaluated<'d, 'a> = Result<Cow<'d, Node<'a>>, Stopped>;

impl Term {
    /// `None` if it holds anything that only the library evaluates.
    pub(crate) fn compile(ast: &Ast) -> Option<Self> {
        let of = |ast: &Ast| Self::compile(ast).map(Box::new);
        Some(match ast {
            Ast::Identity { .. } => Self::Here,
            Ast::Literal { value, .. } => Self::Literal(Node::from_library(value)),
            Ast::Field { name, .. } => Self::Name(name.clone()),
            Ast::Index { idx, .. } => Self::Index(*idx),
            Ast::Subexpr { lhs, rhs, .. } => Self::Then(of(lhs)?, of(rhs)?),
            Ast::Or { lhs, rhs, .. } => Self::Or(of(lhs)?, of(rhs)?),
            Ast::And { lhs, rhs, .. } => Self::And(of(lhs)?, of(rhs)?),
            Ast::Not { node, .. } => Self::Not(of(node)?),
            Ast::Comparison { comparator, lhs, rhs, .. } => Self::Compare(comparator.clone(), of(lhs)?, of(rhs)?),
            Ast::Condition { predicate, then, .. } => Self::If(of(predicate)?, of(then)?),
            Ast::Projection { lhs, rhs, .. } => Self::Each(of(lhs)?, of(rhs)?),
            Ast::Function { name, args, .. } => {
                let terms = args.iter().map(Self::compile).collect::<Option<Vec<_>>>()?;
                match (Ours::of(name), args.as_slice()) {
                    (Some(Ours::RegexFind), [text, Ast::Literal { value, .. }]) => {
                        Self::Find(of(text)?, functions::pattern(value.as_string()?).ok()?)
                    }
                    (Some(ours), _) => Self::Ours(ours, terms),
                    (None, _) => Self::Call(name.clone(), terms),
                }
            }
            Ast::Flatten { node, .. } => Self::Flat(of(node)?),
            Ast::ObjectValues { node, .. } => Self::Values(of(node)?),
            Ast::MultiList { elements, .. } => Self::Several(elements.iter().map(Self::compile).collect::<Option<_>>()?),
            Ast::MultiHash { elements, .. } => {
                let made = elements.iter().map(|pair| Some((pair.key.clone(), Self::compile(&pair.value)?)));
                Self::Made(made.collect::<Option<_>>()?)
            }
            Ast::Expref { .. } | Ast::Slice { .. } => return None,
        })
    }

    /// Evaluates on a value.
    ///
    /// # Errors
    ///
    /// [`Stopped`].
    pub(crate) fn evaluate<'d, 'a>(&'d self, on: &'d Node<'a>) -> Evaluated<'d, 'a> {
        let null = Cow::Owned(Node::Null);
        Ok(match self {
            Self::Here => Cow::Borrowed(on),
            Self::Literal(value) => Cow::Borrowed(value),
            Self::Name(name) => on.member(name).map_or(null, Cow::Borrowed),
            Self::Index(index) => on.entries().and_then(|entries| at(entries, *index)).map_or(null, Cow::Borrowed),
            Self::Then(first, next) => match first.evaluate(on)? {
                Cow::Borrowed(value) => next.evaluate(value)?,
                Cow::Owned(value) => Cow::Owned(next.evaluate(&value)?.into_owned()),
            },
            Self::Or(first, other) => match first.evaluate(on)? {
                value if value.is_truthy() => value,
                _ => other.evaluate(on)?,
            },
            Self::And(first, other) => match first.evaluate(on)? {
                value if value.is_truthy() => other.evaluate(on)?,
                value => value,
            },
            Self::Not(term) => Cow::Owned(Node::Bool(!term.evaluate(on)?.is_truthy())),
            Self::Compare(comparator, one, other) => {
                let (one, other) = (one.evaluate(on)?, other.evaluate(on)?);
                Cow::Owned(compare(comparator, &one, &other).map_or(Node::Null, Node::Bool))
            }
            Self::If(condition, then) => {
                if condition.evaluate(on)?.is_truthy() {
                    then.evaluate(on)?
                } else {
                    null
                }
            }
            Self::Each(list, term) => match &*list.evaluate(on)? {
                Node::List(entries) => Cow::Owned(each(entries, term)?),
                Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Object(_) | Node::Reference => null,
            },
            Self::Flat(list) => match list.evaluate(on)?.into_owned() {
                Node::List(entries) => Cow::Owned(flat(entries)),
                Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Object(_) | Node::Reference => null,
            },
            Self::Values(object) => match &*object.evaluate(on)? {
                Node::Object(members) => Cow::Owned(values(members)),
                Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::List(_) | Node::Reference => null,
            },
            Self::Several(_) | Self::Made(_) if on.is_null() => null,
            Self::Several(terms) => {
                let values = terms.iter().map(|term| term.evaluate(on).map(Cow::into_owned));
                Cow::Owned(Node::List(values.collect::<Result<_, _>>()?))
            }
            Self::Made(terms) => {
                let mut members = Members::new();
                for (name, term) in terms {
                    members.insert(Cow::Owned(name.clone()), term.evaluate(on)?.into_owned());
                }
                Cow::Owned(Node::Object(members))
            }
            Self::Call(name, args) => Cow::Owned(call(name, args, on)?),
            Self::Ours(ours, args) => {
                let args = args.iter().map(|arg| arg.evaluate(on)).collect::<Result<Vec<_>, _>>()?;
                Cow::Owned(ours.call(&args).map_err(|Failed| Stopped::Failed)?)
            }
            Self::Find(text, pattern) => Cow::Owned(functions::find(pattern, &*text.evaluate(on)?).map_err(|Failed| Stopped::Failed)?),
        })
    }
}

fn at<'d, 'a>(entries: &'d [Node<'a>], index: i32) -> Option<&'d Node<'a>> {
    let distance = usize::try_from(index.unsigned_abs()).ok()?;
    let place = if index < 0 { entries.len().checked_sub(distance)? } else { distance };
    entries.get(place)
}

fn each<'a>(entries: &[Node<'a>], term: &Term) -> Result<Node<'a>, Stopped> {
    let mut found = Vec::new();
    for entry in entries {
        let value = term.evaluate(entry)?;
        if !value.is_null() {
            found.push(value.into_owned());
        }
    }
    Ok(Node::List(found))
}

/// `None` for two values that have no order.
fn compare(comparator: &Comparator, one: &Node<'_>, other: &Node<'_>) -> Option<bool> {
    match (comparator, one, other) {
        (Comparator::Equal, ..) => Some(one.same(other)),
        (Comparator::NotEqual, ..) => Some(!one.same(other)),
        (_, Node::Number(one), Node::Number(other)) => Variable::Number(one.clone()).compare(comparator, &Variable::Number(other.clone())),
        _ => None,
    }
}

/// The library's own function. An object or a long list would have to be copied for it, each time anew.
fn call(name: &str, args: &[Term], on: &Node<'_>) -> Result<Node<'static>, Stopped> {
    let mut given = Vec::with_capacity(args.len());
    for arg in args {
        let value = arg.evaluate(on)?;
        if !value.is_small() {
            return Err(Stopped::Unsuited);
        }
        given.push(value.to_library());
    }
    let function = RUNTIME.get_function(name).ok_or(Stopped::Unsuited)?;
    let value = function.evaluate(&given, &mut Context::new(name, &RUNTIME)).map_err(|_| Stopped::Failed)?;
    Ok(Node::from_library(&value))
}

fn flat(entries: Vec<Node<'_>>) -> Node<'_> {
    let mut flat = Vec::with_capacity(entries.len());
    for entry in entries {
        match entry {
            Node::List(entries) => flat.extend(entries),
            other @ (Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Object(_) | Node::Reference) => flat.push(other),
        }
    }
    Node::List(flat)
}

fn values<'a>(members: &Members<'a>) -> Node<'a> {
    let mut members: Vec<_> = members.iter().collect();
    members.sort_by_key(|(name, _)| *name);
    Node::List(members.into_iter().map(|(_, value)| value.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::document;

    struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap() % bound
        }

        fn one_of<'t>(&mut self, words: &[&'t str]) -> &'t str {
            words[self.below(words.len())]
        }

        fn name(&mut self) -> &'static str {
            self.one_of(&["a", "b", "c", "items", "type", "answers", "field", "id", "ref", "\"\"", "\"a.b\"", "\"k\u{e9}\"", "missing"])
        }

        fn value(&mut self, depth: usize) -> String {
            let scalars = [
                "null",
                "true",
                "false",
                "0",
                "-0.0",
                "1",
                "1.0",
                "2",
                "0.1",
                "0.30000000000000004",
                "18446744073709551616",
                "\"\"",
                "\"x\"",
                "\"email\"",
                "\"k\\u00e9\"",
                "\"\\u0000\"",
                "[]",
                "{}",
            ];
            match self.below(5) {
                0 | 1 if depth > 0 => self.object(depth),
                2 if depth > 0 => {
                    let entries: Vec<_> = (0..self.below(5)).map(|_| self.value(depth - 1)).collect();
                    format!("[{}]", entries.join(","))
                }
                _ => self.one_of(&scalars).to_owned(),
            }
        }

        fn object(&mut self, depth: usize) -> String {
            let count = if self.below(30) == 0 { 40 } else { self.below(8) };
            let member = |dice: &mut Self, at: usize| {
                let name = dice.name().trim_matches('"').to_owned();
                format!("\"{}\":{}", if at < 8 { name } else { format!("n{at}") }, dice.value(depth - 1))
            };
            let members: Vec<_> = (0..count).map(|at| member(self, at)).collect();
            format!("{{{}}}", members.join(","))
        }

        fn expression(&mut self, depth: usize) -> String {
            if depth == 0 {
                let literal = self.one_of(&["'x'", "'email'", "''", "`1`", "`null`", "`0.3`", "`[1,\"x\"]`", "`{\"a\":1}`", "@"]);
                return if self.below(4) == 0 { literal.to_owned() } else { self.name().to_owned() };
            }
            let (one, name) = (self.expression(depth - 1), self.name());
            match self.below(23) {
                0..=3 => format!("{one}.{name}"),
                4 => format!("{name}[{}]", self.below(7).cast_signed() - 3),
                5 => format!("({one})[{}]", self.below(5).cast_signed() - 2),
                6 => format!("{one} || {}", self.expression(depth - 1)),
                7 => format!("{one} && {}", self.expression(depth - 1)),
                8 => format!("!{one}"),
                9 => format!("({one}) {} ({})", self.one_of(&["==", "!=", "<", "<=", ">", ">="]), self.expression(depth - 1)),
                10 | 11 => format!("{name}[?{one} == {}].{}", self.expression(depth - 1), self.name()),
                12 => format!("{name}[*].{one} | [0]"),
                13 => format!("{one} | {}", self.expression(depth - 1)),
                14 => {
                    let names = [
                        "to_string",
                        "length",
                        "lower",
                        "type",
                        "not_null",
                        "keys",
                        "to_array",
                        "first",
                        "trim",
                        "coalesce",
                        "key",
                        "from_json",
                        "entries",
                        "answers",
                        "upper",
                    ];
                    format!("{}({one})", self.one_of(&names))
                }
                15 => {
                    let names = ["starts_with", "contains", "answer", "split", "named", "regex_find", "query_param", "key", "coalesce"];
                    format!("{}({one}, {})", self.one_of(&names), self.one_of(&["'x'", "'a b'", "type", "id"]))
                }
                16 => format!("[{one}, {name}, {}]", self.expression(depth - 1)),
                17 => format!("({one})[].{name}"),
                18 => format!("{{x: {one}, y: {name}}}"),
                19 => format!("join_nonempty('-', {one})"),
                20 => format!("labelled({one}, 'a', 'b', 'x', 'email')"),
                21 => format!("join('-', [{one}, to_string({name})])"),
                _ => self
                    .one_of(&["items[].a", "*.a", "items[1:]", "sort_by(items, &to_string(a))", "&a", "a.*", "replace(a, 'x', 'y')"])
                    .to_owned(),
            }
        }
    }

    #[test]
    fn what_we_evaluate_means_what_the_library_says() {
        let (mut dice, mut ours, mut theirs, mut failed) = (Dice(3), 0, 0, 0);
        for round in 0..20_000 {
            let (text, body) = (dice.expression(1 + round % 4), dice.object(3));
            let (Ok(ast), Ok(document)) = (jmespath::parse(&text), document::parse(body.as_bytes())) else { continue };
            let Some(term) = Term::compile(&ast) else {
                theirs += 1;
                continue;
            };
            let expected = jmespath::interpret(document.library(), &ast, &mut Context::new(&text, &RUNTIME));
            match (term.evaluate(&document.root), expected) {
                // Only what is not null and not empty tells much.
                (Ok(value), Ok(expected)) => {
                    ours += usize::from(value.is_truthy());
                    assert_eq!(value.to_library().to_string(), expected.to_string(), "{text} on {body}");
                    assert_eq!(value.is_truthy(), expected.is_truthy(), "{text} on {body}");
                }
                (Err(Stopped::Failed), Err(_)) => failed += 1,
                (Err(Stopped::Unsuited), _) => theirs += 1,
                (value, expected) => panic!("{text} on {body}: {value:?}, and the library says {expected:?}"),
            }
        }
        assert!(ours > 1_000 && theirs > 1_000 && failed > 1_000, "{ours} ours, {theirs} left to the library, {failed} failed");
    }

    #[test]
    fn what_the_library_holds_comes_back_as_it_was() {
        let mut dice = Dice(5);
        for _ in 0..500 {
            let body = dice.object(4);
            let document = document::parse(body.as_bytes()).unwrap();
            let back = Node::from_library(document.library());
            assert!(back.same(&document.root) && document.root.clone().detached().same(&back), "{body}");
        }
    }
}
