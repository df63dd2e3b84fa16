//! The pretended CRM as a state machine: records, tokens, faults, late writes and the log of calls.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use model::Time;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::credentials::{Credentials, Sessions};
use crate::faults::{Dice, Fault, Faults};
use crate::http::{Exchange, HttpReply, HttpRequest};
use crate::salesforce::{self, Ask, Refusal, What};
use crate::sheet::record_id;
use crate::surface;
use crate::writes::{Org, Write};

mod kept;

pub(crate) use kept::Changes;

/// Calls kept in the log.
const MAX_CALLS: usize = 100_000;
/// Records of calls kept in the log, over all calls.
const MAX_TOUCHED: usize = 250_000;
/// Bytes of a target that the log keeps.
const MAX_PATH_BYTES: usize = 2_048;
/// Late writes that may be under way; beyond that a write that should be late is applied at once, and still not answered.
const MAX_LATE: usize = 10_000;
/// How long the budget of daily calls lasts.
const DAY: Duration = Duration::from_secs(86_400);

/// What the sandbox is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long every answer takes.
    pub latency: Duration,
    /// The faults in force from the first call on, and again after a reset.
    pub faults: Faults,
    /// Who is let in.
    pub credentials: Credentials,
    /// How long a token is good for.
    pub token_life: Duration,
    /// Calls in a day before `REQUEST_LIMIT_EXCEEDED`.
    pub daily_calls: u64,
    /// Records held, deleted ones included, before `STORAGE_LIMIT_EXCEEDED`.
    pub max_records: usize,
}

impl Default for Options {
    /// 5 ms, no faults, anyone, tokens for two hours, 5,000,000 calls a day, 1,000,000 records.
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(5),
            faults: Faults::default(),
            credentials: Credentials::default(),
            token_life: Duration::from_secs(7_200),
            daily_calls: 5_000_000,
            max_records: 1_000_000,
        }
    }
}

/// What the sandbox has counted since it was started or reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Requests to the CRM, those for tokens included, whatever became of them.
    pub calls: u64,
    /// Records created.
    pub creates: u64,
    /// Writes applied to records that were there, deletions included.
    pub updates: u64,
    /// Records that are there now.
    pub records: u64,
    /// Calls refused whole, and records refused within a call.
    pub refused: u64,
}

/// One record, as the sandbox's own surface shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordView {
    /// The dialect it was written in.
    pub crm: Cow<'static, str>,
    /// `Lead`, `Contact`, …
    pub object: Cow<'static, str>,
    /// The CRM's own id.
    pub id: String,
    /// The value of the field it was written by; `None` if it was created without a key.
    pub key: Option<String>,
    /// Every field that has a value.
    pub fields: BTreeMap<String, Value>,
    /// How often a record with this key was created, counting again after a deletion.
    pub creates: u32,
    /// How many writes were applied to it, creations included.
    pub writes: u32,
    /// Whether it has been deleted.
    pub deleted: bool,
}

/// One record's share of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// The key or id that the request named; `None` if it named none.
    pub key: Option<String>,
    /// `created`, `updated`, `deleted`, `late` (not applied yet), or the CRM's error code.
    pub result: Cow<'static, str>,
}

/// One call in the log. A late write has two entries: when it was sent, and when it was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallView {
    /// Rises by one from 1.
    pub seq: u64,
    /// When it came, as RFC 3339.
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub at: Time,
    /// The dialect.
    pub crm: Cow<'static, str>,
    /// `PATCH`, `GET`, …
    pub method: String,
    /// Path and query as sent, up to 2,048 bytes.
    pub path: String,
    /// The value of the header `x-onceward-call`.
    pub call: Option<String>,
    /// The status that was answered; `None` if the connection was cut, or when a late write is applied.
    pub status: Option<u16>,
    /// Whether it changed any record.
    pub applied: bool,
    /// The records of a write, in the order of the request.
    pub records: Vec<Touched>,
}

fn write_time<S: Serializer>(at: &Time, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(at)
}

fn read_time<'de, D: Deserializer<'de>>(from: D) -> Result<Time, D::Error> {
    let text = Cow::<str>::deserialize(from)?;
    Time::parse_rfc3339(&text).ok_or_else(|| serde::de::Error::custom("expected an RFC 3339 date-time"))
}

/// A request that has been read, which takes no state and so no lock.
#[derive(Debug)]
pub(crate) struct Incoming {
    head: Head,
    ask: Asked,
}

#[derive(Debug)]
enum Asked {
    Surface(surface::Ask),
    Salesforce(Ask),
}

/// What the log says about a call before it is known what becomes of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Head {
    method: String,
    path: String,
    call: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Late {
    head: Head,
    version: String,
    write: Write,
}

/// What came of a call, for the log and the counts.
struct Ended {
    reply: Option<HttpReply>,
    applied: bool,
    records: Vec<Touched>,
    refused: u64,
}

impl Ended {
    fn refused(reply: Option<HttpReply>) -> Self {
        Self { reply, applied: false, records: Vec::new(), refused: 1 }
    }

    fn answered(reply: HttpReply) -> Self {
        Self { refused: u64::from(reply.status >= 400), reply: Some(reply), applied: false, records: Vec::new() }
    }
}

/// A pretended CRM: deterministic by its seed and by the moments that it is told.
pub struct Core {
    seed: u64,
    options: Options,
    dice: Dice,
    faults: Faults,
    /// When the faults in force were set; the first moment seen if they are those of the start.
    faults_since: Option<Time>,
    sessions: Sessions,
    org: Org,
    late: BTreeMap<(Time, u64), Late>,
    calls: VecDeque<CallView>,
    touched: usize,
    last_seq: u64,
    last_late: u64,
    day: Option<Time>,
    calls_today: u64,
    stats: Stats,
    /// What a journal has not been told yet, if there is one.
    marks: Option<kept::Marks>,
}

impl fmt::Debug for Core {
    /// Counts only: records hold people's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("seed", &self.seed)
            .field("stats", &self.stats())
            .field("late", &self.late.len())
            .finish_non_exhaustive()
    }
}

impl Core {
    /// An empty CRM. The same seed, requests and moments lead to the same answers.
    pub fn new(seed: u64, options: Options) -> Self {
        Self {
            seed,
            dice: Dice::new(seed),
            faults: options.faults.clone(),
            options,
            faults_since: None,
            sessions: Sessions::default(),
            org: Org::default(),
            late: BTreeMap::new(),
            calls: VecDeque::new(),
            touched: 0,
            last_seq: 0,
            last_late: 0,
            day: None,
            calls_today: 0,
            stats: Stats::default(),
            marks: None,
        }
    }

    /// Answers one request, for the CRM or for the sandbox's own surface under `/_sandbox`, after applying every late write that is due.
    pub fn exchange(&mut self, request: &HttpRequest<'_>, now: Time) -> Exchange {
        self.take(Self::read(request), now)
    }

    /// Reads a request, the part of an exchange that needs no lock.
    pub(crate) fn read(request: &HttpRequest<'_>) -> Incoming {
        let mut path = request.target.to_owned();
        path.truncate(path.floor_char_boundary(MAX_PATH_BYTES));
        let call = request.header("x-onceward-call").map(|value| value.chars().take(128).collect());
        let head = Head { method: request.method.to_owned(), path, call };
        let ask = surface::read(request).map_or_else(|| Asked::Salesforce(salesforce::read(request)), Asked::Surface);
        Incoming { head, ask }
    }

    /// Answers a request that has been read.
    pub(crate) fn take(&mut self, incoming: Incoming, now: Time) -> Exchange {
        self.advance(now);
        match incoming.ask {
            Asked::Surface(ask) => Exchange { reply: Some(surface::answer(self, ask, now)), latency: Duration::ZERO },
            Asked::Salesforce(ask) => self.call(incoming.head, ask, now),
        }
    }

    /// Applies the late writes that are due, each at its own moment, in order.
    pub fn advance(&mut self, now: Time) {
        self.faults_since.get_or_insert(now);
        while let Some(entry) = self.late.first_entry().filter(|entry| entry.key().0 <= now) {
            let place = *entry.key();
            let at = place.0;
            let Late { head, version, write } = entry.remove();
            if let Some(marks) = &mut self.marks {
                marks.landed.push(place);
            }
            let mut ended = self.write(write, &version, &BTreeSet::new(), false, at);
            ended.reply = None;
            self.log(head, &mut ended, at);
        }
    }

    /// When the next late write lands.
    pub fn next_due(&self) -> Option<Time> {
        self.late.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Replaces all faults; `down` counts from now.
    pub fn set_faults(&mut self, faults: Faults, now: Time) {
        self.faults = faults;
        self.faults_since = Some(now);
    }

    /// The faults in force at this moment.
    pub fn faults(&self, now: Time) -> Faults {
        self.faults.in_force(self.faults_since.unwrap_or(now), now)
    }

    /// Forgets everything and starts again with the seed and the options of the start.
    pub fn reset(&mut self) {
        let kept = self.marks.is_some();
        *self = Self::new(self.seed, self.options.clone());
        if kept {
            self.keep_changes();
        }
        if let Some(marks) = &mut self.marks {
            marks.emptied = true;
        }
    }

    /// The counts so far.
    pub fn stats(&self) -> Stats {
        Stats { records: u64::try_from(self.org.live()).unwrap_or(u64::MAX), ..self.stats }
    }

    /// Every record, deleted ones included, of one dialect and object or of all. A deleted record makes room for a new one of the same key.
    pub fn records(&self, crm: Option<&str>, object: Option<&str>) -> impl Iterator<Item = RecordView> {
        let wanted = crm.is_none_or(|name| name == salesforce::CRM);
        self.org.rows(object).filter(move |_| wanted).map(|(object, number, row)| RecordView {
            crm: salesforce::CRM.into(),
            object: object.name.into(),
            id: record_id(object, number),
            key: row.key(),
            fields: row.fields.iter().map(|(name, value)| (name.to_string(), value.clone())).collect(),
            creates: row.creates,
            writes: row.writes,
            deleted: row.deleted,
        })
    }

    /// The calls after a sequence number, oldest first. The log keeps the last 100,000 calls, fewer if they carried many records.
    pub fn calls(&self, after: u64) -> impl Iterator<Item = &CallView> {
        let first = self.calls.front().map_or(u64::MAX, |call| call.seq);
        let skip = usize::try_from(after.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
        self.calls.iter().skip(skip)
    }

    fn call(&mut self, head: Head, ask: Ask, now: Time) -> Exchange {
        self.stats.calls += 1;
        let mut latency = self.options.latency;
        let since = self.faults_since.unwrap_or(now);
        let mut ended = if self.faults.is_down(salesforce::CRM, since, now) {
            let cut = self.dice.falls(0.5);
            Ended::refused((!cut).then(|| Refusal::unavailable().reply()))
        } else {
            latency += self.faults.strikes(salesforce::CRM, Fault::Slow, &mut self.dice).unwrap_or_default();
            match ask {
                Ask::Token(grant) => self.token(grant, now),
                Ask::Api { version, bearer, what } => self.api(&head, version, bearer, what, now),
            }
        };
        self.log(head, &mut ended, now);
        Exchange { reply: ended.reply, latency }
    }

    fn token(&mut self, grant: Result<salesforce::Grant, salesforce::TokenRefusal>, now: Time) -> Ended {
        match self.faults.first(salesforce::CRM, &[Fault::CutBefore, Fault::FailBefore], &mut self.dice) {
            Some((Fault::CutBefore, _)) => Ended::refused(None),
            Some(_) => Ended::refused(Some(Refusal::broken().reply())),
            None => Ended::answered(match grant {
                Ok(grant) => grant.reply(&self.options.credentials, &mut self.sessions, &mut self.dice, now, self.options.token_life),
                Err(refusal) => refusal.reply(),
            }),
        }
    }

    fn api(&mut self, head: &Head, version: String, bearer: Result<String, Refusal>, what: Result<What, Refusal>, now: Time) -> Ended {
        let token = match bearer {
            Ok(token) if self.sessions.accepts(&self.options.credentials, &token, now) => token,
            Ok(_) => return Ended::refused(Some(Refusal::expired().reply())),
            Err(refusal) => return Ended::refused(Some(refusal.reply())),
        };
        if self.spend(now) {
            return Ended::refused(Some(self.gauge(Refusal::too_many_requests().reply())));
        }
        let before = [Fault::ExpiredToken, Fault::Throttled, Fault::Limit, Fault::CutBefore, Fault::FailBefore];
        if let Some((fault, span)) = self.faults.first(salesforce::CRM, &before, &mut self.dice) {
            return Ended::refused(self.refuse(fault, span, &token, now));
        }
        let ended = match what {
            Err(refusal) => Ended::refused(Some(refusal.reply())),
            Ok(What::Write(write)) => {
                let late = self.faults.strikes(salesforce::CRM, Fault::Late, &mut self.dice);
                if let Some(span) = late.filter(|_| self.late.len() < MAX_LATE) {
                    return self.postpone(head.clone(), version, write, now + span);
                }
                let locked = self.locked(&write);
                let missing = write.collection && self.faults.strikes(salesforce::CRM, Fault::Missing, &mut self.dice).is_some();
                let ended = self.write(write, &version, &locked, missing, now);
                if late.is_some() { Ended { reply: None, ..ended } } else { ended }
            }
            Ok(what) => Ended::answered(self.look(what, &version)),
        };
        let after = self.faults.first(salesforce::CRM, &[Fault::FailAfter, Fault::CutAfter, Fault::Garbage], &mut self.dice);
        let reply = match (after, ended.reply) {
            (Some((Fault::FailAfter, _)), _) => Some(Refusal::broken().reply()),
            (Some((Fault::Garbage, _)), Some(reply)) => Some(self.garble(reply)),
            (Some(_), _) => None,
            (None, reply) => reply,
        };
        Ended { reply: reply.map(|reply| self.gauge(reply)), ..ended }
    }

    /// The answer of a fault that strikes before anything is applied.
    fn refuse(&mut self, fault: Fault, span: Duration, token: &str, now: Time) -> Option<HttpReply> {
        match fault {
            Fault::ExpiredToken => {
                self.sessions.end(token, now);
                Some(Refusal::expired().reply())
            }
            // Salesforce itself never answers 429; a proxy before it does, in its own words.
            Fault::Throttled => {
                let seconds = span.as_millis().div_ceil(1_000);
                Some(HttpReply::text(429, "text/plain", "Too Many Requests\n").with("retry-after", seconds))
            }
            Fault::Limit => Some(self.gauge(Refusal::too_many_at_once().reply())),
            Fault::FailBefore => Some(self.gauge(Refusal::broken().reply())),
            Fault::Down
            | Fault::CutBefore
            | Fault::Late
            | Fault::FailAfter
            | Fault::CutAfter
            | Fault::Garbage
            | Fault::Missing
            | Fault::Partial
            | Fault::Lock
            | Fault::Slow => None,
        }
    }

    /// Counts a call against the day's budget; true if it is spent.
    fn spend(&mut self, now: Time) -> bool {
        if self.day.is_none_or(|start| now.since(start) >= DAY) {
            self.day = Some(now);
            self.calls_today = 0;
        }
        self.calls_today = self.calls_today.saturating_add(1).min(self.options.daily_calls.saturating_add(1));
        self.calls_today > self.options.daily_calls
    }

    fn gauge(&self, reply: HttpReply) -> HttpReply {
        let (used, of) = (self.calls_today.min(self.options.daily_calls), self.options.daily_calls);
        reply.with("sforce-limit-info", format!("api-usage={used}/{of}"))
    }

    fn postpone(&mut self, head: Head, version: String, write: Write, due: Time) -> Ended {
        let records = write.keys().map(|key| Touched { key, result: "late".into() }).collect();
        self.last_late += 1;
        self.late.insert((due, self.last_late), Late { head, version, write });
        if let Some(marks) = &mut self.marks {
            marks.postponed.push((due, self.last_late));
        }
        Ended { reply: None, applied: false, records, refused: 0 }
    }

    /// The places of the records that meet a lock.
    fn locked(&mut self, write: &Write) -> BTreeSet<usize> {
        let count = write.records.len();
        let mut locked = BTreeSet::new();
        if self.faults.strikes(salesforce::CRM, Fault::Partial, &mut self.dice).is_some() && count > 1 {
            locked.insert(self.dice.below(count));
            locked.extend((0..count).filter(|_| self.dice.falls(0.5)));
        }
        if self.faults.strikes(salesforce::CRM, Fault::Lock, &mut self.dice).is_some() {
            locked.insert(self.dice.below(count));
        }
        locked
    }

    fn write(&mut self, write: Write, version: &str, locked: &BTreeSet<usize>, missing: bool, now: Time) -> Ended {
        let (way, collection) = (write.way, write.collection);
        let ran = self.org.write(write, locked, self.options.max_records, now);
        let reply = salesforce::reply_to_write(way, collection, version, &ran, missing);
        let whole = u64::from(ran.is_err());
        let records = salesforce::touched(ran.unwrap_or_default());
        let count = |results: &[&str]| {
            u64::try_from(records.iter().filter(|record| results.contains(&&*record.result)).count()).unwrap_or_default()
        };
        let (creates, updates) = (count(&["created"]), count(&["updated", "deleted"]));
        let refused = whole + u64::try_from(records.len()).unwrap_or_default() - creates - updates;
        self.stats.creates += creates;
        self.stats.updates += updates;
        Ended { reply: Some(reply), applied: creates + updates > 0, records, refused }
    }

    fn look(&mut self, what: What, version: &str) -> HttpReply {
        let read = match what {
            What::Read { object, by, fields } => self.org.read(version, &object, &by, fields.as_deref()),
            What::Query { query, text, from } => self.org.query(version, &query, &text, from),
            What::Describe { object } => self.org.describe(&object),
            What::Limits => {
                let of = self.options.daily_calls;
                Ok(HttpReply::json(200, &json!({"DailyApiRequests": {"Max": of, "Remaining": of.saturating_sub(self.calls_today)}})))
            }
            What::Versions => Ok(HttpReply::json(200, &json!([{"label": "Sandbox", "url": "/services/data/v68.0", "version": "68.0"}]))),
            What::Write(_) => Err(Refusal::not_found()),
        };
        read.unwrap_or_else(|refusal| refusal.reply())
    }

    /// Success with a body that nobody can read.
    fn garble(&mut self, reply: HttpReply) -> HttpReply {
        match self.dice.below(3) {
            0 => HttpReply::text(200, "text/html", "<html><body><h1>Down for maintenance</h1></body></html>"),
            1 => HttpReply::text(200, "application/json;charset=UTF-8", ""),
            _ => HttpReply { status: 200, body: reply.body[..reply.body.len() / 2].to_vec(), ..reply },
        }
    }

    fn log(&mut self, head: Head, ended: &mut Ended, at: Time) {
        self.stats.refused += ended.refused;
        self.last_seq += 1;
        let records = std::mem::take(&mut ended.records);
        self.touched += records.len();
        self.calls.push_back(CallView {
            seq: self.last_seq,
            at,
            crm: salesforce::CRM.into(),
            method: head.method,
            path: head.path,
            call: head.call,
            status: ended.reply.as_ref().map(|reply| reply.status),
            applied: ended.applied,
            records,
        });
        while self.calls.len() > MAX_CALLS || self.touched > MAX_TOUCHED {
            let Some(oldest) = self.calls.pop_front() else { return };
            self.touched -= oldest.records.len();
        }
    }
}
