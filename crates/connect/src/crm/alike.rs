//! Whether two values are one, where nothing is known of how the other side stores them.

use model::Time;
use model::record::Link;
use serde_json::Value;

/// Nothing and the empty text are the same; texts are trimmed and their line ends one kind; numbers count by value, moments by instant,
/// e-mail addresses without regard to case, lists in any order, and links by the other record's id or key. Of two objects every member counts.
pub(crate) fn alike(a: &Value, b: &Value) -> bool {
    if is_empty(a) || is_empty(b) {
        return is_empty(a) && is_empty(b);
    }
    match (a, b) {
        (Value::Object(left), Value::Object(right)) => match (Link::of(a), Link::of(b)) {
            (Some(left), Some(right)) => left.key == right.key && left.object == right.object,
            (Some(link), None) | (None, Some(link)) => linked(&link, if Link::of(a).is_some() { b } else { a }),
            (None, None) => {
                let member = |of: &serde_json::Map<String, Value>, name: &String| of.get(name).cloned().unwrap_or_default();
                left.keys().chain(right.keys()).all(|name| alike(&member(left, name), &member(right, name)))
            }
        },
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left.iter().all(|a| right.iter().any(|b| alike(a, b)))
                && right.iter().all(|b| left.iter().any(|a| alike(a, b)))
        }
        (Value::Object(_), other) | (other, Value::Object(_)) => {
            let object = if a.is_object() { a } else { b };
            Link::of(object).is_some_and(|link| linked(&link, other))
        }
        (Value::Array(_), _) | (_, Value::Array(_)) => false,
        (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), _) => same_text(a, b),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(entries) => entries.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A link and what is echoed of it: an id, as a text, a number, or an object that has it.
fn linked(link: &Link, echoed: &Value) -> bool {
    let echoed = if echoed.is_object() { &echoed["id"] } else { echoed };
    let echoed = id_of(echoed).unwrap_or_default();
    link.crm_id.as_deref().unwrap_or(&link.key) == echoed
}

/// An id as a text, whichever way it came.
pub(crate) fn id_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
    .filter(|id| !id.is_empty() && id.len() <= 255)
}

fn same_text(a: &Value, b: &Value) -> bool {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), |text| text.trim().replace("\r\n", "\n"));
    let (left, right) = (text(a), text(b));
    if left == right {
        return true;
    }
    if a.is_number() || b.is_number() {
        return matches!((left.parse::<f64>(), right.parse::<f64>()), (Ok(a), Ok(b)) if (a - b).abs() <= f64::EPSILON * a.abs().max(b.abs()));
    }
    if a.is_boolean() || b.is_boolean() {
        return left.eq_ignore_ascii_case(&right);
    }
    let moments = || Some(moment(&left)?.millis() == moment(&right)?.millis());
    moments() == Some(true) || (left.contains('@') && left.to_lowercase() == right.to_lowercase())
}

/// A date-time of RFC 3339, the same with a space and without an offset (UTC), or a day.
pub(crate) fn moment(text: &str) -> Option<Time> {
    Time::parse_rfc3339(text)
        .or_else(|| Time::parse_rfc3339(&format!("{}Z", text.replacen(' ', "T", 1))))
        .or_else(|| Time::parse_rfc3339(&format!("{text}T00:00:00Z")).filter(|_| text.len() == "2026-11-22".len()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_stored_another_way_is_the_same_and_another_value_is_not() {
        let link = Link { object: "persons".into(), key_field: "k".into(), key: "a".into(), crm_id: Some("7".into()) }.to_value();
        for (a, b) in [
            (json!(null), json!("")),
            (json!(null), json!([])),
            (json!(" a\r\nb "), json!("a\nb")),
            (json!(1), json!("1.00")),
            (json!(0.1), json!(0.1)),
            (json!("2026-11-22T10:00:00+01:00"), json!("2026-11-22 09:00:00")),
            (json!("2026-11-22"), json!("2026-11-22T00:00:00.000Z")),
            (json!("Ada@Example.com"), json!("ada@example.com")),
            (json!([1, 2]), json!(["2", "1"])),
            (json!(true), json!("TRUE")),
            (link.clone(), json!(7)),
            (link.clone(), json!("7")),
            (link.clone(), json!({ "id": 7, "name": "Ada" })),
            (json!({ "a": 1, "b": null }), json!({ "a": 1 })),
        ] {
            assert!(alike(&a, &b) && alike(&b, &a), "{a} {b}");
        }
        for (a, b) in [
            (json!("a"), json!("A")),
            (json!(0), json!("")),
            (json!(false), json!(null)),
            (json!("1"), json!("1.0")),
            (json!([1, 1]), json!([1, 2])),
            (json!("2026-11-22"), json!("2026-11-23")),
            (link, json!(8)),
            (json!({ "a": 1 }), json!({ "a": 2 })),
        ] {
            assert!(!alike(&a, &b) && !alike(&b, &a), "{a} {b}");
        }
    }
}
