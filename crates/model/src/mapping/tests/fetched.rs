//! Pushes that are nothing but an id, and the objects that are fetched for them.

use serde_json::{Value, json};

use super::*;
use crate::mapping::Refused;

const SOURCE: &str = r#"
    batch = "changes[]"
    [[events]]
    when = "field == 'leadgen'"
    type = "lead.created"
    id = "value.lead"
    occurred_at = { from = "value.at", unit = "s" }
    fetch = { object = "lead", id = "value.lead", with = { page = "_outer.page" } }
    fields = { form_id = "value.form", campaign_id = "value.campaign" }
    [fetched.lead]
    updated_at = "changed"
    [fetched.lead.fields]
    external_id = { from = "id", required = true }
    email = { from = "email", as = "email" }
    full_name = "name"
    campaign_id = "campaign.id"
    ad_id = "_push.value.ad"
    [fetched.lead.answers]
    from = "questions"
    label = "label"
    value = "said"
"#;

fn push(value: &Value) -> Vec<u8> {
    json!({ "page": "153", "changes": [{ "field": "leadgen", "value": value }] }).to_string().into_bytes()
}

fn pushed() -> Event {
    let value = json!({ "lead": 444, "at": 1_700_000_000, "form": "77", "campaign": "old", "ad": "9" });
    let (event, warnings) = event(read(&source(SOURCE), &push(&value)));
    assert!(warnings.is_empty(), "{warnings:?}");
    event
}

fn fetched(held: &Event, object: &Value) -> Result<(Event, Vec<Warning>), Refused> {
    source(SOURCE).read_fetched(held, object, NOW)
}

#[test]
fn a_push_says_what_is_to_be_fetched_and_keeps_its_key() {
    let event = pushed();
    let fetch = event.fetch.clone().unwrap();
    assert_eq!((fetch.object.as_str(), fetch.id.as_str(), fetch.with["page"].as_str()), ("lead", "444", "153"));
    assert_eq!((&fetch.push["value"]["ad"], &fetch.push["_outer"]["page"]), (&json!("9"), &json!("153")));
    assert_eq!(event.idempotency_key, "demo|lead.created|444");
    let text = serde_json::to_string(&event).unwrap();
    assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "it is kept until the object has come");
}

#[test]
fn what_the_object_says_is_laid_over_what_the_push_said() {
    let questions = json!([{ "label": "Which plan?", "said": "Large" }]);
    let object = json!({ "id": "444", "changed": "2023-11-14T22:30:00Z", "email": "Ada@Example.com", "name": "Ada Lovelace", "campaign": { "id": "new" }, "questions": questions });
    let (event, warnings) = fetched(&pushed(), &object).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(
        (event.identity.contact_external_id.as_deref(), event.identity.email.as_deref()),
        (Some("demo:444"), Some("Ada@example.com"))
    );
    let expected = json!({ "ad_id": "9", "answer_which_plan": "Large", "campaign_id": "new", "first_name": "Ada", "form_id": "77", "last_name": "Lovelace" });
    assert_eq!(json!(event.attributes), expected);
    let stamp = event.fetched.unwrap();
    assert_eq!((stamp.id.as_str(), stamp.at, stamp.updated_at), ("444", NOW, Time::from_seconds(1_700_001_000)));
    assert_eq!((event.fetch, event.occurred_at), (None, Time::from_seconds(1_700_000_000)), "when it happened is the push's word");
}

#[test]
fn an_object_without_its_own_time_is_weighed_by_the_fetch_and_one_from_the_future_too() {
    for (changed, kind) in [(json!(null), "occurred_at_missing"), (json!("2023-11-14T23:30:00Z"), "occurred_at_clamped")] {
        let (event, warnings) = fetched(&pushed(), &json!({ "id": "444", "changed": changed })).unwrap();
        assert_eq!((event.fetched.unwrap().updated_at, warnings[0].kind.as_str()), (NOW, kind));
    }
}

#[test]
fn an_object_that_cannot_be_used_says_why_and_what_could_be_read() {
    let refused = fetched(&pushed(), &json!({ "name": "Ada Lovelace" })).unwrap_err();
    assert_eq!(refused.reason, Reason::SchemaMismatch);
    assert!(refused.message.contains("`external_id`") && !refused.message.contains("Ada"), "{}", refused.message);
    let partial = refused.partial.unwrap();
    assert_eq!((&partial.attributes["first_name"], partial.fetch.is_some()), (&json!("Ada"), true), "and it can be fetched anew");
    assert_eq!(fetched(&pushed(), &json!([1])).unwrap_err().reason, Reason::SchemaMismatch);
    let other = Event { fetch: None, ..pushed() };
    assert_eq!(fetched(&other, &json!({})).unwrap_err().reason, Reason::Unmapped);
}

#[test]
fn a_push_without_a_usable_id_is_a_dead_letter_with_its_own_key() {
    let long = "x".repeat(300);
    for lead in [json!(null), json!(""), json!({ "a": 1 }), json!("a\nb"), json!(long)] {
        let (reason, message) = dead(read(&source(SOURCE), &push(&json!({ "lead": lead, "at": 1_700_000_000 }))));
        assert!(reason == Reason::SchemaMismatch && message.contains("fetch.id"), "{message}");
    }
    let large = json!({ "lead": 1, "at": 1_700_000_000, "note": "x".repeat(crate::fetch::PUSH_BYTES_MAX) });
    let (reason, message) = dead(read(&source(SOURCE), &push(&large)));
    assert!(reason == Reason::SchemaMismatch && message.contains("at most"), "{message}");
}

#[test]
fn another_object_under_the_same_key_is_other_content() {
    let text = SOURCE.replace("id = \"value.lead\"\n    occurred", "id = \"value.form\"\n    occurred");
    let source = source(&text);
    let hash = |lead: u64| {
        let (event, _) = event(read(&source, &push(&json!({ "lead": lead, "form": "77", "at": 1_700_000_000 }))));
        source.content_hash(&event)
    };
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}

#[test]
fn mistakes_are_told_with_their_places() {
    let wrong = |from: &str, to: &str| {
        let text = SOURCE.replace(from, to);
        assert_ne!(text, SOURCE, "{from}");
        compile(&text).unwrap_err().into_iter().map(|problem| problem.key).collect::<Vec<_>>()
    };
    assert_eq!(wrong("object = \"lead\"", "object = \"contact\""), ["events.0.fetch.object"]);
    assert_eq!(wrong("object = \"lead\"", "object = \"a lead\""), ["events.0.fetch.object", "events.0.fetch.object"]);
    assert_eq!(wrong("full_name = \"name\"", "full_name = { header = \"x-name\" }"), ["fetched.lead"]);
    assert_eq!(wrong("full_name = \"name\"", "Name = \"name\""), ["fetched.lead.fields.Name"]);
    assert_eq!(wrong("updated_at = \"changed\"", "updated_at = \"changed[\""), ["fetched.lead.updated_at"]);
    assert_eq!(wrong("id = \"value.lead\", with", "id = \"value[\", with"), ["events.0.fetch.id"]);
}

#[test]
fn a_mapping_without_a_fetch_keeps_its_version_and_one_with_it_reads_back() {
    assert!(!plain().mapping_text().contains("fetch"), "{}", plain().mapping_text());
    let with = source(SOURCE);
    let back = plain().with_mapping(with.mapping_text()).unwrap();
    assert_eq!(back.mapping_version(), with.mapping_version());
    assert_eq!(back.fetches().collect::<Vec<_>>(), ["lead"]);
}
