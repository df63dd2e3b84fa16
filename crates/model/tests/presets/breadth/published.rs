//! Vectors that the vendors have published, and where.

use crate::harness::Row;

pub fn rows() -> Vec<Row> {
    [payments(), others()].concat()
}

fn payments() -> Vec<Row> {
    let adyen = r#"{"live":"false","notificationItems":[{"NotificationRequestItem":{"additionalData":{"hmacSignature":"coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="},"amount":{"value":1130,"currency":"EUR"},"pspReference":"7914073381342284","eventCode":"AUTHORISATION","merchantAccountCode":"TestMerchant","merchantReference":"TestPayment-1407325143704","paymentMethod":"visa","success":"true"}}]}"#;
    let coinbase = r#"{"id":1,"scheduled_for":"2017-01-31T20:50:02Z","attempt_number":1,"event":{"id":"24934862-d980-46cb-9402-43c81b0cdba6","type":"charge:created","api_version":"2018-03-22","created_at":"2017-01-31T20:49:02Z","data":{"code":"66BEOV2A","name":"The Sovereign Individual","description":"Mastering the Transition to the Information Age","hosted_url":"https://commerce.coinbase.com/charges/66BEOV2A","created_at":"2017-01-31T20:49:02Z","expires_at":"2017-01-31T21:04:02Z","timeline":[{"time":"2017-01-31T20:49:02Z","status":"NEW"}],"metadata":{},"pricing_type":"no_price","payments":[],"addresses":{"bitcoin":"0000000000000000000000000000000000","ethereum":"0x0000000000000000000000000000000000000000","litecoin":"3000000000000000000000000000000000","bitcoincash":"bitcoincash:000000000000000000000000000000000000000000"}}}}"#;
    let gocardless = r#"{"events":[{"id":"EV00BD05S5VM2T","created_at":"2018-07-05T09:13:51.404Z","resource_type":"subscriptions","action":"created","links":{"subscription":"SB0003JJQ2MR06"},"details":{"origin":"api","cause":"subscription_created","description":"Subscription created via the API."},"metadata":{}},{"id":"EV00BD05TB8K63","created_at":"2018-07-05T09:13:56.893Z","resource_type":"mandates","action":"created","links":{"mandate":"MD000AMA19XGEC"},"details":{"origin":"api","cause":"mandate_created","description":"Mandate created via the API."},"metadata":{}}]}"#;
    let paddle = r#"{"data":{"id":"pri_01hsdn96k2hxjzsq5yerecdj9j","name":null,"status":"active","quantity":{"maximum":999999,"minimum":1},"tax_mode":"account_setting","product_id":"pro_01hsdn8qp7yydry3x1yeg6a9rv","unit_price":{"amount":"1000","currency_code":"USD"},"custom_data":null,"description":"testing","import_meta":null,"trial_period":null,"billing_cycle":{"interval":"month","frequency":1},"unit_price_overrides":[]},"event_id":"evt_01hsdn97563968dy0szkmgjwh3","event_type":"price.created","occurred_at":"2024-03-20T10:07:35.590857Z","notification_id":"ntf_01hsdn977e920kbgzt6r6c9rqc"}"#;
    vec![
        Row::new("adyen", "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056")
            .body(adyen)
            .published("https://github.com/Adyen/adyen-ruby-api-library: spec/utils/hmac_validator_spec.rb"),
        Row::new("coinbase-commerce", "30291a20-0bd1-4267-9b0f-e6e7b123c0bf")
            .header("x-cc-webhook-signature", "8be7742c7d372f08a6a3224edadf18a22b65fa9e28f3f2de97376cdaa092590d")
            .body(coinbase)
            .published("https://github.com/coinbase/coinbase-commerce-python: tests/test_webhook.py"),
        Row::new("gocardless", "ED7D658C-D8EB-4941-948B-3973214F2D49")
            .header("webhook-signature", "2693754819d3e32d7e8fcb13c729631f316c6de8dc1cf634d6527f1c07276e7e")
            .body(gocardless)
            .published("https://github.com/gocardless/gocardless-pro-ruby: spec/webhook_spec.rb"),
        Row::new("paddle", "pdl_ntfset_01hsdn8d43dt7mezr1ef2jtbaw_hKkRiCGyyRhbFwIUuqiTBgI7gnWoV0Gr")
            .at(1_710_929_255)
            .header("paddle-signature", "ts=1710929255;h1=6c05ef8fa83c44d751be6d259ec955ce5638e2c54095bf128e408e2fce1589c8")
            .body(paddle)
            .published("https://github.com/PaddleHQ/paddle-go-sdk: example_webhook_verifier_test.go"),
        Row::new("razorpay", "key_secret")
            .header("x-razorpay-signature", "d60e67fd884556c045e9be7dad57903e33efc7172c17c6e3ef77db42d2b366e9")
            .body(RAZORPAY)
            .published("https://github.com/razorpay/razorpay-python: tests/test_client_utility.py"),
        Row::new("square", "asdf1234")
            .url("https://example.com/webhook")
            .target("/webhook")
            .header("x-square-hmacsha256-signature", "2kRE5qRU2tR+tBGlDwMEw2avJ7QM4ikPYD/PJ3bd9Og=")
            .body(r#"{"hello":"world"}"#)
            .published("https://github.com/square/square-nodejs-sdk: the webhooks helper's samples"),
    ]
}

fn others() -> Vec<Row> {
    let onfido = r#"{"payload":{"resource_type":"check","action":"check.completed","object":{"id":"f2302f45-227d-413d-ad61-09ec077a086a","status":"complete","completed_at_iso8601":"2024-04-04T09:21:21Z","href":"https://api.onfido.com/v3.6/checks/f2302f45-227d-413d-ad61-09ec077a086a"}}}"#;
    let uploaded = r#"{"type":"webhook_event","webhook":{"id":"1234567890"},"trigger":"FILE.UPLOADED","source":{"id":"1234567890","type":"file","name":"Test.txt"}}"#;
    let boxed = |key: &str, header: &str, signature: &str| {
        Row::new("box", key)
            .at(1_577_862_000)
            .header("box-delivery-timestamp", "2020-01-01T00:00:00-07:00")
            .header(header, signature)
            .body(uploaded)
            .published("https://github.com/box/box-node-sdk: tests of the validation of webhook messages")
    };
    vec![
        boxed("SamplePrimaryKey", "box-signature-primary", "6TfeAW3A1PASkgboxxA5yqHNKOwFyMWuEXny/FPD5hI="),
        boxed("SampleSecondaryKey", "box-signature-secondary", "v+1CD1Jdo3muIcbpv5lxxgPglOqMfsNHPV899xWYydo="),
        Row::new("mux", "SuperSecret123")
            .at(1_591_664_030)
            .header("mux-signature", "t=1591664030,v1=e43496b6aae982c4c2fd6f8e92935f1d90216f1f64d56024e72390acfb988272")
            .body("payload")
            .published("https://hexdocs.pm/mux: Mux.Webhooks.TestUtils"),
        Row::new("onfido", "wU99mE6jJ7nXOLFwZ0tJymM1lpI15pZh")
            .header("x-sha2-signature", "77ebc3e418f26be6eebb47f7ebe551321de26734fc273961e075fc9ab163d9c7")
            .body(onfido)
            .published("https://github.com/onfido/onfido-python: tests/test_classic_webhook_event_verification.py"),
        Row::new("sanity", "test")
            .at_millis(1_633_519_811_129)
            .header("sanity-webhook-signature", "t=1633519811129,v1=tLa470fx7qkLLEcMOcEUFuBbRSkGujyskxrNXcoh0N0")
            .body(r#"{"_id":"resume"}"#)
            .published("https://github.com/sanity-io/webhook-toolkit: test/signature.test.ts"),
        Row::new("svix", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .at(1_614_265_330)
            .header("svix-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
            .header("svix-timestamp", "1614265330")
            .header("svix-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
            .body(r#"{"test": 2432232314}"#)
            .published("https://github.com/svix/svix-webhooks: tests of the JavaScript library"),
    ]
}

/// `tests/mocks/fake_payment_authorized_webhook.json`, with its last line's end.
const RAZORPAY: &str = r#"{
  "event": "payment.authorized",
  "entity": "event",
  "contains": [
    "payment"
  ],
  "payload": {
    "payment": {
      "entity": {
        "id": "pay_6koWN7bvxujzxM",
        "entity": "payment",
        "amount": 1000000,
        "currency": "INR",
        "status": "captured",
        "order_id": "order_100000000order",
        "international": false,
        "method": "card",
        "amount_refunded": 0,
        "refund_status": null,
        "captured": true,
        "description": "random description",
        "card_id": "card_6koWNAT6LASUqy",
        "bank": null,
        "wallet": null,
        "vpa": null,
        "email": "a@b.com",
        "contact": "+919999999999",
        "notes": {
          "merchant_order_id": "random order id"
        },
        "fee": 23000,
        "service_tax": 3000,
        "error_code": null,
        "error_description": null,
        "created_at": 1479978483
      }
    }
  },
  "created_at": 1400826760
}
"#;
