//! What only a server's ledger has to hold: many processes on it, some of which die; a clock of its own; settings that could lose what was accepted.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::{SOON, until};
use model::Time;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use store::rows::DeliveryState;
use store::{Call, Error, Options, Store};
use tokio::task::JoinSet;

use crate::support::{Arm, Crm, DESTINATIONS, Glass, Keepsake, Ledger, SOURCES, lead};

/// Two workers, each with one record of its own.
async fn two_at_work() -> (Ledger, Ledger, [Call; 2], Keepsake) {
    let (mut first, keepsake) = Ledger::fresh(Arm::Postgres).await;
    (first.group_limit, first.calls_max) = (1, 1);
    first.deliver(lead("k1", "1").says("city", "Bern")).await;
    first.deliver(lead("k2", "2").says("city", "Basel")).await;
    let second = Ledger { holder: "worker-2".into(), ..first.clone() };
    let calls = [first.claim_one().await, second.claim_one().await];
    (first, second, calls, keepsake)
}

async fn connect(ledger: &Ledger) -> PgConnection {
    let Glass::Postgres(url) = &ledger.glass else { panic!("a server's ledger") };
    PgConnection::connect(url).await.unwrap()
}

impl Ledger {
    async fn beat(&self) -> u64 {
        self.store.heartbeat(self.now, &self.holder).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_worker_held_is_taken_over_after_ten_seconds_and_what_a_living_one_holds_never() {
    let (mut dead, mut alive, [lost, held], keepsake) = two_at_work().await;
    assert_eq!((dead.beat().await, alive.beat().await), (0, 0));
    for _ in 0..5 {
        alive.pass_seconds(2);
        assert_eq!(alive.beat().await, 0, "it may only be slow");
    }
    assert!(alive.claim().await.is_empty());
    alive.pass_seconds(1);
    assert_eq!(alive.beat().await, 1);
    assert_eq!(alive.beat().await, 0, "once");
    assert!(alive.now < dead.now + dead.policy.lease(), "its lease would have gone on");
    let seen = alive.look().await;
    let (record, other) = (&seen.records[&lost.entries[0].record].record, &seen.records[&held.entries[0].record].record);
    assert!(record.intent && record.wake_at == Some(alive.now), "{record:?}");
    assert!(other.intent && other.wake_at > Some(alive.now), "{other:?}");
    assert_eq!(seen.leases.keys().collect::<Vec<_>>(), [&held.id]);
    let again = alive.claim_one().await;
    assert_eq!(again.entries[0].record, lost.entries[0].record);
    assert!(alive.look().await.records[&lost.entries[0].record].record.doubt.is_some(), "what was sent may have landed");
    // It was not dead after all: what it says comes too late.
    dead.now = alive.now;
    let mut crm = Crm::default();
    assert_eq!(dead.settle(&[crm.answer(&lost)]).await.late, 1);
    alive.settle(&[crm.answer(&again), crm.answer(&held)]).await;
    alive.work(&mut crm, Duration::from_secs(900)).await;
    assert!(alive.look().await.deliveries.values().all(|delivery| delivery.state == DeliveryState::Succeeded));
    drop(keepsake);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_never_seen_may_have_just_started() {
    let (_, mut other, _, keepsake) = two_at_work().await;
    other.pass_seconds(9);
    assert_eq!(other.beat().await, 0);
    other.pass_seconds(2);
    assert_eq!(other.beat().await, 1, "its own is not taken from it");
    drop(keepsake);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_goodbye_is_not_waited_for_and_who_comes_back_is_alive() {
    let (first, second, _, keepsake) = two_at_work().await;
    first.beat().await;
    first.store.goodbye(&first.holder).await.unwrap();
    first.beat().await;
    assert_eq!(second.beat().await, 0, "it has come back");
    first.store.goodbye(&first.holder).await.unwrap();
    assert_eq!(second.beat().await, 1);
    assert_eq!(second.claim().await.len(), 1);
    // Long afterwards nothing is known of it.
    let mut later = second.clone();
    later.pass_seconds(4_000);
    later.beat().await;
    let workers = connect(&later).await.fetch_all("select holder from worker").await.unwrap();
    assert_eq!(workers.iter().map(|row| row.get(0)).collect::<Vec<String>>(), ["worker-2"]);
    drop(keepsake);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_waits_for_nobody_and_comes_back_for_what_was_locked() {
    let (first, second, [lost, _], keepsake) = two_at_work().await;
    first.store.goodbye(&first.holder).await.unwrap();
    let mut somebody = connect(&first).await;
    let locked = format!("begin; select 1 from record where id = {} for update", lost.entries[0].record.0);
    somebody.execute(sqlx::raw_sql(AssertSqlSafe(locked))).await.unwrap();
    assert_eq!(second.beat().await, 0);
    assert_eq!(second.look().await.leases.len(), 2, "its turn comes");
    somebody.execute("rollback").await.unwrap();
    assert_eq!(second.beat().await, 1);
    drop(keepsake);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_heartbeats_at_once_take_each_record_over_once() {
    let (mut ledger, keepsake) = Ledger::fresh(Arm::Postgres).await;
    (ledger.group_limit, ledger.calls_max, ledger.policy.concurrency, ledger.policy.calls) = (5, 40, 100, 1_000);
    let drafts: Vec<_> = (0..100).map(|n| lead(&format!("k{n}"), &format!("{n}")).says("city", "Bern")).collect();
    ledger.accept(&drafts).await;
    let mut crm = Crm::default();
    let mut finished = Vec::new();
    while finished.len() < 20 {
        finished.extend(ledger.claim().await.iter().map(|call| crm.answer(call)));
    }
    ledger.store.goodbye(&ledger.holder).await.unwrap();
    let mut beats = JoinSet::new();
    for n in 0..8 {
        let ledger = Ledger { holder: format!("other-{n}"), ..ledger.clone() };
        beats.spawn(async move { ledger.beat().await });
    }
    // Half of it comes back at the same moment.
    let late = ledger.settle(&finished[..10]).await.late;
    let taken: u64 = beats.join_all().await.iter().sum();
    let left = Ledger { holder: "last".into(), ..ledger.clone() }.beat().await;
    assert!((50..=100).contains(&(taken + left)), "{taken} and {left} of a hundred, {late} late");
    assert_eq!(late, 0, "nobody has claimed them anew");
    let seen = ledger.look().await;
    seen.check();
    let succeeded = seen.deliveries.values().filter(|delivery| delivery.state == DeliveryState::Succeeded).count();
    assert_eq!((succeeded, seen.leases.len()), (50, 0));
    drop(keepsake);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_there_is_nobody_to_take_over_from_and_no_other_clock() {
    for arm in [Arm::Memory, Arm::Sqlite] {
        let (mut ledger, keepsake) = Ledger::fresh(arm).await;
        ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
        ledger.claim_one().await;
        ledger.store.goodbye(&ledger.holder).await.unwrap();
        ledger.pass_seconds(20);
        assert_eq!((ledger.beat().await, ledger.store.clock().await.unwrap()), (0, None));
        assert!(ledger.claim().await.is_empty());
        drop(keepsake);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_is_the_databases() {
    let (ledger, keepsake) = Ledger::fresh(Arm::Postgres).await;
    let mut conn = connect(&ledger).await;
    let mut there = async || -> Time {
        let row = conn.fetch_one("select (extract(epoch from clock_timestamp()) * 1000000)::bigint").await.unwrap();
        Time(row.get(0))
    };
    let before = there().await;
    let clock = ledger.store.clock().await.unwrap().unwrap();
    assert!(before < clock && clock < there().await);
    drop(keepsake);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_apart_is_not_starved() {
    let (ledger, keepsake) = Ledger::fresh(Arm::Postgres).await;
    let apart = ledger.store.apart(1, Duration::from_millis(100));
    // What goes on is the same for the whole of a transaction, so that somebody else looks.
    let (mut somebody, mut onlooker) = (connect(&ledger).await, connect(&ledger).await);
    somebody.execute(sqlx::raw_sql("begin; select 1 from destination for update")).await.unwrap();
    let now = ledger.now;
    let busy = tokio::spawn({
        let apart = apart.clone();
        async move { apart.pause(now, "ann", "crm", "why").await }
    });
    until("the only connection to be in use", SOON, async || {
        let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        let waiting: i64 = onlooker.fetch_one(waits).await.unwrap().get(0);
        (waiting > 0).then_some(())
    })
    .await;
    let starved = apart.writable().await.unwrap_err();
    assert!(matches!(starved, Error::Unavailable(_)), "{starved}");
    ledger.store.writable().await.unwrap();
    somebody.execute("rollback").await.unwrap();
    assert!(busy.await.unwrap().unwrap());
    let ids: BTreeSet<i64> = (0..100).map(|n| if n % 2 == 0 { apart.next_id(now) } else { ledger.store.next_id(now) }).collect();
    assert_eq!(ids.len(), 100, "ids are handed out by one");
    drop(keepsake);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_yet_is_opened_and_out_of_reach() {
    let store = Store::open("postgres://nobody@127.0.0.1:9/nothing").await.unwrap().apart(1, Duration::from_millis(500));
    for error in [
        store.migrate().await.unwrap_err(),
        store.begin_work(Time::default(), &SOURCES, &DESTINATIONS, &[]).await.unwrap_err(),
        store.pending_migrations().await.unwrap_err(),
        store.clock().await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
    }
    let unreadable = Store::open("postgres://nobody@127.0.0.1:port/nothing").await.err().unwrap();
    assert!(matches!(unreadable, Error::Refused(_)), "{unreadable}");
}

async fn reload(conn: &mut PgConnection, setting: &str, wanted: &str) {
    conn.execute("select pg_reload_conf()").await.unwrap();
    until("the server to have read its settings", SOON, async || {
        let held: String = conn.fetch_one(AssertSqlSafe(format!("show {setting}"))).await.unwrap().get(0);
        (held == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_can_lose_what_it_committed_is_refused_unless_somebody_wants_it() {
    let server = tokio::task::spawn_blocking(harness::Postgres::start).await.unwrap();
    let url = server.url("postgres");
    let mut conn = PgConnection::connect(&url).await.unwrap();
    for (setting, safe) in [("fsync", "on"), ("full_page_writes", "on"), ("synchronous_commit", "local")] {
        let off = format!("alter system set {setting} = off");
        conn.execute(AssertSqlSafe(off)).await.unwrap();
        reload(&mut conn, setting, "off").await;
        let store = Store::open(&url).await.unwrap();
        for refused in [store.migrate().await.unwrap_err(), store.begin_work(Time::default(), &[], &[], &[]).await.unwrap_err()] {
            assert!(matches!(&refused, Error::Refused(what) if what.contains(setting)), "{refused}");
        }
        let wanted = Store::open_with(&url, Options { allow_unsafe: true, ..Options::default() }).await.unwrap();
        wanted.migrate().await.unwrap();
        wanted.begin_work(Time::default(), &[], &[], &[]).await.unwrap();
        let on = format!("alter system set {setting} = {safe}");
        conn.execute(AssertSqlSafe(on)).await.unwrap();
        reload(&mut conn, setting, safe).await;
        Store::open(&url).await.unwrap().migrate().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_version_works_on_beside_a_newer_one_unless_it_cannot() {
    for arm in [Arm::Sqlite, Arm::Postgres] {
        let (ledger, keepsake) = Ledger::fresh(arm).await;
        let step = async |name: &str, additive: bool| {
            let additive = if matches!(arm, Arm::Sqlite) { i64::from(additive).to_string() } else { additive.to_string() };
            let sql = format!("insert into migration (name, sha256, additive) values ('{name}', '', {additive})");
            match &ledger.glass {
                Glass::Sqlite(path) => Glass::connect(path, false).execute_batch(&sql.replace("''", "x''")).unwrap(),
                Glass::Postgres(_) => drop(connect(&ledger).await.execute(AssertSqlSafe(sql)).await.unwrap()),
                Glass::Memory(_) => panic!("it has no migrations"),
            }
        };
        step("0098_a_column_more", true).await;
        assert_eq!(ledger.store.pending_migrations().await.unwrap(), Vec::<String>::new());
        assert_eq!(ledger.store.migrate().await.unwrap(), Vec::<String>::new());
        ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
        step("0099_another_world", false).await;
        for refused in [ledger.store.pending_migrations().await.unwrap_err(), ledger.store.migrate().await.unwrap_err()] {
            assert!(matches!(&refused, Error::Refused(what) if what.contains("0099_another_world")), "{refused}");
        }
        drop(keepsake);
    }
}
