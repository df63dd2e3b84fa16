//! How few calls a burst costs: measured at the CRM, against one call for each event under the same limit.

use std::time::{Duration, Instant};

use harness::{Lead, Onceward, Setup, Source};
use serde_json::json;
use tokio::task::JoinSet;

const EVENTS: u64 = 10_000;
const PEOPLE: u64 = 2_000;
/// Calls a second that both CRMs bear here.
const CALLS_A_SECOND: u64 = 10;

const BOTH: &str = r#"
[destinations.hubspot]
kind         = "hubspot"
base_url     = "{crm}"
auth         = { kind = "bearer", token = { env = "HUBSPOT_TOKEN" } }
quota        = { calls = 10, per = "1s", concurrency = 4 }
[destinations.hubspot.objects.contacts]
key    = { field = "crm_ext_id", from = "identity.external_id" }
match  = ["external_id", "email"]
fields = { email = "email", firstname = "first_name", lastname = "last_name", phone = "phone_e164", jobtitle = "job_title" }

[[routes]]
source = "*"
event  = "lead.*"
to     = "hubspot"
object = "contacts"
"#;

/// Sends a burst of events about fewer people, over sixteen connections.
async fn burst(onceward: &Onceward) {
    let mut senders = JoinSet::new();
    for sender in 0..16 {
        let (http, public) = (onceward.http.clone(), onceward.public.clone());
        senders.spawn(async move {
            for number in (sender..EVENTS).step_by(16) {
                let mut lead = Lead::new(number % PEOPLE);
                lead.id = format!("evt-{number}");
                lead.last = format!("Name{}", number / PEOPLE);
                let sent = lead.sent_by(Source::Forms);
                let headers = harness::headers(&sent, harness::now());
                let answer = harness::post(&http, &public, sent.source, &headers, sent.body).await.unwrap();
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        });
    }
    while let Some(sent) = senders.join_next().await {
        sent.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_drains_at_least_fifty_times_faster_than_by_one_call_an_event() {
    let quota = "quota = { calls = 10, per = \"1s\", concurrency = 4 }";
    let onceward = Onceward::with(Setup { destination: quota, more: BOTH, ..Setup::default() }).await;
    for destination in ["salesforce", "hubspot"] {
        onceward.admin.post(&format!("/api/destinations/{destination}/pause"), &json!({ "reason": "a burst comes" })).await.ok();
    }
    burst(&onceward).await;
    let begun = Instant::now();
    for destination in ["salesforce", "hubspot"] {
        onceward.admin.post(&format!("/api/destinations/{destination}/resume"), &json!({ "reason": "it has come" })).await.ok();
    }
    onceward.until_idle(Duration::from_secs(120)).await;
    let drained = begun.elapsed();
    let calls = onceward.crm.calls(0).await;
    let of = |start: &str| calls.iter().filter(|call| call.path.starts_with(start) && !call.path.contains("oauth2")).count() as u64;
    let (salesforce, hubspot) = (of("/services/"), of("/crm/"));
    assert_eq!((onceward.crm.leads().await.len() as u64, onceward.crm.contacts().await.len() as u64), (PEOPLE, PEOPLE));
    let one_by_one = EVENTS / CALLS_A_SECOND;
    println!(
        "{EVENTS} events of {PEOPLE} people under {CALLS_A_SECOND} calls/s: Salesforce {salesforce} calls, HubSpot {hubspot}; drained in {drained:.1?}, \
         where one call an event takes {one_by_one} s: {:.0} times faster",
        one_by_one as f64 / drained.as_secs_f64()
    );
    // Under a limit of calls the time is that of the calls; a count does not depend on how busy this machine is.
    assert!(EVENTS >= 50 * salesforce && EVENTS >= 50 * hubspot, "{salesforce} and {hubspot} calls for {EVENTS} events");
    // And the limit was kept: no more calls in any second than it allows.
    for start in ["/services/data/", "/crm/"] {
        let times: Vec<_> = calls.iter().filter(|call| call.path.starts_with(start)).map(|call| call.at).collect();
        for (place, from) in times.iter().enumerate() {
            let within = times[place..].iter().filter(|at| at.since(*from) < Duration::from_millis(900)).count() as u64;
            // What was claimed in one second may arrive in the next, as much as can be under way.
            assert!(within <= CALLS_A_SECOND + 4, "{within} calls to {start} in a second");
        }
    }
}
