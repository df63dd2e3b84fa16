//! `onceward destinations setup`: makes the field of each object's key where it is missing, or says how.

use std::io::{IsTerminal as _, Write as _};

use connect::{Client, Reply, Request, Setup};
use serde_json::{Value, json};

use super::check::described;
use super::{Context, Refused, chosen};
use crate::clock;
use crate::installation::Installation;
use crate::shown::{cut, plain};

/// Letters of a CRM's refusal that are shown.
const SAID_MAX: usize = 300;

/// What is to be done for an object.
enum Todo {
    /// Its key's field is there, and unique.
    Nothing,
    /// By these calls.
    Calls(Vec<Request>),
    /// By a person.
    Person(String),
}

/// Sets up the objects of a destination; refused where a person has something to do, or the CRM did not take it.
pub async fn run(context: &Context, name: &str, object: Option<&str>, yes: bool) -> Result<(), Refused> {
    let installation = Installation::find(context)?;
    let configuration = &installation.configuration;
    let (client, objects) = chosen(configuration, name, object)?;
    let (mut told, mut left) = (Vec::new(), false);
    for object in &objects {
        let Some(plan) = configuration.routes.object(name, object) else { continue };
        let key = plan.key_field.as_str();
        let said = match todo(&client, object, key).await {
            Todo::Nothing => json!({ "object": object, "key": key, "result": "there" }),
            Todo::Person(text) => {
                left = true;
                json!({ "object": object, "key": key, "result": "instructions", "text": text })
            }
            Todo::Calls(requests) => match agreed(context, name, object, &requests, yes)? {
                true => match made(&client, requests).await {
                    Ok(result) => json!({ "object": object, "key": key, "result": result }),
                    Err(text) => {
                        left = true;
                        json!({ "object": object, "key": key, "result": "refused", "text": text })
                    }
                },
                false => {
                    left = true;
                    json!({ "object": object, "key": key, "result": "declined" })
                }
            },
        };
        told.push(said);
    }
    let text: Vec<String> = told.iter().map(line).collect();
    context.say(&json!({ "name": name, "objects": told }), &text.join("\n"));
    if left { Err(Refused::Told) } else { Ok(()) }
}

async fn todo(client: &Client, object: &str, key: &str) -> Todo {
    let setup = client.connector().setup(object, key);
    let held = described(client, object).await;
    match (held.as_ref().ok().and_then(|description| description.fields.get(key)), setup) {
        (Some(field), _) if field.unique => Todo::Nothing,
        (Some(_), Setup::Instructions(text)) => {
            Todo::Person(format!("`{key}` of {object} is there, and is not unique: edit it, or make another one.\n{text}"))
        }
        (Some(_), Setup::Calls(_)) => Todo::Person(format!(
            "`{key}` of {object} is there, and its values are not unique, which this CRM does not change afterwards: name another field in \
             `key.field`, and run this again."
        )),
        (None, Setup::Instructions(text)) => Todo::Person(text),
        (None, Setup::Calls(requests)) => Todo::Calls(requests),
    }
}

/// Says what will be sent, and asks unless it was said before that it may be.
fn agreed(context: &Context, name: &str, object: &str, requests: &[Request], yes: bool) -> Result<bool, Refused> {
    if yes {
        return Ok(true);
    }
    for request in requests {
        let body = match &request.body {
            connect::Body::Json(body) => body.to_string(),
            connect::Body::None | connect::Body::Form(_) => String::new(),
        };
        eprintln!("{name}: {} {} {body}", request.method, request.path);
    }
    if context.json || !std::io::stdin().is_terminal() {
        return Err(Refused::because(format!("nothing was sent to {name}: add `--yes` to let {object} be set up like this")));
    }
    eprint!("Send this to {name}? [y/N] ");
    let mut answer = String::new();
    std::io::stderr()
        .flush()
        .and_then(|()| std::io::stdin().read_line(&mut answer))
        .map_err(|error| Refused::because(error.to_string()))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Sends the calls one after the other; `made`, or `there` where it was there already.
async fn made(client: &Client, requests: Vec<Request>) -> Result<&'static str, String> {
    let mut result = "made";
    for request in requests {
        let sent = client.set_up(request, clock::now()).await;
        let reply = sent.map_err(|failure| format!("{}: {}", failure.code, failure.message))?;
        match reply.status {
            200..=299 => {}
            409 => result = "there",
            status => return Err(format!("{status}: {}", said(&reply))),
        }
    }
    Ok(result)
}

/// What a refusal says, in the CRM's words.
fn said(reply: &Reply) -> String {
    let body = reply.json().unwrap_or_default();
    let first = body.get(0).unwrap_or(&body);
    let text = ["message", "error", "detail"].iter().find_map(|name| first[*name].as_str()).unwrap_or("no reason was given");
    cut(text, SAID_MAX)
}

fn line(told: &Value) -> String {
    let word = |name: &str| told.get(name).and_then(Value::as_str).map(plain).unwrap_or_default();
    let (object, key) = (word("object"), word("key"));
    match word("result").as_str() {
        "there" => format!("{object}: `{key}` is there, and unique."),
        "made" => format!("{object}: `{key}` was made, with unique values."),
        "declined" => format!("{object}: `{key}` was not made."),
        "refused" => format!("{object}: the CRM did not make `{key}`: {}", word("text")),
        _ => format!("{object}: `{key}` is for a person to make.\n{}", told.get("text").and_then(Value::as_str).unwrap_or_default()),
    }
}
