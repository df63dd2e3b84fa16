//! Zoho's modules and fields, and what a field accepts.

use model::Time;
use serde_json::{Map, Value, json};

use super::{COLUMNS, Fault, id_text, parse_id};
use crate::dialects::World;
use crate::schema::is_address;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Text(usize),
    Email,
    Phone,
    Website,
    Integer,
    Number,
    Boolean,
    Date,
    Moment,
    Choice(&'static [&'static str]),
    Choices(&'static [&'static str]),
    Lookup(&'static str),
}

/// One field.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub name: String,
    pub holds: Holds,
    pub required: bool,
    pub unique: bool,
    pub external: bool,
}

type Known = (&'static str, Holds, &'static str);

const STATUS: &[&str] = &["Attempted to Contact", "Contacted", "Not Contacted"];
const SOURCES: &[&str] = &["Advertisement", "Web Download", "Web Research", "Partner"];
const STAGES: &[&str] = &["Qualification", "Needs Analysis", "Closed Won", "Closed Lost"];
const TOPICS: &[&str] = &["Korean", "Spanish", "English"];

/// Fields by module: `r` required, `u` unique, `e` external. `Onceward_Key`, `Topics` and `Member_Number` are what this account has added.
const MODULES: &[(&str, &[Known])] = &[
    (
        "Leads",
        &[
            ("Last_Name", Holds::Text(80), "r"),
            ("First_Name", Holds::Text(40), ""),
            ("Company", Holds::Text(100), ""),
            ("Email", Holds::Email, ""),
            ("Phone", Holds::Phone, ""),
            ("Designation", Holds::Text(100), ""),
            ("Website", Holds::Website, ""),
            ("Street", Holds::Text(250), ""),
            ("City", Holds::Text(100), ""),
            ("Zip_Code", Holds::Text(30), ""),
            ("Lead_Status", Holds::Choice(STATUS), ""),
            ("Lead_Source", Holds::Choice(SOURCES), ""),
            ("Topics", Holds::Choices(TOPICS), ""),
            ("No_of_Employees", Holds::Integer, ""),
            ("Annual_Revenue", Holds::Number, ""),
            ("Email_Opt_Out", Holds::Boolean, ""),
            ("Onceward_Key", Holds::Text(255), "ue"),
        ],
    ),
    (
        "Contacts",
        &[
            ("Last_Name", Holds::Text(80), "r"),
            ("First_Name", Holds::Text(40), ""),
            ("Email", Holds::Email, ""),
            ("Phone", Holds::Phone, ""),
            ("Title", Holds::Text(100), ""),
            ("Mailing_Street", Holds::Text(250), ""),
            ("Mailing_City", Holds::Text(100), ""),
            ("Mailing_Zip", Holds::Text(30), ""),
            ("Date_of_Birth", Holds::Date, ""),
            ("Last_Visit", Holds::Moment, ""),
            ("Account_Name", Holds::Lookup("Accounts"), ""),
            ("Topics", Holds::Choices(TOPICS), ""),
            ("Member_Number", Holds::Text(20), "u"),
            ("Onceward_Key", Holds::Text(255), "ue"),
        ],
    ),
    (
        "Accounts",
        &[
            ("Account_Name", Holds::Text(200), "r"),
            ("Phone", Holds::Phone, ""),
            ("Website", Holds::Website, ""),
            ("Billing_Street", Holds::Text(250), ""),
            ("Billing_City", Holds::Text(100), ""),
            ("Billing_Code", Holds::Text(30), ""),
            ("Annual_Revenue", Holds::Number, ""),
            ("Onceward_Key", Holds::Text(255), "ue"),
        ],
    ),
    (
        "Deals",
        &[
            ("Deal_Name", Holds::Text(120), "r"),
            ("Stage", Holds::Choice(STAGES), "r"),
            ("Amount", Holds::Number, ""),
            ("Closing_Date", Holds::Date, ""),
            ("Account_Name", Holds::Lookup("Accounts"), ""),
            ("Contact_Name", Holds::Lookup("Contacts"), ""),
            ("Onceward_Key", Holds::Text(255), "ue"),
        ],
    ),
];

/// The field that an upsert looks at where it is told nothing else.
pub(super) fn system_checked(module: &str) -> &'static str {
    match module {
        "Leads" | "Contacts" => "Email",
        "Accounts" => "Account_Name",
        _ => "Deal_Name",
    }
}

/// The module's name as it is kept, and its place.
pub(super) fn module(name: &str) -> Option<(&'static str, u64)> {
    let place = MODULES.iter().position(|(held, _)| *held == name)?;
    Some((MODULES.get(place)?.0, u64::try_from(place).ok()?))
}

/// What a module has, and what was added to it.
pub(super) fn fields(world: &mut World<'_>, module: &str) -> Vec<Field> {
    let known = MODULES.iter().find(|(held, _)| *held == module).map_or(&[][..], |(_, fields)| fields);
    let mut fields: Vec<Field> = known
        .iter()
        .map(|(name, holds, marks)| Field {
            name: (*name).to_owned(),
            holds: *holds,
            required: marks.contains('r'),
            unique: marks.contains('u'),
            external: marks.contains('e'),
        })
        .collect();
    for (_, row) in world.table(COLUMNS, &[]).rows() {
        let text = |name: &str| row.fields.get(name).and_then(Value::as_str);
        let flag = |name: &str| row.fields.get(name).and_then(Value::as_bool).unwrap_or_default();
        if text("module") == Some(module)
            && let Some(name) = text("name")
        {
            let (unique, external) = (flag("unique"), flag("external"));
            fields.push(Field { name: name.to_owned(), holds: Holds::Text(255), required: false, unique, external });
        }
    }
    fields
}

impl Field {
    fn data_type(&self) -> &'static str {
        match self.holds {
            Holds::Text(_) => "text",
            Holds::Email => "email",
            Holds::Phone => "phone",
            Holds::Website => "website",
            Holds::Integer => "integer",
            Holds::Number => "currency",
            Holds::Boolean => "boolean",
            Holds::Date => "date",
            Holds::Moment => "datetime",
            Holds::Choice(_) => "picklist",
            Holds::Choices(_) => "multiselectpicklist",
            Holds::Lookup(_) => "lookup",
        }
    }

    /// As the fields' metadata show it.
    pub fn listed(&self) -> Value {
        let options = match self.holds {
            Holds::Choice(options) | Holds::Choices(options) => {
                options.iter().map(|option| json!({ "display_value": option, "actual_value": option })).collect()
            }
            Holds::Text(_) | Holds::Email | Holds::Phone | Holds::Website | Holds::Integer | Holds::Number | Holds::Boolean => Vec::new(),
            Holds::Date | Holds::Moment | Holds::Lookup(_) => Vec::new(),
        };
        let length = match self.holds {
            Holds::Text(most) => most,
            Holds::Email => 100,
            Holds::Phone => 30,
            Holds::Website => 450,
            Holds::Integer | Holds::Number | Holds::Boolean | Holds::Date | Holds::Moment => 20,
            Holds::Choice(_) | Holds::Choices(_) | Holds::Lookup(_) => 120,
        };
        json!({
            "api_name": self.name, "field_label": self.name.replace('_', " "), "data_type": self.data_type(), "length": length,
            "system_mandatory": self.required, "read_only": false, "field_read_only": false,
            "unique": if self.unique { json!({ "casesensitive": "false" }) } else { json!({}) },
            "external": if self.external { json!({ "type": "org", "show": true }) } else { Value::Null },
            "operation_type": { "web_update": true, "api_create": true, "web_create": true, "api_update": true },
            "pick_list_values": options,
        })
    }

    /// A value as the record keeps it.
    pub fn fit(&self, world: &mut World<'_>, place: usize, value: Value) -> Result<Value, Fault> {
        let path = format!("$.data[{place}].{}", self.name);
        let wrong = |wanted: &str| {
            let details = json!({ "expected_data_type": wanted, "api_name": self.name, "json_path": path });
            Fault::new("INVALID_DATA", "invalid data", details)
        };
        let long = |most: usize| {
            let details = json!({ "maximum_length": most, "api_name": self.name, "json_path": path });
            Fault::new("INVALID_DATA", "invalid data", details)
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match (self.holds, value) {
            (_, Value::Null) => Ok(Value::Null),
            (_, Value::String(text)) if text.is_empty() => Ok(Value::Null),
            (Holds::Text(most), Value::String(text)) if text.chars().count() > most => Err(long(most)),
            (Holds::Email, Value::String(text)) if !is_address(&text) => Err(wrong("email")),
            (Holds::Phone, Value::String(text)) if text.chars().count() > 30 => Err(long(30)),
            (Holds::Text(_) | Holds::Email | Holds::Phone | Holds::Website, value @ Value::String(_)) => Ok(value),
            (Holds::Integer, value) if value.is_i64() => Ok(value),
            (Holds::Number, value @ Value::Number(_)) | (Holds::Boolean, value @ Value::Bool(_)) => Ok(value),
            (Holds::Date, Value::String(day)) if Time::parse_rfc3339(&format!("{day}T00:00:00Z")).is_some() => Ok(day.into()),
            (Holds::Moment, Value::String(moment)) if !moment.contains('.') && Time::parse_rfc3339(&moment).is_some() => Ok(moment.into()),
            (Holds::Choice(options), Value::String(choice)) if options.contains(&choice.as_str()) => Ok(choice.into()),
            (Holds::Choices(options), Value::Array(choices))
                if choices.iter().all(|choice| text(choice).is_some_and(|choice| options.contains(&choice.as_str()))) =>
            {
                Ok(Value::Array(choices))
            }
            (Holds::Lookup(target), Value::Object(members)) => {
                let id = members.get("id").and_then(Value::as_str).and_then(|id| parse_id(target, id));
                let there = id.is_some_and(|number| world.table(target, &[]).row(number).is_some_and(|row| !row.deleted));
                let number = id.filter(|_| there);
                let number = number.ok_or_else(|| {
                    let details = json!({ "api_name": self.name, "json_path": format!("{path}.id") });
                    Fault::new("INVALID_DATA", "the related id given seems to be invalid", details)
                })?;
                Ok(json!({ "id": id_text(target, number) }))
            }
            (Holds::Choice(options) | Holds::Choices(options), _) => {
                let details = json!({ "supported_values": options, "api_name": self.name, "json_path": path });
                Err(Fault::new("INVALID_DATA", "invalid data", details))
            }
            (Holds::Lookup(_), _) => Err(wrong("jsonobject")),
            (Holds::Text(_) | Holds::Email | Holds::Phone | Holds::Website, _) => Err(wrong(self.data_type())),
            (Holds::Integer | Holds::Number | Holds::Boolean | Holds::Date | Holds::Moment, _) => Err(wrong(self.data_type())),
        }
    }
}

/// The values of one record of a write. Names that the module does not have are passed over, as the real one does.
pub(super) fn fit(
    world: &mut World<'_>,
    fields: &[Field],
    place: usize,
    members: &Map<String, Value>,
) -> Result<Vec<(String, Value)>, Fault> {
    let known = members.iter().filter_map(|(name, value)| Some((fields.iter().find(|field| field.name == *name)?, value)));
    known.map(|(field, value)| Ok((field.name.clone(), field.fit(world, place, value.clone())?))).collect()
}
