//! The worker's one operation: settle what came back and claim what comes next, in one transaction.

mod agree;
mod enrich;
mod family;
pub(crate) mod settle;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use model::destination::{Destination, Permit, Policy};
use model::event::{Mode, Warning};
use model::protocol::{self, Claim, Context, Ending, Found, Open, Outcome, Repeat, Step, Waiting};
use model::quota::{Lane, Usage};
use model::record::Stamp;
use model::route::Routes;
use model::source::Source;
use model::wakeup::Wakeup;
use model::{CallId, DeliveryId, Event, EventId, Failure, Reason, RecordId, Time};
use serde_json::Value;

use crate::rows::{CallRow, DeliveryState, EndRow, OpenRow, RecordEntry};
use crate::tx::{Burial, Tx};
use crate::{Error, Store};

use agree::{agree, in_flight};
use settle::{observe, settle};

/// So few due records are not made to wait for more.
const HANDFUL: usize = 8;
/// How long a call may fill up while another one is under way.
const FILLS_FOR: Duration = Duration::from_millis(10);
/// Open deliveries of a destination that a sweep looks at, so that it costs little however many there are.
const LOOKED_AT_ONCE: u32 = 10_000;
/// When to look again at what another worker has in its hands.
const LOOKED_AT_FOR: Duration = Duration::from_millis(5);

/// What a worker needs to say about a destination.
pub struct Work<'a> {
    /// The destination's name.
    pub destination: &'a str,
    /// Its configuration.
    pub policy: &'a Policy,
    /// Its objects.
    pub routes: &'a Routes,
    /// Who claims.
    pub holder: &'a str,
    /// The most records that a call may carry.
    pub group_limit: usize,
    /// The most calls that this worker can take on now; 0 only settles.
    pub calls_max: u32,
    /// Whether the CRM considers two values of a field equal.
    pub equal: &'a (dyn Fn(&str, &Value, &Value) -> bool + Send + Sync),
    /// What may follow when nobody knows whether a record of an object was created.
    pub repeat: &'a (dyn Fn(&str, Mode) -> Repeat + Send + Sync),
    /// Whether the CRM can be asked what records of an object hold.
    pub reads: &'a (dyn Fn(&str) -> bool + Send + Sync),
    /// `destination` is a source, and its objects are fetched instead of written.
    pub enriching: Option<Enriching<'a>>,
}

/// What the events behind fetched objects become whole with.
#[derive(Clone, Copy)]
pub struct Enriching<'a> {
    /// The source, with the mapping that reads its objects.
    pub source: &'a Source,
    /// From which trust on an event may change identifiers, by destination.
    pub identifier_trust: &'a BTreeMap<String, u8>,
}

/// What a call is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Read before the first write.
    Adopt,
    /// Read after doubt.
    Verify,
    /// Write.
    Push,
    /// Read an object of a source's.
    Fetch,
    /// Read what is believed to be known.
    Reconcile,
}

impl Kind {
    /// The word in the ledger and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Adopt => "adopt",
            Self::Verify => "verify",
            Self::Push => "push",
            Self::Fetch => "fetch",
            Self::Reconcile => "reconcile",
        }
    }

    fn of(step: &Step) -> Self {
        match step {
            Step::Adopt => Self::Adopt,
            Step::Verify => Self::Verify,
            Step::Push(_) => Self::Push,
            Step::Fetch(_) => Self::Fetch,
        }
    }
}

/// A call to make: its records are leased to the worker, and its intent is committed.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its id, which goes with the request.
    pub id: CallId,
    /// The CRM's object.
    pub object: String,
    /// What to do.
    pub kind: Kind,
    /// How the CRM may be changed.
    pub mode: Mode,
    /// When it was claimed.
    pub claimed_at: Time,
    /// Its records; never one twice.
    pub entries: Vec<Entry>,
}

/// A record in a call.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which record.
    pub record: RecordId,
    /// Its key in the CRM.
    pub key: String,
    /// Its id in the CRM, where known.
    pub crm_id: Option<String>,
    /// What was claimed.
    pub claim: Claim,
}

/// A call that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The call.
    pub call: Call,
    /// How long the CRM took.
    pub duration: Duration,
    /// The status of its answer.
    pub http_status: Option<u16>,
    /// How many requests it took, a fresh token included; 0: it was not sent.
    pub requests: u32,
    /// What the CRM told of its own count of our calls.
    pub usage: Vec<Usage>,
    /// In the order of the call's entries, or for the whole call.
    pub result: Result<Vec<Result<Found, Failure>>, Failure>,
}

/// A delivery that ended, for counting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which delivery.
    pub delivery: DeliveryId,
    /// The CRM's object.
    pub object: String,
    /// `applied`, `unchanged`, `superseded`, or the dead letter's reason.
    pub outcome: &'static str,
    /// Why it is a dead letter.
    pub dead: Option<Reason>,
}

/// What came of settling and claiming.
#[derive(Debug, Default)]
pub struct Advanced {
    /// Calls to make.
    pub calls: Vec<Call>,
    /// When there may be more to do; `None`: when something arrives or a call comes back.
    pub next: Option<Time>,
    /// Deliveries that ended.
    pub ended: Vec<Ended>,
    /// Records that wait after a failure.
    pub retries: u64,
    /// Results whose fence had moved on.
    pub late: u64,
    /// Records of other destinations that have something new, for the queue.
    pub wakeups: Vec<Wakeup>,
    /// What people should know of events that have become whole: source and warning.
    pub warnings: Vec<(String, Warning)>,
    /// The destination as it is now.
    pub destination: Destination,
}

/// What the transaction is going to write.
#[derive(Default)]
struct Ledger {
    ends: Vec<EndRow>,
    burials: Vec<Burial>,
    ended: Vec<Ended>,
    warnings: BTreeMap<EventId, Vec<Warning>>,
}

impl Ledger {
    fn end(
        &mut self,
        delivery: DeliveryId,
        ending: &Ending,
        object: &str,
        call: Option<CallId>,
        at: Time,
    ) -> (DeliveryState, Option<Outcome>) {
        let (state, outcome, word, dead) = match ending {
            Ending::Succeeded(outcome) => (DeliveryState::Succeeded, Some(*outcome), outcome.as_str(), None),
            Ending::Dead { reason, class, message, attempts } => {
                self.burials.push((delivery, *reason, *class, message.clone(), *attempts));
                (DeliveryState::of(*reason), None, reason.as_str(), Some(*reason))
            }
        };
        self.ends.push(EndRow { delivery, state, outcome, at, call, superseded_by: None });
        self.ended.push(Ended { delivery, object: object.to_owned(), outcome: word, dead });
        (state, outcome)
    }

    async fn write(&self, tx: &mut Tx, now: Time) -> Result<(), Error> {
        if !self.ends.is_empty() {
            tx.end_deliveries(&self.ends).await?;
        }
        if !self.burials.is_empty() {
            tx.bury(&self.burials, now).await?;
        }
        for (event, warnings) in &self.warnings {
            tx.add_warnings(*event, warnings).await?;
        }
        Ok(())
    }
}

impl Store {
    /// T7–T14: settles finished calls by compare-and-set on each record's fence, learns what they tell of the destination, and claims what is due,
    /// as far as pause, breaker and quota permit: one transaction. `chance` draws numbers in 0..1.
    pub async fn advance(
        &self,
        now: Time,
        work: &Work<'_>,
        finished: &[Finished],
        chance: &mut (dyn FnMut() -> f64 + Send),
    ) -> Result<Advanced, Error> {
        again!(self.whole(self.settle_and_claim(now, work, finished, &mut *chance)).await)
    }

    async fn settle_and_claim(
        &self,
        now: Time,
        work: &Work<'_>,
        finished: &[Finished],
        chance: &mut (dyn FnMut() -> f64 + Send),
    ) -> Result<Advanced, Error> {
        let mut names = vec![work.destination];
        names.extend(finished.iter().map(|finished| finished.call.object.as_str()));
        names.extend(work.routes.objects(work.destination));
        if let Some(enriching) = work.enriching {
            names.push(&enriching.source.name);
            names.extend(enriching.source.fetches());
            names.extend(work.routes.targets().flat_map(|(destination, object)| [destination, object]));
        }
        let mut tx = self.begin(&names).await?;
        // Without holding anybody up: what is claimed by it is agreed upon at the end.
        let seen = tx.destination(work.destination).await?.unwrap_or_default();
        let mut destination = seen.clone();
        destination.configured(work.policy);
        let mut ledger = Ledger::default();
        let mut advanced = Advanced::default();
        if !finished.is_empty() {
            observe(&mut destination, work.policy, now, finished);
            settle(self, &mut tx, work, finished, destination.last_success_at, now, chance, &mut ledger, &mut advanced).await?;
        }
        // What ended is no longer open for the claim that follows.
        ledger.write(&mut tx, now).await?;
        family::wake(&mut tx, work, &ledger.ended, now).await?;
        advanced.ended.append(&mut ledger.ended);
        let mut spares = false;
        if work.calls_max > 0 {
            let mut ledger = Ledger::default();
            spares = self.claim(&mut tx, work, &destination, now, &mut ledger, &mut advanced).await?;
            ledger.write(&mut tx, now).await?;
            if family::wake(&mut tx, work, &ledger.ended, now).await? {
                advanced.next = Some(now);
            }
            advanced.ended.append(&mut ledger.ended);
        }
        if destination != seen || !advanced.calls.is_empty() {
            destination = agree(&mut tx, work, (&seen, destination), finished, (&advanced.calls, spares), now).await?;
        }
        tx.commit().await?;
        advanced.destination = destination;
        Ok(advanced)
    }

    /// Says whether what it claimed is of a lane that leaves the day's reserve to others.
    async fn claim(
        &self,
        tx: &mut Tx,
        work: &Work<'_>,
        destination: &Destination,
        now: Time,
        ledger: &mut Ledger,
        advanced: &mut Advanced,
    ) -> Result<bool, Error> {
        let in_flight = in_flight(tx, work, now).await?;
        let (mut calls_max, limit) = match destination.permit(work.policy, now, in_flight) {
            Permit::Calls(calls) => (calls.min(work.calls_max), work.group_limit),
            Permit::Probe => (1, 1),
            Permit::Not(until) => {
                advanced.next = until;
                return Ok(false);
            }
        };
        let spare = destination.spare(work.policy, now);
        let lanes: Vec<Lane> = destination.quota.turns.order().into_iter().filter(|lane| spare.is_ok() || !lane.spares()).collect();
        let due = tx.due(work.destination, now, &lanes, u32::try_from(limit).unwrap_or(u32::MAX)).await?;
        let spares = due.iter().any(|entry| entry.record.lane.spares());
        if let (true, Ok(spare)) = (spares, spare) {
            calls_max = calls_max.min(spare);
        }
        if in_flight > 0
            && let Some(until) = fills_up(&due, limit, now)
        {
            advanced.next = Some(until);
            return Ok(false);
        }
        let full = due.len() >= limit;
        let planned = self.plan_all(tx, work, due, now).await?;
        let (kept, calls, skipped) = group(planned, calls_max as usize, work.group_limit, || CallId(self.next_id(now)), now, ledger);
        let none_due = kept.is_empty() && !skipped;
        let changed: Vec<(&RecordEntry, bool)> = kept.iter().map(|(entry, body_changed)| (entry, *body_changed)).collect();
        tx.put_records(&changed).await?;
        let rested: BTreeSet<RecordId> =
            kept.iter().filter(|(entry, _)| entry.record.wake_at.is_none()).map(|(entry, _)| entry.id).collect();
        if ledger.ended.len() >= protocol::OPEN_MAX && !rested.is_empty() {
            tx.wake_with_open(&rested, now).await?;
        }
        advanced.calls = calls;
        advanced.next = if full || skipped { Some(now) } else { tx.next_due(work.destination, &lanes).await? };
        if let Err(until) = spare {
            // What is not looked at until then may be due.
            advanced.next = Some(advanced.next.map_or(until, |next| next.min(until)));
        }
        if none_due {
            // What is due all the same is being looked at by somebody else.
            advanced.next = advanced.next.map(|next| next.max(now + LOOKED_AT_FOR));
        }
        Ok(spares)
    }

    async fn plan_all(&self, tx: &mut Tx, work: &Work<'_>, due: Vec<RecordEntry>, now: Time) -> Result<Vec<Ready>, Error> {
        let ids: BTreeSet<RecordId> = due.iter().map(|entry| entry.id).collect();
        let unheard: BTreeSet<CallId> = due
            .iter()
            .filter(|entry| entry.record.intent)
            .filter_map(|entry| entry.record.lease.as_ref().map(|lease| lease.call))
            .collect();
        let sent = if unheard.is_empty() { BTreeMap::new() } else { tx.sent(&unheard).await? };
        let mut open: BTreeMap<RecordId, Vec<OpenRow>> = BTreeMap::new();
        if !ids.is_empty() {
            for row in tx.open_deliveries(&ids, protocol::OPEN_MAX).await? {
                open.entry(row.record).or_default().push(row);
            }
        }
        let parents = family::Parents::of(tx, work, &due, &open).await?;
        let mut ready = Vec::with_capacity(due.len());
        for entry in due {
            let rows = open.remove(&entry.id).unwrap_or_default();
            let lease_call = entry.record.lease.as_ref().map(|lease| lease.call);
            let patch = lease_call.and_then(|call| sent.get(&(call, entry.id)));
            ready.push(plan_one(work, entry, &rows, &parents, patch, now)?);
        }
        Ok(ready)
    }

    /// The net under every wakeup: open deliveries whose record sleeps make it due, and every destination with due records is named. A backlog is gone
    /// through in several sweeps.
    pub async fn sweep(&self, now: Time, destinations: &[&str]) -> Result<Vec<Wakeup>, Error> {
        again!(self.whole(self.sweep_all(now, destinations)).await)
    }

    /// How far the sweeps have come, by destination.
    fn swept(&self) -> MutexGuard<'_, BTreeMap<String, DeliveryId>> {
        self.swept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn sweep_all(&self, now: Time, destinations: &[&str]) -> Result<Vec<Wakeup>, Error> {
        let mut tx = self.begin(destinations).await?;
        let mut wakeups = Vec::new();
        for destination in destinations {
            let after = self.swept().get(*destination).copied().unwrap_or(DeliveryId(0));
            let looked = tx.look_at_open(destination, after, LOOKED_AT_ONCE).await?;
            self.swept().insert((*destination).to_owned(), looked.last.unwrap_or(DeliveryId(0)));
            if !looked.asleep.is_empty() {
                tx.wake_with_open(&looked.asleep, now).await?;
            }
            if tx.next_due(destination, &Lane::ALL).await?.is_some_and(|at| at <= now) {
                wakeups.push(Wakeup { destination: (*destination).to_owned(), records: Vec::new(), correlation_id: String::new() });
            }
        }
        tx.commit().await?;
        Ok(wakeups)
    }
}

/// A handful goes at once, so that nobody waits at low load, and so does half a batch. Anything between is a burst whose calls would be small:
/// while another call is under way it may fill up for a moment. Returns until when.
fn fills_up(due: &[RecordEntry], limit: usize, now: Time) -> Option<Time> {
    if due.len() < HANDFUL || due.len() >= limit / 2 {
        return None;
    }
    due.iter().filter_map(|entry| entry.record.wake_at).min().map(|oldest| oldest + FILLS_FOR).filter(|until| *until > now)
}

/// A due record with what it needs.
struct Ready {
    entry: RecordEntry,
    planned: protocol::Planned,
}

fn plan_one(
    work: &Work<'_>,
    entry: RecordEntry,
    rows: &[OpenRow],
    parents: &family::Parents,
    sent: Option<&BTreeMap<String, Value>>,
    now: Time,
) -> Result<Ready, Error> {
    if let Some(enriching) = work.enriching {
        return plan_fetch(work, enriching, entry, rows, now);
    }
    let Some(object) = work.routes.object(work.destination, &entry.object) else {
        return Ok(unconfigured(entry, rows, Reason::Unrouted));
    };
    let mut open = Vec::with_capacity(rows.len());
    for row in rows {
        let event = parsed(row)?;
        let one = Open {
            delivery: row.delivery,
            event: row.delivery.event(),
            mode: row.mode,
            stamp: Stamp { trust: row.trust, occurred_at: weighed_at(&event, row), key: row.key.clone() },
            fields: work.routes.crm_fields(work.destination, &entry.object, &event).unwrap_or_default(),
            received_at: row.received_at,
        };
        // What is deleted needs no parent.
        let kin = if row.mode == Mode::Delete { Vec::new() } else { parents.kin(work, &entry.object, object, row.delivery) };
        open.push((one, kin));
    }
    let family = protocol::family(open);
    let mode = family.ready.iter().map(|open| open.mode).filter(|mode| *mode != Mode::Delete).max().unwrap_or_default();
    let identifier_fields = object.identifier_fields();
    let context = Context {
        policy: work.policy,
        identifier_fields: &identifier_fields,
        merges: &object.merges,
        adopt: object.adopt,
        repeat: (work.repeat)(&entry.object, mode),
        reads: (work.reads)(&entry.object),
        blocked: family.blocked,
        now,
    };
    let mut planned = protocol::plan(entry.record.clone(), &family.ready, sent, work.holder, CallId(0), &context);
    planned.endings.extend(family.orphans);
    planned.warnings.extend(family.warnings);
    planned.record.lane = best(rows, planned.record.lane);
    Ok(Ready { entry, planned })
}

fn plan_fetch(work: &Work<'_>, enriching: Enriching<'_>, entry: RecordEntry, rows: &[OpenRow], now: Time) -> Result<Ready, Error> {
    if !enriching.source.fetches().any(|object| object == entry.object) {
        return Ok(unconfigured(entry, rows, Reason::Unmapped));
    }
    let mut waiting = Vec::with_capacity(rows.len());
    for row in rows {
        let with = parsed(row)?.fetch.map(|fetch| fetch.with).unwrap_or_default();
        waiting.push(Waiting { delivery: row.delivery, with });
    }
    let mut planned = protocol::plan_fetch(entry.record.clone(), &waiting, work.holder, CallId(0), work.policy, now);
    planned.record.lane = best(rows, planned.record.lane);
    Ok(Ready { entry, planned })
}

/// The lane of the most urgent open delivery. What is due without any, to be verified or repaired, stays where it is.
fn best(rows: &[OpenRow], held: Lane) -> Lane {
    rows.iter().map(|row| row.lane).min().unwrap_or(held)
}

fn parsed(row: &OpenRow) -> Result<Event, Error> {
    serde_json::from_str(&row.normalized).map_err(|error| Error::Inconsistent {
        table: "event",
        column: "normalized",
        id: row.delivery.event().0,
        found: error.to_string(),
    })
}

/// By which moment an event's values are weighed: the ledger's own note of when it happened, unless they are those of a fetched object.
fn weighed_at(event: &Event, row: &OpenRow) -> Time {
    event.fetched.as_ref().map_or(row.occurred_at, |fetched| fetched.updated_at)
}

/// The configuration no longer has this object: nothing can be asked, and nobody would notice.
fn unconfigured(entry: RecordEntry, rows: &[OpenRow], reason: Reason) -> Ready {
    let mut record = entry.record.clone();
    record.state = model::record::State::Clean;
    record.wake_at = None;
    record.lease = None;
    record.intent = false;
    let message = format!("the configuration no longer has the object {} of {}", entry.object, entry.destination);
    let ending = Ending::Dead { reason, class: None, message, attempts: record.attempts };
    let endings = rows.iter().map(|row| (row.delivery, ending.clone())).collect();
    Ready { entry, planned: protocol::Planned { record, body_changed: false, endings, warnings: Vec::new(), claim: None } }
}

/// What records of one call have in common: object, step, mode, whether by the CRM's id, size, and what a fetch needs besides an id.
type Shape = (String, Kind, Mode, bool, u32, BTreeMap<String, String>);
type Grouped = (Vec<(RecordEntry, bool)>, Vec<Call>, bool);

/// Forms calls of records that need the same thing. Records beyond what is permitted stay as they are, due.
fn group(
    ready: Vec<Ready>,
    calls_max: usize,
    group_limit: usize,
    mut new_id: impl FnMut() -> CallId,
    now: Time,
    ledger: &mut Ledger,
) -> Grouped {
    let mut kept = Vec::with_capacity(ready.len());
    let mut calls: Vec<Call> = Vec::new();
    let mut open_calls: BTreeMap<Shape, usize> = BTreeMap::new();
    let mut skipped = false;
    for Ready { mut entry, planned } in ready {
        let mut record = planned.record;
        if let Some(claim) = planned.claim {
            let (mode, with) = match &claim.step {
                Step::Push(push) => (push.mode, BTreeMap::new()),
                Step::Adopt | Step::Verify => (Mode::Upsert, BTreeMap::new()),
                Step::Fetch(look) => (Mode::Upsert, look.with.clone()),
            };
            // What may be in one call: an update by the CRM's id is another call than one by key.
            let by_id = matches!(mode, Mode::UpdateOnly | Mode::Delete) && record.crm_id.is_some();
            let shape = (entry.object.clone(), Kind::of(&claim.step), mode, by_id, record.group_max, with);
            let size = if record.group_max == 0 { group_limit } else { group_limit.min(record.group_max as usize) };
            let place = match open_calls.get(&shape).copied().filter(|&place| calls[place].entries.len() < size) {
                Some(place) => place,
                None if calls.len() < calls_max => {
                    calls.push(Call {
                        id: new_id(),
                        object: entry.object.clone(),
                        kind: shape.1,
                        mode,
                        claimed_at: now,
                        entries: Vec::new(),
                    });
                    open_calls.insert(shape, calls.len() - 1);
                    calls.len() - 1
                }
                None => {
                    skipped = true;
                    continue;
                }
            };
            if let Some(lease) = record.lease.as_mut() {
                lease.call = calls[place].id;
            }
            calls[place].entries.push(Entry { record: entry.id, key: entry.key.clone(), crm_id: record.crm_id.clone(), claim });
        }
        for (delivery, ending) in &planned.endings {
            ledger.end(*delivery, ending, &entry.object, None, now);
        }
        for (event, warning) in planned.warnings {
            ledger.warnings.entry(event).or_default().push(warning);
        }
        entry.record = record;
        kept.push((entry, planned.body_changed));
    }
    (kept, calls, skipped)
}

fn call_row(work: &Work<'_>, call: &Call) -> CallRow {
    let records = call.entries.iter().map(|entry| match &entry.claim.step {
        Step::Push(push) => (entry.record, entry.claim.fence, push.revision, push.patch.clone()),
        Step::Adopt | Step::Verify | Step::Fetch(_) => (entry.record, entry.claim.fence, 0, BTreeMap::new()),
    });
    CallRow {
        id: call.id,
        destination: work.destination.to_owned(),
        object: call.object.clone(),
        step: call.kind.as_str(),
        at: call.claimed_at,
        holder: work.holder.to_owned(),
        until: call.claimed_at + work.policy.lease(),
        records: records.collect(),
    }
}
