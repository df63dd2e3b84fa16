//! Where X is looked for.

use sqlx::query;

use super::super::read::words;
use super::Moment;
use crate::Error;
use crate::rows::hash;
use crate::views::Seen;
use crate::views::find::{DEAD_MAX, FOUND_MAX, Found, Ours, asked, dead_words, identifiers, vendor_keys};

impl Moment<'_> {
    /// Finds X. Nothing found is an answer too.
    pub async fn find(&mut self, x: &str, seen: &Seen) -> Result<Found, Error> {
        let mut found = Found::default();
        let Some(x) = asked(x) else { return Ok(found) };
        if let Some(ours) = Ours::parse(x) {
            self.by_our_id(ours, &mut found).await?;
        }
        self.by_key(x, &mut found).await?;
        self.by_vendor_id(x, seen, &mut found).await?;
        self.by_identifier(x, seen, &mut found).await?;
        let sql = "select id from event where correlation_id = $1 order by id limit 201";
        found.add_events("correlation_id", self.numbers(query(sql).bind(words(x))).await?);
        self.by_dead_person(x, &mut found).await?;
        Ok(found)
    }

    async fn by_our_id(&mut self, ours: Ours, found: &mut Found) -> Result<(), Error> {
        let sql = match ours {
            Ours::RawEvent(_) => "select array_to_json(events)::text as held from raw_event where id = $1",
            Ours::Event(_) => "select null::text as held from event where id = $1",
            Ours::Delivery(_) => "select null::text as held from delivery where id = $1",
            Ours::Record(_) => "select null::text as held from record where id = $1",
            Ours::Call(_) => "select records as held from call where id = $1",
        };
        self.optional(query(sql).bind(ours.id())).await?.map_or(Ok(()), |row| found.add_ours(ours, &row))
    }

    /// An idempotency key, of whichever source; with what came under it with other content.
    async fn by_key(&mut self, x: &str, found: &mut Found) -> Result<(), Error> {
        let sql = "select e.id from name n join event e on e.source_id = n.id and e.key_hash = $1";
        let events = self.numbers(query(sql).bind(hash(x).as_slice())).await?;
        if !events.is_empty() {
            let sql = "select e.id from (select delivery_id from dead_letter where reason = 'key_conflict' order by delivery_id desc limit 2000) l \
                 join event e on e.id = (l.delivery_id & ~63::bigint) where starts_with(e.key, $1 || '#') limit 201";
            found.events.extend(self.numbers(query(sql).bind(words(x))).await?);
        }
        found.add_events("idempotency_key", events);
        Ok(())
    }

    async fn by_vendor_id(&mut self, x: &str, seen: &Seen, found: &mut Found) -> Result<(), Error> {
        let (sources, keys): (Vec<&str>, Vec<Vec<u8>>) =
            vendor_keys(x, seen).into_iter().map(|(source, key)| (source, key.to_vec())).unzip();
        let sql = "select e.id from unnest($1::text[], $2::bytea[]) j (source, key_hash) join name n on n.text = j.source \
                   join event e on e.source_id = n.id and e.key_hash = j.key_hash limit 201";
        let events = self.numbers(query(sql).bind(sources).bind(keys)).await?;
        found.add_events("source_event_id", events);
        Ok(())
    }

    async fn by_identifier(&mut self, x: &str, seen: &Seen, found: &mut Found) -> Result<(), Error> {
        let wanted = identifiers(x, seen).into_iter().map(|(value, kind)| (value.to_vec(), kind));
        let (values, kinds): (Vec<Vec<u8>>, Vec<Option<&str>>) = wanted.unzip();
        let sql = "select distinct a.record_id, a.kind from unnest($1::bytea[], $2::text[]) j (value_hash, kind) \
                   join alias a on a.value_hash = j.value_hash where j.kind is null or a.kind = j.kind limit $3";
        found.add_aliases(&self.all(query(sql).bind(values).bind(kinds).bind(FOUND_MAX)).await?)
    }

    async fn by_dead_person(&mut self, x: &str, found: &mut Found) -> Result<(), Error> {
        let wanted: Vec<String> = dead_words(&words(x));
        let sql = "select p.event_id as id, p.normalized from (select delivery_id from dead_letter order by delivery_id desc limit $1) l \
                   join payload p on p.event_id = (l.delivery_id & ~63::bigint) \
                   where exists (select 1 from unnest($2::text[]) j (word) where strpos(lower(p.normalized collate \"C\"), j.word) > 0) limit $3";
        let rows = self.all(query(sql).bind(DEAD_MAX).bind(&wanted).bind(FOUND_MAX)).await?;
        found.add_dead(&wanted, &rows)
    }
}
