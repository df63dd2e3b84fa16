//! The only code that strangers reach.
//!
//! A request goes limit → exact bytes → signature → mapping → seal → commit → answer, and nothing of it is believed before
//! its signature holds. The 2xx comes after the commit and before any wakeup. There is a [limit](Limits) on everything
//! that a stranger can use up, and whatever is refused is refused with one of the [problems](Problem).

mod address;
mod admit;
mod body;
mod budget;
mod chance;
mod commit;
mod correlation;
mod drift;
mod framing;
mod gone;
mod guard;
mod gzip;
mod handshake;
mod limits;
mod problem;
mod ready;
mod recheck;
mod rejected;
mod serve;
mod webhook;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use model::Time;
use model::route::Routes;
use model::seal::{HashKey, SealingKeys};
use model::signature::{Network, Verifier};
use model::source::Source;
use queue::Queue;
use store::Store;

pub use admit::{Admitted, Refused};
pub use chance::Nonces;
pub use commit::{Answer, Committer, NotCommitted, NotTaken};
pub use correlation::correlation_id;
pub use limits::Limits;
pub use problem::Problem;
pub use ready::readiness;
pub use recheck::{NotRechecked, Rechecked};
pub use serve::serve;

/// The time.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// Asks for an `https` address of a vendor's, once, and says whether that went well.
pub type Visit = Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// A source that may send.
#[derive(Clone, Debug)]
pub struct Gate {
    /// What its requests mean.
    pub source: Arc<Source>,
    /// How they are checked. Without a secret in it, every request is refused.
    pub verifier: Verifier,
}

/// Everything that the public listener knows.
pub struct Door {
    /// The configured sources, by name.
    pub gates: BTreeMap<String, Gate>,
    /// Where events go.
    pub routes: Arc<Routes>,
    /// From which trust on an event may change identifiers, by destination; the default where one is missing.
    pub identifier_trust: BTreeMap<String, u8>,
    /// What requests are sealed with.
    pub keys: SealingKeys,
    /// What identities are hashed with, for keys without an id.
    pub hash_key: HashKey,
    /// The ledger.
    pub store: Store,
    /// Whom to wake.
    pub queue: Queue,
    /// The time.
    pub now: Clock,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub proxies: Vec<Network>,
    /// How an address is visited that a genuine handshake asks us to; without it such a handshake is answered with 503.
    pub visit: Option<Visit>,
    /// What strangers may use up.
    pub limits: Limits,
}
