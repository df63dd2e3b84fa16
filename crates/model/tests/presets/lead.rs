//! Vendors of leads, CRMs, e-mail and appointments.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use model::preset::sample;

use super::harness::{Row, base64, hex, hmac_sha1, hmac_sha256, keys, sha256};

const NOW: i64 = 1_700_000_000;

pub fn rows() -> Vec<Row> {
    [published(), over_the_body(), over_time_and_body(), over_the_url(), others(), tokens()].concat()
}

/// A row with the preset's own sample.
fn sampled(preset: &'static str, secret: &str) -> Row {
    Row::new(preset, secret).at(NOW).body(sample(preset).unwrap().body)
}

fn published() -> Vec<Row> {
    let hubspot = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy";
    let slack = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar\
        &user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
        &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
        &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let sendgrid =
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==";
    let dropped = "[{\"email\":\"hello@world.com\",\"event\":\"dropped\",\"reason\":\"Bounced Address\",\"sg_event_id\":\"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA\",\
        \"sg_message_id\":\"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0\",\"smtp-id\":\"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>\",\"timestamp\":1600112492}]\r\n";
    vec![
        Row::new("hubspot-v1", hubspot)
            .header("x-hubspot-signature", "232db2615f3d666fe21a8ec971ac7b5402d33b9a925784df3ca654d05f4817de")
            .body(
                r#"[{"eventId":1,"subscriptionId":12345,"portalId":62515,"occurredAt":1564113600000,"subscriptionType":"contact.creation","attemptNumber":0,"objectId":123,"changeSource":"CRM","changeFlag":"NEW","appId":54321}]"#,
            )
            .published("https://developers.hubspot.com/docs/faq/v1-request-validation"),
        Row::new("hubspot-v2", hubspot)
            .url("https://www.example.com/webhook_uri")
            .target("/webhook_uri")
            .header("x-hubspot-signature", "9569219f8ba981ffa6f6f16aa0f48637d35d728c7e4d93d0d52efaa512af7900")
            .body(r#"{"example_field":"example_value"}"#)
            .published("https://github.com/HubSpot/hubspot-api-nodejs: tests of the signature's validation"),
        Row::new("slack", "8f742231b10e8888abcd99yyyzzz85a5")
            .at(1_531_420_618)
            .header("x-slack-request-timestamp", "1531420618")
            .header("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503")
            .body(slack)
            .published("https://api.slack.com/authentication/verifying-requests-from-slack"),
        Row::new("twilio", "12345")
            .url("https://mycompany.com/myapp.php")
            .target("/myapp.php?foo=1&bar=2")
            .header("x-twilio-signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8=")
            .body("CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212")
            .published("https://github.com/twilio/twilio-python: tests of the request validator"),
        Row::new("twilio-json", "12345")
            .url("https://mycompany.com/myapp.php")
            .target("/myapp.php?foo=1&bar=2&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620")
            .header("x-twilio-signature", "a9nBmqA0ju/hNViExpshrM61xv4=")
            .body(r#"{"property": "value", "boolean": true}"#)
            .published("https://github.com/twilio/twilio-python: tests of the request validator"),
        Row::new("sendgrid-events", sendgrid)
            .at(1_600_112_502)
            .header("x-twilio-email-event-webhook-timestamp", "1600112502")
            .header(
                "x-twilio-email-event-webhook-signature",
                "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=",
            )
            .body(dropped)
            .published("https://github.com/sendgrid/sendgrid-nodejs: tests of @sendgrid/eventwebhook"),
        Row::new("clerk", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .at(1_614_265_330)
            .header("svix-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
            .header("svix-timestamp", "1614265330")
            .header("svix-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
            .body(r#"{"test": 2432232314}"#)
            .published("https://github.com/standard-webhooks/standard-webhooks: tests of the JavaScript and Python libraries"),
        Row::new("formstack", "test1")
            .header("x-fs-signature", "sha256=30dff7f180b6d69eab397a5d51719474df490b730514c253e8b5832d3b51b970")
            .body("FormID=6606394&UniqueID=1500878955&HandshakeKey=test")
            .published("https://github.com/hookdeck/webhook-skills: a captured delivery, skills/formstack-webhooks"),
    ]
}

/// Presets that sign the body and nothing else: preset, header, what stands before the signature.
fn over_the_body() -> Vec<Row> {
    let hexadecimal = [
        ("meta-lead-ads", "x-hub-signature-256", "sha256="),
        ("whatsapp", "x-hub-signature-256", "sha256="),
        ("instagram", "x-hub-signature-256", "sha256="),
        ("messenger", "x-hub-signature-256", "sha256="),
        ("cal-com", "x-cal-signature-256", ""),
        ("savvycal", "x-savvycal-signature", "sha256="),
        ("attio", "attio-signature", ""),
        ("notion", "x-notion-signature", "sha256="),
        ("clickup", "x-signature", ""),
        ("dub", "dub-signature", ""),
        ("mailerlite", "signature", ""),
    ];
    let in_base64 = [("tally", "tally-signature"), ("acuity", "x-acuity-signature"), ("woocommerce", "x-wc-webhook-signature")];
    let secret = "formula-0123456789abcdef";
    let mut rows: Vec<Row> = hexadecimal
        .iter()
        .map(|&(preset, header, prefix)| {
            sampled(preset, secret).computed(|row| {
                let hash = hmac_sha256(row.key(), &[&row.body]);
                row.header(header, format!("{prefix}{}", hex(&hash)))
            })
        })
        .collect();
    rows.extend(in_base64.iter().map(|&(preset, header)| {
        sampled(preset, secret).computed(|row| {
            let hash = hmac_sha256(row.key(), &[&row.body]);
            row.header(header, base64(&hash))
        })
    }));
    rows.extend([
        sampled("linkedin-lead-gen", secret).computed(|row| {
            let hash = hmac_sha256(row.key(), &[b"hmacsha256=", &row.body]);
            row.header("x-li-signature", hex(&hash))
        }),
        sampled("intercom", secret).computed(|row| {
            let hash = hmac_sha1(row.key(), &[&row.body]);
            row.header("x-hub-signature", format!("sha1={}", hex(&hash)))
        }),
        sampled("segment", secret).computed(|row| {
            let hash = hmac_sha1(row.key(), &[&row.body]);
            row.header("x-signature", hex(&hash))
        }),
        sampled("surveymonkey", "client-id-0123&client-secret-4567").computed(|row| {
            let hash = hmac_sha1(row.key(), &[&row.body]);
            row.header("sm-signature", base64(&hash))
        }),
        sampled("airtable", "Zm9ybXVsYS0wMTIzNDU2Nzg5YWJjZGVm").computed(|row| {
            let hash = hmac_sha256(b"formula-0123456789abcdef", &[&row.body]);
            row.header("x-airtable-content-mac", format!("hmac-sha256={}", hex(&hash)))
        }),
        sampled("framer", secret).header("framer-webhook-submission-id", "sub_7f3c1a52e9").computed(|row| {
            let hash = hmac_sha256(row.key(), &[&row.body, b"sub_7f3c1a52e9"]);
            row.header("framer-signature", format!("sha256={}", hex(&hash)))
        }),
    ]);
    rows
}

fn over_time_and_body() -> Vec<Row> {
    let secret = "formula-0123456789abcdef";
    let stripe_like = [("calendly", "calendly-webhook-signature"), ("kit", "x-kit-signature")];
    let slack_like =
        [("zoom", "x-zm-signature", "x-zm-request-timestamp", "v0="), ("customer-io", "x-cio-signature", "x-cio-timestamp", "")];
    let zendesk_like = ["zendesk", "zendesk-trigger"];
    let mut rows: Vec<Row> = stripe_like
        .iter()
        .map(|&(preset, header)| {
            sampled(preset, secret).computed(|row| {
                let hash = hmac_sha256(row.key(), &[b"1700000000.", &row.body]);
                row.header(header, format!("t=1700000000,v1={}", hex(&hash)))
            })
        })
        .collect();
    rows.extend(slack_like.iter().map(|&(preset, header, timestamp, prefix)| {
        sampled(preset, secret).computed(|row| {
            let hash = hmac_sha256(row.key(), &[b"v0:1700000000:", &row.body]);
            row.header(timestamp, "1700000000").header(header, format!("{prefix}{}", hex(&hash)))
        })
    }));
    rows.extend(zendesk_like.iter().map(|&preset| {
        sampled(preset, secret).computed(|row| {
            let hash = hmac_sha256(row.key(), &[b"2023-11-14T22:13:20Z", &row.body]);
            row.header("x-zendesk-webhook-signature-timestamp", "2023-11-14T22:13:20Z").header("x-zendesk-webhook-signature", base64(&hash))
        })
    }));
    rows.extend([
        sampled("webflow", secret).computed(|row| {
            let hash = hmac_sha256(row.key(), &[b"1700000000000:", &row.body]);
            row.header("x-webflow-timestamp", "1700000000000").header("x-webflow-signature", hex(&hash))
        }),
        sampled("ghost", secret).computed(|row| {
            let hash = hmac_sha256(row.key(), &[&row.body, b"1700000000000"]);
            row.header("x-ghost-signature", format!("sha256={}, t=1700000000000", hex(&hash)))
        }),
        sampled("klaviyo", secret).computed(|row| {
            let hash = hmac_sha256(row.key(), &[&row.body, b"Tue, 14 Nov 2023 22:13:20 GMT"]);
            row.header("klaviyo-timestamp", "Tue, 14 Nov 2023 22:13:20 GMT").header("klaviyo-signature", hex(&hash))
        }),
        sampled("close", "666f726d756c612d30313233343536373839").computed(|row| {
            let hash = hmac_sha256(b"formula-0123456789", &[b"1700000000", &row.body]);
            row.header("close-sig-timestamp", "1700000000").header("close-sig-hash", hex(&hash))
        }),
    ]);
    rows
}

fn over_the_url() -> Vec<Row> {
    let (secret, url) = ("formula-0123456789abcdef", "https://hooks.example.com/webhooks/x");
    vec![
        sampled("hubspot", secret).url(url).target("/webhooks/x").computed(|row| {
            let hash = hmac_sha256(row.key(), &[b"POST", url.as_bytes(), &row.body, b"1700000000000"]);
            row.header("x-hubspot-request-timestamp", "1700000000000").header("x-hubspot-signature-v3", base64(&hash))
        }),
        Row::new("mandrill", secret).url(url).target("/webhooks/x").body("mandrill_events=%5B%5D&a=1").computed(|row| {
            let hash = hmac_sha1(row.key(), &[url.as_bytes(), b"a1", b"mandrill_events[]"]);
            row.header("x-mandrill-signature", base64(&hash))
        }),
    ]
}

fn others() -> Vec<Row> {
    let token = "f00ba4f00ba4f00ba4f00ba4f00ba4f00ba4f00ba4f00ba4f0";
    let url = "https://hooks.example.com/webhooks/gong";
    vec![
        sampled("gohighlevel", keys::ED25519_PUBLIC).computed(|row| {
            let signature = keys::ed25519(&row.body);
            row.header("x-ghl-signature", base64(&signature))
        }),
        Row::new("mailgun", "key-formula-0123456789abcdef").at(NOW).computed(|row| {
            let hash = hex(&hmac_sha256(row.key(), &[b"1700000000", token.as_bytes()]));
            row.body(format!(
                r#"{{"signature":{{"timestamp":"1700000000","token":"{token}","signature":"{hash}"}},"event-data":{{"id":"x","event":"opened"}}}}"#
            ))
        }),
        sampled("monday", "formula-0123456789abcdef").computed(|row| {
            let claims = r#"{"accountId":1825528,"userId":4012689,"aud":"https://hooks.example.com/webhooks/monday","iat":1700000000,"exp":1700000300}"#;
            let token = web_token("HS256", claims, |text| hmac_sha256(row.key(), &[text]));
            row.header("authorization", token)
        }),
        sampled("gong", keys::RSA_PUBLIC).url(url).computed(|row| {
            let claims = format!(r#"{{"webhook_url":"{url}","body_sha256":"{}","iat":1700000000,"exp":1700000300}}"#, hex(&sha256(&row.body)));
            let token = web_token("RS256", &claims, keys::rsa_sha256);
            row.header("authorization", token)
        }),
    ]
}

/// RFC 7515, section 3.1.
fn web_token(algorithm: &str, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let head = format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#);
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
    let signature = sign(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Presets that send the secret itself, or sign nothing of the body.
fn tokens() -> Vec<Row> {
    let token = "token-0123456789abcdefghij";
    let in_the_url = [
        "jotform",
        "unbounce",
        "paperform",
        "cognito-forms",
        "elementor",
        "contact-form-7",
        "eventbrite",
        "dialpad",
        "salesforce-outbound",
        "sendgrid-inbound",
        "mailchimp",
        "activecampaign",
    ];
    let bearers = ["fillout", "gravity-forms", "wpforms", "lead-form", "brevo"];
    let basic = ["pipedrive", "pipedrive-v1", "postmark"];
    let mut rows: Vec<Row> =
        in_the_url.iter().map(|&preset| sampled(preset, token).target(&format!("/webhooks/{preset}?token={token}"))).collect();
    rows.extend(bearers.iter().map(|&preset| sampled(preset, token).header("authorization", format!("Bearer {token}"))));
    rows.extend(basic.iter().map(|&preset| {
        let pair = format!("onceward:{token}:with:colons");
        sampled(preset, &pair).header("authorization", format!("Basic {}", STANDARD.encode(&pair)))
    }));
    rows.extend([
        sampled("auth0", token).header("authorization", token),
        sampled("ringcentral", token).header("verification-token", token),
        sampled("google-ads-lead-form", "NOT-A-REAL-KEY"),
        sampled("aircall", "NOT-A-REAL-TOKEN"),
    ]);
    rows
}
