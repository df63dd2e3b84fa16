//! What a batch of requests writes, in one statement: on a server the round trips of an intake are most of its time.

use std::collections::{BTreeMap, BTreeSet};

use model::quota::Lane;
use model::{RecordId, Time};

use super::super::read::{get, text, words};
use super::{Tx, list};
use crate::Error;
use crate::rows::{Delivery, Event, RawEvent, hash};

const INTAKE: &str = "with \
    raw as (insert into raw_event (id, source_id, received_at, disposition, events, body_sha256, key_id, sealed, correlation_id) \
        select id, source_id, received_at, disposition, events::bigint[], body_sha256, key_id, sealed, correlation_id \
        from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bytea[], $7::bigint[], $8::bytea[], $9::text[]) \
        v (id, source_id, received_at, disposition, events, body_sha256, key_id, sealed, correlation_id)), \
    narrow as (insert into event (id, source_id, key_hash, key, event_type, occurred_at, received_at, trust, mapping_version, \
        content_hash, flags, raw_event_id, correlation_id, warnings) \
        select * from unnest($10::bigint[], $11::bigint[], $12::bytea[], $13::text[], $14::text[], $15::bigint[], $16::bigint[], $17::bigint[], \
        $18::text[], $19::bytea[], $20::bigint[], $21::bigint[], $22::text[], $23::text[])), \
    wide as (insert into payload (event_id, normalized) select * from unnest($10::bigint[], $24::text[])), \
    ways as (insert into delivery (id, record_id, destination_id, object_id, mode, state, wake_at, ended_at, owner, lane) \
        select * from unnest($25::bigint[], $26::bigint[], $27::bigint[], $28::bigint[], $29::bigint[], $30::bigint[], $31::bigint[], \
        $32::bigint[], $33::text[], $35::bigint[])) \
    select id from record where id = any($34) order by id for update skip locked";
// A statement of its own: it sees what the locked records are now, and not what they were when somebody else still held them.
const WAKE: &str = "update record r set state = case when r.state in (0, 4, 5) then 1 else r.state end, \
    wake_at = case when r.state in (0, 4, 5) then $3 else r.wake_at end, lane = case when r.state = 0 then v.lane else least(r.lane, v.lane) end \
    from unnest($1::bigint[], $2::bigint[]) v (id, lane) where r.id = v.id and (r.state in (0, 4, 5) or r.lane > v.lane)";

impl Tx {
    /// Writes these rows, and makes these records due unless they wait after a failure or a worker holds them; these only move to a better lane. One that
    /// somebody has locked is looked at after the commit.
    pub async fn insert_intake(
        &mut self,
        raws: &[RawEvent],
        events: &[Event],
        deliveries: &[Delivery],
        wake: &BTreeMap<RecordId, Lane>,
        now: Time,
    ) -> Result<(), Error> {
        let mut events: Vec<&Event> = events.iter().collect();
        // In the order of the key, like everybody, so that two batches with the same keys do not wait for each other.
        events.sort_by_cached_key(|event| (event.source.clone(), hash(&event.key)));
        let bundled = |raw: &RawEvent| {
            let ids: Vec<String> = raw.events.iter().map(|id| id.0.to_string()).collect();
            format!("{{{}}}", ids.join(","))
        };
        let of = |text: fn(&Event) -> &str| events.iter().map(|event| text(event).to_owned()).collect::<Vec<_>>();
        let flags = |event: &&Event| i64::from(event.ignored) | (i64::from(event.fallback_key) << 1);
        let warnings = |event: &&Event| if event.warnings.is_empty() { Ok(None) } else { text(&event.warnings).map(Some) };
        let name = |name: Option<&String>| self.optional_name(name);
        let ids = list(wake.keys().map(|id| id.0));
        let statement = sqlx::query(INTAKE)
            .bind(list(raws.iter().map(|raw| raw.id.0)))
            .bind(raws.iter().map(|raw| self.names.id(&raw.source)).collect::<Result<Vec<_>, _>>()?)
            .bind(list(raws.iter().map(|raw| raw.received_at.0)))
            .bind(list(raws.iter().map(|raw| raw.disposition as i64)))
            .bind(raws.iter().map(bundled).collect::<Vec<_>>())
            .bind(raws.iter().map(|raw| raw.body_sha256.to_vec()).collect::<Vec<_>>())
            .bind(list(raws.iter().map(|raw| i64::from(raw.key_id))))
            .bind(raws.iter().map(|raw| raw.sealed.clone()).collect::<Vec<_>>())
            .bind(raws.iter().map(|raw| raw.correlation_id.as_deref().map(words)).collect::<Vec<_>>())
            .bind(list(events.iter().map(|event| event.id.0)))
            .bind(events.iter().map(|event| self.names.id(&event.source)).collect::<Result<Vec<_>, _>>()?)
            .bind(events.iter().map(|event| hash(&event.key).to_vec()).collect::<Vec<_>>())
            .bind(of(|event| &event.key))
            .bind(of(|event| &event.event_type))
            .bind(list(events.iter().map(|event| event.occurred_at.0)))
            .bind(list(events.iter().map(|event| event.received_at.0)))
            .bind(list(events.iter().map(|event| i64::from(event.trust))))
            .bind(of(|event| &event.mapping_version))
            .bind(events.iter().map(|event| event.content_hash.to_vec()).collect::<Vec<_>>())
            .bind(list(events.iter().map(flags)))
            .bind(list(events.iter().map(|event| event.raw_event.0)))
            .bind(events.iter().map(|event| event.correlation_id.as_deref().map(words)).collect::<Vec<_>>())
            .bind(events.iter().map(warnings).collect::<Result<Vec<_>, Error>>()?)
            .bind(of(|event| &event.normalized))
            .bind(list(deliveries.iter().map(|delivery| delivery.id.0)))
            .bind(deliveries.iter().map(|delivery| delivery.record.map(|id| id.0)).collect::<Vec<_>>())
            .bind(deliveries.iter().map(|delivery| name(delivery.destination.as_ref())).collect::<Result<Vec<_>, _>>()?)
            .bind(deliveries.iter().map(|delivery| name(delivery.object.as_ref())).collect::<Result<Vec<_>, _>>()?)
            .bind(list(deliveries.iter().map(|delivery| delivery.mode as i64)))
            .bind(list(deliveries.iter().map(|delivery| delivery.state as i64)))
            .bind(deliveries.iter().map(|delivery| delivery.wake_at.map(|at| at.0)).collect::<Vec<_>>())
            .bind(deliveries.iter().map(|delivery| delivery.ended_at.map(|at| at.0)).collect::<Vec<_>>())
            .bind(deliveries.iter().map(|delivery| delivery.owner.clone()).collect::<Vec<_>>())
            .bind(ids)
            .bind(list(deliveries.iter().map(|delivery| delivery.lane.number())));
        let free = self.all(statement).await?.iter().map(|row| get(row, "id")).collect::<Result<BTreeSet<i64>, _>>()?;
        let (now_free, held): (Vec<_>, Vec<_>) = wake.iter().map(|(id, lane)| (id.0, lane.number())).partition(|(id, _)| free.contains(id));
        if !now_free.is_empty() {
            let (ids, lanes): (Vec<i64>, Vec<i64>) = now_free.into_iter().unzip();
            self.run(sqlx::query(WAKE).bind(ids).bind(lanes).bind(now.0)).await?;
        }
        self.to_wake.extend(held);
        self.woken_at = now.0;
        Ok(())
    }
}
