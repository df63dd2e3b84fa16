//! The only code that pretends to be a CRM, and misbehaves on request.
//!
//! [`Core`] is the CRM itself: a state machine without sockets, clock or real chance, which a simulation drives with its own
//! time. [`Sandbox`] puts it behind a listener and makes its faults real: connections are cut, answers come late. With a journal
//! its records outlive the process.
//! It speaks Salesforce's REST dialect, HubSpot's and those of `dialects/`, all at the same root; every record and call carries its
//! dialect's name.

mod body;
mod core;
mod credentials;
mod dialects;
mod faults;
mod http;
mod hubspot;
mod journal;
mod query;
mod records;
mod salesforce;
mod schema;
mod server;
mod sheet;
mod surface;
mod writes;

pub use crate::core::{CallView, Core, Options, RecordView, Stats, Touched};
pub use crate::credentials::{Credentials, WrongCredentials};
pub use crate::faults::{Faults, WrongFault, dialects};
pub use crate::http::{Exchange, HttpReply, HttpRequest};
pub use crate::journal::WrongJournal;
pub use crate::server::{MAX_BODY_BYTES, Sandbox};
