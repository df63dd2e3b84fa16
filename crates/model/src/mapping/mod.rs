//! From a body to a canonical event.
//!
//! A mapping is compiled once from data (see [`crate::source`]). Reading a body with it decides everything that can be
//! known before routing: what happened, to whom, when, and under which key.
//!
//! Canonical names: `external_id`, `email`, `phone_e164` and `domain` are identity; `full_name` is split into
//! `first_name` and `last_name`; every other name is an attribute.

mod answers;
mod batch;
mod compile;
mod content;
mod document;
mod evaluate;
pub mod explain;
mod expression;
mod fetched;

mod forms;
mod functions;
mod key;
mod node;
mod normalize;
mod path;
mod phone;
mod read;
mod shape;
mod sought;
#[cfg(test)]
pub(crate) mod tests;
mod yields;

pub use batch::ENTRIES_MAX;
pub(crate) use compile::Mapping;
pub use document::NODES_MAX;
pub use fetched::Refused;
pub use key::KEY_BYTES_MAX;
pub use read::ReadContext;
pub use yields::{Yielded, Yields};

/// The idempotency key of an event that its vendor knows by this id: for finding it again.
pub fn key_of(source: &str, event_type: &str, id: &str) -> String {
    key::key(source, event_type, &key::Tail::id(id))
}
