//! What a world is made of: its faults, its configuration, and the CRM at the other end of a function call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connect::{Auth, AuthKind, Body, Client, Kind, Reply, Request, Secret as ConnectSecret, Settings, Transport, TransportError};
use harness::Dice;
use ingest::Gate;
use model::Time;
use model::destination::Policy;
use model::route::{ObjectDef, ObjectPlan, RouteDef, Routes};
use model::secret::Secret;
use model::source::{Source, SourceDef};
use sandbox::{Core, HttpRequest, Options};
use worker::{Target, To};

use crate::world::{DESTINATION, LATE_WINDOW, SECRET};

/// The CRM of a world.
pub struct Dialect {
    pub kind: Kind,
    pub object: &'static str,
    /// The object's key and fields, as configured.
    configured: &'static str,
    /// What the fields are called that events fill: their canonical names and the CRM's.
    pub fields: [(&'static str, &'static str); 3],
    pub last_name: &'static str,
    key: Key,
}

/// What a person's record is keyed by.
enum Key {
    Person,
    Email,
    /// As Odoo keeps an external id: below a module, and the object's name.
    Odoo,
}

impl Dialect {
    /// The key of a person's record in the ledger.
    pub fn key(&self, person: u64) -> String {
        match self.key {
            Key::Person | Key::Odoo => person.to_string(),
            Key::Email => format!("person{person}@example.com"),
        }
    }

    /// The key in the ledger of a record that the CRM shows with this one.
    pub fn shown(&self, key: &str) -> String {
        match self.key {
            Key::Person | Key::Email => key.to_owned(),
            Key::Odoo => key.rsplit("__").next().unwrap_or_default().to_owned(),
        }
    }
}

static SALESFORCE: Dialect = Dialect {
    kind: Kind::Salesforce,
    object: "Lead",
    configured: r#"
        key = { field = "External_Lead_Id__c", from = "identity.external_id" }
        match = ["external_id", "email"]
        fields = { LastName = "last_name", Company = "company", Email = "email", Title = "job_title", City = "city", Utm_Source__c = "utm_source" }
    "#,
    fields: [("job_title", "Title"), ("city", "City"), ("utm_source", "Utm_Source__c")],
    last_name: "LastName",
    key: Key::Person,
};

static HUBSPOT: Dialect = Dialect {
    kind: Kind::Hubspot,
    object: "contacts",
    configured: r#"
        key = { field = "crm_ext_id", from = "identity.external_id" }
        match = ["external_id", "email"]
        fields = { lastname = "last_name", company = "company", email = "email", jobtitle = "job_title", city = "city", utm_source = "utm_source" }
    "#,
    fields: [("job_title", "jobtitle"), ("city", "city"), ("utm_source", "utm_source")],
    last_name: "lastname",
    key: Key::Person,
};

static OTHERS: [Dialect; 7] = [
    Dialect {
        kind: Kind::Dataverse,
        object: "contacts",
        configured: r#"
            key = { field = "onceward_key", from = "identity.external_id" }
            match = ["external_id", "email"]
            fields = { lastname = "last_name", emailaddress1 = "email", jobtitle = "job_title", address1_city = "city", address1_line1 = "utm_source" }
        "#,
        fields: [("job_title", "jobtitle"), ("city", "address1_city"), ("utm_source", "address1_line1")],
        last_name: "lastname",
        key: Key::Person,
    },
    Dialect {
        kind: Kind::Zoho,
        object: "Leads",
        configured: r#"
            key = { field = "Onceward_Key", from = "identity.external_id" }
            match = ["external_id", "email"]
            fields = { Last_Name = "last_name", Company = "company", Email = "email", Designation = "job_title", City = "city", Street = "utm_source" }
        "#,
        fields: [("job_title", "Designation"), ("city", "City"), ("utm_source", "Street")],
        last_name: "Last_Name",
        key: Key::Person,
    },
    Dialect {
        kind: Kind::Attio,
        object: "people",
        configured: r#"
            key = { field = "email_addresses", from = "identity.email" }
            fields = { twitter = "last_name", job_title = "job_title", description = "city", linkedin = "utm_source" }
        "#,
        fields: [("job_title", "job_title"), ("city", "description"), ("utm_source", "linkedin")],
        last_name: "twitter",
        key: Key::Email,
    },
    Dialect {
        kind: Kind::Twenty,
        object: "people",
        configured: r#"
            key = { field = "crmExtId", from = "identity.external_id" }
            match = ["external_id", "email"]
            fields = { "name.lastName" = "last_name", "emails.primaryEmail" = "email", jobTitle = "job_title", city = "city", "name.firstName" = "utm_source" }
        "#,
        fields: [("job_title", "jobTitle"), ("city", "city"), ("utm_source", "name.firstName")],
        last_name: "name.lastName",
        key: Key::Person,
    },
    Dialect {
        kind: Kind::Odoo,
        object: "res.partner",
        configured: r#"
            key = { field = "id", from = "identity.external_id" }
            match = ["external_id", "email"]
            fields = { name = "last_name", email = "email", function = "job_title", city = "city", comment = "utm_source" }
        "#,
        fields: [("job_title", "function"), ("city", "city"), ("utm_source", "comment")],
        last_name: "name",
        key: Key::Odoo,
    },
    Dialect {
        kind: Kind::Pipedrive,
        object: "persons",
        configured: r#"
            key = { field = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b", from = "identity.external_id" }
            match = ["external_id", "email"]
            [fields]
            name = "last_name"
            emails = "email"
            00000000000000000000000000000000feed0000 = "job_title"
            00000000000000000000000000000000feed0001 = "city"
            00000000000000000000000000000000feed0002 = "utm_source"
        "#,
        fields: [
            ("job_title", "00000000000000000000000000000000feed0000"),
            ("city", "00000000000000000000000000000000feed0001"),
            ("utm_source", "00000000000000000000000000000000feed0002"),
        ],
        last_name: "name",
        key: Key::Person,
    },
    Dialect {
        kind: Kind::Agiled,
        object: "contacts",
        configured: r#"
            key = { field = "email", from = "identity.email" }
            fields = { last_name = "last_name", first_name = "company", job_title = "job_title", city = "city", address = "utm_source" }
        "#,
        fields: [("job_title", "job_title"), ("city", "city"), ("utm_source", "address")],
        last_name: "last_name",
        key: Key::Email,
    },
];

/// Half of the worlds have a Salesforce, every fourth has a HubSpot, and the others take turns.
pub fn dialect(seed: u64) -> &'static Dialect {
    match seed % 4 {
        0 | 1 => &SALESFORCE,
        2 => &HUBSPOT,
        _ => &OTHERS[(seed / 4) as usize % OTHERS.len()],
    }
}

/// A CRM with what its account needs besides, before anything goes wrong in it.
pub fn crm(dialect: &Dialect, seed: u64, faults: &str, now: Time) -> Core {
    let mut core = Core::new(seed, Options { latency: Duration::ZERO, budget_times: 100, ..Options::default() });
    for name in ["title", "city", "source"].into_iter().filter(|_| dialect.kind == Kind::Pipedrive) {
        let body = serde_json::json!({ "field_name": name, "field_type": "varchar" }).to_string();
        let headers = [("content-type".to_owned(), "application/json".to_owned()), ("x-api-token".to_owned(), "pat-worlds".to_owned())];
        let request = HttpRequest { method: "POST", target: "/api/v2/personFields", headers: &headers, body: body.as_bytes() };
        assert_eq!(core.exchange(&request, now).reply.unwrap().status, 201);
    }
    core.set_faults(faults.parse().unwrap(), now);
    core
}

/// Each class of fault is switched off in half of the worlds.
pub fn faults(dice: &mut Dice) -> String {
    let menu = [
        "429=0.05:3s",
        "500-before=0.05",
        "500-after=0.06",
        "cut-before=0.04",
        "cut-after=0.06",
        "late=0.05:40s",
        "partial=0.05",
        "lock=0.04",
        "expired-token=0.03",
        "garbage=0.03",
        "missing=0.03",
        "limit=0.02",
        "empty=0.04",
        "down=90s",
    ];
    menu.into_iter().filter(|_| dice.chance(0.5)).collect::<Vec<_>>().join(",")
}

pub fn configuration(dialect: &Dialect) -> (Arc<Routes>, Vec<Arc<Source>>) {
    let source = |name: &str, trust: u8| {
        let text = format!(
            r#"
            trust = {trust}
            shared = true
            signature = {{ algorithm = "hmac-sha256", header = "x-signature", encoding = "hex", signed = "{{body}}" }}
            [[events]]
            on = ["pointer"]
            type = "lead.created"
            id = "id"
            occurred_at = "at"
            fetch = {{ object = "contact", id = "object" }}
            [[events]]
            type = "lead.created"
            id = "id"
            occurred_at = "at"
            [events.fields]
            external_id = "person"
            email = {{ from = "email", as = "email" }}
            last_name = {{ const = "Example" }}
            company = {{ const = "Example Ltd" }}
            job_title = "data.job_title"
            city = "data.city"
            utm_source = "data.utm_source"
            [fetched.contact]
            updated_at = "updatedAt"
            [fetched.contact.fields]
            external_id = {{ from = "properties.person", required = true }}
            email = {{ from = "properties.email", as = "email" }}
            last_name = {{ const = "Example" }}
            company = {{ const = "Example Ltd" }}
            job_title = "properties.job_title"
            city = "properties.city"
            utm_source = "properties.utm_source"
            "#
        );
        let def: SourceDef = toml::from_str(&text).unwrap();
        Arc::new(Source::compile(name, &def).unwrap())
    };
    let name = dialect.object;
    let object: ObjectDef = toml::from_str(dialect.configured).unwrap();
    let plan = ObjectPlan::compile(dialect.kind.as_str(), name, &object).unwrap();
    let route: RouteDef = toml::from_str(&format!("source = '*'\nevent = 'lead.*'\nto = '{DESTINATION}'\nobject = '{name}'")).unwrap();
    let destinations = BTreeMap::from([(DESTINATION.to_owned(), BTreeMap::from([(name.to_owned(), plan)]))]);
    let names = BTreeSet::from(["forms".to_owned(), "billing".to_owned()]);
    let routes = Routes::compile(&[route], &names, destinations).unwrap();
    (Arc::new(routes), vec![source("forms", 50), source("billing", 80)])
}

pub fn gate(source: Arc<Source>) -> Gate {
    let verifier = source.scheme.compile(&[Secret::new(SECRET).unwrap()], None).unwrap();
    Gate { source, verifier }
}

pub fn target(dialect: &Dialect, dice: &mut Dice, crm: &Arc<Mutex<Core>>, now: &Arc<Mutex<Time>>) -> Target {
    let (crm, now) = (Arc::clone(crm), Arc::clone(now));
    let transport = Transport::InProcess(Arc::new(move |request: Request| {
        let answer = exchange(&mut crm.lock().unwrap(), &request, *now.lock().unwrap());
        Box::pin(std::future::ready(answer))
    }));
    let (id, secret) = (|| "worlds".to_owned(), || ConnectSecret::new(SECRET));
    let auth = match dialect.kind.takes().first() {
        Some(AuthKind::ClientCredentials) => Auth::ClientCredentials { client_id: id(), client_secret: secret() },
        Some(AuthKind::RefreshToken) => Auth::RefreshToken { client_id: id(), client_secret: secret(), refresh_token: secret() },
        Some(AuthKind::ApiKey) => Auth::ApiKey { token: ConnectSecret::new("pat-worlds") },
        Some(AuthKind::Basic) => Auth::Basic { username: id(), password: secret() },
        Some(AuthKind::Bearer | AuthKind::JwtBearer) | None => Auth::Bearer { token: ConnectSecret::new("pat-worlds") },
    };
    let settings = Settings { call_timeout: Some(Duration::from_secs(15)), ..Settings::new(dialect.kind, "http://127.0.0.1:4000", auth) };
    let settings = Settings { token_url: token_url(dialect.kind), ..settings };
    let policy = Policy {
        call_timeout: Duration::from_secs(15),
        late_window: LATE_WINDOW,
        calls: 1 + dice.below(20) as u32,
        concurrency: 1 + dice.below(4) as u32,
        ..Policy::default()
    };
    Target { name: DESTINATION.into(), policy, to: To::Crm(Arc::new(Client::new(settings, transport).unwrap())) }
}

/// Where the CRMs that give out tokens elsewhere do so here.
fn token_url(kind: Kind) -> Option<String> {
    match kind {
        Kind::Dataverse => Some("http://127.0.0.1:4000/11111111-2222-3333-4444-555555555555/oauth2/v2.0/token".to_owned()),
        Kind::Zoho => Some("http://127.0.0.1:4000/oauth/v2/token".to_owned()),
        _ => None,
    }
}

fn exchange(crm: &mut Core, request: &Request, now: Time) -> Result<Reply, TransportError> {
    let mut headers = request.headers.clone();
    headers.push(("host".into(), "127.0.0.1:4000".into()));
    let body = match &request.body {
        Body::None => Vec::new(),
        Body::Json(json) => {
            headers.push(("content-type".into(), "application/json".into()));
            serde_json::to_vec(json).unwrap()
        }
        Body::Raw { kind, text } => {
            headers.push(("content-type".into(), kind.clone()));
            text.clone().into_bytes()
        }
        Body::Form(pairs) => {
            headers.push(("content-type".into(), "application/x-www-form-urlencoded".into()));
            pairs.iter().map(|(name, value)| format!("{name}={}", value.replace(' ', "+"))).collect::<Vec<_>>().join("&").into_bytes()
        }
    };
    let request = HttpRequest { method: request.method.as_str(), target: &request.path, headers: &headers, body: &body };
    match crm.exchange(&request, now).reply {
        Some(reply) => {
            let headers = reply.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            Ok(Reply { status: reply.status, headers, body: reply.body })
        }
        None => Err(TransportError::Unknown { code: "cut", message: "the connection was cut".into() }),
    }
}
