//! A vendor that pushes only ids: everything it names is fetched, through outages and power cuts, and ends once in the CRM.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::{Answer, Graph, Mood, Onceward, SOON, Setup, now, until};
use model::Received;
use model::secret::Secret;
use model::signature::Scheme;
use serde_json::{Value, json};

const SOURCE: &str = r#"
[sources.meta]
secrets   = [{ env = "DESK_SECRET" }]
signature = { algorithm = "hmac-sha256", header = "x-hub-signature-256", encoding = "hex", prefix = "sha256=", signed = "{body}" }
batch     = "entry[].changes[]"
[[sources.meta.events]]
when        = "field == 'leadgen'"
type        = "lead.created"
id          = "value.leadgen_id"
occurred_at = { from = "value.created_time", unit = "s" }
fetch       = { object = "lead", id = "value.leadgen_id" }
[sources.meta.fetched.lead]
updated_at = { from = "_push.value.created_time", unit = "s" }
[sources.meta.fetched.lead.fields]
external_id = { from = "id", required = true }
email       = { from = "field_data[?name=='email'].values[0] | [0]", as = "email", required = true }
full_name   = "field_data[?name=='full_name'].values[0] | [0]"
company     = "field_data[?name=='company_name'].values[0] | [0]"
job_title   = "field_data[?label=='Which plan?'].values[0] | [0]"
[sources.meta.fetch]
client       = "meta"
token        = { env = "HUBSPOT_TOKEN" }
base_url     = "{graph}"
call_timeout = "1s"
quota        = { calls = 100, per = "1s", concurrency = 4 }
breaker      = { failures = 3, probe = "1s", probe_max = "1s" }
"#;

async fn start(graph: &Graph) -> Onceward {
    let more = SOURCE.replace("{graph}", &graph.base);
    Onceward::with(Setup { more: more.leak(), ..Setup::default() }).await
}

/// A push of these leads.
async fn push(onceward: &Onceward, leads: std::ops::Range<u64>) -> Answer {
    let change = |lead: u64| json!({ "field": "leadgen", "value": { "leadgen_id": lead.to_string(), "form_id": "77", "created_time": now().seconds() } });
    let entry = json!({ "id": "1", "time": now().seconds(), "changes": leads.map(change).collect::<Vec<_>>() });
    let body = json!({ "object": "page", "entry": [entry] }).to_string();
    let scheme = "algorithm = 'hmac-sha256'\nheader = 'x-hub-signature-256'\nencoding = 'hex'\nprefix = 'sha256='\nsigned = '{body}'";
    let scheme: Scheme = toml::from_str(scheme).unwrap();
    let verifier = scheme.compile(&[Secret::new("canary-desk-secret-4711").unwrap()], None).unwrap();
    let request = Received { method: "POST", target: "/webhooks/meta", headers: &[], body: body.as_bytes() };
    let mut post = onceward.http.post(format!("{}/webhooks/meta", onceward.public)).header("content-type", "application/json");
    for (name, value) in verifier.sign(&request, now()).unwrap().headers {
        post = post.header(name, value);
    }
    Answer::of(post.body(body.clone()).send().await.unwrap()).await.unwrap()
}

/// Accepts the push as a whole and gives the events.
async fn accepted(onceward: &Onceward, leads: std::ops::Range<u64>) -> Vec<String> {
    let answer = push(onceward, leads).await.ok();
    let events = answer["events"].as_array().unwrap();
    assert!(events.iter().all(|event| event["status"] == "accepted"), "{answer:#}");
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

async fn arrived(onceward: &Onceward) -> usize {
    onceward.crm.leads().await.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_lead_that_is_only_named_ends_once_in_the_crm_whatever_its_vendor_and_our_power_do() {
    let graph = Graph::start().await;
    (1..=60).for_each(|number| graph.lead(number));
    [7, 33].iter().for_each(|number| graph.gone(*number, true));
    let mut onceward = start(&graph).await;

    // The vendor is away: what it pushed is accepted all the same, and survives a power cut.
    graph.is(Mood::Down);
    for first in [1, 6, 11, 16] {
        accepted(&onceward, first..first + 5).await;
    }
    let state = async |onceward: &Onceward| onceward.admin.destination("source:meta").await["state"].as_str().unwrap().to_owned();
    until("the source's breaker is open", SOON, async || (state(&onceward).await == "breaker_open").then_some(())).await;
    assert_eq!(onceward.admin.destination("source:meta").await["open"], 20);
    assert_eq!(arrived(&onceward).await, 0);
    onceward.kill9();
    onceward.restart();

    // It is back, in a bad mood, and the power goes while leads arrive.
    graph.is(Mood::Moody);
    for first in [21, 31, 41, 51] {
        accepted(&onceward, first..first + 10).await;
    }
    until("some leads are in the CRM", SOON * 2, async || (arrived(&onceward).await > 5).then_some(())).await;
    onceward.kill9();
    onceward.restart();
    let again = push(&onceward, 1..6).await.ok();
    assert!(again["events"].as_array().unwrap().iter().all(|event| event["status"] == "duplicate"), "{again:#}");

    graph.is(Mood::Well);
    onceward.until_idle(Duration::from_secs(60)).await;
    let leads = onceward.crm.leads().await;
    let emails: BTreeSet<&str> = leads.iter().map(|lead| lead.text("Email")).collect();
    assert_eq!((leads.len(), emails.len()), (58, 58), "all but the two that are gone");
    for lead in &leads {
        assert_eq!((lead.creates, lead.text("FirstName"), lead.text("Company")), (1, "Ada", "Example Ltd"), "{lead:?}");
        assert!(lead.text("Title").starts_with("plan "), "a question that only the form knows: {lead:?}");
    }
    let dead = onceward.admin.dead_letters().await;
    let told: Vec<[&str; 3]> =
        dead.iter().map(|row| [&row["reason"], &row["destination"], &row["owner"]].map(|word| word.as_str().unwrap_or_default())).collect();
    assert_eq!(told, [["record_not_found", "source:meta", "sales-ops"]; 2], "{dead:#?}");

    // One is back: its replay fetches it.
    graph.gone(7, false);
    let seventh = dead.iter().find(|row| row["idempotency_key"] == "meta|lead.created|7").unwrap();
    onceward.admin.replay(seventh["id"].as_str().unwrap(), "it was restored").await.ok();
    onceward.until_idle(SOON).await;
    assert_eq!(onceward.crm.with_email("lead-7@example.com").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_paused_resumed_counted_and_traced_like_a_destination() {
    let graph = Graph::start().await;
    (1..=3).for_each(|number| graph.lead(number));
    let onceward = start(&graph).await;
    let paused = onceward.run(&["--json", "destinations", "pause", "source:meta", "--reason", "they count calls today"]).await;
    assert_eq!(paused.code, 0, "{paused:?}");
    let event = accepted(&onceward, 1..4).await.remove(0);
    let listed = onceward.run(&["destinations"]).await;
    assert!(listed.out.lines().any(|line| line.starts_with("source:meta") && line.contains("paused")), "{listed:?}");
    assert_eq!((graph.asked(), arrived(&onceward).await), (0, 0));
    let resumed = onceward.run(&["--json", "destinations", "resume", "source:meta", "--reason", "a new day"]).await;
    assert_eq!(resumed.code, 0, "{resumed:?}");
    onceward.until_idle(SOON).await;
    assert_eq!(arrived(&onceward).await, 3);

    let trace = onceward.admin.trace(&event).await.unwrap();
    let steps: Vec<&str> = trace["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    let place = |word: &str| steps.iter().position(|step| *step == word).unwrap_or_else(|| panic!("no `{word}` in {trace:#}"));
    assert!(place("accepted") < place("fetched") && place("fetched") < place("written"), "{steps:?}");
    let shown: Value = onceward.admin.get(&format!("/api/events/{event}")).await.ok();
    let ends: Vec<&str> = shown["event"]["deliveries"].as_array().unwrap().iter().map(|row| row["status"].as_str().unwrap()).collect();
    assert_eq!(ends, ["succeeded", "succeeded"], "{shown:#}");
    let metrics = onceward.admin.metrics().await;
    let counted = |name: &str| metrics.lines().any(|line| line.starts_with(name) && line.contains("destination=\"source:meta\""));
    assert!(counted("onceward_crm_calls_total") && counted("onceward_deliveries_total"), "{metrics}");
}
