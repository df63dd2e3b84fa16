//! What must hold: the invariants of the protocol (reference/protocol.md, section 5), each by its number.

use std::collections::{BTreeMap, BTreeSet};

use model::record::State;
use model::{DeliveryId, EventId, RecordId, Time};
use sandbox::Core;
use serde_json::Value;
use store::memory::Tables;
use store::rows::DeliveryState;
use store::{AnsweredEvent, Disposition};

use crate::setup::dialect;
use crate::world::{DESTINATION, Said, World};

/// What was seen before, for what may never change.
#[derive(Default)]
pub struct Checker {
    ids: BTreeMap<String, EventId>,
    numbers: BTreeMap<RecordId, (i64, i64, i64)>,
    ended: BTreeMap<DeliveryId, (DeliveryState, u32)>,
    results: usize,
    doubtful: BTreeSet<RecordId>,
}

impl Checker {
    /// I1, I3: an answer names a stored event, and a key's event never changes.
    pub fn answered(&mut self, said: &Said, answer: &AnsweredEvent) {
        assert!(matches!(answer.status, Disposition::Accepted | Disposition::Duplicate), "{said:?} was answered {answer:?}");
        let held = *self.ids.entry(answer.idempotency_key.clone()).or_insert(answer.id);
        assert_eq!(held, answer.id, "I3: the event of {} changed", answer.idempotency_key);
    }

    /// What must hold at every step. Returns how many records came into doubt since the last one.
    pub fn each_step(&mut self, tables: &Tables, now: Time) -> u64 {
        let doubtful = tables.records.iter().filter(|(_, entry)| entry.record.doubt.is_some()).map(|(id, _)| *id).collect();
        let new = BTreeSet::difference(&doubtful, &self.doubtful).count() as u64;
        self.doubtful = doubtful;
        for raw in tables.raw_events.values() {
            assert!(
                !raw.events.is_empty() && raw.events.iter().all(|event| tables.events.contains_key(event)),
                "I2: {} points nowhere",
                raw.id
            );
        }
        for delivery in tables.deliveries.values() {
            assert_eq!(delivery.state == DeliveryState::Open, delivery.wake_at.is_some(), "I4: {} is in limbo", delivery.id);
            if delivery.state == DeliveryState::Open {
                let record = &tables.records[&delivery.record.unwrap()].record;
                assert_ne!(record.state, State::Clean, "I4: {} hangs on a record that waits for nothing", delivery.id);
                self.ended.remove(&delivery.id);
            } else {
                let ended = *self.ended.entry(delivery.id).or_insert((delivery.state, delivery.generation));
                assert_eq!(ended, (delivery.state, delivery.generation), "I10: {} left its end without a replay", delivery.id);
            }
        }
        for (id, entry) in &tables.records {
            let record = &entry.record;
            assert_eq!(record.state == State::Clean, record.wake_at.is_none(), "I4: {id} is in limbo");
            assert!(record.pushed <= record.revision, "I11: {id} pushed more than was claimed");
            let seen = self.numbers.insert(*id, (record.fence, record.revision, record.pushed)).unwrap_or_default();
            assert!(record.fence >= seen.0 && record.revision >= seen.1 && record.pushed >= seen.2, "I11: a number of {id} fell");
            if let Some(lease) = &record.lease {
                let call = &tables.calls[&lease.call];
                let intent = call.records.iter().find(|(record, ..)| record == id);
                assert!(intent.is_some_and(|(_, fence, ..)| *fence == record.fence), "I13: {id} is leased without an intent");
            }
        }
        let live: Vec<_> = tables.leases.iter().filter(|(_, (_, until))| *until > now).map(|(call, _)| call).collect();
        let mut held = BTreeSet::new();
        for call in live {
            let records: BTreeSet<_> = tables.calls[call].records.iter().map(|(record, ..)| record).collect();
            assert_eq!(records.len(), tables.calls[call].records.len(), "I15: {call} holds a record twice");
            for (record, fence, ..) in &tables.calls[call].records {
                if tables.records[record].record.fence == *fence && tables.records[record].record.lease.is_some() {
                    assert!(held.insert(*record), "I12: {record} has two live leases");
                }
            }
        }
        assert!(tables.results.len() >= self.results, "I17: results are append-only");
        self.results = tables.results.len();
        new
    }

    /// What must hold when everything has come to rest.
    pub fn at_rest(&self, world: &World, tables: &Tables, crm: &Core) {
        let seed = world.seed;
        for delivery in tables.deliveries.values() {
            assert_ne!(delivery.state, DeliveryState::Open, "I5: world {seed}: {} has not ended", delivery.id);
            let dead = matches!(delivery.state, DeliveryState::Failed | DeliveryState::Quarantined);
            assert_eq!(
                dead,
                tables.dead_letters.contains_key(&delivery.id),
                "I21: world {seed}: {} and the list of dead letters disagree",
                delivery.id
            );
        }
        let refused: BTreeSet<EventId> = tables.dead_letters.keys().map(|id| id.event()).collect();
        for said in &world.said {
            let event = said.accepted.unwrap_or_else(|| panic!("I5: world {seed}: {said:?} was never answered"));
            let thing = said.object.map(|object| world.shelves[said.source].lock().unwrap().things.get(&object).cloned());
            let hopeless = match thing {
                Some(thing) => thing.is_none_or(|thing| thing.torn),
                None => said.fields.values().any(|value| value.len() > 255),
            };
            assert!(!(said.object.is_some() && hopeless && !refused.contains(&event)), "A15: world {seed}: {said:?} was made of nothing");
            if said.object.is_some() && !hopeless {
                made_whole(seed, event, tables);
            }
            if refused.contains(&event) && !hopeless {
                let letter = tables.dead_letters.iter().find(|(id, _)| id.event() == event).map(|(_, letter)| letter);
                panic!("I20: world {seed}: only transient faults, yet {said:?} is a dead letter: {letter:?}");
            }
        }
        let mut keys = BTreeSet::new();
        for record in crm.records(None, Some(dialect(seed).object)) {
            let key = record.key.as_deref().unwrap_or_else(|| panic!("I7: world {seed}: a record without a key"));
            let key = dialect(seed).shown(key);
            assert!(keys.insert(key.clone()), "I6: world {seed}: two records have the key {key}");
            assert_eq!(record.creates, 1, "I6: world {seed}: {key} was created {} times", record.creates);
            let entry = tables.records.values().find(|entry| entry.key == key && entry.destination == DESTINATION);
            let entry = entry.unwrap_or_else(|| panic!("I7: world {seed}: the ledger does not know {key}"));
            assert_eq!(entry.record.crm_id.as_deref(), Some(record.id.as_str()), "world {seed}: the id of {key}");
            compare(seed, &key, &expected(world, seed, &refused, &key), &record.fields);
        }
        for call in crm.calls(0).filter(|call| call.applied && call.call.is_some()) {
            let id = model::CallId::parse(call.call.as_deref().unwrap_or_default())
                .unwrap_or_else(|| panic!("I13: world {seed}: {call:?} has no call id"));
            assert!(tables.calls.contains_key(&id), "I13: world {seed}: a write without an intent: {call:?}");
        }
        let people: BTreeSet<u64> =
            world.said.iter().filter(|said| !refused.contains(&said.accepted.unwrap_or(EventId(0)))).map(|said| said.person).collect();
        assert_eq!(keys.len(), people.len(), "I9: world {seed}: {people:?} against {keys:?}");
    }
}

/// A15: an event that came as an id has been fetched, and goes to each place once.
fn made_whole(seed: u64, id: EventId, tables: &Tables) {
    let event: model::Event = serde_json::from_str(&tables.events[&id].normalized).unwrap();
    assert!(event.fetched.is_some() && event.fetch.is_none(), "A15: world {seed}: {id} is not whole: {event:?}");
    let mut targets = BTreeSet::new();
    for delivery in tables.deliveries.values().filter(|delivery| delivery.id.event() == id) {
        assert!(targets.insert((&delivery.destination, &delivery.object)), "A15: world {seed}: {id} goes to one place twice");
    }
    assert_eq!(targets.len(), 2, "A15: world {seed}: {id} goes to its source and to the CRM: {targets:?}");
}

/// The merge, written again from its description: sort what was said by (trust, time, key) and let the last word stand.
fn expected(world: &World, seed: u64, refused: &BTreeSet<EventId>, key: &str) -> BTreeMap<&'static str, String> {
    let said = world
        .said
        .iter()
        .filter(|said| dialect(seed).key(said.person) == key && said.accepted.is_some_and(|event| !refused.contains(&event)))
        .collect::<Vec<&Said>>();
    // What came as an id says what its object says in the end, and is weighed by when that was changed.
    let mut words: Vec<_> = Vec::new();
    for said in said {
        let key = format!("{}|lead.created|{}", said.source, said.id);
        match said.object.map(|object| world.shelves[said.source].lock().unwrap().things[&object].clone()) {
            Some(thing) => words.push((said.trust, thing.updated_at, key, thing.fields)),
            None => words.push((said.trust, said.occurred_at, key, said.fields.clone())),
        }
    }
    words.sort();
    words.into_iter().flat_map(|(.., fields)| fields).collect()
}

fn compare(seed: u64, key: &str, expected: &BTreeMap<&'static str, String>, found: &BTreeMap<String, Value>) {
    for (name, field) in dialect(seed).fields {
        let held = found.get(field).and_then(text);
        assert_eq!(held, expected.get(name).map(String::as_str), "I8: world {seed}: {field} of {key}");
    }
    assert_eq!(found.get(dialect(seed).last_name).and_then(text), Some("Example"), "I8: world {seed}: {key}");
}

/// A field's text; some CRMs keep every value as a list.
fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Array(values) => values.first().and_then(text),
        Value::Object(held) => held.get("value").and_then(text),
        Value::String(text) => Some(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}
