//! Refused requests, known sources, and the audit trail.

use std::collections::BTreeMap;

use model::{RejectedId, Time};

use rusqlite::{Connection, params};

use super::super::Sqlite;
use super::super::row::{all, optional, run};
use crate::Error;
use crate::drift::{DriftRow, row};
use crate::types::{AuditRow, NewRejected, RejectedBounds, RejectedRow};
use crate::views::page;
use crate::views::rejected::{audit, counted, listed, whole};

impl Sqlite {
    pub fn keep_rejected(&self, conn: &Connection, now: Time, source: i64, new: &NewRejected, bounds: RejectedBounds) -> Result<(), Error> {
        run(
            conn,
            "insert into rejected (id, source_id, at, reason, diagnosis, body_bytes, body_sha256, key_id, sealed) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                new.id.0,
                source,
                new.at.0,
                &new.reason,
                &new.diagnosis,
                i64::try_from(new.body_bytes).unwrap_or(i64::MAX),
                new.body_sha256.as_slice(),
                i64::from(new.key_id),
                new.sealed.as_slice()
            ],
        )?;
        run(
            conn,
            "delete from rejected where id in (select id from (select id, at, row_number() over newest as place, \
             sum(length(sealed)) over newest as held from rejected where source_id = ? window newest as (order by id desc)) \
             where place > ? or held > ? or at < ?)",
            params![source, i64::from(bounds.rows_max), i64::try_from(bounds.bytes_max).unwrap_or(i64::MAX), (now - bounds.age_max).0],
        )?;
        Ok(())
    }

    pub fn rejected(&self, conn: &Connection, source: Option<&str>, limit: u32) -> Result<Vec<RejectedRow>, Error> {
        let of_all = "select r.id, r.at, r.reason, r.diagnosis, r.body_bytes, s.text as source from rejected r cross join name s on s.id = r.source_id \
                   where ?1 is null order by r.id desc limit ?2";
        let of_one = "select r.id, r.at, r.reason, r.diagnosis, r.body_bytes, s.text as source from name s cross join rejected r on r.source_id = s.id \
                      where s.text = ?1 order by r.id desc limit ?2";
        let sql = if source.is_some() { of_one } else { of_all };
        let rows = all(conn, sql, params![source, page(limit)])?;
        rows.iter().map(listed).collect()
    }

    pub fn rejected_after(&self, conn: &Connection, source: &str, after: RejectedId, limit: u32) -> Result<Vec<RejectedId>, Error> {
        let sql = "select r.id from name s cross join rejected r on r.source_id = s.id where s.text = ? and r.id > ? order by r.id limit ?";
        all(conn, sql, params![source, after.0, page(limit)])?.iter().map(|row| Ok(RejectedId(row.at(0)?))).collect()
    }

    pub fn count_rejected(&self, conn: &Connection) -> Result<BTreeMap<String, u64>, Error> {
        let sql = "select s.text as source, r.n from (select source_id, count(*) as n from rejected group by source_id) r join name s on s.id = r.source_id";
        counted(&all(conn, sql, params![])?)
    }

    pub fn diagnose_rejected(&self, conn: &Connection, id: RejectedId, reason: &str, diagnosis: &str) -> Result<(), Error> {
        run(conn, "update rejected set reason = ?, diagnosis = ? where id = ?", params![reason, diagnosis, id.0]).map(drop)
    }

    pub fn rejected_one(&self, conn: &Connection, id: RejectedId) -> Result<Option<NewRejected>, Error> {
        let sql = "select r.*, s.text as source from rejected r join name s on s.id = r.source_id where r.id = ?";
        let row = optional(conn, sql, params![id.0])?;
        row.as_ref().map(whole).transpose()
    }

    pub fn drift(&self, conn: &Connection, source: &str) -> Result<Vec<DriftRow>, Error> {
        let sql = "select d.* from name s cross join drift d on d.source_id = s.id where s.text = ? order by d.event_type";
        all(conn, sql, params![source])?.iter().map(row).collect()
    }

    pub fn source_existed(&self, conn: &Connection, name: &str) -> Result<bool, Error> {
        let sql = "select 1 from source s join name n on n.id = s.name_id where n.text = ?";
        Ok(optional(conn, sql, params![name])?.is_some())
    }

    pub fn audit_rows(&self, conn: &Connection, before: Option<i64>, limit: u32) -> Result<Vec<AuditRow>, Error> {
        let sql = "select * from audit where seq < ? order by seq desc limit ?";
        let rows = all(conn, sql, params![before.unwrap_or(i64::MAX), page(limit)])?;
        rows.iter().map(audit).collect()
    }
}
