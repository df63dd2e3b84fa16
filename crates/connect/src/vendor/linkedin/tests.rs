//! Fixtures after learn.microsoft.com/linkedin/marketing/lead-sync/leadsync and LinkedIn's public collection of requests for it; people are made up.

use super::*;
use crate::{Auth, Secret};

fn linkedin() -> Linkedin {
    let accounts = vec!["urn:li:sponsoredAccount:11223344".to_owned(), "urn:li:organization:7".to_owned()];
    Linkedin::new(&Settings { accounts, ..Settings::new(Auth::Bearer { token: Secret::new("AQX") }) }).unwrap()
}

fn reply(status: u16, body: &Value) -> Reply {
    Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
}

fn form() -> Value {
    json!({ "id": 7_234_246, "name": "Demo request", "creationLocale": { "country": "US", "language": "en" }, "content": {
        "questions": [
            { "questionId": 1, "question": { "localized": { "es_ES": "Nombre", "en_US": "First name" } }, "name": "First name", "predefinedField": "FIRST_NAME" },
            { "questionId": 2, "question": { "localized": { "en_US": "How big is your team?" } }, "name": "team",
              "questionDetails": { "multipleChoiceQuestionDetails": { "options": [{ "id": 5, "text": { "localized": { "en_US": "10 to 50" } } }] } } },
        ],
        "legalInfo": { "consents": [{ "consentId": 9, "consent": { "localized": { "en_US": "Send me news" } } }] },
    } })
}

fn lead(id: &str) -> Value {
    json!({
        "id": id, "owner": { "sponsoredAccount": "urn:li:sponsoredAccount:11223344" }, "leadType": "SPONSORED", "submittedAt": 1_700_000_000_000_i64,
        "testLead": false, "versionedLeadGenFormUrn": "urn:li:versionedLeadGenForm:(urn:li:leadGenForm:7234246,1)",
        "associatedEntity": { "associatedCreative": "urn:li:sponsoredCreative:3" },
        "formResponse": {
            "consentResponses": [{ "consentId": 9, "accepted": true }],
            "answers": [
                { "questionId": 1, "answerDetails": { "textQuestionAnswer": { "answer": "Ada" } } },
                { "questionId": 2, "answerDetails": { "multipleChoiceAnswer": { "options": [5] } } },
            ],
        },
    })
}

#[test]
fn requests_are_spelled_in_restli_with_both_headers() {
    let one = linkedin().fetch("lead", &["urn:li:leadGenFormResponse:52dcb737-26f9-4"]);
    assert_eq!(one.path, format!("/rest/leadFormResponses/52dcb737-26f9-4?fields={LEAD_FIELDS}"));
    assert_eq!((one.header("linkedin-version"), one.header("x-restli-protocol-version")), (Some("202601"), Some("2.0.0")));
    let many = linkedin().fetch("lead", &["a-1", "b-2"]);
    assert_eq!(many.path, format!("/rest/leadFormResponses?ids=List(a-1,b-2)&fields={LEAD_FIELDS}"));
    for wrong in ["", "urn:li:leadGenFormResponse:", "a/b", "a,b", "a)b", "urn:li:person:1"] {
        assert!(!linkedin().is_id("lead", wrong), "{wrong}");
    }
}

#[test]
fn answers_get_their_questions_and_choices_their_texts() {
    let mut whole = lead("a-1");
    whole["form"] = form();
    let found = linkedin().fetched("lead", &["a-1"], &reply(200, &whole)).unwrap();
    let Fetched::Object(found) = &found[0] else { panic!("{found:?}") };
    let answers = &found["formResponse"]["answers"];
    assert_eq!(
        (&answers[0]["label"], &answers[0]["field"], &answers[0]["texts"]),
        (&json!("First name"), &json!("FIRST_NAME"), &json!(["Ada"]))
    );
    assert_eq!((&answers[1]["label"], &answers[1]["texts"]), (&json!("How big is your team?"), &json!(["10 to 50"])));
    assert_eq!(found["formResponse"]["consentResponses"][0]["label"], "Send me news");
    assert!(linkedin().beside("lead", found).is_none());
}

#[test]
fn a_form_that_did_not_come_along_is_read_by_itself() {
    let beside = linkedin().beside("lead", &lead("a-1")).unwrap();
    assert_eq!(beside.request.path, format!("/rest/leadForms/7234246?fields={FORM_FIELDS}"));
    let mut lead = lead("a-1");
    linkedin().complete(&mut lead, &linkedin().read_beside(&reply(200, &form())).unwrap());
    assert_eq!(lead["formResponse"]["answers"][0]["name"], "First name");
    assert_eq!(linkedin().read_beside(&reply(403, &json!({ "code": "ACCESS_DENIED" }))).unwrap_err().class, Class::Auth);
}

#[test]
fn a_batch_is_read_lead_by_lead() {
    let body = json!({ "results": { "a-1": lead("a-1") }, "statuses": {}, "errors": {
        "b-2": { "status": 404, "code": "NOT_FOUND", "message": "no such response" }, "c-3": { "status": 500, "message": "trouble" },
    } });
    let found = linkedin().fetched("lead", &["a-1", "urn:li:leadGenFormResponse:b-2", "c-3", "d-4"], &reply(200, &body)).unwrap();
    assert!(matches!(found[0], Fetched::Object(_)) && found[1] == Fetched::Gone);
    for one in &found[2..] {
        assert!(matches!(one, Fetched::Refused(failure) if failure.class == Class::Retryable && failure.scope == Scope::Record), "{one:?}");
    }
}

#[test]
fn the_table_of_errors() {
    use Class::{Auth, Permanent, Retryable, Throttled};
    let table = [
        (
            401,
            json!({ "serviceErrorCode": 65_601, "code": "REVOKED_ACCESS_TOKEN", "message": "revoked" }),
            Auth,
            Scope::Destination,
            "REVOKED_ACCESS_TOKEN",
        ),
        (401, json!({ "serviceErrorCode": 65_602, "message": "expired" }), Auth, Scope::Destination, "65602"),
        (403, json!({ "code": "ACCESS_DENIED", "message": "Not enough permissions" }), Auth, Scope::Destination, "ACCESS_DENIED"),
        (
            404,
            json!({ "code": "RESOURCE_NOT_FOUND", "message": "No virtual resource found" }),
            Permanent,
            Scope::Destination,
            "RESOURCE_NOT_FOUND",
        ),
        (
            426,
            json!({ "code": "NONEXISTENT_VERSION", "message": "Requested version 20230101 is not active" }),
            Permanent,
            Scope::Destination,
            "NONEXISTENT_VERSION",
        ),
        (
            429,
            json!({ "code": "TOO_MANY_REQUESTS", "message": "Resource level throttle limit" }),
            Throttled,
            Scope::Destination,
            "TOO_MANY_REQUESTS",
        ),
        (400, json!({ "code": "ILLEGAL_ARGUMENT", "message": "Invalid query" }), Permanent, Scope::Call, "ILLEGAL_ARGUMENT"),
        (500, json!({ "message": "Internal error" }), Retryable, Scope::Destination, "http_500"),
        (504, json!("gateway"), Retryable, Scope::Destination, "http_504"),
    ];
    for (status, body, class, scope, code) in table {
        let failure = linkedin().refused(&reply(status, &body));
        assert_eq!((failure.class, failure.scope, failure.code.as_str()), (class, scope, code));
    }
    let gone = reply(404, &json!({ "code": "NOT_FOUND", "message": "Could not find entity" }));
    assert_eq!(linkedin().fetched("lead", &["a-1"], &gone).unwrap(), [Fetched::Gone]);
    assert_eq!(linkedin().fetched("lead", &["a-1"], &reply(404, &json!("nginx"))).unwrap_err().scope, Scope::Destination);
}

#[test]
fn a_limit_by_the_day_is_waited_for_an_hour_at_a_time_at_most() {
    let at = |date: &str| {
        let headers = vec![("date".to_owned(), date.to_owned())];
        linkedin().refused(&Reply { status: 429, headers, body: Vec::new() }).retry_after.unwrap().as_secs()
    };
    assert_eq!((at("Sun, 22 Nov 2026 23:50:00 GMT"), at("Sun, 22 Nov 2026 12:00:00 GMT")), (600, 3_600));
}

#[test]
fn every_owner_and_kind_is_listed_to_its_end() {
    let linkedin = linkedin();
    let window = Window { since: Time::from_seconds(1_699_999_000), until: Time::from_seconds(1_700_001_000) };
    let first = linkedin.list("leads", window, None).unwrap().path;
    assert!(first.starts_with(
        "/rest/leadFormResponses?q=owner&owner=(sponsoredAccount:urn%3Ali%3AsponsoredAccount%3A11223344)&leadType=(leadType:SPONSORED)"
    ));
    assert!(first.contains("submittedAtTimeRange=(start:1699999000000,end:1700001000000)"), "{first}");
    let full = json!({ "elements": (0..LEADS_A_PAGE).map(|n| lead(&format!("a-{n}"))).collect::<Vec<_>>() });
    let page = linkedin.listed("leads", window, None, &reply(200, &full)).unwrap();
    assert_eq!(page.objects.len(), LEADS_A_PAGE);
    assert_eq!(page.objects[0].push["occurredAt"], 1_700_000_000_000_i64);
    assert_eq!(page.objects[0].push["leadGenFormResponse"], "urn:li:leadGenFormResponse:a-0");
    assert_eq!(page.objects[0].push["leadAction"], "CREATED");
    assert_eq!(page.objects[0].push["associatedEntity"], json!({ "sponsoredCreative": "urn:li:sponsoredCreative:3" }));
    let mut cursor = page.next;
    let mut seen = Vec::new();
    while let Some(at) = cursor {
        let path = linkedin.list("leads", window, Some(&at)).unwrap().path;
        let kind = path.split("leadType:").nth(1).unwrap().split(')').next().unwrap().to_owned();
        seen.push((kind, path.ends_with("&start=100")));
        cursor = linkedin.listed("leads", window, Some(&at), &reply(200, &json!({ "elements": [] }))).unwrap().next;
    }
    let expected = [("SPONSORED", true), ("COMPANY", false), ("EVENT", false), ("ORGANIZATION_PRODUCT", false)];
    assert_eq!(seen, expected.map(|(kind, more)| (kind.to_owned(), more)));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let settings = |version: &str, account: &str| Settings {
        version: Some(version.to_owned()),
        accounts: vec![account.to_owned()],
        ..Settings::new(Auth::Bearer { token: Secret::new("x") })
    };
    assert!(Linkedin::new(&settings("2026-01", "urn:li:organization:1")).is_err());
    assert!(Linkedin::new(&settings("202601", "urn:li:person:1")).is_err());
    assert!(Linkedin::new(&settings("202601", "urn:li:organization:1)")).is_err());
}
