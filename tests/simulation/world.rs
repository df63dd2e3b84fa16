//! One world: vendors, an ingest, workers, a CRM and time, moved by dice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::Dice;
use ingest::{Door, Limits};
use model::route::Routes;
use model::seal::{SealingKey, SealingKeys};
use model::{DeliveryId, EventId, Received, Time};
use queue::Queue;
use sandbox::{Core, Faults};
use store::{Call, Finished, Reopen, Reopened, Store};
use worker::{Engine, Target};

use crate::check::Checker;
use crate::setup::{configuration, crm, dialect, faults, gate, target};
use crate::shelf::{self, Shelf, Thing};

pub const DESTINATION: &str = "crm";
pub const SECRET: &str = "a secret of these worlds";
const STEPS: usize = 280;
/// When the oldest things were said.
const LONG_AGO: i64 = 1_789_000_000;
pub const LATE_WINDOW: Duration = Duration::from_secs(300);

/// What a vendor means to say; the independent model of the merge reads nothing else.
#[derive(Clone, Debug)]
pub struct Said {
    pub source: &'static str,
    pub trust: u8,
    pub id: u64,
    pub person: u64,
    pub occurred_at: Time,
    pub fields: BTreeMap<&'static str, String>,
    /// The vendor says only which of its objects it is about.
    pub object: Option<u64>,
    pub accepted: Option<EventId>,
}

/// What happened over many worlds: a workload that never meets a fault proves nothing.
#[derive(Debug, Default)]
pub struct Tally {
    pub events: u64,
    pub duplicates: u64,
    pub calls: u64,
    pub crashes: u64,
    pub late_results: u64,
    pub doubts: u64,
    pub verified: u64,
    pub late_writes: u64,
    pub not_sent: u64,
    pub breakers: u64,
    pub dead_letters: u64,
    pub replays: u64,
    pub replays_in_flight: u64,
    pub superseded: u64,
    pub coalesced: u64,
    pub fetches: u64,
    pub shared_fetches: u64,
    pub gone: u64,
    pub torn: u64,
}

macro_rules! each {
    ($tally:ident, $other:ident, $($field:ident),*) => {{ $($tally.$field += $other.$field;)* }};
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        each!(
            self,
            other,
            events,
            duplicates,
            calls,
            crashes,
            late_results,
            doubts,
            verified,
            late_writes,
            not_sent,
            breakers,
            dead_letters,
            replays,
            replays_in_flight,
            superseded,
            coalesced,
            fetches,
            shared_fetches,
            gone,
            torn
        );
    }

    /// Each of these must have happened, else the worlds are too tame.
    pub fn assert_lively(&self) {
        let happened = [
            ("events", self.events),
            ("duplicates", self.duplicates),
            ("crashes", self.crashes),
            ("results behind a newer fence", self.late_results),
            ("records in doubt", self.doubts),
            ("verifications", self.verified),
            ("late writes", self.late_writes),
            ("calls past their deadline", self.not_sent),
            ("open breakers", self.breakers),
            ("dead letters", self.dead_letters),
            ("replays", self.replays),
            ("replays refused in flight", self.replays_in_flight),
            ("superseded deliveries", self.superseded),
            ("coalesced deliveries", self.coalesced),
            ("fetches", self.fetches),
            ("fetches for several events", self.shared_fetches),
            ("objects that are gone", self.gone),
            ("objects that cannot be read", self.torn),
        ];
        for (what, count) in happened {
            assert!(count > 0, "no world saw {what}");
        }
    }
}

/// A call in a worker's hands.
struct InHand {
    /// Its place among the targets.
    target: usize,
    call: Call,
    /// By the worker's own clock, which only goes forward.
    claimed_at: Duration,
    finished: Option<Finished>,
}

struct Worker {
    engine: Engine,
    in_hand: Vec<InHand>,
}

pub struct World {
    pub seed: u64,
    pub dice: Dice,
    tell: bool,
    pub store: Store,
    door: Door,
    pub crm: Arc<Mutex<Core>>,
    /// Our wall clock, which jumps.
    now: Arc<Mutex<Time>>,
    /// The CRM's, which does not.
    crm_now: Arc<Mutex<Time>>,
    elapsed: Duration,
    workers: Vec<Worker>,
    births: u64,
    /// The CRM, and the sources that are asked for objects.
    targets: Vec<Arc<Target>>,
    pub shelves: BTreeMap<&'static str, Arc<Mutex<Shelf>>>,
    routes: Arc<Routes>,
    pub said: Vec<Said>,
    people: u64,
    rejects: bool,
    checker: Checker,
    pub tally: Tally,
}

impl World {
    pub fn new(seed: u64, tell: bool) -> Self {
        let mut dice = Dice::new(seed);
        let now = Arc::new(Mutex::new(Time::from_seconds(1_790_000_000)));
        let crm_now = Arc::new(Mutex::new(Time::from_seconds(1_790_000_000)));
        let faults = faults(&mut dice);
        if tell {
            println!("world {seed}, {}, faults {faults}", dialect(seed).kind.as_str());
        }
        let crm = Arc::new(Mutex::new(crm(dialect(seed), seed, &faults, *crm_now.lock().unwrap())));
        let store = Store::memory();
        let (routes, sources) = configuration(dialect(seed));
        let mut targets = vec![Arc::new(target(dialect(seed), &mut dice, &crm, &crm_now))];
        let mut shelves = BTreeMap::new();
        for (name, source) in ["forms", "billing"].into_iter().zip(&sources) {
            let shelf = Arc::new(Mutex::new(Shelf::new(Dice::new(dice.roll()))));
            targets.push(Arc::new(shelf::target(Arc::clone(source), &mut dice, &shelf)));
            shelves.insert(name, shelf);
        }
        let keys = SealingKeys::new(vec![SealingKey::new(&[7; 32])]).unwrap();
        let gates = sources.into_iter().map(|source| (source.name.clone(), gate(source))).collect();
        let clock = Arc::clone(&now);
        let door = Door {
            gates,
            routes: Arc::clone(&routes),
            identifier_trust: BTreeMap::new(),
            hash_key: keys.hash_key("idempotency"),
            keys,
            store: store.clone(),
            queue: Queue::embedded(),
            now: Arc::new(move || *clock.lock().unwrap()),
            proxies: Vec::new(),
            visit: None,
            limits: Limits::default(),
        };
        let people = 1 + dice.below(6);
        let rejects = dice.chance(0.3);
        let workers = 1 + dice.below(3);
        let mut world = Self {
            seed,
            dice,
            tell,
            store,
            door,
            crm,
            now,
            crm_now,
            elapsed: Duration::ZERO,
            workers: Vec::new(),
            births: 0,
            targets,
            shelves,
            routes,
            said: Vec::new(),
            people,
            rejects,
            checker: Checker::default(),
            tally: Tally::default(),
        };
        for _ in 0..workers {
            let worker = world.born();
            world.workers.push(worker);
        }
        world
    }

    fn born(&mut self) -> Worker {
        self.births += 1;
        let engine = Engine {
            store: self.store.clone(),
            routes: Arc::clone(&self.routes),
            targets: Arc::new(self.targets.iter().map(|target| (target.name.clone(), Arc::clone(target))).collect()),
            holder: format!("worker-{}", self.births),
        };
        Worker { engine, in_hand: Vec::new() }
    }

    pub fn now(&self) -> Time {
        *self.now.lock().unwrap()
    }

    fn note(&self, text: impl FnOnce() -> String) {
        if self.tell {
            println!("{} {}", self.now(), text());
        }
    }

    /// Lives through the troubles, then lets everything come to rest, and checks what must hold.
    pub async fn live(mut self) -> Tally {
        let names: Vec<&str> = self.targets.iter().map(|target| target.name.as_str()).collect();
        self.store.begin_work(self.now(), &[], &names, &[]).await.unwrap();
        for _ in 0..STEPS {
            self.step().await;
            self.tally.doubts += self.checker.each_step(&self.store.tables().await.unwrap(), self.now());
        }
        self.come_to_rest().await;
        let (tables, crm) = (self.store.tables().await.unwrap(), Arc::clone(&self.crm));
        self.tally.late_writes = crm.lock().unwrap().calls(0).filter(|call| call.status.is_none() && call.applied).count() as u64;
        self.checker.at_rest(&self, &tables, &crm.lock().unwrap());
        drop(tables);
        self.tally
    }

    async fn step(&mut self) {
        match self.dice.below(100) {
            0..=13 => self.vendor_sends().await,
            14..=43 => self.worker_advances().await,
            44..=73 => self.worker_calls().await,
            74..=93 => self.time_passes(),
            94 => self.worker_dies(),
            95..=96 => self.operator_replays().await,
            97 => self.operator_pauses().await,
            98 => self.clock_jumps(),
            _ => {
                let names: Vec<&str> = self.targets.iter().map(|target| target.name.as_str()).collect();
                drop(self.store.sweep(self.now(), &names).await.unwrap());
            }
        }
    }

    /// One to four requests in one batch: new ones, and ones that were sent before.
    async fn vendor_sends(&mut self) {
        let mut places = Vec::new();
        for _ in 0..=self.dice.below(4) {
            if self.said.is_empty() || self.dice.chance(0.7) {
                self.say();
                places.push(self.said.len() - 1);
            } else {
                places.push(self.dice.below(self.said.len() as u64) as usize);
            }
        }
        self.send(&places, 0.1).await;
    }

    fn say(&mut self) {
        let (source, trust) = if self.dice.chance(0.5) { ("forms", 50) } else { ("billing", 80) };
        let id = self.said.len() as u64;
        let old = Time::from_seconds(LONG_AGO + self.dice.below(300) as i64);
        let recent = self.now() - Duration::from_secs(self.dice.below(4) * 60);
        let occurred_at = if self.dice.chance(0.3) { old } else { recent };
        let mut fields = BTreeMap::new();
        // Now and then a value that the CRM refuses for ever.
        if self.rejects && self.dice.chance(0.1) {
            fields.insert("job_title", "x".repeat(300));
        } else {
            for field in ["job_title", "city", "utm_source"] {
                if self.dice.chance(0.6) {
                    fields.insert(field, format!("{field} {}", self.dice.below(5)));
                }
            }
        }
        let person = self.dice.below(self.people);
        let said = Said { source, trust, id, person, occurred_at, fields, object: None, accepted: None };
        let said = if self.dice.chance(0.33) { self.point(said) } else { said };
        self.said.push(said);
    }

    /// The same as an id: of an object that is there already and now says something else, of a new one, or of one that is not there.
    fn point(&mut self, said: Said) -> Said {
        let mut shelf = self.shelves[said.source].lock().unwrap();
        let things: Vec<u64> = shelf.things.keys().copied().collect();
        // Two changes never happen at one moment, and none at the moment of a whole event.
        let updated_at = Time(Time::from_seconds(LONG_AGO + said.id as i64).0 + 1 + said.id as i64);
        let mut fields = said.fields.clone();
        fields.retain(|_, value| value.len() <= 255);
        if !things.is_empty() && self.dice.chance(0.5) {
            let object = things[self.dice.below(things.len() as u64) as usize];
            let thing = shelf.things.get_mut(&object).unwrap();
            thing.fields.extend(fields);
            thing.updated_at = updated_at;
            return Said { person: thing.person, object: Some(object), ..said };
        }
        let object = 1_000 + said.id;
        if self.dice.chance(0.1) {
            self.tally.gone += 1;
        } else {
            let torn = self.dice.chance(0.1);
            self.tally.torn += u64::from(torn);
            shelf.things.insert(object, Thing { person: said.person, updated_at, fields, torn });
        }
        Said { object: Some(object), ..said }
    }

    async fn send(&mut self, places: &[usize], unheard: f64) {
        let now = self.now();
        let mut batch = Vec::new();
        for &place in places {
            let said = &self.said[place];
            let gate = &self.door.gates[said.source];
            let data: serde_json::Map<String, serde_json::Value> =
                said.fields.iter().map(|(field, value)| ((*field).to_owned(), value.clone().into())).collect();
            let pointer =
                |object| serde_json::json!({ "type": "pointer", "id": said.id, "at": said.occurred_at.to_string(), "object": object });
            let whole = || {
                serde_json::json!({ "type": "lead", "id": said.id, "at": said.occurred_at.to_string(), "person": said.person,
                "email": format!("person{}@example.com", said.person), "data": data })
            };
            let body = said.object.map_or_else(whole, pointer).to_string().into_bytes();
            let target = format!("/webhooks/{}", said.source);
            let unsigned = Received { method: "POST", target: &target, headers: &[], body: &body };
            let headers: Vec<(String, Vec<u8>)> =
                gate.verifier.sign(&unsigned, now).unwrap().headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
            let received = Received { headers: &headers, ..unsigned };
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&self.dice.roll().to_le_bytes());
            batch.push(self.door.admit(gate, &received, now, nonce).unwrap().intake);
        }
        let committed = self.store.accept(now, &batch).await.unwrap();
        // The answer gets lost: the vendor does not know, and sends again some time.
        let heard = !self.dice.chance(unheard);
        for (&place, answers) in places.iter().zip(&committed.answers) {
            let answer = &answers[0];
            self.note(|| {
                format!(
                    "{} says {} of person {}: {:?}",
                    self.said[place].source, self.said[place].id, self.said[place].person, answer.status
                )
            });
            self.tally.duplicates += u64::from(answer.status == store::Disposition::Duplicate);
            self.tally.events += u64::from(answer.status == store::Disposition::Accepted);
            self.checker.answered(&self.said[place], answer);
            if heard {
                self.said[place].accepted = Some(answer.id);
            }
        }
    }

    /// Settles and claims; the worker may die before it hears that the transaction was committed.
    async fn worker_advances(&mut self) {
        let place = self.dice.below(self.workers.len() as u64) as usize;
        let target = match self.dice.below(10) {
            0..=5 => 0,
            other => 1 + other as usize % 2,
        };
        self.advance(place, target, 0.02).await;
    }

    async fn advance(&mut self, place: usize, target: usize, dies: f64) -> bool {
        let now = self.now();
        let worker = &mut self.workers[place];
        let finished: Vec<Finished> =
            worker.in_hand.iter_mut().filter(|held| held.target == target).filter_map(|held| held.finished.take()).collect();
        worker.in_hand.retain(|held| !finished.iter().any(|finished| finished.call.id == held.call.id));
        let engine = worker.engine.clone();
        let mut dice = Dice::new(self.dice.roll());
        let calls_max = 1 + self.dice.below(3) as u32;
        let mut chance = || dice.unit();
        let advanced = engine.advance(&self.targets[target], &finished, calls_max, now, &mut chance).await.unwrap();
        let progress = !finished.is_empty() || !advanced.calls.is_empty() || !advanced.ended.is_empty();
        self.tally.late_results += advanced.late;
        self.tally.breakers += u64::from(advanced.destination.state(now) == "breaker_open");
        for ended in &advanced.ended {
            self.tally.dead_letters += u64::from(ended.dead.is_some());
            self.tally.superseded += u64::from(ended.outcome == "superseded");
            self.note(|| format!("{} ends {}", ended.delivery, ended.outcome));
        }
        for call in &advanced.calls {
            self.tally.calls += 1;
            self.tally.verified += u64::from(call.kind == store::Kind::Verify);
            for entry in &call.entries {
                match &entry.claim.step {
                    model::protocol::Step::Push(push) => self.tally.coalesced += u64::from(push.shares.len() > 1),
                    model::protocol::Step::Fetch(look) => {
                        self.tally.fetches += 1;
                        self.tally.shared_fetches += u64::from(look.deliveries.len() > 1);
                    }
                    model::protocol::Step::Adopt | model::protocol::Step::Verify => {}
                }
            }
            self.note(|| {
                let entries: Vec<String> = call.entries.iter().map(|entry| format!("{} f{}", entry.key, entry.claim.fence)).collect();
                format!("worker {place} claims {} {} of {entries:?}", call.kind.as_str(), call.id)
            });
        }
        let claimed_at = self.elapsed;
        self.workers[place].in_hand.extend(advanced.calls.into_iter().map(|call| InHand { target, call, claimed_at, finished: None }));
        if self.dice.chance(dies) {
            self.die(place);
        }
        progress
    }

    /// Makes one of the calls that a worker holds. It may have waited long.
    async fn worker_calls(&mut self) {
        let place = self.dice.below(self.workers.len() as u64) as usize;
        if self.call(place).await && self.dice.chance(0.02) {
            self.die(place);
        }
    }

    async fn call(&mut self, place: usize) -> bool {
        let worker = &self.workers[place];
        let waiting: Vec<usize> = (0..worker.in_hand.len()).filter(|&held| worker.in_hand[held].finished.is_none()).collect();
        let Some(&held) = waiting.get(self.dice.below(waiting.len().max(1) as u64) as usize) else { return false };
        let in_hand = &worker.in_hand[held];
        let (call, waited) = (in_hand.call.clone(), self.elapsed.saturating_sub(in_hand.claimed_at));
        let finished = worker.engine.perform(&self.targets[in_hand.target], call, waited, self.now()).await;
        let all_not_sent =
            matches!(&finished.result, Ok(results) if results.iter().all(|result| matches!(result, Ok(model::protocol::Found::NotSent))));
        self.tally.not_sent += u64::from(all_not_sent);
        self.note(|| format!("worker {place} makes {}: {:?}", finished.call.id, finished.result.as_ref().map_err(|failure| &failure.code)));
        self.workers[place].in_hand[held].finished = Some(finished);
        true
    }

    fn time_passes(&mut self) {
        let span = match self.dice.below(10) {
            0..=4 => Duration::from_millis(self.dice.below(2_000)),
            5..=7 => Duration::from_millis(self.dice.below(20_000)),
            8 => Duration::from_secs(self.dice.below(100)),
            _ => Duration::from_secs(self.dice.below(400)),
        };
        self.pass(span);
    }

    fn pass(&mut self, span: Duration) {
        self.elapsed += span;
        let mut now = self.now.lock().unwrap();
        *now = *now + span;
        let mut crm_now = self.crm_now.lock().unwrap();
        *crm_now = *crm_now + span;
        self.crm.lock().unwrap().advance(*crm_now);
    }

    /// The wall clock alone: back by up to an hour, or a little forward. Workers' own clocks do not notice.
    fn clock_jumps(&mut self) {
        let mut now = self.now.lock().unwrap();
        *now = if self.dice.chance(0.5) {
            *now - Duration::from_secs(self.dice.below(3_600))
        } else {
            *now + Duration::from_secs(self.dice.below(30))
        };
    }

    fn worker_dies(&mut self) {
        let place = self.dice.below(self.workers.len() as u64) as usize;
        self.die(place);
    }

    fn die(&mut self, place: usize) {
        self.tally.crashes += 1;
        self.note(|| format!("worker {place} dies with {} calls in hand", self.workers[place].in_hand.len()));
        self.workers[place] = self.born();
    }

    async fn operator_replays(&mut self) {
        let ids: Vec<DeliveryId> = self.store.tables().await.unwrap().deliveries.keys().copied().collect();
        let dead: Vec<DeliveryId> = self.store.tables().await.unwrap().dead_letters.keys().copied().collect();
        let among = if dead.is_empty() || self.dice.chance(0.3) { ids } else { dead };
        let Some(&delivery) = among.get(self.dice.below(among.len().max(1) as u64) as usize) else { return };
        let replay = Reopen { delivery, event: None, edited: None };
        let (result, _) = self.store.reopen(self.now(), "operator", "a world's dice", &replay).await.unwrap();
        self.note(|| format!("an operator replays {delivery}: {result:?}"));
        match result {
            Reopened::Reopened { .. } => self.tally.replays += 1,
            Reopened::InFlight { .. } => self.tally.replays_in_flight += 1,
            Reopened::Replaced { .. } | Reopened::StillDead { .. } | Reopened::NotFound => {
                panic!("a replay of {delivery} came to {result:?}")
            }
        }
    }

    async fn operator_pauses(&mut self) {
        let now = self.now();
        let name = self.targets[self.dice.below(self.targets.len() as u64) as usize].name.clone();
        if self.dice.chance(0.5) {
            assert!(self.store.pause(now, "operator", &name, "a world's dice").await.unwrap());
        } else {
            assert!(self.store.resume(now, "operator", &name, "a world's dice").await.unwrap());
        }
    }

    /// The troubles end: the CRM is well, what may land late lands, workers do what is due until nothing is.
    async fn come_to_rest(&mut self) {
        self.note(|| "the troubles end".to_owned());
        let unheard: Vec<usize> = (0..self.said.len()).filter(|&place| self.said[place].accepted.is_none()).collect();
        for place in unheard {
            self.send(&[place], 0.0).await;
        }
        self.crm.lock().unwrap().set_faults(Faults::default(), *self.crm_now.lock().unwrap());
        for target in &self.targets {
            self.store.resume(self.now(), "operator", &target.name, "the end").await.unwrap();
        }
        self.shelves.values().for_each(|shelf| shelf.lock().unwrap().moody = false);
        for round in 0..4_000 {
            let mut progress = false;
            for place in 0..self.workers.len() {
                while self.call(place).await {
                    progress = true;
                }
                for target in 0..self.targets.len() {
                    progress |= self.advance(place, target, 0.0).await;
                }
            }
            if progress {
                continue;
            }
            let next = {
                let tables = self.store.tables().await.unwrap();
                let open = tables.deliveries.values().any(|delivery| delivery.state == store::rows::DeliveryState::Open);
                let next = tables.records.values().filter_map(|entry| {
                    // What is due and not claimed waits for its destination.
                    let destination = &tables.destinations[&entry.destination];
                    let pause = destination.throttled_until.max(destination.open_until).filter(|until| *until > self.now());
                    entry.record.wake_at.map(|next| if next <= self.now() { pause.unwrap_or(next) } else { next })
                });
                let next = next.min();
                assert!(!(open && next.is_none()), "world {}: an open delivery whose record sleeps", self.seed);
                next
            };
            let late = self.crm.lock().unwrap().next_due().map(|at| self.now() + at.since(*self.crm_now.lock().unwrap()));
            let Some(next) = next.into_iter().chain(late).min() else { return };
            if round == 3_999 {
                let tables = self.store.tables().await.unwrap();
                panic!("world {} does not come to rest at {}: {:#?} {:#?}", self.seed, self.now(), tables.destinations, tables.records);
            }
            self.pass(next.since(self.now()).max(Duration::from_millis(50)));
        }
    }
}
