//! What the samples of lead-intake presets become: every event with its type, key, time, person and attributes, as `pinned/NAME.json` says.

use std::path::Path;

use model::mapping::ReadContext;
use model::preset::{preset, sample};
use model::seal::{SealingKey, SealingKeys};
use model::source::{Source, SourceDef};
use model::{EventId, RawEventId, Reading, Received, Time};
use serde_json::{Value, json};

/// An hour after the samples.
const NOW: Time = Time::from_seconds(1_700_003_600);

/// The sample's readings, as they would come out of a verified request.
fn readings(name: &str) -> Vec<Reading> {
    let (preset, body) = (preset(name).unwrap().unwrap(), sample(name).unwrap());
    let def = SourceDef { preset: Some(name.to_owned()), ..SourceDef::default() };
    let source = Source::compile(name, &def).unwrap_or_else(|problems| panic!("{name}: {problems:#?}"));
    let mut headers: Vec<(String, Vec<u8>)> = preset.sample_headers.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
    headers.push(("content-type".to_owned(), body.content_type().into_bytes()));
    let signed = signed_headers(&source);
    for name in &signed {
        if !headers.iter().any(|(held, _)| held == name) {
            headers.push((name.clone(), b"msg_1".to_vec()));
        }
    }
    let request = Received { method: "POST", target: &format!("/webhooks/{name}"), headers: &headers, body: body.body };
    let hash_key = SealingKeys::new(vec![SealingKey::new(&[7; 32])]).unwrap().hash_key("events");
    let mut next = 0;
    let mut event_id = || {
        next += 1;
        EventId(next)
    };
    let mut context = ReadContext {
        received_at: NOW,
        raw_event: RawEventId(41),
        correlation_id: "c0ffee",
        signed_headers: &signed,
        hash_key: &hash_key,
        event_id: &mut event_id,
    };
    source.read(&request, &mut context)
}

/// The headers that the scheme signs; a sample whose own headers lack one gets a value of ours.
fn signed_headers(source: &Source) -> Vec<String> {
    let parts = source.scheme.signed.as_deref().unwrap_or_default().split("{header:").skip(1);
    parts.filter_map(|rest| rest.split_once('}').map(|(name, _)| name.to_owned())).collect()
}

fn told(reading: &Reading) -> Value {
    match reading {
        Reading::Event { event, warnings, .. } => {
            assert!(warnings.is_empty(), "{warnings:?}");
            json!({"type": event.event_type, "key": event.idempotency_key, "occurred_at": event.occurred_at.to_string(),
                "identity": event.identity, "attributes": event.attributes})
        }
        Reading::Ignored { event_type, idempotency_key } => json!({"ignored": event_type, "key": idempotency_key}),
        Reading::DeadLetter { message, .. } => panic!("{message}"),
    }
}

/// Holds a preset to its file; `ONCEWARD_PIN=1` writes the file anew, for a person to read before it is kept.
fn pins(name: &str) {
    let found = Value::Array(readings(name).iter().map(told).collect());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/presets/pinned/{name}.json"));
    if std::env::var_os("ONCEWARD_PIN").is_some() {
        std::fs::write(&file, format!("{found:#}\n")).unwrap();
    }
    let expected: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(found, expected, "{name}: found {found:#}");
}

macro_rules! pinned {
    ($($sentence:ident: $name:literal;)*) => {
        $(#[test] fn $sentence() { pins($name); })*
    };
}

pinned! {
    meta_names_a_lead_that_is_to_be_fetched: "meta-lead-ads";
    a_whatsapp_message_is_from_a_phone_number: "whatsapp";
    an_instagram_message_is_from_an_account: "instagram";
    a_messenger_message_is_from_an_account: "messenger";
    linkedin_names_a_lead_that_is_to_be_fetched: "linkedin-lead-gen";
    google_ads_sends_the_whole_lead: "google-ads-lead-form";
    typeform_makes_a_lead_of_a_response: "typeform";
    jotform_makes_a_lead_of_a_submission: "jotform";
    tally_makes_a_lead_of_a_response_and_resolves_its_choices: "tally";
    webflow_makes_a_lead_of_a_submission: "webflow";
    unbounce_makes_a_lead_of_a_submission: "unbounce";
    formstack_makes_a_lead_of_a_submission: "formstack";
    framer_makes_a_lead_of_a_submission: "framer";
    fillout_makes_a_lead_of_a_submission: "fillout";
    paperform_makes_a_lead_of_a_submission: "paperform";
    cognito_makes_a_lead_of_an_entry: "cognito-forms";
    elementor_makes_a_lead_of_a_submission: "elementor";
    gravity_forms_makes_a_lead_of_an_entry: "gravity-forms";
    contact_form_7_makes_a_lead_of_a_submission: "contact-form-7";
    wpforms_makes_a_lead_of_an_entry: "wpforms";
    any_form_makes_a_lead: "lead-form";
    ghost_makes_a_lead_of_a_new_member: "ghost";
    dub_makes_a_lead_of_a_sign_up: "dub";
    a_survey_response_is_kept_and_ignored: "surveymonkey";
    hubspot_tells_of_each_changed_property: "hubspot";
    a_hubspot_workflow_sends_a_whole_contact: "hubspot-v2";
    calendly_makes_a_booking_of_an_invitee: "calendly";
    cal_com_makes_a_booking: "cal-com";
    intercom_makes_a_lead: "intercom";
    zendesk_makes_a_contact_of_a_user: "zendesk";
    pipedrive_makes_a_contact_of_a_person: "pipedrive";
    close_makes_a_contact: "close";
    attio_names_a_record_that_is_to_be_fetched: "attio";
    salesforce_makes_a_lead_of_each_notification: "salesforce-outbound";
    segment_makes_a_contact_of_an_identify: "segment";
    woocommerce_makes_an_order: "woocommerce";
    shopify_makes_a_customer: "shopify";
    mailchimp_makes_a_subscriber: "mailchimp";
    activecampaign_makes_a_subscriber: "activecampaign";
    kit_makes_a_lead_of_a_subscriber: "kit";
    zoom_makes_a_lead_of_a_registration: "zoom";
    a_twilio_message_is_from_a_phone_number: "twilio";
    a_mail_is_from_its_sender: "sendgrid-inbound";
    sendgrid_tells_of_each_mail: "sendgrid-events";
    clerk_makes_a_contact_of_a_user: "clerk";
    gohighlevel_makes_a_contact: "gohighlevel";
}
