//! What operators do with sources: see presets, write a source, watch what it sends.

use harness::{Lead, Onceward, SOON, Sent, Source, until};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn presets_are_told_and_sources_show_whether_they_still_send() {
    let onceward = Onceward::start().await;
    let listed = onceward.run(&["--json", "sources"]).await.json();
    let typeform = listed["presets"].as_array().unwrap().iter().find(|row| row["name"] == "typeform").cloned().unwrap();
    assert_eq!((&typeform["category"], &typeform["verification"]), (&json!("lead-intake"), &json!("HMAC-SHA256")), "{typeform:#}");
    assert_eq!((&typeform["verdict"], &typeform["disabled"]), (&json!("verified"), &Value::Null));
    let forms = |listed: &Value| listed["sources"].as_array().unwrap().iter().find(|row| row["name"] == "forms").cloned().unwrap();
    assert_eq!((&forms(&listed)["preset"], &forms(&listed)["last_event_at"]), (&json!("standard-webhooks"), &Value::Null));

    onceward.accepted(&Lead::new(1).sent_by(Source::Forms), "accepted").await;
    onceward.accepted(&Lead::new(1).sent_by(Source::Forms), "duplicate").await;
    let row = forms(&onceward.run(&["--json", "sources", "list"]).await.json());
    assert_eq!(row["requests"], json!({ "accepted": 1, "duplicate": 1 }), "{row:#}");
    assert!(row["last_event_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{row:#}");
    let text = onceward.run(&["sources"]).await.out;
    assert!(text.contains("1 accepted, 1 duplicate") && text.contains("shopify"), "{text}");

    let shown = onceward.run(&["sources", "show", "forms"]).await.out;
    for part in ["/webhooks/forms", "standard-webhooks", "FORMS_SECRET", "What it becomes", "trust"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let shown = onceward.run(&["--json", "sources", "show", "typeform"]).await.json();
    assert_eq!(shown["urls"], json!(["https://YOUR-HOST/webhooks/typeform"]), "{shown:#}");
    assert_eq!(shown["events"][0]["on"], json!(["form_response"]));
    assert_eq!(onceward.run(&["sources", "show", "tyepform"]).await.code, 1);
    let table = onceward.run(&["sources", "list", "--markdown"]).await.out;
    assert!(table.contains("| `typeform` |"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_written_into_the_file_and_takes_in_what_its_vendor_sends() {
    let mut onceward = Onceward::start().await;
    let file = onceward.folder().join("pipeline.toml");
    let before = std::fs::read_to_string(&file).unwrap() + "# the last line\n";
    std::fs::write(&file, &before).unwrap();
    let new = ["--json", "sources", "new", "--preset", "typeform", "--name", "survey", "--secret-file"];
    let secret = onceward.folder().join("survey-secret").display().to_string();
    let target = ["--to", "salesforce", "--object", "Lead", "--event", "lead.*"];
    let nowhere = onceward.run(&[&new[..], &[&secret, "--to", "salesforce", "--object", "Lad"]].concat()).await;
    assert_eq!((nowhere.code, nowhere.json()["problems"][0]["key"].as_str().unwrap()), (1, "routes[1].object"), "{nowhere:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before, "what would be wrong is not written");

    let made = onceward.run(&[&new[..], &[&secret], &target].concat()).await;
    assert_eq!((made.code, &made.json()["secret_missing"]), (0, &json!(true)), "{made:?}");
    std::fs::write(&secret, "a-secret-of-the-survey\n").unwrap();
    assert_eq!(onceward.run(&["check"]).await.code, 0);
    let after = std::fs::read_to_string(&file).unwrap();
    let mut lines = after.lines();
    assert!(before.lines().all(|line| lines.any(|held| held == line)), "every line and comment is there, in its order:\n{after}");
    let again = onceward.run(&[&new[..], &[&secret]].concat()).await;
    assert_eq!((again.code, std::fs::read_to_string(&file).unwrap()), (1, after), "{again:?}");

    onceward.stop("TERM");
    onceward.restart();
    let sent = onceward.run(&["--json", "send", "--source", "survey", "sample"]).await;
    let event = sent.json()["answer"]["events"][0]["id"].as_str().unwrap().to_owned();
    onceward.until_status(&event, "succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_one_is_made_that_lacks_nothing_but_the_secret() {
    let onceward = Onceward::start().await;
    let made = onceward.run_bare(&["--json", "sources", "new", "--preset", "stripe", "--secret-env", "NOT_SET_YET"]).await;
    assert_eq!((made.code, &made.json()["created"]), (0, &json!(true)), "{made:?}");
    let checked = onceward.run_bare(&["--json", "check"]).await.json();
    let problems = checked["problems"].as_array().unwrap();
    assert_eq!((problems.len(), &problems[0]["key"]), (1, &json!("sources.stripe.secrets[0]")), "{checked:#}");
    let text = std::fs::read_to_string(onceward.folder().join("onceward.toml")).unwrap();
    assert!(text.contains("[sources.stripe]\npreset = \"stripe\"\nsecrets = [{ env = \"NOT_SET_YET\" }]\n"), "{text}");
    assert_eq!(onceward.run_bare(&["sources", "new"]).await.code, 2, "nobody is there to be asked");
}

/// A lead with other members than usual.
fn odd(number: u64, more: &[(&str, Value)]) -> Sent {
    let mut body: Value = serde_json::from_slice(&Lead::new(number).body(Source::Desk)).unwrap();
    more.iter().for_each(|(name, value)| body[*name] = value.clone());
    Sent { source: Source::Desk, id: format!("evt-{number}"), body: body.to_string().into_bytes() }
}

async fn drift(onceward: &Onceward) -> Value {
    let answer = onceward.admin.get("/api/sources/desk/drift").await.ok();
    answer["types"].as_array().unwrap().iter().find(|row| row["event_type"] == "lead.created").cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_in_what_a_source_sends_is_learned_told_once_and_never_refused() {
    let mut onceward = Onceward::start().await;
    let mut number = 0;
    until("enough is known to be surprised", SOON * 2, async || {
        number += 1;
        onceward.accepted(&odd(number, &[]), "accepted").await;
        (drift(&onceward).await["bodies"].as_u64().unwrap_or_default() >= 20).then_some(())
    })
    .await;
    assert_eq!(drift(&onceward).await["changes"], json!([]));
    // A new member, whose own names are data, and a number where a text was.
    let more = [("plans", json!({ "ann@example.com": { "size": 3 } })), ("at", json!(1_800_000_000))];
    let changes = until("the changes are told", SOON * 2, async || {
        number += 1;
        assert_eq!(onceward.send(&odd(number, &more)).await.status, 200, "nothing is refused for it");
        let changes = drift(&onceward).await["changes"].as_array().unwrap().clone();
        (changes.len() >= 2).then_some(changes)
    })
    .await;
    let told: Vec<[&str; 2]> = changes.iter().map(|change| [change["kind"].as_str().unwrap(), change["path"].as_str().unwrap()]).collect();
    assert_eq!(told, [["changed_type", "at"], ["new", "plans"]], "{changes:?}");
    let listed = onceward.run(&["sources", "drift", "desk"]).await;
    assert!(listed.code == 0 && listed.out.contains("changed type") && !listed.out.contains("ann@"), "{listed:?}");
    let metrics = onceward.admin.metrics().await;
    for kind in ["new", "changed_type"] {
        let counted = metrics.lines().find(|line| line.starts_with("onceward_drift_total{") && line.contains(&format!("\"{kind}\"")));
        assert!(counted.is_some_and(|line| line.ends_with(" 1")), "{kind}: {counted:?}");
    }
    assert_eq!(onceward.log().matches("what a source sends has changed").count(), 2, "each once");
    // It is known after a restart.
    onceward.stop("TERM");
    onceward.restart();
    assert_eq!(drift(&onceward).await["changes"].as_array().unwrap().len(), 2);
    assert_eq!(onceward.admin.get("/api/sources/nobody/drift").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn map_explains_every_rule_and_every_field() {
    let onceward = Onceward::start().await;
    let file = onceward.folder().join("lead.json");
    let mut body: Value = serde_json::from_slice(&Lead::new(1).body(Source::Desk)).unwrap();
    body["phone"] = json!("nonsense");
    std::fs::write(&file, body.to_string()).unwrap();
    let file = file.display().to_string();
    let mapped = onceward.run(&["--json", "map", "--source", "desk", &file]).await.json();
    let explained = &mapped["readings"][0]["explained"];
    assert_eq!((&explained["vendor_type"], &explained["rules"][0]["fits"]), (&json!("lead"), &json!(true)), "{explained:#}");
    let field = |name: &str| explained["fields"].as_array().unwrap().iter().find(|field| field["name"] == name).cloned().unwrap();
    assert_eq!((&field("email")["found"], &field("email")["result"]), (&json!("person-1@example.com"), &json!("person-1@example.com")));
    assert_eq!(
        (&field("email")["normalizer"], field("email")["from"].as_str().is_some_and(|from| from.contains("email"))),
        (&json!("email"), true)
    );
    assert!(field("phone_e164")["why"].is_string() && field("phone_e164")["result"].is_null(), "{:#}", field("phone_e164"));
    assert!(field("first_name")["why"].is_string(), "it says that nothing is there: {:#}", field("first_name"));
    let text = onceward.run(&["map", "--source", "desk", &file]).await.out;
    for part in ["The vendor calls it lead", "fits:", "phone_e164", "person-1@example.com", "desk|lead.created|evt-1"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    // What is irrelevant says by which word.
    std::fs::write(&file, r#"{"type":"ping"}"#).unwrap();
    let ignored = onceward.run(&["map", "--source", "desk", &file]).await.out;
    assert!(ignored.contains("does not fit") && ignored.contains("`ping`"), "{ignored}");
}
