//! `onceward destinations setup`: makes the field of each object's key where it is missing, or says how.

use std::io::{IsTerminal as _, Write as _};

use connect::{Client, Level, Made, Reply, Request, Setup};
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
                    Ok((result, named)) => json!({ "object": object, "key": key, "result": result, "named": named }),
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
        // A CRM of level C has no unique fields: what is there is all that there can be.
        (Some(field), _) if field.unique || client.connector().level() == Level::C => Todo::Nothing,
        (Some(_), Setup::Instructions(text)) => {
            Todo::Person(format!("`{key}` of {object} is there, and is not unique: edit it, or make another one.\n{text}"))
        }
        (Some(_), Setup::Calls(_)) => Todo::Person(format!(
            "`{key}` of {object} is there, and its values are not unique. If it was made just now, its index may still be being built: check again \
             in some minutes. Else this CRM does not change it afterwards: name another field in `key.field`, and run this again."
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
            connect::Body::Raw { text, .. } => text.clone(),
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

/// Sends the calls one after the other; `made`, or `there` where it was there already, and what the CRM calls it where that is the CRM's to say.
async fn made(client: &Client, requests: Vec<Request>) -> Result<(&'static str, Option<String>), String> {
    let (mut result, mut name) = ("made", None);
    for request in requests {
        let sent = client.set_up(request, clock::now()).await;
        let reply = sent.map_err(|failure| format!("{}: {}", failure.code, failure.message))?;
        match client.connector().made(&reply) {
            Made::Yes(named) => name = named.or(name),
            Made::There => result = "there",
            Made::No => return Err(format!("{}: {}", reply.status, said(&reply))),
        }
    }
    Ok((result, name))
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
        "there" => format!("{object}: `{key}` is there, and records are found by it."),
        "made" if !word("named").is_empty() => {
            format!("{object}: a field for the key was made. Its name is `{}`: write it into `key.field`.", word("named"))
        }
        "made" => format!("{object}: `{key}` was made, with unique values."),
        "declined" => format!("{object}: `{key}` was not made."),
        "refused" => format!("{object}: the CRM did not make `{key}`: {}", word("text")),
        _ => format!("{object}: `{key}` is for a person to make.\n{}", told.get("text").and_then(Value::as_str).unwrap_or_default()),
    }
}
