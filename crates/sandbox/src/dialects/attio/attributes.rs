//! Attio's standard objects and attributes, what an attribute accepts, and how it is shown.

use model::Time;
use serde_json::{Map, Value, json};

use super::{OBJECTS, Refusal};
use crate::dialects::entries;
use crate::schema::is_address;

/// What an attribute holds, by the vendor's pages under docs.attio.com/docs/attribute-types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Checkbox,
    Currency,
    Date,
    Timestamp,
    Email,
    Domain,
    Phone,
    Name,
    Select(&'static [&'static str]),
    Status(&'static [&'static str]),
    /// Records of one object.
    Reference(&'static str),
    Actor,
}

/// One attribute.
#[derive(Clone, Debug)]
pub(super) struct Attribute {
    pub slug: String,
    pub kind: Kind,
    pub multi: bool,
    pub unique: bool,
    pub required: bool,
}

type Row = (&'static str, Kind, &'static str);

const STAGES: &[&str] = &["Lead", "In Progress", "Won 🎉", "Lost"];
const INTERESTS: &[&str] = &["Pricing", "Product", "Support", "Careers"];

/// Attributes by object: `m` multi-select, `u` unique, `r` required. `crm_ext_id` and `interests` are what a workspace has added.
fn rows(object: &str) -> &'static [Row] {
    match object {
        "people" => &[
            ("name", Kind::Name, ""),
            ("email_addresses", Kind::Email, "mu"),
            ("phone_numbers", Kind::Phone, "m"),
            ("job_title", Kind::Text, ""),
            ("description", Kind::Text, ""),
            ("company", Kind::Reference("companies"), ""),
            ("linkedin", Kind::Text, ""),
            ("twitter", Kind::Text, ""),
            ("interests", Kind::Select(INTERESTS), "m"),
            ("birthday", Kind::Date, ""),
            ("opted_in", Kind::Checkbox, ""),
        ],
        "companies" => &[
            ("name", Kind::Text, ""),
            ("domains", Kind::Domain, "mu"),
            ("description", Kind::Text, ""),
            ("categories", Kind::Select(&["B2B", "B2C", "SAAS", "Finance"]), "m"),
            ("team", Kind::Reference("people"), "m"),
            ("linkedin", Kind::Text, ""),
            ("employees", Kind::Number, ""),
        ],
        "deals" => &[
            ("name", Kind::Text, "r"),
            ("stage", Kind::Status(STAGES), "r"),
            ("owner", Kind::Actor, "r"),
            ("value", Kind::Currency, ""),
            ("associated_people", Kind::Reference("people"), "m"),
            ("associated_company", Kind::Reference("companies"), ""),
            ("closed_at", Kind::Timestamp, ""),
            ("crm_ext_id", Kind::Text, "u"),
        ],
        "users" => &[
            ("user_id", Kind::Text, "ur"),
            ("primary_email_address", Kind::Email, "ur"),
            ("person", Kind::Reference("people"), ""),
            ("workspace", Kind::Reference("workspaces"), "m"),
            ("crm_ext_id", Kind::Text, "u"),
        ],
        "workspaces" => &[
            ("workspace_id", Kind::Text, "ur"),
            ("name", Kind::Text, ""),
            ("users", Kind::Reference("users"), "m"),
            ("company", Kind::Reference("companies"), ""),
            ("crm_ext_id", Kind::Text, "u"),
        ],
        _ => &[],
    }
}

/// The attributes that an object comes with.
pub(super) fn standard(object: &str) -> impl Iterator<Item = Attribute> {
    rows(object).iter().map(|&(slug, kind, marks)| Attribute {
        slug: slug.to_owned(),
        kind,
        multi: marks.contains('m'),
        unique: marks.contains('u'),
        required: marks.contains('r'),
    })
}

/// The kinds that a workspace can add.
pub(super) fn kind_named(name: &str) -> Option<Kind> {
    Some(match name {
        "text" => Kind::Text,
        "number" => Kind::Number,
        "checkbox" => Kind::Checkbox,
        "currency" => Kind::Currency,
        "date" => Kind::Date,
        "timestamp" => Kind::Timestamp,
        "email-address" => Kind::Email,
        "domain" => Kind::Domain,
        "phone-number" => Kind::Phone,
        _ => return None,
    })
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Checkbox => "checkbox",
            Self::Currency => "currency",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Email => "email-address",
            Self::Domain => "domain",
            Self::Phone => "phone-number",
            Self::Name => "personal-name",
            Self::Select(_) => "select",
            Self::Status(_) => "status",
            Self::Reference(_) => "record-reference",
            Self::Actor => "actor-reference",
        }
    }

    /// The member in which an entry's value may be wrapped.
    pub fn member(self) -> &'static str {
        match self {
            Self::Text | Self::Number | Self::Checkbox | Self::Date | Self::Timestamp => "value",
            Self::Currency => "currency_value",
            Self::Email => "email_address",
            Self::Domain => "domain",
            Self::Phone => "original_phone_number",
            Self::Select(_) => "option",
            Self::Status(_) => "status",
            Self::Name => "full_name",
            Self::Reference(_) => "target_record_id",
            Self::Actor => "referenced_actor_id",
        }
    }
}

impl Attribute {
    /// How it is listed (docs.attio.com/docs/attribute-types).
    pub fn listed(&self) -> Value {
        json!({ "id": { "workspace_id": super::WORKSPACE, "attribute_id": self.slug }, "title": self.slug, "api_slug": self.slug,
            "type": self.kind.name(), "is_system_attribute": true, "is_writable": true, "is_required": self.required,
            "is_unique": self.unique, "is_multiselect": self.multi, "is_archived": false, "config": {} })
    }

    /// The value as the record keeps it: null if there is none, a list if it can have several.
    pub fn fit(&self, value: &Value) -> Result<Value, Refusal> {
        let wrong =
            || Refusal::invalid("validation_type", &format!("An invalid value was passed to attribute with slug \"{}\".", self.slug));
        let entries = entries(value);
        let single = !value.is_array() && !value.is_null();
        if (self.multi && single) || (!self.multi && entries.len() > 1) {
            return Err(wrong());
        }
        let mut fitting = Vec::with_capacity(entries.len());
        for entry in entries {
            let entry = self.entry(entry)?.ok_or_else(wrong)?;
            if !fitting.contains(&entry) {
                fitting.push(entry);
            }
        }
        Ok(match (self.multi, fitting.len()) {
            (_, 0) => Value::Null,
            (true, _) => Value::Array(fitting),
            (false, _) => fitting.swap_remove(0),
        })
    }

    /// One entry; `None` if it is of the wrong type. References are looked up by the caller.
    fn entry(&self, entry: &Value) -> Result<Option<Value>, Refusal> {
        if let Kind::Reference(_) = self.kind {
            return Ok(entry.is_object().then(|| entry.clone()));
        }
        if let Kind::Name = self.kind {
            return Ok(name(entry));
        }
        let wrapped = |members: &Map<String, Value>| members.get(self.kind.member()).or_else(|| members.get("phone_number")).cloned();
        let plain = entry.as_object().map_or_else(|| entry.clone(), |members| wrapped(members).unwrap_or_default());
        let text = plain.as_str().map(str::trim).filter(|text| !text.is_empty());
        let unknown = |title: &str| {
            let says = format!("Cannot find select option or status with title \"{title}\" for attribute \"{}\".", self.slug);
            Refusal::invalid("value_not_found", &says)
        };
        Ok(match self.kind {
            Kind::Text | Kind::Actor => text.map(Value::from),
            Kind::Number | Kind::Currency => plain.as_f64().map(|_| plain.clone()),
            Kind::Checkbox => plain.as_bool().map(Value::from),
            Kind::Date => text.filter(|day| day.len() == 10 && Time::parse_rfc3339(&format!("{day}T00:00:00Z")).is_some()).map(Value::from),
            Kind::Timestamp => text.filter(|text| Time::parse_rfc3339(text).is_some()).map(Value::from),
            Kind::Email => text.filter(|text| is_address(text)).map(|text| text.to_lowercase().into()),
            Kind::Domain => {
                text.filter(|text| text.contains('.') && !text.contains(['/', '@', ' '])).map(|text| text.to_lowercase().into())
            }
            Kind::Phone => text.filter(|text| is_phone(text)).map(Value::from),
            Kind::Select(options) | Kind::Status(options) => match text {
                Some(title) if options.contains(&title) => Some(title.into()),
                Some(title) => return Err(unknown(title)),
                None => None,
            },
            Kind::Name | Kind::Reference(_) => None,
        })
    }

    /// How the values of a record are shown.
    pub fn shown(&self, value: &Value, at: Time) -> Vec<Value> {
        entries(value).iter().map(|entry| self.shown_entry(entry, at)).collect()
    }

    fn shown_entry(&self, entry: &Value, at: Time) -> Value {
        let mut shown: Map<String, Value> = Map::new();
        shown.insert("active_from".into(), at.to_string().into());
        shown.insert("active_until".into(), Value::Null);
        shown.insert("created_by_actor".into(), json!({ "type": "api-token", "id": super::WORKSPACE }));
        shown.insert("attribute_type".into(), self.kind.name().into());
        match (self.kind, entry) {
            (Kind::Name, Value::Object(parts)) => shown.extend(parts.clone()),
            (Kind::Email, _) => {
                shown.insert("email_address".into(), entry.clone());
                shown.insert("original_email_address".into(), entry.clone());
            }
            (Kind::Phone, _) => {
                shown.insert("original_phone_number".into(), entry.clone());
                shown.insert("phone_number".into(), entry.clone());
            }
            (Kind::Select(_) | Kind::Status(_), _) => {
                shown.insert(self.kind.member().into(), json!({ "title": entry, "is_archived": false }));
            }
            (Kind::Reference(object), _) => {
                shown.insert("target_object".into(), object.into());
                shown.insert("target_record_id".into(), entry.clone());
            }
            (kind, _) => {
                shown.insert(kind.member().into(), entry.clone());
            }
        }
        Value::Object(shown)
    }
}

/// A person's name: `Last, First`, or an object that must have all three parts (docs.attio.com, attribute-types-personal-name).
fn name(entry: &Value) -> Option<Value> {
    let (first, last, full) = match entry {
        Value::Object(parts) => {
            let part = |name: &str| parts.get(name)?.as_str().map(str::to_owned);
            (part("first_name")?, part("last_name")?, part("full_name")?)
        }
        Value::String(text) => {
            let (last, first) = text.split_once(',').unwrap_or(("", text));
            let (first, last) = (first.trim().to_owned(), last.trim().to_owned());
            let full = format!("{first} {last}").trim().to_owned();
            (first, last, full)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => return None,
    };
    Some(json!({ "first_name": first, "last_name": last, "full_name": full }))
}

fn is_phone(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text can be an attribute's slug.
pub(super) fn is_slug(text: &str) -> bool {
    text.len() <= 100
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The object that a reference points at, as the frame's tables name it.
pub(super) fn object(name: &str) -> Option<&'static str> {
    OBJECTS.iter().copied().find(|object| *object == name)
}
