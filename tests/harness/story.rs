//! What vendors say of people in a run of thousands of webhooks, and what it is to come to: a model that was written without a look at the product's own
//! merge.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::Time;
use serde_json::Value;

use crate::{Admin, Crm, Dice, Lead, Source, now};

/// One thing that a source said, as the model keeps it.
#[derive(Clone)]
pub struct Said {
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
pub struct Story {
    /// In the order of sending, doubles included.
    pub sent: Vec<(Source, Lead)>,
    /// By e-mail address.
    pub people: BTreeMap<String, Vec<Said>>,
    pub keys: BTreeSet<String>,
}

impl Story {
    /// So many webhooks about so many people, a third of them sent twice and all of them shuffled, from two sources of different trust.
    pub fn tell(dice: &mut Dice, webhooks: usize, people: u64) -> Self {
        let start = now() - Duration::from_secs(86_400);
        let distinct = webhooks * 10 / 13;
        let mut story = Self { sent: Vec::new(), people: BTreeMap::new(), keys: BTreeSet::new() };
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
            story.add(source, lead);
        }
        while story.sent.len() < webhooks {
            let double = dice.pick(&story.sent[..distinct]).clone();
            story.sent.push(double);
        }
        dice.shuffle(&mut story.sent);
        story
    }

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

/// Every accepted event has ended well, and there is none besides.
pub async fn assert_ended(admin: &Admin, ids: &BTreeMap<String, String>) {
    let dead = admin.dead_letters().await;
    assert!(dead.is_empty(), "{} dead letters, the first: {:#}", dead.len(), dead[0]);
    let events = admin.events().await;
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

/// The CRM holds each person once, as the model says, and was not written to more often than there were events.
pub async fn assert_crm_is_as_told(crm: &Crm, people: BTreeMap<String, Vec<Said>>) {
    let leads = crm.leads().await;
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
