//! What is known of sources beyond their events: what was refused of them, and how their bodies look.

use model::drift::Learned;
use model::{RejectedId, Time};
use rusqlite::params;

use super::super::read::text;
use super::super::row::{get, json, one, optional, run};
use super::Tx;
use crate::Error;
use crate::drift::TYPES_MAX;

impl Tx {
    /// Takes a refused request off the list; `false` if it is not on it any more.
    pub fn forget_rejected(&mut self, id: RejectedId) -> Result<bool, Error> {
        Ok(run(&self.conn, "delete from rejected where id = ?", params![id.0])? == 1)
    }

    /// What is known of a source's bodies. Of a source with too many event types, nothing more is learned of others.
    pub fn hold_drift(&mut self, source: &str, event_type: &str, _now: Time) -> Result<Option<Learned>, Error> {
        let id = self.names.id(source)?;
        let held = optional(&self.conn, "select state from drift where source_id = ? and event_type = ?", params![id, event_type])?;
        if let Some(row) = held {
            return json(get(&row, "state")?, "drift", "state", id).map(Some);
        }
        let types: i64 = one(&self.conn, "select count(*) from drift where source_id = ?", params![id])?.at(0)?;
        Ok(Some(Learned::default()).filter(|_| types < TYPES_MAX))
    }

    pub fn put_drift(&mut self, source: &str, event_type: &str, learned: &Learned, now: Time) -> Result<(), Error> {
        let sql = "insert into drift (source_id, event_type, state, updated_at) values (?, ?, ?, ?) \
                   on conflict do update set state = excluded.state, updated_at = excluded.updated_at";
        run(&self.conn, sql, params![self.names.id(source)?, event_type, text(learned)?, now.0]).map(drop)
    }
}
