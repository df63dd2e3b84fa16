//! Refused requests, known sources, and the audit trail.

use model::{RejectedId, Time};
use sqlx::sqlite::SqliteRow;

use super::super::Sqlite;
use super::super::row::{bytes, get, json, word};
use super::{count, page, time};
use crate::Error;
use crate::types::{AuditRow, NewRejected, RejectedBounds, RejectedRow};

impl Sqlite {
    pub async fn keep_rejected(&self, now: Time, new: &NewRejected, bounds: RejectedBounds) -> Result<(), Error> {
        let source = self.names(&[&new.source]).await?.id(&new.source)?;
        let mut writer = self.writer().await?;
        writer.in_transaction = true;
        sqlx::query("begin immediate").execute(&mut writer.conn).await?;
        sqlx::query(
            "insert into rejected (id, source_id, at, reason, diagnosis, body_bytes, body_sha256, key_id, sealed) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(new.id.0)
        .bind(source)
        .bind(new.at.0)
        .bind(&new.reason)
        .bind(&new.diagnosis)
        .bind(i64::try_from(new.body_bytes).unwrap_or(i64::MAX))
        .bind(new.body_sha256.as_slice())
        .bind(i64::from(new.key_id))
        .bind(new.sealed.as_slice())
        .execute(&mut writer.conn)
        .await?;
        sqlx::query(
            "delete from rejected where id in (select id from (select id, at, row_number() over newest as place, \
             sum(length(sealed)) over newest as held from rejected where source_id = ? window newest as (order by id desc)) \
             where place > ? or held > ? or at < ?)",
        )
        .bind(source)
        .bind(i64::from(bounds.rows_max))
        .bind(i64::try_from(bounds.bytes_max).unwrap_or(i64::MAX))
        .bind((now - bounds.age_max).0)
        .execute(&mut writer.conn)
        .await?;
        sqlx::query("commit").execute(&mut writer.conn).await?;
        writer.in_transaction = false;
        Ok(())
    }

    pub async fn rejected(&self, source: Option<&str>, limit: u32) -> Result<Vec<RejectedRow>, Error> {
        let all = "select r.id, r.at, r.reason, r.diagnosis, r.body_bytes, s.text as source from rejected r cross join name s on s.id = r.source_id \
                   where ?1 is null order by r.id desc limit ?2";
        let of_one = "select r.id, r.at, r.reason, r.diagnosis, r.body_bytes, s.text as source from name s cross join rejected r on r.source_id = s.id \
                      where s.text = ?1 order by r.id desc limit ?2";
        let sql = if source.is_some() { of_one } else { all };
        let rows = sqlx::query(sql).bind(source).bind(page(limit)).fetch_all(&self.readers).await?;
        let shown = rows.iter().map(|row| {
            Ok(RejectedRow {
                id: RejectedId(get(row, "id")?),
                source: get(row, "source")?,
                at: time(row, "at")?.unwrap_or_default(),
                reason: get(row, "reason")?,
                diagnosis: get(row, "diagnosis")?,
                body_bytes: count(get(row, "body_bytes")?),
            })
        });
        shown.collect()
    }

    pub async fn rejected_one(&self, id: RejectedId) -> Result<Option<NewRejected>, Error> {
        let sql = "select r.*, s.text as source from rejected r join name s on s.id = r.source_id where r.id = ?";
        let row = sqlx::query(sql).bind(id.0).fetch_optional(&self.readers).await?;
        row.as_ref().map(|row| whole(row, id)).transpose()
    }

    pub async fn source_existed(&self, name: &str) -> Result<bool, Error> {
        let sql = "select 1 from source s join name n on n.id = s.name_id where n.text = ?";
        Ok(sqlx::query(sql).bind(name).fetch_optional(&self.readers).await?.is_some())
    }

    pub async fn audit_rows(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditRow>, Error> {
        let sql = "select * from audit where seq < ? order by seq desc limit ?";
        let rows = sqlx::query(sql).bind(before.unwrap_or(i64::MAX)).bind(page(limit)).fetch_all(&self.readers).await?;
        rows.iter().map(audit).collect()
    }
}

fn whole(row: &SqliteRow, id: RejectedId) -> Result<NewRejected, Error> {
    let key: i64 = get(row, "key_id")?;
    Ok(NewRejected {
        id,
        source: get(row, "source")?,
        at: time(row, "at")?.unwrap_or_default(),
        reason: get(row, "reason")?,
        diagnosis: get(row, "diagnosis")?,
        body_bytes: count(get(row, "body_bytes")?),
        body_sha256: bytes(get(row, "body_sha256")?, "rejected", "body_sha256", id.0)?,
        key_id: word(u32::try_from(key).ok(), "rejected", "key_id", id.0, key)?,
        sealed: get(row, "sealed")?,
    })
}

/// A row of the audit trail.
pub fn audit(row: &SqliteRow) -> Result<AuditRow, Error> {
    let seq: i64 = get(row, "seq")?;
    Ok(AuditRow {
        seq,
        at: time(row, "at")?.unwrap_or_default(),
        actor: get(row, "actor")?,
        action: get(row, "action")?,
        subject: get(row, "subject")?,
        detail: json(get(row, "detail")?, "audit", "detail", seq)?,
        hash: hex::encode(get::<&[u8]>(row, "hash")?),
    })
}
