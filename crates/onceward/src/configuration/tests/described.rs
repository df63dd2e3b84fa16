//! Destinations that the configuration describes.

use super::*;

/// A described destination, in what a whole file needs besides; `more` follows its object.
fn with_erp(rest: &str, object: &str, more: &str) -> Result<Configuration, Vec<Problem>> {
    let whole = format!(
        "[encryption]\nkeys = [{{ env = \"ONCEWARD_KEY\" }}]\n[sources.shop]\npreset = \"stripe\"\nsecrets = [{{ env = \"STRIPE_SECRET\" }}]\n\
         [destinations.erp]\nkind = \"rest\"\nbase_url = \"https://erp.example.com\"\nauth = {{ kind = \"bearer\", token = {{ env = \"ERP_TOKEN\" }} }}\n\
         {rest}\n[destinations.erp.objects.Invoice]\nkey = {{ field = \"number\" }}\nfields = {{ total = \"amount\" }}\n{object}\n\
         [[routes]]\nto = \"erp\"\nobject = \"Invoice\"\n{more}"
    );
    parse("onceward.toml", &whole, &named())
}

#[test]
fn a_described_destination_is_compiled_with_what_may_follow_from_it() {
    let rest = "[destinations.erp.rest]\nprobe = \"/me\"\nidempotency_life = \"30m\"";
    let create = "rest.create = { path = \"/i\", idempotency = \"{key}\" }";
    let held = with_erp(rest, create, "mode = \"create_only\"").unwrap_or_else(|problems| panic!("{}", said(&problems)));
    assert_eq!(held.destinations["erp"].settings.kind, connect::Kind::Rest);
    let short = held.warnings.iter().find(|warning| warning.key == "destinations.erp.rest.idempotency_life");
    assert!(short.is_some_and(|warning| warning.message.contains("second one")), "{:?}", held.warnings);
    let long = with_erp(&rest.replace("30m", "30d"), create, "mode = \"create_only\"").unwrap();
    assert!(long.warnings.iter().all(|warning| !warning.key.contains("rest")), "{:?}", long.warnings);
}

#[test]
fn what_is_wrong_with_a_description_is_said_with_its_place_and_a_remedy() {
    let rest = "[destinations.erp.rest]\nprobe = \"/me\"";
    let create = "rest.create = { path = \"/i\" }\nrest.read = { path = \"/i/{key}\" }";
    let only = "mode = \"create_only\"";
    for (rest, object, route, key, found) in [
        ("", create, only, "destinations.erp.rest", "nothing"),
        ("[destinations.erp.rest]\nprobe = \"me\"", create, only, "destinations.erp.rest.probe", "no path"),
        ("[destinations.erp.rest]\nprobes = \"/me\"", create, only, "destinations.erp.rest.probes", "probes"),
        (rest, "", only, "destinations.erp.objects.Invoice.rest", "missing"),
        (rest, "rest.create = { path = \"/i\", bdy = 1 }", only, "destinations.erp.objects.Invoice.rest.create.bdy", "bdy"),
        (rest, "rest.create = { path = \"/i/{no}\" }", only, "destinations.erp.objects.Invoice.rest.create.path", "no placeholder"),
        (
            rest,
            "rest.create = { path = \"/i\", body = { a = \"{fields.vat}\" } }",
            only,
            "destinations.erp.objects.Invoice.rest.create.body",
            "`vat` is not in",
        ),
        (rest, create, "", "routes[0].mode", "cannot do"),
        (rest, create, "mode = \"create_only\"\non_delete = \"delete\"", "routes[0].on_delete", "`delete`"),
    ] {
        let problems = with_erp(rest, object, route).expect_err(key);
        let problem = problems.iter().find(|problem| problem.key == key);
        assert!(problem.is_some_and(|problem| problem.found.contains(found) && !problem.remedy.is_empty()), "{key}\n{}", said(&problems));
    }
    let hubspot = "[destinations.crm]\nkind = \"hubspot\"\nbase_url = \"https://api.hubapi.com\"\nauth = { kind = \"bearer\", token = { env = \"HUBSPOT_TOKEN\" } }\nrest = { probe = \"/\" }";
    let problems = with_erp(&format!("{rest}\n{hubspot}"), create, only).unwrap_err();
    assert!(problems.iter().any(|problem| problem.key == "destinations.crm.rest"), "{}", said(&problems));
}
