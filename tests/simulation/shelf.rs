//! The vendor that pushes ids: what it holds, and how it answers who asks for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connect::vendor::{Kind, Settings, Vendor};
use connect::{Auth, Body, Reply, Request, Secret as ConnectSecret, Transport, TransportError};
use harness::Dice;
use model::Time;
use model::destination::Policy;
use model::source::Source;
use serde_json::{Value, json};
use worker::{Target, To};

/// How often it misbehaves in each of its ways, one after the other.
const MOODS: [(&str, f64); 6] =
    [("429", 0.06), ("500", 0.06), ("cut", 0.06), ("missing", 0.05), ("garbage", 0.03), ("refused token", 0.02)];

/// One object. What it once said it says ever after, or something else in its place: so what is fetched last is what counts.
#[derive(Clone, Debug)]
pub struct Thing {
    pub person: u64,
    pub updated_at: Time,
    pub fields: BTreeMap<&'static str, String>,
    /// It lacks what the mapping requires.
    pub torn: bool,
}

/// What the vendor holds.
pub struct Shelf {
    pub things: BTreeMap<u64, Thing>,
    pub moody: bool,
    moods: Vec<(&'static str, f64)>,
    dice: Dice,
    pub asked: u64,
}

impl Shelf {
    /// Each way to misbehave is switched off in half of the worlds.
    pub fn new(mut dice: Dice) -> Self {
        let moods = MOODS.into_iter().filter(|_| dice.chance(0.5)).collect();
        Self { things: BTreeMap::new(), moody: true, moods, dice, asked: 0 }
    }

    fn mood(&mut self) -> &'static str {
        let moods = if self.moody { self.moods.clone() } else { Vec::new() };
        moods.into_iter().find(|(_, chance)| self.dice.chance(*chance)).map_or("well", |(mood, _)| mood)
    }

    /// HubSpot's batch read of contacts.
    fn answer(&mut self, request: &Request) -> Result<Reply, TransportError> {
        self.asked += 1;
        let said = |status: u16, body: Value| Ok(Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() });
        let Body::Json(asked) = &request.body else { panic!("a batch read has a body: {request:?}") };
        let ids: Vec<&str> = asked["inputs"].as_array().unwrap().iter().map(|input| input["id"].as_str().unwrap()).collect();
        let rows = ids.iter().filter_map(|id| self.things.get(&id.parse().unwrap()).map(|thing| row(id, thing)));
        let mut rows: Vec<Value> = rows.collect();
        match self.mood() {
            "429" => {
                let headers = vec![("retry-after".to_owned(), "2".to_owned())];
                let body =
                    json!({ "status": "error", "message": "slow down", "errorType": "RATE_LIMIT", "policyName": "TEN_SECONDLY_ROLLING" });
                Ok(Reply { status: 429, headers, body: body.to_string().into_bytes() })
            }
            "500" => said(500, json!({ "status": "error", "message": "internal error" })),
            "cut" => Err(TransportError::Unknown { code: "cut", message: "the connection was cut".into() }),
            "missing" => {
                rows.pop();
                let error = json!({ "status": "error", "category": "INTERNAL_ERROR", "message": "one of them" });
                said(207, json!({ "status": "COMPLETE", "results": rows, "numErrors": 1, "errors": [error] }))
            }
            "garbage" => said(200, json!("what?")),
            "refused token" => said(401, json!({ "status": "error", "category": "INVALID_AUTHENTICATION", "message": "expired" })),
            _ => said(200, json!({ "status": "COMPLETE", "results": rows })),
        }
    }
}

fn row(id: &str, thing: &Thing) -> Value {
    let mut properties = json!({ "email": format!("person{}@example.com", thing.person) });
    if !thing.torn {
        properties["person"] = thing.person.to_string().into();
    }
    for (name, value) in &thing.fields {
        properties[*name] = value.clone().into();
    }
    json!({ "id": id, "properties": properties, "createdAt": "2020-01-01T00:00:00Z", "updatedAt": thing.updated_at.to_string() })
}

/// The source as somebody who is asked.
pub fn target(source: Arc<Source>, dice: &mut Dice, shelf: &Arc<Mutex<Shelf>>) -> Target {
    let shelf = Arc::clone(shelf);
    let transport = Transport::InProcess(Arc::new(move |request: Request| {
        let answer = shelf.lock().unwrap().answer(&request);
        Box::pin(std::future::ready(answer))
    }));
    let settings = Settings {
        base_url: Some("http://127.0.0.1:4001".into()),
        ..Settings::new(Auth::Bearer { token: ConnectSecret::new("pat-worlds") })
    };
    let vendor = Arc::new(Vendor::over(Kind::Hubspot, settings, transport).unwrap());
    let policy = Policy {
        call_timeout: Duration::from_secs(15),
        calls: 1 + dice.below(20) as u32,
        concurrency: 1 + dice.below(3) as u32,
        ..Policy::default()
    };
    Target { name: model::fetch::destination(&source.name), policy, to: To::Source { source, vendor } }
}
