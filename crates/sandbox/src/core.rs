//! The pretended CRM as a state machine: records, tokens, faults, late writes and the log of calls.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use model::Time;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::credentials::Sessions;
use crate::dialects::{self, Dialect, Kind, Meter, Meters, Reading, Refused, Request, Shelf, Tokens, World};
use crate::faults::{Dice, Fault, Faults};
use crate::http::{Exchange, HttpReply, HttpRequest};
use crate::hubspot::{self, Portal};
use crate::records::Row;
use crate::salesforce::{self, Refusal, What};
use crate::sheet::record_id;
use crate::surface;
use crate::writes::Org;

mod dialect;
mod kept;
mod views;

use dialect::{Budget, Look, Sent, Spoken, Work, Write};
pub(crate) use kept::Changes;
pub use views::{CallView, Options, RecordView, Stats, Touched};

/// Calls kept in the log.
const MAX_CALLS: usize = 100_000;
/// Records of calls kept in the log, over all calls.
const MAX_TOUCHED: usize = 250_000;
/// Bytes of a target that the log keeps.
const MAX_PATH_BYTES: usize = 2_048;
/// Late writes that may be under way; beyond that a write that should be late is applied at once, and still not answered.
const MAX_LATE: usize = 10_000;

/// A request that has been read, which takes no state and so no lock.
#[derive(Debug)]
pub(crate) struct Incoming {
    head: Head,
    ask: Asked,
}

#[derive(Debug)]
enum Asked {
    Surface(surface::Ask),
    Salesforce(salesforce::Ask),
    Hubspot(hubspot::Ask),
    Other { dialect: &'static dyn Dialect, request: Request, kind: Kind, credential: Option<String> },
}

/// A call to an API proper, read but not yet admitted.
struct Call {
    dialect: Spoken,
    bearer: Result<String, HttpReply>,
    work: Result<Work, HttpReply>,
    /// What it draws on, for the dialects that share a frame.
    meters: Vec<Meter>,
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
    #[serde(flatten)]
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
    portal: Portal,
    late: BTreeMap<(Time, u64), Late>,
    calls: VecDeque<CallView>,
    touched: usize,
    last_seq: u64,
    last_late: u64,
    salesforce: Budget,
    hubspot: Budget,
    shelf: Shelf,
    meters: Meters,
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
            portal: Portal::default(),
            late: BTreeMap::new(),
            calls: VecDeque::new(),
            touched: 0,
            last_seq: 0,
            last_late: 0,
            salesforce: Budget::default(),
            hubspot: Budget::default(),
            shelf: Shelf::default(),
            meters: Meters::default(),
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
        let ask = match (surface::read(request), dialects::owner(request.target)) {
            (Some(ask), _) => Asked::Surface(ask),
            (None, Some(dialect)) => {
                let kept = Request::kept(dialect, request);
                Asked::Other { dialect, kind: dialect.kind(&kept), request: kept, credential: dialect.credential(request) }
            }
            (None, None) if hubspot::owns(request.target) => Asked::Hubspot(hubspot::read(request)),
            (None, None) => Asked::Salesforce(salesforce::read(request)),
        };
        Incoming { head, ask }
    }

    /// Answers a request that has been read.
    pub(crate) fn take(&mut self, incoming: Incoming, now: Time) -> Exchange {
        self.advance(now);
        match incoming.ask {
            Asked::Surface(ask) => Exchange { reply: Some(surface::answer(self, ask, now)), latency: Duration::ZERO },
            Asked::Salesforce(salesforce::Ask::Token(grant)) => {
                self.call(incoming.head, Spoken::Salesforce, now, |core, _| core.token(grant, now))
            }
            Asked::Salesforce(salesforce::Ask::Api { version, bearer, what }) => {
                let work = what.map_err(|refusal| refusal.reply()).map(|what| match what {
                    What::Write(write) => Work::Write(Write::Salesforce { version, write }),
                    what @ (What::Read { .. } | What::Query { .. } | What::Describe { .. } | What::Limits | What::Versions) => {
                        Work::Look(Look::Salesforce { version, what })
                    }
                });
                let bearer = bearer.map_err(|refusal| refusal.reply());
                let call = Call { dialect: Spoken::Salesforce, bearer, work, meters: Vec::new() };
                self.call(incoming.head, call.dialect, now, |core, head| core.api(head, call, now))
            }
            Asked::Hubspot(hubspot::Ask { bearer, what }) => {
                let work = what.map_err(|refusal| refusal.reply()).map(|what| match what {
                    hubspot::What::Write(hubspot) => Work::Write(Write::Hubspot { hubspot }),
                    hubspot::What::Look(look) => Work::Look(Look::Hubspot(look)),
                });
                let bearer = bearer.map_err(|refusal| refusal.reply());
                let call = Call { dialect: Spoken::Hubspot, bearer, work, meters: Vec::new() };
                self.call(incoming.head, call.dialect, now, |core, head| core.api(head, call, now))
            }
            Asked::Other { dialect, request, kind, credential } => {
                let spoken = Spoken::Other(dialect);
                let meters = dialect.meters(&request, &kind, &self.options);
                let work = match kind {
                    Kind::Token => return self.call(incoming.head, spoken, now, |core, _| core.grant(dialect, &request, now)),
                    Kind::Look => Work::Look(Look::Other(dialect, request)),
                    Kind::Write { keys, batch } => Work::Write(Write::Other(Sent { dialect, request, keys, batch })),
                };
                let bearer = credential.ok_or_else(|| spoken.unknown_token(now));
                let call = Call { dialect: spoken, bearer, work: Ok(work), meters };
                self.call(incoming.head, spoken, now, |core, head| core.api(head, call, now))
            }
        }
    }

    /// Applies the late writes that are due, each at its own moment, in order.
    pub fn advance(&mut self, now: Time) {
        self.faults_since.get_or_insert(now);
        while let Some(entry) = self.late.first_entry().filter(|entry| entry.key().0 <= now) {
            let place = *entry.key();
            let at = place.0;
            let Late { head, write } = entry.remove();
            let dialect = write.dialect();
            if let Some(marks) = &mut self.marks {
                marks.landed.push(place);
            }
            let mut ended = self.write(write, &BTreeSet::new(), false, at);
            ended.reply = None;
            self.log(head, dialect, &mut ended, at);
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
        Stats { records: u64::try_from(self.org.live() + self.portal.live() + self.shelf.live()).unwrap_or(u64::MAX), ..self.stats }
    }

    /// Every record, deleted ones included, of one dialect and object or of all. A deleted record makes room for a new one of the same key.
    pub fn records(&self, crm: Option<&str>, object: Option<&str>) -> impl Iterator<Item = RecordView> {
        let wanted = move |name: &str| crm.is_none_or(|crm| crm == name);
        let (org, portal) = (wanted(salesforce::CRM), wanted(hubspot::CRM));
        let leads = self.org.rows(object).filter(move |_| org);
        let leads = leads.map(|(object, number, row)| view(salesforce::CRM, object.name, record_id(object, number), row));
        let contacts = self.portal.rows(object).filter(move |_| portal);
        let contacts = contacts.map(|(object, number, row)| view(hubspot::CRM, object, hubspot::record_id(number), row));
        let others = self.shelf.rows().filter(move |(dialect, kind, ..)| wanted(dialect) && object.is_none_or(|object| object == *kind));
        let others = others.filter_map(|(crm, object, number, row)| {
            let id = dialects::named(crm)?.record_id(object, number);
            Some(view(crm, object.to_owned(), id, row))
        });
        leads.chain(contacts).chain(others)
    }

    /// The calls after a sequence number, oldest first. The log keeps the last 100,000 calls, fewer if they carried many records.
    pub fn calls(&self, after: u64) -> impl Iterator<Item = &CallView> {
        let first = self.calls.front().map_or(u64::MAX, |call| call.seq);
        let skip = usize::try_from(after.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
        self.calls.iter().skip(skip)
    }

    fn call(&mut self, head: Head, dialect: Spoken, now: Time, answer: impl FnOnce(&mut Self, &Head) -> Ended) -> Exchange {
        self.stats.calls += 1;
        let mut latency = self.options.latency;
        let since = self.faults_since.unwrap_or(now);
        let mut ended = if self.faults.is_down(dialect.name(), since, now) {
            let cut = self.dice.falls(0.5);
            Ended::refused((!cut).then(|| dialect.unavailable(now)))
        } else {
            latency += self.faults.strikes(dialect.name(), Fault::Slow, &mut self.dice).unwrap_or_default();
            answer(self, &head)
        };
        self.log(head, dialect, &mut ended, now);
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

    /// The token endpoint of a dialect that shares the frame.
    fn grant(&mut self, dialect: &'static dyn Dialect, request: &Request, now: Time) -> Ended {
        let before = [Fault::Throttled, Fault::CutBefore, Fault::FailBefore];
        match self.faults.first(dialect.name(), &before, &mut self.dice) {
            Some((Fault::Throttled, wait)) => Ended::refused(Some(dialect.refuse(Refused::ThrottledToken { wait }, now))),
            Some((Fault::FailBefore, _)) => Ended::refused(Some(dialect.refuse(Refused::Broken, now))),
            Some(_) => Ended::refused(None),
            None => {
                let (credentials, life) = (&self.options.credentials, self.options.token_life);
                let mut tokens = Tokens { credentials, sessions: &mut self.sessions, dice: &mut self.dice, life, now };
                Ended::answered(dialect.grant(request, &mut tokens))
            }
        }
    }

    /// Draws on the budgets of a call: how they stand, in the dialects that share the frame, or the answer if one is used up.
    fn spend(&mut self, dialect: Spoken, meters: &[Meter], now: Time) -> Result<Vec<Reading>, HttpReply> {
        let over = match dialect {
            Spoken::Salesforce => self.salesforce.spend(false, &self.options, now),
            Spoken::Hubspot => self.hubspot.spend(true, &self.options, now),
            Spoken::Other(other) => {
                let spent = self.meters.spend(other.name(), meters, now);
                return spent.map_err(|(meter, wait)| other.refuse(Refused::Spent { meter, wait }, now));
            }
        };
        over.map_or(Ok(Vec::new()), Err)
    }

    fn api(&mut self, head: &Head, call: Call, now: Time) -> Ended {
        let Call { dialect, bearer, work, meters } = call;
        let token = match bearer {
            Ok(token) if self.sessions.accepts(&self.options.credentials, &token, now) => token,
            Ok(_) => return Ended::refused(Some(dialect.unknown_token(now))),
            Err(refusal) => return Ended::refused(Some(refusal)),
        };
        let readings = match self.spend(dialect, &meters, now) {
            Ok(readings) => readings,
            Err(refusal) => return Ended::refused(Some(self.gauge(dialect, &[], refusal))),
        };
        let before = [Fault::ExpiredToken, Fault::Throttled, Fault::Limit, Fault::CutBefore, Fault::FailBefore];
        if let Some((fault, span)) = self.faults.first(dialect.name(), &before, &mut self.dice) {
            let reply = self.refuse(dialect, fault, span, &token, now);
            let told =
                |reply| if fault == Fault::Limit || fault == Fault::FailBefore { self.gauge(dialect, &readings, reply) } else { reply };
            return Ended::refused(reply.map(told));
        }
        let ended = match work {
            Err(refusal) => Ended::refused(Some(refusal)),
            Ok(Work::Write(write)) => match self.write_or_not(head, write, now) {
                Ok(ended) => ended,
                Err(ended) => return Ended { reply: ended.reply.map(|reply| self.gauge(dialect, &readings, reply)), ..ended },
            },
            Ok(Work::Look(look)) => Ended::answered(self.look(look, now)),
        };
        let after = self.faults.first(dialect.name(), &[Fault::FailAfter, Fault::CutAfter, Fault::Garbage], &mut self.dice);
        let reply = match (after, ended.reply) {
            (Some((Fault::FailAfter, _)), _) => Some(dialect.broken(now)),
            (Some((Fault::Garbage, _)), Some(reply)) => Some(self.garble(reply)),
            (Some(_), _) => None,
            (None, reply) => reply,
        };
        Ended { reply: reply.map(|reply| self.gauge(dialect, &readings, reply)), ..ended }
    }

    /// Applies a write, with the faults that strike in the middle of it; `Err` is how the call ends if it is not applied now.
    fn write_or_not(&mut self, head: &Head, write: Write, now: Time) -> Result<Ended, Ended> {
        let dialect = write.dialect();
        if let Some(nothing) = dialect.nothing(&write)
            && self.faults.strikes(dialect.name(), Fault::Empty, &mut self.dice).is_some()
        {
            return Err(Ended::refused(Some(nothing)));
        }
        let late = self.faults.strikes(dialect.name(), Fault::Late, &mut self.dice);
        if let Some(span) = late.filter(|_| self.late.len() < MAX_LATE && write.keeps()) {
            return Err(self.postpone(head.clone(), write, now + span));
        }
        let locked = self.locked(&write);
        let missing = write.is_batch() && self.faults.strikes(dialect.name(), Fault::Missing, &mut self.dice).is_some();
        let ended = self.write(write, &locked, missing, now);
        Ok(if late.is_some() { Ended { reply: None, ..ended } } else { ended })
    }

    /// The answer of a fault that strikes before anything is applied.
    fn refuse(&mut self, dialect: Spoken, fault: Fault, span: Duration, token: &str, now: Time) -> Option<HttpReply> {
        match fault {
            Fault::ExpiredToken => {
                self.sessions.end(token, now);
                Some(dialect.expired(now))
            }
            Fault::Throttled => Some(dialect.throttled(span, now)),
            Fault::Limit => Some(dialect.crowded(now)),
            Fault::FailBefore => Some(dialect.broken(now)),
            Fault::Down
            | Fault::CutBefore
            | Fault::Empty
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

    fn gauge(&self, dialect: Spoken, readings: &[Reading], reply: HttpReply) -> HttpReply {
        match dialect {
            Spoken::Salesforce => self.salesforce.gauge_salesforce(&self.options, reply),
            Spoken::Hubspot => self.hubspot.gauge_hubspot(&self.options, reply),
            Spoken::Other(other) => other.gauge(readings, reply),
        }
    }

    fn postpone(&mut self, head: Head, write: Write, due: Time) -> Ended {
        let records = write.keys().into_iter().map(|key| Touched { key, result: "late".into() }).collect();
        self.last_late += 1;
        self.late.insert((due, self.last_late), Late { head, write });
        if let Some(marks) = &mut self.marks {
            marks.postponed.push((due, self.last_late));
        }
        Ended { reply: None, applied: false, records, refused: 0 }
    }

    /// The places of the records that meet a lock.
    fn locked(&mut self, write: &Write) -> BTreeSet<usize> {
        let (count, dialect) = (write.len(), write.dialect().name());
        let mut locked = BTreeSet::new();
        if self.faults.strikes(dialect, Fault::Partial, &mut self.dice).is_some() && count > 1 {
            locked.insert(self.dice.below(count));
            locked.extend((0..count).filter(|_| self.dice.falls(0.5)));
        }
        if self.faults.strikes(dialect, Fault::Lock, &mut self.dice).is_some() {
            locked.insert(self.dice.below(count));
        }
        locked
    }

    fn write(&mut self, write: Write, locked: &BTreeSet<usize>, missing: bool, now: Time) -> Ended {
        let room = self.options.max_records;
        let (reply, whole, records) = match write {
            Write::Salesforce { version, write } => {
                let (way, collection) = (write.way, write.collection);
                let ran = self.org.write(write, locked, room.saturating_sub(self.portal.held() + self.shelf.held()), now);
                let reply = salesforce::reply_to_write(way, collection, &version, &ran, missing);
                (reply, ran.is_err(), salesforce::touched(ran.unwrap_or_default()))
            }
            Write::Hubspot { hubspot } => {
                let (way, single) = (hubspot.way, hubspot.single);
                let ran = self.portal.write(hubspot, locked, room.saturating_sub(self.org.held() + self.shelf.held()), now);
                let reply = hubspot::reply_to_write(way, single, &ran, missing);
                (reply, ran.is_err(), hubspot::touched(ran.unwrap_or_default()))
            }
            Write::Other(Sent { dialect, request, .. }) => {
                let room = room.saturating_sub(self.org.held() + self.portal.held());
                let answer = dialect.answer(&request, &mut World::new(&mut self.shelf, dialect.name(), locked, missing, room, now));
                (answer.reply.clone(), answer.reply.status >= 400 && answer.records.is_empty(), answer.records)
            }
        };
        let count = |results: &[&str]| {
            u64::try_from(records.iter().filter(|record| results.contains(&&*record.result)).count()).unwrap_or_default()
        };
        let (creates, updates) = (count(&["created"]), count(&["updated", "deleted"]));
        let fine = creates + updates + count(&["unchanged"]);
        let refused = u64::from(whole) + u64::try_from(records.len()).unwrap_or_default() - fine;
        self.stats.creates += creates;
        self.stats.updates += updates;
        Ended { reply: Some(reply), applied: creates + updates > 0, records, refused }
    }

    fn look(&mut self, look: Look, now: Time) -> HttpReply {
        let (version, what) = match look {
            Look::Other(dialect, request) => {
                let nothing = BTreeSet::new();
                return dialect.answer(&request, &mut World::new(&mut self.shelf, dialect.name(), &nothing, false, 0, now)).reply;
            }
            Look::Hubspot(look) => return self.portal.look(look).unwrap_or_else(|refusal| refusal.reply()),
            Look::Salesforce { version, what } => (version, what),
        };
        let read = match what {
            What::Read { object, by, fields } => self.org.read(&version, &object, &by, fields.as_deref()),
            What::Query { query, text, from } => self.org.query(&version, &query, &text, from),
            What::Describe { object } => self.org.describe(&object),
            What::Limits => {
                let (of, used) = (self.options.daily_calls, self.salesforce.calls_today);
                Ok(HttpReply::json(200, &json!({"DailyApiRequests": {"Max": of, "Remaining": of.saturating_sub(used)}})))
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

    fn log(&mut self, head: Head, dialect: Spoken, ended: &mut Ended, at: Time) {
        self.stats.refused += ended.refused;
        self.last_seq += 1;
        let records = std::mem::take(&mut ended.records);
        self.touched += records.len();
        self.calls.push_back(CallView {
            seq: self.last_seq,
            at,
            crm: dialect.name().into(),
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

fn view(crm: &'static str, object: impl Into<Cow<'static, str>>, id: String, row: &Row) -> RecordView {
    RecordView {
        crm: crm.into(),
        object: object.into(),
        id,
        key: row.key(),
        fields: row.fields.iter().map(|(name, value)| (name.to_string(), value.clone())).collect(),
        creates: row.creates,
        writes: row.writes,
        deleted: row.deleted,
    }
}
