//! Runs of reconciling as the rest of the house sees them.

use std::collections::BTreeMap;

use model::destination::Policy;
use model::protocol::reconcile::{Cause, Repair, Verdict};
use model::route::Routes;
use model::wakeup::Wakeup;
use model::{DeliveryId, ReconciliationId, RecordId, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::work::Call;

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReconciliationState {
    /// It waits or is under way.
    Open,
    /// It has looked at what it was to look at.
    Done,
    /// It has not; the note says why.
    GivenUp,
}

impl ReconciliationState {
    /// Every state, by its number in the ledger.
    pub(crate) const ALL: [Self; 3] = [Self::Open, Self::Done, Self::GivenUp];

    pub(crate) const fn number(self) -> i64 {
        self as i64
    }
}

/// How many records came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// The CRM holds what we believe.
    pub equal: u64,
    /// The CRM does not have it.
    pub missing: u64,
    /// A field differs by our own doing.
    pub ours: u64,
    /// A field differs by somebody else's.
    pub edited: u64,
    /// The CRM has several under its key.
    pub duplicated: u64,
    /// It is being worked on, and was not compared.
    pub busy: u64,
    /// The CRM refused to show it.
    pub unread: u64,
}

impl Reconciled {
    /// The count of a verdict.
    pub fn of(&self, verdict: Verdict) -> u64 {
        let mut copy = *self;
        *copy.place(verdict)
    }

    pub(crate) fn place(&mut self, verdict: Verdict) -> &mut u64 {
        match verdict {
            Verdict::Equal => &mut self.equal,
            Verdict::Missing => &mut self.missing,
            Verdict::Ours => &mut self.ours,
            Verdict::Edited => &mut self.edited,
            Verdict::Duplicated => &mut self.duplicated,
            Verdict::Busy => &mut self.busy,
            Verdict::Unread => &mut self.unread,
        }
    }

    /// All that were looked at.
    pub fn looked_at(&self) -> u64 {
        Verdict::ALL.iter().map(|verdict| self.of(*verdict)).sum()
    }
}

/// One record that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which record.
    pub record: RecordId,
    /// Its key.
    pub key: String,
    /// Its id in the CRM, as it was known before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crm_id: Option<String>,
    /// What was seen.
    pub verdict: Verdict,
    /// The fields that differ, and why.
    #[serde(default)]
    pub fields: BTreeMap<String, Cause>,
    /// It is put right, or believed.
    pub repaired: bool,
    /// The CRM's own code, where it refused to show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReconciliationRow {
    /// Its public id.
    pub id: ReconciliationId,
    /// The destination's name.
    pub destination: String,
    /// The CRM's object.
    pub object: String,
    /// When it was asked for.
    pub at: Time,
    /// Who asked; `schedule` if nobody did.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// At most so many records are looked at, going on where the last run ended; `None`: all.
    pub sample: Option<u64>,
    /// What is done about differences.
    pub repair: Repair,
    /// Where it is.
    pub state: ReconciliationState,
    /// When its next look is due, while it is open.
    pub wake_at: Time,
    /// Raised by each claim.
    #[serde(skip)]
    pub fence: i64,
    /// Who looks now, and until when at most.
    #[serde(skip)]
    pub lease: Option<(String, Time)>,
    /// A sample goes on after this record.
    #[serde(skip)]
    pub first: RecordId,
    /// The last record that was looked at.
    #[serde(skip)]
    pub cursor: RecordId,
    /// It goes on from the beginning, up to `first`.
    #[serde(skip)]
    pub wrapped: bool,
    /// At most so many records in its next look; 0 means as many as fit.
    #[serde(skip)]
    pub look_max: u32,
    /// Looks that were made.
    pub looks: u64,
    /// What they came to.
    #[serde(flatten)]
    pub counts: Reconciled,
    /// Records that are put right, or believed.
    pub repaired: u64,
    /// What differed, of the first 200 records.
    pub findings: Vec<Finding>,
    /// Failures in a row.
    pub failures: u32,
    /// The last failure: the CRM's code and words.
    pub note: Option<String>,
    /// When it ended.
    pub finished_at: Option<Time>,
}

impl ReconciliationRow {
    /// The last record that it looks at before it wraps, or after that: what was made since it was asked for is not its business.
    pub(crate) fn up_to(&self) -> RecordId {
        if self.wrapped { self.first } else { RecordId(self.id.0) }
    }

    pub(super) fn left(&self) -> u64 {
        self.sample.map_or(u64::MAX, |sample| sample.saturating_sub(self.counts.looked_at()))
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct NewReconciliation {
    /// The destination's name.
    pub destination: String,
    /// The CRM's objects: a run for each.
    pub objects: Vec<String>,
    /// At most so many records of each; `None`: all.
    pub sample: Option<u64>,
    /// What is done about differences.
    pub repair: Repair,
}

/// What became of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskedReconciliation {
    /// They are in the ledger; a worker takes them up.
    Begun(Vec<ReconciliationId>),
    /// Too many of this destination wait already.
    TooMany,
}

/// A CRM account as whoever looks there knows it.
pub struct Account<'a> {
    /// The destination's name.
    pub destination: &'a str,
    /// Its configuration.
    pub policy: &'a Policy,
    /// Its objects.
    pub routes: &'a Routes,
    /// The most records that a look may ask for.
    pub read_batch: usize,
    /// Whether the CRM considers two values of a field equal.
    pub equal: &'a (dyn Fn(&str, &Value, &Value) -> bool + Send + Sync),
}

/// A record as a claim of a look sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Which record.
    pub record: RecordId,
    /// Its fence.
    pub fence: i64,
    /// It is at rest.
    pub clean: bool,
    /// Its key.
    pub key: String,
    /// Its id in the CRM, where known.
    pub crm_id: Option<String>,
}

/// Records of an object, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sights {
    /// At most as many as were asked for.
    pub seen: Vec<Sight>,
    /// The last record that was gone past; `None`: there is none.
    pub passed: Option<RecordId>,
    /// There may be more behind it.
    pub more: bool,
}

/// A claimed look.
#[derive(Clone, Debug)]
pub struct Look {
    /// Its run.
    pub row: ReconciliationRow,
    /// The call to make. Without entries nothing is asked.
    pub call: Call,
    /// The records at rest and the others, in order: those at rest are the call's entries.
    pub(crate) seen: Vec<Sight>,
    /// Where the run stands once all of them were looked at.
    pub(crate) after: Stand,
}

impl Look {
    /// The ids that its records have in the CRM, where they are known.
    pub fn known_ids(&self) -> impl Iterator<Item = (RecordId, &String)> {
        self.seen.iter().filter_map(|sight| Some((sight.record, sight.crm_id.as_ref()?)))
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stand {
    pub cursor: RecordId,
    pub wrapped: bool,
    pub end: bool,
}

/// What came of noting a look.
#[derive(Clone, Debug, Default)]
pub struct Noted {
    /// `false`: somebody else has claimed the run since, and nothing of this counts.
    pub held: bool,
    /// What the records came to.
    pub counts: Reconciled,
    /// Deliveries that became dead letters, because a person has to look first: with the CRM's object.
    pub dead: Vec<DeliveryId>,
    /// Records that are due now.
    pub wakeup: Option<Wakeup>,
    /// The run has ended.
    pub ended: bool,
}
