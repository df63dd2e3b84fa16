//! Random scripts, run on every arm side by side: the same answers, the same rows, and the invariants of protocol.md after each step.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::event::Mode;
use model::protocol::{Found, Outcome, Present, Step, Written};
use model::quota::{Lane, Usage};
use model::record::State;
use model::schedule::Schedule;
use model::{Class, DeliveryId, Failure, Reason, Scope, Time};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;
use store::rows::DeliveryState;
use store::{Call, Finished, Reopen};

use crate::support::{Answer, Arm, DESTINATIONS, Draft, FIELDS, Ledger, Seen, failure, lead};

/// One step of a script. Numbers are taken modulo what there is to choose from.
#[derive(Clone, Debug)]
enum Deed {
    Accept(Vec<Small>, Lane),
    Advance,
    /// An open call comes back, and the next is claimed in the same step or not; perhaps it stays open and comes back again.
    ComeBack {
        call: usize,
        answers: u64,
        claims: bool,
        again: bool,
    },
    Pass(u64),
    LeasesEnd,
    Reopen {
        which: usize,
        how: u8,
    },
    Resolve(usize),
    Assign(usize),
    Pause,
    Resume,
    Sweep,
}

/// A small event: five keys, three records.
#[derive(Clone, Debug)]
struct Small {
    key: u8,
    person: u8,
    content: u8,
    mode: Mode,
    object: &'static str,
    trust: u8,
    at: i64,
    fate: u8,
}

impl Small {
    fn draft(&self) -> Draft {
        let mut draft =
            lead(&format!("k{}", self.key), &format!("{}", self.person)).to(self.object, self.mode).trust(self.trust).at(self.at);
        if self.content & 1 != 0 {
            draft = draft.says("city", format!("city-{}", self.content));
        }
        if self.content & 2 != 0 {
            draft = draft.says("company", format!("company-{}", self.content)).email(&format!("p{}@example.com", self.person % 2));
        }
        match self.fate {
            0 => draft.ignored(),
            1 => draft.dead(Reason::Unmapped),
            2 => draft.and_to("crm", "Account"),
            3 => draft.anonymous().email("p0@example.com"),
            4 => draft.mapped_by("2"),
            _ => draft,
        }
    }
}

fn small() -> impl Strategy<Value = Small> {
    let mode = prop_oneof![4 => Just(Mode::Upsert), 1 => Just(Mode::UpdateOnly), 1 => Just(Mode::CreateOnly)];
    let object = prop_oneof![3 => Just("Contact"), 1 => Just("Lead")];
    let trust = prop_oneof![3 => Just(50u8), 1 => Just(95), 1 => Just(40)];
    (0..5u8, 0..3u8, 0..4u8, mode, object, trust, 0..4i64, 0..20u8)
        .prop_map(|(key, person, content, mode, object, trust, at, fate)| Small { key, person, content, mode, object, trust, at, fate })
}

fn lane() -> impl Strategy<Value = Lane> {
    prop_oneof![1 => Just(Lane::Action), 4 => Just(Lane::Fresh), 1 => Just(Lane::Replay), 2 => Just(Lane::CatchUp)]
}

fn deed() -> impl Strategy<Value = Deed> {
    let come_back = (any::<usize>(), any::<u64>(), any::<bool>(), prop::bool::weighted(0.1))
        .prop_map(|(call, answers, claims, again)| Deed::ComeBack { call, answers, claims, again });
    let pass = prop_oneof![Just(0u64), 1..8u64, 50..90u64, 250..400u64];
    prop_oneof![
        12 => (prop::collection::vec(small(), 1..4), lane()).prop_map(|(events, lane)| Deed::Accept(events, lane)),
        12 => Just(Deed::Advance),
        24 => come_back,
        10 => pass.prop_map(Deed::Pass),
        2 => Just(Deed::LeasesEnd),
        6 => (any::<usize>(), 0..7u8).prop_map(|(which, how)| Deed::Reopen { which, how }),
        1 => any::<usize>().prop_map(Deed::Resolve),
        1 => any::<usize>().prop_map(Deed::Assign),
        1 => Just(Deed::Pause),
        3 => Just(Deed::Resume),
        1 => Just(Deed::Sweep),
    ]
}

/// One arm in the middle of a script.
struct Side {
    ledger: Ledger,
    open: Vec<Call>,
    seen: Seen,
}

impl Side {
    /// Does it, and says what came of it.
    async fn act(&mut self, deed: &Deed) -> String {
        let (store, now) = (self.ledger.store.clone(), self.ledger.now);
        match deed {
            Deed::Accept(events, lane) => {
                self.ledger.lane = *lane;
                let batch: Vec<_> = events.iter().map(|small| self.ledger.request(&[small.draft()])).collect();
                format!("{:?}", store.accept(now, &batch).await)
            }
            Deed::Advance => self.advance(&[], true).await,
            Deed::ComeBack { call, answers, claims, again } => {
                if self.open.is_empty() {
                    return self.advance(&[], *claims).await;
                }
                let place = call % self.open.len();
                let call = if *again { self.open[place].clone() } else { self.open.remove(place) };
                self.advance(&[result(&call, *answers, now)], *claims).await
            }
            Deed::Pass(seconds) => {
                self.ledger.pass(Duration::from_secs(*seconds) + Duration::from_millis(3));
                String::new()
            }
            Deed::LeasesEnd => {
                self.ledger.pass(self.ledger.policy.lease());
                self.advance(&[], true).await
            }
            Deed::Reopen { which, how } => {
                let Some(delivery) = pick(&self.seen, *which) else { return String::new() };
                let draft = lead("ignored here", "2").says("city", "Rome").mapped_by("3");
                let draft = match how {
                    0 => draft,
                    1 => lead("ignored here", "7").says("city", "Rome").mapped_by("3"),
                    2 => draft.dead(Reason::Unparseable),
                    3 => draft.anonymous(),
                    _ => return format!("{:?}", store.reopen(now, "ada", "again", &Reopen { delivery, event: None, edited: None }).await),
                };
                let event = Some(draft.event(&store, &self.ledger.routes, now));
                format!("{:?}", store.reopen(now, "ada", "mapped anew", &Reopen { delivery, event, edited: None }).await)
            }
            Deed::Resolve(which) => match pick(&self.seen, *which) {
                Some(id) => format!("{:?}", store.resolve(now, "ada", id, "by hand").await),
                None => String::new(),
            },
            Deed::Assign(which) => match pick(&self.seen, *which) {
                Some(id) => format!("{:?}", store.assign(now, "ada", id, "bob", "his").await),
                None => String::new(),
            },
            Deed::Pause => format!("{:?}", store.pause(now, "ada", "crm", "maintenance").await),
            Deed::Resume => format!("{:?}", store.resume(now, "ada", "crm", "done").await),
            Deed::Sweep => format!("{:?}", store.sweep(now, &DESTINATIONS).await),
        }
    }

    async fn advance(&mut self, finished: &[Finished], claims: bool) -> String {
        let advanced = if claims { self.ledger.advance(finished).await } else { self.ledger.settle(finished).await };
        for call in &advanced.calls {
            assert!(call.entries.len() <= self.ledger.group_limit, "I15: too many records in a call");
        }
        let live = self.seen.leases.values().filter(|(_, until)| *until > self.ledger.now).count();
        assert!(live + advanced.calls.len() <= self.ledger.policy.concurrency as usize + finished.len(), "I15: too many calls at once");
        self.open.extend(advanced.calls.iter().cloned());
        format!("{advanced:?}")
    }
}

/// Any delivery, the dead ones more often.
fn pick(seen: &Seen, which: usize) -> Option<DeliveryId> {
    let dead: Vec<_> = seen.dead_letters.keys().collect();
    let all: Vec<_> = seen.deliveries.keys().collect();
    let from = if dead.is_empty() || which.is_multiple_of(4) { all } else { dead };
    (!from.is_empty()).then(|| *from[which / 4 % from.len()])
}

/// A call's result, made from a number: mostly good, sometimes anything.
fn result(call: &Call, answers: u64, now: Time) -> Finished {
    let mut number = answers;
    let mut draw = |of: u64| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (number >> 33) % of
    };
    let whole = match draw(24) {
        0 => Some(Failure::new(Class::Unknown, Scope::Call, "timeout", "no answer")),
        1 => Some(failure(Class::Permanent, Scope::Call)),
        2 => Some(Failure { retry_after: Some(Duration::from_secs(7)), ..failure(Class::Throttled, Scope::Destination) }),
        3 => Some(failure(Class::Auth, Scope::Destination)),
        4 => Some(failure(Class::Retryable, Scope::Destination)),
        5 => Some(failure(Class::Unknown, Scope::Destination)),
        _ => None,
    };
    let mut items: Vec<Answer> = call.entries.iter().map(|entry| item(&entry.claim.step, draw(18), draw(4), now)).collect();
    if draw(20) == 0 {
        items.pop();
    }
    let result = match whole {
        Some(failure) => Err(failure),
        None => Ok(items),
    };
    let (requests, usage) = (draw(4) as u32, if draw(3) == 0 { vec![Usage::day(draw(40), 41)] } else { Vec::new() });
    Finished { call: call.clone(), duration: Duration::from_millis(5), http_status: Some(200), requests, usage, result }
}

fn item(step: &Step, what: u64, value: u64, now: Time) -> Answer {
    match what {
        0 => return Ok(Found::NotSent),
        1 => return Err(failure(Class::Retryable, Scope::Record)),
        2 | 8 => return Err(failure(Class::Unknown, Scope::Record)),
        3 => return Err(failure(Class::Conflict, Scope::Record)),
        4 => return Err(Failure { fields: vec!["City".into()], ..failure(Class::Permanent, Scope::Record) }),
        5 => return Err(failure(Class::Permanent, Scope::Record)),
        6 => return Err(Failure { reason: Some(Reason::RecordNotFound), ..failure(Class::Permanent, Scope::Record) }),
        7 => return Err(Failure { reason: Some(Reason::AmbiguousMatch), ..failure(Class::Conflict, Scope::Record) }),
        _ => {}
    }
    match step {
        Step::Push(_) => Ok(Found::Wrote(Written { crm_id: Some("003".into()), created: Some(value == 0) })),
        Step::Adopt | Step::Verify if value == 0 => Ok(Found::Held(None)),
        // Nothing in a script comes as an id.
        Step::Fetch(_) => unreachable!("{step:?}"),
        Step::Adopt | Step::Verify => {
            let mut fields: BTreeMap<String, Value> = FIELDS.map(|field| (field.to_owned(), Value::Null)).into();
            fields.insert("City".into(), Value::from(format!("city-{value}")));
            Ok(Found::Held(Some(Present { crm_id: "003".into(), fields, modified_at: Some(now) })))
        }
    }
}

/// What two looks in a row must have in common.
fn check_step(before: &Seen, after: &Seen, deed: &Deed, now: Time) {
    after.check();
    for (id, event) in &before.events {
        let held = &after.events[id];
        assert_eq!(
            (&event.key, &event.source, event.occurred_at),
            (&held.key, &held.source, held.occurred_at),
            "I3: the key of {id} changed"
        );
    }
    for delivery in after.deliveries.values().filter(|delivery| delivery.state == DeliveryState::Open) {
        let lane = after.records[&delivery.record.unwrap()].record.lane;
        assert!(lane <= delivery.lane, "{} is more urgent than its record's {lane:?}: {delivery:?}", delivery.id);
    }
    for (id, delivery) in &before.deliveries {
        let held = &after.deliveries[id];
        assert!(held.generation >= delivery.generation, "I11: the generation of {id} fell");
        let replayed = matches!(deed, Deed::Reopen { .. } | Deed::Resolve(_)) && after.audit.len() > before.audit.len();
        if delivery.state != DeliveryState::Open && held.state != delivery.state {
            assert!(replayed && delivery.state != DeliveryState::Succeeded, "I10: {id} was {delivery:?}, is {held:?}");
        }
        assert_eq!(
            held.generation > delivery.generation,
            delivery.state != DeliveryState::Open && held.state == DeliveryState::Open,
            "I16: {id}"
        );
    }
    for (id, entry) in &before.records {
        let (record, held) = (&entry.record, &after.records[id].record);
        assert!(
            held.fence >= record.fence && held.revision >= record.revision && held.pushed >= record.pushed,
            "I11: {id} {record:?} {held:?}"
        );
        assert_eq!(entry.key, after.records[id].key, "the key of {id} changed");
        if held.fence > record.fence {
            let free = record.lease.as_ref().is_none_or(|lease| lease.until <= now || !after.leases.contains_key(&lease.call));
            assert!(free, "I12: {id} was taken from its holder: {record:?} {held:?}");
            assert_eq!(held.state, State::Leased);
        }
    }
    for (place, row) in before.audit.iter().enumerate() {
        assert_eq!(format!("{row:?}"), format!("{:?}", after.audit[place]), "I17");
    }
    for (id, call) in &before.calls {
        assert_eq!(format!("{call:?}"), format!("{:?}", after.calls[id]), "I17");
    }
    assert!(before.results.keys().all(|result| after.results.contains_key(result)), "I17");
    assert!(before.raw_events.keys().all(|raw| after.raw_events.contains_key(raw)), "I2");
}

/// What a workload must come to see, or it is too tame to prove anything.
const SOMETIMES: [&str; 9] = [
    "doubt",
    "verification",
    "a late result",
    "a takeover",
    "one by one",
    "superseded",
    "a second generation",
    "a replacement",
    "an open breaker",
];

fn sometimes(seen: &Seen, now: Time) -> impl Iterator<Item = &'static str> {
    let any = |fits: &dyn Fn(&model::record::Record) -> bool| seen.records.values().any(|entry| fits(&entry.record));
    let happened = [
        any(&|record| record.doubt.is_some()),
        seen.calls.values().any(|call| call.step == "verify"),
        seen.results.values().any(|result| result.notes.iter().any(|(_, word, ..)| word == "late")),
        any(&|record| record.crashes > 0),
        any(&|record| record.solo),
        seen.deliveries.values().any(|delivery| delivery.outcome == Some(Outcome::Superseded)),
        seen.deliveries.values().any(|delivery| delivery.generation > 1),
        seen.deliveries.values().any(|delivery| delivery.superseded_by.is_some()),
        seen.destinations["crm"].state(now) == "breaker_open",
    ];
    SOMETIMES.into_iter().zip(happened).filter(|(_, happened)| *happened).map(|(word, _)| word)
}

async fn run(script: &[Deed], arms: &[Arm], reached: &Mutex<BTreeSet<&'static str>>) {
    let mut sides = Vec::new();
    let mut keepsakes = Vec::new();
    for arm in arms {
        let (mut ledger, keepsake) = Ledger::fresh(*arm).await;
        // Short enough for a script to come to the end of.
        ledger.policy.schedule = Schedule::new([0, 0, 1, 5].map(Duration::from_secs).to_vec()).unwrap();
        (ledger.policy.breaker_failures, ledger.group_limit, ledger.calls_max) = (2, 3, 2);
        let seen = ledger.look().await;
        sides.push(Side { ledger, open: Vec::new(), seen });
        keepsakes.push(keepsake);
    }
    for (place, deed) in script.iter().enumerate() {
        let mut said = Vec::new();
        let mut shown = Vec::new();
        for side in &mut sides {
            said.push(side.act(deed).await);
            let after = side.ledger.look().await;
            check_step(&side.seen, &after, deed, side.ledger.now);
            reached.lock().unwrap_or_else(PoisonError::into_inner).extend(sometimes(&after, side.ledger.now));
            shown.push(format!("{after:#?}"));
            side.seen = after;
        }
        for (arm, (said_there, shown_there)) in arms.iter().zip(said.iter().zip(&shown)).skip(1) {
            assert_eq!(said[0], *said_there, "step {place}, {deed:?}: {arm:?} answers differently");
            if shown[0] != *shown_there {
                let differing: Vec<_> = shown[0].lines().zip(shown_there.lines()).filter(|(a, b)| a != b).take(5).collect();
                panic!("step {place}, {deed:?}: {arm:?} holds different rows: {differing:#?}");
            }
        }
    }
}

#[test]
fn every_arm_gives_the_same_answers_and_holds_the_same_rows_for_the_same_script() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64);
    let reached = Mutex::new(BTreeSet::new());
    // A server takes longer to look into, so only some of the scripts are played there.
    let played = Cell::new(0);
    let arms = || {
        played.set(played.get() + 1);
        if played.get() % 4 == 1 { &[Arm::Memory, Arm::Sqlite, Arm::Postgres][..] } else { &[Arm::Memory, Arm::Sqlite][..] }
    };
    // The same scripts each time, or one day some run would not reach everything; other ones on request.
    let seed: u8 = std::env::var("ONCEWARD_SCRIPTS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]));
    runner
        .run(&prop::collection::vec(deed(), 10..80), |script| {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run(&script, arms(), &reached))));
            outcome.map_err(|panic| {
                let said = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                TestCaseError::fail(said.unwrap_or_default())
            })
        })
        .unwrap_or_else(|failed| panic!("{failed}"));
    let reached = reached.into_inner().unwrap();
    let missed: Vec<_> = SOMETIMES.into_iter().filter(|word| !reached.contains(word)).collect();
    assert!(cases < 64 || missed.is_empty(), "never seen in {cases} scripts: {missed:?}");
}
