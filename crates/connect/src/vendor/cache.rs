//! What belongs to many objects is asked for once in a while.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::Time;
use serde_json::Value;

/// How many are kept: more forms than anyone has in use at a time.
const KEPT_MAX: usize = 256;
/// And for how long: questions of a published form do not change, its name may.
const KEPT_FOR: Duration = Duration::from_secs(3_600);
/// What is larger than this in JSON is not kept.
const KEPT_BYTES_MAX: usize = 256 * 1_024;

/// A bounded memory of documents.
#[derive(Default)]
pub(super) struct Cache {
    held: Mutex<BTreeMap<String, (Time, Value)>>,
}

impl Cache {
    pub(super) fn get(&self, key: &str, now: Time) -> Option<Value> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(key).filter(|(since, _)| *since <= now && now.since(*since) < KEPT_FOR).map(|(_, value)| value.clone())
    }

    pub(super) fn put(&self, key: &str, value: &Value, now: Time) {
        if value.to_string().len() > KEPT_BYTES_MAX {
            return;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= KEPT_MAX && !held.contains_key(key) {
            let oldest = held.iter().min_by_key(|(_, (since, _))| *since).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| held.remove(&oldest));
        }
        held.insert(key.to_owned(), (now, value.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_there_are_too_many_and_each_after_an_hour() {
        let (cache, at) = (Cache::default(), |second| Time::from_seconds(1_000 + second));
        for number in 0..=KEPT_MAX {
            cache.put(&number.to_string(), &Value::from(number), at(i64::try_from(number).unwrap()));
        }
        assert_eq!((cache.get("0", at(300)), cache.get("1", at(300))), (None, Some(Value::from(1))));
        assert_eq!(cache.get("1", at(1) + KEPT_FOR), None);
        cache.put("large", &Value::from("x".repeat(KEPT_BYTES_MAX)), at(300));
        assert_eq!(cache.get("large", at(300)), None);
    }
}
