//! Fixtures after developers.facebook.com/docs/marketing-api/guides/lead-ads/retrieving and …/graph-api/overview/rate-limiting; people are made up.

use super::*;
use crate::Auth;

fn meta() -> Meta {
    let settings = Settings { accounts: vec!["153125381133".to_owned()], ..Settings::new(Auth::Bearer { token: Secret::new("EAAB") }) };
    Meta::new(&settings).unwrap()
}

fn reply(status: u16, body: &Value) -> Reply {
    Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
}

fn lead(id: &str) -> Value {
    json!({
        "id": id, "created_time": "2023-11-14T22:13:20+0000", "ad_id": "666666666666", "form_id": "555555555555", "is_organic": false,
        "platform": "fb", "campaign_id": "777", "campaign_name": "Autumn",
        "field_data": [
            { "name": "full_name", "values": ["Ada Example"] },
            { "name": "email", "values": ["ada@example.com"] },
            { "name": "how_many_seats?", "values": ["10_to_50"] },
        ],
        "custom_disclaimer_responses": [{ "checkbox_key": "newsletter", "is_checked": "1" }],
    })
}

#[test]
fn one_lead_and_many_leads_are_asked_for_with_every_field() {
    let one = meta().fetch("lead", &["444444444444444"]);
    assert_eq!((one.method, one.path), (Method::GET, format!("/v24.0/444444444444444?fields={LEAD_FIELDS}")));
    let many = meta().fetch("lead", &["1", "2"]);
    assert_eq!(many.path, format!("/v24.0/?ids=1,2&fields={LEAD_FIELDS}"));
    for field in ["field_data", "custom_disclaimer_responses", "is_organic", "platform", "campaign_name", "adset_id", "form_id"] {
        assert!(LEAD_FIELDS.split(',').any(|asked| asked == field), "{field}");
    }
    for wrong in ["", "me", "1/../2", "1?x", "1,2", "-1", "44444444444444444444444444"] {
        assert!(!meta().is_id("lead", wrong), "{wrong}");
    }
}

#[test]
fn an_answer_is_read_lead_by_lead() {
    let found = meta().fetched("lead", &["1"], &reply(200, &lead("1"))).unwrap();
    assert_eq!(found, [Fetched::Object(lead("1"))]);
    let found = meta().fetched("lead", &["1", "2"], &reply(200, &json!({ "2": lead("2") }))).unwrap();
    let Fetched::Refused(missing) = &found[0] else { panic!("{found:?}") };
    assert_eq!(missing.reason, Some(model::Reason::RecordNotFound));
    assert_eq!(found[1], Fetched::Object(lead("2")));
    for garbage in [json!([]), json!({ "id": "2", "field_data": [] }), json!({ "id": "1" }), json!("x")] {
        assert_eq!(meta().fetched("lead", &["1"], &reply(200, &garbage)).unwrap_err().class, Class::Retryable, "{garbage}");
    }
}

#[test]
fn a_form_gives_answers_their_questions_and_choices_their_texts() {
    let form = json!({ "id": "555555555555", "name": "Contact us", "locale": "en_US", "questions": [
        { "key": "full_name", "label": "Full name", "type": "FULL_NAME", "id": "1" },
        { "key": "how_many_seats?", "label": "How many seats?", "type": "CUSTOM", "id": "2", "options": [{ "key": "10_to_50", "value": "10 to 50" }] },
    ] });
    let beside = meta().beside("lead", &lead("1")).unwrap();
    assert_eq!((beside.request.path.as_str(), beside.keep), ("/v24.0/555555555555?fields=id,name,locale,questions", true));
    let mut lead = lead("1");
    meta().complete(&mut lead, &meta().read_beside(&reply(200, &form)).unwrap());
    let answers = &lead["field_data"];
    assert_eq!((&answers[0]["label"], &answers[0]["texts"]), (&json!("Full name"), &json!(["Ada Example"])));
    assert_eq!((&answers[1]["label"], &answers[1]["texts"]), (&Value::Null, &json!(["ada@example.com"])));
    assert_eq!(
        (&answers[2]["label"], &answers[2]["texts"], &answers[2]["values"]),
        (&json!("How many seats?"), &json!(["10 to 50"]), &json!(["10_to_50"]))
    );
    assert_eq!(lead["form"]["name"], "Contact us");
}

#[test]
fn a_form_that_may_not_be_read_costs_no_lead_and_one_that_cannot_be_read_now_is_waited_for() {
    for (code, subcode) in [(100, 33), (200, 0), (10, 0)] {
        let error = json!({ "error": { "code": code, "error_subcode": subcode, "message": "no" } });
        assert_eq!(meta().read_beside(&reply(400, &error)).unwrap(), Value::Null, "{code}");
    }
    for code in [4, 2, 80_005] {
        assert!(meta().read_beside(&reply(400, &json!({ "error": { "code": code, "message": "no" } }))).is_err(), "{code}");
    }
    let mut without = lead("1");
    complete(&mut without, &Value::Null);
    assert_eq!(without["field_data"][0]["texts"], json!(["Ada Example"]));
}

#[test]
fn the_table_of_errors() {
    use Class::{Auth, Conflict, Permanent, Retryable, Throttled};
    let table = [
        (400, 4, 0, "(#4) Application request limit reached", Throttled, Scope::Destination),
        (400, 17, 2_446_079, "User request limit reached", Throttled, Scope::Destination),
        (400, 32, 0, "Page request limit reached", Throttled, Scope::Destination),
        (400, 613, 0, "Calls to this api have exceeded the rate limit.", Throttled, Scope::Destination),
        (400, 80_005, 0, "There have been too many leadgen api calls to this page account.", Throttled, Scope::Destination),
        (400, 80_001, 0, "There have been too many calls to this Page account.", Throttled, Scope::Destination),
        (401, 190, 463, "Error validating access token: Session has expired", Auth, Scope::Destination),
        (400, 190, 0, "Malformed access token", Auth, Scope::Destination),
        (403, 200, 0, "Requires leads_retrieval permission to manage the object", Auth, Scope::Destination),
        (403, 10, 0, "Application does not have permission for this action", Auth, Scope::Destination),
        (400, 100, 33, "Unsupported get request. Object with ID '1' does not exist", Permanent, Scope::Record),
        (404, 803, 0, "(#803) Some of the aliases you requested do not exist: 1", Permanent, Scope::Record),
        (400, 100, 0, "(#100) Tried accessing nonexisting field", Permanent, Scope::Call),
        (500, 1, 0, "Please reduce the amount of data you're asking for, then retry your request", Conflict, Scope::Call),
        (500, 1, 0, "An unknown error has occurred.", Retryable, Scope::Destination),
        (503, 2, 0, "Service temporarily unavailable", Retryable, Scope::Destination),
    ];
    for (status, code, subcode, message, class, scope) in table {
        let mut error = json!({ "code": code, "message": message, "type": "OAuthException", "fbtrace_id": "A" });
        if subcode != 0 {
            error["error_subcode"] = json!(subcode);
        }
        let failure = refused(&reply(status, &json!({ "error": error })));
        assert_eq!((failure.class, failure.scope), (class, scope), "{code}/{subcode} {message}");
        assert_eq!(failure.retry_after.is_some(), class == Throttled, "{code}");
    }
    let transient = json!({ "error": { "code": 4711, "message": "later", "is_transient": true } });
    assert_eq!(refused(&reply(500, &transient)).class, Retryable);
    assert_eq!(refused(&reply(502, &json!("<html>"))).class, Retryable);
}

#[test]
fn a_lead_that_is_gone_is_told_alone_and_looked_for_among_many() {
    let gone = reply(400, &json!({ "error": { "code": 100, "error_subcode": 33, "message": "Unsupported get request." } }));
    let one = meta().fetched("lead", &["1"], &gone).unwrap();
    let Fetched::Refused(failure) = &one[0] else { panic!("{one:?}") };
    assert_eq!((failure.class, failure.scope, failure.reason), (Class::Permanent, Scope::Record, Some(model::Reason::RecordNotFound)));
    let many = meta().fetched("lead", &["1", "2"], &gone).unwrap_err();
    assert_eq!((many.class, many.scope), (Class::Conflict, Scope::Call));
    let inside = reply(200, &json!({ "error": { "code": 190, "message": "expired" } }));
    assert_eq!(meta().fetched("lead", &["1"], &inside).unwrap_err().class, Class::Auth);
}

#[test]
fn the_usage_header_says_how_long_to_wait() {
    let usage = |minutes: Value| {
        let header =
            json!({ "153125381133": [{ "type": "leadgen", "call_count": 100, "estimated_time_to_regain_access": minutes }], "9": "x" });
        let body = json!({ "error": { "code": 80_005, "message": "too many" } }).to_string().into_bytes();
        let headers = vec![("x-business-use-case-usage".to_owned(), header.to_string())];
        refused(&Reply { status: 400, headers, body }).retry_after.unwrap().as_secs()
    };
    assert_eq!((usage(json!(19)), usage(json!(0)), usage(json!("soon"))), (19 * 60, 300, 300));
    assert_eq!(usage(json!(u64::MAX)), 24 * 3_600);
}

#[test]
fn a_proof_of_the_apps_secret_goes_with_every_call_where_there_is_one() {
    let settings = Settings { app_secret: Some(Secret::new("key")), ..Settings::new(Auth::Bearer { token: Secret::new("x") }) };
    let meta = Meta::new(&settings).unwrap();
    let mut request = meta.probe();
    let token = Token::lasting(Secret::new("The quick brown fox jumps over the lazy dog"));
    meta.authorize(&mut request, &token);
    // The vector of en.wikipedia.org/wiki/HMAC.
    assert!(request.path.ends_with("appsecret_proof=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"), "{}", request.path);
}

fn window() -> Window {
    Window { since: Time::from_seconds(1_700_000_000), until: Time::from_seconds(1_700_001_000) }
}

#[test]
fn leads_are_listed_page_by_page_form_by_form_to_the_end() {
    let meta = meta();
    let forms = meta.list("leads", window(), None).unwrap();
    assert_eq!(forms.path, "/v24.0/153125381133/leadgen_forms?fields=id&limit=50");
    let page = meta.listed(
        "leads",
        window(),
        None,
        &reply(200, &json!({ "data": [{ "id": "51" }, { "id": "52" }], "paging": { "cursors": { "after": "Zm8=" } } })),
    );
    let first = page.unwrap().next.unwrap();
    let leads = meta.list("leads", window(), Some(&first)).unwrap();
    assert!(leads.path.starts_with(&format!("/v24.0/51/leads?fields={LEAD_FIELDS}&filtering=%5B%7B%22field%22")), "{}", leads.path);
    assert!(leads.path.contains("1699999999") && leads.path.contains("1700001000"));
    let more = json!({ "data": [lead("1")], "paging": { "cursors": { "after": "QVFI" }, "next": "https://graph.facebook.com/elsewhere" } });
    let page = meta.listed("leads", window(), Some(&first), &reply(200, &more)).unwrap();
    assert_eq!(page.objects.len(), 1);
    let second = page.next.unwrap();
    assert!(meta.list("leads", window(), Some(&second)).unwrap().path.ends_with("&after=QVFI"));
    let last = json!({ "data": [lead("2")], "paging": { "cursors": { "after": "QVFI" } } });
    let third = meta.listed("leads", window(), Some(&second), &reply(200, &last)).unwrap().next.unwrap();
    assert!(meta.list("leads", window(), Some(&third)).unwrap().path.starts_with("/v24.0/52/leads"));
    let empty = reply(200, &json!({ "data": [] }));
    assert_eq!(meta.listed("leads", window(), Some(&third), &empty).unwrap(), Page::default());
    assert_eq!(meta.listed("leads", window(), None, &empty).unwrap(), Page::default(), "a Page without forms");
    assert!(meta.list("leads", window(), Some("{\"page\":7}")).is_err() && meta.list("leads", window(), Some("x")).is_err());
}

#[test]
fn a_listed_lead_is_told_as_its_push_would_have_been() {
    let listed = listed("153125381133", None, &lead("444444444444444")).unwrap();
    let expected = json!({ "object": "page", "entry": [{ "id": "153125381133", "time": 1_700_000_000, "changes": [{ "field": "leadgen", "value": {
        "leadgen_id": "444444444444444", "page_id": "153125381133", "form_id": "555555555555", "ad_id": "666666666666", "adgroup_id": "666666666666",
        "created_time": 1_700_000_000,
    } }] }] });
    assert_eq!(listed.push, expected);
    assert_eq!(listed.object, Some(("444444444444444".to_owned(), lead("444444444444444"))));
}

#[test]
fn what_lies_outside_the_window_is_not_listed() {
    let cursor = cursor(&Place { forms: vec!["51".to_owned()], ..Place::default() }).unwrap();
    let mut early = lead("1");
    early["created_time"] = json!("2023-11-14T22:13:19+0000");
    let mut late = lead("3");
    late["created_time"] = json!("2023-11-14T22:30:00+0000");
    let page = meta().listed("leads", window(), Some(&cursor), &reply(200, &json!({ "data": [early, lead("2"), late] }))).unwrap();
    assert_eq!(page.objects.len(), 1);
    assert_eq!(page.objects[0].push["entry"][0]["changes"][0]["value"]["leadgen_id"], "2");
}
