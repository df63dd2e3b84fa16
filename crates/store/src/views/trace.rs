//! "What happened to X?": events, requests, calls and people's doings, put in order.
//!
//! A database finds the rows, in the order of the methods of [`Story`]: each says what is asked for next.

use std::collections::{BTreeMap, BTreeSet};

use model::{CallId, DeliveryId, EventId, RawEventId, RecordId, Time};
use serde_json::{Map, Value, json as object};

use super::events::{Loaded, disposition, status};
use super::find::Found;
use super::rejected::audit;
use crate::Error;
use crate::columns::{Columns, count, get, json, time};
use crate::rows::{DeliveryState, RecordEntry};
use crate::types::{DeliveryRow, EventRow, RecordRow, Status, Trace, TraceStep};

const EVENTS_MAX: usize = 200;
const RECORDS_MAX: usize = 200;
const STEPS_MAX: usize = 2_000;
/// Calls among which those are looked for whose end was never heard of: no record remembers them.
pub const UNHEARD_AMONG: i64 = 20_000;
/// Rows of one kind that are read for the steps.
pub const ROWS_MAX: i64 = 2_000;

/// The events that are shown, of those that were found.
pub fn shown(found: &Found) -> Vec<i64> {
    found.events.iter().copied().take(EVENTS_MAX).collect()
}

/// The records that are shown: those that were found, and those of the events' deliveries.
pub fn named(found: &Found, loaded: &Loaded) -> Vec<i64> {
    let mut named: BTreeSet<i64> = found.records.iter().copied().take(RECORDS_MAX).collect();
    named.extend(loaded.rows.iter().flat_map(|event| &event.deliveries).filter_map(|delivery| delivery.record).map(|id| id.0));
    named.into_iter().collect()
}

/// What is told of X, from what was found.
pub struct Story {
    found: Found,
    events: Vec<EventRow>,
    ended_by: BTreeMap<DeliveryId, CallId>,
    entries: Vec<RecordEntry>,
    windows: BTreeMap<RecordId, (Time, Time)>,
    steps: Steps,
}

impl Story {
    pub fn begin(x: &str, mut found: Found, loaded: Loaded, entries: Vec<RecordEntry>) -> Self {
        if entries.iter().any(|entry| found.records.contains(&entry.id.0) && entry.key.to_lowercase() == x.trim().to_lowercase()) {
            found.note("record_key");
        }
        let windows = windows(&loaded.rows, &entries, &found.records);
        let truncated = found.events.len() > EVENTS_MAX || found.records.len() > RECORDS_MAX;
        let mut steps = Steps { truncated, ..Steps::default() };
        for event in &loaded.rows {
            steps.tell_event(event, &loaded.ended_by);
        }
        Self { found, events: loaded.rows, ended_by: loaded.ended_by, entries, windows, steps }
    }

    /// The requests that brought the events, or were found themselves.
    pub fn requests(&self) -> Vec<i64> {
        let requests: BTreeSet<i64> =
            self.events.iter().map(|event| event.raw_event.0).chain(self.found.raw_events.iter().copied()).collect();
        requests.into_iter().collect()
    }

    pub fn events(&self) -> Vec<i64> {
        self.events.iter().map(|event| event.id.0).collect()
    }

    /// `again` are requests that brought the events once more; at most [`ROWS_MAX`].
    pub fn tell_requests<R: Columns>(&mut self, first: &[R], again: &[R]) -> Result<(), Error> {
        self.steps.truncated |= again.len() as i64 >= ROWS_MAX;
        let mut told = BTreeSet::new();
        for row in first.iter().chain(again) {
            if told.insert(get::<i64>(row, "id")?) {
                self.steps.tell_request(row)?;
            }
        }
        Ok(())
    }

    pub fn records(&self) -> Vec<i64> {
        self.entries.iter().map(|entry| entry.id.0).collect()
    }

    /// The calls that the records remember, with those of which nobody heard again.
    pub fn calls(&self, unheard: Vec<i64>) -> Vec<i64> {
        let mut wanted: BTreeSet<i64> = self.ended_by.values().map(|call| call.0).collect();
        wanted.extend(self.entries.iter().flat_map(|entry| &entry.record.body.calls).map(|call| call.0));
        wanted.extend(self.entries.iter().filter_map(|entry| entry.record.lease.as_ref()).map(|lease| lease.call.0));
        wanted.extend(unheard);
        wanted.into_iter().collect()
    }

    /// Calls by their ids, and what came back of them by call and time.
    pub fn tell_calls<R: Columns>(&mut self, calls: &[R], results: &[R]) -> Result<(), Error> {
        let mut told = Told {
            entries: self.entries.iter().map(|entry| (entry.id, entry)).collect(),
            windows: &self.windows,
            results: BTreeMap::new(),
        };
        for row in results {
            told.results.entry(get(row, "call_id")?).or_default().push(row);
        }
        let deliveries: BTreeMap<DeliveryId, &DeliveryRow> =
            self.events.iter().flat_map(|event| &event.deliveries).map(|delivery| (delivery.id, delivery)).collect();
        for row in calls {
            // One call can carry all of the records: the oldest ones fill what can be shown.
            if self.steps.all.len() >= 2 * STEPS_MAX {
                self.steps.truncated = true;
                break;
            }
            self.steps.tell_call(row, &told, &deliveries, &self.ended_by)?;
        }
        Ok(())
    }

    /// What people's doings can be about.
    pub fn subjects(&self) -> Vec<String> {
        let mut subjects: Vec<String> = self.found.raw_events.iter().map(|id| RawEventId(*id).to_string()).collect();
        for event in &self.events {
            subjects.extend([event.id.to_string(), event.raw_event.to_string()]);
            subjects.extend(event.deliveries.iter().map(|delivery| delivery.id.to_string()));
        }
        subjects.extend(self.entries.iter().map(|entry| entry.id.to_string()));
        subjects
    }

    pub fn tell_people<R: Columns>(&mut self, rows: &[R]) -> Result<(), Error> {
        rows.iter().try_for_each(|row| self.steps.tell_person(row))
    }

    pub fn end(self) -> Trace {
        let (steps, truncated) = self.steps.in_order();
        let records = self.entries.into_iter().map(record_row).collect();
        Trace { found_as: self.found.as_what, events: self.events, records, steps, truncated }
    }
}

fn record_row(entry: RecordEntry) -> RecordRow {
    let fields = entry.record.body.fields.0.into_iter().map(|(name, held)| {
        let stamp = held.stamp;
        (name, object!({ "value": held.value, "trust": stamp.trust, "occurred_at": stamp.occurred_at, "key": stamp.key }))
    });
    RecordRow {
        id: entry.id,
        destination: entry.destination,
        object: entry.object,
        key: entry.key,
        crm_record_id: entry.record.crm_id,
        state: entry.record.state.as_str().to_owned(),
        wake_at: entry.record.wake_at,
        attempts: entry.record.attempts,
        fields: Value::Object(fields.collect::<Map<_, _>>()),
        last_error: entry.record.body.last_error,
    }
}

/// From when to when calls of a record concern what was asked for: all of them if it was the record, else those during the life of its deliveries.
fn windows(events: &[EventRow], entries: &[RecordEntry], whole: &BTreeSet<i64>) -> BTreeMap<RecordId, (Time, Time)> {
    let always = (Time(i64::MIN), Time(i64::MAX));
    let asked = entries.iter().filter(|entry| whole.contains(&entry.id.0));
    let mut windows: BTreeMap<RecordId, (Time, Time)> = asked.map(|entry| (entry.id, always)).collect();
    for (event, delivery) in events.iter().flat_map(|event| event.deliveries.iter().map(move |delivery| (event, delivery))) {
        let Some(record) = delivery.record else { continue };
        let life = (event.received_at, delivery.ended_at.unwrap_or(always.1));
        let window = windows.entry(record).or_insert(life);
        *window = (window.0.min(life.0), window.1.max(life.1));
    }
    windows
}

/// Steps that happened at one time are in this order. The last three are told call by call: one transaction settles what came back
/// before it claims what comes next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Request,
    Event,
    Person,
    Claim,
    Result,
    End,
}

#[derive(Default)]
struct Steps {
    all: Vec<(Place, TraceStep)>,
    truncated: bool,
}

impl Steps {
    fn tell(&mut self, at: Time, place: Place, step: &str, detail: String) -> &mut TraceStep {
        let told =
            TraceStep { at, step: step.to_owned(), detail, event: None, delivery: None, call: None, duration_ms: None, http_status: None };
        self.all.push((place, told));
        let last = self.all.len() - 1;
        &mut self.all[last].1
    }

    fn in_order(mut self) -> (Vec<TraceStep>, bool) {
        let order = |(place, step): &(Place, TraceStep)| {
            let call = step.call.map_or(i64::MAX, |call| call.0);
            (step.at, (*place).min(Place::Claim), call, *place, step.event)
        };
        self.all.sort_by_key(order);
        let truncated = self.truncated || self.all.len() > STEPS_MAX;
        self.all.truncate(STEPS_MAX);
        (self.all.into_iter().map(|(_, step)| step).collect(), truncated)
    }

    fn tell_request(&mut self, row: &impl Columns) -> Result<(), Error> {
        let id: i64 = get(row, "id")?;
        let (raw, source) = (RawEventId(id), get::<&str>(row, "source")?);
        let held: Vec<i64> = json(get(row, "events")?, "raw_event", "events", id)?;
        let word = disposition(get(row, "disposition")?, id)?;
        let (step, detail) = match word {
            "duplicate" => ("duplicate", format!("{source} sent it again as {raw}; it changed nothing")),
            "edited" => ("edited", format!("a person's edit of the payload was kept as {raw}")),
            "empty" => ("received", format!("{raw} from {source}, a genuine batch of nothing")),
            _ if held.len() == 1 => ("received", format!("{raw} from {source}, verified")),
            _ => ("received", format!("{raw} from {source}, verified, with {} events", held.len())),
        };
        let only = if held.len() == 1 { held.first().map(|id| EventId(*id)) } else { None };
        self.tell(time(row, "received_at")?.unwrap_or_default(), Place::Request, step, detail).event = only;
        Ok(())
    }

    fn tell_event(&mut self, event: &EventRow, ended_by: &BTreeMap<DeliveryId, CallId>) {
        let (step, fate) = match (event.ignored, event.deliveries.len()) {
            (true, _) => ("ignored", "its source lists this type as irrelevant".to_owned()),
            (false, 0) => ("accepted", "it goes nowhere".to_owned()),
            (false, _) => ("accepted", targets(event)),
        };
        let detail = format!("{} under the key {}, mapped by {}; {fate}", event.event_type, event.idempotency_key, event.mapping_version);
        self.tell(event.received_at, Place::Event, step, detail).event = Some(event.id);
        for delivery in &event.deliveries {
            self.tell_end(event, delivery, ended_by.get(&delivery.id).copied());
        }
    }

    fn tell_end(&mut self, event: &EventRow, delivery: &DeliveryRow, call: Option<CallId>) {
        let (Some(at), status) = (delivery.ended_at, delivery.status) else { return };
        let to = match (&delivery.destination, &delivery.object) {
            (Some(destination), Some(object)) => format!("{object} of {destination}: "),
            (_, _) => String::new(),
        };
        let (step, detail) = match (&delivery.dead_letter, delivery.superseded_by) {
            (Some(dead), _) => ("dead_letter", format!("{to}{}, {}: {}", status.as_str(), dead.reason.as_str(), dead.message)),
            (None, Some(by)) => ("cancelled", format!("{to}replaced by {by}")),
            (None, None) if status == Status::Cancelled => ("cancelled", format!("{to}closed")),
            (None, None) => {
                let outcome = delivery.outcome.as_deref().map(|outcome| format!(", {outcome}")).unwrap_or_default();
                ("settled", format!("{to}{}{outcome}", status.as_str()))
            }
        };
        let told = self.tell(at, Place::End, step, detail);
        (told.event, told.delivery, told.call) = (Some(event.id), Some(delivery.id), call);
    }

    fn tell_call<R: Columns>(
        &mut self,
        row: &R,
        told: &Told<'_, R>,
        deliveries: &BTreeMap<DeliveryId, &DeliveryRow>,
        ended_by: &BTreeMap<DeliveryId, CallId>,
    ) -> Result<(), Error> {
        let call = CallId(get(row, "id")?);
        let (at, step) = (Time(get(row, "at")?), get::<&str>(row, "step")?);
        let carried: Vec<(i64, i64, i64, Map<String, Value>)> = json(get(row, "records")?, "call", "records", call.0)?;
        let results = told.results.get(&call.0).map(Vec::as_slice).unwrap_or_default();
        let others = carried.len() - 1.min(carried.len());
        for (record, _, _, patch) in &carried {
            let Some(entry) = told.entries.get(&RecordId(*record)).filter(|entry| told.concerns(entry.id, at)) else { continue };
            let under_way = entry.record.lease.as_ref().is_some_and(|lease| lease.call == call);
            let end = match (results.is_empty(), under_way) {
                (false, _) => "",
                (true, true) => "; it is under way",
                (true, false) => "; nothing was heard of it again",
            };
            let detail =
                format!("{} was leased by {} {}{}{end}", name(entry), get::<&str>(row, "holder")?, purpose(step, patch), with(others));
            self.tell(at, Place::Claim, "claimed", detail).call = Some(call);
            for result in results {
                self.tell_result(*result, call, step, entry)?;
            }
        }
        for result in results {
            self.tell_earlier_ends(*result, call, deliveries, ended_by)?;
        }
        Ok(())
    }

    fn tell_result(&mut self, row: &impl Columns, call: CallId, step: &str, entry: &RecordEntry) -> Result<(), Error> {
        let notes: Vec<(i64, String, String, String)> = json(get(row, "notes")?, "call_result", "notes", call.0)?;
        let http_status = get::<Option<i64>>(row, "http_status")?.and_then(|status| u16::try_from(status).ok());
        let code: Option<String> = get(row, "code")?;
        let note = |late: bool| notes.iter().find(|(record, word, _, _)| *record == entry.id.0 && (word == "late") == late);
        let name = name(entry);
        let (word, mut detail) = match (note(false), &code, step) {
            (Some((_, class, code, said)), _, _) => ("failed", format!("{name}: {class}, {code}: {said}")),
            (None, Some(code), _) => ("failed", format!("{name}: {code}: {}", get::<Option<&str>>(row, "message")?.unwrap_or_default())),
            (None, None, _) if http_status.is_none() => ("not_sent", format!("{name}: the call was not sent any more; it is due again")),
            (None, None, "fetch") => ("fetched", format!("{name}: it was fetched from where the event came from")),
            (None, None, "push") => ("written", format!("{name}: the CRM took it")),
            (None, None, "reconcile") => ("compared", format!("{name}: what the CRM holds was compared with what we believe")),
            (None, None, "verify") => ("verified", format!("{name}: what the CRM holds was read back")),
            (None, None, _) => ("read", format!("{name}: what the CRM held before was read")),
        };
        if note(true).is_some() {
            detail.push_str("; too late to count, because its lease had passed on");
        }
        let told = self.tell(Time(get(row, "at")?), Place::Result, word, detail);
        told.call = Some(call);
        told.duration_ms = Some(count(get::<i64>(row, "duration_us")? / 1_000));
        told.http_status = http_status;
        Ok(())
    }

    /// Ends that a replay undid: the delivery itself knows only its last one.
    fn tell_earlier_ends(
        &mut self,
        row: &impl Columns,
        call: CallId,
        deliveries: &BTreeMap<DeliveryId, &DeliveryRow>,
        ended_by: &BTreeMap<DeliveryId, CallId>,
    ) -> Result<(), Error> {
        let endings: Vec<(i64, i64, Option<i64>)> = json(get(row, "endings")?, "call_result", "endings", call.0)?;
        for (id, state, _) in endings {
            let id = DeliveryId(id);
            let Some(delivery) = deliveries.get(&id).filter(|_| ended_by.get(&id) != Some(&call)) else { continue };
            let Some(state) = DeliveryState::ALL.into_iter().find(|known| *known as i64 == state) else { continue };
            let status = status(state, None);
            let detail = format!("{}, and was opened again later", status.as_str());
            let told = self.tell(Time(get(row, "at")?), Place::End, "dead_letter", detail);
            (told.event, told.delivery, told.call) = (Some(delivery.event), Some(id), Some(call));
        }
        Ok(())
    }

    fn tell_person(&mut self, row: &impl Columns) -> Result<(), Error> {
        let row = audit(row)?;
        let step = match row.action.as_str() {
            "replay" => "replayed",
            "resolve" => "resolved",
            "assign" => "assigned",
            "take_back" => "taken_back",
            "repair" => "repaired",
            other => other,
        };
        let why = row.detail.get("reason").and_then(Value::as_str).map(|why| format!(": {why}")).unwrap_or_default();
        let owner = row.detail.get("owner").and_then(Value::as_str).map(|owner| format!(" to {owner}")).unwrap_or_default();
        let came = row.detail.get("received_at").and_then(Value::as_str).map(|at| format!(", after it had been refused at {at}"));
        let detail = format!("by {}{owner}{}{why}", row.actor, came.unwrap_or_default());
        let told = self.tell(row.at, Place::Person, step, detail);
        told.delivery = DeliveryId::parse(&row.subject);
        told.event = told.delivery.map(DeliveryId::event);
        Ok(())
    }
}

/// What the steps of calls are told from.
struct Told<'a, R> {
    entries: BTreeMap<RecordId, &'a RecordEntry>,
    windows: &'a BTreeMap<RecordId, (Time, Time)>,
    results: BTreeMap<i64, Vec<&'a R>>,
}

impl<R> Told<'_, R> {
    fn concerns(&self, record: RecordId, at: Time) -> bool {
        self.windows.get(&record).is_some_and(|(from, to)| (*from..=*to).contains(&at))
    }
}

fn targets(event: &EventRow) -> String {
    let mut names = event.deliveries.iter().filter_map(|delivery| {
        let target = delivery.destination.as_ref().zip(delivery.object.as_ref());
        target.map(|(destination, object)| format!("{object} of {destination} ({})", delivery.mode.as_str()))
    });
    match names.next() {
        Some(first) => names.fold(format!("it goes to {first}"), |all, next| format!("{all}, {next}")),
        None => "it could not be sent anywhere".to_owned(),
    }
}

fn name(entry: &RecordEntry) -> String {
    format!("{} {} of {}", entry.object, entry.key, entry.destination)
}

/// Field names only: the values are shown where the record is.
fn purpose(step: &str, patch: &Map<String, Value>) -> String {
    match step {
        "push" => {
            let fields: Vec<&str> = patch.keys().map(String::as_str).collect();
            format!("to be written ({})", fields.join(", "))
        }
        "verify" => "to be read back".to_owned(),
        "reconcile" => "to be compared".to_owned(),
        "fetch" => "to be fetched".to_owned(),
        _ => "to be read before it is first written".to_owned(),
    }
}

fn with(others: usize) -> String {
    match others {
        0 => String::new(),
        1 => ", in one call with 1 other".to_owned(),
        _ => format!(", in one call with {others} others"),
    }
}
