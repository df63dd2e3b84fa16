use serde_json::json;

use super::*;
use crate::preset::{presets, sample};

fn of(preset: &str) -> Source {
    Source::compile(preset, &SourceDef { preset: Some(preset.to_owned()), ..SourceDef::default() }).unwrap()
}

fn sampled(preset: &str, headers: &[(&str, &str)]) -> Event {
    let (event, warnings) = event(read_all(&of(preset), headers, "", sample(preset).unwrap().body, NOW).remove(0));
    assert!(warnings.is_empty(), "{warnings:?}");
    event
}

fn identity(event: &Event) -> serde_json::Value {
    serde_json::to_value(&event.identity).unwrap()
}

#[test]
fn every_preset_compiles_and_says_what_a_person_wants_to_know() {
    for (name, text) in presets() {
        let preset = crate::preset::preset(name).unwrap().unwrap();
        assert!(preset.docs.starts_with("https://") && !preset.title.is_empty() && !preset.notes.is_empty(), "{name}");
        if preset.disabled.is_some() {
            let def = SourceDef { preset: Some(name.to_owned()), ..SourceDef::default() };
            assert!(Source::compile(name, &def).is_err(), "{name}");
        }
        // One that ships disabled compiles as soon as a source has a signature of its own.
        let signature = preset.disabled.is_some().then(|| {
            let any = "algorithm = 'hmac-sha256'\nheader = 'x-signature'\nsigned = '{body}'";
            preset.source.signature.clone().unwrap_or_else(|| toml::from_str(any).unwrap())
        });
        let def = SourceDef { preset: Some(name.to_owned()), signature, ..SourceDef::default() };
        let source = Source::compile(name, &def).unwrap_or_else(|problems| panic!("{name}: {problems:#?}"));
        assert!(source.mapping_version().len() == 16 && !text.is_empty());
        assert!(sample(name).is_some());
    }
    assert!(crate::preset::preset("nobody").is_none());
}

#[test]
fn typeform_makes_a_lead_of_a_response() {
    let event = sampled("typeform", &[]);
    assert_eq!(
        (event.event_type.as_str(), event.idempotency_key.as_str()),
        ("lead.created", "typeform|lead.created|01HF6Z3M8Q4V7T2N9K5C1B0XYW")
    );
    assert_eq!(event.event_id, "typeform:01HF6Z3M8Q4V7T2N9K5C1B0XYW");
    assert_eq!(event.occurred_at, Time::from_seconds(1_700_000_000));
    assert_eq!(identity(&event), json!({"email": "ada@example.com", "phone_e164": "+14155550100"}));
    assert_eq!(
        json!(event.attributes),
        json!({"answer_what_are_you_interested_in": ["Engines", "Notes"], "answer_what_is_your_last_name": "Example",
            "answer_where_do_you_work": "Example Ltd", "answer_work_email": "ada@example.com", "company": "Example Ltd", "first_name": "Ada",
            "form_id": "lT4Z3j", "form_title": "Contact us", "job_title": "Head of Analysis", "last_name": "Example", "lead_source": "Typeform",
            "submission_id": "a3a12ec67a1365927098a606107fac15", "utm_campaign": "autumn", "utm_medium": "cpc", "utm_source": "google"})
    );
    assert_eq!(event.audit.correlation_id, "c0ffee");
    assert_eq!((event.audit.raw_event_ref, event.audit.normalized_event_ref), (RawEventId(41).to_string(), EventId(1).to_string()));
}

#[test]
fn a_typeform_response_without_a_split_name_is_split() {
    let body = r#"{"event_id":"1","event_type":"form_response","form_response":{"submitted_at":"2023-11-14T22:13:20Z","answers":[
        {"type":"text","text":"Ada B. Example","field":{"id":"a","type":"short_text","ref":"full_name"}}]}}"#;
    let (event, _) = event(read(&of("typeform"), body.as_bytes()));
    assert_eq!(json!(event.attributes), json!({"first_name": "Ada B.", "last_name": "Example", "lead_source": "Typeform"}));
}

#[test]
fn stripe_makes_contacts_of_customers_and_ignores_the_rest() {
    let event = sampled("stripe", &[]);
    assert_eq!(event.idempotency_key, "stripe|customer.created|evt_1OCP7kLkdIwHu7ixA1b2C3d4");
    assert_eq!(event.occurred_at, Time::from_seconds(1_700_000_000));
    assert_eq!(
        identity(&event),
        json!({"contact_external_id": "stripe:cus_Ox1Y2z3A4b5C6d", "email": "ada@example.com", "phone_e164": "+14155550100"})
    );
    assert_eq!(
        json!(event.attributes),
        json!({"city": "San Francisco", "country": "US", "first_name": "Ada", "last_name": "Example", "postal_code": "94103", "state": "CA", "street": "510 Townsend St"})
    );
    for kind in ["invoice.created", "charge.succeeded", "payout.paid", "something.new"] {
        let body = format!(r#"{{"id":"evt_2","type":"{kind}","created":1700000000,"data":{{"object":{{}}}}}}"#);
        assert_eq!(
            read(&of("stripe"), body.as_bytes()),
            Reading::Ignored { event_type: kind.into(), idempotency_key: format!("stripe|{kind}|evt_2") }
        );
    }
}

#[test]
fn a_paid_stripe_checkout_is_about_its_customer() {
    let body = |status: &str| {
        format!(
            r#"{{"id":"evt_3","type":"checkout.session.completed","created":1700000000,"data":{{"object":{{"customer":null,"payment_status":"{status}",
            "customer_details":{{"email":"ada@example.com","name":"Ada Example","phone":null,"address":{{"country":"US"}}}}}}}}}}"#
        )
    };
    let (event, _) = event(read(&of("stripe"), body("paid").as_bytes()));
    assert_eq!((event.event_type.as_str(), identity(&event)), ("payment.succeeded", json!({"email": "ada@example.com"})));
    assert!(matches!(read(&of("stripe"), body("unpaid").as_bytes()), Reading::Ignored { .. }));
}

#[test]
fn what_counts_down_while_stripe_delivers_is_not_content() {
    let stripe = String::from_utf8(sample("stripe").unwrap().body.to_vec()).unwrap();
    let (one, two) = (stripe.clone(), stripe.replace("\"pending_webhooks\": 1", "\"pending_webhooks\": 2"));
    assert_ne!(one, two);
    let source = of("stripe");
    let [one, two] = [one, two].map(|body| event(read(&source, body.as_bytes())).0);
    assert_eq!(source.content_hash(&one), source.content_hash(&two));
}

#[test]
fn standard_webhooks_keep_their_type_and_are_keyed_by_their_signed_id() {
    let event = sampled("standard-webhooks", &[("webhook-id", "msg_1")]);
    assert_eq!(event.idempotency_key, "standard-webhooks|lead.created|msg_1");
    assert_eq!(event.occurred_at.to_string(), "2023-11-14T22:13:20.344522Z");
    assert_eq!(
        identity(&event),
        json!({"contact_external_id": "standard-webhooks:1f81eb52-5198-4599-803e-771906343485", "domain": "example.com", "email": "ada@example.com", "phone_e164": "+14155550100"})
    );
    assert_eq!(
        json!(event.attributes),
        json!({"company": "Example Ltd", "country": "US", "first_name": "Ada", "job_title": "Head of Analysis", "last_name": "Example",
            "utm_campaign": "autumn", "utm_source": "newsletter"})
    );
    assert_eq!(sampled("standard-webhooks", &[("svix-id", "msg_2")]).event_id, "standard-webhooks:msg_2");
}

#[test]
fn the_specifications_own_sample_is_read() {
    let body = br#"{"type":"contact.created","timestamp":"2022-11-03T20:26:10.344522Z","data":{"id":"1f81eb52","type":"contact","fullName":"John Smith","phoneNumber":"(281) 332-2575"}}"#;
    let source = Source::compile("demo", &toml::from_str("preset = \"standard-webhooks\"\nregion = \"US\"").unwrap()).unwrap();
    let (event, warnings) = event(read_all(&source, &[("webhook-id", "m")], "", body, NOW).remove(0));
    assert_eq!((event.identity.phone_e164.as_deref(), warnings.len()), (Some("+12813322575"), 0));
    assert_eq!(json!(event.attributes), json!({"first_name": "John", "last_name": "Smith"}));
}

#[test]
fn github_is_kept_and_ignored_and_its_unsigned_id_is_no_key() {
    let body = sample("github").unwrap().body;
    let with = |id: &str| read_all(&of("github"), &[("x-github-event", "push"), ("x-github-delivery", id)], "", body, NOW).remove(0);
    assert!(matches!(with("1"), Reading::Ignored { ref event_type, .. } if event_type == "push"));
    assert_eq!(key(&with("1")), key(&with("2")));
    assert!(key(&with("1")).starts_with("github|push|body:"));
}

#[test]
fn shopify_ids_keep_all_their_digits_and_the_key_is_from_the_body() {
    let event = sampled("shopify", &[("x-shopify-topic", "customers/create")]);
    assert_eq!(event.event_type, "customer.created");
    assert_eq!(event.idempotency_key, "shopify|customer.created|706405506930370084@2023-11-14T17:13:20-05:00");
    assert_eq!(identity(&event)["contact_external_id"], "shopify:706405506930370084");
    assert_eq!(event.attributes["company"], "Example Ltd");
    let again = sampled("shopify", &[("x-shopify-topic", "customers/update"), ("x-shopify-webhook-id", "forged")]);
    assert_eq!(again.idempotency_key, event.idempotency_key, "headers are not signed, so they change no key");
    let redact = read_all(&of("shopify"), &[("x-shopify-topic", "customers/redact")], "", b"{\"shop_id\":1}", NOW).remove(0);
    assert_eq!(dead(redact).0, Reason::Unmapped);
}

#[test]
fn a_source_changes_single_things_of_its_preset() {
    let source = source(
        r#"
        preset = "typeform"
        trust = 60
        signature = { prefix = "sha512=", algorithm = "hmac-sha512" }
        ignore = ["form_response_partial", "ping"]
        [[events]]
        type = "lead.created"
        fields = { team_size = "answer(form_response, 'topics')", company = { const = "Fixed" } }
        [[events]]
        on = ["survey"]
        type = "survey.answered"
        fields = { email = "email" }
        "#,
    );
    assert_eq!(
        (source.trust, source.scheme.prefix.as_deref(), source.scheme.header.as_deref()),
        (60, Some("sha512="), Some("typeform-signature"))
    );
    let (event, _) = event(read(&source, sample("typeform").unwrap().body));
    assert_eq!(event.attributes["team_size"], json!(["Engines", "Notes"]));
    assert_eq!((&event.attributes["company"], event.identity.email.as_deref()), (&json!("Fixed"), Some("ada@example.com")));
    assert!(matches!(read(&source, br#"{"event_type":"ping"}"#), Reading::Ignored { .. }));
}

#[test]
fn a_source_takes_in_what_its_preset_ignores_and_ignores_what_it_takes_in() {
    let source = source(
        r#"
        preset = "stripe"
        ignore = ["customer.updated"]
        [[events]]
        on = ["invoice.paid"]
        type = "invoice.paid"
        fields = { email = "data.object.customer_email" }
        "#,
    );
    let body = |kind: &str| {
        format!(
            r#"{{"id":"evt_1","type":"{kind}","created":1700000000,"data":{{"object":{{"id":"cus_1","customer_email":"ada@example.com"}}}}}}"#
        )
    };
    assert_eq!(event(read(&source, body("invoice.paid").as_bytes())).0.identity.email.as_deref(), Some("ada@example.com"));
    assert!(matches!(read(&source, body("customer.updated").as_bytes()), Reading::Ignored { .. }));
    assert!(matches!(read(&source, body("customer.created").as_bytes()), Reading::Event { .. }));
}

#[test]
fn a_mapping_is_told_by_its_version_and_can_be_put_in_force_again() {
    let (first, other) = (of("typeform"), source("preset = \"typeform\"\nregion = \"DE\""));
    assert_ne!(first.mapping_version(), other.mapping_version());
    assert_eq!(of("typeform").mapping_version(), first.mapping_version());
    assert_eq!(source("preset = \"typeform\"\ntrust = 90").mapping_version(), first.mapping_version(), "trust is no part of the mapping");
    let again = other.with_mapping(first.mapping_text()).unwrap();
    assert_eq!((again.mapping_version(), again.mapping_text()), (first.mapping_version(), first.mapping_text()));
    assert!(other.with_mapping("{}").is_err());
}
