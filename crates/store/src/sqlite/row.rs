//! Values into statements and out of rows.

use std::borrow::Cow;
use std::rc::Rc;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use crate::Error;
use crate::columns::{Cell, Column, Columns};

pub use crate::columns::{bytes, get, json, word};

/// One value of a row that is to be inserted.
pub enum Val<'a> {
    Int(i64),
    Text(Cow<'a, str>),
    Blob(Cow<'a, [u8]>),
    Null,
}

impl ToSql for Val<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Blob(value) => ValueRef::Blob(value),
            Self::Null => ValueRef::Null,
        }))
    }
}

impl From<i64> for Val<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<String> for Val<'_> {
    fn from(value: String) -> Self {
        Self::Text(value.into())
    }
}

impl<'a> From<&'a str> for Val<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value.into())
    }
}

impl<'a> From<&'a [u8]> for Val<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Blob(value.into())
    }
}

impl From<Vec<u8>> for Val<'_> {
    fn from(value: Vec<u8>) -> Self {
        Self::Blob(value.into())
    }
}

impl<'a, T: Into<Val<'a>>> From<Option<T>> for Val<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A row by itself: it needs neither statement nor connection any more.
pub struct Row {
    names: Rc<[String]>,
    values: Vec<Value>,
}

impl Columns for Row {
    fn cell(&self, column: &str) -> Result<Cell<'_>, Error> {
        self.place(self.names.iter().position(|name| name == column).unwrap_or(usize::MAX))
    }
}

impl Row {
    fn place(&self, place: usize) -> Result<Cell<'_>, Error> {
        Ok(match self.values.get(place) {
            Some(Value::Integer(number)) => Cell::Int(*number),
            Some(Value::Text(text)) => Cell::Text(text),
            Some(Value::Blob(bytes)) => Cell::Blob(bytes),
            Some(Value::Null) => Cell::Null,
            Some(Value::Real(_)) | None => return Err(self.unreadable(place)),
        })
    }

    /// A column by its place in the statement.
    pub fn at<'r, T: Column<'r>>(&'r self, place: usize) -> Result<T, Error> {
        T::of(self.place(place)?).ok_or_else(|| self.unreadable(place))
    }

    fn unreadable(&self, place: usize) -> Error {
        let name = self.names.get(place).map_or("(there is none)", String::as_str);
        Error::Unavailable(format!("column {place} of a row, {name}, is not of the kind that this version reads"))
    }
}

/// Every row that a statement selects. Its text is prepared once and kept.
pub fn all(conn: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<Vec<Row>, Error> {
    let mut statement = conn.prepare_cached(sql)?;
    let names: Rc<[String]> = statement.column_names().map(str::to_owned).collect();
    let mut found = statement.query(values)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let values = (0..names.len()).map(|place| row.get(place)).collect::<Result<_, _>>()?;
        rows.push(Row { names: Rc::clone(&names), values });
    }
    Ok(rows)
}

/// The first row that a statement selects, if there is one.
pub fn optional(conn: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<Option<Row>, Error> {
    Ok(all(conn, sql, values)?.into_iter().next())
}

/// The one row that a statement always selects.
pub fn one(conn: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<Row, Error> {
    optional(conn, sql, values)?.ok_or_else(|| Error::Unavailable("a statement that always has a row had none".into()))
}

/// Runs a statement that selects nothing; returns how many rows it changed.
pub fn run(conn: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<u64, Error> {
    Ok(conn.prepare_cached(sql)?.execute(values)? as u64)
}

/// Inserts rows. `head` is `insert … into t (a, b) values`, `tail` an `on conflict` clause or nothing. One row to a statement: one that inserts many could fail
/// half-way, so that SQLite would first copy every page that it touches.
pub fn insert(conn: &Connection, head: &str, tail: &str, rows: Vec<Vec<Val<'_>>>) -> Result<(), Error> {
    let Some(first) = rows.first() else { return Ok(()) };
    let places = vec!["?"; first.len()].join(",");
    let mut statement = conn.prepare_cached(&format!("{head} ({places}) {tail}"))?;
    for row in rows {
        statement.execute(params_from_iter(row))?;
    }
    Ok(())
}

/// A column's bytes, where they lie.
pub fn blob<'r>(row: &'r rusqlite::Row<'_>, place: usize) -> Result<&'r [u8], Error> {
    Ok(row.get_ref(place)?.as_blob().map_err(rusqlite::Error::from)?)
}

/// A column's text, where it lies.
pub fn text_of<'r>(row: &'r rusqlite::Row<'_>, place: usize) -> Result<&'r str, Error> {
    Ok(row.get_ref(place)?.as_str().map_err(rusqlite::Error::from)?)
}
