//! What kinds of value a mapping gives to canonical names: for comparing them with what a CRM's fields take.

use std::collections::{BTreeMap, BTreeSet};

use super::compile::{Field, Rule};
use super::normalize::Normalizer;
use crate::source::Source;

/// A kind of value, as the mapping writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Yielded {
    /// A text.
    Text,
    /// A number.
    Number,
    /// A decimal text: `12.50`.
    Decimal,
    /// `true` or `false`.
    Boolean,
    /// A day: `2026-11-22`.
    Date,
    /// A moment in RFC 3339.
    Moment,
    /// A list of texts.
    List,
    /// Whatever the sender sends.
    Anything,
}

/// What a canonical name is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Yields {
    /// The kinds of value.
    pub kinds: BTreeSet<Yielded>,
    /// The most characters of a text that the mapping lets through, where it says so for each rule.
    pub longest: Option<usize>,
}

impl Source {
    /// By attribute, over all rules of the source.
    pub fn yields(&self) -> BTreeMap<String, Yields> {
        let mut all: BTreeMap<String, Yields> = BTreeMap::new();
        let events = self.mapping.rules.iter().flat_map(|rule| match rule {
            Rule::Event(rule) => rule.fields.as_slice(),
            Rule::Ignore(_) => &[],
        });
        let fetched = self.mapping.fetched.values().flat_map(|fetched| fetched.rule.fields.as_slice());
        for (field, compiled) in events.chain(fetched) {
            let names: &[&str] = match field {
                Field::Attribute(name) => &[name.as_str()],
                Field::FullName => &["first_name", "last_name"],
                Field::ExternalId | Field::Email | Field::Phone | Field::Domain | Field::Of(..) => &[],
            };
            for name in names {
                let first = !all.contains_key(*name);
                let yields = all.entry((*name).to_owned()).or_default();
                yields.kinds.insert(yielded(&compiled.how));
                // One rule without a bound leaves all of them without.
                yields.longest = match (first, yields.longest, compiled.truncate) {
                    (true, _, longest) => longest,
                    (false, Some(held), Some(longest)) => Some(held.max(longest)),
                    (false, None, _) | (false, _, None) => None,
                };
            }
        }
        all
    }
}

fn yielded(how: &Normalizer) -> Yielded {
    match how {
        Normalizer::Keep => Yielded::Anything,
        Normalizer::Number => Yielded::Number,
        Normalizer::Money(_) => Yielded::Decimal,
        Normalizer::Boolean => Yielded::Boolean,
        Normalizer::Datetime(_) => Yielded::Moment,
        Normalizer::Date => Yielded::Date,
        Normalizer::List(_) => Yielded::List,
        Normalizer::Text
        | Normalizer::Lower
        | Normalizer::Email
        | Normalizer::Phone(_)
        | Normalizer::Domain
        | Normalizer::FullName
        | Normalizer::Country
        | Normalizer::Enum(_)
        | Normalizer::HtmlToText
        | Normalizer::Raw
        | Normalizer::Id => Yielded::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceDef;

    #[test]
    fn each_normalizer_gives_its_kind_of_value_and_the_loosest_rule_counts() {
        let def: SourceDef = toml::from_str(
            r#"
            signature = { algorithm = "hmac-sha256", header = "x-signature", encoding = "hex", signed = "{body}" }
            [[events]]
            on = ["a"]
            type = "lead.created"
            id = "id"
            fields = { email = "email", size = { from = "size", as = "number" }, title = { from = "title", as = "text", truncate = 40 }, amount = { from = "amount", as = "money" }, name = { from = "name", as = "text", truncate = 10 } }
            [[events]]
            on = ["b"]
            type = "lead.updated"
            id = "id"
            fields = { size = "size", born = { from = "born", as = "date" }, title = { from = "title", as = "text", truncate = 60 }, name = { from = "name", as = "text" } }
            "#,
        )
        .unwrap();
        let yields = Source::compile("shop", &def).unwrap().yields();
        let kinds = |name: &str| yields[name].kinds.iter().copied().collect::<Vec<_>>();
        assert_eq!(kinds("size"), [Yielded::Number, Yielded::Anything]);
        assert_eq!((kinds("amount"), kinds("born")), (vec![Yielded::Decimal], vec![Yielded::Date]));
        assert_eq!((yields["title"].longest, yields["name"].longest), (Some(60), None));
        assert!(!yields.contains_key("email"), "identities have their own kinds");
    }
}
