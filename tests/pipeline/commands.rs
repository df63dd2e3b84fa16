//! The commands: what they say, in JSON too, and how they end.

use harness::{Lead, Onceward, SOON, Source};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn check_names_every_mistake_at_once() {
    let onceward = Onceward::start().await;
    let good = std::fs::read_to_string(onceward.folder().join("pipeline.toml")).unwrap();
    let checked = onceward.run(&["--json", "check"]).await;
    assert_eq!((checked.code, &checked.json()["ok"]), (0, &json!(true)), "{checked:?}");

    let empty = onceward.folder().join("empty");
    std::fs::write(&empty, "").unwrap();
    let bad = good
        .replace("shared  = true", "shraed  = true")
        .replace("trust     = 70", "trust     = 170")
        .replace("when        = \"type == 'lead'\"", "when        = \"type ==\"")
        .replace("{ env = \"HUB_SECRET\" }", &format!("{{ file = {:?} }}", empty.display().to_string()))
        .replace("{ env = \"DESK_SECRET\" }", "{ env = \"NOT_SET_ANYWHERE\" }")
        .replace("kind         = \"salesforce\"", "kind         = \"salesfroce\"")
        .replace("call_timeout = \"2s\"", "call_timeout = \"2 fortnights\"")
        .replace("object = \"Lead\"", "object = \"Lad\"");
    let file = onceward.folder().join("bad.toml");
    std::fs::write(&file, bad).unwrap();
    let bad = file.display().to_string();
    let checked = onceward.run_bare(&["--json", "check", "--config", &bad]).await;
    assert_eq!(checked.code, 1, "{checked:?}");
    let problems = checked.json()["problems"].as_array().unwrap().clone();
    let keys: Vec<&str> = problems.iter().map(|problem| problem["key"].as_str().unwrap()).collect();
    for key in [
        "sources.forms.shraed",
        "sources.desk.trust",
        "sources.desk.events[0].when",
        "sources.hub.secrets[0]",
        "sources.desk.secrets[0]",
        "destinations.salesforce.kind",
        "destinations.salesforce.call_timeout",
        "routes[0].object",
    ] {
        assert!(keys.iter().any(|found| found.starts_with(key)), "{key} is not among {keys:?}");
    }
    for problem in &problems {
        assert!(problem["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{problem}");
        assert!(problem["file"].as_str().is_some_and(|file| !file.is_empty()), "{problem}");
    }
    assert!(problems.iter().any(|problem| problem["line"].is_u64()), "{problems:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn map_shows_what_a_payload_becomes_and_writes_nothing() {
    let onceward = Onceward::start().await;
    let file = onceward.folder().join("lead.json");
    std::fs::write(&file, Lead::new(1).body(Source::Desk)).unwrap();
    let file = file.display().to_string();
    let mapped = onceward.run(&["--json", "map", "--source", "desk", &file]).await;
    assert_eq!(mapped.code, 0, "{mapped:?}");
    let text = mapped.json().to_string();
    for part in ["desk|lead.created|evt-1", "person-1@example.com", "External_Lead_Id__c", "LastName", "\"Lead\""] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(onceward.run(&["map", "--source", "desk", &file]).await.out.contains("desk|lead.created|evt-1"));
    assert!(onceward.admin.events().await.is_empty() && onceward.crm.leads().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_answers_in_json_and_ends_with_its_code() {
    let onceward = Onceward::start().await;
    let file = onceward.folder().join("lead.json");
    std::fs::write(&file, Lead::new(1).body(Source::Desk)).unwrap();
    let file = file.display().to_string();
    let sent = onceward.run(&["--json", "send", "--source", "desk", &file]).await;
    let event = sent.json()["answer"]["events"][0]["id"].as_str().unwrap().to_owned();
    onceward.until_status(&event, "succeeded").await;

    let cases: [(&[&str], i32); 19] = [
        (&["check"], 0),
        (&["migrate"], 1),
        (&["send", "--source", "desk", &file, "--repeat", "2"], 0),
        (&["send", "--source", "desk", &file, "--tamper"], 1),
        (&["send", "--source", "nobody", &file], 1),
        (&["send", "--source", "desk", "/nowhere"], 1),
        (&["send", "--source", "desk"], 2),
        (&["map", "--source", "desk", &file], 0),
        (&["trace", &event], 0),
        (&["trace", "nothing-like-it"], 1),
        (&["trace"], 2),
        (&["dead-letters"], 0),
        (&["dead-letters", "list"], 0),
        (&["dead-letters", "show", "dlv_0000000000000"], 1),
        (&["dead-letters", "replay", "dlv_0000000000000"], 2),
        (&["replay", "--where", "reason=auth", "--reason", "a test", "--dry-run"], 0),
        (&["destinations"], 0),
        (&["destinations", "show", "salesforce"], 0),
        (&["fly"], 2),
    ];
    for (arguments, code) in cases {
        let plain = onceward.run(arguments).await;
        assert_eq!(plain.code, code, "{arguments:?}: {plain:?}");
        if code == 2 {
            assert!(plain.err.contains("Usage") || plain.err.contains("usage"), "{plain:?}");
            continue;
        }
        assert!(!plain.out.is_empty() || !plain.err.is_empty(), "{arguments:?} says nothing");
        let ran = onceward.run(&[&["--json"], arguments].concat()).await;
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        for line in ran.out.lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "{arguments:?} is not JSON: {line}");
        }
        assert!(!ran.out.is_empty(), "{arguments:?} says nothing in JSON: {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_listening_reading_goes_to_the_ledger_and_says_so() {
    let mut onceward = Onceward::start().await;
    let event = onceward.accepted(&Lead::new(1).sent_by(Source::Forms), "accepted").await;
    onceward.until_status(&event, "succeeded").await;
    onceward.stop("TERM");
    let trace = onceward.run(&["--json", "trace", &event]).await;
    assert_eq!((trace.code, &trace.json()["events"][0]["id"]), (0, &json!(event)), "{trace:?}");
    assert!(trace.err.contains("Nothing listens"), "{trace:?}");
    assert_eq!(onceward.run(&["--json", "dead-letters"]).await.code, 0);
    let pause = onceward.run(&["--json", "destinations", "pause", "salesforce", "--reason", "a test"]).await;
    assert_eq!(pause.code, 1, "nothing can be changed: {pause:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_ledger_or_port_says_what_to_do() {
    let onceward = Onceward::start().await;
    let same_ledger = onceward.run(&["--public", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).await;
    assert_eq!(same_ledger.code, 1, "{same_ledger:?}");
    assert!(same_ledger.err.contains("another process") && same_ledger.err.contains("onceward.db"), "{same_ledger:?}");
    let public = onceward.public.trim_start_matches("http://").to_owned();
    let other = onceward.folder().join("other").display().to_string();
    let same_port = onceward.run_bare(&["--data", &other, "--public", &public, "--admin", "127.0.0.1:0"]).await;
    assert_eq!(same_port.code, 1, "{same_port:?}");
    assert!(same_port.err.contains(&public) && same_port.err.contains("--public"), "{same_port:?}");
    onceward.accepted(&Lead::new(1).sent_by(Source::Forms), "accepted").await;
    onceward.until_idle(SOON).await;
}
