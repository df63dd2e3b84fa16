//! What is known of sources beyond their events: what was refused of them, and how their bodies look.

use model::drift::Learned;
use model::{RejectedId, Time};

use super::super::read::{get, json, text, words};
use super::Tx;
use crate::Error;
use crate::drift::TYPES_MAX;

impl Tx {
    /// Takes a refused request off the list; `false` if it is not on it any more. Whoever comes second waits for the first.
    pub async fn forget_rejected(&mut self, id: RejectedId) -> Result<bool, Error> {
        Ok(self.run(sqlx::query("delete from rejected where id = $1").bind(id.0)).await? == 1)
    }

    /// What is known of a source's bodies, locked. Of a source with too many event types, nothing more is learned of others.
    pub async fn hold_drift(&mut self, source: &str, event_type: &str, now: Time) -> Result<Option<Learned>, Error> {
        let id = self.names.id(source)?;
        // Whoever comes first makes the row, so that there is something to lock.
        let sql = "insert into drift (source_id, event_type, state, updated_at) select $1, $2, $3, $4 \
                   where (select count(*) from drift where source_id = $1) < $5 on conflict do nothing";
        let empty = text(&Learned::default())?;
        self.run(sqlx::query(sql).bind(id).bind(words(event_type)).bind(empty).bind(now.0).bind(TYPES_MAX)).await?;
        let sql = "select state from drift where source_id = $1 and event_type = $2 for update";
        let rows = self.all(sqlx::query(sql).bind(id).bind(words(event_type))).await?;
        rows.first().map(|row| json(get(row, "state")?, "drift", "state", id)).transpose()
    }

    pub async fn put_drift(&mut self, source: &str, event_type: &str, learned: &Learned, now: Time) -> Result<(), Error> {
        let sql = "update drift set state = $3, updated_at = $4 where source_id = $1 and event_type = $2";
        let statement = sqlx::query(sql).bind(self.names.id(source)?).bind(words(event_type)).bind(words(&text(learned)?)).bind(now.0);
        self.run(statement).await.map(drop)
    }
}
