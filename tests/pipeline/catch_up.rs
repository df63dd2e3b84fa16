//! Catching up with a vendor whose pushes got lost: what it lists and the ledger lacks is taken in, once, under the keys of its pushes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::{Onceward, SOON, Setup, now, until};
use model::Time;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Meta's Graph, as much of it as has one Page with one form and a few leads.
#[derive(Clone)]
struct Graph {
    heard: Arc<Mutex<Vec<String>>>,
    leads: Arc<Mutex<Vec<u64>>>,
    /// Whether the second page of a list comes at all.
    open: watch::Sender<bool>,
    created: Time,
}

impl Graph {
    async fn serve(leads: &[u64]) -> (Self, String) {
        let created = Time::from_seconds(now().seconds() - 600);
        let graph = Self { heard: Arc::default(), leads: Arc::new(Mutex::new(leads.to_vec())), open: watch::Sender::new(true), created };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let serving = graph.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().answer(stream));
            }
        });
        (graph, base)
    }

    async fn answer(self, mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        self.heard.lock().unwrap().push(path.clone());
        if path.contains("after=p2") {
            let mut open = self.open.subscribe();
            let _ = open.wait_for(|open| *open).await;
        }
        let body = self.says(&path).to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        let _ = stream.write_all((head + &body).as_bytes()).await;
    }

    fn says(&self, path: &str) -> Value {
        let leads = self.leads.lock().unwrap().clone();
        let path = path.strip_prefix("/v24.0/").unwrap();
        let (object, query) = path.split_once('?').unwrap();
        match object {
            "77/leadgen_forms" => json!({ "data": [{ "id": "51" }] }),
            "51" => json!({ "id": "51", "name": "Contact us", "questions": [{ "key": "email", "label": "Work e-mail" }] }),
            "51/leads" if query.contains("after=p2") => {
                json!({ "data": leads.iter().skip(2).map(|id| self.lead(*id)).collect::<Vec<_>>() })
            }
            "51/leads" => json!({
                "data": leads.iter().take(2).map(|id| self.lead(*id)).collect::<Vec<_>>(),
                "paging": { "cursors": { "after": "p2" }, "next": "https://graph.example.com/next" },
            }),
            "" => {
                let asked = query.strip_prefix("ids=").unwrap().split('&').next().unwrap();
                Value::Object(asked.split(',').map(|id| (id.to_owned(), self.lead(id.parse().unwrap()))).collect())
            }
            id => self.lead(id.parse().unwrap()),
        }
    }

    fn lead(&self, id: u64) -> Value {
        json!({
            "id": id.to_string(), "form_id": "51", "created_time": self.created.to_string(), "is_organic": true,
            "field_data": [{ "name": "email", "values": [format!("lead{id}@example.com")] }, { "name": "last_name", "values": [format!("Lead {id}")] }],
        })
    }

    /// What Meta pushes of a lead.
    fn push(&self, id: u64) -> Value {
        let value = json!({ "leadgen_id": id.to_string(), "page_id": "77", "form_id": "51", "created_time": self.created.seconds() });
        json!({ "object": "page", "entry": [{ "id": "77", "time": self.created.seconds(), "changes": [{ "field": "leadgen", "value": value }] }] })
    }

    fn asked_for(&self, part: &str) -> usize {
        self.heard.lock().unwrap().iter().filter(|path| path.contains(part)).count()
    }
}

async fn pipeline(base: &str, more: &str) -> Onceward {
    let source = format!(
        r#"
[sources.leads]
secrets     = [{{ env = "DESK_SECRET" }}]
signature   = {{ algorithm = "hmac-sha256", header = "x-hub-signature-256", encoding = "hex", prefix = "sha256=", signed = "{{body}}" }}
batch       = "entry[].changes[]"
vendor_type = "field"
id          = "join(':', [value.page_id, value.leadgen_id])"
occurred_at = {{ from = "value.created_time", unit = "s" }}
{more}
[[sources.leads.events]]
on    = ["leadgen"]
type  = "lead.created"
fetch = {{ object = "lead", id = "value.leadgen_id" }}
[sources.leads.fetched.lead.fields]
external_id = "id"
email       = {{ from = "field_data[?name=='email'].values | [0][0]", as = "email", required = true }}
last_name   = "field_data[?name=='last_name'].values | [0][0]"
company     = "form.name"
[sources.leads.fetch]
client   = "meta"
token    = {{ env = "HUBSPOT_TOKEN" }}
base_url = "{base}"
accounts = ["77"]
quota    = {{ calls = 50, per = "1s", concurrency = 4 }}
call_timeout = "5s"
"#
    );
    Onceward::with(Setup { more: Box::leak(source.into_boxed_str()), ..Setup::default() }).await
}

async fn caught_up(onceward: &Onceward, more: &[&str]) -> Value {
    let since = Time::from_seconds(now().seconds() - 3_600).to_string();
    let mut arguments = vec!["--json", "sources", "catch-up", "leads", "--since", since.as_str()];
    arguments.extend(more);
    let ran = onceward.run(&arguments).await;
    assert_eq!(ran.code, 0, "{ran:?}\n{}", onceward.log());
    ran.json()
}

fn counts(run: &Value) -> [u64; 3] {
    ["seen", "already_here", "filled"].map(|name| run[name].as_u64().unwrap())
}

async fn send(onceward: &Onceward, graph: &Graph, id: u64) -> Value {
    let file = onceward.folder().join(format!("push-{id}.json"));
    std::fs::write(&file, graph.push(id).to_string()).unwrap();
    let sent = onceward.run(&["--json", "send", "--source", "leads", file.to_str().unwrap()]).await;
    assert_eq!(sent.code, 0, "{sent:?}");
    sent.json()["answer"]["events"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_pushed_is_taken_in_once_and_what_is_pushed_later_is_a_duplicate() {
    let (graph, base) = Graph::serve(&[1, 2, 3]).await;
    let onceward = pipeline(&base, "").await;
    assert_eq!(send(&onceward, &graph, 1).await["status"], "accepted");
    until("the pushed lead is in the CRM", SOON, async || onceward.crm.with_email("lead1@example.com").await.pop()).await;

    let dry = caught_up(&onceward, &["--dry-run"]).await;
    assert_eq!((counts(&dry), &dry["state"]), ([3, 1, 2], &json!("done")));
    assert_eq!(onceward.crm.leads().await.len(), 1, "a dry run takes nothing in");

    let fetched_before = graph.asked_for("/v24.0/2?") + graph.asked_for("/v24.0/3?") + graph.asked_for("?ids=");
    let run = caught_up(&onceward, &[]).await;
    assert_eq!(counts(&run), [3, 1, 2], "{run}");
    for id in [2, 3] {
        let email = format!("lead{id}@example.com");
        let lead = until("a lead that was caught up with is in the CRM", SOON, async || onceward.crm.with_email(&email).await.pop()).await;
        assert_eq!((lead.creates, lead.text("Company")), (1, "Contact us"));
    }
    let fetched = graph.asked_for("/v24.0/2?") + graph.asked_for("/v24.0/3?") + graph.asked_for("?ids=");
    assert_eq!(fetched, fetched_before, "the list gave the objects: none is fetched again");

    // The push that was only late is a duplicate of what was caught up with.
    let late = send(&onceward, &graph, 2).await;
    assert_eq!(late["status"], "duplicate", "{late}");
    let again = caught_up(&onceward, &[]).await;
    assert_eq!(counts(&again), [3, 3, 0], "{again}");
    onceward.until_idle(SOON).await;
    let leads = onceward.crm.leads().await;
    assert!(leads.len() == 3 && leads.iter().all(|lead| (lead.creates, lead.writes) == (1, 1)), "{leads:?}");

    // What it brought is found by the run's id, and its raw event says that nobody pushed it.
    let trace = onceward.admin.trace(run["id"].as_str().unwrap()).await.unwrap();
    let events = trace["events"].as_array().unwrap();
    assert_eq!(events.len(), 2, "{trace}");
    let raw = onceward.admin.get(&format!("/api/raw-events/{}", events[0]["raw_event"].as_str().unwrap())).await.ok();
    assert!(raw.to_string().contains("onceward-caught-up"), "{raw}");
    let audit = onceward.admin.get("/api/audit").await.ok();
    assert!(audit["audit"].as_array().unwrap().iter().any(|row| row["action"] == "catch_up" && row["subject"] == "leads"), "{audit}");
    assert!(!onceward.log().contains("pat-canary"), "the token is in no log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_where_it_was_when_its_process_died() {
    let (graph, base) = Graph::serve(&[1, 2, 3]).await;
    graph.open.send_replace(false);
    // By the schedule, at once after the start.
    let mut onceward = pipeline(&base, "catch_up = \"1h\"").await;
    until("the second page is asked for", SOON, async || (graph.asked_for("after=p2") > 0).then_some(())).await;
    onceward.kill9();
    graph.open.send_replace(true);
    onceward.restart();
    let runs = async || onceward.admin.get("/api/sources/leads/catch-up").await.ok()["catch_ups"].clone();
    let done = async || runs().await.as_array().unwrap().iter().find(|run| run["state"] == "done").cloned();
    // The page that was under way is listed again when its lease has ended.
    let run = until("the run has ended", Duration::from_secs(60), done).await;
    assert_eq!((run["actor"].as_str().unwrap(), counts(&run)), ("schedule", [3, 0, 3]), "{run}");
    assert_eq!(graph.asked_for("leadgen_forms"), 1, "what was listed before is not listed again");
    onceward.until_idle(SOON).await;
    let leads = onceward.crm.leads().await;
    assert!(leads.len() == 3 && leads.iter().all(|lead| lead.creates == 1), "{leads:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_cannot_be_caught_up_with_says_so() {
    let onceward = Onceward::start().await;
    let refused = onceward.run(&["sources", "catch-up", "forms", "--since", "2026-11-20T00:00:00Z"]).await;
    assert!(refused.code == 1 && refused.err.contains("cannot be caught up with"), "{refused:?}");
    let unknown = onceward.run(&["sources", "catch-up", "nobody", "--since", "2026-11-20T00:00:00Z"]).await;
    assert_eq!(unknown.code, 1, "{unknown:?}");
    let ahead = onceward.admin.post("/api/sources/forms/catch-up", &json!({ "reason": "x", "since": "tomorrow" })).await;
    assert_eq!(ahead.status, 422, "{ahead:?}");
}
