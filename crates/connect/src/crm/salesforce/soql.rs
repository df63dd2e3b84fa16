//! Look-ups by key: one SOQL query, which sees every committed write (search does not).

use std::collections::BTreeMap;

use model::{Class, Failure, Scope, Time};
use serde_json::Value;

use super::{garbage, valid_id};
use crate::connector::Connector;
use crate::crm::refusal::ambiguous;
use crate::wire::encode;
use crate::{Outcome, Present, ReadBatch, Reply};

/// Salesforce takes 16,384 bytes of URL and headers together; the token and our other headers need the rest.
const URL_MAX: usize = 11_000;

/// The query for a batch whose names have been checked.
pub(super) fn select(batch: &ReadBatch) -> String {
    let keys: Vec<String> = batch.records.iter().map(|sought| quoted(&sought.key)).collect();
    format!("{}{})", head(batch), keys.join(","))
}

fn head(batch: &ReadBatch) -> String {
    let mut names = vec!["Id", batch.key_field.as_str(), "LastModifiedDate"];
    for field in &batch.fields {
        if !names.iter().any(|name| name.eq_ignore_ascii_case(field)) {
            names.push(field);
        }
    }
    format!("SELECT {} FROM {} WHERE {} IN (", names.join(","), batch.object, batch.key_field)
}

/// A string literal. In SOQL, `\` starts an escape and `'` ends the literal; line ends must be escaped too.
fn quoted(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for char in text.chars() {
        match char {
            '\'' => literal.push_str("\\'"),
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            '\u{8}' => literal.push_str("\\b"),
            '\u{c}' => literal.push_str("\\f"),
            other => literal.push(other),
        }
    }
    literal.push('\'');
    literal
}

/// How many of the first keys fit into one URL: at least 1, unless there are none.
pub(super) fn fits(root: &str, batch: &ReadBatch) -> usize {
    let mut room = URL_MAX.saturating_sub(root.len() + "/query?q=%29".len() + encode(&head(batch)).len());
    let mut fits = 0;
    for sought in &batch.records {
        let needs = encode(&quoted(&sought.key)).len() + "%2C".len();
        if needs > room {
            break;
        }
        room -= needs;
        fits += 1;
    }
    fits.max(1).min(batch.records.len())
}

/// Reads the rows of a query that was answered with 200.
pub(super) fn found(connector: &dyn Connector, batch: &ReadBatch, reply: &Reply) -> Outcome<Option<Present>> {
    let body = reply.json().ok_or_else(|| garbage(reply))?;
    let (Some(rows), Some(done)) = (body["records"].as_array(), body["done"].as_bool()) else { return Err(garbage(reply)) };
    if !done {
        return Err(Failure::new(Class::Conflict, Scope::Call, "too_large", "the CRM has more rows for these keys than one answer holds"));
    }
    if body["totalSize"].as_u64().is_some_and(|total| usize::try_from(total) != Ok(rows.len())) {
        return Err(garbage(reply));
    }
    let asked: Vec<String> = batch.records.iter().map(|sought| connector.canonical_key(&sought.key)).collect();
    let mut by_key: BTreeMap<String, Vec<Present>> = BTreeMap::new();
    let mut strays = false;
    for row in rows {
        let key =
            member(row, &batch.key_field).and_then(Value::as_str).map(|key| connector.canonical_key(key)).ok_or_else(|| garbage(reply))?;
        strays |= !asked.contains(&key);
        by_key.entry(key).or_default().push(present(batch, row).ok_or_else(|| garbage(reply))?);
    }
    Ok(asked.iter().map(|key| one(by_key.get(key).map_or(&[], Vec::as_slice), strays)).collect())
}

/// What one key's rows say. With a row that belongs to no key asked for, a missing one is not surely absent.
fn one(rows: &[Present], strays: bool) -> Result<Option<Present>, Failure> {
    match rows {
        [] if strays => Err(Failure::new(
            Class::Unknown,
            Scope::Record,
            "stray_row",
            "the answer holds a record that was not asked for, and not this one",
        )),
        [] => Ok(None),
        [row] => Ok(Some(row.clone())),
        several => Err(ambiguous(several.iter().map(|row| row.crm_id.as_str()))),
    }
}

fn present(batch: &ReadBatch, row: &Value) -> Option<Present> {
    let crm_id = member(row, "Id")?.as_str().filter(|id| valid_id(id))?.to_owned();
    let fields = batch.fields.iter().map(|field| (field.clone(), member(row, field).cloned().unwrap_or_default())).collect();
    Some(Present { crm_id, fields, modified_at: member(row, "LastModifiedDate").and_then(Value::as_str).and_then(moment) })
}

/// A row's member; Salesforce answers with the field's own spelling, whatever the query's was.
fn member<'a>(row: &'a Value, name: &str) -> Option<&'a Value> {
    row.as_object()?.iter().find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// A date-time as Salesforce writes it (`2026-11-22T18:04:00.000+0000`) or as RFC 3339 does.
pub(super) fn moment(text: &str) -> Option<Time> {
    let bytes = text.as_bytes();
    let colonless =
        bytes.len() > 20 && matches!(bytes[bytes.len() - 5], b'+' | b'-') && bytes[bytes.len() - 4..].iter().all(u8::is_ascii_digit);
    if colonless {
        let (head, minutes) = text.split_at(text.len() - 2);
        return Time::parse_rfc3339(&format!("{head}:{minutes}"));
    }
    Time::parse_rfc3339(text)
}
