//! What the planner makes of a batch: it comes in arrays, of whose length a plan that is kept knows nothing. Counted in rows read, which no slow machine changes.

use std::time::Duration;

use harness::{SOON, until};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use store::rows::DeliveryState;

use crate::support::{Arm, Crm, Glass, Ledger, lead};

const RECORDS: i64 = 200;
const EACH: i64 = 20;
/// Every row is looked up some times on its way; a bad plan reads the whole table for each.
const TIMES_MAX: i64 = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_reads_as_many_rows_as_it_has_and_not_as_many_as_there_are() {
    for mode in ["auto", "force_generic_plan"] {
        let (mut ledger, keepsake) = Ledger::fresh(Arm::Postgres).await;
        let Glass::Postgres(url) = &ledger.glass else { panic!("a server's ledger") };
        let mut conn = PgConnection::connect(url).await.unwrap();
        let (_, name) = url.rsplit_once('/').unwrap();
        conn.execute(AssertSqlSafe(format!("alter database {name} set plan_cache_mode = {mode}"))).await.unwrap();
        // Connections that have not yet planned anything.
        ledger.store = ledger.store.apart(2, Duration::from_secs(5));
        for round in 0..EACH {
            let told = |n: i64| {
                lead(&format!("k{round}-{n}"), &format!("{n}")).email(&format!("{n}@example.com")).says("city", format!("c{round}"))
            };
            let drafts: Vec<_> = (0..RECORDS).map(|n| told(n).at(round)).collect();
            ledger.accept(&drafts).await;
            // What is there already is found, too.
            ledger.accept(&drafts[..10]).await;
            if round == EACH / 2 {
                // As the server does by itself from time to time; whatever was planned is planned anew.
                conn.execute("analyze").await.unwrap();
            }
        }
        let calls = ledger.claim().await;
        assert_eq!(calls.iter().map(|call| call.entries.len()).sum::<usize>(), 200);
        let mut crm = Crm::default();
        let finished: Vec<_> = calls.iter().map(|call| crm.answer(call)).collect();
        assert_eq!(ledger.settle(&finished).await.ended.len(), 4_000);
        // A server counts for good once whoever read has gone.
        let glass = ledger.glass.clone();
        drop(ledger);
        until("every connection to be closed", SOON, async || {
            let there = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'onceward'";
            let there: i64 = conn.fetch_one(there).await.unwrap().get(0);
            (there == 0).then_some(())
        })
        .await;
        let read = "select relname::text, (seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_user_tables \
                    where relname in ('event', 'delivery', 'record', 'record_body', 'alias') or relname ~ '^payload' order by 1";
        for row in conn.fetch_all(read).await.unwrap() {
            let (table, rows): (String, i64) = (row.get(0), row.get(1));
            assert!(rows <= TIMES_MAX * RECORDS * EACH, "{mode}: {rows} rows of {table} were read for {} deliveries", RECORDS * EACH);
        }
        assert!(glass.look().await.deliveries.values().all(|delivery| delivery.state == DeliveryState::Succeeded));
        drop(keepsake);
    }
}
