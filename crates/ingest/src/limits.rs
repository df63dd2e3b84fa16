//! A limit on everything that strangers can use up.

use std::time::Duration;

/// What the public listener takes in at once, and how long it waits. Tests shorten the spans.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections. One more is answered with 503 and closed.
    pub connections: usize,
    /// Webhooks that are read or committed at once. One more is answered with 429.
    pub in_flight: usize,
    /// Bytes of bodies that are held at once, until they are committed; rounded to KiB, at most 4 TiB.
    pub held_bytes: usize,
    /// From connecting, or from a head's first byte, to its end.
    pub head: Duration,
    /// Quiet between two requests of a connection.
    pub idle: Duration,
    /// For a whole body.
    pub body: Duration,
    /// How long a body may take before its rate counts.
    pub body_grace: Duration,
    /// Bytes per second that a body must come in with, after the grace.
    pub body_rate: u32,
    /// For a client to take in an answer.
    pub write: Duration,
    /// How long a request waits for its commit before it is answered with 503.
    pub commit: Duration,
    /// Requests that wait for the next commit. One more is answered with 429.
    pub waiting: usize,
    /// Requests in one commit.
    pub batch: usize,
    /// Sealed bytes in one commit, beyond its first request.
    pub batch_bytes: usize,
    /// Events in one commit, beyond its first request.
    pub batch_events: usize,
    /// Rejected requests that are kept, a second and source.
    pub rejected_rate: u32,
    /// How many rejected requests are kept for each source.
    pub rejected: store::RejectedBounds,
    /// How long webhooks are still taken in after the process was told to stop, while `/readyz` says so already: for a proxy to notice.
    pub leave: Duration,
    /// For what is under way after that.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            in_flight: 1024,
            held_bytes: 64 << 20,
            head: Duration::from_secs(5),
            idle: Duration::from_secs(75),
            body: Duration::from_secs(10),
            body_grace: Duration::from_secs(5),
            body_rate: 1000,
            write: Duration::from_secs(10),
            commit: Duration::from_secs(2),
            waiting: 1024,
            batch: 256,
            batch_bytes: 8 << 20,
            batch_events: 4096,
            rejected_rate: 10,
            rejected: store::RejectedBounds { rows_max: 500, bytes_max: 16 << 20, age_max: Duration::from_secs(7 * 86_400) },
            leave: Duration::ZERO,
            stop: Duration::from_secs(9),
        }
    }
}
