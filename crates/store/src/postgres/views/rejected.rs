//! Refused requests, known sources, and the audit trail.

use std::collections::BTreeMap;

use model::{RejectedId, Time};
use sqlx::query;

use super::super::Postgres;
use super::super::read::words;
use super::Moment;
use crate::Error;
use crate::drift::{DriftRow, row};
use crate::types::{AuditRow, NewRejected, RejectedBounds, RejectedRow};
use crate::views::page;
use crate::views::rejected::{audit, counted, listed, whole};

impl Postgres {
    pub async fn keep_rejected(&self, now: Time, new: &NewRejected, bounds: RejectedBounds) -> Result<(), Error> {
        let source = self.names(&[&new.source]).await?.id(&new.source)?;
        let mut tx = self.pool.begin().await?;
        let sql = "insert into rejected (id, source_id, at, reason, diagnosis, body_bytes, body_sha256, key_id, sealed) \
                   values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let statement = query(sql)
            .bind(new.id.0)
            .bind(source)
            .bind(new.at.0)
            .bind(words(&new.reason))
            .bind(words(&new.diagnosis))
            .bind(i64::try_from(new.body_bytes).unwrap_or(i64::MAX))
            .bind(new.body_sha256.as_slice())
            .bind(i64::from(new.key_id))
            .bind(new.sealed.as_slice());
        tx.run(statement).await?;
        let sql = "delete from rejected where id in (select id from (select id, at, row_number() over newest as place, \
                   sum(octet_length(sealed)) over newest as held from rejected where source_id = $1 window newest as (order by id desc)) kept \
                   where place > $2 or held > $3 or at < $4)";
        let statement = query(sql)
            .bind(source)
            .bind(i64::from(bounds.rows_max))
            .bind(i64::try_from(bounds.bytes_max).unwrap_or(i64::MAX))
            .bind((now - bounds.age_max).0);
        tx.run(statement).await?;
        tx.commit().await
    }

    pub async fn diagnose_rejected(&self, id: RejectedId, reason: &str, diagnosis: &str) -> Result<(), Error> {
        let mut tx = self.pool.begin().await?;
        let sql = "update rejected set reason = $1, diagnosis = $2 where id = $3";
        tx.run(query(sql).bind(words(reason)).bind(words(diagnosis)).bind(id.0)).await?;
        tx.commit().await
    }
}

impl Moment<'_> {
    pub async fn rejected(&mut self, source: Option<&str>, limit: u32) -> Result<Vec<RejectedRow>, Error> {
        let of_all = "select r.id, r.at, r.reason, r.diagnosis, r.body_bytes, s.text as source from rejected r join name s on s.id = r.source_id \
                      where $1::text is null order by r.id desc limit $2";
        let of_one = "select r.id, r.at, r.reason, r.diagnosis, r.body_bytes, s.text as source from name s join rejected r on r.source_id = s.id \
                      where s.text = $1 order by r.id desc limit $2";
        let sql = if source.is_some() { of_one } else { of_all };
        self.all(query(sql).bind(source.map(words)).bind(page(limit))).await?.iter().map(listed).collect()
    }

    pub async fn rejected_after(&mut self, source: &str, after: RejectedId, limit: u32) -> Result<Vec<RejectedId>, Error> {
        let sql = "select r.id from name s join rejected r on r.source_id = s.id where s.text = $1 and r.id > $2 order by r.id limit $3";
        let ids = self.numbers(query(sql).bind(words(source)).bind(after.0).bind(page(limit))).await?;
        Ok(ids.into_iter().map(RejectedId).collect())
    }

    pub async fn count_rejected(&mut self) -> Result<BTreeMap<String, u64>, Error> {
        let sql = "select s.text as source, r.n from (select source_id, count(*) as n from rejected group by source_id) r join name s on s.id = r.source_id";
        counted(&self.all(query(sql)).await?)
    }

    pub async fn rejected_one(&mut self, id: RejectedId) -> Result<Option<NewRejected>, Error> {
        let sql = "select r.*, s.text as source from rejected r join name s on s.id = r.source_id where r.id = $1";
        self.optional(query(sql).bind(id.0)).await?.as_ref().map(whole).transpose()
    }

    pub async fn drift(&mut self, source: &str) -> Result<Vec<DriftRow>, Error> {
        let sql = "select d.* from name s join drift d on d.source_id = s.id where s.text = $1 order by d.event_type";
        self.all(query(sql).bind(words(source))).await?.iter().map(row).collect()
    }

    pub async fn source_existed(&mut self, name: &str) -> Result<bool, Error> {
        let sql = "select 1 from source s join name n on n.id = s.name_id where n.text = $1";
        Ok(self.optional(query(sql).bind(words(name))).await?.is_some())
    }

    pub async fn audit_rows(&mut self, before: Option<i64>, limit: u32) -> Result<Vec<AuditRow>, Error> {
        let sql = "select * from audit where seq < $1 order by seq desc limit $2";
        self.all(query(sql).bind(before.unwrap_or(i64::MAX)).bind(page(limit))).await?.iter().map(audit).collect()
    }
}
