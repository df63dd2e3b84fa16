//! How destinations are, and how much there is of everything.

use model::quota::Left;
use model::{Reason, Time};
use serde::Serialize;

/// A destination, as shown to people.
#[derive(Clone, Debug, Serialize)]
pub struct DestinationRow {
    /// The name.
    pub name: String,
    /// `active`, `paused` (by a person), `throttled`, `breaker_open`, `auth_failed`.
    pub state: String,
    /// Why, and by whom.
    pub reason: Option<String>,
    /// Until when, where it ends by itself.
    pub until: Option<Time>,
    /// Open deliveries.
    pub open: u64,
    /// Records that wait after a failure.
    pub retrying: u64,
    /// Records in doubt.
    pub verifying: u64,
    /// When the oldest open delivery arrived.
    pub oldest_open: Option<Time>,
    /// Dead letters.
    pub dead_letters: u64,
    /// What is left of its budgets of calls, as far as they are known.
    pub quota: Vec<Left>,
    /// Calls at once that it bears now; `None` before a worker has looked at it.
    pub concurrency: Option<u32>,
    /// Calls at once as configured.
    pub concurrency_max: Option<u32>,
    /// The last successful call.
    pub last_success_at: Option<Time>,
    /// The last failure in the CRM's words.
    pub last_error: Option<String>,
}

/// Ledger-wide numbers for gauges and the overview.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Gauges {
    /// Destination, open deliveries, arrival of the oldest.
    pub queue: Vec<(String, u64, Option<Time>)>,
    /// Destination (empty for none), reason, count.
    pub dead_letters: Vec<(String, Reason, u64)>,
    /// Destination (empty for none), when the oldest of its dead letters became one. Who is resolved or replayed is none any more.
    pub oldest_dead_letters: Vec<(String, Time)>,
    /// Destination, state.
    pub destinations: Vec<(String, String)>,
    /// Destination, what is left of one of its budgets of calls.
    pub quota: Vec<(String, Left)>,
    /// Destination, calls at once that it bears now.
    pub concurrency: Vec<(String, u32)>,
    /// Source, arrival of its last event.
    pub sources: Vec<(String, Time)>,
    /// Destination, end of the last run of reconciling that came to its end.
    pub reconciled: Vec<(String, Time)>,
}
