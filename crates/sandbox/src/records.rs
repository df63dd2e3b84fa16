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
        indexable(held(&self.fields, self.key_field.as_ref()?)?).into_iter().next()
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

/// What a value is found by: itself, or each entry of a list.
fn indexable(value: &Value) -> Vec<String> {
    match value {
        Value::Array(entries) => entries.iter().filter_map(text).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => text(value).into_iter().collect(),
    }
}

/// The value of a field, or with a dot of a part of one: `emails.primaryEmail`.
fn held<'a>(fields: &'a BTreeMap<Arc<str>, Value>, field: &str) -> Option<&'a Value> {
    fields.get(field).or_else(|| {
        let (field, part) = field.split_once('.')?;
        fields.get(field)?.get(part)
    })
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
        let entries = |(&number, row): (&u64, &Row)| indexed(row, field).into_iter().map(move |key| (key, number));
        let entries = self.rows.iter().flat_map(entries).collect();
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
            None => self.rows.iter().filter(|(_, row)| indexed(row, field).contains(&folded)).map(|(&number, _)| number).collect(),
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
            if row.fields.get(&field) == Some(&value) {
                continue;
            }
            let about = |path: &Arc<str>| *path == field || path.split_once('.').is_some_and(|(root, _)| root == &*field);
            for (path, index) in self.indexes.iter_mut().filter(|(path, _)| about(path)) {
                indexed(row, path).into_iter().for_each(|was| _ = index.remove(&(was, number)));
            }
            if value.is_null() {
                row.fields.remove(&field);
            } else {
                row.fields.insert(field.clone(), value);
            }
            for (path, index) in self.indexes.iter_mut().filter(|(path, _)| about(path)) {
                index.extend(indexed(row, path).into_iter().map(|is| (is, number)));
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

    /// The deleted rows whose field has this value, for dialects in which they can come back.
    #[allow(dead_code, reason = "for the dialects in which what was deleted comes back")]
    pub fn find_deleted(&self, field: &str, value: &str) -> Vec<u64> {
        if self.live == self.rows.len() {
            return Vec::new();
        }
        let folded = fold(value);
        let has = |row: &Row| held(&row.fields, field).is_some_and(|held| indexable(held).iter().any(|key| fold(key) == folded));
        self.rows.iter().filter(|(_, row)| row.deleted && has(row)).map(|(&number, _)| number).collect()
    }

    /// Brings a deleted row back; what is live stays as it is.
    #[allow(dead_code, reason = "for the dialects in which what was deleted comes back")]
    pub fn revive(&mut self, number: u64, now: Time) {
        let Some(mut row) = self.rows.get(&number).filter(|row| row.deleted).cloned() else { return };
        (row.deleted, row.modified) = (false, now);
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

    /// From here on changes can be undone; nothing new if they can already.
    pub fn begin(&mut self) {
        self.undo.get_or_insert_default();
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
            let found = |row: &Option<Row>| row.as_ref().map_or_else(Vec::new, |row| indexed(row, field));
            let (was, is) = (found(&old), found(&new));
            if was == is {
                continue;
            }
            was.into_iter().for_each(|was| _ = index.remove(&(was, number)));
            index.extend(is.into_iter().map(|is| (is, number)));
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

fn indexed(row: &Row, field: &str) -> Vec<String> {
    let value = if row.deleted { None } else { held(&row.fields, field) };
    value.map_or_else(Vec::new, |value| indexable(value).iter().map(|key| fold(key)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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

    #[test]
    fn lists_are_found_by_each_entry_and_parts_by_their_path() {
        let (mails, part): (Arc<str>, Arc<str>) = ("mails".into(), "emails.primaryEmail".into());
        let mut table = Table::default();
        table.index(&mails);
        table.index(&part);
        let fields =
            |mails: Value, primary: &str| BTreeMap::from([("mails".into(), mails), ("emails".into(), json!({"primaryEmail": primary}))]);
        let one = table.insert(Some(part.clone()), fields(json!(["a@x", "b@x"]), "P@x"), Time(1));
        assert_eq!(
            (table.find("mails", "B@x"), table.find(&part, "p@X"), table.row(one).unwrap().key()),
            (vec![one], vec![one], Some("P@x".into()))
        );
        table.update(one, vec![("mails".into(), json!(["c@x"])), ("emails".into(), json!({"primaryEmail": "q@x"}))], Time(2));
        assert_eq!((table.find("mails", "a@x"), table.find("mails", "c@x"), table.find(&part, "p@x")), (vec![], vec![one], vec![]));
        table.delete(one, Time(3));
        assert_eq!((table.find(&part, "q@x"), table.find_deleted(&part, "Q@x")), (vec![], vec![one]));
        table.revive(one, Time(4));
        assert_eq!((table.find(&part, "q@x"), table.find_deleted(&part, "q@x"), table.live()), (vec![one], vec![], 1));
    }
}
