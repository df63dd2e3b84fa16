use serde_json::json;

use super::*;

fn event(event_type: &str, identity: Value) -> Event {
    serde_json::from_value(json!({
        "schema_version": "1.0", "event_id": "demo:1", "event_type": event_type, "source": "demo", "occurred_at": 1_700_000_000_000_000_i64,
        "idempotency_key": "demo|x|1", "identity": identity, "attributes": {"company": "Example Ltd", "phone": null, "first_name": "Ada"},
        "mapping_version": "0", "audit": {"received_at": 0, "raw_event_ref": "raw_1", "normalized_event_ref": "evt_1", "correlation_id": "c"}
    }))
    .unwrap()
}

fn object(text: &str) -> Result<ObjectPlan, Vec<Problem>> {
    ObjectPlan::compile("salesforce", "Lead", &toml::from_str(text).unwrap())
}

const LEAD: &str = "key = { field = \"Key__c\" }\nmatch = [\"external_id\", \"email\"]\n";

fn routes(text: &str) -> Result<Routes, Vec<Problem>> {
    #[derive(Deserialize)]
    struct File {
        routes: Vec<RouteDef>,
    }
    let objects = BTreeMap::from([("Lead".to_owned(), object(LEAD).unwrap()), ("Contact".to_owned(), object(LEAD).unwrap())]);
    let file: File = toml::from_str(text).unwrap();
    Routes::compile(&file.routes, &BTreeSet::from(["demo".to_owned(), "typeform".to_owned()]), BTreeMap::from([("sf".to_owned(), objects)]))
}

#[test]
fn the_key_is_the_identity_or_else_the_next_identifier_by_name() {
    let lead = object(LEAD).unwrap();
    let key = |identity| lead.record_key(&event("lead.created", identity));
    assert_eq!(key(json!({"contact_external_id": "demo:42", "email": "ada@example.com"})).as_deref(), Some("demo:42"));
    assert_eq!(key(json!({"email": "Ada@example.com"})).as_deref(), Some("email:ada@example.com"));
    assert_eq!(key(json!({"phone_e164": "+14155550100"})), None, "the object is not found by phone");
    let identifiers = lead.identifiers(&event("lead.created", json!({"email": "ada@example.com", "contact_external_id": "demo:42"})));
    assert_eq!(identifiers.iter().map(|identifier| identifier.kind.as_str()).collect::<Vec<_>>(), ["external_id", "email"]);
    let by_mail = object("key = { field = \"Mail__c\", from = \"identity.email\" }").unwrap();
    assert_eq!(by_mail.record_key(&event("a", json!({"email": "Ada@example.com"}))).as_deref(), Some("Ada@example.com"));
}

#[test]
fn an_event_sets_what_it_has_and_blanks_only_what_it_cleared() {
    let text = format!(
        "{LEAD}fields = {{ Email = \"email\", Phone = \"phone\", Company = {{ from = \"company\" }}, LastName = \"last_name\", LeadSource = {{ const = \"Web\" }}, Origin = \"source\", At = \"occurred_at\", Kind = \"event_type\" }}"
    );
    let lead = object(&text).unwrap();
    let fields = lead.crm_fields(&event("lead.created", json!({"email": "ada@example.com"})));
    assert_eq!(
        json!(fields),
        json!({"Email": "ada@example.com", "Phone": null, "Company": "Example Ltd", "LeadSource": "Web", "Origin": "demo", "At": "2023-11-14T22:13:20.000Z", "Kind": "lead.created"})
    );
    assert_eq!(lead.identifier_fields().into_iter().collect::<Vec<_>>(), ["Email", "Key__c"]);
}

#[test]
fn a_crms_preset_fills_in_for_an_object_without_fields() {
    let lead = object(LEAD).unwrap();
    assert_eq!(
        json!(lead.crm_fields(&event("a", json!({"email": "a@b.co"})))),
        json!({"Company": "Example Ltd", "Email": "a@b.co", "FirstName": "Ada"})
    );
    assert!(ObjectPlan::compile("salesforce", "Contact", &toml::from_str(LEAD).unwrap()).is_ok());
    assert_eq!(ObjectPlan::compile("salesforce", "Thing__c", &toml::from_str(LEAD).unwrap()).unwrap_err()[0].key, "fields");
}

#[test]
fn a_name_in_one_text_is_made_of_the_parts_that_the_event_has() {
    let plan = object(&format!("{LEAD}fields = {{ Full = \"full_name\", Sorted = \"sort_name\" }}")).unwrap();
    let of = |attributes: Value| {
        let mut event = event("lead.created", json!({}));
        event.attributes = serde_json::from_value(attributes).unwrap();
        json!(plan.crm_fields(&event))
    };
    assert_eq!(of(json!({ "first_name": " Ada ", "last_name": "Stone" })), json!({ "Full": "Ada Stone", "Sorted": "Stone, Ada" }));
    assert_eq!(of(json!({ "first_name": "Ada", "last_name": null })), json!({ "Full": "Ada", "Sorted": "Ada" }));
    assert_eq!(of(json!({ "last_name": "Stone" })), json!({ "Full": "Stone", "Sorted": "Stone," }));
    assert_eq!(of(json!({ "company": "Example" })), json!({}));
}

#[test]
fn every_problem_of_an_object_and_of_the_routes_is_found_at_once() {
    let text = "key = { field = \"K\", from = \"email\" }\nmatch = [\"mail\", \"email\", \"email\"]\nfields = { K = \"email\", A = \"A b\", B = {}, C = { const = [1] } }";
    let found: Vec<_> = object(text).unwrap_err().into_iter().map(|problem| problem.key).collect();
    assert_eq!(found, ["key.from", "match.0", "match.2", "fields.A", "fields.B", "fields.C", "fields.K"]);
    let text = "[[routes]]\nsource = \"nobody\"\nto = \"sf\"\nobject = \"Deal\"\nevent = \"\"\nalert_after = \"soon\"\n[[routes]]\nto = \"x\"\nobject = \"Lead\"\n";
    let found: Vec<_> = routes(text).unwrap_err().into_iter().map(|problem| problem.key).collect();
    assert_eq!(found, ["routes.0.source", "routes.0.event", "routes.0.object", "routes.0.alert_after", "routes.1.to"]);
}

#[test]
fn all_routes_that_fit_apply_and_the_first_wins_for_each_object() {
    let routes = routes(
        r#"
        routes = [
            { source = "typeform", event = "*", to = "sf", object = "Contact" },
            { source = "*", event = "lead.*", to = "sf", object = "Lead", mode = "create_only", owner = "sales", alert_after = "2m" },
            { event = "lead.created", to = "sf", object = "Lead", mode = "update_only" },
            { source = "de*o", event = "lead.*ed", to = "sf", object = "Contact" },
        ]
        "#,
    )
    .unwrap();
    let Plan::Deliver(planned) = routes.plan(&event("lead.created", json!({"email": "ada@example.com"}))) else { panic!() };
    let shown: Vec<_> = planned.iter().map(|planned| (planned.object.as_str(), planned.mode, planned.owner.as_deref())).collect();
    assert_eq!(shown, [("Lead", Mode::CreateOnly, Some("sales")), ("Contact", Mode::Upsert, None)]);
    assert_eq!((planned[0].key.as_deref(), planned[0].alert_after), (Some("email:ada@example.com"), Some(Duration::from_secs(120))));
    assert_eq!(
        planned[0].routing(),
        Routing { crm: "sf".into(), object: "Lead".into(), upsert_key: "Key__c".into(), mode: Mode::CreateOnly }
    );
    assert_eq!(routes.plan(&event("order.paid", json!({}))), Plan::Unrouted);
    let Plan::Deliver(planned) = routes.plan(&event("lead.created", json!({}))) else { panic!() };
    assert!(
        planned.iter().all(|planned| planned.key.is_none() && planned.identifiers.is_empty()),
        "nobody is meant: a dead letter for each"
    );
}

#[test]
fn a_deletion_is_ignored_unless_the_route_says_more() {
    let routes = |on_delete: &str| routes(&format!("[[routes]]\nto = \"sf\"\nobject = \"Lead\"\n{on_delete}")).unwrap();
    let deleted = event("customer.deleted", json!({"email": "ada@example.com"}));
    assert_eq!(routes("").plan(&deleted), Plan::Ignored);
    let says = |routes: Routes| match routes.plan(&deleted) {
        Plan::Deliver(planned) => planned[0].on_delete.clone(),
        Plan::Ignored | Plan::Unrouted => panic!(),
    };
    assert_eq!(says(routes("on_delete = \"dead_letter\"")), Some(OnDelete::DeadLetter));
    assert_eq!(
        says(routes("on_delete = { Status = \"Gone\" }")),
        Some(OnDelete::Set(BTreeMap::from([("Status".to_owned(), json!("Gone"))])))
    );
    let fields = |routes: Routes, event: &Event| json!(routes.crm_fields("sf", "Lead", event).unwrap());
    assert_eq!(fields(routes("on_delete = { Status = \"Gone\" }"), &deleted), json!({"Status": "Gone"}));
    let updated = event("customer.updated", json!({}));
    assert_eq!(fields(routes("on_delete = { Status = \"Gone\" }"), &updated), json!({"Company": "Example Ltd", "FirstName": "Ada"}));
    let deletes: RouteDef = toml::from_str("to = \"sf\"\nobject = \"Lead\"\non_delete = \"delete\"").unwrap();
    assert_eq!(deletes.on_delete, OnDelete::Delete);
    assert!(toml::from_str::<RouteDef>("to = \"sf\"\nobject = \"Lead\"\non_delete = \"remove\"").is_err());
}

#[test]
fn stars_stand_for_any_run_of_letters() {
    for (pattern, text, expected) in [
        ("*", "", true),
        ("a.*", "a.b", true),
        ("a.*", "b.a.", false),
        ("*.b", "a.b", true),
        ("a*c*e", "abcde", true),
        ("a*c*e", "abde", false),
        ("a*a", "a", false),
        ("ab", "abc", false),
    ] {
        assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
    }
}

fn family(parents: &str) -> Result<Routes, Vec<Problem>> {
    let objects = ["companies", "contacts", "deals"].map(|name| {
        let from = match name {
            "companies" => "identities.company.domain",
            "deals" => "identities.deal.external_id",
            _ => "identity.external_id",
        };
        let parents = parents.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap_or(" = []").trim_start_matches([' ', '=']);
        let text = format!("key = {{ field = \"k\", from = \"{from}\" }}\nfields = {{ n = \"company\" }}\nparents = {parents}");
        (name.to_owned(), ObjectPlan::compile("hubspot", name, &toml::from_str(&text).unwrap()).unwrap())
    });
    let routes = ["contacts", "companies", "deals"].map(|object| format!("[[routes]]\nto = \"hs\"\nobject = \"{object}\"\n")).concat();
    let table: BTreeMap<String, Vec<RouteDef>> = toml::from_str(&routes).unwrap();
    let sources = BTreeSet::from(["demo".to_owned()]);
    Routes::compile(&table["routes"], &sources, BTreeMap::from([("hs".to_owned(), Objects::from(objects))]))
}

#[test]
fn what_an_event_tells_of_decides_where_it_goes_and_what_is_linked() {
    let routes = family("contacts = [{ object = \"companies\" }]\ndeals = [{ object = \"contacts\" }]").unwrap();
    let to = |event: &Event| match routes.plan(event) {
        Plan::Deliver(planned) => planned.into_iter().map(|planned| (planned.object, planned.key)).collect::<Vec<_>>(),
        Plan::Ignored | Plan::Unrouted => panic!("it is delivered"),
    };
    let mut order = event("order.created", json!({ "contact_external_id": "demo:42", "domain": "example.com" }));
    let named = |object: &str, key: &str| (object.to_owned(), Some(key.to_owned()));
    // A company is also known by the domain of whom the event is about.
    let person = [named("contacts", "demo:42"), named("companies", "example.com"), named("contacts>companies", "demo:42>example.com")];
    assert_eq!(to(&order), person);
    order.identities.entry("deal".into()).or_default().insert("external_id".into(), "demo:d1".into());
    assert_eq!(
        to(&order)[2..],
        [named("deals", "demo:d1"), named("contacts>companies", "demo:42>example.com"), named("deals>contacts", "demo:d1>demo:42")]
    );
    assert!(routes.has_children("hs", "companies") && !routes.has_children("hs", "deals>contacts"));
    // Of nothing that only one object could take, it is that object's dead letter, and not silence.
    let nobody = event("order.created", json!({}));
    assert_eq!(to(&nobody), [("contacts".to_owned(), None)]);
}

#[test]
fn an_event_of_nothing_that_its_routes_are_of_is_a_dead_letter() {
    let text = "key = { field = \"k\", from = \"identities.company.domain\" }\nfields = { n = \"company\" }";
    let plan = ObjectPlan::compile("hubspot", "companies", &toml::from_str(text).unwrap()).unwrap();
    let route: RouteDef = toml::from_str("to = \"hs\"\nobject = \"companies\"").unwrap();
    let destinations = BTreeMap::from([("hs".to_owned(), Objects::from([("companies".to_owned(), plan)]))]);
    let routes = Routes::compile(&[route], &BTreeSet::from(["demo".to_owned()]), destinations).unwrap();
    let Plan::Deliver(planned) = routes.plan(&event("order.created", json!({ "email": "ada@example.com" }))) else {
        panic!("it would be silent")
    };
    assert!(planned.len() == 1 && planned[0].identifiers.is_empty() && planned[0].key.is_none());
}

#[test]
fn objects_that_would_wait_for_each_other_are_refused() {
    let circle = "companies = [{ object = \"deals\" }]\ncontacts = [{ object = \"companies\" }]\ndeals = [{ object = \"contacts\" }]";
    let found: Vec<_> = family(circle).unwrap_err().into_iter().map(|problem| problem.key).collect();
    assert_eq!(found.len(), 3, "{found:?}");
    let found = family("contacts = [{ object = \"people\" }]").unwrap_err();
    assert!(found[0].key.ends_with("contacts.parents.0") && found[0].message.contains("people"), "{found:?}");
}
