//! HubSpot's records: finding, reading and changing them by the rules of their objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::Time;
use serde_json::{Map, Value, json};

use super::own::{self, OwnProperties};
use super::properties::{self, Kind, Object};
use super::{Done, Input, Look, PORTAL_ID, Ran, Refusal, Way, Write, complete, shown};
use crate::http::HttpReply;
use crate::records::{Row, Table, text};

/// Record ids are numbers from beyond this one.
const FIRST_ID: u64 = 171_591_000_000;
/// Properties of someone's own that one object can have as keys.
const MAX_UNIQUE: usize = 10;

/// One object's records.
#[derive(Debug)]
struct Shelf {
    object: &'static Object,
    unique: BTreeSet<Arc<str>>,
    /// Properties that somebody made. A restart forgets those that no record has.
    own: OwnProperties,
    table: Table,
}

/// Everything the account holds.
#[derive(Debug, Default)]
pub(crate) struct Portal {
    shelves: BTreeMap<&'static str, Shelf>,
    /// Whether the tables remember what changes.
    kept: bool,
}

type Changes = Vec<(Arc<str>, Value)>;

/// The record's id.
pub(crate) fn record_id(number: u64) -> String {
    (FIRST_ID + number).to_string()
}

fn parse_id(id: &str) -> Option<u64> {
    id.parse::<u64>().ok()?.checked_sub(FIRST_ID)
}

impl Portal {
    pub fn live(&self) -> usize {
        self.shelves.values().map(|shelf| shelf.table.live()).sum()
    }

    pub fn held(&self) -> usize {
        self.shelves.values().map(|shelf| shelf.table.held()).sum()
    }

    /// Every record with its object's name, its number and its id, deleted ones included.
    pub fn rows(&self, object: Option<&str>) -> impl Iterator<Item = (&'static str, u64, &Row)> {
        let wanted = self.shelves.values().filter(move |shelf| object.is_none_or(|name| name == shelf.object.name));
        wanted.flat_map(|shelf| shelf.table.rows().map(|(number, row)| (shelf.object.name, number, row)))
    }

    pub fn row(&self, object: &str, number: u64) -> Option<&Row> {
        self.shelves.get(object)?.table.row(number)
    }

    /// From here on remembers which rows change.
    pub fn keep_changes(&mut self) {
        self.kept = true;
        self.shelves.values_mut().for_each(|shelf| shelf.table.keep_changes());
    }

    /// The objects and numbers of the rows that have changed since the last time.
    pub fn take_changed(&mut self) -> Vec<(&'static str, u64)> {
        let changed =
            |(&name, shelf): (&&'static str, &mut Shelf)| shelf.table.take_changed().into_iter().map(move |number| (name, number));
        self.shelves.iter_mut().flat_map(changed).collect()
    }

    /// Puts a record back, or takes it out; false if there is no such object.
    pub fn restore(&mut self, object: &str, number: u64, row: Option<Row>) -> bool {
        let Ok(shelf) = self.shelf(object) else { return false };
        let unique = row
            .iter()
            .flat_map(|row| row.fields.keys().chain(&row.key_field))
            .filter(|name| properties::is_external_id(name) || row.as_ref().is_some_and(|row| row.key_field.as_ref() == Some(*name)));
        for name in unique.cloned().collect::<Vec<_>>() {
            shelf.make_unique(&name);
        }
        shelf.table.restore(number, row);
        true
    }

    fn shelf(&mut self, name: &str) -> Result<&mut Shelf, Refusal> {
        let object = properties::object(name).ok_or_else(super::not_found)?;
        let kept = self.kept;
        Ok(self.shelves.entry(object.name).or_insert_with(|| {
            let mut shelf = Shelf { object, unique: BTreeSet::new(), own: OwnProperties::new(), table: Table::default() };
            if object.kind("email") == Some(Kind::Email) {
                shelf.make_unique(&"email".into());
            }
            if kept {
                shelf.table.keep_changes();
            }
            shelf
        }))
    }

    /// Applies a write. `locked` are the places of records that meet a lock; `room` is the most rows that may be held.
    pub fn write(&mut self, write: Write, locked: &BTreeSet<usize>, room: usize, now: Time) -> Result<Vec<Ran>, Refusal> {
        let traced = write.traced();
        let mut held = self.held();
        let Write { object, way, single, inputs } = write;
        let shelf = self.shelf(&object)?;
        for name in inputs.iter().filter_map(|input| input.id_property.as_deref()) {
            shelf.key_property(name)?;
        }
        // A lock on the only record of a call is the call's.
        if !locked.is_empty() && (inputs.len() == 1 || !traced) {
            return Err(Refusal::locked());
        }
        let together = single || !traced;
        if together {
            shelf.table.begin();
        }
        let mut results = Vec::with_capacity(inputs.len());
        for (place, input) in inputs.into_iter().enumerate() {
            let (key, trace) = (shelf.key_of(&input), input.object_write_trace_id.clone());
            let result = match locked.contains(&place) {
                true => Err(Refusal::locked()),
                false => shelf.apply(way, input, held < room, now),
            };
            held += usize::from(result.as_ref().is_ok_and(|done| done.new));
            results.push(Ran { key, trace, result });
        }
        // Without trace ids one bad record fails all; only what is not there is always told for itself.
        let whole = results.iter().filter_map(|ran| ran.result.as_ref().err()).find(|refusal| refusal.category != "OBJECT_NOT_FOUND");
        let whole = whole.filter(|_| together).cloned();
        shelf.table.end(whole.is_none());
        whole.map_or(Ok(results), Err)
    }

    /// Answers what changes nothing.
    pub fn look(&mut self, look: Look) -> Result<HttpReply, Refusal> {
        match look {
            Look::Account => Ok(HttpReply::json(
                200,
                &json!({ "portalId": PORTAL_ID, "accountType": "STANDARD", "timeZone": "US/Eastern", "utcOffset": "-05:00", "uiDomain": "app.hubspot.com" }),
            )),
            Look::Properties { object, name } => self.shelf(&object)?.properties(name.as_deref()),
            Look::MakeProperty { object, new } => self.shelf(&object)?.make_property(new),
            Look::ChangeProperty { object, name, change } => {
                Ok(HttpReply::json(200, &own::change(&mut self.shelf(&object)?.own, &name, change)?))
            }
            Look::List { object, limit } => {
                let shelf = self.shelf(&object)?;
                let live = shelf.table.rows().filter(|(_, row)| !row.deleted).take(limit);
                let rows: Vec<Value> = live.map(|(number, row)| shelf.show(number, row, &[])).collect();
                Ok(HttpReply::json(200, &json!({ "results": rows })))
            }
            Look::Read { object, by, properties, ids, single } => {
                let shelf = self.shelf(&object)?;
                let by = by.map(|name| shelf.key_property(&name)).transpose()?;
                let (mut rows, mut missing) = (BTreeMap::new(), Vec::new());
                for id in ids {
                    match shelf.find(by.as_ref(), &id).and_then(|number| Some((number, shelf.table.row(number)?))) {
                        Some((number, row)) => drop(rows.insert(number, shelf.show(number, row, &properties))),
                        None => missing.push(id),
                    }
                }
                let rows: Vec<Value> = rows.into_values().collect();
                if single {
                    return rows.first().map(|row| HttpReply::json(200, row)).ok_or_else(|| shelf.absent(&missing));
                }
                let errors = if missing.is_empty() { Vec::new() } else { vec![Value::Object(shelf.absent(&missing).shown())] };
                Ok(complete(200, rows, errors))
            }
        }
    }
}

impl Shelf {
    fn make_unique(&mut self, name: &Arc<str>) {
        self.table.index(name);
        self.unique.insert(name.clone());
    }

    fn properties(&self, name: Option<&str>) -> Result<HttpReply, Refusal> {
        let keys: Vec<String> = self.unique.iter().map(|name| name.to_string()).collect();
        let mut all = own::all(self.object, &self.own, &|name| self.unique.contains(name), &keys);
        let Some(name) = name else { return Ok(HttpReply::json(200, &all)) };
        let one =
            all["results"].as_array_mut().and_then(|rows| rows.iter().position(|row| row["name"] == name).map(|at| rows.swap_remove(at)));
        let missing = || Refusal::new(404, "OBJECT_NOT_FOUND", format!("Property {name} does not exist"));
        one.map(|row| HttpReply::json(200, &row)).ok_or_else(missing)
    }

    fn make_property(&mut self, new: own::New) -> Result<HttpReply, Refusal> {
        let name: Arc<str> = new.name.as_deref().unwrap_or_default().into();
        let unique = new.has_unique_value;
        if self.unique.contains(&name) {
            return Err(Refusal::new(409, "OBJECT_ALREADY_EXISTS", format!("A property named '{name}' already exists.")));
        }
        // Addresses do not count.
        let taken = self.unique.iter().filter(|name| &***name != "email").count();
        let made = own::make(self.object, &mut self.own, new, MAX_UNIQUE.saturating_sub(taken))?;
        if unique {
            self.make_unique(&name);
        }
        Ok(HttpReply::json(201, &made))
    }

    /// The property as a key: one that is unique. A property of someone's own becomes so by being used as one.
    fn key_property(&mut self, name: &str) -> Result<Arc<str>, Refusal> {
        let column: Arc<str> = name.into();
        if !self.unique.contains(&column) {
            if !properties::is_custom(name)
                || self.own.get(name).is_some_and(|own| !own.unique())
                || self.object.properties.iter().any(|(held, _)| *held == name)
                || self.unique.len() > MAX_UNIQUE
            {
                let says = format!(
                    "Unable to perform update/upsert by non-unique {} property {name} in portal ID {PORTAL_ID}",
                    self.object.type_id
                );
                return Err(Refusal::new(400, "VALIDATION_ERROR", says));
            }
            self.make_unique(&column);
        }
        Ok(column)
    }

    /// The live record that is meant.
    fn find(&self, by: Option<&Arc<str>>, id: &str) -> Option<u64> {
        let live = |number: &u64| self.table.row(*number).is_some_and(|row| !row.deleted);
        match by {
            Some(column) => self.table.find(column, id.trim()).first().copied(),
            None => parse_id(id).filter(live),
        }
    }

    /// The key of the record that is meant, also where the request names it by its id.
    fn key_of(&self, input: &Input) -> Option<String> {
        let by_id = || self.table.row(self.find(None, input.id.as_deref()?)?)?.key();
        match &input.id_property {
            Some(_) => input.key(),
            None => by_id().or_else(|| input.key()),
        }
    }

    fn absent(&self, ids: &[String]) -> Refusal {
        let says = format!("Could not get some {} objects, they may be deleted or not exist. Check that ids are valid.", self.object.word);
        ids.iter().fold(Refusal::new(404, "OBJECT_NOT_FOUND", says), |refusal, id| refusal.with("ids", id))
    }

    fn apply(&mut self, way: Way, input: Input, room: bool, now: Time) -> Result<Done, Refusal> {
        let by: Option<Arc<str>> = input.id_property.as_deref().map(Into::into);
        if way == Way::Upsert && by.is_none() {
            return Err(Refusal::new(400, "VALIDATION_ERROR", "Some required fields were not set: [idProperty]"));
        }
        let id = input.id.clone().unwrap_or_default();
        let found = if way == Way::Create { None } else { self.find(by.as_ref(), &id) };
        let mut changes = self.changes(input.properties)?;
        let number = match (way, found) {
            (Way::Archive, Some(number)) => {
                self.table.delete(number, now);
                number
            }
            // Archiving what is not there is no error.
            (Way::Archive, None) => return Ok(Done { way, new: false, number: 0, row: Value::Null }),
            (Way::Upsert | Way::Update, Some(number)) => {
                self.check(Some(number), &changes)?;
                self.table.update(number, changes, now);
                number
            }
            (Way::Update, None) => return Err(self.absent(&[id])),
            (Way::Upsert | Way::Create, _) if !room => {
                return Err(Refusal::new(400, "VALIDATION_ERROR", "The account holds as many records as it can"));
            }
            (Way::Upsert | Way::Create, _) => {
                if let Some(column) = &by {
                    let kind = self.object.kind(column).unwrap_or(Kind::Text);
                    let value = properties::fit(column, kind, id.trim().to_owned());
                    let value = value.map_err(|misfit| Refusal::invalid(misfit.0, column, &misfit.1))?;
                    changes.retain(|(name, _)| name != column);
                    changes.push((column.clone(), value));
                }
                self.check(None, &changes)?;
                let named = |(name, value): &(Arc<str>, Value)| (self.unique.contains(name) && !value.is_null()).then(|| name.clone());
                // One's own key names a record better than an address does.
                let own = changes.iter().filter(|(name, _)| &**name != "email").find_map(named);
                let key_field = by.or(own).or_else(|| changes.iter().find_map(named));
                let fields = changes.into_iter().filter(|(_, value)| !value.is_null()).collect();
                self.table.insert(key_field, fields, now)
            }
        };
        let row = self.table.row(number).map_or(Value::Null, |row| {
            let all: Vec<String> = row.fields.keys().map(|name| name.to_string()).collect();
            self.show(number, row, &all)
        });
        Ok(Done { way, new: found.is_none(), number, row })
    }

    /// The values as the properties keep them.
    fn changes(&mut self, given: BTreeMap<String, Value>) -> Result<Changes, Refusal> {
        let mut changes = Vec::with_capacity(given.len());
        for (name, value) in given {
            let Some(kind) = self.object.kind(&name) else {
                let says = format!("Property \"{name}\" does not exist");
                return Err(Refusal::invalid("PROPERTY_DOESNT_EXIST", &name, &says));
            };
            let value = properties::fit(&name, kind, text(&value).unwrap_or_default())
                .map_err(|misfit| Refusal::invalid(misfit.0, &name, &misfit.1))?;
            let column: Arc<str> = name.as_str().into();
            if properties::is_external_id(&name) && !self.unique.contains(&column) && self.unique.len() <= MAX_UNIQUE {
                self.make_unique(&column);
            }
            changes.push((column, value));
        }
        Ok(changes)
    }

    /// What is unique: two contacts never share an address, nor two records a value of a unique property.
    fn check(&self, number: Option<u64>, changes: &Changes) -> Result<(), Refusal> {
        for (column, value) in changes.iter().filter(|(column, _)| self.unique.contains(column)) {
            let Some(value) = text(value) else { continue };
            let Some(other) = self.table.find(column, &value).into_iter().find(|other| Some(*other) != number) else { continue };
            let id = record_id(other);
            return Err(if &**column == "email" {
                Refusal::new(409, "CONFLICT", format!("Contact already exists. Existing ID: {id}")).with("existingId", &id)
            } else {
                let says = format!("Cannot set {column}: {id} already has that value.");
                Refusal::invalid("CONFLICTING_UNIQUE_VALUE", column, &says)
            });
        }
        Ok(())
    }

    fn show(&self, number: u64, row: &Row, wanted: &[String]) -> Value {
        let mut properties: Map<String, Value> = Map::new();
        let names = wanted.iter().map(String::as_str).chain(self.object.shown.iter().copied().filter(|_| wanted.is_empty()));
        for name in names.filter(|name| self.object.kind(name).is_some()) {
            properties.insert(name.to_owned(), row.fields.get(name).cloned().unwrap_or(Value::Null));
        }
        let modified = if self.object.name == "contacts" { "lastmodifieddate" } else { "hs_lastmodifieddate" };
        properties.insert("hs_object_id".into(), record_id(number).into());
        properties.insert("createdate".into(), shown(row.created).into());
        properties.insert(modified.into(), shown(row.modified).into());
        json!({ "id": record_id(number), "properties": properties, "createdAt": shown(row.created), "updatedAt": shown(row.modified),
            "archived": row.deleted })
    }
}
