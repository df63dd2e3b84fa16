//! Salesforce's records: finding, reading and changing them by the rules of their objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::Time;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::body::Body;
use crate::http::HttpReply;
use crate::query::Query;
use crate::records::{Row, fold, text};
use crate::salesforce::{Refusal, locator};
use crate::schema::{self, Kind, Misfit, Object};
use crate::sheet::{Sheet, parse_id, record_id};

/// Records of one page of a query's result.
const PAGE: usize = 2_000;

/// What a write does to the records it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Way {
    Upsert { update_only: bool },
    Create,
    Update,
    Delete,
}

/// Which record is meant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Locate {
    New,
    Id(String),
    Key { field: String, value: String },
}

/// One record of a write.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Target {
    pub object: String,
    pub by: Locate,
    pub body: Body,
}

/// A write of one record or of a collection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Write {
    pub way: Way,
    pub collection: bool,
    pub all_or_none: bool,
    /// A record that could not even be read is refused in its place.
    pub records: Vec<Result<Target, Refusal>>,
}

impl Write {
    /// The keys of the records, as far as the request names them.
    pub fn keys(&self) -> impl Iterator<Item = Option<String>> {
        self.records.iter().map(|record| record.as_ref().ok().and_then(Target::key))
    }
}

impl Target {
    fn key(&self) -> Option<String> {
        match &self.by {
            Locate::Key { value, .. } => Some(value.clone()),
            Locate::Id(id) => Some(id.clone()),
            Locate::New => self.body.0.iter().find(|(name, _)| schema::is_external_id(name)).and_then(|(_, value)| text(value)),
        }
    }
}

/// What happened to one record.
#[derive(Clone, Debug)]
pub(crate) enum Done {
    Created(String),
    Updated(String),
    Deleted(String),
}

/// What happened to one record of a write, under the key that the request named.
#[derive(Debug)]
pub(crate) struct Ran {
    pub key: Option<String>,
    pub result: Result<Done, Refusal>,
}

/// Everything the CRM holds.
#[derive(Debug, Default)]
pub(crate) struct Org {
    sheets: BTreeMap<&'static str, Sheet>,
    /// Whether the tables remember what changes.
    kept: bool,
}

pub(crate) type Changes = Vec<(Arc<str>, Value)>;

impl Org {
    pub fn live(&self) -> usize {
        self.sheets.values().map(|sheet| sheet.table.live()).sum()
    }

    pub fn held(&self) -> usize {
        self.sheets.values().map(|sheet| sheet.table.held()).sum()
    }

    /// Every record with its object and number, deleted ones included.
    pub fn rows(&self, object: Option<&str>) -> impl Iterator<Item = (&'static Object, u64, &Row)> {
        let wanted = self.sheets.values().filter(move |sheet| object.is_none_or(|name| name.eq_ignore_ascii_case(sheet.object.name)));
        wanted.flat_map(|sheet| sheet.table.rows().map(|(number, row)| (sheet.object, number, row)))
    }

    pub fn row(&self, object: &str, number: u64) -> Option<&Row> {
        self.sheets.get(object)?.table.row(number)
    }

    /// From here on remembers which rows change.
    pub fn keep_changes(&mut self) {
        self.kept = true;
        self.sheets.values_mut().for_each(|sheet| sheet.table.keep_changes());
    }

    /// The objects and numbers of the rows that have changed since the last time.
    pub fn take_changed(&mut self) -> Vec<(&'static str, u64)> {
        let changed =
            |(&name, sheet): (&&'static str, &mut Sheet)| sheet.table.take_changed().into_iter().map(move |number| (name, number));
        self.sheets.iter_mut().flat_map(changed).collect()
    }

    /// Puts a record back, or takes it out; false if there is no such object.
    pub fn restore(&mut self, object: &str, number: u64, row: Option<Row>) -> bool {
        self.sheet(object).is_ok_and(|sheet| sheet.restore(number, row).is_ok())
    }

    fn sheet(&mut self, name: &str) -> Result<&mut Sheet, Refusal> {
        let object = schema::object(name).ok_or_else(Refusal::not_found)?;
        let kept = self.kept;
        Ok(self.sheets.entry(object.name).or_insert_with(|| {
            let mut sheet = Sheet::new(object);
            if kept {
                sheet.table.keep_changes();
            }
            sheet
        }))
    }

    /// Applies a write. `locked` are the places of records that meet a lock; `room` is the most rows that may be held.
    pub fn write(&mut self, mut write: Write, locked: &BTreeSet<usize>, room: usize, now: Time) -> Result<Vec<Ran>, Refusal> {
        let doubled = doubled_keys(&write);
        let keys: Vec<Option<String>> = write.records.iter().map(|record| self.key_of(record.as_ref().ok()?)).collect();
        let mut ready = Vec::with_capacity(write.records.len());
        for (place, record) in write.records.iter_mut().enumerate() {
            let prepared = match record {
                Ok(target) => self.prepare(target),
                Err(refusal) => Err(Wrong::Record(refusal.clone())),
            };
            ready.push(match prepared {
                Err(Wrong::Request(refusal)) => return Err(refusal),
                Err(Wrong::Record(refusal)) => Err(refusal),
                Ok(_) if locked.contains(&place) => Err(Refusal::locked()),
                Ok(_) if doubled.contains(&place) => Err(doubled_key(keys[place].as_deref())),
                Ok(changes) => Ok(changes),
            });
        }
        if write.all_or_none {
            self.sheets.values_mut().for_each(|sheet| sheet.table.begin());
        }
        let mut results = Vec::with_capacity(ready.len());
        for ((record, changes), key) in write.records.into_iter().zip(ready).zip(keys) {
            let result = match (record, changes) {
                (Ok(target), Ok(changes)) => self.apply(write.way, &target, changes, room, now),
                (_, Err(refusal)) | (Err(refusal), Ok(_)) => Err(refusal),
            };
            results.push(Ran { key, result });
        }
        if write.all_or_none {
            let keep = results.iter().all(|ran| ran.result.is_ok());
            self.sheets.values_mut().for_each(|sheet| sheet.table.end(keep));
            for ran in results.iter_mut().filter(|ran| !keep && ran.result.is_ok()) {
                let says = "Record rolled back because not all records were valid and the request was using AllOrNone header";
                ran.result = Err(Refusal::new(400, "ALL_OR_NONE_OPERATION_ROLLED_BACK", says));
            }
        }
        Ok(results)
    }

    /// The key of the record that is meant, also where the request names it by its id.
    fn key_of(&self, target: &Target) -> Option<String> {
        let by_id = |id: &str| {
            let sheet = self.sheets.get(schema::object(&target.object)?.name)?;
            sheet.table.row(parse_id(sheet.object, id)?)?.key()
        };
        match &target.by {
            Locate::Id(id) => by_id(id).or_else(|| target.key()),
            Locate::Key { .. } | Locate::New => target.key(),
        }
    }

    /// Takes a record's fields, checks them on their own and finds its parents; changes no record.
    fn prepare(&mut self, target: &mut Target) -> Result<Changes, Wrong> {
        let sheet = self.sheet(&target.object)?;
        let members = std::mem::take(&mut target.body).0;
        if let Locate::Key { field, .. } = &target.by {
            let key = sheet.key_column(field)?;
            if members.iter().any(|(name, _)| name.eq_ignore_ascii_case(&key)) {
                let says = format!("The {key} field should not be specified in the sobject data.");
                return Err(Wrong::Record(Refusal::new(400, "INVALID_FIELD", says).of(&key)));
            }
        }
        let mut changes = Vec::with_capacity(members.len() + 1);
        for (name, value) in members.into_iter().filter(|(name, _)| name != "attributes") {
            match (name.as_str(), value) {
                ("Account", Value::Object(parent)) if has_account(&target.object) => {
                    changes.push(("AccountId".into(), self.parent("Account", &parent)?));
                }
                (_, value) => {
                    let sheet = self.sheet(&target.object)?;
                    let (column, kind) = sheet.column(&name).ok_or_else(|| no_such_column(&name, sheet.object))?;
                    let fitting = schema::fit(&column, kind, value).map_err(|misfit| Wrong::from_misfit(&column, misfit))?;
                    let fitting = self.reference(&column, kind, fitting)?;
                    changes.push((column, fitting));
                }
            }
        }
        Ok(changes)
    }

    /// The id of the parent that a nested object like `{"Ext_Id__c": "acct-42"}` names.
    fn parent(&mut self, object: &str, named: &Map<String, Value>) -> Result<Value, Refusal> {
        let mut members = named.iter().filter(|(name, _)| *name != "attributes");
        let (Some((field, value)), None) = (members.next(), members.next()) else {
            return Err(Refusal::new(400, "INVALID_FIELD", format!("Name the {object} by exactly one external id field")).of(object));
        };
        let sheet = self.sheet(object)?;
        let (column, value) = (sheet.key_column(field)?, text(value).unwrap_or_default());
        match sheet.table.find(&column, &value).as_slice() {
            [number] => Ok(record_id(sheet.object, *number).into()),
            [] => {
                let says = format!("Foreign key external ID: {value} not found for field {column} in entity {object}");
                Err(Refusal::new(400, "INVALID_FIELD", says).of(field))
            }
            [..] => Err(Refusal::new(400, "DUPLICATE_EXTERNAL_ID", format!("{column}: more than one record found for external id field"))),
        }
    }

    /// Checks that an id in a reference field is one, and that its record is there.
    fn reference(&mut self, column: &str, kind: Kind, value: Value) -> Result<Value, Refusal> {
        let (Kind::Reference(object), Value::String(id)) = (kind, &value) else { return Ok(value) };
        let malformed = || Refusal::new(400, "MALFORMED_ID", format!("{column}: id value of incorrect type: {id}")).of(column);
        if object.is_empty() {
            let fits = matches!(id.len(), 15 | 18) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
            return if fits { Ok(value) } else { Err(malformed()) };
        }
        let sheet = self.sheet(object)?;
        let number = parse_id(sheet.object, id).ok_or_else(malformed)?;
        match sheet.table.row(number).filter(|row| !row.deleted) {
            Some(_) => Ok(record_id(sheet.object, number).into()),
            None => Err(Refusal::new(400, "INVALID_CROSS_REFERENCE_KEY", format!("invalid cross reference id: {id}")).of(column)),
        }
    }

    fn apply(&mut self, way: Way, target: &Target, changes: Changes, room: usize, now: Time) -> Result<Done, Refusal> {
        let full = self.held() >= room;
        let sheet = self.sheet(&target.object)?;
        let found = sheet.find(&target.by)?;
        match (way, found) {
            (Way::Delete, Some(number)) => {
                sheet.table.delete(number, now);
                Ok(Done::Deleted(record_id(sheet.object, number)))
            }
            (Way::Update | Way::Upsert { .. }, Some(number)) => {
                sheet.check(Some(number), &changes)?;
                sheet.table.update(number, changes, now);
                Ok(Done::Updated(record_id(sheet.object, number)))
            }
            (Way::Update | Way::Delete | Way::Upsert { update_only: true }, None) => Err(Refusal::not_found()),
            (Way::Upsert { update_only: false } | Way::Create, _) if full => {
                Err(Refusal::new(403, "STORAGE_LIMIT_EXCEEDED", "storage limit exceeded"))
            }
            (Way::Upsert { update_only: false } | Way::Create, _) => sheet.create(target, changes, now).map(Done::Created),
        }
    }

    /// Reads one record, with all its fields or those that a comma-separated list names.
    pub fn read(&mut self, version: &str, object: &str, by: &Locate, fields: Option<&str>) -> Result<HttpReply, Refusal> {
        let sheet = self.sheet(object)?;
        let number = sheet.find(by)?.ok_or_else(Refusal::not_found)?;
        let columns = match fields {
            Some(list) => list.split(',').map(|name| sheet.readable(name.trim())).collect::<Result<Vec<_>, _>>()?,
            None => sheet.columns.keys().cloned().collect(),
        };
        Ok(HttpReply::json(200, &sheet.show(version, number, &columns)))
    }

    /// Answers a query from the `from`-th record on; `text` is the query as it was sent.
    pub fn query(&mut self, version: &str, query: &Query, text: &str, from: usize) -> Result<HttpReply, Refusal> {
        let unsupported = || Refusal::new(400, "INVALID_TYPE", format!("sObject type '{}' is not supported.", query.object));
        let sheet = self.sheet(&query.object).map_err(|_| unsupported())?;
        let columns = query.fields.iter().map(|name| sheet.readable(name)).collect::<Result<Vec<_>, _>>()?;
        let mut matching: Option<BTreeSet<u64>> = None;
        for condition in &query.conditions {
            let column = sheet.readable(&condition.field)?;
            let hits = sheet.matching(&column, &condition.values)?;
            matching = Some(matching.map_or_else(|| hits.clone(), |before| &before & &hits));
        }
        let all =
            matching.map_or_else(|| sheet.table.rows().filter(|(_, row)| !row.deleted).map(|(number, _)| number).collect(), Vec::from_iter);
        let total = all.len().min(query.limit.unwrap_or(usize::MAX));
        let page: Vec<Value> = all[..total].iter().skip(from).take(PAGE).map(|&number| sheet.show(version, number, &columns)).collect();
        let next = from.saturating_add(page.len());
        let mut result = json!({"totalSize": total, "done": next >= total, "records": page});
        if next < total {
            result["nextRecordsUrl"] = format!("/services/data/{version}/query/{}", locator(text, next)).into();
        }
        Ok(HttpReply::json(200, &result))
    }

    /// The object's fields, as far as a connector asks for them.
    pub fn describe(&mut self, object: &str) -> Result<HttpReply, Refusal> {
        let sheet = self.sheet(object)?;
        let field = |(name, &kind): (&Arc<str>, &Kind)| {
            let writable = kind != Kind::ReadOnly;
            let (kind, length) = match kind {
                Kind::Text(longest) => ("string", longest),
                Kind::Email => ("email", 80),
                Kind::Number => ("double", 0),
                Kind::Flag => ("boolean", 0),
                Kind::Date => ("date", 0),
                Kind::Reference(_) => ("reference", 18),
                Kind::Custom => ("string", 255),
                Kind::ReadOnly => ("string", 0),
            };
            let unique = sheet.unique.contains(name);
            json!({"name": name, "type": kind, "length": length, "custom": name.ends_with("__c"), "externalId": unique, "unique": unique,
                "idLookup": unique || &**name == "Email" || &**name == "Id", "nillable": !sheet.object.required.contains(&&**name),
                "createable": writable, "updateable": writable})
        };
        let fields: Vec<Value> = sheet.columns.iter().map(field).collect();
        let object = sheet.object;
        Ok(HttpReply::json(
            200,
            &json!({"name": object.name, "label": object.name, "keyPrefix": object.prefix, "createable": true, "updateable": true,
            "deletable": true, "queryable": true, "fields": fields}),
        ))
    }
}

/// What is wrong with a record: with it alone, or so that the whole request cannot be read.
pub(crate) enum Wrong {
    Record(Refusal),
    Request(Refusal),
}

impl From<Refusal> for Wrong {
    fn from(refusal: Refusal) -> Self {
        Self::Record(refusal)
    }
}

impl Wrong {
    pub fn from_misfit(column: &str, misfit: Misfit) -> Self {
        match misfit {
            Misfit::Value(code, says) => Self::Record(Refusal::new(400, code, says).of(column)),
            Misfit::Type(wanted, found) => {
                let says = format!(
                    "Cannot deserialize instance of {wanted} from {found} value or request may be missing a required field at {column}"
                );
                Self::Request(Refusal::new(400, "JSON_PARSER_ERROR", says))
            }
        }
    }

    pub fn into_refusal(self) -> Refusal {
        match self {
            Self::Record(refusal) | Self::Request(refusal) => refusal,
        }
    }
}

fn has_account(object: &str) -> bool {
    schema::object(object).is_some_and(|object| object.fields.iter().any(|(name, _)| *name == "AccountId"))
}

fn no_such_column(name: &str, object: &Object) -> Refusal {
    Refusal::new(400, "INVALID_FIELD", format!("No such column '{name}' on sobject of type {}", object.name)).of(name)
}

fn doubled_key(key: Option<&str>) -> Refusal {
    Refusal::new(400, "DUPLICATE_VALUE", format!("Duplicate external id specified: {}", key.unwrap_or_default()))
}

/// The places of records whose key occurs more than once in their own batch; all of them are refused.
fn doubled_keys(write: &Write) -> BTreeSet<usize> {
    let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, record) in write.records.iter().enumerate() {
        if let Ok(Target { by: Locate::Key { value, .. }, .. }) = record {
            places.entry(fold(value)).or_default().push(place);
        }
    }
    places.into_values().filter(|places| places.len() > 1).flatten().collect()
}
