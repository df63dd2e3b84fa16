//! A finance system that only the configuration describes: an invoice is posted once, whatever becomes of the answers, with kills in between.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::{Onceward, Sent, Setup, Source};
use serde_json::{Value, json};

const ERP: &str = r#"
[sources.shop]
secrets   = [{ env = "DESK_SECRET" }]
signature = { algorithm = "hmac-sha256", header = "x-desk-signature", encoding = "hex", prefix = "sha256=", signed = "{body}" }
shared    = true
[[sources.shop.events]]
type        = "invoice.created"
id          = "id"
occurred_at = "at"
[sources.shop.events.fields]
external_id = "number"
amount      = { from = "amount", as = "number" }
currency    = "currency"

[destinations.erp]
kind         = "rest"
base_url     = "{crm}"
auth         = { kind = "bearer", token = { env = "HUBSPOT_TOKEN" } }
call_timeout = "1s"
late_window  = "2s"
breaker      = { failures = 5, probe = "1s", probe_max = "1s" }
schedule     = ["0s", "0s", "0s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s"]
[destinations.erp.rest]
probe            = "/rest-demo/me"
idempotency_life = "30d"
[destinations.erp.rest.errors]
code    = "/error/code"
message = "/error/message"
codes   = { duplicate_number = "exists", idempotency_key_reused = "permanent", not_found = "missing", locked = "retryable" }
[destinations.erp.objects.Invoice]
key    = { field = "number", from = "identity.external_id" }
fields = { total = "amount", currency = "currency" }
[destinations.erp.objects.Invoice.rest]
id     = "/data/id"
create = { path = "/rest-demo/invoices", body = { number = "{key}", total = { amount = "{fields.total}", currency = "{fields.currency}" }, kind = "sale" }, wrap = "/data", success = [201], idempotency = "{destination}:{object}:{key}:{revision}" }
[destinations.erp.objects.Invoice.rest.read]
path   = "/rest-demo/invoices?number={key}"
items  = "/data"
id     = "/id"
key    = "/number"
fields = { total = "/total/amount", currency = "/total/currency" }

[[routes]]
source = "shop"
event  = "invoice.*"
to     = "erp"
object = "Invoice"
mode   = "create_only"
"#;

/// Every record that the finance system has of its invoices.
async fn invoices(onceward: &Onceward) -> Vec<Value> {
    let url = format!("{}/_sandbox/records", onceward.crm.base);
    onceward.http.get(url).query(&[("crm", "rest-demo"), ("object", "invoices")]).send().await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_is_posted_once_whatever_becomes_of_the_answers() {
    let faults = "rest-demo.cut-after=0.2,rest-demo.500-after=0.1,rest-demo.cut-before=0.05,rest-demo.500-before=0.05,rest-demo.late=0.1:1s,\
                  rest-demo.garbage=0.05,rest-demo.lock=0.05";
    let mut onceward = Onceward::with(Setup { faults, more: ERP, ..Setup::default() }).await;
    let mut expected = BTreeMap::new();
    for round in 0..4 {
        for number in 0..20 {
            let number = format!("R-{round}-{number}");
            let amount = 100 + round;
            let body = json!({ "id": number, "at": "2026-11-01T10:00:00Z", "number": number, "amount": amount, "currency": "EUR" });
            let sent = Sent { source: Source::Desk, id: String::new(), body: body.to_string().into_bytes() };
            let mut request = onceward.http.post(format!("{}/webhooks/shop", onceward.public)).body(sent.body.clone());
            for (name, value) in harness::headers(&sent, harness::now()) {
                request = request.header(name, value);
            }
            assert_eq!(request.send().await.unwrap().status(), 200);
            expected.insert(number, amount);
        }
        onceward.kill9();
        onceward.restart();
    }
    onceward.until_idle(Duration::from_secs(180)).await;
    let dead = onceward.admin.dead_letters().await;
    assert!(dead.is_empty(), "{} dead letters, such as {:#}", dead.len(), dead[0]);
    let invoices = invoices(&onceward).await;
    assert_eq!(invoices.len(), expected.len(), "each invoice is there once");
    for invoice in invoices {
        assert_eq!(invoice["creates"], 1, "{invoice}");
        let number = invoice["fields"]["number"].as_str().unwrap();
        let total = &invoice["fields"]["total"];
        assert!(
            total.as_f64().or_else(|| total.as_str()?.parse().ok()) == expected.get(number).map(|amount| f64::from(*amount)),
            "{invoice}"
        );
    }
}
