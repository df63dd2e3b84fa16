//! A restart forgets nothing that was answered. What a kill leaves is a copy of the journal, made while the sandbox still runs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use model::Time;
use onceward_sandbox::{Options, RecordView, Sandbox, Stats, WrongJournal};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::{START, lead};

const LEADS: &str = "/services/data/v68.0/composite/sobjects/Lead/Ext_Id__c";

/// A sandbox with a journal and a clock that is turned by hand.
struct Kept {
    sandbox: Sandbox,
    path: PathBuf,
    seconds: Arc<AtomicI64>,
    _folder: TempDir,
}

impl Kept {
    /// One whose journal holds these bytes.
    async fn holding(journal: &[u8]) -> Result<Self, WrongJournal> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sandbox.jsonl");
        if !journal.is_empty() {
            std::fs::write(&path, journal).unwrap();
        }
        let seconds = Arc::new(AtomicI64::new(START.seconds()));
        Ok(Self { sandbox: serve(&path, seconds.clone()).await?, path, seconds, _folder: folder })
    }

    async fn new() -> Self {
        Self::holding(b"").await.unwrap()
    }

    fn journal(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }

    /// What is there after a kill at this moment.
    async fn killed(&self) -> Self {
        let other = Self::holding(&self.journal()).await.unwrap();
        other.seconds.store(self.seconds.load(Ordering::Relaxed), Ordering::Relaxed);
        other
    }

    fn wait(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Status and body; status 0 if the connection was cut.
    async fn call(&self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(self.sandbox.address()).await.unwrap();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer t\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        // A reset is one of the ways a cut shows itself.
        let _ = stream.read_to_end(&mut bytes).await;
        let text = String::from_utf8(bytes).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return (0, Value::Null) };
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
    }

    async fn upsert(&self, leads: &[(&str, &str)]) -> (u16, Value) {
        let records: Vec<Value> = leads.iter().map(|(key, last)| lead(key, last)).collect();
        self.call("PATCH", LEADS, &json!({"records": records})).await
    }

    fn records(&self) -> Vec<RecordView> {
        self.sandbox.core().lock().unwrap().records(None, None).collect()
    }

    fn stats(&self) -> Stats {
        self.sandbox.core().lock().unwrap().stats()
    }

    fn last_seq(&self) -> u64 {
        self.sandbox.core().lock().unwrap().calls(0).last().unwrap().seq
    }

    fn last_name(&self, key: &str) -> Option<String> {
        let record = self.records().into_iter().find(|record| record.key.as_deref() == Some(key))?;
        record.fields["LastName"].as_str().map(str::to_owned)
    }
}

async fn serve(path: &Path, seconds: Arc<AtomicI64>) -> Result<Sandbox, WrongJournal> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = Options { latency: Duration::ZERO, ..Options::default() };
    Sandbox::serve_with_journal(listener, 7, options, path, move || Time::from_seconds(seconds.load(Ordering::Relaxed)))
}

#[tokio::test]
async fn a_restart_keeps_records_ids_dates_counts_and_the_numbering_of_calls() {
    let crm = Kept::new().await;
    crm.upsert(&[("a", "One"), ("b", "Two"), ("c", "Three")]).await;
    crm.wait(60);
    crm.upsert(&[("B", "Deux"), ("bad", "")]).await;
    let target = |crm: &Kept, place: usize| format!("/services/data/v68.0/sobjects/Lead/{}", crm.records()[place].id);
    assert_eq!(crm.call("DELETE", &target(&crm, 0), &Value::Null).await.0, 204);
    assert_eq!(crm.call("DELETE", &target(&crm, 2), &Value::Null).await.0, 204);
    crm.upsert(&[("a", "One again")]).await;
    let contact = json!({"LastName": "Stone", "Account": {"Acct__c": "x"}, "Score__c": 1.5, "Flag__c": true});
    let company = "/services/data/v68.0/sobjects/Account/Acct__c/x";
    assert_eq!(crm.call("PATCH", company, &json!({"Name": "Example"})).await.0, 201);
    assert_eq!(crm.call("PATCH", "/services/data/v68.0/sobjects/Contact/Own__c/1", &contact).await.0, 201);

    let again = crm.killed().await;
    assert_eq!((again.records(), again.stats()), (crm.records(), crm.stats()));
    assert_eq!(again.records().iter().filter(|record| record.deleted).count(), 1);
    let shown =
        again.call("GET", "/services/data/v68.0/sobjects/Lead/Ext_Id__c/b?fields=CreatedDate,LastModifiedDate", &Value::Null).await.1;
    assert_eq!(shown["CreatedDate"], "2026-11-22T18:04:00.000+0000");
    assert_eq!(shown["LastModifiedDate"], "2026-11-22T18:05:00.000+0000");
    assert_eq!(again.last_seq(), crm.last_seq() + 1);
    // From here both go on alike: keys find what they found, ids do not collide, a deleted key hands its counts on.
    crm.call("GET", "/services/data/v68.0/sobjects/Lead/Ext_Id__c/b", &Value::Null).await;
    for crm in [&crm, &again] {
        crm.upsert(&[("a", "Still one"), ("c", "Three again"), ("d", "Four")]).await;
        crm.call("PATCH", "/services/data/v68.0/sobjects/Contact/Own__c/1", &contact).await;
    }
    assert_eq!((again.records(), again.stats()), (crm.records(), crm.stats()));
    assert_eq!(again.killed().await.records(), crm.records(), "and once more");
}

#[tokio::test]
async fn a_torn_last_line_is_dropped_with_all_of_its_call() {
    let crm = Kept::new().await;
    crm.upsert(&[("a", "One")]).await;
    let whole = crm.journal().len();
    crm.upsert(&[("a", "Two"), ("b", "Two")]).await;
    let journal = crm.journal();
    for length in [whole, whole + 1, (whole + journal.len()) / 2, journal.len() - 1] {
        let again = Kept::holding(&journal[..length]).await.unwrap();
        assert_eq!((again.last_name("a").as_deref(), again.records().len()), (Some("One"), 1), "{length} of {}", journal.len());
        again.upsert(&[("c", "Three")]).await;
        assert_eq!(again.killed().await.records().len(), 2, "what comes after a torn line is whole");
    }
    assert_eq!(Kept::holding(&journal).await.unwrap().last_name("a").as_deref(), Some("Two"));
}

#[tokio::test]
async fn a_reset_empties_the_journal() {
    let crm = Kept::new().await;
    crm.upsert(&[("a", "Lovelace")]).await;
    assert_eq!(crm.call("DELETE", "/_sandbox", &Value::Null).await.0, 204);
    assert!(!String::from_utf8(crm.journal()).unwrap().contains("Lovelace"));
    let again = crm.killed().await;
    assert_eq!((again.records(), again.stats()), (Vec::new(), Stats::default()));
    crm.upsert(&[("b", "Hopper")]).await;
    assert_eq!(crm.killed().await.last_name("b").as_deref(), Some("Hopper"));
}

#[tokio::test]
async fn a_late_write_lands_at_its_time_after_a_restart_and_only_once() {
    let crm = Kept::new().await;
    crm.call("PUT", "/_sandbox/faults", &json!({"late": "1:30s"})).await;
    assert_eq!(crm.upsert(&[("a", "Old")]).await.0, 0);
    crm.call("PUT", "/_sandbox/faults", &json!({})).await;
    crm.wait(10);
    crm.upsert(&[("a", "New")]).await;

    let again = crm.killed().await;
    again.wait(19);
    again.call("GET", "/_sandbox/stats", &Value::Null).await;
    assert_eq!(again.last_name("a").as_deref(), Some("New"), "not before its time");
    again.wait(1);
    again.call("GET", "/_sandbox/stats", &Value::Null).await;
    assert_eq!((again.last_name("a").as_deref(), again.records()[0].writes), (Some("Old"), 2));

    let third = again.killed().await;
    third.wait(60);
    third.call("GET", "/_sandbox/stats", &Value::Null).await;
    assert_eq!((third.last_name("a").as_deref(), third.records()[0].writes), (Some("Old"), 2));
}

#[tokio::test]
async fn a_start_leaves_out_what_is_outdated_and_the_file_is_its_owners_alone() {
    let crm = Kept::new().await;
    for number in 0..50 {
        crm.upsert(&[("a", &number.to_string())]).await;
    }
    let again = crm.killed().await;
    assert_eq!(again.last_name("a").as_deref(), Some("49"));
    assert!(again.journal().len() * 10 < crm.journal().len());
    for crm in [&crm, &again] {
        assert_eq!(std::fs::metadata(&crm.path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_journal_that_is_in_use_or_is_none_is_refused() {
    let crm = Kept::new().await;
    let error = serve(&crm.path, crm.seconds.clone()).await.unwrap_err().to_string();
    assert!(error.contains("in use by another sandbox"), "{error}");
    crm.upsert(&[("a", "One")]).await;
    let Kept { sandbox, path, seconds, _folder } = crm;
    sandbox.stop().await;
    let sandbox = serve(&path, seconds.clone()).await.unwrap();
    assert_eq!(sandbox.core().lock().unwrap().stats().records, 1, "it is free once the other has stopped");

    let Err(error) = Kept::holding(b"{\"counts\":\"Lovelace\"}\n").await else { panic!("it is no journal") };
    let error = error.to_string();
    assert!(error.contains("line 1 of the journal") && !error.contains("Lovelace"), "{error}");
    let error = serve(&path.join("below"), seconds).await.unwrap_err().to_string();
    assert!(error.contains("cannot be read and written"), "{error}");
}

#[tokio::test]
async fn a_restart_keeps_both_dialects_with_their_late_writes() {
    let crm = Kept::new().await;
    let path = "/crm/v3/objects/contacts/batch/upsert";
    let upsert = |key: &str, last: &str| {
        let input = json!({"id": key, "idProperty": "crm_ext_id", "objectWriteTraceId": "0", "properties": {"lastname": last}});
        json!({"inputs": [input]})
    };
    crm.upsert(&[("a", "Lead")]).await;
    assert_eq!(crm.call("POST", path, &upsert("a", "One")).await.0, 200);
    crm.call("PUT", "/_sandbox/faults", &json!({"hubspot.late": "1:30s"})).await;
    assert_eq!(crm.call("POST", path, &upsert("A", "Late")).await.0, 0);
    crm.call("PUT", "/_sandbox/faults", &json!({})).await;

    let again = crm.killed().await;
    assert_eq!((again.records(), again.stats()), (crm.records(), crm.stats()));
    again.wait(30);
    assert_eq!(again.call("POST", path, &upsert("b", "Two")).await.1["results"][0]["new"], true);
    assert_eq!(again.call("POST", path, &upsert("A", "Three")).await.1["results"][0]["new"], false, "the key is unique again");
    let held: Vec<_> = again.records().into_iter().filter(|record| record.crm == "hubspot").collect();
    assert_eq!((held.len(), held[0].creates, held[0].writes), (2, 1, 3), "the late one landed, once");
    assert_eq!(again.killed().await.records(), again.records());
}

#[tokio::test]
async fn the_dialects_of_the_frame_survive_a_restart_with_their_late_writes_and_what_they_remember() {
    let before = Kept::new().await;
    let assert = "/v2/objects/deals/records?matching_attribute=erp_id";
    let deal = |name: &str| json!({ "data": { "values": { "erp_id": "d-1", "name": name, "stage": "Lead", "owner": "me" } } });
    let made = json!({ "data": { "title": "Key", "description": "", "api_slug": "erp_id", "type": "text", "is_required": false,
        "is_unique": true, "is_multiselect": false, "config": {} } });
    assert_eq!(before.call("POST", "/v2/objects/deals/attributes", &made).await.0, 200);
    assert_eq!(before.call("PUT", assert, &deal("First")).await.0, 200);
    before.call("PUT", "/_sandbox/faults", &json!({ "late": "1:60s" })).await;
    assert_eq!(before.call("PUT", assert, &deal("Late")).await.0, 0);

    let after = before.killed().await;
    assert_eq!(after.call("GET", "/_sandbox/records", &Value::Null).await, before.call("GET", "/_sandbox/records", &Value::Null).await);
    let again = after.killed().await;
    again.wait(61);
    assert_eq!(again.call("GET", "/_sandbox/stats", &Value::Null).await.1["updates"], 1, "also after the file was written anew");
    let (_, records) = again.call("GET", "/_sandbox/records?crm=attio", &Value::Null).await;
    assert_eq!((records.as_array().unwrap().len(), &records[0]["fields"]["name"], &records[0]["key"]), (1, &json!("Late"), &json!("d-1")));
}
