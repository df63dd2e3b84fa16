//! Events with their deliveries, and the requests that brought them.

use model::{EventId, RawEventId};
use serde_json::Value;
use sqlx::query;

use super::super::read::words;
use super::Moment;
use crate::Error;
use crate::columns::{event, get, json};
use crate::rows::Event;
use crate::types::{EventFilter, EventRow, RawEventRow};
use crate::views::events::{Loaded, between, raw_event, together};
use crate::views::page;

macro_rules! narrow {
    ($rest:literal) => {
        concat!(
            "select e.id, s.text as source, e.key, e.event_type, e.occurred_at, e.received_at, e.trust, e.mapping_version, e.content_hash, ",
            "e.flags, e.raw_event_id, e.correlation_id, e.warnings, '' as normalized ",
            $rest
        )
    };
}

impl Moment<'_> {
    pub async fn events(&mut self, filter: &EventFilter) -> Result<Vec<EventRow>, Error> {
        let (from, to) = between(filter);
        let sql = narrow!(
            "from event e join name s on s.id = e.source_id where e.id >= $1 and e.id < $2 \
             and ($3::text is null or e.source_id = (select id from name where text = $3)) and ($4::text is null or e.event_type = $4) \
             and ($5::bigint is null or e.received_at >= $5) and ($6::bigint is null or e.received_at < $6) order by e.id desc limit $7"
        );
        let statement = query(sql)
            .bind(from)
            .bind(to)
            .bind(filter.source.as_deref().map(words))
            .bind(filter.event_type.as_deref().map(words))
            .bind(filter.since.map(|at| at.0))
            .bind(filter.until.map(|at| at.0))
            .bind(page(filter.limit));
        let rows = self.all(statement).await?;
        Ok(self.with_deliveries(rows.iter().map(event).collect::<Result<_, _>>()?).await?.rows)
    }

    pub async fn event(&mut self, id: EventId) -> Result<Option<(EventRow, Value, Option<String>)>, Error> {
        let sql = "select coalesce(p.normalized, '{}') as normalized, m.text as mapping from event e left join payload p on p.event_id = e.id and p.event_id = $1 \
             left join mapping m on m.version = e.mapping_version where e.id = $1";
        let Some(wide) = self.optional(query(sql).bind(id.0)).await? else { return Ok(None) };
        let Some(row) = self.load(&[id.0]).await?.rows.pop() else { return Ok(None) };
        Ok(Some((row, json(get(&wide, "normalized")?, "event", "normalized", id.0)?, get(&wide, "mapping")?)))
    }

    pub async fn raw_event(&mut self, id: RawEventId) -> Result<Option<RawEventRow>, Error> {
        let sql = "select r.id, r.received_at, r.disposition, array_to_json(r.events)::text as events, r.body_sha256, r.key_id, r.sealed, r.correlation_id, \
                   s.text as source from raw_event r join name s on s.id = r.source_id where r.id = $1";
        self.optional(query(sql).bind(id.0)).await?.as_ref().map(raw_event).transpose()
    }

    /// Events by their ids, oldest first; those that are not there are left out.
    pub async fn load(&mut self, wanted: &[i64]) -> Result<Loaded, Error> {
        let sql = narrow!("from unnest($1::bigint[]) j (id) join event e on e.id = j.id join name s on s.id = e.source_id order by e.id");
        let rows = self.all(query(sql).bind(wanted)).await?;
        self.with_deliveries(rows.iter().map(event).collect::<Result<_, _>>()?).await
    }

    /// One query for all of them. An event has at most 63 deliveries: said to the planner, which would guess that a range of ids is many.
    async fn with_deliveries(&mut self, events: Vec<Event>) -> Result<Loaded, Error> {
        let sql = "select d.*, n.text as destination, o.text as object, r.state as record_state, r.fence as record_fence, r.wake_at as record_wake_at, \
                   r.last_attempt_at, b.key as record_key, b.crm_id, l.reason, l.class, l.message, l.owner as looked_at_by, l.failed_at, l.attempts \
                   from unnest($1::bigint[]) j (id) \
                   cross join lateral (select * from delivery where id between j.id and j.id + 63 order by id limit 64) d \
                   left join name n on n.id = d.destination_id left join name o on o.id = d.object_id left join record r on r.id = d.record_id \
                   left join record_body b on b.record_id = d.record_id left join dead_letter l on l.delivery_id = d.id order by d.id";
        let wanted: Vec<i64> = events.iter().map(|event| event.id.0).collect();
        let rows = self.all(query(sql).bind(wanted)).await?;
        together(events, &rows)
    }
}
