//! Odoo: records by external id through the JSON-2 API of version 19 and later (crm-apis.md, section 9; the vendor's documentation of the
//! external API, and its source for what `load` does).
//!
//! Level B: `load` creates or changes up to 100 records in one transaction, all or none; each is found by its external id, which is made of
//! the object and the key. Every refused row is named in the answer, so that the others can go at once. What is only to be changed is loaded
//! by its database id. Reading goes in steps: external ids, then the model. An object may be written `res.partner:company`: what follows the
//! colon only tells two kinds of one model apart.

mod refusal;
#[cfg(test)]
mod tests;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::event::Mode;
use model::{Class, Failure, Scope};
use reqwest::Method;
use serde_json::{Value, json};

use self::refusal::{refused, refused_write, rejected};
use self::value::{Column, columns, same_value};
use super::refusal::{Call, garbage, placed};
use crate::connector::last;
use crate::{
    AuthKind, Body, Connector, Description, FieldDescription, FieldKind, Level, Limits, Outcome, Present, ReadBatch, Repeat, Reply,
    Request, Settings, SettingsError, Setup, Sought, Statement, WriteBatch, WriteRecord, Written,
};

/// An API key.
pub(super) const TAKES: &[AuthKind] = &[AuthKind::Bearer];
/// Odoo has no limit of its own; a server of one's own is not to be flooded.
pub(super) const CALLS: u32 = 10;
/// `load` takes thousands; a call of these ends well within its time.
const BATCH_MAX: usize = 100;
const KEY_MAX: usize = 100;
/// The module part of our external ids.
const MODULE: &str = "onceward";

/// The translator for Odoo.
#[derive(Clone, Debug)]
pub struct Odoo {
    database: Option<String>,
}

impl Odoo {
    /// A translator, for one of a server's databases if it has several.
    ///
    /// # Errors
    ///
    /// A version was asked for, or the database's name is none.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        if let Some(other) = settings.api_version.as_deref().filter(|version| *version != "2") {
            return Err(SettingsError::ApiVersion(format!("`{other}` is not spoken here; leave it out, or write `2` for JSON-2")));
        }
        let good = |name: &String| {
            (1..=63).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        };
        match &settings.database {
            Some(name) if !good(name) => Err(SettingsError::BaseUrl(format!("`database` is a name such as `example`, not `{name}`"))),
            database => Ok(Self { database: database.clone() }),
        }
    }

    fn call(&self, object: &str, method: &str, mut body: Value) -> Request {
        // Moments are written and read in UTC, numbers and booleans as they are spelled here, and what is archived is there too.
        body["context"] = json!({ "lang": "en_US", "tz": "UTC", "active_test": false });
        let mut request = Request::new(Method::POST, format!("/json/2/{}/{method}", model_of(object)), Body::Json(body));
        request.headers.extend(self.database.clone().map(|name| ("x-odoo-database".to_owned(), name)));
        request
    }

    /// Reads the records with these database ids.
    fn by_ids(&self, batch: &ReadBatch, ids: &BTreeSet<i64>) -> Request {
        let mut fields: BTreeSet<&str> = batch.fields.iter().map(|field| field.split('/').next().unwrap_or_default()).collect();
        fields.extend(["id", "write_date"]);
        self.call(&batch.object, "search_read", json!({ "domain": [["id", "in", ids]], "fields": fields }))
    }
}

/// The technical name of an object's model: `res.partner` of `res.partner:company`.
fn model_of(object: &str) -> &str {
    object.split_once(':').map_or(object, |(model, _)| model)
}

/// A model, perhaps with a label of one's own after a colon; a field; or `id`, under which the external id is known.
pub(super) fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_lowercase())
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.".contains(&byte))
    };
    name.len() <= 100 && name.split(':').count() <= 2 && name.split(':').all(part)
}

fn refuse(class: Class, code: &str, message: &str) -> Failure {
    Failure::new(class, Scope::Call, code, message)
}

fn check_name(name: &str) -> Result<(), Failure> {
    if is_name(name) {
        return Ok(());
    }
    let message =
        format!("`{}` is no technical name of a model or field of Odoo's: correct the destination's mapping", name.escape_default());
    Err(refuse(Class::Permanent, "invalid_name", &message))
}

fn check_key(key: &str) -> Result<(), Failure> {
    if key.trim().is_empty() || key.trim().len() > KEY_MAX {
        return Err(refuse(Class::Permanent, "invalid_key", "a key is 1 to 100 bytes, not only spaces"));
    }
    Ok(())
}

/// The name of a record's external id: the object's and the key's letters and digits, and every other byte as two digits after `_`, because
/// an external id has neither spaces nor further dots.
fn external_name(object: &str, key: &str) -> String {
    let mut name = String::new();
    for (place, text) in [object, key.trim()].into_iter().enumerate() {
        name.push_str(if place == 0 { "" } else { "__" });
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || byte == b'-' {
                name.push(char::from(byte));
            } else {
                name.push_str(&format!("_{byte:02x}"));
            }
        }
    }
    name
}

/// A record's external id.
fn external_id(object: &str, key: &str) -> String {
    format!("{MODULE}.{}", external_name(object, key))
}

/// The database id of a record whose id is known.
fn number(id: &str) -> Result<i64, Failure> {
    let number = id.parse::<i64>().ok().filter(|number| *number > 0);
    number.ok_or_else(|| refuse(Class::Permanent, "invalid_id", "a record's id is a whole number"))
}

fn known(record: &WriteRecord) -> Result<i64, Failure> {
    let unknown = "a record that is only to be changed is looked up first, and was not; this is a bug of ours";
    number(record.crm_id.as_deref().ok_or_else(|| refuse(Class::Permanent, "invalid_id", unknown))?)
}

impl Connector for Odoo {
    fn level(&self) -> Level {
        Level::B
    }

    fn statement(&self) -> Statement {
        Statement {
            created_from_updated: "nothing: `load` answers with ids alone",
            cannot: "one refused record undoes its call, whose others go again; records without our external ids are not found; lists of tags are \
                     written and not compared",
        }
    }

    /// `load` by external id both creates and changes, so what must do only one of these needs to know first whether the record is there.
    fn repeat(&self, _object: &str, mode: Mode) -> Repeat {
        match mode {
            Mode::UpdateOnly | Mode::CreateOnly => Repeat::Look,
            Mode::Upsert | Mode::Delete => Repeat::Keyed,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            write_batch: BATCH_MAX,
            read_batch: BATCH_MAX,
            call_timeout: Duration::from_secs(60),
            late_window: Duration::from_secs(300),
            retry_after_max: Duration::from_secs(3_600),
        }
    }

    fn canonical_key(&self, key: &str) -> String {
        key.trim().to_owned()
    }

    fn equal(&self, _field: &str, a: &Value, b: &Value) -> bool {
        same_value(a, b)
    }

    /// As many as have the same columns: an empty cell would clear.
    fn write_fits(&self, batch: &WriteBatch) -> usize {
        let Some(first) = batch.records.first() else { return 0 };
        if batch.mode == Mode::Delete {
            return batch.records.len().min(BATCH_MAX);
        }
        let header = columns(first, &batch.key_field);
        batch.records.iter().take(BATCH_MAX).take_while(|record| columns(record, &batch.key_field) == header).count()
    }

    fn write(&self, batch: &WriteBatch) -> Result<Request, Failure> {
        let first = batch.records.first();
        let first = first.ok_or_else(|| refuse(Class::Permanent, "empty_batch", "nothing was to be written; this is a bug of ours"))?;
        check_name(&batch.object)?;
        let fits = self.write_fits(batch);
        if batch.records.len() > fits {
            let code = if batch.records.len() > BATCH_MAX { "too_large" } else { "mixed_batch" };
            return Err(refuse(Class::Conflict, code, "more records, or other fields, than fit into one call"));
        }
        let mut keys = BTreeSet::new();
        for record in &batch.records {
            check_key(&record.key)?;
            record.fields.keys().try_for_each(|name| check_name(name))?;
            if !keys.insert(self.canonical_key(&record.key)) {
                return Err(refuse(Class::Conflict, "duplicate_key", "one key is twice in this call"));
            }
        }
        if batch.mode == Mode::Delete {
            let ids: Vec<i64> = batch.records.iter().map(known).collect::<Result<_, _>>()?;
            return Ok(self.call(&batch.object, "unlink", json!({ "ids": ids })));
        }
        let header = columns(first, &batch.key_field);
        let by_id = batch.mode == Mode::UpdateOnly;
        let mut fields = vec![if by_id { ".id" } else { "id" }.to_owned()];
        fields.extend(header.iter().map(Column::header));
        let row = |record: &WriteRecord| {
            let own = if by_id { known(record)?.to_string() } else { external_id(&batch.object, &record.key) };
            Ok(std::iter::once(own).chain(header.iter().map(|column| column.cell(record))).collect::<Vec<String>>())
        };
        let data: Vec<Vec<String>> = batch.records.iter().map(row).collect::<Result<_, Failure>>()?;
        Ok(self.call(&batch.object, "load", json!({ "fields": fields, "data": data })))
    }

    fn written(&self, batch: &WriteBatch, reply: &Reply) -> Outcome<Written> {
        if reply.status != 200 {
            return refused_write(batch, reply);
        }
        let body = reply.json().ok_or_else(|| garbage(reply))?;
        if batch.mode == Mode::Delete {
            return if body == true { Ok(batch.records.iter().map(|_| Ok(Written::default())).collect()) } else { Err(garbage(reply)) };
        }
        if body["ids"] == false {
            return rejected(batch, &body["messages"]).ok_or_else(|| garbage(reply));
        }
        // In the order of the rows. A row that was left out without a word would shift them, so their number has to be right.
        let ids: Option<Vec<i64>> = body["ids"].as_array().map(|ids| ids.iter().filter_map(Value::as_i64).collect());
        let ids = ids.filter(|ids| ids.len() == batch.records.len()).ok_or_else(|| garbage(reply))?;
        let created = match batch.mode {
            Mode::CreateOnly => Some(true),
            Mode::UpdateOnly => Some(false),
            Mode::Upsert | Mode::Delete => None,
        };
        Ok(ids.into_iter().map(|id| Ok(Written { crm_id: Some(id.to_string()), created })).collect())
    }

    fn read_fits(&self, batch: &ReadBatch) -> usize {
        batch.records.len().min(BATCH_MAX)
    }

    /// Which of our external ids there are; or the records themselves, where all their ids are known.
    fn read(&self, batch: &ReadBatch) -> Result<Request, Failure> {
        if batch.records.is_empty() {
            return Err(refuse(Class::Permanent, "empty_batch", "nothing was asked for; this is a bug of ours"));
        }
        if batch.records.len() > BATCH_MAX {
            return Err(refuse(Class::Conflict, "too_large", "more keys than fit into one call"));
        }
        std::iter::once(&batch.object).chain(&batch.fields).try_for_each(|name| check_name(name))?;
        batch.records.iter().try_for_each(|sought| check_key(&sought.key))?;
        let ids = ids_known(batch)?;
        let unknown: Vec<String> =
            batch.records.iter().filter(|sought| sought.crm_id.is_none()).map(|sought| external_name(&batch.object, &sought.key)).collect();
        if unknown.is_empty() {
            return Ok(self.by_ids(batch, &ids));
        }
        let domain = json!([["module", "=", MODULE], ["model", "=", model_of(&batch.object)], ["name", "in", unknown]]);
        Ok(self.call("ir.model.data", "search_read", json!({ "domain": domain, "fields": ["name", "res_id"] })))
    }

    fn read_on(&self, batch: &ReadBatch, replies: &[Reply]) -> Result<Option<Request>, Failure> {
        let [first] = replies else { return Ok(None) };
        if batch.records.iter().all(|sought| sought.crm_id.is_some()) {
            return Ok(None);
        }
        let mut ids = ids_known(batch)?;
        ids.extend(external_ids(first)?.into_values());
        Ok((!ids.is_empty()).then(|| self.by_ids(batch, &ids)))
    }

    fn found(&self, batch: &ReadBatch, replies: &[Reply]) -> Outcome<Option<Present>> {
        let reply = last(replies)?;
        if reply.status != 200 {
            return placed(refused(reply, Call::Read), batch.records.len());
        }
        let named = match replies.first() {
            Some(first) if batch.records.iter().any(|sought| sought.crm_id.is_none()) => external_ids(first)?,
            Some(_) | None => BTreeMap::new(),
        };
        // Nobody had to be asked further: there is nothing.
        let asked_only = replies.len() == 1 && batch.records.iter().any(|sought| sought.crm_id.is_none());
        let rows =
            if asked_only { Vec::new() } else { reply.json().and_then(|body| body.as_array().cloned()).ok_or_else(|| garbage(reply))? };
        let held: BTreeMap<i64, &Value> = rows.iter().filter_map(|row| Some((row["id"].as_i64()?, row))).collect();
        let one = |sought: &Sought| {
            let id = match &sought.crm_id {
                Some(id) => Some(number(id)?),
                None => named.get(&external_name(&batch.object, &sought.key)).copied(),
            };
            // An external id may outlive its record.
            Ok(id.and_then(|id| Some(value::present(batch, id, held.get(&id)?))))
        };
        Ok(batch.records.iter().map(one).collect())
    }

    fn describe(&self, object: &str) -> Vec<Request> {
        let told = json!({ "attributes": ["type", "required", "readonly", "selection", "size"] });
        vec![self.call(object, "fields_get", told)]
    }

    fn described(&self, _object: &str, replies: &[Reply]) -> Result<Description, Failure> {
        let reply = last(replies)?;
        if reply.status != 200 {
            return Err(refused(reply, Call::Read));
        }
        let body = reply.json().unwrap_or_default();
        let fields = body.as_object().ok_or_else(|| garbage(reply))?;
        let mut fields: BTreeMap<String, FieldDescription> =
            fields.iter().map(|(name, told)| (name.clone(), value::described(told))).collect();
        // Not the database's id, which `fields_get` tells of: in `load` this is the external one.
        let external =
            FieldDescription { kind: FieldKind::Text, length_max: None, creatable: true, updatable: false, required: false, unique: true };
        fields.insert("id".to_owned(), external);
        Ok(Description { fields })
    }

    fn setup(&self, _object: &str, key_field: &str) -> Setup {
        Setup::Instructions(if key_field == "id" {
            "nothing has to be made: `id` is the record's external id, which Odoo keeps for every model. The API's user must be allowed to read \
             `ir.model.data`"
                .to_owned()
        } else {
            format!("records are found by their external ids: write `key = {{ field = \"id\", … }}` instead of `{key_field}`")
        })
    }

    fn probe(&self) -> Request {
        self.call("res.users", "context_get", json!({}))
    }

    fn probed(&self, reply: &Reply) -> Result<(), Failure> {
        match reply.status {
            200 if reply.json().is_some_and(|context| context.is_object()) => Ok(()),
            200 => Err(garbage(reply)),
            _ => Err(refused(reply, Call::Read)),
        }
    }
}

fn ids_known(batch: &ReadBatch) -> Result<BTreeSet<i64>, Failure> {
    batch.records.iter().filter_map(|sought| sought.crm_id.as_deref()).map(number).collect()
}

/// Names and database ids of an answer of `ir.model.data`.
fn external_ids(reply: &Reply) -> Result<BTreeMap<String, i64>, Failure> {
    if reply.status != 200 {
        return Err(refused(reply, Call::Read));
    }
    let body = reply.json().unwrap_or_default();
    let rows = body.as_array().ok_or_else(|| garbage(reply))?;
    let one = |row: &Value| Some((row["name"].as_str()?.to_owned(), row["res_id"].as_i64()?));
    rows.iter().map(one).collect::<Option<_>>().ok_or_else(|| garbage(reply))
}
