//! What is genuine and yet wrong, over real sockets against the real process: bad-inputs.md, sections C to F. Every request here is signed as its
//! vendor would, so every one is answered with 200 and nothing of it is lost.
//!
//! | rows | where |
//! | --- | --- |
//! | 50, 54, 56 to 58 | `what_is_no_json_is_kept_for_a_person_whatever_it_is` |
//! | 51 to 53 | ingest `a_source_that_takes_gzip_reads_what_was_packed_up_to_its_limit`, `compressed_bodies_are_refused_whatever_they_hold` |
//! | 55 | `a_form_is_read_by_its_sources_rule` |
//! | 59 to 67, 70, 71, 73, 74 | `what_is_no_json_is_kept_for_a_person_whatever_it_is` |
//! | 68, 69, 75 to 78, 80 to 82, 84, 88 to 91, 95 to 97, 99, 100 | `odd_values_are_read_in_one_way_or_left_to_a_person` |
//! | 72, 77, 79, 80 | `odd_texts_reach_the_crm_byte_for_byte_or_are_attributed` |
//! | 83 | model `mapping/tests/keys.rs`; here `a_body_without_an_id_is_keyed_by_itself` |
//! | 85, 87, 101, 103 | `copies_are_one_event_however_they_come`, `a_batch_is_taken_in_entry_by_entry` |
//! | 86 | `dead_letters.rs` `what_is_genuine_and_unusable_is_kept_for_a_person` |
//! | 92, 93 | `exactness.rs`; model `merge` |
//! | 94, 98 | simulation; conformance `promises` |
//! | 102 | here: a source in the body is text like any other (`odd_values_…`) |

use std::collections::BTreeMap;

use harness::{Answer, Lead, Onceward, SOON, Sent, Setup, Source, headers, now};
use serde_json::{Value, json};

/// Sources that sign as `desk` does and read in other ways.
const MORE: &str = r#"
[sources.items]
secrets   = [{ env = "DESK_SECRET" }]
signature = { algorithm = "hmac-sha256", header = "x-desk-signature", encoding = "hex", prefix = "sha256=", signed = "{body}" }
shared    = true
batch     = "items[]"
id        = "id"
[[sources.items.events]]
when   = "type == 'lead'"
type   = "lead.created"
fields = { external_id = "person", email = { from = "email", as = "email", required = true }, last_name = "last", company = "_outer.company" }

[sources.paper]
secrets   = [{ env = "DESK_SECRET" }]
signature = { algorithm = "hmac-sha256", header = "x-desk-signature", encoding = "hex", prefix = "sha256=", signed = "{body}" }
content   = "form"
[[sources.paper.events]]
when   = "type == 'lead'"
type   = "lead.created"
id     = "id"
fields = { external_id = "person", email = { from = "email", as = "email" }, last_name = "last", company = "company" }

[sources.nameless]
secrets   = [{ env = "DESK_SECRET" }]
signature = { algorithm = "hmac-sha256", header = "x-desk-signature", encoding = "hex", prefix = "sha256=", signed = "{body}" }
[[sources.nameless.events]]
when   = "type == 'lead'"
type   = "lead.created"
id     = "id"
fields = { email = { from = "email", as = "email" }, last_name = "last", company = "company" }
"#;

async fn started() -> Onceward {
    Onceward::with(Setup { more: MORE, ..Setup::default() }).await
}

/// Posts a body to one of the sources that sign as `desk` does.
async fn post(onceward: &Onceward, source: &str, content_type: &str, body: &[u8]) -> Answer {
    let sent = Sent { source: Source::Desk, id: String::new(), body: body.to_vec() };
    let mut request = onceward.http.post(format!("{}/webhooks/{source}", onceward.public)).body(body.to_vec());
    for (name, value) in headers(&sent, now()) {
        request = request.header(&name, if name == "content-type" { content_type } else { value.as_str() });
    }
    Answer::of(request.send().await.unwrap()).await.unwrap()
}

/// The statuses and ids of what a body held.
async fn taken(onceward: &Onceward, source: &str, content_type: &str, body: &[u8]) -> Vec<(String, String)> {
    let answer = post(onceward, source, content_type, body).await.ok();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    answer["events"].as_array().unwrap().iter().map(|event| (word(&event["status"]), word(&event["id"]))).collect()
}

/// Reasons of the dead letters, by event.
async fn reasons(onceward: &Onceward) -> BTreeMap<String, String> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    onceward.admin.dead_letters().await.iter().map(|row| (word(&row["event"]), word(&row["reason"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_is_kept_for_a_person_whatever_it_is() {
    let onceward = started().await;
    let json_type = "application/json";
    let good = Lead::new(1).body(Source::Desk);
    let wide: Vec<u8> = String::from_utf8(good.clone()).unwrap().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let value = |text: &str| format!(r#"{{"type":"lead","id":"1","person":"p","x":{text}}}"#).into_bytes();
    let rows: Vec<(&str, &str, Vec<u8>, &str)> = vec![
        ("54: UTF-16", "application/json; charset=utf-16", wide, "unparseable"),
        ("56: multipart", "multipart/form-data; boundary=b", b"--b\r\n\r\n{}\r\n--b--".to_vec(), "unparseable"),
        ("57: nothing", json_type, Vec::new(), "unparseable"),
        ("57: spaces", json_type, b" \r\n ".to_vec(), "unparseable"),
        ("58: null", json_type, b"null".to_vec(), "unparseable"),
        ("58: a list", json_type, b"[]".to_vec(), "unparseable"),
        ("59: depth 129", json_type, value(&format!("{}1{}", "[".repeat(129), "]".repeat(129))), "unparseable"),
        ("60: two documents", json_type, [good.as_slice(), b"{}"].concat(), "unparseable"),
        ("61: a trailing comma", json_type, value("[1,]"), "unparseable"),
        ("61: NaN", json_type, value("NaN"), "unparseable"),
        ("61: 01", json_type, value("01"), "unparseable"),
        ("62: a raw control character", json_type, value("\"a\u{1}b\""), "unparseable"),
        ("63: invalid UTF-8", json_type, [b"{\"type\":\"lead\",\"x\":\"".as_slice(), b"\xc0\xaf\"}"].concat(), "unparseable"),
        ("64: a byte order mark", json_type, [b"\xef\xbb\xbf".as_slice(), &good].concat(), "unparseable"),
        ("65: cut", json_type, good[..good.len() - 1].to_vec(), "unparseable"),
        ("66: a megabyte of [", json_type, vec![b'['; 1 << 20], "unparseable"),
        ("66: too many values", json_type, value(&format!("[{}1]", "1,".repeat(100_000))), "limits"),
        ("67: a megabyte of digits", json_type, value(&"9".repeat(1 << 19)), "unparseable"),
        ("70: a raw zero", json_type, value("\"\0\""), "unparseable"),
        ("71: half a surrogate", json_type, value(r#""\ud800""#), "unparseable"),
        ("73: 1e400", json_type, value("1e400"), "unparseable"),
        ("74: 1e131071", json_type, value("1e131071"), "unparseable"),
    ];
    for (row, content_type, body, reason) in &rows {
        let taken = taken(&onceward, "desk", content_type, body).await;
        assert_eq!(taken.len(), 1, "{row}");
        assert_eq!(taken[0].0, "dead_letter", "{row}");
        assert_eq!(reasons(&onceward).await.get(&taken[0].1).map(String::as_str), Some(*reason), "{row}");
    }
    assert_eq!(reasons(&onceward).await.len(), rows.len(), "each is a dead letter of its own");
    // Row 50: JSON that says it is something else, or nothing.
    for content_type in ["text/plain", ""] {
        let status = taken(&onceward, "desk", content_type, &good).await.remove(0).0;
        assert_eq!(status, if content_type.is_empty() { "duplicate" } else { "accepted" });
    }
    onceward.until_idle(SOON).await;
    assert_eq!(onceward.crm.leads().await.len(), 1);
}

/// A lead as `desk` writes it, with these members changed.
fn lead(number: u64, changes: Value) -> Vec<u8> {
    let mut body: Value = serde_json::from_slice(&Lead::new(number).body(Source::Desk)).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_values_are_read_in_one_way_or_left_to_a_person() {
    let onceward = started().await;
    let raw = |number: u64, text: &str| {
        let body = lead(number, json!({ "x": "HERE" }));
        String::from_utf8(body).unwrap().replace("\"HERE\"", text).into_bytes()
    };
    let twice =
        |number: u64, text: &str| String::from_utf8(lead(number, json!({}))).unwrap().replacen('{', &format!("{{{text},"), 1).into_bytes();
    let rows: Vec<(&str, Vec<u8>, Result<(), &str>)> = vec![
        ("68: a doubled name that is mapped", twice(1, r#""email":"eve@example.com""#), Err("unparseable")),
        ("68: a doubled name that nobody reads", raw(2, r#"{"a":1,"a":2}"#), Ok(())),
        ("69: U+0000 in a value", lead(3, json!({ "last": "a\0b" })), Ok(())),
        ("69: U+0000 in the external id", lead(4, json!({ "person": "a\0b" })), Err("schema_mismatch")),
        ("75: 2^53+1 as an id", lead(5, json!({ "person": 9_007_199_254_740_993_i64 })), Ok(())),
        ("76: -0", raw(6, "-0"), Ok(())),
        ("78: a long name", raw(7, &format!(r#"{{"{}":1}}"#, "k".repeat(64_000))), Ok(())),
        ("82: a number where a text is mapped", lead(8, json!({ "last": 12 })), Ok(())),
        ("84: an empty id", lead(9, json!({ "id": "" })), Ok(())),
        ("84: a long id", lead(10, json!({ "id": "i".repeat(64_000) })), Ok(())),
        ("84: an id with control characters", lead(11, json!({ "id": "a\nb\u{7f}" })), Ok(())),
        ("88: an id in our own form", lead(12, json!({ "id": "evt-1#0123456789abcdef|x" })), Ok(())),
        ("89: no time", lead(13, json!({ "at": null })), Ok(())),
        (
            "90: 25 hours ahead",
            lead(14, json!({ "at": (now() + std::time::Duration::from_secs(90_000)).to_string() })),
            Err("schema_mismatch"),
        ),
        ("90: the year 9999", lead(15, json!({ "at": "9999-12-31T23:59:59Z" })), Err("schema_mismatch")),
        ("90: 30 February", lead(16, json!({ "at": "2026-02-30T00:00:00Z" })), Err("schema_mismatch")),
        ("90: an offset of 99 hours", lead(17, json!({ "at": "2026-02-20T00:00:00+99:99" })), Err("schema_mismatch")),
        ("91: a naive time without a zone", lead(18, json!({ "at": "2026-02-20 10:00:00" })), Err("schema_mismatch")),
        ("95: nothing but nulls", br#"{"type":"lead","id":null,"at":null,"person":null,"email":null}"#.to_vec(), Err("missing_identity")),
        ("96: nobody", lead(19, json!({ "person": null, "email": null })), Err("missing_identity")),
        ("97: spaces for an id", lead(20, json!({ "person": "   ", "email": null })), Err("schema_mismatch")),
        ("97: a long external id", lead(21, json!({ "person": "p".repeat(10_000) })), Err("schema_mismatch")),
        ("97: an external id that looks like a path", lead(22, json!({ "person": "../%2F'\"?x=1#y" })), Ok(())),
        ("99: a type nobody knows", lead(23, json!({ "type": "moon.risen" })), Err("unmapped")),
        ("99: a type that is listed", lead(24, json!({ "type": "ping" })), Err("ignored")),
        ("100, 102: trust and source in the payload", lead(25, json!({ "trust": 100, "source": "forms" })), Ok(())),
    ];
    for (row, body, expected) in &rows {
        let taken = taken(&onceward, "desk", "application/json", body).await;
        assert_eq!(taken.len(), 1, "{row}");
        match expected {
            Ok(()) => assert_eq!(taken[0].0, "accepted", "{row}"),
            Err("ignored") => assert_eq!(taken[0].0, "ignored", "{row}"),
            Err(reason) => {
                assert_eq!(taken[0].0, "dead_letter", "{row}");
                assert_eq!(reasons(&onceward).await.get(&taken[0].1).map(String::as_str), Some(*reason), "{row}");
            }
        }
        // Whatever it was, its retry is no second event.
        let again = &self::taken(&onceward, "desk", "application/json", body).await[0];
        assert_eq!((again.0.as_str(), &again.1), ("duplicate", &taken[0].1), "{row}, again");
    }
    onceward.until_idle(SOON).await;
    let leads = onceward.crm.leads().await;
    // A number where the CRM has a text is the CRM's to refuse, and then a person's.
    let dead = onceward.admin.dead_letters().await;
    let refused: Vec<&str> =
        dead.iter().filter(|row| row["reason"] == "rejected_by_crm").map(|row| row["message"].as_str().unwrap()).collect();
    assert!(refused.len() == 1 && refused[0].contains("LastName"), "{refused:?}");
    assert_eq!(leads.len() + refused.len(), rows.iter().filter(|row| row.2.is_ok()).count());
    let with = |email: &str| leads.iter().find(|lead| lead.text("Email") == email).unwrap();
    assert_eq!(with("person-3@example.com").text("LastName"), "a\u{fffd}b");
    assert_eq!(with("person-5@example.com").key.as_deref(), Some("9007199254740993"));
    assert_eq!(with("person-22@example.com").key.as_deref(), Some("../%2F'\"?x=1#y"));
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_texts_reach_the_crm_byte_for_byte_or_are_attributed() {
    let onceward = started().await;
    let texts = [
        "\u{1f600} \u{200d} \u{2028} \u{ffff}",
        "__proto__",
        "'; DROP TABLE delivery; --",
        "{{7*7}} ${jndi:ldap://x} =cmd()",
        "a\u{1b}[31m\u{202e}b\u{200b}c",
    ];
    for (number, text) in (1..).zip(texts) {
        let taken = taken(&onceward, "desk", "application/json", &lead(number, json!({ "last": text }))).await;
        assert_eq!(taken[0].0, "accepted", "{text:?}");
    }
    // Row 79: nobody said that it may be cut, so the CRM's refusal is told of the field that it is about.
    let long = taken(&onceward, "desk", "application/json", &lead(99, json!({ "company": "c".repeat(900_000) }))).await.remove(0);
    assert_eq!(long.0, "accepted");
    onceward.until_idle(SOON).await;
    let leads = onceward.crm.leads().await;
    assert_eq!(leads.len(), texts.len());
    for (number, text) in (1..).zip(texts) {
        let email = format!("person-{number}@example.com");
        let lead = leads.iter().find(|lead| lead.text("Email") == email).unwrap();
        assert_eq!(lead.text("LastName"), text);
    }
    let dead = onceward.admin.dead_letters().await;
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0]["event"].as_str(), dead[0]["reason"].as_str()), (Some(long.1.as_str()), Some("rejected_by_crm")), "{dead:#?}");
    assert!(dead[0]["message"].as_str().unwrap().contains("Company"), "{dead:#?}");
    // Row 80: what is written into a log is one line of it.
    assert!(!onceward.log().contains('\u{1b}') && !onceward.log().contains('\u{202e}'));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_an_id_is_keyed_by_itself() {
    let onceward = started().await;
    let body =
        |last: &str| json!({ "type": "lead", "email": "ada@example.com", "last": last, "company": "Example" }).to_string().into_bytes();
    let first = taken(&onceward, "nameless", "application/json", &body("Ada")).await.remove(0);
    assert_eq!(first.0, "accepted");
    assert_eq!(taken(&onceward, "nameless", "application/json", &body("Ada")).await, [("duplicate".to_owned(), first.1.clone())]);
    assert_eq!(taken(&onceward, "nameless", "application/json", &body("Bea")).await[0].0, "accepted");
    let event = onceward.admin.get(&format!("/api/events/{}", first.1)).await.ok();
    let warnings = event["event"]["warnings"].to_string();
    assert!(warnings.contains("id_missing"), "{event:#}");
}

/// Rows 85, 87 and 103.
#[tokio::test(flavor = "multi_thread")]
async fn copies_are_one_event_however_they_come() {
    let onceward = std::sync::Arc::new(started().await);
    let body = lead(1, json!({}));
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (onceward, body) = (onceward.clone(), body.clone());
        sending.spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..50 {
                seen.extend(taken(&onceward, "desk", "application/json", &body).await);
            }
            seen
        });
    }
    let seen: Vec<_> = sending.join_all().await.into_iter().flatten().collect();
    assert_eq!(seen.len(), 1000);
    assert!(seen.iter().all(|(_, id)| *id == seen[0].1));
    assert_eq!(seen.iter().filter(|(status, _)| status == "accepted").count(), 1);
    // The same id from elsewhere is another event, of the same person.
    let other = taken(&onceward, "nameless", "application/json", &body).await.remove(0);
    assert!(other.0 == "accepted" && other.1 != seen[0].1);
    onceward.until_idle(SOON).await;
    let leads = onceward.crm.leads().await;
    assert_eq!((leads.len(), leads[0].creates), (1, 1));
}

/// Row 101.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_taken_in_entry_by_entry() {
    let onceward = started().await;
    let item = |number: u64| json!({ "type": "lead", "id": format!("i-{number}"), "person": format!("p-{number}"), "email": format!("p{number}@example.com"), "last": "P" });
    let statuses = async |items: Vec<Value>| -> Vec<String> {
        let body = json!({ "company": "Example", "items": items }).to_string();
        taken(&onceward, "items", "application/json", body.as_bytes()).await.into_iter().map(|(status, _)| status).collect()
    };
    let mut bad = item(2);
    bad["email"] = json!(null);
    assert_eq!(statuses(vec![item(1), bad.clone(), item(3), item(1)]).await, ["accepted", "dead_letter", "accepted", "duplicate"]);
    // The vendor's retry, in another order and with one more.
    assert_eq!(statuses(vec![item(3), item(4), bad, item(1)]).await, ["duplicate", "accepted", "duplicate", "duplicate"]);
    assert_eq!(statuses(Vec::new()).await, [""; 0]);
    assert_eq!(reasons(&onceward).await.into_values().collect::<Vec<_>>(), ["schema_mismatch"]);
    let many = (0..10_001).map(item).collect();
    assert_eq!(statuses(many).await, ["dead_letter"]);
    onceward.until_idle(SOON).await;
    let leads = onceward.crm.leads().await;
    assert_eq!(leads.len(), 3);
    assert!(leads.iter().all(|lead| lead.creates == 1 && lead.text("Company") == "Example"));
    // Each of them is found by its own key, and so is what the request was.
    let trace = onceward.admin.trace("p3@example.com").await.unwrap();
    assert!(trace.to_string().contains("items|lead.created|i-3"), "{trace:#}");
}

/// Row 55.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_is_read_by_its_sources_rule() {
    let onceward = started().await;
    let form = "application/x-www-form-urlencoded";
    let good = b"type=lead&id=f-1&person=p-1&email=ada%40example.com&last=Example+Ada&company=B%C3%BCro";
    assert_eq!(taken(&onceward, "paper", form, good).await[0].0, "accepted");
    assert_eq!(taken(&onceward, "desk", form, good).await[0].0, "dead_letter", "JSON is expected there");
    let many: String = (0..10_001).map(|n| format!("&f{n}=1")).collect();
    // What is no escape stands for itself, as the URL Standard reads forms (section 5.1).
    let loose = b"type=lead&id=f-2&person=p-2&email=bea%40example.com&last=100%zz&company=C";
    assert_eq!(taken(&onceward, "paper", form, loose).await[0].0, "accepted");
    let rows: [(&str, Vec<u8>); 3] = [
        ("%00 in the id of the person", b"type=lead&id=f-3&person=p%00".to_vec()),
        ("a repeated name that is mapped", b"type=lead&id=f-4&person=p-4&person=p-5".to_vec()),
        ("10,001 fields", format!("type=lead&id=f-5&person=p-5{many}").into_bytes()),
    ];
    for (row, body) in rows {
        assert_eq!(taken(&onceward, "paper", form, &body).await[0].0, "dead_letter", "{row}");
    }
    onceward.until_idle(SOON).await;
    let leads = onceward.crm.leads().await;
    let mut names: Vec<_> = leads.iter().map(|lead| (lead.text("LastName"), lead.text("Company"))).collect();
    names.sort_unstable();
    assert_eq!(names, [("100%zz", "C"), ("Example Ada", "B\u{fc}ro")]);
}
