//! What is dropped when it is old.

use harness::{SOON, until};
use model::{EventId, Time};
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection, Row};
use store::{Disposition, Error, Reopen, Retained, Status};

use crate::world::{ADA, Arm, Told, World, at, refused, unmapped, wrote};

pub async fn retention_drops_what_is_old_and_never_what_is_on_its_way(world: World) {
    let day = |days: u64| at(days * 86_400);
    let done = world.accept(day(0), ADA).await.id;
    world.accept(day(0), Told { correlation: None, ..ADA }).await;
    world.work(day(0), &wrote).await;
    let dead = world.accept_as(day(0), Told { id: "id-2", ..ADA }, unmapped()).await.id;
    let open = world.accept(day(0), Told { id: "id-3", company: "Looms", ..ADA }).await.id;
    let young = world.accept(day(50), Told { id: "id-4", company: "Looms", ..ADA }).await.id;
    let raw_of = async |id: EventId| {
        let (row, _, _) = world.store.event(day(0), id).await.unwrap()?;
        world.store.raw_event(row.raw_event).await.unwrap()
    };
    let retain = async |now: u64| {
        let mut sum = Retained::default();
        loop {
            let ago = |days: u64| day(now.saturating_sub(days));
            let step = world.store.retain(day(now), ago(30), ago(90), ago(400), 2).await.unwrap();
            sum.raw_events += step.raw_events;
            sum.payloads += step.payloads;
            sum.calls += step.calls;
            sum.events += step.events;
            if !step.more {
                return sum;
            }
        }
    };
    assert_eq!(retain(20).await, Retained::default());
    assert_eq!(retain(40).await, Retained { raw_events: 3, ..Retained::default() }, "done, its duplicate and dead");
    assert!(raw_of(done).await.unwrap().sealed.is_empty() && !raw_of(open).await.unwrap().sealed.is_empty());
    assert_eq!(retain(40).await, Retained::default(), "once is enough");
    assert_eq!(retain(100).await, Retained { raw_events: 0, payloads: 2, calls: 2, ..Retained::default() });
    assert_eq!(world.store.event(day(0), done).await.unwrap().unwrap().1, json!({}));
    assert_eq!(world.store.event(day(0), open).await.unwrap().unwrap().1["event_id"], "demo:id-3");
    let again = Reopen { delivery: dead.delivery(1), event: None, edited: None };
    let refusal = world.store.reopen(day(100), "ann", "why", &again).await.unwrap_err();
    assert!(matches!(&refusal, Error::Refused(what) if what.contains("retention")), "{refusal}");
    assert_eq!(retain(500).await, Retained { raw_events: 0, payloads: 0, events: 1, ..Retained::default() });
    assert!(world.store.event(day(0), done).await.unwrap().is_none());
    assert!(world.store.event(day(0), dead).await.unwrap().is_some(), "a dead letter stays on its list");
    assert_eq!(world.trace(&done.delivery(1).to_string()).await.found_as, Vec::<String>::new());
    // Its key is gone with it: the same request is new, and harmless, because the record knows what the CRM holds.
    assert_eq!(world.accept(day(500), ADA).await.status, Disposition::Accepted);
    assert!(world.work(day(500), &wrote).await.is_empty());
    let row = |id| world.store.event(day(0), id);
    assert_eq!(row(open).await.unwrap().unwrap().0.deliveries[0].status, Status::Succeeded);
    assert_eq!(row(young).await.unwrap().unwrap().0.deliveries[0].status, Status::Succeeded);
    assert_eq!(retain(502).await, Retained { raw_events: 2, payloads: 2, events: 2, ..Retained::default() }, "the next pass has its turn");
}

/// A person's replay and retention meet on PostgreSQL: whoever opens a delivery again keeps its payload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_is_half_way_keeps_its_payload() {
    let world = World::fresh(Arm::Postgres).await;
    let id = world.accept(at(0), ADA).await.id;
    world.work(at(1), &refused).await;
    let mut person = PgConnection::connect(&world.url).await.unwrap();
    let opened = format!(
        "begin; delete from dead_letter where delivery_id = {0}; update delivery set state = 0, wake_at = 1, ended_at = null where id = {0}",
        id.delivery(1).0
    );
    person.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(opened))).await.unwrap();
    let store = world.store.clone();
    let late = at(200 * 86_400);
    let retention = tokio::spawn(async move { store.retain(late, at(0), late, at(0), 100).await.unwrap() });
    let mut onlooker = PgConnection::connect(&world.url).await.unwrap();
    until("retention to wait for the person, or to be through", SOON, async || {
        let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        let waiting: i64 = onlooker.fetch_one(waits).await.unwrap().get(0);
        (waiting > 0 || retention.is_finished()).then_some(())
    })
    .await;
    person.execute("commit").await.unwrap();
    assert_eq!(retention.await.unwrap().payloads, 0);
    assert_eq!(world.store.event(late, id).await.unwrap().unwrap().1["event_id"], "demo:id-1");
}

/// Where rows lie, by their kind: the table's name without its kind, and how many.
async fn lie_in(conn: &mut PgConnection, table: &str) -> Vec<(String, i64)> {
    let sql = format!("select tableoid::regclass::text, count(*) from {table} group by 1 order by 1");
    let rows = conn.fetch_all(sqlx::AssertSqlSafe(sql)).await.unwrap();
    rows.iter().map(|row| (row.get::<String, _>(0)[table.len() + 1..].to_owned(), row.get(1))).collect()
}

fn day(days: u64) -> Time {
    at(days * 86_400)
}

/// A step of retention that comes first of a day: whole days, and then all of the rest.
async fn retain(world: &World, now: u64) -> Retained {
    let mut sum = Retained::default();
    loop {
        let ago = |days: u64| day(now.saturating_sub(days));
        let step = world.store.retain(day(now), ago(30), ago(90), ago(400), 100).await.unwrap();
        sum.raw_events += step.raw_events;
        sum.payloads += step.payloads;
        sum.calls += step.calls;
        sum.events += step.events;
        if !step.more {
            return sum;
        }
    }
}

// START is the 15th of January 2027.
const DAYS: [&str; 4] = ["20270115", "20270116", "20270117", "20270118"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_lie_in_the_table_of_their_day_and_each_such_table_is_like_the_others() {
    let world = World::fresh(Arm::Postgres).await;
    let mut conn = PgConnection::connect(&world.url).await.unwrap();
    assert_eq!(retain(&world, 0).await, Retained::default());
    for (n, told) in [Told { id: "id-1", ..ADA }, Told { id: "id-2", company: "Looms", ..ADA }].into_iter().enumerate() {
        world.accept(day(n as u64), told).await;
        world.work(day(n as u64), &wrote).await;
    }
    world.accept(day(30), Told { id: "id-3", ..ADA }).await;
    let one = |days: &[&str]| days.iter().map(|day| ((*day).to_owned(), 1)).collect::<Vec<_>>();
    for table in ["raw_event", "payload"] {
        assert_eq!(lie_in(&mut conn, table).await, one(&[DAYS[0], DAYS[1], "rest"]), "{table}");
    }
    for table in ["call", "call_result"] {
        // Read and written on the first day, written on the second.
        assert_eq!(lie_in(&mut conn, table).await, [(DAYS[0].to_owned(), 2), (DAYS[1].to_owned(), 1)], "{table}");
    }
    let like = "select a.attstorage::text || ' ' || c.reloptions::text from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'sealed' \
                where c.relname in ('raw_event_20270115', 'raw_event_rest')";
    let like = conn.fetch_all(like).await.unwrap();
    assert_eq!(like.iter().map(|row| row.get(0)).collect::<Vec<String>>(), ["m {toast_tuple_target=8160}", "m {toast_tuple_target=8160}"]);
    for sql in ["update call_20270115 set holder = 'eve'", "update call_result_20270116 set http_status = 200"] {
        let refused = conn.execute(sql).await.unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{refused}");
    }
    // Made once, by however many at once.
    let (one, other) = tokio::join!(retain(&world, 1), world.store.migrate());
    assert_eq!((one, other.unwrap()), (Retained::default(), Vec::<String>::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_is_dropped_whole_once_nothing_in_it_is_needed() {
    let world = World::fresh(Arm::Postgres).await;
    let mut conn = PgConnection::connect(&world.url).await.unwrap();
    retain(&world, 0).await;
    // The first day is done with; on the second a dead letter came, on the third what stays open, and on the fourth that again.
    let done = world.accept(day(0), ADA).await.id;
    world.work(day(0), &wrote).await;
    let dead = world.accept_as(day(1), Told { id: "id-2", ..ADA }, unmapped()).await.id;
    let told = Told { id: "id-3", company: "Looms", ..ADA };
    let open = world.accept(day(2), told).await.id;
    assert_eq!(world.accept(day(3), told).await.status, Disposition::Duplicate);
    let raw_of = async |id: EventId| {
        let row = world.store.event(day(0), id).await.unwrap().unwrap().0;
        world.store.raw_event(row.raw_event).await.unwrap().map(|raw| raw.sealed.len())
    };
    // Somebody who reads for long is not waited for, and nobody waits because of us.
    conn.execute(sqlx::raw_sql("begin; select 1 from raw_event limit 1")).await.unwrap();
    assert_eq!(retain(&world, 40).await, Retained { raw_events: 2, ..Retained::default() }, "row by row, then");
    conn.execute("rollback").await.unwrap();
    assert_eq!((raw_of(done).await, raw_of(dead).await, raw_of(open).await), (Some(0), Some(0), Some(3)));
    assert_eq!(retain(&world, 41).await, Retained::default(), "what was emptied before is not counted again");
    assert_eq!((raw_of(done).await, raw_of(dead).await, raw_of(open).await), (None, Some(0), Some(3)));
    let days = |days: &[usize]| days.iter().map(|&day| (DAYS[day].to_owned(), 1)).collect::<Vec<_>>();
    assert_eq!(lie_in(&mut conn, "raw_event").await, days(&[1, 2, 3]), "a dead letter's, an open one's, and its duplicate");
    assert_eq!(lie_in(&mut conn, "payload").await, days(&[0, 1, 2]));
    // The trace of what is gone tells the rest.
    assert!(world.trace(&done.to_string()).await.steps.iter().any(|step| step.step == "settled"));
    assert_eq!(retain(&world, 100).await, Retained { payloads: 2, calls: 2, ..Retained::default() }, "the dead letter's by itself");
    assert_eq!(lie_in(&mut conn, "payload").await, days(&[2]));
    assert_eq!((lie_in(&mut conn, "call").await, lie_in(&mut conn, "call_result").await), (Vec::new(), Vec::new()));
    // Once it has ended, its days go too.
    world.work(day(100), &wrote).await;
    assert_eq!(retain(&world, 101).await, Retained { raw_events: 2, payloads: 1, ..Retained::default() });
    assert_eq!((lie_in(&mut conn, "raw_event").await, lie_in(&mut conn, "payload").await), (days(&[1]), Vec::new()));
}
