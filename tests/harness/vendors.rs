use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::{Dice, Lead, Source, headers, now, post};

/// Vendors who send a story's webhooks, each until it is answered with a 2xx.
pub struct Vendors {
    sent: Vec<(Source, Lead)>,
    next: AtomicUsize,
    accepted: AtomicUsize,
    /// Where to send to just now, one for each door; empty while there is nobody behind it.
    doors: Vec<Mutex<String>>,
    pace: Duration,
    http: reqwest::Client,
    give_up: AtomicBool,
}

impl Vendors {
    /// So many doors; each sender waits for `pace` between two webhooks.
    pub fn new(http: reqwest::Client, sent: Vec<(Source, Lead)>, doors: usize, pace: Duration) -> Arc<Self> {
        Arc::new(Self {
            sent,
            next: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            doors: (0..doors).map(|_| Mutex::default()).collect(),
            pace,
            http,
            give_up: AtomicBool::new(false),
        })
    }

    /// Somebody is behind a door from now on, or nobody is.
    pub fn door(&self, number: usize, public: &str) {
        public.clone_into(&mut self.doors[number].lock().unwrap());
    }

    /// Sends over so many connections.
    pub fn send(self: &Arc<Self>, senders: usize) -> JoinSet<BTreeMap<String, String>> {
        let mut sending = JoinSet::new();
        for sender in 0..senders {
            sending.spawn(self.clone().send_all(Dice::new(sender as u64)));
        }
        sending
    }

    /// How many have been accepted.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many there are.
    pub fn all(&self) -> usize {
        self.sent.len()
    }

    /// Ends the sending and gives each key's event.
    ///
    /// # Panics
    ///
    /// A key has two events.
    pub async fn told(&self, sending: JoinSet<BTreeMap<String, String>>) -> BTreeMap<String, String> {
        self.give_up.store(true, Ordering::Relaxed);
        let mut ids: BTreeMap<String, String> = BTreeMap::new();
        for (key, id) in sending.join_all().await.into_iter().flatten() {
            let before = ids.insert(key.clone(), id.clone());
            assert!(before.is_none_or(|before| before == id), "{key} has two events");
        }
        ids
    }

    async fn send_all(self: Arc<Self>, mut dice: Dice) -> BTreeMap<String, String> {
        let mut ids = BTreeMap::new();
        while let Some((source, lead)) = self.sent.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let sent = lead.sent_by(*source);
            loop {
                if self.give_up.load(Ordering::Relaxed) {
                    return ids;
                }
                let public = dice.pick(&self.doors).lock().unwrap().clone();
                let answered = match public.is_empty() {
                    true => None,
                    false => post(&self.http, &public, *source, &headers(&sent, now()), sent.body.clone()).await.ok(),
                };
                if let Some(answer) = answered.filter(|answer| answer.status == 200) {
                    let event = &answer.body["events"][0];
                    let status = event["status"].as_str().unwrap();
                    assert!(["accepted", "duplicate"].contains(&status), "{}", answer.body);
                    let key = event["idempotency_key"].as_str().unwrap().to_owned();
                    let id = event["id"].as_str().unwrap().to_owned();
                    let before = ids.insert(key.clone(), id.clone());
                    assert!(before.is_none_or(|before| before == id), "{key} has two events");
                    break;
                }
                // Down, or asked to come back later; vendors wait longer.
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            self.accepted.fetch_add(1, Ordering::Relaxed);
            // So that the CRM is called often, and not in a few large batches.
            tokio::time::sleep(self.pace).await;
        }
        ids
    }
}
