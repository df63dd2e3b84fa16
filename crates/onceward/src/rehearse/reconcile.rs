//! What should have come of it, worked out apart from the product's own merge, and what did.

use std::collections::{BTreeMap, BTreeSet};

use model::event::Mode;
use model::route::{Plan, Routes};
use model::{Identifier, Time};
use serde::Serialize;
use serde_json::Value;

use super::script::Script;
use super::voice::Voice;
use crate::command::Refused;
use crate::shown::{list, word};

/// A destination's object.
pub type Target = (String, String);

/// One accepted event as its sender means it.
struct Told {
    key: String,
    stamp: (u8, Time, String),
    deliveries: Vec<Leading>,
}

/// Where it leads, and what it says there.
struct Leading {
    target: Target,
    record_key: Option<String>,
    identifiers: Vec<Identifier>,
    fields: BTreeMap<String, Value>,
}

/// Everything that was accepted.
#[derive(Default)]
pub struct Expected {
    events: Vec<Told>,
    /// Fields whose value depends on who may change an identifier; they are not compared.
    unsure: BTreeMap<Target, BTreeSet<String>>,
}

/// What the ledger says of the events.
#[derive(Default)]
pub struct Ledger {
    events: BTreeMap<String, Vec<Ended>>,
    /// Deliveries that have not ended.
    pub open: usize,
}

/// A delivery, as far as it matters here.
struct Ended {
    target: Option<Target>,
    status: String,
    outcome: String,
    reason: String,
    took: Option<u64>,
}

/// What the reconciliation found.
#[derive(Debug, Default, Serialize)]
pub struct Found {
    /// Different events that were accepted.
    pub events: usize,
    /// Records that they lead to.
    pub records: usize,
    /// By status, and for what succeeded by outcome.
    pub ended: BTreeMap<String, usize>,
    /// Dead letters by reason.
    pub dead_letters: BTreeMap<String, usize>,
    /// Accepted and not in the ledger, or not ended; records that should be in the CRM and are not.
    pub lost: usize,
    /// Records that were created more than once.
    pub doubled: usize,
    /// Fields that do not hold the last word.
    pub wrong_fields: usize,
    /// The first few of what is wrong.
    pub examples: Vec<String>,
    /// From the request's arrival to the end of its delivery, in microseconds, sorted.
    #[serde(skip)]
    pub durations: Vec<u64>,
}

const EXAMPLES_MAX: usize = 10;

impl Expected {
    /// What the accepted events mean.
    ///
    /// # Errors
    ///
    /// One of them means nothing, or leads to where the outcome cannot be told.
    pub fn of(script: &Script, voices: &[Voice], routes: &Routes, accepted: &[bool]) -> Result<Self, Refused> {
        let mut expected = Self::default();
        for (event, _) in (0..).zip(accepted).filter(|(_, accepted)| **accepted) {
            let facts = script.facts(event);
            let Some(voice) = voices.get(facts.source) else { continue };
            let (event, trust) = voice.meaning(&facts, script.begun)?;
            let planned = planned(voice, routes.plan(&event))?;
            let leading = planned.into_iter().map(|planned| Leading {
                fields: routes.crm_fields(&planned.destination, &planned.object, &event).unwrap_or_default(),
                target: (planned.destination, planned.object),
                record_key: planned.key,
                identifiers: planned.identifiers,
            });
            let deliveries: Vec<Leading> = leading.collect();
            for leading in &deliveries {
                if !expected.unsure.contains_key(&leading.target) {
                    let (destination, object) = &leading.target;
                    let fields = routes.object(destination, object).map(|object| object.identifier_fields()).unwrap_or_default();
                    expected.unsure.insert(leading.target.clone(), fields.into_iter().map(str::to_owned).collect());
                }
            }
            let stamp = (trust, event.occurred_at, event.idempotency_key.clone());
            expected.events.push(Told { key: event.idempotency_key, stamp, deliveries });
        }
        Ok(expected)
    }

    /// Which deliveries make up one record: those that are tied by identifiers.
    fn records(&self) -> BTreeMap<usize, Vec<(&Told, &Leading)>> {
        let mut ties = Ties::default();
        let mut first: BTreeMap<(&Target, &str, String), usize> = BTreeMap::new();
        let mut members = Vec::new();
        for told in &self.events {
            for leading in told.deliveries.iter().filter(|leading| !leading.identifiers.is_empty()) {
                let member = ties.add();
                members.push((member, told, leading));
                for identifier in &leading.identifiers {
                    let name = (&leading.target, identifier.kind.as_str(), identifier.canonical());
                    let held = *first.entry(name).or_insert(member);
                    ties.tie(held, member);
                }
            }
        }
        let mut records: BTreeMap<usize, Vec<(&Told, &Leading)>> = BTreeMap::new();
        for (member, told, leading) in members {
            records.entry(ties.root(member)).or_default().push((told, leading));
        }
        records
    }

    /// Compares with the ledger and with what the sandboxes hold, by destination and object. `equal` says whether a CRM takes two values for the same.
    pub fn compare(
        &self,
        ledger: &Ledger,
        held: &BTreeMap<Target, Vec<sandbox::RecordView>>,
        equal: &dyn Fn(&Target, &str, &Value, &Value) -> bool,
    ) -> Found {
        let mut found = Found { events: self.events.len(), ..Found::default() };
        for told in &self.events {
            found.ledger(told, ledger.events.get(&told.key));
        }
        found.durations.sort_unstable();
        let mut by_key: BTreeMap<&Target, BTreeMap<String, Vec<&sandbox::RecordView>>> = BTreeMap::new();
        for (target, records) in held {
            let keyed = by_key.entry(target).or_default();
            for record in records {
                if let Some(key) = &record.key {
                    keyed.entry(key.to_lowercase()).or_default().push(record);
                }
            }
        }
        for mut sayings in self.records().into_values() {
            // What ended as a dead letter says nothing in the CRM.
            sayings.retain(|(told, leading)| ledger.succeeded(&told.key, &leading.target));
            let Some((_, leading)) = sayings.first() else { continue };
            found.records += 1;
            let keys: BTreeSet<String> =
                sayings.iter().filter_map(|(_, leading)| leading.record_key.as_deref()).map(str::to_lowercase).collect();
            let there = by_key.get(&leading.target);
            let rows: Vec<&sandbox::RecordView> =
                keys.iter().filter_map(|key| there?.get(key)).flatten().filter(|record| !record.deleted).copied().collect();
            let creates: u32 = rows.iter().map(|record| record.creates).sum();
            let Some(row) = rows.first() else {
                found.lost += 1;
                found.example(format!("{:?} is not in the CRM", keys));
                continue;
            };
            if creates > 1 {
                found.doubled += 1;
                found.example(format!("{:?} was created {creates} times", keys));
            }
            let unsure = self.unsure.get(&leading.target);
            for (field, value) in last_words(&sayings, unsure) {
                let there = row.fields.get(field).unwrap_or(&Value::Null);
                let both_empty = value.is_null() && there.is_null();
                if !both_empty && !equal(&leading.target, field, value, there) {
                    found.wrong_fields += 1;
                    found.example(format!("{:?}: {field} is {there} and should be {value}", keys));
                }
            }
        }
        found
    }
}

/// Every field's last word: by trust, then time, then key. Identifiers that differ are left out.
fn last_words<'a>(sayings: &[(&'a Told, &'a Leading)], unsure: Option<&BTreeSet<String>>) -> BTreeMap<&'a str, &'a Value> {
    let mut ordered = sayings.to_vec();
    ordered.sort_by(|(one, _), (other, _)| one.stamp.cmp(&other.stamp));
    let mut words: BTreeMap<&str, &Value> = BTreeMap::new();
    let mut differing = BTreeSet::new();
    for (_, leading) in ordered {
        for (field, value) in &leading.fields {
            let before = words.insert(field, value);
            if before.is_some_and(|before| before != value) && unsure.is_some_and(|unsure| unsure.contains(field)) {
                differing.insert(field.as_str());
            }
        }
    }
    words.retain(|field, _| !differing.contains(field));
    words
}

/// Where a plan leads, if the outcome can be told.
///
/// # Errors
///
/// It leads nowhere, or may not create what is not there.
pub fn planned(voice: &Voice, plan: Plan) -> Result<Vec<model::route::Planned>, Refused> {
    let name = &voice.name;
    let planned = match plan {
        Plan::Deliver(planned) => planned,
        Plan::Ignored | Plan::Unrouted => {
            return Err(Refused::because(format!(
                "no route takes the events of `{name}`: add one, then `onceward map --source {name} sample` shows it"
            )));
        }
    };
    match planned.iter().find(|planned| planned.mode != Mode::Upsert) {
        None => Ok(planned),
        Some(route) => Err(Refused::because(format!(
            "the route of `{name}` to {} of `{}` is `{}`: only what may both create and change a record can be rehearsed",
            route.object,
            route.destination,
            route.mode.as_str()
        ))),
    }
}

impl Found {
    fn example(&mut self, text: String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text);
        }
    }

    fn ledger(&mut self, told: &Told, deliveries: Option<&Vec<Ended>>) {
        let Some(deliveries) = deliveries.filter(|deliveries| !deliveries.is_empty()) else {
            self.lost += 1;
            self.example(format!("{} was accepted and is not in the ledger", told.key));
            return;
        };
        let mut open = false;
        for delivery in deliveries {
            let word = if delivery.status == "succeeded" { format!("succeeded/{}", delivery.outcome) } else { delivery.status.clone() };
            *self.ended.entry(word).or_default() += 1;
            match delivery.status.as_str() {
                "succeeded" | "cancelled" => {}
                "failed" | "quarantined" => *self.dead_letters.entry(delivery.reason.clone()).or_default() += 1,
                _ => open = true,
            }
            self.durations.extend(delivery.took);
        }
        if open {
            self.lost += 1;
            self.example(format!("{} has not ended", told.key));
        }
    }

    /// Whether nothing was lost, doubled or wrong.
    pub fn is_exact(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.wrong_fields == 0
    }
}

impl Ledger {
    /// Adds a page of `GET /api/events`.
    pub fn add(&mut self, page: &Value) {
        for event in list(page, "/events") {
            let received = Time::parse_rfc3339(&word(event, "/received_at"));
            let mut deliveries = Vec::new();
            for delivery in list(event, "/deliveries") {
                let ended = Time::parse_rfc3339(&word(delivery, "/ended_at"));
                if ended.is_none() {
                    self.open += 1;
                }
                let part = |name: &str| delivery.get(name).and_then(Value::as_str).map(str::to_owned);
                deliveries.push(Ended {
                    target: part("destination").zip(part("object")),
                    status: word(delivery, "/status"),
                    outcome: word(delivery, "/outcome"),
                    reason: word(delivery, "/dead_letter/reason"),
                    took: received.zip(ended).and_then(|(received, ended)| u64::try_from(ended.since(received).as_micros()).ok()),
                });
            }
            self.events.insert(event.get("idempotency_key").and_then(Value::as_str).unwrap_or_default().to_owned(), deliveries);
        }
    }

    fn succeeded(&self, key: &str, target: &Target) -> bool {
        let deliveries = self.events.get(key).map_or(&[][..], Vec::as_slice);
        deliveries.iter().any(|delivery| delivery.status == "succeeded" && delivery.target.as_ref() == Some(target))
    }
}

/// Which of many things belong together.
#[derive(Default)]
struct Ties(Vec<usize>);

impl Ties {
    fn add(&mut self) -> usize {
        self.0.push(self.0.len());
        self.0.len() - 1
    }

    fn root(&mut self, member: usize) -> usize {
        let mut root = member;
        while let Some(&above) = self.0.get(root).filter(|above| **above != root) {
            root = above;
        }
        if let Some(above) = self.0.get_mut(member) {
            *above = root;
        }
        root
    }

    fn tie(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        if let Some(above) = self.0.get_mut(one.max(other)) {
            *above = one.min(other);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(key: &str, trust: u8, at: i64, identifiers: &[(&str, &str)], fields: Value) -> Told {
        let identifiers: Vec<Identifier> =
            identifiers.iter().map(|&(kind, value)| Identifier { kind: kind.to_owned(), value: value.to_owned() }).collect();
        let leading = Leading {
            target: ("crm".to_owned(), "Lead".to_owned()),
            record_key: identifiers.first().map(|identifier| identifier.value.clone()),
            identifiers,
            fields: serde_json::from_value(fields).unwrap(),
        };
        Told { key: key.to_owned(), stamp: (trust, Time::from_seconds(at), key.to_owned()), deliveries: vec![leading] }
    }

    fn expected() -> Expected {
        let events = vec![
            told("a", 50, 9, &[("external_id", "demo:1"), ("email", "ada@example.com")], json!({ "Title": "late", "City": "Rome" })),
            told("b", 60, 1, &[("external_id", "form:1"), ("email", "Ada@Example.com")], json!({ "Title": "trusted" })),
        ];
        Expected { events, unsure: BTreeMap::new() }
    }

    fn ledger(statuses: [(&str, &str); 2]) -> Ledger {
        let mut ledger = Ledger::default();
        for (key, status) in statuses {
            ledger.add(&json!({ "events": [{ "idempotency_key": key, "received_at": "2027-01-01T00:00:00.000Z", "deliveries": [
                { "destination": "crm", "object": "Lead", "status": status, "outcome": "applied",
                  "ended_at": if status == "queued" { Value::Null } else { "2027-01-01T00:00:00.020Z".into() },
                  "dead_letter": { "reason": "auth" } }] }] }));
        }
        ledger
    }

    fn record(key: &str, creates: u32, fields: Value) -> sandbox::RecordView {
        let view = json!({ "crm": "salesforce", "object": "Lead", "id": "1", "key": key, "fields": fields, "creates": creates, "writes": 1, "deleted": false });
        serde_json::from_value(view).unwrap()
    }

    fn compared(ledger: &Ledger, records: Vec<sandbox::RecordView>) -> Found {
        let held = BTreeMap::from([(("crm".to_owned(), "Lead".to_owned()), records)]);
        expected().compare(ledger, &held, &|_, _, one, other| one == other)
    }

    const WELL: [(&str, &str); 2] = [("a", "succeeded"), ("b", "succeeded")];

    #[test]
    fn one_record_with_every_fields_last_word_is_exact() {
        let found = compared(&ledger(WELL), vec![record("FORM:1", 1, json!({ "Title": "trusted", "City": "Rome" }))]);
        assert!(found.is_exact(), "{found:?}");
        assert_eq!((found.events, found.records, found.durations), (2, 1, vec![20_000, 20_000]));
    }

    #[test]
    fn what_is_lost_doubled_or_wrong_is_found() {
        let right = json!({ "Title": "trusted", "City": "Rome" });
        let lost = compared(&ledger(WELL), vec![]);
        assert_eq!((lost.lost, lost.doubled, lost.wrong_fields), (1, 0, 0));
        for twice in
            [vec![record("demo:1", 2, right.clone())], vec![record("demo:1", 1, right.clone()), record("form:1", 1, right.clone())]]
        {
            assert_eq!(compared(&ledger(WELL), twice).doubled, 1);
        }
        let wrong = compared(&ledger(WELL), vec![record("demo:1", 1, json!({ "Title": "late" }))]);
        assert_eq!((wrong.lost, wrong.doubled, wrong.wrong_fields), (0, 0, 2));
        let open =
            compared(&ledger([("a", "succeeded"), ("b", "queued")]), vec![record("demo:1", 1, json!({ "Title": "late", "City": "Rome" }))]);
        assert_eq!((open.lost, open.doubled, open.wrong_fields), (1, 0, 0));
        let missing = compared(
            &ledger([("a", "succeeded"), ("z", "succeeded")]),
            vec![record("demo:1", 1, json!({ "Title": "late", "City": "Rome" }))],
        );
        assert_eq!(missing.lost, 1);
    }

    #[test]
    fn a_dead_letter_is_not_lost_and_has_no_word_in_the_crm() {
        let ledger = ledger([("a", "succeeded"), ("b", "failed")]);
        let found = compared(&ledger, vec![record("demo:1", 1, json!({ "Title": "late", "City": "Rome" }))]);
        assert!(found.is_exact(), "{found:?}");
        assert_eq!(found.dead_letters, BTreeMap::from([("auth".to_owned(), 1)]));
    }
}
