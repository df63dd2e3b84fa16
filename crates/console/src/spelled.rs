//! Moments as people write them, in what the API answers. The ledger's own JSON has them as microseconds.

use model::Time;
use serde::Serialize;
use serde_json::Value;

/// The members that are moments, wherever our own rows have them.
const MOMENTS: [&str; 15] = [
    "at",
    "occurred_at",
    "received_at",
    "first_received_at",
    "ended_at",
    "wake_at",
    "failed_at",
    "last_attempt_at",
    "last_success_at",
    "finished_at",
    "oldest_open",
    "until",
    "since",
    "last_event_at",
    "updated_at",
];

/// What is inside these is other people's, or as it was asked.
const OPAQUE: [&str; 3] = ["value", "detail", "filter"];

/// A row as JSON with its moments in RFC 3339.
pub(crate) fn spelled<T: Serialize>(row: &T) -> Value {
    let mut value = serde_json::to_value(row).unwrap_or(Value::Null);
    spell(&mut value);
    value
}

fn spell(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(spell),
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                if OPAQUE.contains(&name.as_str()) {
                    continue;
                }
                match member.as_i64() {
                    Some(micros) if MOMENTS.contains(&name.as_str()) => *member = Value::String(Time(micros).to_string()),
                    Some(_) | None => spell(member),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A canonical event as JSON with its two moments in RFC 3339; its attributes are the sender's and stay as they are.
pub(crate) fn spelled_event(mut event: Value) -> Value {
    for pointer in ["/occurred_at", "/audit/received_at"] {
        if let Some(member) = event.pointer_mut(pointer)
            && let Some(micros) = member.as_i64()
        {
            *member = Value::String(Time(micros).to_string());
        }
    }
    event
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn our_moments_are_spelled_out_and_the_senders_numbers_are_left_alone() {
        let row = json!({"at": 0, "attempts": 3, "fields": {"Email": {"value": {"at": 7}, "occurred_at": 1_000_000}}, "detail": {"at": 1}});
        let expected = json!({"at": "1970-01-01T00:00:00.000Z", "attempts": 3,
            "fields": {"Email": {"value": {"at": 7}, "occurred_at": "1970-01-01T00:00:01.000Z"}}, "detail": {"at": 1}});
        assert_eq!(spelled(&row), expected);
        let event = spelled_event(json!({"occurred_at": 0, "attributes": {"occurred_at": 5}}));
        assert_eq!(event, json!({"occurred_at": "1970-01-01T00:00:00.000Z", "attributes": {"occurred_at": 5}}));
    }
}
