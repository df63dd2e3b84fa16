mod described;

use super::*;

const ANNOTATED: &str = include_str!("../../../../deploy/onceward.toml");

fn variables(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What the annotated file names.
fn named() -> Environment {
    variables(&[
        ("ONCEWARD_KEY", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
        ("ONCEWARD_ANN_TOKEN", "a-token-of-thirty-two-letters-xx"),
        ("TYPEFORM_SECRET", "typeform-secret-0123456789"),
        ("LANDING_SECRET", "landing-secret-0123456789"),
        ("STRIPE_SECRET", "whsec_0123456789abcdef"),
        ("STRIPE_API_KEY", "rk_live_0123456789abcdef"),
        ("SF_ID", "client-id"),
        ("SF_SECRET", "client-secret"),
        ("HUBSPOT_TOKEN", "pat-eu1-0123"),
        ("ERP_TOKEN", "erp-token-0123"),
    ])
}

/// The annotated file with a secret file that is there, and a ledger in a folder of its own.
fn annotated() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old");
    std::fs::write(&old, "typeform-secret-of-last-year\n").unwrap();
    let text = ANNOTATED.replace("/run/secrets/typeform-old", old.to_str().unwrap());
    (folder, text)
}

/// The same with every setting that stands at its default written out. `auth` and `tokens` are there as examples already, `answer` is one; where nobody says `admin`, a worker
/// has another.
fn written_out(text: &str) -> String {
    let setting = |line: &str| {
        let name: String = line.strip_prefix("# ")?.chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '_').collect();
        let rest = line.strip_prefix("# ")?.strip_prefix(&name)?.trim_start();
        (!name.is_empty()
            && rest.starts_with("= ")
            && !["auth", "tokens", "admin", "answer", "handshake", "public_url", "batch"].contains(&name.as_str()))
        .then(|| line[2..].to_owned())
    };
    text.lines().map(|line| setting(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

fn said(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

#[test]
fn the_annotated_file_is_in_order() {
    let (_folder, text) = annotated();
    let configuration = parse("onceward.toml", &text, &named()).unwrap_or_else(|problems| panic!("{}", said(&problems)));
    assert!(configuration.warnings.is_empty(), "{:?}", configuration.warnings);
    assert_eq!(configuration.sources.keys().collect::<Vec<_>>(), ["landing-page", "stripe", "typeform"]);
    assert_eq!(configuration.listen.public_url.as_deref(), Some("https://hooks.example.com"));
    assert_eq!(configuration.tokens[0].role, Role::Operator);
}

#[test]
fn every_default_in_the_annotated_file_is_the_codes_default() {
    let (_folder, text) = annotated();
    let all = written_out(&text);
    assert_ne!(all, text);
    let shown = |text: &str| {
        let configuration = parse("onceward.toml", text, &named()).unwrap_or_else(|problems| panic!("{}", said(&problems)));
        let sources: Vec<_> = configuration
            .sources
            .values()
            .map(|held| {
                let source = &held.source;
                format!(
                    "{} {} {:?} {} {} {}",
                    source.trust,
                    source.body_max,
                    source.answer,
                    source.gzip,
                    source.retired,
                    source.mapping_text()
                )
            })
            .collect();
        format!("{:#?} {sources:#?}", configuration)
    };
    assert_eq!(shown(&text), shown(&all));
    let admin = parse("onceward.toml", &text, &named()).unwrap().listen.admin();
    assert!(text.contains(&format!("# admin  = \"{admin}\"")), "{admin}");
    let destination = |text: &str| parse("onceward.toml", text, &named()).unwrap().destinations.remove("salesforce").unwrap();
    let held = destination(&all).policy;
    assert_eq!(held, Policy { schedule: held.schedule.clone(), daily: Some(100_000), ..Policy::default() });
    let unset = destination(
        &text.lines().filter(|line| !line.starts_with("schedule") && !line.starts_with("daily")).collect::<Vec<_>>().join("\n"),
    );
    assert_eq!(unset.policy, Policy::default());
}

#[test]
fn every_setting_that_the_code_knows_is_in_the_annotated_file() {
    let (_folder, text) = annotated();
    let mut bogus = text.clone();
    for (after, heading) in [
        ("[ledger]", 0),
        ("[queue]", 0),
        ("[listen]", 0),
        ("[encryption]", 0),
        ("[retention]", 0),
        ("[limits]", 0),
        ("[admin]", 0),
        ("[[admin.tokens]]", 0),
        ("[sources.landing-page]", 0),
        ("[sources.stripe.fetch]", 0),
        ("[[sources.landing-page.events]]", 0),
        ("[destinations.salesforce]", 0),
        ("[destinations.salesforce.quota]", 0),
        ("[destinations.salesforce.breaker]", 0),
        ("[destinations.salesforce.reconcile]", 0),
        ("[destinations.salesforce.objects.Lead]", 0),
        ("[destinations.erp.rest]", 0),
        ("[destinations.erp.rest.errors]", 0),
        ("[destinations.erp.objects.Invoice.rest]", 0),
        ("[destinations.erp.objects.Invoice.rest.read]", 0),
        ("[[routes]]", 0),
    ] {
        let at = bogus.match_indices(after).nth(heading).unwrap().0;
        let end = at + bogus[at..].find('\n').unwrap();
        bogus.insert_str(end, "\nno-such-key = 1");
    }
    let bogus = bogus
        .replace("email       = { from = \"email\"", "email       = { no-such-key = 1, from = \"email\"")
        .replace("LeadSource = { const", "LeadSource = { no-such-key = 1, const")
        .replace("auth     = { kind", "auth     = { no-such-key = 1, kind")
        .replace("create = { path", "create = { no-such-key = 1, path")
        .replace("batch = { size", "batch = { no-such-key = 1, size")
        .replace("limits  = { limit", "limits  = { no-such-key = 1, limit")
        .replace("ok       = { at", "ok       = { no-such-key = 1, at")
        .replace("signature     = { algorithm", "signature     = { no-such-key = 1, algorithm");
    let problems = parse("onceward.toml", &bogus, &named()).unwrap_err();
    let unknown: Vec<&Problem> = problems.iter().filter(|problem| problem.found.contains("no-such-key")).collect();
    assert_eq!(unknown.len(), 29, "{}", said(&problems));
    // The whole vocabulary of signatures is in the model's documentation; the file shows one scheme.
    for problem in unknown.iter().filter(|problem| !problem.key.contains(".signature.")) {
        for known in problem.expected.split('`').skip(1).step_by(2) {
            let there = text.lines().any(|line| {
                let line = line.trim_start_matches("# ");
                line.starts_with(known) && line[known.len()..].trim_start().starts_with('=')
                    || line.contains(&format!("[{known}"))
                    || line.contains(&format!(".{known}"))
                    || line.contains(&format!("{{ {known} = "))
                    || line.contains(&format!(", {known} = "))
            });
            assert!(there, "`{known}` of `{}` is not in deploy/onceward.toml", problem.key);
        }
    }
}

/// Everything wrong that one file can hold, and where.
const WRONG: &str = r#"
[ledger]
url = "postgres://onceward:hunter2@db"
[queue]
url = "nats://guest:hunter2@broker"
[listen]
public = "localhost"
admin = "127.0.0.1:8081"
publicc_url = "x"
[encryption]
keys = [{ env = "NOT_SET" }, "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="]
[retention]
raw_events = "30 days"
keys = 400
[limits]
connections = 0
[admin]
tokens = [{ name = "a", role = "boss", token = { env = "SHORT" } }]
[sourcse.x]
preset = "stripe"

[sources.typeform]
presett = "typeform"
trust = "high"
secrets = "whsec_literal"

[sources.stripe]
preset = "strip"
secrets = [{ file = "/nowhere/at/all" }]

[sources.landing-page]
secrets = [{ env = "SHORT" }]
signature = { algorithm = "md4", haeder = "x-signature", signed = "{body}" }
[[sources.landing-page.events]]
when = "type == "
type = "lead.created"
[sources.landing-page.events.fields]
email = { from = "email", az = "email" }
phone_e164 = { from = "phone", as = "fone" }

[destinations.salesforce]
kind = "salseforce"
base_url = "http://example.my.salesforce.com"
auth = { kind = "client_credentials", client_id = { env = "NOT_SET" }, client_secret = "literal" }
call_timeout = 60
late_windw = "5m"
[destinations.salesforce.quota]
calls = "many"
[destinations.salesforce.objects.Lead]
match = ["e-mail"]
fields = { Email = { frm = "email" } }

[destinations.other]
kind = "sugar"
base_url = "https://api.hubapi.com"
auth = { kind = "client_credentials", client_id = "x", client_secret = { env = "SECRET" } }

[[routes]]
source = "typefrom"
to = "salesforc"
object = "Lead"
mode = "upsrt"
[[routes]]
source = "stripe"
to = "salesforce"
object = "Contact"
"#;

#[test]
fn every_mistake_of_a_file_is_found_at_once_with_its_line_its_key_and_what_to_do() {
    let environment = variables(&[("SHORT", "short"), ("SECRET", "a-secret-that-is-long-enough")]);
    let problems = parse("onceward.toml", WRONG, &environment).unwrap_err();
    let all = said(&problems);
    for (key, found, remedy) in [
        ("ledger.url", "no database", "postgres://user:password@host"),
        ("queue.url", "`nats:`", "RabbitMQ"),
        ("listen.public", "`localhost`", "127.0.0.1:8080"),
        ("listen.publicc_url", "unknown key", "did you mean `public_url`?"),
        ("encryption.keys[0]", "`NOT_SET` is not set", "export NOT_SET="),
        ("encryption.keys[1]", "written into the file", "environment variable"),
        ("retention.raw_events", "`30 days`", "`30s`"),
        ("retention.keys", "a whole number", ""),
        ("limits.connections", "0", ""),
        ("admin.tokens[0].role", "`boss`", ""),
        ("admin.tokens[0].token", "5 bytes", "openssl"),
        ("sourcse", "unknown key", "did you mean `sources`?"),
        ("sources.typeform.presett", "unknown key", "did you mean `preset`?"),
        ("sources.typeform.trust", "a text", ""),
        ("sources.typeform.secrets", "a text", ""),
        ("sources.stripe.preset", "`strip`", ""),
        ("sources.stripe.secrets[0]", "/nowhere/at/all", "create the file"),
        ("sources.landing-page.secrets[0]", "5 bytes", ""),
        ("sources.landing-page.signature.algorithm", "`md4`", ""),
        ("sources.landing-page.signature.haeder", "unknown key", "did you mean `header`?"),
        ("sources.landing-page.events[0].fields.email.az", "unknown key", "did you mean `as`?"),
        ("destinations.salesforce.auth.client_secret", "written into the file", "environment variable"),
        ("destinations.salesforce.base_url", "https", ""),
        ("destinations.salesforce.call_timeout", "a whole number", ""),
        ("destinations.salesforce.late_windw", "unknown key", "did you mean `late_window`?"),
        ("destinations.salesforce.quota.calls", "a text", ""),
        ("destinations.salesforce.objects.Lead.key", "nothing", "add it"),
        ("destinations.salesforce.objects.Lead.fields.Email.frm", "unknown key", "did you mean `from`?"),
        ("destinations.other.kind", "`sugar`", "`zoho`"),
        ("routes[0].mode", "`upsrt`", "did you mean `upsert`?"),
        ("routes[0].source", "`typefrom`", ""),
        ("routes[0].to", "`salesforc`", ""),
        ("routes[1].object", "`Contact`", ""),
    ] {
        let fits = |problem: &&Problem| problem.key == key && problem.found.contains(found) && problem.remedy.contains(remedy);
        let problem = problems.iter().find(fits).unwrap_or_else(|| panic!("{key}: {found}: {remedy} is not in\n{all}"));
        assert!(problem.line.is_some() && !problem.remedy.is_empty(), "{problem}");
    }
    let twice = |problem: &&Problem| problem.found == "nothing" && problem.key != "destinations.salesforce.objects.Lead.key";
    assert_eq!(problems.iter().filter(twice).count(), 0, "{all}");
    let line = |key: &str| problems.iter().find(|problem| problem.key == key).and_then(|problem| problem.line);
    assert_eq!(line("listen.publicc_url"), Some(9));
    assert_eq!(line("routes[0].mode"), Some(62));
    for secret in ["hunter2", "guest", "whsec_literal", "\"literal\"", "MDEyMzQ1", "short`"] {
        assert!(!all.contains(secret), "`{secret}` must not be shown:\n{all}");
    }
}

/// A file in order except for what a test puts into it.
fn small(more: &str) -> String {
    format!(
        "[ledger]\nurl = \"sqlite:/tmp/none/onceward.db\"\n[encryption]\nkeys = [{{ env = \"ONCEWARD_KEY\" }}]\n\
         [sources.typeform]\npreset = \"typeform\"\nsecrets = [{{ env = \"TYPEFORM_SECRET\" }}]\n\
         [destinations.salesforce]\nkind = \"salesforce\"\nbase_url = \"https://example.my.salesforce.com\"\n\
         auth = {{ kind = \"client_credentials\", client_id = \"x\", client_secret = {{ env = \"SF_SECRET\" }} }}\n\
         [destinations.salesforce.objects.Lead]\nkey = {{ field = \"External_Lead_Id__c\" }}\n{more}"
    )
}

#[test]
fn what_is_wrong_between_sections_is_found_as_well() {
    let routes = "[[routes]]\nsource = \"typefrom\"\nto = \"salesforce\"\nobject = \"Laed\"\n[[routes]]\nto = \"nowhere\"\nobject = \"Lead\"\nalert_after = \"soon\"\n";
    let listen = "[listen]\npublic = \"0.0.0.0:8081\"\n";
    let problems = parse("f", &small(&format!("{listen}{routes}")), &named()).unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    let expected = ["routes[0].source", "routes[0].object", "routes[1].to", "routes[1].alert_after", "listen.admin"];
    for key in expected {
        assert!(keys.contains(&key), "{key} is not in\n{}", said(&problems));
    }
    assert_eq!(keys.len(), expected.len(), "{}", said(&problems));
}

#[test]
fn one_mistake_is_told_once_and_not_again_for_what_rests_on_it() {
    let text = small("[[routes]]\nto = \"salesforce\"\nobject = \"Lead\"\n").replace("https://example", "http://example");
    let problems = parse("f", &text, &named()).unwrap_err();
    assert_eq!(problems.len(), 1, "{}", said(&problems));
    assert_eq!(problems[0].key, "destinations.salesforce.base_url");
}

/// A HubSpot with these lines for its credentials.
fn hubspot(auth: &str) -> Result<Configuration, Vec<Problem>> {
    let section = "kind = \"hubspot\"\nbase_url = \"https://api.hubapi.com\"";
    let object = "[destinations.hubspot.objects.contacts]\nkey = { field = \"crm_ext_id\" }";
    parse("f", &small(&format!("[destinations.hubspot]\n{section}\n{auth}\n{object}\n")), &named())
}

#[test]
fn hubspot_takes_a_private_apps_token_and_is_asked_no_faster_than_any_plan_allows() {
    let configuration = hubspot("auth = { kind = \"bearer\", token = { env = \"HUBSPOT_TOKEN\" } }")
        .unwrap_or_else(|problems| panic!("{}", said(&problems)));
    let destination = &configuration.destinations["hubspot"];
    assert_eq!(destination.settings.kind, connect::Kind::Hubspot);
    assert!(destination.policy.calls * 10 <= 100, "in any ten seconds");
    let fields: Vec<&str> = destination.objects["contacts"].field_names().collect();
    assert!(fields.contains(&"firstname") && fields.contains(&"email"), "the preset's: {fields:?}");
    let quota = hubspot("quota = { calls = 19 }\nauth = { kind = \"bearer\", token = { env = \"HUBSPOT_TOKEN\" } }").unwrap();
    assert_eq!(quota.destinations["hubspot"].policy.calls, 19);
}

#[test]
fn a_days_budget_has_its_bounds_and_its_day() {
    let auth = "auth = { kind = \"bearer\", token = { env = \"HUBSPOT_TOKEN\" } }";
    let of = |quota: &str| hubspot(&format!("quota = {{ {quota} }}\n{auth}"));
    let policy = of("daily = 250000, reserve = 35, day = \"Europe/Berlin\"").unwrap().destinations["hubspot"].policy.clone();
    assert_eq!((policy.daily, policy.reserve), (Some(250_000), 35));
    assert_eq!(policy.day, model::quota::Day::parse("Europe/Berlin").unwrap());
    for (quota, key, found) in [("daily = 0", "daily", "0"), ("reserve = 95", "reserve", "95"), ("day = \"Berlin\"", "day", "`Berlin`")] {
        let problems = of(quota).unwrap_err();
        let told: Vec<_> = problems.iter().map(|problem| (problem.key.as_str(), problem.found.as_str())).collect();
        assert_eq!(told, [(format!("destinations.hubspot.quota.{key}").as_str(), found)]);
    }
}

#[test]
fn a_key_that_hubspot_cannot_bear_is_warned_of() {
    let auth = "auth = { kind = \"bearer\", token = { env = \"HUBSPOT_TOKEN\" } }";
    for (object, field, warned) in
        [("contacts", "email", true), ("companies", "domain", true), ("deals", "dealname", true), ("companies", "crm_ext_id", false)]
    {
        let text = format!(
            "[destinations.hubspot]\nkind = \"hubspot\"\nbase_url = \"https://api.hubapi.com\"\n{auth}\n\
             [destinations.hubspot.objects.{object}]\nkey = {{ field = \"{field}\" }}\nfields = {{ phone = \"phone_e164\" }}\n"
        );
        let configuration = parse("f", &small(&text), &named()).unwrap_or_else(|problems| panic!("{}", said(&problems)));
        let key = format!("destinations.hubspot.objects.{object}.key");
        assert_eq!(configuration.warnings.iter().any(|warning| warning.key == key), warned, "{object} by {field}");
    }
}

#[test]
fn each_crm_takes_its_own_credentials() {
    for (auth, key, found) in [
        ("auth = { kind = \"bearer\" }", "destinations.hubspot.auth.token", "nothing"),
        ("auth = { kind = \"bearer\", token = \"pat-eu1\" }", "destinations.hubspot.auth.token", "written into the file"),
        (
            "auth = { kind = \"bearer\", token = { env = \"HUBSPOT_TOKEN\" }, client_id = \"x\" }",
            "destinations.hubspot.auth.client_id",
            "`client_id`",
        ),
        (
            "auth = { kind = \"client_credentials\", client_id = \"x\", client_secret = { env = \"SF_SECRET\" } }",
            "destinations.hubspot.auth",
            "hubspot takes `bearer` or `refresh_token`",
        ),
        (
            "api_version = \"v68.0\"\nauth = { kind = \"bearer\", token = { env = \"HUBSPOT_TOKEN\" } }",
            "destinations.hubspot.api_version",
            "`v68.0`",
        ),
    ] {
        let problems = hubspot(auth).unwrap_err();
        assert_eq!(problems.len(), 1, "{auth}: {}", said(&problems));
        assert!(problems[0].key == key && problems[0].found.contains(found), "{auth}: {}", said(&problems));
        assert!(!said(&problems).contains("pat-eu1"), "the token is not shown");
    }
}

#[test]
fn a_source_without_a_route_and_a_destination_without_one_are_warned_of() {
    let configuration = parse("f", &small(""), &named()).unwrap();
    let keys: Vec<&str> = configuration.warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(keys, ["sources.typeform", "destinations.salesforce"]);
}

#[test]
fn the_environment_overrides_the_file_and_is_named_where_it_is_wrong() {
    let mut environment = named();
    environment.insert("ONCEWARD_LISTEN__PUBLIC".into(), "127.0.0.1:9999".into());
    environment.insert("ONCEWARD_SOURCES__TYPEFORM__TRUST".into(), "77".into());
    environment.insert("ONCEWARD_LEDGER_URL".into(), "sqlite:/tmp/elsewhere.db".into());
    let configuration = parse("f", &small(""), &environment).unwrap();
    assert_eq!(configuration.listen.public.port(), 9999);
    assert_eq!(configuration.sources["typeform"].source.trust, 77);
    assert_eq!(configuration.ledger.file(), Some(Path::new("/tmp/elsewhere.db")));

    environment.insert("ONCEWARD_LISTEN__PUBIC".into(), "127.0.0.1:9999".into());
    let problems = parse("f", &small(""), &environment).unwrap_err();
    assert_eq!(problems.len(), 1, "{}", said(&problems));
    assert_eq!(problems[0].file, "environment variable ONCEWARD_LISTEN__PUBIC");
    assert_eq!(problems[0].remedy, "did you mean `public`?");
}

#[test]
fn a_file_that_is_not_there_not_text_or_not_toml_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("onceward.toml");
    assert!(load(&path, &Environment::new()).unwrap_err()[0].found.contains("cannot be read"));
    std::fs::write(&path, b"[ledger]\nurl = \"\xff\"").unwrap();
    assert!(load(&path, &Environment::new()).unwrap_err()[0].found.contains("line 2"));
    std::fs::write(&path, "[ledger\nurl = 1").unwrap();
    let problems = load(&path, &Environment::new()).unwrap_err();
    assert_eq!((problems[0].line, problems[0].found.as_str()), (Some(1), "not TOML"), "{}", said(&problems));
}

#[test]
fn a_ledger_that_cannot_be_written_is_found_before_it_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_str().unwrap(), "/proc/none/onceward.db", ":memory:", "", "x.db?mode=ro"] {
        let text = small("").replace("/tmp/none/onceward.db", path);
        let problems = parse("f", &text, &named()).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), ["ledger.url"], "{path}: {}", said(&problems));
    }
}

#[test]
fn servers_are_shown_without_their_passwords_and_refused_without_repeating_them() {
    let with = |ledger: &str, queue: &str| {
        let mut environment = named();
        environment.insert("ONCEWARD_LEDGER_URL".into(), ledger.into());
        environment.insert("ONCEWARD_QUEUE_URL".into(), queue.into());
        parse("f", &small(""), &environment)
    };
    let configuration = with("postgres://ann:s3cret@db.example/ledger", "amqp://ann:s3cret@broker.example").unwrap();
    assert_eq!(configuration.ledger.to_string(), "postgres://ann@db.example:5432/ledger");
    assert_eq!(configuration.queue.to_string(), "amqp://ann@broker.example:5672/");
    assert!(!format!("{configuration:?}").contains("s3cret"));
    assert!(configuration.ledger.url().contains("s3cret"));
    let socket = with("postgres:///ledger?host=/run/postgresql&user=ann&password=s3cret", "embedded:").unwrap();
    assert_eq!(socket.ledger.to_string(), "postgres:///run/postgresql:5432/ledger");
    for (ledger, queue, keys) in [
        ("postgres://ann:s3cret@db.example", "embedded:", "ledger.url"),
        ("postgres://ann:s3cret@/ledger", "embedded:", "ledger.url"),
        ("mysql://ann:s3cret@db.example/ledger", "embedded:", "ledger.url"),
        ("postgres://db.example/ledger", "amqps://ann:s3cret@broker.example", "queue.url"),
        ("postgres://db.example/ledger", "amqp://ann:s3cret@broker.example:99999", "queue.url"),
    ] {
        let problems = with(ledger, queue).unwrap_err();
        assert_eq!(
            problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(),
            [keys],
            "{ledger} {queue}: {}",
            said(&problems)
        );
        assert!(!said(&problems).contains("s3cret"), "{}", said(&problems));
    }
}

/// A source with `fetch`, in what a whole file needs besides.
fn with_source(text: &str) -> Result<Configuration, Vec<Problem>> {
    let whole = format!(
        "[encryption]\nkeys = [{{ env = \"ONCEWARD_KEY\" }}]\n[sources.shop]\npreset = \"stripe\"\nsecrets = [{{ env = \"STRIPE_SECRET\" }}]\n{text}"
    );
    parse("onceward.toml", &whole, &named())
}

#[test]
fn a_sources_vendor_is_configured_where_it_is_needed_and_not_else() {
    let shop = |text: &str| with_source(text).unwrap_or_else(|problems| panic!("{}", said(&problems))).sources.remove("shop").unwrap();
    let plain = shop("");
    assert!(plain.fetch.is_none() && plain.catch_up.is_none(), "the preset's own words ask for nothing");
    let held = shop("catch_up = \"1h\"\n[sources.shop.fetch]\ntoken = { env = \"STRIPE_API_KEY\" }\nquota = { calls = 2, per = \"10s\" }");
    assert_eq!(held.catch_up, Some(std::time::Duration::from_secs(3_600)));
    let fetch = held.fetch.unwrap();
    assert_eq!((fetch.kind, fetch.policy.calls, fetch.policy.per.as_secs()), (connect::vendor::Kind::Stripe, 2, 10));
    assert!(!format!("{fetch:?}").contains("rk_live"), "the token is never printed");
    let asked = with_source("[sources.shop.fetch]\ntoken = { env = \"STRIPE_API_KEY\" }").unwrap().asked();
    assert_eq!(asked, ["source:shop"]);
}

#[test]
fn what_is_wrong_with_a_sources_vendor_is_said_with_its_place() {
    let token = "token = { env = \"STRIPE_API_KEY\" }";
    for (text, key, found) in [
        ("catch_up = \"1h\"".to_owned(), "sources.shop.fetch", "nothing"),
        (format!("catch_up = \"1s\"\n[sources.shop.fetch]\n{token}"), "sources.shop.catch_up", "a text"),
        (format!("catch_up = 5\n[sources.shop.fetch]\n{token}"), "sources.shop.catch_up", "a whole number"),
        (format!("[sources.shop.fetch]\n{token}\nclient = \"strype\""), "sources.shop.fetch.client", "`strype`"),
        (format!("[sources.shop.fetch]\n{token}\nbase_url = \"http://api.example.com\""), "sources.shop.fetch.base_url", "https"),
        (format!("[sources.shop.fetch]\n{token}\nclient_id = \"x\""), "sources.shop.fetch", "a `token` and a login"),
        (format!("[sources.shop.fetch]\n{token}\nquota = {{ calls = 0 }}"), "sources.shop.fetch.quota.calls", "0"),
        (format!("[sources.shop.fetch]\n{token}\nversion = \"newest\""), "sources.shop.fetch.version", "newest"),
        ("[sources.shop.fetch]\ntoken = { env = \"NOT_THERE\" }".to_owned(), "sources.shop.fetch.token", "NOT_THERE"),
        ("[sources.shop.fetch]\ntoken = \"rk_live_in_the_file\"".to_owned(), "sources.shop.fetch.token", "a secret written into the file"),
        (format!("[sources.shop.fetch]\n{token}\ntokn = 1"), "sources.shop.fetch.tokn", "tokn"),
        (format!("catch_up = \"1h\"\n[sources.shop.fetch]\n{token}\nclient = \"attio\""), "sources.shop.catch_up", "attio"),
        (format!("catch_up = \"1h\"\n[sources.shop.fetch]\n{token}\nclient = \"meta\""), "sources.shop.fetch.accounts", "nothing"),
    ] {
        let problems = with_source(&text).expect_err(&text);
        let problem = problems.iter().find(|problem| problem.key == key);
        assert!(problem.is_some_and(|problem| problem.found.contains(found)), "{text}\n{}", said(&problems));
    }
}

#[test]
fn reconciling_goes_by_itself_unless_it_is_switched_off() {
    let with = |more: &str| parse("f", &small(&format!("[destinations.salesforce.reconcile]\n{more}")), &named());
    let held = |more: &str| with(more).unwrap_or_else(|problems| panic!("{}", said(&problems))).destinations["salesforce"].reconcile;
    let usual = held("").unwrap();
    assert_eq!((usual.every, usual.sample, usual.repair.as_str()), (std::time::Duration::from_secs(86_400), 200, "ours"));
    assert_eq!(held("every = \"off\""), None);
    let own = held("every = \"1h\"\nsample = 5\nrepair = \"all\"").unwrap();
    assert_eq!((own.every, own.sample, own.repair.as_str()), (std::time::Duration::from_secs(3_600), 5, "all"));
    for (more, key) in
        [("every = \"1s\"", "every"), ("every = \"often\"", "every"), ("sample = 0", "sample"), ("repair = \"some\"", "repair")]
    {
        let problems = with(more).unwrap_err();
        assert_eq!(problems[0].key, format!("destinations.salesforce.reconcile.{key}"), "{more}");
    }
}

#[test]
fn the_names_and_the_pace_of_a_destination_are_its_crms() {
    let of = |destination: &str| {
        let whole = format!(
            "[encryption]\nkeys = [{{ env = \"ONCEWARD_KEY\" }}]\n[destinations.crm]\n{destination}\nauth = {{ kind = \"bearer\", token = {{ env = \"HUBSPOT_TOKEN\" }} }}"
        );
        parse("onceward.toml", &whole, &named())
    };
    let object = "objects.contacts = { key = { field = \"email\", from = \"identity.email\" }, fields = { first_name = \"first_name\" } }";
    let agiled = of(&format!("kind = \"agiled\"\nbase_url = \"https://api.example.com\"\n{object}")).unwrap();
    let policy = &agiled.destinations["crm"].policy;
    assert_eq!((policy.calls, policy.per.as_secs()), (30, 60));
    let hash = "objects.persons = { key = { field = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b\" }, fields = { name = \"last_name\" } }";
    assert!(of(&format!("kind = \"pipedrive\"\nbase_url = \"https://x.pipedrive.com\"\n{hash}")).is_ok());
    let problems = of(&format!("kind = \"hubspot\"\nbase_url = \"https://api.hubapi.com\"\n{hash}")).unwrap_err();
    assert!(problems[0].found.contains("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"), "{}", said(&problems));
}
