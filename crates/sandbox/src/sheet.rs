//! One Salesforce object: its fields, its rules, and the records of it that a request means.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::Time;
use serde_json::{Map, Value, json};

use crate::records::{Row, Table, fold, text};
use crate::salesforce::Refusal;
use crate::schema::{self, COMMON, Kind, Object};
use crate::writes::{Changes, Locate, Target, Wrong};

/// Custom fields of one object, as in the larger editions.
const MAX_CUSTOM_FIELDS: usize = 500;

/// One object's records and fields.
#[derive(Debug)]
pub(crate) struct Sheet {
    pub object: &'static Object,
    pub columns: BTreeMap<Arc<str>, Kind>,
    custom: usize,
    pub unique: BTreeSet<Arc<str>>,
    pub table: Table,
}

impl Sheet {
    pub fn new(object: &'static Object) -> Self {
        let columns = COMMON.iter().chain(object.fields).map(|&(name, kind)| (name.into(), kind)).collect();
        let mut sheet = Self { object, columns, custom: 0, unique: BTreeSet::new(), table: Table::default() };
        if object.fields.iter().any(|&(_, kind)| kind == Kind::Email) {
            sheet.table.index(&"Email".into());
        }
        sheet
    }

    /// The field of this name, in any case. A sensible custom name that is new becomes a field.
    pub fn column(&mut self, name: &str) -> Option<(Arc<str>, Kind)> {
        let known = self.columns.get_key_value(name).or_else(|| self.columns.iter().find(|(held, _)| held.eq_ignore_ascii_case(name)));
        if let Some((column, &kind)) = known {
            return Some((column.clone(), kind));
        }
        if !schema::is_custom(name) || self.custom >= MAX_CUSTOM_FIELDS {
            return None;
        }
        let column: Arc<str> = name.into();
        self.custom += 1;
        self.columns.insert(column.clone(), Kind::Custom);
        if schema::is_external_id(name) {
            self.make_unique(&column);
        }
        Some((column, Kind::Custom))
    }

    fn make_unique(&mut self, column: &Arc<str>) {
        self.table.index(column);
        self.unique.insert(column.clone());
    }

    /// The field as a key. A custom field becomes unique by being used as one; an e-mail address finds records but is not unique.
    pub fn key_column(&mut self, name: &str) -> Result<Arc<str>, Refusal> {
        match self.column(name) {
            Some((column, Kind::Custom)) => {
                if !self.unique.contains(&column) {
                    self.make_unique(&column);
                }
                Ok(column)
            }
            Some((column, Kind::Email)) => Ok(column),
            Some((_, Kind::Text(_) | Kind::Number | Kind::Flag | Kind::Date | Kind::Reference(_) | Kind::ReadOnly)) | None => {
                Err(Refusal::new(404, "NOT_FOUND", format!("Provided external ID field does not exist or is not accessible: {name}")))
            }
        }
    }

    pub fn readable(&mut self, name: &str) -> Result<Arc<str>, Refusal> {
        let object = self.object;
        let says = || {
            format!(
                "No such column '{name}' on entity '{}'. If you are attempting to use a custom field, be sure to append the '__c'.",
                object.name
            )
        };
        self.column(name).map(|(column, _)| column).ok_or_else(|| Refusal::new(400, "INVALID_FIELD", says()))
    }

    /// The live record that is meant; `None` if a key has none.
    pub fn find(&mut self, by: &Locate) -> Result<Option<u64>, Refusal> {
        match by {
            Locate::New => Ok(None),
            Locate::Id(id) => {
                let number = parse_id(self.object, id).filter(|&number| self.table.row(number).is_some());
                let number = number.ok_or_else(Refusal::not_found)?;
                let gone = self.table.row(number).is_none_or(|row| row.deleted);
                if gone { Err(Refusal::new(404, "ENTITY_IS_DELETED", "entity is deleted")) } else { Ok(Some(number)) }
            }
            Locate::Key { field, value } => {
                let column = self.key_column(field)?;
                let found = self.table.find(&column, value);
                match found.as_slice() {
                    [] => Ok(None),
                    [number] => Ok(Some(*number)),
                    [..] => {
                        let url = |number: &u64| {
                            format!("/services/data/v68.0/sobjects/{}/{}", self.object.name, record_id(self.object, *number))
                        };
                        let says = format!("{column}: more than one record found for external id field");
                        Err(Refusal { fields: found.iter().map(url).collect(), ..Refusal::new(300, "DUPLICATE_EXTERNAL_ID", says) })
                    }
                }
            }
        }
    }

    /// The rules that span fields and records: what is required, and what is unique.
    pub fn check(&self, number: Option<u64>, changes: &Changes) -> Result<(), Refusal> {
        let value_of = |name: &str| changes.iter().rev().find(|(column, _)| &**column == name).map(|(_, value)| value);
        let missing = |name: &&&str| value_of(name).map_or(number.is_none(), Value::is_null);
        let missing: Vec<String> = self.object.required.iter().filter(missing).map(|name| (*name).into()).collect();
        if !missing.is_empty() {
            let says = format!("Required fields are missing: [{}]", missing.join(", "));
            return Err(Refusal { fields: missing, ..Refusal::new(400, "REQUIRED_FIELD_MISSING", says) });
        }
        for (column, value) in changes.iter().filter(|(column, _)| self.unique.contains(column)) {
            let Some(value) = text(value) else { continue };
            if let Some(other) = self.table.find(column, &value).into_iter().find(|other| Some(*other) != number) {
                let id = record_id(self.object, other);
                let says = format!("duplicate value found: {column} duplicates value on record with id: {id}");
                return Err(Refusal::new(400, "DUPLICATE_VALUE", says).of(column));
            }
        }
        Ok(())
    }

    pub fn create(&mut self, target: &Target, mut changes: Changes, now: Time) -> Result<String, Refusal> {
        let mut key_field = changes.iter().map(|(column, _)| column).find(|column| self.unique.contains(*column)).cloned();
        if let Locate::Key { field, value } = &target.by {
            let (column, kind) = self.column(field).ok_or_else(Refusal::not_found)?;
            let fitting =
                schema::fit(&column, kind, value.as_str().into()).map_err(|misfit| Wrong::from_misfit(&column, misfit).into_refusal())?;
            changes.push((column.clone(), fitting));
            key_field = Some(column);
        }
        self.check(None, &changes)?;
        let fields = changes.into_iter().filter(|(_, value)| !value.is_null()).collect();
        let number = self.table.insert(key_field, fields, now);
        Ok(record_id(self.object, number))
    }

    /// Puts a record back as it was, or takes it out. Its fields, and the one it was written by, become this object's again.
    pub fn restore(&mut self, number: u64, row: Option<Row>) -> Result<(), Refusal> {
        let row = match row {
            None => None,
            Some(row) => {
                let known = |(name, value): (Arc<str>, Value)| (self.column(&name).map_or(name, |(column, _)| column), value);
                let fields = row.fields.into_iter().map(known).collect();
                let key_field = row.key_field.map(|field| self.key_column(&field)).transpose()?;
                Some(Row { fields, key_field, ..row })
            }
        };
        self.table.restore(number, row);
        Ok(())
    }

    /// The live rows whose field has one of these values.
    pub fn matching(&self, column: &str, values: &[Option<String>]) -> Result<BTreeSet<u64>, Refusal> {
        let live = |number: &u64| self.table.row(*number).is_some_and(|row| !row.deleted);
        if column == "Id" {
            let wrong = |id: &String| Refusal::new(400, "INVALID_QUERY_FILTER_OPERATOR", format!("invalid ID field: {id}"));
            let numbers = values.iter().flatten().map(|id| parse_id(self.object, id).ok_or_else(|| wrong(id)));
            return Ok(numbers.collect::<Result<Vec<_>, _>>()?.into_iter().filter(live).collect());
        }
        if values.iter().all(Option::is_some) && (self.unique.contains(column) || column == "Email") {
            return Ok(values.iter().flatten().flat_map(|value| self.table.find(column, value)).collect());
        }
        let wanted: BTreeSet<Option<String>> =
            values.iter().map(|value| value.as_deref().filter(|value| !value.is_empty()).map(fold)).collect();
        let rows = self
            .table
            .rows()
            .filter(|(number, row)| !row.deleted && wanted.contains(&text(&self.value(*number, row, column)).as_deref().map(fold)));
        Ok(rows.map(|(number, _)| number).collect())
    }

    fn value(&self, number: u64, row: &Row, column: &str) -> Value {
        let part = |name: &str| row.fields.get(name).and_then(Value::as_str);
        match column {
            "Id" => record_id(self.object, number).into(),
            "IsDeleted" => row.deleted.into(),
            "CreatedDate" => moment(row.created),
            "LastModifiedDate" | "SystemModstamp" => moment(row.modified),
            "Name" if !row.fields.contains_key("Name") => {
                let parts: Vec<&str> = [part("Salutation"), part("FirstName"), part("LastName")].into_iter().flatten().collect();
                parts.join(" ").into()
            }
            _ => row.fields.get(column).cloned().unwrap_or(Value::Null),
        }
    }

    pub fn show(&self, version: &str, number: u64, columns: &[Arc<str>]) -> Value {
        let Some(row) = self.table.row(number) else { return Value::Null };
        let url = format!("/services/data/{version}/sobjects/{}/{}", self.object.name, record_id(self.object, number));
        let mut shown = Map::with_capacity(columns.len() + 1);
        shown.insert("attributes".into(), json!({"type": self.object.name, "url": url}));
        shown.extend(columns.iter().map(|column| (column.to_string(), self.value(number, row, column))));
        Value::Object(shown)
    }
}

/// Whole seconds, as the CRM shows its moments.
fn moment(at: Time) -> Value {
    Time::from_seconds(at.seconds()).to_string().replace('Z', "+0000").into()
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CHECK: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";

/// An 18-character id: the object's prefix, the instance, the number in base 62, and three characters that say which letters are upper case.
pub(crate) fn record_id(object: &Object, number: u64) -> String {
    let mut id = format!("{}Hs0", object.prefix);
    let mut places = [b'0'; 9];
    let mut rest = number;
    for place in places.iter_mut().rev() {
        *place = BASE62[usize::try_from(rest % 62).unwrap_or_default()];
        rest /= 62;
    }
    id.extend(places.iter().map(|&byte| char::from(byte)));
    let checks: Vec<char> = id.as_bytes().chunks(5).map(check).collect();
    id.extend(checks);
    id
}

fn check(chunk: &[u8]) -> char {
    let bits = chunk.iter().enumerate().map(|(place, byte)| usize::from(byte.is_ascii_uppercase()) << place).sum::<usize>();
    char::from(CHECK[bits & 31])
}

/// The number behind an id of 15 or 18 characters; `None` if it is no id of this object.
pub(crate) fn parse_id(object: &Object, id: &str) -> Option<u64> {
    let (bare, checks) = id.split_at_checked(15)?;
    if !checks.is_empty() && !bare.as_bytes().chunks(5).map(check).eq(checks.chars()) {
        return None;
    }
    let digit = |byte: u8| BASE62.iter().position(|&held| held == byte).and_then(|digit| u64::try_from(digit).ok());
    let digits = bare.strip_prefix(object.prefix)?.strip_prefix("Hs0")?;
    digits.bytes().try_fold(0u64, |number, byte| Some(number * 62 + digit(byte)?))
}
