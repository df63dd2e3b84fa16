//! Links between records: associations v4 (crm-apis.md 3.4). They are a set, so that making one which is there changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use model::event::Mode;
use model::record::Link;
use model::{Class, Failure, Scope};
use reqwest::Method;
use serde_json::{Value, json};

use super::refusal::{self, Call, CrmError, refused};
use super::{Hubspot, accepting, check_names, refuse, valid_id};
use crate::crm::refusal::garbage;
use crate::{Body, Connector as _, Outcome, Present, ReadBatch, Reply, Request, WriteBatch, Written};

/// Between the two ids in the id of a link.
const BETWEEN: char = '>';

type Ends = (String, String);

fn path(child: &str, parent: &str, verb: &str) -> Result<String, Failure> {
    check_names([child.to_owned(), parent.to_owned()].iter())?;
    Ok(format!("/crm/v4/associations/{child}/{parent}/batch/{verb}"))
}

/// The ids that a link's record points at.
fn ends(fields: &BTreeMap<String, Value>) -> Option<Ends> {
    let end = |field: &str| fields.get(field).and_then(Link::of)?.crm_id.filter(|id| valid_id(id));
    Some((end("from")?, end("to")?))
}

fn of_id(crm_id: &str) -> Option<Ends> {
    let (from, to) = crm_id.split_once(BETWEEN)?;
    (valid_id(from) && valid_id(to)).then(|| (from.to_owned(), to.to_owned()))
}

/// Spells the making of links, of the account's default type.
pub(super) fn write(batch: &WriteBatch, (child, parent): (&str, &str)) -> Result<Request, Failure> {
    if batch.mode != Mode::Upsert {
        return Err(refuse(Class::Permanent, "not_a_record", "a link is only ever made; this is a bug of ours"));
    }
    let inputs = batch.records.iter().map(|record| {
        let (from, to) = ends(&record.fields).ok_or_else(|| {
            refuse(Class::Permanent, "link_without_ends", "the ids of the two records are not known; this is a bug of ours")
        })?;
        Ok(json!({ "from": { "id": from }, "to": { "id": to } }))
    });
    let inputs = inputs.collect::<Result<Vec<Value>, Failure>>()?;
    Ok(accepting(Request::new(Method::POST, path(child, parent, "associate/default")?, Body::Json(json!({ "inputs": inputs })))))
}

/// Reads what came of it: each link by its two ids.
pub(super) fn written(batch: &WriteBatch, reply: &Reply) -> Outcome<Written> {
    if !(200..300).contains(&reply.status) {
        let alone = batch.records.len() == 1;
        return match refused(reply, if alone { Call::One(batch.mode) } else { Call::Many }) {
            failure if failure.scope == Scope::Record => Ok(vec![Err(failure)]),
            failure => Err(failure),
        };
    }
    let body = reply.json().filter(Value::is_object).ok_or_else(|| garbage(reply))?;
    let rows = body["results"].as_array().map(Vec::as_slice).unwrap_or_default();
    let made: BTreeSet<Ends> = rows.iter().filter_map(|row| Some((id(&row["from"]["id"])?, id(&row["to"]["id"])?))).collect();
    let told = body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    if made.is_empty() && told.is_empty() {
        return Err(garbage(reply));
    }
    let one = |record: &crate::WriteRecord| {
        let ends = ends(&record.fields);
        match &ends {
            Some(pair) if made.contains(pair) => Ok(Written { crm_id: Some(format!("{}{BETWEEN}{}", pair.0, pair.1)), created: None }),
            _ => Err(said_of(told, ends.as_ref(), reply.status)),
        }
    };
    Ok(batch.records.iter().map(one).collect())
}

/// What is said of one pair: an end that is gone will come back, or a person has merged it, so it is looked at again.
fn said_of(told: &[Value], ends: Option<&Ends>, status: u16) -> Failure {
    let names = |error: &&Value| {
        let ids: BTreeSet<&str> = ["fromObjectId", "toObjectId", "ids", "id"]
            .iter()
            .flat_map(|name| error["context"][name].as_array().map(Vec::as_slice).unwrap_or_default())
            .filter_map(Value::as_str)
            .collect();
        ends.is_some_and(|(from, to)| ids.contains(from.as_str()) || ids.contains(to.as_str()))
    };
    match told.iter().find(names) {
        Some(error) if error["category"] == "OBJECT_NOT_FOUND" => {
            Failure::new(Class::Conflict, Scope::Record, "OBJECT_NOT_FOUND", error["message"].as_str().unwrap_or_default())
        }
        Some(error) => {
            let errors: Vec<CrmError> = CrmError::read(error).into_iter().collect();
            refusal::record(&errors, Mode::Upsert, status)
        }
        None => {
            Failure::new(Class::Unknown, Scope::Record, "no_result", "the answer holds no result for this link, and no error that names it")
        }
    }
}

/// Spells a look-up of links that were made before; those of which no ids are known are not there.
pub(super) fn read(hubspot: &Hubspot, batch: &ReadBatch, (child, parent): (&str, &str)) -> Result<Request, Failure> {
    let from: BTreeSet<String> = batch.records.iter().filter_map(|sought| Some(of_id(sought.crm_id.as_deref()?)?.0)).collect();
    if from.is_empty() {
        return Ok(hubspot.probe());
    }
    let inputs: Vec<Value> = from.iter().map(|id| json!({ "id": id })).collect();
    Ok(accepting(Request::new(Method::POST, path(child, parent, "read")?, Body::Json(json!({ "inputs": inputs })))))
}

/// Reads which of them are there. A record with more links than one page holds leaves the others open.
pub(super) fn found(batch: &ReadBatch, reply: &Reply) -> Outcome<Option<Present>> {
    let sought: Vec<Option<Ends>> = batch.records.iter().map(|sought| of_id(sought.crm_id.as_deref()?)).collect();
    if sought.iter().all(Option::is_none) {
        return if reply.status == 200 { Ok(sought.iter().map(|_| Ok(None)).collect()) } else { Err(refused(reply, Call::Read)) };
    }
    if !matches!(reply.status, 200 | 207) {
        return Err(refused(reply, Call::Read));
    }
    let body = reply.json().ok_or_else(|| garbage(reply))?;
    let rows = body["results"].as_array().ok_or_else(|| garbage(reply))?;
    let (mut there, mut more) = (BTreeSet::new(), BTreeSet::new());
    for row in rows {
        let from = id(&row["from"]["id"]).ok_or_else(|| garbage(reply))?;
        let to = row["to"].as_array().map(Vec::as_slice).unwrap_or_default();
        there.extend(to.iter().filter_map(|to| Some((from.clone(), id(&to["toObjectId"])?))));
        if row["paging"]["next"].is_object() {
            more.insert(from);
        }
    }
    let one = |ends: &Option<Ends>| match ends {
        Some(ends) if there.contains(ends) => {
            Ok(Some(Present { crm_id: format!("{}{BETWEEN}{}", ends.0, ends.1), fields: BTreeMap::new(), modified_at: None }))
        }
        Some((from, _)) if more.contains(from) => {
            Err(Failure::new(Class::Unknown, Scope::Record, "more_links", "the record has more links than one answer holds"))
        }
        Some(_) | None => Ok(None),
    };
    Ok(sought.iter().map(one).collect())
}

/// An id, which associations also write as a number.
fn id(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned).or_else(|| value.as_u64().map(|number| number.to_string())).filter(|id| valid_id(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sought, WriteRecord};

    fn link(from: &str, to: &str) -> WriteRecord {
        let end = |object: &str, id: &str| {
            Link { object: object.into(), key_field: "crm_ext_id".into(), key: "k".into(), crm_id: Some(id.into()) }.to_value()
        };
        let fields = BTreeMap::from([("from".to_owned(), end("contacts", from)), ("to".to_owned(), end("companies", to))]);
        WriteRecord { key: format!("{from}>{to}"), crm_id: None, revision: 1, fields }
    }

    fn batch(records: Vec<WriteRecord>) -> WriteBatch {
        WriteBatch { object: "contacts>companies".into(), key_field: "contacts>companies".into(), mode: Mode::Upsert, records }
    }

    fn hubspot() -> Hubspot {
        Hubspot::of_version(None).unwrap()
    }

    fn reply(status: u16, body: Value) -> Reply {
        Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() }
    }

    #[test]
    fn links_are_made_by_the_ids_of_both_ends_and_told_apart_by_them() {
        let batch = batch(vec![link("1", "7"), link("2", "7"), link("3", "9")]);
        let request = hubspot().write(&batch).unwrap();
        assert_eq!(request.path, "/crm/v4/associations/contacts/companies/batch/associate/default");
        let Body::Json(body) = &request.body else { panic!("{request:?}") };
        assert_eq!(body["inputs"][1], json!({ "from": { "id": "2" }, "to": { "id": "7" } }));
        let pair =
            |from: &str, to: &str| json!({ "from": { "id": from }, "to": { "id": to }, "associationSpec": { "associationTypeId": 279 } });
        let gone = json!({ "status": "error", "category": "OBJECT_NOT_FOUND", "message": "gone", "context": { "toObjectId": ["9"] } });
        let answer =
            json!({ "status": "COMPLETE", "results": [pair("2", "7"), pair("1", "7"), pair("1", "7")], "numErrors": 1, "errors": [gone] });
        let results = hubspot().written(&batch, &reply(207, answer)).unwrap();
        assert_eq!(results[0].as_ref().unwrap().crm_id.as_deref(), Some("1>7"));
        assert_eq!(results[1].as_ref().unwrap().crm_id.as_deref(), Some("2>7"));
        assert_eq!(results[2].as_ref().unwrap_err().class, Class::Conflict);
        let silent = hubspot().written(&batch, &reply(200, json!({ "results": [pair("1", "7")] }))).unwrap();
        assert_eq!(silent[1].as_ref().unwrap_err().class, Class::Unknown, "a success that says nothing of a link is none");
        assert!(hubspot().written(&batch, &reply(200, json!({ "results": [] }))).is_err());
    }

    #[test]
    fn links_are_found_by_their_ids() {
        let sought = |id: Option<&str>| Sought { key: "k".into(), crm_id: id.map(str::to_owned) };
        let object = "contacts>companies".to_owned();
        let asked = ReadBatch {
            object: object.clone(),
            key_field: object,
            records: vec![sought(Some("1>7")), sought(Some("1>8")), sought(None), sought(Some("2>7"))],
            fields: Vec::new(),
        };
        let request = hubspot().read(&asked).unwrap();
        assert_eq!(request.path, "/crm/v4/associations/contacts/companies/batch/read");
        let answer = json!({ "results": [
            { "from": { "id": "1" }, "to": [{ "toObjectId": 7, "associationTypes": [] }] },
            { "from": { "id": "2" }, "to": [], "paging": { "next": { "after": "x" } } },
        ] });
        let found = hubspot().found(&asked, &[reply(200, answer)]).unwrap();
        assert_eq!(found[0].as_ref().unwrap().as_ref().unwrap().crm_id, "1>7");
        assert_eq!((&found[1], &found[2]), (&Ok(None), &Ok(None)));
        assert_eq!(found[3].as_ref().unwrap_err().class, Class::Unknown);
    }
}
