//! LinkedIn's Lead Sync API (learn.microsoft.com/linkedin/marketing/lead-sync/leadsync): answers to lead forms.
//!
//! Answers name their questions by number, and the questions are in the form, which the projection brings along; where it does not, the form is
//! read by itself. What this puts into an answer: the question's `name`, its `label` in the form's language, its `field` (`EMAIL`, …) and `texts`
//! (chosen options by their text); into a consent its `label`.

use std::time::Duration;

use model::{Class, Failure, Scope, Time};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{Api, Beside, cursor, id_text, plain, read_cursor};
use super::refusal::{Said, by_status, garbage, of_some, until_midnight};
use super::{Fetched, Listed, Page, Settings, Window};
use crate::wire::encode;
use crate::{Body, Reply, Request, SettingsError};

/// A version is served for a year; newer ones have had the same members here.
const VERSION: &str = "202601";
/// No limit is documented for this resource; other batch reads of LinkedIn's break far above this.
const BATCH_MAX: usize = 20;
const LEADS_A_PAGE: usize = 100;
const FORM_FIELDS: &str = "hiddenFields,creationLocale,name,id,content";
const LEAD_FIELDS: &str = "ownerInfo,associatedEntityInfo,leadMetadataInfo,owner,associatedEntity,leadMetadata,leadType,versionedLeadGenFormUrn,id,submittedAt,testLead,formResponse,form:(hiddenFields,creationLocale,name,id,content)";
/// What a Page's forms collect; an ad account's collect `SPONSORED`.
const ORGANIC: [&str; 3] = ["COMPANY", "EVENT", "ORGANIZATION_PRODUCT"];

#[cfg(test)]
mod tests;

/// The translator for Lead Sync.
pub(super) struct Linkedin {
    version: String,
    owners: Vec<Owner>,
}

/// Whose leads are listed.
struct Owner {
    urn: String,
    sponsored: bool,
}

impl Owner {
    fn parse(text: &str) -> Option<Self> {
        let (kind, number) = text.strip_prefix("urn:li:")?.split_once(':')?;
        let known = matches!(kind, "sponsoredAccount" | "organization") && plain(number, b"", 25);
        known.then(|| Self { urn: text.to_owned(), sponsored: kind == "sponsoredAccount" })
    }

    fn kinds(&self) -> &'static [&'static str] {
        if self.sponsored { &["SPONSORED"] } else { &ORGANIC }
    }

    const fn word(&self) -> &'static str {
        if self.sponsored { "sponsoredAccount" } else { "organization" }
    }
}

/// Owner by owner, kind by kind, page by page.
#[derive(Default, Serialize, Deserialize)]
struct Place {
    owner: usize,
    kind: usize,
    start: usize,
}

impl Linkedin {
    pub(super) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let version = settings.version.clone().unwrap_or_else(|| VERSION.to_owned());
        if version.len() != 6 || !version.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SettingsError::ApiVersion(format!("`{version}` is no version of LinkedIn's API; one looks like `{VERSION}`")));
        }
        let owner = |text: &String| {
            let what = "is no owner of lead forms; one looks like `urn:li:sponsoredAccount:123` or `urn:li:organization:123`";
            Owner::parse(text).ok_or_else(|| SettingsError::Accounts(format!("`{text}` {what}")))
        };
        Ok(Self { version, owners: settings.accounts.iter().map(owner).collect::<Result<_, _>>()? })
    }

    fn get(&self, path: String) -> Request {
        let mut request = Request::new(Method::GET, path, Body::None);
        request.headers.push(("linkedin-version".to_owned(), self.version.clone()));
        request.headers.push(("x-restli-protocol-version".to_owned(), "2.0.0".to_owned()));
        request
    }

    fn place(&self, cursor: Option<&str>) -> Result<(Place, &Owner, &'static str), Failure> {
        let place: Place = read_cursor(cursor)?;
        let message = "to list leads, name whose they are: `accounts = [\"urn:li:sponsoredAccount:…\"]`";
        let missing = || Failure::new(Class::Permanent, Scope::Destination, "accounts", message);
        let owner = self.owners.get(place.owner).ok_or_else(missing)?;
        let kind = owner.kinds().get(place.kind).ok_or_else(missing)?;
        Ok((place, owner, kind))
    }

    fn onward(&self, place: &Place, listed: usize) -> Result<Option<String>, Failure> {
        let kinds = self.owners.get(place.owner).map_or(0, |owner| owner.kinds().len());
        let next = if listed == LEADS_A_PAGE {
            Place { start: place.start + listed, ..*place }
        } else if place.kind + 1 < kinds {
            Place { kind: place.kind + 1, start: 0, ..*place }
        } else {
            Place { owner: place.owner + 1, kind: 0, start: 0 }
        };
        if next.owner < self.owners.len() { cursor(&next).map(Some) } else { Ok(None) }
    }
}

impl Api for Linkedin {
    fn batch(&self, object: &str) -> Option<usize> {
        (object == "lead").then_some(BATCH_MAX)
    }

    /// A push names it by its URN, a list by the URN's last part.
    fn is_id(&self, _object: &str, id: &str) -> bool {
        plain(bare(id), b"-_=", 100)
    }

    fn fetch(&self, _object: &str, ids: &[&str]) -> Request {
        let bare: Vec<String> = ids.iter().map(|id| encode(bare(id))).collect();
        match bare.as_slice() {
            [id] => self.get(format!("/rest/leadFormResponses/{id}?fields={LEAD_FIELDS}")),
            several => self.get(format!("/rest/leadFormResponses?ids=List({})&fields={LEAD_FIELDS}", several.join(","))),
        }
    }

    fn fetched(&self, _object: &str, ids: &[&str], reply: &Reply) -> Result<Vec<Fetched>, Failure> {
        match reply.status {
            200 => {}
            404 if ids.len() == 1 && says_not_found(reply) => return Ok(vec![Fetched::Gone]),
            _ => return of_some(ids, self.refused(reply)),
        }
        let body = reply.json().filter(Value::is_object).ok_or_else(|| garbage(reply))?;
        if let [_] = ids {
            return lead(body).map(|lead| vec![Fetched::Object(lead)]).ok_or_else(|| garbage(reply));
        }
        let one = |id: &&str| {
            let error = &body["errors"][bare(id)];
            match (lead(body["results"][bare(id)].clone()), error["status"].as_u64()) {
                (Some(lead), _) => Fetched::Object(lead),
                (None, Some(404)) => Fetched::Gone,
                (None, Some(403)) => refused_alone(Class::Permanent, error, "the token may not read this lead"),
                (None, Some(_) | None) => refused_alone(Class::Retryable, error, "the answer says nothing of this lead"),
            }
        };
        Ok(ids.iter().map(one).collect())
    }

    fn beside(&self, _object: &str, document: &Value) -> Option<Beside> {
        if document["form"].is_object() {
            return None;
        }
        let (_, form) = document["versionedLeadGenFormUrn"].as_str()?.split_once("urn:li:leadGenForm:")?;
        let form = form.split_once(',').map_or(form, |(form, _)| form);
        let request = self.get(format!("/rest/leadForms/{form}?fields={FORM_FIELDS}"));
        plain(form, b"", 25).then(|| Beside { key: format!("form {form}"), request, keep: true })
    }

    /// Numbers instead of questions are of no use to a mapping: without its form, a lead waits or is a dead letter.
    fn read_beside(&self, reply: &Reply) -> Result<Value, Failure> {
        match reply.json().filter(|form| reply.status == 200 && form["content"].is_object()) {
            Some(form) => Ok(form),
            None => Err(self.refused(reply)),
        }
    }

    fn complete(&self, document: &mut Value, form: &Value) {
        if let Some(lead) = document.as_object_mut() {
            lead.insert("form".to_owned(), form.clone());
        }
        spell_out(document);
    }

    fn list(&self, _what: &str, window: Window, cursor: Option<&str>) -> Result<Request, Failure> {
        let (place, owner, kind) = self.place(cursor)?;
        let (since, until) = (window.since.millis(), Time(window.until.0.saturating_add(999)).millis());
        Ok(self.get(format!(
            "/rest/leadFormResponses?q=owner&owner=({}:{})&leadType=(leadType:{kind})&limitedToTestLeads=false&submittedAtTimeRange=(start:{since},end:{until})&fields={LEAD_FIELDS}&count={LEADS_A_PAGE}&start={}",
            owner.word(),
            encode(&owner.urn),
            place.start
        )))
    }

    fn listed(&self, _what: &str, window: Window, cursor: Option<&str>, reply: &Reply) -> Result<Page, Failure> {
        if reply.status != 200 {
            return Err(self.refused(reply));
        }
        let (place, owner, kind) = self.place(cursor)?;
        let body = reply.json().unwrap_or_default();
        let rows = body["elements"].as_array().ok_or_else(|| garbage(reply))?;
        let objects = rows.iter().map(|row| listed(owner, kind, row)).collect::<Option<Vec<_>>>().ok_or_else(|| garbage(reply))?;
        let inside = |listed: &Listed| {
            let at = listed.push["occurredAt"].as_i64().map(Time::from_millis);
            at.is_some_and(|at| at.millis() >= window.since.millis() && at < window.until)
        };
        Ok(Page { next: self.onward(&place, rows.len())?, objects: objects.into_iter().filter(inside).collect() })
    }

    fn probe(&self) -> Request {
        let owner = self.owners.first().map(|owner| format!("owner=({}:{})", owner.word(), encode(&owner.urn)));
        match owner {
            Some(owner) => self.get(format!("/rest/leadForms?q=owner&{owner}&count=1&start=0")),
            None => self.get("/rest/me".to_owned()),
        }
    }

    /// The table (learn.microsoft.com/linkedin/shared/api-guide/concepts/error-handling).
    fn refused(&self, reply: &Reply) -> Failure {
        let body = reply.json().unwrap_or_default();
        let code = body["code"].as_str().map(str::to_owned).or_else(|| id_text(&body["serviceErrorCode"]));
        let failure = by_status(reply, Said::new(code, body["message"].as_str().map(str::to_owned)));
        match reply.status {
            // Limits are counted by the UTC day, and the answer does not say when one ends.
            429 => Failure { retry_after: Some(until_midnight(reply)), ..failure },
            // `NONEXISTENT_VERSION`: the version was sunset.
            426 => Failure { scope: Scope::Destination, ..failure },
            404 if !says_not_found(reply) => Failure { scope: Scope::Destination, ..failure },
            _ => failure,
        }
    }

    fn retry_after_max(&self) -> Duration {
        Duration::from_secs(3_600)
    }
}

/// The id in a URN; an id without one is itself.
fn bare(id: &str) -> &str {
    id.strip_prefix("urn:li:leadGenFormResponse:").unwrap_or(id)
}

/// `RESOURCE_NOT_FOUND` with the router's sentence is said of a path that does not exist, which is no lead's fault.
fn says_not_found(reply: &Reply) -> bool {
    let body = reply.json().unwrap_or_default();
    let message = body["message"].as_str().unwrap_or_default();
    body["code"].as_str().is_some_and(|code| code.ends_with("NOT_FOUND")) && !message.starts_with("No virtual resource found")
}

fn refused_alone(class: Class, error: &Value, otherwise: &str) -> Fetched {
    let message = error["message"].as_str().unwrap_or(otherwise);
    Fetched::Refused(Failure::new(class, Scope::Record, error["code"].as_str().unwrap_or("no_result"), message))
}

/// A lead with its answers spelled out; `None` for what is none.
fn lead(mut value: Value) -> Option<Value> {
    if !value["formResponse"].is_object() {
        return None;
    }
    if value["form"].is_object() {
        spell_out(&mut value);
    }
    Some(value)
}

/// The push that told of a lead (webhook-sources.md 7.3).
fn listed(owner: &Owner, kind: &str, row: &Value) -> Option<Listed> {
    let id = row["id"].as_str().filter(|id| plain(id, b"-_=", 100))?;
    let urn = format!("urn:li:leadGenFormResponse:{id}");
    let owner_of = if row["owner"].is_object() { row["owner"].clone() } else { json!({ owner.word(): owner.urn }) };
    let push = json!({
        "type": "LEAD_ACTION",
        "leadGenFormResponse": urn,
        "leadGenForm": row["versionedLeadGenFormUrn"],
        "owner": owner_of,
        "associatedEntity": associated(&row["associatedEntity"]),
        "leadType": row["leadType"].as_str().unwrap_or(kind),
        "leadAction": "CREATED",
        "occurredAt": row["submittedAt"].as_i64()?,
    });
    Some(Listed { push, object: lead(row.clone()).map(|lead| (urn, lead)) })
}

/// What a lead came from, in the words of a push, which calls the creative otherwise.
fn associated(entity: &Value) -> Value {
    match entity["associatedCreative"].as_str() {
        Some(creative) => json!({ "sponsoredCreative": creative }),
        None => entity.clone(),
    }
}

/// The text in the form's own language, else in any.
fn localized(text: &Value, locale: &str) -> Option<String> {
    let texts = text["localized"].as_object()?;
    texts.get(locale).or_else(|| texts.values().next())?.as_str().map(str::to_owned)
}

/// Puts what the form knows into the answers.
fn spell_out(lead: &mut Value) {
    let form = lead["form"].clone();
    let word = |name: &str| form["creationLocale"][name].as_str().unwrap_or_default().to_owned();
    let locale = format!("{}_{}", word("language"), word("country"));
    let questions = form["content"]["questions"].as_array().map(Vec::as_slice).unwrap_or_default();
    for answer in lead["formResponse"]["answers"].as_array_mut().into_iter().flatten() {
        let question = questions.iter().find(|question| question["questionId"] == answer["questionId"]).unwrap_or(&Value::Null);
        let options =
            question["questionDetails"]["multipleChoiceQuestionDetails"]["options"].as_array().map(Vec::as_slice).unwrap_or_default();
        let chosen = |id: &Value| {
            let option = options.iter().find(|option| option["id"] == *id);
            option.and_then(|option| localized(&option["text"], &locale)).or_else(|| id_text(id))
        };
        let details = &answer["answerDetails"];
        let texts: Vec<String> = match details["textQuestionAnswer"]["answer"].as_str() {
            Some(text) => vec![text.to_owned()],
            None => details["multipleChoiceAnswer"]["options"].as_array().into_iter().flatten().filter_map(chosen).collect(),
        };
        let known = [
            ("name", question["name"].as_str().map(str::to_owned)),
            ("label", localized(&question["question"], &locale)),
            ("field", question["predefinedField"].as_str().map(str::to_owned)),
        ];
        let Some(answer) = answer.as_object_mut() else { continue };
        answer.insert("texts".to_owned(), json!(texts));
        for (name, text) in known {
            text.and_then(|text| answer.insert(name.to_owned(), Value::String(text)));
        }
    }
    let consents = form["content"]["legalInfo"]["consents"].as_array().map(Vec::as_slice).unwrap_or_default();
    for given in lead["formResponse"]["consentResponses"].as_array_mut().into_iter().flatten() {
        let consent = consents.iter().find(|consent| consent["consentId"] == given["consentId"] || consent["id"] == given["consentId"]);
        let label = consent.and_then(|consent| localized(&consent["consent"], &locale).or_else(|| localized(&consent["text"], &locale)));
        if let (Some(given), Some(label)) = (given.as_object_mut(), label) {
            given.insert("label".to_owned(), Value::String(label));
        }
    }
}
