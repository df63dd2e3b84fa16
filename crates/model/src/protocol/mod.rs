//! The delivery protocol's decisions: what a claimed record needs, and what follows from a call's result.
//!
//! `reference/protocol.md` is the source of each rule (T1–T19 and the amendments, which override them); the names of its
//! transitions stand beside the code that makes them. Everything here is pure: the ledger loads rows, asks, and
//! writes what it is told, so that the simulation and every database run the same protocol.

mod family;
mod fetch;
mod plan;
pub mod reconcile;
mod settle;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::destination::{Adopt, Policy};
use crate::event::{Mode, Warning};
use crate::record::{CRM_KEY, Fields, Held, Merge, Record, Stamp, State};
use crate::{CallId, Class, DeliveryId, EventId, Reason, Time};

pub use family::{Family, Kin, Standing, family};
pub use fetch::{Look, Waiting, gone, plan_fetch};
pub use plan::plan;
pub use settle::settle;

/// The most open deliveries of one record that are folded at once; the rest follows with the next claim.
pub const OPEN_MAX: usize = 1_000;

/// An open delivery, as the fold sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    /// Which one.
    pub delivery: DeliveryId,
    /// Its event.
    pub event: EventId,
    /// How it may change the CRM.
    pub mode: Mode,
    /// Its weight.
    pub stamp: Stamp,
    /// The CRM fields it sets.
    pub fields: BTreeMap<String, Value>,
    /// When its event arrived.
    pub received_at: Time,
}

/// How a delivery that succeeded did so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// At least one of its values was written.
    Applied,
    /// The CRM held its values already.
    Unchanged,
    /// Every one of its values was outdone.
    Superseded,
}

impl Outcome {
    /// The word used in the ledger, metrics and pages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Superseded => "superseded",
        }
    }
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Well.
    Succeeded(Outcome),
    /// As a dead letter.
    Dead {
        /// From the closed list.
        reason: Reason,
        /// The failure's class, where a call failed.
        class: Option<Class>,
        /// What the CRM said.
        message: String,
        /// Attempts that were made for it.
        attempts: u32,
    },
}

/// What a delivery gets if the push succeeds, and the fields it is answerable for.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// Which delivery.
    pub delivery: DeliveryId,
    /// How it succeeds.
    pub outcome: Outcome,
    /// Fields of the patch that are its word.
    pub fields: BTreeSet<String>,
}

/// A record in a worker's hands: what it must do, and what must be known again when the result comes.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The fence under which it may settle.
    pub fence: i64,
    /// When it was claimed.
    pub claimed_at: Time,
    /// What to do.
    pub step: Step,
}

/// What to do with a claimed record.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Read its present values before it is first written.
    Adopt,
    /// Read what it holds, now that nothing can land late any more.
    Verify,
    /// Write.
    Push(Push),
    /// Read an object of the vendor's for the events that wait for it.
    Fetch(Look),
}

/// One write of one record.
#[derive(Clone, Debug, PartialEq)]
pub struct Push {
    /// Its content's number.
    pub revision: i64,
    /// How.
    pub mode: Mode,
    /// The fields to send.
    pub patch: BTreeMap<String, Value>,
    /// What we believe the CRM holds once it succeeded.
    pub fields: Fields,
    /// Of a deletion: whose word it is.
    pub deleted: Option<Stamp>,
    /// Whose it is.
    pub shares: Vec<Share>,
}

/// What the claim of a due record comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The record as it is to be stored.
    pub record: Record,
    /// Its wide part changed.
    pub body_changed: bool,
    /// Deliveries that end here and now.
    pub endings: Vec<(DeliveryId, Ending)>,
    /// What people should know of events.
    pub warnings: Vec<(EventId, Warning)>,
    /// What a call must do; `None`: nothing, it is settled or waits.
    pub claim: Option<Claim>,
}

/// What a claim needs to know besides the record and its open deliveries.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The destination's configuration.
    pub policy: &'a Policy,
    /// CRM fields that carry an identifier.
    pub identifier_fields: &'a BTreeSet<&'a str>,
    /// How values meet, by CRM field, where not by trust.
    pub merges: &'a BTreeMap<String, Merge>,
    /// Whether present values are read before the record is first written.
    pub adopt: Adopt,
    /// What may follow when nobody knows whether a record was created.
    pub repeat: Repeat,
    /// Whether the CRM can be asked what a record holds.
    pub reads: bool,
    /// When the oldest of its open deliveries arrived that wait for a parent, if any does.
    pub blocked: Option<Time>,
    /// Now, by the ledger's clock.
    pub now: Time,
}

/// What may follow when nobody knows whether a record was created. A write to a known CRM id may always be sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repeat {
    /// Whatever is due by then: the CRM finds the record by its key.
    #[default]
    Keyed,
    /// Nothing but the same content under the same idempotency key, until it is known.
    Same,
    /// Looking it up, once it can no longer land.
    Look,
    /// A person's look: it cannot be looked up.
    Person,
}

/// What the CRM answered to a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Its id there, if the answer says.
    pub crm_id: Option<String>,
    /// Created (`true`) or changed, if the answer says. `Some(false)` in mode `CreateOnly`: it was there and was left as it is.
    pub created: Option<bool>,
}

/// What a CRM record holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Present {
    /// Its id there.
    pub crm_id: String,
    /// The fields that were asked for; null where empty.
    pub fields: BTreeMap<String, Value>,
    /// When it was last changed there.
    pub modified_at: Option<Time>,
}

/// One record's share of a call's result.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// To a write.
    Wrote(Written),
    /// To a read: what is there, if anything.
    Held(Option<Present>),
    /// To a fetch: the object.
    Fetched(Value),
    /// The call was not sent: its deadline had passed, or the worker is stopping.
    NotSent,
}

/// What follows from a record's share of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    /// The record as it is to be stored.
    pub record: Record,
    /// Its wide part changed.
    pub body_changed: bool,
    /// Deliveries that end.
    pub endings: Vec<(DeliveryId, Ending)>,
    /// How whatever else is open on this record ends: a read that failed for good names no deliveries.
    pub all_open: Option<Ending>,
    /// The object that was fetched, and the deliveries whose events it makes whole: they end as what they come to.
    pub fetched: Option<(Vec<DeliveryId>, Value)>,
    /// The fence had moved on: noted, and nothing else believed.
    pub late: bool,
}

/// What settling needs to know besides the record and the claim.
#[derive(Clone, Copy)]
pub struct Settling<'a> {
    /// The destination's configuration.
    pub policy: &'a Policy,
    /// Now, by the ledger's clock.
    pub now: Time,
    /// 0..1, drawn by the caller.
    pub chance: f64,
    /// Which call.
    pub call: CallId,
    /// Records in that call.
    pub group: usize,
    /// The most records that a call may carry.
    pub group_limit: usize,
    /// When the destination last answered with a result.
    pub last_success_at: Option<Time>,
    /// Whether the CRM considers two values of a field equal.
    pub equal: &'a (dyn Fn(&str, &Value, &Value) -> bool + Send + Sync),
}

fn wait(record: &mut Record, state: State, until: Time) {
    record.state = state;
    record.wake_at = Some(until);
}

fn rest(record: &mut Record) {
    record.state = State::Clean;
    record.wake_at = None;
}

/// Deliveries have ended: is there more to do?
fn after_end(record: &mut Record, folded: usize, now: Time) {
    let unsettled = record.doubt.filter(|doubt| doubt.revision != record.pushed || record.revision != record.pushed);
    match unsettled {
        _ if record.solo || folded >= OPEN_MAX => record.due(now),
        Some(doubt) => wait(record, State::Verifying, doubt.verify_after.max(now)),
        None => rest(record),
    }
}

/// Somebody else's value is believed from now on, as the CRM's own word.
fn believe(record: &mut Record, field: &str, value: &Value, modified_at: Option<Time>, policy: &Policy) {
    let stamp = Stamp { trust: policy.crm_trust, occurred_at: modified_at.unwrap_or_default(), key: CRM_KEY.into() };
    record.body.missing.remove(field);
    record.body.fields.0.insert(field.to_owned(), Held { value: value.clone(), stamp });
}

fn dead(reason: Reason, class: Option<Class>, message: String, attempts: u32) -> Ending {
    Ending::Dead { reason, class, message, attempts }
}
