use model::route::ObjectDef;

use super::*;

fn text(length: u32) -> FieldDescription {
    FieldDescription { kind: FieldKind::Text, length_max: Some(length), creatable: true, updatable: true, required: false, unique: false }
}

fn of(kind: FieldKind) -> FieldDescription {
    FieldDescription { kind, length_max: None, ..text(0) }
}

fn choice(options: &[&str], several: bool, open: bool) -> FieldDescription {
    of(FieldKind::Choice { options: options.iter().map(|option| (*option).to_owned()).collect(), several, open })
}

fn description() -> Description {
    let fields = [
        ("Key__c", FieldDescription { unique: true, ..text(255) }),
        ("Short_Key__c", FieldDescription { unique: true, ..text(20) }),
        ("Loose__c", text(255)),
        ("LastName", FieldDescription { required: true, ..text(80) }),
        ("Email", text(80)),
        ("Phone", text(10)),
        ("Title", text(40)),
        ("Name", FieldDescription { creatable: false, updatable: false, ..text(121) }),
        ("Once__c", FieldDescription { updatable: false, ..text(40) }),
        ("Size__c", of(FieldKind::Number)),
        ("Count__c", of(FieldKind::Integer)),
        ("Agreed__c", of(FieldKind::Boolean)),
        ("Born__c", of(FieldKind::Date)),
        ("Seen__c", of(FieldKind::DateTime)),
        ("OwnerId", of(FieldKind::Reference)),
        ("Status", choice(&["Open", "Closed"], false, false)),
        ("Source", choice(&["Web"], false, true)),
        ("Interests__c", choice(&["A"], true, false)),
        ("Where__c", of(FieldKind::Other("location".into()))),
    ];
    Description { fields: fields.map(|(name, field)| (name.to_owned(), field)).into() }
}

fn yields() -> BTreeMap<String, Yields> {
    let of = |kind: Yielded| Yields { kinds: [kind].into(), longest: None };
    let mut all: BTreeMap<String, Yields> = [
        ("text", Yielded::Text),
        ("number", Yielded::Number),
        ("decimal", Yielded::Decimal),
        ("boolean", Yielded::Boolean),
        ("date", Yielded::Date),
        ("moment", Yielded::Moment),
        ("list", Yielded::List),
        ("anything", Yielded::Anything),
    ]
    .map(|(name, kind)| (name.to_owned(), of(kind)))
    .into();
    all.insert("cut".into(), Yields { longest: Some(60), ..of(Yielded::Text) });
    all
}

/// What is found of an object with these fields; `LastName` is always filled.
fn found(key: &str, fields: Value, creates: bool) -> Vec<Misfit> {
    let mut fields = fields;
    fields["LastName"] = fields.get("LastName").cloned().unwrap_or_else(|| json!("last_name"));
    let def: ObjectDef = serde_json::from_value(json!({ "key": { "field": key }, "fields": fields })).unwrap();
    let plan = ObjectPlan::compile("salesforce", "Lead", &def).unwrap();
    compare(&Ours { at: "o".into(), plan: &plan, creates, unique: true, yields: yields() }, &description())
}

fn only(misfits: Vec<Misfit>) -> Option<(String, String)> {
    assert!(misfits.len() < 2, "{misfits:?}");
    misfits.into_iter().next().map(|misfit| (misfit.key, format!("{}; {}", misfit.found, misfit.remedy)))
}

#[test]
fn each_field_that_the_crm_will_not_take_is_found_with_its_remedy() {
    let rows = [
        (json!({ "Emial": "email" }), "Emial", "did you mean `Email`?"),
        (json!({ "Nothing__c": "email" }), "Nothing__c", "create it in the CRM"),
        (json!({ "Name": "text" }), "Name", "cannot be written"),
        (json!({ "Once__c": "text" }), "Once__c", "when a record is created, and not changed"),
        (json!({ "Size__c": "text" }), "Size__c", "takes a number, and is given text"),
        (json!({ "Size__c": "email" }), "Size__c", "is given text"),
        (json!({ "Count__c": "decimal" }), "Count__c", "takes a whole number, and is given a decimal number"),
        (json!({ "Agreed__c": "text" }), "Agreed__c", "takes yes or no"),
        (json!({ "Born__c": "moment" }), "Born__c", "takes a day, and is given a moment"),
        (json!({ "Seen__c": "text" }), "Seen__c", "takes a moment"),
        (json!({ "OwnerId": "text" }), "OwnerId", "the id of another record"),
        (json!({ "Status": { "const": "Opne" } }), "Status", "`Open` is one of them"),
        (json!({ "Status": "number" }), "Status", "takes one of its values, and is given a number"),
        (json!({ "Status": "list" }), "Status", "is given a list"),
        (json!({ "Phone": "phone_e164" }), "Phone", "holds 10 characters, and may be given 16"),
        (json!({ "Title": "cut" }), "Title", "holds 40 characters, and may be given 60"),
        (json!({ "Phone": { "const": "far too long" } }), "Phone", "may be given 12"),
        (json!({ "Phone": "occurred_at" }), "Phone", "may be given 27"),
        (json!({ "Agreed__c": { "const": "yes" } }), "Agreed__c", "takes yes or no, and is given text"),
    ];
    for (fields, name, said) in rows {
        let (key, text) = only(found("Key__c", fields.clone(), true)).unwrap_or_else(|| panic!("nothing is found of {fields}"));
        assert_eq!(key, format!("o.fields.{name}"), "{fields}");
        assert!(text.contains(said), "{fields}: {text}");
    }
}

#[test]
fn what_the_crm_takes_is_not_told() {
    for fields in [
        json!({ "Email": "email", "Title": "text" }),
        json!({ "Title": "number" }),
        json!({ "Size__c": "number" }),
        json!({ "Size__c": "decimal" }),
        json!({ "Size__c": { "const": 5 } }),
        json!({ "Size__c": { "const": "5.50" } }),
        json!({ "Size__c": "anything" }),
        json!({ "Size__c": "nobody_yields_this" }),
        json!({ "Agreed__c": { "const": true } }),
        json!({ "Born__c": "date" }),
        json!({ "Seen__c": "occurred_at" }),
        json!({ "Status": { "const": "Open" } }),
        json!({ "Status": "text" }),
        json!({ "Source": { "const": "Anything at all" } }),
        json!({ "Interests__c": "list" }),
        json!({ "Where__c": "text" }),
    ] {
        assert_eq!(only(found("Key__c", fields.clone(), true)), None, "{fields}");
    }
}

#[test]
fn the_key_is_a_unique_text_that_is_long_enough() {
    for (key, said) in [
        ("Loose__c", "not unique"),
        ("Short_Key__c", "holds 20 characters"),
        ("Size__c", "takes a number; key by a text field"),
        ("Kye__c", "did you mean `Key__c`?"),
        ("My_Own_Id__c", "onceward destinations setup"),
    ] {
        let (at, text) = only(found(key, json!({}), true)).unwrap_or_else(|| panic!("nothing is found of {key}"));
        assert!(at == "o.key.field" && text.contains(said), "{key}: {at} {text}");
    }
}

#[test]
fn what_a_creation_needs_and_nothing_fills_is_told_where_records_are_created() {
    let def: ObjectDef = serde_json::from_value(json!({ "key": { "field": "Key__c" }, "fields": { "Email": "email" } })).unwrap();
    let plan = ObjectPlan::compile("salesforce", "Lead", &def).unwrap();
    let told = |creates| compare(&Ours { at: "o".into(), plan: &plan, creates, unique: true, yields: yields() }, &description());
    assert!(only(told(true)).is_some_and(|(at, text)| at == "o.fields" && text.contains("`LastName`")));
    assert_eq!(only(told(false)), None);
}
