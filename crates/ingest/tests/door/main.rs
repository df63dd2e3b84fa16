//! The public listener as strangers meet it: over real sockets, byte by byte. Numbers are rows of the list of bad inputs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on says so")]

extern crate onceward_ingest as ingest;

mod connections;
mod framing;
mod handshakes;
mod signatures;
mod support;
mod webhooks;
