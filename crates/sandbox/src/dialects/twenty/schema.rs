//! Twenty's objects and what their fields take.

use model::Time;
use serde_json::{Value, json};

/// What a column takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Whole,
    Flag,
    Moment,
    Choice(&'static [&'static str]),
    /// The id of a record of this object.
    Relation(&'static str),
    /// Whatever list or object is sent.
    Any,
}

/// A field: a column, or several under one name.
#[derive(Debug)]
pub(super) enum Field {
    Plain(Kind),
    Composite(&'static [(&'static str, Kind)]),
}

/// An object.
#[derive(Debug)]
pub(super) struct Object {
    pub plural: &'static str,
    pub singular: &'static str,
    /// Columns whose values are unique; the first that a record has is its key.
    pub unique: &'static [&'static str],
    pub fields: &'static [(&'static str, Field)],
}

const NAME: Field = Field::Composite(&[("firstName", Kind::Text), ("lastName", Kind::Text)]);
const EMAILS: Field = Field::Composite(&[("primaryEmail", Kind::Text), ("additionalEmails", Kind::Any)]);
const PHONES: Field = Field::Composite(&[
    ("primaryPhoneNumber", Kind::Text),
    ("primaryPhoneCountryCode", Kind::Text),
    ("primaryPhoneCallingCode", Kind::Text),
    ("additionalPhones", Kind::Any),
]);
const LINKS: Field = Field::Composite(&[("primaryLinkUrl", Kind::Text), ("primaryLinkLabel", Kind::Text), ("secondaryLinks", Kind::Any)]);
const CURRENCY: Field = Field::Composite(&[("amountMicros", Kind::Whole), ("currencyCode", Kind::Text)]);
const ADDRESS: Field = Field::Composite(&[
    ("addressStreet1", Kind::Text),
    ("addressStreet2", Kind::Text),
    ("addressCity", Kind::Text),
    ("addressPostcode", Kind::Text),
    ("addressState", Kind::Text),
    ("addressCountry", Kind::Text),
]);

static OBJECTS: [Object; 3] = [
    Object {
        plural: "people",
        singular: "person",
        unique: &["crmExtId", "emails.primaryEmail"],
        fields: &[
            ("crmExtId", Field::Plain(Kind::Text)),
            ("name", NAME),
            ("emails", EMAILS),
            ("phones", PHONES),
            ("jobTitle", Field::Plain(Kind::Text)),
            ("city", Field::Plain(Kind::Text)),
            ("linkedinLink", LINKS),
            ("companyId", Field::Plain(Kind::Relation("companies"))),
        ],
    },
    Object {
        plural: "companies",
        singular: "company",
        unique: &["crmExtId", "domainName.primaryLinkUrl"],
        fields: &[
            ("crmExtId", Field::Plain(Kind::Text)),
            ("name", Field::Plain(Kind::Text)),
            ("domainName", LINKS),
            ("employees", Field::Plain(Kind::Number)),
            ("idealCustomerProfile", Field::Plain(Kind::Flag)),
            ("annualRecurringRevenue", CURRENCY),
            ("address", ADDRESS),
        ],
    },
    Object {
        plural: "opportunities",
        singular: "opportunity",
        unique: &["crmExtId"],
        fields: &[
            ("crmExtId", Field::Plain(Kind::Text)),
            ("name", Field::Plain(Kind::Text)),
            ("amount", CURRENCY),
            ("stage", Field::Plain(Kind::Choice(&["NEW", "SCREENING", "MEETING", "PROPOSAL", "CUSTOMER"]))),
            ("closeDate", Field::Plain(Kind::Moment)),
            ("companyId", Field::Plain(Kind::Relation("companies"))),
            ("pointOfContactId", Field::Plain(Kind::Relation("people"))),
        ],
    },
];

/// The object of this plural name.
pub(super) fn object(name: &str) -> Option<&'static Object> {
    OBJECTS.iter().find(|object| object.plural == name)
}

/// What tells an object's ids from another's, and from those of other dialects.
pub(super) fn space(plural: &str) -> u16 {
    let place = OBJECTS.iter().position(|object| object.plural == plural).and_then(|place| u16::try_from(place).ok());
    place.map_or(u16::MAX - 1, |place| 0x2000 + place)
}

impl Object {
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        let fields: &'static [(&'static str, Field)] = self.fields;
        fields.iter().find(|(held, _)| *held == name).map(|(_, field)| field)
    }

    /// Whether there is such a column, also a part of a composite field.
    pub fn has(&self, column: &str) -> bool {
        match column.split_once('.') {
            None => matches!(self.field(column), Some(Field::Plain(_))),
            Some((name, part)) => match self.field(name) {
                Some(Field::Composite(parts)) => parts.iter().any(|(held, _)| *held == part),
                Some(Field::Plain(_)) | None => false,
            },
        }
    }

    /// The object that a column points at.
    pub fn target(&self, column: &str) -> Option<&'static str> {
        match self.field(column) {
            Some(Field::Plain(Kind::Relation(target))) => Some(target),
            Some(Field::Plain(_) | Field::Composite(_)) | None => None,
        }
    }
}

impl Kind {
    /// The value as the column keeps it; `None` if it is of the wrong kind.
    pub fn fit(self, value: Value) -> Option<Value> {
        let fits = match self {
            _ if value.is_null() => true,
            Self::Text => value.is_string(),
            Self::Number => value.is_number(),
            Self::Whole => value.is_i64() || value.as_str().is_some_and(|text| text.parse::<i64>().is_ok()),
            Self::Flag => value.is_boolean(),
            Self::Moment => value.as_str().is_some_and(|text| Time::parse_rfc3339(text).is_some()),
            Self::Choice(options) => value.as_str().is_some_and(|text| options.contains(&text)),
            Self::Relation(_) => value.is_string(),
            Self::Any => true,
        };
        fits.then_some(value)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::Number | Self::Whole => "NUMBER",
            Self::Flag => "BOOLEAN",
            Self::Moment => "DATE_TIME",
            Self::Choice(_) => "SELECT",
            Self::Relation(_) => "RELATION",
            Self::Any => "RAW_JSON",
        }
    }

    fn options(self) -> Vec<Value> {
        match self {
            Self::Choice(options) => options.iter().map(|option| json!({ "value": option, "label": option })).collect(),
            Self::Text | Self::Number | Self::Whole | Self::Flag | Self::Moment | Self::Relation(_) | Self::Any => Vec::new(),
        }
    }
}

/// The data model, as the metadata API lists it.
pub(super) fn metadata() -> Value {
    let field = |object: &Object, name: &str, field: &Field| {
        let (kind, options) = match field {
            Field::Plain(kind) => (kind.name(), kind.options()),
            Field::Composite(parts) => {
                let kind = match parts.first().map(|(name, _)| *name) {
                    Some("firstName") => "FULL_NAME",
                    Some("primaryEmail") => "EMAILS",
                    Some("primaryPhoneNumber") => "PHONES",
                    Some("primaryLinkUrl") => "LINKS",
                    Some("amountMicros") => "CURRENCY",
                    Some(_) | None => "ADDRESS",
                };
                (kind, Vec::new())
            }
        };
        let unique = object.unique.iter().any(|held| *held == name || held.split('.').next() == Some(name));
        // A relation is listed by its own name, not by its column's.
        let name = if kind == "RELATION" { name.trim_end_matches("Id") } else { name };
        json!({ "name": name, "type": kind, "isUnique": unique, "isNullable": true, "isActive": true, "options": options })
    };
    let objects: Vec<Value> = OBJECTS
        .iter()
        .map(|object| {
            let fields: Vec<Value> = object.fields.iter().map(|(name, held)| field(object, name, held)).collect();
            json!({ "nameSingular": object.singular, "namePlural": object.plural, "fields": fields })
        })
        .collect();
    json!({ "data": { "objects": objects } })
}
