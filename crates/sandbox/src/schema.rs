//! Salesforce's standard objects as far as leads, contacts, companies and deals need them, and what their fields accept.

use model::Time;
use serde_json::Value;

/// What a field holds. Text kinds carry the longest value in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text(usize),
    Email,
    Number,
    Flag,
    Date,
    /// The id of a record of this object, or of one that the sandbox does not keep (`""`).
    Reference(&'static str),
    /// A field of someone's own: text of up to 255 characters, numbers and booleans too.
    Custom,
    /// Set by the CRM alone.
    ReadOnly,
}

/// A standard object.
#[derive(Debug)]
pub(crate) struct Object {
    pub name: &'static str,
    /// What its record ids start with.
    pub prefix: &'static str,
    pub required: &'static [&'static str],
    pub fields: &'static [(&'static str, Kind)],
}

use Kind::{Date, Email, Flag, Number, ReadOnly, Reference, Text};

/// What every object has.
pub(crate) const COMMON: &[(&str, Kind)] = &[
    ("Id", ReadOnly),
    ("IsDeleted", ReadOnly),
    ("CreatedDate", ReadOnly),
    ("LastModifiedDate", ReadOnly),
    ("SystemModstamp", ReadOnly),
    ("OwnerId", Reference("")),
    ("Description", Text(32_000)),
];

static OBJECTS: [Object; 4] = [
    Object {
        name: "Lead",
        prefix: "00Q",
        required: &["LastName", "Company"],
        fields: &[
            ("Name", ReadOnly),
            ("Salutation", Text(40)),
            ("FirstName", Text(40)),
            ("LastName", Text(80)),
            ("Company", Text(255)),
            ("Title", Text(128)),
            ("Email", Email),
            ("Phone", Text(40)),
            ("MobilePhone", Text(40)),
            ("Fax", Text(40)),
            ("Website", Text(255)),
            ("Street", Text(255)),
            ("City", Text(40)),
            ("State", Text(80)),
            ("PostalCode", Text(20)),
            ("Country", Text(80)),
            ("LeadSource", Text(255)),
            ("Status", Text(255)),
            ("Industry", Text(255)),
            ("Rating", Text(255)),
            ("AnnualRevenue", Number),
            ("NumberOfEmployees", Number),
            ("HasOptedOutOfEmail", Flag),
            ("DoNotCall", Flag),
            ("IsConverted", ReadOnly),
        ],
    },
    Object {
        name: "Contact",
        prefix: "003",
        required: &["LastName"],
        fields: &[
            ("Name", ReadOnly),
            ("Salutation", Text(40)),
            ("FirstName", Text(40)),
            ("LastName", Text(80)),
            ("AccountId", Reference("Account")),
            ("Title", Text(128)),
            ("Department", Text(80)),
            ("Birthdate", Date),
            ("Email", Email),
            ("Phone", Text(40)),
            ("MobilePhone", Text(40)),
            ("HomePhone", Text(40)),
            ("OtherPhone", Text(40)),
            ("Fax", Text(40)),
            ("MailingStreet", Text(255)),
            ("MailingCity", Text(40)),
            ("MailingState", Text(80)),
            ("MailingPostalCode", Text(20)),
            ("MailingCountry", Text(80)),
            ("LeadSource", Text(255)),
            ("HasOptedOutOfEmail", Flag),
            ("DoNotCall", Flag),
        ],
    },
    Object {
        name: "Account",
        prefix: "001",
        required: &["Name"],
        fields: &[
            ("Name", Text(255)),
            ("AccountNumber", Text(40)),
            ("ParentId", Reference("Account")),
            ("Site", Text(80)),
            ("Type", Text(255)),
            ("Industry", Text(255)),
            ("Rating", Text(255)),
            ("Phone", Text(40)),
            ("Fax", Text(40)),
            ("Website", Text(255)),
            ("BillingStreet", Text(255)),
            ("BillingCity", Text(40)),
            ("BillingState", Text(80)),
            ("BillingPostalCode", Text(20)),
            ("BillingCountry", Text(80)),
            ("AccountSource", Text(255)),
            ("AnnualRevenue", Number),
            ("NumberOfEmployees", Number),
        ],
    },
    Object {
        name: "Opportunity",
        prefix: "006",
        required: &["Name", "StageName", "CloseDate"],
        fields: &[
            ("Name", Text(120)),
            ("StageName", Text(255)),
            ("CloseDate", Date),
            ("AccountId", Reference("Account")),
            ("Amount", Number),
            ("Probability", Number),
            ("Type", Text(255)),
            ("NextStep", Text(255)),
            ("LeadSource", Text(255)),
            ("IsPrivate", Flag),
            ("IsClosed", ReadOnly),
            ("IsWon", ReadOnly),
        ],
    },
];

/// The object that an id belongs to.
pub(crate) fn by_prefix(id: &str) -> Option<&'static Object> {
    OBJECTS.iter().find(|object| id.starts_with(object.prefix))
}

/// The object of this name, in any case.
pub(crate) fn object(name: &str) -> Option<&'static Object> {
    OBJECTS.iter().find(|object| object.name.eq_ignore_ascii_case(name))
}

/// Whether a name can be a field of someone's own: `Plan__c`.
pub(crate) fn is_custom(name: &str) -> bool {
    let good = |bare: &str| {
        bare.starts_with(|first: char| first.is_ascii_alphabetic())
            && bare.len() <= 40
            && !bare.ends_with('_')
            && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    name.strip_suffix("__c").is_some_and(good)
}

/// Whether a custom field is unique from the start, going by its name: `External_Lead_Id__c`, `MyExt_Id__c`, `ExtId__c`.
/// Any other becomes so when it is first used as a key.
pub(crate) fn is_external_id(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with("__c") && (name.contains("external") || name.ends_with("ext_id__c") || name.ends_with("extid__c"))
}

/// Why a value does not fit its field.
pub(crate) enum Misfit {
    /// The JSON type is wrong, which fails the whole request: what was expected, and what was found.
    Type(&'static str, &'static str),
    /// The value is refused, which fails the record: code and message.
    Value(&'static str, String),
}

/// Reads a value as the field keeps it: text trimmed, empty text as null.
pub(crate) fn fit(name: &str, kind: Kind, value: Value) -> Result<Value, Misfit> {
    let wrong_type = |wanted: &'static str, found: &Value| Err(Misfit::Type(wanted, kind_of(found)));
    match (kind, value) {
        (Kind::ReadOnly, _) => {
            let says = format!("Unable to create/update fields: {name}. Please check the security settings of this field.");
            Err(Misfit::Value("INVALID_FIELD_FOR_INSERT_UPDATE", says))
        }
        (_, Value::Null) => Ok(Value::Null),
        (Kind::Text(longest), Value::String(text)) => within(name, text, longest),
        (Kind::Custom, Value::String(text)) => within(name, text, 255),
        (Kind::Custom | Kind::Number, value @ Value::Number(_)) | (Kind::Custom | Kind::Flag, value @ Value::Bool(_)) => Ok(value),
        (Kind::Email, Value::String(text)) => {
            let address = within(name, text, 80)?;
            let wrong = address.as_str().filter(|address| !is_address(address));
            let says = wrong.map(|wrong| format!("{name}: invalid email address: {wrong}"));
            says.map_or(Ok(address), |says| Err(Misfit::Value("INVALID_EMAIL_ADDRESS", says)))
        }
        (Kind::Number, Value::String(text)) if text.trim().is_empty() => Ok(Value::Null),
        (Kind::Number, Value::String(text)) => match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number.into()),
            Ok(_) | Err(_) => wrong_type("double", &Value::String(text)),
        },
        (Kind::Date, Value::String(text)) if text.trim().is_empty() => Ok(Value::Null),
        (Kind::Date, Value::String(text)) => match text.trim() {
            day if day.len() == 10 && Time::parse_rfc3339(&format!("{day}T00:00:00Z")).is_some() => Ok(day.into()),
            _ => wrong_type("date", &Value::String(text)),
        },
        (Kind::Reference(_), Value::String(text)) => Ok(if text.is_empty() { Value::Null } else { text.into() }),
        (Kind::Text(_) | Kind::Email | Kind::Custom | Kind::Reference(_), other) => wrong_type("string", &other),
        (Kind::Number, other) => wrong_type("double", &other),
        (Kind::Flag, other) => wrong_type("boolean", &other),
        (Kind::Date, other) => wrong_type("date", &other),
    }
}

/// What a value is, in the words of the CRM's own parser.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "VALUE_NULL",
        Value::Bool(_) => "VALUE_BOOLEAN",
        Value::Number(_) => "VALUE_NUMBER",
        Value::String(_) => "VALUE_STRING",
        Value::Array(_) => "START_ARRAY",
        Value::Object(_) => "START_OBJECT",
    }
}

fn within(name: &str, text: String, longest: usize) -> Result<Value, Misfit> {
    let trimmed = text.trim();
    if trimmed.len() > longest && trimmed.chars().count() > longest {
        let shown: String = trimmed.chars().take(longest).collect();
        return Err(Misfit::Value("STRING_TOO_LONG", format!("{name}: data value too large: {shown} (max length={longest})")));
    }
    Ok(match trimmed.len() {
        0 => Value::Null,
        length if length == text.len() => text.into(),
        _ => trimmed.into(),
    })
}

pub(crate) fn is_address(text: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic() && !b"@,;:<>()[]\\\"".contains(&byte));
    let Some((local, domain)) = text.split_once('@') else { return false };
    plain(local)
        && !local.starts_with('.')
        && !local.ends_with('.')
        && plain(domain)
        && domain.contains('.')
        && domain.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_what_only_looks_like_one() {
        for good in ["a@example.com", "a.b+c@sub.example.co.uk", "o'neil@example.com"] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "a@",
            "@example.com",
            "a@example",
            "a@@example.com",
            "a b@example.com",
            ".a@example.com",
            "a@-example.com",
            "a@example..com",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn custom_fields_have_sensible_names() {
        for good in ["Plan__c", "External_Lead_Id__c"] {
            assert!(is_custom(good), "{good}");
        }
        for bad in ["Plan", "__c", "1st__c", "Pl an__c", "Plan___c", "Plan__C"] {
            assert!(!is_custom(bad), "{bad}");
        }
    }
}
