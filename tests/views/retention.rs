//! What is dropped when it is old.

use harness::{SOON, until};
use model::EventId;
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
