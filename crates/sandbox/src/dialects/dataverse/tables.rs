//! The tables of an environment: those that it came with, and the columns and alternate keys that were added.

use std::sync::Arc;

use model::Time;
use serde_json::Value;

use crate::dialects::World;
use crate::records;

/// Where the columns and keys that were added are remembered.
pub(super) const COLUMNS: &str = "_columns";
pub(super) const KEYS: &str = "_keys";

/// What a column holds.
#[derive(Clone, Debug)]
pub(super) enum Holds {
    Text(usize),
    Integer,
    Number,
    Boolean,
    Date,
    Moment,
    Choice(&'static [i64]),
    Choices(&'static [i64]),
}

/// One column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    pub holds: Holds,
}

/// One table with its rows' columns, and the alternate keys with the moment from which each is active.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// `contacts`
    pub set: String,
    /// `contact`
    pub name: &'static str,
    pub columns: Vec<Column>,
    /// Navigation property, column, entity set.
    pub lookups: &'static [(&'static str, &'static str, &'static str)],
    keys: Vec<(String, Time)>,
}

type Known = (&'static str, &'static str, &'static [(&'static str, Holds)], &'static [(&'static str, &'static str, &'static str)]);

const SOURCES: &[i64] = &[1, 2, 3, 8, 10];
const TOPICS: &[i64] = &[100_000_000, 100_000_001, 100_000_002];

/// Entity set, table, columns, lookups. `onceward_key` and `onceward_topics` are what this environment has added, the former with an
/// alternate key; `accountnumber` has one too.
const TABLES: &[Known] = &[
    (
        "contacts",
        "contact",
        &[
            ("firstname", Holds::Text(50)),
            ("lastname", Holds::Text(50)),
            ("emailaddress1", Holds::Text(100)),
            ("telephone1", Holds::Text(50)),
            ("jobtitle", Holds::Text(100)),
            ("address1_line1", Holds::Text(250)),
            ("address1_city", Holds::Text(80)),
            ("address1_postalcode", Holds::Text(20)),
            ("description", Holds::Text(100_000)),
            ("birthdate", Holds::Date),
            ("donotemail", Holds::Boolean),
            ("numberofchildren", Holds::Integer),
            ("creditlimit", Holds::Number),
            ("lastusedincampaign", Holds::Moment),
            ("leadsourcecode", Holds::Choice(&[1])),
            ("onceward_topics", Holds::Choices(TOPICS)),
            ("onceward_key", Holds::Text(255)),
        ],
        &[("parentcustomerid_account", "parentcustomerid", "accounts"), ("parentcustomerid_contact", "parentcustomerid", "contacts")],
    ),
    (
        "accounts",
        "account",
        &[
            ("name", Holds::Text(160)),
            ("accountnumber", Holds::Text(20)),
            ("emailaddress1", Holds::Text(100)),
            ("telephone1", Holds::Text(50)),
            ("websiteurl", Holds::Text(200)),
            ("address1_line1", Holds::Text(250)),
            ("address1_city", Holds::Text(80)),
            ("address1_postalcode", Holds::Text(20)),
            ("revenue", Holds::Number),
            ("onceward_key", Holds::Text(255)),
        ],
        &[("primarycontactid", "primarycontactid", "contacts"), ("parentaccountid", "parentaccountid", "accounts")],
    ),
    (
        "leads",
        "lead",
        &[
            ("subject", Holds::Text(300)),
            ("firstname", Holds::Text(50)),
            ("lastname", Holds::Text(50)),
            ("companyname", Holds::Text(100)),
            ("emailaddress1", Holds::Text(100)),
            ("telephone1", Holds::Text(50)),
            ("jobtitle", Holds::Text(100)),
            ("websiteurl", Holds::Text(200)),
            ("address1_line1", Holds::Text(250)),
            ("address1_city", Holds::Text(80)),
            ("address1_postalcode", Holds::Text(20)),
            ("leadsourcecode", Holds::Choice(SOURCES)),
            ("onceward_key", Holds::Text(255)),
        ],
        &[("parentaccountid", "parentaccountid", "accounts"), ("parentcontactid", "parentcontactid", "contacts")],
    ),
    (
        "opportunities",
        "opportunity",
        &[
            ("name", Holds::Text(300)),
            ("estimatedvalue", Holds::Number),
            ("estimatedclosedate", Holds::Date),
            ("description", Holds::Text(2_000)),
            ("onceward_key", Holds::Text(255)),
        ],
        &[("parentaccountid", "parentaccountid", "accounts"), ("parentcontactid", "parentcontactid", "contacts")],
    ),
];

/// What tells the ids of one table's rows from another's.
pub(super) fn space(set: &str) -> u16 {
    let place = TABLES.iter().position(|(name, ..)| *name == set);
    place.and_then(|place| u16::try_from(place + 0xd0).ok()).unwrap_or(u16::MAX)
}

/// The table of an entity set, with what was added to it.
pub(super) fn table(world: &mut World<'_>, set: &str) -> Option<Table> {
    let (set, name, columns, lookups) = TABLES.iter().find(|(named, ..)| *named == set)?;
    let columns = columns.iter().map(|(name, holds)| Column { name: (*name).to_owned(), holds: holds.clone() });
    let since = Time(i64::MIN);
    let mut table =
        Table { set: (*set).to_owned(), name, columns: columns.collect(), lookups, keys: vec![("onceward_key".to_owned(), since)] };
    if *set == "accounts" {
        table.keys.push(("accountnumber".to_owned(), since));
    }
    let added = |row: &records::Row| {
        let text = |name: &str| row.fields.get(name).and_then(Value::as_str).map(str::to_owned);
        Some((text("table").filter(|held| held == name)?, text("name")?, row.created))
    };
    for (_, name, _) in world.table(COLUMNS, &[]).rows().filter_map(|(_, row)| added(row)) {
        table.columns.push(Column { name, holds: Holds::Text(255) });
    }
    for (_, name, created) in world.table(KEYS, &[]).rows().filter_map(|(_, row)| added(row)) {
        table.keys.push((name, created + BUILDING));
    }
    Some(table)
}

/// How long the index of a new alternate key is being built.
const BUILDING: std::time::Duration = std::time::Duration::from_secs(10);

/// The entity set of a table.
pub(super) fn set_of(name: &str) -> Option<&'static str> {
    TABLES.iter().find(|(_, table, ..)| *table == name).map(|(set, ..)| *set)
}

impl Table {
    /// `contactid`.
    pub fn id_column(&self) -> String {
        format!("{}id", self.name)
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Column and entity set of a navigation property, whose name's case matters.
    pub fn lookup(&self, name: &str) -> Option<(&'static str, &'static str)> {
        self.lookups.iter().find(|(navigation, ..)| *navigation == name).map(|(_, column, set)| (*column, *set))
    }

    /// The alternate keys that are active.
    pub fn keys_at(&self, now: Time) -> impl Iterator<Item = &str> {
        self.keys.iter().filter(move |(_, since)| *since <= now).map(|(name, _)| name.as_str())
    }

    /// Every alternate key, and whether it is active.
    pub fn keys(&self, now: Time) -> impl Iterator<Item = (&str, bool)> {
        self.keys.iter().map(move |(name, since)| (name.as_str(), *since <= now))
    }

    /// The rows, indexed by what is unique.
    pub fn rows<'w>(&self, world: &'w mut World<'_>) -> &'w mut records::Table {
        let unique: Vec<Arc<str>> = self.keys.iter().map(|(name, _)| name.as_str().into()).chain([self.id_column().into()]).collect();
        world.table(&self.set, &unique)
    }
}
