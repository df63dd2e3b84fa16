use super::*;

fn keys(text: &str) -> Vec<String> {
    let problems = compile(text).unwrap_err();
    assert!(problems.iter().all(|problem| !problem.message.is_empty() && !problem.remedy.is_empty()));
    problems.into_iter().map(|problem| problem.key).collect()
}

#[test]
fn every_problem_of_a_source_is_found_at_once() {
    let found = keys(
        r#"
        signature = { algorithm = "hmac-md5", header = "x", signed = "{body}" }
        trust = 101
        body_max = 0
        region = "XX"
        vendor_type = "a ||"
        id = { from = "id", header = "x-id" }
        ignore = [""]
        [[events]]
        when = "title(type) == 'A'"
        type = "not a type"
        occurred_at = { from = "at", as = "text" }
        occurred_at_unit = "days"
        [events.fields]
        email = { from = "email", as = "phone" }
        full_name = { from = "name", clear = true }
        Company = "company"
        phone_e164 = { from = "phone", region = "ZZ" }
        other = { from = "x", as = "moneyy" }
        note = { from = "a || b", clear = true, truncate = 0 }
        size = { const = [1] }
        both = { from = "x", required = true, default = "y" }
        when = { from = "x", unit = "s" }
        zoned = { from = "x", as = "datetime", unit = "date-time", zone = "Mars/Olympus" }
        offset = { from = "x", as = "datetime", unit = "rfc3339", zone = "UTC" }
        zone = { from = "x", zone = "UTC" }
        words = { from = "x", as = "enum" }
        listed = { from = "x", values = { a = "b" } }
        cents = { from = "x", minor = "c" }
        comma = { from = "x", as = "money", decimal = ";" }
        both_signs = { from = "x", as = "money", decimal = ",", minor = "c" }
        parted = { from = "x", as = "list", separator = "" }
        currency = { from = "x", as = "money", minor = "c." }
        [events.answers]
        from = "f("
        label = "l"
        value = "]"
        [[events]]
        when = "x"
        fields = {}
        "#,
    );
    for key in [
        "signature",
        "trust",
        "body_max",
        "region",
        "vendor_type",
        "id",
        "ignore",
        "events.0.when",
        "events.0.type",
        "events.0.occurred_at.as",
        "events.0.occurred_at.unit",
        "events.0.fields.email.as",
        "events.0.fields.full_name.clear",
        "events.0.fields.Company",
        "events.0.fields.phone_e164.region",
        "events.0.fields.other.as",
        "events.0.fields.note.clear",
        "events.0.fields.note.truncate",
        "events.0.fields.size.const",
        "events.0.fields.both.default",
        "events.0.fields.when.unit",
        "events.0.fields.zoned.zone",
        "events.0.fields.offset.zone",
        "events.0.fields.zone.zone",
        "events.0.fields.words.values",
        "events.0.fields.listed.values",
        "events.0.fields.cents.minor",
        "events.0.fields.comma.decimal",
        "events.0.fields.both_signs.decimal",
        "events.0.fields.parted.separator",
        "events.0.fields.currency.minor",
        "events.0.answers.from",
        "events.0.answers.value",
        "events.1.type",
    ] {
        assert!(found.iter().any(|held| held == key), "{key} is not in {found:#?}");
    }
}

#[test]
fn a_source_needs_a_signature_and_something_to_do() {
    assert_eq!(Source::compile("demo", &SourceDef::default()).unwrap_err().len(), 2);
    assert_eq!(keys("preset = \"nobody\"\nunmatched = \"ignore\""), ["preset"]);
    assert_eq!(keys("[[events]]\ntype = \"a\"\n[[events]]\ntype = \"b\"\n"), ["events.1"]);
    assert_eq!(
        keys("signature = { algorithm = \"hmac-sha256\", header = \"x\", signed = \"nothing\" }\nunmatched = \"ignore\""),
        ["signature.signed"]
    );
}

#[test]
fn a_sources_name_is_part_of_a_url_and_of_keys() {
    let def: SourceDef = toml::from_str("preset = \"github\"").unwrap();
    for name in ["", "A", "a b", "a|b", "crm", "email", &"x".repeat(64)] {
        assert!(Source::compile(name, &def).is_err(), "{name}");
    }
    assert!(Source::compile("land_ing-page2", &def).is_ok());
}

#[test]
fn unknown_keys_are_seen_by_whoever_watches_them() {
    let text = "typo = 1\n[[events]]\ntype = \"a\"\nfields = { email = { from = \"email\", requierd = true } }\n";
    assert!(toml::from_str::<SourceDef>(text).is_ok(), "the loader reports all of them at once");
}
