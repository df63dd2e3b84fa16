//! The only code that decides.
//!
//! Signature schemes, mapping, identity, merge, states, failure classes, backoff, quota: pure functions that take
//! what they need, time and chance included, and return a value that everything else reads. There is no socket,
//! no database, no clock and no dice in here, which is what lets the simulation run thousands of worlds a minute
//! over the very code that runs in production.

pub mod catch_up;
#[macro_use]
mod words;

pub mod destination;
pub mod drift;
pub mod event;
pub mod failure;
pub mod fetch;
pub mod handshake;
pub mod id;
pub mod intake;
pub mod mapping;
pub mod preset;
pub mod protocol;
pub mod quota;
pub mod received;
pub mod record;
pub mod route;
pub mod schedule;
pub mod seal;
pub mod secret;
pub mod signature;
pub mod source;
pub mod time;
pub mod wakeup;

pub use event::{Event, Identifier, Identity, Reading};
pub use failure::{Class, Failure, Reason, Scope};
pub use id::{CallId, CatchUpId, DeliveryId, EventId, IdGenerator, RawEventId, ReconciliationId, RecordId, RejectedId, ReplayId};
pub use received::Received;
pub use time::Time;
