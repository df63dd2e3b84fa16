//! However many workers there are, a destination is asked as often as its budgets allow, and no more.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::{Fleet, Setup};
use model::Time;
use sqlx::{Connection, Executor, PgConnection, Row};

use crate::outages::{Steady, until_metric};

const CALLS: usize = 6;
const PER: Duration = Duration::from_secs(2);
const DAILY: usize = 30;
const SETUP: Setup = Setup {
    faults: "",
    latency_millis: 5,
    token_life_millis: 3_600_000,
    call_timeout: "2s",
    late_window: "1s",
    destination: "quota = { calls = 6, per = \"2s\", daily = 30, concurrency = 4 }",
    more: "",
};
const LEFT_TODAY: &str = "onceward_quota_remaining{destination=\"salesforce\",window=\"day\"}";

/// The most of these moments that lie within any span of this length.
fn most_within(span: Duration, moments: &[Time]) -> usize {
    let within = |begin: usize| moments[begin..].iter().take_while(|at| at.since(moments[begin]) < span).count();
    (0..moments.len()).map(within).max().unwrap_or_default()
}

/// When each call was claimed, and by whom.
async fn claimed(fleet: &Fleet) -> Vec<(Time, String)> {
    let mut conn = PgConnection::connect(&fleet.postgres.url("postgres")).await.unwrap();
    let rows = conn.fetch_all("select at, holder from call order by at").await.unwrap();
    rows.iter().map(|row| (Time(row.get("at")), row.get("holder"))).collect()
}

/// When each call proper reached the CRM.
async fn arrived(fleet: &Fleet) -> Vec<Time> {
    let mut arrived: Vec<Time> =
        fleet.crm.calls(0).await.iter().filter(|call| !call.path.contains("/oauth2/")).map(|call| call.at).collect();
    arrived.sort();
    arrived
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_over_one_ledger_share_its_budgets() {
    let fleet = Fleet::start(SETUP, 1, 2).await;
    // Somebody new every so often, so that there is always more to do than may be done.
    let steady = Steady::start(&fleet, 0, Duration::from_millis(40));
    let admin = fleet.admin();
    until_metric(&admin, LEFT_TODAY, 0.0, Duration::from_secs(60)).await;
    // The day is spent, and goes on being spent.
    steady.until_sent(60).await;
    let answered = steady.stop().await;
    assert!(answered.iter().all(|one| one.status == Some(200)), "vendors notice nothing");

    let claimed = claimed(&fleet).await;
    let moments: Vec<Time> = claimed.iter().map(|(at, _)| *at).collect();
    assert!(most_within(PER, &moments) <= CALLS, "{moments:?}");
    let holders: BTreeSet<&String> = claimed.iter().map(|(_, holder)| holder).collect();
    assert_eq!(holders.len(), 2, "both had a part in it");
    let arrived = arrived(&fleet).await;
    assert_eq!(arrived.len(), claimed.len(), "no call was made beside the ledger");
    // What is claimed arrives a moment later, how much later is the machine's affair: a second is left for that.
    assert!(most_within(PER / 2, &arrived) <= CALLS, "{arrived:?}");
    // The tokens of two workers count as well, and leave their part of the day unused.
    let tokens = fleet.crm.calls(0).await.len() - arrived.len();
    assert!((1..=2).contains(&tokens) && arrived.len() <= DAILY && arrived.len() + tokens >= DAILY, "{} and {tokens}", arrived.len());
    let took = arrived[arrived.len() - 1].since(arrived[0]);
    assert!(took < PER * 10, "what is allowed is used: {took:?}");

    let row = admin.destination("salesforce").await;
    assert_eq!(row["state"], "throttled", "{row}");
    assert!(row["reason"].as_str().unwrap().contains("used up") && row["until"].is_string(), "{row}");
    let arguments = ["destinations", "show", "salesforce", "--admin", &admin.base, "--token", &admin.token];
    let (done, said) = fleet.run(&arguments).await;
    assert!(done && said.contains("left today    0 of 30 calls") && said.contains("at once       4 of 4 calls"), "{said}");
    let dead = admin.dead_letters().await;
    assert!(dead.is_empty(), "nobody pays with an attempt: {dead:?}");
    let logs: String = fleet.workers.iter().map(harness::Node::log).collect();
    assert!(logs.contains("calls of the day are used up"), "{logs}");
}
