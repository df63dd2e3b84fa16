//! The records of one object: rows, the indexes over them, and undoing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::Time;
use serde_json::Value;

/// One record, live or deleted.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub fields: BTreeMap<Arc<str>, Value>,
    /// The field that holds the record's key, if it was written by one.
    pub key_field: Option<Arc<str>>,
    pub created: Time,
    pub modified: Time,
    /// How often a record with this key was created, over deletions.
    pub creates: u32,
    /// How often a write was applied to a record with this key, creations included.
    pub writes: u32,
    pub deleted: bool,
}

impl Row {
    pub fn key(&self) -> Option<String> {
        self.fields.get(self.key_field.as_ref()?).and_then(text)
    }
}

/// How a value reads as a key: text as it is, numbers and booleans as written.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Keys are compared without regard to case.
pub(crate) fn fold(key: &str) -> String {
    key.to_lowercase()
}

/// The rows of one object by number, and what finds them.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: BTreeMap<u64, Row>,
    indexes: BTreeMap<Arc<str>, BTreeSet<(String, u64)>>,
    /// Deleted rows by key, for a creation under the same key to take over their counts.
    gone: BTreeMap<String, u64>,
    live: usize,
    last: u64,
    /// What each changed row was before, while a change may still be undone.
    undo: Option<Vec<(u64, Option<Row>)>>,
    /// The rows that have changed since somebody asked, if somebody does.
    changed: Option<BTreeSet<u64>>,
}

impl Table {
    /// Live records.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Rows held, live and deleted.
    pub fn held(&self) -> usize {
        self.rows.len()
    }

    /// Every row, in the order of creation.
    pub fn rows(&self) -> impl Iterator<Item = (u64, &Row)> {
        self.rows.iter().map(|(&number, row)| (number, row))
    }

    pub fn row(&self, number: u64) -> Option<&Row> {
        self.rows.get(&number)
    }

    /// Keeps an index over a field from now on.
    pub fn index(&mut self, field: &Arc<str>) {
        if self.indexes.contains_key(field) {
            return;
        }
        let entry = |(&number, row): (&u64, &Row)| Some((indexed(row, field)?, number));
        let entries = self.rows.iter().filter_map(entry).collect();
        self.indexes.insert(field.clone(), entries);
    }

    /// The live rows whose field has this value, without regard to case.
    pub fn find(&self, field: &str, value: &str) -> Vec<u64> {
        let folded = fold(value);
        match self.indexes.get(field) {
            Some(index) => {
                let from = (folded, 0);
                index.range(&from..).take_while(|(held, _)| *held == from.0).map(|&(_, number)| number).collect()
            }
            None => self.rows.iter().filter(|(_, row)| indexed(row, field).as_ref() == Some(&folded)).map(|(&number, _)| number).collect(),
        }
    }

    /// Creates a row; a deleted one with the same key hands its counts on.
    pub fn insert(&mut self, key_field: Option<Arc<str>>, fields: BTreeMap<Arc<str>, Value>, now: Time) -> u64 {
        let mut row = Row { fields, key_field, created: now, modified: now, creates: 1, writes: 1, deleted: false };
        if let Some(&number) = row.key().and_then(|key| self.gone.get(&fold(&key)))
            && let Some(before) = self.rows.get(&number)
        {
            row.creates = before.creates.saturating_add(1);
            row.writes = before.writes.saturating_add(1);
            self.put(number, None);
        }
        self.last += 1;
        self.put(self.last, Some(row));
        self.last
    }

    /// Applies changes to a live row in place; null clears a field.
    pub fn update(&mut self, number: u64, changes: Vec<(Arc<str>, Value)>, now: Time) {
        let Some(row) = self.rows.get_mut(&number).filter(|row| !row.deleted) else { return };
        if let Some(undo) = &mut self.undo {
            undo.push((number, Some(row.clone())));
        }
        if let Some(changed) = &mut self.changed {
            changed.insert(number);
        }
        for (field, value) in changes {
            if let Some(index) = self.indexes.get_mut(&field).filter(|_| row.fields.get(&field) != Some(&value)) {
                if let Some(was) = indexed(row, &field) {
                    index.remove(&(was, number));
                }
                if let Some(is) = text(&value) {
                    index.insert((fold(&is), number));
                }
            }
            if value.is_null() {
                row.fields.remove(&field);
            } else {
                row.fields.insert(field, value);
            }
        }
        row.modified = now;
        row.writes = row.writes.saturating_add(1);
    }

    pub fn delete(&mut self, number: u64, now: Time) {
        let Some(mut row) = self.rows.get(&number).cloned() else { return };
        row.deleted = true;
        row.modified = now;
        self.put(number, Some(row));
    }

    /// From here on remembers which rows change.
    pub fn keep_changes(&mut self) {
        self.changed = Some(BTreeSet::new());
    }

    /// The rows that have changed since the last time.
    pub fn take_changed(&mut self) -> BTreeSet<u64> {
        self.changed.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Puts a row back under its number, or takes it out; new rows are numbered from beyond it.
    pub fn restore(&mut self, number: u64, row: Option<Row>) {
        self.last = self.last.max(number);
        self.put(number, row);
    }

    /// From here on changes can be undone.
    pub fn begin(&mut self) {
        self.undo = Some(Vec::new());
    }

    /// Keeps the changes since [`Table::begin`], or takes them all back.
    pub fn end(&mut self, keep: bool) {
        let Some(undo) = self.undo.take() else { return };
        if !keep {
            for (number, before) in undo.into_iter().rev() {
                self.put(number, before);
            }
        }
    }

    /// How rows come and go, so that indexes, counts and what may be undone always agree with them.
    fn put(&mut self, number: u64, new: Option<Row>) {
        let old = self.rows.remove(&number);
        for (field, index) in &mut self.indexes {
            let (was, is) = (old.as_ref().and_then(|row| indexed(row, field)), new.as_ref().and_then(|row| indexed(row, field)));
            if was == is {
                continue;
            }
            if let Some(was) = was {
                index.remove(&(was, number));
            }
            if let Some(is) = is {
                index.insert((is, number));
            }
        }
        if let Some(row) = &old {
            self.live -= usize::from(!row.deleted);
            if let Some(key) = row.key().filter(|_| row.deleted) {
                self.gone.remove(&fold(&key));
            }
        }
        if let Some(row) = new {
            self.live += usize::from(!row.deleted);
            if let Some(key) = row.key().filter(|_| row.deleted) {
                self.gone.insert(fold(&key), number);
            }
            self.rows.insert(number, row);
        }
        if let Some(undo) = &mut self.undo {
            undo.push((number, old));
        }
        if let Some(changed) = &mut self.changed {
            changed.insert(number);
        }
    }
}

fn indexed(row: &Row, field: &str) -> Option<String> {
    if row.deleted { None } else { row.fields.get(field).and_then(text).map(|value| fold(&value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str) -> BTreeMap<Arc<str>, Value> {
        BTreeMap::from([("K".into(), key.into())])
    }

    #[test]
    fn what_is_undone_leaves_rows_indexes_and_counts_as_they_were() {
        let field: Arc<str> = "K".into();
        let mut table = Table::default();
        table.index(&field);
        let (one, two) = (table.insert(Some(field.clone()), row("a"), Time(1)), table.insert(Some(field.clone()), row("B"), Time(1)));
        table.delete(one, Time(2));
        table.begin();
        table.insert(Some(field.clone()), row("A"), Time(3));
        table.update(two, vec![(field.clone(), "c".into())], Time(3));
        assert_eq!((table.find("K", "b").len(), table.find("K", "C"), table.live()), (0, vec![two], 2));
        table.end(false);
        assert_eq!((table.find("K", "b"), table.find("K", "c").len(), table.find("K", "a").len(), table.live()), (vec![two], 0, 0, 1));
        let again = table.insert(Some(field.clone()), row("A"), Time(4));
        assert_eq!((table.row(again).unwrap().creates, table.row(again).unwrap().writes, table.held()), (2, 2, 2));
    }
}
