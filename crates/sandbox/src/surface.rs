//! The sandbox's own surface under `/_sandbox`: faults, counts, records and calls. It is never subject to faults and counts as no call.

use model::Time;
use serde::Serializer as _;
use serde_json::{Value, json};

use crate::core::Core;
use crate::faults::Faults;
use crate::http::{HttpReply, HttpRequest, pair, split};

/// Calls on one page, unless `limit` asks for another number.
const PAGE: usize = 1_000;
/// Calls on the largest page.
const MAX_PAGE: usize = 10_000;

/// What is asked of the sandbox itself.
#[derive(Debug)]
pub(crate) enum Ask {
    Faults,
    SetFaults(Faults),
    Stats,
    Records { crm: Option<String>, object: Option<String> },
    Calls { after: u64, limit: usize },
    Reset,
    Wrong(HttpReply),
}

/// Reads a request; `None` if it is for a CRM.
pub(crate) fn read(request: &HttpRequest<'_>) -> Option<Ask> {
    let (path, query) = split(request.target);
    let rest = path.strip_prefix("/_sandbox")?;
    let number = |name: &str, usual: u64| match pair(query, name) {
        None => Ok(usual),
        Some(text) => text.parse::<u64>().map_err(|_| wrong(400, &format!("`{name}` is a whole number"))),
    };
    Some(match (request.method, rest) {
        ("GET", "/faults") => Ask::Faults,
        ("PUT", "/faults") => match read_faults(request.body) {
            Ok(faults) => Ask::SetFaults(faults),
            Err(says) => wrong(400, &says),
        },
        ("GET", "/stats") => Ask::Stats,
        ("GET", "/records") => Ask::Records { crm: pair(query, "crm"), object: pair(query, "object") },
        ("GET", "/calls") => match (number("after", 0), number("limit", PAGE as u64)) {
            (Ok(after), Ok(limit)) => Ask::Calls { after, limit: usize::try_from(limit).unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE) },
            (Err(ask), _) | (_, Err(ask)) => ask,
        },
        ("DELETE", "" | "/") => Ask::Reset,
        (_, "/faults" | "/stats" | "/records" | "/calls" | "" | "/") => wrong(405, "this path does not take this method"),
        _ => wrong(404, "there are /_sandbox/faults, /_sandbox/stats, /_sandbox/records and /_sandbox/calls"),
    })
}

fn read_faults(body: &[u8]) -> Result<Faults, String> {
    let json: Value = serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    Faults::from_json(&json).map_err(|error| error.to_string())
}

fn wrong(status: u16, says: &str) -> Ask {
    Ask::Wrong(HttpReply::json(status, &json!({"error": says})))
}

/// Answers; late writes that are due have been applied before.
pub(crate) fn answer(core: &mut Core, ask: Ask, now: Time) -> HttpReply {
    match ask {
        Ask::Faults => HttpReply::json(200, &core.faults(now).to_json()),
        Ask::SetFaults(faults) => {
            core.set_faults(faults, now);
            HttpReply::json(200, &core.faults(now).to_json())
        }
        Ask::Stats => HttpReply::json(200, &core.stats()),
        Ask::Records { crm, object } => {
            let mut body = Vec::new();
            // One record at a time: all of them as values at once would take several times the room.
            match serde_json::Serializer::new(&mut body).collect_seq(core.records(crm.as_deref(), object.as_deref())) {
                Ok(()) => HttpReply { body, ..HttpReply::json(200, &json!([])) },
                Err(error) => HttpReply::json(500, &json!({"error": error.to_string()})),
            }
        }
        Ask::Calls { after, limit } => HttpReply::json(200, &core.calls(after).take(limit).collect::<Vec<_>>()),
        Ask::Reset => {
            core.reset();
            HttpReply::empty(204)
        }
        Ask::Wrong(reply) => reply,
    }
}
