//! What a world is made of: its faults, its configuration, and the CRM at the other end of a function call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connect::{Auth, Body, Client, Reply, Request, Secret as ConnectSecret, Settings, Transport, TransportError};
use harness::Dice;
use ingest::Gate;
use model::Time;
use model::destination::Policy;
use model::route::{ObjectDef, ObjectPlan, RouteDef, Routes};
use model::secret::Secret;
use model::source::{Source, SourceDef};
use sandbox::{Core, HttpRequest};
use worker::Target;

use crate::world::{DESTINATION, LATE_WINDOW, SECRET};

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
        "down=90s",
    ];
    menu.into_iter().filter(|_| dice.chance(0.5)).collect::<Vec<_>>().join(",")
}

pub fn configuration() -> (Arc<Routes>, Vec<Source>) {
    let source = |name: &str, trust: u8| {
        let text = format!(
            r#"
            trust = {trust}
            shared = true
            signature = {{ algorithm = "hmac-sha256", header = "x-signature", encoding = "hex", signed = "{{body}}" }}
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
            "#
        );
        let def: SourceDef = toml::from_str(&text).unwrap();
        Source::compile(name, &def).unwrap()
    };
    let object: ObjectDef = toml::from_str(
        r#"
        key = { field = "External_Lead_Id__c", from = "identity.external_id" }
        match = ["external_id", "email"]
        fields = { LastName = "last_name", Company = "company", Email = "email", Title = "job_title", City = "city", Utm_Source__c = "utm_source" }
        "#,
    )
    .unwrap();
    let plan = ObjectPlan::compile("salesforce", "Lead", &object).unwrap();
    let route: RouteDef = toml::from_str("source = '*'\nevent = 'lead.*'\nto = 'salesforce'\nobject = 'Lead'").unwrap();
    let destinations = BTreeMap::from([(DESTINATION.to_owned(), BTreeMap::from([("Lead".to_owned(), plan)]))]);
    let names = BTreeSet::from(["forms".to_owned(), "billing".to_owned()]);
    let routes = Routes::compile(&[route], &names, destinations).unwrap();
    (Arc::new(routes), vec![source("forms", 50), source("billing", 80)])
}

pub fn gate(source: Source) -> Gate {
    let verifier = source.scheme.compile(&[Secret::new(SECRET).unwrap()]).unwrap();
    Gate { source: Arc::new(source), verifier }
}

pub fn target(dice: &mut Dice, crm: &Arc<Mutex<Core>>, now: &Arc<Mutex<Time>>) -> Target {
    let (crm, now) = (Arc::clone(crm), Arc::clone(now));
    let transport = Transport::InProcess(Arc::new(move |request: Request| {
        let answer = exchange(&mut crm.lock().unwrap(), &request, *now.lock().unwrap());
        Box::pin(std::future::ready(answer))
    }));
    let settings = Settings {
        kind: connect::Kind::Salesforce,
        base_url: "http://127.0.0.1:4000".into(),
        auth: Auth::ClientCredentials { client_id: "worlds".into(), client_secret: ConnectSecret::new(SECRET) },
        api_version: None,
        call_timeout: Some(Duration::from_secs(15)),
        allow_private: false,
    };
    let policy = Policy {
        call_timeout: Duration::from_secs(15),
        late_window: LATE_WINDOW,
        calls: 1 + dice.below(20) as u32,
        concurrency: 1 + dice.below(4) as u32,
        ..Policy::default()
    };
    Target { name: DESTINATION.into(), policy, client: Arc::new(Client::new(settings, transport).unwrap()) }
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
