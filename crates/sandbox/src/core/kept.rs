//! What a restart must not forget, as lines of JSON: what an exchange changed, and everything at once.
//!
//! Kept are records with their numbers, counts and dates, late writes that have not landed, and the counters. Not kept are tokens,
//! the log of calls (its numbering goes on), faults that were set after the start, and where the dice stand.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use model::Time;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::{Budget, Core, Late, Stats};
use crate::dialects::{self, Meters};
use crate::records::Row;
use crate::{hubspot, salesforce};

/// Records on one line when everything is written.
const LINE: usize = 500;

/// What has changed since the last time somebody asked, as far as the rows do not know it themselves.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// The last call of the last line.
    seq: u64,
    pub emptied: bool,
    pub postponed: Vec<(Time, u64)>,
    pub landed: Vec<(Time, u64)>,
}

/// What an exchange changed.
#[derive(Debug)]
pub(crate) struct Changes {
    /// Everything before was forgotten on request.
    pub emptied: bool,
    /// How many records the line holds, and one for the line itself.
    pub entries: usize,
    /// One line, which holds all of the exchange or, torn, nothing of it.
    pub line: Vec<u8>,
}

/// One line.
#[derive(Serialize, Deserialize)]
struct Line<T, F, L> {
    counts: Counts,
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    records: Vec<Kept<T, F>>,
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    late: Vec<(Time, u64, L)>,
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    landed: Vec<(Time, u64)>,
}

#[derive(Serialize, Deserialize)]
struct Counts {
    seq: u64,
    late: u64,
    #[serde(flatten)]
    salesforce: Budget,
    #[serde(default)]
    hubspot: Budget,
    #[serde(default)]
    meters: Meters,
    stats: Stats,
}

/// One record; without a row it has made room for another.
#[derive(Serialize, Deserialize)]
struct Kept<T, F> {
    crm: T,
    object: T,
    number: u64,
    row: Option<KeptRow<T, F>>,
}

#[derive(Serialize, Deserialize)]
struct KeptRow<T, F> {
    created: Time,
    modified: Time,
    creates: u32,
    writes: u32,
    deleted: bool,
    key_field: Option<T>,
    fields: F,
}

type Written<'a> = Line<&'a str, Fields<'a>, &'a Late>;
type Read = Line<String, BTreeMap<String, Value>, Late>;

struct Fields<'a>(&'a BTreeMap<Arc<str>, Value>);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| (&**name, value)))
    }
}

fn kept<'a>(crm: &'a str, object: &'a str, number: u64, row: Option<&'a Row>) -> Kept<&'a str, Fields<'a>> {
    let row = row.map(|row| KeptRow {
        created: row.created,
        modified: row.modified,
        creates: row.creates,
        writes: row.writes,
        deleted: row.deleted,
        key_field: row.key_field.as_deref(),
        fields: Fields(&row.fields),
    });
    Kept { crm, object, number, row }
}

fn written(line: &Written<'_>) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(text)
}

impl Core {
    /// From here on remembers what changes until [`Core::changes`] hands it out.
    pub(crate) fn keep_changes(&mut self) {
        self.marks = Some(Marks { seq: self.last_seq, ..Marks::default() });
        self.org.keep_changes();
        self.portal.keep_changes();
        self.shelf.keep_changes();
    }

    /// What has changed since the last time; `None` if nothing has.
    ///
    /// # Errors
    ///
    /// What changed cannot be written as JSON.
    pub(crate) fn changes(&mut self) -> io::Result<Option<Changes>> {
        let seq = self.last_seq;
        let Some(marks) = self.marks.as_mut().filter(|marks| marks.emptied || marks.seq != seq) else { return Ok(None) };
        let Marks { emptied, postponed, landed, .. } = std::mem::replace(marks, Marks { seq, ..Marks::default() });
        let (leads, contacts, others) = (self.org.take_changed(), self.portal.take_changed(), self.shelf.take_changed());
        let entries = leads.len() + contacts.len() + others.len() + 1;
        let leads = leads.iter().map(|&(object, number)| kept(salesforce::CRM, object, number, self.org.row(object, number)));
        let contacts = contacts.iter().map(|&(object, number)| kept(hubspot::CRM, object, number, self.portal.row(object, number)));
        let others = others.iter().map(|(crm, object, number)| kept(crm, object, *number, self.shelf.row(crm, object, *number)));
        let records = leads.chain(contacts).chain(others).collect();
        let late = postponed.into_iter().filter_map(|(due, number)| Some((due, number, self.late.get(&(due, number))?))).collect();
        let line = written(&Line { counts: self.counts(), records, late, landed })?;
        Ok(Some(Changes { emptied, entries, line }))
    }

    /// Writes everything that is kept.
    ///
    /// # Errors
    ///
    /// What it is written to does not take it.
    pub(crate) fn write_all(&self, to: &mut impl io::Write) -> io::Result<()> {
        let mut line: Written<'_> = Line { counts: self.counts(), records: Vec::new(), late: Vec::new(), landed: Vec::new() };
        let leads = self.org.rows(None).map(|(object, number, row)| kept(salesforce::CRM, object.name, number, Some(row)));
        let contacts = self.portal.rows(None).map(|(object, number, row)| kept(hubspot::CRM, object, number, Some(row)));
        let others = self.shelf.all().map(|(crm, object, number, row)| kept(crm, object, number, Some(row)));
        for record in leads.chain(contacts).chain(others) {
            line.records.push(record);
            if line.records.len() == LINE {
                to.write_all(&written(&line)?)?;
                line.records.clear();
            }
        }
        to.write_all(&written(&line)?)?;
        line.records.clear();
        for (&(due, number), late) in &self.late {
            line.late = vec![(due, number, late)];
            to.write_all(&written(&line)?)?;
        }
        Ok(())
    }

    /// Records held, deleted ones included.
    pub(crate) fn held(&self) -> usize {
        self.org.held() + self.portal.held() + self.shelf.held()
    }

    /// Takes back in what a line holds; lines come in the order in which they were handed out.
    ///
    /// # Errors
    ///
    /// The line is not one of ours.
    pub(crate) fn restore(&mut self, line: &[u8]) -> io::Result<()> {
        // Only the place: what is there may be someone's data.
        let unreadable = |error: serde_json::Error| io::Error::new(io::ErrorKind::InvalidData, format!("column {}", error.column()));
        let Read { counts, records, late, landed } = serde_json::from_slice(line).map_err(unreadable)?;
        (self.last_seq, self.last_late) = (counts.seq, counts.late);
        (self.salesforce, self.hubspot, self.meters, self.stats) = (counts.salesforce, counts.hubspot, counts.meters, counts.stats);
        for Kept { crm, object, number, row } in records {
            let row = row.map(|row| {
                let KeptRow { created, modified, creates, writes, deleted, key_field, fields } = row;
                let fields = fields.into_iter().map(|(name, value)| (name.into(), value)).collect();
                Row { fields, key_field: key_field.map(Into::into), created, modified, creates, writes, deleted }
            });
            let known = match crm.as_str() {
                salesforce::CRM => self.org.restore(&object, number, row),
                hubspot::CRM => self.portal.restore(&object, number, row),
                other => match dialects::named(other) {
                    Some(dialect) => {
                        self.shelf.restore(dialect.name(), &object, number, row);
                        true
                    }
                    None => false,
                },
            };
            if !known {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it has a record of an object that there is not"));
            }
        }
        self.late.extend(late.into_iter().map(|(due, number, late)| ((due, number), late)));
        for place in landed {
            self.late.remove(&place);
        }
        Ok(())
    }

    fn counts(&self) -> Counts {
        Counts {
            seq: self.last_seq,
            late: self.last_late,
            salesforce: self.salesforce.clone(),
            hubspot: self.hubspot.clone(),
            meters: self.meters.clone(),
            stats: self.stats(),
        }
    }
}
