//! The promise, tried: thousands of signed webhooks, a third of them doubled and all of them shuffled, from two sources of different
//! trust, into a CRM that misbehaves, through a process that is killed again and again. In the end every accepted event has ended,
//! each person was created once, and each field is what a model says that was written without a look at the product's own merge.
//!
//! `ONCEWARD_EXACTNESS=20000x500` sends 20,000 webhooks about 500 people; `ONCEWARD_EXACTNESS_SEED` repeats a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::{Dice, Lead, Onceward, Setup, Source, headers, now, post, until};
use model::Time;
use serde_json::Value;
use tokio::task::JoinSet;

/// Higher than any real CRM's, because what is ready shares calls: 3,000 webhooks need few.
const FAULTS: &str = "429=0.03,500-before=0.04,500-after=0.04,cut-before=0.02,cut-after=0.04,late=0.06:2s,partial=0.1,lock=0.05,\
                      expired-token=0.005,garbage=0.02,missing=0.02";
/// Of the faults, `429` asks for a second; the others are felt at once.
const SETUP: Setup = Setup {
    faults: FAULTS,
    latency_millis: 3,
    token_life_millis: 3_600_000,
    call_timeout: "1s",
    late_window: "4s",
    destination: "quota = { calls = 1000, per = \"1s\", concurrency = 4 }\nbreaker = { failures = 5, probe = \"1s\", probe_max = \"1s\" }",
    more: "",
};
/// How many connections the vendors have.
const SENDERS: usize = 8;

/// One thing that a source said, as the model keeps it.
#[derive(Clone)]
struct Said {
    trust: u8,
    at: Time,
    key: String,
    /// By CRM field; `None` says that there is nothing any more.
    fields: BTreeMap<&'static str, Option<String>>,
}

/// What the CRM is to hold of one person: of everything said, sorted by how much it counts, each field's last word.
fn merged(mut said: Vec<Said>) -> BTreeMap<&'static str, String> {
    said.sort_by(|a, b| (a.trust, a.at, &a.key).cmp(&(b.trust, b.at, &b.key)));
    let mut last: BTreeMap<&'static str, Option<String>> = BTreeMap::new();
    for one in said {
        last.extend(one.fields);
    }
    last.into_iter().filter_map(|(field, value)| Some((field, value?))).collect()
}

/// What is sent, and what it is to come to.
struct Plan {
    /// In the order of sending, doubles included.
    sent: Vec<(Source, Lead)>,
    /// By e-mail address.
    people: BTreeMap<String, Vec<Said>>,
    keys: BTreeSet<String>,
}

fn plan(dice: &mut Dice, webhooks: usize, people: u64) -> Plan {
    let start = now() - Duration::from_secs(86_400);
    let distinct = webhooks * 10 / 13;
    let mut plan = Plan { sent: Vec::new(), people: BTreeMap::new(), keys: BTreeSet::new() };
    for number in 0..distinct {
        let person = dice.below(people);
        let source = *dice.pick(&[Source::Forms, Source::Forms, Source::Desk]);
        let mut lead = Lead::new(person);
        lead.id = format!("evt-{number:06}");
        // Few moments, so that many events are equally old and the key has to decide.
        lead.at = start + Duration::from_secs(dice.below(300));
        lead.last = format!("Last{}", dice.below(1_000));
        lead.company = format!("Company {} & Söhne", dice.below(1_000));
        lead.first = dice.percent(70).then(|| format!("First{}", dice.below(1_000)));
        lead.phone = dice.percent(40).then(|| format!("+1415555{:04}", dice.below(10_000)));
        lead.title = match dice.below(10) {
            0..4 => Some(Some(format!("Title {}", dice.below(1_000)))),
            4..6 => Some(None),
            _ => None,
        };
        if source == Source::Desk && dice.percent(20) {
            // Known by the address alone: it has to meet the record that the id made, or the other way round.
            lead.person = None;
        }
        plan.add(source, lead);
    }
    while plan.sent.len() < webhooks {
        let double = dice.pick(&plan.sent[..distinct]).clone();
        plan.sent.push(double);
    }
    dice.shuffle(&mut plan.sent);
    plan
}

impl Plan {
    fn add(&mut self, source: Source, lead: Lead) {
        let key = format!("{}|lead.created|{}", source.name(), lead.id);
        let mut fields = BTreeMap::from([
            ("Email", Some(lead.email.clone())),
            ("LastName", Some(lead.last.clone())),
            ("Company", Some(lead.company.clone())),
        ]);
        fields.extend(lead.first.clone().map(|first| ("FirstName", Some(first))));
        fields.extend(lead.phone.clone().map(|phone| ("Phone", Some(phone))));
        match &lead.title {
            Some(Some(title)) => drop(fields.insert("Title", Some(title.clone()))),
            // Only the desk's mapping lets a null clear.
            Some(None) if source == Source::Desk => drop(fields.insert("Title", None)),
            Some(None) | None => {}
        }
        let said = Said { trust: source.trust(), at: lead.at, key: key.clone(), fields };
        self.people.entry(lead.email.clone()).or_default().push(said);
        self.keys.insert(key);
        self.sent.push((source, lead));
    }
}

/// Where to send to just now; empty while the process is down.
type Address = Arc<Mutex<String>>;

/// What the senders share.
struct Vendors {
    sent: Vec<(Source, Lead)>,
    next: AtomicUsize,
    accepted: AtomicUsize,
    address: Address,
    http: reqwest::Client,
    give_up: AtomicBool,
}

impl Vendors {
    /// Sends one webhook after the other, each until it is answered with a 2xx, as vendors do.
    async fn send(self: Arc<Self>) -> BTreeMap<String, String> {
        let mut ids = BTreeMap::new();
        while let Some((source, lead)) = self.sent.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let sent = lead.sent_by(*source);
            loop {
                if self.give_up.load(Ordering::Relaxed) {
                    return ids;
                }
                let public = self.address.lock().unwrap().clone();
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
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        ids
    }
}

/// Kills the process and starts it again.
fn cut_power(onceward: &mut Onceward, address: &Address) {
    address.lock().unwrap().clear();
    onceward.kill9();
    onceward.restart();
    onceward.public.clone_into(&mut address.lock().unwrap());
}

fn size() -> (usize, u64) {
    let text = std::env::var("ONCEWARD_EXACTNESS").unwrap_or_else(|_| "3000x100".to_owned());
    let read = text.split_once('x').and_then(|(webhooks, people)| Some((webhooks.parse().ok()?, people.parse().ok()?)));
    read.expect("ONCEWARD_EXACTNESS is webhooks and people, such as 20000x500")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_has_its_effect_once_whatever_fails() {
    let mut dice = Dice::from_environment("ONCEWARD_EXACTNESS_SEED");
    let (webhooks, people) = size();
    let plan = plan(&mut dice, webhooks, people);
    let mut onceward = Onceward::with(SETUP).await;
    let begun = Instant::now();

    let address = Arc::new(Mutex::new(onceward.public.clone()));
    let vendors = Arc::new(Vendors {
        sent: plan.sent,
        next: AtomicUsize::new(0),
        accepted: AtomicUsize::new(0),
        address: address.clone(),
        http: onceward.http.clone(),
        give_up: AtomicBool::new(false),
    });
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        senders.spawn(vendors.clone().send());
    }

    // Four power cuts while webhooks come in, at places that nobody chose.
    let mut cuts: Vec<usize> = (0..4).map(|_| usize::try_from(dice.below(webhooks as u64 * 9 / 10)).unwrap()).collect();
    cuts.sort_unstable();
    for cut in cuts {
        until(&format!("{cut} webhooks have been accepted"), Duration::from_secs(120), async || {
            (vendors.accepted.load(Ordering::Relaxed) >= cut).then_some(())
        })
        .await;
        cut_power(&mut onceward, &address);
    }
    let answered = until("every webhook has been accepted", Duration::from_secs(180), async || {
        (vendors.accepted.load(Ordering::Relaxed) == webhooks || senders.is_empty()).then_some(())
    });
    answered.await;
    println!("{webhooks} webhooks accepted after {:?}", begun.elapsed());

    // And two more while what is left is being delivered.
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(100 + dice.below(900))).await;
        cut_power(&mut onceward, &address);
    }
    vendors.give_up.store(true, Ordering::Relaxed);
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for (key, id) in senders.join_all().await.into_iter().flatten() {
        let before = ids.insert(key.clone(), id.clone());
        assert!(before.is_none_or(|before| before == id), "{key} has two events");
    }
    assert_eq!(ids.keys().cloned().collect::<BTreeSet<_>>(), plan.keys, "each key was answered, and no other");

    onceward.until_idle(Duration::from_secs(180)).await;
    println!("idle after {:?}; {}", begun.elapsed(), onceward.crm.stats().await);
    assert_ended(&onceward, &ids).await;
    assert_crm_is_as_the_model_says(&onceward, plan.people).await;
}

/// Every accepted event has ended well, and there is none besides.
async fn assert_ended(onceward: &Onceward, ids: &BTreeMap<String, String>) {
    let dead = onceward.admin.dead_letters().await;
    assert!(dead.is_empty(), "{} dead letters, the first: {:#}", dead.len(), dead[0]);
    let events = onceward.admin.events().await;
    let held: BTreeMap<String, String> = events
        .iter()
        .map(|event| (event["idempotency_key"].as_str().unwrap().to_owned(), event["id"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(events.len(), ids.len());
    assert_eq!(&held, ids);
    for event in &events {
        let deliveries = event["deliveries"].as_array().unwrap();
        assert_eq!(deliveries.len(), 1, "{event:#}");
        assert_eq!(deliveries[0]["status"], "succeeded", "{event:#}");
        assert!(["applied", "unchanged", "superseded"].map(Value::from).contains(&deliveries[0]["outcome"]), "{event:#}");
    }
}

async fn assert_crm_is_as_the_model_says(onceward: &Onceward, people: BTreeMap<String, Vec<Said>>) {
    let leads = onceward.crm.leads().await;
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for lead in &leads {
        let email = lead.text("Email").to_owned();
        if !seen.insert(email.clone()) {
            wrong.push(format!("{email} is there twice"));
        }
        if lead.creates != 1 {
            wrong.push(format!("{email} was created {} times", lead.creates));
        }
        let expected = people.get(&email).cloned().map(merged).unwrap_or_default();
        for field in ["Email", "FirstName", "LastName", "Company", "Phone", "Title"] {
            let (held, wanted) = (lead.fields.get(field).and_then(Value::as_str), expected.get(field).map(String::as_str));
            if held != wanted {
                wrong.push(format!("{email} {field}: the CRM holds {held:?}, the model {wanted:?}"));
            }
        }
    }
    let missing = people.keys().filter(|email| !seen.contains(*email));
    wrong.extend(missing.map(|email| format!("{email} is not there")));
    assert!(
        wrong.is_empty(),
        "{} things are wrong, such as\n{}",
        wrong.len(),
        wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
    );
    let writes: u64 = leads.iter().map(|lead| lead.writes).sum();
    let most = people.values().map(|said| said.len() as u64).sum::<u64>();
    assert!(writes <= most, "{writes} writes for {most} events: bursts are to be merged, not repeated");
}
