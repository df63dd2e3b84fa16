//! A CRM's answers, and a small CRM that gives them honestly.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::event::Mode;
use model::protocol::{Found, Present, Push, Step, Written};
use model::{Class, Failure, Reason, Scope, Time};
use serde_json::Value;
use store::{Call, Finished};

/// One record's share of an answer.
pub type Answer = Result<Found, Failure>;

pub const FIELDS: [&str; 5] = ["City", "Company", "Email", "FirstName", "Phone"];

pub fn wrote(crm_id: &str) -> Answer {
    Ok(Found::Wrote(Written { crm_id: Some(crm_id.to_owned()), created: Some(true) }))
}

pub fn nobody() -> Answer {
    Ok(Found::Held(None))
}

/// A read that found these fields, and the others empty. It was changed there at a time of the events' own beginning.
pub fn holds(crm_id: &str, fields: &[(&str, &str)]) -> Answer {
    let mut all: BTreeMap<String, Value> = FIELDS.map(|field| (field.to_owned(), Value::Null)).into();
    all.extend(fields.iter().map(|(field, value)| ((*field).to_owned(), Value::from(*value))));
    Ok(Found::Held(Some(Present { crm_id: crm_id.to_owned(), fields: all, modified_at: Some(Time::from_seconds(1_780_000_000)) })))
}

pub fn failure(class: Class, scope: Scope) -> Failure {
    Failure::new(class, scope, "CODE", "what the CRM said")
}

/// The whole call came to nothing.
pub fn broke(call: &Call, failure: Failure) -> Finished {
    Finished {
        call: call.clone(),
        duration: Duration::from_millis(20),
        http_status: None,
        requests: 1,
        usage: Vec::new(),
        result: Err(failure),
    }
}

/// An answer with an item for each record.
pub fn answered(call: &Call, items: Vec<Answer>) -> Finished {
    Finished {
        call: call.clone(),
        duration: Duration::from_millis(20),
        http_status: Some(200),
        requests: 1,
        usage: Vec::new(),
        result: Ok(items),
    }
}

/// The same answer for each record.
pub fn each(call: &Call, item: Answer) -> Finished {
    answered(call, vec![item; call.entries.len()])
}

/// What a call wants to write for its only record.
pub fn push(call: &Call) -> &Push {
    assert_eq!(call.entries.len(), 1, "{call:?}");
    match &call.entries[0].claim.step {
        Step::Push(push) => push,
        step @ (Step::Adopt | Step::Verify | Step::Fetch(_)) => panic!("no write: {step:?}"),
    }
}

/// The fields that a call wants to write for its only record, as texts.
pub fn patch(call: &Call) -> Vec<(String, String)> {
    push(call).patch.iter().map(|(field, value)| (field.clone(), value.as_str().unwrap_or("null").to_owned())).collect()
}

pub fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned())).collect()
}

/// A CRM that does what it is told.
#[derive(Debug, Default)]
pub struct Crm {
    /// By object and key.
    pub records: BTreeMap<(String, String), BTreeMap<String, Value>>,
    pub writes: usize,
    pub calls: usize,
    /// Writes with one of these values are refused.
    pub bad_values: BTreeSet<String>,
    /// Refusals name the field.
    pub names_fields: bool,
    /// A refusal is the whole call's.
    pub refuses_whole_calls: bool,
}

impl Crm {
    pub fn field(&self, object: &str, key: &str, field: &str) -> Option<&Value> {
        self.records.get(&(object.to_owned(), key.to_owned()))?.get(field)
    }

    pub fn answer(&mut self, call: &Call) -> Finished {
        self.calls += 1;
        if self.refuses_whole_calls && call.entries.iter().any(|entry| self.refusal(&entry.claim.step).is_some()) {
            return broke(call, failure(Class::Permanent, Scope::Call));
        }
        let items = call.entries.iter().map(|entry| self.item(call, &entry.key, &entry.claim.step)).collect();
        answered(call, items)
    }

    fn refusal(&self, step: &Step) -> Option<Failure> {
        let Step::Push(push) = step else { return None };
        let (field, _) = push.patch.iter().find(|(_, value)| value.as_str().is_some_and(|text| self.bad_values.contains(text)))?;
        let mut refusal = failure(Class::Permanent, Scope::Record);
        if self.names_fields {
            refusal.fields = vec![field.clone()];
        }
        Some(refusal)
    }

    fn item(&mut self, call: &Call, key: &str, step: &Step) -> Answer {
        let place = (call.object.clone(), key.to_owned());
        let crm_id = format!("{}/{key}", call.object);
        let Step::Push(push) = step else {
            let Some(held) = self.records.get(&place) else { return nobody() };
            let mut fields: BTreeMap<String, Value> = FIELDS.map(|field| (field.to_owned(), Value::Null)).into();
            fields.extend(held.clone());
            return Ok(Found::Held(Some(Present { crm_id, fields, modified_at: Some(Time::from_seconds(1_780_000_000)) })));
        };
        if let Some(refusal) = self.refusal(step) {
            return Err(refusal);
        }
        let there = self.records.contains_key(&place);
        match push.mode {
            Mode::UpdateOnly if !there => {
                return Err(Failure { reason: Some(Reason::RecordNotFound), ..failure(Class::Permanent, Scope::Record) });
            }
            Mode::CreateOnly if there => return Ok(Found::Wrote(Written { crm_id: Some(crm_id), created: Some(false) })),
            Mode::CreateOnly | Mode::UpdateOnly | Mode::Upsert | Mode::Delete => {}
        }
        self.writes += 1;
        self.records.entry(place).or_default().extend(push.patch.clone());
        Ok(Found::Wrote(Written { crm_id: Some(crm_id), created: Some(!there) }))
    }
}
