//! The promise of one process, tried on a fleet: two ingests, three workers, and everything under them is killed, frozen, emptied and restarted while
//! vendors send to a CRM that misbehaves.
//!
//! `tests/run --minutes N` sends for N minutes instead of two; `ONCEWARD_FLEET_SEED` repeats the dice of a run.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use harness::{Dice, Fleet, Node, Setup, Story, Vendors, assert_crm_is_as_told, assert_ended};

/// Higher than any real CRM's, because what is ready shares calls.
const FAULTS: &str = "429=0.03,500-before=0.04,500-after=0.04,cut-before=0.02,cut-after=0.04,late=0.06:2s,partial=0.1,lock=0.05,\
                      expired-token=0.005,garbage=0.02,missing=0.02";
const SETUP: Setup = Setup {
    faults: FAULTS,
    latency_millis: 3,
    token_life_millis: 3_600_000,
    call_timeout: "1s",
    late_window: "4s",
    destination: "quota = { calls = 1000, per = \"1s\", concurrency = 4 }\nbreaker = { failures = 5, probe = \"1s\", probe_max = \"1s\" }",
    more: "",
};
/// Vendors' connections, and how long each of them pauses: about a hundred webhooks a second.
const SENDERS: usize = 8;
const PACE: Duration = Duration::from_millis(70);
/// What they send in a minute, at most.
const PER_MINUTE: usize = 6_000;
/// People for each minute.
const PEOPLE: u64 = 150;
const INGESTS: usize = 2;
const WORKERS: usize = 3;

/// What goes wrong next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    KillIngest,
    KillWorker,
    FreezeWorker,
    StopIngest,
    StopWorker,
    KillBroker,
    FreezeBroker,
    PurgeQueue,
    DeleteQueue,
    KillPostgres,
    FreezePostgres,
}

const BLOWS: [Blow; 11] = [
    Blow::KillIngest,
    Blow::KillWorker,
    Blow::FreezeWorker,
    Blow::StopIngest,
    Blow::StopWorker,
    Blow::KillBroker,
    Blow::FreezeBroker,
    Blow::PurgeQueue,
    Blow::DeleteQueue,
    Blow::KillPostgres,
    Blow::FreezePostgres,
];

fn minutes() -> usize {
    let text = std::env::var("ONCEWARD_FLEET_MINUTES").unwrap_or_else(|_| "2".to_owned());
    text.parse().expect("ONCEWARD_FLEET_MINUTES is a number of minutes")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_has_its_effect_once_whatever_falls() {
    let mut dice = Dice::from_environment("ONCEWARD_FLEET_SEED");
    let minutes = minutes();
    let mut fleet = Fleet::start(SETUP, INGESTS, WORKERS).await;
    let story = Story::tell(&mut dice, minutes * PER_MINUTE, minutes as u64 * PEOPLE);
    let begun = Instant::now();
    let vendors = Vendors::new(fleet.http.clone(), story.sent, INGESTS, PACE);
    for (number, ingest) in fleet.ingests.iter().enumerate() {
        vendors.door(number, ingest.public());
    }
    let sending = vendors.send(SENDERS);

    // Each blow comes once, in an order that nobody chose; then any of them, until all has been sent.
    let mut blows = BLOWS.to_vec();
    dice.shuffle(&mut blows);
    let mut struck = 0;
    let patience = Duration::from_secs(minutes as u64 * 60 * 3 + 120);
    while vendors.accepted() < vendors.all() && !sending.is_empty() {
        assert!(begun.elapsed() < patience, "{} of {} webhooks accepted after {patience:?}", vendors.accepted(), vendors.all());
        let blow = blows.pop().unwrap_or_else(|| *dice.pick(&BLOWS));
        println!("{:6.1} s, {} accepted: {blow:?}", begun.elapsed().as_secs_f64(), vendors.accepted());
        strike(&mut fleet, &vendors, blow, &mut dice).await;
        struck += 1;
        tokio::time::sleep(Duration::from_millis(500 + dice.below(3_000))).await;
    }
    println!("{} webhooks accepted after {:?} and {struck} blows", vendors.accepted(), begun.elapsed());
    // And two more while what is left is being delivered.
    for blow in [Blow::KillWorker, Blow::KillPostgres] {
        strike(&mut fleet, &vendors, blow, &mut dice).await;
    }
    let ids = vendors.told(sending).await;
    assert_eq!(ids.keys().cloned().collect::<BTreeSet<_>>(), story.keys, "each key was answered, and no other");

    fleet.until_idle(Duration::from_secs(180)).await;
    println!("idle after {:?}; {}", begun.elapsed(), fleet.crm.stats().await);
    assert_ended(&fleet.admin(), &ids).await;
    assert_crm_is_as_told(&fleet.crm, story.people).await;
    for node in fleet.ingests.iter_mut().chain(&mut fleet.workers) {
        node.stop().await;
    }
}

/// Strikes, waits a while, and mends it.
async fn strike(fleet: &mut Fleet, vendors: &Vendors, blow: Blow, dice: &mut Dice) {
    let a_while = |most: u64, dice: &mut Dice| tokio::time::sleep(Duration::from_millis(dice.below(most)));
    let ingest = usize::try_from(dice.below(INGESTS as u64)).unwrap();
    let worker = usize::try_from(dice.below(WORKERS as u64)).unwrap();
    match blow {
        Blow::KillIngest | Blow::StopIngest => {
            vendors.door(ingest, "");
            let node = &mut fleet.ingests[ingest];
            fell(node, blow == Blow::KillIngest).await;
            a_while(2_000, dice).await;
            node.start();
            vendors.door(ingest, node.public());
        }
        Blow::KillWorker | Blow::StopWorker => {
            let node = &mut fleet.workers[worker];
            fell(node, blow == Blow::KillWorker).await;
            a_while(14_000, dice).await;
            node.start();
        }
        Blow::FreezeWorker => {
            // Long enough to be taken for dead; then it goes on as if nothing had happened.
            fleet.workers[worker].signal("STOP");
            a_while(16_000, dice).await;
            fleet.workers[worker].signal("CONT");
        }
        Blow::KillBroker => {
            fleet.broker.kill9();
            a_while(3_000, dice).await;
            let broker = &mut fleet.broker;
            tokio::task::block_in_place(|| broker.restart());
        }
        Blow::FreezeBroker => {
            fleet.broker.freeze();
            a_while(12_000, dice).await;
            fleet.broker.thaw();
        }
        Blow::PurgeQueue => drop(fleet.broker.try_ctl(&["purge_queue", "onceward.deliver.salesforce"]).await),
        Blow::DeleteQueue => drop(fleet.broker.try_ctl(&["delete_queue", "onceward.deliver.salesforce"]).await),
        Blow::KillPostgres => {
            fleet.postgres.kill9();
            a_while(4_000, dice).await;
            let postgres = &mut fleet.postgres;
            tokio::task::block_in_place(|| postgres.restart());
        }
        Blow::FreezePostgres => {
            fleet.postgres.freeze();
            a_while(8_000, dice).await;
            fleet.postgres.thaw();
        }
    }
}

async fn fell(node: &mut Node, kill: bool) {
    match kill {
        true => node.kill9(),
        false => node.stop().await,
    }
}
