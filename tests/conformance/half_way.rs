//! What holds on a server when another process is half-way through something: each of these is a moment that the races find only now and then.

use harness::{SOON, until};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use store::rows::DeliveryState;
use store::{Disposition, Reopen, Reopened, Status};
use tokio::task::JoinHandle;

use crate::support::{Arm, Crm, Glass, Keepsake, Ledger, lead};

/// Another process: a connection with a transaction that it takes its time over.
struct Other(PgConnection, PgConnection);

impl Other {
    async fn begin(ledger: &Ledger, sql: String) -> Self {
        let Glass::Postgres(url) = &ledger.glass else { panic!("a server's ledger") };
        let (mut other, onlooker) = (PgConnection::connect(url).await.unwrap(), PgConnection::connect(url).await.unwrap());
        other.execute(sqlx::raw_sql(AssertSqlSafe(format!("begin; {sql}")))).await.unwrap();
        Self(other, onlooker)
    }

    /// Commits once we wait for it, or once we are through without having waited.
    async fn commit_when_waited_for<T>(mut self, ours: JoinHandle<T>) -> T {
        until("somebody to wait for the other process, or to be through", SOON, async || {
            let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
            let waiting: i64 = self.1.fetch_one(waits).await.unwrap().get(0);
            (waiting > 0 || ours.is_finished()).then_some(())
        })
        .await;
        self.0.execute("commit").await.unwrap();
        ours.await.unwrap()
    }
}

async fn fresh() -> (Ledger, Keepsake) {
    Ledger::fresh(Arm::Postgres).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identifier_that_another_process_is_taking_is_its_records() {
    let (ledger, keepsake) = fresh().await;
    ledger.deliver(lead("k1", "1").email("ada@example.com").says("city", "Bern")).await;
    let Glass::Postgres(url) = &ledger.glass else { panic!() };
    let mut conn = PgConnection::connect(url).await.unwrap();
    conn.execute(sqlx::raw_sql("create table taken as select * from alias where kind = 'email'; delete from alias where kind = 'email'"))
        .await
        .unwrap();
    let other = Other::begin(&ledger, "insert into alias select * from taken".into()).await;
    let ours = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.accept(&[lead("k2", "2").anonymous().email("ada@example.com").says("company", "x")]).await }
    });
    assert_eq!(other.commit_when_waited_for(ours).await[0].status, Disposition::Accepted);
    assert_eq!(ledger.look().await.records.len(), 1, "one person");
    drop(keepsake);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_a_worker_is_putting_to_rest_is_woken_by_what_arrived_meanwhile() {
    let (mut ledger, keepsake) = fresh().await;
    ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    ledger.work_now(&mut Crm::default()).await;
    // The worker has looked for open deliveries already.
    let other = Other::begin(&ledger, "update record set crashes = 0".into()).await;
    let ours = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.accept(&[lead("k2", "1").says("city", "Basel").at(1)]).await }
    });
    // Intake has its answer before the record is woken.
    other.commit_when_waited_for(ours).await;
    let claimed = until("the record is woken", SOON, async || ledger.claim().await.pop()).await;
    assert_eq!(claimed.entries.len(), 1);
    ledger.look().await.check();
    drop(keepsake);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_meets_a_pause_half_way_takes_nothing() {
    let (ledger, keepsake) = fresh().await;
    ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    let pause = "update destination set state = jsonb_set(state::jsonb, '{paused}', 'true')::text";
    let other = Other::begin(&ledger, pause.into()).await;
    let ours = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.claim().await.len() }
    });
    assert_eq!(other.commit_when_waited_for(ours).await, 0, "a call that nobody permits");
    assert!(ledger.record().await.lease.is_none());
    ledger.look().await.check();
    drop(keepsake);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_meets_a_claim_half_way_is_late() {
    let (ledger, keepsake) = fresh().await;
    ledger.deliver(lead("k1", "1").says("city", "Bern")).await;
    let call = ledger.claim_one().await;
    let other = Other::begin(&ledger, "update record set fence = fence + 1".into()).await;
    let ours = tokio::spawn({
        let ledger = ledger.clone();
        let finished = Crm::default().answer(&call);
        async move { ledger.settle(&[finished]).await }
    });
    assert_eq!(other.commit_when_waited_for(ours).await.late, 1);
    assert_eq!(ledger.record().await.fence, call.entries[0].claim.fence + 1);
    drop(keepsake);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_that_somebody_is_opening_is_in_flight_for_everybody_else() {
    let (ledger, keepsake) = fresh().await;
    let id = ledger.accept(&[lead("k1", "1").says("city", "Bern")]).await[0].id.delivery(1);
    ledger.claim_one().await;
    let dead = format!(
        "update delivery set state = 2, wake_at = null, ended_at = 1; \
         insert into dead_letter (delivery_id, destination_id, source_id, reason, message, failed_at, attempts) \
         select d.id, d.destination_id, e.source_id, 'rejected_by_crm', 'no', 1, 1 from delivery d, event e where d.id = {}",
        id.0
    );
    Other::begin(&ledger, dead).await.0.execute("commit").await.unwrap();
    let opened = "delete from dead_letter; update delivery set state = 0, generation = generation + 1, wake_at = 1, ended_at = null";
    let other = Other::begin(&ledger, opened.into()).await;
    let ours = tokio::spawn({
        let ledger = ledger.clone();
        let again = Reopen { delivery: id, event: None, edited: None };
        async move { ledger.store.reopen(ledger.now, "ann", "why", &again).await.unwrap().0 }
    });
    assert_eq!(other.commit_when_waited_for(ours).await, Reopened::InFlight { status: Status::Queued });
    let delivery = ledger.delivery(id).await;
    assert_eq!((delivery.state, delivery.generation), (DeliveryState::Open, 2));
    drop(keepsake);
}
