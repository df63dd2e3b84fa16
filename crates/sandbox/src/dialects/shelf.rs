//! The tables of all dialects of the frame, and what one of them sees of it during a call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::Time;

use crate::records::{Row, Table};

/// What an object's name begins with whose rows are a dialect's own book-keeping.
const HIDDEN: char = '_';

/// The rows of every dialect and object.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    tables: BTreeMap<(&'static str, Arc<str>), Table>,
    /// Whether the tables remember what changes.
    kept: bool,
}

impl Shelf {
    /// Records that are there now.
    pub fn live(&self) -> usize {
        let shown = self.tables.iter().filter(|((_, object), _)| !object.starts_with(HIDDEN));
        shown.map(|(_, table)| table.live()).sum()
    }

    /// Rows held, deleted and hidden ones included.
    pub fn held(&self) -> usize {
        self.tables.values().map(Table::held).sum()
    }

    /// Every row with its dialect, object and number, deleted and hidden ones included.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &str, u64, &Row)> {
        self.tables.iter().flat_map(|((dialect, object), table)| table.rows().map(move |(number, row)| (*dialect, &**object, number, row)))
    }

    /// Every record, deleted ones included, but nothing hidden.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, &str, u64, &Row)> {
        self.all().filter(|(_, object, _, _)| !object.starts_with(HIDDEN))
    }

    pub fn row(&self, dialect: &'static str, object: &Arc<str>, number: u64) -> Option<&Row> {
        self.tables.get(&(dialect, object.clone()))?.row(number)
    }

    /// From here on remembers which rows change.
    pub fn keep_changes(&mut self) {
        self.kept = true;
        self.tables.values_mut().for_each(Table::keep_changes);
    }

    /// The dialects, objects and numbers of the rows that have changed since the last time.
    pub fn take_changed(&mut self) -> Vec<(&'static str, Arc<str>, u64)> {
        let changed = |((dialect, object), table): (&(&'static str, Arc<str>), &mut Table)| {
            let (dialect, object) = (*dialect, object.clone());
            table.take_changed().into_iter().map(move |number| (dialect, object.clone(), number))
        };
        self.tables.iter_mut().flat_map(changed).collect()
    }

    /// Puts a row back, or takes it out.
    pub fn restore(&mut self, dialect: &'static str, object: &str, number: u64, row: Option<Row>) {
        self.table(dialect, object).restore(number, row);
    }

    fn table(&mut self, dialect: &'static str, object: &str) -> &mut Table {
        let kept = self.kept;
        self.tables.entry((dialect, object.into())).or_insert_with(|| {
            let mut table = Table::default();
            if kept {
                table.keep_changes();
            }
            table
        })
    }
}

/// What a dialect works on during one call.
#[derive(Debug)]
pub(crate) struct World<'a> {
    shelf: &'a mut Shelf,
    dialect: &'static str,
    locked: &'a BTreeSet<usize>,
    room: usize,
    undoing: bool,
    /// Whether the answer has to lack its last result.
    pub missing: bool,
    /// When the call is applied.
    pub now: Time,
}

impl<'a> World<'a> {
    /// `locked` are the places of records that meet a lock; `room` is the most rows that the shelf may hold.
    pub fn new(shelf: &'a mut Shelf, dialect: &'static str, locked: &'a BTreeSet<usize>, missing: bool, room: usize, now: Time) -> Self {
        Self { shelf, dialect, locked, room, undoing: false, missing, now }
    }

    /// The rows of an object, with an index over each of these fields.
    pub fn table(&mut self, object: &str, unique: &[Arc<str>]) -> &mut Table {
        let table = self.shelf.table(self.dialect, object);
        unique.iter().for_each(|field| table.index(field));
        if self.undoing {
            table.begin();
        }
        table
    }

    /// Whether the record at this place of the request meets a lock.
    pub fn locked(&self, place: usize) -> bool {
        self.locked.contains(&place)
    }

    /// Whether no row may be created any more.
    pub fn full(&self) -> bool {
        self.shelf.held() >= self.room
    }

    /// From here on what the dialect changes can be undone, in every object that it opens.
    pub fn begin(&mut self) {
        self.undoing = true;
    }

    /// Keeps the changes since [`World::begin`], or takes them all back.
    pub fn end(&mut self, keep: bool) {
        self.undoing = false;
        let own = self.shelf.tables.iter_mut().filter(|((dialect, _), _)| *dialect == self.dialect);
        own.for_each(|(_, table)| table.end(keep));
    }
}
