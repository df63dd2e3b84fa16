//! The presets that were here first.

use super::harness::{Row, base64, hex, hmac_sha256};

const BODY: &str = "{\"id\":\"evt_1\",\"email\":\"ada@example.com\",\"name\":\"Zoë\"}";

pub fn rows() -> Vec<Row> {
    vec![
        Row::new("standard-webhooks", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .at(1_614_265_330)
            .header("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
            .header("webhook-timestamp", "1614265330")
            .header("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
            .body(r#"{"test": 2432232314}"#)
            .published("https://github.com/standard-webhooks/standard-webhooks: tests of the JavaScript and Python libraries"),
        Row::new("github", "It's a Secret to Everybody")
            .header("x-hub-signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")
            .body("Hello, World!")
            .published("https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries"),
        Row::new("stripe", "whsec_formula_0123456789abcdef").at(1_700_000_000).body(BODY).computed(|row| {
            let hash = hmac_sha256(row.key(), &[b"1700000000.", &row.body]);
            row.header("stripe-signature", format!("t=1700000000,v1={}", hex(&hash)))
        }),
        Row::new("typeform", "typeform-formula-0123456789").body(BODY).computed(|row| {
            let hash = hmac_sha256(row.key(), &[&row.body]);
            row.header("typeform-signature", format!("sha256={}", base64(&hash)))
        }),
        Row::new("shopify", "shpss_formula_0123456789abcdef").body(BODY).computed(|row| {
            let hash = hmac_sha256(row.key(), &[&row.body]);
            row.header("x-shopify-hmac-sha256", base64(&hash))
        }),
    ]
}
