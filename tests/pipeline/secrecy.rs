//! I24: secrets and personal data occur in no log line, metric or problem.

use harness::{ENVIRONMENT, Lead, Onceward, SOON, Setup, Source, headers, now, post};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn canaries_are_heard_nowhere() {
    let onceward = Onceward::with(Setup { faults: "500-before=0.3,lock=0.3,expired-token=0.3,garbage=0.1", ..Setup::default() }).await;
    let mut lead = Lead::new(7);
    lead.person = Some("canary-person-0815".to_owned());
    lead.email = "canary.mail@example.com".to_owned();
    lead.phone = Some("+14155550187".to_owned());
    lead.first = Some("Canaria".to_owned());
    lead.last = "Kanarienvogel".to_owned();
    lead.company = "Canary Wharf GmbH".to_owned();
    let mut answers = Vec::new();
    for source in [Source::Forms, Source::Desk, Source::Hub] {
        // Good, doubled, tampered, unusable, refused by the CRM.
        let sent = lead.sent_by(source);
        answers.push(onceward.send(&sent).await);
        answers.push(onceward.send(&sent).await);
        let right = headers(&sent, now());
        answers.push(post(&onceward.http, &onceward.public, source, &right, [&sent.body[..], b" "].concat()).await.unwrap());
        let mut long = lead.clone();
        long.id = "evt-long".to_owned();
        long.email = "canary.second@example.com".to_owned();
        long.person = Some("canary-person-0816".to_owned());
        long.company = format!("Canary Wharf GmbH {}", "x".repeat(300));
        answers.push(onceward.send(&long.sent_by(source)).await);
        let mut broken = long.sent_by(source);
        broken.id = "evt-broken".to_owned();
        broken.body.truncate(broken.body.len() - 3);
        answers.push(onceward.send(&broken).await);
    }
    // Where a key holds an address, it is logged as its hash.
    let mut spelled = lead.clone();
    spelled.id = "canary.mail@example.com".to_owned();
    answers.push(onceward.send(&spelled.sent_by(Source::Desk)).await);
    let query = format!("{}/webhooks/desk?signature={}", onceward.public, ENVIRONMENT[2].1);
    let status = onceward.http.post(query).body("{}").send().await.unwrap().status();
    assert_eq!(status, 401);
    onceward.admin.trace("canary.mail@example.com").await;
    onceward.admin.as_token("canary-guessed-token").get("/api/events").await;
    onceward.crm.misbehave(json!({})).await;
    onceward.until_idle(SOON * 3).await;
    let dead = onceward.admin.dead_letters().await;
    assert!(!dead.is_empty());
    onceward.admin.replay(dead[0]["id"].as_str().unwrap(), "to see what it logs").await;
    onceward.until_idle(SOON * 3).await;

    let secrets = ENVIRONMENT.iter().map(|(_, secret)| *secret);
    let secrets = secrets.chain([onceward.admin.token.as_str(), "canary-guessed-token"]);
    let personal = ["canary.mail", "canary.second", "canary-person", "4155550187", "Canaria", "Kanarienvogel", "Canary Wharf"];
    let canaries: Vec<&str> = secrets.chain(personal).collect();
    let log = onceward.log();
    let ours: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
    assert!(ours.len() > 10, "there is a log to look at:\n{log}");
    let metrics = onceward.admin.metrics().await;
    for canary in canaries {
        let line = ours.iter().find(|line| line.contains(canary));
        assert!(line.is_none(), "{canary} is in the log: {}", line.unwrap());
        assert!(!metrics.contains(canary), "{canary} is in the metrics");
        for answer in answers.iter().filter(|answer| answer.status >= 400) {
            assert!(!answer.body.to_string().contains(canary), "{canary} is in a problem: {answer:?}");
        }
    }
    // At rest, the raw request is sealed.
    let files = std::fs::read_dir(onceward.folder().join("data")).unwrap();
    for file in files.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let bytes = std::fs::read(&file).unwrap();
        let held = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        for (name, secret) in ENVIRONMENT.iter().take(5) {
            assert!(!held(secret.as_bytes()), "{name} is in {}", file.display());
        }
        let raw = &lead.body(Source::Desk);
        assert!(!held(&raw[..raw.len() / 2]), "a raw body is readable in {}", file.display());
    }
}
