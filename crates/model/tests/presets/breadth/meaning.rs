//! What the samples of payments and shops become: type, key, time, who it is about, and what is known of them.

use model::mapping::ReadContext;
use model::preset::{preset, sample};
use model::seal::{SealingKey, SealingKeys};
use model::source::{Source, SourceDef};
use model::{EventId, RawEventId, Reading, Received, Time};
use serde_json::{Value, json};

/// What the preset reads in a body, an hour after the samples.
fn read(name: &str, body: &[u8]) -> Vec<Reading> {
    let preset = preset(name).unwrap().unwrap();
    let mut def = SourceDef { preset: Some(name.to_owned()), ..SourceDef::default() };
    // What a disabled preset says of bodies holds all the same.
    def.signature = preset.disabled.is_some().then(toml::Table::new);
    let source = Source::compile(name, &def).unwrap_or_else(|problems| panic!("{name}: {problems:#?}"));
    let content_type = sample(name).unwrap().content_type().into_bytes();
    let headers: Vec<_> = preset.sample_headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
    let signed: Vec<String> = headers.iter().map(|(name, _)| name.clone()).collect();
    let headers = [headers, vec![("content-type".to_owned(), content_type)]].concat();
    let hash_key = SealingKeys::new(vec![SealingKey::new(&[7; 32])]).unwrap().hash_key("events");
    let mut next = 0;
    let mut event_id = || {
        next += 1;
        EventId(next)
    };
    let mut context = ReadContext {
        received_at: Time::from_seconds(1_700_003_600),
        raw_event: RawEventId(41),
        correlation_id: "c0ffee",
        signed_headers: &signed,
        hash_key: &hash_key,
        event_id: &mut event_id,
    };
    source.read(&Received { method: "POST", target: "/", headers: &headers, body }, &mut context)
}

fn told(reading: &Reading) -> Value {
    match reading {
        Reading::Event { event, warnings, .. } => {
            assert!(warnings.is_empty(), "{}: {warnings:?}", event.source);
            json!([event.idempotency_key, event.occurred_at.to_string(), event.identity, event.attributes])
        }
        Reading::Ignored { idempotency_key, .. } => json!(["ignored", idempotency_key]),
        Reading::DeadLetter { message, idempotency_key, .. } => json!(["dead letter", idempotency_key, message]),
    }
}

/// Of each sample: key (which holds source, type and id), time, identity, attributes.
#[test]
fn the_samples_of_payments_and_shops_become_what_they_are() {
    let expected: Value = serde_json::from_str(include_str!("meaning.json")).unwrap();
    for (name, expected) in expected.as_object().unwrap() {
        let found: Vec<Value> = read(name, sample(name).unwrap().body).iter().map(told).collect();
        assert_eq!(&json!(found), expected, "{name}");
    }
}

fn one(name: &str, body: &Value) -> Value {
    let readings = read(name, body.to_string().as_bytes());
    assert_eq!(readings.len(), 1, "{name}");
    told(&readings[0])
}

const AT: &str = "2023-11-14T22:13:20.000Z";

#[test]
fn stripe_tells_payments_refunds_and_subscriptions_of_their_customer() {
    let event = |kind: &str, object: Value| {
        one("stripe", &json!({"id": "evt_1", "type": kind, "created": 1_700_000_000, "data": {"object": object}}))
    };
    let invoice = json!({"customer": "cus_1", "customer_email": "ada@example.com", "customer_name": "Ada Example", "customer_phone": null, "currency": "jpy",
        "amount_due": 4900, "amount_paid": 4900, "status": "paid", "lines": {"data": [{"description": "Team plan"}]}});
    let person = json!({"contact_external_id": "stripe:cus_1", "email": "ada@example.com"});
    let of_invoice =
        json!({"amount": "4900", "currency": "JPY", "first_name": "Ada", "last_name": "Example", "product": "Team plan", "status": "paid"});
    assert_eq!(event("invoice.paid", invoice.clone()), json!(["stripe|payment.succeeded|evt_1", AT, person, of_invoice]));
    assert_eq!(event("invoice.payment_failed", invoice)[0], "stripe|payment.failed|evt_1");
    let charge = json!({"customer": null, "billing_details": {"email": "ada@example.com", "name": null}, "amount_refunded": 1000, "currency": "usd"});
    let refund = json!(["stripe|payment.refunded|evt_1", AT, {"email": "ada@example.com"}, {"amount": "10.00", "currency": "USD"}]);
    assert_eq!(event("charge.refunded", charge), refund);
    let price = json!({"id": "price_1", "nickname": "Team", "product": "prod_1", "unit_amount": 4900});
    let subscription = json!({"customer": "cus_1", "status": "canceled", "currency": "eur", "items": {"data": [{"price": price}]}});
    let known = json!({"amount": "49.00", "currency": "EUR", "plan": "Team", "product": "prod_1", "status": "canceled"});
    let cancelled = json!(["stripe|subscription.cancelled|evt_1", AT, {"contact_external_id": "stripe:cus_1"}, known]);
    assert_eq!(event("customer.subscription.deleted", subscription), cancelled);
}

#[test]
fn an_event_of_a_connected_stripe_account_is_keyed_by_both() {
    let body = json!({"id": "evt_1", "account": "acct_1", "type": "customer.created", "created": 1_700_000_000, "data": {"object": {"id": "cus_1"}}});
    assert_eq!(one("stripe", &body)[0], "stripe|customer.created|acct_1:evt_1");
}

#[test]
fn payments_of_other_vendors_have_their_amounts_in_whole_units() {
    let items = json!([{"price": {"name": "Team", "description": "Team monthly"}}]);
    let transaction = json!({"customer_id": "ctm_1", "status": "completed", "currency_code": "EUR", "details": {"totals": {"total": "11900"}}, "items": items});
    let paddle = json!({"event_id": "evt_1", "event_type": "transaction.completed", "occurred_at": AT, "notification_id": "ntf_1", "data": transaction});
    let known = json!({"amount": "119.00", "currency": "EUR", "plan": "Team monthly", "product": "Team", "status": "completed"});
    assert_eq!(one("paddle", &paddle), json!(["paddle|payment.succeeded|evt_1", AT, {"contact_external_id": "paddle:ctm_1"}, known]));

    let payment = json!({"status": "COMPLETED", "customer_id": "C1", "total_money": {"amount": 1000, "currency": "USD"}});
    let square = json!({"type": "payment.updated", "event_id": "e1", "created_at": AT, "data": {"object": {"payment": payment}}});
    let known = json!({"amount": "10.00", "currency": "USD", "status": "COMPLETED"});
    assert_eq!(one("square", &square), json!(["square|payment.succeeded|e1", AT, {"contact_external_id": "square:C1"}, known]));
    let pending = json!({"type": "payment.updated", "event_id": "e2", "created_at": AT, "data": {"object": {"payment": {"status": "PENDING", "customer_id": "C1"}}}});
    assert_eq!(one("square", &pending), json!(["ignored", "square|payment.updated|e2"]));

    let content = json!({"transaction": {"amount": 24500, "currency_code": "EUR", "status": "success"}, "customer": {"id": "c1", "email": "ada@example.com"}});
    let chargebee = json!({"id": "ev_1", "occurred_at": 1_700_000_000, "event_type": "payment_refunded", "content": content});
    let known = json!({"amount": "245.00", "currency": "EUR", "status": "success"});
    let person = json!({"contact_external_id": "chargebee:c1", "email": "ada@example.com"});
    assert_eq!(one("chargebee", &chargebee), json!(["chargebee|payment.refunded|ev_1", AT, person, known]));
}

#[test]
fn a_subscription_that_ends_is_cancelled_whatever_its_vendor_calls_it() {
    let lemon = json!({"meta": {"event_name": "subscription_expired"}, "data": {"type": "subscriptions", "id": "1",
        "attributes": {"customer_id": 2, "user_email": "ada@example.com", "status": "expired", "updated_at": AT}}});
    let paypal = json!({"id": "WH-1", "create_time": AT, "event_type": "BILLING.SUBSCRIPTION.EXPIRED",
        "resource": {"plan_id": "P-1", "status": "EXPIRED", "subscriber": {"email_address": "ada@example.com"}}});
    let paystack = json!({"event": "subscription.disable", "data": {"subscription_code": "SUB_1", "status": "complete", "createdAt": AT, "customer": {"email": "ada@example.com"}}});
    let razorpay = json!({"event": "subscription.completed", "created_at": 1_700_000_000,
        "payload": {"subscription": {"entity": {"id": "sub_1", "customer_id": "cust_1", "plan_id": "plan_1", "status": "completed"}}}});
    let keys = [
        ("lemon-squeezy", lemon, "lemon-squeezy|subscription.cancelled|subscription_expired:subscriptions:1:2023-11-14T22:13:20.000Z"),
        ("paypal", paypal, "paypal|subscription.cancelled|WH-1"),
        ("paystack", paystack, "paystack|subscription.cancelled|subscription.disable:SUB_1"),
        ("razorpay", razorpay, "razorpay|subscription.cancelled|subscription.completed:sub_1:1700000000"),
    ];
    for (name, body, key) in keys {
        let found = one(name, &body);
        assert_eq!((&found[0], &found[1]), (&json!(key), &json!(AT)), "{name}");
    }
}

#[test]
fn every_item_of_an_adyen_notification_is_an_event_of_its_own() {
    let item = |psp: &str, code: &str, success: &str| {
        json!({"NotificationRequestItem": {"pspReference": psp, "eventCode": code, "success": success, "eventDate": "2023-11-14T23:13:20+01:00",
            "amount": {"currency": "EUR", "value": 1130}, "additionalData": {"shopperReference": "ada-example"}}})
    };
    let body = json!({"live": "true", "notificationItems": [item("1", "AUTHORISATION", "false"), item("2", "REFUND", "true"), item("3", "REPORT_AVAILABLE", "true")]});
    let keys: Vec<Value> = read("adyen", body.to_string().as_bytes()).iter().map(told).map(|told| told[0].clone()).collect();
    assert_eq!(keys, ["adyen|payment.failed|1:AUTHORISATION:false", "adyen|payment.refunded|2:REFUND:true", "ignored"]);
}
