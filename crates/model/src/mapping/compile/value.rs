//! One value of a mapping: where it is, and what is to be made of it.

use serde_json::Value;

use super::{Compiled, Place, Work};
use crate::mapping::node::Node;
use crate::mapping::normalize::{Money, Normalizer, Written};
use crate::source::ValueDef;

/// Most values of one `enum`.
const VALUES_MAX: usize = 1_000;

impl Work<'_> {
    /// Compiles a value. `plain` is what is made of it where it has no `as`.
    pub(in crate::mapping) fn value(&mut self, key: &str, name: &str, def: &ValueDef, plain: Normalizer) -> Option<Compiled> {
        let (place, shown) = self.place(key, def)?;
        let how = self.normalizer(key, def, plain)?;
        self.check_options(key, def, &how, &place);
        if def.unsigned && name != "id" {
            self.problem(
                format!("{key}.unsigned"),
                "is only for an event's id",
                "Remove `unsigned`: other values are taken from anywhere.",
            );
        }
        let minor = def.minor.as_deref().and_then(|text| self.expression(&format!("{key}.minor"), text));
        Some(Compiled {
            label: format!("`{name}` ({shown})"),
            shown,
            place,
            how,
            minor,
            unsigned: def.unsigned,
            required: def.required,
            clear: def.clear,
            default: def.default.clone(),
            truncate: def.truncate.map(|characters| usize::try_from(characters).unwrap_or(usize::MAX)),
        })
    }

    fn place(&mut self, key: &str, def: &ValueDef) -> Option<(Place, String)> {
        match (&def.from, &def.header, &def.query, &def.constant) {
            (Some(text), None, None, None) => {
                let expression = self.expression(key, text)?;
                Some((Place::Expression(expression), format!("from `{text}`")))
            }
            (None, Some(name), None, None) => Some((Place::Header(name.to_ascii_lowercase()), format!("header `{name}`"))),
            (None, None, Some(name), None) => Some((Place::Query(name.clone()), format!("query parameter `{name}`"))),
            (None, None, None, Some(value)) => match constant(value) {
                Some(value) => Some((Place::Constant(value), "const".to_owned())),
                None => {
                    self.problem(format!("{key}.const"), "is not a text, a number or a boolean", "Write a single value.");
                    None
                }
            },
            _ => {
                self.problem(
                    key,
                    "does not have exactly one of `from`, `header`, `query` and `const`",
                    "Say in one way where the value is.",
                );
                None
            }
        }
    }

    fn normalizer(&mut self, key: &str, def: &ValueDef, plain: Normalizer) -> Option<Normalizer> {
        let how = match def.normalizer.as_deref() {
            None => plain,
            Some("text") => Normalizer::Text,
            Some("lower") => Normalizer::Lower,
            Some("email") => Normalizer::Email,
            Some("phone") => Normalizer::Phone(self.check_region(&format!("{key}.region"), def.region.as_deref().or(self.region))),
            Some("domain") => Normalizer::Domain,
            Some("number") => Normalizer::Number,
            Some("money") if def.minor.is_some() => Normalizer::Money(Money::Minor),
            Some("money") => Normalizer::Money(Money::Decimal(self.decimal(key, def.decimal.as_deref()))),
            Some("boolean") => Normalizer::Boolean,
            Some("datetime") => Normalizer::Datetime(self.written(key, def)),
            Some("date") => Normalizer::Date,
            Some("country") => Normalizer::Country,
            Some("enum") => Normalizer::Enum(def.values.clone()),
            Some("html_to_text") => Normalizer::HtmlToText,
            Some("list") => Normalizer::List(def.separator.clone()),
            Some("raw") => Normalizer::Raw,
            Some(other) => {
                let known = "`text`, `lower`, `email`, `phone`, `domain`, `number`, `money`, `boolean`, `datetime`, `date`, `country`, `enum`, \
                             `html_to_text`, `list`, `raw`";
                self.problem(
                    format!("{key}.as"),
                    format!("there is no normalizer `{other}`; there are {known}"),
                    "Use one of these, or leave `as` out.",
                );
                return None;
            }
        };
        Some(how)
    }

    fn written(&mut self, key: &str, def: &ValueDef) -> Option<Written> {
        let unit = def.unit.as_deref()?;
        match Written::parse(unit, def.zone.as_deref()) {
            Ok(written) => return Some(written),
            Err("zone") if unit == "date-time" => {
                let zone = def.zone.as_deref().unwrap_or_default();
                self.problem(format!("{key}.zone"), format!("`{zone}` is not a time zone"), "Use a name such as `Europe/London` or `UTC`.");
            }
            Err("zone") => {
                self.problem(
                    format!("{key}.zone"),
                    "is only for `unit = \"date-time\"`",
                    "Remove `zone`: the value says its offset itself.",
                );
            }
            Err(_) => {
                let known = "Use `s`, `ms`, `us`, `ns`, `rfc3339`, `rfc2822`, `http-date` or `date-time`.";
                self.problem(format!("{key}.unit"), format!("`{unit}` is not a way in which moments are written"), known);
            }
        }
        None
    }

    fn decimal(&mut self, key: &str, sign: Option<&str>) -> Option<char> {
        match sign {
            None => None,
            Some(".") => Some('.'),
            Some(",") => Some(','),
            Some(_) => {
                self.problem(format!("{key}.decimal"), "is neither `.` nor `,`", "Use the sign before the cents, or leave it out.");
                None
            }
        }
    }

    pub(super) fn check_region(&mut self, key: &str, text: Option<&str>) -> Option<phonenumber::country::Id> {
        let region = text.and_then(|text| text.parse().ok());
        if let (Some(text), None) = (text, region) {
            // The source's own region is checked once, at its own place.
            if key == "region" || Some(text) != self.region {
                self.problem(key, format!("`{text}` is not a country"), "Use two capital letters, such as `US` or `DE`.");
            }
        }
        region
    }

    fn check_options(&mut self, key: &str, def: &ValueDef, how: &Normalizer, place: &Place) {
        let textual = matches!(
            how,
            Normalizer::Keep | Normalizer::Text | Normalizer::Lower | Normalizer::Enum(_) | Normalizer::HtmlToText | Normalizer::Raw
        );
        let decimal = if let Normalizer::Money(Money::Decimal(decimal)) = how { *decimal } else { None };
        let plain_path = matches!(place, Place::Expression(expression) if expression.is_path());
        let wrong = [
            (def.region.is_some() && !matches!(how, Normalizer::Phone(_)), "region", "is only for `as = \"phone\"`"),
            (def.unit.is_some() && !matches!(how, Normalizer::Datetime(_)), "unit", "is only for `as = \"datetime\"`"),
            (
                def.zone.is_some() && (def.unit.is_none() || !matches!(how, Normalizer::Datetime(_))),
                "zone",
                "is only for `unit = \"date-time\"`",
            ),
            (def.minor.is_some() && !matches!(how, Normalizer::Money(_)), "minor", "is only for `as = \"money\"`"),
            (
                def.decimal.is_some() && *how != Normalizer::Money(Money::Decimal(decimal)),
                "decimal",
                "is only for `as = \"money\"` without `minor`",
            ),
            (
                def.values.is_empty() == matches!(how, Normalizer::Enum(_)),
                "values",
                "goes together with `as = \"enum\"`, and lists at least one",
            ),
            (def.values.len() > VALUES_MAX, "values", "lists more than 1000"),
            (def.separator.is_some() && !matches!(how, Normalizer::List(_)), "separator", "is only for `as = \"list\"`"),
            (def.separator.as_deref() == Some(""), "separator", "is empty"),
            (def.truncate.is_some() && !textual, "truncate", "is only for texts"),
            (def.truncate == Some(0), "truncate", "is 0, which leaves nothing"),
            (def.clear && !plain_path, "clear", "needs a plain path such as `contact.phone`: only there can null and absent be told apart"),
            (def.clear && def.required, "clear", "contradicts `required`"),
            (def.default.is_some() && def.required, "default", "contradicts `required`"),
            (def.default.is_some() && def.clear, "default", "contradicts `clear`"),
            (def.default.as_ref().is_some_and(|value| constant(value).is_none()), "default", "is not a text, a number or a boolean"),
        ];
        for (_, option, message) in wrong.into_iter().filter(|(wrong, _, _)| *wrong) {
            self.problem(format!("{key}.{option}"), message, format!("Remove `{option}`, or change what it does not go with."));
        }
    }
}

/// A scalar of the configuration.
fn constant(value: &Value) -> Option<Node<'static>> {
    match value {
        Value::String(text) => Some(Node::Text(text.clone().into())),
        Value::Bool(value) => Some(Node::Bool(*value)),
        Value::Number(number) => Some(Node::Number(number.clone())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
