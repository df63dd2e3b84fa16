//! From a request's exact bytes to what is to be committed. Nothing here waits, so a simulation can call it as well.

use std::panic::{AssertUnwindSafe, catch_unwind};

use model::intake::{self, NewEvent};
use model::mapping::ReadContext;
use model::quota::Lane;
use model::seal::{NONCE_BYTES, SealError, pack, pack_for_check};
use model::signature::{Rejection, Verified};
use model::{EventId, RawEventId, Reading, Reason, Received, RejectedId, Time};
use sha2::{Digest, Sha256};
use store::{Intake, NewRawEvent, NewRejected};

use crate::{Door, Gate, correlation_id};

/// A genuine request, ready to be committed.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// What is to be committed.
    pub intake: Intake,
    /// The raw event's id, for the answer.
    pub raw: RawEventId,
}

/// Why a request is not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not known to be genuine.
    #[error("not genuine: {}", .0.as_str())]
    Unauthentic(Rejection),
    /// It cannot be kept safely.
    #[error(transparent)]
    Sealing(#[from] SealError),
}

impl Door {
    /// Checks a request, reads it, routes it and seals it. `nonce` is fresh chance.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub fn admit(&self, gate: &Gate, request: &Received<'_>, now: Time, nonce: [u8; NONCE_BYTES]) -> Result<Admitted, Refused> {
        self.admit_late(gate, request, now, now, nonce)
    }

    /// As [`Door::admit`], for a request that came at `at`, some time before `now`.
    pub(crate) fn admit_late(
        &self,
        gate: &Gate,
        request: &Received<'_>,
        at: Time,
        now: Time,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Admitted, Refused> {
        let verified = gate.verifier.verify(request, at).map_err(Refused::Unauthentic)?;
        let raw = RawEventId(self.store.next_id(now));
        let correlation_id = correlation_id(request, raw);
        let sealed = self.keys.seal(nonce, raw.0, &pack(request))?;
        let events = self.read(gate, request, &verified, [at, now], raw, &correlation_id);
        for event in &events {
            for warning in &event.warnings {
                metrics::counter!("onceward_mapping_warnings_total", "source" => gate.source.name.clone(), "kind" => warning.kind.clone())
                    .increment(1);
            }
        }
        let raw_event = NewRawEvent {
            id: raw,
            source: gate.source.name.clone(),
            received_at: at,
            body_sha256: Sha256::digest(request.body).into(),
            key_id: sealed.key_id,
            sealed: sealed.bytes,
            correlation_id,
        };
        Ok(Admitted { intake: Intake { raw: raw_event, events, lane: Lane::Fresh }, raw })
    }

    fn read(
        &self,
        gate: &Gate,
        request: &Received<'_>,
        verified: &Verified,
        [at, now]: [Time; 2],
        raw: RawEventId,
        correlation: &str,
    ) -> Vec<NewEvent> {
        let mut event_id = || EventId(self.store.next_id(now));
        let mut context = ReadContext {
            received_at: at,
            raw_event: raw,
            correlation_id: correlation,
            signed_headers: &verified.signed_headers,
            hash_key: &self.hash_key,
            event_id: &mut event_id,
        };
        let read = catch_unwind(AssertUnwindSafe(|| {
            let readings = gate.source.read(request, &mut context);
            intake::prepare(&gate.source, request, readings, &self.routes, &self.identifier_trust, &mut context)
        }));
        read.unwrap_or_else(|_panic| {
            tracing::error!(source = gate.source.name, raw_event = %raw, "reading a genuine request failed because of a bug; it was kept as a dead letter");
            let broken = Reading::DeadLetter {
                reason: Reason::Poison,
                message: "Reading this request failed because of a bug of ours.".to_owned(),
                event_type: "unknown".to_owned(),
                idempotency_key: format!("{}|unknown|body:{}", gate.source.name, hex::encode(Sha256::digest(request.body))),
                partial: None,
                entry: None,
            };
            intake::prepare(&gate.source, request, vec![broken], &self.routes, &self.identifier_trust, &mut context)
        })
    }

    /// A refused request, diagnosed and sealed, for the source's bounded list.
    pub(crate) fn keepsake(
        &self,
        gate: &Gate,
        request: &Received<'_>,
        rejection: Rejection,
        now: Time,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<NewRejected, SealError> {
        let id = RejectedId(self.store.next_id(now));
        let sealed = self.keys.seal(nonce, id.0, &pack_for_check(request, &gate.verifier.header_names()))?;
        Ok(NewRejected {
            id,
            source: gate.source.name.clone(),
            at: now,
            reason: rejection.as_str().to_owned(),
            diagnosis: self.diagnosis(gate, request, rejection, now),
            body_bytes: request.body.len() as u64,
            body_sha256: Sha256::digest(request.body).into(),
            key_id: sealed.key_id,
            sealed: sealed.bytes,
        })
    }
}
