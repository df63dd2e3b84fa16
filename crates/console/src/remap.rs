//! An event made again: the stored request, read with today's mapping and routes, under the key and the stamps that it has.

use std::panic::{AssertUnwindSafe, catch_unwind};

use model::event::Reading;
use model::intake::{NewEvent, prepare};
use model::mapping::ReadContext;
use model::seal::{Kept, NONCE_BYTES, pack};
use model::source::Source;
use model::{EventId, RawEventId};
use sha2::{Digest, Sha256};
use store::{DeadLetterRow, EventRow, NewRawEvent, RawEventRow, Reopen};

use crate::problem::{Problem, Refusal};
use crate::replays::Mapping;
use crate::{App, raw};

/// What is to be opened again for a dead letter.
pub(crate) async fn reopen(app: &App, row: &DeadLetterRow, mapping: Mapping, edited: Option<Vec<u8>>) -> Result<Reopen, Refusal> {
    if mapping == Mapping::Original && edited.is_none() {
        return Ok(Reopen { delivery: row.id, event: None, edited: None });
    }
    let found = app.store().event(app.now(), row.event).await?;
    let (event, normalized, mapping_text) = found.ok_or_else(|| Problem::NotFound.because("The event of this delivery is gone."))?;
    let came = raw::row(app, row.raw_event).await?;
    let source = source(app, &event, mapping, mapping_text.as_deref())?;
    let (kept, edited) = match edited {
        None => (raw::open(app, &came)?, None),
        Some(body) => {
            let kept = Kept { body, ..as_it_came(app, &came)? };
            let edited = seal(app, &came, &kept)?;
            (kept, Some(edited))
        }
    };
    let from = edited.as_ref().map_or(came.id, |edited: &NewRawEvent| edited.id);
    let entry = normalized.pointer("/audit/entry").and_then(|place| u32::try_from(place.as_u64()?).ok());
    let new = read(app, &source, &kept, &event, entry, from)?;
    Ok(Reopen { delivery: row.id, event: Some(new), edited })
}

/// Today's source, with today's mapping or the one that made the event.
fn source(app: &App, event: &EventRow, mapping: Mapping, text: Option<&str>) -> Result<Source, Refusal> {
    let source = app.console.sources.get(&event.source).ok_or_else(|| {
        Problem::Invalid
            .because("The source of this event is not configured any more. Replay with `mapping: original`, or configure it again.")
    })?;
    match mapping {
        Mapping::Current => Ok(source.as_ref().clone()),
        Mapping::Original => source.with_mapping(text.unwrap_or_default()).map_err(|problems| {
            let said = problems.first().map_or_else(String::new, |problem| format!("{}. {}", problem.message, problem.remedy));
            Problem::Invalid.because(format!("The mapping that made this event is not accepted any more: {said}"))
        }),
    }
}

/// The request whose body is edited; where retention has dropped it, a plain one stands in.
fn as_it_came(app: &App, came: &RawEventRow) -> Result<Kept, Refusal> {
    match raw::open(app, came) {
        Err(refusal) if refusal.problem == Problem::PayloadPurged => Ok(Kept {
            method: "POST".to_owned(),
            target: format!("/webhooks/{}", came.source),
            headers: vec![("content-type".to_owned(), b"application/json".to_vec())],
            body: Vec::new(),
        }),
        other => other,
    }
}

fn seal(app: &App, came: &RawEventRow, kept: &Kept) -> Result<NewRawEvent, Refusal> {
    let mut nonce = [0u8; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|_| Problem::Internal.because("The system gave no randomness to seal the payload with."))?;
    let now = app.now();
    let id = RawEventId(app.store().next_id(now));
    let sealed = app.console.keys.seal(nonce, id.0, &pack(&kept.received()));
    let sealed = sealed.map_err(|error| Problem::BodyTooLarge.because(format!("{error}.")))?;
    Ok(NewRawEvent {
        id,
        source: came.source.clone(),
        received_at: now,
        body_sha256: Sha256::digest(&kept.body).into(),
        key_id: sealed.key_id,
        sealed: sealed.bytes,
        correlation_id: came.correlation_id.clone(),
    })
}

/// Reads the request as the ingest would, and gives it the identity that the event has: same key, same id, same stamps (protocol.md T16, H30, H31).
fn read(app: &App, source: &Source, kept: &Kept, event: &EventRow, entry: Option<u32>, from: RawEventId) -> Result<NewEvent, Refusal> {
    let request = kept.received();
    // The key is the event's own, so it does not matter here which headers were signed; counting them all spares a warning that
    // the first reading did not have.
    let headers: Vec<String> = kept.headers.iter().map(|(name, _)| name.clone()).collect();
    let id = event.id;
    let mut event_id = || -> EventId { id };
    let mut context = ReadContext {
        received_at: event.received_at,
        raw_event: from,
        correlation_id: &event.correlation_id,
        signed_headers: &headers,
        hash_key: &app.console.hash_key,
        event_id: &mut event_id,
    };
    // A mapping that crashes must not take a whole bulk replay with it.
    let new = catch_unwind(AssertUnwindSafe(|| {
        let reading = meant(source.read(&request, &mut context), &event.idempotency_key, entry).map(|reading| own(reading, event));
        reading.and_then(|reading| {
            prepare(source, &request, vec![reading], &app.console.routes, &app.console.identifier_trust, &mut context).pop()
        })
    }));
    let new =
        new.map_err(|_| Problem::Internal.because("Reading this request failed because of a bug of ours; report it with the event's id."))?;
    let new = new.ok_or_else(|| {
        Problem::Invalid
            .because("Today's mapping finds several events in this request, none with this event's key. Replay with `mapping: original`.")
    })?;
    Ok(NewEvent { id, trust: event.trust, fallback_key: event.fallback_key, occurred_at: event.occurred_at, ..new })
}

/// The reading that is this event's: the only one, the one with its key, or the one that stands where it stood in the batch. A mapping that was mended
/// may find another type or id in it, and so another key, but never another place.
fn meant(mut readings: Vec<Reading>, key: &str, entry: Option<u32>) -> Option<Reading> {
    if readings.len() == 1 {
        return readings.pop();
    }
    let has_key = |reading: &Reading| match reading {
        Reading::Event { event, .. } => event.idempotency_key == key,
        Reading::Ignored { idempotency_key, .. } | Reading::DeadLetter { idempotency_key, .. } => idempotency_key == key,
    };
    let place = readings.iter().position(has_key).or_else(|| usize::try_from(entry?).ok())?;
    (place < readings.len()).then(|| readings.swap_remove(place))
}

/// Puts the event's own key and stamps in place of what was read.
fn own(reading: Reading, row: &EventRow) -> Reading {
    let key = row.idempotency_key.clone();
    let stamped = |mut event: Box<model::Event>| {
        event.idempotency_key.clone_from(&row.idempotency_key);
        event.occurred_at = row.occurred_at;
        event
    };
    match reading {
        Reading::Event { event, fallback_key, warnings, .. } => {
            Reading::Event { event: stamped(event), trust: row.trust, fallback_key, warnings }
        }
        Reading::Ignored { event_type, .. } => Reading::Ignored { event_type, idempotency_key: key },
        Reading::DeadLetter { reason, message, event_type, partial, entry, .. } => {
            Reading::DeadLetter { reason, message, event_type, idempotency_key: key, partial: partial.map(stamped), entry }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::intake::Fate;
    use model::{Event, Reason};
    use serde_json::json;
    use store::Store;

    use super::*;
    use crate::pages::samples;
    use crate::tests::console;

    fn app() -> App {
        App::new(console(Store::memory(), &Arc::default()))
    }

    fn source(id: &str) -> Source {
        let def = json!({
            "signature": {"algorithm": "hmac-sha256", "header": "x-signature", "encoding": "hex", "signed": "{body}"},
            "trust": 90,
            "events": [{"when": "type == 'signup'", "type": "lead.created", "id": id, "occurred_at": "at", "fields": {"email": {"from": "email", "as": "email"}}}],
        });
        Source::compile("typeform", &serde_json::from_value(def).unwrap()).unwrap()
    }

    fn kept(body: &str) -> Kept {
        Kept {
            method: "POST".into(),
            target: "/webhooks/typeform".into(),
            headers: vec![("content-type".into(), b"application/json".to_vec())],
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn what_is_read_again_keeps_its_key_its_id_and_its_stamps() {
        let row = samples::event(1, "unknown", Vec::new());
        let body = r#"{"type":"signup","id":"another","at":"2020-01-01T00:00:00Z","email":"Ann@Example.com"}"#;
        let new = read(&app(), &source("id"), &kept(body), &row, None, RawEventId(9)).unwrap();
        assert_eq!(
            (new.id, new.key.as_str(), new.occurred_at, new.trust),
            (row.id, row.idempotency_key.as_str(), row.occurred_at, row.trust)
        );
        assert_eq!(new.event_type, "lead.created");
        let event: Event = serde_json::from_str(&new.normalized).unwrap();
        assert_eq!((event.idempotency_key, event.occurred_at), (row.idempotency_key, row.occurred_at));
        assert_eq!(event.audit.normalized_event_ref, row.id.to_string());
        assert_eq!((event.audit.raw_event_ref, event.audit.received_at), (RawEventId(9).to_string(), row.received_at));
        assert_eq!(event.identity.email.as_deref(), Some("Ann@example.com"));
    }

    #[test]
    fn what_still_cannot_be_mapped_stays_a_dead_letter_under_its_own_key() {
        let row = samples::event(1, "unknown", Vec::new());
        for (body, expected) in [("{", Reason::Unparseable), (r#"{"type":"other"}"#, Reason::Unmapped)] {
            let new = read(&app(), &source("id"), &kept(body), &row, None, row.raw_event).unwrap();
            assert_eq!((new.id, &new.key), (row.id, &row.idempotency_key));
            assert!(matches!(new.fate, Fate::DeadLetter { reason, .. } if reason == expected), "{:?}", new.fate);
        }
    }

    #[test]
    fn of_several_readings_the_one_with_the_events_key_is_meant() {
        let reading = |key: &str| Reading::Ignored { event_type: "x".into(), idempotency_key: key.into() };
        let found = meant(vec![reading("a"), reading("b")], "b", None);
        assert!(matches!(found, Some(Reading::Ignored { idempotency_key, .. }) if idempotency_key == "b"));
        assert!(meant(vec![reading("a"), reading("b")], "c", None).is_none());
        assert!(meant(vec![reading("a"), reading("b")], "c", Some(2)).is_none());
        let found = meant(vec![reading("a"), reading("b")], "c", Some(1));
        assert!(matches!(found, Some(Reading::Ignored { idempotency_key, .. }) if idempotency_key == "b"), "the one in its place");
        assert!(meant(vec![reading("a")], "c", None).is_some(), "the only one there is");
    }

    #[test]
    fn an_edited_payload_is_sealed_as_a_request_of_its_own() {
        let app = app();
        let came = RawEventRow {
            id: RawEventId(5),
            source: "typeform".into(),
            received_at: samples::NOW,
            disposition: "dead_letter".into(),
            body_sha256: Vec::new(),
            key_id: 0,
            sealed: Vec::new(),
            correlation_id: "c".into(),
            events: Vec::new(),
        };
        assert_eq!(raw::open(&app, &came).unwrap_err().problem, Problem::PayloadPurged);
        let edited = Kept { body: b"{}".to_vec(), ..as_it_came(&app, &came).unwrap() };
        let sealed = seal(&app, &came, &edited).unwrap();
        assert_ne!(sealed.id, came.id);
        let row = RawEventRow { id: sealed.id, key_id: sealed.key_id, sealed: sealed.sealed, ..came };
        assert_eq!(raw::open(&app, &row).unwrap().body, b"{}");
    }
}
