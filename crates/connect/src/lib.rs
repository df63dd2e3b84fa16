//! The only code that calls other companies' APIs.
//!
//! A [`Connector`] is a translator: it spells requests and reads answers, and has no socket, no clock, no retry and
//! no log, so its tests are JSON in, JSON out. One [`Client`] does the walking for all of them: base URL, token,
//! deadline, caps. It never tries twice, with one exception: a call that was refused because its token had run out
//! is sent once more with a fresh one.
//!
//! What is absent: redirects, proxies from the environment, compression, retries. Nothing in here decides what
//! follows from a failure; the worker does.

mod auth;
mod client;
mod connector;
pub mod crm;
mod description;
mod transport;
pub mod vendor;
mod wire;

pub use auth::{Auth, AuthKind, Secret, Token};
pub use client::{Client, Report, Settings, SettingsError};
pub use connector::{
    Connector, Level, Limits, Outcome, Present, READ_STEPS_MAX, ReadBatch, Repeat, Sought, Usage, WriteBatch, WriteRecord, Written,
    valid_name,
};
pub use crm::Kind;
pub use description::{Description, FieldDescription, FieldKind, Made, Setup, Statement};
pub use reqwest::Method;
pub use transport::{Answering, Transport};
pub use wire::{Body, Reply, Request, TransportError};
