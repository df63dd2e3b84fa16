//! `onceward send`

use std::io::Read as _;

use clap::Args;
use serde_json::{Value, json};

use super::{Context, Refused};
use crate::clock;
use crate::installation::Installation;
use crate::sender::{Answer, Sender};
use crate::shown::{list, plain, word};

/// Most bytes of a payload.
const PAYLOAD_BYTES_MAX: u64 = 64 << 20;

#[derive(Args)]
pub struct Send {
    /// Whose secret and scheme to use.
    #[arg(long)]
    source: String,
    /// A file with the body; `-` for standard input; `sample` for the preset's sample.
    file: String,
    /// Where to post it. Default: the running process, or where `listen.public` says.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// How often to send it, one after the other.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    repeat: u32,
    /// Change the body after signing it, as somebody on the way might.
    #[arg(long)]
    tamper: bool,
}

/// Signs a payload and posts it.
pub async fn run(context: &Context, asked: Send) -> Result<(), Refused> {
    let installation = Installation::find(context)?;
    let source = source(&installation, &asked.source)?;
    let body = payload(&asked.file, source.source.preset.as_deref())?;
    let to = asked.to.clone().unwrap_or_else(|| installation.public());
    let sender = Sender::new(&to, &asked.source, source.verifier.clone()).map_err(Refused::Usage)?;
    let sender = sender.speaking(headers(&asked.file, source.source.preset.as_deref(), &body));
    let mut refused = false;
    for n in 1..=asked.repeat {
        let mut signed = sender.sign(&body, clock::now()).map_err(|error| Refused::because(error.to_string()))?;
        if asked.tamper {
            signed.body = tampered(&signed.body);
        }
        let answer = sender.post(signed).await.map_err(|error| Refused::because(error.to_string()))?;
        refused |= !(200..300).contains(&answer.status);
        show(context, &sender, &answer, n, asked.repeat);
    }
    if refused { Err(Refused::Told) } else { Ok(()) }
}

/// A configured source.
pub fn source<'a>(installation: &'a Installation, name: &str) -> Result<&'a crate::configuration::SourceOf, Refused> {
    let sources = &installation.configuration.sources;
    sources.get(name).ok_or_else(|| {
        let known = crate::configuration::problem::listed(sources.keys().map(String::as_str));
        Refused::because(format!("there is no source `{}`; there is {known}", plain(name)))
    })
}

/// What comes with a body: its type, and with a preset's sample the headers that say what happened.
pub fn headers(file: &str, preset: Option<&str>, body: &[u8]) -> Vec<(String, Vec<u8>)> {
    let sample = preset.and_then(model::preset::sample);
    let kind = sample.map_or_else(|| "application/json".to_owned(), |sample| sample.content_type_of(body));
    let mut headers = vec![("content-type".to_owned(), kind.into_bytes())];
    let is_sample = file == "sample" && sample.is_some_and(|sample| sample.body == body);
    if let Some(Ok(held)) = preset.filter(|_| is_sample).and_then(model::preset::preset) {
        headers.extend(held.sample_headers.into_iter().map(|(name, value)| (name.to_lowercase(), value.into_bytes())));
    }
    headers
}

/// The body that a command was given.
pub fn payload(file: &str, preset: Option<&str>) -> Result<Vec<u8>, Refused> {
    if file == "sample" && !std::path::Path::new(file).exists() {
        let sample = preset.and_then(model::preset::sample);
        let sample = sample.ok_or_else(|| Refused::because("this source has no preset, so there is no sample of it: name a file"))?;
        return Ok(sample.body.to_vec());
    }
    let mut body = Vec::new();
    let read = match file {
        "-" => std::io::stdin().take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut body),
        path => std::fs::File::open(path).and_then(|file| file.take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut body)),
    };
    read.map_err(|error| Refused::because(format!("`{}` cannot be read: {error}", plain(file))))?;
    if body.len() as u64 > PAYLOAD_BYTES_MAX {
        return Err(Refused::because(format!("`{}` has more than {PAYLOAD_BYTES_MAX} bytes", plain(file))));
    }
    Ok(body)
}

/// The body with one bit of its last byte changed; an empty one gets a byte.
fn tampered(body: &[u8]) -> Vec<u8> {
    let mut changed = body.to_vec();
    match changed.last_mut() {
        Some(last) => *last ^= 1,
        None => changed.push(b' '),
    }
    changed
}

fn show(context: &Context, sender: &Sender, answer: &Answer, n: u32, of: u32) {
    let millis = answer.took.as_secs_f64() * 1e3;
    let said = json!({ "n": n, "url": sender.url().as_str(), "status": answer.status, "duration_ms": millis, "answer": answer.body });
    let count = if of > 1 { format!("{n}/{of}  ") } else { String::new() };
    let mut text = format!("{count}{} in {millis:.1} ms", answer.status);
    for event in list(&answer.body, "/events") {
        text.push_str(&format!("\n  {}  {}  {}", word(event, "/status"), word(event, "/id"), word(event, "/idempotency_key")));
    }
    match &answer.body {
        Value::Object(problem) if problem.contains_key("title") => {
            text.push_str(&format!("\n  {}: {}", word(&answer.body, "/title"), word(&answer.body, "/detail")));
        }
        Value::String(other) => text.push_str(&format!("\n  {}", plain(other))),
        Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {}
    }
    if of == 1
        && let Some(event) = list(&answer.body, "/events").first()
    {
        text.push_str(&format!("\nSee where it went:  onceward trace {}", word(event, "/id")));
    }
    context.say(&said, &text);
}
