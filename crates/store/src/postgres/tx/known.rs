//! What intake must know before it decides.

use std::collections::{BTreeMap, BTreeSet};

use model::{EventId, RecordId};
use sqlx::postgres::PgRow;

use super::super::read::{bytes, get, word};
use super::{Tx, list};
use crate::Error;
use crate::rows::{AliasKey, KnownEvent};

/// What was asked for at the place that a row names.
fn asked<'k, K>(keys: &[&'k K], row: &PgRow) -> Result<&'k K, Error> {
    let place: i64 = get(row, "place")?;
    word(usize::try_from(place).ok().and_then(|place| keys.get(place).copied()), "unnest", "ordinal", place, place)
}

impl Tx {
    pub async fn find_events(&mut self, keys: &BTreeSet<(String, [u8; 16])>) -> Result<BTreeMap<(String, [u8; 16]), KnownEvent>, Error> {
        let sources = keys.iter().map(|(source, _)| self.names.id(source)).collect::<Result<Vec<_>, _>>()?;
        let hashes: Vec<Vec<u8>> = keys.iter().map(|(_, hash)| hash.to_vec()).collect();
        let sql = "select k.ordinal - 1 as place, e.* from unnest($1::bigint[], $2::bytea[]) with ordinality k (source_id, key_hash, ordinal) \
                   cross join lateral (select id, content_hash, mapping_version, flags from event \
                   where source_id = k.source_id and key_hash = k.key_hash limit 1) e";
        let keys: Vec<&(String, [u8; 16])> = keys.iter().collect();
        let mut found = BTreeMap::new();
        for row in &self.all(sqlx::query(sql).bind(sources).bind(hashes)).await? {
            let id: i64 = get(row, "id")?;
            let content_hash = bytes(get(row, "content_hash")?, "event", "content_hash", id)?;
            let ignored = get::<i64>(row, "flags")? & 1 != 0;
            let held = KnownEvent { id: EventId(id), content_hash, mapping_version: get(row, "mapping_version")?, ignored };
            found.insert(asked(&keys, row)?.clone(), held);
        }
        Ok(found)
    }

    pub async fn find_aliases(&mut self, keys: &BTreeSet<AliasKey>) -> Result<BTreeMap<AliasKey, RecordId>, Error> {
        let (mut hashes, mut kinds, mut destinations, mut objects) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for key in keys {
            hashes.push(key.hash.to_vec());
            kinds.push(key.kind.clone());
            destinations.push(self.names.id(&key.destination)?);
            objects.push(self.names.id(&key.object)?);
        }
        let sql = "select k.ordinal - 1 as place, a.record_id \
                   from unnest($1::bytea[], $2::text[], $3::bigint[], $4::bigint[]) with ordinality k (value_hash, kind, destination_id, object_id, ordinal) \
                   cross join lateral (select record_id from alias where value_hash = k.value_hash and kind = k.kind \
                   and destination_id = k.destination_id and object_id = k.object_id limit 1) a";
        let keys: Vec<&AliasKey> = keys.iter().collect();
        let rows = self.all(sqlx::query(sql).bind(hashes).bind(kinds).bind(destinations).bind(objects)).await?;
        rows.iter().map(|row| Ok((asked(&keys, row)?.clone(), RecordId(get(row, "record_id")?)))).collect()
    }

    /// Which kinds of identifier these records have already.
    pub async fn alias_kinds(&mut self, records: &BTreeSet<RecordId>) -> Result<BTreeSet<(RecordId, String)>, Error> {
        let sql = "select distinct record_id, kind from alias where record_id = any($1)";
        let rows = self.all(sqlx::query(sql).bind(list(records.iter().map(|id| id.0)))).await?;
        rows.iter().map(|row| Ok((RecordId(get(row, "record_id")?), get(row, "kind")?))).collect()
    }
}
