//! HubSpot's standard objects as far as contacts, companies and deals need them, and what their properties accept.

use model::Time;
use serde_json::Value;

/// What a property holds. Everything travels as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Email,
    /// Kept in a form of the account's own: `+1 (415) 555-0100`.
    Phone,
    Number,
    Flag,
    /// A day, or the milliseconds of its midnight in UTC.
    Date,
    /// A moment, or its milliseconds.
    Moment,
    /// One of these internal values.
    Choice(&'static [&'static str]),
    /// Set by the CRM alone.
    ReadOnly,
}

/// A standard object.
#[derive(Debug)]
pub(crate) struct Object {
    pub name: &'static str,
    /// Its number, which some messages use.
    pub type_id: &'static str,
    /// What its records are called in messages.
    pub word: &'static str,
    /// What is shown when nothing is asked for.
    pub shown: &'static [&'static str],
    pub properties: &'static [(&'static str, Kind)],
}

use Kind::{Choice, Date, Email, Flag, Moment, Number, Phone, ReadOnly, Text};

const STAGES: &[&str] =
    &["subscriber", "lead", "marketingqualifiedlead", "salesqualifiedlead", "opportunity", "customer", "evangelist", "other"];
const LEAD_STATUS: &[&str] = &["NEW", "OPEN", "IN_PROGRESS", "OPEN_DEAL", "UNQUALIFIED", "ATTEMPTED_TO_CONTACT", "CONNECTED", "BAD_TIMING"];

/// What every object has.
const COMMON: &[(&str, Kind)] = &[
    ("hs_object_id", ReadOnly),
    ("createdate", ReadOnly),
    ("lastmodifieddate", ReadOnly),
    ("hs_lastmodifieddate", ReadOnly),
    ("hubspot_owner_id", Text),
];

static OBJECTS: [Object; 3] = [
    Object {
        name: "contacts",
        type_id: "0-1",
        word: "CONTACT",
        shown: &["email", "firstname", "lastname"],
        properties: &[
            ("email", Email),
            ("firstname", Text),
            ("lastname", Text),
            ("salutation", Text),
            ("phone", Text),
            ("mobilephone", Phone),
            ("fax", Text),
            ("company", Text),
            ("jobtitle", Text),
            ("website", Text),
            ("address", Text),
            ("city", Text),
            ("state", Text),
            ("zip", Text),
            ("country", Text),
            ("industry", Text),
            ("message", Text),
            ("annualrevenue", Text),
            ("numemployees", Text),
            ("date_of_birth", Text),
            ("lifecyclestage", Choice(STAGES)),
            ("hs_lead_status", Choice(LEAD_STATUS)),
            ("closedate", Moment),
        ],
    },
    Object {
        name: "companies",
        type_id: "0-2",
        word: "COMPANY",
        shown: &["name", "domain"],
        properties: &[
            ("name", Text),
            ("domain", Text),
            ("phone", Text),
            ("website", Text),
            ("address", Text),
            ("address2", Text),
            ("city", Text),
            ("state", Text),
            ("zip", Text),
            ("country", Text),
            ("description", Text),
            ("annualrevenue", Number),
            ("numberofemployees", Number),
            ("founded_year", Text),
            ("is_public", Flag),
            ("lifecyclestage", Choice(STAGES)),
        ],
    },
    Object {
        name: "deals",
        type_id: "0-3",
        word: "DEAL",
        shown: &["dealname", "amount", "dealstage", "pipeline", "closedate"],
        properties: &[
            ("dealname", Text),
            ("dealstage", Text),
            ("pipeline", Text),
            ("amount", Number),
            ("closedate", Moment),
            ("description", Text),
            ("dealtype", Choice(&["newbusiness", "existingbusiness"])),
            ("hs_next_step", Text),
            ("hs_priority", Choice(&["low", "medium", "high"])),
            ("contract_end_date", Date),
        ],
    },
];

/// The object of this name.
pub(crate) fn object(name: &str) -> Option<&'static Object> {
    OBJECTS.iter().find(|object| object.name == name)
}

impl Object {
    /// Every standard property.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, Kind)> {
        COMMON.iter().chain(self.properties).copied()
    }

    /// What a property holds; `None` if there is none of this name. A sensible name with an underscore in it is a property of someone's own,
    /// which is text: the account is taken to have been set up with it.
    pub fn kind(&self, name: &str) -> Option<Kind> {
        let standard = COMMON.iter().chain(self.properties).find(|(held, _)| *held == name).map(|&(_, kind)| kind);
        standard.or_else(|| is_custom(name).then_some(Text))
    }
}

/// Whether a name can be a property of someone's own: `crm_ext_id`.
pub(crate) fn is_custom(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= 100
        && name.contains('_')
        && !name.starts_with("hs_")
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Whether such a property was created with unique values, going by its name: `crm_ext_id`, `external_id`. Any other becomes so when it is
/// first used as a key.
pub(crate) fn is_external_id(name: &str) -> bool {
    is_custom(name) && (name.contains("external") || name.ends_with("ext_id") || name.ends_with("extid"))
}

/// Why a value is refused: the code and what is said.
pub(crate) struct Misfit(pub &'static str, pub String);

/// Reads a value as the property keeps it; empty text as null.
pub(crate) fn fit(name: &str, kind: Kind, text: String) -> Result<Value, Misfit> {
    if text.is_empty() && kind != ReadOnly {
        return Ok(Value::Null);
    }
    let millis = || text.parse::<i64>().ok().filter(|millis| millis.abs() < 1 << 50);
    match kind {
        Text => Ok(text.into()),
        Email => {
            let address = text.trim().to_lowercase();
            if crate::schema::is_address(&address) {
                Ok(address.into())
            } else {
                Err(Misfit("INVALID_EMAIL", format!("Email address {text} is invalid")))
            }
        }
        Phone => Ok(formatted(&text).into()),
        Number if text.trim().parse::<f64>().is_ok_and(f64::is_finite) => Ok(text.trim().into()),
        Number => Err(Misfit("INVALID_INTEGER", format!("{text} was not a valid number."))),
        Flag if matches!(text.as_str(), "true" | "false") => Ok(text.into()),
        Flag => Err(Misfit("INVALID_OPTION", format!("{text} was not one of the allowed options: [true, false]"))),
        Choice(values) if values.contains(&text.as_str()) => Ok(text.into()),
        Choice(values) => Err(Misfit("INVALID_OPTION", format!("{text} was not one of the allowed options: [{}]", values.join(", ")))),
        Date => {
            let midnight = millis().filter(|millis| millis % 86_400_000 == 0).map(|millis| Time::from_millis(millis).to_string());
            let day = midnight.as_deref().unwrap_or(&text).get(..10).filter(|_| midnight.is_some() || text.len() == 10);
            let day = day.filter(|day| Time::parse_rfc3339(&format!("{day}T00:00:00Z")).is_some()).map(Value::from);
            day.ok_or_else(|| Misfit("INVALID_DATE", format!("{text} was not a valid date: it is not at midnight UTC")))
        }
        Moment => {
            let moment = Time::parse_rfc3339(&text).or_else(|| Time::parse_rfc3339(&format!("{text}T00:00:00Z")));
            let moment = moment.or_else(|| millis().map(Time::from_millis)).map(|moment| Value::from(shown(moment)));
            moment.ok_or_else(|| Misfit("INVALID_DATE", format!("{text} was not a valid date.")))
        }
        ReadOnly => Err(Misfit("READ_ONLY_VALUE", format!("{name} is a read only property; its value cannot be set"))),
    }
}

/// A number of North America as an account with formatting switched on keeps it; any other as it is.
fn formatted(text: &str) -> String {
    let national = text.strip_prefix("+1").filter(|rest| rest.len() == 10 && rest.bytes().all(|byte| byte.is_ascii_digit()));
    national.map_or_else(|| text.to_owned(), |n| format!("+1 ({}) {}-{}", &n[..3], &n[3..6], &n[6..]))
}

/// Milliseconds, as the CRM shows its moments.
pub(crate) fn shown(at: Time) -> String {
    Time::from_millis(at.millis()).to_string()
}
