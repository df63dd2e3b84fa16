//! Odoo's models, and how `load` reads a cell.

use model::Time;
use serde_json::{Map, Value, json};

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Char,
    Float,
    Integer,
    Boolean,
    Date,
    Datetime,
    /// Its values; a cell may also be a label, which differs by the first letter here.
    Selection(&'static [&'static str]),
    /// A record of this model.
    Many2one(&'static str),
}

/// A model. Names that end in `!` are required.
#[derive(Debug)]
pub(super) struct Model {
    pub name: &'static str,
    fields: &'static [(&'static str, Kind)],
}

static MODELS: [Model; 2] = [
    Model {
        name: "res.partner",
        fields: &[
            ("name!", Kind::Char),
            ("email", Kind::Char),
            ("phone", Kind::Char),
            ("function", Kind::Char),
            ("website", Kind::Char),
            ("street", Kind::Char),
            ("city", Kind::Char),
            ("zip", Kind::Char),
            ("comment", Kind::Char),
            ("company_name", Kind::Char),
            ("is_company", Kind::Boolean),
            ("active", Kind::Boolean),
            ("type", Kind::Selection(&["contact", "invoice", "delivery", "other"])),
            ("parent_id", Kind::Many2one("res.partner")),
            ("credit_limit", Kind::Float),
            ("color", Kind::Integer),
        ],
    },
    Model {
        name: "crm.lead",
        fields: &[
            ("name!", Kind::Char),
            ("type", Kind::Selection(&["lead", "opportunity"])),
            ("contact_name", Kind::Char),
            ("partner_name", Kind::Char),
            ("email_from", Kind::Char),
            ("phone", Kind::Char),
            ("function", Kind::Char),
            ("street", Kind::Char),
            ("city", Kind::Char),
            ("zip", Kind::Char),
            ("description", Kind::Char),
            ("expected_revenue", Kind::Float),
            ("probability", Kind::Float),
            ("date_deadline", Kind::Date),
            ("date_open", Kind::Datetime),
            ("partner_id", Kind::Many2one("res.partner")),
            ("active", Kind::Boolean),
        ],
    },
];

/// The model of this technical name.
pub(super) fn model(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.name == name)
}

/// A moment as Odoo writes it.
pub(super) fn moment(at: Time) -> String {
    let text = Time::from_seconds(at.seconds()).to_string();
    text.get(..19).unwrap_or_default().replace('T', " ")
}

impl Model {
    pub fn kind(&self, name: &str) -> Option<Kind> {
        self.fields.iter().find(|(held, _)| held.trim_end_matches('!') == name).map(|(_, kind)| *kind)
    }

    pub fn required(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().filter_map(|(name, _)| name.strip_suffix('!'))
    }

    /// What `fields_get` tells.
    pub fn described(&self) -> Value {
        let one = |&(name, kind): &(&'static str, Kind)| {
            let mut told = json!({ "type": kind.name(), "required": name.ends_with('!'), "readonly": false });
            if let Kind::Selection(values) = kind {
                told["selection"] = values.iter().map(|value| json!([value, label(value)])).collect();
            }
            (name.trim_end_matches('!').to_owned(), told)
        };
        let mut all: Map<String, Value> = self.fields.iter().map(one).collect();
        all.insert("id".into(), json!({ "type": "integer", "required": false, "readonly": true }));
        all.insert("write_date".into(), json!({ "type": "datetime", "required": false, "readonly": true }));
        Value::Object(all)
    }
}

fn label(value: &str) -> String {
    let mut label = value.to_owned();
    label.get_mut(..1).into_iter().for_each(str::make_ascii_uppercase);
    label
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Char => "char",
            Self::Float => "float",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Datetime => "datetime",
            Self::Selection(_) => "selection",
            Self::Many2one(_) => "many2one",
        }
    }

    /// A cell as a value, in the words of the vendor's converter.
    pub fn convert(self, field: &str, cell: &str) -> Result<Value, String> {
        let date = |text: &str| Time::parse_rfc3339(text).is_some();
        let converted = match self {
            Self::Char => Some(cell.into()),
            Self::Float => cell.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from),
            Self::Integer => cell.parse::<i64>().ok().map(Value::from),
            Self::Boolean => match cell.to_lowercase().as_str() {
                "1" | "true" | "yes" => Some(true.into()),
                "0" | "false" | "no" => Some(false.into()),
                _ => None,
            },
            Self::Date => (cell.len() == 10 && date(&format!("{cell}T00:00:00Z"))).then(|| cell.into()),
            Self::Datetime => (cell.len() == 19 && date(&format!("{}Z", cell.replacen(' ', "T", 1)))).then(|| cell.into()),
            Self::Selection(values) => values.iter().find(|value| **value == cell || label(value) == cell).map(|value| (*value).into()),
            Self::Many2one(_) => None,
        };
        converted.ok_or_else(|| match self {
            Self::Float | Self::Integer => format!("'{cell}' does not seem to be a number for field '{field}'"),
            Self::Date | Self::Datetime => format!("'{cell}' does not seem to be a valid date for field '{field}'"),
            Self::Boolean => format!("Unknown value '{cell}' for boolean field '{field}'"),
            Self::Selection(_) => format!("Value '{cell}' not found in selection field '{field}'"),
            Self::Char | Self::Many2one(_) => format!("'{cell}' does not fit the field '{field}'"),
        })
    }
}
