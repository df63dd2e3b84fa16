use ingest::Limits;
use model::seal::unpack;

use crate::support::*;

fn with(name: &str, value: impl Into<String>) -> Vec<(String, String)> {
    vec![(name.to_owned(), value.into())]
}

/// Rows 25, 26, 28 to 32, 34 to 36, 42, 47, 48: one answer for all, which tells nothing.
#[tokio::test]
async fn whatever_is_wrong_with_a_signature_the_answer_is_the_same() {
    let running = Running::start(Limits::default()).await;
    let body = signup("forged");
    let signed = running.signed("demo", &[], &body);
    let right = signed[0].1.clone();
    let hex = right.trim_start_matches("sha256=");
    let other = running.signed("other", &[], &body);
    let base64 = "3q2+7w==".repeat(8);
    let wrong: Vec<(&str, Vec<(String, String)>)> = vec![
        ("25: missing", vec![]),
        ("26: empty", with("x-signature", "")),
        ("29: one byte short", with("x-signature", &right[..right.len() - 2])),
        ("29: one byte long", with("x-signature", format!("{right}00"))),
        ("29: only the prefix", with("x-signature", "sha256=")),
        ("29: a beginning of the right one", with("x-signature", &right[..20])),
        ("30: another algorithm", with("x-signature", format!("sha1={hex}"))),
        ("30: no prefix", with("x-signature", hex)),
        ("31: capitals", with("x-signature", format!("sha256={}", hex.to_uppercase()))),
        ("31: base64", with("x-signature", format!("sha256={base64}"))),
        ("31: a space within", with("x-signature", format!("sha256= {hex}"))),
        ("32: two headers, one good", [signed.clone(), with("x-signature", "sha256=00")].concat()),
        ("34: 10,000 signatures", with("x-signature", vec!["sha256=00"; 6_000].join(","))),
        ("42: another source's", other),
        ("47: 64 kB", with("x-signature", "a".repeat(64 << 10))),
        ("47: not ASCII", with("x-signature", "sha256=\u{e9}")),
    ];
    let mut answers = Vec::new();
    for (name, headers) in wrong {
        let answer = running.post("/webhooks/demo", &headers, &body).await;
        assert_eq!(answer.status, 401, "{name}");
        answers.push((answer.status, answer.body));
    }
    for (name, body) in [
        ("35: written again", signup("other")),
        ("36: a newline", [&body[..], b"\n"].concat()),
        ("36: BOM", [b"\xef\xbb\xbf", &body[..]].concat()),
    ] {
        let answer = running.post("/webhooks/demo", &signed, &body).await;
        assert_eq!(answer.status, 401, "{name}");
        answers.push((answer.status, answer.body));
    }
    let answer = running.post(&format!("/webhooks/demo?signature={right}"), &[], &body).await;
    answers.push((answer.status, answer.body));
    let answer = running.post("/webhooks/open", &signed, &body).await;
    answers.push((answer.status, answer.body));
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(running.raw_events().await, 0);
    assert!(answers[0].1.contains("urn:onceward:problem:bad-signature"));
}

/// Rows 33, 37, 41, 43.
#[tokio::test]
async fn genuine_requests_are_taken_in_once() {
    let running = Running::start(Limits::default()).await;
    let body = "{\"type\":\"signup\",\"id\":\"n\\u00ebw\",\"a\":12.50,\"b\":1,\"b\":2}".as_bytes();
    assert_eq!(running.post_signed("demo", &[], body).await.events(), ["accepted"]);
    assert_eq!(running.post_signed("demo", &[], body).await.events(), ["duplicate"]);

    let body = br#"{"type":"lead.created","data":{"id":"7","email":"ada@example.com"}}"#;
    let mut headers = running.signed("hooks", &[("webhook-id", "msg_1")], body);
    let signature = headers.iter_mut().find(|(name, _)| name == "webhook-signature").unwrap();
    signature.1 = format!("v1,{} v1a,xyz {}", "A".repeat(43) + "=", signature.1);
    let answer = running.post("/webhooks/hooks", &headers, body).await;
    assert_eq!(answer.events(), ["accepted"]);
    assert_eq!(answer.json()["events"][0]["idempotency_key"], "hooks|lead.created|msg_1");
    // Row 44: the id is signed.
    headers[0].1 = "msg_2".to_owned();
    assert_eq!(running.post("/webhooks/hooks", &headers, body).await.status, 401);
}

/// Rows 38, 39, 40.
#[tokio::test]
async fn a_timestamp_counts_only_as_the_vendor_writes_it_and_for_five_minutes() {
    let running = Running::start(Limits::default()).await;
    let body = br#"{"type":"lead.created","data":{"id":"7"}}"#;
    let at = |moment: String| {
        let mut headers = running.signed("hooks", &[("webhook-id", "msg_1")], body);
        headers.iter_mut().find(|(name, _)| name == "webhook-timestamp").unwrap().1 = moment;
        headers
    };
    let now = NOW.seconds();
    for moment in [
        format!("+{now}"),
        format!("{now}0000000000"),
        format!("{now:x}"),
        format!("{now}.0"),
        format!("-{now}"),
        format!("{now}000"),
        (now - 301).to_string(),
        (now + 301).to_string(),
        String::new(),
    ] {
        assert_eq!(running.post("/webhooks/hooks", &at(moment.clone()), body).await.status, 401, "{moment}");
    }
    let mut doubled = at(now.to_string());
    doubled.push(("webhook-timestamp".to_owned(), now.to_string()));
    assert_eq!(running.post("/webhooks/hooks", &doubled, body).await.status, 401);
    let missing: Vec<_> = at(now.to_string()).into_iter().filter(|(name, _)| name != "webhook-timestamp").collect();
    assert_eq!(running.post("/webhooks/hooks", &missing, body).await.status, 401);
    assert_eq!(running.post("/webhooks/hooks", &at(now.to_string()), body).await.status, 200);
}

/// Row 45.
#[tokio::test]
async fn an_id_that_is_not_signed_makes_nothing_new() {
    let running = Running::start(Limits::default()).await;
    let body = br#"{"action":"opened"}"#;
    for (delivery, status) in [("1", "ignored"), ("2", "duplicate")] {
        let headers = [("x-github-event", "issues"), ("x-github-delivery", delivery)];
        assert_eq!(running.post_signed("github", &headers, body).await.events(), [status]);
    }
}

#[tokio::test]
async fn refused_requests_are_kept_sealed_with_a_diagnosis_and_only_so_many() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::with(door(ledger(&folder, &["demo"]).await, Limits { rejected_rate: 3, ..Limits::default() })).await;
    let store = &running.door.store;
    let forged = running.signed("other", &[("authorization", "Bearer of-the-caller")], &signup("kept"));
    for _ in 0..5 {
        assert_eq!(running.post("/webhooks/demo", &forged, &signup("kept")).await.status, 401);
    }
    let kept = async {
        loop {
            let rows = store.rejected(Some("demo"), 10).await.unwrap();
            if rows.len() >= 3 {
                break rows;
            }
        }
    };
    let rows = tokio::time::timeout(std::time::Duration::from_secs(10), kept).await.unwrap();
    // The five may fall into two seconds; they do not fall into five.
    assert!(rows.len() < 5, "{}", rows.len());
    assert_eq!(rows[0].reason, "mismatch");
    assert!(!rows[0].diagnosis.is_empty() && !rows[0].diagnosis.contains("example.com"), "{}", rows[0].diagnosis);
    let row = store.rejected_one(rows[0].id).await.unwrap().unwrap();
    let request = unpack(&running.door.keys.open(row.id.0, row.key_id, &row.sealed).unwrap()).unwrap();
    assert_eq!(request.body, signup("kept"));
    assert!(
        request.headers.iter().any(|(name, _)| name == "x-signature") && request.headers.iter().all(|(name, _)| name != "authorization")
    );
}

/// What was kept of the only refused request.
pub async fn kept(running: &Running) -> store::NewRejected {
    let rows = loop {
        let rows = running.door.store.rejected(None, 10).await.unwrap();
        if !rows.is_empty() {
            break rows;
        }
        tokio::task::yield_now().await;
    };
    running.door.store.rejected_one(rows[0].id).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_refused_request_is_judged_again_by_the_time_at_which_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let store = ledger(&folder, &["hooks"]).await;
    let right = door(store.clone(), Limits::default());
    let body = br#"{"type":"lead.created","data":{"id":"7","email":"ada@example.com"}}"#;
    let mut wrong = door(store, Limits::default());
    let other = model::secret::Secret::new("whsec_MTExMTExMTExMTExMTExMTExMTExMTExMTExMTEx").unwrap();
    let gate = wrong.gates.get_mut("hooks").unwrap();
    gate.verifier = gate.source.scheme.compile(&[other], None).unwrap();
    let running = Running::with(wrong).await;
    let vendor = Running::with(right).await;
    let headers = vendor.signed("hooks", &[("webhook-id", "msg_1")], body);
    assert_eq!(running.post("/webhooks/hooks", &headers, body).await.status, 401);
    let held = kept(&running).await;
    assert_eq!(held.reason, "mismatch");

    // Days later, with the right secret, its timestamp is as fresh as it was.
    let later = NOW + std::time::Duration::from_secs(3 * 86_400);
    let Ok(ingest::Rechecked::Genuine(intake)) = vendor.door.recheck(&held, later, [1; 12]) else { panic!("it is genuine") };
    assert_eq!((intake.raw.received_at, intake.events.len(), intake.events[0].key.as_str()), (NOW, 1, "hooks|lead.created|msg_1"));
    assert!(model::IdGenerator::made_at(intake.raw.id.0) > NOW, "its row is made now");
    let event: model::Event = serde_json::from_str(&intake.events[0].normalized).unwrap();
    assert_eq!(event.audit.received_at, NOW);
    // What was wrong stays so, with a diagnosis of today.
    let Ok(ingest::Rechecked::Refused { reason, diagnosis }) = running.door.recheck(&held, later, [1; 12]) else { panic!("it is not") };
    assert!(reason == "mismatch" && !diagnosis.is_empty());
    // And what was old when it came is old.
    let stale = store::NewRejected { at: later, ..held.clone() };
    let Ok(ingest::Rechecked::Refused { reason, .. }) = vendor.door.recheck(&stale, later, [1; 12]) else { panic!("it is stale") };
    assert_eq!(reason, "timestamp_stale");
    let nobodys = store::NewRejected { source: "gone".to_owned(), ..held };
    assert!(vendor.door.recheck(&nobodys, later, [1; 12]).unwrap_err().to_string().contains("not configured any more"));
}
