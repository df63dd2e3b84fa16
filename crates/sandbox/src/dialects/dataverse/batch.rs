//! `$batch`: the parts of a multipart text, and their answers in the same form.

use std::fmt::Write as _;

use super::{Done, ROOT, Refusal, one, written_key};
use crate::core::Touched;
use crate::dialects::{Answer, Request, World};
use crate::http::{HttpReply, split};

/// Documented.
const PARTS_MAX: usize = 1_000;
const BOUNDARY: &str = "batchresponse_f44bd09d-573f-4a30-bca0-2e500ee7e139";

pub(super) fn is_batch(request: &Request) -> bool {
    let (path, _) = split(&request.target);
    request.method == "POST" && path.starts_with(ROOT) && path.ends_with("/$batch")
}

/// The parts of a batch.
pub(super) fn parts(request: &Request) -> Option<Vec<Request>> {
    let (kind, rest) = request.header("content-type")?.split_once(';')?;
    let boundary = rest.trim().strip_prefix("boundary=")?.trim_matches('"');
    if !kind.trim().eq_ignore_ascii_case("multipart/mixed") || boundary.is_empty() {
        return None;
    }
    let mut parts = Vec::new();
    for segment in request.body.split(&format!("--{boundary}")).skip(1) {
        if segment.starts_with("--") {
            return Some(parts).filter(|parts| parts.len() <= PARTS_MAX);
        }
        parts.push(part(segment)?);
    }
    None
}

fn part(segment: &str) -> Option<Request> {
    let (head, http) = segment.trim_start().split_once("\r\n\r\n")?;
    let head = head.to_ascii_lowercase();
    if !head.contains("content-type: application/http") || !head.contains("content-transfer-encoding: binary") {
        return None;
    }
    let (head, body) = http.split_once("\r\n\r\n").unwrap_or((http.trim_end(), ""));
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    if first.next() != Some("HTTP/1.1") || !target.starts_with(ROOT) {
        return None;
    }
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned())).collect();
    Some(Request { method, target, headers, body: body.trim().to_owned(), authorization: None })
}

/// Does the parts in their order: each for itself, and to the end only where that is preferred.
pub(super) fn answer(request: &Request, world: &mut World<'_>) -> Answer {
    let Some(parts) = parts(request) else {
        return Answer::plain(Refusal::new(400, "0x80048d19", "The batch is not one that the Web API reads.").reply());
    };
    let go_on = request.header("prefer").is_some_and(|prefer| prefer.contains("odata.continue-on-error"));
    let (mut answers, mut records) = (Vec::new(), Vec::new());
    let mut status = 200;
    for (at, part) in parts.iter().enumerate() {
        let done = one(part, world, at);
        let failed = done.reply.status >= 400;
        if written_key(part).is_some() {
            records.push(Touched { key: done.key.clone(), result: done.result.clone().into() });
        }
        answers.push(done);
        if failed && !go_on {
            status = answers.last().map_or(400, |done| done.reply.status);
            break;
        }
    }
    if world.missing {
        answers.pop();
    }
    let kind = format!("multipart/mixed; boundary={BOUNDARY}");
    Answer { reply: HttpReply::text(status, &kind, &spelled(&answers)).with("odata-version", "4.0"), records }
}

fn spelled(answers: &[Done]) -> String {
    let mut text = String::new();
    for Done { reply, .. } in answers {
        let said = match reply.status {
            200 => "OK",
            201 => "Created",
            204 => "No Content",
            404 => "Not Found",
            412 => "Precondition Failed",
            500 => "Internal Server Error",
            _ => "Bad Request",
        };
        // Writing to a text does not fail.
        let _ = write!(text, "--{BOUNDARY}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n");
        let _ = write!(text, "HTTP/1.1 {} {said}\r\n", reply.status);
        for (name, value) in &reply.headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let _ = write!(text, "\r\n{}\r\n", String::from_utf8_lossy(&reply.body));
    }
    let _ = write!(text, "--{BOUNDARY}--\r\n");
    text
}
