//! `$batch`: several requests in one, each with an answer of its own (execute-batch-operations-using-web-api).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use model::{Class, Failure, Scope};
use ring::digest;

use super::{Dataverse, garbage, written_one};
use crate::crm::dataverse::refusal;
use crate::{Body, Connector as _, Outcome, Reply, Request, WriteBatch, Written};

/// The batch's content type and its text. The boundary follows from the content, so that the same content is the same bytes.
pub(super) fn spelled(parts: &[Request]) -> (String, String) {
    let parts: Vec<String> = parts.iter().map(part).collect();
    let mut hash = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| hash.update(part.as_bytes()));
    let hex: String = hash.finish().as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let boundary = format!("batch_{hex}");
    let mut text = String::new();
    for part in &parts {
        // Writing to a text does not fail.
        let _ = write!(text, "--{boundary}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n{part}\r\n");
    }
    let _ = write!(text, "--{boundary}--\r\n");
    (format!("multipart/mixed; boundary=\"{boundary}\""), text)
}

fn part(request: &Request) -> String {
    let mut text = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    for (name, value) in &request.headers {
        // Those of the batch hold for its parts.
        if matches!(name.as_str(), "prefer" | "if-match" | "if-none-match") {
            let _ = write!(text, "{name}: {value}\r\n");
        }
    }
    match &request.body {
        Body::Json(value) => {
            let _ = write!(text, "content-type: application/json; type=entry\r\n\r\n{value}");
        }
        Body::None | Body::Form(_) | Body::Raw { .. } => text.push_str("\r\n"),
    }
    text
}

/// The answers of the parts, in their order; `None` if the text is anything else, or is cut.
fn parts(reply: &Reply) -> Option<Vec<Reply>> {
    let text = std::str::from_utf8(&reply.body).ok()?;
    let named = reply.header("content-type").and_then(|kind| kind.split(';').find_map(|part| part.trim().strip_prefix("boundary=")));
    let boundary = match named {
        Some(boundary) => boundary.trim_matches('"').to_owned(),
        None => text.lines().find_map(|line| line.strip_prefix("--"))?.trim_end().to_owned(),
    };
    if boundary.is_empty() {
        return None;
    }
    let mut parts = Vec::new();
    for segment in text.split(&format!("--{boundary}")).skip(1) {
        if segment.starts_with("--") {
            return Some(parts);
        }
        parts.push(answer(segment)?);
    }
    None
}

/// One part: the headers of the part, an empty line, and an answer as HTTP/1.1 writes it.
fn answer(segment: &str) -> Option<Reply> {
    let (part, http) = head_and_rest(segment.trim_start());
    if !part.to_ascii_lowercase().contains("application/http") {
        return None;
    }
    let (head, body) = head_and_rest(http.trim_start());
    let mut lines = head.lines();
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Some(Reply { status, headers: headers.collect(), body: body.trim().as_bytes().to_vec() })
}

/// What is before and after the first empty line.
fn head_and_rest(text: &str) -> (&str, &str) {
    let ends = ["\r\n\r\n", "\n\n"].into_iter().filter_map(|end| Some((text.find(end)?, end.len())));
    match ends.min() {
        Some((at, length)) => (text.get(..at).unwrap_or_default(), text.get(at + length..).unwrap_or_default()),
        None => (text.trim_end(), ""),
    }
}

/// What became of each record of a batch.
pub(super) fn written(dataverse: &Dataverse, batch: &WriteBatch, reply: &Reply) -> Outcome<Written> {
    if !(200..300).contains(&reply.status) {
        return Err(refusal::of_batch(reply));
    }
    let answers = parts(reply).ok_or_else(|| garbage(reply))?;
    let places = places(dataverse, batch, &answers).ok_or_else(|| {
        let message = "two answers carry the key of one record; which is which cannot be known";
        Failure::new(Class::Unknown, Scope::Call, "result_twice", message)
    })?;
    let results: Vec<_> = batch
        .records
        .iter()
        .zip(places)
        .map(|(record, answer)| match answer {
            Some(answer) => written_one(batch, record, answer),
            None => Err(no_result()),
        })
        .collect();
    let beyond = |result: &Result<Written, Failure>| result.as_ref().err().is_some_and(|failure| failure.scope == Scope::Destination);
    // What every part was refused for is the destination's; among successes it is the record's.
    if results.iter().all(beyond)
        && let Some(failure) = results.iter().find_map(|result| result.as_ref().err())
    {
        return Err(failure.clone());
    }
    Ok(results.into_iter().map(|result| result.map_err(refusal::among_others)).collect())
}

/// The answer to each record: by the key that it shows, else by its place as long as nothing says that places do not hold.
fn places<'a>(dataverse: &Dataverse, batch: &WriteBatch, answers: &'a [Reply]) -> Option<Vec<Option<&'a Reply>>> {
    let keys: BTreeMap<String, usize> =
        batch.records.iter().enumerate().map(|(place, record)| (dataverse.canonical_key(&record.key), place)).collect();
    let keyed: Vec<Option<usize>> = answers
        .iter()
        .map(|answer| {
            let key = answer.json()?[&batch.key_field].as_str().map(|key| dataverse.canonical_key(key))?;
            keys.get(&key).copied()
        })
        .collect();
    let in_order =
        answers.len() == batch.records.len() && keyed.iter().enumerate().all(|(at, place)| place.is_none_or(|place| place == at));
    let mut places = vec![None; batch.records.len()];
    for (at, answer) in answers.iter().enumerate() {
        let by_key = keyed.get(at).copied().flatten();
        let Some(place) = by_key.or(in_order.then_some(at)) else { continue };
        if places.get_mut(place)?.replace(answer).is_some() {
            return None;
        }
    }
    Some(places)
}

fn no_result() -> Failure {
    Failure::new(Class::Unknown, Scope::Record, "no_result", "the answer holds no part for this record")
}

/// The answers that a text holds, for tests.
#[cfg(test)]
pub(super) fn statuses(reply: &Reply) -> Option<Vec<(u16, serde_json::Value)>> {
    Some(parts(reply)?.iter().map(|part| (part.status, part.json().unwrap_or_default())).collect())
}
