//! A refused request, looked at again once what was wrong on our side may be mended.

use std::net::{IpAddr, Ipv4Addr};

use model::handshake::Handshaken;
use model::seal::{NONCE_BYTES, SealError, unpack};
use model::signature::Rejection;
use model::{Received, Time};
use store::{Intake, NewRejected};

use crate::{Admitted, Door, Gate, Refused};

/// What a refused request is by today's configuration.
#[derive(Clone, Debug)]
pub enum Rechecked {
    /// Genuine, and ready to be committed under the time at which it came.
    Genuine(Box<Intake>),
    /// Still not.
    Refused {
        /// A bounded word: `signature_missing`, `timestamp_stale`, …
        reason: String,
        /// For operators.
        diagnosis: String,
    },
}

/// Why a refused request cannot be looked at again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRechecked {
    /// Nothing says how it would be checked.
    #[error("the source `{0}` is not configured any more: configure it again, or let the request grow old")]
    NoSource(String),
    /// It does not open, or cannot be sealed again.
    #[error(transparent)]
    Sealing(#[from] SealError),
}

impl Door {
    /// Opens a refused request and checks it with the present configuration. The age of its timestamp, and the end of a secret, are judged by the time at
    /// which it came. `nonce` is fresh chance.
    ///
    /// # Errors
    ///
    /// [`NotRechecked`].
    pub fn recheck(&self, kept: &NewRejected, now: Time, nonce: [u8; NONCE_BYTES]) -> Result<Rechecked, NotRechecked> {
        let gate = self.gates.get(&kept.source).filter(|gate| !gate.source.retired);
        let gate = gate.ok_or_else(|| NotRechecked::NoSource(kept.source.clone()))?;
        let opened = unpack(&self.keys.open(kept.id.0, kept.key_id, &kept.sealed)?)?;
        let request = opened.received();
        // From where it came is not kept, so only a list that is gone lets it pass.
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        if kept.reason == Rejection::AddressNotAllowed.as_str() && !gate.verifier.allows(nowhere) {
            return Ok(Rechecked::Refused { reason: kept.reason.clone(), diagnosis: Rejection::AddressNotAllowed.sentence().to_owned() });
        }
        // What is a handshake, or a forgery made of one's answer, is no event however well it is signed.
        let handshaken = gate.source.handshake.as_ref().map(|handshake| handshake.answer(&request, &gate.verifier, kept.at));
        if handshaken.is_some_and(|handshaken| handshaken != Handshaken::Ordinary) {
            let still = Rejection::HandshakeMismatch;
            return Ok(Rechecked::Refused { reason: still.as_str().to_owned(), diagnosis: still.sentence().to_owned() });
        }
        match self.admit_late(gate, &request, kept.at, now, nonce) {
            Ok(Admitted { intake, .. }) => Ok(Rechecked::Genuine(Box::new(intake))),
            Err(Refused::Unauthentic(rejection)) => Ok(Rechecked::Refused {
                reason: rejection.as_str().to_owned(),
                diagnosis: self.diagnosis(gate, &request, rejection, kept.at),
            }),
            Err(Refused::Sealing(error)) => Err(error.into()),
        }
    }

    /// What is probably wrong, for operators.
    pub(crate) fn diagnosis(&self, gate: &Gate, request: &Received<'_>, rejection: Rejection, at: Time) -> String {
        let name = gate.source.name.as_str();
        let others = self.gates.iter().filter(|(held, _)| *held != name).map(|(held, gate)| (held.as_str(), &gate.verifier));
        gate.verifier.diagnose_among(request, rejection, at, others)
    }
}
