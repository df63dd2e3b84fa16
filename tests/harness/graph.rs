use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::Dice;

/// How the vendor is just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Every answer is an error of its own.
    Down,
    /// Some answers are errors, some come too late, some never, and some say to wait.
    Moody,
}

struct Held {
    mood: Mood,
    leads: BTreeMap<String, Value>,
    gone: BTreeSet<String>,
    dice: Dice,
    asked: u64,
}

/// A vendor that pushes only ids, and gives its leads to whoever asks: as much of Meta's Graph API as that takes.
pub struct Graph {
    pub base: String,
    held: Arc<Mutex<Held>>,
    serving: JoinHandle<()>,
}

impl Drop for Graph {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Graph {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let held = Held { mood: Mood::Well, leads: BTreeMap::new(), gone: BTreeSet::new(), dice: Dice::new(7), asked: 0 };
        let held = Arc::new(Mutex::new(held));
        let serves = held.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, serves.clone()));
            }
        });
        Self { base, held, serving }
    }

    pub fn is(&self, mood: Mood) {
        self.held.lock().unwrap().mood = mood;
    }

    /// Somebody has filled in the form.
    pub fn lead(&self, number: u64) {
        let answer = |name: &str, value: String| json!({ "name": name, "values": [value] });
        let answers = [
            answer("email", format!("lead-{number}@example.com")),
            answer("full_name", format!("Ada Example{number}")),
            answer("company_name", "Example Ltd".to_owned()),
            answer("which_plan?", format!("plan {}", number % 3)),
        ];
        let lead = json!({ "id": number.to_string(), "created_time": "2026-11-20T10:00:00+0000", "form_id": "77", "field_data": answers });
        self.held.lock().unwrap().leads.insert(number.to_string(), lead);
    }

    /// It was deleted, or is back.
    pub fn gone(&self, number: u64, gone: bool) {
        let mut held = self.held.lock().unwrap();
        if gone {
            held.gone.insert(number.to_string())
        } else {
            held.gone.remove(&number.to_string())
        };
    }

    /// How often it was asked for anything.
    pub fn asked(&self) -> u64 {
        self.held.lock().unwrap().asked
    }
}

/// One request a connection.
async fn serve(mut stream: TcpStream, held: Arc<Mutex<Held>>) {
    let mut head = Vec::new();
    let mut bytes = [0; 4_096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut bytes).await {
            Ok(read) if read > 0 && head.len() < 65_536 => head.extend_from_slice(&bytes[..read]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mood, roll) = {
        let mut held = held.lock().unwrap();
        held.asked += 1;
        (held.mood, held.dice.below(10))
    };
    let error = |code: u64, more: Value| {
        let mut error = json!({ "code": code, "message": "no" });
        error.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "error": error })
    };
    let (status, body) = match (mood, roll) {
        (Mood::Down, _) | (Mood::Moody, 0) => (500, error(2, json!({}))),
        (Mood::Moody, 1) => (429, error(4, json!({}))),
        // Cut off without a word.
        (Mood::Moody, 2) => return,
        (Mood::Moody, 3) => {
            // Longer than anybody waits for it.
            tokio::time::sleep(Duration::from_secs(20)).await;
            return;
        }
        (Mood::Moody | Mood::Well, _) => answer(&held.lock().unwrap(), &target, error),
    };
    let body = body.to_string();
    let wait = if status == 429 { "retry-after: 1\r\n" } else { "" };
    let text = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\n{wait}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // Whoever asked may have left.
    let _ = stream.write_all(text.as_bytes()).await;
}

fn answer(held: &Held, target: &str, error: impl Fn(u64, Value) -> Value) -> (u16, Value) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let last = path.rsplit('/').next().unwrap_or_default();
    if last == "77" {
        let question = json!({ "key": "which_plan?", "label": "Which plan?", "type": "CUSTOM" });
        return (200, json!({ "id": "77", "name": "A form", "locale": "en_US", "questions": [question] }));
    }
    let ids = query.split('&').find_map(|pair| pair.strip_prefix("ids=")).unwrap_or(last);
    let ids: Vec<&str> = ids.split(',').collect();
    if ids.iter().any(|id| held.gone.contains(*id) || !held.leads.contains_key(*id)) {
        return (400, error(100, json!({ "error_subcode": 33 })));
    }
    match ids.as_slice() {
        [id] if *id == last => (200, held.leads[*id].clone()),
        several => (200, several.iter().map(|id| ((*id).to_owned(), held.leads[*id].clone())).collect()),
    }
}
