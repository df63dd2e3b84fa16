//! Refused requests and the audit trail, read from their rows.

use std::collections::BTreeMap;

use model::RejectedId;

use crate::Error;
use crate::columns::{Columns, bytes, count, get, json, time, word};
use crate::types::{AuditRow, NewRejected, RejectedRow};

/// A refused request as it is listed.
pub fn listed(row: &impl Columns) -> Result<RejectedRow, Error> {
    Ok(RejectedRow {
        id: RejectedId(get(row, "id")?),
        source: get(row, "source")?,
        at: time(row, "at")?.unwrap_or_default(),
        reason: get(row, "reason")?,
        diagnosis: get(row, "diagnosis")?,
        body_bytes: count(get(row, "body_bytes")?),
    })
}

/// How many there are, by source.
pub fn counted<R: Columns>(rows: &[R]) -> Result<BTreeMap<String, u64>, Error> {
    rows.iter().map(|row| Ok((get(row, "source")?, count(get(row, "n")?)))).collect()
}

/// A refused request with its sealed bytes.
pub fn whole(row: &impl Columns) -> Result<NewRejected, Error> {
    let id: i64 = get(row, "id")?;
    let key: i64 = get(row, "key_id")?;
    Ok(NewRejected {
        id: RejectedId(id),
        source: get(row, "source")?,
        at: time(row, "at")?.unwrap_or_default(),
        reason: get(row, "reason")?,
        diagnosis: get(row, "diagnosis")?,
        body_bytes: count(get(row, "body_bytes")?),
        body_sha256: bytes(get(row, "body_sha256")?, "rejected", "body_sha256", id)?,
        key_id: word(u32::try_from(key).ok(), "rejected", "key_id", id, key)?,
        sealed: get(row, "sealed")?,
    })
}

/// A row of the audit trail.
pub fn audit(row: &impl Columns) -> Result<AuditRow, Error> {
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
