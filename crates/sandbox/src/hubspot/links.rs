//! Associations v4: links between records, which are kept as records of an object of their own. Paths and shapes follow the vendor's API
//! description of associations v4.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Input, Look, Ran, Refusal, Way, What, Write, body_of, bounded, properties};
use crate::http::{HttpReply, HttpRequest};

/// The property that holds a link's two ids, as one text.
const KEY: &str = "link_external_id";

/// The object whose records link two others.
pub(super) fn object(child: &str, parent: &str) -> String {
    format!("{child}>{parent}")
}

/// Whether an object holds links.
pub(super) fn is_link(object: &str) -> bool {
    object.contains('>')
}

#[derive(Deserialize)]
struct Pairs {
    inputs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    from: Id,
    to: Id,
}

#[derive(Deserialize)]
struct Ids {
    inputs: Vec<Id>,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

/// Reads a call to `/crm/v4/associations/{child}/{parent}/batch/…`.
pub(super) fn read(request: &HttpRequest<'_>, child: &str, parent: &str, rest: &[&str]) -> Result<What, Refusal> {
    let object = object(child, parent);
    if properties::object(&object).is_none() {
        return Err(Refusal::new(400, "VALIDATION_ERROR", format!("Unable to infer association type between {child} and {parent}")));
    }
    match (request.method, rest) {
        ("POST", ["batch", "associate", "default"]) => {
            let Pairs { inputs } = body_of(request)?;
            bounded(inputs.len())?;
            let input = |(place, Pair { from, to }): (usize, Pair)| Input {
                id: Some(format!("{}>{}", from.id, to.id)),
                id_property: Some(KEY.to_owned()),
                object_write_trace_id: Some(place.to_string()),
                properties: BTreeMap::from([("from_id".to_owned(), from.id.into()), ("to_id".to_owned(), to.id.into())]),
            };
            Ok(What::Write(Write {
                object,
                way: Way::Associate,
                single: false,
                inputs: inputs.into_iter().enumerate().map(input).collect(),
            }))
        }
        ("POST", ["batch", "read"]) => {
            let Ids { inputs } = body_of(request)?;
            bounded(inputs.len())?;
            Ok(What::Look(Look::Links { object, from: inputs.into_iter().map(|named| named.id).collect() }))
        }
        (_, ["batch", "associate", "default"] | ["batch", "read"]) => {
            Err(Refusal::new(405, "", format!("Method {} is not allowed here", request.method)))
        }
        _ => Err(super::not_found()),
    }
}

/// The two records that an input links.
pub(super) fn ends(input: &Input) -> Option<(&str, &str)> {
    input.id.as_deref()?.split_once('>')
}

/// How the results look: each link once, in the order of the request; `missing` leaves the last out.
pub(super) fn reply(ran: &[Ran], missing: bool) -> HttpReply {
    let (mut rows, mut errors) = (Vec::new(), Vec::new());
    for Ran { key, result, .. } in ran {
        let (from, to) = key.as_deref().and_then(|key| key.split_once('>')).unwrap_or_default();
        match result {
            Ok(_) => rows.push(json!({ "from": { "id": from }, "to": { "id": to },
                "associationSpec": { "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 279 } })),
            Err(refusal) => {
                let named = refusal.clone().with("fromObjectId", from).with("toObjectId", to);
                errors.push(Value::Object(named.shown()));
            }
        }
    }
    let shown = rows.len().saturating_sub(usize::from(missing));
    rows.truncate(shown);
    super::complete(200, rows, errors)
}
